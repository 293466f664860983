//! The queue of what is owed, step by step.

use super::super::chat::ContentKind;
use super::super::owed::{Deposit, in_time};
use super::*;
use crate::crypto::EnvelopeKind;
use crate::time::Timestamp;

const DEVICE: NodeId = NodeId::from_bytes([1; 32]);

fn owed(position: u64, number: Option<u64>) -> Owed {
    Owed {
        position,
        number,
        kind: 1,
        body: vec![],
        sent: Timestamp::default(),
        expires: Timestamp::default(),
        expires_at: Instant::now() + Duration::from_secs(position),
        sealed: None,
        is_taken: false,
        deposit: Deposit::default(),
        is_void: false,
    }
}

fn sender(count: u64) -> Sender {
    let mut sender = Sender::new();
    (1..=count).for_each(|position| sender.push(owed(position, None)));
    sender.number_from(1);
    sender
}

fn envelope() -> Envelope {
    Envelope { kind: EnvelopeKind::Later, bytes: Vec::new() }
}

/// Seals what may be sent, each message alone.
fn seal(sender: &mut Sender, device: NodeId, seal: SealId) -> usize {
    let window = sender.window();
    let mut count = 0;
    while let Some(some) = sender.next_unsealed(window.clone(), device) {
        sender.set_sealed(some.start..some.start + 1, device, envelope(), seal);
        count += 1;
    }
    count
}

/// Seals what may be sent, as much in one envelope as it takes; returns how many messages are in each.
fn seal_batches(sender: &mut Sender, device: NodeId) -> Vec<usize> {
    let window = sender.window();
    let mut counts = Vec::new();
    while let Some(some) = sender.next_unsealed(window.clone(), device) {
        counts.push(some.len());
        sender.set_sealed(some, device, envelope(), SealId(1));
    }
    counts
}

/// Returns how the messages of the queue are sealed: number and count of their envelope.
fn forms(sender: &Sender) -> Vec<Option<(u64, u64)>> {
    let form = |owed: &Owed| owed.sealed.as_ref().map(|sealed| (sealed.first, sealed.count));
    sender.queue.iter().map(form).collect()
}

fn next(sender: &Sender) -> Option<u64> {
    sender.next_to_send(DEVICE, SealId(1)).and_then(|(owed, ..)| owed.number)
}

fn send_all(sender: &mut Sender, first_tag: u64) -> u64 {
    let mut tag = first_tag;
    seal(sender, DEVICE, SealId(1));
    while next(sender).is_some() {
        sender.handle_sent(CallTag(tag));
        tag += 1;
    }
    tag
}

#[test]
fn the_window_is_bounded() {
    let mut sender = sender(100);
    assert_eq!(send_all(&mut sender, 0), MAX_IN_FLIGHT as u64);
    sender.handle_answered(CallTag(0));
    assert_eq!(sender.acknowledge(&(1..2), 2).len(), 1);
    assert_eq!(next(&sender), Some(MAX_IN_FLIGHT as u64 + 1));
}

#[test]
fn nothing_is_sent_before_it_is_on_disk_as_it_will_be_sent() {
    let mut sender = sender(2);
    seal(&mut sender, DEVICE, SealId(2));
    assert_eq!(next(&sender), None);
    assert!(sender.next_to_send(DEVICE, SealId(2)).is_some());
}

#[test]
fn what_is_sealed_for_one_device_is_not_sent_to_another() {
    let (mut sender, other) = (sender(2), NodeId::from_bytes([2; 32]));
    seal(&mut sender, other, SealId(1));
    assert_eq!(next(&sender), None);
    assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 2);
    assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 0, "what is sealed stays as it is");
    assert_eq!(next(&sender), Some(1));
}

#[test]
fn what_has_no_number_is_not_sealed() {
    let mut sender = sender(1);
    sender.push(owed(9, None));
    assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 1);
    sender.forget_numbers();
    assert_eq!((next(&sender), seal(&mut sender, DEVICE, SealId(1))), (None, 0));
    assert_eq!(sender.number_from(7), [(1, 7), (9, 8)]);
    assert_eq!(seal(&mut sender, DEVICE, SealId(1)), 2);
}

#[test]
fn restored_messages_are_in_the_order_of_their_numbers() {
    let mut restored = Sender::new();
    let mut take = |position, number| restored.push(owed(position, number));
    take(3, Some(3));
    take(5, Some(1));
    take(6, Some(2));
    take(7, None);
    assert_eq!(restored.queue.iter().map(|owed| owed.position).collect::<Vec<_>>(), [5, 6, 3, 7]);
    assert_eq!(restored.oldest(), 1, "nothing that is owed is declared given up");
}

#[test]
fn no_more_is_sent_ahead_of_a_lost_message_than_the_recipient_keeps() {
    let mut sender = sender(500);
    let end = send_all(&mut sender, 0);
    // All but the first are answered: the recipient waits for that one.
    (1..end).for_each(|tag| {
        let taken = sender.handle_answered(CallTag(tag)).unwrap();
        assert!(sender.acknowledge(&taken, 1).is_empty());
    });
    assert!(sender.rewind());
    assert_eq!(next(&sender), None);
    const { assert!(MAX_IN_FLIGHT <= super::super::MAX_HELD) };
    const { assert!(MAX_IN_FLIGHT < super::super::KEPT_ENVELOPES) };
    const { assert!(MAX_MESSAGES_IN_FLIGHT + super::super::MAX_BATCH as usize <= super::super::KEPT_TAGS) };
    const { assert!(MAX_IN_FLIGHT_LEN <= super::super::MAX_HELD_LEN) };
}

#[test]
fn no_more_bytes_are_in_flight_than_a_slow_line_gets_through() {
    let mut sender = sender(20);
    sender.queue.iter_mut().for_each(|owed| owed.body = vec![0; crate::MAX_TEXT_LEN]);
    assert_eq!(send_all(&mut sender, 0), (MAX_IN_FLIGHT_LEN / crate::MAX_TEXT_LEN) as u64);
    sender.rewind();
    sender.queue[0].body = vec![0; 2 * MAX_IN_FLIGHT_LEN];
    sender.sent_count = 0;
    assert_eq!(next(&sender), Some(1), "one always goes");
}

#[test]
fn a_full_window_that_was_answered_and_not_taken_is_sent_again() {
    let mut sender = sender(500);
    let end = send_all(&mut sender, 0);
    (0..end).for_each(|tag| _ = sender.handle_answered(CallTag(tag)));
    assert!(sender.rewind());
    assert_eq!(next(&sender), Some(1));
}

#[test]
fn what_waits_to_be_sealed_shares_envelopes() {
    let mut sender = sender(200);
    assert_eq!(seal_batches(&mut sender, DEVICE), [64, 64, 64, 8]);
    let (first, count, _) = sender.next_to_send(DEVICE, SealId(1)).unwrap();
    assert_eq!((first.number, count), (Some(1), 64));
    sender.handle_sent(CallTag(1));
    assert_eq!(next(&sender), Some(65));
    sender.handle_sent(CallTag(2));
    let later = sender.handle_answered(CallTag(2)).unwrap();
    assert_eq!(later, 65..129);
    assert!(sender.acknowledge(&later, 1).is_empty(), "the recipient waits for the first");
    let first = sender.handle_answered(CallTag(1)).unwrap();
    assert_eq!(sender.acknowledge(&first, 129).len(), 128);
    assert_eq!((next(&sender), sender.oldest()), (Some(129), 129));
}

#[test]
fn no_more_messages_are_in_flight_than_the_recipient_knows_by_their_tags() {
    let mut sender = sender(5000);
    assert_eq!(seal_batches(&mut sender, DEVICE), [64; MAX_MESSAGES_IN_FLIGHT / 64]);
    let mut tag = 0;
    while next(&sender).is_some() {
        tag += 1;
        sender.handle_sent(CallTag(tag));
    }
    assert_eq!(sender.sent_count, MAX_MESSAGES_IN_FLIGHT);
    assert_eq!(seal_batches(&mut sender, DEVICE), [0; 0], "the rest shares envelopes later");
}

#[test]
fn an_envelope_has_no_more_than_fits_its_size_class() {
    let mut sender = sender(10);
    sender.queue.iter_mut().for_each(|owed| owed.body = vec![0; 2000]);
    sender.queue[4].body = vec![0; crate::MAX_TEXT_LEN];
    assert_eq!(seal_batches(&mut sender, DEVICE), [3, 1, 1, 3, 2]);
}

/// Notices are finished as soon as somebody keeps them, and an envelope is kept as long as the last of what is in it.
#[test]
fn notices_go_alone_and_so_does_what_lives_longer() {
    let mut sender = sender(9);
    sender.queue[2].kind = ContentKind::RECEIPT.0;
    sender.queue[5].is_void = true;
    sender.queue[8].expires = Timestamp::from_unix_ms(super::super::MAX_BATCH_SPREAD_MS + 1);
    assert_eq!(seal_batches(&mut sender, DEVICE), [2, 1, 2, 1, 2, 1]);
}

#[test]
fn what_is_left_of_an_envelope_is_sealed_anew() {
    let mut sender = sender(6);
    assert_eq!(seal_batches(&mut sender, DEVICE), [6]);
    sender.handle_sent(CallTag(1));
    sender.handle_answered(CallTag(1));
    assert_eq!(sender.acknowledge(&(1..7), 4).len(), 3);
    assert_eq!(forms(&sender), [None; 3]);
    assert!(sender.rewind());
    assert_eq!(seal_batches(&mut sender, DEVICE), [3]);
    assert_eq!(next(&sender), Some(4));
}

/// The window of one device may end within a batch for another.
#[test]
fn a_batch_of_which_a_part_is_sealed_for_another_device_is_forgotten() {
    let (mut sender, other) = (sender(6), NodeId::from_bytes([2; 32]));
    assert_eq!(seal_batches(&mut sender, other), [6]);
    sender.set_sealed(2..4, DEVICE, envelope(), SealId(1));
    assert_eq!(forms(&sender), [None, None, Some((3, 2)), Some((3, 2)), None, None]);
}

#[test]
fn a_batch_is_taken_up_again_if_all_of_it_is_still_owed() {
    let restored = |count: u64| {
        let mut sender = sender(6);
        for (index, count) in [(0, count), (3, 1), (4, 2)] {
            let first = index as u64 + 1;
            let (device, envelope) = (DEVICE, Some(envelope()));
            sender.queue[index].sealed = Some(Sealed { device, first, count, envelope, seal: SealId(0) });
        }
        sender
    };
    let mut whole = restored(4);
    whole.restore_batches();
    assert_eq!(
        forms(&whole),
        [Some((1, 4)), Some((1, 4)), Some((1, 4)), Some((1, 4)), Some((5, 2)), Some((5, 2))]
    );
    let mut damaged = restored(4);
    damaged.queue[2].is_void = true;
    damaged.restore_batches();
    assert_eq!(forms(&damaged), [None, None, None, Some((4, 1)), Some((5, 2)), Some((5, 2))]);
    let mut too_long = restored(70);
    too_long.restore_batches();
    assert_eq!(forms(&too_long)[..3], [None; 3]);
}

/// It may be that another copy of this profile has sent the lower numbers.
#[test]
fn an_answer_to_one_message_does_not_acknowledge_an_earlier_one() {
    let mut sender = sender(3);
    send_all(&mut sender, 0);
    assert!(sender.acknowledge(&(3..4), 9).is_empty());
    assert_eq!(sender.acknowledge(&(1..2), 9).len(), 1);
    assert_eq!(sender.acknowledge(&(2..3), 9).len(), 2);
}

#[test]
fn a_message_may_live_for_ever() {
    let now = Instant::now();
    assert!(in_time(now, Duration::MAX) > now);
}

#[test]
fn an_answer_acknowledges_nothing_that_was_not_sent() {
    let mut sender = sender(3);
    seal(&mut sender, DEVICE, SealId(1));
    sender.handle_sent(CallTag(1));
    assert!(sender.acknowledge(&(2..3), u64::MAX).is_empty());
    assert_eq!(sender.acknowledge(&(1..9), u64::MAX).len(), 1);
    assert!(!sender.is_empty());
}

#[test]
fn what_was_not_taken_is_sent_once_more_and_then_waits() {
    let mut sender = sender(2);
    send_all(&mut sender, 0);
    sender.handle_answered(CallTag(0));
    sender.handle_answered(CallTag(1));
    assert!(sender.rewind(), "the first time round is repeated");
    send_all(&mut sender, 2);
    sender.handle_answered(CallTag(2));
    sender.handle_answered(CallTag(3));
    assert!(!sender.rewind(), "a second time without progress is not");
}

#[test]
fn pauses_grow_to_a_longest_one() {
    let mut sender = sender(1);
    let now = Instant::now();
    let pauses: Vec<u64> = (0..12).map(|_| (sender.pause(now, 0.5) - now).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
}
