//! Contacts, what was read, and what is taken back, between two people who may be away.

use std::sync::Arc;

use super::*;
use crate::error::ErrorCode;
use crate::event::ReceivedMessage;
use crate::limits::Limits;
use crate::save::Relation;
use crate::user::{Decision, DecisionError, PushError, READ_RECEIPT_DELAY, Verb};

impl Town {
    fn decide(&mut self, who: usize, decision: Decision) -> Result<(), DecisionError> {
        let now = self.now;
        let decided = self.people[who].bench.user.decide(CommandId(1), decision, now);
        self.settle();
        decided
    }

    pub(super) fn relate(&mut self, who: usize, name: &str, verb: Verb) -> Result<(), DecisionError> {
        self.decide(who, Decision::Relate { who: Recipient::parse(name).unwrap(), verb })
    }

    fn received(&self, who: usize) -> Vec<ReceivedMessage> {
        let message = |event: &Event| match event {
            Event::Message(message) => Some(message.clone()),
            _ => None,
        };
        self.people[who].events.iter().filter_map(message).collect()
    }

    /// Marks everything that somebody was told of as read.
    fn read_all(&mut self, who: usize) {
        let last = self.received(who).pop().expect("something was received");
        let people = &mut self.people[who].bench.user.people;
        let conversation = people.with_user(&last.user).unwrap();
        let stream = people.streams_of(conversation).next().unwrap().id;
        self.decide(who, Decision::MarkRead { conversation, stream, number: last.number }).unwrap();
        self.pass(READ_RECEIPT_DELAY);
        self.settle();
    }

    /// Returns every state that was told of a message, in order.
    fn states(&self, who: usize, message: MessageId) -> Vec<MessageState> {
        let state = |event: &Event| match event {
            Event::MessageState { id, state, .. } if *id == message => Some(*state),
            _ => None,
        };
        self.people[who].events.iter().filter_map(state).collect()
    }

    fn why(&self, who: usize, message: MessageId) -> Option<ErrorCode> {
        self.people[who].events.iter().rev().find_map(|event| match event {
            Event::MessageState { id, code, .. } if *id == message => Some(*code),
            _ => None,
        })?
    }

    fn relation(&self, who: usize, name: &str) -> Option<Relation> {
        let saved = self.people[who].saved.conversations.iter().find(|saved| saved.peer == name);
        saved.map(|saved| saved.relation)
    }

    fn cancel(&mut self, who: usize, message: MessageId) -> Result<(), DecisionError> {
        let position = message.position(&self.people[who].contact().id()).unwrap();
        self.decide(who, Decision::Cancel { position })
    }

    fn send_for(&mut self, who: usize, to: &str, text: &str, lifetime: Duration) -> MessageId {
        let (now, to) = (self.now, Recipient::parse(to).unwrap());
        let id = self.people[who].bench.user.send(&to, text, Some(lifetime), now).unwrap();
        self.settle();
        id
    }
}

#[test]
fn a_stranger_makes_a_request_and_a_contact_does_not() {
    let mut town = Town::new();
    town.send(ALICE, "bob", "hello");
    town.send(ALICE, "bob", "it is me");
    assert!(town.received(BOB).iter().all(|message| message.is_request));
    assert_eq!(town.relation(BOB, "alice"), Some(Relation::Request));
    assert_eq!(town.relation(ALICE, "bob"), Some(Relation::Contact), "who is written to is one");
    town.send(BOB, "alice", "hello to you");
    assert_eq!(town.relation(BOB, "alice"), Some(Relation::Contact));
    assert!(!town.received(ALICE)[0].is_request);
    town.send(ALICE, "bob", "fine");
    assert!(!town.received(BOB)[2].is_request);
    town.relate(BOB, "alice", Verb::Remove).unwrap();
    assert_eq!(town.relate(BOB, "alice", Verb::Accept), Err(DecisionError::NotMet), "there is no request");
    town.send(ALICE, "bob", "still there?");
    assert!(town.received(BOB)[3].is_request);
    town.relate(BOB, "alice", Verb::Accept).unwrap();
    assert_eq!(town.relation(BOB, "alice"), Some(Relation::Contact));
}

#[test]
fn letters_of_a_stranger_beyond_what_is_kept_of_them_are_opened_once_they_are_accepted() {
    let mut town = Town::new();
    town.send(ALICE, "bob", "hello");
    town.leave(BOB);
    let texts = ["1", "2", "3", "4"].map(|text| text.repeat(4000));
    for text in &texts {
        town.send(ALICE, "bob", text);
    }
    town.leave(ALICE);
    town.people[BOB].limits = Arc::new(Limits { stranger_messages_len: 24 * 1024, ..Limits::default() });
    town.come(BOB);
    assert_eq!(town.texts(BOB), ["hello", &texts[0], &texts[1]]);
    assert!(town.people[BOB].bench.user.refused_request_count() > 0);
    town.relate(BOB, "alice", Verb::Accept).unwrap();
    assert_eq!(town.texts(BOB)[3..], texts[2..]);
    assert!(town.kept.values().all(|envelope| town.is_for(ALICE, envelope)), "nothing is left with others");
}

#[test]
fn who_was_added_before_they_write_makes_no_request() {
    let mut town = Town::new();
    let exact = Recipient::exactly(UserName::parse("alice").unwrap(), &town.people[ALICE].bench.user.id());
    town.relate(BOB, &exact.to_string(), Verb::Add).unwrap();
    town.send(ALICE, "bob", "hello");
    assert!(!town.received(BOB)[0].is_request);
    assert_eq!(town.relation(BOB, &exact.to_string()), Some(Relation::Contact));
}

#[test]
fn what_was_read_is_told_to_a_contact_once_and_states_only_move_forward() {
    let mut town = Town::new();
    let ids = ["one", "two"].map(|text| town.send(ALICE, "bob", text));
    town.read_all(BOB);
    assert_eq!(town.states(ALICE, ids[1]), [MessageState::Delivered], "a request is not answered");
    town.relate(BOB, "alice", Verb::Accept).unwrap();
    town.pass(READ_RECEIPT_DELAY);
    town.settle();
    for id in ids {
        assert_eq!(town.states(ALICE, id), [MessageState::Delivered, MessageState::Read]);
    }
    let third = town.send(ALICE, "bob", "three");
    town.read_all(BOB);
    town.read_all(BOB);
    assert_eq!(town.states(ALICE, third), [MessageState::Delivered, MessageState::Read]);
    assert_eq!(town.states(ALICE, ids[0]).len(), 2, "nothing is told twice");
    assert_eq!((town.owed(ALICE), town.owed(BOB)), (0, 0));
}

#[test]
fn what_was_read_is_told_by_mail_across_a_restart_of_both() {
    let mut town = Town::new();
    town.send(BOB, "alice", "write to me");
    town.leave(BOB);
    let id = town.send(ALICE, "bob", "I do");
    town.leave(ALICE);
    town.come(BOB);
    town.read_all(BOB);
    town.leave(BOB);
    town.come(BOB);
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.states(ALICE, id).last(), Some(&MessageState::Read));
    assert!(town.kept.is_empty(), "nothing is left with others");
}

#[test]
fn nobody_is_told_what_was_read_by_who_does_not_want_it() {
    let mut town = Town::new();
    town.leave(BOB);
    town.people[BOB].sends_read_receipts = false;
    town.come(BOB);
    town.send(BOB, "alice", "hello");
    let id = town.send(ALICE, "bob", "hello to you");
    town.read_all(BOB);
    town.leave(BOB);
    let later = town.send(ALICE, "bob", "are you there?");
    town.come(BOB);
    town.pass(Duration::from_secs(60));
    town.read_all(BOB);
    assert_eq!(town.states(ALICE, id), [MessageState::Delivered]);
    assert_eq!(town.states(ALICE, later).last(), Some(&MessageState::Delivered));
}

#[test]
fn who_is_blocked_is_refused_and_tries_no_more() {
    let mut town = Town::new();
    let first = town.send(ALICE, "bob", "hello");
    town.relate(BOB, "alice", Verb::Block).unwrap();
    let second = town.send(ALICE, "bob", "buy this");
    let third = town.send(ALICE, "bob", "and this");
    for id in [second, third] {
        assert_eq!(town.states(ALICE, id), [MessageState::Failed]);
        assert_eq!(town.why(ALICE, id), Some(ErrorCode::BlockedByRecipient));
    }
    assert_eq!((town.state(ALICE, first), town.owed(ALICE)), (Some((MessageState::Delivered, 0)), 0));
    assert_eq!((town.texts(BOB).len(), town.people[BOB].bench.user.blocked_count()), (1, 2));
    let answer = town.people[BOB].bench.user.send(&Recipient::parse("alice").unwrap(), "no", None, town.now);
    assert_eq!(answer, Err(PushError::Blocked));
    assert_eq!(town.relate(BOB, "alice", Verb::Add), Err(DecisionError::Blocked));
    town.leave(BOB);
    town.come(BOB);
    assert_eq!(town.relation(BOB, "alice"), Some(Relation::Blocked), "it is kept");
    town.relate(BOB, "alice", Verb::Unblock).unwrap();
    town.send(ALICE, "bob", "sorry");
    let last = town.received(BOB).pop().unwrap();
    assert_eq!((last.text.as_str(), last.is_request), ("sorry", true));
}

#[test]
fn the_mail_of_who_is_blocked_is_dropped_unread_and_released() {
    let mut town = Town::new();
    town.send(ALICE, "bob", "hello");
    town.relate(BOB, "alice", Verb::Block).unwrap();
    town.leave(BOB);
    let id = town.send(ALICE, "bob", "buy this");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
    town.leave(ALICE);
    town.come(BOB);
    assert!(town.kept.is_empty(), "neither the letter nor a receipt is kept by anybody");
    let user = &town.people[BOB].bench.user;
    assert_eq!((town.texts(BOB).len(), user.blocked_count(), user.outbox_count()), (1, 1, 0));
    town.come(ALICE);
    town.pass(Duration::from_secs(600));
    assert_eq!(town.why(ALICE, id), Some(ErrorCode::BlockedByRecipient), "both are there now");
}

#[test]
fn blocking_somebody_cancels_what_they_were_still_to_get() {
    let mut town = Town::new();
    town.send(ALICE, "bob", "hello");
    town.leave(ALICE);
    let id = town.send(BOB, "alice", "hello to you");
    town.relate(BOB, "alice", Verb::Block).unwrap();
    assert_eq!(town.state(BOB, id), Some((MessageState::Canceled, 0)));
    assert_eq!(town.owed(BOB), 0);
}

#[test]
fn who_was_never_met_cannot_be_blocked_or_accepted() {
    let mut town = Town::new();
    for verb in [Verb::Accept, Verb::Block, Verb::Unblock, Verb::Remove] {
        assert_eq!(town.relate(BOB, "alice", verb), Err(DecisionError::NotMet), "{verb:?}");
    }
    town.leave(ALICE);
    town.relate(BOB, "alice", Verb::Add).unwrap();
    assert_eq!(town.relate(BOB, "alice", Verb::Block), Err(DecisionError::NotMet), "whose key is it?");
}

/// What comes after it must not wait for it, although its writer is away and cannot be asked.
#[test]
fn a_message_that_is_canceled_before_its_turn_does_not_hold_up_the_next() {
    let mut town = Town::new();
    town.leave(BOB);
    town.refusal = Some(MailRefusal::Full);
    let ids = ["one", "two", "three"].map(|text| town.send(ALICE, "bob", text));
    town.cancel(ALICE, ids[1]).unwrap();
    assert_eq!(town.states(ALICE, ids[1]), [MessageState::Canceled]);
    town.leave(ALICE);
    town.refusal = None;
    town.come(ALICE);
    town.pass(Duration::from_secs(60));
    town.leave(ALICE);
    town.come(BOB);
    assert_eq!(town.texts(BOB), ["one", "three"]);
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.owed(ALICE), 0);
    assert_eq!(town.states(ALICE, ids[1]), [MessageState::Canceled]);
    assert_eq!(town.states(ALICE, ids[2]).last(), Some(&MessageState::Delivered));
}

#[test]
fn what_was_deposited_before_it_was_canceled_may_arrive_and_is_told_once() {
    let mut town = Town::new();
    town.leave(BOB);
    let ids = ["one", "two", "three"].map(|text| town.send(ALICE, "bob", text));
    // Nobody takes what is to stand in its place.
    town.refusal = Some(MailRefusal::Full);
    town.cancel(ALICE, ids[1]).unwrap();
    town.leave(ALICE);
    town.refusal = None;
    town.come(BOB);
    town.pass(Duration::from_secs(60));
    assert_eq!(town.texts(BOB), ["one", "two", "three"]);
    town.come(ALICE);
    town.pass(Duration::from_secs(600));
    assert_eq!(town.texts(BOB), ["one", "two", "three"]);
    assert_eq!(town.states(ALICE, ids[1]).last(), Some(&MessageState::Canceled), "the last word");
    assert_eq!(town.owed(ALICE), 0);
}

#[test]
fn only_what_is_still_owed_can_be_canceled() {
    let mut town = Town::new();
    let id = town.send(ALICE, "bob", "hello");
    assert_eq!(town.cancel(ALICE, id), Err(DecisionError::Ended));
    town.leave(BOB);
    let id = town.send(ALICE, "bob", "hello?");
    town.cancel(ALICE, id).unwrap();
    assert_eq!(town.cancel(ALICE, id), Err(DecisionError::Ended));
    assert_eq!(town.owed(ALICE), 0, "nothing follows that could wait for it");
    town.come(BOB);
    town.send(ALICE, "bob", "there you are");
    assert_eq!(town.texts(BOB).last().map(String::as_str), Some("there you are"));
}

#[test]
fn a_message_to_nobody_in_particular_can_be_canceled() {
    let mut town = Town::new();
    let id = town.send(ALICE, "nobody", "hello");
    town.cancel(ALICE, id).unwrap();
    assert_eq!((town.state(ALICE, id), town.owed(ALICE)), (Some((MessageState::Canceled, 0)), 0));
}

#[test]
fn a_message_with_a_shorter_life_expires_before_those_around_it() {
    let mut town = Town::new();
    town.leave(BOB);
    town.refusal = Some(MailRefusal::Full);
    let first = town.send(ALICE, "bob", "one");
    let short = town.send_for(ALICE, "bob", "two", Duration::from_secs(5));
    let last = town.send(ALICE, "bob", "three");
    town.pass(Duration::from_millis(4_999));
    assert_eq!(town.states(ALICE, short), []);
    town.pass(Duration::from_millis(1));
    town.settle();
    assert_eq!(town.states(ALICE, short), [MessageState::Expired]);
    assert_eq!(town.why(ALICE, short), Some(ErrorCode::Expired));
    town.refusal = None;
    town.come(BOB);
    town.pass(Duration::from_secs(600));
    assert_eq!(town.texts(BOB), ["one", "three"]);
    for id in [first, last] {
        assert_eq!(town.states(ALICE, id).last(), Some(&MessageState::Delivered));
    }
    assert_eq!(town.owed(ALICE), 0);
}

/// Its number is as good as one that was canceled, although its own time is over.
#[test]
fn a_message_that_expires_before_its_turn_does_not_hold_up_the_next() {
    let mut town = Town::new();
    town.leave(BOB);
    town.refusal = Some(MailRefusal::Full);
    town.send(ALICE, "bob", "one");
    let short = town.send_for(ALICE, "bob", "two", Duration::from_secs(5));
    town.send(ALICE, "bob", "three");
    town.pass(Duration::from_secs(5));
    town.settle();
    assert_eq!(town.states(ALICE, short), [MessageState::Expired]);
    town.leave(ALICE);
    town.pass(Duration::from_secs(60));
    town.refusal = None;
    town.come(ALICE);
    town.pass(Duration::from_secs(60));
    town.leave(ALICE);
    town.come(BOB);
    assert_eq!(town.texts(BOB), ["one", "three"]);
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.owed(ALICE), 0);
}
