//! Rows to types: everything that is read from a profile's file.

use std::net::SocketAddr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::vault::Vault;
use crate::crypto::{Envelope, EnvelopeKind, IdentityKey, Prekey, Prekeys, SealKeys, SessionId};
use crate::event::MessageState;
use crate::identity::{SecretKey, UserId, UserName};
use crate::kademlia::{Contact, NodeId, NodeKey, RecordKey};
use crate::mail::{Depositor, EnvelopeId, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope, TokenTag};
use crate::save::{
    ConversationId, MAX_READ_AT_ONCE, ProfileKeys, Relation, Saved, SavedConversation, SavedDevice,
    SavedEnvelope, SavedIncoming, SavedMessage, SavedSession, SavedStream, SavedToken, StreamId,
};
use crate::time::Timestamp;
use crate::user::{ContentKind, MESSAGE_OVERHEAD};

/// Starts a query for messages, as [`saved_message`] reads them.
macro_rules! select_messages {
    ($rest:literal) => {
        concat!(
            "SELECT m.position, m.conversation, m.stream, m.number, m.kind, m.body, m.sent, m.received, m.state,
            m.expires, m.held_by ",
            $rest
        )
    };
}
pub(super) use select_messages;

/// Names the columns that [`conversation`] reads.
macro_rules! conversation_columns {
    () => {
        "c.id, c.peer, c.user, c.next_number, c.is_verified, c.rival, c.relation, c.requested, c.read_heard,
        c.read_marked"
    };
}
pub(super) use conversation_columns;

/// What the secrets are sealed as; see [`Vault::seal`].
pub(super) const NODE_KEY: &str = "node key";
pub(super) const USER_KEY: &str = "user key";
pub(super) const DEVICE: &str = "keys of the device";
pub(super) const SESSION: &str = "session";

/// What the vault calls a key that mail is sealed to.
pub(super) const SEAL_KEY: &str = "seal key";

/// What the vault calls a token for the mail of somebody else.
pub(super) const WRITE_TOKEN: &str = "write token";

/// The name of [`Saved::confirmed_position`] in the table `meta`.
pub(super) const CONFIRMED_POSITION: &str = "confirmed_position";

/// Reads everything that the engine needs in memory.
pub(super) fn load(db: &Connection, keys: ProfileKeys, vault: &Vault) -> Result<Saved, Failure> {
    let position = |sql: &str| -> rusqlite::Result<u64> {
        let highest = db.query_row(sql, [], |row| row.get::<_, Option<i64>>(0))?;
        in_counted_range(highest.unwrap_or(0), 0)
    };
    Ok(Saved {
        keys,
        routing: all(db, "SELECT key, address FROM routing ORDER BY rank", contact)?,
        records: all(db, "SELECT bytes FROM records ORDER BY key", |row| row.get(0))?,
        own_records: all(db, "SELECT bytes FROM own_records ORDER BY key", |row| row.get(0))?,
        conversations: conversations(db)?,
        request_lens: request_lens(db)?,
        streams: all(
            db,
            "SELECT id, conversation, device, next_number, identity, tags, owes_receipt, read_to FROM streams ORDER BY id",
            stream,
        )?,
        outbox: all(
            db,
            select_messages!(
                "FROM messages AS m WHERE position IN (SELECT position FROM messages WHERE state IN (1, 2)
                UNION ALL SELECT position FROM voids) ORDER BY position"
            ),
            saved_message,
        )?,
        envelopes: all(
            db,
            "SELECT position, device, kind, bytes, count FROM envelopes ORDER BY position",
            envelope,
        )?,
        incoming: all(db, "SELECT id, bytes FROM incoming ORDER BY id", |row| {
            Ok(SavedIncoming { id: EnvelopeId::from_bytes(row.get(0)?), bytes: row.get(1)? })
        })?,
        tokens: tokens(db, vault)?,
        device: device(db, vault)?,
        sessions: sessions(
            db,
            vault,
            "SELECT id, conversation, device, prekey, state, last_used, is_retired FROM sessions ORDER BY id",
        )?,
        mail: all(
            db,
            "SELECT mailbox, device, position, id, expires, len, depositor, token FROM mail ORDER BY position",
            kept_envelope,
        )?,
        released: all(db, "SELECT mailbox, device, tag, expires FROM mail_released", released_envelope)?,
        last_position: position("SELECT max(position) FROM messages")?,
        confirmed_position: position(&format!(
            "SELECT max(value) FROM meta WHERE name = '{CONFIRMED_POSITION}'"
        ))?,
    })
}

/// Reads the keys, which must be those of this user.
pub(super) fn keys(db: &Connection, user: Option<&UserName>, vault: &Vault) -> Result<ProfileKeys, Failure> {
    let (node, user_key, name) = db
        .query_row("SELECT node, user, user_name FROM keys", [], |row| {
            let name: Option<String> = row.get(2)?;
            let user_key: Option<Vec<u8>> = row.get(1)?;
            Ok((Zeroizing::new(row.get::<_, Vec<u8>>(0)?), user_key.map(Zeroizing::new), name))
        })
        .optional()?
        .ok_or_else(|| Failure::Damaged("it holds no keys".to_owned()))?;
    if name.as_deref() != user.map(UserName::as_str) {
        return Err(Failure::Damaged("it belongs to a user of another name".to_owned()));
    }
    let user = user_key.map(|key| secret_key(USER_KEY, &key, vault)).transpose()?;
    Ok(ProfileKeys { node: secret_key(NODE_KEY, &node, vault)?, user })
}

/// See [`super::Store::history`].
pub(super) fn history(
    db: &Connection,
    conversation: ConversationId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<SavedMessage>, Failure> {
    let sql = select_messages!(
        "FROM messages AS m WHERE conversation = ? AND position <= ? AND kind <> ? ORDER BY position DESC LIMIT ?"
    );
    let mut statement = db.prepare_cached(sql)?;
    let last = before.map_or(i64::MAX, |before| ordered(before.saturating_sub(1)));
    let values = params![conversation.0, last, ContentKind::RECEIPT.0, count(limit)];
    let rows = statement.query_map(values, saved_message)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// See [`super::Store::conversations`].
pub(super) fn conversations(db: &Connection) -> Result<Vec<SavedConversation>, Failure> {
    all(db, concat!("SELECT ", conversation_columns!(), " FROM conversations AS c ORDER BY id"), |row| {
        conversation(row, 0)
    })
}

/// Returns how much was written in each request since it was made.
fn request_lens(db: &Connection) -> Result<Vec<(ConversationId, u64)>, Failure> {
    let sql = "SELECT m.conversation, sum(length(m.body)), count(*) FROM conversations AS c
        JOIN messages AS m ON m.conversation = c.id
        WHERE c.relation = 1 AND m.stream <> 0 AND m.received >= c.requested GROUP BY m.conversation";
    all(db, sql, |row| {
        let len = unsigned(row, 1)? + unsigned(row, 2)? * MESSAGE_OVERHEAD as u64;
        Ok((ConversationId(row.get(0)?), len))
    })
}

/// See [`super::Store::conversation_named`].
pub(super) fn conversation_named(db: &Connection, peer: &str) -> Result<Option<SavedConversation>, Failure> {
    let sql = concat!("SELECT ", conversation_columns!(), " FROM conversations AS c WHERE peer = ?");
    Ok(db.prepare_cached(sql)?.query_row([peer], |row| conversation(row, 0)).optional()?)
}

/// See [`super::Store::received_after`].
pub(super) fn received_after(
    db: &Connection,
    position: u64,
    limit: usize,
) -> Result<Vec<(SavedMessage, SavedConversation)>, Failure> {
    // The planner would walk the messages themselves, past everything that this profile wrote.
    let sql = select_messages!(
        ", c.id, c.peer, c.user, c.next_number, c.is_verified, c.rival, c.relation, c.requested, c.read_heard,
        c.read_marked
        FROM messages AS m INDEXED BY messages_received CROSS JOIN conversations AS c ON c.id = m.conversation
        WHERE m.stream <> 0 AND m.position > ? ORDER BY m.position LIMIT ?"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![ordered(position), count(limit)], |row| {
        Ok((saved_message(row)?, conversation(row, 11)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// See [`super::Store::message`].
pub(super) fn message(db: &Connection, position: u64) -> Result<Option<SavedMessage>, Failure> {
    let mut statement = db.prepare_cached(select_messages!("FROM messages AS m WHERE position = ?"))?;
    Ok(statement.query_row([ordered(position)], saved_message).optional()?)
}

/// See [`super::Store::delivered`].
pub(super) fn delivered(
    db: &Connection,
    conversation: ConversationId,
    (after, up_to): (u64, u64),
) -> Result<Vec<(u64, u64)>, Failure> {
    // Along the index of numbers: there may be any number of delivered messages in other conversations.
    let sql = "SELECT number, position FROM messages INDEXED BY messages_by_number
        WHERE conversation = ? AND stream = 0 AND number > ? AND number <= ? AND state = 3 AND kind <> ?
        ORDER BY number LIMIT ?";
    let mut statement = db.prepare_cached(sql)?;
    let values = params![
        conversation.0,
        ordered(after),
        ordered(up_to),
        ContentKind::RECEIPT.0,
        count(MAX_READ_AT_ONCE)
    ];
    let rows = statement.query_map(values, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// See [`super::Store::mail`].
pub(super) fn mail(db: &Connection, position: u64) -> Result<Option<Vec<u8>>, Failure> {
    let mut statement = db.prepare_cached("SELECT bytes FROM mail_bodies WHERE position = ?")?;
    Ok(statement.query_row([ordered(position)], |row| row.get(0)).optional()?)
}

/// Returns a position in the order that SQLite has for it; no message lies beyond its largest.
pub(super) fn ordered(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn all<T>(
    db: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Failure> {
    Ok(db.prepare(sql)?.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// Reads the eleven columns of [`select_messages`].
pub(super) fn saved_message(row: &Row<'_>) -> rusqlite::Result<SavedMessage> {
    let state = row.get::<_, Option<State>>(8)?.map(|state| state.0);
    let number: Option<i64> = row.get(3)?;
    Ok(SavedMessage {
        position: counted(row, 0)?,
        conversation: ConversationId(row.get(1)?),
        stream: StreamId(row.get(2)?),
        number: match state {
            // The writer chose it.
            None => number.map(i64::cast_unsigned),
            Some(_) => number.map(|number| in_counted_range(number, 3)).transpose()?,
        },
        kind: row.get(4)?,
        body: row.get(5)?,
        sent: Timestamp::from_unix_ms(unsigned(row, 6)?),
        received: Timestamp::from_unix_ms(unsigned(row, 7)?),
        state,
        expires: Timestamp::from_unix_ms(unsigned(row, 9)?),
        held_by: row.get(10)?,
    })
}

/// Reads [`conversation_columns`] from the column `at` on.
pub(super) fn conversation(row: &Row<'_>, at: usize) -> rusqlite::Result<SavedConversation> {
    Ok(SavedConversation {
        id: ConversationId(row.get(at)?),
        peer: row.get(at + 1)?,
        user: row.get::<_, Option<[u8; 32]>>(at + 2)?.map(UserId::from_bytes),
        next_number: counted(row, at + 3)?,
        is_verified: row.get(at + 4)?,
        rival: row.get::<_, Option<[u8; 32]>>(at + 5)?.map(UserId::from_bytes),
        relation: row.get::<_, RelationNumber>(at + 6)?.0,
        requested: Timestamp::from_unix_ms(unsigned(row, at + 7)?),
        read_heard: unsigned(row, at + 8)?,
        read_marked: unsigned(row, at + 9)?,
    })
}

fn stream(row: &Row<'_>) -> rusqlite::Result<SavedStream> {
    Ok(SavedStream {
        id: StreamId(row.get(0)?),
        conversation: ConversationId(row.get(1)?),
        device: NodeId::from_bytes(row.get(2)?),
        next_number: unsigned(row, 3)?,
        identity: row.get::<_, Option<[u8; 32]>>(4)?.map(IdentityKey),
        tags: tags(row.get_ref(5)?.as_blob()?),
        owes_receipt: row.get(6)?,
        read_to: unsigned(row, 7)?,
    })
}

fn tags(bytes: &[u8]) -> Vec<(u64, u64)> {
    let (numbers, _) = bytes.as_chunks();
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|[number, tag]| (u64::from_be_bytes(*number), u64::from_be_bytes(*tag))).collect()
}

fn envelope(row: &Row<'_>) -> rusqlite::Result<SavedEnvelope> {
    let kind = match row.get::<_, i64>(2)? {
        0 => EnvelopeKind::First,
        1 => EnvelopeKind::Later,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
    };
    Ok(SavedEnvelope {
        position: counted(row, 0)?,
        device: NodeId::from_bytes(row.get(1)?),
        count: counted(row, 4)?,
        envelope: Envelope { kind, bytes: row.get(3)? },
    })
}

fn device(db: &Connection, vault: &Vault) -> Result<Option<SavedDevice>, Failure> {
    let sealed = db.query_row("SELECT state FROM device", [], |row| secret(row.get_ref(0)?)).optional()?;
    let state = sealed.map(|sealed| opened(DEVICE, &sealed, vault)).transpose()?;
    let prekey = |row: &Row<'_>| Ok((Prekey(row.get(0)?), Timestamp::from_unix_ms(unsigned(row, 1)?)));
    let prekeys = all(db, "SELECT key, made FROM prekeys ORDER BY rank", prekey)?;
    let seal = |row: &Row<'_>| Ok((secret(row.get_ref(0)?)?, Timestamp::from_unix_ms(unsigned(row, 1)?)));
    let mut seals = all(db, "SELECT secret, made FROM seals ORDER BY rank", seal)?;
    for (secret, _) in &mut seals {
        *secret = opened(SEAL_KEY, secret, vault)?;
    }
    let (prekeys, seals) = (Prekeys::restore(prekeys), SealKeys::restore(seals));
    Ok(state.map(|state| SavedDevice { state, prekeys, seals }))
}

fn tokens(db: &Connection, vault: &Vault) -> Result<Vec<SavedToken>, Failure> {
    let sql = "SELECT conversation, given, held FROM tokens ORDER BY conversation";
    let mut tokens = all(db, sql, |row| {
        let held = row.get_ref(2)?;
        Ok(SavedToken {
            conversation: ConversationId(row.get(0)?),
            given: row.get::<_, Option<i64>>(1)?.map(|given| Timestamp::from_unix_ms(given.cast_unsigned())),
            held: if held == ValueRef::Null { None } else { Some(secret(held)?) },
        })
    })?;
    for token in &mut tokens {
        token.held = token.held.as_ref().map(|held| opened(WRITE_TOKEN, held, vault)).transpose()?;
    }
    Ok(tokens)
}

fn sessions(db: &Connection, vault: &Vault, sql: &str) -> Result<Vec<SavedSession>, Failure> {
    let mut sessions = all(db, sql, session)?;
    for session in &mut sessions {
        session.state = session.state.as_ref().map(|state| opened(SESSION, state, vault)).transpose()?;
    }
    Ok(sessions)
}

/// Reads a session whose state is still sealed.
fn session(row: &Row<'_>) -> rusqlite::Result<SavedSession> {
    let state = row.get_ref(4)?;
    Ok(SavedSession {
        id: SessionId(row.get(0)?),
        conversation: ConversationId(row.get(1)?),
        device: NodeId::from_bytes(row.get(2)?),
        prekey: row.get::<_, Option<[u8; 32]>>(3)?.map(Prekey),
        state: if state == ValueRef::Null { None } else { Some(secret(state)?) },
        last_used: unsigned(row, 5)?,
        is_retired: row.get(6)?,
    })
}

fn opened(
    what: &str,
    sealed: &crate::crypto::Secret,
    vault: &Vault,
) -> Result<crate::crypto::Secret, Failure> {
    Ok(crate::crypto::Secret::copy_of(&vault.reveal(what, sealed.reveal())?))
}

fn secret_key(what: &str, sealed: &[u8], vault: &Vault) -> Result<SecretKey, Failure> {
    let opened = vault.reveal(what, sealed)?;
    let secret = Zeroizing::new(
        <[u8; 32]>::try_from(opened.as_slice())
            .map_err(|_| Failure::Damaged(format!("its {what} has a wrong length")))?,
    );
    Ok(SecretKey::from_bytes(&secret))
}

/// Reads mailbox and device.
fn mail_place(row: &Row<'_>) -> rusqlite::Result<MailPlace> {
    Ok(MailPlace { mailbox: RecordKey::from_bytes(row.get(0)?), device: NodeId::from_bytes(row.get(1)?) })
}

fn kept_envelope(row: &Row<'_>) -> rusqlite::Result<KeptEnvelope> {
    Ok(KeptEnvelope {
        place: mail_place(row)?,
        position: unsigned(row, 2)?,
        id: EnvelopeId::from_bytes(row.get(3)?),
        expires: Timestamp::from_unix_ms(unsigned(row, 4)?),
        len: row.get(5)?,
        depositor: Depositor::from_number(unsigned(row, 6)?),
        token: TokenTag::from_number(unsigned(row, 7)?),
    })
}

fn released_envelope(row: &Row<'_>) -> rusqlite::Result<ReleasedEnvelope> {
    Ok(ReleasedEnvelope {
        place: mail_place(row)?,
        tag: EnvelopeTag::from_bytes(row.get(2)?),
        expires: Timestamp::from_unix_ms(unsigned(row, 3)?),
    })
}

fn secret(value: ValueRef<'_>) -> rusqlite::Result<crate::crypto::Secret> {
    Ok(crate::crypto::Secret::copy_of(value.as_blob()?))
}

fn contact(row: &Row<'_>) -> rusqlite::Result<Contact> {
    let text: String = row.get(1)?;
    let address: SocketAddr = text
        .parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?;
    Ok(Contact::new(NodeKey::from_bytes(row.get(0)?), address))
}

/// The highest number that is taken for one that this profile has counted up to by itself: nobody gets there, and there is room to
/// count on.
const MAX_COUNTED: u64 = 1 << 62;

/// A number that this profile has counted up to by itself.
fn counted(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    in_counted_range(row.get(column)?, column)
}

fn in_counted_range(value: i64, column: usize) -> rusqlite::Result<u64> {
    let counted = u64::try_from(value).ok().filter(|counted| *counted <= MAX_COUNTED);
    counted.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Numbers that a peer may choose span all of u64; SQLite keeps the same 64 bits with a sign.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// A state by its number.
struct State(MessageState);

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(match value.as_i64()? {
            1 => MessageState::Queued,
            2 => MessageState::Stored,
            3 => MessageState::Delivered,
            4 => MessageState::Read,
            5 => MessageState::Expired,
            6 => MessageState::Failed,
            7 => MessageState::Canceled,
            other => return Err(FromSqlError::OutOfRange(other)),
        }))
    }
}

/// A relation by its number.
struct RelationNumber(Relation);

impl FromSql for RelationNumber {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(match value.as_i64()? {
            0 => Relation::Stranger,
            1 => Relation::Request,
            2 => Relation::Contact,
            3 => Relation::Blocked,
            other => return Err(FromSqlError::OutOfRange(other)),
        }))
    }
}
