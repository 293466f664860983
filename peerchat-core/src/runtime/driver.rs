//! [`Driver`]: the loop that feeds the engine and the carrier with what happens, and does what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::carriers::Carriers;
use super::command::{Command, DecideDone, SendDone};
use super::events::EventQueue;
use super::journal;
use super::socket::Socket;
use super::unsent::Unsent;
use crate::engine::{Engine, EngineCall, Outcome};
use crate::error::{Error, ErrorCode};
use crate::event::{CommandId, Event, MessageId, MessageState};
use crate::identity::Recipient;
use crate::kademlia::NodeId;
use crate::limits::Limits;
use crate::mail::WorkId;
use crate::save::{BatchId, Found, Read, ReadId};
use crate::storage::Store;
use crate::time::Now;
use crate::transport::{Call, TransportEvent};
use crate::user::{FoundUser, LookupError, received_event};
use crate::wire::{Encoded, Request, Response, WireError};

mod statistics;

/// Most datagrams taken from the socket before what they caused is sent.
const RECEIVE_BURST: usize = 64;

/// Most commands taken before what they caused is done.
const COMMAND_BURST: usize = 256;

/// How long what the application confirmed may wait for a batch that is written anyway.
const CONFIRM_DELAY: Duration = Duration::from_millis(100);

/// How long closing waits for the disk.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1200);

/// Most reads that another thread does in one go.
const MAX_READS_AT_ONCE: usize = 64;

/// Longest sleep: a deadline beyond it is looked at again then.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a driver is made of.
#[derive(Debug)]
pub(crate) struct DriverParts {
    pub(crate) engine: Engine,
    pub(crate) carrier: Carriers,
    pub(crate) socket: Socket,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Store,
    pub(crate) events: Arc<EventQueue>,
    /// Boxed: a channel has room for 32 of them from the start, in every node of a process.
    pub(crate) commands: mpsc::Receiver<Box<Command>>,
}

/// What another thread has done for the driver.
#[derive(Debug)]
enum Done {
    Written(BatchId, Result<(), Error>),
    Refilled(Result<(u64, Vec<(u64, Event)>), Error>),
    Read(Vec<(ReadId, Found)>),
    Worked(WorkId, Option<u64>),
}

/// Who is told that a message of our own is saved.
#[derive(Debug)]
enum Sent {
    /// Whoever waits for it.
    Caller(SendDone),
    /// The application, by an event with the name that it wrote to.
    Application(Recipient),
}

/// Runs one node.
#[derive(Debug)]
pub(crate) struct Driver {
    parts: DriverParts,
    done: mpsc::UnboundedReceiver<Box<Done>>,
    done_sender: mpsc::UnboundedSender<Box<Done>>,
    sends: BTreeMap<MessageId, Sent>,
    decisions: BTreeMap<CommandId, DecideDone>,
    lookups: BTreeMap<CommandId, oneshot::Sender<Result<FoundUser, LookupError>>>,
    unsent: Unsent,
    node: NodeId,
    /// Requests and responses that did not parse.
    dropped: u64,
    confirmed: u64,
    confirm_at: Option<Instant>,
    is_writing: bool,
    is_reading: bool,
    /// Work goes on as long as this is `true`.
    is_work_wanted: Arc<AtomicBool>,
}

/// Why the loop ends.
enum Stop {
    Closed,
    Failed(Error),
}

impl Driver {
    pub(crate) fn new(parts: DriverParts) -> Self {
        // Unbounded, but at most one batch, one refill, one lot of reads and one piece of work are under way.
        let (done_sender, done) = mpsc::unbounded_channel();
        let (node, confirmed) = (parts.engine.node_id(), parts.events.confirmed());
        let unsent = Unsent::new(parts.limits.unsent);
        Self {
            parts,
            done,
            done_sender,
            sends: BTreeMap::new(),
            decisions: BTreeMap::new(),
            lookups: BTreeMap::new(),
            unsent,
            node,
            dropped: 0,
            confirmed,
            confirm_at: None,
            is_writing: false,
            is_reading: false,
            is_work_wanted: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Runs until the client closes or the disk fails; then saves what can be saved.
    pub(crate) async fn run(mut self: Box<Self>) {
        tracing::info!(has_user = self.parts.engine.user_id().is_some(), "the node runs");
        let failure = match self.run_until_stopped().await {
            Stop::Closed => None,
            Stop::Failed(error) => {
                tracing::warn!(%error, "the node stops");
                Some(error)
            }
        };
        let told =
            failure.as_ref().map(|error| Event::Closed { code: error.code(), detail: error.to_string() });
        self.parts.events.close_after(told);
        self.is_work_wanted.store(false, Ordering::Relaxed);
        self.turn_away();
        self.save_the_rest().await;
        self.refuse_unsaved(failure.as_ref());
        let store = self.parts.store.clone();
        // Closing waits for the writer thread; what it answers is of no use any more.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!("the node has stopped");
    }

    async fn run_until_stopped(&mut self) -> Stop {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            let now = super::now();
            self.handle_due(now);
            self.drain(now);
            let deadline = self.next_deadline().unwrap_or(now.instant + LONGEST_SLEEP);
            sleep.as_mut().reset(deadline.min(now.instant + LONGEST_SLEEP).into());
            // In any order: whatever is always ready must not keep the rest waiting.
            let stop = tokio::select! {
                Some(done) = self.done.recv() => self.handle_done(*done),
                command = self.parts.commands.recv() => self.handle_commands(command),
                () = self.parts.events.taken() => self.handle_taken(),
                _ = self.parts.socket.writable(), if !self.unsent.is_empty() => None,
                _ = self.parts.socket.readable() => self.receive(),
                () = &mut sleep => None,
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let engine = self.parts.engine.poll_timeout().map(|(at, _)| at);
        let carrier = self.parts.carrier.poll_timeout().map(|(at, _)| at);
        [engine, carrier, self.confirm_at].into_iter().flatten().min()
    }

    fn handle_due(&mut self, now: Now) {
        let is_due = |deadline: Option<(Instant, &str)>| deadline.is_some_and(|(at, _)| at <= now.instant);
        if is_due(self.parts.carrier.poll_timeout()) {
            self.parts.carrier.handle_timeout(now);
        }
        if is_due(self.parts.engine.poll_timeout()) {
            self.parts.engine.handle_timeout(now);
        }
        if self.confirm_at.is_some_and(|at| at <= now.instant) {
            self.confirm();
        }
    }

    fn receive(&mut self) -> Option<Stop> {
        let mut buffer = [0; 2048];
        let now = super::now();
        for _ in 0..RECEIVE_BURST {
            let (len, from) = self.parts.socket.try_receive(&mut buffer)?;
            self.parts.carrier.handle_datagram(from, buffer.get(..len).unwrap_or_default(), now);
            self.drain_carrier(now);
        }
        None
    }

    fn handle_done(&mut self, done: Done) -> Option<Stop> {
        match done {
            Done::Written(_, Err(error)) | Done::Refilled(Err(error)) => return Some(Stop::Failed(error)),
            Done::Written(id, Ok(())) => {
                self.is_writing = false;
                self.parts.engine.handle_written(id, super::now());
            }
            Done::Refilled(Ok((read_to, messages))) => {
                self.parts.events.finish_refill(read_to, messages);
                self.refill();
            }
            Done::Worked(id, nonce) => self.parts.engine.handle_worked(id, nonce, super::now()),
            Done::Read(read) => {
                self.is_reading = false;
                let now = super::now();
                for (id, bytes) in read {
                    self.parts.engine.handle_read(id, bytes, now);
                }
            }
        }
        None
    }

    /// Takes a command, and those that wait behind it; `None` when nobody holds the client any more.
    fn handle_commands(&mut self, first: Option<Box<Command>>) -> Option<Stop> {
        let mut stop = self.handle_command(first.map_or(Command::Close, |command| *command));
        for _ in 1..COMMAND_BURST {
            if stop.is_some() {
                break;
            }
            let Ok(command) = self.parts.commands.try_recv() else { break };
            stop = self.handle_command(*command);
        }
        stop
    }

    fn handle_command(&mut self, command: Command) -> Option<Stop> {
        let now = super::now();
        match command {
            Command::Close => return Some(Stop::Closed),
            Command::Bootstrap { id, text, addresses, key } => match addresses {
                Ok(addresses) => self.parts.engine.bootstrap(id, text, addresses, key, now),
                Err(why) => {
                    let detail = format!("the host cannot be resolved ({why}); check the spelling");
                    let code = ErrorCode::Unreachable;
                    self.parts.events.push(Event::BootstrapFailed {
                        command: id,
                        address: text,
                        code,
                        detail,
                    });
                }
            },
            Command::Send { to, text, lifetime, done } => match self.take_text(&to, &text, lifetime, now) {
                Err(refused) => answer(done, Err(refused)),
                Ok(id) => _ = self.sends.insert(id, Sent::Caller(done)),
            },
            Command::Enqueue { to, text, taken } => {
                let outcome = self.take_text(&to, &text, None, now);
                if let Ok(id) = outcome {
                    self.sends.insert(id, Sent::Application(to));
                }
                answer(taken, outcome);
            }
            Command::Lookup { id, name, done } => {
                self.lookups.insert(id, done);
                self.parts.engine.lookup(id, name, now);
            }
            Command::Decide { id, decision, done } => match self.parts.engine.decide(id, decision, now) {
                Err(error) => answer(done, Err(error.into())),
                Ok(()) => {
                    self.decisions.insert(id, done);
                }
            },
            Command::SetTyping { to, is_typing, done } => {
                let set = self.parts.engine.set_typing(&to, is_typing, now);
                answer(done, set.map_err(Error::from));
            }
            Command::Statistics { done } => answer(done, self.statistics()),
        }
        None
    }

    fn take_text(
        &mut self,
        to: &Recipient,
        text: &str,
        lifetime: Option<Duration>,
        now: Now,
    ) -> Result<MessageId, Error> {
        let taken = self.parts.engine.send_text(to, text, lifetime, now).ok_or(Error::NoUser)?;
        Ok(taken?)
    }

    /// Tells that a message of our own is saved.
    fn tell_saved(&mut self, id: MessageId) {
        match self.sends.remove(&id) {
            Some(Sent::Caller(done)) => answer(done, Ok(id)),
            Some(Sent::Application(to)) => self.parts.events.push(Event::MessageState {
                id,
                to: to.to_string(),
                state: MessageState::Queued,
                held_by: 0,
                code: None,
                detail: String::new(),
            }),
            None => {}
        }
    }

    /// The application has taken an event: there may be something to confirm, or room for more.
    fn handle_taken(&mut self) -> Option<Stop> {
        if self.parts.events.confirmed() > self.confirmed {
            self.confirm_at.get_or_insert(super::now().instant + CONFIRM_DELAY);
        }
        self.refill();
        None
    }

    fn confirm(&mut self) {
        self.confirm_at = None;
        let confirmed = self.parts.events.take_confirmed();
        if confirmed > self.confirmed {
            self.confirmed = confirmed;
            self.parts.engine.confirm(confirmed);
        }
    }

    /// Reads messages from disk for which there was no room in memory.
    fn refill(&mut self) {
        let Some(from) = self.parts.events.start_refill() else { return };
        let (store, events, node) = (self.parts.store.clone(), self.parts.events.clone(), self.node);
        let (done, count) = (self.done_sender.clone(), self.parts.limits.event_messages);
        tokio::task::spawn_blocking(move || {
            let read = read_messages(&store, events.latest(), (from, count), node);
            // If the driver is gone, nobody waits for this.
            let _ = done.send(Box::new(Done::Refilled(read)));
        });
    }

    /// Reads from disk what the engine asks for.
    fn read(&mut self) {
        if self.is_reading {
            return;
        }
        let asked = std::iter::from_fn(|| self.parts.engine.poll_read()).take(MAX_READS_AT_ONCE);
        let asked: Vec<(ReadId, Read)> = asked.collect();
        if asked.is_empty() {
            return;
        }
        self.is_reading = true;
        let (store, done) = (self.parts.store.clone(), self.done_sender.clone());
        tokio::task::spawn_blocking(move || {
            let read = asked.into_iter().map(|(id, what)| (id, read(&store, what))).collect();
            // If the driver is gone, nobody waits for this.
            let _ = done.send(Box::new(Done::Read(read)));
        });
    }

    /// Does the work that the engine asks for, one piece at a time, where nobody waits for the thread.
    fn work(&mut self) {
        while let Some((id, work)) = self.parts.engine.poll_work() {
            let (done, is_wanted) = (self.done_sender.clone(), self.is_work_wanted.clone());
            tokio::task::spawn_blocking(move || {
                let nonce = work.search(|| is_wanted.load(Ordering::Relaxed));
                // If the driver is gone, nobody waits for this.
                let _ = done.send(Box::new(Done::Worked(id, nonce)));
            });
        }
    }

    /// Does everything that the machines ask for.
    fn drain(&mut self, now: Now) {
        self.drain_carrier(now);
        self.drain_engine(now);
        if !self.is_writing
            && let Some(at) = self.confirm_at
            && !self.parts.engine.is_saved()
        {
            // A batch is about to be written: let it take along what would need one of its own a little later.
            self.confirm_at = Some(at.min(now.instant));
            self.confirm();
        }
        if let Some(batch) = self.parts.engine.poll_write() {
            self.is_writing = true;
            let done = self.done_sender.clone();
            self.parts.store.write(batch, move |id, result| {
                // If the driver is gone, nobody waits for this.
                let _ = done.send(Box::new(Done::Written(id, result)));
            });
        }
        self.read();
        self.work();
        self.refill();
        self.flush();
    }

    fn drain_carrier(&mut self, now: Now) {
        while let Some(event) = self.parts.carrier.poll_event() {
            match event {
                TransportEvent::Request { token, from, is_proven, is_throwaway, kind, body } => {
                    match Request::decode(kind, &body) {
                        Ok(request) if is_throwaway => {
                            self.parts.engine.handle_throwaway_request(from, is_proven, token, request, now);
                        }
                        Ok(request) => self.parts.engine.handle_request(from, is_proven, token, request, now),
                        Err(WireError::UnknownKind) => self.reply(token, &Response::Unsupported, now),
                        Err(WireError::Malformed) => self.dropped += 1,
                    }
                }
                TransportEvent::Response { call, from, observed, kind, body, round_trip } => {
                    if let Ok(response) = Response::decode(kind, &body) {
                        self.parts.engine.handle_response(call, from, observed, response, round_trip, now);
                    } else {
                        self.dropped += 1;
                        self.parts.engine.handle_call_failed(call, now);
                    }
                }
                TransportEvent::CallFailed { call, .. } => self.parts.engine.handle_call_failed(call, now),
                TransportEvent::PeerProven { peer } => self.parts.engine.handle_proven(peer, now),
                TransportEvent::KeyFound { probe, key, .. } => {
                    self.parts.engine.handle_probed(probe, Some(key), now);
                }
                TransportEvent::ProbeFailed { probe } => self.parts.engine.handle_probed(probe, None, now),
            }
            self.drain_engine(now);
        }
    }

    fn reply(&mut self, to: crate::transport::ReplyToken, response: &Response, now: Now) {
        let encoded = response.encode();
        self.parts.carrier.reply(to, encoded.kind, encoded.body, now);
    }

    fn drain_engine(&mut self, now: Now) {
        while let Some(call) = self.parts.engine.poll_call() {
            let encoded = call.request.encode();
            let (is_early, is_fleeting) = (call.request.is_early(), call.request.is_fleeting());
            let is_bulk = matches!(call.request, Request::Chat(_)) && !is_fleeting;
            let EngineCall { id, to, throwaway, is_answer_long, .. } = call;
            let Encoded { kind, body } = encoded;
            let call = Call { id, to, kind, body, is_early, is_bulk, is_answer_long, is_fleeting };
            self.parts.carrier.call(call, throwaway, now);
        }
        while let Some(reply) = self.parts.engine.poll_reply() {
            self.reply(reply.to, &reply.response, now);
        }
        while let Some((probe, address)) = self.parts.engine.poll_probe() {
            self.parts.carrier.probe(probe, address, now);
        }
        // Before the events: that a message is saved is told before what else becomes of it.
        while let Some(outcome) = self.parts.engine.poll_outcome() {
            match outcome {
                Outcome::Saved(id) => self.tell_saved(id),
                Outcome::Decided(id) => {
                    if let Some(done) = self.decisions.remove(&id) {
                        answer(done, Ok(()));
                    }
                }
                Outcome::Found { command, result } => {
                    if let Some(done) = self.lookups.remove(&command) {
                        answer(done, result);
                    }
                }
            }
        }
        while let Some(event) = self.parts.engine.poll_event() {
            journal::note(&event);
            match &event {
                Event::Message(message) => {
                    let position = message.id.position(&self.node).unwrap_or_default();
                    self.parts.events.push_message(position, event);
                }
                _ => self.parts.events.push(event),
            }
        }
    }

    /// Sends what waits, as far as the kernel has room.
    fn flush(&mut self) {
        while let Some(transmit) = self.parts.carrier.poll_transmit() {
            if self.unsent.is_empty() && self.parts.socket.try_send(transmit.to, &transmit.bytes) {
                continue;
            }
            self.unsent.push(transmit);
        }
        self.unsent.flush(|transmit| self.parts.socket.try_send(transmit.to, &transmit.bytes));
    }

    /// Tells everybody who waits for something that will not happen any more, by dropping their senders.
    fn turn_away(&mut self) {
        self.parts.commands.close();
        while self.parts.commands.try_recv().is_ok() {}
        self.lookups.clear();
    }

    /// Answers whoever waits for the disk, so that they do not wait for it to close as well: what is not on it by now never
    /// will be.
    fn refuse_unsaved(&mut self, failure: Option<&Error>) {
        let why = || failure.cloned().unwrap_or(Error::Closed);
        for sent in std::mem::take(&mut self.sends).into_values() {
            if let Sent::Caller(done) = sent {
                answer(done, Err(why()));
            }
        }
        for done in std::mem::take(&mut self.decisions).into_values() {
            answer(done, Err(why()));
        }
    }

    /// Saves the routing table and what was confirmed, and waits a bounded time for the disk.
    async fn save_the_rest(&mut self) {
        self.parts.engine.save_routing();
        self.confirm();
        let deadline = tokio::time::sleep(CLOSE_TIMEOUT);
        tokio::pin!(deadline);
        loop {
            let now = super::now();
            self.drain(now);
            if self.parts.engine.is_saved() {
                return;
            }
            tokio::select! {
                () = &mut deadline => return,
                done = self.done.recv() => match done {
                    Some(done) => {
                        if self.handle_done(*done).is_some() {
                            return;
                        }
                    }
                    None => return,
                }
            }
        }
    }
}

/// Hands a result to whoever asked; if they have gone, nobody needs it.
fn answer<T>(to: oneshot::Sender<T>, result: T) {
    let _ = to.send(result);
}

/// Reads one thing. An envelope that cannot be read is as good as one that is not there: others may have it.
fn read(store: &Store, what: Read) -> Found {
    match what {
        Read::Mail { position } => Found::Mail(store.mail(position).unwrap_or_else(|error| {
            tracing::warn!(%error, position, "an envelope cannot be read");
            None
        })),
        Read::Delivered { conversation, after, up_to } => {
            let delivered = store.delivered(conversation, after, up_to);
            let delivered =
                delivered.inspect_err(|error| tracing::warn!(%error, "what was delivered cannot be read"));
            Found::Delivered(delivered.ok())
        }
    }
}

fn read_messages(
    store: &Store,
    latest: u64,
    (from, count): (u64, usize),
    node: NodeId,
) -> Result<(u64, Vec<(u64, Event)>), Error> {
    let rows = store.received_after(from, count)?;
    let is_all = rows.len() < count;
    let read_to = rows.last().map_or(from, |(message, _)| message.position);
    let mut messages = Vec::with_capacity(rows.len());
    for (message, conversation) in rows {
        let id = MessageId::new(&node, message.position);
        let from = (conversation.peer, conversation.relation.is_undecided());
        let event = conversation.user.and_then(|user| received_event(id, from, user, &message));
        messages.extend(event.map(|event| (message.position, event)));
    }
    Ok((if is_all { read_to.max(latest) } else { read_to }, messages))
}
