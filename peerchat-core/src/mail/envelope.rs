//! [`SealedEnvelope`]: a message sealed for one device, with a fixed header that holders read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kademlia::{NodeId, RecordKey};
use crate::time::Timestamp;

/// Version of the layout, its first byte.
const ENVELOPE_VERSION: u8 = 1;

/// Length of everything before the body: version, mailbox, device, expiry.
const HEADER_LEN: usize = 1 + 32 + 32 + 8;

/// The lengths that a body may have, in bytes, so that holders learn little of what is inside. The last one has room
/// for the longest text.
pub const SIZE_CLASSES: [usize; 6] = [512, 1024, 2048, 4096, 8192, 17_920];

/// Longest sealed envelope in bytes, header included.
pub const MAX_SEALED_LEN: usize = HEADER_LEN + 17_920;

/// Names a sealed envelope: the BLAKE3 hash of its bytes, which whoever has them computes alone.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct EnvelopeId([u8; 32]);

impl EnvelopeId {
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
}

impl fmt::Debug for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "EnvelopeId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// What holders read of a sealed envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EnvelopeHeader {
    /// The key of the recipient's user record: the place of their mail.
    pub mailbox: RecordKey,
    /// The node of the device that can open it, one of those in that record.
    pub device: NodeId,
    /// When holders drop it.
    pub expires: Timestamp,
}

/// Why bytes are no sealed envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Shorter than a header, or a body that is of none of the [`SIZE_CLASSES`].
    #[error("an envelope of a length that none has")]
    Length,
    /// An unknown version.
    #[error("an envelope of an unknown version")]
    Version,
}

/// A message sealed for one device. The body is opaque to everybody else.
#[derive(Clone, Eq, PartialEq)]
pub struct SealedEnvelope {
    header: EnvelopeHeader,
    id: EnvelopeId,
    bytes: Box<[u8]>,
}

impl SealedEnvelope {
    /// Length of everything before the body.
    pub(super) const LEN_BEFORE_BODY: usize = HEADER_LEN;

    /// Puts a header before a sealed body.
    ///
    /// # Errors
    ///
    /// The body is of none of the [`SIZE_CLASSES`].
    pub fn new(header: &EnvelopeHeader, body: &[u8]) -> Result<Self, EnvelopeError> {
        let mut bytes = Self::header_bytes(header).to_vec();
        bytes.extend(body);
        Self::parse(&bytes)
    }

    /// Returns the bytes of a header, which a body is bound to when it is sealed.
    #[must_use]
    pub fn header_bytes(header: &EnvelopeHeader) -> [u8; HEADER_LEN] {
        let mut bytes = [ENVELOPE_VERSION; HEADER_LEN];
        let place = header.mailbox.place();
        let parts: [&[u8]; 3] =
            [place.as_bytes(), header.device.as_bytes(), &header.expires.unix_ms().to_be_bytes()];
        let fields = parts.into_iter().flatten().copied();
        bytes.iter_mut().skip(1).zip(fields).for_each(|(byte, field)| *byte = field);
        bytes
    }

    /// Checks the bytes of an envelope. What its body holds only the recipient can tell.
    ///
    /// # Errors
    ///
    /// The first rule that the bytes break.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (head, body) = bytes.split_at_checked(HEADER_LEN).ok_or(EnvelopeError::Length)?;
        let (version, rest) = head.split_first().ok_or(EnvelopeError::Length)?;
        if *version != ENVELOPE_VERSION {
            return Err(EnvelopeError::Version);
        }
        if !SIZE_CLASSES.contains(&body.len()) {
            return Err(EnvelopeError::Length);
        }
        let (mailbox, rest) = rest.split_first_chunk::<32>().ok_or(EnvelopeError::Length)?;
        let (device, rest) = rest.split_first_chunk::<32>().ok_or(EnvelopeError::Length)?;
        let (expires, _) = rest.split_first_chunk::<8>().ok_or(EnvelopeError::Length)?;
        let header = EnvelopeHeader {
            mailbox: RecordKey::from_bytes(*mailbox),
            device: NodeId::from_bytes(*device),
            expires: Timestamp::from_unix_ms(u64::from_be_bytes(*expires)),
        };
        let id = EnvelopeId(*blake3::hash(bytes).as_bytes());
        Ok(Self { header, id, bytes: bytes.into() })
    }

    /// Returns the mailbox that the bytes of an envelope name, unchecked; `None` if they are too few.
    #[must_use]
    pub fn mailbox_of(bytes: &[u8]) -> Option<RecordKey> {
        bytes.get(1..)?.first_chunk::<32>().map(|key| RecordKey::from_bytes(*key))
    }

    /// Returns what holders read.
    #[must_use]
    pub const fn header(&self) -> &EnvelopeHeader {
        &self.header
    }

    /// Returns the envelope's name.
    #[must_use]
    pub const fn id(&self) -> EnvelopeId {
        self.id
    }

    /// Returns the sealed body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Returns the whole envelope and gives up the rest.
    #[must_use]
    pub fn into_bytes(self) -> Box<[u8]> {
        self.bytes
    }

    /// Returns the whole envelope, header included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for SealedEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedEnvelope")
            .field("id", &self.id)
            .field("header", &self.header)
            .field("len", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: EnvelopeHeader = EnvelopeHeader {
        mailbox: RecordKey::from_bytes([0xaa; 32]),
        device: NodeId::from_bytes([0xbb; 32]),
        expires: Timestamp::from_unix_ms(0x0102_0304_0506_0708),
    };

    #[test]
    fn an_envelope_is_what_its_bytes_say() {
        for class in SIZE_CLASSES {
            let envelope = SealedEnvelope::new(&HEADER, &vec![7; class]).unwrap();
            assert_eq!(SealedEnvelope::parse(envelope.as_bytes()), Ok(envelope.clone()));
            assert_eq!((*envelope.header(), envelope.body().len()), (HEADER, class));
        }
        assert_eq!(MAX_SEALED_LEN, HEADER_LEN + SIZE_CLASSES[SIZE_CLASSES.len() - 1]);
    }

    #[test]
    fn another_length_or_version_is_refused() {
        assert_eq!(SealedEnvelope::new(&HEADER, &[7; 511]), Err(EnvelopeError::Length));
        assert_eq!(SealedEnvelope::parse(&[1; HEADER_LEN - 1]), Err(EnvelopeError::Length));
        let mut bytes = SealedEnvelope::new(&HEADER, &[7; 512]).unwrap().as_bytes().to_vec();
        bytes[0] = 2;
        assert_eq!(SealedEnvelope::parse(&bytes), Err(EnvelopeError::Version));
    }

    #[test]
    fn every_byte_counts_for_the_id() {
        let envelope = SealedEnvelope::new(&HEADER, &[7; 512]).unwrap();
        let mut bytes = envelope.as_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        assert_ne!(SealedEnvelope::parse(&bytes).unwrap().id(), envelope.id());
    }
}
