//! Records of our own: stored at the k closest nodes, and again every hour.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::contact::Contact;
use super::super::record::{Record, RecordKey};
use super::super::rpc::{Rpc, RpcReply};
use super::super::store::{self, Put};
use super::calls::Why;
use super::replication::HANDOVER_STEP;
use super::searches::Purpose;
use super::{Node, NodeEvent, NodeId, PublishId, PublishOutcome};
use crate::idle;
use crate::time::Now;

/// How often a record of our own is stored again; less by up to [`REPUBLISH_JITTER`]. Holders replicate what nobody
/// stored for longer than this, so that an owner who is there spares them the work.
pub(super) const REPUBLISH_EVERY: Duration = Duration::from_secs(3600);

/// How much earlier a record of our own may be stored again.
const REPUBLISH_JITTER: Duration = Duration::from_secs(300);

/// How many STOREs are on their way at a time; more wait.
pub(super) const MAX_STORES_IN_FLIGHT: usize = 64;

/// How soon a record is stored again that went to fewer than k nodes, because the node did not know more of a network that
/// was just beginning: each time it knows twice as many, and once it knows k.
const REPUBLISH_SOON: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct OwnRecord {
    record: Record,
    republish_at: Instant,
    /// To how many nodes it went the last time, or how many were known when it was put off for too few.
    went_to: usize,
}

#[derive(Debug)]
struct Publication {
    record: Record,
    outcome: PublishOutcome,
    /// Nodes that have neither answered nor failed.
    unfinished: usize,
    /// A command waits for the outcome, which was not told yet.
    is_awaited: bool,
}

impl Publication {
    /// Tells whether no answer that is still to come can change that most of the nodes keep the record.
    fn is_settled(&self) -> bool {
        let PublishOutcome { accepted, refused, unanswered } = &self.outcome;
        2 * accepted > accepted + refused.len() + unanswered + self.unfinished
    }
}

/// The records of our own, and the publications that run.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    next_id: u64,
    own: BTreeMap<RecordKey, OwnRecord>,
    running: BTreeMap<PublishId, Publication>,
    /// Those of [`Self::running`] that begin when the own id has been looked up.
    waiting: Vec<PublishId>,
    /// All others are to be stored again as well then.
    is_again_due: bool,
    /// STOREs that wait for others to end. As long as our own publications and [`super::replication`] make it.
    queue: VecDeque<(Contact, Why)>,
}

impl Publishing {
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.own.values().map(|own| own.republish_at).min()
    }

    /// Tells whether so many STOREs wait that replication had better wait as well.
    pub(super) fn is_queue_long(&self) -> bool {
        self.queue.len() >= 8 * MAX_STORES_IN_FLIGHT
    }

    pub(super) fn enqueue(&mut self, to: Contact, why: Why) {
        self.queue.push_back((to, why));
    }
}

impl Node {
    /// Stores a record at the k nodes closest to its key, ourselves included if we are one of them, now, whenever we
    /// have joined, and every hour until another record of the same key is published, it is withdrawn or it expires.
    pub fn publish(&mut self, record: Record, now: Now) -> PublishId {
        let republish_at = self.republish_turn(now);
        self.publishing.own.insert(
            record.header().key,
            OwnRecord { record: record.clone(), republish_at, went_to: usize::MAX },
        );
        self.begin_publication(record, true, now)
    }

    /// Stops storing a record of our own again. Those who keep it drop it when it expires.
    pub fn withdraw(&mut self, key: RecordKey) {
        self.publishing.own.remove(&key);
    }

    /// Stores every record of our own, now that we know our neighbours; `is_again` says whether also those that were
    /// stored before.
    pub(super) fn publish_all(&mut self, is_again: bool, now: Now) {
        self.publishing.is_again_due |= is_again;
        if self.is_finding_neighbours() {
            return;
        }
        let is_again = std::mem::take(&mut self.publishing.is_again_due);
        let Publishing { own, running, waiting, .. } = &mut self.publishing;
        let first: Vec<_> = std::mem::take(waiting)
            .into_iter()
            .filter_map(|id| Some((id, running.get(&id)?.record.header().key)))
            .collect();
        if is_again {
            let is_first = |key: &RecordKey| first.iter().any(|(_, other)| other == key);
            for (_, own) in own.iter_mut().filter(|(key, _)| !is_first(key)) {
                own.republish_at = now.instant;
            }
        }
        for (id, key) in first {
            self.search(key.place(), Purpose::Publish(id), now);
        }
        self.handle_publishing_timeout(now);
    }

    /// Stores soon again what went to few nodes, now that many more are known: who joins at the same moment as many others has
    /// found hardly any of those that should keep it.
    pub(super) fn publish_to_more(&mut self, now: Now) {
        let (k, count) = (self.config.k, self.contact_count());
        for own in self.publishing.own.values_mut() {
            if own.went_to < k && (count >= k || count >= 2 * own.went_to.max(1)) {
                own.went_to = count;
                own.republish_at = own.republish_at.min(now.instant + REPUBLISH_SOON);
            }
        }
    }

    /// Stores again what is due.
    pub(super) fn handle_publishing_timeout(&mut self, now: Now) {
        let is_due = |own: &&OwnRecord| own.republish_at <= now.instant;
        let due: Vec<_> = self.publishing.own.values().filter(is_due).map(|own| own.record.clone()).collect();
        for record in due {
            let (key, time) = (record.header().key, self.wall_time(now));
            if !store::is_alive(&record, time) {
                self.publishing.own.remove(&key);
                continue;
            }
            let republish_at = self.republish_turn(now);
            if let Some(own) = self.publishing.own.get_mut(&key) {
                own.republish_at = republish_at;
            }
            self.begin_publication(record, false, now);
        }
    }

    /// Stores a record at the closest nodes that its lookup found.
    pub(super) fn publish_to(&mut self, id: PublishId, closest: Vec<Contact>, now: Now) {
        let Some(publication) = self.publishing.running.get(&id) else { return };
        let record = publication.record.clone();
        let place = record.header().key.place();
        let (targets, is_own) = self.with_ourselves(&place, closest);
        if let Some(own) = self.publishing.own.get_mut(&record.header().key) {
            own.went_to = targets.len();
        }
        let own_put = is_own.then(|| self.keep(&record, now));
        let Some(publication) = self.publishing.running.get_mut(&id) else { return };
        match own_put {
            Some(Put::Refused { reason, incumbent }) => publication.outcome.refused.push((reason, incumbent)),
            Some(Put::Kept { .. } | Put::Unchanged) => publication.outcome.accepted += 1,
            None => {}
        }
        publication.unfinished = targets.len();
        for contact in targets {
            self.publishing.enqueue(contact, Why::Publish(id));
        }
        self.end_publication(id);
        self.pump_stores(now);
    }

    /// Takes the answer to a STORE of a publication.
    pub(super) fn publication_answered(&mut self, id: PublishId, reply: RpcReply) {
        let Some(publication) = self.publishing.running.get_mut(&id) else { return };
        publication.unfinished = publication.unfinished.saturating_sub(1);
        if let RpcReply::Refused { reason, incumbent } = reply {
            let key = publication.record.header().key;
            let incumbent = incumbent.and_then(|bytes| Record::parse(&bytes).ok());
            let incumbent = incumbent.filter(|incumbent| incumbent.header().key == key);
            publication.outcome.refused.push((reason, incumbent));
        } else {
            publication.outcome.accepted += 1;
        }
        self.end_publication(id);
    }

    /// Notes that a STORE of a publication was not answered.
    pub(super) fn publication_unanswered(&mut self, id: PublishId) {
        let Some(publication) = self.publishing.running.get_mut(&id) else { return };
        publication.unfinished = publication.unfinished.saturating_sub(1);
        publication.outcome.unanswered += 1;
        self.end_publication(id);
    }

    /// Sends STOREs that wait, as many as may be on their way: our own first, then hand-overs.
    pub(super) fn pump_stores(&mut self, now: Now) {
        self.resume_handovers();
        let mut budget = HANDOVER_STEP;
        while self.calls.store_count() < MAX_STORES_IN_FLIGHT {
            let queued = idle::pop(&mut self.publishing.queue);
            let Some((to, why)) = queued.or_else(|| self.next_handover(&mut budget, now)) else { return };
            match (self.bytes_to_store(why, now), why) {
                (Some(record), _) => self.call(to, Rpc::Store { record }, why, now),
                (None, Why::GiveUp(key)) => self.handle_witness(key, None, now),
                (None, _) => {}
            }
        }
    }

    /// Returns the first k of the closest nodes and ourselves if we serve, and whether we are among them.
    pub(super) fn with_ourselves(&self, place: &NodeId, mut closest: Vec<Contact>) -> (Vec<Contact>, bool) {
        let own = self.own.distance(place);
        let rank = closest.partition_point(|contact| contact.id().distance(place) < own);
        let is_among = rank < self.config.k && self.is_serving();
        closest.truncate(self.config.k - usize::from(is_among));
        (closest, is_among)
    }

    /// Tells whether the own id is being looked up and more than a dead seed is asked.
    fn is_finding_neighbours(&self) -> bool {
        self.searches.is_finding_itself() && (!self.is_online() || self.searches.is_hearing_of_itself())
    }

    /// Looks for the nodes to store a record at. While the own id is being looked up this waits: with half a routing
    /// table it would find others than the closest, and all would have to be stored again.
    fn begin_publication(&mut self, record: Record, is_awaited: bool, now: Now) -> PublishId {
        let id = PublishId(self.publishing.next_id);
        self.publishing.next_id += 1;
        let place = record.header().key.place();
        let publication =
            Publication { record, outcome: PublishOutcome::default(), unfinished: 0, is_awaited };
        self.publishing.running.insert(id, publication);
        if self.is_finding_neighbours() {
            self.publishing.waiting.push(id);
        } else {
            self.search(place, Purpose::Publish(id), now);
        }
        id
    }

    /// Tells how a publication went once that is certain, and forgets it once nobody is waited for.
    fn end_publication(&mut self, id: PublishId) {
        let Some(publication) = self.publishing.running.get_mut(&id) else { return };
        let unfinished = publication.unfinished;
        if publication.is_awaited && (unfinished == 0 || publication.is_settled()) {
            publication.is_awaited = false;
            let mut outcome = publication.outcome.clone();
            outcome.unanswered += unfinished;
            self.events.push_back(NodeEvent::PublishDone { id, outcome });
        }
        if unfinished == 0 {
            idle::remove(&mut self.publishing.running, &id);
        }
    }

    fn bytes_to_store(&mut self, why: Why, now: Now) -> Option<Vec<u8>> {
        let time = self.wall_time(now);
        let record = match why {
            Why::Publish(id) => Some(&self.publishing.running.get(&id)?.record),
            Why::Replicate(key) | Why::GiveUp(key) => self.store.get(&key, time),
            Why::Check | Why::Rejoin | Why::Lookup(_) | Why::Question(_) | Why::Reach => None,
        };
        record.map(|record| record.as_bytes().to_vec())
    }

    fn republish_turn(&mut self, now: Now) -> Instant {
        now.instant + REPUBLISH_EVERY - self.jittered(REPUBLISH_JITTER * 2 / 3)
    }
}
