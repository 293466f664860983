//! [`Stream`]: what arrives from one device in one conversation, in order, each number once.

use std::collections::BTreeMap;

use super::chat::Content;
use crate::kademlia::NodeId;
use crate::save::{ConversationId, SavedStream, StreamId};

/// Most messages of one stream that wait for an earlier one. A later one is not taken; its sender repeats it.
pub const MAX_HELD: usize = 64;

/// Most bytes of their bodies.
pub const MAX_HELD_LEN: usize = 256 * 1024;

/// The messages of one device in one conversation.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) conversation: ConversationId,
    pub(crate) device: NodeId,
    /// Every lower number has been handed out or was given up by the sender.
    next: u64,
    /// Arrived ahead of `next`; not acknowledged, so that a crash loses nothing.
    held: BTreeMap<u64, Content>,
    held_len: usize,
}

impl Stream {
    /// Starts a stream at its first number.
    pub(crate) fn new(id: StreamId, conversation: ConversationId, device: NodeId) -> Self {
        Self { id, conversation, device, next: 1, held: BTreeMap::new(), held_len: 0 }
    }

    /// Takes a stream up again.
    pub(crate) fn restore(saved: &SavedStream) -> Self {
        let SavedStream { id, conversation, device, next_number } = *saved;
        Self { id, conversation, device, next: next_number, held: BTreeMap::new(), held_len: 0 }
    }

    /// Returns what is to be saved of the stream.
    pub(crate) fn to_saved(&self) -> SavedStream {
        SavedStream {
            id: self.id,
            conversation: self.conversation,
            device: self.device,
            next_number: self.next,
        }
    }

    /// Returns the number that the stream waits for.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Returns how many messages wait for an earlier one.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Returns the length of their bodies.
    pub(crate) fn held_len(&self) -> usize {
        self.held_len
    }

    /// Takes one message and returns those that are now due, in order. A known number yields nothing, and neither
    /// does one that has to wait for an earlier one, which it may only if `can_hold`. The sender owes nothing below
    /// `oldest`: what is missing there was given up.
    pub(crate) fn accept(
        &mut self,
        number: u64,
        oldest: u64,
        content: Content,
        can_hold: bool,
    ) -> Vec<(u64, Content)> {
        let mut due = Vec::new();
        let expected = self.next.max(oldest.min(number));
        let has_room = self.held.len() < MAX_HELD && self.held_len + content.body.len() <= MAX_HELD_LEN;
        if number >= self.next && (number <= expected || can_hold && has_room) {
            self.held_len += content.body.len();
            let replaced = self.held.insert(number, content);
            self.held_len -= replaced.map_or(0, |content| content.body.len());
        }
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.next.max(oldest.min(number)) {
                break;
            }
            let (number, content) = entry.remove_entry();
            self.next = number.saturating_add(1);
            self.held_len -= content.body.len();
            due.push((number, content));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Timestamp;

    fn stream() -> Stream {
        Stream::new(StreamId(1), ConversationId(1), NodeId::from_bytes([0; 32]))
    }

    fn content(number: u64) -> Content {
        Content {
            conversation: [0; 32],
            kind: 1,
            sent: Timestamp::default(),
            body: number.to_be_bytes().to_vec(),
        }
    }

    fn accept(stream: &mut Stream, number: u64, oldest: u64) -> Vec<u64> {
        stream.accept(number, oldest, content(number), true).into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn a_later_message_waits_for_the_earlier_one() {
        let mut stream = stream();
        assert_eq!(accept(&mut stream, 2, 1), []);
        assert_eq!(stream.next(), 1);
        assert_eq!(accept(&mut stream, 1, 1), [1, 2]);
        assert_eq!(stream.next(), 3);
    }

    #[test]
    fn a_duplicate_yields_nothing() {
        let mut stream = stream();
        assert_eq!(accept(&mut stream, 1, 1), [1]);
        assert_eq!(accept(&mut stream, 1, 1), []);
        assert_eq!(stream.next(), 2);
    }

    #[test]
    fn what_the_sender_gave_up_is_not_waited_for() {
        let mut stream = stream();
        assert_eq!(accept(&mut stream, 5, 4), []);
        assert_eq!(accept(&mut stream, 4, 4), [4, 5]);
    }

    #[test]
    fn a_hole_within_what_is_owed_is_waited_for() {
        let mut stream = stream();
        assert_eq!(accept(&mut stream, 7, 3), []);
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
    }

    #[test]
    fn only_so_many_bytes_wait() {
        let long = |number| Content { body: vec![0; crate::MAX_TEXT_LEN], ..content(number) };
        let mut stream = stream();
        for number in (2..40).chain(2..40) {
            stream.accept(number, 1, long(number), true);
        }
        assert_eq!(stream.held_len(), MAX_HELD_LEN);
        let due = stream.accept(1, 1, long(1), true);
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
        let due = stream.accept(500, 500, content(500), false);
        assert_eq!(due.last().map(|(number, _)| *number), Some(500));
        assert!(stream.accept(502, 501, content(502), false).is_empty());
        assert_eq!(stream.held_count(), 0);
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
