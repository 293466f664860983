//! The first questions, as the original asked them: who are you, and if you are new here, where is the network?

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use peerchat_core::{Client, UserName};
use zeroize::Zeroizing;

use crate::args::ChatArgs;
use crate::fault::Fault;
use crate::feed::{Feed, Happening};
use crate::passphrase::{self, Hidden};

/// Who the person is and how they come in.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: UserName,
    /// Whether this data directory has seen the name before.
    pub(crate) is_known: bool,
    /// The address to join through, if the person was asked for one.
    pub(crate) join: Option<String>,
}

/// Asks what the command line left open; `None` if the person left instead of answering.
pub(crate) fn ask(
    args: &ChatArgs,
    data_dir: &Path,
    feed: &mut Feed,
    out: &mut impl Write,
) -> Result<Option<Entry>, Fault> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => match ask_name(feed, out)? {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    let is_known = Client::profile_exists(data_dir, &name);
    if is_known || args.profile.bootstrap.is_some() {
        return Ok(Some(Entry { name, is_known, join: None }));
    }
    writeln!(out, "* {name} is new here")?;
    Ok(ask_network(feed, out)?.map(|join| Entry { name, is_known, join }))
}

fn ask_name(feed: &mut Feed, out: &mut impl Write) -> Result<Option<UserName>, Fault> {
    while let Some(answer) = question("Your name: ", feed, out)? {
        match UserName::parse(&answer) {
            Ok(name) => return Ok(Some(name)),
            Err(error) => writeln!(out, "* {error}")?,
        }
    }
    Ok(None)
}

/// Returns the address to join through, or `Some(None)` to start a network.
fn ask_network(feed: &mut Feed, out: &mut impl Write) -> Result<Option<Option<String>>, Fault> {
    while let Some(answer) = question("Start a new network, or join one? [start/join] ", feed, out)? {
        match answer.to_lowercase().as_str() {
            "start" | "s" | "new" | "n" => return Ok(Some(None)),
            "join" | "j" => return Ok(ask_address(feed, out)?.map(Some)),
            _ => writeln!(out, "* answer start or join")?,
        }
    }
    Ok(None)
}

/// Asks for an address until there is one; whether it is good shows when it is used.
pub(crate) fn ask_address(feed: &mut Feed, out: &mut impl Write) -> Result<Option<String>, Fault> {
    while let Some(answer) = question("Address of anyone in it (host:port or key@host:port): ", feed, out)? {
        if !answer.is_empty() {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// Asks for a passphrase, which the terminal does not show.
pub(crate) fn ask_hidden(prompt: &str, feed: &mut Feed) -> Result<Zeroizing<String>, Fault> {
    if !io::stdin().is_terminal() {
        return passphrase::ask_terminal(prompt);
    }
    let _hidden = Hidden::start()?;
    passphrase::write_prompt(prompt)?;
    match feed.next(None) {
        Some(Happening::Line(line)) => Ok(Zeroizing::new(line)),
        Some(Happening::Stop) => {
            passphrase::write_prompt("\n")?;
            Err(Fault::interrupted())
        }
        _ => Err(Fault::new("no passphrase was given", "")),
    }
}

/// Asks and waits for a line; `None` if the input ends or a signal comes.
fn question(prompt: &str, feed: &mut Feed, out: &mut impl Write) -> Result<Option<String>, Fault> {
    write!(out, "{prompt}")?;
    out.flush()?;
    loop {
        match feed.next(None) {
            Some(Happening::Line(line)) => return Ok(Some(line.trim().to_owned())),
            Some(Happening::NotText) => writeln!(out, "* that is not UTF-8 text")?,
            Some(Happening::EndOfInput | Happening::Stop) | None => {
                writeln!(out)?;
                return Ok(None);
            }
            // No client is followed yet.
            Some(Happening::Event(_) | Happening::Gone(_) | Happening::Typed(_)) => {}
        }
    }
}
