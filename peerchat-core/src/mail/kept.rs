//! What a holder remembers of the envelopes that it keeps or has given away.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::envelope::{EnvelopeId, SealedEnvelope};
use super::token::TokenTag;
use crate::kademlia::{NodeId, RecordKey, Subnet};
use crate::time::Timestamp;

/// Where an envelope lies: the mail of one device of one user.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MailPlace {
    /// The key of the user's record.
    pub mailbox: RecordKey,
    /// The node of the device.
    pub device: NodeId,
}

/// From which part of the internet a deposit came: an IPv4 /24, an IPv6 /56, or a loopback or private address, which many
/// share and no quota counts.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Depositor(u64);

impl Depositor {
    /// Loopback and private addresses.
    pub const LOCAL: Self = Self(0);

    /// Returns the part of the internet in which an address lies.
    #[must_use]
    pub(crate) fn of(address: &SocketAddr) -> Self {
        Subnet::of(address).map_or(Self::LOCAL, |subnet| Self(subnet.number()))
    }

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

/// An envelope that is kept for somebody, without its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptEnvelope {
    /// Its place in the order of arrival at this holder, counted from 1 over all mailboxes and never used twice while it
    /// is kept.
    pub position: u64,
    /// Whose it is.
    pub place: MailPlace,
    /// Its name.
    pub id: EnvelopeId,
    /// When it is dropped.
    pub expires: Timestamp,
    /// Its length in bytes, header and what came with it included.
    pub len: u32,
    /// Where it came from.
    pub depositor: Depositor,
    /// Under which token of the recipient's it was written, if any.
    pub token: TokenTag,
}

impl KeptEnvelope {
    pub(super) fn new(
        envelope: &SealedEnvelope,
        position: u64,
        len: usize,
        depositor: Depositor,
        token: TokenTag,
    ) -> Self {
        let header = envelope.header();
        Self {
            position,
            place: MailPlace { mailbox: header.mailbox, device: header.device },
            id: envelope.id(),
            expires: header.expires,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            depositor,
            token,
        }
    }
}

/// The first half of an [`EnvelopeId`]: enough to tell envelopes apart, in half the memory.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct EnvelopeTag([u8; 16]);

impl EnvelopeTag {
    /// Takes the bytes of a tag.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the tag of an envelope.
    #[must_use]
    pub fn of(id: &EnvelopeId) -> Self {
        let mut tag = [0; 16];
        tag.iter_mut().zip(id.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(tag)
    }

    /// Returns the bytes of the tag.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// That an envelope was released: until it expires it is not taken again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReleasedEnvelope {
    /// Whose it was.
    pub place: MailPlace,
    /// Its tag.
    pub tag: EnvelopeTag,
    /// When this is forgotten.
    pub expires: Timestamp,
}
