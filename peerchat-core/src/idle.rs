//! Giving back what a burst took: a process may run thousands of nodes, and most of them wait most of the time.
//!
//! The standard collections keep their memory for the next burst; a tree keeps room for eleven values even when it is
//! empty.

use std::collections::{BTreeMap, VecDeque};

/// How many places an empty queue may keep: what a node that does little needs, so that it does not allocate each time.
const KEPT_PLACES: usize = 4;

/// Takes the next value out of a queue, and gives back the queue's memory when that was the last of many.
pub(crate) fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if queue.is_empty() && queue.capacity() > KEPT_PLACES {
        *queue = VecDeque::new();
    }
    next
}

/// Takes a value out of a map, and gives back the map's memory when that was the last.
pub(crate) fn remove<K: Ord, V>(map: &mut BTreeMap<K, V>, key: &K) -> Option<V> {
    let value = map.remove(key);
    if map.is_empty() {
        *map = BTreeMap::new();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_back_what_a_burst_took() {
        let mut queue: VecDeque<u8> = (0..100).collect();
        for expected in 0..100 {
            assert_eq!(pop(&mut queue), Some(expected));
        }
        assert_eq!((pop(&mut queue), queue.capacity()), (None, 0));
    }

    #[test]
    fn a_quiet_queue_keeps_its_places() {
        let mut queue = VecDeque::with_capacity(KEPT_PLACES);
        queue.push_back(1);
        assert_eq!((pop(&mut queue), queue.capacity()), (Some(1), KEPT_PLACES));
    }
}
