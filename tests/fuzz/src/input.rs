//! Bytes as a source of decisions, and the reverse.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use peerchat_core::identity::SecretKey;
use peerchat_core::time::{Now, Timestamp};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// When everything begins, by the wall clock.
pub(crate) const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

/// What a fuzzer gave, taken from the front. Where it has ended it goes on with zeros.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// A number of any size: small ones are as likely as those of eight bytes.
    pub(crate) fn number(&mut self) -> u64 {
        let len = self.below(9);
        (0..len).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// At most as many bytes as two of them say.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_be_bytes(self.array()));
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// From a millisecond to twelve days.
    pub(crate) fn time(&mut self) -> Duration {
        Duration::from_millis(1 << self.below(31))
    }

    /// Changes, cuts or lengthens bytes as the input says.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = usize::try_from(self.number()).unwrap_or(usize::MAX) % (bytes.len() + 1);
        match self.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.extend(self.bytes()),
            _ => {
                let by = self.byte();
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= by);
            }
        }
    }
}

/// What an [`Input`] takes, written by hand.
#[derive(Default)]
pub(crate) struct Script(Vec<u8>);

impl Script {
    pub(crate) fn random(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    /// Adds single bytes.
    pub(crate) fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Adds what [`Input::bytes`] takes.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(u16::try_from(bytes.len()).expect("seeds are small").to_be_bytes());
        self.put(bytes)
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time needs a first instant; only differences matter")]
pub(crate) fn start() -> Now {
    Now { instant: Instant::now(), wall: START }
}

pub(crate) fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number + 1; 32])
}

pub(crate) fn rng(number: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([number; 32])
}

/// Each in a network of its own.
pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(20 + number, 1, 1, 1), 4000))
}
