//! The C ABI. Its doc comments become `include/peerchat.h`; `header` makes it, `cbindgen.toml` opens it.
//!
//! Signatures use only what cbindgen renders rightly: `Option<&T>`, `Option<&mut T>`,
//! `Option<&mut MaybeUninit<T>>`, `Option<repr_c::Box<T>>`, `CStrArg`, plain numbers, raw pointers with a
//! length, and aliases of plain functions. Every body sits in `guard`. Enums *from* C arrive as integers.
#![allow(
    non_camel_case_types,
    clippy::missing_safety_doc,
    reason = "names are spelled as in C, and the header states the safety contract in C's terms"
)]

mod callback;
mod client;
mod contacts;
mod event;
mod guard;
mod history;
mod log;
mod message;
mod moving;
mod options;
mod people;
mod statistics;
mod status;
mod string;
mod version;

pub use callback::*;
pub use client::*;
pub use contacts::*;
pub use event::*;
pub use history::*;
pub use log::*;
pub use message::*;
pub use moving::*;
pub use options::*;
pub use people::*;
pub use statistics::*;
pub use status::*;
pub use string::*;
pub use version::*;
