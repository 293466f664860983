//! Mail is announced to devices that are there, handed over to other holders, and offered to them.

use std::collections::BTreeSet;

use super::*;
use crate::mail::{
    Admission, MAX_HANDOVERS, MAX_OFFERED, MAX_SKIPPED, OFFER_EVERY, Offer, PRESENT_FOR, RECEIVERS,
    WriteToken,
};

const PLACE: fn() -> MailPlace = || MailPlace { mailbox: MAILBOX, device: bob().node_id() };

fn node(number: u8) -> Contact {
    Contact::new(NodeKey::from_bytes([number; 32]), ([10, 0, 1, number], 1).into())
}

impl Desk {
    fn with_mail(count: u64) -> Self {
        let mut desk = Self::new(DEFAULT_MAIL_QUOTA);
        for number in 0..count {
            let envelope = desk.envelope(number);
            assert_eq!(desk.deposit(&envelope), MailResponse::Deposited);
        }
        desk
    }

    /// Sees who are closest, from a node that is nearer to each than any other.
    fn see(&mut self, closest: &[Contact]) {
        let own = closest.last().expect("somebody is there").id();
        self.mailbox.handle_holders(PLACE(), &own, closest, false);
        self.settle();
    }

    fn hand_over_to(&mut self, number: u8) {
        self.mailbox.hand_over(PLACE(), node(number));
        self.settle();
    }

    /// Answers every call, also those that follow, for nodes that have nothing; returns what was deposited where.
    fn answer_calls(&mut self, is_there: impl Fn(&Contact) -> bool) -> Vec<(Contact, Vec<u8>)> {
        let mut deposited = Vec::new();
        let mut introduced = BTreeSet::new();
        self.answer_as(|to, request| match request {
            _ if !is_there(to) => MailAnswer::Failed,
            None => {
                assert!(introduced.insert(to.id()), "the record is given once");
                MailAnswer::Done
            }
            Some(_) if !introduced.contains(&to.id()) => MailAnswer::NoRecord,
            Some(MailRequest::Deposit { envelope }) => {
                deposited.push((*to, envelope));
                MailAnswer::Done
            }
            Some(_) => MailAnswer::Wanted { missing: u64::MAX, released: 0 },
        });
        deposited
    }

    fn answer_as(&mut self, mut answer: impl FnMut(&Contact, Option<MailRequest>) -> MailAnswer) {
        while let Some((tag, to, request)) = self.calls.pop_front() {
            self.mailbox.handle_answer(tag, answer(&to, request), self.now);
            self.settle();
        }
    }

    /// Answers every call with what another holder says to it.
    fn answer_with(&mut self, other: &mut Self, standing: &Standing) {
        self.answer_as(|_, request| {
            let tag = other.tag();
            match request.expect("the other one has the record") {
                MailRequest::Offer { offer, .. } => {
                    other.mailbox.handle_offer(tag, PLACE(), &offer, standing, other.now);
                }
                MailRequest::Deposit { envelope } => {
                    let from = contact("10.0.0.9:1");
                    other.mailbox.handle_deposit(tag, &from, &envelope, standing, other.now);
                }
                other => panic!("unexpected {other:?}"),
            }
            match other.answer(tag) {
                MailResponse::Deposited => MailAnswer::Done,
                MailResponse::Wanted { missing, released } => MailAnswer::Wanted { missing, released },
                _ => MailAnswer::Failed,
            }
        });
    }

    fn offer(&mut self, offer: Offer) -> MailResponse {
        let tag = self.tag();
        self.mailbox.handle_offer(tag, PLACE(), &offer, &holder(), self.now);
        self.answer(tag)
    }

    fn announced(&mut self) -> Vec<(MailCallTag, u32)> {
        let waiting = |(tag, to, request): (MailCallTag, Contact, Option<MailRequest>)| match request {
            Some(MailRequest::Waiting { mailbox, count }) => {
                assert_eq!((mailbox, to), (MAILBOX, bobs()));
                (tag, count)
            }
            other => panic!("unexpected {other:?}"),
        };
        self.calls.drain(..).map(waiting).collect()
    }
}

#[test]
fn a_device_that_publishes_is_told_what_waits_and_then_what_comes() {
    let mut desk = Desk::with_mail(3);
    assert_eq!(desk.announced(), [], "it is not there");
    desk.mailbox.handle_published(PLACE(), bobs(), desk.now);
    desk.settle();
    let [(first, 3)] = desk.announced()[..] else { panic!("it is told once") };
    for number in 10..15 {
        desk.deposit(&desk.envelope(number));
    }
    assert_eq!(desk.announced(), [], "one announcement at a time");
    desk.mailbox.handle_answer(first, MailAnswer::Done, desk.now);
    desk.settle();
    let [(second, 8)] = desk.announced()[..] else { panic!("what came meanwhile is told at once") };
    desk.mailbox.handle_answer(second, MailAnswer::Failed, desk.now);
    desk.deposit(&desk.envelope(20));
    assert_eq!(desk.announced(), [], "it did not answer: it has gone");
}

#[test]
fn a_device_that_collects_is_there_for_a_while() {
    let mut desk = Desk::with_mail(0);
    desk.collect(0);
    assert_eq!(desk.announced(), [], "nothing waits");
    desk.deposit(&desk.envelope(1));
    let [(tag, 1)] = desk.announced()[..] else { panic!("it is told") };
    desk.mailbox.handle_answer(tag, MailAnswer::Done, desk.now);
    desk.now = desk.now.after(PRESENT_FOR);
    desk.deposit(&desk.envelope(2));
    assert_eq!(desk.announced(), [], "it was not heard for long");
}

#[test]
fn a_newcomer_is_given_the_record_and_then_everything_once() {
    let mut desk = Desk::with_mail(50);
    desk.see(&[node(1), node(2)]);
    assert!(desk.calls.is_empty(), "the depositor found them");
    desk.see(&[node(3), node(1)]);
    let is_offer = |request: &Option<MailRequest>| matches!(request, Some(MailRequest::Offer { .. }));
    assert!(matches!(&desk.calls[0], (_, to, request) if *to == node(3) && is_offer(request)));
    assert_eq!(desk.calls.len(), 1);
    desk.hand_over_to(3);
    let given = desk.answer_calls(|_| true);
    let expected: Vec<_> =
        (0..50).map(|number| (node(3), desk.envelope(number).as_bytes().to_vec())).collect();
    assert_eq!(given, expected);
    desk.see(&[node(1), node(2), node(3)]);
    assert!(desk.calls.is_empty());
    assert_eq!(desk.mailbox.kept_count(), 50);
}

#[test]
fn the_two_known_holders_nearest_to_a_newcomer_hand_it_the_mail() {
    let newcomer = node(9);
    let mut known: Vec<_> = (1..6).map(node).collect();
    known.sort_by_key(|contact| contact.id().distance(&newcomer.id()));
    let with_newcomer = [&known[..], &[newcomer]].concat();
    for (rank, own) in known.iter().enumerate() {
        let mut desk = Desk::with_mail(1);
        let others = |all: &[Contact]| all.iter().filter(|other| *other != own).copied().collect::<Vec<_>>();
        for closest in [others(&known), others(&with_newcomer)] {
            desk.mailbox.handle_holders(PLACE(), &own.id(), &closest, false);
        }
        desk.settle();
        assert_eq!(desk.calls.len(), usize::from(rank < 2), "{rank}");
    }
}

#[test]
fn whom_others_were_to_hand_the_mail_is_handed_it_when_they_are_gone_unless_that_was_long_ago() {
    let newcomer = node(9);
    let mut known: Vec<_> = (1..4).map(node).collect();
    known.sort_by_key(|contact| contact.id().distance(&newcomer.id()));
    let [nearest, second, own] = known[..] else { unreachable!("there are three") };
    for is_settled in [false, true] {
        let mut desk = Desk::with_mail(1);
        for (closest, is_settled) in [
            (vec![nearest, second], false),
            (vec![nearest, second, newcomer], is_settled),
            (vec![second, newcomer], false),
        ] {
            assert!(desk.calls.is_empty());
            desk.mailbox.handle_holders(PLACE(), &own.id(), &closest, is_settled);
            desk.settle();
        }
        assert_eq!(desk.calls.is_empty(), is_settled);
    }
}

#[test]
fn a_newcomer_that_does_not_take_it_is_new_again() {
    let mut desk = Desk::with_mail(20);
    desk.see(&[node(1)]);
    for _ in 0..2 {
        desk.see(&[node(1), node(2)]);
        assert_eq!(desk.calls.len(), 1);
        assert_eq!(desk.answer_calls(|_| false), [], "not even the record");
    }
    desk.see(&[node(1), node(2)]);
    assert_eq!(desk.answer_calls(|_| true).len(), 20);
}

#[test]
fn what_was_released_meanwhile_is_not_handed_over() {
    let mut desk = Desk::with_mail(3);
    let ids: Vec<_> = (0..3).map(|number| desk.envelope(number).id()).collect();
    desk.hand_over_to(1);
    desk.release(&ids[..2]);
    let last = desk.envelope(2).as_bytes().to_vec();
    assert_eq!(desk.answer_calls(|_| true), [(node(1), last)]);
}

#[test]
fn a_node_that_was_replaced_drops_its_mail_once_two_others_have_it() {
    let mut desk = Desk::with_mail(20);
    let closest = [node(1), node(2), node(3)];
    desk.mailbox.handle_replaced(PLACE(), &closest);
    desk.settle();
    desk.answer_calls(|to| *to == node(1));
    desk.mailbox.handle_replaced(PLACE(), &closest);
    desk.settle();
    assert_eq!(desk.mailbox.kept_count(), 20, "one has it");
    assert_eq!(desk.answer_calls(|_| true).len(), 20);
    desk.mailbox.handle_replaced(PLACE(), &closest);
    desk.settle();
    assert_eq!((desk.mailbox.kept_count(), desk.bodies.len(), desk.mailbox.kept_len()), (0, 0, 0));
    assert_eq!(desk.mailbox.stats().handed_over, 20);
    assert_eq!(RECEIVERS, 2);
}

#[test]
fn hand_overs_are_bounded_and_what_finds_no_room_is_new_again() {
    let mut desk = Desk::with_mail(1);
    let nodes: Vec<_> = (0..=MAX_HANDOVERS)
        .map(|number| {
            let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
            let mut key = [9; 32];
            key[..2].copy_from_slice(&[high, low]);
            Contact::new(NodeKey::from_bytes(key), ([10, 1, high, low], 1).into())
        })
        .collect();
    nodes.iter().for_each(|node| desk.mailbox.hand_over(PLACE(), *node));
    desk.settle();
    let given = desk.answer_calls(|_| true);
    assert_eq!(given.len(), MAX_HANDOVERS);
    assert!(given.iter().all(|(to, _)| *to != nodes[MAX_HANDOVERS]));
}

#[test]
fn two_holders_have_the_same_after_each_has_offered_the_other_what_it_has() {
    let (mut one, mut two) = (Desk::with_mail(200), Desk::new(DEFAULT_MAIL_QUOTA));
    for number in 150..300 {
        two.deposit(&two.envelope(number));
    }
    one.mailbox.offer(PLACE(), node(2));
    one.settle();
    one.answer_with(&mut two, &holder());
    assert_eq!(two.mailbox.stats().deposited, 300, "nothing is given twice");
    two.mailbox.offer(PLACE(), node(1));
    two.settle();
    two.answer_with(&mut one, &holder());
    assert_eq!((one.mailbox.kept_count(), two.mailbox.kept_count()), (300, 300));
    one.mailbox.offer(PLACE(), node(2));
    one.settle();
    let mut calls = 0;
    one.answer_as(|_, request| {
        calls += 1;
        let Some(MailRequest::Offer { offer, .. }) = request else { panic!("unexpected {request:?}") };
        assert_eq!(two.offer(offer), MailResponse::Wanted { missing: 0, released: 0 });
        MailAnswer::Wanted { missing: 0, released: 0 }
    });
    assert_eq!(calls, 1, "one question, when there is nothing to give");
}

#[test]
fn an_offer_is_left_to_a_holder_that_has_the_same_and_just_made_one_but_not_for_ever() {
    let mut desk = Desk::with_mail(3);
    let same = Offer::All(desk.mailbox.places.get_mut(&PLACE()).unwrap().digest());
    assert!(desk.mailbox.is_offer_due(PLACE(), desk.now.instant));
    assert_eq!(desk.offer(Offer::All([1; 32])), MailResponse::Wanted { missing: 1, released: 0 });
    assert!(desk.mailbox.is_offer_due(PLACE(), desk.now.instant), "what the other one has differs");
    for _ in 0..MAX_SKIPPED {
        assert_eq!(desk.offer(same.clone()), MailResponse::Wanted { missing: 0, released: 0 });
        assert!(!desk.mailbox.is_offer_due(PLACE(), desk.now.instant));
    }
    assert!(desk.mailbox.is_offer_due(PLACE(), desk.now.instant), "who asks may be lying");
    assert!(!desk.mailbox.is_offer_due(PLACE(), desk.now.instant));
    let later = desk.now.after(OFFER_EVERY);
    assert!(desk.mailbox.is_offer_due(PLACE(), later.instant), "nobody has for an hour");
}

#[test]
fn what_was_released_does_not_come_back_with_an_offer() {
    let (mut one, mut two) = (Desk::with_mail(3), Desk::with_mail(3));
    two.release(&[two.envelope(1).id()]);
    one.mailbox.offer(PLACE(), node(2));
    one.settle();
    one.answer_with(&mut two, &holder());
    assert_eq!(two.mailbox.kept_count(), 2);
    assert_eq!(one.mailbox.kept_count(), 3, "one node's word drops nothing");
}

/// A holder that was away when something was released does not give it to those who have not heard of it either, once two
/// others have told it. One alone, who may lie, keeps nothing from anybody.
#[test]
fn what_two_holders_call_released_is_offered_to_nobody_else_and_stays_for_its_device() {
    let mut desk = Desk::with_mail(2);
    let say = |desk: &mut Desk, by: u8, released| {
        desk.mailbox.offer(PLACE(), node(by));
        desk.settle();
        let mut offered = 0;
        desk.answer_as(|_, request| match request {
            Some(MailRequest::Offer { offer: Offer::These(tags), .. }) => {
                offered = tags.len();
                MailAnswer::Wanted { missing: 0, released }
            }
            _ => MailAnswer::Wanted { missing: 1, released: 0 },
        });
        offered
    };
    assert_eq!(say(&mut desk, 1, 0b01), 2);
    assert_eq!(say(&mut desk, 1, 0b01), 2, "the same node again");
    assert_eq!(say(&mut desk, 2, 0b01), 2);
    assert_eq!(say(&mut desk, 3, 0), 1);
    assert_eq!(desk.collect(0).0.len(), 2);
}

/// A flood that fills a newcomer's room for strangers must not keep contacts' mail from it.
#[test]
fn who_has_no_room_for_strangers_is_given_what_contacts_wrote() {
    let mut desk = Desk::with_mail(40);
    let envelope = desk.envelope(99);
    let token = WriteToken::issue(
        &bobs_key(),
        &MAILBOX,
        SecretKey::from_bytes(&[1; 32]),
        desk.now.wall.saturating_add(DAY),
    );
    let shown = Admission::Token(Box::new(token.proof(&envelope.id()))).deposit(envelope.as_bytes());
    let tag = desk.tag();
    desk.mailbox.handle_deposit(tag, &contact("10.0.0.1:1"), &shown, &holder(), desk.now);
    assert_eq!(desk.answer(tag), MailResponse::Deposited);
    desk.mailbox.hand_over(PLACE(), node(1));
    desk.settle();
    let mut given = Vec::new();
    desk.answer_as(|_, request| match request {
        Some(MailRequest::Offer { .. }) => MailAnswer::Wanted { missing: u64::MAX, released: 0 },
        Some(MailRequest::Deposit { envelope }) => {
            given.push(envelope.clone());
            if *envelope == shown { MailAnswer::Done } else { MailAnswer::NoRoom }
        }
        other => panic!("unexpected {other:?}"),
    });
    assert_eq!(given.iter().filter(|bytes| **bytes == shown).count(), 1);
    assert!(given.len() <= 9, "{} were sent in vain", given.len() - 1);
}

#[test]
fn who_is_no_holder_or_has_no_record_is_offered_nothing_else() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let (all, none) = (Offer::All([1; 32]), Standing::default());
    let stranger = Standing { is_holder: true, ..Standing::default() };
    for (standing, refusal) in [(none, MailRefusal::NotHolder), (stranger, MailRefusal::UnknownMailbox)] {
        let tag = desk.tag();
        desk.mailbox.handle_offer(tag, PLACE(), &all, &standing, desk.now);
        assert_eq!(desk.answer(tag), refused(refusal));
    }
}

#[test]
fn what_is_not_on_disk_yet_is_still_wanted() {
    let mut desk = Desk::with_mail(1);
    let (kept, coming) = (desk.envelope(0), desk.envelope(1));
    let (tag, from, now) = (desk.tag(), contact("10.0.0.1:1"), desk.now);
    desk.mailbox.handle_deposit(tag, &from, coming.as_bytes(), &holder(), now);
    let ask = desk.tag();
    let tags = [&kept, &coming].map(|envelope| EnvelopeTag::of(&envelope.id())).to_vec();
    desk.mailbox.handle_offer(ask, PLACE(), &Offer::These(tags.clone()), &holder(), now);
    desk.drain();
    assert_eq!(desk.replies.remove(&ask), Some(MailResponse::Wanted { missing: 0b10, released: 0 }));
    desk.settle();
    assert_eq!(desk.offer(Offer::These(tags)), MailResponse::Wanted { missing: 0, released: 0 });
}

#[test]
fn offers_come_in_pages_and_leave_half_of_the_places_to_newcomers() {
    let mut desk = Desk::with_mail(MAX_OFFERED as u64 + 1);
    desk.mailbox.offer(PLACE(), node(1));
    desk.settle();
    let mut pages = Vec::new();
    desk.answer_as(|_, request| match request {
        Some(MailRequest::Offer { offer: Offer::These(tags), .. }) => {
            pages.push(tags.len());
            MailAnswer::Wanted { missing: 0, released: 0 }
        }
        _ => MailAnswer::Wanted { missing: 1, released: 0 },
    });
    assert_eq!(pages, [MAX_OFFERED, 1]);
    assert!(desk.mailbox.has_room_to_offer(MAX_HANDOVERS / 2));
    desk.mailbox.offer(PLACE(), node(1));
    assert!(!desk.mailbox.has_room_to_offer(MAX_HANDOVERS / 2));
}
