//! Random stories against the model of what everybody must see; `make soak RUN=model` tells hundreds.

use peerchat_sim::story::{Story, Tale};

/// How many steps each story has.
const STEPS: usize = 60;

#[test]
fn what_must_be_seen_is_seen_whatever_happens() {
    let mut all = Tale::default();
    for seed in 0..12 {
        let tale = Story::tell(seed, STEPS);
        all.sent += tale.sent;
        all.arrived += tale.arrived;
        all.given_up += tale.given_up;
        all.interruptions += tale.interruptions;
    }
    // The stories are worth telling.
    assert!(all.arrived > 300 && all.given_up > 10 && all.interruptions > 60, "{all:?}");
}

#[test]
fn a_story_is_the_same_each_time() {
    assert_eq!(Story::tell(7, 30), Story::tell(7, 30));
}
