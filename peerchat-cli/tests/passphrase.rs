//! A profile with a passphrase, as scripts and people at a terminal open it.
#![cfg(unix)]

use std::fs;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

const RIGHT: &str = "open sesame";
const WRONG: &str = "open sesam";

/// Longer than anything here takes, if it works: whoever waits in vain says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options that name a profile.
fn alice(data: &Path) -> [&str; 4] {
    ["--data", data.to_str().unwrap(), "--name", "alice"]
}

fn command(words: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerchat"));
    command.args(words).args(alice(data)).env_remove("PEERCHAT_LOG").env_remove("PEERCHAT_PASSPHRASE");
    command
}

/// Waits for the end of a program, which is killed if that does not come.
fn finish(child: Child) -> Output {
    let pid = child.id();
    let (ended, end) = channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    end.recv_timeout(PATIENCE).map(Result::unwrap).unwrap_or_else(|_| {
        send("-KILL", pid);
        panic!("process {pid} has not ended after {PATIENCE:?}");
    })
}

/// Sends a signal to a process of this test.
fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Runs a command without a terminal to its end.
fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

/// Runs a command without a terminal and returns its exit code and what it says on stderr.
fn run(command: &mut Command) -> (i32, String) {
    let output = output(command);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Reads what comes, on a thread of its own, so that whoever waits for it can give up.
struct Reader(Receiver<u8>);

impl Reader {
    fn new(mut source: impl Read + Send + 'static) -> Self {
        let (sender, bytes) = channel();
        thread::spawn(move || {
            let mut byte = [0];
            while source.read_exact(&mut byte).is_ok() && sender.send(byte[0]).is_ok() {}
        });
        Self(bytes)
    }

    /// Returns the next character; `None` at the end.
    fn next(&self, so_far: &str) -> Option<char> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(byte) => Some(char::from(byte)),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing for {PATIENCE:?} after: {so_far}"),
        }
    }

    /// Reads until this much has come.
    fn read_until(&self, is_enough: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        while !is_enough(&text) {
            text.push(self.next(&text).unwrap_or_else(|| panic!("ended after: {text}")));
        }
        text
    }

    fn read_to_end(&self) -> String {
        let mut text = String::new();
        while let Some(character) = self.next(&text) {
            text.push(character);
        }
        text
    }
}

fn file(data: &Path, text: &str) -> String {
    let path = data.with_extension(text.len().to_string());
    fs::write(&path, format!("{text}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Makes a profile whose passphrase is [`RIGHT`].
fn protected(data: &Path) {
    let made = run(command(&["contacts", "--passphrase-file", &file(data, RIGHT)], data)
        .env("PEERCHAT_PASSPHRASE", WRONG));
    assert_eq!(made, (0, String::new()), "the file comes before the environment");
}

/// A terminal with nobody at it but the test.
struct Terminal {
    controller: OwnedFd,
    user: OwnedFd,
    shown: Reader,
}

impl Terminal {
    fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let user = ioctl_tiocgptpeer(&controller, flags).unwrap();
        let shown = Reader::new(fs::File::from(controller.try_clone().unwrap()));
        Self { controller, user, shown }
    }

    /// Starts a command that reads this terminal.
    fn start(&self, mut command: Command) -> AtTerminal {
        let stdin = self.user.try_clone().unwrap();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = Reader::new(child.stderr.take().unwrap());
        AtTerminal { child: Some(child), stderr }
    }

    fn type_line(&self, line: &str) {
        let mut controller = fs::File::from(self.controller.try_clone().unwrap());
        controller.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn shows_what_is_typed(&self) -> bool {
        tcgetattr(self.user.as_fd()).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Returns what the terminal has shown up to the end of this many lines.
    fn shown(&self, line_count: usize) -> String {
        self.shown.read_until(|shown| shown.matches('\n').count() == line_count)
    }
}

/// A command that somebody at a terminal has started; it is killed if the test ends first.
struct AtTerminal {
    child: Option<Child>,
    stderr: Reader,
}

impl AtTerminal {
    /// Waits until the command has asked for something.
    fn wait_for(&self, prompt: &str) {
        self.stderr.read_until(|said| said.ends_with(prompt));
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn stdout(&mut self) -> Reader {
        Reader::new(self.child.as_mut().unwrap().stdout.take().unwrap())
    }

    fn status(&mut self) -> ExitStatus {
        finish(self.child.take().unwrap()).status
    }

    /// Waits for the end; returns the exit code and what the command said after its last question.
    fn end(mut self) -> (i32, String) {
        let rest = self.stderr.read_to_end();
        (self.status().code().unwrap(), rest)
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn scripts_give_a_passphrase_in_a_file_or_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    protected(&data);

    let (code, said) = run(&mut command(&["contacts"], &data));
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("the profile has a passphrase") && said.contains("PEERCHAT_PASSPHRASE"), "{said}");
    let (code, said) = run(command(&["contacts"], &data).env("PEERCHAT_PASSPHRASE", WRONG));
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("this is not its passphrase; nothing was changed"), "{said}");
    assert_eq!(run(command(&["contacts"], &data).env("PEERCHAT_PASSPHRASE", RIGHT)), (0, String::new()));

    let removal = ["passphrase", "--remove", "--passphrase-file", &file(&data, RIGHT)];
    assert_eq!(run(&mut command(&removal, &data)), (0, String::new()));
    assert_eq!(run(&mut command(&["contacts"], &data)), (0, String::new()));
    let (code, said) = run(command(&["contacts"], &data).env("PEERCHAT_PASSPHRASE", RIGHT));
    assert_eq!(code, 4, "{said}");
}

#[test]
fn a_node_has_one_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let secret = file(&data, RIGHT);
    let mut node = Command::new(env!("CARGO_BIN_EXE_peerchat"));
    node.args(["node", "--bind", "127.0.0.1:0", "--data"]).arg(&data);
    node.env_remove("PEERCHAT_LOG").env_remove("PEERCHAT_PASSPHRASE");
    let mut running = Command::new(node.get_program())
        .args(node.get_args())
        .args(["--passphrase-file", &secret])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Reader::new(running.stdout.take().unwrap()).read_until(|said| said.ends_with('\n'));
    send("-TERM", running.id());
    assert_eq!(finish(running).status.code(), Some(0));

    let (code, said) = run(&mut node);
    assert_eq!(code, 4, "{said}");
}

#[test]
fn a_passphrase_is_never_asked_for_without_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for words in [&["contacts", "--new-passphrase"][..], &["passphrase", "--new-passphrase"]] {
        let (code, said) = run(&mut command(words, &data));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("there is no terminal to ask for a passphrase at"), "{said}");
    }
    assert!(!data.exists());
    assert_eq!(run(&mut command(&["passphrase"], &data)).0, 2, "nothing is removed by leaving words out");
}

#[test]
fn who_sits_at_a_terminal_is_asked_and_nothing_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let terminal = Terminal::new();
    assert!(terminal.shows_what_is_typed());

    let made = terminal.start(command(&["contacts", "--new-passphrase"], &data));
    made.wait_for("New passphrase: ");
    assert!(!terminal.shows_what_is_typed());
    terminal.type_line(RIGHT);
    made.wait_for("Once more: ");
    terminal.type_line(RIGHT);
    assert_eq!(made.end(), (0, String::new()));

    for (typed, code) in [(WRONG, 4), (RIGHT, 0)] {
        let asked = terminal.start(command(&["contacts"], &data));
        asked.wait_for("Passphrase: ");
        terminal.type_line(typed);
        let (ended, said) = asked.end();
        assert_eq!(ended, code, "{said}");
        assert!(terminal.shows_what_is_typed());
    }
    assert_eq!(terminal.shown(4), "\r\n".repeat(4), "only the ends of the lines");
}

#[test]
fn two_that_differ_make_no_profile() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let terminal = Terminal::new();
    let made = terminal.start(command(&["contacts", "--new-passphrase"], &data));
    for (prompt, typed) in [("New passphrase: ", RIGHT), ("Once more: ", WRONG)] {
        made.wait_for(prompt);
        terminal.type_line(typed);
    }
    let (code, said) = made.end();
    assert_eq!(
        (code, said.as_str()),
        (1, "peerchat: the two passphrases differ; nothing was changed, try again\n")
    );
    assert!(!data.exists());
}

#[test]
fn a_signal_while_asking_leaves_the_terminal_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    protected(&data);
    let terminal = Terminal::new();
    for signal in ["-INT", "-TERM", "-HUP", "-QUIT"] {
        let asked = terminal.start(command(&["contacts"], &data));
        asked.wait_for("Passphrase: ");
        assert!(!terminal.shows_what_is_typed());
        send(signal, asked.pid());
        assert_eq!(asked.end(), (130, "\n".to_owned()));
        assert!(terminal.shows_what_is_typed());
    }
}

/// Whoever has listened for a signal must give it back: closing the terminal would else leave the program behind.
#[test]
fn a_signal_after_the_passphrase_ends_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    protected(&data);
    let terminal = Terminal::new();
    for (signal, ends_by, code) in [("-HUP", Some(1), None), ("-TERM", None, Some(0))] {
        let mut listening = terminal.start(command(&["listen"], &data));
        listening.wait_for("Passphrase: ");
        terminal.type_line(RIGHT);
        let stdout = listening.stdout();
        let line = stdout.read_until(|said| said.ends_with('\n'));
        assert!(line.contains("listening"), "{line}");
        send(signal, listening.pid());
        let status = listening.status();
        assert_eq!((status.signal(), status.code()), (ends_by, code), "{signal}");
    }
}

#[test]
fn a_profile_moves_by_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
    let secret = file(&here, RIGHT);
    let archive = dir.path().join("alice.peerchat");
    let export =
        |data: &Path| run(command(&["export", "--archive-passphrase-file", &secret], data).arg(&archive));
    let (code, said) = export(&here);
    assert!(code == 1 && said.contains("there is no profile of alice"), "{said}");
    assert!(!here.exists(), "nothing is made of a name that is not here");
    assert_eq!(run(&mut command(&["add", "bob"], &here)).0, 0);
    let (code, said) = export(&here);
    assert!(code == 0 && said.contains("do not use this profile any more"), "{said}");
    let (code, said) = export(&here);
    assert!(code == 1 && said.contains("there is a file of this name"), "{said}");

    let import = |passphrase: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerchat"));
        command.args(["import", "--data", there.to_str().unwrap()]).arg(&archive);
        run(command.env("PEERCHAT_ARCHIVE_PASSPHRASE", passphrase).env_remove("PEERCHAT_PASSPHRASE"))
    };
    assert_eq!(import(WRONG).0, 4);
    assert_eq!(import(RIGHT), (0, String::new()));
    assert_eq!(import(RIGHT).0, 1, "there is one by now");
    let contacts = output(&mut command(&["contacts"], &there));
    assert!(String::from_utf8(contacts.stdout).unwrap().contains("bob"));
    assert_eq!(run(&mut command(&["search", "hello"], &there)), (0, String::new()));
    assert_eq!(run(&mut command(&["search", "hello"], &dir.path().join("nowhere"))).0, 1);
}

#[test]
fn a_chat_asks_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    protected(&data);
    let terminal = Terminal::new();
    let chat = terminal.start(command(&["chat"], &data));
    chat.wait_for("Passphrase: ");
    assert!(!terminal.shows_what_is_typed());
    terminal.type_line(RIGHT);
    terminal.type_line("/quit");
    assert_eq!(chat.end(), (0, String::new()));
    assert!(terminal.shows_what_is_typed());
}
