//! Requests, read receipts, blocks and typing, in networks of real engines on virtual time.

use std::time::Duration;

use peerchat_core::ErrorCode;
use peerchat_core::event::{Event, MessageId, MessageState};
use peerchat_core::identity::Recipient;
use peerchat_core::save::{Relation, SavedMessage, StreamId};
use peerchat_core::user::{ContentKind, Decision, TYPING_LIFETIME, Verb};
use peerchat_sim::{Host, Network};

const LONG: Duration = Duration::from_secs(300);

/// Alice, Bob, and others who keep what they cannot read.
fn network(seed: u64, others: usize) -> (Network, Host, Host) {
    let mut net = Network::with_seed(seed);
    for number in 0..others {
        net.join(&format!("user{number}"));
    }
    let [alice, bob] = ["alice", "bob"].map(|name| net.join(name));
    net.run_for(LONG);
    (net, alice, bob)
}

fn relate(net: &mut Network, host: Host, name: &str, verb: Verb) {
    net.decide(host, Decision::Relate { who: Recipient::parse(name).unwrap(), verb }).unwrap();
}

/// Marks everything that has arrived at a host as read.
fn read_all(net: &mut Network, host: Host) {
    let is_text =
        |message: &&SavedMessage| message.stream != StreamId::OWN && message.kind == ContentKind::TEXT.0;
    let last = net.disk(host).messages().iter().rfind(is_text).expect("something has arrived");
    let (conversation, stream, number) = (last.conversation, last.stream, last.number.unwrap());
    net.decide(host, Decision::MarkRead { conversation, stream, number }).unwrap();
}

fn typing(net: &Network, host: Host) -> Vec<bool> {
    let typing = |event: &Event| match event {
        Event::Typing { is_typing, .. } => Some(*is_typing),
        _ => None,
    };
    net.events(host).iter().filter_map(typing).collect()
}

fn states(net: &Network, host: Host, message: MessageId) -> Vec<MessageState> {
    let state = |event: &Event| match event {
        Event::MessageState { id, state, .. } if *id == message => Some(*state),
        _ => None,
    };
    net.events(host).iter().filter_map(state).collect()
}

/// Whether each is told after the one before it, with no way back.
fn only_move_forward(states: &[MessageState]) -> bool {
    states.windows(2).all(|pair| (pair[0] as i32) < pair[1] as i32 || pair == [MessageState::Stored; 2])
}

#[test]
fn what_was_read_is_told_over_a_lossy_network() {
    for seed in 0..10 {
        let (mut net, alice, bob) = network(seed, 4);
        net.link_mut().loss = 0.2;
        let ids: Vec<MessageId> =
            (0..50).map(|number| net.send(alice, "bob", &format!("message {number}"))).collect();
        net.run_for(LONG);
        assert_eq!(net.texts(bob).len(), 50, "seed {seed}");
        read_all(&mut net, bob);
        net.run_for(LONG);
        let is_read = |id: &MessageId| net.state(alice, *id) == Some(MessageState::Read);
        assert!(!ids.iter().any(is_read), "seed {seed}: Alice is no contact");
        relate(&mut net, bob, "alice", Verb::Accept);
        net.run_for(2 * LONG);
        for id in &ids {
            let states = states(&net, alice, *id);
            assert_eq!(states.last(), Some(&MessageState::Read), "seed {seed}");
            assert!(only_move_forward(&states), "seed {seed}: {states:?}");
        }
    }
}

/// More than is looked for at once, by two who are never there at the same time.
#[test]
fn what_was_read_is_told_by_mail_however_much_it_is() {
    const COUNT: usize = 1_500;
    let (mut net, alice, bob) = network(77, 8);
    net.send(bob, "alice", "write to me");
    net.run_for(LONG);
    net.stop(bob);
    let ids: Vec<MessageId> =
        (0..COUNT).map(|number| net.send(alice, "bob", &format!("message {number}"))).collect();
    net.run_for(2 * LONG);
    net.stop(alice);
    net.move_away(bob);
    net.start(bob);
    net.run_for(2 * LONG);
    assert_eq!(net.texts(bob).len(), COUNT);
    read_all(&mut net, bob);
    net.run_for(LONG);
    net.stop(bob);
    net.start(alice);
    net.run_for(2 * LONG);
    for id in ids {
        let states = states(&net, alice, id);
        assert_eq!(states.last(), Some(&MessageState::Read));
        assert!(only_move_forward(&states), "{states:?}");
    }
}

#[test]
fn who_is_blocked_hears_it_directly_and_their_mail_is_dropped() {
    let (mut net, alice, bob) = network(5, 6);
    net.send(alice, "bob", "hello");
    net.run_for(LONG);
    relate(&mut net, bob, "alice", Verb::Block);
    net.stop(bob);
    let by_mail = net.send(alice, "bob", "buy this");
    net.run_for(LONG);
    assert_eq!(net.state(alice, by_mail), Some(MessageState::Stored));
    net.start(bob);
    net.run_for(2 * LONG);
    let directly = net.send(alice, "bob", "and this");
    net.run_for(LONG);
    for id in [by_mail, directly] {
        assert_eq!(net.state(alice, id), Some(MessageState::Failed));
        let is_why = |event: &Event| matches!(event, Event::MessageState { id: other, code: Some(ErrorCode::BlockedByRecipient), .. } if *other == id);
        assert!(net.events(alice).iter().any(is_why));
    }
    assert_eq!(net.texts(bob).len(), 1);
    let bobs = net.engine(bob).unwrap();
    assert!(bobs.user().unwrap().blocked_count() >= 2);
    assert_eq!((bobs.outbox_count(), net.engine(alice).unwrap().outbox_count()), (0, 0));
}

#[test]
fn a_message_that_is_canceled_holds_up_nothing_over_a_lossy_network() {
    for seed in 0..10 {
        let (mut net, alice, bob) = network(200 + seed, 6);
        net.link_mut().loss = 0.2;
        net.stop(bob);
        let ids: Vec<MessageId> =
            (0..30).map(|number| net.send(alice, "bob", &format!("message {number}"))).collect();
        let alices = net.engine(alice).unwrap().node_id();
        let mut canceled = Vec::new();
        for id in ids.iter().step_by(3) {
            let position = id.position(&alices).unwrap();
            net.decide(alice, Decision::Cancel { position }).unwrap();
            canceled.push(*id);
        }
        net.run_for(2 * LONG);
        net.stop(alice);
        net.start(bob);
        net.run_for(2 * LONG);
        let kept = ids.iter().enumerate().filter(|(_, id)| !canceled.contains(id));
        let expected: Vec<String> = kept.map(|(number, _)| format!("message {number}")).collect();
        let heard: Vec<String> = net.texts(bob).into_iter().map(|(_, text)| text).collect();
        // What was on its way when it was canceled may have arrived; nothing else may be missing or come twice.
        assert!(expected.iter().all(|text| heard.contains(text)), "seed {seed}: {heard:?}");
        assert!(heard.len() <= 30, "seed {seed}");
        net.start(alice);
        net.run_for(2 * LONG);
        for id in &ids {
            let is_canceled = canceled.contains(id);
            let last = if is_canceled { MessageState::Canceled } else { MessageState::Delivered };
            assert_eq!(net.state(alice, *id), Some(last), "seed {seed}");
        }
        assert_eq!(net.engine(alice).unwrap().outbox_count(), 0, "seed {seed}");
    }
}

#[test]
fn a_request_is_kept_until_it_is_decided() {
    let (mut net, alice, bob) = network(9, 4);
    net.send(alice, "bob", "hello");
    net.run_for(LONG);
    net.kill(bob);
    net.start(bob);
    net.run_for(LONG);
    let relation = |net: &Network| {
        net.disk(bob).saved().conversations.iter().map(|saved| saved.relation).collect::<Vec<_>>()
    };
    assert_eq!(relation(&net), [Relation::Request]);
    relate(&mut net, bob, "alice", Verb::Accept);
    net.send(alice, "bob", "it is me");
    net.run_for(LONG);
    assert_eq!(relation(&net), [Relation::Contact]);
    let is_request = |event: &Event| match event {
        Event::Message(message) => Some(message.is_request),
        _ => None,
    };
    let told: Vec<bool> = net.events(bob).iter().filter_map(is_request).collect();
    assert_eq!((told.first(), told.last()), (Some(&true), Some(&false)));
}

#[test]
fn typing_is_told_over_a_lossy_network_ends_with_the_text_or_by_itself_and_is_never_saved() {
    for seed in 0..10 {
        let (mut net, alice, bob) = network(300 + seed, 4);
        net.send(alice, "bob", "hello");
        net.send(bob, "alice", "hello");
        net.run_for(LONG);
        net.link_mut().loss = 0.2;
        let rows = |net: &Network| [alice, bob].map(|host| net.disk(host).messages().len());
        let before = rows(&net);
        for _ in 0..200 {
            net.set_typing(alice, "bob", true).unwrap();
            net.run_for(Duration::from_millis(300));
        }
        assert_eq!(rows(&net), before, "seed {seed}");
        let heard = typing(&net, bob);
        assert_eq!(heard.first(), Some(&true), "seed {seed}");
        assert!(heard.windows(2).all(|pair| pair[0] != pair[1]), "seed {seed}: {heard:?}");
        net.run_for(TYPING_LIFETIME);
        assert_eq!(typing(&net, bob).last(), Some(&false), "seed {seed}: it ends by itself");

        net.link_mut().loss = 0.0;
        net.set_typing(alice, "bob", true).unwrap();
        net.run_for(Duration::from_secs(1));
        assert_eq!(typing(&net, bob).last(), Some(&true), "seed {seed}");
        net.send(alice, "bob", "here it is");
        net.run_for(Duration::from_secs(1));
        assert_eq!(typing(&net, bob).last(), Some(&false), "seed {seed}");
        net.kill(bob);
        net.set_typing(alice, "bob", true).unwrap();
        net.start(bob);
        net.run_for(LONG);
        assert_eq!(typing(&net, bob).last(), Some(&false), "seed {seed}: nothing waits for who is away");
        assert_eq!(net.engine(alice).unwrap().outbox_count(), 0);
    }
}
