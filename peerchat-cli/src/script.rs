//! `peerchat send` and `peerchat listen`: one command for each half of a conversation, for scripts.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Error, Event, MessageId, MessageState};

use crate::args::{ListenArgs, SendArgs};
use crate::fault::Fault;
use crate::json::JsonLine;
use crate::session;

/// The text that stands for the lines of the standard input.
const FROM_STDIN: &str = "-";

/// How long the end of `listen` waits for receipts to go out, and how often it looks.
const RECEIPTS_GRACE: Duration = Duration::from_secs(2);
const RECEIPTS_PAUSE: Duration = Duration::from_millis(10);

/// Saves the messages, then waits until each is delivered or given up, or time is over.
pub(crate) fn send(args: &SendArgs) -> Result<(), Fault> {
    let data_dir = session::data_dir(args.profile.data.as_deref())?;
    if args.profile.bootstrap.is_none() && !Client::profile_exists(&data_dir, &args.name) {
        return Err(Fault::new(
            format!("{} is new here and knows no other node", args.name),
            "join a network with --bootstrap ADDR",
        ));
    }
    let client = session::open(&args.name, &args.profile)?;
    session::close_on_signal(&client)?;
    let outcome = queue(&client, args).and_then(|unfinished| wait(&client, unfinished, args.timeout));
    session::shut_down(&client);
    outcome
}

/// Saves what the command line or the standard input says.
fn queue(client: &Client, args: &SendArgs) -> Result<BTreeSet<MessageId>, Fault> {
    let send = |text: &str| client.send_blocking(&args.to, text).map_err(Fault::from);
    if args.text != [FROM_STDIN] {
        return Ok([send(&args.text.join(" "))?].into());
    }
    let mut unfinished = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| {
            Fault::new(format!("cannot read the standard input: {error}"), "send lines of UTF-8 text")
        })?;
        if !line.is_empty() {
            unfinished.insert(send(&line)?);
        }
    }
    Ok(unfinished)
}

fn wait(client: &Client, mut unfinished: BTreeSet<MessageId>, timeout_seconds: u64) -> Result<(), Fault> {
    let deadline = Instant::now() + Duration::from_secs(timeout_seconds);
    let mut outcome = Ok(());
    while !unfinished.is_empty() {
        match client.poll(deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(event)) => {
                if let Err(fault) = follow(&event, &mut unfinished) {
                    outcome = Err(fault);
                }
            }
            // Out of time, or a signal closed the client.
            Ok(None) | Err(Error::Closed) => return outcome.and(Err(Fault::still_queued(unfinished.len()))),
            Err(error) => return Err(error.into()),
        }
    }
    outcome
}

/// Takes finished messages off the list; fails for one that was given up.
fn follow(event: &Event, unfinished: &mut BTreeSet<MessageId>) -> Result<(), Fault> {
    if let Some(warning) = session::warning(event) {
        eprintln!("peerchat: {warning}");
    }
    let Event::MessageState { id, to, state, detail, .. } = event else { return Ok(()) };
    let is_given_up = matches!(state, MessageState::Expired | MessageState::Failed | MessageState::Canceled);
    let is_finished = is_given_up || matches!(state, MessageState::Delivered | MessageState::Read);
    if is_finished && unfinished.remove(id) && is_given_up {
        return Err(Fault::told(&format!("the message to {to} was not delivered"), detail));
    }
    Ok(())
}

/// Prints every event as a line of JSON until enough messages came or a signal stops it.
pub(crate) fn listen(args: &ListenArgs) -> Result<(), Fault> {
    let client = session::open(&args.name, &args.profile)?;
    session::close_on_signal(&client)?;
    let outcome = print_events(&client, args.count);
    if outcome.is_ok() {
        let_receipts_go(&client);
    }
    session::shut_down(&client);
    outcome
}

/// Waits a little until those who wrote have been told that it arrived: what came by way of others is acknowledged after it
/// was shown, and if we left at once they would hear of it only when we are here again.
fn let_receipts_go(client: &Client) {
    let until = Instant::now() + RECEIPTS_GRACE;
    while Instant::now() < until && client.statistics().is_ok_and(|counts| counts.outbox_count > 0) {
        std::thread::sleep(RECEIPTS_PAUSE);
    }
}

fn print_events(client: &Client, mut left: Option<u64>) -> Result<(), Fault> {
    JsonLine::listening(client).write(io::stdout().lock())?;
    while left != Some(0) {
        match client.poll(session::LONG_WAIT) {
            Ok(Some(event)) => {
                if let Some(line) = JsonLine::of(&event) {
                    line.write(io::stdout().lock())?;
                }
                match event {
                    Event::Message(_) => left = left.map(|left| left - 1),
                    Event::Closed { detail, .. } => return Err(Fault::told("the node stopped", &detail)),
                    _ => {}
                }
            }
            Ok(None) => {}
            Err(Error::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    // Asking for the next event confirms the last, so that the message just printed is not told again. What this
    // call returns is not confirmed and will be.
    let _ = client.poll(Duration::ZERO);
    Ok(())
}

#[cfg(test)]
mod tests {
    use peerchat_core::ErrorCode;

    use super::*;

    fn state_event(id: MessageId, state: MessageState, detail: &str) -> Event {
        let code = (!detail.is_empty()).then_some(ErrorCode::UnknownRecipient);
        let (to, detail) = ("bob".to_owned(), detail.to_owned());
        Event::MessageState { id, to, state, held_by: 0, code, detail }
    }

    #[test]
    fn a_message_is_awaited_until_it_is_delivered() {
        let id = MessageId::from_bytes([1; 16]);
        let mut unfinished = BTreeSet::from([id]);

        follow(&state_event(id, MessageState::Queued, ""), &mut unfinished).unwrap();
        assert_eq!(unfinished.len(), 1);
        follow(&state_event(MessageId::from_bytes([2; 16]), MessageState::Delivered, ""), &mut unfinished)
            .unwrap();
        assert_eq!(unfinished.len(), 1, "somebody else's message ended the wait");
        follow(&state_event(id, MessageState::Delivered, ""), &mut unfinished).unwrap();
        assert!(unfinished.is_empty());
    }

    #[test]
    fn a_message_that_was_given_up_says_why() {
        let id = MessageId::from_bytes([1; 16]);
        let mut unfinished = BTreeSet::from([id]);
        let fault = follow(&state_event(id, MessageState::Failed, "nobody is called bob"), &mut unfinished);
        let said = fault.unwrap_err().to_string();
        assert_eq!(said, "the message to bob was not delivered: nobody is called bob");
        assert!(unfinished.is_empty());
    }
}
