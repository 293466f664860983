//! Claims and user records: raw bytes, and bodies that are signed as their owners would.

use peerchat_core::crypto::{DeviceKeys, IdentityKey, Prekey, SealKey};
use peerchat_core::fuzzing;
use peerchat_core::identity::{UserId, UserName};
use peerchat_core::kademlia::{NodeKey, Record, RecordHeader, RecordKey, RecordKind};
use peerchat_core::time::Timestamp;
use peerchat_core::user::{Device, Verdict};

use crate::input::{Input, START, Script, address, secret};

/// A record that parses keeps its bytes, whatever is signed says a name or devices or nothing, and whoever is believed
/// about a name has claimed it.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        if let Some(record) = parse(input.rest()) {
            check(&record);
        }
        return;
    }
    let mut claims = Vec::new();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        if let Some(record) = signed(&mut input) {
            check(&record);
            claims.push(record);
        }
    }
    let verdict = fuzzing::judge(&claims, |_| true);
    if let Verdict::Held(key) = verdict {
        assert!(claims.iter().any(|claim| claim.header().owner == key));
    }
}

fn parse(bytes: &[u8]) -> Option<Record> {
    let record = Record::parse(bytes).ok()?;
    assert_eq!(record.as_bytes(), bytes);
    Some(record)
}

fn check(record: &Record) {
    let is_claim = record.header().kind == RecordKind::Claim;
    assert_eq!(fuzzing::claimed_name(record).is_some(), is_claim, "holders take claims on names only");
    if let Some(devices) = fuzzing::devices(record) {
        assert!(!is_claim && devices.len() <= peerchat_core::user::MAX_DEVICES);
    }
}

/// Signs what the input says, and damages it if it says so.
fn signed(input: &mut Input<'_>) -> Option<Record> {
    let key = secret(input.byte() % 4);
    let kind = if input.flag() { RecordKind::Claim } else { RecordKind::User };
    let (issued, lifetime) = (input.number(), input.number());
    let sequence = input.number();
    let body = input.bytes();
    let place = match kind {
        RecordKind::Claim => RecordKey::of_name(std::str::from_utf8(body).ok()?),
        RecordKind::User => RecordKey::of_user(UserId::of(&key.public()).as_bytes()),
    };
    let header = RecordHeader {
        kind,
        key: place,
        owner: key.public(),
        sequence,
        issued: Timestamp::from_unix_ms(issued),
        expires: Timestamp::from_unix_ms(issued.saturating_add(lifetime)),
    };
    let record = Record::sign(&key, header, body).ok()?;
    assert_eq!((record.header(), record.body()), (header, body));
    if input.flag() {
        let mut bytes = record.as_bytes().to_vec();
        input.damage(&mut bytes);
        if bytes != record.as_bytes() {
            assert!(parse(&bytes).is_none(), "every byte is signed");
            return None;
        }
    }
    Some(record)
}

/// A user record with as many devices.
pub(crate) fn user_record(of: u8, device_count: u8) -> Record {
    let keys = DeviceKeys { identity: IdentityKey([1; 32]), prekey: Prekey([2; 32]), seal: SealKey([3; 32]) };
    let device = |number: u8| Device {
        node: NodeKey::from(secret(number).public()),
        addresses: vec![address(number)],
        keys,
    };
    let devices = (of..of + device_count).map(device).collect();
    fuzzing::sign_user(&secret(of), devices, START).expect("it fits")
}

/// Records as they are, and bodies to be signed.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let claim = |name: &str| {
        let name = UserName::parse(name).expect("it is a name");
        fuzzing::sign_claim(&secret(1), &name, START).expect("it fits")
    };
    let records = [claim("alice"), claim("zoë"), user_record(1, 0), user_record(1, 1), user_record(1, 4)];
    let raw = records.iter().map(|record| [&[1], record.as_bytes()].concat());
    let to_sign = |kind: u8, body: &[u8]| {
        let issued = START.unix_ms().to_be_bytes();
        let once = |owner: u8| {
            let script = Script::default().put(&[owner, kind, 8]).put(&issued);
            script.put(&[4, 0x7f, 0, 0, 0, 2, 1, 2]).bytes(body).put(&[0]).done()
        };
        [vec![0], once(0), once(0), once(1)].concat()
    };
    let bodies = [
        to_sign(1, b"alice"),
        to_sign(1, b"not a name"),
        to_sign(0, user_record(1, 2).body()),
        to_sign(0, b"\xfb\xff\xff"),
    ];
    raw.chain(bodies).collect()
}
