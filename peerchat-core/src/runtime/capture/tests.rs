//! A whole conversation on real sockets: what can be read of it on the wire and with those who keep mail, and what comes
//! of sending all of it once more.

use std::collections::VecDeque;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::*;
use crate::client::{Client, HistoryEntry};
use crate::config::Config;
use crate::event::{Event, MessageId, MessageState};
use crate::identity::{PublicKey, SecretKey};
use crate::kademlia::{Contact, Record, RecordKey};
use crate::mail::{MailRefusal, MailRequest, MailResponse};
use crate::runtime::Carriers;
use crate::transport::{Call, CallId, TransportConfig, TransportEvent};
use crate::user::{Verb, devices};
use crate::wire::{Request, Response};

/// How long anything may take; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const ALICE: &str = "alice-quartzheron";
const BOB: &str = "bob-velvetmarmot";

const FIRST: &str = "the first text: do you hear the lighthouse keeper";
const ANSWER: &str = "the answer: only when the ferry has left";
const AWAY: [&str; 2] = ["left for later: the key is under the blue stone", "and: bring the long ladder"];
const BACK: &str = "back again: I have found the ladder";
const AFTER: &str = "said after everything was sent once more";
const LAST: &str = "left after all mail was left once more";

const TEXTS: [&str; 7] = [FIRST, ANSWER, AWAY[0], AWAY[1], BACK, AFTER, LAST];

/// First bytes of the packets of a link: `docs/protocol.md`, Packets.
const KEY_REPLY: u8 = 0x02;
const HANDSHAKE_RESPONSE: u8 = 0x04;
const DATA: u8 = 0x05;

/// Something that must not be seen, and what it is.
type Needle = (String, Vec<u8>);

/// Alice, Bob, and four nodes that keep records and mail.
struct Town {
    dir: TempDir,
    capture: Arc<Capture>,
    nodes: Vec<Client>,
    /// Where Bob joins: at a node that stays.
    seed: String,
    alice: Client,
    bob: Client,
}

impl Town {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let capture = Capture::start();
        let mut nodes = vec![open(&dir.path().join("node-0"), None)];
        for number in 1..4 {
            let node = open(&dir.path().join(format!("node-{number}")), None);
            node.bootstrap(&address_of(&nodes[0])).unwrap();
            wait(&node, |event| matches!(event, Event::Bootstrapped { .. }).then_some(()));
            nodes.push(node);
        }
        let [alice, bob] = [ALICE, BOB].map(|name| open(dir.path(), Some(name)));
        // Without the key, which has to be asked for.
        alice.bootstrap(&nodes[1].local_address().to_string()).unwrap();
        let seed = address_of(&nodes[2]);
        bob.bootstrap(&seed).unwrap();
        for person in [&alice, &bob] {
            wait(person, |event| matches!(event, Event::Registered { .. }).then_some(()));
        }
        Self { dir, capture, nodes, seed, alice, bob }
    }

    /// Lets Bob come back from another port.
    fn bring_bob_back(&mut self) {
        self.bob = open(self.dir.path(), Some(BOB));
        self.bob.bootstrap(&self.seed).unwrap();
    }

    fn send_bob_away(&self) {
        self.close(&self.bob);
    }

    fn close(&self, client: &Client) {
        assert!(client.shutdown());
        self.capture.release(client.local_address());
    }

    /// Leaves texts for Bob, who is away.
    fn leave(&self, texts: &[&str]) -> Vec<MessageId> {
        let ids: Vec<_> = texts.iter().map(|text| self.alice.send_blocking(BOB, text).unwrap()).collect();
        ids.iter().for_each(|id| self.wait_for_state(*id, MessageState::Stored));
        ids
    }

    fn wait_for_state(&self, wanted: MessageId, wanted_state: MessageState) {
        if self.alice.message_state(wanted).unwrap() == wanted_state {
            return;
        }
        wait(&self.alice, |event| match event {
            Event::MessageState { id, state, .. } => (*id == wanted && *state == wanted_state).then_some(()),
            _ => None,
        });
    }

    /// Everybody writes, reads and answers; Bob is away for a while. Returns the folder of a node that kept mail
    /// meanwhile and has gone since.
    fn converse(&mut self) -> PathBuf {
        let first = self.alice.send_blocking(BOB, FIRST).unwrap();
        let received = wait(&self.bob, |event| text_of(event, FIRST));
        self.bob.relate_blocking(ALICE, Verb::Accept).unwrap();
        self.bob.mark_read_blocking(received).unwrap();
        self.wait_for_state(first, MessageState::Read);
        self.bob.send_blocking(ALICE, ANSWER).unwrap();
        let received = wait(&self.alice, |event| text_of(event, ANSWER));
        self.alice.mark_read_blocking(received).unwrap();
        wait(&self.bob, |event| is_state(event, MessageState::Read));

        self.send_bob_away();
        let left = self.leave(&AWAY);
        let kept = |node: &Client| node.statistics().unwrap().mail_count;
        let keeper = (0..self.nodes.len())
            .filter(|number| *number != 2)
            .max_by_key(|number| kept(&self.nodes[*number]));
        let keeper = keeper.unwrap();
        assert!(kept(&self.nodes[keeper]) > 0);
        self.close(&self.nodes[keeper]);
        self.nodes.remove(keeper);
        self.bring_bob_back();
        for text in AWAY {
            let received = wait(&self.bob, |event| text_of(event, text));
            self.bob.mark_read_blocking(received).unwrap();
        }
        left.iter().for_each(|id| self.wait_for_state(*id, MessageState::Read));
        self.bob.send_blocking(ALICE, BACK).unwrap();
        wait(&self.alice, |event| text_of(event, BACK));
        self.dir.path().join(format!("node-{keeper}"))
    }

    fn profile(&self, name: &str) -> Connection {
        connect(&self.dir.path().join(format!("user-{name}.db")))
    }

    fn session_count(&self, name: &str) -> i64 {
        self.profile(name).query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap()
    }

    /// Returns what names a person in the network, and their devices.
    fn keys(&self, name: &str, client: &Client) -> Vec<Needle> {
        let node = client.node_key();
        let mut keys = vec![
            ("user id", client.user_id().unwrap().as_bytes().to_vec()),
            ("node key", node.as_bytes().to_vec()),
            ("node key as X25519", PublicKey::from_bytes(*node.as_bytes()).unwrap().to_x25519().to_vec()),
            ("node id", client.node_id().as_bytes().to_vec()),
            ("place of the name", RecordKey::of_name(name).place().as_bytes().to_vec()),
            (
                "place of the user",
                RecordKey::of_user(client.user_id().unwrap().as_bytes()).place().as_bytes().to_vec(),
            ),
        ];
        let profile = self.profile(name);
        let mut rows = profile.prepare("SELECT bytes FROM own_records").unwrap();
        let records = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        let records: Vec<_> = records.map(|bytes| Record::parse(&bytes.unwrap()).unwrap()).collect();
        assert_eq!(records.len(), 2, "a claim and a user record");
        for record in &records {
            keys.push(("user key", record.header().owner.as_bytes().to_vec()));
            for device in devices(record).unwrap_or_default() {
                keys.push(("identity key of the device", device.keys.identity.0.to_vec()));
                keys.push(("prekey", device.keys.prekey.0.to_vec()));
                keys.push(("seal key", device.keys.seal.0.to_vec()));
            }
        }
        assert!(keys.iter().any(|(what, _)| *what == "seal key"));
        keys.into_iter().map(|(what, bytes)| (format!("{what} of {name}"), bytes)).collect()
    }
}

fn open(dir: &Path, user: Option<&str>) -> Client {
    let mut config = Config::builder(dir).bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    if let Some(name) = user {
        config = config.user(name).unwrap();
    }
    Client::open(config.build().unwrap()).unwrap()
}

fn address_of(client: &Client) -> String {
    format!("{}@{}", client.node_key(), client.local_address())
}

/// Takes events until one is as wanted.
fn wait<T>(client: &Client, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = client.poll(deadline.saturating_duration_since(Instant::now())).unwrap();
        if let Some(found) = wanted(&event.expect("nothing happened in time")) {
            return found;
        }
    }
}

fn text_of(event: &Event, text: &str) -> Option<MessageId> {
    match event {
        Event::Message(message) => (message.text == text).then_some(message.id),
        _ => None,
    }
}

fn is_state(event: &Event, wanted: MessageState) -> Option<()> {
    matches!(event, Event::MessageState { state, .. } if *state == wanted).then_some(())
}

fn connect(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn texts() -> Vec<Needle> {
    // Words of them, so that a piece is found as well.
    let words = TEXTS.iter().flat_map(|text| text.as_bytes().chunks_exact(12));
    words.map(|piece| (String::from_utf8_lossy(piece).into_owned(), piece.to_vec())).collect()
}

fn name(name: &str) -> Needle {
    (name.to_owned(), name.as_bytes().to_vec())
}

/// Returns which of the needles are in some bytes.
fn found<'a>(bytes: &[u8], needles: impl IntoIterator<Item = &'a Needle>) -> Vec<&'a str> {
    let there = needles.into_iter().filter(|(_, needle)| contains(bytes, needle));
    there.map(|(what, _)| what.as_str()).collect()
}

/// Returns every row of a table as its bytes in a row.
fn rows(profile: &Connection, table: &str) -> Vec<Vec<u8>> {
    let mut statement = profile.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let column_count = statement.column_count();
    let row = statement.query_map([], |row| {
        let mut bytes = Vec::new();
        for column in 0..column_count {
            match row.get_ref(column)? {
                ValueRef::Blob(value) | ValueRef::Text(value) => bytes.extend(value),
                ValueRef::Integer(value) => bytes.extend(value.to_be_bytes()),
                ValueRef::Real(_) | ValueRef::Null => {}
            }
        }
        Ok(bytes)
    });
    row.unwrap().map(Result::unwrap).collect()
}

/// Returns the texts of a history, latest first, and what became of them.
fn spoken(client: &Client, peer: &str) -> Vec<HistoryEntry> {
    client.history(peer, None, 100).unwrap()
}

/// Takes what waits, and returns the messages and the states among it.
fn told(client: &Client) -> Vec<Event> {
    let events = std::iter::from_fn(|| client.poll(Duration::ZERO).unwrap());
    events.filter(|event| matches!(event, Event::Message(_) | Event::MessageState { .. })).collect()
}

/// Somebody with a key of their own who leaves mail.
struct Stranger {
    socket: UdpSocket,
    carriers: Carriers,
    last_call: u64,
}

impl Stranger {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let rng = ChaCha20Rng::from_seed([77; 32]);
        let carriers = Carriers::new(TransportConfig::default(), &SecretKey::from_bytes(&[76; 32]), rng);
        Self { socket, carriers, last_call: 0 }
    }

    fn deposit(&mut self, at: &Client, envelope: &[u8]) -> Response {
        self.last_call += 1;
        let request = Request::Mail(MailRequest::Deposit { envelope: envelope.to_vec() }).encode();
        let (id, to) = (CallId(self.last_call), Contact::new(at.node_key(), at.local_address()));
        let call = Call {
            id,
            to,
            kind: request.kind,
            body: request.body,
            is_early: false,
            is_bulk: false,
            is_answer_long: false,
            is_fleeting: false,
        };
        self.carriers.call(call, None, crate::runtime::now());
        loop {
            while let Some(transmit) = self.carriers.poll_transmit() {
                self.socket.send_to(&transmit.bytes, transmit.to).unwrap();
            }
            match self.carriers.poll_event() {
                Some(TransportEvent::Response { kind, body, .. }) => {
                    return Response::decode(kind, &body).unwrap();
                }
                Some(TransportEvent::CallFailed { reason, .. }) => panic!("{reason}"),
                Some(_) => continue,
                None => {}
            }
            let (due, _) = self.carriers.poll_timeout().expect("a call waits for something");
            let now = crate::runtime::now();
            let left = due.saturating_duration_since(now.instant).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 2048];
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => self.carriers.handle_datagram(from, &buffer[..len], crate::runtime::now()),
                Err(_) => self.carriers.handle_timeout(crate::runtime::now()),
            }
        }
    }
}

#[test]
fn a_conversation_shows_neither_on_the_wire_nor_with_those_who_keep_mail() {
    let mut town = Town::new();
    let keeper = town.converse();
    let [of_alice, of_bob] =
        [(ALICE, &town.alice), (BOB, &town.bob)].map(|(name, client)| town.keys(name, client));
    let names = [name(ALICE), name(BOB)];

    // On the wire nothing is in the open, the directory's records included: they travel on encrypted links. The one
    // exception is the answer to who asks an address for its key.
    let datagrams = town.capture.datagrams();
    let texts = texts();
    let hidden: Vec<&Needle> = texts.iter().chain(&names).chain(&of_alice).chain(&of_bob).collect();
    let mut answered_count = 0;
    for Datagram { from, bytes, .. } in &datagrams {
        assert_eq!(found(bytes, hidden.iter().copied()), [""; 0], "in a packet of type {:?}", bytes.first());
        for node in &town.nodes {
            let shows_key = contains(bytes, node.node_key().as_bytes());
            let may_show_key = bytes.first() == Some(&KEY_REPLY) && *from == node.local_address();
            assert!(!shows_key || may_show_key);
            answered_count += usize::from(shows_key);
        }
    }
    assert!(answered_count > 0, "nobody was asked for a key, or the key was not looked for as it is sent");
    assert!(datagrams.iter().filter(|datagram| datagram.bytes.first() == Some(&DATA)).count() > 50);

    // On the disk of who kept mail there is no text at all, and of the sender only what is public: the records of the
    // directory, where no row is about both, and the address of the node among those of all nodes.
    let files = fs::read_dir(&keeper).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    files.for_each(|bytes| assert_eq!(found(&bytes, &texts), [""; 0]));
    let profile = connect(&keeper.join("node.db"));
    let mut names_of_tables = profile.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let tables: Vec<String> =
        names_of_tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(!rows(&profile, "mail_bodies").is_empty());
    for table in &tables {
        for row in rows(&profile, table) {
            let sender = found(&row, of_alice.iter().chain([&names[0]]));
            let recipient = found(&row, of_bob.iter().chain([&names[1]]));
            match table.as_str() {
                "records" => {
                    assert!(sender.is_empty() || recipient.is_empty(), "{sender:?} beside {recipient:?}")
                }
                "routing" => {
                    assert!(!sender.iter().any(|what| what.contains("user") || what.contains("identity")))
                }
                _ => assert_eq!(sender, [""; 0], "in {table}"),
            }
        }
    }
}

#[test]
fn sending_everything_once_more_changes_nothing() {
    let mut town = Town::new();
    let former_bob = town.bob.local_address();
    let keeper = town.converse();
    let envelopes = {
        let profile = connect(&keeper.join("node.db"));
        let mut statement = profile.prepare("SELECT bytes FROM mail_bodies ORDER BY position").unwrap();
        let bodies = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        bodies.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert!(!envelopes.is_empty());
    wait(&town.bob, |event| is_state(event, MessageState::Delivered));
    let _ = (told(&town.alice), told(&town.bob));
    let histories = [spoken(&town.alice, BOB), spoken(&town.bob, ALICE)];
    let contacts = [&town.alice, &town.bob].map(|client| client.contacts().unwrap());
    let sessions = [ALICE, BOB].map(|name| town.session_count(name));
    assert_eq!(sessions, [1, 1]);
    let dropped: Vec<u64> = town.nodes.iter().map(|node| node.statistics().unwrap().dropped).collect();

    // Every datagram, from where it came and from elsewhere, to where it went; Bob is followed to where he is now.
    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let here: Vec<SocketAddr> =
        town.nodes.iter().chain([&town.alice, &town.bob]).map(Client::local_address).collect();
    let mut pace = VecDeque::new();
    let mut certain = vec![0_u64; town.nodes.len()];
    for Datagram { from, to, bytes } in town.capture.datagrams() {
        let to = if to == former_bob { town.bob.local_address() } else { to };
        if !here.contains(&to) {
            continue;
        }
        elsewhere.send_to(&bytes, to).unwrap();
        let count = 1 + u64::from(town.capture.send_as(from, to, &bytes));
        if let Some(node) = town.nodes.iter().position(|node| node.local_address() == to)
            && [KEY_REPLY, HANDSHAKE_RESPONSE, DATA].contains(&bytes[0])
        {
            certain[node] += count;
        }
        // Not faster than they are taken: who is asked for its counts has looked at its socket.
        pace.push_back(to);
        if pace.len() == 64 {
            pace.clear();
            for client in town.nodes.iter().chain([&town.alice, &town.bob]) {
                client.statistics().unwrap();
            }
        }
    }

    // What is said now comes after all that.
    let after = town.alice.send_blocking(BOB, AFTER).unwrap();
    let received = wait_only(&town.bob, AFTER);
    town.bob.mark_read_blocking(received).unwrap();
    town.wait_for_state(after, MessageState::Read);
    for (node, (before, certain)) in town.nodes.iter().zip(dropped.into_iter().zip(certain)) {
        let dropped = node.statistics().unwrap().dropped - before;
        assert!(certain > 0 && dropped >= certain, "{dropped} dropped of {certain} that nobody waited for");
    }

    // All mail, at everybody who could keep it, and once more.
    let mut stranger = Stranger::new();
    for node in &town.nodes {
        for envelope in envelopes.iter().chain(&envelopes) {
            let answer = stranger.deposit(node, envelope);
            assert_eq!(answer, Response::Mail(MailResponse::Refused(MailRefusal::Gone)));
        }
    }
    town.send_bob_away();
    town.leave(&[LAST]);
    town.bring_bob_back();
    wait_only(&town.bob, LAST);

    // Nothing was said twice, no state went back, nobody became another contact, no session was started.
    for ((client, peer), before) in [(&town.alice, BOB), (&town.bob, ALICE)].into_iter().zip(histories) {
        let mut now = spoken(client, peer);
        now.retain(|entry| ![AFTER, LAST].contains(&entry.text.as_str()));
        assert_eq!(now, before);
        assert!(!told(client).iter().any(|event| matches!(event, Event::Message(_))));
    }
    assert_eq!([&town.alice, &town.bob].map(|client| client.contacts().unwrap()), contacts);
    assert_eq!([ALICE, BOB].map(|name| town.session_count(name)), sessions);
}

/// Waits for a message, and fails if another one comes before.
fn wait_only(client: &Client, text: &str) -> MessageId {
    wait(client, |event| match event {
        Event::Message(message) => {
            assert_eq!(message.text, text);
            Some(message.id)
        }
        _ => None,
    })
}
