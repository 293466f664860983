//! [`Probes`]: lookups by random nodes, and whether they were right.

use std::time::Duration;

use peerchat_core::kademlia::{Contact, K, RecordKey};
use peerchat_sim::{Swarm, Trace};
use rand::RngExt;

/// How long before a lookup a node must have come to count as one that is to be found: before, it has not joined yet.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// What came of lookups.
///
/// A lookup of a place is right if of all honest nodes that had come in time and are there when it ends none is closer
/// than the closest honest one it found.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) values: Tally,
    pub(crate) places: Tally,
    /// Shares of the true k closest that lookups of places found.
    overlaps: Vec<f64>,
}

/// Lookups of one kind.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    pub(crate) right: usize,
    hops: Vec<f64>,
    requests: Vec<f64>,
    times_ms: Vec<f64>,
}

impl Tally {
    fn take(&mut self, trace: &Trace, is_right: bool) {
        self.done += 1;
        self.right += usize::from(is_right);
        self.hops.push(trace.hops as f64);
        self.requests.push(trace.requests as f64);
        self.times_ms.push(trace.time.as_secs_f64() * 1000.0);
    }

    /// Returns the share of right answers in percent.
    pub(crate) fn success(&self) -> f64 {
        100.0 * self.right as f64 / self.done.max(1) as f64
    }

    pub(crate) fn mean_hops(&self) -> f64 {
        mean(&self.hops)
    }

    pub(crate) fn mean_requests(&self) -> f64 {
        mean(&self.requests)
    }

    pub(crate) fn time_ms(&self, percent: usize) -> f64 {
        let mut times = self.times_ms.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() * percent / 100).copied().unwrap_or(f64::NAN)
    }
}

impl Probes {
    /// Lets random nodes look up records and places at even intervals, `count` in all, while `time` passes.
    pub(crate) fn run(
        swarm: &mut Swarm,
        keys: &[RecordKey],
        share_of_values: f64,
        (count, time): (usize, Duration),
        mut progress: impl FnMut(&Swarm),
    ) -> Self {
        let mut probes = Self::default();
        let pause = time / u32::try_from(count).expect("fewer than 2^32 probes");
        for _ in 0..count {
            let host = swarm.random_host();
            if swarm.rng().random_bool(share_of_values) {
                let key = keys[swarm.rng().random_range(0..keys.len())];
                swarm.find_value(host, key);
            } else {
                let place = swarm.random_place();
                swarm.find_nodes(host, place);
            }
            swarm.run_for(pause);
            probes.collect(swarm, keys);
            progress(swarm);
        }
        swarm.run_for(Duration::from_secs(60));
        probes.collect(swarm, keys);
        probes
    }

    fn collect(&mut self, swarm: &mut Swarm, keys: &[RecordKey]) {
        for trace in swarm.take_traces() {
            let Some(outcome) = &trace.outcome else { continue };
            if keys.iter().any(|key| key.place() == trace.target) {
                self.values.take(&trace, !outcome.values.is_empty());
                continue;
            }
            let found: Vec<_> =
                outcome.closest.iter().filter(|contact| !swarm.is_adversary(contact)).copied().collect();
            let since = trace.began.checked_sub(SETTLED_AFTER).unwrap_or(trace.began);
            let closest = swarm.closest(&trace.target, K, since, trace.host);
            let closest: Vec<_> = closest.into_iter().map(|host| swarm.contact(host)).collect();
            let distance = |contact: &Contact| contact.id().distance(&trace.target);
            let is_right = match (found.first(), closest.first()) {
                (Some(found), Some(closest)) => distance(found) <= distance(closest),
                (_, closest) => closest.is_none(),
            };
            self.places.take(&trace, is_right);
            // Whoever came since may have taken the place of the farthest.
            let is_due = |contact: &&Contact| {
                found.len() < K || found.last().is_some_and(|last| distance(contact) <= distance(last))
            };
            let due: Vec<_> = closest.iter().filter(is_due).collect();
            let share = due.iter().filter(|contact| found.contains(contact)).count() as f64;
            self.overlaps.push(share / due.len().max(1) as f64);
        }
    }

    /// Returns the mean share of the true k closest that was found, in percent.
    pub(crate) fn overlap(&self) -> f64 {
        100.0 * mean(&self.overlaps)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
