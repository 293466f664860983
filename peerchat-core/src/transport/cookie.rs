//! Cookies: under load, who starts a handshake first shows that it receives where it claims to be.
//!
//! [`Cookies`] makes and checks them and remembers nothing of those it gave them to; [`KnownCookies`] are those that
//! this node was given.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha20Rng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::frame::encode_address;
use crate::kademlia::NodeKey;

/// How long cookies are made of one secret. They are taken for as long again, so for one to two lifetimes.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// Cookies of others that are remembered. When full, the oldest is dropped, and the next handshake with that peer costs
/// one more round trip.
pub const MAX_KNOWN_COOKIES: usize = 64;

/// Length of a cookie in bytes.
pub(super) const COOKIE_LEN: usize = 16;

/// What a responder under load asks back.
pub(super) type Cookie = [u8; COOKIE_LEN];

/// A secret that cookies are made of.
struct CookieSecret {
    key: Zeroizing<[u8; 32]>,
    made_at: Instant,
}

impl CookieSecret {
    fn draw(rng: &mut ChaCha20Rng, now: Instant) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut_slice());
        Self { key, made_at: now }
    }

    /// Returns the cookie of an address.
    fn cookie(&self, address: SocketAddr) -> Cookie {
        let hash = blake3::keyed_hash(&self.key, &encode_address(address));
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// Tells whether cookies may still be made of it.
    fn is_fresh(&self, now: Instant) -> bool {
        now < self.made_at + COOKIE_LIFETIME
    }

    /// Tells whether cookies made of it are still taken.
    fn is_valid(&self, now: Instant) -> bool {
        now < self.made_at + 2 * COOKIE_LIFETIME
    }
}

/// Makes and checks cookies. Holds at most two secrets, and none before there has been load.
#[derive(Default)]
pub(super) struct Cookies {
    /// The one in use last, then the one before.
    secrets: Vec<CookieSecret>,
}

impl Cookies {
    /// Returns the cookie for who receives at `address`.
    pub(super) fn make(&mut self, address: SocketAddr, rng: &mut ChaCha20Rng, now: Instant) -> Cookie {
        match self.secrets.first() {
            Some(secret) if secret.is_fresh(now) => secret.cookie(address),
            _ => {
                let secret = CookieSecret::draw(rng, now);
                let cookie = secret.cookie(address);
                self.expire(now);
                self.secrets.insert(0, secret);
                self.secrets.truncate(2);
                cookie
            }
        }
    }

    /// Tells whether `cookie` was made for this address not long ago.
    #[must_use]
    pub(super) fn is_valid(&self, cookie: &Cookie, address: SocketAddr, now: Instant) -> bool {
        let fits = |secret: &CookieSecret| bool::from(secret.cookie(address).ct_eq(cookie));
        self.secrets.iter().any(|secret| secret.is_valid(now) && fits(secret))
    }

    /// Forgets secrets whose cookies are taken no more; returns whether any are left.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.secrets.retain(|secret| secret.is_valid(now));
        !self.secrets.is_empty()
    }
}

/// A cookie that a responder gave this node.
struct KnownCookie {
    peer: NodeKey,
    address: SocketAddr,
    cookie: Cookie,
    until: Instant,
}

/// Cookies for handshakes with peers that were under load lately, oldest first.
#[derive(Default)]
pub(super) struct KnownCookies(VecDeque<KnownCookie>);

impl KnownCookies {
    /// Returns the cookie for a handshake with `peer` at `address`.
    pub(super) fn get(&self, peer: &NodeKey, address: SocketAddr, now: Instant) -> Option<Cookie> {
        let fits =
            |known: &&KnownCookie| known.peer == *peer && known.address == address && now < known.until;
        self.0.iter().find(fits).map(|known| known.cookie)
    }

    /// Remembers a cookie in place of the one before.
    pub(super) fn insert(&mut self, peer: NodeKey, address: SocketAddr, cookie: Cookie, now: Instant) {
        self.0.retain(|known| (known.peer, known.address) != (peer, address));
        if self.0.len() >= MAX_KNOWN_COOKIES {
            self.0.pop_front();
        }
        self.0.push_back(KnownCookie { peer, address, cookie, until: now + COOKIE_LIFETIME });
    }

    /// Forgets what is too old; returns whether any are left.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.0.retain(|known| now < known.until);
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const HERE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4000);

    #[test]
    fn a_cookie_is_good_for_its_address_and_port_only() {
        let (mut cookies, mut rng, now) =
            (Cookies::default(), ChaCha20Rng::from_seed([1; 32]), Instant::now());
        let cookie = cookies.make(HERE, &mut rng, now);
        assert!(cookies.is_valid(&cookie, HERE, now));
        assert_eq!(cookies.make(HERE, &mut rng, now), cookie);
        for other in ["192.0.2.1:4001", "192.0.2.2:4000", "[2001:db8::1]:4000"] {
            assert!(!cookies.is_valid(&cookie, other.parse().unwrap(), now));
        }
        assert!(!cookies.is_valid(&[0; COOKIE_LEN], HERE, now));
        assert!(!Cookies::default().is_valid(&cookie, HERE, now), "another node's");
    }

    #[test]
    fn a_cookie_lives_for_one_to_two_lifetimes() {
        let (mut cookies, mut rng, start) =
            (Cookies::default(), ChaCha20Rng::from_seed([1; 32]), Instant::now());
        let first = cookies.make(HERE, &mut rng, start);
        let later = start + COOKIE_LIFETIME;
        let second = cookies.make(HERE, &mut rng, later);
        assert_ne!(first, second);
        let end = later + COOKIE_LIFETIME;
        for (at, first_is_valid) in [(later, true), (end - Duration::from_nanos(1), true), (end, false)] {
            assert_eq!(cookies.is_valid(&first, HERE, at), first_is_valid);
            assert!(cookies.is_valid(&second, HERE, at));
        }
        let third = cookies.make(HERE, &mut rng, end);
        assert_eq!(cookies.secrets.len(), 2);
        assert!(cookies.is_valid(&third, HERE, end) && cookies.is_valid(&second, HERE, end));
        assert!(!cookies.expire(end + 2 * COOKIE_LIFETIME));
    }

    #[test]
    fn known_cookies_are_bounded_and_age() {
        let (mut known, now) = (KnownCookies::default(), Instant::now());
        let peer = |n: usize| NodeKey::from_bytes([n as u8; 32]);
        for n in 0..=MAX_KNOWN_COOKIES {
            known.insert(peer(n), HERE, [n as u8; COOKIE_LEN], now);
        }
        assert_eq!(known.0.len(), MAX_KNOWN_COOKIES);
        assert_eq!((known.get(&peer(0), HERE, now), known.get(&peer(1), HERE, now)), (None, Some([1; 16])));
        known.insert(peer(1), HERE, [9; COOKIE_LEN], now);
        assert_eq!((known.get(&peer(1), HERE, now), known.0.len()), (Some([9; 16]), MAX_KNOWN_COOKIES));
        assert_eq!(known.get(&peer(1), HERE, now + COOKIE_LIFETIME), None);
        assert!(!known.expire(now + COOKIE_LIFETIME));
    }
}
