//! Lookups while nodes come and go.

use std::time::Duration;

use peerchat_sim::{Addresses, Churn, Link, Swarm};

use crate::plot::Chart;
use crate::probes::Probes;
use crate::progress::{Progress, resident_bytes};
use crate::report::Report;
use crate::{Options, node_config};

const LOSS: f64 = 0.05;
const MINUTE: Duration = Duration::from_secs(60);
const RECORD_COUNT: u64 = 200;

/// A network that is measured.
#[derive(Clone, Copy)]
struct Case {
    size: usize,
    median_min: u32,
    /// How long nodes come and go before the lookups begin.
    settling_min: u32,
    probing_min: u32,
    probe_count: usize,
}

const SMALL: [Case; 3] = [
    Case { size: 3_000, median_min: 10, settling_min: 60, probing_min: 60, probe_count: 12_000 },
    Case { size: 3_000, median_min: 30, settling_min: 60, probing_min: 60, probe_count: 12_000 },
    Case { size: 3_000, median_min: 60, settling_min: 60, probing_min: 60, probe_count: 12_000 },
];

const LARGE: Case =
    Case { size: 100_000, median_min: 30, settling_min: 5, probing_min: 15, probe_count: 12_000 };

/// Sessions of different length.
pub(crate) fn run(options: &Options) -> Report {
    let rows: Vec<_> = SMALL.iter().map(|case| (case.median_min, churned(options, *case))).collect();
    let line = |column: usize| rows.iter().map(|(minutes, row)| (f64::from(*minutes), row[column])).collect();
    let chart = Chart {
        title: format!("Lookup success under churn, n = {}, 5 % loss", options.scaled(SMALL[0].size)),
        x_label: "median session, minutes",
        y_label: "right, %",
        is_log: false,
        y_range: (90.0, 100.0),
        series: vec![
            ("record found".to_owned(), line(0)),
            ("closest node found".to_owned(), line(2)),
            ("of k closest found".to_owned(), line(3)),
        ],
    };
    Report {
        name: "churn",
        conditions: conditions(options, SMALL[0]),
        label: "median session, min",
        columns: COLUMNS.to_vec(),
        rows: rows.into_iter().map(|(minutes, row)| (minutes.to_string(), row)).collect(),
        charts: vec![("churn", chart)],
    }
}

/// One large network.
pub(crate) fn run_large(options: &Options) -> Report {
    let size = options.scaled(LARGE.size);
    Report {
        name: "churn-large",
        conditions: conditions(options, LARGE),
        label: "n",
        columns: COLUMNS.to_vec(),
        rows: vec![(size.to_string(), churned(options, LARGE))],
        charts: Vec::new(),
    }
}

const COLUMNS: [(&str, usize); 14] = [
    ("record found %", 2),
    ("record lookups", 0),
    ("closest right %", 2),
    ("of k closest %", 2),
    ("place lookups", 0),
    ("requests", 1),
    ("p50 ms", 0),
    ("p99 ms", 0),
    ("record p50 ms", 0),
    ("record p99 ms", 0),
    ("requests/s/node", 2),
    ("failed %", 1),
    ("KiB/node", 1),
    ("wall s", 0),
];

fn conditions(options: &Options, case: Case) -> Vec<String> {
    vec![
        format!(
            "seed {}, n = {} there and as many away, k = 20, alpha = 3, 5 % loss each way",
            options.seed,
            options.scaled(case.size)
        ),
        "exponential sessions and absences of the same median; hosts vanish without a word and come back with \
         their table and records"
            .to_owned(),
        format!(
            "{RECORD_COUNT} records, whose owners come and go as well; {} minutes of churn, then {} with lookups",
            case.settling_min, case.probing_min
        ),
    ]
}

fn churned(options: &Options, case: Case) -> Vec<f64> {
    let size = options.scaled(case.size);
    let mut progress = Progress::new(format!("churn {} min n={size}", case.median_min));
    let link = Link::wide_area(LOSS);
    let mut swarm = Swarm::new(options.seed, node_config(), link, Addresses::Spread);
    swarm.grow(size, 4 * MINUTE, |swarm| progress.tell(swarm, "joining"));
    let owners: Vec<_> = (0..RECORD_COUNT).map(|user| (user, swarm.random_host())).collect();
    let keys: Vec<_> = owners.into_iter().map(|(user, host)| swarm.publish(host, user, true)).collect();
    swarm.run_for(MINUTE);
    swarm.churn(Churn::with_median(MINUTE * case.median_min), size);
    for _ in 0..6 * case.settling_min {
        swarm.run_for(MINUTE / 6);
        progress.tell(&swarm, "churning");
    }
    let before = swarm.stats();
    let probing = (options.probes(case.probe_count), MINUTE * case.probing_min);
    let probes = Probes::run(&mut swarm, &keys, 0.8, probing, |swarm| progress.tell(swarm, "probing"));
    let after = swarm.stats();
    let requests = (after.requests - before.requests) as f64;
    let seconds = 60.0 * (f64::from(case.probing_min) + 1.0);
    let (values, places) = (&probes.values, &probes.places);
    vec![
        values.success(),
        values.done as f64,
        places.success(),
        probes.overlap(),
        places.done as f64,
        places.mean_requests(),
        places.time_ms(50),
        places.time_ms(99),
        values.time_ms(50),
        values.time_ms(99),
        requests / seconds / size as f64,
        100.0 * (after.failures - before.failures) as f64 / requests,
        resident_bytes() as f64 / 1024.0 / size as f64,
        progress.seconds(),
    ]
}
