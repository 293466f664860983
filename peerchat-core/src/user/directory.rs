//! Claims and user records: a name to a user key, a user to their devices, and who is believed about a name.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::codec::{self, bounded_list};
use crate::crypto::DeviceKeys;
use crate::identity::{PublicKey, SecretKey, UserId, UserName};
use crate::kademlia::{
    MAX_RECORD_AHEAD, MAX_RECORD_LIFETIME, NodeKey, Record, RecordHeader, RecordKey, RecordKind,
};
use crate::time::Timestamp;

/// Most devices in a user record.
pub const MAX_DEVICES: usize = 4;

/// Most addresses of a device: one of each family.
const MAX_ADDRESSES: usize = 2;

/// How many of the closest nodes are asked who holds a name.
pub(crate) const CLAIM_WITNESSES: usize = 8;

/// How many user records are compared for the highest sequence.
pub(crate) const USER_WITNESSES: usize = 3;

/// One device of a user: the node it runs, where that was last reachable, and how to write to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// The node's key.
    pub node: NodeKey,
    /// One address per family at most.
    #[serde(deserialize_with = "bounded_list::<_, _, MAX_ADDRESSES>")]
    pub addresses: Vec<SocketAddr>,
    /// What sessions with the device are started from.
    pub keys: DeviceKeys,
}

/// The body of a user record.
#[derive(Debug, Deserialize, Serialize)]
struct UserBody {
    #[serde(deserialize_with = "bounded_list::<_, _, MAX_DEVICES>")]
    devices: Vec<Device>,
}

/// Signs the claim of `key` on `name`, after `previous` if there is one.
pub(crate) fn sign_claim(
    key: &SecretKey,
    name: &UserName,
    previous: Option<&Record>,
    now: Timestamp,
) -> Option<Record> {
    let header = header(key, RecordKind::Claim, RecordKey::of_name(name.as_str()), previous, now);
    Record::sign(key, header, name.as_str().as_bytes()).ok()
}

/// Signs the record that lists the devices of `key`, after `previous` if there is one.
pub(crate) fn sign_user(
    key: &SecretKey,
    devices: Vec<Device>,
    previous: Option<&Record>,
    now: Timestamp,
) -> Option<Record> {
    let place = RecordKey::of_user(UserId::of(&key.public()).as_bytes());
    let header = header(key, RecordKind::User, place, previous, now);
    Record::sign(key, header, &codec::encode(&UserBody { devices })).ok()
}

fn header(
    key: &SecretKey,
    kind: RecordKind,
    place: RecordKey,
    previous: Option<&Record>,
    now: Timestamp,
) -> RecordHeader {
    // A number that lies too far ahead is none that a holder has taken: it need not be passed.
    let limit = now.saturating_add(MAX_RECORD_AHEAD).unix_ms();
    let passed = previous.map(|record| record.header().sequence).filter(|sequence| *sequence < limit);
    let after = passed.map_or(0, |sequence| sequence + 1);
    RecordHeader {
        kind,
        key: place,
        owner: key.public(),
        sequence: after.max(now.unix_ms()),
        issued: now,
        expires: now.saturating_add(MAX_RECORD_LIFETIME),
    }
}

/// Returns the name that a claim is on, `None` if the record is no claim or its body is not the name of its key.
pub(crate) fn claimed_name(record: &Record) -> Option<UserName> {
    if record.header().kind != RecordKind::Claim {
        return None;
    }
    let text = std::str::from_utf8(record.body()).ok()?;
    let name = UserName::parse(text).ok()?;
    (name.as_str() == text && RecordKey::of_name(text) == record.header().key).then_some(name)
}

/// Returns the devices that a user record lists, `None` if the record is not a user's or does not parse.
pub(crate) fn devices(record: &Record) -> Option<Vec<Device>> {
    if record.header().kind != RecordKind::User {
        return None;
    }
    let body: UserBody = codec::decode(record.body()).ok()?;
    Some(body.devices)
}

/// Returns the record with the highest sequence.
pub(crate) fn newest(records: Vec<Record>) -> Option<Record> {
    records.into_iter().max_by_key(|record| record.header().sequence)
}

/// What the answers about a name amount to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// This key holds the name.
    Held(PublicKey),
    /// Nobody does.
    Unknown,
    /// The answers disagree: everyone they named, most often named first.
    Contested(Vec<UserId>),
}

/// Judges the claims that the closest nodes answered with: one key is believed at two thirds of the answers with at
/// most one dissent. With `admits`, only keys that it admits count, as when a fingerprint came with the name.
pub(crate) fn judge(claims: &[Record], admits: impl Fn(&UserId) -> bool) -> Verdict {
    let mut votes: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claimed_name(claim).is_some()) {
        let owner = claim.header().owner;
        if admits(&UserId::of(&owner)) {
            *votes.entry(owner).or_default() += 1;
        }
    }
    let total: usize = votes.values().sum();
    let mut ranked: Vec<(PublicKey, usize)> = votes.into_iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    match ranked.first() {
        None => Verdict::Unknown,
        Some((key, count)) if 3 * count >= 2 * total && total - count <= 1 => Verdict::Held(*key),
        Some(_) => Verdict::Contested(ranked.iter().map(|(key, _)| UserId::of(key)).collect()),
    }
}

/// Returns the id of the conversation of two people: the same for both.
pub(crate) fn conversation_of(a: &UserId, b: &UserId) -> [u8; 32] {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"conversation").update(low.as_bytes()).update(high.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{IdentityKey, Prekey, SealKey};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    const KEYS: DeviceKeys = DeviceKeys {
        identity: IdentityKey([0xee; 32]),
        prekey: Prekey([0xff; 32]),
        seal: SealKey([0xdd; 32]),
    };

    fn claim(seed: u8) -> Record {
        let name = UserName::parse("alice").unwrap();
        sign_claim(&SecretKey::from_bytes(&[seed; 32]), &name, None, NOW).unwrap()
    }

    fn holder(seed: u8) -> PublicKey {
        SecretKey::from_bytes(&[seed; 32]).public()
    }

    #[test]
    fn a_claim_is_small_and_says_its_name() {
        let claim = claim(1);
        assert!(claim.as_bytes().len() < 300);
        assert_eq!(claimed_name(&claim).unwrap().as_str(), "alice");
    }

    /// Changing these bytes is a protocol change.
    #[test]
    fn record_bytes() {
        let hex = |record: &Record| {
            let rows = record.as_bytes().chunks(16);
            let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            rows.map(row).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(hex(&claim(1)));
        let addresses = vec!["1.2.3.4:5000".parse().unwrap(), "[2001:db8::1]:5000".parse().unwrap()];
        let device = Device { node: NodeKey::from_bytes([0xcd; 32]), addresses, keys: KEYS };
        let user = sign_user(&SecretKey::from_bytes(&[1; 32]), vec![device], None, NOW).unwrap();
        insta::assert_snapshot!(hex(&user));
    }

    #[test]
    fn a_user_record_with_four_devices_fits() {
        let device = |seed: u8| Device {
            node: NodeKey::from_bytes([seed; 32]),
            addresses: vec!["1.2.3.4:5000".parse().unwrap(), "[2001:db8::1]:5000".parse().unwrap()],
            keys: KEYS,
        };
        let list: Vec<Device> = (0..4).map(device).collect();
        let record = sign_user(&SecretKey::from_bytes(&[1; 32]), list.clone(), None, NOW).unwrap();
        assert_eq!(devices(&record), Some(list));
    }

    #[test]
    fn a_sequence_never_goes_back() {
        let first = sign_user(&SecretKey::from_bytes(&[1; 32]), vec![], None, NOW).unwrap();
        let earlier = Timestamp::from_unix_ms(NOW.unix_ms() - 3_600_000);
        let second = sign_user(&SecretKey::from_bytes(&[1; 32]), vec![], Some(&first), earlier).unwrap();
        assert_eq!(second.header().sequence, first.header().sequence + 1);
    }

    #[test]
    fn one_dissent_is_outvoted_and_two_are_not() {
        let all = |_: &UserId| true;
        assert_eq!(judge(&[], all), Verdict::Unknown);
        assert_eq!(judge(&[claim(1)], all), Verdict::Held(holder(1)));
        assert_eq!(judge(&[claim(1), claim(1), claim(2)], all), Verdict::Held(holder(1)));
        let split = [claim(1), claim(1), claim(1), claim(1), claim(1), claim(2), claim(2)];
        let both = vec![UserId::of(&holder(1)), UserId::of(&holder(2))];
        assert_eq!(judge(&split, all), Verdict::Contested(both));
        assert!(matches!(judge(&[claim(1), claim(2)], all), Verdict::Contested(_)));
    }

    #[test]
    fn a_fingerprint_settles_a_contest() {
        let wanted = UserId::of(&holder(2));
        assert_eq!(judge(&[claim(1), claim(1), claim(2)], |user| *user == wanted), Verdict::Held(holder(2)));
    }

    #[test]
    fn both_sides_name_their_conversation_alike() {
        let [a, b] = [UserId::from_bytes([1; 32]), UserId::from_bytes([2; 32])];
        assert_eq!(conversation_of(&a, &b), conversation_of(&b, &a));
    }
}
