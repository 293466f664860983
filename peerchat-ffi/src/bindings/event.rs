//! [`Event`]: what the application is told, with ids and addresses as text.

use peerchat_core::{Event as CoreEvent, Recipient};

use super::error::ErrorCode;

/// How far a sent message has come. States only move forward, and each is true when it is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, uniffi::Enum)]
#[repr(i32)]
pub enum MessageState {
    /// A state that this version of the bindings has no name for: it is on its way.
    Other = 0,
    /// On this disk; not yet with the recipient. It is retried until it expires.
    Queued = 1,
    /// On this disk, and sealed on the disks of nodes that keep it for the recipient, who is away; they said so. It is
    /// still retried until it expires.
    Stored = 2,
    /// On the disk of a device of the recipient, which said so.
    Delivered = 3,
    /// As Delivered, and the recipient's application has marked it as read, and said so. Never told by a recipient who sends no
    /// read receipts, or to whom this user is no contact.
    Read = 4,
    /// Given up: it was not delivered within its lifetime.
    Expired = 5,
    /// Given up for a reason that retrying does not change.
    Failed = 6,
    /// Given up by `cancel`, or because this user blocked the recipient. A copy that was under way, or kept by others, cannot
    /// be called back and may still arrive.
    Canceled = 7,
}

impl From<peerchat_core::MessageState> for MessageState {
    fn from(state: peerchat_core::MessageState) -> Self {
        match state {
            peerchat_core::MessageState::Queued => Self::Queued,
            peerchat_core::MessageState::Stored => Self::Stored,
            peerchat_core::MessageState::Delivered => Self::Delivered,
            peerchat_core::MessageState::Read => Self::Read,
            peerchat_core::MessageState::Canceled => Self::Canceled,
            peerchat_core::MessageState::Expired => Self::Expired,
            peerchat_core::MessageState::Failed => Self::Failed,
            _ => Self::Other,
        }
    }
}

/// Something the application is told.
#[derive(Clone, Debug, Eq, PartialEq, uniffi::Enum)]
pub enum Event {
    /// A bootstrap call reached its node, and the own place in the network was looked up.
    Bootstrapped {
        /// What the bootstrap call returned.
        command_id: u64,
        /// The node that answered.
        node_id: String,
        /// Its address.
        address: String,
    },
    /// A bootstrap call reached nobody.
    BootstrapFailed {
        /// What the bootstrap call returned.
        command_id: u64,
        /// The address as it was given.
        address: String,
        /// What went wrong.
        code: ErrorCode,
        /// The same in words, with what to do about it.
        detail: String,
    },
    /// Other nodes answer.
    Online {
        /// How many nodes this one knows.
        contact_count: u64,
    },
    /// No known node answers any more; they are tried again with growing pauses.
    Offline,
    /// The user's name is held by a majority of the nodes responsible for it.
    Registered {
        /// The name.
        name: String,
        /// The user.
        user_id: String,
        /// The first 8 characters of the user's id.
        fingerprint: String,
    },
    /// The user's name could not be registered; messages still work by fingerprint.
    RegistrationFailed {
        /// The name.
        name: String,
        /// Who holds it.
        holder_id: String,
        /// The first 8 characters of the holder's id.
        holder_fingerprint: String,
        /// What went wrong.
        code: ErrorCode,
        /// The same in words, with what to do about it.
        detail: String,
    },
    /// A message arrived and is on disk.
    Message {
        /// Names the message in this profile: 32 hexadecimal digits.
        id: String,
        /// Who wrote it: `alice` or `alice#7kq2m4xd`.
        sender: String,
        /// The person behind the name.
        user_id: String,
        /// The first 8 characters of the person's id.
        fingerprint: String,
        /// What they wrote.
        text: String,
        /// Counts the messages of this sender to us, from 1, without gaps but for those the sender gave up.
        number: u64,
        /// When it was written, by the sender's clock: milliseconds since 1970-01-01 00:00 UTC.
        sent_unix_ms: u64,
        /// When it was saved here: milliseconds since 1970-01-01 00:00 UTC.
        received_unix_ms: u64,
        /// Whether the person is neither a contact nor blocked: `accept_contact` or `block` decides.
        is_request: bool,
    },
    /// A sent message came further, or was given up.
    MessageState {
        /// What the send call returned.
        id: String,
        /// Whom it is for, as it was addressed.
        recipient: String,
        /// How far it came.
        state: MessageState,
        /// How many nodes keep it for the recipient, if it is Stored; else 0.
        held_by: u32,
        /// Why it was given up.
        code: Option<ErrorCode>,
        /// The same in words; empty unless it was given up.
        detail: String,
    },
    /// The client stopped by itself: nothing follows. Open the profile again to go on.
    Closed {
        /// What went wrong.
        code: ErrorCode,
        /// The same in words.
        detail: String,
    },
    /// A name by which somebody is known here belongs to another key now. Nothing is sent to it until
    /// `accept_identity`.
    IdentityChanged {
        /// The name.
        name: String,
        /// The person who was met under it, and to whom messages to the name still go.
        old_user_id: String,
        /// The first 8 characters of that person's id.
        old_fingerprint: String,
        /// The person who holds the name now.
        user_id: String,
        /// The first 8 characters of that person's id.
        fingerprint: String,
    },
    /// The network does not agree on who holds a name that something was sent to; what was sent fails.
    NameContested {
        /// The name.
        name: String,
        /// Everyone who was named, most often named first, as to address them: `alice#7kq2m4xd`.
        claimants: Vec<String>,
    },
    /// A contact is typing, or has stopped. Told once for each change; it ends by itself, when a text of theirs arrives, just
    /// before its Message, or when nothing was heard of it for 10 seconds. Only the latest word on each person waits to be
    /// taken, and none is told again after a restart.
    Typing {
        /// Who: `alice` or `alice#7kq2m4xd`.
        sender: String,
        /// The person behind the name.
        user_id: String,
        /// The first 8 characters of the person's id.
        fingerprint: String,
        /// Whether they are typing now.
        is_typing: bool,
    },
    /// Something that this version of the bindings has no words for; ignore it.
    Other,
}

impl From<CoreEvent> for Event {
    fn from(event: CoreEvent) -> Self {
        match event {
            CoreEvent::Bootstrapped { command, node, address } => Self::Bootstrapped {
                command_id: command.0,
                node_id: node.to_string(),
                address: address.to_string(),
            },
            CoreEvent::BootstrapFailed { command, address, code, detail } => {
                Self::BootstrapFailed { command_id: command.0, address, code: code.into(), detail }
            }
            CoreEvent::Online { contact_count } => Self::Online { contact_count: contact_count as u64 },
            CoreEvent::Offline => Self::Offline,
            CoreEvent::Registered { name, user } => Self::Registered {
                name: name.to_string(),
                user_id: user.to_string(),
                fingerprint: user.fingerprint(),
            },
            CoreEvent::RegistrationFailed { name, holder, code, detail } => Self::RegistrationFailed {
                name: name.to_string(),
                holder_id: holder.to_string(),
                holder_fingerprint: holder.fingerprint(),
                code: code.into(),
                detail,
            },
            CoreEvent::Message(message) => Self::Message {
                id: message.id.to_string(),
                sender: message.from,
                user_id: message.user.to_string(),
                fingerprint: message.user.fingerprint(),
                text: message.text,
                number: message.number,
                sent_unix_ms: message.sent.unix_ms(),
                received_unix_ms: message.received.unix_ms(),
                is_request: message.is_request,
            },
            CoreEvent::MessageState { id, to, state, held_by, code, detail } => Self::MessageState {
                id: id.to_string(),
                recipient: to,
                state: state.into(),
                held_by,
                code: code.map(ErrorCode::from),
                detail,
            },
            CoreEvent::Closed { code, detail } => Self::Closed { code: code.into(), detail },
            CoreEvent::IdentityChanged { name, old, new } => Self::IdentityChanged {
                name: name.to_string(),
                old_user_id: old.to_string(),
                old_fingerprint: old.fingerprint(),
                user_id: new.to_string(),
                fingerprint: new.fingerprint(),
            },
            CoreEvent::NameContested { name, holders } => Self::NameContested {
                claimants: holders
                    .iter()
                    .map(|holder| Recipient::exactly(name.clone(), holder).to_string())
                    .collect(),
                name: name.to_string(),
            },
            CoreEvent::Typing { from, user, is_typing } => Self::Typing {
                sender: from,
                user_id: user.to_string(),
                fingerprint: user.fingerprint(),
                is_typing,
            },
            // The enum may grow; a test beside the C events counts what the core has now.
            _ => Self::Other,
        }
    }
}
