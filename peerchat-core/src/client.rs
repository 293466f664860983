//! [`Client`]: the handle that applications and bindings hold. It owns nothing but channels.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::event::{CommandId, Event, MessageId, MessageState};
use crate::identity::{UserId, UserName};
use crate::kademlia::{NodeId, NodeKey};
use crate::time::Timestamp;

/// How long [`Client::shutdown`] waits at most for what is in flight to be saved.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1500);

/// A running node, with a user on top of it unless it was opened without one.
///
/// Every method may be called from any thread. Dropping the last clone closes the client.
#[derive(Clone, Debug)]
pub struct Client {
    _inner: std::sync::Arc<()>,
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
}

/// Counts since the client was opened, but for the gauges.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Contacts in the routing table now.
    pub contact_count: usize,
    /// Records kept for the DHT now.
    pub record_count: usize,
    /// Messages of our own that are not finished now.
    pub outbox_count: usize,
    /// Encrypted links that are up now.
    pub link_count: usize,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received, dropped ones included.
    pub datagrams_received: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Datagrams and requests dropped because they were malformed, foreign, replayed or not authentic.
    pub dropped: u64,
}

impl Client {
    /// Opens the profile that `config` names, binds the socket and starts the node.
    ///
    /// Blocks briefly, on the disk only. Other nodes are found by [`Client::bootstrap`], or by a saved contact if
    /// the profile has been in the network before; a node that does neither starts a network of its own.
    ///
    /// # Errors
    ///
    /// The profile is open elsewhere, damaged, too new or cannot be written; the port is taken.
    pub fn open(config: Config) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Tells whether `data_dir` holds a profile of this user, without opening it.
    #[must_use]
    pub fn profile_exists(data_dir: &Path, user: &UserName) -> bool {
        unimplemented!()
    }

    /// Returns the user's name, `None` for a node without a user.
    #[must_use]
    pub fn user_name(&self) -> Option<&UserName> {
        unimplemented!()
    }

    /// Returns the user's id, `None` for a node without a user.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        unimplemented!()
    }

    /// Returns the node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        unimplemented!()
    }

    /// Returns the node's key, the part before `@` in `key@host:port`.
    #[must_use]
    pub fn node_key(&self) -> NodeKey {
        unimplemented!()
    }

    /// Returns the UDP address that the node is bound to, with the port that the system chose.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }

    /// Joins the network through the node at `address`: `host:port`, `[ipv6]:port` or `key@host:port`.
    ///
    /// Returns at once; [`Event::Bootstrapped`] or [`Event::BootstrapFailed`] follows with the same id. A bare
    /// address trusts whoever answers there; with a key, only the node that has it is accepted.
    ///
    /// # Errors
    ///
    /// The address does not parse, or the client is closed.
    pub fn bootstrap(&self, address: &str) -> Result<CommandId, Error> {
        unimplemented!()
    }

    /// Saves a text for sending and returns once it is on disk; [`Event::MessageState`] tells what becomes of it.
    ///
    /// `to` is `alice` or `alice#7kq2m4xd`. Dropping the future does not take the message back.
    ///
    /// # Errors
    ///
    /// The recipient's name or the text breaks the rules, the outbox is full, the disk refused, there is no user,
    /// or the client is closed. Nothing was queued then.
    pub async fn send(&self, to: &str, text: &str) -> Result<MessageId, Error> {
        unimplemented!()
    }

    /// Does what [`Client::send`] does on a thread that may block. It waits for the disk, never for the network.
    ///
    /// # Errors
    ///
    /// Those of [`Client::send`].
    pub fn send_blocking(&self, to: &str, text: &str) -> Result<MessageId, Error> {
        unimplemented!()
    }

    /// Waits for the next event. Asking for the next one confirms the last.
    ///
    /// Dropping the future loses no event.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the client is closed.
    pub async fn next_event(&self) -> Result<Event, Error> {
        unimplemented!()
    }

    /// Waits up to `timeout` for the next event on a thread that may block; `Ok(None)` if there was none in time.
    ///
    /// Asking for the next event confirms the last.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] once the client is closed.
    pub fn poll(&self, timeout: Duration) -> Result<Option<Event>, Error> {
        unimplemented!()
    }

    /// Returns a descriptor that is readable while an event waits. It is made on first use, belongs to the
    /// client, and must be neither read nor closed.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left, or the client is closed.
    #[cfg(unix)]
    pub fn event_fd(&self) -> Result<std::os::fd::RawFd, Error> {
        unimplemented!()
    }

    /// Returns how far a message of our own has come.
    ///
    /// # Errors
    ///
    /// No message of ours has this id, the disk refused, or the client is closed.
    pub fn message_state(&self, id: MessageId) -> Result<MessageState, Error> {
        unimplemented!()
    }

    /// Returns up to `limit` messages of the conversation with `peer`, the latest first, before history position
    /// `before` (`None`: from the end). Reads the disk on the calling thread.
    ///
    /// # Errors
    ///
    /// The name breaks the rules, the disk refused, there is no user, or the client is closed.
    pub fn history(&self, peer: &str, before: Option<u64>, limit: usize) -> Result<Vec<HistoryEntry>, Error> {
        unimplemented!()
    }

    /// Looks a name up in the directory.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRecipient`], [`Error::NameContested`], [`Error::TimedOut`] if no other node answers, or
    /// the client is closed.
    pub async fn lookup(&self, name: &str) -> Result<FoundUser, Error> {
        unimplemented!()
    }

    /// Does what [`Client::lookup`] does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of [`Client::lookup`].
    pub fn lookup_wait(&self, name: &str) -> Result<FoundUser, Error> {
        unimplemented!()
    }

    /// Returns counts and gauges.
    ///
    /// # Errors
    ///
    /// The client is closed.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        unimplemented!()
    }

    /// Closes the client: every waiting call returns [`Error::Closed`], and so does every later one. Returns at
    /// once; the node saves its state in the background. May be called twice.
    pub fn close(&self) {
        unimplemented!()
    }

    /// Closes the client and waits until its state is saved and its port and profile are free again, at most
    /// [`SHUTDOWN_TIMEOUT`]. Returns whether that was achieved in time.
    pub fn shutdown(&self) -> bool {
        unimplemented!()
    }
}
