//! How [`User`] pays what it owes: resolve, locate, introduce, deliver.

use super::chat::{ChatRequest, ChatResponse, Content, DeliverRefusal, Delivery};
use super::directory::conversation_of;
use super::machine::{CallTag, User};
use super::sender::{Sender, Step};
use crate::event::MessageState;
use crate::identity::{Recipient, UserId};
use crate::kademlia::Contact;
use crate::save::ConversationId;
use crate::time::Now;

impl User {
    /// Takes the answer to one of our calls.
    pub fn handle_response(&mut self, tag: CallTag, response: ChatResponse, now: Now) {
        let Some(conversation) = self.calls.remove(&tag) else { return };
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        let was_delivery = sender.handle_answered(tag);
        match response {
            ChatResponse::Introduced if sender.step == Step::Introducing => sender.step = Step::Ready,
            ChatResponse::Delivered { next } if was_delivery => {
                let delivered = sender.acknowledge(next);
                self.finish(conversation, delivered, MessageState::Delivered, None);
            }
            ChatResponse::NotDelivered(refusal) if was_delivery || sender.step == Step::Introducing => {
                self.handle_refusal(conversation, refusal, now);
            }
            _ => return,
        }
        self.advance(conversation, now);
    }

    /// Takes that one of our calls got no answer.
    pub fn handle_call_failed(&mut self, tag: CallTag, now: Now) {
        let Some(conversation) = self.calls.remove(&tag) else { return };
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        if sender.handle_answered(tag) || sender.step == Step::Introducing {
            self.give_up_contact(conversation, now);
            self.advance(conversation, now);
        }
    }

    fn handle_refusal(&mut self, conversation: ConversationId, refusal: DeliverRefusal, now: Now) {
        match refusal {
            DeliverRefusal::UnknownSender => self.introduce(conversation, now),
            DeliverRefusal::NotHere => self.give_up_contact(conversation, now),
            DeliverRefusal::BadIntroduction | DeliverRefusal::Busy => self.pause(conversation, now),
        }
    }

    /// Turns to the next contact of the recipient; if there is none left, looks their devices up once, then pauses.
    fn give_up_contact(&mut self, conversation: ConversationId, now: Now) {
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        sender.set_back();
        sender.step = Step::Ready;
        let has_located = sender.has_located;
        let Some(found) = self.people.get_mut(conversation) else { return };
        found.route.pop_front();
        if found.route.is_empty() && has_located {
            self.pause(conversation, now);
        }
    }

    fn introduce(&mut self, conversation: ConversationId, now: Now) {
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        if sender.step != Step::Delivering {
            return;
        }
        let to = self.people.get(conversation).and_then(|found| found.route.front().copied());
        let records = self.registration.records();
        let Some((to, (claim, user))) = to.zip(records) else {
            self.pause(conversation, now);
            return;
        };
        let request =
            ChatRequest::Introduce { claim: claim.as_bytes().to_vec(), user: user.as_bytes().to_vec() };
        sender.set_back();
        sender.step = Step::Introducing;
        self.start_call(conversation, to, request);
    }

    /// Takes the next steps of a conversation's sender, as far as they can be taken now.
    pub(super) fn advance(&mut self, id: ConversationId, now: Now) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        if sender.is_empty() {
            self.senders.remove(&id);
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
            self.senders.remove(&id);
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

    /// Fills the window of a conversation with DELIVER requests to `to`.
    fn deliver(&mut self, id: ConversationId, user: UserId, to: Contact, now: Now) {
        let conversation = conversation_of(&self.id, &user);
        loop {
            let Some(sender) = self.senders.get_mut(&id) else { return };
            sender.step = Step::Delivering;
            if !sender.rewind() {
                self.pause(id, now);
                return;
            }
            let Some(delivery) = next_delivery(sender, self.id, user, conversation) else { return };
            let tag = self.start_call(id, to, ChatRequest::Deliver(delivery));
            if let Some(sender) = self.senders.get_mut(&id) {
                sender.handle_sent(tag);
            }
        }
    }
}

fn next_delivery(sender: &Sender, from: UserId, to: UserId, conversation: [u8; 32]) -> Option<Delivery> {
    let oldest = sender.oldest();
    let owed = sender.next_to_send()?;
    let content = Content { conversation, kind: owed.kind, sent: owed.sent, body: owed.body.clone() };
    Some(Delivery { from, to, number: owed.number?, oldest, content })
}
