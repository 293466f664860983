//! [`Feed`]: everything that can happen to a chat, from three threads, as one queue for its loop.

use std::io::{self, BufRead as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Error, Event};
use signal_hook::iterator::Signals;

use crate::editor::{Editor, Key, KeyByKey};
use crate::fault::Fault;
use crate::passphrase::ENDING_SIGNALS;
use crate::screen;
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
    /// A key was typed that changed the line, which is so far this. Only while [`Feed::take_keys`] holds.
    Typed(String),
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
    /// Whether the terminal hands over key by key.
    by_key: Arc<AtomicBool>,
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
        let by_key = Arc::new(AtomicBool::new(false));
        let reads_keys = by_key.clone();
        thread::spawn(move || read_input(&lines, &reads_keys));
        thread::spawn(move || forward_signals(signals, &stops));
        Ok(Self { happenings, sender, pump: None, by_key, holds_event: false })
    }

    /// Takes in key by key what is typed, as long as what this returns lives; `None` if nobody sits at a terminal.
    pub(crate) fn take_keys(&self) -> Option<KeyByKey> {
        // First, or a key would be taken for the beginning of a line that the terminal hands over.
        self.by_key.store(true, Ordering::SeqCst);
        let keys = KeyByKey::start();
        self.by_key.store(keys.is_some(), Ordering::SeqCst);
        keys
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

/// What comes from the standard input, as lines or as keys.
struct Reader<'a> {
    happenings: &'a SyncSender<Happening>,
    line: Vec<u8>,
    editor: Editor,
}

impl Reader<'_> {
    /// Takes a byte of a line. Returns `false` once nobody waits for lines any more.
    fn take_of_line(&mut self, byte: u8) -> bool {
        if byte != b'\n' {
            self.line.push(byte);
            return true;
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        let line = String::from_utf8(std::mem::take(&mut self.line));
        self.happenings.send(line.map_or(Happening::NotText, Happening::Line)).is_ok()
    }

    /// Takes a key, and shows it.
    fn take_key(&mut self, byte: u8) -> bool {
        let mut echo = Vec::new();
        let happening = match self.editor.take(byte, &mut echo) {
            Key::Nothing => None,
            Key::Edited => Some(Happening::Typed(self.editor.line().to_owned())),
            Key::Line(line) => Some(Happening::Line(line)),
            Key::End => Some(Happening::EndOfInput),
        };
        // A terminal that has gone says so when it is read.
        let _ = screen::show_key(&echo, self.editor.line());
        happening.is_none_or(|happening| self.happenings.send(happening).is_ok())
    }
}

fn read_input(happenings: &SyncSender<Happening>, by_key: &AtomicBool) {
    let mut reader = Reader { happenings, line: Vec::new(), editor: Editor::default() };
    let mut input = io::stdin().lock();
    loop {
        let taken = match input.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => {
                for byte in bytes {
                    let goes_on = if by_key.load(Ordering::SeqCst) {
                        reader.take_key(*byte)
                    } else {
                        reader.take_of_line(*byte)
                    };
                    if !goes_on {
                        return;
                    }
                }
                bytes.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        input.consume(taken);
    }
    if !reader.line.is_empty() && !reader.take_of_line(b'\n') {
        return;
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
