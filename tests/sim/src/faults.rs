//! What goes wrong between and with hosts: partitions, NATs, churn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// How long after its host last sent to somebody a NAT lets packets of theirs in (RFC 4787, section 4.3: at least two
/// minutes).
pub const NAT_MAPPING_LIFETIME: Duration = Duration::from_secs(120);

/// Who can reach whom.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Hosts of different sides cannot reach one another; hosts without an entry are on side 0.
    sides: Vec<u8>,
    /// Hosts behind a NAT that filters by address, and when each last sent to whom.
    nats: BTreeMap<usize, BTreeMap<usize, Instant>>,
}

impl Reach {
    /// Puts a host on a side.
    pub(crate) fn set_side(&mut self, host: usize, side: u8) {
        if self.sides.len() <= host {
            self.sides.resize(host + 1, 0);
        }
        self.sides[host] = side;
    }

    /// Puts every host on the same side again.
    pub(crate) fn heal(&mut self) {
        self.sides.clear();
    }

    /// Puts a host behind a NAT: it is reached only by those to whom it sent of late.
    pub(crate) fn add_nat(&mut self, host: usize) {
        self.nats.entry(host).or_default();
    }

    /// Notes that a packet leaves, and tells whether it can arrive.
    pub(crate) fn send(&mut self, from: usize, to: usize, now: Instant) -> bool {
        if let Some(sent) = self.nats.get_mut(&from) {
            sent.insert(to, now);
        }
        let is_let_in = self.nats.get(&to).is_none_or(|sent| {
            let is_recent = |at: &Instant| now.saturating_duration_since(*at) < NAT_MAPPING_LIFETIME;
            sent.get(&from).is_some_and(is_recent)
        });
        is_let_in && self.side(from) == self.side(to)
    }

    fn side(&self, host: usize) -> u8 {
        self.sides.get(host).copied().unwrap_or(0)
    }
}

/// Hosts that come and go: sessions and absences of exponential length. They leave without a word.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// Half of the sessions are shorter.
    pub median_session: Duration,
    /// Half of the absences are shorter.
    pub median_absence: Duration,
}

impl Churn {
    /// Returns churn with sessions and absences alike: in the long run half of the hosts are there.
    #[must_use]
    pub const fn with_median(median: Duration) -> Self {
        Self { median_session: median, median_absence: median }
    }

    /// Draws how long a host stays.
    pub(crate) fn session(&self, rng: &mut ChaCha20Rng) -> Duration {
        exponential(self.median_session, rng)
    }

    /// Draws how long a host is away.
    pub(crate) fn absence(&self, rng: &mut ChaCha20Rng) -> Duration {
        exponential(self.median_absence, rng)
    }
}

fn exponential(median: Duration, rng: &mut ChaCha20Rng) -> Duration {
    let uniform = 1.0 - rng.random::<f64>();
    median.mul_f64(-uniform.ln() / std::f64::consts::LN_2)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only differences matter")]
    fn a_nat_lets_in_whom_its_host_has_written_to_of_late() {
        let (mut reach, now) = (Reach::default(), Instant::now());
        reach.add_nat(1);
        assert!(!reach.send(2, 1, now));
        assert!(reach.send(1, 2, now));
        assert!(reach.send(2, 1, now));
        assert!(!reach.send(3, 1, now));
        assert!(!reach.send(2, 1, now + NAT_MAPPING_LIFETIME));
    }

    #[test]
    fn half_of_the_sessions_are_shorter_than_the_median() {
        let (churn, mut rng) = (Churn::with_median(Duration::from_secs(600)), ChaCha20Rng::seed_from_u64(3));
        let shorter = (0..10_000).filter(|_| churn.session(&mut rng) < churn.median_session).count();
        assert!((4_850..5_150).contains(&shorter), "{shorter}");
    }
}
