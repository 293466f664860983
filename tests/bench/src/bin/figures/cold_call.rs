//! One call between two nodes that have never met, and one over a link: two transports in one thread, no sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::process::thread_cpu_time;
use peerchat_core::kademlia::{AddressFamily, Contact, K, NodeId, NodeKey, Rpc, RpcReply};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::TransportEvent;
use peerchat_core::wire::{Request, Response};

use peerchat_bench::pair::Pair;

use super::report::{Cell, Figure, Table};

const COLD_CALLS: usize = 2000;

const WARM_CALLS: usize = 100_000;

const COLUMNS: &[&str] = &["call", "calls", "CPU us, both sides", "datagrams", "bytes, both ways"];

pub(super) fn measure(_cases: &[String]) -> Result<Figure, Failure> {
    let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
    let mut pairs: Vec<Pair> = (0..COLD_CALLS as u64).map(Pair::new).collect();
    let mut table = Table::new(COLUMNS);
    let start = thread_cpu_time();
    let mut traffic = (0, 0);
    for pair in &mut pairs {
        find_node(pair, now)?;
    }
    let cold = thread_cpu_time() - start;
    for pair in &pairs {
        traffic = (traffic.0 + pair.datagrams(), traffic.1 + pair.bytes());
    }
    push(
        &mut table,
        "cold: handshake with FIND_NODE in it, answered with 20 contacts",
        COLD_CALLS,
        cold,
        traffic,
    );
    let pair = pairs.first_mut().ok_or("no pair")?;
    let before = (pair.datagrams(), pair.bytes());
    let start = thread_cpu_time();
    for _ in 0..WARM_CALLS {
        find_node(pair, now)?;
    }
    let warm = thread_cpu_time() - start;
    let traffic = (pair.datagrams() - before.0, pair.bytes() - before.1);
    push(&mut table, "warm: the same over the link", WARM_CALLS, warm, traffic);
    for (name, cold_us, warm_us, bytes) in [
        ("prototype, Noise datagrams over sockets", "600-900", "28-34", 2300.0),
        ("prototype, QUIC (quinn) over sockets", "1000-1500", "16-41", 5300.0),
    ] {
        table.push(vec![
            format!("{name}, cold").as_str().into(),
            Cell::Empty,
            cold_us.into(),
            Cell::Empty,
            Cell::Number(bytes, 0),
        ]);
        table.push(vec![format!("{name}, warm").as_str().into(), Cell::Empty, warm_us.into()]);
    }
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "Two `Transport` machines in one thread, no socket and no system call; the time is the thread's processor time \
         for both sides together, with the codec's part. The keys of both nodes exist already.",
        "A cold call ends when nothing is left to send: with the packet that proves the link to the responder.",
        "The prototypes were small programs over loopback sockets on another such machine, with a 65-byte request \
         and 1 KB reply.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn push(table: &mut Table, what: &str, calls: usize, cpu: Duration, (datagrams, bytes): (u64, u64)) {
    let each = |total: u64, decimals| Cell::Number(total as f64 / calls as f64, decimals);
    let us = cpu.as_secs_f64() * 1e6 / calls as f64;
    let cells = [Cell::count(calls), Cell::Number(us, 1), each(datagrams, 2), each(bytes, 0)];
    table.push(std::iter::once(what.into()).chain(cells).collect());
}

/// Calls FIND_NODE and answers it with as many contacts as fit, as two nodes would.
fn find_node(pair: &mut Pair, now: Now) -> Result<(), Failure> {
    let request =
        Rpc::FindNode { target: NodeId::from_bytes([7; 32]), family: AddressFamily::V4, serves: true };
    let answer = pair.call(&Request::Dht(request), now, |kind, body| {
        Request::decode(kind, body).ok()?;
        Some(Response::Dht(RpcReply::Nodes(contacts())))
    });
    match answer {
        Some(TransportEvent::Response { kind, body, .. }) => match Response::decode(kind, &body)? {
            Response::Dht(RpcReply::Nodes(found)) if found.len() == K => Ok(()),
            other => Err(format!("a wrong answer: {other:?}").into()),
        },
        other => Err(format!("no answer: {other:?}").into()),
    }
}

/// Makes the contacts of an answer.
fn contacts() -> Vec<Contact> {
    let contact = |number: u8| {
        Contact::new(
            NodeKey::from_bytes([number; 32]),
            SocketAddr::from(([127, 0, 0, 1], 4000 + u16::from(number))),
        )
    };
    (0..K as u8).map(contact).collect()
}
