//! Whoever lies in what it answers: holders of mail, neighbours in the DHT, people. What the honest see of it.

use std::time::Duration;

use peerchat_core::crypto::{Envelope, EnvelopeKind};
use peerchat_core::event::{Event, MessageState};
use peerchat_core::kademlia::{Rpc, RpcReply, StoreRefusal};
use peerchat_core::mail::{EnvelopeId, MailRefusal, MailRequest, MailResponse};
use peerchat_core::user::{ChatRequest, ChatResponse, DeliverRefusal, Delivery};
use peerchat_core::wire::{Request, Response};
use peerchat_sim::{Host, Lie, Network};

const SETTLE: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

/// Alice, Bob, and eleven others who keep mail for them.
struct Town {
    net: Network,
    alice: Host,
    bob: Host,
    others: Vec<Host>,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut net = Network::with_seed(seed);
        let others = (0..11).map(|number| net.join(&format!("user{number}"))).collect();
        let (alice, bob) = (net.join("alice"), net.join("bob"));
        net.run_for(SETTLE);
        Self { net, alice, bob, others }
    }

    /// Lets everybody lie but the last of the others.
    fn liars(&mut self, lie: Lie) {
        let (_, liars) = self.others.split_last().unwrap();
        liars.iter().for_each(|host| self.net.let_lie(*host, lie));
    }

    /// Alice writes while Bob is away and leaves; he comes back, answers, and leaves; she comes back.
    fn check_mail(mut self) {
        self.net.stop(self.bob);
        self.net.run_for(SETTLE);
        let texts = ["one", "two", "three"];
        let ids = texts.map(|text| self.net.send(self.alice, "bob", text));
        self.net.run_for(5 * MINUTE);
        for id in ids {
            assert_eq!(self.net.state(self.alice, id), Some(MessageState::Stored));
        }
        self.net.stop(self.alice);
        self.net.start(self.bob);
        self.net.run_for(10 * MINUTE);
        let expected = texts.map(|text| ("alice".to_owned(), text.to_owned()));
        assert_eq!(self.net.texts(self.bob), expected, "each once, in order");
        self.net.start(self.alice);
        self.net.run_for(10 * MINUTE);
        for id in ids {
            assert_eq!(self.net.state(self.alice, id), Some(MessageState::Delivered));
        }
        self.net.run_for(120 * MINUTE);
        assert_eq!(self.net.texts(self.bob), expected, "nothing comes again");
    }
}

#[test]
fn holders_that_list_nothing_hide_no_mail_that_one_other_keeps() {
    let mut town = Town::new(1);
    town.liars(|_, response| match response {
        Response::Mail(MailResponse::Listed { .. }) => {
            Response::Mail(MailResponse::Listed { ids: Vec::new(), large: 0, next: None })
        }
        other => other,
    });
    town.check_mail();
}

#[test]
fn holders_that_list_what_is_nowhere_and_never_come_to_an_end_hold_up_nothing() {
    let mut town = Town::new(2);
    town.liars(|request, response| match (request, response) {
        (Request::Mail(MailRequest::Collect { after, .. }), Response::Mail(MailResponse::Listed { .. })) => {
            let invented = |number: u8| {
                let mut id = [number; 32];
                id[..8].copy_from_slice(&after.to_be_bytes());
                EnvelopeId::from_bytes(id)
            };
            Response::Mail(MailResponse::Listed {
                ids: (0..32).map(invented).collect(),
                large: 0x5555_5555,
                next: Some(after + 1),
            })
        }
        (_, other) => other,
    });
    town.check_mail();
}

#[test]
fn holders_that_give_out_something_else_are_passed_over() {
    let mut town = Town::new(3);
    town.liars(|_, response| match response {
        Response::Mail(MailResponse::Fetched(mut bytes)) => {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            Response::Mail(MailResponse::Fetched(bytes))
        }
        other => other,
    });
    town.check_mail();
}

#[test]
fn holders_that_say_that_all_mail_is_gone_lose_none_that_one_other_keeps() {
    let mut town = Town::new(4);
    town.liars(|request, response| match request {
        Request::Mail(MailRequest::Fetch { .. }) => Response::Mail(MailResponse::Refused(MailRefusal::Gone)),
        _ => response,
    });
    town.check_mail();
}

#[test]
fn holders_that_refuse_every_envelope_for_a_false_reason_leave_it_to_the_others() {
    for (seed, refusal) in [
        (5, MailRefusal::Full),
        (6, MailRefusal::Gone),
        (7, MailRefusal::NotListed),
        (8, MailRefusal::UnknownMailbox),
        (17, MailRefusal::WorkNeeded { bits: 0 }),
        (18, MailRefusal::WorkNeeded { bits: u8::MAX }),
        (19, MailRefusal::BadToken),
    ] {
        let mut town = Town::new(seed);
        town.liars(match refusal {
            MailRefusal::Full => |request, response| refuse(request, response, MailRefusal::Full),
            MailRefusal::Gone => |request, response| refuse(request, response, MailRefusal::Gone),
            MailRefusal::WorkNeeded { bits: 0 } => {
                |request, response| refuse(request, response, MailRefusal::WorkNeeded { bits: 0 })
            }
            MailRefusal::WorkNeeded { .. } => {
                |request, response| refuse(request, response, MailRefusal::WorkNeeded { bits: u8::MAX })
            }
            MailRefusal::BadToken => |request, response| refuse(request, response, MailRefusal::BadToken),
            MailRefusal::NotListed => |request, response| refuse(request, response, MailRefusal::NotListed),
            _ => |request, response| refuse(request, response, MailRefusal::UnknownMailbox),
        });
        town.check_mail();
    }
}

fn refuse(request: &Request, response: Response, reason: MailRefusal) -> Response {
    match request {
        Request::Mail(MailRequest::Deposit { .. }) => Response::Mail(MailResponse::Refused(reason)),
        _ => response,
    }
}

#[test]
fn holders_that_keep_nothing_of_what_they_say_they_keep_lose_none_that_one_other_keeps() {
    let mut town = Town::new(16);
    for liar in &town.others[..10] {
        town.net.let_pretend(*liar, |request| match request {
            Request::Mail(MailRequest::Deposit { .. }) => Some(Response::Mail(MailResponse::Deposited)),
            _ => None,
        });
    }
    town.check_mail();
}

#[test]
fn holders_that_answer_releases_and_keep_the_mail_show_nothing_twice() {
    let mut town = Town::new(9);
    for liar in &town.others[..10] {
        town.net.let_pretend(*liar, |request| match request {
            Request::Mail(MailRequest::Release(_)) => Some(Response::Mail(MailResponse::Released)),
            _ => None,
        });
    }
    town.check_mail();
}

#[test]
fn a_node_that_announces_mail_that_is_not_there_is_asked_and_nothing_else() {
    let mut town = Town::new(10);
    let user = town.net.engine(town.bob).unwrap().user_id().unwrap();
    let mailbox = peerchat_core::kademlia::RecordKey::of_user(user.as_bytes());
    let events = town.net.events(town.bob).len();
    for liar in town.others.clone() {
        for count in [1, u32::MAX] {
            town.net.ask(liar, town.bob, Request::Mail(MailRequest::Waiting { mailbox, count }));
        }
    }
    town.net.run_for(10 * MINUTE);
    assert_eq!(town.net.events(town.bob).len(), events);
    town.check_mail();
}

#[test]
fn neighbours_that_refuse_every_record_as_somebody_elses_without_proof_take_no_name() {
    let mut town = Town::new(11);
    let liars = &town.others[..3];
    let lie: Lie = |request, response| match request {
        Request::Dht(Rpc::Store { .. }) => {
            Response::Dht(RpcReply::Refused { reason: StoreRefusal::Owned, incumbent: None })
        }
        _ => response,
    };
    liars.iter().for_each(|host| town.net.let_lie(*host, lie));
    let carol = town.net.join("carol");
    town.net.run_for(MINUTE);
    let is_registered = |event: &Event| matches!(event, Event::Registered { .. });
    assert!(town.net.events(carol).iter().any(is_registered), "{:?}", town.net.events(carol));
    assert!(town.net.lookup(town.bob, "carol").is_ok());
}

#[test]
fn neighbours_that_answer_with_the_wrong_kind_fail_their_call_and_no_lookup() {
    let mut town = Town::new(12);
    // Not the first one, through whom everybody joins.
    for liar in &town.others[1..5] {
        town.net.let_lie(*liar, |_, response| match response {
            Response::Dht(RpcReply::Nodes(_)) => Response::Dht(RpcReply::Pong),
            Response::Dht(RpcReply::Value(_)) => Response::Mail(MailResponse::Noted),
            other => other,
        });
    }
    let carol = town.net.join("carol");
    town.net.run_for(MINUTE);
    assert!(town.net.lookup(carol, "bob").is_ok());
    assert!(town.net.lookup(town.alice, "carol").is_ok());
}

#[test]
fn a_recipient_that_acknowledges_what_was_never_sent_acknowledges_nothing() {
    let mut town = Town::new(13);
    let lie: Lie = |request, response| match request {
        Request::Chat(ChatRequest::Deliver(_)) => Response::Chat(ChatResponse::Delivered { next: u64::MAX }),
        _ => response,
    };
    town.net.let_lie(town.bob, lie);
    let first = town.net.send(town.alice, "bob", "one");
    town.net.run_for(MINUTE);
    // What he says he has is his affair; what he cannot have been sent yet is not taken for delivered.
    let second = town.net.send(town.alice, "bob", "two");
    assert_ne!(town.net.state(town.alice, second), Some(MessageState::Delivered));
    town.net.run_for(10 * MINUTE);
    assert_eq!(town.net.state(town.alice, first), Some(MessageState::Delivered), "as he says");
    let third = town.net.send(town.alice, "user3", "three");
    town.net.run_for(MINUTE);
    assert_eq!(town.net.state(town.alice, third), Some(MessageState::Delivered), "nobody else is affected");
}

#[test]
fn a_sender_that_names_somebody_else_or_invents_an_envelope_is_refused() {
    let mut town = Town::new(14);
    let mallory = town.others[0];
    let user = |net: &Network, host| net.engine(host).unwrap().user_id().unwrap();
    let (alice, bob) = (user(&town.net, town.alice), user(&town.net, town.bob));
    let id = town.net.send(town.alice, "bob", "hello");
    town.net.run_for(MINUTE);
    assert_eq!(town.net.state(town.alice, id), Some(MessageState::Delivered));
    let before = town.net.texts(town.bob);
    for (number, oldest) in [(1, 1), (2, 2), (2, 3), (u64::MAX, 1), (0, 0)] {
        let envelope = Envelope { kind: EnvelopeKind::Later, bytes: vec![7; 300] };
        let delivery = Delivery { from: alice, to: bob, number, count: 1, oldest, tag: number, envelope };
        let request = Request::Chat(ChatRequest::Deliver(delivery));
        let answer = town.net.ask(mallory, town.bob, request);
        let refused = ChatResponse::NotDelivered(DeliverRefusal::UnknownSender);
        assert_eq!(answer, Some(Response::Chat(refused)), "number {number}, oldest {oldest}");
    }
    town.net.run_for(10 * MINUTE);
    assert_eq!(town.net.texts(town.bob), before);
    let next = town.net.send(town.alice, "bob", "still here");
    town.net.run_for(MINUTE);
    assert_eq!(town.net.state(town.alice, next), Some(MessageState::Delivered));
}

#[test]
fn an_introduction_with_the_records_of_somebody_else_is_refused() {
    let mut town = Town::new(15);
    let mallory = town.others[0];
    let records = town.net.disk(town.alice).saved().own_records;
    let [claim, user] = <[Vec<u8>; 2]>::try_from(records).unwrap();
    for (claim, user) in [(claim.clone(), user.clone()), (user, claim)] {
        let request = Request::Chat(ChatRequest::Introduce { claim, user });
        let refused = ChatResponse::NotDelivered(DeliverRefusal::BadIntroduction);
        assert_eq!(town.net.ask(mallory, town.bob, request), Some(Response::Chat(refused)));
    }
}
