//! [`Client`]: the core's handle as an object.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use peerchat_core::{Config, ConfigBuilder, Error, MessageId, Passphrase, UserId, UserName};

use super::error::{ErrorCode, PeerchatError};
use super::event::{Event, MessageState};
use super::statistics::Statistics;

/// Whether a node keeps records and mail for others and is listed in their routing tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq, uniffi::Enum)]
#[repr(i32)]
pub enum Serve {
    /// If others can reach it: if it was reached from an address to which it has sent nothing, if its peers are at
    /// loopback or private addresses, or as long as it knows fewer than three others.
    Auto = 0,
    /// Yes, unproven: for whoever knows that the node can be reached.
    Always = 1,
    /// No, so that nobody asks it for anything: for programs that soon end, and where others must not cost battery or data.
    Never = 2,
}

impl From<Serve> for peerchat_core::Serve {
    fn from(serve: Serve) -> Self {
        match serve {
            Serve::Auto => Self::Auto,
            Serve::Always => Self::Always,
            Serve::Never => Self::Never,
        }
    }
}

/// What a client is opened with. Everything that is left out keeps its default.
#[derive(Clone, Default, uniffi::Record)]
pub struct ClientOptions {
    /// The directory of the profile, which is made if it is missing. None keeps the profile in memory: it is gone
    /// when the client closes.
    #[uniffi(default = None)]
    pub data_dir: Option<String>,
    /// The user's name. None opens a node that serves the network and nobody in particular.
    #[uniffi(default = None)]
    pub user: Option<String>,
    /// The name of the network. Default: `peerchat`.
    #[uniffi(default = None)]
    pub network: Option<String>,
    /// The UDP address to bind, as ip:port. Default: any port on every address.
    #[uniffi(default = None)]
    pub bind: Option<String>,
    /// The UDP port to bind on every address; not together with `bind`. Default: any.
    #[uniffi(default = None)]
    pub port: Option<u16>,
    /// Kademlia's k, 1 to 20. Default: 20.
    #[uniffi(default = None)]
    pub k: Option<u32>,
    /// Kademlia's alpha, 1 to k. Default: 3.
    #[uniffi(default = None)]
    pub alpha: Option<u32>,
    /// Whether the node keeps records and mail for others. Default: `auto`.
    #[uniffi(default = None)]
    pub serve: Option<Serve>,
    /// How long an undelivered message is retried, in milliseconds. Default: 30 days.
    #[uniffi(default = None)]
    pub message_lifetime_ms: Option<u64>,
    /// Whether contacts are told what was read, once it is marked so. Default: yes.
    #[uniffi(default = None)]
    pub read_receipts: Option<bool>,
    /// How much mail the node keeps for people who are away, in bytes; 0 keeps none. Default: 1 GiB, 64 MiB in memory.
    #[uniffi(default = None)]
    pub mail_quota_len: Option<u64>,
    /// The passphrase that the profile has, or gets if it is new. Default: none, the keys lie open on disk.
    #[uniffi(default = None)]
    pub passphrase: Option<String>,
    /// How much memory others can make the node take, in bytes, 40 MiB at least. Default: 256 MiB.
    #[uniffi(default = None)]
    pub memory_limit_len: Option<u64>,
    /// Limits to set, by the names in docs/limits.md. Default: none.
    #[uniffi(default = None)]
    pub limits: Option<HashMap<String, u64>>,
}

impl std::fmt::Debug for ClientOptions {
    /// Without the passphrase.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("data_dir", &self.data_dir)
            .field("user", &self.user)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    fn config(&self) -> Result<Config, PeerchatError> {
        let mut builder = self.data_dir.as_ref().map_or_else(Config::in_memory, Config::builder);
        if let Some(user) = &self.user {
            builder = builder.user(user)?;
        }
        if self.bind.is_some() && self.port.is_some() {
            return Err(PeerchatError::new(
                ErrorCode::InvalidArgument,
                "`bind` and `port` exclude one another: the address has a port",
            ));
        }
        if let Some(bind) = &self.bind {
            let address = bind.parse().map_err(|_| {
                PeerchatError::new(
                    ErrorCode::InvalidAddress,
                    format!("`{bind}` is not an address to bind: write ip:port or [ipv6]:port"),
                )
            })?;
            builder = builder.bind(address);
        }
        builder = set(builder, passphrase(self.passphrase.as_deref())?, ConfigBuilder::passphrase);
        builder = set(builder, self.network.as_deref(), ConfigBuilder::network);
        builder = set(builder, self.port, ConfigBuilder::port);
        builder = set(builder, self.k, |builder, k| builder.k(k as usize));
        builder = set(builder, self.alpha, |builder, alpha| builder.alpha(alpha as usize));
        builder = set(builder, self.serve, |builder, serve| builder.serve(serve.into()));
        builder = set(builder, self.message_lifetime_ms, |builder, ms| {
            builder.message_lifetime(Duration::from_millis(ms))
        });
        builder = set(builder, self.read_receipts, ConfigBuilder::read_receipts);
        builder = set(builder, self.mail_quota_len, ConfigBuilder::mail_quota);
        builder = set(builder, self.memory_limit_len, ConfigBuilder::memory_limit);
        let mut limits: Vec<_> = self.limits.iter().flatten().collect();
        // What is wrong is told the same each time.
        limits.sort_unstable();
        for (name, value) in limits {
            builder = builder.limit(name, *value);
        }
        Ok(builder.build()?)
    }
}

fn set<T>(
    builder: ConfigBuilder,
    value: Option<T>,
    setter: fn(ConfigBuilder, T) -> ConfigBuilder,
) -> ConfigBuilder {
    match value {
        Some(value) => setter(builder, value),
        None => builder,
    }
}

/// What a lookup of a name found.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct FoundUser {
    /// The name in the form in which names are compared.
    pub name: String,
    /// The person behind it.
    pub user_id: String,
    /// The first 8 characters of the person's id.
    pub fingerprint: String,
    /// The node that their device last announced.
    pub node_id: String,
    /// Where that node was last announced to be, one per address family at most.
    pub addresses: Vec<String>,
}

impl From<peerchat_core::FoundUser> for FoundUser {
    fn from(found: peerchat_core::FoundUser) -> Self {
        Self {
            name: found.name.to_string(),
            user_id: found.user.to_string(),
            fingerprint: found.user.fingerprint(),
            node_id: found.node.to_string(),
            addresses: found.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Who the person behind a name is, as far as this profile goes.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct Identity {
    /// How they are shown and addressed: `alice` or `alice#7kq2m4xd`.
    pub name: String,
    /// Who they are.
    pub user_id: String,
    /// The first 8 characters of the person's id.
    pub fingerprint: String,
    /// Whether they are marked as verified.
    pub is_verified: bool,
    /// Who else was seen to hold the name.
    pub rival_user_id: Option<String>,
}

impl From<peerchat_core::Identity> for Identity {
    fn from(identity: peerchat_core::Identity) -> Self {
        Self {
            name: identity.name,
            user_id: identity.user.to_string(),
            fingerprint: identity.user.fingerprint(),
            is_verified: identity.is_verified,
            rival_user_id: identity.rival.map(|rival| rival.to_string()),
        }
    }
}

/// One message of the history.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct HistoryEntry {
    /// Names the message in this profile: 32 hexadecimal digits.
    pub id: String,
    /// Its place in the history of the profile, for paging.
    pub position: u64,
    /// The other person of the conversation: `alice` or `alice#7kq2m4xd`.
    pub peer: String,
    /// Whether this profile's user wrote it.
    pub is_own: bool,
    /// What was written.
    pub text: String,
    /// When it was written, by the writer's clock: milliseconds since 1970-01-01 00:00 UTC.
    pub sent_unix_ms: u64,
    /// When it was saved here: milliseconds since 1970-01-01 00:00 UTC.
    pub received_unix_ms: u64,
    /// How far it has come; None for a received message.
    pub state: Option<MessageState>,
    /// How many nodes keep it for the recipient, if its state is Stored; else 0.
    pub held_by: u32,
    /// Whether it is of somebody who is neither a contact nor blocked.
    pub is_request: bool,
}

impl From<peerchat_core::HistoryEntry> for HistoryEntry {
    fn from(entry: peerchat_core::HistoryEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            position: entry.position,
            peer: entry.peer,
            is_own: entry.is_own,
            text: entry.text,
            sent_unix_ms: entry.sent.unix_ms(),
            received_unix_ms: entry.received.unix_ms(),
            state: entry.state.map(MessageState::from),
            held_by: entry.held_by,
            is_request: entry.is_request,
        }
    }
}

/// A running node, with a user on top of it unless it was opened without one.
///
/// Every method may be called from any thread. Dropping the last reference closes the client.
#[derive(Debug, uniffi::Object)]
pub struct Client {
    pub(super) inner: peerchat_core::Client,
}

#[uniffi::export]
impl Client {
    /// Opens the profile, binds the socket and starts the node. Blocks briefly, on the disk only.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the profile is open elsewhere, damaged, too new or cannot be written; the
    /// port is taken.
    #[uniffi::constructor]
    pub fn new(options: ClientOptions) -> Result<Self, PeerchatError> {
        Ok(Self { inner: peerchat_core::Client::open(options.config()?)? })
    }

    /// Returns the user's name, None for a node without a user.
    #[must_use]
    pub fn user_name(&self) -> Option<String> {
        self.inner.user_name().map(ToString::to_string)
    }

    /// Returns the user's id, None for a node without a user.
    #[must_use]
    pub fn user_id(&self) -> Option<String> {
        self.inner.user_id().map(|user| user.to_string())
    }

    /// Returns the first 8 characters of the user's id, None for a node without a user.
    #[must_use]
    pub fn user_fingerprint(&self) -> Option<String> {
        self.inner.user_id().map(|user| user.fingerprint())
    }

    /// Returns the node's id.
    #[must_use]
    pub fn node_id(&self) -> String {
        self.inner.node_id().to_string()
    }

    /// Returns the node's key, the part before @ in key@host:port.
    #[must_use]
    pub fn node_key(&self) -> String {
        self.inner.node_key().to_string()
    }

    /// Returns the UDP address that the node is bound to, with the port that the system chose.
    #[must_use]
    pub fn local_address(&self) -> String {
        self.inner.local_address().to_string()
    }

    /// Joins the network through the node at an address: `host:port`, `[ipv6]:port` or `key@host:port`.
    ///
    /// Returns the call's id at once; a Bootstrapped or BootstrapFailed event follows with the same id.
    ///
    /// # Errors
    ///
    /// The address does not parse, or the client is closed.
    pub fn bootstrap(&self, address: &str) -> Result<u64, PeerchatError> {
        Ok(self.inner.bootstrap(address)?.0)
    }

    /// Saves a text for sending and returns its id once it is on disk; MessageState events tell what becomes of it.
    ///
    /// Cancelling the call does not take the message back.
    ///
    /// # Errors
    ///
    /// The recipient's name or the text breaks the rules, the outbox is full, the disk refused, there is no user,
    /// or the client is closed. Nothing was queued then.
    pub async fn send(&self, recipient: String, text: String) -> Result<String, PeerchatError> {
        Ok(self.inner.send(&recipient, &text).await?.to_string())
    }

    /// Does what `send` does on a thread that may block. It waits for the disk, never for the network.
    ///
    /// # Errors
    ///
    /// Those of `send`.
    pub fn send_blocking(&self, recipient: &str, text: &str) -> Result<String, PeerchatError> {
        Ok(self.inner.send_blocking(recipient, text)?.to_string())
    }

    /// Waits for the next event. Asking for the next one confirms the last.
    ///
    /// # Errors
    ///
    /// Closed, once the client is closed.
    pub async fn next_event(&self) -> Result<Event, PeerchatError> {
        Ok(self.inner.next_event().await?.into())
    }

    /// Waits up to so many milliseconds for the next event on a thread that may block; None if there was none.
    ///
    /// # Errors
    ///
    /// Closed, once the client is closed.
    pub fn poll(&self, timeout_ms: u32) -> Result<Option<Event>, PeerchatError> {
        Ok(self.inner.poll(Duration::from_millis(timeout_ms.into()))?.map(Event::from))
    }

    /// Returns how far a message of our own has come.
    ///
    /// # Errors
    ///
    /// The id is not one, no message of ours has it, the disk refused, or the client is closed.
    pub fn message_state(&self, id: &str) -> Result<MessageState, PeerchatError> {
        Ok(self.inner.message_state(message_id(id)?)?.into())
    }

    /// Returns how many nodes keep a message of our own for its recipient, who is away: 0 unless its state is Stored.
    ///
    /// # Errors
    ///
    /// As for message_state.
    pub fn message_holders(&self, id: &str) -> Result<u32, PeerchatError> {
        Ok(self.inner.message_holders(message_id(id)?)?)
    }

    /// Returns up to `limit` messages of the conversation with `peer`, the latest first, before history position
    /// `before` (None: from the end). Reads the disk on the calling thread.
    ///
    /// # Errors
    ///
    /// The name breaks the rules, the disk refused, there is no user, or the client is closed.
    pub fn history(
        &self,
        peer: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, PeerchatError> {
        let entries = self.inner.history(peer, before, limit as usize)?;
        Ok(entries.into_iter().map(HistoryEntry::from).collect())
    }

    /// Returns up to `limit` messages that hold every word of `words`, the latest first, before history position `before`
    /// (None: from the end); of the conversation with `peer`, or of all. Case and accents do not count, and `*` right
    /// after a word stands for whatever ends it. Reads the disk on the calling thread; the first search of a profile
    /// indexes it.
    ///
    /// # Errors
    ///
    /// There is no word in `words`, or too many; the name breaks the rules, the disk refused, there is no user, or the
    /// client is closed.
    pub fn search(
        &self,
        words: &str,
        peer: Option<String>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, PeerchatError> {
        let entries = self.inner.search(words, peer.as_deref(), before, limit as usize)?;
        Ok(entries.into_iter().map(HistoryEntry::from).collect())
    }

    /// Looks a name up in the directory.
    ///
    /// # Errors
    ///
    /// Nobody goes by the name, the network does not agree on who does, no other node answers, or the client is
    /// closed.
    pub async fn lookup(&self, name: String) -> Result<FoundUser, PeerchatError> {
        Ok(self.inner.lookup(&name).await?.into())
    }

    /// Does what `lookup` does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of `lookup`.
    pub fn lookup_wait(&self, name: &str) -> Result<FoundUser, PeerchatError> {
        Ok(self.inner.lookup_wait(name)?.into())
    }

    /// Returns who the person is whom messages to this name go to.
    ///
    /// # Errors
    ///
    /// Nobody of this name was met, the name breaks the rules, the disk refused, there is no user, or the client is
    /// closed.
    pub fn identity(&self, name: &str) -> Result<Identity, PeerchatError> {
        Ok(self.inner.identity(name)?.into())
    }

    /// Returns the safety number of this user and the person of this name: 60 digits in groups of five, the same on both
    /// sides.
    ///
    /// # Errors
    ///
    /// Those of `identity`.
    pub fn safety_number(&self, name: &str) -> Result<String, PeerchatError> {
        Ok(self.inner.safety_number(name)?)
    }

    /// Marks the person of this name as verified, or no longer, on a thread that may block until it is on disk.
    ///
    /// # Errors
    ///
    /// Those of `identity`.
    pub fn set_verified(&self, name: &str, is_verified: bool) -> Result<(), PeerchatError> {
        Ok(self.inner.set_verified_blocking(name, is_verified)?)
    }

    /// Lets a name mean the person who holds it now, after IdentityChanged has named them, on a thread that may block until
    /// it is on disk.
    ///
    /// # Errors
    ///
    /// The name was not seen to be that person's, or those of `identity`.
    pub fn accept_identity(&self, name: &str, user_id: &str) -> Result<(), PeerchatError> {
        let user: UserId = user_id.parse().map_err(Error::from)?;
        Ok(self.inner.accept_identity_blocking(name, user)?)
    }

    /// Returns counts and gauges.
    ///
    /// # Errors
    ///
    /// The client is closed.
    pub fn statistics(&self) -> Result<Statistics, PeerchatError> {
        Ok(self.inner.statistics()?.into())
    }

    /// Closes the client: every waiting call fails with Closed, and so does every later one. Returns at once.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Closes the client and waits until its state is saved and its port and profile are free again, up to 1.5
    /// seconds. Returns whether that was achieved in time.
    pub fn shutdown(&self) -> bool {
        self.inner.shutdown()
    }
}

/// Tells whether a data directory holds a profile of this user, without opening it.
///
/// # Errors
///
/// The name breaks the rules.
#[uniffi::export]
pub fn profile_exists(data_dir: &str, user: &str) -> Result<bool, PeerchatError> {
    let user = UserName::parse(user).map_err(Error::from)?;
    Ok(peerchat_core::Client::profile_exists(Path::new(data_dir), &user))
}

/// Sets, changes or removes the passphrase of a profile that no client has open; `user` None is the node without a user.
///
/// Blocks the calling thread: on the disk, and for a quarter of a second for each passphrase.
///
/// # Errors
///
/// `old` is not its passphrase, the profile is open or damaged, or the disk refused. Nothing was changed then.
#[uniffi::export]
pub fn change_passphrase(
    data_dir: &str,
    user: Option<String>,
    old: Option<String>,
    new: Option<String>,
) -> Result<(), PeerchatError> {
    let user = user.map(|user| UserName::parse(&user)).transpose().map_err(Error::from)?;
    let (old, new) = (passphrase(old.as_deref())?, passphrase(new.as_deref())?);
    let data_dir = Path::new(data_dir);
    Ok(peerchat_core::Client::change_passphrase(data_dir, user.as_ref(), old.as_ref(), new.as_ref())?)
}

fn passphrase(text: Option<&str>) -> Result<Option<Passphrase>, PeerchatError> {
    Ok(text.map(Passphrase::new).transpose()?)
}

/// Returns the version of the library.
#[uniffi::export]
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Reads an id as `send` returns it.
pub(super) fn message_id(hex: &str) -> Result<MessageId, PeerchatError> {
    let bytes = (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok()).flatten();
    // `from_str_radix` takes a sign, too, but an id never starts with one.
    bytes
        .filter(|_| !hex.starts_with('+'))
        .map(|bytes| MessageId::from_bytes(bytes.to_be_bytes()))
        .ok_or_else(|| {
            PeerchatError::new(ErrorCode::InvalidArgument, "a message id is 32 hexadecimal digits")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_survives_its_text_form() {
        let id = MessageId::from_bytes([0xa7; 16]);
        assert_eq!(message_id(&id.to_string()).unwrap(), id);
        for text in ["", "a7", &"g".repeat(32), &format!("+{}", "a".repeat(31))] {
            let refused = message_id(text).unwrap_err();
            assert!(matches!(refused, PeerchatError::InvalidArgument { .. }), "{text}: {refused:?}");
        }
    }

    #[test]
    fn the_passphrase_is_not_printed() {
        let options = ClientOptions { passphrase: Some("open sesame".into()), ..Default::default() };
        assert_eq!(format!("{options:?}"), "ClientOptions { data_dir: None, user: None, network: None, .. }");
        assert!(options.config().unwrap().passphrase().is_some());
        let empty = ClientOptions { passphrase: Some(String::new()), ..Default::default() };
        assert!(matches!(empty.config().unwrap_err(), PeerchatError::InvalidArgument { .. }));
    }

    #[test]
    fn options_are_checked() {
        assert!(ClientOptions::default().config().is_ok());
        let both = ClientOptions { bind: Some("127.0.0.1:0".into()), port: Some(0), ..Default::default() };
        assert!(matches!(both.config().unwrap_err(), PeerchatError::InvalidArgument { .. }));
        let host = ClientOptions { bind: Some("localhost:0".into()), ..Default::default() };
        assert!(matches!(host.config().unwrap_err(), PeerchatError::InvalidAddress { .. }));
        let name = ClientOptions { user: Some(String::new()), ..Default::default() };
        assert!(matches!(name.config().unwrap_err(), PeerchatError::InvalidName { .. }));
    }
}
