//! [`RecordStore`]: the records that a node keeps for the DHT.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::id::{Distance, NodeId};
use super::record::{MAX_RECORD_AHEAD, Record, RecordKey, RecordKind};
use super::rpc::StoreRefusal;
use super::wall::WallTime;
use crate::identity::PublicKey;
use crate::limits::entry;
use crate::time::Timestamp;

/// How many records a node keeps. A full store drops the one farthest from its own id for a nearer one, and
/// refuses what is farther than all.
pub const MAX_RECORDS: usize = 16_384;

/// How long after the newest issue time seen from its owner a claimed name is kept from everyone else.
pub const CLAIM_HOLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a claim must have been kept, as the only one that came, for this node to remember whose the name is. By then
/// every other holder has had its turn to replicate another one, twice.
pub const CLAIM_REMEMBERED_AFTER: Duration = Duration::from_secs(2 * 3600);

/// What [`RecordStore::put`] did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Put {
    /// The very same record was there.
    Unchanged,
    /// The record is new, or newer than what was there.
    Kept {
        /// The record that made room.
        dropped: Option<RecordKey>,
    },
    /// The record is not kept.
    Refused {
        /// Why.
        reason: StoreRefusal,
        /// The record of the key's owner, if [`StoreRefusal::Owned`].
        incumbent: Option<Record>,
    },
}

impl Put {
    const fn refused(reason: StoreRefusal) -> Self {
        Self::Refused { reason, incumbent: None }
    }
}

#[derive(Clone, Debug)]
struct Kept {
    record: Record,
    /// Of all records seen from the owner under this key.
    newest_issued_ms: u64,
    /// From when on the node remembers itself that the key is this owner's.
    remembered_from: Timestamp,
    /// When the node replicates the record unless somebody stores it before.
    replicate_at: Instant,
}

impl Kept {
    fn new(record: Record, time: WallTime, replicate_at: Instant) -> Self {
        let remembered_from = time.steady.saturating_add(CLAIM_REMEMBERED_AFTER);
        Self { newest_issued_ms: record.header().issued.unix_ms(), record, remembered_from, replicate_at }
    }

    /// A claim outlives its expiry here, so that nobody else takes the name.
    fn is_needed(&self, time: WallTime) -> bool {
        is_alive(&self.record, time) || self.holds_name(time)
    }

    fn holds_name(&self, time: WallTime) -> bool {
        let hold_ms = u64::try_from(CLAIM_HOLD.as_millis()).unwrap_or(u64::MAX);
        self.record.header().kind == RecordKind::Claim
            && time.steady.unix_ms() < self.newest_issued_ms.saturating_add(hold_ms)
    }
}

/// What a record takes of memory at most: its bytes, what is known about it, and its places in two trees.
pub(crate) const RECORD_COST: usize = super::MAX_RECORD_LEN
    + size_of::<Kept>()
    + entry::<Distance, Box<Kept>>()
    + entry::<(Instant, Distance), ()>();

/// The records that a node keeps for the DHT, nearest to its own id first.
///
/// Every record in it was parsed, so its signature is its owner's.
#[derive(Clone, Debug)]
pub struct RecordStore {
    own: NodeId,
    limit: usize,
    /// By distance from `own`, which names a key as well as the key itself does. Boxed: a leaf of the tree keeps room for
    /// eleven.
    kept: BTreeMap<Distance, Box<Kept>>,
    /// When to replicate what, by the first bytes of its distance, of which no two at one time are alike: the whole distance
    /// would take twice the memory.
    schedule: BTreeSet<(Instant, u64)>,
}

impl RecordStore {
    /// Makes an empty store for the node `own` that keeps at most `limit` records; see [`MAX_RECORDS`].
    #[must_use]
    pub const fn new(own: NodeId, limit: usize) -> Self {
        Self { own, limit, kept: BTreeMap::new(), schedule: BTreeSet::new() }
    }

    /// Keeps at most `limit` records from now on; of those that are kept already none goes before another comes.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes a record that somebody wants kept, to be replicated at `replicate_at`.
    pub fn put(&mut self, record: Record, time: WallTime, replicate_at: Instant) -> Put {
        if !is_alive(&record, time) || is_too_far_ahead(&record, time) {
            return Put::refused(StoreRefusal::Invalid);
        }
        let key = record.header().key;
        let put = self.accept(record, time, replicate_at);
        if !matches!(put, Put::Refused { .. }) {
            self.reschedule(&key, replicate_at);
        }
        put
    }

    /// Takes back a record that was kept before a restart; unlike [`Self::put`] also an expired claim that still
    /// holds its name.
    pub fn restore(&mut self, record: Record, time: WallTime, replicate_at: Instant) -> Put {
        let kept = Kept::new(record, time, replicate_at);
        if !kept.is_needed(time) {
            return Put::refused(StoreRefusal::Invalid);
        }
        self.accept(kept.record, time, replicate_at)
    }

    /// Notes that somebody stored this very record again; `false` if it is not kept.
    pub fn confirm(&mut self, bytes: &[u8], time: WallTime, replicate_at: Instant) -> bool {
        let Some(key) = Record::key_of(bytes) else { return false };
        let is_kept = self.get(&key, time).is_some_and(|record| record.as_bytes() == bytes);
        if is_kept {
            self.reschedule(&key, replicate_at);
        }
        is_kept
    }

    /// Returns the record under a key unless it has expired.
    #[must_use]
    pub fn get(&self, key: &RecordKey, time: WallTime) -> Option<&Record> {
        let kept = self.kept.get(&self.own.distance(&key.place()))?;
        Some(&kept.record).filter(|record| is_alive(record, time))
    }

    /// Returns whose record is kept under a key, also when it has expired.
    #[must_use]
    pub fn owner(&self, key: &RecordKey) -> Option<PublicKey> {
        Some(self.kept.get(&self.own.distance(&key.place()))?.record.header().owner)
    }

    /// Tells whether the node has kept the owner's records long enough to know itself that the key is theirs.
    #[must_use]
    pub fn remembers(&self, key: &RecordKey, time: WallTime) -> bool {
        let kept = self.kept.get(&self.own.distance(&key.place()));
        kept.is_some_and(|kept| kept.remembered_from <= time.steady)
    }

    /// Notes that others agree whose a key is: from now on the node remembers it.
    pub fn remember(&mut self, key: &RecordKey) {
        if let Some(kept) = self.kept.get_mut(&self.own.distance(&key.place())) {
            kept.remembered_from = Timestamp::from_unix_ms(0);
        }
    }

    /// Replaces a record by that of another owner, whatever the rules between owners say; does nothing if none is kept.
    pub fn overrule(&mut self, record: Record) {
        if let Some(kept) = self.kept.get_mut(&self.own.distance(&record.header().key.place())) {
            kept.newest_issued_ms = record.header().issued.unix_ms();
            kept.record = record;
        }
    }

    /// Returns the record next in distance from our id after the one at `after`, expired or not, and its place.
    #[must_use]
    pub fn next_after(&self, after: Option<Distance>) -> Option<(Distance, &Record)> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let (distance, kept) = self.kept.range((from, std::ops::Bound::Unbounded)).next()?;
        Some((*distance, &kept.record))
    }

    /// Returns when the next record is to be replicated.
    #[must_use]
    pub fn next_replication(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// Returns the key of a record that is to be replicated by now, and puts its next turn at `next_at`.
    pub fn take_replication(&mut self, now: Instant, next_at: Instant) -> Option<RecordKey> {
        let (at, start) = *self.schedule.first().filter(|(at, _)| *at <= now)?;
        let alike = self.kept.range(Distance::first_with(start)..);
        let mut alike = alike.take_while(|(place, _)| place.start() == start);
        let Some((_, kept)) = alike.find(|(_, kept)| kept.replicate_at == at) else {
            self.schedule.remove(&(at, start));
            return None;
        };
        let key = kept.record.header().key;
        self.reschedule(&key, next_at);
        Some(key)
    }

    /// Brings the replication of a record forward to `at`.
    pub fn hasten_replication(&mut self, key: &RecordKey, at: Instant) {
        let current = self.kept.get(&self.own.distance(&key.place())).map(|kept| kept.replicate_at);
        if current.is_some_and(|current| at < current) {
            self.reschedule(key, at);
        }
    }

    /// Drops the record under a key.
    pub fn remove(&mut self, key: &RecordKey) {
        self.remove_at(self.own.distance(&key.place()));
    }

    /// Drops what has expired and holds no name, and returns the keys.
    pub fn expire(&mut self, time: WallTime) -> Vec<RecordKey> {
        let gone = self.kept.values().filter(|kept| !kept.is_needed(time));
        let gone: Vec<_> = gone.map(|kept| kept.record.header().key).collect();
        for key in &gone {
            self.remove(key);
        }
        gone
    }

    /// Returns how many records are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Tells whether no record is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Applies the rules between a record and the one that is there.
    fn accept(&mut self, record: Record, time: WallTime, replicate_at: Instant) -> Put {
        let header = record.header();
        let place = self.own.distance(&header.key.place());
        let issued_ms = header.issued.unix_ms();
        let Some(kept) = self.kept.get_mut(&place) else {
            return self.insert_new(place, Kept::new(record, time, replicate_at));
        };
        let incumbent = kept.record.header();
        if header.owner != incumbent.owner {
            if kept.is_needed(time) {
                let incumbent = Some(kept.record.clone());
                return Put::Refused { reason: StoreRefusal::Owned, incumbent };
            }
            kept.newest_issued_ms = issued_ms;
            kept.remembered_from = time.steady.saturating_add(CLAIM_REMEMBERED_AFTER);
        } else if header.sequence < incumbent.sequence {
            return Put::refused(StoreRefusal::Older);
        } else if header.sequence == incumbent.sequence {
            // Two records of one number: whichever came first stays.
            return if record == kept.record { Put::Unchanged } else { Put::refused(StoreRefusal::Older) };
        }
        kept.newest_issued_ms = kept.newest_issued_ms.max(issued_ms);
        kept.record = record;
        Put::Kept { dropped: None }
    }

    fn insert_new(&mut self, place: Distance, kept: Kept) -> Put {
        let mut dropped = None;
        if self.kept.len() >= self.limit {
            match self.kept.last_key_value() {
                Some((&farthest, other)) if farthest > place => {
                    dropped = Some(other.record.header().key);
                    self.remove_at(farthest);
                }
                _ => return Put::refused(StoreRefusal::Full),
            }
        }
        let replicate_at = schedule(&mut self.schedule, kept.replicate_at, place);
        self.kept.insert(place, Box::new(Kept { replicate_at, ..kept }));
        Put::Kept { dropped }
    }

    fn reschedule(&mut self, key: &RecordKey, at: Instant) {
        let place = self.own.distance(&key.place());
        let Some(kept) = self.kept.get_mut(&place) else { return };
        self.schedule.remove(&(kept.replicate_at, place.start()));
        kept.replicate_at = schedule(&mut self.schedule, at, place);
    }

    fn remove_at(&mut self, place: Distance) {
        if let Some(kept) = self.kept.remove(&place) {
            self.schedule.remove(&(kept.replicate_at, place.start()));
        }
    }
}

/// Tells whether a record has not expired.
pub(super) fn is_alive(record: &Record, time: WallTime) -> bool {
    time.steady < record.header().expires
}

/// Tells whether a record is numbered or dated more than [`MAX_RECORD_AHEAD`] ahead of the clock: a number far
/// ahead would lock its key for everyone who numbers by the time.
fn is_too_far_ahead(record: &Record, time: WallTime) -> bool {
    let limit = time.shown.saturating_add(MAX_RECORD_AHEAD);
    record.header().issued > limit || record.header().sequence > limit.unix_ms()
}

/// Puts a record into the schedule, a nanosecond later than `at` for each that cannot be told from it then; returns when.
fn schedule(schedule: &mut BTreeSet<(Instant, u64)>, mut at: Instant, place: Distance) -> Instant {
    while !schedule.insert((at, place.start())) {
        at += Duration::from_nanos(1);
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::{SecretKey, UserId};
    use crate::kademlia::{RecordHeader, StoreRefusal};

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const START: Timestamp = Timestamp::from_unix_ms(1_000_000_000_000);

    fn at(wall: Timestamp) -> WallTime {
        WallTime { shown: wall, steady: wall }
    }

    fn record(owner: u8, kind: RecordKind, sequence: u64, issued: Timestamp) -> Record {
        let secret = SecretKey::from_bytes(&[owner; 32]);
        let key = match kind {
            RecordKind::Claim => RecordKey::of_name("alice"),
            RecordKind::User => RecordKey::of_user(UserId::of(&secret.public()).as_bytes()),
        };
        let expires = issued.saturating_add(2 * DAY);
        let header = RecordHeader { kind, key, owner: secret.public(), sequence, issued, expires };
        Record::sign(&secret, header, b"alice").unwrap()
    }

    fn user(owner: u8, sequence: u64) -> Record {
        record(owner, RecordKind::User, sequence, START)
    }

    fn claim(owner: u8, issued: Timestamp) -> Record {
        record(owner, RecordKind::Claim, issued.unix_ms(), issued)
    }

    fn store() -> RecordStore {
        RecordStore::new(NodeId::from_bytes([0; 32]), 4)
    }

    fn refusal(put: Put) -> Option<StoreRefusal> {
        match put {
            Put::Refused { reason, .. } => Some(reason),
            Put::Unchanged | Put::Kept { .. } => None,
        }
    }

    #[test]
    fn a_lower_sequence_never_replaces_a_higher() {
        let (mut store, now) = (store(), Instant::now());
        assert_eq!(store.put(user(1, 5), at(START), now), Put::Kept { dropped: None });
        assert_eq!(store.put(user(1, 5), at(START), now), Put::Unchanged);
        assert_eq!(refusal(store.put(user(1, 4), at(START), now)), Some(StoreRefusal::Older));
        assert_eq!(store.put(user(1, 6), at(START), now), Put::Kept { dropped: None });
        assert_eq!(store.get(&user(1, 0).header().key, at(START)), Some(&user(1, 6)));
    }

    #[test]
    fn of_two_records_with_one_sequence_the_first_stays() {
        let (mut store, now) = (store(), Instant::now());
        let other = record(1, RecordKind::User, 5, START.saturating_add(DAY));
        store.put(user(1, 5), at(START), now);
        assert_eq!(refusal(store.put(other, at(START), now)), Some(StoreRefusal::Older));
    }

    #[test]
    fn an_expired_record_is_refused_and_a_kept_one_is_dropped() {
        let (mut store, now) = (store(), Instant::now());
        let late = START.saturating_add(2 * DAY);
        assert_eq!(refusal(store.put(user(1, 5), at(late), now)), Some(StoreRefusal::Invalid));
        store.put(user(1, 5), at(START), now);
        let key = user(1, 5).header().key;
        assert_eq!(store.expire(at(START)), []);
        assert_eq!(store.get(&key, at(late)), None);
        assert_eq!(store.expire(at(late)), [key]);
        assert_eq!((store.len(), store.next_replication()), (0, None));
    }

    #[test]
    fn a_record_far_ahead_of_the_clock_is_refused() {
        let (mut store, now) = (store(), Instant::now());
        let ahead = START.saturating_add(MAX_RECORD_AHEAD);
        let numbered = user(1, ahead.unix_ms() + 1);
        assert_eq!(refusal(store.put(numbered, at(START), now)), Some(StoreRefusal::Invalid));
        let dated = record(1, RecordKind::User, 5, Timestamp::from_unix_ms(ahead.unix_ms() + 1));
        assert_eq!(refusal(store.put(dated, at(START), now)), Some(StoreRefusal::Invalid));
        let edge = record(1, RecordKind::User, ahead.unix_ms(), ahead);
        assert_eq!(store.put(edge, at(START), now), Put::Kept { dropped: None });
    }

    #[test]
    fn a_name_is_free_thirty_days_after_its_owner_was_last_seen() {
        let (mut store, now) = (store(), Instant::now());
        store.put(claim(1, START), at(START), now);
        let renewed = START.saturating_add(DAY);
        store.put(claim(1, renewed), at(renewed), now);

        let late = START.saturating_add(30 * DAY);
        let put = store.put(claim(2, late), at(late), now);
        let incumbent = Some(claim(1, renewed));
        assert_eq!(put, Put::Refused { reason: StoreRefusal::Owned, incumbent });
        // The claim has expired: it holds its name but is no answer any more.
        assert_eq!(store.get(&RecordKey::of_name("alice"), at(late)), None);
        assert_eq!(store.expire(at(late)), []);

        let free = renewed.saturating_add(30 * DAY);
        assert_eq!(store.put(claim(2, free), at(free), now), Put::Kept { dropped: None });
        assert_eq!(refusal(store.put(claim(1, free), at(free), now)), Some(StoreRefusal::Owned));
    }

    #[test]
    fn a_claim_is_remembered_after_two_hours_or_when_others_agree_and_anew_with_a_new_owner() {
        let (mut store, now, key) = (store(), Instant::now(), RecordKey::of_name("alice"));
        let settled = START.saturating_add(CLAIM_REMEMBERED_AFTER);
        assert!(!store.remembers(&key, at(settled)));
        store.put(claim(1, START), at(START), now);
        let just_before = Timestamp::from_unix_ms(settled.unix_ms() - 1);
        assert!(!store.remembers(&key, at(just_before)) && store.remembers(&key, at(settled)));
        store.remember(&key);
        assert!(store.remembers(&key, at(START)));
        store.overrule(claim(2, START));
        assert_eq!(store.owner(&key), Some(claim(2, START).header().owner));
        let free = START.saturating_add(CLAIM_HOLD);
        assert_eq!(store.put(claim(3, free), at(free), now), Put::Kept { dropped: None });
        assert!(!store.remembers(&key, at(free)));
    }

    #[test]
    fn an_expired_claim_holds_its_name_through_a_restart() {
        let (mut store, now) = (store(), Instant::now());
        let late = START.saturating_add(20 * DAY);
        assert_eq!(refusal(store.put(claim(1, START), at(late), now)), Some(StoreRefusal::Invalid));
        assert_eq!(store.restore(claim(1, START), at(late), now), Put::Kept { dropped: None });
        assert_eq!(refusal(store.put(claim(2, late), at(late), now)), Some(StoreRefusal::Owned));
        assert_eq!(refusal(store.restore(user(1, 1), at(late), now)), Some(StoreRefusal::Invalid));
    }

    #[test]
    fn a_record_stored_again_is_replicated_later() {
        let (mut store, now) = (store(), Instant::now());
        let hour = Duration::from_secs(3600);
        store.put(user(1, 5), at(START), now + hour);
        assert!(store.confirm(user(1, 5).as_bytes(), at(START), now + 2 * hour));
        assert!(!store.confirm(user(1, 6).as_bytes(), at(START), now));
        assert!(!store.confirm(b"?", at(START), now));
        assert_eq!(store.take_replication(now + hour, now), None);
        let key = user(1, 5).header().key;
        assert_eq!(store.take_replication(now + 2 * hour, now + 3 * hour), Some(key));
        store.hasten_replication(&key, now + 4 * hour);
        assert_eq!(store.next_replication(), Some(now + 3 * hour));
        store.hasten_replication(&key, now);
        assert_eq!(store.next_replication(), Some(now));
    }

    proptest! {
        #[test]
        fn in_whatever_order_records_come_the_highest_sequence_stays(
            sequences in proptest::collection::vec(1..9_u64, 1..30),
        ) {
            let (mut store, now, mut highest) = (store(), Instant::now(), 0);
            for sequence in sequences {
                let put = store.put(user(1, sequence), at(START), now);
                prop_assert_eq!(matches!(put, Put::Kept { .. }), sequence > highest);
                prop_assert_eq!(refusal(put), (sequence < highest).then_some(StoreRefusal::Older));
                highest = highest.max(sequence);
                prop_assert_eq!(store.get(&user(1, 1).header().key, at(START)), Some(&user(1, highest)));
            }
        }

        #[test]
        fn a_full_store_keeps_the_nearest(owners in proptest::collection::vec(1..40_u8, 0..20)) {
            let (mut store, now, mut naive) = (store(), Instant::now(), BTreeSet::new());
            for owner in owners {
                let place = user(owner, 1).header().key.place();
                let put = store.put(user(owner, 1), at(START), now);
                let was_there = !naive.insert(place);
                let farthest = if naive.len() > 4 { naive.pop_last() } else { None };
                match put {
                    Put::Unchanged => prop_assert!(was_there),
                    Put::Kept { dropped } => prop_assert_eq!(dropped.map(|key| key.place()), farthest),
                    Put::Refused { reason, .. } => {
                        prop_assert_eq!((reason, farthest), (StoreRefusal::Full, Some(place)));
                    }
                }
                let kept: Vec<_> = store.kept.values().map(|kept| kept.record.header().key.place()).collect();
                prop_assert_eq!(kept, naive.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(store.schedule.len(), store.len());
            }
        }
    }
}
