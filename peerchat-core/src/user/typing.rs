//! How [`User`] tells others that somebody writes to them, and takes what they say of that.
//!
//! That somebody is typing is only worth knowing now, so a notice of it goes over a link that is there, once ([`Hint`]), and
//! nothing of it touches the disk: it has no number, no place in history and no part in a session, whose next state would
//! have to be saved. What is lost is made good by the next notice, or by the end of its lifetime.
//!
//! Contacts alone are told, and contacts alone are heard: a stranger learns nothing of when a person sits at the keyboard.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::chat::{ChatRequest, ChatResponse, Hint};
use super::directory::conversation_of;
use super::machine::{RequestTag, User, UserAction};
use super::naming::DecisionError;
use super::timers::Timer;
use crate::event::Event;
use crate::identity::Recipient;
use crate::idle;
use crate::kademlia::NodeId;
use crate::save::{ConversationId, Relation};
use crate::time::Now;

/// How long there is at least between two notices to one person, however often the application says what it says.
pub const TYPING_INTERVAL: Duration = Duration::from_secs(3);

/// How long somebody is taken to type after the last notice that said so: two in a row may be lost.
pub const TYPING_LIFETIME: Duration = Duration::from_secs(10);

/// How many notices of one person are taken at once. After that one more is taken each second.
pub const MAX_TYPING_BURST: u32 = 4;

/// How much of a person's allowance each notice takes: a third of [`TYPING_INTERVAL`], for notices overtake one another.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);

/// Who was told of late that we type, and who types.
#[derive(Debug, Default)]
pub(super) struct Typing {
    told: BTreeMap<ConversationId, Told>,
    heard: BTreeMap<ConversationId, Heard>,
    dropped_count: u64,
}

/// What somebody was told.
#[derive(Debug)]
struct Told {
    at: Instant,
    is_typing: bool,
    /// What the application says now.
    is_wanted: bool,
}

impl Told {
    /// Returns when something is due: what the application says now, or that this is forgotten.
    fn due(&self) -> Instant {
        let is_lasting = self.is_typing && self.is_wanted;
        self.at + if is_lasting { TYPING_LIFETIME } else { TYPING_INTERVAL }
    }
}

/// What somebody says.
#[derive(Debug)]
struct Heard {
    /// Whether the application was told that they type, and not that they stopped.
    is_typing: bool,
    /// When they are taken to have stopped.
    until: Instant,
    /// What they have said has taken their allowance up to then.
    used_until: Instant,
}

impl Heard {
    /// Tells whether one more notice is taken, and counts it.
    fn admit(&mut self, now: Instant) -> bool {
        let used_until = self.used_until.max(now) + HEARD_INTERVAL;
        let is_admitted = used_until <= now + HEARD_INTERVAL * MAX_TYPING_BURST;
        if is_admitted {
            self.used_until = used_until;
        }
        is_admitted
    }

    /// Returns when something is due: that they have stopped, or that this is forgotten.
    fn due(&self) -> Instant {
        if self.is_typing { self.until } else { self.used_until }
    }
}

impl User {
    /// Takes whether this user is typing to `to`, and tells them if they are a contact and a link leads to their device:
    /// now, or a moment later if they were told something else less than [`TYPING_INTERVAL`] ago. That it goes on is told
    /// again when the application says so again, no sooner than that either; that it has ended, only after it has begun.
    /// Nothing is saved, and nothing is told of what becomes of it.
    ///
    /// # Errors
    ///
    /// [`DecisionError::NotMet`] or [`DecisionError::Blocked`].
    pub fn set_typing(&mut self, to: &Recipient, is_typing: bool, now: Now) -> Result<(), DecisionError> {
        let id = self.people.addressed(to).ok_or(DecisionError::NotMet)?;
        match self.people.relation(id) {
            Relation::Blocked => return Err(DecisionError::Blocked),
            Relation::Contact => self.want_typing(id, is_typing, now),
            Relation::Stranger | Relation::Request => {}
        }
        Ok(())
    }

    fn want_typing(&mut self, id: ConversationId, is_typing: bool, now: Now) {
        let Some(told) = self.typing.told.get_mut(&id) else {
            if is_typing {
                self.tell_typing(id, true, now);
            }
            return;
        };
        told.is_wanted = is_typing;
        let may_tell = told.at + TYPING_INTERVAL <= now.instant;
        if may_tell && (is_typing || told.is_typing) {
            self.tell_typing(id, is_typing, now);
        } else {
            let due = told.due();
            self.set_timer(due, Timer::Typing(id));
        }
    }

    /// Tells somebody what they have not been told yet, or forgets what they were told.
    pub(super) fn handle_typing_due(&mut self, id: ConversationId, now: Now) {
        let Some(Told { is_typing, is_wanted, .. }) = idle::remove(&mut self.typing.told, &id) else {
            return;
        };
        if is_typing != is_wanted {
            self.tell_typing(id, is_wanted, now);
        }
    }

    /// Tells a person, if it is known where their device was last, whether this user types. The link decides the rest.
    fn tell_typing(&mut self, id: ConversationId, is_typing: bool, now: Now) {
        let found = self.people.get(id).and_then(|found| Some((found.saved.user?, *found.route.front()?)));
        let Some((user, device)) = found.filter(|(user, _)| *user != self.id) else {
            self.stop_telling(id);
            return;
        };
        let request =
            ChatRequest::Hint(Hint::of_typing(self.id, conversation_of(&self.id, &user), is_typing));
        // Whatever the answer is, it changes nothing: nobody waits for this call.
        let tag = self.next_call();
        self.act(UserAction::Call { tag, to: device, request });
        let told = Told { at: now.instant, is_typing, is_wanted: is_typing };
        self.set_timer(told.due(), Timer::Typing(id));
        self.typing.told.insert(id, told);
    }

    /// Takes that a text is sent: whoever gets it takes that as the end of typing.
    pub(super) fn stop_typing_to(&mut self, id: ConversationId) {
        if let Some(told) = self.typing.told.get_mut(&id) {
            (told.is_typing, told.is_wanted) = (false, false);
            let due = told.due();
            self.set_timer(due, Timer::Typing(id));
        }
    }

    fn stop_telling(&mut self, id: ConversationId) {
        idle::remove(&mut self.typing.told, &id);
        self.remove_timer(Timer::Typing(id));
    }

    /// Takes a hint. The answer is the same whatever becomes of it.
    pub(super) fn handle_hint(&mut self, tag: RequestTag, device: NodeId, hint: &Hint, now: Now) {
        self.reply(tag, ChatResponse::Heard);
        let taken = hint.typing().zip(self.conversation_of_hint(device, hint));
        let is_taken = taken.is_some_and(|(is_typing, id)| self.hear_typing(id, is_typing, now));
        self.typing.dropped_count += u64::from(!is_taken);
    }

    /// Returns the conversation that a hint is about, if it is of a contact and came over a link of a device of theirs: one
    /// that was introduced, or that a record which they have signed lists, so that the first answer to us is announced too.
    fn conversation_of_hint(&mut self, device: NodeId, hint: &Hint) -> Option<ConversationId> {
        let id = self.people.with_user(&hint.from)?;
        let is_listed = self.people.get(id).is_some_and(|found| found.keys.contains_key(&device));
        let is_known =
            is_listed || self.people.known_stream(id, device).is_some_and(|stream| stream.identity.is_some());
        let is_theirs = hint.conversation == conversation_of(&self.id, &hint.from);
        let is_contact = self.people.relation(id) == Relation::Contact;
        (is_known && is_theirs && is_contact).then_some(id)
    }

    /// Takes whether a contact types, and tells the application if that is news. Returns `false` if they say too much.
    fn hear_typing(&mut self, id: ConversationId, is_typing: bool, now: Now) -> bool {
        let at = now.instant;
        let fresh = || Heard { is_typing: false, until: at, used_until: at };
        let heard = self.typing.heard.entry(id).or_insert_with(fresh);
        if !heard.admit(at) {
            return false;
        }
        let is_news = std::mem::replace(&mut heard.is_typing, is_typing) != is_typing;
        heard.until = at + TYPING_LIFETIME;
        let due = heard.due();
        self.set_timer(due, Timer::TypingHeard(id));
        if is_news {
            self.tell_of_typing(id, is_typing);
        }
        true
    }

    /// Takes that nothing was heard of somebody for long: they have stopped, and are forgotten.
    pub(super) fn handle_typing_over(&mut self, id: ConversationId, now: Now) {
        self.end_typing_of(id);
        if self.typing.heard.get(&id).is_some_and(|heard| heard.used_until <= now.instant) {
            idle::remove(&mut self.typing.heard, &id);
            self.remove_timer(Timer::TypingHeard(id));
        }
    }

    /// Tells the application that somebody has stopped, if it was told that they had begun.
    pub(super) fn end_typing_of(&mut self, id: ConversationId) {
        let Some(heard) = self.typing.heard.get_mut(&id) else { return };
        if std::mem::replace(&mut heard.is_typing, false) {
            let due = heard.due();
            self.set_timer(due, Timer::TypingHeard(id));
            self.tell_of_typing(id, false);
        }
    }

    /// Takes that somebody is no contact any more: nothing is told to them or heard of them.
    pub(super) fn forget_typing(&mut self, id: ConversationId) {
        self.end_typing_of(id);
        self.stop_telling(id);
    }

    fn tell_of_typing(&mut self, id: ConversationId, is_typing: bool) {
        let found = self.people.get(id).and_then(|found| Some((found.saved.peer.clone(), found.saved.user?)));
        if let Some((from, user)) = found {
            self.tell(Event::Typing { from, user, is_typing });
        }
    }

    /// Returns of how many people something is remembered: what they were told, and what was heard of them.
    #[cfg(test)]
    pub(super) fn typing_sizes(&self) -> (usize, usize) {
        (self.typing.told.len(), self.typing.heard.len())
    }

    /// Returns how many hints of others were of no use: of nobody who is a contact, about another conversation, of a kind
    /// that is not known here, or too many.
    #[must_use]
    pub fn dropped_hint_count(&self) -> u64 {
        self.typing.dropped_count
    }
}
