//! What an engine answers when more waits than it has room for.

use super::*;
use crate::crypto::{DeviceKeys, IdentityKey, Prekey, SealKey, StandIn};
use crate::identity::SecretKey;
use crate::kademlia::{RecordHeader, RecordKind};
use crate::save::ProfileKeys;
use crate::time::Timestamp;
use crate::user::directory::{sign_claim, sign_user};
use crate::user::{ChatRequest, Delivery, Device};
use crate::{crypto, mail::MailRefusal, mail::MailResponse};

/// An engine of alice with these limits, whose disk has not written anything yet.
fn engine(limits: Limits, now: Now) -> Engine {
    let config = EngineConfig {
        k: 20,
        alpha: 3,
        paths: 1,
        family: AddressFamily::Any,
        serve: Serve::Always,
        user: Some(UserName::parse("alice").unwrap()),
        message_lifetime: Duration::from_secs(60),
        read_receipts: true,
        mail_quota: crate::mail::DEFAULT_MAIL_QUOTA,
        limits: Arc::new(limits),
    };
    let [node, user] = [[1; 32], [2; 32]].map(|secret| SecretKey::from_bytes(&secret));
    let saved = Saved::fresh(ProfileKeys { node, user: Some(user) });
    Engine::new(config, saved, Some(Box::new(StandIn::new(77))), [7; 32], now)
}

#[expect(clippy::disallowed_methods, reason = "virtual time needs a first instant; only differences matter")]
fn now() -> Now {
    Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) }
}

fn bob() -> Contact {
    Contact::new(NodeKey::from_bytes([5; 32]), ([10, 0, 0, 5], 1).into())
}

/// Asks and returns the answer, `None` while it waits.
fn ask(engine: &mut Engine, number: u64, request: Request, now: Now) -> Option<Response> {
    engine.handle_request(bob(), true, ReplyToken::for_simulation(number), request, now);
    let mut replies = std::iter::from_fn(|| engine.poll_reply());
    let reply = replies.next()?;
    assert!(replies.next().is_none());
    Some(reply.response)
}

/// Lets the disk write everything.
fn write(engine: &mut Engine, first: BatchId, now: Now) {
    engine.handle_written(first, now);
    while let Some(batch) = engine.poll_write() {
        engine.handle_written(batch.id, now);
    }
}

fn delivery() -> Request {
    let envelope = crypto::Envelope { kind: crypto::EnvelopeKind::Later, bytes: vec![1; 100] };
    let (from, to) = (UserId::from_bytes([3; 32]), UserId::from_bytes([4; 32]));
    Request::Chat(ChatRequest::Deliver(Delivery {
        from,
        to,
        number: 1,
        count: 1,
        oldest: 1,
        tag: 1,
        envelope,
    }))
}

fn record(number: u64, now: Now) -> Request {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let key = SecretKey::from_bytes(&seed);
    let header = RecordHeader {
        kind: RecordKind::User,
        key: RecordKey::of_user(UserId::of(&key.public()).as_bytes()),
        owner: key.public(),
        sequence: 1,
        issued: now.wall,
        expires: now.wall.saturating_add(Duration::from_secs(3600)),
    };
    let record = Record::sign(&key, header, &[7; 700]).unwrap();
    Request::Dht(Rpc::Store { record: record.as_bytes().to_vec() })
}

#[test]
fn while_too_much_waits_for_the_disk_nothing_more_is_taken_for_it() {
    let now = now();
    let limit = 20_000;
    let mut engine = engine(Limits { unsaved_len: limit, ..Limits::default() }, now);
    let batch = engine.poll_write().unwrap();
    let stored = |answer: &Option<Response>| matches!(answer, Some(Response::Dht(RpcReply::Stored)));
    let full = Some(Response::Dht(RpcReply::Refused { reason: StoreRefusal::Full, incumbent: None }));
    let answers: Vec<_> = (0..40).map(|number| ask(&mut engine, number, record(number, now), now)).collect();
    let taken = answers.iter().filter(|answer| stored(answer)).count();
    assert!((10..30).contains(&taken), "{taken}");
    assert!(answers[taken..].iter().all(|answer| *answer == full));
    assert_eq!(engine.node().record_count(), taken);
    assert_eq!(engine.node().stats().refused_records.full, 40 - taken as u64);

    let busy = Some(Response::Chat(ChatResponse::NotDelivered(DeliverRefusal::Busy)));
    assert_eq!(ask(&mut engine, 50, delivery(), now), busy);
    let deposit = Request::Mail(MailRequest::Deposit { envelope: vec![1; 600] });
    let busy = Some(Response::Mail(MailResponse::Refused(MailRefusal::Busy)));
    assert_eq!(ask(&mut engine, 51, deposit, now), busy);
    assert_eq!(engine.busy_count(), 40 - taken as u64 + 2);
    assert_eq!(ask(&mut engine, 52, Request::Dht(Rpc::Ping), now), Some(Response::Dht(RpcReply::Pong)));

    write(&mut engine, batch.id, now);
    assert!(stored(&ask(&mut engine, 53, record(99, now), now)));
}

/// An introduction of bob's, whose name is nobody's yet: it is looked up again and again for a while.
fn introduction(now: Now) -> Request {
    let key = SecretKey::from_bytes(&[6; 32]);
    let keys = DeviceKeys { identity: IdentityKey([1; 32]), prekey: Prekey([2; 32]), seal: SealKey([3; 32]) };
    let device = Device { node: bob().key(), addresses: Vec::new(), keys };
    let claim = sign_claim(&key, &UserName::parse("bob").unwrap(), None, now.wall).unwrap();
    let user = sign_user(&key, vec![device], None, now.wall).unwrap();
    let [claim, user] = [claim, user].map(|record| record.as_bytes().to_vec());
    Request::Chat(ChatRequest::Introduce { claim, user })
}

#[test]
fn while_too_many_people_wait_for_an_answer_the_next_is_told_to_wait() {
    let mut now = now();
    let mut engine = engine(Limits { chat_requests: 3, ..Limits::default() }, now);
    let batch = engine.poll_write().unwrap();
    write(&mut engine, batch.id, now);
    for number in 0..3 {
        assert_eq!(ask(&mut engine, number, introduction(now), now), None, "the name is looked up");
    }
    let refused = |refusal| Some(Response::Chat(ChatResponse::NotDelivered(refusal)));
    assert_eq!(ask(&mut engine, 3, delivery(), now), refused(DeliverRefusal::Busy));
    assert_eq!(engine.busy_count(), 1);
    let mut answered = 0;
    for _ in 0..50 {
        now = now.after(Duration::from_millis(100));
        engine.handle_timeout(now);
        while let Some(batch) = engine.poll_write() {
            engine.handle_written(batch.id, now);
        }
        answered += std::iter::from_fn(|| engine.poll_reply()).count();
    }
    assert_eq!(answered, 3);
    assert_eq!(ask(&mut engine, 4, delivery(), now), refused(DeliverRefusal::NotHere));
}
