//! Callbacks: events that are pushed, on a thread of the application or on one of the library's.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Instant;

use peerchat_core::{Client, Error, Event};

use super::client::peerchat_t;
use super::event::{deadline_in, peerchat_event_t, wait_until};
use super::guard::{guard, required};
use super::status::{Failure, peerchat_status_t};

/// A function of yours that is told an event: by peerchat_dispatch, or on the library's thread for callbacks.
///
/// It never runs twice at once for one client. It may call everything for this client but peerchat_destroy and
/// peerchat_dispatch. It must return: no C++ exception, no longjmp(3) and no end of the thread may leave it. An
/// exception that does ends the program.
/// @param context  What was given to peerchat_set_callback.
/// @param event    Belongs to the library, with all its strings, and lives until the callback returns.
pub type peerchat_callback_t =
    Option<unsafe extern "C-unwind" fn(context: *mut c_void, event: *const peerchat_event_t)>;

/// A callback and what it is given. "C-unwind", so that a C++ exception is an abort and not undefined.
#[derive(Clone, Copy, Debug)]
struct Callback {
    function: unsafe extern "C-unwind" fn(*mut c_void, *const peerchat_event_t),
    context: *mut c_void,
}

// SAFETY: the library only hands the pointer back, and the header says that this happens on other threads.
unsafe impl Send for Callback {}

/// Who runs the callback of one client, and when.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    /// Whether the library has a thread of its own for this.
    has_thread: bool,
    turns: Mutex<Turns>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    callback: Option<Callback>,
    /// The thread that waits for an event for the callback, or runs it: one at a time.
    holder: Option<ThreadId>,
    is_running: bool,
    /// How often the callback was run.
    run_count: u64,
    is_closed: bool,
    thread: Option<JoinHandle<()>>,
}

/// The right to run the callback, given back when it is dropped.
struct Turn<'a>(&'a Callbacks);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.0.lock();
        (turns.holder, turns.is_running) = (None, false);
        drop(turns);
        self.0.changed.notify_all();
    }
}

impl Callbacks {
    pub(super) fn new(has_thread: bool) -> Self {
        Self { has_thread, ..Self::default() }
    }

    /// Refuses to wait for events of a client whose callbacks have a thread of their own.
    pub(super) fn refuse_if_threaded(&self) -> Result<(), Failure> {
        if self.has_thread {
            return Err(wrong_mode("the events of this client go to the callback, on the library's thread"));
        }
        Ok(())
    }

    /// Tells whether the callback runs on this very thread.
    pub(super) fn is_running_here(&self) -> bool {
        let turns = self.lock();
        turns.is_running && turns.holder == Some(thread::current().id())
    }

    /// Wakes whoever waits for a turn.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits for the library's thread to end; the client is closed.
    pub(super) fn join(&self) {
        let thread = self.lock().thread.take();
        // It ends without a panic, or not at all.
        let _ = thread.map(JoinHandle::join);
    }

    /// Takes a callback, and waits until an earlier one has returned, unless that is who asks.
    fn set(&self, callback: Callback) {
        let mut turns = self.lock();
        turns.callback = Some(callback);
        let run = turns.run_count;
        let is_own = turns.holder == Some(thread::current().id());
        while turns.is_running && turns.run_count == run && !is_own {
            turns = self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts the thread for callbacks unless it runs, or there is to be none.
    fn start(self: &Arc<Self>, client: &Client) -> Result<(), Failure> {
        let mut turns = self.lock();
        if !self.has_thread || turns.thread.is_some() || turns.is_closed {
            return Ok(());
        }
        let (callbacks, client) = (self.clone(), client.clone());
        let run = move || while callbacks.dispatch(&client, None).is_ok() {};
        let started = thread::Builder::new().name("peerchat-events".into()).spawn(run);
        let failure = |error| {
            Failure::new(
                peerchat_status_t::PEERCHAT_ERR_INTERNAL,
                format!("no thread for callbacks: {error}"),
            )
        };
        turns.thread = Some(started.map_err(failure)?);
        Ok(())
    }

    /// Waits for an event until `deadline` and runs the callback with it.
    fn dispatch(&self, client: &Client, deadline: Option<Instant>) -> Result<peerchat_status_t, Failure> {
        let Some(turn) = self.take_turn(deadline)? else { return Ok(peerchat_status_t::PEERCHAT_NO_EVENT) };
        let Some(event) = wait_until(client, deadline)? else {
            return Ok(peerchat_status_t::PEERCHAT_NO_EVENT);
        };
        turn.run(event);
        Ok(peerchat_status_t::PEERCHAT_OK)
    }

    /// Waits until nobody else dispatches; `None` if that takes too long.
    fn take_turn(&self, deadline: Option<Instant>) -> Result<Option<Turn<'_>>, Failure> {
        let this = thread::current().id();
        let mut turns = self.lock();
        if turns.callback.is_none() {
            return Err(wrong_mode("no callback is set: peerchat_set_callback comes first"));
        }
        if turns.holder == Some(this) {
            return Err(wrong_mode("a callback must not dispatch"));
        }
        loop {
            if turns.is_closed {
                return Err(Error::Closed.into());
            }
            if turns.holder.is_none() {
                turns.holder = Some(this);
                return Ok(Some(Turn(self)));
            }
            turns = match deadline {
                None => self.changed.wait(turns).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    self.changed.wait_timeout(turns, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        // Nothing that runs under the lock panics.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Runs the callback, without the lock: it may call back in.
    fn run(&self, event: Event) {
        let callback = {
            let mut turns = self.0.lock();
            turns.is_running = true;
            turns.run_count += 1;
            turns.callback
        };
        let event = peerchat_event_t::from(event);
        if let Some(Callback { function, context }) = callback {
            // SAFETY: the application vouches for the function and its context, and the event lives until it returns.
            unsafe { function(context, &raw const event) };
        }
    }
}

fn wrong_mode(why: &str) -> Failure {
    Failure::new(peerchat_status_t::PEERCHAT_ERR_WRONG_MODE, why)
}

/// Registers the function that is told the events of this client, in the place of an earlier one.
///
/// It is run by peerchat_dispatch, on the thread that calls that. For a client whose options asked for it
/// (peerchat_options_set_callback_thread) a thread of the library runs it instead, and begins with this call; events
/// that came earlier have waited. Nothing is lost between an earlier function and this one. Once this has returned,
/// the earlier one neither runs nor is run again, and its context may be freed: if it runs on another thread, this
/// waits until it has returned, so do not hold a lock that it wants. Never blocks otherwise. Thread-safe.
/// @param client    The client.
/// @param callback  Kept until another takes its place or the client is destroyed. There is no way back to none: close
///                  the client, or stop dispatching.
/// @param context   Handed to the callback; the library never looks at it. May be NULL.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL (also if the system has
///         no thread left).
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_set_callback(
    client: Option<&peerchat_t>,
    callback: peerchat_callback_t,
    context: *mut c_void,
) -> peerchat_status_t {
    guard(|| {
        let (client, function) = (required(client, "client")?, required(callback, "callback")?);
        let callbacks = client.callbacks();
        if callbacks.lock().is_closed {
            return Err(Error::Closed.into());
        }
        callbacks.set(Callback { function, context });
        callbacks.start(client.inner())
    })
}

/// Waits for the next event and runs the callback with it, on the calling thread. One call, one event.
///
/// `while (peerchat_dispatch(client, 0) == PEERCHAT_OK) {}` deals with all that wait. The next call confirms the event,
/// as peerchat_poll does; both may be used on one client, and each event goes to one of them. If several threads
/// dispatch, they take turns. Blocks up to `timeout_ms` and as long as the callback takes; peerchat_close ends the
/// wait. Thread-safe.
/// @param client      The client.
/// @param timeout_ms  Milliseconds; 0 does not wait, PEERCHAT_WAIT_FOREVER does not give up.
/// @return PEERCHAT_OK if the callback was run, PEERCHAT_NO_EVENT, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_WRONG_MODE (no
///         callback is set, the library's thread runs it, or this is called from it), PEERCHAT_ERR_CLOSED or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_dispatch(client: Option<&peerchat_t>, timeout_ms: u32) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        client.callbacks().refuse_if_threaded()?;
        client.callbacks().dispatch(client.inner(), deadline_in(timeout_ms))
    })
}
