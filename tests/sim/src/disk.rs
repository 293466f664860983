//! [`Disk`]: what a machine has saved, with the power cut between a batch and its end.

use std::collections::{BTreeMap, BTreeSet};

use peerchat_core::Error;
use peerchat_core::event::MessageState;
use peerchat_core::identity::SecretKey;
use peerchat_core::kademlia::{Record, RecordKey};
use peerchat_core::mail::{KeptEnvelope, ReleasedEnvelope};
use peerchat_core::save::{
    BatchId, Found, MAX_READ_AT_ONCE, ProfileKeys, Read, Saved, SavedMessage, SavedSession, StreamId, Write,
    WriteBatch,
};
use peerchat_core::storage::Store;
use peerchat_core::user::ContentKind;

/// The naive model of a profile on disk.
#[derive(Clone, Debug)]
pub struct Disk {
    saved: Saved,
    records: Vec<(RecordKey, Vec<u8>)>,
    messages: Vec<SavedMessage>,
    /// The envelopes kept for others, by position.
    bodies: BTreeMap<u64, Box<[u8]>>,
    /// The positions of the messages of which only the numbers are owed.
    voids: BTreeSet<u64>,
    writing: Option<WriteBatch>,
}

impl Disk {
    /// Makes the disk of a profile that holds this and no messages.
    #[must_use]
    pub fn new(saved: Saved) -> Self {
        Self {
            saved,
            records: Vec::new(),
            messages: Vec::new(),
            bodies: BTreeMap::new(),
            voids: BTreeSet::new(),
            writing: None,
        }
    }

    /// Reads what a profile in SQLite holds.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(crate) fn of(saved: &Saved, store: &Store) -> Result<Self, Error> {
        let mut messages: BTreeMap<u64, SavedMessage> = BTreeMap::new();
        for conversation in &saved.conversations {
            let history = store.history(conversation.id, None, usize::MAX)?;
            messages.extend(history.into_iter().map(|message| (message.position, message)));
        }
        // Receipts among them, which are no part of history.
        messages.extend(saved.outbox.iter().map(|message| (message.position, message.clone())));
        let is_void = |message: &&SavedMessage| {
            !matches!(message.state, Some(MessageState::Queued | MessageState::Stored))
        };
        let mut bodies = BTreeMap::new();
        for kept in &saved.mail {
            let body = store.mail(kept.position)?.expect("it is remembered");
            bodies.insert(kept.position, body.into_boxed_slice());
        }
        let record_key = |bytes: &Vec<u8>| Record::parse(bytes).expect("it was checked").header().key;
        Ok(Self {
            records: saved.records.iter().map(|bytes| (record_key(bytes), bytes.clone())).collect(),
            voids: saved.outbox.iter().filter(is_void).map(|message| message.position).collect(),
            messages: messages.into_values().collect(),
            bodies,
            saved: saved.clone(),
            writing: None,
        })
    }

    /// Returns what an archive of it brings to another machine: who this is, what was said, and what is owed.
    #[must_use]
    pub fn moved(&self) -> Self {
        let Saved { own_records, conversations, streams, tokens, confirmed_position, .. } =
            self.saved.clone();
        let fresh = Saved::fresh(self.saved.keys.clone());
        let saved = Saved { own_records, conversations, streams, tokens, confirmed_position, ..fresh };
        Self { messages: self.messages.clone(), voids: self.voids.clone(), ..Self::new(saved) }
    }

    /// Returns everything that is on the disk, each row as it is printed, in an order that both kinds of disk have.
    #[must_use]
    pub fn rows(&self) -> BTreeSet<String> {
        let Saved { conversations, streams, envelopes, incoming, tokens, sessions, mail, released, .. } =
            &self.saved;
        let mut rows = BTreeSet::from([format!(
            "{:?} {:?} {} {:?}",
            self.saved.routing, self.saved.device, self.saved.confirmed_position, self.voids
        )]);
        rows.extend(self.records.iter().map(|row| format!("{row:?}")));
        rows.extend(self.saved.own_records.iter().map(|row| format!("own {row:?}")));
        rows.extend(self.messages.iter().map(|row| format!("{row:?}")));
        rows.extend(self.bodies.iter().map(|row| format!("{row:?}")));
        rows.extend(conversations.iter().map(|row| format!("{row:?}")));
        rows.extend(streams.iter().map(|row| format!("{row:?}")));
        rows.extend(envelopes.iter().map(|row| format!("{row:?}")));
        rows.extend(incoming.iter().map(|row| format!("{row:?}")));
        rows.extend(tokens.iter().map(|row| format!("{row:?}")));
        rows.extend(sessions.iter().map(|row| format!("{row:?}")));
        rows.extend(mail.iter().map(|row| format!("{row:?}")));
        rows.extend(released.iter().map(|row| format!("{row:?}")));
        rows
    }

    /// Returns every message in history, own ones included.
    #[must_use]
    pub fn messages(&self) -> &[SavedMessage] {
        &self.messages
    }

    /// Returns the envelopes that are kept for others.
    #[must_use]
    pub fn mail(&self) -> &[KeptEnvelope] {
        &self.saved.mail
    }

    /// Returns the keys of node and user.
    pub(crate) const fn keys(&self) -> &ProfileKeys {
        &self.saved.keys
    }

    /// Returns the key of the node.
    #[must_use]
    pub const fn node_key(&self) -> &SecretKey {
        &self.saved.keys.node
    }

    /// Returns the sessions on the disk, to damage them.
    pub const fn sessions_mut(&mut self) -> &mut Vec<SavedSession> {
        &mut self.saved.sessions
    }

    /// Returns what a restarted engine is given.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let is_owed = |message: &&SavedMessage| {
            self.voids.contains(&message.position)
                || matches!(message.state, Some(MessageState::Queued | MessageState::Stored))
        };
        Saved {
            records: self.records.iter().map(|(_, bytes)| bytes.clone()).collect(),
            outbox: self.messages.iter().filter(is_owed).cloned().collect(),
            last_position: self.messages.last().map_or(0, |message| message.position),
            ..self.saved.clone()
        }
    }

    /// Returns the envelopes that are kept for others.
    pub fn mail_bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.bodies.values().map(|bytes| &**bytes)
    }

    /// Reads something that was saved.
    #[must_use]
    pub fn read(&self, what: Read) -> Found {
        match what {
            Read::Mail { position } => Found::Mail(self.bodies.get(&position).map(|bytes| bytes.to_vec())),
            Read::Delivered { conversation, after, up_to } => {
                let is_meant = |message: &&SavedMessage| {
                    (message.conversation, message.stream, message.state)
                        == (conversation, StreamId::OWN, Some(MessageState::Delivered))
                        && message.number.is_some_and(|number| (after + 1..=up_to).contains(&number))
                };
                let found = self.messages.iter().filter(is_meant);
                let mut found: Vec<(u64, u64)> =
                    found.map(|message| (message.number.unwrap_or_default(), message.position)).collect();
                found.sort_unstable();
                found.truncate(MAX_READ_AT_ONCE);
                Found::Delivered(Some(found))
            }
        }
    }

    /// Takes a batch, which is not on disk before [`Self::commit`].
    ///
    /// # Panics
    ///
    /// Another one is under way.
    pub fn begin(&mut self, batch: WriteBatch) {
        assert!(self.writing.is_none(), "the engine writes one batch at a time");
        self.writing = Some(batch);
    }

    /// Returns the batch that is under way.
    pub(crate) const fn writing(&self) -> Option<&WriteBatch> {
        self.writing.as_ref()
    }

    /// Loses the batch that is under way.
    pub fn cut(&mut self) {
        self.writing = None;
    }

    /// Puts the batch that is under way on disk.
    ///
    /// # Panics
    ///
    /// It is another one, or none is.
    pub fn commit(&mut self, id: BatchId) {
        let batch = self.writing.take().expect("a batch is being written");
        assert_eq!(batch.id, id);
        batch.writes.into_iter().for_each(|write| self.apply(write));
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Record { key, bytes } => {
                self.records.retain(|(other, _)| *other != key);
                self.records.push((key, bytes));
            }
            Write::RecordGone { key } => self.records.retain(|(other, _)| *other != key),
            Write::Routing { contacts } => self.saved.routing = contacts,
            Write::OwnRecord { bytes } => {
                let key = |bytes: &[u8]| Record::parse(bytes).map(|record| record.header().key).ok();
                let new = key(&bytes);
                self.saved.own_records.retain(|other| key(other) != new);
                self.saved.own_records.push(bytes);
            }
            Write::Conversation(conversation) => {
                self.saved.conversations.retain(|other| other.id != conversation.id);
                self.saved.conversations.push(conversation);
            }
            Write::Merged { from, into } => {
                self.saved.conversations.retain(|other| other.id != from);
                let moved = self.messages.iter_mut().filter(|message| message.conversation == from);
                moved.for_each(|message| {
                    assert!(message.number.is_none(), "a settled conversation goes");
                    message.conversation = into;
                });
            }
            Write::Stream(stream) => {
                self.saved.streams.retain(|other| other.id != stream.id);
                self.saved.streams.push(stream);
            }
            Write::Message(message) => self.insert(message),
            Write::MessageState { position, state } => {
                self.message(position).state = Some(state);
                self.saved.envelopes.retain(|other| other.position != position);
            }
            Write::MessageVoid { position, state } => {
                self.message(position).state = Some(state);
                self.saved.envelopes.retain(|other| other.position != position);
                self.voids.insert(position);
            }
            Write::VoidGone { position } => {
                self.saved.envelopes.retain(|other| other.position != position);
                assert!(self.voids.remove(&position), "nothing was owed at {position}");
            }
            Write::MessageStored { position, held_by } => {
                let message = self.message(position);
                (message.state, message.held_by) = (Some(MessageState::Stored), held_by);
            }
            Write::MessageGone { position } => {
                self.message(position);
                self.messages.retain(|other| other.position != position);
                self.saved.envelopes.retain(|other| other.position != position);
            }
            Write::Incoming(incoming) => {
                self.saved.incoming.retain(|other| other.id != incoming.id);
                self.saved.incoming.push(incoming);
            }
            Write::Token(token) => {
                self.saved.tokens.retain(|other| other.conversation != token.conversation);
                self.saved.tokens.push(token);
            }
            Write::IncomingGone { id } => self.saved.incoming.retain(|other| other.id != id),
            Write::Envelope(envelope) => {
                self.message(envelope.position);
                self.saved.envelopes.retain(|other| other.position != envelope.position);
                self.saved.envelopes.push(envelope);
            }
            Write::Device(device) => self.saved.device = Some(device),
            Write::Session(session) => {
                self.saved.sessions.retain(|other| other.id != session.id);
                self.saved.sessions.push(session);
            }
            Write::SessionGone { id } => self.saved.sessions.retain(|other| other.id != id),
            Write::MessageNumber { position, conversation, number } => {
                let message = self.message(position);
                (message.conversation, message.number) = (conversation, Some(number));
                self.saved.envelopes.retain(|other| other.position != position);
            }
            Write::Confirmed { position } => self.saved.confirmed_position = position,
            Write::MailKept { envelope, bytes } => {
                let before = self.bodies.insert(envelope.position, bytes);
                assert!(before.is_none(), "two envelopes at one position: {envelope:?}");
                self.saved.mail.push(envelope);
            }
            Write::MailGone { position } => {
                self.saved.mail.retain(|kept| kept.position != position);
                assert!(self.bodies.remove(&position).is_some(), "no envelope is at {position}");
            }
            Write::MailReleased(released) => {
                let is_same =
                    |other: &ReleasedEnvelope| (other.place, other.tag) == (released.place, released.tag);
                self.saved.released.retain(|other| !is_same(other));
                self.saved.released.push(released);
            }
            Write::MailReleaseGone { place, tag } => {
                self.saved.released.retain(|other| (other.place, other.tag) != (place, tag));
            }
        }
    }

    fn insert(&mut self, message: SavedMessage) {
        let is_same = |other: &SavedMessage| {
            let is_numbered_alike = other.number.is_some() && other.number == message.number;
            is_numbered_alike && (other.conversation, other.stream) == (message.conversation, message.stream)
        };
        assert!(!self.messages.iter().any(is_same), "a message is in history twice: {message:?}");
        assert!(message.stream != StreamId::OWN || message.state.is_some());
        let place = self.messages.partition_point(|other| other.position < message.position);
        // A receipt takes the place of the one before.
        let may_be_old = message.kind == ContentKind::RECEIPT.0;
        assert!(may_be_old || place == self.messages.len(), "position {} is not the last", message.position);
        self.messages.insert(place, message);
    }

    fn message(&mut self, position: u64) -> &mut SavedMessage {
        let found = self.messages.iter_mut().find(|message| message.position == position);
        found.expect("the engine changes messages that it has saved")
    }
}
