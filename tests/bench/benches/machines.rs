//! The hot paths of the pure machines: what one step costs, without sockets, disks or other nodes.
#![allow(missing_docs, reason = "criterion's macros write an undocumented function")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peerchat_bench::pair::Pair;
use peerchat_bench::talk::Talk;
use peerchat_core::identity::{SecretKey, UserId};
use peerchat_core::kademlia::{
    ALPHA, Contact, FIRST_CONTACTS, K, LOOKUP_PATHS, Lookup, LookupConfig, NodeId, NodeKey, Record,
    RecordHeader, RecordKey, RecordKind, RoutingTable, Rpc, RpcReply,
};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::wire::{Request, Response};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// Nodes that the owner of the full table has heard of.
const WORLD: usize = 100_000;

const WALL: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

criterion_group!(benches, table, codec, record, link, lookup, talk);
criterion_main!(benches);

fn table(criterion: &mut Criterion) {
    let (contacts, now) = (contacts(WORLD), Instant::now());
    let mut full = RoutingTable::new(NodeId::from_bytes([0; 32]), K);
    for contact in &contacts {
        full.handle_alive(*contact, now);
    }
    let mut targets = contacts.iter().map(Contact::id).cycle();
    criterion.bench_function("table: 20 closest of a full table", |bench| {
        bench.iter(|| full.closest(&targets.next().unwrap(), K));
    });
    let mut heard = contacts.iter().copied().cycle();
    criterion.bench_function("table: hear of a node, full table", |bench| {
        bench.iter(|| full.handle_alive(heard.next().unwrap(), now));
    });
    let empty = RoutingTable::new(NodeId::from_bytes([0; 32]), K);
    let first = &contacts[..200];
    let mut group = criterion.benchmark_group("table: insert into a new table");
    group.throughput(Throughput::Elements(first.len() as u64));
    group.bench_function("200 nodes", |bench| {
        let fill = |mut table: RoutingTable| {
            for contact in first {
                table.handle_alive(*contact, now);
            }
            table
        };
        bench.iter_batched(|| empty.clone(), fill, BatchSize::SmallInput);
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let nodes = Response::Dht(RpcReply::Nodes(contacts(K)));
    let value = Response::Dht(RpcReply::Value(user_record().as_bytes().to_vec()));
    for (name, response) in [("NODES of 20 contacts", nodes), ("VALUE with a user record", value)] {
        let encoded = response.encode();
        criterion.bench_function(&format!("codec: encode {name}"), |bench| {
            bench.iter(|| black_box(&response).encode());
        });
        criterion.bench_function(&format!("codec: decode {name}"), |bench| {
            bench.iter(|| Response::decode(encoded.kind, black_box(&encoded.body)));
        });
    }
}

fn record(criterion: &mut Criterion) {
    let record = user_record();
    criterion.bench_function("record: parse and verify", |bench| {
        bench.iter(|| Record::parse(black_box(record.as_bytes())));
    });
    let key = SecretKey::from_bytes(&[1; 32]);
    criterion.bench_function("record: sign", |bench| {
        bench.iter(|| Record::sign(&key, record.header(), black_box(record.body())));
    });
}

fn link(criterion: &mut Criterion) {
    let now = Now { instant: Instant::now(), wall: WALL };
    let mut seed = 0;
    criterion.bench_function("link: handshake with PING in it, both sides", |bench| {
        let fresh = || {
            seed += 1;
            Pair::new(seed)
        };
        bench.iter_batched(fresh, |mut pair| (ping(&mut pair, now), pair), BatchSize::SmallInput);
    });
    let (mut pair, mut now) = (Pair::new(0), now);
    // A link may not ask as often as it likes.
    let mut later = || {
        now = now.after(Duration::from_micros(100));
        now
    };
    ping(&mut pair, later());
    criterion
        .bench_function("link: PING and PONG, both sides", |bench| bench.iter(|| ping(&mut pair, later())));
    for len in [100, 1000] {
        let request = Request::Dht(Rpc::Store { record: vec![7; len] });
        criterion.bench_function(&format!("link: {len} bytes there and PONG back, both sides"), |bench| {
            bench.iter(|| pair.call(&request, later(), |_, _| Some(Response::Dht(RpcReply::Pong))));
        });
    }
}

/// Whole people: what a message costs beside sockets, threads and the queue from which an application takes events.
fn talk(criterion: &mut Criterion) {
    let mut now = Now { instant: Instant::now(), wall: WALL };
    let mut talk = Talk::new(1, now).expect("two people who have just met write to each other");
    let text = "x".repeat(100);
    criterion.bench_function(
        "talk: a message of 100 bytes until it is known to be delivered, both sides",
        |bench| {
            bench.iter(|| {
                now = now.after(Duration::from_millis(1));
                talk.say(&text, now).expect("it arrives");
            });
        },
    );
}

fn lookup(criterion: &mut Criterion) {
    let contacts = contacts(2000);
    let target = NodeId::from_bytes([0x55; 32]);
    let config =
        LookupConfig { k: K, alpha: ALPHA, wanted: Some(8), paths: LOOKUP_PATHS, first: FIRST_CONTACTS };
    let mut asked = Lookup::new(target, config);
    asked.add(contacts[..3 * K].iter().copied());
    let answers: Vec<&[Contact]> = contacts[3 * K..].chunks_exact(K).take(20).collect();
    criterion.bench_function("lookup: ask 20 nodes, 20 contacts from each", |bench| {
        let step = |mut lookup: Lookup| {
            for answer in &answers {
                if let Some(contact) = lookup.poll_request() {
                    lookup.handle_nodes(&contact, answer);
                }
            }
            lookup.is_done()
        };
        bench.iter_batched(|| asked.clone(), step, BatchSize::SmallInput);
    });
}

fn ping(pair: &mut Pair, now: Now) {
    let answer = pair.call(&Request::Dht(Rpc::Ping), now, |_, _| Some(Response::Dht(RpcReply::Pong)));
    assert!(answer.is_some(), "no PONG");
}

/// Makes contacts with keys drawn from a fixed seed, on one machine of many ports.
fn contacts(count: usize) -> Vec<Contact> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut contact = |number: usize| {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        let port = 1024 + (number % 60_000) as u16;
        Contact::new(NodeKey::from_bytes(key), SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    (0..count).map(&mut contact).collect()
}

/// Makes a record as long as that of a user with one device.
fn user_record() -> Record {
    let key = SecretKey::from_bytes(&[1; 32]);
    let header = RecordHeader {
        kind: RecordKind::User,
        key: RecordKey::of_user(UserId::of(&key.public()).as_bytes()),
        owner: key.public(),
        sequence: 1,
        issued: WALL,
        expires: Timestamp::from_unix_ms(WALL.unix_ms() + 3_600_000),
    };
    Record::sign(&key, header, &[7; 42]).unwrap()
}
