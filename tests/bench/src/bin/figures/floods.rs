//! Floods of one node, and what lookups notice of them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, is_right, user_name};
use peerchat_bench::process::{Usage, thread_cpu_time};
use peerchat_bench::quantile::quantile;
use peerchat_core::Client;
use peerchat_core::identity::SecretKey;
use peerchat_core::kademlia::{AddressFamily, Contact, NodeKey, Rpc};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::{Call, CallId, Transport, TransportConfig, TransportEvent};
use peerchat_core::wire::{Encoded, Request};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::report::{Cell, Figure, Table};

/// How many nodes there are.
const NODES: usize = 20;

/// What a flood is meant to bring, in packets a second.
const RATE: f64 = 50_000.0;

/// How long each flood lasts unless `SECONDS` says otherwise.
const FLOOD: Duration = Duration::from_secs(10);

/// Different first packets of a flood, each of another key.
const FIRST_PACKETS: usize = 4096;

/// Addresses of a flood from many.
const SOURCES: usize = 512;

/// Peers that ask without pause.
const ASKERS: usize = 32;

/// Packets sent between two looks at the clock.
const BURST: u64 = 50;

/// How long one lookup may take before it counts as a miss.
const PATIENCE: Duration = Duration::from_secs(15);

const COLUMNS: &[&str] = &[
    "flood",
    "sent per s",
    "arrived per s",
    "asker",
    "lookups",
    "misses",
    "p50 ms",
    "p99 ms",
    "CPU of nodes",
    "RSS before MiB",
    "RSS after MiB",
];

/// What a node is flooded with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flood {
    None,
    OneAddress,
    ManyAddresses,
    ValidLinks,
}

impl Flood {
    const ALL: [Self; 4] = [Self::None, Self::OneAddress, Self::ManyAddresses, Self::ValidLinks];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OneAddress => "first packets from one address",
            Self::ManyAddresses => "first packets from 512 addresses",
            Self::ValidLinks => "32 valid links that ask without pause",
        }
    }
}

/// Measures every flood, or the one whose number is given.
pub(super) fn measure(chosen: &[String]) -> Result<Figure, Failure> {
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok());
    let time = seconds.map_or(FLOOD, Duration::from_secs);
    let network = Network::new();
    network.grow(NODES, &Settings::default_options(), |_| {})?;
    let clients = network.clients();
    let mut table = Table::new(COLUMNS);
    for (number, flood) in Flood::ALL.into_iter().enumerate() {
        if chosen.is_empty() || chosen.contains(&number.to_string()) {
            run(flood, &clients, time, &mut table)?;
        }
    }
    network.close();
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "20 nodes in one process on loopback, k = 20, profiles in memory; one of them is flooded from other threads of \
         the same process, as fast as the system lets them but at most 50,000 packets a second. Sent is what they \
         handed to the system, arrived what the node read from its socket; the rest the kernel dropped.",
        "Lookups one after another, by the flooded node and by the others in turn, each for a user that is drawn. CPU \
         is that of the whole process without the flooding threads, in cores.",
        "First packets are valid and each of another key, and come round after 4,096. Valid links are of peers that \
         have proven key and address and ask FIND_NODE over and over without waiting for answers.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn run(flood: Flood, clients: &[Client], time: Duration, table: &mut Table) -> Result<(), Failure> {
    let (flooded, others) = clients.split_first().ok_or("there are no nodes")?;
    eprintln!("{}", flood.name());
    let target = Contact::new(flooded.node_key(), flooded.local_address());
    let (stop, sent, cpu) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let ready = Arc::new(AtomicBool::new(flood == Flood::None));
    let flooder = {
        let (stop, sent, cpu, ready) = (stop.clone(), sent.clone(), cpu.clone(), ready.clone());
        thread::spawn(move || -> Result<(), Failure> {
            let watch = Watch { stop, sent, ready };
            match flood {
                Flood::None => {}
                Flood::OneAddress => flood_first(target, 1, &watch)?,
                Flood::ManyAddresses => flood_first(target, SOURCES, &watch)?,
                Flood::ValidLinks => flood_links(target, &watch)?,
            }
            cpu.store(u64::try_from(thread_cpu_time().as_nanos())?, Ordering::Relaxed);
            Ok(())
        })
    };
    while !ready.load(Ordering::Relaxed) && !flooder.is_finished() {
        thread::sleep(Duration::from_millis(10));
    }
    let (before, arrived_before) = (Usage::now()?, flooded.statistics()?.datagrams_received);
    let (sent_before, start) = (sent.load(Ordering::Relaxed), Instant::now());
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let own = look_up(std::slice::from_ref(flooded), clients, time / 2, &mut rng)?;
    let foreign = look_up(others, clients, time / 2, &mut rng)?;
    let took = start.elapsed().as_secs_f64();
    let sent_count = sent.load(Ordering::Relaxed) - sent_before;
    let arrived = flooded.statistics()?.datagrams_received - arrived_before;
    let after = Usage::now()?;
    stop.store(true, Ordering::Relaxed);
    flooder.join().map_err(|_| "a flooding thread panicked")??;
    let flooding = Duration::from_nanos(cpu.load(Ordering::Relaxed));
    let used = (after.cpu - before.cpu).saturating_sub(flooding).as_secs_f64() / took;
    let mib = |len: u64| Cell::Number(len as f64 / f64::from(1 << 20), 1);
    for (asker, (times, misses)) in [("the flooded node", own), ("others", foreign)] {
        let ms = |share| Cell::Number(quantile(&times, share).as_secs_f64() * 1e3, 2);
        table.push(vec![
            flood.name().into(),
            Cell::Number(sent_count as f64 / took, 0),
            Cell::Number(arrived as f64 / took, 0),
            asker.into(),
            Cell::count(times.len()),
            Cell::count(misses),
            ms(0.5),
            ms(0.99),
            Cell::Number(used, 2),
            mib(before.resident_len),
            mib(after.resident_len),
        ]);
    }
    Ok(())
}

/// Lets clients look others up in turn, for a while; returns how long each lookup took and how many found nothing right.
fn look_up(
    askers: &[Client],
    all: &[Client],
    time: Duration,
    rng: &mut ChaCha20Rng,
) -> Result<(Vec<Duration>, usize), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (mut times, mut misses) = (Vec::new(), 0);
    let end = Instant::now() + time;
    for asker in askers.iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        let wanted = rng.random_range(0..all.len());
        let (name, wanted) = (user_name(wanted), &all[wanted]);
        if wanted.node_id() == asker.node_id() {
            continue;
        }
        let start = Instant::now();
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, asker.lookup(&name)).await });
        times.push(start.elapsed());
        misses += usize::from(!matches!(found, Ok(Ok(found)) if is_right(&found, wanted)));
    }
    Ok((times, misses))
}

/// What a flooding thread looks at and tells.
struct Watch {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// The flood has begun.
    ready: Arc<AtomicBool>,
}

impl Watch {
    /// Sends packet after packet, at most [`RATE`], until it is to stop; `between` is called after each [`BURST`].
    fn flood(
        &self,
        mut send: impl FnMut(u64) -> bool,
        mut between: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            for _ in 0..BURST {
                self.sent.fetch_add(u64::from(send(number)), Ordering::Relaxed);
                number += 1;
            }
            self.ready.store(true, Ordering::Relaxed);
            between()?;
            let due = Duration::from_secs_f64(number as f64 / RATE);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        Ok(())
    }
}

fn now() -> Now {
    // A transport uses no wall clock.
    Now { instant: Instant::now(), wall: Timestamp::default() }
}

fn peer(number: u64) -> Transport {
    let mut secret = [0x5a; 32];
    secret.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
    let rng = ChaCha20Rng::seed_from_u64(number);
    Transport::new(TransportConfig::default(), &SecretKey::from_bytes(&secret), rng)
}

fn ask(number: u64, to: Contact) -> Call {
    let target = some_key(number).node_id();
    let request = Request::Dht(Rpc::FindNode { target, family: AddressFamily::V4, serves: false });
    let Encoded { kind, body } = request.encode();
    Call {
        id: CallId(number),
        to,
        kind,
        body,
        is_early: true,
        is_bulk: false,
        is_answer_long: false,
        is_fleeting: false,
    }
}

/// Returns some key, which need not be one.
fn some_key(number: u64) -> NodeKey {
    let mut rng = ChaCha20Rng::seed_from_u64(number);
    NodeKey::from_bytes(rng.random())
}

/// Sockets on loopback addresses of their own.
fn sockets(count: usize) -> Result<Vec<UdpSocket>, Failure> {
    (0..count)
        .map(|number| {
            let [high, low] = u16::try_from(number)?.to_be_bytes();
            let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::new(127, 9, high, low + 1), 0)))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect()
}

/// Sends first packets of handshakes.
fn flood_first(target: Contact, sources: usize, watch: &Watch) -> Result<(), Failure> {
    let sockets = sockets(sources)?;
    let packets: Vec<Vec<u8>> = (0..FIRST_PACKETS as u64)
        .filter_map(|number| {
            let mut peer = peer(number);
            peer.call(ask(number, target), now());
            peer.poll_transmit().map(|transmit| transmit.bytes)
        })
        .collect();
    let send = |number: u64| {
        let at = number as usize;
        let socket = &sockets[at % sockets.len()];
        socket.send_to(&packets[at % packets.len()], target.address()).is_ok()
    };
    watch.flood(send, || Ok(()))
}

/// Asks over links that are up, without waiting for answers.
fn flood_links(target: Contact, watch: &Watch) -> Result<(), Failure> {
    let sockets = sockets(ASKERS)?;
    let mut peers: Vec<Transport> = (0..ASKERS as u64).map(|number| peer(1 << 32 | number)).collect();
    let mut buffer = [0; 2048];
    let mut last = 0;
    let mut exchange = |peer: &mut Transport, socket: &UdpSocket| {
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            peer.handle_datagram(from, buffer.get(..len).unwrap_or_default(), now());
        }
        if peer.poll_timeout().is_some_and(|(at, _)| at <= Instant::now()) {
            peer.handle_timeout(now());
        }
        let mut is_up = false;
        while let Some(event) = peer.poll_event() {
            is_up |= matches!(event, TransportEvent::Response { .. });
        }
        while let Some(transmit) = peer.poll_transmit() {
            // What does not go now is repeated.
            let _ = socket.send_to(&transmit.bytes, transmit.to);
        }
        is_up
    };
    // Every link is proven before the flood begins.
    let deadline = Instant::now() + PATIENCE;
    for (peer, socket) in peers.iter_mut().zip(&sockets) {
        last += 1;
        peer.call(ask(last, target), now());
        while !exchange(peer, socket) {
            if Instant::now() > deadline {
                return Err("the links of a flood did not come up".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    let peers = std::cell::RefCell::new(peers);
    let send = |number: u64| {
        let at = number as usize % ASKERS;
        let mut peers = peers.borrow_mut();
        last += 1;
        peers[at].call(ask(last, target), now());
        let mut was_sent = false;
        while let Some(transmit) = peers[at].poll_transmit() {
            was_sent |= sockets[at].send_to(&transmit.bytes, transmit.to).is_ok();
        }
        was_sent
    };
    let between = || {
        let mut peers = peers.borrow_mut();
        peers.iter_mut().zip(&sockets).for_each(|(peer, socket)| _ = exchange(peer, socket));
        Ok(())
    };
    watch.flood(send, between)
}
