//! A profile moves to another machine while people talk: real sockets on loopback, real disks.
#![cfg(feature = "runtime")]

mod support;

use peerchat_core::{Client, Config, Error, Event, MessageId, MessageState, Passphrase, Relation, UserName};
use support::{expect, message, open, shut_down};

fn wait_for(client: &Client, message: MessageId, wanted: MessageState) {
    expect(client, |event| match event {
        Event::MessageState { id, state, .. } if (*id, *state) == (message, wanted) => Some(()),
        _ => None,
    });
}

/// Meets and exchanges a message both ways.
fn acquainted(directories: &[tempfile::TempDir; 3]) -> [Client; 2] {
    let (alice, bob) = (open(directories[0].path(), "alice"), open(directories[1].path(), "bob"));
    bob.bootstrap(&alice.local_address().to_string()).unwrap();
    for client in [&alice, &bob] {
        expect(client, |event| matches!(event, Event::Registered { .. }).then_some(()));
    }
    let first = alice.send_blocking("bob", "one").unwrap();
    assert_eq!(message(&bob).text, "one");
    wait_for(&alice, first, MessageState::Delivered);
    let answer = bob.send_blocking("alice", "two").unwrap();
    assert_eq!(message(&alice).text, "two");
    wait_for(&bob, answer, MessageState::Delivered);
    [alice, bob]
}

fn texts(client: &Client, peer: &str) -> Vec<String> {
    client.history(peer, None, 99).unwrap().into_iter().rev().map(|entry| entry.text).collect()
}

#[test]
fn a_conversation_goes_on_from_another_machine() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [alice, bob] = acquainted(&directories);
    alice.set_verified_blocking("bob", true).unwrap();
    let (alices_id, alices_node) = (alice.user_id(), alice.node_id());
    let archive = directories[2].path().join("alice.peerchat");
    let passphrase = Passphrase::new("correct horse").unwrap();

    // Bob's address is where it was: nobody else is left who could tell where he is.
    let bobs_address = bob.local_address();
    shut_down(&bob);
    let owed = alice.send_blocking("bob", "three").unwrap();
    alice.export(&archive, &passphrase).unwrap();
    shut_down(&alice);

    let new = directories[2].path().join("new");
    assert_eq!(Client::import(&archive, &passphrase, &new, None).unwrap().as_str(), "alice");
    assert!(matches!(Client::import(&archive, &passphrase, &new, None), Err(Error::ProfileExists { .. })));
    let alice = open(&new, "alice");
    assert_eq!((alice.user_id(), alice.node_id()), (alices_id, alices_node));
    assert_eq!(texts(&alice, "bob"), ["one", "two", "three"]);
    assert!(alice.identity("bob").unwrap().is_verified);
    assert_eq!(alice.contacts().unwrap()[0].relation, Relation::Contact);

    let config = Config::builder(directories[1].path()).bind(bobs_address).user("bob").unwrap();
    let bob = Client::open(config.build().unwrap()).unwrap();
    alice.bootstrap(&bobs_address.to_string()).unwrap();
    assert_eq!(message(&bob).text, "three");
    wait_for(&alice, owed, MessageState::Delivered);
    for round in 0..3 {
        let text = format!("question {round}");
        let question = alice.send_blocking("bob", &text).unwrap();
        assert_eq!(message(&bob).text, text);
        wait_for(&alice, question, MessageState::Delivered);
        let text = format!("answer {round}");
        let answer = bob.send_blocking("alice", &text).unwrap();
        assert_eq!(message(&alice).text, text);
        wait_for(&bob, answer, MessageState::Delivered);
    }
    assert_eq!(texts(&alice, "bob"), texts(&bob, "alice"), "each once, and in the same order");
    assert_eq!(alice.search("question*", Some("bob"), None, 99).unwrap().len(), 3);
}

#[test]
fn who_writes_first_to_a_person_who_moved_is_heard() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [alice, bob] = acquainted(&directories);
    let archive = directories[2].path().join("alice.peerchat");
    let passphrase = Passphrase::new("correct horse").unwrap();
    alice.export(&archive, &passphrase).unwrap();
    shut_down(&alice);
    let new = directories[2].path().join("new");
    Client::import(&archive, &passphrase, &new, None).unwrap();

    let written = bob.send_blocking("alice", "are you there?").unwrap();
    let alice = open(&new, "alice");
    alice.bootstrap(&bob.local_address().to_string()).unwrap();
    assert_eq!(message(&alice).text, "two", "it was not confirmed before the export");
    assert_eq!(message(&alice).text, "are you there?");
    wait_for(&bob, written, MessageState::Delivered);
    assert_eq!(texts(&alice, "bob"), texts(&bob, "alice"));
}

#[test]
fn only_a_user_on_disk_can_be_exported() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, passphrase) = (directory.path().join("archive"), Passphrase::new("correct horse").unwrap());
    let config = Config::in_memory().bind("127.0.0.1:0".parse().unwrap());
    let node = Client::open(config.clone().build().unwrap()).unwrap();
    assert!(matches!(node.export(&archive, &passphrase), Err(Error::NoUser)));
    let user = Client::open(config.user("carol").unwrap().build().unwrap()).unwrap();
    assert!(matches!(user.export(&archive, &passphrase), Err(Error::NotOnDisk)));
    user.close();
    assert!(matches!(user.export(&archive, &passphrase), Err(Error::Closed)));
    assert!(!archive.exists());
}

#[test]
fn whoever_changes_the_passphrase_of_a_profile_that_is_closing_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let passphrase = Passphrase::new("open sesame").unwrap();
    let alice = open(directory.path(), "alice");
    alice.close();
    let name = UserName::parse("alice").unwrap();
    // The same directory, written in another way.
    let same = directory.path().join(".");
    Client::change_passphrase(&same, Some(&name), None, Some(&passphrase)).unwrap();
    let config =
        Config::builder(directory.path()).bind("127.0.0.1:0".parse().unwrap()).user("alice").unwrap();
    let refusal = Client::open(config.build().unwrap()).unwrap_err();
    assert!(matches!(refusal, Error::WrongPassphrase { .. }), "{refusal:?}");
}
