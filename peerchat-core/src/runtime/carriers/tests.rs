//! What a node learns of who asks it under a throwaway key, and what becomes of such keys.

use super::*;
use crate::kademlia::{Contact, NodeKey};
use crate::time::Timestamp;
use crate::transport::CallId;

const KIND: u8 = 0x20;

/// A depositor, 0, and those that it asks.
struct Net {
    hosts: Vec<Carriers>,
    now: Now,
    last_call: u64,
    ended: BTreeMap<CallId, bool>,
    /// What each host was asked, or told of others.
    seen: Vec<(usize, TransportEvent)>,
}

fn secret(host: usize) -> SecretKey {
    SecretKey::from_bytes(&[u8::try_from(host).unwrap() + 1; 32])
}

fn address(host: usize) -> SocketAddr {
    format!("10.0.0.{}:4000", host + 1).parse().unwrap()
}

fn contact(host: usize) -> Contact {
    Contact::new(secret(host).public().into(), address(host))
}

impl Net {
    fn new(count: usize) -> Self {
        let carriers = |host: usize| {
            let rng = ChaCha20Rng::from_seed([u8::try_from(host).unwrap(); 32]);
            Carriers::new(TransportConfig::default(), &secret(host), rng)
        };
        let now = Now { instant: Instant::now(), wall: Timestamp::default() };
        let hosts = (0..count).map(carriers).collect();
        Self { hosts, now, last_call: 0, ended: BTreeMap::new(), seen: Vec::new() }
    }

    /// Lets host 0 ask another one.
    fn call(&mut self, to: usize, throwaway: Option<u64>, len: usize) -> CallId {
        self.last_call += 1;
        let (id, body) = (CallId(self.last_call), vec![7; len]);
        let call = Call {
            id,
            to: contact(to),
            kind: KIND,
            body,
            is_early: false,
            is_bulk: false,
            is_answer_long: false,
            is_fleeting: false,
        };
        self.hosts[0].call(call, throwaway.map(ThrowawayId), self.now);
        id
    }

    fn ask(&mut self, to: usize, throwaway: Option<u64>, len: usize) {
        let id = self.call(to, throwaway, len);
        self.run_for(Duration::from_secs(1));
        assert_eq!(self.ended.get(&id), Some(&true), "{len} bytes");
    }

    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for host in 0..self.hosts.len() {
                while let Some(event) = self.hosts[host].poll_event() {
                    is_quiet = false;
                    match &event {
                        TransportEvent::Request { token, .. } => {
                            self.hosts[host].reply(*token, KIND, vec![1], self.now);
                        }
                        TransportEvent::Response { call, .. } => _ = self.ended.insert(*call, true),
                        TransportEvent::CallFailed { call, .. } => _ = self.ended.insert(*call, false),
                        _ => {}
                    }
                    self.seen.push((host, event));
                }
                while let Some(Transmit { to, bytes }) = self.hosts[host].poll_transmit() {
                    is_quiet = false;
                    if let Some(to) = (0..self.hosts.len()).find(|other| address(*other) == to) {
                        self.hosts[to].handle_datagram(address(host), &bytes, self.now);
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.after(time);
        self.settle();
        loop {
            let due = self.hosts.iter().filter_map(Carriers::poll_timeout).map(|(at, _)| at).min();
            let Some(at) = due.filter(|at| *at <= end.instant) else { break };
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            let now = self.now;
            self.hosts.iter_mut().for_each(|host| host.handle_timeout(now));
            self.settle();
        }
        self.now = end;
    }

    /// Returns the keys under which a host was asked, and whether they were said to be no node's.
    fn askers(&self, host: usize) -> Vec<(NodeKey, bool)> {
        let asker = |(at, event): &(usize, TransportEvent)| match event {
            TransportEvent::Request { from, is_throwaway, is_proven, .. } if *at == host => {
                assert!(*is_proven);
                Some((from.key(), *is_throwaway))
            }
            _ => None,
        };
        self.seen.iter().filter_map(asker).collect()
    }
}

/// By datagram and by stream.
#[test]
fn who_is_asked_under_a_throwaway_key_learns_nothing_of_the_node_and_takes_it_for_none() {
    let mut net = Net::new(3);
    for (to, throwaway, len) in [(1, 5, 600), (1, 5, 4000), (2, 6, 600), (2, 6, 4000)] {
        net.ask(to, Some(throwaway), len);
    }
    let own = NodeKey::from(secret(0).public());
    let askers = [net.askers(1), net.askers(2)];
    for askers in &askers {
        assert_eq!(askers.len(), 2);
        assert!(askers.iter().all(|(key, is_throwaway)| *is_throwaway && *key != own));
        assert_eq!(askers[0], askers[1], "one key for one mailbox");
    }
    assert_ne!(askers[0][0], askers[1][0], "and another one for another");
    let is_told = |(_, event): &(usize, TransportEvent)| matches!(event, TransportEvent::PeerProven { .. });
    assert!(!net.seen.iter().any(is_told), "nobody is told of a node");
    assert_eq!(
        (net.hosts[0].link_count(), net.hosts[0].connection_count()),
        (0, 0),
        "none of them is our own"
    );
}

#[test]
fn own_links_and_those_of_throwaway_keys_to_one_peer_go_on_beside_each_other() {
    let mut net = Net::new(2);
    for round in 0..3 {
        net.ask(1, None, 600 + round);
        net.ask(1, Some(5), 600 + round);
        net.ask(1, None, 4000 + round);
        net.ask(1, Some(5), 4000 + round);
    }
    let own = NodeKey::from(secret(0).public());
    let askers = net.askers(1);
    assert_eq!(askers.iter().filter(|(key, is_throwaway)| *key == own && !is_throwaway).count(), 6);
    assert_eq!(askers.iter().filter(|(key, is_throwaway)| *key != own && *is_throwaway).count(), 6);
    assert_eq!(net.hosts[0].link_count(), 1);
    let (_, streams) = net.hosts[1].stats();
    assert_eq!(streams.connections_accepted, 2);
}

#[test]
fn a_throwaway_key_is_forgotten_when_it_was_not_used_for_a_while() {
    let mut net = Net::new(2);
    net.ask(1, Some(5), 600);
    net.run_for(THROWAWAY_LIFETIME);
    assert!(net.hosts[0].throwaways.is_empty());
    let (sent, _) = net.hosts[0].stats();
    assert!(sent.datagrams_out >= 2, "what it sent is still counted");
    net.ask(1, Some(5), 600);
    let askers = net.askers(1);
    assert_ne!(askers[0], askers[1]);
}

#[test]
fn throwaway_keys_are_bounded_and_idle_ones_make_room() {
    let mut net = Net::new(1);
    // Nobody is there: the calls wait.
    let all = u64::try_from(Limits::default().throwaway_keys).unwrap();
    let open: Vec<_> = (0..all).map(|number| net.call(9, Some(number), 600)).collect();
    let surplus = net.call(9, Some(all), 600);
    net.settle();
    assert_eq!(net.ended, BTreeMap::from([(surplus, false)]));
    net.run_for(Duration::from_secs(10));
    assert!(open.iter().all(|call| net.ended.get(call) == Some(&false)), "nobody answers");
    net.call(9, Some(all), 600);
    assert_eq!(net.hosts[0].throwaways.len(), Limits::default().throwaway_keys);
    assert!(!net.hosts[0].throwaways.contains_key(&ThrowawayId(0)), "the one used least recently");
}

/// Whoever makes keys at will pushes out other makers of keys, and no node.
#[test]
fn links_under_throwaway_keys_are_bounded_and_leave_those_of_nodes_alone() {
    let mut net = Net::new(2);
    net.ask(1, None, 600);
    let most = crate::transport::MAX_THROWAWAY_LINKS;
    for number in 0..most as u64 + 40 {
        // Each from another address, so that no rate of one address counts.
        let id = net.call(1, Some(number), 600);
        net.settle();
        net.now = net.now.after(Duration::from_millis(100));
        assert_eq!(net.ended.get(&id), Some(&true));
    }
    assert_eq!(net.hosts[1].link_count(), most + 1);
    let resets = net.hosts[0].stats().0.resets_heeded;
    net.ask(1, None, 601);
    assert_eq!((net.hosts[0].stats().0.handshakes_started, resets), (1, 0), "the node's link is still there");
}
