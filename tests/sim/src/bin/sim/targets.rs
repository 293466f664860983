//! Adversaries who are after one record or one node.

use peerchat_core::kademlia::{K, NodeId, Record, RecordKey, Rpc};
use peerchat_sim::{Addresses, Behaviour, Swarm, grind_key};

use crate::Options;
use crate::probes::Probes;
use crate::progress::Progress;
use crate::report::Report;
use crate::sybils::{DEFENCES, Defence, MINUTE, SIZE, honest, settle};

/// How many first bits of a chosen id are those of its target: about 2^16 keys are tried for each.
const GROUND_BITS: usize = 16;

const PROBE_COUNT: usize = 2_000;

/// How many records or nodes are attacked at a time.
const TARGET_COUNT: usize = 8;

pub(crate) fn run(options: &Options) -> Report {
    let mut rows = Vec::new();
    for defence in DEFENCES {
        let name = format!("20 ids beside a record, 16 /24s; {}", defence.name);
        rows.push((name, beside_records(options, defence, 20, defence.crowd())));
    }
    for count in [20, 60] {
        for defence in [DEFENCES[2], DEFENCES[3]] {
            let name = format!("{count} ids beside a record, a /24 each; {}", defence.name);
            rows.push((name, beside_records(options, defence, count, Addresses::Spread)));
        }
    }
    for defence in DEFENCES {
        let name = format!("200 ids beside a node, 16 /24s; {}", defence.name);
        rows.push((name, eclipsed(options, defence, defence.crowd())));
    }
    let name = format!("200 ids beside a node, a /24 each; {}", DEFENCES[3].name);
    rows.push((name, eclipsed(options, DEFENCES[3], Addresses::Spread)));
    for (spread, name) in
        [(0, "at the holders"), (40, "at the holders and 40 beside"), (200, "at 200 beside")]
    {
        let name = format!("old and forged records stored {name}; {}", DEFENCES[3].name);
        rows.push((name, overwritten(options, DEFENCES[3], spread)));
    }
    report(options, rows)
}

fn report(options: &Options, rows: Vec<(String, Vec<f64>)>) -> Report {
    Report {
        name: "targets",
        conditions: vec![
            format!(
                "seed {}, n = {} honest nodes, k = 20, alpha = 3, no loss",
                options.seed,
                options.scaled(SIZE)
            ),
            format!("{TARGET_COUNT} targets at a time; a chosen id is found by drawing keys until {GROUND_BITS} bits fit"),
            "beside a record: target found = lookups of the attacked records, others = of records published since"
                .to_owned(),
            "beside a node: its own lookups of 200 records, and others' lookups of them; each id says hello to it \
             once a minute for 20 minutes"
                .to_owned(),
            "old and forged: the newest record found in a lookup of the attacked records; the others untouched"
                .to_owned(),
        ],
        label: "attack; defence",
        columns: vec![("target found %", 1), ("others found %", 1), ("lookups", 0), ("p99 ms", 0), ("wall s", 0)],
        rows,
        charts: Vec::new(),
    }
}

/// Sybils whose ids lie beside each of some records.
fn beside_records(options: &Options, defence: Defence, count: usize, at: Addresses) -> Vec<f64> {
    let mut progress = Progress::new(format!("{count} ids beside a record, {}", defence.name));
    let (mut swarm, keys) = honest(options, defence, &mut progress);
    let targets = &keys[..TARGET_COUNT];
    let adversaries: Vec<_> =
        targets.iter().flat_map(|key| add_beside(&mut swarm, &key.place(), count, at)).collect();
    let others = settle(&mut swarm, &adversaries, &mut progress);
    let mut probe = |keys: &[RecordKey]| {
        let probing = (options.probes(PROBE_COUNT), 15 * MINUTE);
        Probes::run(&mut swarm, keys, 1.0, probing, |swarm| progress.tell(swarm, "probing"))
    };
    let (targets, others) = (probe(targets), probe(&others));
    vec![
        targets.values.success(),
        others.values.success(),
        targets.values.done as f64,
        targets.values.time_ms(99),
        progress.seconds(),
    ]
}

/// Sybils whose ids lie beside each of some nodes, and who never let them alone.
fn eclipsed(options: &Options, defence: Defence, at: Addresses) -> Vec<f64> {
    let mut progress = Progress::new(format!("200 ids beside a node, {}", defence.name));
    let (mut swarm, keys) = honest(options, defence, &mut progress);
    let victims: Vec<_> = (0..TARGET_COUNT).map(|_| swarm.random_host()).collect();
    let mut pairs = Vec::new();
    for victim in &victims {
        let place = swarm.contact(*victim).id();
        let sybils = add_beside(&mut swarm, &place, 200, at);
        pairs.extend(sybils.into_iter().map(|sybil| (sybil, *victim)));
    }
    for _ in 0..20 {
        pairs.iter().for_each(|(sybil, victim)| swarm.say_hello(*sybil, *victim));
        swarm.run_for(MINUTE);
        progress.tell(&swarm, "harassing");
    }
    for key in &keys {
        for victim in &victims {
            swarm.find_value(*victim, *key);
        }
        swarm.run_for(MINUTE / 10);
    }
    swarm.run_for(MINUTE);
    let own = swarm.take_traces();
    let is_found = |values: usize| values > 0;
    let values = own.iter().map(|trace| trace.outcome.as_ref().map_or(0, |outcome| outcome.values.len()));
    let found = values.filter(|values| is_found(*values)).count() as f64;
    let mut times: Vec<_> = own.iter().map(|trace| trace.time.as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    let probing = (options.probes(PROBE_COUNT), 5 * MINUTE);
    let others = Probes::run(&mut swarm, &keys, 1.0, probing, |swarm| progress.tell(swarm, "probing"));
    vec![
        100.0 * found / own.len().max(1) as f64,
        others.values.success(),
        own.len() as f64,
        times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN),
        progress.seconds(),
    ]
}

/// An adversary who stores outdated and forged records of others, at the holders and at as many nodes beside.
fn overwritten(options: &Options, defence: Defence, beside: usize) -> Vec<f64> {
    let mut progress = Progress::new(format!("records overwritten at {beside} beside"));
    let mut swarm = defence.swarm(options);
    let users = 0..TARGET_COUNT as u64;
    let old: Vec<_> = users.clone().map(|user| swarm.record_of(user)).collect();
    swarm.grow(options.scaled(SIZE), 2 * MINUTE, |swarm| progress.tell(swarm, "joining"));
    let owners: Vec<_> = (0..200).map(|user| (user, swarm.random_host())).collect();
    let keys: Vec<_> = owners.into_iter().map(|(user, host)| swarm.publish(host, user, true)).collect();
    swarm.run_for(MINUTE);
    let (targets, others) = keys.split_at(TARGET_COUNT);
    let attacker = swarm.add_adversary(Behaviour::Forger, None, None);
    for (record, key) in old.iter().zip(targets) {
        overwrite(&mut swarm, attacker, record, key, beside);
    }
    swarm.run_for(10 * MINUTE);
    let (mut newest, mut times) = (0, Vec::new());
    for _ in 0..options.probes(PROBE_COUNT) / TARGET_COUNT {
        for key in targets {
            let host = swarm.random_host();
            swarm.find_value(host, *key);
        }
        swarm.run_for(MINUTE / 20);
        for trace in swarm.take_traces() {
            let values = trace.outcome.iter().flat_map(|outcome| &outcome.values);
            let sequence = values.map(|value| value.record.header().sequence).max();
            newest += u32::from(sequence.is_some_and(|sequence| sequence > old[0].header().sequence));
            times.push(trace.time.as_secs_f64() * 1000.0);
        }
    }
    times.sort_by(f64::total_cmp);
    let probing = (options.probes(PROBE_COUNT), 5 * MINUTE);
    let others = Probes::run(&mut swarm, others, 1.0, probing, |swarm| progress.tell(swarm, "probing"));
    vec![
        100.0 * f64::from(newest) / times.len().max(1) as f64,
        others.values.success(),
        times.len() as f64,
        times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN),
        progress.seconds(),
    ]
}

fn overwrite(swarm: &mut Swarm, attacker: usize, old: &Record, key: &RecordKey, beside: usize) {
    let mut forged = old.as_bytes().to_vec();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    let now = swarm.now().instant;
    for victim in swarm.closest(&key.place(), K + beside, now, attacker) {
        swarm.harass(attacker, victim, Rpc::Store { record: old.as_bytes().to_vec() });
        swarm.harass(attacker, victim, Rpc::Store { record: forged.clone() });
    }
}

fn add_beside(swarm: &mut Swarm, place: &NodeId, count: usize, at: Addresses) -> Vec<usize> {
    let mut add = || {
        let key = grind_key(place, GROUND_BITS, swarm.rng());
        swarm.add_adversary(Behaviour::Sybil, Some(key), Some(at))
    };
    (0..count).map(|_| add()).collect()
}
