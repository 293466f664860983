//! What comes with an envelope that is deposited: nothing, work, or what shows that a contact of its recipient wrote it.

use super::envelope::{MAX_SEALED_LEN, SIZE_CLASSES, SealedEnvelope};
use super::token::{TOKEN_PROOF_LEN, TokenProof};

/// Length of a nonce that is work.
const NONCE_LEN: usize = 8;

/// Longest DEPOSIT in bytes.
pub const MAX_DEPOSIT_LEN: usize = MAX_SEALED_LEN + TOKEN_PROOF_LEN;

/// What comes with an envelope.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Admission {
    /// Nothing: while there is plenty of room a stranger needs no more.
    #[default]
    Nothing,
    /// A nonce; see [`super::Work`].
    Work(u64),
    /// What shows that a contact of the recipient wrote it.
    Token(Box<TokenProof>),
}

impl Admission {
    /// Returns what a DEPOSIT of an envelope consists of.
    #[must_use]
    pub fn deposit(&self, envelope: &[u8]) -> Vec<u8> {
        let mut bytes = envelope.to_vec();
        match self {
            Self::Nothing => {}
            Self::Work(nonce) => bytes.extend(nonce.to_be_bytes()),
            Self::Token(proof) => bytes.extend(proof.to_bytes()),
        }
        bytes
    }

    /// Takes a DEPOSIT apart: the envelope, and what comes with it, both unchecked. The lengths tell them apart.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<(&[u8], Self)> {
        let body_len = bytes.len().checked_sub(SealedEnvelope::LEN_BEFORE_BODY)?;
        let class = SIZE_CLASSES.into_iter().rev().find(|class| *class <= body_len)?;
        let (envelope, rest) = bytes.split_at_checked(SealedEnvelope::LEN_BEFORE_BODY + class)?;
        let admission = match rest.len() {
            0 => Self::Nothing,
            NONCE_LEN => Self::Work(u64::from_be_bytes(rest.try_into().ok()?)),
            TOKEN_PROOF_LEN => Self::Token(Box::new(TokenProof::parse(rest.try_into().ok()?)?)),
            _ => return None,
        };
        Some((envelope, admission))
    }

    /// Cuts off what came with an envelope that is given to its recipient.
    pub(super) fn cut_off(mut bytes: Vec<u8>) -> Vec<u8> {
        let len = Self::split(&bytes).map_or(bytes.len(), |(envelope, _)| envelope.len());
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deposit_comes_apart_as_it_was_put_together_and_another_length_is_none() {
        let proof = TokenProof::parse(&[9; TOKEN_PROOF_LEN]).unwrap();
        let each = [Admission::Nothing, Admission::Work(7), Admission::Token(Box::new(proof))];
        for class in SIZE_CLASSES {
            let envelope = vec![5; SealedEnvelope::LEN_BEFORE_BODY + class];
            for admission in &each {
                let bytes = admission.deposit(&envelope);
                assert!(bytes.len() <= MAX_DEPOSIT_LEN);
                assert_eq!(Admission::split(&bytes), Some((envelope.as_slice(), admission.clone())));
                assert_eq!(Admission::cut_off(bytes), envelope);
            }
            for extra in [1, NONCE_LEN + 1, TOKEN_PROOF_LEN - 1, TOKEN_PROOF_LEN + 1] {
                let bytes = vec![5; envelope.len() + extra];
                assert_eq!(Admission::split(&bytes), None, "{class} and {extra}");
            }
        }
        assert_eq!(Admission::split(&[]), None);
    }
}
