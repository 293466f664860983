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
    /// How many requests in a row led to the first value, or without one to the closest node: 1 if we knew who had it,
    /// 0 if we have it ourselves or nobody answered.
    pub hops: u32,
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
    /// How many requests in a row lead to it: 1 if we knew it ourselves.
    hops: u32,
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
            self.add_one(contact, 1);
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
        let hops = self.find(from.id()).map_or(1, |candidate| candidate.hops + 1);
        for contact in closer {
            self.add_one(*contact, hops);
        }
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
    pub fn into_outcome(mut self) -> LookupOutcome {
        let (mut closest, mut absent) = (Vec::new(), 0);
        for candidate in &self.candidates {
            if let State::Answered { has_value } = candidate.state
                && closest.len() < self.config.k
            {
                closest.push(candidate.contact);
                absent += usize::from(!has_value);
            }
        }
        let goal = self.values.first().map(|value| value.from).or(closest.first().map(Contact::id));
        let hops = goal.and_then(|id| self.find(id)).map_or(0, |candidate| candidate.hops);
        LookupOutcome { closest, values: self.values, absent, hops }
    }

    /// Returns the record with these bytes if some node has answered with it.
    #[must_use]
    pub fn value(&self, bytes: &[u8]) -> Option<&Record> {
        self.values.iter().map(|value| &value.record).find(|record| record.as_bytes() == bytes)
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

    fn add_one(&mut self, contact: Contact, hops: u32) {
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
            Candidate { distance, contact, other: None, in_flight: 0, has_tried_other: false, hops, state };
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
