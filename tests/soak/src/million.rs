//! Many messages between two people, in pieces, with restarts between them.

use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use peerchat_core::{Client, Config, Event, MessageState, Verb};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::kills::whole_history;
use crate::outcome::Outcome;
use crate::{Failure, Progress};

/// How many messages are sent at most between two restarts.
const MAX_PIECE: u64 = 20_000;

/// How many messages are handed to the client at once.
const AT_ONCE: usize = 500;

/// How many messages may be under way at a restart.
const MAX_UNDER_WAY: u64 = 1000;

/// How long the next message may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends `count` messages from one to another and counts them: each once, in order, whoever restarts meanwhile.
///
/// # Errors
///
/// One is lost, doubled or out of order, or does not come in time.
pub fn run(count: u64, seed: u64, progress: Progress<'_>) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let third = Client::open(Config::in_memory().bind(([127, 0, 0, 1], 0).into()).build()?)?;
    let directory = tempfile::tempdir()?;
    let reopen = |name: &str| open(directory.path(), name, &third);
    let (mut alice, mut bob) = (reopen("alice")?, reopen("bob")?);
    let (mut sent, mut taken, mut interruptions) = (0, 0, 0);
    let mut longest_wait = Duration::ZERO;
    while sent < count {
        let piece = rng.random_range(1..=MAX_PIECE.min(count.div_ceil(10))).min(count - sent);
        let left = if sent + piece < count { rng.random_range(0..MAX_UNDER_WAY.min(piece)) } else { 0 };
        let until = sent + piece - left;
        let waited = thread::scope(|scope| {
            let taking = scope.spawn(|| take(&bob, taken, until));
            send(&alice, sent..sent + piece)?;
            taking.join().map_err(|_| "the reader panicked")?
        })?;
        (sent, taken) = (sent + piece, until);
        longest_wait = longest_wait.max(waited);
        let whom = rng.random_range(0..3);
        if whom != 0 && sent < count {
            interruptions += 1;
            bob = restart(bob, || reopen("bob"))?;
        }
        if whom != 1 && sent < count {
            interruptions += 1;
            alice = restart(alice, || reopen("alice"))?;
        }
        let rate = sent as f64 / began.elapsed().as_secs_f64();
        progress(&format!("{sent} sent, {taken} counted, {interruptions} restarts, {rate:.0} a second"));
    }
    wait_until_delivered(&alice, count)?;
    check(&alice, &bob, count)?;
    let outcome = Outcome {
        what: "one pair, pieces and restarts",
        interruptions,
        messages: count,
        retold: 0,
        longest_wait,
        time: began.elapsed(),
    };
    [alice, bob, third].iter().for_each(|client| {
        client.shutdown();
    });
    Ok(outcome)
}

fn open(directory: &Path, name: &str, third: &Client) -> Result<Client, Failure> {
    let config = Config::builder(directory).bind(([127, 0, 0, 1], 0).into()).user(name)?.build()?;
    let client = Client::open(config)?;
    client.bootstrap(&third.local_address().to_string())?;
    Ok(client)
}

/// Sends numbers, many of them at once, as a program would that does not wait for the disk each time.
fn send(writer: &Client, numbers: Range<u64>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for first in numbers.clone().step_by(AT_ONCE) {
        let chunk = first..numbers.end.min(first + AT_ONCE as u64);
        runtime.block_on(async {
            // One thread takes up tasks in the order in which they were spawned.
            let sending: Vec<_> = chunk
                .map(|number| {
                    let writer = writer.clone();
                    tokio::spawn(async move { writer.send("bob", &number.to_string()).await })
                })
                .collect();
            for sent in sending {
                sent.await??;
            }
            Ok::<_, Failure>(())
        })?;
    }
    Ok(())
}

fn restart(client: Client, reopen: impl FnOnce() -> Result<Client, Failure>) -> Result<Client, Failure> {
    crate::close(&client)?;
    drop(client);
    reopen()
}

/// Takes the messages from number `next` to the one before `until`; returns the longest wait between two.
fn take(reader: &Client, mut next: u64, until: u64) -> Result<Duration, Failure> {
    let (mut latest, mut longest) = (Instant::now(), Duration::ZERO);
    while next < until {
        let patience = PATIENCE.saturating_sub(latest.elapsed());
        match reader.poll(patience)? {
            Some(Event::Message(message)) if message.text == next.to_string() => {
                if next == 0 {
                    // Of somebody about whom nothing is decided no more is taken than `stranger_messages_len` says.
                    reader.relate_blocking(&message.from, Verb::Accept)?;
                }
                next += 1;
                longest = longest.max(latest.elapsed());
                latest = Instant::now();
            }
            Some(Event::Message(message)) => {
                return Err(format!("{} came in the place of {next}", message.text).into());
            }
            Some(Event::Closed { detail, .. }) => return Err(detail.into()),
            Some(_) => {}
            None => return Err(format!("number {next} did not come within {PATIENCE:?}").into()),
        }
    }
    Ok(longest)
}

/// Takes events until nothing is owed any more and that is on disk.
fn wait_until_delivered(writer: &Client, count: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let is_last_delivered = || -> Result<bool, Failure> {
        let last = writer.history("bob", None, 1)?;
        Ok(last.iter().all(|entry| {
            entry.text == (count - 1).to_string() && entry.state == Some(MessageState::Delivered)
        }))
    };
    while writer.statistics()?.outbox_count > 0 || !is_last_delivered()? {
        if Instant::now() > deadline {
            return Err("the last messages are not known to be delivered".into());
        }
        writer.poll(Duration::from_millis(20))?;
    }
    Ok(())
}

/// Counts both histories.
fn check(writer: &Client, reader: &Client, count: u64) -> Result<(), Failure> {
    let written = whole_history(writer, "bob")?;
    if let Some(entry) = written.iter().find(|entry| entry.state != Some(MessageState::Delivered)) {
        return Err(format!("number {} is {:?}", entry.text, entry.state).into());
    }
    let read = whole_history(reader, "alice")?;
    for (whose, entries) in [("the writer", written), ("the reader", read)] {
        let is_right =
            entries.iter().zip(0..).all(|(entry, number): (_, u64)| entry.text == number.to_string());
        if !is_right || entries.len() as u64 != count {
            return Err(format!("the history of {whose} has {} messages of {count}", entries.len()).into());
        }
    }
    Ok(())
}
