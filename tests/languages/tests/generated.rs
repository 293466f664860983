//! What is generated and committed is what would be generated now.

use std::fs;
use std::process::Command;

use peerchat_tests_languages::{root, run, shared_library};

#[test]
fn the_header_is_fresh() {
    let committed = fs::read_to_string(peerchat::header::path()).unwrap();
    let fresh = peerchat::header::text().unwrap();
    assert!(committed == fresh, "include/peerchat.h is stale: run `make header`");
}

#[test]
fn the_python_module_is_fresh() {
    let out = tempfile::tempdir().unwrap();
    peerchat::python::generate(&shared_library(), out.path()).unwrap();
    let fresh = fs::read_to_string(out.path().join("peerchat.py")).unwrap();
    let committed = fs::read_to_string(root().join("bindings/python/generated/peerchat.py")).unwrap();
    assert!(committed == fresh, "bindings/python/generated is stale: run `make python-bindings`");
}

#[test]
fn every_exported_symbol_has_a_prefix() {
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(shared_library()));
    let symbols = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = symbols.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    // What uniffi's bindgen reads and its scaffolding calls, besides our own.
    let prefixes = ["peerchat_", "ffi_peerchat_", "uniffi_peerchat_", "UNIFFI_META_"];
    let strange: Vec<_> =
        names.iter().filter(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(names.contains(&"peerchat_create"), "{names:?}");
}
