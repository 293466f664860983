//! Lookups: begun by commands, by publications, by replication and by upkeep.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::contact::Contact;
use super::super::id::NodeId;
use super::super::lookup::{FIRST_CONTACTS, Lookup, LookupConfig};
use super::super::record::{Record, RecordKey};
use super::super::rpc::{Rpc, RpcReply};
use super::super::store;
use super::calls::{Stage, Why};
use super::{LookupId, Node, NodeEvent, PublishId, is_in_scope};
use crate::idle;
use crate::time::Now;

/// How many times k contacts a lookup starts with. Only if the k nearest are all gone, unnoticed, does it need more.
const STARTING_POINTS: usize = 3;

/// How long lookups skip a stale contact that has failed once more, so that each does not wait for it in turn.
/// Lookups of the own id never skip any: after an outage everybody is stale.
const SKIP_FAILED_FOR: Duration = Duration::from_secs(60);

/// What a lookup is for, and so what happens when it is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// A command: its event is told.
    Command,
    /// [`Node::join`]: like a command, and like [`Self::Own`].
    Join,
    /// The own id, after coming online: then our records are published again.
    Own,
    /// A bucket that was not heard from: whoever answers enters the table.
    Refresh,
    /// The nodes to store a record of our own at.
    Publish(PublishId),
    /// The nodes to store a record at that we keep for others.
    Replicate(RecordKey),
    /// The nodes to ask whose claim they keep.
    Question(RecordKey),
}

impl Purpose {
    const fn is_own(self) -> bool {
        matches!(self, Self::Join | Self::Own)
    }
}

#[derive(Debug)]
struct Search {
    lookup: Lookup,
    purpose: Purpose,
    /// FIND_VALUE for this key instead of FIND_NODE.
    key: Option<RecordKey>,
}

/// The lookups that run.
#[derive(Debug, Default)]
pub(super) struct Searches {
    next_id: u64,
    running: BTreeMap<LookupId, Search>,
    own_lookups: usize,
    replications: usize,
}

impl Searches {
    pub(super) fn takes_values(&self, id: LookupId) -> bool {
        // A lookup that has ended no longer knows what it asked for: its late answers harm nobody.
        self.running.get(&id).is_none_or(|search| search.key.is_some())
    }

    /// Tells whether the own id is being looked up.
    pub(super) const fn is_finding_itself(&self) -> bool {
        self.own_lookups > 0
    }

    /// Tells whether a lookup of the own id has been answered by somebody.
    pub(super) fn is_hearing_of_itself(&self) -> bool {
        let is_heard = |search: &Search| search.purpose.is_own() && search.lookup.has_answers();
        self.running.values().any(is_heard)
    }

    /// Returns how many lookups run for replication.
    pub(super) const fn replication_count(&self) -> usize {
        self.replications
    }

    fn count(&mut self, purpose: Purpose, by: isize) {
        let counter = match purpose {
            Purpose::Join | Purpose::Own => &mut self.own_lookups,
            Purpose::Replicate(_) => &mut self.replications,
            Purpose::Command | Purpose::Refresh | Purpose::Publish(_) | Purpose::Question(_) => return,
        };
        *counter = counter.saturating_add_signed(by);
    }
}

impl Node {
    /// Joins the network of `seed`: looks up the own id, starting from it and from whoever is known already. The
    /// seed is remembered and asked again while nobody answers.
    pub fn join(&mut self, seed: Contact, now: Now) -> LookupId {
        self.note_joining(&[seed]);
        self.remember([seed]);
        self.begin(self.own, Purpose::Join, Some(seed), now)
    }

    /// Looks up the k nodes closest to `target`.
    pub fn find_nodes(&mut self, target: NodeId, now: Now) -> LookupId {
        self.begin(target, Purpose::Command, None, now)
    }

    /// Looks up the records that the nodes closest to `key` keep under it, and ends as soon as `wanted` nodes have
    /// answered with one, or when the k closest nodes have answered. It takes several disjoint paths; see [`Lookup`].
    ///
    /// Our own store answers too, if we are among the k closest nodes we know.
    pub fn find_value(&mut self, key: RecordKey, wanted: usize, now: Now) -> LookupId {
        let config = LookupConfig {
            wanted: Some(wanted),
            paths: self.config.paths,
            ..self.lookup_config(Purpose::Command)
        };
        let mut lookup = Lookup::new(key.place(), config);
        let time = self.wall_time(now);
        if self.is_among_closest(&key.place())
            && let Some(record) = self.store.get(&key, time)
        {
            lookup.add_own_value(self.own, record.clone());
        }
        self.begin_lookup(Search { lookup, purpose: Purpose::Command, key: Some(key) }, None, now)
    }

    /// Begins a FIND_NODE lookup for a purpose of our own.
    pub(super) fn search(&mut self, target: NodeId, purpose: Purpose, now: Now) {
        self.begin(target, purpose, None, now);
    }

    /// Takes the answer to a lookup's request.
    pub(super) fn search_answered(&mut self, id: LookupId, from: &Contact, reply: RpcReply, now: Now) {
        match reply {
            RpcReply::Nodes(contacts) => {
                let mut candidates = self.candidates(id, from, contacts, now);
                if let Some(helper) = self.try_test(from, &candidates, now) {
                    candidates.retain(|contact| *contact != helper);
                }
                if let Some(search) = self.searches.running.get_mut(&id) {
                    search.lookup.handle_nodes(from, &candidates);
                }
            }
            RpcReply::Value(bytes) => self.search_found(id, from, &bytes, now),
            _ => {}
        }
        self.pump_search(id, now);
    }

    /// Notes that a lookup's request was not answered.
    pub(super) fn search_failed(&mut self, id: LookupId, to: NodeId, now: Now) {
        if let Some(search) = self.searches.running.get_mut(&id) {
            search.lookup.handle_failure(to);
            self.pump_search(id, now);
        }
    }

    /// Notes that a stage of a lookup's request is over.
    pub(super) fn search_delayed(&mut self, id: LookupId, to: NodeId, stage: Stage, now: Now) {
        let Some(search) = self.searches.running.get_mut(&id) else { return };
        match stage {
            Stage::Fresh => search.lookup.handle_slow(to),
            Stage::Slow | Stage::Overdue => search.lookup.handle_overdue(to),
        }
        self.pump_search(id, now);
    }

    /// Tells whether fewer than k known live nodes are closer to `target` than we are.
    pub(super) fn is_among_closest(&self, target: &NodeId) -> bool {
        self.is_among_closest_known(target, self.own)
    }

    fn search_found(&mut self, id: LookupId, from: &Contact, bytes: &[u8], now: Now) {
        let Some(search) = self.searches.running.get_mut(&id) else { return };
        let key = search.key;
        let time = self.wall.read(now);
        // Most holders answer with the same bytes: those were checked, and checking is most of what an answer costs.
        let checked = search.lookup.value(bytes).cloned();
        match checked.map_or_else(|| Record::parse(bytes), Ok) {
            Ok(record) if Some(record.header().key) == key => {
                if store::is_alive(&record, time) {
                    search.lookup.handle_value(from, record);
                } else {
                    // Its clock is behind ours; that is no lie, but no value either.
                    search.lookup.handle_nodes(from, &[]);
                }
            }
            _ => {
                self.stats.invalid_records += 1;
                search.lookup.handle_failure(from.id());
            }
        }
    }

    fn begin(&mut self, target: NodeId, purpose: Purpose, seed: Option<Contact>, now: Now) -> LookupId {
        let lookup = Lookup::new(target, self.lookup_config(purpose));
        self.begin_lookup(Search { lookup, purpose, key: None }, seed, now)
    }

    fn begin_lookup(&mut self, mut search: Search, seed: Option<Contact>, now: Now) -> LookupId {
        let id = LookupId(self.searches.next_id);
        self.searches.next_id += 1;
        self.stats.lookups += 1;
        search.lookup.add(self.starting_points(&search.lookup.target()));
        search.lookup.add(seed.filter(|seed| seed.id() != self.own));
        self.searches.count(search.purpose, 1);
        self.searches.running.insert(id, search);
        self.pump_search(id, now);
        id
    }

    /// Returns how a FIND_NODE for a purpose is done. Nobody's records depend on those of the own id and of refreshes.
    fn lookup_config(&self, purpose: Purpose) -> LookupConfig {
        let first = match purpose {
            Purpose::Command | Purpose::Publish(_) | Purpose::Replicate(_) => FIRST_CONTACTS,
            Purpose::Join | Purpose::Own | Purpose::Refresh | Purpose::Question(_) => 0,
        };
        LookupConfig { k: self.config.k, alpha: self.config.alpha, wanted: None, paths: 1, first }
    }

    /// Returns the closest live contacts, and stale ones where those are fewer than alpha (Kademlia paper, 4.1).
    fn starting_points(&self, target: &NodeId) -> Vec<Contact> {
        let mut points = self.table.closest(target, STARTING_POINTS * self.config.k);
        if points.len() < self.config.alpha {
            points.extend(self.table.closest_where(target, self.config.alpha, |known| !known.is_live()));
        }
        points
    }

    /// Returns those of the reported contacts that a lookup may ask.
    fn candidates(
        &mut self,
        id: LookupId,
        reporter: &Contact,
        reported: Vec<Contact>,
        now: Now,
    ) -> Vec<Contact> {
        let surplus = reported.len().saturating_sub(self.config.k);
        self.stats.refused_surplus += surplus as u64;
        let is_own = self.searches.running.get(&id).is_some_and(|search| search.purpose.is_own());
        let mut candidates = Vec::with_capacity(reported.len() - surplus);
        for contact in reported.into_iter().take(self.config.k) {
            if !self.config.family.admits(&contact.address()) {
                self.stats.refused_family += 1;
            } else if !is_in_scope(&contact, reporter) {
                self.stats.refused_scope += 1;
            } else if self.reach.is_reserved(&contact) {
                // It may be asked when it has dialled us, or has not.
            } else if contact.id() != self.own {
                candidates.extend(self.candidate(contact, is_own, now));
            }
        }
        candidates
    }

    /// Returns a contact that somebody named at the address that it proved to us, if it has; `None` if it is stale at the
    /// named address and has just failed again, unless the lookup is one of the own id.
    fn candidate(&self, named: Contact, is_own: bool, now: Now) -> Option<Contact> {
        let Some(known) = self.table.get(named.id()) else { return Some(named) };
        if known.is_live() {
            return Some(*known.contact());
        }
        let is_recent = |at| now.instant.saturating_duration_since(at) < SKIP_FAILED_FOR;
        let has_just_failed = *known.contact() == named && known.last_failure().is_some_and(is_recent);
        (is_own || !has_just_failed).then_some(named)
    }

    /// Sends what a lookup wants to ask, and ends it when it is done.
    fn pump_search(&mut self, id: LookupId, now: Now) {
        let Some(search) = self.searches.running.get_mut(&id) else { return };
        let mut asked = Vec::new();
        while let Some(contact) = search.lookup.poll_request() {
            asked.push(contact);
        }
        let (target, key, is_done) = (search.lookup.target(), search.key, search.lookup.is_done());
        let family = self.config.family;
        for contact in asked {
            let serves = self.is_serving_to(&contact);
            let rpc = match key {
                Some(key) => Rpc::FindValue { key, family, serves },
                None => Rpc::FindNode { target, family, serves },
            };
            self.call(contact, rpc, Why::Lookup(id), now);
        }
        if is_done {
            self.end_search(id, now);
        }
    }

    fn end_search(&mut self, id: LookupId, now: Now) {
        let Some(search) = idle::remove(&mut self.searches.running, &id) else { return };
        self.searches.count(search.purpose, -1);
        let place = search.lookup.target();
        let outcome = search.lookup.into_outcome();
        if search.key.is_none() {
            self.note_density(&place, &outcome, now);
        }
        self.stats.lookups_ended += 1;
        self.stats.lookup_hops += u64::from(outcome.hops);
        let has_answers = !outcome.closest.is_empty();
        match search.purpose {
            Purpose::Refresh => {}
            Purpose::Own => self.found_itself(has_answers, now),
            Purpose::Publish(publish) => self.publish_to(publish, outcome.closest, now),
            Purpose::Replicate(key) => self.replicate_to(key, outcome.closest, now),
            Purpose::Question(key) => self.question_jurors(key, outcome.closest, now),
            Purpose::Command => self.events.push_back(NodeEvent::LookupDone { id, outcome }),
            Purpose::Join => {
                self.events.push_back(NodeEvent::LookupDone { id, outcome });
                self.found_itself(has_answers, now);
            }
        }
    }
}
