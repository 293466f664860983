//! [`Vault`]: the secrets of a profile at rest, encrypted if the profile has a passphrase.
//!
//! The passphrase gives a key by Argon2id (RFC 9106), which opens a random data key, which every secret is sealed with
//! (XChaCha20-Poly1305, a random nonce each). What a secret is goes into the tag, so that none passes for another.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::config::Passphrase;

/// Memory that one guess at a passphrase takes, in KiB: 64 MiB, as RFC 9106 recommends where memory is dear (section 4).
const MEMORY_KIB: u32 = if cfg!(any(test, cheap_passphrases)) { 64 } else { 64 * 1024 };

/// How many times a guess goes over that memory.
const PASSES: u32 = if cfg!(any(test, cheap_passphrases)) { 1 } else { 3 };

/// How many lanes the memory has; they are filled one after another.
const LANES: u32 = 4;

/// The most that a file may ask for, so that a damaged one does not stop the machine: 1 GiB and 64 passes.
const MAX_MEMORY_KIB: u32 = if cfg!(cheap_passphrases) { 1024 } else { 1024 * 1024 };
const MAX_PASSES: u32 = if cfg!(cheap_passphrases) { 4 } else { 64 };

const KEY_LEN: usize = 32;
pub(super) const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

/// How long a sealed data key is.
pub(super) const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;

/// What the data key itself is sealed as.
const DATA_KEY: &str = "data key";

/// Seals and opens the secrets of one profile.
pub(super) struct Vault {
    /// `None` if the profile has no passphrase: its secrets lie open.
    key: Option<Zeroizing<[u8; KEY_LEN]>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.key.is_some() { "Vault(sealing)" } else { "Vault(open)" })
    }
}

/// What a passphrase is tried with.
pub(super) struct Lock {
    pub(super) salt: Vec<u8>,
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) wrapped: Vec<u8>,
}

impl Vault {
    /// Opens the vault of a profile. Reads only.
    pub(super) fn open(db: &Connection, passphrase: Option<&Passphrase>) -> Result<Self, Failure> {
        let lock = read_lock(db)?;
        match (lock, passphrase) {
            (None, None) => Ok(Self { key: None }),
            (Some(lock), Some(passphrase)) => lock.open(passphrase),
            (Some(_), None) => {
                Err(Failure::WrongPassphrase("the profile has a passphrase; open it with that".to_owned()))
            }
            (None, Some(_)) => Err(Failure::WrongPassphrase(
                "the profile has no passphrase; open it without one, or set one first".to_owned(),
            )),
        }
    }

    /// Makes the vault of a profile that has none, or another one in the place of the one it has, and saves how it is
    /// opened. Whoever calls this seals every secret anew, in the same transaction.
    pub(super) fn replace(db: &Connection, passphrase: Option<&Passphrase>) -> Result<Self, Failure> {
        db.execute("DELETE FROM vault", [])?;
        let Some(passphrase) = passphrase else { return Ok(Self { key: None }) };
        let (lock, vault) = Lock::make(passphrase)?;
        let sql = "INSERT INTO vault (id, salt, memory_kib, passes, wrapped) VALUES (1, ?, ?, ?, ?)";
        db.execute(sql, params![lock.salt, lock.memory_kib, lock.passes, lock.wrapped])?;
        Ok(vault)
    }

    /// Returns the cipher of the data key, if there is one.
    pub(super) fn cipher(&self) -> Option<XChaCha20Poly1305> {
        self.key.as_deref().map(cipher)
    }

    /// Returns what is written to the disk of a secret; `what` says which it is.
    pub(super) fn seal(&self, what: &str, secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Some(key) = &self.key else { return Ok(Zeroizing::new(secret.to_vec())) };
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce)?;
        let payload = Payload { msg: secret, aad: what.as_bytes() };
        let sealed = cipher(key).encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| Failure::Internal(format!("the {what} cannot be sealed")))?;
        Ok(Zeroizing::new([&nonce[..], &sealed].concat()))
    }

    /// Returns a secret that [`Self::seal`] has sealed.
    pub(super) fn reveal(&self, what: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Some(key) = &self.key else { return Ok(Zeroizing::new(sealed.to_vec())) };
        let opened = sealed.split_at_checked(NONCE_LEN).and_then(|(nonce, sealed)| {
            let payload = Payload { msg: sealed, aad: what.as_bytes() };
            cipher(key).decrypt(XNonce::from_slice(nonce), payload).ok()
        });
        opened.map(Zeroizing::new).ok_or_else(|| Failure::Damaged(format!("its {what} does not open")))
    }
}

impl Lock {
    /// Draws a data key that this passphrase opens.
    pub(super) fn make(passphrase: &Passphrase) -> Result<(Self, Vault), Failure> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        fill_random(key.as_mut_slice())?;
        Ok((Self::around(&key, passphrase, (MEMORY_KIB, PASSES))?, Vault { key: Some(key) }))
    }

    /// Makes what lets a passphrase open a data key; so much memory and so many passes does each guess cost.
    fn around(
        key: &[u8; KEY_LEN],
        passphrase: &Passphrase,
        (memory_kib, passes): (u32, u32),
    ) -> Result<Self, Failure> {
        let mut salt = vec![0; SALT_LEN];
        fill_random(&mut salt)?;
        let wrapping = Vault { key: Some(stretch(passphrase, &salt, memory_kib, passes)?) };
        let wrapped = wrapping.seal(DATA_KEY, key.as_slice())?.to_vec();
        Ok(Self { salt, memory_kib, passes, wrapped })
    }

    /// Opens the data key. Refuses what would cost more than there may be.
    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<Vault, Failure> {
        if self.memory_kib > MAX_MEMORY_KIB || self.passes > MAX_PASSES {
            return Err(Failure::Damaged("its passphrase would take too much to try".to_owned()));
        }
        let wrapping = Vault { key: Some(stretch(passphrase, &self.salt, self.memory_kib, self.passes)?) };
        let opened = wrapping.reveal(DATA_KEY, &self.wrapped).map_err(|_| {
            Failure::WrongPassphrase("this is not its passphrase; nothing was changed, try again".to_owned())
        })?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        if opened.len() != key.len() {
            return Err(Failure::Damaged("its data key has a wrong length".to_owned()));
        }
        key.copy_from_slice(&opened);
        Ok(Vault { key: Some(key) })
    }
}

fn read_lock(db: &Connection) -> Result<Option<Lock>, Failure> {
    // A profile of an earlier version has no such table, and so no passphrase.
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'vault'";
    if db.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(None);
    }
    let lock = db.query_row("SELECT salt, memory_kib, passes, wrapped FROM vault", [], |row| {
        Ok(Lock { salt: row.get(0)?, memory_kib: row.get(1)?, passes: row.get(2)?, wrapped: row.get(3)? })
    });
    Ok(lock.optional()?)
}

fn stretch(
    passphrase: &Passphrase,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> Result<Zeroizing<[u8; KEY_LEN]>, Failure> {
    let failed = |error: argon2::Error| Failure::Damaged(format!("its passphrase cannot be tried: {error}"));
    let params = Params::new(memory_kib, passes, LANES, Some(KEY_LEN)).map_err(failed)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.reveal(), salt, key.as_mut_slice())
        .map_err(failed)?;
    Ok(key)
}

fn cipher(key: &[u8; KEY_LEN]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes).map_err(|error| Failure::Internal(format!("no secure randomness: {error}")))
}

/// What makes passphrases cheap to try, for the fuzzers only.
#[cfg(feature = "fuzzing")]
pub(crate) mod cheap {
    use super::*;

    const COSTS: (u32, u32) = (8 * LANES, 1);

    /// Draws a data key that this passphrase opens.
    pub(in crate::storage) fn make(passphrase: &Passphrase) -> Result<(Lock, Vault), Failure> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        fill_random(key.as_mut_slice())?;
        Ok((Lock::around(&key, passphrase, COSTS)?, Vault { key: Some(key) }))
    }

    /// Lets the passphrase of a profile, which stays the same, open it at next to no cost.
    pub(crate) fn lock(db: &Connection, passphrase: &Passphrase) -> Option<()> {
        let vault = Vault::open(db, Some(passphrase)).ok()?;
        let lock = Lock::around(vault.key.as_ref()?, passphrase, COSTS).ok()?;
        let sql = "UPDATE vault SET salt = ?, memory_kib = ?, passes = ?, wrapped = ?";
        db.execute(sql, params![lock.salt, lock.memory_kib, lock.passes, lock.wrapped]).ok().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed() {
        let vaults = [Some([7; KEY_LEN]), None].map(|key| Vault { key: key.map(Zeroizing::new) });
        insta::assert_snapshot!(format!("{vaults:?}"), @"[Vault(sealing), Vault(open)]");
    }
}
