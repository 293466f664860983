//! [`Sender`]: what is owed to one conversation, and how far the paying has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::batch::Packing;
use super::chat::Receipt;
use super::machine::{CallTag, SealId};
use super::owed::{NOTHING_BIT, Owed, Sealed};
use crate::crypto::{Envelope, SealKey};
use crate::kademlia::NodeId;

/// Most envelopes of one conversation that were sent and not acknowledged: no more than the recipient keeps while it
/// waits for an earlier one ([`super::MAX_HELD`]), or it would drop the rest.
pub const MAX_IN_FLIGHT: usize = 32;

/// Most messages in them: fewer than the recipient knows by their tags ([`super::KEPT_TAGS`]).
pub const MAX_MESSAGES_IN_FLIGHT: usize = 960;

/// Most bytes of their bodies, so that a slow line gets through in the time that a call has. One message always goes.
pub const MAX_IN_FLIGHT_LEN: usize = 128 * 1024;

/// First pause after a failed attempt; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Where the sender of one conversation stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Free to take the next step; left at once.
    Ready,
    /// The recipient's name is looked up. Left when the search ends, or when the recipient shows up.
    Resolving,
    /// The recipient's devices are looked up. Left when the search ends, or when the recipient shows up.
    Locating,
    /// INTRODUCE is in flight with this call. Left when it ends.
    Introducing(CallTag),
    /// DELIVER requests are in flight. Left when one fails or all is delivered.
    Delivering,
    /// An attempt failed. Left at this time, or when the recipient or the network shows up.
    Waiting(Instant),
}

/// What is owed to one conversation.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) step: Step,
    /// In the order of numbers, those without one last.
    pub(super) queue: VecDeque<Owed>,
    /// No message expires before this; `None` if there is none.
    first_expiry: Option<Instant>,
    in_flight: BTreeMap<CallTag, Range<u64>>,
    /// With what something of this conversation was sealed last.
    last_seal: SealId,
    /// How many messages at the front of the queue were sent since the last setback.
    pub(super) sent_count: usize,
    /// Whether anything was acknowledged since the front of the queue was last sent.
    has_progressed: bool,
    /// Number and tag of the last message that has arrived since the profile was opened.
    acknowledged: Option<(u64, u64)>,
    /// Whether the recipient's devices were looked up in this attempt.
    pub(crate) has_located: bool,
    /// Whether this node has introduced itself since anything was acknowledged: a second time would not help.
    pub(crate) has_introduced: bool,
    /// How many times in a row the name was found to be nobody's.
    pub(crate) unknown_count: u32,
    failed_attempts: u32,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            step: Step::Ready,
            queue: VecDeque::new(),
            first_expiry: None,
            in_flight: BTreeMap::new(),
            last_seal: SealId(0),
            sent_count: 0,
            has_progressed: true,
            acknowledged: None,
            has_located: false,
            has_introduced: false,
            unknown_count: 0,
            failed_attempts: 0,
        }
    }

    /// Adds a message behind those with lower numbers. What once moved here from another conversation has a higher
    /// number than its place in history says.
    pub(crate) fn push(&mut self, owed: Owed) {
        self.first_expiry = self.first_expiry.into_iter().chain([owed.expires_at]).min();
        let order = |owed: &Owed| owed.number.unwrap_or(u64::MAX);
        let index = self.queue.partition_point(|other| order(other) <= order(&owed));
        self.queue.insert(index, owed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the lowest number that is still owed.
    pub(crate) fn oldest(&self) -> u64 {
        self.queue.front().and_then(|owed| owed.number).unwrap_or(1)
    }

    /// Tells whether anything that is owed was left with others, or may have been: their answers may be lost. Then the
    /// recipient may be far ahead of what it has acknowledged.
    pub(crate) fn may_have_come_by_mail(&self) -> bool {
        self.queue.iter().any(|owed| owed.deposit.held_by > 0 || owed.deposit.is_tried)
    }

    /// Tells whether a receipt shows that the recipient has numbered something else than this device has. `next` is the
    /// number that it gives next.
    pub(crate) fn is_contradicted_by(&self, receipt: &Receipt, tag_key: &[u8; 32], next: u64) -> bool {
        let is_contradicted = match self.tag_before(receipt.next, tag_key) {
            Some(tag) => receipt.last_tag.is_some_and(|last| !is_same(tag, last)),
            None => receipt.next > next,
        };
        is_contradicted || self.queue.iter().any(|owed| is_missing(owed, receipt))
    }

    /// Returns the tag of the message before a number, if it is owed or was the last to arrive.
    fn tag_before(&self, number: u64, tag_key: &[u8; 32]) -> Option<u64> {
        let last = number.checked_sub(1)?;
        let owed = self.queue.get(self.index_of(last)).filter(|owed| owed.number == Some(last));
        let arrived = self.acknowledged.filter(|(number, _)| *number == last).map(|(_, tag)| tag);
        owed.map(|owed| owed.tag(tag_key)).or(arrived)
    }

    /// Notes the last of the messages that have arrived.
    pub(crate) fn note_acknowledged(&mut self, delivered: &[Owed], tag_key: &[u8; 32]) {
        let last = delivered.iter().max_by_key(|owed| owed.number);
        let named = last.and_then(|owed| Some((owed.number?, owed.tag(tag_key))));
        self.acknowledged = named.max(self.acknowledged);
    }

    /// Tells whether any message with one of these numbers is still owed.
    pub(crate) fn owes(&self, numbers: &Range<u64>) -> bool {
        let next = self.queue.get(self.index_of(numbers.start)).and_then(|owed| owed.number);
        next.is_some_and(|number| number < numbers.end)
    }

    /// Returns a time before which no message expires.
    pub(crate) fn first_expiry(&self) -> Option<Instant> {
        self.first_expiry
    }

    /// Looks for the message that expires first.
    pub(super) fn note_first_expiry(&mut self) {
        self.first_expiry = self.queue.iter().map(|owed| owed.expires_at).min();
    }

    /// Numbers every message that has no number yet, from `next` on; returns (position, number) of each.
    pub(crate) fn number_from(&mut self, mut next: u64) -> Vec<(u64, u64)> {
        let mut numbered = Vec::new();
        for owed in self.queue.iter_mut().filter(|owed| owed.number.is_none()) {
            owed.number = Some(next);
            numbered.push((owed.position, next));
            next += 1;
        }
        numbered
    }

    /// Takes every number back, and the sealed forms that contain it.
    pub(crate) fn forget_numbers(&mut self) {
        for owed in &mut self.queue {
            (owed.number, owed.is_taken) = (None, false);
        }
        self.forget_sealed();
    }

    /// Forgets every sealed form.
    pub(crate) fn forget_sealed(&mut self) {
        self.queue.iter_mut().for_each(|owed| owed.sealed = None);
    }

    /// Returns where in the queue the messages stand that may be sent soon. While no envelope may be, more messages come
    /// that can share one.
    pub(crate) fn window(&self) -> Range<usize> {
        let is_full = self.sent_envelopes() >= MAX_IN_FLIGHT;
        let end = if is_full { 0 } else { self.end_of_window(0) };
        self.sent_count..end.max(self.sent_count)
    }

    /// Returns how many envelopes were sent since the last setback and are not acknowledged: the recipient has not room for
    /// more that it answers and does not hand out.
    fn sent_envelopes(&self) -> usize {
        let is_first = |owed: &&Owed| owed.sealed.as_ref().is_none_or(|sealed| sealed.envelope.is_some());
        self.queue.iter().take(self.sent_count).filter(is_first).count()
    }

    /// Returns where in the queue the messages stand that may be deposited soon, from this number on.
    pub(crate) fn window_from(&self, number: u64) -> Range<usize> {
        let start = self.index_of(number);
        start..self.end_of_window(start)
    }

    /// Returns where those messages end that may be under way at a time, from a place in the queue on.
    fn end_of_window(&self, start: usize) -> usize {
        let mut len = 0;
        let some = self.queue.iter().skip(start).take(MAX_MESSAGES_IN_FLIGHT);
        let fitting = some.take_while(|owed| {
            len += owed.body.len();
            len <= MAX_IN_FLIGHT_LEN
        });
        start + fitting.count().max(1)
    }

    /// Tells whether something that was sealed is not on disk, if everything up to `saved` is. What is written meanwhile
    /// is sealed together afterwards.
    pub(crate) fn is_sealing(&self, saved: SealId) -> bool {
        self.last_seal > saved
    }

    fn index_of(&self, number: u64) -> usize {
        self.queue.partition_point(|owed| owed.number.is_some_and(|other| other < number))
    }

    /// Returns where in a part of the queue the first messages stand that have numbers, are not sealed for this device, and
    /// go into one envelope.
    pub(crate) fn next_unsealed(&self, range: Range<usize>, device: NodeId) -> Option<Range<usize>> {
        let end = range.end.min(self.queue.len());
        let mut some = self.queue.range(range.start.min(end)..end).enumerate();
        let (offset, first) = some.find(|(_, owed)| owed.number.is_none() || !owed.is_sealed_for(device))?;
        let start = range.start + offset;
        first.number?;
        let Some(mut packing) = Packing::begin(first) else { return Some(start..start + 1) };
        let more = some.take_while(|(_, owed)| !owed.is_sealed_for(device) && packing.add(owed));
        let count = more.count();
        Some(start..start + 1 + count)
    }

    /// Returns some messages by where they stand.
    pub(crate) fn messages(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = &Owed> {
        let end = range.end.min(self.queue.len());
        self.queue.range(range.start.min(end)..end)
    }

    /// Notes that some messages were sealed in one envelope.
    pub(crate) fn set_sealed(
        &mut self,
        range: Range<usize>,
        device: NodeId,
        envelope: Envelope,
        seal: SealId,
    ) {
        self.last_seal = seal;
        let Some(first) = self.queue.get(range.start).and_then(|owed| owed.number) else { return };
        let count = range.len() as u64;
        self.forget_cut(range.clone(), first..first + count);
        let mut envelope = Some(envelope);
        for owed in self.queue.range_mut(range) {
            owed.sealed = Some(Sealed { device, first, count, envelope: envelope.take(), seal });
        }
    }

    /// Forgets the batches, for another device, of which a part is being sealed in another form.
    fn forget_cut(&mut self, range: Range<usize>, numbers: Range<u64>) {
        let begins_before = |sealed: &mut Sealed| sealed.first < numbers.end;
        let behind = self.queue.range_mut(range.end..);
        behind.map_while(|owed| owed.sealed.take_if(begins_before)).for_each(drop);
        let ends_after = |sealed: &mut Sealed| sealed.first + sealed.count > numbers.start;
        let before = self.queue.range_mut(..range.start).rev();
        before.map_while(|owed| owed.sealed.take_if(ends_after)).for_each(drop);
    }

    /// Takes batches up again, of which the first messages know: if all the others are owed as they were sealed. The
    /// envelope of a message that is in an earlier one is left over from before.
    pub(crate) fn restore_batches(&mut self) {
        let mut index = 0;
        while let Some(owed) = self.queue.get_mut(index) {
            let number = owed.number.unwrap_or(0);
            let form = owed.sealed.take_if(|sealed| sealed.first == number);
            index += 1;
            let Some(form) = form else {
                self.queue[index - 1].sealed = None;
                continue;
            };
            // Whatever numbers a damaged profile has.
            let start = index - 1;
            let end = usize::try_from(form.count).ok().and_then(|count| start.checked_add(count));
            let Some(end) = end.filter(|end| (index..=self.queue.len()).contains(end)) else { continue };
            let is_whole = (0..).zip(self.queue.range(start..end)).all(|(offset, owed)| {
                owed.number.is_some()
                    && owed.number == form.first.checked_add(offset)
                    && (form.count == 1 || !owed.is_notice())
            });
            if !is_whole {
                continue;
            }
            let Sealed { device, envelope: Some(envelope), seal, .. } = form else { continue };
            self.set_sealed(start..end, device, envelope, seal);
            index = end;
        }
    }

    /// Forgets the envelopes that begin with these numbers: what is in them is sealed anew.
    pub(super) fn forget_batches(&mut self, firsts: &BTreeSet<u64>) {
        if firsts.is_empty() {
            return;
        }
        for owed in &mut self.queue {
            owed.sealed.take_if(|sealed| firsts.contains(&sealed.first));
        }
    }

    /// Forgets what is left at the front of an envelope whose first messages are no longer owed.
    fn forget_broken_front(&mut self) {
        for owed in &mut self.queue {
            let is_left = owed.sealed.as_ref().is_some_and(|sealed| {
                sealed.envelope.is_none() && owed.number.is_some_and(|number| number > sealed.first)
            });
            if !is_left {
                return;
            }
            owed.sealed = None;
        }
    }

    /// Tells whether anything is to be deposited for a device; what was written last is looked at first.
    pub(crate) fn has_to_deposit(&self, to: (NodeId, SealKey), now: Instant) -> bool {
        self.queue.iter().rev().any(|owed| owed.number.is_some() && owed.needs_deposit(to, now))
    }

    /// Returns the number of the first message of the next envelope that is to be deposited for a device, from a number on.
    pub(crate) fn next_deposit(&self, from: u64, to: (NodeId, SealKey), now: Instant) -> Option<u64> {
        let mut some = self.queue.range(self.index_of(from)..).take_while(|owed| owed.number.is_some());
        let next = some.find(|owed| owed.needs_deposit(to, now))?;
        let first = next.sealed.as_ref().filter(|sealed| sealed.device == to.0).map(|sealed| sealed.first);
        first.or(next.number)
    }

    /// Returns those of the messages with these numbers that are owed.
    pub(crate) fn owed_in(&self, numbers: &Range<u64>) -> impl Iterator<Item = &Owed> {
        self.queue.range(self.index_of(numbers.start)..self.index_of(numbers.end))
    }

    /// The same, to be changed.
    pub(crate) fn owed_in_mut(&mut self, numbers: &Range<u64>) -> impl Iterator<Item = &mut Owed> {
        let range = self.index_of(numbers.start)..self.index_of(numbers.end);
        self.queue.range_mut(range)
    }

    /// Returns the message with this number.
    pub(crate) fn numbered(&mut self, number: u64) -> Option<&mut Owed> {
        let index = self.index_of(number);
        self.queue.get_mut(index).filter(|owed| owed.number == Some(number))
    }

    /// Forgets that anything was deposited.
    pub(crate) fn forget_deposits(&mut self) {
        let deposits = self.queue.iter_mut().map(|owed| &mut owed.deposit);
        deposits.for_each(|deposit| (deposit.done, deposit.restored_at) = (None, None));
    }

    /// Returns the receipt in the queue that was not sealed yet: it may still say something else.
    pub(crate) fn open_receipt(&mut self) -> Option<&mut Owed> {
        self.queue.iter_mut().rev().find(|owed| owed.is_receipt() && owed.sealed.is_none())
    }

    /// Returns the next envelope to deliver to a device if the window has room and the envelope is on disk as it will be
    /// sent, with its first message and how many are in it; the caller then reports its call by [`Self::handle_sent`].
    pub(crate) fn next_to_send(&self, device: NodeId, saved: SealId) -> Option<(&Owed, u64, &Envelope)> {
        let next = self.queue.get(self.sent_count)?;
        let sealed = next.sealed.as_ref().filter(|sealed| sealed.device == device && sealed.seal <= saved)?;
        let envelope = sealed.envelope.as_ref()?;
        let end = self.sent_count + usize::try_from(sealed.count).ok()?;
        let len: usize = self.queue.iter().take(end).map(|owed| owed.body.len()).sum();
        let has_room = self.sent_envelopes() < MAX_IN_FLIGHT
            && end <= MAX_MESSAGES_IN_FLIGHT
            && len <= MAX_IN_FLIGHT_LEN;
        (has_room || self.sent_count == 0).then_some((next, sealed.count, envelope))
    }

    /// Notes that the envelope of [`Self::next_to_send`] is on its way.
    pub(crate) fn handle_sent(&mut self, tag: CallTag) {
        let next = self.queue.get(self.sent_count).and_then(|owed| owed.sealed.as_ref());
        if let Some(Sealed { first, count, .. }) = next {
            self.in_flight.insert(tag, *first..*first + *count);
            self.sent_count += usize::try_from(*count).unwrap_or(usize::MAX);
        }
    }

    /// Notes that a call ended; returns the numbers of its messages if it was one of ours.
    pub(crate) fn handle_answered(&mut self, tag: CallTag) -> Option<Range<u64>> {
        self.in_flight.remove(&tag)
    }

    /// Notes that the messages with these numbers were taken, and takes off the queue what was taken and has a number
    /// below `next`. One that was not answered stays: `next` may count what another copy of this profile has sent.
    pub(crate) fn acknowledge(&mut self, taken: &Range<u64>, next: u64) -> Vec<Owed> {
        let start = self.index_of(taken.start);
        for owed in self.queue.iter_mut().take(self.sent_count).skip(start) {
            if owed.number.is_none_or(|number| number >= taken.end) {
                break;
            }
            owed.is_taken = true;
        }
        let is_done = |owed: &&Owed| owed.is_taken && owed.number.is_some_and(|number| number < next);
        let done_count = self.queue.iter().take(self.sent_count).take_while(is_done).count();
        if done_count > 0 {
            self.sent_count -= done_count;
            self.has_progressed = true;
            self.has_introduced = false;
            self.failed_attempts = 0;
        }
        let mut done: Vec<Owed> = self.queue.drain(..done_count).collect();
        done.extend(self.take_left());
        self.forget_broken_front();
        done
    }

    /// Takes the notices off the front of the queue that others keep: they are finished, and a notice behind something that is
    /// still owed is not, for a receipt for what is owed may name the notice as the last that has arrived.
    pub(crate) fn take_left(&mut self) -> Vec<Owed> {
        let is_left = |owed: &&Owed| owed.is_notice() && owed.deposit.done.is_some();
        let count = self.queue.iter().take_while(is_left).count();
        self.sent_count = self.sent_count.saturating_sub(count);
        self.queue.drain(..count).collect()
    }

    /// Takes off the queue what a receipt of a device says has arrived: what was sealed for it and has a number below
    /// the one that it waits for, if the last of these is the message that it has.
    pub(crate) fn acknowledge_by(
        &mut self,
        receipt: &Receipt,
        device: NodeId,
        tag_key: &[u8; 32],
    ) -> Vec<Owed> {
        let last = self.tag_before(receipt.next, tag_key);
        if !last.zip(receipt.last_tag).is_some_and(|(own, last)| is_same(own, last)) {
            return Vec::new();
        }
        let end = self.index_of(receipt.next);
        // What was left with others may have lost its sealed form since, as when its batch was broken.
        let may_have_come = |owed: &&Owed| {
            owed.is_sealed_for(device)
                || owed.deposit.restored_at.is_some()
                || owed.deposit.done.is_some_and(|(to, ..)| to == device)
        };
        let count = self.queue.iter().take(end).take_while(may_have_come).count();
        let mut arrived = Vec::with_capacity(count);
        let (mut missing, mut broken) = (Vec::new(), BTreeSet::new());
        for owed in self.queue.drain(..count) {
            if is_missing(&owed, receipt) {
                broken.extend(owed.sealed.as_ref().map(|sealed| sealed.first));
                missing.push(owed);
            } else {
                arrived.push(owed);
            }
        }
        self.sent_count = self.sent_count.saturating_sub(count);
        self.has_progressed |= !arrived.is_empty();
        // What another copy of this profile gave up is sealed without what had arrived with it, and sent again.
        self.sent_count = if missing.is_empty() { self.sent_count } else { 0 };
        missing.into_iter().rev().for_each(|owed| self.queue.push_front(owed));
        self.forget_batches(&broken);
        arrived.extend(self.take_left());
        self.forget_broken_front();
        arrived
    }

    /// Starts again at the front of the queue once everything in flight has ended. Returns whether there is a
    /// reason to: `false` if the front was sent before and the recipient took none of it.
    pub(crate) fn rewind(&mut self) -> bool {
        if !self.in_flight.is_empty() || self.sent_count == 0 {
            return true;
        }
        self.sent_count = 0;
        std::mem::replace(&mut self.has_progressed, false)
    }

    /// Forgets what is in flight; the same messages will be sent again.
    pub(crate) fn set_back(&mut self) {
        self.in_flight.clear();
        self.sent_count = 0;
        self.has_progressed = true;
    }

    /// Pauses after a failed attempt and returns until when. `jitter` is between 0 and 1.
    pub(crate) fn pause(&mut self, now: Instant, jitter: f64) -> Instant {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed_attempts.min(16)).min(LONGEST_PAUSE);
        self.failed_attempts += 1;
        self.pause_for(pause, now, jitter)
    }

    /// Pauses for about this long and returns until when.
    pub(crate) fn pause_for(&mut self, pause: Duration, now: Instant, jitter: f64) -> Instant {
        self.set_back();
        self.has_located = false;
        self.has_introduced = false;
        let until = now + pause.mul_f64(0.75 + 0.5 * jitter);
        self.step = Step::Waiting(until);
        until
    }

    /// Ends a pause early: the network has shown up.
    pub(crate) fn wake(&mut self) {
        if matches!(self.step, Step::Waiting(_)) {
            self.failed_attempts = 0;
            self.step = Step::Ready;
        }
    }

    /// Ends a pause or a search early: the recipient has shown up.
    pub(crate) fn handle_met(&mut self) {
        self.wake();
        if matches!(self.step, Step::Resolving | Step::Locating) {
            self.step = Step::Ready;
        }
    }

    /// Takes everything off the queue.
    pub(crate) fn take_all(&mut self) -> Vec<Owed> {
        self.set_back();
        self.queue.drain(..).collect()
    }
}

/// Tells whether the last that a recipient has is what this device has sent under the number, by their tags. Before nothing took
/// the place of a message, the message may have arrived; but not the other way round.
const fn is_same(own: u64, last: u64) -> bool {
    own == last || own == last | NOTHING_BIT
}

/// Tells whether a receipt says of a message that another copy of this profile has given it up.
fn is_missing(owed: &Owed, receipt: &Receipt) -> bool {
    !owed.is_void && owed.number.is_some_and(|number| receipt.lacks(number))
}

#[cfg(test)]
mod tests;
