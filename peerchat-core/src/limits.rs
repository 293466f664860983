//! [`Limits`]: how much others may make a node keep and do, each limit by its name; and [`Share`], what that takes of
//! the memory limit. docs/limits.md says what happens when one is reached.
//!
//! What is limited here is what strangers can make grow. A profile's own data, its contacts, conversations and outbox, grow
//! with what its user does; their limits are constants.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::config::{DEFAULT_MAIL_QUOTA_IN_MEMORY, DEFAULT_MEMORY_LIMIT, MIN_MEMORY_LIMIT};
use crate::{kademlia, mail, transport, user};

mod budget;

#[cfg(all(test, feature = "runtime"))]
pub(crate) use budget::EVENT_LEN;
use budget::FIXED_LEN;
pub use budget::Share;
pub(crate) use budget::{entry, leaf};

/// Why a limit was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No limit has this name.
    #[error("there is no limit `{name}`; docs/limits.md has them all")]
    Unknown {
        /// What was taken for a name.
        name: String,
    },
    /// The value is out of range.
    #[error("the limit `{name}` is {value}, allowed are {min} to {max}")]
    OutOfRange {
        /// The limit.
        name: &'static str,
        /// The refused value.
        value: u64,
        /// The smallest that is allowed.
        min: usize,
        /// The largest that is allowed.
        max: usize,
    },
    /// The memory limit is too small for any node.
    #[error("the memory limit is {bytes} bytes, a node needs {MIN_MEMORY_LIMIT} at least")]
    Memory {
        /// The refused value.
        bytes: u64,
    },
    /// What the limits allow is more than the memory limit.
    #[error(
        "what the limits allow takes up to {needed} bytes, most of it for {largest}; the memory limit is {memory_limit}: \
         raise it, or lower a limit or the mail quota"
    )]
    TooMuch {
        /// What the limits allow, in bytes.
        needed: u64,
        /// What would take most.
        largest: &'static str,
        /// The memory limit, in bytes.
        memory_limit: u64,
    },
}

/// One limit, for whoever lists them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LimitInfo {
    /// Its name, which does not change.
    pub name: &'static str,
    /// What holds unless told otherwise, and unless the memory limit is below its default.
    pub default: usize,
    /// The smallest value that is allowed.
    pub min: usize,
    /// The largest value that is allowed.
    pub max: usize,
    /// What it limits, as a sentence.
    pub what: &'static str,
}

/// How a limit follows a memory limit below its default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Follows {
    /// In proportion, but not below this.
    Memory { least: usize },
    /// It does not: it is no matter of memory, or another limit bounds what it takes.
    Nothing,
}

const RATE: usize = 1_000_000;
const COUNT: usize = 1 << 24;
const BYTES: usize = 1 << 30;

const fn from(least: usize) -> Follows {
    Follows::Memory { least }
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:expr, $min:literal ..= $max:expr, $follows:expr;)+) => {
        /// Every limit that can be set. The names are those of the fields; see [`Limits::set`].
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub(crate) $name: usize,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        const TABLE: &[(LimitInfo, Follows)] = &[$((
            LimitInfo {
                name: stringify!($name),
                default: $default,
                min: $min,
                max: $max,
                what: concat!($($doc),+),
            },
            $follows,
        ),)+];

        impl Limits {
            fn slot(&mut self, name: &str) -> Option<&mut usize> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }

            /// Returns a limit by its name.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<usize> {
                match name {
                    $(stringify!($name) => Some(self.$name),)+
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Peers to whom a link is kept.
    links = transport::MAX_LINKS, 1..=COUNT, from(64);
    /// Of these, peers under keys that are no node's; a quarter of all links if that is less.
    throwaway_links = transport::MAX_THROWAWAY_LINKS, 1..=COUNT, from(16);
    /// Links of others' making that no packet has proven.
    unproven_links = transport::MAX_UNPROVEN_LINKS, 4..=COUNT, from(32);
    /// Handshakes that this node has begun and that have not ended.
    handshakes = transport::MAX_HANDSHAKES, 1..=COUNT, from(64);
    /// Answers to first handshake packets that are kept for repetition.
    cached_answers = transport::MAX_CACHED_ANSWERS, 1..=COUNT, from(32);
    /// Handshakes of others that wait for the answer to their early request.
    held_handshakes = transport::MAX_HELD_HANDSHAKES, 1..=COUNT, from(16);
    /// Requests of others by datagram that are not answered yet, in all.
    open_requests = transport::MAX_OPEN_REQUESTS, 1..=COUNT, from(256);
    /// The same of one link.
    open_requests_per_link = transport::MAX_OPEN_REQUESTS_PER_LINK, 1..=65_535, Follows::Nothing;
    /// Requests taken per second, by datagram and by stream each.
    requests = transport::REQUESTS_PER_SECOND, 1..=RATE, Follows::Nothing;
    /// The same from one address: an IPv4 address or an IPv6 /64.
    requests_per_address = transport::REQUESTS_PER_ADDRESS, 1..=RATE, Follows::Nothing;
    /// The same over one link, or over one connection.
    requests_per_link = transport::REQUESTS_PER_LINK, 1..=RATE, Follows::Nothing;
    /// First handshake packets per second that are read without a cookie.
    calm_inits = transport::CALM_INITS_PER_SECOND as usize, 1..=RATE, Follows::Nothing;
    /// First handshake packets that are read per second at all.
    inits = transport::INITS_PER_SECOND as usize, 1..=RATE, Follows::Nothing;
    /// The same from one address, while cookies are asked for.
    inits_per_address = transport::INITS_PER_ADDRESS as usize, 1..=RATE, Follows::Nothing;
    /// KEY_REQUESTs answered per second.
    key_replies = transport::KEY_REPLIES_PER_SECOND as usize, 1..=RATE, Follows::Nothing;
    /// The same to one address.
    key_replies_per_address = transport::KEY_REPLIES_PER_ADDRESS as usize, 1..=RATE, Follows::Nothing;
    /// RESETs sent per second, and heeded.
    resets = transport::RESETS_SENT_PER_SECOND as usize, 1..=RATE, Follows::Nothing;
    /// The same to and from one address.
    resets_per_address = transport::RESETS_SENT_PER_ADDRESS as usize, 1..=RATE, Follows::Nothing;
    /// Datagrams that wait because the system has no room for them.
    unsent = 4096, 64..=COUNT, from(256);
    /// QUIC connections at once.
    connections = 64, 2..=65_536, from(6);
    /// Of these, connections that others have begun.
    incoming_connections = 48, 1..=65_536, from(4);
    /// Handshakes of QUIC by strangers at once.
    accepting = 16, 1..=65_536, from(4);
    /// Handshakes of QUIC at once from one address to which a link leads.
    accepting_per_address = 4, 1..=65_536, from(2);
    /// First packets of QUIC answered per second.
    initials = 500, 1..=RATE, Follows::Nothing;
    /// The same of one address.
    initials_per_address = 20, 1..=RATE, Follows::Nothing;
    /// Bytes of requests and responses by stream that have not come whole, or wait to go out.
    partial_len = 8 << 20, 262_144..=BYTES, from(512 << 10);
    /// Throwaway keys under which this node asks at once.
    throwaway_keys = 64, 1..=4096, from(4);
    /// Records kept for the DHT.
    records = kademlia::MAX_RECORDS, 1..=COUNT, from(512);
    /// Envelopes kept for others, beside the quota in bytes. Unless set, what the memory limit leaves for their index.
    mail_count = mail::DEFAULT_MAIL_COUNT, 0..=COUNT, Follows::Nothing;
    /// Devices for which envelopes are kept, or for which it is remembered that some were released.
    mail_places = mail::MAX_PLACES, 1..=COUNT, from(256);
    /// Envelopes kept for one device.
    device_mail_count = mail::MAX_KEPT as usize, 1..=COUNT, Follows::Nothing;
    /// Bytes kept for one device, with 512 for each envelope.
    device_mail_len = mail::MAX_KEPT_LEN as usize, 65_536..=BYTES, Follows::Nothing;
    /// Envelopes of strangers among those of one device.
    stranger_mail_count = mail::STRANGERS_KEPT as usize, 1..=COUNT, Follows::Nothing;
    /// Bytes of strangers among those of one device.
    stranger_mail_len = mail::STRANGERS_LEN as usize, 65_536..=BYTES, Follows::Nothing;
    /// Bytes of envelopes that wait for the disk.
    unwritten_len = mail::MAX_UNWRITTEN_LEN, 32_768..=BYTES, from(512 << 10);
    /// Envelopes that are being read from disk.
    mail_reads = mail::MAX_READS, 1..=65_536, from(16);
    /// Requests about mail that are not answered yet.
    mail_requests = 4096, 1..=COUNT, from(256);
    /// Released envelopes that are remembered.
    released = mail::MAX_RELEASED_IN_ALL, 8..=COUNT, from(4096);
    /// The same of one device.
    released_per_device = mail::MAX_RELEASED_KEPT, 8..=COUNT, Follows::Nothing;
    /// Devices that are told of mail because they were heard of late.
    present = mail::MAX_PRESENT, 1..=COUNT, from(64);
    /// Requests of other people's nodes that are not answered yet.
    chat_requests = 4096, 1..=COUNT, from(256);
    /// Bytes that wait for the disk because of requests of others, beside envelopes.
    unsaved_len = 8 << 20, 65_536..=BYTES, from(512 << 10);
    /// Strangers who have written and about whom nothing is decided.
    people_requests = user::MAX_REQUESTS, 1..=COUNT, from(256);
    /// The same within a day.
    people_requests_per_day = user::MAX_REQUESTS_PER_DAY, 1..=COUNT, Follows::Nothing;
    /// Devices of such strangers that may deliver.
    stranger_devices = user::MAX_STRANGER_DEVICES, 1..=COUNT, from(64);
    /// Sessions that such strangers have begun.
    stranger_sessions = user::MAX_STRANGER_SESSIONS, 1..=COUNT, from(64);
    /// Bytes of what such strangers have written, with 384 for each message; in a profile in memory an eighth by default.
    stranger_messages_len = user::MAX_STRANGER_MESSAGES_LEN, 65_536..=BYTES, from(4 << 20);
    /// Strangers whose names are looked up at once.
    introductions = user::MAX_INTRODUCTIONS, 1..=4096, from(8);
    /// Envelopes that wait for an earlier one of their device.
    held = user::MAX_HELD_IN_ALL, 1..=COUNT, from(256);
    /// Bytes in them.
    held_len = user::MAX_HELD_LEN_IN_ALL, 32_768..=BYTES, from(512 << 10);
    /// Letters that wait to be opened.
    letters = user::MAX_WAITING_LETTERS, 1..=COUNT, from(256);
    /// Bytes in them.
    letters_len = user::MAX_WAITING_LETTERS_LEN, 32_768..=BYTES, from(512 << 10);
    /// Envelopes that are known to wait for the user, and as many that were released.
    listed = user::MAX_LISTED_IN_ALL, 1..=COUNT, from(1024);
    /// Messages in memory that the application has not taken; the others wait on disk.
    event_messages = 512, 2..=65_536, from(32);
    /// Other events that the application has not taken.
    events = 10_240, 16..=COUNT, from(1024);
}

/// What of a configuration decides about memory, beside the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Most bytes.
    pub(crate) limit: u64,
    /// There is a user, who is sent mail and messages.
    pub(crate) has_user: bool,
    /// What others would keep on disk is in memory.
    pub(crate) is_in_memory: bool,
    /// How much mail is kept, in bytes, if that was said.
    pub(crate) mail_quota: Option<u64>,
}

impl Limits {
    /// Returns every limit.
    pub fn all() -> impl Iterator<Item = LimitInfo> {
        TABLE.iter().map(|(info, _)| *info)
    }

    /// Sets a limit by its name.
    ///
    /// # Errors
    ///
    /// There is none of this name, or the value is out of its range.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
        let info = Self::all().find(|info| info.name == name);
        let info = info.ok_or_else(|| LimitError::Unknown { name: name.to_owned() })?;
        let LimitInfo { name, min, max, .. } = info;
        let fitting = usize::try_from(value).ok().filter(|value| (min..=max).contains(value));
        let fitting = fitting.ok_or(LimitError::OutOfRange { name, value, min, max })?;
        if let Some(slot) = self.slot(name) {
            *slot = fitting;
        }
        Ok(())
    }

    /// Returns the limits of nodes for which nothing was said. There are many of these in some processes, and they share them.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Limits>> = OnceLock::new();
        SHARED.get_or_init(Arc::default).clone()
    }

    /// Lets the nodes of a process that have the same limits share them.
    pub(crate) fn into_shared(self) -> Arc<Self> {
        static SHARED: Mutex<Vec<Weak<Limits>>> = Mutex::new(Vec::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|limits| limits.strong_count() > 0);
        let same = shared.iter().filter_map(Weak::upgrade).find(|limits| **limits == self);
        same.unwrap_or_else(|| {
            let limits = Arc::new(self);
            shared.push(Arc::downgrade(&limits));
            limits
        })
    }

    /// Returns the defaults, smaller where the memory limit is smaller than its default, or where a profile in memory keeps
    /// what others keep on disk.
    fn of_memory(memory: &Memory) -> Self {
        let mut limits = Self::default();
        let (given, usual) = (memory.limit.saturating_sub(FIXED_LEN), DEFAULT_MEMORY_LIMIT - FIXED_LEN);
        for (info, follows) in TABLE {
            if let (Follows::Memory { least }, Some(slot)) = (follows, limits.slot(info.name)) {
                let part = info.default as u128 * u128::from(given.min(usual)) / u128::from(usual);
                *slot = usize::try_from(part).unwrap_or(info.default).max(*least);
            }
        }
        if memory.is_in_memory {
            limits.stranger_messages_len /= 8;
        }
        limits
    }

    /// Makes the limits of a node that keeps within its memory limit, and says how much mail it keeps.
    ///
    /// # Errors
    ///
    /// What was set is out of range, or allows more than the memory limit.
    pub(crate) fn within(memory: Memory, set: &[(String, u64)]) -> Result<(Self, u64), LimitError> {
        if memory.limit < MIN_MEMORY_LIMIT {
            return Err(LimitError::Memory { bytes: memory.limit });
        }
        let mut limits = Self::of_memory(&memory);
        limits.mail_count = 0;
        for (name, value) in set {
            limits.set(name, *value)?;
        }
        let has_mail_count = set.iter().any(|(name, _)| name == "mail_count");
        let shares = limits.shares(&memory, memory.mail_quota.unwrap_or(0));
        let needed: u64 = shares.iter().map(|share| share.len).sum();
        let left = memory.limit.checked_sub(needed).ok_or_else(|| too_much(&shares, memory.limit))?;
        let quota = memory.mail_quota.unwrap_or_else(|| default_quota(&memory, left));
        if !has_mail_count {
            let kept_in_memory = if memory.is_in_memory && memory.mail_quota.is_none() { quota } else { 0 };
            let room = left.saturating_sub(kept_in_memory) / budget::KEPT_LEN;
            limits.mail_count =
                usize::try_from(room.min(quota / budget::LEAST_CHARGE)).unwrap_or(COUNT).min(COUNT);
        }
        let shares = limits.shares(&memory, quota);
        let needed: u64 = shares.iter().map(|share| share.len).sum();
        if needed > memory.limit {
            return Err(too_much(&shares, memory.limit));
        }
        Ok((limits, quota))
    }

    /// Returns what the limits allow to be kept in memory, at the worst, by what it is for; the sum is at most the memory
    /// limit of the configuration that they come from.
    pub(crate) fn shares(&self, memory: &Memory, mail_quota: u64) -> Vec<Share> {
        budget::shares(self, memory, mail_quota)
    }
}

/// Returns how much mail is kept unless something was said: in memory so much that there is room for its index as well.
fn default_quota(memory: &Memory, left: u64) -> u64 {
    if !memory.is_in_memory {
        return mail::DEFAULT_MAIL_QUOTA;
    }
    let room = left / (budget::LEAST_CHARGE + budget::KEPT_LEN) * budget::LEAST_CHARGE;
    DEFAULT_MAIL_QUOTA_IN_MEMORY.min(room)
}

fn too_much(shares: &[Share], memory_limit: u64) -> LimitError {
    let needed = shares.iter().map(|share| share.len).sum();
    let largest = shares.iter().max_by_key(|share| share.len).map_or("", |share| share.what);
    LimitError::TooMuch { needed, largest, memory_limit }
}

#[cfg(test)]
mod tests;
