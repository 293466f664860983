//! Streams of several nodes on a virtual network: seeded, on virtual time, without a socket.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::kademlia::Contact;
use crate::time::Timestamp;
use crate::transport::CallId;

mod hostile;
mod limits;

const MS: Duration = Duration::from_millis(1);
const LATENCY: Duration = Duration::from_millis(20);
const KIND: u8 = 0x11;

#[derive(Clone, Copy, Debug)]
enum Answering {
    Echo,
    Len(usize),
    Never,
}

struct Host {
    streams: Streams,
    address: SocketAddr,
    answering: Answering,
    /// Whether links lead to everybody.
    has_links: bool,
    /// What it sends is lost.
    is_mute: bool,
    events: Vec<StreamsEvent>,
}

#[derive(Clone, Debug)]
struct Sent {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Net {
    hosts: Vec<Host>,
    queue: BTreeMap<(Instant, u64), Sent>,
    sent: Vec<Sent>,
    now: Now,
    rng: ChaCha20Rng,
    latency: Range<Duration>,
    loss: f64,
    duplicates: f64,
    last_call: u64,
}

fn secret(host: usize) -> SecretKey {
    SecretKey::from_bytes(&[host as u8 + 1; 32])
}

fn address(host: usize) -> SocketAddr {
    format!("10.0.0.{}:4000", host + 1).parse().unwrap()
}

impl Net {
    fn with_hosts(count: usize) -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp::default() };
        let host = |at: usize| Host {
            streams: Streams::new(&secret(at), "peerchat", [at as u8; 32], now),
            address: address(at),
            answering: Answering::Echo,
            has_links: true,
            is_mute: false,
            events: Vec::new(),
        };
        Self {
            hosts: (0..count).map(host).collect(),
            queue: BTreeMap::new(),
            sent: Vec::new(),
            now,
            rng: ChaCha20Rng::from_seed([9; 32]),
            latency: LATENCY..LATENCY + Duration::from_nanos(1),
            loss: 0.0,
            duplicates: 0.0,
            last_call: 0,
        }
    }

    fn contact(&self, host: usize) -> Contact {
        Contact::new(secret(host).public().into(), self.hosts[host].address)
    }

    fn call(&mut self, from: usize, to: usize, body: &[u8]) -> CallId {
        self.call_contact(from, self.contact(to), body, false)
    }

    fn call_contact(&mut self, from: usize, to: Contact, body: &[u8], can_fall_back: bool) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        let call = Call {
            id,
            to,
            kind: KIND,
            body: body.to_vec(),
            is_early: false,
            is_bulk: true,
            is_answer_long: false,
            is_fleeting: false,
        };
        self.hosts[from].streams.call(call, to.address(), can_fall_back, self.now);
        self.settle();
        id
    }

    /// Calls and waits until nothing more happens; returns the answer.
    fn ask(&mut self, from: usize, to: usize, body: &[u8]) -> Option<Vec<u8>> {
        let id = self.call(from, to, body);
        self.run_for(CALL_LIFETIME);
        self.answer(from, id)
    }

    /// Returns the answer to a call that has ended, `None` if it failed.
    fn answer(&self, host: usize, id: CallId) -> Option<Vec<u8>> {
        let outcome = |event: &StreamsEvent| match event {
            StreamsEvent::Transport(TransportEvent::Response { call, body, from, observed, .. }) => {
                assert_eq!(*observed, self.hosts[host].address);
                assert!(self.hosts.iter().any(|other| other.address == from.address()));
                (*call == id).then(|| Some(body.clone()))
            }
            StreamsEvent::Transport(TransportEvent::CallFailed { call, .. }) => (*call == id).then_some(None),
            StreamsEvent::GivenBack(call) => (call.id == id).then_some(None),
            StreamsEvent::Transport(_) => None,
        };
        let mut outcomes = self.hosts[host].events.iter().filter_map(outcome);
        let first = outcomes.next().expect("every call ends");
        assert!(outcomes.next().is_none(), "a call ends once");
        first
    }

    fn has_ended(&self, host: usize, id: CallId) -> bool {
        self.hosts[host].events.iter().any(|event| match event {
            StreamsEvent::Transport(
                TransportEvent::Response { call, .. } | TransportEvent::CallFailed { call, .. },
            ) => *call == id,
            StreamsEvent::GivenBack(call) => call.id == id,
            StreamsEvent::Transport(_) => false,
        })
    }

    fn stats(&self, host: usize) -> &StreamStats {
        self.hosts[host].streams.stats()
    }

    /// Drains every host.
    fn settle(&mut self) {
        for at in 0..self.hosts.len() {
            loop {
                let host = &mut self.hosts[at];
                while let Some(Transmit { to, bytes }) = host.streams.poll_transmit() {
                    assert!(bytes.len() <= MAX_DATAGRAM_LEN);
                    assert!(bytes[0] & 0xc0 != 0, "the first byte tells QUIC from our own datagrams");
                    let sent = Sent { from: host.address, to, bytes };
                    self.sent.push(sent.clone());
                    let copies = 1 + usize::from(self.rng.random_bool(self.duplicates));
                    for _ in 0..copies {
                        if !host.is_mute && !self.rng.random_bool(self.loss) {
                            let at = self.now.instant + self.rng.random_range(self.latency.clone());
                            self.queue.insert((at, self.rng.random()), sent.clone());
                        }
                    }
                }
                let Some(event) = host.streams.poll_event() else { break };
                if let StreamsEvent::Transport(TransportEvent::Request { token, body, is_proven, .. }) =
                    &event
                {
                    assert!(is_proven);
                    match host.answering {
                        Answering::Echo => host.streams.reply(*token, KIND, body, self.now),
                        Answering::Len(len) => host.streams.reply(*token, KIND, &vec![7; len], self.now),
                        Answering::Never => {}
                    }
                }
                host.events.push(event);
            }
        }
    }

    /// Lets the next thing happen that is due until `end`; false if there is none.
    fn step(&mut self, end: Instant) -> bool {
        let timeouts = self.hosts.iter().filter_map(|host| Some(host.streams.poll_timeout()?.0));
        let datagrams = self.queue.first_key_value().map(|((at, _), _)| *at);
        let Some(at) = timeouts.chain(datagrams).min().filter(|at| *at <= end) else { return false };
        self.advance_to(at);
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= at) {
            let sent = entry.remove();
            if let Some(host) = self.hosts.iter().position(|host| host.address == sent.to) {
                self.inject(host, sent.from, &sent.bytes);
            }
        }
        for host in &mut self.hosts {
            host.streams.handle_timeout(self.now);
        }
        self.settle();
        true
    }

    fn advance_to(&mut self, at: Instant) {
        self.now = self.now.after(at.saturating_duration_since(self.now.instant));
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        let mut step_count = 0;
        while self.step(end) {
            step_count += 1;
            assert!(step_count < 100_000, "the network never comes to rest");
        }
        self.advance_to(end);
    }

    /// Hands a datagram to a host as if it came from `from`.
    fn inject(&mut self, host: usize, from: SocketAddr, bytes: &[u8]) {
        let target = &mut self.hosts[host];
        let has_links = target.has_links;
        target.streams.handle_datagram(from, bytes, |_| has_links, self.now);
        self.settle();
    }
}

#[test]
fn a_request_and_an_answer_that_fit_no_datagram_come_whole() {
    let mut net = Net::with_hosts(2);
    let body: Vec<u8> = (0..MAX_STREAM_BODY_LEN).map(|at| at as u8).collect();
    assert_eq!(net.ask(0, 1, &body), Some(body));
    net.hosts[1].answering = Answering::Len(MAX_STREAM_BODY_LEN);
    assert_eq!(net.ask(0, 1, b"give").map(|answer| answer.len()), Some(MAX_STREAM_BODY_LEN));
    assert_eq!((net.stats(0).connections_made, net.stats(1).connections_accepted), (1, 1));
    assert_eq!((net.stats(0).calls, net.stats(1).requests), (2, 2));
}

#[test]
fn both_sides_call_over_the_same_connection_and_are_told_who_calls() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"there"), Some(b"there".to_vec()));
    assert_eq!(net.ask(1, 0, b"and back"), Some(b"and back".to_vec()));
    assert_eq!((net.stats(0).connections_made, net.stats(1).connections_made), (1, 0));
    for (host, other) in [(0, 1), (1, 0)] {
        let caller = net.hosts[host].events.iter().find_map(|event| match event {
            StreamsEvent::Transport(TransportEvent::Request { from, .. }) => Some(*from),
            _ => None,
        });
        assert_eq!(caller, Some(net.contact(other)));
    }
    let is_news = |event: &&StreamsEvent| matches!(event, StreamsEvent::Transport(TransportEvent::PeerProven { peer }) if *peer == net.contact(0));
    assert_eq!(net.hosts[1].events.iter().filter(is_news).count(), 1);
}

#[test]
fn every_call_ends_under_loss_duplication_and_reordering() {
    let mut net = Net::with_hosts(3);
    (net.loss, net.duplicates, net.latency) = (0.1, 0.1, 5 * MS..120 * MS);
    let mut calls = Vec::new();
    for round in 0..20_usize {
        for (from, to) in [(0, 1), (1, 0), (1, 2)] {
            let body = vec![round as u8; 700 * round];
            calls.push((from, net.call(from, to, &body), body));
        }
        net.run_for(100 * MS);
    }
    net.run_for(CALL_LIFETIME);
    let answers = calls.iter().filter_map(|(from, id, body)| {
        let answer = net.answer(*from, *id)?;
        assert_eq!(answer, *body);
        Some(())
    });
    assert!(answers.count() > 50, "most calls are answered");
}

#[test]
fn a_connection_that_nobody_uses_is_over_after_a_while() {
    let mut net = Net::with_hosts(2);
    net.call(0, 1, b"x");
    net.run_for(5 * LATENCY);
    assert_eq!(net.hosts.iter().map(|host| host.streams.connection_count()).sum::<usize>(), 2);
    net.sent.clear();
    net.run_for(IDLE_TIMEOUT + CONNECT_TIMEOUT);
    assert_eq!(net.hosts.iter().map(|host| host.streams.connection_count()).sum::<usize>(), 0);
    assert!(net.sent.len() < 4, "nothing keeps it open: {}", net.sent.len());
    assert!(
        net.hosts.iter().all(|host| host.streams.poll_timeout().is_none()),
        "nothing is left to wake for"
    );
    assert_eq!(net.ask(0, 1, b"again"), Some(b"again".to_vec()));
}

#[test]
fn a_peer_that_was_restarted_says_so() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    net.hosts[1].streams = Streams::new(&secret(1), "peerchat", [99; 32], net.now);
    let began = net.now.instant;
    let lost = net.call(0, 1, b"lost");
    while !net.has_ended(0, lost) && net.step(began + CALL_LIFETIME) {}
    assert!(net.now.instant - began < 4 * LATENCY, "a stateless reset ends the connection at once");
    assert_eq!(net.answer(0, lost), None);
    assert_eq!(net.ask(0, 1, b"found"), Some(b"found".to_vec()));
}

#[test]
fn a_call_comes_back_if_it_may_go_as_a_datagram() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    net.hosts[1].is_mute = true;
    let (small, large) = (net.contact(1), net.contact(1));
    let small = net.call_contact(0, small, b"small", true);
    let large = net.call_contact(0, large, b"large", false);
    // The peer closes the connection: it knows nothing of the calls.
    net.hosts[1].is_mute = false;
    net.queue.clear();
    let handle = *net.hosts[1].streams.connections.keys().next().unwrap();
    let now = net.now.instant;
    net.hosts[1].streams.end(handle, now);
    net.settle();
    net.run_for(4 * LATENCY);
    let given_back =
        |event: &&StreamsEvent| matches!(event, StreamsEvent::GivenBack(call) if call.id == small);
    assert_eq!(net.hosts[0].events.iter().filter(given_back).count(), 1);
    assert_eq!(net.answer(0, large), None);
}

#[test]
fn a_peer_of_whom_nothing_is_heard_any_more_is_given_up() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    net.hosts[1].is_mute = true;
    assert_eq!(net.ask(0, 1, b"y"), None);
    assert_eq!(net.hosts[0].streams.connection_count(), 0);
    net.hosts[1].is_mute = false;
    assert_eq!(net.ask(0, 1, b"z"), Some(b"z".to_vec()));
}

#[test]
fn where_no_connection_comes_about_a_burst_does_not_try_again_at_once() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].is_mute = true;
    let peer = net.contact(1);
    let attempts = |net: &mut Net| {
        net.sent.clear();
        net.hosts[0].streams.prepare(peer.key(), peer.address(), net.now);
        net.settle();
        net.sent.len()
    };
    assert_eq!(attempts(&mut net), 1);
    net.run_for(CONNECT_TIMEOUT);
    assert_eq!(attempts(&mut net), 0);
    net.run_for(AVOID_AFTER_FAILURE);
    assert_eq!(attempts(&mut net), 1);
}
