//! [`Swarm`]: bare nodes of the DHT, as many as memory holds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerchat_core::identity::{SecretKey, UserId};
use peerchat_core::kademlia::{
    Contact, LookupId, Node, NodeConfig, NodeId, NodeKey, Record, RecordHeader, RecordKey, RecordKind, Rpc,
};
use peerchat_core::time::{Now, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::adversary::{Behaviour, Conspiracy, hello};
use crate::faults::{Churn, Reach};
use crate::link::Link;
use crate::model;
use crate::queue::Queue;
use census::Census;
use peer::{Body, Peer};
use tracing::Traces;
use traffic::Happening;

pub use addresses::Addresses;
pub use tracing::Trace;

mod addresses;
mod census;
mod peer;
mod tracing;
mod traffic;

/// How long the records of a swarm live.
const RECORD_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many honest hosts an adversary says hello to, beside those closest to it: about as many as a joining node.
const GREETED: usize = 40;

/// Counts of what happened so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SwarmStats {
    /// Requests sent by honest nodes.
    pub requests: u64,
    /// Those of them by kind: PING, FIND_NODE, FIND_VALUE, STORE, and those for reachability.
    pub by_kind: [u64; 5],
    /// Requests that failed.
    pub failures: u64,
    /// Everything that happened: packets that arrived, timers, comings and goings.
    pub steps: u64,
}

/// A network of nodes without users, disks that save at once, and the faults of [`crate::Network`].
#[derive(Debug)]
pub struct Swarm {
    seed: u64,
    rng: ChaCha20Rng,
    start: Now,
    now: Now,
    config: NodeConfig,
    link: Link,
    reach: Reach,
    addresses: Addresses,
    conspiracy: Conspiracy,
    peers: Vec<Peer>,
    census: Census,
    by_address: HashMap<SocketAddr, usize>,
    queue: Queue<Happening>,
    churn: Option<Churn>,
    traces: Traces,
    stats: SwarmStats,
}

impl Swarm {
    /// Makes an empty swarm. The same seed makes the same run.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time needs a first instant; only differences matter"
    )]
    pub fn new(seed: u64, config: NodeConfig, link: Link, addresses: Addresses) -> Self {
        let start = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
        Self {
            seed,
            rng: ChaCha20Rng::seed_from_u64(seed),
            start,
            now: start,
            config,
            link,
            reach: Reach::default(),
            addresses,
            conspiracy: Conspiracy::default(),
            peers: Vec::new(),
            census: Census::default(),
            by_address: HashMap::new(),
            queue: Queue::new(),
            churn: None,
            traces: Traces::default(),
            stats: SwarmStats::default(),
        }
    }

    /// Adds hosts that join through random others, first a few and then ever more at a time, the last ones within
    /// `time`; runs until they have.
    pub fn grow(&mut self, count: usize, time: Duration, mut progress: impl FnMut(&Self)) {
        let (first, mut at, mut size) = (self.peers.len(), Duration::ZERO, 1.0_f64);
        for number in 0..count {
            let host = self.add(None);
            if first + number > 0 {
                // A tenth of those who are there per second, and what the time needs.
                let pause = (1.0 / (size / 10.0)).max(time.as_secs_f64() / (2.0 * count as f64));
                at += Duration::from_secs_f64(pause);
            }
            size += 1.0;
            self.queue.push(self.now.instant + at, Happening::Arrive { host });
        }
        let (step, end) = (Duration::from_secs(10), at + Duration::from_secs(30));
        for _ in 0..end.as_secs() / step.as_secs() + 1 {
            self.run_for(step);
            progress(self);
        }
    }

    /// Adds hosts that are away and will come as the churn has it, and lets everybody come and go from now on.
    pub fn churn(&mut self, churn: Churn, absent_count: usize) {
        self.churn = Some(churn);
        for host in 0..self.peers.len() {
            let at = self.now.instant + churn.session(&mut self.rng);
            self.queue.push(at, Happening::Leave { host });
        }
        for _ in 0..absent_count {
            let host = self.add(None);
            let at = self.now.instant + churn.absence(&mut self.rng);
            self.queue.push(at, Happening::Arrive { host });
        }
    }

    /// Adds an adversary, with this key if there is one, who says hello to the honest hosts that a node with its id
    /// would meet when it joins.
    pub fn add_adversary(
        &mut self,
        behaviour: Behaviour,
        key: Option<NodeKey>,
        at: Option<Addresses>,
    ) -> usize {
        let (own, addresses) = (self.addresses, at.unwrap_or(self.addresses));
        self.addresses = addresses;
        let host = self.add(key);
        self.addresses = own;
        self.peers[host].body = Body::Adversary(behaviour);
        let contact = self.peers[host].contact;
        self.conspiracy.members.push(contact);
        self.greet(host);
        host
    }

    /// Lets an adversary say hello to the honest hosts closest to it, and to some others.
    pub fn greet(&mut self, host: usize) {
        let id = self.peers[host].contact.id();
        let mut victims = model::closest(&self.conspiracy.honest, &id, self.config.k);
        for _ in 0..GREETED.min(self.conspiracy.honest.len()) {
            victims.push(self.conspiracy.honest[self.rng.random_range(0..self.conspiracy.honest.len())]);
        }
        victims.into_iter().for_each(|victim| self.send_unsolicited(host, victim, hello(id)));
    }

    /// Lets an adversary say hello to one host.
    pub fn say_hello(&mut self, host: usize, victim: usize) {
        self.harass(host, victim, hello(self.peers[host].contact.id()));
    }

    /// Lets an adversary send a request to a host, whatever comes of it.
    pub fn harass(&mut self, host: usize, victim: usize, rpc: Rpc) {
        let victim = self.peers[victim].contact;
        self.send_unsolicited(host, victim, rpc);
    }

    /// Lets a host leave without a word.
    pub fn leave(&mut self, host: usize) {
        self.depart(host);
    }

    /// Lets a host come back with what it had saved.
    pub fn come_back(&mut self, host: usize) {
        self.arrive(host);
    }

    /// Cuts the swarm in two: `hosts` reach only one another until [`Self::heal`].
    pub fn cut_off(&mut self, hosts: impl IntoIterator<Item = usize>) {
        hosts.into_iter().for_each(|host| self.reach.set_side(host, 1));
    }

    /// Ends every partition.
    pub fn heal(&mut self) {
        self.reach.heal();
    }

    /// Puts a host behind a NAT.
    pub fn add_nat(&mut self, host: usize) {
        self.reach.add_nat(host);
    }

    /// Sets the wall clock of a host forward, or backward if negative.
    pub fn jump_clock(&mut self, host: usize, by_ms: i64) {
        self.peers[host].ahead_ms += by_ms;
    }

    /// Changes what happens to packets from now on.
    pub const fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Publishes a record of this user from a host, which stores it again every hour and whenever it comes back,
    /// if it `is_kept_up`.
    pub fn publish(&mut self, host: usize, user: u64, is_kept_up: bool) -> RecordKey {
        let record = self.record_of(user);
        let key = record.header().key;
        if is_kept_up {
            self.peers[host].own.push(record.clone());
        }
        self.with_node(host, |node, now| {
            node.publish(record, now);
            if !is_kept_up {
                node.withdraw(key);
            }
        });
        key
    }

    /// Returns a record of this user, issued now.
    #[must_use]
    pub fn record_of(&self, user: u64) -> Record {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&user.to_be_bytes());
        let secret = SecretKey::from_bytes(&bytes);
        let owner = secret.public();
        let (key, issued) = (RecordKey::of_user(UserId::of(&owner).as_bytes()), self.now.wall);
        let expires = issued.saturating_add(RECORD_LIFETIME);
        let header =
            RecordHeader { kind: RecordKind::User, key, owner, sequence: issued.unix_ms(), issued, expires };
        Record::sign(&secret, header, &[0; 300]).expect("the record keeps the rules")
    }

    /// Looks up the nodes closest to a place; the trace follows.
    pub fn find_nodes(&mut self, host: usize, target: NodeId) {
        self.trace(host, target, |node, now| node.find_nodes(target, now));
    }

    /// Looks up a record; the trace follows.
    pub fn find_value(&mut self, host: usize, key: RecordKey) {
        self.trace(host, key.place(), |node, now| node.find_value(key, 1, now));
    }

    /// Returns the lookups that have ended since, with how they went.
    pub fn take_traces(&mut self) -> Vec<Trace> {
        self.traces.take_ended()
    }

    /// Returns how many hosts that are there keep a record.
    #[must_use]
    pub fn holder_count(&self, key: &RecordKey) -> usize {
        self.holders(key).len()
    }

    /// Returns the hosts that are there and keep a record.
    #[must_use]
    pub fn holders(&self, key: &RecordKey) -> Vec<usize> {
        let keeps = |host: &usize| self.is_up(*host) && self.peers[*host].records.contains_key(key);
        (0..self.peers.len()).filter(keeps).collect()
    }

    /// Returns the honest nodes that are there.
    #[must_use]
    pub fn live_contacts(&self) -> Vec<Contact> {
        self.peers.iter().filter(|peer| peer.is_node()).map(|peer| peer.contact).collect()
    }

    /// Returns the honest hosts closest to a place, nearest first, at most `count`: of those that came no later than
    /// `since` and are still there, without one host.
    #[must_use]
    pub fn closest(&self, place: &NodeId, count: usize, since: Instant, except: usize) -> Vec<usize> {
        let was_there =
            |host: usize| host != except && self.peers[host].came_at.is_some_and(|at| at <= since);
        self.census.closest(place, count, was_there)
    }

    /// Returns how many adversaries the honest nodes have among their live contacts, on average.
    #[must_use]
    pub fn adversaries_per_table(&self) -> f64 {
        let tables = self.peers.iter().filter_map(|peer| match &peer.body {
            Body::Node(node) => Some(node.closest(&node.id(), usize::MAX)),
            _ => None,
        });
        let counts = tables.map(|table| table.iter().filter(|contact| self.is_adversary(contact)).count());
        counts.sum::<usize>() as f64 / self.live_count().max(1) as f64
    }

    /// Tells whether an adversary has this contact.
    #[must_use]
    pub fn is_adversary(&self, contact: &Contact) -> bool {
        let host = self.by_address.get(&contact.address());
        host.is_some_and(|host| matches!(self.peers[*host].body, Body::Adversary(_)))
    }

    /// Draws one of the honest hosts that are there and know somebody.
    ///
    /// # Panics
    ///
    /// There is none.
    pub fn random_host(&mut self) -> usize {
        for _ in 0..10_000 {
            let host = self.rng.random_range(0..self.peers.len());
            if matches!(&self.peers[host].body, Body::Node(node) if node.is_online()) {
                return host;
            }
        }
        panic!("nobody is online");
    }

    /// Draws a place.
    pub fn random_place(&mut self) -> NodeId {
        NodeId::from_bytes(self.rng.random())
    }

    /// Returns the seeded randomness of the run.
    pub const fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    /// Returns a host's node, if it is honest and there.
    #[must_use]
    pub fn node(&self, host: usize) -> Option<&Node> {
        match &self.peers[host].body {
            Body::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Returns a host's contact.
    #[must_use]
    pub fn contact(&self, host: usize) -> Contact {
        self.peers[host].contact
    }

    /// Tells whether a host is an honest node that is there.
    #[must_use]
    pub fn is_up(&self, host: usize) -> bool {
        self.peers[host].is_node()
    }

    /// Returns how many hosts there are, adversaries and absent ones included.
    #[must_use]
    pub fn host_count(&self) -> usize {
        self.peers.len()
    }

    /// Returns how many honest nodes are there.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.census.len()
    }

    /// Returns the virtual time.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Returns counts of what happened so far.
    #[must_use]
    pub const fn stats(&self) -> SwarmStats {
        self.stats
    }

    /// Says where in which run this is.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        format!("seed {}, step {}, {:?}", self.seed, self.stats.steps, self.now.wall)
    }

    /// Lets the swarm run for a while.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            let Some((at, happening)) = self.queue.pop() else { break };
            self.stats.steps += 1;
            self.advance(at);
            self.handle(happening);
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        // From the start: the wall clock counts whole milliseconds, and would fall behind by the rest of each step.
        self.now = self.start.after(to.saturating_duration_since(self.start.instant));
    }

    fn add(&mut self, key: Option<NodeKey>) -> usize {
        let key = key.unwrap_or_else(|| NodeKey::from_bytes(self.rng.random()));
        let host = self.peers.len();
        let contact = Contact::new(key, self.addresses.draw(host));
        self.by_address.insert(contact.address(), host);
        self.peers.push(Peer::new(contact));
        host
    }

    fn trace(&mut self, host: usize, target: NodeId, begin: impl FnOnce(&mut Node, Now) -> LookupId) {
        let peer = &mut self.peers[host];
        let now = peer.clock(self.now);
        let Body::Node(node) = &mut peer.body else { return };
        let id = begin(node, now);
        self.begin_trace(host, target, id);
        self.drain(host);
    }

    fn with_node<T>(&mut self, host: usize, act: impl FnOnce(&mut Node, Now) -> T) -> Option<T> {
        let peer = &mut self.peers[host];
        let now = peer.clock(self.now);
        let Body::Node(node) = &mut peer.body else { return None };
        let result = act(node, now);
        self.drain(host);
        Some(result)
    }
}

/// A run that fails says how to see it again.
impl Drop for Swarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation failed: {}", self.whereabouts());
        }
    }
}
