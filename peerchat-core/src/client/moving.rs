//! Export of a profile into one file, and import.

use std::path::Path;

use super::Client;
use crate::config::Passphrase;
use crate::error::Error;
use crate::identity::UserName;
use crate::storage;

impl Client {
    /// Writes the profile as it is now into a new file, which `passphrase` encrypts: keys, contacts, blocks and requests,
    /// whom names are pinned to, the whole history with its states, and what is still owed. Sessions and what the node
    /// keeps for others are left out.
    ///
    /// The profile that [`Client::import`] makes of it continues as this very device. So there must never be two of them:
    /// close this client right after the export and do not open its profile again; what it sends or receives in between is
    /// not in the archive. Reads and writes the disk on the calling thread; the passphrase takes a quarter of a second and
    /// 64 MiB.
    ///
    /// # Errors
    ///
    /// There is a file at `to`, the profile is in memory ([`Error::NotOnDisk`]) or damaged, the disk refused, there is no
    /// user, or the client is closed. Then there is no new file.
    pub fn export(&self, to: &Path, passphrase: &Passphrase) -> Result<(), Error> {
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        self.open_store()?.export(to, passphrase)
    }

    /// Makes a profile in `data_dir` of the file that [`Client::export`] wrote with `passphrase`, and returns whose it is.
    /// `new_passphrase` encrypts the keys of the new profile, as [`crate::ConfigBuilder::passphrase`] does.
    ///
    /// Reads the file twice, and writes nothing before it has proven to be whole. A profile that exists is never touched.
    /// People who are written to, or write, meet the same device with new keys for sessions, and what was not delivered
    /// is sealed anew under the same numbers.
    ///
    /// # Errors
    ///
    /// [`Error::ArchiveDamaged`], [`Error::ArchivePassphrase`], [`Error::ArchiveTooNew`], [`Error::ProfileExists`], or the
    /// disk refused. No profile was made then.
    pub fn import(
        archive: &Path,
        passphrase: &Passphrase,
        data_dir: &Path,
        new_passphrase: Option<&Passphrase>,
    ) -> Result<UserName, Error> {
        storage::import(archive, passphrase, data_dir, new_passphrase)
    }
}
