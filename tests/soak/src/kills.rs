//! Kills of writers, readers and holders at random moments, while messages flow.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Config, HistoryEntry, MessageState};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::child::{Process, Spec};
use crate::ledger::Ledger;
use crate::outcome::Outcome;
use crate::{Failure, Progress};

/// How many nodes keep what is written to who is not there.
const HOLDER_COUNT: usize = 4;

/// How many texts a writer is given that it has not acknowledged.
const WINDOW: usize = 16;

/// Nobody is given more to write while so many acknowledged texts have not been shown.
const MAX_WAITING: usize = 400;

/// How long at most between two kills; it is drawn.
const MAX_PAUSE: Duration = Duration::from_millis(1200);

/// How long a child may take to start.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long the network may take, once nobody is killed any more, until everything has arrived.
const END_PATIENCE: Duration = Duration::from_secs(400);

/// Kills processes `kill_count` times. `program` is one that calls [`crate::child::run`].
///
/// # Errors
///
/// Something that was acknowledged is lost, something was shown twice, a profile does not open, or it took too long.
pub fn run(program: &Path, kill_count: usize, seed: u64, progress: Progress<'_>) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let directory = tempfile::tempdir()?;
    let mut stage = Stage::new(program, directory.path(), seed)?;
    for kill in 1..=kill_count {
        stage.let_run()?;
        stage.kill_somebody()?;
        if kill % 20 == 0 || kill == kill_count {
            let (sent, waiting) = (stage.ledger.accepted_count(), stage.ledger.waiting_count(|_, _| true));
            progress(&format!("{kill} kills, {sent} messages acknowledged, {waiting} under way"));
        }
    }
    let longest_wait = stage.finish()?;
    Ok(Outcome {
        what: "kill -9 of writers, readers, holders",
        interruptions: kill_count,
        messages: stage.ledger.accepted_count(),
        retold: stage.ledger.retold_count(),
        longest_wait,
        time: began.elapsed(),
    })
}

/// One who can be killed.
struct Actor {
    spec: Spec,
    /// `None` while it is dead.
    process: Option<Process>,
    /// Texts it was given and has not acknowledged.
    unanswered: VecDeque<String>,
    /// The latest answer about its outbox.
    outbox: Option<usize>,
}

struct Stage {
    rng: ChaCha20Rng,
    /// Alice, Bob, then the holders.
    actors: Vec<Actor>,
    ledger: Ledger,
    lines: Receiver<(usize, String)>,
    speaker: Sender<(usize, String)>,
    is_writing: bool,
}

const PEOPLE: [&str; 2] = ["alice", "bob"];

impl Stage {
    fn new(program: &Path, directory: &Path, seed: u64) -> Result<Self, Failure> {
        let (speaker, lines) = channel();
        let (rng, ledger) = (ChaCha20Rng::seed_from_u64(seed), Ledger::new());
        let mut stage = Self { rng, actors: Vec::new(), ledger, lines, speaker, is_writing: false };
        let names = PEOPLE.map(Some).into_iter().chain([None; HOLDER_COUNT]);
        for (number, user) in names.enumerate() {
            let directory: PathBuf = directory.join(number.to_string());
            let user = user.map(str::to_owned);
            let (program, host) = (program.to_owned(), Ipv4Addr::LOCALHOST);
            let spec = Spec { program, directory, user, host, port: 0, seeds: Vec::new() };
            stage.actors.push(Actor { spec, process: None, unanswered: VecDeque::new(), outbox: None });
        }
        for holder in PEOPLE.len()..stage.actors.len() {
            let address = stage.start(holder)?;
            let port = address.rsplit(':').next().ok_or("an address has a port")?.parse()?;
            // A holder comes back where it was; people come back from anywhere.
            stage.actors[holder].spec.port = port;
            stage.actors.iter_mut().for_each(|actor| actor.spec.seeds.push(address.clone()));
        }
        for person in 0..PEOPLE.len() {
            stage.start(person)?;
        }
        stage.is_writing = true;
        Ok(stage)
    }

    /// Starts an actor and waits until its profile is open; returns its address.
    fn start(&mut self, number: usize) -> Result<String, Failure> {
        if let Some(name) = PEOPLE.get(number) {
            self.ledger.start(name);
        }
        let actor = &mut self.actors[number];
        actor.process = Some(Process::start(&actor.spec, number, &self.speaker)?);
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let line = self.next_line(deadline)?.ok_or_else(|| format!("actor {number} does not start"))?;
            if line.0 == number
                && let Some(address) = line.1.strip_prefix("ready ")
            {
                return Ok(address.to_owned());
            }
        }
    }

    /// Lets messages flow until a random moment.
    fn let_run(&mut self) -> Result<(), Failure> {
        let line_count = self.rng.random_range(0..300);
        let deadline = Instant::now() + MAX_PAUSE.mul_f64(self.rng.random::<f64>());
        for _ in 0..line_count {
            self.write_more();
            if self.next_line(deadline)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Kills an actor. It comes back at once, or after the next kill.
    fn kill_somebody(&mut self) -> Result<(), Failure> {
        let victim = match self.rng.random_range(0..3) {
            person @ (0 | 1) => person,
            _ => self.rng.random_range(PEOPLE.len()..self.actors.len()),
        };
        let absent: Vec<usize> =
            (0..self.actors.len()).filter(|number| self.actors[*number].process.is_none()).collect();
        if let Some(mut process) = self.actors[victim].process.take() {
            process.kill()?;
            drop(process);
            while let Ok((number, line)) = self.lines.try_recv() {
                self.take(number, &line)?;
            }
            // Acknowledged or not, it was not told: such a text may arrive once or never.
            self.actors[victim].unanswered.clear();
        }
        for number in absent {
            self.start(number)?;
        }
        if self.actors[victim].process.is_none() && self.rng.random_bool(0.7) {
            self.start(victim)?;
        }
        Ok(())
    }

    /// Gives both people something to write, if they are there.
    fn write_more(&mut self) {
        if !self.is_writing || self.ledger.waiting_count(|_, _| true) >= MAX_WAITING {
            return;
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let actor = &mut self.actors[from];
            let Some(process) = &mut actor.process else { continue };
            while actor.unanswered.len() < WINDOW {
                let text = self.ledger.write(PEOPLE[from], PEOPLE[to]);
                process.tell(&format!("send {} {text}", PEOPLE[to]));
                actor.unanswered.push_back(text);
            }
        }
    }

    /// Takes the next line of anybody, `None` if there is none in time.
    fn next_line(&mut self, deadline: Instant) -> Result<Option<(usize, String)>, Failure> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((number, line)) => {
                self.take(number, &line)?;
                Ok(Some((number, line)))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("nobody speaks any more".into()),
        }
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), Failure> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "accepted" => {
                self.actors[number].unanswered.pop_front();
                self.ledger.accept(rest.split_once(' ').map_or(rest, |(_, text)| text))
            }
            "shown" => {
                let (id, text) = rest.split_once(' ').unwrap_or((rest, ""));
                self.ledger.show(PEOPLE[number], id, text)
            }
            "outbox" => {
                self.actors[number].outbox = Some(rest.parse()?);
                Ok(())
            }
            "ready" | "state" => Ok(()),
            _ => Err(format!("actor {number}: {line}").into()),
        }
    }

    /// Starts whoever is dead, waits until everything has arrived and is known to have, and looks into the profiles.
    fn finish(&mut self) -> Result<Duration, Failure> {
        self.is_writing = false;
        for number in 0..self.actors.len() {
            if self.actors[number].process.is_none() {
                self.start(number)?;
            }
        }
        let began = Instant::now();
        let deadline = began + END_PATIENCE;
        while self.ledger.waiting_count(|_, _| true) > 0 || !self.is_everything_known(deadline)? {
            if self.next_line(deadline)?.is_none() {
                return Err(format!("not there after {END_PATIENCE:?}: {:?}", self.ledger.waiting()).into());
            }
        }
        let waited = began.elapsed();
        for actor in &mut self.actors {
            if let Some(mut process) = actor.process.take() {
                process.end()?;
            }
        }
        self.check_profiles()?;
        Ok(waited)
    }

    /// Asks both people until neither owes anything any more.
    fn is_everything_known(&mut self, deadline: Instant) -> Result<bool, Failure> {
        let mut is_known = true;
        for person in 0..PEOPLE.len() {
            let actor = &mut self.actors[person];
            actor.outbox = None;
            if let Some(process) = &mut actor.process {
                process.tell("outbox");
            }
            while self.actors[person].outbox.is_none() {
                self.next_line(deadline)?.ok_or("a child does not answer")?;
            }
            is_known &= self.actors[person].outbox == Some(0) && self.actors[person].unanswered.is_empty();
        }
        Ok(is_known)
    }

    /// Opens every profile, and compares what the people have with the ledger.
    fn check_profiles(&self) -> Result<(), Failure> {
        for actor in &self.actors {
            let builder = Config::builder(&actor.spec.directory).bind(([127, 0, 0, 1], 0).into());
            let Some(name) = &actor.spec.user else {
                Client::open(builder.build()?)?.shutdown();
                continue;
            };
            let client = Client::open(builder.user(name)?.build()?)?;
            let other = PEOPLE.iter().find(|other| *other != name).ok_or("there are two people")?;
            let (own, received): (Vec<_>, Vec<_>) =
                whole_history(&client, other)?.into_iter().partition(|entry| entry.is_own);
            if let Some(entry) = own.iter().find(|entry| entry.state != Some(MessageState::Delivered)) {
                return Err(format!("'{}' is {:?} although it arrived", entry.text, entry.state).into());
            }
            let texts: Vec<String> = received.into_iter().map(|entry| entry.text).collect();
            self.ledger.check_history(other, name, &texts)?;
            client.shutdown();
        }
        Ok(())
    }
}

/// Returns everything said in a conversation, oldest first.
///
/// # Errors
///
/// The client refuses.
pub fn whole_history(client: &Client, peer: &str) -> Result<Vec<HistoryEntry>, Failure> {
    let mut entries = Vec::new();
    let mut before = None;
    loop {
        let page = client.history(peer, before, peerchat_core::MAX_HISTORY_PAGE)?;
        let Some(last) = page.last() else { break };
        before = Some(last.position);
        entries.extend(page);
    }
    entries.reverse();
    Ok(entries)
}
