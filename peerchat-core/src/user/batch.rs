//! Several messages in one envelope: what waits to be sealed for a device together shares the cost of sealing it, and the
//! room that an envelope takes wherever it is kept.
//!
//! The messages of a batch have consecutive numbers, beginning with that of the envelope. Each keeps its own number, tag
//! and state: who opens a batch takes it as it would take the messages one by one.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::chat::{Content, ContentKind};
use super::owed::Owed;
use crate::codec;
use crate::time::Timestamp;

/// Most messages of one envelope.
pub const MAX_BATCH: u64 = 64;

/// Longest body of a batch in bytes: sealed it fits the size class of 8,192. A message that does not fit it goes alone.
pub const MAX_BATCH_LEN: usize = 7424;

/// Most milliseconds by which the expiries of messages in one envelope differ: it is kept as long as the last of them.
pub const MAX_BATCH_SPREAD_MS: u64 = 60_000;

/// Bytes that a tag takes in a batch: nearly all take the longest form of an integer.
const TAG_LEN: usize = 9;

/// Bytes that the number of messages takes, which is below 251.
const COUNT_LEN: usize = 1;

/// The body of a content of kind [`ContentKind::BATCH`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Batch {
    #[serde(deserialize_with = "codec::bounded_list::<_, _, { MAX_BATCH as usize }>")]
    pub(crate) entries: Vec<Entry>,
}

/// One message of a batch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// What the body is: neither a batch nor a notice.
    pub(crate) kind: u16,
    /// How many milliseconds after the first message it was written.
    pub(crate) after: i64,
    /// Tells it from every other message of the device.
    pub(crate) tag: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) body: Vec<u8>,
}

/// A message that was in an envelope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Opened {
    pub(super) number: u64,
    pub(super) tag: u64,
    pub(super) kind: ContentKind,
    pub(super) sent: Timestamp,
    pub(super) body: Vec<u8>,
}

/// Collects messages of one sender into a batch, as far as they fit.
#[derive(Debug)]
pub(super) struct Packing {
    first_number: u64,
    first_sent: Timestamp,
    first_expires: Timestamp,
    count: u64,
    len: usize,
}

impl Packing {
    /// Begins with a message; `None` if it goes alone.
    pub(super) fn begin(first: &Owed) -> Option<Self> {
        let packing = Self {
            first_number: first.number.filter(|_| !first.is_notice())?,
            first_sent: first.sent,
            first_expires: first.expires,
            count: 1,
            len: COUNT_LEN + entry_len(first, first.sent),
        };
        (packing.len <= MAX_BATCH_LEN).then_some(packing)
    }

    /// Adds the next message; `false` if it belongs into another envelope.
    pub(super) fn add(&mut self, next: &Owed) -> bool {
        let len = self.len + entry_len(next, self.first_sent);
        let spread = next.expires.unix_ms().abs_diff(self.first_expires.unix_ms());
        let fits = next.number == self.first_number.checked_add(self.count)
            && !next.is_notice()
            && self.count < MAX_BATCH
            && len <= MAX_BATCH_LEN
            && spread <= MAX_BATCH_SPREAD_MS;
        if fits {
            (self.count, self.len) = (self.count + 1, len);
        }
        fits
    }
}

/// Returns what is sealed of some messages with consecutive numbers: of a single one what `content_of` says. `None` if there
/// is none, or it has no number.
pub(super) fn pack<'a>(
    conversation: [u8; 32],
    messages: impl ExactSizeIterator<Item = &'a Owed>,
    tag_key: &[u8; 32],
    content_of: impl FnOnce(&Owed) -> (u16, Vec<u8>),
) -> Option<Zeroizing<Vec<u8>>> {
    let is_alone = messages.len() == 1;
    let mut messages = messages.peekable();
    let (number, sent) = messages.peek().and_then(|first| Some((first.number?, first.sent)))?;
    let (kind, body) = if is_alone {
        content_of(messages.next()?)
    } else {
        let entry = |owed: &Owed| Entry {
            kind: owed.kind,
            after: after(owed.sent, sent),
            tag: owed.tag(tag_key),
            body: owed.body.clone(),
        };
        (ContentKind::BATCH.0, codec::encode(&Batch { entries: messages.map(entry).collect() }))
    };
    let mut content = Content { conversation, number, kind, sent, body };
    let packed = Zeroizing::new(codec::encode(&content));
    content.body.zeroize();
    Some(packed)
}

/// Returns the messages of an envelope that says of itself that it has `count`, the first of which has this tag; `None` if
/// it has not, or they are none that a batch may have.
pub(super) fn unpack(content: Content, count: u64, tag: u64) -> Option<Vec<Opened>> {
    let Content { number, kind, sent, body, .. } = content;
    if kind != ContentKind::BATCH.0 {
        let is_sound = count == 1 && is_sound(kind, &body);
        return is_sound.then(|| vec![Opened { number, tag, kind: ContentKind(kind), sent, body }]);
    }
    let Batch { entries } = codec::decode(&body).ok()?;
    let may_be_in_it = |entry: &Entry| {
        let kind = ContentKind(entry.kind);
        kind != ContentKind::BATCH && !kind.is_notice() && is_sound(entry.kind, &entry.body)
    };
    let is_sound = entries.len() as u64 == count
        && count > 1
        && entries.first().is_some_and(|first| first.tag == tag)
        && entries.iter().all(may_be_in_it);
    let open = |(number, entry): (u64, Entry)| Opened {
        number,
        tag: entry.tag,
        kind: ContentKind(entry.kind),
        sent: Timestamp::from_unix_ms(sent.unix_ms().saturating_add_signed(entry.after)),
        body: entry.body,
    };
    is_sound.then(|| (number..).zip(entries).map(open).collect())
}

/// Understands what an envelope opened to as [`User::open`](super::User) does, for the fuzzers only; returns how many
/// messages it has.
#[cfg(feature = "fuzzing")]
pub(crate) fn count_messages(opened: &[u8], count: u64, tag: u64) -> Option<u64> {
    let messages = unpack(codec::decode(opened).ok()?, count, tag)?;
    for message in &messages {
        if message.kind == ContentKind::RECEIPT
            && let Ok(receipt) = codec::decode::<super::chat::Receipt>(&message.body)
        {
            assert_eq!(codec::encode(&receipt), message.body, "one form for each receipt");
        }
    }
    Some(messages.len() as u64)
}

/// Returns the body of a batch of texts, each with its tag, for the fuzzers only.
#[cfg(feature = "fuzzing")]
pub(crate) fn batch_body(texts: &[(u64, &str)]) -> Vec<u8> {
    let entry = |(tag, text): &(u64, &str)| Entry {
        kind: ContentKind::TEXT.0,
        after: 0,
        tag: *tag,
        body: text.as_bytes().to_vec(),
    };
    codec::encode(&Batch { entries: texts.iter().map(entry).collect() })
}

/// Tells whether an envelope may say of itself that it has so many messages from this number on. After the last number none
/// could follow: it would be taken again and again.
pub(super) fn is_possible(number: u64, count: u64) -> bool {
    let end = number.checked_add(count);
    number > 0 && (1..=MAX_BATCH).contains(&count) && end.is_some_and(|end| end < u64::MAX)
}

fn is_sound(kind: u16, body: &[u8]) -> bool {
    body.len() <= crate::MAX_TEXT_LEN && (kind != ContentKind::TEXT.0 || std::str::from_utf8(body).is_ok())
}

fn after(sent: Timestamp, first: Timestamp) -> i64 {
    sent.unix_ms().cast_signed().saturating_sub(first.unix_ms().cast_signed())
}

fn entry_len(owed: &Owed, first_sent: Timestamp) -> usize {
    let after = after(owed.sent, first_sent);
    let zigzag = after.unsigned_abs().saturating_mul(2);
    integer_len(owed.kind.into())
        + integer_len(zigzag)
        + TAG_LEN
        + integer_len(owed.body.len() as u64)
        + owed.body.len()
}

/// Returns how many bytes an integer takes; see `docs/protocol.md`.
const fn integer_len(value: u64) -> usize {
    match value {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
