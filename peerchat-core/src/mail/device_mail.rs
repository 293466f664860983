//! [`DeviceMail`]: the mail of one device at one holder: what is kept, what was released, and who takes how much room.

use std::collections::BTreeMap;
use std::ops::Range;

use super::envelope::{EnvelopeId, SIZE_CLASSES, SealedEnvelope};
use super::handing::Holders;
use super::kept::{Depositor, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope};
use super::offering::{Doubt, digest_of};
use super::rpc::MAX_LISTED;
use super::token::TokenTag;
use super::work::{MAX_WORK_BITS, MIN_WORK_BITS};
use crate::idle;
use crate::limits::{Limits, entry, leaf};
use crate::time::Timestamp;

/// Most envelopes kept for one device. What strangers may not take of it is for its contacts.
pub const MAX_KEPT: u64 = 49_152;

/// Most bytes kept for one device, each envelope counted with [`KEPT_OVERHEAD`].
pub const MAX_KEPT_LEN: u64 = 96 << 20;

/// Most envelopes of strangers among them: room for 10,000 of the smallest from one network, see [`MAILBOX_SHARE`].
pub const STRANGERS_KEPT: u64 = 16_384;

/// Most bytes of strangers among them.
pub const STRANGERS_LEN: u64 = 32 << 20;

/// How many eighths of their room strangers fill before work is asked of them.
const FREE_EIGHTHS: u64 = 5;

/// What an envelope costs a holder beside its own bytes: its row and its part of a page on disk, and about 130 bytes
/// of index in memory.
pub const KEPT_OVERHEAD: u64 = 512;

/// One network may take this many times what it leaves free of strangers' room, and one token as much of all room.
/// However many a flood comes from, one more finds a place.
pub const MAILBOX_SHARE: u64 = 2;

/// Most released envelopes that are remembered for one device; when there are more, an eighth is forgotten, those that
/// expire first.
pub const MAX_RELEASED_KEPT: usize = 16_384;

/// What the index takes for an envelope at most: its entry, its tag, and what its depositor or its token has taken.
pub(crate) const KEPT_COST: usize =
    entry::<u64, Kept>() + entry::<EnvelopeTag, u64>() + entry::<Taker, Load>() + entry::<Depositor, Load>();

/// What a device takes at most beside its envelopes: trees that are hardly filled, and the nodes that keep its mail too.
pub(crate) const PLACE_COST: usize = size_of::<DeviceMail>()
    + entry::<MailPlace, Box<DeviceMail>>()
    + leaf::<u64, Kept>()
    + leaf::<EnvelopeTag, u64>()
    + leaf::<Taker, Load>()
    + leaf::<EnvelopeTag, Seconds>()
    + 4 * 64 * size_of::<u64>();

/// What it takes to remember that an envelope was released.
pub(crate) const RELEASED_COST: usize = entry::<EnvelopeTag, Seconds>();

/// Seconds since 1970, rounded up: half the size of a [`Timestamp`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Seconds(u32);

impl Seconds {
    fn until(time: Timestamp) -> Self {
        Self(u32::try_from(time.unix_ms().div_ceil(1000)).unwrap_or(u32::MAX))
    }

    fn time(self) -> Timestamp {
        Timestamp::from_unix_ms(u64::from(self.0) * 1000)
    }

    fn has_passed(self, now: Timestamp) -> bool {
        self.time() <= now
    }
}

/// One kept envelope. Small: a holder has a million of them.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: EnvelopeId,
    depositor: Depositor,
    token: TokenTag,
    expires: Seconds,
    len: u16,
    doubt: Doubt,
}

impl Kept {
    /// Tells whether the envelope, without what came with it, is longer than [`MAX_SMALL_LEN`](super::MAX_SMALL_LEN): what
    /// comes with one does not make it as long as the next size class.
    fn is_large(&self) -> bool {
        usize::from(self.len) >= SealedEnvelope::LEN_BEFORE_BODY + SIZE_CLASSES[2]
    }
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Load {
    pub(super) count: u64,
    pub(super) len: u64,
}

impl Load {
    /// All room of a device.
    const fn all(limits: &Limits) -> Self {
        Self { count: limits.device_mail_count as u64, len: limits.device_mail_len as u64 }
    }

    /// The room that strangers may take of it.
    const fn strangers(limits: &Limits) -> Self {
        Self { count: limits.stranger_mail_count as u64, len: limits.stranger_mail_len as u64 }
    }

    pub(super) const fn add(&mut self, charge: u64) {
        self.count += 1;
        self.len += charge;
    }

    pub(super) const fn subtract(&mut self, charge: u64) {
        self.count -= 1;
        self.len -= charge;
    }

    /// Tells whether one more fits into a room.
    pub(super) const fn has_room(self, room: Self, charge: u64) -> bool {
        self.count < room.count && self.len + charge <= room.len
    }

    /// Tells whether one of many, which has taken `own` of this, may take more of a room.
    fn is_fair(self, room: Self, own: Self, charge: u64) -> bool {
        own.count < MAILBOX_SHARE * room.count.saturating_sub(self.count)
            && own.len + charge <= MAILBOX_SHARE * room.len.saturating_sub(self.len)
    }
}

/// Who takes room in a mailbox, as far as holders tell them apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Taker {
    /// Whoever has this token.
    Contact(TokenTag),
    /// Strangers of this network.
    Network(Depositor),
    /// Strangers of loopback or private addresses, of whom there may be many.
    Local,
}

impl Taker {
    fn of(depositor: Depositor, token: TokenTag) -> Self {
        match (token, depositor) {
            (TokenTag::NONE, Depositor::LOCAL) => Self::Local,
            (TokenTag::NONE, depositor) => Self::Network(depositor),
            (token, _) => Self::Contact(token),
        }
    }

    const fn is_stranger(self) -> bool {
        !matches!(self, Self::Contact(_))
    }
}

/// What one answer to COLLECT lists; see [`super::MailResponse::Listed`].
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) ids: Vec<EnvelopeId>,
    pub(super) large: u32,
    pub(super) next: Option<u64>,
}

/// What left a [`DeviceMail`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Removed {
    pub(super) position: u64,
    pub(super) expires: Timestamp,
    pub(super) charge: u64,
    pub(super) depositor: Depositor,
}

/// The mail of one device at one holder.
#[derive(Debug)]
pub(super) struct DeviceMail {
    /// By position: in the order of arrival.
    kept: BTreeMap<u64, Kept>,
    by_tag: BTreeMap<EnvelopeTag, u64>,
    load: Load,
    /// What strangers have taken of it.
    strangers: Load,
    loads: BTreeMap<Taker, Load>,
    released: BTreeMap<EnvelopeTag, Seconds>,
    /// Nothing in here expires before.
    expires_from: Seconds,
    /// See [`Self::digest`]; `None` if something has changed.
    digest: Option<[u8; 32]>,
    /// Who keeps it beside us.
    pub(super) holders: Holders,
}

impl Default for DeviceMail {
    fn default() -> Self {
        Self {
            kept: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            load: Load::default(),
            strangers: Load::default(),
            loads: BTreeMap::new(),
            released: BTreeMap::new(),
            expires_from: Seconds(u32::MAX),
            digest: None,
            holders: Holders::default(),
        }
    }
}

/// Returns how much of the quotas an envelope of `len` bytes uses.
pub(super) const fn charge(len: u32) -> u64 {
    len as u64 + KEPT_OVERHEAD
}

impl DeviceMail {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.released.is_empty()
    }

    pub(super) fn released_count(&self) -> usize {
        self.released.len()
    }

    /// Returns the position of an envelope that is kept.
    pub(super) fn position_of(&self, id: &EnvelopeId) -> Option<u64> {
        let position = *self.by_tag.get(&EnvelopeTag::of(id))?;
        self.kept.get(&position).filter(|kept| kept.id == *id).map(|_| position)
    }

    /// Returns the position of an envelope that is kept, by its tag.
    pub(super) fn position_of_tag(&self, tag: &EnvelopeTag) -> Option<u64> {
        self.by_tag.get(tag).copied()
    }

    /// Tells whether an envelope was released, by its tag.
    pub(super) fn has_released(&self, tag: &EnvelopeTag) -> bool {
        self.released.contains_key(tag)
    }

    /// Returns the hash of the tags of everything that is kept.
    pub(super) fn digest(&mut self) -> [u8; 32] {
        *self.digest.get_or_insert_with(|| digest_of(self.by_tag.keys()))
    }

    /// Takes that the node whose id begins with `by` says that an envelope was released.
    pub(super) fn doubt(&mut self, position: u64, by: u8) {
        if let Some(kept) = self.kept.get_mut(&position) {
            kept.doubt.raise(by);
        }
    }

    /// Tells whether an envelope was written under a token.
    pub(super) fn is_of_contact(&self, position: u64) -> bool {
        self.kept.get(&position).is_some_and(|kept| kept.token != TokenTag::NONE)
    }

    /// Returns at most `count` envelopes to offer to others that came after the position `after` and up to `to`; those of
    /// contacts only, if there is no room for others.
    pub(super) fn to_offer(
        &self,
        Range { start: after, end: to }: Range<u64>,
        count: usize,
        is_full: bool,
        now: Timestamp,
    ) -> Vec<(u64, EnvelopeTag)> {
        if after >= to {
            return Vec::new();
        }
        let is_fit = |kept: &Kept| {
            !kept.expires.has_passed(now)
                && kept.doubt != Doubt::Released
                && (!is_full || kept.token != TokenTag::NONE)
        };
        let kept = self.kept.range(after + 1..=to).filter(|(_, kept)| is_fit(kept));
        kept.take(count).map(|(position, kept)| (*position, EnvelopeTag::of(&kept.id))).collect()
    }

    /// Tells whether an envelope was released.
    pub(super) fn is_released(&self, id: &EnvelopeId) -> bool {
        self.has_released(&EnvelopeTag::of(id))
    }

    /// Tells whether there is room for an envelope, and whether those of its network, or of its token, may take it.
    pub(super) fn has_room(
        &self,
        charge: u64,
        (depositor, token): (Depositor, TokenTag),
        limits: &Limits,
    ) -> bool {
        let (all, of_strangers) = (Load::all(limits), Load::strangers(limits));
        let taker = Taker::of(depositor, token);
        let own = self.loads.get(&taker).copied().unwrap_or_default();
        let has_room = self.load.has_room(all, charge);
        has_room
            && match taker {
                Taker::Contact(_) => self.load.is_fair(all, own, charge),
                Taker::Network(_) => {
                    self.strangers.has_room(of_strangers, charge)
                        && self.strangers.is_fair(of_strangers, own, charge)
                }
                Taker::Local => self.strangers.has_room(of_strangers, charge),
            }
    }

    /// Returns how much work is asked of a stranger now: none while there is plenty of room, and more the less there is.
    pub(super) fn work_bits(&self, limits: &Limits) -> u8 {
        // In parts of an eighth, so that it grows by one bit at a time.
        let scale = |taken: u64, room: u64| taken * 8 * 1024 / room;
        let (strangers, room) = (self.strangers, Load::strangers(limits));
        let filled = scale(strangers.count, room.count).max(scale(strangers.len, room.len));
        let Some(short) = filled.checked_sub(FREE_EIGHTHS * 1024) else { return 0 };
        let more = short * u64::from(MAX_WORK_BITS - MIN_WORK_BITS) / ((8 - FREE_EIGHTHS) * 1024);
        MIN_WORK_BITS.saturating_add(u8::try_from(more).unwrap_or(u8::MAX)).min(MAX_WORK_BITS)
    }

    /// Keeps an envelope; `false` if one of its tag is kept.
    pub(super) fn insert(&mut self, envelope: &KeptEnvelope) -> bool {
        let tag = EnvelopeTag::of(&envelope.id);
        if self.by_tag.contains_key(&tag) {
            return false;
        }
        let expires = Seconds::until(envelope.expires);
        let len = u16::try_from(envelope.len).unwrap_or(u16::MAX);
        let (id, depositor, token) = (envelope.id, envelope.depositor, envelope.token);
        let kept = Kept { id, depositor, token, expires, len, doubt: Doubt::None };
        self.digest = None;
        self.by_tag.insert(tag, envelope.position);
        self.kept.insert(envelope.position, kept);
        self.expires_from = self.expires_from.min(expires);
        let charge = charge(envelope.len);
        let taker = Taker::of(depositor, token);
        self.load.add(charge);
        if taker.is_stranger() {
            self.strangers.add(charge);
        }
        if taker != Taker::Local {
            self.loads.entry(taker).or_default().add(charge);
        }
        true
    }

    /// Drops an envelope.
    pub(super) fn remove(&mut self, position: u64) -> Option<Removed> {
        let Kept { id, depositor, token, expires, len, .. } = idle::remove(&mut self.kept, &position)?;
        self.digest = None;
        idle::remove(&mut self.by_tag, &EnvelopeTag::of(&id));
        let charge = charge(len.into());
        let taker = Taker::of(depositor, token);
        self.load.subtract(charge);
        if taker.is_stranger() {
            self.strangers.subtract(charge);
        }
        if let Some(load) = self.loads.get_mut(&taker) {
            load.subtract(charge);
            if load.count == 0 {
                idle::remove(&mut self.loads, &taker);
            }
        }
        Some(Removed { position, expires: expires.time(), charge, depositor })
    }

    /// Returns the names of at most `count` envelopes that came after the position `after` and up to `to`, oldest first,
    /// and the position of the last if there are more.
    pub(super) fn list(&self, after: u64, to: u64, count: usize, now: Timestamp) -> Page {
        if after >= to {
            return Page::default();
        }
        let kept = self.kept.range(after + 1..=to).filter(|(_, kept)| !kept.expires.has_passed(now));
        let mut listed: Vec<_> = kept.take(count + 1).collect();
        let is_more = listed.len() > count;
        listed.truncate(count);
        let next = listed.last().filter(|_| is_more).map(|(position, _)| **position);
        let large = listed.iter().enumerate().filter(|(_, (_, kept))| kept.is_large());
        let large = large.fold(0, |set, (index, _)| set | 1 << (index % MAX_LISTED));
        Page { ids: listed.into_iter().map(|(_, kept)| kept.id).collect(), large, next }
    }

    /// Returns the position of the oldest envelope.
    pub(super) fn first_position(&self) -> Option<u64> {
        self.kept.first_key_value().map(|(position, _)| *position)
    }

    /// Returns how many envelopes are kept.
    pub(super) fn kept_count(&self) -> usize {
        self.kept.len()
    }

    /// Tells whether there is an envelope at a position.
    pub(super) fn is_kept(&self, position: u64) -> bool {
        self.kept.contains_key(&position)
    }

    /// Tells whether there is an envelope at a position that has not expired.
    pub(super) fn is_alive(&self, position: u64, now: Timestamp) -> bool {
        self.kept.get(&position).is_some_and(|kept| !kept.expires.has_passed(now))
    }

    /// Remembers that an envelope was released; returns what is to be forgotten so that there is room.
    pub(super) fn note_released(&mut self, released: &ReleasedEnvelope, limit: usize) -> Vec<EnvelopeTag> {
        let expires = Seconds::until(released.expires);
        self.expires_from = self.expires_from.min(expires);
        self.released.insert(released.tag, expires);
        if self.released.len() > limit { self.forget_released() } else { Vec::new() }
    }

    /// Forgets an eighth of what was released, one at least.
    pub(super) fn forget_released(&mut self) -> Vec<EnvelopeTag> {
        let mut by_expiry: Vec<_> = self.released.iter().map(|(tag, expires)| (*expires, *tag)).collect();
        by_expiry.sort_unstable();
        by_expiry.truncate(by_expiry.len().div_ceil(8));
        let forgotten: Vec<_> = by_expiry.into_iter().map(|(_, tag)| tag).collect();
        for tag in &forgotten {
            idle::remove(&mut self.released, tag);
        }
        forgotten
    }

    /// Tells whether something in here may have expired.
    pub(super) fn may_have_expired(&self, now: Timestamp) -> bool {
        self.expires_from.has_passed(now)
    }

    /// Drops at most `limit` envelopes that have expired, and forgets at most as many that were released.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> (Vec<Removed>, Vec<EnvelopeTag>) {
        let expired = self.kept.iter().filter(|(_, kept)| kept.expires.has_passed(now)).take(limit);
        let expired: Vec<u64> = expired.map(|(position, _)| *position).collect();
        let dropped = expired.into_iter().filter_map(|position| self.remove(position)).collect();
        let old = self.released.iter().filter(|(_, expires)| expires.has_passed(now)).take(limit);
        let forgotten: Vec<_> = old.map(|(tag, _)| *tag).collect();
        for tag in &forgotten {
            idle::remove(&mut self.released, tag);
        }
        let rest = self.kept.values().map(|kept| kept.expires).chain(self.released.values().copied());
        self.expires_from = rest.min().unwrap_or(Seconds(u32::MAX));
        (dropped, forgotten)
    }
}
