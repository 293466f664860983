//! [`Client`]: the handle that applications and bindings hold. It owns nothing but channels.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, oneshot};

use crate::address::BootstrapAddress;
use crate::config::{Config, Location, Passphrase};
use crate::crypto::{DeviceCipher, Olm};
use crate::engine::{Engine, EngineConfig};
use crate::error::{Error, ErrorCode};
use crate::event::{CommandId, Event, MessageId, MessageState};
use crate::identity::{Recipient, SecretKey, UserId, UserName, safety_number};
use crate::kademlia::{NodeId, NodeKey, RefusedRecords};
use crate::runtime::{
    Carriers, Command, Driver, DriverParts, EventQueue, Socket, block_on, fill_random, runtime,
};
use crate::save::{ProfileKeys, Saved, SavedConversation, SavedMessage, StreamId};
use crate::storage::{self, Opened, Store};
use crate::time::Timestamp;
use crate::transport::TransportConfig;
use crate::user::{ContentKind, Decision, FoundUser, LookupError};
use closing::{Closing, Ended};

mod closing;
mod moving;
mod people;
mod search;
mod sending;

pub use people::Person;
pub use sending::SendOptions;

/// Most commands that wait for the driver. Whoever gives one more waits until there is room.
const MAX_COMMANDS: usize = 1024;

/// Most messages that [`Client::history`] returns at once.
pub const MAX_HISTORY_PAGE: usize = 1000;

/// How long [`Client::shutdown`] waits at most for what is in flight to be saved.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1500);

/// A running node, with a user on top of it unless it was opened without one.
///
/// Every method may be called from any thread. Dropping the last clone closes the client.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Closes the client when the last clone goes.
#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Box<Command>>,
    events: Arc<EventQueue>,
    store: Store,
    last_command: AtomicU64,
    user: Option<(UserName, UserId)>,
    node_key: NodeKey,
    node_id: NodeId,
    local_address: SocketAddr,
    /// Ends when the driver has saved everything and is gone.
    closing: Closing,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.events.close();
        self.closing.announce();
        // Without room in the channel the driver notices that the channel is closed instead.
        let _ = self.commands.try_send(Box::new(Command::Close));
    }
}

/// One message of [`Client::history`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryEntry {
    /// Names the message in this profile.
    pub id: MessageId,
    /// Its place in the history of the profile, for paging.
    pub position: u64,
    /// The other person of the conversation: `alice` or `alice#7kq2m4xd`.
    pub peer: String,
    /// Whether this profile's user wrote it.
    pub is_own: bool,
    /// What was written.
    pub text: String,
    /// When it was written, by the writer's clock.
    pub sent: Timestamp,
    /// When it was saved here.
    pub received: Timestamp,
    /// How far it has come; `None` for a received message.
    pub state: Option<MessageState>,
    /// How many nodes keep it for the recipient, if its state is [`MessageState::Stored`]; else 0.
    pub held_by: u32,
    /// Whether it is of somebody who is neither a contact nor blocked.
    pub is_request: bool,
}

/// Who the person behind a name is, as far as this profile goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// How they are shown and addressed: `alice` or `alice#7kq2m4xd`.
    pub name: String,
    /// Who they are. It never changes for a conversation.
    pub user: UserId,
    /// Whether the application has marked the person as verified.
    pub is_verified: bool,
    /// Who else was seen to hold the name; see [`Event::IdentityChanged`].
    pub rival: Option<UserId>,
}

/// Counts since the client was opened, but for the gauges.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Contacts in the routing table now.
    pub contact_count: usize,
    /// Records kept for the DHT now.
    pub record_count: usize,
    /// Whether the node keeps records for others now: whether they can reach it, as far as it knows.
    pub is_serving: bool,
    /// Envelopes kept now for people who are away.
    pub mail_count: usize,
    /// How much of [`Config::mail_quota`] they take now, in bytes.
    pub mail_len: u64,
    /// Envelopes taken for people who were away.
    pub mail_deposited: u64,
    /// Of these, how many were given to their recipients; one that was asked for twice counts twice.
    pub mail_fetched: u64,
    /// Requests about mail that were refused, for whatever reason.
    pub mail_refused: u64,
    /// Of these, for want of room.
    pub mail_refused_full: u64,
    /// Of these, because too many waited.
    pub mail_refused_busy: u64,
    /// Of these, because a stranger had not worked as much as the room asked for.
    pub mail_refused_work: u64,
    /// Of these, because a token was none, or had expired.
    pub mail_refused_token: u64,
    /// How often an envelope of this user was not left with a node because of the work that it asked for.
    pub work_given_up: u64,
    /// Messages of our own that are not finished now, and receipts for mail that nobody has taken yet: at 0 nothing is
    /// lost to others if the client closes.
    pub outbox_count: usize,
    /// Encrypted links that are up now.
    pub link_count: usize,
    /// QUIC connections that are up now.
    pub connection_count: usize,
    /// DHT requests sent, for whatever reason; one that had to be repeated counts once.
    pub requests_sent: u64,
    /// Searches of the DHT that have ended, for whatever reason.
    pub searches_ended: u64,
    /// The sum over these searches of how many requests in a row led to what they found.
    pub search_hops: u64,
    /// Records that others wanted kept here and that were refused, by reason.
    pub refused_records: RefusedRecords,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received, dropped ones included.
    pub datagrams_received: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Sealed envelopes for this user that were dropped because they do not open, or nobody that is known wrote them.
    pub mail_dropped: u64,
    /// Messages, introductions and envelopes of people whom this user has blocked that were turned away.
    pub blocked: u64,
    /// Introductions and envelopes of strangers that were turned away because there were too many requests; whoever tries
    /// again counts again.
    pub requests_refused: u64,
    /// Typing notices of others that were not told: of nobody who is a contact, malformed, or too many.
    pub hints_dropped: u64,
    /// Whether one party may be all that the node sees, as far as it can tell: its contacts lie in fewer than three large blocks
    /// of public addresses, or its neighbours' ids are much denser than others, so that somebody must have chosen them. It
    /// asks contacts elsewhere from earlier days then.
    pub is_surrounded: bool,
    /// Requests of others that were dropped because they came faster than the limits allow; they count as dropped too.
    pub requests_too_fast: u64,
    /// Requests of others that were answered that there is no room now, because too many of them, or too much for the disk,
    /// waited.
    pub requests_busy: u64,
    /// Requests of others that were forgotten before they were answered, because too many waited, or too long.
    pub requests_forgotten: u64,
    /// Events that say how far a message came and that were dropped because the application left too many; the state can
    /// still be asked for.
    pub events_dropped: u64,
    /// Datagrams and requests dropped because they were malformed, foreign, replayed, not authentic or too many.
    pub dropped: u64,
}

impl Client {
    /// Opens the profile that `config` names, binds the socket and starts the node.
    ///
    /// Blocks briefly, on the disk only; longer if a client of this process that was closed still saves the same profile or
    /// still has the port: it is waited for, up to half a minute. Other nodes are found by [`Client::bootstrap`], or by a saved contact if
    /// the profile has been in the network before; a node that does neither starts a network of its own.
    ///
    /// # Errors
    ///
    /// The profile is open elsewhere, damaged, too new or cannot be written; the port is taken.
    pub fn open(config: Config) -> Result<Self, Error> {
        let runtime = runtime()?;
        let _guard = runtime.enter();
        closing::wait_for_config(&config);
        let keys = draw_keys(config.user().is_some())?;
        // Before the profile: a taken port must not leave a new profile behind.
        let socket = Socket::bind(config.bind())?;
        let Opened { store, saved } =
            storage::open_with(config.location(), config.user(), config.passphrase(), || keys)?;
        let cipher = device_cipher(config.location(), &saved)?;
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            fill_random(seed)?;
        }
        let [engine_seed, transport_seed] = seeds;
        let carrier = Carriers::new(
            TransportConfig {
                network: config.network().to_owned(),
                max_links: config.max_links(),
                limits: config.shared_limits(),
            },
            &saved.keys.node,
            ChaCha20Rng::from_seed(transport_seed),
        );
        let (node_key, local_address) = (NodeKey::from(saved.keys.node.public()), socket.local_address());
        let events =
            Arc::new(EventQueue::new(saved.confirmed_position, saved.last_position, config.shared_limits()));
        let engine_config = EngineConfig::of(&config, socket.family());
        let engine = Engine::new(engine_config, saved, cipher, engine_seed, crate::runtime::now());
        let (node_id, user) = (engine.node_id(), config.user().cloned().zip(engine.user_id()));
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let ended = Arc::new(Ended::default());
        let parts = DriverParts {
            engine,
            carrier,
            socket,
            limits: config.shared_limits(),
            store: store.clone(),
            events: events.clone(),
            commands: receiver,
        };
        spawn(Driver::new(parts), events.clone(), store.clone(), ended.clone());
        let last_command = AtomicU64::new(0);
        let closing = Closing::new(&config, local_address, ended);
        let handle =
            Handle { commands, events, store, last_command, user, node_key, node_id, local_address, closing };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Tells whether `data_dir` holds a profile of this user, without opening it.
    #[must_use]
    pub fn profile_exists(data_dir: &Path, user: &UserName) -> bool {
        storage::profile_exists(data_dir, user)
    }

    /// Sets, changes or removes (`None`) the passphrase of a profile in `data_dir` that no client has open; `user` `None` is
    /// the node without a user. All of it happens or nothing. Blocks for a second or two.
    ///
    /// # Errors
    ///
    /// [`Error::WrongPassphrase`] if `old` is not its passphrase; the profile is open or damaged, or the disk refused.
    pub fn change_passphrase(
        data_dir: &Path,
        user: Option<&UserName>,
        old: Option<&Passphrase>,
        new: Option<&Passphrase>,
    ) -> Result<(), Error> {
        closing::wait_for_profile(data_dir, user);
        storage::change_passphrase(data_dir, user, old, new)
    }

    /// Returns the user's name, `None` for a node without a user.
    #[must_use]
    pub fn user_name(&self) -> Option<&UserName> {
        self.handle.user.as_ref().map(|(name, _)| name)
    }

    /// Returns the user's id, `None` for a node without a user.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.handle.user.as_ref().map(|(_, id)| *id)
    }

    /// Returns the node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.handle.node_id
    }

    /// Returns the node's key, the part before `@` in `key@host:port`.
    #[must_use]
    pub fn node_key(&self) -> NodeKey {
        self.handle.node_key
    }

    /// Returns the UDP address that the node is bound to, with the port that the system chose.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.handle.local_address
    }

    /// Joins the network through the node at `address`: `host:port`, `[ipv6]:port` or `key@host:port`.
    ///
    /// Returns at once; [`Event::Bootstrapped`] or [`Event::BootstrapFailed`] follows with the same id. See
    /// [`BootstrapAddress`] for whom an address trusts.
    ///
    /// # Errors
    ///
    /// The address does not parse, or the client is closed.
    pub fn bootstrap(&self, address: &str) -> Result<CommandId, Error> {
        let parsed: BootstrapAddress = address.parse()?;
        self.open_store()?;
        let id = self.next_command();
        let (text, commands) = (address.to_owned(), self.handle.commands.clone());
        runtime()?.spawn(async move {
            let (key, host) = (parsed.key(), parsed.host());
            let addresses = match host.parse::<SocketAddr>() {
                Ok(address) => Ok(vec![address]),
                Err(_) => {
                    tokio::net::lookup_host(host).await.map(Iterator::collect).map_err(|why| why.to_string())
                }
            };
            // If the client has been closed meanwhile, nobody waits for the outcome.
            let _ = commands.send(Box::new(Command::Bootstrap { id, text, addresses, key })).await;
        });
        Ok(id)
    }

    /// Saves a text for sending and returns once it is on disk; [`Event::MessageState`] tells what becomes of it. Who is
    /// written to is a contact from then on.
    ///
    /// `to` is `alice` or `alice#7kq2m4xd`. Dropping the future does not take the message back.
    ///
    /// # Errors
    ///
    /// The recipient's name or the text breaks the rules, the recipient is blocked, the outbox or the list of contacts is
    /// full, the disk refused, there is no user, or the client is closed. Nothing was queued then.
    pub async fn send(&self, to: &str, text: &str) -> Result<MessageId, Error> {
        self.send_with(to, text, SendOptions::default()).await
    }

    /// Does what [`Client::send`] does, with options.
    ///
    /// # Errors
    ///
    /// Those of [`Client::send`], or an option is out of its range.
    pub async fn send_with(&self, to: &str, text: &str, options: SendOptions) -> Result<MessageId, Error> {
        let (to, text, lifetime) = (Recipient::parse(to)?, check_text(text)?, options.checked_lifetime()?);
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let (done, saved) = oneshot::channel();
        self.command(Command::Send { to, text, lifetime, done }).await?;
        saved.await.map_err(|_| Error::Closed)?
    }

    /// Does what [`Client::send`] does on a thread that may block. It waits for the disk, never for the network.
    ///
    /// # Errors
    ///
    /// Those of [`Client::send`].
    pub fn send_blocking(&self, to: &str, text: &str) -> Result<MessageId, Error> {
        block_on(self.send(to, text))
    }

    /// Takes a text for sending and returns its id without waiting for the disk: [`Event::MessageState`] with
    /// [`MessageState::Queued`], or a later state, tells that it is saved, and what becomes of it. Until then a crash
    /// loses it, and [`Client::message_state`] does not know it.
    ///
    /// Blocks until the node has taken it, which is well under a millisecond unless the node is busy.
    ///
    /// # Errors
    ///
    /// Those of [`Client::send`], but for what the disk says: if it refuses, [`Event::Closed`] tells so.
    pub fn enqueue(&self, to: &str, text: &str) -> Result<MessageId, Error> {
        let (to, text) = (Recipient::parse(to)?, check_text(text)?);
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let (taken, id) = oneshot::channel();
        block_on(async {
            self.command(Command::Enqueue { to, text, taken }).await?;
            id.await.map_err(|_| Error::Closed)?
        })
    }

    /// Waits for the next event. Asking for the next one confirms the last.
    ///
    /// Dropping the future loses no event.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the client is closed.
    pub async fn next_event(&self) -> Result<Event, Error> {
        self.handle.events.next().await
    }

    /// Waits up to `timeout` for the next event on a thread that may block; `Ok(None)` if there was none in time.
    ///
    /// Asking for the next event confirms the last.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the client is closed.
    pub fn poll(&self, timeout: Duration) -> Result<Option<Event>, Error> {
        self.handle.events.wait(Some(timeout))
    }

    /// Returns a descriptor that is readable while an event waits. It is made on first use, belongs to the
    /// client, and must be neither read nor closed.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left, or the client is closed.
    #[cfg(unix)]
    pub fn event_fd(&self) -> Result<std::os::fd::RawFd, Error> {
        self.handle.events.descriptor()
    }

    /// Returns how far a message of our own has come.
    ///
    /// # Errors
    ///
    /// No message of ours has this id, the disk refused, or the client is closed.
    pub fn message_state(&self, id: MessageId) -> Result<MessageState, Error> {
        self.own_message(id)?.state.ok_or(Error::NotFound)
    }

    /// Returns how many nodes keep a message of our own for its recipient, who is away: 0 unless its state is
    /// [`MessageState::Stored`].
    ///
    /// # Errors
    ///
    /// As for [`Self::message_state`].
    pub fn message_holders(&self, id: MessageId) -> Result<u32, Error> {
        Ok(held_by(&self.own_message(id)?))
    }

    fn own_message(&self, id: MessageId) -> Result<SavedMessage, Error> {
        let position = id.position(&self.handle.node_id).ok_or(Error::NotFound)?;
        let message = self.open_store()?.message(position)?.ok_or(Error::NotFound)?;
        // A receipt is nothing that a person wrote.
        let is_own = message.state.is_some() && message.kind != ContentKind::RECEIPT.0;
        if is_own { Ok(message) } else { Err(Error::NotFound) }
    }

    /// Returns up to `limit` messages of the conversation with `peer`, the latest first, before history position
    /// `before` (`None`: from the end). Reads the disk on the calling thread.
    ///
    /// # Errors
    ///
    /// The name breaks the rules, the disk refused, there is no user, or the client is closed.
    pub fn history(&self, peer: &str, before: Option<u64>, limit: usize) -> Result<Vec<HistoryEntry>, Error> {
        let peer = Recipient::parse(peer)?;
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let Some(conversation) = self.conversation(&peer)? else { return Ok(Vec::new()) };
        let messages = self.open_store()?.history(conversation.id, before, limit.min(MAX_HISTORY_PAGE))?;
        let entry = |message| self.history_entry(&conversation, message);
        Ok(messages.into_iter().filter_map(entry).collect())
    }

    /// Returns who the person is whom messages to this name go to. Reads the disk on the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::NotMet`] if nothing was exchanged with anybody of this name yet; the name breaks the rules, the disk
    /// refused, there is no user, or the client is closed.
    pub fn identity(&self, name: &str) -> Result<Identity, Error> {
        let who = Recipient::parse(name)?;
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let SavedConversation { peer, user, is_verified, rival, .. } =
            self.conversation(&who)?.ok_or(Error::NotMet)?;
        Ok(Identity { name: peer, user: user.ok_or(Error::NotMet)?, is_verified, rival })
    }

    /// Returns the safety number of this user and the person of this name: 60 digits in groups of five, the same on
    /// both sides. If two people read the same number to each other, nobody sits between them. See
    /// [`crate::identity::safety_number`] for the rule.
    ///
    /// # Errors
    ///
    /// Those of [`Client::identity`].
    pub fn safety_number(&self, name: &str) -> Result<String, Error> {
        let own = self.user_id().ok_or(Error::NoUser)?;
        Ok(safety_number(&own, &self.identity(name)?.user))
    }

    /// Marks the person of this name as verified, or no longer, and returns once that is on disk. The mark belongs to
    /// the person's key: who takes over the name does not get it.
    ///
    /// # Errors
    ///
    /// Those of [`Client::identity`].
    pub async fn set_verified(&self, name: &str, is_verified: bool) -> Result<(), Error> {
        let who = Recipient::parse(name)?;
        self.decide(Decision::Verify { who, is_verified }).await
    }

    /// Does what [`Client::set_verified`] does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of [`Client::set_verified`].
    pub fn set_verified_blocking(&self, name: &str, is_verified: bool) -> Result<(), Error> {
        block_on(self.set_verified(name, is_verified))
    }

    /// Lets a name mean the person who holds it now, after [`Event::IdentityChanged`] has named them, and returns once
    /// that is on disk. From then on messages to the name go to them. Everything said so far, and what is still to be
    /// delivered, stays with the person it was written to, who goes by name and fingerprint from then on.
    ///
    /// # Errors
    ///
    /// [`Error::IdentityNotSeen`] if the name was not seen to be that person's, [`Error::NotMet`] if nobody was met under
    /// it; the name breaks the rules, the disk refused, there is no user, or the client is closed.
    pub async fn accept_identity(&self, name: &str, user: UserId) -> Result<(), Error> {
        let name = UserName::parse(name)?;
        self.decide(Decision::Accept { name, user }).await
    }

    /// Does what [`Client::accept_identity`] does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of [`Client::accept_identity`].
    pub fn accept_identity_blocking(&self, name: &str, user: UserId) -> Result<(), Error> {
        block_on(self.accept_identity(name, user))
    }

    async fn decide(&self, decision: Decision) -> Result<(), Error> {
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let (done, decided) = oneshot::channel();
        self.command(Command::Decide { id: self.next_command(), decision, done }).await?;
        decided.await.map_err(|_| Error::Closed)?
    }

    /// Looks a name up in the directory.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecipient`], [`Error::NameContested`], [`Error::TimedOut`] if no other node answers, or
    /// the client is closed.
    pub async fn lookup(&self, name: &str) -> Result<FoundUser, Error> {
        let name = Recipient::parse(name)?;
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let (done, found) = oneshot::channel();
        self.command(Command::Lookup { id: self.next_command(), name, done }).await?;
        found.await.map_err(|_| Error::Closed)?.map_err(|error| match error {
            LookupError::Offline => Error::TimedOut,
            LookupError::Unknown => Error::UnknownRecipient,
            LookupError::Contested(holders) => {
                Error::NameContested { fingerprints: holders.iter().map(UserId::fingerprint).collect() }
            }
        })
    }

    /// Does what [`Client::lookup`] does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of [`Client::lookup`].
    pub fn lookup_wait(&self, name: &str) -> Result<FoundUser, Error> {
        block_on(self.lookup(name))
    }

    /// Returns counts and gauges.
    ///
    /// # Errors
    ///
    /// The client is closed.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let (done, counted) = oneshot::channel();
        block_on(async {
            self.command(Command::Statistics { done }).await?;
            counted.await.map_err(|_| Error::Closed)
        })
    }

    /// Closes the client: every waiting call returns [`Error::Closed`], and so does every later one. Returns at
    /// once; the node saves its state in the background. May be called twice.
    pub fn close(&self) {
        self.handle.events.close();
        self.handle.closing.announce();
        let commands = self.handle.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(close)) = commands.try_send(Box::new(Command::Close))
            && let Ok(runtime) = runtime()
        {
            runtime.spawn(async move { commands.send(close).await });
        }
    }

    /// Closes the client and waits until its state is saved and its port and profile are free again, at most
    /// [`SHUTDOWN_TIMEOUT`]. Returns whether that was achieved in time; if not, calling it again waits for longer, and so
    /// does [`Client::open`] with the same profile or port.
    pub fn shutdown(&self) -> bool {
        self.close();
        self.handle.closing.ended().wait(SHUTDOWN_TIMEOUT)
    }

    fn next_command(&self) -> CommandId {
        CommandId(self.handle.last_command.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn command(&self, command: Command) -> Result<(), Error> {
        self.open_store()?;
        self.handle.commands.send(Box::new(command)).await.map_err(|_| Error::Closed)
    }

    /// Returns the store unless the client is closed.
    fn open_store(&self) -> Result<&Store, Error> {
        if self.handle.events.is_closed() { Err(Error::Closed) } else { Ok(&self.handle.store) }
    }

    /// Returns the conversation that an address means, as [`Client::send`] would take it.
    fn conversation(&self, peer: &Recipient) -> Result<Option<SavedConversation>, Error> {
        let store = self.open_store()?;
        if let Some(found) = store.conversation_named(&peer.to_string())? {
            return Ok(Some(found));
        }
        let plain = match peer.fingerprint() {
            Some(_) => store.conversation_named(peer.name().as_str())?,
            None => None,
        };
        Ok(plain.filter(|found| found.user.is_some_and(|user| peer.admits(&user))))
    }

    /// Returns what the application sees of a message: nothing, unless it is text.
    fn history_entry(&self, conversation: &SavedConversation, message: SavedMessage) -> Option<HistoryEntry> {
        if message.kind != ContentKind::TEXT.0 {
            return None;
        }
        let held_by = held_by(&message);
        let is_request = message.stream != StreamId::OWN && conversation.relation.is_undecided();
        Some(HistoryEntry {
            id: MessageId::new(&self.handle.node_id, message.position),
            position: message.position,
            peer: conversation.peer.clone(),
            is_own: message.stream == StreamId::OWN,
            text: String::from_utf8(message.body).ok()?,
            sent: message.sent,
            received: message.received,
            state: message.state,
            held_by,
            is_request,
        })
    }
}

/// Returns how many nodes keep a message for its recipient.
fn held_by(message: &SavedMessage) -> u32 {
    if message.state == Some(MessageState::Stored) { message.held_by } else { 0 }
}

/// Runs a driver, and tells the application if it dies of a bug.
fn spawn(driver: Driver, events: Arc<EventQueue>, store: Store, ended: Arc<Ended>) {
    // Boxed, and started out here: a future takes the room of what it is given twice, and again for what waits for it.
    let running = tokio::spawn(Box::new(driver).run());
    tokio::spawn(async move {
        if let Err(error) = running.await {
            tracing::error!(%error, "the node died");
            let detail =
                "the node stopped because of a bug; open the profile again, and please report it".to_owned();
            events.close_after(Some(Event::Closed { code: ErrorCode::Internal, detail }));
            // Closing waits for the writer thread; what it answers is of no use any more.
            let _ = tokio::task::spawn_blocking(move || store.close()).await;
        }
        ended.set();
    });
}

/// Takes up the keys by which the device of a user takes part in sessions, or makes them.
fn device_cipher(location: &Location, saved: &Saved) -> Result<Option<Box<dyn DeviceCipher>>, Error> {
    if saved.keys.user.is_none() {
        return Ok(None);
    }
    let state = saved.device.as_ref().map(|device| &device.state);
    let cipher = Olm::restore(state).map_err(|error| Error::ProfileDamaged {
        path: match location {
            Location::Directory(data_dir) => data_dir.clone(),
            Location::Memory => ":memory:".into(),
        },
        detail: format!("the keys of the device: {error}"),
    })?;
    Ok(Some(Box::new(cipher)))
}

/// Draws the keys that a new profile would get.
fn draw_keys(has_user: bool) -> Result<ProfileKeys, Error> {
    let draw = || {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        fill_random(secret.as_mut_slice()).map(|()| SecretKey::from_bytes(&secret))
    };
    Ok(ProfileKeys { node: draw()?, user: if has_user { Some(draw()?) } else { None } })
}

fn check_text(text: &str) -> Result<String, Error> {
    match text.len() {
        0 => Err(Error::EmptyText),
        len if len > crate::MAX_TEXT_LEN => Err(Error::TextTooLong { len }),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_a_shortest_and_a_longest_form() {
        assert!(matches!(check_text(""), Err(Error::EmptyText)));
        assert!(check_text(&"x".repeat(crate::MAX_TEXT_LEN)).is_ok());
        assert!(matches!(check_text(&"x".repeat(crate::MAX_TEXT_LEN + 1)), Err(Error::TextTooLong { .. })));
    }
}
