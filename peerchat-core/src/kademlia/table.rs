//! [`RoutingTable`]: the k-buckets of one node.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::bucket::{Heard, KBucket, KnownContact};
use super::contact::{Contact, Subnet};
use super::id::{Distance, NodeId};

/// How many contacts of one subnet (IPv4 /24, IPv6 /56) a bucket and its replacement cache hold.
/// Loopback and private addresses are exempt.
pub const MAX_PER_SUBNET_AND_BUCKET: usize = 2;

/// How many contacts of one subnet (IPv4 /24, IPv6 /56) the table holds. Loopback and private addresses are exempt.
pub const MAX_PER_SUBNET: usize = 10;

/// How long a bucket may be silent before it is refreshed (Kademlia paper, 2.3).
pub const REFRESH_AFTER: Duration = Duration::from_secs(3600);

/// How long a stale contact is kept in case it returns; dropping one needs another that answers.
pub const DROP_STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What [`RoutingTable::handle_alive`] did with a contact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Insertion {
    /// What the bucket did.
    Bucket(Heard),
    /// There are enough contacts of its subnet. If it was in the table at another address, it is not any more.
    Crowded,
    /// It is the node itself.
    Own,
}

/// What [`RoutingTable::handle_failure`] found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FailureEffect {
    /// The contact has just become stale.
    pub has_gone_stale: bool,
    /// The contact that came out of the replacement cache in its place.
    pub promoted: Option<Contact>,
}

/// The contacts of one node by distance: k-bucket i holds those at distance 2^i to 2^(i+1) (Kademlia paper, 2.2).
///
/// Only the buckets that ever held a contact take memory. Every contact in it has a proven address; the caller
/// sees to that.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    own: NodeId,
    k: usize,
    buckets: BTreeMap<usize, KBucket>,
}

impl RoutingTable {
    /// Makes an empty table for the node `own`, with at most `k` contacts in each bucket.
    #[must_use]
    pub const fn new(own: NodeId, k: usize) -> Self {
        Self { own, k, buckets: BTreeMap::new() }
    }

    /// Takes a contact that was just heard from its address, proven.
    pub fn handle_alive(&mut self, contact: Contact, now: Instant) -> Insertion {
        let Some(index) = self.index_of(contact.id()) else { return Insertion::Own };
        let is_known_there = self.get(contact.id()).is_some_and(|known| *known.contact() == contact);
        if !is_known_there && self.is_crowded(&contact, index) {
            if let Some(bucket) = self.buckets.get_mut(&index) {
                bucket.remove(contact.id());
            }
            return Insertion::Crowded;
        }
        let refresh_at = now + self.refresh_pause(index);
        let bucket = self.buckets.entry(index).or_insert_with(|| KBucket::new(refresh_at));
        bucket.set_refresh_at(refresh_at);
        Insertion::Bucket(bucket.handle_alive(contact, self.k, now))
    }

    /// Notes how long an answer of a contact took.
    pub fn handle_round_trip(&mut self, id: NodeId, round_trip: Duration) {
        if let Some(bucket) = self.bucket_of_mut(id) {
            bucket.handle_round_trip(id, round_trip);
        }
    }

    /// Counts a request that a contact left unanswered, and replaces it once it is stale and another waits.
    pub fn handle_failure(&mut self, id: NodeId, now: Instant) -> FailureEffect {
        let Some(bucket) = self.bucket_of_mut(id) else { return FailureEffect::default() };
        let has_gone_stale = bucket.handle_failure(id, now);
        if bucket.replacements().is_empty() || bucket.contacts().iter().all(KnownContact::is_live) {
            return FailureEffect { has_gone_stale, promoted: None };
        }
        let waiting: Vec<_> = bucket.replacements().iter().map(|known| *known.contact()).collect();
        let crowded: Vec<_> = waiting.into_iter().filter(|contact| self.is_subnet_full(contact)).collect();
        let bucket = self.bucket_of_mut(id);
        let promoted = bucket.and_then(|bucket| bucket.replace_stale(|contact| !crowded.contains(contact)));
        FailureEffect { has_gone_stale, promoted }
    }

    /// Forgets a contact.
    pub fn remove(&mut self, id: NodeId) {
        if let Some(bucket) = self.bucket_of_mut(id) {
            bucket.remove(id);
        }
    }

    /// Returns the live contacts closest to `target`, nearest first, at most `count`.
    #[must_use]
    pub fn closest(&self, target: &NodeId, count: usize) -> Vec<Contact> {
        self.closest_where(target, count, KnownContact::is_live)
    }

    /// Returns the contacts closest to `target` for which `admits` holds, nearest first, at most `count`.
    #[must_use]
    pub fn closest_where(
        &self,
        target: &NodeId,
        count: usize,
        admits: impl Fn(&KnownContact) -> bool,
    ) -> Vec<Contact> {
        let mut closest: Vec<Contact> = Vec::with_capacity(count.min(4 * self.k));
        let mut of_bucket: Vec<(Distance, &Contact)> = Vec::with_capacity(self.k);
        for bucket in self.towards(target) {
            let missing = count - closest.len();
            if missing == 0 {
                break;
            }
            let admitted = bucket.contacts().iter().filter(|known| admits(known)).map(KnownContact::contact);
            of_bucket.clear();
            of_bucket.extend(admitted.map(|contact| (contact.id().distance(target), contact)));
            of_bucket.sort_unstable_by_key(|(distance, _)| *distance);
            closest.extend(of_bucket.iter().take(missing).map(|(_, contact)| **contact));
        }
        closest
    }

    /// Returns what is known about a contact, live or stale.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&KnownContact> {
        let bucket = self.buckets.get(&self.index_of(id)?)?;
        bucket.contacts().iter().find(|known| known.contact().id() == id)
    }

    /// Returns every contact, live or stale, nearest bucket first, least recently seen first in each.
    pub fn iter(&self) -> impl Iterator<Item = &KnownContact> {
        self.buckets.values().flat_map(KBucket::contacts)
    }

    /// Returns the least recently seen contact of the bucket that `id` belongs to.
    #[must_use]
    pub fn oldest_beside(&self, id: NodeId) -> Option<&KnownContact> {
        self.buckets.get(&self.index_of(id)?)?.contacts().first()
    }

    /// Returns every contact worth saving: first the most recently seen of each bucket, then the second of each,
    /// and so on; stale ones last.
    #[must_use]
    pub fn ranked(&self) -> Vec<Contact> {
        let mut ranked: Vec<_> = self
            .buckets
            .values()
            .flat_map(|bucket| bucket.contacts().iter().rev().enumerate())
            .map(|(rank, known)| ((!known.is_live(), rank, Reverse(known.last_seen())), *known.contact()))
            .collect();
        ranked.sort_by_key(|(order, _)| *order);
        ranked.into_iter().map(|(_, contact)| contact).collect()
    }

    /// Returns the bucket whose refresh is due first, and when.
    #[must_use]
    pub fn next_refresh(&self) -> Option<(Instant, usize)> {
        self.buckets.iter().map(|(&index, bucket)| (bucket.refresh_at(), index)).min()
    }

    /// Puts off the refresh of a bucket, because one begins.
    pub fn postpone_refresh(&mut self, index: usize, now: Instant) {
        let refresh_at = now + self.refresh_pause(index);
        if let Some(bucket) = self.buckets.get_mut(&index) {
            bucket.set_refresh_at(refresh_at);
        }
    }

    /// Returns the farthest bucket without a contact, if it is farther than the k-th closest contact: then the network
    /// surely has nodes in it.
    #[must_use]
    pub fn missing_bucket(&self) -> Option<usize> {
        let neighbours = self.closest(&self.own, self.k);
        let nearest = self.index_of(neighbours.get(self.k.saturating_sub(1))?.id())?;
        let is_missing = |index: &usize| self.buckets.get(index).is_none_or(|b| b.contacts().is_empty());
        (nearest + 1..NodeId::BITS).rev().find(is_missing)
    }

    /// Tells whether no live contact is closer to `target` than the node itself.
    #[must_use]
    pub fn is_nearest(&self, target: &NodeId) -> bool {
        let distance = self.own.distance(target);
        let mut nearer = self.buckets.iter().filter(|(index, _)| distance.has_bit(**index));
        !nearer.any(|(_, bucket)| bucket.contacts().iter().any(KnownContact::is_live))
    }

    /// Returns the buckets in the order of their distance from `target`.
    ///
    /// With d the distance from the node to `target`: the contacts of bucket i share the bits of d above i and have
    /// the other bit i. So the buckets at the set bits of d come first, highest first, then those at the clear
    /// bits, lowest first.
    fn towards(&self, target: &NodeId) -> impl Iterator<Item = &KBucket> {
        let distance = self.own.distance(target);
        let set = self.buckets.iter().rev().filter(move |(index, _)| distance.has_bit(**index));
        let clear = self.buckets.iter().filter(move |(index, _)| !distance.has_bit(**index));
        set.chain(clear).map(|(_, bucket)| bucket)
    }

    fn is_crowded(&self, contact: &Contact, index: usize) -> bool {
        let Some(subnet) = Subnet::of(&contact.address()) else { return false };
        let Some(bucket) = self.buckets.get(&index) else { return self.is_subnet_full(contact) };
        if bucket.count_in(subnet, contact.id()) >= MAX_PER_SUBNET_AND_BUCKET {
            return true;
        }
        // Who would only wait in the replacement cache is not in the table yet: this is asked when they are promoted.
        let would_enter = !bucket.is_full(self.k) || bucket.contains(contact.id());
        would_enter && self.is_subnet_full(contact)
    }

    fn is_subnet_full(&self, contact: &Contact) -> bool {
        let Some(subnet) = Subnet::of(&contact.address()) else { return false };
        let same = self.iter().map(KnownContact::contact).filter(|other| subnet.contains(&other.address()));
        same.filter(|other| other.id() != contact.id()).count() >= MAX_PER_SUBNET
    }

    /// An hour, and up to a quarter more that differs between nodes and buckets, so that refreshes are spread.
    fn refresh_pause(&self, index: usize) -> Duration {
        let byte = self.own.as_bytes().iter().rev().nth(index % 32).copied().unwrap_or_default();
        REFRESH_AFTER + REFRESH_AFTER / 4 * u32::from(byte) / 256
    }

    fn index_of(&self, id: NodeId) -> Option<usize> {
        self.own.distance(&id).bucket_index()
    }

    fn bucket_of_mut(&mut self, id: NodeId) -> Option<&mut KBucket> {
        self.buckets.get_mut(&self.index_of(id)?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::kademlia::{NodeKey, STALE_AFTER_FAILURES};

    const OWN: NodeId = NodeId::from_bytes([0; 32]);

    fn contact(number: u16) -> Contact {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        Contact::new(NodeKey::from_bytes(key), SocketAddr::from(([10, 0, 0, 1], 1 + number % 60_000)))
    }

    fn global(number: u16, subnet: u8) -> Contact {
        Contact::new(contact(number).key(), SocketAddr::from(([8, 8, subnet, 1], 1)))
    }

    proptest! {
        #[test]
        fn closest_is_what_sorting_everything_yields(
            numbers in proptest::collection::btree_set(any::<u16>(), 0..200),
            stale in proptest::collection::vec(any::<u16>(), 0..20),
            target: [u8; 32],
            count in 0..30_usize,
        ) {
            let (mut table, now) = (RoutingTable::new(OWN, 5), Instant::now());
            for &number in &numbers {
                table.handle_alive(contact(number), now);
            }
            for number in stale {
                for _ in 0..STALE_AFTER_FAILURES {
                    table.handle_failure(contact(number).id(), now);
                }
            }
            let target = NodeId::from_bytes(target);
            let live = table.iter().filter(|known| known.is_live());
            let mut naive: Vec<_> = live.map(|known| *known.contact()).collect();
            naive.sort_by_key(|contact| contact.id().distance(&target));
            let is_nearest = naive.first().is_none_or(|c| OWN.distance(&target) < c.id().distance(&target));
            prop_assert_eq!(table.is_nearest(&target), is_nearest);
            naive.truncate(count);
            prop_assert_eq!(table.closest(&target, count), naive);
        }

        #[test]
        fn no_subnet_fills_the_table(
            contacts in proptest::collection::vec((0..500_u16, 0..3_u8), 0..300),
            failing in proptest::collection::vec(0..500_u16, 0..50),
        ) {
            let (mut table, now) = (RoutingTable::new(OWN, 5), Instant::now());
            for (number, subnet) in contacts {
                table.handle_alive(global(number, subnet), now);
            }
            for number in failing {
                for _ in 0..STALE_AFTER_FAILURES {
                    table.handle_failure(contact(number).id(), now);
                }
            }
            let of_subnet = |known: &&KnownContact, subnet| {
                known.contact().address().ip() == std::net::IpAddr::from([8, 8, subnet, 1])
            };
            for subnet in 0..3 {
                prop_assert!(table.iter().filter(|known| of_subnet(known, subnet)).count() <= MAX_PER_SUBNET);
                for bucket in table.buckets.values() {
                    let count = bucket.contacts().iter().filter(|known| of_subnet(known, subnet)).count();
                    prop_assert!(count <= MAX_PER_SUBNET_AND_BUCKET);
                }
            }
        }
    }

    #[test]
    fn private_addresses_are_exempt_from_diversity() {
        let (mut table, now) = (RoutingTable::new(OWN, 20), Instant::now());
        (0..40).for_each(|number| _ = table.handle_alive(contact(number), now));
        assert!(table.iter().count() > MAX_PER_SUBNET);
    }

    #[test]
    fn a_contact_that_moves_into_a_crowded_subnet_is_dropped() {
        let (mut table, now) = (RoutingTable::new(OWN, 20), Instant::now());
        let beside: Vec<_> =
            (0..100).filter(|number| table.index_of(contact(*number).id()) == Some(255)).take(3).collect();
        let [a, b, c] = beside[..] else { panic!("three of a hundred ids lie in the farther half") };
        assert_eq!(table.handle_alive(global(a, 1), now), Insertion::Bucket(Heard::Added));
        assert_eq!(table.handle_alive(global(b, 1), now), Insertion::Bucket(Heard::Added));
        assert_eq!(table.handle_alive(global(c, 2), now), Insertion::Bucket(Heard::Added));
        assert_eq!(table.handle_alive(global(a, 1), now), Insertion::Bucket(Heard::Refreshed));
        assert_eq!(table.handle_alive(global(c, 1), now), Insertion::Crowded);
        assert_eq!(table.get(contact(c).id()).map(KnownContact::contact), None);
    }

    #[test]
    fn a_table_is_not_emptied_when_everybody_fails() {
        let (mut table, now) = (RoutingTable::new(OWN, 5), Instant::now());
        (0..200).for_each(|number| _ = table.handle_alive(contact(number), now));
        let before = table.iter().count();
        for _ in 0..5 {
            (0..200).for_each(|number| _ = table.handle_failure(contact(number).id(), now));
        }
        assert_eq!(table.iter().count(), before);
        assert_eq!(table.closest(&OWN, 20), []);
        assert_eq!(table.ranked().len(), before);
    }

    #[test]
    fn a_silent_bucket_is_due_for_refresh_within_the_hour_and_a_quarter() {
        let (mut table, now) = (RoutingTable::new(OWN, 5), Instant::now());
        assert_eq!(table.next_refresh(), None);
        table.handle_alive(contact(1), now);
        let (at, index) = table.next_refresh().unwrap();
        assert!(at >= now + REFRESH_AFTER && at <= now + REFRESH_AFTER * 5 / 4);
        let later = now + Duration::from_secs(600);
        table.handle_alive(contact(1), later);
        assert_eq!(table.next_refresh(), Some((at + Duration::from_secs(600), index)));
    }
}
