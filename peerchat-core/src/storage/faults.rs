//! [`Fault`]: what a disk can refuse a profile, for tests that have no disk to break.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::{Kind, Store};

/// The directories that refuse to be written.
static READ_ONLY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The most pages that SQLite lets a file have.
const MOST_PAGES: u32 = u32::MAX - 1;

/// What a disk refuses. SQLite itself refuses the writes of a profile that is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It is full: the file grows by so many pages of 4 KiB and no further.
    Full {
        /// How many.
        pages: u32,
    },
    /// Nothing on it can be written.
    ReadOnly,
}

impl Store {
    /// Lets the disk of this profile refuse from now on, until the profile is closed; with `None` it does no longer.
    ///
    /// # Panics
    ///
    /// The profile is in memory or closed.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let Kind::Sqlite(profile) = &self.0 else { panic!("a profile in memory has no disk") };
        profile.with_writing(|db| {
            let count = |name| db.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
            let limit = match fault {
                Some(Fault::Full { pages }) => count("page_count").expect("it is open") + pages,
                Some(Fault::ReadOnly) | None => MOST_PAGES,
            };
            db.query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(())).expect("it is open");
            db.pragma_update(None, "query_only", fault == Some(Fault::ReadOnly)).expect("it is open");
        });
    }
}

/// Lets a directory refuse from now on, or no longer, that a profile in it is opened.
pub fn set_read_only(data_dir: &Path, is_read_only: bool) {
    let mut directories = READ_ONLY.lock();
    if is_read_only {
        directories.insert(data_dir.to_owned());
    } else {
        directories.remove(data_dir);
    }
}

/// Fails as making a file in a directory does that cannot be written.
pub(super) fn check(file: &Path) -> io::Result<()> {
    let is_refused = file.parent().is_some_and(|directory| READ_ONLY.lock().contains(directory));
    if is_refused { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
}
