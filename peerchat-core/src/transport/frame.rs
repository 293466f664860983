//! [`Frame`]: what an encrypted packet carries.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Version of the frame layout.
const FRAME_VERSION: u8 = 1;

/// Set in the kind of every frame that answers one.
pub(super) const RESPONSE_BIT: u8 = 0x80;

/// Length of an address: 16 bytes of IPv6 (IPv4 in its mapped form) and the port.
pub(crate) const ADDRESS_LEN: usize = 18;

/// Length of a request frame without its body.
pub(super) const REQUEST_HEADER_LEN: usize = 6;

/// Length of a response frame without its body.
pub(super) const RESPONSE_HEADER_LEN: usize = REQUEST_HEADER_LEN + ADDRESS_LEN;

/// Largest kind of a request or response.
pub const MAX_KIND: u8 = 0x7e;

/// The kind of CHALLENGE, and with [`RESPONSE_BIT`] of ECHO.
const PATH_KIND: u8 = 0x7f;

/// One frame, borrowed from the packet that carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frame<'a> {
    /// Asks for something.
    Request { id: u32, kind: u8, body: &'a [u8] },
    /// Answers the request of the same id.
    Response { id: u32, kind: u8, observed: SocketAddr, body: &'a [u8] },
    /// Asks the peer to prove that it receives at a new address.
    Challenge { id: u32 },
    /// Answers the challenge of the same id.
    Echo { id: u32 },
}

impl<'a> Frame<'a> {
    /// Reads a frame; `None` if the bytes are none.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&[version, kind], rest) = bytes.split_first_chunk()?;
        let (&id, body) = rest.split_first_chunk()?;
        let id = u32::from_be_bytes(id);
        if version != FRAME_VERSION {
            return None;
        }
        match (kind & !RESPONSE_BIT, kind & RESPONSE_BIT != 0) {
            (PATH_KIND, is_echo) if body.is_empty() => {
                Some(if is_echo { Self::Echo { id } } else { Self::Challenge { id } })
            }
            (PATH_KIND, _) => None,
            (kind, false) => Some(Self::Request { id, kind, body }),
            (kind, true) => {
                let (address, body) = body.split_first_chunk()?;
                Some(Self::Response { id, kind, observed: decode_address(address), body })
            }
        }
    }

    /// Appends the bytes of the frame to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (id, kind, observed, body) = match *self {
            Self::Request { id, kind, body } => (id, kind, None, body),
            Self::Response { id, kind, observed, body } => (id, kind | RESPONSE_BIT, Some(observed), body),
            Self::Challenge { id } => (id, PATH_KIND, None, &[][..]),
            Self::Echo { id } => (id, PATH_KIND | RESPONSE_BIT, None, &[][..]),
        };
        out.extend([FRAME_VERSION, kind]);
        out.extend(id.to_be_bytes());
        if let Some(address) = observed {
            out.extend(encode_address(address));
        }
        out.extend(body);
    }

    /// Returns the length of the encoded frame.
    pub(super) const fn encoded_len(&self) -> usize {
        match self {
            Self::Request { body, .. } => REQUEST_HEADER_LEN + body.len(),
            Self::Response { body, .. } => RESPONSE_HEADER_LEN + body.len(),
            Self::Challenge { .. } | Self::Echo { .. } => REQUEST_HEADER_LEN,
        }
    }
}

/// Writes an address; the zone of a link-local one stays behind.
pub(crate) fn encode_address(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; ADDRESS_LEN];
    if let Some((head, tail)) = bytes.split_first_chunk_mut::<16>() {
        *head = ip.octets();
        tail.copy_from_slice(&address.port().to_be_bytes());
    }
    bytes
}

/// Reads an address; an IPv4-mapped one becomes IPv4.
pub(crate) fn decode_address(bytes: &[u8; ADDRESS_LEN]) -> SocketAddr {
    let (ip, port) = bytes.split_at(16);
    let ip = <[u8; 16]>::try_from(ip).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from);
    let port = <[u8; 2]>::try_from(port).map_or(0, u16::from_be_bytes);
    SocketAddr::new(IpAddr::V6(ip).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_survive_their_bytes() {
        let frames = ["127.0.0.1:7", "[2001:db8::1]:65535"].map(|text| Frame::Response {
            id: 9,
            kind: 3,
            observed: text.parse().unwrap(),
            body: b"body",
        });
        let others = [
            Frame::Request { id: 7, kind: MAX_KIND, body: b"" },
            Frame::Challenge { id: 1 },
            Frame::Echo { id: u32::MAX },
        ];
        for frame in frames.into_iter().chain(others) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(bytes.len(), frame.encoded_len());
            assert_eq!(Frame::decode(&bytes), Some(frame));
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(frame) = Frame::decode(&bytes) {
                let mut again = Vec::new();
                frame.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
