//! How [`User`] holds on to the key behind a name, and what the application decides about it.
//!
//! A conversation belongs to one key for good. What can change, and only by [`Decision::Accept`], is which conversation
//! a plain name means. A name that is seen to belong to another key is therefore told and otherwise changes nothing.

use std::time::Duration;

use super::contacts::Verb;
use super::directory::{CLAIM_WITNESSES, Verdict, judge};
use super::machine::{Effect, SearchOutcome, User};
use super::searching::Purpose;
use crate::event::{CommandId, Event};
use crate::identity::{Recipient, UserId, UserName};
use crate::kademlia::RecordKey;
use crate::save::{ConversationId, Relation, StreamId, Write};
use crate::time::Now;

/// How often at most the name of a person who is known already is looked up again while it is in use.
pub const NAME_CHECK_EVERY: Duration = Duration::from_secs(3600);

/// What the application decides about a person, or about what was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// From now on the name means this person, who was seen to hold it.
    Accept {
        /// The name.
        name: UserName,
        /// The person.
        user: UserId,
    },
    /// Whether the safety number was compared with the person.
    Verify {
        /// The person.
        who: Recipient,
        /// Whether it was.
        is_verified: bool,
    },
    /// Whether the person is a contact.
    Relate {
        /// The person.
        who: Recipient,
        /// What is done with them.
        verb: Verb,
    },
    /// Everything of a stream up to a number was read.
    MarkRead {
        /// The conversation.
        conversation: ConversationId,
        /// The stream.
        stream: StreamId,
        /// The number.
        number: u64,
    },
    /// A message of our own is not retried any more.
    Cancel {
        /// Its position in history.
        position: u64,
    },
}

/// Why [`User::decide`] refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecisionError {
    /// There is no conversation with such a person, or it is not known yet who they are.
    #[error("nobody of this name was met")]
    NotMet,
    /// The name was not seen to belong to that person.
    #[error("the name was not seen to belong to this person")]
    NotSeen,
    /// The person is blocked.
    #[error("the person is blocked")]
    Blocked,
    /// There are [`super::MAX_CONTACTS`] contacts.
    #[error("there are too many contacts")]
    Full,
    /// The message was delivered or given up.
    #[error("the message is not owed any more")]
    Ended,
}

impl User {
    /// Does what the application decided; [`Effect::Decided`] follows with `command` once it is on disk.
    ///
    /// # Errors
    ///
    /// Why is what [`DecisionError`] says. Nothing has changed then.
    pub fn decide(&mut self, command: CommandId, decision: Decision, now: Now) -> Result<(), DecisionError> {
        match decision {
            Decision::Accept { name, user } => self.accept(command, &name, user, now),
            Decision::Verify { who, is_verified } => self.verify(command, &who, is_verified),
            Decision::Relate { who, verb } => self.relate(command, &who, verb, now),
            Decision::MarkRead { conversation, stream, number } => {
                self.mark_read(command, (conversation, stream), number, now)
            }
            Decision::Cancel { position } => {
                if !self.cancel(position, now) {
                    return Err(DecisionError::Ended);
                }
                self.save(Vec::new(), vec![Effect::Decided { command }]);
                Ok(())
            }
        }
    }

    /// Looks again who holds the name of a conversation, unless that was done of late.
    pub(super) fn check_name(&mut self, id: ConversationId, now: Now) {
        let Some(found) = self.people.get_mut(id) else { return };
        let is_recent = |at| now.instant.saturating_duration_since(at) < NAME_CHECK_EVERY;
        if found.name_checked_at.is_some_and(is_recent) || found.saved.user.is_none_or(|user| user == self.id)
        {
            return;
        }
        let Ok(peer) = Recipient::parse(&found.saved.peer) else { return };
        if peer.fingerprint().is_none() {
            found.name_checked_at = Some(now.instant);
            let key = RecordKey::of_name(peer.name().as_str());
            self.start_search(Purpose::Check(id), key, CLAIM_WITNESSES);
        }
    }

    /// Takes who holds the name of a conversation now. That nobody does, or that the answers disagree, says nothing
    /// against the person it was.
    pub(super) fn handle_checked(&mut self, id: ConversationId, outcome: &SearchOutcome) {
        let Some(found) = self.people.get_mut(id) else { return };
        if outcome.answer_count == 0 {
            found.name_checked_at = None;
        }
        if let Verdict::Held(key) = judge(&outcome.records, |_| true) {
            self.notice_holder_in(id, UserId::of(&key));
        }
    }

    /// Takes that the directory names the holder of a name.
    pub(super) fn notice_holder(&mut self, name: &UserName, holder: UserId) {
        if let Some(id) = self.people.named(name.as_str()) {
            self.notice_holder_in(id, holder);
        }
    }

    /// Tells the application if the plain name of a conversation belongs to somebody else now, once for each such
    /// person in a row. Nothing is sent to them.
    fn notice_holder_in(&mut self, id: ConversationId, holder: UserId) {
        let Some(found) = self.people.get_mut(id) else { return };
        let Ok(peer) = Recipient::parse(&found.saved.peer) else { return };
        let Some(pinned) = found.saved.user.filter(|_| peer.fingerprint().is_none()) else { return };
        let rival = Some(holder).filter(|holder| *holder != pinned);
        if found.saved.rival == rival {
            return;
        }
        found.saved.rival = rival;
        let write = Write::Conversation(found.saved.clone());
        let event = |new| Event::IdentityChanged { name: peer.name().clone(), old: pinned, new };
        self.save(vec![write], rival.map(event).map(Effect::Tell).into_iter().collect());
    }

    /// Tells again what the application has not decided yet: it may not have heard it before the last crash.
    pub(super) fn tell_rivals(&mut self) {
        let undecided = |saved: &crate::save::SavedConversation| {
            let name = UserName::parse(&saved.peer).ok()?;
            Some(Event::IdentityChanged { name, old: saved.user?, new: saved.rival? })
        };
        let events: Vec<Event> = self.people.iter().filter_map(|found| undecided(&found.saved)).collect();
        events.into_iter().for_each(|event| self.tell(event));
    }

    /// Moves a name from the conversation with its former holder to the one with `user`. Messages stay where they are.
    fn accept(
        &mut self,
        command: CommandId,
        name: &UserName,
        user: UserId,
        now: Now,
    ) -> Result<(), DecisionError> {
        let old = self.people.named(name.as_str()).ok_or(DecisionError::NotMet)?;
        let saved = self.people.get(old).map(|found| found.saved.clone()).ok_or(DecisionError::NotMet)?;
        let former = saved.user.ok_or(DecisionError::NotMet)?;
        if saved.rival != Some(user) {
            return Err(DecisionError::NotSeen);
        }
        match self.people.with_user(&user).map(|id| self.people.relation(id)) {
            Some(Relation::Blocked) => return Err(DecisionError::Blocked),
            Some(Relation::Contact) => {}
            _ if !self.people.has_room_for_contact() => return Err(DecisionError::Full),
            _ => {}
        }
        let [former_address, address] = [former, user].map(|user| Recipient::exactly(name.clone(), &user));
        // What was written to an exact address before it was known whose it is belongs to that person.
        for (address, user) in [(&former_address, former), (&address, user)] {
            if let Some(unsettled) = self.people.named(&address.to_string())
                && self.people.get(unsettled).is_some_and(|found| found.saved.user.is_none())
            {
                self.settle(unsettled, user, now);
            }
        }
        if self.people.named(&former_address.to_string()).is_some() {
            // Somebody else whose fingerprint agrees: 40 bits were forged.
            return Err(DecisionError::NotSeen);
        }
        // Who is told to have begun is told to have stopped under the same name.
        self.end_typing_of(old);
        self.people.rename(old, &former_address);
        let new = self.people.with_user(&user).unwrap_or_else(|| self.people.add(&address, Some(user)));
        self.end_typing_of(new);
        self.people.rename(new, &Recipient::from(name.clone()));
        self.make_contact(new, now);
        for id in [old, new] {
            if let Some(found) = self.people.get_mut(id) {
                found.saved.rival = None;
            }
        }
        if let Some(found) = self.people.get_mut(new) {
            found.name_checked_at = Some(now.instant);
        }
        let saved = |id| self.people.get(id).map(|found| Write::Conversation(found.saved.clone()));
        let writes = [old, new].into_iter().filter_map(saved).collect();
        self.save(writes, vec![Effect::Decided { command }]);
        Ok(())
    }

    fn verify(
        &mut self,
        command: CommandId,
        who: &Recipient,
        is_verified: bool,
    ) -> Result<(), DecisionError> {
        let id = self.people.addressed(who).ok_or(DecisionError::NotMet)?;
        let found = self.people.get_mut(id).ok_or(DecisionError::NotMet)?;
        if found.saved.user.is_none() {
            return Err(DecisionError::NotMet);
        }
        found.saved.is_verified = is_verified;
        let write = Write::Conversation(found.saved.clone());
        self.save(vec![write], vec![Effect::Decided { command }]);
        Ok(())
    }
}
