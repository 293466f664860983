//! A network that falls into two halves and heals, on real sockets: nodes and people on both sides of a router that passes
//! nothing on for a while, see [`Lab`]. Everybody goes on writing to everybody. Each half goes on by itself; what is for the
//! other side waits and says so; in the end everything has arrived, once and in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Config, MessageState};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::child::{Process, Spec};
use crate::kills::whole_history;
use crate::lab::{Lab, SIDES};
use crate::ledger::Ledger;
use crate::outcome::Outcome;
use crate::{Failure, Progress};

/// People, by side.
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Nodes without a user, as many on each side.
const NODE_COUNT: usize = 4;

/// How long after one round of writing the next one begins.
const ROUND: Duration = Duration::from_secs(30);

/// How long anything may take that is due while nothing changes.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long the network may take from the heal until everything has arrived and is known to have: who has not been reached
/// for an hour is tried every five minutes.
const HEAL_PATIENCE: Duration = Duration::from_secs(1200);

/// Parts the network for so long, and in any case until every writer knows that what is for the other side waits. `program`
/// is one that calls [`crate::child::run`] and [`crate::lab::hold`]. `None` if the system gives no network namespaces.
///
/// # Errors
///
/// Something is lost, doubled, out of order, late, or said to be what it is not.
pub fn run(
    program: &Path,
    parted: Duration,
    seed: u64,
    progress: Progress<'_>,
) -> Result<Option<Outcome>, Failure> {
    let began = Instant::now();
    let Some(lab) = Lab::new(program)? else { return Ok(None) };
    let directory = tempfile::tempdir()?;
    let mut stage = Stage::new(&lab, directory.path(), seed)?;
    stage.write_to_all()?;
    stage.wait_until("everything has arrived before the cut", PATIENCE, |stage| stage.is_all_delivered())?;
    progress("everybody has heard of everybody");
    lab.cut()?;
    stage.is_parted = true;
    let interruptions = stage.live_apart(parted, progress)?;
    lab.heal()?;
    stage.is_parted = false;
    let healed = Instant::now();
    stage.wait_until("everything has arrived after the heal", HEAL_PATIENCE, |stage| {
        stage.is_all_delivered()
    })?;
    let longest_wait = healed.elapsed();
    progress(&format!("everything has arrived {:.1} s after the heal", longest_wait.as_secs_f64()));
    stage.finish()?;
    Ok(Some(Outcome {
        what: "two halves parted, then healed",
        interruptions,
        messages: stage.ledger.accepted_count(),
        retold: stage.ledger.retold_count(),
        longest_wait,
        time: began.elapsed(),
    }))
}

struct Actor {
    spec: Spec,
    process: Option<Process>,
}

/// What a writer was told of a message.
struct Told {
    text: String,
    state: String,
}

struct Stage {
    rng: ChaCha20Rng,
    /// The people, then the nodes.
    actors: Vec<Actor>,
    ledger: Ledger,
    /// By the ids of the messages.
    told: BTreeMap<String, Told>,
    lines: Receiver<(usize, String)>,
    speaker: Sender<(usize, String)>,
    is_parted: bool,
    /// How many texts were given to children that have not said that they have them.
    unanswered_count: usize,
}

impl Stage {
    fn new(lab: &Lab, directory: &Path, seed: u64) -> Result<Self, Failure> {
        let (speaker, lines) = channel();
        let mut stage = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            actors: Vec::new(),
            ledger: Ledger::new(),
            told: BTreeMap::new(),
            lines,
            speaker,
            is_parted: false,
            unanswered_count: 0,
        };
        let programs = [lab.program_in(0)?, lab.program_in(1)?];
        for number in 0..PEOPLE.len() + NODE_COUNT {
            let side = side_of(number);
            let spec = Spec {
                program: programs[side].clone(),
                directory: directory.join(number.to_string()),
                user: PEOPLE.get(number).map(|name| (*name).to_owned()),
                host: Lab::address_of(side),
                port: 0,
                seeds: Vec::new(),
            };
            stage.actors.push(Actor { spec, process: None });
        }
        for node in PEOPLE.len()..stage.actors.len() {
            let address = stage.start(node)?;
            // A node comes back where it was; people come back from another port.
            stage.actors[node].spec.port =
                address.rsplit(':').next().ok_or("an address has a port")?.parse()?;
            stage.actors.iter_mut().for_each(|actor| actor.spec.seeds.push(address.clone()));
        }
        for person in 0..PEOPLE.len() {
            stage.start(person)?;
        }
        Ok(stage)
    }

    /// Starts an actor, waits until its profile is open, and returns its address.
    fn start(&mut self, number: usize) -> Result<String, Failure> {
        if let Some(name) = PEOPLE.get(number) {
            self.ledger.start(name);
        }
        let actor = &mut self.actors[number];
        actor.process = Some(Process::start(&actor.spec, number, &self.speaker)?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.next_line(deadline)?.ok_or_else(|| format!("actor {number} does not start"))?;
            if line.0 == number
                && let Some(address) = line.1.strip_prefix("ready ")
            {
                return Ok(address.to_owned());
            }
        }
    }

    /// Lets everybody write to everybody else.
    fn write_to_all(&mut self) -> Result<(), Failure> {
        for (number, from) in PEOPLE.into_iter().enumerate() {
            for to in PEOPLE.into_iter().filter(|to| *to != from) {
                let text = self.ledger.write(from, to);
                let process = self.actors[number].process.as_mut().ok_or("who writes is there")?;
                process.tell(&format!("send {to} {text}"));
                self.unanswered_count += 1;
            }
        }
        let is_accepted = |stage: &Self| stage.unanswered_count == 0;
        self.wait_until("everything is on the writers' disks", PATIENCE, is_accepted)
    }

    /// Lets both halves live until the time is over and everybody knows what waits. Returns how often something was
    /// interrupted, the cut included.
    fn live_apart(&mut self, parted: Duration, progress: Progress<'_>) -> Result<usize, Failure> {
        let began = Instant::now();
        let (end, mut restart_count) = (began + parted, 0);
        for round in 1.. {
            let next = Instant::now() + ROUND;
            self.write_to_all()?;
            self.wait_until("each half has noticed the cut", PATIENCE, |stage| stage.has_noticed())?;
            let stored = self.told.values().filter(|told| told.state == "stored").count();
            progress(&format!(
                "round {round}, {:.0} s: {} messages, {stored} wait with others",
                began.elapsed().as_secs_f64(),
                self.ledger.accepted_count()
            ));
            if Instant::now() >= end {
                break;
            }
            // Somebody's program is killed, and comes back without having heard of the other half.
            let number = self.rng.random_range(0..self.actors.len());
            if round % 5 == 0
                && let Some(mut process) = self.actors[number].process.take()
            {
                process.kill()?;
                drop(process);
                self.start(number)?;
                restart_count += 1;
            }
            while self.next_line(next.min(end))?.is_some() {}
        }
        Ok(restart_count + 1)
    }

    /// Tells whether each half has all of its own messages, and each writer knows that the rest waits with others.
    fn has_noticed(&self) -> bool {
        let is_within = |from: &str, to: &str| !is_across(from, to);
        self.ledger.waiting_count(is_within) == 0
            && self.told.values().all(|told| is_text_across(&told.text) || told.state == "delivered")
            && self.told.values().all(|told| matches!(told.state.as_str(), "stored" | "delivered"))
    }

    fn is_all_delivered(&self) -> bool {
        self.ledger.waiting_count(|_, _| true) == 0
            && self.told.len() as u64 == self.ledger.accepted_count()
            && self.told.values().all(|told| told.state == "delivered")
    }

    fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&Self) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        while !is_so(self) {
            if self.next_line(deadline)?.is_none() {
                let late = self.told.values().filter(|told| told.state != "delivered");
                let late: Vec<String> =
                    late.take(10).map(|told| format!("'{}' is {}", told.text, told.state)).collect();
                let waiting = self.ledger.waiting();
                return Err(
                    format!("not so after {patience:?}: {what}; {late:?}, waiting: {waiting:?}").into()
                );
            }
        }
        Ok(())
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
        let (id, text) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "accepted" => {
                self.unanswered_count = self.unanswered_count.saturating_sub(1);
                let queued = || Told { text: String::new(), state: "queued".to_owned() };
                text.clone_into(&mut self.told.entry(id.to_owned()).or_insert_with(queued).text);
                self.ledger.accept(text)
            }
            "shown" if self.is_parted && is_text_across(text) && !self.was_shown(text) => {
                Err(format!("'{text}' was shown across the cut").into())
            }
            "shown" => self.ledger.show(PEOPLE[number], id, text),
            "state" => self.note_state(id, text),
            "ready" => Ok(()),
            _ => Err(format!("actor {number}: {line}").into()),
        }
    }

    /// Tells whether a text was delivered before, so that a program which was started again is told of it again.
    fn was_shown(&self, text: &str) -> bool {
        self.told.values().any(|told| told.text == text && told.state == "delivered")
    }

    /// Notes what a writer was told. It may be told before the writer's client has said that the message is on its disk.
    fn note_state(&mut self, id: &str, state: &str) -> Result<(), Failure> {
        let new = || Told { text: String::new(), state: "queued".to_owned() };
        let told = self.told.entry(id.to_owned()).or_insert_with(new);
        let may_follow = match state {
            "stored" => matches!(told.state.as_str(), "queued" | "stored"),
            "delivered" => !self.is_parted || !is_text_across(&told.text),
            _ => false,
        };
        if !may_follow {
            let (parted, before) = (if self.is_parted { "parted" } else { "whole" }, &told.state);
            return Err(format!("'{}' was {before} and is {state}, the network {parted}", told.text).into());
        }
        state.clone_into(&mut told.state);
        Ok(())
    }

    /// Lets everybody end, and looks into the profiles.
    fn finish(&mut self) -> Result<(), Failure> {
        for actor in &mut self.actors {
            if let Some(mut process) = actor.process.take() {
                process.end()?;
            }
        }
        for (number, name) in PEOPLE.into_iter().enumerate() {
            let builder =
                Config::builder(&self.actors[number].spec.directory).bind(([127, 0, 0, 1], 0).into());
            let client = Client::open(builder.user(name)?.build()?)?;
            for other in PEOPLE.into_iter().filter(|other| *other != name) {
                let entries = whole_history(&client, other)?;
                let is_late = |state| state != Some(MessageState::Delivered);
                if let Some(entry) = entries.iter().find(|entry| entry.is_own && is_late(entry.state)) {
                    return Err(format!("'{}' is {:?} although it arrived", entry.text, entry.state).into());
                }
                let received = entries.into_iter().filter(|entry| !entry.is_own).map(|entry| entry.text);
                self.ledger.check_history(other, name, &received.collect::<Vec<_>>())?;
            }
            client.shutdown();
        }
        Ok(())
    }
}

/// Returns on which side somebody is; neighbours in the order are on different ones.
fn side_of(number: usize) -> usize {
    number % SIDES
}

fn is_across(from: &str, to: &str) -> bool {
    let side = |name: &str| PEOPLE.iter().position(|other| *other == name).map(side_of);
    side(from) != side(to)
}

/// Tells whether a text of the ledger is from one side to the other.
fn is_text_across(text: &str) -> bool {
    let mut words = text.split(' ');
    words.next().zip(words.next()).is_some_and(|(from, to)| is_across(from, to))
}
