//! [`Socket`]: one UDP socket for IPv4 and IPv6.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Type};
use tokio::net::UdpSocket;

use crate::error::Error;
use crate::kademlia::AddressFamily;

/// What the kernel may keep for a node that is busy; it takes the memory only when packets wait.
const RECEIVE_BUFFER_LEN: usize = 1 << 20;

/// Most errors in a row that receiving looks past: a socket that the system has taken away gives nothing else.
const MAX_ERRORS: usize = 64;

/// A bound UDP socket. Addresses go in and out in their own family, never IPv4-mapped.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: UdpSocket,
    local: SocketAddr,
    family: AddressFamily,
    /// Who listens on the wire, in a test that has somebody there.
    #[cfg(test)]
    capture: Option<std::sync::Arc<super::capture::Capture>>,
}

impl Socket {
    /// Binds `address`; `None` is any port on every IPv4 and IPv6 address. Must run inside the runtime.
    ///
    /// # Errors
    ///
    /// The port is taken, or the address is not this machine's.
    pub(crate) fn bind(address: Option<SocketAddr>) -> Result<Self, Error> {
        let wanted = address.unwrap_or(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let bound = match open(wanted) {
            // A machine without IPv6: what asked for every address means every IPv4 address.
            Err(error) if wanted.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !is_taken(&error) => {
                open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port())))
            }
            other => other,
        };
        let socket = bound.map_err(|error| failure(wanted, &error))?;
        let local = socket.local_addr().map_err(|error| failure(wanted, &error))?;
        let family = match local.ip() {
            IpAddr::V4(_) => AddressFamily::V4,
            IpAddr::V6(ip) if ip.is_unspecified() => AddressFamily::Any,
            IpAddr::V6(_) => AddressFamily::V6,
        };
        #[cfg(test)]
        let capture = super::capture::Capture::of(&socket, local);
        Ok(Self {
            socket,
            local,
            family,
            #[cfg(test)]
            capture,
        })
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn family(&self) -> AddressFamily {
        self.family
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Takes the next datagram, `None` if none waits.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        for _ in 0..MAX_ERRORS {
            match self.socket.try_recv_from(buffer) {
                Ok((len, from)) => {
                    return Some((len, SocketAddr::new(from.ip().to_canonical(), from.port())));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // An ICMP error of an earlier datagram: the call that sent it will time out.
                Err(error) => tracing::debug!(%error, "receiving failed"),
            }
        }
        None
    }

    /// Sends a datagram; `false` if the kernel has no room now. What cannot be sent at all is dropped, as UDP may.
    pub(crate) fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> bool {
        let mapped = match (self.local, to) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            _ => to,
        };
        match self.socket.try_send_to(bytes, mapped) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::debug!(%error, "sending failed");
                true
            }
            Ok(_) => {
                #[cfg(test)]
                if let Some(capture) = &self.capture {
                    capture.note(self.local, to, bytes);
                }
                true
            }
        }
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN) {
        tracing::debug!(%error, "the receive buffer keeps its size");
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

fn failure(address: SocketAddr, error: &io::Error) -> Error {
    if is_taken(error) {
        Error::AddressInUse { address }
    } else {
        Error::Network { address, detail: error.to_string() }
    }
}
