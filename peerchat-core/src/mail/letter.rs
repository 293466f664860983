//! [`Letter`]: what a sealed envelope opens to, and how it becomes one.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::envelope::{EnvelopeHeader, SIZE_CLASSES, SealedEnvelope};
use crate::codec;
use crate::crypto::{Envelope, SEAL_OVERHEAD, SealError, SealKey, seal};
use crate::identity::{SIGNATURE_LEN, SecretKey, UserId};
use crate::kademlia::NodeKey;

/// What signatures of letters start with, so that none can pass for a signature of something else.
const CONTEXT: &[u8] = b"peerchat letter 1";

/// A message, or a batch of them, on its way to a device by mail: what DELIVER says of it, and who wrote it, for no link proves that here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Letter {
    /// Who wrote it.
    pub from: UserId,
    /// The node of the writing device, which signs.
    pub device: NodeKey,
    /// The number inside the envelope, that of its first message.
    pub number: u64,
    /// How many messages are in the envelope.
    pub count: u64,
    /// The lowest number that the sender owed when it sealed this.
    pub oldest: u64,
    /// See [`crate::user::Delivery::tag`].
    pub tag: u64,
    /// What was written, sealed in a session of the two devices.
    pub envelope: Envelope,
    /// Who the writer is, while the recipient may not know it.
    pub introduction: Option<Introduction>,
}

/// Who a writer is: what INTRODUCE says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Introduction {
    /// Their claim on their name, unchecked.
    #[serde(with = "serde_bytes")]
    pub claim: Vec<u8>,
    /// Their user record, unchecked.
    #[serde(with = "serde_bytes")]
    pub user: Vec<u8>,
}

/// Why an envelope holds no letter for this device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
    /// It does not open.
    #[error("an envelope that does not open")]
    Closed,
    /// What is in it is no letter.
    #[error("an envelope with something else than a letter in it")]
    Malformed,
    /// The signature is not that of the device that it names.
    #[error("a letter that its device has not signed")]
    Forged,
}

impl Letter {
    /// Signs the letter and seals it for the device with the key `to`, in the smallest size class that it fits. The
    /// same arguments give the same envelope. `secret` is the writer's own; `attempt` makes another envelope of the
    /// same letter.
    ///
    /// # Errors
    ///
    /// It fits no size class, or the key is not usable.
    pub fn seal(
        &self,
        header: &EnvelopeHeader,
        to: &SealKey,
        by: &SecretKey,
        (secret, attempt): (&[u8; 32], u32),
    ) -> Result<SealedEnvelope, SealError> {
        let bound = SealedEnvelope::header_bytes(header);
        let letter = Zeroizing::new(codec::encode(self));
        let signature = by.sign(&signed_bytes(&bound, &letter));
        let message = Zeroizing::new([signature.as_slice(), &letter].concat());
        let fits = |class: &&usize| message.len() + SEAL_OVERHEAD <= **class;
        let class = SIZE_CLASSES.iter().find(fits).ok_or(SealError::TooLong)?;
        let mut hasher = blake3::Hasher::new_keyed(secret);
        hasher.update(&bound).update(&to.0).update(&attempt.to_be_bytes()).update(&message);
        let seed = Zeroizing::new(*hasher.finalize().as_bytes());
        let body = seal(to, &bound, &message, *class, &seed)?;
        SealedEnvelope::new(header, &body).map_err(|_| SealError::TooLong)
    }

    /// Opens an envelope with `unseal`, which is given what the body is bound to and the body, and checks that the
    /// device that the letter names has signed it. Whose device that is, it does not prove.
    ///
    /// # Errors
    ///
    /// It does not open, or is not what it should be.
    pub fn open(
        envelope: &SealedEnvelope,
        unseal: impl FnOnce(&[u8], &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>,
    ) -> Result<Self, LetterError> {
        let bound = SealedEnvelope::header_bytes(envelope.header());
        let message = unseal(&bound, envelope.body()).map_err(|_| LetterError::Closed)?;
        let (signature, bytes) =
            message.split_first_chunk::<SIGNATURE_LEN>().ok_or(LetterError::Malformed)?;
        let letter: Self = codec::decode(bytes).map_err(|_| LetterError::Malformed)?;
        let key = letter.device.check().map_err(|_| LetterError::Forged)?;
        if key.verifies(&signed_bytes(&bound, bytes), signature) {
            Ok(letter)
        } else {
            Err(LetterError::Forged)
        }
    }
}

fn signed_bytes(bound: &[u8], letter: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([CONTEXT, bound, letter].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{EnvelopeKind, MAX_ENVELOPE_LEN, SealKeys};
    use crate::kademlia::{MAX_RECORD_LEN, NodeId, RecordKey};
    use crate::time::Timestamp;

    const HEADER: EnvelopeHeader = EnvelopeHeader {
        mailbox: RecordKey::from_bytes([0xaa; 32]),
        device: NodeId::from_bytes([0xbb; 32]),
        expires: Timestamp::from_unix_ms(1_700_000_000_000),
    };

    fn bob() -> SealKeys {
        let mut keys = SealKeys::default();
        keys.rotate(&[1; 32], Timestamp::from_unix_ms(1));
        keys
    }

    fn alice() -> SecretKey {
        SecretKey::from_bytes(&[2; 32])
    }

    fn letter(len: usize) -> Letter {
        let envelope = Envelope { kind: EnvelopeKind::Later, bytes: vec![7; len] };
        let (from, device) = (UserId::from_bytes([3; 32]), NodeKey::from(alice().public()));
        Letter { from, device, number: 5, count: 1, oldest: 3, tag: 9, envelope, introduction: None }
    }

    fn sealed(letter: &Letter) -> SealedEnvelope {
        letter.seal(&HEADER, &bob().current().unwrap(), &alice(), (&[4; 32], 0)).unwrap()
    }

    fn open(envelope: &SealedEnvelope) -> Result<Letter, LetterError> {
        Letter::open(envelope, |bound, body| bob().open(bound, body))
    }

    #[test]
    fn a_letter_arrives_as_it_was_written() {
        let letter = letter(100);
        assert_eq!(open(&sealed(&letter)), Ok(letter.clone()));
        assert_eq!(sealed(&letter), sealed(&letter), "made again it is the same envelope");
    }

    #[test]
    fn a_short_text_and_its_ratchet_are_of_the_smallest_class_and_hide_their_length() {
        let lens = [0, 150, 300].map(|len| sealed(&letter(len)).body().len());
        assert_eq!(lens, [SIZE_CLASSES[0]; 3]);
    }

    #[test]
    fn the_longest_envelope_fits() {
        assert!(open(&sealed(&letter(MAX_ENVELOPE_LEN))).is_ok());
        let with = |len| {
            let introduction = Introduction { claim: vec![8; 300], user: vec![8; len] };
            Letter { introduction: Some(introduction), ..letter(MAX_ENVELOPE_LEN) }
        };
        assert!(open(&sealed(&with(600))).is_ok(), "with who wrote it from one device");
        let too_long = with(MAX_RECORD_LEN).seal(&HEADER, &bob().current().unwrap(), &alice(), (&[4; 32], 0));
        assert_eq!(too_long, Err(SealError::TooLong));
    }

    #[test]
    fn another_attempt_is_another_envelope_with_the_same_letter() {
        let to = bob().current().unwrap();
        let [one, two] =
            [0, 1].map(|attempt| letter(9).seal(&HEADER, &to, &alice(), (&[4; 32], attempt)).unwrap());
        assert_ne!(one.id(), two.id());
        assert_eq!(open(&one), open(&two));
    }

    #[test]
    fn what_a_letter_is_bound_to_cannot_be_changed() {
        let envelope = sealed(&letter(9));
        let other = EnvelopeHeader { device: NodeId::from_bytes([0xcc; 32]), ..HEADER };
        let moved = SealedEnvelope::new(&other, envelope.body()).unwrap();
        assert_eq!(open(&moved), Err(LetterError::Closed));
    }

    #[test]
    fn nobody_signs_for_another_device() {
        let mallory = SecretKey::from_bytes(&[9; 32]);
        let forged = letter(9).seal(&HEADER, &bob().current().unwrap(), &mallory, (&[4; 32], 0)).unwrap();
        assert_eq!(open(&forged), Err(LetterError::Forged));
    }
}
