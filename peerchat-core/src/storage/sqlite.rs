//! [`Profile`]: a profile in an SQLite file, held by one client.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::failure::Failure;
use super::lock::ProfileLock;
use super::schema::{self, STEPS, Step};
use super::vault::Vault;
use super::writer::{Done, Job, Writer};
use super::{apply, files, index, moving, rows};
use crate::config::Passphrase;
use crate::error::Error;
use crate::identity::UserName;
use crate::save::{ProfileKeys, Saved, WriteBatch};

/// How many prepared statements a connection keeps: more than there are kinds of write.
const STATEMENT_COUNT: usize = 32;

/// A profile on disk. Its fields are dropped in order, and so it closes rightly without [`Profile::close`] too.
pub(super) struct Profile {
    path: PathBuf,
    vault: Vault,
    is_closed: AtomicBool,
    reader: Mutex<Reader>,
    /// Apart from the other, since a search may take long.
    searcher: Mutex<Reader>,
    /// Used by the writer thread only.
    writing: Mutex<Writing>,
    writer: Arc<Writer>,
}

/// The connection that reads; it is made when it is first needed.
enum Reader {
    Unopened,
    Open(Connection),
    Closed,
}

/// The connection that writes.
struct Writing {
    /// `None` once the profile is closed. The lock is given up after the file.
    open: Option<(Connection, ProfileLock)>,
    /// Why every further batch fails.
    failure: Option<Failure>,
}

/// Opens or makes the profile of a user, or of a node without one.
pub(super) fn open(
    data_dir: &Path,
    user: Option<&UserName>,
    passphrase: Option<&Passphrase>,
    make_keys: impl FnOnce() -> Result<ProfileKeys, Error>,
) -> Result<(Arc<Profile>, Saved), Error> {
    let refused = |error: io::Error| Failure::of_file("make the data directory", &error).into_error(data_dir);
    // The reading connection opens later, when the working directory may be another.
    let absolute = std::path::absolute(data_dir).map_err(refused)?;
    files::make_directory(&absolute).map_err(refused)?;
    let path = files::path_of(&absolute, user);
    let lock = ProfileLock::take(&path)?;
    let failed = |failure: Failure| failure.into_error(&path);
    if is_missing(&path).map_err(failed)? {
        create(&path, user, passphrase, &make_keys()?).map_err(failed)?;
    }
    let Loaded { connection, saved, vault } = load(&path, user, passphrase, STEPS).map_err(failed)?;
    let writer = Writer::shared().map_err(failed)?;
    let writing = Mutex::new(Writing { open: Some((connection, lock)), failure: None });
    let [reader, searcher] = [(); 2].map(|()| Mutex::new(Reader::Unopened));
    let is_closed = AtomicBool::new(false);
    Ok((Arc::new(Profile { path, vault, is_closed, reader, searcher, writing, writer }), saved))
}

/// Tells whether there is no profile yet.
pub(super) fn is_missing(path: &Path) -> Result<bool, Failure> {
    if path.try_exists().map_err(|error| Failure::of_file("look for the profile", &error))? {
        return Ok(false);
    }
    // What is in the log would be taken for a part of the new file.
    if fs::metadata(files::beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        let detail =
            "it is gone, but its log (the same name with -wal) is there; restore it, or remove the log";
        return Err(Failure::Damaged(detail.to_owned()));
    }
    Ok(true)
}

fn create(
    path: &Path,
    user: Option<&UserName>,
    passphrase: Option<&Passphrase>,
    keys: &ProfileKeys,
) -> Result<(), Failure> {
    make(path, |connection| {
        schema::create(connection, STEPS)?;
        let vault = Vault::replace(connection, passphrase)?;
        apply::insert_keys(connection, user, keys, &vault)
    })
}

/// Makes a file under another name, has it filled and renames it, so that there is no half-made profile. If that fails,
/// nothing is left behind.
pub(super) fn make<E: From<Failure>>(
    path: &Path,
    fill: impl FnOnce(&mut Connection) -> Result<(), E>,
) -> Result<(), E> {
    let unfinished = files::beside(path, ".new");
    // What a crash left of an earlier attempt must not be taken for a part of this one.
    remove_logs(&unfinished);
    let renamed = make_unfinished(&unfinished, fill).and_then(|()| {
        fs::rename(&unfinished, path).map_err(|error| Failure::of_file("make the profile", &error).into())
    });
    if renamed.is_err() {
        let _ = fs::remove_file(&unfinished);
        remove_logs(&unfinished);
    }
    files::sync_directory_of(path);
    renamed
}

fn make_unfinished<E: From<Failure>>(
    path: &Path,
    fill: impl FnOnce(&mut Connection) -> Result<(), E>,
) -> Result<(), E> {
    let refused = |error: io::Error| Failure::of_file("make the profile", &error);
    let file = files::private().create(true).truncate(true).open(path).map_err(refused)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let prepare = |connection: &Connection| {
        // The sync below is the only one that counts.
        connection.pragma_update(None, "synchronous", "off")?;
        connection.pragma_update(None, "journal_mode", "wal")
    };
    prepare(&connection).map_err(Failure::from)?;
    fill(&mut connection)?;
    connection.close().map_err(|(_, error)| Failure::from(error))?;
    Ok(file.sync_all().map_err(refused)?)
}

fn remove_logs(path: &Path) {
    for log in ["-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(files::beside(path, log));
    }
}

/// A profile that was read.
pub(super) struct Loaded {
    pub(super) connection: Connection,
    pub(super) saved: Saved,
    vault: Vault,
}

/// Sets, changes or removes the passphrase of a profile that nobody has open. All of it happens or nothing.
pub(super) fn change_passphrase(
    data_dir: &Path,
    user: Option<&UserName>,
    old: Option<&Passphrase>,
    new: Option<&Passphrase>,
) -> Result<(), Error> {
    let path = files::path_of(data_dir, user);
    let failed = |failure: Failure| failure.into_error(&path);
    if !path.exists() {
        return Err(Error::Storage { detail: format!("{}: there is no profile yet", path.display()) });
    }
    let _lock = ProfileLock::take(&path)?;
    let loaded = load(&path, user, old, STEPS).map_err(failed)?;
    seal_profile(loaded, new).map_err(failed)
}

fn seal_profile(loaded: Loaded, new: Option<&Passphrase>) -> Result<(), Failure> {
    let Loaded { mut connection, vault, .. } = loaded;
    // What was open must not be found in pages that are free now.
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let renewed = Vault::replace(&transaction, new)?;
    apply::seal_anew(&transaction, &vault, &renewed)?;
    transaction.commit()?;
    connection.execute_batch("VACUUM")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Opens a profile that exists, checks it, upgrades it, and reads what the engine needs.
pub(super) fn load(
    path: &Path,
    user: Option<&UserName>,
    passphrase: Option<&Passphrase>,
    steps: &[Step],
) -> Result<Loaded, Failure> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Until the file has proven to be ours and sound, nothing is moved into it from its log.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    schema::check(&connection, steps)?;
    let vault = Vault::open(&connection, passphrase)?;
    let keys = rows::keys(&connection, user, &vault)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    // On macOS a plain sync leaves the data in the cache of the disk.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    schema::upgrade(&mut connection, steps)?;
    index::follow_history(&connection)?;
    let saved = rows::load(&connection, keys, &vault)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(Loaded { connection, saved, vault })
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_COUNT);
    Ok(connection)
}

impl Profile {
    /// See [`super::Store::write`].
    pub(super) fn write(self: &Arc<Self>, batch: WriteBatch, done: Done) {
        if self.is_closed.load(Ordering::Acquire) {
            return done(batch.id, Err(Error::Closed));
        }
        self.writer.send(Job::Write { profile: Arc::clone(self), batch, done });
    }

    /// Runs a query on the reading connection.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Error> {
        let mut reader = self.reader.lock();
        reader.run(&self.path, query).map_err(|failure| failure.into_error(&self.path))
    }

    /// Runs a query on the index of words, once everything that is saved by now is in it.
    pub(super) fn search<T>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let ask = |what: fn(&Connection) -> Result<u64, Failure>| {
            self.searcher.lock().run(&self.path, what).map_err(|failure| self.error(failure))
        };
        let last = ask(index::last_position)?;
        let mut indexed = ask(index::indexed_position)?;
        while indexed < last {
            self.index_some()?;
            let before = std::mem::replace(&mut indexed, ask(index::indexed_position)?);
            if indexed == before {
                // What was last is gone, as a receipt goes that was sent.
                break;
            }
        }
        self.searcher.lock().run(&self.path, query).map_err(|failure| self.error(failure))
    }

    /// Has the writer thread take some messages into the index.
    fn index_some(self: &Arc<Self>) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let (done, outcome) = sync_channel(1);
        self.writer.send(Job::Index { profile: Arc::clone(self), done });
        outcome.recv().map_err(|_| Error::Closed)?
    }

    /// See [`super::Store::export`]. Reads over a connection of its own, which sees one moment throughout.
    pub(super) fn export(&self, to: &Path, passphrase: &Passphrase) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let mut connection =
            connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|failure| self.error(failure))?;
        moving::export(&mut connection, &self.vault, to, passphrase).map_err(|failure| match failure {
            Failure::Storage(_) => failure.into_error(to),
            other => self.error(other),
        })
    }

    /// See [`super::Store::close`].
    pub(super) fn close(self: &Arc<Self>) {
        self.is_closed.store(true, Ordering::Release);
        // The last connection tidies the log away, which one that only reads cannot.
        *self.reader.lock() = Reader::Closed;
        *self.searcher.lock() = Reader::Closed;
        let (released, is_released) = sync_channel(1);
        self.writer.send(Job::Close { profile: Arc::clone(self), released });
        // An error means that the writer dropped the job, which it does only with the profile released.
        let _ = is_released.recv();
    }

    /// Writes batches with one sync; returns how many are on disk, and why those after them are not.
    pub(super) fn commit(&self, batches: &[WriteBatch]) -> (usize, Option<Failure>) {
        let mut writing = self.writing.lock();
        let Writing { open, failure } = &mut *writing;
        let Some((connection, _)) = open else {
            return (0, Some(Failure::Closed));
        };
        if failure.is_some() {
            return (0, failure.clone());
        }
        let (written, broken) = commit(connection, &self.vault, batches);
        failure.clone_from(&broken);
        (written, broken)
    }

    /// Takes some messages into the index of words. If that fails, nothing of it is on disk, and no batch is to blame.
    pub(super) fn index(&self) -> Result<(), Failure> {
        let mut writing = self.writing.lock();
        let Writing { open, failure } = &mut *writing;
        let (connection, _) = open.as_mut().ok_or(Failure::Closed)?;
        failure.clone().map_or_else(|| index::catch_up(connection), Err)
    }

    /// Gives up the file, then its lock.
    pub(super) fn release(&self) {
        let open = self.writing.lock().open.take();
        drop(open);
    }

    /// Hands out the writing connection.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn with_writing(&self, act: impl FnOnce(&Connection)) {
        act(&self.writing.lock().open.as_ref().unwrap().0);
    }

    /// Makes a failure of this profile the crate's error.
    pub(super) fn error(&self, failure: Failure) -> Error {
        failure.into_error(&self.path)
    }
}

impl Reader {
    fn run<T>(
        &mut self,
        path: &Path,
        query: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if let Self::Unopened = self {
            *self = Self::Open(connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?);
        }
        match self {
            Self::Open(connection) => query(connection),
            Self::Unopened | Self::Closed => Err(Failure::Closed),
        }
    }
}

/// Writes batches as [`Profile::commit`] says.
fn commit(connection: &mut Connection, vault: &Vault, batches: &[WriteBatch]) -> (usize, Option<Failure>) {
    match try_commit(connection, vault, batches) {
        Ok(()) => (batches.len(), None),
        // Nothing is written. Those before the broken batch are not to blame: they get a transaction without it.
        Err((sound, failure)) => match try_commit(connection, vault, &batches[..sound]) {
            Ok(()) => (sound, Some(failure)),
            Err(_) => (0, Some(failure)),
        },
    }
}

/// Writes all batches in one transaction, or nothing: then it tells how many come before the broken one.
fn try_commit(
    connection: &mut Connection,
    vault: &Vault,
    batches: &[WriteBatch],
) -> Result<(), (usize, Failure)> {
    let failed = |error: rusqlite::Error| (0, error.into());
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for (sound, batch) in batches.iter().enumerate() {
        let mut writes = batch.writes.iter();
        writes
            .try_for_each(|write| apply::apply(&transaction, vault, write))
            .map_err(|failure| (sound, failure))?;
    }
    transaction.commit().map_err(failed)
}
