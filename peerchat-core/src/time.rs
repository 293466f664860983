//! Time as a value. Nothing here reads a clock: the runtime does, and hands the result in as `now`.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A point in wall-clock time: milliseconds since 1970-01-01 00:00 UTC.
///
/// Records and messages carry it. Timeouts never use it: a wall clock jumps.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Makes a timestamp of milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Returns milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Returns this point moved later by `by`, or the last representable one.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns how far this point lies after `earlier`, zero if it does not.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// What both clocks said when something happened.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock: every timeout is measured with it.
    pub instant: Instant,
    /// The wall clock: what records and messages carry.
    pub wall: Timestamp,
}

impl Now {
    /// Returns this moment moved later by `by` on both clocks.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self { instant: self.instant + by, wall: self.wall.saturating_add(by) }
    }
}
