//! ChaCha20-Poly1305 (RFC 8439) of links and handshakes.
//!
//! With the runtime it is `ring`'s assembly, which takes a tenth of the time for packets of this size; the pure core,
//! which must not reach the system, computes the same in Rust.

use snow::types::Cipher;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::MAX_DATAGRAM_LEN;
use super::packet::{KEY_LEN, TAG_LEN};

/// Length of a nonce in bytes.
pub(super) const NONCE_LEN: usize = 12;

#[cfg(not(feature = "runtime"))]
pub(super) use in_rust::{open, seal};
#[cfg(feature = "runtime")]
pub(super) use with_ring::{open, seal};

/// Returns the nonce that Noise makes of a number: four zero bytes, then the number, little-endian.
pub(super) fn nonce(number: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    if let Some(end) = nonce.last_chunk_mut() {
        *end = number.to_le_bytes();
    }
    nonce
}

/// The cipher of a Noise handshake. Its key is wiped on drop.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(super) struct ChaChaPoly([u8; KEY_LEN]);

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        self.0 = *key;
    }

    /// Returns how many bytes of `out` are used: 0 if there is no room, which ends the handshake at the peer.
    fn encrypt(&self, number: u64, header: &[u8], text: &[u8], out: &mut [u8]) -> usize {
        let Some((sealed, rest)) = out.split_at_mut_checked(text.len()) else { return 0 };
        let Some(end) = rest.first_chunk_mut::<TAG_LEN>() else { return 0 };
        sealed.copy_from_slice(text);
        let Some(tag) = seal(&self.0, nonce(number), header, sealed) else {
            sealed.fill(0);
            return 0;
        };
        *end = tag;
        sealed.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        number: u64,
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        // Room for the tag as well: in place, it comes after the text.
        let mut buffer = [0; MAX_DATAGRAM_LEN];
        let in_place = buffer.get_mut(..sealed.len()).ok_or(snow::Error::Decrypt)?;
        in_place.copy_from_slice(sealed);
        let text = open(&self.0, nonce(number), header, in_place).ok_or(snow::Error::Decrypt)?;
        out.get_mut(..text.len()).ok_or(snow::Error::Decrypt)?.copy_from_slice(text);
        Ok(text.len())
    }
}

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
    use snow::params::CipherChoice;
    use snow::resolvers::{CryptoResolver as _, DefaultResolver};

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
    fn a_handshake_is_encrypted_as_snow_does_it() {
        let mut ours = ChaChaPoly::default();
        let mut theirs = DefaultResolver.resolve_cipher(&CipherChoice::ChaChaPoly).unwrap();
        ours.set(&[7; KEY_LEN]);
        theirs.set(&[7; KEY_LEN]);
        for (number, text) in [(0, &b""[..]), (1, b"hello"), (u64::MAX - 1, &[9; 1100])] {
            let (mut a, mut b) = ([0; MAX_DATAGRAM_LEN], [0; MAX_DATAGRAM_LEN]);
            let len = ours.encrypt(number, b"header", text, &mut a);
            assert_eq!(len, theirs.encrypt(number, b"header", text, &mut b));
            assert_eq!(a, b);
            let mut opened = [0; MAX_DATAGRAM_LEN];
            assert_eq!(ours.decrypt(number, b"header", &b[..len], &mut opened), Ok(text.len()));
            assert_eq!(&opened[..text.len()], text);
            assert!(ours.decrypt(number, b"other", &b[..len], &mut opened).is_err());
        }
        assert_eq!(ours.encrypt(0, b"", b"hello", &mut [0; TAG_LEN]), 0, "no room");
    }

    #[test]
    fn what_is_shorter_than_a_tag_is_not_authentic() {
        assert_eq!(open(&[1; KEY_LEN], [2; NONCE_LEN], b"", &mut [3; TAG_LEN - 1]), None);
    }
}
