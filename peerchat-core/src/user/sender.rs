//! [`Sender`]: what is owed to one conversation, and how far the paying has come.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::machine::CallTag;
use crate::event::MessageState;
use crate::save::{ConversationId, SavedMessage, StreamId};
use crate::time::{Now, Timestamp};

/// Most DELIVER requests of one conversation without an answer yet.
pub const MAX_IN_FLIGHT: usize = 32;

/// First pause after a failed attempt; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

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
    /// Whether message and number are on disk. Nothing is sent before: after a crash its number could go to
    /// another message, which the recipient would take for a duplicate.
    pub(crate) is_saved: bool,
}

impl Owed {
    /// Takes a saved message up again.
    pub(crate) fn restore(saved: SavedMessage, now: Now) -> Self {
        Self {
            position: saved.position,
            number: saved.number,
            kind: saved.kind,
            body: saved.body,
            sent: saved.sent,
            expires: saved.expires,
            expires_at: now.instant + saved.expires.saturating_since(now.wall),
            is_saved: true,
        }
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
            expires: self.expires,
        }
    }
}

/// Where the sender of one conversation stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Free to take the next step; left at once.
    Ready,
    /// The recipient's name is looked up. Left when the search ends.
    Resolving,
    /// The recipient's devices are looked up. Left when the search ends.
    Locating,
    /// INTRODUCE is in flight. Left when it ends.
    Introducing,
    /// DELIVER requests are in flight. Left when one fails or all is delivered.
    Delivering,
    /// An attempt failed. Left at this time, or when the recipient or the network shows up.
    Waiting(Instant),
}

/// What is owed to one conversation.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) step: Step,
    /// In the order of writing.
    queue: VecDeque<Owed>,
    in_flight: BTreeMap<CallTag, u64>,
    /// How many messages at the front of the queue were sent since the last setback.
    sent_count: usize,
    /// Whether anything was acknowledged since the front of the queue was last sent.
    has_progressed: bool,
    /// Whether the recipient's devices were looked up in this attempt.
    pub(crate) has_located: bool,
    /// How many times in a row the name was found to be nobody's.
    pub(crate) unknown_count: u32,
    failed_attempts: u32,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            step: Step::Ready,
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            sent_count: 0,
            has_progressed: true,
            has_located: false,
            unknown_count: 0,
            failed_attempts: 0,
        }
    }

    pub(crate) fn push(&mut self, owed: Owed) {
        self.queue.push_back(owed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the lowest number that is still owed.
    pub(crate) fn oldest(&self) -> u64 {
        self.queue.front().and_then(|owed| owed.number).unwrap_or(1)
    }

    /// Returns when the first message is given up.
    pub(crate) fn first_expiry(&self) -> Option<Instant> {
        self.queue.front().map(|owed| owed.expires_at)
    }

    /// Numbers every message that has no number yet, from `next` on; returns (position, number) of each.
    pub(crate) fn number_from(&mut self, mut next: u64) -> Vec<(u64, u64)> {
        let mut numbered = Vec::new();
        for owed in self.queue.iter_mut().filter(|owed| owed.number.is_none()) {
            owed.number = Some(next);
            owed.is_saved = false;
            numbered.push((owed.position, next));
            next += 1;
        }
        numbered
    }

    /// Returns the next message to deliver if the window has room; the caller then reports its call by
    /// [`Self::handle_sent`].
    pub(crate) fn next_to_send(&self) -> Option<&Owed> {
        let next = self.queue.get(self.sent_count).filter(|owed| owed.is_saved);
        if self.in_flight.len() >= MAX_IN_FLIGHT { None } else { next }
    }

    /// Notes that every message up to `position` is on disk with its number.
    pub(crate) fn handle_saved(&mut self, position: u64) {
        let is_due = |owed: &&mut Owed| !owed.is_saved && owed.position <= position;
        // The latest messages are the ones that wait: look from the back.
        self.queue
            .iter_mut()
            .rev()
            .skip_while(|owed| owed.position > position)
            .take_while(is_due)
            .for_each(|owed| owed.is_saved = true);
    }

    /// Notes that the message of [`Self::next_to_send`] is on its way.
    pub(crate) fn handle_sent(&mut self, tag: CallTag) {
        if let Some(number) = self.queue.get(self.sent_count).and_then(|owed| owed.number) {
            self.in_flight.insert(tag, number);
            self.sent_count += 1;
        }
    }

    /// Notes that a call ended with an answer; returns whether it was one of ours.
    pub(crate) fn handle_answered(&mut self, tag: CallTag) -> bool {
        self.in_flight.remove(&tag).is_some()
    }

    /// Takes off the queue what was sent and has a number below `next`.
    pub(crate) fn acknowledge(&mut self, next: u64) -> Vec<Owed> {
        let is_done = |owed: &&Owed| owed.number.is_some_and(|number| number < next);
        let done_count = self.queue.iter().take(self.sent_count).take_while(is_done).count();
        if done_count > 0 {
            self.sent_count -= done_count;
            self.has_progressed = true;
            self.failed_attempts = 0;
        }
        self.queue.drain(..done_count).collect()
    }

    /// Starts again at the front of the queue once everything in flight has ended. Returns whether there is a
    /// reason to: `false` if all of it was sent before and the recipient took none.
    pub(crate) fn rewind(&mut self) -> bool {
        if !self.in_flight.is_empty() || self.sent_count == 0 || self.sent_count < self.queue.len() {
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
        self.set_back();
        self.has_located = false;
        let until = now + pause.mul_f64(0.75 + 0.5 * jitter);
        self.step = Step::Waiting(until);
        until
    }

    /// Ends a pause early: the recipient or the network has shown up.
    pub(crate) fn wake(&mut self) {
        if matches!(self.step, Step::Waiting(_)) {
            self.failed_attempts = 0;
            self.step = Step::Ready;
        }
    }

    /// Takes off the queue what has expired.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Owed> {
        let count = self.queue.iter().take_while(|owed| owed.expires_at <= now).count();
        self.sent_count = self.sent_count.saturating_sub(count);
        self.queue.drain(..count).collect()
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

    fn sender(count: u64) -> Sender {
        let mut sender = Sender::new();
        for position in 1..=count {
            sender.push(Owed {
                position,
                number: None,
                kind: 1,
                body: vec![],
                sent: Timestamp::default(),
                expires: Timestamp::default(),
                expires_at: Instant::now() + Duration::from_secs(position),
                is_saved: false,
            });
        }
        sender.number_from(1);
        sender.handle_saved(count);
        sender
    }

    fn send_all(sender: &mut Sender, first_tag: u64) -> u64 {
        let mut tag = first_tag;
        while sender.next_to_send().is_some() {
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
        assert_eq!(sender.acknowledge(2).len(), 1);
        assert_eq!(sender.next_to_send().unwrap().number, Some(MAX_IN_FLIGHT as u64 + 1));
    }

    #[test]
    fn nothing_is_sent_before_it_is_on_disk() {
        let mut sender = sender(2);
        sender.push(Owed { position: 9, number: None, is_saved: true, ..sender.queue[0].clone() });
        sender.number_from(3);
        assert_eq!(send_all(&mut sender, 0), 2);
        sender.handle_saved(8);
        assert!(sender.next_to_send().is_none());
        sender.handle_saved(9);
        assert_eq!(sender.next_to_send().unwrap().number, Some(3));
    }

    #[test]
    fn an_answer_acknowledges_nothing_that_was_not_sent() {
        let mut sender = sender(3);
        sender.handle_sent(CallTag(1));
        assert_eq!(sender.acknowledge(u64::MAX).len(), 1);
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

    #[test]
    fn expired_messages_leave_the_queue_in_order() {
        let mut sender = sender(3);
        send_all(&mut sender, 0);
        let expired = sender.expire(Instant::now() + Duration::from_millis(2500));
        assert_eq!(expired.iter().map(|owed| owed.number).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert_eq!(sender.oldest(), 3);
    }
}
