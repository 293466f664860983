//! [`Owed`]: a message of our own that is neither delivered nor given up, and the form in which it is sent.

use std::time::{Duration, Instant};

use super::chat::ContentKind;
use super::machine::SealId;
use crate::crypto::{Envelope, SealKey};
use crate::event::MessageState;
use crate::kademlia::NodeId;
use crate::save::{ConversationId, SavedMessage, StreamId};
use crate::time::{Now, Timestamp};

/// After this time what is owed to someone who is still away is deposited again: those who kept it may be gone.
pub const REDEPOSIT_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The same for what was deposited before the profile was opened, nobody knows for which key and how long ago.
pub const RESTORED_INTERVAL: Duration = Duration::from_secs(3600);

/// The bit of a tag that says that nothing takes the place of the message. Whoever was given nothing has never had the message,
/// which an old copy of the profile may still owe.
pub(crate) const NOTHING_BIT: u64 = 1;

/// Longest time until a message expires: a hundred years.
const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A message of our own that is neither delivered nor given up.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) position: u64,
    /// `None` until the recipient is known.
    pub(crate) number: Option<u64>,
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) sent: Timestamp,
    pub(crate) expires: Timestamp,
    /// `expires` on the monotonic clock, so that a jump of the wall clock gives nothing up.
    pub(crate) expires_at: Instant,
    /// The form in which it is sent, every time.
    pub(crate) sealed: Option<Sealed>,
    /// Whether the recipient has answered that it has the message, or that it waits for an earlier one.
    pub(crate) is_taken: bool,
    /// How far it has come with the nodes that keep mail for its recipient.
    pub(crate) deposit: Deposit,
    /// Whether it was given up and only its number is still owed.
    pub(crate) is_void: bool,
}

/// How far a message has come by mail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deposit {
    /// For which device and key it was deposited last, and when; `None` if it was not since the profile was opened.
    pub(crate) done: Option<(NodeId, SealKey, Instant)>,
    /// When the profile was opened in which it was kept by others already.
    pub(crate) restored_at: Option<Instant>,
    /// How many nodes have said that they keep it.
    pub(crate) held_by: u32,
    /// Somebody was asked to keep it since the profile was opened.
    pub(crate) is_tried: bool,
    /// How often it was found to have been released: the next deposit is another envelope, or nobody would take it.
    pub(crate) attempt: u32,
}

/// A message as one device can open it: alone in its envelope, or with those that have the next numbers.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) device: NodeId,
    /// Number of the first message of the envelope, and how many are in it. All of them are owed and sealed so, or none is.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Where the first message is.
    pub(crate) envelope: Option<Envelope>,
    /// With what it goes to the disk. Nothing is sent before: after a crash its number and its key could go to
    /// another message.
    pub(crate) seal: SealId,
}

impl Owed {
    /// Returns what tells the message from every other of this device, in whatever form it is sent, and from nothing in its
    /// place. Who does not have the key learns nothing of the body from it.
    pub(crate) fn tag(&self, key: &[u8; 32]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&self.position.to_be_bytes()).update(&self.sent.unix_ms().to_be_bytes());
        hasher.update(&self.kind.to_be_bytes()).update(&self.body);
        let mut tag = [0; 8];
        hasher.finalize_xof().fill(&mut tag);
        u64::from_be_bytes(tag) & !NOTHING_BIT | if self.is_void { NOTHING_BIT } else { 0 }
    }

    /// Tells whether it is finished as soon as somebody keeps it: nobody waits for more.
    pub(crate) fn is_notice(&self) -> bool {
        self.is_void || self.is_receipt()
    }

    /// Returns what is sealed: the message, or nothing in its place.
    pub(crate) fn content(&self) -> (u16, Vec<u8>) {
        if self.is_void { (ContentKind::NOTHING.0, Vec::new()) } else { (self.kind, self.body.clone()) }
    }

    /// Tells whether this is a receipt, and not what a person wrote.
    pub(crate) fn is_receipt(&self) -> bool {
        self.kind == ContentKind::RECEIPT.0
    }

    /// Tells whether it is to be deposited for a device: because it never was, long ago, or for another device or key.
    pub(crate) fn needs_deposit(&self, to: (NodeId, SealKey), now: Instant) -> bool {
        let is_within = |at: Instant, time| now.saturating_duration_since(at) < time;
        match (self.deposit.done, self.deposit.restored_at) {
            (Some((device, key, at)), _) => (device, key) != to || !is_within(at, REDEPOSIT_INTERVAL),
            (None, Some(at)) => !is_within(at, RESTORED_INTERVAL),
            (None, None) => true,
        }
    }

    pub(super) fn is_sealed_for(&self, device: NodeId) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| sealed.device == device)
    }

    /// Takes a saved message up again.
    pub(crate) fn restore(saved: SavedMessage, sealed: Option<Sealed>, now: Now) -> Self {
        let is_void = !matches!(saved.state, Some(MessageState::Queued | MessageState::Stored));
        let mut owed = Self {
            position: saved.position,
            number: saved.number,
            kind: saved.kind,
            body: saved.body,
            sent: saved.sent,
            expires: saved.expires,
            expires_at: in_time(now.instant, saved.expires.saturating_since(now.wall)),
            sealed,
            is_taken: false,
            deposit: Deposit {
                held_by: saved.held_by,
                restored_at: (saved.held_by > 0).then_some(now.instant),
                ..Deposit::default()
            },
            is_void: false,
        };
        if is_void {
            owed.empty(now);
        }
        owed
    }

    /// Returns what is to be saved of the message.
    pub(crate) fn to_saved(&self, conversation: ConversationId) -> SavedMessage {
        SavedMessage {
            position: self.position,
            conversation,
            stream: StreamId::OWN,
            number: self.number,
            kind: self.kind,
            body: self.body.clone(),
            sent: self.sent,
            received: self.sent,
            state: Some(MessageState::Queued),
            held_by: 0,
            expires: self.expires,
        }
    }
}

/// Returns the moment `lifetime` from `now`, or one so far away that it never comes: a lifetime may be of any length,
/// and the clock that it is measured by may have been set back.
pub(crate) fn in_time(now: Instant, lifetime: Duration) -> Instant {
    now + lifetime.min(LONGEST_LIFETIME)
}
