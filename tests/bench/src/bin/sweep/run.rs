//! [`run`]: one network, measured.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, Totals, is_right};
use peerchat_bench::process::Usage;
use peerchat_bench::quantile::quantile;
use peerchat_core::{Client, UserName};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::Case;
use super::report::{Row, Sample};

/// How many random pairs look each other up, in both directions.
const PAIRS: usize = 20;

/// From this size on up to [`OVERLAP`] users join at a time.
const OVERLAP_FROM: usize = 1000;

const OVERLAP: usize = 8;

/// To how many peers a node keeps a link, so that ten thousand nodes fit into one process.
const MAX_LINKS: usize = 40;

/// The shortest time between two counts of the requests sent.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Counting asks every node; it may take this part of the time.
const SAMPLE_SHARE: u32 = 25;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The lookups of the pairs.
#[derive(Debug, Default)]
struct Lookups {
    right: usize,
    times: Vec<Duration>,
}

/// Grows a network and lets pairs look each other up.
pub(super) fn run(case: Case) -> Result<Row, Failure> {
    let directory = if case.is_on_disk { Some(tempfile::tempdir()?) } else { None };
    let overlap = if case.n >= OVERLAP_FROM { OVERLAP } else { 1 };
    let settings = Settings {
        max_links: MAX_LINKS,
        directory: directory.as_ref().map(|directory| directory.path().to_owned()),
        overlap,
        ..Settings::original()
    };
    let network = Network::new();
    let before = Usage::now()?;
    let start = Instant::now();
    let samples = grow(&network, case.n, &settings, start)?;
    let (registered_after, registered_cpu) = (start.elapsed(), Usage::now()?.cpu - before.cpu);
    let clients = network.clients();
    let grown = Totals::of(&clients)?;
    let lookups = look_up_pairs(&clients)?;
    let (wall, after) = (start.elapsed(), Usage::now()?);
    let end = Totals::of(&clients)?;
    let (n, searches) = (case.n as f64, end.searches - grown.searches);
    Ok(Row {
        n: case.n,
        is_on_disk: case.is_on_disk,
        wall_s: wall.as_secs_f64(),
        registration_s: registered_after.as_secs_f64(),
        cpu_s: (after.cpu - before.cpu).as_secs_f64(),
        registration_cpu_s: registered_cpu.as_secs_f64(),
        rpcs: end.requests,
        rpcs_per_second_and_node: end.requests as f64 / wall.as_secs_f64() / n,
        lookups_right: lookups.right,
        lookups: lookups.times.len(),
        lookup_p50_ms: quantile(&lookups.times, 0.5).as_secs_f64() * 1e3,
        lookup_p99_ms: quantile(&lookups.times, 0.99).as_secs_f64() * 1e3,
        hops: (end.hops - grown.hops) as f64 / searches.max(1) as f64,
        kib_per_node: after.resident_len.saturating_sub(before.resident_len) as f64 / 1024.0 / n,
        descriptors_per_node: after.descriptor_count.saturating_sub(before.descriptor_count) as f64 / n,
        threads: after.thread_count,
        bytes_per_node: end.bytes as f64 / n,
        searches_per_node: end.searches as f64 / n,
        links_per_node: end.links as f64 / n,
        contacts_per_node: end.contacts as f64 / n,
        records_per_node: end.records as f64 / n,
        samples,
    })
}

/// Grows the network while another thread counts the requests now and then.
fn grow(network: &Network, n: usize, settings: &Settings, start: Instant) -> Result<Vec<Sample>, Failure> {
    let is_over = AtomicBool::new(false);
    let told = Mutex::new(start);
    let progress = |registered: usize| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.elapsed() >= PROGRESS_EVERY || registered == n {
            *told = Instant::now();
            eprintln!("  {registered} of {n} registered after {:.1} s", start.elapsed().as_secs_f64());
        }
    };
    thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(network, start, &is_over));
        let grown = network.grow(n, settings, progress);
        is_over.store(true, Ordering::Relaxed);
        let samples = sampler.join().map_err(|_| "the sampling thread panicked")?;
        grown?;
        samples
    })
}

fn sample(network: &Network, start: Instant, is_over: &AtomicBool) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::Relaxed);
        let clients = network.clients();
        let before = start.elapsed();
        let requests = Totals::of(&clients)?.requests;
        let took = start.elapsed() - before;
        samples.push(Sample { at_s: start.elapsed().as_secs_f64(), nodes: clients.len(), rpcs: requests });
        if was_over {
            return Ok(samples);
        }
        let wake_at = Instant::now() + SAMPLE_EVERY.max(took * SAMPLE_SHARE);
        while Instant::now() < wake_at && !is_over.load(Ordering::Relaxed) {
            thread::sleep(SAMPLE_EVERY.min(wake_at.saturating_duration_since(Instant::now())));
        }
    }
}

/// Lets random pairs look each other up, one lookup after another.
fn look_up_pairs(clients: &[Client]) -> Result<Lookups, Failure> {
    let mut rng = ChaCha20Rng::seed_from_u64(clients.len() as u64);
    let mut lookups = Lookups::default();
    for _ in 0..PAIRS {
        let first = rng.random_range(0..clients.len());
        let second = (first + rng.random_range(1..clients.len())) % clients.len();
        for (asking, wanted) in [(first, second), (second, first)] {
            look_up(&clients[asking], &clients[wanted], &mut lookups);
        }
    }
    Ok(lookups)
}

fn look_up(asking: &Client, wanted: &Client, lookups: &mut Lookups) {
    // Joins overlap, so the order of the clients is not that of their names.
    let Some(name) = wanted.user_name().map(UserName::as_str) else { return };
    let start = Instant::now();
    let found = asking.lookup_wait(name);
    lookups.times.push(start.elapsed());
    match found {
        Ok(found) if is_right(&found, wanted) => lookups.right += 1,
        Ok(found) => eprintln!("  wrong: {name} at {:?}", found.addresses),
        Err(error) => eprintln!("  not found: {name}: {error}"),
    }
}
