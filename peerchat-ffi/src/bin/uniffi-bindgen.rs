//! Writes the bindings: `bindings/python/generate` says how it is called.

fn main() {
    uniffi::uniffi_bindgen_main();
}
