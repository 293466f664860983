//! [`User`] beside a peer that does what no honest one would do, or at a time when none would.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::CallTag;
use super::chat::{ChatRequest, ChatResponse, Content, DeliverRefusal, Delivery};
use super::directory::{Device, conversation_of, sign_claim, sign_user};
use super::machine::{Effect, RequestTag, SearchId, SearchOutcome, User, UserAction, UserConfig};
use super::receiving::MAX_DEVICES_MET;
use crate::codec;
use crate::crypto::{DeviceCipher, DeviceKeys, Envelope, SealKeys, SessionCipher, StandIn};
use crate::event::{CommandId, Event, MessageState};
use crate::identity::{Recipient, SecretKey, UserId, UserName};
use crate::kademlia::{AddressFamily, Contact, NodeId, NodeKey, Record, RecordKey};
use crate::mail::MailRequest;
use crate::save::{
    ConversationId, ProfileKeys, Saved, SavedConversation, SavedMessage, SavedStream, StreamId, Write,
};
use crate::time::{Now, Timestamp};

mod batches;
mod contacts;
mod limits;
mod mail;
mod naming;
mod sealing;
mod typing;

/// A hostile peer need not stop before the numbers end.
#[test]
fn the_number_after_which_none_follows_is_refused() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    let answers = [0, 1].map(|_| bench.deliver(&bob, u64::MAX, u64::MAX));
    assert_eq!(answers, [ChatResponse::NotDelivered(DeliverRefusal::BadIntroduction); 2]);
    assert!(bench.messages().is_empty());
}

/// Two conversations with one person would number their messages apart: the later ones would pass for duplicates.
#[test]
fn who_is_found_while_their_own_name_is_looked_up_has_one_conversation() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    let exact = Recipient::exactly(UserName::parse("bob").unwrap(), &bob.id());
    bench.user.send(&exact, "hello", None, bench.now).unwrap();
    bench.drain();
    bench.introduce(&bob, bob.contact);
    let [resolve, vouch] = bench.take_searches()[..] else { panic!("one search each") };
    bench.answer_search(resolve, vec![bob.claim.clone()]);
    bench.answer_search(vouch, vec![bob.claim.clone()]);
    assert_eq!(bench.conversations_with(bob.id()), 1);
    assert_eq!(bench.deliver(&bob, 1, 1), ChatResponse::Delivered { next: 2 });
}

/// A later number first would tell the recipient that the earlier ones were given up.
#[test]
fn what_moved_between_conversations_is_sent_in_the_order_of_its_numbers_after_a_restart() {
    let bob = Peer::new(2, "bob");
    let owed = |position, number| SavedMessage {
        position,
        conversation: ConversationId(1),
        stream: StreamId::OWN,
        number: Some(number),
        kind: 1,
        body: vec![b'x'],
        sent: NOW,
        received: NOW,
        state: Some(MessageState::Queued),
        expires: NOW.saturating_add(Duration::from_secs(60)),
        held_by: 0,
    };
    let known = SavedConversation {
        next_number: 4,
        ..SavedConversation::fresh(ConversationId(1), "bob".into(), Some(bob.id()))
    };
    let mut bench = Bench::with(|saved| {
        saved.conversations = vec![known];
        saved.outbox = vec![owed(3, 3), owed(5, 1), owed(6, 2)];
        saved.last_position = 6;
    });
    bench.meet(&bob);
    let sent: Vec<_> = bench.take_deliveries().iter().map(|(_, d)| (d.number, d.count, d.oldest)).collect();
    assert_eq!(sent, [(1, 3, 1)]);
}

/// After a crash the numbers would go to other messages.
#[test]
fn nothing_is_sent_before_its_number_is_on_disk() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.is_disk_slow = true;
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.drain();
    bench.introduce(&bob, bob.contact);
    let [_, vouch] = bench.take_searches()[..] else { panic!("one search each") };
    bench.answer_search(vouch, vec![bob.claim.clone()]);
    // The message itself is on disk by now; its number is not yet.
    bench.finish_writes(1);
    assert!(bench.take_deliveries().is_empty());
    bench.finish_writes(9);
    assert_eq!(bench.take_deliveries().len(), 1);
}

/// The directory may not have their claim yet, or no longer.
#[test]
fn who_introduces_themselves_is_known_whatever_the_directory_says() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.drain();
    bench.introduce(&bob, bob.contact);
    let [resolve, vouch] = bench.take_searches()[..] else { panic!("one search each") };
    bench.answer_search(vouch, vec![bob.claim.clone()]);
    assert_eq!(bench.take_deliveries().len(), 1, "nothing waits for the other search");
    bench.answer_search(resolve, vec![]);
    assert_eq!(bench.take_deliveries().len(), 0);
    assert_eq!(bench.user.outbox_count(), 1);
}

/// Whoever writes the moment they have joined may be faster than their claim.
#[test]
fn a_stranger_whose_name_is_being_registered_is_waited_for_and_one_whose_is_not_only_for_a_while() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    assert_eq!(bench.introduce(&bob, bob.contact), None);
    let look = |bench: &mut Bench, found: Vec<Record>| {
        let [vouch] = bench.take_searches()[..] else { panic!("one search") };
        bench.answer_search(vouch, found);
        bench.now = bench.now.after(Duration::from_secs(1));
        bench.user.handle_timeout(bench.now);
        bench.drain();
    };
    look(&mut bench, vec![]);
    look(&mut bench, vec![bob.claim.clone()]);
    assert!(bench.take_searches().is_empty());
    assert!(bench.user.people.named("bob").is_some());

    let carol = Peer::new(3, "carol");
    assert_eq!(bench.introduce(&carol, carol.contact), None);
    (0..4).for_each(|_| look(&mut bench, vec![]));
    assert!(bench.take_searches().is_empty());
    assert!(bench.user.people.named("carol").is_none());
    let exact = Recipient::exactly("carol".parse().unwrap(), &UserId::of(&carol.key.public())).to_string();
    assert!(bench.user.people.named(&exact).is_some());
}

#[test]
fn a_recipient_who_never_knows_the_sender_is_not_asked_again_and_again() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.publish();
    bench.meet(&bob);
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.drain();
    for _ in 0..10 {
        for (tag, request) in bench.take_calls() {
            let response = match request {
                ChatRequest::Deliver(_) => ChatResponse::NotDelivered(DeliverRefusal::UnknownSender),
                ChatRequest::Introduce { .. } => ChatResponse::Introduced,
                ChatRequest::Hint(_) => ChatResponse::Heard,
            };
            bench.respond(tag, response);
        }
    }
    assert_eq!(bench.call_count, 2, "introduce, deliver, and then a pause");
}

#[test]
fn an_answer_of_the_wrong_kind_does_not_hold_a_sender_up() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.drain();
    let (tag, _) = bench.take_calls().remove(0);
    bench.respond(tag, ChatResponse::Introduced);
    assert_eq!(bench.take_searches().len(), 1, "their devices are looked up");
}

#[test]
fn a_failed_call_does_not_cost_the_contact_where_the_recipient_has_shown_up_since() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
    bench.drain();
    let (tag, _) = bench.take_calls().remove(0);
    let moved = Contact::new(bob.contact.key(), "1.2.3.9:9".parse().unwrap());
    bench.introduce(&bob, moved);
    bench.user.handle_call_failed(tag, bench.now);
    bench.drain();
    let (_, to) = bench.call_targets.last().copied().unwrap();
    assert_eq!(to, moved);
}

#[test]
fn one_person_does_not_fill_the_disk_with_devices() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    let introduced = (0..200_u8).filter(|seed| {
        let device = bob.on_device(100 + u16::from(*seed));
        bench.introduce(&device, device.contact) == Some(ChatResponse::Introduced)
    });
    assert_eq!(introduced.count(), MAX_DEVICES_MET - 1);
    assert_eq!(bench.introduce(&bob, bob.contact), Some(ChatResponse::Introduced), "a known one still may");
}

#[test]
fn a_name_that_few_of_the_nodes_asked_have_taken_is_not_registered_yet() {
    let mut bench = Bench::new();
    bench.publish();
    let key = RecordKey::of_name("alice");
    bench.user.handle_published(key, (1, 5), &[], bench.now);
    bench.drain();
    assert_eq!(bench.events, []);
    let (again, _) = bench.user.poll_timeout().unwrap();
    assert!(again <= bench.now.instant + Duration::from_secs(5));
    bench.user.handle_published(key, (3, 5), &[], bench.now);
    bench.drain();
    assert!(matches!(bench.events[..], [Event::Registered { .. }]));
}

#[test]
fn messages_delivered_one_by_one_leave_no_timers_behind() {
    let mut bench = Bench::new();
    let bob = Peer::new(2, "bob");
    bench.meet(&bob);
    for number in 1..=20 {
        bench.user.send(&Recipient::parse("bob").unwrap(), "hello", None, bench.now).unwrap();
        bench.drain();
        let (tag, _) = bench.take_calls().remove(0);
        bench.respond(tag, ChatResponse::Delivered { next: number + 1 });
    }
    assert_eq!(bench.user.outbox_count(), 0);
    // Whoever is a contact now gets a token, once.
    bench.now = bench.now.after(super::TOKEN_DELAY);
    bench.user.handle_timeout(bench.now);
    bench.drain();
    let (tag, _) = bench.take_calls().remove(0);
    bench.respond(tag, ChatResponse::Delivered { next: 22 });
    assert_eq!(bench.user.outbox_count(), 0);
    assert_eq!(bench.user.poll_timeout(), None);
}

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

/// A person, as far as their records and their device go.
struct Peer {
    key: SecretKey,
    contact: Contact,
    claim: Record,
    record: Record,
    cipher: RefCell<StandIn>,
    /// The session that their device has with Alice's.
    session: RefCell<Option<Box<dyn SessionCipher>>>,
}

impl Peer {
    fn new(seed: u8, name: &str) -> Self {
        let key = SecretKey::from_bytes(&[seed; 32]);
        let claim = sign_claim(&key, &UserName::parse(name).unwrap(), None, NOW).unwrap();
        Self::with_device(key, claim, 1)
    }

    fn with_device(key: SecretKey, claim: Record, device: u16) -> Self {
        Self::with_keys(key, claim, device, device.into())
    }

    fn with_keys(key: SecretKey, claim: Record, device: u16, seed: u64) -> Self {
        let mut secret = [9; 32];
        secret[..2].copy_from_slice(&device.to_be_bytes());
        let node = NodeKey::from(SecretKey::from_bytes(&secret).public());
        let address = SocketAddr::from(([1, 2, 3, 4], 5));
        let mut cipher = StandIn::new(seed);
        let mut seals = SealKeys::default();
        seals.rotate(&secret, NOW);
        let (prekey, seal) = (cipher.add_prekey(), seals.current().unwrap());
        let keys = DeviceKeys { identity: cipher.identity(), prekey, seal };
        let record =
            sign_user(&key, vec![Device { node, addresses: vec![address], keys }], None, NOW).unwrap();
        let (cipher, session) = (RefCell::new(cipher), RefCell::new(None));
        let contact = Contact::new(node, address);
        Self { key, contact, claim, record, cipher, session }
    }

    /// Seals a message for a device, in the session with it or in a new one.
    fn seal(&self, content: &Content, to: &DeviceKeys) -> Envelope {
        let mut session = self.session.borrow_mut();
        let session = session.get_or_insert_with(|| self.cipher.borrow_mut().start(to).unwrap());
        session.seal(&codec::encode(content)).unwrap()
    }

    /// Opens a first envelope of Alice's.
    fn accept(&self, alice: &DeviceKeys, envelope: &Envelope) -> Content {
        let first = self.cipher.borrow().accept(&alice.identity, envelope).unwrap();
        *self.session.borrow_mut() = Some(first.session);
        codec::decode(&first.opened).unwrap()
    }

    /// Opens an envelope in the session with Alice.
    fn open(&self, envelope: &Envelope) -> Content {
        let opened = self.session.borrow_mut().as_mut().unwrap().open(envelope).unwrap();
        codec::decode(&opened).unwrap()
    }

    fn on_device(&self, device: u16) -> Self {
        Self::with_device(self.key.clone(), self.claim.clone(), device)
    }

    fn id(&self) -> UserId {
        UserId::of(&self.key.public())
    }
}

/// Alice, with everything around her done by hand.
struct Bench {
    user: User,
    now: Now,
    last_request: u64,
    /// Whether what is saved waits for [`Self::finish_writes`].
    is_disk_slow: bool,
    writing: Vec<(Vec<Write>, Vec<Effect>)>,
    written: Vec<Write>,
    published: Vec<Record>,
    searches: Vec<SearchId>,
    calls: Vec<(CallTag, ChatRequest)>,
    call_targets: Vec<(CallTag, Contact)>,
    node_searches: Vec<(SearchId, NodeId)>,
    mail_calls: Vec<(CallTag, Contact, MailRequest)>,
    stores: Vec<(CallTag, Contact, Record)>,
    call_count: usize,
    answers: Vec<(RequestTag, ChatResponse)>,
    events: Vec<Event>,
    decided: Vec<CommandId>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    #[expect(clippy::disallowed_methods, reason = "only differences matter")]
    fn with(prepare: impl FnOnce(&mut Saved)) -> Self {
        let now = Now { instant: Instant::now(), wall: NOW };
        let [node, key] = [[7; 32], [1; 32]].map(|secret| SecretKey::from_bytes(&secret));
        let mut saved = Saved::fresh(ProfileKeys { node: node.clone(), user: Some(key.clone()) });
        prepare(&mut saved);
        let config = UserConfig {
            name: UserName::parse("alice").unwrap(),
            family: AddressFamily::V4,
            message_lifetime: Duration::from_secs(2 * 24 * 3600),
            read_receipts: true,
            limits: crate::limits::Limits::shared(),
        };
        let rng = ChaCha20Rng::seed_from_u64(1);
        let user = User::new(
            config,
            key,
            NodeKey::from(node.public()),
            Box::new(StandIn::new(77)),
            &mut saved,
            rng,
            now,
        );
        let mut bench = Self {
            user,
            now,
            last_request: 0,
            is_disk_slow: false,
            writing: Vec::new(),
            written: Vec::new(),
            published: Vec::new(),
            searches: Vec::new(),
            calls: Vec::new(),
            call_targets: Vec::new(),
            node_searches: Vec::new(),
            mail_calls: Vec::new(),
            stores: Vec::new(),
            call_count: 0,
            answers: Vec::new(),
            events: Vec::new(),
            decided: Vec::new(),
        };
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while let Some(action) = self.user.poll_action() {
            match action {
                UserAction::Search { id, .. } => self.searches.push(id),
                UserAction::FindNodes { id, place } => self.node_searches.push((id, place)),
                UserAction::Mail { tag, to, request, .. } => self.mail_calls.push((tag, to, request)),
                UserAction::Work { .. } => panic!("nobody asks for work"),
                UserAction::Store { tag, to, record } => self.stores.push((tag, to, record)),
                UserAction::Call { tag, to, request } => {
                    self.call_count += 1;
                    self.call_targets.push((tag, to));
                    self.calls.push((tag, request));
                }
                UserAction::Save { writes, then } => {
                    self.writing.push((writes, then));
                    if !self.is_disk_slow {
                        self.finish_writes(1);
                    }
                }
                UserAction::Do(effect) => self.apply(effect),
            }
        }
    }

    /// Lets the next writes be on disk, at most `count`.
    fn finish_writes(&mut self, count: usize) {
        for _ in 0..count.min(self.writing.len()) {
            let (writes, then) = self.writing.remove(0);
            self.written.extend(writes);
            then.into_iter().for_each(|effect| self.apply(effect));
        }
        self.drain();
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Tell(event) => self.events.push(event),
            Effect::Reply { to, response } => self.answers.push((to, response)),
            Effect::Sealed { conversation, seal } => self.user.handle_sealed(conversation, seal, self.now),
            Effect::Collected { ids } => self.user.handle_collected(ids, self.now),
            Effect::Publish(record) => self.published.push(record),
            Effect::LookForRead { conversation, up_to, .. } => {
                self.user.handle_delivered(conversation, up_to, Some(Vec::new()));
            }
            Effect::Decided { command } => self.decided.push(command),
            Effect::Saved { .. } | Effect::Found { .. } => {}
        }
    }

    fn request(&mut self, from: Contact, request: ChatRequest) -> Option<ChatResponse> {
        self.last_request += 1;
        let tag = RequestTag(self.last_request);
        self.user.handle_request(tag, from, request, self.now);
        self.drain();
        self.answers.iter().find(|(to, _)| *to == tag).map(|(_, response)| *response)
    }

    fn introduce(&mut self, peer: &Peer, from: Contact) -> Option<ChatResponse> {
        let (claim, user) = (peer.claim.as_bytes().to_vec(), peer.record.as_bytes().to_vec());
        self.request(from, ChatRequest::Introduce { claim, user })
    }

    /// Lets a peer introduce themselves, with nobody else claiming their name.
    fn meet(&mut self, peer: &Peer) {
        self.introduce(peer, peer.contact);
        for search in self.take_searches() {
            self.answer_search(search, vec![peer.claim.clone()]);
        }
    }

    fn deliver(&mut self, peer: &Peer, number: u64, oldest: u64) -> ChatResponse {
        let delivery = self.delivery(peer, number, oldest);
        self.hand_over(peer, delivery)
    }

    #[track_caller]
    fn hand_over(&mut self, peer: &Peer, delivery: Delivery) -> ChatResponse {
        self.request(peer.contact, ChatRequest::Deliver(delivery)).expect("an answer")
    }

    /// Seals a message of a peer whose text is its number.
    fn delivery(&mut self, peer: &Peer, number: u64, oldest: u64) -> Delivery {
        let (from, to) = (peer.id(), self.user.id());
        let (conversation, body) = (conversation_of(&to, &from), number.to_string().into_bytes());
        let content = Content { conversation, number, kind: 1, sent: NOW, body };
        let envelope = peer.seal(&content, &self.keys());
        Delivery { from, to, number, count: 1, oldest, tag: number.wrapping_mul(2), envelope }
    }

    /// Returns the public keys of Alice's device.
    fn keys(&mut self) -> DeviceKeys {
        self.user.sessions.rotate(&[6; 32], NOW)
    }

    fn answer_search(&mut self, id: SearchId, records: Vec<Record>) {
        let outcome = SearchOutcome { answer_count: records.len(), records };
        self.user.handle_search(id, outcome, self.now);
        self.drain();
    }

    fn respond(&mut self, tag: CallTag, response: ChatResponse) {
        self.user.handle_response(tag, response, self.now);
        self.drain();
    }

    /// Gives Alice an address, so that she has records to introduce herself with.
    fn publish(&mut self) {
        self.user.handle_online(self.now);
        self.user.handle_addresses(&["1.2.3.4:1".parse().unwrap()], self.now);
        self.drain();
    }

    fn take_searches(&mut self) -> Vec<SearchId> {
        std::mem::take(&mut self.searches)
    }

    fn take_calls(&mut self) -> Vec<(CallTag, ChatRequest)> {
        std::mem::take(&mut self.calls)
    }

    fn take_deliveries(&mut self) -> Vec<(CallTag, Delivery)> {
        let delivery = |(tag, request)| match request {
            ChatRequest::Deliver(delivery) => Some((tag, delivery)),
            ChatRequest::Introduce { .. } | ChatRequest::Hint(_) => None,
        };
        self.take_calls().into_iter().filter_map(delivery).collect()
    }

    fn messages(&self) -> Vec<&SavedMessage> {
        let message = |write: &Write| matches!(write, Write::Message(_));
        let messages = self.written.iter().filter(|write| message(write));
        messages
            .filter_map(|write| if let Write::Message(saved) = write { Some(saved) } else { None })
            .collect()
    }

    /// Counts the conversations that were saved with this person.
    fn conversations_with(&self, user: UserId) -> usize {
        let id = |write: &Write| match write {
            Write::Conversation(saved) if saved.user == Some(user) => Some(saved.id),
            _ => None,
        };
        self.written.iter().filter_map(id).collect::<std::collections::BTreeSet<_>>().len()
    }
}
