//! [`HostilePeer`]: a node that says by QUIC whatever it is told to, for the fuzzers only.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointEvent, Event,
    StreamEvent, StreamId, VarInt,
};

use super::{config, tls};
use crate::identity::SecretKey;
use crate::kademlia::NodeKey;
use crate::transport::Transmit;

/// How much such a peer sends, in bytes, of which it has heard nothing.
const HOSTILE_WINDOW: u64 = 1 << 24;

/// What a peer does on a stream or a connection.
#[derive(Clone, Copy, Debug)]
pub enum Deed<'a> {
    /// Opens a stream and writes to it.
    Open(&'a [u8]),
    /// Writes to one of the streams that it knows, by its place among them.
    Write(usize, &'a [u8]),
    /// Ends what it writes to a stream.
    Finish(usize),
    /// Resets a stream.
    Reset(usize, u32),
    /// Refuses to hear more of a stream.
    Stop(usize, u32),
    /// Takes what a stream brings.
    Read(usize),
    /// Grants the other side so many streams.
    Grant(u32),
    /// Closes the connection.
    Close(u32),
}

/// A node of which only the key is honest.
pub(crate) struct HostilePeer {
    endpoint: Endpoint,
    client: ClientConfig,
    connections: BTreeMap<ConnectionHandle, Connection>,
    streams: Vec<(ConnectionHandle, StreamId)>,
    transmits: Vec<Transmit>,
}

impl fmt::Debug for HostilePeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostilePeer")
    }
}

impl HostilePeer {
    pub(crate) fn new(key: &SecretKey, network: &str, seed: [u8; 32]) -> Self {
        let (endpoint, mut client) = config::endpoint((key, false), network, seed, Default::default());
        // It minds neither what the network bears nor what the other side has acknowledged.
        let mut congestion = CubicConfig::default();
        congestion.initial_window(HOSTILE_WINDOW);
        let mut transport = config::transport();
        transport.congestion_controller_factory(Arc::new(congestion)).send_window(HOSTILE_WINDOW);
        client.transport_config(Arc::new(transport));
        Self { endpoint, client, connections: BTreeMap::new(), streams: Vec::new(), transmits: Vec::new() }
    }

    pub(crate) fn connect(&mut self, peer: &NodeKey, address: SocketAddr, now: Instant) {
        let begun = self.endpoint.connect(now, self.client.clone(), address, &tls::server_name(peer));
        if let Ok((handle, connection)) = begun {
            self.connections.insert(handle, connection);
            self.run(handle, now);
        }
    }

    pub(crate) fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let mut answer = Vec::new();
        let event = self.endpoint.handle(now, from, None, None, BytesMut::from(datagram), &mut answer);
        let handle = match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connections.get_mut(&handle) {
                    connection.handle_event(event);
                }
                handle
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let Ok((handle, connection)) = self.endpoint.accept(incoming, now, &mut answer, None) else {
                    return;
                };
                self.connections.insert(handle, connection);
                handle
            }
            _ => return,
        };
        self.run(handle, now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let handles: Vec<ConnectionHandle> = self.connections.keys().copied().collect();
        for handle in handles {
            if let Some(connection) = self.connections.get_mut(&handle)
                && connection.poll_timeout().is_some_and(|at| at <= now)
            {
                connection.handle_timeout(now);
                self.run(handle, now);
            }
        }
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        self.connections.values_mut().filter_map(Connection::poll_timeout).min()
    }

    pub(crate) fn take_transmits(&mut self) -> Vec<Transmit> {
        std::mem::take(&mut self.transmits)
    }

    /// Does something, if it has a connection or stream to do it with.
    pub(crate) fn act(&mut self, deed: Deed<'_>, now: Instant) {
        let newest = self.connections.keys().next_back().copied();
        let handle = match deed {
            Deed::Open(_) | Deed::Grant(_) | Deed::Close(_) => newest,
            Deed::Write(at, _)
            | Deed::Finish(at)
            | Deed::Reset(at, _)
            | Deed::Stop(at, _)
            | Deed::Read(at) => self.stream(at).map(|(handle, _)| handle),
        };
        let Some(handle) = handle else { return };
        let stream = |at: usize| self.streams.get(at % self.streams.len().max(1)).map(|(_, id)| *id);
        let Some(connection) = self.connections.get_mut(&handle) else { return };
        // What QUIC refuses a hostile node as well cannot be done.
        let opened = match deed {
            Deed::Open(bytes) => {
                let opened = connection.streams().open(Dir::Bi);
                opened.inspect(|id| _ = connection.send_stream(*id).write(bytes))
            }
            Deed::Write(at, bytes) => {
                stream(at).into_iter().for_each(|id| _ = connection.send_stream(id).write(bytes));
                None
            }
            Deed::Finish(at) => {
                stream(at).into_iter().for_each(|id| _ = connection.send_stream(id).finish());
                None
            }
            Deed::Reset(at, code) => {
                stream(at).into_iter().for_each(|id| _ = connection.send_stream(id).reset(code.into()));
                None
            }
            Deed::Stop(at, code) => {
                stream(at).into_iter().for_each(|id| _ = connection.recv_stream(id).stop(code.into()));
                None
            }
            Deed::Read(at) => {
                stream(at).into_iter().for_each(|id| read(connection, id));
                None
            }
            Deed::Grant(count) => {
                connection.set_max_concurrent_streams(Dir::Bi, VarInt::from_u32(count));
                None
            }
            Deed::Close(code) => {
                connection.close(now, code.into(), Bytes::from_static(b"because"));
                None
            }
        };
        self.streams.extend(opened.map(|id| (handle, id)));
        self.run(handle, now);
    }

    fn stream(&self, at: usize) -> Option<(ConnectionHandle, StreamId)> {
        self.streams.get(at % self.streams.len().max(1)).copied()
    }

    fn run(&mut self, handle: ConnectionHandle, now: Instant) {
        let Some(connection) = self.connections.get_mut(&handle) else { return };
        loop {
            let mut is_quiet = true;
            while let Some(event) = connection.poll_endpoint_events() {
                is_quiet = false;
                if let Some(answer) = self.endpoint.handle_event(handle, event) {
                    connection.handle_event(answer);
                }
            }
            while let Some(event) = connection.poll() {
                is_quiet = false;
                if let Event::Stream(StreamEvent::Opened { dir }) = event {
                    let opened = std::iter::from_fn(|| connection.streams().accept(dir));
                    self.streams.extend(opened.map(|id| (handle, id)));
                }
            }
            loop {
                let mut bytes = Vec::new();
                let Some(transmit) = connection.poll_transmit(now, 1, &mut bytes) else { break };
                is_quiet = false;
                self.transmits.push(Transmit { to: transmit.destination, bytes });
            }
            if is_quiet {
                break;
            }
        }
        if connection.is_drained() {
            self.endpoint.handle_event(handle, EndpointEvent::drained());
            self.connections.remove(&handle);
            self.streams.retain(|(of, _)| *of != handle);
        }
    }
}

/// Takes what has come, so that the other side may send more.
fn read(connection: &mut Connection, id: StreamId) {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(false) else { return };
    while let Ok(Some(_)) = chunks.next(usize::MAX) {}
    let _ = chunks.finalize();
}
