//! What holds for profiles on disk: reopening, the file's names and rights, damage, versions, the lock, groups.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Connection;

use super::*;
use crate::crypto::IdentityKey;
use crate::save::Relation;
use crate::storage::failure::Failure;
use crate::storage::faults::Fault;
use crate::storage::schema::STEPS;
use crate::storage::{schema, sqlite};

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("data/node.db")
}

fn profile(store: &Store) -> &Profile {
    match &store.0 {
        Kind::Sqlite(profile) => profile,
        Kind::Memory(_) => unreachable!("these tests open profiles on disk"),
    }
}

/// Asserts that opening reports damage and leaves the file as it is; returns what was said.
fn damage(dir: &tempfile::TempDir) -> String {
    let before = fs::read(file(dir)).unwrap();
    let detail = match open(&location(dir), None, node_keys) {
        Err(Error::ProfileDamaged { path, detail }) if path == file(dir) => detail,
        other => panic!("not reported as damaged: {other:?}"),
    };
    assert!(fs::read(file(dir)).unwrap() == before, "the file was changed");
    detail
}

pub(super) fn a_bit_of_everything() -> Vec<Write> {
    let mut writes = two_conversations();
    writes.extend([
        Write::Conversation(SavedConversation { user: None, ..conversation(BOB, "bob") }),
        Write::Stream(stream(3)),
        Write::Stream(SavedStream {
            identity: Some(IdentityKey([5; 32])),
            tags: vec![(1, 2), (3, u64::MAX)],
            ..stream(4)
        }),
        Write::Device(device(1)),
        Write::Device(device(2)),
        Write::Session(session(1)),
        Write::Session(session(2)),
        Write::Session(SavedSession { state: None, last_used: 9, is_retired: true, ..session(2) }),
        Write::Session(session(3)),
        Write::SessionGone { id: SessionId([3; 32]) },
        Write::Message(received(1, ALICE, 3)),
        Write::Message(own(2, ALICE)),
        Write::Message(own(3, BOB)),
        Write::Message(own(4, BOB)),
        Write::Envelope(envelope(2, EnvelopeKind::First)),
        Write::Envelope(envelope(3, EnvelopeKind::First)),
        Write::Envelope(envelope(4, EnvelopeKind::First)),
        Write::Envelope(envelope(4, EnvelopeKind::Later)),
        Write::MessageState { position: 3, state: MessageState::Failed },
        Write::MessageStored { position: 4, held_by: 1 },
        Write::MessageStored { position: 4, held_by: 20 },
        Write::Message(own(5, BOB)),
        Write::Envelope(envelope(5, EnvelopeKind::First)),
        Write::MessageGone { position: 5 },
        Write::Incoming(incoming(1)),
        Write::Incoming(incoming(2)),
        Write::IncomingGone { id: incoming(1).id },
        Write::Confirmed { position: 1 },
        Write::Confirmed { position: 0 },
        Write::Record { key: RecordKey::from_bytes([1; 32]), bytes: vec![1] },
        Write::Record { key: RecordKey::from_bytes([2; 32]), bytes: vec![2] },
        Write::Record { key: RecordKey::from_bytes([3; 32]), bytes: vec![3] },
        Write::Record { key: RecordKey::from_bytes([3; 32]), bytes: vec![4] },
        Write::RecordGone { key: RecordKey::from_bytes([1; 32]) },
        Write::OwnRecord { bytes: own_record(1) },
        Write::OwnRecord { bytes: own_record(2) },
        Write::Routing { contacts: vec![contact(1, "1.2.3.4:5")] },
        Write::Routing { contacts: vec![contact(9, "[2001:db8::1]:5"), contact(2, "10.0.0.1:6")] },
    ]);
    writes
}

#[test]
fn a_profile_opens_with_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { store, saved } = open_in(&dir);
    assert_eq!(format!("{saved:?}"), format!("{:?}", Saved::fresh(node_keys())));
    write(&store, a_bit_of_everything()).unwrap();
    store.close();

    let Opened { store: _store, saved } =
        open(&location(&dir), None, || unreachable!("keys are there")).unwrap();
    assert_eq!(saved.keys.node.public(), node_keys().node.public());
    assert!(saved.keys.user.is_none());
    assert_eq!(saved.routing, [contact(9, "[2001:db8::1]:5"), contact(2, "10.0.0.1:6")]);
    assert_eq!(saved.records, [[2], [4]]);
    assert_eq!(saved.own_records, [own_record(2)]);
    let bob = SavedConversation { user: None, ..conversation(BOB, "bob") };
    assert_eq!(saved.conversations, [conversation(ALICE, "alice"), bob]);
    let identity = Some(IdentityKey([5; 32]));
    assert_eq!(saved.streams, [SavedStream { identity, tags: vec![(1, 2), (3, u64::MAX)], ..stream(4) }]);
    let stored = SavedMessage { state: Some(MessageState::Stored), held_by: 20, ..own(4, BOB) };
    assert_eq!(saved.outbox, [own(2, ALICE), stored]);
    assert_eq!(saved.incoming, [incoming(2)]);
    assert_eq!(saved.envelopes, [envelope(2, EnvelopeKind::First), envelope(4, EnvelopeKind::Later)]);
    assert_eq!(saved.device, Some(device(2)));
    let ended = SavedSession { state: None, last_used: 9, is_retired: true, ..session(2) };
    assert_eq!(saved.sessions, [session(1), ended]);
    assert_eq!((saved.last_position, saved.confirmed_position), (4, 1));
}

#[test]
fn a_profile_opens_with_how_much_was_written_in_each_request_since_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    let relate = |id, peer, relation, requested| {
        let requested = Timestamp::from_unix_ms(requested);
        Write::Conversation(SavedConversation { relation, requested, ..conversation(id, peer) })
    };
    let mut writes = vec![
        relate(ALICE, "alice", Relation::Request, 2_002),
        relate(BOB, "bob", Relation::Contact, 1),
        Write::Stream(stream(3)),
    ];
    // Received at 2,001 and so on; the last is an answer.
    writes.extend((1..=3).map(|position| Write::Message(received(position, ALICE, position))));
    writes.push(Write::Message(received(4, BOB, 1)));
    writes.push(Write::Message(own(5, ALICE)));
    write(&store, writes).unwrap();
    store.close();
    let len = ["text 2", "text 3"].map(|text| text.len() as u64 + crate::user::MESSAGE_OVERHEAD as u64);
    assert_eq!(open_in(&dir).saved.request_lens, [(ALICE, len.iter().sum())]);
}

#[test]
fn a_store_that_is_only_dropped_writes_what_was_queued_and_frees_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    let (done, outcome) = channel();
    store.write(WriteBatch { id: BatchId(1), writes: a_bit_of_everything() }, move |_, result| {
        done.send(result).unwrap();
    });
    drop(store);
    outcome.recv().unwrap().unwrap();
    // The writer thread may be about to drop the last handle still.
    let reopened = loop {
        match open(&location(&dir), None, node_keys) {
            Err(Error::ProfileInUse { .. }) => thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    assert_eq!(reopened.saved.last_position, 4);
}

#[test]
fn users_and_the_node_have_profiles_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let [carol, odd] = ["Carol", "zoë.%1"].map(|name| UserName::parse(name).unwrap());
    assert!(!profile_exists(&data_dir, &carol));
    let stores = [None, Some(&carol), Some(&odd)].map(|user| {
        let keys = if user.is_some() { user_keys } else { node_keys };
        open(&location(&dir), user, keys).unwrap().store
    });
    assert!(profile_exists(&data_dir, &carol) && profile_exists(&data_dir, &odd));
    stores.iter().for_each(Store::close);
    let mut names: Vec<_> = fs::read_dir(&data_dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "node.db",
            "node.db.lock",
            "user-carol.db",
            "user-carol.db.lock",
            "user-zo%C3%AB%2E%251.db",
            "user-zo%C3%AB%2E%251.db.lock"
        ]
    );
    let saved = open(&location(&dir), Some(&odd), user_keys).unwrap().saved;
    assert_eq!(saved.keys.user.unwrap().public(), user_keys().user.unwrap().public());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_a_profile() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path().join("data")), 0o700);
    for name in ["node.db", "node.db-wal", "node.db-shm", "node.db.lock"] {
        assert_eq!(mode(dir.path().join("data").join(name)), 0o600, "{name}");
    }
}

#[test]
fn the_tables_of_version_10() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_in(&dir);
    let tables = profile(&opened.store).read(|db| {
        let mut statement =
            db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    });
    insta::assert_snapshot!(tables.unwrap().join(";\n"));
}

/// What runs at every start or for every screen of history must not walk the whole of it.
#[test]
fn no_query_scans_history() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_in(&dir);
    for (query, plan) in [
        (
            "SELECT position FROM messages WHERE state IN (1, 2) UNION ALL SELECT position FROM voids",
            "COMPOUND QUERY; LEFT-MOST SUBQUERY; SEARCH messages USING COVERING INDEX messages_owed (state=?); \
            UNION ALL; SCAN voids",
        ),
        (
            "SELECT number, position FROM messages INDEXED BY messages_by_number WHERE conversation = 1 AND stream = 0
            AND number > 5 AND number <= 9 AND state = 3 AND kind <> 2 ORDER BY number LIMIT 9",
            "SEARCH messages USING INDEX messages_by_number (conversation=? AND stream=? AND number>? AND number<?)",
        ),
        (
            "SELECT * FROM messages WHERE conversation = 1 AND position <= 9 ORDER BY position DESC LIMIT 5",
            "SEARCH messages USING INDEX messages_by_conversation (conversation=? AND rowid<?)",
        ),
        ("SELECT max(position) FROM messages", "SEARCH messages"),
        (
            "SELECT * FROM messages INDEXED BY messages_received WHERE stream <> 0 AND position > 9 ORDER BY position",
            "SEARCH messages USING INDEX messages_received (position>?)",
        ),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN {query}");
        let said: Vec<String> = profile(&opened.store)
            .read(|db| {
                Ok(db.prepare(&explain)?.query_map([], |row| row.get(3))?.collect::<Result<_, _>>()?)
            })
            .unwrap();
        assert_eq!(said.join("; "), plan, "{query}");
    }
}

#[test]
fn batches_of_many_threads_are_all_on_disk_when_they_are_acknowledged() {
    const THREADS: u64 = 8;
    const BATCHES: u64 = 250;
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    let (done, outcomes) = channel();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, done) = (store.clone(), done.clone());
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let position = 1 + thread * BATCHES + batch;
                    let writes = vec![Write::Message(received(position, ALICE, position))];
                    let done = done.clone();
                    store.write(WriteBatch { id: BatchId(position), writes }, move |id, result| {
                        done.send(result.map(|()| id)).unwrap();
                    });
                }
            });
        }
    });
    drop(done);
    let mut acknowledged: Vec<u64> = outcomes.iter().map(|outcome| outcome.unwrap().0).collect();
    let in_order = |thread: u64| {
        let range = 1 + thread * BATCHES..=(thread + 1) * BATCHES;
        acknowledged.iter().filter(|id| range.contains(id)).is_sorted()
    };
    assert!((0..THREADS).all(in_order), "a batch overtook another of its thread");
    acknowledged.sort_unstable();
    assert!(acknowledged.into_iter().eq(1..=THREADS * BATCHES));
    store.close();
    let history = open_in(&dir).store.history(ALICE, None, usize::MAX).unwrap();
    assert_eq!(history.len() as u64, THREADS * BATCHES);
}

#[test]
fn a_broken_batch_takes_neither_earlier_ones_nor_other_profiles_along() {
    let [broken, sound] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let stores = [open_in(&broken).store, open_in(&sound).store];
    let at = |position| Write::Message(own(position, ALICE));
    let (done, outcomes) = channel();
    // Sent without waiting, so that some are written together.
    for (id, [breaks, holds]) in (0..).zip([
        [two_conversations(), two_conversations()],
        [vec![at(1)], vec![at(1)]],
        [vec![at(2), at(1)], vec![at(2)]],
        [vec![at(3)], vec![at(3)]],
    ]) {
        for (store, writes) in stores.iter().zip([breaks, holds]) {
            let done = done.clone();
            store.write(WriteBatch { id: BatchId(id), writes }, move |id, result| {
                done.send((id.0, result.is_ok())).unwrap();
            });
        }
    }
    stores.iter().for_each(Store::close);
    drop(done);
    let mut outcomes: Vec<_> = outcomes.iter().collect();
    outcomes.sort_unstable();
    let [yes, no] = [true, false];
    assert_eq!(outcomes, [(0, yes), (0, yes), (1, yes), (1, yes), (2, no), (2, yes), (3, no), (3, yes)]);
    assert_eq!(positions(&open_in(&broken).saved.outbox), [1]);
    assert_eq!(positions(&open_in(&sound).saved.outbox), [1, 2, 3]);
}

#[test]
fn a_full_disk_is_an_error_and_what_was_acknowledged_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    store.set_fault(Some(Fault::Full { pages: 3 }));
    let mut acknowledged = 0;
    let error = loop {
        let message = SavedMessage { body: vec![1; 900], ..own(acknowledged + 1, ALICE) };
        match write(&store, vec![Write::Message(message)]) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Storage { detail } if detail.contains("free some space")), "{error}");
    assert!(matches!(write(&store, vec![]), Err(Error::Storage { .. })));
    assert!(acknowledged > 1);
    store.close();
    assert_eq!(open_in(&dir).saved.last_position, acknowledged);
}

#[test]
fn a_disk_that_cannot_be_written_is_an_error_and_what_was_acknowledged_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    write(&store, vec![Write::Message(own(1, ALICE))]).unwrap();
    store.set_fault(Some(Fault::ReadOnly));
    faults::set_read_only(&dir.path().join("data"), true);
    let error = write(&store, vec![Write::Message(own(2, ALICE))]).unwrap_err();
    assert!(matches!(&error, Error::Storage { detail } if detail.contains("may read and write")), "{error}");
    store.close();
    let before = fs::read(file(&dir)).unwrap();
    let error = open(&location(&dir), None, node_keys).unwrap_err();
    let is_told = |detail: &str| detail.contains("choose a data directory that can be written");
    assert!(matches!(&error, Error::Storage { detail } if is_told(detail)), "{error}");
    assert!(fs::read(file(&dir)).unwrap() == before);
    faults::set_read_only(&dir.path().join("data"), false);
    assert_eq!(open_in(&dir).saved.last_position, 1);
}

#[test]
fn every_commit_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    profile(&store).with_writing(|db| {
        let pragma = |name| -> String {
            db.query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2", "2 is FULL");
        assert_eq!(pragma("foreign_keys"), "1");
    });
}

#[test]
fn a_panic_in_a_callback_harms_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    store.write(WriteBatch { id: BatchId(1), writes: two_conversations() }, |_, _| panic!("on purpose"));
    write(&store, vec![Write::Message(own(1, ALICE))]).unwrap();
}

#[test]
fn an_open_profile_is_in_use_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open_in(&dir).store;
    let second = open(&location(&dir), None, node_keys);
    assert!(matches!(second, Err(Error::ProfileInUse { path }) if path == file(&dir)));
    first.close();
    assert!(open(&location(&dir), None, node_keys).is_ok());
}

#[test]
fn a_damaged_file_is_reported_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    let messages = (1..400).map(|position| Write::Message(own(position, ALICE)));
    write(&store, messages.collect()).unwrap();
    store.close();
    let sound = fs::read(file(&dir)).unwrap();

    fs::write(file(&dir), [0x5a; 9000]).unwrap();
    insta::assert_snapshot!(damage(&dir), @"file is not a database");
    fs::write(file(&dir), &sound[..sound.len() / 2]).unwrap();
    insta::assert_snapshot!(damage(&dir), @"database disk image is malformed");
    fs::write(file(&dir), []).unwrap();
    insta::assert_snapshot!(damage(&dir), @"it is empty");
    let mut holed = sound.clone();
    let middle = sound.len() / 2 / 4096 * 4096;
    holed[middle..middle + 4096].fill(0x11);
    fs::write(file(&dir), &holed).unwrap();
    assert!(damage(&dir).contains("***"), "what the check of SQLite found");

    fs::write(file(&dir), &sound).unwrap();
    assert_eq!(open_in(&dir).saved.last_position, 399);
}

#[test]
fn the_file_of_another_program_or_user_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    Connection::open(file(&dir)).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    insta::assert_snapshot!(damage(&dir), @"it is a database of another program");

    fs::remove_file(file(&dir)).unwrap();
    let carol = UserName::parse("carol").unwrap();
    open(&location(&dir), Some(&carol), user_keys).unwrap().store.close();
    fs::rename(dir.path().join("data/user-carol.db"), file(&dir)).unwrap();
    insta::assert_snapshot!(damage(&dir), @"it belongs to a user of another name");
}

#[test]
fn a_log_without_its_file_is_not_taken_for_a_new_profile() {
    let dir = tempfile::tempdir().unwrap();
    open_in(&dir).store.close();
    fs::remove_file(file(&dir)).unwrap();
    fs::write(dir.path().join("data/node.db-wal"), [1; 99]).unwrap();
    let opened = open(&location(&dir), None, node_keys);
    assert!(matches!(opened, Err(Error::ProfileDamaged { detail, .. }) if detail.contains("-wal")));
    assert!(!file(&dir).exists());
}

#[test]
fn a_profile_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open_in(&dir).store.close();
    Connection::open(file(&dir)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(file(&dir)).unwrap();
    let opened = open(&location(&dir), None, node_keys);
    assert!(matches!(opened, Err(Error::ProfileTooNew { found: 99, known: schema::VERSION, .. })));
    assert!(fs::read(file(&dir)).unwrap() == before);
}

#[test]
fn an_earlier_version_is_upgraded_with_what_it_holds_or_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, a_bit_of_everything()).unwrap();
    store.close();
    let with = |step| [STEPS, &[step]].concat();
    let version =
        |db: &Connection| db.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap();

    let broken = with(|db| db.execute_batch("ALTER TABLE messages ADD COLUMN edited INTEGER; nonsense"));
    assert!(matches!(sqlite::load(&file(&dir), None, None, &broken), Err(Failure::Internal(_))));
    let later = with(|db| db.execute_batch("ALTER TABLE messages ADD COLUMN edited INTEGER"));
    let sqlite::Loaded { connection: db, saved, .. } = sqlite::load(&file(&dir), None, None, &later).unwrap();
    assert_eq!((version(&db), saved.last_position), (schema::VERSION + 1, 4));
    drop(db);
    assert!(matches!(sqlite::load(&file(&dir), None, None, STEPS), Err(Failure::TooNew(_))));
    assert!(sqlite::load(&file(&dir), None, None, &later).is_ok());
}

#[test]
fn a_profile_from_before_sessions_keeps_what_it_holds_and_gets_its_keys_later() {
    let dir = tempfile::tempdir().unwrap();
    open_in(&dir).store.close();
    fs::remove_file(file(&dir)).unwrap();
    let first = include_str!("version-1.sql");
    Connection::open(file(&dir)).unwrap().execute_batch(first).unwrap();
    let Opened { store, saved } = open_in(&dir);
    assert_eq!(saved.keys.node.public(), node_keys().node.public());
    assert_eq!(saved.streams, [stream(4)]);
    assert_eq!(saved.outbox, [own(2, ALICE)]);
    assert_eq!((saved.device, saved.sessions.len(), saved.envelopes.len()), (None, 0, 0));
    write(&store, vec![Write::Device(device(1)), Write::Envelope(envelope(2, EnvelopeKind::First))]).unwrap();
    store.close();
    assert_eq!(open_in(&dir).saved.device, Some(device(1)));
}

#[test]
fn a_profile_from_before_identities_and_mail_keeps_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    open_in(&dir).store.close();
    fs::remove_file(file(&dir)).unwrap();
    let second = include_str!("version-2.sql");
    Connection::open(file(&dir)).unwrap().execute_batch(second).unwrap();
    let Opened { store, saved } = open_in(&dir);
    let known = SavedConversation { relation: Relation::Contact, ..conversation(ALICE, "alice") };
    assert_eq!(saved.conversations, [known], "whoever was met before is a contact");
    assert_eq!(saved.streams, [SavedStream { identity: Some(IdentityKey([5; 32])), ..stream(4) }]);
    assert_eq!(saved.outbox, [own(2, ALICE)]);
    let alone = SavedEnvelope { count: 1, ..envelope(2, EnvelopeKind::First) };
    assert_eq!(saved.envelopes, [alone], "each message had its own");
    let without_seals = SavedDevice { seals: SealKeys::default(), ..device(1) };
    assert_eq!((saved.device, saved.incoming.len()), (Some(without_seals), 0));
    assert_eq!(saved.sessions, [session(1)]);
    write(&store, vec![Write::Device(device(1)), Write::Incoming(incoming(1))]).unwrap();
    write(&store, vec![Write::MessageStored { position: 2, held_by: 3 }]).unwrap();
    assert_eq!((saved.mail.len(), saved.released.len()), (0, 0));
    let writes =
        [Write::MailKept { envelope: kept(1), bytes: Box::new([1; 3]) }, Write::MailReleased(released(1))];
    write(&store, writes.into()).unwrap();
    let verified = SavedConversation {
        is_verified: true,
        rival: Some(UserId::from_bytes([3; 32])),
        relation: Relation::Blocked,
        requested: Timestamp::from_unix_ms(7),
        read_heard: u64::MAX,
        read_marked: 5,
        ..conversation(ALICE, "alice")
    };
    let read = SavedStream { read_to: 3, ..stream(4) };
    write(&store, vec![Write::Conversation(verified.clone()), Write::Stream(read.clone())]).unwrap();
    assert_eq!(saved.tokens, []);
    write(&store, vec![Write::Token(token(b"held"))]).unwrap();
    store.close();
    let saved = open_in(&dir).saved;
    assert_eq!(saved.streams, [read]);
    assert_eq!((saved.device, saved.incoming), (Some(device(1)), vec![incoming(1)]));
    assert_eq!((saved.outbox[0].state, saved.outbox[0].held_by), (Some(MessageState::Stored), 3));
    assert_eq!(saved.conversations, [verified]);
    assert_eq!((saved.mail, saved.released), (vec![kept(1)], vec![released(1)]));
    assert_eq!(saved.tokens, [token(b"held")]);
}

#[test]
fn a_place_that_cannot_be_written_is_a_storage_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data"), "a file").unwrap();
    for place in ["data", "data/below"] {
        let opened = open(&Location::Directory(dir.path().join(place)), None, node_keys);
        assert!(matches!(opened, Err(Error::Storage { .. })), "{opened:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(file(&dir)).unwrap();
    let opened = open(&location(&dir), None, node_keys);
    assert!(matches!(&opened, Err(Error::Storage { detail }) if detail.contains("check that")), "{opened:?}");
}

#[test]
fn a_half_made_profile_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    for part in ["", "-wal", "-shm", "-journal"] {
        fs::write(dir.path().join(format!("data/node.db.new{part}")), [0x5a; 5000]).unwrap();
    }
    let was_asked = AtomicBool::new(false);
    let make_keys = || {
        was_asked.store(true, Ordering::Relaxed);
        node_keys()
    };
    open(&location(&dir), None, make_keys).unwrap().store.close();
    assert!(was_asked.into_inner());
    assert_eq!(
        fs::read_dir(dir.path().join("data")).unwrap().count(),
        2,
        "more than the profile and its lock"
    );
}

/// Its number is still owed, and nothing else of it.
#[test]
fn what_was_given_up_before_its_turn_comes_back_until_its_number_is_not_owed() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { store, .. } = open_in(&dir);
    let mut writes = two_conversations();
    writes.push(Write::Message(SavedMessage { number: Some(1), ..own(1, ALICE) }));
    writes.push(Write::Envelope(envelope(1, EnvelopeKind::First)));
    writes.push(Write::MessageVoid { position: 1, state: MessageState::Canceled });
    write(&store, writes).unwrap();
    store.close();
    let Opened { store, saved } = open_in(&dir);
    let states: Vec<_> = saved.outbox.iter().map(|message| (message.position, message.state)).collect();
    assert_eq!(states, [(1, Some(MessageState::Canceled))]);
    assert_eq!(saved.envelopes, []);
    write(&store, vec![Write::Envelope(envelope(1, EnvelopeKind::Later)), Write::VoidGone { position: 1 }])
        .unwrap();
    assert_eq!(store.message(1).unwrap().unwrap().state, Some(MessageState::Canceled));
    store.close();
    let saved = open_in(&dir).saved;
    assert_eq!((saved.outbox.len(), saved.envelopes.len()), (0, 0));
}

/// A count that goes on from there would end.
#[test]
fn a_profile_whose_own_numbers_are_near_their_end_is_damaged() {
    let far = (1 << 62) + 1;
    for damage in [
        Write::Message(SavedMessage { number: Some(far), ..own(1, ALICE) }),
        Write::Message(own(far, ALICE)),
        Write::Conversation(SavedConversation { next_number: far, ..conversation(ALICE, "alice") }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_in(&dir).store;
        write(&store, two_conversations()).unwrap();
        write(&store, vec![damage]).unwrap();
        store.close();
        let refusal = open(&location(&dir), None, node_keys);
        assert!(matches!(refusal, Err(Error::ProfileDamaged { .. })), "{:?}", refusal.err());
    }
}
