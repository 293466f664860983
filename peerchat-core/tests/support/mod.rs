//! What tests with real clients share: opening one, and waiting for its events.

use std::path::Path;
use std::time::Duration;

use peerchat_core::{Client, Config, Event, ReceivedMessage};

/// How long a test waits for an event before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn open(directory: &Path, name: &str) -> Client {
    let config = Config::builder(directory).bind("127.0.0.1:0".parse().unwrap()).user(name).unwrap();
    Client::open(config.build().unwrap()).unwrap()
}

/// Shuts a client down, however long the disk takes.
pub(crate) fn shut_down(client: &Client) {
    assert!((0..40).any(|_| client.shutdown()), "not shut down within a minute");
}

/// Waits for an event that `pick` picks; others are passed over.
pub(crate) fn expect<T>(client: &Client, pick: impl Fn(&Event) -> Option<T>) -> T {
    loop {
        let event = client.poll(PATIENCE).unwrap().expect("an event in time");
        if let Some(picked) = pick(&event) {
            return picked;
        }
    }
}

pub(crate) fn message(client: &Client) -> ReceivedMessage {
    expect(client, |event| if let Event::Message(message) = event { Some(message.clone()) } else { None })
}
