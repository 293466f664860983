//! `soak model`: random stories of the simulator, each from a seed of its own, against the model of what everybody must
//! see. A story that fails prints its seed and step; `SEED=<that> soak model 1` tells it again.

use std::time::{Duration, Instant};

use peerchat_sim::story::Story;

use crate::outcome::Outcome;
use crate::{Failure, Progress};

/// How many steps each story has.
const STEPS: usize = 120;

/// How often progress is told, in stories.
const PROGRESS_EVERY: usize = 10;

/// Tells as many stories as `count`, from the seed on.
///
/// # Errors
///
/// None: a story that goes wrong panics, after it has said how to hear it again.
pub fn run(count: usize, seed: u64, progress: Progress<'_>) -> Result<Outcome, Failure> {
    let begin = Instant::now();
    let (mut interruptions, mut messages, mut given_up) = (0, 0, 0);
    for number in 0..count {
        let tale = Story::tell(seed.wrapping_add(number as u64), STEPS);
        interruptions += tale.interruptions;
        messages += tale.arrived as u64;
        given_up += tale.given_up;
        if (number + 1) % PROGRESS_EVERY == 0 || number + 1 == count {
            progress(&format!(
                "{} of {count} stories, {interruptions} interruptions, {messages} messages arrived, {given_up} given up",
                number + 1
            ));
        }
    }
    let longest_wait = Duration::ZERO;
    Ok(Outcome { what: "model", interruptions, messages, retold: 0, longest_wait, time: begin.elapsed() })
}
