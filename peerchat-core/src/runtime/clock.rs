//! The one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Now, Timestamp};

/// Returns what both clocks say. A wall clock before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "this is where the rest of the crate gets its time from")]
pub(crate) fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp::from_unix_ms(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
    Now { instant: Instant::now(), wall }
}
