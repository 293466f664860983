//! What comes with the envelopes of contacts and of strangers, as holders ask for it.

use std::sync::Arc;

use super::*;
use crate::limits::Limits;
use crate::mail::{MAX_WORK_BITS, TokenProof};
use crate::user::{Receipt, TOKEN_DELAY, TOKEN_LIFETIME, TOKEN_RENEWAL, Verb};

impl Town {
    /// Lets two people who have written to one another give each other tokens.
    fn acquainted() -> Self {
        let mut town = Self::new();
        town.send(ALICE, "bob", "hello");
        town.send(BOB, "alice", "hello to you");
        town.pass(TOKEN_DELAY);
        town.settle();
        town
    }

    fn proofs(&self) -> Vec<&TokenProof> {
        let proofs = self.shown.iter().map(|shown| match shown {
            Admission::Token(proof) => Some(&**proof),
            Admission::Nothing | Admission::Work(_) => None,
        });
        proofs.flatten().collect()
    }
}

#[test]
fn contacts_give_each_other_tokens_and_show_them_to_every_holder() {
    let mut town = Town::acquainted();
    assert_eq!((town.owed(ALICE), town.owed(BOB)), (0, 0));
    town.leave(BOB);
    town.bits = MAX_WORK_BITS;
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
    assert_eq!(town.proofs().len(), usize::from(HOLDERS));
    let envelope = town.kept.values().next().unwrap();
    let header = envelope.header();
    assert!(town.proofs().iter().all(|proof| proof.is_for(&header.mailbox, &header.device, &envelope.id())));
    assert_eq!(town.worked, []);
}

#[test]
fn a_receipt_that_waits_to_be_sent_holds_no_token() {
    let mut town = Town::acquainted();
    town.leave(BOB);
    town.bits = MAX_WORK_BITS;
    town.send(ALICE, "bob", "are you there?");
    assert!(!town.proofs().is_empty(), "bob gave a token");
    let receipts = &town.people[BOB].receipts;
    let receipts = receipts.iter().map(|body| crate::codec::decode::<Receipt>(body).unwrap());
    let promised: Vec<usize> = receipts.map(|receipt| receipt.token.len()).filter(|len| *len > 0).collect();
    assert_eq!(promised, [8], "it says when the token was promised");
}

#[test]
fn a_token_is_kept_across_a_restart_of_either() {
    let mut town = Town::acquainted();
    town.leave(BOB);
    town.leave(ALICE);
    town.come(ALICE);
    town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.proofs().len(), usize::from(HOLDERS));
    let given = town.people[BOB].saved.tokens.clone();
    town.come(BOB);
    town.pass(2 * TOKEN_DELAY);
    assert_eq!(town.people[BOB].saved.tokens, given, "none is given twice");
}

#[test]
fn a_contact_that_is_heard_gets_the_next_token_before_the_last_one_ends_and_another_one_none() {
    let mut town = Town::acquainted();
    let first = town.people[ALICE].saved.tokens[0].held.clone();
    town.pass(TOKEN_RENEWAL);
    assert_eq!(town.people[ALICE].saved.tokens[0].held, first, "nobody was heard");
    town.send(ALICE, "bob", "still there?");
    town.pass(TOKEN_DELAY);
    town.settle();
    assert_ne!(town.people[ALICE].saved.tokens[0].held, first);
    town.relate(BOB, "alice", Verb::Block).unwrap();
    let last = town.people[ALICE].saved.tokens[0].held.clone();
    town.pass(TOKEN_LIFETIME);
    town.leave(BOB);
    town.send(ALICE, "bob", "why do you not answer?");
    assert_eq!(town.people[ALICE].saved.tokens[0].held, last);
    assert!(town.proofs().is_empty(), "what was given has ended");
}

#[test]
fn a_stranger_is_given_no_token_until_they_are_accepted() {
    let mut town = Town::new();
    town.send(ALICE, "bob", "hello");
    town.pass(2 * TOKEN_DELAY);
    assert!(town.people[ALICE].saved.tokens.iter().all(|token| token.held.is_none()));
    town.relate(BOB, "alice", Verb::Accept).unwrap();
    town.pass(2 * TOKEN_DELAY);
    town.settle();
    assert!(town.people[ALICE].saved.tokens[0].held.is_some());
}

#[test]
fn a_stranger_works_once_for_an_envelope_and_shows_it_to_all_who_ask() {
    let mut town = Town::new();
    town.leave(BOB);
    town.bits = 10;
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
    assert_eq!(town.worked.iter().map(|work| work.bits).collect::<Vec<_>>(), [10]);
    assert!(town.proofs().is_empty());
}

#[test]
fn more_work_than_anybody_may_ask_for_is_not_done_and_counts_as_a_refusal() {
    let mut town = Town::new();
    town.leave(BOB);
    town.bits = MAX_WORK_BITS + 1;
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), None);
    assert_eq!(town.worked, []);
    assert_eq!(town.people[ALICE].bench.user.work_given_up_count(), u64::from(HOLDERS));
}

/// One holder that is never content must not keep a phone busy.
#[test]
fn who_asks_again_for_work_that_was_done_is_left_out() {
    let mut town = Town::new();
    town.leave(BOB);
    town.bits = 10;
    town.insatiable = Some(holder(1).id());
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS) - 1)));
    assert_eq!(town.worked.len(), 1);
}

#[test]
fn nonces_are_searched_for_one_at_a_time_and_the_next_search_waits() {
    let mut town = Town::new();
    town.leave(BOB);
    (town.bits, town.is_work_slow) = (10, true);
    let ids = ["are you there?", "and now?"].map(|text| town.send(ALICE, "bob", text));
    assert_eq!(town.worked.len(), 1, "the town would say so if there were two at a time");
    while town.working.is_some() {
        town.finish_work();
        town.settle();
    }
    assert!(town.worked.len() > 1);
    let stored = Some((MessageState::Stored, u32::from(HOLDERS)));
    assert_eq!(ids.map(|id| town.state(ALICE, id)), [stored; 2]);
}

#[test]
fn a_search_without_a_nonce_leaves_out_who_asked_for_it_and_nobody_else() {
    let mut town = Town::new();
    town.leave(BOB);
    town.bits = 10;
    town.is_work_in_vain = true;
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), None);
    town.is_work_in_vain = false;
    let next = town.send(ALICE, "bob", "and now?");
    assert_eq!(town.state(ALICE, next), Some((MessageState::Stored, u32::from(HOLDERS))));
}

/// A holder that lies about a token costs work at that holder, and nothing elsewhere.
#[test]
fn who_does_not_take_a_token_is_treated_as_by_a_stranger() {
    let mut town = Town::acquainted();
    town.leave(BOB);
    town.bits = 9;
    town.unbelieving = Some(holder(1).id());
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
    assert_eq!((town.worked.len(), town.proofs().len()), (1, usize::from(HOLDERS)));
    town.send(ALICE, "bob", "and now?");
    assert_eq!(town.worked.len(), 2, "asked for again in the next round only");
}

#[test]
fn a_letter_for_which_there_is_no_room_stays_with_those_who_keep_it() {
    for full in [Limits { letters: 0, ..Limits::default() }, Limits { letters_len: 1, ..Limits::default() }] {
        let mut town = Town::new();
        town.leave(BOB);
        town.send(ALICE, "bob", "are you there?");
        town.people[BOB].limits = Arc::new(full);
        town.come(BOB);
        assert!(town.texts(BOB).is_empty());
        assert_eq!(town.kept.len(), 1, "it is not released");
        town.leave(BOB);
        town.people[BOB].limits = Limits::shared();
        town.come(BOB);
        assert_eq!(town.texts(BOB), ["are you there?"]);
    }
}

#[test]
fn so_much_mail_is_collected_in_a_round_and_the_rest_in_the_next() {
    let mut town = Town::new();
    town.leave(BOB);
    let texts = ["one", "two", "three", "four", "five"];
    texts.iter().for_each(|text| _ = town.send(ALICE, "bob", text));
    town.people[BOB].limits = Arc::new(Limits { listed: 2, ..Limits::default() });
    town.come(BOB);
    town.pass(Duration::from_secs(30));
    assert_eq!(town.texts(BOB), texts);
}
