//! Export and import: what moves and what does not, and archives that are wrong in every way.

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::a_bit_of_everything;
use super::*;
use crate::storage::archive::{ArchiveWriter, CHUNK_LEN, HEADER_LEN};
use crate::storage::{moving, schema};

/// A directory with an archive and room for what is made of it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn archive(&self) -> PathBuf {
        self.0.path().join("archive")
    }

    /// Where the profiles of one machine are.
    fn data(&self, machine: &str) -> PathBuf {
        self.0.path().join(machine)
    }

    fn open(&self, machine: &str, passphrase: Option<&str>) -> Opened {
        let location = Location::Directory(self.data(machine));
        let passphrase = passphrase.map(secret);
        open_with(&location, Some(&carol()), passphrase.as_ref(), user_keys).unwrap()
    }

    fn import(&self, machine: &str) -> Result<UserName, Error> {
        import(&self.archive(), &secret("archive"), &self.data(machine), None)
    }

    /// Imports what must be refused, and checks that nothing came of it.
    fn refused(&self) -> Error {
        let refused = self.import("new").unwrap_err();
        assert!(!self.data("new").exists(), "something was left behind: {refused}");
        refused
    }

    /// Imports what must be refused as damaged; returns what was said.
    fn damage(&self) -> String {
        match self.refused() {
            Error::ArchiveDamaged { path, detail } if path == self.archive() => detail,
            other => panic!("not reported as damaged: {other:?}"),
        }
    }
}

fn secret(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn carol() -> UserName {
    UserName::parse("carol").unwrap()
}

/// Exports a profile that holds a bit of everything; `passphrase` is that of the profile.
fn exported(passphrase: Option<&str>) -> Place {
    let place = Place::new();
    let store = place.open("old", passphrase).store;
    write(&store, a_bit_of_everything()).unwrap();
    let given_up = Write::MessageVoid { position: 2, state: MessageState::Canceled };
    write(&store, vec![given_up]).unwrap();
    store.export(&place.archive(), &secret("archive")).unwrap();
    store.close();
    place
}

/// Writes an archive with this in it.
fn archive_of(place: &Place, content: &[u8]) {
    let mut writer = ArchiveWriter::start(Vec::new(), &secret("archive")).unwrap();
    writer.write(content).unwrap();
    fs::write(place.archive(), writer.finish().unwrap()).unwrap();
}

fn names(table: &str, columns: &[&str]) -> Vec<u8> {
    let text = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
    let columns_text: Vec<u8> = columns.iter().flat_map(|column| text(column)).collect();
    [&[1][..], &text(table), &[columns.len() as u8], &columns_text].concat()
}

fn files_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn every_table_moves_or_is_left_out() {
    let place = Place::new();
    let opened = place.open("old", None);
    let Kind::Sqlite(profile) = &opened.store.0 else { unreachable!("it is on disk") };
    let tables = profile.read(|db| {
        let mut statement =
            db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
        Ok(statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?)
    });
    let mut known: Vec<&str> = moving::moved_tables().chain(moving::LEFT_OUT).collect();
    known.sort_unstable();
    assert_eq!(tables.unwrap(), known);
}

#[test]
fn what_was_said_and_owed_moves_and_sessions_start_afresh() {
    let place = exported(None);
    let before = place.open("old", None);
    assert_eq!(place.import("new").unwrap(), carol());
    let after = place.open("new", None);
    assert_eq!(files_in(&place.data("new")).first().unwrap(), "user-carol.db");

    let (old, new) = (before.saved, after.saved);
    assert_eq!(new.keys.node.public(), old.keys.node.public());
    assert_eq!(new.keys.user.map(|key| key.public()), old.keys.user.map(|key| key.public()));
    assert_eq!(new.own_records, old.own_records);
    assert_eq!(new.conversations, old.conversations);
    assert_eq!(new.streams, old.streams);
    assert_eq!(new.outbox, old.outbox);
    assert_eq!(positions(&new.outbox), [2, 4], "what was given up and still owes its number is among it");
    assert_eq!((new.last_position, new.confirmed_position), (old.last_position, old.confirmed_position));
    assert!(old.device.is_some() && !old.sessions.is_empty() && !old.envelopes.is_empty());
    assert!(new.device.is_none() && new.sessions.is_empty() && new.envelopes.is_empty());
    assert!(new.incoming.is_empty() && new.mail.is_empty() && new.released.is_empty());
    assert!(new.routing.is_empty() && new.records.is_empty());
    for conversation in [ALICE, BOB] {
        let history = |store: &Store| store.history(conversation, None, 99).unwrap();
        assert_eq!(history(&after.store), history(&before.store));
    }
    let query = Query::parse("text 4").unwrap();
    assert_eq!(after.store.search(&query, None, None, 9).unwrap().len(), 1);
    write(&after.store, vec![Write::Message(own(5, ALICE)), Write::Device(device(1))]).unwrap();
}

#[test]
fn neither_the_archive_nor_a_profile_with_a_passphrase_shows_a_secret() {
    let place = exported(Some("old one"));
    let archive = fs::read(place.archive()).unwrap();
    for part in [&b"text"[..], b"carol", b"alice", b"messages", b"user_name", &[7; 32], &[8; 32]] {
        assert!(!contains(&archive, part), "{part:?}");
    }
    import(&place.archive(), &secret("archive"), &place.data("new"), Some(&secret("new one"))).unwrap();
    for name in files_in(&place.data("new")) {
        let bytes = fs::read(place.data("new").join(&name)).unwrap();
        assert!(!contains(&bytes, &[7; 32]) && !contains(&bytes, &[8; 32]), "{name}");
    }
    let keys = place.open("new", Some("new one")).saved.keys;
    assert_eq!(keys.user.unwrap().public(), user_keys().user.unwrap().public());
}

#[test]
fn another_passphrase_does_not_open_it() {
    let place = exported(None);
    let refused = import(&place.archive(), &secret("another"), &place.data("new"), None);
    assert!(matches!(refused, Err(Error::ArchivePassphrase { path }) if path == place.archive()));
    assert!(!place.data("new").exists());
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let place = exported(None);
    let whole = fs::read(place.archive()).unwrap();
    let body = (HEADER_LEN..whole.len()).step_by(97).chain([whole.len() - 1]);
    for position in (0..HEADER_LEN).chain(body) {
        let mut changed = whole.clone();
        changed[position] ^= 1 << (position % 8);
        fs::write(place.archive(), changed).unwrap();
        match place.refused() {
            // Both bytes of the version.
            Error::ArchiveTooNew { .. } if (8..10).contains(&position) => {}
            Error::ArchiveDamaged { .. } => {}
            other => panic!("byte {position}: {other:?}"),
        }
    }
    fs::write(place.archive(), whole).unwrap();
    place.import("new").unwrap();
}

#[test]
fn parts_that_are_missing_doubled_or_reordered_are_noticed() {
    let place = Place::new();
    let store = place.open("old", None).store;
    write(&store, two_conversations()).unwrap();
    let long = |position| SavedMessage { body: vec![b'x'; 16_000], ..own(position, ALICE) };
    write(&store, (1..=20).map(|position| Write::Message(long(position))).collect()).unwrap();
    store.export(&place.archive(), &secret("archive")).unwrap();
    let whole = fs::read(place.archive()).unwrap();
    let chunk = CHUNK_LEN + 16;
    let (header, chunks) = whole.split_at(HEADER_LEN);
    let chunks: Vec<&[u8]> = chunks.chunks(chunk).collect();
    assert!(chunks.len() > 4, "{}", chunks.len());

    let last = chunks.len() - 1;
    let mut wrong = vec![whole[..0].to_vec(), whole[..9].to_vec(), whole[..HEADER_LEN - 1].to_vec()];
    wrong.extend((0..=last).map(|count| [header, &chunks[..count].concat()].concat()));
    wrong.extend((1..=last).map(|count| whole[..HEADER_LEN + count * chunk - 1].to_vec()));
    wrong.push(whole[..whole.len() - 1].to_vec());
    let without = |gone: usize| [&chunks[..gone], &chunks[gone + 1..]].concat().concat();
    wrong.extend((0..=last).map(|gone| [header, &without(gone)].concat()));
    let mut swapped = chunks.clone();
    swapped.swap(0, 1);
    wrong.push([header, &swapped.concat()].concat());
    wrong.push([header, chunks[0], &chunks.concat()].concat());
    wrong.push([&whole[..], &[0]].concat());
    wrong.push([&whole[..], chunks[last]].concat());
    for bytes in wrong {
        fs::write(place.archive(), &bytes).unwrap();
        let said = place.damage();
        assert!(!said.is_empty(), "{} bytes", bytes.len());
    }
    fs::write(place.archive(), whole).unwrap();
    place.import("new").unwrap();
}

#[test]
fn an_archive_of_a_later_version_is_told_from_a_damaged_one() {
    let place = exported(None);
    let mut later = fs::read(place.archive()).unwrap();
    later[9] += 1;
    fs::write(place.archive(), later).unwrap();
    assert!(matches!(place.refused(), Error::ArchiveTooNew { found: 2, .. }));
    archive_of(&place, &(schema::VERSION + 1).to_be_bytes());
    assert!(matches!(place.refused(), Error::ArchiveTooNew { .. }));
}

#[test]
fn a_profile_that_exists_is_never_written_over() {
    let place = exported(None);
    let store = place.open("new", None).store;
    let exists = |refused: Result<UserName, Error>| matches!(refused, Err(Error::ProfileExists { .. }));
    assert!(exists(place.import("new")));
    store.close();
    let before = fs::read(place.data("new").join("user-carol.db")).unwrap();
    assert!(exists(place.import("new")));
    assert_eq!(fs::read(place.data("new").join("user-carol.db")).unwrap(), before);
}

#[test]
fn an_export_writes_one_file_or_none() {
    let place = exported(None);
    let before = fs::read(place.archive()).unwrap();
    let store = place.open("old", None).store;
    let export = |to: &Path| store.export(to, &secret("archive"));
    assert!(matches!(export(&place.archive()), Err(Error::Storage { .. })), "it is there already");
    assert_eq!(fs::read(place.archive()).unwrap(), before);
    assert!(matches!(export(&place.data("none").join("archive")), Err(Error::Storage { .. })));
    assert_eq!(files_in(place.0.path()), ["archive", "old"]);
    store.close();
    assert!(matches!(export(&place.data("second")), Err(Error::Closed)));
    let memory = open(&Location::Memory, None, node_keys).unwrap().store;
    assert!(matches!(memory.export(&place.data("second"), &secret("archive")), Err(Error::NotOnDisk)));
    assert_eq!(files_in(place.0.path()), ["archive", "old"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(place.archive()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn no_archive_is_no_archive() {
    let place = Place::new();
    assert!(matches!(place.refused(), Error::Storage { .. }));
    fs::write(place.archive(), b"This is not an archive.").unwrap();
    insta::assert_snapshot!(place.damage(), @"it is no archive of peerchat");
}

/// What an archive holds is not believed because somebody knows its passphrase.
#[test]
fn what_is_in_an_archive_is_checked() {
    let place = Place::new();
    let version = schema::VERSION.to_be_bytes();
    let keys = names("keys", &["id", "node", "user", "user_name"]);
    let row = |name: &str, node_len: u8| {
        let number = [&[2, 1][..], &1_i64.to_be_bytes()].concat();
        let key = |len: u8| [&[3, 0, 0, 0, len][..], &vec![7; len.into()]].concat();
        let name = [&[2, 0, 0, 0, name.len() as u8][..], name.as_bytes()].concat();
        [number, key(node_len), key(32), name].concat()
    };
    let mut said = Vec::new();
    for content in [
        vec![],
        version.to_vec(),
        [&version[..], &[0]].concat(),
        [&version[..], &[9]].concat(),
        [&version[..], &[2]].concat(),
        [&version[..], &names("vault", &["id"]), &[0]].concat(),
        [&version[..], &names("keys", &["id) --"]), &[0]].concat(),
        [&version[..], &names("keys", &[]), &[0]].concat(),
        [&version[..], &names("keys", &["none"]), &[2, 0, 0]].concat(),
        [&version[..], &names("messages", &["body"]), &[2, 3, 0xff, 0xff, 0xff, 0xff]].concat(),
        [&version[..], &keys, &row("two words", 32), &[0]].concat(),
        [&version[..], &keys, &row("carol", 32), &row("carol", 32), &[0]].concat(),
        [&version[..], &keys, &row("carol", 31), &[0]].concat(),
        [&version[..], &keys, &row("carol", 32), &[0, 0]].concat(),
        [&version[..], &keys, &row("carol", 32), &names("nothing", &["a"]), &[0]].concat(),
        [&[0, 0, 0, 1][..], &keys, &row("carol", 32), &[0]].concat(),
    ] {
        archive_of(&place, &content);
        let refused = place.import("new").unwrap_err();
        assert!(matches!(refused, Error::ArchiveDamaged { .. }), "{refused:?}");
        assert!(!place.data("new").join("user-carol.db").exists(), "{refused}");
        said.push(refused.to_string());
    }
    assert!(said.iter().all(|said| said.contains("archive")), "{said:?}");
    let left = if place.data("new").exists() { files_in(&place.data("new")) } else { Vec::new() };
    assert!(left.iter().all(|name| name == "user-carol.db.lock"), "{left:?}");

    let dangling = names("voids", &["position"]);
    let content =
        [&version[..], &keys, &row("carol", 32), &dangling, &[2, 1], &5_i64.to_be_bytes(), &[0]].concat();
    archive_of(&place, &content);
    assert!(matches!(place.import("new"), Err(Error::ArchiveDamaged { .. })));
    archive_of(&place, &[&version[..], &keys, &row("carol", 32), &[0]].concat());
    place.import("new").unwrap();
}

#[test]
fn an_archive_cannot_ask_for_more_memory_than_there_may_be() {
    let place = exported(None);
    let whole = fs::read(place.archive()).unwrap();
    for (at, value) in [(10, u32::MAX), (14, u32::MAX), (10, 0), (14, 0)] {
        let mut changed = whole.clone();
        changed[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let sum = *blake3::hash(&changed[..HEADER_LEN - 16]).as_bytes();
        changed[HEADER_LEN - 16..HEADER_LEN].copy_from_slice(&sum[..16]);
        fs::write(place.archive(), changed).unwrap();
        place.damage();
    }
}
