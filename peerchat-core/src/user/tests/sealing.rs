//! What [`User`] seals and opens, and how it gets going again when keys do not fit.

use rand::seq::SliceRandom;

use super::*;
use crate::crypto::{EnvelopeKind, PREKEY_LIFETIME};
use crate::user::batch::Batch;
use crate::user::directory::devices;
use crate::user::{KEPT_ENVELOPES, REPAIR_INTERVAL};

fn bob() -> Recipient {
    Recipient::parse("bob").unwrap()
}

/// Lets Alice owe Bob messages, one after another, and returns what she sends.
fn owe(bench: &mut Bench, texts: &[&str]) -> Vec<(CallTag, Delivery)> {
    for text in texts {
        bench.user.send(&bob(), text, None, bench.now).unwrap();
        bench.drain();
    }
    bench.take_deliveries()
}

fn text(content: &Content) -> &str {
    std::str::from_utf8(&content.body).unwrap()
}

#[test]
fn what_is_sent_is_sealed_and_says_nothing_outside() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let sent = owe(&mut bench, &["a secret", "another"]);
    let keys = bench.keys();
    let (_, first) = &sent[0];
    assert_eq!(first.envelope.kind, EnvelopeKind::First);
    assert!(!first.envelope.bytes.windows(6).any(|bytes| bytes == b"secret"));
    let content = peer.accept(&keys, &first.envelope);
    assert_eq!((content.number, text(&content)), (first.number, "a secret"));
    assert_eq!(text(&peer.open(&sent[1].1.envelope)), "another");
}

/// Ciphertext, ratchet and message are on disk together: after a crash the key could seal something else.
#[test]
fn an_envelope_is_sent_after_it_and_its_session_are_on_disk_and_always_the_same() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    bench.is_disk_slow = true;
    assert!(owe(&mut bench, &["hello"]).is_empty());
    let kinds = |writes: &[Write]| {
        let has = |kind: fn(&Write) -> bool| writes.iter().any(kind);
        (has(|write| matches!(write, Write::Envelope(_))), has(|write| matches!(write, Write::Session(_))))
    };
    let sealing = bench.writing.iter().find(|(writes, _)| kinds(writes).0).unwrap();
    assert_eq!(kinds(&sealing.0), (true, true), "in one batch");
    bench.finish_writes(9);
    let (tag, first) = bench.take_deliveries().remove(0);
    bench.user.handle_call_failed(tag, bench.now);
    bench.drain();
    bench.introduce(&peer, peer.contact);
    bench.finish_writes(9);
    let (_, again) = bench.take_deliveries().remove(0);
    assert_eq!(again, first);
}

#[test]
fn an_envelope_of_before_a_restart_is_sent_again_as_it_was() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let (_, sent) = owe(&mut bench, &["hello"]).remove(0);
    let written = std::mem::take(&mut bench.written);
    let mut bench = Bench::with(|saved| restore(saved, written));
    bench.introduce(&peer, peer.contact);
    let (_, again) = bench.take_deliveries().remove(0);
    assert_eq!(again, sent);
}

#[test]
fn what_does_not_open_is_sealed_anew_once_in_an_hour() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let sent = owe(&mut bench, &["one", "two"]);
    let unopened = ChatResponse::NotDelivered(DeliverRefusal::Unopened);
    bench.respond(sent[0].0, unopened);
    let [search] = bench.take_searches()[..] else { panic!("the prekey may be what does not fit") };
    bench.answer_search(search, vec![peer.record.clone()]);
    let again = bench.take_deliveries();
    let [(_, new)] = &again[..] else { panic!("what is owed shares an envelope") };
    assert_eq!((new.number, new.count, new.tag), (1, 2, sent[0].1.tag));
    let keys = bench.keys();
    let Batch { entries } = codec::decode(&peer.accept(&keys, &new.envelope).body).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.tag).collect::<Vec<_>>(), [sent[0].1.tag, sent[1].1.tag]);
    assert_eq!(entries.iter().map(|entry| &entry.body[..]).collect::<Vec<_>>(), [&b"one"[..], b"two"]);

    bench.respond(again[0].0, unopened);
    assert!(bench.take_deliveries().is_empty() && bench.take_searches().is_empty(), "it waits");
    bench.now = bench.now.after(REPAIR_INTERVAL);
    bench.user.handle_timeout(bench.now);
    bench.drain();
    let third = bench.take_deliveries();
    assert_eq!(third[0].1.envelope, again[0].1.envelope, "what was sealed stays as it is");
    bench.respond(third[0].0, unopened);
    assert_eq!(bench.take_searches().len(), 1);
}

#[test]
fn what_arrives_is_opened_once_and_in_order_and_saved_with_what_opened_it() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let [one, two, three] = [1, 2, 3].map(|number| bench.delivery(&peer, number, 1));
    assert_eq!(bench.hand_over(&peer, three.clone()), ChatResponse::Delivered { next: 1 });
    assert_eq!(bench.hand_over(&peer, two), ChatResponse::Delivered { next: 1 });
    bench.written.clear();
    assert_eq!(bench.hand_over(&peer, one.clone()), ChatResponse::Delivered { next: 4 });
    for repeated in [one, three] {
        assert_eq!(bench.hand_over(&peer, repeated), ChatResponse::Delivered { next: 4 });
    }
    let bodies: Vec<_> = bench.messages().iter().map(|message| message.body.clone()).collect();
    assert_eq!(bodies, [b"1", b"2", b"3"]);
    let last = |write: &Write| matches!(write, Write::Session(_));
    assert!(bench.written.iter().any(last));
}

#[test]
fn an_envelope_that_does_not_open_is_refused_and_leaves_nothing() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let mut forged = bench.delivery(&peer, 1, 1);
    *forged.envelope.bytes.last_mut().unwrap() ^= 1;
    bench.written.clear();
    let refused = bench.hand_over(&peer, forged);
    assert_eq!(refused, ChatResponse::NotDelivered(DeliverRefusal::Unopened));
    assert!(bench.written.is_empty());
    assert_eq!(bench.deliver(&peer, 1, 1), ChatResponse::Delivered { next: 2 });
}

#[test]
fn the_number_outside_must_be_the_one_inside() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let delivery = Delivery { number: 2, oldest: 2, ..bench.delivery(&peer, 1, 1) };
    let refused = bench.hand_over(&peer, delivery);
    assert_eq!(refused, ChatResponse::NotDelivered(DeliverRefusal::BadIntroduction));
    assert!(bench.messages().is_empty());
}

/// What a later version writes waits on disk for the program that understands it.
#[test]
fn a_message_of_an_unknown_kind_is_kept_and_acknowledged_and_nobody_is_told() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let me = bench.user.id();
    let conversation = conversation_of(&me, &peer.id());
    let content = Content { conversation, number: 1, kind: 777, sent: NOW, body: vec![0xff, 0] };
    let envelope = peer.seal(&content, &bench.keys());
    let delivery = Delivery { from: peer.id(), to: me, number: 1, count: 1, oldest: 1, tag: 1, envelope };
    assert_eq!(bench.hand_over(&peer, delivery), ChatResponse::Delivered { next: 2 });
    let kept: Vec<_> =
        bench.messages().iter().map(|message| (message.number, message.kind, message.body.clone())).collect();
    assert_eq!(kept, [(Some(1), 777, vec![0xff, 0])]);
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Message(_))));
    assert_eq!(bench.deliver(&peer, 2, 1), ChatResponse::Delivered { next: 3 });
}

#[test]
fn the_conversation_inside_must_be_that_of_the_two() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let me = bench.user.id();
    let conversation = conversation_of(&me, &Peer::new(3, "carol").id());
    let content = Content { conversation, number: 1, kind: 1, sent: NOW, body: b"1".to_vec() };
    let envelope = peer.seal(&content, &bench.keys());
    let delivery = Delivery { from: peer.id(), to: me, number: 1, count: 1, oldest: 1, tag: 1, envelope };
    let refused = bench.hand_over(&peer, delivery);
    assert_eq!(refused, ChatResponse::NotDelivered(DeliverRefusal::BadIntroduction));
    assert!(bench.messages().is_empty());
}

#[test]
fn a_session_is_only_for_the_device_that_the_user_record_lists() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let stranger = Peer::new(3, "carol");
    *stranger.cipher.borrow_mut() = StandIn::new(99);
    let me = bench.user.id();
    let conversation = conversation_of(&me, &peer.id());
    let content = Content { conversation, number: 1, kind: 1, sent: NOW, body: b"it is me".to_vec() };
    let envelope = stranger.seal(&content, &bench.keys());
    let forged = Delivery { from: peer.id(), to: me, number: 1, count: 1, oldest: 1, tag: 1, envelope };
    let refused = bench.hand_over(&peer, forged);
    assert_eq!(refused, ChatResponse::NotDelivered(DeliverRefusal::UnknownSender));
}

/// As after its profile was lost and the keys of node and user were not.
#[test]
fn a_device_with_new_keys_introduces_itself_and_goes_on() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    assert_eq!(bench.deliver(&peer, 1, 1), ChatResponse::Delivered { next: 2 });
    let renewed = Peer::with_keys(peer.key.clone(), peer.claim.clone(), 1, 99);
    let unknown = ChatResponse::NotDelivered(DeliverRefusal::UnknownSender);
    assert_eq!(bench.deliver(&renewed, 2, 2), unknown);
    bench.introduce(&renewed, renewed.contact);
    assert_eq!(bench.deliver(&renewed, 2, 2), ChatResponse::Delivered { next: 3 });
}

/// The recipient knows messages that this copy of the profile never wrote.
#[test]
fn an_old_copy_of_a_profile_gets_numbers_that_were_not_used() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let sent = owe(&mut bench, &["one", "two", "three"]);
    // The third number was free; what comes back says that the first was not.
    bench.respond(sent[2].0, ChatResponse::Delivered { next: 8 });
    bench.respond(sent[0].0, ChatResponse::OutOfStep { next: 8 });
    assert_eq!(bench.user.outbox_count(), 3, "nothing counts as delivered that was not answered");
    let again = bench.take_deliveries();
    let [(_, new)] = &again[..] else { panic!("what is owed shares an envelope") };
    assert_eq!((new.number, new.count, new.oldest), (8, 3, 8));
    let keys = bench.keys();
    let Batch { entries } = codec::decode(&peer.accept(&keys, &new.envelope).body).unwrap();
    let tags = sent.iter().map(|(_, old)| old.tag);
    assert!(entries.iter().map(|entry| entry.tag).eq(tags), "so that a repetition is noticed");
    bench.respond(again[0].0, ChatResponse::OutOfStep { next: u64::MAX });
    assert!(bench.take_deliveries().is_empty(), "not twice in an hour, whatever is said");
}

/// It was answered while it was on its way for the second time.
#[test]
fn a_late_answer_about_a_delivered_message_numbers_nothing_anew() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let sent = owe(&mut bench, &["one", "two", "three"]);
    bench.respond(sent[1].0, ChatResponse::Delivered { next: 1 });
    // The recipient shows up elsewhere: all is sent again, and the second arrives late.
    bench.user.handle_call_failed(sent[0].0, bench.now);
    bench.drain();
    bench.introduce(&peer, peer.contact);
    let again = bench.take_deliveries();
    bench.respond(again[0].0, ChatResponse::Delivered { next: 3 });
    assert_eq!(bench.user.outbox_count(), 1);
    bench.respond(again[1].0, ChatResponse::OutOfStep { next: 99 });
    assert!(bench.take_deliveries().is_empty(), "the third is on its way as it was");
    bench.respond(again[2].0, ChatResponse::Delivered { next: 4 });
    assert_eq!(bench.user.outbox_count(), 0);
}

/// The writer gave the second message up, and an old copy of it gives the number to another one.
#[test]
fn a_message_under_a_number_that_was_passed_over_is_not_said_to_have_arrived() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    assert_eq!(bench.deliver(&peer, 1, 1), ChatResponse::Delivered { next: 2 });
    assert_eq!(bench.deliver(&peer, 3, 3), ChatResponse::Delivered { next: 4 });
    let other = Delivery { tag: 77, ..bench.delivery(&peer, 2, 2) };
    assert_eq!(bench.hand_over(&peer, other), ChatResponse::OutOfStep { next: 4 });
    assert_eq!(bench.messages().iter().filter(|message| message.state.is_none()).count(), 2);
}

#[test]
fn a_message_that_comes_again_under_another_number_is_taken_once() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    assert_eq!(bench.deliver(&peer, 1, 1), ChatResponse::Delivered { next: 2 });
    let other = Delivery { tag: 77, ..bench.delivery(&peer, 1, 1) };
    assert_eq!(bench.hand_over(&peer, other), ChatResponse::OutOfStep { next: 2 });
    let again = Delivery { tag: 2, ..bench.delivery(&peer, 2, 2) };
    assert_eq!(bench.hand_over(&peer, again), ChatResponse::Delivered { next: 3 });
    assert_eq!(bench.messages().iter().filter(|message| message.state.is_none()).count(), 1);
}

#[test]
fn a_prekey_is_replaced_every_week_and_the_old_one_still_starts_sessions() {
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.publish();
    let announced = |bench: &Bench| devices(bench.published.last().unwrap()).unwrap()[0].keys;
    let first = announced(&bench);
    bench.now = bench.now.after(PREKEY_LIFETIME);
    bench.user.handle_timeout(bench.now);
    bench.drain();
    let second = announced(&bench);
    assert!(first.identity == second.identity && first.prekey != second.prekey);
    bench.meet(&peer);
    *peer.session.borrow_mut() = Some(peer.cipher.borrow_mut().start(&first).unwrap());
    assert_eq!(bench.deliver(&peer, 1, 1), ChatResponse::Delivered { next: 2 });
}

/// As mail comes that was kept for someone who is away: in any order, each copy several times, a piece at a time.
#[test]
fn ten_thousand_messages_shuffled_doubled_and_in_pieces_open_once_and_in_order() {
    const COUNT: u64 = 10_000;
    const PIECE: usize = 250;
    let (mut bench, peer) = (Bench::new(), Peer::new(2, "bob"));
    bench.meet(&peer);
    let sealed: Vec<Delivery> = (1..=COUNT).map(|number| bench.delivery(&peer, number, 1)).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for piece in sealed.chunks(PIECE) {
        let end = piece.last().unwrap().number + 1;
        let mut order: Vec<&Delivery> = piece.iter().chain(piece).collect();
        let mut next = 0;
        // What did not find room comes again, as its keepers would hand it over.
        while next < end {
            order.shuffle(&mut rng);
            for delivery in &order {
                // They are looked through for every answer.
                bench.answers.clear();
                match bench.hand_over(&peer, (*delivery).clone()) {
                    ChatResponse::Delivered { next: waited_for } => next = waited_for,
                    // So old a repetition is not opened either.
                    ChatResponse::OutOfStep { next } if delivery.number + (KEPT_ENVELOPES as u64) < next => {}
                    other => panic!("{other:?} to {}", delivery.number),
                }
            }
        }
    }
    // Beside those received there are receipts of our own.
    let messages = bench.messages();
    let received = messages.iter().filter(|message| message.state.is_none());
    assert!(received.map(|message| message.number).eq((1..=COUNT).map(Some)));
}

#[test]
fn a_device_without_a_key_must_introduce_itself_first() {
    let peer = Peer::new(2, "bob");
    let known = SavedConversation::fresh(ConversationId(1), "bob".into(), Some(peer.id()));
    let stream = SavedStream {
        id: StreamId(1),
        conversation: ConversationId(1),
        device: peer.contact.id(),
        next_number: 4,
        identity: None,
        tags: Vec::new(),
        owes_receipt: false,
        read_to: 0,
    };
    let mut bench = Bench::with(|saved| (saved.conversations, saved.streams) = (vec![known], vec![stream]));
    let unknown = ChatResponse::NotDelivered(DeliverRefusal::UnknownSender);
    assert_eq!(bench.deliver(&peer, 4, 1), unknown);
    bench.meet(&peer);
    assert_eq!(bench.deliver(&peer, 4, 1), ChatResponse::Delivered { next: 5 });
}

/// Makes what a profile holds of what was written to it.
pub(super) fn restore(saved: &mut Saved, written: Vec<Write>) {
    for write in written {
        match write {
            Write::Conversation(conversation) => saved.conversations = vec![conversation],
            Write::Stream(stream) => saved.streams = vec![stream],
            Write::Message(message) => {
                saved.last_position = message.position;
                saved.outbox.push(message);
            }
            Write::MessageNumber { number, .. } => saved.outbox[0].number = Some(number),
            Write::Envelope(envelope) => saved.envelopes.push(envelope),
            Write::Device(device) => saved.device = Some(device),
            Write::Session(session) => saved.sessions = vec![session],
            _ => {}
        }
    }
}
