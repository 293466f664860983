//! [`ProfileLock`]: only one client at a time has a profile open.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::failure::Failure;
use super::files;
use crate::error::Error;

/// The right to use a profile, against this process and every other.
///
/// It is a lock of the operating system on a file of its own, `<profile>.lock`: it ends with the process however
/// that dies. The file stays, for removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(super) struct ProfileLock(File);

impl ProfileLock {
    /// Takes the lock of the profile at this path without waiting.
    pub(super) fn take(profile: &Path) -> Result<Self, Error> {
        let failed = |error| Failure::of_file("lock the profile", &error).into_error(profile);
        let path = files::beside(profile, ".lock");
        #[cfg(any(test, feature = "simulation"))]
        super::faults::check(&path).map_err(failed)?;
        let file = files::private().create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::ProfileInUse { path: profile.to_owned() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Drop for ProfileLock {
    fn drop(&mut self) {
        // Closing would not do if a forked child still held a copy of the descriptor.
        let _ = self.0.unlock();
    }
}
