//! How [`User`] tells others what was read, and takes what they say of that.
//!
//! What was read travels in a receipt (`receipts.rs`): as a number up to which everything was read, so that a later receipt
//! makes an earlier one superfluous. It is not said to anybody who is no contact.

use std::time::Duration;

use super::chat::ReceiptVerdict;
use super::machine::{Effect, User};
use super::naming::DecisionError;
use super::timers::Timer;
use crate::event::{CommandId, MessageState};
use crate::save::{ConversationId, MAX_READ_AT_ONCE, Relation, StreamId, Write};
use crate::time::Now;

/// How long a read receipt waits for what else is read meanwhile.
pub const READ_RECEIPT_DELAY: Duration = Duration::from_millis(250);

impl User {
    /// Marks what a device has written up to a number as read, and lets it know.
    pub(super) fn mark_read(
        &mut self,
        command: CommandId,
        (id, stream): (ConversationId, StreamId),
        number: u64,
        now: Now,
    ) -> Result<(), DecisionError> {
        let tells = self.tells_read(id);
        let stream = self.people.stream_with_id(id, stream).ok_or(DecisionError::NotMet)?;
        let mut writes = Vec::new();
        let is_news = stream.mark_read(number);
        if is_news {
            if tells {
                stream.owe_receipt(ReceiptVerdict::Delivered);
            }
            writes.push(Write::Stream(stream.to_saved()));
        }
        self.save(writes, vec![Effect::Decided { command }]);
        if is_news && tells {
            self.tell_read_soon(now);
        }
        Ok(())
    }

    /// Tells whether the person of a conversation is told what was read.
    pub(super) fn tells_read(&self, id: ConversationId) -> bool {
        self.config.read_receipts && self.people.relation(id) == Relation::Contact
    }

    /// Owes somebody who has become a contact receipts for what was read before.
    pub(super) fn owe_read_receipts(&mut self, id: ConversationId, now: Now) {
        if !self.tells_read(id) {
            return;
        }
        let mut writes = Vec::new();
        for stream in self.people.streams_of(id).filter(|stream| stream.has_read()) {
            stream.owe_receipt(ReceiptVerdict::Delivered);
            writes.push(Write::Stream(stream.to_saved()));
        }
        if !writes.is_empty() {
            self.save(writes, Vec::new());
            self.tell_read_soon(now);
        }
    }

    fn tell_read_soon(&mut self, now: Now) {
        self.set_timer_if_unset(now.instant + READ_RECEIPT_DELAY, Timer::Receipts);
    }

    /// Takes up to which number the person of a conversation has read what we wrote.
    pub(super) fn hear_read(&mut self, id: ConversationId, up_to: u64) {
        let Some(found) = self.people.get_mut(id) else { return };
        // Nobody has read what was never written.
        let up_to = up_to.min(found.saved.next_number.saturating_sub(1));
        if up_to <= found.saved.read_heard {
            return;
        }
        found.saved.read_heard = up_to;
        let write = Write::Conversation(found.saved.clone());
        self.save(vec![write], Vec::new());
        self.look_for_read(id);
    }

    /// Looks for what was delivered and is now known to have been read, unless that is being done.
    fn look_for_read(&mut self, id: ConversationId) {
        let Some(found) = self.people.get_mut(id) else { return };
        let (after, up_to) = (found.saved.read_marked, found.saved.read_heard);
        if after < up_to && !std::mem::replace(&mut found.is_marking, true) {
            // After what was asked to be saved so far: what has been delivered just now is among it.
            self.save(Vec::new(), vec![Effect::LookForRead { conversation: id, after, up_to }]);
        }
    }

    /// Takes number and position of messages that were delivered, as [`Effect::LookForRead`] has asked; `None` if they
    /// cannot be read now.
    pub fn handle_delivered(&mut self, id: ConversationId, up_to: u64, delivered: Option<Vec<(u64, u64)>>) {
        let Some(found) = self.people.get_mut(id) else { return };
        found.is_marking = false;
        let Some(delivered) = delivered else { return };
        let is_all = delivered.len() < MAX_READ_AT_ONCE;
        let marked = if is_all { Some(up_to) } else { delivered.last().map(|(number, _)| *number) };
        found.saved.read_marked = found.saved.read_marked.max(marked.unwrap_or_default());
        let (to, state) = (found.saved.peer.clone(), MessageState::Read);
        let mut writes = vec![Write::Conversation(found.saved.clone())];
        let mut then = Vec::with_capacity(delivered.len());
        for (_, position) in delivered {
            writes.push(Write::MessageState { position, state });
            then.push(Effect::Tell(self.state_event(position, to.clone(), state, None)));
        }
        self.save(writes, then);
        self.look_for_read(id);
    }

    /// Goes on with what was not done when the profile was closed.
    pub(super) fn look_for_all_read(&mut self) {
        let ids: Vec<ConversationId> = self.people.iter().map(|found| found.saved.id).collect();
        ids.into_iter().for_each(|id| self.look_for_read(id));
    }
}
