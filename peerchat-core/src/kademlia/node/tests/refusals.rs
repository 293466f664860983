//! What a holder refuses, and that it counts each under its reason.

use std::time::Duration;

use super::*;
use crate::identity::{SecretKey, UserId};
use crate::kademlia::{CLAIM_HOLD, MAX_RECORD_AHEAD, MAX_RECORD_BODY_LEN, RecordHeader, RecordKind};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A holder, and whoever wants it to keep things.
struct Bench {
    node: Node,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self { node: node(AddressFamily::V4), now: start() }
    }

    fn store(&mut self, bytes: &[u8]) -> RpcReply {
        let from = Contact::new(NodeKey::from_bytes([0xaa; 32]), "1.2.3.4:9".parse().unwrap());
        self.node.handle_request(from, true, Rpc::Store { record: bytes.to_vec() }, self.now)
    }

    /// Stores what must be refused for this reason, and be counted as nothing else.
    fn refused(&mut self, bytes: &[u8], reason: StoreRefusal, count: fn(&mut RefusedRecords) -> &mut u64) {
        let (mut expected, kept) = (self.node.stats().refused_records, self.node.record_count());
        *count(&mut expected) += 1;
        let reply = self.store(bytes);
        assert!(matches!(reply, RpcReply::Refused { reason: said, .. } if said == reason), "{reply:?}");
        assert_eq!(self.node.stats().refused_records, expected);
        assert_eq!(self.node.record_count(), kept, "it was kept");
    }

    /// Returns the header of a user record that is fine.
    fn header(&self, owner: u8) -> RecordHeader {
        let owner = key(owner).public();
        let issued = self.now.wall;
        RecordHeader {
            kind: RecordKind::User,
            key: RecordKey::of_user(UserId::of(&owner).as_bytes()),
            owner,
            sequence: issued.unix_ms(),
            issued,
            expires: issued.saturating_add(2 * DAY),
        }
    }

    fn claim(&self, owner: u8, name: &str) -> RecordHeader {
        RecordHeader { kind: RecordKind::Claim, key: RecordKey::of_name(name), ..self.header(owner) }
    }
}

fn key(owner: u8) -> SecretKey {
    SecretKey::from_bytes(&[owner; 32])
}

/// Signs without looking: what no honest signer would.
fn sign(owner: u8, header: RecordHeader, body: &[u8]) -> Vec<u8> {
    Record::sign_unchecked(&key(owner), header, body)
}

#[test]
fn a_wrong_signature() {
    let mut bench = Bench::new();
    let mut bytes = sign(1, bench.header(1), b"x");
    *bytes.last_mut().unwrap() ^= 1;
    bench.refused(&bytes, StoreRefusal::Invalid, |refused| &mut refused.bad_signature);
    // Signed by another than the owner that it names.
    let bytes = sign(2, bench.header(1), b"x");
    bench.refused(&bytes, StoreRefusal::Invalid, |refused| &mut refused.bad_signature);
}

#[test]
fn a_lower_sequence() {
    let mut bench = Bench::new();
    let header = bench.header(1);
    assert_eq!(bench.store(&sign(1, header, b"x")), RpcReply::Stored);
    let lower = RecordHeader { sequence: header.sequence - 1, ..header };
    bench.refused(&sign(1, lower, b"x"), StoreRefusal::Older, |refused| &mut refused.older);
    bench.refused(&sign(1, header, b"y"), StoreRefusal::Older, |refused| &mut refused.older);
}

#[test]
fn an_expired_record() {
    let mut bench = Bench::new();
    let bytes = sign(1, bench.header(1), b"x");
    bench.now = bench.now.after(2 * DAY);
    bench.refused(&bytes, StoreRefusal::Invalid, |refused| &mut refused.expired);
}

#[test]
fn an_oversized_record() {
    let mut bench = Bench::new();
    let body = [b'x'; MAX_RECORD_BODY_LEN + 1];
    let bytes = sign(1, bench.header(1), &body);
    assert!(bytes.len() > MAX_RECORD_LEN);
    bench.refused(&bytes, StoreRefusal::Invalid, |refused| &mut refused.malformed);
    bench.refused(&[1; 4096], StoreRefusal::Invalid, |refused| &mut refused.malformed);
    bench.refused(&[], StoreRefusal::Invalid, |refused| &mut refused.malformed);
    assert_eq!(bench.store(&sign(1, bench.header(1), &body[1..])), RpcReply::Stored);
}

#[test]
fn a_far_future_sequence_or_issue_time() {
    let mut bench = Bench::new();
    let header = bench.header(1);
    let limit = bench.now.wall.saturating_add(MAX_RECORD_AHEAD);
    let numbered = RecordHeader { sequence: limit.unix_ms() + 1, ..header };
    bench.refused(&sign(1, numbered, b"x"), StoreRefusal::Invalid, |refused| &mut refused.too_far_ahead);
    let locking = RecordHeader { sequence: u64::MAX, ..header };
    bench.refused(&sign(1, locking, b"x"), StoreRefusal::Invalid, |refused| &mut refused.too_far_ahead);
    let issued = limit.saturating_add(Duration::from_millis(1));
    let dated = RecordHeader { issued, expires: issued.saturating_add(DAY), ..header };
    bench.refused(&sign(1, dated, b"x"), StoreRefusal::Invalid, |refused| &mut refused.too_far_ahead);
}

#[test]
fn a_name_with_forbidden_or_confusable_characters() {
    let mut bench = Bench::new();
    let names =
        ["a b", "a/b", "a#b", "Alice", "a\u{202e}b", "", "\u{430}lice", "b\u{3bf}b", "ａlice", "jose\u{301}"];
    for name in names {
        let bytes = sign(1, bench.claim(1, name), name.as_bytes());
        bench.refused(&bytes, StoreRefusal::Invalid, |refused| &mut refused.bad_name);
    }
    let header = RecordHeader { key: RecordKey::from_bytes(key_of(&[0xff, 0xfe])), ..bench.claim(1, "x") };
    bench.refused(&sign(1, header, &[0xff, 0xfe]), StoreRefusal::Invalid, |refused| &mut refused.bad_name);
    assert_eq!(bench.store(&sign(1, bench.claim(1, "alice"), b"alice")), RpcReply::Stored);
}

/// Returns the key of a claim whose body is not even text.
fn key_of(body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(b"name").update(body).finalize().as_bytes()
}

#[test]
fn a_claim_on_somebody_elses_living_name() {
    let mut bench = Bench::new();
    let theirs = sign(1, bench.claim(1, "alice"), b"alice");
    assert_eq!(bench.store(&theirs), RpcReply::Stored);
    let usurping = sign(2, bench.claim(2, "alice"), b"alice");
    bench.refused(&usurping, StoreRefusal::Owned, |refused| &mut refused.owned);
    let RpcReply::Refused { incumbent, .. } = bench.store(&usurping) else { panic!("refused") };
    assert_eq!(incumbent, Some(theirs), "with the claim of whoever holds it");
    // Expired, but not yet free.
    bench.now = bench.now.after(CLAIM_HOLD - Duration::from_secs(1));
    let late = sign(2, bench.claim(2, "alice"), b"alice");
    bench.refused(&late, StoreRefusal::Owned, |refused| &mut refused.owned);
}

#[test]
fn a_user_record_signed_by_another_key() {
    let mut bench = Bench::new();
    let (mine, theirs) = (bench.header(1), bench.header(2));
    let under_theirs = RecordHeader { key: theirs.key, ..mine };
    bench.refused(&sign(1, under_theirs, b"x"), StoreRefusal::Invalid, |refused| &mut refused.foreign_key);
    // As their record, with their key in it, but signed by another.
    bench.refused(&sign(1, theirs, b"x"), StoreRefusal::Invalid, |refused| &mut refused.bad_signature);
    let elsewhere = bench.claim(1, "bob");
    bench.refused(&sign(1, elsewhere, b"alice"), StoreRefusal::Invalid, |refused| &mut refused.foreign_key);
}

#[test]
fn the_reasons_add_up() {
    let mut bench = Bench::new();
    bench.store(b"?");
    let header = bench.header(1);
    bench.store(&sign(2, header, b"x"));
    bench.store(&sign(1, RecordHeader { key: bench.header(2).key, ..header }, b"x"));
    assert_eq!(bench.node.stats().refused_records.total(), 3);
}
