//! [`Engine`]: the one machine made of the machines below it. It decides everything and touches nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::crypto::DeviceCipher;
use crate::error::ErrorCode;
use crate::event::{CommandId, Event, MessageId};
use crate::identity::{Recipient, UserId, UserName};
use crate::idle;
use crate::kademlia::{
    AddressFamily, Contact, LookupId, LookupOutcome, Node, NodeConfig, NodeEvent, NodeId, NodeKey, NodeWrite,
    PublishId, PublishOutcome, Record, RecordKey, Rpc, RpcId, RpcReply, Serve,
};
use crate::mail::{MailRequest, MailResponse};
use crate::save::{BatchId, Saved, Write, WriteBatch};
use crate::time::Now;
use crate::transport::{CallId, ProbeId, ReplyToken};
use crate::user::{
    CallTag, ChatResponse, DeliverRefusal, Effect, FoundUser, LookupError, PushError, RequestTag, SearchId,
    SearchOutcome, User, UserAction, UserConfig,
};
use crate::wire::{Request, Response};

mod address;
mod bootstrap;
mod saving;

use address::OwnAddresses;
use bootstrap::{Bootstrap, BootstrapStep, failure_detail};
use saving::{Saving, digest};

/// How often the routing table is saved when it has changed.
pub const ROUTING_SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// How soon after the first contact the routing table is saved for the first time.
const FIRST_ROUTING_SAVE: Duration = Duration::from_secs(1);

/// Most requests that wait for an answer of the user. One more is answered "busy".
const MAX_OPEN_REQUESTS: usize = 4096;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Kademlia's k.
    pub k: usize,
    /// Kademlia's alpha.
    pub alpha: usize,
    /// How many disjoint paths a lookup of values takes.
    pub paths: usize,
    /// Which addresses this node can send to.
    pub family: AddressFamily,
    /// Whether the node serves others.
    pub serve: Serve,
    /// The user's name; it must be there if and only if the profile has a user key.
    pub user: Option<UserName>,
    /// How long an undelivered message is retried.
    pub message_lifetime: Duration,
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct EngineCall {
    /// Repeated by the answer.
    pub id: CallId,
    /// The node to call.
    pub to: Contact,
    /// What to ask.
    pub request: Request,
}

/// An answer to send.
#[derive(Clone, Debug)]
pub struct EngineReply {
    /// The request that it answers.
    pub to: ReplyToken,
    /// The answer.
    pub response: Response,
}

/// How a command of the application ended, for whoever waits for it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A message of our own is on disk.
    Saved(MessageId),
    /// A lookup has ended.
    Found {
        /// The command.
        command: CommandId,
        /// What it found.
        result: Result<FoundUser, LookupError>,
    },
}

/// What a lookup of the DHT was started for.
#[derive(Clone, Copy, Debug)]
enum LookupUse {
    Search(SearchId),
    Nodes(SearchId),
    Bootstrap(CommandId),
    OwnAddress,
}

/// A node with, or without, a user on top of it.
///
/// After any `handle_*` call or command, drain every `poll_*` until it returns `None`, then ask
/// [`Self::poll_timeout`] when to call [`Self::handle_timeout`].
#[derive(Debug)]
pub struct Engine {
    node: Node,
    user: Option<User>,
    saving: Saving,
    own_addresses: OwnAddresses,
    bootstraps: BTreeMap<CommandId, Bootstrap>,
    probes: BTreeMap<ProbeId, (CommandId, SocketAddr)>,
    lookups: BTreeMap<LookupId, LookupUse>,
    publications: BTreeMap<PublishId, RecordKey>,
    requests: BTreeMap<RequestTag, ReplyToken>,
    last_request: u64,
    last_probe: u64,
    /// Digest of the contacts that were saved last, in whatever order.
    saved_routing: [u8; 32],
    next_routing_save: Option<Instant>,
    calls: VecDeque<EngineCall>,
    replies: VecDeque<EngineReply>,
    probing: VecDeque<(ProbeId, SocketAddr)>,
    events: VecDeque<Event>,
    outcomes: VecDeque<Outcome>,
}

impl Engine {
    /// Makes the engine of a profile with everything that was saved of it. `cipher` has the keys of the device; there
    /// must be one if there is a user. `seed` must come from a secure source.
    #[must_use]
    pub fn new(
        config: EngineConfig,
        mut saved: Saved,
        cipher: Option<Box<dyn DeviceCipher>>,
        seed: [u8; 32],
        now: Now,
    ) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let key = NodeKey::from(saved.keys.node.public());
        let node_config = NodeConfig {
            k: config.k,
            alpha: config.alpha,
            paths: config.paths,
            family: config.family,
            serve: config.serve,
        };
        let mut node = Node::new(key, node_config, ChaCha20Rng::from_rng(&mut rng), now);
        node.restore(&saved.routing, &saved.records, now);
        let user = saved.keys.user.clone().zip(config.user).zip(cipher);
        let user = user.map(|((user_key, name), cipher)| {
            let user_config =
                UserConfig { name, family: config.family, message_lifetime: config.message_lifetime };
            User::new(user_config, user_key, key, cipher, &mut saved, rng, now)
        });
        let mut engine = Self {
            node,
            user,
            saving: Saving::default(),
            own_addresses: OwnAddresses::default(),
            bootstraps: BTreeMap::new(),
            probes: BTreeMap::new(),
            lookups: BTreeMap::new(),
            publications: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_request: 0,
            last_probe: 0,
            saved_routing: digest(&saved.routing),
            next_routing_save: None,
            calls: VecDeque::new(),
            replies: VecDeque::new(),
            probing: VecDeque::new(),
            events: VecDeque::new(),
            outcomes: VecDeque::new(),
        };
        engine.run(now);
        engine
    }

    // Getters.

    /// Returns the node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node.id()
    }

    /// Returns the user's id, `None` for a node without a user.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.user.as_ref().map(User::id)
    }

    /// Returns the node of the DHT, for its getters.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Returns how many messages of our own are neither delivered nor given up.
    #[must_use]
    pub fn outbox_count(&self) -> usize {
        self.user.as_ref().map_or(0, User::outbox_count)
    }

    /// Returns the addresses under which other nodes see this one, best first.
    #[must_use]
    pub fn own_addresses(&self) -> Vec<SocketAddr> {
        self.own_addresses.best()
    }

    /// Tells whether nothing waits for the disk.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saving.is_idle()
    }

    // Commands.

    /// Joins the network through one of `addresses`, which `text` stands for. With `key`, only through the node
    /// that has it. [`Event::Bootstrapped`] or [`Event::BootstrapFailed`] follows with `command`.
    pub fn bootstrap(
        &mut self,
        command: CommandId,
        text: String,
        addresses: Vec<SocketAddr>,
        key: Option<NodeKey>,
        now: Now,
    ) {
        let mut bootstrap = Bootstrap::new(text, addresses, key);
        let step = bootstrap.next_step();
        self.bootstraps.insert(command, bootstrap);
        self.take_step(command, step, now);
        self.run(now);
    }

    /// Saves a text for sending; [`Outcome::Saved`] follows once it is on disk. `None` if there is no user.
    ///
    /// # Errors
    ///
    /// The outbox is full.
    pub fn send_text(
        &mut self,
        to: &Recipient,
        text: &str,
        now: Now,
    ) -> Option<Result<MessageId, PushError>> {
        let sent = self.user.as_mut()?.send(to, text, now);
        self.run(now);
        Some(sent)
    }

    /// Looks a name up; [`Outcome::Found`] follows with `command`.
    pub fn lookup(&mut self, command: CommandId, name: Recipient, now: Now) {
        match &mut self.user {
            Some(user) => user.lookup(command, name),
            None => self.outcomes.push_back(Outcome::Found { command, result: Err(LookupError::Unknown) }),
        }
        self.run(now);
    }

    /// Saves that the application has confirmed every received message up to this position in history.
    pub fn confirm(&mut self, position: u64) {
        let none = self.saving.add(vec![Write::Confirmed { position }], Vec::new());
        debug_assert!(none.is_empty());
    }

    /// Saves what is otherwise saved now and then; called before the engine is dropped.
    pub fn save_routing(&mut self) {
        let contacts = self.node.contacts_to_save();
        // A node that has lost everybody keeps the contacts it once had: one of them may come back.
        let digest = digest(&contacts);
        if !contacts.is_empty() && digest != self.saved_routing {
            self.saved_routing = digest;
            let none = self.saving.add(vec![Write::Routing { contacts }], Vec::new());
            debug_assert!(none.is_empty());
        }
    }

    // Handlers.

    /// Takes a request of the node `from`. `is_proven` is false while its address may be forged.
    pub fn handle_request(
        &mut self,
        from: Contact,
        is_proven: bool,
        token: ReplyToken,
        request: Request,
        now: Now,
    ) {
        if !is_proven && !request.is_early() {
            self.reply(token, Response::Unsupported);
            return;
        }
        match request {
            Request::Dht(rpc) => {
                let reply = self.node.handle_request(from, is_proven, rpc, now);
                self.reply(token, Response::Dht(reply));
            }
            Request::Chat(request) => {
                self.node.handle_alive(from, now);
                let refusal = |refusal| Response::Chat(ChatResponse::NotDelivered(refusal));
                match &mut self.user {
                    None => self.reply(token, refusal(DeliverRefusal::NotHere)),
                    Some(_) if self.requests.len() >= MAX_OPEN_REQUESTS => {
                        self.reply(token, refusal(DeliverRefusal::Busy));
                    }
                    Some(user) => {
                        self.last_request += 1;
                        let tag = RequestTag(self.last_request);
                        self.requests.insert(tag, token);
                        user.handle_request(tag, from, request, now);
                    }
                }
            }
            Request::Mail(MailRequest::Waiting { mailbox, count }) => {
                self.node.handle_alive(from, now);
                if let Some(user) = &mut self.user {
                    user.handle_waiting(from, &mailbox, count, now);
                }
                self.reply(token, Response::Mail(MailResponse::Noted));
            }
            Request::Mail(_) => self.reply(token, Response::Unsupported),
        }
        self.run(now);
    }

    /// Takes that a node has proven that it receives at its address.
    pub fn handle_proven(&mut self, peer: Contact, now: Now) {
        self.node.handle_alive(peer, now);
        self.run(now);
    }

    /// Takes the answer to a call, from a node that saw this one at `observed`.
    pub fn handle_response(
        &mut self,
        id: CallId,
        from: Contact,
        observed: SocketAddr,
        response: Response,
        round_trip: Duration,
        now: Now,
    ) {
        for bootstrap in self.bootstraps.values_mut() {
            bootstrap.has_answered |= bootstrap.joining.is_some_and(|seed| seed.id() == from.id());
        }
        match (caller(id), response) {
            (Caller::Node(rpc), Response::Dht(reply)) => {
                self.node.handle_reply(rpc, from, reply, round_trip, now)
            }
            (Caller::Node(rpc), _) => self.node.handle_failure(rpc, now),
            (Caller::User(tag), Response::Chat(response)) => {
                self.node.handle_alive(from, now);
                if let Some(user) = &mut self.user {
                    user.handle_response(tag, response, now);
                }
            }
            (Caller::User(tag), Response::Mail(response)) => {
                self.node.handle_alive(from, now);
                if let Some(user) = &mut self.user {
                    user.handle_mail_response(tag, response, now);
                }
            }
            (Caller::User(tag), Response::Dht(reply)) => {
                self.node.handle_alive(from, now);
                if let Some(user) = &mut self.user {
                    user.handle_stored(tag, reply == RpcReply::Stored, now);
                }
            }
            (Caller::User(tag), _) => {
                if let Some(user) = &mut self.user {
                    user.handle_call_failed(tag, now);
                }
            }
        }
        // After the node has taken the reply: what comes online is told before the address that it publishes.
        let before = self.own_addresses.best();
        if self.own_addresses.handle_report(from.id(), observed) {
            let addresses = self.own_addresses.best();
            if before.iter().any(|address| !addresses.contains(address)) {
                self.node.handle_moved(now);
            }
            if let Some(user) = &mut self.user {
                user.handle_addresses(&addresses, now);
            }
        }
        self.run(now);
    }

    /// Takes that a call got no answer that can be used.
    pub fn handle_call_failed(&mut self, id: CallId, now: Now) {
        match caller(id) {
            Caller::Node(rpc) => self.node.handle_failure(rpc, now),
            Caller::User(tag) => {
                if let Some(user) = &mut self.user {
                    user.handle_call_failed(tag, now);
                }
            }
        }
        self.run(now);
    }

    /// Takes the key of the node that was probed, `None` if nobody answered.
    pub fn handle_probed(&mut self, id: ProbeId, key: Option<NodeKey>, now: Now) {
        let Some((command, address)) = self.probes.remove(&id) else { return };
        let Some(bootstrap) = self.bootstraps.get_mut(&command) else { return };
        let step = bootstrap.handle_probed(address, key);
        self.take_step(command, step, now);
        self.run(now);
    }

    /// Takes that a batch is on disk.
    pub fn handle_written(&mut self, id: BatchId, now: Now) {
        for effect in self.saving.handle_written(id) {
            self.apply(effect, now);
        }
        self.run(now);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.node.handle_timeout(now);
        if let Some(user) = &mut self.user {
            user.handle_timeout(now);
        }
        if self.next_routing_save.is_some_and(|at| at <= now.instant) {
            self.save_routing();
            self.next_routing_save = Some(now.instant + ROUTING_SAVE_INTERVAL);
        }
        self.run(now);
    }

    // Polls.

    /// Returns the next request to send.
    #[must_use]
    pub fn poll_call(&mut self) -> Option<EngineCall> {
        idle::pop(&mut self.calls)
    }

    /// Returns the next answer to send.
    #[must_use]
    pub fn poll_reply(&mut self) -> Option<EngineReply> {
        idle::pop(&mut self.replies)
    }

    /// Returns the next address whose node's key is to be asked for.
    #[must_use]
    pub fn poll_probe(&mut self) -> Option<(ProbeId, SocketAddr)> {
        self.probing.pop_front()
    }

    /// Returns the next batch to write; none while another one is being written.
    #[must_use]
    pub fn poll_write(&mut self) -> Option<WriteBatch> {
        self.saving.poll_batch()
    }

    /// Returns the next thing to tell the application.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        idle::pop(&mut self.events)
    }

    /// Returns the next command that has ended.
    #[must_use]
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        idle::pop(&mut self.outcomes)
    }

    /// Returns when [`Self::handle_timeout`] is next due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let user = self.user.as_ref().and_then(User::poll_timeout);
        let routing = self.next_routing_save.map(|at| (at, "saving the routing table"));
        [self.node.poll_timeout(), user, routing].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    // Draining the children.

    /// Carries what the children ask for to where it belongs, until none asks for anything.
    fn run(&mut self, now: Now) {
        loop {
            while let Some(outgoing) = self.node.poll_rpc(now) {
                let id = CallId(outgoing.id.0 << 1);
                self.calls.push_back(EngineCall { id, to: outgoing.to, request: Request::Dht(outgoing.rpc) });
            }
            while let Some(write) = self.node.poll_write() {
                let write = match write {
                    NodeWrite::Record { key, bytes } => Write::Record { key, bytes },
                    NodeWrite::RecordGone { key } => Write::RecordGone { key },
                };
                let none = self.saving.add(vec![write], Vec::new());
                debug_assert!(none.is_empty());
            }
            if let Some(event) = self.node.poll_event() {
                self.handle_node_event(event, now);
            } else if let Some(action) = self.user.as_mut().and_then(User::poll_action) {
                self.handle_action(action, now);
            } else {
                return;
            }
        }
    }

    fn handle_node_event(&mut self, event: NodeEvent, now: Now) {
        match event {
            NodeEvent::LookupDone { id, outcome } => match idle::remove(&mut self.lookups, &id) {
                Some(LookupUse::Search(search)) => self.handle_searched(search, outcome, now),
                Some(LookupUse::Nodes(search)) => {
                    if let Some(user) = &mut self.user {
                        user.handle_nodes(search, &outcome.closest, now);
                    }
                }
                Some(LookupUse::Bootstrap(command)) => self.handle_joined(command, now),
                Some(LookupUse::OwnAddress) | None => {}
            },
            NodeEvent::PublishDone { id, outcome } => self.handle_published(id, outcome, now),
            NodeEvent::Online { contact_count } => self.handle_online(contact_count, now),
            NodeEvent::Offline => {
                self.events.push_back(Event::Offline);
                if let Some(user) = &mut self.user {
                    user.handle_offline();
                }
            }
        }
    }

    fn handle_online(&mut self, contact_count: usize, now: Now) {
        self.events.push_back(Event::Online { contact_count });
        self.next_routing_save.get_or_insert(now.instant + FIRST_ROUTING_SAVE);
        if self.own_addresses.best().is_empty() {
            // Somebody joined through us; the answers of a lookup tell how others see us.
            let id = self.node.find_nodes(self.node.id(), now);
            self.lookups.insert(id, LookupUse::OwnAddress);
        }
        if let Some(user) = &mut self.user {
            user.handle_online(now);
        }
    }

    fn handle_searched(&mut self, search: SearchId, outcome: LookupOutcome, now: Now) {
        let own = self.node.id();
        let answer_count = outcome.closest.iter().filter(|contact| contact.id() != own).count();
        let records: Vec<Record> = outcome.values.into_iter().map(|value| value.record).collect();
        let answer_count = answer_count.max(records.len());
        if let Some(user) = &mut self.user {
            user.handle_search(search, SearchOutcome { records, answer_count }, now);
        }
    }

    fn handle_published(&mut self, id: PublishId, outcome: PublishOutcome, now: Now) {
        let Some(key) = idle::remove(&mut self.publications, &id) else { return };
        let asked_count = outcome.accepted + outcome.refused.len() + outcome.unanswered;
        let incumbents: Vec<Record> = outcome.refused.into_iter().filter_map(|(_, record)| record).collect();
        if let Some(user) = &mut self.user {
            user.handle_published(key, (outcome.accepted, asked_count), &incumbents, now);
        }
    }

    fn handle_joined(&mut self, command: CommandId, now: Now) {
        let Some(bootstrap) = self.bootstraps.get_mut(&command) else { return };
        let Some(seed) = bootstrap.joining else { return };
        if bootstrap.has_answered {
            idle::remove(&mut self.bootstraps, &command);
            self.events.push_back(Event::Bootstrapped { command, node: seed.id(), address: seed.address() });
            return;
        }
        let step = bootstrap.handle_join_failed();
        self.take_step(command, step, now);
    }

    fn take_step(&mut self, command: CommandId, step: BootstrapStep, now: Now) {
        match step {
            BootstrapStep::Probe(address) => {
                self.last_probe += 1;
                let id = ProbeId(self.last_probe);
                self.probes.insert(id, (command, address));
                self.probing.push_back((id, address));
            }
            BootstrapStep::Join(seed) if seed.id() == self.node.id() => {
                self.fail_bootstrap(command, ErrorCode::InvalidAddress);
            }
            BootstrapStep::Join(seed) => {
                let id = self.node.join(seed, now);
                self.lookups.insert(id, LookupUse::Bootstrap(command));
            }
            BootstrapStep::Fail(code) => self.fail_bootstrap(command, code),
        }
    }

    fn fail_bootstrap(&mut self, command: CommandId, code: ErrorCode) {
        let Some(bootstrap) = idle::remove(&mut self.bootstraps, &command) else { return };
        let detail = failure_detail(code).to_owned();
        self.events.push_back(Event::BootstrapFailed { command, address: bootstrap.text, code, detail });
    }

    fn handle_action(&mut self, action: UserAction, now: Now) {
        match action {
            UserAction::Search { id, key, wanted } => {
                let lookup = self.node.find_value(key, wanted, now);
                self.lookups.insert(lookup, LookupUse::Search(id));
            }
            UserAction::FindNodes { id, place } => {
                let lookup = self.node.find_nodes(place, now);
                self.lookups.insert(lookup, LookupUse::Nodes(id));
            }
            UserAction::Call { tag, to, request } => self.call_for_user(tag, to, Request::Chat(request), now),
            UserAction::Mail { tag, to, request } => self.call_for_user(tag, to, Request::Mail(request), now),
            UserAction::Store { tag, to, record } => {
                let rpc = Rpc::Store { record: record.as_bytes().to_vec() };
                self.call_for_user(tag, to, Request::Dht(rpc), now);
            }
            UserAction::Save { writes, then } => {
                for effect in self.saving.add(writes, then) {
                    self.apply(effect, now);
                }
            }
            UserAction::Do(effect) => self.apply(effect, now),
        }
    }

    fn call_for_user(&mut self, tag: CallTag, to: Contact, request: Request, now: Now) {
        self.node.handle_touched(&to, now);
        self.calls.push_back(EngineCall { id: CallId(tag.0 << 1 | 1), to, request });
    }

    fn apply(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Tell(event) => self.events.push_back(event),
            Effect::Reply { to, response } => {
                if let Some(token) = idle::remove(&mut self.requests, &to) {
                    self.reply(token, Response::Chat(response));
                }
            }
            Effect::Saved { id } => self.outcomes.push_back(Outcome::Saved(id)),
            Effect::Sealed { conversation, seal } => {
                if let Some(user) = &mut self.user {
                    user.handle_sealed(conversation, seal, now);
                }
            }
            Effect::Collected { ids } => {
                if let Some(user) = &mut self.user {
                    user.handle_collected(ids, now);
                }
            }
            Effect::Publish(record) => {
                let key = record.header().key;
                let publication = self.node.publish(record, now);
                self.publications.insert(publication, key);
            }
            Effect::Found { command, result } => self.outcomes.push_back(Outcome::Found { command, result }),
        }
    }

    fn reply(&mut self, to: ReplyToken, response: Response) {
        self.replies.push_back(EngineReply { to, response });
    }
}

/// Which child made a call: call ids of the node are even, those of the user odd.
enum Caller {
    Node(RpcId),
    User(CallTag),
}

const fn caller(id: CallId) -> Caller {
    if id.0 & 1 == 0 { Caller::Node(RpcId(id.0 >> 1)) } else { Caller::User(CallTag(id.0 >> 1)) }
}
