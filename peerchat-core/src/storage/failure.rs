//! [`Failure`]: why the storage of one profile failed, without the path, and kept for every later batch.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

/// Why storage failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The profile was closed.
    Closed,
    /// The file is not what it should be.
    Damaged(String),
    /// The file is of a later version.
    TooNew(u32),
    /// The passphrase is not the profile's: why not.
    WrongPassphrase(String),
    /// The disk refused: what the system said, and what to do.
    Storage(String),
    /// A batch that makes no sense: a bug in the engine or here.
    Internal(String),
}

impl Failure {
    /// Makes the failure of a file operation.
    pub(super) fn of_file(action: &str, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; give this user the right to write there",
            io::ErrorKind::ReadOnlyFilesystem => "; choose a data directory that can be written",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
            io::ErrorKind::NotADirectory => "; choose a data directory whose path holds no file",
            io::ErrorKind::Unsupported => "; choose a data directory on another file system",
            _ => "",
        };
        Self::Storage(format!("cannot {action}: {error}{advice}"))
    }

    /// Makes it the crate's error, about the profile at `path`.
    pub(super) fn into_error(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Closed => Error::Closed,
            Self::Damaged(detail) => Error::ProfileDamaged { path, detail },
            Self::TooNew(found) => Error::ProfileTooNew { path, found, known: super::schema::VERSION },
            Self::WrongPassphrase(detail) => Error::WrongPassphrase { path, detail },
            Self::Storage(detail) => Error::Storage { detail: format!("{}: {detail}", path.display()) },
            Self::Internal(detail) => Error::Internal { detail },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as Sqlite;
        match &error {
            Sqlite::FromSqlConversionFailure(..)
            | Sqlite::IntegralValueOutOfRange(..)
            | Sqlite::InvalidColumnType(..)
            | Sqlite::Utf8Error(..) => return Self::Damaged(error.to_string()),
            _ => {}
        }
        let advice = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return Self::Damaged(error.to_string());
            }
            Some(ErrorCode::DiskFull) => "; free some space on the disk and open the profile again",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                "; check that this user may read and write the file and its directory"
            }
            Some(ErrorCode::SystemIoFailure) => "; check the disk and open the profile again",
            Some(ErrorCode::OutOfMemory) => "; free some memory and open the profile again",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "; close the program that has the file open"
            }
            Some(_) | None => return Self::Internal(format!("unexpected answer of SQLite: {error}")),
        };
        Self::Storage(format!("{error}{advice}"))
    }
}
