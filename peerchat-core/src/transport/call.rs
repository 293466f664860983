//! What the engine and a transport say to each other: calls, replies, events.

use std::net::SocketAddr;
use std::time::Duration;

use super::{MAX_BODY_LEN, MAX_KIND, MAX_STREAM_BODY_LEN};
use crate::kademlia::{Contact, NodeKey};

/// Names a call; the caller chooses it, the event that ends the call repeats it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub u64);

/// Names a probe; the caller chooses it, the event that ends the probe repeats it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProbeId(pub u64);

/// Names a request of a peer that waits for [`super::Transport::reply`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplyToken(pub(super) u64);

/// Set in the tokens of requests that came by stream.
const BY_STREAM_BIT: u64 = 1 << 63;

impl ReplyToken {
    /// Makes a token for a network that delivers typed messages without a transport, as the simulator does.
    #[must_use]
    pub const fn for_simulation(number: u64) -> Self {
        Self(number)
    }

    /// Makes the token of a request that came by stream.
    #[must_use]
    pub const fn of_stream(number: u64) -> Self {
        Self(number | BY_STREAM_BIT)
    }

    /// Returns what [`Self::of_stream`] was made of; `None` if the request came as a datagram.
    #[must_use]
    pub const fn stream(self) -> Option<u64> {
        if self.0 & BY_STREAM_BIT == 0 { None } else { Some(self.0 & !BY_STREAM_BIT) }
    }

    /// Returns what [`Self::for_simulation`] was made of.
    #[must_use]
    pub const fn of_simulation(self) -> u64 {
        self.0
    }
}

/// Names a throwaway key of this node, under which others are asked without learning whose it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ThrowawayId(pub u64);

/// A request to another node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Chosen by the caller, unique among calls that have not ended.
    pub id: CallId,
    /// Whom to ask. A link that the peer already has is used, even if it leads to another address.
    pub to: Contact,
    /// What is asked, at most [`MAX_KIND`].
    pub kind: u8,
    /// What the question needs: at most [`MAX_BODY_LEN`] bytes as a datagram, [`MAX_STREAM_BODY_LEN`] by stream.
    pub body: Vec<u8>,
    /// Whether the call may ride in the first handshake packet (PING, FIND_*): it can be replayed and so executed
    /// twice. A body over [`super::MAX_EARLY_REQUEST_LEN`] waits for the handshake all the same.
    pub is_early: bool,
    /// Whether many of its kind follow one another to the same peer, as messages do, so that a connection may be worth its
    /// while. The many small requests of the DHT go to many peers, and those to one come once.
    pub is_bulk: bool,
    /// Whether the answer is known to fit no datagram, so that it is asked for by stream at once.
    pub is_answer_long: bool,
    /// Whether the call is only worth sending over a link that is there: once, and nothing is begun or given up for it. Without
    /// such a link it fails at once.
    pub is_fleeting: bool,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody with the right key answered in time.
    #[error("no answer in time")]
    Timeout,
    /// The contact's key is no key, weak, or our own.
    #[error("the contact has a key that cannot be called")]
    BadKey,
    /// The body is longer than [`MAX_BODY_LEN`] bytes as a datagram, or [`MAX_STREAM_BODY_LEN`] by stream.
    #[error("the body is {len} bytes, the limits are {MAX_BODY_LEN} and {MAX_STREAM_BODY_LEN}")]
    TooLong {
        /// Length of the refused body in bytes.
        len: usize,
    },
    /// The kind is over [`MAX_KIND`].
    #[error("the kind is {kind}, the limit is {MAX_KIND}")]
    BadKind {
        /// The refused kind.
        kind: u8,
    },
    /// The call was worth a link that is there and no more, and there is none, or it does not do.
    #[error("no link leads to the node")]
    NoLink,
    /// [`super::MAX_HANDSHAKES`] handshakes are pending, or as many QUIC connections are in use, or calls wait for one,
    /// as may; wait until some calls end.
    #[error("too many handshakes, connections or calls are pending")]
    Busy,
}

/// What a transport tells the engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransportEvent {
    /// A peer asks for something; [`super::Transport::reply`] answers.
    Request {
        /// Names the request in the answer.
        token: ReplyToken,
        /// Who asks, at the address where the request came from.
        from: Contact,
        /// Whether the peer is known to receive at that address. False for what came inside a first handshake packet
        /// (the address may be forged, the packet replayed) and after a change of address.
        is_proven: bool,
        /// Whether it asks under a key that it made for this and that is no node's: there is nobody to call back, and
        /// nothing to remember.
        is_throwaway: bool,
        /// What is asked, at most [`MAX_KIND`].
        kind: u8,
        /// What the question needs.
        body: Vec<u8>,
    },
    /// A call was answered.
    Response {
        /// The call.
        call: CallId,
        /// Who answered, at an address where the peer is known to receive.
        from: Contact,
        /// Our own address as the peer saw it.
        observed: SocketAddr,
        /// Kind of the answer, at most [`MAX_KIND`].
        kind: u8,
        /// The answer.
        body: Vec<u8>,
        /// Time from the packet that carried the request to the answer, `None` if several did (Karn's rule); by stream, the
        /// smoothed round trip of the connection.
        round_trip: Option<Duration>,
    },
    /// A call has ended without an answer.
    CallFailed {
        /// The call.
        call: CallId,
        /// Why.
        reason: CallError,
    },
    /// A node that started a handshake, or whose address has changed, has proven that it receives at this address.
    PeerProven {
        /// The peer.
        peer: Contact,
    },
    /// A probe was answered. Anyone on the path may have written the key: only a call proves it.
    KeyFound {
        /// The probe.
        probe: ProbeId,
        /// The address that was asked.
        address: SocketAddr,
        /// The key of the node there.
        key: NodeKey,
    },
    /// A probe has ended without an answer.
    ProbeFailed {
        /// The probe.
        probe: ProbeId,
    },
}

/// A datagram to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The datagram, at most [`super::MAX_DATAGRAM_LEN`] bytes.
    pub bytes: Vec<u8>,
}
