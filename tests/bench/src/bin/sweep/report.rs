//! [`Row`]: what one network cost, beside what the original's cost.

use std::fmt::Write as _;

use peerchat_bench::Failure;
use serde::{Deserialize, Serialize};

/// What the original (Go, 2014) was measured to do on the same kind of machine, two cores, plaintext TCP.
const ORIGINAL: [Original; 6] = [
    Original { n: 10, wall_s: 2.4, rpcs: 423, rate: 17.7, lookup_ms: None, kib_per_node: 1254 },
    Original { n: 20, wall_s: 2.7, rpcs: 997, rate: 18.5, lookup_ms: Some((2.0, 5.4)), kib_per_node: 1174 },
    Original { n: 40, wall_s: 3.6, rpcs: 2_559, rate: 17.7, lookup_ms: Some((2.0, 7.6)), kib_per_node: 1074 },
    Original { n: 80, wall_s: 5.4, rpcs: 5_902, rate: 13.6, lookup_ms: Some((2.0, 9.0)), kib_per_node: 1008 },
    Original {
        n: 160,
        wall_s: 8.3,
        rpcs: 13_120,
        rate: 9.9,
        lookup_ms: Some((1.8, 5.4)),
        kib_per_node: 1000,
    },
    Original {
        n: 320,
        wall_s: 15.7,
        rpcs: 28_397,
        rate: 5.6,
        lookup_ms: Some((2.7, 7.6)),
        kib_per_node: 971,
    },
];

/// One line of the original's measurements. Two seconds of each time are fixed rests.
#[derive(Clone, Copy, Debug, Serialize)]
struct Original {
    n: usize,
    wall_s: f64,
    rpcs: u64,
    /// RPCs per second and node.
    rate: f64,
    /// p50 and p99; none where every lookup was local.
    lookup_ms: Option<(f64, f64)>,
    kib_per_node: u32,
}

/// How many requests all nodes had sent by a moment.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Sample {
    /// Seconds since the start.
    pub(super) at_s: f64,
    /// Nodes there were.
    pub(super) nodes: usize,
    /// DHT requests sent by then.
    pub(super) rpcs: u64,
}

/// What one network cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Row {
    /// Nodes, each with a user.
    pub(super) n: usize,
    pub(super) is_on_disk: bool,
    /// Registration and lookups.
    pub(super) wall_s: f64,
    /// The registrations alone.
    pub(super) registration_s: f64,
    /// Processor time of the process, all threads, the kernel's part included.
    pub(super) cpu_s: f64,
    pub(super) registration_cpu_s: f64,
    /// DHT requests sent.
    pub(super) rpcs: u64,
    pub(super) rpcs_per_second_and_node: f64,
    pub(super) lookups_right: usize,
    pub(super) lookups: usize,
    pub(super) lookup_p50_ms: f64,
    pub(super) lookup_p99_ms: f64,
    /// Mean over the searches of the lookups: how many requests in a row led to what was found.
    pub(super) hops: f64,
    /// Growth of the memory in RAM, divided by n.
    pub(super) kib_per_node: f64,
    pub(super) descriptors_per_node: f64,
    /// Of the whole process, the one that measures included.
    pub(super) threads: usize,
    /// UDP payload sent.
    pub(super) bytes_per_node: f64,
    /// Searches of the DHT that have ended.
    pub(super) searches_per_node: f64,
    pub(super) links_per_node: f64,
    pub(super) contacts_per_node: f64,
    pub(super) records_per_node: f64,
    pub(super) samples: Vec<Sample>,
}

#[derive(Serialize)]
struct Report<'a> {
    /// Of the machine.
    cores: usize,
    k: usize,
    alpha: usize,
    rows: &'a [Row],
    original: &'a [Original],
}

/// Returns everything measured as JSON.
pub(super) fn json(rows: &[Row]) -> Result<String, Failure> {
    let cores = std::thread::available_parallelism()?.get();
    let report = Report { cores, k: 10, alpha: 5, rows, original: &ORIGINAL };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// Returns the table for a person to read; a line of the original follows each size that it was measured at.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:>10} {:>8} {:>7} {:>9} {:>7} {:>7} {:>8} {:>8} {:>5} {:>8} {:>7} {:>7} {:>9}\n",
        "n",
        "wall s",
        "CPU s",
        "RPCs",
        "RPCs/s",
        "right",
        "p50 ms",
        "p99 ms",
        "hops",
        "KiB",
        "fds",
        "threads",
        "bytes",
    );
    let _ = writeln!(
        table,
        "{:>10} {:>8} {:>7} {:>9} {:>7} {:>7} {:>8} {:>8} {:>5} {:>8} {:>7} {:>7} {:>9}",
        "", "", "", "", "/node", "of 40", "lookup", "lookup", "", "/node", "/node", "in all", "/node",
    );
    for row in rows {
        // Writing into a string cannot fail.
        let _ = writeln!(
            table,
            "{:>10} {:>8.2} {:>7.2} {:>9} {:>7.2} {:>7} {:>8.2} {:>8.2} {:>5.2} {:>8.1} {:>7.2} {:>7} {:>9.0}",
            format!("{}{}", row.n, if row.is_on_disk { " disk" } else { "" }),
            row.wall_s,
            row.cpu_s,
            row.rpcs,
            row.rpcs_per_second_and_node,
            row.lookups_right,
            row.lookup_p50_ms,
            row.lookup_p99_ms,
            row.hops,
            row.kib_per_node,
            row.descriptors_per_node,
            row.threads,
            row.bytes_per_node,
        );
        let original = ORIGINAL.iter().find(|original| original.n == row.n && !row.is_on_disk);
        original.into_iter().for_each(|original| original_line(&mut table, original));
    }
    table
}

fn original_line(table: &mut String, original: &Original) {
    let lookup = |pick: fn((f64, f64)) -> f64| {
        original.lookup_ms.map_or("local".to_owned(), |times| format!("{:.2}", pick(times)))
    };
    let _ = writeln!(
        table,
        "{:>10} {:>8.2} {:>7} {:>9} {:>7.2} {:>7} {:>8} {:>8} {:>5} {:>8}",
        "original",
        original.wall_s,
        "",
        original.rpcs,
        original.rate,
        "",
        lookup(|times| times.0),
        lookup(|times| times.1),
        "",
        original.kib_per_node,
    );
}
