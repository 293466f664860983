//! `peerchat`: the terminal client, a headless node, and two commands for scripts.
//!
//! Every command is a loop over the events of one [`peerchat_core::Client`]; nothing here decides anything about
//! the network.
#![forbid(unsafe_code)]

mod archive;
mod args;
mod chat;
mod contacts;
mod editor;
mod fault;
mod feed;
mod json;
mod metrics;
mod node;
mod passphrase;
mod people;
mod screen;
mod script;
mod search;
mod session;

use std::process::ExitCode;

use clap::Parser as _;
use peerchat_core::Verb;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};

/// Environment variable with a `tracing` filter, such as `peerchat_core=debug`; the log goes to stderr.
const LOG_VARIABLE: &str = "PEERCHAT_LOG";

fn main() -> ExitCode {
    start_log();
    let outcome = match Args::parse().command {
        Command::Chat(args) => chat::run(&args),
        Command::Node(args) => node::run(&args),
        Command::Send(args) => script::send(&args),
        Command::Whois(args) => people::whois(&args),
        Command::Verify(args) => people::verify(&args),
        Command::Accept(args) => people::accept(&args),
        Command::Contacts(args) => contacts::list(&args),
        Command::Add(args) => contacts::relate(&args, Verb::Add),
        Command::Block(args) => contacts::relate(&args, Verb::Block),
        Command::Unblock(args) => contacts::relate(&args, Verb::Unblock),
        Command::Remove(args) => contacts::relate(&args, Verb::Remove),
        Command::Passphrase(args) => session::change_passphrase(&args),
        Command::Search(args) => search::run(&args),
        Command::Export(args) => archive::export(&args),
        Command::Import(args) => archive::import(&args),
        Command::Listen(args) => script::listen(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("peerchat: {fault}");
            fault.exit_code()
        }
    }
}

/// Logs to stderr what [`LOG_VARIABLE`] asks for; without it, nothing.
fn start_log() {
    if let Ok(filter) = EnvFilter::try_from_env(LOG_VARIABLE) {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
