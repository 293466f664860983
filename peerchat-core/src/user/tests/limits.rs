//! What a user keeps of others has limits, and what they are told when one is reached.

use std::sync::Arc;

use super::*;
use crate::limits::Limits;

impl Bench {
    /// A bench whose user has met everybody by these limits only.
    fn limited(limits: Limits) -> Self {
        let mut bench = Self::new();
        bench.limit(limits);
        bench
    }

    fn limit(&mut self, limits: Limits) {
        let limits = Arc::new(limits);
        self.user.people.limits = limits.clone();
        self.user.config.limits = limits;
    }
}

const BUSY: ChatResponse = ChatResponse::NotDelivered(DeliverRefusal::Busy);

#[test]
fn strangers_have_so_many_devices_together_until_something_is_decided() {
    let mut bench = Bench::limited(Limits { stranger_devices: 2, ..Limits::default() });
    let (bob, carol, dave) =
        (Peer::new(2, "bob"), Peer::new(5, "carol").on_device(9), Peer::new(6, "dave").on_device(8));
    bench.meet(&bob);
    bench.meet(&carol);
    assert_eq!(bench.introduce(&dave, dave.contact), Some(BUSY));
    let second = bob.on_device(7);
    assert_eq!(
        bench.introduce(&second, second.contact),
        Some(BUSY),
        "nor may one that is known have another"
    );
    assert_eq!(bench.user.refused_request_count(), 2);
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 2 }, "those there are deliver");
    let id = bench.user.people.with_user(&carol.id()).unwrap();
    bench.user.people.set_relation(id, crate::save::Relation::Contact);
    bench.meet(&dave);
    assert_eq!(bench.deliver(&dave, 1, 1), ChatResponse::Delivered { next: 2 });
}

#[test]
fn strangers_have_so_many_sessions_together_until_something_is_decided() {
    let mut bench = Bench::limited(Limits { stranger_sessions: 1, ..Limits::default() });
    let (bob, carol) = (Peer::new(2, "bob"), Peer::new(5, "carol").on_device(9));
    bench.meet(&bob);
    bench.meet(&carol);
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 2 });
    assert_eq!(bench.deliver(&carol, 1, 1), BUSY);
    assert_eq!(bench.user.refused_request_count(), 1);
    assert_eq!(
        bench.deliver(&bob, 2, 1),
        ChatResponse::Delivered { next: 3 },
        "a session that there is goes on"
    );
    let id = bench.user.people.with_user(&bob.id()).unwrap();
    bench.user.people.set_relation(id, crate::save::Relation::Contact);
    assert_eq!(bench.deliver(&carol, 1, 1), ChatResponse::Delivered { next: 2 });
}

/// Lets a peer write from this number on until they are refused; returns how many messages were taken.
fn write_on(bench: &mut Bench, peer: &Peer, from: u64) -> u64 {
    (from..).take_while(|number| bench.deliver(peer, *number, 1) != BUSY).count() as u64
}

#[test]
fn strangers_write_so_much_together_until_something_is_decided_and_one_of_them_as_much_as_it_leaves() {
    let mut bench = Bench::limited(Limits { stranger_messages_len: 12 * 1024, ..Limits::default() });
    let (bob, carol) = (Peer::new(2, "bob"), Peer::new(5, "carol").on_device(9));
    bench.meet(&bob);
    bench.meet(&carol);
    // Each message counts 384 bytes and its text, before it is opened its envelope.
    let of_bob = write_on(&mut bench, &bob, 1);
    assert!((12..=15).contains(&of_bob), "{of_bob}");
    let of_carol = write_on(&mut bench, &carol, 1);
    assert!((5..=8).contains(&of_carol), "{of_carol}");
    assert_eq!(bench.user.refused_request_count(), 2);
    assert_eq!(bench.messages().len() as u64, of_bob + of_carol, "what was refused is not kept");
    let id = bench.user.people.with_user(&bob.id()).unwrap();
    bench.user.people.set_relation(id, crate::save::Relation::Contact);
    (1..=50).for_each(|more| assert_ne!(bench.deliver(&bob, of_bob + more, 1), BUSY, "{more}"));
    let more_of_carol = write_on(&mut bench, &carol, of_carol + 1);
    assert!(of_carol + more_of_carol >= 12, "{more_of_carol}");
    bench.user.people.set_relation(id, crate::save::Relation::Stranger);
    assert_ne!(bench.deliver(&bob, of_bob + 51, 1), BUSY, "what was written before is decided");
}

#[test]
fn how_much_was_written_in_requests_is_known_after_a_restart() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    let mut saved = bench.written.iter().filter_map(|write| match write {
        Write::Conversation(saved) => Some(saved.clone()),
        _ => None,
    });
    let (saved, id) = (saved.next_back().unwrap(), bench.user.people.with_user(&bob.id()).unwrap());
    let mut again = Bench::with(|profile| {
        profile.conversations = vec![saved];
        profile.request_lens = vec![(id, crate::user::MAX_STRANGER_MESSAGES_LEN as u64 / 2)];
    });
    again.meet(&bob);
    assert_eq!(again.deliver(&bob, 1, 1), BUSY);
}

#[test]
fn so_many_envelopes_wait_for_an_earlier_one_and_the_next_is_not_taken() {
    let mut bench = Bench::limited(Limits { held: 1, ..Limits::default() });
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    assert_eq!(bench.deliver(&bob, 2, 1), ChatResponse::Delivered { next: 1 });
    assert_eq!(bench.deliver(&bob, 3, 1), ChatResponse::Delivered { next: 1 });
    assert_eq!((bench.user.held_count, bench.messages().len()), (1, 0));
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 3 }, "one was kept, one was not");
    assert_eq!(bench.deliver(&bob, 3, 1), ChatResponse::Delivered { next: 4 });
}

#[test]
fn so_many_bytes_wait_for_an_earlier_envelope_and_the_next_is_not_taken() {
    let mut bench = Bench::limited(Limits { held_len: 1, ..Limits::default() });
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    assert_eq!(bench.deliver(&bob, 2, 1), ChatResponse::Delivered { next: 1 });
    assert_eq!(bench.deliver(&bob, 3, 1), ChatResponse::Delivered { next: 1 });
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 3 });
}

#[test]
fn so_many_strangers_are_looked_up_at_once() {
    let mut bench = Bench::limited(Limits { introductions: 1, ..Limits::default() });
    let (bob, carol) = (Peer::new(2, "bob"), Peer::new(5, "carol").on_device(9));
    assert_eq!(bench.introduce(&bob, bob.contact), None, "their name is looked up");
    assert_eq!(bench.introduce(&carol, carol.contact), Some(BUSY));
    assert_eq!(bench.user.refused_request_count(), 1);
    let [search] = bench.take_searches()[..] else { panic!("one name is looked up") };
    bench.answer_search(search, vec![bob.claim.clone()]);
    assert_eq!(bench.introduce(&carol, carol.contact), None);
}
