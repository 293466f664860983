//! [`Links`]: every link, found by index, by peer and by the peer's index.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::link::Link;
use super::rtt::RoundTrip;
use crate::idle;
use crate::kademlia::NodeKey;
use crate::limits::{Limits, entry};

/// Links of others' making that have not been proven by a packet. When full, the oldest is dropped: links in use never
/// give way to strangers.
pub const MAX_UNPROVEN_LINKS: usize = 256;

/// The same for one peer: a replayed first packet cannot push out the true one.
pub const MAX_UNPROVEN_LINKS_PER_PEER: usize = 3;

/// How long a link waits for the packet that proves it.
pub const UNPROVEN_LINK_LIFETIME: Duration = Duration::from_secs(30);

/// Most peers with links under keys that are no nodes'; a quarter of all links if those are fewer. When there are more, the
/// one used least recently goes: depositors of mail push out one another, and no node.
pub const MAX_THROWAWAY_LINKS: usize = 256;

/// What a link takes at most: itself and its replay window, its place in two trees, and its peer's.
pub(super) const LINK_COST: usize = size_of::<Link>()
    + super::replay::REPLAY_WINDOW as usize / 4
    + entry::<u32, Box<Link>>()
    + entry::<(u32, u32), ()>()
    + entry::<NodeKey, Peer>();

/// One peer's links.
#[derive(Debug)]
struct Peer {
    /// The link that calls use.
    current: u32,
    /// The one before, which the peer may still use.
    previous: Option<u32>,
    round_trip: RoundTrip,
    used_at: Instant,
    /// Its key is no node's.
    is_throwaway: bool,
}

/// A link that a peer started and has not used yet.
#[derive(Debug)]
struct Unproven {
    index: u32,
    peer: NodeKey,
    until: Instant,
}

/// Every link of the node.
///
/// A process may run thousands of nodes with some dozens of links each, which makes links a large part of its memory.
/// Hence the boxes, as a tree keeps room for more values than it has, and no order of use beside the peers: looking
/// through them when one must go costs less than the handshake that it goes for.
#[derive(Debug)]
pub(super) struct Links {
    links: BTreeMap<u32, Box<Link>>,
    /// Peers with a proven link.
    peers: BTreeMap<NodeKey, Peer>,
    /// The peers' indices with ours, for RESET.
    by_remote: BTreeSet<(u32, u32)>,
    /// Oldest first.
    unproven: VecDeque<Unproven>,
    max_peers: usize,
    max_throwaways: usize,
    max_unproven: usize,
    throwaway_count: usize,
}

impl Links {
    /// Makes an empty table for `max_peers` peers.
    pub(super) fn new(max_peers: usize, limits: &Limits) -> Self {
        Self {
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            by_remote: BTreeSet::new(),
            unproven: VecDeque::new(),
            max_peers,
            max_throwaways: limits.throwaway_links.min(max_peers.div_ceil(4)),
            max_unproven: limits.unproven_links,
            throwaway_count: 0,
        }
    }

    /// Returns how many peers have a link that is proven.
    pub(super) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.links.contains_key(&index)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Link> {
        self.links.get(&index).map(|link| &**link)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.links.get_mut(&index).map(|link| &mut **link)
    }

    /// Returns the link that calls to `peer` should use.
    pub(super) fn current(&self, peer: &NodeKey) -> Option<&Link> {
        self.get(self.peers.get(peer)?.current)
    }

    /// Tells whether a link that calls use leads to this address.
    pub(super) fn leads_to(&self, address: SocketAddr) -> bool {
        let mut current = self.peers.values().filter_map(|peer| self.get(peer.current));
        current.any(|link| link.is_proven && link.address == address)
    }

    /// Returns the links whose peer calls them `remote`.
    pub(super) fn with_remote(&self, remote: u32) -> impl Iterator<Item = &Link> {
        let range = self.by_remote.range((remote, 0)..=(remote, u32::MAX));
        range.filter_map(|(_, local)| self.get(*local))
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
        let (peer, index) = (link.peer, link.local);
        self.insert(link);
        self.unproven.push_back(Unproven { index, peer, until: now + UNPROVEN_LINK_LIFETIME });
        let of_peer = |(_, other): &(usize, &Unproven)| other.peer == peer;
        let mut places = self.unproven.iter().enumerate().filter(of_peer).map(|(place, _)| place);
        let oldest = places.next();
        if let Some(oldest) = oldest.filter(|_| places.count() >= MAX_UNPROVEN_LINKS_PER_PEER) {
            self.drop_unproven(oldest);
        }
        if self.unproven.len() > self.max_unproven {
            self.drop_unproven(0);
        }
    }

    /// Makes an unproven link the current one, now that a packet has arrived over it.
    pub(super) fn prove(&mut self, index: u32, now: Instant) {
        let Some(link) = self.links.get_mut(&index) else { return };
        link.is_proven = true;
        let peer = link.peer;
        self.unproven.retain(|other| other.index != index);
        self.make_current(peer, index, now);
    }

    /// Takes note that the links of `peer` are in use.
    pub(super) fn touch(&mut self, peer: &NodeKey, now: Instant) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.used_at = now;
        }
    }

    /// Drops the peer that was used least recently, sparing those whose links `is_busy`, once there are too many; one of
    /// those that are no nodes while there are too many of them.
    /// Returns whether one was dropped.
    pub(super) fn evict(&mut self, is_busy: impl Fn(u32) -> bool) -> bool {
        let is_crowded = self.throwaway_count > self.max_throwaways;
        if self.peers.len() <= self.max_peers && !is_crowded {
            return false;
        }
        let place = |(key, peer): (&NodeKey, &Peer)| (peer.used_at, *key);
        let newest = self.peers.iter().map(place).max();
        let may_go = |peer: &Peer| peer.is_throwaway || !is_crowded;
        let others = || {
            let others = self.peers.iter().filter(|(_, peer)| may_go(peer));
            others.filter(|entry| Some(place(*entry)) != newest)
        };
        let is_idle = |peer: &Peer| !is_busy(peer.current) && !peer.previous.is_some_and(&is_busy);
        let idle = others().filter(|(_, peer)| is_idle(peer)).map(place).min();
        let Some((_, key)) = idle.or_else(|| others().map(place).min()) else { return false };
        if let Some(peer) = idle::remove(&mut self.peers, &key) {
            self.throwaway_count -= usize::from(peer.is_throwaway);
            self.remove(peer.current);
            peer.previous.into_iter().for_each(|index| self.remove(index));
        }
        true
    }

    /// Drops unproven links whose time is up; returns whether any are left.
    pub(super) fn expire_unproven(&mut self, now: Instant) -> bool {
        while self.unproven.front().is_some_and(|oldest| oldest.until <= now) {
            self.drop_unproven(0);
        }
        if self.unproven.is_empty() {
            self.unproven = VecDeque::new();
        }
        !self.unproven.is_empty()
    }

    fn insert(&mut self, link: Link) {
        self.by_remote.insert((link.remote, link.local));
        self.links.insert(link.local, Box::new(link));
    }

    fn remove(&mut self, index: u32) {
        if let Some(link) = idle::remove(&mut self.links, &index) {
            self.by_remote.remove(&(link.remote, link.local));
        }
    }

    fn make_current(&mut self, key: NodeKey, index: u32, now: Instant) {
        let is_throwaway = self.get(index).is_some_and(|link| link.is_throwaway);
        let dropped = match self.peers.entry(key) {
            Entry::Vacant(entry) => {
                let round_trip = RoundTrip::default();
                entry.insert(Peer { current: index, previous: None, round_trip, used_at: now, is_throwaway });
                self.throwaway_count += usize::from(is_throwaway);
                None
            }
            Entry::Occupied(mut entry) => {
                let peer = entry.get_mut();
                peer.used_at = now;
                peer.previous.replace(std::mem::replace(&mut peer.current, index))
            }
        };
        if let Some(dropped) = dropped {
            self.remove(dropped);
        }
    }

    /// Drops the unproven link at this place of the queue.
    fn drop_unproven(&mut self, place: usize) {
        if let Some(unproven) = self.unproven.remove(place) {
            self.remove(unproven.index);
        }
    }
}
