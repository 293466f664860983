//! What a node takes of memory when strangers fill everything that it keeps for them, counted by the allocator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerchat_core::engine::{Engine, EngineConfig};
use peerchat_core::identity::SecretKey;
use peerchat_core::kademlia::{
    AddressFamily, Contact, NodeKey, Record, RecordHeader, RecordKey, RecordKind, Rpc, Serve,
};
use peerchat_core::mail::{EnvelopeHeader, EnvelopeId, MAX_RELEASED, MailRequest, Release, SealedEnvelope};
use peerchat_core::save::{ProfileKeys, Saved};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::{Call, CallId, ReplyToken, Transport, TransportConfig};
use peerchat_core::wire::Request;
use peerchat_core::{Config, Limits, UserId};
use peerchat_sim::Counting;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MEMORY_LIMIT: u64 = 40 << 20;

/// How many devices a user record lists.
const DEVICES: u64 = 4;

/// A node of others, without the loop around it: its disk writes whenever it is asked to.
struct Flooded {
    engine: Engine,
    transport: Transport,
    key: NodeKey,
    now: Now,
    last_token: u64,
    last_network: u32,
}

fn secret(kind: u8, number: u64) -> SecretKey {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_bytes(&bytes)
}

fn device(user: u64, number: u64) -> SecretKey {
    secret(2, user * DEVICES + number)
}

fn mailbox(user: u64) -> RecordKey {
    RecordKey::of_user(UserId::of(&secret(1, user).public()).as_bytes())
}

/// The record of a user, whose body is the list of devices: each a key, no addresses, and what it is written to with.
fn record(user: u64, now: Now) -> Record {
    let key = secret(1, user);
    let mut body = vec![u8::try_from(DEVICES).unwrap()];
    for number in 0..DEVICES {
        body.extend(NodeKey::from(device(user, number).public()).as_bytes());
        body.push(0);
        body.extend([7; 3 * 32]);
    }
    let header = RecordHeader {
        kind: RecordKind::User,
        key: mailbox(user),
        owner: key.public(),
        sequence: 1,
        issued: now.wall,
        expires: now.wall.saturating_add(Duration::from_secs(24 * 3600)),
    };
    Record::sign(&key, header, &body).unwrap()
}

impl Flooded {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time needs a first instant; only differences matter"
    )]
    fn new(config: &Config, limits: &Arc<Limits>) -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_800_000_000_000) };
        let node = secret(0, 0);
        let key = NodeKey::from(node.public());
        let engine_config =
            EngineConfig { serve: Serve::Always, ..EngineConfig::of(config, AddressFamily::V4) };
        let transport_config = TransportConfig {
            network: config.network().to_owned(),
            max_links: config.max_links(),
            limits: limits.clone(),
        };
        let transport = Transport::new(transport_config, &node, ChaCha20Rng::from_seed([1; 32]));
        let saved = Saved::fresh(ProfileKeys { node, user: None });
        let engine = Engine::new(engine_config, saved, None, [2; 32], now);
        Self { engine, transport, key, now, last_token: 0, last_network: 0 }
    }

    /// Asks as a stranger from a network of their own, through the decoder.
    fn ask(&mut self, request: &Request) {
        self.last_network += 1;
        let [_, high, low, _] = (self.last_network << 8).to_be_bytes();
        let from = Contact::new(NodeKey::from_bytes([9; 32]), ([11 + high / 200, high, low, 1], 4000).into());
        let encoded = request.encode();
        let request = Request::decode(encoded.kind, &encoded.body).expect("it is a request");
        self.last_token += 1;
        let token = ReplyToken::for_simulation(self.last_token);
        self.engine.handle_request(from, true, token, request, self.now);
        if self.last_token.is_multiple_of(64) {
            self.settle();
        }
    }

    /// Lets the disk write and the answers go out. Calls of the node's own are lost.
    fn settle(&mut self) {
        while let Some(batch) = self.engine.poll_write() {
            self.engine.handle_written(batch.id, self.now);
        }
        while self.engine.poll_reply().is_some() {}
        while self.engine.poll_event().is_some() {}
        while let Some(call) = self.engine.poll_call() {
            self.engine.handle_call_failed(call.id, self.now);
        }
    }

    /// Lets a peer make a link and ask as often as it may; nothing is answered.
    fn ask_over_a_link(&mut self, number: u32) {
        let peer = secret(3, number.into());
        let seed = ChaCha20Rng::seed_from_u64(number.into());
        let mut asker = Transport::new(TransportConfig::default(), &peer, seed);
        let [a, b, c, d] = (0x1500_0000 + (number << 8) + 1).to_be_bytes();
        let address: SocketAddr = ([a, b, c, d], 4000).into();
        let to = Contact::new(self.key, ([21, 255, 0, 1], 4600).into());
        for id in 0..64 {
            let call = Call {
                id: CallId(id),
                to,
                kind: 1,
                body: vec![7; 1000],
                is_early: false,
                is_bulk: false,
                is_answer_long: false,
                is_fleeting: false,
            };
            asker.call(call, self.now);
            loop {
                let mut is_quiet = true;
                while let Some(transmit) = asker.poll_transmit() {
                    is_quiet = false;
                    self.transport.handle_datagram(address, &transmit.bytes, self.now);
                }
                while self.transport.poll_event().is_some() {}
                while let Some(transmit) = self.transport.poll_transmit() {
                    asker.handle_datagram(to.address(), &transmit.bytes, self.now);
                }
                if is_quiet {
                    break;
                }
            }
        }
        // So that no cookie is asked for.
        self.now = self.now.after(Duration::from_millis(10));
    }
}

fn release(user: u64, number: u64, round: u64) -> Request {
    let key = device(user, number);
    let ids: Vec<EnvelopeId> = (0..MAX_RELEASED as u64)
        .map(|id| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(blake3_like(user, number, round, id).as_slice());
            EnvelopeId::from_bytes(bytes)
        })
        .collect();
    let signature = key.sign(&Release::signed_bytes(&mailbox(user), &ids)).to_vec();
    let release = Release { mailbox: mailbox(user), device: key.public().into(), ids, signature };
    Request::Mail(MailRequest::Release(release))
}

/// Bytes that look like a hash of these numbers.
fn blake3_like(user: u64, number: u64, round: u64, id: u64) -> Vec<u8> {
    use rand::Rng as _;
    let mut rng = ChaCha20Rng::seed_from_u64(user << 40 | number << 36 | round << 8 | id);
    let mut bytes = vec![0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn a_flooded_node_stays_under_its_memory_limit() {
    let config = Config::builder("/nowhere").memory_limit(MEMORY_LIMIT).build().unwrap();
    let limits = Arc::new(config.limits().clone());
    let limit = |name: &str| limits.get(name).unwrap();
    let before = Counting::start();
    let mut node = Flooded::new(&config, &limits);

    let users = limit("records") as u64 + 100;
    for user in 0..users {
        let bytes = record(user, node.now).as_bytes().to_vec();
        node.ask(&Request::Dht(Rpc::Store { record: bytes }));
    }
    node.settle();
    assert_eq!(node.engine.node().record_count(), limit("records"));

    let expires = node.now.wall.saturating_add(Duration::from_secs(3600));
    let mut refused = 0;
    for number in 0_u64.. {
        let user = number % (limit("mail_places") as u64 / 3);
        let device = device(user, number / 7 % DEVICES).public();
        let header =
            EnvelopeHeader { mailbox: mailbox(user), device: NodeKey::from(device).node_id(), expires };
        let mut body = [0; 512];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let envelope = SealedEnvelope::new(&header, &body).unwrap().as_bytes().to_vec();
        let kept_before = node.engine.mailbox().kept_count();
        node.ask(&Request::Mail(MailRequest::Deposit { envelope }));
        // Of users whose record gave way to nearer ones nothing is kept; those apart, it is full.
        refused = if node.engine.mailbox().kept_count() == kept_before { refused + 1 } else { 0 };
        if refused > 2000 {
            break;
        }
    }
    node.settle();
    let kept = node.engine.mailbox().kept_count();
    assert!(kept * 10 > limit("mail_count") * 9, "{kept} of {}", limit("mail_count"));

    let per_device = limit("released") as u64 / limit("mail_places") as u64 / MAX_RELEASED as u64 * 2 + 2;
    for round in 0..per_device {
        for user in 0..limit("mail_places") as u64 / 3 {
            (0..DEVICES).for_each(|number| node.ask(&release(user, number, round)));
        }
    }
    node.settle();
    let released = node.engine.mailbox().released_count();
    assert!(released * 10 > limit("released") * 7, "{released} of {}", limit("released"));

    for number in 0..2 * u32::try_from(limit("links")).unwrap() {
        node.ask_over_a_link(number);
    }
    assert_eq!(node.transport.link_count(), limit("links"));
    assert!(node.transport.stats().requests_forgotten > 0, "more wait than may");

    let (now, most) = (Counting::in_use() - before, Counting::most() - before);
    eprintln!("{} KiB are in use, {} KiB were at most, of {} KiB", now >> 10, most >> 10, MEMORY_LIMIT >> 10);
    assert!((most as u64) < MEMORY_LIMIT, "{most} bytes");
    // What the budget counts for these stores, and not much less: it is no use to count much too much.
    let shares = config.memory_shares();
    let counted: u64 = shares.iter().map(|share| share.len).sum();
    assert!(counted <= MEMORY_LIMIT);
    assert!(now as u64 > MEMORY_LIMIT / 5, "{now} bytes: the stores are not full");
}
