//! [`NodeId`], a place in the DHT, and [`Distance`], the XOR of two.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Length of an id in bytes.
pub(crate) const ID_LEN: usize = 32;

/// A 256-bit place in the DHT: a node's own, a record's key, or the target of a lookup.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NodeId([u8; ID_LEN]);

impl NodeId {
    /// Number of bits, and so of k-buckets.
    pub const BITS: usize = 8 * ID_LEN;

    /// Takes the bytes of an id, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the id, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// Returns the XOR distance to `other` (Kademlia paper, 2.1).
    #[must_use]
    pub fn distance(&self, other: &Self) -> Distance {
        let mut xor = [0; ID_LEN];
        for (out, (a, b)) in xor.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *out = a ^ b;
        }
        Distance(xor)
    }

    /// Returns the id in k-bucket `index` of this node whose bits below the bucket's own are those of `random`.
    #[must_use]
    pub(super) fn in_bucket(&self, index: usize, random: [u8; ID_LEN]) -> Self {
        let mut id = self.0;
        for (place, (byte, random)) in id.iter_mut().zip(random).enumerate() {
            let low_bit = NodeId::BITS - 8 * (place + 1);
            // Which bits of this byte lie below the bucket's bit.
            let below = match index.saturating_sub(low_bit) {
                0 => 0,
                count @ 1..8 => (1_u8 << count) - 1,
                _ => 0xff,
            };
            *byte = (*byte & !below) | (random & below);
            if (low_bit..low_bit + 8).contains(&index) {
                *byte ^= 1 << (index - low_bit);
            }
        }
        Self(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "NodeId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// The XOR of two ids, ordered as a number.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Distance([u8; ID_LEN]);

impl Distance {
    /// Returns i with 2^i <= distance < 2^(i+1), the index of the k-bucket; `None` for zero (Kademlia paper, 2.2).
    #[must_use]
    pub fn bucket_index(&self) -> Option<usize> {
        let (zeros, byte) = self.0.iter().enumerate().find(|(_, byte)| **byte != 0)?;
        Some(NodeId::BITS - 1 - 8 * zeros - byte.leading_zeros() as usize)
    }
}

impl Distance {
    /// Returns its binary logarithm, about; 0 for what is smaller than 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are more than enough")]
    pub(super) fn log2(&self) -> f64 {
        let upper = self.upper();
        if upper > 0 { (upper as f64).log2() + 128.0 } else { (self.lower().max(1) as f64).log2() }
    }

    /// Returns its first 64 bits.
    pub(super) fn start(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Returns the smallest distance with these first 64 bits.
    pub(super) fn first_with(start: u64) -> Self {
        let mut bytes = [0; ID_LEN];
        if let Some(first) = bytes.first_chunk_mut() {
            *first = start.to_be_bytes();
        }
        Self(bytes)
    }

    fn upper(&self) -> u128 {
        self.0.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
    }

    fn lower(&self) -> u128 {
        self.0.last_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
    }

    /// Tells whether bit `index` is set, counted from the least significant.
    pub(super) fn has_bit(&self, index: usize) -> bool {
        let byte = self.0.iter().rev().nth(index / 8).copied().unwrap_or_default();
        byte >> (index % 8) & 1 == 1
    }
}

impl Ord for Distance {
    /// As numbers of 128 bits, the upper ones first: lookups and tables spend most of their time comparing, and the
    /// derived order of bytes is a call for each.
    fn cmp(&self, other: &Self) -> Ordering {
        self.upper().cmp(&other.upper()).then_with(|| self.lower().cmp(&other.lower()))
    }
}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance(bucket {:?})", self.bucket_index())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = NodeId> {
        any::<[u8; ID_LEN]>().prop_map(NodeId::from_bytes)
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in id(), b in id(), c in id()) {
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&b) == Distance([0; ID_LEN]), a == b);
            // d(a, c) = d(a, b) XOR d(b, c), and XOR never exceeds the sum: the triangle inequality.
            let (ab, bc) = (a.distance(&b), b.distance(&c));
            prop_assert_eq!(a.distance(&c), NodeId(ab.0).distance(&NodeId(bc.0)));
        }

        #[test]
        fn distances_are_ordered_as_their_bytes_are(a: [u8; ID_LEN], mut b: [u8; ID_LEN], same in 0..=ID_LEN) {
            b[..same].copy_from_slice(&a[..same]);
            prop_assert_eq!(Distance(a).cmp(&Distance(b)), a.cmp(&b));
        }

        #[test]
        fn only_one_id_lies_at_a_distance(a in id(), b in id(), c in id()) {
            prop_assert_eq!(a.distance(&b) == a.distance(&c), b == c);
        }

        #[test]
        fn the_bucket_is_the_highest_differing_bit(a in id(), bit in 0..NodeId::BITS) {
            let mut other = a;
            other.0[ID_LEN - 1 - bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(a.distance(&other).bucket_index(), Some(bit));
        }
    }

    proptest! {
        #[test]
        fn an_id_made_for_a_bucket_lies_in_it(own in id(), random: [u8; ID_LEN], index in 0..NodeId::BITS) {
            let made = own.in_bucket(index, random);
            prop_assert_eq!(own.distance(&made).bucket_index(), Some(index));
            prop_assert!(own.distance(&made).has_bit(index));
        }
    }

    #[test]
    fn no_bucket_holds_oneself() {
        let id = NodeId::from_bytes([3; ID_LEN]);
        assert_eq!(id.distance(&id).bucket_index(), None);
    }
}
