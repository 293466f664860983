//! [`Timer`]: what a deadline of a user is for.

use crate::identity::UserId;
use crate::save::ConversationId;

/// What [`super::User::handle_timeout`] has to look at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// The pause of a sender ends.
    Retry(ConversationId),
    /// A message expires.
    Expiry(ConversationId),
    /// The name of a stranger is looked up again.
    Vouch(UserId),
    /// Receipts for what was read are sent.
    Receipts,
    /// Contacts that were heard get a token.
    Tokens,
    /// Somebody is told, or need not be told, whether we type.
    Typing(ConversationId),
    /// Somebody is taken to type no longer.
    TypingHeard(ConversationId),
    /// What waits for us is asked for again.
    Collect,
    /// The own records are due to be signed or published again.
    Publish,
}

impl Timer {
    /// Says what the timer is for.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Retry(_) => "retry of a delivery",
            Self::Expiry(_) => "expiry of a message",
            Self::Vouch(_) => "name of a stranger",
            Self::Receipts => "receipts for what was read",
            Self::Tokens => "tokens for contacts",
            Self::Typing(_) => "a typing notice",
            Self::TypingHeard(_) => "the end of somebody's typing",
            Self::Collect => "collecting of mail",
            Self::Publish => "publication of the user",
        }
    }
}
