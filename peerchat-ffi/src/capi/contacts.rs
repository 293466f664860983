//! Contacts, requests and the blocked; who is typing; what was read; what is taken back.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::time::Duration;

use peerchat_core::{Relation, SendOptions, Verb};
use safer_ffi::derive_ReprC;
use safer_ffi::prelude::repr_c;

use super::client::peerchat_t;
use super::guard::{guard, or_else, required};
use super::message::peerchat_message_id_t;
use super::people::peerchat_person_t;
use super::status::peerchat_status_t;
use super::string::{CStrArg, string, text};

/// What a person is to the user of a profile. A later version may add some: treat an unknown one as a stranger.
#[derive_ReprC]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum peerchat_relation_t {
    /// Nobody in particular: never met, removed from the contacts, or unblocked. Their next message makes a request.
    PEERCHAT_RELATION_STRANGER = 0,
    /// They have introduced themselves, or written, and nothing was decided. What they write arrives; they get no read
    /// receipts.
    PEERCHAT_RELATION_REQUEST = 1,
    /// Accepted, added or written to.
    PEERCHAT_RELATION_CONTACT = 2,
    /// Nothing of theirs is taken.
    PEERCHAT_RELATION_BLOCKED = 3,
}

impl From<Relation> for peerchat_relation_t {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Request => Self::PEERCHAT_RELATION_REQUEST,
            Relation::Contact => Self::PEERCHAT_RELATION_CONTACT,
            Relation::Blocked => Self::PEERCHAT_RELATION_BLOCKED,
            _ => Self::PEERCHAT_RELATION_STRANGER,
        }
    }
}

/// A list of people.
#[derive_ReprC]
#[repr(opaque)]
#[derive(Debug)]
pub struct peerchat_people_t {
    people: Vec<peerchat_person_t>,
}

/// Lists everybody who is a contact, has made a request or is blocked, in the order in which they were met.
///
/// Waits for the disk at most. Thread-safe.
/// @param client      The client, with a user.
/// @param out_people  Receives the list, which the caller frees with peerchat_people_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_contacts(
    client: Option<&peerchat_t>,
    out_people: Option<&mut MaybeUninit<repr_c::Box<peerchat_people_t>>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_people) = (required(client, "client")?, required(out_people, "out_people")?);
        let people = client.inner().contacts()?.iter().map(peerchat_person_t::listed).collect();
        out_people.write(Box::new(peerchat_people_t { people }).into());
        Ok(())
    })
}

/// Returns how many people a list has; 0 for NULL.
///
/// Never blocks. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_people_count(people: Option<&peerchat_people_t>) -> usize {
    people.map_or(0, |list| list.people.len())
}

/// Returns one of the people of a list, NULL if there is none at that place. Of their members, `name`, `user_id`,
/// `fingerprint`, `is_verified` and `relation` have a meaning; `user_id` and `fingerprint` are empty for a contact who was
/// added and not found yet.
///
/// Never blocks. Thread-safe.
/// @param people  The list.
/// @param index   From 0.
/// @return Somebody who is valid until the list is freed; do not free them.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_people_at(
    people: Option<&peerchat_people_t>,
    index: usize,
) -> Option<&peerchat_person_t> {
    people.and_then(|list| list.people.get(index))
}

/// Frees a list and the people in it.
///
/// Never blocks. Thread-safe.
/// @param people  Taken; NULL is allowed and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_people_free(people: Option<repr_c::Box<peerchat_people_t>>) {
    or_else((), || drop(people));
}

fn relate(client: Option<&peerchat_t>, name: CStrArg<'_>, verb: Verb) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        Ok(client.inner().relate_blocking(string(name, "name")?, verb)?)
    })
}

/// Makes somebody a contact, whether they were met or not. Whose a plain name is is settled when they are first written to,
/// or write. Who is written to is made a contact by that.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param name    "alice", or "alice#7kq2m4xd". UTF-8.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_TOO_MANY_CONTACTS, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_add_contact(client: Option<&peerchat_t>, name: CStrArg<'_>) -> peerchat_status_t {
    relate(client, name, Verb::Add)
}

/// Makes somebody who has made a request a contact. What of theirs was marked as read before is told to them now.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param name    "alice", or "alice#7kq2m4xd". UTF-8.
/// @return PEERCHAT_ERR_NOT_MET if nobody of this name has made a request, and those of peerchat_add_contact.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_accept_contact(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
) -> peerchat_status_t {
    relate(client, name, Verb::Accept)
}

/// Blocks somebody who was met. Nothing of theirs is taken any more: what they deliver is refused, and fails at their side
/// with PEERCHAT_ERR_BLOCKED_BY_RECIPIENT; what they leave with others is dropped unread. What is still owed to them is
/// canceled. A block is of a person's key, not of a name.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param name    "alice", or "alice#7kq2m4xd". UTF-8.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_NOT_MET, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_block(client: Option<&peerchat_t>, name: CStrArg<'_>) -> peerchat_status_t {
    relate(client, name, Verb::Block)
}

/// Takes what somebody writes again; their next message makes a request. Who is not blocked stays what they are.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param name    "alice", or "alice#7kq2m4xd". UTF-8.
/// @return Those of peerchat_block.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_unblock(client: Option<&peerchat_t>, name: CStrArg<'_>) -> peerchat_status_t {
    relate(client, name, Verb::Unblock)
}

/// Takes somebody out of the contacts, or turns their request down. What was said stays, and what is owed to them is still
/// delivered. Their next message makes a request again: block them if there should be none.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param name    "alice", or "alice#7kq2m4xd". UTF-8.
/// @return PEERCHAT_ERR_BLOCKED if they are blocked, and those of peerchat_block.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_remove_contact(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
) -> peerchat_status_t {
    relate(client, name, Verb::Remove)
}

/// Does what peerchat_send does, for a message with a lifetime of its own.
///
/// @param client       The client, with a user.
/// @param to           "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
/// @param text         UTF-8, `text_len` bytes, no NUL needed; copied.
/// @param text_len     1 to PEERCHAT_MAX_TEXT_LEN.
/// @param lifetime_ms  How long it is retried while it is not delivered, in milliseconds: 1 second to 30 days.
/// @param out_id       Receives the id.
/// @return PEERCHAT_ERR_INVALID_ARGUMENT if the lifetime is out of its range, and those of peerchat_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peerchat_send_for(
    client: Option<&peerchat_t>,
    to: CStrArg<'_>,
    text: *const c_char,
    text_len: usize,
    lifetime_ms: u64,
    out_id: Option<&mut MaybeUninit<peerchat_message_id_t>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_id) = (required(client, "client")?, required(out_id, "out_id")?);
        let to = string(to, "to")?;
        // SAFETY: the caller vouches for `text_len` readable bytes; the helper refuses NULL.
        let text = unsafe { self::text(text, text_len) }?;
        let options = SendOptions::default().lifetime(Duration::from_millis(lifetime_ms));
        out_id.write(client.inner().send_with_blocking(to, text, options)?.into());
        Ok(())
    })
}

/// Stops retrying a message of our own that is not delivered; its state is PEERCHAT_MESSAGE_CANCELED then. What is under way
/// already, or kept by others for the recipient, cannot be called back and may still arrive.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param id      The id that peerchat_send gave; copied.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_ALREADY_ENDED,
///         PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_cancel(
    client: Option<&peerchat_t>,
    id: Option<&peerchat_message_id_t>,
) -> peerchat_status_t {
    guard(|| {
        let (client, id) = (required(client, "client")?, required(id, "id")?);
        Ok(client.inner().cancel_blocking((*id).into())?)
    })
}

/// Marks a received message, and everything that the same person wrote from the same device before it, as read. If they are a
/// contact and peerchat_options_set_read_receipts did not say otherwise, they are told.
///
/// Waits for the disk. Thread-safe.
/// @param client  The client, with a user.
/// @param id      `message_id` of its event; copied.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_mark_read(
    client: Option<&peerchat_t>,
    id: Option<&peerchat_message_id_t>,
) -> peerchat_status_t {
    guard(|| {
        let (client, id) = (required(client, "client")?, required(id, "id")?);
        Ok(client.inner().mark_read_blocking((*id).into())?)
    })
}

/// Says whether this user is typing to somebody, who is shown it if they are a contact and there: PEERCHAT_EVENT_TYPING. To be
/// called with every key, and with false when the text is deleted or left alone for a while: no more than one notice in 3
/// seconds goes out, and sending a text says that typing has ended. A program that never calls this tells nobody.
///
/// It is a notice that is worth something now or never. It goes over an encrypted link to the person's device that is up
/// already, and is neither saved nor repeated nor kept by others: if they are away, or no link is up, or they are no contact,
/// nothing happens, and PEERCHAT_OK is returned all the same. Waits for the node to take it, which is well under a millisecond
/// unless it is busy, and neither for the disk nor for the network. Thread-safe.
/// @param client     The client, with a user.
/// @param to         "alice", or "alice#7kq2m4xd". UTF-8.
/// @param is_typing  Whether the user is typing now.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_NOT_MET (nothing was exchanged with anybody of this name and they were not added),
///         PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_set_typing(
    client: Option<&peerchat_t>,
    to: CStrArg<'_>,
    is_typing: bool,
) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        Ok(client.inner().set_typing_blocking(string(to, "to")?, is_typing)?)
    })
}
