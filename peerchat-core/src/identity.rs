//! Long-term keys and what is derived from them: who a node is, who a person is.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

mod name;
mod safety;

pub use name::{MAX_NAME_CHARS, MAX_NAME_LEN, NameError, Recipient, UserName};
pub use safety::safety_number;

/// Length of a public or secret key in bytes.
pub const KEY_LEN: usize = 32;

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// Why [`PublicKey::from_bytes`] refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not the canonical form of a point on the curve.
    #[error("not the canonical form of an Ed25519 key")]
    NotCanonical,
    /// The point has a small order: anyone could sign for it.
    #[error("an Ed25519 key of small order")]
    Weak,
}

/// An Ed25519 public key that is known to be canonical and of large order.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Checks and takes the bytes of a key.
    ///
    /// # Errors
    ///
    /// The bytes are no key, or one that must not be trusted.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Result<Self, KeyError> {
        checked_point(bytes).map(|_| Self(bytes))
    }

    /// Takes the bytes of a key that were checked before: a check costs several microseconds.
    pub(crate) const fn from_checked_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Checks the bytes of a key and returns its X25519 form: one decompression for both.
    ///
    /// # Errors
    ///
    /// As for [`Self::from_bytes`].
    pub fn x25519_of(bytes: [u8; KEY_LEN]) -> Result<[u8; KEY_LEN], KeyError> {
        checked_point(bytes).map(|point| point.to_montgomery().to_bytes())
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Returns the X25519 form of the key, which Noise uses. The sign of the point is lost in it.
    #[must_use]
    pub fn to_x25519(&self) -> [u8; KEY_LEN] {
        // The constructor checked the same bytes. Zero is refused by every handshake.
        Self::x25519_of(self.0).unwrap_or_default()
    }

    /// Tells whether `signature` over `message` was made by the owner of this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl std::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes =
            BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| KeyError::NotCanonical)?;
        Self::from_bytes(bytes.try_into().map_err(|_| KeyError::NotCanonical)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(<[u8; KEY_LEN]>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Writes a key or a hash as people see it: base32 without padding, lower case.
pub(crate) fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// Returns the point of a key that is canonical and not weak.
fn checked_point(bytes: [u8; KEY_LEN]) -> Result<EdwardsPoint, KeyError> {
    let point = CompressedEdwardsY(bytes).decompress().ok_or(KeyError::NotCanonical)?;
    if !is_reduced(&bytes) {
        return Err(KeyError::NotCanonical);
    }
    // The points with x = 0, whose sign can be written in two ways, are of small order too.
    if point.is_small_order() { Err(KeyError::Weak) } else { Ok(point) }
}

/// Tells whether y, little-endian and without the sign of x in its highest bit, is below p = 2^255 - 19.
fn is_reduced(bytes: &[u8; KEY_LEN]) -> bool {
    let [first, middle @ .., last] = bytes;
    *first < 0xed || *last | 0x80 != 0xff || middle.iter().any(|byte| *byte != 0xff)
}

/// An Ed25519 key pair. The secret half is wiped from memory on drop and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes the key pair of these secret bytes, which the caller draws from a secure source.
    #[must_use]
    pub fn from_bytes(secret: &[u8; KEY_LEN]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// Returns the secret bytes, for storage. They are wiped when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Returns the secret X25519 key that belongs to [`PublicKey::to_x25519`] of the public half.
    #[must_use]
    pub fn to_x25519(&self) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }

    /// Signs a message (RFC 8032, Ed25519).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A text that is not a user id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a user id: it has 52 characters of a to z and 2 to 7")]
pub struct UserIdError;

/// Who a person is: the BLAKE3-256 hash of their user key. It outlives every name, address and device.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct UserId([u8; 32]);

impl UserId {
    /// Returns the id of the person with this user key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        Self(*blake3::hash(key.as_bytes()).as_bytes())
    }

    /// Takes the bytes of an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first 40 bits in base32: eight characters that people can compare, as in `alice#7kq2m4xd`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        base32(&self.0[..5])
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl std::str::FromStr for UserId {
    type Err = UserIdError;

    fn from_str(text: &str) -> Result<Self, UserIdError> {
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| UserIdError)?;
        bytes.try_into().map(Self).map_err(|_| UserIdError)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x25519_halves_belong_together() {
        let [a, b] = [[1; 32], [2; 32]].map(|secret| SecretKey::from_bytes(&secret));
        let shared = |mine: &SecretKey, theirs: &SecretKey| {
            let point = curve25519_dalek::MontgomeryPoint(theirs.public().to_x25519());
            point.mul_clamped(*mine.to_x25519()).to_bytes()
        };
        assert_eq!(shared(&a, &b), shared(&b, &a));
    }

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(identity), Err(KeyError::Weak));
        assert_eq!(PublicKey::from_bytes([0xff; 32]), Err(KeyError::NotCanonical));
        // y = p + 1 is the identity, written the long way round.
        let mut long = [0xff; 32];
        long[0] = 0xee;
        long[31] = 0x7f;
        assert_eq!(PublicKey::from_bytes(long), Err(KeyError::NotCanonical));
    }

    /// y around p with either sign: what compressing the point again would not give back is refused.
    #[test]
    fn a_key_that_is_accepted_is_the_only_form_of_its_point() {
        for first in 0..=0xff {
            for last in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (first, last);
                let point = CompressedEdwardsY(bytes).decompress();
                let is_canonical = point.is_some_and(|point| point.compress().0 == bytes);
                assert!(is_canonical || PublicKey::from_bytes(bytes).is_err(), "{first:02x} {last:02x}");
                if let Ok(key) = PublicKey::from_bytes(bytes) {
                    assert_eq!(PublicKey::x25519_of(bytes), Ok(key.to_x25519()));
                }
            }
        }
    }

    #[test]
    fn a_key_survives_its_text_form() {
        let key = SecretKey::from_bytes(&[7; 32]).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("nonsense".parse::<PublicKey>().is_err());
    }

    #[test]
    fn a_user_id_survives_its_text_form() {
        let user = UserId::from_bytes([7; 32]);
        assert_eq!(user.to_string().parse(), Ok(user));
        assert_eq!(user.to_string().to_uppercase().parse(), Ok(user));
        for text in ["", &user.fingerprint(), &format!("{user}a"), &"1".repeat(52)] {
            assert_eq!(text.parse::<UserId>(), Err(UserIdError), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        insta::assert_snapshot!(format!("{:?}", SecretKey::from_bytes(&[7; 32])), @"SecretKey(..)");
    }

    #[test]
    fn a_signature_fits_its_message_and_key_only() {
        let (key, other) = (SecretKey::from_bytes(&[7; 32]), SecretKey::from_bytes(&[8; 32]));
        let signature = key.sign(b"hello");
        assert!(key.public().verifies(b"hello", &signature));
        assert!(!key.public().verifies(b"hullo", &signature));
        assert!(!other.public().verifies(b"hello", &signature));
    }
}
