//! `peerchat node`: a headless node that serves the network, with no user on it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use peerchat_core::{Client, Config, Error, Event};

use crate::args::NodeArgs;
use crate::fault::Fault;
use crate::json::JsonLine;
use crate::session;

/// Runs the node until a signal stops it.
pub(crate) fn run(args: &NodeArgs) -> Result<(), Fault> {
    let client = open(args)?;
    session::close_on_signal(&client)?;
    for address in &args.bootstrap {
        client.bootstrap(address)?;
    }
    let ready_file = args.ready_file.as_deref().map(|path| ReadyFile::write(path, &client)).transpose()?;
    announce(&client, args.json)?;
    let outcome = serve(&client, args.json);
    drop(ready_file);
    session::shut_down(&client);
    outcome
}

fn open(args: &NodeArgs) -> Result<Client, Fault> {
    let mut config = if args.memory {
        Config::in_memory()
    } else {
        Config::builder(session::data_dir(args.data.as_deref())?)
    };
    if let Some(address) = args.bind {
        config = config.bind(address);
    }
    Ok(Client::open(config.k(args.k).alpha(args.alpha).build()?)?)
}

/// Prints the one line that says where others reach this node.
fn announce(client: &Client, is_json: bool) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    if is_json {
        JsonLine::listening(client).write(out)?;
    } else {
        writeln!(out, "listening on {} key {}", client.local_address(), client.node_key())?;
        out.flush()?;
    }
    Ok(())
}

/// Tells events until the client closes.
fn serve(client: &Client, is_json: bool) -> Result<(), Fault> {
    loop {
        match client.poll(session::LONG_WAIT) {
            Ok(Some(event)) => tell(&event, is_json)?,
            Ok(None) => {}
            Err(Error::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn tell(event: &Event, is_json: bool) -> Result<(), Fault> {
    match JsonLine::of(event) {
        Some(line) if is_json => line.write(io::stdout().lock())?,
        _ => {}
    }
    if let Some(warning) = session::warning(event) {
        eprintln!("peerchat: {warning}");
    }
    match event {
        Event::Closed { detail, .. } => Err(Fault::told("the node stopped", detail)),
        _ => Ok(()),
    }
}

/// The file that tells a supervisor that the node listens; it goes when this value goes.
struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Writes the file under another name and moves it into place, so that nobody reads half of it.
    fn write(path: &Path, client: &Client) -> Result<Self, Fault> {
        let mut line = Vec::new();
        JsonLine::listening(client).write(&mut line)?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        fs::write(&partial, line).and_then(|()| fs::rename(&partial, path)).map_err(|error| {
            Fault::new(
                format!("cannot write the ready file {}: {error}", path.display()),
                "name a file in a directory that can be written",
            )
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Whoever removed it first did the same work.
        let _ = fs::remove_file(&self.0);
    }
}
