//! [`Profile`]: what a machine has saved in the SQLite file that real clients have, and what can happen to that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use peerchat_core::config::Location;
use peerchat_core::save::{Found, ProfileKeys, Read, Saved, WriteBatch};
use peerchat_core::storage::faults::{self, Fault};
use peerchat_core::storage::{self, Opened, Store};
use peerchat_core::{Error, Passphrase, UserName};
use tempfile::TempDir;

use crate::disk::Disk;

/// The files of a profile that a power cut leaves as they are, by how their names end.
const FILES: [&str; 2] = [".db", ".db-wal"];

/// The profile of one machine, in a directory of its own.
#[derive(Debug)]
pub struct Profile {
    directory: TempDir,
    user: Option<UserName>,
    /// `None` while it is closed.
    store: Option<Store>,
    fault: Option<Fault>,
}

impl Profile {
    pub(crate) fn new(user: Option<UserName>) -> Self {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        Self { directory, user, store: None, fault: None }
    }

    /// Opens the profile, or makes it with these keys; returns it as the model has it, and as an engine is given it.
    pub(crate) fn open(&mut self, keys: &ProfileKeys) -> Result<(Disk, Saved), Error> {
        let location = Location::Directory(self.directory.path().to_owned());
        let Opened { store, saved } = storage::open(&location, self.user.as_ref(), || keys.clone())?;
        let disk = Disk::of(&saved, &store)?;
        store.set_fault(self.fault.map(|fault| match fault {
            Fault::Full { .. } => Fault::Full { pages: 0 },
            Fault::ReadOnly => Fault::ReadOnly,
        }));
        self.store = Some(store);
        Ok((disk, saved))
    }

    /// Writes a batch and waits until it is on disk.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        let (done, outcome) = channel();
        let store = self.store.as_ref().ok_or(Error::Closed)?;
        // Nobody waits any more only if this thread has panicked.
        store.write(batch, move |_, result| _ = done.send(result));
        outcome.recv().unwrap_or(Err(Error::Closed))
    }

    pub(crate) fn read(&self, what: Read) -> Found {
        let store = self.store.as_ref();
        match what {
            Read::Mail { position } => {
                Found::Mail(store.and_then(|store| store.mail(position).ok()).flatten())
            }
            Read::Delivered { conversation, after, up_to } => {
                Found::Delivered(store.and_then(|store| store.delivered(conversation, after, up_to).ok()))
            }
        }
    }

    /// Closes the profile in an orderly way.
    pub(crate) fn close(&mut self) {
        self.store.take().iter().for_each(Store::close);
    }

    /// Closes the profile and leaves its files as a power cut does: what was written last is in the log only.
    pub(crate) fn cut(&mut self) {
        if self.store.is_some() {
            let before = FILES.map(|end| fs::read(self.path(end)).expect("it is open"));
            self.close();
            for (end, bytes) in FILES.into_iter().zip(before) {
                fs::write(self.path(end), bytes).expect("it was just there");
            }
        }
    }

    /// Lets the disk refuse from now on, and when the profile is opened, until it is told otherwise.
    pub fn set_fault(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        faults::set_read_only(self.directory.path(), fault == Some(Fault::ReadOnly));
        self.store.iter().for_each(|store| store.set_fault(fault));
    }

    /// Returns where the file is. It holds everything while the profile is closed, unless its power was cut.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.path(FILES[0])
    }

    fn path(&self, end: &str) -> PathBuf {
        let name = self.user.as_ref().map_or("node".to_owned(), |user| format!("user-{}", user.as_str()));
        self.directory.path().join(name + end)
    }

    /// Changes the file of a profile that is closed.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn alter(&self, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut bytes = fs::read(self.file())?;
        change(&mut bytes);
        fs::write(self.file(), bytes)
    }

    /// Writes the profile, which is open, into an archive.
    ///
    /// # Errors
    ///
    /// Those of [`Store::export`].
    pub fn export(&self, archive: &Path, passphrase: &Passphrase) -> Result<(), Error> {
        self.store.as_ref().map_or(Err(Error::Closed), |store| store.export(archive, passphrase))
    }

    /// Returns another profile, made of an archive.
    ///
    /// # Errors
    ///
    /// Those of [`storage::import`].
    pub fn import(archive: &Path, passphrase: &Passphrase) -> Result<Self, Error> {
        let mut profile = Self::new(None);
        profile.user = Some(storage::import(archive, passphrase, profile.directory.path(), None)?);
        Ok(profile)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.close();
        faults::set_read_only(self.directory.path(), false);
    }
}
