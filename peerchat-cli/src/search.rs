//! `peerchat search`: messages by their words, for people and scripts.

use std::io::{self, Write as _};

use peerchat_core::HistoryEntry;
use serde::Serialize;

use crate::args::SearchArgs;
use crate::chat;
use crate::fault::Fault;
use crate::json;
use crate::session;

/// One line of `search --json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: String,
    position: u64,
    peer: &'a str,
    is_own: bool,
    text: &'a str,
    sent_unix_ms: u64,
    received_unix_ms: u64,
    state: Option<&'static str>,
    is_request: bool,
}

/// Shows what was found, the latest first.
pub(crate) fn run(args: &SearchArgs) -> Result<(), Fault> {
    session::expect_profile(&session::data_dir(args.profile.data.as_deref())?, &args.name)?;
    let client = session::open(&args.name, &args.profile)?;
    let words = args.words.join(" ");
    let found = client.search(&words, args.with.as_deref(), args.before, args.limit as usize);
    let outcome = found.map_err(Fault::from).and_then(|entries| show(&entries, args));
    session::shut_down(&client);
    outcome
}

fn show(entries: &[HistoryEntry], args: &SearchArgs) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    let now = chat::now();
    for entry in entries {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&line(entry)).map_err(io::Error::from)?)?;
        } else {
            writeln!(out, "{}", chat::found(entry, args.name.as_str(), now))?;
        }
    }
    Ok(())
}

fn line(entry: &HistoryEntry) -> Line<'_> {
    Line {
        id: entry.id.to_string(),
        position: entry.position,
        peer: &entry.peer,
        is_own: entry.is_own,
        text: &entry.text,
        sent_unix_ms: entry.sent.unix_ms(),
        received_unix_ms: entry.received.unix_ms(),
        state: entry.state.and_then(json::state_name),
        is_request: entry.is_request,
    }
}
