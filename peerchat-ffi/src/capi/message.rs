//! Messages: sending them, and how far they have come.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use peerchat_core::{MessageId, MessageState};
use safer_ffi::derive_ReprC;

use super::client::peerchat_t;
use super::guard::{guard, required};
use super::status::peerchat_status_t;
use super::string::{CStrArg, string, text};

/// Longest text of a message, in bytes of UTF-8.
pub const PEERCHAT_MAX_TEXT_LEN: usize = 16384;

/// Length of a message id, in bytes.
pub const PEERCHAT_MESSAGE_ID_LEN: usize = 16;

const _: () = assert!(PEERCHAT_MAX_TEXT_LEN == peerchat_core::MAX_TEXT_LEN);

/// Names a message within one profile, for good. Compare and store the bytes; they have no order.
#[derive_ReprC]
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct peerchat_message_id_t {
    /// The bytes of the id.
    pub bytes: [u8; PEERCHAT_MESSAGE_ID_LEN],
}

impl From<MessageId> for peerchat_message_id_t {
    fn from(id: MessageId) -> Self {
        Self { bytes: *id.as_bytes() }
    }
}

impl From<peerchat_message_id_t> for MessageId {
    fn from(id: peerchat_message_id_t) -> Self {
        Self::from_bytes(id.bytes)
    }
}

/// How far a sent message has come. States only move forward, and each is true when it is told. A later version
/// may add some: treat an unknown one as "on its way".
#[derive_ReprC]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum peerchat_message_state_t {
    /// Not a state: in an event that is not about a sent message.
    PEERCHAT_MESSAGE_NONE = 0,
    /// On this disk; not yet with the recipient. It is retried until it expires.
    PEERCHAT_MESSAGE_QUEUED = 1,
    /// On this disk, and sealed on the disks of nodes that keep it for the recipient, who is away; they said so. It is
    /// still retried until it expires.
    PEERCHAT_MESSAGE_STORED = 2,
    /// On the disk of a device of the recipient, which said so.
    PEERCHAT_MESSAGE_DELIVERED = 3,
    /// As PEERCHAT_MESSAGE_DELIVERED, and the recipient's application has marked it as read, and said so. Never told by a
    /// recipient who sends no read receipts, or to whom this user is no contact.
    PEERCHAT_MESSAGE_READ = 4,
    /// Given up: it was not delivered within its lifetime.
    PEERCHAT_MESSAGE_EXPIRED = 5,
    /// Given up for a reason that retrying does not change.
    PEERCHAT_MESSAGE_FAILED = 6,
    /// Given up by peerchat_cancel, or because this user blocked the recipient. A copy that was under way, or kept by others
    /// for the recipient, cannot be called back and may still arrive.
    PEERCHAT_MESSAGE_CANCELED = 7,
}

impl From<MessageState> for peerchat_message_state_t {
    fn from(state: MessageState) -> Self {
        match state {
            MessageState::Queued => Self::PEERCHAT_MESSAGE_QUEUED,
            MessageState::Stored => Self::PEERCHAT_MESSAGE_STORED,
            MessageState::Delivered => Self::PEERCHAT_MESSAGE_DELIVERED,
            MessageState::Read => Self::PEERCHAT_MESSAGE_READ,
            MessageState::Canceled => Self::PEERCHAT_MESSAGE_CANCELED,
            MessageState::Expired => Self::PEERCHAT_MESSAGE_EXPIRED,
            MessageState::Failed => Self::PEERCHAT_MESSAGE_FAILED,
            // The enum may grow; the test below walks what the core has now.
            _ => Self::PEERCHAT_MESSAGE_NONE,
        }
    }
}

/// Saves a text message for sending and returns without waiting for the network.
///
/// On PEERCHAT_OK the message is on disk and its id is in `*out_id`; PEERCHAT_EVENT_MESSAGE_STATE events with that
/// id tell what becomes of it. On any other status nothing was queued and `*out_id` is untouched. Waits for the
/// disk, usually some milliseconds, never for the network. Thread-safe.
/// @param client    The client, with a user.
/// @param to        "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
/// @param text      UTF-8, `text_len` bytes, no NUL needed; copied.
/// @param text_len  1 to PEERCHAT_MAX_TEXT_LEN.
/// @param out_id    Receives the id.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_EMPTY_TEXT, PEERCHAT_ERR_TEXT_TOO_LONG, PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_TOO_MANY_CONTACTS,
///         PEERCHAT_ERR_OUTBOX_FULL, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peerchat_send(
    client: Option<&peerchat_t>,
    to: CStrArg<'_>,
    text: *const c_char,
    text_len: usize,
    out_id: Option<&mut MaybeUninit<peerchat_message_id_t>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_id) = (required(client, "client")?, required(out_id, "out_id")?);
        let to = string(to, "to")?;
        // SAFETY: the caller vouches for `text_len` readable bytes; the helper refuses NULL.
        let text = unsafe { self::text(text, text_len) }?;
        out_id.write(client.inner().send_blocking(to, text)?.into());
        Ok(())
    })
}

/// Takes a text message for sending and gives its id without waiting for the disk.
///
/// A PEERCHAT_EVENT_MESSAGE_STATE event with that id tells once it is on disk: PEERCHAT_MESSAGE_QUEUED, or a later state
/// if it came further meanwhile. Until then a crash loses it, and peerchat_message_state does not know it. If the disk
/// refuses it, the client stops with PEERCHAT_EVENT_CLOSED. On any other status than PEERCHAT_OK nothing was taken and
/// `*out_id` is untouched. Waits for the node to take it, which is well under a millisecond unless the node is busy.
/// Thread-safe.
/// @param client    The client, with a user.
/// @param to        "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
/// @param text      UTF-8, `text_len` bytes, no NUL needed; copied.
/// @param text_len  1 to PEERCHAT_MAX_TEXT_LEN.
/// @param out_id    Receives the id.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_EMPTY_TEXT, PEERCHAT_ERR_TEXT_TOO_LONG, PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_TOO_MANY_CONTACTS,
///         PEERCHAT_ERR_OUTBOX_FULL, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peerchat_send_async(
    client: Option<&peerchat_t>,
    to: CStrArg<'_>,
    text: *const c_char,
    text_len: usize,
    out_id: Option<&mut MaybeUninit<peerchat_message_id_t>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_id) = (required(client, "client")?, required(out_id, "out_id")?);
        let to = string(to, "to")?;
        // SAFETY: the caller vouches for `text_len` readable bytes; the helper refuses NULL.
        let text = unsafe { self::text(text, text_len) }?;
        out_id.write(client.inner().enqueue(to, text)?.into());
        Ok(())
    })
}

/// Tells how far a message of our own has come.
///
/// Waits for the disk at most. Thread-safe.
/// @param client     The client.
/// @param id         The id that peerchat_send gave, in this or an earlier run of the profile; copied.
/// @param out_state  Receives the state.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_PROFILE_DAMAGED,
///         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_message_state(
    client: Option<&peerchat_t>,
    id: Option<&peerchat_message_id_t>,
    out_state: Option<&mut MaybeUninit<peerchat_message_state_t>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, id) = (required(client, "client")?, required(id, "id")?);
        let out_state = required(out_state, "out_state")?;
        out_state.write(client.inner().message_state(MessageId::from_bytes(id.bytes))?.into());
        Ok(())
    })
}

/// Tells how many nodes keep a message of our own for its recipient, who is away: 0 unless its state is
/// PEERCHAT_MESSAGE_STORED.
///
/// Waits for the disk at most. Thread-safe.
/// @param client     The client.
/// @param id         The id that peerchat_send gave, in this or an earlier run of the profile; copied.
/// @param out_count  Receives the number of nodes.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_PROFILE_DAMAGED,
///         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_message_holders(
    client: Option<&peerchat_t>,
    id: Option<&peerchat_message_id_t>,
    out_count: Option<&mut MaybeUninit<u32>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, id) = (required(client, "client")?, required(id, "id")?);
        let out_count = required(out_count, "out_count")?;
        out_count.write(client.inner().message_holders(MessageId::from_bytes(id.bytes))?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_keep_the_numbers_of_the_core() {
        let states = [
            MessageState::Queued,
            MessageState::Stored,
            MessageState::Delivered,
            MessageState::Read,
            MessageState::Expired,
            MessageState::Failed,
            MessageState::Canceled,
        ];
        for state in states {
            assert_eq!(peerchat_message_state_t::from(state) as i32, state as i32);
        }
        let source = include_str!("../../../peerchat-core/src/event.rs");
        let (_, body) = source.split_once("pub enum MessageState {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        assert_eq!(body.matches(" = ").count(), states.len(), "the core has other states:{body}");
    }
}
