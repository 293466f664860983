//! Handshakes and requests of others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answers::{HeldHandshake, OpenRequest, Origin};
use super::frame::{Frame, RESPONSE_HEADER_LEN};
use super::handshake::{Ephemeral, InitError, RESPONSE_PAYLOAD_LEN, respond};
use super::limits::Admission;
use super::link::{Link, LinkParts};
use super::packet::{self, DATA_HEADER_LEN, Init, InitMac, NOISE_RESPONSE_LEN, TAG_LEN};
use super::timers::Timer;
use super::{
    BY_STREAM, MAX_BODY_LEN, MAX_DATAGRAM_LEN, MAX_KIND, MAX_STREAM_BODY_LEN, ReplyToken, Transport,
    TransportEvent,
};
use crate::kademlia::Contact;
use crate::time::Now;

/// How long a handshake waits for the answer to its early request before it goes on without.
pub const EARLY_ANSWER_WAIT: Duration = Duration::from_millis(200);

/// Length of a HANDSHAKE_RESPONSE with a response frame, without the frame's body.
const EARLY_RESPONSE_OVERHEAD: usize =
    packet::RESPONSE_HEADER_LEN + NOISE_RESPONSE_LEN + RESPONSE_PAYLOAD_LEN + RESPONSE_HEADER_LEN;

/// Length of a DATA packet with a response frame, without the frame's body.
const RESPONSE_OVERHEAD: usize = DATA_HEADER_LEN + RESPONSE_HEADER_LEN + TAG_LEN;

impl Transport {
    /// Answers the request that `to` names. The kind is at most [`MAX_KIND`], the body at most [`MAX_STREAM_BODY_LEN`]
    /// bytes; instead of one over [`MAX_BODY_LEN`] the peer is told to ask by stream. A reply that is over a limit or
    /// late is counted and dropped.
    pub fn reply(&mut self, to: ReplyToken, kind: u8, body: Vec<u8>, now: Now) {
        let Some(request) = self.open.remove(to) else {
            self.stats.replies_late += 1;
            return;
        };
        self.release(&request);
        let (id, from) = (request.request_id, request.from);
        let is_valid = kind <= MAX_KIND && body.len() <= MAX_STREAM_BODY_LEN;
        self.stats.replies_invalid += u64::from(!is_valid);
        let is_oversized = body.len() > MAX_BODY_LEN;
        self.stats.replies_by_stream += u64::from(is_valid && is_oversized);
        let (kind, body) = if is_oversized { (BY_STREAM, &[][..]) } else { (kind, &body[..]) };
        let frame = Frame::Response { id, kind, observed: from, body };
        match request.origin {
            Origin::Link(_) if !is_valid => {}
            Origin::Link(link) => self.reply_over_link(link, from, frame, RESPONSE_OVERHEAD + body.len()),
            Origin::Handshake(held) => {
                self.timers.remove(Timer::EarlyAnswer(to.0));
                let fits = is_valid && EARLY_RESPONSE_OVERHEAD + body.len() <= held.init_len;
                self.answer_handshake(*held, fits.then_some(frame), now.instant);
            }
        }
    }

    /// Takes a HANDSHAKE_INIT of `len` bytes: dismisses cheaply what can be dismissed cheaply.
    pub(super) fn on_init(&mut self, from: SocketAddr, len: usize, init: Init<'_>, now: Instant) {
        if !self.local.is_for_us(&init.mac, init.noise) {
            self.stats.dropped_wrong_mac += 1;
            return;
        }
        if let Some(answer) = self.answers.get(&init.mac) {
            return match answer.packet.clone().filter(|_| answer.to == from) {
                Some(packet) => {
                    self.stats.answers_repeated += 1;
                    self.transmit(from, packet);
                }
                None => self.stats.dropped_duplicate_init += 1,
            };
        }
        let has_cookie = || self.cookies.is_valid(&init.cookie, from, now);
        match self.allowances.admit_init(from, has_cookie, now) {
            Admission::Read => self.read_init(from, len, init, now),
            Admission::AskForCookie => self.send_cookie(from, &init.mac, now),
            Admission::Drop => self.stats.dropped_rate_limited += 1,
        }
        self.arm_sweep(now);
    }

    /// Asks the sender of a HANDSHAKE_INIT to repeat it with a cookie, and keeps nothing of it.
    fn send_cookie(&mut self, to: SocketAddr, mac: &InitMac, now: Instant) {
        let cookie = self.cookies.make(to, &mut self.rng, now);
        self.stats.cookies_sent += 1;
        self.transmit(to, packet::cookie(mac, &cookie));
    }

    /// Reads a HANDSHAKE_INIT, which costs several multiplications on the curve.
    fn read_init(&mut self, from: SocketAddr, len: usize, init: Init<'_>, now: Instant) {
        let mut buffer = [0; MAX_DATAGRAM_LEN];
        let (noise, payload) = match self.local.read_init(&self.ephemeral, init.noise, &mut buffer) {
            Ok(read) => read,
            Err(InitError::Forged) => return self.stats.dropped_bad_handshake += 1,
            Err(InitError::Malformed) => return self.stats.dropped_malformed += 1,
            Err(InitError::BadKey) => return self.stats.dropped_bad_key += 1,
        };
        self.ephemeral = Ephemeral::draw(&mut self.rng);
        let (peer, remote, is_throwaway) = (payload.key, payload.index, payload.is_throwaway);
        let held = HeldHandshake { noise, init: init.mac, init_len: len, peer, remote, is_throwaway, from };
        self.answers.open(init.mac, from, now);
        match payload.early {
            Some(Frame::Request { id, kind, body }) if self.open.can_hold() => {
                self.hold_handshake(held, (id, kind, body), now);
            }
            _ => self.answer_handshake(held, None, now),
        }
    }

    /// Asks the engine for the answer to an early request.
    fn hold_handshake(&mut self, held: HeldHandshake, (id, kind, body): (u32, u8, &[u8]), now: Instant) {
        let (peer, from, is_throwaway) = (held.peer, held.from, held.is_throwaway);
        let token = self.open.insert(id, from, Origin::Handshake(Box::new(held)), now);
        self.timers.set(Timer::EarlyAnswer(token.0), now + EARLY_ANSWER_WAIT);
        self.push_request(token, Contact::new(peer, from), (false, is_throwaway), (kind, body));
        self.drop_open_surplus(now);
    }

    /// Goes on with a handshake whose early request has no answer yet.
    pub(super) fn on_early_answer_timeout(&mut self, token: ReplyToken, now: Instant) {
        let Some(OpenRequest { origin: Origin::Handshake(held), .. }) = self.open.remove(token) else {
            return;
        };
        self.answer_handshake(*held, None, now);
    }

    /// Sends the second message of a handshake and keeps the link.
    fn answer_handshake(&mut self, mut held: HeldHandshake, frame: Option<Frame<'_>>, now: Instant) {
        let index = self.draw_index();
        let Ok((response, keys)) = respond(&mut held.noise, held.remote, index, frame) else {
            // The initiator's ephemeral key is a point of small order.
            self.stats.dropped_bad_handshake += 1;
            return;
        };
        self.stats.handshakes_answered += 1;
        let (peer, remote, address) = (held.peer, held.remote, held.from);
        let (is_proven, is_throwaway) = (false, held.is_throwaway);
        let parts = LinkParts { peer, local: index, remote, address, keys, is_proven, is_throwaway };
        self.links.insert_unproven(Link::new(parts, now), now);
        self.answers.close(&held.init, response.clone());
        self.transmit(address, response);
    }

    /// Takes a request that came over a link.
    pub(super) fn on_request(
        &mut self,
        index: u32,
        from: SocketAddr,
        (id, kind, body): (u32, u8, &[u8]),
        now: Instant,
    ) {
        let Some(link) = self.links.get_mut(index) else { return };
        if self.open.contains(index, id) {
            self.stats.dropped_duplicate_request += 1;
            return;
        }
        if usize::from(link.open_count) >= self.limits.open_requests_per_link {
            self.stats.dropped_too_many_requests += 1;
            return;
        }
        if !self.allowances.admits_request(from, &mut link.requests, now) {
            self.stats.dropped_too_fast += 1;
            return;
        }
        link.open_count += 1;
        let (peer, about) = (link.peer, (link.address == from, link.is_throwaway));
        let token = self.open.insert(id, from, Origin::Link(index), now);
        self.arm_sweep(now);
        self.push_request(token, Contact::new(peer, from), about, (kind, body));
        self.drop_open_surplus(now);
    }

    fn push_request(
        &mut self,
        token: ReplyToken,
        from: Contact,
        (is_proven, is_throwaway): (bool, bool),
        (kind, body): (u8, &[u8]),
    ) {
        let body = body.to_vec();
        self.events.push_back(TransportEvent::Request { token, from, is_proven, is_throwaway, kind, body });
    }

    /// Sends a response of `len` bytes where the request came from, or where its link leads by now.
    fn reply_over_link(&mut self, link: u32, from: SocketAddr, frame: Frame<'_>, len: usize) {
        let Some(link) = self.links.get_mut(link) else {
            self.stats.replies_late += 1;
            return;
        };
        let is_candidate = link.candidate.as_ref().is_some_and(|candidate| candidate.address == from);
        let to = if is_candidate { from } else { link.address };
        if !link.spend(to, len) {
            self.stats.replies_to_unproven += 1;
        } else if let Some(packet) = link.seal(Some(frame)) {
            self.transmit(to, packet);
        }
    }

    /// Forgets requests that the engine did not answer in time, and the oldest of too many.
    pub(super) fn drop_open_surplus(&mut self, now: Instant) {
        while let Some(request) = self.open.remove_surplus(now) {
            self.stats.requests_forgotten += 1;
            self.release(&request);
        }
    }

    /// Takes note that a request of a link no longer waits.
    fn release(&mut self, request: &OpenRequest) {
        if let Origin::Link(link) = request.origin
            && let Some(link) = self.links.get_mut(link)
        {
            link.open_count = link.open_count.saturating_sub(1);
        }
    }
}
