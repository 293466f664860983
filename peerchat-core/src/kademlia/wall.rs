//! [`WallClock`]: wall time that does not jump forward.

use std::time::{Duration, Instant};

use crate::time::{Now, Timestamp};

/// How far the wall clock may run ahead of the monotonic clock without being taken for a jump.
pub const MAX_CLOCK_STEP: Duration = Duration::from_secs(3600);

/// How many times faster than the monotonic clock the steady time runs after a jump until it has caught up.
///
/// An hour, in which every owner republishes, moves it by a day at most.
pub const CATCH_UP_SPEED: u32 = 24;

/// The two readings of a wall clock that records are judged by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WallTime {
    /// What the clock shows. Decides what lies too far ahead, so that a corrected clock is believed at once.
    pub shown: Timestamp,
    /// Never later than `shown`. Decides what has expired, so that a jump never drops everything at once.
    pub steady: Timestamp,
}

/// Turns the readings of a wall clock, which somebody may set and which goes on while the machine sleeps, into
/// [`WallTime`].
///
/// While the wall clock agrees with the monotonic clock, or is ahead by no more than [`MAX_CLOCK_STEP`], steady time
/// is what it shows. A larger jump forward is followed at [`CATCH_UP_SPEED`]. A jump backward is followed at once: it
/// lets nothing expire.
#[derive(Clone, Debug)]
pub struct WallClock {
    read_at: Instant,
    steady: Timestamp,
}

impl WallClock {
    /// Starts with a reading that is believed.
    #[must_use]
    pub const fn new(now: Now) -> Self {
        Self { read_at: now.instant, steady: now.wall }
    }

    /// Takes a reading.
    pub fn read(&mut self, now: Now) -> WallTime {
        let elapsed = now.instant.saturating_duration_since(self.read_at);
        let expected = self.steady.saturating_add(elapsed);
        let is_jump = now.wall.saturating_since(expected) > MAX_CLOCK_STEP;
        let followed = self.steady.saturating_add(elapsed.saturating_mul(CATCH_UP_SPEED));
        self.steady = if is_jump { followed.min(now.wall) } else { now.wall };
        self.read_at = now.instant.max(self.read_at);
        WallTime { shown: now.wall, steady: self.steady }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_jump_forward_is_followed_slowly_and_one_backward_at_once() {
        let start = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_000_000_000_000) };
        let mut clock = WallClock::new(start);
        let later = start.after(HOUR);
        assert_eq!(clock.read(later), WallTime { shown: later.wall, steady: later.wall });

        let jumped = Now { wall: later.wall.saturating_add(48 * HOUR), ..later };
        assert_eq!(clock.read(jumped), WallTime { shown: jumped.wall, steady: later.wall });
        let after = jumped.after(HOUR);
        assert_eq!(clock.read(after).steady, later.wall.saturating_add(24 * HOUR));
        let caught_up = after.after(2 * HOUR);
        assert_eq!(clock.read(caught_up).steady, caught_up.wall);

        let back = Now { wall: start.wall, ..caught_up };
        assert_eq!(clock.read(back), WallTime { shown: start.wall, steady: start.wall });
    }

    #[test]
    fn small_corrections_are_followed() {
        let start = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_000_000_000_000) };
        let mut clock = WallClock::new(start);
        let corrected = Now { wall: start.wall.saturating_add(HOUR), ..start };
        assert_eq!(clock.read(corrected).steady, corrected.wall);
    }
}
