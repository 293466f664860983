//! The chat as somebody at a terminal sees it, and somebody else sees them.
#![cfg(unix)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command};
use std::time::Duration;

use peerchat_core::{Client, Config, Event, Verb};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// How long the test waits for an event before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for an event that `pick` picks.
fn expect<T>(client: &Client, pick: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        let event = client.poll(PATIENCE).unwrap().expect("an event in time");
        if let Some(picked) = pick(&event) {
            return picked;
        }
    }
}

fn typing(client: &Client) -> bool {
    expect(client, |event| if let Event::Typing { is_typing, .. } = event { Some(*is_typing) } else { None })
}

fn message(client: &Client) -> String {
    expect(client, |event| match event {
        Event::Message(message) => Some(message.text.clone()),
        _ => None,
    })
}

/// A chat at a terminal of its own; it is killed if the test ends first.
struct Chat {
    child: Child,
    terminal: File,
    /// Keeps the terminal open, so that its modes can be read after the chat.
    user: OwnedFd,
    shown: String,
}

impl Chat {
    fn start(words: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let user = ioctl_tiocgptpeer(&controller, flags).unwrap();
        let copy = || user.try_clone().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerchat"));
        command.args(words).env_remove("PEERCHAT_LOG").env_remove("PEERCHAT_PASSPHRASE");
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        Self { child, terminal: File::from(controller), user, shown: String::new() }
    }

    fn type_keys(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows something that was not shown at the last wait.
    fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 256];
        while !self.shown.contains(text) {
            let count = self.terminal.read(&mut bytes).unwrap();
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        self.shown.clear();
    }

    fn edits_lines(&self) -> bool {
        let modes = tcgetattr(self.user.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_being_typed_in_the_chat_is_seen_and_the_terminal_is_as_before_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::in_memory().bind("127.0.0.1:0".parse().unwrap()).user("alice").unwrap();
    let alice = Client::open(config.build().unwrap()).unwrap();
    let address = alice.local_address().to_string();
    let mut chat = Chat::start(&[
        "chat",
        "--data",
        dir.path().to_str().unwrap(),
        "--name",
        "bob",
        "--bootstrap",
        &address,
    ]);
    chat.wait_for("bob is registered");
    chat.type_keys("@alice helo\x7flo\n");
    chat.wait_for("* delivered to alice");
    assert_eq!(message(&alice), "hello", "a key erases what was typed");
    alice.relate_blocking("bob", Verb::Accept).unwrap();

    chat.type_keys("wor");
    assert!(typing(&alice), "before the line is done");
    chat.wait_for("wor");
    alice.send_blocking("bob", "I see").unwrap();
    chat.wait_for("alice: I see");
    alice.set_typing_blocking("bob", true).unwrap();
    chat.wait_for("* alice is typing...");
    chat.type_keys("ld\n");
    assert!(!typing(&alice));
    assert_eq!(message(&alice), "world");

    // A line that is erased was for nobody after all, and a command is for nobody.
    chat.type_keys("no\x15/quit");
    chat.wait_for("/quit");
    assert!(!chat.edits_lines(), "the chat does that");
    chat.type_keys("\n");
    assert!(chat.child.wait().unwrap().success());
    assert!(chat.edits_lines(), "the terminal is as it was");
}
