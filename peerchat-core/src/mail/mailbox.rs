//! [`Mailbox`]: the mail that a node keeps for people who are away.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::announcing::Presences;
use super::device_mail::{DeviceMail, Load, Page, Removed, charge};
use super::envelope::{EnvelopeId, SealedEnvelope};
use super::handing::{Handing, JobId};
use super::kept::{Depositor, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope};
use super::offering::MailAnswer;
use super::rpc::{MAX_LISTED, MailRefusal, MailRequest, MailResponse, Release};
use super::token::TokenTag;
use super::work::Work;
use crate::idle;
use crate::kademlia::{Contact, NodeId, RecordKey, WallClock, WallTime};
use crate::limits::Limits;
use crate::save::Write;
use crate::time::{Now, Timestamp};

#[cfg(test)]
mod tests;

/// How much mail a node keeps in all, in bytes, unless told otherwise; each envelope counts with
/// [`super::KEPT_OVERHEAD`].
pub const DEFAULT_MAIL_QUOTA: u64 = 1 << 30;

/// One network may take one part in this many of the room that is left in all.
pub const TOTAL_SHARE: u64 = 8;

/// How many nodes beyond the k closest still take mail: whoever deposits may know fewer of them.
pub const HOLDER_SLACK: usize = 4;

/// Longest time that mail is kept, from when it arrives.
pub const MAX_MAIL_LIFETIME: Duration = Duration::from_secs(31 * 24 * 3600);

/// Most released envelopes that are remembered in all; when there are more, the mailbox with the most forgets some.
pub const MAX_RELEASED_IN_ALL: usize = 1 << 18;

/// Most envelopes that are kept in all unless told otherwise, beside the quota in bytes.
pub const DEFAULT_MAIL_COUNT: usize = 1 << 17;

/// Most devices for which something is kept or remembered. For one more nothing is.
pub const MAX_PLACES: usize = 4096;

/// Most bytes of envelopes that wait for the disk; what comes beyond is answered "busy".
pub const MAX_UNWRITTEN_LEN: usize = 8 << 20;

/// Most envelopes that are being read from disk; one more FETCH is answered "busy".
pub const MAX_READS: usize = 256;

/// How often what has expired is dropped. Nobody is ever given it.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// How many envelopes of one mailbox, and about how many in all, are dropped in one go when they have expired.
const EXPIRE_STEP: usize = 1024;

/// When the next go follows, if there is more.
const EXPIRE_PAUSE: Duration = Duration::from_millis(100);

/// Names a request of somebody else until it is answered.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MailTag(pub u64);

/// Names an envelope that is being read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MailReadId(pub u64);

/// Names a call of the mailbox until it is answered.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MailCallTag(pub u64);

/// How this node stands to a mailbox, by its routing table and the records that it keeps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Whether it serves and, but for [`HOLDER_SLACK`], is one of the k closest.
    pub is_holder: bool,
    /// The devices that the user record of the mailbox lists, `None` if no such record is kept here.
    pub devices: Option<Vec<NodeId>>,
    /// Whether it is one of the k closest that asks, as far as is known here: it hands over what it was given, maybe under
    /// tokens that have expired since.
    pub is_holder_asking: bool,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum MailAction {
    /// Answer a request.
    Reply {
        /// The request.
        to: MailTag,
        /// The answer.
        response: MailResponse,
    },
    /// Save, and hand back the effect once that is on disk; without writes, once everything asked for before is.
    Save {
        /// What.
        writes: Vec<Write>,
        /// What follows.
        then: Option<MailEffect>,
    },
    /// Read an envelope from disk; answer with [`Mailbox::handle_read`].
    Read {
        /// To be repeated.
        id: MailReadId,
        /// Which one.
        position: u64,
    },
    /// Send a request about mail; answer with [`Mailbox::handle_answer`].
    Call {
        /// To be repeated.
        tag: MailCallTag,
        /// Whom to ask.
        to: Contact,
        /// What to ask: WAITING, OFFER or DEPOSIT.
        request: MailRequest,
    },
    /// Find out now who the holders of a mailbox are: the first mail for it has come; see [`Mailbox::handle_holders`].
    Review {
        /// Whose mail it is.
        place: MailPlace,
    },
    /// STORE the user record of a mailbox at a node that is to keep its mail; answer with [`Mailbox::handle_answer`].
    Introduce {
        /// To be repeated.
        tag: MailCallTag,
        /// Where to store it.
        to: Contact,
        /// The key of the record.
        mailbox: RecordKey,
    },
}

/// What follows once something is on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailEffect {
    to: MailTag,
    response: MailResponse,
    /// An envelope that can be given out from now on.
    kept: Option<NewMail>,
}

/// An envelope on its way to the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct NewMail {
    place: MailPlace,
    position: u64,
    len: usize,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MailStats {
    /// Envelopes taken.
    pub deposited: u64,
    /// Requests refused, for whatever reason.
    pub refused: u64,
    /// Of these, for want of room.
    pub refused_full: u64,
    /// Of these, because the disk or the answers did not keep up.
    pub refused_busy: u64,
    /// Of these, because a stranger had not worked as much as the room asked for.
    pub refused_work: u64,
    /// Of these, because what was shown for a token was none, or one that had expired.
    pub refused_token: u64,
    /// Envelopes given to their recipients.
    pub fetched: u64,
    /// Envelopes that their recipients have released.
    pub released: u64,
    /// Envelopes that nobody fetched in time.
    pub expired: u64,
    /// Envelopes dropped because others are to keep them, and have them.
    pub handed_over: u64,
}

/// What an envelope is being read for.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadUse {
    /// For its recipient.
    Fetch { to: MailTag, place: MailPlace, position: u64 },
    /// For another holder.
    Job(JobId),
}

/// What a call was made for.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallUse {
    Waiting(MailPlace),
    Job(JobId),
}

/// The mail that a node keeps for people who are away: an index in memory, the envelopes themselves on disk.
///
/// After any call that takes `&mut self`, drain [`Self::poll_action`], then ask [`Self::poll_timeout`].
#[derive(Debug)]
pub struct Mailbox {
    quota: u64,
    pub(super) limits: Arc<Limits>,
    wall: WallClock,
    pub(super) places: BTreeMap<MailPlace, Box<DeviceMail>>,
    kept_count: usize,
    kept_len: u64,
    released_count: usize,
    /// How much each network has taken.
    depositors: BTreeMap<Depositor, Load>,
    last_position: u64,
    /// Every envelope up to this position is on disk.
    pub(super) written_to: u64,
    unwritten_len: usize,
    reads: BTreeMap<MailReadId, ReadUse>,
    last_read: u64,
    calls: BTreeMap<MailCallTag, CallUse>,
    last_call: u64,
    pub(super) presences: Presences,
    pub(super) handing: Handing,
    expire_at: Option<Instant>,
    pub(super) actions: VecDeque<MailAction>,
    pub(super) stats: MailStats,
}

impl Mailbox {
    /// Takes back what was kept. `quota` is how many bytes are kept in all.
    #[must_use]
    pub fn new(
        quota: u64,
        limits: Arc<Limits>,
        kept: &[KeptEnvelope],
        released: &[ReleasedEnvelope],
        now: Now,
    ) -> Self {
        let mut mailbox = Self {
            quota,
            limits,
            wall: WallClock::new(now),
            places: BTreeMap::new(),
            kept_count: 0,
            kept_len: 0,
            released_count: 0,
            depositors: BTreeMap::new(),
            last_position: kept.iter().map(|kept| kept.position).max().unwrap_or(0),
            written_to: 0,
            unwritten_len: 0,
            reads: BTreeMap::new(),
            last_read: 0,
            calls: BTreeMap::new(),
            last_call: 0,
            presences: Presences::default(),
            handing: Handing::default(),
            expire_at: None,
            actions: VecDeque::new(),
            stats: MailStats::default(),
        };
        mailbox.written_to = mailbox.last_position;
        for envelope in kept {
            mailbox.insert(envelope);
        }
        for released in released {
            mailbox.note_released(released);
        }
        mailbox.schedule_expiry(now);
        mailbox
    }

    // Getters.

    /// Returns how many envelopes are kept.
    #[must_use]
    pub const fn kept_count(&self) -> usize {
        self.kept_count
    }

    /// Returns how much of the quota is used, in bytes.
    #[must_use]
    pub const fn kept_len(&self) -> u64 {
        self.kept_len
    }

    /// Returns how many released envelopes are remembered.
    #[must_use]
    pub const fn released_count(&self) -> usize {
        self.released_count
    }

    /// Returns counts of what happened so far.
    #[must_use]
    pub const fn stats(&self) -> &MailStats {
        &self.stats
    }

    // Handlers.

    /// Takes a DEPOSIT of `from`.
    pub fn handle_deposit(
        &mut self,
        to: MailTag,
        from: &Contact,
        bytes: &[u8],
        standing: &Standing,
        now: Now,
    ) {
        let time = self.wall.read(now);
        match self.take(from, bytes, standing, time) {
            Ok((writes, kept)) => {
                let then = Some(MailEffect { to, response: MailResponse::Deposited, kept });
                self.actions.push_back(MailAction::Save { writes, then });
            }
            Err(refusal) => self.refuse(to, refusal),
        }
        self.schedule_expiry(now);
    }

    /// Takes a COLLECT of the device `from`, which the link has proven.
    pub fn handle_collect(&mut self, to: MailTag, from: Contact, mailbox: RecordKey, after: u64, now: Now) {
        let time = self.wall.read(now).steady;
        let place = MailPlace { mailbox, device: from.id() };
        self.note_present(place, from, now);
        let mail = self.places.get(&place);
        let listed = mail.map(|mail| mail.list(after, self.written_to, MAX_LISTED, time));
        let Page { ids, large, next } = listed.unwrap_or_default();
        self.reply(to, MailResponse::Listed { ids, large, next });
    }

    /// Takes a FETCH of the device `from`, which the link has proven.
    pub fn handle_fetch(&mut self, to: MailTag, from: NodeId, mailbox: RecordKey, id: &EnvelopeId, now: Now) {
        let time = self.wall.read(now).steady;
        let place = MailPlace { mailbox, device: from };
        let position = self.places.get(&place).and_then(|mail| {
            let position = mail.position_of(id)?;
            (position <= self.written_to && mail.is_alive(position, time)).then_some(position)
        });
        let Some(position) = position else { return self.refuse(to, MailRefusal::Gone) };
        if self.reads.len() >= self.limits.mail_reads {
            return self.refuse(to, MailRefusal::Busy);
        }
        let read = self.begin_read(ReadUse::Fetch { to, place, position });
        self.actions.push_back(MailAction::Read { id: read, position });
    }

    /// Takes a RELEASE. It is the device's signature that counts, not who brings it.
    pub fn handle_release(&mut self, to: MailTag, release: &Release, standing: &Standing, now: Now) {
        let place = MailPlace { mailbox: release.mailbox, device: release.device.node_id() };
        let is_listed = standing.is_holder
            && standing.devices.as_ref().is_some_and(|devices| devices.contains(&place.device));
        // Who has no mail here and could have none needs no answer that takes a signature's time to find.
        if !is_listed && !self.places.contains_key(&place) {
            let refusal = match standing.devices {
                None => MailRefusal::UnknownMailbox,
                Some(_) if standing.is_holder => MailRefusal::NotListed,
                Some(_) => MailRefusal::NotHolder,
            };
            return self.refuse(to, refusal);
        }
        if !release.is_signed() {
            return self.refuse(to, MailRefusal::Invalid);
        }
        let time = self.wall.read(now);
        let writes = release.ids.iter().flat_map(|id| self.release(place, id, is_listed, time)).collect();
        let then = Some(MailEffect { to, response: MailResponse::Released, kept: None });
        self.actions.push_back(MailAction::Save { writes, then });
        self.forget_if_empty(place);
        self.schedule_expiry(now);
    }

    /// Takes that what an effect depended on is on disk.
    pub fn handle_written(&mut self, effect: MailEffect, now: Now) {
        let MailEffect { to, response, kept } = effect;
        self.reply(to, response);
        if let Some(NewMail { place, position, len }) = kept {
            self.written_to = self.written_to.max(position);
            self.unwritten_len = self.unwritten_len.saturating_sub(len);
            self.stats.deposited += 1;
            self.announce(place, now);
        }
    }

    /// Takes what came of a call.
    pub fn handle_answer(&mut self, tag: MailCallTag, answer: MailAnswer, now: Now) {
        match idle::remove(&mut self.calls, &tag) {
            Some(CallUse::Waiting(place)) => self.handle_told(place, answer == MailAnswer::Done, now),
            Some(CallUse::Job(job)) => {
                let time = self.wall.read(now).steady;
                self.handle_given(job, answer, time);
            }
            None => {}
        }
    }

    /// Takes the bytes of an envelope that was read, `None` if they are not there or cannot be read.
    pub fn handle_read(&mut self, id: MailReadId, bytes: Option<Vec<u8>>, now: Now) {
        let (to, place, position) = match idle::remove(&mut self.reads, &id) {
            Some(ReadUse::Fetch { to, place, position }) => (to, place, position),
            Some(ReadUse::Job(job)) => {
                let time = self.wall.read(now).steady;
                return self.handle_read_to_give(job, bytes, time);
            }
            None => return,
        };
        // It may have been released meanwhile.
        let is_kept = self.places.get(&place).is_some_and(|mail| mail.is_kept(position));
        match bytes.filter(|_| is_kept) {
            Some(bytes) => {
                self.stats.fetched += 1;
                self.reply(to, MailResponse::Fetched(Admission::cut_off(bytes)));
            }
            None => self.refuse(to, MailRefusal::Gone),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.expire_at.is_some_and(|at| at <= now.instant) {
            self.expire(now);
        }
    }

    // Polls.

    /// Returns the next thing to do.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<MailAction> {
        idle::pop(&mut self.actions)
    }

    /// Returns when [`Self::handle_timeout`] is next due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.expire_at.map(|at| (at, "mail expiry"))
    }

    /// Returns how many envelopes wait for a device; those on their way to the disk count as well.
    pub(super) fn waiting_count(&self, place: &MailPlace) -> Option<u32> {
        self.places.get(place).map(|mail| u32::try_from(mail.kept_count()).unwrap_or(u32::MAX))
    }

    pub(super) fn begin_call(&mut self, what_for: CallUse) -> MailCallTag {
        self.last_call += 1;
        let tag = MailCallTag(self.last_call);
        self.calls.insert(tag, what_for);
        tag
    }

    pub(super) fn begin_read(&mut self, what_for: ReadUse) -> MailReadId {
        self.last_read += 1;
        let id = MailReadId(self.last_read);
        self.reads.insert(id, what_for);
        id
    }

    /// Decides about an envelope; what is to be written, and what can be given out then.
    fn take(
        &mut self,
        from: &Contact,
        bytes: &[u8],
        standing: &Standing,
        time: WallTime,
    ) -> Result<(Vec<Write>, Option<NewMail>), MailRefusal> {
        let (envelope, admission) = Admission::split(bytes).ok_or(MailRefusal::Invalid)?;
        let envelope = SealedEnvelope::parse(envelope).map_err(|_| MailRefusal::Invalid)?;
        let header = *envelope.header();
        if header.expires <= time.steady || header.expires > time.shown.saturating_add(MAX_MAIL_LIFETIME) {
            return Err(MailRefusal::Invalid);
        }
        let place = MailPlace { mailbox: header.mailbox, device: header.device };
        let mail = self.places.get(&place);
        if mail.is_some_and(|mail| mail.position_of(&envelope.id()).is_some()) {
            // It may still be on its way to the disk, so the answer waits for what was asked for before.
            return Ok((Vec::new(), None));
        }
        if mail.is_some_and(|mail| mail.is_released(&envelope.id())) {
            return Err(MailRefusal::Gone);
        }
        admit(standing, &header.device)?;
        let depositor = Depositor::of(&from.address());
        let token = match &admission {
            Admission::Token(proof) => proof.tag(),
            Admission::Nothing | Admission::Work(_) => TokenTag::NONE,
        };
        let kept = KeptEnvelope::new(&envelope, self.last_position + 1, bytes.len(), depositor, token);
        self.check_room(&kept)?;
        let len = bytes.len();
        if self.unwritten_len + len > self.limits.unwritten_len {
            return Err(MailRefusal::Busy);
        }
        // Signatures last: they cost most.
        self.check_admission(&kept, &admission, standing, time.steady)?;
        if !self.insert(&kept) {
            return Err(MailRefusal::Full);
        }
        if self.places.get(&place).is_some_and(|mail| !mail.knows_holders()) {
            self.actions.push_back(MailAction::Review { place });
        }
        self.last_position = kept.position;
        self.unwritten_len += len;
        let waits = Some(NewMail { place, position: kept.position, len });
        Ok((vec![Write::MailKept { envelope: kept, bytes: bytes.into() }], waits))
    }

    /// Tells whether what has come with an envelope is enough: of a stranger so much work as the room asks for, of whoever
    /// shows a token that it is one. To a holder that hands an envelope over it was shown in its time.
    fn check_admission(
        &self,
        envelope: &KeptEnvelope,
        admission: &Admission,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<(), MailRefusal> {
        let KeptEnvelope { place, id, .. } = envelope;
        let nonce = match admission {
            Admission::Token(proof) => {
                let is_late = proof.has_expired(now) && !standing.is_holder_asking;
                let is_good = !is_late && proof.is_for(&place.mailbox, &place.device, id);
                return is_good.then_some(()).ok_or(MailRefusal::BadToken);
            }
            Admission::Work(nonce) => Some(*nonce),
            Admission::Nothing => None,
        };
        let bits = self.places.get(place).map_or(0, |mail| mail.work_bits(&self.limits));
        let work = Work { envelope: *id, bits };
        let is_done = bits == 0 || nonce.is_some_and(|nonce| work.is_done_by(nonce));
        is_done.then_some(()).ok_or(MailRefusal::WorkNeeded { bits })
    }

    /// Tells whether there is room for an envelope: in its mailbox, for its depositor, and in all.
    fn check_room(&self, envelope: &KeptEnvelope) -> Result<(), MailRefusal> {
        let (charge, depositor) = (charge(envelope.len), envelope.depositor);
        let free = self.quota.saturating_sub(self.kept_len);
        let free_count = self.limits.mail_count.saturating_sub(self.kept_count) as u64;
        let taken = self.depositors.get(&depositor).copied().unwrap_or_default();
        let is_fair = depositor == Depositor::LOCAL
            || (taken.len + charge).saturating_mul(TOTAL_SHARE) <= free
                && (taken.count + 1) * TOTAL_SHARE <= free_count;
        let has_room = match self.places.get(&envelope.place) {
            Some(mail) => mail.has_room(charge, (depositor, envelope.token), &self.limits),
            None => self.places.len() < self.limits.mail_places,
        };
        let is_left = charge <= free && free_count > 0;
        if is_left && is_fair && has_room { Ok(()) } else { Err(MailRefusal::Full) }
    }

    /// Enters an envelope into the index; `false` if one of its tag is in its mailbox.
    fn insert(&mut self, envelope: &KeptEnvelope) -> bool {
        let is_new = self.places.entry(envelope.place).or_default().insert(envelope);
        if is_new {
            let charge = charge(envelope.len);
            self.kept_count += 1;
            self.kept_len += charge;
            if envelope.depositor != Depositor::LOCAL {
                self.depositors.entry(envelope.depositor).or_default().add(charge);
            }
        }
        is_new
    }

    /// Takes what has left a mailbox off the counts.
    pub(super) fn subtract(&mut self, removed: &Removed) {
        self.kept_count -= 1;
        self.kept_len -= removed.charge;
        if let Some(taken) = self.depositors.get_mut(&removed.depositor) {
            taken.subtract(removed.charge);
            if taken.count == 0 {
                idle::remove(&mut self.depositors, &removed.depositor);
            }
        }
    }

    /// Drops one envelope because its recipient has it, and remembers that; also if it was never here, for then it may
    /// still come, provided that it `may_come`.
    fn release(&mut self, place: MailPlace, id: &EnvelopeId, may_come: bool, time: WallTime) -> Vec<Write> {
        if self.places.len() >= self.limits.mail_places && !self.places.contains_key(&place) {
            // It is not remembered: at worst an envelope that comes after its release is fetched once more.
            return Vec::new();
        }
        let mail = self.places.entry(place).or_default();
        let removed = mail.position_of(id).and_then(|position| mail.remove(position));
        let expires = match &removed {
            Some(removed) => removed.expires,
            None if mail.is_released(id) || !may_come => return Vec::new(),
            None => time.steady.saturating_add(MAX_MAIL_LIFETIME),
        };
        let mut writes = Vec::new();
        if let Some(removed) = removed {
            self.subtract(&removed);
            self.stats.released += 1;
            writes.push(Write::MailGone { position: removed.position });
        }
        let released = ReleasedEnvelope { place, tag: EnvelopeTag::of(id), expires };
        writes.push(Write::MailReleased(released));
        writes.extend(self.note_released(&released));
        writes
    }

    /// Remembers a release; what is forgotten instead is to be written.
    fn note_released(&mut self, released: &ReleasedEnvelope) -> Vec<Write> {
        let mail = self.places.entry(released.place).or_default();
        let before = mail.released_count();
        let gone_here = mail.note_released(released, self.limits.released_per_device);
        let mut forgotten = gone(released.place, gone_here);
        self.released_count = self.released_count - before + mail.released_count();
        if self.released_count > self.limits.released {
            forgotten.extend(self.forget_most_released());
        }
        forgotten
    }

    fn forget_most_released(&mut self) -> Vec<Write> {
        let Some((place, mail)) = self.places.iter_mut().max_by_key(|(_, mail)| mail.released_count()) else {
            return Vec::new();
        };
        let (place, forgotten) = (*place, mail.forget_released());
        self.released_count -= forgotten.len();
        self.forget_if_empty(place);
        gone(place, forgotten)
    }

    pub(super) fn forget_if_empty(&mut self, place: MailPlace) {
        if self.places.get(&place).is_some_and(|mail| mail.is_empty()) {
            idle::remove(&mut self.places, &place);
        }
    }

    fn schedule_expiry(&mut self, now: Now) {
        if !self.places.is_empty() {
            self.expire_at.get_or_insert(now.instant + EXPIRE_EVERY);
        }
    }

    fn expire(&mut self, now: Now) {
        let time = self.wall.read(now).steady;
        let mut writes = Vec::new();
        let due = self.places.iter().filter(|(_, mail)| mail.may_have_expired(time));
        let due: Vec<MailPlace> = due.map(|(place, _)| *place).take(EXPIRE_STEP).collect();
        for place in due {
            if writes.len() >= EXPIRE_STEP {
                break;
            }
            writes.extend(self.expire_place(place, time));
        }
        let is_more = self.places.values().any(|mail| mail.may_have_expired(time));
        self.expire_at = None;
        if is_more {
            self.expire_at = Some(now.instant + EXPIRE_PAUSE);
        }
        self.schedule_expiry(now);
        if !writes.is_empty() {
            self.actions.push_back(MailAction::Save { writes, then: None });
        }
    }

    fn expire_place(&mut self, place: MailPlace, time: Timestamp) -> Vec<Write> {
        let Some(mail) = self.places.get_mut(&place) else { return Vec::new() };
        let (dropped, forgotten) = mail.expire(time, EXPIRE_STEP);
        self.released_count -= forgotten.len();
        self.stats.expired += dropped.len() as u64;
        for removed in &dropped {
            self.subtract(removed);
        }
        self.forget_if_empty(place);
        let dropped = dropped.iter().map(|removed| Write::MailGone { position: removed.position });
        dropped.chain(gone(place, forgotten)).collect()
    }

    /// Refuses a request that has no tag, because too many of them, or too much for the disk, waits.
    pub(crate) const fn refuse_unopened(&mut self) -> MailResponse {
        self.stats.refused += 1;
        self.stats.refused_busy += 1;
        MailResponse::Refused(MailRefusal::Busy)
    }

    pub(super) fn refuse(&mut self, to: MailTag, refusal: MailRefusal) {
        self.stats.refused += 1;
        let stats = &mut self.stats;
        match refusal {
            MailRefusal::Full => stats.refused_full += 1,
            MailRefusal::Busy => stats.refused_busy += 1,
            MailRefusal::WorkNeeded { .. } => stats.refused_work += 1,
            MailRefusal::BadToken => stats.refused_token += 1,
            _ => {}
        }
        self.reply(to, MailResponse::Refused(refusal));
    }

    pub(super) fn reply(&mut self, to: MailTag, response: MailResponse) {
        self.actions.push_back(MailAction::Reply { to, response });
    }
}

/// Tells whether mail for a device may be kept here.
pub(super) fn admit(standing: &Standing, device: &NodeId) -> Result<(), MailRefusal> {
    if !standing.is_holder {
        return Err(MailRefusal::NotHolder);
    }
    let devices = standing.devices.as_ref().ok_or(MailRefusal::UnknownMailbox)?;
    devices.contains(device).then_some(()).ok_or(MailRefusal::NotListed)
}

fn gone(place: MailPlace, tags: Vec<EnvelopeTag>) -> Vec<Write> {
    tags.into_iter().map(|tag| Write::MailReleaseGone { place, tag }).collect()
}
