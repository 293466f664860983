//! Two people and what passes between them, as several figures need it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_core::{Client, Config, Error, Event, MessageState};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long anything may take before the measurement is given up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The length of every message in bytes.
const TEXT_LEN: usize = 100;

/// Opens somebody on a loopback port of the system's choice; `None` for a profile in memory.
pub(super) fn open(name: &str, directory: Option<&Path>) -> Result<Client, Failure> {
    let builder = directory.map_or_else(Config::in_memory, Config::builder);
    let config = builder.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).user(name)?.build()?;
    Ok(Client::open(config)?)
}

/// Takes events until one is as wanted.
pub(super) fn wait(client: &Client, is_wanted: impl Fn(&Event) -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match client.poll(deadline.saturating_duration_since(Instant::now()))? {
            Some(event) if is_wanted(&event) => return Ok(()),
            Some(Event::MessageState {
                state: MessageState::Failed | MessageState::Expired, detail, ..
            }) => {
                return Err(detail.into());
            }
            Some(_) => {}
            None => return Err(format!("nothing happened within {TIMEOUT:?}").into()),
        }
    }
}

/// Sends messages as fast as they are taken, with so many calls waiting at a time, and returns once all are saved. Each takes a
/// permit of `room`, which whoever hears of its delivery gives back: an outbox has an end.
pub(super) fn send_many(
    from: &Client,
    to: &str,
    count: usize,
    in_flight: usize,
    room: &Arc<Semaphore>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let results = runtime.block_on(async {
        let mut senders = JoinSet::new();
        for _ in 0..in_flight {
            senders.spawn(send_some(from.clone(), to.to_owned(), count / in_flight, room.clone()));
        }
        // What the division left over.
        senders.spawn(send_some(from.clone(), to.to_owned(), count % in_flight, room.clone()));
        senders.join_all().await
    });
    Ok(results.into_iter().collect::<Result<(), Error>>()?)
}

async fn send_some(from: Client, to: String, count: usize, room: Arc<Semaphore>) -> Result<(), Error> {
    for _ in 0..count {
        room.acquire().await.map_err(|_| Error::Closed)?.forget();
        from.send(&to, &text()).await?;
    }
    Ok(())
}

pub(super) fn text() -> String {
    "x".repeat(TEXT_LEN)
}
