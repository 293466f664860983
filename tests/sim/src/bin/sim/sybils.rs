//! Lookups in a network some of whose nodes are hostile.

use std::time::Duration;

use peerchat_core::kademlia::RecordKey;
use peerchat_sim::{Addresses, Behaviour, Link, Swarm, grind_key};

use crate::plot::Chart;
use crate::probes::Probes;
use crate::progress::Progress;
use crate::report::Report;
use crate::{Options, node_config};

const SIZE: usize = 3_000;
const MINUTE: Duration = Duration::from_secs(60);
const PROBE_COUNT: usize = 2_000;
const RECORD_COUNT: u64 = 200;

/// How many subnets an operator has who does not have many.
const FEW_SUBNETS: u32 = 16;

/// How many first bits of a chosen id are those of its target: about 2^16 keys are tried for each.
const GROUND_BITS: usize = 16;

#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    behaviour: Behaviour,
    addresses: Addresses,
}

const ATTACKS: [Attack; 5] = [
    Attack { name: "Sybils, a /24 each", behaviour: Behaviour::Sybil, addresses: Addresses::Spread },
    Attack {
        name: "Sybils, 16 /24s",
        behaviour: Behaviour::Sybil,
        addresses: Addresses::Crowded(FEW_SUBNETS),
    },
    Attack { name: "poisoners", behaviour: Behaviour::Poisoner, addresses: Addresses::Spread },
    Attack { name: "withholders", behaviour: Behaviour::Withholder, addresses: Addresses::Spread },
    Attack { name: "silent", behaviour: Behaviour::Silent, addresses: Addresses::Spread },
];

pub(crate) fn run(options: &Options) -> Report {
    let mut rows = Vec::new();
    let mut series = Vec::new();
    for attack in ATTACKS {
        let mut line = Vec::new();
        for percent in [10, 20, 30] {
            let row = attacked(options, attack, percent);
            line.push((percent as f64, row[1]));
            rows.push((format!("{percent} % {}", attack.name), row));
        }
        series.push((attack.name.to_owned(), line));
    }
    for (count, addresses, name) in [
        (20, Addresses::Spread, "20 ids beside one record, a /24 each"),
        (20, Addresses::Crowded(FEW_SUBNETS), "20 ids beside one record, 16 /24s"),
        (60, Addresses::Spread, "60 ids beside one record, a /24 each"),
    ] {
        rows.push((name.to_owned(), targeted(options, count, addresses)));
    }
    Report {
        name: "sybils",
        conditions: vec![
            format!(
                "seed {}, n = {} honest nodes, k = 20, alpha = 3, no disjoint paths, no loss",
                options.seed,
                options.scaled(SIZE)
            ),
            "adversaries come after the honest, say hello to the k closest and 40 others, again every 10 minutes"
                .to_owned(),
            "old records were published before they came, new ones 20 minutes after; lookups in the 30 minutes \
             after that"
                .to_owned(),
        ],
        label: "attack",
        columns: vec![
            ("old record found %", 1),
            ("new record found %", 1),
            ("closest honest right %", 1),
            ("requests", 1),
            ("p99 ms", 0),
            ("wall s", 0),
        ],
        rows,
        charts: vec![(
            "sybils",
            Chart {
                title: "Records published and found among adversaries".to_owned(),
                x_label: "adversaries, % of all",
                y_label: "found, %",
                is_log: false,
                y_range: (0.0, 100.0),
                series,
            },
        )],
    }
}

fn attacked(options: &Options, attack: Attack, percent: usize) -> Vec<f64> {
    let mut progress = Progress::new(format!("{percent} % {}", attack.name));
    let (mut swarm, old) = honest(options, &mut progress);
    let count = swarm.live_count() * percent / (100 - percent);
    let adversaries: Vec<_> =
        (0..count).map(|_| swarm.add_adversary(attack.behaviour, None, Some(attack.addresses))).collect();
    let new = settle(&mut swarm, &adversaries, &mut progress);
    measure(&mut swarm, &old, &new, &mut progress)
}

/// A few Sybils whose ids lie beside each of the records that are looked for.
fn targeted(options: &Options, count: usize, addresses: Addresses) -> Vec<f64> {
    let mut progress = Progress::new(format!("{count} Sybils beside a record"));
    let (mut swarm, old) = honest(options, &mut progress);
    let victims = &old[..8];
    let mut adversaries = Vec::new();
    for victim in victims {
        for _ in 0..count {
            let key = grind_key(&victim.place(), GROUND_BITS, swarm.rng());
            adversaries.push(swarm.add_adversary(Behaviour::Sybil, Some(key), Some(addresses)));
        }
    }
    let new = settle(&mut swarm, &adversaries, &mut progress);
    measure(&mut swarm, victims, &new, &mut progress)
}

/// Makes a network of honest nodes, with records.
fn honest(options: &Options, progress: &mut Progress) -> (Swarm, Vec<RecordKey>) {
    let link = Link::wide_area(0.0);
    let mut swarm = Swarm::new(options.seed, node_config(), link, Addresses::Spread);
    swarm.grow(options.scaled(SIZE), 2 * MINUTE, |swarm| progress.tell(swarm, "joining"));
    let old = publish(&mut swarm, 0..RECORD_COUNT);
    swarm.run_for(MINUTE);
    (swarm, old)
}

/// Gives the adversaries time, then publishes more records.
fn settle(swarm: &mut Swarm, adversaries: &[usize], progress: &mut Progress) -> Vec<RecordKey> {
    for _ in 0..2 {
        swarm.run_for(10 * MINUTE);
        adversaries.iter().for_each(|adversary| swarm.greet(*adversary));
        progress.tell(swarm, "settling");
    }
    let new = publish(swarm, RECORD_COUNT..2 * RECORD_COUNT);
    swarm.run_for(MINUTE);
    new
}

fn publish(swarm: &mut Swarm, users: std::ops::Range<u64>) -> Vec<RecordKey> {
    let owners: Vec<_> = users.map(|user| (user, swarm.random_host())).collect();
    owners.into_iter().map(|(user, host)| swarm.publish(host, user, true)).collect()
}

fn measure(swarm: &mut Swarm, old: &[RecordKey], new: &[RecordKey], progress: &mut Progress) -> Vec<f64> {
    let mut probe = |keys: &[RecordKey], share| {
        Probes::run(swarm, keys, share, (PROBE_COUNT, 15 * MINUTE), |swarm| progress.tell(swarm, "probing"))
    };
    let (old, new) = (probe(old, 0.5), probe(new, 1.0));
    vec![
        old.values.success(),
        new.values.success(),
        old.places.success(),
        old.places.mean_requests(),
        old.places.time_ms(99),
        progress.seconds(),
    ]
}
