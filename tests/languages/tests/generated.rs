//! What is generated and committed is what would be generated now.

use std::fs;
use std::process::Command;

use peerchat::generate::{Language, generate};
use peerchat_tests_languages::{root, run, shared_library};

#[test]
fn the_header_is_fresh() {
    let committed = fs::read_to_string(peerchat::header::path()).unwrap();
    let fresh = peerchat::header::text().unwrap();
    assert!(committed == fresh, "include/peerchat.h is stale: run `make header`");
}

#[test]
fn the_page_about_errors_is_fresh() {
    let committed = fs::read_to_string(peerchat::reference::errors_path()).unwrap();
    assert!(
        committed == peerchat::reference::errors_text().unwrap(),
        "docs/errors.md is stale: run `make header`"
    );
}

/// A function that is gone breaks every program that was linked with it: the list changes only on purpose.
#[test]
fn exactly_the_listed_functions_are_exported() {
    let committed = fs::read_to_string(peerchat::reference::symbols_path()).unwrap();
    let declared = peerchat::reference::symbols_text(&peerchat::header::text().unwrap());
    assert!(committed == declared, "peerchat-ffi/symbols.txt is stale: run `make header`");
    let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(shared_library()));
    let symbols = String::from_utf8(output.stdout).unwrap();
    let exported = symbols.lines().filter_map(|line| line.split(' ').nth(2));
    let mut ours: Vec<_> = exported.filter(|name| name.starts_with("peerchat_")).collect();
    ours.sort_unstable();
    assert_eq!(ours, committed.lines().collect::<Vec<_>>());
}

/// Compares what is committed for a language with what the library gives now.
fn check(language: Language, name: &str, files: &[&str]) {
    let out = tempfile::tempdir().unwrap();
    generate(language, &shared_library(), out.path(), None).unwrap();
    let committed = root().join("bindings").join(name).join("generated");
    for file in files {
        let [committed, fresh] =
            [committed.as_path(), out.path()].map(|dir| fs::read_to_string(dir.join(file)).unwrap());
        assert!(committed == fresh, "bindings/{name}/generated is stale: run `make bindings`");
    }
}

#[test]
fn the_python_module_is_fresh() {
    check(Language::Python, "python", &["peerchat.py"]);
}

#[test]
fn the_kotlin_code_is_fresh() {
    check(Language::Kotlin, "kotlin", &["dev/peerchat/peerchat.kt"]);
}

/// What `ANDROID=1 bindings/generate` asks for.
#[test]
fn kotlin_code_can_use_the_cleaner_of_android() {
    let out = tempfile::tempdir().unwrap();
    let changes = out.path().join("changes.toml");
    fs::write(&changes, "[crates.peerchat.bindings.kotlin]\nandroid_cleaner = true\n").unwrap();
    generate(Language::Kotlin, &shared_library(), out.path(), Some(&changes)).unwrap();
    let code = fs::read_to_string(out.path().join("dev/peerchat/peerchat.kt")).unwrap();
    assert!(code.contains("android.system.SystemCleaner"));
}

#[test]
fn the_swift_code_is_fresh() {
    check(Language::Swift, "swift", &["peerchat.swift", "peerchatFFI.h"]);
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
