//! The command line: every command, option and default.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use peerchat_core::config::{DEFAULT_MEMORY_LIMIT, MIN_MEMORY_LIMIT};
use peerchat_core::kademlia::{ALPHA, K};
use peerchat_core::{BootstrapAddress, Limits, UserName};

use crate::passphrase::PassphraseSource;

/// How long `send` waits for the delivery unless told otherwise, in seconds.
const SEND_TIMEOUT_SECONDS: u64 = 30;

const ALL_EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; one line on stderr says why and what to do
  2    wrong usage
  3    out of time (send): the message is saved and goes out the next time this name is online
  4    the passphrase is wrong or missing, or there is one too many; nothing was changed
  130  a signal came while a passphrase was asked for

A passphrase encrypts the keys of a profile. It comes from --passphrase-file, else from PEERCHAT_PASSPHRASE, else it is asked
for at the terminal if the profile has one. It is never an argument.";

/// How many messages `search` shows unless told otherwise.
const SEARCH_LEN: u32 = 20;

const EXIT_CODES: &str = "\
Exit codes:
  0  delivered: a device of the recipient has it on disk
  1  failed; one line on stderr says why and what to do
  2  wrong usage
  3  out of time: the message is saved and goes out the next time this name is online
  4  the passphrase is wrong or missing";

const EVENTS: &str = "\
Output: one JSON object per line. \"event\" says which kind it is; programs ignore kinds and keys they do not know.
  listening            address, key, name, user      (always first)
  message              id, from, user, text, number, sent_unix_ms, received_unix_ms, is_request
  message_state        id, to, state (queued, stored, delivered, read, expired, failed, canceled), held_by, code, detail
  online               contact_count
  offline
  bootstrapped         command, node, address
  bootstrap_failed     command, address, code, detail
  registered           name, user
  registration_failed  name, holder, code, detail
  identity_changed     name, old, new                (nothing goes to `new` before `peerchat accept`)
  name_contested       name, claimants
  typing               from, user, is_typing         (it ends by itself, with their text or after 10 s)
  closed               code, detail
\"code\" is a number of peerchat.h, or null.";

/// Chat without servers: people find one another by name and write to one another, with nobody in the middle.
#[derive(Debug, Parser)]
#[command(name = "peerchat", version, after_help = ALL_EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Talk to people, line by line.
    Chat(ChatArgs),
    /// Serve the network without a user, until SIGINT or SIGTERM.
    Node(NodeArgs),
    /// Send a message and wait until it is delivered.
    #[command(after_help = EXIT_CODES)]
    Send(SendArgs),
    /// Look a name up, and say who that person is here.
    Whois(WhoisArgs),
    /// Say that the safety number was compared with a person, or take that back.
    Verify(VerifyArgs),
    /// Accept who has made a request, or let a name mean the person who holds it now.
    Accept(AcceptArgs),
    /// List contacts, requests and who is blocked.
    Contacts(ContactsArgs),
    /// Make somebody a contact.
    Add(PersonArgs),
    /// Take nothing of somebody's any more.
    Block(PersonArgs),
    /// Take what somebody writes again; their next message makes a request.
    Unblock(PersonArgs),
    /// Take somebody out of the contacts, or turn their request down.
    Remove(PersonArgs),
    /// Set, change or remove the passphrase that encrypts a profile's keys.
    Passphrase(PassphraseArgs),
    /// Find messages by their words.
    Search(SearchArgs),
    /// Write a profile into one encrypted file, to move it to another machine.
    Export(ExportArgs),
    /// Make a profile of such a file, and print its name.
    Import(ImportArgs),
    /// Print everything that happens as JSON lines.
    #[command(after_help = EVENTS)]
    Listen(ListenArgs),
}

/// Whose profile to open and how to reach the network.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    /// Directory of the profiles [default: $XDG_DATA_HOME/peerchat or ~/.local/share/peerchat].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Join the network through this node: host:port, [ipv6]:port or key@host:port.
    #[arg(long, value_name = "ADDR")]
    pub(crate) bootstrap: Option<BootstrapAddress>,
    /// UDP port to listen on [default: any].
    #[arg(long, value_name = "P")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name [default: ask].
    #[arg(long)]
    pub(crate) name: Option<UserName>,
}

/// A number of bytes, as an operator writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bytes(pub(crate) u64);

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(format!("`{unit}` is no unit: write B, KiB, MiB or GiB")),
        };
        let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no size: write 128MiB"))?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too much"))?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}MiB", self.0 >> 20)
    }
}

/// `NAME=VALUE`, which was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) value: u64,
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write name=value")?;
        let value = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        Limits::default().set(name, value).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), value })
    }
}

fn memory_limit(text: &str) -> Result<Bytes, String> {
    let bytes: Bytes = text.parse()?;
    let least = Bytes(MIN_MEMORY_LIMIT);
    if bytes.0 < least.0 { Err(format!("a node needs {least} at least")) } else { Ok(bytes) }
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// How much memory others can make the node take: 128MiB, 1GiB or a number of bytes, 40MiB or more.
    #[arg(long, value_name = "SIZE", value_parser = memory_limit, default_value_t = Bytes(DEFAULT_MEMORY_LIMIT))]
    pub(crate) memory_limit: Bytes,
    /// Set a limit on what others may ask for: links=512. May be repeated. docs/limits.md has the names.
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub(crate) limits: Vec<Limit>,
    /// Directory of the node's identity and records [default: $XDG_DATA_HOME/peerchat or ~/.local/share/peerchat].
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    pub(crate) data: Option<PathBuf>,
    /// Keep everything in memory: a new identity each time, nothing on disk.
    #[arg(long, conflicts_with_all = ["passphrase_file", "new_passphrase"])]
    pub(crate) memory: bool,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// UDP address to listen on, with port 0 for any [default: any port on every address].
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<SocketAddr>,
    /// Join the network through this node: host:port, [ipv6]:port or key@host:port. May be repeated. Tried again, with
    /// growing pauses, until it answers.
    #[arg(long, value_name = "ADDR")]
    pub(crate) bootstrap: Vec<BootstrapAddress>,
    /// Kademlia's k: the size of a bucket, and how many nodes keep a record.
    #[arg(long, default_value_t = K)]
    pub(crate) k: usize,
    /// Kademlia's alpha: how many requests a lookup keeps in flight.
    #[arg(long, default_value_t = ALPHA)]
    pub(crate) alpha: usize,
    /// Write the first JSON line to this file once the node listens; it is removed when the node stops.
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Answer HTTP on this TCP address, with port 0 for any: /metrics for Prometheus, /health for a supervisor. It is not
    /// encrypted and asks for no password: keep it on the loopback, or behind something that does.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Print JSON lines: {"event":"listening","address":...,"key":...,"metrics":...} first, then every event as `listen` does.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// How long to wait for the delivery; 0 to save the message and leave.
    #[arg(long, value_name = "SECONDS", default_value_t = SEND_TIMEOUT_SECONDS)]
    pub(crate) timeout: u64,
    /// Whom to write to: bob, or bob#7kq2m4xd.
    pub(crate) to: String,
    /// What to write; `-` sends each line of the standard input as a message.
    #[arg(required = true)]
    pub(crate) text: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WhoisArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// How long to wait for the network.
    #[arg(long, value_name = "SECONDS", default_value_t = SEND_TIMEOUT_SECONDS)]
    pub(crate) timeout: u64,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Who: bob, or bob#7kq2m4xd.
    pub(crate) who: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// Take the mark back.
    #[arg(long)]
    pub(crate) undo: bool,
    /// Who: bob, or bob#7kq2m4xd.
    pub(crate) who: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// Who has made a request; or the name, and the fingerprint of who holds it now: bob#7kq2m4xd.
    pub(crate) who: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ContactsArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PersonArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// Who: bob, or bob#7kq2m4xd.
    pub(crate) who: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// Only what was said with this person: bob, or bob#7kq2m4xd [default: with everybody].
    #[arg(long, value_name = "WHO")]
    pub(crate) with: Option<String>,
    /// Only messages before this position, which the JSON lines tell: the next page [default: from the latest].
    #[arg(long, value_name = "POSITION")]
    pub(crate) before: Option<u64>,
    /// How many messages to show at most.
    #[arg(long, value_name = "N", default_value_t = SEARCH_LEN, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
    /// What to find. Every word must be in the message; case and accents do not count, and `*` right after a word stands
    /// for whatever ends it.
    #[arg(required = true)]
    pub(crate) words: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Directory of the profiles [default: $XDG_DATA_HOME/peerchat or ~/.local/share/peerchat].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// The first line of this file is the passphrase of the archive [default: $PEERCHAT_ARCHIVE_PASSPHRASE].
    #[arg(long, value_name = "PATH")]
    pub(crate) archive_passphrase_file: Option<PathBuf>,
    /// The file to write; one that exists is left as it is.
    pub(crate) archive: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Directory of the profiles [default: $XDG_DATA_HOME/peerchat or ~/.local/share/peerchat].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The first line of this file is the passphrase that the profile gets [default: what PEERCHAT_PASSPHRASE says, else none].
    #[arg(long, value_name = "PATH")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The first line of this file is the passphrase of the archive [default: $PEERCHAT_ARCHIVE_PASSPHRASE].
    #[arg(long, value_name = "PATH")]
    pub(crate) archive_passphrase_file: Option<PathBuf>,
    /// The file that `export` wrote.
    pub(crate) archive: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("new").required(true))]
pub(crate) struct PassphraseArgs {
    /// Directory of the profiles [default: $XDG_DATA_HOME/peerchat or ~/.local/share/peerchat].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// The first line of this file is the passphrase that the profile has [default: what PEERCHAT_PASSPHRASE says, else
    /// it is asked for at the terminal if the profile has one].
    #[arg(long, value_name = "PATH")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The first line of this file is the passphrase that it gets.
    #[arg(long, value_name = "PATH", group = "new")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Ask at the terminal, twice, for the passphrase that it gets.
    #[arg(long, group = "new")]
    pub(crate) new_passphrase: bool,
    /// Leave it without a passphrase: its keys are in the open then.
    #[arg(long, group = "new")]
    pub(crate) remove: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListenArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Your name.
    #[arg(long)]
    pub(crate) name: UserName,
    /// Stop after this many messages [default: never].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print JSON lines. There is no other form; the option says so to whoever reads the script.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn names_are_normalized_and_checked_before_anything_starts() {
        let args =
            Args::try_parse_from(["peerchat", "send", "--name", "Alice", "bob", "hi", "there"]).unwrap();
        let Command::Send(args) = args.command else { panic!("not send: {args:?}") };
        assert_eq!((args.name.as_str(), args.text.join(" ").as_str()), ("alice", "hi there"));

        let refused = Args::try_parse_from(["peerchat", "chat", "--name", "a b"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
    }

    #[test]
    fn a_node_in_memory_has_no_data_directory() {
        let refused = Args::try_parse_from(["peerchat", "node", "--memory", "--data", "d"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
    }

    #[test]
    fn sizes_have_units_and_limits_have_names() {
        let sizes = ["7", "7B", "128KiB", "32MiB", "2GiB"].map(|text| text.parse::<Bytes>().unwrap().0);
        assert_eq!(sizes, [7, 7, 128 << 10, 32 << 20, 2 << 30]);
        for text in ["", "MiB", "1.5GiB", "7MB", "-1", "99999999999999GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert!(memory_limit("39MiB").unwrap_err().contains("40MiB at least"));
        assert_eq!("links=512".parse::<Limit>().unwrap(), Limit { name: "links".into(), value: 512 });
        for text in ["links", "links=", "links=many", "links=0", "fun=1"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }
}
