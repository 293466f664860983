//! [`Event`]: what the application is told, and the ids and states in it.

use std::fmt;
use std::net::SocketAddr;

use crate::error::ErrorCode;
use crate::identity::{UserId, UserName};
use crate::kademlia::NodeId;
use crate::time::Timestamp;

/// Names one command whose outcome the network decides; the event that tells the outcome repeats it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CommandId(pub u64);

/// Names a message within one profile: the first 8 bytes of its device's node id, then its position in history.
///
/// It is never on the wire, where a message is named by (conversation, device, number); so it tells a peer
/// nothing about how much this profile holds, and it needs no index.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// Makes the id of the message at `position` in the history of the profile whose node is `node`.
    #[must_use]
    pub fn new(node: &NodeId, position: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&node.as_bytes()[..8]);
        bytes[8..].copy_from_slice(&position.to_be_bytes());
        Self(bytes)
    }

    /// Takes the bytes of an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the position in history if the id belongs to the profile whose node is `node`.
    #[must_use]
    pub fn position(&self, node: &NodeId) -> Option<u64> {
        let (device, position) = self.0.split_at(8);
        if device != &node.as_bytes()[..8] {
            return None;
        }
        position.try_into().ok().map(u64::from_be_bytes)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How far a sent message has come. States only move forward, and each is true when it is told.
///
/// The numbers are the same in C and on disk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[repr(i32)]
pub enum MessageState {
    /// On this disk; not yet with the recipient. It is retried until it expires.
    Queued = 1,
    /// On this disk, and sealed on the disks of nodes that keep it for the recipient, who is away; they said so. It is
    /// still retried until it expires.
    Stored = 2,
    /// On the disk of a device of the recipient, which said so.
    Delivered = 3,
    /// As [`Self::Delivered`], and the recipient's application has shown it, and said so. Never told by a recipient who
    /// sends no read receipts, or to whom this user is no contact.
    Read = 4,
    /// Given up: it was not delivered within its lifetime.
    Expired = 5,
    /// Given up for a reason that retrying does not change.
    Failed = 6,
    /// Given up because the application said so, or because it blocked the recipient. A copy that was under way, or kept
    /// by others for the recipient, cannot be called back and may still arrive.
    Canceled = 7,
}

/// A message that arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReceivedMessage {
    /// Names the message in this profile.
    pub id: MessageId,
    /// Who wrote it: `alice` if that name was found to be this person's in the directory when they first
    /// wrote, else `alice#7kq2m4xd`.
    pub from: String,
    /// The person behind the name.
    pub user: UserId,
    /// What they wrote.
    pub text: String,
    /// Whether the person is neither a contact nor blocked: the application has to accept them or not.
    pub is_request: bool,
    /// Counts the messages of this sender to us, from 1, without gaps but for those the sender gave up.
    pub number: u64,
    /// When it was written, by the sender's clock.
    pub sent: Timestamp,
    /// When it was saved here.
    pub received: Timestamp,
}

/// Something the application is told.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A bootstrap call reached its node, and the own place in the network was looked up.
    Bootstrapped {
        /// The call.
        command: CommandId,
        /// The node that answered.
        node: NodeId,
        /// Its address.
        address: SocketAddr,
    },
    /// A bootstrap call reached nobody.
    BootstrapFailed {
        /// The call.
        command: CommandId,
        /// The address as it was given.
        address: String,
        /// What went wrong.
        code: ErrorCode,
        /// The same in words, with what to do about it.
        detail: String,
    },
    /// Other nodes answer: by a bootstrap call, by a saved contact, or because somebody joined through this node.
    Online {
        /// How many contacts the routing table has.
        contact_count: usize,
    },
    /// No known node answers any more; saved contacts are tried again with growing pauses.
    Offline,
    /// The user's name is held by a majority of the nodes responsible for it.
    Registered {
        /// The name.
        name: UserName,
        /// The user.
        user: UserId,
    },
    /// The user's name could not be registered. Messages to and from this user still work by fingerprint.
    RegistrationFailed {
        /// The name.
        name: UserName,
        /// Who holds it.
        holder: UserId,
        /// [`ErrorCode::NameTaken`] or [`ErrorCode::NameContested`].
        code: ErrorCode,
        /// The same in words, with what to do about it.
        detail: String,
    },
    /// A message arrived and is on disk.
    Message(ReceivedMessage),
    /// A sent message came further, or was given up.
    MessageState {
        /// The message.
        id: MessageId,
        /// Whom it is for, as it was addressed.
        to: String,
        /// How far it came.
        state: MessageState,
        /// How many nodes have said that they keep it for the recipient; 0 unless it is [`MessageState::Stored`].
        held_by: u32,
        /// Why it was given up; `None` too if the application said so.
        code: Option<ErrorCode>,
        /// The same in words; empty unless it was given up.
        detail: String,
    },
    /// The client stopped by itself: nothing follows. Open the profile again to go on.
    Closed {
        /// What went wrong.
        code: ErrorCode,
        /// The same in words.
        detail: String,
    },
    /// A name by which somebody is known here belongs to another key now. Messages to that name still go to the person
    /// who was met, and nothing goes to the other until `Client::accept_identity` says so. Told again whenever the
    /// profile is opened, until then or until the name is the person's again.
    IdentityChanged {
        /// The name.
        name: UserName,
        /// The person who was met under it.
        old: UserId,
        /// The person who holds it now.
        new: UserId,
    },
    /// The network does not agree on who holds a name that something was sent to. What was sent fails with
    /// [`ErrorCode::NameContested`]; write to `name#fingerprint` instead.
    NameContested {
        /// The name.
        name: UserName,
        /// Everyone who was named, most often named first.
        holders: Vec<UserId>,
    },
    /// A contact is typing, or has stopped. It is told once for each change, and ends by itself: when a text of theirs
    /// arrives, just before [`Self::Message`], or when nothing was heard of it for
    /// [`TYPING_LIFETIME`](crate::TYPING_LIFETIME). Only the latest word on each person waits to be told, and nobody keeps it.
    Typing {
        /// Who: `alice` or `alice#7kq2m4xd`.
        from: String,
        /// The person behind the name.
        user: UserId,
        /// Whether they are typing now.
        is_typing: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_leads_back_to_its_position_in_its_own_profile_only() {
        let [mine, other] = [[1; 32], [2; 32]].map(NodeId::from_bytes);
        let id = MessageId::new(&mine, 77);
        assert_eq!(id.position(&mine), Some(77));
        assert_eq!(id.position(&other), None);
        assert_eq!(id.to_string(), "0101010101010101000000000000004d");
    }
}
