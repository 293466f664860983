//! Text in both directions. What comes in is checked to be UTF-8; what goes out ends with a NUL.

use std::ffi::{CString, c_char};

use peerchat_core::{Error, MAX_TEXT_LEN, Recipient, UserId, UserName};
use safer_ffi::prelude::char_p;

use super::guard::{or_else, required};
use super::status::{Failure, peerchat_status_t};

/// A string that the caller lends for the call.
pub(super) type CStrArg<'a> = Option<char_p::Ref<'a>>;

/// A string that changes hands; the caller frees it.
pub(super) type COwnedStr = Option<char_p::Box>;

/// A string that an event owns.
pub(super) type CEventStr = char_p::Box;

/// Returns the string behind an argument. `char_p::Ref::to_str` would not check that it is UTF-8.
pub(super) fn string<'a>(argument: CStrArg<'a>, name: &str) -> Result<&'a str, Failure> {
    str::from_utf8(required(argument, name)?.to_bytes()).map_err(|_| not_utf8(name))
}

/// Returns the text behind a pointer and its length, which may be larger than any message: nothing is read then.
///
/// # Safety
///
/// `text` is NULL, or `len` bytes from it on are readable while `'a` lasts.
pub(super) unsafe fn text<'a>(text: *const c_char, len: usize) -> Result<&'a str, Failure> {
    let text = required((!text.is_null()).then_some(text), "text")?;
    if len > MAX_TEXT_LEN {
        return Err(Error::TextTooLong { len }.into());
    }
    // SAFETY: not NULL, and the caller vouches for `len` bytes, which are far fewer than `isize::MAX`.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    str::from_utf8(bytes).map_err(|_| not_utf8("text"))
}

/// Makes a C string. A NUL inside would cut it short, so it is shown as a replacement character.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Makes a string that safer-ffi hands over.
pub(super) fn owned(text: &str) -> char_p::Box {
    c_string(text).into()
}

/// Returns the bytes of a text, with a NUL after them, and their count without it. Unlike the other strings, a text
/// may hold NULs, so its length cannot be found again by looking for one.
pub(super) fn leak_text(text: &str) -> (*const c_char, usize) {
    let bytes: Box<[u8]> = text.bytes().chain([0]).collect();
    (Box::into_raw(bytes).cast::<c_char>().cast_const(), text.len())
}

/// Frees a text.
///
/// # Safety
///
/// [`leak_text`] gave both, and neither is used again.
pub(super) unsafe fn free_text(text: *const c_char, text_len: usize) {
    let bytes = std::ptr::slice_from_raw_parts_mut(text.cast_mut().cast::<u8>(), text_len + 1);
    // SAFETY: the caller vouches for it that this was a box of these bytes.
    drop(unsafe { Box::from_raw(bytes) });
}

/// Returns a list as one line for each.
pub(super) fn lines<T>(list: &[T], text: impl Fn(&T) -> String) -> String {
    list.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Returns how to address exactly one person of a name.
pub(super) fn exactly(name: &UserName, user: &UserId) -> String {
    Recipient::exactly(name.clone(), user).to_string()
}

fn not_utf8(name: &str) -> Failure {
    Failure::new(peerchat_status_t::PEERCHAT_ERR_INVALID_UTF8, format!("`{name}` is not UTF-8"))
}

/// Frees a string that a call gave to the caller.
///
/// Never blocks. Thread-safe.
/// @param string  Taken; NULL is allowed and does nothing. Only what a `char **out_...` parameter received: not
///                the strings of an event, and not those that a function returns.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_string_free(string: COwnedStr) {
    or_else((), || drop(string));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_does_not_cut_a_string_short() {
        assert_eq!(c_string("a\0b").to_str().unwrap(), "a\u{fffd}b");
        assert_eq!(owned("").to_str(), "");
    }

    #[test]
    fn an_over_long_text_is_refused_unread() {
        let byte = 0;
        // SAFETY: the length is refused before anything behind the pointer is read.
        let refused = unsafe { text((&raw const byte).cast(), usize::MAX) }.unwrap_err();
        assert_eq!(refused.status, peerchat_status_t::PEERCHAT_ERR_TEXT_TOO_LONG);
    }
}
