//! `peerchat chat`: a conversation, line by line.

mod greeting;
mod input;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use peerchat_core::{Client, Error, Event, MessageId, MessageState, ReceivedMessage, Timestamp, Verb};

use crate::args::{ChatArgs, ProfileArgs};
use crate::contacts;
use crate::fault::Fault;
use crate::feed::{Feed, Happening};
use crate::people;
use crate::screen;
use crate::session;

use greeting::Entry;
use input::Input;
pub(crate) use view::found;

/// How long the chat goes on at most, after its input ended, for what was sent to be delivered.
const END_OF_INPUT_GRACE: Duration = Duration::from_secs(10);

/// The same after `/quit`, when a person waits.
const QUIT_GRACE: Duration = Duration::from_secs(2);

/// How many messages `/history` and `/search` show.
const HISTORY_LEN: usize = 20;

/// Asks who the person is, lets them in, and chats until they leave.
pub(crate) fn run(args: &ChatArgs) -> Result<(), Fault> {
    let data_dir = session::data_dir(args.profile.data.as_deref())?;
    let mut feed = Feed::start()?;
    let Some(entry) = greeting::ask(args, &data_dir, &mut feed, &mut io::stdout())? else {
        return Ok(());
    };
    let profile = ProfileArgs { data: Some(data_dir), ..args.profile.clone() };
    let client =
        session::open_asking(&entry.name, &profile, &mut |prompt| greeting::ask_hidden(prompt, &mut feed))?;
    let mut chat = Chat {
        client: client.clone(),
        name: entry.name.to_string(),
        peer: None,
        unfinished: BTreeMap::new(),
        asked_about: BTreeSet::new(),
        types_to: None,
    };
    let outcome = match chat.welcome(entry, &mut feed) {
        Ok(ControlFlow::Continue(())) => {
            feed.follow(&client);
            chat.talk(&mut feed)
        }
        Ok(ControlFlow::Break(())) => Ok(()),
        Err(fault) => Err(fault),
    };
    feed.finish();
    session::shut_down(&client);
    outcome
}

struct Chat {
    client: Client,
    /// The user's own name.
    name: String,
    /// To whom plain lines go.
    peer: Option<String>,
    /// What was sent since the start and is neither delivered nor given up, with whom it is for.
    unfinished: BTreeMap<MessageId, String>,
    /// Whose requests were pointed out since the start.
    asked_about: BTreeSet<String>,
    /// Who was told that the person types to them.
    types_to: Option<String>,
}

impl Chat {
    /// Says what there is to know and joins; breaks if the person leaves when asked for a better address.
    fn welcome(&self, entry: Entry, feed: &mut Feed) -> Result<ControlFlow<()>, Fault> {
        let fingerprint = self.client.user_id().map(|user| user.fingerprint()).unwrap_or_default();
        let welcome = if entry.is_known { "welcome back" } else { "welcome" };
        print(&format!("* {welcome}, {}#{fingerprint}; /help says what to type", self.name))?;
        print(&view::own_address(&self.client.node_key().to_string(), self.client.local_address()))?;
        let Some(mut address) = entry.join else { return Ok(ControlFlow::Continue(())) };
        while let Err(error) = self.client.bootstrap(&address) {
            report(error)?;
            match greeting::ask_address(feed, &mut io::stdout())? {
                Some(better) => address = better,
                None => return Ok(ControlFlow::Break(())),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Acts on whatever happens until the person leaves, then waits a moment for what they sent last.
    fn talk(&mut self, feed: &mut Feed) -> Result<(), Fault> {
        // So that others see that something is being typed before it is done.
        let _keys = feed.take_keys();
        let grace = loop {
            // Without a deadline there is always a next one.
            let Some(happening) = feed.next(None) else { continue };
            if let ControlFlow::Break(grace) = self.handle(happening)? {
                break grace;
            }
        };
        self.leave(feed, Instant::now() + grace)
    }

    /// Breaks with how long to wait for deliveries when the person leaves.
    fn handle(&mut self, happening: Happening) -> Result<ControlFlow<Duration>, Fault> {
        match happening {
            Happening::Event(event) => self.tell(&event)?,
            Happening::Gone(error) => return Err(error.into()),
            Happening::Line(line) => {
                let obeyed = self.obey(&Input::parse(&line));
                self.note_typed(None);
                return obeyed;
            }
            Happening::Typed(line) => {
                let to = self.recipient_of(&Input::parse(&line)).map(str::to_owned);
                self.note_typed(to);
            }
            Happening::NotText => print("* that line is not UTF-8 text; it was not sent")?,
            Happening::EndOfInput => return Ok(ControlFlow::Break(END_OF_INPUT_GRACE)),
            Happening::Stop => return Ok(ControlFlow::Break(Duration::ZERO)),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Goes on until everything sent is delivered or given up, and says what is not.
    fn leave(&mut self, feed: &mut Feed, deadline: Instant) -> Result<(), Fault> {
        while !self.unfinished.is_empty() {
            match feed.next(Some(deadline)) {
                Some(Happening::Event(event)) => self.tell(&event)?,
                Some(Happening::Gone(error)) => return Err(error.into()),
                Some(Happening::Stop) | None => break,
                Some(
                    Happening::Line(_) | Happening::Typed(_) | Happening::NotText | Happening::EndOfInput,
                ) => {}
            }
        }
        let mut queued = BTreeMap::<&str, u64>::new();
        for to in self.unfinished.values() {
            *queued.entry(to).or_default() += 1;
        }
        for (to, count) in queued {
            let messages = view::counted(count, "message");
            print(&format!("* {messages} to {to} still queued; sent the next time you are here"))?;
        }
        Ok(())
    }

    fn tell(&mut self, event: &Event) -> Result<(), Fault> {
        if let Some(line) = view::event(event) {
            print(&line)?;
        }
        match event {
            Event::Message(message) => self.note_shown(message),
            Event::MessageState { id, state, .. } => {
                if !matches!(state, MessageState::Queued | MessageState::Stored) {
                    self.unfinished.remove(id);
                }
                Ok(())
            }
            Event::Closed { detail, .. } => Err(Fault::told("the node stopped", detail)),
            _ => Ok(()),
        }
    }

    /// Marks a message that was just shown as read, and says what to do about somebody new.
    fn note_shown(&mut self, message: &ReceivedMessage) -> Result<(), Fault> {
        if let Err(error) = self.client.mark_read_blocking(message.id) {
            report(error)?;
        }
        let from = &message.from;
        if message.is_request && self.asked_about.insert(from.clone()) {
            print(&format!("* {from} is new here: /accept {from}, or /block {from}; an answer accepts"))?;
        }
        if self.peer.is_none() { self.turn_to(from) } else { Ok(()) }
    }

    fn obey(&mut self, input: &Input<'_>) -> Result<ControlFlow<Duration>, Fault> {
        match *input {
            Input::Nothing => {}
            Input::Text(text) => match self.peer.clone() {
                Some(peer) => self.send(&peer, text)?,
                None => print("* to whom? write @name and then the text")?,
            },
            Input::To { name, text: None } => self.turn_to(name)?,
            Input::To { name, text: Some(text) } => {
                self.peer = Some(name.to_owned());
                self.send(name, text)?;
            }
            Input::Help => print(view::HELP)?,
            Input::Who => self.show_network()?,
            Input::History(name) => self.show_history(name)?,
            Input::Search(words) => self.show_found(words)?,
            Input::Whois(name) => self.show_identity(name)?,
            Input::Verify { name, is_verified } => self.verify(name, is_verified)?,
            Input::Accept(name) => self.accept(name)?,
            Input::Contacts => self.show_contacts()?,
            Input::Relate(name, verb) => self.relate(name, verb)?,
            Input::Bootstrap(address) => self.bootstrap(address)?,
            Input::Quit => return Ok(ControlFlow::Break(QUIT_GRACE)),
            Input::Wrong(expected) => print(&format!("* {expected}"))?,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns whom a line that is being typed is for, `None` if it is for nobody yet.
    fn recipient_of<'a>(&'a self, input: &Input<'a>) -> Option<&'a str> {
        match *input {
            Input::Text(_) => self.peer.as_deref(),
            Input::To { name, text: Some(_) } => Some(name),
            _ => None,
        }
    }

    /// Lets whom a line is for know that it is being typed, and whom it was for that it is not any more.
    fn note_typed(&mut self, to: Option<String>) {
        let before = std::mem::replace(&mut self.types_to, to);
        let (before, to) = (before.as_deref(), self.types_to.as_deref());
        // Somebody who is not known yet, or a client that has closed, is told of once the line is done.
        if let Some(before) = before.filter(|_| before != to) {
            let _ = self.client.set_typing_blocking(before, false);
        }
        if let Some(to) = to {
            let _ = self.client.set_typing_blocking(to, true);
        }
    }

    fn turn_to(&mut self, name: &str) -> Result<(), Fault> {
        self.peer = Some(name.to_owned());
        print(&format!("* plain lines now go to {name}"))
    }

    fn send(&mut self, to: &str, text: &str) -> Result<(), Fault> {
        match self.client.send_blocking(to, text) {
            Ok(id) => {
                self.unfinished.insert(id, to.to_owned());
                Ok(())
            }
            Err(error) => report(error),
        }
    }

    fn bootstrap(&self, address: &str) -> Result<(), Fault> {
        self.client.bootstrap(address).map(drop).or_else(report)
    }

    fn show_network(&self) -> Result<(), Fault> {
        match self.client.statistics() {
            Ok(statistics) => print(&view::statistics(&statistics)),
            Err(error) => report(error),
        }
    }

    fn show_identity(&self, name: Option<&str>) -> Result<(), Fault> {
        let Some(peer) = name.or(self.peer.as_deref()) else {
            return print("* who? write /whois name");
        };
        let identity = self.client.identity(peer);
        match identity.and_then(|identity| Ok(view::identity(&identity, &self.client.safety_number(peer)?))) {
            Ok(text) => print(&text),
            Err(error) => report(error),
        }
    }

    fn verify(&self, name: Option<&str>, is_verified: bool) -> Result<(), Fault> {
        let Some(peer) = name.or(self.peer.as_deref()) else {
            return print("* whom? write /verify name");
        };
        match self.client.set_verified_blocking(peer, is_verified) {
            Ok(()) => print(&format!(
                "* {peer} is marked as {}",
                if is_verified { "verified" } else { "not verified" }
            )),
            Err(error) => report(error),
        }
    }

    fn accept(&self, who: &str) -> Result<(), Fault> {
        match people::accept_who(&self.client, who) {
            Ok(outcome) => print(&format!("* {outcome}")),
            Err(error) => report(error),
        }
    }

    fn show_contacts(&self) -> Result<(), Fault> {
        match self.client.contacts() {
            Ok(people) if people.is_empty() => print("* nobody yet; who is written to is a contact"),
            Ok(people) => {
                people.iter().try_for_each(|person| print(&format!("* {}", contacts::line(person))))
            }
            Err(error) => report(error),
        }
    }

    fn relate(&self, who: &str, verb: Verb) -> Result<(), Fault> {
        let outcome = match verb {
            Verb::Add | Verb::Accept => "is a contact now",
            Verb::Block => "is blocked: nothing of theirs is taken",
            Verb::Unblock => "is not blocked; their next message makes a request",
            Verb::Remove => "is no contact; their next message makes a request",
        };
        match self.client.relate_blocking(who, verb) {
            Ok(()) => print(&format!("* {who} {outcome}")),
            Err(error) => report(error),
        }
    }

    fn show_history(&self, name: Option<&str>) -> Result<(), Fault> {
        let Some(peer) = name.or(self.peer.as_deref()) else {
            return print("* with whom? write /history name");
        };
        let entries = match self.client.history(peer, None, HISTORY_LEN) {
            Ok(entries) => entries,
            Err(error) => return report(error),
        };
        if entries.is_empty() {
            return print(&format!("* nothing was said with {peer} yet"));
        }
        let now = now();
        entries.iter().rev().try_for_each(|entry| print(&view::history_entry(entry, &self.name, now)))
    }

    fn show_found(&self, words: &str) -> Result<(), Fault> {
        let entries = match self.client.search(words, None, None, HISTORY_LEN) {
            Ok(entries) => entries,
            Err(error) => return report(error),
        };
        if entries.is_empty() {
            return print("* no message has these words");
        }
        let now = now();
        entries.iter().rev().try_for_each(|entry| print(&view::found(entry, &self.name, now)))
    }
}

/// Tells the person what a command failed with; a client that is closed ends the chat.
fn report(error: Error) -> Result<(), Fault> {
    match error {
        Error::Closed => Err(error.into()),
        _ => print(&format!("* {}", Fault::from(error))),
    }
}

fn print(line: &str) -> Result<(), Fault> {
    Ok(screen::print(line)?)
}

/// Returns the time, to say how long ago something was.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
