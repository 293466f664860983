//! Where a passphrase comes from: a file, the environment, or whoever sits at the terminal. Never an argument: arguments
//! can be seen by everybody on the machine.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use peerchat_core::{Client, ConfigBuilder, Error, Passphrase};
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use zeroize::{Zeroize as _, Zeroizing};

use crate::fault::{EXIT_INTERRUPTED, Fault};
use crate::session;

/// Environment variable with the passphrase of the profile, for scripts; a file that is named comes before it.
const VARIABLE: &str = "PEERCHAT_PASSPHRASE";

/// Longest line that is read as a passphrase in bytes; what is longer is refused by its length.
const MAX_LINE_LEN: usize = 4096;

const ADVICE: &str = "name a file with --passphrase-file, or set PEERCHAT_PASSPHRASE";

/// Asks whoever sits at the terminal; the words end where the answer begins.
pub(crate) type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<Zeroizing<String>, Fault>;

/// What the command line says about the passphrase.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PassphraseSource {
    /// The first line of this file is the profile's passphrase, or becomes it if the profile is new [default: what
    /// PEERCHAT_PASSPHRASE says, else it is asked for at the terminal if the profile has one].
    #[arg(long, value_name = "PATH")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Ask at the terminal, twice, for the passphrase that a new profile gets.
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) new_passphrase: bool,
}

impl PassphraseSource {
    /// Opens a profile with the passphrase that was given. If it has one and none was given, asks for it.
    pub(crate) fn open(&self, config: ConfigBuilder, ask: Ask<'_>) -> Result<Client, Fault> {
        if self.new_passphrase {
            return Ok(Client::open(config.passphrase(choose(ask)?).build()?)?);
        }
        if let Some(passphrase) = given(self.passphrase_file.as_deref())? {
            return Ok(Client::open(config.passphrase(passphrase).build()?)?);
        }
        match Client::open(config.clone().build()?) {
            Err(Error::WrongPassphrase { .. }) if io::stdin().is_terminal() => {
                let passphrase = Passphrase::new(&ask("Passphrase: ")?)?;
                Ok(Client::open(config.passphrase(passphrase).build()?)?)
            }
            opened => Ok(opened?),
        }
    }
}

/// Returns the passphrase in a file or in the environment, `None` if neither is there.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<Passphrase>, Fault> {
    match file {
        Some(path) => from_file(path).map(Some),
        None => std::env::var_os(VARIABLE).map(from_variable).transpose(),
    }
}

/// Returns the first line of a file.
pub(crate) fn from_file(path: &Path) -> Result<Passphrase, Fault> {
    let refused = |error: io::Error| {
        Fault::new(
            format!("cannot read {}: {error}", path.display()),
            "name a file whose first line is the passphrase",
        )
    };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(refused)?);
    Ok(Passphrase::new(text.lines().next().unwrap_or_default())?)
}

fn from_variable(value: OsString) -> Result<Passphrase, Fault> {
    let text = Zeroizing::new(value.into_encoded_bytes());
    let text =
        std::str::from_utf8(&text).map_err(|_| Fault::new(format!("{VARIABLE} is not UTF-8"), ADVICE))?;
    Ok(Passphrase::new(text)?)
}

/// Asks for a new passphrase, twice.
pub(crate) fn choose(ask: Ask<'_>) -> Result<Passphrase, Fault> {
    let [first, again] = [ask("New passphrase: ")?, ask("Once more: ")?];
    if first != again {
        return Err(Fault::new("the two passphrases differ", "nothing was changed, try again"));
    }
    Ok(Passphrase::new(&first)?)
}

/// Asks for a line that is not shown.
pub(crate) fn ask_terminal(prompt: &str) -> Result<Zeroizing<String>, Fault> {
    if !io::stdin().is_terminal() {
        return Err(Fault::new("there is no terminal to ask for a passphrase at", ADVICE));
    }
    // First of all, or a signal would leave the terminal silent.
    let watcher = Watcher::start(tcgetattr(stdin()).map_err(|error| no_terminal(error.into()))?)?;
    let hidden = Hidden::start()?;
    write_prompt(prompt)?;
    let line = read_line();
    drop(hidden);
    watcher.stop();
    line
}

pub(crate) fn write_prompt(prompt: &str) -> Result<(), Fault> {
    let mut out = io::stderr();
    out.write_all(prompt.as_bytes())?;
    Ok(out.flush()?)
}

/// Reads a line of the standard input, byte by byte so that no buffer keeps a copy.
fn read_line() -> Result<Zeroizing<String>, Fault> {
    // Of its full length from the start: what grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE_LEN));
    let mut byte = [0];
    loop {
        match rustix::io::read(stdin(), &mut byte) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(no_terminal(error.into())),
            Ok(0) if line.is_empty() => return Err(Fault::new("no passphrase was given", ADVICE)),
            Ok(1) if byte != *b"\n" => {
                if line.len() == MAX_LINE_LEN {
                    return Err(Fault::new("the passphrase is too long", "choose a shorter one"));
                }
                line.push(byte[0]);
            }
            Ok(_) => break,
        }
    }
    byte.zeroize();
    let text =
        std::str::from_utf8(&line).map_err(|_| Fault::new("the passphrase is not UTF-8", "type it anew"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The terminal does not show what is typed, until this is dropped.
pub(crate) struct Hidden {
    before: Termios,
}

impl Hidden {
    /// # Errors
    ///
    /// The standard input is no terminal.
    pub(crate) fn start() -> Result<Self, Fault> {
        let before = tcgetattr(stdin()).map_err(|error| no_terminal(error.into()))?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(stdin(), OptionalActions::Flush, &hidden).map_err(|error| no_terminal(error.into()))?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        show(&self.before);
    }
}

/// Lets the terminal be as it was. If that fails it has gone, and there is nobody to tell.
fn show(before: &Termios) {
    let _ = tcsetattr(stdin(), OptionalActions::Now, before);
}

/// The signals that end a program.
pub(crate) const ENDING_SIGNALS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Whether a signal ends the program by itself, which it does not do any more once somebody has listened for it.
struct Endings {
    /// SIGINT and SIGTERM, which close the client once there is one.
    closing: Arc<AtomicBool>,
    others: Arc<AtomicBool>,
}

/// Those of this process, once somebody was asked.
static ENDINGS: OnceLock<Endings> = OnceLock::new();

impl Endings {
    fn of_process() -> io::Result<&'static Self> {
        if let Some(endings) = ENDINGS.get() {
            return Ok(endings);
        }
        let [closing, others] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        for signal in ENDING_SIGNALS {
            let ends = if matches!(signal, SIGINT | SIGTERM) { &closing } else { &others };
            signal_hook::flag::register_conditional_default(signal, Arc::clone(ends))?;
        }
        Ok(ENDINGS.get_or_init(|| Self { closing, others }))
    }

    fn set(&self, ends: bool) {
        self.closing.store(ends, Ordering::SeqCst);
        self.others.store(ends, Ordering::SeqCst);
    }
}

/// Leaves SIGINT and SIGTERM to somebody who closes a client.
pub(crate) fn leave_closing_signals() {
    if let Some(endings) = ENDINGS.get() {
        endings.closing.store(false, Ordering::SeqCst);
    }
}

/// Ends the program on a signal, with the terminal as it was.
struct Watcher {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Watcher {
    fn start(before: Termios) -> Result<Self, Fault> {
        Endings::of_process().map_err(session::no_signals)?.set(false);
        let mut signals = Signals::new(ENDING_SIGNALS).map_err(session::no_signals)?;
        let handle = signals.handle();
        let thread = thread::spawn(move || {
            if signals.forever().next().is_some() {
                show(&before);
                eprintln!();
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
        });
        Ok(Self { handle, thread })
    }

    fn stop(self) {
        self.handle.close();
        // Had it panicked, no signal would have come.
        let _ = self.thread.join();
        if let Some(endings) = ENDINGS.get() {
            endings.set(true);
        }
    }
}

fn no_terminal(error: io::Error) -> Fault {
    Fault::new(format!("cannot ask at the terminal: {error}"), ADVICE)
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
            assert_eq!(given(Some(&path)).unwrap(), Some(Passphrase::new("open sesame").unwrap()));
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(given(Some(&path)).is_err());
        assert!(given(Some(&dir.path().join("none"))).is_err());
    }

    #[test]
    fn a_new_passphrase_is_typed_alike_twice() {
        let choose_of = |answers: [&'static str; 2]| {
            let mut answers = answers.into_iter();
            choose(&mut |_| Ok(Zeroizing::new(answers.next().unwrap().to_owned())))
        };
        assert_eq!(choose_of(["open sesame"; 2]), Ok(Passphrase::new("open sesame").unwrap()));
        let fault = choose_of(["open sesame", "open sesam"]).unwrap_err();
        assert_eq!(fault.to_string(), "the two passphrases differ; nothing was changed, try again");
        assert!(choose_of(["", ""]).is_err());
    }
}
