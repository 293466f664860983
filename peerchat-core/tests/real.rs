//! Clients as applications hold them: real sockets on loopback, real disks, real time.
#![cfg(feature = "runtime")]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use peerchat_core::config::Location;
use peerchat_core::identity::SecretKey;
use peerchat_core::kademlia::RecordKey;
use peerchat_core::mail::{Depositor, EnvelopeId, KeptEnvelope, MailPlace, STRANGERS_KEPT, TokenTag};
use peerchat_core::save::{BatchId, Write, WriteBatch};
use peerchat_core::{
    Client, CommandId, Config, ConfigBuilder, Error, ErrorCode, Event, FoundUser, MAX_TEXT_LEN, MessageId,
    MessageState, Timestamp, storage,
};

/// How long a test waits for an event before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

const ANY_V4: &str = "127.0.0.1:0";
const ANY_V6: &str = "[::1]:0";

#[test]
fn each_of_twenty_clients_finds_every_other_with_the_right_address() {
    let names: Vec<String> = (0..20).map(|number| format!("user{number}")).collect();
    let mut people: Vec<Person> = names.iter().map(|name| Person::in_memory(name)).collect();
    let (first, others) = people.split_first_mut().unwrap();
    others.iter_mut().for_each(|person| person.join(&first.client));
    people.iter_mut().for_each(Person::wait_until_registered);
    for asker in &people {
        for (sought, name) in people.iter().zip(&names) {
            let found = asker.find(name);
            assert_eq!(found.addresses, [sought.client.local_address()]);
            assert_eq!(Some(found.user), sought.client.user_id());
            assert_eq!(found.node, sought.client.node_id());
        }
    }
}

#[test]
fn a_conversation_survives_a_restart_of_both_from_other_ports() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let third = node(ANY_V4);
    let open = |index: usize, name| Person::on_disk(directories[index].path(), name);
    let (mut alice, mut bob) = (open(0, "alice"), open(1, "bob"));
    for person in [&mut alice, &mut bob] {
        person.join(&third);
        person.wait_until_registered();
    }
    let (from_alice, from_bob) = (texts("alice", 100), texts("bob", 100));
    let sent: Vec<MessageId> = from_alice
        .iter()
        .zip(&from_bob)
        .flat_map(|(ours, theirs)| {
            let ours = alice.client.send_blocking("bob", ours).unwrap();
            bob.client.send_blocking("alice", theirs).unwrap();
            [ours]
        })
        .collect();
    assert_eq!(bob.receive(100), from_alice);
    assert_eq!(alice.receive(100), from_bob);
    alice.wait_until_delivered(&sent);
    bob.wait_until_all_is_delivered();
    let ports = [&alice, &bob].map(|person| person.client.local_address());
    shut_down(&alice.client);
    shut_down(&bob.client);

    // Held, so that the system gives out other ports.
    let _taken = ports.map(|address| UdpSocket::bind(address).unwrap());
    let (mut alice, mut bob) = (open(0, "alice"), open(1, "bob"));
    assert_eq!(alice.written_and_read("bob"), (from_alice.clone(), from_bob.clone()));
    assert_eq!(bob.written_and_read("alice"), (from_bob, from_alice));
    alice.client.send_blocking("bob", "still there?").unwrap();
    assert_eq!(bob.receive(1), ["still there?"]);
    bob.client.send_blocking("alice", "yes").unwrap();
    assert_eq!(alice.receive(1), ["yes"], "nothing of before is told again");
}

/// Bob is away when Alice writes, Alice is gone when he returns, and the answer goes the same way.
#[test]
fn who_is_never_there_at_the_same_time_talks_all_the_same() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let keepers: Vec<Client> = (0..5).map(|_| node(ANY_V4)).collect();
    let seed = keepers[0].local_address().to_string();
    for keeper in &keepers[1..] {
        keeper.bootstrap(&seed).unwrap();
    }
    let open = |index: usize, name| Person::on_disk(directories[index].path(), name);
    let (mut alice, mut bob) = (open(0, "alice"), open(1, "bob"));
    for person in [&mut alice, &mut bob] {
        person.join_at(&seed);
        person.wait_until_registered();
    }
    // Everybody knows everybody, and where Bob is, before anybody leaves.
    alice.find("bob");
    bob.find("alice");
    alice.wait_until(|client| client.statistics().unwrap().contact_count == 6);
    let ports = [&alice, &bob].map(|person| person.client.local_address());
    shut_down(&bob.client);
    // Held, so that the system gives out other ports.
    let mut taken = vec![UdpSocket::bind(ports[1]).unwrap()];
    let question = alice.client.send_blocking("bob", "are you there?").unwrap();
    alice.wait_until_stored(question, 5);
    assert_eq!(alice.client.message_state(question).unwrap(), MessageState::Stored);
    assert_eq!(alice.client.message_holders(question).unwrap(), 5);
    shut_down(&alice.client);
    taken.push(UdpSocket::bind(ports[0]).unwrap());

    let mut bob = open(1, "bob");
    assert_eq!(bob.receive(1), ["are you there?"]);
    let answer = bob.client.send_blocking("alice", "I was away").unwrap();
    bob.wait_until_stored(answer, 5);
    let port = bob.client.local_address();
    shut_down(&bob.client);
    taken.push(UdpSocket::bind(port).unwrap());

    let mut alice = open(0, "alice");
    assert_eq!(alice.receive(1), ["I was away"]);
    alice.wait_until_delivered(&[question]);
    assert_eq!(alice.client.message_state(question).unwrap(), MessageState::Delivered);
    alice.wait_until_all_is_delivered();
    shut_down(&alice.client);

    let mut bob = open(1, "bob");
    bob.wait_until_delivered(&[answer]);
    bob.wait_until_all_is_delivered();
}

#[test]
fn people_talk_over_ipv6() {
    if UdpSocket::bind(ANY_V6).is_err() {
        eprintln!("SKIPPED people_talk_over_ipv6: this machine has no IPv6");
        return;
    }
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| Person::open(config(ANY_V6).user(name).unwrap()));
    bob.join(&alice.client);
    bob.wait_until_registered();
    alice.client.send_blocking("bob", "over six").unwrap();
    assert_eq!(bob.receive(1), ["over six"]);
    bob.client.send_blocking("alice", "and back").unwrap();
    assert_eq!(alice.receive(1), ["and back"]);
    assert_eq!(alice.find("bob").addresses, [bob.client.local_address()]);
}

#[test]
fn a_dual_stack_node_talks_with_one_that_has_only_ipv4() {
    let mut alice = Person::open(Config::in_memory().port(0).user("alice").unwrap());
    let mut bob = Person::in_memory("bob");
    let through = SocketAddr::from(([127, 0, 0, 1], alice.client.local_address().port()));
    bob.join_at(&through.to_string());
    bob.wait_until_registered();
    bob.client.send_blocking("alice", "from four").unwrap();
    assert_eq!(alice.receive(1), ["from four"]);
    alice.client.send_blocking("bob", "from both").unwrap();
    assert_eq!(bob.receive(1), ["from both"]);
}

#[test]
fn a_port_in_use_leaves_no_profile_behind() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let taken = UdpSocket::bind(ANY_V4).unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config::builder(&data).bind(address).user("alice").unwrap().build().unwrap();
    let refusal = Client::open(config.clone()).unwrap_err();
    assert!(matches!(refusal, Error::AddressInUse { address: of } if of == address), "{refusal:?}");
    assert!(!data.exists());
    drop(taken);
    shut_down(&Client::open(config).unwrap());
}

#[test]
fn a_profile_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = Person::on_disk(directory.path(), "alice");
    let again = || Client::open(on_disk(directory.path(), "Alice").build().unwrap());
    let refusal = again().unwrap_err();
    assert!(matches!(refusal, Error::ProfileInUse { .. }), "{refusal:?}");
    shut_down(&first.client);
    assert_eq!(again().unwrap().user_id(), first.client.user_id());
}

#[test]
fn an_address_where_nobody_answers_fails_with_the_id_of_its_call() {
    let silent = UdpSocket::bind(ANY_V4).unwrap();
    let mut alice = Person::in_memory("alice");
    let address = silent.local_addr().unwrap().to_string();
    assert_eq!(alice.bootstrap_failure(&address), ErrorCode::Unreachable);
    assert_eq!(alice.bootstrap_failure("nowhere.invalid:4000"), ErrorCode::Unreachable);
}

#[test]
fn a_node_with_another_key_than_asked_for_is_told_from_none() {
    let (seed, mut alice) = (node(ANY_V4), Person::in_memory("alice"));
    let wrong = SecretKey::from_bytes(&[7; 32]).public();
    let at = seed.local_address();
    assert_eq!(alice.bootstrap_failure(&format!("{wrong}@{at}")), ErrorCode::WrongKey);
    alice.join_at(&format!("{}@{at}", seed.node_key()));
}

#[test]
fn networks_of_different_names_do_not_meet() {
    let seed = node(ANY_V4);
    let mut alice = Person::open(config(ANY_V4).network("another").user("alice").unwrap());
    assert_eq!(alice.bootstrap_failure(&seed.local_address().to_string()), ErrorCode::Unreachable);
}

#[test]
fn a_message_to_nobody_fails_and_says_why() {
    let (seed, mut alice) = (node(ANY_V4), Person::in_memory("alice"));
    alice.join(&seed);
    let id = alice.client.send_blocking("nobody", "hello?").unwrap();
    let (state, code) = alice.expect(|event| match event {
        Event::MessageState { id: of, state, code, .. } if *of == id => Some((*state, *code)),
        _ => None,
    });
    assert_eq!((state, code), (MessageState::Failed, Some(ErrorCode::UnknownRecipient)));
    assert_eq!(alice.client.message_state(id).unwrap(), MessageState::Failed);
    assert!(matches!(alice.client.lookup_wait("nobody"), Err(Error::UnknownRecipient)));
}

#[test]
fn closing_wakes_whoever_waits_and_refuses_every_later_call() {
    let alice = Person::in_memory("alice").client;
    let id = alice.send_blocking("bob", "hello").unwrap();
    std::thread::scope(|scope| {
        let polling = scope.spawn(|| alice.poll(PATIENCE));
        let asking = scope.spawn(|| block_on(alice.next_event()));
        // A lookup on a node that knows nobody may end by itself.
        let looking = scope.spawn(|| alice.lookup_wait("bob"));
        alice.close();
        assert!(matches!(polling.join().unwrap(), Err(Error::Closed)));
        assert!(matches!(asking.join().unwrap(), Err(Error::Closed)));
        assert!(matches!(looking.join().unwrap(), Err(Error::Closed | Error::TimedOut)));
    });
    let failures = [
        alice.poll(PATIENCE).map(|_| ()),
        alice.send_blocking("bob", "hello").map(|_| ()),
        alice.lookup_wait("bob").map(|_| ()),
        alice.bootstrap("127.0.0.1:1").map(|_| ()),
        alice.history("bob", None, 1).map(|_| ()),
        alice.message_state(id).map(|_| ()),
        alice.statistics().map(|_| ()),
        alice.event_fd().map(|_| ()),
    ];
    assert!(failures.iter().all(|failure| matches!(failure, Err(Error::Closed))), "{failures:?}");
    alice.close();
    shut_down(&alice);
}

#[test]
fn shutdown_ends_while_messages_are_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let (mut alice, bob) = (Person::on_disk(directory.path(), "alice"), Person::in_memory("bob"));
    alice.join(&bob.client);
    let accepted: Vec<MessageId> = std::thread::scope(|scope| {
        let send = || {
            let send = |number| alice.client.send_blocking("bob", &format!("message {number}"));
            (0..10_000).map_while(|number| send(number).ok()).collect::<Vec<_>>()
        };
        let senders = [(); 4].map(|()| scope.spawn(send));
        alice.client.poll(Duration::from_millis(300)).ok();
        shut_down(&alice.client);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let again = Person::on_disk(directory.path(), "alice");
    for id in accepted {
        assert!(again.client.message_state(id).is_ok(), "a message that was accepted is not there");
    }
}

#[test]
fn what_was_not_taken_is_told_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (mut alice, mut bob) = (Person::in_memory("alice"), Person::on_disk(directory.path(), "bob"));
    bob.join(&alice.client);
    bob.wait_until_registered();
    let sent: Vec<MessageId> =
        texts("alice", 5).iter().map(|text| alice.client.send_blocking("bob", text).unwrap()).collect();
    alice.wait_until_delivered(&sent);
    assert_eq!(bob.receive(2), texts("alice", 5)[..2]);
    shut_down(&bob.client);
    let mut bob = Person::on_disk(directory.path(), "bob");
    assert_eq!(bob.receive(3), texts("alice", 5)[2..]);
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    const COUNT: usize = 3000;
    let (mut alice, mut bob) = (Person::in_memory("alice"), Person::in_memory("bob"));
    bob.join(&alice.client);
    bob.wait_until_registered();
    let expected = texts("alice", COUNT);
    for text in &expected {
        alice.client.send_blocking("bob", text).unwrap();
    }
    alice.wait_until_all_is_delivered();
    assert_eq!(bob.receive(COUNT), expected);
}

#[test]
fn the_longest_text_arrives_whole_by_stream() {
    let (mut alice, mut bob) = (Person::in_memory("alice"), Person::in_memory("bob"));
    bob.join(&alice.client);
    bob.wait_until_registered();
    let long: String = (0..MAX_TEXT_LEN).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let expected = [long.clone(), "short".to_owned(), long];
    let sent = expected.clone().map(|text| bob.client.send_blocking("alice", &text).unwrap());
    assert_eq!(alice.receive(3), expected);
    bob.wait_until_delivered(&sent);
    assert_eq!(bob.client.statistics().unwrap().connection_count, 1);
    let too_long = "x".repeat(MAX_TEXT_LEN + 1);
    assert!(matches!(bob.client.send_blocking("alice", &too_long), Err(Error::TextTooLong { .. })));
}

#[test]
fn a_burst_goes_through_over_a_connection_in_order() {
    const COUNT: usize = 600;
    let (mut alice, mut bob) = (Person::in_memory("alice"), Person::in_memory("bob"));
    bob.join(&alice.client);
    bob.wait_until_registered();
    let expected = texts("alice", COUNT);
    for text in &expected {
        alice.client.send_blocking("bob", text).unwrap();
    }
    assert_eq!(bob.receive(COUNT), expected);
    alice.wait_until_all_is_delivered();
    let statistics = alice.client.statistics().unwrap();
    assert_eq!((statistics.connection_count, statistics.link_count), (1, 1));
}

#[test]
fn statistics_count() {
    let (mut alice, mut bob) = (Person::in_memory("alice"), Person::in_memory("bob"));
    let before = alice.client.statistics().unwrap();
    assert_eq!((before.contact_count, before.datagrams_sent, before.datagrams_received), (0, 0, 0));
    bob.join(&alice.client);
    bob.wait_until_registered();
    bob.client.send_blocking("alice", "hello").unwrap();
    alice.receive(1);
    bob.wait_until_all_is_delivered();
    UdpSocket::bind(ANY_V4).unwrap().send_to(b"?", alice.client.local_address()).unwrap();
    alice.wait_until(|client| client.statistics().unwrap().dropped > 0);
    let after = alice.client.statistics().unwrap();
    assert_eq!((after.contact_count, after.link_count, after.outbox_count), (1, 1, 0));
    assert!(after.record_count >= 2, "{after:?}");
    assert!(after.datagrams_sent > 0 && after.datagrams_received > after.datagrams_sent / 2, "{after:?}");
    assert!(after.bytes_sent > after.datagrams_sent && after.bytes_received > after.datagrams_received);
}

/// Nothing of a client may depend on the runtime that its caller happens to be in.
#[tokio::test]
async fn a_client_works_within_the_runtime_of_somebody_else() {
    let (mut alice, mut bob) = (Person::in_memory("alice"), Person::in_memory("bob"));
    bob.join(&alice.client);
    bob.wait_until_registered();
    let id = alice.client.send("bob", "hello").await.unwrap();
    assert_eq!(bob.receive(1), ["hello"]);
    alice.wait_until_delivered(&[id]);
    assert_eq!(alice.client.lookup("bob").await.unwrap().addresses, [bob.client.local_address()]);
    shut_down(&alice.client);
    assert!(matches!(alice.client.next_event().await, Err(Error::Closed)));
}

#[test]
fn dropping_the_last_clone_frees_port_and_profile() {
    let directory = tempfile::tempdir().unwrap();
    let first = Person::on_disk(directory.path(), "alice").client;
    drop(first.clone());
    assert!(first.statistics().is_ok(), "one clone is left");
    let (user, address) = (first.user_id(), first.local_address());
    drop(first);
    // Nobody has waited for its end: opening does.
    let again = Client::open(on_disk(directory.path(), "alice").bind(address).build().unwrap()).unwrap();
    assert_eq!((again.user_id(), again.local_address()), (user, address));
    again.close();
    let config = Config::in_memory().bind(address).build().unwrap();
    assert_eq!(
        Client::open(config).unwrap().local_address(),
        address,
        "the port alone is waited for as well"
    );
}

/// Shuts a client down, however long the disk takes.
fn shut_down(client: &Client) {
    assert!((0..40).any(|_| client.shutdown()), "not shut down within a minute");
}

/// A person at their client, with the events that nobody has asked for yet.
struct Person {
    client: Client,
    events: Vec<Event>,
}

impl Person {
    fn open(builder: ConfigBuilder) -> Self {
        Self { client: Client::open(builder.build().unwrap()).unwrap(), events: Vec::new() }
    }

    fn in_memory(name: &str) -> Self {
        Self::open(config(ANY_V4).user(name).unwrap())
    }

    fn on_disk(directory: &Path, name: &str) -> Self {
        Self::open(on_disk(directory, name))
    }

    fn join(&mut self, seed: &Client) {
        self.join_at(&seed.local_address().to_string());
    }

    fn join_at(&mut self, address: &str) {
        let command = self.client.bootstrap(address).unwrap();
        let failure = self.outcome_of(command);
        assert_eq!(failure, None, "cannot join through {address}");
    }

    fn bootstrap_failure(&mut self, address: &str) -> ErrorCode {
        let command = self.client.bootstrap(address).unwrap();
        self.outcome_of(command).expect("it should have failed")
    }

    /// Waits until a bootstrap call has ended; returns why it failed, if it did.
    fn outcome_of(&mut self, call: CommandId) -> Option<ErrorCode> {
        self.expect(|event| match event {
            Event::Bootstrapped { command, .. } if *command == call => Some(None),
            Event::BootstrapFailed { command, code, .. } if *command == call => Some(Some(*code)),
            _ => None,
        })
    }

    fn wait_until_registered(&mut self) {
        self.expect(|event| matches!(event, Event::Registered { .. }).then_some(()));
    }

    /// Returns the texts of the next messages that arrive.
    fn receive(&mut self, count: usize) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Message(message) => Some(message.text.clone()),
            _ => None,
        };
        (0..count).map(|_| self.expect(text)).collect()
    }

    fn wait_until_delivered(&mut self, messages: &[MessageId]) {
        for message in messages {
            self.expect(|event| match event {
                Event::MessageState { id, state: MessageState::Delivered, .. } => {
                    (id == message).then_some(())
                }
                _ => None,
            });
        }
    }

    /// Waits until so many nodes keep a message.
    fn wait_until_stored(&mut self, message: MessageId, by: u32) {
        self.expect(|event| match event {
            Event::MessageState { id, state: MessageState::Stored, held_by, .. } => {
                (*id == message && *held_by == by).then_some(())
            }
            _ => None,
        });
    }

    fn wait_until_all_is_delivered(&mut self) {
        self.wait_until(|client| client.statistics().unwrap().outbox_count == 0);
    }

    /// Looks somebody up whose records may still be on their way.
    fn find(&self, name: &str) -> FoundUser {
        let mut attempts = (0..50).map(|_| self.client.lookup_wait(name));
        attempts.find_map(Result::ok).unwrap_or_else(|| panic!("{name} is not found"))
    }

    /// Waits for something that no event tells.
    fn wait_until(&mut self, is_done: impl Fn(&Client) -> bool) {
        let pause = Duration::from_millis(20);
        let mut quiet = Duration::ZERO;
        while !is_done(&self.client) {
            assert!(quiet < PATIENCE, "not done after {PATIENCE:?}");
            match self.client.poll(pause).unwrap() {
                Some(event) => self.events.push(event),
                None => quiet += pause,
            }
        }
    }

    /// Takes the first event that `pick` picks; the others stay for later.
    fn expect<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        if let Some((index, picked)) =
            self.events.iter().enumerate().find_map(|(index, event)| Some((index, pick(event)?)))
        {
            self.events.remove(index);
            return picked;
        }
        loop {
            let event = self.client.poll(PATIENCE).unwrap();
            let event =
                event.unwrap_or_else(|| panic!("not told within {PATIENCE:?}; was {:?}", self.events));
            if let Some(picked) = pick(&event) {
                return picked;
            }
            self.events.push(event);
        }
    }

    /// Returns the texts of a conversation as history has them, our own and the other's, oldest first.
    fn written_and_read(&self, peer: &str) -> (Vec<String>, Vec<String>) {
        let mut entries = self.client.history(peer, None, 1000).unwrap();
        entries.reverse();
        let (own, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_own);
        assert!(own.iter().all(|entry| entry.state == Some(MessageState::Delivered)));
        let texts = |entries: Vec<peerchat_core::HistoryEntry>| {
            entries.into_iter().map(|entry| entry.text).collect::<Vec<_>>()
        };
        (texts(own), texts(others))
    }
}

fn config(bind: &str) -> ConfigBuilder {
    Config::in_memory().bind(bind.parse().unwrap())
}

fn on_disk(directory: &Path, name: &str) -> ConfigBuilder {
    Config::builder(directory).bind(ANY_V4.parse().unwrap()).user(name).unwrap()
}

/// Opens a node without a user.
fn node(bind: &str) -> Client {
    Client::open(config(bind).build().unwrap()).unwrap()
}

fn texts(writer: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{writer} says {number}")).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A holder whose room for strangers has been filled, on its disk, asks the next one for work, and gets it.
#[test]
fn a_stranger_works_for_a_mailbox_that_others_have_filled() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let open_keeper = || {
        let builder = Config::builder(directories[2].path()).bind(ANY_V4.parse().unwrap());
        Client::open(builder.build().unwrap()).unwrap()
    };
    let keeper = open_keeper();
    let open = |index: usize, name| Person::on_disk(directories[index].path(), name);
    let (mut alice, mut bob) = (open(0, "alice"), open(1, "bob"));
    for person in [&mut alice, &mut bob] {
        person.join(&keeper);
        person.wait_until_registered();
    }
    let found = alice.find("bob");
    let place = MailPlace { mailbox: RecordKey::of_user(found.user.as_bytes()), device: found.node };
    shut_down(&bob.client);
    shut_down(&keeper);
    fill(directories[2].path(), place, STRANGERS_KEPT * 3 / 4);

    let keeper = open_keeper();
    alice.join(&keeper);
    let question = alice.client.send_blocking("bob", "are you there?").unwrap();
    alice.wait_until_stored(question, 1);
    let counts = keeper.statistics().unwrap();
    assert_eq!((counts.mail_deposited, counts.mail_refused_work), (1, 1));
    assert_eq!(alice.client.statistics().unwrap().work_given_up, 0);
}

/// Writes into the profile of a node without a user that it keeps so many envelopes for a device.
fn fill(directory: &Path, place: MailPlace, count: u64) {
    let location = Location::Directory(directory.to_owned());
    let opened = storage::open(&location, None, || panic!("there is a profile")).unwrap();
    let kept = |position: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&position.to_be_bytes());
        let envelope = KeptEnvelope {
            position,
            place,
            id: EnvelopeId::from_bytes(id),
            expires: Timestamp::from_unix_ms(u64::from(u32::MAX) * 1000),
            len: 585,
            depositor: Depositor::LOCAL,
            token: TokenTag::NONE,
        };
        Write::MailKept { envelope, bytes: Box::new([0; 585]) }
    };
    let (done, is_done) = std::sync::mpsc::channel();
    let batch = WriteBatch { id: BatchId(1), writes: (1..=count).map(kept).collect() };
    opened.store.write(batch, move |_, result| done.send(result).unwrap());
    is_done.recv().unwrap().unwrap();
    opened.store.close();
}
