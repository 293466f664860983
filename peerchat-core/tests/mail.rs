//! Mail between real clients: what is left with a holder is fetched once, and a flood of it keeps nobody out. Real sockets on
//! loopback, real disks.
#![cfg(feature = "runtime")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peerchat_core::config::Location;
use peerchat_core::identity::SecretKey;
use peerchat_core::kademlia::{Contact, RecordKey};
use peerchat_core::mail::{
    Depositor, EnvelopeHeader, KEPT_OVERHEAD, KeptEnvelope, MailPlace, MailRefusal, MailRequest,
    MailResponse, STRANGERS_LEN, SealedEnvelope, TokenTag,
};
use peerchat_core::save::{BatchId, Write, WriteBatch};
use peerchat_core::time::Now;
use peerchat_core::transport::{Call, CallId, Transport, TransportConfig, TransportEvent};
use peerchat_core::wire::{Encoded, Request, Response};
use peerchat_core::{Client, Config, Event, MessageId, MessageState, Statistics, Timestamp, storage};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use support::{expect, message, open, shut_down};

/// How long a flood may wait for the answers to what it has sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many deposits of a flood wait for their answers.
const IN_FLIGHT: usize = 16;

/// A node without a user on a disk of its own, which keeps everybody's mail, and people who have joined through it.
struct Town {
    directories: Vec<tempfile::TempDir>,
    keeper: Client,
}

impl Town {
    fn new() -> Self {
        let directories: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let keeper = keeper(directories[0].path(), 64 << 20);
        Self { directories, keeper }
    }

    /// Opens a person, who joins and is registered, or was before.
    fn enter(&self, number: usize, name: &str) -> Client {
        let client = open(self.directories[number].path(), name);
        client.bootstrap(&self.keeper.local_address().to_string()).unwrap();
        expect(&client, |event| matches!(event, Event::Registered { .. }).then_some(()));
        client
    }
}

fn keeper(directory: &Path, quota: u64) -> Client {
    let config = Config::builder(directory).bind("127.0.0.1:0".parse().unwrap()).mail_quota(quota);
    Client::open(config.build().unwrap()).unwrap()
}

fn wait_for(client: &Client, message: MessageId, wanted: MessageState) {
    expect(client, |event| match event {
        Event::MessageState { id, state, .. } => ((*id, *state) == (message, wanted)).then_some(()),
        _ => None,
    });
}

fn counts(client: &Client) -> Statistics {
    client.statistics().unwrap()
}

/// One envelope is in the second size class and fits a datagram, the other is in the largest and goes by stream.
#[test]
fn a_long_text_that_waits_with_one_holder_is_fetched_once() {
    for (len, text) in [(1_u64, "short".to_owned()), (2, "long ".repeat(3000))] {
        let town = Town::new();
        let (alice, bob) = (town.enter(1, "alice"), town.enter(2, "bob"));
        shut_down(&bob);
        let id = alice.send_blocking("bob", &text).unwrap();
        wait_for(&alice, id, MessageState::Stored);
        shut_down(&alice);
        let bob = open(town.directories[2].path(), "bob");
        assert_eq!(message(&bob).text, text);
        let keeper = counts(&town.keeper);
        assert_eq!((keeper.mail_deposited, keeper.mail_fetched), (1, 1), "{len}");
    }
}

/// Somebody who deposits what nobody can open, over links that anybody can have.
struct Flood {
    transport: Transport,
    socket: UdpSocket,
    to: Contact,
    header: EnvelopeHeader,
    sent_count: u64,
    open: BTreeSet<CallId>,
    /// Everything but [`MailResponse::Deposited`], counted by what it says.
    refusals: BTreeMap<MailRefusal, u64>,
    deposited_count: u64,
}

impl Flood {
    fn new(to: Contact, place: MailPlace, expires: Timestamp) -> Self {
        let secret = SecretKey::from_bytes(&[0x77; 32]);
        let transport = Transport::new(TransportConfig::default(), &secret, ChaCha20Rng::seed_from_u64(0x77));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let header = EnvelopeHeader { mailbox: place.mailbox, device: place.device, expires };
        Self {
            transport,
            socket,
            to,
            header,
            sent_count: 0,
            open: BTreeSet::new(),
            refusals: BTreeMap::new(),
            deposited_count: 0,
        }
    }

    /// Deposits so many envelopes, and waits until all are answered.
    fn deposit(&mut self, count: u64) {
        let (end, deadline) = (self.sent_count + count, now().instant + PATIENCE);
        while self.sent_count < end || !self.open.is_empty() {
            assert!(now().instant < deadline, "{} without an answer", self.open.len());
            while self.sent_count < end && self.open.len() < IN_FLIGHT {
                self.send_one();
            }
            self.exchange();
        }
    }

    fn send_one(&mut self) {
        self.sent_count += 1;
        let mut body = vec![0; 512];
        body[..8].copy_from_slice(&self.sent_count.to_be_bytes());
        let envelope = SealedEnvelope::new(&self.header, &body).unwrap().as_bytes().to_vec();
        let Encoded { kind, body } = Request::Mail(MailRequest::Deposit { envelope }).encode();
        let id = CallId(self.sent_count);
        let call = Call {
            id,
            to: self.to,
            kind,
            body,
            is_early: false,
            is_bulk: false,
            is_answer_long: false,
            is_fleeting: false,
        };
        self.open.insert(id);
        self.transport.call(call, now());
    }

    /// Sends what is to be sent, and takes what has come.
    fn exchange(&mut self) {
        while let Some(transmit) = self.transport.poll_transmit() {
            self.socket.send_to(&transmit.bytes, transmit.to).unwrap();
        }
        let mut buffer = [0; 2048];
        if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            self.transport.handle_datagram(from, &buffer[..len], now());
        }
        if self.transport.poll_timeout().is_some_and(|(at, _)| at <= now().instant) {
            self.transport.handle_timeout(now());
        }
        while let Some(event) = self.transport.poll_event() {
            let TransportEvent::Response { call, kind, body, .. } = event else { continue };
            self.open.remove(&call);
            match Response::decode(kind, &body).unwrap() {
                Response::Mail(MailResponse::Deposited) => self.deposited_count += 1,
                Response::Mail(MailResponse::Refused(refusal)) => {
                    *self.refusals.entry(refusal).or_default() += 1;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a flood has a clock of its own, as every program has")]
fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wall = Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap());
    Now { instant: Instant::now(), wall }
}

/// Says who keeps mail, as somebody who asks it learns it.
fn contact_of(keeper: &Client) -> Contact {
    Contact::new(keeper.node_key(), keeper.local_address())
}

fn texts(client: &Client, count: usize) -> Vec<String> {
    let mut texts: Vec<String> = (0..count).map(|_| message(client).text).collect();
    texts.sort_unstable();
    texts
}

/// Waits until something is so that no event tells of; what is told meanwhile is passed over.
fn wait_until(client: &Client, is_so: impl Fn() -> bool) {
    let deadline = now().instant + PATIENCE;
    while !is_so() {
        assert!(now().instant < deadline, "it never comes about");
        client.poll(Duration::from_millis(20)).unwrap();
    }
}

/// Writes into the profile of a node that it keeps so many of the largest envelopes of strangers, none of which opens.
fn fill(directory: &Path, header: &EnvelopeHeader, count: u64) {
    let location = Location::Directory(directory.to_owned());
    let opened = storage::open(&location, None, || panic!("there is a profile")).unwrap();
    let first = opened.saved.mail.iter().map(|kept| kept.position).max().unwrap_or(0) + 1;
    let kept = |position: u64| {
        let mut body = vec![0; 17_920];
        body[..8].copy_from_slice(&position.to_be_bytes());
        let sealed = SealedEnvelope::new(header, &body).unwrap();
        let envelope = KeptEnvelope {
            position,
            place: MailPlace { mailbox: header.mailbox, device: header.device },
            id: sealed.id(),
            expires: header.expires,
            len: u32::try_from(sealed.as_bytes().len()).unwrap(),
            depositor: Depositor::LOCAL,
            token: TokenTag::NONE,
        };
        Write::MailKept { envelope, bytes: sealed.into_bytes() }
    };
    let (done, is_done) = std::sync::mpsc::channel();
    let batch = WriteBatch { id: BatchId(1), writes: (first..first + count).map(kept).collect() };
    opened.store.write(batch, move |_, result| done.send(result).unwrap());
    is_done.recv().unwrap().unwrap();
    opened.store.close();
}

/// Somebody has filled what strangers may take of Bob's mailbox and goes on: a contact does not notice, and a stranger who
/// works gets through.
#[test]
fn a_flood_of_one_mailbox_keeps_out_neither_a_contact_nor_a_stranger_who_works() {
    let mut town = Town::new();
    let (alice, bob, carol) = (town.enter(1, "alice"), town.enter(2, "bob"), town.enter(3, "carol"));
    alice.send_blocking("bob", "hello").unwrap();
    message(&bob);
    bob.send_blocking("alice", "hello to you").unwrap();
    message(&alice);
    let found = alice.lookup_wait("bob").unwrap();
    shut_down(&bob);
    // Bob's receipt for what comes by mail brings Alice her token.
    let first = alice.send_blocking("bob", "by mail").unwrap();
    wait_for(&alice, first, MessageState::Stored);
    shut_down(&alice);
    let bob = open(town.directories[2].path(), "bob");
    message(&bob);
    wait_until(&bob, || counts(&town.keeper).mail_deposited == 2);
    shut_down(&bob);
    let alice = open(town.directories[1].path(), "alice");
    wait_for(&alice, first, MessageState::Delivered);

    let place = MailPlace { mailbox: RecordKey::of_user(found.user.as_bytes()), device: found.node };
    let expires = now().wall.saturating_add(Duration::from_secs(24 * 3600));
    let header = EnvelopeHeader { mailbox: place.mailbox, device: place.device, expires };
    let len = (SealedEnvelope::header_bytes(&header).len() as u64) + 17_920 + KEPT_OVERHEAD;
    shut_down(&town.keeper);
    fill(town.directories[0].path(), &header, STRANGERS_LEN * 5 / 8 / len);
    town.keeper = keeper(town.directories[0].path(), 64 << 20);
    let mut flood = Flood::new(contact_of(&town.keeper), place, expires);
    flood.deposit(200);
    let refused = flood.refusals.values().sum::<u64>();
    let is_work = |refusal: &MailRefusal| matches!(refusal, MailRefusal::WorkNeeded { .. });
    assert!(flood.refusals.keys().all(is_work), "{:?}", flood.refusals);
    assert!(refused > 190 && flood.deposited_count + refused == 200, "{refused}");
    let flooded = counts(&town.keeper);
    assert!(flooded.mail_len <= STRANGERS_LEN * 5 / 8 + len, "{}", flooded.mail_len);

    for client in [&alice, &carol] {
        client.bootstrap(&town.keeper.local_address().to_string()).unwrap();
    }
    let by_contact = alice.send_blocking("bob", "from a contact").unwrap();
    wait_for(&alice, by_contact, MessageState::Stored);
    assert_eq!(
        counts(&town.keeper).mail_refused_work,
        flooded.mail_refused_work,
        "of a contact none is asked"
    );
    let by_stranger = carol.send_blocking("bob", "from a stranger").unwrap();
    wait_for(&carol, by_stranger, MessageState::Stored);
    assert!(counts(&town.keeper).mail_refused_work > flooded.mail_refused_work, "it was asked for, and done");
    let bob = open(town.directories[2].path(), "bob");
    bob.bootstrap(&town.keeper.local_address().to_string()).unwrap();
    assert_eq!(texts(&bob, 2), ["from a contact", "from a stranger"]);
}

/// Somebody fills all room of one node: it keeps what it may and no more, on its disk as well, and the mail of others goes to
/// the next node.
#[test]
fn a_flood_of_one_node_ends_at_its_quota_and_mail_goes_to_others() {
    const QUOTA: u64 = 256 << 10;
    let town = Town::new();
    let (alice, bob) = (town.enter(1, "alice"), town.enter(2, "bob"));
    let flooded = keeper(town.directories[3].path(), QUOTA);
    flooded.bootstrap(&town.keeper.local_address().to_string()).unwrap();
    expect(&flooded, |event| matches!(event, Event::Bootstrapped { .. }).then_some(()));
    let found = alice.lookup_wait("bob").unwrap();
    let place = MailPlace { mailbox: RecordKey::of_user(found.user.as_bytes()), device: found.node };
    alice.send_blocking("bob", "hello").unwrap();
    message(&bob);
    // Bob's record is on every node before he leaves.
    wait_until(&flooded, || counts(&flooded).record_count >= counts(&town.keeper).record_count);
    shut_down(&bob);
    let expires = now().wall.saturating_add(Duration::from_secs(24 * 3600));
    let mut flood = Flood::new(contact_of(&flooded), place, expires);
    flood.deposit(400);
    let kept = QUOTA / (585 + KEPT_OVERHEAD);
    assert_eq!(flood.deposited_count, kept);
    assert_eq!(flood.refusals, BTreeMap::from([(MailRefusal::Full, 400 - kept)]));
    let count = counts(&flooded);
    assert_eq!((count.mail_count as u64, count.mail_refused_full), (kept, 400 - kept));
    assert!(count.mail_len <= QUOTA);

    let id = alice.send_blocking("bob", "in spite of all").unwrap();
    wait_for(&alice, id, MessageState::Stored);
    shut_down(&alice);
    shut_down(&flooded);
    let on_disk = std::fs::metadata(town.directories[3].path().join("node.db")).unwrap().len();
    assert!(on_disk <= QUOTA + (256 << 10), "{on_disk} bytes");
    let bob = open(town.directories[2].path(), "bob");
    assert_eq!(message(&bob).text, "in spite of all");
}
