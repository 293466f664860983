//! Profiles: what the engine asked to be saved, on disk or in memory.
//!
//! [`open`] gives back everything a profile holds and a [`Store`] to write to it. On disk a profile is one SQLite
//! file with a lock beside it; one thread of the process writes all of them, and a batch is acknowledged once it
//! would survive a power cut. `docs/storage.md` describes the file.

mod apply;
mod archive;
mod failure;
#[cfg(any(test, feature = "simulation"))]
pub mod faults;
mod files;
mod index;
mod lock;
mod memory;
mod moving;
mod rows;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod vault;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Location, Passphrase};
use crate::error::Error;
use crate::identity::UserName;
use crate::save::{BatchId, ConversationId, ProfileKeys, Saved, SavedConversation, SavedMessage, WriteBatch};
use crate::search::Query;
#[cfg(feature = "fuzzing")]
pub(crate) use archive::any as archives;
use memory::Memory;
use sqlite::Profile;
#[cfg(feature = "fuzzing")]
pub(crate) use vault::cheap::lock as lock_cheaply;

/// A profile that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Writes to the profile and reads its history.
    pub store: Store,
    /// What the profile holds.
    pub saved: Saved,
}

/// Opens a profile or makes it; `user` is `None` for a node without a user.
///
/// `make_keys` is called only for a profile that does not exist yet; it must give a user key exactly if there is
/// a user. Blocks while it reads the disk.
///
/// # Errors
///
/// The profile is open elsewhere, damaged, or from a later version, or the disk refuses.
pub fn open(
    location: &Location,
    user: Option<&UserName>,
    make_keys: impl FnOnce() -> ProfileKeys,
) -> Result<Opened, Error> {
    open_with(location, user, None, make_keys)
}

/// Does what [`open`] does for a profile with a passphrase, or makes one that has it. In memory it means nothing.
///
/// # Errors
///
/// Those of [`open`], or the passphrase is not the profile's. Nothing was changed then.
pub fn open_with(
    location: &Location,
    user: Option<&UserName>,
    passphrase: Option<&Passphrase>,
    make_keys: impl FnOnce() -> ProfileKeys,
) -> Result<Opened, Error> {
    let make_keys = || {
        let keys = make_keys();
        if keys.user.is_some() == user.is_some() {
            Ok(keys)
        } else {
            Err(Error::Internal {
                detail: "a profile has a user key without a user or the reverse".to_owned(),
            })
        }
    };
    match location {
        Location::Memory => {
            Ok(Opened { saved: Saved::fresh(make_keys()?), store: Store(Kind::Memory(Arc::default())) })
        }
        Location::Directory(data_dir) => {
            let (profile, saved) = sqlite::open(data_dir, user, passphrase, make_keys)?;
            Ok(Opened { saved, store: Store(Kind::Sqlite(profile)) })
        }
    }
}

/// Sets, changes or removes (`None`) the passphrase of a profile that no client has open.
///
/// # Errors
///
/// `old` is not its passphrase, the profile is open or damaged, or the disk refuses. Nothing was changed then.
pub fn change_passphrase(
    data_dir: &Path,
    user: Option<&UserName>,
    old: Option<&Passphrase>,
    new: Option<&Passphrase>,
) -> Result<(), Error> {
    sqlite::change_passphrase(data_dir, user, old, new)
}

/// Makes a profile of what [`Store::export`] wrote with `passphrase`, which gets the passphrase `new` or none; returns whose it
/// is. Reads the archive twice, and writes nothing before all of it has proven to be whole.
///
/// # Errors
///
/// The archive is damaged, of a later version or encrypted with another passphrase; the profile exists; the disk refuses. No
/// profile was made then.
pub fn import(
    archive: &Path,
    passphrase: &Passphrase,
    data_dir: &Path,
    new: Option<&Passphrase>,
) -> Result<UserName, Error> {
    moving::import(archive, passphrase, data_dir, new)
}

/// Returns the file of the profile of a user, or of a node without one.
#[must_use]
pub fn profile_path(data_dir: &Path, user: Option<&UserName>) -> PathBuf {
    files::path_of(data_dir, user)
}

/// Tells whether `data_dir` holds a profile of this user.
#[must_use]
pub fn profile_exists(data_dir: &Path, user: &UserName) -> bool {
    files::path_of(data_dir, Some(user)).exists()
}

/// A handle to an open profile. Clones share it; the profile closes with [`Store::close`] or the last of them.
///
/// Reads see every batch that was acknowledged before they began.
#[derive(Clone)]
pub struct Store(Kind);

#[derive(Clone)]
enum Kind {
    Memory(Arc<Memory>),
    Sqlite(Arc<Profile>),
}

impl Store {
    /// Queues an atomic batch. `done` is told once the batch is on disk, or that it failed; batches of one store
    /// are written in order, and after a failure every later one fails too.
    ///
    /// On disk, `done` runs on the writer thread, which serves every profile of the process: it must return soon
    /// and must not call the store. Blocks while the thread's queue is full, until the disk caught up. In memory, or once the store is
    /// closed, `done` has run when this returns.
    ///
    /// A failed batch left nothing behind, unless it failed because the disk did: then the profile has to be
    /// opened again to see.
    pub fn write(&self, batch: WriteBatch, done: impl FnOnce(BatchId, Result<(), Error>) + Send + 'static) {
        match &self.0 {
            Kind::Memory(memory) => done(batch.id, memory.write(batch.writes)),
            Kind::Sqlite(profile) => profile.write(batch, Box::new(done)),
        }
    }

    /// Returns at most `limit` messages of a conversation, latest first, from those before the position `before`
    /// or from all.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn history(
        &self,
        conversation: ConversationId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SavedMessage>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.history(conversation, before, limit),
            Kind::Sqlite(profile) => profile.read(|db| rows::history(db, conversation, before, limit)),
        }
    }

    /// Returns at most `limit` texts, of one conversation or of all, that hold every word of a query, latest first, from
    /// those before the position `before` or from all, each with its conversation.
    ///
    /// On disk, the index of words is brought up to date first: the writer thread takes what was saved since the last
    /// search into it, in steps between which it writes what waits. Must not be called on that thread.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn search(
        &self,
        query: &Query,
        conversation: Option<ConversationId>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(SavedMessage, SavedConversation)>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.search(query, conversation, before, limit),
            Kind::Sqlite(profile) => {
                profile.search(|db| index::search(db, query, conversation, before, limit))
            }
        }
    }

    /// Returns every conversation, by id.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn conversations(&self) -> Result<Vec<SavedConversation>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.conversations(),
            Kind::Sqlite(profile) => profile.read(rows::conversations),
        }
    }

    /// Returns the conversation with the person who is shown as `peer`.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn conversation_named(&self, peer: &str) -> Result<Option<SavedConversation>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.conversation_named(peer),
            Kind::Sqlite(profile) => profile.read(|db| rows::conversation_named(db, peer)),
        }
    }

    /// Returns at most `limit` received messages of every kind after a position in history, oldest first, each
    /// with its conversation.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn received_after(
        &self,
        position: u64,
        limit: usize,
    ) -> Result<Vec<(SavedMessage, SavedConversation)>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.received_after(position, limit),
            Kind::Sqlite(profile) => profile.read(|db| rows::received_after(db, position, limit)),
        }
    }

    /// Returns the message at a position in history.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn message(&self, position: u64) -> Result<Option<SavedMessage>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.message(position),
            Kind::Sqlite(profile) => profile.read(|db| rows::message(db, position)),
        }
    }

    /// Returns number and position of the messages of our own in state Delivered in a conversation whose numbers are
    /// above `after` and at most `up_to`: the first [`crate::save::MAX_READ_AT_ONCE`] by number.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn delivered(
        &self,
        conversation: ConversationId,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<(u64, u64)>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.delivered(conversation, (after, up_to)),
            Kind::Sqlite(profile) => profile.read(|db| rows::delivered(db, conversation, (after, up_to))),
        }
    }

    /// Returns an envelope that is kept for somebody.
    ///
    /// # Errors
    ///
    /// The store is closed, or the disk refuses.
    pub fn mail(&self, position: u64) -> Result<Option<Vec<u8>>, Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.mail(position),
            Kind::Sqlite(profile) => profile.read(|db| rows::mail(db, position)),
        }
    }

    /// Writes what moves to another machine of the profile, as it is now, into a new file that `passphrase` encrypts.
    ///
    /// # Errors
    ///
    /// There is such a file, the profile is in memory or damaged, the store is closed, or the disk refuses. Then there is no
    /// new file.
    pub fn export(&self, to: &Path, passphrase: &Passphrase) -> Result<(), Error> {
        match &self.0 {
            Kind::Memory(memory) => memory.conversations().and(Err(Error::NotOnDisk)),
            Kind::Sqlite(profile) => profile.export(to, passphrase),
        }
    }

    /// Waits for the queued batches, then gives up the file and its lock; later calls fail with
    /// [`Error::Closed`]. A second close waits for the first and changes nothing.
    pub fn close(&self) {
        match &self.0 {
            Kind::Memory(memory) => memory.close(),
            Kind::Sqlite(profile) => profile.close(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Memory(_) => "Store(in memory)",
            Kind::Sqlite(_) => "Store(on disk)",
        })
    }
}
