//! Mail is handed over: to nodes that have become holders, to those that lack some of it, and by those that have ceased to
//! be holders.

use std::collections::{BTreeMap, VecDeque};

use super::device_mail::{DeviceMail, Removed};
use super::kept::MailPlace;
use super::mailbox::{CallUse, MailAction, Mailbox, ReadUse};
use super::offering::{MailAnswer, Offers};
use super::rpc::{MAX_OFFERED, MailRequest, Offer};
use crate::kademlia::{Contact, NodeId};
use crate::save::Write;
use crate::time::Timestamp;

/// Most hand-overs that wait or run; what finds no room is found again by the next review.
pub const MAX_HANDOVERS: usize = 256;

/// How many hand-overs run at a time.
const RUNNING: usize = 4;

/// How many envelopes of one hand-over are on their way at a time.
const WINDOW: usize = 8;

/// How many envelopes of one hand-over may be refused for want of room: those that were on their way when the first was,
/// and as many of contacts.
const MAX_REFUSED: usize = 2 * WINDOW;

/// How many nodes must have taken everything before a node that is no holder any more drops it.
pub const RECEIVERS: usize = 2;

/// How many holders hand a newcomer the mail: one may be gone.
const GIVERS: usize = 2;

/// How many holders of one mailbox are remembered, so that one that comes back is no newcomer.
const MAX_KNOWN: usize = 64;

/// How many envelopes are dropped in one go once they were handed over.
const DROP_STEP: usize = 1024;

/// Names a hand-over.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct JobId(u64);

/// All mail of one device for one node.
#[derive(Debug)]
struct Job {
    to: Contact,
    place: MailPlace,
    /// It is offered what it probably has: that it does not take it says nothing.
    is_routine: bool,
    /// The node was given the user record.
    is_introduced: bool,
    /// Everything up to this position was offered.
    offered_to: u64,
    /// Envelopes that are being read, or deposited.
    in_flight: usize,
    /// How many were refused for want of room. Once one was, only contacts' mail is given: it has room of its own.
    refused: usize,
    /// Whether something was not taken for another reason: the node has not got all that there is.
    is_lacking: bool,
    step: Step,
}

/// How far a hand-over has come.
#[derive(Debug)]
enum Step {
    /// The node is asked whether it has the same. Left when it says so, or that something differs, or that it has no
    /// user record.
    Comparing,
    /// It is given the user record, once. Back to [`Self::Comparing`] when it has it.
    Introducing,
    /// It is asked which of the envelopes at these positions it lacks.
    Offering(Vec<u64>),
    /// It is given those at these positions, and then offered the next ones.
    Giving(VecDeque<u64>),
}

/// The hand-overs.
#[derive(Debug, Default)]
pub(super) struct Handing {
    waiting: VecDeque<Job>,
    running: BTreeMap<JobId, Job>,
    last_job: u64,
}

/// Who keeps the mail of a device beside us, as far as we know, by the first eight bytes of their ids.
#[derive(Debug, Default)]
pub(super) struct Holders {
    known: VecDeque<u64>,
    /// Those that have everything that is kept here.
    given: VecDeque<u64>,
    pub(super) offers: Offers,
}

impl Holders {
    fn short(id: &NodeId) -> u64 {
        id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    fn add(list: &mut VecDeque<u64>, id: &NodeId) {
        let short = Self::short(id);
        if !list.contains(&short) {
            if list.len() >= MAX_KNOWN {
                list.pop_front();
            }
            list.push_back(short);
        }
    }
}

impl Mailbox {
    /// Returns at most `count` places in whose order `after` comes before.
    #[must_use]
    pub fn places_after(&self, after: Option<MailPlace>, count: usize) -> Vec<MailPlace> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.places.range((from, std::ops::Bound::Unbounded)).take(count).map(|(place, _)| *place).collect()
    }

    /// Takes who are the closest nodes to a mailbox now beside `own`, which is this one. Those that were not before are
    /// handed the mail by the two nearest to each of those that were. The first time nobody is new: they are whom
    /// the depositor found as well. Whom others are to hand the mail stays new, for they may be found gone, until
    /// `is_settled`.
    pub fn handle_holders(&mut self, place: MailPlace, own: &NodeId, closest: &[Contact], is_settled: bool) {
        let Some(mail) = self.places.get_mut(&place).filter(|mail| mail.has_kept()) else { return };
        let is_first = !mail.knows_holders();
        let (old, new): (Vec<Contact>, Vec<Contact>) =
            closest.iter().partition(|contact| mail.holders.known.contains(&Holders::short(&contact.id())));
        let is_ours = |newcomer: &Contact| {
            let to = newcomer.id();
            let is_nearer = |contact: &&Contact| contact.id().distance(&to) < own.distance(&to);
            old.iter().filter(is_nearer).count() < GIVERS
        };
        let (ours, others): (Vec<Contact>, Vec<Contact>) =
            new.into_iter().partition(|newcomer| !is_first && is_ours(newcomer));
        for known in ours.iter().chain(others.iter().filter(|_| is_first || is_settled)) {
            Holders::add(&mut mail.holders.known, &known.id());
        }
        ours.into_iter().for_each(|newcomer| self.hand_over(place, newcomer));
    }

    /// Hands all mail of a device over to a node.
    pub fn hand_over(&mut self, place: MailPlace, to: Contact) {
        self.begin(place, to, false);
    }

    /// Offers all mail of a device to a node that probably has it.
    pub fn offer(&mut self, place: MailPlace, to: Contact) {
        self.begin(place, to, true);
    }

    /// Tells whether `count` more hand-overs leave room for newcomers.
    #[must_use]
    pub fn has_room_to_offer(&self, count: usize) -> bool {
        self.handing.waiting.len() + self.handing.running.len() + count <= MAX_HANDOVERS / 2
    }

    fn begin(&mut self, place: MailPlace, to: Contact, is_routine: bool) {
        let handing = &mut self.handing;
        let is_same = |job: &Job| job.place == place && job.to.id() == to.id();
        let mut jobs = handing.waiting.iter_mut().chain(handing.running.values_mut());
        if let Some(job) = jobs.find(|job| is_same(job)) {
            job.is_routine &= is_routine;
            return;
        }
        if handing.waiting.len() + handing.running.len() >= MAX_HANDOVERS {
            if !is_routine {
                self.forget_holder(place, &to);
            }
            return;
        }
        let (offered_to, in_flight, refused, step) = (0, 0, 0, Step::Comparing);
        let is_introduced = false;
        let job = Job {
            to,
            place,
            is_routine,
            is_introduced,
            offered_to,
            in_flight,
            refused,
            is_lacking: false,
            step,
        };
        handing.waiting.push_back(job);
        self.start_jobs();
    }

    /// Takes that this node is no holder of a mailbox any more, and who are: once [`RECEIVERS`] of the nearest have
    /// everything, it is dropped here.
    pub fn handle_replaced(&mut self, place: MailPlace, closest: &[Contact]) {
        let Some(mail) = self.places.get_mut(&place).filter(|mail| mail.has_kept()) else { return };
        let receivers = closest.get(..RECEIVERS).unwrap_or_default();
        let lacks = |contact: &&Contact| !mail.holders.given.contains(&Holders::short(&contact.id()));
        let lacking: Vec<_> = receivers.iter().filter(lacks).copied().collect();
        if receivers.is_empty() {
            return;
        }
        if lacking.is_empty() {
            return self.drop_handed_over(place);
        }
        lacking.into_iter().for_each(|to| self.hand_over(place, to));
    }

    fn drop_handed_over(&mut self, place: MailPlace) {
        let Some(mail) = self.places.get_mut(&place) else { return };
        let dropped = mail.remove_first(DROP_STEP);
        self.stats.handed_over += dropped.len() as u64;
        dropped.iter().for_each(|removed| self.subtract(removed));
        self.forget_if_empty(place);
        let writes = dropped.iter().map(|removed| Write::MailGone { position: removed.position }).collect();
        self.actions.push_back(MailAction::Save { writes, then: None });
    }

    fn start_jobs(&mut self) {
        while self.handing.running.len() < RUNNING {
            let Some(job) = self.handing.waiting.pop_front() else { return };
            self.handing.last_job += 1;
            let id = JobId(self.handing.last_job);
            self.handing.running.insert(id, job);
            self.compare_with(id);
        }
    }

    /// Asks a node whether it has everything.
    fn compare_with(&mut self, id: JobId) {
        let Some(job) = self.handing.running.get_mut(&id) else { return };
        let (to, place) = (job.to, job.place);
        job.step = Step::Comparing;
        match self.places.get_mut(&place).filter(|mail| mail.has_kept()) {
            Some(mail) => {
                let offer = Offer::All(mail.digest());
                self.send_offer(id, to, place, offer);
            }
            None => self.end_job(id, true),
        }
    }

    fn send_offer(&mut self, id: JobId, to: Contact, place: MailPlace, offer: Offer) {
        let tag = self.begin_call(CallUse::Job(id));
        let request = MailRequest::Offer { mailbox: place.mailbox, device: place.device, offer };
        self.actions.push_back(MailAction::Call { tag, to, request });
    }

    /// Takes what a node that is handed something over has answered.
    pub(super) fn handle_given(&mut self, id: JobId, answer: MailAnswer, time: Timestamp) {
        let Some(job) = self.handing.running.get_mut(&id) else { return };
        match (&mut job.step, answer) {
            (Step::Comparing, MailAnswer::NoRecord) if !job.is_introduced => {
                job.is_introduced = true;
                job.step = Step::Introducing;
                let (to, mailbox) = (job.to, job.place.mailbox);
                let tag = self.begin_call(CallUse::Job(id));
                self.actions.push_back(MailAction::Introduce { tag, to, mailbox });
            }
            (Step::Introducing, MailAnswer::Done) => self.compare_with(id),
            (Step::Comparing, MailAnswer::Wanted { missing: 0, .. }) => self.end_job(id, true),
            (Step::Comparing, MailAnswer::Wanted { .. }) => self.offer_next(id, time),
            (Step::Offering(positions), MailAnswer::Wanted { missing, released }) => {
                let (positions, place) = (std::mem::take(positions), job.place);
                let by = job.to.id().as_bytes().first().copied().unwrap_or(0);
                let with = |bits: u64| {
                    let at = positions.iter().zip(0..64).filter(move |(_, bit)| bits >> bit & 1 == 1);
                    at.map(|(position, _)| *position)
                };
                job.step = Step::Giving(with(missing & !released).collect());
                if let Some(mail) = self.places.get_mut(&place) {
                    with(released).for_each(|position| mail.doubt(position, by));
                }
                self.give_next(id, time);
            }
            (Step::Giving(_), MailAnswer::Done) => {
                job.in_flight = job.in_flight.saturating_sub(1);
                self.give_next(id, time);
            }
            (Step::Giving(_), MailAnswer::NotTaken) => {
                job.is_lacking = true;
                job.in_flight = job.in_flight.saturating_sub(1);
                self.give_next(id, time);
            }
            (Step::Giving(_), MailAnswer::NoRoom) if job.refused < MAX_REFUSED => {
                job.refused += 1;
                job.in_flight = job.in_flight.saturating_sub(1);
                self.give_next(id, time);
            }
            _ => self.end_job(id, false),
        }
    }

    /// Takes an envelope that was read for a hand-over.
    pub(super) fn handle_read_to_give(&mut self, id: JobId, bytes: Option<Vec<u8>>, time: Timestamp) {
        let Some(job) = self.handing.running.get_mut(&id) else { return };
        let Some(envelope) = bytes else {
            // It was released meanwhile.
            job.in_flight = job.in_flight.saturating_sub(1);
            return self.give_next(id, time);
        };
        let to = job.to;
        let tag = self.begin_call(CallUse::Job(id));
        self.actions.push_back(MailAction::Call { tag, to, request: MailRequest::Deposit { envelope } });
    }

    /// Asks which of the next envelopes a node lacks, or ends the hand-over.
    fn offer_next(&mut self, id: JobId, time: Timestamp) {
        let written_to = self.written_to;
        let Some(job) = self.handing.running.get_mut(&id) else { return };
        let mail = self.places.get(&job.place);
        let next =
            mail.map(|mail| mail.to_offer(job.offered_to..written_to, MAX_OFFERED, job.refused > 0, time));
        let next = next.unwrap_or_default();
        let is_complete = job.refused == 0 && !job.is_lacking;
        let Some((last, _)) = next.last() else { return self.end_job(id, is_complete) };
        job.offered_to = *last;
        let (to, place) = (job.to, job.place);
        let (positions, tags) = next.into_iter().unzip();
        job.step = Step::Offering(positions);
        self.send_offer(id, to, place, Offer::These(tags));
    }

    /// Reads the next envelopes that a node lacks, or goes on to offer it others.
    fn give_next(&mut self, id: JobId, time: Timestamp) {
        loop {
            let Some(job) = self.handing.running.get_mut(&id) else { return };
            let Step::Giving(positions) = &mut job.step else { return };
            if positions.is_empty() && job.in_flight == 0 {
                return self.offer_next(id, time);
            }
            if job.in_flight >= WINDOW {
                return;
            }
            let Some(position) = positions.pop_front() else { return };
            let mail = self.places.get(&job.place);
            if job.refused > 0 && !mail.is_some_and(|mail| mail.is_of_contact(position)) {
                continue;
            }
            job.in_flight += 1;
            let read = self.begin_read(ReadUse::Job(id));
            self.actions.push_back(MailAction::Read { id: read, position });
        }
    }

    fn end_job(&mut self, id: JobId, is_complete: bool) {
        let Some(job) = self.handing.running.remove(&id) else { return };
        if !is_complete {
            if !job.is_routine {
                self.forget_holder(job.place, &job.to);
            }
        } else if let Some(mail) = self.places.get_mut(&job.place) {
            Holders::add(&mut mail.holders.given, &job.to.id());
        }
        self.start_jobs();
    }

    /// Sees to it that the next review finds a node to be new again.
    fn forget_holder(&mut self, place: MailPlace, contact: &Contact) {
        if let Some(mail) = self.places.get_mut(&place) {
            let short = Holders::short(&contact.id());
            mail.holders.known.retain(|other| *other != short);
        }
    }
}

/// What a [`DeviceMail`] says of itself to those who hand it over.
impl DeviceMail {
    pub(super) fn knows_holders(&self) -> bool {
        !self.holders.known.is_empty()
    }

    pub(super) fn has_kept(&self) -> bool {
        self.first_position().is_some()
    }

    fn remove_first(&mut self, count: usize) -> Vec<Removed> {
        let next = |mail: &mut Self| mail.first_position().and_then(|position| mail.remove(position));
        std::iter::from_fn(|| next(self)).take(count).collect()
    }
}
