//! Two carriers on a virtual network: what goes as a datagram and what by stream.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::kademlia::Contact;
use crate::time::Timestamp;
use crate::transport::{CallError, CallId, MAX_STREAM_BODY_LEN};

const KIND: u8 = 0x11;
const LATENCY: Duration = Duration::from_millis(20);

struct Host {
    carrier: Carrier,
    address: SocketAddr,
    /// The answer to every request; `None` echoes it.
    answer: Option<Vec<u8>>,
    request_count: u64,
    ended: BTreeMap<CallId, Vec<Result<Vec<u8>, CallError>>>,
}

struct Pair {
    hosts: [Host; 2],
    queue: BTreeMap<(Instant, u64), (usize, SocketAddr, Vec<u8>)>,
    now: Now,
    sent_count: u64,
    /// Somebody on the path lets no QUIC through.
    blocks_quic: bool,
    last_call: u64,
}

fn secret(host: usize) -> SecretKey {
    SecretKey::from_bytes(&[host as u8 + 1; 32])
}

impl Pair {
    fn new() -> Self {
        let host = |at: usize| Host {
            carrier: Carrier::new(
                TransportConfig::default(),
                &secret(at),
                ChaCha20Rng::from_seed([at as u8; 32]),
            ),
            address: format!("10.0.0.{}:4000", at + 1).parse().unwrap(),
            answer: None,
            request_count: 0,
            ended: BTreeMap::new(),
        };
        Self {
            hosts: [host(0), host(1)],
            queue: BTreeMap::new(),
            now: Now { instant: Instant::now(), wall: Timestamp::default() },
            sent_count: 0,
            blocks_quic: false,
            last_call: 0,
        }
    }

    /// Lets host 0 call host 1 with something that may come in great numbers.
    fn call(&mut self, body: &[u8]) -> CallId {
        self.call_as(body, true)
    }

    fn call_as(&mut self, body: &[u8], is_bulk: bool) -> CallId {
        self.call_for(body, is_bulk, false)
    }

    fn call_for(&mut self, body: &[u8], is_bulk: bool, is_answer_long: bool) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        let to = Contact::new(secret(1).public().into(), self.hosts[1].address);
        let call = Call {
            id,
            to,
            kind: KIND,
            body: body.to_vec(),
            is_early: false,
            is_bulk,
            is_answer_long,
            is_fleeting: false,
        };
        self.hosts[0].carrier.call(call, self.now);
        self.settle();
        id
    }

    fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, CallError> {
        let id = self.call(body);
        self.run();
        self.outcome(id)
    }

    fn outcome(&self, id: CallId) -> Result<Vec<u8>, CallError> {
        let ended = &self.hosts[0].ended[&id];
        assert_eq!(ended.len(), 1, "a call ends once");
        ended[0].clone()
    }

    fn streams(&self, host: usize) -> StreamStats {
        self.hosts[host].carrier.stats().1
    }

    fn settle(&mut self) {
        for at in 0..2 {
            let host = &mut self.hosts[at];
            while let Some(event) = host.carrier.poll_event() {
                match event {
                    TransportEvent::Request { token, body, .. } => {
                        host.request_count += 1;
                        let answer = host.answer.clone().unwrap_or(body);
                        host.carrier.reply(token, KIND, answer, self.now);
                    }
                    TransportEvent::Response { call, body, .. } => {
                        host.ended.entry(call).or_default().push(Ok(body));
                    }
                    TransportEvent::CallFailed { call, reason } => {
                        host.ended.entry(call).or_default().push(Err(reason));
                    }
                    _ => {}
                }
            }
            while let Some(Transmit { to: _, bytes }) = host.carrier.poll_transmit() {
                if !self.blocks_quic || bytes[0] & QUIC_BITS == 0 {
                    self.sent_count += 1;
                    let key = (self.now.instant + LATENCY, self.sent_count);
                    self.queue.insert(key, (1 - at, host.address, bytes));
                }
            }
        }
    }

    /// Runs until every call has ended and the network is at rest.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let timeouts = self.hosts.iter().filter_map(|host| Some(host.carrier.poll_timeout()?.0));
            let datagrams = self.queue.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = timeouts.chain(datagrams).min() else { return };
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= at) {
                let (to, from, bytes) = entry.remove();
                self.hosts[to].carrier.handle_datagram(from, &bytes, self.now);
                self.settle();
            }
            for host in &mut self.hosts {
                host.carrier.handle_timeout(self.now);
            }
            self.settle();
        }
        panic!("the network never comes to rest");
    }
}

#[test]
fn what_fits_a_datagram_is_one() {
    let mut pair = Pair::new();
    assert_eq!(pair.ask(&[7; MAX_BODY_LEN]), Ok(vec![7; MAX_BODY_LEN]));
    assert!(
        pair.hosts.iter().all(|host| host.carrier.streams.is_none()),
        "no streams, and no memory for them"
    );
}

#[test]
fn a_long_request_goes_by_stream_with_or_without_a_link() {
    let mut pair = Pair::new();
    pair.hosts[1].answer = Some(b"short".to_vec());
    for retry_count in [1, 1] {
        assert_eq!(pair.ask(&[7; MAX_BODY_LEN + 1]), Ok(b"short".to_vec()));
        assert_eq!(pair.streams(1).retries_sent, retry_count, "a link proves the address");
        assert_eq!(pair.ask(b"makes a link"), Ok(b"short".to_vec()));
    }
    assert_eq!(pair.streams(0).calls, 2);
    let refused = pair.ask(&vec![7; MAX_STREAM_BODY_LEN + 1]);
    assert_eq!(refused, Err(CallError::TooLong { len: MAX_STREAM_BODY_LEN + 1 }));
}

#[test]
fn a_long_answer_is_fetched_by_stream() {
    let mut pair = Pair::new();
    let answer: Vec<u8> = (0..30_000).map(|at| at as u8).collect();
    pair.hosts[1].answer = Some(answer.clone());
    for _ in 0..2 {
        assert_eq!(pair.ask(b"give"), Ok(answer.clone()));
    }
    assert_eq!(pair.hosts[1].carrier.stats().0.replies_by_stream, 2);
    assert_eq!((pair.streams(0).calls, pair.streams(1).retries_sent), (2, 0));
}

#[test]
fn an_answer_that_is_known_to_be_long_is_asked_for_once() {
    let mut pair = Pair::new();
    pair.ask(b"makes a link").unwrap();
    pair.hosts[1].answer = Some(vec![7; 30_000]);
    let id = pair.call_for(b"give", false, true);
    pair.run();
    assert_eq!(pair.outcome(id), Ok(vec![7; 30_000]));
    assert_eq!((pair.hosts[1].request_count, pair.streams(0).calls), (2, 1), "once, by stream");
    assert_eq!(pair.hosts[1].carrier.stats().0.replies_by_stream, 0);
}

#[test]
fn many_small_requests_of_the_dht_open_no_connection() {
    let mut pair = Pair::new();
    pair.ask(b"makes a link").unwrap();
    let calls: Vec<CallId> = (0..4 * BURST_CALLS).map(|_| pair.call_as(b"store", false)).collect();
    pair.run();
    assert!(calls.into_iter().all(|id| pair.outcome(id).is_ok()));
    assert!(pair.hosts.iter().all(|host| host.carrier.streams.is_none()));
}

#[test]
fn a_burst_opens_a_connection_and_single_calls_do_not_use_it() {
    let mut pair = Pair::new();
    pair.ask(b"makes a link").unwrap();
    let mut calls: Vec<CallId> = (0..BURST_CALLS + 1).map(|_| pair.call(b"burst")).collect();
    assert_eq!(pair.streams(0).calls, 0, "the connection is not there yet");
    let soon = pair.now.instant + LATENCY * 3;
    while pair.hosts[0].carrier.connection_count() == 0 {
        let ((at, _), (to, from, bytes)) = pair.queue.pop_first().unwrap();
        assert!(at <= soon, "one round trip makes a connection");
        pair.now = pair.now.after(at.saturating_duration_since(pair.now.instant));
        pair.hosts[to].carrier.handle_datagram(from, &bytes, pair.now);
        pair.settle();
    }
    calls.extend((0..200).map(|_| pair.call(b"burst")));
    let by_stream = pair.streams(0).calls;
    assert!(by_stream >= 200 - BURST_CALLS as u64, "{by_stream} of 200 by stream");
    pair.call(b"x");
    let datagrams = pair.hosts[0].carrier.stats().0.datagrams_out;
    for id in calls {
        pair.run();
        assert_eq!(pair.outcome(id), Ok(b"burst".to_vec()));
    }
    pair.ask(b"single").unwrap();
    assert_eq!(pair.streams(0).calls, by_stream + 1, "a single call is a datagram again");
    assert!(pair.hosts[0].carrier.stats().0.datagrams_out > datagrams);
}

#[test]
fn a_burst_needs_no_quic() {
    let mut pair = Pair::new();
    pair.blocks_quic = true;
    pair.ask(b"makes a link").unwrap();
    let calls: Vec<CallId> = (0..300).map(|_| pair.call(b"burst")).collect();
    pair.run();
    assert!(calls.into_iter().all(|id| pair.outcome(id) == Ok(b"burst".to_vec())));
    assert_eq!(pair.ask(&[7; MAX_BODY_LEN + 1]), Err(CallError::Timeout), "what is long does");
}

#[test]
fn a_burst_survives_the_end_of_its_connection() {
    let mut pair = Pair::new();
    pair.ask(&[7; MAX_BODY_LEN + 1]).unwrap();
    pair.ask(b"makes a link").unwrap();
    pair.call(&[7; MAX_BODY_LEN + 1]);
    while pair.hosts[0].carrier.connection_count() == 0 {
        let ((at, _), (to, from, bytes)) = pair.queue.pop_first().unwrap();
        pair.now = pair.now.after(at.saturating_duration_since(pair.now.instant));
        pair.hosts[to].carrier.handle_datagram(from, &bytes, pair.now);
        pair.settle();
    }
    let calls: Vec<CallId> = (0..100).map(|_| pair.call(b"burst")).collect();
    assert!(pair.streams(0).calls > 80);
    // The peer forgets its connections: it answers what comes over them with a stateless reset.
    pair.queue.clear();
    pair.hosts[1].carrier.streams = None;
    pair.run();
    assert!(calls.into_iter().all(|id| pair.outcome(id) == Ok(b"burst".to_vec())));
}
