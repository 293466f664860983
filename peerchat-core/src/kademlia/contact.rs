//! [`Contact`]: a node's key and where to reach it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::NodeId;
use crate::identity::{KeyError, PublicKey, base32};

/// A node's Ed25519 public key as somebody told it: not checked until a handshake with the node succeeds.
///
/// Checking costs a point decompression; a reply with twenty contacts is not worth twenty of them.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NodeKey([u8; 32]);

impl NodeKey {
    /// Takes the bytes of a key, unchecked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the id of the node: the BLAKE3-256 hash of the key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(*blake3::hash(&self.0).as_bytes())
    }

    /// Checks that the key can be used.
    ///
    /// # Errors
    ///
    /// The bytes are no key, or one that must not be trusted.
    pub fn check(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(self.0)
    }

    /// Checks the key and returns its X25519 form, for little more than the check alone costs.
    ///
    /// # Errors
    ///
    /// As for [`Self::check`].
    pub fn to_x25519(&self) -> Result<[u8; 32], KeyError> {
        PublicKey::x25519_of(self.0)
    }
}

impl From<PublicKey> for NodeKey {
    fn from(key: PublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({self})")
    }
}

/// Which addresses a node can use; asked for in FIND_NODE and FIND_VALUE.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum AddressFamily {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Any,
}

impl AddressFamily {
    /// Tells whether a node of this family can send to `address`.
    #[must_use]
    pub fn admits(self, address: &SocketAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
            Self::Any => true,
        }
    }
}

/// How far an address carries, from the narrowest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// This machine only.
    Loopback,
    /// The local network: private, link-local, shared (RFC 6598) and unique local (RFC 4193) ranges.
    Private,
    /// The internet.
    Global,
}

impl Scope {
    /// Returns the scope of an address, `None` if nothing can be sent to it: port 0, unspecified, multicast, broadcast.
    #[must_use]
    pub fn of(address: &SocketAddr) -> Option<Self> {
        let ip = address.ip().to_canonical();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return None;
        }
        match ip {
            ip if ip.is_loopback() => Some(Self::Loopback),
            IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[0] == 0 || ip.octets()[0] >= 240 => None,
            IpAddr::V4(ip) => {
                let is_shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
                Some(if ip.is_private() || ip.is_link_local() || is_shared {
                    Self::Private
                } else {
                    Self::Global
                })
            }
            IpAddr::V6(ip) => Some(if ip.is_unique_local() || ip.is_unicast_link_local() {
                Self::Private
            } else {
                Self::Global
            }),
        }
    }
}

/// The part of the internet that one operator is likely to hold: an IPv4 /24 or an IPv6 /56.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Subnet {
    /// The upper 24 bits.
    V4(u32),
    /// The upper 56 bits.
    V6(u128),
}

impl Subnet {
    /// Returns the subnet of an address, `None` if the address is loopback or private: there, many nodes share one.
    pub(crate) fn of(address: &SocketAddr) -> Option<Self> {
        if Scope::of(address) != Some(Scope::Global) {
            return None;
        }
        Some(match address.ip() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits() >> 8),
            IpAddr::V6(ip) => Self::V6(ip.to_bits() >> 72),
        })
    }

    /// Returns a number that no other subnet has, and that is not 0.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::V4(upper) => 1 << 56 | u64::from(upper),
            Self::V6(upper) => 2 << 56 | u64::try_from(upper).unwrap_or(u64::MAX >> 8),
        }
    }

    /// Tells whether an address lies in it. All of a subnet is public or none, so that need not be asked again.
    pub(super) fn contains(self, address: &SocketAddr) -> bool {
        match (self, address) {
            (Self::V4(upper), SocketAddr::V4(address)) => address.ip().to_bits() >> 8 == upper,
            (Self::V6(upper), SocketAddr::V6(address)) => address.ip().to_bits() >> 72 == upper,
            _ => false,
        }
    }
}

/// A large part of the internet, many of which are rarely one party's: an IPv4 /16 or an IPv6 /32.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Block {
    V4(u16),
    V6(u32),
}

impl Block {
    /// Returns the block of an address, `None` if the address is loopback or private.
    pub(super) fn of(address: &SocketAddr) -> Option<Self> {
        if Scope::of(address) != Some(Scope::Global) {
            return None;
        }
        Some(match address.ip() {
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                Self::V4(u16::from_be_bytes([first, second]))
            }
            IpAddr::V6(ip) => {
                let [first, second, ..] = ip.segments();
                Self::V6(u32::from(first) << 16 | u32::from(second))
            }
        })
    }
}

/// A node: its key, the id that follows from it, and one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Contact {
    id: NodeId,
    key: NodeKey,
    address: SocketAddr,
}

impl Contact {
    /// Makes a contact; the id is derived from the key, an IPv4-mapped address becomes IPv4.
    #[must_use]
    pub fn new(key: NodeKey, address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { id: key.node_id(), key, address }
    }

    /// Returns the node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Returns the node's key.
    #[must_use]
    pub const fn key(&self) -> NodeKey {
        self.key
    }

    /// Returns where to reach it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Serialize for Contact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.key, self.address).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Contact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, address) = <(NodeKey, SocketAddr)>::deserialize(deserializer)?;
        Ok(Self::new(key, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scope() {
        let scope = |text: &str| Scope::of(&text.parse().unwrap());
        assert_eq!(scope("127.0.0.1:1"), Some(Scope::Loopback));
        assert_eq!(scope("[::1]:1"), Some(Scope::Loopback));
        assert_eq!(scope("[::ffff:127.0.0.1]:1"), Some(Scope::Loopback));
        for private in
            ["10.0.0.1:1", "192.168.1.1:1", "172.16.0.1:1", "169.254.0.1:1", "100.64.0.1:1", "[fd00::1]:1"]
        {
            assert_eq!(scope(private), Some(Scope::Private), "{private}");
        }
        assert_eq!(scope("1.1.1.1:1"), Some(Scope::Global));
        assert_eq!(scope("[2001:db8::1]:1"), Some(Scope::Global));
        for none in [
            "0.0.0.0:1",
            "0.1.2.3:1",
            "1.1.1.1:0",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            assert_eq!(scope(none), None, "{none}");
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let contact = Contact::new(NodeKey::from_bytes([1; 32]), "[::ffff:127.0.0.1]:9".parse().unwrap());
        assert_eq!(contact.address(), "127.0.0.1:9".parse().unwrap());
    }
}
