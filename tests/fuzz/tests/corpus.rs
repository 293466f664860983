//! The corpus finds nothing, and its seeds are those of this version.

use std::fs;

use peerchat_fuzz::{TARGETS, Target, corpus_of};

fn files(target: &Target) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus_of(target)).expect("every target has a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_input_of_the_corpus_passes() {
    for target in &TARGETS {
        for (name, bytes) in files(target) {
            eprintln!("{}/{name}", target.name);
            (target.run)(&bytes);
        }
    }
}

/// `cargo run -p peerchat-fuzz --bin seeds` makes them anew.
#[test]
fn the_seeds_are_those_of_this_version() {
    for target in &TARGETS {
        let is_seed = |(name, _): &(String, Vec<u8>)| name.starts_with("seed-");
        let committed: Vec<Vec<u8>> =
            files(target).into_iter().filter(is_seed).map(|(_, bytes)| bytes).collect();
        assert!(committed == (target.seeds)(), "the seeds of {} are stale", target.name);
    }
}

#[test]
fn every_target_has_a_program_of_libfuzzer() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/Cargo.toml")).unwrap();
    for target in &TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

/// The list of what the library exports is compared with the library itself by another test.
#[test]
fn every_function_of_the_c_interface_is_called() {
    let exported = include_str!("../../../peerchat-ffi/symbols.txt");
    let target = include_str!("../src/abi.rs");
    let is_called = |name: &str| target.contains(&format!("{name}("));
    let forgotten: Vec<&str> = exported.lines().filter(|name| !is_called(name)).collect();
    assert!(forgotten.is_empty() && exported.lines().count() > 60, "not called: {forgotten:?}");
}

/// Every table of a profile is damaged, as is what it holds: the profile that is damaged has a row in each.
#[test]
fn the_profile_that_is_damaged_has_rows_in_every_table() {
    assert_eq!(peerchat_fuzz::profile::empty_tables(), Vec::<String>::new());
}
