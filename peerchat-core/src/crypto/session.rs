//! What the user layer asks of the cryptography: [`DeviceCipher`], one device, and [`SessionCipher`], one session
//! with another device.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::SealKey;
use super::secret::Secret;

/// Longest envelope in bytes.
pub const MAX_ENVELOPE_LEN: usize = crate::MAX_TEXT_LEN + MAX_OVERHEAD;

/// What content and cryptography add to a text at most: a first message's three keys (106), the ratchet key, index,
/// padding and MAC (95), and what stands around the text inside (59).
const MAX_OVERHEAD: usize = 288;

/// How many keys of messages that were overtaken a session keeps: one that comes later than that is lost.
pub const MAX_SKIPPED_KEYS: usize = 40;

/// The long-term public key by which a device is known in sessions.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct IdentityKey(pub [u8; 32]);

/// A public key that sessions with a device are started from while it is away.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Prekey(pub [u8; 32]);

/// The public keys that a user record lists for a device.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeviceKeys {
    /// Who the device is.
    pub identity: IdentityKey,
    /// What a session with it is started from.
    pub prekey: Prekey,
    /// What mail for it is sealed to.
    pub seal: SealKey,
}

/// Names a session alike on both sides.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub [u8; 32]);

/// Whether an envelope can start a session.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EnvelopeKind {
    /// It carries what starts the session: its writer has not yet heard from the other side in it.
    First = 0,
    /// It belongs to a session that both sides have.
    Later = 1,
}

/// What one device wrote to another, closed to everybody else.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Envelope {
    /// Whether it can start a session.
    pub kind: EnvelopeKind,
    /// The sealed bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Which session an [`EnvelopeKind::First`] envelope belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionStart {
    /// The session.
    pub id: SessionId,
    /// The recipient's prekey that it was started from.
    pub prekey: Prekey,
}

/// A session that was started by another device, and what its first message says.
pub struct FirstMessage {
    /// The session.
    pub session: Box<dyn SessionCipher>,
    /// What was sealed.
    pub opened: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for FirstMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FirstMessage(..)")
    }
}

/// Why something could not be sealed, opened or restored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CipherError {
    /// The bytes are no envelope or no saved state.
    #[error("bytes that are no envelope or no saved state")]
    Malformed,
    /// No key fits: the envelope is of another session, was opened before, was changed, or lies too far ahead.
    #[error("an envelope that no key of this session opens")]
    NoKey,
    /// The prekey is not one of the device's, or no longer.
    #[error("a session from a prekey that is not kept")]
    UnknownPrekey,
    /// The other device's keys are not those it was known by, or no usable ones.
    #[error("keys that cannot be those of the other device")]
    BadKeys,
}

/// The secret keys of this device.
///
/// Nothing is saved by it: after a change, whoever made it saves [`Self::state`].
pub trait DeviceCipher: fmt::Debug + Send {
    /// Returns the device's identity key.
    fn identity(&self) -> IdentityKey;

    /// Makes a prekey.
    fn add_prekey(&mut self) -> Prekey;

    /// Forgets the secret half of a prekey; sessions that were started from it go on.
    fn drop_prekey(&mut self, prekey: &Prekey);

    /// Returns what is to be saved of the device.
    fn state(&self) -> Secret;

    /// Starts a session with another device.
    ///
    /// # Errors
    ///
    /// The keys are not usable.
    fn start(&mut self, with: &DeviceKeys) -> Result<Box<dyn SessionCipher>, CipherError>;

    /// Returns which session an envelope can start, `None` if it is not a first one or malformed.
    fn session_start(&self, envelope: &Envelope) -> Option<SessionStart>;

    /// Takes part in the session that the device with key `from` has started with this envelope.
    ///
    /// # Errors
    ///
    /// The envelope is not a first one of that device, its prekey is not kept, or it does not open.
    fn accept(&self, from: &IdentityKey, envelope: &Envelope) -> Result<FirstMessage, CipherError>;

    /// Takes a saved session up again.
    ///
    /// # Errors
    ///
    /// The state is damaged.
    fn restore(&self, state: &Secret) -> Result<Box<dyn SessionCipher>, CipherError>;
}

/// One session with another device.
///
/// Nothing is saved by it: after a message was sealed or opened, whoever did it saves [`Self::state`] together with
/// what came of it, and lets nothing take effect before that is on disk.
pub trait SessionCipher: fmt::Debug + Send {
    /// Returns the session's name.
    fn id(&self) -> SessionId;

    /// Seals a message.
    ///
    /// # Errors
    ///
    /// The session cannot go on.
    fn seal(&mut self, message: &[u8]) -> Result<Envelope, CipherError>;

    /// Opens an envelope, which works once. An envelope that does not open changes nothing.
    ///
    /// # Errors
    ///
    /// The envelope is malformed, or no key fits.
    fn open(&mut self, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, CipherError>;

    /// Returns what is to be saved of the session.
    fn state(&self) -> Secret;
}
