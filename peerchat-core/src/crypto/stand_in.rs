//! [`StandIn`]: behaves like Olm where it matters to the rest and is replayed by a seed. Nothing that it seals is
//! secret, for its keys are derived from public values.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::session::{
    CipherError, DeviceCipher, DeviceKeys, Envelope, EnvelopeKind, FirstMessage, IdentityKey,
    MAX_SKIPPED_KEYS, Prekey, SessionCipher, SessionId, SessionStart,
};
use crate::codec;

/// How far ahead of the last opened message of a session the next one may lie, as in Olm.
const MAX_GAP: u64 = 2000;

/// A device of a simulation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StandIn {
    identity: IdentityKey,
    prekeys: Vec<Prekey>,
    /// Counts the keys that were made.
    drawn: u64,
    seed: u64,
}

/// One side of a session. Each direction has its own numbers.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct StandInSession {
    start: Start,
    is_starter: bool,
    /// The number of the next message to seal.
    next: u64,
    /// The number that is expected next, and the earlier ones that were not opened.
    expected: u64,
    skipped: BTreeSet<u64>,
    has_received: bool,
}

/// What a first message carries.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Start {
    identity: IdentityKey,
    base: [u8; 32],
    prekey: Prekey,
}

#[derive(Deserialize, Serialize)]
struct Sealed {
    start: Option<Start>,
    number: u64,
    #[serde(with = "serde_bytes")]
    message: Vec<u8>,
    check: [u8; 32],
}

impl StandIn {
    /// Makes a device. Two with one seed are the same device.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut device = Self { identity: IdentityKey([0; 32]), prekeys: Vec::new(), drawn: 0, seed };
        device.identity = IdentityKey(device.draw());
        device
    }

    /// Takes a saved device up again. What it draws from now on depends on `seed`.
    ///
    /// # Errors
    ///
    /// The state is damaged.
    pub fn restore(state: &Secret, seed: u64) -> Result<Self, CipherError> {
        let device: Self = codec::decode(state.reveal()).map_err(|_| CipherError::Malformed)?;
        Ok(Self { seed, ..device })
    }

    fn draw(&mut self) -> [u8; 32] {
        self.drawn += 1;
        hash(&[b"draw", &self.seed.to_be_bytes(), &self.drawn.to_be_bytes()])
    }
}

impl DeviceCipher for StandIn {
    fn identity(&self) -> IdentityKey {
        self.identity
    }

    fn add_prekey(&mut self) -> Prekey {
        let prekey = Prekey(self.draw());
        self.prekeys.push(prekey);
        prekey
    }

    fn drop_prekey(&mut self, prekey: &Prekey) {
        self.prekeys.retain(|other| other != prekey);
    }

    fn state(&self) -> Secret {
        Secret::copy_of(&codec::encode(self))
    }

    fn start(&mut self, with: &DeviceKeys) -> Result<Box<dyn SessionCipher>, CipherError> {
        let start = Start { identity: self.identity, base: self.draw(), prekey: with.prekey };
        Ok(Box::new(StandInSession::new(start, true)))
    }

    fn session_start(&self, envelope: &Envelope) -> Option<SessionStart> {
        let start = parse(envelope).ok()?.start?;
        Some(SessionStart { id: start.id(), prekey: start.prekey })
    }

    fn accept(&self, from: &IdentityKey, envelope: &Envelope) -> Result<FirstMessage, CipherError> {
        let start = parse(envelope)?.start.ok_or(CipherError::Malformed)?;
        if start.identity != *from {
            return Err(CipherError::BadKeys);
        }
        if !self.prekeys.contains(&start.prekey) {
            return Err(CipherError::UnknownPrekey);
        }
        let mut session = StandInSession::new(start, false);
        let opened = session.open(envelope)?;
        Ok(FirstMessage { session: Box::new(session), opened })
    }

    fn restore(&self, state: &Secret) -> Result<Box<dyn SessionCipher>, CipherError> {
        let session: StandInSession = codec::decode(state.reveal()).map_err(|_| CipherError::Malformed)?;
        Ok(Box::new(session))
    }
}

impl Start {
    fn id(&self) -> SessionId {
        SessionId(hash(&[b"session", &self.identity.0, &self.base, &self.prekey.0]))
    }
}

impl StandInSession {
    const fn new(start: Start, is_starter: bool) -> Self {
        Self { start, is_starter, next: 0, expected: 0, skipped: BTreeSet::new(), has_received: false }
    }

    /// Returns what only this session, direction, number and message have.
    fn check(&self, from_starter: bool, number: u64, message: &[u8]) -> [u8; 32] {
        hash(&[b"check", &self.start.id().0, &[u8::from(from_starter)], &number.to_be_bytes(), message])
    }

    fn take_number(&mut self, number: u64) -> Result<(), CipherError> {
        if number < self.expected {
            return if self.skipped.remove(&number) { Ok(()) } else { Err(CipherError::NoKey) };
        }
        if number - self.expected > MAX_GAP {
            return Err(CipherError::NoKey);
        }
        self.skipped.extend(self.expected..number);
        while self.skipped.len() > MAX_SKIPPED_KEYS {
            self.skipped.pop_first();
        }
        self.expected = number + 1;
        Ok(())
    }
}

impl SessionCipher for StandInSession {
    fn id(&self) -> SessionId {
        self.start.id()
    }

    fn seal(&mut self, message: &[u8]) -> Result<Envelope, CipherError> {
        let number = self.next;
        self.next += 1;
        let start = (self.is_starter && !self.has_received).then_some(self.start);
        let kind = if start.is_some() { EnvelopeKind::First } else { EnvelopeKind::Later };
        let check = self.check(self.is_starter, number, message);
        let sealed = Sealed { start, number, message: scramble(message), check };
        Ok(Envelope { kind, bytes: codec::encode(&sealed) })
    }

    fn open(&mut self, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let sealed = parse(envelope)?;
        let message = Zeroizing::new(scramble(&sealed.message));
        if sealed.start.is_some_and(|start| start != self.start)
            || sealed.check != self.check(!self.is_starter, sealed.number, &message)
        {
            return Err(CipherError::NoKey);
        }
        self.take_number(sealed.number)?;
        self.has_received = true;
        Ok(message)
    }

    fn state(&self) -> Secret {
        Secret::copy_of(&codec::encode(self))
    }
}

fn parse(envelope: &Envelope) -> Result<Sealed, CipherError> {
    codec::decode(&envelope.bytes).map_err(|_| CipherError::Malformed)
}

/// Makes text unreadable and readable again, so that a test notices what was not opened.
fn scramble(message: &[u8]) -> Vec<u8> {
    message.iter().map(|byte| byte ^ 0x55).collect()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}
