//! [`Connection`]: one QUIC connection and what goes on over it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::{
    ConnectionEvent, ConnectionHandle, Dir, Endpoint, EndpointEvent, Event, StreamEvent, StreamId, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::exchange::{
    Exchange, Incoming, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, OwnCall, Progress, TOO_FAST, Unsent,
    parse_request, parse_response, read, request_bytes, response_bytes,
};
use super::outputs::Outputs;
use super::{ASK_AGAIN_AFTER, CALL_LIFETIME, CONNECT_TIMEOUT, MAX_STREAMS, REQUEST_LIFETIME, tls};
use crate::kademlia::{Contact, NodeKey};
use crate::transport::{Bucket, ReplyToken, TransportEvent};

/// The code that connections are closed and streams reset with: nobody acts on it. The only other one is [`TOO_FAST`].
const NO_REASON: VarInt = VarInt::from_u32(0);

/// One QUIC connection, begun by either side.
pub(super) struct Connection {
    quic: quinn_proto::Connection,
    handle: ConnectionHandle,
    /// The node at the other end; unknown while one of others' making shakes hands.
    pub(super) peer: Option<NodeKey>,
    /// This node began it.
    pub(super) is_ours: bool,
    /// The handshake is done: the peer has proven its key and that it receives at its address.
    pub(super) is_connected: bool,
    /// The peer began it under a key that is no node's.
    is_throwaway: bool,
    /// It is over: broken, closed by the peer, idle, or given up.
    pub(super) is_lost: bool,
    /// When a call or a request began last.
    pub(super) used_at: Instant,
    /// When [`Self::handle_timeout`] is next due.
    pub(super) deadline: Option<Instant>,
    made_at: Instant,
    heard_at: Instant,
    partial_len: usize,
    /// Length of the datagram that is being taken.
    datagram_len: usize,
    /// The endpoint has been told that it is over.
    is_drained: bool,
    /// Calls that wait for the handshake or for a stream.
    waiting: VecDeque<OwnCall>,
    /// Calls that the peer has not looked at because they came too fast, each with when it is asked again.
    postponed: VecDeque<(Instant, OwnCall)>,
    exchanges: BTreeMap<StreamId, Exchange>,
    /// How fast requests come.
    requests: Bucket,
}

impl Connection {
    /// Wraps a connection that has just begun; `peer` is whom this node called.
    pub(super) fn new(
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        peer: Option<NodeKey>,
        now: Instant,
    ) -> Self {
        Self {
            quic,
            handle,
            peer,
            is_ours: peer.is_some(),
            is_connected: false,
            is_throwaway: false,
            is_lost: false,
            used_at: now,
            deadline: None,
            made_at: now,
            heard_at: now,
            partial_len: 0,
            datagram_len: 0,
            is_drained: false,
            waiting: VecDeque::new(),
            postponed: VecDeque::new(),
            exchanges: BTreeMap::new(),
            requests: Bucket::default(),
        }
    }

    /// Returns where the peer is. It never changes: a peer that moves makes a new connection.
    pub(super) fn address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// Tells whether something would be lost if the connection went.
    pub(super) fn is_busy(&self) -> bool {
        let is_dialling = self.is_ours && !self.is_connected;
        is_dialling || self.waiting_count() > 0 || self.exchanges.values().any(Exchange::is_busy)
    }

    /// Returns how many calls of this node have not ended.
    pub(super) fn call_count(&self) -> usize {
        let is_call = |exchange: &&Exchange| matches!(exchange, Exchange::Asked { .. });
        self.waiting_count() + self.exchanges.values().filter(is_call).count()
    }

    /// Returns how many calls wait for a stream, or to be asked again.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len() + self.postponed.len()
    }

    /// Returns how many bytes are kept of what has not come whole or not gone out, as of the last [`Self::run`].
    pub(super) const fn partial_len(&self) -> usize {
        self.partial_len
    }

    /// Takes a call; [`Self::run`] sends it.
    pub(super) fn call(&mut self, own: OwnCall, now: Instant) {
        self.used_at = now;
        self.waiting.push_back(own);
    }

    /// Answers the request on a stream; [`Self::run`] sends it.
    pub(super) fn reply(&mut self, id: StreamId, kind: u8, body: &[u8], now: Instant) {
        let unsent = Unsent::new(response_bytes(kind, self.address(), body));
        self.exchanges.insert(id, Exchange::Answering { unsent, until: now + CALL_LIFETIME });
        self.write(id);
    }

    /// Gives up the exchange on a stream.
    pub(super) fn refuse(&mut self, id: StreamId, out: &mut Outputs) {
        self.give_up(id, NO_REASON, out);
    }

    fn give_up(&mut self, id: StreamId, code: VarInt, out: &mut Outputs) {
        match self.exchanges.remove(&id) {
            Some(Exchange::Asked { own, .. }) => out.fail(own),
            Some(Exchange::Working { token, .. }) => out.forget(token),
            _ => {}
        }
        self.reset(id, code);
    }

    fn reset(&mut self, id: StreamId, code: VarInt) {
        // Either half may have ended by itself.
        let _ = self.quic.recv_stream(id).stop(code);
        let _ = self.quic.send_stream(id).reset(code);
    }

    /// Takes that the peer has not looked at what is asked on a stream: it is asked again, if there is time left for it.
    fn postpone(&mut self, id: StreamId, out: &mut Outputs, now: Instant) {
        let again_at = now + ASK_AGAIN_AFTER;
        let is_ours =
            |exchange: &Exchange| matches!(exchange, Exchange::Asked { own, .. } if again_at < own.until);
        if !self.exchanges.get(&id).is_some_and(is_ours) {
            return self.refuse(id, out);
        }
        if let Some(Exchange::Asked { own, .. }) = self.exchanges.remove(&id) {
            self.postponed.push_back((again_at, own));
        }
        self.reset(id, NO_REASON);
    }

    /// Takes a datagram of `len` bytes that belongs to this connection; [`Self::run`] takes what it brought.
    pub(super) fn handle_event(&mut self, event: ConnectionEvent, len: usize, now: Instant) {
        (self.heard_at, self.datagram_len) = (now, len);
        self.quic.handle_event(event);
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, out: &mut Outputs, now: Instant) {
        self.quic.handle_timeout(now);
        if !self.is_connected && now >= self.made_at + CONNECT_TIMEOUT {
            self.is_lost = true;
        }
        let due = self.postponed.partition_point(|(at, _)| *at <= now);
        for (_, own) in self.postponed.drain(..due).rev() {
            // Before those that came later.
            self.waiting.push_front(own);
        }
        while let Some(own) = self.waiting.pop_front_if(|own| own.until <= now) {
            out.fail(own);
        }
        let is_over = |(_, exchange): &(&StreamId, &Exchange)| exchange.until() <= now;
        let over: Vec<StreamId> = self.exchanges.iter().filter(is_over).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(Exchange::Asked { asked_at, .. }) = self.exchanges.get(&id) {
                // Not a word since: the peer is gone, and so the rest would wait in vain.
                self.is_lost |= self.heard_at <= *asked_at;
            }
            self.refuse(id, out);
        }
    }

    /// Lets QUIC do what it can do now, and takes what comes of it.
    pub(super) fn run(&mut self, endpoint: &mut Endpoint, out: &mut Outputs, now: Instant) {
        loop {
            let mut is_quiet = true;
            while let Some(event) = self.quic.poll_endpoint_events() {
                is_quiet = false;
                self.is_drained |= event.is_drained();
                if let Some(answer) = endpoint.handle_event(self.handle, event) {
                    self.quic.handle_event(answer);
                }
            }
            while let Some(event) = self.quic.poll() {
                is_quiet = false;
                self.on_event(event, out, now);
            }
            self.open_streams(now);
            is_quiet &= !self.transmit(out, now);
            if is_quiet {
                break;
            }
        }
        self.datagram_len = 0;
        self.partial_len = self.exchanges.values().map(Exchange::partial_len).sum();
        self.deadline = self.next_deadline();
    }

    /// Ends the connection. The peer is told unless it is known to be gone or to know.
    pub(super) fn end(mut self, endpoint: &mut Endpoint, out: &mut Outputs, now: Instant) {
        if !self.is_lost {
            self.quic.close(now, NO_REASON, Bytes::new());
            self.transmit(out, now);
        }
        if !self.is_drained {
            endpoint.handle_event(self.handle, EndpointEvent::drained());
        }
        let postponed = self.postponed.into_iter().map(|(_, own)| own);
        postponed.chain(self.waiting).for_each(|own| out.give_back(own));
        for exchange in self.exchanges.into_values() {
            match exchange {
                Exchange::Asked { own, .. } => out.give_back(own),
                Exchange::Working { token, .. } => out.forget(token),
                Exchange::Asking { .. } | Exchange::Answering { .. } => {}
            }
        }
    }

    fn on_event(&mut self, event: Event, out: &mut Outputs, now: Instant) {
        match event {
            Event::Connected => self.on_connected(out, now),
            Event::ConnectionLost { reason } => {
                tracing::debug!(%reason, "a QUIC connection is over");
                self.is_lost = true;
            }
            Event::Stream(StreamEvent::Opened { .. }) => {
                while let Some(id) = self.quic.streams().accept(Dir::Bi) {
                    let until = now + REQUEST_LIFETIME;
                    self.exchanges.insert(id, Exchange::Asking { request: Incoming::default(), until });
                    self.on_readable(id, out, now);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.on_readable(id, out, now),
            Event::Stream(StreamEvent::Writable { id }) => self.write(id),
            Event::Stream(StreamEvent::Stopped { id, error_code: TOO_FAST }) => self.postpone(id, out, now),
            Event::Stream(StreamEvent::Stopped { id, .. }) => self.refuse(id, out),
            Event::Stream(StreamEvent::Finished { id }) => {
                if let Some(Exchange::Answering { .. }) = self.exchanges.get(&id) {
                    self.exchanges.remove(&id);
                }
            }
            Event::Stream(StreamEvent::Available { .. })
            | Event::HandshakeDataReady
            | Event::DatagramReceived
            | Event::DatagramsUnblocked => {}
        }
    }

    fn on_connected(&mut self, out: &mut Outputs, now: Instant) {
        (self.is_connected, self.used_at) = (true, now);
        if self.is_ours {
            out.stats.connections_made += 1;
            return;
        }
        let identity = self.quic.crypto_session().peer_identity();
        let chain = identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
        self.peer = chain.as_deref().and_then(|chain| chain.first()).and_then(tls::node_key);
        let data = self.quic.crypto_session().handshake_data();
        let protocol = data.and_then(|data| data.downcast::<HandshakeData>().ok()?.protocol);
        self.is_throwaway = protocol.is_some_and(|name| name.ends_with(tls::THROWAWAY_SUFFIX));
        match self.peer {
            Some(_) if self.is_throwaway => out.stats.connections_accepted += 1,
            Some(peer) => {
                out.stats.connections_accepted += 1;
                out.tell(TransportEvent::PeerProven { peer: Contact::new(peer, self.address()) });
            }
            None => self.is_lost = true,
        }
    }

    /// Gives waiting calls the streams that the peer admits.
    /// Sends calls that wait, as many as the peer and [`MAX_STREAMS`] allow: what the peer grants beyond that would let it
    /// owe us more than is counted with.
    fn open_streams(&mut self, now: Instant) {
        let asked =
            self.exchanges.values().filter(|exchange| matches!(exchange, Exchange::Asked { .. })).count();
        for _ in asked..MAX_STREAMS as usize {
            if !self.is_connected || self.waiting.is_empty() {
                return;
            }
            let Some(id) = self.quic.streams().open(Dir::Bi) else { return };
            let Some(own) = self.waiting.pop_front() else { return };
            let unsent = Unsent::new(request_bytes(&own.call));
            self.exchanges
                .insert(id, Exchange::Asked { own, unsent, answer: Incoming::default(), asked_at: now });
            self.write(id);
        }
    }

    /// Grants the peer more streams than [`MAX_STREAMS`], as a hostile node would.
    #[cfg(test)]
    pub(super) fn grant_for_test(&mut self, count: u32) {
        self.quic.set_max_concurrent_streams(Dir::Bi, count.into());
    }

    /// Tells whether it is a connection to this peer at this address.
    pub(super) fn leads_to(&self, peer: &NodeKey, address: SocketAddr) -> bool {
        self.peer == Some(*peer) && self.address() == address
    }

    fn on_readable(&mut self, id: StreamId, out: &mut Outputs, now: Instant) {
        let len = self.datagram_len;
        let progress = match self.exchanges.get_mut(&id) {
            Some(Exchange::Asked { answer, .. }) => read(&mut self.quic, id, answer, (len, MAX_RESPONSE_LEN)),
            Some(Exchange::Asking { request, .. }) => {
                read(&mut self.quic, id, request, (len, MAX_REQUEST_LEN))
            }
            _ => return,
        };
        match progress {
            Progress::More => {}
            Progress::Whole => self.on_whole(id, out, now),
            Progress::TooFast => self.postpone(id, out, now),
            Progress::Failed => {
                out.stats.dropped_exchanges += 1;
                self.refuse(id, out);
            }
        }
    }

    /// Takes a request or response that has come whole.
    fn on_whole(&mut self, id: StreamId, out: &mut Outputs, now: Instant) {
        let peer = self.peer.map(|peer| Contact::new(peer, self.address()));
        let taken = match (self.exchanges.remove(&id), peer) {
            (Some(Exchange::Asked { own, unsent, answer, .. }), Some(from)) => {
                if !unsent.is_empty() {
                    // Answered before it was heard out: the rest is of no use.
                    let _ = self.quic.send_stream(id).reset(NO_REASON);
                }
                return self.take_response(own, from, &answer.bytes, out);
            }
            (Some(Exchange::Asking { request, .. }), Some(from)) => {
                parse_request(request.bytes).zip(Some(from))
            }
            _ => None,
        };
        let Some(((kind, body), from)) = taken else {
            out.stats.dropped_exchanges += 1;
            return self.refuse(id, out);
        };
        if !out.admits_request(from.address(), &mut self.requests, now) {
            out.stats.dropped_too_fast += 1;
            return self.give_up(id, TOO_FAST, out);
        }
        self.used_at = now;
        out.stats.requests += 1;
        let token = out.name(self.handle, id);
        self.exchanges.insert(id, Exchange::Working { token, until: now + REQUEST_LIFETIME });
        let token = ReplyToken::of_stream(token);
        let is_throwaway = self.is_throwaway;
        out.tell(TransportEvent::Request { token, from, is_proven: true, is_throwaway, kind, body });
    }

    fn take_response(&self, own: OwnCall, from: Contact, bytes: &[u8], out: &mut Outputs) {
        let Some((kind, observed, body)) = parse_response(bytes) else {
            out.stats.dropped_exchanges += 1;
            return out.fail(own);
        };
        let (call, round_trip) = (own.call.id, Some(self.quic.rtt()));
        out.tell(TransportEvent::Response { call, from, observed, kind, body, round_trip });
    }

    /// Hands QUIC as much of what a stream has to say as it takes; it tells when there is room for more.
    fn write(&mut self, id: StreamId) {
        let Some(Exchange::Asked { unsent, .. } | Exchange::Answering { unsent, .. }) =
            self.exchanges.get_mut(&id)
        else {
            return;
        };
        let mut stream = self.quic.send_stream(id);
        while !unsent.is_empty() {
            match stream.write(unsent.rest()) {
                Ok(len) => unsent.take(len),
                // Blocked, or stopped by the peer: an event of QUIC's says what comes next.
                Err(_) => return,
            }
        }
        // Already finished if the last event came late.
        let _ = stream.finish();
    }

    /// Takes the datagrams that QUIC has ready; tells whether there were any.
    fn transmit(&mut self, out: &mut Outputs, now: Instant) -> bool {
        let mut has_any = false;
        loop {
            let mut datagram = Vec::new();
            let Some(transmit) = self.quic.poll_transmit(now, 1, &mut datagram) else { return has_any };
            has_any = true;
            out.transmit(transmit.destination, datagram);
        }
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let connect = (!self.is_connected).then(|| self.made_at + CONNECT_TIMEOUT);
        let waiting = self.waiting.front().map(|own| own.until);
        let postponed = self.postponed.front().map(|(at, _)| *at);
        let exchanges = self.exchanges.values().map(Exchange::until).min();
        [self.quic.poll_timeout(), connect, waiting, postponed, exchanges].into_iter().flatten().min()
    }
}
