//! Another process: it is kept out while it should be, and its death loses nothing that it was told is saved.
//!
//! The tests run their own program again, with a data directory in an environment variable.

use std::env;
use std::io::{BufRead, BufReader, Write as _, stdout};
use std::process::{Child, Command, Stdio};

use super::*;

/// Names the data directory for a child; without it the test of the child's part does nothing.
const DATA_DIR: &str = "PEERCHAT_STORAGE_TEST_DATA_DIR";

/// What a child prints before the id of a batch that is on disk.
const SAVED: &str = "saved ";

/// More than a child writes before it is killed; it ends by itself if nobody does.
const CHILD_MESSAGE_COUNT: u64 = 50_000;

/// Writes one message a batch, as fast as the queue allows, until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(data_dir) = env::var_os(DATA_DIR) else { return };
    let store = open(&Location::Directory(data_dir.into()), None, node_keys).unwrap().store;
    let first = match store.history(ALICE, None, 1).unwrap().first() {
        Some(last) => last.position + 1,
        None => 1,
    };
    write(&store, two_conversations()).unwrap();
    for position in first..first + CHILD_MESSAGE_COUNT {
        let mut message = received(position, ALICE, position);
        message.body = vec![position as u8; 300];
        // Two writes, so that a torn batch would show.
        let writes = vec![Write::Message(message), Write::Confirmed { position }];
        store.write(WriteBatch { id: BatchId(position), writes }, |id, result| {
            result.unwrap();
            writeln!(stdout(), "{SAVED}{}", id.0).unwrap();
        });
    }
}

fn start_child(dir: &tempfile::TempDir) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["storage::tests::crash::child_that_writes_until_it_is_killed", "--exact", "--nocapture"])
        .env(DATA_DIR, dir.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the id in a line of the child, `None` for what the test harness prints and for a torn line.
fn saved_id(line: &str) -> Option<u64> {
    line.strip_suffix('\n')?.split_once(SAVED)?.1.parse().ok()
}

/// Kills a child after so many acknowledgements; returns the last one that it printed.
fn write_and_kill(dir: &tempfile::TempDir, count: usize) -> u64 {
    let mut child = start_child(dir);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut next = || {
        line.clear();
        (output.read_line(&mut line).unwrap() > 0).then(|| saved_id(&line))
    };
    let mut last = None;
    let mut seen = 0;
    while seen < count {
        let id = next().expect("the child ended by itself");
        seen += usize::from(id.is_some());
        last = id.or(last);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(id) = next() {
        last = id.or(last);
    }
    last.unwrap()
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for count in [1, 2, 30, 700, 3_000] {
        let acknowledged = write_and_kill(&dir, count);
        let Opened { store, saved } = open_in(&dir);
        assert!(saved.last_position >= acknowledged, "{} of {acknowledged}", saved.last_position);
        assert_eq!(saved.confirmed_position, saved.last_position, "half a batch");
        let history = store.history(ALICE, None, usize::MAX).unwrap();
        assert!(positions(&history).into_iter().rev().eq(1..=saved.last_position), "a gap in history");
        store.close();
    }
}

#[test]
fn a_profile_is_in_use_while_another_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_child(&dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(SAVED)), "the child did not open the profile");
    assert!(matches!(open(&location(&dir), None, node_keys), Err(Error::ProfileInUse { .. })));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(open(&location(&dir), None, node_keys).is_ok());
}
