//! The C ABI. Its doc comments become `include/peerchat.h`; `header` makes it, `cbindgen.toml` opens it.
//!
//! Signatures use only what cbindgen renders rightly: `Option<&T>`, `Option<&mut T>`,
//! `Option<&mut MaybeUninit<T>>`, `Option<repr_c::Box<T>>`, `CStrArg`, plain numbers, and raw pointers with a
//! length. Every body sits in `guard`. Enums *from* C arrive as integers.
#![allow(
    non_camel_case_types,
    clippy::missing_safety_doc,
    reason = "names are spelled as in C, and the header states the safety contract in C's terms"
)]

mod client;
mod contacts;
mod event;
mod guard;
mod message;
mod options;
mod people;
mod status;
mod string;
mod version;

pub use client::*;
pub use contacts::*;
pub use event::*;
pub use message::*;
pub use options::*;
pub use people::*;
pub use status::*;
pub use string::*;
pub use version::*;
