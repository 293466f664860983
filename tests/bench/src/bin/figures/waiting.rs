//! Somebody comes back after a week, and much was written to them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, address_of};
use peerchat_core::{Client, Event, MessageState};
use tokio::sync::Semaphore;

use super::people::{open, send_many, text, wait};
use super::report::{Cell, Figure, Table};

/// Nodes that can keep mail.
const NODES: usize = 20;

/// Messages that wait.
const COUNT: usize = 10_000;

/// How many calls that send wait for the sender's profile at a time.
const IN_FLIGHT: usize = 4096;

/// How long nothing may happen before the measurement is given up.
const TIMEOUT: Duration = Duration::from_secs(120);

const COLUMNS: &[&str] = &[
    "who",
    "messages",
    "until all are kept s",
    "until the first is shown s",
    "until all are shown s",
    "messages/s",
    "envelopes",
    "fetched per envelope",
    "fetched per message",
];

/// What the nodes of a network did with mail.
#[derive(Clone, Copy, Debug)]
struct Mail {
    /// Envelopes, at the node that has most of them.
    kept: u64,
    fetched: u64,
}

pub(super) fn measure(_words: &[String]) -> Result<Figure, Failure> {
    let network = Network::new();
    network.grow(NODES, &Settings::default_options(), |_| ())?;
    eprintln!("{NODES} nodes registered");
    let clients = network.clients();
    let directory = tempfile::tempdir()?;
    let mut table = Table::new(COLUMNS);
    table.push(row(&clients, directory.path())?);
    for (name, what) in
        [("c-toxcore", "none: both must be there"), ("the original", "none: both must be there")]
    {
        let mut cells = vec![Cell::Empty; COLUMNS.len()];
        (cells[0], cells[4]) = (name.into(), what.into());
        table.push(cells);
    }
    network.close();
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "A network of 20 nodes in the same process, loopback, k = 20 and alpha = 3, their profiles in memory. Alice and Bob, \
         whose profiles are on disk, know each other; Bob leaves. Alice sends 10,000 texts of 100 bytes with up to 4,096 \
         calls waiting for her profile, until all of them are kept by others, and leaves too. The times of Bob are from \
         before his profile is opened again until his application has taken the messages.",
        "Envelopes are those that the node with most of them keeps; fetched are the bodies that all nodes handed out.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn row(nodes: &[Client], directory: &Path) -> Result<Vec<Cell>, Failure> {
    let seed = nodes.first().map(address_of).ok_or("no network")?;
    let (alice, bob) = (open("alice", Some(directory))?, open("bob", Some(directory))?);
    for client in [&alice, &bob] {
        client.bootstrap(&seed)?;
        wait(client, |event| matches!(event, Event::Registered { .. }))?;
    }
    for (from, to, name) in [(&alice, &bob, "bob"), (&bob, &alice, "alice")] {
        from.send_blocking(name, &text())?;
        wait(to, |event| matches!(event, Event::Message(_)))?;
    }
    bob.shutdown();
    let start = Instant::now();
    send_many(&alice, "bob", COUNT, IN_FLIGHT, &Arc::new(Semaphore::new(COUNT)))?;
    wait_until_stored(&alice)?;
    let stored_after = start.elapsed();
    alice.shutdown();
    let before = mail(nodes)?;
    eprintln!("  {COUNT} messages wait in {} envelopes", before.kept);

    let start = Instant::now();
    let bob = open("bob", Some(directory))?;
    bob.bootstrap(&seed)?;
    let is_message = |event: &Event| matches!(event, Event::Message(_));
    wait(&bob, is_message)?;
    let first_after = start.elapsed();
    (1..COUNT).try_for_each(|_| wait(&bob, is_message))?;
    let all_after = start.elapsed();
    eprintln!("  shown after {:.2} s", all_after.as_secs_f64());
    let fetched = mail(nodes)?.fetched - before.fetched;
    bob.shutdown();
    let seconds = |time: Duration| Cell::Number(time.as_secs_f64(), 2);
    Ok(vec![
        "peerchat".into(),
        Cell::count(COUNT),
        seconds(stored_after),
        seconds(first_after),
        seconds(all_after),
        Cell::Number(COUNT as f64 / all_after.as_secs_f64(), 0),
        Cell::Number(before.kept as f64, 0),
        Cell::Number(fetched as f64 / before.kept as f64, 2),
        Cell::Number(fetched as f64 / COUNT as f64, 3),
    ])
}

/// Takes events until every message is kept by somebody.
fn wait_until_stored(alice: &Client) -> Result<(), Failure> {
    let mut stored = BTreeSet::new();
    while stored.len() < COUNT {
        match alice.poll(TIMEOUT)? {
            Some(Event::MessageState { id, state: MessageState::Stored, .. }) => _ = stored.insert(id),
            Some(Event::MessageState {
                state: MessageState::Failed | MessageState::Expired, detail, ..
            }) => {
                return Err(detail.into());
            }
            Some(_) => {}
            None => return Err(format!("{} of {COUNT} messages are kept by others", stored.len()).into()),
        }
    }
    Ok(())
}

fn mail(nodes: &[Client]) -> Result<Mail, Failure> {
    let mut mail = Mail { kept: 0, fetched: 0 };
    for node in nodes {
        let statistics = node.statistics()?;
        mail.kept = mail.kept.max(statistics.mail_count as u64);
        mail.fetched += statistics.mail_fetched;
    }
    Ok(mail)
}
