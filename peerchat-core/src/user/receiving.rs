//! How [`User`] takes what others send: introductions and messages.

use super::chat::{ChatRequest, ChatResponse, Content, ContentKind, DeliverRefusal, Delivery};
use super::directory::{Verdict, claimed_name, conversation_of, devices, judge};
use super::machine::{Effect, MAX_CONVERSATIONS, MAX_INTRODUCTIONS, RequestTag, SearchOutcome, User};
use crate::event::{Event, ReceivedMessage};
use crate::identity::{Recipient, UserId, UserName};
use crate::kademlia::{Contact, Record};
use crate::save::{ConversationId, SavedMessage, StreamId, Write};
use crate::time::Now;

/// Most requests that wait for the name of one stranger to be looked up.
const MAX_WAITING: usize = 4;

/// Most devices of one person that may deliver, in all the time that they are known. One more is answered "busy".
pub(super) const MAX_DEVICES_MET: usize = 64;

/// Most contacts of one person that are remembered.
const MAX_ROUTE: usize = 8;

/// Most messages of all streams that wait for an earlier one.
const MAX_HELD_IN_ALL: usize = 16_384;

/// Most bytes of their bodies.
const MAX_HELD_LEN_IN_ALL: usize = 16 * 1024 * 1024;

/// Longest body of a message in bytes.
const MAX_BODY_LEN: usize = crate::MAX_TEXT_LEN;

/// A stranger whose name is being looked up.
#[derive(Debug)]
pub(super) struct Introduction {
    name: UserName,
    contact: Contact,
    waiting: Vec<RequestTag>,
}

impl User {
    /// Takes a request of another person's node. The link proves that `from` is that node.
    pub fn handle_request(&mut self, tag: RequestTag, from: Contact, request: ChatRequest, now: Now) {
        match request {
            ChatRequest::Introduce { claim, user } => self.handle_introduce(tag, from, &claim, &user, now),
            ChatRequest::Deliver(delivery) => self.handle_deliver(tag, from, delivery, now),
        }
    }

    fn handle_introduce(&mut self, tag: RequestTag, from: Contact, claim: &[u8], user: &[u8], now: Now) {
        let Some((stranger, name)) = self.check_introduction(from, claim, user) else {
            self.refuse(tag, DeliverRefusal::BadIntroduction);
            return;
        };
        if let Some(conversation) = self.people.with_user(&stranger) {
            self.admit(conversation, from, vec![tag], now);
        } else if let Some(introduction) = self.introductions.get_mut(&stranger) {
            if introduction.waiting.len() < MAX_WAITING {
                introduction.waiting.push(tag);
            } else {
                self.refuse(tag, DeliverRefusal::Busy);
            }
        } else if self.introductions.len() >= MAX_INTRODUCTIONS || self.people.count() >= MAX_CONVERSATIONS {
            self.refuse(tag, DeliverRefusal::Busy);
        } else {
            self.vouch(stranger, &name);
            self.introductions.insert(stranger, Introduction { name, contact: from, waiting: vec![tag] });
        }
    }

    /// Checks that both records are of one owner who lists the node `from` as a device.
    fn check_introduction(&self, from: Contact, claim: &[u8], user: &[u8]) -> Option<(UserId, UserName)> {
        let (claim, user) = (Record::parse(claim).ok()?, Record::parse(user).ok()?);
        let stranger = UserId::of(&user.header().owner);
        let lists_node = devices(&user)?.iter().any(|device| device.node == from.key());
        let is_one_owner = claim.header().owner == user.header().owner;
        (lists_node && is_one_owner && stranger != self.id).then_some((stranger, claimed_name(&claim)?))
    }

    /// Takes who holds the name that a stranger gave. If it is not them, they are shown with their fingerprint.
    pub(super) fn handle_vouched(&mut self, stranger: UserId, outcome: &SearchOutcome, now: Now) {
        let Some(Introduction { name, contact, waiting }) = self.introductions.remove(&stranger) else {
            return;
        };
        if let Some(known) = self.people.with_user(&stranger) {
            // Found meanwhile, because something was owed to them.
            self.admit(known, contact, waiting, now);
            return;
        }
        let verdict = judge(&outcome.records, |_| true);
        let is_holder = matches!(verdict, Verdict::Held(key) if UserId::of(&key) == stranger);
        let exact = Recipient::exactly(name.clone(), &stranger);
        let is_free = |peer: &Recipient| {
            let known = self.people.named(&peer.to_string()).and_then(|id| self.people.get(id));
            known.is_none_or(|found| found.saved.user.is_none_or(|user| user == stranger))
        };
        let plain = Recipient::from(name);
        let peer = if is_holder && is_free(&plain) { plain } else { exact };
        if !is_free(&peer) {
            // Two people of one name whose fingerprints agree: 40 bits were forged. The first one met stays.
            waiting.into_iter().for_each(|tag| self.refuse(tag, DeliverRefusal::BadIntroduction));
            return;
        }
        let conversation = match self.people.named(&peer.to_string()) {
            Some(unsettled) => unsettled,
            None => self.people.add(&peer, Some(stranger)),
        };
        self.settle(conversation, stranger, now);
        self.admit(conversation, contact, waiting, now);
    }

    /// Lets a device of a known person deliver, and uses it to pay what is owed to them.
    fn admit(&mut self, conversation: ConversationId, device: Contact, tags: Vec<RequestTag>, now: Now) {
        let mut writes = Vec::new();
        if self.people.known_stream(conversation, device.id()).is_none() {
            if self.people.stream_count(conversation) >= MAX_DEVICES_MET {
                tags.into_iter().for_each(|tag| self.refuse(tag, DeliverRefusal::Busy));
                return;
            }
            writes.push(Write::Stream(self.people.stream(conversation, device.id()).to_saved()));
        }
        let reply = |to| Effect::Reply { to, response: ChatResponse::Introduced };
        self.save(writes, tags.into_iter().map(reply).collect());
        self.handle_shown_up(conversation, device, now);
    }

    /// Takes that a device of a person is reachable at this contact.
    fn handle_shown_up(&mut self, conversation: ConversationId, device: Contact, now: Now) {
        let Some(found) = self.people.get_mut(conversation) else { return };
        if found.route.front() != Some(&device) {
            found.route.retain(|contact| contact.id() != device.id());
            found.route.push_front(device);
            found.route.truncate(MAX_ROUTE);
        }
        if let Some(sender) = self.senders.get_mut(&conversation) {
            sender.handle_met();
            self.advance(conversation, now);
        }
    }

    fn handle_deliver(&mut self, tag: RequestTag, from: Contact, delivery: Delivery, now: Now) {
        let Delivery { from: writer, to, number, oldest, content } = delivery;
        if to != self.id {
            self.refuse(tag, DeliverRefusal::NotHere);
            return;
        }
        let conversation = self.people.with_user(&writer);
        let can_hold = self.held_count < MAX_HELD_IN_ALL && self.held_len < MAX_HELD_LEN_IN_ALL;
        let stream = conversation.and_then(|id| self.people.known_stream(id, from.id()));
        let Some((conversation, stream)) = conversation.zip(stream) else {
            self.refuse(tag, DeliverRefusal::UnknownSender);
            return;
        };
        // After the last number none could follow: it would be taken again and again.
        let is_well_formed = (1..u64::MAX).contains(&number)
            && content.body.len() <= MAX_BODY_LEN
            && content.conversation == conversation_of(&self.id, &writer)
            && (content.kind != ContentKind::TEXT.0 || std::str::from_utf8(&content.body).is_ok());
        if !is_well_formed {
            self.refuse(tag, DeliverRefusal::BadIntroduction);
            return;
        }
        let (count_before, len_before) = (stream.held_count(), stream.held_len());
        let due = stream.accept(number, oldest, content, can_hold);
        self.held_count = (self.held_count + stream.held_count()).saturating_sub(count_before);
        self.held_len = (self.held_len + stream.held_len()).saturating_sub(len_before);
        let (next, saved) = (stream.next(), stream.to_saved());
        let (mut writes, mut then) = (Vec::new(), Vec::new());
        for (number, content) in due {
            let (message, event) = self.take_in(conversation, saved.id, writer, number, content, now);
            writes.push(Write::Message(message));
            then.extend(event.map(Effect::Tell));
        }
        if !writes.is_empty() {
            writes.push(Write::Stream(saved));
        }
        then.push(Effect::Reply { to: tag, response: ChatResponse::Delivered { next } });
        self.save(writes, then);
        self.handle_shown_up(conversation, from, now);
    }

    /// Gives a message its place in history. Of a kind that is not known here it is kept, and nobody is told.
    fn take_in(
        &mut self,
        conversation: ConversationId,
        stream: StreamId,
        writer: UserId,
        number: u64,
        content: Content,
        now: Now,
    ) -> (SavedMessage, Option<Event>) {
        let position = self.next_position();
        let from = self.people.get(conversation).map(|found| found.saved.peer.clone()).unwrap_or_default();
        let message = SavedMessage {
            position,
            conversation,
            stream,
            number: Some(number),
            kind: content.kind,
            body: content.body,
            sent: content.sent,
            received: now.wall,
            state: None,
            expires: now.wall,
        };
        let event = received_event(self.message_id(position), from, writer, &message);
        (message, event)
    }

    fn refuse(&mut self, tag: RequestTag, refusal: DeliverRefusal) {
        self.reply(tag, ChatResponse::NotDelivered(refusal));
    }
}

/// Returns what the application is told of a received message: nothing, unless it is text.
pub(crate) fn received_event(
    id: crate::event::MessageId,
    from: String,
    user: UserId,
    message: &SavedMessage,
) -> Option<Event> {
    if message.kind != ContentKind::TEXT.0 {
        return None;
    }
    let text = std::str::from_utf8(&message.body).ok()?.to_owned();
    let (number, sent, received) = (message.number?, message.sent, message.received);
    Some(Event::Message(ReceivedMessage { id, from, user, text, number, sent, received }))
}
