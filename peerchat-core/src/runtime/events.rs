//! [`EventQueue`]: the one ordered queue between a node and its application.
//!
//! Memory is bounded without losing anything. Message events are a cursor over history: a limited number waits in
//! memory, the rest is read from disk when there is room. State events coalesce per message, and who is typing per person. Asking for the next event
//! confirms the last; what was confirmed is saved, and everything after it is told again when the profile is
//! opened next.

use std::collections::BTreeMap;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::error::Error;
use crate::event::{Event, MessageId};
use crate::identity::UserId;
use crate::idle;
use crate::limits::Limits;

/// Where an event stands in the queue: numbers never repeat.
type Sequence = u64;

#[derive(Debug)]
struct Inner {
    waiting: BTreeMap<Sequence, Entry>,
    last_sequence: Sequence,
    message_count: usize,
    states: BTreeMap<MessageId, Sequence>,
    /// The event that says whether the node is online, at most one.
    network: Option<Sequence>,
    /// The events that say who is typing, at most one for each person.
    typing: BTreeMap<UserId, Sequence>,
    /// Every received message up to this position is or was in memory.
    loaded_to: u64,
    /// The latest received message.
    latest: u64,
    is_refilling: bool,
    /// The position of the last message event that was handed out.
    handed_out: u64,
    confirmed: u64,
    /// The driver was woken for what is confirmed and has not come to save it: no need to wake it again.
    is_confirming: bool,
    is_closed: bool,
    /// The last event is in the queue.
    is_ending: bool,
    pipe: Option<Pipe>,
    limits: Arc<Limits>,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    /// The position in history of a message event.
    position: Option<u64>,
}

/// Readable while an event waits: one byte is in it then, and none otherwise.
#[derive(Debug)]
struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
    is_full: bool,
}

impl Pipe {
    fn show(&mut self, is_readable: bool) {
        let moved = match (self.is_full, is_readable) {
            (false, true) => self.writer.write_all(&[1]),
            (true, false) => self.reader.read_exact(&mut [0]),
            _ => return,
        };
        if moved.is_ok() {
            self.is_full = is_readable;
        }
    }
}

/// The events of one client.
#[derive(Debug)]
pub(crate) struct EventQueue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    arrived_async: Notify,
    /// Wakes the driver: something was confirmed, or there is room for more.
    taken: Notify,
}

impl EventQueue {
    /// Makes the queue of a profile whose application has confirmed every received message up to `confirmed`, and
    /// whose history ends at `latest`.
    pub(crate) fn new(confirmed: u64, latest: u64, limits: Arc<Limits>) -> Self {
        let inner = Inner {
            waiting: BTreeMap::new(),
            last_sequence: 0,
            message_count: 0,
            states: BTreeMap::new(),
            network: None,
            typing: BTreeMap::new(),
            loaded_to: confirmed,
            latest,
            is_refilling: false,
            handed_out: confirmed,
            confirmed,
            is_confirming: false,
            is_closed: false,
            is_ending: false,
            pipe: None,
            limits,
            dropped: 0,
        };
        Self {
            inner: Mutex::new(inner),
            arrived: Condvar::new(),
            arrived_async: Notify::new(),
            taken: Notify::new(),
        }
    }

    /// Adds an event that is not a message.
    pub(crate) fn push(&self, event: Event) {
        let mut inner = self.inner.lock();
        if inner.is_ending {
            return;
        }
        inner.push_other(event);
        self.wake(inner);
    }

    /// Adds a message that is on disk at `position`; if too many wait already, it is read from there later.
    pub(crate) fn push_message(&self, position: u64, event: Event) {
        let mut inner = self.inner.lock();
        // A refill may have read it already: it is on disk a moment before this is told.
        if inner.is_ending || position <= inner.loaded_to {
            return;
        }
        let is_next = inner.loaded_to >= inner.latest && !inner.is_refilling;
        inner.latest = inner.latest.max(position);
        if is_next && inner.message_count < inner.limits.event_messages {
            inner.push_message(position, event);
            self.wake(inner);
        }
    }

    /// Returns after which position messages should be read from disk, `None` if there is no need or no room.
    pub(crate) fn start_refill(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        let is_due = inner.loaded_to < inner.latest && inner.message_count < inner.refill_below();
        if !is_due || inner.is_refilling || inner.is_closed {
            return None;
        }
        inner.is_refilling = true;
        Some(inner.loaded_to)
    }

    /// Takes what was read for [`Self::start_refill`]: the messages up to `read_to`, which is the end of history at
    /// the time of reading if there were few.
    pub(crate) fn finish_refill(&self, read_to: u64, messages: Vec<(u64, Event)>) {
        let mut inner = self.inner.lock();
        inner.is_refilling = false;
        if inner.is_ending {
            return;
        }
        for (position, event) in messages {
            inner.push_message(position, event);
        }
        inner.loaded_to = inner.loaded_to.max(read_to);
        self.wake(inner);
    }

    /// Returns the latest position that a refill has to reach.
    pub(crate) fn latest(&self) -> u64 {
        self.inner.lock().latest
    }

    /// Waits up to `timeout` for an event, `None` for ever.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let deadline = timeout.and_then(|timeout| super::now().instant.checked_add(timeout));
        let mut inner = self.inner.lock();
        loop {
            if let Some(event) = self.take(&mut inner)? {
                return Ok(Some(event));
            }
            match deadline {
                None => self.arrived.wait(&mut inner),
                Some(at) if self.arrived.wait_until(&mut inner, at).timed_out() => {
                    return self.take(&mut inner);
                }
                Some(_) => {}
            }
        }
    }

    /// Waits for an event. Dropping the future loses none.
    pub(crate) async fn next(&self) -> Result<Event, Error> {
        loop {
            let mut arrived = std::pin::pin!(self.arrived_async.notified());
            // From here on no arrival is missed, even one before the first poll.
            arrived.as_mut().enable();
            if let Some(event) = self.take(&mut self.inner.lock())? {
                return Ok(event);
            }
            arrived.await;
        }
    }

    /// Returns the descriptor that is readable while an event waits.
    pub(crate) fn descriptor(&self) -> Result<RawFd, Error> {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return Err(Error::Closed);
        }
        if inner.pipe.is_none() {
            let (reader, writer) = std::io::pipe()
                .map_err(|error| Error::Internal { detail: format!("no descriptor for events: {error}") })?;
            inner.pipe = Some(Pipe { reader, writer, is_full: false });
        }
        inner.show();
        inner.pipe.as_ref().map(|pipe| pipe.reader.as_raw_fd()).ok_or(Error::Closed)
    }

    /// Tells whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().is_closed
    }

    /// Returns how many state events were dropped because too many events waited.
    pub(crate) fn dropped_count(&self) -> u64 {
        self.inner.lock().dropped
    }

    /// Returns up to which position the application has confirmed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.inner.lock().confirmed
    }

    /// Returns the same to the driver, which saves it now: it is woken by the next that is confirmed.
    pub(crate) fn take_confirmed(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.is_confirming = false;
        inner.confirmed
    }

    /// Waits until the application has confirmed something that is not about to be saved, or made room for more.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Closes the queue once the application has taken what waits and then this last event; at once if there is none.
    pub(crate) fn close_after(&self, last: Option<Event>) {
        match last {
            None => self.close(),
            Some(event) => {
                let mut inner = self.inner.lock();
                inner.insert(event, None);
                inner.is_ending = true;
                self.wake(inner);
            }
        }
    }

    /// Closes the queue: whoever waits is told, and the descriptor stays readable. An application that closes has
    /// dealt with what it took, so that is confirmed.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        inner.confirmed = inner.handed_out;
        self.wake(inner);
    }

    fn take(&self, inner: &mut Inner) -> Result<Option<Event>, Error> {
        if inner.is_closed {
            return Err(Error::Closed);
        }
        let had_confirmed = std::mem::replace(&mut inner.confirmed, inner.handed_out);
        let taken = inner.pop();
        if taken.is_none() && inner.is_ending {
            inner.is_closed = true;
            return Err(Error::Closed);
        }
        inner.show();
        let wants_more = inner.loaded_to < inner.latest && inner.message_count < inner.refill_below();
        let is_new = had_confirmed != inner.confirmed && !std::mem::replace(&mut inner.is_confirming, true);
        if is_new || wants_more {
            self.taken.notify_one();
        }
        Ok(taken)
    }

    fn wake(&self, mut inner: parking_lot::MutexGuard<'_, Inner>) {
        inner.show();
        drop(inner);
        self.arrived.notify_all();
        self.arrived_async.notify_waiters();
    }
}

impl Inner {
    fn insert(&mut self, event: Event, position: Option<u64>) -> Sequence {
        self.last_sequence += 1;
        self.waiting.insert(self.last_sequence, Entry { event, position });
        self.last_sequence
    }

    fn push_message(&mut self, position: u64, event: Event) {
        self.insert(event, Some(position));
        self.message_count += 1;
        self.loaded_to = position;
    }

    /// Adds an event, or lets it take the place of the one that it makes out of date.
    fn push_other(&mut self, event: Event) {
        match &event {
            Event::MessageState { id, .. } => {
                let id = *id;
                if let Some(entry) = self.states.get(&id).and_then(|earlier| self.waiting.get_mut(earlier)) {
                    entry.event = event;
                    return;
                }
                self.make_room();
                let sequence = self.insert(event, None);
                self.states.insert(id, sequence);
            }
            Event::Online { .. } | Event::Offline => {
                if let Some(earlier) = self.network.take() {
                    self.waiting.remove(&earlier);
                }
                self.network = Some(self.insert(event, None));
            }
            Event::Typing { user, .. } => {
                let user = *user;
                if let Some(earlier) = idle::remove(&mut self.typing, &user) {
                    self.waiting.remove(&earlier);
                }
                self.make_room();
                let sequence = self.insert(event, None);
                self.typing.insert(user, sequence);
            }
            _ => {
                self.insert(event, None);
            }
        }
    }

    /// Drops the oldest state event if there are too many events: the state can still be asked for.
    fn make_room(&mut self) {
        if self.waiting.len() - self.message_count < self.limits.events {
            return;
        }
        let oldest =
            self.states.iter().min_by_key(|(_, sequence)| **sequence).map(|(id, sequence)| (*id, *sequence));
        if let Some((id, sequence)) = oldest {
            self.states.remove(&id);
            self.waiting.remove(&sequence);
            self.dropped += 1;
        }
    }

    /// More messages are read from disk when fewer than this many are left in memory.
    fn refill_below(&self) -> usize {
        self.limits.event_messages / 2
    }

    fn pop(&mut self) -> Option<Event> {
        let (sequence, entry) = self.waiting.pop_first()?;
        if let Event::MessageState { id, .. } = &entry.event {
            self.states.remove(id);
        }
        if let Event::Typing { user, .. } = &entry.event {
            idle::remove(&mut self.typing, user);
        }
        if self.network == Some(sequence) {
            self.network = None;
        }
        if let Some(position) = entry.position {
            self.message_count -= 1;
            self.handed_out = position;
        }
        Some(entry.event)
    }

    fn show(&mut self) {
        let is_readable = self.is_closed || self.is_ending || !self.waiting.is_empty();
        if let Some(pipe) = &mut self.pipe {
            pipe.show(is_readable);
        }
    }
}

#[cfg(test)]
mod tests;
