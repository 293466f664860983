//! The index of the words of messages: it follows the history when somebody searches, not when somebody writes.
//!
//! A message costs several times as much to index as to save, and most profiles are never searched. So the index is
//! caught up with, in bounded steps of the writer thread, before a search; `meta` says up to where it has come.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::failure::Failure;
use super::rows::{conversation_columns, count, ordered, saved_message, select_messages};
use crate::save::{ConversationId, SavedConversation, SavedMessage};
use crate::search::{Query, words_of};
use crate::user::ContentKind;

/// The name of the position up to which messages are in the index, in the table `meta`.
const INDEXED_POSITION: &str = "indexed_position";

/// How many messages one step takes into the index at most.
const STEP_COUNT: usize = 4096;

/// How many bytes of text end a step.
const STEP_LEN: usize = 1 << 20;

/// Returns the position up to which messages are in the index.
pub(super) fn indexed_position(db: &Connection) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE name = ?")?;
    let found = statement.query_row([INDEXED_POSITION], |row| row.get::<_, i64>(0)).optional()?;
    Ok(found.unwrap_or(0).cast_unsigned())
}

/// Returns the last position in history, 0 if it is empty.
pub(super) fn last_position(db: &Connection) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached("SELECT coalesce(max(position), 0) FROM messages")?;
    Ok(statement.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

/// Takes the next messages into the index. All of a step is on disk or nothing.
pub(super) fn catch_up(db: &mut Connection) -> Result<(), Failure> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut indexed = indexed_position(&transaction)?;
    {
        // Every kind, so that a step is bounded whatever it comes across.
        let sql = "SELECT position, kind, body FROM messages WHERE position > ? ORDER BY position LIMIT ?";
        let mut statement = transaction.prepare_cached(sql)?;
        let mut insert =
            transaction.prepare_cached("INSERT INTO message_words (rowid, words) VALUES (?, ?)")?;
        let mut rows = statement.query(params![ordered(indexed), count(STEP_COUNT)])?;
        let mut len = 0;
        while len < STEP_LEN
            && let Some(row) = rows.next()?
        {
            let position: i64 = row.get(0)?;
            let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            if row.get::<_, u16>(1)? == ContentKind::TEXT.0
                && let Ok(text) = std::str::from_utf8(body)
            {
                len += text.len();
                insert.execute(params![position, words_of(text)])?;
            }
            indexed = position.cast_unsigned();
        }
    }
    set_indexed_position(&transaction, indexed)?;
    Ok(transaction.commit()?)
}

/// Corrects the position of the index if the last messages of history are gone, as receipts go: their positions are
/// given out again once the profile is opened.
pub(super) fn follow_history(db: &Connection) -> Result<(), Failure> {
    let last = last_position(db)?;
    if indexed_position(db)? > last { set_indexed_position(db, last) } else { Ok(()) }
}

fn set_indexed_position(db: &Connection, position: u64) -> Result<(), Failure> {
    let sql = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db.prepare_cached(sql)?.execute(params![INDEXED_POSITION, position.cast_signed()])?;
    Ok(())
}

/// See [`super::Store::search`]. Finds what is in the index.
pub(super) fn search(
    db: &Connection,
    query: &Query,
    conversation: Option<ConversationId>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(SavedMessage, SavedConversation)>, Failure> {
    // The index is walked from its end; messages and conversations are found by their ids.
    let sql = concat!(
        select_messages!(", "),
        conversation_columns!(),
        " FROM message_words AS w CROSS JOIN messages AS m ON m.position = w.rowid
        CROSS JOIN conversations AS c ON c.id = m.conversation
        WHERE w.message_words MATCH ?1 AND w.rowid <= ?2 AND (?3 IS NULL OR m.conversation = ?3)
        ORDER BY w.rowid DESC LIMIT ?4"
    );
    let mut statement = db.prepare_cached(sql)?;
    let last = before.map_or(i64::MAX, |before| ordered(before.saturating_sub(1)));
    let values =
        params![expression(query), last, conversation.map(|conversation| conversation.0), count(limit)];
    let rows =
        statement.query_map(values, |row| Ok((saved_message(row)?, super::rows::conversation(row, 11)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes a query in the language of FTS5. Each word stands in quotes, and holds nothing but letters and digits.
fn expression(query: &Query) -> String {
    let word = |(word, is_prefix)| format!("\"{word}\"{}", if is_prefix { "*" } else { "" });
    query.words().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_query_is_an_operator() {
        let written = |text: &str| expression(&Query::parse(text).unwrap());
        assert_eq!(
            written("a AND b* NOT \"c\" ^d col:e (f)"),
            r#""a" "and" "b"* "not" "c" "d" "col" "e" "f""#
        );
        assert_eq!(written("NEAR(x, 5)"), r#""near" "x" "5""#);
    }
}
