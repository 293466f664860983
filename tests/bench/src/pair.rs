//! [`Pair`]: two transports in one thread, without sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use peerchat_core::identity::SecretKey;
use peerchat_core::kademlia::{Contact, NodeKey};
use peerchat_core::time::Now;
use peerchat_core::transport::{Call, CallId, Transmit, Transport, TransportConfig, TransportEvent};
use peerchat_core::wire::{Request, Response};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// How much later than the one before each call is made.
const CALL_INTERVAL: Duration = Duration::from_micros(100);

/// A node that asks, and one that is asked.
#[derive(Debug)]
pub struct Pair {
    asking: Transport,
    asked: Transport,
    to: Contact,
    last_call: u64,
}

impl Pair {
    /// Makes two nodes that have never met, with keys drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut draw = || {
            let (mut key, mut seed) = ([0; 32], [0; 32]);
            rng.fill_bytes(&mut key);
            rng.fill_bytes(&mut seed);
            let key = SecretKey::from_bytes(&key);
            let transport = Transport::new(TransportConfig::default(), &key, ChaCha20Rng::from_seed(seed));
            (transport, NodeKey::from(key.public()))
        };
        let ((asking, _), (asked, key)) = (draw(), draw());
        Self { asking, asked, to: Contact::new(key, address(1)), last_call: 0 }
    }

    /// Lets one node ask the other, carries datagrams between them until there are none, and returns how the call
    /// ended. `answer` is given kind and body of the request; what it does not answer is dropped.
    pub fn call(
        &mut self,
        request: &Request,
        now: Now,
        answer: impl Fn(u8, &[u8]) -> Option<Response>,
    ) -> Option<TransportEvent> {
        self.last_call += 1;
        // As fast as a link may ask: who measures calls holds the clock.
        let now = Now {
            instant: now.instant + CALL_INTERVAL * u32::try_from(self.last_call).unwrap_or(u32::MAX),
            ..now
        };
        let encoded = request.encode();
        let (id, is_early) = (CallId(self.last_call), request.is_early());
        let call = Call {
            id,
            to: self.to,
            kind: encoded.kind,
            body: encoded.body,
            is_early,
            is_bulk: false,
            is_answer_long: false,
            is_fleeting: false,
        };
        self.asking.call(call, now);
        let mut outcome = None;
        loop {
            let is_first = carry(&mut self.asking, address(0), &mut self.asked, now);
            while let Some(event) = self.asked.poll_event() {
                if let TransportEvent::Request { token, kind, body, .. } = event
                    && let Some(response) = answer(kind, &body)
                {
                    let encoded = response.encode();
                    self.asked.reply(token, encoded.kind, encoded.body, now);
                }
            }
            let is_second = carry(&mut self.asked, address(1), &mut self.asking, now);
            outcome = std::iter::from_fn(|| self.asking.poll_event()).last().or(outcome);
            if !is_first && !is_second {
                return outcome;
            }
        }
    }

    /// Returns how many datagrams both have sent.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.asking.stats().datagrams_out + self.asked.stats().datagrams_out
    }

    /// Returns how many bytes both have sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.asking.stats().bytes_out + self.asked.stats().bytes_out
    }
}

/// Carries what one transport sends to the other; tells whether there was anything.
pub(crate) fn carry(from: &mut Transport, address: SocketAddr, to: &mut Transport, now: Now) -> bool {
    let mut is_any = false;
    while let Some(Transmit { bytes, .. }) = from.poll_transmit() {
        to.handle_datagram(address, &bytes, now);
        is_any = true;
    }
    is_any
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 4000 + number))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use peerchat_core::kademlia::{Rpc, RpcReply};
    use peerchat_core::time::Timestamp;

    use super::*;

    #[test]
    fn a_second_call_needs_two_datagrams() {
        let now = Now { instant: Instant::now(), wall: Timestamp::default() };
        let mut pair = Pair::new(1);
        let mut ping = || {
            let pong = |_: u8, _: &[u8]| Some(Response::Dht(RpcReply::Pong));
            let answer = pair.call(&Request::Dht(Rpc::Ping), now, pong);
            assert!(matches!(answer, Some(TransportEvent::Response { .. })), "{answer:?}");
            pair.datagrams()
        };
        let cold = ping();
        assert_eq!(ping() - cold, 2);
    }
}
