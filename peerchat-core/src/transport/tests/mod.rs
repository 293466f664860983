//! Transports on a virtual network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::kademlia::Contact;
use crate::time::Timestamp;

mod bytes;
mod calls;
mod flood;
mod hostile;
mod limits;
mod recovery;

const MS: Duration = Duration::from_millis(1);
/// One way, unless a test says otherwise.
const LATENCY: Duration = Duration::from_millis(10);
const KIND: u8 = 5;

/// What a node does with requests.
#[derive(Clone, Copy, PartialEq)]
enum Answering {
    /// Answers with the request's body.
    Echo,
    /// Answers with so many bytes.
    Len(usize),
    /// Answers after so long.
    After(Duration),
    Never,
}

struct Host {
    transport: Transport,
    address: SocketAddr,
    answering: Answering,
    events: Vec<TransportEvent>,
    replies: BTreeMap<(Instant, ReplyToken), Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Hosts, the datagrams between them, and the time.
struct Net {
    hosts: Vec<Host>,
    queue: BTreeMap<(Instant, u64), Datagram>,
    sent: Vec<Datagram>,
    now: Now,
    rng: ChaCha20Rng,
    latency: Range<Duration>,
    loss: f64,
    duplicates: f64,
    last_call: u64,
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

fn transport(seed: u8, config: TransportConfig) -> Transport {
    Transport::new(config, &secret(seed), ChaCha20Rng::from_seed([seed; 32]))
}

fn address(host: usize) -> SocketAddr {
    format!("10.0.{}.{}:4000", host / 200, host % 200 + 1).parse().unwrap()
}

impl Net {
    fn with_hosts(count: usize) -> Self {
        let host = |at: usize| Host {
            transport: transport(at as u8 + 1, TransportConfig::default()),
            address: address(at),
            answering: Answering::Echo,
            events: Vec::new(),
            replies: BTreeMap::new(),
        };
        Self {
            hosts: (0..count).map(host).collect(),
            queue: BTreeMap::new(),
            sent: Vec::new(),
            now: Now { instant: Instant::now(), wall: Timestamp::default() },
            rng: ChaCha20Rng::from_seed([99; 32]),
            latency: LATENCY..LATENCY + Duration::from_nanos(1),
            loss: 0.0,
            duplicates: 0.0,
            last_call: 0,
        }
    }

    fn contact(&self, host: usize) -> Contact {
        Contact::new(self.hosts[host].transport.local.key(), self.hosts[host].address)
    }

    /// Replaces a host by one with the same key and no memory.
    fn restart(&mut self, host: usize) {
        let rng = ChaCha20Rng::from_seed([host as u8 + 100; 32]);
        self.hosts[host].transport = Transport::new(TransportConfig::default(), &secret(host as u8 + 1), rng);
    }

    fn call(&mut self, from: usize, to: usize, is_early: bool, body: &[u8]) -> CallId {
        let to = self.contact(to);
        self.call_contact(from, to, is_early, body)
    }

    fn call_contact(&mut self, from: usize, to: Contact, is_early: bool, body: &[u8]) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        let call = Call {
            id,
            to,
            kind: KIND,
            body: body.to_vec(),
            is_early,
            is_bulk: false,
            is_answer_long: false,
            is_fleeting: false,
        };
        self.hosts[from].transport.call(call, self.now);
        self.settle();
        id
    }

    /// Calls and waits for the end.
    fn call_and_run(&mut self, from: usize, to: usize, is_early: bool, body: &[u8]) -> TransportEvent {
        let id = self.call(from, to, is_early, body);
        self.run_until_idle();
        self.outcome(from, id).expect("every call ends")
    }

    /// Calls and waits for a second, in which little is forgotten.
    fn call_and_run_for(&mut self, from: usize, to: usize, body: &[u8]) {
        let id = self.call(from, to, true, body);
        self.run_for(Duration::from_secs(1));
        assert_eq!(body_of(&self.outcome(from, id).expect("it has ended")), body);
    }

    fn outcome(&self, host: usize, id: CallId) -> Option<TransportEvent> {
        let ends = |event: &&TransportEvent| match event {
            TransportEvent::Response { call, .. } | TransportEvent::CallFailed { call, .. } => *call == id,
            _ => false,
        };
        let mut found = self.hosts[host].events.iter().filter(ends);
        let outcome = found.next().cloned();
        assert!(found.next().is_none(), "a call ends once");
        outcome
    }

    fn stats(&self, host: usize) -> &TransportStats {
        self.hosts[host].transport.stats()
    }

    /// Drains every host.
    fn settle(&mut self) {
        for at in 0..self.hosts.len() {
            loop {
                let host = &mut self.hosts[at];
                while let Some(Transmit { to, bytes }) = host.transport.poll_transmit() {
                    assert!(bytes.len() <= MAX_DATAGRAM_LEN);
                    let datagram = Datagram { from: host.address, to, bytes };
                    self.sent.push(datagram.clone());
                    let copies = 1 + usize::from(self.rng.random_bool(self.duplicates));
                    for _ in 0..copies {
                        if !self.rng.random_bool(self.loss) {
                            let at = self.now.instant + self.rng.random_range(self.latency.clone());
                            self.queue.insert((at, self.rng.random()), datagram.clone());
                        }
                    }
                }
                let Some(event) = host.transport.poll_event() else { break };
                if let TransportEvent::Request { token, body, .. } = &event {
                    let (wait, body) = match host.answering {
                        Answering::Echo => (Some(Duration::ZERO), body.clone()),
                        Answering::Len(len) => (Some(Duration::ZERO), vec![7; len]),
                        Answering::After(wait) => (Some(wait), body.clone()),
                        Answering::Never => (None, Vec::new()),
                    };
                    match wait {
                        Some(Duration::ZERO) => host.transport.reply(*token, KIND, body, self.now),
                        Some(wait) => {
                            host.replies.insert((self.now.instant + wait, *token), body);
                        }
                        None => {}
                    }
                }
                host.events.push(event);
            }
        }
    }

    /// Lets the next thing happen that is due until `end`; false if there is none.
    fn step(&mut self, end: Option<Instant>) -> bool {
        let timeouts = self.hosts.iter().filter_map(|host| Some(host.transport.poll_timeout()?.0));
        let replies = self.hosts.iter().filter_map(|host| Some(host.replies.first_key_value()?.0.0));
        let datagrams = self.queue.first_key_value().map(|((at, _), _)| *at);
        let Some(at) = timeouts.chain(replies).chain(datagrams).min() else { return false };
        if end.is_some_and(|end| at > end) {
            return false;
        }
        self.advance_to(at);
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= at) {
            let datagram = entry.remove();
            if let Some(host) = self.hosts.iter_mut().find(|host| host.address == datagram.to) {
                host.transport.handle_datagram(datagram.from, &datagram.bytes, self.now);
                self.settle();
            }
        }
        for host in &mut self.hosts {
            while let Some(entry) = host.replies.first_entry().filter(|entry| entry.key().0 <= at) {
                let ((_, token), body) = entry.remove_entry();
                host.transport.reply(token, KIND, body, self.now);
            }
            host.transport.handle_timeout(self.now);
        }
        self.settle();
        true
    }

    fn advance_to(&mut self, at: Instant) {
        self.now = self.now.after(at.saturating_duration_since(self.now.instant));
    }

    fn run_until_idle(&mut self) {
        for _ in 0..100_000 {
            if !self.step(None) {
                return;
            }
        }
        panic!("the network never comes to rest");
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.step(Some(end)) {}
        self.advance_to(end);
    }

    /// Hands a datagram to a host as if it came from `from`.
    fn inject(&mut self, host: usize, from: SocketAddr, bytes: &[u8]) {
        self.hosts[host].transport.handle_datagram(from, bytes, self.now);
        self.settle();
    }

    /// Makes a host believe that it is flooded with handshakes.
    fn overload(&mut self, host: usize) {
        for _ in 0..=CALM_INITS_PER_SECOND {
            self.hosts[host].transport.allowances.admit_init(address(77), || false, self.now.instant);
        }
    }

    /// Takes the first datagram of a type out of what was sent.
    fn find(&self, kind: u8) -> Datagram {
        self.sent.iter().find(|datagram| datagram.bytes[0] == kind).expect("such a packet was sent").clone()
    }
}

/// Returns the body of a response.
fn body_of(event: &TransportEvent) -> &[u8] {
    match event {
        TransportEvent::Response { body, .. } => body,
        other => panic!("no response: {other:?}"),
    }
}

fn is_timeout(event: &TransportEvent) -> bool {
    matches!(event, TransportEvent::CallFailed { reason: CallError::Timeout, .. })
}

fn requests(host: &Host) -> usize {
    host.events.iter().filter(|event| matches!(event, TransportEvent::Request { .. })).count()
}
