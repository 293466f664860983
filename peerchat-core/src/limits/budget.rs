//! What the limits allow to be kept in memory at the worst, with the bookkeeping around each thing.

use super::{Limits, Memory};
use crate::{kademlia, mail, transport, user};

/// What no limit changes: the routing table, lookups and timers at their worst, the code's own tables, and the caches of the
/// database, 2 MiB for each of its connections.
pub(super) const FIXED_LEN: u64 = 10 << 20;

/// The smallest envelope with what it counts beside its bytes.
pub(super) const LEAST_CHARGE: u64 = mail::SIZE_CLASSES[0] as u64 + mail::KEPT_OVERHEAD;

/// What the index takes for an envelope that is kept.
pub(super) const KEPT_LEN: u64 = mail::KEPT_COST as u64;

/// A datagram that waits, with its address and place in a queue that has just doubled.
const DATAGRAM_LEN: usize = transport::MAX_DATAGRAM_LEN + 2 * 64;

/// A handshake of ours: its Noise state, its packet, and the calls that wait for it.
const HANDSHAKE_LEN: usize = 2 * transport::MAX_DATAGRAM_LEN + 2048;

/// A connection of QUIC with its TLS session, and what it keeps in both directions.
const CONNECTION_LEN: usize = 2 * 128 * 1024 + 48 * 1024;

/// A throwaway key with its links and, for a call that does not fit a datagram, a connection.
const THROWAWAY_LEN: usize = 64 * transport::LINK_COST + 16 * 1024;

/// An answer that was read from disk, on its way to the asker.
const READ_LEN: usize = mail::MAX_DEPOSIT_LEN + 256;

/// A lookup of the DHT for a stranger's name with everything it has heard.
const LOOKUP_LEN: usize = 64 * 1024;

/// The record that introduced a device of a stranger, as its bytes and as what they say. Whoever was introduced has at least
/// one device.
const INTRODUCED_LEN: usize = 2 * kademlia::MAX_RECORD_LEN;

/// An event that is no message, with its texts.
pub(crate) const EVENT_LEN: usize = 544;

/// What [`Limits`] allow to be kept for one purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Share {
    /// The purpose.
    pub what: &'static str,
    /// Bytes at most.
    pub len: u64,
}

/// Returns every share.
pub(super) fn shares(limits: &Limits, memory: &Memory, mail_quota: u64) -> Vec<Share> {
    let mut shares = network(limits);
    shares.extend(kept(limits, memory, mail_quota));
    if memory.has_user {
        shares.extend(people(limits, memory));
        if memory.is_in_memory {
            shares.push(share("what strangers have written", &[(limits.stranger_messages_len, 1)]));
        }
    }
    shares
}

fn share(what: &'static str, parts: &[(usize, usize)]) -> Share {
    let len = parts.iter().map(|(count, each)| *count as u64 * *each as u64).sum();
    Share { what, len }
}

/// What stands between this node and others.
fn network(limits: &Limits) -> Vec<Share> {
    let links = 2 * limits.links + limits.unproven_links;
    vec![
        Share { what: "what no limit changes", len: FIXED_LEN },
        share("links", &[(links, transport::LINK_COST)]),
        share(
            "handshakes",
            &[
                (limits.handshakes + limits.held_handshakes, HANDSHAKE_LEN),
                (limits.cached_answers, transport::MAX_DATAGRAM_LEN + 128),
            ],
        ),
        share("requests that are not answered yet", &[(limits.open_requests, transport::OPEN_REQUEST_COST)]),
        share("datagrams that wait to be sent", &[(limits.unsent, DATAGRAM_LEN)]),
        share("connections", &[(limits.connections, CONNECTION_LEN), (limits.partial_len, 1)]),
        share("throwaway keys", &[(limits.throwaway_keys, THROWAWAY_LEN)]),
    ]
}

/// What is kept for others.
fn kept(limits: &Limits, memory: &Memory, mail_quota: u64) -> Vec<Share> {
    let copies = if memory.is_in_memory { 2 } else { 1 };
    let mut kept = vec![
        share("records", &[(limits.records, copies * kademlia::RECORD_COST)]),
        share("the index of mail", &[(limits.mail_count, mail::KEPT_COST)]),
        share("mailboxes", &[(limits.mail_places, mail::PLACE_COST), (limits.present, 256)]),
        share("released mail", &[(limits.released, copies * mail::RELEASED_COST)]),
        share("mail on its way to the disk", &[(limits.unwritten_len, 1), (limits.mail_requests, 192)]),
        share("mail that is being read", &[(limits.mail_reads, READ_LEN)]),
        share("what else waits for the disk", &[(limits.unsaved_len, 1)]),
    ];
    if memory.is_in_memory {
        kept.push(Share { what: "mail", len: mail_quota });
    }
    kept
}

/// What is sent to the user.
fn people(limits: &Limits, memory: &Memory) -> Vec<Share> {
    // One that was not used since the profile was opened is kept as it was saved.
    let session = if memory.is_in_memory { user::SESSION_COST } else { user::SAVED_SESSION_COST };
    vec![
        share("requests of other people", &[(limits.chat_requests, 192)]),
        share(
            "strangers",
            &[
                (limits.people_requests, user::PERSON_COST),
                (limits.stranger_devices, user::DEVICE_COST + INTRODUCED_LEN),
                (limits.stranger_sessions, session),
                (limits.introductions, LOOKUP_LEN),
            ],
        ),
        share("envelopes ahead of a gap", &[(limits.held_len, 1), (limits.held, user::HELD_COST)]),
        share(
            "letters that wait to be opened",
            &[(limits.letters_len, 1), (limits.letters, user::LETTER_COST)],
        ),
        share("mail that is being collected", &[(limits.listed, 256), (user::MAX_FETCHES, READ_LEN)]),
        share(
            "events",
            &[
                (limits.event_messages + limits.event_messages / 2, crate::MAX_TEXT_LEN + EVENT_LEN),
                (limits.events, EVENT_LEN),
            ],
        ),
    ]
}

/// Returns what an entry of a large tree takes at most: nodes of 11 places are half full at least, and have 16 bytes beside.
pub(crate) const fn entry<K, V>() -> usize {
    (11 * (size_of::<K>() + size_of::<V>()) + 16).div_ceil(5)
}

/// Returns what a tree takes as soon as it has anything: one node.
pub(crate) const fn leaf<K, V>() -> usize {
    11 * (size_of::<K>() + size_of::<V>()) + 16
}
