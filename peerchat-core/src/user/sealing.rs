//! How [`User`] seals what it owes and opens what arrives, and what it does when the two sides' keys do not fit.

use std::ops::Range;
use std::time::Duration;

use super::batch::{self, Opened};
use super::chat::{Content, DeliverRefusal};
use super::directory::conversation_of;
use super::machine::{Effect, SealId, User};
use super::owed::Owed;
use super::sender::{Sender, Step};
use super::sessions::OpenError;
use super::streams::Held;
use crate::codec;
use crate::crypto::IdentityKey;
use crate::identity::UserId;
use crate::kademlia::{Contact, NodeId};
use crate::save::{ConversationId, SavedEnvelope, Write};
use crate::time::Now;

/// How long after what is owed to a person was sealed anew, or got new numbers, that is not done again.
pub const REPAIR_INTERVAL: Duration = Duration::from_secs(3600);

/// How far ahead of our own numbers a recipient may be at most.
const MAX_AHEAD: u64 = 1 << 32;

impl User {
    /// Seals what may be sent to a device soon and was not sealed for it. Returns `false` if there is no session and no
    /// key to start one with.
    pub(super) fn seal_window(&mut self, id: ConversationId, user: &UserId, device: NodeId) -> bool {
        let sender = self.senders.get(&id).filter(|sender| !sender.is_sealing(self.saved_seal));
        let window = sender.map(Sender::window);
        window.is_none_or(|window| self.seal_range(id, user, device, window))
    }

    /// Seals some of what is owed for a device, as far as it was not sealed for it, and saves it together with the state
    /// of the session; not while something is still being saved, so that what comes meanwhile shares envelopes. Returns `false` if there is no session and no key to start one with.
    pub(super) fn seal_range(
        &mut self,
        id: ConversationId,
        user: &UserId,
        device: NodeId,
        range: Range<usize>,
    ) -> bool {
        let mailbox = self.own_mailbox();
        let Some(sender) = self.senders.get_mut(&id) else { return true };
        if sender.is_sealing(self.saved_seal) {
            return true;
        }
        let (conversation, peer) = (conversation_of(&self.id, user), (id, device));
        let seal = SealId(self.last_seal.0 + 1);
        let mut writes = Vec::new();
        let (mut is_sealed, mut from) = (true, range.start);
        while let Some(some) = sender.next_unsealed(from..range.end, device) {
            if !self.sessions.can_seal(peer) {
                let keys = self.people.get(id).and_then(|found| found.keys.get(&device));
                is_sealed = keys.is_some_and(|keys| self.sessions.start(peer, keys).is_ok());
            }
            let position = sender.messages(some.clone()).next().map(|owed| owed.position);
            let content_of = |owed: &Owed| self.post.content_of(owed, &mailbox, user);
            let content = batch::pack(conversation, sender.messages(some.clone()), &self.tag_key, content_of);
            let Some((position, content)) = position.zip(content).filter(|_| is_sealed) else { break };
            let Ok(envelope) = self.sessions.seal(peer, &content) else {
                is_sealed = false;
                break;
            };
            let (count, sealed) = (some.len() as u64, envelope.clone());
            writes.push(Write::Envelope(SavedEnvelope { position, device, count, envelope: sealed }));
            from = some.end;
            sender.set_sealed(some, device, envelope, seal);
        }
        if !writes.is_empty() {
            self.last_seal = seal;
            writes.extend(self.sessions.take_writes());
            self.save(writes, vec![Effect::Sealed { conversation: id, seal }]);
        }
        is_sealed
    }

    /// Looks up the keys of a device that has no session with us, once; a device that is not listed is given up.
    pub(super) fn fetch_keys(&mut self, id: ConversationId, user: &UserId, to: &Contact, now: Now) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        if sender.has_located {
            self.give_up_contact(id, to, now);
            self.advance(id, now);
        } else {
            sender.step = Step::Locating;
            self.locate(id, user);
        }
    }

    /// Takes that a device does not open what was sealed for it: what is owed is sealed anew, in a new session. At most
    /// once in [`REPAIR_INTERVAL`]; otherwise it waits.
    pub(super) fn repair(&mut self, id: ConversationId, device: NodeId, now: Now) {
        let Some(found) = self.people.get_mut(id) else { return };
        if is_within(found.repaired_at, now) {
            self.pause(id, now);
            return;
        }
        tracing::debug!("a session is repaired");
        found.repaired_at = Some(now.instant);
        // The prekey may be what does not fit.
        found.keys.remove(&device);
        self.sessions.retire((id, device));
        self.end_deposits(id);
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.forget_sealed();
            sender.set_back();
            sender.has_located = false;
            sender.step = Step::Ready;
        }
        self.save_sessions();
    }

    /// Takes that our numbers have gone to other messages, because this profile is an old copy: what is owed gets
    /// numbers that the recipient does not know. At most once in [`REPAIR_INTERVAL`]; otherwise it waits.
    pub(super) fn renumber(&mut self, id: ConversationId, next: u64, now: Now) {
        let Some(found) = self.people.get_mut(id) else { return };
        let own = found.saved.next_number;
        if is_within(found.renumbered_at, now) || next.saturating_sub(own) > MAX_AHEAD {
            self.pause(id, now);
            return;
        }
        tracing::debug!("what is owed is numbered anew");
        found.renumbered_at = Some(now.instant);
        found.saved.next_number = own.max(next);
        self.end_deposits(id);
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.forget_numbers();
            sender.set_back();
            sender.step = Step::Ready;
        }
        self.number_owed(id);
    }

    /// Opens an envelope of a device, checks what is in it, and returns its messages.
    pub(super) fn open(
        &mut self,
        (id, device): (ConversationId, NodeId),
        identity: &IdentityKey,
        (writer, number): (UserId, u64),
        held: &Held,
        now: Now,
    ) -> Result<Vec<Opened>, DeliverRefusal> {
        if !self.admits_words(id, (held.count, held.envelope.bytes.len())) {
            return Err(DeliverRefusal::Busy);
        }
        if self.people.relation(id).is_undecided() && self.sessions.is_start((id, device), &held.envelope) {
            let count: usize = self.people.undecided().map(|id| self.sessions.count_of(id)).sum();
            if count >= self.config.limits.stranger_sessions {
                self.refused_request_count += 1;
                return Err(DeliverRefusal::Busy);
            }
        }
        let opened = self.sessions.open((id, device), identity, &held.envelope, now.wall);
        let opened = opened.map_err(|error| match error {
            OpenError::Unopened => DeliverRefusal::Unopened,
            OpenError::Busy => DeliverRefusal::Busy,
            // A device that has lost its keys has others: its user's record says so.
            OpenError::OtherKey => DeliverRefusal::UnknownSender,
        })?;
        let content = codec::decode(&opened).ok().filter(|content: &Content| {
            content.number == number && content.conversation == conversation_of(&self.id, &writer)
        });
        let messages = content.and_then(|content| batch::unpack(content, held.count, held.tag));
        if messages.is_none() {
            self.malformed_count += 1;
        }
        messages.ok_or(DeliverRefusal::BadIntroduction)
    }
}

fn is_within(at: Option<std::time::Instant>, now: Now) -> bool {
    at.is_some_and(|at| now.instant.saturating_duration_since(at) < REPAIR_INTERVAL)
}
