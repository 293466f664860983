//! The figures that users and operators feel, each beside what existing systems were measured to reach.
//!
//! `figures` measures all of them, `figures lookups` one; further words choose among its cases. `SECONDS` in the
//! environment says how long nodes are watched at rest instead of an hour. Each figure is measured in a process of its
//! own, printed as a table, and written into `target/bench/figures.json`. Progress is on stderr.
#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

use std::process::{Command, ExitCode};

use peerchat_bench::Failure;

mod cold_call;
mod first_message;
mod floods;
mod fresh;
mod idle;
mod lookups;
mod passphrase;
mod people;
mod report;
mod strangers;
mod stream;
mod waiting;
mod work;

use report::Figure;

/// Measures one figure; the words choose among its cases, none means all.
type Measure = fn(&[String]) -> Result<Figure, Failure>;

/// Every figure, in the order in which they are measured.
const FIGURES: [(&str, Measure); 11] = [
    ("cold-call", cold_call::measure),
    ("lookups", lookups::measure),
    ("first-message", first_message::measure),
    ("strangers", strangers::measure),
    ("fresh", fresh::measure),
    ("passphrase", passphrase::measure),
    ("stream", stream::measure),
    ("waiting", waiting::measure),
    ("work", work::measure),
    ("floods", floods::measure),
    ("idle", idle::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((name, words)) if name == fresh::PERSON => fresh::be_person(words),
        Some((name, cases)) => measure(name, cases),
        None => FIGURES.iter().try_for_each(|(name, _)| measure_apart(name)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("figures: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(name: &str, cases: &[String]) -> Result<(), Failure> {
    let Some((name, measure)) = FIGURES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = FIGURES.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no figure '{name}'; there are {}", known.join(", ")).into());
    };
    let figure = measure(cases)?;
    print!("{}", figure.text(name));
    report::save(name, &figure)
}

/// Measures in another process, so that what one figure used does not count for the next.
fn measure_apart(name: &str) -> Result<(), Failure> {
    let status = Command::new(std::env::current_exe()?).arg(name).status()?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}").into()) }
}
