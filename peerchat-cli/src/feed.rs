//! [`Feed`]: everything that can happen to a chat, from three threads, as one queue for its loop.

use std::io::{self, BufRead as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Error, Event};
use signal_hook::iterator::Signals;

use crate::fault::Fault;
use crate::passphrase::ENDING_SIGNALS;
use crate::session;

/// How many happenings wait for the loop at most; after that the threads wait with theirs.
const QUEUE_LIMIT: usize = 64;

/// Something the loop acts on.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The client told something.
    Event(Event),
    /// The client stopped telling.
    Gone(Error),
    /// A line was typed, without its end.
    Line(String),
    /// A line came that is not UTF-8.
    NotText,
    /// The standard input ended.
    EndOfInput,
    /// A signal asks to leave.
    Stop,
}

/// What the loop tells the thread that waits for events.
enum Taken {
    /// The event is dealt with; bring the next.
    Next,
    /// The event is dealt with and was the last.
    Last,
}

/// One queue of happenings.
///
/// Asking for the next happening says that the last one is dealt with: only then is an event confirmed to the
/// client, so that a message is told again, not lost, if the program dies before it was shown.
pub(crate) struct Feed {
    happenings: Receiver<Happening>,
    sender: SyncSender<Happening>,
    pump: Option<Pump>,
    /// Whether the last happening was an event, which its thread waits to have taken.
    holds_event: bool,
}

struct Pump {
    taken: SyncSender<Taken>,
    thread: JoinHandle<()>,
}

impl Feed {
    /// Starts with the standard input and the signals; events come in once there is a client.
    pub(crate) fn start() -> Result<Self, Fault> {
        let (sender, happenings) = sync_channel(QUEUE_LIMIT);
        let signals = Signals::new(ENDING_SIGNALS).map_err(session::no_signals)?;
        let (lines, stops) = (sender.clone(), sender.clone());
        thread::spawn(move || read_lines(&lines));
        thread::spawn(move || forward_signals(signals, &stops));
        Ok(Self { happenings, sender, pump: None, holds_event: false })
    }

    /// Takes in the client's events from now on.
    pub(crate) fn follow(&mut self, client: &Client) {
        let (taken, taken_events) = sync_channel(1);
        let (client, happenings) = (client.clone(), self.sender.clone());
        let thread = thread::spawn(move || pump_events(&client, &happenings, &taken_events));
        self.pump = Some(Pump { taken, thread });
    }

    /// Waits for the next happening; `None` if there was none before `deadline`.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<Happening> {
        self.release(Taken::Next);
        let wait = deadline.map_or(session::LONG_WAIT, |at| at.saturating_duration_since(Instant::now()));
        let happening = loop {
            match self.happenings.recv_timeout(wait) {
                Ok(happening) => break happening,
                Err(RecvTimeoutError::Timeout) if deadline.is_none() => {}
                // This feed holds a sender itself, so the queue cannot be disconnected.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        };
        self.holds_event = matches!(happening, Happening::Event(_));
        Some(happening)
    }

    /// Confirms the last event and takes in no more.
    pub(crate) fn finish(mut self) {
        let is_pump_idle = self.holds_event;
        self.release(Taken::Last);
        // A thread that is waiting for events has nothing to confirm, and ends when the client closes.
        if let Some(pump) = self.pump.take().filter(|_| is_pump_idle) {
            // It confirms and ends; had it panicked, the event would be told again.
            let _ = pump.thread.join();
        }
    }

    fn release(&mut self, taken: Taken) {
        if let Some(pump) = self.pump.as_ref().filter(|_| self.holds_event) {
            // A thread that has ended needs no answer.
            let _ = pump.taken.send(taken);
        }
        self.holds_event = false;
    }
}

/// Hands over one event at a time, and asks for the next when the last is dealt with.
fn pump_events(client: &Client, happenings: &SyncSender<Happening>, taken: &Receiver<Taken>) {
    loop {
        let event = match client.poll(session::LONG_WAIT) {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(error) => {
                let _ = happenings.send(Happening::Gone(error));
                return;
            }
        };
        if happenings.send(Happening::Event(event)).is_err() {
            return;
        }
        match taken.recv() {
            Ok(Taken::Next) => {}
            Ok(Taken::Last) => {
                // Confirms the last event; whatever this returns is not confirmed and will be told again.
                let _ = client.poll(Duration::ZERO);
                return;
            }
            Err(_) => return,
        }
    }
}

fn read_lines(happenings: &SyncSender<Happening>) {
    for line in io::stdin().lock().split(b'\n') {
        let Ok(mut line) = line else { break };
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let happening = String::from_utf8(line).map_or(Happening::NotText, Happening::Line);
        if happenings.send(happening).is_err() {
            return;
        }
    }
    let _ = happenings.send(Happening::EndOfInput);
}

fn forward_signals(mut signals: Signals, happenings: &SyncSender<Happening>) {
    for _ in signals.forever() {
        if happenings.send(Happening::Stop).is_err() {
            return;
        }
    }
}
