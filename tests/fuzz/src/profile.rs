//! A damaged profile, with a passphrase or without: bytes of the file changed, or what its tables hold. A seed is a list of
//! changes to a small profile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::channel;

use peerchat_core::config::{Location, Passphrase};
use peerchat_core::crypto::{Envelope, EnvelopeKind, Prekey, Prekeys, SealKeys, Secret, SessionId, StandIn};
use peerchat_core::engine::{Engine, EngineConfig};
use peerchat_core::event::MessageState;
use peerchat_core::identity::{UserId, UserName};
use peerchat_core::kademlia::{
    ALPHA, AddressFamily, Contact, K, LOOKUP_PATHS, NodeId, NodeKey, RecordKey, Serve,
};
use peerchat_core::mail::{
    DEFAULT_MAIL_QUOTA, Depositor, EnvelopeId, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope,
    WriteToken,
};
use peerchat_core::save::{
    BatchId, ConversationId, ProfileKeys, Saved, SavedConversation, SavedDevice, SavedEnvelope,
    SavedIncoming, SavedMessage, SavedSession, SavedStream, SavedToken, StreamId, Write, WriteBatch,
};
use peerchat_core::search::Query;
use peerchat_core::storage::{self, Opened, Store};
use peerchat_core::time::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::input::{Input, START, Script, address, secret, start};
use crate::records::user_record;

const TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";

/// How many changes are made at most.
const MAX_CHANGES: usize = 8;

/// The profile opens and can be read, or is refused and stays as it was. Whatever it holds, an engine starts with it.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let directory = directory();
    let path = path_in(&directory);
    let passphrase = input.flag().then(passphrase);
    fs::write(&path, template(passphrase.as_ref())).expect("there is room for a small file");
    for _ in 0..MAX_CHANGES {
        if input.is_empty() {
            break;
        }
        if input.flag() {
            change_file(&path, &mut input);
        } else {
            change_tables(&path, &mut input);
        }
    }
    let before = fs::read(&path).expect("it was just written");
    let never = || unreachable!("a profile that is there is not made anew");
    let location = Location::Directory(directory.path().to_owned());
    match storage::open_with(&location, Some(&alice()), passphrase.as_ref(), never) {
        Ok(opened) => {
            read_all(&opened.store);
            opened.store.close();
            start_with(opened.saved, &alice());
        }
        Err(_) => assert!(fs::read(&path).expect("it is still there") == before, "it was touched"),
    }
}

fn alice() -> UserName {
    UserName::parse("alice").expect("it is a name")
}

fn path_in(directory: &TempDir) -> PathBuf {
    directory.path().join("user-alice.db")
}

fn passphrase() -> Passphrase {
    Passphrase::new("secret words").expect("it is one")
}

/// In memory, where there is such a place: a disk would be slow.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("there is room for a directory")
}

fn change_file(path: &Path, input: &mut Input<'_>) {
    let mut bytes = fs::read(path).expect("it was just written");
    input.damage(&mut bytes);
    fs::write(path, bytes).expect("there is room for a small file");
}

/// Sets a column of a row, or all rows, to something else, or drops a row. SQLite may refuse.
fn change_tables(path: &Path, input: &mut Input<'_>) {
    let Ok(db) = Connection::open(path) else { return };
    let Ok(tables) = names(&db, TABLES) else {
        return;
    };
    let Some(table) = pick(&tables, input) else { return };
    let Ok(columns) = names(&db, &format!("SELECT name FROM pragma_table_info('{table}')")) else { return };
    let Some(column) = pick(&columns, input) else { return };
    let value = match input.below(4) {
        0 => Value::Null,
        1 => Value::Integer(i64::from_be_bytes(input.number().to_be_bytes())),
        2 => Value::Text(String::from_utf8_lossy(input.bytes()).into_owned()),
        _ => Value::Blob(input.bytes().to_vec()),
    };
    // What is refused is no damage; a file that another change has spoiled is none that SQL can change.
    let _ = match input.below(4) {
        0 => db.execute(&format!("DELETE FROM \"{table}\" WHERE \"{column}\" IS NOT ?1"), [value]),
        1 => db.execute(&format!("UPDATE \"{table}\" SET \"{column}\" = -\"{column}\""), []),
        _ => db.execute(&format!("UPDATE OR IGNORE \"{table}\" SET \"{column}\" = ?1"), [value]),
    };
    // What a passphrase may cost has its limits, but they leave it to cost more than a fuzzer has time for.
    let _ = db.execute("UPDATE vault SET memory_kib = memory_kib % 1024, passes = passes % 4", []);
    let _ = db.pragma_update(None, "wal_checkpoint", "truncate");
    let _ = db.close();
}

fn names(db: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare(query)?.query_map([], |row| row.get(0))?.collect()
}

fn pick<'a>(names: &'a [String], input: &mut Input<'_>) -> Option<&'a str> {
    names.get(input.below(names.len())).map(String::as_str)
}

/// Reads everything that a client can ask for.
pub(crate) fn read_all(store: &Store) {
    let conversations = store.conversations().unwrap_or_default();
    let ids = conversations.iter().map(|conversation| conversation.id);
    for id in ids.chain([ConversationId(1), ConversationId(2)]) {
        let _ = store.history(id, None, 100);
        let _ = store.delivered(id, 0, u64::MAX);
    }
    for conversation in &conversations {
        let _ = store.conversation_named(&conversation.peer);
    }
    for words in ["hello", "h*", "hello there"] {
        let query = Query::parse(words).expect("there are words in it");
        for conversation in [None, Some(ConversationId(1))] {
            let _ = store.search(&query, conversation, None, 100);
        }
    }
    let _ = store.received_after(0, 100);
    for position in [0, 1, 2, 3, u64::MAX] {
        let _ = store.message(position);
        let _ = store.mail(position);
    }
}

/// Starts an engine and lets it do what it does by itself.
pub(crate) fn start_with(saved: Saved, user: &UserName) {
    let config = EngineConfig {
        k: K,
        alpha: ALPHA,
        paths: LOOKUP_PATHS,
        family: AddressFamily::V4,
        serve: Serve::Auto,
        user: saved.keys.user.is_some().then(|| user.clone()),
        message_lifetime: std::time::Duration::from_secs(30 * 24 * 3600),
        read_receipts: true,
        mail_quota: DEFAULT_MAIL_QUOTA,
        limits: peerchat_core::Limits::shared(),
    };
    let mut now = start();
    let mut engine = Engine::new(config, saved, Some(Box::new(StandIn::new(1))), [1; 32], now);
    for _ in 0..20 {
        while let Some(batch) = engine.poll_write() {
            engine.handle_written(batch.id, now);
        }
        while let Some(call) = engine.poll_call() {
            engine.handle_call_failed(call.id, now);
        }
        while engine.poll_event().is_some() || engine.poll_outcome().is_some() || engine.poll_read().is_some()
        {
        }
        let Some((at, _)) = engine.poll_timeout() else { break };
        now = now.after(at.saturating_duration_since(now.instant));
        engine.handle_timeout(now);
    }
}

/// The bytes of a profile with one of everything in it.
fn template(passphrase: Option<&Passphrase>) -> &'static [u8] {
    static TEMPLATES: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    TEMPLATES[usize::from(passphrase.is_some())].get_or_init(|| {
        let directory = directory();
        make_template(&directory, passphrase).store.close();
        if let Some(passphrase) = passphrase {
            let db = Connection::open(path_in(&directory)).expect("it was just closed");
            peerchat_core::fuzzing::lock_cheaply(&db, passphrase).expect("this is its passphrase");
        }
        fs::read(path_in(&directory)).expect("it was just written")
    })
}

/// Opens a profile with one of everything in it and no passphrase.
pub(crate) fn open_template(directory: &TempDir) -> Opened {
    make_template(directory, None)
}

fn make_template(directory: &TempDir, passphrase: Option<&Passphrase>) -> Opened {
    let keys = || ProfileKeys { node: secret(7), user: Some(secret(1)) };
    let location = Location::Directory(directory.path().to_owned());
    let opened = storage::open_with(&location, Some(&alice()), passphrase, keys).expect("it is new");
    for (number, writes) in (1..).zip([everything(), afterwards()]) {
        let (done, outcome) = channel();
        let batch = WriteBatch { id: BatchId(number), writes };
        opened.store.write(batch, move |_, result| done.send(result).expect("it is waited for"));
        outcome.recv().expect("it ends").expect("it is written");
    }
    read_all(&opened.store);
    opened
}

/// One write of every kind that adds something.
fn everything() -> Vec<Write> {
    let (bob, device) = (UserId::of(&secret(2).public()), NodeId::from_bytes([4; 32]));
    let conversation = ConversationId(1);
    let record = user_record(2, 1);
    let contact = |number| Contact::new(NodeKey::from(secret(number).public()), address(number));
    let place = MailPlace { mailbox: RecordKey::from_bytes([2; 32]), device };
    let id = EnvelopeId::from_bytes([6; 32]);
    let envelope = KeptEnvelope {
        position: 1,
        place,
        id,
        expires: START,
        len: 585,
        depositor: Depositor::LOCAL,
        token: peerchat_core::mail::TokenTag::NONE,
    };
    let released = ReleasedEnvelope { place, tag: EnvelopeTag::of(&id), expires: START };
    let mut seals = SealKeys::default();
    seals.rotate(&[9; 32], START);
    let prekeys = Prekeys::restore([(Prekey([5; 32]), START)]);
    let token = WriteToken::issue(&secret(2), &place.mailbox, secret(9), START);
    let held = Some(Secret::copy_of(&token.to_bytes()));
    vec![
        Write::Record { key: record.header().key, bytes: record.as_bytes().to_vec() },
        Write::OwnRecord { bytes: user_record(1, 1).as_bytes().to_vec() },
        Write::Routing { contacts: vec![contact(3), contact(4)] },
        Write::Conversation(SavedConversation::fresh(conversation, "bob".to_owned(), Some(bob))),
        Write::Conversation(SavedConversation::fresh(ConversationId(2), "carol".to_owned(), None)),
        Write::Stream(stream(device)),
        Write::Message(message(1, StreamId::OWN, Some(MessageState::Queued))),
        Write::Message(message(2, StreamId(1), None)),
        Write::Message(message(3, StreamId::OWN, Some(MessageState::Delivered))),
        Write::Envelope(SavedEnvelope {
            position: 1,
            device,
            count: 1,
            envelope: Envelope { kind: EnvelopeKind::First, bytes: vec![7; 30] },
        }),
        Write::Device(SavedDevice { state: Secret::copy_of(&[1; 40]), prekeys, seals }),
        Write::Session(SavedSession {
            id: SessionId([3; 32]),
            conversation,
            device,
            prekey: Some(Prekey([5; 32])),
            state: Some(Secret::copy_of(&[2; 50])),
            last_used: 3,
            is_retired: false,
        }),
        Write::Incoming(SavedIncoming { id, bytes: vec![1; 585] }),
        Write::Message(message(4, StreamId::OWN, Some(MessageState::Queued))),
        Write::Token(SavedToken { conversation, given: Some(START), held }),
        Write::Confirmed { position: 1 },
        Write::MailKept { envelope, bytes: vec![1; 585].into() },
        Write::MailReleased(released),
    ]
}

/// What happens to messages later.
fn afterwards() -> Vec<Write> {
    vec![
        Write::MessageStored { position: 1, held_by: 3 },
        Write::MessageVoid { position: 4, state: MessageState::Expired },
    ]
}

fn stream(device: NodeId) -> SavedStream {
    SavedStream {
        id: StreamId(1),
        conversation: ConversationId(1),
        device,
        next_number: 2,
        identity: None,
        tags: vec![(1, 7)],
        owes_receipt: true,
        read_to: 0,
    }
}

fn message(position: u64, stream: StreamId, state: Option<MessageState>) -> SavedMessage {
    SavedMessage {
        position,
        conversation: ConversationId(1),
        stream,
        number: Some(position),
        kind: 1,
        body: b"hello".to_vec(),
        sent: START,
        received: START,
        state,
        held_by: 0,
        expires: Timestamp::from_unix_ms(START.unix_ms() + 3_600_000),
    }
}

/// Nothing, bytes of the header and of pages, a cut, and rows of every table, once more with a passphrase.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let at = |offset: u16, value: u8| {
        Script::default().put(&[0, 1, 2]).put(&offset.to_be_bytes()).put(&[2, value])
    };
    let mut seeds = vec![vec![0], vec![1], vec![0, 1, 2, 0x20, 0, 0]];
    seeds.extend([at(0, 1), at(18, 3), at(60, 9), at(5000, 255), at(9000, 1)].map(Script::done));
    // A number, a text, bytes and nothing into a column of each table.
    let values: BTreeMap<u8, &[u8]> = BTreeMap::from([
        (0, &[0][..]),
        (1, &[1, 1, 200]),
        (2, &[2, 0, 2, b'h', b'i']),
        (3, &[3, 0, 2, 255, 255]),
    ]);
    for table in 0..table_count() {
        let is_locked = table % 2;
        let changes = values.iter().flat_map(|(number, value)| {
            [&[0, table, table.wrapping_mul(3).wrapping_add(*number)], *value, &[2]].concat()
        });
        seeds.push([is_locked].into_iter().chain(changes).collect());
    }
    seeds
}

fn table_count() -> u8 {
    let (_directory, db) = whole_profile(None);
    u8::try_from(names(&db, TABLES).expect("it has tables").len()).expect("there are a few dozen")
}

/// Returns the tables in which neither profile that is damaged has a row.
#[must_use]
pub fn empty_tables() -> Vec<String> {
    let profiles = [None, Some(passphrase())].map(|passphrase| whole_profile(passphrase.as_ref()));
    let has_none = |table: &String| {
        let sql = format!("SELECT count(*) FROM \"{table}\"");
        profiles.iter().all(|(_, db)| db.query_row(&sql, [], |row| row.get::<_, i64>(0)) == Ok(0))
    };
    names(&profiles[0].1, TABLES).expect("it has tables").into_iter().filter(has_none).collect()
}

fn whole_profile(passphrase: Option<&Passphrase>) -> (TempDir, Connection) {
    let directory = directory();
    let path = path_in(&directory);
    fs::write(&path, template(passphrase)).expect("there is room for a small file");
    let db = Connection::open(&path).expect("it is a whole profile");
    (directory, db)
}
