//! [`Saving`]: collects writes into batches, and keeps back what must not happen before they are on disk.

use std::collections::BTreeMap;

use crate::codec;
use crate::crypto::SessionId;
use crate::event::Event;
use crate::kademlia::Contact;
use crate::mail::MailEffect;
use crate::save::{BatchId, ConversationId, StreamId, Write, WriteBatch};
use crate::user::Effect;

/// What happens once something is on disk.
#[derive(Debug)]
pub(crate) enum Then {
    /// To the user.
    User(Effect),
    /// To the mailbox.
    Mail(MailEffect),
}

impl Then {
    /// Returns about how many bytes of memory it takes. What is said of a message has its text once more.
    fn len(&self) -> usize {
        let bytes = match self {
            Self::User(Effect::Tell(Event::Message(message))) => message.text.len() + message.from.len(),
            Self::User(Effect::Collected { ids }) => size_of_val(&ids[..]),
            Self::User(Effect::Publish(record)) => record.as_bytes().len(),
            _ => 0,
        };
        // They wait in a list that doubles as it grows.
        2 * size_of::<Self>() + bytes
    }
}

/// What a later write of the same takes the place of, within a batch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Replaced {
    Conversation(ConversationId),
    Stream(StreamId),
    Session(SessionId),
}

/// Writes on their way to the disk: one batch is being written while the next one is collected.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    open: Vec<Write>,
    /// Where in `open` the latest form of what is saved again and again stands.
    latest: BTreeMap<Replaced, usize>,
    open_effects: Vec<Then>,
    in_flight: Option<(BatchId, Vec<Then>)>,
    last_batch: u64,
    /// What the open batch takes, and the one that is being written: writes, and what waits for them.
    lens: [usize; 2],
}

impl Saving {
    /// Adds writes that stay together, and what depends on them. Effects without writes of their own depend on
    /// everything that was asked for before. Returns the effects that need not wait.
    #[must_use]
    pub(crate) fn add(&mut self, writes: Vec<Write>, effects: Vec<Then>) -> Vec<Then> {
        writes.into_iter().for_each(|write| self.push(write));
        let len = || effects.iter().map(Then::len).sum::<usize>();
        if !self.open.is_empty() {
            self.lens[0] += len();
            self.open_effects.extend(effects);
        } else if let Some((_, waiting)) = &mut self.in_flight {
            self.lens[1] += len();
            waiting.extend(effects);
        } else {
            return effects;
        }
        Vec::new()
    }

    /// Adds a write to the batch, in the place of an earlier one of the same if that makes no difference.
    fn push(&mut self, write: Write) {
        let replaced = match &write {
            Write::Conversation(saved) => Some(Replaced::Conversation(saved.id)),
            Write::Stream(saved) => Some(Replaced::Stream(saved.id)),
            Write::Session(saved) => Some(Replaced::Session(saved.id)),
            // What stood before it must not come after it.
            Write::Merged { .. } | Write::SessionGone { .. } => {
                self.latest.clear();
                None
            }
            _ => None,
        };
        let earlier = replaced.and_then(|what| self.latest.get(&what)).copied();
        match earlier.and_then(|index| self.open.get_mut(index)) {
            Some(earlier) if may_replace(earlier, &write) => {
                self.lens[0] = (self.lens[0] + write.len()).saturating_sub(earlier.len());
                *earlier = write;
            }
            _ => {
                self.lens[0] += write.len();
                self.latest.extend(replaced.map(|what| (what, self.open.len())));
                self.open.push(write);
            }
        }
    }

    /// Returns the next batch, unless one is being written.
    pub(crate) fn poll_batch(&mut self) -> Option<WriteBatch> {
        if self.in_flight.is_some() || self.open.is_empty() {
            return None;
        }
        self.last_batch += 1;
        self.latest.clear();
        let id = BatchId(self.last_batch);
        self.in_flight = Some((id, std::mem::take(&mut self.open_effects)));
        self.lens = [0, self.lens[0]];
        Some(WriteBatch { id, writes: std::mem::take(&mut self.open) })
    }

    /// Takes that a batch is on disk and returns what depended on it.
    pub(crate) fn handle_written(&mut self, id: BatchId) -> Vec<Then> {
        match self.in_flight.take() {
            Some((written, effects)) if written == id => {
                self.lens[1] = 0;
                effects
            }
            other => {
                self.in_flight = other;
                Vec::new()
            }
        }
    }

    /// Returns about how many bytes of memory is taken by what waits for the disk; the bytes of envelopes that are kept for
    /// others are counted by the mailbox.
    pub(crate) const fn len(&self) -> usize {
        self.lens[0] + self.lens[1]
    }

    /// Tells whether nothing waits for the disk.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.open.is_empty()
    }
}

/// Tells whether a write may stand in the place of an earlier one of the same, before what came between. What a
/// conversation is called must be free by then, and a session that ends ends in its turn.
fn may_replace(earlier: &Write, later: &Write) -> bool {
    match (earlier, later) {
        (Write::Conversation(earlier), Write::Conversation(later)) => {
            (&earlier.peer, earlier.user) == (&later.peer, later.user)
        }
        (Write::Stream(earlier), Write::Stream(later)) => earlier.conversation == later.conversation,
        (Write::Session(earlier), Write::Session(later)) => earlier.state.is_some() == later.state.is_some(),
        _ => false,
    }
}

/// Returns what tells one set of contacts from another in a fraction of the room. Their order, in which each request
/// that is answered changes something, is no reason to write them all again.
pub(super) fn digest(contacts: &[Contact]) -> [u8; 32] {
    let mut sorted: Vec<_> = contacts.iter().collect();
    sorted.sort_by_key(|contact| contact.id());
    let mut hasher = blake3::Hasher::new();
    for contact in sorted {
        hasher.update(&codec::encode(contact));
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save::SavedConversation;
    use crate::user::RequestTag;

    fn write() -> Write {
        Write::Confirmed { position: 1 }
    }

    fn effect(tag: u64) -> Then {
        Then::User(Effect::Reply { to: RequestTag(tag), response: crate::user::ChatResponse::Introduced })
    }

    fn tags(effects: &[Then]) -> Vec<u64> {
        let tag = |effect: &Then| match effect {
            Then::User(Effect::Reply { to, .. }) => to.0,
            other => panic!("unexpected {other:?}"),
        };
        effects.iter().map(tag).collect()
    }

    #[test]
    fn an_effect_waits_for_its_batch() {
        let mut saving = Saving::default();
        assert!(saving.add(vec![write()], vec![effect(1)]).is_empty());
        let batch = saving.poll_batch().unwrap();
        assert!(saving.add(vec![write()], vec![effect(2)]).is_empty());
        assert!(saving.poll_batch().is_none(), "one batch at a time");
        assert_eq!(tags(&saving.handle_written(batch.id)), [1]);
        let batch = saving.poll_batch().unwrap();
        assert_eq!(tags(&saving.handle_written(batch.id)), [2]);
        assert!(saving.is_idle());
    }

    /// A conversation is saved with every message that is written in it.
    #[test]
    fn of_what_is_saved_again_and_again_a_batch_has_the_latest() {
        let mut saving = Saving::default();
        let conversation = |peer: &str, next_number| {
            let fresh = SavedConversation::fresh(ConversationId(1), peer.to_owned(), None);
            Write::Conversation(SavedConversation { next_number, ..fresh })
        };
        let numbers = |batch: &WriteBatch| {
            let number = |write: &Write| match write {
                Write::Conversation(saved) => saved.next_number,
                _ => 0,
            };
            batch.writes.iter().map(number).collect::<Vec<_>>()
        };
        let _ = saving.add(vec![conversation("bob", 1), write()], vec![]);
        let _ = saving.add(vec![conversation("bob", 2), write()], vec![]);
        let batch = saving.poll_batch().unwrap();
        assert_eq!(numbers(&batch), [2, 0, 0]);
        let _ = saving.handle_written(batch.id);
        let _ = saving.add(vec![conversation("bob", 3), write()], vec![]);
        let _ = saving.add(vec![conversation("robert", 4)], vec![]);
        let (from, into) = (ConversationId(2), ConversationId(1));
        let _ = saving.add(vec![Write::Merged { from, into }, conversation("robert", 5)], vec![]);
        assert_eq!(numbers(&saving.poll_batch().unwrap()), [3, 0, 4, 0, 5], "another name, another order");
    }

    #[test]
    fn an_effect_without_writes_waits_for_what_came_before() {
        let mut saving = Saving::default();
        assert_eq!(tags(&saving.add(vec![], vec![effect(1)])), [1]);
        let _ = saving.add(vec![write()], vec![]);
        let batch = saving.poll_batch().unwrap();
        assert!(saving.add(vec![], vec![effect(2)]).is_empty());
        assert_eq!(tags(&saving.handle_written(batch.id)), [2]);
    }

    #[test]
    fn the_order_of_contacts_is_no_reason_to_save_them_again() {
        let contact = |seed, port| {
            Contact::new(crate::kademlia::NodeKey::from_bytes([seed; 32]), ([192, 0, 2, 1], port).into())
        };
        let (a, b) = (contact(1, 1), contact(2, 1));
        assert_eq!(digest(&[a, b]), digest(&[b, a]));
        assert_ne!(digest(&[a, b]), digest(&[a]));
        assert_ne!(digest(&[a, b]), digest(&[a, contact(2, 7)]), "an address has changed");
    }
}
