//! Short forms of the runs of `make soak`.

use std::path::Path;
use std::time::Duration;

use peerchat_soak::{kills, lab, life, million, partition};

/// Says nothing.
fn quiet(_: &str) {}

#[test]
fn what_was_acknowledged_survives_kills_of_writer_reader_and_holders() {
    let program = Path::new(env!("CARGO_BIN_EXE_soak"));
    let outcome = kills::run(program, 10, 1, &mut quiet).unwrap();
    assert!(outcome.messages > 0, "{outcome:?}");
}

/// The cut lasts until each half has noticed it.
#[test]
fn a_network_that_was_parted_heals_and_everything_arrives_once_and_in_order() {
    let program = Path::new(env!("CARGO_BIN_EXE_soak"));
    let Some(outcome) = partition::run(program, Duration::ZERO, 1, &mut quiet).unwrap() else {
        let reason = "the system gives tests no network namespaces";
        return lab::note_skipped("soak::a_network_that_was_parted_heals", reason).unwrap();
    };
    assert_eq!((outcome.messages, outcome.interruptions), (24, 1), "{outcome:?}");
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
