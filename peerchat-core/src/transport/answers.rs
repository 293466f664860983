//! What a responder remembers of requests: handshakes it answered, and requests it still owes an answer.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use snow::HandshakeState;

use super::call::ReplyToken;
use super::packet::InitMac;
use crate::idle;
use crate::kademlia::NodeKey;
use crate::limits::{Limits, entry};

/// Answers to first handshake packets that are kept for repetition. When full, the oldest is dropped.
pub const MAX_CACHED_ANSWERS: usize = 256;

/// How long such an answer is kept: a peer repeats its packet for 3.5 s, longer only if it is asked for a cookie.
pub const CACHED_ANSWER_LIFETIME: Duration = Duration::from_secs(5);

/// Requests that wait for the engine. When full, the oldest is forgotten and its reply dropped.
pub const MAX_OPEN_REQUESTS: usize = 4096;

/// The same for one link. When full, further requests are dropped; the peer repeats them.
pub const MAX_OPEN_REQUESTS_PER_LINK: usize = 64;

/// How long a request waits for the engine.
pub const OPEN_REQUEST_LIFETIME: Duration = Duration::from_secs(10);

/// Handshakes that wait for the answer to their early request. When full, further handshakes are answered at once
/// without it, and their initiators repeat the request over the link.
pub const MAX_HELD_HANDSHAKES: usize = 128;

/// What a first handshake packet was answered with.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where the packet came from: nobody else is sent the answer, because whoever has it passes for the node there.
    pub(super) to: SocketAddr,
    /// `None` while the engine works on the early request.
    pub(super) packet: Option<Vec<u8>>,
}

/// Answers to the first handshake packets of late.
#[derive(Debug)]
pub(super) struct Answers {
    limit: usize,
    by_init: BTreeMap<InitMac, Answer>,
    /// When each entry goes, soonest first.
    until: VecDeque<(Instant, InitMac)>,
}

impl Answers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limit: limits.cached_answers, by_init: BTreeMap::new(), until: VecDeque::new() }
    }

    /// Returns what is known of a first packet.
    pub(super) fn get(&self, init: &InitMac) -> Option<&Answer> {
        self.by_init.get(init)
    }

    /// Remembers that a first packet has come from `from`.
    pub(super) fn open(&mut self, init: InitMac, from: SocketAddr, now: Instant) {
        if self.until.len() >= self.limit
            && let Some((_, oldest)) = self.until.pop_front()
        {
            self.by_init.remove(&oldest);
        }
        self.by_init.insert(init, Answer { to: from, packet: None });
        self.until.push_back((now + CACHED_ANSWER_LIFETIME, init));
    }

    /// Remembers the answer to a first packet, unless the packet is forgotten already.
    pub(super) fn close(&mut self, init: &InitMac, packet: Vec<u8>) {
        if let Some(answer) = self.by_init.get_mut(init) {
            answer.packet = Some(packet);
        }
    }

    /// Drops what is too old; returns whether anything is left.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        while let Some((_, init)) = self.until.pop_front_if(|(until, _)| *until <= now) {
            idle::remove(&mut self.by_init, &init);
        }
        !self.until.is_empty()
    }
}

/// What such a request takes at most.
pub(super) const OPEN_REQUEST_COST: usize =
    entry::<ReplyToken, OpenRequest>() + entry::<(u32, u32), ReplyToken>();

/// A request that waits for the engine.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) request_id: u32,
    /// Where the request came from.
    pub(super) from: SocketAddr,
    pub(super) origin: Origin,
    until: Instant,
}

/// How a request came in, and so how its answer goes out.
#[derive(Debug)]
pub(super) enum Origin {
    /// Over the link with this index.
    Link(u32),
    /// In a first handshake packet, which waits for the answer.
    Handshake(Box<HeldHandshake>),
}

/// A handshake between its first and its second message.
#[derive(Debug)]
pub(super) struct HeldHandshake {
    pub(super) noise: HandshakeState,
    pub(super) init: InitMac,
    pub(super) init_len: usize,
    pub(super) peer: NodeKey,
    /// The peer's link index.
    pub(super) remote: u32,
    pub(super) is_throwaway: bool,
    pub(super) from: SocketAddr,
}

/// Every request that waits for the engine.
#[derive(Debug)]
pub(super) struct OpenRequests {
    limit: usize,
    held_limit: usize,
    /// By token: oldest first.
    requests: BTreeMap<ReplyToken, OpenRequest>,
    by_link: BTreeMap<(u32, u32), ReplyToken>,
    held_count: usize,
    last_token: u64,
}

impl OpenRequests {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.open_requests,
            held_limit: limits.held_handshakes,
            requests: BTreeMap::new(),
            by_link: BTreeMap::new(),
            held_count: 0,
            last_token: 0,
        }
    }

    /// Tells whether this request of this link waits already.
    pub(super) fn contains(&self, link: u32, request_id: u32) -> bool {
        self.by_link.contains_key(&(link, request_id))
    }

    /// Tells whether another handshake may wait.
    pub(super) const fn can_hold(&self) -> bool {
        self.held_count < self.held_limit
    }

    /// Takes a request and names it.
    pub(super) fn insert(
        &mut self,
        request_id: u32,
        from: SocketAddr,
        origin: Origin,
        now: Instant,
    ) -> ReplyToken {
        self.last_token += 1;
        let token = ReplyToken(self.last_token);
        match &origin {
            Origin::Link(link) => {
                self.by_link.insert((*link, request_id), token);
            }
            Origin::Handshake(_) => self.held_count += 1,
        }
        let until = now + OPEN_REQUEST_LIFETIME;
        self.requests.insert(token, OpenRequest { request_id, from, origin, until });
        token
    }

    /// Removes and returns a request.
    pub(super) fn remove(&mut self, token: ReplyToken) -> Option<OpenRequest> {
        let request = idle::remove(&mut self.requests, &token)?;
        match &request.origin {
            Origin::Link(link) => {
                self.by_link.remove(&(*link, request.request_id));
            }
            Origin::Handshake(_) => self.held_count -= 1,
        }
        Some(request)
    }

    /// Removes and returns the oldest request if its time is up or there are too many.
    pub(super) fn remove_surplus(&mut self, now: Instant) -> Option<OpenRequest> {
        let (&token, oldest) = self.requests.first_key_value()?;
        let is_surplus = oldest.until <= now || self.requests.len() > self.limit;
        if is_surplus { self.remove(token) } else { None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}
