//! [`People`]: whom this profile talks to, under which names, and on which devices they were met.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::streams::Stream;
use crate::crypto::DeviceKeys;
use crate::identity::{Recipient, UserId};
use crate::kademlia::{Contact, NodeId, Record};
use crate::save::{ConversationId, SavedConversation, SavedStream, StreamId};

/// A conversation with one person.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) saved: SavedConversation,
    /// Where the person's devices were last reachable, best first; not saved.
    pub(crate) route: VecDeque<Contact>,
    /// The keys of their devices as last heard; not saved.
    pub(crate) keys: BTreeMap<NodeId, DeviceKeys>,
    /// When their name was last looked up; not saved.
    pub(crate) name_checked_at: Option<Instant>,
    /// Their user record as last heard; not saved.
    pub(crate) record: Option<Record>,
    /// Whether one of their devices has said, since the profile was opened, that it has what this one sent.
    pub(crate) knows_us: bool,
    /// When what is owed to them was last sealed anew.
    pub(crate) repaired_at: Option<Instant>,
    /// When what is owed to them last got new numbers.
    pub(crate) renumbered_at: Option<Instant>,
}

/// Every conversation and stream of the profile.
#[derive(Debug, Default)]
pub(crate) struct People {
    conversations: BTreeMap<ConversationId, Conversation>,
    by_peer: BTreeMap<String, ConversationId>,
    by_user: BTreeMap<UserId, ConversationId>,
    streams: BTreeMap<(ConversationId, NodeId), Stream>,
    last_conversation: u32,
    last_stream: u32,
}

impl People {
    /// Takes up what was saved.
    pub(crate) fn restore(conversations: Vec<SavedConversation>, streams: &[SavedStream]) -> Self {
        let mut people = Self::default();
        for saved in conversations {
            people.last_conversation = people.last_conversation.max(saved.id.0);
            people.insert(saved);
        }
        for saved in streams {
            people.last_stream = people.last_stream.max(saved.id.0);
            people.streams.insert((saved.conversation, saved.device), Stream::restore(saved));
        }
        people
    }

    fn insert(&mut self, saved: SavedConversation) {
        self.by_peer.insert(saved.peer.clone(), saved.id);
        if let Some(user) = saved.user {
            self.by_user.insert(user, saved.id);
        }
        let conversation = Conversation {
            saved,
            route: VecDeque::new(),
            keys: BTreeMap::new(),
            name_checked_at: None,
            record: None,
            knows_us: false,
            repaired_at: None,
            renumbered_at: None,
        };
        self.conversations.insert(conversation.saved.id, conversation);
    }

    /// Makes a conversation.
    pub(crate) fn add(&mut self, peer: &Recipient, user: Option<UserId>) -> ConversationId {
        self.last_conversation += 1;
        let id = ConversationId(self.last_conversation);
        self.insert(SavedConversation::fresh(id, peer.to_string(), user));
        id
    }

    /// Lets a conversation go by another name, which must be free.
    pub(crate) fn rename(&mut self, id: ConversationId, peer: &Recipient) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        let former = std::mem::replace(&mut conversation.saved.peer, peer.to_string());
        if self.by_peer.get(&former) == Some(&id) {
            self.by_peer.remove(&former);
        }
        self.by_peer.insert(peer.to_string(), id);
    }

    /// Drops a conversation whose person was never known.
    pub(crate) fn remove(&mut self, id: ConversationId) {
        if let Some(conversation) = self.conversations.remove(&id) {
            self.by_peer.remove(&conversation.saved.peer);
        }
    }

    /// Returns every conversation, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Conversation> {
        self.conversations.values()
    }

    /// Settles who the person of a conversation is. From then on it never changes: only the name may go to another
    /// conversation.
    pub(crate) fn bind(&mut self, id: ConversationId, user: UserId) {
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.saved.user = Some(user);
            self.by_user.insert(user, id);
        }
    }

    /// Gives a device of a conversation its stream, or returns the one it has.
    pub(crate) fn stream(&mut self, conversation: ConversationId, device: NodeId) -> &mut Stream {
        self.streams.entry((conversation, device)).or_insert_with(|| {
            self.last_stream += 1;
            Stream::new(StreamId(self.last_stream), conversation, device)
        })
    }

    /// Returns the stream of a device that was introduced before.
    pub(crate) fn known_stream(
        &mut self,
        conversation: ConversationId,
        device: NodeId,
    ) -> Option<&mut Stream> {
        self.streams.get_mut(&(conversation, device))
    }

    /// Returns how many devices were ever introduced in a conversation.
    pub(crate) fn stream_count(&self, conversation: ConversationId) -> usize {
        let [first, last] = [[0; 32], [0xff; 32]].map(NodeId::from_bytes);
        self.streams.range((conversation, first)..=(conversation, last)).count()
    }

    /// Takes the user record of a person, unless a later one is known.
    pub(crate) fn hear(&mut self, id: ConversationId, record: Record) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        let sequence = |record: &Record| record.header().sequence;
        if conversation.record.as_ref().is_none_or(|known| sequence(known) <= sequence(&record)) {
            conversation.record = Some(record);
        }
    }

    /// Returns the devices that have to be told what has come of their mail.
    pub(crate) fn owing_receipts(&self) -> Vec<(ConversationId, NodeId)> {
        self.streams.iter().filter(|(_, stream)| stream.owes_receipt()).map(|(device, _)| *device).collect()
    }

    pub(crate) fn get(&self, id: ConversationId) -> Option<&Conversation> {
        self.conversations.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConversationId) -> Option<&mut Conversation> {
        self.conversations.get_mut(&id)
    }

    pub(crate) fn count(&self) -> usize {
        self.conversations.len()
    }

    pub(crate) fn with_user(&self, user: &UserId) -> Option<ConversationId> {
        self.by_user.get(user).copied()
    }

    pub(crate) fn named(&self, peer: &str) -> Option<ConversationId> {
        self.by_peer.get(peer).copied()
    }

    /// Returns the conversation that an address means: the one of that very name, or, if the address has a
    /// fingerprint, the one whose person has it.
    pub(crate) fn addressed(&self, to: &Recipient) -> Option<ConversationId> {
        self.named(&to.to_string()).or_else(|| {
            to.fingerprint()?;
            let plain = self.named(to.name().as_str())?;
            let user = self.get(plain)?.saved.user?;
            to.admits(&user).then_some(plain)
        })
    }
}
