//! Records kept for others: handed to newcomers, stored again when nobody has for an hour, and dropped by those who are
//! too far from them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::contact::Contact;
use super::super::id::{Distance, NodeId};
use super::super::record::RecordKey;
use super::super::rpc::{RpcReply, StoreRefusal};
use super::calls::Why;
use super::publishing::REPUBLISH_EVERY;
use super::searches::Purpose;
use super::{Node, NodeWrite};
use crate::idle;
use crate::time::Now;

/// How much longer than [`REPUBLISH_EVERY`] a holder waits, on average, before it replicates. Whoever draws the shortest
/// time does it for all (Kademlia paper, 2.5).
const REPLICATION_SPREAD: Duration = Duration::from_secs(600);

/// How soon, on average, the holder nearest to a record replicates it after another holder is found gone.
const REPLACE_HOLDER_AFTER: Duration = Duration::from_secs(60);

/// How many records are replicated at a time; more wait for the next turn.
const MAX_REPLICATIONS: usize = 16;

/// How long replication waits when [`MAX_REPLICATIONS`] run.
const REPLICATION_RETRY: Duration = Duration::from_secs(1);

/// How many newcomers wait to be handed their records; the one that waited longest makes room.
const MAX_HANDOVERS: usize = 256;

/// How many records are considered for newcomers before other work has its turn.
pub(super) const HANDOVER_STEP: usize = 512;

/// How many of the nodes nearest to a newcomer hand it a record: one may be as new itself.
const HANDOVER_GIVERS: usize = 2;

/// How soon, on average, a record is given up that came to a node which is too far from it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// How many of the nodes nearest to a record must keep it before one that is too far from it drops it.
const SURPLUS_WITNESSES: usize = 3;

/// How often expired records are dropped. Nobody is ever answered with one.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// A newcomer, and how far our records have been considered for it.
#[derive(Clone, Copy, Debug)]
struct Handover {
    to: Contact,
    considered: Option<Distance>,
}

/// A record that we are too far from, and what the nodes nearest to it said of theirs so far.
#[derive(Clone, Copy, Debug)]
struct Surplus {
    /// If ours has another by the time they have answered, somebody wants it kept here.
    sequence: u64,
    unfinished: usize,
    is_kept: bool,
}

/// What is to be handed over, replicated, given up and expired.
#[derive(Debug, Default)]
pub(super) struct Replication {
    handovers: VecDeque<Handover>,
    /// When handing over goes on, if it stopped to give other work its turn.
    resume_at: Option<Instant>,
    expire_at: Option<Instant>,
    /// At most one for each STORE on its way.
    surplus: BTreeMap<RecordKey, Surplus>,
    /// Replication waits until then.
    paused_until: Option<Instant>,
}

impl Node {
    /// Remembers to hand a contact that is new, or back, the records that it should keep.
    pub(super) fn hand_over_to(&mut self, to: Contact) {
        self.note_neighbours();
        if self.store.is_empty() {
            return;
        }
        let handovers = &mut self.replication.handovers;
        handovers.retain(|handover| handover.to.id() != to.id());
        if handovers.len() >= MAX_HANDOVERS {
            handovers.pop_front();
            self.stats.dropped_handovers += 1;
        }
        handovers.push_back(Handover { to, considered: None });
    }

    /// Returns the next STORE of a hand-over, considering at most `budget` records.
    ///
    /// None while the own id is being looked up: with half a routing table we would take every newcomer, and ourselves, for one
    /// of the closest to every record.
    pub(super) fn next_handover(&mut self, budget: &mut usize, now: Now) -> Option<(Contact, Why)> {
        if self.searches.is_finding_itself() {
            return None;
        }
        while let Some(handover) = self.replication.handovers.front_mut() {
            let Some((place, record)) = self.store.next_after(handover.considered) else {
                idle::pop(&mut self.replication.handovers);
                continue;
            };
            if *budget == 0 {
                self.replication.resume_at = Some(now.instant);
                return None;
            }
            *budget -= 1;
            handover.considered = Some(place);
            let (to, key) = (handover.to, record.header().key);
            if self.is_ours_to_hand_over(&key.place(), to.id()) {
                return Some((to, Why::Replicate(key)));
            }
        }
        None
    }

    /// Notes that handing over goes on now.
    pub(super) const fn resume_handovers(&mut self) {
        self.replication.resume_at = None;
    }

    /// Begins to replicate and drops what is due.
    pub(super) fn handle_replication_timeout(&mut self, now: Now) {
        if self.replication.expire_at.is_none_or(|at| at <= now.instant) && !self.store.is_empty() {
            self.replication.expire_at = Some(now.instant + EXPIRE_EVERY);
            let time = self.wall_time(now);
            for key in self.store.expire(time) {
                self.writes.push_back(NodeWrite::RecordGone { key });
            }
        }
        if self.replication.paused_until.is_some_and(|at| now.instant < at) {
            return;
        }
        self.replication.paused_until = None;
        while self.store.next_replication().is_some_and(|at| at <= now.instant) {
            if self.searches.replication_count() >= MAX_REPLICATIONS || self.publishing.is_queue_long() {
                self.replication.paused_until = Some(now.instant + REPLICATION_RETRY);
                return;
            }
            self.replicate_next(now);
        }
    }

    pub(super) fn replication_timeout(&self) -> Option<(Instant, &'static str)> {
        let paused = self.replication.paused_until;
        let replicate = self.store.next_replication().map(|at| paused.map_or(at, |paused| at.max(paused)));
        let expire = self.replication.expire_at.filter(|_| !self.store.is_empty());
        [
            replicate.map(|at| (at, "replication")),
            expire.map(|at| (at, "record expiry")),
            self.replication.resume_at.map(|at| (at, "hand-over")),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Stores a record that we keep at the closest nodes that its lookup found.
    pub(super) fn replicate_to(&mut self, key: RecordKey, closest: Vec<Contact>, now: Now) {
        let (targets, _) = self.with_ourselves(&key.place(), closest);
        for contact in targets {
            self.publishing.enqueue(contact, Why::Replicate(key));
        }
        self.pump_stores(now);
    }

    /// Draws when a record is to be replicated that was stored just now, or given up if we are too far from it.
    pub(super) fn replication_turn(&mut self, key: &RecordKey, now: Now) -> Instant {
        if self.is_among_closest(&key.place()) {
            now.instant + REPUBLISH_EVERY + self.jittered(REPLICATION_SPREAD)
        } else {
            now.instant + self.jittered(GIVE_UP_AFTER)
        }
    }

    /// Gives the records up before long that others are nearer to, now that we know our neighbours.
    pub(super) fn review_records(&mut self, now: Now) {
        let mut considered = None;
        while let Some((place, record)) = self.store.next_after(considered) {
            considered = Some(place);
            let key = record.header().key;
            if !self.is_among_closest(&key.place()) {
                let at = now.instant + self.jittered(GIVE_UP_AFTER);
                self.store.hasten_replication(&key, at);
            }
        }
    }

    /// Sees to it that the records which a lost contact kept are soon kept by as many nodes again. Only the holder
    /// nearest to each record does.
    pub(super) fn replace_holder(&mut self, lost: NodeId, now: Now) {
        let mut considered = None;
        while let Some((place, record)) = self.store.next_after(considered) {
            considered = Some(place);
            let key = record.header().key;
            if self.table.is_nearest(&key.place()) && self.is_among_closest_known(&key.place(), lost) {
                let at = now.instant + self.jittered(REPLACE_HOLDER_AFTER);
                self.store.hasten_replication(&key, at);
            }
        }
    }

    fn replicate_next(&mut self, now: Now) {
        let later = now.instant + REPUBLISH_EVERY + self.jittered(REPLICATION_SPREAD);
        let Some(key) = self.store.take_replication(now.instant, later) else { return };
        if !self.is_online() {
            return;
        }
        if self.is_among_closest(&key.place()) {
            self.search(key.place(), Purpose::Replicate(key), now);
        } else {
            self.begin_giving_up(key, now);
        }
    }

    /// Stores a record at those nearest to it, to drop it here if they keep it. Otherwise each node that has ever been among
    /// the closest would keep it until it expires, and answer with it when it is outdated.
    fn begin_giving_up(&mut self, key: RecordKey, now: Now) {
        let time = self.wall_time(now);
        let Some(sequence) = self.store.get(&key, time).map(|record| record.header().sequence) else {
            return;
        };
        let witnesses = self.table.closest(&key.place(), SURPLUS_WITNESSES);
        let surplus = Surplus { sequence, unfinished: witnesses.len(), is_kept: true };
        self.replication.surplus.insert(key, surplus);
        for contact in witnesses {
            self.publishing.enqueue(contact, Why::GiveUp(key));
        }
        self.pump_stores(now);
    }

    /// Takes what one of the nodes nearest to a record said of it, `None` if nothing, and drops ours if all of them
    /// keep it, a newer one, or the one of whoever holds the name.
    pub(super) fn handle_witness(&mut self, key: RecordKey, reply: Option<&RpcReply>, now: Now) {
        let Some(surplus) = self.replication.surplus.get_mut(&key) else { return };
        surplus.unfinished = surplus.unfinished.saturating_sub(1);
        surplus.is_kept &= match reply {
            Some(RpcReply::Stored) => true,
            Some(RpcReply::Refused { reason, .. }) => {
                matches!(reason, StoreRefusal::Older | StoreRefusal::Owned)
            }
            _ => false,
        };
        let Surplus { sequence, unfinished, is_kept } = *surplus;
        if unfinished > 0 {
            return;
        }
        self.replication.surplus.remove(&key);
        let time = self.wall_time(now);
        let is_unchanged = self.store.get(&key, time).is_some_and(|own| own.header().sequence == sequence);
        if is_kept && is_unchanged && !self.is_among_closest(&key.place()) {
            self.store.remove(&key);
            self.writes.push_back(NodeWrite::RecordGone { key });
        }
    }

    /// Returns the nodes beside us that should keep what belongs to `place`, nearest first, and whether we should too.
    #[must_use]
    pub fn holders(&self, place: &NodeId) -> (Vec<Contact>, bool) {
        self.with_ourselves(place, self.table.closest(place, self.config.k))
    }

    /// Tells whether `to` should keep the record at `place` and we are to see to it: both of us are among the k
    /// closest known to it, and of the others fewer than [`HANDOVER_GIVERS`] are nearer to `to` than we are. The
    /// nearest surely know it: it asked them when it joined.
    fn is_ours_to_hand_over(&self, place: &NodeId, to: NodeId) -> bool {
        let (closest, is_ours) = self.with_ourselves(place, self.table.closest(place, self.config.k));
        if !is_ours || !closest.iter().any(|contact| contact.id() == to) {
            return false;
        }
        let own = self.own.distance(&to);
        let others = closest.iter().filter(|contact| contact.id() != to);
        others.filter(|contact| contact.id().distance(&to) < own).count() < HANDOVER_GIVERS
    }

    /// Tells whether fewer than k known live nodes are closer to `place` than `id`.
    pub(super) fn is_among_closest_known(&self, place: &NodeId, id: NodeId) -> bool {
        let distance = id.distance(place);
        let kth = self.table.closest(place, self.config.k).get(self.config.k - 1).copied();
        kth.is_none_or(|kth| distance < kth.id().distance(place))
    }
}
