//! [`Fault`]: why a command ends without success, as one line for people and an exit code for scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

use peerchat_core::{ConfigError, Error, ErrorCode, NameError};

/// Exit code of a command that failed. Wrong usage is 2, and clap's business.
pub(crate) const EXIT_FAILED: u8 = 1;

/// Exit code of `send` when time ran out: the message is saved, but not with the recipient yet.
pub(crate) const EXIT_STILL_QUEUED: u8 = 3;

/// Exit code of a command whose passphrase was wrong, missing or one too many.
const EXIT_WRONG_PASSPHRASE: u8 = 4;

/// Exit code of a command that a signal ended while it asked for a passphrase, as shells have it for SIGINT.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// What went wrong and what to do about it.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    what: String,
    advice: String,
    exit_code: u8,
}

impl Fault {
    /// Makes a fault that ends the command with [`EXIT_FAILED`].
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into(), exit_code: EXIT_FAILED }
    }

    /// Makes the fault of a command that ran out of time with `count` messages still in the outbox.
    pub(crate) fn still_queued(count: usize) -> Self {
        let (subject, object) = if count == 1 {
            ("1 message is".to_owned(), "it goes")
        } else {
            (format!("{count} messages are"), "they go")
        };
        Self {
            what: format!("{subject} still queued"),
            advice: format!("{object} out the next time this name is online"),
            exit_code: EXIT_STILL_QUEUED,
        }
    }

    /// Makes a fault that ends the command with [`EXIT_WRONG_PASSPHRASE`].
    pub(crate) fn no_passphrase(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit_code: EXIT_WRONG_PASSPHRASE, ..Self::new(what, advice) }
    }

    /// Makes the fault of a command that a signal ended while a passphrase was asked for.
    pub(crate) fn interrupted() -> Self {
        Self { exit_code: EXIT_INTERRUPTED, ..Self::new("interrupted; nothing was changed", "") }
    }

    /// Makes a fault of an event's error code and words, which say what to do themselves.
    pub(crate) fn told(what: &str, detail: &str) -> Self {
        Self::new(format!("{what}: {detail}"), "")
    }

    /// Returns the exit code that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let code = error.code();
        let is_passphrase = matches!(code, ErrorCode::WrongPassphrase | ErrorCode::ArchivePassphrase);
        let exit_code = if is_passphrase { EXIT_WRONG_PASSPHRASE } else { EXIT_FAILED };
        Self { exit_code, ..Self::new(error.to_string(), advice(code)) }
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Error::from(error).into()
    }
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Error::from(error).into()
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::new(format!("cannot write the output: {error}"), "check where it goes to")
    }
}

/// Says what a person at the command line can do; empty where the error's own words say it.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidArgument => "see `peerchat help` for what is allowed",
        ErrorCode::InvalidName => "choose another name",
        ErrorCode::EmptyText => "write something",
        ErrorCode::TextTooLong => "send it in several messages",
        ErrorCode::NotFound => "check the id",
        ErrorCode::IdentityNotSeen => "check the fingerprint with `peerchat whois`",
        ErrorCode::Closed => "start again",
        ErrorCode::TimedOut => "check that the network is up, then try again",
        ErrorCode::ProfileDamaged => "restore it from a backup, or move it away to start afresh",
        ErrorCode::WrongPassphrase => {
            "it comes from --passphrase-file, else from PEERCHAT_PASSPHRASE, else from the terminal"
        }
        ErrorCode::ArchiveDamaged => "export the profile again, or use another copy of the file",
        ErrorCode::ArchivePassphrase => "name the right one with --archive-passphrase-file",
        ErrorCode::ProfileExists => "name another directory with --data, or move that profile away",
        ErrorCode::Storage => "check that the disk has room and the data directory can be written",
        ErrorCode::Network => "check the address and that it belongs to this machine",
        ErrorCode::Unreachable => "check the address and that a node runs there",
        ErrorCode::UnknownRecipient => "check the name, or wait until its owner has registered",
        ErrorCode::NameContested => "ask them for their fingerprint and write to name#fingerprint",
        ErrorCode::Internal => "this is a bug in peerchat; please report it",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_and_then_what_to_do() {
        let fault = Fault::from(Error::TimedOut);
        assert_eq!(fault.to_string(), "no answer in time; check that the network is up, then try again");
    }

    #[test]
    fn words_that_already_advise_stand_alone() {
        let fault = Fault::from(Error::OutboxFull { limit: 7 });
        assert_eq!(
            fault.to_string(),
            "the outbox holds 7 unfinished messages; wait until some are delivered or expire"
        );
    }

    #[test]
    fn queued_messages_are_counted_in_words() {
        assert_eq!(
            Fault::still_queued(1).to_string(),
            "1 message is still queued; it goes out the next time this name is online"
        );
        assert_eq!(
            Fault::still_queued(3).to_string(),
            "3 messages are still queued; they go out the next time this name is online"
        );
    }
}
