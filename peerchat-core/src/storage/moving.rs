//! Export and import: what of a profile moves to another machine, as rows in an [`super::archive`].
//!
//! The archive says which version of the schema its rows are of. An import makes a profile of that version, fills it and
//! upgrades it, so that every archive can be imported that a profile of its age could be opened from.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use zeroize::Zeroizing;

use super::archive::{ArchiveReader, ArchiveWriter};
use super::failure::Failure;
use super::lock::ProfileLock;
use super::vault::Vault;
use super::{apply, files, rows, schema, sqlite};
use crate::config::Passphrase;
use crate::error::Error;
use crate::identity::UserName;

/// A table that moves.
struct Moved {
    table: &'static str,
    /// Which of its rows do.
    condition: &'static str,
}

const fn all_of(table: &'static str) -> Moved {
    Moved { table, condition: "true" }
}

/// What moves, each table after those that it refers to: who this user and device are, whom they know, what was said, what
/// is owed, and up to where everything has come, so that no number is given out twice and nothing is taken twice.
const MOVED: [Moved; 8] = [
    all_of("keys"),
    Moved { table: "meta", condition: "name = 'confirmed_position'" },
    all_of("own_records"),
    all_of("conversations"),
    all_of("streams"),
    all_of("messages"),
    all_of("voids"),
    all_of("tokens"),
];

/// What does not: sessions and what belongs to them start afresh, what is known of the network and kept for it is of the
/// moment, the index of words and the vault are made anew.
#[cfg(test)]
pub(super) const LEFT_OUT: [&str; 17] = [
    "device",
    "envelopes",
    "incoming",
    "mail",
    "mail_bodies",
    "mail_released",
    "message_words",
    "message_words_config",
    "message_words_data",
    "message_words_docsize",
    "message_words_idx",
    "prekeys",
    "records",
    "routing",
    "seals",
    "sessions",
    "vault",
];

/// The first version of the schema that was ever exported.
const FIRST_VERSION: u32 = 10;

/// The longest value of a row in bytes; nothing in the tables that move comes near it.
const MAX_VALUE_LEN: usize = 1 << 20;

/// Most columns of a table.
const MAX_COLUMNS: usize = 64;

/// What comes next in an archive.
const END: u8 = 0;
const TABLE: u8 = 1;
const ROW: u8 = 2;

/// What a value of a row is.
const NULL: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;

#[cfg(test)]
pub(super) fn moved_tables() -> impl Iterator<Item = &'static str> {
    MOVED.iter().map(|moved| moved.table)
}

/// Writes a profile as it is at one moment into a new file.
pub(super) fn export(
    db: &mut Connection,
    vault: &Vault,
    to: &Path,
    passphrase: &Passphrase,
) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::of_file("make the archive", &error);
    if to.try_exists().map_err(refused)? {
        return Err(Failure::Storage(
            "there is a file of this name; choose another, or remove it".to_owned(),
        ));
    }
    let unfinished = files::beside(to, ".part");
    let file = files::private().create_new(true).open(&unfinished).map_err(|error| {
        Failure::of_file(
            "make the archive beside what an earlier export may have left (its name and .part)",
            &error,
        )
    })?;
    let written =
        export_into(db, vault, file, passphrase).and_then(|()| finish(&unfinished, to).map_err(refused));
    let _ = fs::remove_file(&unfinished);
    files::sync_directory_of(to);
    written
}

/// Gives a finished file its name, unless somebody else's has it by now.
fn finish(unfinished: &Path, to: &Path) -> std::io::Result<()> {
    match fs::hard_link(unfinished, to) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => fs::rename(unfinished, to),
        linked => linked,
    }
}

fn export_into(
    db: &mut Connection,
    vault: &Vault,
    file: File,
    passphrase: &Passphrase,
) -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::of_file("write the archive", &error);
    let mut archive = ArchiveWriter::start(BufWriter::new(file), passphrase)?;
    // One transaction: every table is read as it was at the first of them.
    let snapshot = db.transaction()?;
    archive.write(&schema::VERSION.to_be_bytes())?;
    for moved in &MOVED {
        export_table(&snapshot, vault, moved, &mut archive)?;
    }
    archive.write(&[END])?;
    drop(snapshot);
    let file = archive.finish()?.into_inner().map_err(|error| refused(error.into_error()))?;
    file.sync_all().map_err(refused)
}

fn export_table<W: Write>(
    db: &Connection,
    vault: &Vault,
    moved: &Moved,
    archive: &mut ArchiveWriter<W>,
) -> Result<(), Failure> {
    let Moved { table, condition } = moved;
    let mut statement = db.prepare(&format!("SELECT * FROM {table} WHERE {condition}"))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    archive.write(&[TABLE])?;
    write_name(archive, table)?;
    archive.write(&[u8::try_from(columns.len()).map_err(|_| too_long())?])?;
    columns.iter().try_for_each(|column| write_name(archive, column))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        archive.write(&[ROW])?;
        for (index, column) in columns.iter().enumerate() {
            match (apply::secret_of(table, column), row.get_ref(index)?) {
                (Some(what), ValueRef::Blob(sealed)) => {
                    write_value(archive, ValueRef::Blob(&vault.reveal(what, sealed)?))?;
                }
                (_, value) => write_value(archive, value)?,
            }
        }
    }
    Ok(())
}

fn write_name<W: Write>(archive: &mut ArchiveWriter<W>, name: &str) -> Result<(), Failure> {
    archive.write(&[u8::try_from(name.len()).map_err(|_| too_long())?])?;
    archive.write(name.as_bytes())
}

fn write_value<W: Write>(archive: &mut ArchiveWriter<W>, value: ValueRef<'_>) -> Result<(), Failure> {
    let (kind, bytes) = match value {
        ValueRef::Null => return archive.write(&[NULL]),
        ValueRef::Integer(number) => {
            archive.write(&[NUMBER])?;
            return archive.write(&number.to_be_bytes());
        }
        ValueRef::Text(text) => (TEXT, text),
        ValueRef::Blob(bytes) => (BYTES, bytes),
        ValueRef::Real(_) => return Err(Failure::Damaged("it holds a number with a fraction".to_owned())),
    };
    if bytes.len() > MAX_VALUE_LEN {
        return Err(too_long());
    }
    archive.write(&[kind])?;
    archive.write(&u32::try_from(bytes.len()).map_err(|_| too_long())?.to_be_bytes())?;
    archive.write(bytes)
}

fn too_long() -> Failure {
    Failure::Damaged("it holds a value that is longer than any can be".to_owned())
}

/// Why an import failed: because of the archive, or of the profile that is being made of it.
enum Fault {
    Archive(Failure),
    Profile(Failure),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Profile(failure)
    }
}

/// Makes a profile of an archive; returns whose.
pub(super) fn import(
    archive: &Path,
    passphrase: &Passphrase,
    data_dir: &Path,
    new: Option<&Passphrase>,
) -> Result<UserName, Error> {
    let unreadable = |failure| of_archive(failure, archive);
    let file =
        File::open(archive).map_err(|error| unreadable(Failure::of_file("open the archive", &error)))?;
    let mut reader = ArchiveReader::open(file, passphrase).map_err(unreadable)?;
    // All of it is read once before anything is made.
    let name = whose(&mut reader).map_err(unreadable)?;
    reader.rewind().map_err(unreadable)?;

    let refused =
        |error: std::io::Error| Failure::of_file("make the data directory", &error).into_error(data_dir);
    let data_dir = std::path::absolute(data_dir).map_err(refused)?;
    let path = files::path_of(&data_dir, Some(&name));
    check_missing(&path)?;
    files::make_directory(&data_dir).map_err(refused)?;
    let _lock = ProfileLock::take(&path)?;
    check_missing(&path)?;
    let made = sqlite::make(&path, |db| fill(db, &mut reader, &name, new));
    made.map_err(|fault| match fault {
        Fault::Archive(failure) => unreadable(failure),
        Fault::Profile(failure) => failure.into_error(&path),
    })?;
    Ok(name)
}

fn check_missing(path: &Path) -> Result<(), Error> {
    match sqlite::is_missing(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::ProfileExists { path: path.to_owned() }),
        Err(failure) => Err(failure.into_error(path)),
    }
}

fn of_archive(failure: Failure, archive: &Path) -> Error {
    let path: PathBuf = archive.to_owned();
    match failure {
        Failure::Damaged(detail) => Error::ArchiveDamaged { path, detail },
        Failure::WrongPassphrase(_) => Error::ArchivePassphrase { path },
        Failure::TooNew(found) => Error::ArchiveTooNew { path, found },
        other => other.into_error(archive),
    }
}

/// Reads the whole of an archive; returns whose it is.
fn whose(reader: &mut ArchiveReader) -> Result<UserName, Failure> {
    let mut rows = ArchivedRows::start(reader)?;
    let mut name = None;
    while let Some(row) = rows.next()? {
        if row.table == "keys" {
            let column = row.columns.iter().position(|column| column == "user_name");
            match column.and_then(|column| row.values.get(column)) {
                Some(Value::Text(text)) if name.is_none() => name = UserName::parse(text).ok(),
                _ => return Err(damaged("it does not say whose it is")),
            }
        }
    }
    name.ok_or_else(|| damaged("it does not say whose it is"))
}

/// Fills an empty file with what is in an archive.
fn fill(
    db: &mut Connection,
    reader: &mut ArchiveReader,
    name: &UserName,
    passphrase: Option<&Passphrase>,
) -> Result<(), Fault> {
    let mut archived = ArchivedRows::start(reader).map_err(Fault::Archive)?;
    schema::create(db, &schema::STEPS[..archived.version as usize])?;
    let transaction = db.transaction().map_err(Failure::from)?;
    let vault = Vault::replace(&transaction, passphrase)?;
    while let Some(row) = archived.next().map_err(Fault::Archive)? {
        insert(&transaction, &vault, row)?;
    }
    let mut is_whole = transaction.prepare("PRAGMA foreign_key_check").map_err(Failure::from)?;
    if is_whole.exists([]).map_err(Failure::from)? {
        return Err(Fault::Archive(damaged("a row of it refers to none")));
    }
    drop(is_whole);
    transaction.commit().map_err(Failure::from)?;
    schema::upgrade(db, schema::STEPS)?;
    let keys = rows::keys(db, Some(name), &vault).and_then(|keys| rows::load(db, keys, &vault));
    keys.map(drop).map_err(|failure| match failure {
        Failure::Damaged(_) => Fault::Archive(failure),
        other => Fault::Profile(other),
    })
}

fn insert(db: &Connection, vault: &Vault, row: &mut ArchivedRow) -> Result<(), Fault> {
    for (column, value) in row.columns.iter().zip(&mut row.values) {
        if let (Some(what), Value::Blob(secret)) = (apply::secret_of(&row.table, column), &mut *value) {
            let secret = Zeroizing::new(std::mem::take(secret));
            *value = Value::Blob(vault.seal(what, &secret)?.to_vec());
        }
    }
    let marks = vec!["?"; row.columns.len()].join(", ");
    let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", row.table, row.columns.join(", "));
    // The tables refuse what they cannot hold, which an archive of ours does not have.
    let refused = |error: rusqlite::Error| match Failure::from(error) {
        Failure::Internal(detail) => Fault::Archive(Failure::Damaged(detail)),
        other => Fault::Profile(other),
    };
    let mut statement = db.prepare_cached(&sql).map_err(refused)?;
    statement.execute(params_from_iter(&row.values)).map_err(refused)?;
    Ok(())
}

/// The rows of an archive, one after another.
struct ArchivedRows<'a> {
    reader: &'a mut ArchiveReader,
    version: u32,
    row: ArchivedRow,
}

#[derive(Default)]
struct ArchivedRow {
    table: String,
    columns: Vec<String>,
    values: Vec<Value>,
}

impl Drop for ArchivedRow {
    fn drop(&mut self) {
        wipe(&mut self.values);
    }
}

/// Wipes what may be a secret.
fn wipe(values: &mut Vec<Value>) {
    for value in values.drain(..) {
        if let Value::Blob(bytes) = value {
            drop(Zeroizing::new(bytes));
        }
    }
}

impl<'a> ArchivedRows<'a> {
    fn start(reader: &'a mut ArchiveReader) -> Result<Self, Failure> {
        let version = number(reader)?;
        if version > schema::VERSION {
            return Err(Failure::TooNew(version));
        }
        if version < FIRST_VERSION {
            return Err(damaged("it is of a version that never was"));
        }
        Ok(Self { reader, version, row: ArchivedRow::default() })
    }

    /// Reads the next row; `None` after the last, with nothing behind it.
    fn next(&mut self) -> Result<Option<&mut ArchivedRow>, Failure> {
        loop {
            match byte(self.reader)? {
                TABLE => self.read_table()?,
                ROW if !self.row.columns.is_empty() => break,
                END => return self.reader.end().map(|()| None),
                _ => return Err(damaged("it holds something unknown")),
            }
        }
        wipe(&mut self.row.values);
        for _ in 0..self.row.columns.len() {
            self.row.values.push(value(self.reader)?);
        }
        Ok(Some(&mut self.row))
    }

    fn read_table(&mut self) -> Result<(), Failure> {
        self.row.table = name(self.reader)?;
        if !MOVED.iter().any(|moved| moved.table == self.row.table) {
            return Err(damaged("it holds a table that does not move"));
        }
        let count = usize::from(byte(self.reader)?);
        if !(1..=MAX_COLUMNS).contains(&count) {
            return Err(damaged("it holds a table of too many columns"));
        }
        self.row.columns = (0..count).map(|_| name(self.reader)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn byte(reader: &mut ArchiveReader) -> Result<u8, Failure> {
    let mut byte = [0];
    reader.read(&mut byte)?;
    Ok(byte[0])
}

fn number(reader: &mut ArchiveReader) -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    reader.read(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Reads a name of a table or column, which becomes a part of a statement: it holds nothing but small letters and `_`.
fn name(reader: &mut ArchiveReader) -> Result<String, Failure> {
    let mut bytes = vec![0; byte(reader)?.into()];
    reader.read(&mut bytes)?;
    let is_plain = !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
    String::from_utf8(bytes).ok().filter(|_| is_plain).ok_or_else(|| damaged("it holds a name that is none"))
}

fn value(reader: &mut ArchiveReader) -> Result<Value, Failure> {
    let kind = byte(reader)?;
    match kind {
        NULL => Ok(Value::Null),
        NUMBER => {
            let mut bytes = [0; 8];
            reader.read(&mut bytes)?;
            Ok(Value::Integer(i64::from_be_bytes(bytes)))
        }
        TEXT | BYTES => {
            let len = number(reader)? as usize;
            if len > MAX_VALUE_LEN {
                return Err(too_long());
            }
            let mut bytes = vec![0; len];
            reader.read(&mut bytes)?;
            if kind == BYTES {
                return Ok(Value::Blob(bytes));
            }
            String::from_utf8(bytes).map(Value::Text).map_err(|_| damaged("it holds a text that is none"))
        }
        _ => Err(damaged("it holds something unknown")),
    }
}

fn damaged(detail: &str) -> Failure {
    Failure::Damaged(detail.to_owned())
}
