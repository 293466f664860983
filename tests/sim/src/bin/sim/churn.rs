//! Lookups while nodes come and go.

use std::time::Duration;

use peerchat_sim::{Addresses, Churn, Link, Swarm};

use crate::plot::Chart;
use crate::probes::Probes;
use crate::progress::Progress;
use crate::report::Report;
use crate::{Options, node_config};

const SIZE: usize = 3_000;
const MEDIANS_MIN: [u64; 3] = [10, 30, 60];
const LOSS: f64 = 0.05;
const MINUTE: Duration = Duration::from_secs(60);
const PROBE_COUNT: usize = 12_000;
const RECORD_COUNT: u64 = 200;

pub(crate) fn run(options: &Options) -> Report {
    let size = options.scaled(SIZE);
    let rows: Vec<_> =
        MEDIANS_MIN.iter().map(|minutes| (*minutes, churned(options, size, *minutes))).collect();
    let line = |column: usize| rows.iter().map(|(minutes, row)| (*minutes as f64, row[column])).collect();
    let chart = Chart {
        title: format!("Lookup success under churn, n = {size}, 5 % loss"),
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
        conditions: vec![
            format!("seed {}, n = {size} there and as many away, k = 20, alpha = 3, 5 % loss each way", options.seed),
            "exponential sessions and absences of the same median; hosts vanish without a word and come back with \
             their table and records"
                .to_owned(),
            format!("{RECORD_COUNT} records, their owners come and go as well; 60 minutes of churn, then 60 of lookups"),
        ],
        label: "median session, min",
        columns: vec![
            ("record found %", 2),
            ("record lookups", 0),
            ("closest right %", 2),
            ("of k closest %", 2),
            ("requests", 1),
            ("p50 ms", 0),
            ("p99 ms", 0),
            ("record p50 ms", 0),
            ("record p99 ms", 0),
            ("requests/s/node", 2),
            ("failed %", 1),
            ("wall s", 0),
        ],
        rows: rows.into_iter().map(|(minutes, row)| (minutes.to_string(), row)).collect(),
        charts: vec![("churn", chart)],
    }
}

fn churned(options: &Options, size: usize, median_min: u64) -> Vec<f64> {
    let mut progress = Progress::new(format!("churn {median_min} min"));
    let link = Link::wide_area(LOSS);
    let mut swarm = Swarm::new(options.seed, node_config(), link, Addresses::Spread);
    swarm.grow(size, 2 * MINUTE, |swarm| progress.tell(swarm, "joining"));
    let owners: Vec<_> = (0..RECORD_COUNT).map(|user| (user, swarm.random_host())).collect();
    let keys: Vec<_> = owners.into_iter().map(|(user, host)| swarm.publish(host, user, true)).collect();
    swarm.run_for(MINUTE);
    swarm.churn(Churn::with_median(MINUTE * u32::try_from(median_min).expect("small")), size);
    for _ in 0..60 {
        swarm.run_for(MINUTE);
        progress.tell(&swarm, "churning");
    }
    let before = swarm.stats();
    let probing = (PROBE_COUNT, 60 * MINUTE);
    let probes = Probes::run(&mut swarm, &keys, 0.9, probing, |swarm| progress.tell(swarm, "probing"));
    let after = swarm.stats();
    let requests = (after.requests - before.requests) as f64;
    let (values, places) = (&probes.values, &probes.places);
    vec![
        values.success(),
        values.done as f64,
        places.success(),
        probes.overlap(),
        places.mean_requests(),
        places.time_ms(50),
        places.time_ms(99),
        values.time_ms(50),
        values.time_ms(99),
        requests / (61.0 * 60.0) / size as f64,
        100.0 * (after.failures - before.failures) as f64 / requests,
        progress.seconds(),
    ]
}
