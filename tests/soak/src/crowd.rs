//! [`Crowd`]: people in one process, on real sockets and disks, who leave and come back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Config, Error, Event, FoundUser, MessageId, MessageState};
use tempfile::TempDir;

use crate::Failure;
use crate::kills::whole_history;
use crate::ledger::Ledger;

/// How long anything may take that is due.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How many nodes there are besides the people, for whoever joins.
const ANCHOR_COUNT: usize = 3;

/// How many people join at once.
const JOIN_AT_ONCE: usize = 10;

/// Where somebody comes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// At the address of before.
    Same,
    /// At another address.
    New,
}

/// People who write to one another and come and go.
#[derive(Debug)]
pub struct Crowd {
    directory: TempDir,
    anchors: Vec<Client>,
    members: Vec<Member>,
    ledger: Ledger,
    told: Receiver<(usize, Event)>,
    teller: Sender<(usize, Event)>,
}

#[derive(Debug)]
struct Member {
    name: String,
    address: SocketAddr,
    /// `None` while the person is away.
    online: Option<(Client, JoinHandle<()>)>,
    is_registered: bool,
    /// What was told last of each own message.
    states: std::collections::BTreeMap<MessageId, MessageState>,
}

impl Crowd {
    /// Lets `count` people join, ten at a time, and waits until every name is registered.
    ///
    /// # Errors
    ///
    /// The system refuses, or it takes too long.
    pub fn gather(count: usize) -> Result<Self, Failure> {
        let (teller, told) = channel();
        let mut crowd = Self {
            directory: tempfile::tempdir()?,
            anchors: Vec::new(),
            members: Vec::new(),
            ledger: Ledger::new(),
            told,
            teller,
        };
        for _ in 0..ANCHOR_COUNT {
            let anchor = Client::open(Config::in_memory().bind(loopback(0)).build()?)?;
            for other in &crowd.anchors {
                anchor.bootstrap(&other.local_address().to_string())?;
            }
            crowd.anchors.push(anchor);
        }
        for number in 0..count {
            crowd.members.push(Member {
                name: format!("user{number}"),
                address: loopback(0),
                online: None,
                is_registered: false,
                states: std::collections::BTreeMap::new(),
            });
            crowd.log_on(number, Place::New)?;
            if number % JOIN_AT_ONCE == JOIN_AT_ONCE - 1 {
                crowd.wait_until_registered()?;
            }
        }
        crowd.wait_until_registered()?;
        Ok(crowd)
    }

    fn wait_until_registered(&mut self) -> Result<(), Failure> {
        self.wait_until("all names are registered", |crowd| {
            crowd.members.iter().all(|member| member.is_registered)
        })
    }

    /// Returns what was written and shown.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns how many people there are, those who are away included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether there is nobody at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Tells whether a person is there.
    #[must_use]
    pub fn is_online(&self, number: usize) -> bool {
        self.members[number].online.is_some()
    }

    /// Returns where a person is, or was last.
    #[must_use]
    pub fn address(&self, number: usize) -> SocketAddr {
        self.members[number].address
    }

    /// Lets one who is there write to another, who need not be.
    ///
    /// # Errors
    ///
    /// The client refuses.
    pub fn send(&mut self, from: usize, to: usize) -> Result<MessageId, Failure> {
        let (client, to) = (self.client(from)?.clone(), self.members[to].name.clone());
        let text = self.ledger.write(&self.members[from].name, &to);
        let id = client.send_blocking(&to, &text)?;
        self.ledger.accept(&text)?;
        Ok(id)
    }

    /// Lets a person leave in an orderly way.
    ///
    /// # Errors
    ///
    /// Closing took too long, or what was told last is wrong.
    pub fn log_off(&mut self, number: usize) -> Result<(), Failure> {
        let Some((client, reader)) = self.members[number].online.take() else { return Ok(()) };
        let closed = crate::close(&client);
        let _ = reader.join();
        self.take_what_was_told()?;
        closed
    }

    /// Lets a person come back.
    ///
    /// # Errors
    ///
    /// The profile does not open, or the system refuses.
    pub fn log_on(&mut self, number: usize, place: Place) -> Result<(), Failure> {
        let member = &mut self.members[number];
        let config = |address| -> Result<Config, Failure> {
            let directory: PathBuf = self.directory.path().into();
            Ok(Config::builder(directory).bind(address).user(&member.name)?.build()?)
        };
        let old = member.address;
        let mut client = Client::open(config(if place == Place::Same { old } else { loopback(0) })?)?;
        if place == Place::New && client.local_address() == old {
            // While this one holds the port, another one cannot get it: but it is the same profile.
            client.shutdown();
            let _taken = std::net::UdpSocket::bind(old)?;
            client = Client::open(config(loopback(0))?)?;
        }
        member.address = client.local_address();
        for anchor in &self.anchors {
            client.bootstrap(&anchor.local_address().to_string())?;
        }
        self.ledger.start(&member.name);
        let (teller, reading) = (self.teller.clone(), client.clone());
        let reader = thread::spawn(move || read(number, &reading, &teller));
        member.online = Some((client, reader));
        Ok(())
    }

    /// Looks a person up from another's client, again while the directory is still being told.
    ///
    /// # Errors
    ///
    /// They are not found where they are, or were last, in time.
    pub fn find(&self, asker: usize, sought: usize) -> Result<FoundUser, Failure> {
        let (client, member) = (self.client(asker)?, &self.members[sought]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = client.lookup_wait(&member.name);
            match found {
                Ok(found) if found.addresses == [member.address] => return Ok(found),
                other if Instant::now() >= deadline => {
                    return Err(format!(
                        "{asker} looks for {sought}, who is at {}: {other:?}",
                        member.address
                    )
                    .into());
                }
                Ok(_) | Err(Error::UnknownRecipient | Error::TimedOut | Error::NameContested { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns what was told last of a message.
    #[must_use]
    pub fn state(&self, writer: usize, message: MessageId) -> Option<MessageState> {
        self.members[writer].states.get(&message).copied()
    }

    /// Returns how many nodes keep a message of somebody who is there; 0 if nobody does, or they cannot say.
    #[must_use]
    pub fn held_by(&self, writer: usize, message: MessageId) -> u32 {
        let client = self.members[writer].online.as_ref().map(|(client, _)| client);
        client.and_then(|client| client.message_holders(message).ok()).unwrap_or(0)
    }

    /// Returns how many nodes without a user there are, through which people join.
    #[must_use]
    pub fn anchor_count(&self) -> usize {
        self.anchors.len()
    }

    /// Lets all nodes without a user but one vanish for good.
    pub fn leave_one_anchor(&mut self) {
        self.anchors.truncate(1);
    }

    /// Waits until everything has been shown that one who is there wrote to another who is there; returns how long
    /// that took.
    ///
    /// # Errors
    ///
    /// It takes too long, or something is shown that should not be.
    pub fn wait_until_shown(&mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        self.wait_until("everything due is shown", |crowd| {
            let is_there = |name: &str| {
                crowd.members.iter().any(|member| member.name == name && member.online.is_some())
            };
            let is_due = |from: &str, to: &str| from != to && is_there(from) && is_there(to);
            crowd.ledger.waiting_count(is_due) == 0
        })?;
        Ok(began.elapsed())
    }

    /// Waits until something is so; it is asked after each event.
    ///
    /// # Errors
    ///
    /// It takes too long, or something is shown that should not be.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        self.take_what_was_told()?;
        while !is_so(self) {
            match self.told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((number, event)) => self.take(number, event)?,
                Err(_) => {
                    let waiting = self.ledger.waiting();
                    return Err(format!("not so after {PATIENCE:?}: {what}; waiting: {waiting:?}").into());
                }
            }
            self.take_what_was_told()?;
        }
        Ok(())
    }

    /// Compares the histories of everybody, who must be there, with what was written.
    ///
    /// # Errors
    ///
    /// Something is lost, doubled or out of order, or a message is not known to have arrived.
    pub fn check(&self) -> Result<(), Failure> {
        for (from, to) in self.ledger.pairs() {
            let number = |name: &str| self.members.iter().position(|member| member.name == name);
            let reader = number(to).ok_or("a stranger was written to")?;
            let entries = whole_history(self.client(reader)?, from)?;
            if from == to {
                // A note to oneself is in history once, and nobody is told of it.
                let is_there = entries.iter().all(|entry| entry.state == Some(MessageState::Delivered));
                if !is_there || entries.is_empty() {
                    return Err(format!("the notes of {from}: {entries:?}").into());
                }
                continue;
            }
            let received = entries.into_iter().filter(|entry| !entry.is_own).map(|entry| entry.text);
            self.ledger.check_history(from, to, &received.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn client(&self, number: usize) -> Result<&Client, Failure> {
        let member = &self.members[number];
        member
            .online
            .as_ref()
            .map(|(client, _)| client)
            .ok_or_else(|| format!("{} is away", member.name).into())
    }

    fn take_what_was_told(&mut self) -> Result<(), Failure> {
        while let Ok((number, event)) = self.told.try_recv() {
            self.take(number, event)?;
        }
        Ok(())
    }

    fn take(&mut self, number: usize, event: Event) -> Result<(), Failure> {
        let member = &mut self.members[number];
        match event {
            Event::Message(message) => {
                self.ledger.show(&member.name, &message.id.to_string(), &message.text)?;
            }
            Event::MessageState { id, state, .. } => {
                member.states.insert(id, state);
            }
            Event::Registered { .. } => member.is_registered = true,
            Event::RegistrationFailed { detail, .. } | Event::Closed { detail, .. } => {
                return Err(format!("{}: {detail}", member.name).into());
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let online = self.members.iter_mut().filter_map(|member| member.online.take());
        let online: Vec<_> = online.collect();
        online.iter().for_each(|(client, _)| client.close());
        for (client, reader) in online {
            client.shutdown();
            let _ = reader.join();
        }
    }
}

/// Passes on what a client tells until it is closed.
fn read(number: usize, client: &Client, teller: &Sender<(usize, Event)>) {
    loop {
        match client.poll(Duration::from_secs(60)) {
            Ok(Some(event)) => {
                // Without a crowd nobody listens.
                let _ = teller.send((number, event));
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
