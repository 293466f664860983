//! [`Work`]: what a stranger spends on an envelope where room is short.

use super::envelope::EnvelopeId;

/// Least work that is asked for once any is: leading zero bits of a hash.
pub const MIN_WORK_BITS: u8 = 8;

/// Most work that a holder asks for, and that a depositor does: 2^20 hashes on average, well under a second on a phone.
pub const MAX_WORK_BITS: u8 = 20;

/// Most nonces that are tried: sixteen times as many as [`MAX_WORK_BITS`] take on average, so one search in nine million
/// ends in vain.
pub const MAX_WORK_TRIES: u64 = 16 << MAX_WORK_BITS;

/// How many nonces are tried before it is looked whether the search is still wanted.
const SEARCH_STEP: u64 = 1 << 12;

/// Names a search for a nonce.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WorkId(pub u64);

/// A task: find a nonce whose hash together with the name of an envelope begins with so many zero bits. The name is
/// the hash of all of the envelope, so what is done for one says nothing about another; it holds with every holder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Work {
    /// The envelope.
    pub envelope: EnvelopeId,
    /// How many bits must be zero.
    pub bits: u8,
}

impl Work {
    fn key() -> [u8; 32] {
        blake3::derive_key("peerchat 2026 work for a deposit", &[])
    }

    fn bits_of(&self, key: &[u8; 32], nonce: u64) -> u32 {
        let mut message = [0; 40];
        let parts = self.envelope.as_bytes().iter().copied().chain(nonce.to_be_bytes());
        message.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let hash = blake3::keyed_hash(key, &message);
        hash.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first).leading_zeros())
    }

    /// Tells whether a nonce is as much work as was asked for.
    #[must_use]
    pub fn is_done_by(&self, nonce: u64) -> bool {
        self.bits_of(&Self::key(), nonce) >= u32::from(self.bits)
    }

    /// Searches for a nonce until `is_wanted` says no more, or [`MAX_WORK_TRIES`] were tried. Takes a core for as long:
    /// not for a thread that others wait for.
    pub fn search(&self, mut is_wanted: impl FnMut() -> bool) -> Option<u64> {
        let key = Self::key();
        for start in (0..MAX_WORK_TRIES).step_by(SEARCH_STEP as usize) {
            if !is_wanted() {
                return None;
            }
            let mut nonces = start..start + SEARCH_STEP;
            let found = nonces.find(|nonce| self.bits_of(&key, *nonce) >= u32::from(self.bits));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(bits: u8) -> Work {
        Work { envelope: EnvelopeId::from_bytes([7; 32]), bits }
    }

    #[test]
    fn a_nonce_is_found_and_holds_for_its_envelope_and_for_less_work_only() {
        let nonce = work(12).search(|| true).unwrap();
        assert!(work(12).is_done_by(nonce) && work(8).is_done_by(nonce) && work(0).is_done_by(nonce));
        assert!(!work(40).is_done_by(nonce));
        let other = Work { envelope: EnvelopeId::from_bytes([8; 32]), bits: 12 };
        assert!(!other.is_done_by(nonce));
    }

    #[test]
    fn a_search_ends_when_it_is_not_wanted_any_more_and_after_as_many_tries_as_there_may_be() {
        let mut steps = 0;
        let stopped = work(64).search(|| {
            steps += 1;
            steps <= 3
        });
        assert_eq!((stopped, steps), (None, 4));
        assert_eq!(MAX_WORK_TRIES % SEARCH_STEP, 0);
    }
}
