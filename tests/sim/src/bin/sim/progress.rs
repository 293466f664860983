//! [`Progress`]: says on standard error how far a run has come, and what it costs.

use std::time::{Duration, Instant};

use peerchat_sim::Swarm;

/// How often progress is told.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Progress {
    name: String,
    began: Instant,
    told: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the program's own time, not the network's")]
fn wall() -> Instant {
    Instant::now()
}

impl Progress {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), began: wall(), told: wall() }
    }

    /// Tells how far it is, now and then.
    pub(crate) fn tell(&mut self, swarm: &Swarm, phase: &str) {
        if self.told.elapsed() < EVERY {
            return;
        }
        self.told = wall();
        let simulated = Duration::from_millis(swarm.now().wall.unix_ms() - 1_700_000_000_000);
        eprintln!(
            "[{} {:.0} s] {phase}: {:.1} min simulated, {} nodes, {:.1} M requests {:?}, {:.1} GiB",
            self.name,
            self.seconds(),
            simulated.as_secs_f64() / 60.0,
            swarm.live_count(),
            swarm.stats().requests as f64 / 1e6,
            swarm.stats().by_kind,
            resident_bytes() as f64 / f64::from(1 << 30),
        );
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

/// Returns how much memory the process has, zero where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
