//! [`KBucket`]: up to k contacts of one distance range, ordered least to most recently seen.

use std::time::{Duration, Instant};

use super::contact::{Contact, Subnet};
use super::id::NodeId;

/// How many contacts wait in a bucket's replacement cache; the least recently seen one makes room.
pub const MAX_REPLACEMENTS: usize = 8;

/// How many requests in a row a contact may leave unanswered before it is stale (Kademlia paper, 4.1).
///
/// The transport repeats a request several times before it counts as one failure here.
pub const STALE_AFTER_FAILURES: u8 = 2;

/// How long a lookup waits for a contact whose round trip was never measured.
pub const DEFAULT_SOFT_TIMEOUT: Duration = Duration::from_millis(400);

/// The shortest time that a lookup waits for a contact whose round trip was never measured, however fast others are.
pub(super) const MIN_COLD_TIMEOUT: Duration = Duration::from_millis(100);

/// The shortest time that a lookup waits for any contact.
pub const MIN_SOFT_TIMEOUT: Duration = Duration::from_millis(50);

/// The longest time that a lookup waits for any contact.
pub const MAX_SOFT_TIMEOUT: Duration = Duration::from_secs(2);

/// A contact's smoothed round trip and its variation in microseconds (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    /// Zero while nothing was measured.
    smoothed_us: u32,
    variation_us: u32,
}

impl RoundTrip {
    pub(super) fn measured(&mut self, sample: Duration) {
        let sample = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX).clamp(1, u32::MAX / 16);
        if self.smoothed_us == 0 {
            *self = Self { smoothed_us: sample, variation_us: sample / 2 };
        } else {
            self.variation_us = (3 * self.variation_us + self.smoothed_us.abs_diff(sample)) / 4;
            self.smoothed_us = (7 * self.smoothed_us + sample) / 8;
        }
    }

    pub(super) fn soft_timeout(self) -> Duration {
        if self.smoothed_us == 0 {
            return DEFAULT_SOFT_TIMEOUT;
        }
        let timeout_us = u64::from(self.smoothed_us) + 4 * u64::from(self.variation_us);
        Duration::from_micros(timeout_us).clamp(MIN_SOFT_TIMEOUT, MAX_SOFT_TIMEOUT)
    }
}

/// A contact whose address is proven, and what is known about how it answers.
#[derive(Clone, Debug)]
pub struct KnownContact {
    contact: Contact,
    last_seen: Instant,
    round_trip: RoundTrip,
    /// Requests in a row without an answer.
    failures: u8,
    last_failure: Option<Instant>,
}

impl KnownContact {
    fn new(contact: Contact, now: Instant) -> Self {
        Self { contact, last_seen: now, round_trip: RoundTrip::default(), failures: 0, last_failure: None }
    }

    /// Returns the contact.
    #[must_use]
    pub const fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Returns when it was last heard.
    #[must_use]
    pub const fn last_seen(&self) -> Instant {
        self.last_seen
    }

    /// Tells whether it counts as there: fewer than [`STALE_AFTER_FAILURES`] requests in a row were not answered.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.failures < STALE_AFTER_FAILURES
    }

    /// Tells whether it is live but left its last request unanswered.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.failures > 0 && self.is_live()
    }

    /// Returns when it last left a request unanswered.
    #[must_use]
    pub const fn last_failure(&self) -> Option<Instant> {
        self.last_failure
    }

    /// Returns how long a lookup waits for it: smoothed round trip + 4 x variation (RFC 6298), within bounds.
    #[must_use]
    pub fn soft_timeout(&self) -> Duration {
        self.round_trip.soft_timeout()
    }

    /// Returns [`Self::soft_timeout`] if a round trip was measured.
    pub(super) fn measured_timeout(&self) -> Option<Duration> {
        (self.round_trip.smoothed_us > 0).then(|| self.soft_timeout())
    }

    fn heard(&mut self, contact: Contact, now: Instant) {
        self.contact = contact;
        self.last_seen = now;
        self.failures = 0;
    }
}

/// What [`KBucket::handle_alive`] did with a contact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// It was there and live.
    Refreshed,
    /// It was there but stale: it may have missed what happened since.
    Revived,
    /// It is new in the bucket.
    Added,
    /// The bucket is full of live contacts; it waits in the replacement cache.
    Waiting,
}

/// Up to k contacts of one distance range, ordered least to most recently seen (Kademlia paper, 2.2).
///
/// A live contact is never displaced by a new one: who has long been there is likely to stay.
#[derive(Clone, Debug)]
pub struct KBucket {
    /// Least recently seen first.
    contacts: Vec<KnownContact>,
    /// Contacts that found the bucket full (Kademlia paper, 4.1), least recently seen first.
    replacements: Vec<KnownContact>,
    /// When the bucket is due for a refresh unless it is heard from.
    refresh_at: Instant,
}

impl KBucket {
    /// Makes an empty bucket that is due for a refresh at `refresh_at`.
    #[must_use]
    pub const fn new(refresh_at: Instant) -> Self {
        Self { contacts: Vec::new(), replacements: Vec::new(), refresh_at }
    }

    /// Takes a contact that was heard from its address, proven, into a bucket of at most `k`.
    ///
    /// Who is there moves to the end, with the address it has now. Who is new displaces a stale contact if the
    /// bucket is full, and waits in the replacement cache if there is none.
    pub fn handle_alive(&mut self, contact: Contact, k: usize, now: Instant) -> Heard {
        if let Some(mut known) = take(&mut self.contacts, contact.id()) {
            let heard = if known.is_live() { Heard::Refreshed } else { Heard::Revived };
            known.heard(contact, now);
            self.contacts.push(known);
            return heard;
        }
        let mut known =
            take(&mut self.replacements, contact.id()).unwrap_or_else(|| KnownContact::new(contact, now));
        known.heard(contact, now);
        if self.contacts.len() >= k && !self.remove_stale() {
            if self.replacements.len() >= MAX_REPLACEMENTS {
                self.replacements.remove(0);
            }
            self.replacements.push(known);
            return Heard::Waiting;
        }
        if self.contacts.len() == self.contacts.capacity() {
            // Doubling would leave a full bucket half empty.
            self.contacts.reserve_exact(4);
        }
        self.contacts.push(known);
        Heard::Added
    }

    /// Notes how long an answer of a contact took.
    pub fn handle_round_trip(&mut self, id: NodeId, round_trip: Duration) {
        if let Some(known) = self.contacts.iter_mut().find(|known| known.contact.id() == id) {
            known.round_trip.measured(round_trip);
        }
    }

    /// Counts a request that a contact left unanswered; `true` if that has just made it stale.
    ///
    /// A stale contact stays until another can take its place: when the network itself is down nobody can.
    pub fn handle_failure(&mut self, id: NodeId, now: Instant) -> bool {
        let Some(known) = self.contacts.iter_mut().find(|known| known.contact.id() == id) else {
            self.replacements.retain(|known| known.contact.id() != id);
            return false;
        };
        let was_live = known.is_live();
        known.failures = known.failures.saturating_add(1);
        known.last_failure = Some(now);
        was_live && !known.is_live()
    }

    /// Puts the most recently seen replacement that `admits` allows in the place of a stale contact, and returns it.
    pub fn replace_stale(&mut self, admits: impl Fn(&Contact) -> bool) -> Option<Contact> {
        let stale = self.contacts.iter().position(|known| !known.is_live())?;
        let place = self.replacements.iter().rposition(|known| admits(&known.contact))?;
        let replacement = self.replacements.remove(place);
        self.contacts.remove(stale);
        let contact = replacement.contact;
        let place = self.contacts.partition_point(|known| known.last_seen <= replacement.last_seen);
        self.contacts.insert(place, replacement);
        Some(contact)
    }

    /// Forgets a contact, also in the replacement cache; `true` if it was there.
    pub fn remove(&mut self, id: NodeId) -> bool {
        take(&mut self.contacts, id).or_else(|| take(&mut self.replacements, id)).is_some()
    }

    /// Postpones the refresh.
    pub const fn set_refresh_at(&mut self, at: Instant) {
        self.refresh_at = at;
    }

    /// Returns when the bucket is due for a refresh.
    #[must_use]
    pub const fn refresh_at(&self) -> Instant {
        self.refresh_at
    }

    /// Returns the contacts, least recently seen first.
    #[must_use]
    pub fn contacts(&self) -> &[KnownContact] {
        &self.contacts
    }

    /// Returns the replacement cache, least recently seen first.
    #[must_use]
    pub fn replacements(&self) -> &[KnownContact] {
        &self.replacements
    }

    /// Tells whether it holds `k` live contacts, so that a newcomer has to wait.
    pub(super) fn is_full(&self, k: usize) -> bool {
        self.contacts.len() >= k && self.contacts.iter().all(KnownContact::is_live)
    }

    /// Tells whether a node is among the contacts.
    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.contacts.iter().any(|known| known.contact.id() == id)
    }

    /// Counts the contacts and replacements in a subnet, apart from one.
    pub(super) fn count_in(&self, subnet: Subnet, except: NodeId) -> usize {
        self.contacts
            .iter()
            .chain(&self.replacements)
            .filter(|known| subnet.contains(&known.contact.address()) && known.contact.id() != except)
            .count()
    }

    fn remove_stale(&mut self) -> bool {
        match self.contacts.iter().position(|known| !known.is_live()) {
            Some(place) => {
                self.contacts.remove(place);
                true
            }
            None => false,
        }
    }
}

fn take(contacts: &mut Vec<KnownContact>, id: NodeId) -> Option<KnownContact> {
    let place = contacts.iter().position(|known| known.contact.id() == id)?;
    Some(contacts.remove(place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kademlia::NodeKey;

    const K: usize = 4;

    fn contact(number: u8) -> Contact {
        Contact::new(NodeKey::from_bytes([number; 32]), ([10, 0, 0, number], 1).into())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Alive(u8),
        Failure(u8),
        Replace,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let number = 1..20_u8;
        let step = prop_oneof![
            3 => number.clone().prop_map(Step::Alive),
            2 => number.prop_map(Step::Failure),
            1 => Just(Step::Replace),
        ];
        proptest::collection::vec(step, 0..100)
    }

    /// The rules written down again, as plainly as possible: (number, failures), least recently seen first.
    #[derive(Default)]
    struct Model {
        contacts: Vec<(u8, u8)>,
        waiting: Vec<u8>,
    }

    impl Model {
        fn alive(&mut self, number: u8) {
            let stale = self.contacts.iter().position(|&(_, failures)| failures >= STALE_AFTER_FAILURES);
            if let Some(place) = self.contacts.iter().position(|&(n, _)| n == number) {
                self.contacts.remove(place);
            } else if self.contacts.len() == K {
                self.waiting.retain(|&n| n != number);
                let Some(stale) = stale else {
                    if self.waiting.len() == MAX_REPLACEMENTS {
                        self.waiting.remove(0);
                    }
                    return self.waiting.push(number);
                };
                self.contacts.remove(stale);
            }
            self.waiting.retain(|&n| n != number);
            self.contacts.push((number, 0));
        }

        fn failure(&mut self, number: u8) {
            match self.contacts.iter_mut().find(|(n, _)| *n == number) {
                Some((_, failures)) => *failures += 1,
                None => self.waiting.retain(|&n| n != number),
            }
        }
    }

    proptest! {
        #[test]
        fn a_bucket_does_what_the_rules_say(steps in steps()) {
            let start = Instant::now();
            let (mut bucket, mut model) = (KBucket::new(start), Model::default());
            for (tick, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Alive(number) => {
                        bucket.handle_alive(contact(number), K, start + Duration::from_secs(tick as u64));
                        model.alive(number);
                    }
                    Step::Failure(number) => {
                        bucket.handle_failure(contact(number).id(), start);
                        model.failure(number);
                    }
                    Step::Replace => {
                        let before = bucket.contacts().len();
                        let replaced = bucket.replace_stale(|_| true);
                        prop_assert_eq!(bucket.contacts().len(), before);
                        let Some(replaced) = replaced else { continue };
                        let stale = model.contacts.iter().position(|c| c.1 >= STALE_AFTER_FAILURES).unwrap();
                        model.contacts.remove(stale);
                        let newest = model.waiting.pop().unwrap();
                        prop_assert_eq!(replaced, contact(newest));
                        let place = bucket.contacts().iter().position(|c| c.contact == replaced).unwrap();
                        model.contacts.insert(place, (newest, 0));
                    }
                }
                let ids = |known: &[KnownContact]| known.iter().map(|c| c.contact.id()).collect::<Vec<_>>();
                let expected: Vec<_> = model.contacts.iter().map(|&(n, _)| contact(n).id()).collect();
                prop_assert_eq!(ids(bucket.contacts()), expected);
                let expected: Vec<_> = model.waiting.iter().map(|&n| contact(n).id()).collect();
                prop_assert_eq!(ids(bucket.replacements()), expected);
                prop_assert!(bucket.contacts().is_sorted_by_key(|known| known.last_seen));
            }
        }
    }

    #[test]
    fn the_soft_timeout_follows_the_round_trips() {
        let now = Instant::now();
        let mut bucket = KBucket::new(now);
        bucket.handle_alive(contact(1), K, now);
        let timeout = |bucket: &KBucket| bucket.contacts()[0].soft_timeout();
        assert_eq!(timeout(&bucket), DEFAULT_SOFT_TIMEOUT);
        bucket.handle_round_trip(contact(1).id(), Duration::from_millis(100));
        assert_eq!(timeout(&bucket), Duration::from_millis(300));
        for _ in 0..50 {
            bucket.handle_round_trip(contact(1).id(), Duration::from_millis(100));
        }
        assert!(timeout(&bucket) < Duration::from_millis(110));
        for _ in 0..50 {
            bucket.handle_round_trip(contact(1).id(), Duration::from_micros(10));
        }
        assert_eq!(timeout(&bucket), MIN_SOFT_TIMEOUT);
        bucket.handle_round_trip(contact(1).id(), Duration::MAX);
        assert_eq!(timeout(&bucket), MAX_SOFT_TIMEOUT);
    }
}
