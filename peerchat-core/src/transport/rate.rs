//! [`RateLimit`]: how often something may happen, whoever asks for it.

use std::time::{Duration, Instant};

/// A token bucket: `burst` at once, then one every `interval` (the GCRA form, ITU-T I.371).
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    /// How far ahead of the clock the schedule may run.
    tolerance: Duration,
    /// When the bucket will be full again; `None` while it has never been used.
    full_at: Option<Instant>,
}

impl RateLimit {
    /// Makes a full bucket that admits `burst` at once and `per_second` in the long run.
    pub(crate) const fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self { interval, tolerance: interval.saturating_mul(burst.saturating_sub(1)), full_at: None }
    }

    /// Takes one token; `false` if there is none, which changes nothing.
    #[must_use]
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at.saturating_duration_since(now) > self.tolerance {
            return false;
        }
        self.full_at = Some(full_at + self.interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut limit = RateLimit::new(10, 3);
        let admitted = |limit: &mut RateLimit, at| (0..9).filter(|_| limit.admits(at)).count();
        assert_eq!(admitted(&mut limit, start), 3);
        assert_eq!(admitted(&mut limit, start + Duration::from_millis(250)), 2);
        assert_eq!(admitted(&mut limit, start + Duration::from_secs(60)), 3);
    }
}
