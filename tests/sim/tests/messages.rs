//! Messages between people who are there, in networks of real engines on virtual time.

use std::time::Duration;

use peerchat_core::ErrorCode;
use peerchat_core::event::{Event, MessageState};
use peerchat_core::identity::Recipient;
use peerchat_sim::{Host, Network};

const SETTLE: Duration = Duration::from_secs(20);

fn network(seed: u64, loss: f64, names: &[&str]) -> (Network, Vec<Host>) {
    let mut net = Network::with_seed(seed).loss(loss);
    let hosts = names.iter().map(|name| net.join(name)).collect();
    net.run_for(SETTLE);
    (net, hosts)
}

fn from(writer: &str, texts: &[&str]) -> Vec<(String, String)> {
    texts.iter().map(|text| (writer.to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_message_arrives_once_and_its_sender_is_told() {
    let (mut net, hosts) = network(1, 0.0, &["alice", "bob", "carol"]);
    let id = net.send(hosts[0], "bob", "hello");
    net.run_for(SETTLE);
    assert_eq!(net.texts(hosts[1]), from("alice", &["hello"]));
    assert_eq!(net.state(hosts[0], id), Some(MessageState::Delivered));
    assert!(net.texts(hosts[2]).is_empty());
}

#[test]
fn both_write_first_at_the_same_time() {
    let (mut net, hosts) = network(2, 0.0, &["alice", "bob", "carol"]);
    net.send(hosts[0], "bob", "you first");
    net.send(hosts[1], "alice", "no, you");
    net.run_for(SETTLE);
    assert_eq!(net.texts(hosts[1]), from("alice", &["you first"]));
    assert_eq!(net.texts(hosts[0]), from("bob", &["no, you"]));
}

#[test]
fn two_hundred_messages_arrive_in_order_over_a_lossy_network() {
    let (mut net, hosts) = network(3, 0.0, &["alice", "bob", "carol", "dave"]);
    net.link_mut().loss = 0.15;
    let texts: Vec<String> = (0..200).map(|number| format!("message {number}")).collect();
    for text in &texts {
        net.send(hosts[0], "bob", text);
    }
    net.run_for(Duration::from_secs(600));
    let expected: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(net.texts(hosts[1]), from("alice", &expected));
}

/// What was answered once may be asked about again, late, under a number that its recipient has forgotten.
#[test]
fn whatever_share_of_the_packets_is_lost_each_message_arrives_once() {
    const COUNT: usize = 200;
    for seed in 0..70_u32 {
        let (mut net, hosts) = network(u64::from(100 + seed), 0.0, &["alice", "bob", "carol", "dave"]);
        net.link_mut().loss = 0.05 + 0.005 * f64::from(seed);
        for number in 0..COUNT {
            net.send(hosts[0], "bob", &format!("message {number}"));
        }
        net.run_for(Duration::from_secs(600));
        let texts: Vec<String> = net.texts(hosts[1]).into_iter().map(|(_, text)| text).collect();
        let expected: Vec<String> = (0..COUNT).map(|number| format!("message {number}")).collect();
        assert_eq!(texts, expected, "seed {seed}");
    }
}

#[test]
fn a_message_to_nobody_fails_and_says_why() {
    let (mut net, hosts) = network(4, 0.0, &["alice", "bob"]);
    let id = net.send(hosts[0], "nobody", "hello?");
    net.run_for(SETTLE);
    let failure = net.events(hosts[0]).iter().find_map(|event| match event {
        Event::MessageState { id: told, state: MessageState::Failed, code, .. } if *told == id => *code,
        _ => None,
    });
    assert_eq!(failure, Some(ErrorCode::UnknownRecipient));
}

#[test]
fn a_message_to_a_name_that_is_registered_a_moment_later_hardly_waits() {
    let ms = Duration::from_millis;
    let mut net = Network::with_seed(6).latency(ms(1)..ms(2));
    let hosts = ["alice", "carol"].map(|name| net.join(name));
    net.run_for(SETTLE);
    net.send(hosts[0], "bob", "early");
    net.run_for(ms(100));
    let bob = net.join("bob");
    net.run_for(ms(500));
    assert_eq!(net.texts(bob), from("alice", &["early"]));
}

#[test]
fn a_message_to_someone_away_waits_and_arrives_when_they_return() {
    let (mut net, hosts) = network(5, 0.0, &["alice", "bob", "carol"]);
    net.send(hosts[0], "bob", "one");
    net.run_for(SETTLE);
    net.stop(hosts[1]);
    let id = net.send(hosts[0], "bob", "two");
    net.run_for(Duration::from_secs(3600));
    assert_eq!(net.state(hosts[0], id), Some(MessageState::Stored), "carol keeps it");
    net.move_away(hosts[1]);
    net.start(hosts[1]);
    net.run_for(Duration::from_secs(600));
    assert_eq!(net.texts(hosts[1]), from("alice", &["one", "two"]));
    assert_eq!(net.state(hosts[0], id), Some(MessageState::Delivered));
}

#[test]
fn an_undelivered_message_expires() {
    let (mut net, hosts) = network(6, 0.0, &["alice", "bob", "carol"]);
    net.send(hosts[0], "bob", "one");
    net.run_for(SETTLE);
    net.stop(hosts[1]);
    let id = net.send(hosts[0], "bob", "two");
    net.run_for(Duration::from_secs(31 * 24 * 3600));
    assert_eq!(net.state(hosts[0], id), Some(MessageState::Expired));
    net.start(hosts[1]);
    net.run_for(SETTLE);
    net.send(hosts[0], "bob", "three");
    net.run_for(SETTLE);
    assert_eq!(net.texts(hosts[1]), from("alice", &["one", "three"]), "the hole is not waited for");
}

#[test]
fn an_unsent_message_survives_a_power_cut_of_its_sender() {
    let (mut net, hosts) = network(7, 0.0, &["alice", "bob", "carol"]);
    net.run_for(Duration::from_secs(60));
    net.stop(hosts[1]);
    net.send(hosts[0], "bob", "hello");
    net.kill(hosts[0]);
    net.start(hosts[1]);
    net.start(hosts[0]);
    net.run_for(Duration::from_secs(120));
    assert_eq!(net.texts(hosts[1]), from("alice", &["hello"]));
}

#[test]
fn power_cuts_on_both_sides_lose_nothing_and_repeat_nothing() {
    let (mut net, hosts) = network(8, 0.05, &["alice", "bob", "carol", "dave", "eve"]);
    net.run_for(Duration::from_secs(60));
    let mut expected = Vec::new();
    for round in 0..60_u64 {
        let text = format!("message {round}");
        net.send(hosts[0], "bob", &text);
        expected.push(text);
        net.run_for(Duration::from_millis(17 * round % 400));
        let victim = hosts[usize::try_from(round % 2).unwrap()];
        net.kill(victim);
        net.start(victim);
    }
    net.run_for(Duration::from_secs(900));
    let disk = net.disk(hosts[1]).messages();
    let arrived: Vec<String> =
        disk.iter().map(|message| String::from_utf8(message.body.clone()).unwrap()).collect();
    assert_eq!(arrived, expected);
    let own = net.disk(hosts[0]).messages();
    assert!(own.iter().all(|message| message.state == Some(MessageState::Delivered)));
}

#[test]
fn whoever_has_anothers_name_is_shown_with_their_fingerprint() {
    let (mut net, hosts) = network(9, 0.0, &["alice", "bob", "carol", "dave"]);
    let impostor = net.join("alice");
    net.run_for(SETTLE);
    net.send(impostor, "bob", "it is me, alice");
    net.run_for(SETTLE);
    net.send(hosts[0], "bob", "it is me");
    net.run_for(SETTLE);
    let texts = net.texts(hosts[1]);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].0.starts_with("alice#"), "{texts:?}");
    assert_eq!(texts[1], ("alice".to_owned(), "it is me".to_owned()));
    // The answer by fingerprint reaches the person who wrote, not the holder of the name.
    net.send(hosts[1], &texts[0].0, "who are you?");
    net.run_for(SETTLE);
    assert_eq!(net.texts(impostor), from("bob", &["who are you?"]));
    assert!(net.texts(hosts[0]).is_empty());
}

#[test]
fn a_note_to_oneself_is_delivered() {
    let (mut net, hosts) = network(10, 0.0, &["alice", "bob"]);
    let id = net.send(hosts[0], "Alice", "buy milk");
    net.run_for(SETTLE);
    assert_eq!(net.state(hosts[0], id), Some(MessageState::Delivered));
}

#[test]
fn twenty_people_all_write_to_one_another() {
    let names: Vec<String> = (0..20).map(|number| format!("user{number}")).collect();
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut net, hosts) = network(11, 0.0, &list);
    for (writer, host) in hosts.iter().enumerate() {
        for reader in names.iter().enumerate().filter(|(reader, _)| *reader != writer).map(|(_, name)| name) {
            net.send(*host, reader, &format!("{writer} to {reader}"));
        }
    }
    net.run_for(Duration::from_secs(120));
    for (reader, host) in hosts.iter().enumerate() {
        let mut texts = net.texts(*host);
        texts.sort();
        let mut expected: Vec<(String, String)> = (0..20)
            .filter(|writer| *writer != reader)
            .map(|writer| (names[writer].clone(), format!("{writer} to {}", names[reader])))
            .collect();
        expected.sort();
        assert_eq!(texts, expected);
    }
}

/// Sending on past a lost message, which the recipient cannot keep, would send nearly everything many times.
#[test]
fn a_lost_packet_does_not_make_a_long_queue_be_sent_again() {
    const COUNT: usize = 2000;
    let (mut net, hosts) = network(12, 0.02, &["alice", "bob", "carol"]);
    net.stop(hosts[1]);
    for number in 0..COUNT {
        net.send(hosts[0], "bob", &format!("message {number}"));
    }
    net.start(hosts[1]);
    let before = net.request_count();
    net.run_for(Duration::from_secs(900));
    assert_eq!(net.texts(hosts[1]).len(), COUNT);
    let requests = usize::try_from(net.request_count() - before).unwrap();
    assert!(requests < 3 * COUNT, "{requests} requests for {COUNT} messages");
}

#[test]
fn one_person_under_two_names_gets_everything_once_whatever_crashes() {
    let (mut net, hosts) = network(13, 0.05, &["alice", "bob", "carol", "dave"]);
    net.run_for(Duration::from_secs(60));
    let bob = net.lookup(hosts[0], "bob").unwrap();
    let exact = Recipient::exactly(bob.name, &bob.user).to_string();
    let mut expected = Vec::new();
    for round in 0..40_u64 {
        let to = if round % 2 == 0 { "bob" } else { &exact };
        let text = format!("message {round}");
        net.send(hosts[0], to, &text);
        expected.push(text);
        if round == 1 {
            net.send(hosts[1], "alice", "you first?");
        }
        net.run_for(Duration::from_millis(37 * round % 500));
        if round % 3 == 0 {
            net.kill(hosts[0]);
            net.start(hosts[0]);
        }
    }
    net.run_for(Duration::from_secs(900));
    let texts = net.disk(hosts[1]).messages().iter().filter(|message| message.state.is_none());
    let mut arrived: Vec<_> = texts.map(|message| String::from_utf8(message.body.clone()).unwrap()).collect();
    arrived.sort_unstable();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
    let own = net.disk(hosts[0]).messages().iter().filter_map(|message| message.state);
    assert!(own.into_iter().all(|state| state == MessageState::Delivered));
}
