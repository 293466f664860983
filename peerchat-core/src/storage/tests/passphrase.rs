//! Profiles with a passphrase: what lies on disk, and what a wrong one does.

use std::fs;

use super::*;
use crate::storage::change_passphrase;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn carol() -> UserName {
    UserName::parse("carol").unwrap()
}

fn open_as(dir: &tempfile::TempDir, text: Option<&str>) -> Result<Opened, Error> {
    open_with(&location(dir), Some(&carol()), text.map(passphrase).as_ref(), user_keys)
}

fn change(dir: &tempfile::TempDir, old: Option<&str>, new: Option<&str>) -> Result<(), Error> {
    let [old, new] = [old, new].map(|text| text.map(passphrase));
    change_passphrase(&dir.path().join("data"), Some(&carol()), old.as_ref(), new.as_ref())
}

/// Every file of the profile, one after another.
fn bytes(dir: &tempfile::TempDir) -> Vec<u8> {
    let files = fs::read_dir(dir.path().join("data")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| fs::read(path).unwrap()).collect()
}

const STATES: [&[u8]; 3] = [
    b"the keys of the device, in the open",
    b"the ratchet of a session, in the open",
    b"a token of somebody else's, in the open",
];

fn secret_writes() -> Vec<Write> {
    let mut writes = two_conversations();
    let state = Secret::copy_of(STATES[0]);
    writes.push(Write::Device(SavedDevice { state, ..device(2) }));
    writes.push(Write::Session(SavedSession { state: Some(Secret::copy_of(STATES[1])), ..session(1) }));
    writes.push(Write::Session(SavedSession { state: None, ..session(2) }));
    writes.push(Write::Token(token(STATES[2])));
    writes
}

/// Counts which of the secrets can be read in the files.
fn readable(dir: &tempfile::TempDir) -> usize {
    let keys = user_keys();
    let secrets = [keys.node.to_bytes().to_vec(), keys.user.unwrap().to_bytes().to_vec()];
    let secrets = secrets.into_iter().chain(STATES.map(<[u8]>::to_vec));
    let bytes = bytes(dir);
    secrets.filter(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_slice())).count()
}

fn assert_whole(opened: &Opened) {
    let Saved { keys, device, sessions, tokens, .. } = &opened.saved;
    assert_eq!(*tokens, [token(STATES[2])]);
    assert_eq!(keys.node.public(), user_keys().node.public());
    assert_eq!(keys.user.as_ref().unwrap().public(), user_keys().user.unwrap().public());
    assert_eq!(device.as_ref().unwrap().state, Secret::copy_of(STATES[0]));
    let states: Vec<_> = sessions.iter().map(|session| session.state.clone()).collect();
    assert_eq!(states, [Some(Secret::copy_of(STATES[1])), None]);
}

fn is_wrong<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::WrongPassphrase { .. }))
}

#[test]
fn with_a_passphrase_no_secret_can_be_read_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_as(&dir, Some("open sesame")).unwrap();
    write(&opened.store, secret_writes()).unwrap();
    assert_eq!(readable(&dir), 0, "while it is open");
    opened.store.close();
    assert_eq!(readable(&dir), 0);
    let opened = open_as(&dir, Some("open sesame")).unwrap();
    assert_whole(&opened);
}

#[test]
fn a_wrong_passphrase_says_so_and_damages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_as(&dir, Some("open sesame")).unwrap();
    write(&opened.store, secret_writes()).unwrap();
    opened.store.close();
    let file = dir.path().join("data/user-carol.db");
    let before = fs::read(&file).unwrap();
    for wrong in [Some("open sesam"), Some("Open sesame"), Some("x"), None] {
        assert!(is_wrong(open_as(&dir, wrong)), "{wrong:?}");
        assert!(is_wrong(change(&dir, wrong, Some("other"))), "{wrong:?}");
    }
    let error = open_as(&dir, None).unwrap_err();
    assert_eq!(error.code(), crate::error::ErrorCode::WrongPassphrase);
    assert!(error.to_string().contains("has a passphrase"), "{error}");
    assert!(fs::read(&file).unwrap() == before, "the file was changed");
    assert_whole(&open_as(&dir, Some("open sesame")).unwrap());
}

#[test]
fn a_passphrase_is_set_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_as(&dir, None).unwrap();
    write(&opened.store, secret_writes()).unwrap();
    assert!(matches!(change(&dir, None, Some("first")), Err(Error::ProfileInUse { .. })));
    opened.store.close();
    assert_eq!(readable(&dir), 5);
    assert!(is_wrong(open_as(&dir, Some("first"))), "it has none yet");

    change(&dir, None, Some("first")).unwrap();
    assert_eq!(readable(&dir), 0, "not even in pages that are free now");
    let opened = open_as(&dir, Some("first")).unwrap();
    assert_whole(&opened);
    opened.store.close();

    change(&dir, Some("first"), Some("second")).unwrap();
    assert!(is_wrong(open_as(&dir, Some("first"))));
    let opened = open_as(&dir, Some("second")).unwrap();
    write(&opened.store, secret_writes()).unwrap();
    opened.store.close();
    assert_eq!(readable(&dir), 0);

    change(&dir, Some("second"), None).unwrap();
    let opened = open_as(&dir, None).unwrap();
    assert_whole(&opened);
}

#[test]
fn one_secret_does_not_pass_for_another() {
    let dir = tempfile::tempdir().unwrap();
    open_as(&dir, Some("open sesame")).unwrap().store.close();
    let path = dir.path().join("data/user-carol.db");
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE keys SET user = node", []).unwrap();
    assert!(matches!(open_as(&dir, Some("open sesame")), Err(Error::ProfileDamaged { .. })));
}

#[test]
fn a_file_cannot_ask_for_more_memory_than_there_may_be() {
    let dir = tempfile::tempdir().unwrap();
    open_as(&dir, Some("open sesame")).unwrap().store.close();
    let path = dir.path().join("data/user-carol.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE vault SET memory_kib = 1048577", []).unwrap();
    drop(db);
    assert!(matches!(open_as(&dir, Some("open sesame")), Err(Error::ProfileDamaged { .. })));
}

#[test]
fn there_is_nothing_to_change_without_a_profile() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(change(&dir, None, Some("x")), Err(Error::Storage { .. })));
    assert!(!dir.path().join("data").exists(), "nothing was made");
}
