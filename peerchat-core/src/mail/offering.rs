//! OFFER: holders tell each other what they keep, so that those who lack it are given it.

use std::time::{Duration, Instant};

use super::device_mail::DeviceMail;
use super::kept::{EnvelopeTag, MailPlace};
use super::mailbox::{MailTag, Mailbox, Standing, admit};
use super::rpc::{MailResponse, Offer};
use crate::time::Now;

/// How often a holder offers what it keeps to the others, unless one of them that keeps the same just did, as with
/// records (Kademlia paper, 2.5).
pub const OFFER_EVERY: Duration = Duration::from_secs(3600);

/// How often in a row a holder may leave that to others: whoever keeps nobody else from offering is found out then.
pub const MAX_SKIPPED: u8 = 5;

/// When a holder was last offered what it has.
#[derive(Debug, Default)]
pub(super) struct Offers {
    same_at: Option<Instant>,
    skipped: u8,
}

/// What came of a call of the mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MailAnswer {
    /// What was asked is done, as far as it can be: what the recipient has released need not be deposited.
    Done,
    /// The node keeps no user record that lists the device.
    NoRecord,
    /// To OFFER: what it lacks, see [`MailResponse::Wanted`].
    Wanted {
        /// Those that are not there.
        missing: u64,
        /// Those that were released.
        released: u64,
    },
    /// There is no room for it.
    NoRoom,
    /// It was not taken, and another may be.
    NotTaken,
    /// Nothing was done.
    Failed,
}

/// Who called an envelope released that is kept here. One node's word is not enough to let nobody else have it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Doubt {
    /// Nobody.
    #[default]
    None,
    /// The node whose id begins with this byte.
    Of(u8),
    /// Two nodes at least: it is offered to nobody any more. Its device can still fetch it.
    Released,
}

impl Doubt {
    pub(super) fn raise(&mut self, by: u8) {
        *self = match *self {
            Self::None => Self::Of(by),
            Self::Of(first) if first == by => *self,
            Self::Of(_) | Self::Released => Self::Released,
        };
    }
}

/// Returns the hash of everything that is kept for a device.
pub(super) fn digest_of<'a>(tags: impl Iterator<Item = &'a EnvelopeTag>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    tags.for_each(|tag| _ = hasher.update(tag.as_bytes()));
    *hasher.finalize().as_bytes()
}

impl Mailbox {
    /// Takes an OFFER of another holder: tells it what of it is to come here, which nothing else depends on.
    pub fn handle_offer(
        &mut self,
        to: MailTag,
        place: MailPlace,
        offer: &Offer,
        standing: &Standing,
        now: Now,
    ) {
        if let Err(refusal) = admit(standing, &place.device) {
            return self.refuse(to, refusal);
        }
        let (missing, released) = match offer {
            Offer::All(theirs) => (u64::from(!self.is_same(place, theirs, now.instant)), 0),
            Offer::These(tags) => self.compare(place, tags),
        };
        self.reply(to, MailResponse::Wanted { missing, released });
    }

    fn is_same(&mut self, place: MailPlace, theirs: &[u8; 32], now: Instant) -> bool {
        let Some(mail) = self.places.get_mut(&place) else { return digest_of([].iter()) == *theirs };
        let is_same = mail.digest() == *theirs;
        if is_same {
            mail.holders.offers.same_at = Some(now);
        }
        is_same
    }

    /// Returns a bit for each envelope that is not on disk here, and for each that was released.
    fn compare(&self, place: MailPlace, tags: &[EnvelopeTag]) -> (u64, u64) {
        let mail: Option<&DeviceMail> = self.places.get(&place).map(|mail| &**mail);
        let is_released = |tag| mail.is_some_and(|mail| mail.has_released(tag));
        let is_here = |tag| {
            let position = mail.and_then(|mail| mail.position_of_tag(tag));
            position.is_some_and(|position| position <= self.written_to)
        };
        tags.iter().take(super::MAX_OFFERED).zip(0..).fold((0, 0), |(missing, released), (tag, bit)| {
            let is_gone = is_released(tag);
            let is_missing = !is_gone && !is_here(tag);
            (missing | u64::from(is_missing) << bit, released | u64::from(is_gone) << bit)
        })
    }

    /// Tells whether what is kept for a device is to be offered to the other holders now, and takes that it is, or that
    /// it was left to one of them.
    pub fn is_offer_due(&mut self, place: MailPlace, now: Instant) -> bool {
        let Some(mail) = self.places.get_mut(&place).filter(|mail| mail.has_kept()) else { return false };
        let offers = &mut mail.holders.offers;
        let is_done = offers.same_at.is_some_and(|at| now.saturating_duration_since(at) < OFFER_EVERY);
        let is_due = !is_done || offers.skipped >= MAX_SKIPPED;
        offers.skipped = if is_due { 0 } else { offers.skipped + 1 };
        is_due
    }
}
