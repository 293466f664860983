//! What a stranger pays for room in a mailbox that fills.

use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::quantile::quantile;
use peerchat_core::mail::{EnvelopeId, MAX_WORK_BITS, MIN_WORK_BITS, Work};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::report::{Cell, Figure, Table};

/// Envelopes worked for with each number of bits.
const SAMPLES: usize = 100;

/// Nonces checked to find out what one check costs.
const CHECKS: u32 = 100_000;

const COLUMNS: &[&str] = &["bits", "envelopes", "mean ms", "p50 ms", "p99 ms", "holder's check us"];

/// Measures the work for some numbers of bits, or for those that are named.
pub(super) fn measure(chosen: &[String]) -> Result<Figure, Failure> {
    let mut table = Table::new(COLUMNS);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for bits in (MIN_WORK_BITS..=MAX_WORK_BITS).step_by(4) {
        if !chosen.is_empty() && !chosen.contains(&bits.to_string()) {
            continue;
        }
        let mut times = Vec::with_capacity(SAMPLES);
        let mut works = (0..SAMPLES).map(|_| Work { envelope: EnvelopeId::from_bytes(rng.random()), bits });
        works.try_for_each(|work| -> Result<(), Failure> {
            let start = Instant::now();
            work.search(|| true).ok_or("no nonce was found")?;
            times.push(start.elapsed());
            Ok(())
        })?;
        let mean = times.iter().sum::<Duration>() / u32::try_from(SAMPLES)?;
        let ms = |time: Duration| Cell::Number(time.as_secs_f64() * 1e3, 3);
        table.push(vec![
            bits.to_string().as_str().into(),
            Cell::count(SAMPLES),
            ms(mean),
            ms(quantile(&times, 0.5)),
            ms(quantile(&times, 0.99)),
            Cell::Number(check(bits).as_secs_f64() * 1e6, 3),
        ]);
    }
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    ["One thread; a nonce for each of 100 envelopes, from the first one that is tried. A phone was not measured."]
        .map(str::to_owned)
        .to_vec()
}

/// Returns how long a holder takes to check one nonce.
fn check(bits: u8) -> Duration {
    let work = Work { envelope: EnvelopeId::from_bytes([7; 32]), bits };
    let start = Instant::now();
    let done = (0..u64::from(CHECKS)).filter(|nonce| std::hint::black_box(work).is_done_by(*nonce)).count();
    std::hint::black_box(done);
    start.elapsed() / CHECKS
}
