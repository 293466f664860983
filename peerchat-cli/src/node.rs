//! `peerchat node`: a headless node that serves the network, with no user on it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peerchat_core::{Client, CommandId, Config, Error, Event};

use crate::args::NodeArgs;
use crate::fault::Fault;
use crate::json::JsonLine;
use crate::{metrics, passphrase, session};

/// Pause before a bootstrap address that failed is tried again; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs the node until a signal stops it.
pub(crate) fn run(args: &NodeArgs) -> Result<(), Fault> {
    let client = open(args)?;
    session::close_on_signal(&client)?;
    let mut joins = Joins::default();
    for address in &args.bootstrap {
        joins.start(&client, address.to_string())?;
    }
    let metrics = args.metrics.map(|address| metrics::serve(address, &client)).transpose()?;
    let listening = JsonLine::node_listening(&client, metrics);
    let ready_file = args.ready_file.as_deref().map(|path| ReadyFile::write(path, &listening)).transpose()?;
    announce(&client, &listening, args.json)?;
    let outcome = serve(&client, joins, args.json);
    drop(ready_file);
    session::shut_down(&client);
    outcome
}

fn open(args: &NodeArgs) -> Result<Client, Fault> {
    let mut config = if args.memory {
        Config::in_memory()
    } else {
        Config::builder(session::data_dir(args.data.as_deref())?)
    };
    if let Some(address) = args.bind {
        config = config.bind(address);
    }
    config = config.memory_limit(args.memory_limit.0);
    for limit in &args.limits {
        config = config.limit(&limit.name, limit.value);
    }
    let config = config.k(args.k).alpha(args.alpha);
    if args.memory {
        return Ok(Client::open(config.build()?)?);
    }
    args.passphrase.open(config, &mut passphrase::ask_terminal)
}

/// Prints the one line that says where others reach this node.
fn announce(client: &Client, listening: &JsonLine<'_>, is_json: bool) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    if is_json {
        listening.write(out)?;
    } else {
        writeln!(out, "listening on {} key {}", client.local_address(), client.node_key())?;
        out.flush()?;
    }
    Ok(())
}

/// Tells events until the client closes.
fn serve(client: &Client, mut joins: Joins, is_json: bool) -> Result<(), Fault> {
    loop {
        match client.poll(joins.next_wait(Instant::now())) {
            Ok(Some(event)) => {
                joins.handle_event(&event, Instant::now());
                tell(&event, is_json)?;
            }
            Ok(None) => joins.retry(client, Instant::now())?,
            Err(Error::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The bootstrap addresses of an operator: a node that starts before the one it joins through tries again.
#[derive(Debug, Default)]
struct Joins {
    /// Calls that have not ended, with what they are for.
    pending: BTreeMap<CommandId, Join>,
    /// What failed, by when it is tried again.
    waiting: Vec<(Instant, Join)>,
}

#[derive(Clone, Debug)]
struct Join {
    address: String,
    pause: Duration,
}

impl Joins {
    fn start(&mut self, client: &Client, address: String) -> Result<(), Fault> {
        self.begin(client, Join { address, pause: FIRST_PAUSE })
    }

    fn begin(&mut self, client: &Client, join: Join) -> Result<(), Fault> {
        let command = client.bootstrap(&join.address)?;
        self.pending.insert(command, join);
        Ok(())
    }

    fn handle_event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Bootstrapped { command, .. } => {
                self.pending.remove(command);
            }
            Event::BootstrapFailed { command, .. } => {
                if let Some(Join { address, pause }) = self.pending.remove(command) {
                    let next = Join { address, pause: (2 * pause).min(LONGEST_PAUSE) };
                    self.waiting.push((now + pause, next));
                }
            }
            _ => {}
        }
    }

    /// Tries again what is due.
    fn retry(&mut self, client: &Client, now: Instant) -> Result<(), Fault> {
        let (due, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(at, _)| *at <= now);
        self.waiting = waiting;
        let due: Vec<(Instant, Join)> = due;
        due.into_iter().try_for_each(|(_, join)| self.begin(client, join))
    }

    fn next_wait(&self, now: Instant) -> Duration {
        let next = self.waiting.iter().map(|(at, _)| at.saturating_duration_since(now)).min();
        next.map_or(session::LONG_WAIT, |wait| wait.min(session::LONG_WAIT))
    }
}

fn tell(event: &Event, is_json: bool) -> Result<(), Fault> {
    match JsonLine::of(event) {
        Some(line) if is_json => line.write(io::stdout().lock())?,
        _ => {}
    }
    if let Some(warning) = session::warning(event) {
        eprintln!("peerchat: {warning}");
    }
    match event {
        Event::Closed { detail, .. } => Err(Fault::told("the node stopped", detail)),
        _ => Ok(()),
    }
}

/// The file that tells a supervisor that the node listens; it goes when this value goes.
struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Writes the file under another name and moves it into place, so that nobody reads half of it.
    fn write(path: &Path, listening: &JsonLine<'_>) -> Result<Self, Fault> {
        let mut line = Vec::new();
        listening.write(&mut line)?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        fs::write(&partial, line).and_then(|()| fs::rename(&partial, path)).map_err(|error| {
            Fault::new(
                format!("cannot write the ready file {}: {error}", path.display()),
                "name a file in a directory that can be written",
            )
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Whoever removed it first did the same work.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use peerchat_core::ErrorCode;

    use super::*;

    fn failed(command: u64) -> Event {
        Event::BootstrapFailed {
            command: CommandId(command),
            address: "a.example:1".into(),
            code: ErrorCode::Unreachable,
            detail: String::new(),
        }
    }

    #[test]
    fn a_failed_join_waits_longer_each_time() {
        let (mut joins, now) = (Joins::default(), Instant::now());
        let mut pause = FIRST_PAUSE;
        for command in 0..8 {
            let join = Join { address: "a.example:1".into(), pause };
            joins.pending.insert(CommandId(command), join);
            joins.handle_event(&failed(command), now);
            assert_eq!(joins.next_wait(now), pause);
            pause = joins.waiting.pop().unwrap().1.pause;
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn a_join_of_somebody_else_is_not_retried() {
        let mut joins = Joins::default();
        joins.handle_event(&failed(1), Instant::now());
        assert_eq!(joins.next_wait(Instant::now()), session::LONG_WAIT);
    }
}
