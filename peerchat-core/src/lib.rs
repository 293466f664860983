//! The peerchat node: people find one another by name in a Kademlia DHT and write to one another, without servers.
//!
//! [`Client`] is the handle that applications hold. Below it everything that decides is a plain struct that never
//! waits, never reads a clock and never touches a socket; `ARCHITECTURE.md` shows how they fit together.
#![forbid(unsafe_code)]
// Tests on virtual time need a first instant; only differences from it matter.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod address;
#[cfg(feature = "runtime")]
mod client;
mod codec;
pub mod config;
pub mod crypto;
mod deadlines;
pub mod engine;
pub mod error;
pub mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
mod idle;
pub mod kademlia;
pub mod limits;
pub mod mail;
#[cfg(feature = "runtime")]
mod runtime;
pub mod save;
pub mod search;
#[cfg(feature = "storage")]
pub mod storage;
pub mod time;
pub mod transport;
pub mod user;
pub mod wire;

pub use address::{AddressError, BootstrapAddress};
#[cfg(feature = "runtime")]
pub use client::{
    Client, HistoryEntry, Identity, MAX_HISTORY_PAGE, Person, SHUTDOWN_TIMEOUT, SendOptions, Statistics,
};
pub use config::{Config, ConfigBuilder, ConfigError, Passphrase};
pub use error::{Error, ErrorCode};
pub use event::{CommandId, Event, MessageId, MessageState, ReceivedMessage};
pub use identity::{NameError, Recipient, UserId, UserName};
pub use kademlia::{NodeId, NodeKey, RefusedRecords, Serve};
pub use limits::{LimitError, LimitInfo, Limits, Share};
pub use save::Relation;
pub use time::Timestamp;
pub use user::{FoundUser, TYPING_INTERVAL, TYPING_LIFETIME, Verb};

/// Longest text of a message in bytes of UTF-8. About 1,000 fit one datagram with everything around them; what is
/// longer goes by stream.
pub const MAX_TEXT_LEN: usize = 16_384;
