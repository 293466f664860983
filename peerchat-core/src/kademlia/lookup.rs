//! [`Lookup`]: one iterative FIND_NODE or FIND_VALUE.

use super::contact::Contact;
use super::id::{Distance, NodeId};
use super::record::Record;

/// How many requests one lookup sends at most. What hostile nodes invent can prolong it no further.
pub const MAX_LOOKUP_REQUESTS: usize = 128;

/// How many contacts one lookup keeps in mind; the farthest one that was not asked makes room.
pub const MAX_LOOKUP_CANDIDATES: usize = 128;

/// What a [`Lookup`] needs to know beside its target.
#[derive(Clone, Copy, Debug)]
pub struct LookupConfig {
    /// How many of the closest nodes are sought.
    pub k: usize,
    /// How many requests are in flight at a time.
    pub alpha: usize,
    /// How many values end the lookup at once; `None` for a FIND_NODE.
    pub wanted: Option<usize>,
}

/// A value that a node answered with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FoundValue {
    /// The node; our own id if the record is in our own store.
    pub from: NodeId,
    /// The record, its signature checked.
    pub record: Record,
}

/// What a lookup found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LookupOutcome {
    /// The closest nodes that answered, nearest first, at most k.
    pub closest: Vec<Contact>,
    /// The values, in the order of their arrival, one per node.
    pub values: Vec<FoundValue>,
    /// How many of the closest nodes answered that they do not keep the record.
    pub absent: usize,
}

/// How far a candidate has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Somebody named it; left when it is asked.
    Unasked,
    /// Asked, and its soft timeout is still to come.
    Waiting,
    /// Its soft timeout has passed: others are asked beside it, but the lookup does not end without it.
    Slow,
    /// It has had its grace as well: the lookup ends without it, though its answer still counts until then.
    Overdue,
    /// It answered. Final.
    Answered { has_value: bool },
    /// It will not answer. Final, unless somebody names another address.
    Failed,
}

#[derive(Clone, Debug)]
struct Candidate {
    distance: Distance,
    contact: Contact,
    /// The same node at another address, as somebody else named it.
    other: Option<Contact>,
    /// Requests without an answer or a failure.
    in_flight: u8,
    /// A second address is tried once: whoever invents addresses gains one request.
    has_tried_other: bool,
    state: State,
}

/// One iterative search for the k nodes closest to a target (Kademlia paper, 2.3), or for values kept there.
///
/// It keeps alpha requests in flight. When alpha answers in a row bring nothing closer it asks all of the k closest
/// it has heard of. It is done when the k closest nodes that can be reached have answered, or when enough values
/// are there. After every `handle_*` call, drain [`Self::poll_request`], then ask [`Self::is_done`].
///
/// It reads no clock: the caller tells when an answer is slow or overdue, and must report every request as answered
/// or failed in the end. Then every lookup ends, because it sends at most [`MAX_LOOKUP_REQUESTS`].
#[derive(Clone, Debug)]
pub struct Lookup {
    target: NodeId,
    config: LookupConfig,
    /// Nearest first.
    candidates: Vec<Candidate>,
    asked: usize,
    /// Answers in a row that brought nothing closer.
    fruitless: usize,
    values: Vec<FoundValue>,
}

impl Lookup {
    /// Starts a lookup; [`Self::add`] tells it where.
    #[must_use]
    pub const fn new(target: NodeId, config: LookupConfig) -> Self {
        Self { target, config, candidates: Vec::new(), asked: 0, fruitless: 0, values: Vec::new() }
    }

    /// Adds contacts that may be asked.
    pub fn add(&mut self, contacts: impl IntoIterator<Item = Contact>) {
        for contact in contacts {
            self.add_one(contact);
        }
    }

    /// Adds a value from our own store.
    pub fn add_own_value(&mut self, own: NodeId, record: Record) {
        self.values.push(FoundValue { from: own, record });
    }

    /// Takes the contacts that `from` returned; an answer that was not asked for changes nothing.
    pub fn handle_nodes(&mut self, from: &Contact, closer: &[Contact]) {
        if !self.mark_answered(from, false) {
            return;
        }
        let nearest = self.candidates.first().map(|candidate| candidate.distance);
        self.add(closer.iter().copied());
        let is_closer = self.candidates.first().map(|candidate| candidate.distance) < nearest;
        self.fruitless = if is_closer { 0 } else { self.fruitless + 1 };
    }

    /// Takes the value that `from` returned; an answer that was not asked for changes nothing.
    pub fn handle_value(&mut self, from: &Contact, record: Record) {
        if self.mark_answered(from, true) {
            self.fruitless += 1;
            self.values.push(FoundValue { from: from.id(), record });
        }
    }

    /// Notes that the soft timeout of a request has passed: it no longer counts against alpha.
    pub fn handle_slow(&mut self, id: NodeId) {
        let Some(candidate) = self.find(id).filter(|candidate| candidate.state == State::Waiting) else {
            return;
        };
        if !candidate.try_other() {
            candidate.state = State::Slow;
        }
    }

    /// Notes that a slow request has had its grace: the lookup no longer waits for it.
    pub fn handle_overdue(&mut self, id: NodeId) {
        if let Some(candidate) = self.find(id).filter(|candidate| candidate.state == State::Slow) {
            candidate.state = State::Overdue;
        }
    }

    /// Notes that a request will not be answered.
    pub fn handle_failure(&mut self, id: NodeId) {
        let Some(candidate) = self.find(id) else { return };
        candidate.in_flight = candidate.in_flight.saturating_sub(1);
        let is_open = matches!(candidate.state, State::Waiting | State::Slow | State::Overdue);
        if is_open && candidate.in_flight == 0 && !candidate.try_other() {
            candidate.state = State::Failed;
        }
    }

    /// Returns the next contact to ask.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Contact> {
        if self.has_enough_values() || self.asked >= MAX_LOOKUP_REQUESTS {
            return None;
        }
        let waiting = self.candidates.iter().filter(|candidate| candidate.state == State::Waiting).count();
        if waiting >= self.width() {
            return None;
        }
        let is_counted = |state| matches!(state, State::Waiting | State::Answered { .. });
        let mut counted = 0;
        for candidate in &mut self.candidates {
            if counted >= self.config.k {
                break;
            }
            if candidate.state == State::Unasked {
                candidate.state = State::Waiting;
                candidate.in_flight += 1;
                self.asked += 1;
                return Some(candidate.contact);
            }
            counted += usize::from(is_counted(candidate.state));
        }
        None
    }

    /// Tells whether nothing is left to ask or to wait for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        if self.has_enough_values() {
            return true;
        }
        let (mut answered, mut is_anyone_overdue) = (0, false);
        for candidate in &self.candidates {
            match candidate.state {
                State::Unasked if self.asked >= MAX_LOOKUP_REQUESTS => {}
                State::Unasked | State::Waiting | State::Slow => return false,
                State::Overdue => is_anyone_overdue = true,
                State::Answered { .. } => answered += 1,
                State::Failed => {}
            }
            if answered >= self.config.k {
                return true;
            }
        }
        // With no answer at all, even an overdue one is worth waiting for.
        answered > 0 || !is_anyone_overdue
    }

    /// Returns what was found.
    #[must_use]
    pub fn into_outcome(self) -> LookupOutcome {
        let (mut closest, mut absent) = (Vec::new(), 0);
        for candidate in &self.candidates {
            if let State::Answered { has_value } = candidate.state
                && closest.len() < self.config.k
            {
                closest.push(candidate.contact);
                absent += usize::from(!has_value);
            }
        }
        LookupOutcome { closest, values: self.values, absent }
    }

    /// Returns the place that is looked for.
    #[must_use]
    pub const fn target(&self) -> NodeId {
        self.target
    }

    fn width(&self) -> usize {
        let LookupConfig { k, alpha, .. } = self.config;
        if self.fruitless >= alpha { k.max(alpha) } else { alpha }
    }

    fn has_enough_values(&self) -> bool {
        self.config.wanted.is_some_and(|wanted| self.values.len() >= wanted.max(1))
    }

    fn add_one(&mut self, contact: Contact) {
        let distance = self.target.distance(&contact.id());
        let place = self.candidates.partition_point(|candidate| candidate.distance < distance);
        if let Some(candidate) = self.candidates.get_mut(place)
            && candidate.distance == distance
        {
            return candidate.handle_named_again(contact);
        }
        if place >= MAX_LOOKUP_CANDIDATES {
            return;
        }
        let state = State::Unasked;
        let candidate =
            Candidate { distance, contact, other: None, in_flight: 0, has_tried_other: false, state };
        self.candidates.insert(place, candidate);
        if self.candidates.len() > MAX_LOOKUP_CANDIDATES {
            let farthest = self.candidates.iter().rposition(|candidate| candidate.state == State::Unasked);
            farthest.map(|place| self.candidates.remove(place));
        }
    }

    fn mark_answered(&mut self, from: &Contact, has_value: bool) -> bool {
        let Some(candidate) = self.find(from.id()).filter(|candidate| candidate.in_flight > 0) else {
            return false;
        };
        candidate.in_flight -= 1;
        if matches!(candidate.state, State::Answered { .. }) {
            return false;
        }
        candidate.contact = *from;
        candidate.state = State::Answered { has_value };
        true
    }

    fn find(&mut self, id: NodeId) -> Option<&mut Candidate> {
        let distance = self.target.distance(&id);
        let place = self.candidates.binary_search_by_key(&distance, |candidate| candidate.distance).ok()?;
        self.candidates.get_mut(place)
    }
}

impl Candidate {
    /// Keeps a second address: the first may have been invented to hide the node.
    fn handle_named_again(&mut self, contact: Contact) {
        if contact == self.contact || self.has_tried_other {
            return;
        }
        self.other = self.other.or(Some(contact));
        if self.state == State::Failed {
            self.try_other();
        }
    }

    fn try_other(&mut self) -> bool {
        let Some(other) = self.other.take() else { return false };
        self.contact = other;
        self.has_tried_other = true;
        self.state = State::Unasked;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::kademlia::NodeKey;

    const CONFIG: LookupConfig = LookupConfig { k: 5, alpha: 3, wanted: None };

    fn contact(number: u16) -> Contact {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        Contact::new(NodeKey::from_bytes(key), ([10, 0, 0, 1], 1 + number % 60_000).into())
    }

    fn sorted(mut contacts: Vec<Contact>, target: NodeId) -> Vec<Contact> {
        contacts.sort_by_key(|contact| contact.id().distance(&target));
        contacts
    }

    /// What happens to a request.
    #[derive(Clone, Debug)]
    enum Fate {
        Answer(Vec<u16>),
        Failure,
        Silence,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            4 => proptest::collection::vec(0..300_u16, 0..8).prop_map(Fate::Answer),
            1 => Just(Fate::Failure),
            1 => Just(Fate::Silence),
        ]
    }

    proptest! {
        #[test]
        fn every_lookup_ends(fates in proptest::collection::vec(fate(), 1..60), target: [u8; 32], order: u64) {
            let mut lookup = Lookup::new(NodeId::from_bytes(target), CONFIG);
            lookup.add([contact(0), contact(1)]);
            let (mut in_flight, mut silent) = (Vec::new(), VecDeque::new());
            let mut asked = 0_usize;
            while !lookup.is_done() {
                while let Some(contact) = lookup.poll_request() {
                    prop_assert!(asked < MAX_LOOKUP_REQUESTS);
                    in_flight.push((contact, fates[asked % fates.len()].clone()));
                    asked += 1;
                }
                if in_flight.is_empty() {
                    // Nothing will be answered any more: the deadlines pass, and in the end the requests fail.
                    let (id, step) = silent.pop_front().expect("a lookup that waits has something to wait for");
                    match step {
                        0 => lookup.handle_overdue(id),
                        _ => lookup.handle_failure(id),
                    }
                    continue;
                }
                let (from, fate) = in_flight.remove(order as usize % in_flight.len());
                match fate {
                    Fate::Answer(closer) => {
                        let closer: Vec<_> = closer.into_iter().map(contact).collect();
                        lookup.handle_nodes(&from, &closer);
                    }
                    Fate::Failure => lookup.handle_failure(from.id()),
                    Fate::Silence => {
                        lookup.handle_slow(from.id());
                        silent.extend([(from.id(), 0), (from.id(), 1)]);
                    }
                }
            }
            let outcome = lookup.into_outcome();
            prop_assert!(outcome.closest.len() <= CONFIG.k);
            prop_assert_eq!(&sorted(outcome.closest.clone(), NodeId::from_bytes(target)), &outcome.closest);
        }

        #[test]
        fn a_lookup_finds_the_closest_of_an_honest_network(size in 1..200_u16, target: [u8; 32], seed: u16) {
            let target = NodeId::from_bytes(target);
            let nodes: Vec<_> = (0..size).map(contact).collect();
            let mut lookup = Lookup::new(target, CONFIG);
            lookup.add([contact(seed % size)]);
            let mut asked = BTreeSet::new();
            while !lookup.is_done() {
                let from = lookup.poll_request().expect("with every request answered there is one to send");
                prop_assert!(asked.insert(from.id()), "asked twice");
                lookup.handle_nodes(&from, &known_to(&from, &nodes, target));
            }
            let mut naive = sorted(nodes, target);
            naive.truncate(CONFIG.k);
            prop_assert_eq!(lookup.into_outcome().closest, naive);
        }
    }

    /// What a node answers that has full buckets of k, filled from the front of `nodes`.
    fn known_to(node: &Contact, nodes: &[Contact], target: NodeId) -> Vec<Contact> {
        let mut buckets = BTreeMap::<_, Vec<Contact>>::new();
        for other in nodes {
            if let Some(index) = node.id().distance(&other.id()).bucket_index() {
                let bucket = buckets.entry(index).or_default();
                if bucket.len() < CONFIG.k {
                    bucket.push(*other);
                }
            }
        }
        let mut closest = sorted(buckets.into_values().flatten().collect(), target);
        closest.truncate(CONFIG.k);
        closest
    }

    fn drain(lookup: &mut Lookup) -> Vec<Contact> {
        std::iter::from_fn(|| lookup.poll_request()).collect()
    }

    #[test]
    fn alpha_requests_are_in_flight_and_k_once_nothing_comes_closer() {
        let target = contact(0).id();
        let mut lookup = Lookup::new(target, CONFIG);
        lookup.add((0..20).map(contact));
        let first = drain(&mut lookup);
        assert_eq!(first.len(), CONFIG.alpha);
        lookup.handle_nodes(&first[0], &[]);
        assert_eq!(drain(&mut lookup).len(), 1);
        lookup.handle_nodes(&first[1], &[]);
        lookup.handle_nodes(&first[2], &[]);
        // Five in all: three have answered, one waits.
        assert_eq!(drain(&mut lookup).len(), 1);
    }

    #[test]
    fn a_slow_contact_does_not_stall_the_others_and_may_still_answer() {
        let target = contact(0).id();
        let mut lookup = Lookup::new(target, CONFIG);
        lookup.add((0..3).map(contact));
        let asked = drain(&mut lookup);
        lookup.handle_slow(asked[0].id());
        lookup.handle_nodes(&asked[1], &[]);
        lookup.handle_nodes(&asked[2], &[]);
        assert!(!lookup.is_done(), "a slow contact has its grace");
        let mut without = lookup.clone();
        without.handle_overdue(asked[0].id());
        assert!(without.is_done());
        assert_eq!(without.into_outcome().closest.len(), 2);
        lookup.handle_nodes(&asked[0], &[]);
        assert_eq!(lookup.into_outcome().closest.len(), 3);
    }

    #[test]
    fn an_invented_address_does_not_hide_a_node() {
        let (target, seed, node) = (contact(0).id(), contact(1), contact(0));
        let invented = Contact::new(node.key(), ([10, 9, 9, 9], 9).into());
        let mut lookup = Lookup::new(target, CONFIG);
        lookup.add([seed, contact(2)]);
        drain(&mut lookup);
        lookup.handle_nodes(&seed, &[invented]);
        assert_eq!(drain(&mut lookup), [invented]);
        lookup.handle_nodes(&contact(2), &[node]);
        lookup.handle_failure(node.id());
        assert_eq!(drain(&mut lookup), [node]);
        lookup.handle_nodes(&node, &[]);
        assert!(lookup.is_done());
        assert_eq!(lookup.into_outcome().closest.first(), Some(&node));
    }

    #[test]
    fn an_answer_that_was_not_asked_for_changes_nothing() {
        let mut lookup = Lookup::new(contact(0).id(), CONFIG);
        lookup.add([contact(1)]);
        lookup.handle_nodes(&contact(1), &[contact(2)]);
        lookup.handle_nodes(&contact(3), &[contact(2)]);
        assert_eq!(drain(&mut lookup), [contact(1)]);
        assert!(!lookup.is_done());
    }
}
