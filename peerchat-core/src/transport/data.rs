//! Packets that come over a link, and those that come over none.

use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng as _;

use super::frame::Frame;
use super::link::OpenError;
use super::packet::{Data, reset};
use super::{MAX_DATAGRAM_LEN, Transport, TransportEvent};
use crate::kademlia::Contact;

impl Transport {
    /// Takes a DATA packet of `len` bytes.
    pub(super) fn on_data(&mut self, from: SocketAddr, len: usize, data: Data<'_>, now: Instant) {
        let Some(link) = self.links.get_mut(data.receiver) else {
            self.stats.dropped_unknown_link += 1;
            self.send_reset(from, data.receiver, data.counter, now);
            return;
        };
        let mut buffer = [0; MAX_DATAGRAM_LEN];
        let plaintext = match link.open(&data, &mut buffer) {
            Ok(plaintext) => plaintext,
            Err(OpenError::Replayed) => return self.stats.dropped_replayed += 1,
            Err(OpenError::Forged) => return self.stats.dropped_forged += 1,
        };
        link.accept(data.counter, from, len);
        let (peer, is_news) = (link.peer, !link.is_proven);
        self.links.touch(&peer, now);
        if is_news {
            self.prove_link(data.receiver, now);
        }
        if !plaintext.is_empty() {
            self.on_frame(data.receiver, from, plaintext, now);
        }
        self.challenge(data.receiver, now);
    }

    /// Uses a link from now on that a packet has just proven.
    fn prove_link(&mut self, index: u32, now: Instant) {
        self.links.prove(index, now);
        self.evict_links();
        let Some(link) = self.links.get(index) else { return };
        let (peer, address, is_throwaway) = (link.peer, link.address, link.is_throwaway);
        if !is_throwaway {
            self.events.push_back(TransportEvent::PeerProven { peer: Contact::new(peer, address) });
        }
        self.send_waiting(peer, index, now);
    }

    fn on_frame(&mut self, link: u32, from: SocketAddr, plaintext: &[u8], now: Instant) {
        match Frame::decode(plaintext) {
            Some(Frame::Request { id, kind, body }) => self.on_request(link, from, (id, kind, body), now),
            Some(Frame::Response { id, kind, observed, body }) => {
                self.on_response(link, id, (kind, observed, body), now);
            }
            Some(Frame::Challenge { id }) => self.send_echo(link, from, id),
            Some(Frame::Echo { id }) => self.on_echo(link, from, id),
            None => self.stats.dropped_malformed += 1,
        }
    }

    /// Asks a peer that was heard from a new address to prove that it receives there.
    fn challenge(&mut self, link: u32, now: Instant) {
        let Some(link) = self.links.get_mut(link).filter(|link| link.candidate.is_some()) else { return };
        if let Some((to, packet)) = link.seal_challenge(self.rng.next_u32(), now) {
            self.transmit(to, packet);
        }
    }

    /// Answers a CHALLENGE where it came from, with a packet of the same length.
    fn send_echo(&mut self, link: u32, from: SocketAddr, id: u32) {
        let Some(link) = self.links.get_mut(link) else { return };
        if let Some(packet) = link.seal(Some(Frame::Echo { id })) {
            self.transmit(from, packet);
        }
    }

    fn on_echo(&mut self, link: u32, from: SocketAddr, id: u32) {
        let Some(link) = self.links.get_mut(link).filter(|link| link.is_echo(id, from)) else {
            self.stats.dropped_unasked += 1;
            return;
        };
        link.move_to(from);
        self.stats.links_moved += 1;
        let (peer, is_throwaway) = (Contact::new(link.peer, from), link.is_throwaway);
        if !is_throwaway {
            self.events.push_back(TransportEvent::PeerProven { peer });
        }
    }

    /// Tells a peer that its link is not known here.
    fn send_reset(&mut self, to: SocketAddr, index: u32, counter: u64, now: Instant) {
        self.arm_sweep(now);
        if self.allowances.admits_sent_reset(to, now) {
            self.stats.resets_sent += 1;
            self.transmit(to, reset(index, counter));
        }
    }

    /// Moves the calls of a link that the peer seems to have lost to a handshake. The link stays: a RESET is not
    /// authentic.
    pub(super) fn on_reset(&mut self, from: SocketAddr, index: u32, counter: u64, now: Instant) {
        self.arm_sweep(now);
        if !self.allowances.admits_heeded_reset(from, now) {
            self.stats.dropped_rate_limited += 1;
            return;
        }
        let fits = |link: &&super::link::Link| link.address == from && link.has_sent(counter);
        let Some(link) = self.links.with_remote(index).find(fits).map(|link| link.local) else {
            self.stats.dropped_reset += 1;
            return;
        };
        let calls: Vec<u32> = self.in_flight.range((link, 0)..=(link, u32::MAX)).map(|(_, id)| *id).collect();
        let movable: Vec<u32> = calls.into_iter().filter(|id| self.can_fall_back(*id)).collect();
        if movable.is_empty() {
            self.stats.dropped_reset += 1;
            return;
        }
        self.stats.resets_heeded += 1;
        if let Some(link) = self.links.get_mut(link) {
            link.is_suspect = true;
        }
        for id in movable {
            self.fall_back(id, link, from, now);
        }
    }
}
