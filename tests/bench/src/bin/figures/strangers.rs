//! From a name that was never heard before to the text that its owner reads.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, address_of};
use peerchat_bench::quantile::quantile;
use peerchat_core::{Client, Event, MessageState};

use super::people::{open, text, wait};
use super::report::{Cell, Figure, Table};

/// Nodes of the network before anybody who is measured joins.
const NODES: usize = 100;

/// How many pairs of strangers there are in a row of the table.
const PAIRS: usize = 50;

/// How long both have been registered when the clock starts.
const REST: Duration = Duration::from_millis(500);

const COLUMNS: &[&str] =
    &["profiles", "those before", "first p50 ms", "p90 ms", "p99 ms", "second p50 ms", "joining p50 ms"];

/// A case: how its row begins, whether profiles are on disk, and whether those who were measured stay.
const CASES: [(&str, bool, bool); 3] =
    [("memory", false, true), ("on disk", true, true), ("memory", false, false)];

/// What one pair took.
struct Times {
    joining: Duration,
    first: Duration,
    second: Duration,
}

pub(super) fn measure(_words: &[String]) -> Result<Figure, Failure> {
    let mut table = Table::new(COLUMNS);
    for (profiles, is_on_disk, stay) in CASES {
        let directory = is_on_disk.then(tempfile::tempdir).transpose()?;
        let network = Network::new();
        network.grow(NODES, &Settings::default_options(), |_| ())?;
        let seed = network.clients().first().map(address_of).ok_or("no network")?;
        let (mut times, mut there) = (Vec::new(), Vec::new());
        for number in 0..PAIRS {
            let (pair, took) = meet(number, directory.as_ref().map(tempfile::TempDir::path), &seed)?;
            times.push(took);
            if stay {
                there.extend(pair);
            } else {
                pair.iter().for_each(|person| _ = person.shutdown());
            }
        }
        there.iter().for_each(Client::close);
        there.iter().for_each(|person| _ = person.shutdown());
        network.close();
        table.push(row(profiles, stay, &times));
        eprintln!("  {profiles}: {PAIRS} pairs");
    }
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "A network of 100 nodes in the same process, loopback, k = 20 and alpha = 3. Alice and Bob join with new keys through \
         one of its nodes. Half a second after both are registered Alice writes to Bob's name, which she has never looked up. \
         First: from her call to Bob's application having the text, with the lookups, the handshakes, who she is, and the \
         lookup of her name at his side in between. 50 pairs, one after another.",
        "Those before: whether the pairs that were measured before are still there, or have left without a word, so that \
         up to 98 of the contacts in everybody's tables are dead.",
        "Second: the next message of the same two. Joining: from before both are opened until both are registered. Profiles of \
         the network are in memory; those of the pairs as the row says.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn row(profiles: &str, stay: bool, times: &[Times]) -> Vec<Cell> {
    let ms = |of: fn(&Times) -> Duration, share| {
        let all: Vec<Duration> = times.iter().map(of).collect();
        Cell::Number(quantile(&all, share).as_secs_f64() * 1e3, 1)
    };
    vec![
        profiles.into(),
        if stay { "are there" } else { "have gone" }.into(),
        ms(|times| times.first, 0.5),
        ms(|times| times.first, 0.9),
        ms(|times| times.first, 0.99),
        ms(|times| times.second, 0.5),
        ms(|times| times.joining, 0.5),
    ]
}

fn meet(number: usize, directory: Option<&Path>, seed: &str) -> Result<([Client; 2], Times), Failure> {
    let start = Instant::now();
    let bob_name = format!("bob-{number}");
    let pair = [open(&format!("alice-{number}"), directory)?, open(&bob_name, directory)?];
    pair.iter().try_for_each(|person| person.bootstrap(seed).map(|_| ()))?;
    for person in &pair {
        wait(person, |event| matches!(event, Event::Registered { .. }))?;
    }
    let joining = start.elapsed();
    thread::sleep(REST);
    let [alice, bob] = &pair;
    let say = || -> Result<Duration, Failure> {
        let start = Instant::now();
        alice.send_blocking(&bob_name, &text())?;
        wait(bob, |event| matches!(event, Event::Message(_)))?;
        let took = start.elapsed();
        wait(alice, |event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. }))?;
        Ok(took)
    };
    let times = Times { joining, first: say()?, second: say()? };
    Ok((pair, times))
}
