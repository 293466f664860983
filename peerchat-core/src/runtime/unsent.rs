//! [`Unsent`]: datagrams for which the system has no room yet.

use std::collections::VecDeque;

use crate::idle;
use crate::transport::Transmit;

/// Datagrams that wait, oldest first. When there are too many the oldest is dropped, as UDP may.
#[derive(Debug)]
pub(super) struct Unsent {
    waiting: VecDeque<Transmit>,
    limit: usize,
    dropped: u64,
}

impl Unsent {
    pub(super) const fn new(limit: usize) -> Self {
        Self { waiting: VecDeque::new(), limit, dropped: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns how many were dropped.
    pub(super) const fn dropped_count(&self) -> u64 {
        self.dropped
    }

    /// Takes one that could not be sent.
    pub(super) fn push(&mut self, transmit: Transmit) {
        if self.waiting.len() >= self.limit {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(transmit);
    }

    /// Sends what waits, in order, until `send` says that there is no room.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&Transmit) -> bool) {
        while self.waiting.front().is_some_and(&mut send) {
            idle::pop(&mut self.waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_datagrams_that_cannot_be_sent_the_oldest_is_dropped_and_counted() {
        let mut unsent = Unsent::new(2);
        let transmit = |byte| Transmit { to: ([10, 0, 0, 1], 1).into(), bytes: vec![byte] };
        (1..=3).for_each(|byte| unsent.push(transmit(byte)));
        assert_eq!(unsent.dropped_count(), 1);
        let mut sent: Vec<u8> = Vec::new();
        unsent.flush(|transmit| {
            sent.extend(&transmit.bytes);
            sent.len() < 2
        });
        assert_eq!(sent, [2, 3], "the second found no room");
        assert!(!unsent.is_empty());
        unsent.flush(|_| true);
        assert!(unsent.is_empty());
    }
}
