//! [`Node`]: table, store and lookups as one machine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use super::bucket::{DEFAULT_SOFT_TIMEOUT, Heard, KnownContact, MIN_COLD_TIMEOUT, RoundTrip};
use super::contact::{AddressFamily, Contact, NodeKey, Scope};
use super::id::NodeId;
use super::lookup::LookupOutcome;
use super::record::{Record, RecordError, RecordKey};
use super::rpc::{Rpc, RpcReply, StoreRefusal};
use super::store::{MAX_RECORDS, RecordStore};
use super::table::{DROP_STALE_AFTER, Insertion, RoutingTable};
use super::wall::{WallClock, WallTime};
use crate::idle;
use crate::limits::Limits;
use crate::time::Now;
use calls::{Call, Calls, Patience, Stage, Why};
use claims::Questions;
use publishing::Publishing;
use reach::Reach;
pub use reach::Serve;
use replication::Replication;
use searches::Searches;
use surroundings::Surroundings;
use upkeep::Upkeep;

mod calls;
mod claims;
mod publishing;
mod reach;
mod replication;
mod requests;
mod searches;
#[cfg(test)]
mod sim;
mod surroundings;
#[cfg(test)]
mod tests;
mod upkeep;

/// How long the least recently seen contact of a full bucket may be silent before a newcomer makes us ask whether
/// it is still there.
const OLDEST_CHECK_AFTER: Duration = Duration::from_secs(900);

/// Names a request that a [`Node`] sent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RpcId(pub u64);

/// Names a lookup that a [`Node`] was asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LookupId(pub u64);

/// Names a publication that a [`Node`] was asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublishId(pub u64);

/// What a [`Node`] needs to know beside its key.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// How many contacts a bucket holds and how many nodes keep a record; 1 to [`super::K`].
    pub k: usize,
    /// How many requests a lookup keeps in flight; at least 1. See [`super::ALPHA`].
    pub alpha: usize,
    /// How many disjoint paths a lookup of values takes; at least 1. See [`super::LOOKUP_PATHS`].
    pub paths: usize,
    /// Which addresses the node can send to.
    pub family: AddressFamily,
    /// Whether the node keeps records for others and is listed in their routing tables.
    pub serve: Serve,
}

/// A request to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// To be repeated with the answer or the failure.
    pub id: RpcId,
    /// Whom to ask.
    pub to: Contact,
    /// What to ask.
    pub rpc: Rpc,
}

/// Something to save.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeWrite {
    /// Inserts or replaces a record kept for the DHT.
    Record {
        /// Its key.
        key: RecordKey,
        /// The signed bytes.
        bytes: Vec<u8>,
    },
    /// Drops a record kept for the DHT.
    RecordGone {
        /// Its key.
        key: RecordKey,
    },
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeEvent {
    /// A lookup of a command has ended.
    LookupDone {
        /// As the command returned it.
        id: LookupId,
        /// What it found.
        outcome: LookupOutcome,
    },
    /// A publication has ended: most of the nodes it was sent to keep the record, or all have answered or failed.
    PublishDone {
        /// As the command returned it.
        id: PublishId,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// Others than before may be the closest to what is kept here: a contact has come, or has gone.
    Neighbours,
    /// A contact is known to be alive, after none was.
    Online {
        /// How many there are.
        contact_count: usize,
    },
    /// No contact is known to be alive any more. The node goes on trying those it knew.
    Offline,
}

/// What became of a publication.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PublishOutcome {
    /// How many nodes keep the record, ourselves included.
    pub accepted: usize,
    /// Why the others do not, with the record they keep if it is another owner's.
    pub refused: Vec<(StoreRefusal, Option<Record>)>,
    /// How many did not answer, or not yet.
    pub unanswered: usize,
}

/// Counts of the records that a node refused to keep, by the first rule that they broke.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RefusedRecords {
    /// Too short, too long, of an unknown version or kind, with an unusable key, or with times that do not fit.
    pub malformed: u64,
    /// Under a key that is not its owner's: a user record by somebody else, a claim that is not on the name of its key.
    pub foreign_key: u64,
    /// A claim on what is no user name: forbidden characters, mixed alphabets, not normalized.
    pub bad_name: u64,
    /// With a signature that is not the owner's.
    pub bad_signature: u64,
    /// Expired.
    pub expired: u64,
    /// Numbered or dated too far ahead of the clock.
    pub too_far_ahead: u64,
    /// With a lower sequence than the one that is kept.
    pub older: u64,
    /// On a name that somebody else holds.
    pub owned: u64,
    /// Beyond what the node keeps.
    pub full: u64,
}

impl RefusedRecords {
    /// Returns how many were refused for whatever reason.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self {
            malformed,
            foreign_key,
            bad_name,
            bad_signature,
            expired,
            too_far_ahead,
            older,
            owned,
            full,
        } = *self;
        malformed + foreign_key + bad_name + bad_signature + expired + too_far_ahead + older + owned + full
    }

    pub(super) const fn count_unparsed(&mut self, error: RecordError) {
        let counter = match error {
            RecordError::Key => &mut self.foreign_key,
            RecordError::Name => &mut self.bad_name,
            RecordError::Signature => &mut self.bad_signature,
            RecordError::Length
            | RecordError::Version
            | RecordError::Kind
            | RecordError::Owner
            | RecordError::Times => &mut self.malformed,
        };
        *counter += 1;
    }

    /// Counts a record that was parsed; `is_expired` says which of two reasons made it invalid.
    pub(super) const fn count_parsed(&mut self, reason: StoreRefusal, is_expired: bool) {
        let counter = match reason {
            StoreRefusal::Invalid if is_expired => &mut self.expired,
            StoreRefusal::Invalid => &mut self.too_far_ahead,
            StoreRefusal::Owned => &mut self.owned,
            StoreRefusal::Older => &mut self.older,
            StoreRefusal::Full => &mut self.full,
        };
        *counter += 1;
    }
}

/// Counts of what was refused, and why.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NodeStats {
    /// Reported contacts whose address carries less far than the reporter's, or nowhere.
    pub refused_scope: u64,
    /// Reported contacts at addresses of a family that the node cannot use.
    pub refused_family: u64,
    /// Reported contacts beyond k in one answer.
    pub refused_surplus: u64,
    /// Contacts of a subnet that has enough of them in the table.
    pub refused_diversity: u64,
    /// Records in answers that are malformed, wrongly signed or not what was asked for.
    pub invalid_records: u64,
    /// Records that this node refused to keep, by reason.
    pub refused_records: RefusedRecords,
    /// Claims that this node gave up for another owner's because the other holders named that one.
    pub overruled_claims: u64,
    /// Answers of another kind than the request, or from another node.
    pub wrong_replies: u64,
    /// Requests that were not answered.
    pub failures: u64,
    /// Requests sent, for whatever reason; what the transport repeats counts once.
    pub requests: u64,
    /// Lookups begun, for whatever reason.
    pub lookups: u64,
    /// Lookups that ended, for whatever reason.
    pub lookups_ended: u64,
    /// The sum of their [`LookupOutcome::hops`].
    pub lookup_hops: u64,
    /// Contacts whose hand-over was given up because too many waited; hourly replication makes up for it.
    pub dropped_handovers: u64,
}

/// One participant of the DHT, without socket and clock.
///
/// After any call that takes `&mut self`, drain [`Self::poll_rpc`], [`Self::poll_write`] and [`Self::poll_event`],
/// then ask [`Self::poll_timeout`]. Every request that `poll_rpc` yields is to be answered with
/// [`Self::handle_reply`] or [`Self::handle_failure`]; what never is counts as failed after a while.
#[derive(Debug)]
pub struct Node {
    own: NodeId,
    config: NodeConfig,
    rng: ChaCha20Rng,
    wall: WallClock,
    table: RoutingTable,
    store: RecordStore,
    calls: Calls,
    /// What a request takes, over all contacts.
    typical_round_trip: RoundTrip,
    searches: Searches,
    publishing: Publishing,
    replication: Replication,
    questions: Questions,
    upkeep: Upkeep,
    surroundings: Surroundings,
    reach: Reach,
    writes: VecDeque<NodeWrite>,
    events: VecDeque<NodeEvent>,
    stats: NodeStats,
}

impl Node {
    /// Makes a node that knows nobody; `rng` is to be seeded from a secure source.
    #[must_use]
    pub fn new(own: NodeKey, config: NodeConfig, rng: ChaCha20Rng, now: Now) -> Self {
        let own = own.node_id();
        let config = NodeConfig { k: config.k.clamp(1, super::K), alpha: config.alpha.max(1), ..config };
        Self {
            own,
            config,
            rng,
            wall: WallClock::new(now),
            table: RoutingTable::new(own, config.k),
            store: RecordStore::new(own, MAX_RECORDS),
            calls: Calls::default(),
            typical_round_trip: RoundTrip::default(),
            searches: Searches::default(),
            publishing: Publishing::default(),
            replication: Replication::default(),
            questions: Questions::default(),
            upkeep: Upkeep::new(now.instant),
            surroundings: Surroundings::default(),
            reach: Reach::default(),
            writes: VecDeque::new(),
            events: VecDeque::new(),
            stats: NodeStats::default(),
        }
    }

    /// Keeps to these limits instead of the usual ones; to be called before [`Self::restore`].
    pub fn set_limits(&mut self, limits: &Limits) {
        self.store.set_limit(limits.records);
    }

    /// Notes that a record was not looked at because too much waits for the disk.
    pub(crate) const fn note_no_room(&mut self) {
        self.stats.refused_records.full += 1;
    }

    /// Takes back what was saved. The contacts are asked whether they are there, some at a time and again until one
    /// is; the own id is looked up once one answers. Records are checked again; those that may go are forgotten.
    pub fn restore(&mut self, contacts: &[Contact], records: &[Vec<u8>], now: Now) {
        for bytes in records {
            self.restore_record(bytes, now);
        }
        self.note_joining(contacts);
        self.remember(contacts.iter().copied());
        self.try_rejoin(now);
    }

    /// Takes the answer to a request; `from.address()` is where it came from, `round_trip` how long it took, if that is
    /// known.
    pub fn handle_reply(
        &mut self,
        id: RpcId,
        from: Contact,
        reply: RpcReply,
        round_trip: Option<Duration>,
        now: Now,
    ) {
        let Some(call) = self.calls.take(id) else { return self.handle_alive(from, now) };
        if call.to.id() != from.id() || !self.is_answer(call.why, &reply) {
            self.stats.wrong_replies += 1;
            return self.fail(&call, now);
        }
        self.handle_touched(&from, now);
        self.heard(from, now);
        if let Some(round_trip) = round_trip {
            self.table.handle_round_trip(from.id(), round_trip);
            self.typical_round_trip.measured(round_trip);
        }
        match call.why {
            Why::Check | Why::Rejoin => self.ping_answered(call.why, now),
            Why::Lookup(lookup) => self.search_answered(lookup, &from, reply, now),
            Why::Publish(publish) => self.publication_answered(publish, reply),
            Why::GiveUp(key) => self.handle_witness(key, Some(&reply), now),
            Why::Question(key) => self.question_answered(key, reply, now),
            Why::Replicate(_) | Why::Reach => {}
        }
        self.pump_stores(now);
    }

    /// Notes that a request was not answered, or with something that is no answer.
    pub fn handle_failure(&mut self, id: RpcId, now: Now) {
        if let Some(call) = self.calls.take(id) {
            self.fail(&call, now);
        }
    }

    /// Notes that authenticated traffic came from a contact at its proven address. It enters the routing table if it
    /// has said that it serves.
    pub fn handle_alive(&mut self, from: Contact, now: Now) {
        let has_said = self.take_unproven_server(from.id());
        self.handle_proven(from, has_said.then_some(true), now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(passed) = self.calls.pass_deadline(now.instant) {
            match (passed.stage, passed.why) {
                (Stage::Overdue, _) => self.handle_failure(passed.id, now),
                (stage, Why::Lookup(lookup)) => self.search_delayed(lookup, passed.to, stage, now),
                (Stage::Fresh | Stage::Slow, _) => {}
            }
        }
        self.handle_upkeep_timeout(now);
        self.handle_reach_timeout(now);
        self.handle_publishing_timeout(now);
        self.handle_replication_timeout(now);
        self.pump_stores(now);
    }

    /// Returns the next request to send.
    #[must_use]
    pub fn poll_rpc(&mut self, _now: Now) -> Option<Outgoing> {
        self.calls.poll_outgoing()
    }

    /// Returns the next thing to save.
    #[must_use]
    pub fn poll_write(&mut self) -> Option<NodeWrite> {
        idle::pop(&mut self.writes)
    }

    /// Returns the next thing that happened.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        idle::pop(&mut self.events)
    }

    /// Returns when [`Self::handle_timeout`] is next due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        [
            self.calls.next_deadline().map(|at| (at, "DHT request")),
            self.table.next_refresh().map(|(at, _)| (at, "bucket refresh")),
            self.upkeep_timeout(),
            self.reach_timeout(),
            self.publishing.next_due().map(|at| (at, "republish")),
            self.replication_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the node's own id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.own
    }

    /// Returns the live contacts closest to `target`, nearest first, at most `count`.
    #[must_use]
    pub fn closest(&self, target: &NodeId, count: usize) -> Vec<Contact> {
        self.table.closest(target, count)
    }

    /// Returns the record kept under a key unless it has expired.
    pub fn record(&mut self, key: &RecordKey, now: Now) -> Option<&Record> {
        let time = self.wall_time(now);
        self.store.get(key, time)
    }

    /// Tells whether the node serves and fewer than k and `slack` known live nodes are closer to `place`.
    #[must_use]
    pub fn is_holder(&self, place: &NodeId, slack: usize) -> bool {
        let own = self.own.distance(place);
        let is_closer = |contact: &Contact| contact.id().distance(place) < own;
        let count = self.config.k + slack;
        self.is_serving() && !self.table.closest(place, count).get(count - 1).is_some_and(is_closer)
    }

    /// Returns how many live contacts the table holds.
    #[must_use]
    pub fn contact_count(&self) -> usize {
        self.table.iter().filter(|known| known.is_live()).count()
    }

    /// Returns how many records the node keeps.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.store.len()
    }

    /// Tells whether a contact is known to be alive.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.upkeep.is_online()
    }

    /// Returns the contacts to save, those most likely to answer after a restart first.
    #[must_use]
    pub fn contacts_to_save(&self) -> Vec<Contact> {
        let mut contacts = self.table.ranked();
        contacts.extend(self.upkeep.remembered().filter(|contact| self.table.get(contact.id()).is_none()));
        contacts
    }

    /// Returns counts of what was refused, and why.
    #[must_use]
    pub const fn stats(&self) -> &NodeStats {
        &self.stats
    }

    /// Takes that something came from a contact's proven address. `serves` is what it says of itself, if it does;
    /// a node that does not say so is noted only if it is known.
    fn handle_proven(&mut self, from: Contact, serves: Option<bool>, now: Now) {
        self.touch_caller(&from, now);
        if serves.unwrap_or_else(|| self.table.get(from.id()).is_some()) {
            self.heard(from, now);
        }
        self.pump_stores(now);
    }

    /// Takes a contact that was heard from its address, proven.
    fn heard(&mut self, contact: Contact, now: Now) {
        if Scope::of(&contact.address()).is_none() || !self.config.family.admits(&contact.address()) {
            return;
        }
        match self.table.handle_alive(contact, now.instant) {
            Insertion::Own => return,
            Insertion::Crowded => {
                self.stats.refused_diversity += 1;
                return;
            }
            Insertion::Bucket(Heard::Refreshed) => {}
            Insertion::Bucket(Heard::Added) => {
                self.hand_over_to(contact);
                self.publish_to_more(now);
            }
            Insertion::Bucket(Heard::Revived) => {
                self.hand_over_to(contact);
                self.upkeep.handle_revived(now.instant);
            }
            Insertion::Bucket(Heard::Waiting) => self.check_oldest(contact.id(), now),
        }
        self.come_online(now);
    }

    /// Asks the least recently seen contact of a full bucket whether it is there (Kademlia paper, 2.2).
    fn check_oldest(&mut self, newcomer: NodeId, now: Now) {
        let Some(oldest) = self.table.oldest_beside(newcomer) else { return };
        if now.instant.saturating_duration_since(oldest.last_seen()) >= OLDEST_CHECK_AFTER {
            let oldest = *oldest.contact();
            self.ping(oldest, Why::Check, now);
        }
    }

    /// Tells the table and whoever waits for it that a request has failed.
    fn fail(&mut self, call: &Call, now: Now) {
        self.stats.failures += 1;
        let effect = self.table.handle_failure(call.to.id(), now.instant);
        if let Some(promoted) = effect.promoted {
            self.hand_over_to(promoted);
        }
        if effect.has_gone_stale {
            self.replace_holder(call.to.id(), now);
            self.note_neighbours();
        }
        if self.table.get(call.to.id()).is_some_and(KnownContact::is_suspect) {
            self.upkeep.handle_suspect(now.instant);
        }
        self.drop_if_long_gone(call.to.id(), now.instant);
        self.go_offline_if_alone(now);
        match call.why {
            Why::Check | Why::Reach => {}
            Why::Rejoin => self.rejoin_failed(now),
            Why::Lookup(lookup) => self.search_failed(lookup, call.to.id(), now),
            Why::Publish(publish) => self.publication_unanswered(publish),
            Why::GiveUp(key) => self.handle_witness(key, None, now),
            Why::Question(key) => self.question_finished(key),
            Why::Replicate(_) => {}
        }
        self.pump_stores(now);
    }

    /// Tells that a contact has come or gone, once until that is taken.
    fn note_neighbours(&mut self) {
        if self.events.back() != Some(&NodeEvent::Neighbours) {
            self.events.push_back(NodeEvent::Neighbours);
        }
    }

    fn drop_if_long_gone(&mut self, id: NodeId, now: Instant) {
        let is_long_gone = |known: &KnownContact| {
            !known.is_live() && now.saturating_duration_since(known.last_seen()) >= DROP_STALE_AFTER
        };
        if self.is_online() && self.table.get(id).is_some_and(is_long_gone) {
            self.table.remove(id);
        }
    }

    /// Sends a request.
    fn call(&mut self, to: Contact, rpc: Rpc, why: Why, now: Now) {
        self.touch_callee(&to, now);
        self.stats.requests += 1;
        let typical = self.typical_round_trip.soft_timeout().clamp(MIN_COLD_TIMEOUT, DEFAULT_SOFT_TIMEOUT);
        let known = self.table.get(to.id()).and_then(KnownContact::measured_timeout);
        self.calls.send(to, rpc, why, Patience::new(known, typical), now.instant);
    }

    /// Sends a PING unless one is on its way; `true` if it was sent.
    fn ping(&mut self, to: Contact, why: Why, now: Now) -> bool {
        let is_new = !self.calls.is_pinging(to.id());
        if is_new {
            self.call(to, Rpc::Ping, why, now);
        }
        is_new
    }

    fn is_answer(&self, why: Why, reply: &RpcReply) -> bool {
        match why {
            Why::Check | Why::Rejoin | Why::Reach => matches!(reply, RpcReply::Pong),
            Why::Lookup(lookup) => match reply {
                RpcReply::Nodes(_) => true,
                RpcReply::Value(_) => self.searches.takes_values(lookup),
                _ => false,
            },
            Why::Question(_) => matches!(reply, RpcReply::Nodes(_) | RpcReply::Value(_)),
            Why::Publish(_) | Why::Replicate(_) | Why::GiveUp(_) => {
                matches!(reply, RpcReply::Stored | RpcReply::Refused { .. })
            }
        }
    }

    /// Draws a duration between half of `mean` and one and a half of it.
    fn jittered(&mut self, mean: Duration) -> Duration {
        mean / 2 + mean.mul_f64(self.rng.random::<f64>())
    }

    fn wall_time(&mut self, now: Now) -> WallTime {
        self.wall.read(now)
    }
}

/// Tells whether a node at `ours` may be told of, or believe in, a contact at `theirs`: an address must carry at
/// least as far as the one it is told from or to, or a stranger on the internet could point us into a LAN.
fn is_in_scope(theirs: &Contact, ours: &Contact) -> bool {
    match (Scope::of(&theirs.address()), Scope::of(&ours.address())) {
        (Some(theirs), Some(ours)) => theirs >= ours,
        _ => false,
    }
}
