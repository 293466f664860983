//! A client in a process of its own, and the [`Process`] that its parent holds. They talk in lines.
//!
//! To the child: `send <to> <text>`, `outbox`. From it: `ready <address>`, `accepted <id> <text>`, `state <id> <state>`,
//! `shown <id> <text>`, `outbox <count>`, `failed <why>`. A line is one write, so a kill leaves it whole or not at all. The child ends when
//! its input does, so none outlives its parent.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use peerchat_core::{Client, Config, Error, Event};

use crate::Failure;

/// How a client in a process of its own is started.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The program that calls [`run`] if its first argument is `child`.
    pub program: PathBuf,
    /// Where its profile is.
    pub directory: PathBuf,
    /// Its user; a node without one if `None`.
    pub user: Option<String>,
    /// Its address.
    pub host: Ipv4Addr,
    /// Its port; 0 for any. If it is taken, any other will do.
    pub port: u16,
    /// Where it joins: addresses of others.
    pub seeds: Vec<String>,
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// `None` once it was told to end.
    input: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a child; its lines come through `lines`, with `number` before them.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn start(spec: &Spec, number: usize, lines: &Sender<(usize, String)>) -> Result<Self, Failure> {
        let mut command = Command::new(&spec.program);
        command.arg("child").arg(&spec.directory).arg(spec.user.as_deref().unwrap_or("-"));
        command.arg(SocketAddrV4::new(spec.host, spec.port).to_string()).args(&spec.seeds);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.ok_or("the child has no output")?);
        let lines = lines.clone();
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Without a parent that listens nobody needs the rest.
                let _ = lines.send((number, line));
            }
        });
        Ok(Self { child, input, reader: Some(reader) })
    }

    /// Gives the child a line. It may be dead already; then the line is lost.
    pub fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Kills the child at once, as `kill -9` does. What it had said is in the channel when this returns.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        self.join_reader();
        Ok(())
    }

    /// Lets the child end in an orderly way, and waits until it has.
    ///
    /// # Errors
    ///
    /// It ended with a failure.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.input = None;
        let status = self.child.wait()?;
        self.join_reader();
        if status.success() { Ok(()) } else { Err(format!("a child ended with {status}").into()) }
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the child: its arguments are directory, user or `-`, address with port, and where to join.
///
/// # Errors
///
/// The profile does not open.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let [directory, user, address, seeds @ ..] = arguments else {
        return Err("a child needs a directory, a user and an address".into());
    };
    let client = open(Path::new(directory), user, address.parse()?)?;
    say(&format!("ready {}", client.local_address()));
    for seed in seeds {
        client.bootstrap(seed)?;
    }
    let listening = thread::spawn({
        let client = client.clone();
        move || obey(&client)
    });
    loop {
        match client.poll(Duration::from_secs(60)) {
            Ok(Some(Event::Message(message))) => say(&format!("shown {} {}", message.id, message.text)),
            Ok(Some(Event::MessageState { id, state, .. })) => {
                say(&format!("state {id} {}", format!("{state:?}").to_lowercase()));
            }
            Ok(Some(Event::Closed { detail, .. })) => say(&format!("failed {detail}")),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let _ = listening.join();
    Ok(())
}

fn open(directory: &Path, user: &str, address: SocketAddrV4) -> Result<Client, Failure> {
    let config = |port| -> Result<Config, Failure> {
        let builder = Config::builder(directory).bind(SocketAddrV4::new(*address.ip(), port).into());
        let builder = if user == "-" { builder } else { builder.user(user)? };
        Ok(builder.build()?)
    };
    match Client::open(config(address.port())?) {
        Err(Error::AddressInUse { .. }) => Ok(Client::open(config(0)?)?),
        opened => Ok(opened?),
    }
}

/// Does what the parent says until it says no more.
fn obey(client: &Client) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let done = match line.split_once(' ') {
            Some(("send", rest)) => send(client, rest),
            _ => client.statistics().map(|counts| say(&format!("outbox {}", counts.outbox_count))),
        };
        if let Err(error) = done {
            say(&format!("failed {error}"));
        }
    }
    client.shutdown();
}

fn send(client: &Client, rest: &str) -> Result<(), Error> {
    let (to, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let id = client.send_blocking(to, text)?;
    say(&format!("accepted {id} {text}"));
    Ok(())
}

/// Writes a line with one call, so that a kill does not cut it.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // Without a parent there is nobody to tell.
    let _ = output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
}
