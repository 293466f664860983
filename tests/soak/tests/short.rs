//! Short forms of the runs of `make soak`.

use std::path::Path;

use peerchat_soak::{kills, life, million};

/// Says nothing.
fn quiet(_: &str) {}

#[test]
fn what_was_acknowledged_survives_kills_of_writer_reader_and_holders() {
    let program = Path::new(env!("CARGO_BIN_EXE_soak"));
    let outcome = kills::run(program, 10, 1, &mut quiet).unwrap();
    assert!(outcome.messages > 0, "{outcome:?}");
}

#[test]
fn thirty_people_live_three_rounds() {
    let outcome = life::run(30, 3, 1, &mut quiet).unwrap();
    assert!(outcome.messages > 30 && outcome.interruptions > 0, "{outcome:?}");
}

#[test]
fn ten_thousand_messages_are_counted_once_each_with_restarts_between() {
    let outcome = million::run(10_000, 1, &mut quiet).unwrap();
    assert!(outcome.interruptions > 0, "{outcome:?}");
}
