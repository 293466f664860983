//! [`Prekeys`]: when a device's prekey is replaced, and how long the old ones stay usable.

use std::collections::VecDeque;
use std::time::Duration;

use super::session::{DeviceCipher, Prekey};
use crate::time::Timestamp;

/// A prekey is replaced at this age.
pub const PREKEY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many prekeys are kept, the current one included: five weeks of old ones, for mail lives 30 days.
pub const KEPT_PREKEYS: usize = 6;

/// The prekeys of this device, oldest first, each with the time when it was made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prekeys(VecDeque<(Prekey, Timestamp)>);

impl Prekeys {
    /// Takes saved prekeys up again, oldest first.
    #[must_use]
    pub fn restore(saved: impl IntoIterator<Item = (Prekey, Timestamp)>) -> Self {
        Self(saved.into_iter().collect())
    }

    /// Returns the prekeys, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Prekey, Timestamp)> {
        self.0.iter().copied()
    }

    /// Returns the prekey that others start sessions from, `None` before the first [`Self::rotate`].
    #[must_use]
    pub fn current(&self) -> Option<Prekey> {
        self.0.back().map(|(prekey, _)| *prekey)
    }

    /// Makes a new prekey if the current one is too old, or from a time that has not come yet, and returns those that
    /// were dropped for it. `None` if nothing has changed.
    pub fn rotate(&mut self, cipher: &mut dyn DeviceCipher, now: Timestamp) -> Option<Vec<Prekey>> {
        if self.0.back().is_some_and(|(_, made)| is_current(*made, now)) {
            return None;
        }
        self.0.push_back((cipher.add_prekey(), now));
        let excess = self.0.len().saturating_sub(KEPT_PREKEYS);
        let dropped: Vec<Prekey> = self.0.drain(..excess).map(|(prekey, _)| prekey).collect();
        dropped.iter().for_each(|prekey| cipher.drop_prekey(prekey));
        Some(dropped)
    }
}

/// Tells whether a key that was `made` then is still the one to give out.
pub(super) fn is_current(made: Timestamp, now: Timestamp) -> bool {
    made <= now.saturating_add(PREKEY_LIFETIME) && now.saturating_since(made) < PREKEY_LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::StandIn;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_prekey_lives_a_week_and_six_are_kept() {
        let (mut cipher, mut prekeys) = (StandIn::new(1), Prekeys::default());
        let mut first = None;
        for day in 0..42 {
            let now = NOW.saturating_add(DAY * day);
            assert_eq!(prekeys.rotate(&mut cipher, now).is_some(), day % 7 == 0, "day {day}");
            first = first.or(prekeys.current());
        }
        assert_eq!(prekeys.iter().count(), KEPT_PREKEYS);
        let dropped = prekeys.rotate(&mut cipher, NOW.saturating_add(DAY * 42)).unwrap();
        assert_eq!(dropped, Vec::from_iter(first));
        assert_eq!(prekeys.iter().count(), KEPT_PREKEYS);
    }

    #[test]
    fn a_prekey_made_under_a_clock_far_ahead_is_replaced_once_it_is_right() {
        let (mut cipher, mut prekeys) = (StandIn::new(1), Prekeys::default());
        assert!(prekeys.rotate(&mut cipher, NOW.saturating_add(DAY * 365)).is_some());
        assert!(prekeys.rotate(&mut cipher, NOW).is_some());
        assert!(prekeys.rotate(&mut cipher, NOW.saturating_add(DAY)).is_none());
    }
}
