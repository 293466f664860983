//! [`Allowances`]: what strangers may ask for, how often, and what they must show for it under load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use std::sync::Arc;

use super::rate::{Bucket, Rate, SharedLimit};
use crate::limits::Limits;

/// KEY_REQUESTs answered per second, and at once; the rest is dropped.
pub const KEY_REPLIES_PER_SECOND: u32 = 1000;

/// The same for one address, which is an IPv4 address or an IPv6 /64.
pub const KEY_REPLIES_PER_ADDRESS: u32 = 100;

/// New HANDSHAKE_INITs per second, and at once, that are taken as they come. Where more arrive there is load: each must
/// show a cookie, and each address has a limit of its own, until [`LOAD_LINGERS`] after the last one too many.
pub const CALM_INITS_PER_SECOND: u32 = 200;

/// How long load is assumed after the last HANDSHAKE_INIT beyond [`CALM_INITS_PER_SECOND`].
pub const LOAD_LINGERS: Duration = Duration::from_secs(5);

/// HANDSHAKE_INITs read per second and address under load, and at once; the rest is dropped.
pub const INITS_PER_ADDRESS: u32 = 50;

/// HANDSHAKE_INITs read per second, and at once; the rest is dropped. Each costs 0.1 to 0.3 ms.
pub const INITS_PER_SECOND: u32 = 2000;

/// RESETs sent per second, and at once; the rest is left out.
pub const RESETS_SENT_PER_SECOND: u32 = 1000;

/// The same to one address.
pub const RESETS_SENT_PER_ADDRESS: u32 = 100;

/// RESETs looked at per second, and at once; the rest is dropped.
pub const RESETS_HEEDED_PER_SECOND: u32 = 1000;

/// The same from one address.
pub const RESETS_HEEDED_PER_ADDRESS: u32 = 100;

/// Requests of others taken per second, and at once; the rest is dropped, and repeated by whoever asks. So much that what is
/// dropped is no loss to honest nodes, and so little that the engine keeps up with it.
pub const REQUESTS_PER_SECOND: usize = 150_000;

/// The same from one address.
pub const REQUESTS_PER_ADDRESS: usize = 100_000;

/// The same over one link.
pub const REQUESTS_PER_LINK: usize = 20_000;

/// What becomes of a HANDSHAKE_INIT that is neither forged nor a repetition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It is read.
    Read,
    /// Its sender is asked to come back with a cookie.
    AskForCookie,
    /// It is dropped.
    Drop,
}

/// Counts what strangers ask for.
#[derive(Debug)]
pub(super) struct Allowances {
    limits: Arc<Limits>,
    calm_inits: Bucket,
    /// When load ends, if no more comes.
    loaded_until: Option<Instant>,
    inits: SharedLimit,
    key_replies: SharedLimit,
    resets_sent: SharedLimit,
    resets_heeded: SharedLimit,
    requests: SharedLimit,
}

impl Allowances {
    pub(super) fn new(limits: &Arc<Limits>) -> Self {
        Self {
            limits: limits.clone(),
            calm_inits: Bucket::default(),
            loaded_until: None,
            inits: SharedLimit::default(),
            key_replies: SharedLimit::default(),
            resets_sent: SharedLimit::default(),
            resets_heeded: SharedLimit::default(),
            requests: SharedLimit::default(),
        }
    }

    /// Tells whether a request from this address may be taken that has come over a link with this bucket.
    #[must_use]
    pub(super) fn admits_request(&mut self, from: SocketAddr, link: &mut Bucket, now: Instant) -> bool {
        let Limits { requests, requests_per_address, requests_per_link, .. } = *self.limits;
        link.take(Rate::of(requests_per_link), now)
            && self.requests.take(from, Rate::of(requests_per_address), Rate::of(requests), now)
    }

    /// Decides about a HANDSHAKE_INIT; `has_cookie` is asked only under load.
    pub(super) fn admit_init(
        &mut self,
        from: SocketAddr,
        has_cookie: impl FnOnce() -> bool,
        now: Instant,
    ) -> Admission {
        let (all, each) = (Rate::of(self.limits.inits), Rate::of(self.limits.inits_per_address));
        let is_admitted = if !self.is_loaded_by_one_more(now) {
            self.inits.take_uncounted(all, now)
        } else if has_cookie() {
            self.inits.take(from, each, all, now)
        } else {
            return Admission::AskForCookie;
        };
        if is_admitted { Admission::Read } else { Admission::Drop }
    }

    /// Takes note of one more HANDSHAKE_INIT and tells whether there is load.
    fn is_loaded_by_one_more(&mut self, now: Instant) -> bool {
        if !self.calm_inits.take(Rate::of(self.limits.calm_inits), now) {
            self.loaded_until = Some(now + LOAD_LINGERS);
        }
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Tells whether a KEY_REQUEST from this address may be answered.
    #[must_use]
    pub(super) fn admits_key_reply(&mut self, to: SocketAddr, now: Instant) -> bool {
        let Limits { key_replies, key_replies_per_address, .. } = *self.limits;
        self.key_replies.take(to, Rate::of(key_replies_per_address), Rate::of(key_replies), now)
    }

    /// Tells whether a RESET may go to this address.
    #[must_use]
    pub(super) fn admits_sent_reset(&mut self, to: SocketAddr, now: Instant) -> bool {
        let Limits { resets, resets_per_address, .. } = *self.limits;
        self.resets_sent.take(to, Rate::of(resets_per_address), Rate::of(resets), now)
    }

    /// Tells whether a RESET from this address is worth a look.
    #[must_use]
    pub(super) fn admits_heeded_reset(&mut self, from: SocketAddr, now: Instant) -> bool {
        let Limits { resets, resets_per_address, .. } = *self.limits;
        self.resets_heeded.take(from, Rate::of(resets_per_address), Rate::of(resets), now)
    }

    /// Forgets addresses that have not asked for anything lately; returns whether any are left.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let limits = [
            &mut self.inits,
            &mut self.key_replies,
            &mut self.resets_sent,
            &mut self.resets_heeded,
            &mut self.requests,
        ];
        limits.into_iter().map(|limit| limit.expire(now)).fold(false, |any, has| any | has)
    }

    #[cfg(test)]
    pub(super) fn counted_addresses(&self) -> [usize; 4] {
        [&self.inits, &self.key_replies, &self.resets_sent, &self.resets_heeded]
            .map(SharedLimit::counted_addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> SocketAddr {
        (number.to_be_bytes(), 4000).into()
    }

    #[test]
    fn load_begins_with_one_init_too_many_and_ends_by_itself() {
        let (mut limits, start) = (Allowances::new(&Limits::shared()), Instant::now());
        for n in 0..CALM_INITS_PER_SECOND {
            let admission = limits.admit_init(address(n), || panic!("no load, no cookie"), start);
            assert_eq!(admission, Admission::Read);
        }
        assert_eq!(limits.admit_init(address(1), || false, start), Admission::AskForCookie);
        assert_eq!(limits.admit_init(address(1), || true, start), Admission::Read);

        let almost = start + LOAD_LINGERS - Duration::from_nanos(1);
        assert_eq!(limits.admit_init(address(1), || false, almost), Admission::AskForCookie);
        assert_eq!(limits.admit_init(address(1), || false, start + LOAD_LINGERS), Admission::Read);
    }

    #[test]
    fn load_lasts_while_inits_keep_coming() {
        let (mut limits, start) = (Allowances::new(&Limits::shared()), Instant::now());
        let gap = Duration::from_secs(1) / (CALM_INITS_PER_SECOND * 2);
        let seconds = 30;
        let asked = (0..CALM_INITS_PER_SECOND * 2 * seconds)
            .filter(|n| limits.admit_init(address(*n), || false, start + gap * *n) == Admission::AskForCookie)
            .count();
        assert!(asked > (CALM_INITS_PER_SECOND * 2 * (seconds - 2)) as usize, "{asked}");
    }

    #[test]
    fn under_load_an_address_has_its_share_and_all_have_theirs() {
        let (mut limits, now) = (Allowances::new(&Limits::shared()), Instant::now());
        (0..=CALM_INITS_PER_SECOND).for_each(|_| {
            limits.admit_init(address(0), || false, now);
        });
        let mut read = |from| {
            let tries = (0..INITS_PER_SECOND).map(|_| limits.admit_init(from, || true, now));
            tries.filter(|admission| *admission == Admission::Read).count() as u32
        };
        assert_eq!(read(address(1)), INITS_PER_ADDRESS);
        assert_eq!(read(address(2)), INITS_PER_ADDRESS);
        let rest: u32 = (3..100).map(|n| read(address(n))).sum();
        assert_eq!(CALM_INITS_PER_SECOND + 2 * INITS_PER_ADDRESS + rest, INITS_PER_SECOND);
    }
}
