//! What every body of the C ABI sits in: no panic crosses it, and every failure leaves its words behind.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{Failure, peerchat_status_t};
use super::string::c_string;

thread_local! {
    /// The words of the last failure on this thread.
    static LAST_ERROR: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Runs the body of a call and turns what it returns, or its panic, into a status.
pub(super) fn guard<S: Into<peerchat_status_t>>(
    body: impl FnOnce() -> Result<S, Failure>,
) -> peerchat_status_t {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(told_by(panic)));
    match outcome {
        Ok(status) => status.into(),
        Err(failure) => {
            set_last_error(&failure.detail);
            failure.status
        }
    }
}

/// Runs the body of a call that has no status to return; `fallback` stands for a panic.
pub(super) fn or_else<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        set_last_error(&told_by(panic).detail);
        fallback
    })
}

/// Returns the argument, or the failure that `name` is NULL.
pub(super) fn required<T>(argument: Option<T>, name: &str) -> Result<T, Failure> {
    argument.ok_or_else(|| {
        Failure::new(peerchat_status_t::PEERCHAT_ERR_NULL_POINTER, format!("`{name}` must not be NULL"))
    })
}

/// Returns the pointer that `peerchat_last_error` hands out. A thread that is ending has no words any more.
pub(super) fn last_error() -> *const c_char {
    LAST_ERROR
        .try_with(|error| error.borrow().as_ref().map_or(c"".as_ptr(), |words| words.as_ptr()))
        .unwrap_or(c"".as_ptr())
}

fn set_last_error(detail: &str) {
    // A thread that is ending keeps no words: the status alone has to do.
    let _ = LAST_ERROR.try_with(|error| error.replace(Some(c_string(detail))));
}

/// Returns what a panic said. The panic hook has already shown where it happened.
fn told_by(panic: Box<dyn Any + Send>) -> Failure {
    let words =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let detail = format!("a bug in peerchat: {}", words.unwrap_or("a panic without words"));
    Failure::new(peerchat_status_t::PEERCHAT_ERR_INTERNAL, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last_error_text() -> String {
        // SAFETY: the pointer is to this thread's own string, which no other call replaces meanwhile.
        unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_words() {
        let status = guard(|| -> Result<(), Failure> { panic!("broken {}", 7) });
        assert_eq!(status, peerchat_status_t::PEERCHAT_ERR_INTERNAL);
        assert_eq!(last_error_text(), "a bug in peerchat: broken 7");
    }

    #[test]
    fn success_leaves_the_last_error_alone() {
        assert_eq!(last_error_text(), "");
        guard(|| required(None::<&u8>, "client").map(|_| ()));
        assert_eq!(guard(|| Ok(())), peerchat_status_t::PEERCHAT_OK);
        assert_eq!(last_error_text(), "`client` must not be NULL");
        std::thread::spawn(|| assert_eq!(last_error_text(), "")).join().unwrap();
    }
}
