//! [`Link`]: what happens to a packet between two hosts.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// No packet is faster.
const MIN_LATENCY: Duration = Duration::from_micros(200);

/// How much later than its pair's latency a packet may arrive, as a share of it.
const JITTER: f64 = 0.2;

/// How many latencies late a reordered packet may be.
const REORDERED_BY: f64 = 5.0;

/// How long packets travel, one way.
#[derive(Clone, Debug)]
pub enum Latency {
    /// Drawn for each packet from a range.
    Uniform(Range<Duration>),
    /// Fixed for each pair of hosts, log-normal over the pairs, with some jitter for each packet.
    LogNormal {
        /// Half of the pairs are closer than this.
        median: Duration,
        /// Standard deviation of the logarithm; 0.5 puts one pair in a hundred at 3.2 times the median.
        sigma: f64,
    },
}

/// What happens to packets. Every host has the same; pairs differ in their latency.
#[derive(Clone, Debug)]
pub struct Link {
    /// How long packets travel.
    pub latency: Latency,
    /// Which share of the packets is lost.
    pub loss: f64,
    /// Which share of the packets that are not lost arrives twice.
    pub duplication: f64,
    /// Which share of the packets is held up, so that later ones overtake them.
    pub reordering: f64,
}

impl Default for Link {
    fn default() -> Self {
        let latency = Latency::Uniform(Duration::from_millis(20)..Duration::from_millis(80));
        Self { latency, loss: 0.0, duplication: 0.0, reordering: 0.0 }
    }
}

impl Link {
    /// Returns the link of a wide-area network: 40 ms in the median, log-normal, and this loss.
    #[must_use]
    pub fn wide_area(loss: f64) -> Self {
        let latency = Latency::LogNormal { median: Duration::from_millis(40), sigma: 0.5 };
        Self { latency, loss, ..Self::default() }
    }

    /// Draws how long each copy of a packet travels that arrives: none, one or two.
    pub(crate) fn copies(&self, pair: (usize, usize), rng: &mut ChaCha20Rng) -> [Option<Duration>; 2] {
        if self.is_lost(rng) {
            return [None, None];
        }
        let is_doubled = self.duplication > 0.0 && rng.random_bool(self.duplication);
        [Some(self.delay(pair, rng)), is_doubled.then(|| self.delay(pair, rng))]
    }

    /// Draws whether a packet is lost.
    pub(crate) fn is_lost(&self, rng: &mut ChaCha20Rng) -> bool {
        self.loss > 0.0 && rng.random_bool(self.loss)
    }

    /// Draws how long a packet travels that is not lost.
    pub(crate) fn delay(&self, pair: (usize, usize), rng: &mut ChaCha20Rng) -> Duration {
        let latency = match &self.latency {
            Latency::Uniform(range) => rng.random_range(range.clone()),
            Latency::LogNormal { median, sigma } => {
                let base = median.mul_f64((sigma * normal_of(pair)).exp());
                base.mul_f64(1.0 + JITTER * rng.random::<f64>())
            }
        };
        let is_held_up = self.reordering > 0.0 && rng.random_bool(self.reordering);
        let factor = if is_held_up { 1.0 + REORDERED_BY * rng.random::<f64>() } else { 1.0 };
        latency.mul_f64(factor).max(MIN_LATENCY)
    }
}

/// Returns the standard normal number that belongs to a pair of hosts, the same in both directions.
fn normal_of((a, b): (usize, usize)) -> f64 {
    let pair = (a.min(b) as u64) << 32 | a.max(b) as u64;
    let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (radius, angle) = (uniform(mixed(2 * pair)), uniform(mixed(2 * pair + 1)));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// SplitMix64: a fixed scramble of 64 bits.
const fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn pairs_are_log_normal_and_alike_both_ways() {
        let (link, mut rng) = (Link::wide_area(0.0), ChaCha20Rng::seed_from_u64(1));
        let mut delays: Vec<_> = (0..4000).map(|host| link.delay((host, 3 * host + 1), &mut rng)).collect();
        delays.sort();
        let share = |percent: usize| delays[delays.len() * percent / 100].as_millis();
        assert!((40..50).contains(&share(50)), "median {}", share(50));
        assert!((110..160).contains(&share(99)), "p99 {}", share(99));
        let (there, back) = (link.delay((5, 9), &mut rng), link.delay((9, 5), &mut rng));
        assert!(there.abs_diff(back) <= there.min(back).mul_f64(JITTER));
    }

    #[test]
    fn loss_and_duplication_are_as_often_as_asked() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let link = Link { loss: 0.1, duplication: 0.2, ..Link::default() };
        let copies: usize = (0..10_000).map(|_| link.copies((0, 1), &mut rng).iter().flatten().count()).sum();
        assert!((10_600..11_000).contains(&copies), "{copies}");
    }
}
