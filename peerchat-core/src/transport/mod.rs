//! The encrypted datagrams between nodes, as a pure machine: [`Transport`].
//!
//! Numbers are big-endian, lengths are in bytes, `|` joins fields. Everything a node sends is at most
//! [`MAX_DATAGRAM_LEN`] long and starts with a byte below 0x40; datagrams with 0x40 or 0x80 set belong to QUIC.
//!
//! # Packets
//!
//! ```text
//! KEY_REQUEST         0x01 | version 1 | network tag 8 | nonce 16 | zeros 24                                       (50)
//! KEY_REPLY           0x02 | version 1 | nonce 16 | Ed25519 key 32                                                (50)
//! HANDSHAKE_INIT      0x03 | version 1 | MAC 16 | cookie 16 | Noise message 1: e 32 | s 48 | payload, tag 16
//!                     (172, or 1200 if it carries a frame)
//!   payload           Ed25519 key 32 | link index 4 | features 4 | frame length 2 | frame | zeros
//! HANDSHAKE_RESPONSE  0x04 | receiver index 4 | Noise message 2: e 32 | payload, tag 16                   (61 and more)
//!   payload           link index 4 | features 4 | frame or nothing
//! DATA                0x05 | receiver index 4 | counter 8 | ciphertext, tag 16                              (29 and more)
//! RESET               0x06 | receiver index of the DATA it answers 4 | its counter 8                               (13)
//! COOKIE              0x07 | MAC of the HANDSHAKE_INIT it answers 16 | cookie 16                                   (33)
//! ```
//!
//! - The version is [`PROTOCOL_VERSION`]; others are dropped. The network tag is the first 8 bytes of
//!   BLAKE3(network name).
//! - The handshake is `Noise_IK_25519_ChaChaPoly_BLAKE2s` with the prologue `peerchat datagrams` | version 1 |
//!   BLAKE3(network name) 32. Static keys are the X25519 forms of the nodes' Ed25519 keys; the sign is lost in that form,
//!   so the initiator sends its Ed25519 key along and the responder checks that it converts to the static key in use.
//! - The MAC is the first half of keyed BLAKE3 over type, version and Noise message, under a key that follows from the
//!   responder's key and the network: who does not know the node is dropped before any curve is computed. The cookie is
//!   zeros until a COOKIE has given one; then the same packet is sent again with it.
//! - Each side chooses a random link index and tells it encrypted; DATA carries that of its receiver. The lowest
//!   feature bit of an initiator says that its key is no node's; the others are sent as zero and ignored.
//! - DATA is ChaCha20-Poly1305 under the key of its direction with the nonce of Noise (4 zero bytes, counter
//!   little-endian); its first 13 bytes are the associated data. The counter starts at 0 and never repeats; see
//!   [`REPLAY_WINDOW`].
//!
//! # Frames
//!
//! ```text
//! (empty)      in the initiator's first DATA if it has nothing else to say: proves the link to the responder
//! request      frame version 1 | kind 1 (0x00 to 0x7e) | request id 4 | body
//! response     frame version 1 | kind 1, 0x80 set      | request id 4 | observed address 18 | body
//! CHALLENGE    frame version 1 | 0x7f                  | id 4
//! ECHO         frame version 1 | 0xff                  | id 4
//! ```
//!
//! The frame version is 1. The observed address is where the request came from: 16 bytes of IPv6 (IPv4 in its mapped
//! form) and the port.
//!
//! # Rules
//!
//! - A request that may be executed twice rides in HANDSHAKE_INIT, one at most; its answer rides in the response. The
//!   response goes out without it if the answer does not fit or takes longer than [`EARLY_ANSWER_WAIT`]; the initiator
//!   then repeats the request over the link.
//! - Nothing sent to an address that is not proven is longer than what came from it. After a change of address the peer
//!   must echo a CHALLENGE before the link moves.
//! - Under load a HANDSHAKE_INIT without a valid cookie is answered with COOKIE, and nothing is kept of it; see
//!   [`CALM_INITS_PER_SECOND`]. A cookie is bound to address and port, and made of a secret that changes every
//!   [`COOKIE_LIFETIME`]; it is taken for up to twice as long.
//! - Packets are sent [`MAX_TRANSMISSIONS`] times with doubling waits. A repeated HANDSHAKE_INIT is byte-identical but for
//!   the cookie, and gets the same response again.
//! - The responder sends nothing over a new link until a packet has arrived over it. The link before stays open for
//!   receiving.
//! - A response that does not fit a datagram is replaced by one of kind [`BY_STREAM`] and no body: the asker asks again
//!   by stream.
//! - DATA for an unknown index is answered with RESET, which makes a peer with calls in flight start a handshake. Links
//!   are never dropped because of it.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha20Rng;

use crate::deadlines::Deadlines;
use crate::identity::SecretKey;
use crate::idle;
use crate::kademlia::NodeKey;
use crate::limits::Limits;
use crate::time::Now;

mod aead;
mod answers;
mod call;
mod calls;
mod cookie;
mod data;
mod dial;
mod frame;
mod handshake;
mod limits;
mod link;
mod links;
mod packet;
mod probe;
mod rate;
mod replay;
mod rtt;
mod serve;
mod stats;
#[cfg(test)]
mod tests;
mod timers;
mod x25519;

use answers::{Answers, OpenRequests};
use calls::PendingCall;
use cookie::{Cookies, KnownCookies};
use dial::Dial;
use frame::{REQUEST_HEADER_LEN, RESPONSE_HEADER_LEN};
use handshake::{Ephemeral, INIT_PAYLOAD_LEN, Local, RESPONSE_PAYLOAD_LEN};
use limits::Allowances;
use links::Links;
use packet::{
    DATA_HEADER_LEN, INIT_HEADER_LEN, NETWORK_TAG_LEN, NOISE_INIT_LEN, NOISE_RESPONSE_LEN, Packet,
    PacketError, TAG_LEN,
};
use probe::PendingProbe;
use timers::Timer;

pub use answers::{
    CACHED_ANSWER_LIFETIME, MAX_CACHED_ANSWERS, MAX_HELD_HANDSHAKES, MAX_OPEN_REQUESTS,
    MAX_OPEN_REQUESTS_PER_LINK, OPEN_REQUEST_LIFETIME,
};
pub use call::{Call, CallError, CallId, ProbeId, ReplyToken, ThrowawayId, Transmit, TransportEvent};
pub use cookie::{COOKIE_LIFETIME, MAX_KNOWN_COOKIES};
pub use dial::MAX_HANDSHAKES;
pub use frame::MAX_KIND;
#[cfg(feature = "runtime")]
pub(crate) use frame::{ADDRESS_LEN, decode_address, encode_address};
pub use limits::{
    CALM_INITS_PER_SECOND, INITS_PER_ADDRESS, INITS_PER_SECOND, KEY_REPLIES_PER_ADDRESS,
    KEY_REPLIES_PER_SECOND, LOAD_LINGERS, REQUESTS_PER_ADDRESS, REQUESTS_PER_LINK, REQUESTS_PER_SECOND,
    RESETS_HEEDED_PER_ADDRESS, RESETS_HEEDED_PER_SECOND, RESETS_SENT_PER_ADDRESS, RESETS_SENT_PER_SECOND,
};
pub use link::{REJECT_AFTER, REJECT_AFTER_PACKETS, REKEY_AFTER, REKEY_AFTER_PACKETS};
pub use links::{
    MAX_THROWAWAY_LINKS, MAX_UNPROVEN_LINKS, MAX_UNPROVEN_LINKS_PER_PEER, UNPROVEN_LINK_LIFETIME,
};
pub use packet::PROTOCOL_VERSION;
pub use rate::MAX_COUNTED_ADDRESSES;
#[cfg(feature = "runtime")]
pub(crate) use rate::{Bucket, Rate, SharedLimit};
pub use replay::REPLAY_WINDOW;
pub use rtt::{INITIAL_RTO, MAX_RTO, MIN_COLD_RTO, MIN_RTO, RoundTrip};
pub use serve::EARLY_ANSWER_WAIT;
pub use stats::TransportStats;

/// Longest datagram in bytes: it passes every path that carries IPv6.
pub const MAX_DATAGRAM_LEN: usize = 1200;

/// Longest body of a request or response over an established link, in bytes.
pub const MAX_BODY_LEN: usize = MAX_DATAGRAM_LEN - DATA_HEADER_LEN - TAG_LEN - RESPONSE_HEADER_LEN;

/// Longest body of a request that rides in the first handshake packet, in bytes.
pub const MAX_EARLY_REQUEST_LEN: usize =
    MAX_DATAGRAM_LEN - INIT_HEADER_LEN - NOISE_INIT_LEN - INIT_PAYLOAD_LEN - REQUEST_HEADER_LEN;

/// Longest body of a response that rides in the second handshake packet, in bytes.
pub const MAX_EARLY_RESPONSE_LEN: usize = MAX_DATAGRAM_LEN
    - packet::RESPONSE_HEADER_LEN
    - NOISE_RESPONSE_LEN
    - RESPONSE_PAYLOAD_LEN
    - RESPONSE_HEADER_LEN;

/// Longest body of a request or response on a QUIC stream, in bytes. What is over [`MAX_BODY_LEN`] goes that way.
pub const MAX_STREAM_BODY_LEN: usize = 65_536;

/// The kind of a response that stands for one that does not fit a datagram: ask again by stream. It has no body.
pub const BY_STREAM: u8 = 0x7d;

/// Length of a first handshake packet without a request in it, in bytes.
pub const SHORT_INIT_LEN: usize = INIT_HEADER_LEN + NOISE_INIT_LEN + INIT_PAYLOAD_LEN;

/// How often a packet is sent before its purpose is given up, each wait twice as long as the one before.
pub const MAX_TRANSMISSIONS: u8 = 3;

/// Peers to whom a link is kept unless told otherwise.
pub const MAX_LINKS: usize = 1024;

/// Bytes of memory that a link takes at most, with its share of what is kept about its peer.
pub(crate) const LINK_COST: usize = links::LINK_COST;

/// Bytes of memory that a request takes until it is answered, beside what the engine keeps of it.
pub(crate) const OPEN_REQUEST_COST: usize = answers::OPEN_REQUEST_COST;

/// How often what is short-lived is looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Settings of a [`Transport`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransportConfig {
    /// Name of the network. Nodes of other networks neither understand us nor we them.
    pub network: String,
    /// Peers to whom a link is kept, 1 or more. When full, the one used least recently is dropped, those with calls in
    /// flight last.
    pub max_links: usize,
    /// What others may make the transport keep and do. `links` of these is not used: see `max_links`.
    pub limits: Arc<Limits>,
}

impl Default for TransportConfig {
    /// The network `peerchat`, [`MAX_LINKS`] links, and the limits as they are unless told otherwise.
    fn default() -> Self {
        Self { network: "peerchat".into(), max_links: MAX_LINKS, limits: Limits::shared() }
    }
}

/// Encrypted requests and responses over datagrams, for one node.
///
/// After every `handle_*` call and every command, drain [`Transport::poll_transmit`], [`Transport::poll_event`] and
/// [`Transport::poll_oversized`], then ask [`Transport::poll_timeout`] when [`Transport::handle_timeout`] is next due. A packet that fails its check changes
/// nothing but a counter.
pub struct Transport {
    local: Local,
    network_tag: [u8; NETWORK_TAG_LEN],
    rng: ChaCha20Rng,
    /// The ephemeral secret of the next handshake.
    ephemeral: Ephemeral,
    links: Links,
    /// What handshakes take, over all peers.
    typical_round_trip: RoundTrip,
    calls: BTreeMap<u32, PendingCall>,
    last_request_id: u32,
    /// Links with the calls sent over them that are not answered yet.
    in_flight: BTreeSet<(u32, u32)>,
    /// Handshakes that this node started, by link index. Boxed: a tree keeps room for eleven even when it is empty.
    dials: BTreeMap<u32, Box<Dial>>,
    dial_targets: BTreeMap<(NodeKey, SocketAddr), u32>,
    answers: Answers,
    open: OpenRequests,
    probes: BTreeMap<ProbeId, PendingProbe>,
    timers: Deadlines<Timer>,
    allowances: Allowances,
    limits: Arc<Limits>,
    cookies: Cookies,
    known_cookies: KnownCookies,
    transmits: VecDeque<Transmit>,
    events: VecDeque<TransportEvent>,
    /// Calls whose answer does not fit a datagram.
    oversized: VecDeque<Call>,
    stats: TransportStats,
}

impl Transport {
    /// Makes the transport of the node with this key. `rng` must be seeded from a secure source.
    #[must_use]
    pub fn new(config: TransportConfig, node: &SecretKey, mut rng: ChaCha20Rng) -> Self {
        let network = blake3::hash(config.network.as_bytes());
        Self {
            local: Local::new(&network, node),
            network_tag: network.as_bytes().first_chunk().copied().unwrap_or_default(),
            ephemeral: Ephemeral::draw(&mut rng),
            last_request_id: rng.next_u32(),
            links: Links::new(config.max_links, &config.limits),
            typical_round_trip: RoundTrip::default(),
            rng,
            calls: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            dials: BTreeMap::new(),
            dial_targets: BTreeMap::new(),
            answers: Answers::new(&config.limits),
            open: OpenRequests::new(&config.limits),
            probes: BTreeMap::new(),
            timers: Deadlines::default(),
            allowances: Allowances::new(&config.limits),
            limits: config.limits,
            cookies: Cookies::default(),
            known_cookies: KnownCookies::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            oversized: VecDeque::new(),
            stats: TransportStats::default(),
        }
    }

    /// Makes a transport that says to those it calls that `key`, which was drawn for this, is no node's.
    #[must_use]
    pub fn throwaway(config: TransportConfig, key: &SecretKey, rng: ChaCha20Rng) -> Self {
        let mut transport = Self::new(config, key, rng);
        transport.local.features = handshake::THROWAWAY;
        transport
    }

    /// Tells whether a datagram answers a handshake of this transport, or came over one of its links.
    #[must_use]
    pub fn is_for_us(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let from = canonical(from);
        match Packet::decode(datagram) {
            Ok(Packet::Response { receiver, .. }) => self.dials.contains_key(&receiver),
            Ok(Packet::Data(data)) => self.links.contains(data.receiver),
            Ok(Packet::Reset { index, .. }) => self.links.with_remote(index).any(|link| link.address == from),
            Ok(Packet::Cookie { mac, .. }) => self.has_dial_with(&mac),
            _ => false,
        }
    }

    /// Takes a datagram that has arrived.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Now) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        let from = canonical(from);
        let now = now.instant;
        match Packet::decode(datagram) {
            Ok(Packet::KeyRequest { network, nonce }) => self.on_key_request(from, network, &nonce, now),
            Ok(Packet::KeyReply { nonce, key }) => self.on_key_reply(nonce, NodeKey::from_bytes(key)),
            Ok(Packet::Init(init)) => self.on_init(from, datagram.len(), init, now),
            Ok(Packet::Response { receiver, noise }) => self.on_handshake_response(receiver, noise, now),
            Ok(Packet::Data(data)) => self.on_data(from, datagram.len(), data, now),
            Ok(Packet::Reset { index, counter }) => self.on_reset(from, index, counter, now),
            Ok(Packet::Cookie { mac, cookie }) => self.on_cookie(from, &mac, &cookie, now),
            Err(PacketError::TooLong) => self.stats.dropped_too_long += 1,
            Err(PacketError::UnknownType) => self.stats.dropped_unknown_type += 1,
            Err(PacketError::OtherVersion) => self.stats.dropped_other_version += 1,
            Err(PacketError::Malformed) => self.stats.dropped_malformed += 1,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let now = now.instant;
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Call(request_id) => self.on_call_timeout(request_id, now),
                Timer::Handshake(index) => self.on_dial_timeout(index, now),
                Timer::Probe(id) => self.on_probe_timeout(id, now),
                Timer::EarlyAnswer(token) => self.on_early_answer_timeout(ReplyToken(token), now),
                Timer::Sweep => self.sweep(now),
            }
        }
    }

    /// Returns the next datagram to send.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        idle::pop(&mut self.transmits)
    }

    /// Returns the next thing that happened.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        idle::pop(&mut self.events)
    }

    /// Returns the next call that has ended without an event because its answer does not fit a datagram: whoever asked
    /// asks again by stream.
    #[must_use]
    pub fn poll_oversized(&mut self) -> Option<Call> {
        idle::pop(&mut self.oversized)
    }

    /// Returns when [`Transport::handle_timeout`] is next due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next().map(|(at, timer)| (at, timer.name()))
    }

    /// Returns how many peers have a link that is proven.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.peer_count()
    }

    /// Returns where the link leads that calls to `peer` use.
    #[must_use]
    pub fn link_address(&self, peer: &NodeKey) -> Option<SocketAddr> {
        self.links.current(peer).map(|link| link.address)
    }

    /// Tells whether a link leads to this address, which is proven so.
    #[must_use]
    pub fn leads_to(&self, address: SocketAddr) -> bool {
        self.links.leads_to(address)
    }

    /// Tells whether at least `count` calls are in flight over the link that calls to `peer` use.
    #[must_use]
    pub fn has_in_flight(&self, peer: &NodeKey, count: usize) -> bool {
        let Some(link) = self.links.current(peer).map(|link| link.local) else { return false };
        self.in_flight.range((link, 0)..=(link, u32::MAX)).take(count).count() == count
    }

    /// Returns what happened so far, in numbers.
    #[must_use]
    pub const fn stats(&self) -> &TransportStats {
        &self.stats
    }

    /// Queues a datagram.
    fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += bytes.len() as u64;
        self.transmits.push_back(Transmit { to, bytes });
    }

    /// Draws a link index that is not in use.
    fn draw_index(&mut self) -> u32 {
        loop {
            let index = self.rng.next_u32();
            if !self.links.contains(index) && !self.dials.contains_key(&index) {
                return index;
            }
        }
    }

    /// Drops links beyond the limit.
    fn evict_links(&mut self) {
        let in_flight = &self.in_flight;
        let is_busy = |link| in_flight.range((link, 0)..=(link, u32::MAX)).next().is_some();
        while self.links.evict(is_busy) {
            self.stats.links_evicted += 1;
        }
    }

    /// Drops what is too old, and comes back if something is left.
    fn sweep(&mut self, now: Instant) {
        let has_links = self.links.expire_unproven(now);
        let has_answers = self.answers.expire(now);
        let has_addresses = self.allowances.expire(now);
        let has_cookies = self.cookies.expire(now) | self.known_cookies.expire(now);
        self.drop_open_surplus(now);
        if has_links || has_answers || has_addresses || has_cookies || !self.open.is_empty() {
            self.timers.set(Timer::Sweep, now + SWEEP_INTERVAL);
        }
    }

    /// Makes sure that what was just kept will be looked at again.
    fn arm_sweep(&mut self, now: Instant) {
        self.timers.set_if_unset(Timer::Sweep, now + SWEEP_INTERVAL);
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("key", &self.local.key())
            .field("link_count", &self.link_count())
            .field("call_count", &self.calls.len())
            .finish_non_exhaustive()
    }
}

/// Writes an IPv4-mapped address as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}
