//! Whether one party may be all that a node sees, and what the node does then.
//!
//! Two signs. The contacts that answer may all lie in one or two large blocks of addresses. Or the nodes beside our own id may
//! lie much closer together than nodes do elsewhere: ids are hashes, so whoever wants to be somebody's neighbours draws
//! many keys and keeps those that come near.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::super::bucket::KnownContact;
use super::super::contact::{Block, Contact};
use super::super::id::NodeId;
use super::calls::Why;
use super::searches::Purpose;
use super::upkeep::PINGS_AT_ONCE;
use super::{LookupOutcome, Node};
use crate::time::Now;

/// Fewest contacts with public addresses that say something together.
const MIN_CONTACTS: usize = 20;

/// Fewest large blocks of addresses (IPv4 /16, IPv6 /32) that they are expected to lie in.
const MIN_BLOCKS: usize = 3;

/// Fewest neighbours whose density says something.
const MIN_NEIGHBOURS: usize = 8;

/// How many times denser our neighbours are than nodes elsewhere when somebody must have chosen their ids, as a power of
/// two. Chance alone makes eight neighbours that dense less than once in a million.
const SUSPICIOUS_BITS: f64 = 4.0;

/// How much denser than when they were last found to be in order our neighbours are when they are compared again.
const DENSER_BITS: f64 = 2.0;

/// How many other places are compared with, and how many of the latest are remembered.
const PLACES: usize = 3;
const MAX_PLACES: usize = 8;

/// How long the density at a place says something: networks grow.
const PLACE_LIFETIME: Duration = Duration::from_secs(3600);

/// Most bits that a place has in common with our id: nearer ones see the neighbours that are in question.
const MAX_COMMON_BITS: usize = 3;

/// First pause before a node that is surrounded looks again; each further one is twice as long.
const MIN_PAUSE: Duration = Duration::from_secs(60);

/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// What a node makes of who is around it.
#[derive(Debug)]
pub(super) struct Surroundings {
    is_surrounded: bool,
    /// The densities at places far from our own, and when each was found.
    places: VecDeque<(Instant, f64)>,
    /// The density of our neighbours when it was last found to be in order.
    accepted: Option<f64>,
    look_at: Option<Instant>,
    pause: Duration,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            is_surrounded: false,
            places: VecDeque::new(),
            accepted: None,
            look_at: None,
            pause: MIN_PAUSE,
        }
    }
}

/// What is known of the density of our neighbours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Density {
    /// Like elsewhere, or there is nothing to compare.
    Usual,
    /// This many places have to be looked at first.
    Unknown(usize),
    /// Much denser than elsewhere.
    Suspicious,
}

impl Surroundings {
    fn note_place(&mut self, density: f64, now: Instant) {
        if self.places.len() == MAX_PLACES {
            self.places.pop_front();
        }
        self.places.push_back((now, density));
    }

    /// Compares the density of our neighbours with that elsewhere, if there is reason to.
    fn judge(&mut self, own: f64, now: Instant) -> Density {
        if !self.is_surrounded && self.accepted.is_some_and(|accepted| own < accepted + DENSER_BITS) {
            self.accepted = self.accepted.map(|accepted| accepted.min(own));
            return Density::Usual;
        }
        self.places.retain(|(at, _)| now.saturating_duration_since(*at) < PLACE_LIFETIME);
        let mut densities: Vec<_> = self.places.iter().map(|(_, density)| *density).collect();
        if densities.len() < PLACES {
            return Density::Unknown(PLACES - densities.len());
        }
        densities.sort_unstable_by(f64::total_cmp);
        if own > densities[densities.len() / 2] + SUSPICIOUS_BITS {
            return Density::Suspicious;
        }
        self.accepted = Some(own);
        Density::Usual
    }
}

/// Returns how many nodes there would be if they all lay as close together as these around a place, as a power of two.
fn density(place: &NodeId, closest: &[Contact]) -> Option<f64> {
    let farthest = closest.last()?.id().distance(place);
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    let count = closest.len() as f64;
    Some(count.log2() + NodeId::BITS as f64 - farthest.log2())
}

impl Node {
    /// Tells whether one party may be all that this node sees, as far as it can tell.
    #[must_use]
    pub const fn is_surrounded(&self) -> bool {
        self.surroundings.is_surrounded
    }

    /// Takes the nodes closest to a place that was searched for whatever reason.
    pub(super) fn note_density(&mut self, place: &NodeId, outcome: &LookupOutcome, now: Now) {
        let index = self.own.distance(place).bucket_index();
        let is_far = index.is_some_and(|index| index >= NodeId::BITS - 1 - MAX_COMMON_BITS);
        let count = outcome.closest.len();
        if is_far
            && count >= self.config.k.max(MIN_NEIGHBOURS)
            && let Some(density) = density(place, &outcome.closest)
        {
            self.surroundings.note_place(density, now.instant);
        }
    }

    /// Looks who is around; if it may be one party, asks remembered contacts elsewhere whether they are there, and looks
    /// itself up through whoever is.
    pub(super) fn watch_surroundings(&mut self, now: Now) {
        let is_crowd = self.is_in_few_blocks();
        let density = self.judge_density(now);
        if let Density::Unknown(missing) = density
            && !is_crowd
        {
            let is_due = self.surroundings.look_at.is_none_or(|at| at <= now.instant);
            if is_due {
                self.surroundings.look_at = Some(now.instant + MIN_PAUSE);
                (0..missing).for_each(|_| self.look_elsewhere(now));
            }
            return;
        }
        if !is_crowd && density != Density::Suspicious {
            self.surroundings.is_surrounded = false;
            self.surroundings.pause = MIN_PAUSE;
            self.surroundings.look_at = None;
            return;
        }
        let is_new = !std::mem::replace(&mut self.surroundings.is_surrounded, true);
        if is_new || self.surroundings.look_at.is_none_or(|at| at <= now.instant) {
            let pause = self.surroundings.pause;
            self.surroundings.look_at = Some(now.instant + pause);
            self.surroundings.pause = (2 * pause).min(MAX_PAUSE);
            self.ask_elsewhere(now);
        }
    }

    fn judge_density(&mut self, now: Now) -> Density {
        let neighbours = self.table.closest(&self.own, self.config.k);
        // Where everybody is a neighbour there is no elsewhere.
        if neighbours.len() < self.config.k.max(MIN_NEIGHBOURS) || self.contact_count() < 2 * self.config.k {
            return Density::Usual;
        }
        density(&self.own, &neighbours)
            .map_or(Density::Usual, |own| self.surroundings.judge(own, now.instant))
    }

    /// Tells whether the contacts that answer all lie in fewer blocks of public addresses than the network would.
    fn is_in_few_blocks(&self) -> bool {
        let live = self.table.iter().filter(|known| known.is_live());
        let (mut blocks, mut count) = (BTreeSet::new(), 0);
        for known in live {
            // Whoever has a private contact is in a network of its own kind.
            let Some(block) = Block::of(&known.contact().address()) else { return false };
            count += 1;
            blocks.insert(block);
            if blocks.len() >= MIN_BLOCKS {
                return false;
            }
        }
        count >= MIN_CONTACTS
    }

    /// Looks a random place up that is far from our own.
    fn look_elsewhere(&mut self, now: Now) {
        let bit = self.rng.random_range(0..=MAX_COMMON_BITS);
        let place = self.own.in_bucket(NodeId::BITS - 1 - bit, self.rng.random());
        self.search(place, Purpose::Refresh, now);
    }

    /// Asks remembered contacts that are not in the table, those of blocks that no contact lies in first.
    fn ask_elsewhere(&mut self, now: Now) {
        let here: BTreeSet<_> =
            self.table.iter().filter_map(|known| Block::of(&known.contact().address())).collect();
        let is_away = |contact: &Contact| !self.table.get(contact.id()).is_some_and(KnownContact::is_live);
        let mut others: Vec<_> = self.upkeep.remembered().filter(is_away).collect();
        others
            .sort_by_key(|contact| Block::of(&contact.address()).is_some_and(|block| here.contains(&block)));
        others.retain(|contact| !self.calls.is_pinging(contact.id()));
        for contact in others.into_iter().take(PINGS_AT_ONCE) {
            self.ping(contact, Why::Check, now);
        }
        self.look_itself_up(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_compared_once_and_again_when_they_are_denser() {
        let (mut surroundings, now) = (Surroundings::default(), Instant::now());
        assert_eq!(surroundings.judge(10.0, now), Density::Unknown(3));
        for density in [9.5, 40.0, 10.5] {
            surroundings.note_place(density, now);
        }
        assert_eq!(surroundings.judge(10.0, now), Density::Usual);
        let later = now + 2 * PLACE_LIFETIME;
        assert_eq!(surroundings.judge(11.9, later), Density::Usual, "no need to look");
        assert_eq!(surroundings.judge(12.1, later), Density::Unknown(3), "what is known is too old");
        for _ in 0..3 {
            surroundings.note_place(12.0, later);
        }
        assert_eq!(surroundings.judge(12.1, later), Density::Usual, "the whole network has grown");
        assert_eq!(surroundings.judge(16.1, later), Density::Suspicious);
    }

    #[test]
    fn only_the_latest_places_are_remembered() {
        let (mut surroundings, now) = (Surroundings::default(), Instant::now());
        for _ in 0..100 {
            surroundings.note_place(1.0, now);
        }
        assert_eq!(surroundings.places.len(), MAX_PLACES);
    }
}
