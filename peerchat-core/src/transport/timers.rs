//! [`Timers`]: what is due when, earliest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::ProbeId;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// The call with this request id was sent over a link and not answered yet.
    Call(u32),
    /// The handshake with this link index was not answered yet.
    Handshake(u32),
    /// The probe was not answered yet.
    Probe(ProbeId),
    /// The engine has not answered the early request with this token yet.
    EarlyAnswer(u64),
    /// Something short-lived is kept.
    Sweep,
}

impl Timer {
    /// Says what the timer is for.
    const fn name(self) -> &'static str {
        match self {
            Self::Call(_) => "call retransmission",
            Self::Handshake(_) => "handshake retransmission",
            Self::Probe(_) => "key request retransmission",
            Self::EarlyAnswer(_) => "answer to an early request",
            Self::Sweep => "transport sweep",
        }
    }
}

/// Every pending deadline, at most one for each [`Timer`].
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    due: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets the deadline of `timer`, replacing the one it had.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(old) = self.due.insert(timer, at) {
            self.queue.remove(&(old, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Sets the deadline of `timer` unless it has one.
    pub(super) fn set_if_unset(&mut self, timer: Timer, at: Instant) {
        if !self.due.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    /// Forgets `timer`.
    pub(super) fn remove(&mut self, timer: Timer) {
        if let Some(at) = self.due.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// Removes and returns the earliest timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let &(at, timer) = self.queue.first().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&(at, timer));
        self.due.remove(&timer);
        Some(timer)
    }

    /// Returns the earliest deadline and what it is for.
    #[must_use]
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        self.queue.first().map(|&(at, timer)| (at, timer.name()))
    }
}
