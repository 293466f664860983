//! How [`User`] tells those whose messages came by mail what has become of them, and takes what others tell it.
//!
//! A message that is delivered directly is answered at once and needs no receipt. A receipt travels as a message does: it
//! is owed, sealed, delivered directly or deposited; but it is finished as soon as somebody keeps it.

use super::chat::{ContentKind, Receipt, ReceiptVerdict};
use super::machine::User;
use super::sessions::Peer;
use crate::codec;
use crate::event::MessageState;
use crate::kademlia::NodeId;
use crate::save::{ConversationId, Write};
use crate::time::Now;

impl User {
    /// Takes what a device says of our mail.
    pub(super) fn handle_receipt(&mut self, (id, device): Peer, body: &[u8], now: Now) {
        let Ok(receipt) = codec::decode::<Receipt>(body) else { return };
        if receipt.device != self.node_id {
            return;
        }
        self.people.get_mut(id).into_iter().for_each(|found| found.knows_us = true);
        if !receipt.token.is_empty() {
            self.take_token(id, &receipt.token);
        }
        let read = receipt.read.min(receipt.next.saturating_sub(1));
        let mut delivered = Vec::new();
        if let Some(sender) = self.senders.get_mut(&id) {
            delivered = sender.acknowledge_by(&receipt, device, &self.tag_key);
            sender.note_acknowledged(&delivered, &self.tag_key);
        }
        if !delivered.is_empty() {
            self.sessions.handle_acknowledged((id, device));
            self.finish(id, delivered, MessageState::Delivered, None);
        }
        self.hear_read(id, read);
        self.handle_verdict((id, device), &receipt, now);
        self.advance(id, now);
    }

    fn handle_verdict(&mut self, (id, device): Peer, receipt: &Receipt, now: Now) {
        let owes = self.senders.get_mut(&id).is_some_and(|sender| sender.numbered(receipt.next).is_some());
        let is_behind = self.senders.get(&id).is_some_and(|sender| sender.oldest() < receipt.next);
        match receipt.verdict {
            ReceiptVerdict::Delivered if is_behind && self.is_contradicted(id, receipt) => {
                self.renumber(id, receipt.next, now);
            }
            ReceiptVerdict::Delivered => {}
            ReceiptVerdict::Unopened if owes => {
                // What was deposited is of no use.
                if let Some(sender) = self.senders.get_mut(&id) {
                    sender.forget_deposits();
                }
                self.repair(id, device, now);
            }
            // Else it was ours that had the numbers, and came again.
            ReceiptVerdict::OutOfStep if is_behind => self.renumber(id, receipt.next, now),
            ReceiptVerdict::OutOfStep | ReceiptVerdict::Unopened => {}
        }
    }

    fn is_contradicted(&self, id: ConversationId, receipt: &Receipt) -> bool {
        let (Some(sender), Some(found)) = (self.senders.get(&id), self.people.get(id)) else { return false };
        sender.is_contradicted_by(receipt, &self.tag_key, found.saved.next_number)
    }

    /// Owes every device that has to be told of its mail a receipt.
    pub(super) fn owe_receipts(&mut self, now: Now) {
        for (id, device) in self.people.owing_receipts() {
            self.owe_receipt(id, device, now);
        }
    }

    fn owe_receipt(&mut self, id: ConversationId, device: NodeId, now: Now) {
        let tells_read = self.tells_read(id);
        let Some(stream) = self.people.known_stream(id, device) else { return };
        let Some(mut receipt) = stream.take_receipt(tells_read) else { return };
        let saved = stream.to_saved();
        receipt.token = self.promise_token(id, now).unwrap_or_default();
        if let Some(open) = self.senders.get_mut(&id).and_then(super::sender::Sender::open_receipt)
            && receipt.token.is_empty()
            && let Ok(before) = codec::decode::<Receipt>(&open.body)
        {
            // What takes the place of a receipt gives what that would have given.
            receipt.token = before.token;
        }
        let body = codec::encode(&receipt);
        let mut writes = vec![Write::Stream(saved)];
        match self.senders.get_mut(&id).and_then(super::sender::Sender::open_receipt) {
            Some(open) => {
                open.body = body;
                writes.push(Write::MessageGone { position: open.position });
                writes.push(Write::Message(open.to_saved(id)));
                self.save(writes, Vec::new());
            }
            None => {
                let owed = self.new_owed(id, ContentKind::RECEIPT, body, now);
                let conversation = self.people.get(id).map(|found| found.saved.clone());
                writes.extend(conversation.map(Write::Conversation));
                writes.push(Write::Message(owed.to_saved(id)));
                self.save(writes, Vec::new());
                self.owe(id, owed);
            }
        }
        self.advance(id, now);
        self.deposit_if_away(id, now);
    }
}
