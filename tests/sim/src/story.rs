//! [`Story`]: what may happen to people, their nodes and the network between them, at random, and a naive model of what
//! each of them must see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peerchat_core::event::{Event, MessageId, MessageState};
use peerchat_core::identity::Recipient;
use peerchat_core::save::{SavedMessage, StreamId};
use peerchat_core::time::Timestamp;
use peerchat_core::user::{ContentKind, Decision, DecisionError, Verb};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::{Host, Network};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How many people there are.
const PEOPLE: usize = 5;

/// How many nodes without a user there are beside the one that never leaves.
const PASSERS: usize = 6;

/// After how long in peace everything must have ended.
const PEACE: Duration = Duration::from_secs(6 * 3600);

/// How a story went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tale {
    /// How many steps there were.
    pub steps: usize,
    /// How often a node was stopped, killed or lost.
    pub interruptions: usize,
    /// How many messages were sent.
    pub sent: usize,
    /// How many of them arrived.
    pub arrived: usize,
    /// How many were given up: cancelled, expired, or refused by somebody who had blocked the writer.
    pub given_up: usize,
}

/// A message that its writer was told is on disk.
#[derive(Debug)]
struct Sent {
    id: MessageId,
    from: usize,
    to: usize,
    text: String,
    expires: Timestamp,
    is_canceled: bool,
}

/// People who write, read, cancel, block, leave, crash and come back from elsewhere or on another machine; holders of their mail
/// that leave, return and vanish; partitions and loss. The same seed makes the same story.
#[derive(Debug)]
pub struct Story {
    seed: u64,
    rng: ChaCha20Rng,
    net: Network,
    rock: Host,
    people: Vec<Host>,
    passers: Vec<Host>,
    sent: Vec<Sent>,
    /// Texts that were lost before they were on disk: nobody may ever see them.
    lost: BTreeSet<String>,
    /// Whom each has blocked now, and how many texts of theirs had arrived by then.
    blocked: BTreeMap<(usize, usize), usize>,
    /// Writer and reader between whom there was a block once, whoever made it.
    fell_out: BTreeSet<(usize, usize)>,
    /// How many texts of whom each has marked as read.
    read: BTreeMap<(usize, usize), usize>,
    last_text: usize,
    tale: Tale,
}

impl Story {
    /// Tells the story of a seed and returns how it went.
    ///
    /// # Panics
    ///
    /// Somebody has seen what they must not, or has not seen what they must; seed and step are printed.
    #[must_use]
    pub fn tell(seed: u64, steps: usize) -> Tale {
        let mut story = Self::begin(seed);
        for _ in 0..steps {
            story.tale.steps += 1;
            story.step();
            let pause = story.pause();
            story.net.run_for(pause);
            story.check();
        }
        story.end()
    }

    fn begin(seed: u64) -> Self {
        let mut net = Network::with_seed(seed);
        let rock = net.add(None);
        let join = |net: &mut Network, name: Option<&str>| {
            let host = net.add(name);
            net.bootstrap(host, rock);
            host
        };
        let passers = (0..PASSERS).map(|_| join(&mut net, None)).collect();
        let people = (0..PEOPLE).map(|number| join(&mut net, Some(&name(number)))).collect();
        net.run_for(5 * MINUTE);
        Self {
            seed,
            rng: ChaCha20Rng::seed_from_u64(seed),
            net,
            rock,
            people,
            passers,
            sent: Vec::new(),
            lost: BTreeSet::new(),
            blocked: BTreeMap::new(),
            fell_out: BTreeSet::new(),
            read: BTreeMap::new(),
            last_text: 0,
            tale: Tale::default(),
        }
    }

    /// From a tenth of a second to twenty minutes, and rarely half a day.
    fn pause(&mut self) -> Duration {
        if self.rng.random_bool(0.02) {
            return 12 * HOUR;
        }
        Duration::from_millis(100).mul_f64(12_000_f64.powf(self.rng.random_range(0.0..1.0)))
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..34 => self.write(),
            34..40 => self.cancel(),
            40..43 => self.block(),
            43..46 => self.unblock(),
            46..50 => self.accept(),
            50..56 => self.mark_read(),
            56..68 => self.leave(),
            68..84 => self.come_back(),
            84..87 => self.vanish(),
            87..91 => self.cut(),
            91..95 => self.net.heal(),
            95..99 => self.weather(),
            _ => self.relocate(),
        }
    }

    /// Two different people.
    fn pair(&mut self) -> (usize, usize) {
        let from = self.rng.random_range(0..PEOPLE);
        (from, (from + self.rng.random_range(1..PEOPLE)) % PEOPLE)
    }

    fn write(&mut self) {
        let (from, to) = self.pair();
        let host = self.people[from];
        if !self.net.is_up(host) || self.blocked.contains_key(&(from, to)) {
            return;
        }
        for _ in 0..self.rng.random_range(1..4) {
            let lifetime =
                self.rng.random_bool(0.1).then(|| Duration::from_secs(self.rng.random_range(1..4000)));
            self.last_text += 1;
            let text = format!("{from} to {to}: {}", self.last_text);
            let expires = self.net.now().wall.saturating_add(lifetime.unwrap_or(30 * 24 * HOUR));
            let sent = |id| Sent { id, from, to, text: text.clone(), expires, is_canceled: false };
            if self.rng.random_bool(0.05) {
                // The power goes before the text is on disk, or just after.
                let id = self.net.begin_send(host, &name(to), &text, lifetime);
                self.net.run_for(Duration::from_micros(self.rng.random_range(0..600)));
                self.net.kill(host);
                self.tale.interruptions += 1;
                let is_kept = self.net.disk(host).messages().iter().any(|kept| kept.body == text.as_bytes());
                if is_kept {
                    self.sent.push(sent(id));
                } else {
                    self.lost.insert(text);
                }
                return;
            }
            let id = self.net.send_for(host, &name(to), &text, lifetime);
            self.sent.push(sent(id));
        }
    }

    fn cancel(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        // Mostly one of the last, which may not have arrived.
        let back = self.rng.random_range(0..self.sent.len().min(8));
        let at = self.sent.len() - 1 - back;
        let (id, host) = (self.sent[at].id, self.people[self.sent[at].from]);
        if !self.net.is_up(host) {
            return;
        }
        let before = self.state(&self.sent[at]);
        let position = id.position(&self.net.key(host).node_id()).expect("it is of this profile");
        match self.net.decide(host, Decision::Cancel { position }) {
            Ok(()) => {
                self.sent[at].is_canceled = true;
                assert_eq!(self.state(&self.sent[at]), MessageState::Canceled, "what was cancelled is");
            }
            Err(DecisionError::Ended) => assert!(is_final(before), "{before:?} can be cancelled"),
            Err(other) => panic!("a message cannot be cancelled: {other}"),
        }
    }

    fn relate(&mut self, who: usize, whom: usize, verb: Verb) -> bool {
        let host = self.people[who];
        let whom = Recipient::parse(&name(whom)).expect("it is a name");
        self.net.is_up(host) && self.net.decide(host, Decision::Relate { who: whom, verb }).is_ok()
    }

    fn block(&mut self) {
        let (who, whom) = self.pair();
        if self.relate(who, whom, Verb::Block) {
            self.blocked.insert((who, whom), self.seen(whom, who).len());
            self.fell_out.extend([(who, whom), (whom, who)]);
        }
    }

    fn unblock(&mut self) {
        let Some((who, whom)) = self.blocked.keys().next().copied() else { return };
        if self.relate(who, whom, Verb::Unblock) {
            self.blocked.remove(&(who, whom));
        }
    }

    fn accept(&mut self) {
        let (who, whom) = self.pair();
        self.relate(who, whom, Verb::Accept);
    }

    fn mark_read(&mut self) {
        let (from, to) = self.pair();
        let host = self.people[to];
        let is_of_them = |message: &&SavedMessage| is_received_from(message, from, to);
        let last = self.net.disk(host).messages().iter().rfind(is_of_them);
        let Some((conversation, stream, number)) =
            last.and_then(|last| Some((last.conversation, last.stream, last.number?)))
        else {
            return;
        };
        if self.net.is_up(host)
            && self.net.decide(host, Decision::MarkRead { conversation, stream, number }).is_ok()
        {
            let count = self.seen(from, to).len();
            self.read.insert((from, to), count);
        }
    }

    /// Anybody but the rock.
    fn anybody(&mut self) -> Host {
        let at = self.rng.random_range(0..self.people.len() + self.passers.len());
        self.people.iter().chain(&self.passers).nth(at).copied().unwrap_or(self.rock)
    }

    fn leave(&mut self) {
        let host = self.anybody();
        if self.net.is_up(host) {
            self.tale.interruptions += 1;
            if self.rng.random_bool(0.5) { self.net.stop(host) } else { self.net.kill(host) }
        }
    }

    fn come_back(&mut self) {
        let all = self.people.iter().chain(&self.passers);
        let away: Vec<Host> = all.copied().filter(|host| !self.net.is_up(*host)).collect();
        if away.is_empty() {
            return;
        }
        let host = away[self.rng.random_range(0..away.len())];
        if self.rng.random_bool(0.4) {
            self.net.move_away(host);
        }
        self.net.start(host);
    }

    /// A person goes on from another machine, with what an archive has brought there, if there is a way in.
    fn relocate(&mut self) {
        let host = self.people[self.rng.random_range(0..PEOPLE)];
        if !self.net.is_up(host) {
            return;
        }
        self.tale.interruptions += 1;
        self.net.stop(host);
        let moved = self.net.back_up(host).moved();
        self.net.restore(host, moved);
        self.net.move_away(host);
        self.net.heal();
        self.net.link_mut().loss = 0.0;
        self.net.start(host);
        self.net.bootstrap(host, self.rock);
    }

    /// A holder is lost with its disk; somebody new comes if there is a way in.
    fn vanish(&mut self) {
        let at = self.rng.random_range(0..self.passers.len());
        self.net.kill(self.passers[at]);
        self.tale.interruptions += 1;
        self.net.heal();
        self.net.link_mut().loss = 0.0;
        let newcomer = self.net.add(None);
        self.net.bootstrap(newcomer, self.rock);
        self.passers[at] = newcomer;
    }

    fn cut(&mut self) {
        let all: Vec<Host> = self.people.iter().chain(&self.passers).copied().collect();
        let side: Vec<Host> = all.into_iter().filter(|_| self.rng.random_bool(0.4)).collect();
        self.net.cut_off(&side);
    }

    fn weather(&mut self) {
        let draw = |rng: &mut ChaCha20Rng, most| rng.random_range(0.0..most);
        let (loss, duplication, reordering) =
            (draw(&mut self.rng, 0.25), draw(&mut self.rng, 0.1), draw(&mut self.rng, 0.2));
        let link = self.net.link_mut();
        (link.loss, link.duplication, link.reordering) = (loss, duplication, reordering);
    }

    /// Returns the texts that one has of another, in the order in which they came.
    fn seen(&self, from: usize, to: usize) -> Vec<String> {
        let received = self.net.disk(self.people[to]).messages().iter();
        let texts = received.filter(|message| is_received_from(message, from, to));
        texts.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }

    /// Returns how far a message has come, as its writer's disk has it.
    fn state(&self, sent: &Sent) -> MessageState {
        let host = self.people[sent.from];
        let position = sent.id.position(&self.net.key(host).node_id());
        let found = self.net.disk(host).messages().iter().find(|kept| Some(kept.position) == position);
        found.and_then(|message| message.state).expect("what was acknowledged is on disk")
    }

    /// Checks what must hold at any time.
    fn check(&self) {
        for from in 0..PEOPLE {
            for to in (0..PEOPLE).filter(|to| *to != from) {
                let seen = self.seen(from, to);
                let mut written =
                    self.sent.iter().filter(|sent| (sent.from, sent.to) == (from, to)).map(|sent| &sent.text);
                for text in &seen {
                    assert!(!self.lost.contains(text), "'{text}' was lost before it was on disk");
                    assert!(
                        written.any(|other| other == text),
                        "'{text}' came twice, too late, or from nowhere"
                    );
                }
                if let Some(count) = self.blocked.get(&(to, from)) {
                    assert_eq!(seen.len(), *count, "{to} has blocked {from}");
                }
            }
        }
        let told = self.told();
        for sent in &self.sent {
            self.check_states(sent, told.get(&(sent.from, sent.id)).map_or(&[], Vec::as_slice));
        }
    }

    /// Returns every state that was told, by whom it was told to and by message.
    fn told(&self) -> BTreeMap<(usize, MessageId), Vec<MessageState>> {
        let mut told: BTreeMap<(usize, MessageId), Vec<MessageState>> = BTreeMap::new();
        for (who, host) in self.people.iter().enumerate() {
            for event in self.net.events(*host) {
                if let Event::MessageState { id, state, .. } = event {
                    told.entry((who, *id)).or_default().push(*state);
                }
            }
        }
        told
    }

    fn check_states(&self, sent: &Sent, told: &[MessageState]) {
        let text = &sent.text;
        for pair in told.windows(2) {
            let is_forward = match (pair[0], pair[1]) {
                (MessageState::Queued | MessageState::Stored, _)
                | (MessageState::Delivered, MessageState::Read) => pair[1] != MessageState::Queued,
                _ => false,
            };
            assert!(is_forward, "'{text}' went from {:?} to {:?}", pair[0], pair[1]);
        }
        let state = self.state(sent);
        // What is on disk may not be told yet, but not the other way round.
        if let Some(last) = told.last().filter(|last| is_final(**last)) {
            assert!(
                state == *last || state == MessageState::Read,
                "'{text}' is {state:?}, but {last:?} was told"
            );
        }
        match state {
            MessageState::Delivered => assert!(self.has(sent), "'{text}' is delivered, and not there"),
            MessageState::Read => {
                let read = self.read.get(&(sent.from, sent.to)).copied().unwrap_or(0);
                let place = self.seen(sent.from, sent.to).iter().position(|seen| seen == text);
                assert!(place.is_some_and(|place| place < read), "'{text}' is read, which nobody has said");
            }
            MessageState::Canceled => {
                let is_meant = sent.is_canceled || self.fell_out.contains(&(sent.from, sent.to));
                assert!(is_meant, "'{text}' is cancelled, which nobody has asked for");
            }
            MessageState::Expired => {
                assert!(self.net.now().wall >= sent.expires, "'{text}' has expired too early");
            }
            MessageState::Failed => {
                assert!(self.fell_out.contains(&(sent.from, sent.to)), "'{text}' failed for no reason");
            }
            _ => {}
        }
    }

    fn has(&self, sent: &Sent) -> bool {
        self.seen(sent.from, sent.to).contains(&sent.text)
    }

    /// Everybody comes back, nothing is lost any more, and everything ends well.
    fn end(mut self) -> Tale {
        self.net.heal();
        let link = self.net.link_mut();
        (link.loss, link.duplication, link.reordering) = (0.0, 0.0, 0.0);
        let all: Vec<Host> = self.people.iter().chain(&self.passers).copied().collect();
        for host in all {
            if !self.net.is_up(host) {
                self.net.start(host);
            }
            self.net.bootstrap(host, self.rock);
        }
        self.net.run_for(PEACE);
        self.check();
        let mut tale = Tale { sent: self.sent.len(), ..self.tale };
        for sent in &self.sent {
            let state = self.state(sent);
            assert!(is_final(state), "'{}' is {state:?} in the end", sent.text);
            let is_given_up = !matches!(state, MessageState::Delivered | MessageState::Read);
            tale.arrived += usize::from(self.has(sent));
            tale.given_up += usize::from(is_given_up);
        }
        for host in &self.people {
            let owed = self.net.engine(*host).map_or(0, |engine| engine.outbox_count());
            assert_eq!(owed, 0, "{host:?} still owes something in the end");
        }
        tale
    }
}

/// A story that fails says how to hear it again.
impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("story failed: seed {}, step {}", self.seed, self.tale.steps);
        }
    }
}

fn name(number: usize) -> String {
    format!("person{number}")
}

fn is_received_from(message: &SavedMessage, from: usize, to: usize) -> bool {
    message.stream != StreamId::OWN
        && message.kind == ContentKind::TEXT.0
        && message.body.starts_with(format!("{from} to {to}: ").as_bytes())
}

fn is_final(state: MessageState) -> bool {
    !matches!(state, MessageState::Queued | MessageState::Stored)
}
