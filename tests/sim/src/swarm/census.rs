//! [`Census`]: who is there, by id, so that the truth about a place need not be sought among all.

use std::collections::BTreeMap;

use peerchat_core::kademlia::NodeId;

/// The honest nodes that are there.
#[derive(Debug, Default)]
pub(super) struct Census {
    hosts: BTreeMap<NodeId, usize>,
}

impl Census {
    pub(super) fn insert(&mut self, id: NodeId, host: usize) {
        self.hosts.insert(id, host);
    }

    pub(super) fn remove(&mut self, id: NodeId) {
        self.hosts.remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Returns the hosts closest to a place for which `admits` holds, nearest first, at most `count`.
    ///
    /// Whoever shares more first bits with the place is closer: the ids with a common prefix are a range.
    pub(super) fn closest(&self, place: &NodeId, count: usize, admits: impl Fn(usize) -> bool) -> Vec<usize> {
        let shared = (self.hosts.len() / (4 * count.max(1))).checked_ilog2().unwrap_or(0) as usize;
        for bit_count in (0..=shared).rev() {
            let range = with_tail(place, bit_count, 0)..=with_tail(place, bit_count, 0xff);
            let found = self.hosts.range(range).filter(|(_, host)| admits(**host));
            let mut found: Vec<_> = found.map(|(id, host)| (id.distance(place), *host)).collect();
            if found.len() >= count || bit_count == 0 {
                found.sort_unstable_by_key(|(distance, _)| *distance);
                return found.into_iter().take(count).map(|(_, host)| host).collect();
            }
        }
        Vec::new()
    }
}

/// Returns `place` with every bit after the first `bit_count` taken from `fill`.
fn with_tail(place: &NodeId, bit_count: usize, fill: u8) -> NodeId {
    let mut bytes = *place.as_bytes();
    for (number, byte) in bytes.iter_mut().enumerate() {
        let kept = bit_count.saturating_sub(8 * number).min(8);
        let mask = !(0xff_u32 >> kept) as u8;
        *byte = (*byte & mask) | (fill & !mask);
    }
    NodeId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn the_closest_are_those_that_sorting_everybody_yields() {
        let (mut census, mut rng) = (Census::default(), ChaCha20Rng::seed_from_u64(1));
        let ids: Vec<_> = (0..3000).map(|_| NodeId::from_bytes(rng.random())).collect();
        for (host, id) in ids.iter().enumerate() {
            let place = NodeId::from_bytes(rng.random());
            let admits = |host: usize| host % 3 != 1;
            let mut naive: Vec<_> = (0..host).filter(|host| admits(*host)).collect();
            naive.sort_by_key(|host| ids[*host].distance(&place));
            naive.truncate(20);
            assert_eq!(census.closest(&place, 20, admits), naive);
            census.insert(*id, host);
        }
    }
}
