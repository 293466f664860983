//! [`Rate`], [`Bucket`] and [`SharedLimit`]: how often something may happen, whoever asks for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Addresses whose use of one limit is counted apart. Those that find no room share one more bucket.
pub const MAX_COUNTED_ADDRESSES: usize = 256;

/// How often a full table is looked through for addresses that need no place any more.
const PURGE_INTERVAL: Duration = Duration::from_millis(100);

/// What a [`Bucket`] holds when it is full, and how fast it fills: `burst` at once, then one every `interval` (the GCRA
/// form of a token bucket, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval: Duration,
    /// How far ahead of the clock the schedule may run.
    tolerance: Duration,
}

impl Rate {
    /// So many at once, and as many per second in the long run.
    pub(crate) const fn per_second(count: u32) -> Self {
        Self::new(count, count)
    }

    /// The same of a limit that can be set, which is 1 or more.
    pub(crate) fn of(limit: usize) -> Self {
        Self::per_second(u32::try_from(limit).unwrap_or(u32::MAX).max(1))
    }

    /// `burst` at once, `per_second` in the long run.
    const fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self { interval, tolerance: interval.saturating_mul(burst.saturating_sub(1)) }
    }
}

/// A token bucket, full at first.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When the bucket will be full again; `None` while it has never been used.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token; `false` if there is none, which changes nothing.
    #[must_use]
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at.saturating_duration_since(now) > rate.tolerance {
            return false;
        }
        self.full_at = Some(full_at + rate.interval);
        true
    }

    /// Tells whether the bucket is as good as a new one.
    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// The part of the internet that is one host, or one host's to choose addresses from: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Prefix {
    V4(u32),
    V6(u64),
}

impl Prefix {
    fn of(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// One bucket for everybody and one for each address that has lately taken from it.
///
/// Addresses may be forged: a table full of them costs those that are not in it their own bucket, and nobody else
/// anything.
#[derive(Debug, Default)]
pub(crate) struct SharedLimit {
    all: Bucket,
    each: BTreeMap<Prefix, Bucket>,
    /// For addresses that find no room in `each`.
    others: Bucket,
    /// Before this, a full table is not looked through again.
    purge_at: Option<Instant>,
}

impl SharedLimit {
    /// Takes one token for `from`; `false` if there is none for that address, or none at all.
    #[must_use]
    pub(crate) fn take(&mut self, from: SocketAddr, each: Rate, all: Rate, now: Instant) -> bool {
        self.take_for(from, each, now) && self.all.take(all, now)
    }

    /// The same without a limit for `from`.
    #[must_use]
    pub(crate) fn take_uncounted(&mut self, all: Rate, now: Instant) -> bool {
        self.all.take(all, now)
    }

    fn take_for(&mut self, from: SocketAddr, rate: Rate, now: Instant) -> bool {
        let prefix = Prefix::of(from);
        if self.each.len() >= MAX_COUNTED_ADDRESSES && !self.each.contains_key(&prefix) {
            if self.purge_at.is_none_or(|at| at <= now) {
                self.purge_at = Some(now + PURGE_INTERVAL);
                self.expire(now);
            }
            if self.each.len() >= MAX_COUNTED_ADDRESSES {
                return self.others.take(rate, now);
            }
        }
        self.each.entry(prefix).or_default().take(rate, now)
    }

    /// Forgets addresses whose bucket is full again; returns whether any are left.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.each.retain(|_, bucket| !bucket.is_full(now));
        if self.each.is_empty() {
            self.each = BTreeMap::new();
        }
        !self.each.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn counted_addresses(&self) -> usize {
        self.each.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Rate = Rate::per_second(2);
    const ALL: Rate = Rate::per_second(1_000_000);

    fn address(number: u32) -> SocketAddr {
        (number.to_be_bytes(), 4000).into()
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut taken = |at| (0..9).filter(|_| bucket.take(Rate::new(10, 3), at)).count();
        assert_eq!(taken(start), 3);
        assert_eq!(taken(start + Duration::from_millis(250)), 2);
        assert_eq!(taken(start + Duration::from_secs(60)), 3);
    }

    #[test]
    fn one_address_leaves_the_others_their_share() {
        let (mut limit, now) = (SharedLimit::default(), Instant::now());
        let mut taken = |from, all| (0..9).filter(|_| limit.take(from, EACH, all, now)).count();
        assert_eq!([taken(address(1), ALL), taken(address(2), ALL)], [2, 2]);
        let ports: SocketAddr = ([0, 0, 0, 1], 5000).into();
        assert_eq!(taken(ports, ALL), 0, "a port is no address of its own");
        let [first, same_net, other_net] = ["[2001:db8::1]:1", "[2001:db8::ff:2]:1", "[2001:db8:0:1::1]:1"]
            .map(|text| text.parse().unwrap());
        assert_eq!([first, same_net, other_net].map(|from| taken(from, ALL)), [2, 0, 2]);
        let one_for_all = Rate::per_second(5);
        let mut limit = SharedLimit::default();
        let taken = (0..9).filter(|n| limit.take(address(*n), EACH, one_for_all, now)).count();
        assert_eq!(taken, 5);
    }

    #[test]
    fn a_full_table_of_addresses_does_not_grow_and_empties_itself() {
        let (mut limit, start) = (SharedLimit::default(), Instant::now());
        let mut taken = |range: std::ops::Range<u32>, at| {
            let count = range.filter(|n| limit.take(address(*n), EACH, ALL, at)).count();
            (count, limit.counted_addresses())
        };
        let max = u32::try_from(MAX_COUNTED_ADDRESSES).unwrap();
        assert_eq!(taken(0..max, start), (max as usize, MAX_COUNTED_ADDRESSES));
        assert_eq!(taken(max..2 * max, start), (2, MAX_COUNTED_ADDRESSES), "the others share one bucket");
        assert_eq!(
            taken(0..max, start),
            (max as usize, MAX_COUNTED_ADDRESSES),
            "who is counted keeps theirs"
        );
        let later = start + Duration::from_secs(1);
        assert_eq!(taken(max..max + 1, later), (1, 1));
        assert!(limit.expire(later));
        assert!(!limit.expire(later + Duration::from_secs(1)));
    }
}
