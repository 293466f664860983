//! A network of nodes in memory on a virtual clock, for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::super::contact::{AddressFamily, Contact, NodeKey};
use super::super::id::NodeId;
use super::super::lookup::LookupOutcome;
use super::super::record::{Record, RecordHeader, RecordKey, RecordKind};
use super::super::rpc::{Rpc, RpcReply};
use super::{Node, NodeConfig, NodeEvent, Outgoing, PublishOutcome, RpcId, Serve};
use crate::identity::{SecretKey, UserId};
use crate::time::{Now, Timestamp};

/// When the transport sends a request again, and when it gives up.
const ATTEMPTS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500), Duration::from_millis(2500)];
const GIVE_UP: Duration = Duration::from_millis(3500);

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) struct Host {
    pub(super) node: Node,
    pub(super) contact: Contact,
    pub(super) is_up: bool,
    /// Hosts of different sides cannot reach one another.
    pub(super) side: u8,
    pub(super) events: Vec<NodeEvent>,
    /// What the disk holds.
    pub(super) saved: BTreeMap<RecordKey, Vec<u8>>,
    timer: Option<Instant>,
}

enum Delivery {
    Request { from: usize, to: usize, id: RpcId, rpc: Rpc, sent: Instant },
    Reply { from: usize, to: usize, id: RpcId, reply: RpcReply, sent: Instant },
    Failure { to: usize, id: RpcId },
}

pub(super) struct Network {
    pub(super) hosts: Vec<Host>,
    pub(super) now: Now,
    pub(super) config: NodeConfig,
    /// Requests sent, by kind: PING, FIND_NODE, FIND_VALUE, STORE, those for reachability.
    pub(super) sent: [usize; 5],
    loss: f64,
    rng: ChaCha20Rng,
    by_address: BTreeMap<SocketAddr, usize>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    timers: BTreeSet<(Instant, usize)>,
    sequence: u64,
}

impl Network {
    pub(super) fn with_seed(seed: u64) -> Self {
        Self {
            hosts: Vec::new(),
            now: start(),
            config: NodeConfig {
                k: super::super::K,
                alpha: super::super::ALPHA,
                paths: super::super::LOOKUP_PATHS,
                serve: Serve::Auto,
                family: AddressFamily::V4,
            },
            sent: [0; 5],
            loss: 0.0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            by_address: BTreeMap::new(),
            queue: BTreeMap::new(),
            timers: BTreeSet::new(),
            sequence: 0,
        }
    }

    pub(super) fn loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    pub(super) fn k(mut self, k: usize) -> Self {
        self.config.k = k;
        self
    }

    /// Adds a host that knows nobody.
    pub(super) fn add(&mut self) -> usize {
        let key = NodeKey::from_bytes(self.rng.random());
        self.add_with(key)
    }

    /// Adds a host that has drawn keys until its id had the first `bits` bits of another host's.
    pub(super) fn add_beside(&mut self, other: usize, bits: usize) -> usize {
        let id = self.hosts[other].contact.id();
        loop {
            let key = NodeKey::from_bytes(self.rng.random());
            if key.node_id().distance(&id).bucket_index().is_some_and(|index| index < NodeId::BITS - bits) {
                return self.add_with(key);
            }
        }
    }

    fn add_with(&mut self, key: NodeKey) -> usize {
        let host = self.hosts.len();
        let [a, b, ..] = u32::try_from(host).unwrap().to_le_bytes();
        let contact = Contact::new(key, SocketAddr::from(([10, 0, b, a], 1000)));
        let node = Node::new(key, self.config, ChaCha20Rng::from_seed(self.rng.random()), self.now);
        self.by_address.insert(contact.address(), host);
        let (events, saved) = (Vec::new(), BTreeMap::new());
        self.hosts.push(Host { node, contact, is_up: true, side: 0, events, saved, timer: None });
        host
    }

    /// Adds a host that joins through `seed`, and waits until it has.
    pub(super) fn join(&mut self, seed: usize) -> usize {
        let host = self.add();
        self.join_as(host, seed);
        host
    }

    pub(super) fn join_as(&mut self, host: usize, seed: usize) {
        let seed = self.hosts[seed].contact;
        self.act(host, |node, now| node.join(seed, now));
        self.settle();
    }

    /// Starts a host again with what it had saved.
    pub(super) fn restart(&mut self, host: usize) {
        let (contacts, key) = (self.hosts[host].node.contacts_to_save(), self.hosts[host].contact.key());
        let records: Vec<_> = self.hosts[host].saved.values().cloned().collect();
        let rng = ChaCha20Rng::from_seed(self.rng.random());
        self.hosts[host].node = Node::new(key, self.config, rng, self.now);
        self.hosts[host].is_up = true;
        self.act(host, |node, now| node.restore(&contacts, &records, now));
    }

    /// Calls a node, then does what it asks for.
    pub(super) fn act<T>(&mut self, host: usize, command: impl FnOnce(&mut Node, Now) -> T) -> T {
        let now = self.now;
        let result = command(&mut self.hosts[host].node, now);
        self.drain(host);
        result
    }

    /// Runs until no message is on its way.
    pub(super) fn settle(&mut self) {
        while let Some((&(at, _), _)) = self.queue.first_key_value() {
            self.step(at);
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.step(at);
        }
        self.advance(end);
    }

    pub(super) fn find_value(&mut self, host: usize, key: RecordKey, wanted: usize) -> LookupOutcome {
        let id = self.act(host, |node, now| node.find_value(key, wanted, now));
        self.settle();
        let is_done =
            |event: &NodeEvent| matches!(event, NodeEvent::LookupDone { id: done, .. } if *done == id);
        let events = &mut self.hosts[host].events;
        let place = events.iter().position(is_done).expect("every lookup ends");
        match events.remove(place) {
            NodeEvent::LookupDone { outcome, .. } => outcome,
            _ => unreachable!(),
        }
    }

    pub(super) fn publish(&mut self, host: usize, record: &Record) -> PublishOutcome {
        let id = self.act(host, |node, now| node.publish(record.clone(), now));
        self.settle();
        let is_done =
            |event: &NodeEvent| matches!(event, NodeEvent::PublishDone { id: done, .. } if *done == id);
        let events = &mut self.hosts[host].events;
        let place = events.iter().position(is_done).expect("every publication ends");
        match events.remove(place) {
            NodeEvent::PublishDone { outcome, .. } => outcome,
            _ => unreachable!(),
        }
    }

    /// Returns the hosts closest to a place, of those that are up.
    pub(super) fn closest(&self, place: &NodeId, count: usize) -> Vec<usize> {
        let mut hosts: Vec<_> = (0..self.hosts.len()).filter(|&host| self.hosts[host].is_up).collect();
        hosts.sort_by_key(|&host| self.hosts[host].contact.id().distance(place));
        hosts.truncate(count);
        hosts
    }

    /// Returns the hosts that keep a record, of those that are up.
    pub(super) fn holders(&mut self, key: &RecordKey) -> Vec<usize> {
        let now = self.now;
        let hosts = self.hosts.iter_mut().enumerate();
        hosts
            .filter_map(|(place, host)| {
                let time = host.node.wall_time(now);
                (host.is_up && host.node.store.get(key, time).is_some()).then_some(place)
            })
            .collect()
    }

    pub(super) fn host_of(&self, contact: &Contact) -> usize {
        self.by_address[&contact.address()]
    }

    /// Returns a user's record, issued now.
    pub(super) fn user_record(&self, user: u16) -> Record {
        let owner = secret(user).public();
        let key = RecordKey::of_user(UserId::of(&owner).as_bytes());
        self.record(user, RecordKind::User, key)
    }

    /// Returns a user's claim on a name that everybody wants, issued now.
    pub(super) fn claim(&self, user: u16) -> Record {
        self.record(user, RecordKind::Claim, RecordKey::of_name("alice"))
    }

    /// Returns a user's claim on a name, issued now.
    pub(super) fn claim_on(&self, user: u16, name: &str) -> Record {
        self.sign(user, RecordKind::Claim, RecordKey::of_name(name), name.as_bytes())
    }

    fn record(&self, user: u16, kind: RecordKind, key: RecordKey) -> Record {
        self.sign(user, kind, key, b"alice")
    }

    fn sign(&self, user: u16, kind: RecordKind, key: RecordKey, body: &[u8]) -> Record {
        let secret = secret(user);
        let (owner, issued) = (secret.public(), self.now.wall);
        let expires = issued.saturating_add(48 * HOUR);
        let header = RecordHeader { kind, key, owner, sequence: issued.unix_ms(), issued, expires };
        Record::sign(&secret, header, body).unwrap()
    }

    fn next_at(&self) -> Option<Instant> {
        let message = self.queue.first_key_value().map(|((at, _), _)| *at);
        [message, self.timers.first().map(|(at, _)| *at)].into_iter().flatten().min()
    }

    /// Does the next thing that is due by `by`.
    fn step(&mut self, by: Instant) {
        if let Some((at, host)) = self.timers.first().copied().filter(|(at, _)| *at <= by) {
            self.advance(at);
            self.timers.pop_first();
            self.hosts[host].timer = None;
            if self.hosts[host].is_up {
                self.act(host, Node::handle_timeout);
            }
        } else if let Some(((at, _), delivery)) = self.queue.pop_first() {
            self.advance(at);
            self.deliver(delivery);
        }
    }

    fn advance(&mut self, to: Instant) {
        self.now = self.now.after(to.saturating_duration_since(self.now.instant));
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Request { from, to, id, rpc, sent } => {
                let (asker, asked) = (&self.hosts[from], &self.hosts[to]);
                if !asked.is_up || asker.side != asked.side {
                    return self.post(sent + GIVE_UP, Delivery::Failure { to: from, id });
                }
                let contact = asker.contact;
                let reply = self.act(to, |node, now| node.handle_request(contact, true, rpc, now));
                let at = self.now.instant + self.latency();
                self.post(at, Delivery::Reply { from: to, to: from, id, reply, sent });
            }
            Delivery::Reply { from, to, id, reply, sent } if self.hosts[to].is_up => {
                let contact = self.hosts[from].contact;
                let round_trip = self.now.instant - sent;
                self.act(to, |node, now| node.handle_reply(id, contact, reply, Some(round_trip), now));
            }
            Delivery::Failure { to, id } if self.hosts[to].is_up => {
                self.act(to, |node, now| node.handle_failure(id, now));
            }
            Delivery::Reply { .. } | Delivery::Failure { .. } => {}
        }
    }

    fn drain(&mut self, host: usize) {
        while let Some(outgoing) = self.hosts[host].node.poll_rpc(self.now) {
            self.send(host, outgoing);
        }
        let Host { node, events, saved, timer, .. } = &mut self.hosts[host];
        while let Some(write) = node.poll_write() {
            match write {
                super::NodeWrite::Record { key, bytes } => _ = saved.insert(key, bytes),
                super::NodeWrite::RecordGone { key } => _ = saved.remove(&key),
            }
        }
        events.extend(std::iter::from_fn(|| node.poll_event()));
        let next = node.poll_timeout().map(|(at, _)| at);
        if *timer != next {
            timer.map(|at| self.timers.remove(&(at, host)));
            *timer = next;
            next.map(|at| self.timers.insert((at, host)));
        }
    }

    fn send(&mut self, from: usize, outgoing: Outgoing) {
        let Outgoing { id, to, rpc } = outgoing;
        self.sent[match rpc {
            Rpc::Ping => 0,
            Rpc::FindNode { .. } => 1,
            Rpc::FindValue { .. } => 2,
            Rpc::Store { .. } => 3,
            Rpc::DialBack { .. } | Rpc::Relay { .. } | Rpc::Dial => 4,
        }] += 1;
        let sent = self.now.instant;
        let attempt = ATTEMPTS.into_iter().find(|_| !self.rng.random_bool(self.loss));
        let target = self.by_address.get(&to.address()).copied();
        match (attempt, target) {
            (Some(delay), Some(to)) => {
                let at = sent + delay + self.latency();
                self.post(at, Delivery::Request { from, to, id, rpc, sent });
            }
            _ => self.post(sent + GIVE_UP, Delivery::Failure { to: from, id }),
        }
    }

    fn post(&mut self, at: Instant, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), delivery);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(5..50))
    }
}

fn secret(user: u16) -> SecretKey {
    SecretKey::from_bytes(blake3::hash(&user.to_be_bytes()).as_bytes())
}

/// A moment to start from.
pub(super) fn start() -> Now {
    Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) }
}

/// A node by itself.
pub(super) fn node(family: AddressFamily) -> Node {
    let config = NodeConfig {
        k: super::super::K,
        alpha: super::super::ALPHA,
        paths: super::super::LOOKUP_PATHS,
        serve: Serve::Always,
        family,
    };
    Node::new(NodeKey::from_bytes([0xee; 32]), config, ChaCha20Rng::from_seed([7; 32]), start())
}
