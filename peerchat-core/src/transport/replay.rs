//! [`ReplayWindow`]: which packet numbers of a link have been seen.

/// How many numbers below the newest are remembered one by one; older ones count as seen.
///
/// Preemption of threads reorders datagrams by hundreds.
pub const REPLAY_WINDOW: u64 = 2048;

/// Numbers that one word of the window covers.
const WORD_BITS: u64 = u64::BITS as u64;

/// Words of a full window before that of the newest number, which is only partly used.
const MAX_OLDER_WORDS: usize = (REPLAY_WINDOW / WORD_BITS) as usize;

/// A bitmap of the newest numbers. It takes no memory of its own for the first 64 numbers and grows to 256 bytes.
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {
    /// The word of the newest number's block.
    newest: u64,
    /// The words of the blocks before it, oldest first.
    older: Vec<u64>,
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
        match self.blocks_back(number) {
            0 => self.newest & bit(number) == 0,
            back => self
                .position(back)
                .and_then(|at| self.older.get(at))
                .is_some_and(|word| word & bit(number) == 0),
        }
    }

    /// Tells whether `number` is above all seen so far.
    #[must_use]
    pub(super) const fn is_newest(&self, number: u64) -> bool {
        number >= self.end
    }

    /// Remembers `number`. Only call it for a packet that is authentic.
    pub(super) fn insert(&mut self, number: u64) {
        if number >= self.end {
            self.advance(number / WORD_BITS - self.newest_block());
            self.end = number.saturating_add(1);
        }
        match self.blocks_back(number) {
            0 => self.newest |= bit(number),
            back => {
                if let Some(word) = self.position(back).and_then(|at| self.older.get_mut(at)) {
                    *word |= bit(number);
                }
            }
        }
    }

    const fn newest_block(&self) -> u64 {
        self.end.saturating_sub(1) / WORD_BITS
    }

    /// Returns how many blocks before the newest one `number` is, which is below `end`.
    const fn blocks_back(&self, number: u64) -> u64 {
        self.newest_block() - number / WORD_BITS
    }

    /// Returns which of the older words is so many blocks before the newest; `None` if it is forgotten.
    fn position(&self, back: u64) -> Option<usize> {
        self.older.len().checked_sub(usize::try_from(back).ok()?)
    }

    /// Makes room for so many blocks more, and forgets the oldest beyond [`MAX_OLDER_WORDS`].
    fn advance(&mut self, blocks: u64) {
        if blocks == 0 {
            return;
        }
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX).min(MAX_OLDER_WORDS + 1);
        let surplus = (self.older.len() + blocks).saturating_sub(MAX_OLDER_WORDS);
        self.older.drain(..surplus.min(self.older.len()));
        if blocks <= MAX_OLDER_WORDS {
            self.older.push(self.newest);
        }
        let empty = (blocks - 1).min(MAX_OLDER_WORDS);
        self.older.resize(self.older.len() + empty, 0);
        self.newest = 0;
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
        window.insert(63);
        assert_eq!(window.older.capacity(), 0);
        window.insert(64);
        assert_eq!(window.older.len(), 1);
        window.insert(1 << 59);
        assert_eq!(window.older.len(), MAX_OLDER_WORDS);
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
