//! Whole engines, two with a user and one without: everything that they say to one another is delivered, lost, repeated,
//! reordered, changed or invented, in any interleaving with time, the disk, the application and restarts; and each may seal
//! other words than its user's. A seed is a program of steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use peerchat_core::crypto::DeviceCipher;
use peerchat_core::engine::{Engine, EngineCall, EngineConfig};
use peerchat_core::event::{CommandId, Event};
use peerchat_core::identity::{Recipient, UserName};
use peerchat_core::kademlia::{ALPHA, AddressFamily, Contact, K, LOOKUP_PATHS, NodeKey, Serve};
use peerchat_core::mail::{Work, WorkId};
use peerchat_core::save::{BatchId, ConversationId, ProfileKeys, Read, ReadId, Saved, StreamId};
use peerchat_core::time::Now;
use peerchat_core::transport::{CallId, ProbeId, ReplyToken};
use peerchat_core::user::{Decision, Verb};
use peerchat_core::wire::{Request, Response};
use peerchat_sim::Disk;

use crate::input::{Input, Script, address, secret, start};
use crate::liar::{Liar, Lies};
use crate::random_programs;
use crate::wire::{requests, responses};

/// How many steps a program has at most.
const MAX_STEPS: usize = 200;

/// How many things happen at most in one step that lets things run.
const MAX_RUN: usize = 300;

/// How often a deadline may be due again at once before that is a loop without end.
const MAX_DUE: usize = 1000;

/// Most work that is done: more is too much for a fuzzer.
const MAX_BITS_DONE: u8 = 10;

struct Host {
    engine: Engine,
    disk: Disk,
    config: EngineConfig,
    contact: Contact,
    calls: BTreeSet<CallId>,
    requests: BTreeMap<u64, (usize, CallId)>,
    texts: BTreeMap<Vec<u8>, usize>,
    /// What it seals in the place of what it was given to.
    lies: Lies,
}

/// Something that will happen to a host, if the input lets it.
enum Under {
    Request { from: usize, call: EngineCall },
    Response { from: Contact, id: CallId, response: Response },
    Failure(CallId),
    Probed(ProbeId, Option<NodeKey>),
    Written(BatchId),
    Read(ReadId, Read),
    Worked(WorkId, Work),
}

struct World {
    hosts: Vec<Host>,
    under_way: VecDeque<(usize, Under)>,
    now: Now,
    last_token: u64,
    last_command: u64,
    last_text: u64,
    has_lied: bool,
}

/// Nothing panics, and every text arrives once, unless one has lied.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.run(MAX_RUN);
}

impl World {
    fn new() -> Self {
        let now = start();
        let host = |number: u8, name: Option<&str>| {
            let keys = ProfileKeys { node: secret(number), user: name.map(|_| secret(number + 10)) };
            let disk = Disk::new(Saved::fresh(keys));
            let (config, lies) = (config(name), Lies::default());
            Host {
                engine: engine(&config, &disk, &lies, number, now),
                lies,
                disk,
                config,
                contact: Contact::new(NodeKey::from(secret(number).public()), address(number)),
                calls: BTreeSet::new(),
                requests: BTreeMap::new(),
                texts: BTreeMap::new(),
            }
        };
        let hosts = vec![host(0, Some("alice")), host(1, Some("bob")), host(2, None)];
        let mut world = Self {
            hosts,
            under_way: VecDeque::new(),
            now,
            last_token: 0,
            last_command: 0,
            last_text: 0,
            has_lied: false,
        };
        (0..3).for_each(|host| world.drain(host));
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let host = input.below(self.hosts.len());
        match input.below(15) {
            0 => self.wait(input.time()),
            1..=3 => {
                let at = input.below(self.under_way.len().min(256));
                if let Some((to, under)) = self.under_way.remove(at) {
                    self.deliver(to, under);
                }
            }
            4 => self.lose(input),
            5 => self.change(input),
            6 => self.invent(host, input),
            7..=9 => self.apply(host, input),
            10 => self.bootstrap(host, input),
            11 => self.restart(host, input.byte()),
            12 => {
                self.hosts[host].contact =
                    Contact::new(self.hosts[host].contact.key(), address(100 + input.byte() % 100));
            }
            13 => self.run(input.below(256)),
            _ => {
                self.has_lied = true;
                self.hosts[host].lies.add(input.bytes());
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        for host in 0..self.hosts.len() {
            for round in 0.. {
                let due = self.hosts[host].engine.poll_timeout();
                let Some((_, what)) = due.filter(|(at, _)| *at <= self.now.instant) else { break };
                assert!(round < MAX_DUE, "{what} is due again and again");
                self.hosts[host].engine.handle_timeout(self.now);
                self.drain(host);
            }
        }
    }

    /// Something does not arrive; whoever waits for it is told so.
    fn lose(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.under_way.len().min(256));
        let Some((to, under)) = self.under_way.remove(at) else { return };
        match under {
            Under::Request { from, call } => self.deliver(from, Under::Failure(call.id)),
            Under::Response { id, .. } => self.deliver(to, Under::Failure(id)),
            Under::Probed(id, _) => self.deliver(to, Under::Probed(id, None)),
            // A disk that has not failed does what it was asked for.
            other => self.under_way.push_back((to, other)),
        }
    }

    /// A request arrives changed, or twice; an answer is changed.
    fn change(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.under_way.len().min(256));
        let is_repeated = input.flag();
        match self.under_way.get_mut(at) {
            Some((to, Under::Request { call, .. })) => {
                let (to, mut changed) = (*to, call.request.clone());
                if !is_repeated {
                    let encoded = call.request.encode();
                    let mut body = encoded.body;
                    input.damage(&mut body);
                    let Ok(other) = Request::decode(encoded.kind, &body) else { return };
                    changed = other;
                }
                let from = self.hosts[input.below(self.hosts.len())].contact;
                self.ask(to, from, true, changed, None);
            }
            Some((_, Under::Response { response, .. })) => {
                let encoded = response.encode();
                let mut body = encoded.body;
                input.damage(&mut body);
                if let Ok(changed) = Response::decode(encoded.kind, &body) {
                    *response = changed;
                }
            }
            _ => {}
        }
    }

    /// Somebody asks what nobody would, or answers what was not asked.
    fn invent(&mut self, host: usize, input: &mut Input<'_>) {
        let stranger = Contact::new(NodeKey::from_bytes(input.array()), address(input.byte() % 200));
        let from = match input.below(4) {
            3 => stranger,
            other => self.hosts[other].contact,
        };
        if input.flag() {
            let prepared = requests();
            let request = match Request::decode(input.byte(), input.bytes()) {
                Ok(request) => request,
                Err(_) => prepared[input.below(prepared.len())].clone(),
            };
            self.ask(host, from, input.flag(), request, None);
        } else {
            let Some(id) = self.hosts[host].calls.iter().nth(input.below(32)).copied() else { return };
            let prepared = responses();
            let response = match Response::decode(input.byte(), input.bytes()) {
                Ok(response) => response,
                Err(_) => prepared[input.below(prepared.len())].clone(),
            };
            self.deliver(host, Under::Response { from, id, response });
        }
    }

    fn apply(&mut self, host: usize, input: &mut Input<'_>) {
        self.last_command += 1;
        let (command, now) = (CommandId(self.last_command), self.now);
        let who = ["alice", "bob", "carol"][input.below(3)];
        let name = UserName::parse(who).expect("it is a name");
        let who = Recipient::parse(who).expect("it is a name");
        let engine = &mut self.hosts[host].engine;
        let user = engine.user_id();
        match input.below(9) {
            0..=2 => {
                self.last_text += 1;
                let lifetime = input.flag().then(|| input.time());
                let text = format!("text {}", self.last_text);
                let _ = engine.send_text(&who, &text, lifetime, now);
            }
            3 => engine.lookup(command, who, now),
            4 => engine.confirm(input.number()),
            5 => engine.save_routing(),
            6 => {
                let verbs = [Verb::Add, Verb::Accept, Verb::Block, Verb::Unblock, Verb::Remove];
                let verb = verbs[input.below(verbs.len())];
                let _ = engine.decide(command, Decision::Relate { who, verb }, now);
            }
            7 => {
                let (conversation, stream) = (input.byte().into(), input.byte().into());
                let number = input.number();
                let (conversation, stream) = (ConversationId(conversation), StreamId(stream));
                let _ = engine.decide(command, Decision::MarkRead { conversation, stream, number }, now);
            }
            _ => {
                let decision = match input.below(3) {
                    0 => Decision::Cancel { position: input.byte().into() },
                    1 => Decision::Verify { who, is_verified: input.flag() },
                    _ => match user {
                        Some(user) => Decision::Accept { name, user },
                        None => return,
                    },
                };
                let _ = engine.decide(command, decision, now);
            }
        }
        self.drain(host);
    }

    fn bootstrap(&mut self, host: usize, input: &mut Input<'_>) {
        self.last_command += 1;
        let to = self.hosts[input.below(self.hosts.len())].contact;
        let key = input.flag().then(|| to.key());
        let text = to.address().to_string();
        let command = CommandId(self.last_command);
        self.hosts[host].engine.bootstrap(command, text, vec![to.address()], key, self.now);
        self.drain(host);
    }

    /// The power is cut and comes back: what was being written is lost.
    fn restart(&mut self, host: usize, seed: u8) {
        self.under_way.retain(|(to, under)| match under {
            Under::Request { from, .. } => *from != host && *to != host,
            _ => *to != host,
        });
        let (id, now) = (host, self.now);
        for other in &mut self.hosts {
            other.requests.retain(|_, (asker, _)| *asker != id);
        }
        let host = &mut self.hosts[id];
        host.disk.cut();
        host.calls.clear();
        host.requests.clear();
        host.engine = engine(&host.config, &host.disk, &host.lies, seed, now);
        self.drain(id);
    }

    /// Lets everything happen in order, and time pass when there is nothing else.
    fn run(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((to, under)) = self.under_way.pop_front() {
                self.deliver(to, under);
                continue;
            }
            let due = self.hosts.iter().filter_map(|host| Some(host.engine.poll_timeout()?.0)).min();
            let Some(at) = due else { return };
            self.wait(at.saturating_duration_since(self.now.instant));
        }
    }

    fn ask(
        &mut self,
        to: usize,
        from: Contact,
        is_proven: bool,
        request: Request,
        asked: Option<(usize, CallId)>,
    ) {
        self.last_token += 1;
        if let Some(asked) = asked {
            self.hosts[to].requests.insert(self.last_token, asked);
        }
        let token = ReplyToken::for_simulation(self.last_token);
        self.hosts[to].engine.handle_request(from, is_proven, token, request, self.now);
        self.drain(to);
    }

    fn deliver(&mut self, to: usize, under: Under) {
        let now = self.now;
        match under {
            Under::Request { from, call } if call.throwaway.is_some() => {
                self.last_token += 1;
                let token = ReplyToken::for_simulation(self.last_token);
                let host = &mut self.hosts[to];
                host.requests.insert(self.last_token, (from, call.id));
                let stranger = Contact::new(NodeKey::from(secret(99).public()), address(99));
                host.engine.handle_throwaway_request(stranger, true, token, call.request, now);
            }
            Under::Request { from, call } => {
                let contact = self.hosts[from].contact;
                self.ask(to, contact, true, call.request, Some((from, call.id)));
            }
            Under::Response { from, id, response } => {
                let host = &mut self.hosts[to];
                if host.calls.remove(&id) {
                    let observed = host.contact.address();
                    let took = Some(Duration::from_millis(20));
                    host.engine.handle_response(id, from, observed, response, took, now);
                }
            }
            Under::Failure(id) => {
                if self.hosts[to].calls.remove(&id) {
                    self.hosts[to].engine.handle_call_failed(id, now);
                }
            }
            Under::Probed(id, key) => self.hosts[to].engine.handle_probed(id, key, now),
            Under::Written(id) => {
                self.hosts[to].disk.commit(id);
                self.hosts[to].engine.handle_written(id, now);
            }
            Under::Read(id, what) => {
                let found = self.hosts[to].disk.read(what);
                self.hosts[to].engine.handle_read(id, found, now);
            }
            Under::Worked(id, work) => {
                let is_little = work.bits <= MAX_BITS_DONE;
                let nonce = is_little.then(|| work.search(|| true)).flatten();
                self.hosts[to].engine.handle_worked(id, nonce, now);
            }
        }
        self.drain(to);
    }

    fn drain(&mut self, at: usize) {
        let by_address: Vec<Contact> = self.hosts.iter().map(|host| host.contact).collect();
        let host = &mut self.hosts[at];
        while let Some(call) = host.engine.poll_call() {
            assert!(host.calls.insert(call.id), "an id names one call");
            let is_there =
                |contact: &Contact| (contact.key(), contact.address()) == (call.to.key(), call.to.address());
            self.under_way.push_back(match by_address.iter().position(is_there) {
                Some(to) => (to, Under::Request { from: at, call }),
                None => (at, Under::Failure(call.id)),
            });
        }
        while let Some(reply) = host.engine.poll_reply() {
            if let Some((to, id)) = host.requests.remove(&reply.to.of_simulation()) {
                let (from, response) = (host.contact, reply.response);
                self.under_way.push_back((to, Under::Response { from, id, response }));
            }
        }
        while let Some((id, probed)) = host.engine.poll_probe() {
            let key = by_address.iter().find(|contact| contact.address() == probed).map(Contact::key);
            self.under_way.push_back((at, Under::Probed(id, key)));
        }
        while let Some(batch) = host.engine.poll_write() {
            self.under_way.push_back((at, Under::Written(batch.id)));
            host.disk.begin(batch);
        }
        while let Some((id, what)) = host.engine.poll_read() {
            self.under_way.push_back((at, Under::Read(id, what)));
        }
        while let Some((id, work)) = host.engine.poll_work() {
            self.under_way.push_back((at, Under::Worked(id, work)));
        }
        while host.engine.poll_outcome().is_some() {}
        while let Some(event) = host.engine.poll_event() {
            if let Event::Message(message) = event {
                let times = host.texts.entry(message.text.into_bytes()).or_default();
                *times += 1;
                assert!(*times == 1 || self.has_lied, "a text arrives once");
            }
        }
        let _ = host.engine.own_addresses();
    }
}

fn config(name: Option<&str>) -> EngineConfig {
    EngineConfig {
        k: K,
        alpha: ALPHA,
        paths: LOOKUP_PATHS,
        family: AddressFamily::V4,
        serve: Serve::Auto,
        user: name.map(|name| UserName::parse(name).expect("it is a name")),
        message_lifetime: Duration::from_secs(7 * 24 * 3600),
        read_receipts: true,
        mail_quota: 200_000,
        limits: peerchat_core::Limits::shared(),
    }
}

fn engine(config: &EngineConfig, disk: &Disk, lies: &Lies, seed: u8, now: Now) -> Engine {
    let saved = disk.saved();
    let cipher = config.user.as_ref().map(|_| -> Box<dyn DeviceCipher> {
        let state = saved.device.as_ref().map(|device| &device.state);
        Box::new(Liar::new(state, seed, lies.clone()))
    });
    Engine::new(config.clone(), saved, cipher, [seed; 32], now)
}

/// Two who join and write, one who is away meanwhile, one who lies, and random programs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let join: &[u8] = &[0, 10, 2, 0, 0, 13, 255, 1, 10, 2, 1, 0, 13, 255, 0, 13, 255];
    let write: &[u8] = &[0, 7, 1, 0, 0, 0, 13, 255];
    let answer: &[u8] = &[1, 7, 0, 0, 1, 20, 0, 13, 255];
    let crash: &[u8] = &[1, 11, 7, 0, 13, 255];
    let later: &[u8] = &[0, 0, 22, 0, 13, 255];
    let moves: &[u8] = &[1, 12, 5, 0, 13, 255];
    // A text as a batch and as a receipt, anything in its place, and a part of it.
    let lie = |by: &[u8]| Script::default().put(&[0, 14]).bytes(by).done();
    let lies =
        [lie(&[0, 1, 33, 2, 17]), lie(&[0, 1, 33, 2, 3]), lie(b"\x01anything"), lie(&[0, 1, 20, 0])].concat();
    let blocks: &[u8] = &[1, 7, 0, 6, 2, 0, 13, 255];
    let mut seeds = vec![
        join.to_vec(),
        [join, write, answer].concat(),
        [join, write, crash, write, later].concat(),
        [join, moves, write, later, answer].concat(),
        [join, write, blocks, write, later].concat(),
        [join, write, &lies, write, answer, write, later].concat(),
        [join, &lies, write, answer, crash, write, later].concat(),
        [join, write, &[0, 4, 0, 0, 4, 0, 0, 5, 0, 1, 1, 5, 1, 0], later].concat(),
    ];
    seeds.extend(random_programs(6, 500).into_iter().map(|random| [join, &random].concat()));
    seeds
}
