//! How [`User`] seals what it owes and opens what arrives, and what it does when the two sides' keys do not fit.

use std::ops::Range;
use std::time::Duration;

use super::chat::{Content, ContentKind, DeliverRefusal};
use super::directory::conversation_of;
use super::machine::{Effect, SealId, User};
use super::sender::{Sealed, Sender, Step};
use super::sessions::OpenError;
use crate::codec;
use crate::crypto::{Envelope, IdentityKey};
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
        let window = self.senders.get(&id).map(Sender::window).unwrap_or_default();
        self.seal_range(id, user, device, window)
    }

    /// Seals some of what is owed for a device, as far as it was not sealed for it, and saves it together with the state
    /// of the session. Returns `false` if there is no session and no key to start one with.
    pub(super) fn seal_range(
        &mut self,
        id: ConversationId,
        user: &UserId,
        device: NodeId,
        range: Range<usize>,
    ) -> bool {
        let Some(sender) = self.senders.get_mut(&id) else { return true };
        if sender.unsealed(range.clone(), device).next().is_none() {
            return true;
        }
        let (conversation, peer) = (conversation_of(&self.id, user), (id, device));
        let seal = SealId(self.last_seal.0 + 1);
        let mut writes = Vec::new();
        let mut is_sealed = true;
        for owed in sender.unsealed(range, device) {
            if !self.sessions.can_seal(peer) {
                let keys = self.people.get(id).and_then(|found| found.keys.get(&device));
                is_sealed = keys.is_some_and(|keys| self.sessions.start(peer, keys).is_ok());
            }
            let Some(number) = owed.number.filter(|_| is_sealed) else { break };
            let (sent, (kind, body)) = (owed.sent, owed.content());
            let content =
                zeroize::Zeroizing::new(codec::encode(&Content { conversation, number, kind, sent, body }));
            let Ok(envelope) = self.sessions.seal(peer, &content) else {
                is_sealed = false;
                break;
            };
            let position = owed.position;
            writes.push(Write::Envelope(SavedEnvelope { position, device, envelope: envelope.clone() }));
            owed.sealed = Some(Sealed { device, envelope, seal });
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

    /// Opens an envelope of a device and checks what is in it.
    pub(super) fn open(
        &mut self,
        (id, device): (ConversationId, NodeId),
        identity: &IdentityKey,
        (writer, number): (UserId, u64),
        envelope: &Envelope,
        now: Now,
    ) -> Result<Content, DeliverRefusal> {
        let opened = self.sessions.open((id, device), identity, envelope, now.wall);
        let opened = opened.map_err(|error| match error {
            OpenError::Unopened => DeliverRefusal::Unopened,
            OpenError::Busy => DeliverRefusal::Busy,
            // A device that has lost its keys has others: its user's record says so.
            OpenError::OtherKey => DeliverRefusal::UnknownSender,
        })?;
        let content: Content = codec::decode(&opened).map_err(|_| DeliverRefusal::BadIntroduction)?;
        let is_well_formed = content.number == number
            && content.body.len() <= crate::MAX_TEXT_LEN
            && content.conversation == conversation_of(&self.id, &writer)
            && (content.kind != ContentKind::TEXT.0 || std::str::from_utf8(&content.body).is_ok());
        if is_well_formed { Ok(content) } else { Err(DeliverRefusal::BadIntroduction) }
    }
}

fn is_within(at: Option<std::time::Instant>, now: Now) -> bool {
    at.is_some_and(|at| now.instant.saturating_duration_since(at) < REPAIR_INTERVAL)
}
