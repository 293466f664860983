//! [`Calls`]: the requests on their way, and why each was sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::contact::Contact;
use super::super::id::NodeId;
use super::super::record::RecordKey;
use super::super::rpc::Rpc;
use super::{LookupId, Outgoing, PublishId, RpcId};
use crate::idle;

/// How long after its soft timeout a lookup still waits for a request, at least.
const LOOKUP_GRACE: Duration = Duration::from_millis(400);

/// How many times what a contact, or what any contact takes, a lookup waits for a request after its soft timeout. The
/// transport repeats a lost request after one and three times that, and then an answer is on its way back.
const GRACE_FACTOR: u32 = 3;

/// When a request that was neither answered nor reported as failed counts as failed: long after the transport has
/// given up, so that nothing here depends on its report.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);

/// Why a request was sent, and so who takes the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// PING of a contact in the table.
    Check,
    /// PING of a contact that may bring us back online.
    Rejoin,
    /// FIND_NODE or FIND_VALUE.
    Lookup(LookupId),
    /// STORE of a record of our own.
    Publish(PublishId),
    /// STORE of a record kept for others.
    Replicate(RecordKey),
    /// STORE of a record that we drop if it is kept there.
    GiveUp(RecordKey),
    /// FIND_VALUE, to hear whose claim another holder keeps.
    Question(RecordKey),
    /// DIAL_BACK, RELAY or DIAL.
    Reach,
}

/// How long a lookup waits for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long until others are asked beside.
    soft_timeout: Duration,
    /// How long it waits then.
    grace: Duration,
}

impl Patience {
    /// Returns how long to wait for a contact with this soft timeout, if it was measured, when strangers get a `typical` one.
    /// A contact without a link takes as long as any, however fast it was before.
    pub(super) fn new(measured: Option<Duration>, typical: Duration) -> Self {
        let soft_timeout = measured.unwrap_or(typical);
        let grace = (soft_timeout.max(typical) * GRACE_FACTOR).max(LOOKUP_GRACE);
        Self { soft_timeout, grace }
    }
}

/// How long a request has been on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Its soft timeout is still to come.
    Fresh,
    /// The soft timeout has passed.
    Slow,
    /// The grace has passed as well.
    Overdue,
}

/// A request without an answer yet.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) to: Contact,
    pub(super) why: Why,
    stage: Stage,
    sent: Instant,
    grace: Duration,
    /// When the stage ends.
    deadline: Instant,
}

/// A stage of a call that has just ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) id: RpcId,
    pub(super) to: NodeId,
    pub(super) why: Why,
    pub(super) stage: Stage,
}

/// The requests on their way. Every one ends: by [`Self::take`], or by [`Self::pass_deadline`] telling that its last
/// stage is over.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next_id: u64,
    pending: BTreeMap<RpcId, Call>,
    deadlines: BTreeSet<(Instant, RpcId)>,
    outgoing: VecDeque<Outgoing>,
    /// Nodes with a PING on its way.
    pinged: BTreeSet<NodeId>,
    stores: usize,
}

impl Calls {
    /// Sends a request.
    pub(super) fn send(&mut self, to: Contact, rpc: Rpc, why: Why, patience: Patience, now: Instant) {
        let id = RpcId(self.next_id);
        self.next_id += 1;
        let deadline =
            now + if matches!(why, Why::Lookup(_)) { patience.soft_timeout } else { GIVE_UP_AFTER };
        let stage = if matches!(why, Why::Lookup(_)) { Stage::Fresh } else { Stage::Overdue };
        match why {
            Why::Check | Why::Rejoin => _ = self.pinged.insert(to.id()),
            Why::Publish(_) | Why::Replicate(_) | Why::GiveUp(_) => self.stores += 1,
            Why::Lookup(_) | Why::Question(_) | Why::Reach => {}
        }
        self.pending.insert(id, Call { to, why, stage, sent: now, grace: patience.grace, deadline });
        self.deadlines.insert((deadline, id));
        self.outgoing.push_back(Outgoing { id, to, rpc });
    }

    /// Ends a request.
    pub(super) fn take(&mut self, id: RpcId) -> Option<Call> {
        let call = idle::remove(&mut self.pending, &id)?;
        self.deadlines.remove(&(call.deadline, id));
        match call.why {
            Why::Check | Why::Rejoin => _ = self.pinged.remove(&call.to.id()),
            Why::Publish(_) | Why::Replicate(_) | Why::GiveUp(_) => {
                self.stores = self.stores.saturating_sub(1)
            }
            Why::Lookup(_) | Why::Question(_) | Why::Reach => {}
        }
        Some(call)
    }

    /// Returns a call one of whose stages has ended by `now`, if there is one, and begins the next stage.
    pub(super) fn pass_deadline(&mut self, now: Instant) -> Option<Passed> {
        let (at, id) = *self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.deadlines.remove(&(at, id));
        let call = self.pending.get_mut(&id)?;
        let passed = Passed { id, to: call.to.id(), why: call.why, stage: call.stage };
        (call.stage, call.deadline) = match call.stage {
            Stage::Fresh => (Stage::Slow, now + call.grace),
            // Never in the past, or a caller that passes deadlines in a loop would not end.
            Stage::Slow | Stage::Overdue => {
                (Stage::Overdue, (call.sent + GIVE_UP_AFTER).max(now + GIVE_UP_AFTER / 2))
            }
        };
        self.deadlines.insert((call.deadline, id));
        Some(passed)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(super) fn poll_outgoing(&mut self) -> Option<Outgoing> {
        idle::pop(&mut self.outgoing)
    }

    /// Tells whether a PING to this node is on its way.
    pub(super) fn is_pinging(&self, id: NodeId) -> bool {
        self.pinged.contains(&id)
    }

    /// Returns how many STOREs are on their way.
    pub(super) const fn store_count(&self) -> usize {
        self.stores
    }
}
