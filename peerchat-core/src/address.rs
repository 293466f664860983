//! [`BootstrapAddress`]: where a network is joined.

use std::fmt;
use std::str::FromStr;

use crate::identity::PublicKey;
use crate::kademlia::NodeKey;

/// Longest host name in bytes (RFC 1035, 2.3.4).
const MAX_HOST_LEN: usize = 255;

/// Text that is no address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{address}` is not an address: write host:port, [ipv6]:port or key@host:port")]
pub struct AddressError {
    /// What was given.
    pub address: String,
}

/// `host:port`, `[ipv6]:port` or `key@host:port`. A bare address trusts whoever answers there; with a key, only the
/// node that has it is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BootstrapAddress {
    key: Option<NodeKey>,
    host: String,
}

impl BootstrapAddress {
    /// Returns the key that the node must have, if the address names one.
    #[must_use]
    pub fn key(&self) -> Option<NodeKey> {
        self.key
    }

    /// Returns `host:port`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for BootstrapAddress {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Self, AddressError> {
        parse(address).ok_or_else(|| AddressError { address: address.to_owned() })
    }
}

impl fmt::Display for BootstrapAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "{key}@{}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn parse(address: &str) -> Option<BootstrapAddress> {
    let (key, host) = match address.split_once('@') {
        Some((key, host)) => (Some(NodeKey::from(key.parse::<PublicKey>().ok()?)), host),
        None => (None, address),
    };
    let (name, port) = host.rsplit_once(':')?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bare_ipv6 = name.contains(':') && !(name.starts_with('[') && name.ends_with(']'));
    let is_host = !name.is_empty() && name.len() <= MAX_HOST_LEN && !name.contains(char::is_whitespace);
    (is_port && is_host && !is_bare_ipv6).then(|| BootstrapAddress { key, host: host.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    #[test]
    fn hosts_with_ports_are_addresses() {
        for good in ["localhost:1", "127.0.0.1:65535", "[::1]:4000", "a.example:4000"] {
            let address: BootstrapAddress = good.parse().unwrap();
            assert_eq!((address.key(), address.host()), (None, good));
        }
    }

    #[test]
    fn a_key_may_stand_before_the_host() {
        let key = SecretKey::from_bytes(&[1; 32]).public();
        let text = format!("{key}@[::1]:4000");
        let address: BootstrapAddress = text.parse().unwrap();
        assert_eq!((address.key(), address.host()), (Some(NodeKey::from(key)), "[::1]:4000"));
        assert_eq!(address.to_string(), text);
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "",
            "localhost",
            ":4000",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "::1:4000",
            "a b:1",
            "x@h:1",
        ];
        for address in bad {
            assert!(address.parse::<BootstrapAddress>().is_err(), "{address}");
        }
    }
}
