//! Mail: sealed envelopes that nodes keep for people who are away. Pure.
//!
//! The mail of a user is kept by the k nodes closest to the key of their user record. A holder reads an envelope's
//! header and nothing else: for whom it is, and until when.

mod envelope;
mod letter;
mod rpc;

pub use envelope::{EnvelopeError, EnvelopeHeader, EnvelopeId, MAX_SEALED_LEN, SIZE_CLASSES, SealedEnvelope};
pub use letter::{Introduction, Letter, LetterError};
pub use rpc::{MAX_LISTED, MAX_RELEASED, MailRefusal, MailRequest, MailResponse, Release};
