//! Typing notices: who is told, who is heard, how often, and how it ends.

use super::*;
use crate::event::CommandId;
use crate::user::{
    ContentKind, Decision, DecisionError, Hint, MAX_HINT_LEN, MAX_TYPING_BURST, TYPING_INTERVAL,
    TYPING_LIFETIME, Verb,
};

const MOMENT: Duration = Duration::from_millis(1);

impl Bench {
    fn alice_types(&mut self, to: &str, is_typing: bool) -> Result<(), DecisionError> {
        let set = self.user.set_typing(&Recipient::parse(to).unwrap(), is_typing, self.now);
        self.drain();
        set
    }

    /// Returns what people were told since the last time.
    fn take_hints(&mut self) -> Vec<bool> {
        let own = self.user.id();
        let typing = |(_, request)| match request {
            ChatRequest::Hint(hint) => {
                assert_eq!(hint.from, own);
                hint.typing()
            }
            _ => None,
        };
        self.take_calls().into_iter().filter_map(typing).collect()
    }

    /// Lets time pass in steps, as far as anything is due.
    fn let_pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some((at, _)) = self.user.poll_timeout().filter(|(at, _)| *at <= end.instant) {
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            self.user.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn hint(&self, peer: &Peer, is_typing: bool) -> Hint {
        Hint::of_typing(peer.id(), conversation_of(&self.user.id(), &peer.id()), is_typing)
    }

    /// Lets a peer say whether they type. The answer is always the same.
    fn types(&mut self, peer: &Peer, is_typing: bool) {
        let hint = self.hint(peer, is_typing);
        self.hand_over_hint(peer.contact, hint);
    }

    fn hand_over_hint(&mut self, from: Contact, hint: Hint) {
        assert_eq!(self.request(from, ChatRequest::Hint(hint)), Some(ChatResponse::Heard));
    }

    /// Returns what the application was told since the last time.
    fn take_told(&mut self) -> Vec<(String, bool)> {
        let typing = |event| match event {
            Event::Typing { from, is_typing, .. } => Some((from, is_typing)),
            _ => None,
        };
        std::mem::take(&mut self.events).into_iter().filter_map(typing).collect()
    }

    fn relate_to(&mut self, who: &str, verb: Verb) {
        let decision = Decision::Relate { who: Recipient::parse(who).unwrap(), verb };
        self.user.decide(CommandId(1), decision, self.now).unwrap();
        self.drain();
    }

    /// Bob, who was met and is a contact.
    fn befriend(&mut self) -> Peer {
        let bob = Peer::new(2, "bob");
        self.meet(&bob);
        self.relate_to("bob", Verb::Add);
        // Whoever is a contact gets a token by and by, which is nothing of ours.
        self.let_pass(super::super::TOKEN_DELAY);
        for (tag, delivery) in self.take_deliveries() {
            self.respond(tag, ChatResponse::Delivered { next: delivery.number + 1 });
        }
        self.written.clear();
        bob
    }
}

fn told(is_typing: bool) -> Vec<(String, bool)> {
    vec![("bob".to_owned(), is_typing)]
}

#[test]
fn who_types_is_told_of_no_more_often_than_the_interval_and_nothing_is_saved() {
    let mut bench = Bench::new();
    bench.befriend();
    bench.alice_types("bob", false).unwrap();
    assert!(bench.take_hints().is_empty(), "nothing has begun");
    // A key every tenth of a second for half a minute.
    let mut hints = 0;
    for _ in 0..300 {
        bench.alice_types("bob", true).unwrap();
        hints += bench.take_hints().len();
        bench.let_pass(Duration::from_millis(100));
    }
    assert_eq!(hints, 10);
    bench.let_pass(TYPING_INTERVAL);
    assert!(bench.take_hints().is_empty(), "nobody says that it goes on");
    bench.alice_types("bob", false).unwrap();
    assert_eq!(bench.take_hints(), [false]);
    bench.alice_types("bob", false).unwrap();
    bench.let_pass(TYPING_LIFETIME);
    assert!(bench.take_hints().is_empty(), "it has ended already");
    assert!(bench.written.is_empty() && bench.writing.is_empty(), "{:?}", bench.written);
    assert_eq!(bench.user.poll_timeout(), None);
}

#[test]
fn what_is_said_too_soon_is_told_later_and_only_if_it_still_holds() {
    let mut bench = Bench::new();
    bench.befriend();
    bench.alice_types("bob", true).unwrap();
    bench.alice_types("bob", false).unwrap();
    assert_eq!(bench.take_hints(), [true]);
    bench.let_pass(TYPING_INTERVAL - MOMENT);
    assert!(bench.take_hints().is_empty());
    bench.let_pass(MOMENT);
    assert_eq!(bench.take_hints(), [false]);
    for is_typing in [true, false, true, false] {
        bench.alice_types("bob", is_typing).unwrap();
    }
    bench.let_pass(TYPING_LIFETIME);
    assert!(bench.take_hints().is_empty(), "it is as they know it");
}

/// Whoever was told long ago has forgotten it.
#[test]
fn an_end_is_not_told_to_those_for_whom_it_has_ended_by_itself() {
    let mut bench = Bench::new();
    bench.befriend();
    bench.alice_types("bob", true).unwrap();
    assert_eq!(bench.take_hints(), [true]);
    bench.let_pass(TYPING_LIFETIME);
    bench.alice_types("bob", false).unwrap();
    assert!(bench.take_hints().is_empty());
}

#[test]
fn a_text_ends_typing_without_a_notice() {
    let mut bench = Bench::new();
    bench.befriend();
    bench.alice_types("bob", true).unwrap();
    assert_eq!(bench.take_hints(), [true]);
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.drain();
    bench.alice_types("bob", false).unwrap();
    bench.let_pass(TYPING_INTERVAL - MOMENT);
    assert!(bench.take_hints().is_empty());
    bench.alice_types("bob", true).unwrap();
    bench.let_pass(MOMENT);
    assert_eq!(bench.take_hints(), [true], "the next one waits for its turn");
}

#[test]
fn strangers_and_people_whose_device_is_not_known_learn_nothing() {
    let mut bench = Bench::new();
    assert_eq!(bench.alice_types("bob", true), Err(DecisionError::NotMet));
    bench.relate_to("carol", Verb::Add);
    bench.alice_types("carol", true).unwrap();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    bench.deliver(&bob, 1, 1);
    bench.alice_types("bob", true).unwrap();
    assert!(bench.take_hints().is_empty(), "a request is no contact, and nobody knows where Carol is");
    assert_eq!(bench.take_searches().len(), 0, "nobody is looked for");
    bench.relate_to("bob", Verb::Accept);
    bench.alice_types("bob", true).unwrap();
    assert_eq!(bench.take_hints(), [true]);
    bench.relate_to("bob", Verb::Remove);
    bench.let_pass(TYPING_LIFETIME);
    bench.alice_types("bob", false).unwrap();
    assert!(bench.take_hints().is_empty());
    bench.relate_to("bob", Verb::Block);
    assert_eq!(bench.alice_types("bob", true), Err(DecisionError::Blocked));
}

#[test]
fn a_call_that_nobody_answers_or_somebody_does_not_know_changes_nothing() {
    let mut bench = Bench::new();
    bench.befriend();
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.alice_types("bob", true).unwrap();
    let calls = bench.take_calls();
    let is_hint = |(_, request): &&(CallTag, ChatRequest)| matches!(request, ChatRequest::Hint(_));
    let (tag, _) = *calls.iter().find(is_hint).expect("a notice");
    bench.user.handle_call_failed(tag, bench.now);
    bench.drain();
    bench.respond(tag, ChatResponse::NotDelivered(DeliverRefusal::NotHere));
    assert_eq!((bench.take_calls().len(), bench.take_searches().len()), (0, 0));
    let delivery = calls.iter().find_map(|(tag, request)| match request {
        ChatRequest::Deliver(delivery) => Some((*tag, delivery.number + 1)),
        _ => None,
    });
    let (tag, next) = delivery.expect("the message");
    bench.respond(tag, ChatResponse::Delivered { next });
    assert_eq!(bench.user.outbox_count(), 0);
}

#[test]
fn who_types_is_told_once_and_it_ends_by_itself() {
    let mut bench = Bench::new();
    let bob = bench.befriend();
    for _ in 0..3 {
        bench.types(&bob, true);
        bench.let_pass(TYPING_LIFETIME - MOMENT);
    }
    assert_eq!(bench.take_told(), told(true));
    bench.let_pass(MOMENT);
    assert_eq!(bench.take_told(), told(false));
    bench.types(&bob, false);
    assert!(bench.take_told().is_empty(), "it has ended already");
    bench.types(&bob, true);
    bench.types(&bob, false);
    assert_eq!(bench.take_told(), [told(true), told(false)].concat());
    bench.let_pass(TYPING_LIFETIME);
    assert_eq!((bench.user.poll_timeout(), bench.take_told()), (None, vec![]));
    assert!(bench.written.is_empty());
    assert_eq!(bench.user.dropped_hint_count(), 0);
}

#[test]
fn a_text_that_arrives_ends_it_before_it_is_told() {
    let mut bench = Bench::new();
    let bob = bench.befriend();
    bench.types(&bob, true);
    bench.events.clear();
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 2 });
    let kinds: Vec<bool> =
        bench.events.iter().map(|event| matches!(event, Event::Typing { is_typing: false, .. })).collect();
    assert_eq!(kinds, [true, false]);
    assert!(matches!(bench.events.last(), Some(Event::Message(_))));
    bench.events.clear();
    bench.let_pass(TYPING_LIFETIME);
    assert!(bench.take_told().is_empty());
}

#[test]
fn who_is_removed_or_goes_by_another_name_is_told_to_have_stopped_under_the_old_one() {
    let mut bench = Bench::new();
    let bob = bench.befriend();
    bench.types(&bob, true);
    bench.relate_to("bob", Verb::Remove);
    assert_eq!(bench.take_told(), [told(true), told(false)].concat());

    bench.relate_to("bob", Verb::Add);
    let rival = Peer::new(3, "bob").on_device(9);
    bench.meet(&rival);
    bench.types(&bob, true);
    let decision = Decision::Accept { name: UserName::parse("bob").unwrap(), user: rival.id() };
    bench.user.decide(CommandId(2), decision, bench.now).unwrap();
    bench.drain();
    assert_eq!(bench.take_told(), [told(true), told(false)].concat());
}

#[test]
fn lies_of_a_contact_and_whatever_a_stranger_says_are_dropped_and_counted() {
    let mut bench = Bench::new();
    let bob = bench.befriend();
    let good = bench.hint(&bob, true);
    let carol = Peer::new(5, "carol").on_device(9);
    let lies = [
        Hint { conversation: [7; 32], ..good.clone() },
        Hint { conversation: conversation_of(&bench.user.id(), &carol.id()), ..good.clone() },
        Hint { kind: ContentKind::TEXT.0, ..good.clone() },
        Hint { kind: 999, ..good.clone() },
        Hint { body: vec![], ..good.clone() },
        Hint { body: vec![2], ..good.clone() },
        Hint { body: vec![1, 1], ..good.clone() },
        Hint { body: vec![1; MAX_HINT_LEN], ..good.clone() },
        Hint { from: bench.user.id(), ..good.clone() },
        bench.hint(&carol, true),
    ];
    let count = lies.len() as u64;
    lies.into_iter().for_each(|lie| bench.hand_over_hint(bob.contact, lie));
    assert_eq!((bench.take_told(), bench.user.dropped_hint_count()), (vec![], count));
    // In Bob's name, from a device that is not his.
    bench.hand_over_hint(carol.contact, good.clone());
    bench.meet(&carol);
    bench.hand_over_hint(carol.contact, good);
    bench.types(&carol, true);
    assert_eq!((bench.take_told(), bench.user.dropped_hint_count()), (vec![], count + 3));
    bench.relate_to("bob", Verb::Block);
    bench.types(&bob, true);
    assert_eq!((bench.take_told(), bench.user.dropped_hint_count()), (vec![], count + 4));
    assert_eq!(bench.user.typing_sizes(), (0, 0));
}

#[test]
fn whoever_says_too_much_is_not_heard() {
    let mut bench = Bench::new();
    let bob = bench.befriend();
    for is_typing in [true, false].repeat(50) {
        bench.types(&bob, is_typing);
    }
    assert_eq!(bench.take_told().len(), MAX_TYPING_BURST as usize);
    assert_eq!(bench.user.dropped_hint_count(), 100 - u64::from(MAX_TYPING_BURST));
    bench.let_pass(TYPING_INTERVAL);
    bench.types(&bob, true);
    assert_eq!(bench.take_told(), told(true), "they are heard again");
    bench.let_pass(2 * TYPING_LIFETIME);
    assert_eq!(bench.user.typing_sizes(), (0, 0));
}

/// It belongs into no envelope; whoever puts one there is not told off for it.
#[test]
fn a_typing_notice_in_an_envelope_is_kept_and_acknowledged_like_an_unknown_kind() {
    let mut bench = Bench::new();
    let bob = bench.befriend();
    let (from, to) = (bob.id(), bench.user.id());
    let content = Content {
        conversation: conversation_of(&to, &from),
        number: 1,
        kind: ContentKind::TYPING.0,
        sent: NOW,
        body: vec![1],
    };
    let envelope = bob.seal(&content, &bench.keys());
    let delivery = Delivery { from, to, number: 1, count: 1, oldest: 1, tag: 1, envelope };
    bench.events.clear();
    assert_eq!(bench.hand_over(&bob, delivery), ChatResponse::Delivered { next: 2 });
    assert!(bench.events.is_empty(), "{:?}", bench.events);
    assert_eq!(bench.messages().len(), 1);
}
