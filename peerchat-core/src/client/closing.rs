//! Clients of this process that are closing. [`Client::shutdown`](super::Client::shutdown) waits for a limited time, so that an
//! application is never held up by a slow disk; whoever opens the same profile or port again waits for the rest of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::config::{Config, Location};
use crate::identity::UserName;
use crate::storage;

/// How long opening waits at most for a client of this process that is closing.
const CLOSING_PATIENCE: Duration = Duration::from_secs(30);

/// Every client that was closed and had not ended when the last one was.
static CLOSING: Mutex<Vec<Closing>> = Mutex::new(Vec::new());

/// Whether a driver is gone, for those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Ended {
    is_ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    pub(super) fn set(&self) {
        *self.is_ended.lock() = true;
        self.changed.notify_all();
    }

    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let mut is_ended = self.is_ended.lock();
        let deadline = crate::runtime::now().instant + timeout;
        while !*is_ended {
            if self.changed.wait_until(&mut is_ended, deadline).timed_out() {
                break;
            }
        }
        *is_ended
    }

    fn is_set(&self) -> bool {
        *self.is_ended.lock()
    }
}

/// What a client holds until it has ended.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    /// The file of the profile, without symbolic links; `None` in memory.
    profile: Option<PathBuf>,
    local_address: SocketAddr,
    ended: Arc<Ended>,
}

impl Closing {
    pub(super) fn new(config: &Config, local_address: SocketAddr, ended: Arc<Ended>) -> Self {
        let profile = match config.location() {
            Location::Directory(directory) => profile_of(directory, config.user()),
            Location::Memory => None,
        };
        Self { profile, local_address, ended }
    }

    /// Returns what tells that the driver is gone.
    pub(super) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Notes that the client is closing.
    pub(super) fn announce(&self) {
        let mut closing = CLOSING.lock();
        closing.retain(|other| !other.ended.is_set() && !Arc::ptr_eq(&other.ended, &self.ended));
        if !self.ended.is_set() {
            closing.push(self.clone());
        }
    }
}

/// Waits for whoever is closing and still has the profile or the port of this configuration.
pub(super) fn wait_for_config(config: &Config) {
    let port = config.bind().map(|address| address.port()).filter(|port| *port != 0);
    wait_for(|closing| port == Some(closing.local_address.port()));
    if let Location::Directory(directory) = config.location() {
        wait_for_profile(directory, config.user());
    }
}

/// Waits for whoever is closing and still has this profile.
pub(super) fn wait_for_profile(directory: &Path, user: Option<&UserName>) {
    let profile = profile_of(directory, user);
    wait_for(|closing| profile.is_some() && closing.profile == profile);
}

fn wait_for(is_meant: impl Fn(&Closing) -> bool) {
    let meant: Vec<_> = CLOSING.lock().iter().filter(|closing| is_meant(closing)).cloned().collect();
    for closing in meant {
        if !closing.ended.wait(CLOSING_PATIENCE) {
            tracing::warn!("a client is still closing");
        }
    }
}

/// Returns the file of a profile as every path to it is written, `None` if its directory is not there.
fn profile_of(directory: &Path, user: Option<&UserName>) -> Option<PathBuf> {
    Some(storage::profile_path(&directory.canonicalize().ok()?, user))
}
