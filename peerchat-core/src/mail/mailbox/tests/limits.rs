//! Limits over all mailboxes together, and floods.

use super::*;
use crate::mail::MAX_PRESENT;

fn place(number: u64) -> MailPlace {
    let mut key = [0xbb; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    MailPlace { mailbox: RecordKey::from_bytes(key), device: bob().node_id() }
}

fn tag(number: u64) -> EnvelopeTag {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    EnvelopeTag::from_bytes(bytes)
}

#[test]
fn when_too_much_was_released_in_all_the_place_with_the_most_forgets_an_eighth() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let expires = desk.now.wall.saturating_add(DAY);
    let mut number = 0;
    let mut release = |desk: &mut Desk, place| {
        number += 1;
        desk.mailbox.note_released(&ReleasedEnvelope { place, tag: tag(number), expires })
    };
    let (few, many) = (MAX_RELEASED_KEPT / 2, MAX_RELEASED_KEPT);
    for _ in 0..few {
        assert!(release(&mut desk, place(0)).is_empty());
    }
    for number in 1.. {
        let left = MAX_RELEASED_IN_ALL - desk.mailbox.released_count();
        if left == 0 {
            break;
        }
        (0..left.min(many)).for_each(|_| assert!(release(&mut desk, place(number)).is_empty()));
    }
    let forgotten = release(&mut desk, place(0));
    assert_eq!(forgotten.len(), many / 8);
    assert_eq!(desk.mailbox.released_count(), MAX_RELEASED_IN_ALL + 1 - many / 8);
    assert_eq!(desk.mailbox.places[&place(0)].released_count(), few + 1, "it had fewer");
}

#[test]
fn of_too_many_devices_that_are_there_the_one_heard_least_recently_is_told_nothing() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    desk.mailbox.handle_published(place(0), bobs(), desk.now);
    for number in 1..MAX_PRESENT as u64 {
        desk.now = desk.now.after(Duration::from_millis(1));
        desk.mailbox.handle_published(place(number), bobs(), desk.now);
    }
    // The first is heard again, so the second is the oldest when one more comes.
    desk.now = desk.now.after(Duration::from_millis(1));
    desk.mailbox.handle_published(place(0), bobs(), desk.now);
    desk.mailbox.handle_published(place(MAX_PRESENT as u64), bobs(), desk.now);
    let told = [0, 1, 2, MAX_PRESENT as u64].map(|number| {
        let MailPlace { mailbox, device } = place(number);
        let expires = desk.now.wall.saturating_add(DAY);
        let envelope = SealedEnvelope::new(&EnvelopeHeader { mailbox, device, expires }, &[7; 512]).unwrap();
        assert_eq!(desk.deposit(&envelope), MailResponse::Deposited, "it is kept all the same");
        let is_told = !desk.calls.is_empty();
        desk.calls.clear();
        is_told
    });
    assert_eq!(told, [true, false, true, true]);
}

/// Somebody with many networks floods a node, in as many mailboxes as they like: what was there stays, and somebody with
/// one network more still finds room.
#[test]
fn whoever_floods_a_node_displaces_no_mail_and_does_not_keep_the_next_out() {
    let mut desk = Desk::new(2000 * SMALL);
    let real: Vec<_> = (0..10).map(|number| desk.envelope(number)).collect();
    for envelope in &real {
        assert_eq!(desk.deposit_as("5.6.7.8:1", envelope, &holder()), MailResponse::Deposited);
    }
    let mut number = 0;
    for network in 0..20 {
        let from = format!("9.9.{network}.1:1");
        loop {
            number += 1;
            let MailPlace { mailbox, device } = place(number);
            let expires = desk.now.wall.saturating_add(DAY);
            let header = EnvelopeHeader { mailbox, device, expires };
            let envelope = SealedEnvelope::new(&header, &[7; 512]).unwrap();
            match desk.deposit_as(&from, &envelope, &holder()) {
                MailResponse::Deposited => {}
                other => break assert_eq!(other, refused(MailRefusal::Full)),
            }
        }
    }
    assert!(desk.mailbox.kept_len() > 1700 * SMALL && desk.mailbox.kept_len() < 2000 * SMALL);
    assert_eq!(desk.deposit_as("5.6.7.9:1", &desk.envelope(11), &holder()), MailResponse::Deposited);
    assert_eq!(desk.deposit_as("5.6.8.9:1", &desk.envelope(12), &holder()), MailResponse::Deposited);
    assert!(real.iter().all(|envelope| desk.fetch(envelope.id()) != refused(MailRefusal::Gone)));
}

impl Desk {
    fn limited(limits: Limits) -> Self {
        let mut desk = Self::new(DEFAULT_MAIL_QUOTA);
        desk.mailbox.limits = Arc::new(limits);
        desk
    }
}

#[test]
fn so_many_envelopes_are_kept_whatever_the_quota_and_one_network_has_its_share_of_them() {
    let mut desk = Desk::limited(Limits { mail_count: 90, ..Limits::default() });
    let fill = |desk: &mut Desk, from: &str, first: u64| {
        (first..)
            .take_while(|number| {
                desk.deposit_as(from, &desk.envelope(*number), &holder()) == MailResponse::Deposited
            })
            .count()
    };
    assert_eq!(fill(&mut desk, "11.0.0.1:1", 0), 10, "an eighth of what it leaves");
    assert_eq!(fill(&mut desk, "10.0.0.1:1", 1000), 80, "private addresses have no share");
    assert_eq!((desk.mailbox.kept_count(), desk.mailbox.stats().refused_full), (90, 2));
    let id = desk.envelope(0).id();
    let released = Release { ids: vec![id], ..signed(&[id]) };
    let tag = desk.tag();
    desk.mailbox.handle_release(tag, &released, &holder(), desk.now);
    assert_eq!(desk.answer(tag), MailResponse::Released);
    assert_eq!(fill(&mut desk, "10.0.0.1:1", 2000), 1);
}

#[test]
fn mail_is_kept_for_so_many_devices_and_for_one_more_nothing_is_kept_or_remembered() {
    let mut desk = Desk::limited(Limits { mail_places: 2, ..Limits::default() });
    let expires = desk.now.wall.saturating_add(DAY);
    let for_place = |number| {
        let MailPlace { mailbox, device } = place(number);
        SealedEnvelope::new(&EnvelopeHeader { mailbox, device, expires }, &[7; 512]).unwrap()
    };
    let answers = [0, 1, 2].map(|number| desk.deposit(&for_place(number)));
    let full = refused(MailRefusal::Full);
    assert_eq!(answers, [MailResponse::Deposited, MailResponse::Deposited, full]);
    let time = desk.mailbox.wall.read(desk.now);
    assert!(desk.mailbox.release(place(3), &for_place(3).id(), true, time).is_empty());
    assert_eq!((desk.mailbox.places.len(), desk.mailbox.released_count()), (2, 0));
}
