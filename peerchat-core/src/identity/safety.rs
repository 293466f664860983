//! The number by which two people make sure that nobody sits between them.

use super::UserId;

/// How many times each half is hashed, so that searching for a key whose half looks alike costs as much more.
const ITERATIONS: usize = 5200;

/// What is hashed first: the rule, so that another one gives other numbers.
const CONTEXT: &[u8] = b"peerchat safety number 1";

/// Digits of one group, the groups of one half.
const GROUP_DIGITS: usize = 5;
const GROUPS: usize = 6;

/// Returns the safety number of two people: 60 digits in twelve groups of five, the same whoever computes it.
///
/// The rule is that of Signal's numeric fingerprint (libsignal, `rust/protocol/src/fingerprint.rs`) with BLAKE3 in the
/// place of SHA-512 and the user id, itself a hash of the key, in the place of key and telephone number: each half is
/// the id hashed 5,200 times, six times five bytes of it modulo 100,000; the smaller half comes first.
#[must_use]
pub fn safety_number(a: &UserId, b: &UserId) -> String {
    let mut halves = [half(a), half(b)];
    halves.sort_unstable();
    halves.concat().join(" ")
}

fn half(user: &UserId) -> Vec<String> {
    let mut hash = blake3::Hasher::new().update(CONTEXT).update(user.as_bytes()).finalize();
    for _ in 1..ITERATIONS {
        hash = blake3::Hasher::new().update(hash.as_bytes()).update(user.as_bytes()).finalize();
    }
    hash.as_bytes().chunks_exact(5).take(GROUPS).map(group).collect()
}

fn group(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:0width$}", number % 100_000, width = GROUP_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(seed: u8) -> UserId {
        UserId::from_bytes([seed; 32])
    }

    /// People compare these with numbers that an older or newer version shows: changing the rule breaks that.
    #[test]
    fn a_safety_number_is_sixty_digits_and_the_same_on_both_sides() {
        let number = safety_number(&user(1), &user(2));
        assert_eq!(number, safety_number(&user(2), &user(1)));
        assert_eq!(number.chars().filter(char::is_ascii_digit).count(), 60);
        insta::assert_snapshot!(number, @"47558 04749 42617 94727 73532 39036 71139 47693 91680 13583 07155 08397");
    }

    #[test]
    fn another_key_on_either_side_is_another_number() {
        let numbers = [(1, 2), (1, 3), (3, 2), (1, 1)].map(|(a, b)| safety_number(&user(a), &user(b)));
        assert_eq!(numbers.iter().collect::<std::collections::BTreeSet<_>>().len(), numbers.len());
        // Only the half of the one who changed is another.
        let half = |number: &str| number.split_at(36).0.to_owned();
        let halves =
            [&numbers[0], &numbers[1]].map(|number| (half(number), number.split_at(36).1.to_owned()));
        let shared = |(a, b): &(String, String)| [a.trim().to_owned(), b.trim().to_owned()];
        assert!(shared(&halves[0]).iter().any(|half| shared(&halves[1]).contains(half)));
    }
}
