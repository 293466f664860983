//! A network of real engines on virtual time: seeded, without sockets, threads or encryption.
//!
//! The engines are the ones that run under tokio. Below them typed requests travel with a latency and may be lost;
//! a lost request is sent again as the transport would do it. A run with the same seed is the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use peerchat_core::engine::{Engine, EngineCall, EngineConfig, Outcome};
use peerchat_core::event::{CommandId, Event, MessageId, MessageState};
use peerchat_core::identity::{Recipient, SecretKey, UserName};
use peerchat_core::kademlia::{AddressFamily, Contact, NodeKey};
use peerchat_core::save::{BatchId, ProfileKeys, Saved};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::{CallId, ProbeId, ReplyToken};
use peerchat_core::user::{FoundUser, LookupError};
use peerchat_core::wire::{Request, Response};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

mod disk;
mod nat;

pub use disk::Disk;

/// When a request is sent again if it or its answer was lost, and when the call has failed, after the first try.
const RETRANSMISSIONS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1500), Duration::from_millis(3500)];

/// How long a batch takes to be on disk.
const WRITE_TIME: Duration = Duration::from_micros(300);

/// Names a host of the network.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Host(pub usize);

/// What happens to one host at one time.
#[derive(Debug)]
enum Happening {
    Request { from: Host, id: CallId, request: Request },
    Response { id: CallId, from: Host, response: Response, asked: Instant },
    Retransmit { call: EngineCall, attempt: usize, asked: Instant },
    Probe { id: ProbeId, from: Host },
    Probed { id: ProbeId, key: Option<NodeKey> },
    Written(BatchId),
    Timeout,
}

/// One machine: a disk, an address, and an engine while it runs.
#[derive(Debug)]
struct Machine {
    engine: Option<Engine>,
    /// Counts starts, so that what was under way for an earlier run is not taken by a later one.
    run: u64,
    config: EngineConfig,
    disk: Disk,
    address: SocketAddr,
    key: NodeKey,
    pending: BTreeSet<CallId>,
    open_requests: BTreeMap<u64, (Host, u64, CallId, Instant)>,
    events: Vec<Event>,
    saved: BTreeSet<MessageId>,
    found: BTreeMap<CommandId, Result<FoundUser, LookupError>>,
    timeout: Option<Instant>,
    /// `None` if anybody can reach the machine.
    nat: Option<nat::Nat>,
}

/// A network under test.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    rng: ChaCha20Rng,
    now: Now,
    machines: Vec<Machine>,
    happenings: BTreeMap<(Instant, u64), (Host, u64, Happening)>,
    by_address: BTreeMap<SocketAddr, Host>,
    latency: Range<Duration>,
    loss: f64,
    last_happening: u64,
    last_command: u64,
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
        let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
        Self {
            seed,
            rng: ChaCha20Rng::seed_from_u64(seed),
            now,
            machines: Vec::new(),
            happenings: BTreeMap::new(),
            by_address: BTreeMap::new(),
            latency: Duration::from_millis(20)..Duration::from_millis(80),
            loss: 0.0,
            last_happening: 0,
            last_command: 0,
            next_address: 1,
            step: 0,
            request_count: 0,
        }
    }

    /// Sets how long a packet travels, one way.
    #[must_use]
    pub fn latency(mut self, latency: Range<Duration>) -> Self {
        self.latency = latency;
        self
    }

    /// Sets which share of the packets is lost.
    #[must_use]
    pub fn loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    /// Returns how many requests have arrived so far.
    #[must_use]
    pub fn request_count(&self) -> u64 {
        self.request_count
    }

    /// Returns the virtual time.
    #[must_use]
    pub fn now(&self) -> Now {
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
            paths: peerchat_core::kademlia::LOOKUP_PATHS,
            family: AddressFamily::V4,
            serve: peerchat_core::kademlia::Serve::Auto,
            user: name.map(|name| UserName::parse(name).unwrap()),
            message_lifetime: Duration::from_secs(30 * 24 * 3600),
        };
        let host = Host(self.machines.len());
        let address = self.draw_address();
        self.machines.push(Machine {
            engine: None,
            run: 0,
            config,
            disk: Disk::new(Saved::fresh(ProfileKeys { node, user })),
            address,
            key,
            pending: BTreeSet::new(),
            open_requests: BTreeMap::new(),
            events: Vec::new(),
            saved: BTreeSet::new(),
            found: BTreeMap::new(),
            timeout: None,
            nat: None,
        });
        self.by_address.insert(address, host);
        self.start(host);
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
    /// The bootstrap call fails.
    pub fn bootstrap(&mut self, host: Host, seed: Host) {
        self.last_command += 1;
        let (command, address, now) = (CommandId(self.last_command), self.machines[seed.0].address, self.now);
        self.with_engine(host, |engine| {
            engine.bootstrap(command, address.to_string(), vec![address], None, now);
        });
        self.run_until(Duration::from_secs(60), |network| {
            network.machines[host.0].events.iter().any(|event| match event {
                Event::Bootstrapped { command: done, .. } => *done == command,
                Event::BootstrapFailed { detail, .. } => {
                    panic!("{host:?} cannot join: {detail} (seed {})", network.seed)
                }
                _ => false,
            })
        });
    }

    /// Starts the machine with what is on its disk.
    pub fn start(&mut self, host: Host) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let machine = &mut self.machines[host.0];
        machine.run += 1;
        machine.engine = Some(Engine::new(machine.config.clone(), machine.disk.saved(), seed, self.now));
        self.drain(host);
    }

    /// Stops the machine in an orderly way: what is otherwise saved now and then is saved first.
    pub fn stop(&mut self, host: Host) {
        self.with_engine(host, Engine::save_routing);
        self.run_until(Duration::from_secs(1), |network| {
            network.machines[host.0].engine.as_ref().is_none_or(Engine::is_saved)
        });
        self.kill(host);
    }

    /// Cuts the power of the machine: what was being written is lost.
    pub fn kill(&mut self, host: Host) {
        let machine = &mut self.machines[host.0];
        machine.engine = None;
        machine.disk.cut();
        machine.pending.clear();
        machine.open_requests.clear();
        machine.timeout = None;
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
        let (to, now) = (Recipient::parse(to).unwrap(), self.now);
        let engine = self.machines[from.0].engine.as_mut().expect("the machine is on");
        let id = engine.send_text(&to, text, now).expect("it has a user").expect("there is room");
        self.drain(from);
        self.run_until(Duration::from_secs(1), |network| network.machines[from.0].saved.contains(&id));
        id
    }

    /// Looks a name up and waits for the answer.
    ///
    /// # Panics
    ///
    /// The lookup does not end.
    pub fn lookup(&mut self, host: Host, name: &str) -> Result<FoundUser, LookupError> {
        self.last_command += 1;
        let (command, name, now) = (CommandId(self.last_command), Recipient::parse(name).unwrap(), self.now);
        self.with_engine(host, |engine| engine.lookup(command, name, now));
        self.run_until(Duration::from_secs(60), |network| {
            network.machines[host.0].found.contains_key(&command)
        });
        self.machines[host.0].found.remove(&command).expect("it was just there")
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
        let end = self.now.after(time);
        while self.happenings.first_key_value().is_some_and(|((at, _), _)| *at <= end.instant) {
            self.happen();
        }
        self.now = end;
    }

    /// Lets the network run until `is_done`.
    ///
    /// # Panics
    ///
    /// It is not done after `limit`; the message has seed and step.
    pub fn run_until(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) {
        let end = self.now.instant + limit;
        while !is_done(self) {
            let next = self.happenings.first_key_value().map(|((at, _), _)| *at);
            assert!(
                next.is_some_and(|at| at <= end),
                "not done after {limit:?} (seed {}, step {})",
                self.seed,
                self.step
            );
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
        let Some(((at, _), (host, run, happening))) = self.happenings.pop_first() else { return };
        self.step += 1;
        let passed = at.saturating_duration_since(self.now.instant);
        self.now = self.now.after(passed);
        if self.machines[host.0].run == run && self.machines[host.0].engine.is_some() {
            self.handle(host, happening);
            self.drain(host);
        }
    }

    fn handle(&mut self, host: Host, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Request { from, id, request } => self.handle_request(host, from, id, request),
            Happening::Response { id, from, response, asked } => {
                let peer = self.contact(from);
                let machine = &mut self.machines[host.0];
                if machine.pending.remove(&id)
                    && let Some(engine) = &mut machine.engine
                {
                    let round_trip = now.instant - asked;
                    engine.handle_response(id, peer, machine.address, response, round_trip, now);
                }
            }
            Happening::Retransmit { call, attempt, asked } => self.retransmit(host, call, attempt, asked),
            Happening::Probe { id, from } => {
                let key = Some(self.machines[host.0].key);
                self.carry(from, Happening::Probed { id, key });
            }
            Happening::Probed { id, key } => {
                self.with_engine(host, |engine| engine.handle_probed(id, key, now))
            }
            Happening::Written(id) => {
                self.machines[host.0].disk.commit(id);
                self.with_engine(host, |engine| engine.handle_written(id, now));
            }
            Happening::Timeout => {
                self.machines[host.0].timeout = None;
                self.with_engine(host, |engine| engine.handle_timeout(now));
            }
        }
    }

    fn handle_request(&mut self, host: Host, from: Host, id: CallId, request: Request) {
        let (now, peer) = (self.now, self.contact(from));
        let from_run = self.machines[from.0].run;
        self.request_count += 1;
        let token = self.request_count;
        let machine = &mut self.machines[host.0];
        machine.open_requests.insert(token, (from, from_run, id, now.instant));
        if let Some(engine) = &mut machine.engine {
            engine.handle_request(peer, true, ReplyToken::for_simulation(token), request, now);
        }
    }

    fn retransmit(&mut self, host: Host, call: EngineCall, attempt: usize, asked: Instant) {
        let now = self.now;
        if !self.machines[host.0].pending.contains(&call.id) {
            return;
        }
        match RETRANSMISSIONS.get(attempt) {
            Some(_) if attempt + 1 < RETRANSMISSIONS.len() => self.transmit(host, call, attempt + 1, asked),
            _ => {
                self.machines[host.0].pending.remove(&call.id);
                self.with_engine(host, |engine| engine.handle_call_failed(call.id, now));
            }
        }
    }

    /// Sends a request for the `attempt`th time.
    fn transmit(&mut self, host: Host, call: EngineCall, attempt: usize, asked: Instant) {
        let to = self.by_address.get(&call.to.address()).copied();
        // Whoever answers at the address must have the key.
        let is_right = |to: &Host| self.machines[to.0].key == call.to.key();
        if let Some(to) = to.filter(is_right).filter(|to| self.passes_nats(host, *to)) {
            let request = Happening::Request { from: host, id: call.id, request: call.request.clone() };
            self.travel(to, request);
        }
        let at = asked + RETRANSMISSIONS[attempt];
        self.schedule(at, host, Happening::Retransmit { call, attempt, asked });
    }

    fn drain(&mut self, host: Host) {
        let now = self.now;
        loop {
            let Some(engine) = &mut self.machines[host.0].engine else { return };
            if let Some(call) = engine.poll_call() {
                self.machines[host.0].pending.insert(call.id);
                self.transmit(host, call, 0, now.instant);
            } else if let Some(reply) = engine.poll_reply() {
                self.answer(host, reply.to.of_simulation(), reply.response);
            } else if let Some((id, address)) = engine.poll_probe() {
                match self.by_address.get(&address).copied() {
                    Some(to) if self.machines[to.0].engine.is_some() && self.passes_nats(host, to) => {
                        self.carry(to, Happening::Probe { id, from: host });
                    }
                    _ => {
                        let at = now.instant + RETRANSMISSIONS[2];
                        self.schedule(at, host, Happening::Probed { id, key: None });
                    }
                }
            } else if let Some(batch) = engine.poll_write() {
                let id = batch.id;
                self.machines[host.0].disk.begin(batch);
                self.schedule(now.instant + WRITE_TIME, host, Happening::Written(id));
            } else if let Some(event) = engine.poll_event() {
                self.machines[host.0].events.push(event);
            } else if let Some(outcome) = engine.poll_outcome() {
                let machine = &mut self.machines[host.0];
                match outcome {
                    Outcome::Saved(id) => {
                        machine.saved.insert(id);
                    }
                    Outcome::Found { command, result } => {
                        machine.found.insert(command, result);
                    }
                }
            } else {
                break;
            }
        }
        self.schedule_timeout(host);
    }

    fn answer(&mut self, host: Host, token: u64, response: Response) {
        let Some((to, run, id, asked)) = self.machines[host.0].open_requests.remove(&token) else { return };
        if self.machines[to.0].run == run && self.passes_nats(host, to) {
            self.travel(to, Happening::Response { id, from: host, response, asked });
        }
    }

    fn schedule_timeout(&mut self, host: Host) {
        let machine = &mut self.machines[host.0];
        let Some(engine) = &machine.engine else { return };
        let Some((at, _)) = engine.poll_timeout() else { return };
        let at = at.max(self.now.instant);
        if machine.timeout.is_none_or(|earlier| at < earlier) {
            machine.timeout = Some(at);
            self.schedule(at, host, Happening::Timeout);
        }
    }

    /// Lets something travel to a machine, unless it is lost.
    fn travel(&mut self, to: Host, happening: Happening) {
        if self.rng.random_bool(self.loss) {
            return;
        }
        self.carry(to, happening);
    }

    /// Lets something travel to a machine without loss: probes, whose retransmission is not modelled.
    fn carry(&mut self, to: Host, happening: Happening) {
        let latency = self.rng.random_range(self.latency.clone());
        self.schedule(self.now.instant + latency, to, happening);
    }

    fn schedule(&mut self, at: Instant, host: Host, happening: Happening) {
        self.last_happening += 1;
        let run = self.machines[host.0].run;
        self.happenings.insert((at, self.last_happening), (host, run, happening));
    }

    fn contact(&self, host: Host) -> Contact {
        let machine = &self.machines[host.0];
        Contact::new(machine.key, machine.address)
    }
}
