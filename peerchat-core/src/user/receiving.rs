//! How [`User`] takes what others send: introductions and messages.

use std::time::Duration;

use super::MESSAGE_OVERHEAD;
use super::batch::{Opened, is_possible};
use super::chat::{ChatRequest, ChatResponse, ContentKind, DeliverRefusal, Delivery, ReceiptVerdict};
use super::directory::{Verdict, claimed_name, devices, judge};
use super::machine::{Effect, RequestTag, SearchOutcome, User};
use super::sessions::Peer;
use super::streams::{Arrival, Held};
use super::timers::Timer;
use crate::crypto::{DeviceKeys, IdentityKey, MAX_ENVELOPE_LEN};
use crate::event::{Event, ReceivedMessage};
use crate::identity::{Recipient, UserId, UserName};
use crate::kademlia::{Contact, NodeId, NodeKey, Record};
use crate::save::{ConversationId, Relation, SavedMessage, StreamId, Write};
use crate::time::Now;

/// Most requests that wait for the name of one stranger to be looked up.
const MAX_WAITING: usize = 4;

/// Most devices of one person that may deliver, in all the time that they are known. One more is answered "busy".
pub(super) const MAX_DEVICES_MET: usize = 64;

/// Most contacts of one person that are remembered.
const MAX_ROUTE: usize = 8;

/// Most envelopes of all streams that wait for an earlier one.
pub const MAX_HELD_IN_ALL: usize = 8_192;

/// Most bytes in them.
pub const MAX_HELD_LEN_IN_ALL: usize = 8 * 1024 * 1024;

/// How many times the name that a stranger gives must be found to be nobody's before they are shown with their fingerprint: they
/// may just be registering it.
const UNKNOWN_LIMIT: u32 = 4;

/// The pause after the first time; each further one is twice as long.
const FIRST_UNKNOWN_PAUSE: Duration = Duration::from_millis(100);

/// A stranger whose name is being looked up.
#[derive(Debug)]
pub(super) struct Introduction {
    name: UserName,
    device: Introduced,
    waiting: Vec<RequestTag>,
    /// How often nobody was found to hold the name.
    unknown_count: u32,
}

/// A device that has introduced itself.
#[derive(Clone, Debug)]
pub(super) struct Introduced {
    pub(super) node: NodeId,
    /// Where it is; `None` if the introduction came by mail.
    pub(super) contact: Option<Contact>,
    pub(super) keys: DeviceKeys,
    /// The record that lists it.
    pub(super) record: Record,
}

impl User {
    /// Takes a request of another person's node. The link proves that `from` is that node.
    pub fn handle_request(&mut self, tag: RequestTag, from: Contact, request: ChatRequest, now: Now) {
        match request {
            ChatRequest::Introduce { claim, user } => self.handle_introduce(tag, from, &claim, &user, now),
            ChatRequest::Deliver(delivery) => self.handle_deliver(tag, from, delivery, now),
            ChatRequest::Hint(hint) => self.handle_hint(tag, from.id(), &hint, now),
        }
    }

    fn handle_introduce(&mut self, tag: RequestTag, from: Contact, claim: &[u8], user: &[u8], now: Now) {
        let Some((stranger, name, device)) = self.check_introduction(from.key(), claim, user) else {
            self.refuse(tag, DeliverRefusal::BadIntroduction);
            return;
        };
        let device = Introduced { contact: Some(from), ..device };
        if let Some(conversation) = self.people.with_user(&stranger) {
            if self.is_blocked(conversation) {
                self.blocked_count += 1;
                self.refuse(tag, DeliverRefusal::Blocked);
            } else {
                self.admit(conversation, device, vec![tag], now);
            }
        } else if let Some(introduction) = self.introductions.get_mut(&stranger) {
            if introduction.waiting.len() < MAX_WAITING {
                introduction.waiting.push(tag);
            } else {
                self.refuse(tag, DeliverRefusal::Busy);
            }
        } else if !self.look_into(stranger, name, device, vec![tag], now) {
            self.refuse(tag, DeliverRefusal::Busy);
        }
    }

    /// Looks up whether the name that a stranger gives is theirs. Returns `false` if there is no room for that.
    pub(super) fn look_into(
        &mut self,
        stranger: UserId,
        name: UserName,
        device: Introduced,
        waiting: Vec<RequestTag>,
        now: Now,
    ) -> bool {
        if self.introductions.contains_key(&stranger) {
            return true;
        }
        let pending = self.introductions.len();
        // Who was added by their key makes no request.
        let exact = self.people.named(&Recipient::exactly(name.clone(), &stranger).to_string());
        let is_expected = exact.is_some_and(|id| self.people.relation(id) == Relation::Contact);
        let has_room = pending < self.config.limits.introductions
            && (is_expected
                || self.people.has_room_for_request(pending, now.wall)
                    && self.people.has_room_for_strangers_device(pending));
        if !has_room {
            self.refused_request_count += 1;
        } else {
            self.vouch(stranger, &name);
            self.introductions.insert(stranger, Introduction { name, device, waiting, unknown_count: 0 });
        }
        has_room
    }

    /// Looks the name of a stranger up again that was nobody's a moment ago.
    pub(super) fn vouch_again(&mut self, stranger: UserId) {
        if let Some(name) = self.introductions.get(&stranger).map(|introduction| introduction.name.clone()) {
            self.vouch(stranger, &name);
        }
    }

    /// Checks that both records are of one owner who lists the node `from` as a device, and returns it.
    pub(super) fn check_introduction(
        &self,
        from: NodeKey,
        claim: &[u8],
        user: &[u8],
    ) -> Option<(UserId, UserName, Introduced)> {
        let (claim, record) = (Record::parse(claim).ok()?, Record::parse(user).ok()?);
        let stranger = UserId::of(&record.header().owner);
        let device = devices(&record)?.into_iter().find(|device| device.node == from)?;
        let is_one_owner = claim.header().owner == record.header().owner;
        let introduced = Introduced { node: from.node_id(), contact: None, keys: device.keys, record };
        (is_one_owner && stranger != self.id).then_some((stranger, claimed_name(&claim)?, introduced))
    }

    /// Takes who holds the name that a stranger gave. If it is not them, they are shown with their fingerprint.
    pub(super) fn handle_vouched(&mut self, stranger: UserId, outcome: &SearchOutcome, now: Now) {
        let Some(Introduction { name, device, waiting, unknown_count }) =
            self.introductions.remove(&stranger)
        else {
            return;
        };
        if let Some(known) = self.people.with_user(&stranger) {
            // Found meanwhile, because something was owed to them.
            self.admit(known, device, waiting, now);
            return;
        }
        let verdict = judge(&outcome.records, |_| true);
        if verdict == Verdict::Unknown && unknown_count + 1 < UNKNOWN_LIMIT {
            let again = Introduction { name, device, waiting, unknown_count: unknown_count + 1 };
            self.introductions.insert(stranger, again);
            let pause = FIRST_UNKNOWN_PAUSE.saturating_mul(1 << unknown_count);
            self.set_timer(now.instant + pause, Timer::Vouch(stranger));
            return;
        }
        let is_holder = matches!(verdict, Verdict::Held(key) if UserId::of(&key) == stranger);
        if is_holder {
            self.notice_holder(&name, stranger);
        }
        let exact = Recipient::exactly(name.clone(), &stranger);
        let is_free = |peer: &Recipient| {
            let known = self.people.named(&peer.to_string()).and_then(|id| self.people.get(id));
            known.is_none_or(|found| found.saved.user.is_none_or(|user| user == stranger))
        };
        let plain = Recipient::from(name);
        let peer = if is_holder && is_free(&plain) { plain } else { exact.clone() };
        if !is_free(&peer) {
            // Two people of one name whose fingerprints agree: 40 bits were forged. The first one met stays.
            waiting.into_iter().for_each(|tag| self.refuse(tag, DeliverRefusal::BadIntroduction));
            self.drop_letters((stranger, device.node));
            return;
        }
        // One that was added by its exact address goes by that.
        let unsettled = [&peer, &exact]
            .into_iter()
            .filter(|peer| is_free(peer))
            .find_map(|peer| self.people.named(&peer.to_string()));
        let conversation = unsettled.unwrap_or_else(|| self.people.add(&peer, Some(stranger)));
        self.note_request(conversation, now);
        self.note_checked(conversation, now);
        self.settle(conversation, stranger, now);
        self.admit(conversation, device, waiting, now);
    }

    /// Lets a device of a known person deliver, and uses it to pay what is owed to them.
    pub(super) fn admit(
        &mut self,
        conversation: ConversationId,
        device: Introduced,
        tags: Vec<RequestTag>,
        now: Now,
    ) {
        let Introduced { node, contact, keys, record } = device;
        let is_known = self.people.known_stream(conversation, node).is_some();
        let has_room = || {
            let is_undecided = self.people.relation(conversation).is_undecided();
            self.people.stream_count(conversation) < MAX_DEVICES_MET
                && (!is_undecided || self.people.has_room_for_strangers_device(0))
        };
        if !is_known && !has_room() {
            self.refused_request_count += 1;
            tags.into_iter().for_each(|tag| self.refuse(tag, DeliverRefusal::Busy));
            return;
        }
        let mut writes = Vec::new();
        let stream = self.people.stream(conversation, node);
        if !is_known || stream.identity != Some(keys.identity) {
            stream.identity = Some(keys.identity);
            writes.push(Write::Stream(stream.to_saved()));
        }
        if let Some(found) = self.people.get_mut(conversation) {
            found.keys.insert(node, keys);
        }
        self.people.hear(conversation, record);
        let reply = |to| Effect::Reply { to, response: ChatResponse::Introduced };
        self.save(writes, tags.into_iter().map(reply).collect());
        if let Some(contact) = contact {
            self.handle_shown_up(conversation, contact, now);
        }
        self.open_letters((conversation, node), now);
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
        let Delivery { from: writer, to, number, count, oldest, tag: message, envelope } = delivery;
        if to != self.id {
            self.refuse(tag, DeliverRefusal::NotHere);
            return;
        }
        let conversation = self.people.with_user(&writer);
        let is_blocked = conversation.is_some_and(|id| self.is_blocked(id));
        if let Some(id) = conversation.filter(|_| !is_blocked) {
            self.note_oldest(writer, (id, from.id()), oldest, now);
        }
        let limits = &self.config.limits;
        let can_hold = self.held_count < limits.held && self.held_len < limits.held_len;
        let stream = conversation.and_then(|id| self.people.known_stream(id, from.id()));
        let known = stream.and_then(|stream| stream.identity.map(|identity| (stream, identity)));
        let Some((conversation, (stream, identity))) = conversation.zip(known) else {
            self.refuse(tag, DeliverRefusal::UnknownSender);
            return;
        };
        let next = stream.next();
        if is_blocked {
            match stream.judge_envelope(number, count, message) {
                // What had arrived before they were blocked stays delivered.
                Arrival::Known => self.answer_delivery(tag, ChatResponse::Delivered { next }),
                Arrival::Passed => self.answer_delivery(tag, ChatResponse::OutOfStep { next }),
                Arrival::New | Arrival::OutOfStep => {
                    self.blocked_count += 1;
                    self.refuse(tag, DeliverRefusal::Blocked);
                }
            }
            return;
        }
        if !is_possible(number, count) || envelope.bytes.len() > MAX_ENVELOPE_LEN {
            self.malformed_count += 1;
            self.refuse(tag, DeliverRefusal::BadIntroduction);
            return;
        }
        match stream.judge_envelope(number, count, message) {
            Arrival::Known => self.answer_delivery(tag, ChatResponse::Delivered { next }),
            Arrival::OutOfStep | Arrival::Passed => {
                // Or the very message has come by mail, so long ago that its tag is forgotten.
                stream.owe_receipt(ReceiptVerdict::Delivered);
                self.answer_delivery(tag, ChatResponse::OutOfStep { next });
                self.owe_receipts_soon(now);
            }
            Arrival::New => {
                let before = (stream.held_count(), stream.held_len());
                stream.hold(number, oldest, Held { tag: message, count, envelope }, can_hold);
                let answer =
                    self.open_due((conversation, from.id()), identity, writer, (number, oldest), now);
                self.answer_delivery(tag, answer);
                self.recount_held((conversation, from.id()), before);
                // They may have waited for this one.
                self.open_letters((conversation, from.id()), now);
            }
        }
        self.handle_shown_up(conversation, from, now);
    }

    /// Counts anew what a stream holds, of which so many messages and bytes were counted before.
    pub(super) fn recount_held(&mut self, peer: Peer, (count_before, len_before): (usize, usize)) {
        let stream = self.people.known_stream(peer.0, peer.1);
        let (count, len) = stream.map_or((0, 0), |stream| (stream.held_count(), stream.held_len()));
        self.held_count = (self.held_count + count).saturating_sub(count_before);
        self.held_len = (self.held_len + len).saturating_sub(len_before);
    }

    /// Opens what is due of a stream now that a message has come, in the order of the numbers, and saves it together
    /// with what opened it. Returns the answer to that message.
    fn open_due(
        &mut self,
        peer: Peer,
        identity: IdentityKey,
        writer: UserId,
        (number, oldest): (u64, u64),
        now: Now,
    ) -> ChatResponse {
        let (mut writes, mut then, mut refusal, mut taken) = (Vec::new(), Vec::new(), None, None);
        let mut receipts = Vec::new();
        while let Some(stream) = self.people.known_stream(peer.0, peer.1) {
            let Some((due, held)) = stream.due(number, oldest).map(|(due, held)| (due, held.clone())) else {
                break;
            };
            // Numbered anew by a sender that has not heard that it has arrived.
            let is_taken = held.count == 1 && stream.has_taken(held.tag);
            let opened = if is_taken {
                stream.pass(&[(due, held.tag)]);
                Ok(())
            } else {
                let opened = self.open(peer, &identity, (writer, due), &held, now);
                let opened = opened.map_err(ChatResponse::NotDelivered);
                opened.and_then(|messages| self.take_opened(peer, writer, messages, &mut receipts, now)).map(
                    |(more, events)| {
                        writes.extend(more);
                        then.extend(events);
                    },
                )
            };
            if let Err(answer) = opened {
                refusal = (due == number).then_some(answer);
                self.forget_held(peer, due);
                if matches!(answer, ChatResponse::OutOfStep { .. })
                    && let Some(stream) = self.people.known_stream(peer.0, peer.1)
                {
                    // Or the very messages have come by mail, so long ago that their tags are forgotten.
                    stream.owe_receipt(ReceiptVerdict::Delivered);
                    self.owe_receipts_soon(now);
                }
                break;
            }
            let Some(stream) = self.people.known_stream(peer.0, peer.1) else { break };
            stream.drop_held(due);
            taken = Some(stream.to_saved());
        }
        writes.extend(taken.map(Write::Stream));
        writes.extend(self.sessions.take_writes());
        self.save(writes, then);
        receipts.iter().for_each(|receipt| self.handle_receipt(peer, receipt, now));
        self.owe_token_soon(peer, now);
        let next = self.people.known_stream(peer.0, peer.1).map_or(1, |stream| stream.next());
        refusal.unwrap_or(ChatResponse::Delivered { next })
    }

    /// Takes what was in one envelope, each message once, and returns what is to be saved and told of it; receipts are set
    /// aside. If another message has had one of the numbers, nothing of it is taken.
    pub(super) fn take_opened(
        &mut self,
        peer: Peer,
        writer: UserId,
        messages: Vec<Opened>,
        receipts: &mut Vec<Vec<u8>>,
        now: Now,
    ) -> Result<(Vec<Write>, Vec<Effect>), ChatResponse> {
        let (mut writes, mut then) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
        let Some(stream) = self.people.known_stream(peer.0, peer.1) else { return Ok((writes, then)) };
        let (id, next) = (stream.id, stream.next());
        let is_anothers = |arrival| matches!(arrival, Arrival::OutOfStep | Arrival::Passed);
        if messages.iter().any(|it| is_anothers(stream.judge(it.number, it.tag))) {
            return Err(ChatResponse::OutOfStep { next });
        }
        let mut passed = Vec::with_capacity(messages.len());
        for message in messages {
            let known = self.people.known_stream(peer.0, peer.1);
            let has_taken = known.is_some_and(|stream| stream.has_taken(message.tag));
            if message.number < next {
                continue;
            }
            passed.push((message.number, message.tag));
            if has_taken {
                continue;
            }
            if message.kind == ContentKind::RECEIPT {
                receipts.push(message.body);
            } else if !message.kind.is_notice() {
                let (message, event) = self.take_in(peer.0, id, writer, message, now);
                writes.push(Write::Message(message));
                then.extend(event.map(Effect::Tell));
            }
        }
        if let Some(stream) = self.people.known_stream(peer.0, peer.1) {
            stream.pass(&passed);
        }
        Ok((writes, then))
    }

    fn forget_held(&mut self, (conversation, device): Peer, number: u64) {
        if let Some(stream) = self.people.known_stream(conversation, device) {
            stream.drop_held(number);
        }
    }

    /// Answers once everything that the answer speaks of is on disk.
    fn answer_delivery(&mut self, to: RequestTag, response: ChatResponse) {
        self.save(Vec::new(), vec![Effect::Reply { to, response }]);
    }

    /// Gives a message its place in history. Of a kind that is not known here it is kept, and nobody is told.
    pub(super) fn take_in(
        &mut self,
        conversation: ConversationId,
        stream: StreamId,
        writer: UserId,
        opened: Opened,
        now: Now,
    ) -> (SavedMessage, Option<Event>) {
        let is_request = self.note_request(conversation, now);
        self.people.note_words(conversation, opened.body.len() + MESSAGE_OVERHEAD);
        let position = self.next_position();
        let from = self.people.get(conversation).map(|found| found.saved.peer.clone()).unwrap_or_default();
        let message = SavedMessage {
            position,
            conversation,
            stream,
            number: Some(opened.number),
            kind: opened.kind.0,
            body: opened.body,
            sent: opened.sent,
            received: now.wall,
            state: None,
            held_by: 0,
            expires: now.wall,
        };
        let event = received_event(self.message_id(position), (from, is_request), writer, &message);
        if event.is_some() {
            // What they were typing is this, or came after it and is told again.
            self.end_typing_of(conversation);
        }
        (message, event)
    }

    fn refuse(&mut self, tag: RequestTag, refusal: DeliverRefusal) {
        self.reply(tag, ChatResponse::NotDelivered(refusal));
    }
}

/// Returns what the application is told of a received message: nothing, unless it is text.
pub(crate) fn received_event(
    id: crate::event::MessageId,
    (from, is_request): (String, bool),
    user: UserId,
    message: &SavedMessage,
) -> Option<Event> {
    if message.kind != ContentKind::TEXT.0 {
        return None;
    }
    let text = std::str::from_utf8(&message.body).ok()?.to_owned();
    let (number, sent, received) = (message.number?, message.sent, message.received);
    Some(Event::Message(ReceivedMessage { id, from, user, text, is_request, number, sent, received }))
}
