//! [`PeerchatError`]: one kind for each of the core's codes, for languages that catch by type.

/// Lists the kinds once: the code, the error and the ways between them follow.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = -$number:tt,)*) => {
        /// Says what kind of thing went wrong. The numbers are those of C, and never change.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, uniffi::Enum)]
        #[repr(i32)]
        pub enum ErrorCode {
            $($(#[$doc])* $kind = -$number,)*
        }

        impl ErrorCode {
            /// Returns the code with this number; a number that is not known here can only be a bug.
            fn from_number(number: i32) -> Self {
                match number {
                    $(-$number => Self::$kind,)*
                    _ => Self::Internal,
                }
            }
        }

        /// What a call can fail with: one kind for each [`ErrorCode`], the reason in words with each.
        #[derive(Clone, Debug, Eq, PartialEq, thiserror::Error, uniffi::Error)]
        #[uniffi::export(Display)]
        pub enum PeerchatError {
            $(
                $(#[$doc])*
                #[error("{detail}")]
                $kind {
                    /// The stable number of the kind.
                    code: ErrorCode,
                    /// The reason in words, with what to do about it.
                    detail: String,
                    /// Of everyone whom the network names, if it does not agree on who holds a name; else empty.
                    fingerprints: Vec<String>,
                },
            )*
        }

        impl PeerchatError {
            /// Makes the error of this kind.
            pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
                Self::naming(code, detail.into(), Vec::new())
            }

            fn naming(code: ErrorCode, detail: String, fingerprints: Vec<String>) -> Self {
                match code {
                    $(ErrorCode::$kind => Self::$kind { code, detail, fingerprints },)*
                }
            }

            fn kind(&self) -> ErrorCode {
                match self {
                    $(Self::$kind { code, .. } => *code,)*
                }
            }
        }
    };
}

kinds! {
    /// An option is out of its range, or an argument does not have the form it must have.
    InvalidArgument = -10,
    /// A user name breaks the rules.
    InvalidName = -11,
    /// An address is not of the form that is asked for.
    InvalidAddress = -12,
    /// A message without text.
    EmptyText = -13,
    /// A message text that is too long.
    TextTooLong = -14,
    /// As many messages wait for delivery as may.
    OutboxFull = -15,
    /// No message has this id.
    NotFound = -16,
    /// The client has no user: it was opened as a node only.
    NoUser = -17,
    /// Nobody of this name was met: nothing was exchanged with them yet.
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
    /// The disk refused.
    Storage = -43,
    /// The profile has another passphrase, or has one and none was given, or the reverse.
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
    /// The node at the bootstrap address has another key.
    WrongKey = -53,
    /// Nobody in the network goes by this name.
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

/// For the languages whose generated errors have no common members.
#[uniffi::export]
impl PeerchatError {
    /// Returns the stable number of the kind, whichever kind it is.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        self.kind()
    }
}

impl From<peerchat_core::ErrorCode> for ErrorCode {
    /// Finds the code by its number, which is the same in both; a test walks all codes.
    fn from(code: peerchat_core::ErrorCode) -> Self {
        Self::from_number(code as i32)
    }
}

impl<E: Into<peerchat_core::Error>> From<E> for PeerchatError {
    fn from(error: E) -> Self {
        let error = error.into();
        let (code, detail) = (error.code().into(), error.to_string());
        match error {
            peerchat_core::Error::NameContested { fingerprints } => Self::naming(code, detail, fingerprints),
            _ => Self::new(code, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_core_has_a_kind() {
        let source = include_str!("../../../peerchat-core/src/error.rs");
        let (_, body) = source.split_once("pub enum ErrorCode {").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let codes = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        let codes: Vec<_> = codes.filter_map(|line| line.strip_suffix(',')?.split_once(" = ")).collect();
        assert!(codes.len() > 20, "the core's source was not understood: {codes:?}");
        for (name, number) in codes {
            assert_eq!(format!("{:?}", ErrorCode::from_number(number.parse().unwrap())), name);
        }
    }

    #[test]
    fn an_error_keeps_its_kind_and_words() {
        let error = PeerchatError::from(peerchat_core::Error::Closed);
        assert_eq!(
            error,
            PeerchatError::Closed {
                code: ErrorCode::Closed,
                detail: "the client is closed".into(),
                fingerprints: vec![]
            }
        );
        let named = vec!["aeaqcaib".to_owned(), "7kq2m4xd".to_owned()];
        let error = PeerchatError::from(peerchat_core::Error::NameContested { fingerprints: named.clone() });
        assert!(
            matches!(&error, PeerchatError::NameContested { fingerprints, .. } if *fingerprints == named),
            "{error:?}"
        );
    }
}
