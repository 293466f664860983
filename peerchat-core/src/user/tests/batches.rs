//! Several messages in one envelope: sealed together, taken one by one, and what becomes of it if one is given up.

use super::*;
use crate::user::batch::{Batch, Entry};
use crate::user::chat::ContentKind;
use crate::user::{MAX_BATCH, MAX_BATCH_LEN};

fn bob() -> Recipient {
    Recipient::parse("bob").unwrap()
}

/// Lets Alice write texts to Bob, all but the first while that one is on its way to the disk, and returns their positions.
fn write_together(bench: &mut Bench, count: u64) -> Vec<u64> {
    bench.is_disk_slow = true;
    let mut send = |number: u64| {
        let id = bench.user.send(&bob(), &number.to_string(), None, bench.now).unwrap();
        bench.drain();
        id.position(&bench.user.node_id).unwrap()
    };
    (1..=count).map(&mut send).collect()
}

fn finish(bench: &mut Bench) {
    bench.is_disk_slow = false;
    bench.finish_writes(99);
}

fn numbers(sent: &[(CallTag, Delivery)]) -> Vec<(u64, u64)> {
    sent.iter().map(|(_, delivery)| (delivery.number, delivery.count)).collect()
}

/// Returns the texts of what was sealed.
fn texts(content: &Content) -> Vec<String> {
    if content.kind != ContentKind::BATCH.0 {
        return vec![String::from_utf8(content.body.clone()).unwrap()];
    }
    let Batch { entries } = codec::decode(&content.body).unwrap();
    entries.into_iter().map(|entry| String::from_utf8(entry.body).unwrap()).collect()
}

fn entry(number: u64) -> Entry {
    Entry { kind: 1, after: 5, tag: number.wrapping_mul(2), body: number.to_string().into_bytes() }
}

/// Seals some messages of a peer in one envelope, whose texts and tags are their numbers.
fn batch(bench: &mut Bench, peer: &Peer, number: u64, count: u64) -> Delivery {
    let entries = (number..number + count).map(entry).collect();
    of_body(bench, peer, (number, count), codec::encode(&Batch { entries }))
}

fn of_body(bench: &mut Bench, peer: &Peer, (number, count): (u64, u64), body: Vec<u8>) -> Delivery {
    let (from, to) = (peer.id(), bench.user.id());
    let conversation = conversation_of(&to, &from);
    let content = Content { conversation, number, kind: ContentKind::BATCH.0, sent: NOW, body };
    let envelope = peer.seal(&content, &bench.keys());
    Delivery { from, to, number, count, oldest: 1, tag: number.wrapping_mul(2), envelope }
}

/// Returns numbers and texts of what Alice has received, as it was saved.
fn received(bench: &Bench) -> Vec<(u64, String)> {
    let messages = bench.messages().into_iter().filter(|message| message.stream != StreamId::OWN);
    let pair =
        |message: &SavedMessage| (message.number.unwrap(), String::from_utf8(message.body.clone()).unwrap());
    messages.map(pair).collect()
}

fn expected(numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    numbers.map(|number| (number, number.to_string())).collect()
}

#[test]
fn what_is_written_while_another_is_being_saved_shares_an_envelope() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    write_together(&mut bench, 5);
    finish(&mut bench);
    let sent = bench.take_deliveries();
    assert_eq!(numbers(&sent), [(1, 1), (2, 4)]);
    let keys = bench.keys();
    assert_eq!(texts(&peer.accept(&keys, &sent[0].1.envelope)), ["1"]);
    assert_eq!(texts(&peer.open(&sent[1].1.envelope)), ["2", "3", "4", "5"]);
    bench.respond(sent[1].0, ChatResponse::Delivered { next: 1 });
    bench.respond(sent[0].0, ChatResponse::Delivered { next: 6 });
    assert_eq!(bench.user.outbox_count(), 0);
    let is_delivered =
        |event: &&Event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. });
    assert_eq!(bench.events.iter().filter(is_delivered).count(), 5, "each is told");
}

#[test]
fn a_batch_of_before_a_restart_is_sent_again_as_it_was() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    write_together(&mut bench, 5);
    finish(&mut bench);
    let sent = bench.take_deliveries();
    let written = std::mem::take(&mut bench.written);
    let mut bench = Bench::with(|saved| sealing::restore(saved, written));
    bench.introduce(&peer, peer.contact);
    let again = bench.take_deliveries();
    assert!(again.iter().map(|(_, delivery)| delivery).eq(sent.iter().map(|(_, delivery)| delivery)));
}

#[test]
fn a_batch_is_opened_once_and_its_messages_are_told_in_order() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let [one, two] = [(1, 3), (4, 64)].map(|(number, count)| batch(&mut bench, &peer, number, count));
    assert_eq!(bench.hand_over(&peer, two.clone()), ChatResponse::Delivered { next: 1 }, "it waits");
    assert_eq!(bench.hand_over(&peer, one.clone()), ChatResponse::Delivered { next: 68 });
    for again in [one, two] {
        assert_eq!(bench.hand_over(&peer, again), ChatResponse::Delivered { next: 68 });
    }
    assert_eq!(received(&bench), expected(1..=67));
    let told = bench.events.iter().filter(|event| matches!(event, Event::Message(_)));
    assert_eq!(told.count(), 67);
    let sent = bench.messages().iter().find(|message| message.number == Some(2)).unwrap().sent;
    assert_eq!(sent, NOW.saturating_add(Duration::from_millis(5)));
}

/// Its writer has not heard that some of it has come, and has sealed it anew with more.
#[test]
fn of_a_batch_only_what_has_not_come_is_taken() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let [first, more] = [(1, 2), (1, 4)].map(|(number, count)| batch(&mut bench, &peer, number, count));
    assert_eq!(bench.hand_over(&peer, first), ChatResponse::Delivered { next: 3 });
    assert_eq!(bench.hand_over(&peer, more), ChatResponse::Delivered { next: 5 });
    assert_eq!(received(&bench), expected(1..=4));
}

/// The old copy of a profile has given the numbers to other messages.
#[test]
fn nothing_is_taken_of_a_batch_in_which_another_message_has_a_known_number() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let first = batch(&mut bench, &peer, 1, 2);
    bench.hand_over(&peer, first);
    let other = [entry(1), Entry { tag: 77, ..entry(2) }, entry(3)];
    let body = codec::encode(&Batch { entries: other.to_vec() });
    let other = of_body(&mut bench, &peer, (1, 3), body);
    assert_eq!(bench.hand_over(&peer, other), ChatResponse::OutOfStep { next: 3 });
    assert_eq!(received(&bench), expected(1..=2));
    let third = batch(&mut bench, &peer, 3, 2);
    assert_eq!(bench.hand_over(&peer, third), ChatResponse::Delivered { next: 5 });
}

#[test]
fn a_batch_that_none_would_send_is_refused_and_counted_and_its_numbers_are_still_waited_for() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let entries = |list: &[Entry]| codec::encode(&Batch { entries: list.to_vec() });
    let of_kind = |kind| entries(&[entry(1), Entry { kind, ..entry(2) }]);
    let whole = entries(&[entry(1), entry(2)]);
    let too_many: Vec<Entry> = (1..=MAX_BATCH + 1).map(entry).collect();
    let long = Entry { body: vec![b'x'; crate::MAX_TEXT_LEN + 1], ..entry(2) };
    let bodies = [
        ((1, 1), entries(&[entry(1)])),
        ((1, 2), entries(&[])),
        ((1, 1), entries(&[])),
        ((1, 3), whole.clone()),
        ((1, 64), entries(&too_many)),
        ((1, 2), of_kind(ContentKind::BATCH.0)),
        ((1, 2), of_kind(ContentKind::RECEIPT.0)),
        ((1, 2), of_kind(ContentKind::NOTHING.0)),
        ((1, 2), entries(&[entry(7), entry(2)])),
        ((1, 2), entries(&[entry(1), Entry { body: vec![0xff], ..entry(2) }])),
        ((1, 2), entries(&[entry(1), long])),
        ((1, 2), whole[..whole.len() - 1].to_vec()),
        ((1, 2), [&whole[..], &[0]].concat()),
    ];
    let count = bodies.len() as u64;
    for (numbers, body) in bodies {
        let delivery = of_body(&mut bench, &peer, numbers, body);
        let refused = ChatResponse::NotDelivered(DeliverRefusal::BadIntroduction);
        assert_eq!(bench.hand_over(&peer, delivery), refused, "{numbers:?}");
    }
    for numbers in [(1, 0), (1, MAX_BATCH + 1), (u64::MAX - 2, 2)] {
        let delivery = of_body(&mut bench, &peer, numbers, whole.clone());
        assert!(matches!(bench.hand_over(&peer, delivery), ChatResponse::NotDelivered(_)), "{numbers:?}");
    }
    assert_eq!(bench.user.malformed_count(), count + 3);
    assert_eq!(received(&bench), []);
    let sound = batch(&mut bench, &peer, 1, 2);
    assert_eq!(bench.hand_over(&peer, sound), ChatResponse::Delivered { next: 3 });
}

/// The bytes that were sealed with it are not sent, and the rest does not wait for it.
#[test]
fn what_is_canceled_in_a_batch_is_not_sent_and_the_rest_is() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let positions = write_together(&mut bench, 6);
    // The first is on disk; the others are sealed and are not.
    while bench.calls.is_empty() {
        bench.finish_writes(1);
    }
    assert!(bench.user.cancel(positions[2], bench.now));
    finish(&mut bench);
    let sent = bench.take_deliveries();
    assert_eq!(numbers(&sent), [(1, 1), (2, 1), (3, 1), (4, 3)]);
    let keys = bench.keys();
    peer.accept(&keys, &sent[0].1.envelope);
    let opened: Vec<_> = sent[1..].iter().map(|(_, delivery)| peer.open(&delivery.envelope)).collect();
    assert_eq!(
        (texts(&opened[0]), texts(&opened[2])),
        (vec!["2".into()], vec!["4".into(), "5".into(), "6".into()])
    );
    assert_eq!((opened[1].kind, opened[1].body.len()), (ContentKind::NOTHING.0, 0));
}

/// What was sent may have arrived: whoever has it knows each message by its tag.
#[test]
fn what_is_canceled_in_a_batch_that_was_sent_may_arrive_and_the_rest_is_sealed_without_it() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let positions = write_together(&mut bench, 4);
    finish(&mut bench);
    let sent = bench.take_deliveries();
    assert_eq!(numbers(&sent), [(1, 1), (2, 3)]);
    assert!(bench.user.cancel(positions[2], bench.now));
    bench.drain();
    bench.user.handle_call_failed(sent[1].0, bench.now);
    bench.drain();
    bench.introduce(&peer, peer.contact);
    let again = bench.take_deliveries();
    assert_eq!(numbers(&again), [(1, 1), (2, 1), (3, 1), (4, 1)]);
    assert_eq!(again[0].1.envelope, sent[0].1.envelope, "what was sealed alone stays as it is");
    assert_eq!(again[1].1.tag, sent[1].1.tag);
    for (tag, _) in again {
        bench.respond(tag, ChatResponse::Delivered { next: 5 });
    }
    assert_eq!(bench.user.outbox_count(), 0);
}

#[test]
fn what_expires_in_a_batch_is_given_up_and_the_rest_is_not() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    bench.is_disk_slow = true;
    for lifetime in [60, 60, 20, 60] {
        let lifetime = Some(Duration::from_secs(lifetime));
        bench.user.send(&bob(), "x", lifetime, bench.now).unwrap();
        bench.drain();
    }
    finish(&mut bench);
    assert_eq!(numbers(&bench.take_deliveries()), [(1, 1), (2, 3)]);
    bench.now = bench.now.after(Duration::from_secs(21));
    bench.user.handle_timeout(bench.now);
    bench.drain();
    let is_expired =
        |event: &&Event| matches!(event, Event::MessageState { state: MessageState::Expired, .. });
    assert_eq!(bench.events.iter().filter(is_expired).count(), 1);
    assert_eq!(bench.user.outbox_count(), 4, "its number is owed");
}

#[test]
fn a_long_text_goes_alone() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    bench.is_disk_slow = true;
    for len in [1, 10, MAX_BATCH_LEN, 10, 10] {
        bench.user.send(&bob(), &"x".repeat(len), None, bench.now).unwrap();
        bench.drain();
    }
    finish(&mut bench);
    assert_eq!(numbers(&bench.take_deliveries()), [(1, 1), (2, 1), (3, 1), (4, 2)]);
}
