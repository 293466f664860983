//! What an engine answers when too much about mail is asked at a time.

use super::*;
use crate::engine::EngineConfig;
use crate::identity::SecretKey;
use crate::kademlia::{AddressFamily, NodeKey, Serve};
use crate::mail::{DEFAULT_MAIL_QUOTA, Depositor, EnvelopeHeader, KeptEnvelope, TokenTag};
use crate::save::{ProfileKeys, Saved};
use crate::time::Timestamp;

/// As many requests about mail may be open.
const MOST: usize = 4096;

/// An engine without a user that keeps one envelope.
fn engine(envelope: &SealedEnvelope, now: Now) -> Engine {
    let config = EngineConfig {
        k: 20,
        alpha: 3,
        paths: 1,
        family: AddressFamily::Any,
        serve: Serve::Always,
        user: None,
        message_lifetime: Duration::from_secs(60),
        mail_quota: DEFAULT_MAIL_QUOTA,
        read_receipts: true,
        limits: Limits::shared(),
    };
    let mut saved = Saved::fresh(ProfileKeys { node: SecretKey::from_bytes(&[1; 32]), user: None });
    let header = envelope.header();
    saved.mail.push(KeptEnvelope {
        position: 1,
        place: MailPlace { mailbox: header.mailbox, device: header.device },
        id: envelope.id(),
        expires: header.expires,
        len: u32::try_from(envelope.as_bytes().len()).unwrap(),
        depositor: Depositor::LOCAL,
        token: TokenTag::NONE,
    });
    Engine::new(config, saved, None, [7; 32], now)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "virtual time needs a first instant; only differences matter")]
fn while_too_many_requests_wait_for_the_disk_the_next_is_told_to_wait() {
    let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
    let header = EnvelopeHeader {
        mailbox: RecordKey::from_bytes([0xaa; 32]),
        device: NodeId::from_bytes([0xbb; 32]),
        expires: now.wall.saturating_add(Duration::from_secs(3600)),
    };
    let envelope = SealedEnvelope::new(&header, &[7; 512]).unwrap();
    let mut engine = engine(&envelope, now);
    let from = Contact::new(NodeKey::from_bytes([5; 32]), ([10, 0, 0, 5], 1).into());
    let deposit = |engine: &mut Engine, number: usize| {
        let token = ReplyToken::for_simulation(number as u64);
        let request = MailRequest::Deposit { envelope: envelope.as_bytes().to_vec() };
        engine.handle_request(from, true, token, Request::Mail(request), now);
    };
    let replies = |engine: &mut Engine| {
        let replies = std::iter::from_fn(|| engine.poll_reply());
        replies.map(|reply| (reply.to.of_simulation(), reply.response)).collect::<Vec<_>>()
    };
    // Something is on its way to the disk, and what is here already waits for it.
    engine.confirm(1);
    let batch = engine.poll_write().unwrap();
    (0..=MOST).for_each(|number| deposit(&mut engine, number));
    let busy = Response::Mail(MailResponse::Refused(MailRefusal::Busy));
    assert_eq!(replies(&mut engine), [(MOST as u64, busy)]);
    engine.handle_written(batch.id, now);
    let deposited = Response::Mail(MailResponse::Deposited);
    let answered = replies(&mut engine);
    assert_eq!(answered.len(), MOST);
    assert!(answered.iter().all(|(_, response)| *response == deposited));
    deposit(&mut engine, 0);
    assert_eq!(replies(&mut engine), [(0, deposited)]);
    assert_eq!((engine.busy_count(), engine.mailbox().stats().refused_busy), (1, 1));
}
