//! A chat of two people: `chat <data-dir> <name> <peer> [bootstrap host:port]`.
//!
//! Each line of the standard input is sent to the peer; what arrives is printed as `peer: text`. When the input
//! ends, the program ends as soon as everything it sent is delivered or given up.
#![expect(clippy::print_stdout, reason = "printing is what this program does")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::BufRead as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use peerchat_core::{Client, Config, Event, MessageId, MessageState};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (data_dir, name, peer, bootstrap) = match args.as_slice() {
        [data_dir, name, peer] => (data_dir, name, peer, None),
        [data_dir, name, peer, bootstrap] => (data_dir, name, peer, Some(bootstrap.as_str())),
        _ => {
            eprintln!("usage: chat <data-dir> <name> <peer> [bootstrap host:port]");
            return ExitCode::from(2);
        }
    };
    match chat(data_dir, name, peer, bootstrap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chat(data_dir: &str, name: &str, peer: &str, bootstrap: Option<&str>) -> Result<(), Box<dyn Error>> {
    // A name that this directory knows is logged in; any other is registered.
    let client = Client::open(Config::builder(data_dir).user(name)?.build()?)?;
    if let Some(address) = bootstrap {
        client.bootstrap(address)?;
    }
    let unfinished = Arc::new(Mutex::new(Unfinished::default()));
    thread::spawn({
        let (client, peer, unfinished) = (client.clone(), peer.to_owned(), unfinished.clone());
        move || send_lines(&client, &peer, &unfinished)
    });
    // Ends when nothing is left to wait for: the client is closed then, and every later call returns an error.
    while let Ok(event) = client.poll(Duration::from_secs(60)) {
        match event {
            Some(Event::Message(message)) => println!("{}: {}", message.from, message.text),
            Some(Event::MessageState { state: MessageState::Queued | MessageState::Stored, .. }) | None => {}
            Some(Event::MessageState { id, state, detail, .. }) => {
                if !matches!(state, MessageState::Delivered | MessageState::Read) {
                    eprintln!("* not delivered: {detail}");
                }
                update(&client, &unfinished, |unfinished| _ = unfinished.messages.remove(&id));
            }
            Some(Event::Registered { name, .. }) => eprintln!("* {name} is registered"),
            Some(Event::BootstrapFailed { detail, .. } | Event::RegistrationFailed { detail, .. }) => {
                eprintln!("* {detail}");
            }
            Some(_) => {}
        }
    }
    client.shutdown();
    Ok(())
}

fn send_lines(client: &Client, peer: &str, unfinished: &Mutex<Unfinished>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok).filter(|line| !line.is_empty()) {
        // The id is noted before anyone can look for it, however soon the message is delivered.
        update(client, unfinished, |unfinished| match client.send_blocking(peer, &line) {
            Ok(id) => _ = unfinished.messages.insert(id),
            Err(error) => eprintln!("* not sent: {error}"),
        });
    }
    update(client, unfinished, |unfinished| unfinished.has_input_ended = true);
}

/// What must be over before the program may end.
#[derive(Default)]
struct Unfinished {
    has_input_ended: bool,
    /// Sent since the start, neither delivered nor given up.
    messages: BTreeSet<MessageId>,
}

/// Changes what is unfinished, and closes the client when nothing is.
fn update(client: &Client, unfinished: &Mutex<Unfinished>, change: impl FnOnce(&mut Unfinished)) {
    let mut unfinished = unfinished.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut unfinished);
    if unfinished.has_input_ended && unfinished.messages.is_empty() {
        client.close();
    }
}
