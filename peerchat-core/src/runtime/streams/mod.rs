//! QUIC streams between nodes, as a machine that touches no socket and reads no clock: [`Streams`].
//!
//! They carry what does not fit a datagram, and bursts. One bidirectional stream is one request and its answer; the
//! bytes are in [`exchange`]. Both sides prove their node keys ([`tls`]).
//!
//! - Nothing sent to an address that is not proven is longer than what came from it. A first packet is answered with
//!   Retry, unless a link of the transport leads to its address already; connections do not move to other addresses;
//!   an answer of QUIC's own that is longer than its cause is left out.
//! - Requests are handed out once the handshake is done, so their address is proven.
//! - A connection costs at most [`CONNECTION_WINDOW`] bytes that QUIC keeps for each direction, [`MAX_STREAMS`]
//!   requests that are being answered, and its share of the limit `partial_len`, for which what QUIC keeps around the
//!   pieces of what has not come whole counts as well.
//!
//! It lives here and not among the pure machines for one reason: TLS draws its randomness from the system.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, ConnectionHandle, ConnectionId, ConnectionIdGenerator as _, DatagramEvent, Endpoint,
    HashedConnectionIdGenerator, Incoming,
};

mod config;
mod connection;
mod exchange;
#[cfg(feature = "fuzzing")]
mod hostile;
mod outputs;
#[cfg(test)]
mod tests;
mod tls;

use config::RetryTime;
use connection::Connection;
use exchange::OwnCall;
use outputs::Outputs;

#[cfg(feature = "fuzzing")]
pub use hostile::Deed;
#[cfg(feature = "fuzzing")]
pub(crate) use hostile::HostilePeer;
pub(crate) use outputs::StreamStats;

use crate::identity::SecretKey;
use crate::kademlia::NodeKey;
use crate::limits::Limits;
use crate::time::Now;
use crate::transport::{
    Call, CallError, MAX_DATAGRAM_LEN, MAX_KIND, MAX_STREAM_BODY_LEN, Rate, ReplyToken, SharedLimit,
    Transmit, TransportEvent,
};

/// Requests of one peer at once on one connection; the peer's others wait on its side.
const MAX_STREAMS: u32 = 16;

/// Calls that wait for a stream of one connection; one more fails.
const MAX_WAITING_CALLS: usize = 256;

/// Most bytes of one connection that are kept because an earlier one is missing, and that are kept until the peer
/// acknowledges them.
const CONNECTION_WINDOW: u32 = 128 * 1024;

/// Silence after which a connection is over.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call by stream may take, and how long a response is kept for a peer that does not take it.
const CALL_LIFETIME: Duration = Duration::from_secs(20);

/// How long a request may take to come whole, and again until it is answered.
const REQUEST_LIFETIME: Duration = Duration::from_secs(10);

/// How long after a peer has said that a request came too fast it is asked again: by then as many may ask as at once.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a peer with whom no connection came about is spared bursts by stream.
const AVOID_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Peers that are remembered for it. When full, the oldest is forgotten.
const MAX_AVOIDED: usize = 64;

/// Length of the connection ids of our own making, in bytes.
const OWN_ID_LEN: usize = 8;

/// What the streams tell whoever holds them.
#[derive(Debug)]
pub(crate) enum StreamsEvent {
    /// A request, the end of a call, or a peer that has proven its address.
    Transport(TransportEvent),
    /// The connection of this call has ended, and it may go as a datagram.
    GivenBack(Call),
}

/// The QUIC streams of one node.
///
/// After every `handle_*` call and every command, drain [`Streams::poll_transmit`] and [`Streams::poll_event`], then
/// ask [`Streams::poll_timeout`] when [`Streams::handle_timeout`] is next due.
pub(crate) struct Streams {
    own: NodeKey,
    /// Knows the connection ids of our own making.
    ids: HashedConnectionIdGenerator,
    endpoint: Endpoint,
    client: ClientConfig,
    time: Arc<RetryTime>,
    started_at: Instant,
    // Boxed: a tree moves its values about.
    connections: BTreeMap<ConnectionHandle, Box<Connection>>,
    limits: Arc<Limits>,
    initials: SharedLimit,
    avoided: VecDeque<(Instant, NodeKey)>,
    out: Outputs,
}

impl Streams {
    /// Makes the streams of the node with this key. `seed` must come from a secure source.
    pub(crate) fn new(node: &SecretKey, network: &str, seed: [u8; 32], now: Now) -> Self {
        Self::with_key((node, false), network, seed, now)
    }

    /// Makes streams that say to those they call that `key`, which was drawn for this, is no node's.
    pub(crate) fn throwaway(key: &SecretKey, network: &str, seed: [u8; 32], now: Now) -> Self {
        Self::with_key((key, true), network, seed, now)
    }

    fn with_key(key: (&SecretKey, bool), network: &str, seed: [u8; 32], now: Now) -> Self {
        let time = Arc::new(RetryTime::default());
        let (endpoint, client) = config::endpoint(key, network, seed, time.clone());
        Self {
            own: key.0.public().into(),
            ids: HashedConnectionIdGenerator::from_key(config::id_key(key.0)),
            endpoint,
            client,
            time,
            started_at: now.instant,
            connections: BTreeMap::new(),
            limits: Limits::shared(),
            initials: SharedLimit::default(),
            avoided: VecDeque::new(),
            out: Outputs::default(),
        }
    }

    /// Keeps to these limits instead of the usual ones.
    pub(crate) fn with_limits(mut self, limits: Arc<Limits>) -> Self {
        self.out.limits = limits.clone();
        self.limits = limits;
        self
    }

    /// Sends a request to `address`, or over a connection that the peer has already; exactly one
    /// [`TransportEvent::Response`], [`TransportEvent::CallFailed`] or, if the call `can_fall_back`,
    /// [`StreamsEvent::GivenBack`] follows.
    pub(crate) fn call(&mut self, call: Call, address: SocketAddr, can_fall_back: bool, now: Now) {
        let now = now.instant;
        let found = self.check_call(&call).and_then(|()| self.connection_for(call.to.key(), address, now));
        let own = OwnCall { call, can_fall_back, until: now + CALL_LIFETIME };
        match found {
            Err(_) if can_fall_back => self.out.give_back(own),
            Err(reason) => self.out.tell(TransportEvent::CallFailed { call: own.call.id, reason }),
            Ok(handle) => {
                self.out.stats.calls += 1;
                if let Some(connection) = self.connections.get_mut(&handle) {
                    connection.call(own, now);
                }
                self.run(handle, now);
            }
        }
    }

    /// Begins a connection for what is to come, unless there is one or none came about lately.
    pub(crate) fn prepare(&mut self, peer: NodeKey, address: SocketAddr, now: Now) {
        let now = now.instant;
        self.avoided.retain(|(until, _)| *until > now);
        let is_avoided = self.avoided.iter().any(|(_, avoided)| *avoided == peer);
        if !is_avoided && let Ok(handle) = self.connection_for(peer, address, now) {
            self.run(handle, now);
        }
    }

    /// Answers the request that `to` names. A reply that is over a limit or late is counted and dropped.
    pub(crate) fn reply(&mut self, to: ReplyToken, kind: u8, body: &[u8], now: Now) {
        let now = now.instant;
        let open = to.stream().and_then(|token| self.out.answer(token));
        let Some((handle, id)) = open else {
            self.out.stats.replies_dropped += 1;
            return;
        };
        let Some(connection) = self.connections.get_mut(&handle) else { return };
        if kind <= MAX_KIND && body.len() <= MAX_STREAM_BODY_LEN {
            connection.reply(id, kind, body, now);
        } else {
            self.out.stats.replies_dropped += 1;
            connection.refuse(id, &mut self.out);
        }
        self.run(handle, now);
    }

    /// Tells whether a datagram belongs to a connection of these streams.
    pub(crate) fn is_for_us(&self, datagram: &[u8]) -> bool {
        destination(datagram).is_some_and(|id| self.ids.validate(&ConnectionId::new(id)).is_ok())
    }

    /// Takes a datagram that has arrived. `is_proven` tells of an address whether a link leads there.
    pub(crate) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        is_proven: impl FnOnce(SocketAddr) -> bool,
        now: Now,
    ) {
        self.out.stats.datagrams_in += 1;
        self.out.stats.bytes_in += datagram.len() as u64;
        let now = now.instant;
        self.time.set(now.saturating_duration_since(self.started_at));
        let mut answer = Vec::new();
        let bytes = BytesMut::from(datagram);
        let event = if datagram.len() > MAX_DATAGRAM_LEN {
            None
        } else {
            self.endpoint.handle(now, from, None, None, bytes, &mut answer)
        };
        match event {
            None => self.out.stats.dropped_unasked += 1,
            Some(DatagramEvent::Response(_)) => self.answer(from, datagram.len(), answer),
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connections.get_mut(&handle) {
                    connection.handle_event(event, datagram.len(), now);
                }
                self.run(handle, now);
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.handle_incoming(incoming, datagram.len(), is_proven, now);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let now = now.instant;
        let is_due = |connection: &Connection| connection.deadline.is_some_and(|at| at <= now);
        let due: Vec<ConnectionHandle> =
            self.connections.iter().filter(|(_, found)| is_due(found)).map(|(handle, _)| *handle).collect();
        for handle in due {
            if let Some(connection) = self.connections.get_mut(&handle) {
                connection.handle_timeout(&mut self.out, now);
            }
            self.run(handle, now);
        }
    }

    /// Returns the next datagram to send.
    #[must_use]
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.poll_transmit()
    }

    /// Returns the next thing that happened.
    #[must_use]
    pub(crate) fn poll_event(&mut self) -> Option<StreamsEvent> {
        self.out.poll_event()
    }

    /// Returns when [`Streams::handle_timeout`] is next due, and what for.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let deadline = self.connections.values().filter_map(|connection| connection.deadline).min();
        deadline.map(|at| (at, "QUIC connection"))
    }

    /// Tells whether a call to `peer` at `address` can have a stream of an established connection at once or soon.
    pub(crate) fn has_room_for(&self, peer: &NodeKey, address: SocketAddr) -> bool {
        let mut found = self.connections.values().filter(|found| found.leads_to(peer, address));
        found.any(|found| found.is_connected && found.waiting_count() < MAX_WAITING_CALLS)
    }

    /// Returns how many calls to `peer` have not ended.
    pub(crate) fn call_count(&self, peer: &NodeKey) -> usize {
        let found = self.connections.values().filter(|found| found.peer == Some(*peer));
        found.map(|found| found.call_count()).sum()
    }

    /// Returns how many connections are established.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.values().filter(|connection| connection.is_connected).count()
    }

    /// Returns what happened so far, in numbers.
    pub(crate) const fn stats(&self) -> &StreamStats {
        &self.out.stats
    }

    fn check_call(&self, call: &Call) -> Result<(), CallError> {
        if call.body.len() > MAX_STREAM_BODY_LEN {
            return Err(CallError::TooLong { len: call.body.len() });
        }
        if call.kind > MAX_KIND {
            return Err(CallError::BadKind { kind: call.kind });
        }
        let is_sound = call.to.key() != self.own && call.to.key().check().is_ok();
        if is_sound { Ok(()) } else { Err(CallError::BadKey) }
    }

    /// Returns a connection to `peer` at `address`; begins one if there is none.
    fn connection_for(
        &mut self,
        peer: NodeKey,
        address: SocketAddr,
        now: Instant,
    ) -> Result<ConnectionHandle, CallError> {
        let fits =
            |found: &Connection| found.leads_to(&peer, address) && (found.is_connected || found.is_ours);
        let fitting = self.connections.iter().filter(|(_, found)| fits(found));
        // An established one before one that is being made.
        let best = fitting.max_by_key(|(_, found)| (found.is_connected, found.is_ours));
        if let Some((handle, found)) = best {
            let has_room = found.waiting_count() < MAX_WAITING_CALLS;
            return if has_room { Ok(*handle) } else { Err(CallError::Busy) };
        }
        if !self.make_room(self.limits.connections, |_| true, now) {
            return Err(CallError::Busy);
        }
        let name = tls::server_name(&peer);
        // Refuses what is no address to send to; nobody answers there.
        let begun = self.endpoint.connect(now, self.client.clone(), address, &name);
        let (handle, quic) = begun.map_err(|_| CallError::Timeout)?;
        self.connections.insert(handle, Box::new(Connection::new(handle, quic, Some(peer), now)));
        Ok(handle)
    }

    /// Decides about the first packet of a connection, which came in a datagram of `len` bytes. Whether a link leads to its
    /// address is asked last: there are many links.
    fn handle_incoming(
        &mut self,
        incoming: Incoming,
        len: usize,
        is_proven: impl FnOnce(SocketAddr) -> bool,
        now: Instant,
    ) {
        let from = incoming.remote_address();
        let mut answer = Vec::new();
        let each = Rate::of(self.limits.initials_per_address);
        let all = Rate::of(self.limits.initials);
        if !self.initials.take(from, each, all, now) {
            self.out.stats.dropped_connections += 1;
            self.endpoint.ignore(incoming);
            return;
        }
        let is_proven = is_proven(from);
        if !is_proven && !incoming.remote_address_validated() {
            self.out.stats.retries_sent += 1;
            // Refused for none that is not validated.
            if self.endpoint.retry(incoming, &mut answer).is_ok() {
                self.answer(from, len, answer);
            }
        } else if self.has_room_to_accept(is_proven.then_some(from), now) {
            match self.endpoint.accept(incoming, now, &mut answer, None) {
                Ok((handle, quic)) => {
                    self.connections.insert(handle, Box::new(Connection::new(handle, quic, None, now)));
                    self.run(handle, now);
                }
                Err(_) => {
                    self.out.stats.dropped_connections += 1;
                    if !answer.is_empty() {
                        self.answer(from, len, answer);
                    }
                }
            }
        } else {
            self.out.stats.dropped_connections += 1;
            self.endpoint.ignore(incoming);
        }
    }

    /// Tells whether one more handshake may begin; `proven` is its address if a link leads there.
    fn has_room_to_accept(&mut self, proven: Option<SocketAddr>, now: Instant) -> bool {
        let is_counted = |found: &Connection| proven.is_none_or(|from| found.address().ip() == from.ip());
        let is_accepting = |found: &Connection| !found.is_ours && !found.is_connected && is_counted(found);
        let accepting_count = self.connections.values().filter(|found| is_accepting(found)).count();
        let Limits { accepting, accepting_per_address, incoming_connections, .. } = *self.limits;
        let limit = if proven.is_some() { accepting_per_address } else { accepting };
        accepting_count < limit
            && self.make_room(incoming_connections, |found| !found.is_ours, now)
            && self.make_room(self.limits.connections, |_| true, now)
    }

    /// Sends what QUIC answers by itself to a datagram of `len` bytes, unless it is longer.
    fn answer(&mut self, to: SocketAddr, len: usize, answer: Vec<u8>) {
        if answer.len() <= len {
            self.out.transmit(to, answer);
        }
    }

    /// Closes idle connections, the one used least recently first, until another fits among at most `limit` of those
    /// that `counts`; tells whether one does.
    fn make_room(&mut self, limit: usize, counts: impl Fn(&Connection) -> bool, now: Instant) -> bool {
        while self.connections.values().filter(|found| counts(found)).count() >= limit {
            let is_idle = |found: &Connection| counts(found) && found.is_connected && !found.is_busy();
            let idle = self.connections.iter().filter(|(_, found)| is_idle(found));
            let Some(handle) = idle.min_by_key(|(_, found)| found.used_at).map(|(handle, _)| *handle) else {
                return false;
            };
            self.out.stats.connections_evicted += 1;
            self.end(handle, now);
        }
        true
    }

    /// Lets a connection do what it can do now, and ends it if it is over.
    fn run(&mut self, handle: ConnectionHandle, now: Instant) {
        let Some(connection) = self.connections.get_mut(&handle) else { return };
        let was_connected = connection.is_connected;
        connection.run(&mut self.endpoint, &mut self.out, now);
        let is_news = connection.is_connected && !was_connected;
        if connection.is_lost {
            self.end(handle, now);
        } else if is_news && !connection.is_ours {
            self.end_older(handle, now);
        }
        self.end_greedy(now);
    }

    /// Ends what the peer of a connection that it has just begun had begun before: it knows only the new one.
    fn end_older(&mut self, handle: ConnectionHandle, now: Instant) {
        let peer = self.connections.get(&handle).and_then(|found| found.peer);
        let is_older = |found: &Connection| !found.is_ours && found.is_connected && found.peer == peer;
        let found = self.connections.iter().filter(|(other, found)| **other != handle && is_older(found));
        let older: Vec<ConnectionHandle> = found.map(|(other, _)| *other).collect();
        older.into_iter().for_each(|other| self.end(other, now));
    }

    /// Ends connections until what has not come whole, or has not gone out, is within its limit, the one with the most of it
    /// first.
    fn end_greedy(&mut self, now: Instant) {
        while self.connections.values().map(|found| found.partial_len()).sum::<usize>()
            > self.limits.partial_len
        {
            let greediest = self.connections.iter().max_by_key(|(_, found)| found.partial_len());
            let Some(handle) = greediest.map(|(handle, _)| *handle) else { return };
            self.out.stats.dropped_exchanges += 1;
            self.end(handle, now);
        }
    }

    fn end(&mut self, handle: ConnectionHandle, now: Instant) {
        let Some(connection) = self.connections.remove(&handle) else { return };
        if let Some(peer) = connection.peer.filter(|_| connection.is_ours && !connection.is_connected) {
            if self.avoided.len() == MAX_AVOIDED {
                self.avoided.pop_front();
            }
            self.avoided.push_back((now + AVOID_AFTER_FAILURE, peer));
        }
        connection.end(&mut self.endpoint, &mut self.out, now);
        if self.connections.is_empty() {
            self.connections = BTreeMap::new();
        }
    }
}

/// Returns the connection id that a packet is for, if it has the length of ours (RFC 9000, 17.2 and 17.3).
fn destination(datagram: &[u8]) -> Option<&[u8; OWN_ID_LEN]> {
    let (first, rest) = datagram.split_first()?;
    if first & 0x80 == 0 {
        return rest.first_chunk();
    }
    let (len, rest) = rest.get(4..)?.split_first()?;
    rest.first_chunk().filter(|_| usize::from(*len) == OWN_ID_LEN)
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("key", &self.own)
            .field("connection_count", &self.connections.len())
            .finish_non_exhaustive()
    }
}
