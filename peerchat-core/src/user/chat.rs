//! The RPCs between people's nodes, INTRODUCE, DELIVER and HINT, as types. Each may be executed twice without harm.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::crypto::Envelope;
use crate::identity::UserId;
use crate::kademlia::NodeId;
use crate::time::Timestamp;

/// What the body of a message is. A kind that is not known here is kept and acknowledged, never lost.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ContentKind(pub u16);

impl ContentKind {
    /// UTF-8 text.
    pub const TEXT: Self = Self(1);

    /// A [`Receipt`]. It has a number like any other and no place in history, and none is sent for it.
    pub const RECEIPT: Self = Self(2);

    /// Nothing: it takes the number of a message that was given up, whose tag it has, and has no body. No receipt is sent
    /// for it.
    pub const NOTHING: Self = Self(3);

    /// Whether the writer is typing, in a [`Hint`]: one byte, 1 or 0. In an envelope it is like a kind that is not known here.
    pub const TYPING: Self = Self(4);

    /// Several messages with consecutive numbers; see [`super::MAX_BATCH`].
    pub const BATCH: Self = Self(16);

    /// Tells whether something of this kind is about other messages: it has no place in history.
    #[must_use]
    pub const fn is_notice(self) -> bool {
        matches!(self, Self::RECEIPT | Self::NOTHING)
    }
}

/// Most numbers that a receipt names as given up.
pub const MAX_MISSING: usize = 64;

/// What a device says of the mail it got from another one. A later receipt makes an earlier one superfluous.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Receipt {
    /// The node of the device whose messages this is about: the one that it is sent to.
    pub device: NodeId,
    /// What became of them.
    pub verdict: ReceiptVerdict,
    /// The number that is waited for: every lower one has arrived or was given up.
    pub next: u64,
    /// The tag of the message before that one, so that a sender whose profile is an old copy takes nothing for
    /// delivered that another copy has sent; `None` if it is not known any more.
    pub last_tag: Option<u64>,
    /// How far before `next` the latest numbers are under which nothing has arrived, for the sender gave it up then; nearest
    /// first. A sender whose profile is an old copy takes it for delivered no more than the other one did.
    #[serde(deserialize_with = "codec::bounded_list::<_, _, MAX_MISSING>")]
    pub missing: Vec<u64>,
    /// Everything up to this number was read by a person; 0 if nothing was, or if they do not say. Below `next`.
    pub read: u64,
    /// A [`crate::mail::WriteToken`] for the device that sends this; empty if there is none to give.
    #[serde(with = "serde_bytes")]
    pub token: Vec<u8>,
}

impl Receipt {
    /// Tells whether nothing has arrived under a number below `next`.
    #[must_use]
    pub fn lacks(&self, number: u64) -> bool {
        self.next.checked_sub(number).is_some_and(|behind| self.missing.contains(&behind))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("device", &self.device)
            .field("verdict", &self.verdict)
            .field("next", &self.next)
            .field("last_tag", &self.last_tag)
            .field("missing", &self.missing)
            .field("read", &self.read)
            .field("has_token", &!self.token.is_empty())
            .finish()
    }
}

/// What became of mail.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ReceiptVerdict {
    /// It is on the disk of this device.
    Delivered,
    /// Another message has had its number: what is owed needs numbers from `next` on.
    OutOfStep,
    /// It does not open: what is owed needs a new session.
    Unopened,
}

/// What an envelope opens to: what a person wrote, with what belongs to it wherever it goes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Content {
    /// The conversation: for two people the hash of both their ids.
    pub conversation: [u8; 32],
    /// Its number among what the sending device wrote in this conversation, from 1; of a batch, that of its first message.
    pub number: u64,
    /// What the body is; see [`ContentKind`].
    pub kind: u16,
    /// When it was written, by the writer's clock.
    pub sent: Timestamp,
    /// The body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A message, or a batch of them, on its way to a device of its recipient.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Delivery {
    /// Who wrote it. The link must belong to a device that this user has introduced.
    pub from: UserId,
    /// Whom it is for.
    pub to: UserId,
    /// The number inside the envelope, that of its first message: envelopes are opened in this order.
    pub number: u64,
    /// How many messages are in the envelope: one, or a batch of at most [`super::MAX_BATCH`] with consecutive numbers.
    pub count: u64,
    /// The lowest number that the sender still owes: every lower one was delivered or given up.
    pub oldest: u64,
    /// Tells the first message from every other of its device, whatever number it has and however often it was sealed.
    pub tag: u64,
    /// What was written, sealed for the device at the other end of the link: a [`Content`].
    pub envelope: Envelope,
}

/// Something about a conversation that is only worth knowing now. It goes over a link that is there, once; it has no
/// number, is not sealed, and nobody keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Hint {
    /// Whose it is. The link must belong to a device that this user has introduced, or has said to be theirs.
    pub from: UserId,
    /// The conversation: for two people the hash of both their ids.
    pub conversation: [u8; 32],
    /// What the body is; see [`ContentKind`].
    pub kind: u16,
    /// The body, at most [`MAX_HINT_LEN`] bytes.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// Longest body of a [`Hint`], in bytes.
pub const MAX_HINT_LEN: usize = 64;

impl Hint {
    /// Says whether somebody is typing.
    #[must_use]
    pub fn of_typing(from: UserId, conversation: [u8; 32], is_typing: bool) -> Self {
        Self { from, conversation, kind: ContentKind::TYPING.0, body: vec![is_typing.into()] }
    }

    /// Returns whether somebody is typing; `None` if this says something else.
    #[must_use]
    pub fn typing(&self) -> Option<bool> {
        match (ContentKind(self.kind), &self.body[..]) {
            (ContentKind::TYPING, [0]) => Some(false),
            (ContentKind::TYPING, [1]) => Some(true),
            _ => None,
        }
    }
}

/// A request between people's nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChatRequest {
    /// INTRODUCE: who the user of this node is, as self-certifying records.
    Introduce {
        /// The user's claim on their name, unchecked.
        claim: Vec<u8>,
        /// The user's record, which lists the sending node, unchecked.
        user: Vec<u8>,
    },
    /// DELIVER: one envelope.
    Deliver(Delivery),
    /// HINT: something that is only worth knowing now.
    Hint(Hint),
}

/// The answer to a [`ChatRequest`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChatResponse {
    /// To INTRODUCE: the sender may deliver now.
    Introduced,
    /// To DELIVER: every message below `next` is on the recipient's disk or was given up by the sender.
    Delivered {
        /// The number that the recipient waits for.
        next: u64,
    },
    /// To DELIVER: another message of the sender has had this number, so its state is an old one. Nothing was taken;
    /// what it owes needs numbers from `next` on.
    OutOfStep {
        /// The number that the recipient waits for.
        next: u64,
    },
    /// To HINT, whatever became of it: that a hint was of no use is nobody's business.
    Heard,
    /// To any of them: nothing was taken.
    NotDelivered(DeliverRefusal),
}

/// Why a node took nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum DeliverRefusal {
    /// The recipient is not the user of this node.
    NotHere,
    /// This node is not known as a device of the sender: introduce yourself.
    UnknownSender,
    /// The introduction does not hold: a wrong signature, or records that do not fit one another or the node.
    BadIntroduction,
    /// No room now; try again later.
    Busy,
    /// The envelope does not open: it needs a new session.
    Unopened,
    /// The recipient takes nothing from this person: do not try again.
    Blocked,
}
