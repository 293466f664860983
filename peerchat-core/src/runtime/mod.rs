//! The only code that waits: one tokio runtime per process, one driver task and one UDP socket per node.
//!
//! The runtime is started when the first client is opened and shared by every node of the process, so that a node
//! costs one descriptor and no thread.

mod block;
#[cfg(test)]
mod capture;
mod carrier;
mod carriers;
mod clock;
mod command;
mod driver;
mod events;
mod journal;
mod socket;
mod streams;
mod unsent;

use once_cell::sync::Lazy;
use tokio::runtime::{Builder, Runtime};

pub(crate) use block::block_on;
pub(crate) use carriers::Carriers;
pub(crate) use clock::now;
pub(crate) use command::Command;
pub(crate) use driver::{Driver, DriverParts};
pub(crate) use events::EventQueue;
pub(crate) use socket::Socket;
#[cfg(feature = "fuzzing")]
pub use streams::Deed;
#[cfg(feature = "fuzzing")]
pub(crate) use streams::{HostilePeer, Streams, StreamsEvent};

use crate::error::Error;

/// Most threads of the runtime: a node's work is short, and one node never uses two at once.
const MAX_THREADS: usize = 4;

static RUNTIME: Lazy<Result<Runtime, String>> = Lazy::new(|| {
    let thread_count = std::thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
    let built = Builder::new_multi_thread()
        .worker_threads(thread_count)
        .thread_name("peerchat")
        .enable_io()
        .enable_time()
        .build();
    built.map_err(|error| error.to_string())
});

/// Returns the runtime of the process, starting it if need be.
///
/// # Errors
///
/// The system has no thread or descriptor left.
pub(crate) fn runtime() -> Result<&'static Runtime, Error> {
    RUNTIME
        .as_ref()
        .map_err(|detail| Error::Internal { detail: format!("cannot start the runtime: {detail}") })
}

/// Fills `bytes` from the system's source of secure randomness.
///
/// # Errors
///
/// The system has none.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes)
        .map_err(|error| Error::Internal { detail: format!("no secure randomness: {error}") })
}
