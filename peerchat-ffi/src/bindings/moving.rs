//! Export and import of a profile.

use std::path::Path;

use peerchat_core::Passphrase;

use super::client::Client;
use super::error::PeerchatError;

#[uniffi::export]
impl Client {
    /// Writes the profile as it is now into a new file that a passphrase encrypts, on a thread that may block. The profile
    /// that `import_profile` makes of it continues as this very device: close this client right after, and do not open its
    /// profile again.
    ///
    /// # Errors
    ///
    /// There is a file of this name, the profile is in memory or damaged, the disk refused, there is no user, or the client is
    /// closed. Then there is no new file.
    pub fn export(&self, path: &str, passphrase: &str) -> Result<(), PeerchatError> {
        Ok(self.inner.export(Path::new(path), &Passphrase::new(passphrase)?)?)
    }
}

/// Makes a profile in `data_dir` of a file that `export` wrote with `passphrase`, and returns the user's name. The new profile
/// gets `new_passphrase`, or none.
///
/// Blocks the calling thread: it reads and writes the disk as long as it takes to copy the profile, and a quarter of a second
/// for each passphrase.
///
/// # Errors
///
/// The file is damaged, of a later version, or encrypted with another passphrase; the profile exists; the disk refused. No
/// profile was made then.
#[uniffi::export]
pub fn import_profile(
    archive: &str,
    passphrase: &str,
    data_dir: &str,
    new_passphrase: Option<String>,
) -> Result<String, PeerchatError> {
    let opens = Passphrase::new(passphrase)?;
    let new = new_passphrase.as_deref().map(Passphrase::new).transpose()?;
    let (archive, data_dir) = (Path::new(archive), Path::new(data_dir));
    Ok(peerchat_core::Client::import(archive, &opens, data_dir, new.as_ref())?.to_string())
}
