//! How [`User`] pays what it owes: resolve, locate, introduce, deliver.

use super::chat::{ChatRequest, ChatResponse, DeliverRefusal, Delivery};
use super::machine::{CallTag, SealId, User};
use super::sender::{Sender, Step};
use crate::event::MessageState;
use crate::identity::{Recipient, UserId};
use crate::kademlia::{Contact, NodeId};
use crate::save::ConversationId;
use crate::time::Now;

impl User {
    /// Takes the answer to one of our calls.
    pub fn handle_response(&mut self, tag: CallTag, response: ChatResponse, now: Now) {
        let Some((conversation, contact)) = self.calls.remove(&tag) else { return };
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        let delivery = sender.handle_answered(tag);
        let was_introduction = sender.step == Step::Introducing(tag);
        match (response, delivery) {
            (_, None) if !was_introduction => return,
            (ChatResponse::NotDelivered(DeliverRefusal::Blocked), numbers) => {
                sender.step = Step::Ready;
                self.handle_blocked(conversation, numbers.map_or(0, |numbers| numbers.start), now);
            }
            (ChatResponse::Introduced, None) => sender.step = Step::Ready,
            (ChatResponse::Delivered { next }, Some(numbers)) => {
                let delivered = sender.acknowledge(&numbers, next);
                sender.note_acknowledged(&delivered, &self.tag_key);
                if !delivered.is_empty() {
                    self.sessions.handle_acknowledged((conversation, contact.id()));
                    self.people.get_mut(conversation).into_iter().for_each(|found| found.knows_us = true);
                }
                self.finish(conversation, delivered, MessageState::Delivered, None);
            }
            // It may have arrived by mail, long ago, or others that came by mail lie between: a receipt will tell.
            (ChatResponse::OutOfStep { .. }, Some(numbers))
                if sender.owes(&numbers) && sender.may_have_come_by_mail() =>
            {
                self.pause(conversation, now);
            }
            (ChatResponse::OutOfStep { next }, Some(numbers)) if sender.owes(&numbers) => {
                self.renumber(conversation, next, now);
            }
            // Sent again before the first answer came, and so late that its number is forgotten there.
            (ChatResponse::OutOfStep { .. }, Some(_)) => {}
            (ChatResponse::NotDelivered(DeliverRefusal::Unopened), Some(_)) => {
                self.repair(conversation, contact.id(), now);
            }
            (ChatResponse::NotDelivered(DeliverRefusal::UnknownSender), Some(_)) => {
                self.introduce(conversation, contact, now);
            }
            (ChatResponse::NotDelivered(DeliverRefusal::BadIntroduction | DeliverRefusal::Busy), _) => {
                self.pause(conversation, now);
            }
            // Not here, or an answer to something else.
            _ => self.give_up_contact(conversation, &contact, now),
        }
        self.advance(conversation, now);
    }

    /// Takes that one of our calls got no answer.
    pub fn handle_call_failed(&mut self, tag: CallTag, now: Now) {
        let Some((conversation, contact)) = self.calls.remove(&tag) else {
            self.handle_mail_call_failed(tag, now);
            return;
        };
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        if sender.handle_answered(tag).is_some() || sender.step == Step::Introducing(tag) {
            self.give_up_contact(conversation, &contact, now);
            self.advance(conversation, now);
        }
    }

    /// Turns to the next contact of the recipient; if there is none left, looks their devices up once, then pauses.
    pub(super) fn give_up_contact(&mut self, conversation: ConversationId, contact: &Contact, now: Now) {
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        sender.set_back();
        sender.step = Step::Ready;
        sender.has_introduced = false;
        let has_located = sender.has_located;
        let Some(found) = self.people.get_mut(conversation) else { return };
        // Not always the first: meanwhile they may have shown up elsewhere.
        found.route.retain(|other| other != contact);
        if found.route.is_empty() && has_located {
            self.pause(conversation, now);
        }
    }

    /// Tells a device of the recipient who writes, once; if that does not help, waits.
    fn introduce(&mut self, conversation: ConversationId, to: Contact, now: Now) {
        let records = self.registration.records();
        let sender = self.senders.get_mut(&conversation).filter(|sender| !sender.has_introduced);
        let Some((sender, (claim, user))) = sender.zip(records) else {
            self.pause(conversation, now);
            return;
        };
        let request =
            ChatRequest::Introduce { claim: claim.as_bytes().to_vec(), user: user.as_bytes().to_vec() };
        sender.set_back();
        sender.has_introduced = true;
        let tag = self.start_call(conversation, to, request);
        if let Some(sender) = self.senders.get_mut(&conversation) {
            sender.step = Step::Introducing(tag);
        }
    }

    /// Takes the next steps of a conversation's sender, as far as they can be taken now.
    pub(super) fn advance(&mut self, id: ConversationId, now: Now) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        if sender.is_empty() {
            self.remove_sender(id);
            return;
        }
        if !matches!(sender.step, Step::Ready | Step::Delivering) {
            return;
        }
        let Some(conversation) = self.people.get(id) else { return };
        let Some(user) = conversation.saved.user else {
            let peer = conversation.saved.peer.clone();
            self.start_resolving(id, &peer, now);
            return;
        };
        if user == self.id {
            // A note to oneself: this device is a device of the recipient.
            let notes = sender.take_all();
            self.remove_sender(id);
            self.finish(id, notes, MessageState::Delivered, None);
            return;
        }
        match conversation.route.front().copied() {
            Some(to) => self.deliver(id, user, to, now),
            None => {
                sender.step = Step::Locating;
                self.locate(id, &user);
            }
        }
    }

    fn start_resolving(&mut self, id: ConversationId, peer: &str, now: Now) {
        let Ok(peer) = Recipient::parse(peer) else { return };
        if *peer.name() == self.config.name && peer.admits(&self.id) {
            self.settle(id, self.id, now);
        } else if let Some(sender) = self.senders.get_mut(&id) {
            sender.step = Step::Resolving;
            self.resolve(id, &peer);
        }
    }

    /// Tells whether the person of a conversation cannot know this device: nothing has ever arrived there, and nobody has
    /// told them yet.
    fn is_stranger_to(&self, id: ConversationId) -> bool {
        let knows_us = self.people.get(id).is_some_and(|found| found.knows_us);
        // What may have arrived by mail is no first message: whoever has blocked us meanwhile still says that they have it.
        let is_first = |sender: &Sender| {
            !sender.has_introduced && sender.oldest() == 1 && !sender.may_have_come_by_mail()
        };
        !knows_us && self.senders.get(&id).is_some_and(is_first) && self.registration.records().is_some()
    }

    /// Fills the window of a conversation with DELIVER requests to `to`.
    fn deliver(&mut self, id: ConversationId, user: UserId, to: Contact, now: Now) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        sender.step = Step::Delivering;
        if !sender.rewind() {
            self.pause(id, now);
            return;
        }
        if !self.seal_window(id, &user, to.id()) {
            self.fetch_keys(id, &user, &to, now);
            return;
        }
        if self.is_stranger_to(id) {
            // While what was sealed goes to the disk. Without it the message would be answered "unknown sender".
            self.introduce(id, to, now);
            return;
        }
        loop {
            let Some(sender) = self.senders.get_mut(&id) else { return };
            let next = next_delivery(sender, (self.id, user), to.id(), self.saved_seal, &self.tag_key);
            let Some(delivery) = next else { return };
            let tag = self.start_call(id, to, ChatRequest::Deliver(delivery));
            if let Some(sender) = self.senders.get_mut(&id) {
                sender.handle_sent(tag);
            }
        }
    }
}

fn next_delivery(
    sender: &Sender,
    (from, to): (UserId, UserId),
    device: NodeId,
    saved: SealId,
    tag_key: &[u8; 32],
) -> Option<Delivery> {
    let oldest = sender.oldest();
    let (owed, count, envelope) = sender.next_to_send(device, saved)?;
    let (number, tag) = (owed.number?, owed.tag(tag_key));
    Some(Delivery { from, to, number, count, oldest, tag, envelope: envelope.clone() })
}
