//! Events: what the application is told, and how it asks.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use peerchat_core::{Client, Event, ReceivedMessage};
use safer_ffi::derive_ReprC;
use safer_ffi::prelude::repr_c;

use super::client::peerchat_t;
use super::guard::{guard, or_else, required};
use super::message::{PEERCHAT_MESSAGE_ID_LEN, peerchat_message_id_t, peerchat_message_state_t};
use super::status::{Failure, peerchat_status_t};
use super::string::{CEventStr, exactly, free_text, leak_text, lines, owned};

/// A timeout that never ends.
pub const PEERCHAT_WAIT_FOREVER: u32 = u32::MAX;

/// The longest single wait of a call that waits for ever: what the clock adds up to must not overflow.
const WAIT_SLICE: Duration = Duration::from_secs(3600);

/// What an event tells. A later version may add kinds: ignore what you do not know.
#[derive_ReprC]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum peerchat_event_kind_t {
    /// Something that this version of the C interface has no words for; ignore it.
    PEERCHAT_EVENT_OTHER = 0,
    /// A bootstrap call reached its node, and the own place in the network was looked up. Has `command_id`,
    /// `node_id`, `address`.
    PEERCHAT_EVENT_BOOTSTRAPPED = 1,
    /// A bootstrap call reached nobody. Has `command_id`, `address` as it was given, `code`, `detail`.
    PEERCHAT_EVENT_BOOTSTRAP_FAILED = 2,
    /// Other nodes answer: by a bootstrap call, by a saved contact, or because somebody joined through this node.
    /// Has `contact_count`.
    PEERCHAT_EVENT_ONLINE = 3,
    /// No known node answers any more; they are tried again with growing pauses.
    PEERCHAT_EVENT_OFFLINE = 4,
    /// The user's name is held by a majority of the nodes responsible for it. Has `name`, `user_id`, `fingerprint`.
    PEERCHAT_EVENT_REGISTERED = 5,
    /// The user's name could not be registered; messages still work by fingerprint. Has `name`, `code`, `detail`,
    /// and `user_id` and `fingerprint` of whoever holds it.
    PEERCHAT_EVENT_REGISTRATION_FAILED = 6,
    /// A message arrived and is on disk. Has `message_id`, `name`, `user_id` and `fingerprint` of who wrote it,
    /// `text`, `text_len`, `number`, `sent_unix_ms`, `received_unix_ms`, `is_request`.
    PEERCHAT_EVENT_MESSAGE = 7,
    /// A sent message came further, or was given up. Has `message_id`, `name` of whom it is for, `state`; if it was
    /// given up by the library, `code` and `detail`.
    PEERCHAT_EVENT_MESSAGE_STATE = 8,
    /// The client stopped by itself: nothing follows. Destroy it and create it again to go on. Has `code`, `detail`.
    PEERCHAT_EVENT_CLOSED = 9,
    /// A name by which somebody is known here belongs to another key now. Messages to the name still go to the person
    /// who was met; nothing goes to the other until peerchat_accept_identity says so. Told again whenever the profile is
    /// opened, until then or until the name is the person's again. Has `name`, `user_id` and `fingerprint` of who holds
    /// the name now, `old_user_id` and `old_fingerprint` of who was met.
    PEERCHAT_EVENT_IDENTITY_CHANGED = 10,
    /// The network does not agree on who holds a name that something was sent to; what was sent fails with
    /// PEERCHAT_ERR_NAME_CONTESTED. Has `name`, `claimants`.
    PEERCHAT_EVENT_NAME_CONTESTED = 11,
    /// A contact is typing, or has stopped. Told once for each change; it ends by itself, when a text of theirs arrives, just
    /// before its PEERCHAT_EVENT_MESSAGE, or when nothing was heard of it for 10 seconds. Only the latest word on each person
    /// waits to be taken, and none is told again after a restart. Has `name`, `user_id`, `fingerprint`, `is_typing`.
    PEERCHAT_EVENT_TYPING = 12,
}

/// Something the application is told. Read-only; it owns its strings until peerchat_event_free, or until the
/// callback returns that was told it.
///
/// `kind` says which members have a meaning; all others are 0 or an empty string, and no string is ever NULL. Later
/// versions add members at the end only: before reading one that your oldest supported version lacks, check that
/// `struct_size` covers it. Never copy or make one of these by value.
#[derive_ReprC]
#[repr(C)]
#[derive(Debug)]
pub struct peerchat_event_t {
    /// Size of this structure in the library, in bytes.
    pub struct_size: u32,
    /// What the event tells.
    pub kind: peerchat_event_kind_t,
    /// Names the call that the event answers, as that call named it.
    pub command_id: u64,
    /// Names the message.
    pub message_id: peerchat_message_id_t,
    /// How far the message came.
    pub state: peerchat_message_state_t,
    /// Why something failed, PEERCHAT_OK if nothing did.
    pub code: peerchat_status_t,
    /// A person, as to address them: "alice" or "alice#7kq2m4xd".
    pub name: CEventStr,
    /// Who that person is, whatever they are called: 52 characters.
    pub user_id: CEventStr,
    /// The first 8 characters of `user_id`.
    pub fingerprint: CEventStr,
    /// What they wrote: UTF-8, `text_len` bytes, and a NUL after them. The text itself may contain NULs.
    pub text: *const c_char,
    /// Length of `text` in bytes, without the last NUL.
    pub text_len: usize,
    /// Counts the messages of this sender to us, from 1, without gaps but for those the sender gave up.
    pub number: u64,
    /// When the message was written, by the sender's clock: milliseconds since 1970-01-01 00:00 UTC.
    pub sent_unix_ms: u64,
    /// When the message was saved here: milliseconds since 1970-01-01 00:00 UTC.
    pub received_unix_ms: u64,
    /// Names a node: 64 hexadecimal digits.
    pub node_id: CEventStr,
    /// Where a node is: "192.0.2.1:4600".
    pub address: CEventStr,
    /// The reason in words, with what to do about it; for people.
    pub detail: CEventStr,
    /// How many other nodes this one knows.
    pub contact_count: u64,
    /// Who a person was before, whatever they are called: 52 characters.
    pub old_user_id: CEventStr,
    /// The first 8 characters of `old_user_id`.
    pub old_fingerprint: CEventStr,
    /// Everyone who was named as the holder of `name`, most often named first, one a line and as to address them:
    /// "alice#7kq2m4xd".
    pub claimants: CEventStr,
    /// How many nodes keep the message for its recipient, if its state is PEERCHAT_MESSAGE_STORED.
    pub held_by: u32,
    /// Whether the message is of somebody who is neither a contact nor blocked: peerchat_accept_contact or
    /// peerchat_block decides.
    pub is_request: bool,
    /// Whether the person is typing now.
    pub is_typing: bool,
}

// SAFETY: `text` is owned by the event alone, as the other strings are, and nothing changes behind it.
unsafe impl Send for peerchat_event_t {}

impl peerchat_event_t {
    fn new(kind: peerchat_event_kind_t) -> Self {
        let (text, text_len) = leak_text("");
        Self {
            struct_size: u32::try_from(size_of::<Self>()).unwrap_or(u32::MAX),
            kind,
            command_id: 0,
            message_id: peerchat_message_id_t { bytes: [0; PEERCHAT_MESSAGE_ID_LEN] },
            state: peerchat_message_state_t::PEERCHAT_MESSAGE_NONE,
            code: peerchat_status_t::PEERCHAT_OK,
            name: owned(""),
            user_id: owned(""),
            fingerprint: owned(""),
            text,
            text_len,
            number: 0,
            sent_unix_ms: 0,
            received_unix_ms: 0,
            node_id: owned(""),
            address: owned(""),
            detail: owned(""),
            contact_count: 0,
            old_user_id: owned(""),
            old_fingerprint: owned(""),
            claimants: owned(""),
            held_by: 0,
            is_request: false,
            is_typing: false,
        }
    }

    fn of_message(message: &ReceivedMessage) -> Self {
        let mut event = Self::new(peerchat_event_kind_t::PEERCHAT_EVENT_MESSAGE);
        event.message_id = message.id.into();
        event.name = owned(&message.from);
        event.set_user(&message.user);
        event.set_text(&message.text);
        event.number = message.number;
        event.is_request = message.is_request;
        event.sent_unix_ms = message.sent.unix_ms();
        event.received_unix_ms = message.received.unix_ms();
        event
    }

    fn set_user(&mut self, user: &peerchat_core::UserId) {
        self.user_id = owned(&user.to_string());
        self.fingerprint = owned(&user.fingerprint());
    }

    fn set_failure(&mut self, code: peerchat_core::ErrorCode, detail: &str) {
        self.code = code.into();
        self.detail = owned(detail);
    }

    fn set_text(&mut self, text: &str) {
        self.free_text();
        (self.text, self.text_len) = leak_text(text);
    }

    fn free_text(&mut self) {
        // SAFETY: `leak_text` made both; whoever calls this replaces or drops them.
        unsafe { free_text(self.text, self.text_len) };
    }
}

impl Drop for peerchat_event_t {
    fn drop(&mut self) {
        self.free_text();
    }
}

impl From<Event> for peerchat_event_t {
    fn from(event: Event) -> Self {
        use peerchat_event_kind_t as kind;
        match event {
            Event::Bootstrapped { command, node, address } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_BOOTSTRAPPED);
                event.command_id = command.0;
                event.node_id = owned(&node.to_string());
                event.address = owned(&address.to_string());
                event
            }
            Event::BootstrapFailed { command, address, code, detail } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_BOOTSTRAP_FAILED);
                event.command_id = command.0;
                event.address = owned(&address);
                event.set_failure(code, &detail);
                event
            }
            Event::Online { contact_count } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_ONLINE);
                event.contact_count = contact_count as u64;
                event
            }
            Event::Offline => Self::new(kind::PEERCHAT_EVENT_OFFLINE),
            Event::Registered { name, user } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_REGISTERED);
                event.name = owned(name.as_str());
                event.set_user(&user);
                event
            }
            Event::RegistrationFailed { name, holder, code, detail } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_REGISTRATION_FAILED);
                event.name = owned(name.as_str());
                event.set_user(&holder);
                event.set_failure(code, &detail);
                event
            }
            Event::Message(message) => Self::of_message(&message),
            Event::MessageState { id, to, state, held_by, code, detail } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_MESSAGE_STATE);
                event.message_id = id.into();
                event.name = owned(&to);
                event.state = state.into();
                event.held_by = held_by;
                if let Some(code) = code {
                    event.set_failure(code, &detail);
                }
                event
            }
            Event::Closed { code, detail } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_CLOSED);
                event.set_failure(code, &detail);
                event
            }
            Event::IdentityChanged { name, old, new } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_IDENTITY_CHANGED);
                event.name = owned(name.as_str());
                event.set_user(&new);
                event.old_user_id = owned(&old.to_string());
                event.old_fingerprint = owned(&old.fingerprint());
                event
            }
            Event::NameContested { name, holders } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_NAME_CONTESTED);
                event.claimants = owned(&lines(&holders, |holder| exactly(&name, holder)));
                event.name = owned(name.as_str());
                event
            }
            Event::Typing { from, user, is_typing } => {
                let mut event = Self::new(kind::PEERCHAT_EVENT_TYPING);
                event.name = owned(&from);
                event.set_user(&user);
                event.is_typing = is_typing;
                event
            }
            // The enum may grow; the test below walks what the core has now.
            _ => Self::new(kind::PEERCHAT_EVENT_OTHER),
        }
    }
}

/// Waits for the next event and gives it to the caller.
///
/// There is one queue, in order, and each event goes to one caller; asking for the next event confirms the last one
/// as seen, so that a program that crashes in between is told again. Blocks up to `timeout_ms`, or until
/// peerchat_close. Thread-safe.
/// @param client      The client.
/// @param timeout_ms  Milliseconds; 0 does not wait, PEERCHAT_WAIT_FOREVER does not give up.
/// @param out_event   Receives the event, which the caller frees with peerchat_event_free; untouched unless
///                    PEERCHAT_OK is returned.
/// @return PEERCHAT_OK, PEERCHAT_NO_EVENT, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_WRONG_MODE (the events go to the
///         callback, on the library's thread), PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_poll(
    client: Option<&peerchat_t>,
    timeout_ms: u32,
    out_event: Option<&mut MaybeUninit<repr_c::Box<peerchat_event_t>>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_event) = (required(client, "client")?, required(out_event, "out_event")?);
        client.callbacks().refuse_if_threaded()?;
        Ok(match wait_until(client.inner(), deadline_in(timeout_ms))? {
            Some(event) => {
                out_event.write(Box::new(peerchat_event_t::from(event)).into());
                peerchat_status_t::PEERCHAT_OK
            }
            None => peerchat_status_t::PEERCHAT_NO_EVENT,
        })
    })
}

/// Returns when a timeout that begins now ends, `None` for one that never does.
pub(super) fn deadline_in(timeout_ms: u32) -> Option<Instant> {
    (timeout_ms != PEERCHAT_WAIT_FOREVER).then(|| Instant::now() + Duration::from_millis(timeout_ms.into()))
}

/// Waits for an event until `deadline`, `None` for ever.
pub(super) fn wait_until(client: &Client, deadline: Option<Instant>) -> Result<Option<Event>, Failure> {
    let Some(deadline) = deadline else {
        loop {
            if let Some(event) = client.poll(WAIT_SLICE)? {
                return Ok(Some(event));
            }
        }
    };
    Ok(client.poll(deadline.saturating_duration_since(Instant::now()))?)
}

/// Frees an event and its strings.
///
/// Never blocks. May be called from another thread than peerchat_poll, and after peerchat_destroy.
/// @param event  Taken; NULL is allowed and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_event_free(event: Option<repr_c::Box<peerchat_event_t>>) {
    or_else((), || drop(event));
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerchat_core::{CommandId, ErrorCode, MessageId, MessageState, NodeId, Timestamp, UserId, UserName};

    fn text_of(event: &peerchat_event_t) -> &[u8] {
        // SAFETY: an event's text has `text_len` bytes and a NUL after them.
        unsafe { std::slice::from_raw_parts(event.text.cast::<u8>(), event.text_len + 1) }
    }

    fn message(text: &str) -> Event {
        Event::Message(ReceivedMessage {
            id: MessageId::from_bytes([7; 16]),
            from: "alice".into(),
            user: UserId::from_bytes([1; 32]),
            text: text.into(),
            is_request: true,
            number: 3,
            sent: Timestamp::from_unix_ms(5),
            received: Timestamp::from_unix_ms(6),
        })
    }

    #[test]
    fn a_message_keeps_everything_and_its_nuls() {
        let event = peerchat_event_t::from(message("a\0b"));
        assert_eq!(event.kind, peerchat_event_kind_t::PEERCHAT_EVENT_MESSAGE);
        assert_eq!((event.text_len, text_of(&event)), (3, &b"a\0b\0"[..]));
        assert_eq!((event.message_id.bytes, event.is_request), ([7; 16], true));
        assert_eq!((event.name.to_str(), event.fingerprint.to_str()), ("alice", "aeaqcaib"));
        assert_eq!(event.user_id.to_str().len(), 52);
        assert_eq!((event.number, event.sent_unix_ms, event.received_unix_ms), (3, 5, 6));
        assert_eq!((event.detail.to_str(), event.code), ("", peerchat_status_t::PEERCHAT_OK));
    }

    #[test]
    fn failures_keep_their_code_and_words() {
        let event = peerchat_event_t::from(Event::BootstrapFailed {
            command: CommandId(9),
            address: "host:1".into(),
            code: ErrorCode::Unreachable,
            detail: "nobody\0there".into(),
        });
        assert_eq!((event.command_id, event.address.to_str()), (9, "host:1"));
        assert_eq!(event.code, peerchat_status_t::PEERCHAT_ERR_UNREACHABLE);
        assert_eq!(event.detail.to_str(), "nobody\u{fffd}there");
    }

    fn every_event() -> Vec<Event> {
        let (name, user) = (UserName::parse("bob").unwrap(), UserId::from_bytes([2; 32]));
        let (code, detail) = (ErrorCode::NameTaken, String::from("taken"));
        vec![
            Event::Bootstrapped {
                command: CommandId(1),
                node: NodeId::from_bytes([3; 32]),
                address: "127.0.0.1:1".parse().unwrap(),
            },
            Event::BootstrapFailed {
                command: CommandId(2),
                address: "x:1".into(),
                code,
                detail: detail.clone(),
            },
            Event::Online { contact_count: 4 },
            Event::Offline,
            Event::Registered { name: name.clone(), user },
            Event::RegistrationFailed { name, holder: user, code, detail: detail.clone() },
            message("hi"),
            Event::MessageState {
                id: MessageId::from_bytes([8; 16]),
                to: "bob".into(),
                state: MessageState::Failed,
                held_by: 0,
                code: Some(code),
                detail: detail.clone(),
            },
            Event::Closed { code, detail },
            Event::IdentityChanged {
                name: UserName::parse("bob").unwrap(),
                old: user,
                new: UserId::from_bytes([1; 32]),
            },
            Event::NameContested {
                name: UserName::parse("bob").unwrap(),
                holders: vec![user, UserId::from_bytes([1; 32])],
            },
            Event::Typing { from: "bob#aibaeaqc".into(), user, is_typing: true },
        ]
    }

    #[test]
    fn a_changed_identity_names_both_and_a_contested_name_everyone() {
        let [.., changed, contested, _] = &every_event()[..] else { panic!("events") };
        let changed = peerchat_event_t::from(changed.clone());
        assert_eq!((changed.name.to_str(), changed.fingerprint.to_str()), ("bob", "aeaqcaib"));
        assert_eq!((changed.old_fingerprint.to_str(), changed.old_user_id.to_str().len()), ("aibaeaqc", 52));
        let contested = peerchat_event_t::from(contested.clone());
        assert_eq!(
            (contested.name.to_str(), contested.claimants.to_str()),
            ("bob", "bob#aibaeaqc\nbob#aeaqcaib")
        );
    }

    #[test]
    fn who_is_typing_is_named() {
        let typing = peerchat_event_t::from(every_event().pop().unwrap());
        assert_eq!((typing.name.to_str(), typing.fingerprint.to_str()), ("bob#aibaeaqc", "aibaeaqc"));
        assert!(typing.is_typing && typing.text_len == 0);
    }

    #[test]
    fn every_event_of_the_core_has_a_kind_of_its_own() {
        for (index, event) in every_event().into_iter().enumerate() {
            assert_eq!(peerchat_event_t::from(event).kind as usize, index + 1);
        }
    }

    /// The compiler does not complain when a non-exhaustive enum of another crate grows, so this looks at its source.
    #[test]
    fn no_event_of_the_core_is_left_out() {
        let source = include_str!("../../../peerchat-core/src/event.rs");
        let (_, body) = source.split_once("pub enum Event {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let is_variant = |line: &&str| {
            line.strip_prefix("    ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        };
        assert_eq!(body.lines().filter(is_variant).count(), every_event().len(), "{body}");
    }
}
