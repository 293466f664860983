//! [`RoundTrip`]: how long a peer takes to answer, and how long to wait for it (RFC 6298).

use std::time::Duration;

/// How long to wait for the answer of a peer that was never measured.
pub const INITIAL_RTO: Duration = Duration::from_millis(500);

/// Shortest wait before the first retransmission, however fast the peer answered before.
pub const MIN_RTO: Duration = Duration::from_millis(50);

/// Longest wait before the first retransmission, however slow the peer answered before.
pub const MAX_RTO: Duration = Duration::from_secs(1);

/// Shortest wait for the answer of a peer that was never measured, however fast others answer.
pub const MIN_COLD_RTO: Duration = Duration::from_millis(150);

/// A smoothed round trip: to one peer, or to all that were met.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    /// Smoothed time and its variation in microseconds, an hour at most; `None` before the first sample.
    measured_us: Option<(u32, u32)>,
}

impl RoundTrip {
    /// Takes the time of one answer to a packet that was sent once only (Karn's rule).
    pub fn insert(&mut self, sample: Duration) {
        const HOUR_US: u32 = 3_600_000_000;
        let sample = u32::try_from(sample.as_micros()).map_or(HOUR_US, |sample| sample.min(HOUR_US));
        self.measured_us = Some(match self.measured_us {
            None => (sample, sample / 2),
            Some((smoothed, variation)) => (
                smoothed - smoothed / 8 + sample / 8,
                variation - variation / 4 + smoothed.abs_diff(sample) / 4,
            ),
        });
    }

    /// Returns how long to wait before the first retransmission.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.measured_us.map_or(INITIAL_RTO, |(smoothed, variation)| {
            let us = u64::from(smoothed) + 4 * u64::from(variation);
            Duration::from_micros(us).clamp(MIN_RTO, MAX_RTO)
        })
    }

    /// Returns how long to wait for a peer that was never measured, if this is what others take: never longer than
    /// [`INITIAL_RTO`], so that no liar can slow handshakes down.
    #[must_use]
    pub fn cold_timeout(&self) -> Duration {
        self.timeout().clamp(MIN_COLD_RTO, INITIAL_RTO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_measured_round_trip() {
        let ms = Duration::from_millis;
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.timeout(), INITIAL_RTO);
        round_trip.insert(ms(80));
        assert_eq!(round_trip.timeout(), ms(240));
        (0..50).for_each(|_| round_trip.insert(ms(80)));
        assert!((ms(75)..ms(90)).contains(&round_trip.timeout()));
        (0..50).for_each(|_| round_trip.insert(ms(1)));
        assert_eq!(round_trip.timeout(), MIN_RTO);
        (0..50).for_each(|_| round_trip.insert(ms(9_000)));
        assert_eq!(round_trip.timeout(), MAX_RTO);
    }

    #[test]
    fn the_wait_for_a_stranger_follows_that_for_others_within_bounds() {
        let mut typical = RoundTrip::default();
        assert_eq!(typical.cold_timeout(), INITIAL_RTO);
        typical.insert(Duration::from_millis(80));
        assert_eq!(typical.cold_timeout(), Duration::from_millis(240));
        (0..50).for_each(|_| typical.insert(Duration::from_millis(1)));
        assert_eq!(typical.cold_timeout(), MIN_COLD_RTO);
        (0..50).for_each(|_| typical.insert(Duration::from_secs(9)));
        assert_eq!(typical.cold_timeout(), INITIAL_RTO);
    }
}
