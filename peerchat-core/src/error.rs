//! [`Error`], the one error of the crate's face, and [`ErrorCode`], whose numbers never change.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Says what kind of thing went wrong, by a number that is the same in C, Rust and every binding.
///
/// Numbers are never reused: a retired one stays here as a comment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorCode {
    // -1 to -9: what only C can do wrong (NULL pointers, text that is not UTF-8); see peerchat-ffi.
    /// An option is out of its range.
    InvalidArgument = -10,
    /// A user name breaks the rules of RFC 8265 or ours.
    InvalidName = -11,
    /// An address is not of the form `host:port` or `key@host:port`.
    InvalidAddress = -12,
    /// A message without text.
    EmptyText = -13,
    /// A message text that is longer than [`crate::MAX_TEXT_LEN`].
    TextTooLong = -14,
    /// The outbox holds as many unfinished messages as it may.
    OutboxFull = -15,
    /// No message has this id.
    NotFound = -16,
    /// The client has no user: it was opened as a node only.
    NoUser = -17,
    /// Nobody of this name was met.
    NotMet = -18,
    /// The name was not seen to belong to this person.
    IdentityNotSeen = -19,
    /// This user has blocked the person.
    Blocked = -20,
    /// There are as many contacts as there may be.
    TooManyContacts = -21,
    /// The message was delivered or given up before.
    AlreadyEnded = -22,
    /// The recipient has blocked this user.
    BlockedByRecipient = -23,

    /// The client was closed.
    Closed = -30,
    /// A wait ran out of time.
    TimedOut = -31,

    /// Another process, or another client of this one, has the profile open.
    ProfileInUse = -40,
    /// The profile on disk is damaged.
    ProfileDamaged = -41,
    /// The profile was written by a later version of peerchat.
    ProfileTooNew = -42,
    /// The disk refused: full, read-only, gone.
    Storage = -43,
    /// The profile has another passphrase than the one it was opened with, or one and it was given none, or the reverse.
    WrongPassphrase = -44,
    /// An exported profile is damaged.
    ArchiveDamaged = -45,
    /// An exported profile is encrypted with another passphrase.
    ArchivePassphrase = -46,
    /// An exported profile was written by a later version of peerchat.
    ArchiveTooNew = -47,
    /// There is a profile where one is to be imported.
    ProfileExists = -48,

    /// Another program uses the UDP port.
    AddressInUse = -50,
    /// The UDP socket could not be opened.
    Network = -51,
    /// No node answered at the bootstrap address.
    Unreachable = -52,
    /// The node at the bootstrap address has another key than the one that was asked for.
    WrongKey = -53,

    /// Nobody in the network goes by the recipient's name.
    UnknownRecipient = -60,
    /// Somebody else holds the name.
    NameTaken = -61,
    /// The network does not agree on who holds the name.
    NameContested = -62,
    /// The message was not delivered before it expired.
    Expired = -63,

    /// A bug in peerchat.
    Internal = -90,
}

/// What a [`crate::Client`] call can fail with.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A user name breaks the rules.
    #[error(transparent)]
    Name(#[from] crate::identity::NameError),
    /// An address does not parse.
    #[error(transparent)]
    Address(#[from] crate::address::AddressError),
    /// The text is empty.
    #[error("the message has no text")]
    EmptyText,
    /// The text is too long.
    #[error("the message text is {len} bytes, the limit is {max}", max = crate::MAX_TEXT_LEN)]
    TextTooLong {
        /// Length of the refused text in bytes.
        len: usize,
    },
    /// The outbox is full.
    #[error("the outbox holds {limit} unfinished messages; wait until some are delivered or expire")]
    OutboxFull {
        /// How many unfinished messages fit.
        limit: usize,
    },
    /// There is no such message.
    #[error("no message has this id")]
    NotFound,
    /// The client is a node without a user.
    #[error("this client has no user: open it with a user name to send or receive")]
    NoUser,
    /// Nobody of this name was met.
    #[error("nobody of this name was met: write to them, or wait for their first message")]
    NotMet,
    /// The name was not seen to belong to this person.
    #[error("this name was not seen to belong to that person; accept only whom an identity event has named")]
    IdentityNotSeen,
    /// This user has blocked the person.
    #[error("this person is blocked; unblock them first")]
    Blocked,
    /// There are too many contacts.
    #[error("there are {limit} contacts already; remove some first")]
    TooManyContacts {
        /// How many there may be.
        limit: usize,
    },
    /// The message is finished.
    #[error("the message was delivered or given up before, and cannot be canceled any more")]
    AlreadyEnded,
    /// The lifetime of a message is out of range.
    #[error("the lifetime of a message is {seconds} s, allowed are 1 s to 30 days")]
    Lifetime {
        /// The refused lifetime in seconds.
        seconds: u64,
    },
    /// Nothing can be searched for so.
    #[error(transparent)]
    Query(#[from] crate::search::QueryError),
    /// A text that is not a user id.
    #[error(transparent)]
    UserId(#[from] crate::identity::UserIdError),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// A wait ran out of time.
    #[error("no answer in time")]
    TimedOut,
    /// The profile is open elsewhere.
    #[error("the profile {path} is open in another process or client; close that one first", path = path.display())]
    ProfileInUse {
        /// The profile's file.
        path: PathBuf,
    },
    /// The profile is damaged.
    #[error("the profile {path} is damaged: {detail}", path = path.display())]
    ProfileDamaged {
        /// The profile's file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The profile is from a later version.
    #[error("the profile {path} has format {found}, this version of peerchat knows up to {known}; use a newer one", path = path.display())]
    ProfileTooNew {
        /// The profile's file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest format that this version opens.
        known: u32,
    },
    /// The passphrase is not the profile's.
    #[error("the profile {path} does not open: {detail}", path = path.display())]
    WrongPassphrase {
        /// The profile's file.
        path: PathBuf,
        /// Whether it has another, or none.
        detail: String,
    },
    /// An exported profile is damaged.
    #[error("the archive {path} is damaged: {detail}", path = path.display())]
    ArchiveDamaged {
        /// The archive's file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// An exported profile is encrypted with another passphrase.
    #[error("the archive {path} does not open: this is not its passphrase", path = path.display())]
    ArchivePassphrase {
        /// The archive's file.
        path: PathBuf,
    },
    /// An exported profile is from a later version.
    #[error("the archive {path} has format {found}, which this version of peerchat does not know; use a newer one", path = path.display())]
    ArchiveTooNew {
        /// The archive's file.
        path: PathBuf,
        /// The format of the file, or of what is in it.
        found: u32,
    },
    /// There is a profile where one is to be imported.
    #[error("there is a profile {path} already; it was left as it is", path = path.display())]
    ProfileExists {
        /// The profile's file.
        path: PathBuf,
    },
    /// What is asked for needs a profile on disk.
    #[error("the profile is in memory; open one in a data directory for this")]
    NotOnDisk,
    /// The disk refused.
    #[error("storage failed: {detail}")]
    Storage {
        /// What the system said.
        detail: String,
    },
    /// The UDP port is taken.
    #[error("UDP address {address} is in use; choose another port, or 0 for any")]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The UDP socket could not be opened.
    #[error("cannot open UDP socket {address}: {detail}")]
    Network {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        detail: String,
    },
    /// Nobody goes by this name.
    #[error("nobody in the network goes by this name")]
    UnknownRecipient,
    /// The network does not agree on who holds the name.
    #[error("the network does not agree on who holds this name: {fingerprints:?}")]
    NameContested {
        /// Everyone who was named, by fingerprint.
        fingerprints: Vec<String>,
    },
    /// A bug in peerchat.
    #[error("internal error: {detail}")]
    Internal {
        /// Which invariant broke.
        detail: String,
    },
}

impl Error {
    /// Returns the stable number of this kind of error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Config(_) => ErrorCode::InvalidArgument,
            Self::Name(_) => ErrorCode::InvalidName,
            Self::Address(_) => ErrorCode::InvalidAddress,
            Self::EmptyText => ErrorCode::EmptyText,
            Self::TextTooLong { .. } => ErrorCode::TextTooLong,
            Self::OutboxFull { .. } => ErrorCode::OutboxFull,
            Self::NotFound => ErrorCode::NotFound,
            Self::NoUser => ErrorCode::NoUser,
            Self::NotMet => ErrorCode::NotMet,
            Self::IdentityNotSeen => ErrorCode::IdentityNotSeen,
            Self::Blocked => ErrorCode::Blocked,
            Self::TooManyContacts { .. } => ErrorCode::TooManyContacts,
            Self::AlreadyEnded => ErrorCode::AlreadyEnded,
            Self::Lifetime { .. } => ErrorCode::InvalidArgument,
            Self::Query(_) => ErrorCode::InvalidArgument,
            Self::UserId(_) => ErrorCode::InvalidArgument,
            Self::Closed => ErrorCode::Closed,
            Self::TimedOut => ErrorCode::TimedOut,
            Self::ProfileInUse { .. } => ErrorCode::ProfileInUse,
            Self::ProfileDamaged { .. } => ErrorCode::ProfileDamaged,
            Self::ProfileTooNew { .. } => ErrorCode::ProfileTooNew,
            Self::WrongPassphrase { .. } => ErrorCode::WrongPassphrase,
            Self::ArchiveDamaged { .. } => ErrorCode::ArchiveDamaged,
            Self::ArchivePassphrase { .. } => ErrorCode::ArchivePassphrase,
            Self::ArchiveTooNew { .. } => ErrorCode::ArchiveTooNew,
            Self::ProfileExists { .. } => ErrorCode::ProfileExists,
            Self::NotOnDisk => ErrorCode::InvalidArgument,
            Self::Storage { .. } => ErrorCode::Storage,
            Self::AddressInUse { .. } => ErrorCode::AddressInUse,
            Self::Network { .. } => ErrorCode::Network,
            Self::UnknownRecipient => ErrorCode::UnknownRecipient,
            Self::NameContested { .. } => ErrorCode::NameContested,
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }
}

impl From<crate::user::PushError> for Error {
    fn from(error: crate::user::PushError) -> Self {
        use crate::user::{MAX_CONTACTS, MAX_OUTBOX, PushError};
        match error {
            PushError::Full => Self::OutboxFull { limit: MAX_OUTBOX },
            PushError::TooManyContacts => Self::TooManyContacts { limit: MAX_CONTACTS },
            PushError::Blocked => Self::Blocked,
        }
    }
}

impl From<crate::user::DecisionError> for Error {
    fn from(error: crate::user::DecisionError) -> Self {
        use crate::user::{DecisionError, MAX_CONTACTS};
        match error {
            DecisionError::NotMet => Self::NotMet,
            DecisionError::NotSeen => Self::IdentityNotSeen,
            DecisionError::Blocked => Self::Blocked,
            DecisionError::Full => Self::TooManyContacts { limit: MAX_CONTACTS },
            DecisionError::Ended => Self::AlreadyEnded,
        }
    }
}
