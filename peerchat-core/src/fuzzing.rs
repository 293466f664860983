//! What is private and the fuzzers call. It is there with the feature `fuzzing` only, which nothing that ships has.

#[cfg(feature = "storage")]
use std::fs::File;
#[cfg(feature = "runtime")]
use std::net::SocketAddr;
#[cfg(feature = "runtime")]
use std::time::Instant;

use crate::codec;
#[cfg(feature = "storage")]
use crate::config::Passphrase;
use crate::identity::{SecretKey, UserId, UserName};
#[cfg(feature = "runtime")]
use crate::kademlia::NodeKey;
use crate::kademlia::Record;
#[cfg(feature = "runtime")]
use crate::runtime::{HostilePeer, Streams, StreamsEvent};
#[cfg(feature = "runtime")]
use crate::time::Now;
use crate::time::Timestamp;
#[cfg(feature = "runtime")]
use crate::transport::{Call, ReplyToken, Transmit, TransportEvent};
use crate::user::{Content, Device, Verdict, directory};

#[cfg(feature = "runtime")]
pub use crate::runtime::Deed;

/// Signs a claim as a user does.
#[must_use]
pub fn sign_claim(key: &SecretKey, name: &UserName, now: Timestamp) -> Option<Record> {
    directory::sign_claim(key, name, None, now)
}

/// Signs a user record as a user does.
#[must_use]
pub fn sign_user(key: &SecretKey, devices: Vec<Device>, now: Timestamp) -> Option<Record> {
    directory::sign_user(key, devices, None, now)
}

/// Returns the name that a record claims.
#[must_use]
pub fn claimed_name(record: &Record) -> Option<UserName> {
    directory::claimed_name(record)
}

/// Returns the devices that a record lists.
#[must_use]
pub fn devices(record: &Record) -> Option<Vec<Device>> {
    directory::devices(record)
}

/// Judges what the closest nodes answered about a name.
#[must_use]
pub fn judge(claims: &[Record], admits: impl Fn(&UserId) -> bool) -> Verdict {
    directory::judge(claims, admits)
}

/// Understands what an envelope opened to, which says of itself that it has `count` messages, the first of which has this
/// tag; returns how many it has.
#[must_use]
pub fn count_messages(opened: &[u8], count: u64, tag: u64) -> Option<u64> {
    crate::user::count_messages(opened, count, tag)
}

/// Returns what an envelope with this content seals.
#[must_use]
pub fn encode_content(content: &Content) -> Vec<u8> {
    codec::encode(content)
}

/// Returns the body of a batch of texts, each with its tag.
#[must_use]
pub fn batch_body(texts: &[(u64, &str)]) -> Vec<u8> {
    crate::user::batch_body(texts)
}

/// Returns what the conversation of two people is called in their messages.
#[must_use]
pub fn conversation_of(a: &UserId, b: &UserId) -> [u8; 32] {
    directory::conversation_of(a, b)
}

/// Returns an archive with any content, which this passphrase opens at next to no cost.
#[cfg(feature = "storage")]
#[must_use]
pub fn archive_of(content: &[u8], passphrase: &Passphrase) -> Option<Vec<u8>> {
    crate::storage::archives::archive_of(content, passphrase)
}

/// Returns all that is in an archive.
#[cfg(feature = "storage")]
#[must_use]
pub fn content_of(archive: File, passphrase: &Passphrase) -> Option<Vec<u8>> {
    crate::storage::archives::content_of(archive, passphrase)
}

/// Lets the passphrase of a profile open it at next to no cost.
#[cfg(feature = "storage")]
pub fn lock_cheaply(db: &rusqlite::Connection, passphrase: &Passphrase) -> Option<()> {
    crate::storage::lock_cheaply(db, passphrase)
}

/// The QUIC streams of a node.
#[cfg(feature = "runtime")]
#[derive(Debug)]
pub struct StreamNode(Streams);

#[cfg(feature = "runtime")]
impl StreamNode {
    /// Makes the streams of the node with this key.
    #[must_use]
    pub fn new(node: &SecretKey, network: &str, seed: [u8; 32], now: Now) -> Self {
        Self(Streams::new(node, network, seed, now))
    }

    /// Calls; the call ends once.
    pub fn call(&mut self, call: Call, address: SocketAddr, can_fall_back: bool, now: Now) {
        self.0.call(call, address, can_fall_back, now);
    }

    /// Begins a connection for what is to come.
    pub fn prepare(&mut self, peer: NodeKey, address: SocketAddr, now: Now) {
        self.0.prepare(peer, address, now);
    }

    /// Answers a request.
    pub fn reply(&mut self, to: ReplyToken, kind: u8, body: &[u8], now: Now) {
        self.0.reply(to, kind, body, now);
    }

    /// Takes a datagram from an address to which a link leads, or none.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], has_link: bool, now: Now) {
        let _ = self.0.is_for_us(datagram);
        self.0.handle_datagram(from, datagram, |_| has_link, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.0.handle_timeout(now);
    }

    /// Returns the next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.0.poll_transmit()
    }

    /// Returns what happened next, or a call that may go as a datagram.
    pub fn poll_event(&mut self) -> Option<Result<TransportEvent, Call>> {
        Some(match self.0.poll_event()? {
            StreamsEvent::Transport(event) => Ok(event),
            StreamsEvent::GivenBack(call) => Err(call),
        })
    }

    /// Returns when something is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout().map(|(at, _)| at)
    }
}

/// A node that says by QUIC whatever it is told to.
#[cfg(feature = "runtime")]
#[derive(Debug)]
pub struct StreamPeer(HostilePeer);

#[cfg(feature = "runtime")]
impl StreamPeer {
    /// Makes one of this key.
    #[must_use]
    pub fn new(key: &SecretKey, network: &str, seed: [u8; 32]) -> Self {
        Self(HostilePeer::new(key, network, seed))
    }

    /// Begins a connection.
    pub fn connect(&mut self, peer: &NodeKey, address: SocketAddr, now: Now) {
        self.0.connect(peer, address, now.instant);
    }

    /// Does something by a connection that it has.
    pub fn act(&mut self, deed: Deed<'_>, now: Now) {
        self.0.act(deed, now.instant);
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Now) {
        self.0.handle_datagram(from, datagram, now.instant);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.0.handle_timeout(now.instant);
    }

    /// Returns what is to be sent.
    pub fn take_transmits(&mut self) -> Vec<Transmit> {
        self.0.take_transmits()
    }

    /// Returns when something is due next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}
