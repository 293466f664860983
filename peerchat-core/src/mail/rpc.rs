//! The RPCs of mail as types: DEPOSIT, COLLECT, FETCH, RELEASE, WAITING, OFFER. Each may be executed twice without harm.

use serde::{Deserialize, Serialize};

use super::envelope::{EnvelopeId, SIZE_CLASSES, SealedEnvelope};
use super::kept::EnvelopeTag;
use crate::identity::SIGNATURE_LEN;
use crate::kademlia::{NodeId, NodeKey, RecordKey};

/// Most ids in one answer to COLLECT; with everything around them they fit a datagram.
pub const MAX_LISTED: usize = u32::BITS as usize;

/// Longest envelope that fits a datagram as the answer to FETCH: one of the second size class.
pub const MAX_SMALL_LEN: usize = SealedEnvelope::LEN_BEFORE_BODY + SIZE_CLASSES[1];

/// Most ids in one RELEASE; with everything around them they fit a datagram.
pub const MAX_RELEASED: usize = 24;

/// Most envelopes that one OFFER names: an answer has a bit for each, and with everything around them they fit a
/// datagram.
pub const MAX_OFFERED: usize = 64;

/// What signatures of releases start with, so that none can pass for a signature of something else.
const RELEASE_CONTEXT: &[u8] = b"peerchat release 1";

/// A request about mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MailRequest {
    /// DEPOSIT: keep this for its recipient. The bytes are a [`super::SealedEnvelope`] and what comes with it, see
    /// [`super::Admission`]; unchecked.
    Deposit {
        /// The envelope, and what comes with it.
        envelope: Vec<u8>,
    },
    /// COLLECT: what waits in `mailbox` for the device at the other end of the link?
    Collect {
        /// The key of the user record that lists the device.
        mailbox: RecordKey,
        /// Where the last answer ended, 0 at first.
        after: u64,
    },
    /// FETCH: give me this envelope, which is for the device at the other end of the link.
    Fetch {
        /// The mailbox.
        mailbox: RecordKey,
        /// The envelope.
        id: EnvelopeId,
    },
    /// RELEASE: these envelopes have arrived; drop them, and do not take them again.
    Release(Release),
    /// WAITING: this many envelopes wait for you; told to a device by a holder.
    Waiting {
        /// The mailbox.
        mailbox: RecordKey,
        /// How many.
        count: u32,
    },
    /// OFFER: I keep this for a device; what of it do you lack? Asked by one holder of another.
    Offer {
        /// The mailbox.
        mailbox: RecordKey,
        /// The node of the device.
        device: NodeId,
        /// What is offered.
        offer: Offer,
    },
}

/// What one holder offers another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Offer {
    /// Everything that it keeps for the device: the BLAKE3 hash of the tags in ascending order.
    All([u8; 32]),
    /// These envelopes, at most [`MAX_OFFERED`].
    These(#[serde(deserialize_with = "crate::codec::bounded_list::<_, _, MAX_OFFERED>")] Vec<EnvelopeTag>),
}

/// That a device has envelopes on its own disk, signed by it: any holder can check it, whoever brings it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Release {
    /// The mailbox.
    pub mailbox: RecordKey,
    /// The device, whose node key signs.
    pub device: NodeKey,
    /// The envelopes, at most [`MAX_RELEASED`].
    #[serde(deserialize_with = "crate::codec::bounded_list::<_, _, MAX_RELEASED>")]
    pub ids: Vec<EnvelopeId>,
    /// The device's signature of [`Self::signed_bytes`]; [`SIGNATURE_LEN`] bytes if it is one.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Release {
    /// Returns the bytes that the device signs.
    #[must_use]
    pub fn signed_bytes(mailbox: &RecordKey, ids: &[EnvelopeId]) -> Vec<u8> {
        let mut bytes = [RELEASE_CONTEXT, mailbox.place().as_bytes()].concat();
        ids.iter().for_each(|id| bytes.extend(id.as_bytes()));
        bytes
    }

    /// Tells whether the signature is the device's.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let signature = <[u8; SIGNATURE_LEN]>::try_from(self.signature.as_slice());
        let key = crate::identity::PublicKey::from_bytes(*self.device.as_bytes());
        let signed = Self::signed_bytes(&self.mailbox, &self.ids);
        key.ok().zip(signature.ok()).is_some_and(|(key, signature)| key.verifies(&signed, &signature))
    }
}

/// The answer to a [`MailRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MailResponse {
    /// To DEPOSIT: the envelope is on the holder's disk.
    Deposited,
    /// To COLLECT: the oldest that wait.
    Listed {
        /// Their names, at most [`MAX_LISTED`], in the order in which they came.
        ids: Vec<EnvelopeId>,
        /// Which of them are longer than [`MAX_SMALL_LEN`]: a bit for each, the lowest for the first. They are fetched by
        /// stream at once, or they would be read for a datagram that has no room for them.
        large: u32,
        /// What to ask for next, `None` if that was all.
        next: Option<u64>,
    },
    /// To FETCH: the envelope, unchecked.
    Fetched(Vec<u8>),
    /// To RELEASE: none of them is kept here any more.
    Released,
    /// To WAITING: understood.
    Noted,
    /// To OFFER: what is not here. A bit for each envelope that was named, the lowest for the first; to
    /// [`Offer::All`] the lowest bit says whether anything differs.
    Wanted {
        /// Those that are not on disk here, and may come.
        missing: u64,
        /// Those that were released.
        released: u64,
    },
    /// To any: nothing was done.
    Refused(MailRefusal),
}

/// Why a node did nothing about mail.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum MailRefusal {
    /// Not an envelope, expired, or one that would live longer than mail may.
    Invalid,
    /// This node keeps no mail: it serves nobody, or knows k nodes that are closer to the mailbox.
    NotHolder,
    /// No user record is kept here under the mailbox's key: store it first.
    UnknownMailbox,
    /// The record does not list the device.
    NotListed,
    /// No room for this mailbox, this depositor, or at all.
    Full,
    /// Such an envelope is not kept here, or was released.
    Gone,
    /// Too many requests wait; try again later.
    Busy,
    /// Strangers have taken much of their room: deposit again with so much work, see [`super::Work`].
    WorkNeeded {
        /// How many bits must be zero.
        bits: u8,
    },
    /// What came with the envelope does not show that a contact of its recipient wrote it, or not any more.
    BadToken,
}
