//! End-to-end sessions when something goes wrong with their state: conversations go on by themselves.

use std::time::Duration;

use peerchat_core::crypto::Secret;
use peerchat_core::event::{MessageId, MessageState};
use peerchat_core::user::Decision;
use peerchat_sim::{Host, Network};

const SETTLE: Duration = Duration::from_secs(20);

/// Long enough for what may happen once in an hour.
const LATER: Duration = Duration::from_secs(2 * 3600);

/// Alice and Bob, who have written to one another, and others.
fn network(seed: u64) -> (Network, Host, Host) {
    let mut net = Network::with_seed(seed).loss(0.02);
    let hosts = ["alice", "bob", "carol", "dave"].map(|name| net.join(name));
    net.run_for(SETTLE);
    let (alice, bob) = (hosts[0], hosts[1]);
    talk(&mut net, alice, bob, "before");
    net.run_for(SETTLE);
    (net, alice, bob)
}

/// Lets both write three texts.
fn talk(net: &mut Network, alice: Host, bob: Host, what: &str) {
    for number in 0..3 {
        net.send(alice, "bob", &format!("{what} {number} from alice"));
        net.send(bob, "alice", &format!("{what} {number} from bob"));
    }
}

/// Checks that what both wrote of late has arrived, each text once and in order, and that its writers know.
fn check(net: &Network, alice: Host, bob: Host, what: &str) {
    for (reader, writer) in [(alice, "bob"), (bob, "alice")] {
        let is_meant = |text: &String| text.starts_with(what);
        let texts: Vec<String> =
            net.texts(reader).into_iter().map(|(_, text)| text).filter(is_meant).collect();
        let expected: Vec<String> = (0..3).map(|number| format!("{what} {number} from {writer}")).collect();
        assert_eq!(texts, expected);
    }
    for host in [alice, bob] {
        let owed = net.disk(host).messages().iter().filter_map(|message| message.state);
        assert!(owed.into_iter().all(|state| state == MessageState::Delivered));
    }
}

#[test]
fn both_start_a_session_at_the_same_time_and_go_on() {
    let mut net = Network::with_seed(31);
    let [alice, bob, _] = ["alice", "bob", "carol"].map(|name| net.join(name));
    net.run_for(SETTLE);
    for what in ["first", "second", "third"] {
        talk(&mut net, alice, bob, what);
        net.run_for(SETTLE);
        check(&net, alice, bob, what);
    }
}

#[test]
fn the_conversation_goes_on_after_one_side_restores_an_old_backup() {
    for (seed, restores_alice) in [(32, true), (33, false), (34, true), (35, false)] {
        let (mut net, alice, bob) = network(seed);
        let restored = if restores_alice { alice } else { bob };
        let backup = net.back_up(restored);
        talk(&mut net, alice, bob, "lost");
        net.run_for(SETTLE);
        net.stop(restored);
        net.restore(restored, backup);
        net.start(restored);
        talk(&mut net, alice, bob, "after");
        net.run_for(LATER);
        check(&net, alice, bob, "after");
        talk(&mut net, alice, bob, "later");
        net.run_for(SETTLE);
        check(&net, alice, bob, "later");
    }
}

/// As many new messages as were forgotten: the numbers alone would not tell.
#[test]
fn a_restored_backup_with_as_many_new_messages_as_were_forgotten_loses_none() {
    let (mut net, alice, bob) = network(36);
    let backup = net.back_up(alice);
    (0..3).for_each(|number| _ = net.send(alice, "bob", &format!("forgotten {number}")));
    net.run_for(SETTLE);
    net.kill(alice);
    net.restore(alice, backup);
    net.start(alice);
    net.run_for(SETTLE);
    talk(&mut net, alice, bob, "new");
    net.run_for(LATER);
    check(&net, alice, bob, "new");
}

/// The number of what was cancelled was never used, and the old copy gives it to another message.
#[test]
fn what_an_old_backup_writes_under_the_number_of_a_cancelled_message_arrives_before_it_is_delivered() {
    let (mut net, alice, bob) = network(40);
    let backup = net.back_up(alice);
    let canceled = net.send(alice, "bob", "no, wait");
    let position = canceled.position(&net.key(alice).node_id()).unwrap();
    net.decide(alice, Decision::Cancel { position }).unwrap();
    net.run_for(SETTLE);
    net.send(alice, "bob", "forgotten");
    net.run_for(SETTLE);
    net.kill(alice);
    net.restore(alice, backup);
    net.start(alice);
    let id = net.send(alice, "bob", "new");
    let has_arrived = |net: &Network| net.texts(bob).iter().any(|(_, text)| text == "new");
    for _ in 0..240 {
        net.run_for(LATER / 240);
        assert!(has_arrived(&net) || net.state(alice, id) != Some(MessageState::Delivered), "a lie");
    }
    assert!(has_arrived(&net));
    assert_eq!(net.state(alice, id), Some(MessageState::Delivered));
}

/// Alice writes two texts to Bob, who is away, takes the first back, and puts a copy back of before. Bob was given nothing in
/// its place, and the second.
fn take_back(seed: u64, meet: impl FnOnce(&mut Network, Host, Host, MessageId)) {
    let (mut net, alice, bob) = network(seed);
    net.stop(bob);
    let taken_back = net.send(alice, "bob", "no, wait");
    net.send(alice, "bob", "kept");
    let backup = net.back_up(alice);
    let position = taken_back.position(&net.key(alice).node_id()).unwrap();
    net.decide(alice, Decision::Cancel { position }).unwrap();
    net.run_for(LATER);
    net.stop(alice);
    net.start(bob);
    net.run_for(SETTLE);
    assert_eq!(latest(&net, bob), "kept");
    net.restore(alice, backup);
    meet(&mut net, alice, bob, taken_back);
    assert_eq!(latest(&net, bob), "no, wait");
    assert_eq!(state_on_disk(&net, alice, position), Some(MessageState::Delivered));
    talk(&mut net, alice, bob, "after");
    net.run_for(LATER);
    check(&net, alice, bob, "after");
}

fn latest(net: &Network, host: Host) -> String {
    net.texts(host).pop().map(|(_, text)| text).unwrap_or_default()
}

fn state_on_disk(net: &Network, host: Host, position: u64) -> Option<MessageState> {
    net.disk(host).messages().iter().find(|message| message.position == position)?.state
}

/// Lets the network run, and sees to it that the message is not said to have arrived before it has.
fn run_without_a_lie(net: &mut Network, alice: Host, bob: Host, id: MessageId) {
    let position = id.position(&net.key(alice).node_id()).unwrap();
    for _ in 0..240 {
        net.run_for(LATER / 240);
        let has_arrived = latest(net, bob) == "no, wait";
        assert!(has_arrived || state_on_disk(net, alice, position) != Some(MessageState::Delivered), "a lie");
    }
}

#[test]
fn what_an_old_backup_owes_and_a_newer_copy_took_back_arrives_before_it_is_delivered() {
    for seed in 41..45 {
        take_back(seed, |net, alice, bob, id| {
            net.start(alice);
            run_without_a_lie(net, alice, bob, id);
        });
    }
}

#[test]
fn what_an_old_backup_owes_by_mail_and_a_newer_copy_took_back_arrives_before_it_is_delivered() {
    for seed in 45..49 {
        take_back(seed, |net, alice, bob, id| {
            // The receipt for what came after it is with the holders.
            net.run_for(LATER);
            for _ in 0..2 {
                net.stop(bob);
                net.start(alice);
                run_without_a_lie(net, alice, bob, id);
                net.stop(alice);
                net.start(bob);
                net.run_for(LATER);
            }
            net.start(alice);
            run_without_a_lie(net, alice, bob, id);
        });
    }
}

#[test]
fn the_conversation_goes_on_after_the_state_of_a_ratchet_is_damaged() {
    for (seed, damages_alice) in [(37, true), (38, false)] {
        let (mut net, alice, bob) = network(seed);
        let damaged = if damages_alice { alice } else { bob };
        net.stop(damaged);
        for session in net.disk_mut(damaged).sessions_mut() {
            session.state = Some(Secret::copy_of(b"damaged"));
        }
        net.start(damaged);
        talk(&mut net, alice, bob, "after");
        net.run_for(LATER);
        check(&net, alice, bob, "after");
    }
}
