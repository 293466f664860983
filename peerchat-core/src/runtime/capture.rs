//! [`Capture`]: what somebody on the wire sees of the nodes of a test, and sends once more.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use parking_lot::Mutex;

mod tests;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Capture>>> = const { RefCell::new(None) };
}

/// One datagram as it went over the wire.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// Every datagram of the nodes that it listens to, and their sockets, so that a datagram can come from the same address
/// again.
#[derive(Debug, Default)]
pub(super) struct Capture {
    datagrams: Mutex<Vec<Datagram>>,
    sockets: Mutex<BTreeMap<SocketAddr, UdpSocket>>,
}

impl Capture {
    /// Listens to every socket that this thread binds from now on.
    fn start() -> Arc<Self> {
        let capture = Arc::new(Self::default());
        CURRENT.set(Some(capture.clone()));
        capture
    }

    /// Returns who listens to a socket that was just bound, `None` if nobody does.
    pub(super) fn of(socket: &tokio::net::UdpSocket, local: SocketAddr) -> Option<Arc<Self>> {
        let capture = CURRENT.with_borrow(Clone::clone)?;
        let same = socket2::SockRef::from(socket).try_clone().unwrap();
        capture.sockets.lock().insert(local, same.into());
        Some(capture)
    }

    pub(super) fn note(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.datagrams.lock().push(Datagram { from, to, bytes: bytes.to_vec() });
    }

    /// Returns everything that was sent so far.
    fn datagrams(&self) -> Vec<Datagram> {
        self.datagrams.lock().clone()
    }

    /// Gives up the socket of a node that is gone, so that its port is closed.
    fn release(&self, local: SocketAddr) {
        self.sockets.lock().remove(&local);
    }

    /// Sends from the address of a node; `false` if that is gone.
    fn send_as(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> bool {
        let sockets = self.sockets.lock();
        let Some(socket) = sockets.get(&from) else { return false };
        loop {
            match socket.send_to(bytes, to) {
                Ok(_) => return true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{from} cannot send to {to}: {error}"),
            }
        }
    }
}
