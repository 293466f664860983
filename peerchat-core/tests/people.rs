//! Contacts, read receipts, blocks and cancelled messages between real clients: real sockets on loopback, real disks.
#![cfg(feature = "runtime")]

mod support;

use std::time::Duration;

use peerchat_core::{Client, Error, ErrorCode, Event, MessageId, MessageState, Relation, SendOptions, Verb};
use support::{expect, message, open, shut_down};

fn wait_for(client: &Client, message: MessageId, wanted: MessageState) -> Option<ErrorCode> {
    expect(client, |event| match event {
        Event::MessageState { id, state, code, .. } if (*id, *state) == (message, wanted) => Some(*code),
        _ => None,
    })
}

/// Alice and Bob, who have joined through one another, on disks of their own.
struct Town {
    directories: [tempfile::TempDir; 2],
    alice: Client,
    bob: Client,
}

impl Town {
    fn new() -> Self {
        let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (alice, bob) = (open(directories[0].path(), "alice"), open(directories[1].path(), "bob"));
        bob.bootstrap(&alice.local_address().to_string()).unwrap();
        for client in [&alice, &bob] {
            expect(client, |event| matches!(event, Event::Registered { .. }).then_some(()));
        }
        Self { directories, alice, bob }
    }

    fn bobs_only_person(&self) -> (String, Relation) {
        let people = self.bob.contacts().unwrap();
        assert_eq!(people.len(), 1);
        assert_eq!(people[0].user, self.alice.user_id());
        (people[0].name.clone(), people[0].relation)
    }
}

#[test]
fn a_request_is_accepted_and_what_was_read_is_told_across_a_restart() {
    let mut town = Town::new();
    let first = town.alice.send_blocking("bob", "hello").unwrap();
    let request = message(&town.bob);
    assert!(request.is_request);
    assert_eq!(town.bobs_only_person(), (request.from.clone(), Relation::Request));
    assert!(town.bob.history(&request.from, None, 9).unwrap()[0].is_request);
    wait_for(&town.alice, first, MessageState::Delivered);
    town.bob.mark_read_blocking(request.id).unwrap();
    town.bob.mark_read_blocking(request.id).unwrap();

    shut_down(&town.bob);
    town.bob = open(town.directories[1].path(), "bob");
    assert_eq!(town.bobs_only_person().1, Relation::Request);
    assert_eq!(town.alice.message_state(first).unwrap(), MessageState::Delivered);
    town.bob.relate_blocking(&request.from, Verb::Accept).unwrap();
    wait_for(&town.alice, first, MessageState::Read);
    assert_eq!(town.alice.message_state(first).unwrap(), MessageState::Read);
    assert_eq!(town.alice.history("bob", None, 9).unwrap()[0].state, Some(MessageState::Read));
    assert!(!town.bob.history(&request.from, None, 9).unwrap()[0].is_request);
    assert!(matches!(town.bob.mark_read_blocking(first), Err(Error::NotFound)), "it is of another profile");
    assert!(matches!(town.alice.mark_read_blocking(first), Err(Error::NotFound)), "it was not received");
    assert!(matches!(town.alice.cancel_blocking(first), Err(Error::AlreadyEnded)));
}

#[test]
fn who_is_blocked_is_told_so_and_an_unblocked_person_makes_a_request_again() {
    let town = Town::new();
    town.alice.send_blocking("bob", "hello").unwrap();
    let from = message(&town.bob).from;
    town.bob.relate_blocking(&from, Verb::Block).unwrap();
    let refused = town.alice.send_blocking("bob", "are you there?").unwrap();
    assert_eq!(wait_for(&town.alice, refused, MessageState::Failed), Some(ErrorCode::BlockedByRecipient));
    assert!(town.bob.statistics().unwrap().blocked >= 1);
    assert!(matches!(town.bob.send_blocking(&from, "no"), Err(Error::Blocked)));
    town.bob.relate_blocking(&from, Verb::Unblock).unwrap();
    assert!(town.bob.contacts().unwrap().is_empty());
    town.alice.send_blocking("bob", "sorry").unwrap();
    let again = message(&town.bob);
    assert_eq!((again.text.as_str(), again.is_request), ("sorry", true));
    town.bob.send_blocking(&from, "forgiven").unwrap();
    assert_eq!(town.bobs_only_person().1, Relation::Contact);
}

#[test]
fn a_message_is_canceled_or_expires_when_it_was_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let alice = open(directory.path(), "alice");
    let canceled = alice.send_blocking("bob", "hello").unwrap();
    alice.cancel_blocking(canceled).unwrap();
    wait_for(&alice, canceled, MessageState::Canceled);
    assert_eq!(alice.message_state(canceled).unwrap(), MessageState::Canceled);
    let options = SendOptions::default().lifetime(Duration::from_secs(1));
    let short = alice.send_with_blocking("bob", "hello?", options).unwrap();
    assert_eq!(wait_for(&alice, short, MessageState::Expired), Some(ErrorCode::Expired));
    let too_long = SendOptions::default().lifetime(Duration::from_secs(31 * 24 * 3600));
    assert!(matches!(alice.send_with_blocking("bob", "x", too_long), Err(Error::Lifetime { .. })));
    assert_eq!(alice.statistics().unwrap().outbox_count, 0);
    shut_down(&alice);
    let alice = open(directory.path(), "alice");
    assert_eq!(alice.message_state(canceled).unwrap(), MessageState::Canceled);
    assert_eq!(alice.contacts().unwrap()[0].relation, Relation::Contact, "who was written to");
}

fn typing(client: &Client) -> (String, bool) {
    expect(client, |event| match event {
        Event::Typing { from, is_typing, .. } => Some((from.clone(), *is_typing)),
        _ => None,
    })
}

#[test]
fn who_types_is_seen_by_contacts_until_the_text_is_there() {
    let town = Town::new();
    assert!(matches!(town.alice.set_typing_blocking("bob", true), Err(Error::NotMet)));
    town.alice.send_blocking("bob", "hello").unwrap();
    let from = message(&town.bob).from;
    // Alice is no contact of Bob's, so she learns nothing and is not shown.
    town.bob.set_typing_blocking(&from, true).unwrap();
    town.alice.set_typing_blocking("bob", true).unwrap();
    town.alice.send_blocking("bob", "are you there?").unwrap();
    message(&town.bob);
    assert_eq!(town.bob.statistics().unwrap().hints_dropped, 1);
    town.bob.relate_blocking(&from, Verb::Accept).unwrap();

    // The first answer is announced as well: Bob's record, which Alice has, lists his device.
    town.bob.set_typing_blocking(&from, true).unwrap();
    assert_eq!(typing(&town.alice), ("bob".to_owned(), true));
    town.bob.send_blocking(&from, "hello yourself").unwrap();
    assert_eq!(typing(&town.alice), ("bob".to_owned(), false));
    assert_eq!(message(&town.alice).text, "hello yourself");

    // By now Alice may tell again, or what she says goes out once she may.
    town.alice.set_typing_blocking("bob", true).unwrap();
    assert!(matches!(town.alice.set_typing_blocking("two words", true), Err(Error::Name(_))));
    assert_eq!(town.alice.statistics().unwrap().hints_dropped, 0);
    shut_down(&town.bob);
    town.alice.set_typing_blocking("bob", false).unwrap();
    assert_eq!(town.alice.statistics().unwrap().outbox_count, 0, "nothing is owed to who is away");
    assert!(matches!(town.bob.set_typing_blocking(&from, true), Err(Error::Closed)));
}
