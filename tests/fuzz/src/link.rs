//! Three nodes that call one another over a network that delivers, loses, repeats, reorders, changes and invents
//! packets, in any interleaving with time, answers and restarts. A seed is a program of steps.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use peerchat_core::kademlia::{Contact, NodeKey};
use peerchat_core::time::Now;
use peerchat_core::transport::{
    Call, CallId, MAX_DATAGRAM_LEN, MAX_KIND, ReplyToken, Transmit, Transport, TransportConfig,
    TransportEvent,
};

use crate::input::{Input, address, rng, secret, start};
use crate::random_programs;

/// How many steps a program has at most.
const MAX_STEPS: usize = 200;

/// How many things happen at most until everything has come to rest.
const MAX_TO_REST: usize = 20_000;

struct Host {
    transport: Transport,
    address: SocketAddr,
    calls: BTreeSet<CallId>,
    requests: VecDeque<(ReplyToken, u8, Vec<u8>)>,
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Net {
    hosts: [Host; 3],
    under_way: VecDeque<Packet>,
    now: Now,
    last_call: u64,
}

/// Every call ends, and ends once; what answers it is what was answered to it.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let mut net = Net::new();
    for number in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        net.step(u8::try_from(number).unwrap_or(0), &mut input);
        net.drain();
    }
    net.come_to_rest();
}

impl Net {
    fn new() -> Self {
        let host = |number: u8| Host {
            transport: transport(number, number),
            address: address(number),
            calls: BTreeSet::new(),
            requests: VecDeque::new(),
        };
        Self { hosts: [0, 1, 2].map(host), under_way: VecDeque::new(), now: start(), last_call: 0 }
    }

    fn step(&mut self, number: u8, input: &mut Input<'_>) {
        let host = input.below(3);
        match input.below(10) {
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
            6 => {
                if let Some(mut packet) = self.pick(input) {
                    match input.below(3) {
                        0 => packet.from = address(50 + input.byte() % 4),
                        _ => input.damage(&mut packet.bytes),
                    }
                    self.deliver(&packet);
                }
            }
            7 => {
                self.now = self.now.after(input.time());
                for host in &mut self.hosts {
                    host.transport.handle_timeout(self.now);
                }
            }
            8 => {
                let from = address(input.byte() % 60);
                let packet = Packet { from, to: self.hosts[host].address, bytes: input.bytes().to_vec() };
                self.deliver(&packet);
            }
            _ => match input.below(3) {
                0 => {
                    let of = u8::try_from(host).unwrap_or(0);
                    let host = &mut self.hosts[host];
                    host.transport = transport(of, number.wrapping_add(10));
                    host.calls.clear();
                    host.requests.clear();
                }
                1 => self.hosts[host].address = address(input.byte() % 60),
                _ => self.run(40),
            },
        }
    }

    fn call(&mut self, host: usize, input: &mut Input<'_>) {
        self.last_call += 1;
        let id = CallId(self.last_call);
        let (to, kind) = (input.below(3), input.byte());
        // Not always where it is.
        let at = if input.below(8) == 0 { address(input.byte() % 60) } else { self.hosts[to].address };
        let key = NodeKey::from(secret(u8::try_from(to).unwrap_or(0)).public());
        let mut body = vec![kind; usize::from(input.byte()) * 6];
        body.extend(input.bytes());
        let (is_early, is_bulk) = (input.flag(), input.flag());
        let host = &mut self.hosts[host];
        host.calls.insert(id);
        host.transport.call(
            Call {
                id,
                to: Contact::new(key, at),
                kind,
                body,
                is_early,
                is_bulk,
                is_answer_long: false,
                is_fleeting: false,
            },
            self.now,
        );
    }

    /// Answers the oldest request with what was asked, or by something long.
    fn answer(&mut self, host: usize, input: &mut Input<'_>) {
        let host = &mut self.hosts[host];
        let Some((token, kind, body)) = host.requests.pop_front() else { return };
        let body = if input.below(4) == 0 { vec![kind; 1400] } else { body };
        host.transport.reply(token, kind, body, self.now);
    }

    fn pick(&mut self, input: &mut Input<'_>) -> Option<Packet> {
        let at = input.below(self.under_way.len().min(256));
        self.under_way.remove(at)
    }

    fn deliver(&mut self, packet: &Packet) {
        for host in self.hosts.iter_mut().filter(|host| host.address == packet.to) {
            host.transport.handle_datagram(packet.from, &packet.bytes, self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        for host in &mut self.hosts {
            while let Some(Transmit { to, bytes }) = host.transport.poll_transmit() {
                assert!(bytes.len() <= MAX_DATAGRAM_LEN);
                self.under_way.push_back(Packet { from: host.address, to, bytes });
            }
            while let Some(event) = host.transport.poll_event() {
                match event {
                    TransportEvent::Request { token, kind, body, .. } => {
                        assert!(kind <= MAX_KIND);
                        host.requests.push_back((token, kind, body));
                    }
                    TransportEvent::Response { call, kind, body, .. } => {
                        assert!(host.calls.remove(&call), "a call ends once");
                        assert!(kind <= MAX_KIND && body.len() <= MAX_DATAGRAM_LEN);
                    }
                    TransportEvent::CallFailed { call, .. } => {
                        assert!(host.calls.remove(&call), "a call ends once");
                    }
                    TransportEvent::PeerProven { .. } => {}
                    other => panic!("nobody has probed: {other:?}"),
                }
            }
            while let Some(call) = host.transport.poll_oversized() {
                assert!(host.calls.remove(&call.id), "a call ends once");
            }
        }
    }

    /// Delivers and answers in order, and lets time pass when there is nothing else; false if nothing is left.
    fn advance(&mut self) -> bool {
        if let Some(packet) = self.under_way.pop_front() {
            self.deliver(&packet);
            return true;
        }
        for host in &mut self.hosts {
            if let Some((token, kind, body)) = host.requests.pop_front() {
                host.transport.reply(token, kind, body, self.now);
                self.drain();
                return true;
            }
        }
        let due = self.hosts.iter().filter_map(|host| Some(host.transport.poll_timeout()?.0)).min();
        let Some(at) = due else { return false };
        self.now = self.now.after(at.saturating_duration_since(self.now.instant));
        for host in &mut self.hosts {
            host.transport.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    fn run(&mut self, count: usize) {
        for _ in 0..count {
            if !self.advance() {
                break;
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

fn transport(number: u8, seed: u8) -> Transport {
    Transport::new(TransportConfig { max_links: 2, ..TransportConfig::default() }, &secret(number), rng(seed))
}

/// A call and its answer, a restart, a change of address, and random programs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    // A call from 0 to 1 without further bytes in its body; everything that follows from it.
    let call: &[u8] = &[0, 0, 1, 5, 1, 2, 0, 0, 1, 0];
    let rest: &[u8] = &[0, 9, 2];
    let restart: &[u8] = &[1, 9, 0];
    let moves: &[u8] = &[0, 9, 1, 30];
    let mut seeds = vec![
        [call, rest].concat(),
        [call, rest, restart, call, rest].concat(),
        [call, rest, moves, call, rest, call].concat(),
        [call, call, call, &[0, 2, 1, 0, 2, 0, 0, 5, 0]].concat(),
        [call, &[0, 6, 0, 1, 1, 20, 2, 4], rest].concat(),
    ];
    seeds.extend(random_programs(6, 400));
    seeds
}
