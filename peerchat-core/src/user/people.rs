//! [`People`]: whom this profile talks to, under which names, and on which devices they were met.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contacts::MAX_CONTACTS;
use super::machine::MAX_CONVERSATIONS;
use super::streams::Stream;
use crate::crypto::DeviceKeys;
use crate::identity::{Recipient, UserId};
use crate::kademlia::{Contact, NodeId, Record};
use crate::limits::{Limits, entry};
use crate::save::{ConversationId, Relation, SavedConversation, SavedStream, StreamId};
use crate::time::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

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
    /// Whether it is being looked up which messages they have read.
    pub(crate) is_marking: bool,
    /// What they have written since they made a request, while nothing is decided: bytes, with
    /// [`MESSAGE_OVERHEAD`](super::MESSAGE_OVERHEAD) for each message.
    words_len: usize,
}

/// What a person takes of memory at most, beside their devices and the record that lists them.
pub(crate) const PERSON_COST: usize = entry::<ConversationId, Conversation>()
    + entry::<String, ConversationId>()
    + entry::<UserId, ConversationId>()
    + 3 * size_of::<Timestamp>()
    + 256;

/// Every conversation and stream of the profile.
#[derive(Debug, Default)]
pub(crate) struct People {
    conversations: BTreeMap<ConversationId, Conversation>,
    by_peer: BTreeMap<String, ConversationId>,
    by_user: BTreeMap<UserId, ConversationId>,
    streams: BTreeMap<(ConversationId, NodeId), Stream>,
    last_conversation: u32,
    last_stream: u32,
    contact_count: usize,
    request_count: usize,
    /// What is undecided has written in all.
    words_len: usize,
    /// When the latest requests were made, in order, no more than may be made in a day.
    requests: VecDeque<Timestamp>,
    pub(super) limits: Arc<Limits>,
}

impl People {
    /// Takes up what was saved.
    pub(crate) fn restore(
        conversations: Vec<SavedConversation>,
        streams: &[SavedStream],
        limits: Arc<Limits>,
    ) -> Self {
        let mut people = Self { limits, ..Self::default() };
        for saved in conversations {
            people.last_conversation = people.last_conversation.max(saved.id.0);
            people.insert(saved);
        }
        for saved in streams {
            people.last_stream = people.last_stream.max(saved.id.0);
            people.streams.insert((saved.conversation, saved.device), Stream::restore(saved));
        }
        let mut requests: Vec<Timestamp> = people.iter().map(|found| found.saved.requested).collect();
        requests.sort_unstable();
        let old_count = requests.len().saturating_sub(people.limits.people_requests_per_day);
        people.requests = requests.split_off(old_count).into();
        people
    }

    fn insert(&mut self, saved: SavedConversation) {
        self.count_relation(saved.relation, true);
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
            is_marking: false,
            words_len: 0,
        };
        self.conversations.insert(conversation.saved.id, conversation);
    }

    /// Takes up how much was written in each request.
    pub(crate) fn restore_words(&mut self, lens: &[(ConversationId, u64)]) {
        for (id, len) in lens {
            self.note_words(*id, usize::try_from(*len).unwrap_or(usize::MAX));
        }
    }

    /// Counts what somebody about whom nothing is decided has written.
    pub(crate) fn note_words(&mut self, id: ConversationId, len: usize) {
        if let Some(found) = self.conversations.get_mut(&id)
            && found.saved.relation == Relation::Request
        {
            found.words_len = found.words_len.saturating_add(len);
            self.words_len = self.words_len.saturating_add(len);
        }
    }

    /// Tells whether so many bytes more of a person may be kept. While nothing is decided about them, they may take as much
    /// as they leave to others.
    pub(crate) fn has_room_for_words(&self, id: ConversationId, len: usize) -> bool {
        let Some(found) = self.get(id).filter(|found| found.saved.relation.is_undecided()) else {
            return true;
        };
        let left = self.limits.stranger_messages_len.saturating_sub(self.words_len.saturating_add(len));
        found.words_len.saturating_add(len) <= left
    }

    /// Makes a conversation.
    pub(crate) fn add(&mut self, peer: &Recipient, user: Option<UserId>) -> ConversationId {
        self.last_conversation += 1;
        let id = ConversationId(self.last_conversation);
        self.insert(SavedConversation::fresh(id, peer.to_string(), user));
        id
    }

    /// Counts a conversation in or out.
    fn count_relation(&mut self, relation: Relation, is_new: bool) {
        let count = match relation {
            Relation::Contact => &mut self.contact_count,
            Relation::Request => &mut self.request_count,
            Relation::Stranger | Relation::Blocked => return,
        };
        *count = if is_new { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Returns what the person of a conversation is to this user.
    pub(crate) fn relation(&self, id: ConversationId) -> Relation {
        self.get(id).map_or(Relation::Stranger, |found| found.saved.relation)
    }

    /// Changes what the person of a conversation is to this user.
    pub(crate) fn set_relation(&mut self, id: ConversationId, relation: Relation) {
        let Some(found) = self.conversations.get_mut(&id) else { return };
        let before = std::mem::replace(&mut found.saved.relation, relation);
        if relation != Relation::Request {
            self.words_len = self.words_len.saturating_sub(std::mem::take(&mut found.words_len));
        }
        self.count_relation(before, false);
        self.count_relation(relation, true);
    }

    /// Notes that the person of a conversation has made a request.
    pub(crate) fn add_request(&mut self, id: ConversationId, now: Timestamp) {
        self.set_relation(id, Relation::Request);
        if let Some(found) = self.conversations.get_mut(&id) {
            found.saved.requested = now;
            self.requests.push_back(now);
            let surplus = self.requests.len().saturating_sub(self.limits.people_requests_per_day);
            self.requests.drain(..surplus);
        }
    }

    /// Tells whether another person may become a contact.
    pub(crate) fn has_room_for_contact(&self) -> bool {
        self.contact_count < MAX_CONTACTS
    }

    /// Tells whether another stranger may make a request while `pending` ones are being looked into.
    pub(crate) fn has_room_for_request(&self, pending: usize, now: Timestamp) -> bool {
        let is_of_today = |at: &&Timestamp| now.saturating_since(**at) < DAY;
        let today = self.requests.iter().rev().take_while(is_of_today).count();
        self.request_count + pending < self.limits.people_requests
            && today + pending < self.limits.people_requests_per_day
            && self.count() < MAX_CONVERSATIONS
    }

    /// Tells whether another device of somebody about whom nothing is decided may deliver, while `pending` others are being
    /// looked into.
    pub(crate) fn has_room_for_strangers_device(&self, pending: usize) -> bool {
        let count: usize = self.undecided().map(|id| self.stream_count(id)).sum();
        count + pending < self.limits.stranger_devices
    }

    /// Returns the conversations about whose people nothing is decided.
    pub(crate) fn undecided(&self) -> impl Iterator<Item = ConversationId> {
        let undecided = self.conversations.values().filter(|found| found.saved.relation.is_undecided());
        undecided.map(|found| found.saved.id)
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
            self.count_relation(conversation.saved.relation, false);
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

    /// Returns the stream of a conversation that has this name.
    pub(crate) fn stream_with_id(
        &mut self,
        conversation: ConversationId,
        id: StreamId,
    ) -> Option<&mut Stream> {
        self.streams_of(conversation).find(|stream| stream.id == id)
    }

    /// Returns the streams of a conversation.
    pub(crate) fn streams_of(&mut self, conversation: ConversationId) -> impl Iterator<Item = &mut Stream> {
        let [first, last] = [[0; 32], [0xff; 32]].map(NodeId::from_bytes);
        self.streams.range_mut((conversation, first)..=(conversation, last)).map(|(_, stream)| stream)
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
        let is_blocked = |id: &ConversationId| self.relation(*id) == Relation::Blocked;
        let owing = self.streams.iter().filter(|((id, _), stream)| stream.owes_receipt() && !is_blocked(id));
        owing.map(|(device, _)| *device).collect()
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

#[cfg(test)]
mod tests {
    use super::super::contacts::{MAX_REQUESTS, MAX_REQUESTS_PER_DAY};
    use super::*;
    use crate::identity::UserName;

    fn stranger(people: &mut People, number: usize, at: Timestamp) {
        let name = UserName::parse(&format!("user{number}")).unwrap();
        let id = people.add(&Recipient::from(name), None);
        people.add_request(id, at);
    }

    #[test]
    fn requests_are_counted_by_the_day_and_in_all() {
        let mut people = People::default();
        let mut now = Timestamp::from_unix_ms(1_700_000_000_000);
        for number in 0..MAX_REQUESTS {
            assert!(people.has_room_for_request(0, now), "{number}");
            stranger(&mut people, number, now);
            if (number + 1) % MAX_REQUESTS_PER_DAY == 0 {
                assert!(!people.has_room_for_request(0, now), "{number}");
                now = now.saturating_add(DAY);
            }
        }
        assert!(!people.has_room_for_request(0, now));
        people.set_relation(ConversationId(7), Relation::Blocked);
        assert!(people.has_room_for_request(0, now));
        assert!(!people.has_room_for_request(1, now), "one is being looked into");
    }

    #[test]
    fn the_day_and_the_counts_survive_a_restart() {
        let now = Timestamp::from_unix_ms(1_700_000_000_000);
        let mut people = People::default();
        (0..MAX_REQUESTS_PER_DAY).for_each(|number| stranger(&mut people, number, now));
        let saved = people.iter().map(|found| found.saved.clone()).collect();
        let people = People::restore(saved, &[], Arc::default());
        assert!(!people.has_room_for_request(0, now));
        assert!(people.has_room_for_request(0, now.saturating_add(DAY)));
    }

    #[test]
    fn contacts_have_a_limit() {
        let mut people = People::default();
        let ids: Vec<ConversationId> = (0..MAX_CONTACTS)
            .map(|number| {
                let name = UserName::parse(&format!("user{number}")).unwrap();
                let id = people.add(&Recipient::from(name), None);
                people.set_relation(id, Relation::Contact);
                id
            })
            .collect();
        assert!(!people.has_room_for_contact());
        people.set_relation(ids[0], Relation::Stranger);
        assert!(people.has_room_for_contact());
    }
}
