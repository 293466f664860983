//! [`Stream`]: what arrives from one device in one conversation, in order, each number once.

use std::collections::{BTreeMap, VecDeque};

use super::chat::{MAX_MISSING, Receipt, ReceiptVerdict};
use super::owed::NOTHING_BIT;
use crate::crypto::{DeviceKeys, Envelope, IdentityKey};
use crate::kademlia::{Contact, NodeId};
use crate::limits::{entry, leaf};
use crate::save::{ConversationId, SavedStream, StreamId};

/// Most envelopes of one stream that wait for an earlier one. A later one is not taken; its sender repeats it.
pub const MAX_HELD: usize = 64;

/// Most bytes in them.
pub const MAX_HELD_LEN: usize = 256 * 1024;

/// How many of the latest messages are known by their tags at most: more than a sender has in flight.
pub const KEPT_TAGS: usize = 1024;

/// How many of the latest envelopes they were in at most: more than a sender has in flight. Where each message has its own,
/// fewer tags are saved with each.
pub const KEPT_ENVELOPES: usize = 64;

/// What a device takes of memory at most, beside what is held of it: its stream, what that knows of the latest messages, its
/// keys, and where it is.
pub(crate) const DEVICE_COST: usize = entry::<(ConversationId, NodeId), Stream>()
    + (KEPT_TAGS + super::batch::MAX_BATCH as usize) * size_of::<(u64, u64)>()
    + 2 * (KEPT_ENVELOPES + 1) * size_of::<usize>()
    + leaf::<NodeId, DeviceKeys>()
    + 4 * size_of::<Contact>();

/// What an envelope that is held takes beside its bytes.
pub(crate) const HELD_COST: usize = leaf::<u64, Held>() / 2;

/// The messages of one device in one conversation.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) conversation: ConversationId,
    pub(crate) device: NodeId,
    /// The device's key in sessions, once it has introduced itself with one.
    pub(crate) identity: Option<IdentityKey>,
    /// Every lower number has been handed out or was given up by the sender.
    next: u64,
    /// Number and tag of the latest messages that were handed out, in order.
    tags: VecDeque<(u64, u64)>,
    /// How many of these tags came together, in order; those from before a restart count as one envelope.
    groups: VecDeque<usize>,
    /// Arrived ahead of `next`; not acknowledged, so that a crash loses nothing.
    held: BTreeMap<u64, Held>,
    held_len: usize,
    /// The application has marked everything up to this number as read.
    read_to: u64,
    /// What the device has to be told of its mail, until a receipt that says it is on disk.
    owes_receipt: Option<ReceiptVerdict>,
}

/// An envelope that has arrived and was not opened yet.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The tag of its first message.
    pub(crate) tag: u64,
    /// How many messages it says that it has.
    pub(crate) count: u64,
    pub(crate) envelope: Envelope,
}

/// What a number and a tag say of a message that arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arrival {
    /// It was not handed out before.
    New,
    /// It was handed out or given up.
    Known,
    /// Another message had this number.
    OutOfStep,
    /// The sender has passed its number over, or sent nothing in its place: it was given up then. Whoever owes a message under
    /// it now is an old copy of the sender, whose message has never arrived.
    Passed,
}

impl Stream {
    /// Starts a stream at its first number.
    pub(crate) fn new(id: StreamId, conversation: ConversationId, device: NodeId) -> Self {
        let (tags, held) = (VecDeque::new(), BTreeMap::new());
        let (identity, owes_receipt) = (None, None);
        Self {
            id,
            conversation,
            device,
            identity,
            next: 1,
            tags,
            groups: VecDeque::new(),
            held,
            held_len: 0,
            read_to: 0,
            owes_receipt,
        }
    }

    /// Takes a stream up again.
    pub(crate) fn restore(saved: &SavedStream) -> Self {
        let SavedStream { id, conversation, device, identity, ref tags, owes_receipt, read_to, .. } = *saved;
        let (tags, held): (VecDeque<_>, _) = (tags.iter().copied().collect(), BTreeMap::new());
        let groups = VecDeque::from([tags.len()]);
        let owes_receipt = owes_receipt.then_some(ReceiptVerdict::Delivered);
        let next = saved.next_number;
        Self {
            id,
            conversation,
            device,
            identity,
            next,
            tags,
            groups,
            held,
            held_len: 0,
            read_to,
            owes_receipt,
        }
    }

    /// Returns what is to be saved of the stream.
    pub(crate) fn to_saved(&self) -> SavedStream {
        SavedStream {
            id: self.id,
            conversation: self.conversation,
            device: self.device,
            next_number: self.next,
            identity: self.identity,
            tags: self.tags.iter().copied().collect(),
            owes_receipt: self.owes_receipt.is_some(),
            read_to: self.read_to,
        }
    }

    /// Notes that everything up to this number was read. Returns whether that is news, and not of what has not come.
    pub(crate) fn mark_read(&mut self, number: u64) -> bool {
        let is_news = self.read_to < number && number < self.next;
        if is_news {
            self.read_to = number;
        }
        is_news
    }

    /// Tells whether anything was marked as read.
    pub(crate) fn has_read(&self) -> bool {
        self.read_to > 0
    }

    /// Returns the number that the stream waits for.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Returns how many messages wait for an earlier one.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Returns the length of their envelopes.
    pub(crate) fn held_len(&self) -> usize {
        self.held_len
    }

    /// Judges a message before it is opened, for a ratchet takes a repetition for damage.
    pub(crate) fn judge(&self, number: u64, tag: u64) -> Arrival {
        let Some(behind) = self.next.checked_sub(number).filter(|behind| *behind > 0) else {
            return Arrival::New;
        };
        match self.tags.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(index) => match self.tags.get(index) {
                Some((_, known)) if *known == tag => Arrival::Known,
                // It was given up after it had arrived.
                Some((_, known)) if *known | NOTHING_BIT == tag => Arrival::Known,
                Some((_, known)) if *known == tag | NOTHING_BIT => Arrival::Passed,
                _ => Arrival::OutOfStep,
            },
            Err(index) if index > 0 && !self.has_taken(tag) => Arrival::Passed,
            // Numbered anew, or given up before the first that is known, or from before tags were kept.
            Err(index) if index > 0 || behind <= KEPT_ENVELOPES as u64 => Arrival::Known,
            Err(_) => Arrival::OutOfStep,
        }
    }

    /// Judges an envelope with so many messages, the first of which has this number and tag, before it is opened. One of
    /// which only a part was handed out is new: [`Self::judge`] says which messages are.
    pub(crate) fn judge_envelope(&self, number: u64, count: u64, tag: u64) -> Arrival {
        match self.judge(number, tag) {
            Arrival::Known if number.saturating_add(count) > self.next => Arrival::New,
            Arrival::Known if count > 1 && self.lacks_one_of(number, count) => Arrival::Passed,
            arrival => arrival,
        }
    }

    /// Tells whether of a batch that ends before `next` something was not handed out.
    fn lacks_one_of(&self, number: u64, count: u64) -> bool {
        let numbers = number..number.saturating_add(count);
        let is_of_it = |(other, tag): &&(u64, u64)| numbers.contains(other) && tag & NOTHING_BIT == 0;
        let is_known = self.tags.front().is_some_and(|(first, _)| *first <= number);
        is_known && (self.tags.iter().filter(is_of_it).count() as u64) < count
    }

    /// Returns how far before `next` the latest numbers are under which nothing was handed out, nearest first.
    fn missing(&self) -> Vec<u64> {
        let (mut missing, mut after) = (Vec::new(), self.next);
        for (number, tag) in self.tags.iter().rev() {
            let is_nothing = tag & NOTHING_BIT != 0;
            let first = if is_nothing { *number } else { number.saturating_add(1) };
            let room = MAX_MISSING - missing.len();
            missing.extend((first..after).rev().take(room).map(|number| self.next - number));
            after = *number;
        }
        missing
    }

    /// Tells whether one of the latest messages had this tag, under whatever number.
    pub(crate) fn has_taken(&self, tag: u64) -> bool {
        self.tags.iter().any(|(_, known)| *known == tag)
    }

    /// Keeps a new envelope until it is due; one that has to wait for an earlier one only if `can_hold`. The sender
    /// owes nothing below `oldest`: what is missing there was given up.
    pub(crate) fn hold(&mut self, number: u64, oldest: u64, held: Held, can_hold: bool) {
        // A new form takes the place of the old one.
        self.drop_held(number);
        let (len, end) = (held.envelope.bytes.len(), number.saturating_add(held.count));
        let has_room = can_hold && self.held.len() < MAX_HELD && self.held_len + len <= MAX_HELD_LEN;
        if end > self.next && (number <= self.expected(number, oldest) || has_room) {
            self.held_len += len;
            self.held.insert(number, held);
        }
    }

    /// Returns the envelope that is due now that the one with `number` has come: the first, if nothing before it is
    /// waited for.
    pub(crate) fn due(&self, number: u64, oldest: u64) -> Option<(u64, &Held)> {
        let (first, held) = self.held.first_key_value()?;
        (*first <= self.expected(number, oldest)).then_some((*first, held))
    }

    /// Takes that the messages with these numbers and tags, which came in one envelope, have been handed out.
    pub(crate) fn pass(&mut self, messages: &[(u64, u64)]) {
        let Some((last, _)) = messages.last() else { return };
        if self.tags.len() + messages.len() > KEPT_TAGS {
            // Not the double that a queue takes when it grows.
            self.tags.reserve_exact(messages.len());
        }
        self.tags.extend(messages);
        self.groups.push_back(messages.len());
        while self.groups.len() > KEPT_ENVELOPES || self.tags.len() > KEPT_TAGS {
            let Some(count) = self.groups.pop_front() else { break };
            let too_many = self.tags.len().saturating_sub(KEPT_TAGS);
            let is_too_old = self.groups.len() >= KEPT_ENVELOPES;
            let gone = if is_too_old { count } else { count.min(too_many) };
            self.tags.drain(..gone);
            if gone < count {
                self.groups.push_front(count - gone);
            }
        }
        self.next = last.saturating_add(1);
        // The same may have come both ways.
        while let Some((number, held)) = self.held.first_key_value()
            && number.saturating_add(held.count) <= self.next
        {
            self.drop_held(*number);
        }
    }

    /// Notes what the device has to be told; what is worse than what was noted before counts.
    pub(crate) fn owe_receipt(&mut self, verdict: ReceiptVerdict) {
        self.owes_receipt = self.owes_receipt.max(Some(verdict));
    }

    /// Tells whether the device has to be told of its mail.
    pub(crate) fn owes_receipt(&self) -> bool {
        self.owes_receipt.is_some()
    }

    /// Returns the receipt that the device has to get, which is then no longer owed; `tells_read` if it may say what was
    /// read.
    pub(crate) fn take_receipt(&mut self, tells_read: bool) -> Option<Receipt> {
        let verdict = self.owes_receipt.take()?;
        let last = self.tags.back().filter(|(number, _)| number.saturating_add(1) == self.next);
        let last_tag = last.map(|(_, tag)| *tag);
        let read = if tells_read { self.read_to } else { 0 };
        let (device, next, token) = (self.device, self.next, Vec::new());
        Some(Receipt { device, verdict, next, last_tag, missing: self.missing(), read, token })
    }

    /// Tells whether an envelope that has come by mail is due: nothing before it is waited for.
    pub(crate) fn is_due(&self, number: u64, oldest: u64) -> bool {
        number <= self.expected(number, oldest)
    }

    /// Forgets an envelope that does not open, so that its sender can send it in another form.
    pub(crate) fn drop_held(&mut self, number: u64) -> Option<Held> {
        let held = self.held.remove(&number)?;
        self.held_len -= held.envelope.bytes.len();
        Some(held)
    }

    fn expected(&self, number: u64, oldest: u64) -> u64 {
        self.next.max(oldest.min(number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::EnvelopeKind;

    fn stream() -> Stream {
        Stream::new(StreamId(1), ConversationId(1), NodeId::from_bytes([0; 32]))
    }

    fn held(number: u64) -> Held {
        Held {
            tag: tag(number),
            count: 1,
            envelope: Envelope { kind: EnvelopeKind::Later, bytes: Vec::new() },
        }
    }

    const fn tag(number: u64) -> u64 {
        2 * (number + 1000)
    }

    fn accept_if(stream: &mut Stream, number: u64, oldest: u64, can_hold: bool) -> Vec<u64> {
        stream.hold(number, oldest, held(number), can_hold);
        let mut taken = Vec::new();
        while let Some((due, _)) = stream.due(number, oldest) {
            let held = stream.drop_held(due).unwrap();
            stream.pass(&[(due, held.tag)]);
            taken.push(due);
        }
        taken
    }

    fn accept(stream: &mut Stream, number: u64, oldest: u64) -> Vec<u64> {
        accept_if(stream, number, oldest, true)
    }

    #[test]
    fn a_later_message_waits_for_the_earlier_one() {
        let mut stream = stream();
        assert!(accept(&mut stream, 2, 1).is_empty());
        assert_eq!(stream.next(), 1);
        assert_eq!(accept(&mut stream, 1, 1), [1, 2]);
        assert_eq!(stream.next(), 3);
    }

    #[test]
    fn a_duplicate_yields_nothing() {
        let mut stream = stream();
        assert_eq!(stream.judge(1, tag(1)), Arrival::New);
        assert_eq!(accept(&mut stream, 1, 1), [1]);
        assert_eq!(stream.judge(1, tag(1)), Arrival::Known);
        assert!(accept(&mut stream, 1, 1).is_empty());
        assert_eq!(stream.next(), 2);
    }

    /// A sender whose profile is an old copy gives numbers out again.
    #[test]
    fn another_message_with_a_known_number_is_out_of_step() {
        let mut stream = stream();
        (1..=200).for_each(|number| _ = accept(&mut stream, number, 1));
        assert_eq!(stream.to_saved().tags.len(), KEPT_ENVELOPES, "each had its own");
        assert_eq!(stream.judge(200, tag(7)), Arrival::OutOfStep);
        assert_eq!(stream.judge(137, tag(137)), Arrival::Known);
        assert_eq!(stream.judge(136, tag(136)), Arrival::OutOfStep, "so old that no sender still owes it");
        assert!(stream.has_taken(tag(137)) && !stream.has_taken(tag(136)));
    }

    fn batch(first: u64, count: u64) -> Vec<(u64, u64)> {
        (first..first + count).map(|number| (number, tag(number))).collect()
    }

    #[test]
    fn every_message_of_a_batch_is_known_by_its_tag() {
        let mut stream = stream();
        (0..100).for_each(|index| stream.pass(&batch(1 + 64 * index, 64)));
        assert_eq!((stream.next(), stream.to_saved().tags.len()), (6401, KEPT_TAGS));
        let oldest = 6401 - KEPT_TAGS as u64;
        assert_eq!(stream.judge(6400, tag(7)), Arrival::OutOfStep);
        assert_eq!(stream.judge(oldest, tag(oldest)), Arrival::Known);
        assert_eq!(stream.judge(oldest - 1, tag(oldest - 1)), Arrival::OutOfStep);
        let mut restored = Stream::restore(&stream.to_saved());
        assert_eq!(restored.judge(oldest, tag(oldest)), Arrival::Known);
        restored.pass(&batch(6401, 3));
        assert_eq!(restored.judge(oldest + 3, tag(oldest + 3)), Arrival::Known);
        assert_eq!(restored.judge(oldest + 2, tag(oldest + 2)), Arrival::OutOfStep);
        (6404..6404 + KEPT_ENVELOPES as u64).for_each(|number| restored.pass(&batch(number, 1)));
        assert_eq!(restored.to_saved().tags.len(), KEPT_ENVELOPES, "those from before count as one envelope");
    }

    #[test]
    fn a_batch_of_which_a_part_has_come_is_due_and_one_that_has_come_is_not() {
        let mut stream = stream();
        stream.pass(&batch(1, 5));
        assert_eq!(stream.judge_envelope(4, 2, tag(4)), Arrival::Known);
        assert_eq!(stream.judge_envelope(4, 3, tag(4)), Arrival::New);
        assert_eq!(stream.judge_envelope(4, 3, tag(9)), Arrival::OutOfStep);
        let of = |number, count| Held { count, ..held(number) };
        stream.hold(4, 1, of(4, 3), true);
        stream.hold(8, 1, of(8, 2), true);
        stream.hold(2, 1, of(2, 2), true);
        assert_eq!(stream.due(4, 1).map(|(number, held)| (number, held.count)), Some((4, 3)));
        stream.drop_held(4);
        stream.pass(&batch(6, 1));
        assert!(stream.due(4, 1).is_none(), "7 is missing");
        stream.pass(&batch(7, 3));
        assert_eq!((stream.held_count(), stream.held_len()), (0, 0), "it came the other way too");
    }

    #[test]
    fn a_stream_from_before_tags_takes_repetitions_for_what_they_are() {
        let saved = SavedStream { next_number: 100, ..stream().to_saved() };
        let mut stream = Stream::restore(&saved);
        assert_eq!(stream.judge(99, tag(99)), Arrival::Known);
        accept(&mut stream, 100, 1);
        assert_eq!(stream.judge(99, tag(99)), Arrival::Known);
        assert_eq!(stream.judge(100, tag(1)), Arrival::OutOfStep);
    }

    #[test]
    fn what_the_sender_gave_up_is_not_waited_for() {
        let mut stream = stream();
        assert!(accept(&mut stream, 5, 4).is_empty());
        assert_eq!(accept(&mut stream, 4, 4), [4, 5]);
        assert_eq!(stream.judge(3, tag(3)), Arrival::Known);
    }

    /// What is numbered anew leaves a large hole behind, and must be known again.
    #[test]
    fn tags_are_known_across_a_hole() {
        let mut stream = stream();
        (1..=50).for_each(|number| _ = accept(&mut stream, number, 1));
        accept(&mut stream, 300, 300);
        assert!((1..=50).all(|number| stream.has_taken(tag(number))));
        assert_eq!(stream.judge(50, tag(50)), Arrival::Known);
        assert_eq!(stream.judge(50, tag(7)), Arrival::OutOfStep);
        assert_eq!(stream.judge(299, tag(50)), Arrival::Known, "it has another number now");
        assert_eq!(stream.judge(299, tag(299)), Arrival::Passed, "given up");
        assert_eq!(stream.judge_envelope(299, 5, tag(299)), Arrival::Passed);
    }

    #[test]
    fn a_hole_within_what_is_owed_is_waited_for() {
        let mut stream = stream();
        assert!(accept(&mut stream, 7, 3).is_empty());
        assert_eq!(accept(&mut stream, 3, 3), [3]);
        assert_eq!(stream.next(), 4);
    }

    #[test]
    fn only_so_much_waits() {
        let mut stream = stream();
        for number in 2..500 {
            accept(&mut stream, number, 1);
        }
        assert_eq!(stream.held.len(), MAX_HELD);
        assert_eq!(accept(&mut stream, 1, 1).len(), MAX_HELD + 1);
        assert_eq!(stream.to_saved().tags.len(), KEPT_ENVELOPES);
    }

    #[test]
    fn only_so_many_bytes_wait() {
        let long = |number| {
            let bytes = vec![0; crate::MAX_TEXT_LEN];
            Held { envelope: Envelope { kind: EnvelopeKind::Later, bytes }, ..held(number) }
        };
        let mut stream = stream();
        for number in (2..40).chain(2..40) {
            stream.hold(number, 1, long(number), true);
        }
        assert_eq!(stream.held_len(), MAX_HELD_LEN);
        stream.hold(1, 1, long(1), true);
        let due = accept(&mut stream, 1, 1);
        assert_eq!(due.len(), 1 + MAX_HELD_LEN / crate::MAX_TEXT_LEN);
        assert_eq!(stream.held_len(), 0);
    }

    #[test]
    fn what_need_not_wait_is_taken_when_nothing_more_may() {
        let mut stream = stream();
        for number in 2..2 + MAX_HELD as u64 {
            accept(&mut stream, number, 1);
        }
        // The sender has given up everything below 500.
        let due = accept_if(&mut stream, 500, 500, false);
        assert_eq!(due.last(), Some(&500));
        assert!(accept_if(&mut stream, 502, 501, false).is_empty());
        assert_eq!(stream.held_count(), 0);
    }

    #[test]
    fn what_nothing_took_the_place_of_has_not_arrived() {
        let mut stream = stream();
        let nothing = |number| tag(number) | NOTHING_BIT;
        stream.pass(&[(1, tag(1))]);
        stream.pass(&[(2, nothing(2))]);
        // The third was passed over, after the fifth had arrived it was given up.
        stream.pass(&[(4, tag(4)), (5, tag(5))]);
        assert_eq!(stream.judge(2, nothing(2)), Arrival::Known);
        assert_eq!(stream.judge(2, tag(2)), Arrival::Passed);
        assert_eq!(stream.judge(5, nothing(5)), Arrival::Known);
        assert_eq!(stream.judge_envelope(1, 1, tag(1)), Arrival::Known);
        assert_eq!(
            stream.judge_envelope(1, 2, tag(1)),
            Arrival::Passed,
            "a batch of before the second was given up"
        );
        assert_eq!(stream.judge_envelope(4, 2, tag(4)), Arrival::Known);
        stream.owe_receipt(ReceiptVerdict::Delivered);
        let receipt = stream.take_receipt(false).unwrap();
        assert_eq!((receipt.next, &receipt.missing[..]), (6, &[3, 4][..]));
        assert!([2, 3].into_iter().all(|number| receipt.lacks(number)));
        assert!([0, 1, 4, 5, 6, 7].into_iter().all(|number| !receipt.lacks(number)));
        // However far a sender jumps.
        stream.pass(&[(u64::MAX - 1, tag(6))]);
        stream.owe_receipt(ReceiptVerdict::Delivered);
        assert_eq!(stream.take_receipt(false).unwrap().missing.len(), MAX_MISSING);
    }

    #[test]
    fn what_does_not_open_may_come_again_in_another_form() {
        let mut stream = stream();
        stream.hold(1, 1, held(1), true);
        stream.drop_held(1);
        assert!(stream.due(1, 1).is_none());
        assert_eq!(accept(&mut stream, 1, 1), [1]);
    }

    proptest! {
        #[test]
        fn any_order_with_repeats_yields_each_once_and_in_order(
            mut order in Just((1..=40_u64).flat_map(|n| [n, n]).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut stream = stream();
            let mut seen = Vec::new();
            // What is not acknowledged comes again, as a sender would do it.
            while stream.next() <= 40 {
                for number in &order {
                    seen.extend(accept(&mut stream, *number, 1));
                }
                order.sort_unstable();
            }
            prop_assert_eq!(seen, (1..=40).collect::<Vec<_>>());
        }
    }
}
