//! The log: what the library has to say to whoever runs it, handed to one function of the application.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use safer_ffi::derive_ReprC;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use super::guard::{guard, required};
use super::status::{Failure, peerchat_status_t};
use super::string::c_string;

/// How much a line of the log matters.
#[derive_ReprC]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum peerchat_log_level_t {
    /// Nothing is logged. Not the level of a line.
    PEERCHAT_LOG_OFF = 0,
    /// A bug in peerchat.
    PEERCHAT_LOG_ERROR = 1,
    /// Something unusual that somebody should look into.
    PEERCHAT_LOG_WARN = 2,
    /// What a user would notice: online, registered, closed.
    PEERCHAT_LOG_INFO = 3,
    /// What the node decides, and every message.
    PEERCHAT_LOG_DEBUG = 4,
    /// Every datagram.
    PEERCHAT_LOG_TRACE = 5,
}

/// A function of yours that is told what the library logs.
///
/// It runs on whichever thread has something to say, never twice at once. It must call nothing of peerchat, must not wait for a
/// thread that does, and must return as peerchat_callback_t says.
/// @param context  What was given to peerchat_log_set.
/// @param level    How much it matters.
/// @param line     One line without its end, UTF-8; lives until the function returns.
pub type peerchat_log_callback_t = Option<
    unsafe extern "C-unwind" fn(context: *mut c_void, level: peerchat_log_level_t, line: *const c_char),
>;

#[derive(Clone, Copy, Debug)]
struct Target {
    function: unsafe extern "C-unwind" fn(*mut c_void, peerchat_log_level_t, *const c_char),
    context: *mut c_void,
}

// SAFETY: the library only hands the pointer back, and the header says that this happens on any thread.
unsafe impl Send for Target {}

/// The most detailed level that is wanted.
static LEVEL: AtomicI32 = AtomicI32::new(0);

static TARGET: Mutex<Option<Target>> = Mutex::new(None);

static INSTALLED: Once = Once::new();

thread_local! {
    /// Whether the function of the application runs on this thread.
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
}

fn level(level: Level) -> peerchat_log_level_t {
    match level {
        Level::ERROR => peerchat_log_level_t::PEERCHAT_LOG_ERROR,
        Level::WARN => peerchat_log_level_t::PEERCHAT_LOG_WARN,
        Level::INFO => peerchat_log_level_t::PEERCHAT_LOG_INFO,
        Level::DEBUG => peerchat_log_level_t::PEERCHAT_LOG_DEBUG,
        Level::TRACE => peerchat_log_level_t::PEERCHAT_LOG_TRACE,
    }
}

/// Hands events of peerchat's own code to the application. Spans are left out: the core has none.
#[derive(Debug)]
struct Sink;

impl Subscriber for Sink {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let is_ours = metadata.is_event() && metadata.target().starts_with("peerchat");
        if is_ours { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level(*metadata.level()) as i32 <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        tell(level(*event.metadata().level()), &line.text());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as text: its words, then its fields.
#[derive(Debug, Default)]
struct Line {
    words: String,
    fields: String,
}

impl Line {
    fn text(&self) -> String {
        format!("{}{}", self.words, self.fields).replace('\n', " ")
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A string takes every write.
        let _ = match field.name() {
            "message" => write!(self.words, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Hands a line over. What the function of the application causes to be logged itself is left out.
fn tell(level: peerchat_log_level_t, text: &str) {
    if IS_LOGGING.try_with(|is_logging| is_logging.replace(true)).unwrap_or(true) {
        return;
    }
    let target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Target { function, context }) = *target {
        let line = c_string(text);
        // SAFETY: the application vouches for the function and its context, and the line lives until it returns.
        unsafe { function(context, level, line.as_ptr()) };
    }
    drop(target);
    // It was there a moment ago.
    let _ = IS_LOGGING.try_with(|is_logging| is_logging.set(false));
}

/// Hands what the library logs to a function, for the whole process, in the place of an earlier one.
///
/// Lines have no names, addresses, keys or texts of messages above PEERCHAT_LOG_DEBUG. Once this has returned, the earlier
/// function neither runs nor is run again. Without this call nothing is logged. Blocks while the earlier function runs.
/// Thread-safe.
/// @param level     The most detailed level that is wanted: a number of peerchat_log_level_t.
/// @param callback  Kept until another takes its place. NULL is allowed with PEERCHAT_LOG_OFF.
/// @param context   Handed to the callback; the library never looks at it. May be NULL.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT (no such level), PEERCHAT_ERR_WRONG_MODE
///         (called from the function itself) or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_log_set(
    level: i32,
    callback: peerchat_log_callback_t,
    context: *mut c_void,
) -> peerchat_status_t {
    guard(|| {
        if !(0..=peerchat_log_level_t::PEERCHAT_LOG_TRACE as i32).contains(&level) {
            let words = format!("there is no level {level} of the log");
            return Err(Failure::new(peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT, words));
        }
        if IS_LOGGING.try_with(Cell::get).unwrap_or(false) {
            let words = "the function that logs must not change where the log goes";
            return Err(Failure::new(peerchat_status_t::PEERCHAT_ERR_WRONG_MODE, words));
        }
        let target = match (level, callback) {
            (0, _) => None,
            (_, callback) => Some(Target { function: required(callback, "callback")?, context }),
        };
        // A Rust program around this library may have a subscriber of its own: then the log is already taken.
        INSTALLED.call_once(|| _ = tracing::subscriber::set_global_default(Sink));
        *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = target;
        LEVEL.store(level, Ordering::Relaxed);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    static LINES: Mutex<Vec<(peerchat_log_level_t, String)>> = Mutex::new(Vec::new());

    unsafe extern "C-unwind" fn keep(_: *mut c_void, level: peerchat_log_level_t, line: *const c_char) {
        // SAFETY: a line ends with a NUL and lives until this returns.
        let line = unsafe { CStr::from_ptr(line) }.to_str().unwrap().to_owned();
        tracing::error!("what is logged meanwhile is left out");
        assert_eq!(
            peerchat_log_set(0, None, std::ptr::null_mut()),
            peerchat_status_t::PEERCHAT_ERR_WRONG_MODE
        );
        LINES.lock().unwrap().push((level, line));
    }

    /// One test, because there is one log for the process.
    #[test]
    fn lines_of_the_wanted_levels_reach_the_function() {
        let null = std::ptr::null_mut();
        assert_eq!(peerchat_log_set(6, Some(keep), null), peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT);
        assert_eq!(peerchat_log_set(-1, Some(keep), null), peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT);
        assert_eq!(peerchat_log_set(3, None, null), peerchat_status_t::PEERCHAT_ERR_NULL_POINTER);
        let warn = peerchat_log_level_t::PEERCHAT_LOG_WARN;
        assert_eq!(peerchat_log_set(warn as i32, Some(keep), null), peerchat_status_t::PEERCHAT_OK);
        tracing::warn!(count = 3, "a line\nand another");
        tracing::info!("not wanted");
        tracing::warn!(target: "somebody", "not ours");
        assert_eq!(peerchat_log_set(0, None, null), peerchat_status_t::PEERCHAT_OK);
        tracing::error!("nothing is wanted any more");
        let lines: Vec<_> =
            LINES.lock().unwrap().iter().filter(|(_, line)| line.contains("a line")).cloned().collect();
        assert_eq!(lines, [(warn, "a line and another count=3".to_owned())]);
    }
}
