//! Writes the bindings: `bindings/generate` says how it is called.

fn main() {
    uniffi::uniffi_bindgen_main();
}
