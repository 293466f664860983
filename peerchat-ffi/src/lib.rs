//! peerchat for other languages, as two thin shells around [`peerchat_core::Client`].
//!
//! [`capi`] is the C ABI: its doc comments become `include/peerchat.h`, so they are written for a C programmer.
//! [`bindings`] is the uniffi surface, from which `bindings/` is generated. Neither calls the other; both have the
//! same objects, codes and names. The feature `tools` adds what writes the header and the bindings.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

pub mod bindings;
pub mod capi;
#[cfg(feature = "tools")]
pub mod generate;
#[cfg(feature = "tools")]
pub mod header;
#[cfg(feature = "tools")]
pub mod reference;

uniffi::setup_scaffolding!();
