//! Who is behind a name: what is told, what stays, and what the application decides.

use super::*;
use crate::user::naming::{Decision, DecisionError, NAME_CHECK_EVERY};

fn name() -> UserName {
    UserName::parse("bob").unwrap()
}

fn to(peer: &str) -> Recipient {
    Recipient::parse(peer).unwrap()
}

fn changed(old: &Peer, new: &Peer) -> Event {
    Event::IdentityChanged { name: name(), old: old.id(), new: new.id() }
}

/// Bob, whom Alice knows; Mallory, who holds Bob's name now; and Alice.
fn bench() -> (Bench, Peer, Peer) {
    let mut bench = Bench::new();
    let (bob, mallory) = (Peer::new(2, "bob"), Peer::new(3, "bob").on_device(9));
    bench.meet(&bob);
    (bench, bob, mallory)
}

impl Bench {
    fn pass(&mut self, time: Duration) {
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall.saturating_add(time) };
    }

    fn send(&mut self, peer: &str) {
        self.user.send(&to(peer), "hello", None, self.now).unwrap();
        self.drain();
    }

    /// Lets Alice write to `bob` after a while, and the directory answer that the name is this person's.
    fn see(&mut self, holder: &Peer) {
        self.pass(NAME_CHECK_EVERY);
        self.send("bob");
        let [check] = self.take_searches()[..] else { panic!("the name is looked up once") };
        self.answer_search(check, vec![holder.claim.clone(); 8]);
    }

    fn accept(&mut self, user: UserId) -> Result<(), DecisionError> {
        let accepted = self.user.decide(CommandId(1), Decision::Accept { name: name(), user }, self.now);
        self.drain();
        accepted
    }

    fn verify(&mut self, who: &str, is_verified: bool) -> Result<(), DecisionError> {
        let decided =
            self.user.decide(CommandId(2), Decision::Verify { who: to(who), is_verified }, self.now);
        self.drain();
        decided
    }

    /// Returns what was last saved of the conversation with this person.
    fn conversation(&self, peer: &Peer) -> Option<SavedConversation> {
        self.written.iter().rev().find_map(|write| match write {
            Write::Conversation(saved) if saved.user == Some(peer.id()) => Some(saved.clone()),
            _ => None,
        })
    }

    /// Returns whom the messages were sent to that were sent since this was last asked.
    fn addressees(&mut self) -> Vec<UserId> {
        self.take_deliveries().into_iter().map(|(_, delivery)| delivery.to).collect()
    }
}

#[test]
fn a_name_that_somebody_else_holds_now_is_told_once_and_nothing_is_sent_to_them() {
    let (mut bench, bob, mallory) = bench();
    bench.see(&mallory);
    assert_eq!(bench.events, [changed(&bob, &mallory)]);
    assert_eq!(bench.conversation(&bob).unwrap().rival, Some(mallory.id()));
    bench.see(&mallory);
    assert_eq!(bench.events.len(), 1);
    let addressees = bench.addressees();
    assert_eq!(addressees, [bob.id(); 2]);
    assert_eq!(bench.conversations_with(mallory.id()), 0);
}

#[test]
fn a_name_in_use_is_looked_up_again_once_an_hour_and_a_message_does_not_wait_for_it() {
    let (mut bench, bob, _) = bench();
    bench.send("bob");
    assert_eq!(bench.take_searches(), []);
    bench.pass(NAME_CHECK_EVERY - Duration::from_millis(1));
    bench.send("bob");
    assert_eq!(bench.take_searches(), []);
    bench.pass(Duration::from_millis(1));
    bench.send("bob");
    assert_eq!((bench.take_searches().len(), bench.addressees()), (1, vec![bob.id(); 3]));
    bench.send("bob");
    bench.send(&Recipient::exactly(name(), &bob.id()).to_string());
    assert_eq!(bench.take_searches(), []);
}

#[test]
fn a_name_about_which_the_answers_disagree_or_are_silent_changes_nothing() {
    let (mut bench, bob, mallory) = bench();
    for records in [vec![], [&bob, &bob, &mallory, &mallory].map(|peer| peer.claim.clone()).to_vec()] {
        bench.pass(NAME_CHECK_EVERY);
        bench.send("bob");
        let [check] = bench.take_searches()[..] else { panic!("the name is looked up once") };
        bench.answer_search(check, records);
    }
    assert_eq!(bench.events, []);
    // Nobody answered the first time, so that was no check.
    bench.pass(NAME_CHECK_EVERY);
    bench.send("bob");
    let [check] = bench.take_searches()[..] else { panic!("the name is looked up once") };
    bench.answer_search(check, vec![]);
    bench.send("bob");
    assert_eq!(bench.take_searches().len(), 1);
}

#[test]
fn who_cannot_be_found_has_their_name_looked_up_again() {
    let (mut bench, bob, mallory) = bench();
    bench.pass(NAME_CHECK_EVERY);
    bench.send(&Recipient::exactly(name(), &bob.id()).to_string());
    let (tag, _) = bench.take_calls().remove(0);
    bench.user.handle_call_failed(tag, bench.now);
    bench.drain();
    let [locate] = bench.take_searches()[..] else { panic!("their devices are looked up") };
    bench.answer_search(locate, vec![]);
    let [check] = bench.take_searches()[..] else { panic!("their name is looked up") };
    bench.answer_search(check, vec![mallory.claim.clone(); 3]);
    assert_eq!(bench.events, [changed(&bob, &mallory)]);
}

#[test]
fn another_holder_of_the_name_who_introduces_themselves_is_told_and_shown_with_their_fingerprint() {
    let (mut bench, bob, mallory) = bench();
    bench.meet(&mallory);
    assert_eq!(bench.events, [changed(&bob, &mallory)]);
    let shown = Recipient::exactly(name(), &mallory.id()).to_string();
    assert_eq!(bench.conversation(&mallory).unwrap().peer, shown);
    bench.send("bob");
    assert_eq!(bench.addressees(), [bob.id()]);
}

#[test]
fn a_lookup_by_the_application_notices_too() {
    let (mut bench, bob, mallory) = bench();
    bench.user.lookup(CommandId(3), to("bob"));
    bench.drain();
    let [holder] = bench.take_searches()[..] else { panic!("one search") };
    bench.answer_search(holder, vec![mallory.claim.clone(); 8]);
    assert_eq!(bench.events, [changed(&bob, &mallory)]);
}

#[test]
fn after_acceptance_the_name_means_the_other_and_what_was_said_stays_where_it_is() {
    let (mut bench, bob, mallory) = bench();
    bench.see(&mallory);
    assert_eq!(bench.addressees(), [bob.id()]);
    assert_eq!(bench.accept(mallory.id()), Ok(()));
    assert_eq!(bench.decided, [CommandId(1)]);

    let [old, new] = [&bob, &mallory].map(|peer| bench.conversation(peer).unwrap());
    assert_eq!((old.peer, old.rival), (Recipient::exactly(name(), &bob.id()).to_string(), None));
    assert_eq!((new.peer.as_str(), new.rival), ("bob", None));
    bench.send("bob");
    let [locate] = bench.take_searches()[..] else { panic!("Mallory's devices are looked up") };
    bench.answer_search(locate, vec![mallory.record.clone()]);
    assert_eq!(bench.addressees(), [mallory.id()]);
    bench.send(&Recipient::exactly(name(), &bob.id()).to_string());
    assert_eq!(bench.addressees(), [bob.id()]);
}

/// They may have written meanwhile, and the application to them by fingerprint.
#[test]
fn acceptance_gives_the_name_to_the_conversation_that_is_there() {
    let (mut bench, bob, mallory) = bench();
    bench.meet(&mallory);
    assert_eq!(bench.accept(mallory.id()), Ok(()));
    assert_eq!(bench.conversations_with(mallory.id()), 1);
    bench.send("bob");
    bench.send(&Recipient::exactly(name(), &bob.id()).to_string());
    assert_eq!(bench.addressees(), [mallory.id(), bob.id()]);
}

#[test]
fn only_whom_the_directory_named_last_is_accepted() {
    let (mut bench, bob, mallory) = bench();
    assert_eq!(bench.accept(mallory.id()), Err(DecisionError::NotSeen));
    bench.see(&mallory);
    let stranger = Peer::new(4, "bob");
    assert_eq!(bench.accept(stranger.id()), Err(DecisionError::NotSeen));
    assert_eq!(bench.accept(bob.id()), Err(DecisionError::NotSeen));
    // The name is Bob's again: there is nothing to accept any more, and nothing to tell.
    bench.see(&bob);
    assert_eq!(bench.conversation(&bob).unwrap().rival, None);
    assert_eq!(bench.accept(mallory.id()), Err(DecisionError::NotSeen));
    assert_eq!(bench.events.len(), 1);
    let nobody = Decision::Accept { name: UserName::parse("carol").unwrap(), user: mallory.id() };
    assert_eq!(bench.user.decide(CommandId(9), nobody, bench.now), Err(DecisionError::NotMet));
    assert_eq!(bench.decided, []);
}

#[test]
fn what_was_not_decided_is_told_again_after_a_restart() {
    let (bob, mallory) = (Peer::new(2, "bob"), Peer::new(3, "bob"));
    let known = SavedConversation {
        rival: Some(mallory.id()),
        ..SavedConversation::fresh(ConversationId(1), "bob".into(), Some(bob.id()))
    };
    let mut bench = Bench::with(|saved| saved.conversations = vec![known]);
    assert_eq!(bench.events, [changed(&bob, &mallory)]);
    assert_eq!(bench.accept(mallory.id()), Ok(()));
}

#[test]
fn a_mark_belongs_to_the_key_and_who_takes_over_the_name_does_not_get_it() {
    let (mut bench, bob, mallory) = bench();
    assert_eq!(bench.verify("carol", true), Err(DecisionError::NotMet));
    assert_eq!(bench.verify("bob", true), Ok(()));
    assert_eq!((bench.decided.len(), bench.conversation(&bob).unwrap().is_verified), (1, true));
    bench.see(&mallory);
    assert_eq!(bench.accept(mallory.id()), Ok(()));
    assert!(!bench.conversation(&mallory).unwrap().is_verified);
    let exact = Recipient::exactly(name(), &bob.id()).to_string();
    assert_eq!(bench.verify(&exact, false), Ok(()));
    assert!(!bench.conversation(&bob).unwrap().is_verified);
}

#[test]
fn nobody_is_verified_before_it_is_known_who_they_are() {
    let mut bench = Bench::new();
    bench.send("bob");
    assert_eq!(bench.verify("bob", true), Err(DecisionError::NotMet));
}

#[test]
fn one_person_under_two_addresses_becomes_one_conversation_with_the_plain_name() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    let exact = Recipient::exactly(name(), &bob.id()).to_string();
    bench.send(&exact);
    bench.send("bob");
    for search in bench.take_searches() {
        bench.answer_search(search, vec![bob.claim.clone()]);
    }
    let merged = |write: &&Write| matches!(write, Write::Merged { .. });
    assert_eq!(bench.written.iter().filter(merged).count(), 1);
    assert_eq!(bench.conversation(&bob).unwrap().peer, "bob");
    bench.take_searches();
    bench.introduce(&bob, bob.contact);
    assert_eq!(bench.addressees(), [bob.id()], "both in one envelope");
    for peer in ["bob", &exact] {
        bench.send(peer);
    }
    assert_eq!((bench.addressees().len(), bench.take_searches()), (2, vec![]));
}

#[test]
fn a_contested_name_is_told_with_everyone_who_was_named_and_an_exact_address_gets_through() {
    let mut bench = Bench::new();
    let (bob, mallory) = (Peer::new(2, "bob"), Peer::new(3, "bob"));
    let claims = || vec![bob.claim.clone(), mallory.claim.clone(), bob.claim.clone()];
    let both = [claims(), vec![mallory.claim.clone()]].concat();
    bench.send("bob");
    let [resolve] = bench.take_searches()[..] else { panic!("one search") };
    bench.answer_search(resolve, both.clone());
    let contested = |event: &Event| match event {
        Event::NameContested { name, holders } => Some((name.clone(), holders.len())),
        _ => None,
    };
    assert_eq!(bench.events.iter().find_map(contested), Some((name(), 2)));
    let failed = |event: &Event| {
        matches!(event, Event::MessageState { state: MessageState::Failed, detail, .. }
        if detail.contains(&bob.id().fingerprint()) && detail.contains(&mallory.id().fingerprint()))
    };
    assert!(bench.events.iter().any(failed));

    bench.send(&Recipient::exactly(name(), &bob.id()).to_string());
    let [resolve] = bench.take_searches()[..] else { panic!("one search") };
    bench.answer_search(resolve, both);
    assert_eq!(bench.conversations_with(bob.id()), 1);
}
