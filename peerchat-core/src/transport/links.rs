//! [`Links`]: every link, found by index, by peer and by the peer's index.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::link::Link;
use super::rtt::RoundTrip;
use crate::kademlia::NodeKey;

/// Links of others' making that have not been proven by a packet. When full, the oldest is dropped: links in use never
/// give way to strangers.
pub const MAX_UNPROVEN_LINKS: usize = 256;

/// The same for one peer: a replayed first packet cannot push out the true one.
pub const MAX_UNPROVEN_LINKS_PER_PEER: usize = 3;

/// How long a link waits for the packet that proves it.
pub const UNPROVEN_LINK_LIFETIME: Duration = Duration::from_secs(30);

/// How stale the order of use may be: it is not rewritten for every packet.
const RECENCY_STEP: Duration = Duration::from_secs(1);

/// One peer's links.
#[derive(Debug, Default)]
struct Peer {
    /// The link that calls use.
    current: Option<u32>,
    /// The one before, which the peer may still use.
    previous: Option<u32>,
    /// Links that the peer started and has not used yet, oldest first.
    unproven: Vec<u32>,
    round_trip: RoundTrip,
    /// Its place in the order of use; `None` while `current` is.
    used_at: Option<Instant>,
}

/// Every link of the node.
#[derive(Debug)]
pub(super) struct Links {
    links: BTreeMap<u32, Link>,
    peers: BTreeMap<NodeKey, Peer>,
    /// The peers' indices with ours, for RESET.
    by_remote: BTreeSet<(u32, u32)>,
    /// Peers with a current link, least recently used first.
    recency: BTreeSet<(Instant, NodeKey)>,
    /// Links that were unproven when they were made, oldest first.
    unproven: VecDeque<(Instant, u32)>,
    max_peers: usize,
}

impl Links {
    /// Makes an empty table for `max_peers` peers.
    pub(super) const fn new(max_peers: usize) -> Self {
        Self {
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            by_remote: BTreeSet::new(),
            recency: BTreeSet::new(),
            unproven: VecDeque::new(),
            max_peers,
        }
    }

    /// Returns how many peers have a link that is proven.
    pub(super) fn peer_count(&self) -> usize {
        self.recency.len()
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.links.contains_key(&index)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.links.get_mut(&index)
    }

    /// Returns the link that calls to `peer` should use.
    pub(super) fn current(&self, peer: &NodeKey) -> Option<&Link> {
        self.links.get(&self.peers.get(peer)?.current?)
    }

    /// Tells whether a link that calls use leads to this address.
    pub(super) fn leads_to(&self, address: SocketAddr) -> bool {
        let current = self.peers.values().filter_map(|peer| self.links.get(&peer.current?));
        current.into_iter().any(|link| link.is_proven && link.address == address)
    }

    /// Returns the links whose peer calls them `remote`.
    pub(super) fn with_remote(&self, remote: u32) -> impl Iterator<Item = &Link> {
        let range = self.by_remote.range((remote, 0)..=(remote, u32::MAX));
        range.filter_map(|(_, local)| self.links.get(local))
    }

    /// Returns how long to wait for an answer of `peer`.
    pub(super) fn timeout_of(&self, peer: &NodeKey) -> Duration {
        self.peers.get(peer).map_or(super::rtt::INITIAL_RTO, |peer| peer.round_trip.timeout())
    }

    /// Takes a round trip that was measured.
    pub(super) fn insert_round_trip(&mut self, peer: &NodeKey, sample: Duration) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.round_trip.insert(sample);
        }
    }

    /// Takes a link that this node started: calls use it from now on.
    pub(super) fn insert_current(&mut self, link: Link, now: Instant) {
        let (peer, index) = (link.peer, link.local);
        self.insert(link);
        self.make_current(peer, index, now);
    }

    /// Takes a link that the peer started: nothing is sent over it until it is proven.
    pub(super) fn insert_unproven(&mut self, link: Link, now: Instant) {
        let (key, index) = (link.peer, link.local);
        self.insert(link);
        let peer = self.peers.entry(key).or_default();
        peer.unproven.push(index);
        let surplus = (peer.unproven.len() > MAX_UNPROVEN_LINKS_PER_PEER).then(|| peer.unproven.remove(0));
        if let Some(surplus) = surplus {
            self.remove(surplus);
        }
        self.unproven.push_back((now + UNPROVEN_LINK_LIFETIME, index));
        if self.unproven.len() > MAX_UNPROVEN_LINKS {
            self.drop_oldest_unproven();
        }
    }

    /// Makes an unproven link the current one, now that a packet has arrived over it.
    pub(super) fn prove(&mut self, index: u32, now: Instant) {
        let Some(link) = self.links.get_mut(&index) else { return };
        link.is_proven = true;
        let peer = link.peer;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.unproven.retain(|other| *other != index);
        }
        self.make_current(peer, index, now);
    }

    /// Takes note that the links of `peer` are in use.
    pub(super) fn touch(&mut self, key: &NodeKey, now: Instant) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(used_at) = peer.used_at.filter(|at| now >= *at + RECENCY_STEP) else { return };
        self.recency.remove(&(used_at, *key));
        self.recency.insert((now, *key));
        peer.used_at = Some(now);
    }

    /// Drops the peer that was used least recently, sparing those whose links `is_busy`, once there are too many.
    /// Returns whether one was dropped.
    pub(super) fn evict(&mut self, is_busy: impl Fn(u32) -> bool) -> bool {
        if self.recency.len() <= self.max_peers {
            return false;
        }
        let is_idle = |key: &NodeKey| {
            let peer = self.peers.get(key);
            !peer.is_some_and(|peer| peer.current.into_iter().chain(peer.previous).any(&is_busy))
        };
        let newest = self.recency.last().copied();
        let mut others = self.recency.iter().copied().filter(|entry| Some(*entry) != newest);
        let idle = others.clone().find(|(_, key)| is_idle(key));
        let Some((used_at, key)) = idle.or_else(|| others.next()) else { return false };
        self.recency.remove(&(used_at, key));
        if let Some(peer) = self.peers.remove(&key) {
            peer.current.into_iter().chain(peer.previous).chain(peer.unproven).for_each(|index| {
                self.remove(index);
            });
        }
        true
    }

    /// Drops unproven links whose time is up; returns whether any are left.
    pub(super) fn expire_unproven(&mut self, now: Instant) -> bool {
        while self.unproven.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest_unproven();
        }
        !self.unproven.is_empty()
    }

    fn insert(&mut self, link: Link) {
        self.by_remote.insert((link.remote, link.local));
        self.links.insert(link.local, link);
    }

    fn remove(&mut self, index: u32) {
        if let Some(link) = self.links.remove(&index) {
            self.by_remote.remove(&(link.remote, link.local));
        }
    }

    fn make_current(&mut self, key: NodeKey, index: u32, now: Instant) {
        let peer = self.peers.entry(key).or_default();
        let dropped = match peer.current.replace(index) {
            Some(old) => peer.previous.replace(old),
            None => None,
        };
        if let Some(used_at) = peer.used_at.replace(now) {
            self.recency.remove(&(used_at, key));
        }
        self.recency.insert((now, key));
        if let Some(dropped) = dropped {
            self.remove(dropped);
        }
    }

    fn drop_oldest_unproven(&mut self) {
        let Some((_, index)) = self.unproven.pop_front() else { return };
        let Some(key) = self.links.get(&index).filter(|link| !link.is_proven).map(|link| link.peer) else {
            return;
        };
        self.remove(index);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.unproven.retain(|other| *other != index);
            if peer.current.is_none() && peer.unproven.is_empty() {
                self.peers.remove(&key);
            }
        }
    }
}
