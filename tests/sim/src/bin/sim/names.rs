//! Takeover attempts on a living name by Sybils whose ids lie beside its key.

use peerchat_core::kademlia::K;
use peerchat_sim::{Pinned, Sight, Takeover};

use crate::Options;
use crate::plot::Chart;
use crate::progress::Progress;
use crate::report::Report;

/// How many people there are beside the one whose name is attacked.
const SIZE: usize = 24;

/// How many of them have met that one.
const CONTACT_COUNT: usize = 6;

/// How many strangers look the name up in each network.
const STRANGER_COUNT: usize = SIZE - CONTACT_COUNT;

/// How many networks of each kind are attacked.
const REPETITIONS: usize = 10;

/// How many Sybils there are.
const SYBIL_COUNTS: [usize; 4] = [1, 2, 5, K];

const COLUMNS: [(&str, usize); 9] = [
    ("right %", 1),
    ("contested %", 1),
    ("wrong %", 1),
    ("nobody %", 1),
    ("strangers", 0),
    ("met: replaced %", 1),
    ("met: delivered %", 1),
    ("met: told %", 1),
    ("holder told %", 1),
];

pub(crate) fn run(options: &Options) -> Report {
    let networks = ((REPETITIONS as f64 * options.scale) as usize).max(1);
    let rows: Vec<_> = SYBIL_COUNTS
        .into_iter()
        .map(|count| (count.to_string(), attacked(options, networks, count)))
        .collect();
    Report {
        name: "names",
        conditions: vec![
            format!("seed {}, k = 20, alpha = 3, no loss, whole engines with people", options.seed),
            format!("{networks} networks a row of {SIZE} honest people; the name is 2 h old"),
            "the ids of the Sybils share 16 bits with the key of the name, so they are its closest nodes".to_owned(),
            "they answer with the claim and the user record of a rival, refuse the holder's, name only one another \
             near the name, and press the rival's records on everybody every 10 minutes, for 70 minutes"
                .to_owned(),
            format!("then {STRANGER_COUNT} strangers in each network look the name up, the holder moves, and \
                     {CONTACT_COUNT} who had met the holder look it up and write"),
        ],
        label: "Sybils",
        columns: COLUMNS.to_vec(),
        charts: vec![("names", chart(&rows))],
        rows,
    }
}

fn chart(rows: &[(String, Vec<f64>)]) -> Chart {
    let line = |column: usize| {
        let points =
            SYBIL_COUNTS.iter().zip(rows).map(|(count, (_, values))| (*count as f64, values[column]));
        (COLUMNS[column].0.to_owned(), points.collect())
    };
    Chart {
        title: "What strangers see of a name beside which there are Sybils".to_owned(),
        x_label: "Sybils beside the name",
        y_label: "% of lookups",
        is_log: false,
        y_range: (0.0, 100.0),
        series: (0..4).map(line).collect(),
    }
}

fn attacked(options: &Options, networks: usize, sybil_count: usize) -> Vec<f64> {
    let progress = Progress::new(format!("{sybil_count} Sybils beside a name"));
    let (mut sights, mut pinned, mut refused) = (Vec::new(), Vec::new(), 0);
    for number in 0..networks {
        let seed = options.seed * 1000 + number as u64;
        let mut takeover = Takeover::prepare(seed, SIZE, CONTACT_COUNT);
        takeover.attack(sybil_count);
        for host in takeover.strangers().iter().copied().take(STRANGER_COUNT).collect::<Vec<_>>() {
            sights.push(takeover.look(host));
        }
        pinned.extend(takeover.write_to_victim());
        refused += usize::from(takeover.is_victim_refused());
        eprintln!(
            "[{sybil_count} Sybils, {:.0} s] {} of {networks} networks",
            progress.seconds(),
            number + 1
        );
    }
    let values = summary(&sights, &pinned, (refused, networks));
    eprintln!("[{sybil_count} Sybils] {values:?}");
    values
}

/// Returns the numbers of a row.
fn summary(sights: &[Sight], pinned: &[Pinned], (refused, networks): (usize, usize)) -> Vec<f64> {
    let share = |count: usize, of: usize| 100.0 * count as f64 / of.max(1) as f64;
    let seen = |sight| share(sights.iter().filter(|seen| **seen == sight).count(), sights.len());
    let met =
        |is: fn(&Pinned) -> bool| share(pinned.iter().filter(|pinned| is(pinned)).count(), pinned.len());
    vec![
        seen(Sight::Right),
        seen(Sight::Contested),
        seen(Sight::Wrong),
        seen(Sight::Nobody),
        sights.len() as f64,
        met(|pinned| !pinned.is_kept || pinned.is_betrayed),
        met(|pinned| pinned.is_delivered),
        met(|pinned| pinned.is_told),
        share(refused, networks),
    ]
}
