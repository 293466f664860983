//! Lookups against the size of the network.

use std::time::Duration;

use peerchat_core::kademlia::K;
use peerchat_sim::{Addresses, Link, Swarm};

use crate::plot::Chart;
use crate::probes::Probes;
use crate::progress::{Progress, resident_bytes};
use crate::report::Report;
use crate::{Options, node_config};

const SIZES: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
const JOIN_TIME: Duration = Duration::from_secs(300);
const PROBE_TIME: Duration = Duration::from_secs(900);
const PROBE_COUNT: usize = 4_000;
const RECORD_COUNT: u64 = 500;

pub(crate) fn run(options: &Options) -> Report {
    let rows: Vec<_> = SIZES.iter().map(|size| grown(options, options.scaled(*size))).collect();
    let line = |column: usize| rows.iter().map(|(n, row)| (*n as f64, row[column])).collect::<Vec<_>>();
    // "h - log k steps", with h, the height of a node, about log2 n (Kademlia paper, section 3).
    let predicted = rows.iter().map(|(n, _)| (*n as f64, (*n as f64).log2() - (K as f64).log2())).collect();
    let hops = Chart {
        title: "Hops of a lookup against n".to_owned(),
        x_label: "nodes (log)",
        y_label: "hops",
        is_log: true,
        y_range: (0.0, 14.0),
        series: vec![
            ("records, mean".to_owned(), line(5)),
            ("places, mean".to_owned(), line(4)),
            ("bound: log2 n - log2 k".to_owned(), predicted),
        ],
    };
    let success = Chart {
        title: "Lookup success against n".to_owned(),
        x_label: "nodes (log)",
        y_label: "right, %",
        is_log: true,
        y_range: (95.0, 100.0),
        series: vec![
            ("record found".to_owned(), line(0)),
            ("closest node found".to_owned(), line(1)),
            ("of k closest found".to_owned(), line(2)),
        ],
    };
    Report {
        name: "growth",
        conditions: vec![
            format!(
                "seed {}, k = 20, alpha = 3, latency log-normal (median 40 ms one way), no loss",
                options.seed
            ),
            format!(
                "nodes join through random others within 3 to 5 minutes; then {} lookups in 15 minutes",
                options.probes(PROBE_COUNT)
            ),
            "the bound is the paper's (section 3): h - log2 k steps, a node's height h being about log2 n"
                .to_owned(),
            "KiB/node is the whole process divided by n".to_owned(),
        ],
        label: "n",
        columns: vec![
            ("record found %", 2),
            ("closest right %", 2),
            ("of k closest %", 2),
            ("lookups", 0),
            ("hops to place", 2),
            ("hops to record", 2),
            ("requests", 1),
            ("p50 ms", 0),
            ("p99 ms", 0),
            ("requests/s/node", 3),
            ("KiB/node", 1),
            ("wall s", 0),
        ],
        rows: rows.into_iter().map(|(n, row)| (n.to_string(), row)).collect(),
        charts: vec![("hops", hops), ("success", success)],
    }
}

fn grown(options: &Options, size: usize) -> (usize, Vec<f64>) {
    let mut progress = Progress::new(format!("growth n={size}"));
    let mut swarm = Swarm::new(options.seed, node_config(), Link::wide_area(0.0), Addresses::Spread);
    swarm.grow(size, JOIN_TIME, |swarm| progress.tell(swarm, "joining"));
    let owners: Vec<_> = (0..RECORD_COUNT).map(|user| (user, swarm.random_host())).collect();
    let keys: Vec<_> = owners.into_iter().map(|(user, host)| swarm.publish(host, user, true)).collect();
    swarm.run_for(Duration::from_secs(30));
    let before = swarm.stats().requests;
    let probing = (options.probes(PROBE_COUNT), PROBE_TIME);
    let probes = Probes::run(&mut swarm, &keys, 0.5, probing, |swarm| progress.tell(swarm, "probing"));
    let seconds = (PROBE_TIME + Duration::from_secs(60)).as_secs_f64();
    let rate = (swarm.stats().requests - before) as f64 / seconds / size as f64;
    let memory = resident_bytes() as f64 / 1024.0 / size as f64;
    let (values, places) = (&probes.values, &probes.places);
    let row = vec![
        values.success(),
        places.success(),
        probes.overlap(),
        (values.done + places.done) as f64,
        places.mean_hops(),
        values.mean_hops(),
        places.mean_requests(),
        places.time_ms(50),
        places.time_ms(99),
        rate,
        memory,
        progress.seconds(),
    ];
    (size, row)
}
