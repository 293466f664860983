//! Contacts, requests, and the blocked.

use super::Client;
use crate::error::Error;
use crate::identity::{Recipient, UserId};
use crate::runtime::block_on;
use crate::save::Relation;
use crate::user::{Decision, Verb};

/// Somebody in the list of [`Client::contacts`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    /// How they are shown and addressed: `alice` or `alice#7kq2m4xd`.
    pub name: String,
    /// Who they are; `None` for a contact who was added and not found yet.
    pub user: Option<UserId>,
    /// What they are to this user.
    pub relation: Relation,
    /// Whether the application has marked the person as verified.
    pub is_verified: bool,
}

impl Client {
    /// Returns everybody who is a contact, has made a request or is blocked, in the order in which they were met. Reads
    /// the disk on the calling thread.
    ///
    /// # Errors
    ///
    /// The disk refused, there is no user, or the client is closed.
    pub fn contacts(&self) -> Result<Vec<Person>, Error> {
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let saved = self.open_store()?.conversations()?.into_iter();
        let known = saved.filter(|saved| saved.relation != Relation::Stranger);
        Ok(known
            .map(|saved| Person {
                name: saved.peer,
                user: saved.user,
                relation: saved.relation,
                is_verified: saved.is_verified,
            })
            .collect())
    }

    /// Makes somebody a contact, whether they were met or not, and returns once that is on disk. `name` is `alice` or
    /// `alice#7kq2m4xd`; whose a plain name is is settled when they are first written to, or write.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`] if they are blocked, [`Error::TooManyContacts`]; the name breaks the rules, the disk refused, there
    /// is no user, or the client is closed.
    pub async fn add_contact(&self, name: &str) -> Result<(), Error> {
        self.relate(name, Verb::Add).await
    }

    /// Makes somebody who has made a request a contact, and returns once that is on disk. What of theirs was marked as
    /// read before is told to them now.
    ///
    /// # Errors
    ///
    /// [`Error::NotMet`] if nobody of this name has made a request, and the errors of [`Client::add_contact`].
    pub async fn accept_contact(&self, name: &str) -> Result<(), Error> {
        self.relate(name, Verb::Accept).await
    }

    /// Blocks somebody who was met, and returns once that is on disk. Nothing of theirs is taken any more: what they
    /// deliver is refused, and fails at their side with [`crate::ErrorCode::BlockedByRecipient`]; what they leave with others
    /// is dropped unread. What is still owed to them is canceled. A block is of a person's key, not of a name.
    ///
    /// # Errors
    ///
    /// [`Error::NotMet`] if nothing was exchanged with anybody of this name; the name breaks the rules, the disk refused,
    /// there is no user, or the client is closed.
    pub async fn block(&self, name: &str) -> Result<(), Error> {
        self.relate(name, Verb::Block).await
    }

    /// Takes what somebody writes again; their next message makes a request. Returns once that is on disk. Somebody who is
    /// not blocked stays what they are.
    ///
    /// # Errors
    ///
    /// Those of [`Client::block`].
    pub async fn unblock(&self, name: &str) -> Result<(), Error> {
        self.relate(name, Verb::Unblock).await
    }

    /// Takes somebody out of the contacts, or turns their request down, and returns once that is on disk. What was said
    /// stays, and what is owed to them is still delivered. Their next message makes a request again: block them if there
    /// should be none.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`] if they are blocked, and the errors of [`Client::block`].
    pub async fn remove_contact(&self, name: &str) -> Result<(), Error> {
        self.relate(name, Verb::Remove).await
    }

    /// Does what the methods of the same names do on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of the method that `verb` names.
    pub fn relate_blocking(&self, name: &str, verb: Verb) -> Result<(), Error> {
        block_on(self.relate(name, verb))
    }

    async fn relate(&self, name: &str, verb: Verb) -> Result<(), Error> {
        let who = Recipient::parse(name)?;
        self.decide(Decision::Relate { who, verb }).await
    }
}
