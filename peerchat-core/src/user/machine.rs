//! [`User`]: the machine made of the directory, the people, what is owed and what arrives.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use rand_chacha::ChaCha20Rng;

use super::chat::{ChatRequest, ChatResponse, ContentKind};
use super::directory::Device;
use super::giving_up::Reason;
use super::owed::{Deposit, Owed, Sealed, in_time};
use super::people::People;
use super::post::Post;
use super::receiving::Introduction;
use super::registration::{RENEWAL, Registration, Standing};
use super::searching::Purpose;
use super::sender::{Sender, Step};
use super::sessions::Sessions;
use super::timers::Timer;
use super::typing::Typing;
use crate::crypto::{DeviceCipher, DeviceKeys};
use crate::deadlines::Deadlines;
use crate::error::ErrorCode;
use crate::event::{CommandId, Event, MessageId, MessageState};
use crate::identity::{Recipient, SecretKey, UserId, UserName};
use crate::kademlia::{AddressFamily, Contact, NodeId, NodeKey, Record, RecordKey};
use crate::limits::Limits;
use crate::mail::{EnvelopeId, MailRequest, Work, WorkId};
use crate::save::{ConversationId, Saved, Write};
use crate::time::Now;

/// Most messages of our own that are neither delivered nor given up, or still owe their number. One more is refused.
pub const MAX_OUTBOX: usize = 50_000;

/// Most conversations of a profile. A stranger who would start another one is answered "busy".
pub const MAX_CONVERSATIONS: usize = 65_536;

/// Most strangers whose names are looked up at once. One more is answered "busy".
pub const MAX_INTRODUCTIONS: usize = 64;

/// First pause before records are published again that too few nodes took; each further one doubles it.
const PUBLISH_RETRY: Duration = Duration::from_secs(5);

/// Longest pause before such records are published again.
const LONGEST_PUBLISH_RETRY: Duration = Duration::from_secs(300);

/// Names a search in the directory.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SearchId(pub u64);

/// Names a call to another person's node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CallTag(pub u64);

/// Counts what was sealed: whoever has a smaller number was sealed earlier, and is on disk earlier.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SealId(pub u64);

/// Names a request of another person's node until it is answered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestTag(pub u64);

/// What a user is made with.
#[derive(Clone, Debug)]
pub struct UserConfig {
    /// The user's name.
    pub name: UserName,
    /// Which addresses this node can send to.
    pub family: AddressFamily,
    /// How long an undelivered message is retried.
    pub message_lifetime: Duration,
    /// Whether contacts are told what was read.
    pub read_receipts: bool,
    /// What others may make the user keep.
    pub limits: Arc<Limits>,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct SearchOutcome {
    /// The records that were answered, one per answering node.
    pub records: Vec<Record>,
    /// How many other nodes answered at all.
    pub answer_count: usize,
}

/// What a lookup of a name found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundUser {
    /// The normalized name.
    pub name: UserName,
    /// The person behind it.
    pub user: UserId,
    /// The node that their device last announced.
    pub node: NodeId,
    /// Where that node was last announced to be, one per address family at most.
    pub addresses: Vec<SocketAddr>,
}

/// Why a lookup of a name found nobody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LookupError {
    /// No other node answers.
    Offline,
    /// Nobody goes by the name, or the person has announced no device.
    Unknown,
    /// The network does not agree on who holds the name.
    Contested(Vec<UserId>),
}

/// Why [`User::send`] refused a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PushError {
    /// The outbox holds [`MAX_OUTBOX`] messages.
    #[error("the outbox is full")]
    Full,
    /// The recipient would be one contact more than [`super::MAX_CONTACTS`].
    #[error("there are too many contacts")]
    TooManyContacts,
    /// This user has blocked the recipient.
    #[error("the recipient is blocked")]
    Blocked,
}

/// Something that takes effect outside.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The application is told.
    Tell(Event),
    /// A request is answered.
    Reply {
        /// The request.
        to: RequestTag,
        /// The answer.
        response: ChatResponse,
    },
    /// A message of our own is on disk.
    Saved {
        /// The message.
        id: MessageId,
    },
    /// Messages of our own are on disk as they will be sent; [`User::handle_sealed`] takes it, and delivers them.
    Sealed {
        /// The conversation.
        conversation: ConversationId,
        /// With what they were sealed.
        seal: SealId,
    },
    /// Mail is on disk; [`User::handle_collected`] takes it, and releases the mail.
    Collected {
        /// The envelopes that it came in.
        ids: Vec<EnvelopeId>,
    },
    /// It is to be looked up which messages of a conversation were delivered; [`User::handle_delivered`] takes them.
    LookForRead {
        /// The conversation.
        conversation: ConversationId,
        /// Only numbers above this one.
        after: u64,
        /// Only numbers up to this one.
        up_to: u64,
    },
    /// A record of our own is published; [`User::handle_published`] takes how it went.
    Publish(Record),
    /// What the application decided is on disk.
    Decided {
        /// The command.
        command: CommandId,
    },
    /// A lookup has ended.
    Found {
        /// The command that asked for it.
        command: CommandId,
        /// What it found.
        result: Result<FoundUser, LookupError>,
    },
}

/// Something for the engine to do, in this order.
#[derive(Clone, Debug)]
pub enum UserAction {
    /// Search the DHT for `key`; [`User::handle_search`] takes what is found.
    Search {
        /// Names the search.
        id: SearchId,
        /// The key.
        key: RecordKey,
        /// How many records are enough.
        wanted: usize,
    },
    /// Look up the nodes closest to a place; [`User::handle_nodes`] takes what is found.
    FindNodes {
        /// Names the search.
        id: SearchId,
        /// The place.
        place: NodeId,
    },
    /// Call a node that keeps mail; [`User::handle_mail_response`] or [`User::handle_call_failed`] follows.
    Mail {
        /// Names the call.
        tag: CallTag,
        /// The node.
        to: Contact,
        /// The request.
        request: MailRequest,
        /// Whether the answer is known to fit no datagram.
        is_answer_long: bool,
    },
    /// Do work, off whatever others wait for; [`User::handle_worked`] follows. One at a time.
    Work {
        /// Names it.
        id: WorkId,
        /// What to do.
        work: Work,
    },
    /// Ask a node to keep a record; [`User::handle_stored`] or [`User::handle_call_failed`] follows.
    Store {
        /// Names the call.
        tag: CallTag,
        /// The node.
        to: Contact,
        /// The record.
        record: Record,
    },
    /// Call another person's node; [`User::handle_response`] or [`User::handle_call_failed`] follows.
    Call {
        /// Names the call.
        tag: CallTag,
        /// The node.
        to: Contact,
        /// The request.
        request: ChatRequest,
    },
    /// Save `writes` as one; once they are on disk, let `then` take effect.
    Save {
        /// What to save.
        writes: Vec<Write>,
        /// What depends on it.
        then: Vec<Effect>,
    },
    /// Let this take effect now.
    Do(Effect),
}

/// One person on top of a node.
///
/// After any `handle_*` call or command, drain [`Self::poll_action`] until it returns `None`, then ask
/// [`Self::poll_timeout`].
pub struct User {
    pub(super) config: UserConfig,
    pub(super) key: SecretKey,
    pub(super) id: UserId,
    pub(super) node: NodeKey,
    pub(super) node_id: NodeId,
    /// From which the tags of messages are derived.
    pub(super) tag_key: zeroize::Zeroizing<[u8; 32]>,
    pub(super) people: People,
    pub(super) sessions: Sessions,
    pub(super) senders: BTreeMap<ConversationId, Sender>,
    /// Our calls without an answer yet: for which conversation, and to whom.
    pub(super) calls: BTreeMap<CallTag, (ConversationId, Contact)>,
    pub(super) searches: BTreeMap<SearchId, Purpose>,
    pub(super) introductions: BTreeMap<UserId, Introduction>,
    pub(super) registration: Registration,
    /// What is kept for others who are away, and by others for us.
    pub(super) post: Post,
    /// Who is typing.
    pub(super) typing: Typing,
    addresses: Vec<SocketAddr>,
    is_online: bool,
    has_published: bool,
    /// How many publications in a row too few nodes took.
    failed_publications: u32,
    timers: Deadlines<Timer>,
    actions: VecDeque<UserAction>,
    last_search: u64,
    last_call: u64,
    pub(super) last_seal: SealId,
    /// Everything that was sealed up to this one is on disk.
    pub(super) saved_seal: SealId,
    last_position: u64,
    outbox_count: usize,
    /// Messages of all streams that wait for an earlier one.
    pub(super) held_count: usize,
    /// Bytes of their bodies.
    pub(super) held_len: usize,
    /// What people who are blocked have sent in vain.
    pub(super) blocked_count: u64,
    /// Envelopes that opened to something that none has.
    pub(super) malformed_count: u64,
    /// Strangers that there was no room for.
    pub(super) refused_request_count: u64,
    /// Something of theirs was not taken because too much of what they have written is undecided.
    pub(super) has_left_words: bool,
    rng: ChaCha20Rng,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("outbox_count", &self.outbox_count)
            .finish_non_exhaustive()
    }
}

impl User {
    /// Makes the user of a profile, with what was saved of them, on the node with key `node`. `cipher` has the keys
    /// of the device, new ones if none were saved.
    #[must_use]
    pub fn new(
        config: UserConfig,
        key: SecretKey,
        node: NodeKey,
        cipher: Box<dyn DeviceCipher>,
        saved: &mut Saved,
        rng: ChaCha20Rng,
        now: Now,
    ) -> Self {
        let id = UserId::of(&key.public());
        let tag_key = blake3::derive_key("peerchat 2026 tags of messages", &*key.to_bytes());
        let mut user = Self {
            key,
            id,
            node,
            node_id: node.node_id(),
            tag_key: tag_key.into(),
            sessions: Sessions::restore(cipher, saved),
            people: People::restore(
                std::mem::take(&mut saved.conversations),
                &saved.streams,
                config.limits.clone(),
            ),
            senders: BTreeMap::new(),
            calls: BTreeMap::new(),
            searches: BTreeMap::new(),
            introductions: BTreeMap::new(),
            registration: Registration::restore(&saved.own_records),
            config,
            post: Post::restore(saved, &tag_key),
            typing: Typing::default(),
            addresses: Vec::new(),
            is_online: false,
            has_published: false,
            failed_publications: 0,
            timers: Deadlines::default(),
            actions: VecDeque::new(),
            last_search: 0,
            last_call: 0,
            last_seal: SealId(0),
            saved_seal: SealId(0),
            last_position: saved.last_position,
            outbox_count: 0,
            held_count: 0,
            held_len: 0,
            blocked_count: 0,
            malformed_count: 0,
            refused_request_count: 0,
            has_left_words: false,
            rng,
        };
        user.people.restore_words(&saved.request_lens);
        let envelopes = std::mem::take(&mut saved.envelopes).into_iter();
        let mut envelopes: BTreeMap<u64, _> = envelopes.map(|saved| (saved.position, saved)).collect();
        for message in std::mem::take(&mut saved.outbox) {
            let conversation = message.conversation;
            let saved = message.number.zip(envelopes.remove(&message.position));
            let sealed = saved.map(|(first, saved)| {
                let (device, count, envelope) = (saved.device, saved.count, Some(saved.envelope));
                Sealed { device, first, count, envelope, seal: SealId(0) }
            });
            user.owe(conversation, Owed::restore(message, sealed, now));
        }
        user.senders.values_mut().for_each(Sender::restore_batches);
        // The keys of a new device are on disk before anybody hears of them.
        user.rotate_keys(now);
        user.save_sessions();
        user.tell_rivals();
        user.look_for_all_read();
        user
    }

    /// Returns the user's id.
    #[must_use]
    pub fn id(&self) -> UserId {
        self.id
    }

    /// Returns how many messages of our own are neither delivered nor given up, or were given up and still owe their
    /// number, and how many receipts are owed to those whose mail has come: one for each device.
    #[must_use]
    pub fn outbox_count(&self) -> usize {
        self.outbox_count + self.people.owing_receipts().len()
    }

    /// Returns how many envelopes opened to something that none has: nothing of them was taken.
    #[must_use]
    pub fn malformed_count(&self) -> u64 {
        self.malformed_count
    }

    /// Returns the next thing to do, `None` when there is none left.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<UserAction> {
        crate::idle::pop(&mut self.actions)
    }

    /// Returns when [`Self::handle_timeout`] is next due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next().map(|(at, timer)| (at, timer.name()))
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop(now.instant) {
            match timer {
                Timer::Retry(conversation) => self.handle_retry(conversation, now),
                Timer::Expiry(conversation) => self.handle_expiry(conversation, now),
                Timer::Publish => self.publish(now),
                Timer::Vouch(stranger) => self.vouch_again(stranger),
                Timer::Receipts => self.owe_receipts_soon(now),
                Timer::Tokens => self.owe_tokens(now),
                Timer::Typing(conversation) => self.handle_typing_due(conversation, now),
                Timer::TypingHeard(conversation) => self.handle_typing_over(conversation, now),
                Timer::Collect => self.collect(now),
            }
        }
    }

    /// Saves a text for `to`, who becomes a contact, and starts to deliver it. [`Effect::Saved`] follows once it is on
    /// disk. It is retried for `lifetime`; `None`: for [`UserConfig::message_lifetime`].
    ///
    /// # Errors
    ///
    /// What [`PushError`] says. Nothing has changed then.
    pub fn send(
        &mut self,
        to: &Recipient,
        text: &str,
        lifetime: Option<Duration>,
        now: Now,
    ) -> Result<MessageId, PushError> {
        if self.outbox_count >= MAX_OUTBOX {
            return Err(PushError::Full);
        }
        let id = self.conversation_to_send(to, now)?;
        self.stop_typing_to(id);
        let mut owed = self.new_owed(id, ContentKind::TEXT, text.as_bytes().to_vec(), now);
        if let Some(lifetime) = lifetime {
            owed.expires = now.wall.saturating_add(lifetime);
            owed.expires_at = in_time(now.instant, lifetime);
        }
        let message = MessageId::new(&self.node_id, owed.position);
        let mut writes = Vec::new();
        writes
            .extend(self.people.get(id).map(|conversation| Write::Conversation(conversation.saved.clone())));
        writes.push(Write::Message(owed.to_saved(id)));
        self.save(writes, vec![Effect::Saved { id: message }]);
        self.owe(id, owed);
        if to.fingerprint().is_none() {
            self.check_name(id, now);
        }
        self.advance(id, now);
        self.deposit_if_away(id, now);
        Ok(message)
    }

    /// Makes something to be sent to a conversation.
    pub(super) fn new_owed(
        &mut self,
        id: ConversationId,
        kind: ContentKind,
        body: Vec<u8>,
        now: Now,
    ) -> Owed {
        Owed {
            position: self.next_position(),
            number: self.next_number(id),
            kind: kind.0,
            body,
            sent: now.wall,
            expires: now.wall.saturating_add(self.config.message_lifetime),
            expires_at: in_time(now.instant, self.config.message_lifetime),
            sealed: None,
            is_taken: false,
            deposit: Deposit::default(),
            is_void: false,
        }
    }

    /// Replaces keys of the device that are due, and returns the public ones that it now has.
    fn rotate_keys(&mut self, now: Now) -> DeviceKeys {
        let mut material = zeroize::Zeroizing::new([0; 32]);
        self.rng.fill_bytes(&mut *material);
        self.sessions.rotate(&material, now.wall)
    }

    /// Takes that what was sealed for a conversation is on disk.
    pub fn handle_sealed(&mut self, conversation: ConversationId, seal: SealId, now: Now) {
        self.saved_seal = self.saved_seal.max(seal);
        self.advance(conversation, now);
        self.deposit(conversation, now);
    }

    /// Takes the addresses under which other nodes see this one, best first.
    pub fn handle_addresses(&mut self, addresses: &[SocketAddr], now: Now) {
        if self.addresses != addresses {
            self.addresses = addresses.to_vec();
            self.publish(now);
        }
    }

    /// Takes that other nodes answer: what waits is tried at once.
    pub fn handle_online(&mut self, now: Now) {
        self.is_online = true;
        self.publish(now);
        let waiting: Vec<ConversationId> = self.senders.keys().copied().collect();
        for conversation in waiting {
            if let Some(sender) = self.senders.get_mut(&conversation) {
                sender.wake();
            }
            self.advance(conversation, now);
        }
        self.collect(now);
    }

    /// Takes that no other node answers any more.
    pub fn handle_offline(&mut self) {
        self.is_online = false;
    }

    /// Takes how the publication of the record under `key` went: how many nodes keep it, of how many that were
    /// asked, and the records of another owner that were kept instead.
    pub fn handle_published(
        &mut self,
        key: RecordKey,
        (accepted_count, asked_count): (usize, usize),
        incumbents: &[Record],
        now: Now,
    ) {
        let is_claim = self.registration.is_claim(&key);
        let is_held = if is_claim { 2 * accepted_count > asked_count } else { accepted_count > 0 };
        if !is_held && incumbents.len() < accepted_count.max(1) {
            self.publish_again_later(now);
            return;
        }
        self.failed_publications = 0;
        if !is_claim {
            // Those who keep the record keep the mail too.
            self.collect(now);
            return;
        }
        let name = self.config.name.clone();
        if is_held {
            if self.registration.standing != Standing::Registered {
                self.registration.standing = Standing::Registered;
                self.tell(Event::Registered { name, user: self.id });
            }
        } else if self.registration.standing != Standing::Taken {
            let Some(holder) = incumbents.first().map(|record| UserId::of(&record.header().owner)) else {
                return;
            };
            self.registration.standing = Standing::Taken;
            let detail = format!(
                "the name belongs to the person with fingerprint {}; register another name, or be addressed as {}",
                holder.fingerprint(),
                Recipient::exactly(name.clone(), &self.id),
            );
            self.tell(Event::RegistrationFailed { name, holder, code: ErrorCode::NameTaken, detail });
        }
    }

    fn publish_again_later(&mut self, now: Now) {
        let pause = PUBLISH_RETRY.saturating_mul(1 << self.failed_publications.min(16));
        self.failed_publications = self.failed_publications.saturating_add(1);
        self.set_timer(now.instant + pause.min(LONGEST_PUBLISH_RETRY), Timer::Publish);
    }

    /// Signs what is due and publishes it, if there is somebody to publish to and an address to tell.
    fn publish(&mut self, now: Now) {
        if !self.is_online || self.addresses.is_empty() {
            return;
        }
        let keys = self.rotate_keys(now);
        let device = Device { node: self.node, addresses: self.addresses.clone(), keys };
        let renewed = self.registration.renew(&self.key, &self.config.name, &device, now.wall);
        let mut writes = self.sessions.take_writes();
        writes.extend(renewed.iter().map(|record| Write::OwnRecord { bytes: record.as_bytes().to_vec() }));
        let due = if self.has_published && !renewed.is_empty() {
            renewed
        } else {
            self.registration
                .records()
                .map(|(claim, user)| vec![claim.clone(), user.clone()])
                .unwrap_or_default()
        };
        self.has_published = true;
        self.save(writes, due.into_iter().map(Effect::Publish).collect());
        self.set_timer(now.instant + RENEWAL, Timer::Publish);
    }

    /// Adds a message to what is owed to a conversation.
    pub(super) fn owe(&mut self, conversation: ConversationId, owed: Owed) {
        self.outbox_count += 1;
        self.senders.entry(conversation).or_insert_with(Sender::new).push(owed);
        self.watch_expiry(conversation);
    }

    /// Sets the timer of the message of a conversation that is given up first.
    pub(super) fn watch_expiry(&mut self, conversation: ConversationId) {
        match self.senders.get(&conversation).and_then(Sender::first_expiry) {
            Some(at) => self.set_timer(at, Timer::Expiry(conversation)),
            None => self.timers.remove(Timer::Expiry(conversation)),
        }
    }

    /// Takes away the sender of a conversation that is owed nothing any more.
    pub(super) fn remove_sender(&mut self, conversation: ConversationId) -> Option<Sender> {
        self.timers.remove(Timer::Retry(conversation));
        self.timers.remove(Timer::Expiry(conversation));
        self.end_deposits(conversation);
        self.senders.remove(&conversation)
    }

    /// Gives out the next number of a conversation whose person is known.
    fn next_number(&mut self, id: ConversationId) -> Option<u64> {
        let conversation = self.people.get_mut(id)?;
        conversation.saved.user?;
        let number = conversation.saved.next_number;
        conversation.saved.next_number += 1;
        Some(number)
    }

    fn handle_retry(&mut self, conversation: ConversationId, now: Now) {
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        if let Step::Waiting(until) = sender.step
            && until <= now.instant
        {
            sender.step = Step::Ready;
            self.advance(conversation, now);
        }
    }

    /// Saves and tells that messages are neither owed nor retried any more.
    pub(super) fn finish(
        &mut self,
        conversation: ConversationId,
        finished: Vec<Owed>,
        state: MessageState,
        reason: Reason<'_>,
    ) {
        self.outbox_count = self.outbox_count.saturating_sub(finished.len());
        let found = self.people.get(conversation).map(|found| &found.saved);
        let (to, read_heard) = found.map(|saved| (saved.peer.clone(), saved.read_heard)).unwrap_or_default();
        let mut writes = Vec::with_capacity(finished.len());
        let mut then = Vec::with_capacity(finished.len());
        for owed in finished {
            if owed.is_void {
                writes.push(Write::VoidGone { position: owed.position });
                continue;
            }
            if owed.is_receipt() {
                writes.push(Write::MessageGone { position: owed.position });
                continue;
            }
            // The receipt that says so may have come before the answer to this message.
            let is_read = state == MessageState::Delivered && owed.number.is_some_and(|it| it <= read_heard);
            let state = if is_read { MessageState::Read } else { state };
            writes.push(Write::MessageState { position: owed.position, state });
            then.push(Effect::Tell(self.state_event(owed.position, to.clone(), state, reason)));
        }
        self.save(writes, then);
    }

    pub(super) fn next_position(&mut self) -> u64 {
        self.last_position += 1;
        self.last_position
    }

    pub(super) fn message_id(&self, position: u64) -> MessageId {
        MessageId::new(&self.node_id, position)
    }

    pub(super) fn jitter(&mut self) -> f64 {
        self.rng.random_range(0.0..1.0)
    }

    pub(super) fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers.set(timer, at);
    }

    pub(super) fn remove_timer(&mut self, timer: Timer) {
        self.timers.remove(timer);
    }

    pub(super) fn set_timer_if_unset(&mut self, at: Instant, timer: Timer) {
        self.timers.set_if_unset(timer, at);
    }

    pub(super) fn save(&mut self, writes: Vec<Write>, then: Vec<Effect>) {
        if !writes.is_empty() || !then.is_empty() {
            self.actions.push_back(UserAction::Save { writes, then });
        }
    }

    /// Saves what has changed in sessions.
    pub(super) fn save_sessions(&mut self) {
        let writes = self.sessions.take_writes();
        self.save(writes, Vec::new());
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.actions.push_back(UserAction::Do(Effect::Tell(event)));
    }

    pub(super) fn reply(&mut self, to: RequestTag, response: ChatResponse) {
        self.actions.push_back(UserAction::Do(Effect::Reply { to, response }));
    }

    pub(super) fn found(&mut self, command: CommandId, result: Result<FoundUser, LookupError>) {
        self.actions.push_back(UserAction::Do(Effect::Found { command, result }));
    }

    pub(super) fn start_search(&mut self, purpose: Purpose, key: RecordKey, wanted: usize) {
        self.last_search += 1;
        let id = SearchId(self.last_search);
        self.searches.insert(id, purpose);
        self.actions.push_back(UserAction::Search { id, key, wanted });
    }

    pub(super) fn start_node_search(&mut self, purpose: Purpose, place: NodeId) -> SearchId {
        self.last_search += 1;
        let id = SearchId(self.last_search);
        self.searches.insert(id, purpose);
        self.actions.push_back(UserAction::FindNodes { id, place });
        id
    }

    pub(super) fn next_call(&mut self) -> CallTag {
        self.last_call += 1;
        CallTag(self.last_call)
    }

    pub(super) fn act(&mut self, action: UserAction) {
        self.actions.push_back(action);
    }

    pub(super) fn start_call(
        &mut self,
        conversation: ConversationId,
        to: Contact,
        request: ChatRequest,
    ) -> CallTag {
        let tag = self.next_call();
        self.calls.insert(tag, (conversation, to));
        self.actions.push_back(UserAction::Call { tag, to, request });
        tag
    }
}
