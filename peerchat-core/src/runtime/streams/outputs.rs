//! [`Outputs`]: what every connection adds to: events, datagrams, counters, the names of open requests.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{ConnectionHandle, StreamId};

use super::StreamsEvent;
use super::exchange::OwnCall;
use crate::idle;
use crate::limits::Limits;
use crate::transport::{Bucket, CallError, Rate, SharedLimit, Transmit, TransportEvent};

/// Counters since the streams were made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct StreamStats {
    /// Datagrams taken in.
    pub(crate) datagrams_in: u64,
    /// Bytes of them.
    pub(crate) bytes_in: u64,
    /// Datagrams handed out.
    pub(crate) datagrams_out: u64,
    /// Bytes of them.
    pub(crate) bytes_out: u64,
    /// Connections that this node began and completed.
    pub(crate) connections_made: u64,
    /// Connections of others that were completed.
    pub(crate) connections_accepted: u64,
    /// Connections closed because another needed the room.
    pub(crate) connections_evicted: u64,
    /// Retry packets sent to addresses that nothing proves.
    pub(crate) retries_sent: u64,
    /// Calls of this node that went by stream.
    pub(crate) calls: u64,
    /// Requests of others that came by stream.
    pub(crate) requests: u64,
    /// Dropped: a datagram that belongs to no connection and begins none, or is too long.
    pub(crate) dropped_unasked: u64,
    /// Dropped: a first packet beyond a rate limit, or with no room for another connection.
    pub(crate) dropped_connections: u64,
    /// Dropped: a request or response on a stream that is too long, broken off, or none.
    pub(crate) dropped_exchanges: u64,
    /// Dropped: a request that came sooner than the rates of a connection, of an address or of all allow.
    pub(crate) dropped_too_fast: u64,
    /// Replies to a request that is no longer open, or over a limit.
    pub(crate) replies_dropped: u64,
}

impl StreamStats {
    /// Returns how many datagrams, connections and exchanges were dropped, for whatever reason.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped_unasked + self.dropped_connections + self.dropped_exchanges + self.dropped_too_fast
    }
}

/// What every connection adds to.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) stats: StreamStats,
    events: VecDeque<StreamsEvent>,
    transmits: VecDeque<Transmit>,
    /// Requests that wait for the engine, by the number in their token.
    open: BTreeMap<u64, (ConnectionHandle, StreamId)>,
    last_token: u64,
    pub(super) limits: Arc<Limits>,
    /// How fast requests come.
    requests: SharedLimit,
}

impl Outputs {
    /// Tells whether a request from this address may be taken that has come over a connection with this bucket.
    #[must_use]
    pub(super) fn admits_request(&mut self, from: SocketAddr, connection: &mut Bucket, now: Instant) -> bool {
        let Limits { requests, requests_per_address, requests_per_link, .. } = *self.limits;
        connection.take(Rate::of(requests_per_link), now)
            && self.requests.take(from, Rate::of(requests_per_address), Rate::of(requests), now)
    }

    /// Queues an event.
    pub(super) fn tell(&mut self, event: TransportEvent) {
        self.events.push_back(StreamsEvent::Transport(event));
    }

    /// Queues a datagram.
    pub(super) fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += bytes.len() as u64;
        self.transmits.push_back(Transmit { to, bytes });
    }

    /// Ends a call without an answer.
    pub(super) fn fail(&mut self, own: OwnCall) {
        self.tell(TransportEvent::CallFailed { call: own.call.id, reason: CallError::Timeout });
    }

    /// Ends a call on a connection that has ended: as a datagram it may still be answered.
    pub(super) fn give_back(&mut self, own: OwnCall) {
        if own.can_fall_back {
            self.events.push_back(StreamsEvent::GivenBack(own.call));
        } else {
            self.fail(own);
        }
    }

    /// Names a request that waits for the engine.
    pub(super) fn name(&mut self, connection: ConnectionHandle, stream: StreamId) -> u64 {
        self.last_token += 1;
        self.open.insert(self.last_token, (connection, stream));
        self.last_token
    }

    /// Takes a request that is answered off the list.
    pub(super) fn answer(&mut self, token: u64) -> Option<(ConnectionHandle, StreamId)> {
        idle::remove(&mut self.open, &token)
    }

    /// Takes a request that nobody waits for any more off the list.
    pub(super) fn forget(&mut self, token: u64) {
        idle::remove(&mut self.open, &token);
    }

    pub(super) fn poll_event(&mut self) -> Option<StreamsEvent> {
        idle::pop(&mut self.events)
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        idle::pop(&mut self.transmits)
    }
}
