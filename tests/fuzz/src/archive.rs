//! Archives: files that are none, archives with any content, and a whole one with some of its content or any of its bytes
//! changed. A seed says which, and what is in it or how it is changed.

use std::fs::{self, File};
use std::path::Path;
use std::sync::OnceLock;

use peerchat_core::config::{Location, Passphrase};
use peerchat_core::identity::UserName;
use peerchat_core::{fuzzing, storage};

use crate::input::{Input, Script};
use crate::profile;

/// How many changes are made at most.
const MAX_CHANGES: usize = 8;

/// An archive gives a whole profile with which an engine starts, or it is refused and there is none.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let directory = profile::directory();
    let archive = directory.path().join("archive");
    let (bytes, is_whole) = bytes(&mut input);
    fs::write(&archive, bytes).expect("there is room for a small file");
    let to = directory.path().join("to");
    match storage::import(&archive, &passphrase(), &to, None) {
        Ok(name) => {
            assert!(is_whole, "what was changed was taken");
            open(&to, &name);
        }
        Err(_) => assert!(!has_profile(&to), "it was refused and taken"),
    }
}

/// Returns a file, and whether it is an archive that was made as one.
fn bytes(input: &mut Input<'_>) -> (Vec<u8>, bool) {
    let archive_of =
        |content: &[u8]| fuzzing::archive_of(content, &passphrase()).expect("anything can be encrypted");
    match input.below(4) {
        0 => (input.rest().to_vec(), false),
        1 => (archive_of(input.rest()), true),
        2 => (archive_of(&damaged(content(), input)), true),
        _ => {
            let whole = archive_of(content());
            let bytes = damaged(&whole, input);
            let is_whole = bytes == whole;
            (bytes, is_whole)
        }
    }
}

fn damaged(bytes: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..MAX_CHANGES {
        if input.is_empty() {
            break;
        }
        input.damage(&mut bytes);
    }
    bytes
}

fn open(data_dir: &Path, name: &UserName) {
    let never = || unreachable!("it was just made");
    let opened = storage::open(&Location::Directory(data_dir.to_owned()), Some(name), never);
    let opened = opened.expect("what was imported opens");
    profile::read_all(&opened.store);
    opened.store.close();
    profile::start_with(opened.saved, name);
}

fn has_profile(data_dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(data_dir) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "db"))
}

fn passphrase() -> Passphrase {
    Passphrase::new("secret words").expect("it is one")
}

/// What is in the archive of the profile that [`profile`] damages.
fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let directory = profile::directory();
        let archive = directory.path().join("archive");
        let opened = profile::open_template(&directory);
        opened.store.export(&archive, &passphrase()).expect("it is a profile on disk");
        opened.store.close();
        let file = File::open(&archive).expect("it was just written");
        fuzzing::content_of(file, &passphrase()).expect("it was just written")
    })
}

/// No archive, the whole content, contents that begin as one and go wrong, and changes within and without.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let version = &content()[..4];
    let named = |name: &str| [&[u8::try_from(name.len()).expect("it is short")], name.as_bytes()].concat();
    let table = |table: &str, column: &str| [&[1], &named(table)[..], &[1], &named(column)].concat();
    let content_of = |rest: &[u8]| [&[1], version, rest].concat();
    let change = |which: u8, at: u16, by: u8| {
        Script::default().put(&[which, 2]).put(&at.to_be_bytes()).put(&[2, by]).done()
    };
    let mut seeds = vec![
        b"\0peerchat\0\x01".to_vec(),
        [&[1], content()].concat(),
        content_of(&[0]),
        content_of(&table("records", "key")),
        content_of(&table("keys", "user_name")),
        content_of(&[&table("voids", "position")[..], &[2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]].concat()),
        vec![2],
        vec![3],
        vec![3, 2, 1, 0, 0],
    ];
    seeds.extend([5, 40, 100, 300, 700, 1100].map(|at| change(2, at, 1)));
    seeds.extend([0, 9, 12, 20, 60, 120, 300].map(|at| change(3, at, 255)));
    seeds
}
