//! [`Carriers`]: a node's own carrier, and others with throwaway keys, on one socket.
//!
//! Who leaves mail with strangers asks them under a key that is made for one mailbox and forgotten when nothing was asked
//! for a while. Each such key has links and connections of its own, which nothing else uses: a holder that is asked under it
//! learns an address, and nothing over which the node behind it could be asked. A throwaway carrier asks and answers nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use super::carrier::Carrier;
use super::streams::StreamStats;
use crate::identity::SecretKey;
use crate::idle;
use crate::limits::Limits;
use crate::time::Now;
use crate::transport::{
    Call, CallError, ProbeId, ReplyToken, ThrowawayId, Transmit, TransportConfig, TransportEvent,
    TransportStats,
};

/// Peers to whom one of them has links.
const THROWAWAY_LINKS: usize = 64;

/// How long after it was last used one that waits for no answer is forgotten.
const THROWAWAY_LIFETIME: Duration = Duration::from_secs(60);

/// A carrier with a key that is no node's.
#[derive(Debug)]
struct Throwaway {
    carrier: Carrier,
    used_at: Instant,
    /// Calls that have not ended.
    open_count: usize,
}

impl Throwaway {
    /// Returns when it is forgotten.
    fn until(&self) -> Option<Instant> {
        (self.open_count == 0).then_some(self.used_at + THROWAWAY_LIFETIME)
    }
}

/// All carriers of one node. Used as [`Carrier`] is.
#[derive(Debug)]
pub(crate) struct Carriers {
    own: Carrier,
    network: String,
    limits: Arc<Limits>,
    rng: ChaCha20Rng,
    throwaways: BTreeMap<ThrowawayId, Box<Throwaway>>,
    /// Calls for which there was no room.
    failed: VecDeque<TransportEvent>,
    /// What those did that are forgotten.
    forgotten: (TransportStats, StreamStats),
}

impl Carriers {
    /// Makes the carriers of the node with this key. `rng` must be seeded from a secure source.
    pub(crate) fn new(config: TransportConfig, node: &SecretKey, mut rng: ChaCha20Rng) -> Self {
        let (network, limits) = (config.network.clone(), config.limits.clone());
        let own = Carrier::new(config, node, ChaCha20Rng::from_rng(&mut rng));
        let (throwaways, failed) = (BTreeMap::new(), VecDeque::new());
        Self { own, network, limits, rng, throwaways, failed, forgotten: Default::default() }
    }

    /// Sends a request, under a throwaway key if one is named; exactly one [`TransportEvent::Response`] or
    /// [`TransportEvent::CallFailed`] follows.
    pub(crate) fn call(&mut self, call: Call, throwaway: Option<ThrowawayId>, now: Now) {
        let Some(id) = throwaway else { return self.own.call(call, now) };
        if !self.throwaways.contains_key(&id) && !self.make_room() {
            let failed = TransportEvent::CallFailed { call: call.id, reason: CallError::Busy };
            return self.failed.push_back(failed);
        }
        let throwaway = self.throwaways.entry(id).or_insert_with(|| {
            let (network, limits) = (self.network.clone(), self.limits.clone());
            let config = TransportConfig { network, max_links: THROWAWAY_LINKS, limits };
            let carrier = Carrier::throwaway(config, ChaCha20Rng::from_rng(&mut self.rng));
            Box::new(Throwaway { carrier, used_at: now.instant, open_count: 0 })
        });
        throwaway.used_at = now.instant;
        throwaway.open_count += 1;
        throwaway.carrier.call(call, now);
    }

    /// Answers the request that `to` names, which came to the node itself.
    pub(crate) fn reply(&mut self, to: ReplyToken, kind: u8, body: Vec<u8>, now: Now) {
        self.own.reply(to, kind, body, now);
    }

    /// Asks the node at an address for its key.
    pub(crate) fn probe(&mut self, id: ProbeId, address: SocketAddr, now: Now) {
        self.own.probe(id, address, now);
    }

    /// Takes a datagram that has arrived.
    pub(crate) fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Now) {
        if !self.throwaways.is_empty() && !self.own.is_for_us(from, datagram) {
            let mut others = self.throwaways.values_mut();
            if let Some(found) = others.find(|throwaway| throwaway.carrier.is_for_us(from, datagram)) {
                return found.carrier.handle_datagram(from, datagram, now);
            }
        }
        self.own.handle_datagram(from, datagram, now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.own.handle_timeout(now);
        self.throwaways.values_mut().for_each(|throwaway| throwaway.carrier.handle_timeout(now));
        let is_over = |throwaway: &Throwaway| throwaway.until().is_some_and(|until| until <= now.instant);
        let over = self.throwaways.iter().filter(|(_, throwaway)| is_over(throwaway));
        let over: Vec<ThrowawayId> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.forget(id));
    }

    /// Returns the next datagram to send.
    #[must_use]
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        let mut others = self.throwaways.values_mut();
        self.own.poll_transmit().or_else(|| others.find_map(|throwaway| throwaway.carrier.poll_transmit()))
    }

    /// Returns the next thing that happened.
    #[must_use]
    pub(crate) fn poll_event(&mut self) -> Option<TransportEvent> {
        let own = idle::pop(&mut self.failed).or_else(|| self.own.poll_event());
        own.or_else(|| self.throwaways.values_mut().find_map(|throwaway| poll_answer(throwaway)))
    }

    /// Returns when [`Self::handle_timeout`] is next due, and what for.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let due = |throwaway: &Throwaway| {
            let end = throwaway.until().map(|until| (until, "throwaway key"));
            throwaway.carrier.poll_timeout().into_iter().chain(end).min()
        };
        let others = self.throwaways.values().filter_map(|throwaway| due(throwaway));
        self.own.poll_timeout().into_iter().chain(others).min()
    }

    /// Returns how many peers of the node itself have a link that is proven.
    pub(crate) fn link_count(&self) -> usize {
        self.own.link_count()
    }

    /// Returns how many QUIC connections of the node itself are established.
    pub(crate) fn connection_count(&self) -> usize {
        self.own.connection_count()
    }

    /// Returns what happened so far, in numbers; of what went under throwaway keys, how much was sent and received.
    pub(crate) fn stats(&self) -> (TransportStats, StreamStats) {
        let (own, mut streams) = self.own.stats();
        let mut transport = own.clone();
        add(&mut transport, &mut streams, (&self.forgotten.0, self.forgotten.1));
        let others = self.throwaways.values();
        others.for_each(|throwaway| add(&mut transport, &mut streams, throwaway.carrier.stats()));
        (transport, streams)
    }

    /// Makes room for one more key: if there are too many, the one that waits for no answer and was used least recently is
    /// forgotten; `false` if all are in use.
    fn make_room(&mut self) -> bool {
        if self.throwaways.len() < self.limits.throwaway_keys {
            return true;
        }
        let idle = self.throwaways.iter().filter(|(_, throwaway)| throwaway.open_count == 0);
        let oldest = idle.min_by_key(|(_, throwaway)| throwaway.used_at).map(|(id, _)| *id);
        oldest.map(|id| self.forget(id)).is_some()
    }

    fn forget(&mut self, id: ThrowawayId) {
        if let Some(throwaway) = idle::remove(&mut self.throwaways, &id) {
            let (transport, streams) = &mut self.forgotten;
            add(transport, streams, throwaway.carrier.stats());
        }
    }
}

/// Returns the next answer to a call under a throwaway key. What else comes there is dropped: nobody is there.
fn poll_answer(throwaway: &mut Throwaway) -> Option<TransportEvent> {
    let is_end = |event: &TransportEvent| {
        matches!(event, TransportEvent::Response { .. } | TransportEvent::CallFailed { .. })
    };
    let event = std::iter::from_fn(|| throwaway.carrier.poll_event()).find(is_end)?;
    throwaway.open_count = throwaway.open_count.saturating_sub(1);
    Some(event)
}

/// Adds what was sent and received.
fn add(transport: &mut TransportStats, streams: &mut StreamStats, more: (&TransportStats, StreamStats)) {
    let (datagrams, quic) = more;
    transport.datagrams_in += datagrams.datagrams_in;
    transport.bytes_in += datagrams.bytes_in;
    transport.datagrams_out += datagrams.datagrams_out;
    transport.bytes_out += datagrams.bytes_out;
    streams.datagrams_in += quic.datagrams_in;
    streams.bytes_in += quic.bytes_in;
    streams.datagrams_out += quic.datagrams_out;
    streams.bytes_out += quic.bytes_out;
}

#[cfg(test)]
mod tests;
