//! [`Carrier`]: the one way in and out of a node: datagrams and streams behind one `call`.
//!
//! - A request that does not fit a datagram goes by stream.
//! - So does one whose answer does not fit. Where that is known it is asked by stream at once; else the peer says so
//!   ([`BY_STREAM`](crate::transport::BY_STREAM)), and it is asked again. Requests are repeatable.
//! - While [`BURST_CALLS`] calls to one peer are in flight, further messages go over a connection, once there is one: QUIC
//!   packs many into one datagram and heeds congestion. If it breaks they go as datagrams, so a burst needs no QUIC.
//!
//! Everything else is a datagram.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::streams::{StreamStats, Streams, StreamsEvent};
use crate::identity::SecretKey;
use crate::idle;
use crate::limits::Limits;
use crate::time::Now;
use crate::transport::{
    Call, MAX_BODY_LEN, ProbeId, ReplyToken, Transmit, Transport, TransportConfig, TransportEvent,
    TransportStats, canonical,
};

/// Calls to one peer in flight at which a burst begins.
const BURST_CALLS: usize = 16;

/// A datagram whose first byte has one of these bits set belongs to QUIC.
const QUIC_BITS: u8 = 0xc0;

/// Encrypted requests and responses of one node, as datagrams and by stream.
///
/// It is used as [`Transport`] is, whose events and identifiers it shares.
#[derive(Debug)]
pub(crate) struct Carrier {
    transport: Transport,
    /// Made when first needed: most nodes of a large network never are.
    streams: Option<Box<Streams>>,
    seed: StreamsSeed,
    events: VecDeque<TransportEvent>,
}

/// What [`Streams`] are made of.
#[derive(Debug)]
struct StreamsSeed {
    node: SecretKey,
    is_throwaway: bool,
    network: String,
    limits: Arc<Limits>,
    rng: ChaCha20Rng,
}

impl Carrier {
    /// Makes the carrier of the node with this key. `rng` must be seeded from a secure source.
    pub(crate) fn new(config: TransportConfig, node: &SecretKey, mut rng: ChaCha20Rng) -> Self {
        let seed = StreamsSeed::new(node, false, &config, &mut rng);
        Self { transport: Transport::new(config, node, rng), streams: None, seed, events: VecDeque::new() }
    }

    /// Makes a carrier with a key of its own, which is drawn now, is no node's, and says so.
    pub(crate) fn throwaway(config: TransportConfig, mut rng: ChaCha20Rng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let key = SecretKey::from_bytes(&secret);
        let seed = StreamsSeed::new(&key, true, &config, &mut rng);
        let transport = Transport::throwaway(config, &key, rng);
        Self { transport, streams: None, seed, events: VecDeque::new() }
    }

    /// Tells whether a datagram answers something that this carrier sent.
    pub(crate) fn is_for_us(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        if datagram.first().is_some_and(|first| first & QUIC_BITS != 0) {
            self.streams.as_ref().is_some_and(|streams| streams.is_for_us(datagram))
        } else {
            self.transport.is_for_us(from, datagram)
        }
    }

    /// Sends a request; exactly one [`TransportEvent::Response`] or [`TransportEvent::CallFailed`] follows.
    pub(crate) fn call(&mut self, call: Call, now: Now) {
        if call.body.len() > MAX_BODY_LEN || call.is_answer_long {
            self.call_by_stream(call, false, now);
        } else if self.is_burst(&call, now) {
            self.call_by_stream(call, true, now);
        } else {
            self.transport.call(call, now);
        }
        self.settle(now);
    }

    /// Answers the request that `to` names. A reply that is over a limit or late is counted and dropped.
    pub(crate) fn reply(&mut self, to: ReplyToken, kind: u8, body: Vec<u8>, now: Now) {
        match &mut self.streams {
            Some(streams) if to.stream().is_some() => streams.reply(to, kind, &body, now),
            _ => self.transport.reply(to, kind, body, now),
        }
        self.settle(now);
    }

    /// Asks the node at an address for its key.
    pub(crate) fn probe(&mut self, id: ProbeId, address: SocketAddr, now: Now) {
        self.transport.probe(id, address, now);
        self.settle(now);
    }

    /// Takes a datagram that has arrived.
    pub(crate) fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Now) {
        if datagram.first().is_some_and(|first| first & QUIC_BITS != 0) {
            let streams = self.seed.streams(&mut self.streams, now);
            let transport = &self.transport;
            streams.handle_datagram(canonical(from), datagram, |address| transport.leads_to(address), now);
        } else {
            self.transport.handle_datagram(from, datagram, now);
        }
        self.settle(now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.transport.handle_timeout(now);
        if let Some(streams) = &mut self.streams {
            streams.handle_timeout(now);
        }
        self.settle(now);
    }

    /// Returns the next datagram to send.
    #[must_use]
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transport.poll_transmit().or_else(|| self.streams.as_mut()?.poll_transmit())
    }

    /// Returns the next thing that happened.
    #[must_use]
    pub(crate) fn poll_event(&mut self) -> Option<TransportEvent> {
        idle::pop(&mut self.events)
    }

    /// Returns when [`Carrier::handle_timeout`] is next due, and what for.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let streams = self.streams.as_ref().and_then(|streams| streams.poll_timeout());
        self.transport.poll_timeout().into_iter().chain(streams).min()
    }

    /// Returns how many peers have a link that is proven.
    pub(crate) fn link_count(&self) -> usize {
        self.transport.link_count()
    }

    /// Returns how many QUIC connections are established.
    pub(crate) fn connection_count(&self) -> usize {
        self.streams.as_ref().map_or(0, |streams| streams.connection_count())
    }

    /// Returns what happened so far to datagrams of our own, and to those of QUIC, in numbers.
    pub(crate) fn stats(&self) -> (&TransportStats, StreamStats) {
        let streams = self.streams.as_ref().map(|streams| *streams.stats());
        (self.transport.stats(), streams.unwrap_or_default())
    }

    /// Tells whether a call should go over a connection that is there; during a burst without one, begins one.
    fn is_burst(&mut self, call: &Call, now: Now) -> bool {
        if !call.is_bulk {
            return false;
        }
        let peer = call.to.key();
        let by_stream = self.streams.as_ref().map_or(0, |streams| streams.call_count(&peer));
        if !self.transport.has_in_flight(&peer, BURST_CALLS.saturating_sub(by_stream)) {
            return false;
        }
        let Some(address) = self.transport.link_address(&peer) else { return false };
        let streams = self.seed.streams(&mut self.streams, now);
        if !streams.has_room_for(&peer, address) {
            streams.prepare(peer, address, now);
            return false;
        }
        true
    }

    /// Sends a request by stream, to where a link leads if there is one.
    fn call_by_stream(&mut self, call: Call, can_fall_back: bool, now: Now) {
        let link = self.transport.link_address(&call.to.key());
        let address = link.unwrap_or_else(|| canonical(call.to.address()));
        self.seed.streams(&mut self.streams, now).call(call, address, can_fall_back, now);
    }

    /// Takes what the two machines have to say to each other and to the engine.
    fn settle(&mut self, now: Now) {
        loop {
            if let Some(event) = self.transport.poll_event() {
                self.events.push_back(event);
            } else if let Some(call) = self.transport.poll_oversized() {
                self.call_by_stream(call, false, now);
            } else {
                match self.streams.as_mut().and_then(|streams| streams.poll_event()) {
                    Some(StreamsEvent::Transport(event)) => self.events.push_back(event),
                    Some(StreamsEvent::GivenBack(call)) => self.transport.call(call, now),
                    None => return,
                }
            }
        }
    }
}

impl StreamsSeed {
    fn new(node: &SecretKey, is_throwaway: bool, config: &TransportConfig, rng: &mut ChaCha20Rng) -> Self {
        let (network, limits) = (config.network.clone(), config.limits.clone());
        Self { node: node.clone(), is_throwaway, network, limits, rng: ChaCha20Rng::from_rng(rng) }
    }

    /// Returns the streams, which are made if need be.
    fn streams<'a>(&mut self, streams: &'a mut Option<Box<Streams>>, now: Now) -> &'a mut Streams {
        streams.get_or_insert_with(|| {
            let mut seed = [0; 32];
            self.rng.fill_bytes(&mut seed);
            let make = if self.is_throwaway { Streams::throwaway } else { Streams::new };
            let streams = make(&self.node, &self.network, seed, now);
            Box::new(streams.with_limits(self.limits.clone()))
        })
    }
}

#[cfg(test)]
mod tests;
