//! What a passphrase costs when a profile is opened.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::process::cpu_time;
use peerchat_bench::quantile::quantile;
use peerchat_core::{Client, Config, Passphrase};

use super::report::{Cell, Figure, Table};

/// How often each profile is opened.
const ROUNDS: usize = 20;

const COLUMNS: &[&str] = &["profile", "opening p50 ms", "p99 ms", "CPU p50 ms", "peak memory MiB"];

pub(super) fn measure(_words: &[String]) -> Result<Figure, Failure> {
    let mut table = Table::new(COLUMNS);
    let directory = tempfile::tempdir()?;
    for (label, text) in [("without a passphrase", None), ("with one", Some("correct horse battery staple"))]
    {
        table.push(row(label, &directory.path().join(label), text)?);
    }
    let condition = "A profile on disk that has just been made is opened and closed, 20 times. CPU is the whole process's. Peak \
                     memory is that of the process in RAM while it opens (VmHWM), above what it used before.";
    Ok(Figure { conditions: vec![condition.to_owned()], table })
}

fn row(label: &str, data_dir: &Path, text: Option<&str>) -> Result<Vec<Cell>, Failure> {
    open(data_dir, text)?.shutdown();
    let (mut wall, mut cpu, mut memory) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        // Forgets the peak so far.
        fs::write("/proc/self/clear_refs", "5")?;
        let (start, cpu_before, before) = (Instant::now(), cpu_time(), peak_kib()?);
        let client = open(data_dir, text)?;
        wall.push(start.elapsed());
        cpu.push(cpu_time().saturating_sub(cpu_before));
        memory = memory.max(peak_kib()?.saturating_sub(before));
        client.shutdown();
    }
    let ms = |times: &[Duration], share| Cell::Number(quantile(times, share).as_secs_f64() * 1e3, 1);
    Ok(vec![
        label.into(),
        ms(&wall, 0.5),
        ms(&wall, 0.99),
        ms(&cpu, 0.5),
        Cell::Number(memory as f64 / 1024.0, 1),
    ])
}

fn open(data_dir: &Path, text: Option<&str>) -> Result<Client, Failure> {
    let mut config = Config::builder(data_dir).user("alice")?;
    if let Some(text) = text {
        config = config.passphrase(Passphrase::new(text)?);
    }
    Ok(Client::open(config.build()?)?)
}

/// Returns the most memory in RAM since the peak was last forgotten.
fn peak_kib() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
