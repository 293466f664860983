//! Bytes to types and back, bounded: bincode 2 with big-endian variable-length integers.
//!
//! It stands below the machines because the user layer opens record bodies itself: holders never parse them.

use std::fmt;
use std::marker::PhantomData;

use bincode::config::{BigEndian, Configuration, Limit, Varint};
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Most bytes that one value may take, decoded or encoded: the longest text and what stands around it.
pub(crate) const MAX_VALUE_LEN: usize = 20_480;

/// bincode's own limit bounds what a hostile length can make it allocate.
const CONFIG: Configuration<BigEndian, Varint, Limit<MAX_VALUE_LEN>> =
    bincode::config::standard().with_big_endian().with_variable_int_encoding().with_limit::<MAX_VALUE_LEN>();

/// Bytes that are not exactly one value of the expected type.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes are not one value of this type")]
pub(crate) struct DecodeError;

/// Returns the bytes of a value.
///
/// # Panics
///
/// Never for the types of this crate: they all serialize, and their lengths are bounded when they are made.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, CONFIG).unwrap_or_default()
}

/// Returns the one value that `bytes` are.
///
/// # Errors
///
/// The bytes are too short, too long, or no such value.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_VALUE_LEN {
        return Err(DecodeError);
    }
    match bincode::serde::decode_from_slice(bytes, CONFIG) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        _ => Err(DecodeError),
    }
}

/// Deserializes a list of at most `MAX` values and refuses a longer one before it takes memory for it.
///
/// # Errors
///
/// The list is longer, or a value in it does not decode.
pub(crate) fn bounded_list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} values")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
            if sequence.size_hint().is_some_and(|len| len > MAX) {
                return Err(A::Error::custom("the list is too long"));
            }
            let mut list = Vec::new();
            while let Some(value) = sequence.next_element()? {
                if list.len() == MAX {
                    return Err(A::Error::custom("the list is too long"));
                }
                list.push(value);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
    struct List(#[serde(deserialize_with = "bounded_list::<_, _, 3>")] Vec<u16>);

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        let bytes = encode(&7_u64);
        assert_eq!(decode::<u64>(&bytes), Ok(7));
        assert_eq!(decode::<u64>(&[&bytes[..], &[0]].concat()), Err(DecodeError));
        assert_eq!(decode::<u64>(&[]), Err(DecodeError));
    }

    #[test]
    fn a_list_over_its_bound_is_refused() {
        assert_eq!(decode(&encode(&List(vec![1, 2, 3]))), Ok(List(vec![1, 2, 3])));
        assert_eq!(decode::<List>(&encode(&List(vec![1, 2, 3, 4]))), Err(DecodeError));
    }

    #[test]
    fn a_hostile_length_allocates_nothing() {
        // A list and a byte string that claim 2^63 elements and end there.
        let claim = [253, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode::<List>(&claim), Err(DecodeError));
        assert_eq!(decode::<serde_bytes::ByteBuf>(&claim), Err(DecodeError));
        assert_eq!(decode::<String>(&claim), Err(DecodeError));
    }
}
