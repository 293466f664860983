//! How [`User`] takes what has come by mail: who wrote it, in which order it is opened, and what waits.

use std::collections::BTreeMap;

use super::batch::is_possible;
use super::chat::{DeliverRefusal, ReceiptVerdict};
use super::machine::{Effect, User};
use super::receiving::Introduced;
use super::sessions::Peer;
use super::streams::{Arrival, Held};
use crate::crypto::MAX_ENVELOPE_LEN;
use crate::identity::{UserId, UserName};
use crate::kademlia::NodeId;
use crate::limits::entry;
use crate::mail::{EnvelopeId, Letter, SealedEnvelope};
use crate::save::{ConversationId, SavedIncoming, Write};
use crate::time::Now;

/// Most letters that wait to be opened: for an earlier one, or until it is known who wrote them. One more is left with
/// those who keep it.
pub const MAX_WAITING_LETTERS: usize = 12_288;

/// Most bytes of their envelopes.
pub const MAX_WAITING_LETTERS_LEN: usize = 12 * 1024 * 1024;

/// The letters of one device that wait to be opened, by number.
#[derive(Debug, Default)]
pub(super) struct Pile {
    letters: BTreeMap<u64, Waiting>,
    /// Every lower number was delivered or given up, as a letter has said. While more letters come in, they may be among
    /// them: a receipt is given up as soon as somebody keeps it.
    oldest: u64,
    /// The same, as the writing device has said itself.
    heard: u64,
}

/// A letter that waits.
#[derive(Debug)]
struct Waiting {
    id: EnvelopeId,
    held: Held,
    /// Who wrote it, if it says so: used if their keys turn out to be others than those known.
    introduced: Option<Box<(UserName, Introduced)>>,
    /// Whether it is on disk.
    is_saved: bool,
}

/// What such a letter takes of memory beside its bytes: its place, and who wrote it.
pub(crate) const LETTER_COST: usize = entry::<u64, Waiting>()
    + entry::<(UserId, NodeId), Pile>()
    + size_of::<(UserName, Introduced)>()
    + crate::kademlia::MAX_RECORD_LEN
    + 128;

/// What becomes of an envelope that was fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// It is released once everything that was asked for is on disk.
    Kept,
    /// There is no room for it now: it stays with those who keep it.
    Left,
}

impl User {
    /// Takes an envelope for this device. `is_saved` if it comes from this disk.
    pub(super) fn take_envelope(&mut self, envelope: &SealedEnvelope, is_saved: bool, now: Now) -> Taken {
        let id = envelope.id();
        let letter = Letter::open(envelope, |bound, body| self.sessions.unseal(bound, body));
        let letter = letter.ok().filter(|letter| {
            is_possible(letter.number, letter.count)
                && letter.from != self.id
                && letter.envelope.bytes.len() <= MAX_ENVELOPE_LEN
        });
        let Some(letter) = letter else { return self.drop_envelope(id, is_saved) };
        let introduced = letter.introduction.as_ref().and_then(|introduction| {
            let found = self.check_introduction(letter.device, &introduction.claim, &introduction.user)?;
            (found.0 == letter.from).then_some((found.1, found.2))
        });
        let conversation = self.people.with_user(&letter.from);
        if conversation.is_some_and(|id| self.is_blocked(id)) {
            self.blocked_count += 1;
            return self.release_unread(id, is_saved);
        }
        // What is on this disk stays there, and waits.
        let size = (letter.count, letter.envelope.bytes.len());
        if !is_saved && conversation.is_some_and(|id| !self.admits_words(id, size)) {
            return Taken::Left;
        }
        let (device, number) = (letter.device.node_id(), letter.number);
        let owner = (letter.from, device);
        let stream = conversation.and_then(|conversation| self.people.known_stream(conversation, device));
        let is_known = stream.is_some_and(|stream| stream.identity.is_some());
        match (conversation, introduced) {
            (Some(conversation), introduced) if is_known => {
                self.pile(id, letter, introduced, is_saved);
                self.open_letters((conversation, device), now);
            }
            (Some(conversation), Some((name, introduced))) => {
                self.pile(id, letter, Some((name, introduced.clone())), is_saved);
                self.admit(conversation, introduced, Vec::new(), now);
            }
            (None, Some((name, introduced))) => {
                if !self.has_room_for(&letter)
                    || !self.look_into(letter.from, name.clone(), introduced.clone(), Vec::new(), now)
                {
                    return Taken::Left;
                }
                self.pile(id, letter, Some((name, introduced)), is_saved);
            }
            (_, None) => return self.drop_envelope(id, is_saved),
        }
        self.keep_piled(owner, number, envelope)
    }

    fn drop_envelope(&mut self, id: EnvelopeId, is_saved: bool) -> Taken {
        tracing::debug!("an envelope is dropped: it does not open, or nobody that is known wrote it");
        self.post.dropped_count += 1;
        self.release_unread(id, is_saved)
    }

    fn release_unread(&mut self, id: EnvelopeId, is_saved: bool) -> Taken {
        if is_saved {
            self.save(vec![Write::IncomingGone { id }], Vec::new());
        }
        Taken::Kept
    }

    fn has_room_for(&self, letter: &Letter) -> bool {
        let len = self.post.piled_len + letter.envelope.bytes.len();
        self.post.piled_count < self.config.limits.letters && len <= self.config.limits.letters_len
    }

    fn pile(
        &mut self,
        id: EnvelopeId,
        letter: Letter,
        introduced: Option<(UserName, Introduced)>,
        is_saved: bool,
    ) {
        let owner = (letter.from, letter.device.node_id());
        let pile = self.post.piles.entry(owner).or_default();
        pile.oldest = pile.oldest.max(letter.oldest);
        let introduced = introduced.map(Box::new);
        let held = Held { tag: letter.tag, count: letter.count, envelope: letter.envelope };
        let waiting = Waiting { id, held, introduced, is_saved };
        self.post.piled_count += 1;
        self.post.piled_len += waiting.held.envelope.bytes.len();
        // A new form takes the place of the old one.
        let replaced =
            self.post.piles.get_mut(&owner).and_then(|pile| pile.letters.insert(letter.number, waiting));
        if let Some(replaced) = replaced {
            self.uncount(&replaced);
        }
    }

    fn uncount(&mut self, waiting: &Waiting) {
        self.post.piled_count -= 1;
        self.post.piled_len -= waiting.held.envelope.bytes.len();
        if waiting.is_saved {
            self.save(vec![Write::IncomingGone { id: waiting.id }], Vec::new());
        }
    }

    /// Saves an envelope if its letter still waits; if there is no room for it, lets it go.
    fn keep_piled(&mut self, owner: (UserId, NodeId), number: u64, envelope: &SealedEnvelope) -> Taken {
        let limits = &self.config.limits;
        let is_full = self.post.piled_count > limits.letters || self.post.piled_len > limits.letters_len;
        let id = envelope.id();
        let Some(pile) = self.post.piles.get_mut(&owner) else { return Taken::Kept };
        let waiting = pile.letters.get_mut(&number);
        let Some(waiting) = waiting.filter(|waiting| waiting.id == id && !waiting.is_saved) else {
            return Taken::Kept;
        };
        if is_full {
            let removed = pile.letters.remove(&number);
            removed.iter().for_each(|waiting| self.uncount(waiting));
            return Taken::Left;
        }
        waiting.is_saved = true;
        let bytes = envelope.as_bytes().to_vec();
        self.save(vec![Write::Incoming(SavedIncoming { id, bytes })], Vec::new());
        Taken::Kept
    }

    /// Notes what a device says it still owes, before anything of it is passed over.
    pub(super) fn note_oldest(&mut self, writer: UserId, (id, device): Peer, oldest: u64, now: Now) {
        if let Some(pile) = self.post.piles.get_mut(&(writer, device)) {
            pile.heard = pile.heard.max(oldest);
            self.open_letters((id, device), now);
        }
    }

    /// Opens what has waited for letters that might still have come in, and did not.
    pub(super) fn open_all_letters(&mut self, now: Now) {
        let owners: Vec<(UserId, NodeId)> = self.post.piles.keys().copied().collect();
        for (writer, device) in owners {
            if let Some(id) = self.people.with_user(&writer) {
                self.open_letters((id, device), now);
            }
        }
    }

    /// Forgets the letters of a device that will never be opened.
    pub(super) fn drop_letters(&mut self, owner: (UserId, NodeId)) {
        let Some(pile) = self.post.piles.remove(&owner) else { return };
        for waiting in pile.letters.into_values() {
            self.post.dropped_count += 1;
            self.uncount(&waiting);
        }
    }

    /// Opens what is due of the letters of a device, in the order of their numbers, and saves it together with what
    /// opened it.
    pub(super) fn open_letters(&mut self, peer: Peer, now: Now) {
        let Some(writer) = self.people.get(peer.0).and_then(|found| found.saved.user) else { return };
        let owner = (writer, peer.1);
        if !self.post.piles.contains_key(&owner) {
            return;
        }
        let before = self
            .people
            .known_stream(peer.0, peer.1)
            .map_or((0, 0), |stream| (stream.held_count(), stream.held_len()));
        let (mut writes, mut then, mut receipts) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_changed = false;
        while let Some((number, waiting)) = self.take_due(owner, peer) {
            has_changed = true;
            match self.open_letter(peer, (writer, number), &waiting, &mut receipts, now) {
                Ok((more, events)) => {
                    writes.extend(more);
                    then.extend(events);
                }
                Err(()) => {
                    // It may be opened later.
                    self.put_back(owner, number, waiting);
                    break;
                }
            }
            self.post.piled_count -= 1;
            self.post.piled_len -= waiting.held.envelope.bytes.len();
            if waiting.is_saved {
                writes.push(Write::IncomingGone { id: waiting.id });
            }
        }
        if self.post.piles.get(&owner).is_some_and(|pile| pile.letters.is_empty()) {
            self.post.piles.remove(&owner);
        }
        if has_changed {
            let stream = self.people.known_stream(peer.0, peer.1).map(|stream| stream.to_saved());
            writes.extend(stream.map(Write::Stream));
        }
        writes.extend(self.sessions.take_writes());
        self.save(writes, then);
        self.recount_held(peer, before);
        receipts.iter().for_each(|receipt| self.handle_receipt(peer, receipt, now));
        if has_changed {
            self.owe_receipts_soon(now);
            self.owe_token_soon(peer, now);
        }
    }

    /// Takes the first letter of a pile off it if nothing before it is waited for.
    fn take_due(&mut self, owner: (UserId, NodeId), peer: Peer) -> Option<(u64, Waiting)> {
        let is_coming = self.post.collector.is_fetching();
        let pile = self.post.piles.get_mut(&owner)?;
        let number = *pile.letters.first_key_value()?.0;
        let oldest = if is_coming { pile.heard } else { pile.oldest.max(pile.heard) };
        let stream = self.people.known_stream(peer.0, peer.1)?;
        let is_due = stream.is_due(number, oldest);
        is_due.then(|| pile.letters.pop_first()).flatten()
    }

    fn put_back(&mut self, owner: (UserId, NodeId), number: u64, waiting: Waiting) {
        if let Some(pile) = self.post.piles.get_mut(&owner) {
            pile.letters.insert(number, waiting);
        }
    }

    /// Opens a letter that is due, and returns what is to be saved and told of it; receipts are set aside. An error if it
    /// may be tried again later.
    fn open_letter(
        &mut self,
        peer: Peer,
        (writer, number): (UserId, u64),
        waiting: &Waiting,
        receipts: &mut Vec<Vec<u8>>,
        now: Now,
    ) -> Result<(Vec<Write>, Vec<Effect>), ()> {
        let (id, device): (ConversationId, NodeId) = peer;
        let stream = self.people.known_stream(id, device).ok_or(())?;
        let identity = stream.identity.ok_or(())?;
        let Held { tag, count, .. } = waiting.held;
        let nothing = Ok((Vec::new(), Vec::new()));
        match stream.judge_envelope(number, count, tag) {
            // A letter that was passed over has no answer of its own: what the receipt says is enough.
            Arrival::Known | Arrival::Passed => {
                stream.owe_receipt(ReceiptVerdict::Delivered);
                return nothing;
            }
            Arrival::OutOfStep => {
                stream.owe_receipt(ReceiptVerdict::OutOfStep);
                return nothing;
            }
            Arrival::New if count == 1 && stream.has_taken(tag) => {
                stream.pass(&[(number, tag)]);
                stream.owe_receipt(ReceiptVerdict::Delivered);
                return nothing;
            }
            Arrival::New => {}
        }
        let mut opened = self.open(peer, &identity, (writer, number), &waiting.held, now);
        if opened == Err(DeliverRefusal::UnknownSender)
            && let Some((_, introduced)) = waiting.introduced.as_deref()
        {
            self.people.stream(id, device).identity = Some(introduced.keys.identity);
            opened = self.open(peer, &introduced.keys.identity, (writer, number), &waiting.held, now);
        }
        let (verdict, taken) = match opened {
            Ok(messages) => {
                let is_answered = messages.iter().any(|message| !message.kind.is_notice());
                match self.take_opened(peer, writer, messages, receipts, now) {
                    Ok(taken) => (is_answered.then_some(ReceiptVerdict::Delivered), Ok(taken)),
                    Err(_) => (Some(ReceiptVerdict::OutOfStep), nothing),
                }
            }
            Err(DeliverRefusal::Busy) => return Err(()),
            Err(_) => {
                self.post.dropped_count += 1;
                (Some(ReceiptVerdict::Unopened), nothing)
            }
        };
        let stream = self.people.known_stream(id, device).ok_or(())?;
        verdict.into_iter().for_each(|verdict| stream.owe_receipt(verdict));
        taken
    }
}
