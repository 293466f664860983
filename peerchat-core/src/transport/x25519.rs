//! X25519 (RFC 7748): ten multiplications make up most of what a handshake costs.
//!
//! Where the processor allows it, `graviola` does them, with s2n-bignum's formally verified assembly; elsewhere, and in
//! a core without the runtime, `curve25519-dalek`. The results are the same bit for bit.

use curve25519_dalek::montgomery::MontgomeryPoint;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Length of a secret key, a public key and a shared secret in bytes.
const LEN: usize = 32;

/// Returns the public key of a secret one.
pub(super) fn public_key(secret: &[u8; LEN]) -> [u8; LEN] {
    if let Some(public) = fast::public_key(secret) { public } else { portable::public_key(secret) }
}

/// Returns what the owner of `secret` shares with the owner of `public`.
///
/// `None` if that is all zeros: `public` is then a point of small order, and everybody would share it.
pub(super) fn shared_secret(secret: &[u8; LEN], public: &[u8; LEN]) -> Option<Zeroizing<[u8; LEN]>> {
    match fast::shared_secret(secret, public) {
        Some(shared) => shared,
        None => portable::shared_secret(secret, public),
    }
}

/// `curve25519-dalek`: runs everywhere.
mod portable {
    use super::*;

    pub(super) fn public_key(secret: &[u8; LEN]) -> [u8; LEN] {
        MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
    }

    pub(super) fn shared_secret(secret: &[u8; LEN], public: &[u8; LEN]) -> Option<Zeroizing<[u8; LEN]>> {
        let shared = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*secret).to_bytes());
        let is_zero = bool::from(shared.ct_eq(&[0; LEN]));
        (!is_zero).then_some(shared)
    }
}

/// `graviola`: panics on a processor without the instructions it needs, so it is asked first. `None` there.
#[cfg(all(feature = "runtime", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod fast {
    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use graviola::util::is_cpu_supported;

    use super::*;

    pub(super) fn public_key(secret: &[u8; LEN]) -> Option<[u8; LEN]> {
        is_cpu_supported().then(|| StaticPrivateKey::from_array(secret).public_key().as_bytes())
    }

    /// The inner `None` stands for all zeros, the only error there is.
    pub(super) fn shared_secret(
        secret: &[u8; LEN],
        public: &[u8; LEN],
    ) -> Option<Option<Zeroizing<[u8; LEN]>>> {
        is_cpu_supported().then(|| {
            let public = PublicKey::from_array(public);
            let shared = StaticPrivateKey::from_array(secret).diffie_hellman(&public).ok()?;
            Some(Zeroizing::new(shared.0))
        })
    }
}

/// Nothing faster is built in.
#[cfg(not(all(feature = "runtime", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod fast {
    use super::*;

    pub(super) const fn public_key(_: &[u8; LEN]) -> Option<[u8; LEN]> {
        None
    }

    pub(super) const fn shared_secret(_: &[u8; LEN], _: &[u8; LEN]) -> Option<Option<Zeroizing<[u8; LEN]>>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> [u8; LEN] {
        data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    /// Points that a careless implementation treats in its own way.
    fn special_points() -> Vec<[u8; LEN]> {
        let near_p = |first: u8, last: u8| {
            let mut point = [0xff; LEN];
            (point[0], point[LEN - 1]) = (first, last);
            point
        };
        let small = |number: u8| {
            let mut point = [0; LEN];
            point[0] = number;
            point
        };
        // The points of order 8, then 0 and 1 (orders 4 and 1 on the curve or its twist), p - 1, and the base point.
        let mut points = vec![
            bytes("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            bytes("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
            small(0),
            small(1),
            near_p(0xec, 0x7f),
            small(9),
        ];
        // Up to 2^255 - 1: other ways to write 0 to 18.
        points.extend((0xed..=0xff).map(|first| near_p(first, 0x7f)));
        let with_high_bit = points.clone().into_iter().map(|mut point| {
            point[LEN - 1] |= 0x80;
            point
        });
        points.extend(with_high_bit.collect::<Vec<_>>());
        points
    }

    /// Whatever this processor computes with; equal to itself where nothing faster is built in.
    fn check(secret: &[u8; LEN], point: &[u8; LEN]) {
        assert_eq!(shared_secret(secret, point), portable::shared_secret(secret, point), "{point:02x?}");
        assert_eq!(public_key(secret), portable::public_key(secret));
    }

    /// RFC 7748, section 5.2: the first vector, and the first iteration from the base point.
    #[test]
    fn the_vectors_of_the_standard_hold() {
        let secret = bytes("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = bytes("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let shared = bytes("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(shared_secret(&secret, &point).as_deref(), Some(&shared));

        let nine = bytes("0900000000000000000000000000000000000000000000000000000000000000");
        let once = bytes("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
        assert_eq!(public_key(&nine), once);
        assert_eq!(shared_secret(&nine, &nine).as_deref(), Some(&once));
    }

    #[test]
    fn points_of_small_order_are_refused() {
        let refused = special_points().into_iter().filter(|point| shared_secret(&[7; LEN], point).is_none());
        // Two of order 8; 0, 1 and p - 1; p and p + 1; each with and without the high bit.
        assert_eq!(refused.count(), 14);
    }

    #[test]
    fn special_points_and_secrets_agree() {
        let mut alternating = [0xaa; LEN];
        alternating[0] = 7;
        for secret in [[0; LEN], [0xff; LEN], [1; LEN], alternating] {
            special_points().iter().for_each(|point| check(&secret, point));
        }
    }

    /// The lowest three bits and the two highest of a secret are overwritten.
    #[test]
    fn secrets_are_clamped() {
        let secret = [0x55; LEN];
        let mut other = secret;
        other[0] ^= 0b111;
        other[LEN - 1] ^= 0b1100_0000;
        let point = public_key(&[3; LEN]);
        assert_eq!(public_key(&secret), public_key(&other));
        assert_eq!(shared_secret(&secret, &point), shared_secret(&other, &point));
        other[0] ^= 0b1000;
        assert_ne!(public_key(&secret), public_key(&other));
    }

    proptest! {
        #[test]
        fn random_points_and_secrets_agree(secret: [u8; LEN], point: [u8; LEN]) {
            check(&secret, &point);
        }

        #[test]
        fn both_sides_share_the_same_secret(alice: [u8; LEN], bob: [u8; LEN]) {
            let [to_alice, to_bob] = [&alice, &bob].map(public_key);
            prop_assert_eq!(shared_secret(&alice, &to_bob), shared_secret(&bob, &to_alice));
        }
    }
}
