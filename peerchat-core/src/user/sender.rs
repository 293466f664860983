//! [`Sender`]: what is owed to one conversation, and how far the paying has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::batch::Packing;
use super::chat::{ContentKind, Receipt};
use super::machine::{CallTag, SealId};
use crate::crypto::{Envelope, SealKey};
use crate::event::MessageState;
use crate::kademlia::NodeId;
use crate::save::{ConversationId, SavedMessage, StreamId};
use crate::time::{Now, Timestamp};

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

/// After this time what is owed to someone who is still away is deposited again: those who kept it may be gone.
pub const REDEPOSIT_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The same for what was deposited before the profile was opened, nobody knows for which key and how long ago.
pub const RESTORED_INTERVAL: Duration = Duration::from_secs(3600);

/// Longest time until a message expires: a hundred years.
const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A message of our own that is neither delivered nor given up.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) position: u64,
    /// `None` until the recipient is known.
    pub(crate) number: Option<u64>,
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) sent: Timestamp,
    pub(crate) expires: Timestamp,
    /// `expires` on the monotonic clock, so that a jump of the wall clock gives nothing up.
    pub(crate) expires_at: Instant,
    /// The form in which it is sent, every time.
    pub(crate) sealed: Option<Sealed>,
    /// Whether the recipient has answered that it has the message, or that it waits for an earlier one.
    pub(crate) is_taken: bool,
    /// How far it has come with the nodes that keep mail for its recipient.
    pub(crate) deposit: Deposit,
    /// Whether it was given up and only its number is still owed.
    pub(crate) is_void: bool,
}

/// How far a message has come by mail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deposit {
    /// For which device and key it was deposited last, and when; `None` if it was not since the profile was opened.
    pub(crate) done: Option<(NodeId, SealKey, Instant)>,
    /// When the profile was opened in which it was kept by others already.
    pub(crate) restored_at: Option<Instant>,
    /// How many nodes have said that they keep it.
    pub(crate) held_by: u32,
    /// Somebody was asked to keep it since the profile was opened.
    pub(crate) is_tried: bool,
    /// How often it was found to have been released: the next deposit is another envelope, or nobody would take it.
    pub(crate) attempt: u32,
}

/// A message as one device can open it: alone in its envelope, or with those that have the next numbers.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) device: NodeId,
    /// Number of the first message of the envelope, and how many are in it. All of them are owed and sealed so, or none is.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Where the first message is.
    pub(crate) envelope: Option<Envelope>,
    /// With what it goes to the disk. Nothing is sent before: after a crash its number and its key could go to
    /// another message.
    pub(crate) seal: SealId,
}

impl Owed {
    /// Returns what tells the message from every other of this device, in whatever form it is sent. Who does not have
    /// the key learns nothing of the body from it.
    pub(crate) fn tag(&self, key: &[u8; 32]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&self.position.to_be_bytes()).update(&self.sent.unix_ms().to_be_bytes());
        hasher.update(&self.kind.to_be_bytes()).update(&self.body);
        let mut tag = [0; 8];
        hasher.finalize_xof().fill(&mut tag);
        u64::from_be_bytes(tag)
    }

    /// Tells whether it is finished as soon as somebody keeps it: nobody waits for more.
    pub(crate) fn is_notice(&self) -> bool {
        self.is_void || self.is_receipt()
    }

    /// Returns what is sealed: the message, or nothing in its place.
    pub(crate) fn content(&self) -> (u16, Vec<u8>) {
        if self.is_void { (ContentKind::NOTHING.0, Vec::new()) } else { (self.kind, self.body.clone()) }
    }

    /// Tells whether this is a receipt, and not what a person wrote.
    pub(crate) fn is_receipt(&self) -> bool {
        self.kind == ContentKind::RECEIPT.0
    }

    /// Tells whether it is to be deposited for a device: because it never was, long ago, or for another device or key.
    pub(crate) fn needs_deposit(&self, to: (NodeId, SealKey), now: Instant) -> bool {
        let is_within = |at: Instant, time| now.saturating_duration_since(at) < time;
        match (self.deposit.done, self.deposit.restored_at) {
            (Some((device, key, at)), _) => (device, key) != to || !is_within(at, REDEPOSIT_INTERVAL),
            (None, Some(at)) => !is_within(at, RESTORED_INTERVAL),
            (None, None) => true,
        }
    }

    fn is_sealed_for(&self, device: NodeId) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| sealed.device == device)
    }

    /// Takes a saved message up again.
    pub(crate) fn restore(saved: SavedMessage, sealed: Option<Sealed>, now: Now) -> Self {
        let is_void = !matches!(saved.state, Some(MessageState::Queued | MessageState::Stored));
        let mut owed = Self {
            position: saved.position,
            number: saved.number,
            kind: saved.kind,
            body: saved.body,
            sent: saved.sent,
            expires: saved.expires,
            expires_at: in_time(now.instant, saved.expires.saturating_since(now.wall)),
            sealed,
            is_taken: false,
            deposit: Deposit {
                held_by: saved.held_by,
                restored_at: (saved.held_by > 0).then_some(now.instant),
                ..Deposit::default()
            },
            is_void: false,
        };
        if is_void {
            owed.empty(now);
        }
        owed
    }

    /// Returns what is to be saved of the message.
    pub(crate) fn to_saved(&self, conversation: ConversationId) -> SavedMessage {
        SavedMessage {
            position: self.position,
            conversation,
            stream: StreamId::OWN,
            number: self.number,
            kind: self.kind,
            body: self.body.clone(),
            sent: self.sent,
            received: self.sent,
            state: Some(MessageState::Queued),
            held_by: 0,
            expires: self.expires,
        }
    }
}

/// Returns the moment `lifetime` from `now`, or one so far away that it never comes: a lifetime may be of any length,
/// and the clock that it is measured by may have been set back.
pub(crate) fn in_time(now: Instant, lifetime: Duration) -> Instant {
    now + lifetime.min(LONGEST_LIFETIME)
}

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
        match self.tag_before(receipt.next, tag_key) {
            Some(tag) => receipt.last_tag.is_some_and(|last| last != tag),
            None => receipt.next > next,
        }
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
            let end = usize::try_from(form.count).map_or(usize::MAX, |count| index - 1 + count);
            let is_whole = end <= self.queue.len()
                && form.count > 0
                && (form.first..).zip(self.queue.range(index - 1..end)).all(|(number, owed)| {
                    owed.number == Some(number) && (form.count == 1 || !owed.is_notice())
                });
            if !is_whole {
                continue;
            }
            let Sealed { device, envelope: Some(envelope), seal, .. } = form else { continue };
            self.set_sealed(index - 1..end, device, envelope, seal);
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
        if last.is_none() || last != receipt.last_tag {
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
        self.sent_count = self.sent_count.saturating_sub(count);
        self.has_progressed |= count > 0;
        let mut arrived: Vec<Owed> = self.queue.drain(..count).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::EnvelopeKind;

    const DEVICE: NodeId = NodeId::from_bytes([1; 32]);

    fn owed(position: u64, number: Option<u64>) -> Owed {
        Owed {
            position,
            number,
            kind: 1,
            body: vec![],
            sent: Timestamp::default(),
            expires: Timestamp::default(),
            expires_at: Instant::now() + Duration::from_secs(position),
            sealed: None,
            is_taken: false,
            deposit: Deposit::default(),
            is_void: false,
        }
    }

    fn sender(count: u64) -> Sender {
        let mut sender = Sender::new();
        (1..=count).for_each(|position| sender.push(owed(position, None)));
        sender.number_from(1);
        sender
    }

    fn envelope() -> Envelope {
        Envelope { kind: EnvelopeKind::Later, bytes: Vec::new() }
    }

    /// Seals what may be sent, each message alone.
    fn seal(sender: &mut Sender, device: NodeId, seal: SealId) -> usize {
        let window = sender.window();
        let mut count = 0;
        while let Some(some) = sender.next_unsealed(window.clone(), device) {
            sender.set_sealed(some.start..some.start + 1, device, envelope(), seal);
            count += 1;
        }
        count
    }

    /// Seals what may be sent, as much in one envelope as it takes; returns how many messages are in each.
    fn seal_batches(sender: &mut Sender, device: NodeId) -> Vec<usize> {
        let window = sender.window();
        let mut counts = Vec::new();
        while let Some(some) = sender.next_unsealed(window.clone(), device) {
            counts.push(some.len());
            sender.set_sealed(some, device, envelope(), SealId(1));
        }
        counts
    }

    /// Returns how the messages of the queue are sealed: number and count of their envelope.
    fn forms(sender: &Sender) -> Vec<Option<(u64, u64)>> {
        let form = |owed: &Owed| owed.sealed.as_ref().map(|sealed| (sealed.first, sealed.count));
        sender.queue.iter().map(form).collect()
    }

    fn next(sender: &Sender) -> Option<u64> {
        sender.next_to_send(DEVICE, SealId(1)).and_then(|(owed, ..)| owed.number)
    }

    fn send_all(sender: &mut Sender, first_tag: u64) -> u64 {
        let mut tag = first_tag;
        seal(sender, DEVICE, SealId(1));
        while next(sender).is_some() {
            sender.handle_sent(CallTag(tag));
            tag += 1;
        }
        tag
    }

    #[test]
    fn the_window_is_bounded() {
        let mut sender = sender(100);
        assert_eq!(send_all(&mut sender, 0), MAX_IN_FLIGHT as u64);
        sender.handle_answered(CallTag(0));
        assert_eq!(sender.acknowledge(&(1..2), 2).len(), 1);
        assert_eq!(next(&sender), Some(MAX_IN_FLIGHT as u64 + 1));
    }

    #[test]
    fn nothing_is_sent_before_it_is_on_disk_as_it_will_be_sent() {
        let mut sender = sender(2);
        seal(&mut sender, DEVICE, SealId(2));
        assert_eq!(next(&sender), None);
        assert!(sender.next_to_send(DEVICE, SealId(2)).is_some());
    }

    #[test]
    fn what_is_sealed_for_one_device_is_not_sent_to_another() {
        let (mut sender, other) = (sender(2), NodeId::from_bytes([2; 32]));
        seal(&mut sender, other, SealId(1));
        assert_eq!(next(&sender), None);
        assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 2);
        assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 0, "what is sealed stays as it is");
        assert_eq!(next(&sender), Some(1));
    }

    #[test]
    fn what_has_no_number_is_not_sealed() {
        let mut sender = sender(1);
        sender.push(owed(9, None));
        assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 1);
        sender.forget_numbers();
        assert_eq!((next(&sender), seal(&mut sender, DEVICE, SealId(1))), (None, 0));
        assert_eq!(sender.number_from(7), [(1, 7), (9, 8)]);
        assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 2);
    }

    #[test]
    fn restored_messages_are_in_the_order_of_their_numbers() {
        let mut restored = Sender::new();
        let mut take = |position, number| restored.push(owed(position, number));
        take(3, Some(3));
        take(5, Some(1));
        take(6, Some(2));
        take(7, None);
        assert_eq!(restored.queue.iter().map(|owed| owed.position).collect::<Vec<_>>(), [5, 6, 3, 7]);
        assert_eq!(restored.oldest(), 1, "nothing that is owed is declared given up");
    }

    #[test]
    fn no_more_is_sent_ahead_of_a_lost_message_than_the_recipient_keeps() {
        let mut sender = sender(500);
        let end = send_all(&mut sender, 0);
        // All but the first are answered: the recipient waits for that one.
        (1..end).for_each(|tag| {
            let taken = sender.handle_answered(CallTag(tag)).unwrap();
            assert!(sender.acknowledge(&taken, 1).is_empty());
        });
        assert!(sender.rewind());
        assert_eq!(next(&sender), None);
        const { assert!(MAX_IN_FLIGHT <= super::super::MAX_HELD) };
        const { assert!(MAX_IN_FLIGHT < super::super::KEPT_ENVELOPES) };
        const { assert!(MAX_MESSAGES_IN_FLIGHT + super::super::MAX_BATCH as usize <= super::super::KEPT_TAGS) };
        const { assert!(MAX_IN_FLIGHT_LEN <= super::super::MAX_HELD_LEN) };
    }

    #[test]
    fn no_more_bytes_are_in_flight_than_a_slow_line_gets_through() {
        let mut sender = sender(20);
        sender.queue.iter_mut().for_each(|owed| owed.body = vec![0; crate::MAX_TEXT_LEN]);
        assert_eq!(send_all(&mut sender, 0), (MAX_IN_FLIGHT_LEN / crate::MAX_TEXT_LEN) as u64);
        sender.rewind();
        sender.queue[0].body = vec![0; 2 * MAX_IN_FLIGHT_LEN];
        sender.sent_count = 0;
        assert_eq!(next(&sender), Some(1), "one always goes");
    }

    #[test]
    fn a_full_window_that_was_answered_and_not_taken_is_sent_again() {
        let mut sender = sender(500);
        let end = send_all(&mut sender, 0);
        (0..end).for_each(|tag| _ = sender.handle_answered(CallTag(tag)));
        assert!(sender.rewind());
        assert_eq!(next(&sender), Some(1));
    }

    #[test]
    fn what_waits_to_be_sealed_shares_envelopes() {
        let mut sender = sender(200);
        assert_eq!(seal_batches(&mut sender, DEVICE), [64, 64, 64, 8]);
        let (first, count, _) = sender.next_to_send(DEVICE, SealId(1)).unwrap();
        assert_eq!((first.number, count), (Some(1), 64));
        sender.handle_sent(CallTag(1));
        assert_eq!(next(&sender), Some(65));
        sender.handle_sent(CallTag(2));
        let later = sender.handle_answered(CallTag(2)).unwrap();
        assert_eq!(later, 65..129);
        assert!(sender.acknowledge(&later, 1).is_empty(), "the recipient waits for the first");
        let first = sender.handle_answered(CallTag(1)).unwrap();
        assert_eq!(sender.acknowledge(&first, 129).len(), 128);
        assert_eq!((next(&sender), sender.oldest()), (Some(129), 129));
    }

    #[test]
    fn no_more_messages_are_in_flight_than_the_recipient_knows_by_their_tags() {
        let mut sender = sender(5000);
        assert_eq!(seal_batches(&mut sender, DEVICE), [64; MAX_MESSAGES_IN_FLIGHT / 64]);
        let mut tag = 0;
        while next(&sender).is_some() {
            tag += 1;
            sender.handle_sent(CallTag(tag));
        }
        assert_eq!(sender.sent_count, MAX_MESSAGES_IN_FLIGHT);
        assert_eq!(seal_batches(&mut sender, DEVICE), [0; 0], "the rest shares envelopes later");
    }

    #[test]
    fn an_envelope_has_no_more_than_fits_its_size_class() {
        let mut sender = sender(10);
        sender.queue.iter_mut().for_each(|owed| owed.body = vec![0; 2000]);
        sender.queue[4].body = vec![0; crate::MAX_TEXT_LEN];
        assert_eq!(seal_batches(&mut sender, DEVICE), [3, 1, 1, 3, 2]);
    }

    /// Notices are finished as soon as somebody keeps them, and an envelope is kept as long as the last of what is in it.
    #[test]
    fn notices_go_alone_and_so_does_what_lives_longer() {
        let mut sender = sender(9);
        sender.queue[2].kind = ContentKind::RECEIPT.0;
        sender.queue[5].is_void = true;
        sender.queue[8].expires = Timestamp::from_unix_ms(super::super::MAX_BATCH_SPREAD_MS + 1);
        assert_eq!(seal_batches(&mut sender, DEVICE), [2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn what_is_left_of_an_envelope_is_sealed_anew() {
        let mut sender = sender(6);
        assert_eq!(seal_batches(&mut sender, DEVICE), [6]);
        sender.handle_sent(CallTag(1));
        sender.handle_answered(CallTag(1));
        assert_eq!(sender.acknowledge(&(1..7), 4).len(), 3);
        assert_eq!(forms(&sender), [None; 3]);
        assert!(sender.rewind());
        assert_eq!(seal_batches(&mut sender, DEVICE), [3]);
        assert_eq!(next(&sender), Some(4));
    }

    /// The window of one device may end within a batch for another.
    #[test]
    fn a_batch_of_which_a_part_is_sealed_for_another_device_is_forgotten() {
        let (mut sender, other) = (sender(6), NodeId::from_bytes([2; 32]));
        assert_eq!(seal_batches(&mut sender, other), [6]);
        sender.set_sealed(2..4, DEVICE, envelope(), SealId(1));
        assert_eq!(forms(&sender), [None, None, Some((3, 2)), Some((3, 2)), None, None]);
    }

    #[test]
    fn a_batch_is_taken_up_again_if_all_of_it_is_still_owed() {
        let restored = |count: u64| {
            let mut sender = sender(6);
            for (index, count) in [(0, count), (3, 1), (4, 2)] {
                let first = index as u64 + 1;
                let (device, envelope) = (DEVICE, Some(envelope()));
                sender.queue[index].sealed = Some(Sealed { device, first, count, envelope, seal: SealId(0) });
            }
            sender
        };
        let mut whole = restored(4);
        whole.restore_batches();
        assert_eq!(
            forms(&whole),
            [Some((1, 4)), Some((1, 4)), Some((1, 4)), Some((1, 4)), Some((5, 2)), Some((5, 2))]
        );
        let mut damaged = restored(4);
        damaged.queue[2].is_void = true;
        damaged.restore_batches();
        assert_eq!(forms(&damaged), [None, None, None, Some((4, 1)), Some((5, 2)), Some((5, 2))]);
        let mut too_long = restored(70);
        too_long.restore_batches();
        assert_eq!(forms(&too_long)[..3], [None; 3]);
    }

    /// It may be that another copy of this profile has sent the lower numbers.
    #[test]
    fn an_answer_to_one_message_does_not_acknowledge_an_earlier_one() {
        let mut sender = sender(3);
        send_all(&mut sender, 0);
        assert!(sender.acknowledge(&(3..4), 9).is_empty());
        assert_eq!(sender.acknowledge(&(1..2), 9).len(), 1);
        assert_eq!(sender.acknowledge(&(2..3), 9).len(), 2);
    }

    #[test]
    fn a_message_may_live_for_ever() {
        let now = Instant::now();
        assert!(in_time(now, Duration::MAX) > now);
    }

    #[test]
    fn an_answer_acknowledges_nothing_that_was_not_sent() {
        let mut sender = sender(3);
        seal(&mut sender, DEVICE, SealId(1));
        sender.handle_sent(CallTag(1));
        assert!(sender.acknowledge(&(2..3), u64::MAX).is_empty());
        assert_eq!(sender.acknowledge(&(1..9), u64::MAX).len(), 1);
        assert!(!sender.is_empty());
    }

    #[test]
    fn what_was_not_taken_is_sent_once_more_and_then_waits() {
        let mut sender = sender(2);
        send_all(&mut sender, 0);
        sender.handle_answered(CallTag(0));
        sender.handle_answered(CallTag(1));
        assert!(sender.rewind(), "the first time round is repeated");
        send_all(&mut sender, 2);
        sender.handle_answered(CallTag(2));
        sender.handle_answered(CallTag(3));
        assert!(!sender.rewind(), "a second time without progress is not");
    }

    #[test]
    fn pauses_grow_to_a_longest_one() {
        let mut sender = sender(1);
        let now = Instant::now();
        let pauses: Vec<u64> = (0..12).map(|_| (sender.pause(now, 0.5) - now).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
