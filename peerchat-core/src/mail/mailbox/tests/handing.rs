//! Mail is announced to devices that are there, and handed over to other holders.

use super::*;
use crate::mail::{MAX_HANDOVERS, PRESENT_FOR, RECEIVERS};

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

    /// Answers every call, also those that follow; returns what was deposited where.
    fn answer_calls(&mut self, is_done: impl Fn(&Contact) -> bool) -> Vec<(Contact, Vec<u8>)> {
        let mut deposited = Vec::new();
        while let Some((tag, to, request)) = self.calls.pop_front() {
            if let Some(MailRequest::Deposit { envelope }) = request {
                deposited.push((to, envelope));
            }
            self.mailbox.handle_answer(tag, is_done(&to), self.now);
            self.settle();
        }
        deposited
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
    desk.mailbox.handle_answer(first, true, desk.now);
    desk.settle();
    let [(second, 8)] = desk.announced()[..] else { panic!("what came meanwhile is told at once") };
    desk.mailbox.handle_answer(second, false, desk.now);
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
    desk.mailbox.handle_answer(tag, true, desk.now);
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
    assert!(matches!(desk.calls[0], (_, to, None) if to == node(3)), "the record first");
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
    assert_eq!(desk.answer_calls(|_| true), [(node(1), desk.envelope(2).as_bytes().to_vec())]);
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
