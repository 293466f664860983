//! [`Liar`]: the cipher of a device that seals other words than it was given, as only somebody with a session can.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use peerchat_core::crypto::{
    CipherError, DeviceCipher, DeviceKeys, Envelope, FirstMessage, IdentityKey, Prekey, Secret,
    SessionCipher, SessionId, SessionStart, StandIn,
};
use zeroize::Zeroizing;

use crate::input::Input;

/// How many lies wait at most.
const MAX_LIES: usize = 16;

/// What is sealed next in the place of what should be: each is used once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lies(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl Lies {
    pub(crate) fn add(&self, lie: &[u8]) {
        let mut lies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lies.len() < MAX_LIES {
            lies.push_back(lie.to_vec());
        }
    }

    /// Returns a message as the next lie has it: something else altogether, or changed a little.
    fn tell(&self, message: &[u8]) -> Vec<u8> {
        let lie = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut message = message.to_vec();
        if let Some(lie) = lie {
            let mut input = Input::new(&lie);
            if input.flag() {
                return input.rest().to_vec();
            }
            while !input.is_empty() {
                input.damage(&mut message);
            }
        }
        message
    }
}

#[derive(Debug)]
pub(crate) struct Liar {
    cipher: StandIn,
    lies: Lies,
}

#[derive(Debug)]
struct LiarSession {
    session: Box<dyn SessionCipher>,
    lies: Lies,
}

impl Liar {
    /// Makes the cipher of a device, or takes up the one that was saved.
    pub(crate) fn new(state: Option<&Secret>, seed: u8, lies: Lies) -> Self {
        let cipher = match state {
            Some(state) => StandIn::restore(state, seed.into()).expect("what was written is there"),
            None => StandIn::new(seed.into()),
        };
        Self { cipher, lies }
    }

    fn session(&self, session: Box<dyn SessionCipher>) -> Box<dyn SessionCipher> {
        Box::new(LiarSession { session, lies: self.lies.clone() })
    }
}

impl DeviceCipher for Liar {
    fn identity(&self) -> IdentityKey {
        self.cipher.identity()
    }

    fn add_prekey(&mut self) -> Prekey {
        self.cipher.add_prekey()
    }

    fn drop_prekey(&mut self, prekey: &Prekey) {
        self.cipher.drop_prekey(prekey);
    }

    fn state(&self) -> Secret {
        self.cipher.state()
    }

    fn start(&mut self, with: &DeviceKeys) -> Result<Box<dyn SessionCipher>, CipherError> {
        let session = self.cipher.start(with)?;
        Ok(self.session(session))
    }

    fn session_start(&self, envelope: &Envelope) -> Option<SessionStart> {
        self.cipher.session_start(envelope)
    }

    fn accept(&self, from: &IdentityKey, envelope: &Envelope) -> Result<FirstMessage, CipherError> {
        let FirstMessage { session, opened } = self.cipher.accept(from, envelope)?;
        Ok(FirstMessage { session: self.session(session), opened })
    }

    fn restore(&self, state: &Secret) -> Result<Box<dyn SessionCipher>, CipherError> {
        Ok(self.session(DeviceCipher::restore(&self.cipher, state)?))
    }
}

impl SessionCipher for LiarSession {
    fn id(&self) -> SessionId {
        self.session.id()
    }

    fn seal(&mut self, message: &[u8]) -> Result<Envelope, CipherError> {
        self.session.seal(&self.lies.tell(message))
    }

    fn open(&mut self, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        self.session.open(envelope)
    }

    fn state(&self) -> Secret {
        self.session.state()
    }
}
