//! [`Registration`]: the user's own two records, and whether the network holds them.

use std::net::SocketAddr;
use std::time::Duration;

use super::directory::{Device, sign_claim, sign_user};
use crate::identity::{SecretKey, UserName};
use crate::kademlia::{MAX_RECORD_AHEAD, Record, RecordKey, RecordKind};
use crate::time::Timestamp;

/// The records are signed anew at this age, so that their holders see that the owner lives.
pub(crate) const RENEWAL: Duration = Duration::from_secs(24 * 3600);

/// How the name stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// No answer of the network yet.
    Unknown,
    /// Held by a majority.
    Registered,
    /// Held by somebody else.
    Taken,
}

/// The user's own records.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) standing: Standing,
    claim: Option<Record>,
    user: Option<Record>,
    /// The device in the user record, once that was signed in this run.
    announced: Option<Device>,
}

impl Registration {
    /// Takes up the records that were saved.
    pub(crate) fn restore(own_records: &[Vec<u8>]) -> Self {
        let parse = |kind| {
            let records = own_records.iter().filter_map(|bytes| Record::parse(bytes).ok());
            records.into_iter().find(|record: &Record| record.header().kind == kind)
        };
        Self {
            standing: Standing::Unknown,
            claim: parse(RecordKind::Claim),
            user: parse(RecordKind::User),
            announced: None,
        }
    }

    /// Signs what is missing, old, or no longer true, and returns it.
    pub(crate) fn renew(
        &mut self,
        key: &SecretKey,
        name: &UserName,
        device: &Device,
        now: Timestamp,
    ) -> Vec<Record> {
        // One that was signed under a clock far ahead is refused everywhere until that time comes.
        let is_early = |record: &Record| record.header().issued.saturating_since(now) > MAX_RECORD_AHEAD;
        let is_old = |record: &Option<Record>| {
            record.as_ref().is_none_or(|record| {
                is_early(record) || now.saturating_since(record.header().issued) >= RENEWAL
            })
        };
        let mut renewed = Vec::new();
        if is_old(&self.claim) {
            self.claim = sign_claim(key, name, self.claim.as_ref(), now);
            renewed.extend(self.claim.clone());
        }
        if is_old(&self.user) || self.announced.as_ref() != Some(device) {
            self.user = sign_user(key, vec![device.clone()], self.user.as_ref(), now);
            self.announced = Some(device.clone());
            renewed.extend(self.user.clone());
        }
        renewed
    }

    /// Returns both records, the claim first, if both were signed.
    pub(crate) fn records(&self) -> Option<(&Record, &Record)> {
        self.claim.as_ref().zip(self.user.as_ref())
    }

    /// Tells whether `key` is where the claim belongs.
    pub(crate) fn is_claim(&self, key: &RecordKey) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.header().key == *key)
    }

    /// Returns the addresses that the user record announces.
    pub(crate) fn announced(&self) -> &[SocketAddr] {
        self.announced.as_ref().map(|device| device.addresses.as_slice()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{DeviceKeys, IdentityKey, Prekey, SealKey};
    use crate::kademlia::NodeKey;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    #[test]
    fn records_signed_under_a_wrong_clock_are_replaced_once_it_is_right() {
        let key = SecretKey::from_bytes(&[1; 32]);
        let node = NodeKey::from(SecretKey::from_bytes(&[2; 32]).public());
        let keys =
            DeviceKeys { identity: IdentityKey([3; 32]), prekey: Prekey([4; 32]), seal: SealKey([5; 32]) };
        let device = Device { node, addresses: vec!["1.2.3.4:5".parse().unwrap()], keys };
        let name = UserName::parse("alice").unwrap();
        let mut registration = Registration::restore(&[]);
        let mut renew = |now| registration.renew(&key, &name, &device, now);
        let in_a_year = NOW.saturating_add(Duration::from_secs(365 * 24 * 3600));
        assert_eq!(renew(in_a_year).len(), 2);
        let renewed = renew(NOW);
        assert_eq!(renewed.len(), 2);
        let limit = NOW.saturating_add(MAX_RECORD_AHEAD).unix_ms();
        assert!(renewed.iter().all(|record| record.header().sequence <= limit));
        assert!(renew(NOW.saturating_add(Duration::from_secs(1))).is_empty());
    }
}
