//! The uniffi surface: the same client, for languages with objects, exceptions and coroutines.
//!
//! It wraps [`peerchat_core::Client`], not the C ABI. The asynchronous methods need no runtime around them: the
//! core's futures only wait on channels, and the node behind them has a runtime of its own.

mod client;
mod contacts;
mod error;
mod event;
mod moving;
mod statistics;

pub use client::{
    Client, ClientOptions, FoundUser, HistoryEntry, Identity, Serve, change_passphrase, profile_exists,
    version,
};
pub use contacts::{Person, Relation};
pub use error::{ErrorCode, PeerchatError};
pub use event::{Event, MessageState};
pub use moving::import_profile;
pub use statistics::Statistics;
