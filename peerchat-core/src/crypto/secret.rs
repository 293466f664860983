//! [`Secret`]: bytes that are wiped when they are dropped, never printed, and compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes, such as the saved state of a session.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Copies secret bytes; the caller wipes the original.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Returns the bytes. Whoever copies them wipes the copy.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        insta::assert_snapshot!(format!("{:?}", Secret::copy_of(b"key")), @"Secret(..)");
    }

    #[test]
    fn secrets_are_equal_if_their_bytes_are() {
        let secret = Secret::copy_of(b"key");
        assert_eq!(secret, secret.clone());
        assert_ne!(secret, Secret::copy_of(b"kez"));
        assert_ne!(secret, Secret::copy_of(b"ke"));
    }
}
