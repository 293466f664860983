//! `make sim`: the simulator's experiments. Each prints a table and writes JSON and a plot into `target/sim/`.
//!
//! `sim [NAME...]` runs the named experiments, all of them without a name. `SIM_SCALE=0.1` makes every network a tenth
//! as large, `SIM_SEED` changes the seed.

#![expect(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::process::ExitCode;

use peerchat_core::kademlia::{ALPHA, AddressFamily, K, LOOKUP_PATHS, NodeConfig, Serve};

use report::Report;

mod churn;
mod growth;
mod names;
mod plot;
mod probes;
mod progress;
mod report;
mod survival;
mod sybils;
mod targets;

/// What the caller asked for.
#[derive(Clone, Copy, Debug)]
struct Options {
    seed: u64,
    /// Multiplies the size of every network.
    scale: f64,
}

impl Options {
    fn scaled(&self, count: usize) -> usize {
        ((count as f64 * self.scale) as usize).max(50)
    }

    /// How many lookups a network is measured with: fewer only where it is smaller than a tenth.
    fn probes(&self, count: usize) -> usize {
        ((count as f64 * (10.0 * self.scale).min(1.0)) as usize).max(50)
    }
}

type Experiment = fn(&Options) -> Report;

const EXPERIMENTS: [(&str, Experiment); 7] = [
    ("growth", growth::run),
    ("churn", churn::run),
    ("churn-large", churn::run_large),
    ("sybils", sybils::run),
    ("targets", targets::run),
    ("survival", survival::run),
    ("names", names::run),
];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let is_known = |name: &String| EXPERIMENTS.iter().any(|(known, _)| known == name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let known: Vec<_> = EXPERIMENTS.iter().map(|(name, _)| *name).collect();
        eprintln!("sim: no experiment {unknown}; there are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let options = Options { seed: variable("SIM_SEED", 1), scale: variable("SIM_SCALE", 1.0) };
    for (name, experiment) in EXPERIMENTS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let report = experiment(&options);
        println!("{}", report.table());
        match report.write() {
            Ok(paths) => println!("written: {paths}\n"),
            Err(error) => {
                eprintln!("sim: cannot write the report: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Returns what every node is made with, unless an experiment says otherwise.
const fn node_config() -> NodeConfig {
    NodeConfig { k: K, alpha: ALPHA, paths: LOOKUP_PATHS, family: AddressFamily::V4, serve: Serve::Always }
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
