//! [`Network`]: many clients in one process, on real sockets of the loopback interface.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use peerchat_core::kademlia::{ALPHA, K};
use peerchat_core::transport::MAX_LINKS;
use peerchat_core::{Client, Config, Error, Event, FoundUser};

use crate::Failure;

/// How long the registration of one user may take before the measurement is given up.
pub const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(60);

/// What the clients of a network are opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kademlia's k.
    pub k: usize,
    /// Kademlia's alpha.
    pub alpha: usize,
    /// To how many peers a client keeps a link.
    pub max_links: usize,
    /// Where the profiles are kept; `None` for memory.
    pub directory: Option<PathBuf>,
    /// How many users may join at a time.
    pub overlap: usize,
}

impl Settings {
    /// The original's experiment: k = 10, alpha = 5, one user after another, profiles in memory.
    #[must_use]
    pub const fn original() -> Self {
        Self { k: 10, alpha: 5, max_links: MAX_LINKS, directory: None, overlap: 1 }
    }

    /// What a client has unless told otherwise: k = 20, alpha = 3, profiles in memory.
    #[must_use]
    pub fn default_options() -> Self {
        Self { k: K, alpha: ALPHA, ..Self::original() }
    }
}

/// What nodes have done together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// DHT requests sent.
    pub requests: u64,
    /// Searches of the DHT that have ended.
    pub searches: u64,
    /// The hops of these searches.
    pub hops: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// UDP payload sent, in bytes.
    pub bytes: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Links that are up, counted at both ends.
    pub links: usize,
    /// Contacts in the routing tables.
    pub contacts: usize,
    /// Records kept for the DHT.
    pub records: usize,
}

impl Totals {
    /// Adds up what `clients` have done by now.
    ///
    /// # Errors
    ///
    /// A client is closed.
    pub fn of(clients: &[Client]) -> Result<Self, Error> {
        let mut totals = Self::default();
        for client in clients {
            let statistics = client.statistics()?;
            totals.requests += statistics.requests_sent;
            totals.searches += statistics.searches_ended;
            totals.hops += statistics.search_hops;
            totals.datagrams += statistics.datagrams_sent;
            totals.bytes += statistics.bytes_sent;
            totals.bytes_received += statistics.bytes_received;
            totals.links += statistics.link_count;
            totals.contacts += statistics.contact_count;
            totals.records += statistics.record_count;
        }
        Ok(totals)
    }
}

/// Clients that have found one another.
#[derive(Debug, Default)]
pub struct Network {
    clients: Mutex<Vec<Client>>,
}

impl Network {
    /// Makes a network of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens `n` users one after another, up to `settings.overlap` at a time. Each joins through the one that was
    /// registered last and waits until it is registered itself; then `on_registered` is told how many are.
    ///
    /// # Errors
    ///
    /// A client cannot be opened, or is not registered within [`REGISTRATION_TIMEOUT`].
    pub fn grow(
        &self,
        n: usize,
        settings: &Settings,
        on_registered: impl Fn(usize) + Sync,
    ) -> Result<(), Failure> {
        let first = open(0, settings)?;
        let mut seed = address_of(&first);
        lock(&self.clients).push(first.clone());
        if n > 1 {
            // The first user cannot register before there is a second.
            seed = self.join(1, &seed, settings)?;
            wait_until_registered(&first)?;
        }
        on_registered(n.min(2));
        let next = AtomicUsize::new(2);
        // How many are registered, and where to join through the latest of them.
        let latest = Mutex::new((n.min(2), seed));
        thread::scope(|scope| {
            let join_in_turn = || -> Result<(), Failure> {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= n {
                        return Ok(());
                    }
                    let seed = lock(&latest).1.clone();
                    let address = self.join(number, &seed, settings)?;
                    let mut latest = lock(&latest);
                    *latest = (latest.0 + 1, address);
                    on_registered(latest.0);
                }
            };
            let workers: Vec<_> = (0..settings.overlap).map(|_| scope.spawn(join_in_turn)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err("a joining thread panicked".into()))
            })
        })
    }

    /// Returns the clients, in the order in which they were opened.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        lock(&self.clients).clone()
    }

    /// Closes every client and waits until each is gone.
    pub fn close(&self) {
        let clients = std::mem::take(&mut *lock(&self.clients));
        clients.iter().for_each(Client::close);
        for client in clients {
            if !client.shutdown() {
                eprintln!("  a client took too long to close");
            }
        }
    }

    /// Opens one user, joins through `seed`, and returns where others join through it once it is registered.
    fn join(&self, number: usize, seed: &str, settings: &Settings) -> Result<String, Failure> {
        let client = open(number, settings)?;
        lock(&self.clients).push(client.clone());
        client.bootstrap(seed)?;
        wait_until_registered(&client)?;
        Ok(address_of(&client))
    }
}

/// Returns the name of a network's user.
#[must_use]
pub fn user_name(number: usize) -> String {
    format!("user-{number}")
}

/// Opens the client of a network's user on a loopback port of the system's choice.
///
/// # Errors
///
/// The system has no descriptor left, or the profile cannot be opened.
pub fn open(number: usize, settings: &Settings) -> Result<Client, Failure> {
    let builder = match &settings.directory {
        Some(directory) => Config::builder(directory),
        None => Config::in_memory(),
    };
    let builder = builder
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .k(settings.k)
        .alpha(settings.alpha)
        .max_links(settings.max_links);
    Ok(Client::open(builder.user(&user_name(number))?.build()?)?)
}

/// Returns where others join through a client: `key@host:port`.
#[must_use]
pub fn address_of(client: &Client) -> String {
    format!("{}@{}", client.node_key(), client.local_address())
}

/// Takes events until the client's user is registered.
///
/// # Errors
///
/// The name was refused, the bootstrap node did not answer, the client closed, or it took too long.
pub fn wait_until_registered(client: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + REGISTRATION_TIMEOUT;
    loop {
        match client.poll(deadline.saturating_duration_since(Instant::now()))? {
            Some(Event::Registered { .. }) => return Ok(()),
            Some(Event::RegistrationFailed { detail, .. } | Event::BootstrapFailed { detail, .. }) => {
                return Err(detail.into());
            }
            Some(_) => {}
            None => return Err(format!("not registered within {REGISTRATION_TIMEOUT:?}").into()),
        }
    }
}

/// Tells whether a lookup found the user of `wanted`, at its node and address.
#[must_use]
pub fn is_right(found: &FoundUser, wanted: &Client) -> bool {
    Some(found.user) == wanted.user_id()
        && found.node == wanted.node_id()
        && found.addresses.contains(&wanted.local_address())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
