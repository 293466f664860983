//! Mail: sealed envelopes that nodes keep for people who are away. Pure.
//!
//! The mail of a user is kept by the k nodes closest to the key of their user record. A holder reads an envelope's
//! header and nothing else: for whom it is, and until when.

mod admission;
mod announcing;
mod device_mail;
mod envelope;
mod handing;
mod kept;
mod letter;
mod mailbox;
mod offering;
mod rpc;
mod token;
mod work;

pub use admission::{Admission, MAX_DEPOSIT_LEN};
pub use announcing::{MAX_PRESENT, PRESENT_FOR};
pub(crate) use device_mail::{KEPT_COST, PLACE_COST, RELEASED_COST};
pub use device_mail::{
    KEPT_OVERHEAD, MAILBOX_SHARE, MAX_KEPT, MAX_KEPT_LEN, MAX_RELEASED_KEPT, STRANGERS_KEPT, STRANGERS_LEN,
};
pub use envelope::{EnvelopeError, EnvelopeHeader, EnvelopeId, MAX_SEALED_LEN, SIZE_CLASSES, SealedEnvelope};
pub use handing::{MAX_HANDOVERS, RECEIVERS};
pub use kept::{Depositor, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope};
pub use letter::{Introduction, Letter, LetterError};
pub use mailbox::{
    DEFAULT_MAIL_COUNT, DEFAULT_MAIL_QUOTA, HOLDER_SLACK, MAX_MAIL_LIFETIME, MAX_PLACES, MAX_READS,
    MAX_RELEASED_IN_ALL, MAX_UNWRITTEN_LEN, MailAction, MailCallTag, MailEffect, MailReadId, MailStats,
    MailTag, Mailbox, Standing, TOTAL_SHARE,
};
pub use offering::{MAX_SKIPPED, MailAnswer, OFFER_EVERY};
pub use rpc::{
    MAX_LISTED, MAX_OFFERED, MAX_RELEASED, MAX_SMALL_LEN, MailRefusal, MailRequest, MailResponse, Offer,
    Release,
};
pub use token::{TOKEN_LEN, TOKEN_PROOF_LEN, TokenProof, TokenTag, WriteToken};
pub use work::{MAX_WORK_BITS, MAX_WORK_TRIES, MIN_WORK_BITS, Work, WorkId};
