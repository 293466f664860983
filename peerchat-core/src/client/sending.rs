//! How a message is sent otherwise than usual, announced, read by others, and taken back.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Client;
use crate::config::{MAX_MESSAGE_LIFETIME, MIN_MESSAGE_LIFETIME};
use crate::error::Error;
use crate::event::MessageId;
use crate::identity::Recipient;
use crate::runtime::{Command, block_on};
use crate::save::StreamId;
use crate::user::Decision;

/// How one message is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendOptions {
    lifetime: Option<Duration>,
}

impl SendOptions {
    /// Sets how long the message is retried while it is not delivered: [`MIN_MESSAGE_LIFETIME`] (1 s) to
    /// [`MAX_MESSAGE_LIFETIME`] (30 days). Default: [`crate::Config::message_lifetime`].
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    pub(super) fn checked_lifetime(self) -> Result<Option<Duration>, Error> {
        let is_allowed =
            |lifetime: &Duration| (MIN_MESSAGE_LIFETIME..=MAX_MESSAGE_LIFETIME).contains(lifetime);
        match self.lifetime {
            Some(lifetime) if !is_allowed(&lifetime) => Err(Error::Lifetime { seconds: lifetime.as_secs() }),
            lifetime => Ok(lifetime),
        }
    }
}

impl Client {
    /// Does what [`Client::send_with`] does on a thread that may block. It waits for the disk, never for the network.
    ///
    /// # Errors
    ///
    /// Those of [`Client::send_with`].
    pub fn send_with_blocking(&self, to: &str, text: &str, options: SendOptions) -> Result<MessageId, Error> {
        block_on(self.send_with(to, text, options))
    }

    /// Stops retrying a message of our own that is not delivered, and returns once that is on disk; its state is
    /// [`Canceled`](crate::MessageState::Canceled) then. What is under way already, or kept by others for the recipient,
    /// cannot be called back and may still arrive.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if no message of ours has this id, [`Error::AlreadyEnded`] if it was delivered or given up, the
    /// disk refused, there is no user, or the client is closed.
    pub async fn cancel(&self, id: MessageId) -> Result<(), Error> {
        let position = self.own_message(id)?.position;
        self.decide(Decision::Cancel { position }).await
    }

    /// Does what [`Client::cancel`] does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of [`Client::cancel`].
    pub fn cancel_blocking(&self, id: MessageId) -> Result<(), Error> {
        block_on(self.cancel(id))
    }

    /// Says whether this user is typing to somebody, who is shown it if they are a contact and there. To be called with every
    /// key, and with `false` when the text is deleted or left alone for a while: no more than one notice in
    /// [`TYPING_INTERVAL`](crate::TYPING_INTERVAL) goes out, and sending a text says that typing has ended. An application
    /// that never calls this tells nobody.
    ///
    /// It is a notice that is worth something now or never. It goes over a link to the person's device that is there
    /// already, and is neither saved nor repeated nor kept by others: if they are away, or no link is up, nothing happens, and
    /// nothing tells so. Nor does it if they are no contact: a stranger does not learn when this user types. At the other end
    /// it is [`Event::Typing`](crate::Event::Typing).
    ///
    /// # Errors
    ///
    /// [`Error::NotMet`] if nothing was exchanged with anybody of this name and they were not added, [`Error::Blocked`] if
    /// they are blocked; the name breaks the rules, there is no user, or the client is closed.
    pub async fn set_typing(&self, to: &str, is_typing: bool) -> Result<(), Error> {
        let to = Recipient::parse(to)?;
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let (done, set) = oneshot::channel();
        self.command(Command::SetTyping { to, is_typing, done }).await?;
        set.await.map_err(|_| Error::Closed)?
    }

    /// Does what [`Client::set_typing`] does on a thread that may block. It waits for the node to take it, which is well under
    /// a millisecond unless it is busy, and neither for the disk nor for the network.
    ///
    /// # Errors
    ///
    /// Those of [`Client::set_typing`].
    pub fn set_typing_blocking(&self, to: &str, is_typing: bool) -> Result<(), Error> {
        block_on(self.set_typing(to, is_typing))
    }

    /// Marks a received message, and everything that the same person wrote from the same device before it, as read, and
    /// returns once that is on disk. If they are a contact and [`crate::Config::read_receipts`] says so, they are told:
    /// directly, or by mail if they are away. Marking something again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if no received message has this id, the disk refused, there is no user, or the client is closed.
    pub async fn mark_read(&self, id: MessageId) -> Result<(), Error> {
        let position = id.position(&self.handle.node_id).ok_or(Error::NotFound)?;
        let message = self.open_store()?.message(position)?.ok_or(Error::NotFound)?;
        let number = message.number.filter(|_| message.stream != StreamId::OWN).ok_or(Error::NotFound)?;
        let (conversation, stream) = (message.conversation, message.stream);
        self.decide(Decision::MarkRead { conversation, stream, number }).await
    }

    /// Does what [`Client::mark_read`] does on a thread that may block.
    ///
    /// # Errors
    ///
    /// Those of [`Client::mark_read`].
    pub fn mark_read_blocking(&self, id: MessageId) -> Result<(), Error> {
        block_on(self.mark_read(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_second_to_thirty_days() {
        let check = |lifetime| SendOptions::default().lifetime(lifetime).checked_lifetime();
        assert!(matches!(check(Duration::from_millis(999)), Err(Error::Lifetime { seconds: 0 })));
        assert_eq!(check(MIN_MESSAGE_LIFETIME).unwrap(), Some(MIN_MESSAGE_LIFETIME));
        assert_eq!(check(MAX_MESSAGE_LIFETIME).unwrap(), Some(MAX_MESSAGE_LIFETIME));
        assert!(check(MAX_MESSAGE_LIFETIME + Duration::from_millis(1)).is_err());
        assert_eq!(SendOptions::default().checked_lifetime().unwrap(), None);
    }
}
