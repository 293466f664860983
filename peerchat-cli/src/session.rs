//! What every command does before its own work: find the profile, open the client, stop on a signal.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerchat_core::{Client, Config, Error, Event, Passphrase, UserId, UserName};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{PassphraseArgs, ProfileArgs};
use crate::fault::Fault;
use crate::passphrase::{self, Ask};

/// How long one wait for events lasts where nothing else is due. The length does not matter: a wait ends early
/// with an event or when the client closes.
pub(crate) const LONG_WAIT: Duration = Duration::from_secs(3600);

/// Returns the directory that was asked for, or the default of the system.
pub(crate) fn data_dir(asked: Option<&Path>) -> Result<PathBuf, Fault> {
    let default = || default_data_dir(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"));
    asked.map(Path::to_owned).or_else(default).ok_or_else(|| {
        Fault::new(
            "neither XDG_DATA_HOME nor HOME says where to keep data",
            "name a directory with --data DIR",
        )
    })
}

/// Follows the XDG base directory specification, by which a relative `XDG_DATA_HOME` is ignored.
fn default_data_dir(xdg_data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let xdg = xdg_data_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = xdg
        .or_else(|| home.filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".local/share")));
    Some(base?.join("peerchat"))
}

/// Logs `name` in, or registers it if this data directory does not know it, and joins through the node that was
/// asked for. Whether that worked is told by events.
pub(crate) fn open(name: &UserName, profile: &ProfileArgs) -> Result<Client, Fault> {
    open_asking(name, profile, &mut passphrase::ask_terminal)
}

/// Does what [`open`] does where somebody else reads the terminal.
pub(crate) fn open_asking(name: &UserName, profile: &ProfileArgs, ask: Ask<'_>) -> Result<Client, Fault> {
    let mut config = Config::builder(data_dir(profile.data.as_deref())?).user(name.as_str())?;
    if let Some(port) = profile.port {
        config = config.port(port);
    }
    let client = profile.passphrase.open(config, ask)?;
    if let Some(address) = &profile.bootstrap {
        client.bootstrap(&address.to_string())?;
    }
    Ok(client)
}

/// Refuses a name that this data directory does not know, where making a profile would help nobody.
pub(crate) fn expect_profile(data_dir: &Path, name: &UserName) -> Result<(), Fault> {
    if Client::profile_exists(data_dir, name) {
        return Ok(());
    }
    Err(Fault::new(
        format!("there is no profile of {name} in {}", data_dir.display()),
        "check the name, and name the directory with --data DIR",
    ))
}

/// Sets, changes or removes the passphrase of a profile.
pub(crate) fn change_passphrase(args: &PassphraseArgs) -> Result<(), Fault> {
    let data_dir = data_dir(args.data.as_deref())?;
    let old = passphrase::given(args.passphrase_file.as_deref())?;
    let new = match &args.new_passphrase_file {
        Some(path) => Some(passphrase::from_file(path)?),
        None if args.new_passphrase => Some(passphrase::choose(&mut passphrase::ask_terminal)?),
        None => None,
    };
    let change =
        |old: Option<&Passphrase>| Client::change_passphrase(&data_dir, Some(&args.name), old, new.as_ref());
    match change(old.as_ref()) {
        Err(Error::WrongPassphrase { .. }) if old.is_none() && io::stdin().is_terminal() => {
            let old = Passphrase::new(&passphrase::ask_terminal("Passphrase now: ")?)?;
            Ok(change(Some(&old))?)
        }
        changed => Ok(changed?),
    }
}

/// Closes the client on SIGINT or SIGTERM, which ends the wait of whoever polls it.
pub(crate) fn close_on_signal(client: &Client) -> Result<(), Fault> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(no_signals)?;
    passphrase::leave_closing_signals();
    let client = client.clone();
    std::thread::spawn(move || signals.forever().for_each(|_| client.close()));
    Ok(())
}

pub(crate) fn no_signals(error: std::io::Error) -> Fault {
    Fault::new(format!("cannot listen for signals: {error}"), "check the limits of the process")
}

/// Closes the client, waits until its state is saved, and says so if that took too long.
pub(crate) fn shut_down(client: &Client) {
    if !client.shutdown() {
        eprintln!(
            "peerchat: the node did not stop in time; messages are safe, its contacts may be a little old"
        );
    }
}

/// Turns the events that a person at the terminal must act on into a line; the others give `None`.
pub(crate) fn warning(event: &Event) -> Option<String> {
    match event {
        Event::BootstrapFailed { address, detail, .. } => {
            Some(format!("cannot join through {address}: {detail}"))
        }
        Event::RegistrationFailed { name, detail, .. } => Some(format!("cannot register {name}: {detail}")),
        Event::IdentityChanged { name, old, new } => Some(identity_changed(name, old, new)),
        _ => None,
    }
}

/// Says that a name belongs to somebody else now, and what that means.
pub(crate) fn identity_changed(name: &UserName, old: &UserId, new: &UserId) -> String {
    let [old, new] = [old, new].map(UserId::fingerprint);
    format!(
        "{name} is somebody else now: {name}#{new}, not {name}#{old} whom you know. What you write still goes to \
         {name}#{old}. Ask them by another way; if it is them, accept {name}#{new}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_follows_the_xdg_specification() {
        let dir = |xdg: Option<&str>, home: Option<&str>| {
            default_data_dir(xdg.map(Into::into), home.map(Into::into))
        };
        assert_eq!(dir(Some("/x"), Some("/h")), Some("/x/peerchat".into()));
        assert_eq!(dir(None, Some("/h")), Some("/h/.local/share/peerchat".into()));
        assert_eq!(dir(Some("relative"), Some("/h")), Some("/h/.local/share/peerchat".into()));
        assert_eq!(dir(Some(""), Some("/h")), Some("/h/.local/share/peerchat".into()));
        assert_eq!(dir(None, None), None);
    }
}
