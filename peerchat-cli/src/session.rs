//! What every command does before its own work: find the profile, open the client, stop on a signal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerchat_core::{Client, Config, Event, Passphrase, UserId, UserName};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::args::{PassphraseArgs, ProfileArgs};
use crate::fault::Fault;

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
    let mut config = Config::builder(data_dir(profile.data.as_deref())?).user(name.as_str())?;
    if let Some(port) = profile.port {
        config = config.port(port);
    }
    if let Some(passphrase) = passphrase(profile.passphrase_file.as_deref())? {
        config = config.passphrase(passphrase);
    }
    let client = Client::open(config.build()?)?;
    if let Some(address) = &profile.bootstrap {
        client.bootstrap(&address.to_string())?;
    }
    Ok(client)
}

/// Reads a passphrase, which is never an argument: arguments can be seen by everybody on the machine.
pub(crate) fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, Fault> {
    let Some(path) = file else { return Ok(None) };
    let refused = |error: std::io::Error| {
        Fault::new(
            format!("cannot read {}: {error}", path.display()),
            "name a file whose first line is the passphrase",
        )
    };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(refused)?);
    Ok(Some(Passphrase::new(text.lines().next().unwrap_or_default())?))
}

/// Sets, changes or removes the passphrase of a profile.
pub(crate) fn change_passphrase(args: &PassphraseArgs) -> Result<(), Fault> {
    let data_dir = data_dir(args.data.as_deref())?;
    let [old, new] =
        [&args.passphrase_file, &args.new_passphrase_file].map(|file| passphrase(file.as_deref()));
    Client::change_passphrase(&data_dir, Some(&args.name), old?.as_ref(), new?.as_ref())?;
    Ok(())
}

/// Closes the client on SIGINT or SIGTERM, which ends the wait of whoever polls it.
pub(crate) fn close_on_signal(client: &Client) -> Result<(), Fault> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(no_signals)?;
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
    fn a_passphrase_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for text in ["open sesame", "open sesame\n", "open sesame\r\nand more\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(passphrase(Some(&path)).unwrap(), Some(Passphrase::new("open sesame").unwrap()));
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(passphrase(Some(&path)).is_err());
        assert!(passphrase(Some(&dir.path().join("none"))).is_err());
        assert_eq!(passphrase(None).unwrap(), None);
    }

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
