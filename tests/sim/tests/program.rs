//! The program behind `make sim`: the same seed writes the same report.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs an experiment on tiny networks, and returns what it wrote: the rows without what depends on the machine, and a
/// plot.
fn run(seed: &str, directory: &Path) -> (Vec<Value>, String) {
    std::fs::create_dir_all(directory).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.arg("growth").env("SIM_SEED", seed).env("SIM_SCALE", "0.002").current_dir(directory);
    let output = command.output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("record found %"), "{table}");
    let report = std::fs::read_to_string(directory.join("target/sim/growth.json")).unwrap();
    let mut report: Value = serde_json::from_str(&report).unwrap();
    let mut rows = report["rows"].take();
    for row in rows.as_array_mut().unwrap() {
        let row = row.as_object_mut().unwrap();
        assert!(row.remove("wall s").is_some() && row.remove("KiB/node").is_some());
    }
    let plot = std::fs::read_to_string(directory.join("target/sim/hops.svg")).unwrap();
    (rows.as_array().unwrap().clone(), plot)
}

#[test]
fn the_same_seed_writes_the_same_report() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let first = run("1", &scratch.join("first"));
    assert_eq!(first.0.len(), 5);
    assert!(first.1.contains("</svg>") && first.1.contains("log2 n - log2 k"));
    assert_eq!(first, run("1", &scratch.join("second")));
    assert_ne!(first.0, run("2", &scratch.join("third")).0, "another seed is another run");
}
