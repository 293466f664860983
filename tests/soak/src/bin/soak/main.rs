//! The long runs of `make soak`: `soak` runs all of them, `soak kills` one, `soak kills 50` another number of it.
//!
//! Progress is on stderr, a table at the end on stdout. `SEED` in the environment makes the same choices again.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerchat_soak::outcome::{Outcome, table};
use peerchat_soak::{Failure, Progress, child, kills, lab, life, million, model, partition};

/// Every run, with how much of it there is unless told otherwise.
const RUNS: [(&str, usize); 5] =
    [("kills", 300), ("life", 50), ("model", 300), ("million", 1_000_000), ("partition", 3600)];

/// How many people live in `life`.
const PEOPLE: usize = 30;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((word, rest)) if word == "child" => child::run(rest),
        Some((word, _)) if word == "hold" => lab::hold(),
        Some((name, rest)) => choose(name, rest.first().map(String::as_str)),
        None => run_all(&RUNS),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("soak: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn choose(name: &str, amount: Option<&str>) -> Result<(), Failure> {
    let Some((name, usual)) = RUNS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = RUNS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no run '{name}'; there are {}", known.join(", ")).into());
    };
    run_all(&[(name, amount.map_or(Ok(*usual), str::parse)?)])
}

fn run_all(runs: &[(&str, usize)]) -> Result<(), Failure> {
    let seed = match std::env::var("SEED") {
        Ok(seed) if !seed.is_empty() => seed.parse()?,
        _ => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    eprintln!("soak: SEED={seed}");
    let mut outcomes = Vec::new();
    for (name, amount) in runs {
        let mut progress = |words: &str| eprintln!("{name}: {words}");
        outcomes.extend(run(name, *amount, seed, &mut progress)?);
    }
    print!("{}", table(&outcomes));
    Ok(())
}

/// Returns what a run went through, `None` if it was left out.
fn run(name: &str, amount: usize, seed: u64, progress: Progress<'_>) -> Result<Option<Outcome>, Failure> {
    Ok(Some(match name {
        "kills" => kills::run(&std::env::current_exe()?, amount, seed, progress)?,
        "life" => life::run(PEOPLE, amount, seed, progress)?,
        "model" => model::run(amount, seed, progress)?,
        "partition" => {
            let parted = Duration::from_secs(amount as u64);
            let outcome = partition::run(&std::env::current_exe()?, parted, seed, progress)?;
            if outcome.is_none() {
                lab::note_skipped("soak partition", "the system gives no network namespaces")?;
            }
            return Ok(outcome);
        }
        _ => million::run(amount as u64, seed, progress)?,
    }))
}
