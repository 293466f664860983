//! The version, from one source: the package's manifest.

use std::ffi::{CStr, c_char};

/// The version of the package.
pub(crate) const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// Returns the version of the library, such as "0.1.0".
///
/// PEERCHAT_VERSION is that of the header. The two fit together if their major numbers are the same; while that is 0,
/// if their minor numbers are. Never blocks. Thread-safe.
/// @return A static string.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_version() -> *const c_char {
    VERSION.as_ptr()
}
