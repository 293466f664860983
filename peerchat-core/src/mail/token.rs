//! [`WriteToken`]: what a device gives a contact so that their mail has room of its own with whoever keeps it.
//!
//! A token is a key of its own, certified by the device. Whoever has its secret half signs the envelopes that they
//! deposit. A holder learns that a contact of the mailbox's owner wrote, and which envelopes were written under one token,
//! but not who has it; and it cannot use what it was shown for anything else.

use super::envelope::EnvelopeId;
use crate::identity::{KEY_LEN, PublicKey, SIGNATURE_LEN, SecretKey};
use crate::kademlia::{NodeId, NodeKey, RecordKey};
use crate::time::Timestamp;

/// Length of a [`WriteToken`] in bytes: device, expiry, secret, certificate.
pub const TOKEN_LEN: usize = KEY_LEN + 8 + KEY_LEN + SIGNATURE_LEN;

/// Length of a [`TokenProof`] in bytes: device, expiry, public key, certificate, signature.
pub const TOKEN_PROOF_LEN: usize = TOKEN_LEN + SIGNATURE_LEN;

/// What certificates of tokens start with, so that none can pass for a signature of something else.
const TOKEN_CONTEXT: &[u8] = b"peerchat token 1";

/// What signatures under tokens start with.
const DEPOSIT_CONTEXT: &[u8] = b"peerchat deposit 1";

/// Tells a token from the others of its mailbox: the first half of its public key, or [`Self::NONE`].
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct TokenTag(u64);

impl TokenTag {
    /// No token: the envelope is a stranger's.
    pub const NONE: Self = Self(0);

    /// Takes the number of one.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Returns its number, which is how it is saved.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What a contact holds, to leave mail for one device until it expires.
#[derive(Clone)]
pub struct WriteToken {
    device: NodeKey,
    expires: Timestamp,
    secret: SecretKey,
    certificate: [u8; SIGNATURE_LEN],
}

impl std::fmt::Debug for WriteToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl WriteToken {
    /// Certifies a key for the mail that `node` collects from `mailbox`.
    #[must_use]
    pub fn issue(node: &SecretKey, mailbox: &RecordKey, secret: SecretKey, expires: Timestamp) -> Self {
        let certificate = node.sign(&certified(mailbox, secret.public().as_bytes(), expires));
        Self { device: node.public().into(), expires, secret, certificate }
    }

    /// Tells whether it is for a device, and has not expired.
    #[must_use]
    pub fn is_for(&self, device: &NodeKey, now: Timestamp) -> bool {
        self.device == *device && self.expires > now
    }

    /// Signs an envelope under the token.
    #[must_use]
    pub fn proof(&self, envelope: &EnvelopeId) -> TokenProof {
        TokenProof {
            device: self.device,
            expires: self.expires,
            key: *self.secret.public().as_bytes(),
            certificate: self.certificate,
            signature: self.secret.sign(&signed(envelope)),
        }
    }

    /// Returns the token as it is given to a contact and saved.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let secret = self.secret.to_bytes();
        let expires = self.expires.unix_ms().to_be_bytes();
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(TOKEN_LEN));
        let parts: [&[u8]; 4] = [self.device.as_bytes(), &expires, &*secret, &self.certificate];
        parts.into_iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// Takes the bytes of a token; `None` if they are of another length. Whether it is of any use holders will say.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (device, rest) = bytes.split_first_chunk::<KEY_LEN>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (secret, certificate) = rest.split_first_chunk::<KEY_LEN>()?;
        Some(Self {
            device: NodeKey::from_bytes(*device),
            expires: Timestamp::from_unix_ms(u64::from_be_bytes(*expires)),
            secret: SecretKey::from_bytes(secret),
            certificate: certificate.try_into().ok()?,
        })
    }
}

/// That a contact of a device has written an envelope for it: what a holder is shown, and hands on with the envelope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenProof {
    device: NodeKey,
    expires: Timestamp,
    key: [u8; KEY_LEN],
    certificate: [u8; SIGNATURE_LEN],
    signature: [u8; SIGNATURE_LEN],
}

impl TokenProof {
    /// Takes the bytes of a proof, unchecked.
    pub(super) fn parse(bytes: &[u8; TOKEN_PROOF_LEN]) -> Option<Self> {
        let (device, rest) = bytes.split_first_chunk::<KEY_LEN>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (key, rest) = rest.split_first_chunk::<KEY_LEN>()?;
        let (certificate, signature) = rest.split_first_chunk::<SIGNATURE_LEN>()?;
        Some(Self {
            device: NodeKey::from_bytes(*device),
            expires: Timestamp::from_unix_ms(u64::from_be_bytes(*expires)),
            key: *key,
            certificate: *certificate,
            signature: signature.try_into().ok()?,
        })
    }

    /// Returns the bytes of the proof.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TOKEN_PROOF_LEN] {
        let expires = self.expires.unix_ms().to_be_bytes();
        let parts: [&[u8]; 5] =
            [self.device.as_bytes(), &expires, &self.key, &self.certificate, &self.signature];
        let mut bytes = [0; TOKEN_PROOF_LEN];
        bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Returns what tells its token from others.
    pub(super) fn tag(&self) -> TokenTag {
        let first = self.key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        TokenTag(first.max(1))
    }

    /// Tells whether it has expired.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// Tells whether it is the device's certificate, and the signature of this envelope. Names come first: they cost
    /// nothing.
    #[must_use]
    pub fn is_for(&self, mailbox: &RecordKey, device: &NodeId, envelope: &EnvelopeId) -> bool {
        let verifies = |key: [u8; KEY_LEN], message: &[u8], signature: &[u8; SIGNATURE_LEN]| {
            PublicKey::from_bytes(key).is_ok_and(|key| key.verifies(message, signature))
        };
        self.device.node_id() == *device
            && verifies(
                *self.device.as_bytes(),
                &certified(mailbox, &self.key, self.expires),
                &self.certificate,
            )
            && verifies(self.key, &signed(envelope), &self.signature)
    }
}

fn certified(mailbox: &RecordKey, key: &[u8; KEY_LEN], expires: Timestamp) -> Vec<u8> {
    [TOKEN_CONTEXT, mailbox.place().as_bytes(), key, &expires.unix_ms().to_be_bytes()].concat()
}

fn signed(envelope: &EnvelopeId) -> Vec<u8> {
    [DEPOSIT_CONTEXT, envelope.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILBOX: RecordKey = RecordKey::from_bytes([0xaa; 32]);
    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn token() -> WriteToken {
        let [node, secret] = [[7; 32], [8; 32]].map(|bytes| SecretKey::from_bytes(&bytes));
        WriteToken::issue(&node, &MAILBOX, secret, NOW.saturating_add(std::time::Duration::from_secs(1)))
    }

    #[test]
    fn a_token_signs_envelopes_for_one_device_of_one_mailbox_until_it_expires() {
        let (token, id) = (token(), EnvelopeId::from_bytes([1; 32]));
        let device = token.device;
        assert!(token.is_for(&device, NOW));
        assert!(!token.is_for(&device, token.expires));
        assert!(!token.is_for(&NodeKey::from_bytes([1; 32]), NOW));
        let proof = token.proof(&id);
        assert!(proof.is_for(&MAILBOX, &device.node_id(), &id));
        assert!(!proof.has_expired(NOW) && proof.has_expired(token.expires));
        assert!(!proof.is_for(&MAILBOX, &device.node_id(), &EnvelopeId::from_bytes([2; 32])));
        assert!(!proof.is_for(&RecordKey::from_bytes([0xab; 32]), &device.node_id(), &id));
        assert!(!proof.is_for(&MAILBOX, &NodeId::from_bytes([3; 32]), &id));
    }

    #[test]
    fn bytes_of_tokens_and_proofs_are_read_back_and_any_changed_one_is_noticed() {
        let (token, id) = (token(), EnvelopeId::from_bytes([1; 32]));
        let again = WriteToken::from_bytes(&token.to_bytes()).unwrap();
        assert_eq!(again.proof(&id), token.proof(&id));
        assert!(WriteToken::from_bytes(&token.to_bytes()[1..]).is_none());
        let (device, bytes) = (token.device.node_id(), token.proof(&id).to_bytes());
        assert_eq!(TokenProof::parse(&bytes), Some(token.proof(&id)));
        for index in 0..TOKEN_PROOF_LEN {
            let mut changed = bytes;
            changed[index] ^= 1;
            assert!(!TokenProof::parse(&changed).unwrap().is_for(&MAILBOX, &device, &id), "byte {index}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let printed = format!("{:?}", token());
        insta::assert_snapshot!(printed, @"WriteToken { expires: Timestamp(1700000001000), .. }");
    }
}
