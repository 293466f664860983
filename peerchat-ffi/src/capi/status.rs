//! What a call returns, and the words to it.

use std::ffi::{CStr, c_char};

use peerchat_core::{Error, ErrorCode};
use safer_ffi::derive_ReprC;

use super::guard::{last_error, or_else};

/// What a call returns: 0 and above are not errors. The numbers never change and are never reused; a later
/// version may add some, so treat an unknown negative one as an error.
#[derive_ReprC]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum peerchat_status_t {
    /// Done.
    PEERCHAT_OK = 0,
    /// Done: no event came in time. Not an error.
    PEERCHAT_NO_EVENT = 1,

    /// A pointer that must not be NULL is NULL.
    PEERCHAT_ERR_NULL_POINTER = -1,
    /// A string or text is not UTF-8.
    PEERCHAT_ERR_INVALID_UTF8 = -2,

    /// The call does not fit how the events of this client, or the log, are told: see peerchat_dispatch.
    PEERCHAT_ERR_WRONG_MODE = -3,

    /// An option is out of its range, or required and missing.
    PEERCHAT_ERR_INVALID_ARGUMENT = -10,
    /// A user name breaks the rules: 1 to 32 characters, at most 64 bytes, RFC 8265 UsernameCaseMapped.
    PEERCHAT_ERR_INVALID_NAME = -11,
    /// An address is not of the form that is asked for.
    PEERCHAT_ERR_INVALID_ADDRESS = -12,
    /// A message without text.
    PEERCHAT_ERR_EMPTY_TEXT = -13,
    /// A message text longer than PEERCHAT_MAX_TEXT_LEN.
    PEERCHAT_ERR_TEXT_TOO_LONG = -14,
    /// As many messages wait for delivery as may; an event that ends one makes room.
    PEERCHAT_ERR_OUTBOX_FULL = -15,
    /// No message has this id.
    PEERCHAT_ERR_NOT_FOUND = -16,
    /// The client has no user: it was created as a node only.
    PEERCHAT_ERR_NO_USER = -17,
    /// Nobody of this name was met: nothing was exchanged with them yet.
    PEERCHAT_ERR_NOT_MET = -18,
    /// The name was not seen to belong to this person.
    PEERCHAT_ERR_IDENTITY_NOT_SEEN = -19,
    /// This user has blocked the person.
    PEERCHAT_ERR_BLOCKED = -20,
    /// There are as many contacts as there may be.
    PEERCHAT_ERR_TOO_MANY_CONTACTS = -21,
    /// The message was delivered or given up before.
    PEERCHAT_ERR_ALREADY_ENDED = -22,
    /// The recipient has blocked this user. Only in events.
    PEERCHAT_ERR_BLOCKED_BY_RECIPIENT = -23,

    /// The client was closed.
    PEERCHAT_ERR_CLOSED = -30,
    /// A wait ran out of time.
    PEERCHAT_ERR_TIMED_OUT = -31,

    /// Another process, or another client of this one, has the profile open.
    PEERCHAT_ERR_PROFILE_IN_USE = -40,
    /// The profile on disk is damaged.
    PEERCHAT_ERR_PROFILE_DAMAGED = -41,
    /// The profile was written by a later version of peerchat.
    PEERCHAT_ERR_PROFILE_TOO_NEW = -42,
    /// The disk refused: full, read-only, gone.
    PEERCHAT_ERR_STORAGE = -43,
    /// The profile has another passphrase, or has one and none was given, or the reverse. Nothing was changed.
    PEERCHAT_ERR_WRONG_PASSPHRASE = -44,
    /// An exported profile is damaged.
    PEERCHAT_ERR_ARCHIVE_DAMAGED = -45,
    /// An exported profile is encrypted with another passphrase.
    PEERCHAT_ERR_ARCHIVE_PASSPHRASE = -46,
    /// An exported profile was written by a later version of peerchat.
    PEERCHAT_ERR_ARCHIVE_TOO_NEW = -47,
    /// There is a profile where one is to be imported. It was left as it is.
    PEERCHAT_ERR_PROFILE_EXISTS = -48,

    /// Another program uses the UDP port.
    PEERCHAT_ERR_ADDRESS_IN_USE = -50,
    /// The UDP socket could not be opened.
    PEERCHAT_ERR_NETWORK = -51,
    /// No node answered at the bootstrap address. Only in events.
    PEERCHAT_ERR_UNREACHABLE = -52,
    /// The node at the bootstrap address has another key than the one that was asked for. Only in events.
    PEERCHAT_ERR_WRONG_KEY = -53,

    /// Nobody in the network goes by the name. In events, and from peerchat_lookup_wait.
    PEERCHAT_ERR_UNKNOWN_RECIPIENT = -60,
    /// Somebody else holds the name. Only in events.
    PEERCHAT_ERR_NAME_TAKEN = -61,
    /// The network does not agree on who holds the name. In events, and from peerchat_lookup_wait.
    PEERCHAT_ERR_NAME_CONTESTED = -62,
    /// The message was not delivered before it expired. Only in events.
    PEERCHAT_ERR_EXPIRED = -63,

    /// A bug in peerchat.
    PEERCHAT_ERR_INTERNAL = -90,
}

/// Lists every status once more, with its name; one that is missing here does not compile.
macro_rules! statuses {
    ($($status:ident)*) => {
        const ALL: &[peerchat_status_t] = &[$(peerchat_status_t::$status),*];

        const fn name(status: peerchat_status_t) -> &'static CStr {
            match status {
                $(peerchat_status_t::$status => {
                    match CStr::from_bytes_with_nul(concat!(stringify!($status), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => c"",
                    }
                })*
            }
        }
    };
}

statuses! {
    PEERCHAT_OK PEERCHAT_NO_EVENT PEERCHAT_ERR_NULL_POINTER PEERCHAT_ERR_INVALID_UTF8 PEERCHAT_ERR_WRONG_MODE
    PEERCHAT_ERR_INVALID_ARGUMENT PEERCHAT_ERR_INVALID_NAME PEERCHAT_ERR_INVALID_ADDRESS PEERCHAT_ERR_EMPTY_TEXT
    PEERCHAT_ERR_TEXT_TOO_LONG PEERCHAT_ERR_OUTBOX_FULL PEERCHAT_ERR_NOT_FOUND PEERCHAT_ERR_NO_USER
    PEERCHAT_ERR_NOT_MET PEERCHAT_ERR_IDENTITY_NOT_SEEN PEERCHAT_ERR_BLOCKED PEERCHAT_ERR_TOO_MANY_CONTACTS
    PEERCHAT_ERR_ALREADY_ENDED PEERCHAT_ERR_BLOCKED_BY_RECIPIENT PEERCHAT_ERR_CLOSED PEERCHAT_ERR_TIMED_OUT PEERCHAT_ERR_PROFILE_IN_USE PEERCHAT_ERR_PROFILE_DAMAGED
    PEERCHAT_ERR_PROFILE_TOO_NEW PEERCHAT_ERR_STORAGE PEERCHAT_ERR_WRONG_PASSPHRASE PEERCHAT_ERR_ARCHIVE_DAMAGED
    PEERCHAT_ERR_ARCHIVE_PASSPHRASE PEERCHAT_ERR_ARCHIVE_TOO_NEW PEERCHAT_ERR_PROFILE_EXISTS PEERCHAT_ERR_ADDRESS_IN_USE PEERCHAT_ERR_NETWORK
    PEERCHAT_ERR_UNREACHABLE PEERCHAT_ERR_WRONG_KEY PEERCHAT_ERR_UNKNOWN_RECIPIENT PEERCHAT_ERR_NAME_TAKEN
    PEERCHAT_ERR_NAME_CONTESTED PEERCHAT_ERR_EXPIRED PEERCHAT_ERR_INTERNAL
}

impl peerchat_status_t {
    /// Returns the status with this number.
    fn from_number(number: i32) -> Option<Self> {
        ALL.iter().copied().find(|status| *status as i32 == number)
    }
}

impl From<()> for peerchat_status_t {
    fn from((): ()) -> Self {
        Self::PEERCHAT_OK
    }
}

impl From<ErrorCode> for peerchat_status_t {
    /// Finds the status by its number, which is the same in both; a test walks all codes.
    fn from(code: ErrorCode) -> Self {
        Self::from_number(code as i32).unwrap_or(Self::PEERCHAT_ERR_INTERNAL)
    }
}

/// Why a call failed: the status, and the words for `peerchat_last_error`.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: peerchat_status_t,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(status: peerchat_status_t, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { status: error.code().into(), detail: error.to_string() }
    }
}

/// Returns the name of a status, such as "PEERCHAT_ERR_CLOSED", for logs.
///
/// Never blocks. Thread-safe.
/// @param status  Any number; a peerchat_status_t, or the code of an event.
/// @return A static string, "PEERCHAT_UNKNOWN" for a number that this version does not know.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_status_name(status: i32) -> *const c_char {
    peerchat_status_t::from_number(status).map_or(c"PEERCHAT_UNKNOWN", name).as_ptr()
}

/// Returns what the last call that failed on this thread had to say: English, lower case, with what to do about it.
///
/// A call that succeeds leaves it alone. Text for people; it changes between versions. Never blocks.
/// @return A string that is valid until the next call that fails on this thread, or the end of the thread; do not
///         free it. Empty if no call has failed yet. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_last_error() -> *const c_char {
    or_else(c"".as_ptr(), last_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list in the core's source: the compiler does not offer the variants of a non-exhaustive enum.
    fn core_codes() -> Vec<(String, i32)> {
        let source = include_str!("../../../peerchat-core/src/error.rs");
        let (_, body) = source.split_once("pub enum ErrorCode {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        body.lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//"))
            .filter_map(|line| line.strip_suffix(',')?.split_once(" = "))
            .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
            .collect()
    }

    fn screaming(name: &str) -> String {
        let words = name.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain([c]));
        format!("PEERCHAT_ERR{}", words.collect::<String>().to_uppercase())
    }

    #[test]
    fn every_code_of_the_core_is_a_status_of_the_same_number_and_name() {
        let codes = core_codes();
        assert!(codes.len() > 20, "the core's source was not understood: {codes:?}");
        for (code, number) in codes {
            let status =
                peerchat_status_t::from_number(number).unwrap_or_else(|| panic!("{code} has no status"));
            assert_eq!(name(status).to_str().unwrap(), screaming(&code));
        }
    }

    #[test]
    fn every_error_status_but_those_of_c_is_a_code_of_the_core() {
        let codes = core_codes();
        for status in ALL.iter().filter(|status| (**status as i32) < -9) {
            assert!(codes.iter().any(|(_, number)| *number == *status as i32), "{status:?}");
        }
    }

    #[test]
    fn codes_become_statuses() {
        assert_eq!(peerchat_status_t::from(ErrorCode::Closed), peerchat_status_t::PEERCHAT_ERR_CLOSED);
        assert_eq!(peerchat_status_t::from(ErrorCode::Internal), peerchat_status_t::PEERCHAT_ERR_INTERNAL);
    }
}
