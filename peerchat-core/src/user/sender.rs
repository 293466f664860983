//! [`Sender`]: what is owed to one conversation, and how far the paying has come.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::chat::{ContentKind, Receipt};
use super::machine::{CallTag, SealId};
use crate::crypto::{Envelope, SealKey};
use crate::event::MessageState;
use crate::kademlia::NodeId;
use crate::save::{ConversationId, SavedMessage, StreamId};
use crate::time::{Now, Timestamp};

/// Most messages of one conversation that were sent and not acknowledged: no more than the recipient keeps while it
/// waits for an earlier one ([`super::MAX_HELD`]), or it would drop the rest.
pub const MAX_IN_FLIGHT: usize = 32;

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

/// A message as one device can open it.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) device: NodeId,
    pub(crate) envelope: Envelope,
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
    in_flight: BTreeMap<CallTag, u64>,
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
        let named = delivered.iter().filter_map(|owed| Some((owed.number?, owed.tag(tag_key))));
        self.acknowledged = named.max().max(self.acknowledged);
    }

    /// Tells whether the message with this number is still owed.
    pub(crate) fn owes(&self, number: u64) -> bool {
        self.queue.iter().take(MAX_IN_FLIGHT).any(|owed| owed.number == Some(number))
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

    /// Returns where in the queue the messages stand that may be sent soon.
    pub(crate) fn window(&self) -> Range<usize> {
        self.sent_count..MAX_IN_FLIGHT.max(self.sent_count)
    }

    /// Returns where in the queue the messages stand that may be deposited soon, from this number on.
    pub(crate) fn window_from(&self, number: u64) -> Range<usize> {
        let start = self.index_of(number);
        start..start + MAX_IN_FLIGHT
    }

    fn index_of(&self, number: u64) -> usize {
        self.queue.partition_point(|owed| owed.number.is_some_and(|other| other < number))
    }

    /// Returns those of some messages that have a number and are not sealed for this device.
    pub(crate) fn unsealed(
        &mut self,
        range: Range<usize>,
        device: NodeId,
    ) -> impl Iterator<Item = &mut Owed> {
        let end = range.end.min(self.queue.len());
        let some = self.queue.range_mut(range.start.min(end)..end);
        some.take_while(|owed| owed.number.is_some()).filter(move |owed| !owed.is_sealed_for(device))
    }

    /// Tells whether anything is to be deposited for a device; what was written last is looked at first.
    pub(crate) fn has_to_deposit(&self, to: (NodeId, SealKey), now: Instant) -> bool {
        self.queue.iter().rev().any(|owed| owed.number.is_some() && owed.needs_deposit(to, now))
    }

    /// Returns the messages from this number on.
    pub(crate) fn owed_from(&self, number: u64) -> impl Iterator<Item = &Owed> {
        self.queue.range(self.index_of(number)..).take_while(|owed| owed.number.is_some())
    }

    /// Returns the message with this number.
    pub(crate) fn numbered(&mut self, number: u64) -> Option<&mut Owed> {
        let index = self.index_of(number);
        self.queue.get_mut(index).filter(|owed| owed.number == Some(number))
    }

    /// Takes the message with this number off the queue.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Owed> {
        let index = self.index_of(number);
        self.queue.get(index).filter(|owed| owed.number == Some(number))?;
        if index < self.sent_count {
            self.sent_count -= 1;
        }
        self.queue.remove(index)
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

    /// Returns the next message to deliver to a device if the window has room and the message is on disk as it will be
    /// sent; the caller then reports its call by [`Self::handle_sent`].
    pub(crate) fn next_to_send(&self, device: NodeId, saved: SealId) -> Option<(&Owed, &Envelope)> {
        let next = self.queue.get(self.sent_count)?;
        let sent_len: usize = self.queue.iter().take(self.sent_count).map(|owed| owed.body.len()).sum();
        let has_room = self.sent_count < MAX_IN_FLIGHT && sent_len + next.body.len() <= MAX_IN_FLIGHT_LEN;
        if !has_room && self.sent_count > 0 {
            return None;
        }
        let sealed = next.sealed.as_ref().filter(|sealed| sealed.device == device && sealed.seal <= saved)?;
        Some((next, &sealed.envelope))
    }

    /// Notes that the message of [`Self::next_to_send`] is on its way.
    pub(crate) fn handle_sent(&mut self, tag: CallTag) {
        if let Some(number) = self.queue.get(self.sent_count).and_then(|owed| owed.number) {
            self.in_flight.insert(tag, number);
            self.sent_count += 1;
        }
    }

    /// Notes that a call ended; returns the number of its message if it was one of ours.
    pub(crate) fn handle_answered(&mut self, tag: CallTag) -> Option<u64> {
        self.in_flight.remove(&tag)
    }

    /// Notes that the message with this number was taken, and takes off the queue what was taken and has a number
    /// below `next`. One that was not answered stays: `next` may count what another copy of this profile has sent.
    pub(crate) fn acknowledge(&mut self, taken: u64, next: u64) -> Vec<Owed> {
        let in_flight = || self.queue.iter().take(self.sent_count);
        if let Some(index) = in_flight().position(|owed| owed.number == Some(taken)) {
            self.queue[index].is_taken = true;
        }
        let is_done = |owed: &&Owed| owed.is_taken && owed.number.is_some_and(|number| number < next);
        let done_count = self.queue.iter().take(self.sent_count).take_while(is_done).count();
        if done_count > 0 {
            self.sent_count -= done_count;
            self.has_progressed = true;
            self.has_introduced = false;
            self.failed_attempts = 0;
        }
        self.queue.drain(..done_count).collect()
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
        let is_sealed = |owed: &&Owed| owed.is_sealed_for(device);
        let count = self.queue.iter().take(end).take_while(is_sealed).count();
        self.sent_count = self.sent_count.saturating_sub(count);
        self.has_progressed |= count > 0;
        self.queue.drain(..count).collect()
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

    fn seal(sender: &mut Sender, device: NodeId, seal: SealId) -> usize {
        let envelope = || Envelope { kind: EnvelopeKind::Later, bytes: Vec::new() };
        let window = sender.window();
        let unsealed = sender.unsealed(window, device);
        unsealed.map(|owed| owed.sealed = Some(Sealed { device, envelope: envelope(), seal })).count()
    }

    fn next(sender: &Sender) -> Option<u64> {
        sender.next_to_send(DEVICE, SealId(1)).and_then(|(owed, _)| owed.number)
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
        assert_eq!(sender.acknowledge(1, 2).len(), 1);
        assert_eq!(next(&sender), None, "not sealed yet");
        assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 1);
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
            assert!(sender.acknowledge(taken, 1).is_empty());
        });
        assert!(sender.rewind());
        assert_eq!(next(&sender), None);
        const { assert!(MAX_IN_FLIGHT <= super::super::MAX_HELD) };
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

    /// It may be that another copy of this profile has sent the lower numbers.
    #[test]
    fn an_answer_to_one_message_does_not_acknowledge_an_earlier_one() {
        let mut sender = sender(3);
        send_all(&mut sender, 0);
        assert!(sender.acknowledge(3, 9).is_empty());
        assert_eq!(sender.acknowledge(1, 9).len(), 1);
        assert_eq!(sender.acknowledge(2, 9).len(), 2);
    }

    #[test]
    fn a_message_may_live_for_ever() {
        let now = Instant::now();
        assert!(in_time(now, Duration::MAX) > now);
    }

    #[test]
    fn an_answer_acknowledges_nothing_that_was_not_sent() {
        let mut sender = sender(3);
        sender.handle_sent(CallTag(1));
        assert!(sender.acknowledge(2, u64::MAX).is_empty());
        assert_eq!(sender.acknowledge(1, u64::MAX).len(), 1);
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
