//! Names and the keys behind them, in networks of real engines on virtual time.

use std::time::Duration;

use peerchat_core::event::{Event, MessageState};
use peerchat_core::identity::{Recipient, UserId, UserName};
use peerchat_core::kademlia::CLAIM_HOLD;
use peerchat_core::user::{Decision, DecisionError};
use peerchat_sim::{Host, Network, Sight, Takeover};

const SETTLE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn user_of(net: &Network, host: Host) -> UserId {
    net.engine(host).unwrap().user_id().unwrap()
}

fn changes(net: &Network, host: Host) -> Vec<(UserId, UserId)> {
    let change = |event: &Event| match event {
        Event::IdentityChanged { old, new, .. } => Some((*old, *new)),
        _ => None,
    };
    net.events(host).iter().filter_map(change).collect()
}

/// Bob loses his laptop for longer than his name is kept, and somebody else takes the name.
#[test]
fn a_name_that_went_to_somebody_else_is_told_and_messages_wait_for_the_one_who_was_met() {
    let mut net = Network::with_seed(31);
    let hosts: Vec<Host> = (0..6).map(|number| net.join(&format!("user{number}"))).collect();
    let (alice, bob) = (hosts[2], net.join("bob"));
    net.run_for(SETTLE);
    let bobs = user_of(&net, bob);
    let first = net.send(alice, "bob", "hello");
    net.run_for(SETTLE);
    assert_eq!(net.state(alice, first), Some(MessageState::Delivered));

    net.stop(bob);
    // Nodes follow a clock that jumps at 24 times the speed of time.
    let month_ms = i64::try_from(CLAIM_HOLD.as_millis()).unwrap();
    hosts.iter().chain([&bob]).for_each(|host| net.jump_clock(*host, month_ms));
    net.run_for(CLAIM_HOLD / 24 + DAY);
    let usurper = net.join("bob");
    net.jump_clock(usurper, month_ms);
    net.run_for(SETTLE);
    let theirs = user_of(&net, usurper);
    let second = net.send(alice, "bob", "are you there?");
    net.run_for(Duration::from_secs(120));
    assert_eq!(changes(&net, alice), [(bobs, theirs)]);
    assert_eq!(net.state(alice, second), Some(MessageState::Stored), "for the one who was met");
    assert_eq!(net.texts(usurper), []);

    // Bob is back, without his name: what was written to him arrives.
    net.start(bob);
    net.run_for(Duration::from_secs(600));
    assert_eq!(net.state(alice, second), Some(MessageState::Delivered));
    assert_eq!(net.texts(bob).len(), 2);

    let name = UserName::parse("bob").unwrap();
    let accept = |user| Decision::Accept { name: name.clone(), user };
    assert_eq!(net.decide(alice, accept(bobs)), Err(DecisionError::NotSeen));
    assert_eq!(net.decide(alice, accept(theirs)), Ok(()));
    net.stop(alice);
    net.start(alice);
    net.run_for(SETTLE);
    net.send(alice, "bob", "so you are bob now");
    net.send(alice, &Recipient::exactly(name, &bobs).to_string(), "and you are not");
    net.run_for(Duration::from_secs(120));
    assert_eq!(net.texts(usurper).len(), 1);
    assert_eq!(net.texts(bob).len(), 3);
    assert_eq!(changes(&net, alice).len(), 1, "nothing is left to decide");
}

/// As many Sybils as there are holders, closer to the name than anybody else: strangers are lost to them, and who has met
/// the holder is not.
#[test]
fn sybils_around_a_name_never_replace_a_contact_who_was_met() {
    let mut takeover = Takeover::prepare(41, 12, 3);
    takeover.attack(20);
    let strangers = takeover.strangers().to_vec();
    let sights: Vec<Sight> = strangers.into_iter().map(|host| takeover.look(host)).collect();
    assert!(sights.iter().any(|sight| *sight != Sight::Right), "the attack does not work: {sights:?}");
    let pinned = takeover.write_to_victim();
    assert_eq!(pinned.len(), 3);
    for contact in pinned {
        assert!(contact.is_kept && contact.is_delivered && !contact.is_betrayed, "{contact:?}");
    }
}

#[test]
fn one_sybil_beside_a_name_changes_nothing() {
    let mut takeover = Takeover::prepare(42, 12, 1);
    takeover.attack(1);
    let strangers = takeover.strangers().to_vec();
    let sights: Vec<Sight> = strangers.into_iter().map(|host| takeover.look(host)).collect();
    assert!(sights.iter().all(|sight| *sight == Sight::Right), "{sights:?}");
}
