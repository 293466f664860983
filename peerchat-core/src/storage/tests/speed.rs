//! Figures, not facts: `cargo test -p peerchat-core --release storage::tests::speed -- --ignored --nocapture`.

use std::fs;
use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use super::*;

/// How many messages are written.
const MESSAGE_COUNT: u64 = 200_000;

fn report(what: &str, count: u64, took: Duration) {
    let each = took.as_nanos() / u128::from(count);
    let rate = u128::from(count) * 1_000_000 / took.as_micros().max(1);
    writeln!(stdout(), "{what}: {each} ns each, {rate}/s").unwrap();
}

fn reopen(dir: &tempfile::TempDir, store: &Store) -> Store {
    let start = Instant::now();
    store.close();
    report("close", 1, start.elapsed());
    let start = Instant::now();
    let Opened { store, saved } = open_in(dir);
    let what = format!("open with {} messages, {} of them queued", saved.last_position, saved.outbox.len());
    report(&what, 1, start.elapsed());
    store
}

#[test]
#[ignore = "measures"]
fn speed_of_a_profile_on_disk() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let start = Instant::now();
    let store = open_in(&dir).store;
    report("make a profile", 1, start.elapsed());
    write(&store, two_conversations()).unwrap();

    let start = Instant::now();
    for position in 1..=100 {
        write(&store, vec![Write::Confirmed { position }]).unwrap();
    }
    report("one batch after another", 100, start.elapsed());

    let start = Instant::now();
    for position in 1..=MESSAGE_COUNT {
        let mut message = received(position, if position % 2 == 0 { ALICE } else { BOB }, position);
        message.body = vec![b'x'; 100];
        let writes = vec![Write::Message(message), Write::Confirmed { position }];
        store.write(WriteBatch { id: BatchId(position), writes }, |_, result| result.unwrap());
    }
    write(&store, vec![]).unwrap();
    report("batches of a message and a confirmation", MESSAGE_COUNT, start.elapsed());
    let store = reopen(&dir, &store);

    let start = Instant::now();
    let chunk =
        |from: u64| (from..from + 1000).map(|position| Write::Message(own(position, ALICE))).collect();
    let mut positions = (MESSAGE_COUNT + 1..=2 * MESSAGE_COUNT).step_by(1000);
    positions.try_for_each(|from| write(&store, chunk(from))).unwrap();
    report("messages in batches of a thousand", MESSAGE_COUNT, start.elapsed());

    let start = Instant::now();
    for before in 1..=1_000 {
        store.history(ALICE, Some(before * 100), 50).unwrap();
    }
    report("fifty messages of history", 1_000, start.elapsed());
    reopen(&dir, &store).close();
    let len = fs::metadata(dir.path().join("data/node.db")).unwrap().len();
    writeln!(stdout(), "{} bytes a message", len / (2 * MESSAGE_COUNT)).unwrap();
}

#[test]
#[ignore = "measures"]
fn speed_of_a_profile_in_memory() {
    let start = Instant::now();
    let stores: Vec<Store> =
        (0..10_000).map(|_| open(&Location::Memory, None, node_keys).unwrap().store).collect();
    report("make a profile in memory", 10_000, start.elapsed());
    let start = Instant::now();
    for store in &stores {
        write(store, two_conversations()).unwrap();
    }
    report("a batch in memory", 10_000, start.elapsed());
}
