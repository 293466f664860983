//! ChaCha20-Poly1305 (RFC 8439) of a link's packets.
//!
//! With the runtime it is `ring`'s assembly, which takes a tenth of the time for packets of this size; the pure core,
//! which must not reach the system, computes the same in Rust.

use super::packet::{KEY_LEN, TAG_LEN};

/// Length of a nonce in bytes.
pub(super) const NONCE_LEN: usize = 12;

#[cfg(not(feature = "runtime"))]
pub(super) use in_rust::{open, seal};
#[cfg(feature = "runtime")]
pub(super) use with_ring::{open, seal};

#[cfg(feature = "runtime")]
mod with_ring {
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::{KEY_LEN, NONCE_LEN, TAG_LEN};

    /// Encrypts `text` in place and returns the tag; `None` if it is too long, which no packet is.
    pub(in crate::transport) fn seal(
        key: &[u8; KEY_LEN],
        nonce: [u8; NONCE_LEN],
        header: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = prepare(key)?.seal_in_place_separate_tag(nonce, Aad::from(header), text).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts `sealed`, a text and its tag, in place and returns the text; `None` if it is not authentic.
    pub(in crate::transport) fn open<'a>(
        key: &[u8; KEY_LEN],
        nonce: [u8; NONCE_LEN],
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        prepare(key)?.open_in_place(nonce, Aad::from(header), sealed).ok().map(|text| &*text)
    }

    fn prepare(key: &[u8; KEY_LEN]) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
    }
}

#[cfg(any(test, not(feature = "runtime")))]
mod in_rust {
    use chacha20poly1305::aead::AeadInPlace as _;
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};

    use super::{KEY_LEN, NONCE_LEN, TAG_LEN};

    /// Encrypts `text` in place and returns the tag; `None` if it is too long, which no packet is.
    pub(in crate::transport) fn seal(
        key: &[u8; KEY_LEN],
        nonce: [u8; NONCE_LEN],
        header: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let cipher = ChaCha20Poly1305::new(&(*key).into());
        cipher.encrypt_in_place_detached(&nonce.into(), header, text).ok().map(Into::into)
    }

    /// Decrypts `sealed`, a text and its tag, in place and returns the text; `None` if it is not authentic.
    pub(in crate::transport) fn open<'a>(
        key: &[u8; KEY_LEN],
        nonce: [u8; NONCE_LEN],
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
        let cipher = ChaCha20Poly1305::new(&(*key).into());
        cipher.decrypt_in_place_detached(&nonce.into(), header, text, &(*tag).into()).ok()?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_implementations_agree(
            key: [u8; KEY_LEN],
            nonce: [u8; NONCE_LEN],
            header in proptest::collection::vec(any::<u8>(), 0..40),
            text in proptest::collection::vec(any::<u8>(), 0..1200),
        ) {
            let (mut ours, mut theirs) = (text.clone(), text.clone());
            let tag = seal(&key, nonce, &header, &mut ours).unwrap();
            prop_assert_eq!(Some(tag), in_rust::seal(&key, nonce, &header, &mut theirs));
            prop_assert_eq!(&ours, &theirs);
            ours.extend(tag);
            theirs.extend(tag);
            prop_assert_eq!(in_rust::open(&key, nonce, &header, &mut theirs), Some(&text[..]));
            let mut forged = ours.clone();
            prop_assert_eq!(open(&key, nonce, &header, &mut ours), Some(&text[..]));
            forged[text.len() / 2] ^= 1;
            prop_assert_eq!(open(&key, nonce, &header, &mut forged), None);
        }
    }

    #[test]
    fn what_is_shorter_than_a_tag_is_not_authentic() {
        assert_eq!(open(&[1; KEY_LEN], [2; NONCE_LEN], b"", &mut [3; TAG_LEN - 1]), None);
    }
}
