//! Contacts, requests and the blocked; who is typing; what was read; what is taken back.

use std::time::Duration;

use peerchat_core::{SendOptions, Verb};

use super::client::{Client, message_id};
use super::error::PeerchatError;

/// What a person is to the user of a profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq, uniffi::Enum)]
#[repr(i32)]
pub enum Relation {
    /// Nobody in particular: never met, removed from the contacts, or unblocked. Their next message makes a request.
    Stranger = 0,
    /// They have introduced themselves, or written, and nothing was decided. What they write arrives; they get no read
    /// receipts.
    Request = 1,
    /// Accepted, added or written to.
    Contact = 2,
    /// Nothing of theirs is taken.
    Blocked = 3,
}

impl From<peerchat_core::Relation> for Relation {
    fn from(relation: peerchat_core::Relation) -> Self {
        match relation {
            peerchat_core::Relation::Request => Self::Request,
            peerchat_core::Relation::Contact => Self::Contact,
            peerchat_core::Relation::Blocked => Self::Blocked,
            _ => Self::Stranger,
        }
    }
}

/// Somebody in the list of `contacts`.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Record)]
pub struct Person {
    /// How they are shown and addressed: `alice` or `alice#7kq2m4xd`.
    pub name: String,
    /// Who they are; None for a contact who was added and not found yet.
    pub user_id: Option<String>,
    /// The first 8 characters of the person's id.
    pub fingerprint: Option<String>,
    /// What they are to this user.
    pub relation: Relation,
    /// Whether they are marked as verified.
    pub is_verified: bool,
}

impl From<peerchat_core::Person> for Person {
    fn from(person: peerchat_core::Person) -> Self {
        Self {
            name: person.name,
            user_id: person.user.map(|user| user.to_string()),
            fingerprint: person.user.map(|user| user.fingerprint()),
            relation: person.relation.into(),
            is_verified: person.is_verified,
        }
    }
}

fn for_ms(lifetime_ms: u64) -> SendOptions {
    SendOptions::default().lifetime(Duration::from_millis(lifetime_ms))
}

#[uniffi::export]
impl Client {
    /// Returns everybody who is a contact, has made a request or is blocked, in the order in which they were met. Reads the
    /// disk on the calling thread.
    ///
    /// # Errors
    ///
    /// The disk refused, there is no user, or the client is closed.
    pub fn contacts(&self) -> Result<Vec<Person>, PeerchatError> {
        Ok(self.inner.contacts()?.into_iter().map(Person::from).collect())
    }

    /// Makes somebody a contact, whether they were met or not, on a thread that may block until it is on disk.
    ///
    /// # Errors
    ///
    /// They are blocked, there are too many contacts, the name breaks the rules, the disk refused, there is no user, or the
    /// client is closed.
    pub fn add_contact(&self, name: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.relate_blocking(name, Verb::Add)?)
    }

    /// Makes somebody who has made a request a contact, on a thread that may block until it is on disk. What of theirs was
    /// marked as read before is told to them now.
    ///
    /// # Errors
    ///
    /// NotMet if nobody of this name has made a request, and those of `add_contact`.
    pub fn accept_contact(&self, name: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.relate_blocking(name, Verb::Accept)?)
    }

    /// Blocks somebody who was met, on a thread that may block until it is on disk. Nothing of theirs is taken any more: what
    /// they deliver fails at their side with BlockedByRecipient; what they leave with others is dropped unread. What is
    /// still owed to them is canceled.
    ///
    /// # Errors
    ///
    /// Nobody of this name was met, the name breaks the rules, the disk refused, there is no user, or the client is closed.
    pub fn block(&self, name: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.relate_blocking(name, Verb::Block)?)
    }

    /// Takes what somebody writes again, on a thread that may block until it is on disk; their next message makes a request.
    ///
    /// # Errors
    ///
    /// Those of `block`.
    pub fn unblock(&self, name: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.relate_blocking(name, Verb::Unblock)?)
    }

    /// Takes somebody out of the contacts, or turns their request down, on a thread that may block until it is on disk. What
    /// was said stays; their next message makes a request again.
    ///
    /// # Errors
    ///
    /// They are blocked, and those of `block`.
    pub fn remove_contact(&self, name: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.relate_blocking(name, Verb::Remove)?)
    }

    /// Does what `send` does, for a message that is retried for so many milliseconds: 1 second to 30 days.
    ///
    /// # Errors
    ///
    /// The lifetime is out of its range, and those of `send`.
    pub async fn send_for(
        &self,
        recipient: String,
        text: String,
        lifetime_ms: u64,
    ) -> Result<String, PeerchatError> {
        Ok(self.inner.send_with(&recipient, &text, for_ms(lifetime_ms)).await?.to_string())
    }

    /// Does what `send_for` does on a thread that may block. It waits for the disk, never for the network.
    ///
    /// # Errors
    ///
    /// Those of `send_for`.
    pub fn send_for_blocking(
        &self,
        recipient: &str,
        text: &str,
        lifetime_ms: u64,
    ) -> Result<String, PeerchatError> {
        Ok(self.inner.send_with_blocking(recipient, text, for_ms(lifetime_ms))?.to_string())
    }

    /// Stops retrying a message of our own that is not delivered, on a thread that may block until it is on disk. What is
    /// under way already, or kept by others for the recipient, cannot be called back and may still arrive.
    ///
    /// # Errors
    ///
    /// No message of ours has this id, it was delivered or given up before, the disk refused, there is no user, or the client
    /// is closed.
    pub fn cancel(&self, id: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.cancel_blocking(message_id(id)?)?)
    }

    /// Says whether this user is typing to somebody, who is shown it if they are a contact and there, as Typing. To be called
    /// with every key, and with false when the text is deleted or left alone for a while: no more than one notice in 3 seconds
    /// goes out, and sending a text says that typing has ended. Who never calls this tells nobody.
    ///
    /// It goes over an encrypted link to the person's device that is up already, and is neither saved nor repeated nor kept by
    /// others: if they are away, or no link is up, or they are no contact, nothing happens, and nothing tells so. Waits for the
    /// node to take it, which is well under a millisecond unless it is busy, and neither for the disk nor for the network.
    ///
    /// # Errors
    ///
    /// NotMet if nothing was exchanged with anybody of this name and they were not added; they are blocked, the name breaks the
    /// rules, there is no user, or the client is closed.
    pub fn set_typing(&self, recipient: &str, is_typing: bool) -> Result<(), PeerchatError> {
        Ok(self.inner.set_typing_blocking(recipient, is_typing)?)
    }

    /// Marks a received message, and everything that the same person wrote from the same device before it, as read, on a
    /// thread that may block until it is on disk. If they are a contact they are told, unless `read_receipts` says not to.
    ///
    /// # Errors
    ///
    /// No received message has this id, the disk refused, there is no user, or the client is closed.
    pub fn mark_read(&self, id: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.mark_read_blocking(message_id(id)?)?)
    }
}
