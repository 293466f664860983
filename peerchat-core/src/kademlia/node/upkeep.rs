//! Staying in the network: coming online, going offline, coming back, checking contacts, refreshing buckets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::super::bucket::KnownContact;
use super::super::contact::{Contact, Scope};
use super::calls::Why;
use super::searches::Purpose;
use super::{Node, NodeEvent};
use crate::time::Now;

/// How many contacts are asked at a time when nobody is known to be alive, when it is in doubt, and when one party may be all
/// that is seen.
pub(super) const PINGS_AT_ONCE: usize = 8;

/// The first pause after every remembered contact was asked in vain; each further one is twice as long.
const MIN_REJOIN_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after every remembered contact was asked in vain.
const MAX_REJOIN_PAUSE: Duration = Duration::from_secs(60);

/// How many saved contacts and seeds are remembered beside the table; the oldest one makes room.
const MAX_REMEMBERED: usize = 128;

/// How many missing buckets are filled after joining (Kademlia paper, 2.3), one at each [`CHECK_EVERY`]: not during the
/// join, which they would make three times as dear for one lookup in twenty that finds the nineteenth closest.
const MAX_JOIN_REFRESHES: usize = 3;

/// How often the contacts are looked through for some to ask, while all is well.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// How soon that happens when a contact has left a request unanswered, or nobody was heard.
const CHECK_SOON: Duration = Duration::from_secs(2);

/// How long nobody must have been heard before we ask whether anybody is there.
const QUIET_AFTER: Duration = Duration::from_secs(120);

/// How long after one the own id is not looked up again although a lost contact has come back.
const OWN_LOOKUP_PAUSE: Duration = Duration::from_secs(60);

/// One round of asking everybody we know.
#[derive(Debug)]
struct Rejoin {
    waiting: VecDeque<Contact>,
    in_flight: usize,
}

/// What keeps a node in the network.
#[derive(Debug)]
pub(super) struct Upkeep {
    is_online: bool,
    last_heard: Instant,
    /// Saved contacts and seeds: not proven, so not in the table.
    remembered: Vec<Contact>,
    rejoin: Option<Rejoin>,
    /// When the next round begins.
    rejoin_at: Option<Instant>,
    rejoin_pause: Duration,
    /// When the contacts are looked through; has a meaning while online.
    check_at: Instant,
    /// How many missing buckets are still to be filled.
    join_refreshes: usize,
    own_lookup_at: Option<Instant>,
    last_own_lookup: Option<Instant>,
}

impl Upkeep {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            is_online: false,
            last_heard: now,
            remembered: Vec::new(),
            rejoin: None,
            rejoin_at: None,
            rejoin_pause: MIN_REJOIN_PAUSE,
            check_at: now,
            join_refreshes: 0,
            own_lookup_at: None,
            last_own_lookup: None,
        }
    }

    pub(super) const fn is_online(&self) -> bool {
        self.is_online
    }

    /// Returns the saved contacts and seeds.
    pub(super) fn remembered(&self) -> impl Iterator<Item = Contact> {
        self.remembered.iter().rev().copied()
    }

    /// Notes that a contact is in doubt.
    pub(super) fn handle_suspect(&mut self, now: Instant) {
        self.check_at = self.check_at.min(now + CHECK_SOON);
    }

    /// Notes that a lost contact is back: perhaps a whole part of the network is.
    pub(super) fn handle_revived(&mut self, now: Instant) {
        let earliest = self.last_own_lookup.map_or(now, |last| now.max(last + OWN_LOOKUP_PAUSE));
        self.own_lookup_at.get_or_insert(earliest);
    }
}

impl Node {
    /// Remembers contacts to ask while nobody is known to be alive, the best first.
    pub(super) fn remember(&mut self, contacts: impl IntoIterator<Item = Contact>) {
        let mut contacts: Vec<_> = contacts.into_iter().take(MAX_REMEMBERED).collect();
        contacts.retain(|contact| {
            let address = contact.address();
            contact.id() != self.own && Scope::of(&address).is_some() && self.config.family.admits(&address)
        });
        let remembered = &mut self.upkeep.remembered;
        for contact in contacts.into_iter().rev() {
            remembered.retain(|other| other.id() != contact.id());
            if remembered.len() >= MAX_REMEMBERED {
                remembered.remove(0);
            }
            remembered.push(contact);
        }
    }

    /// Begins a round of asking everybody we know, unless somebody is known to be alive.
    pub(super) fn try_rejoin(&mut self, now: Now) {
        self.upkeep.rejoin_at = None;
        if self.upkeep.is_online || self.upkeep.rejoin.is_some() {
            return;
        }
        let waiting: VecDeque<_> = self.contacts_to_save().into();
        if !waiting.is_empty() {
            self.upkeep.rejoin = Some(Rejoin { waiting, in_flight: 0 });
            self.go_on_rejoining(now);
        }
    }

    /// Notes that somebody was heard.
    pub(super) fn come_online(&mut self, now: Now) {
        self.upkeep.last_heard = now.instant;
        if self.upkeep.is_online {
            return;
        }
        self.upkeep.is_online = true;
        self.upkeep.rejoin = None;
        self.upkeep.rejoin_at = None;
        self.upkeep.rejoin_pause = MIN_REJOIN_PAUSE;
        self.upkeep.check_at = now.instant + self.jittered(CHECK_EVERY);
        self.events.push_back(NodeEvent::Online { contact_count: self.contact_count() });
        self.find_itself(now);
    }

    /// Notes that somebody has just failed: perhaps it was the last.
    pub(super) fn go_offline_if_alone(&mut self, now: Now) {
        if self.upkeep.is_online && !self.table.iter().any(KnownContact::is_live) {
            self.upkeep.is_online = false;
            self.events.push_back(NodeEvent::Offline);
            self.pause_rejoining(now);
        }
    }

    /// Takes the answer to a PING; whoever sent it was heard already.
    pub(super) fn ping_answered(&mut self, why: Why, now: Now) {
        // Not online in spite of an answer: the table has no room for the contact.
        if why == Why::Rejoin && !self.upkeep.is_online {
            self.rejoin_failed(now);
        }
    }

    /// Notes that a PING of a round was not answered.
    pub(super) fn rejoin_failed(&mut self, now: Now) {
        if let Some(rejoin) = &mut self.upkeep.rejoin {
            rejoin.in_flight = rejoin.in_flight.saturating_sub(1);
            self.go_on_rejoining(now);
        }
    }

    /// The own id has been looked up: the k closest to our own records may be others now.
    pub(super) fn found_itself(&mut self, has_answers: bool, now: Now) {
        self.note_joined(now);
        self.publish_all(has_answers, now);
        self.pump_stores(now);
        if has_answers {
            self.review_records(now);
            self.upkeep.join_refreshes = MAX_JOIN_REFRESHES;
        } else if !self.upkeep.is_online && self.upkeep.rejoin.is_none() {
            self.pause_rejoining(now);
        }
    }

    pub(super) fn handle_upkeep_timeout(&mut self, now: Now) {
        if self.upkeep.rejoin_at.is_some_and(|at| at <= now.instant) {
            self.try_rejoin(now);
        }
        if self.upkeep.own_lookup_at.is_some_and(|at| at <= now.instant) {
            self.find_itself(now);
        }
        if self.upkeep.is_online && self.upkeep.check_at <= now.instant {
            self.check_contacts(now);
        }
        while let Some((_, index)) = self.table.next_refresh().filter(|(at, _)| *at <= now.instant) {
            self.table.postpone_refresh(index, now.instant);
            if self.upkeep.is_online {
                self.refresh(index, now);
            }
        }
    }

    pub(super) fn upkeep_timeout(&self) -> Option<(Instant, &'static str)> {
        let check = self.upkeep.is_online.then_some((self.upkeep.check_at, "contact check"));
        let rejoin = self.upkeep.rejoin_at.map(|at| (at, "rejoin"));
        let own_lookup = self.upkeep.own_lookup_at.map(|at| (at, "own lookup"));
        [check, rejoin, own_lookup].into_iter().flatten().min()
    }

    fn go_on_rejoining(&mut self, now: Now) {
        while let Some(rejoin) = &mut self.upkeep.rejoin {
            if rejoin.in_flight >= PINGS_AT_ONCE {
                return;
            }
            let Some(contact) = rejoin.waiting.pop_front() else {
                if rejoin.in_flight == 0 {
                    self.upkeep.rejoin = None;
                    self.pause_rejoining(now);
                }
                return;
            };
            if self.ping(contact, Why::Rejoin, now)
                && let Some(rejoin) = &mut self.upkeep.rejoin
            {
                rejoin.in_flight += 1;
            }
        }
    }

    fn pause_rejoining(&mut self, now: Now) {
        let pause = self.upkeep.rejoin_pause;
        self.upkeep.rejoin_pause = (2 * pause).min(MAX_REJOIN_PAUSE);
        self.upkeep.rejoin_at = Some(now.instant + self.jittered(pause));
    }

    /// Looks the own id up, unless that was done a moment ago.
    pub(super) fn look_itself_up(&mut self, now: Now) {
        self.upkeep.handle_revived(now.instant);
    }

    fn find_itself(&mut self, now: Now) {
        self.upkeep.own_lookup_at = None;
        self.upkeep.last_own_lookup = Some(now.instant);
        if !self.searches.is_finding_itself() {
            self.search(self.own, Purpose::Own, now);
        }
    }

    fn refresh(&mut self, index: usize, now: Now) {
        let target = self.own.in_bucket(index, self.rng.random());
        self.search(target, Purpose::Refresh, now);
    }

    /// Asks the contacts that are in doubt, all of them if nobody was heard for long, and one of the stale ones:
    /// it may be back, and with it a lost part of the network.
    fn check_contacts(&mut self, now: Now) {
        let silence = now.instant.saturating_duration_since(self.upkeep.last_heard);
        let is_quiet = silence >= QUIET_AFTER;
        let is_doubtful = |known: &&KnownContact| known.is_suspect() || (is_quiet && known.is_live());
        let contacts = self.table.iter().filter(is_doubtful).map(|known| *known.contact());
        let is_unasked = |contact: &Contact| !self.calls.is_pinging(contact.id());
        let doubtful: Vec<_> = contacts.filter(is_unasked).take(PINGS_AT_ONCE).collect();
        for contact in &doubtful {
            self.ping(*contact, Why::Check, now);
        }
        let stale: Vec<_> = self.table.iter().filter(|known| !known.is_live()).collect();
        let chosen = self.rng.random_range(0..stale.len().max(1));
        if let Some(contact) = stale.get(chosen).map(|known| *known.contact())
            && doubtful.is_empty()
        {
            self.ping(contact, Why::Check, now);
        }
        self.upkeep.check_at = now.instant + if doubtful.is_empty() { CHECK_EVERY } else { CHECK_SOON };
        self.fill_missing_bucket(now);
        self.watch_surroundings(now);
    }

    /// Looks for contacts where, after joining, there should be some (Kademlia paper, 2.3).
    fn fill_missing_bucket(&mut self, now: Now) {
        if self.upkeep.join_refreshes > 0
            && let Some(index) = self.table.missing_bucket()
        {
            self.upkeep.join_refreshes -= 1;
            self.refresh(index, now);
        }
    }
}
