//! [`Sessions`]: the keys of this device, and its sessions with the devices of others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::crypto::{
    CipherError, DeviceCipher, DeviceKeys, Envelope, IdentityKey, Prekey, Prekeys, SealError, SealKey,
    SealKeys, Secret, SessionCipher, SessionId, SessionStart,
};
use crate::kademlia::NodeId;
use crate::save::{ConversationId, Saved, SavedDevice, SavedSession, Write};
use crate::time::Timestamp;

/// Most sessions with one device. A new one takes the place of the one that was not used for the longest time.
pub const MAX_SESSIONS: usize = 16;

/// Most sessions that one device may start in a day. One more is answered "busy".
pub const MAX_NEW_SESSIONS: usize = 20;

/// Most sessions in all, and most that have ended and are remembered. A device that starts one more is answered "busy".
pub const MAX_SESSIONS_IN_ALL: usize = 65_536;

/// What a session takes of memory at most: five chains with the keys of 40 messages each that have not come.
pub(crate) const SESSION_COST: usize = 11 * 1024;

/// What the state of one takes as it is saved, which is how it is kept until it is used after a restart.
pub(crate) const SAVED_SESSION_COST: usize = 32 * 1024;

/// Most messages that are sealed in one session with none of them acknowledged: Olm opens nothing that lies more than
/// 2,000 ahead. The next one is sealed in a new session.
const MAX_UNACKNOWLEDGED: usize = 1000;

/// How long a session that another device has started counts against [`MAX_NEW_SESSIONS`].
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A device of another person, in one conversation.
pub(crate) type Peer = (ConversationId, NodeId);

/// Why an envelope was not opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OpenError {
    /// No session opens it, and it may not start one.
    Unopened,
    /// It would start one session too many.
    Busy,
    /// It starts a session, and not with the key that the device is known by.
    OtherKey,
}

/// Every session of this device.
pub(crate) struct Sessions {
    cipher: Box<dyn DeviceCipher>,
    prekeys: Prekeys,
    seals: SealKeys,
    live: BTreeMap<Peer, Vec<Session>>,
    live_count: usize,
    /// Sessions that others started and that have ended, while their prekey lives.
    ended: BTreeMap<SessionId, Prekey>,
    /// When each device has started sessions, within the last day.
    started: BTreeMap<Peer, Vec<Timestamp>>,
    last_used: u64,
    /// What has changed since [`Self::take_writes`].
    changed: BTreeSet<(Peer, SessionId)>,
    writes: Vec<Write>,
}

struct Session {
    id: SessionId,
    state: State,
    prekey: Option<Prekey>,
    last_used: u64,
    is_retired: bool,
    unacknowledged: usize,
}

enum State {
    /// Not used since the profile was opened.
    Saved(Secret),
    Open(Box<dyn SessionCipher>),
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("live_count", &self.live_count).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Takes up what was saved of the device with these keys.
    pub(crate) fn restore(cipher: Box<dyn DeviceCipher>, saved: &mut Saved) -> Self {
        let keys = saved.device.take().map(|device| (device.prekeys, device.seals));
        let (prekeys, seals) = keys.unwrap_or_default();
        let mut sessions = Self {
            cipher,
            prekeys,
            seals,
            live: BTreeMap::new(),
            live_count: 0,
            ended: BTreeMap::new(),
            started: BTreeMap::new(),
            last_used: 0,
            changed: BTreeSet::new(),
            writes: Vec::new(),
        };
        for session in std::mem::take(&mut saved.sessions) {
            let SavedSession { id, conversation, device, prekey, state, last_used, is_retired } = session;
            sessions.last_used = sessions.last_used.max(last_used);
            match (state, prekey) {
                (Some(state), prekey) => {
                    let state = State::Saved(state);
                    let session = Session { id, state, prekey, last_used, is_retired, unacknowledged: 0 };
                    sessions.live.entry((conversation, device)).or_default().push(session);
                    sessions.live_count += 1;
                }
                (None, Some(prekey)) => _ = sessions.ended.insert(id, prekey),
                (None, None) => {}
            }
        }
        sessions
    }

    /// Replaces the prekey and the seal key if they are due, and returns the public keys that the device now has.
    /// `material` is what a new seal key is made of: 32 secret random bytes.
    pub(crate) fn rotate(&mut self, material: &[u8; 32], now: Timestamp) -> DeviceKeys {
        let dropped = self.prekeys.rotate(&mut *self.cipher, now);
        if self.seals.rotate(material, now) || dropped.is_some() {
            let (prekeys, seals) = (self.prekeys.clone(), self.seals.clone());
            self.writes.push(Write::Device(SavedDevice { state: self.cipher.state(), prekeys, seals }));
            self.forget_ended(&dropped.unwrap_or_default());
        }
        // After a rotation there are both.
        let prekey = self.prekeys.current().unwrap_or(Prekey([0; 32]));
        let seal = self.seals.current().unwrap_or(SealKey([0; 32]));
        DeviceKeys { identity: self.cipher.identity(), prekey, seal }
    }

    /// Opens mail that was sealed to this device; see [`SealKeys::open`].
    ///
    /// # Errors
    ///
    /// No key fits, or a byte was changed.
    pub(crate) fn unseal(&self, bound: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.seals.open(bound, sealed)
    }

    /// Forgets the ended sessions of prekeys that start nothing any more.
    fn forget_ended(&mut self, dropped: &[Prekey]) {
        let gone: Vec<SessionId> =
            self.ended.iter().filter(|(_, prekey)| dropped.contains(prekey)).map(|(id, _)| *id).collect();
        for id in gone {
            self.ended.remove(&id);
            self.writes.push(Write::SessionGone { id });
        }
    }

    /// Returns what has to be saved together with what was just sealed or opened.
    pub(crate) fn take_writes(&mut self) -> Vec<Write> {
        let mut writes = std::mem::take(&mut self.writes);
        for (peer, id) in std::mem::take(&mut self.changed) {
            let found = self.live.get(&peer).and_then(|list| list.iter().find(|session| session.id == id));
            writes.extend(found.map(|session| Write::Session(session.to_saved(peer))));
        }
        writes
    }

    /// Tells whether there is a session to seal in.
    pub(crate) fn can_seal(&mut self, peer: Peer) -> bool {
        self.sealing(peer).is_some()
    }

    /// Returns the session to seal in: of those that still may, the one that last opened something new.
    fn sealing(&mut self, peer: Peer) -> Option<&mut Session> {
        let list = self.live.get_mut(&peer)?;
        let usable = list
            .iter_mut()
            .filter(|session| !session.is_retired && session.unacknowledged < MAX_UNACKNOWLEDGED);
        usable.max_by_key(|session| session.last_used)
    }

    /// Starts a session with a device that has these keys.
    ///
    /// # Errors
    ///
    /// The keys are not usable.
    pub(crate) fn start(&mut self, peer: Peer, keys: &DeviceKeys) -> Result<(), CipherError> {
        let session = self.cipher.start(keys)?;
        self.insert(peer, session, None);
        Ok(())
    }

    /// Seals a message in the session that was last used.
    ///
    /// # Errors
    ///
    /// There is no session, or its state is damaged; then it is gone, and a new one must be started.
    pub(crate) fn seal(&mut self, peer: Peer, message: &[u8]) -> Result<Envelope, CipherError> {
        loop {
            let session = self.sealing(peer).ok_or(CipherError::NoKey)?;
            let id = session.id;
            session.unacknowledged += 1;
            let sealed = self.with_cipher(peer, id, |cipher| cipher.seal(message));
            match sealed {
                Some(sealed) => return sealed.inspect(|_| _ = self.changed.insert((peer, id))),
                None => self.end(peer, id),
            }
        }
    }

    /// Opens an envelope of a device, in one of its sessions or in a new one.
    ///
    /// # Errors
    ///
    /// It does not open, or starts a session and may not.
    pub(crate) fn open(
        &mut self,
        peer: Peer,
        identity: &IdentityKey,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let start = self.cipher.session_start(envelope);
        let mut known: Vec<(u64, SessionId)> = self
            .live
            .get(&peer)
            .into_iter()
            .flatten()
            .filter(|session| start.is_none_or(|start| start.id == session.id))
            .map(|session| (session.last_used, session.id))
            .collect();
        known.sort_unstable_by_key(|(last_used, _)| std::cmp::Reverse(*last_used));
        for (_, id) in &known {
            match self.with_cipher(peer, *id, |cipher| cipher.open(envelope)) {
                Some(Ok(opened)) => {
                    self.touch(peer, *id);
                    return Ok(opened);
                }
                Some(Err(_)) => {}
                None => self.end(peer, *id),
            }
        }
        match start {
            Some(start) if known.is_empty() => self.accept(peer, start, identity, envelope, now),
            _ => Err(OpenError::Unopened),
        }
    }

    /// Returns how many sessions there are with the devices of a conversation.
    pub(crate) fn count_of(&self, conversation: ConversationId) -> usize {
        let [first, last] = [[0; 32], [0xff; 32]].map(NodeId::from_bytes);
        let lists = self.live.range((conversation, first)..=(conversation, last));
        lists.map(|(_, list)| list.len()).sum()
    }

    /// Tells whether an envelope would start a session.
    pub(crate) fn is_start(&self, peer: Peer, envelope: &Envelope) -> bool {
        let start = self.cipher.session_start(envelope);
        let list = self.live.get(&peer).map_or(&[][..], Vec::as_slice);
        start.is_some_and(|start| list.iter().all(|session| session.id != start.id))
    }

    fn accept(
        &mut self,
        peer: Peer,
        start: SessionStart,
        identity: &IdentityKey,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if self.ended.contains_key(&start.id) {
            return Err(OpenError::Unopened);
        }
        let started = self.started.entry(peer).or_default();
        started.retain(|at| now.saturating_since(*at) < DAY && *at <= now);
        let is_full = self.live_count.max(self.ended.len()) >= MAX_SESSIONS_IN_ALL;
        if started.len() >= MAX_NEW_SESSIONS || is_full {
            return Err(OpenError::Busy);
        }
        let first = self.cipher.accept(identity, envelope).map_err(|error| match error {
            CipherError::BadKeys => OpenError::OtherKey,
            CipherError::Malformed | CipherError::NoKey | CipherError::UnknownPrekey => OpenError::Unopened,
        })?;
        started.push(now);
        self.insert(peer, first.session, Some(start.prekey));
        Ok(first.opened)
    }

    /// Takes no session of a device for sealing any more; what comes in them is still opened.
    pub(crate) fn retire(&mut self, peer: Peer) {
        for session in self.live.get_mut(&peer).into_iter().flatten() {
            session.is_retired = true;
            self.changed.insert((peer, session.id));
        }
    }

    /// Takes that a device has acknowledged what was sealed for it.
    pub(crate) fn handle_acknowledged(&mut self, peer: Peer) {
        for session in self.live.get_mut(&peer).into_iter().flatten() {
            session.unacknowledged = 0;
        }
    }

    fn insert(&mut self, peer: Peer, cipher: Box<dyn SessionCipher>, prekey: Option<Prekey>) {
        let list = self.live.entry(peer).or_default();
        let oldest = list.iter().min_by_key(|session| session.last_used).map(|session| session.id);
        if let Some(oldest) = oldest.filter(|_| list.len() >= MAX_SESSIONS) {
            self.end(peer, oldest);
        }
        let id = cipher.id();
        let state = State::Open(cipher);
        let session = Session { id, state, prekey, last_used: 0, is_retired: false, unacknowledged: 0 };
        self.live.entry(peer).or_default().push(session);
        self.live_count += 1;
        self.touch(peer, id);
    }

    /// Ends a session. One that another device has started is remembered while its prekey lives.
    fn end(&mut self, peer: Peer, id: SessionId) {
        let Some(list) = self.live.get_mut(&peer) else { return };
        let Some(index) = list.iter().position(|session| session.id == id) else { return };
        let session = list.swap_remove(index);
        self.live_count -= 1;
        self.changed.remove(&(peer, id));
        let living = session.prekey.filter(|prekey| self.prekeys.iter().any(|(other, _)| other == *prekey));
        match living {
            Some(prekey) => {
                self.ended.insert(id, prekey);
                self.writes.push(Write::Session(SavedSession { state: None, ..session.to_saved(peer) }));
            }
            None => self.writes.push(Write::SessionGone { id }),
        }
    }

    fn touch(&mut self, peer: Peer, id: SessionId) {
        self.last_used += 1;
        if let Some(session) = find(&mut self.live, peer, id) {
            session.last_used = self.last_used;
            self.changed.insert((peer, id));
        }
    }

    /// Does something with a session; `None` if its saved state is damaged.
    fn with_cipher<T>(
        &mut self,
        peer: Peer,
        id: SessionId,
        act: impl FnOnce(&mut dyn SessionCipher) -> T,
    ) -> Option<T> {
        let session = find(&mut self.live, peer, id)?;
        if let State::Saved(saved) = &session.state {
            session.state = State::Open(self.cipher.restore(saved).ok()?);
        }
        match &mut session.state {
            State::Open(cipher) => Some(act(&mut **cipher)),
            State::Saved(_) => None,
        }
    }
}

fn find(live: &mut BTreeMap<Peer, Vec<Session>>, peer: Peer, id: SessionId) -> Option<&mut Session> {
    live.get_mut(&peer)?.iter_mut().find(|session| session.id == id)
}

impl Session {
    fn to_saved(&self, (conversation, device): Peer) -> SavedSession {
        let state = match &self.state {
            State::Saved(saved) => saved.clone(),
            State::Open(cipher) => cipher.state(),
        };
        SavedSession {
            id: self.id,
            conversation,
            device,
            prekey: self.prekey,
            state: Some(state),
            last_used: self.last_used,
            is_retired: self.is_retired,
        }
    }
}

#[cfg(test)]
mod tests;
