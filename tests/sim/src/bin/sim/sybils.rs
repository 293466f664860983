//! Lookups in a network some of whose nodes are hostile.

use std::ops::Range;
use std::time::Duration;

use peerchat_core::kademlia::{LOOKUP_PATHS, NodeConfig, RecordKey};
use peerchat_sim::{Addresses, Behaviour, Link, Swarm};

use crate::plot::Chart;
use crate::probes::Probes;
use crate::progress::Progress;
use crate::report::Report;
use crate::{Options, node_config};

pub(crate) const SIZE: usize = 3_000;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const RECORD_COUNT: u64 = 200;
const PROBE_COUNT: usize = 2_000;

/// How many subnets an operator has who does not have many.
const FEW_SUBNETS: u32 = 16;

/// What the honest do about adversaries.
#[derive(Clone, Copy)]
pub(crate) struct Defence {
    pub(crate) name: &'static str,
    paths: usize,
    /// Without the limits of diversity everybody has a private address, which they do not apply to.
    is_diverse: bool,
}

impl Defence {
    /// Returns a network without anybody that has this defence.
    pub(crate) fn swarm(self, options: &Options) -> Swarm {
        let config = NodeConfig { paths: self.paths, ..node_config() };
        let addresses = if self.is_diverse { Addresses::Spread } else { Addresses::Private };
        Swarm::new(options.seed, config, Link::wide_area(0.0), addresses)
    }

    /// Returns where the hosts of one operator are.
    pub(crate) const fn crowd(self) -> Addresses {
        if self.is_diverse { Addresses::Crowded(FEW_SUBNETS) } else { Addresses::Private }
    }
}

pub(crate) const DEFENCES: [Defence; 4] = [
    Defence { name: "1 path, no limits", paths: 1, is_diverse: false },
    Defence { name: "3 paths, no limits", paths: LOOKUP_PATHS, is_diverse: false },
    Defence { name: "1 path, limits", paths: 1, is_diverse: true },
    Defence { name: "3 paths, limits", paths: LOOKUP_PATHS, is_diverse: true },
];

/// How many of all are adversaries, and how they answer.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    behaviour: Behaviour,
    percent: usize,
}

pub(crate) fn run(options: &Options) -> Report {
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    for defence in DEFENCES {
        let mut line = Vec::new();
        for percent in [10, 20, 30] {
            let attack = Attack { name: "Sybils in 16 /24s", behaviour: Behaviour::Sybil, percent };
            let row = attacked(options, attack, defence, defence.crowd());
            line.push((percent as f64, row[1]));
            rows.push((format!("{percent} % {}; {}", attack.name, defence.name), row));
        }
        series.push((defence.name.to_owned(), line));
    }
    for (name, behaviour) in [
        ("Sybils, a /24 each", Behaviour::Sybil),
        ("poisoners, a /24 each", Behaviour::Poisoner),
        ("withholders, a /24 each", Behaviour::Withholder),
        ("forgers, a /24 each", Behaviour::Forger),
        ("silent, a /24 each", Behaviour::Silent),
    ] {
        for defence in [DEFENCES[2], DEFENCES[3]] {
            let attack = Attack { name, behaviour, percent: 30 };
            let row = attacked(options, attack, defence, Addresses::Spread);
            rows.push((format!("30 % {name}; {}", defence.name), row));
        }
    }
    report(options, rows, series)
}

fn report(
    options: &Options,
    rows: Vec<(String, Vec<f64>)>,
    series: Vec<(String, Vec<(f64, f64)>)>,
) -> Report {
    let chart = Chart {
        title: "Records published and found among Sybils of one operator".to_owned(),
        x_label: "Sybils, % of all",
        y_label: "found, %",
        is_log: false,
        y_range: (80.0, 100.0),
        series,
    };
    Report {
        name: "sybils",
        conditions: vec![
            format!(
                "seed {}, n = {} honest nodes, k = 20, alpha = 3, no loss",
                options.seed,
                options.scaled(SIZE)
            ),
            "adversaries come after the honest, say hello to the k closest and 40 others, again every 10 minutes"
                .to_owned(),
            format!(
                "old records were published before they came, new ones 20 minutes after; then {} lookups of each \
                 (old: half of them of places) in 15 minutes",
                options.probes(PROBE_COUNT)
            ),
            "no limits: everybody has a private address, which the limits of diversity do not apply to".to_owned(),
        ],
        label: "attack; defence",
        columns: vec![
            ("old record found %", 1),
            ("new record found %", 1),
            ("closest honest right %", 1),
            ("requests", 1),
            ("p99 ms", 0),
            ("known to an honest node", 1),
            ("wall s", 0),
        ],
        rows,
        charts: vec![("sybils", chart)],
    }
}

fn attacked(options: &Options, attack: Attack, defence: Defence, at: Addresses) -> Vec<f64> {
    let mut progress = Progress::new(format!("{} % {}, {}", attack.percent, attack.name, defence.name));
    let (mut swarm, old) = honest(options, defence, &mut progress);
    let count = swarm.live_count() * attack.percent / (100 - attack.percent);
    let adversaries: Vec<_> =
        (0..count).map(|_| swarm.add_adversary(attack.behaviour, None, Some(at))).collect();
    let new = settle(&mut swarm, &adversaries, &mut progress);
    let known = swarm.adversaries_per_table();
    let mut probe = |keys: &[RecordKey], share| {
        let probing = (options.probes(PROBE_COUNT), 15 * MINUTE);
        Probes::run(&mut swarm, keys, share, probing, |swarm| progress.tell(swarm, "probing"))
    };
    let (old, new) = (probe(&old, 0.5), probe(&new, 1.0));
    vec![
        old.values.success(),
        new.values.success(),
        old.places.success(),
        old.places.mean_requests(),
        old.places.time_ms(99),
        known,
        progress.seconds(),
    ]
}

/// Makes a network of honest nodes, with records.
pub(crate) fn honest(
    options: &Options,
    defence: Defence,
    progress: &mut Progress,
) -> (Swarm, Vec<RecordKey>) {
    let mut swarm = defence.swarm(options);
    swarm.grow(options.scaled(SIZE), 2 * MINUTE, |swarm| progress.tell(swarm, "joining"));
    let old = publish(&mut swarm, 0..RECORD_COUNT);
    swarm.run_for(MINUTE);
    (swarm, old)
}

/// Gives the adversaries time, then publishes more records.
pub(crate) fn settle(swarm: &mut Swarm, adversaries: &[usize], progress: &mut Progress) -> Vec<RecordKey> {
    for _ in 0..2 {
        swarm.run_for(10 * MINUTE);
        adversaries.iter().for_each(|adversary| swarm.greet(*adversary));
        progress.tell(swarm, "settling");
    }
    let new = publish(swarm, RECORD_COUNT..2 * RECORD_COUNT);
    swarm.run_for(MINUTE);
    new
}

fn publish(swarm: &mut Swarm, users: Range<u64>) -> Vec<RecordKey> {
    let owners: Vec<_> = users.map(|user| (user, swarm.random_host())).collect();
    owners.into_iter().map(|(user, host)| swarm.publish(host, user, true)).collect()
}
