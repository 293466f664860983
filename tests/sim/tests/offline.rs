//! Messages between people who are never there at the same time, in networks of real engines on virtual time: the nodes
//! in between keep them.

use std::time::Duration;

use peerchat_core::event::{Event, MessageId, MessageState};
use peerchat_sim::{Churn, Host, Network};

const SETTLE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(300);

/// Alice, Bob, and others who keep what they cannot read.
fn network(seed: u64, loss: f64, others: usize) -> (Network, Host, Host, Vec<Host>) {
    let mut net = Network::with_seed(seed).loss(loss);
    let others = (0..others).map(|number| net.join(&format!("user{number}"))).collect();
    let [alice, bob] = ["alice", "bob"].map(|name| net.join(name));
    net.run_for(LONG);
    (net, alice, bob, others)
}

fn texts(writer: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{writer} says {number}")).collect()
}

/// Returns the texts that a machine's application was told of, in order.
fn heard(net: &Network, host: Host) -> Vec<String> {
    net.texts(host).into_iter().map(|(_, text)| text).collect()
}

fn held_by(net: &Network, host: Host, message: MessageId) -> u32 {
    let count = |event: &Event| match event {
        Event::MessageState { id, state: MessageState::Stored, held_by, .. } if *id == message => {
            Some(*held_by)
        }
        _ => None,
    };
    net.events(host).iter().rev().find_map(count).unwrap_or(0)
}

/// Beside the mail a holder keeps records, which are public. It is given mail under a key that is no node's, and takes it for
/// none.
#[test]
fn what_holders_keep_says_nothing_of_who_wrote_what() {
    let (mut net, alice, bob, others) = network(6, 0.0, 8);
    let (writer, reader) = (net.lookup(others[0], "alice").unwrap(), net.engine(bob).unwrap().node_id());
    net.stop(bob);
    let secret = "meet me where the river bends";
    // One after another, or they would share an envelope.
    for text in [secret, "x", &secret.repeat(10)] {
        net.send(alice, "bob", text);
        net.run_for(LONG);
    }
    let key = net.key(alice);
    let own = [writer.user.as_bytes().as_slice(), writer.node.as_bytes(), key.as_bytes(), b"alice", b"river"];
    let mut count = 0;
    for host in others {
        let seen = net.depositors(host);
        assert_eq!(seen.len(), 1, "one throwaway key for one mailbox");
        let known = net.engine(host).unwrap().node().contacts_to_save();
        assert!(!seen.contains(&key) && known.iter().all(|contact| !seen.contains(&contact.key())));
        for body in net.disk(host).mail_bodies() {
            count += 1;
            assert!(own.iter().all(|words| !body.windows(words.len()).any(|found| found == *words)));
            assert!(body.windows(32).any(|found| found == reader.as_bytes()), "for whom it is, it says");
        }
    }
    assert_eq!(count, 3 * 8);
}

/// The scenario of the original that everything else here is a harder form of.
#[test]
fn bob_is_away_then_alice_is_and_the_message_and_the_answer_arrive() {
    let (mut net, alice, bob, _) = network(1, 0.0, 8);
    net.stop(bob);
    let question = net.send(alice, "bob", "are you there?");
    net.run_for(LONG);
    assert_eq!(net.state(alice, question), Some(MessageState::Stored));
    assert_eq!(held_by(&net, alice, question), 8, "every other node keeps it");
    net.stop(alice);

    net.move_away(bob);
    net.start(bob);
    net.run_for(LONG);
    assert_eq!(heard(&net, bob), ["are you there?"]);
    let answer = net.send(bob, "alice", "I was away");
    net.run_for(LONG);
    assert_eq!(net.state(bob, answer), Some(MessageState::Stored));
    net.stop(bob);

    net.move_away(alice);
    net.start(alice);
    net.run_for(LONG);
    assert_eq!(heard(&net, alice), ["I was away"]);
    assert_eq!(net.state(alice, question), Some(MessageState::Delivered));
    net.stop(alice);

    net.start(bob);
    net.run_for(LONG);
    assert_eq!(net.state(bob, answer), Some(MessageState::Delivered));
    assert_eq!(net.engine(bob).unwrap().outbox_count(), 0, "nothing is owed any more");
}

#[test]
fn it_works_with_loss_and_while_the_others_come_and_go() {
    for seed in 0..5 {
        let (mut net, alice, bob, others) = network(100 + seed, 0.0, 30);
        net.link_mut().loss = 0.1;
        net.churn(&others, Churn::with_median(Duration::from_secs(3600)));
        net.stop(bob);
        let expected = texts("alice", 20);
        let sent: Vec<MessageId> = expected.iter().map(|text| net.send(alice, "bob", text)).collect();
        net.run_for(2 * LONG);
        assert!(sent.iter().all(|id| net.state(alice, *id) == Some(MessageState::Stored)), "seed {seed}");
        net.stop(alice);
        net.run_for(Duration::from_secs(3 * 3600));
        net.move_away(bob);
        net.start(bob);
        net.run_for(2 * LONG);
        assert_eq!(heard(&net, bob), expected, "seed {seed}");
        net.stop(bob);
        net.start(alice);
        net.run_for(2 * LONG);
        assert!(sent.iter().all(|id| net.state(alice, *id) == Some(MessageState::Delivered)), "seed {seed}");
    }
}

#[test]
fn power_cuts_of_whoever_writes_and_whoever_reads_lose_nothing_and_repeat_nothing() {
    let (mut net, alice, bob, _) = network(3, 0.05, 10);
    let mut expected = Vec::new();
    for round in 0..30_u64 {
        let (there, away) = if round % 2 == 0 { (alice, bob) } else { (bob, alice) };
        if net.is_up(away) {
            net.kill(away);
        }
        if !net.is_up(there) {
            net.start(there);
        }
        let (to, text) = (if there == alice { "bob" } else { "alice" }, format!("message {round}"));
        net.send(there, to, &text);
        expected.push((there, text));
        // Sometimes in the middle of something.
        net.run_for(Duration::from_millis(211 * round * round % 40_000));
        net.kill(there);
        net.start(there);
        net.run_for(Duration::from_millis(977 * round % 9000));
    }
    for host in [alice, bob, alice, bob] {
        if !net.is_up(host) {
            net.start(host);
        }
        net.run_for(Duration::from_secs(900));
    }
    let read = |host: Host| -> Vec<String> {
        let received = net.disk(host).messages().iter().filter(|message| message.state.is_none());
        received.map(|message| String::from_utf8(message.body.clone()).unwrap()).collect()
    };
    let written = |host: Host| -> Vec<String> {
        expected.iter().filter(|(writer, _)| *writer == host).map(|(_, text)| text.clone()).collect()
    };
    assert_eq!(read(bob), written(alice));
    assert_eq!(read(alice), written(bob));
    for host in [alice, bob] {
        let own = net.disk(host).messages().iter().filter_map(|message| message.state);
        assert!(own.into_iter().all(|state| state == MessageState::Delivered));
    }
}

#[test]
fn two_thousand_messages_wait_and_arrive_in_order() {
    const COUNT: usize = 2000;
    let (mut net, alice, bob, _) = network(4, 0.02, 5);
    net.stop(bob);
    let expected = texts("alice", COUNT);
    for text in &expected {
        net.send(alice, "bob", text);
    }
    net.run_for(2 * LONG);
    net.stop(alice);
    net.start(bob);
    net.run_for(LONG);
    assert_eq!(heard(&net, bob), expected);
    net.stop(bob);
    net.start(alice);
    net.run_for(LONG);
    let own = net.disk(alice).messages().iter().filter_map(|message| message.state);
    assert!(own.into_iter().all(|state| state == MessageState::Delivered));
}

#[test]
fn a_stranger_is_heard_by_mail_and_can_be_answered() {
    let (mut net, alice, bob, _) = network(5, 0.0, 6);
    let impostor = net.join("alice");
    net.run_for(SETTLE);
    net.stop(bob);
    net.send(impostor, "bob", "it is me, alice");
    net.send(alice, "bob", "it is me");
    net.run_for(LONG);
    net.stop(impostor);
    net.stop(alice);
    net.start(bob);
    net.run_for(LONG);
    let mut told = net.texts(bob);
    told.sort();
    assert_eq!(told[0], ("alice".to_owned(), "it is me".to_owned()));
    assert!(told[1].0.starts_with("alice#"), "{told:?}");
    net.send(bob, &told[1].0, "who are you?");
    net.run_for(LONG);
    net.stop(bob);
    net.start(impostor);
    net.run_for(LONG);
    assert_eq!(heard(&net, impostor), ["who are you?"]);
}
