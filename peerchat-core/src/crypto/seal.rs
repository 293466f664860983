//! [`seal()`] and [`SealKeys`]: what closes mail to everybody but one device, the writer of the mail included.
//!
//! HPKE (RFC 9180) in its base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. It does not say who
//! sealed something: that stands inside, signed.

use std::collections::VecDeque;
use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::prekey::{KEPT_PREKEYS, is_current};
use super::secret::Secret;
use crate::time::Timestamp;

/// Says what is sealed, so that nothing of it can be taken for something else.
const INFO: &[u8] = b"peerchat mail 1";

/// Length of an encapsulated key in bytes.
const ENCAPSULATED_LEN: usize = 32;

/// Length of the number that says how long the message is, and of the tag at the end.
const LENGTH_LEN: usize = 4;
const TAG_LEN: usize = 16;

/// What sealing adds to a message at least, in bytes.
pub const SEAL_OVERHEAD: usize = ENCAPSULATED_LEN + LENGTH_LEN + TAG_LEN;

/// The public key that mail for a device is sealed to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SealKey(pub [u8; 32]);

/// Why something was not sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The message and what sealing adds are longer than the sealed form may be.
    #[error("a message that does not fit its sealed form")]
    TooLong,
    /// The bytes are no key, or one that every secret fits.
    #[error("bytes that are no usable key")]
    BadKey,
    /// None of the kept keys opens it, or it was changed, or what it is bound to.
    #[error("something sealed that no kept key opens")]
    NoKey,
}

/// Seals a message to a key so that the result is `sealed_len` bytes long whatever the message's length, and opens only
/// together with `bound`.
///
/// The same arguments give the same bytes. `seed` must be unknown to others, and never be used for another message,
/// key or `bound`: whoever calls derives it from a secret and all of them.
///
/// # Errors
///
/// The message is too long, or the key is not usable.
pub fn seal(
    to: &SealKey,
    bound: &[u8],
    message: &[u8],
    sealed_len: usize,
    seed: &[u8; 32],
) -> Result<Vec<u8>, SealError> {
    let room = sealed_len.checked_sub(SEAL_OVERHEAD).filter(|room| message.len() <= *room);
    let (room, len) = room.zip(u32::try_from(message.len()).ok()).ok_or(SealError::TooLong)?;
    let mut padded = Zeroizing::new(Vec::with_capacity(LENGTH_LEN + room));
    padded.extend(len.to_be_bytes());
    padded.extend(message);
    padded.resize(LENGTH_LEN + room, 0);
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0).map_err(|_| SealError::BadKey)?;
    let mut rng = ChaCha20Rng::from_seed(*seed);
    let (encapsulated, sealed) = hpke::single_shot_seal_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &key, INFO, &padded, bound, &mut rng)
    .map_err(|_| SealError::BadKey)?;
    Ok([encapsulated.to_bytes().as_slice(), &sealed].concat())
}

/// The seal keys of this device, oldest first. They are replaced and kept as [`super::Prekeys`] are.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct SealKeys(VecDeque<SealPair>);

#[derive(Clone, Eq, PartialEq)]
struct SealPair {
    secret: Secret,
    public: SealKey,
    made: Timestamp,
}

impl SealPair {
    fn restore(secret: Secret, made: Timestamp) -> Result<Self, SealError> {
        let key = private(&secret)?;
        let public = public(&<X25519HkdfSha256 as Kem>::sk_to_pk(&key))?;
        Ok(Self { secret, public, made })
    }

    fn derive(material: &[u8; 32], made: Timestamp) -> Result<Self, SealError> {
        let (key, of) = <X25519HkdfSha256 as Kem>::derive_keypair(material);
        let mut bytes = Zeroizing::new([0; 32]);
        key.write_exact(&mut *bytes);
        Ok(Self { secret: Secret::copy_of(&*bytes), public: public(&of)?, made })
    }
}

impl SealKeys {
    /// Takes saved secrets up again, oldest first; bytes that are no key are left out.
    #[must_use]
    pub fn restore(saved: impl IntoIterator<Item = (Secret, Timestamp)>) -> Self {
        Self(saved.into_iter().filter_map(|(secret, made)| SealPair::restore(secret, made).ok()).collect())
    }

    /// Returns the secrets, oldest first, each with the time when it was made.
    pub fn iter(&self) -> impl Iterator<Item = (&Secret, Timestamp)> {
        self.0.iter().map(|pair| (&pair.secret, pair.made))
    }

    /// Returns the key that mail for this device is sealed to, `None` before the first [`Self::rotate`].
    #[must_use]
    pub fn current(&self) -> Option<SealKey> {
        self.0.back().map(|pair| pair.public)
    }

    /// Makes a new key of 32 secret random bytes if the current one is too old, or from a time that has not come yet,
    /// and drops the oldest one if there are more than [`KEPT_PREKEYS`]. Tells whether anything has changed.
    pub fn rotate(&mut self, material: &[u8; 32], now: Timestamp) -> bool {
        if self.0.back().is_some_and(|pair| is_current(pair.made, now)) {
            return false;
        }
        self.0.extend(SealPair::derive(material, now));
        let excess = self.0.len().saturating_sub(KEPT_PREKEYS);
        self.0.drain(..excess);
        true
    }

    /// Opens what was sealed to one of the keys together with `bound`.
    ///
    /// # Errors
    ///
    /// No key fits, or a byte was changed.
    pub fn open(&self, bound: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        // Most of what arrives was sealed to one of the latest keys.
        self.0.iter().rev().find_map(|pair| open(&pair.secret, bound, sealed).ok()).ok_or(SealError::NoKey)
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeys({} ..)", self.0.len())
    }
}

fn open(secret: &Secret, bound: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (encapsulated, sealed) = sealed.split_at_checked(ENCAPSULATED_LEN).ok_or(SealError::NoKey)?;
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated);
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private(secret)?,
        &encapsulated.map_err(|_| SealError::NoKey)?,
        INFO,
        sealed,
        bound,
    );
    let padded = Zeroizing::new(opened.map_err(|_| SealError::NoKey)?);
    let (len, rest) = padded.split_first_chunk::<LENGTH_LEN>().ok_or(SealError::NoKey)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| SealError::NoKey)?;
    rest.get(..len).map(|message| Zeroizing::new(message.to_vec())).ok_or(SealError::NoKey)
}

fn private(secret: &Secret) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey, SealError> {
    Deserializable::from_bytes(secret.reveal()).map_err(|_| SealError::BadKey)
}

fn public(key: &<X25519HkdfSha256 as Kem>::PublicKey) -> Result<SealKey, SealError> {
    key.to_bytes().as_slice().try_into().map(SealKey).map_err(|_| SealError::BadKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PREKEY_LIFETIME;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const LEN: usize = 512;

    fn keys(seed: u8) -> SealKeys {
        let mut keys = SealKeys::default();
        assert!(keys.rotate(&[seed; 32], NOW));
        keys
    }

    fn sealed(to: &SealKeys, message: &[u8]) -> Vec<u8> {
        seal(&to.current().unwrap(), b"bound", message, LEN, &[9; 32]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_recipient_only() {
        let (bob, eve) = (keys(1), keys(2));
        let sealed = sealed(&bob, b"hello");
        assert_eq!(&**bob.open(b"bound", &sealed).unwrap(), b"hello");
        assert_eq!(eve.open(b"bound", &sealed).unwrap_err(), SealError::NoKey);
    }

    #[test]
    fn a_changed_byte_or_another_header_does_not_open() {
        let (bob, message) = (keys(1), sealed(&keys(1), b"hello"));
        for index in 0..message.len() {
            let mut changed = message.clone();
            changed[index] ^= 1;
            assert_eq!(bob.open(b"bound", &changed).unwrap_err(), SealError::NoKey, "byte {index}");
        }
        assert_eq!(bob.open(b"other", &message).unwrap_err(), SealError::NoKey);
        for len in 0..message.len() {
            assert_eq!(bob.open(b"bound", &message[..len]).unwrap_err(), SealError::NoKey, "length {len}");
        }
    }

    #[test]
    fn every_length_gives_the_same_length() {
        let bob = keys(1);
        for len in [0, 1, 100, LEN - SEAL_OVERHEAD] {
            let sealed = sealed(&bob, &vec![7; len]);
            assert_eq!(sealed.len(), LEN);
            assert_eq!(bob.open(b"bound", &sealed).unwrap().len(), len);
        }
        let long = [7; LEN - SEAL_OVERHEAD + 1];
        let refused = seal(&bob.current().unwrap(), b"", &long, LEN, &[9; 32]);
        assert_eq!(refused, Err(SealError::TooLong));
    }

    /// So that a deposit that is made again is the same one to its holders.
    #[test]
    fn one_seed_seals_alike_and_another_does_not() {
        let bob = keys(1).current().unwrap();
        let seal = |seed| seal(&bob, b"bound", b"hello", LEN, &[seed; 32]).unwrap();
        assert_eq!(seal(1), seal(1));
        assert_ne!(seal(1)[..ENCAPSULATED_LEN], seal(2)[..ENCAPSULATED_LEN]);
    }

    #[test]
    fn a_key_that_every_secret_fits_is_refused() {
        assert_eq!(seal(&SealKey([0; 32]), b"", b"hello", LEN, &[9; 32]), Err(SealError::BadKey));
    }

    #[test]
    fn a_key_lives_a_week_and_six_open() {
        let mut bob = SealKeys::default();
        let week = |number| NOW.saturating_add(PREKEY_LIFETIME * number);
        let letters: Vec<Vec<u8>> = (0..=6)
            .map(|number| {
                assert!(bob.rotate(&[u8::try_from(number).unwrap(); 32], week(number)));
                assert!(!bob.rotate(&[99; 32], week(number)));
                sealed(&bob, b"hello")
            })
            .collect();
        let restored = SealKeys::restore(bob.iter().map(|(secret, made)| (secret.clone(), made)));
        assert_eq!(restored, bob);
        let opens: Vec<bool> = letters.iter().map(|letter| restored.open(b"bound", letter).is_ok()).collect();
        assert_eq!(opens, [false, true, true, true, true, true, true]);
    }

    #[test]
    fn keys_are_not_printed() {
        insta::assert_snapshot!(format!("{:?}", keys(1)), @"SealKeys(1 ..)");
    }
}
