//! What peerchat's fuzzers run: one function for each target, which takes any bytes and panics if it finds a bug.
//!
//! The programs of libFuzzer around them are in `fuzz/`, outside the workspace; `make fuzz` runs them. The corpus is in
//! `corpus/<target>`: `seed-*` is written by the program `seeds` (the module of a target says what is in them),
//! `found-*` are inputs that once showed a bug. A test runs every target over all of it.

use std::path::PathBuf;

pub mod abi;
pub mod archive;
pub mod engine;
mod input;
pub mod letters;
mod liar;
pub mod link;
pub mod mailbox;
pub mod names;
pub mod profile;
pub mod records;
pub mod streams;
pub mod transport;
pub mod wire;

use input::Script;

/// What a fuzzer runs, and what it starts from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its module, of its program and of its corpus.
    pub name: &'static str,
    /// What is run.
    pub run: fn(&[u8]),
    /// Returns what it starts from: the same every time.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 12] = [
    Target { name: "abi", run: abi::target, seeds: abi::seeds },
    Target { name: "archive", run: archive::target, seeds: archive::seeds },
    Target { name: "engine", run: engine::target, seeds: engine::seeds },
    Target { name: "letters", run: letters::target, seeds: letters::seeds },
    Target { name: "link", run: link::target, seeds: link::seeds },
    Target { name: "mailbox", run: mailbox::target, seeds: mailbox::seeds },
    Target { name: "names", run: names::target, seeds: names::seeds },
    Target { name: "profile", run: profile::target, seeds: profile::seeds },
    Target { name: "records", run: records::target, seeds: records::seeds },
    Target { name: "streams", run: streams::target, seeds: streams::seeds },
    Target { name: "transport", run: transport::target, seeds: transport::seeds },
    Target { name: "wire", run: wire::target, seeds: wire::seeds },
];

/// Returns where the corpus of a target is.
#[must_use]
pub fn corpus_of(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Returns programs of random steps, for targets whose input is a program.
fn random_programs(count: u64, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|seed| Script::random(seed, len)).collect()
}
