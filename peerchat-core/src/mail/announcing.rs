//! WAITING: devices that are there are told that mail waits for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::kept::MailPlace;
use super::mailbox::{CallUse, MailAction, Mailbox};
use super::rpc::MailRequest;
use crate::idle;
use crate::kademlia::{Contact, NodeKey};
use crate::time::Now;

/// How long a device counts as present after it has stored its record or asked for its mail.
pub const PRESENT_FOR: Duration = Duration::from_secs(300);

/// Most devices that are remembered as present; the one heard least recently makes room.
pub const MAX_PRESENT: usize = 1024;

/// A device that was heard of late.
#[derive(Clone, Copy, Debug)]
struct Presence {
    key: NodeKey,
    address: SocketAddr,
    heard: Instant,
    /// A WAITING is on its way; there is never a second.
    is_told: bool,
    /// More has come since.
    is_due: bool,
}

/// The devices that are there.
#[derive(Debug, Default)]
pub(super) struct Presences {
    present: BTreeMap<MailPlace, Presence>,
}

impl Presences {
    fn note(&mut self, place: MailPlace, contact: Contact, limit: usize, now: Instant) {
        if let Some(presence) = self.present.get_mut(&place) {
            (presence.key, presence.address, presence.heard) = (contact.key(), contact.address(), now);
            return;
        }
        if self.present.len() >= limit {
            let oldest =
                self.present.iter().min_by_key(|(_, presence)| presence.heard).map(|(place, _)| *place);
            oldest.map(|place| self.present.remove(&place));
        }
        let (key, address) = (contact.key(), contact.address());
        self.present.insert(place, Presence { key, address, heard: now, is_told: false, is_due: false });
    }
}

impl Mailbox {
    /// Takes that a device has stored or confirmed its user record here: it is there, and is told at once how much waits.
    pub fn handle_published(&mut self, place: MailPlace, device: Contact, now: Now) {
        self.note_present(place, device, now);
        self.announce(place, now);
    }

    /// Notes that a device is there.
    pub(super) fn note_present(&mut self, place: MailPlace, device: Contact, now: Now) {
        self.presences.note(place, device, self.limits.present, now.instant);
    }

    /// Tells a device that is there how much waits for it.
    pub(super) fn announce(&mut self, place: MailPlace, now: Now) {
        let Some(count) = self.waiting_count(&place).filter(|count| *count > 0) else { return };
        let Some(presence) = self.presences.present.get_mut(&place) else { return };
        if now.instant.saturating_duration_since(presence.heard) >= PRESENT_FOR {
            idle::remove(&mut self.presences.present, &place);
        } else if presence.is_told {
            presence.is_due = true;
        } else {
            (presence.is_told, presence.is_due) = (true, false);
            let (to, request) = (
                Contact::new(presence.key, presence.address),
                MailRequest::Waiting { mailbox: place.mailbox, count },
            );
            let tag = self.begin_call(CallUse::Waiting(place));
            self.actions.push_back(MailAction::Call { tag, to, request });
        }
    }

    /// Takes the answer to a WAITING: whether there was one.
    pub(super) fn handle_told(&mut self, place: MailPlace, is_answered: bool, now: Now) {
        let Some(presence) = self.presences.present.get_mut(&place) else { return };
        presence.is_told = false;
        if !is_answered {
            idle::remove(&mut self.presences.present, &place);
        } else if presence.is_due {
            self.announce(place, now);
        }
    }
}
