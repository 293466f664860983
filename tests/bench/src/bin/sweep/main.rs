//! The original's experiment on real UDP sockets: n users register one after another while the network grows, then
//! 20 random pairs look each other up in both directions.
//!
//! `sweep` runs every size, `sweep 320` only the ones given; `sweep 40-disk` keeps the profiles on disk. Each size runs
//! in a process of its own, so that what one used does not count for the next. Writes `report.json` and `sweep.svg`
//! into `target/sweep`.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use peerchat_bench::Failure;

mod plot;
mod report;
mod run;

use report::Row;

/// The network sizes of a full sweep; those of the original end at 320.
const SIZES: [&str; 10] = ["10", "20", "40", "40-disk", "80", "160", "320", "1000", "3000", "10000"];

/// Where the results go.
const OUTPUT: &str = "target/sweep";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--one", case] => Case::parse(case).and_then(run::run).and_then(|row| {
            println!("{}", serde_json::to_string(&row)?);
            Ok(())
        }),
        [] => sweep(&SIZES),
        sizes => sweep(sizes),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sweep: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// One network to measure.
#[derive(Clone, Copy, Debug)]
struct Case {
    n: usize,
    is_on_disk: bool,
}

impl Case {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (number, is_on_disk) = match text.strip_suffix("-disk") {
            Some(number) => (number, true),
            None => (text, false),
        };
        match number.parse() {
            Ok(n) if n >= 2 => Ok(Self { n, is_on_disk }),
            _ => Err(format!("'{text}' is no network size; say a number from 2 up, or 40-disk").into()),
        }
    }
}

/// Measures every case in a process of its own; writes the results after each, so that a long sweep may be cut short.
fn sweep(cases: &[&str]) -> Result<(), Failure> {
    for case in cases {
        Case::parse(case)?;
    }
    std::fs::create_dir_all(OUTPUT)?;
    let mut rows = Vec::new();
    for case in cases {
        eprintln!("n = {case}");
        rows.push(measure(case)?);
        std::fs::write(Path::new(OUTPUT).join("report.json"), report::json(&rows)?)?;
        std::fs::write(Path::new(OUTPUT).join("sweep.svg"), plot::svg(&rows))?;
    }
    print!("{}", report::table(&rows));
    println!("\nwritten: {OUTPUT}/report.json, {OUTPUT}/sweep.svg");
    Ok(())
}

fn measure(case: &str) -> Result<Row, Failure> {
    let mut child =
        Command::new(std::env::current_exe()?).args(["--one", case]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("n = {case}: {status}").into());
    }
    Ok(serde_json::from_str(&line)?)
}
