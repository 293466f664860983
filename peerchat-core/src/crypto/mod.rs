//! End-to-end encryption between two devices: what keeps a message closed from the sender's disk to the recipient's.
//!
//! [`DeviceCipher`] and [`SessionCipher`] are what the user layer knows of it. [`Olm`] is the real thing; it draws
//! its randomness from the system, so a seed cannot replay it, and the simulator runs on [`StandIn`] instead. Mail is
//! sealed once more, by [`seal()`], which both use.

#[cfg(feature = "runtime")]
mod olm;
mod prekey;
mod seal;
mod secret;
mod session;
#[cfg(any(test, feature = "simulation"))]
mod stand_in;
#[cfg(test)]
mod tests;

#[cfg(feature = "runtime")]
pub use olm::Olm;
pub use prekey::{KEPT_PREKEYS, PREKEY_LIFETIME, Prekeys};
pub use seal::{SEAL_OVERHEAD, SealError, SealKey, SealKeys, seal};
pub use secret::Secret;
pub use session::{
    CipherError, DeviceCipher, DeviceKeys, Envelope, EnvelopeKind, FirstMessage, IdentityKey,
    MAX_ENVELOPE_LEN, MAX_SKIPPED_KEYS, Prekey, SessionCipher, SessionId, SessionStart,
};
#[cfg(any(test, feature = "simulation"))]
pub use stand_in::StandIn;
