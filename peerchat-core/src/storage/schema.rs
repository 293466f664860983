//! The tables of a profile, and how a profile of an earlier version becomes one of this.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::failure::Failure;

/// Marks an SQLite file as a peerchat profile: "PCHT".
const APPLICATION_ID: i32 = 0x5043_4854;

/// Brings a profile from one version to the next.
pub(super) type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// The step at index n makes version n + 1 of version n; version 0 is an empty file.
///
/// A released step never changes: profiles of every released version are out there.
pub(super) const STEPS: &[Step] = &[
    create_version_1,
    add_sessions,
    add_identities,
    add_vault,
    add_mail,
    add_deposits,
    add_contacts,
    add_words,
    add_tokens,
    add_batches,
];

/// The version that this build reads and writes.
#[expect(clippy::cast_possible_truncation, reason = "there will never be so many versions")]
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// Largest file that is checked as a whole when it is opened. Of a larger one everything but the messages, the
/// index of their words and the envelopes kept for others is, so that much of them does not delay the start; damage there
/// is noticed when it is read.
const FULL_CHECK_MAX_LEN: i64 = 32 << 20;

/// The tables that the check of a large file covers.
const SMALL_TABLES: [&str; 18] = [
    "keys",
    "meta",
    "conversations",
    "streams",
    "records",
    "own_records",
    "routing",
    "device",
    "prekeys",
    "seals",
    "incoming",
    "sessions",
    "envelopes",
    "vault",
    "tokens",
    "mail",
    "mail_released",
    "voids",
];

/// The tables that it leaves out.
#[cfg(test)]
const LARGE_TABLES: [&str; 7] = [
    "mail_bodies",
    "messages",
    "message_words",
    "message_words_config",
    "message_words_data",
    "message_words_docsize",
    "message_words_idx",
];

fn create_version_1(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE keys (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            node BLOB NOT NULL,
            user BLOB,
            user_name TEXT,
            CHECK ((user IS NULL) = (user_name IS NULL))
        ) STRICT;
        CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE conversations (
            id INTEGER PRIMARY KEY,
            peer TEXT NOT NULL UNIQUE,
            user BLOB,
            next_number INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE streams (
            id INTEGER PRIMARY KEY,
            conversation INTEGER NOT NULL REFERENCES conversations (id),
            device BLOB NOT NULL,
            next_number INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE messages (
            position INTEGER PRIMARY KEY CHECK (position > 0),
            conversation INTEGER NOT NULL REFERENCES conversations (id),
            stream INTEGER NOT NULL,
            number INTEGER,
            kind INTEGER NOT NULL,
            body BLOB NOT NULL,
            sent INTEGER NOT NULL,
            received INTEGER NOT NULL,
            state INTEGER,
            expires INTEGER NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX messages_by_number ON messages (conversation, stream, number);
        CREATE INDEX messages_by_conversation ON messages (conversation);
        CREATE INDEX messages_received ON messages (position) WHERE stream <> 0;
        CREATE INDEX messages_queued ON messages (state) WHERE state = 1;
        CREATE TABLE records (key BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;
        CREATE TABLE own_records (key BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;
        CREATE TABLE routing (rank INTEGER PRIMARY KEY, key BLOB NOT NULL, address TEXT NOT NULL) STRICT;",
    )
}

/// Version 2: messages are sealed end to end.
fn add_sessions(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE streams ADD COLUMN identity BLOB;
        ALTER TABLE streams ADD COLUMN tags BLOB NOT NULL DEFAULT x'';
        CREATE TABLE device (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL) STRICT;
        CREATE TABLE prekeys (rank INTEGER PRIMARY KEY, key BLOB NOT NULL, made INTEGER NOT NULL) STRICT;
        CREATE TABLE sessions (
            id BLOB PRIMARY KEY NOT NULL,
            conversation INTEGER NOT NULL REFERENCES conversations (id),
            device BLOB NOT NULL,
            prekey BLOB,
            state BLOB,
            last_used INTEGER NOT NULL,
            is_retired INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE envelopes (
            position INTEGER PRIMARY KEY REFERENCES messages (position),
            device BLOB NOT NULL,
            kind INTEGER NOT NULL,
            bytes BLOB NOT NULL
        ) STRICT;",
    )
}

/// Version 3: what is known about the person behind a name.
fn add_identities(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE conversations ADD COLUMN is_verified INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE conversations ADD COLUMN rival BLOB;",
    )
}

/// Version 4: how the secrets are opened if there is a passphrase.
fn add_vault(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE vault (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            salt BLOB NOT NULL,
            memory_kib INTEGER NOT NULL,
            passes INTEGER NOT NULL,
            wrapped BLOB NOT NULL
        ) STRICT;",
    )
}

/// Version 5: mail is kept for others. The envelopes are apart from what is said of them, which is read at every start.
fn add_mail(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE mail (
            position INTEGER PRIMARY KEY CHECK (position > 0),
            mailbox BLOB NOT NULL,
            device BLOB NOT NULL,
            id BLOB NOT NULL,
            expires INTEGER NOT NULL,
            len INTEGER NOT NULL,
            depositor INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE mail_bodies (position INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
        CREATE TABLE mail_released (
            mailbox BLOB NOT NULL,
            device BLOB NOT NULL,
            tag BLOB NOT NULL,
            expires INTEGER NOT NULL,
            PRIMARY KEY (mailbox, device, tag)
        ) STRICT, WITHOUT ROWID;",
    )
}

/// Version 6: messages wait with other nodes for whoever is away.
fn add_deposits(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE messages ADD COLUMN held_by INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE streams ADD COLUMN owes_receipt INTEGER NOT NULL DEFAULT 0;
        DROP INDEX messages_queued;
        CREATE INDEX messages_owed ON messages (state) WHERE state IN (1, 2);
        CREATE TABLE seals (rank INTEGER PRIMARY KEY, secret BLOB NOT NULL, made INTEGER NOT NULL) STRICT;
        CREATE TABLE incoming (id BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;",
    )
}

/// Version 7: who is a contact, what was read, and what was given up before its turn. Whoever was met before that is a
/// contact.
fn add_contacts(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE conversations ADD COLUMN relation INTEGER NOT NULL DEFAULT 2;
        ALTER TABLE conversations ADD COLUMN requested INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE conversations ADD COLUMN read_heard INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE conversations ADD COLUMN read_marked INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE streams ADD COLUMN read_to INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE voids (position INTEGER PRIMARY KEY REFERENCES messages (position)) STRICT;",
    )
}

/// Version 8: the words of messages are indexed. What the profile holds is taken into the index by the first search.
fn add_words(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE VIRTUAL TABLE message_words USING fts5 (
            words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
        );
        CREATE TRIGGER messages_unindexed AFTER DELETE ON messages WHEN old.kind = 1 BEGIN
            DELETE FROM message_words WHERE rowid = old.position;
        END;",
    )
}

/// Version 9: tokens that contacts have given each other, and under which one an envelope was left.
fn add_tokens(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE mail ADD COLUMN token INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE tokens (
            conversation INTEGER PRIMARY KEY REFERENCES conversations (id),
            given INTEGER,
            held BLOB
        ) STRICT;",
    )
}

/// Version 10: several messages share an envelope.
fn add_batches(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch("ALTER TABLE envelopes ADD COLUMN count INTEGER NOT NULL DEFAULT 1;")
}

/// Makes the tables in an empty file, as of the version that these steps lead to.
pub(super) fn create(connection: &mut Connection, steps: &[Step]) -> Result<(), Failure> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    upgrade(connection, steps)
}

/// Checks that the file is a sound profile of a version that these steps lead to. Changes nothing.
pub(super) fn check(connection: &Connection, steps: &[Step]) -> Result<(), Failure> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if pragma_number(connection, "page_count")? == 0 {
        return Err(Failure::Damaged("it is empty".to_owned()));
    }
    if application != APPLICATION_ID {
        return Err(Failure::Damaged("it is a database of another program".to_owned()));
    }
    let version = version(connection)?;
    if version as usize > steps.len() {
        return Err(Failure::TooNew(version));
    }
    if version == 0 {
        return Err(Failure::Damaged("it has no version".to_owned()));
    }
    quick_check(connection)
}

/// Runs the steps from the file's version on, each in a transaction of its own.
pub(super) fn upgrade(connection: &mut Connection, steps: &[Step]) -> Result<(), Failure> {
    let done = version(connection)? as usize;
    for (step, next) in steps.iter().zip(1_u32..).skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step(&transaction)?;
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<u32, Failure> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn pragma_number(connection: &Connection, name: &str) -> Result<i64, Failure> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

fn quick_check(connection: &Connection) -> Result<(), Failure> {
    let page_len = pragma_number(connection, "page_size")?;
    if pragma_number(connection, "page_count")?.saturating_mul(page_len) <= FULL_CHECK_MAX_LEN {
        return quick_check_of(connection, "1");
    }
    SMALL_TABLES.iter().try_for_each(|table| quick_check_of(connection, table))
}

/// Runs SQLite's check of one table, or of all if given how many faults to report.
fn quick_check_of(connection: &Connection, argument: &str) -> Result<(), Failure> {
    let sql = format!("PRAGMA quick_check({argument})");
    let found: String = connection.query_row(&sql, [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Failure::Damaged(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_a_large_file_covers_every_table_but_the_large_ones() {
        let mut db = Connection::open_in_memory().unwrap();
        create(&mut db, STEPS).unwrap();
        for table in SMALL_TABLES.into_iter().chain(LARGE_TABLES) {
            assert_eq!(quick_check_of(&db, table), Ok(()), "{table}");
        }
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut statement = db.prepare(sql).unwrap();
        let tables: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut known = [&SMALL_TABLES[..], &LARGE_TABLES].concat();
        known.sort_unstable();
        assert_eq!(tables, known);
    }
}
