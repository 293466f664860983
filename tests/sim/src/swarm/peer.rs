//! [`Peer`]: one host of a swarm.

use std::collections::BTreeMap;
use std::time::Instant;

use peerchat_core::kademlia::{Contact, Node, Record, RecordKey};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::RoundTrip;

use crate::adversary::Behaviour;

/// What a host is at the moment.
#[derive(Debug)]
pub(super) enum Body {
    /// Not there; this is what it has saved of its table.
    Away(Vec<Contact>),
    Node(Box<Node>),
    Adversary(Behaviour),
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) body: Body,
    pub(super) contact: Contact,
    /// Counts starts, so that what was under way for an earlier run is not taken by a later one.
    pub(super) run: u32,
    /// When it came, the last time.
    pub(super) came_at: Option<Instant>,
    /// When its next timer is due, as far as it has been scheduled.
    pub(super) timer: Option<Instant>,
    /// What its disk keeps for others.
    pub(super) records: BTreeMap<RecordKey, Vec<u8>>,
    /// What it publishes whenever it is there.
    pub(super) own: Vec<Record>,
    /// What requests take.
    pub(super) round_trip: RoundTrip,
    /// How many traced lookups it runs.
    pub(super) trace_count: usize,
    /// How far its wall clock is ahead.
    pub(super) ahead_ms: i64,
}

impl Peer {
    pub(super) fn new(contact: Contact) -> Self {
        Self {
            body: Body::Away(Vec::new()),
            contact,
            run: 0,
            came_at: None,
            timer: None,
            records: BTreeMap::new(),
            own: Vec::new(),
            round_trip: RoundTrip::default(),
            trace_count: 0,
            ahead_ms: 0,
        }
    }

    pub(super) const fn is_node(&self) -> bool {
        matches!(self.body, Body::Node(_))
    }

    /// Returns what the clocks of this host show.
    pub(super) fn clock(&self, now: Now) -> Now {
        let wall = Timestamp::from_unix_ms(now.wall.unix_ms().saturating_add_signed(self.ahead_ms));
        Now { wall, ..now }
    }
}
