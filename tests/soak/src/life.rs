//! Real life: people write to one another at random, leave, and come back, some of them from elsewhere.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::crowd::{Crowd, Place};
use crate::outcome::Outcome;
use crate::{Failure, Progress};

/// Lets `people` live so many rounds. In each, whoever is there writes to up to three others, some leave, and some of
/// those who are away come back, half of them from a new address. A round ends when everything has been shown that one
/// who is there wrote to another who is; in the end everybody is, and nothing may be missing.
///
/// # Errors
///
/// Something is lost, doubled or late.
pub fn run(people: usize, rounds: usize, seed: u64, progress: Progress<'_>) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut crowd = Crowd::gather(people)?;
    progress(&format!("{people} people are registered"));
    let (mut interruptions, mut longest_wait) = (0, Duration::ZERO);
    for round in 1..=rounds {
        write(&mut crowd, &mut rng)?;
        interruptions += leave(&mut crowd, &mut rng)?;
        come_back(&mut crowd, &mut rng, 0.5)?;
        write(&mut crowd, &mut rng)?;
        longest_wait = longest_wait.max(crowd.wait_until_shown()?);
        let online = (0..crowd.len()).filter(|number| crowd.is_online(*number)).count();
        let sent = crowd.ledger().accepted_count();
        progress(&format!(
            "round {round}: {online} online, {sent} messages, longest wait {longest_wait:.1?}"
        ));
    }
    come_back(&mut crowd, &mut rng, 1.0)?;
    longest_wait = longest_wait.max(crowd.wait_until_shown()?);
    crowd.check()?;
    Ok(Outcome {
        what: "real life",
        interruptions,
        messages: crowd.ledger().accepted_count(),
        retold: crowd.ledger().retold_count(),
        longest_wait,
        time: began.elapsed(),
    })
}

fn write(crowd: &mut Crowd, rng: &mut ChaCha20Rng) -> Result<(), Failure> {
    for from in 0..crowd.len() {
        if !crowd.is_online(from) {
            continue;
        }
        for _ in 0..rng.random_range(0..3) {
            let to = rng.random_range(0..crowd.len());
            if to != from {
                crowd.send(from, to)?;
            }
        }
    }
    Ok(())
}

/// Lets a fifth of those who are there leave; returns how many did.
fn leave(crowd: &mut Crowd, rng: &mut ChaCha20Rng) -> Result<usize, Failure> {
    let leaving: Vec<usize> =
        (0..crowd.len()).filter(|number| crowd.is_online(*number) && rng.random_bool(0.2)).collect();
    leaving.iter().try_for_each(|number| crowd.log_off(*number))?;
    Ok(leaving.len())
}

fn come_back(crowd: &mut Crowd, rng: &mut ChaCha20Rng, share: f64) -> Result<(), Failure> {
    for number in 0..crowd.len() {
        if !crowd.is_online(number) && rng.random_bool(share) {
            let place = if rng.random_bool(0.5) { Place::Same } else { Place::New };
            crowd.log_on(number, place)?;
        }
    }
    Ok(())
}
