//! [`Registration`]: the user's own two records, and whether the network holds them.

use std::net::SocketAddr;
use std::time::Duration;

use super::directory::{Device, sign_claim, sign_user};
use crate::identity::{SecretKey, UserName};
use crate::kademlia::{NodeKey, Record, RecordKey, RecordKind};
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
    /// The addresses in the user record.
    announced: Vec<SocketAddr>,
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
            announced: Vec::new(),
        }
    }

    /// Signs what is missing, old, or no longer true, and returns it.
    pub(crate) fn renew(
        &mut self,
        key: &SecretKey,
        name: &UserName,
        node: NodeKey,
        addresses: &[SocketAddr],
        now: Timestamp,
    ) -> Vec<Record> {
        let is_old = |record: &Option<Record>| {
            record.as_ref().is_none_or(|record| now.saturating_since(record.header().issued) >= RENEWAL)
        };
        let mut renewed = Vec::new();
        if is_old(&self.claim) {
            self.claim = sign_claim(key, name, self.claim.as_ref(), now);
            renewed.extend(self.claim.clone());
        }
        if is_old(&self.user) || self.announced != addresses {
            let device = Device { node, addresses: addresses.to_vec() };
            self.user = sign_user(key, vec![device], self.user.as_ref(), now);
            self.announced = addresses.to_vec();
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
        &self.announced
    }
}
