//! [`Network`]: whole engines, with people and disks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use peerchat_core::engine::{Engine, EngineConfig};
use peerchat_core::event::{CommandId, Event, MessageId, MessageState};
use peerchat_core::identity::{Recipient, SecretKey, UserName};
use peerchat_core::kademlia::{AddressFamily, LOOKUP_PATHS, NodeKey, Serve};
use peerchat_core::mail::DEFAULT_MAIL_QUOTA;
use peerchat_core::save::{ProfileKeys, Saved};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::user::{Decision, DecisionError, FoundUser, LookupError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::adversary::Conspiracy;
use crate::disk::Disk;
use crate::faults::{Churn, Reach};
use crate::link::{Latency, Link};
use crate::profile::Profile;
use crate::queue::Queue;
use machine::{Happening, Machine, Scheduled};

mod hostile;
mod machine;
mod power;
mod traffic;

/// Names a host of the network.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Host(pub usize);

/// How often a host asks for a way in before a run has failed.
const BOOTSTRAP_ATTEMPTS: usize = 3;

/// A network under test. The engines are the ones that run under tokio; below them typed requests travel as the
/// [`Link`] says, and one that is lost is sent again as the transport would do it.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    rng: ChaCha20Rng,
    start: Now,
    now: Now,
    machines: Vec<Machine>,
    queue: Queue<Scheduled>,
    by_address: BTreeMap<SocketAddr, Host>,
    link: Link,
    reach: Reach,
    mail_quota: u64,
    uses_disks: bool,
    conspiracy: Conspiracy,
    last_command: u64,
    last_asked: u64,
    next_address: u32,
    step: u64,
    request_count: u64,
}

impl Network {
    /// Makes an empty network. The same seed makes the same run.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time needs a first instant; only differences matter"
    )]
    pub fn with_seed(seed: u64) -> Self {
        let start = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
        Self {
            seed,
            rng: ChaCha20Rng::seed_from_u64(seed),
            start,
            now: start,
            machines: Vec::new(),
            queue: Queue::new(),
            by_address: BTreeMap::new(),
            link: Link::default(),
            reach: Reach::default(),
            mail_quota: DEFAULT_MAIL_QUOTA,
            uses_disks: false,
            conspiracy: Conspiracy::default(),
            last_command: 0,
            last_asked: 0,
            next_address: 1,
            step: 0,
            request_count: 0,
        }
    }

    /// Sets how long a packet travels, one way.
    #[must_use]
    pub fn latency(mut self, latency: Range<Duration>) -> Self {
        self.link.latency = Latency::Uniform(latency);
        self
    }

    /// Sets which share of the packets is lost.
    #[must_use]
    pub fn loss(mut self, loss: f64) -> Self {
        self.link.loss = loss;
        self
    }

    /// Sets everything that happens to packets.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Sets how much mail each machine that is added from now on keeps for others, in bytes.
    #[must_use]
    pub fn mail_quota(mut self, bytes: u64) -> Self {
        self.mail_quota = bytes;
        self
    }

    /// Says whether machines that are added from now on have profiles on a real disk.
    pub const fn use_disks(&mut self, uses_disks: bool) {
        self.uses_disks = uses_disks;
    }

    /// Changes what happens to packets from now on.
    pub const fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Returns how many requests have arrived so far.
    #[must_use]
    pub const fn request_count(&self) -> u64 {
        self.request_count
    }

    /// Returns how many things have happened so far.
    #[must_use]
    pub const fn step(&self) -> u64 {
        self.step
    }

    /// Returns the virtual time.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Adds a machine with a new profile and starts it; `name` `None` is a node without a user.
    pub fn add(&mut self, name: Option<&str>) -> Host {
        let mut secrets = [[0; 32]; 2];
        secrets.iter_mut().for_each(|secret| self.rng.fill_bytes(secret));
        let node = SecretKey::from_bytes(&secrets[0]);
        let user = name.map(|_| SecretKey::from_bytes(&secrets[1]));
        let key = NodeKey::from(node.public());
        let config = EngineConfig {
            k: peerchat_core::kademlia::K,
            alpha: peerchat_core::kademlia::ALPHA,
            paths: LOOKUP_PATHS,
            family: AddressFamily::V4,
            serve: Serve::Auto,
            user: name.map(|name| UserName::parse(name).unwrap()),
            message_lifetime: Duration::from_secs(30 * 24 * 3600),
            read_receipts: true,
            mail_quota: self.mail_quota,
            limits: peerchat_core::Limits::shared(),
        };
        let host = Host(self.machines.len());
        let address = self.draw_address();
        let disk = Disk::new(Saved::fresh(ProfileKeys { node, user }));
        let profile = self.uses_disks.then(|| Profile::new(config.user.clone()));
        self.machines.push(Machine { profile, ..Machine::new(config, disk, address, key) });
        self.by_address.insert(address, host);
        self.start(host);
        let contact = self.contact(host);
        self.conspiracy.honest.push(contact);
        host
    }

    /// Adds a machine, joins it through the first one, and waits until that has worked and its name is registered.
    ///
    /// # Panics
    ///
    /// It does not join, or is not registered.
    pub fn join(&mut self, name: &str) -> Host {
        let host = self.add(Some(name));
        if host.0 > 0 {
            self.bootstrap(host, Host(0));
        }
        host
    }

    /// Bootstraps `host` through `seed` and waits until the outcome is told.
    ///
    /// # Panics
    ///
    /// Three bootstrap calls in a row fail.
    pub fn bootstrap(&mut self, host: Host, seed: Host) {
        // Among many lost packets are now and then all three of one call: who is told so tries again.
        for _ in 0..BOOTSTRAP_ATTEMPTS {
            self.last_command += 1;
            let (command, address, now) =
                (CommandId(self.last_command), self.machines[seed.0].address, self.clock(host));
            self.with_engine(host, |engine| {
                engine.bootstrap(command, address.to_string(), vec![address], None, now);
            });
            let is_of_it = |event: &Event, joined: bool| match event {
                Event::Bootstrapped { command: done, .. } => *done == command && joined,
                Event::BootstrapFailed { command: done, .. } => *done == command && !joined,
                _ => false,
            };
            let has = |network: &Self, joined: bool| {
                network.machines[host.0].events.iter().any(|event| is_of_it(event, joined))
            };
            self.run_until(Duration::from_secs(60), |network| has(network, true) || has(network, false));
            if has(self, true) {
                return;
            }
        }
        panic!("{host:?} cannot join");
    }

    /// Gives the machine another address.
    pub fn move_away(&mut self, host: Host) {
        self.by_address.remove(&self.machines[host.0].address);
        let address = self.draw_address();
        self.machines[host.0].address = address;
        self.by_address.insert(address, host);
    }

    /// Saves a text for sending and waits until it is on disk.
    ///
    /// # Panics
    ///
    /// The machine is off, has no user, or refuses.
    pub fn send(&mut self, from: Host, to: &str, text: &str) -> MessageId {
        self.send_for(from, to, text, None)
    }

    /// Does what [`Self::send`] does for a text with a lifetime of its own.
    ///
    /// # Panics
    ///
    /// The machine is off, has no user, or refuses.
    pub fn send_for(&mut self, from: Host, to: &str, text: &str, lifetime: Option<Duration>) -> MessageId {
        let id = self.begin_send(from, to, text, lifetime);
        self.run_until(Duration::from_secs(1), |network| network.machines[from.0].saved.contains(&id));
        id
    }

    /// Hands a text over for sending and does not wait until it is on disk.
    ///
    /// # Panics
    ///
    /// The machine is off, has no user, or refuses.
    pub fn begin_send(&mut self, from: Host, to: &str, text: &str, lifetime: Option<Duration>) -> MessageId {
        let (to, now) = (Recipient::parse(to).unwrap(), self.clock(from));
        let engine = self.machines[from.0].engine.as_mut().expect("the machine is on");
        let id = engine.send_text(&to, text, lifetime, now).expect("it has a user").expect("there is room");
        self.drain(from);
        id
    }

    /// Looks a name up and waits for the answer.
    ///
    /// # Panics
    ///
    /// The lookup does not end.
    pub fn lookup(&mut self, host: Host, name: &str) -> Result<FoundUser, LookupError> {
        self.last_command += 1;
        let (command, name, now) =
            (CommandId(self.last_command), Recipient::parse(name).unwrap(), self.clock(host));
        self.with_engine(host, |engine| engine.lookup(command, name, now));
        self.run_until(Duration::from_secs(60), |network| {
            network.machines[host.0].found.contains_key(&command)
        });
        self.machines[host.0].found.remove(&command).expect("it was just there")
    }

    /// Does what the application of a host decided about a person, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::decide`].
    ///
    /// # Panics
    ///
    /// The machine is off.
    pub fn decide(&mut self, host: Host, decision: Decision) -> Result<(), DecisionError> {
        self.last_command += 1;
        let (command, now) = (CommandId(self.last_command), self.clock(host));
        let engine = self.machines[host.0].engine.as_mut().expect("the machine is on");
        engine.decide(command, decision, now)?;
        self.drain(host);
        self.run_until(Duration::from_secs(1), |network| network.machines[host.0].decided.contains(&command));
        Ok(())
    }

    /// Cuts the network in two: `hosts` reach only one another until [`Self::heal`].
    pub fn cut_off(&mut self, hosts: &[Host]) {
        hosts.iter().for_each(|host| self.reach.set_side(host.0, 1));
    }

    /// Ends every partition.
    pub fn heal(&mut self) {
        self.reach.heal();
    }

    /// Puts a host behind a NAT: only those to whom it has sent of late reach it.
    pub fn add_nat(&mut self, host: Host) {
        self.reach.add_nat(host.0);
    }

    /// Adds a machine behind a NAT with a new profile and starts it.
    pub fn add_behind_nat(&mut self, name: Option<&str>) -> Host {
        let host = self.add(name);
        self.add_nat(host);
        host
    }

    /// Moves a machine to another address, behind a NAT.
    pub fn hide(&mut self, host: Host) {
        self.move_away(host);
        self.add_nat(host);
    }

    /// Returns how often a machine was told that mail waits for its user.
    #[must_use]
    pub fn announced(&self, host: Host) -> u64 {
        self.machines[host.0].announced
    }

    /// Returns the keys under which envelopes came to a machine, and records under throwaway keys.
    #[must_use]
    pub fn depositors(&self, host: Host) -> &BTreeSet<NodeKey> {
        &self.machines[host.0].depositors
    }

    /// Returns the key of a machine's node.
    #[must_use]
    pub fn node_key(&self, host: Host) -> &SecretKey {
        self.machines[host.0].disk.node_key()
    }

    /// Returns the engine of a machine that is on.
    #[must_use]
    pub fn engine(&self, host: Host) -> Option<&Engine> {
        self.machines[host.0].engine.as_ref()
    }

    /// Lets hosts come and go from now on.
    pub fn churn(&mut self, hosts: &[Host], churn: Churn) {
        for host in hosts {
            self.machines[host.0].churn = Some(churn);
            let at = self.now.instant + churn.session(&mut self.rng);
            self.schedule(at, *host, Happening::Churn);
        }
    }

    /// Lets a host leave for good, whether it came and went or not.
    pub fn vanish(&mut self, host: Host) {
        self.machines[host.0].churn = None;
        self.kill(host);
    }

    /// Ends the churn: everybody is there again.
    pub fn end_churn(&mut self) {
        for host in (0..self.machines.len()).map(Host) {
            let machine = &mut self.machines[host.0];
            if machine.churn.take().is_some() && !machine.is_up() {
                self.start(host);
            }
        }
    }

    /// Sets the wall clock of a host forward, or backward if negative. Its monotonic clock goes on as before.
    pub fn jump_clock(&mut self, host: Host, by_ms: i64) {
        self.machines[host.0].ahead_ms += by_ms;
    }

    /// Tells whether a host runs.
    #[must_use]
    pub fn is_up(&self, host: Host) -> bool {
        self.machines[host.0].is_up()
    }

    /// Returns the key of a machine's node.
    #[must_use]
    pub fn key(&self, host: Host) -> NodeKey {
        self.machines[host.0].key
    }

    /// Returns the address of a machine.
    #[must_use]
    pub fn address(&self, host: Host) -> SocketAddr {
        self.machines[host.0].address
    }

    /// Returns everything that the application of a machine was told since it was added.
    #[must_use]
    pub fn events(&self, host: Host) -> &[Event] {
        &self.machines[host.0].events
    }

    /// Returns the texts that a machine's application was told of, with their writers, in order.
    #[must_use]
    pub fn texts(&self, host: Host) -> Vec<(String, String)> {
        let text = |event: &Event| match event {
            Event::Message(message) => Some((message.from.clone(), message.text.clone())),
            _ => None,
        };
        self.events(host).iter().filter_map(text).collect()
    }

    /// Returns the latest state that was told of a message.
    #[must_use]
    pub fn state(&self, host: Host, message: MessageId) -> Option<MessageState> {
        let state = |event: &Event| match event {
            Event::MessageState { id, state, .. } if *id == message => Some(*state),
            _ => None,
        };
        self.events(host).iter().rev().find_map(state)
    }

    /// Returns the disk of a machine.
    #[must_use]
    pub fn disk(&self, host: Host) -> &Disk {
        &self.machines[host.0].disk
    }

    /// Lets the network run for a while.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.queue.next_at().is_some_and(|at| at <= end) {
            self.happen();
        }
        self.advance(end);
    }

    /// Lets the network run until `is_done`.
    ///
    /// # Panics
    ///
    /// It is not done after `limit`.
    pub fn run_until(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) {
        let end = self.now.instant + limit;
        while !is_done(self) {
            assert!(self.queue.next_at().is_some_and(|at| at <= end), "not done after {limit:?}");
            self.happen();
        }
    }

    fn draw_address(&mut self) -> SocketAddr {
        // Spread over many networks, as the internet is.
        let number = self.next_address.wrapping_mul(0x9e37_79b1);
        self.next_address += 1;
        let [a, b, c, d] = number.to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(11 + a % 80, b, c, d), 4000))
    }

    fn with_engine(&mut self, host: Host, act: impl FnOnce(&mut Engine)) {
        if let Some(engine) = &mut self.machines[host.0].engine {
            act(engine);
            self.drain(host);
        }
    }

    fn happen(&mut self) {
        let Some((at, Scheduled { host, run, happening })) = self.queue.pop() else { return };
        self.step += 1;
        self.advance(at);
        if matches!(happening, Happening::Churn) {
            self.come_or_go(host);
        } else if self.machines[host.0].run == run && self.machines[host.0].is_up() {
            self.handle(host, happening);
            self.drain(host);
        }
    }

    fn come_or_go(&mut self, host: Host) {
        let Some(churn) = self.machines[host.0].churn else { return };
        let time = if self.machines[host.0].is_up() {
            self.kill(host);
            churn.absence(&mut self.rng)
        } else {
            // Where the disk refuses, nobody comes.
            let _ = self.try_start(host);
            churn.session(&mut self.rng)
        };
        self.schedule(self.now.instant + time, host, Happening::Churn);
    }

    fn advance(&mut self, to: Instant) {
        // From the start: the wall clock counts whole milliseconds, and would fall behind by the rest of each step.
        self.now = self.start.after(to.saturating_duration_since(self.start.instant));
    }

    fn clock(&self, host: Host) -> Now {
        self.machines[host.0].clock(self.now)
    }
}

/// A run that fails says how to see it again.
impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation failed: seed {}, step {}, {:?}", self.seed, self.step, self.now.wall);
        }
    }
}
