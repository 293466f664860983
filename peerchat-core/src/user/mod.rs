//! What a person sees, as pure machines: the directory, the outbox, delivery, and what arrives.
//!
//! These machines know the DHT's values (ids, contacts, records) but none of its machines: the engine carries
//! searches, publications and calls between the two.

mod batch;
mod chat;
mod collecting;
mod contacts;
mod delivering;
mod depositing;
pub(crate) mod directory;
mod giving_up;
mod letters;
mod machine;
mod naming;
mod owed;
mod people;
mod post;
mod reading;
mod receipts;
mod receiving;
mod registration;
mod sealing;
mod searching;
mod sender;
mod sessions;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod tokens;
mod typing;
mod working;

pub use batch::{MAX_BATCH, MAX_BATCH_LEN, MAX_BATCH_SPREAD_MS};
#[cfg(feature = "fuzzing")]
pub(crate) use batch::{batch_body, count_messages};
pub use chat::{
    ChatRequest, ChatResponse, Content, ContentKind, DeliverRefusal, Delivery, Hint, MAX_HINT_LEN,
    MAX_MISSING, Receipt, ReceiptVerdict,
};
pub use collecting::{COLLECT_INTERVAL, MAX_FETCHES, MAX_LISTED_IN_ALL};
pub use contacts::{
    MAX_CONTACTS, MAX_REQUESTS, MAX_REQUESTS_PER_DAY, MAX_STRANGER_DEVICES, MAX_STRANGER_MESSAGES_LEN,
    MAX_STRANGER_SESSIONS, MESSAGE_OVERHEAD, Verb,
};
pub use depositing::{MAX_HOLDERS, MAX_OPEN_DEPOSITS};
pub(crate) use directory::devices;
pub use directory::{Device, MAX_DEVICES, Verdict};
pub(crate) use letters::LETTER_COST;
pub use letters::{MAX_WAITING_LETTERS, MAX_WAITING_LETTERS_LEN};
pub use machine::{
    CallTag, Effect, FoundUser, LookupError, MAX_CONVERSATIONS, MAX_INTRODUCTIONS, MAX_OUTBOX, PushError,
    RequestTag, SealId, SearchId, SearchOutcome, User, UserAction, UserConfig,
};
pub use naming::{Decision, DecisionError, NAME_CHECK_EVERY};
pub use owed::{REDEPOSIT_INTERVAL, RESTORED_INTERVAL};
pub(crate) use people::PERSON_COST;
pub use reading::READ_RECEIPT_DELAY;
#[cfg(feature = "runtime")]
pub(crate) use receiving::received_event;
pub use receiving::{MAX_HELD_IN_ALL, MAX_HELD_LEN_IN_ALL};
pub use sealing::REPAIR_INTERVAL;
pub use sender::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_LEN, MAX_MESSAGES_IN_FLIGHT};
pub use sessions::{MAX_NEW_SESSIONS, MAX_SESSIONS, MAX_SESSIONS_IN_ALL};
pub(crate) use sessions::{SAVED_SESSION_COST, SESSION_COST};
pub(crate) use streams::{DEVICE_COST, HELD_COST};
pub use streams::{KEPT_ENVELOPES, KEPT_TAGS, MAX_HELD, MAX_HELD_LEN};
pub use tokens::{TOKEN_DELAY, TOKEN_LIFETIME, TOKEN_RENEWAL};
pub use typing::{MAX_TYPING_BURST, TYPING_INTERVAL, TYPING_LIFETIME};
