//! [`OwnAddresses`]: under which addresses other nodes see this one.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::kademlia::{NodeId, Scope};

/// How many of the latest reports count, per family.
const MAX_REPORTS: usize = 16;

/// An address counts when at least one in this many reports names it: one liar among many is not heard.
const MIN_SHARE: usize = 4;

/// What other nodes reported, the latest of each.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses {
    v4: VecDeque<(NodeId, SocketAddr)>,
    v6: VecDeque<(NodeId, SocketAddr)>,
}

impl OwnAddresses {
    /// Takes that `reporter` saw this node at `address`. Returns whether the report is news.
    pub(crate) fn handle_report(&mut self, reporter: NodeId, address: SocketAddr) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if Scope::of(&address).is_none() {
            return false;
        }
        let reports = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        if reports.contains(&(reporter, address)) {
            return false;
        }
        reports.retain(|(node, _)| *node != reporter);
        if reports.len() == MAX_REPORTS {
            reports.pop_front();
        }
        reports.push_back((reporter, address));
        true
    }

    /// Returns the best address of each family that has one: of those that enough nodes reported the one that
    /// carries furthest, then the one that most reported.
    pub(crate) fn best(&self) -> Vec<SocketAddr> {
        [&self.v4, &self.v6].into_iter().filter_map(best_of).collect()
    }
}

fn best_of(reports: &VecDeque<(NodeId, SocketAddr)>) -> Option<SocketAddr> {
    let mut counts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for (_, address) in reports {
        *counts.entry(*address).or_default() += 1;
    }
    let heard = counts.into_iter().filter(|(_, count)| count * MIN_SHARE >= reports.len());
    heard.max_by_key(|(address, count)| (Scope::of(address), *count)).map(|(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from_bytes([seed; 32])
    }

    #[test]
    fn the_address_that_carries_furthest_wins_if_enough_nodes_saw_it() {
        let mut own = OwnAddresses::default();
        assert!(own.handle_report(node(1), "127.0.0.1:9".parse().unwrap()));
        assert!(!own.handle_report(node(1), "127.0.0.1:9".parse().unwrap()));
        own.handle_report(node(2), "192.168.1.2:9".parse().unwrap());
        assert_eq!(own.best(), ["192.168.1.2:9".parse().unwrap()]);
        for seed in 3..12 {
            own.handle_report(node(seed), "127.0.0.1:9".parse().unwrap());
        }
        assert_eq!(own.best(), ["127.0.0.1:9".parse().unwrap()]);
    }

    #[test]
    fn each_family_has_its_own_address_and_nonsense_none() {
        let mut own = OwnAddresses::default();
        assert!(!own.handle_report(node(1), "0.0.0.0:9".parse().unwrap()));
        own.handle_report(node(1), "[::1]:9".parse().unwrap());
        own.handle_report(node(2), "[::ffff:127.0.0.1]:9".parse().unwrap());
        assert_eq!(own.best(), ["127.0.0.1:9".parse().unwrap(), "[::1]:9".parse().unwrap()]);
    }
}
