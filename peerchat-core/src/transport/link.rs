//! [`Link`]: one encrypted hop, its keys, its numbers and the address it leads to.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aead::{self, nonce};
use super::frame::Frame;
use super::packet::{DATA_HEADER_LEN, Data, KEY_LEN, TAG_LEN, data_header};
use super::rate::Bucket;
use super::replay::ReplayWindow;
use super::{MAX_DATAGRAM_LEN, rtt::INITIAL_RTO};
use crate::kademlia::NodeKey;

/// Age at which the next call replaces a link by a fresh one. The old one goes on meanwhile.
pub const REKEY_AFTER: Duration = Duration::from_secs(3 * 3600);

/// Age beyond which nothing is sent over a link any more.
pub const REJECT_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Packets sent over a link after which the next call replaces it.
pub const REKEY_AFTER_PACKETS: u64 = 1 << 60;

/// Packets beyond which nothing is sent over a link any more.
pub const REJECT_AFTER_PACKETS: u64 = (1 << 60) + (1 << 32);

/// A RESET is heeded only if it repeats one of this many newest packet numbers.
const RESET_SPAN: u64 = 256;

/// The two keys of a link. They are wiped on drop and never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct LinkKeys {
    send: [u8; KEY_LEN],
    receive: [u8; KEY_LEN],
}

impl LinkKeys {
    /// Takes the keys of a finished handshake.
    pub(super) const fn new(send: [u8; KEY_LEN], receive: [u8; KEY_LEN]) -> Self {
        Self { send, receive }
    }
}

impl fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKeys(..)")
    }
}

/// An address from which the peer was heard, and that it has not proven yet.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    /// Bytes heard from there less bytes sent there: it gets no more than it gave.
    credit: usize,
    /// The challenge sent there last, and when.
    challenge: Option<(u32, Instant)>,
}

/// Why a DATA packet was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OpenError {
    /// Its number was seen before, or is too old to know.
    Replayed,
    /// It is not authentic.
    Forged,
}

/// One encrypted hop.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: NodeKey,
    /// The index that DATA to us carries.
    pub(super) local: u32,
    /// The index that DATA to the peer carries.
    pub(super) remote: u32,
    /// Where the peer is: it was sent something there and answered.
    pub(super) address: SocketAddr,
    pub(super) candidate: Option<Box<Candidate>>,
    pub(super) made_at: Instant,
    /// Requests of the peer that are still being answered.
    pub(super) open_count: u16,
    /// How fast they come.
    pub(super) requests: Bucket,
    /// The peer has the keys: we started the handshake, or a packet arrived.
    pub(super) is_proven: bool,
    /// The peer's key is no node's.
    pub(super) is_throwaway: bool,
    /// The peer seems to have lost the link; cleared by the next packet that arrives over it.
    pub(super) is_suspect: bool,
    keys: LinkKeys,
    sent_count: u64,
    seen: ReplayWindow,
}

/// What a [`Link`] is made of.
pub(super) struct LinkParts {
    pub(super) peer: NodeKey,
    pub(super) local: u32,
    pub(super) remote: u32,
    pub(super) address: SocketAddr,
    pub(super) keys: LinkKeys,
    pub(super) is_proven: bool,
    pub(super) is_throwaway: bool,
}

impl Link {
    /// Makes the link of a handshake that has just ended.
    pub(super) fn new(parts: LinkParts, now: Instant) -> Self {
        let LinkParts { peer, local, remote, address, keys, is_proven, is_throwaway } = parts;
        Self {
            peer,
            local,
            remote,
            address,
            candidate: None,
            made_at: now,
            open_count: 0,
            requests: Bucket::default(),
            is_proven,
            is_throwaway,
            is_suspect: false,
            keys,
            sent_count: 0,
            seen: ReplayWindow::default(),
        }
    }

    /// Encrypts a frame, or nothing at all to prove the link, into a DATA packet; `None` if the link is used up.
    pub(super) fn seal(&mut self, frame: Option<Frame<'_>>) -> Option<Vec<u8>> {
        if self.sent_count >= REJECT_AFTER_PACKETS {
            return None;
        }
        let len = DATA_HEADER_LEN + frame.map_or(0, |frame| frame.encoded_len()) + TAG_LEN;
        let mut packet = Vec::with_capacity(len);
        packet.extend(data_header(self.remote, self.sent_count));
        if let Some(frame) = frame {
            frame.encode(&mut packet);
        }
        let (header, plaintext) = packet.split_at_mut_checked(DATA_HEADER_LEN)?;
        let tag = aead::seal(&self.keys.send, nonce(self.sent_count), header, plaintext)?;
        packet.extend(tag);
        self.sent_count += 1;
        Some(packet)
    }

    /// Decrypts a DATA packet into `buffer` and returns the frame's bytes. Changes nothing: see [`Link::accept`].
    pub(super) fn open<'a>(
        &self,
        data: &Data<'_>,
        buffer: &'a mut [u8; MAX_DATAGRAM_LEN],
    ) -> Result<&'a [u8], OpenError> {
        if !self.seen.is_new(data.counter) {
            return Err(OpenError::Replayed);
        }
        let sealed = buffer.get_mut(..data.sealed.len()).ok_or(OpenError::Forged)?;
        sealed.copy_from_slice(data.sealed);
        aead::open(&self.keys.receive, nonce(data.counter), data.header, sealed).ok_or(OpenError::Forged)
    }

    /// Takes note of an authentic packet of `len` bytes from `from`.
    pub(super) fn accept(&mut self, counter: u64, from: SocketAddr, len: usize) {
        let is_newest = self.seen.is_newest(counter);
        self.seen.insert(counter);
        self.is_suspect = false;
        match &mut self.candidate {
            Some(candidate) if candidate.address == from => {
                candidate.credit = candidate.credit.saturating_add(len);
            }
            _ if !is_newest => {}
            candidate if from == self.address => *candidate = None,
            candidate => {
                *candidate = Some(Box::new(Candidate { address: from, credit: len, challenge: None }));
            }
        }
    }

    /// Returns the CHALLENGE to send to an unproven address, if one is due and the address has credit for it.
    pub(super) fn seal_challenge(&mut self, id: u32, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        let frame = Frame::Challenge { id };
        let candidate = self.candidate.as_mut()?;
        let is_due = candidate.challenge.is_none_or(|(_, at)| now >= at + INITIAL_RTO);
        let address = candidate.address;
        if !is_due || !self.spend(address, DATA_HEADER_LEN + frame.encoded_len() + TAG_LEN) {
            return None;
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.challenge = Some((id, now));
        }
        Some((address, self.seal(Some(frame))?))
    }

    /// Tells whether an ECHO proves that the peer receives at `from`.
    #[must_use]
    pub(super) fn is_echo(&self, id: u32, from: SocketAddr) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| {
            candidate.address == from && candidate.challenge.is_some_and(|(sent, _)| sent == id)
        })
    }

    /// Goes on at an address that the peer has proven.
    pub(super) fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
        self.candidate = None;
    }

    /// Tells whether `len` bytes may be sent to `to`: a proven address takes any number, another what it gave.
    #[must_use]
    pub(super) fn spend(&mut self, to: SocketAddr, len: usize) -> bool {
        if to == self.address {
            return true;
        }
        match &mut self.candidate {
            Some(candidate) if candidate.address == to && candidate.credit >= len => {
                candidate.credit -= len;
                true
            }
            _ => false,
        }
    }

    /// Tells whether calls may be sent over the link.
    #[must_use]
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        !self.is_suspect
            && self.sent_count < REJECT_AFTER_PACKETS
            && now.saturating_duration_since(self.made_at) < REJECT_AFTER
    }

    /// Tells whether the link should be replaced by a fresh one.
    #[must_use]
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.sent_count >= REKEY_AFTER_PACKETS || now.saturating_duration_since(self.made_at) >= REKEY_AFTER
    }

    /// Tells whether a RESET with this counter may answer one of the newest packets.
    #[must_use]
    pub(super) const fn has_sent(&self, counter: u64) -> bool {
        counter < self.sent_count && self.sent_count - counter <= RESET_SPAN
    }
}
