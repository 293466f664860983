//! [`ReplayWindow`]: which packet numbers of a link have been seen.

use std::collections::VecDeque;

/// How many numbers below the newest are remembered one by one; older ones count as seen.
///
/// Preemption of threads reorders datagrams by hundreds.
pub const REPLAY_WINDOW: u64 = 2048;

/// Numbers that one word of the window covers.
const WORD_BITS: u64 = u64::BITS as u64;

/// Words of a full window: one more than [`REPLAY_WINDOW`] needs, as the newest is only partly used.
const MAX_WORDS: usize = (REPLAY_WINDOW / WORD_BITS) as usize + 1;

/// A bitmap of the newest numbers. It starts empty and grows with the numbers seen, to 264 bytes.
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {
    /// The words of the blocks up to and including that of the newest number, oldest first.
    words: VecDeque<u64>,
    /// One more than the newest number seen; zero if none was.
    end: u64,
}

impl ReplayWindow {
    /// Tells whether `number` was neither seen nor is too old to know.
    #[must_use]
    pub(super) fn is_new(&self, number: u64) -> bool {
        if number >= self.end {
            return true;
        }
        self.position(number).and_then(|at| self.words.get(at)).is_some_and(|word| word & bit(number) == 0)
    }

    /// Tells whether `number` is above all seen so far.
    #[must_use]
    pub(super) const fn is_newest(&self, number: u64) -> bool {
        number >= self.end
    }

    /// Remembers `number`. Only call it for a packet that is authentic.
    pub(super) fn insert(&mut self, number: u64) {
        if number >= self.end {
            self.grow_to(number / WORD_BITS);
            self.end = number.saturating_add(1);
        }
        if let Some(word) = self.position(number).and_then(|at| self.words.get_mut(at)) {
            *word |= bit(number);
        }
    }

    /// Returns which word covers `number`, `None` if it is older than all of them.
    fn position(&self, number: u64) -> Option<usize> {
        let blocks_back = (self.end.saturating_sub(1) / WORD_BITS).checked_sub(number / WORD_BITS)?;
        self.words.len().checked_sub(1)?.checked_sub(usize::try_from(blocks_back).ok()?)
    }

    /// Appends words until the last one covers `block`, and forgets the oldest beyond [`MAX_WORDS`].
    fn grow_to(&mut self, block: u64) {
        let next_block = if self.end == 0 { 0 } else { (self.end - 1) / WORD_BITS + 1 };
        let missing = block.saturating_add(1).saturating_sub(next_block);
        for _ in 0..missing.min(MAX_WORDS as u64) {
            if self.words.len() == MAX_WORDS {
                self.words.pop_front();
            }
            self.words.push_back(0);
        }
    }
}

/// Returns the bit of `number` within its word.
const fn bit(number: u64) -> u64 {
    1 << (number % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut window = ReplayWindow::default();
        for number in [0, 1, 5, 3, 64, 63, 4_000, 3_000] {
            assert!(window.is_new(number), "{number}");
            window.insert(number);
            assert!(!window.is_new(number), "{number}");
        }
        assert!(!window.is_new(100), "too old to know");
    }

    #[test]
    fn a_young_window_is_small_and_an_old_one_bounded() {
        let mut window = ReplayWindow::default();
        window.insert(0);
        assert_eq!(window.words.len(), 1);
        window.insert(1 << 59);
        assert_eq!(window.words.len(), MAX_WORDS);
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(numbers in prop::collection::vec(0_u64..10_000, 1..400)) {
            let (mut window, mut seen) = (ReplayWindow::default(), BTreeSet::new());
            for number in numbers {
                let newest = seen.last().copied().unwrap_or(0);
                if number + REPLAY_WINDOW > newest {
                    prop_assert_eq!(window.is_new(number), !seen.contains(&number));
                }
                if window.is_new(number) {
                    window.insert(number);
                    prop_assert!(seen.insert(number));
                }
            }
        }
    }
}
