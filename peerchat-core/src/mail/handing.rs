//! Mail is handed over: to nodes that have become holders, and by those that have ceased to be.

use std::collections::{BTreeMap, VecDeque};

use super::device_mail::{DeviceMail, Removed};
use super::kept::MailPlace;
use super::mailbox::{CallUse, MailAction, Mailbox, ReadUse};
use super::rpc::MailRequest;
use crate::kademlia::{Contact, NodeId};
use crate::save::Write;

/// Most hand-overs that wait or run; what finds no room is found again by the next review.
pub const MAX_HANDOVERS: usize = 256;

/// How many hand-overs run at a time.
const RUNNING: usize = 4;

/// How many envelopes of one hand-over are on their way at a time.
const WINDOW: usize = 8;

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
#[derive(Clone, Copy, Debug)]
struct Job {
    to: Contact,
    place: MailPlace,
    /// The node has the user record.
    is_introduced: bool,
    /// Everything up to this position was sent.
    sent_to: u64,
    in_flight: usize,
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
    /// Those that have taken everything from us.
    given: VecDeque<u64>,
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
        let handing = &mut self.handing;
        let is_same = |job: &Job| job.place == place && job.to.id() == to.id();
        let is_known = handing.waiting.iter().chain(handing.running.values()).any(is_same);
        if is_known {
            return;
        }
        if handing.waiting.len() + handing.running.len() >= MAX_HANDOVERS {
            return self.forget_holder(place, &to);
        }
        handing.waiting.push_back(Job { to, place, is_introduced: false, sent_to: 0, in_flight: 0 });
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
            let Some(mut job) = self.handing.waiting.pop_front() else { return };
            job.in_flight = 1;
            self.handing.last_job += 1;
            let id = JobId(self.handing.last_job);
            self.handing.running.insert(id, job);
            let tag = self.begin_call(CallUse::Job(id));
            self.actions.push_back(MailAction::Introduce { tag, to: job.to, mailbox: job.place.mailbox });
        }
    }

    /// Takes whether a node has taken what it was given: the user record, or an envelope.
    pub(super) fn handle_given(&mut self, id: JobId, is_taken: bool) {
        let Some(job) = self.handing.running.get_mut(&id) else { return };
        job.in_flight = job.in_flight.saturating_sub(1);
        job.is_introduced = true;
        if is_taken {
            self.go_on(id);
        } else {
            self.end_job(id, false);
        }
    }

    /// Takes an envelope that was read for a hand-over.
    pub(super) fn handle_read_to_give(&mut self, id: JobId, bytes: Option<Vec<u8>>) {
        let Some(job) = self.handing.running.get_mut(&id) else { return };
        let Some(envelope) = bytes else {
            // It was released meanwhile.
            job.in_flight = job.in_flight.saturating_sub(1);
            return self.go_on(id);
        };
        let to = job.to;
        let tag = self.begin_call(CallUse::Job(id));
        self.actions.push_back(MailAction::Call { tag, to, request: MailRequest::Deposit { envelope } });
    }

    /// Reads the next envelopes of a hand-over, or ends it.
    fn go_on(&mut self, id: JobId) {
        let written_to = self.written_to;
        while let Some(job) = self.handing.running.get_mut(&id).filter(|job| job.is_introduced) {
            let next = self.places.get(&job.place).and_then(|mail| mail.next_after(job.sent_to, written_to));
            match next {
                None if job.in_flight == 0 => return self.end_job(id, true),
                Some(position) if job.in_flight < WINDOW => {
                    job.sent_to = position;
                    job.in_flight += 1;
                    let read = self.begin_read(ReadUse::Job(id));
                    self.actions.push_back(MailAction::Read { id: read, position });
                }
                _ => return,
            }
        }
    }

    fn end_job(&mut self, id: JobId, is_complete: bool) {
        let Some(job) = self.handing.running.remove(&id) else { return };
        if !is_complete {
            self.forget_holder(job.place, &job.to);
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
