//! How [`User`] gives up what it owes: because it has expired, because the application says so, or because the recipient
//! takes nothing.
//!
//! A message that is given up before its turn leaves a gap among the numbers, and whoever collects the later ones from
//! holders could wait for it as long as its writer is away. So the number stays owed, with nothing in it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::machine::{Effect, User};
use super::owed::{Deposit, Owed, in_time};
use super::sender::Sender;
use crate::error::ErrorCode;
use crate::event::{Event, MessageState};
use crate::save::{ConversationId, Write};
use crate::time::Now;

/// How much longer than the message itself the number of one that was given up is owed: as long as holders keep anything.
const VOID_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why messages are given up.
pub(super) type Reason<'a> = Option<(ErrorCode, &'a str)>;

impl Owed {
    /// Lets nothing take the place of the message.
    pub(super) fn empty(&mut self, now: Now) {
        self.is_void = true;
        self.sealed = None;
        // What was deposited before is another envelope, which may have arrived.
        let Deposit { attempt, is_tried, .. } = self.deposit;
        self.deposit = Deposit { attempt, is_tried, ..Deposit::default() };
        // What is on disk says when the message expires.
        self.expires = self.expires.saturating_add(VOID_LIFETIME);
        self.expires_at = in_time(now.instant, self.expires.saturating_since(now.wall));
    }
}

impl Sender {
    /// Gives some messages up. Returns those that go, and the positions of those whose numbers are still owed because
    /// others are owed beside them.
    fn give_up(&mut self, is_meant: impl Fn(&Owed) -> bool, now: Now) -> (Vec<Owed>, Vec<u64>) {
        let stays = |owed: &Owed| !owed.is_void && owed.number.is_some() && !is_meant(owed);
        let is_gap = self.queue.iter().any(stays);
        let (mut gone, mut voided, mut kept) = (Vec::new(), Vec::new(), VecDeque::new());
        let sent_count = self.sent_count;
        // What was sealed with a message that is given up is sealed without it.
        let mut broken = BTreeSet::new();
        for (index, mut owed) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            let is_given_up = is_meant(&owed);
            let may_go = owed.is_void || owed.is_receipt() || owed.number.is_none();
            let goes = if is_given_up { may_go || !is_gap } else { owed.is_void && !is_gap };
            if is_given_up || goes {
                broken.extend(owed.sealed.as_ref().map(|sealed| sealed.first));
            }
            if goes {
                self.sent_count -= usize::from(index < sent_count);
                gone.push(owed);
                continue;
            }
            if is_given_up {
                owed.empty(now);
                voided.push(owed.position);
            }
            kept.push_back(owed);
        }
        self.queue = kept;
        self.forget_batches(&broken);
        self.note_first_expiry();
        (gone, voided)
    }
}

impl User {
    /// Gives some of what is owed to a conversation up, and goes on with the rest.
    pub(super) fn give_up(
        &mut self,
        id: ConversationId,
        is_meant: impl Fn(&Owed) -> bool,
        state: MessageState,
        reason: Reason<'_>,
        now: Now,
    ) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        let (gone, voided) = sender.give_up(is_meant, now);
        if !voided.is_empty() {
            // They are to be deposited as they are now.
            self.end_deposits(id);
        }
        let to = self.people.get(id).map(|found| found.saved.peer.clone()).unwrap_or_default();
        let mut then = Vec::with_capacity(voided.len());
        for position in &voided {
            then.push(Effect::Tell(self.state_event(*position, to.clone(), state, reason)));
        }
        let void = |position| Write::MessageVoid { position, state };
        self.save(voided.into_iter().map(void).collect(), then);
        self.finish(id, gone, state, reason);
        self.watch_expiry(id);
        self.advance(id, now);
        self.deposit_if_away(id, now);
    }

    /// Returns what the application is told of a message that nodes do not keep, or no longer have to.
    pub(super) fn state_event(
        &self,
        position: u64,
        to: String,
        state: MessageState,
        reason: Reason<'_>,
    ) -> Event {
        Event::MessageState {
            id: self.message_id(position),
            to,
            state,
            held_by: 0,
            code: reason.map(|(code, _)| code),
            detail: reason.map(|(_, detail)| detail.to_owned()).unwrap_or_default(),
        }
    }

    pub(super) fn handle_expiry(&mut self, id: ConversationId, now: Now) {
        let detail = "the recipient could not be reached within the lifetime of the message";
        let reason = Some((ErrorCode::Expired, detail));
        self.give_up(id, |owed| owed.expires_at <= now.instant, MessageState::Expired, reason, now);
    }

    /// Stops retrying a message. Returns `false` if it is not owed: it was delivered or given up.
    pub(super) fn cancel(&mut self, position: u64, now: Now) -> bool {
        let is_it = |owed: &Owed| owed.position == position && !owed.is_void && !owed.is_receipt();
        let found = self.senders.iter().find(|(_, sender)| sender.queue.iter().any(is_it));
        let Some(id) = found.map(|(id, _)| *id) else { return false };
        self.give_up(id, is_it, MessageState::Canceled, None, now);
        true
    }

    /// Takes that the recipient takes nothing of ours from this number on.
    pub(super) fn handle_blocked(&mut self, id: ConversationId, number: u64, now: Now) {
        let reason = Some((ErrorCode::BlockedByRecipient, "the recipient has blocked this user"));
        let is_refused = |owed: &Owed| owed.number.is_none_or(|other| other >= number);
        self.give_up(id, is_refused, MessageState::Failed, reason, now);
    }
}
