//! What the engine asks to be saved, and what it is given back when a profile is opened.
//!
//! A [`WriteBatch`] is atomic: all of it is on disk or nothing is.

use crate::crypto::{Envelope, IdentityKey, Prekey, Prekeys, SealKeys, Secret, SessionId};
use crate::event::MessageState;
use crate::identity::{SecretKey, UserId};
use crate::kademlia::{Contact, NodeId, RecordKey};
use crate::mail::{EnvelopeId, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope};
use crate::time::Timestamp;

/// Names a batch; batches are written in the order of their ids.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct BatchId(pub u64);

/// Writes that belong together.
#[derive(Clone, Debug)]
pub struct WriteBatch {
    /// Repeated when the batch is on disk.
    pub id: BatchId,
    /// In the order in which they take effect.
    pub writes: Vec<Write>,
}

/// Names a conversation within one profile.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConversationId(pub u32);

/// Names the messages of one device in one conversation, within one profile.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The stream of what this profile itself writes, in every conversation.
    pub const OWN: Self = Self(0);
}

/// One thing to save.
#[derive(Clone, Debug)]
pub enum Write {
    /// Inserts or replaces a record kept for the DHT.
    Record {
        /// Its key.
        key: RecordKey,
        /// The signed bytes.
        bytes: Vec<u8>,
    },
    /// Drops a record kept for the DHT.
    RecordGone {
        /// Its key.
        key: RecordKey,
    },
    /// Replaces the saved routing table, best contacts first.
    Routing {
        /// The whole table.
        contacts: Vec<Contact>,
    },
    /// Inserts or replaces one of the user's own records, so that its sequence and issue time are never lost.
    OwnRecord {
        /// The signed bytes.
        bytes: Vec<u8>,
    },
    /// Inserts or replaces a conversation.
    Conversation(SavedConversation),
    /// Moves every message of a conversation whose person was not known into the one with that person, and drops it.
    Merged {
        /// The conversation that goes. None of its messages has a number, and nothing was received in it.
        from: ConversationId,
        /// The conversation that stays.
        into: ConversationId,
    },
    /// Inserts or replaces a stream.
    Stream(SavedStream),
    /// Inserts a message.
    Message(SavedMessage),
    /// Changes the state of a message of our own, which is then no longer owed: its envelope goes.
    MessageState {
        /// Its position in history.
        position: u64,
        /// The new state.
        state: MessageState,
    },
    /// A message of our own, which is still owed, is kept by so many nodes for its recipient.
    MessageStored {
        /// Its position in history.
        position: u64,
        /// How many nodes have said that they keep it.
        held_by: u32,
    },
    /// Changes the state of a message of our own that was given up, while its number is still owed: something with
    /// nothing in it takes its place, so that what comes after it is not waited for in vain. Its envelope goes.
    MessageVoid {
        /// Its position in history.
        position: u64,
        /// The new state.
        state: MessageState,
    },
    /// The number of a message that was given up is no longer owed.
    VoidGone {
        /// Its position in history.
        position: u64,
    },
    /// Drops a message of our own that has no place in history any more: a receipt that was sent.
    MessageGone {
        /// Its position.
        position: u64,
    },
    /// Gives a message of our own its number, once its recipient is known.
    MessageNumber {
        /// Its position in history.
        position: u64,
        /// The conversation it turned out to belong to.
        conversation: ConversationId,
        /// Its number in the own stream of that conversation.
        number: u64,
    },
    /// Inserts or replaces the sealed form of a message of our own.
    Envelope(SavedEnvelope),
    /// Inserts or replaces the keys of this device.
    Device(SavedDevice),
    /// Inserts or replaces a session.
    Session(SavedSession),
    /// Drops a session.
    SessionGone {
        /// Its name.
        id: SessionId,
    },
    /// Inserts mail that has arrived and waits to be opened.
    Incoming(SavedIncoming),
    /// Inserts or replaces the tokens of a conversation.
    Token(SavedToken),
    /// Drops mail that was opened, or never will be.
    IncomingGone {
        /// Its name.
        id: EnvelopeId,
    },
    /// The application has confirmed every received message up to this position in history.
    Confirmed {
        /// The position.
        position: u64,
    },
    /// Keeps an envelope for somebody who is away.
    MailKept {
        /// What is remembered of it.
        envelope: KeptEnvelope,
        /// The whole of it.
        bytes: Box<[u8]>,
    },
    /// Drops an envelope that was kept.
    MailGone {
        /// Its position.
        position: u64,
    },
    /// Remembers that an envelope was released.
    MailReleased(ReleasedEnvelope),
    /// Forgets that an envelope was released.
    MailReleaseGone {
        /// Whose it was.
        place: MailPlace,
        /// Its tag.
        tag: EnvelopeTag,
    },
}

impl Write {
    /// Returns about how many bytes of memory it takes; those of an envelope that is kept for somebody are counted elsewhere.
    pub(crate) fn len(&self) -> usize {
        let bytes = match self {
            Self::Record { bytes, .. } | Self::OwnRecord { bytes } => bytes.len(),
            Self::Routing { contacts } => size_of_val(&contacts[..]),
            Self::Conversation(saved) => saved.peer.len(),
            Self::Stream(saved) => size_of_val(&saved.tags[..]),
            Self::Message(saved) => saved.body.len(),
            Self::Envelope(saved) => saved.envelope.bytes.len(),
            Self::Session(saved) => saved.state.as_ref().map_or(0, |state| state.reveal().len()),
            Self::Device(saved) => saved.state.reveal().len(),
            Self::Incoming(saved) => saved.bytes.len(),
            _ => 0,
        };
        // Writes wait in a list that doubles as it grows.
        2 * size_of::<Self>() + bytes
    }
}

/// Names something that is being read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ReadId(pub u64);

/// Something to read from what was saved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Read {
    /// The bytes of an envelope that is kept for somebody.
    Mail {
        /// Its position.
        position: u64,
    },
    /// The messages of our own in state [`MessageState::Delivered`] in a conversation, at most [`MAX_READ_AT_ONCE`], the
    /// lowest numbers first.
    Delivered {
        /// The conversation.
        conversation: ConversationId,
        /// Only numbers above this one.
        after: u64,
        /// Only numbers up to this one.
        up_to: u64,
    },
}

/// Most messages that one [`Read::Delivered`] yields.
pub const MAX_READ_AT_ONCE: usize = 1024;

/// What a [`Read`] yields.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// To [`Read::Mail`]: the envelope, `None` if it is not there or cannot be read.
    Mail(Option<Vec<u8>>),
    /// To [`Read::Delivered`]: number and position of each, by number; `None` if they cannot be read.
    Delivered(Option<Vec<(u64, u64)>>),
}

/// A message of our own as it is sent, every time it is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedEnvelope {
    /// The position in history of the message, of a batch that of its first.
    pub position: u64,
    /// The device that can open it.
    pub device: NodeId,
    /// How many messages are in it, with consecutive numbers.
    pub count: u64,
    /// The sealed bytes.
    pub envelope: Envelope,
}

/// Mail that has arrived and waits for an earlier message, as it was sealed for this device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedIncoming {
    /// Its name.
    pub id: EnvelopeId,
    /// The whole [`crate::mail::SealedEnvelope`].
    pub bytes: Vec<u8>,
}

/// The write tokens of a conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedToken {
    /// The conversation.
    pub conversation: ConversationId,
    /// When its person was last given one.
    pub given: Option<Timestamp>,
    /// The one that they have given us; see [`crate::mail::WriteToken::to_bytes`].
    pub held: Option<Secret>,
}

/// The keys by which this device takes part in sessions and opens its mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedDevice {
    /// The secret keys; see [`crate::crypto::DeviceCipher::state`].
    pub state: Secret,
    /// The prekeys among them, with their ages.
    pub prekeys: Prekeys,
    /// The keys that mail for the device is sealed to.
    pub seals: SealKeys,
}

/// A session with a device of another person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedSession {
    /// Names it.
    pub id: SessionId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The node of the other device.
    pub device: NodeId,
    /// Which of our prekeys it was started from; `None` if we started it.
    pub prekey: Option<Prekey>,
    /// See [`crate::crypto::SessionCipher::state`]; `None` if it has ended and is remembered only so that its first
    /// message starts nothing again.
    pub state: Option<Secret>,
    /// Of two sessions, the one with the larger number was used later.
    pub last_used: u64,
    /// Whether nothing more is sealed in it.
    pub is_retired: bool,
}

/// A conversation with one person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedConversation {
    /// Names it in this profile.
    pub id: ConversationId,
    /// How the person is shown and addressed: `alice` or `alice#7kq2m4xd`.
    pub peer: String,
    /// The person, once known; from then on it never changes.
    pub user: Option<UserId>,
    /// Number that the next message of ours gets.
    pub next_number: u64,
    /// Whether the application has compared the safety number with the person.
    pub is_verified: bool,
    /// Who else was seen to hold the name `peer`, until the application accepts them or the person holds it again.
    pub rival: Option<UserId>,
    /// What the person is to this user.
    pub relation: Relation,
    /// When they last became a request; the epoch if they never did.
    pub requested: Timestamp,
    /// Up to which of our numbers the person has said that they have read.
    pub read_heard: u64,
    /// Up to which of our numbers the states of messages say so.
    pub read_marked: u64,
}

/// What a person is to the user of a profile.
///
/// The numbers are the same in C and on disk.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[repr(i32)]
pub enum Relation {
    /// Nobody in particular: never met, removed from the contacts, or unblocked. Their next message makes a request.
    #[default]
    Stranger = 0,
    /// They have introduced themselves, or written, and nothing was decided. What they write arrives; they get no read
    /// receipts.
    Request = 1,
    /// Accepted, added or written to.
    Contact = 2,
    /// Nothing of theirs is taken.
    Blocked = 3,
}

impl Relation {
    /// Tells whether nothing was decided about the person: what they write is a request.
    #[must_use]
    pub const fn is_undecided(self) -> bool {
        matches!(self, Self::Stranger | Self::Request)
    }
}

impl SavedConversation {
    /// Returns a conversation in which nothing was said yet.
    #[must_use]
    pub fn fresh(id: ConversationId, peer: String, user: Option<UserId>) -> Self {
        Self {
            id,
            peer,
            user,
            next_number: 1,
            is_verified: false,
            rival: None,
            relation: Relation::Stranger,
            requested: Timestamp::default(),
            read_heard: 0,
            read_marked: 0,
        }
    }
}

/// What has arrived from one device in one conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedStream {
    /// Names it in this profile.
    pub id: StreamId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The node of the sending device.
    pub device: NodeId,
    /// Every number below this one has arrived or was given up by its sender.
    pub next_number: u64,
    /// The device's key in sessions; `None` until it has introduced itself with one.
    pub identity: Option<IdentityKey>,
    /// Number and tag of the latest messages that have arrived, in order.
    pub tags: Vec<(u64, u64)>,
    /// Whether the device has to be told what has come of its mail.
    pub owes_receipt: bool,
    /// The application has marked everything up to this number as read.
    pub read_to: u64,
}

/// A message in history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedMessage {
    /// Its place in the history of the profile, counted from 1 over all conversations.
    pub position: u64,
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose it is: [`StreamId::OWN`] or a device's.
    pub stream: StreamId,
    /// Its number in the stream; `None` while the recipient of a message of our own is not yet known.
    pub number: Option<u64>,
    /// What the body is; see [`crate::user::ContentKind`].
    pub kind: u16,
    /// The body; UTF-8 if the kind is text.
    pub body: Vec<u8>,
    /// When it was written, by the writer's clock.
    pub sent: Timestamp,
    /// When it was saved here.
    pub received: Timestamp,
    /// How far it has come; `None` for a received message.
    pub state: Option<MessageState>,
    /// How many nodes have said that they keep it for its recipient.
    pub held_by: u32,
    /// When an undelivered message of our own is given up; the receive time for a received one.
    pub expires: Timestamp,
}

/// The keys of a profile, made when it is first opened.
#[derive(Clone, Debug)]
pub struct ProfileKeys {
    /// The node's key.
    pub node: SecretKey,
    /// The user's key; `None` for a node without a user.
    pub user: Option<SecretKey>,
}

/// Everything a profile holds that the engine needs in memory.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The keys.
    pub keys: ProfileKeys,
    /// The saved routing table, best contacts first.
    pub routing: Vec<Contact>,
    /// The records kept for the DHT, as signed bytes.
    pub records: Vec<Vec<u8>>,
    /// The user's own records, as signed bytes.
    pub own_records: Vec<Vec<u8>>,
    /// Every conversation.
    pub conversations: Vec<SavedConversation>,
    /// How much was written in each request about which nothing is decided: bytes, with
    /// [`MESSAGE_OVERHEAD`](crate::user::MESSAGE_OVERHEAD) for each message.
    pub request_lens: Vec<(ConversationId, u64)>,
    /// Every stream.
    pub streams: Vec<SavedStream>,
    /// Our own messages in state [`MessageState::Queued`] or [`MessageState::Stored`], and those of which only the number
    /// is still owed ([`Write::MessageVoid`]), by position.
    pub outbox: Vec<SavedMessage>,
    /// The sealed forms of those messages.
    pub envelopes: Vec<SavedEnvelope>,
    /// The mail that waits to be opened.
    pub incoming: Vec<SavedIncoming>,
    /// The write tokens of every conversation that has any.
    pub tokens: Vec<SavedToken>,
    /// The keys of this device; `None` if it has none yet.
    pub device: Option<SavedDevice>,
    /// Every session.
    pub sessions: Vec<SavedSession>,
    /// The envelopes that are kept for people who are away, by position.
    pub mail: Vec<KeptEnvelope>,
    /// The envelopes that were released and have not expired.
    pub released: Vec<ReleasedEnvelope>,
    /// The highest position in history, 0 if it is empty.
    pub last_position: u64,
    /// The application has confirmed every received message up to this position.
    pub confirmed_position: u64,
}

impl Saved {
    /// Returns what a profile holds that was just made.
    #[must_use]
    pub fn fresh(keys: ProfileKeys) -> Self {
        Self {
            keys,
            routing: Vec::new(),
            records: Vec::new(),
            own_records: Vec::new(),
            conversations: Vec::new(),
            request_lens: Vec::new(),
            streams: Vec::new(),
            outbox: Vec::new(),
            envelopes: Vec::new(),
            incoming: Vec::new(),
            tokens: Vec::new(),
            device: None,
            sessions: Vec::new(),
            mail: Vec::new(),
            released: Vec::new(),
            last_position: 0,
            confirmed_position: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let secret = || SecretKey::from_bytes(&[7; 32]);
        let keys = ProfileKeys { node: secret(), user: Some(secret()) };
        insta::assert_snapshot!(
            format!("{keys:?}"),
            @"ProfileKeys { node: SecretKey(..), user: Some(SecretKey(..)) }"
        );
        let state = Secret::copy_of(b"state");
        let mut seals = SealKeys::default();
        assert!(seals.rotate(&[9; 32], Timestamp::from_unix_ms(1)));
        let device = SavedDevice { state: state.clone(), prekeys: Prekeys::default(), seals };
        insta::assert_snapshot!(
            format!("{device:?}"),
            @"SavedDevice { state: Secret(..), prekeys: Prekeys([]), seals: SealKeys(1 ..) }"
        );
        let session = SavedSession {
            id: SessionId([1; 32]),
            conversation: ConversationId(1),
            device: NodeId::from_bytes([2; 32]),
            prekey: None,
            state: Some(state),
            last_used: 1,
            is_retired: false,
        };
        let printed = format!("{session:?}");
        assert!(printed.contains("state: Some(Secret(..))"), "{printed}");
    }
}
