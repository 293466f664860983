//! The private parsers that the fuzzers call. It is there with the feature `fuzzing` only, which nothing that ships has.

use crate::identity::{SecretKey, UserId, UserName};
use crate::kademlia::Record;
use crate::time::Timestamp;
use crate::user::{Device, Verdict, directory};

/// Signs a claim as a user does.
#[must_use]
pub fn sign_claim(key: &SecretKey, name: &UserName, now: Timestamp) -> Option<Record> {
    directory::sign_claim(key, name, None, now)
}

/// Signs a user record as a user does.
#[must_use]
pub fn sign_user(key: &SecretKey, devices: Vec<Device>, now: Timestamp) -> Option<Record> {
    directory::sign_user(key, devices, None, now)
}

/// Returns the name that a record claims.
#[must_use]
pub fn claimed_name(record: &Record) -> Option<UserName> {
    directory::claimed_name(record)
}

/// Returns the devices that a record lists.
#[must_use]
pub fn devices(record: &Record) -> Option<Vec<Device>> {
    directory::devices(record)
}

/// Judges what the closest nodes answered about a name.
#[must_use]
pub fn judge(claims: &[Record], admits: impl Fn(&UserId) -> bool) -> Verdict {
    directory::judge(claims, admits)
}
