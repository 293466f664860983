//! [`Lookup`]: one iterative FIND_NODE or FIND_VALUE.

use super::contact::Contact;
use super::id::NodeId;
use super::record::Record;
use candidate::{Candidate, State};

mod candidate;
#[cfg(test)]
mod tests;

/// How many requests one lookup sends at most, all its paths together; each has an equal part of them. What hostile
/// nodes invent can prolong it no further.
pub const MAX_LOOKUP_REQUESTS: usize = 128;

/// How many contacts one lookup keeps in mind, each path an equal part; of each the farthest one that was not asked
/// makes room.
pub const MAX_LOOKUP_CANDIDATES: usize = 128;

/// How many disjoint paths a lookup of values takes (S/Kademlia, 4.4: Baumgart and Mies, 2007).
pub const LOOKUP_PATHS: usize = 3;

/// How many of the contacts that we know ourselves a lookup for records asks before it ends without enough values. Sybils
/// that are many name one another until there are k of them nearer to the target than whoever else the lookup has heard
/// of; what those whom we know ourselves name does not depend on them.
pub const FIRST_CONTACTS: usize = 9;

/// What a [`Lookup`] needs to know beside its target.
#[derive(Clone, Copy, Debug)]
pub struct LookupConfig {
    /// How many of the closest nodes are sought.
    pub k: usize,
    /// How many requests are in flight at a time, all paths together; at least one on each.
    pub alpha: usize,
    /// How many values end the lookup at once, unless two of one owner differ in sequence: then somebody's is outdated,
    /// and all of the k closest are asked. `None` for a FIND_NODE. No path provides more than its equal part of
    /// them, rounded up.
    pub wanted: Option<usize>,
    /// How many disjoint paths are taken, 1 or more. See [`LOOKUP_PATHS`].
    pub paths: usize,
    /// How many of the contacts to start from are asked before the lookup ends without enough values, however near those
    /// are that others named; each path an equal part, rounded up. See [`FIRST_CONTACTS`].
    pub first: usize,
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

/// One of the disjoint paths of a lookup.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    /// Candidates that somebody on the path named.
    known: usize,
    asked: usize,
    /// Of those asked, the ones that we knew ourselves.
    first_asked: usize,
    /// Answers in a row that brought nothing closer.
    fruitless: usize,
    values: usize,
}

/// One iterative search for the k nodes closest to a target (Kademlia paper, 2.3), or for values kept there.
///
/// It keeps alpha requests in flight. When alpha answers in a row bring nothing closer it asks all of the k closest
/// it has heard of. It is done when the k closest nodes that can be reached have answered, or when enough values
/// are there. After every `handle_*` call, drain [`Self::poll_request`], then ask [`Self::is_done`].
///
/// With several paths (S/Kademlia, 4.4) the first contacts are dealt out to them, a contact is asked by one path only,
/// and whom it names only that path hears of. So a liar spoils one path: what it invents uses up the requests of
/// that path, and what its accomplices answer counts as that path's part of the values. That a node has
/// answered counts for every path that knows it, so that three paths cost less than two lookups.
///
/// It reads no clock: the caller tells when an answer is slow or overdue, and must report every request as answered
/// or failed in the end. Then every lookup ends, because it sends at most [`MAX_LOOKUP_REQUESTS`].
#[derive(Clone, Debug)]
pub struct Lookup {
    target: NodeId,
    config: LookupConfig,
    /// Nearest first.
    #[expect(
        clippy::vec_box,
        reason = "every answer inserts k near the front: that moves pointers, not 200 bytes each"
    )]
    candidates: Vec<Box<Candidate>>,
    paths: Vec<Path>,
    /// The path that is given the next first contact.
    next_start: usize,
    /// The path that may ask next.
    next_turn: usize,
    own_values: usize,
    /// Two values of one owner differ in sequence.
    is_any_outdated: bool,
    values: Vec<FoundValue>,
}

impl Lookup {
    /// Starts a lookup; [`Self::add`] tells it where.
    #[must_use]
    pub fn new(target: NodeId, config: LookupConfig) -> Self {
        let paths = config.paths.clamp(1, MAX_LOOKUP_REQUESTS);
        Self {
            target,
            config: LookupConfig { paths, ..config },
            candidates: Vec::new(),
            paths: vec![Path::default(); paths],
            next_start: 0,
            next_turn: 0,
            own_values: 0,
            is_any_outdated: false,
            values: Vec::new(),
        }
    }

    /// Adds contacts to start from, dealt out to the paths in turn.
    pub fn add(&mut self, contacts: impl IntoIterator<Item = Contact>) {
        for contact in contacts {
            self.add_to(self.next_start, contact, 1);
            self.next_start = (self.next_start + 1) % self.config.paths;
        }
    }

    /// Adds a value from our own store.
    pub fn add_own_value(&mut self, own: NodeId, record: Record) {
        self.own_values += 1;
        self.take_value(own, record);
    }

    /// Takes the contacts that `from` returned; an answer that was not asked for changes nothing.
    pub fn handle_nodes(&mut self, from: &Contact, closer: &[Contact]) {
        let Some(path) = self.mark_answered(from, false) else { return };
        let nearest = self.on_path(path).next().map(|candidate| candidate.distance);
        let hops = self.find(from.id()).map_or(1, |candidate| candidate.hops + 1);
        closer.iter().for_each(|contact| self.add_to(path, *contact, hops));
        let is_closer = self.on_path(path).next().map(|candidate| candidate.distance) < nearest;
        if let Some(path) = self.paths.get_mut(path) {
            path.fruitless = if is_closer { 0 } else { path.fruitless + 1 };
        }
    }

    /// Takes the value that `from` returned; an answer that was not asked for changes nothing.
    pub fn handle_value(&mut self, from: &Contact, record: Record) {
        let Some(path) = self.mark_answered(from, true) else { return };
        self.take_value(from.id(), record);
        if let Some(path) = self.paths.get_mut(path) {
            path.fruitless += 1;
            path.values += 1;
        }
    }

    /// Notes that the soft timeout of a request has passed: it no longer counts against alpha.
    pub fn handle_slow(&mut self, id: NodeId) {
        if let Some(candidate) = self.find(id) {
            candidate.handle_slow();
        }
    }

    /// Notes that a slow request has had its grace: the lookup no longer waits for it.
    pub fn handle_overdue(&mut self, id: NodeId) {
        if let Some(candidate) = self.find(id) {
            candidate.handle_overdue();
        }
    }

    /// Notes that a request will not be answered.
    pub fn handle_failure(&mut self, id: NodeId) {
        if let Some(candidate) = self.find(id) {
            candidate.handle_failure();
        }
    }

    /// Returns the next contact to ask.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Contact> {
        if self.has_enough_values() {
            return None;
        }
        for turn in 0..self.config.paths {
            let path = (self.next_turn + turn) % self.config.paths;
            if let Some(contact) = self.poll_path(path) {
                self.next_turn = (path + 1) % self.config.paths;
                return Some(contact);
            }
        }
        None
    }

    /// Tells whether nothing is left to ask or to wait for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        if self.has_enough_values() {
            return true;
        }
        if (0..self.config.paths).any(|path| self.is_path_open(path)) {
            return false;
        }
        let is_any = |is: fn(&State) -> bool| self.candidates.iter().any(|candidate| is(&candidate.state));
        // With no answer at all, even an overdue one is worth waiting for.
        is_any(|state| matches!(state, State::Answered { .. })) || !is_any(|state| *state == State::Overdue)
    }

    /// Tells whether anybody has answered.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.candidates.iter().any(|candidate| matches!(candidate.state, State::Answered { .. }))
    }

    /// Returns what was found, on all paths.
    #[must_use]
    pub fn into_outcome(mut self) -> LookupOutcome {
        let (mut closest, mut absent) = (Vec::new(), 0);
        for candidate in &self.candidates {
            if let State::Answered { has_value } = candidate.state
                && closest.len() < self.config.k
            {
                closest.push(candidate.contact());
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

    /// Returns the next contact to ask on a path.
    fn poll_path(&mut self, path: usize) -> Option<Contact> {
        let waiting = self.candidates.iter().filter(|candidate| candidate.is_waiting_for(path)).count();
        if self.has_spent(path) || waiting >= self.width(path) {
            return None;
        }
        let (mut counted, needs_first) = (0, self.needs_first(path));
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.is_on(path)) {
            if candidate.is_open_to(path) && (counted < self.config.k || needs_first && candidate.is_first())
            {
                let path_state = self.paths.get_mut(path)?;
                path_state.asked += 1;
                path_state.first_asked += usize::from(candidate.is_first());
                return candidate.ask(path);
            }
            counted += usize::from(matches!(candidate.state, State::Waiting | State::Answered { .. }));
            if counted >= self.config.k && !needs_first {
                break;
            }
        }
        None
    }

    /// Tells whether a path has asked too few of the contacts that we know ourselves to end.
    fn needs_first(&self, path: usize) -> bool {
        let part = self.config.first.div_ceil(self.config.paths);
        self.paths.get(path).is_some_and(|path| path.first_asked < part)
    }

    /// Tells whether a path has something to ask or to wait for.
    fn is_path_open(&self, path: usize) -> bool {
        if self.lacking(path) == Some(0) {
            return false;
        }
        let (mut answered, needs_first) = (0, self.needs_first(path));
        for candidate in self.on_path(path) {
            let counts = answered < self.config.k || candidate.is_first();
            match candidate.state {
                State::Unasked if self.has_spent(path) || !candidate.is_open_to(path) => {}
                State::Unasked if counts => return true,
                State::Waiting | State::Slow if counts => return true,
                State::Answered { .. } => answered += 1,
                State::Unasked | State::Waiting | State::Slow | State::Overdue | State::Failed => {}
            }
            if answered >= self.config.k && !needs_first {
                return false;
            }
        }
        false
    }

    fn has_spent(&self, path: usize) -> bool {
        self.paths.get(path).is_none_or(|path| path.asked >= MAX_LOOKUP_REQUESTS / self.config.paths)
    }

    /// Returns how many requests a path may have in flight.
    fn width(&self, path: usize) -> usize {
        let LookupConfig { k, alpha, paths, .. } = self.config;
        let narrow = (alpha / paths + usize::from(path < alpha % paths)).max(1);
        let is_wide = self.paths.get(path).is_some_and(|path| path.fruitless >= alpha);
        let width = if is_wide { k.div_ceil(paths).max(narrow) } else { narrow };
        self.lacking(path).map_or(width, |lacking| width.min(lacking))
    }

    /// Returns how many values a path may still provide; `None` if there is no limit: for a FIND_NODE, and when some
    /// value is known to be outdated.
    fn lacking(&self, path: usize) -> Option<usize> {
        let part = self.part()?;
        let path = self.paths.get(path)?;
        (!self.is_any_outdated).then(|| part.saturating_sub(path.values))
    }

    /// Returns how many values each path provides at most; `None` for a FIND_NODE.
    fn part(&self) -> Option<usize> {
        Some(self.config.wanted?.max(1).div_ceil(self.config.paths))
    }

    fn has_enough_values(&self) -> bool {
        let (Some(wanted), Some(part)) = (self.config.wanted, self.part()) else { return false };
        let found: usize = self.paths.iter().map(|path| path.values.min(part)).sum();
        !self.is_any_outdated && self.own_values + found >= wanted.max(1)
    }

    fn take_value(&mut self, from: NodeId, record: Record) {
        let header = record.header();
        self.is_any_outdated |= self.values.iter().map(|value| value.record.header()).any(|other| {
            other.owner == header.owner && other.kind == header.kind && other.sequence != header.sequence
        });
        self.values.push(FoundValue { from, record });
    }

    fn add_to(&mut self, path: usize, contact: Contact, hops: u32) {
        let distance = self.target.distance(&contact.id());
        let place = self.candidates.partition_point(|candidate| candidate.distance < distance);
        let is_new = match self.candidates.get_mut(place).filter(|candidate| candidate.distance == distance) {
            Some(candidate) => {
                let is_new = !candidate.is_on(path);
                candidate.handle_named_again(path, contact);
                is_new
            }
            None => {
                self.candidates.insert(place, Box::new(Candidate::new(distance, path, contact, hops)));
                true
            }
        };
        let Some(known) = self.paths.get_mut(path).map(|path| &mut path.known) else { return };
        *known += usize::from(is_new);
        if *known > MAX_LOOKUP_CANDIDATES / self.config.paths {
            self.forget_farthest(path);
        }
    }

    /// Makes a path forget the farthest candidate that nobody has asked.
    fn forget_farthest(&mut self, path: usize) {
        let is_unasked = |candidate: &Candidate| candidate.state == State::Unasked && candidate.is_on(path);
        let mut candidates = self.candidates.iter().map(Box::as_ref);
        let Some(place) = candidates.rposition(is_unasked) else { return };
        if let Some(path) = self.paths.get_mut(path) {
            path.known -= 1;
        }
        if self.candidates.get_mut(place).is_some_and(|candidate| candidate.forget(path)) {
            self.candidates.remove(place);
        }
    }

    /// Takes that a node has answered, and returns the path that asked it; `None` if none did.
    fn mark_answered(&mut self, from: &Contact, has_value: bool) -> Option<usize> {
        self.find(from.id())?.handle_answer(*from, has_value)
    }

    fn on_path(&self, path: usize) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().map(Box::as_ref).filter(move |candidate| candidate.is_on(path))
    }

    fn find(&mut self, id: NodeId) -> Option<&mut Candidate> {
        let distance = self.target.distance(&id);
        let place = self.candidates.binary_search_by_key(&distance, |candidate| candidate.distance).ok()?;
        self.candidates.get_mut(place).map(Box::as_mut)
    }
}
