//! History: what was said, page by page, and what of it holds some words.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use peerchat_core::HistoryEntry;
use safer_ffi::derive_ReprC;
use safer_ffi::prelude::repr_c;

use super::client::peerchat_t;
use super::guard::{guard, or_else, required};
use super::message::{peerchat_message_id_t, peerchat_message_state_t};
use super::status::peerchat_status_t;
use super::string::{CEventStr, CStrArg, free_text, leak_text, owned, string};

/// Most messages that one call of peerchat_history or peerchat_search gives.
pub const PEERCHAT_MAX_HISTORY_PAGE: usize = 1000;

const _: () = assert!(PEERCHAT_MAX_HISTORY_PAGE == peerchat_core::MAX_HISTORY_PAGE);

/// One message of a conversation. Read-only; it belongs to its peerchat_history_t. No string is ever NULL. Later
/// versions add members at the end only; see `struct_size` of peerchat_event_t.
#[derive_ReprC]
#[repr(C)]
#[derive(Debug)]
pub struct peerchat_history_entry_t {
    /// Size of this structure in the library, in bytes.
    pub struct_size: u32,
    /// How far the message came, PEERCHAT_MESSAGE_NONE for one that was received.
    pub state: peerchat_message_state_t,
    /// Names the message.
    pub message_id: peerchat_message_id_t,
    /// Its place in the history of the profile, for paging: 1 or more, and larger for what was saved later.
    pub position: u64,
    /// The other person of the conversation: "alice" or "alice#7kq2m4xd".
    pub peer: CEventStr,
    /// What was written: UTF-8, `text_len` bytes, and a NUL after them. The text itself may contain NULs.
    pub text: *const c_char,
    /// Length of `text` in bytes, without the last NUL.
    pub text_len: usize,
    /// When it was written, by the writer's clock: milliseconds since 1970-01-01 00:00 UTC.
    pub sent_unix_ms: u64,
    /// When it was saved here: milliseconds since 1970-01-01 00:00 UTC.
    pub received_unix_ms: u64,
    /// How many nodes keep the message for its recipient, if its state is PEERCHAT_MESSAGE_STORED.
    pub held_by: u32,
    /// Whether the user of this client wrote it.
    pub is_own: bool,
    /// Whether it came from somebody who was no contact then; see peerchat_accept_contact.
    pub is_request: bool,
}

impl From<HistoryEntry> for peerchat_history_entry_t {
    fn from(entry: HistoryEntry) -> Self {
        let (text, text_len) = leak_text(&entry.text);
        Self {
            struct_size: u32::try_from(size_of::<Self>()).unwrap_or(u32::MAX),
            state: entry.state.map_or(peerchat_message_state_t::PEERCHAT_MESSAGE_NONE, Into::into),
            message_id: entry.id.into(),
            position: entry.position,
            peer: owned(&entry.peer),
            text,
            text_len,
            sent_unix_ms: entry.sent.unix_ms(),
            received_unix_ms: entry.received.unix_ms(),
            held_by: entry.held_by,
            is_own: entry.is_own,
            is_request: entry.is_request,
        }
    }
}

impl Drop for peerchat_history_entry_t {
    fn drop(&mut self) {
        // SAFETY: `leak_text` made both, and nobody reads an entry that is gone.
        unsafe { free_text(self.text, self.text_len) };
    }
}

/// A page of history. Read-only; it owns its entries until peerchat_history_free. Later versions add members at the end
/// only; see `struct_size` of peerchat_event_t.
#[derive_ReprC]
#[repr(C)]
#[derive(Debug)]
pub struct peerchat_history_t {
    /// Size of this structure in the library, in bytes.
    pub struct_size: u32,
    /// How many entries there are.
    pub count: usize,
    /// `count` pointers, the latest message first. Never NULL, not even if there are none.
    pub entries: *const *const peerchat_history_entry_t,
}

impl peerchat_history_t {
    fn new(entries: Vec<HistoryEntry>) -> Self {
        let pointers: Box<[*const peerchat_history_entry_t]> = entries
            .into_iter()
            .map(|entry| Box::into_raw(Box::new(peerchat_history_entry_t::from(entry))).cast_const())
            .collect();
        Self {
            struct_size: u32::try_from(size_of::<Self>()).unwrap_or(u32::MAX),
            count: pointers.len(),
            entries: Box::into_raw(pointers).cast::<*const peerchat_history_entry_t>().cast_const(),
        }
    }
}

impl Drop for peerchat_history_t {
    fn drop(&mut self) {
        let pointers = std::ptr::slice_from_raw_parts_mut(self.entries.cast_mut(), self.count);
        // SAFETY: `new` made both from a box of these pointers, and nobody reads a page that is gone.
        let pointers = unsafe { Box::from_raw(pointers) };
        for entry in pointers {
            // SAFETY: `new` made each from a box of its own.
            drop(unsafe { Box::from_raw(entry.cast_mut()) });
        }
    }
}

/// Gives a page of what was said with one person, the latest message first.
///
/// The first page comes with `before` 0, the next one with the `position` of the last entry of the one before; a page
/// with fewer than `limit` entries is the last. Waits for the disk at most. Thread-safe.
/// @param client       The client, with a user.
/// @param peer         "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8. Nothing was said with somebody
///                     who is not known: that is an empty page.
/// @param before       Only messages whose `position` is smaller; 0 for the latest.
/// @param limit        Most entries of the page: 1 to PEERCHAT_MAX_HISTORY_PAGE. A larger one means that.
/// @param out_history  Receives the page, which the caller frees with peerchat_history_free. It stays as it is, whatever
///                     happens afterwards, even if the client is destroyed.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_history(
    client: Option<&peerchat_t>,
    peer: CStrArg<'_>,
    before: u64,
    limit: usize,
    out_history: Option<&mut MaybeUninit<repr_c::Box<peerchat_history_t>>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_history) = (required(client, "client")?, required(out_history, "out_history")?);
        let before = (before != 0).then_some(before);
        let entries = client.inner().history(string(peer, "peer")?, before, limit)?;
        out_history.write(Box::new(peerchat_history_t::new(entries)).into());
        Ok(())
    })
}

/// Gives a page of the messages that hold every one of some words, the latest message first.
///
/// Case and accents do not count, and `*` right after a word stands for whatever ends it: "trai* zurich" finds "The train
/// to Zürich". Nothing else has a meaning of its own; what is neither letter nor digit only parts words. In Chinese and
/// Japanese every character counts as a word.
///
/// Pages follow one another as those of peerchat_history do. Waits for the disk at most; the first search of a profile,
/// and the first after many messages, indexes what is new, which takes about half a minute for each million. Thread-safe.
/// @param client       The client, with a user.
/// @param words        What to search for: 1 to 32 words in 1,024 bytes. UTF-8.
/// @param peer         Only what was said with this person: "alice", or "alice#7kq2m4xd"; NULL for everybody. UTF-8.
///                     Nothing was said with somebody who is not known: that is an empty page.
/// @param before       Only messages whose `position` is smaller; 0 for the latest.
/// @param limit        Most entries of the page: 1 to PEERCHAT_MAX_HISTORY_PAGE. A larger one means that.
/// @param out_history  Receives the page, which the caller frees with peerchat_history_free. It stays as it is, whatever
///                     happens afterwards, even if the client is destroyed.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT,
///         PEERCHAT_ERR_INVALID_NAME, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_search(
    client: Option<&peerchat_t>,
    words: CStrArg<'_>,
    peer: CStrArg<'_>,
    before: u64,
    limit: usize,
    out_history: Option<&mut MaybeUninit<repr_c::Box<peerchat_history_t>>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_history) = (required(client, "client")?, required(out_history, "out_history")?);
        let words = string(words, "words")?;
        let peer = if peer.is_some() { Some(string(peer, "peer")?) } else { None };
        let before = (before != 0).then_some(before);
        let entries = client.inner().search(words, peer, before, limit)?;
        out_history.write(Box::new(peerchat_history_t::new(entries)).into());
        Ok(())
    })
}

/// Frees a page of history, its entries and their strings.
///
/// Never blocks. May be called after peerchat_destroy. Thread-safe.
/// @param history  Taken; NULL is allowed and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_history_free(history: Option<repr_c::Box<peerchat_history_t>>) {
    or_else((), || drop(history));
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerchat_core::{MessageId, MessageState, Timestamp};

    fn entry(position: u64, state: Option<MessageState>) -> HistoryEntry {
        HistoryEntry {
            id: MessageId::from_bytes([7; 16]),
            position,
            peer: "bob".into(),
            is_own: state.is_some(),
            text: "a\0b".into(),
            sent: Timestamp::from_unix_ms(5),
            received: Timestamp::from_unix_ms(6),
            state,
            held_by: 2,
            is_request: state.is_none(),
        }
    }

    #[test]
    fn a_page_keeps_everything() {
        let page = peerchat_history_t::new(vec![entry(2, Some(MessageState::Stored)), entry(1, None)]);
        // SAFETY: a page has `count` pointers.
        let pointers = unsafe { std::slice::from_raw_parts(page.entries, page.count) };
        let [sent, received] = pointers else { panic!("{page:?}") };
        // SAFETY: it is to an entry of the page, which is still there.
        let sent = unsafe { &**sent };
        // SAFETY: as above.
        let received = unsafe { &**received };
        assert_eq!((sent.position, sent.is_own, sent.held_by, sent.is_request), (2, true, 2, false));
        assert_eq!(sent.state, peerchat_message_state_t::PEERCHAT_MESSAGE_STORED);
        assert_eq!((received.position, received.is_own, received.is_request), (1, false, true));
        assert_eq!(received.state, peerchat_message_state_t::PEERCHAT_MESSAGE_NONE);
        assert_eq!((received.peer.to_str(), received.text_len), ("bob", 3));
        assert_eq!((received.sent_unix_ms, received.received_unix_ms), (5, 6));
        // SAFETY: a text has `text_len` bytes and a NUL after them.
        let text = unsafe { std::slice::from_raw_parts(received.text.cast::<u8>(), received.text_len + 1) };
        assert_eq!(text, b"a\0b\0");
    }

    #[test]
    fn an_empty_page_can_be_freed() {
        let page = peerchat_history_t::new(Vec::new());
        assert!(page.count == 0 && !page.entries.is_null());
    }
}
