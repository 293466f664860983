//! How [`User`] tells contacts, requests and the blocked apart.
//!
//! Whoever is not known can make a request and nothing else: what they write arrives, is marked as a request, and is not
//! answered with read receipts. Writing to somebody makes them a contact. Of somebody who is blocked nothing is opened:
//! what they deliver is refused, so that they do not try again, and what they leave with others is dropped unread.

use super::machine::{Effect, PushError, User};
use super::naming::DecisionError;
use crate::event::{CommandId, MessageState};
use crate::identity::{Recipient, UserId};
use crate::kademlia::NodeId;
use crate::save::{ConversationId, Relation, Write};
use crate::time::Now;

/// Most contacts of a profile. One more is refused to the application.
pub const MAX_CONTACTS: usize = 32_768;

/// Most requests that wait for the application to decide. A stranger who would make another one is answered "busy", and
/// what they left with others stays there.
pub const MAX_REQUESTS: usize = 4_096;

/// Most requests in a day; the answer to more is the same.
pub const MAX_REQUESTS_PER_DAY: usize = 1_024;

/// Most devices in all of people about whom nothing is decided. One more is answered "busy".
pub const MAX_STRANGER_DEVICES: usize = 512;

/// Most sessions in all that such people have begun. One more is answered "busy".
pub const MAX_STRANGER_SESSIONS: usize = 512;

/// Most bytes of messages of such people that are kept, with [`MESSAGE_OVERHEAD`] for each. One of them may take as much as
/// that leaves. More is answered "busy", and what they left with others stays there.
pub const MAX_STRANGER_MESSAGES_LEN: usize = 48 * 1024 * 1024;

/// What a message counts beside its bytes: what it takes of the memory of a profile that has no disk.
pub const MESSAGE_OVERHEAD: usize = 384;

/// What the application does with a person.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// Make them a contact, whether they were met or not.
    Add,
    /// Make whoever has made a request a contact.
    Accept,
    /// Take nothing of theirs any more, and stop what is still owed to them.
    Block,
    /// Take what they write again, as a stranger's.
    Unblock,
    /// Forget that they are a contact, or that they have made a request. What was said stays.
    Remove,
}

impl User {
    /// Does something with a person that the application has decided.
    pub(super) fn relate(
        &mut self,
        command: CommandId,
        who: &Recipient,
        verb: Verb,
        now: Now,
    ) -> Result<(), DecisionError> {
        let known = self.people.addressed(who);
        let before = known.map_or(Relation::Stranger, |id| self.people.relation(id));
        let relation = match (verb, before) {
            (Verb::Add | Verb::Accept | Verb::Remove, Relation::Blocked) => {
                return Err(DecisionError::Blocked);
            }
            (Verb::Accept, Relation::Stranger) => return Err(DecisionError::NotMet),
            (Verb::Add | Verb::Accept, _) => Relation::Contact,
            (Verb::Block, _) => Relation::Blocked,
            (Verb::Unblock, Relation::Blocked) | (Verb::Remove, _) => Relation::Stranger,
            (Verb::Unblock, other) => other,
        };
        if relation == Relation::Contact && before != relation && !self.people.has_room_for_contact() {
            return Err(DecisionError::Full);
        }
        let id = match known {
            Some(id) => id,
            None if verb == Verb::Add => self.people.add(who, None),
            None => return Err(DecisionError::NotMet),
        };
        let user = self.people.get(id).and_then(|found| found.saved.user);
        if relation == Relation::Blocked && user.is_none() {
            // A block is of a key, and nobody knows which.
            return Err(DecisionError::NotMet);
        }
        if relation == Relation::Contact {
            self.make_contact(id, now);
        } else {
            self.people.set_relation(id, relation);
            self.forget_typing(id);
        }
        if let Some(user) = user.filter(|_| relation == Relation::Blocked) {
            self.turn_away(id, user, now);
        }
        let write = self.people.get(id).map(|found| Write::Conversation(found.saved.clone()));
        self.save(write.into_iter().collect(), vec![Effect::Decided { command }]);
        self.take_what_was_left(now);
        Ok(())
    }

    /// Makes the person of a conversation a contact, who is told what was read before. Whoever calls this saves the
    /// conversation.
    pub(super) fn make_contact(&mut self, id: ConversationId, now: Now) {
        self.people.set_relation(id, Relation::Contact);
        self.owe_read_receipts(id, now);
        self.owe_tokens_soon(id, now);
    }

    /// Returns the conversation that something is sent to, whose person is a contact from now on.
    pub(super) fn conversation_to_send(
        &mut self,
        to: &Recipient,
        now: Now,
    ) -> Result<ConversationId, PushError> {
        let known = self.people.addressed(to);
        match known.map(|id| (id, self.people.relation(id))) {
            Some((_, Relation::Blocked)) => Err(PushError::Blocked),
            Some((id, Relation::Contact)) => Ok(id),
            _ if !self.people.has_room_for_contact() => Err(PushError::TooManyContacts),
            _ => {
                let id = known.unwrap_or_else(|| self.people.add(to, None));
                self.make_contact(id, now);
                self.take_what_was_left(now);
                Ok(id)
            }
        }
    }

    /// Stops what goes to somebody who is blocked now, and drops what has come of theirs and was not opened.
    fn turn_away(&mut self, id: ConversationId, user: UserId, now: Now) {
        self.give_up(id, |_| true, MessageState::Canceled, None, now);
        let [first, last] = [[0; 32], [0xff; 32]].map(NodeId::from_bytes);
        let owners: Vec<(UserId, NodeId)> =
            self.post.piles.range((user, first)..=(user, last)).map(|(owner, _)| *owner).collect();
        owners.into_iter().for_each(|owner| self.drop_letters(owner));
    }

    /// Tells whether the person of a conversation is blocked.
    pub(super) fn is_blocked(&self, id: ConversationId) -> bool {
        self.people.relation(id) == Relation::Blocked
    }

    /// Notes that a message of somebody has come: if they are nobody in particular, that is a request. Returns whether
    /// it belongs to one.
    pub(super) fn note_request(&mut self, id: ConversationId, now: Now) -> bool {
        let relation = self.people.relation(id);
        if relation == Relation::Stranger {
            self.people.add_request(id, now.wall);
            let write = self.people.get(id).map(|found| Write::Conversation(found.saved.clone()));
            self.save(write.into_iter().collect(), Vec::new());
        }
        relation.is_undecided()
    }

    /// Tells whether what somebody has sent may be kept as soon as it is opened: so many messages in so many bytes. If not,
    /// it is counted.
    pub(super) fn admits_words(&mut self, id: ConversationId, (count, len): (u64, usize)) -> bool {
        let overhead = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(MESSAGE_OVERHEAD);
        let has_room = self.people.has_room_for_words(id, len.saturating_add(overhead));
        if !has_room {
            self.refused_request_count += 1;
            self.has_left_words = true;
        }
        has_room
    }

    /// Collects what there was no room for before something was decided.
    fn take_what_was_left(&mut self, now: Now) {
        if std::mem::take(&mut self.has_left_words) {
            self.collect(now);
        }
    }

    /// Returns how many deliveries, introductions and letters of people who are blocked were not taken.
    #[must_use]
    pub fn blocked_count(&self) -> u64 {
        self.blocked_count
    }

    /// Returns how many strangers were turned away because there were too many requests, or too much else of theirs; one
    /// who tries again counts again.
    #[must_use]
    pub fn refused_request_count(&self) -> u64 {
        self.refused_request_count
    }
}
