//! Calls from this node to others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::frame::Frame;
use super::timers::Timer;
use super::{
    BY_STREAM, Call, CallError, MAX_BODY_LEN, MAX_KIND, MAX_TRANSMISSIONS, Transport, TransportEvent,
    canonical,
};
use crate::idle;
use crate::kademlia::Contact;
use crate::time::Now;

/// A call without an answer yet.
#[derive(Debug)]
pub(super) struct PendingCall {
    pub(super) call: Call,
    /// When the request was first sent, in whatever packet.
    sent_at: Option<Instant>,
    /// It was sent more than once.
    is_repeated: bool,
    /// A handshake may still be tried if the link does not answer.
    can_fall_back: bool,
    stage: Stage,
}

/// How far a call has come.
#[derive(Debug)]
enum Stage {
    /// Rides in a handshake or waits for one, which ends or moves the call.
    Handshake,
    /// Was sent over a link, and is repeated by its timer.
    Sent {
        /// The link.
        link: u32,
        /// How often it was sent there.
        transmissions: u8,
        /// How long the last transmission waits.
        wait: Duration,
    },
}

impl PendingCall {
    /// Takes note that the call waits for a handshake.
    pub(super) fn wait(&mut self) {
        self.stage = Stage::Handshake;
        self.can_fall_back = false;
    }

    /// Takes note that the request goes out.
    pub(super) fn mark_sent(&mut self, now: Instant) {
        self.is_repeated |= self.sent_at.is_some();
        self.sent_at.get_or_insert(now);
    }

    /// Takes note that the packet with the request went out more than once.
    pub(super) const fn mark_repeated(&mut self) {
        self.is_repeated = true;
    }

    /// Returns how long the answer took; `None` if nobody knows to which of several requests it is (Karn's rule).
    fn round_trip(&self, now: Instant) -> Option<Duration> {
        let at = self.sent_at.filter(|_| !self.is_repeated)?;
        Some(now.saturating_duration_since(at))
    }
}

impl Transport {
    /// Sends a request; exactly one [`TransportEvent::Response`] or [`TransportEvent::CallFailed`] follows, or the call
    /// comes back from [`Transport::poll_oversized`].
    pub fn call(&mut self, call: Call, now: Now) {
        let now = now.instant;
        let (peer, address) = (call.to.key(), canonical(call.to.address()));
        if let Err(reason) = self.check_call(&call) {
            self.events.push_back(TransportEvent::CallFailed { call: call.id, reason });
            return;
        }
        let link = self.links.current(&peer).filter(|link| link.is_usable(now));
        let link = link.map(|link| (link.local, link.is_old(now), link.address));
        let (request_id, is_fleeting) = (self.next_request_id(), call.is_fleeting);
        if is_fleeting && link.is_none() {
            self.events.push_back(TransportEvent::CallFailed { call: call.id, reason: CallError::NoLink });
            return;
        }
        let pending = PendingCall {
            call,
            sent_at: None,
            is_repeated: false,
            can_fall_back: !is_fleeting,
            stage: Stage::Handshake,
        };
        self.calls.insert(request_id, pending);
        let Some((index, is_old, link_address)) = link else {
            self.dial_for_call(request_id, address, now);
            return;
        };
        if is_old && !is_fleeting && !self.is_dialling(peer, link_address) {
            // The call does not depend on it: the old link serves until the new one is there.
            let _ = self.dial(peer, link_address, None, now);
        }
        self.send_call(request_id, index, now);
    }

    /// Sends a call over a link for the first time.
    pub(super) fn send_call(&mut self, request_id: u32, link: u32, now: Instant) {
        let Some(pending) = self.calls.get_mut(&request_id) else { return };
        let wait = self.links.timeout_of(&pending.call.to.key());
        pending.stage = Stage::Sent { link, transmissions: 0, wait };
        self.in_flight.insert((link, request_id));
        self.transmit_call(request_id, now);
    }

    /// Sends a call over its link once more, and sets its timer.
    fn transmit_call(&mut self, request_id: u32, now: Instant) {
        let Some(pending) = self.calls.get_mut(&request_id) else { return };
        let Stage::Sent { link, transmissions, wait } = &mut pending.stage else { return };
        let frame = Frame::Request { id: request_id, kind: pending.call.kind, body: &pending.call.body };
        let sealed = self
            .links
            .get_mut(*link)
            .and_then(|link| Some((link.peer, link.address, link.seal(Some(frame))?)));
        self.stats.retransmissions += u64::from(*transmissions > 0);
        *transmissions += 1;
        self.timers.set(Timer::Call(request_id), now + *wait);
        pending.mark_sent(now);
        if let Some((peer, address, packet)) = sealed {
            self.links.touch(&peer, now);
            self.transmit(address, packet);
        }
    }

    /// Repeats a call that was not answered, tries a handshake, or gives up.
    pub(super) fn on_call_timeout(&mut self, request_id: u32, now: Instant) {
        let Some(pending) = self.calls.get_mut(&request_id) else { return };
        let Stage::Sent { link: index, transmissions, wait } = &mut pending.stage else { return };
        if pending.call.is_fleeting {
            // It says nothing about the link: one packet may be lost.
            self.fail_call(request_id, CallError::Timeout);
            return;
        }
        let index = *index;
        let link = self.links.get_mut(index);
        // A call that cannot go elsewhere makes the best of a link that others gave up.
        let is_worth_it = link.as_ref().is_some_and(|link| link.is_usable(now) || !pending.can_fall_back);
        if is_worth_it && *transmissions < MAX_TRANSMISSIONS {
            *wait *= 2;
            self.transmit_call(request_id, now);
            return;
        }
        if let Some(link) = link {
            link.is_suspect = true;
        }
        if pending.can_fall_back {
            let address = canonical(pending.call.to.address());
            self.fall_back(request_id, index, address, now);
        } else {
            self.fail_call(request_id, CallError::Timeout);
        }
    }

    /// Tells whether a call may still try a handshake.
    pub(super) fn can_fall_back(&self, request_id: u32) -> bool {
        self.calls.get(&request_id).is_some_and(|pending| pending.can_fall_back)
    }

    /// Takes a call off a link and lets it wait for a handshake.
    pub(super) fn fall_back(&mut self, request_id: u32, link: u32, address: SocketAddr, now: Instant) {
        self.in_flight.remove(&(link, request_id));
        self.timers.remove(Timer::Call(request_id));
        self.dial_for_call(request_id, address, now);
    }

    /// Takes a response frame that came over a link.
    pub(super) fn on_response(
        &mut self,
        link: u32,
        request_id: u32,
        answer: (u8, SocketAddr, &[u8]),
        now: Instant,
    ) {
        let Some(link) = self.links.get(link) else { return };
        let (peer, address) = (link.peer, link.address);
        let Some(pending) = self.calls.get(&request_id).filter(|call| call.call.to.key() == peer) else {
            self.stats.dropped_unasked += 1;
            return;
        };
        if let (Stage::Sent { transmissions: 1, .. }, Some(at), true) =
            (&pending.stage, pending.sent_at, pending.can_fall_back)
        {
            self.links.insert_round_trip(&peer, now.saturating_duration_since(at));
        }
        self.answer_call(request_id, address, answer, now);
    }

    /// Ends a call with the answer to it.
    pub(super) fn answer_call(
        &mut self,
        request_id: u32,
        address: SocketAddr,
        (kind, observed, body): (u8, SocketAddr, &[u8]),
        now: Instant,
    ) {
        let Some(pending) = self.remove_call(request_id) else { return };
        if kind == BY_STREAM && pending.call.is_fleeting {
            let (call, reason) = (pending.call.id, CallError::NoLink);
            self.events.push_back(TransportEvent::CallFailed { call, reason });
            return;
        }
        if kind == BY_STREAM {
            self.oversized.push_back(pending.call);
            return;
        }
        self.events.push_back(TransportEvent::Response {
            call: pending.call.id,
            from: Contact::new(pending.call.to.key(), address),
            observed,
            kind,
            body: body.to_vec(),
            round_trip: pending.round_trip(now),
        });
    }

    /// Ends a call without an answer.
    pub(super) fn fail_call(&mut self, request_id: u32, reason: CallError) {
        if let Some(pending) = self.remove_call(request_id) {
            self.events.push_back(TransportEvent::CallFailed { call: pending.call.id, reason });
        }
    }

    fn remove_call(&mut self, request_id: u32) -> Option<PendingCall> {
        let pending = idle::remove(&mut self.calls, &request_id)?;
        if let Stage::Sent { link, .. } = pending.stage {
            self.in_flight.remove(&(link, request_id));
        }
        self.timers.remove(Timer::Call(request_id));
        Some(pending)
    }

    fn check_call(&self, call: &Call) -> Result<(), CallError> {
        if call.body.len() > MAX_BODY_LEN {
            return Err(CallError::TooLong { len: call.body.len() });
        }
        if call.kind > MAX_KIND {
            return Err(CallError::BadKind { kind: call.kind });
        }
        if call.to.key() == self.local.key() { Err(CallError::BadKey) } else { Ok(()) }
    }

    /// Returns a request id that no pending call has.
    fn next_request_id(&mut self) -> u32 {
        loop {
            self.last_request_id = self.last_request_id.wrapping_add(1);
            if !self.calls.contains_key(&self.last_request_id) {
                return self.last_request_id;
            }
        }
    }
}
