//! The file that a profile is exported into: a header, then chunks, each encrypted and in its place.
//!
//! A random key encrypts the chunks (XChaCha20-Poly1305); the passphrase opens that key, as it does in [`super::vault`].
//! The nonce of a chunk is its place and whether it is the last, so chunks that are dropped, repeated, reordered or cut off
//! do not open; the header is bound to each of them. `docs/storage.md` has the bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead, Payload};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::vault::{Lock, SALT_LEN, Vault, WRAPPED_LEN};
use crate::config::Passphrase;

/// What an archive begins with.
const MAGIC: [u8; 8] = *b"peerchat";

/// The format that this build writes, and the only one that it reads.
const VERSION: u16 = 1;

/// How much one chunk holds; the last one holds less, or as much.
pub(super) const CHUNK_LEN: usize = 64 * 1024;

const TAG_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const CHECKSUM_LEN: usize = 16;

/// Magic, version, memory, passes, salt, the key of the chunks, and a checksum of all these.
pub(super) const HEADER_LEN: usize = 8 + 2 + 4 + 4 + SALT_LEN + WRAPPED_LEN + CHECKSUM_LEN;

/// An archive that is being written.
pub(super) struct ArchiveWriter<W> {
    sealing: Sealing,
    file: W,
    /// What is not in the file yet: at most a chunk.
    open: Zeroizing<Vec<u8>>,
}

/// An archive that is being read. Nothing of a chunk is handed out before the chunk has proven to be genuine.
pub(super) struct ArchiveReader {
    sealing: Sealing,
    file: BufReader<File>,
    chunk: Zeroizing<Vec<u8>>,
    /// How much of the chunk has been handed out.
    taken: usize,
    is_last: bool,
}

/// Seals and opens chunks, one after another.
struct Sealing {
    vault: Vault,
    header: [u8; HEADER_LEN],
    next: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive that this passphrase opens.
    pub(super) fn start(file: W, passphrase: &Passphrase) -> Result<Self, Failure> {
        Self::start_with(file, Lock::make(passphrase)?)
    }

    fn start_with(mut file: W, (lock, vault): (Lock, Vault)) -> Result<Self, Failure> {
        let header = header(&lock)?;
        file.write_all(&header).map_err(|error| write_failed(&error))?;
        let open = Zeroizing::new(Vec::with_capacity(CHUNK_LEN));
        Ok(Self { sealing: Sealing { vault, header, next: 0 }, file, open })
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            // A full chunk waits for more, since the last one is sealed as such.
            if self.open.len() == CHUNK_LEN {
                self.seal_chunk(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_LEN - self.open.len()));
            self.open.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Ends the archive and gives its file back.
    pub(super) fn finish(mut self) -> Result<W, Failure> {
        self.seal_chunk(true)?;
        self.file.flush().map_err(|error| write_failed(&error))?;
        Ok(self.file)
    }

    fn seal_chunk(&mut self, is_last: bool) -> Result<(), Failure> {
        let sealed = self
            .sealing
            .run(is_last, |cipher, nonce, aad| cipher.encrypt(nonce, Payload { msg: &self.open, aad }));
        let sealed = sealed.ok_or_else(|| Failure::Internal("a chunk cannot be sealed".to_owned()))?;
        self.file.write_all(&sealed).map_err(|error| write_failed(&error))?;
        self.open.clear();
        Ok(())
    }
}

impl ArchiveReader {
    /// Reads the header and tries the passphrase.
    pub(super) fn open(file: File, passphrase: &Passphrase) -> Result<Self, Failure> {
        let mut file = BufReader::with_capacity(CHUNK_LEN + TAG_LEN, file);
        let mut header = [0; HEADER_LEN];
        let len = read_up_to(&mut file, &mut header)?;
        let (vault, header) = (open_header(&header[..len], passphrase)?, header);
        let sealing = Sealing { vault, header, next: 0 };
        Ok(Self { sealing, file, chunk: Zeroizing::new(Vec::new()), taken: 0, is_last: false })
    }

    /// Goes back to the first byte of what is in it.
    pub(super) fn rewind(&mut self) -> Result<(), Failure> {
        self.file.seek(SeekFrom::Start(HEADER_LEN as u64)).map_err(|error| read_failed(&error))?;
        self.sealing.next = 0;
        self.chunk.clear();
        (self.taken, self.is_last) = (0, false);
        Ok(())
    }

    /// Takes the next bytes, as many as fit.
    pub(super) fn read(&mut self, mut into: &mut [u8]) -> Result<(), Failure> {
        while !into.is_empty() {
            if self.taken == self.chunk.len() {
                self.open_chunk()?;
            }
            let len = into.len().min(self.chunk.len() - self.taken);
            let (now, later) = into.split_at_mut(len);
            now.copy_from_slice(&self.chunk[self.taken..self.taken + len]);
            self.taken += len;
            into = later;
        }
        Ok(())
    }

    /// Checks that everything was taken.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        if self.is_last && self.taken == self.chunk.len() {
            Ok(())
        } else {
            Err(damaged("it goes on after its end"))
        }
    }

    fn open_chunk(&mut self) -> Result<(), Failure> {
        if self.is_last {
            return Err(damaged("it ends too early"));
        }
        let mut sealed = vec![0; CHUNK_LEN + TAG_LEN];
        let len = read_up_to(&mut self.file, &mut sealed)?;
        let is_last = self.file.fill_buf().map_err(|error| read_failed(&error))?.is_empty();
        let opened = self
            .sealing
            .run(is_last, |cipher, nonce, aad| cipher.decrypt(nonce, Payload { msg: &sealed[..len], aad }));
        let opened = opened.ok_or_else(|| damaged("a part of it was changed, or is missing"))?;
        if opened.is_empty() {
            return Err(damaged("it has an empty part"));
        }
        (self.chunk, self.taken, self.is_last) = (Zeroizing::new(opened), 0, is_last);
        Ok(())
    }
}

impl Sealing {
    /// Runs the cipher for the next chunk.
    fn run(
        &mut self,
        is_last: bool,
        act: impl FnOnce(
            &chacha20poly1305::XChaCha20Poly1305,
            &XNonce,
            &[u8],
        ) -> Result<Vec<u8>, chacha20poly1305::Error>,
    ) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.next.to_be_bytes());
        nonce[8] = is_last.into();
        self.next += 1;
        act(&self.vault.cipher()?, XNonce::from_slice(&nonce), &self.header).ok()
    }
}

fn header(lock: &Lock) -> Result<[u8; HEADER_LEN], Failure> {
    let numbers = [lock.memory_kib.to_be_bytes(), lock.passes.to_be_bytes()].concat();
    let fields = [&MAGIC[..], &VERSION.to_be_bytes(), &numbers, &lock.salt, &lock.wrapped].concat();
    let whole = [&fields, &checksum(&fields)[..]].concat();
    whole.try_into().map_err(|_| Failure::Internal("a header of another length".to_owned()))
}

/// Reads a header and opens what it holds. The limits of what a passphrase may cost are those of [`Lock::open`].
fn open_header(header: &[u8], passphrase: &Passphrase) -> Result<Vault, Failure> {
    let rest = header.strip_prefix(&MAGIC).ok_or_else(|| damaged("it is no archive of peerchat"))?;
    let too_short = || damaged("it ends within its header");
    let (version, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
    let version = u16::from_be_bytes(*version);
    if version > VERSION {
        return Err(Failure::TooNew(version.into()));
    }
    let (memory_kib, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
    let (passes, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
    let (salt, rest) = rest.split_at_checked(SALT_LEN).ok_or_else(too_short)?;
    let (wrapped, sum) = rest.split_at_checked(WRAPPED_LEN).ok_or_else(too_short)?;
    if sum.len() < CHECKSUM_LEN {
        return Err(too_short());
    }
    if version == 0 || sum != checksum(&header[..header.len() - sum.len()]) {
        return Err(damaged("its header was changed"));
    }
    let (memory_kib, passes) = (u32::from_be_bytes(*memory_kib), u32::from_be_bytes(*passes));
    Lock { salt: salt.to_vec(), memory_kib, passes, wrapped: wrapped.to_vec() }.open(passphrase)
}

/// Tells a header that was damaged from a passphrase that is wrong; it protects against nobody.
fn checksum(fields: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&blake3::hash(fields).as_bytes()[..CHECKSUM_LEN]);
    sum
}

/// Reads until the buffer is full or the file ends; returns how much.
fn read_up_to(file: &mut impl Read, into: &mut [u8]) -> Result<usize, Failure> {
    let mut len = 0;
    while len < into.len() {
        match file.read(&mut into[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_failed(&error)),
        }
    }
    Ok(len)
}

/// Archives of any content, for the fuzzers only.
#[cfg(feature = "fuzzing")]
pub(crate) mod any {
    use super::*;

    /// Returns an archive that this passphrase opens at next to no cost.
    pub(crate) fn archive_of(content: &[u8], passphrase: &Passphrase) -> Option<Vec<u8>> {
        let lock = crate::storage::vault::cheap::make(passphrase).ok()?;
        let mut archive = ArchiveWriter::start_with(Vec::new(), lock).ok()?;
        archive.write(content).ok()?;
        archive.finish().ok()
    }

    /// Returns all that is in an archive.
    pub(crate) fn content_of(file: File, passphrase: &Passphrase) -> Option<Vec<u8>> {
        let mut archive = ArchiveReader::open(file, passphrase).ok()?;
        let (mut content, mut byte) = (Vec::new(), [0]);
        while archive.end().is_err() {
            archive.read(&mut byte).ok()?;
            content.extend(byte);
        }
        Some(content)
    }
}

fn damaged(detail: &str) -> Failure {
    Failure::Damaged(detail.to_owned())
}

fn write_failed(error: &io::Error) -> Failure {
    Failure::of_file("write the archive", error)
}

fn read_failed(error: &io::Error) -> Failure {
    Failure::of_file("read the archive", error)
}
