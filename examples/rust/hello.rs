//! Two people in one process meet on the loopback: the program of docs/getting-started-rust.md.
#![expect(clippy::print_stdout, reason = "printing is what this program does")]

use std::time::Duration;

use peerchat_core::{Client, Config, Error, ErrorCode, Event};

fn open(name: &str) -> Result<Client, Error> {
    Client::open(Config::in_memory().user(name)?.bind(([127, 0, 0, 1], 0).into()).build()?)
}

/// Takes events until `pick` finds something in one.
fn wait_for<T>(client: &Client, pick: impl Fn(Event) -> Option<T>) -> Result<T, Error> {
    loop {
        if let Some(found) = client.poll(Duration::from_secs(60))?.and_then(&pick) {
            return Ok(found);
        }
    }
}

fn main() -> Result<(), Error> {
    let (alice, bob) = (open("alice")?, open("bob")?);
    bob.bootstrap(&alice.local_address().to_string())?;
    for client in [&alice, &bob] {
        wait_for(client, |event| matches!(event, Event::Registered { .. }).then_some(()))?;
    }

    alice.send_blocking("bob", "hello, bob")?;
    let message = wait_for(&bob, |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    })?;
    println!("{}: {}", message.from, message.text);

    let (to, state) = wait_for(&alice, |event| match event {
        Event::MessageState { to, state, .. } => Some((to, state)),
        _ => None,
    })?;
    println!("to {to}: {}", format!("{state:?}").to_lowercase());

    if let Err(error) = alice.send_blocking("bob", "") {
        assert_eq!(error.code(), ErrorCode::EmptyText);
        println!("not sent: EMPTY_TEXT");
    }

    bob.shutdown();
    alice.shutdown();
    Ok(())
}
