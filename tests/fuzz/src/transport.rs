//! Packets from anybody to a node that has called nobody: raw bytes, first handshake packets of others, whole or
//! damaged, and requests for its key. A seed is a program of steps.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use peerchat_core::kademlia::{Contact, NodeKey};
use peerchat_core::time::Now;
use peerchat_core::transport::{
    Call, CallId, MAX_DATAGRAM_LEN, ProbeId, ReplyToken, Transport, TransportConfig, TransportEvent,
};

use crate::input::{Input, Script, address, rng, secret, start};
use crate::random_programs;

/// How many steps a program has at most.
const MAX_STEPS: usize = 64;

struct Server {
    transport: Transport,
    now: Now,
    requests: VecDeque<ReplyToken>,
    /// What came from each address, less what was sent there.
    credit: BTreeMap<SocketAddr, i64>,
}

/// No address that has not proven itself is sent more than came from it, whatever the application answers.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let mut server = Server {
        transport: Transport::new(TransportConfig::default(), &secret(0), rng(0)),
        now: start(),
        requests: VecDeque::new(),
        credit: BTreeMap::new(),
    };
    for number in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        server.step(number, &mut input);
        server.drain();
    }
}

impl Server {
    fn step(&mut self, number: usize, input: &mut Input<'_>) {
        match input.below(6) {
            0 => {
                let from = address(input.byte() % 8);
                self.take(from, input.bytes());
            }
            1 | 2 => {
                let caller = input.byte() % 8;
                let is_damaged = input.flag();
                for mut packet in first_packets(number, caller, input, self.now) {
                    if is_damaged {
                        input.damage(&mut packet);
                    }
                    self.take(address(caller), &packet);
                }
            }
            3 => {
                self.now = self.now.after(input.time());
                self.transport.handle_timeout(self.now);
            }
            4 => {
                let (kind, len) = (input.byte() & 0x7f, usize::from(input.byte()) * 8);
                if let Some(token) = self.requests.pop_front() {
                    self.transport.reply(token, kind, vec![7; len], self.now);
                }
            }
            _ => {
                let asker = input.byte() % 8;
                let mut transport =
                    Transport::new(TransportConfig::default(), &secret(asker + 1), rng(asker));
                transport.probe(ProbeId(1), address(100), self.now);
                while let Some(packet) = transport.poll_transmit() {
                    self.take(address(asker), &packet.bytes);
                }
            }
        }
    }

    fn take(&mut self, from: SocketAddr, packet: &[u8]) {
        *self.credit.entry(from).or_default() += i64::try_from(packet.len()).unwrap_or(i64::MAX);
        self.transport.handle_datagram(from, packet, self.now);
        let _ = self.transport.is_for_us(from, packet);
    }

    fn drain(&mut self) {
        while let Some(event) = self.transport.poll_event() {
            match event {
                TransportEvent::Request { token, is_proven, .. } => {
                    assert!(!is_proven, "nobody could prove anything");
                    self.requests.push_back(token);
                }
                other => panic!("a node that has asked nothing is told {other:?}"),
            }
        }
        while let Some(packet) = self.transport.poll_transmit() {
            assert!(packet.bytes.len() <= MAX_DATAGRAM_LEN);
            let credit = self.credit.entry(packet.to).or_default();
            *credit -= i64::try_from(packet.bytes.len()).unwrap_or(i64::MAX);
            assert!(*credit >= 0, "{} was sent more than it has sent", packet.to);
        }
        assert!(self.transport.poll_oversized().is_none(), "it has called nobody");
    }
}

/// Returns what somebody sends who calls the server for the first time, once or as often as they try.
fn first_packets(number: usize, caller: u8, input: &mut Input<'_>, mut now: Now) -> Vec<Vec<u8>> {
    let config = TransportConfig::default();
    // Another one each step, who draws other numbers.
    let seed = rng(u8::try_from(number).unwrap_or(0));
    let mut transport = if input.flag() {
        Transport::throwaway(config, &secret(caller + 1), seed)
    } else {
        Transport::new(config, &secret(caller + 1), seed)
    };
    let (kind, body, is_early, is_repeated) =
        (input.byte() & 0x7f, input.bytes(), input.flag(), input.flag());
    let to = Contact::new(NodeKey::from(secret(0).public()), address(100));
    let call = Call {
        id: CallId(1),
        to,
        kind,
        body: body.to_vec(),
        is_early,
        is_bulk: false,
        is_answer_long: false,
        is_fleeting: false,
    };
    transport.call(call, now);
    let mut packets = Vec::new();
    loop {
        packets.extend(std::iter::from_fn(|| transport.poll_transmit()).map(|packet| packet.bytes));
        match transport.poll_timeout() {
            Some((at, _)) if is_repeated && packets.len() < 3 => {
                now = now.after(at.saturating_duration_since(now.instant));
                transport.handle_timeout(now);
            }
            _ => return packets,
        }
    }
}

/// One program for each kind of step, some of several, and random ones.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let hello =
        |early: u8| Script::default().put(&[1, 1, 0, 0, 5]).bytes(b"question").put(&[early, 1]).done();
    let answered = [hello(1), vec![4, 6, 20]].concat();
    let too_long = [hello(1), vec![4, 6, 255, 3, 30]].concat();
    let damaged = Script::default().put(&[2, 1, 1, 1, 5]).bytes(b"question").put(&[1, 0, 1, 40, 2, 9]).done();
    let flood = (0..60).flat_map(|_| hello(1)).collect();
    let key = vec![5, 1, 5, 1, 3, 20, 5, 2];
    let reset = Script::default().put(&[0, 1]).bytes(&[5; 40]).done();
    let mut seeds = vec![hello(0), hello(1), answered, too_long, damaged, flood, key, reset];
    seeds.extend(random_programs(4, 300));
    seeds
}
