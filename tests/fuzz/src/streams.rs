//! Two nodes that call one another by QUIC, and a third that says whatever it likes in connections that it may well
//! have: packets lost, repeated, reordered, changed and invented, in any interleaving with time, answers and streams
//! that are opened, written, reset and stopped at will. A seed is a program of steps.
//!
//! TLS draws its own randomness, so an input that once found something may have to be run more than once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use peerchat_core::fuzzing::{Deed, StreamNode, StreamPeer};
use peerchat_core::kademlia::{Contact, NodeKey};
use peerchat_core::time::Now;
use peerchat_core::transport::{
    Call, CallId, MAX_DATAGRAM_LEN, MAX_KIND, ReplyToken, Transmit, TransportEvent,
};

use crate::input::{Input, Script, address, secret, start};
use crate::random_programs;

/// How many steps a program has at most.
const MAX_STEPS: usize = 100;

/// How many things happen at most in one step that lets things run.
const MAX_RUN: usize = 40;

/// How many things happen at most until everything has come to rest.
const MAX_TO_REST: usize = 20_000;

/// The place of the node that is not honest.
const HOSTILE: usize = 2;

const NETWORK: &str = "peerchat";

struct Host {
    streams: StreamNode,
    calls: BTreeSet<CallId>,
    requests: VecDeque<(ReplyToken, u8, Vec<u8>)>,
    /// What came from each address where nobody is, less what was sent there.
    credit: BTreeMap<SocketAddr, i64>,
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Net {
    hosts: [Host; 2],
    hostile: StreamPeer,
    /// Whether links lead to the others.
    has_links: bool,
    under_way: VecDeque<Packet>,
    now: Now,
    last_call: u64,
}

/// Every call ends, and ends once; requests are those of a key that was proven; where nobody is, no more is sent than
/// came from there.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let mut net = Net::new(input.flag());
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        net.step(&mut input);
        net.drain();
    }
    net.come_to_rest();
}

fn place(host: usize) -> SocketAddr {
    address(u8::try_from(host).unwrap_or(0))
}

fn key(host: usize) -> NodeKey {
    secret(u8::try_from(host).unwrap_or(0)).public().into()
}

/// An address where nobody is.
fn forged(input: &mut Input<'_>) -> SocketAddr {
    address(50 + input.byte() % 4)
}

impl Net {
    fn new(has_links: bool) -> Self {
        let now = start();
        let host = |number: u8| Host {
            streams: StreamNode::new(&secret(number), NETWORK, [number; 32], now),
            calls: BTreeSet::new(),
            requests: VecDeque::new(),
            credit: BTreeMap::new(),
        };
        let hostile = StreamPeer::new(&secret(2), NETWORK, [2; 32]);
        Self { hosts: [0, 1].map(host), hostile, has_links, under_way: VecDeque::new(), now, last_call: 0 }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let host = input.below(2);
        match input.below(16) {
            0 => self.call(host, input),
            1 => self.answer(host, input),
            2 | 3 => {
                if let Some(packet) = self.pick(input) {
                    self.deliver(&packet);
                }
            }
            4 => _ = self.pick(input),
            5 => {
                if let Some(packet) = self.pick(input) {
                    self.deliver(&packet);
                    self.under_way.push_back(packet);
                }
            }
            6 => self.change(input),
            7 => {
                let time = input.time();
                self.wait(time);
            }
            8 => {
                let from = forged(input);
                let packet = Packet { from, to: place(host), bytes: input.bytes().to_vec() };
                self.deliver(&packet);
            }
            9 => self.hostile.connect(&key(host), place(host), self.now),
            10 => self.hosts[host].streams.prepare(key(HOSTILE), place(HOSTILE), self.now),
            11..=14 => self.act(input),
            _ => self.run(MAX_RUN),
        }
    }

    fn call(&mut self, host: usize, input: &mut Input<'_>) {
        self.last_call += 1;
        let id = CallId(self.last_call);
        let (to, kind) = (input.below(3), input.byte());
        let mut body = vec![kind; usize::from(input.byte()) * 80];
        body.extend(input.bytes());
        let can_fall_back = input.flag();
        let call = Call {
            id,
            to: Contact::new(key(to), place(to)),
            kind,
            body,
            is_early: false,
            is_bulk: true,
            is_answer_long: false,
            is_fleeting: false,
        };
        let now = self.now;
        self.hosts[host].calls.insert(id);
        self.hosts[host].streams.call(call, place(to), can_fall_back, now);
    }

    /// Answers the oldest request with what was asked, or by something long.
    fn answer(&mut self, host: usize, input: &mut Input<'_>) {
        let Some((token, kind, body)) = self.hosts[host].requests.pop_front() else { return };
        let body = if input.below(4) == 0 { vec![kind; 20_000] } else { body };
        self.hosts[host].streams.reply(token, kind, &body, self.now);
    }

    /// What is under way arrives changed, or from where nobody is.
    fn change(&mut self, input: &mut Input<'_>) {
        let Some(mut packet) = self.pick(input) else { return };
        match input.below(3) {
            0 => packet.from = forged(input),
            _ => input.damage(&mut packet.bytes),
        }
        self.deliver(&packet);
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let (at, code) = (usize::from(input.byte()), u32::from(input.byte()));
        let deed = match input.below(9) {
            0 | 1 => Deed::Open(input.bytes()),
            2 => Deed::Write(at, input.bytes()),
            3 => Deed::Finish(at),
            4 => Deed::Reset(at, code),
            5 => Deed::Stop(at, code),
            6 => Deed::Read(at),
            7 => Deed::Grant(code),
            _ => Deed::Close(code),
        };
        self.hostile.act(deed, self.now);
    }

    fn pick(&mut self, input: &mut Input<'_>) -> Option<Packet> {
        let at = input.below(self.under_way.len().min(256));
        self.under_way.remove(at)
    }

    fn deliver(&mut self, packet: &Packet) {
        if packet.to == place(HOSTILE) {
            self.hostile.handle_datagram(packet.from, &packet.bytes, self.now);
        } else if let Some(at) = (0..HOSTILE).find(|host| place(*host) == packet.to) {
            let host = &mut self.hosts[at];
            let is_somebody = (0..3).any(|other| place(other) == packet.from);
            if !is_somebody {
                *host.credit.entry(packet.from).or_default() +=
                    i64::try_from(packet.bytes.len()).unwrap_or(i64::MAX);
            }
            let has_link = self.has_links && is_somebody;
            host.streams.handle_datagram(packet.from, &packet.bytes, has_link, self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        for (at, host) in self.hosts.iter_mut().enumerate() {
            while let Some(Transmit { to, bytes }) = host.streams.poll_transmit() {
                assert!(bytes.len() <= MAX_DATAGRAM_LEN);
                assert!(bytes[0] & 0xc0 != 0, "the first byte tells QUIC from our own datagrams");
                if let Some(credit) = host.credit.get_mut(&to) {
                    *credit -= i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                    assert!(*credit >= 0, "{to} was sent more than came from there");
                }
                self.under_way.push_back(Packet { from: place(at), to, bytes });
            }
            while let Some(event) = host.streams.poll_event() {
                host.take(at, event);
            }
        }
        for Transmit { to, bytes } in self.hostile.take_transmits() {
            self.under_way.push_back(Packet { from: place(HOSTILE), to, bytes });
        }
    }

    fn wait(&mut self, time: std::time::Duration) {
        self.now = self.now.after(time);
        for host in &mut self.hosts {
            host.streams.handle_timeout(self.now);
        }
        self.hostile.handle_timeout(self.now);
        self.drain();
    }

    /// Delivers and answers in order, and lets time pass when there is nothing else; false if nothing is left.
    fn advance(&mut self) -> bool {
        if let Some(packet) = self.under_way.pop_front() {
            self.deliver(&packet);
            return true;
        }
        for host in &mut self.hosts {
            if let Some((token, kind, body)) = host.requests.pop_front() {
                host.streams.reply(token, kind, &body, self.now);
                self.drain();
                return true;
            }
        }
        let own = self.hosts.iter().filter_map(|host| host.streams.poll_timeout());
        let Some(at) = own.chain(self.hostile.poll_timeout()).min() else { return false };
        self.wait(at.saturating_duration_since(self.now.instant));
        true
    }

    fn run(&mut self, count: usize) {
        for _ in 0..count {
            if !self.advance() {
                return;
            }
        }
    }

    fn come_to_rest(&mut self) {
        self.run(MAX_TO_REST);
        for host in &self.hosts {
            assert!(host.calls.is_empty(), "calls that never end: {:?}", host.calls);
        }
    }
}

impl Host {
    fn take(&mut self, own: usize, event: Result<TransportEvent, Call>) {
        match event {
            Ok(TransportEvent::Request { token, from, is_proven, kind, body, .. }) => {
                assert!(is_proven && kind <= MAX_KIND);
                assert!((0..3).any(|other| other != own && key(other) == from.key()));
                self.requests.push_back((token, kind, body));
            }
            Ok(TransportEvent::Response { call, kind, .. }) => {
                assert!(self.calls.remove(&call), "a call ends once");
                assert!(kind <= MAX_KIND);
            }
            Ok(TransportEvent::CallFailed { call, .. }) | Err(Call { id: call, .. }) => {
                assert!(self.calls.remove(&call), "a call ends once");
            }
            Ok(TransportEvent::PeerProven { peer }) => {
                assert!((0..3).any(|other| other != own && key(other) == peer.key()));
            }
            Ok(other) => panic!("nobody has probed: {other:?}"),
        }
    }
}

/// A call and its answer, and what the third node does with a stream: all that it can, on its own and on ours.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    // Node 0 calls 1; the long body needs several packets.
    let call = |to: u8, len: u8| vec![0, 0, to, 5, len, 0, 0, 0];
    let rest: &[u8] = &[0, 15];
    let later: &[u8] = &[0, 7, 14];
    let meet: &[u8] = &[0, 9, 0, 15];
    let act = |at: u8, code: u8, what: u8| vec![0, 11, at, code, what];
    let open = |bytes: &[u8]| Script::default().put(&act(0, 0, 0)).bytes(bytes).done();
    let write = |at: u8, bytes: &[u8]| Script::default().put(&act(at, 0, 2)).bytes(bytes).done();
    let every: Vec<u8> = (3..9).flat_map(|what| [act(0, 3, what), rest.to_vec()].concat()).collect();
    // A response of kind 5 from somewhere.
    let response = [&[5][..], &[0; 18], b"answer"].concat();
    let mut seeds = vec![
        [&[1], &call(1, 1)[..], rest].concat(),
        [&[0], &call(1, 250)[..], rest, rest, later, &call(1, 1)].concat(),
        [&[1], &call(1, 200)[..], &[0, 4, 0, 0, 5, 1, 0, 6, 0, 1, 1, 20, 2, 4], rest, later].concat(),
        [&[1], meet, &open(b"\x05question"), &act(0, 0, 3), rest, &[0, 1, 0], rest].concat(),
        [&[0], meet, &open(b""), rest, &write(0, &[7; 3000]), rest, &every].concat(),
        [&[1], &call(2, 9)[..], rest, &write(0, &response), &act(0, 0, 3), rest].concat(),
        [&[1], &call(2, 250)[..], rest, &act(0, 9, 5), &act(0, 0, 4), rest, later].concat(),
        [&[1], &call(2, 1)[..], rest, &act(0, 0, 8), rest, &call(2, 1), later].concat(),
    ];
    seeds.extend(random_programs(4, 300));
    seeds
}
