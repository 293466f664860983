//! [`Candidate`]: a node that a lookup has heard of.

use super::super::contact::Contact;
use super::super::id::Distance;

/// How many addresses of one node a path tries: whoever invents addresses gains one request.
const MAX_LEADS_PER_PATH: usize = 2;

/// How far a candidate has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
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

/// An address that somebody on a path named.
#[derive(Clone, Copy, Debug)]
struct Lead {
    path: usize,
    contact: Contact,
    is_tried: bool,
}

/// A node that a lookup has heard of. Its state is the same for all paths; only those that heard of it look at it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) distance: Distance,
    pub(super) state: State,
    leads: Vec<Lead>,
    /// Where it answered, or was asked last.
    contact: Contact,
    /// The path that asked it last.
    asked_by: usize,
    /// Requests without an answer or a failure.
    in_flight: u8,
    /// How many requests in a row first led to it: 1 if we knew it ourselves.
    pub(super) hops: u32,
}

impl Candidate {
    pub(super) fn new(distance: Distance, path: usize, contact: Contact, hops: u32) -> Self {
        let leads = vec![Lead { path, contact, is_tried: false }];
        Self { distance, state: State::Unasked, leads, contact, asked_by: path, in_flight: 0, hops }
    }

    pub(super) const fn contact(&self) -> Contact {
        self.contact
    }

    /// Tells whether somebody on `path` named it.
    pub(super) fn is_on(&self, path: usize) -> bool {
        self.leads.iter().any(|lead| lead.path == path)
    }

    /// Tells whether we knew it ourselves.
    pub(super) const fn is_first(&self) -> bool {
        self.hops == 1
    }

    /// Tells whether it waits for an answer to a request of `path`.
    pub(super) fn is_waiting_for(&self, path: usize) -> bool {
        self.state == State::Waiting && self.asked_by == path
    }

    /// Tells whether `path` may ask it now.
    pub(super) fn is_open_to(&self, path: usize) -> bool {
        self.state == State::Unasked && self.leads.iter().any(|lead| lead.path == path && !lead.is_tried)
    }

    /// Keeps a second address: the first may have been invented to hide the node.
    pub(super) fn handle_named_again(&mut self, path: usize, contact: Contact) {
        let is_known = |lead: &Lead| lead.path == path && lead.contact == contact;
        let count = self.leads.iter().filter(|lead| lead.path == path).count();
        if count >= MAX_LEADS_PER_PATH || self.leads.iter().any(is_known) {
            return;
        }
        let is_tried = self.leads.iter().any(|lead| lead.contact == contact && lead.is_tried);
        self.leads.push(Lead { path, contact, is_tried });
        if self.state == State::Failed {
            self.reopen();
        }
    }

    /// Makes it unknown to a path; `true` if no path is left that knows it.
    pub(super) fn forget(&mut self, path: usize) -> bool {
        self.leads.retain(|lead| lead.path != path);
        self.leads.is_empty()
    }

    /// Takes that `path` asks it, and returns where.
    pub(super) fn ask(&mut self, path: usize) -> Option<Contact> {
        let contact = self.leads.iter().find(|lead| lead.path == path && !lead.is_tried)?.contact;
        let same = self.leads.iter_mut().filter(|lead| lead.contact == contact);
        same.for_each(|lead| lead.is_tried = true);
        (self.contact, self.asked_by, self.state) = (contact, path, State::Waiting);
        self.in_flight += 1;
        Some(contact)
    }

    /// Takes an answer of the node at `from`, and returns the path that asked; `None` if none did.
    pub(super) fn handle_answer(&mut self, from: Contact, has_value: bool) -> Option<usize> {
        self.in_flight = self.in_flight.checked_sub(1)?;
        if matches!(self.state, State::Answered { .. }) {
            return None;
        }
        let is_asked_there = |lead: &&Lead| lead.is_tried && lead.contact == from;
        let lead = self.leads.iter().find(is_asked_there).filter(|_| self.contact != from);
        let path = lead.map_or(self.asked_by, |lead| lead.path);
        (self.contact, self.state) = (from, State::Answered { has_value });
        Some(path)
    }

    /// Takes that the soft timeout of a request has passed.
    pub(super) fn handle_slow(&mut self) {
        if self.state == State::Waiting && !self.reopen() {
            self.state = State::Slow;
        }
    }

    /// Takes that the grace of a request has passed as well.
    pub(super) fn handle_overdue(&mut self) {
        if self.state == State::Slow {
            self.state = State::Overdue;
        }
    }

    /// Takes that a request will not be answered.
    pub(super) fn handle_failure(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_open = matches!(self.state, State::Waiting | State::Slow | State::Overdue);
        if is_open && self.in_flight == 0 && !self.reopen() {
            self.state = State::Failed;
        }
    }

    /// Lets it be asked at an address that was not tried; `false` if there is none.
    fn reopen(&mut self) -> bool {
        let is_untried = self.leads.iter().any(|lead| !lead.is_tried);
        if is_untried {
            self.state = State::Unasked;
        }
        is_untried
    }
}
