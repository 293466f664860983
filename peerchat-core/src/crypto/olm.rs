//! [`Olm`]: the double ratchet of vodozemac, whole MACs, started from a prekey that is not used up.

use std::{fmt, io};

use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig, SessionKeys};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::session::{
    CipherError, DeviceCipher, DeviceKeys, Envelope, EnvelopeKind, FirstMessage, IdentityKey, Prekey,
    SessionCipher, SessionId, SessionStart,
};

/// Room for a state while it is written, to begin with. Few take more; a session with every key it can keep takes about 30 kB.
const STATE_ROOM: usize = 4096;

/// The keys of one device.
pub struct Olm(Account);

impl Olm {
    /// Makes a device, or takes one up again that was saved.
    ///
    /// # Errors
    ///
    /// The saved state is damaged.
    pub fn restore(state: Option<&Secret>) -> Result<Self, CipherError> {
        let Some(state) = state else { return Ok(Self(Account::new())) };
        let pickle = serde_json::from_slice(state.reveal()).map_err(|_| CipherError::Malformed)?;
        Ok(Self(Account::from_pickle(pickle)))
    }
}

impl fmt::Debug for Olm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Olm(..)")
    }
}

impl DeviceCipher for Olm {
    fn identity(&self) -> IdentityKey {
        IdentityKey(self.0.curve25519_key().to_bytes())
    }

    fn add_prekey(&mut self) -> Prekey {
        let created = self.0.generate_one_time_keys(1).created;
        self.0.mark_keys_as_published();
        // One was asked for; zero is refused by whoever would start a session from it.
        Prekey(created.first().map_or([0; 32], Curve25519PublicKey::to_bytes))
    }

    fn drop_prekey(&mut self, prekey: &Prekey) {
        self.0.remove_one_time_key(Curve25519PublicKey::from_bytes(prekey.0));
    }

    fn state(&self) -> Secret {
        state_of(&self.0.pickle())
    }

    fn start(&mut self, with: &DeviceKeys) -> Result<Box<dyn SessionCipher>, CipherError> {
        let [identity, prekey] = [with.identity.0, with.prekey.0].map(Curve25519PublicKey::from_bytes);
        let session = self.0.create_outbound_session(SessionConfig::version_2(), identity, prekey);
        Ok(Box::new(OlmSession(session.map_err(|_| CipherError::BadKeys)?)))
    }

    fn session_start(&self, envelope: &Envelope) -> Option<SessionStart> {
        let OlmMessage::PreKey(first) = parse(envelope).ok()? else { return None };
        let keys = first.session_keys();
        Some(SessionStart { id: id_of(&keys), prekey: Prekey(keys.one_time_key.to_bytes()) })
    }

    fn accept(&self, from: &IdentityKey, envelope: &Envelope) -> Result<FirstMessage, CipherError> {
        use vodozemac::olm::SessionCreationError as E;
        let OlmMessage::PreKey(first) = parse(envelope)? else { return Err(CipherError::Malformed) };
        // Olm takes a prekey for used up once it has started a session. Ours start many: a copy of the keys is used.
        let mut keys = Account::from_pickle(self.0.pickle());
        let from = Curve25519PublicKey::from_bytes(from.0);
        let made = keys.create_inbound_session(SessionConfig::version_2(), from, &first);
        let made = made.map_err(|error| match error {
            E::MissingOneTimeKey(_) => CipherError::UnknownPrekey,
            E::MismatchedIdentityKey(..) | E::NonContributoryKey => CipherError::BadKeys,
            E::MismatchedSessionConfig { .. } => CipherError::Malformed,
            E::Decryption(_) => CipherError::NoKey,
        })?;
        Ok(FirstMessage {
            session: Box::new(OlmSession(made.session)),
            opened: Zeroizing::new(made.plaintext),
        })
    }

    fn restore(&self, state: &Secret) -> Result<Box<dyn SessionCipher>, CipherError> {
        let pickle = serde_json::from_slice(state.reveal()).map_err(|_| CipherError::Malformed)?;
        Ok(Box::new(OlmSession(Session::from_pickle(pickle))))
    }
}

/// A session with one device.
struct OlmSession(Session);

impl fmt::Debug for OlmSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OlmSession(..)")
    }
}

impl SessionCipher for OlmSession {
    fn id(&self) -> SessionId {
        id_of(&self.0.session_keys())
    }

    fn seal(&mut self, message: &[u8]) -> Result<Envelope, CipherError> {
        let (kind, bytes) = self.0.encrypt(message).map_err(|_| CipherError::NoKey)?.to_parts();
        let kind = if kind == FIRST { EnvelopeKind::First } else { EnvelopeKind::Later };
        Ok(Envelope { kind, bytes })
    }

    fn open(&mut self, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let message = parse(envelope)?;
        if let OlmMessage::PreKey(first) = &message
            && first.session_keys() != self.0.session_keys()
        {
            return Err(CipherError::NoKey);
        }
        self.0.decrypt(&message).map(Zeroizing::new).map_err(|_| CipherError::NoKey)
    }

    fn state(&self) -> Secret {
        state_of(&self.0.pickle())
    }
}

/// Olm's numbers for the two kinds of message.
const FIRST: usize = 0;
const LATER: usize = 1;

fn parse(envelope: &Envelope) -> Result<OlmMessage, CipherError> {
    let kind = match envelope.kind {
        EnvelopeKind::First => FIRST,
        EnvelopeKind::Later => LATER,
    };
    OlmMessage::from_parts(kind, &envelope.bytes).map_err(|_| CipherError::Malformed)
}

fn id_of(keys: &SessionKeys) -> SessionId {
    let mut hasher = blake3::Hasher::new();
    for key in [keys.identity_key, keys.base_key, keys.one_time_key] {
        hasher.update(key.as_bytes());
    }
    SessionId(*hasher.finalize().as_bytes())
}

/// Returns a pickle as JSON, which is the form that vodozemac's pickles survive.
fn state_of(pickle: &impl serde::Serialize) -> Secret {
    let mut written = Written(Zeroizing::new(Vec::with_capacity(STATE_ROOM)));
    // Writing to memory does not fail; an empty state would be noticed as damaged when it is restored.
    let _ = serde_json::to_writer(&mut written, pickle);
    Secret::copy_of(&written.0)
}

/// What is written, which is wiped where it was when it has to move.
struct Written(Zeroizing<Vec<u8>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.len() + bytes.len();
        if len > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * self.0.capacity())));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_written_is_whole_whatever_its_length() {
        let mut written = Written(Zeroizing::new(Vec::with_capacity(4)));
        let parts: [&[u8]; 5] = [b"", b"abc", b"d", b"efghijklmnopq", b"r"];
        for part in parts {
            written.write_all(part).unwrap();
        }
        assert_eq!(*written.0, parts.concat());
    }
}
