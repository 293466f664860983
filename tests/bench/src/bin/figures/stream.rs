//! How many messages a second one person can send another, as long as they like.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::address_of;
use peerchat_bench::process::cpu_time;
use peerchat_core::{Client, Event, MessageState};
use tokio::sync::Semaphore;

use super::people::{open, send_many, text, wait};
use super::report::{Cell, Figure, Table};

/// Messages of one run, with profiles in memory and on disk.
const COUNTS: [usize; 2] = [200_000, 100_000];

/// Most messages that are sent and not known to be delivered: fewer than an outbox takes.
const OUTSTANDING: usize = 32_768;

/// How many calls that send wait for the sender's profile at a time.
const IN_FLIGHT: usize = 4096;

/// Messages that are sent one after another, each after the one before is known to be delivered.
const ALONE: usize = 10_000;

const COLUMNS: &[&str] = &[
    "who",
    "profiles",
    "messages",
    "seconds",
    "messages/s",
    "until all are told delivered s",
    "CPU us/message",
];

/// How many messages at the beginning and at the end are compared.
const PART: usize = 100_000;

/// With a number, so many messages on disk, of which the first and the last are compared: what a long history changes. With
/// `alone`, only messages that never meet another.
pub(super) fn measure(words: &[String]) -> Result<Figure, Failure> {
    let mut table = Table::new(COLUMNS);
    match words.first().map(String::as_str) {
        None => {}
        Some("alone") => {
            table.push(alone("memory, one after another", None)?);
            return Ok(Figure { conditions: conditions(), table });
        }
        Some(count) => return long_history(count.parse()?),
    }
    table.push(row("memory", None, COUNTS[0])?);
    let directory = tempfile::tempdir()?;
    table.push(row("on disk", Some(directory.path()), COUNTS[1])?);
    table.push(alone("memory, one after another", None)?);
    push_peers(&mut table);
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "Alice and Bob in one process, loopback, nobody else; they know each other. Alice sends texts of 100 bytes with up to \
         4,096 calls waiting for her profile and 32,768 messages not yet delivered. Seconds: from the first call until Bob's application has taken the last one; \
         then until Alice's application was told that it is delivered. CPU is the whole process's, both ends and both \
         applications.",
        "Every message is saved by the sender before it is sent and by the recipient before it is acknowledged; on disk that \
         is a transaction with a sync, in the system's temporary directory. The rows of others were measured on another \
         such machine; none of them saves a message before acknowledging it.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn push_peers(table: &mut Table) {
    for (name, rate) in [
        ("c-toxcore, 1 ms loop", "36100"),
        ("c-toxcore, its own interval", "28200"),
        ("libp2p request-response", "27800"),
        ("the original", "397-729"),
    ] {
        let cells =
            [name.into(), "none".into(), Cell::Empty, Cell::Empty, rate.into(), Cell::Empty, Cell::Empty];
        table.push(cells.to_vec());
    }
}

fn long_history(count: usize) -> Result<Figure, Failure> {
    let mut table = Table::new(&["messages before", "messages/s of the next 100,000"]);
    let directory = tempfile::tempdir()?;
    let (alice, bob) = meet(Some(directory.path()))?;
    let mut before = 0;
    while before + PART <= count {
        let rate = PART as f64 / part(&alice, &bob, PART)?.0.as_secs_f64();
        eprintln!("  {before} messages before: {rate:.0} messages/s");
        if before == 0 || before + 2 * PART > count || before.is_multiple_of(10 * PART) {
            table.push(vec![Cell::count(before), Cell::Number(rate, 0)]);
        }
        before += PART;
    }
    alice.shutdown();
    bob.shutdown();
    Ok(Figure { conditions: conditions(), table })
}

/// Sends so many messages, and returns how long it took until all had arrived, and were known to be delivered.
fn part(alice: &Client, bob: &Client, count: usize) -> Result<(Duration, Duration), Failure> {
    let room = Arc::new(Semaphore::new(OUTSTANDING));
    let start = Instant::now();
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| send_many(alice, "bob", count, IN_FLIGHT, &room));
        let receiving = scope.spawn(|| {
            let is_message = |event: &Event| matches!(event, Event::Message(_));
            (0..count).try_for_each(|_| wait(bob, is_message)).map(|()| start.elapsed())
        });
        // As an application would: it is told what becomes of each message.
        let is_delivered =
            |event: &Event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. });
        let told = (0..count).try_for_each(|_| wait(alice, is_delivered).map(|()| room.add_permits(1)));
        // Whoever still waits for room would wait for ever.
        room.close();
        (sending.join().map(|sent| sent.and(told)), receiving.join())
    });
    sent.map_err(|_| "the sending thread panicked")??;
    let took = received.map_err(|_| "the receiving thread panicked")??;
    Ok((took, start.elapsed()))
}

fn row(profiles: &str, directory: Option<&Path>, count: usize) -> Result<Vec<Cell>, Failure> {
    let (alice, bob) = meet(directory)?;
    let cpu = cpu_time();
    let (took, all) = part(&alice, &bob, count)?;
    let cpu = cpu_time().saturating_sub(cpu);
    let rate = count as f64 / took.as_secs_f64();
    eprintln!("  {profiles}: {rate:.0} messages/s");
    alice.shutdown();
    bob.shutdown();
    Ok(vec![
        "peerchat".into(),
        profiles.into(),
        Cell::count(count),
        Cell::Number(took.as_secs_f64(), 2),
        Cell::Number(rate, 0),
        Cell::Number(all.as_secs_f64(), 2),
        Cell::Number(cpu.as_secs_f64() * 1e6 / count as f64, 1),
    ])
}

/// Sends messages that never meet another on their way.
fn alone(profiles: &str, directory: Option<&Path>) -> Result<Vec<Cell>, Failure> {
    let (alice, bob) = meet(directory)?;
    let is_delivered =
        |event: &Event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. });
    let (start, cpu) = (Instant::now(), cpu_time());
    for _ in 0..ALONE {
        alice.send_blocking("bob", &text())?;
        wait(&bob, |event| matches!(event, Event::Message(_)))?;
        wait(&alice, is_delivered)?;
    }
    let (took, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
    eprintln!("  {profiles}: {:.1} us of CPU a message", cpu.as_secs_f64() * 1e6 / ALONE as f64);
    alice.shutdown();
    bob.shutdown();
    Ok(vec![
        "peerchat".into(),
        profiles.into(),
        Cell::count(ALONE),
        Cell::Number(took.as_secs_f64(), 2),
        Cell::Number(ALONE as f64 / took.as_secs_f64(), 0),
        Cell::Number(took.as_secs_f64(), 2),
        Cell::Number(cpu.as_secs_f64() * 1e6 / ALONE as f64, 1),
    ])
}

/// Opens two people who have written to each other.
fn meet(directory: Option<&Path>) -> Result<(Client, Client), Failure> {
    let (alice, bob) = (open("alice", directory)?, open("bob", directory)?);
    alice.bootstrap(&address_of(&bob))?;
    for client in [&alice, &bob] {
        wait(client, |event| matches!(event, Event::Registered { .. }))?;
    }
    for (from, to, name) in [(&alice, &bob, "bob"), (&bob, &alice, "alice")] {
        from.send_blocking(name, &text())?;
        wait(to, |event| matches!(event, Event::Message(_)))?;
        let is_delivered =
            |event: &Event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. });
        wait(from, is_delivered)?;
    }
    Ok((alice, bob))
}
