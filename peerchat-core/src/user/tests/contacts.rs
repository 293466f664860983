//! What strangers can make of contacts and blocks.

use super::*;
use crate::event::CommandId;
use crate::identity::Recipient;
use crate::user::{Decision, DecisionError, DeliverRefusal, MAX_REQUESTS_PER_DAY, Verb};

impl Bench {
    fn relate(&mut self, who: &str, verb: Verb) -> Result<(), DecisionError> {
        let decision = Decision::Relate { who: Recipient::parse(who).unwrap(), verb };
        let related = self.user.decide(CommandId(1), decision, self.now);
        self.drain();
        related
    }

    /// Lets as many strangers make a request as may in a day.
    fn fill_requests(&mut self) {
        for number in 0..MAX_REQUESTS_PER_DAY {
            let stranger = Recipient::parse(&format!("stranger{number}")).unwrap();
            let id = self.user.people.add(&stranger, None);
            self.user.people.add_request(id, self.now.wall);
        }
    }
}

fn refused(reason: DeliverRefusal) -> ChatResponse {
    ChatResponse::NotDelivered(reason)
}

#[test]
fn nobody_learns_of_a_block_by_saying_that_they_are_somebody_else() {
    let (mut bench, bob, carol) = (Bench::new(), Peer::new(2, "bob"), Peer::new(5, "carol").on_device(9));
    bench.meet(&bob);
    bench.relate("bob", Verb::Block).unwrap();
    let forged = Delivery { from: bob.id(), ..bench.delivery(&carol, 1, 1) };
    assert_eq!(bench.hand_over(&carol, forged), refused(DeliverRefusal::UnknownSender));
    assert_eq!(bench.user.blocked_count(), 0);
    assert_eq!(bench.deliver(&bob, 1, 1), refused(DeliverRefusal::Blocked));
    assert_eq!(bench.user.blocked_count(), 1);
}

#[test]
fn requests_of_strangers_do_not_keep_out_who_was_added_by_their_key() {
    let (mut bench, bob, carol) = (Bench::new(), Peer::new(2, "bob"), Peer::new(5, "carol"));
    let exact = Recipient::exactly(UserName::parse("bob").unwrap(), &bob.id()).to_string();
    bench.relate(&exact, Verb::Add).unwrap();
    bench.fill_requests();
    assert_eq!(bench.introduce(&carol, carol.contact), Some(refused(DeliverRefusal::Busy)));
    assert_eq!(bench.introduce(&bob, bob.contact), None, "their name is looked up");
    let [search] = bench.take_searches()[..] else { panic!("one name is looked up") };
    bench.answer_search(search, vec![bob.claim.clone()]);
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 2 });
}

#[test]
fn acceptance_of_a_name_unblocks_nobody() {
    let (mut bench, bob, mallory) = (Bench::new(), Peer::new(2, "bob"), Peer::new(3, "bob").on_device(9));
    bench.meet(&bob);
    bench.meet(&mallory);
    let exact = Recipient::exactly(UserName::parse("bob").unwrap(), &mallory.id()).to_string();
    bench.relate(&exact, Verb::Block).unwrap();
    let decision = Decision::Accept { name: UserName::parse("bob").unwrap(), user: mallory.id() };
    assert_eq!(bench.user.decide(CommandId(2), decision, bench.now), Err(DecisionError::Blocked));
    assert_eq!(bench.deliver(&mallory, 1, 1), refused(DeliverRefusal::Blocked));
}
