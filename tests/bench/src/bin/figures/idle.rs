//! A node at rest: what it sends, receives and costs while nobody does anything.

use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, Totals};
use peerchat_bench::process::Usage;

use super::report::{Cell, Figure, Table};

const NODES: usize = 100;

/// How long is measured unless told otherwise: every record is published and every bucket refreshed in an hour.
const DEFAULT_TIME: Duration = Duration::from_secs(3600);

/// How long the network rests after the last registration before the measurement begins.
const REST: Duration = Duration::from_secs(10);

/// How often progress is told.
const STEP: Duration = Duration::from_secs(60);

const COLUMNS: &[&str] = &[
    "node",
    "seconds",
    "sent B/s",
    "received B/s",
    "datagrams/s",
    "CPU %",
    "KiB",
    "descriptors",
    "threads in all",
];

/// What was counted at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    totals: Totals,
    usage: Usage,
}

/// Measures for an hour, or for as many seconds as the environment variable `SECONDS` says.
pub(super) fn measure(_words: &[String]) -> Result<Figure, Failure> {
    let time = match std::env::var("SECONDS").ok().filter(|text| !text.is_empty()) {
        Some(text) => {
            Duration::from_secs(text.parse().map_err(|_| format!("SECONDS is '{text}', no number"))?)
        }
        None => DEFAULT_TIME,
    };
    let empty = Usage::now()?;
    let network = Network::new();
    network.grow(NODES, &Settings::default_options(), |_| ())?;
    eprintln!("{NODES} nodes registered; resting for {} s", REST.as_secs());
    thread::sleep(REST);
    let clients = network.clients();
    let read = || -> Result<Reading, Failure> {
        Ok(Reading { at: Instant::now(), totals: Totals::of(&clients)?, usage: Usage::now()? })
    };
    let first = read()?;
    let mut last = first;
    eprintln!(
        "{:>8} {:>10} {:>14} {:>8} {:>16}",
        "seconds", "sent B/s", "received B/s", "CPU %", "last minute B/s"
    );
    while last.at - first.at < time {
        thread::sleep(STEP.min(time.saturating_sub(first.at.elapsed())));
        let now = read()?;
        let (so_far, minute) = (Rates::between(&first, &now), Rates::between(&last, &now));
        let (seconds, Rates { sent, received, cpu, .. }) = ((now.at - first.at).as_secs(), so_far);
        eprintln!("{seconds:>8} {sent:>10.1} {received:>14.1} {:>8.4} {:>16.1}", 100.0 * cpu, minute.sent);
        last = now;
    }
    let mut table = Table::new(COLUMNS);
    push(&mut table, &empty, &first, &last);
    push_peers(&mut table);
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "100 nodes in one process, loopback, k = 20 and alpha = 3, each with a registered user, a profile in memory and \
         a socket of its own. Everything is for one node but the threads; they include that of this program.",
        "Bytes are UDP payload; what a node sends another receives, so sent and received are not to be added up for \
         the network. CPU is in percent of one core, with the kernel's part.",
        "KiB is the growth of the process from before the first node to the end, divided by the nodes.",
        "The rows of others were measured on another such machine; their traffic is counted as it was there.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What one node used per second.
#[derive(Clone, Copy, Debug)]
struct Rates {
    sent: f64,
    received: f64,
    datagrams: f64,
    /// Seconds of processor time.
    cpu: f64,
}

impl Rates {
    fn between(first: &Reading, last: &Reading) -> Self {
        let each = 1.0 / (last.at - first.at).as_secs_f64() / NODES as f64;
        let rate = |first: u64, last: u64| (last - first) as f64 * each;
        Self {
            sent: rate(first.totals.bytes, last.totals.bytes),
            received: rate(first.totals.bytes_received, last.totals.bytes_received),
            datagrams: rate(first.totals.datagrams, last.totals.datagrams),
            cpu: (last.usage.cpu - first.usage.cpu).as_secs_f64() * each,
        }
    }
}

fn push(table: &mut Table, empty: &Usage, first: &Reading, last: &Reading) {
    let Rates { sent, received, datagrams, cpu } = Rates::between(first, last);
    let memory = last.usage.resident_len.saturating_sub(empty.resident_len);
    let descriptors = last.usage.descriptor_count.saturating_sub(empty.descriptor_count);
    table.push(vec![
        "peerchat".into(),
        Cell::Number((last.at - first.at).as_secs_f64(), 0),
        Cell::Number(sent, 1),
        Cell::Number(received, 1),
        Cell::Number(datagrams, 3),
        Cell::Number(100.0 * cpu, 4),
        Cell::Number(memory as f64 / 1024.0 / NODES as f64, 1),
        Cell::Number(descriptors as f64 / NODES as f64, 2),
        Cell::count(last.usage.thread_count),
    ]);
}

fn push_peers(table: &mut Table) {
    let mut push = |name: &str, traffic: &str, cpu: &str, memory: &str, descriptors: &str, threads: &str| {
        let cells = [name, "", traffic, "", "", cpu, memory, descriptors, threads];
        table.push(cells.map(|cell| if cell.is_empty() { Cell::Empty } else { cell.into() }).to_vec());
    };
    push("OpenDHT 2.4.12", "30", "0.0023", "78-115", "3", "2 a node");
    push("mainline 8.0", "", "0.024", "110-172", "1", "1 a node");
    push("c-toxcore 0.2.18", "3200-4800", "0.07", "515-584", "", "");
    push("rust-libp2p 0.57", "", "0.00001-1", "3500-11000", "2", "shared");
    push("the original", "", "", "971", "1", "goroutines");
}
