//! Whether records outlive those who keep them.

use std::time::Duration;

use peerchat_sim::{Addresses, Churn, Link, Swarm};

use crate::plot::Chart;
use crate::probes::Probes;
use crate::progress::Progress;
use crate::report::Report;
use crate::{Options, node_config};

const SIZE: usize = 3_000;
const HOURS: usize = 24;
const MINUTE: Duration = Duration::from_secs(60);
const RECORD_COUNT: u64 = 200;
const PROBES_PER_HOUR: usize = 400;
const MEDIAN_MIN: u32 = 60;

pub(crate) fn run(options: &Options) -> Report {
    let size = options.scaled(SIZE);
    let mut progress = Progress::new("survival");
    let link = Link::wide_area(0.05);
    let mut swarm = Swarm::new(options.seed, node_config(), link, Addresses::Spread);
    swarm.grow(size, 2 * MINUTE, |swarm| progress.tell(swarm, "joining"));
    let owners: Vec<_> = (0..RECORD_COUNT).map(|user| (user, swarm.random_host())).collect();
    let keys: Vec<_> = owners.into_iter().map(|(user, host)| swarm.publish(host, user, false)).collect();
    swarm.run_for(MINUTE);
    swarm.churn(Churn::with_median(MEDIAN_MIN * MINUTE), size);
    let mut rows = Vec::new();
    for hour in 1..=HOURS {
        let before = swarm.stats().requests;
        let probing = (options.probes(PROBES_PER_HOUR), 59 * MINUTE);
        let probes = Probes::run(&mut swarm, &keys, 1.0, probing, |swarm| progress.tell(swarm, "waiting"));
        let holders: Vec<_> = keys.iter().map(|key| swarm.holder_count(key)).collect();
        let alive = holders.iter().filter(|count| **count > 0).count();
        let requests = (swarm.stats().requests - before) as f64;
        rows.push((
            hour,
            vec![
                100.0 * alive as f64 / keys.len() as f64,
                probes.values.success(),
                holders.iter().sum::<usize>() as f64 / keys.len() as f64,
                holders.iter().min().copied().unwrap_or(0) as f64,
                requests / 3600.0 / size as f64,
                progress.seconds(),
            ],
        ));
    }
    report(options, size, rows)
}

fn report(options: &Options, size: usize, rows: Vec<(usize, Vec<f64>)>) -> Report {
    let line = |column: usize| rows.iter().map(|(hour, row)| (*hour as f64, row[column])).collect();
    let chart = Chart {
        title: format!("Records without their owners, n = {size}, {MEDIAN_MIN} minutes median session"),
        x_label: "hours",
        y_label: "% (holders: number)",
        is_log: false,
        y_range: (0.0, 100.0),
        series: vec![
            ("kept by somebody, %".to_owned(), line(0)),
            ("found, %".to_owned(), line(1)),
            ("holders, mean".to_owned(), line(2)),
        ],
    };
    Report {
        name: "survival",
        conditions: vec![
            format!(
                "seed {}, n = {size} there and as many away, k = 20, alpha = 3, 5 % loss each way",
                options.seed
            ),
            format!("exponential sessions and absences, median {MEDIAN_MIN} minutes; hosts keep their disk"),
            format!("{RECORD_COUNT} records, published once; their owners never store them again"),
        ],
        label: "hour",
        columns: vec![
            ("kept %", 2),
            ("found %", 2),
            ("holders there", 1),
            ("fewest", 0),
            ("requests/s/node", 3),
            ("wall s", 0),
        ],
        rows: rows.into_iter().map(|(hour, row)| (hour.to_string(), row)).collect(),
        charts: vec![("survival", chart)],
    }
}
