//! What holds for both kinds of store, and the helpers of all tests of this folder.

mod crash;
mod disk;
mod moving;
mod passphrase;
mod search;

use std::sync::mpsc::channel;

use super::*;
use crate::crypto::{Envelope, EnvelopeKind, Prekey, Prekeys, SealKeys, Secret, SessionId};
use crate::event::MessageState;
use crate::identity::{SecretKey, UserId};
use crate::kademlia::{
    Contact, MAX_RECORD_LIFETIME, NodeId, NodeKey, Record, RecordHeader, RecordKey, RecordKind,
};
use crate::mail::{Depositor, EnvelopeId, EnvelopeTag, KeptEnvelope, MailPlace, ReleasedEnvelope, TokenTag};
use crate::save::{
    SavedDevice, SavedEnvelope, SavedIncoming, SavedSession, SavedStream, SavedToken, StreamId, Write,
};
use crate::time::Timestamp;

const ALICE: ConversationId = ConversationId(1);
const BOB: ConversationId = ConversationId(2);
const ALICES: StreamId = StreamId(1);

/// Runs a fact against a store in memory and one on disk.
fn for_both(fact: impl Fn(&Store)) {
    fact(&open(&Location::Memory, None, node_keys).unwrap().store);
    let dir = tempfile::tempdir().unwrap();
    fact(&open_in(&dir).store);
}

fn location(dir: &tempfile::TempDir) -> Location {
    Location::Directory(dir.path().join("data"))
}

fn open_in(dir: &tempfile::TempDir) -> Opened {
    open(&location(dir), None, node_keys).unwrap()
}

fn node_keys() -> ProfileKeys {
    ProfileKeys { node: SecretKey::from_bytes(&[7; 32]), user: None }
}

fn user_keys() -> ProfileKeys {
    ProfileKeys { user: Some(SecretKey::from_bytes(&[8; 32])), ..node_keys() }
}

/// Writes a batch and waits for its outcome.
fn write(store: &Store, writes: Vec<Write>) -> Result<(), Error> {
    let (done, outcome) = channel();
    store.write(WriteBatch { id: BatchId(9), writes }, move |id, result| {
        assert_eq!(id, BatchId(9));
        done.send(result).unwrap();
    });
    outcome.recv().unwrap()
}

fn conversation(id: ConversationId, peer: &str) -> SavedConversation {
    let user = Some(UserId::from_bytes([9; 32]));
    SavedConversation::fresh(id, peer.to_owned(), user)
}

fn two_conversations() -> Vec<Write> {
    vec![Write::Conversation(conversation(ALICE, "alice")), Write::Conversation(conversation(BOB, "bob"))]
}

/// A message of our own, queued and without a number.
fn own(position: u64, conversation: ConversationId) -> SavedMessage {
    SavedMessage {
        position,
        conversation,
        stream: StreamId::OWN,
        number: None,
        kind: 1,
        body: format!("text {position}").into_bytes(),
        sent: Timestamp::from_unix_ms(1_000 + position),
        received: Timestamp::from_unix_ms(2_000 + position),
        state: Some(MessageState::Queued),
        expires: Timestamp::from_unix_ms(3_000 + position),
        held_by: 0,
    }
}

fn received(position: u64, conversation: ConversationId, number: u64) -> SavedMessage {
    SavedMessage { stream: ALICES, number: Some(number), state: None, ..own(position, conversation) }
}

fn stream(next_number: u64) -> SavedStream {
    let device = NodeId::from_bytes([4; 32]);
    SavedStream {
        id: ALICES,
        conversation: ALICE,
        device,
        next_number,
        identity: None,
        tags: Vec::new(),
        owes_receipt: next_number > 4,
        read_to: 0,
    }
}

fn device(number: u8) -> SavedDevice {
    let prekeys = (0..number).map(|key| (Prekey([key; 32]), Timestamp::from_unix_ms(key.into())));
    let seals = (0..number).map(|key| (Secret::copy_of(&[key + 1; 32]), Timestamp::from_unix_ms(key.into())));
    SavedDevice {
        state: Secret::copy_of(&[number]),
        prekeys: Prekeys::restore(prekeys),
        seals: SealKeys::restore(seals),
    }
}

fn incoming(number: u8) -> SavedIncoming {
    SavedIncoming { id: EnvelopeId::from_bytes([number; 32]), bytes: vec![number; 600] }
}

fn session(number: u8) -> SavedSession {
    SavedSession {
        id: SessionId([number; 32]),
        conversation: ALICE,
        device: NodeId::from_bytes([4; 32]),
        prekey: (number > 1).then_some(Prekey([number; 32])),
        state: Some(Secret::copy_of(&[number; 3])),
        last_used: u64::MAX,
        is_retired: false,
    }
}

fn envelope(position: u64, kind: EnvelopeKind) -> SavedEnvelope {
    let envelope = Envelope { kind, bytes: vec![7; 3] };
    SavedEnvelope { position, device: NodeId::from_bytes([4; 32]), count: 3, envelope }
}

fn mail_place() -> MailPlace {
    MailPlace { mailbox: RecordKey::from_bytes([2; 32]), device: NodeId::from_bytes([4; 32]) }
}

fn kept(position: u64) -> KeptEnvelope {
    KeptEnvelope {
        position,
        place: mail_place(),
        id: EnvelopeId::from_bytes([position as u8; 32]),
        expires: Timestamp::from_unix_ms(4_000 + position),
        len: 3,
        depositor: Depositor::from_number(u64::MAX - position),
        token: TokenTag::from_number(u64::MAX - 1),
    }
}

fn token(held: &[u8]) -> SavedToken {
    let given = Some(Timestamp::from_unix_ms(6_000));
    SavedToken { conversation: ALICE, given, held: Some(Secret::copy_of(held)) }
}

fn released(number: u8) -> ReleasedEnvelope {
    let expires = Timestamp::from_unix_ms(5_000);
    ReleasedEnvelope { place: mail_place(), tag: EnvelopeTag::from_bytes([number; 16]), expires }
}

fn own_record(sequence: u64) -> Vec<u8> {
    let key = SecretKey::from_bytes(&[8; 32]);
    let issued = Timestamp::from_unix_ms(sequence);
    let header = RecordHeader {
        kind: RecordKind::Claim,
        key: RecordKey::of_name("carol"),
        owner: key.public(),
        sequence,
        issued,
        expires: issued.saturating_add(MAX_RECORD_LIFETIME),
    };
    Record::sign(&key, header, b"carol").unwrap().as_bytes().to_vec()
}

fn contact(number: u8, address: &str) -> Contact {
    Contact::new(NodeKey::from_bytes([number; 32]), address.parse().unwrap())
}

fn positions(messages: &[SavedMessage]) -> Vec<u64> {
    messages.iter().map(|message| message.position).collect()
}

fn internal(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Internal { .. }))
}

#[test]
fn every_kind_of_write_is_accepted() {
    for_both(|store| {
        let key = RecordKey::of_name("dave");
        let mut writes = two_conversations();
        writes.extend([
            Write::Record { key, bytes: vec![1, 2, 3] },
            Write::RecordGone { key },
            Write::Routing { contacts: vec![contact(1, "1.2.3.4:5")] },
            Write::OwnRecord { bytes: own_record(1) },
            Write::Stream(stream(4)),
            Write::Message(own(1, ALICE)),
            Write::MessageNumber { position: 1, conversation: BOB, number: 1 },
            Write::Envelope(envelope(1, EnvelopeKind::First)),
            Write::Device(device(1)),
            Write::Session(session(1)),
            Write::SessionGone { id: SessionId([1; 32]) },
            Write::MessageVoid { position: 1, state: MessageState::Canceled },
            Write::VoidGone { position: 1 },
            Write::MessageState { position: 1, state: MessageState::Delivered },
            Write::Confirmed { position: 1 },
            Write::MailKept { envelope: kept(1), bytes: Box::new([5; 3]) },
            Write::MailGone { position: 1 },
            Write::MailReleased(released(1)),
            Write::MailReleaseGone { place: mail_place(), tag: released(1).tag },
        ]);
        write(store, writes).unwrap();
        let moved = SavedMessage {
            conversation: BOB,
            number: Some(1),
            state: Some(MessageState::Delivered),
            ..own(1, ALICE)
        };
        assert_eq!(store.message(1).unwrap(), Some(moved));
    });
}

#[test]
fn mail_is_read_by_its_position_until_it_is_dropped() {
    for_both(|store| {
        let keep = |position: u64| Write::MailKept {
            envelope: kept(position),
            bytes: Box::new([position as u8; 3]),
        };
        write(store, vec![keep(1), keep(2)]).unwrap();
        assert_eq!(store.mail(1).unwrap(), Some(vec![1; 3]));
        write(store, vec![Write::MailGone { position: 1 }, Write::MailGone { position: 9 }]).unwrap();
        assert_eq!((store.mail(1).unwrap(), store.mail(2).unwrap()), (None, Some(vec![2; 3])));
        assert_eq!(store.mail(u64::MAX).unwrap(), None);
        assert!(internal(write(store, vec![Write::MailGone { position: 2 }, keep(3), keep(3)])));
        assert_eq!(
            (store.mail(2).unwrap(), store.mail(3).unwrap()),
            (Some(vec![2; 3]), None),
            "all or nothing"
        );
    });
}

#[test]
fn what_was_delivered_is_found_by_number() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        let message = |position: u64, conversation, number, state| {
            let message = SavedMessage { number: Some(number), ..own(position, conversation) };
            vec![Write::Message(message), Write::MessageState { position, state }]
        };
        let delivered = MessageState::Delivered;
        let mut writes = message(1, ALICE, 2, delivered);
        writes.extend(message(2, ALICE, 1, delivered));
        writes.extend(message(3, ALICE, 3, MessageState::Failed));
        writes.extend(message(4, ALICE, 4, delivered));
        writes.extend(message(5, BOB, 3, delivered));
        writes.push(Write::Message(received(6, ALICE, 3)));
        write(store, writes).unwrap();
        let found = |after, up_to| store.delivered(ALICE, after, up_to).unwrap();
        assert_eq!(found(0, u64::MAX), [(1, 2), (2, 1), (4, 4)]);
        assert_eq!(found(1, 3), [(2, 1)]);
        assert_eq!((found(4, 4), found(5, 2)), (vec![], vec![]));
        write(store, vec![Write::MessageState { position: 1, state: MessageState::Read }]).unwrap();
        assert_eq!(found(0, 3), [(1, 2)]);
    });
}

#[test]
fn history_is_read_by_conversation_from_the_latest() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        for position in 1..=9 {
            let conversation = if position % 3 == 0 { BOB } else { ALICE };
            let message = received(position, conversation, position);
            write(store, vec![Write::Message(message)]).unwrap();
        }
        let history = |conversation, before, limit| store.history(conversation, before, limit).unwrap();
        assert_eq!(positions(&history(ALICE, None, 3)), [8, 7, 5]);
        assert_eq!(positions(&history(ALICE, Some(5), 9)), [4, 2, 1]);
        assert_eq!(positions(&history(BOB, Some(u64::MAX), usize::MAX)), [9, 6, 3]);
        assert_eq!(history(BOB, Some(0), 9), []);
        assert_eq!(history(ConversationId(3), None, 9), []);
        assert_eq!(history(BOB, None, 1), [received(9, BOB, 9)]);
        assert_eq!(store.message(10).unwrap(), None);
        assert_eq!(store.message(u64::MAX).unwrap(), None);
    });
}

#[test]
fn received_messages_are_read_after_a_position_and_own_ones_left_out() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        let messages = [received(1, ALICE, 1), own(2, ALICE), received(3, BOB, 1), received(4, ALICE, 2)];
        write(store, messages.into_iter().map(Write::Message).collect()).unwrap();

        let after = |position, limit| store.received_after(position, limit).unwrap();
        assert_eq!(
            after(1, 9),
            [
                (received(3, BOB, 1), conversation(BOB, "bob")),
                (received(4, ALICE, 2), conversation(ALICE, "alice"))
            ]
        );
        assert_eq!(after(0, 1), [(received(1, ALICE, 1), conversation(ALICE, "alice"))]);
        assert_eq!(after(4, 9), []);
        assert_eq!(after(u64::MAX, 9), []);
    });
}

#[test]
fn a_conversation_is_found_by_its_peer_and_can_change() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        let known = SavedConversation { next_number: 1 << 62, ..conversation(ALICE, "alice#7kq2m4xd") };
        write(store, vec![Write::Conversation(known.clone())]).unwrap();
        assert_eq!(store.conversation_named("alice#7kq2m4xd").unwrap(), Some(known.clone()));
        assert_eq!(store.conversation_named("alice").unwrap(), None);
        assert_eq!(store.conversations().unwrap(), [known, conversation(BOB, "bob")]);
    });
}

#[test]
fn a_conversation_that_becomes_part_of_another_takes_its_messages_along() {
    for_both(|store| {
        let verified = SavedConversation {
            is_verified: true,
            rival: Some(UserId::from_bytes([3; 32])),
            ..conversation(ALICE, "alice")
        };
        let mut writes = two_conversations();
        writes.extend([own(1, BOB), own(2, ALICE), own(3, BOB)].map(Write::Message));
        writes.push(Write::MessageState { position: 1, state: MessageState::Failed });
        writes.extend([Write::Merged { from: BOB, into: ALICE }, Write::Conversation(verified.clone())]);
        write(store, writes).unwrap();
        assert_eq!(positions(&store.history(ALICE, None, 9).unwrap()), [3, 2, 1]);
        assert_eq!(store.conversations().unwrap(), [verified]);
        assert_eq!(store.conversation_named("bob").unwrap(), None);
        // Its name and its id are free again.
        write(store, vec![Write::Conversation(conversation(BOB, "bob"))]).unwrap();
        assert_eq!(store.history(BOB, None, 9).unwrap(), []);
    });
}

#[test]
fn a_broken_batch_leaves_nothing_and_ends_the_store() {
    let numbered = SavedMessage { number: Some(1), ..own(1, ALICE) };
    for broken in broken_writes() {
        for_both(|store| {
            let mut start = two_conversations();
            start.extend([numbered.clone(), received(2, ALICE, 5), own(3, BOB)].map(Write::Message));
            write(store, start).unwrap();

            let batch = writes_that_cancel_out().into_iter().chain([broken.clone()]).collect();
            assert!(internal(write(store, batch)), "{broken:?}");

            let conversations = [conversation(ALICE, "alice"), conversation(BOB, "bob")];
            assert_eq!(store.conversations().unwrap(), conversations);
            assert_eq!(store.history(ALICE, None, 9).unwrap(), [received(2, ALICE, 5), numbered.clone()]);
            assert_eq!(store.history(BOB, None, 9).unwrap(), [own(3, BOB)]);
            assert!(internal(write(store, vec![])), "a batch after a broken one was written");
        });
    }
}

/// Returns what no store accepts that holds the messages of the test above.
fn broken_writes() -> Vec<Write> {
    let elsewhere = ConversationId(7);
    let number = |position, conversation, number| Write::MessageNumber { position, conversation, number };
    let fails = |position| Write::MessageState { position, state: MessageState::Failed };
    let stream = SavedStream { conversation: elsewhere, ..stream(1) };
    vec![
        Write::Message(own(1, ALICE)),
        Write::Message(own(0, ALICE)),
        Write::Message(SavedMessage { position: u64::MAX, ..own(9, ALICE) }),
        Write::Message(own(9, elsewhere)),
        Write::Message(received(9, ALICE, 5)),
        number(3, ALICE, 1),
        number(3, elsewhere, 2),
        number(2, ALICE, 2),
        number(9, ALICE, 2),
        fails(9),
        fails(2),
        Write::Envelope(envelope(9, EnvelopeKind::First)),
        Write::Session(SavedSession { conversation: elsewhere, ..session(1) }),
        Write::Conversation(conversation(ConversationId(3), "bob")),
        Write::Merged { from: elsewhere, into: ALICE },
        Write::Merged { from: BOB, into: elsewhere },
        Write::Merged { from: ALICE, into: BOB },
        Write::Stream(stream),
    ]
}

/// Returns writes of every kind that a store must be able to take back.
fn writes_that_cancel_out() -> Vec<Write> {
    vec![
        Write::Conversation(conversation(BOB, "robert")),
        Write::Conversation(conversation(ConversationId(4), "dave")),
        Write::Conversation(conversation(ConversationId(5), "erin")),
        Write::Message(own(5, ConversationId(5))),
        Write::Merged { from: ConversationId(5), into: BOB },
        Write::MessageState { position: 1, state: MessageState::Expired },
        Write::MessageNumber { position: 1, conversation: BOB, number: 8 },
        Write::Message(own(4, BOB)),
        Write::Conversation(conversation(BOB, "bob")),
        Write::MessageNumber { position: 1, conversation: ALICE, number: 1 },
    ]
}

#[test]
fn messages_without_a_number_do_not_clash() {
    for_both(|store| {
        let mut writes = two_conversations();
        writes.extend([own(1, ALICE), own(2, ALICE)].map(Write::Message));
        write(store, writes).unwrap();
        assert_eq!(positions(&store.history(ALICE, None, 9).unwrap()), [2, 1]);
    });
}

#[test]
fn numbers_and_times_of_any_size_survive() {
    for_both(|store| {
        let end = Timestamp::from_unix_ms(u64::MAX);
        let message = SavedMessage {
            number: Some(u64::MAX),
            kind: u16::MAX,
            body: vec![0, 0xff],
            sent: end,
            received: end,
            expires: end,
            ..received(1 << 62, ALICE, 1)
        };
        let mut writes = two_conversations();
        writes.push(Write::Message(message.clone()));
        write(store, writes).unwrap();
        assert_eq!(store.message(message.position).unwrap(), Some(message.clone()));
        assert_eq!(store.history(ALICE, None, 1).unwrap(), [message]);
    });
}

#[test]
fn a_closed_store_refuses_and_can_be_closed_again() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        assert_eq!(store.conversations().unwrap().len(), 2);
        store.close();
        store.clone().close();
        assert!(matches!(write(store, vec![]), Err(Error::Closed)));
        assert!(matches!(store.conversations(), Err(Error::Closed)));
        assert!(matches!(store.message(1), Err(Error::Closed)));
    });
}

#[test]
fn keys_must_fit_the_user() {
    let user = UserName::parse("carol").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for location in [Location::Memory, location(&dir)] {
        assert!(matches!(open(&location, Some(&user), node_keys), Err(Error::Internal { .. })));
        assert!(matches!(open(&location, None, user_keys), Err(Error::Internal { .. })));
    }
    assert!(!profile_exists(&dir.path().join("data"), &user));
}

#[test]
fn no_key_is_printed() {
    let user = UserName::parse("carol").unwrap();
    let Opened { store, saved } = open(&Location::Memory, Some(&user), user_keys).unwrap();
    insta::assert_snapshot!(format!("{store:?}"), @"Store(in memory)");
    insta::assert_snapshot!(
        format!("{:?}", saved.keys),
        @"ProfileKeys { node: SecretKey(..), user: Some(SecretKey(..)) }"
    );
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(format!("{:?}", open_in(&dir).store), @"Store(on disk)");
}
