//! Long runs in which everything between people goes wrong: processes are killed, people leave and come back from
//! elsewhere, a million messages pass through restarts, a network falls into halves and heals. Real sockets on loopback or
//! between network namespaces, real disks, real time.
//!
//! Every run is judged by a [`ledger::Ledger`]: what was acknowledged must be there in the end, and nothing is shown
//! twice. `make soak` runs the long forms, the tests of this crate short ones. [`model`] is another thing: random stories
//! in the simulator, on virtual time.

pub mod child;
pub mod crowd;
pub mod kills;
pub mod lab;
pub mod ledger;
pub mod life;
pub mod million;
pub mod model;
pub mod outcome;
pub mod partition;

use std::time::{Duration, Instant};

use peerchat_core::Client;

/// Whatever went wrong, for a person to read.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Told how far a run has come, in words.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// How long a client may take to close: on a machine with much else to do it is later than an application would wait.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// Closes a client, and waits until everything is saved and its profile is free.
///
/// # Errors
///
/// It has not closed within a minute.
pub fn close(client: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + CLOSE_PATIENCE;
    while !client.shutdown() {
        if Instant::now() >= deadline {
            return Err("closing took too long".into());
        }
    }
    Ok(())
}
