//! [`Engine`]: the one machine made of the machines below it. It decides everything and touches nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::config::Config;
use crate::crypto::DeviceCipher;
use crate::event::{CommandId, Event, MessageId};
use crate::identity::{Recipient, UserId, UserName};
use crate::idle;
use crate::kademlia::{
    AddressFamily, Contact, LOOKUP_PATHS, LookupId, Node, NodeConfig, NodeId, NodeKey, PublishId, Record,
    RecordKey, Rpc, RpcId, RpcReply, Serve, StoreRefusal,
};
use crate::limits::Limits;
use crate::mail::{MailAnswer, MailCallTag, MailReadId, MailRequest, Mailbox, Work, WorkId};
use crate::save::{BatchId, ConversationId, Found, Read, ReadId, Saved, Write, WriteBatch};
use crate::time::Now;
use crate::transport::{CallId, ProbeId, ReplyToken, ThrowawayId};
use crate::user::{
    CallTag, ChatResponse, Decision, DecisionError, DeliverRefusal, FoundUser, LookupError, PushError,
    RequestTag, SearchId, User, UserConfig,
};
use crate::wire::{Request, Response};

mod address;
mod bootstrap;
mod draining;
mod mail;
mod saving;
#[cfg(test)]
mod tests;

use address::OwnAddresses;
use bootstrap::Bootstrap;
use mail::MailDesk;
use saving::{Saving, digest};

/// How often the routing table is saved when it has changed.
pub const ROUTING_SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// How soon after the first contact the routing table is saved for the first time.
const FIRST_ROUTING_SAVE: Duration = Duration::from_secs(1);

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
    /// Whether contacts are told what was read.
    pub read_receipts: bool,
    /// How much mail the node keeps for others, in bytes; see [`crate::mail::DEFAULT_MAIL_QUOTA`].
    pub mail_quota: u64,
    /// What others may make the engine keep and do.
    pub limits: Arc<Limits>,
}

impl EngineConfig {
    /// Returns what the configuration of a client means for its engine.
    #[must_use]
    pub fn of(config: &Config, family: AddressFamily) -> Self {
        Self {
            k: config.k(),
            alpha: config.alpha(),
            paths: LOOKUP_PATHS,
            family,
            serve: config.serve(),
            user: config.user().cloned(),
            message_lifetime: config.message_lifetime(),
            read_receipts: config.read_receipts(),
            mail_quota: config.mail_quota(),
            limits: config.shared_limits(),
        }
    }
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
    /// Under which throwaway key, `None` for the node's own.
    pub throwaway: Option<ThrowawayId>,
    /// Whether the answer is known to fit no datagram.
    pub is_answer_long: bool,
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
    /// What the application decided is on disk.
    Decided(CommandId),
    /// A lookup has ended.
    Found {
        /// The command.
        command: CommandId,
        /// What it found.
        result: Result<FoundUser, LookupError>,
    },
}

/// Who asked for something that is being read.
#[derive(Clone, Copy, Debug)]
enum ReadUse {
    Mail(MailReadId),
    /// What was delivered in this conversation, up to this number.
    Delivered(ConversationId, u64),
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
    mail: MailDesk,
    saving: Saving,
    own_addresses: OwnAddresses,
    bootstraps: BTreeMap<CommandId, Bootstrap>,
    probes: BTreeMap<ProbeId, (CommandId, SocketAddr)>,
    lookups: BTreeMap<LookupId, LookupUse>,
    publications: BTreeMap<PublishId, RecordKey>,
    requests: BTreeMap<RequestTag, ReplyToken>,
    last_request: u64,
    last_probe: u64,
    reads: BTreeMap<ReadId, ReadUse>,
    last_read: u64,
    /// Digest of the contacts that were saved last, in whatever order.
    saved_routing: [u8; 32],
    next_routing_save: Option<Instant>,
    limits: Arc<Limits>,
    /// Requests of others that were answered "busy" because too much waited.
    busy_count: u64,
    calls: VecDeque<EngineCall>,
    replies: VecDeque<EngineReply>,
    probing: VecDeque<(ProbeId, SocketAddr)>,
    reading: VecDeque<(ReadId, Read)>,
    working: VecDeque<(WorkId, Work)>,
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
        node.set_limits(&config.limits);
        node.restore(&saved.routing, &saved.records, now);
        let mailbox =
            Mailbox::new(config.mail_quota, config.limits.clone(), &saved.mail, &saved.released, now);
        let user = saved.keys.user.clone().zip(config.user).zip(cipher);
        let user = user.map(|((user_key, name), cipher)| {
            let user_config = UserConfig {
                name,
                family: config.family,
                message_lifetime: config.message_lifetime,
                read_receipts: config.read_receipts,
                limits: config.limits.clone(),
            };
            User::new(user_config, user_key, key, cipher, &mut saved, rng, now)
        });
        let limits = config.limits;
        let mut engine = Self {
            node,
            user,
            mail: MailDesk::new(mailbox, &limits, &key.node_id(), now),
            saving: Saving::default(),
            own_addresses: OwnAddresses::default(),
            bootstraps: BTreeMap::new(),
            probes: BTreeMap::new(),
            lookups: BTreeMap::new(),
            publications: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_request: 0,
            last_probe: 0,
            reads: BTreeMap::new(),
            last_read: 0,
            saved_routing: digest(&saved.routing),
            next_routing_save: None,
            limits,
            busy_count: 0,
            calls: VecDeque::new(),
            replies: VecDeque::new(),
            probing: VecDeque::new(),
            reading: VecDeque::new(),
            working: VecDeque::new(),
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

    /// Returns the mail that is kept for others, for its getters.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mail.mailbox
    }

    /// Returns what is still owed to others; see [`User::outbox_count`].
    #[must_use]
    pub fn outbox_count(&self) -> usize {
        self.user.as_ref().map_or(0, User::outbox_count)
    }

    /// Returns the user, for its getters.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Returns the addresses under which other nodes see this one, best first.
    #[must_use]
    pub fn own_addresses(&self) -> Vec<SocketAddr> {
        self.own_addresses.best()
    }

    /// Returns how many requests of others were answered "busy" because too many of them, or too much for the disk, waited.
    #[must_use]
    pub fn busy_count(&self) -> u64 {
        self.busy_count
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

    /// Saves a text for sending; [`Outcome::Saved`] follows once it is on disk. `None` if there is no user. It is retried
    /// for `lifetime`; `None`: as long as the configuration says.
    ///
    /// # Errors
    ///
    /// What [`PushError`] says.
    pub fn send_text(
        &mut self,
        to: &Recipient,
        text: &str,
        lifetime: Option<Duration>,
        now: Now,
    ) -> Option<Result<MessageId, PushError>> {
        let sent = self.user.as_mut()?.send(to, text, lifetime, now);
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

    /// Does what the application decided; [`Outcome::Decided`] follows once it is on disk.
    ///
    /// # Errors
    ///
    /// What [`DecisionError`] says; a node without a user has met nobody.
    pub fn decide(&mut self, command: CommandId, decision: Decision, now: Now) -> Result<(), DecisionError> {
        self.user.as_mut().ok_or(DecisionError::NotMet)?.decide(command, decision, now)?;
        self.run(now);
        Ok(())
    }

    /// Tells somebody, if they are a contact and there, whether this user types to them; see [`User::set_typing`].
    ///
    /// # Errors
    ///
    /// What [`DecisionError`] says; a node without a user has met nobody.
    pub fn set_typing(&mut self, to: &Recipient, is_typing: bool, now: Now) -> Result<(), DecisionError> {
        self.user.as_mut().ok_or(DecisionError::NotMet)?.set_typing(to, is_typing, now)?;
        self.run(now);
        Ok(())
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
        if self.is_saving_too_much() && request.is_to_be_saved() {
            self.refuse_for_now(token, &request);
            return;
        }
        match request {
            Request::Dht(rpc) => {
                let stored = if let Rpc::Store { record } = &rpc { Record::key_of(record) } else { None };
                let reply = self.node.handle_request(from, is_proven, rpc, now);
                if let Some(key) = stored.filter(|_| reply == RpcReply::Stored) {
                    self.handle_stored(key, from, now);
                }
                self.reply(token, Response::Dht(reply));
            }
            Request::Chat(request) => {
                self.node.handle_alive(from, now);
                let refusal = |refusal| Response::Chat(ChatResponse::NotDelivered(refusal));
                match &mut self.user {
                    None => self.reply(token, refusal(DeliverRefusal::NotHere)),
                    Some(_) if self.requests.len() >= self.limits.chat_requests => {
                        self.busy_count += 1;
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
            Request::Mail(request) => {
                self.node.handle_alive(from, now);
                self.handle_mail_request(from, token, request, now);
            }
        }
        self.run(now);
    }

    /// Takes a request under a throwaway key: somebody leaves mail with us, and may give us the record of whom it is for. They
    /// are no contact, and whatever else they ask is not answered.
    pub fn handle_throwaway_request(
        &mut self,
        from: Contact,
        is_proven: bool,
        token: ReplyToken,
        request: Request,
        now: Now,
    ) {
        if self.is_saving_too_much() && request.is_to_be_saved() {
            self.refuse_for_now(token, &request);
            return;
        }
        match request {
            Request::Mail(request @ MailRequest::Deposit { .. }) if is_proven => {
                self.handle_mail_request(from, token, request, now);
            }
            Request::Dht(Rpc::Store { record }) if is_proven => {
                let reply = self.node.store_for_others(&record, now);
                self.reply(token, Response::Dht(reply));
            }
            _ => self.reply(token, Response::Unsupported),
        }
        self.run(now);
    }

    /// Tells whether so much waits for the disk that nothing more is taken for it from others.
    fn is_saving_too_much(&self) -> bool {
        self.saving.len() >= self.limits.unsaved_len
    }

    /// Answers that there is no room now. Whoever asks tries again.
    fn refuse_for_now(&mut self, token: ReplyToken, request: &Request) {
        self.busy_count += 1;
        let response = match request {
            Request::Dht(_) => {
                self.node.note_no_room();
                let (reason, incumbent) = (StoreRefusal::Full, None);
                Response::Dht(RpcReply::Refused { reason, incumbent })
            }
            Request::Chat(_) => Response::Chat(ChatResponse::NotDelivered(DeliverRefusal::Busy)),
            Request::Mail(_) => Response::Mail(self.mail.mailbox.refuse_unopened()),
        };
        self.reply(token, response);
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
        round_trip: Option<Duration>,
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
            (Caller::Mail(tag), response) => {
                self.node.handle_alive(from, now);
                self.handle_mail_response(tag, &response, now);
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
            Caller::Mail(tag) => self.mail.mailbox.handle_answer(tag, MailAnswer::Failed, now),
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
        for then in self.saving.handle_written(id) {
            self.follow(then, now);
        }
        self.run(now);
    }

    /// Takes what was read.
    pub fn handle_read(&mut self, id: ReadId, found: Found, now: Now) {
        match (idle::remove(&mut self.reads, &id), found) {
            (Some(ReadUse::Mail(read)), Found::Mail(bytes)) => {
                self.mail.mailbox.handle_read(read, bytes, now);
            }
            (Some(ReadUse::Delivered(conversation, up_to)), Found::Delivered(delivered)) => {
                if let Some(user) = &mut self.user {
                    user.handle_delivered(conversation, up_to, delivered);
                }
            }
            _ => {}
        }
        self.run(now);
    }

    /// Takes what came of work, `None` if no nonce was found.
    pub fn handle_worked(&mut self, id: WorkId, nonce: Option<u64>, now: Now) {
        if let Some(user) = &mut self.user {
            user.handle_worked(id, nonce, now);
        }
        self.run(now);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.node.handle_timeout(now);
        if let Some(user) = &mut self.user {
            user.handle_timeout(now);
        }
        self.handle_mail_timeout(now);
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

    /// Returns the next thing to read; [`Self::handle_read`] takes it. What is asked for was on disk before.
    #[must_use]
    pub fn poll_read(&mut self) -> Option<(ReadId, Read)> {
        idle::pop(&mut self.reading)
    }

    /// Returns the next work to do, which takes up to seconds of one core; [`Self::handle_worked`] takes what came of it.
    /// There is one at a time.
    #[must_use]
    pub fn poll_work(&mut self) -> Option<(WorkId, Work)> {
        idle::pop(&mut self.working)
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
        [self.node.poll_timeout(), user, self.mail.poll_timeout(), routing]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

/// Which child made a call.
enum Caller {
    Node(RpcId),
    User(CallTag),
    Mail(MailCallTag),
}

/// The two lowest bits of the ids of the node's calls.
const NODE: u64 = 0;

/// The two lowest bits of the ids of the user's calls.
const USER: u64 = 1;

/// The two lowest bits of the ids of the mailbox's calls.
const MAIL: u64 = 2;

const fn call_id(number: u64, child: u64) -> CallId {
    CallId(number << 2 | child)
}

const fn caller(id: CallId) -> Caller {
    let number = id.0 >> 2;
    match id.0 & 3 {
        NODE => Caller::Node(RpcId(number)),
        USER => Caller::User(CallTag(number)),
        _ => Caller::Mail(MailCallTag(number)),
    }
}
