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
