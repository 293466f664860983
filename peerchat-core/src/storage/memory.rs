//! [`Memory`]: a profile that ends with its client, without SQLite and without a thread.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use parking_lot::Mutex;

use super::failure::Failure;
use crate::error::Error;
use crate::event::MessageState;
use crate::save::{ConversationId, MAX_READ_AT_ONCE, SavedConversation, SavedMessage, StreamId, Write};
use crate::search::Query;
use crate::user::ContentKind;

/// A profile in memory.
///
/// It keeps what can be asked for: conversations, messages, and mail for others. Records, contacts, streams and sessions are in the
/// engine's memory already, and a profile in memory is never opened again.
#[derive(Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    tables: Tables,
    /// Why every further call fails.
    failure: Option<Failure>,
}

#[derive(Default)]
struct Tables {
    conversations: BTreeMap<ConversationId, SavedConversation>,
    /// By position.
    messages: Vec<SavedMessage>,
    /// The positions of the messages that have a number, by (conversation, stream, number).
    numbered: BTreeMap<(ConversationId, StreamId, u64), u64>,
    /// The envelopes kept for others, by position.
    mail: BTreeMap<u64, Box<[u8]>>,
}

/// Takes back one write of a batch that failed.
enum Undo {
    Conversation(ConversationId, Option<SavedConversation>),
    Inserted { position: u64 },
    Removed(SavedMessage),
    Changed(SavedMessageHead),
    Merged { gone: SavedConversation, moved: Vec<u64> },
    Mail(u64, Option<Box<[u8]>>),
}

/// What may change in a saved message.
struct SavedMessageHead {
    position: u64,
    conversation: ConversationId,
    number: Option<u64>,
    state: Option<MessageState>,
    held_by: u32,
}

impl Memory {
    /// Applies all of a batch or nothing.
    pub(super) fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        let mut state = self.0.lock();
        if state.failure.is_none() {
            state.failure = state.tables.apply_all(writes).err();
        }
        state.failure.clone().map_or(Ok(()), |failure| Err(failure.into_error(Path::new(":memory:"))))
    }

    pub(super) fn history(
        &self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SavedMessage>, Error> {
        self.read(|tables| {
            let end = before.map_or(tables.messages.len(), |before| tables.first_from(before));
            let latest_first = tables.messages[..end].iter().rev();
            let is_told = |message: &&SavedMessage| {
                message.conversation == conversation && message.kind != ContentKind::RECEIPT.0
            };
            latest_first.filter(is_told).take(limit).cloned().collect()
        })
    }

    pub(super) fn search(
        &self,
        query: &Query,
        conversation: Option<ConversationId>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(SavedMessage, SavedConversation)>, Error> {
        self.read(|tables| {
            let end = before.map_or(tables.messages.len(), |before| tables.first_from(before));
            let latest_first = tables.messages[..end].iter().rev();
            let is_found = |message: &&SavedMessage| {
                message.kind == ContentKind::TEXT.0
                    && conversation.is_none_or(|conversation| message.conversation == conversation)
                    && std::str::from_utf8(&message.body).is_ok_and(|text| query.matches(text))
            };
            let with_conversation = |message: &SavedMessage| {
                Some((message.clone(), tables.conversations.get(&message.conversation)?.clone()))
            };
            latest_first.filter(is_found).take(limit).filter_map(with_conversation).collect()
        })
    }

    pub(super) fn conversations(&self) -> Result<Vec<SavedConversation>, Error> {
        self.read(|tables| tables.conversations.values().cloned().collect())
    }

    pub(super) fn conversation_named(&self, peer: &str) -> Result<Option<SavedConversation>, Error> {
        self.read(|tables| tables.conversations.values().find(|saved| saved.peer == peer).cloned())
    }

    pub(super) fn received_after(
        &self,
        position: u64,
        limit: usize,
    ) -> Result<Vec<(SavedMessage, SavedConversation)>, Error> {
        self.read(|tables| {
            let start = tables.first_from(position.saturating_add(1));
            let received = tables.messages[start..].iter().filter(|message| message.stream != StreamId::OWN);
            let with_conversation = |message: &SavedMessage| {
                Some((message.clone(), tables.conversations.get(&message.conversation)?.clone()))
            };
            received.take(limit).filter_map(with_conversation).collect()
        })
    }

    pub(super) fn message(&self, position: u64) -> Result<Option<SavedMessage>, Error> {
        self.read(|tables| tables.index_of(position).map(|index| tables.messages[index].clone()))
    }

    pub(super) fn delivered(
        &self,
        conversation: ConversationId,
        (after, up_to): (u64, u64),
    ) -> Result<Vec<(u64, u64)>, Error> {
        self.read(|tables| {
            if after >= up_to {
                return Vec::new();
            }
            let [first, last] = [after + 1, up_to].map(|number| (conversation, StreamId::OWN, number));
            let numbered =
                tables.numbered.range(first..=last).map(|((.., number), position)| (*number, *position));
            let is_delivered = |(_, position): &(u64, u64)| {
                tables.index_of(*position).is_some_and(|index| {
                    let message = &tables.messages[index];
                    message.state == Some(MessageState::Delivered) && message.kind != ContentKind::RECEIPT.0
                })
            };
            numbered.filter(is_delivered).take(MAX_READ_AT_ONCE).collect()
        })
    }

    pub(super) fn mail(&self, position: u64) -> Result<Option<Vec<u8>>, Error> {
        self.read(|tables| tables.mail.get(&position).map(|bytes| bytes.to_vec()))
    }

    /// Frees everything; later calls fail.
    pub(super) fn close(&self) {
        *self.0.lock() = State { tables: Tables::default(), failure: Some(Failure::Closed) };
    }

    fn read<T>(&self, query: impl FnOnce(&Tables) -> T) -> Result<T, Error> {
        let state = self.0.lock();
        if state.failure == Some(Failure::Closed) { Err(Error::Closed) } else { Ok(query(&state.tables)) }
    }
}

impl Tables {
    fn apply_all(&mut self, writes: Vec<Write>) -> Result<(), Failure> {
        let mut applied = Vec::new();
        for write in writes {
            match self.apply(write) {
                Ok(undo) => applied.extend(undo),
                Err(broken) => {
                    applied.into_iter().rev().for_each(|undo| self.undo(undo));
                    return Err(Failure::Internal(broken.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: Write) -> Result<Option<Undo>, &'static str> {
        match write {
            Write::Record { .. }
            | Write::RecordGone { .. }
            | Write::Routing { .. }
            | Write::OwnRecord { .. }
            | Write::Device(_)
            | Write::SessionGone { .. }
            | Write::Incoming(_)
            | Write::IncomingGone { .. }
            | Write::Confirmed { .. }
            | Write::VoidGone { .. }
            | Write::Token(_)
            | Write::MailReleased(_)
            | Write::MailReleaseGone { .. } => Ok(None),
            Write::MailKept { envelope, bytes } => self.keep_mail(envelope.position, bytes).map(Some),
            Write::MailGone { position } => Ok(Some(Undo::Mail(position, self.mail.remove(&position)))),
            Write::Stream(stream) => self.known(stream.conversation).map(|()| None),
            Write::Session(session) => self.known(session.conversation).map(|()| None),
            Write::Envelope(envelope) => self.head_of_own(envelope.position).map(|_| None),
            Write::Conversation(conversation) => self.put_conversation(conversation).map(Some),
            Write::Merged { from, into } => self.merge(from, into).map(Some),
            Write::Message(message) => self.insert(message).map(Some),
            Write::MessageState { position, state } | Write::MessageVoid { position, state } => {
                let before = self.head_of_own(position)?;
                self.change(SavedMessageHead { state: Some(state), ..before }).map(Some)
            }
            Write::MessageStored { position, held_by } => {
                let before = self.head_of_own(position)?;
                let state = Some(MessageState::Stored);
                self.change(SavedMessageHead { state, held_by, ..before }).map(Some)
            }
            Write::MessageGone { position } => self.remove(position).map(Some),
            Write::MessageNumber { position, conversation, number } => {
                let before = self.head_of_own(position)?;
                let number = Some(number);
                self.change(SavedMessageHead { conversation, number, ..before }).map(Some)
            }
        }
    }

    fn keep_mail(&mut self, position: u64, bytes: Box<[u8]>) -> Result<Undo, &'static str> {
        if self.mail.contains_key(&position) {
            return Err("two envelopes at one position");
        }
        self.mail.insert(position, bytes);
        Ok(Undo::Mail(position, None))
    }

    fn put_conversation(&mut self, conversation: SavedConversation) -> Result<Undo, &'static str> {
        let id = conversation.id;
        if self.conversations.values().any(|other| other.id != id && other.peer == conversation.peer) {
            return Err("two conversations with one peer");
        }
        Ok(Undo::Conversation(id, self.conversations.insert(id, conversation)))
    }

    fn merge(&mut self, from: ConversationId, into: ConversationId) -> Result<Undo, &'static str> {
        self.known(into)?;
        let is_settled = |message: &SavedMessage| message.conversation == from && message.number.is_some();
        if from == into || self.messages.iter().any(is_settled) {
            return Err("a conversation that numbers were given out in cannot become part of another");
        }
        let gone = self.conversations.remove(&from).ok_or("a conversation that is not saved")?;
        let mut moved = Vec::new();
        for message in self.messages.iter_mut().filter(|message| message.conversation == from) {
            message.conversation = into;
            moved.push(message.position);
        }
        Ok(Undo::Merged { gone, moved })
    }

    fn insert(&mut self, message: SavedMessage) -> Result<Undo, &'static str> {
        let position = message.position;
        if position == 0 || i64::try_from(position).is_err() {
            return Err("a message at no position in history");
        }
        self.known(message.conversation)?;
        let Err(index) = self.messages.binary_search_by_key(&position, |saved| saved.position) else {
            return Err("two messages at one position in history");
        };
        self.take_number(message.conversation, message.stream, message.number, position)?;
        self.messages.insert(index, message);
        Ok(Undo::Inserted { position })
    }

    /// Takes a message of our own out of history.
    fn remove(&mut self, position: u64) -> Result<Undo, &'static str> {
        self.head_of_own(position)?;
        let index = self.index_of(position).ok_or("a message that is not in history")?;
        let message = self.messages.remove(index);
        self.free_number(message.conversation, message.stream, message.number);
        Ok(Undo::Removed(message))
    }

    /// Changes a message of our own; what it was before undoes that.
    fn change(&mut self, head: SavedMessageHead) -> Result<Undo, &'static str> {
        let before = self.head_of_own(head.position)?;
        self.known(head.conversation)?;
        if (before.conversation, before.number) != (head.conversation, head.number) {
            self.take_number(head.conversation, StreamId::OWN, head.number, head.position)?;
            self.free_number(before.conversation, StreamId::OWN, before.number);
        }
        self.set_head(&head);
        Ok(Undo::Changed(before))
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Mail(position, Some(bytes)) => drop(self.mail.insert(position, bytes)),
            Undo::Mail(position, None) => drop(self.mail.remove(&position)),
            Undo::Conversation(_, Some(before)) => drop(self.conversations.insert(before.id, before)),
            Undo::Conversation(id, None) => drop(self.conversations.remove(&id)),
            Undo::Inserted { position } => {
                if let Some(index) = self.index_of(position) {
                    let message = self.messages.remove(index);
                    self.free_number(message.conversation, message.stream, message.number);
                }
            }
            Undo::Merged { gone, moved } => {
                for position in moved {
                    if let Some(index) = self.index_of(position) {
                        self.messages[index].conversation = gone.id;
                    }
                }
                self.conversations.insert(gone.id, gone);
            }
            Undo::Removed(message) => {
                let key = message.number.map(|number| (message.conversation, message.stream, number));
                self.numbered.extend(key.map(|key| (key, message.position)));
                let index = self.first_from(message.position);
                self.messages.insert(index, message);
            }
            Undo::Changed(before) => {
                if let Some(index) = self.index_of(before.position) {
                    let (conversation, number) =
                        (self.messages[index].conversation, self.messages[index].number);
                    self.free_number(conversation, StreamId::OWN, number);
                    let key = before.number.map(|number| (before.conversation, StreamId::OWN, number));
                    self.numbered.extend(key.map(|key| (key, before.position)));
                    self.set_head(&before);
                }
            }
        }
    }

    fn known(&self, conversation: ConversationId) -> Result<(), &'static str> {
        self.conversations.contains_key(&conversation).then_some(()).ok_or("a conversation that is not saved")
    }

    fn take_number(
        &mut self,
        conversation: ConversationId,
        stream: StreamId,
        number: Option<u64>,
        position: u64,
    ) -> Result<(), &'static str> {
        let Some(number) = number else { return Ok(()) };
        match self.numbered.entry((conversation, stream, number)) {
            Entry::Vacant(entry) => {
                entry.insert(position);
                Ok(())
            }
            Entry::Occupied(_) => Err("two messages with one number in a stream"),
        }
    }

    fn free_number(&mut self, conversation: ConversationId, stream: StreamId, number: Option<u64>) {
        if let Some(number) = number {
            self.numbered.remove(&(conversation, stream, number));
        }
    }

    fn head_of_own(&self, position: u64) -> Result<SavedMessageHead, &'static str> {
        let own = self.index_of(position).map(|index| &self.messages[index]);
        let message = own
            .filter(|message| message.stream == StreamId::OWN)
            .ok_or("a change to a message of our own that is not in history")?;
        let SavedMessage { conversation, number, state, held_by, .. } = *message;
        Ok(SavedMessageHead { position, conversation, number, state, held_by })
    }

    fn set_head(&mut self, head: &SavedMessageHead) {
        if let Some(index) = self.index_of(head.position) {
            let message = &mut self.messages[index];
            message.conversation = head.conversation;
            message.number = head.number;
            message.state = head.state;
            message.held_by = head.held_by;
        }
    }

    fn index_of(&self, position: u64) -> Option<usize> {
        self.messages.binary_search_by_key(&position, |message| message.position).ok()
    }

    /// Returns the index of the first message at or after a position.
    fn first_from(&self, position: u64) -> usize {
        self.messages.partition_point(|message| message.position < position)
    }
}
