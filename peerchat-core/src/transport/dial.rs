//! Handshakes that this node starts.

use std::net::SocketAddr;
use std::time::Instant;

use snow::HandshakeState;

use super::cookie::Cookie;
use super::frame::Frame;
use super::handshake::{Ephemeral, read_response};
use super::link::{Link, LinkParts};
use super::packet::{InitMac, has_mac, set_cookie};
use super::timers::Timer;
use super::{CallError, MAX_DATAGRAM_LEN, MAX_EARLY_REQUEST_LEN, MAX_TRANSMISSIONS, Transport};
use crate::idle;
use crate::kademlia::NodeKey;

/// Handshakes that may be pending at once; calls that would need another fail with [`CallError::Busy`].
pub const MAX_HANDSHAKES: usize = 1024;

/// COOKIEs that one handshake heeds: the first, and others if a secret changes meanwhile.
const MAX_COOKIES_PER_DIAL: u8 = 3;

/// A handshake without an answer yet.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) peer: NodeKey,
    address: SocketAddr,
    noise: HandshakeState,
    /// HANDSHAKE_INIT: every transmission is the same but for the cookie.
    init: Vec<u8>,
    /// When it was first sent, or first sent with its cookie.
    started_at: Instant,
    transmissions: u8,
    cookies_heeded: u8,
    /// The call that rides in it.
    early: Option<u32>,
    /// Calls that wait for it.
    waiting: Vec<u32>,
}

impl Dial {
    /// Puts a cookie into the first packet; `false` if it is there already, or there were too many.
    fn take_cookie(&mut self, cookie: &Cookie) -> bool {
        let is_news = self.cookies_heeded < MAX_COOKIES_PER_DIAL && set_cookie(&mut self.init, cookie);
        self.cookies_heeded += u8::from(is_news);
        is_news
    }
}

impl Transport {
    /// Lets a call wait for a handshake with its peer at `address`; starts one if none is pending.
    pub(super) fn dial_for_call(&mut self, request_id: u32, address: SocketAddr, now: Instant) {
        let Some(call) = self.calls.get_mut(&request_id) else { return };
        let peer = call.call.to.key();
        call.wait();
        if let Some(dial) = self.dial_targets.get(&(peer, address)).and_then(|at| self.dials.get_mut(at)) {
            dial.waiting.push(request_id);
            return;
        }
        let is_early = call.call.is_early && call.call.body.len() <= MAX_EARLY_REQUEST_LEN;
        match self.dial(peer, address, is_early.then_some(request_id), now) {
            Ok(index) if !is_early => {
                if let Some(dial) = self.dials.get_mut(&index) {
                    dial.waiting.push(request_id);
                }
            }
            Ok(_) => {}
            Err(reason) => self.fail_call(request_id, reason),
        }
    }

    /// Starts a handshake.
    pub(super) fn dial(
        &mut self,
        peer: NodeKey,
        address: SocketAddr,
        early: Option<u32>,
        now: Instant,
    ) -> Result<u32, CallError> {
        if self.dials.len() >= self.limits.handshakes {
            return Err(CallError::Busy);
        }
        let index = self.draw_index();
        let early_call = early.and_then(|id| Some((id, self.calls.get_mut(&id)?)));
        let frame = early_call.map(|(id, call)| {
            call.mark_sent(now);
            Frame::Request { id, kind: call.call.kind, body: &call.call.body }
        });
        let (noise, mut init) =
            self.local.initiate(&self.ephemeral, &peer, index, frame).map_err(|_| CallError::BadKey)?;
        if let Some(cookie) = self.known_cookies.get(&peer, address, now) {
            set_cookie(&mut init, &cookie);
        }
        self.ephemeral = Ephemeral::draw(&mut self.rng);
        self.stats.handshakes_started += 1;
        let (started_at, transmissions, cookies_heeded, waiting) = (now, 0, 0, Vec::new());
        let dial =
            Dial { peer, address, noise, init, started_at, transmissions, cookies_heeded, early, waiting };
        self.dials.insert(index, Box::new(dial));
        self.dial_targets.insert((peer, address), index);
        self.on_dial_timeout(index, now);
        Ok(index)
    }

    /// Tells whether a handshake with `peer` at `address` is pending.
    pub(super) fn is_dialling(&self, peer: NodeKey, address: SocketAddr) -> bool {
        self.dial_targets.contains_key(&(peer, address))
    }

    /// Sends the first packet of a handshake, or gives up.
    pub(super) fn on_dial_timeout(&mut self, index: u32, now: Instant) {
        let Some(dial) = self.dials.get_mut(&index) else { return };
        if dial.transmissions == MAX_TRANSMISSIONS {
            self.give_up_dial(index);
            return;
        }
        self.stats.retransmissions += u64::from(dial.transmissions > 0);
        dial.transmissions += 1;
        self.send_init(index, now);
    }

    /// Sends the first packet of a handshake, and waits the longer the more often it was sent.
    fn send_init(&mut self, index: u32, now: Instant) {
        let Some(dial) = self.dials.get(&index) else { return };
        let wait = self.typical_round_trip.cold_timeout() * (1 << dial.transmissions.saturating_sub(1));
        let (address, init) = (dial.address, dial.init.clone());
        self.timers.set(Timer::Handshake(index), now + wait);
        self.transmit(address, init);
    }

    /// Repeats the first packet of the handshake that a COOKIE answers, with the cookie in it.
    pub(super) fn on_cookie(&mut self, from: SocketAddr, mac: &InitMac, cookie: &Cookie, now: Instant) {
        let is_asked = |dial: &Dial| dial.address == from && has_mac(&dial.init, mac);
        let asked = self.dials.iter_mut().find(|(_, dial)| is_asked(dial));
        let heeding = asked.and_then(|(index, dial)| dial.take_cookie(cookie).then_some((*index, dial)));
        let Some((index, dial)) = heeding else {
            self.stats.dropped_unasked += 1;
            return;
        };
        dial.started_at = now;
        self.stats.cookies_heeded += 1;
        self.known_cookies.insert(dial.peer, from, *cookie, now);
        self.arm_sweep(now);
        self.send_init(index, now);
    }

    /// Completes the handshake that a HANDSHAKE_RESPONSE answers.
    pub(super) fn on_handshake_response(&mut self, receiver: u32, message: &[u8], now: Instant) {
        let Some(dial) = self.dials.get_mut(&receiver) else {
            self.stats.dropped_unasked += 1;
            return;
        };
        let mut buffer = [0; MAX_DATAGRAM_LEN];
        let Some((remote, frame, keys)) = read_response(&mut dial.noise, message, &mut buffer) else {
            self.stats.dropped_bad_handshake += 1;
            return;
        };
        let Some(dial) = self.remove_dial(receiver) else { return };
        self.stats.handshakes_completed += 1;
        let (peer, address) = (dial.peer, dial.address);
        let (is_proven, is_throwaway) = (true, false);
        let parts = LinkParts { peer, local: receiver, remote, address, keys, is_proven, is_throwaway };
        self.links.insert_current(Link::new(parts, now), now);
        self.evict_links();
        if dial.transmissions == 1 && dial.early.is_some() == frame.is_some() {
            let sample = now.saturating_duration_since(dial.started_at);
            self.links.insert_round_trip(&peer, sample);
            self.typical_round_trip.insert(sample);
        }
        self.use_fresh_link(receiver, dial, frame, now);
    }

    /// Ends the early call of a completed handshake and sends those that waited for it.
    fn use_fresh_link(&mut self, link: u32, dial: Dial, frame: Option<Frame<'_>>, now: Instant) {
        let mut unanswered = dial.early;
        if dial.transmissions > 1
            && let Some(call) = unanswered.and_then(|id| self.calls.get_mut(&id))
        {
            call.mark_repeated();
        }
        if let Some(Frame::Response { id, kind, observed, body }) = frame
            && Some(id) == dial.early
        {
            self.answer_call(id, dial.address, (kind, observed, body), now);
            unanswered = None;
        }
        let waiting = unanswered.into_iter().chain(dial.waiting);
        let sent_count = waiting.map(|id| self.send_call(id, link, now)).count();
        let is_quiet = self.send_waiting(dial.peer, link, now) + sent_count == 0;
        if is_quiet && let Some(proof) = self.links.get_mut(link).and_then(|link| link.seal(None)) {
            self.transmit(dial.address, proof);
        }
    }

    /// Sends calls to `peer` that wait for another handshake over this link; returns how many.
    pub(super) fn send_waiting(&mut self, peer: NodeKey, link: u32, now: Instant) -> usize {
        let lowest = SocketAddr::from(([0, 0, 0, 0], 0));
        let same_peer = |entry: &(&(NodeKey, SocketAddr), &u32)| entry.0.0 == peer;
        let others: Vec<u32> =
            self.dial_targets.range((peer, lowest)..).take_while(same_peer).map(|(_, at)| *at).collect();
        let mut sent_count = 0;
        for index in others {
            let Some(dial) = self.dials.get_mut(&index) else { continue };
            let waiting = std::mem::take(&mut dial.waiting);
            if dial.early.is_none() {
                self.remove_dial(index);
            }
            sent_count += waiting.into_iter().map(|id| self.send_call(id, link, now)).count();
        }
        sent_count
    }

    /// Fails the calls of a handshake that nobody answered.
    fn give_up_dial(&mut self, index: u32) {
        let Some(dial) = self.remove_dial(index) else { return };
        for id in dial.early.into_iter().chain(dial.waiting) {
            self.fail_call(id, CallError::Timeout);
        }
    }

    /// Tells whether a COOKIE answers a handshake that is pending.
    pub(super) fn has_dial_with(&self, mac: &InitMac) -> bool {
        self.dials.values().any(|dial| has_mac(&dial.init, mac))
    }

    fn remove_dial(&mut self, index: u32) -> Option<Dial> {
        let dial = *idle::remove(&mut self.dials, &index)?;
        self.dial_targets.remove(&(dial.peer, dial.address));
        self.timers.remove(Timer::Handshake(index));
        Some(dial)
    }
}
