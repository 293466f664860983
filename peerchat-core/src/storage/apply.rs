//! Types to rows: what each [`Write`] does to a profile's file.

use rusqlite::{Connection, Params, params};

use super::failure::Failure;
use super::rows::{CONFIRMED_POSITION, DEVICE, NODE_KEY, SEAL_KEY, SESSION, USER_KEY, WRITE_TOKEN};
use super::vault::Vault;
use crate::event::MessageState;
use crate::identity::UserName;
use crate::kademlia::{Contact, Record};
use crate::mail::{EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope};
use crate::save::{
    ConversationId, ProfileKeys, SavedConversation, SavedDevice, SavedEnvelope, SavedIncoming, SavedMessage,
    SavedSession, SavedStream, SavedToken, Write,
};

/// The columns that hold secrets, and what the vault calls those.
const SECRETS: [(&str, &str, &str); 6] = [
    ("keys", "node", NODE_KEY),
    ("keys", "user", USER_KEY),
    ("device", "state", DEVICE),
    ("sessions", "state", SESSION),
    ("seals", "secret", SEAL_KEY),
    ("tokens", "held", WRITE_TOKEN),
];

/// Returns what the vault calls the secrets in a column, if it holds any.
pub(super) fn secret_of(table: &str, column: &str) -> Option<&'static str> {
    let found = SECRETS.iter().find(|(of, named, _)| (*of, *named) == (table, column));
    found.map(|(.., what)| *what)
}

/// Writes the keys of a new profile.
pub(super) fn insert_keys(
    db: &Connection,
    user: Option<&UserName>,
    keys: &ProfileKeys,
    vault: &Vault,
) -> Result<(), Failure> {
    let node = vault.seal(NODE_KEY, keys.node.to_bytes().as_slice())?;
    let user_key =
        keys.user.as_ref().map(|key| vault.seal(USER_KEY, key.to_bytes().as_slice())).transpose()?;
    let sql = "INSERT INTO keys (id, node, user, user_name) VALUES (1, ?, ?, ?)";
    let user_key = user_key.as_ref().map(|key| key.as_slice());
    db.execute(sql, params![node.as_slice(), user_key, user.map(UserName::as_str)])?;
    Ok(())
}

/// Seals every secret anew that `old` opens, within the open transaction.
pub(super) fn seal_anew(db: &Connection, old: &Vault, new: &Vault) -> Result<(), Failure> {
    for (table, column, what) in SECRETS {
        let sql = format!("SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL");
        let mut rows = db.prepare(&sql)?;
        let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        for row in rows.collect::<Result<Vec<_>, _>>()? {
            let sealed = new.seal(what, &old.reveal(what, &zeroize::Zeroizing::new(row.1))?)?;
            let sql = format!("UPDATE {table} SET {column} = ? WHERE rowid = ?");
            db.execute(&sql, params![sealed.as_slice(), row.0])?;
        }
    }
    Ok(())
}

/// Applies one write within the open transaction. After a failure the transaction must be rolled back.
pub(super) fn apply(db: &Connection, vault: &Vault, write: &Write) -> Result<(), Failure> {
    match write {
        Write::Record { key, bytes } => {
            let sql = "INSERT INTO records (key, bytes) VALUES (?, ?)
                ON CONFLICT (key) DO UPDATE SET bytes = excluded.bytes";
            execute(db, sql, params![key.place().as_bytes(), bytes])?;
            Ok(())
        }
        Write::RecordGone { key } => {
            execute(db, "DELETE FROM records WHERE key = ?", [key.place().as_bytes()])?;
            Ok(())
        }
        Write::Routing { contacts } => replace_routing(db, contacts),
        Write::OwnRecord { bytes } => put_own_record(db, bytes),
        Write::Conversation(conversation) => put_conversation(db, conversation),
        Write::Merged { from, into } => merge(db, *from, *into),
        Write::Stream(stream) => put_stream(db, stream),
        Write::Message(message) => insert_message(db, message),
        Write::MessageState { position, state } => set_state(db, *position, *state),
        Write::MessageVoid { position, state } => {
            set_state(db, *position, *state)?;
            let sql = "INSERT INTO voids (position) VALUES (?) ON CONFLICT (position) DO NOTHING";
            execute(db, sql, [in_history(*position)?])?;
            Ok(())
        }
        Write::VoidGone { position } => {
            execute(db, "DELETE FROM envelopes WHERE position = ?", [in_history(*position)?])?;
            execute(db, "DELETE FROM voids WHERE position = ?", [in_history(*position)?])?;
            Ok(())
        }
        Write::MessageStored { position, held_by } => set_stored(db, *position, *held_by),
        Write::MessageGone { position } => {
            execute(db, "DELETE FROM envelopes WHERE position = ?", [in_history(*position)?])?;
            let sql = "DELETE FROM messages WHERE position = ? AND stream = 0";
            one(execute(db, sql, [in_history(*position)?])?)
        }
        Write::MessageNumber { position, conversation, number } => {
            set_number(db, *position, *conversation, *number)
        }
        Write::Envelope(envelope) => put_envelope(db, envelope),
        Write::Device(device) => put_device(db, vault, device),
        Write::Session(session) => put_session(db, vault, session),
        Write::SessionGone { id } => {
            execute(db, "DELETE FROM sessions WHERE id = ?", [id.0])?;
            Ok(())
        }
        Write::Incoming(SavedIncoming { id, bytes }) => {
            let sql = "INSERT INTO incoming (id, bytes) VALUES (?, ?) ON CONFLICT (id) DO NOTHING";
            execute(db, sql, params![id.as_bytes(), bytes])?;
            Ok(())
        }
        Write::Token(token) => put_token(db, vault, token),
        Write::IncomingGone { id } => {
            execute(db, "DELETE FROM incoming WHERE id = ?", [id.as_bytes()])?;
            Ok(())
        }
        Write::Confirmed { position } => {
            let sql = "INSERT INTO meta (name, value) VALUES (?, ?)
                ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)";
            execute(db, sql, params![CONFIRMED_POSITION, in_history(*position)?])?;
            Ok(())
        }
        Write::MailKept { envelope, bytes } => keep_mail(db, envelope, bytes),
        Write::MailGone { position } => drop_mail(db, *position),
        Write::MailReleased(released) => put_released(db, released),
        Write::MailReleaseGone { place, tag } => forget_released(db, place, tag),
    }
}

fn replace_routing(db: &Connection, contacts: &[Contact]) -> Result<(), Failure> {
    execute(db, "DELETE FROM routing", [])?;
    for contact in contacts {
        let sql = "INSERT INTO routing (key, address) VALUES (?, ?)";
        execute(db, sql, params![contact.key().as_bytes(), contact.address().to_string()])?;
    }
    Ok(())
}

fn put_own_record(db: &Connection, bytes: &[u8]) -> Result<(), Failure> {
    let record = Record::parse(bytes)
        .map_err(|error| Failure::Internal(format!("an own record cannot be saved: {error}")))?;
    let sql = "INSERT INTO own_records (key, bytes) VALUES (?, ?)
        ON CONFLICT (key) DO UPDATE SET bytes = excluded.bytes";
    execute(db, sql, params![record.header().key.place().as_bytes(), bytes])?;
    Ok(())
}

fn put_conversation(db: &Connection, conversation: &SavedConversation) -> Result<(), Failure> {
    let SavedConversation { id, peer, user, next_number, is_verified, rival, .. } = conversation;
    let SavedConversation { relation, requested, read_heard, read_marked, .. } = conversation;
    let sql =
        "INSERT INTO conversations (id, peer, user, next_number, is_verified, rival, relation, requested,
        read_heard, read_marked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET peer = excluded.peer, user = excluded.user,
        next_number = excluded.next_number, is_verified = excluded.is_verified, rival = excluded.rival,
        relation = excluded.relation, requested = excluded.requested, read_heard = excluded.read_heard,
        read_marked = excluded.read_marked";
    let [user, rival] = [user, rival].map(|user| user.as_ref().map(|user| user.as_bytes().as_slice()));
    let row = params![
        id.0,
        peer,
        user,
        next_number.cast_signed(),
        is_verified,
        rival,
        *relation as i32,
        requested.unix_ms().cast_signed(),
        read_heard.cast_signed(),
        read_marked.cast_signed(),
    ];
    execute(db, sql, row)?;
    Ok(())
}

fn merge(db: &Connection, from: ConversationId, into: ConversationId) -> Result<(), Failure> {
    let sql = "UPDATE messages SET conversation = ? WHERE conversation = ? AND number IS NULL";
    execute(db, sql, [into.0, from.0])?;
    // Refused by the tables that refer to it if something else is left in it.
    one(execute(db, "DELETE FROM conversations WHERE id = ?", [from.0])?)
}

fn put_stream(db: &Connection, stream: &SavedStream) -> Result<(), Failure> {
    let SavedStream { id, conversation, device, next_number, identity, tags, owes_receipt, read_to } = stream;
    let sql =
        "INSERT INTO streams (id, conversation, device, next_number, identity, tags, owes_receipt, read_to)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET conversation = excluded.conversation, device = excluded.device,
        next_number = excluded.next_number, identity = excluded.identity, tags = excluded.tags,
        owes_receipt = excluded.owes_receipt, read_to = excluded.read_to";
    let identity = identity.as_ref().map(|identity| identity.0.as_slice());
    let tags: Vec<u8> =
        tags.iter().flat_map(|(number, tag)| [*number, *tag]).flat_map(u64::to_be_bytes).collect();
    let next_number = next_number.cast_signed();
    let read_to = read_to.cast_signed();
    let row =
        params![id.0, conversation.0, device.as_bytes(), next_number, identity, tags, owes_receipt, read_to];
    execute(db, sql, row)?;
    Ok(())
}

fn put_envelope(db: &Connection, saved: &SavedEnvelope) -> Result<(), Failure> {
    let SavedEnvelope { position, device, count, envelope } = saved;
    let sql = "INSERT INTO envelopes (position, device, kind, bytes, count) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (position) DO UPDATE SET device = excluded.device, kind = excluded.kind, bytes = excluded.bytes,
        count = excluded.count";
    let (kind, count) = (envelope.kind as i32, count.cast_signed());
    execute(db, sql, params![in_history(*position)?, device.as_bytes(), kind, envelope.bytes, count])?;
    Ok(())
}

fn put_device(db: &Connection, vault: &Vault, device: &SavedDevice) -> Result<(), Failure> {
    let sql =
        "INSERT INTO device (id, state) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state";
    execute(db, sql, [vault.seal(DEVICE, device.state.reveal())?.as_slice()])?;
    execute(db, "DELETE FROM prekeys", [])?;
    for (prekey, made) in device.prekeys.iter() {
        let sql = "INSERT INTO prekeys (key, made) VALUES (?, ?)";
        execute(db, sql, params![prekey.0, made.unix_ms().cast_signed()])?;
    }
    execute(db, "DELETE FROM seals", [])?;
    for (secret, made) in device.seals.iter() {
        let sql = "INSERT INTO seals (secret, made) VALUES (?, ?)";
        let sealed = vault.seal(SEAL_KEY, secret.reveal())?;
        execute(db, sql, params![sealed.as_slice(), made.unix_ms().cast_signed()])?;
    }
    Ok(())
}

fn put_session(db: &Connection, vault: &Vault, session: &SavedSession) -> Result<(), Failure> {
    let SavedSession { id, conversation, device, prekey, state, last_used, is_retired } = session;
    let sql = "INSERT INTO sessions (id, conversation, device, prekey, state, last_used, is_retired)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state, last_used = excluded.last_used,
        is_retired = excluded.is_retired";
    let prekey = prekey.as_ref().map(|prekey| prekey.0.as_slice());
    let state = state.as_ref().map(|state| vault.seal(SESSION, state.reveal())).transpose()?;
    let state = state.as_ref().map(|state| state.as_slice());
    let last_used = last_used.cast_signed();
    execute(db, sql, params![id.0, conversation.0, device.as_bytes(), prekey, state, last_used, is_retired])?;
    Ok(())
}

fn put_token(db: &Connection, vault: &Vault, token: &SavedToken) -> Result<(), Failure> {
    let SavedToken { conversation, given, held } = token;
    let sql = "INSERT INTO tokens (conversation, given, held) VALUES (?, ?, ?)
        ON CONFLICT (conversation) DO UPDATE SET given = excluded.given, held = excluded.held";
    let held = held.as_ref().map(|held| vault.seal(WRITE_TOKEN, held.reveal())).transpose()?;
    let held = held.as_ref().map(|held| held.as_slice());
    let given = given.map(|given| given.unix_ms().cast_signed());
    execute(db, sql, params![conversation.0, given, held])?;
    Ok(())
}

fn keep_mail(db: &Connection, envelope: &KeptEnvelope, bytes: &[u8]) -> Result<(), Failure> {
    let KeptEnvelope { position, place, id, expires, len, depositor, token } = envelope;
    let position = in_history(*position)?;
    let sql = "INSERT INTO mail (position, mailbox, device, id, expires, len, depositor, token)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let (mailbox, device) = (place.mailbox.place(), place.device);
    let expires = expires.unix_ms().cast_signed();
    let depositor = depositor.number().cast_signed();
    let token = token.number().cast_signed();
    let (mailbox, device) = (mailbox.as_bytes(), device.as_bytes());
    let row = params![position, mailbox, device, id.as_bytes(), expires, len, depositor, token];
    execute(db, sql, row)?;
    execute(db, "INSERT INTO mail_bodies (position, bytes) VALUES (?, ?)", params![position, bytes])?;
    Ok(())
}

fn drop_mail(db: &Connection, position: u64) -> Result<(), Failure> {
    let position = in_history(position)?;
    execute(db, "DELETE FROM mail WHERE position = ?", [position])?;
    execute(db, "DELETE FROM mail_bodies WHERE position = ?", [position])?;
    Ok(())
}

fn put_released(db: &Connection, released: &ReleasedEnvelope) -> Result<(), Failure> {
    let ReleasedEnvelope { place, tag, expires } = released;
    let sql = "INSERT OR REPLACE INTO mail_released (mailbox, device, tag, expires) VALUES (?, ?, ?, ?)";
    let (mailbox, device) = (place.mailbox.place(), place.device);
    let expires = expires.unix_ms().cast_signed();
    execute(db, sql, params![mailbox.as_bytes(), device.as_bytes(), tag.as_bytes(), expires])?;
    Ok(())
}

fn forget_released(db: &Connection, place: &MailPlace, tag: &EnvelopeTag) -> Result<(), Failure> {
    let sql = "DELETE FROM mail_released WHERE mailbox = ? AND device = ? AND tag = ?";
    let (mailbox, device) = (place.mailbox.place(), place.device);
    execute(db, sql, params![mailbox.as_bytes(), device.as_bytes(), tag.as_bytes()])?;
    Ok(())
}

fn insert_message(db: &Connection, message: &SavedMessage) -> Result<(), Failure> {
    let sql = "INSERT INTO messages
        (position, conversation, stream, number, kind, body, sent, received, state, expires, held_by)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let row = params![
        in_history(message.position)?,
        message.conversation.0,
        message.stream.0,
        message.number.map(u64::cast_signed),
        message.kind,
        message.body,
        message.sent.unix_ms().cast_signed(),
        message.received.unix_ms().cast_signed(),
        message.state.map(|state| state as i32),
        message.expires.unix_ms().cast_signed(),
        message.held_by,
    ];
    execute(db, sql, row)?;
    Ok(())
}

fn set_state(db: &Connection, position: u64, state: MessageState) -> Result<(), Failure> {
    let sql = "UPDATE messages SET state = ? WHERE position = ? AND stream = 0";
    one(execute(db, sql, params![state as i32, in_history(position)?])?)?;
    execute(db, "DELETE FROM envelopes WHERE position = ?", [in_history(position)?])?;
    Ok(())
}

fn set_stored(db: &Connection, position: u64, held_by: u32) -> Result<(), Failure> {
    let sql = "UPDATE messages SET state = ?, held_by = ? WHERE position = ? AND stream = 0";
    one(execute(db, sql, params![MessageState::Stored as i32, held_by, in_history(position)?])?)
}

fn set_number(
    db: &Connection,
    position: u64,
    conversation: ConversationId,
    number: u64,
) -> Result<(), Failure> {
    let sql = "UPDATE messages SET conversation = ?, number = ? WHERE position = ? AND stream = 0";
    one(execute(db, sql, params![conversation.0, number.cast_signed(), in_history(position)?])?)?;
    // It was sealed under the number of before.
    execute(db, "DELETE FROM envelopes WHERE position = ?", [in_history(position)?])?;
    Ok(())
}

/// Checks that a change found its message.
fn one(changed: usize) -> Result<(), Failure> {
    if changed == 1 {
        Ok(())
    } else {
        Err(Failure::Internal("a change to a message of our own that is not in history".to_owned()))
    }
}

/// Positions are ordered, so they must fit SQLite's signed numbers.
fn in_history(position: u64) -> Result<i64, Failure> {
    i64::try_from(position).map_err(|_| Failure::Internal("a position beyond all history".to_owned()))
}

fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize, Failure> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}
