//! [`Timers`]: what a user has to look at when, earliest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::save::ConversationId;

/// What [`super::User::handle_timeout`] has to look at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// The pause of a sender ends.
    Retry(ConversationId),
    /// A message expires.
    Expiry(ConversationId),
    /// The own records are due to be signed or published again.
    Publish,
}

impl Timer {
    const fn name(self) -> &'static str {
        match self {
            Self::Retry(_) => "retry of a delivery",
            Self::Expiry(_) => "expiry of a message",
            Self::Publish => "publication of the user",
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
        self.remove(timer);
        self.due.insert(timer, at);
        self.queue.insert((at, timer));
    }

    /// Forgets `timer`.
    pub(super) fn remove(&mut self, timer: Timer) {
        if let Some(at) = self.due.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// Takes the first timer that is due by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = *self.queue.first().filter(|(at, _)| *at <= now)?;
        self.remove(timer);
        Some(timer)
    }

    /// Returns the earliest deadline, and what it is for.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        self.queue.first().map(|(at, timer)| (*at, timer.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only differences matter")]
    fn a_timer_has_one_deadline() {
        let (mut timers, start) = (Timers::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        timers.set(Timer::Publish, at(1));
        timers.set(Timer::Retry(ConversationId(1)), at(2));
        timers.set(Timer::Publish, at(3));
        assert_eq!(timers.pop(at(9)), Some(Timer::Retry(ConversationId(1))));
        assert_eq!(timers.pop(at(2)), None);
        assert_eq!(timers.pop(at(3)), Some(Timer::Publish));
        assert_eq!(timers.next(), None);
    }
}
