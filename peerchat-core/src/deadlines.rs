//! [`Deadlines`]: what is due when, earliest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::idle;

/// Pending deadlines, at most one for each `T`, which says what it is for.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    queue: BTreeSet<(Instant, T)>,
    due: BTreeMap<T, Instant>,
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { queue: BTreeSet::new(), due: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> Deadlines<T> {
    /// Sets the deadline of `what`, replacing the one it had.
    pub(crate) fn set(&mut self, what: T, at: Instant) {
        if let Some(old) = self.due.insert(what, at) {
            self.queue.remove(&(old, what));
        }
        self.queue.insert((at, what));
    }

    /// Sets the deadline of `what` unless it has one.
    pub(crate) fn set_if_unset(&mut self, what: T, at: Instant) {
        if !self.due.contains_key(&what) {
            self.set(what, at);
        }
    }

    /// Forgets `what`.
    pub(crate) fn remove(&mut self, what: T) {
        if let Some(at) = idle::remove(&mut self.due, &what) {
            self.queue.remove(&(at, what));
        }
        if self.queue.is_empty() {
            self.queue = BTreeSet::new();
        }
    }

    /// Removes and returns the earliest of what is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        let &(_, what) = self.queue.first().filter(|(at, _)| *at <= now)?;
        self.remove(what);
        Some(what)
    }

    /// Returns the earliest deadline and what it is for.
    #[must_use]
    pub(crate) fn next(&self) -> Option<(Instant, T)> {
        self.queue.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_has_one_deadline() {
        let (mut deadlines, start) = (Deadlines::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        deadlines.set('a', at(1));
        deadlines.set('b', at(2));
        deadlines.set('a', at(3));
        deadlines.set_if_unset('b', at(9));
        assert_eq!(deadlines.next(), Some((at(2), 'b')));
        assert_eq!(deadlines.pop(at(9)), Some('b'));
        assert_eq!(deadlines.pop(at(2)), None);
        assert_eq!(deadlines.pop(at(3)), Some('a'));
        assert_eq!(deadlines.next(), None);
    }

    proptest! {
        /// Against a plain list: the same things fall due, in order of time.
        #[test]
        fn what_is_due_comes_in_order(steps in prop::collection::vec((0..4_u8, 0..9_u8, 0..30_u64), 0..60)) {
            let (mut deadlines, mut model, start) = (Deadlines::default(), BTreeMap::new(), Instant::now());
            let at = |second| start + Duration::from_secs(second);
            for (step, what, second) in steps {
                match step {
                    0 => {
                        deadlines.set(what, at(second));
                        model.insert(what, second);
                    }
                    1 => {
                        deadlines.set_if_unset(what, at(second));
                        model.entry(what).or_insert(second);
                    }
                    2 => {
                        deadlines.remove(what);
                        model.remove(&what);
                    }
                    _ => {
                        let due = model.iter().map(|(what, at)| (*at, *what)).min();
                        let due = due.filter(|(at, _)| *at <= second).map(|(_, what)| what);
                        prop_assert_eq!(deadlines.pop(at(second)), due);
                        due.map(|what| model.remove(&what));
                    }
                }
                let next = model.iter().map(|(what, second)| (at(*second), *what)).min();
                prop_assert_eq!(deadlines.next(), next);
            }
        }
    }
}
