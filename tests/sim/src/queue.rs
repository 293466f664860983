//! [`Queue`]: what will happen, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Items by time, those of one time in the order in which they were pushed.
///
/// The heap moves small entries about; the items rest in slots that are used again.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    pushed: u64,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), pushed: 0 }
    }

    pub(crate) fn push(&mut self, at: Instant, item: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 items wait")
        });
        self.slots[slot as usize] = Some(item);
        self.pushed += 1;
        self.heap.push(Reverse((at, self.pushed, slot)));
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Instant, T)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let item = self.slots[slot as usize].take();
        Some((at, item.expect("an entry of the heap has an item")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only differences matter")]
    fn items_come_by_time_and_then_in_order() {
        let (mut queue, start) = (Queue::new(), Instant::now());
        for (seconds, item) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            queue.push(start + Duration::from_secs(seconds), item);
        }
        assert_eq!(queue.next_at(), Some(start + Duration::from_secs(1)));
        let items: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect();
        assert_eq!(items, ["a", "b", "c", "d"]);
        queue.push(start, "e");
        assert_eq!(queue.slots.len(), 4, "slots are used again");
    }
}
