//! From two people who have just started to the first message, and the messages after it.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, address_of};
use peerchat_bench::quantile::quantile;
use peerchat_core::{Client, Event, MessageState, Verb};
use tokio::sync::Semaphore;

use super::people::{open, send_many, text, wait};
use super::report::{Cell, Figure, Table};

/// Nodes of the network that the two join.
const NODES: usize = 100;

/// How many pairs start from nothing.
const PAIRS: usize = 20;

/// Messages one after another.
const SEQUENTIAL: usize = 1000;

/// Messages as fast as they are taken.
const BURST: usize = 10_000;

/// How many of a burst's messages wait for their disk at a time.
const IN_FLIGHT: usize = 256;

const COLUMNS: &[&str] = &[
    "who",
    "profiles",
    "registered p50 s",
    "first message p50 s",
    "p99 s",
    "latency p50 ms",
    "p99 ms",
    "messages/s",
];

/// Alice and Bob, who start from nothing.
struct People {
    alice: Client,
    bob: Client,
    bob_name: String,
    registered_after: Duration,
    first_after: Duration,
}

pub(super) fn measure(_words: &[String]) -> Result<Figure, Failure> {
    let network = Network::new();
    network.grow(NODES, &Settings::default_options(), |_| ())?;
    eprintln!("{NODES} nodes registered");
    let seed = network.clients().first().map(address_of).ok_or("no network")?;
    let mut table = Table::new(COLUMNS);
    table.push(row("memory", None, &seed)?);
    let directory = tempfile::tempdir()?;
    table.push(row("on disk", Some(directory.path()), &seed)?);
    push_peers(&mut table);
    network.close();
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "A network of 100 nodes in the same process, loopback, k = 20 and alpha = 3. Alice and Bob are opened with new \
         keys and join through the same one node; as soon as Bob's name is registered, Alice, who has never heard of him, \
         writes to it. The time of the first message is from before they are opened to Bob's application having it; \
         20 pairs, one after another.",
        "Latency: from the call that sends to the recipient's application having the message, 1,000 one after another. \
         Messages per second: 10,000 sent with up to 256 calls waiting, from the first call until the last is with the \
         recipient's application. 100 bytes each; every message is saved by the sender before it is sent and by the \
         recipient before it is acknowledged.",
        "On disk the profile is in the system's temporary directory, with the syncs that a profile always has. The rows of \
         others were measured on another such machine; none of them saves a message before acknowledging it.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn push_peers(table: &mut Table) {
    let mut push = |name: &str, first: &str, latency: (&str, &str), rate: &str| {
        let cells = [name, "none", "", first, "", latency.0, latency.1, rate];
        table.push(cells.map(|cell| if cell.is_empty() { Cell::Empty } else { cell.into() }).to_vec());
    };
    push("c-toxcore, 1 ms loop", "10", ("0.59", "1.2"), "36100");
    push("c-toxcore, its own interval", "10", ("25.7", "50"), "28200");
    push("libp2p request-response", "", ("0.33", "0.49"), "27800");
    push("the original", "", ("32.5", "52"), "397-729");
}

fn row(profiles: &str, directory: Option<&Path>, seed: &str) -> Result<Vec<Cell>, Failure> {
    let (mut registered, mut first) = (Vec::new(), Vec::new());
    let mut latest = None;
    for number in 0..PAIRS {
        let people = meet(number, directory, seed)?;
        registered.push(people.registered_after);
        first.push(people.first_after);
        if let Some(People { alice, bob, .. }) = latest.replace(people) {
            alice.shutdown();
            bob.shutdown();
        }
    }
    let people = latest.ok_or("nobody met")?;
    eprintln!("  {profiles}: first messages after {:.3} s", quantile(&first, 0.5).as_secs_f64());
    let latencies = one_by_one(&people)?;
    eprintln!("  {profiles}: {SEQUENTIAL} messages one after another");
    let rate = burst(&people)?;
    eprintln!("  {profiles}: {rate:.0} messages/s");
    people.alice.shutdown();
    people.bob.shutdown();
    let seconds = |times, share| Cell::Number(quantile(times, share).as_secs_f64(), 3);
    let ms = |share| Cell::Number(quantile(&latencies, share).as_secs_f64() * 1e3, 3);
    Ok(vec![
        "peerchat".into(),
        profiles.into(),
        seconds(&registered, 0.5),
        seconds(&first, 0.5),
        seconds(&first, 0.99),
        ms(0.5),
        ms(0.99),
        Cell::Number(rate, 0),
    ])
}

/// Opens two people and lets one write to the other as soon as there is a name to write to.
fn meet(number: usize, directory: Option<&Path>, seed: &str) -> Result<People, Failure> {
    let word = if directory.is_some() { "disk" } else { "memory" };
    let bob_name = format!("bob-{word}-{number}");
    let start = Instant::now();
    let alice_name = format!("alice-{word}-{number}");
    let alice = open(&alice_name, directory)?;
    let bob = open(&bob_name, directory)?;
    alice.bootstrap(seed)?;
    bob.bootstrap(seed)?;
    wait(&bob, |event| matches!(event, Event::Registered { .. }))?;
    let registered_after = start.elapsed();
    alice.send_blocking(&bob_name, &text())?;
    wait(&bob, |event| matches!(event, Event::Message(_)))?;
    let first_after = start.elapsed();
    // Of somebody about whom nothing is decided no more is taken than `stranger_messages_len` says.
    bob.relate_blocking(&alice_name, Verb::Accept)?;
    Ok(People { alice, bob, bob_name, registered_after, first_after })
}

/// Sends messages one after another, and returns how long each took to arrive.
fn one_by_one(people: &People) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::with_capacity(SEQUENTIAL);
    for _ in 0..SEQUENTIAL {
        let start = Instant::now();
        people.alice.send_blocking(&people.bob_name, &text())?;
        wait(&people.bob, |event| matches!(event, Event::Message(_)))?;
        latencies.push(start.elapsed());
        while people.alice.poll(Duration::ZERO)?.is_some() {}
    }
    Ok(latencies)
}

/// Sends a burst, and returns how many messages a second arrived.
fn burst(people: &People) -> Result<f64, Failure> {
    let room = Arc::new(Semaphore::new(BURST));
    let start = Instant::now();
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| send_many(&people.alice, &people.bob_name, BURST, IN_FLIGHT, &room));
        let receiving = scope.spawn(|| {
            let is_message = |event: &Event| matches!(event, Event::Message(_));
            (0..BURST).try_for_each(|_| wait(&people.bob, is_message)).map(|()| start.elapsed())
        });
        // Alice's events are taken too, as an application would: she is told what becomes of each message.
        let is_delivered =
            |event: &Event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. });
        let told = (0..BURST).try_for_each(|_| wait(&people.alice, is_delivered));
        (sending.join().map(|sent| sent.and(told)), receiving.join())
    });
    sent.map_err(|_| "the sending thread panicked")??;
    let took = received.map_err(|_| "the receiving thread panicked")??;
    Ok(BURST as f64 / took.as_secs_f64())
}
