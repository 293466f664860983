//! [`Config`]: everything a client can be told when it is opened, and every default.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;
use crate::identity::{NameError, UserName};
use crate::kademlia::{ALPHA, K, Serve};
use crate::limits::{LimitError, Limits, Memory, Share};

/// The network that a client joins unless told otherwise.
pub const DEFAULT_NETWORK: &str = "peerchat";

/// Longest name of a network, in bytes.
pub const MAX_NETWORK_LEN: usize = 64;

/// How long an undelivered message is retried unless told otherwise.
pub const DEFAULT_MESSAGE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Shortest lifetime that a single message can be given.
pub const MIN_MESSAGE_LIFETIME: Duration = Duration::from_secs(1);

/// Longest lifetime that a single message can be given.
pub const MAX_MESSAGE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How much mail a node in memory keeps for others at most unless told otherwise, in bytes.
pub const DEFAULT_MAIL_QUOTA_IN_MEMORY: u64 = 64 << 20;

/// How much memory others can make a node take, in bytes, unless told otherwise.
pub const DEFAULT_MEMORY_LIMIT: u64 = 256 << 20;

/// The smallest memory limit, in bytes.
pub const MIN_MEMORY_LIMIT: u64 = 40 << 20;

/// Longest passphrase in bytes.
pub const MAX_PASSPHRASE_LEN: usize = 1024;

/// What encrypts the keys of a profile on disk. Wiped when dropped, and never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Passphrase(Secret);

impl Passphrase {
    /// Takes a passphrase: any text of 1 to [`MAX_PASSPHRASE_LEN`] bytes, as it is.
    ///
    /// # Errors
    ///
    /// It is empty or too long.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        if text.is_empty() || text.len() > MAX_PASSPHRASE_LEN {
            return Err(ConfigError::Passphrase { len: text.len() });
        }
        Ok(Self(Secret::copy_of(text.as_bytes())))
    }

    #[cfg(feature = "storage")]
    pub(crate) fn reveal(&self) -> &[u8] {
        self.0.reveal()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Where a profile is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// One file in this directory, which is made if it is missing.
    Directory(PathBuf),
    /// In memory, gone when the client closes: for tests and throw-away nodes.
    Memory,
}

/// Why [`ConfigBuilder::build`] refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The network's name is empty or too long.
    #[error("the network name is {len} bytes, allowed are 1 to {MAX_NETWORK_LEN}")]
    Network {
        /// Length of the refused name in bytes.
        len: usize,
    },
    /// `k` is out of range.
    #[error("k is {k}, allowed are 1 to {K}")]
    K {
        /// The refused value.
        k: usize,
    },
    /// `alpha` is out of range.
    #[error("alpha is {alpha}, allowed are 1 to k ({k})")]
    Alpha {
        /// The refused value.
        alpha: usize,
        /// The `k` beside it.
        k: usize,
    },
    /// The number of links is zero.
    #[error("no node can do without links; allow one at least")]
    MaxLinks,
    /// The data directory is an empty path.
    #[error("the data directory is empty; name one, or ask for a profile in memory")]
    DataDir,
    /// The passphrase is empty or too long.
    #[error("the passphrase is {len} bytes, allowed are 1 to {MAX_PASSPHRASE_LEN}")]
    Passphrase {
        /// Length of the refused passphrase in bytes.
        len: usize,
    },
    /// The lifetime of a message is zero.
    #[error("the lifetime of a message is zero")]
    MessageLifetime,
    /// A limit is none, out of range, or more than the memory limit has room for.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// What a client is opened with. Made by [`Config::builder`].
#[derive(Clone, Debug)]
pub struct Config {
    location: Location,
    passphrase: Option<Passphrase>,
    user: Option<UserName>,
    network: String,
    bind: Option<SocketAddr>,
    k: usize,
    alpha: usize,
    serve: Serve,
    message_lifetime: Duration,
    read_receipts: bool,
    mail_quota: Option<u64>,
    memory_limit: u64,
    /// What was set, in this order.
    set_limits: Vec<(String, u64)>,
    limits: Arc<Limits>,
}

impl Config {
    /// Starts a configuration whose profile lives in `data_dir`.
    #[must_use]
    pub fn builder(data_dir: impl AsRef<Path>) -> ConfigBuilder {
        ConfigBuilder::new(Location::Directory(data_dir.as_ref().to_owned()))
    }

    /// Starts a configuration whose profile lives in memory and ends with the client.
    #[must_use]
    pub fn in_memory() -> ConfigBuilder {
        ConfigBuilder::new(Location::Memory)
    }

    /// Returns where the profile is kept.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns what opens the keys of the profile, if it has a passphrase.
    #[must_use]
    pub fn passphrase(&self) -> Option<&Passphrase> {
        self.passphrase.as_ref()
    }

    /// Returns the user's name, `None` for a node without a user.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// Returns the name of the network.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Returns the UDP address to bind, `None` for any port on every IPv4 and IPv6 address.
    #[must_use]
    pub fn bind(&self) -> Option<SocketAddr> {
        self.bind
    }

    /// Returns Kademlia's k.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Returns Kademlia's alpha.
    #[must_use]
    pub fn alpha(&self) -> usize {
        self.alpha
    }

    /// Returns whether the node serves others.
    #[must_use]
    pub fn serve(&self) -> Serve {
        self.serve
    }

    /// Returns to how many peers a link is kept.
    #[must_use]
    pub fn max_links(&self) -> usize {
        self.limits.links
    }

    /// Returns how long an undelivered message is retried.
    #[must_use]
    pub fn message_lifetime(&self) -> Duration {
        self.message_lifetime
    }

    /// Returns whether contacts are told what was read.
    #[must_use]
    pub fn read_receipts(&self) -> bool {
        self.read_receipts
    }

    /// Returns how much mail the node keeps for others, in bytes.
    #[must_use]
    pub fn mail_quota(&self) -> u64 {
        self.mail_quota.unwrap_or_default()
    }

    /// Returns how much memory others can make the node take, in bytes.
    #[must_use]
    pub fn memory_limit(&self) -> u64 {
        self.memory_limit
    }

    /// Returns the limits that hold for others.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn shared_limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    /// Returns what others can make the node keep in memory, by what it is for: the worst cases, whose sum is at most
    /// [`Self::memory_limit`].
    #[must_use]
    pub fn memory_shares(&self) -> Vec<Share> {
        self.limits.shares(&self.memory(), self.mail_quota())
    }

    fn memory(&self) -> Memory {
        Memory {
            limit: self.memory_limit,
            has_user: self.user.is_some(),
            is_in_memory: self.location == Location::Memory,
            mail_quota: self.mail_quota,
        }
    }
}

/// Builds a [`Config`]; each setter says its unit, default and effect.
#[derive(Clone, Debug)]
pub struct ConfigBuilder {
    config: Config,
}

impl ConfigBuilder {
    fn new(location: Location) -> Self {
        Self {
            config: Config {
                location,
                passphrase: None,
                user: None,
                network: DEFAULT_NETWORK.to_owned(),
                bind: None,
                k: K,
                alpha: ALPHA,
                serve: Serve::default(),
                message_lifetime: DEFAULT_MESSAGE_LIFETIME,
                read_receipts: true,
                mail_quota: None,
                memory_limit: DEFAULT_MEMORY_LIMIT,
                set_limits: Vec::new(),
                limits: Limits::shared(),
            },
        }
    }

    /// Opens the client for this person. Default: none, a node that serves the network and nobody in particular.
    ///
    /// A name that this data directory knows is logged in; any other is registered.
    ///
    /// # Errors
    ///
    /// The name breaks the rules of [`UserName::parse`].
    pub fn user(mut self, name: &str) -> Result<Self, NameError> {
        self.config.user = Some(UserName::parse(name)?);
        Ok(self)
    }

    /// Opens a profile that has this passphrase, or makes a new one that has. Default: none; the keys lie open on disk.
    /// `Client::change_passphrase` sets, changes and removes that of a profile which exists. A profile in memory needs
    /// none, and takes no notice.
    #[must_use]
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.config.passphrase = Some(passphrase);
        self
    }

    /// Names the network. Default: [`DEFAULT_NETWORK`]. Nodes of different networks never talk.
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.network);
        self
    }

    /// Binds this UDP address. Default: any port on every IPv4 and IPv6 address.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.config.bind = Some(address);
        self
    }

    /// Binds this UDP port on every IPv4 and IPv6 address, 0 for any.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
    }

    /// Sets k, the size of a bucket and the number of nodes that keep a record. Default and maximum: [`K`].
    #[must_use]
    pub fn k(mut self, k: usize) -> Self {
        self.config.k = k;
        self
    }

    /// Sets alpha, the number of requests that a lookup keeps in flight. Default: [`ALPHA`]. At most k.
    #[must_use]
    pub fn alpha(mut self, alpha: usize) -> Self {
        self.config.alpha = alpha;
        self
    }

    /// Sets whether the node keeps records and mail for others and is listed in their routing tables. Default:
    /// [`Serve::Auto`], if others can reach it. [`Serve::Never`] suits programs that soon end.
    #[must_use]
    pub fn serve(mut self, serve: Serve) -> Self {
        self.config.serve = serve;
        self
    }

    /// Sets to how many peers an encrypted link is kept, 1 or more; when there are more, the one used least recently is
    /// dropped. Default: [`MAX_LINKS`](crate::transport::MAX_LINKS). A link takes about 700 bytes of memory, and half a millisecond of processor time
    /// to make again, so a process with very many nodes may want fewer, but not fewer than [`Self::k`].
    #[must_use]
    pub fn max_links(self, count: usize) -> Self {
        self.limit("links", count as u64)
    }

    /// Sets how long an undelivered message is retried. Default: [`DEFAULT_MESSAGE_LIFETIME`].
    #[must_use]
    pub fn message_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.message_lifetime = lifetime;
        self
    }

    /// Sets whether contacts are told what was read, once the application marks it so. Default: yes. Nobody else is told in
    /// any case. What others tell is shown whatever this says.
    #[must_use]
    pub fn read_receipts(mut self, are_sent: bool) -> Self {
        self.config.read_receipts = are_sent;
        self
    }

    /// Sets how much mail the node keeps for people who are away, in bytes; 0 keeps none. Each envelope counts with
    /// [`KEPT_OVERHEAD`](crate::mail::KEPT_OVERHEAD) bytes for what stands around it. Default: [`DEFAULT_MAIL_QUOTA`](crate::mail::DEFAULT_MAIL_QUOTA) on
    /// disk; for a profile in memory [`DEFAULT_MAIL_QUOTA_IN_MEMORY`], or what is left of [`Self::memory_limit`] if that is
    /// less. How many envelopes that may be is another limit, `mail_count`. What is kept above a quota that was lowered stays
    /// until it is fetched or expires.
    #[must_use]
    pub fn mail_quota(mut self, bytes: u64) -> Self {
        self.config.mail_quota = Some(bytes);
        self
    }

    /// Sets how much memory others can make the node take, in bytes, [`MIN_MEMORY_LIMIT`] or more. Default:
    /// [`DEFAULT_MEMORY_LIMIT`]. It is kept by construction: everything that grows with what strangers send has a limit, and
    /// the worst cases of all limits together are no more. With less than the default the limits become smaller; with more
    /// they stay, but for `mail_count`, which is given what the others leave, and there is room to raise one.
    ///
    /// What belongs to the user is not counted: contacts, conversations and the outbox, and in a profile in memory the
    /// history.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.config.memory_limit = bytes;
        self
    }

    /// Sets a limit by its name; see [`Limits::all`] and docs/limits.md. Of one that is set twice the last value counts.
    /// [`Self::build`] refuses a name that is none, and a value out of its range.
    #[must_use]
    pub fn limit(mut self, name: &str, value: u64) -> Self {
        self.config.set_limits.push((name.to_owned(), value));
        self
    }

    /// Checks the configuration as a whole.
    ///
    /// # Errors
    ///
    /// A value is out of its range; the error says which and what is allowed.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut config = self.config;
        if config.network.is_empty() || config.network.len() > MAX_NETWORK_LEN {
            return Err(ConfigError::Network { len: config.network.len() });
        }
        if !(1..=K).contains(&config.k) {
            return Err(ConfigError::K { k: config.k });
        }
        if !(1..=config.k).contains(&config.alpha) {
            return Err(ConfigError::Alpha { alpha: config.alpha, k: config.k });
        }
        if config.set_limits.iter().any(|(name, value)| name == "links" && *value == 0) {
            return Err(ConfigError::MaxLinks);
        }
        if config.location == Location::Directory(PathBuf::new()) {
            return Err(ConfigError::DataDir);
        }
        if config.message_lifetime.is_zero() {
            return Err(ConfigError::MessageLifetime);
        }
        let (limits, mail_quota) = Limits::within(config.memory(), &config.set_limits)?;
        config.limits = limits.into_shared();
        config.mail_quota = Some(mail_quota);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let config = Config::in_memory().build().unwrap();
        assert_eq!((config.k(), config.alpha(), config.network()), (K, ALPHA, DEFAULT_NETWORK));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(Config::in_memory().k(0).build().unwrap_err(), ConfigError::K { k: 0 });
        assert_eq!(Config::in_memory().k(K + 1).build().unwrap_err(), ConfigError::K { k: K + 1 });
        assert_eq!(
            Config::in_memory().k(2).alpha(3).build().unwrap_err(),
            ConfigError::Alpha { alpha: 3, k: 2 }
        );
        assert_eq!(Config::in_memory().max_links(0).build().unwrap_err(), ConfigError::MaxLinks);
        assert_eq!(Config::in_memory().network("").build().unwrap_err(), ConfigError::Network { len: 0 });
        assert_eq!(Config::builder("").build().unwrap_err(), ConfigError::DataDir);
        assert_eq!(
            Config::in_memory().message_lifetime(Duration::ZERO).build().unwrap_err(),
            ConfigError::MessageLifetime
        );
    }

    #[test]
    fn a_passphrase_has_a_length_and_is_not_printed() {
        let longest = "x".repeat(MAX_PASSPHRASE_LEN);
        insta::assert_snapshot!(format!("{:?}", Passphrase::new(&longest).unwrap()), @"Passphrase(..)");
        assert_eq!(Passphrase::new(""), Err(ConfigError::Passphrase { len: 0 }));
        let len = MAX_PASSPHRASE_LEN + 1;
        assert_eq!(Passphrase::new(&"x".repeat(len)), Err(ConfigError::Passphrase { len }));
        let config = Config::in_memory().passphrase(Passphrase::new("open sesame").unwrap()).build().unwrap();
        assert!(!format!("{config:?}").contains("sesame"));
    }

    #[test]
    fn a_bad_name_is_refused_at_once() {
        assert!(Config::in_memory().user("").is_err());
    }
}
