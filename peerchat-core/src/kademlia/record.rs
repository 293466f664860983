//! [`Record`]: a signed value in the DHT, with a fixed header that holders read and a body that they do not parse.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::NodeId;
use crate::identity::{KEY_LEN, PublicKey, SIGNATURE_LEN, SecretKey, UserId, UserName};
use crate::time::Timestamp;

/// Version of the record layout, its first byte.
const RECORD_VERSION: u8 = 1;

/// Where the fields of a record begin, after its version and its kind.
const KEY_AT: usize = 2;
const OWNER_AT: usize = KEY_AT + 32;
const SEQUENCE_AT: usize = OWNER_AT + KEY_LEN;
const ISSUED_AT: usize = SEQUENCE_AT + 8;
const EXPIRES_AT: usize = ISSUED_AT + 8;
const BODY_LEN_AT: usize = EXPIRES_AT + 8;

/// Length of everything before the body.
const HEADER_LEN: usize = BODY_LEN_AT + 2;

/// Longest body in bytes: with header and signature it fits one datagram.
pub const MAX_RECORD_BODY_LEN: usize = 700;

/// Longest record in bytes.
pub const MAX_RECORD_LEN: usize = HEADER_LEN + MAX_RECORD_BODY_LEN + SIGNATURE_LEN;

/// Longest time from issue to expiry that a holder accepts.
pub const MAX_RECORD_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How far ahead of the holder's clock a sequence number (milliseconds) or an issue time may be.
pub const MAX_RECORD_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// What signatures of records start with, so that none can pass for a signature of something else.
const SIGNATURE_CONTEXT: &[u8] = b"peerchat record 1";

/// The place of a record in the DHT.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RecordKey(NodeId);

impl RecordKey {
    /// Returns the key of the claim on a normalized user name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self::hash(b"name", name.as_bytes())
    }

    /// Returns the key of the record of the user with these id bytes.
    #[must_use]
    pub fn of_user(user: &[u8; 32]) -> Self {
        Self::hash(b"user", user)
    }

    /// Takes the bytes of a key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(NodeId::from_bytes(bytes))
    }

    /// Returns the key as a place that a lookup can target.
    #[must_use]
    pub const fn place(&self) -> NodeId {
        self.0
    }

    fn hash(context: &[u8], value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(context).update(value);
        Self(NodeId::from_bytes(*hasher.finalize().as_bytes()))
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({:?})", self.0)
    }
}

/// What a record says, and so which rule decides who may replace it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum RecordKind {
    /// A user name is claimed by the owner: the first owner a holder knows keeps the key. The body is the name, and
    /// the key must be that name's.
    Claim = 1,
    /// A user's devices: the key must be the one of the owner's own id.
    User = 2,
}

/// What holders read of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordHeader {
    /// What the record says.
    pub kind: RecordKind,
    /// Where in the DHT it belongs.
    pub key: RecordKey,
    /// Who signed it.
    pub owner: PublicKey,
    /// Of two records of one owner and key the one with the larger sequence wins: the larger of the previous
    /// one + 1 and the time in milliseconds.
    pub sequence: u64,
    /// When the owner signed it.
    pub issued: Timestamp,
    /// When holders drop it.
    pub expires: Timestamp,
}

/// Why [`Record::parse`] refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Too short, too long, or not as long as the header says.
    #[error("a record of the wrong length")]
    Length,
    /// An unknown version.
    #[error("a record of an unknown version")]
    Version,
    /// An unknown kind.
    #[error("a record of an unknown kind")]
    Kind,
    /// The owner's key is no usable key.
    #[error("a record whose owner is not a usable key")]
    Owner,
    /// The key is not the one that a record of this kind and owner has.
    #[error("a record under a key that is not its owner's")]
    Key,
    /// A claim on what is no user name, or not in the form in which names are compared.
    #[error("a claim on what is not a user name")]
    Name,
    /// It expires before it is issued, or lives longer than [`MAX_RECORD_LIFETIME`].
    #[error("a record whose times do not fit together")]
    Times,
    /// The signature is not the owner's.
    #[error("a record with a wrong signature")]
    Signature,
}

/// A record whose signature was checked: the bytes that were signed.
///
/// A copy shares them, and the header is read from them each time: a process may run thousands of nodes, each of which
/// keeps dozens of records.
#[derive(Clone, Eq, PartialEq)]
pub struct Record {
    bytes: Arc<[u8]>,
}

impl Record {
    /// Makes and signs a record; `header.owner` must be the public half of `key`.
    ///
    /// # Errors
    ///
    /// The body is longer than [`MAX_RECORD_BODY_LEN`], or the header would not be accepted by [`Record::parse`].
    pub fn sign(key: &SecretKey, header: RecordHeader, body: &[u8]) -> Result<Self, RecordError> {
        let bytes = Self::signed_bytes(key, header, body).ok_or(RecordError::Length)?;
        Self::parse(&bytes)
    }

    /// Signs whatever it is given.
    fn signed_bytes(key: &SecretKey, header: RecordHeader, body: &[u8]) -> Option<Vec<u8>> {
        let body_len = u16::try_from(body.len()).ok()?;
        let mut bytes = Vec::with_capacity(HEADER_LEN + body.len() + SIGNATURE_LEN);
        bytes.extend([RECORD_VERSION, header.kind as u8]);
        bytes.extend(header.key.0.as_bytes());
        bytes.extend(header.owner.as_bytes());
        bytes.extend(header.sequence.to_be_bytes());
        bytes.extend(header.issued.unix_ms().to_be_bytes());
        bytes.extend(header.expires.unix_ms().to_be_bytes());
        bytes.extend(body_len.to_be_bytes());
        bytes.extend(body);
        bytes.extend(key.sign(&[SIGNATURE_CONTEXT, &bytes].concat()));
        Some(bytes)
    }

    /// Signs what [`Self::parse`] may refuse.
    #[cfg(test)]
    pub(super) fn sign_unchecked(key: &SecretKey, header: RecordHeader, body: &[u8]) -> Vec<u8> {
        Self::signed_bytes(key, header, body).unwrap()
    }

    /// Checks the bytes of a record: lengths, times, that the owner may use the key, and the signature.
    ///
    /// # Errors
    ///
    /// The first rule that the bytes break.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_LEN {
            return Err(RecordError::Length);
        }
        match bytes {
            [] => return Err(RecordError::Length),
            [RECORD_VERSION, rest @ ..] => match rest {
                [] => return Err(RecordError::Length),
                [1 | 2, ..] => {}
                _ => return Err(RecordError::Kind),
            },
            _ => return Err(RecordError::Version),
        }
        let body_len = usize::from(u16::from_be_bytes(field(bytes, BODY_LEN_AT)));
        if bytes.len() != HEADER_LEN + body_len + SIGNATURE_LEN {
            return Err(RecordError::Length);
        }
        let RecordHeader { kind, key, owner, issued, expires, .. } = read_header(bytes);
        if expires <= issued || expires.saturating_since(issued) > MAX_RECORD_LIFETIME {
            return Err(RecordError::Times);
        }
        PublicKey::from_bytes(*owner.as_bytes()).map_err(|_| RecordError::Owner)?;
        let (signed, signature) = bytes.split_at(bytes.len() - SIGNATURE_LEN);
        let body = signed.get(HEADER_LEN..).unwrap_or_default();
        // Neither kind may stand under a key of the other: a claim on somebody's user key would keep their record out.
        let belongs_at = match kind {
            RecordKind::Claim => RecordKey::hash(b"name", body),
            RecordKind::User => RecordKey::of_user(UserId::of(&owner).as_bytes()),
        };
        if key != belongs_at {
            return Err(RecordError::Key);
        }
        if kind == RecordKind::Claim && !is_name(body) {
            return Err(RecordError::Name);
        }
        let signature = signature.try_into().map_err(|_| RecordError::Length)?;
        if !owner.verifies(&[SIGNATURE_CONTEXT, signed].concat(), &signature) {
            return Err(RecordError::Signature);
        }
        Ok(Self { bytes: bytes.into() })
    }

    /// Returns the key that the bytes of a record name, unchecked.
    pub(crate) fn key_of(bytes: &[u8]) -> Option<RecordKey> {
        let (_, rest) = bytes.split_at_checked(2)?;
        rest.first_chunk().map(|key| RecordKey::from_bytes(*key))
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> RecordHeader {
        read_header(&self.bytes)
    }

    /// Returns the whole record as it was signed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..self.bytes.len() - SIGNATURE_LEN).unwrap_or_default()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("header", &self.header())
            .field("body_len", &self.body().len())
            .finish()
    }
}

/// Tells whether these bytes are a user name in its normalized form.
fn is_name(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    text.is_some_and(|text| UserName::parse(text).is_ok_and(|name| name.as_str() == text))
}

/// Reads the header of a record whose length and kind are right.
fn read_header(bytes: &[u8]) -> RecordHeader {
    RecordHeader {
        kind: if field(bytes, 1) == [1] { RecordKind::Claim } else { RecordKind::User },
        key: RecordKey::from_bytes(field(bytes, KEY_AT)),
        owner: PublicKey::from_checked_bytes(field(bytes, OWNER_AT)),
        sequence: u64::from_be_bytes(field(bytes, SEQUENCE_AT)),
        issued: Timestamp::from_unix_ms(u64::from_be_bytes(field(bytes, ISSUED_AT))),
        expires: Timestamp::from_unix_ms(u64::from_be_bytes(field(bytes, EXPIRES_AT))),
    }
}

/// Returns the bytes of a field, zeros if there are not as many.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISSUED: Timestamp = Timestamp::from_unix_ms(1_000_000);

    fn header(key: &SecretKey) -> RecordHeader {
        let owner = key.public();
        RecordHeader {
            kind: RecordKind::User,
            key: RecordKey::of_user(UserId::of(&owner).as_bytes()),
            owner,
            sequence: 9,
            issued: ISSUED,
            expires: ISSUED.saturating_add(MAX_RECORD_LIFETIME),
        }
    }

    #[test]
    fn a_record_survives_its_bytes() {
        let key = SecretKey::from_bytes(&[5; 32]);
        let record = Record::sign(&key, header(&key), b"devices").unwrap();
        assert_eq!(Record::parse(record.as_bytes()), Ok(record.clone()));
        assert_eq!(record.body(), b"devices");
        assert_eq!(record.header(), header(&key));
    }

    #[test]
    fn times_and_lengths_and_keys_are_checked() {
        let key = SecretKey::from_bytes(&[5; 32]);
        let good = header(&key);
        let longer = ISSUED.saturating_add(MAX_RECORD_LIFETIME + Duration::from_millis(1));
        for (header, error) in [
            (RecordHeader { expires: ISSUED, ..good }, RecordError::Times),
            (RecordHeader { expires: longer, ..good }, RecordError::Times),
            (RecordHeader { key: RecordKey::of_name("alice"), ..good }, RecordError::Key),
            (RecordHeader { kind: RecordKind::Claim, ..good }, RecordError::Key),
            (
                RecordHeader { kind: RecordKind::Claim, key: RecordKey::of_name("bob"), ..good },
                RecordError::Key,
            ),
        ] {
            assert_eq!(Record::sign(&key, header, b"alice"), Err(error));
        }
        let claim = RecordHeader { kind: RecordKind::Claim, key: RecordKey::of_name("alice"), ..good };
        assert!(Record::sign(&key, claim, b"alice").is_ok());
        let foreign = RecordHeader { owner: SecretKey::from_bytes(&[6; 32]).public(), ..claim };
        assert_eq!(Record::sign(&key, foreign, b"alice"), Err(RecordError::Signature));
        assert_eq!(Record::sign(&key, good, &[0; MAX_RECORD_BODY_LEN + 1]), Err(RecordError::Length));
        assert!(Record::sign(&key, good, &[0; MAX_RECORD_BODY_LEN]).is_ok());
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_noticed(byte in 0..200_usize, bit in 0..8_u32) {
            let key = SecretKey::from_bytes(&[5; 32]);
            let mut bytes = Record::sign(&key, header(&key), &[1; 50]).unwrap().as_bytes().to_vec();
            let byte = byte % bytes.len();
            bytes[byte] ^= 1_u8 << bit;
            prop_assert!(Record::parse(&bytes).is_err());
        }

        #[test]
        fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_RECORD_LEN + 9)) {
            prop_assert!(Record::parse(&bytes).is_err());
        }
    }
}
