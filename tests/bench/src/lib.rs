//! What the sweep and the benchmarks share: networks of real clients on loopback, and what a process uses.
//!
//! Nothing here is a test, and nothing asserts a time. Linux only: it reads `/proc`.

pub mod network;
pub mod pair;
pub mod process;
pub mod quantile;
pub mod talk;

/// Whatever went wrong, for a person to read.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
