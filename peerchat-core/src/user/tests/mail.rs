//! Mail between two people who are never there at the same time, with holders done by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::seq::SliceRandom;

use super::*;
use crate::event::MessageId;
use crate::mail::{
    Admission, EnvelopeId, MAX_LISTED, MAX_SMALL_LEN, MailRefusal, MailRequest, MailResponse, SealedEnvelope,
    Work, WorkId,
};
use crate::user::{COLLECT_INTERVAL, ContentKind, REDEPOSIT_INTERVAL};

mod admission;
mod people;

/// How many nodes keep mail.
const HOLDERS: u8 = 3;

#[test]
fn who_is_away_gets_the_message_and_the_answer_comes_back_the_same_way() {
    let mut town = Town::new();
    town.leave(BOB);
    let id = town.send(ALICE, "bob", "are you there?");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
    town.leave(ALICE);
    town.come(BOB);
    assert_eq!(town.texts(BOB), ["are you there?"]);
    assert!(town.kept.is_empty() || town.kept.values().all(|envelope| town.is_for(ALICE, envelope)));
    let answer = town.send(BOB, "alice", "I am now");
    assert_eq!(town.state(BOB, answer), Some((MessageState::Stored, u32::from(HOLDERS))));
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.texts(ALICE), ["I am now"]);
    assert_eq!(town.state(ALICE, id), Some((MessageState::Delivered, 0)));
    town.leave(ALICE);
    town.come(BOB);
    assert_eq!(town.state(BOB, answer), Some((MessageState::Delivered, 0)));
    assert_eq!((town.owed(ALICE), town.owed(BOB)), (0, 0), "no receipt is owed for a receipt");
    assert!(town.kept.is_empty(), "nothing is left with others");
}

#[test]
fn ten_thousand_messages_to_someone_away_open_once_and_in_order_however_they_are_handed_over() {
    const COUNT: usize = 10_000;
    let mut town = Town::new();
    town.leave(BOB);
    let texts: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    for text in &texts {
        town.send(ALICE, "bob", text);
    }
    assert_eq!(town.kept.len(), COUNT);
    town.leave(ALICE);
    town.is_shuffled = true;
    town.come(BOB);
    // Power cuts do not stop it.
    for _ in 0..5 {
        town.run(20_000);
        town.leave(BOB);
        town.come(BOB);
    }
    town.settle();
    assert!(town.texts(BOB).iter().map(String::as_str).eq(texts.iter().map(String::as_str)));
    assert!(town.kept.values().all(|envelope| town.is_for(ALICE, envelope)));
    assert!(town.fetch_count < 2 * COUNT, "{} bodies were fetched", town.fetch_count);
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.owed(ALICE), 0);
}

#[test]
fn a_holder_without_the_record_of_the_recipient_is_given_it() {
    let mut town = Town::new();
    town.leave(BOB);
    town.have_record.clear();
    let id = town.send(ALICE, "bob", "hello");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
    assert_eq!(town.have_record.len(), usize::from(HOLDERS));
}

#[test]
fn a_message_that_nobody_keeps_stays_queued_and_is_deposited_later() {
    let mut town = Town::new();
    town.leave(BOB);
    town.refusal = Some(MailRefusal::Full);
    let id = town.send(ALICE, "bob", "hello");
    assert_eq!(town.state(ALICE, id), None);
    town.refusal = None;
    town.pass(Duration::from_secs(10));
    assert_eq!(town.state(ALICE, id), Some((MessageState::Stored, u32::from(HOLDERS))));
}

#[test]
fn mail_that_was_listed_and_given_by_nobody_is_asked_for_again_soon() {
    let mut town = Town::new();
    town.leave(BOB);
    town.send(ALICE, "bob", "hello");
    town.leave(ALICE);
    town.is_giving_nothing = true;
    town.come(BOB);
    town.pass(Duration::from_secs(11));
    // At once, when the own record is stored, and after 10 s; each holder is asked each time.
    assert_eq!((town.texts(BOB), town.fetch_count), (vec![], 3 * usize::from(HOLDERS)));
    town.is_giving_nothing = false;
    town.pass(Duration::from_secs(20));
    assert_eq!(town.texts(BOB), ["hello"]);
}

/// It is not asked for each message, and is asked again another time.
#[test]
fn a_holder_without_room_is_left_out_and_the_others_keep_the_message() {
    let mut town = Town::new();
    town.leave(BOB);
    town.full.insert(holder(0).id());
    let ids: Vec<_> = (0..3).map(|number| town.send(ALICE, "bob", &format!("message {number}"))).collect();
    assert!(town.refused_count >= 1 && town.refused_count <= ids.len());
    for id in &ids {
        assert_eq!(town.state(ALICE, *id), Some((MessageState::Stored, u32::from(HOLDERS) - 1)));
    }
    town.full.clear();
    town.pass(REDEPOSIT_INTERVAL + Duration::from_secs(600));
    for id in &ids {
        assert_eq!(town.state(ALICE, *id), Some((MessageState::Stored, u32::from(HOLDERS))));
    }
}

#[test]
fn what_holders_have_lost_is_deposited_again_after_a_day() {
    let mut town = Town::new();
    town.leave(BOB);
    town.send(ALICE, "bob", "hello");
    town.kept.clear();
    town.pass(REDEPOSIT_INTERVAL + Duration::from_secs(600));
    assert_eq!(town.kept.len(), 1);
}

/// The receipt may have been lost, and nobody takes the same envelope again.
#[test]
fn what_was_released_and_not_acknowledged_comes_again_as_another_envelope_until_it_is() {
    let mut town = Town::new();
    town.leave(BOB);
    let id = town.send(ALICE, "bob", "hello");
    town.leave(ALICE);
    town.come(BOB);
    // The receipt is lost.
    town.kept.clear();
    town.leave(BOB);
    town.come(ALICE);
    town.pass(2 * REDEPOSIT_INTERVAL + Duration::from_secs(1200));
    assert_eq!(town.kept.len(), 1);
    town.leave(ALICE);
    town.come(BOB);
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.texts(BOB), ["hello"], "told once");
    assert_eq!(town.state(ALICE, id), Some((MessageState::Delivered, 0)));
}

#[test]
fn what_came_by_mail_and_directly_is_told_once() {
    let mut town = Town::new();
    town.leave(BOB);
    let ids = ["one", "two"].map(|text| town.send(ALICE, "bob", text));
    town.is_mail_slow = true;
    town.come(BOB);
    town.pass(Duration::from_secs(600));
    assert!(ids.iter().all(|id| town.state(ALICE, *id) == Some((MessageState::Delivered, 0))));
    town.is_mail_slow = false;
    town.pass(COLLECT_INTERVAL);
    assert_eq!(town.texts(BOB), ["one", "two"]);
    assert!(town.kept.is_empty());
}

#[test]
fn an_envelope_that_does_not_open_is_released_and_counted() {
    let mut town = Town::new();
    town.leave(BOB);
    town.send(ALICE, "bob", "hello");
    let (_, envelope) = town.kept.pop_first().unwrap();
    let mut bytes = envelope.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = SealedEnvelope::parse(&bytes).unwrap();
    town.kept.insert(forged.id(), forged);
    town.come(BOB);
    assert!(town.texts(BOB).is_empty() && town.kept.is_empty());
    assert_eq!(town.people[BOB].bench.user.dropped_mail_count(), 1);
}

/// Their sessions are lost, say, and not their keys.
#[test]
fn a_letter_that_its_session_does_not_open_is_sealed_anew() {
    let mut town = Town::new();
    let first = town.send(ALICE, "bob", "hello");
    assert_eq!(town.state(ALICE, first), Some((MessageState::Delivered, 0)));
    town.send(BOB, "alice", "hello to you");
    town.leave(BOB);
    town.people[BOB].saved.sessions.clear();
    let id = town.send(ALICE, "bob", "still there?");
    town.leave(ALICE);
    town.come(BOB);
    assert_eq!(town.texts(BOB), ["hello"]);
    town.leave(BOB);
    town.come(ALICE);
    town.pass(Duration::from_secs(60));
    town.leave(ALICE);
    town.come(BOB);
    assert_eq!(town.texts(BOB), ["hello", "still there?"]);
    town.leave(BOB);
    town.come(ALICE);
    assert_eq!(town.state(ALICE, id), Some((MessageState::Delivered, 0)));
}

#[test]
fn a_gap_waits_for_what_is_missing_across_a_restart() {
    let mut town = Town::new();
    town.leave(BOB);
    for text in ["one", "two", "three"] {
        town.send(ALICE, "bob", text);
    }
    town.leave(ALICE);
    // Envelopes do not say which is which: keep each back in turn.
    let all: Vec<EnvelopeId> = town.kept.keys().copied().collect();
    let back = town.kept.remove(&all[0]).unwrap();
    town.come(BOB);
    let before = town.texts(BOB).len();
    assert!(before < 3);
    town.leave(BOB);
    town.come(BOB);
    assert_eq!(town.texts(BOB).len(), before);
    town.kept.insert(back.id(), back);
    town.pass(COLLECT_INTERVAL + Duration::from_secs(60));
    assert_eq!(town.texts(BOB), ["one", "two", "three"]);
}

const ALICE: usize = 0;
const BOB: usize = 1;

/// Two people, those who keep mail, and a directory. Everything happens at once, unless it is held up.
struct Town {
    people: [Person; 2],
    now: Now,
    kept: BTreeMap<EnvelopeId, SealedEnvelope>,
    released: BTreeSet<EnvelopeId>,
    /// Which holders have the records of those whose mail they keep.
    have_record: BTreeSet<NodeId>,
    refusal: Option<MailRefusal>,
    /// Those who have no room.
    full: BTreeSet<NodeId>,
    /// How much work is asked of strangers.
    bits: u8,
    /// Who asks for work again, however much was done.
    insatiable: Option<NodeId>,
    /// Who takes no token.
    unbelieving: Option<NodeId>,
    /// What came with the envelopes.
    shown: Vec<Admission>,
    worked: Vec<Work>,
    is_work_in_vain: bool,
    /// Whether work takes until [`Town::finish_work`], and what is being done.
    is_work_slow: bool,
    working: Option<(usize, WorkId, Option<u64>)>,
    is_shuffled: bool,
    /// Whether holders list nothing.
    is_mail_slow: bool,
    /// Whether holders do not answer who asks for an envelope.
    is_giving_nothing: bool,
    fetch_count: usize,
    refused_count: usize,
    rng: ChaCha20Rng,
}

struct Person {
    name: &'static str,
    seed: u8,
    bench: Bench,
    saved: Saved,
    is_there: bool,
    events: Vec<Event>,
    actions: VecDeque<UserAction>,
    records: Vec<Record>,
    sends_read_receipts: bool,
    limits: std::sync::Arc<crate::limits::Limits>,
    /// Our own messages in state Delivered.
    delivered: Vec<SavedMessage>,
    /// The bodies of all receipts that were ever written to the disk.
    receipts: Vec<Vec<u8>>,
}

impl Town {
    fn new() -> Self {
        let people = [("alice", 1), ("bob", 2)].map(|(name, seed)| Person::new(name, seed));
        let now = people[0].bench.now;
        let mut town = Self {
            people,
            now,
            kept: BTreeMap::new(),
            released: BTreeSet::new(),
            have_record: (0..HOLDERS).map(|number| holder(number).id()).collect(),
            refusal: None,
            full: BTreeSet::new(),
            bits: 0,
            insatiable: None,
            unbelieving: None,
            shown: Vec::new(),
            worked: Vec::new(),
            is_work_in_vain: false,
            is_work_slow: false,
            working: None,
            is_shuffled: false,
            is_mail_slow: false,
            is_giving_nothing: false,
            fetch_count: 0,
            refused_count: 0,
            rng: ChaCha20Rng::seed_from_u64(3),
        };
        town.come(ALICE);
        town.come(BOB);
        town
    }

    fn leave(&mut self, who: usize) {
        self.settle();
        self.people[who].is_there = false;
    }

    /// Lets somebody come from the state that is on their disk.
    fn come(&mut self, who: usize) {
        let now = self.now;
        let person = &mut self.people[who];
        person.start(now);
        person.is_there = true;
        let address = person.address();
        person.bench.user.handle_addresses(&[address], now);
        person.bench.user.handle_online(now);
        self.settle();
    }

    fn send(&mut self, who: usize, to: &str, text: &str) -> MessageId {
        let now = self.now;
        let id = self.people[who].bench.user.send(&Recipient::parse(to).unwrap(), text, None, now).unwrap();
        self.settle();
        id
    }

    fn settle(&mut self) {
        self.run(usize::MAX);
    }

    /// Lets things happen, at most so many.
    fn run(&mut self, most: usize) {
        for _ in 0..most {
            if !(0..2).any(|who| self.step(who)) {
                return;
            }
        }
    }

    /// Lets time pass, and what becomes due happen.
    fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        loop {
            self.settle();
            let due = self.people.iter().filter(|person| person.is_there);
            let due = due.filter_map(|person| person.bench.user.poll_timeout()).map(|(at, _)| at).min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            let now = self.now;
            for person in self.people.iter_mut().filter(|person| person.is_there) {
                person.bench.user.handle_timeout(now);
            }
        }
        self.now = self.now.after(end.saturating_duration_since(self.now.instant));
    }

    /// Lets the work that is being done be done.
    fn finish_work(&mut self) {
        let (who, id, nonce) = self.working.take().expect("something is worked for");
        self.people[who].bench.user.handle_worked(id, nonce, self.now);
    }

    fn step(&mut self, who: usize) -> bool {
        let person = &mut self.people[who];
        if !person.is_there {
            return false;
        }
        while let Some(action) = person.bench.user.poll_action() {
            person.actions.push_back(action);
        }
        let Some(action) = person.actions.pop_front() else { return false };
        let now = self.now;
        match action {
            UserAction::Search { id, key, .. } => {
                let records = self.records_under(key);
                let outcome = SearchOutcome { answer_count: 3, records };
                self.people[who].bench.user.handle_search(id, outcome, now);
            }
            UserAction::FindNodes { id, .. } => {
                let nodes: Vec<Contact> = (0..HOLDERS).map(holder).collect();
                self.people[who].bench.user.handle_nodes(id, &nodes, now);
            }
            UserAction::Call { tag, to, request } => self.call(who, tag, to, request),
            UserAction::Mail { tag, to, request, is_answer_long } => {
                assert_eq!(is_answer_long, self.is_long(&request), "{request:?}");
                let is_unheard = self.is_giving_nothing && matches!(request, MailRequest::Fetch { .. });
                let response = self.ask_holder(who, to, request);
                let user = &mut self.people[who].bench.user;
                if is_unheard {
                    user.handle_mail_call_failed(tag, now);
                } else {
                    user.handle_mail_response(tag, response, now);
                }
            }
            UserAction::Work { id, work } => {
                self.worked.push(work);
                let nonce = work.search(|| !self.is_work_in_vain);
                assert!(self.working.replace((who, id, nonce)).is_none(), "one search at a time");
                if !self.is_work_slow {
                    self.finish_work();
                }
            }
            UserAction::Store { tag, to, .. } => {
                self.have_record.insert(to.id());
                self.people[who].bench.user.handle_stored(tag, true, now);
            }
            UserAction::Save { writes, then } => {
                self.people[who].write(writes);
                then.into_iter().for_each(|effect| self.apply(who, effect));
            }
            UserAction::Do(effect) => self.apply(who, effect),
        }
        true
    }

    fn apply(&mut self, who: usize, effect: Effect) {
        let now = self.now;
        let person = &mut self.people[who];
        match effect {
            Effect::Tell(event) => person.events.push(event),
            Effect::Sealed { conversation, seal } => {
                person.bench.user.handle_sealed(conversation, seal, now);
            }
            Effect::Collected { ids } => person.bench.user.handle_collected(ids, now),
            Effect::Publish(record) => {
                let key = record.header().key;
                person.records.retain(|other| other.header().key != key);
                person.records.push(record);
                person.bench.user.handle_published(key, (3, 3), &[], now);
            }
            Effect::LookForRead { conversation, after, up_to } => {
                let delivered = person.delivered(conversation, after, up_to);
                person.bench.user.handle_delivered(conversation, up_to, Some(delivered));
            }
            Effect::Reply { to, response } => person.bench.answers.push((to, response)),
            Effect::Saved { .. } | Effect::Decided { .. } | Effect::Found { .. } => {}
        }
    }

    fn records_under(&self, key: RecordKey) -> Vec<Record> {
        let all = self.people.iter().flat_map(|person| &person.records);
        all.filter(|record| record.header().key == key).cloned().collect()
    }

    /// Carries a call to the other person, if they are there.
    fn call(&mut self, who: usize, tag: CallTag, to: Contact, request: ChatRequest) {
        let (now, from) = (self.now, self.people[who].contact());
        let other = &mut self.people[1 - who];
        if !other.is_there || other.contact() != to {
            self.people[who].bench.user.handle_call_failed(tag, now);
            return;
        }
        let request_tag = RequestTag(tag.0);
        // Of an earlier run; what others wait for meanwhile stays.
        other.bench.answers.retain(|(to, _)| *to != request_tag);
        other.bench.user.handle_request(request_tag, from, request, now);
        // Until it is answered, the disk included.
        for _ in 0..1000 {
            let answer = self.people[1 - who].bench.answers.iter().find(|(to, _)| *to == request_tag);
            if let Some((_, response)) = answer.copied() {
                self.people[who].bench.user.handle_response(tag, response, now);
                return;
            }
            self.step(1 - who);
        }
        panic!("never answered");
    }

    /// Lets a holder judge what has come with an envelope.
    fn admit(&mut self, holder: NodeId, envelope: SealedEnvelope, shown: &Admission) -> MailResponse {
        let work = Work { envelope: envelope.id(), bits: self.bits };
        let is_believed = self.unbelieving != Some(holder);
        let is_enough = match shown {
            Admission::Token(_) if !is_believed => return MailResponse::Refused(MailRefusal::BadToken),
            Admission::Token(_) => true,
            Admission::Work(nonce) => work.is_done_by(*nonce) && self.insatiable != Some(holder),
            Admission::Nothing => self.bits == 0,
        };
        if !is_enough {
            return MailResponse::Refused(MailRefusal::WorkNeeded { bits: self.bits });
        }
        self.kept.insert(envelope.id(), envelope);
        MailResponse::Deposited
    }

    fn ask_holder(&mut self, who: usize, to: Contact, request: MailRequest) -> MailResponse {
        match request {
            MailRequest::Deposit { envelope } => {
                let (envelope, shown) = Admission::split(&envelope).unwrap();
                let envelope = SealedEnvelope::parse(envelope).unwrap();
                self.shown.push(shown.clone());
                if let Some(refusal) = self.refusal {
                    MailResponse::Refused(refusal)
                } else if envelope.header().expires <= self.now.wall {
                    MailResponse::Refused(MailRefusal::Invalid)
                } else if self.full.contains(&to.id()) {
                    self.refused_count += 1;
                    MailResponse::Refused(MailRefusal::Full)
                } else if !self.have_record.contains(&to.id()) {
                    MailResponse::Refused(MailRefusal::UnknownMailbox)
                } else if self.released.contains(&envelope.id()) {
                    MailResponse::Refused(MailRefusal::Gone)
                } else {
                    self.admit(to.id(), envelope, &shown)
                }
            }
            MailRequest::Collect { after, .. } => {
                let of = |envelope: &&SealedEnvelope| self.is_for(who, envelope) && !self.is_mail_slow;
                let start = usize::try_from(after).unwrap();
                let ids = self.kept.values().filter(of).map(SealedEnvelope::id);
                let mut ids: Vec<EnvelopeId> = ids.skip(start).take(MAX_LISTED).collect();
                let next = (ids.len() == MAX_LISTED).then_some(after + MAX_LISTED as u64);
                if self.is_shuffled {
                    ids.shuffle(&mut self.rng);
                }
                let is_large = |id| self.kept[id].as_bytes().len() > MAX_SMALL_LEN;
                let large = (0..).zip(&ids).filter(|(_, id)| is_large(*id));
                let large = large.fold(0, |set, (index, _)| set | 1 << index);
                MailResponse::Listed { ids, large, next }
            }
            MailRequest::Fetch { id, .. } => {
                self.fetch_count += 1;
                let kept = self.kept.get(&id).map(|envelope| envelope.as_bytes().to_vec());
                kept.map_or(MailResponse::Refused(MailRefusal::Gone), MailResponse::Fetched)
            }
            MailRequest::Release(release) => {
                assert!(release.is_signed());
                for id in release.ids {
                    self.kept.remove(&id);
                    self.released.insert(id);
                }
                MailResponse::Released
            }
            MailRequest::Waiting { .. } | MailRequest::Offer { .. } => panic!("only holders say so"),
        }
    }

    /// Tells whether the answer to a request fits no datagram, as whoever asks should know.
    fn is_long(&self, request: &MailRequest) -> bool {
        let MailRequest::Fetch { id, .. } = request else { return false };
        self.kept.get(id).is_some_and(|envelope| envelope.as_bytes().len() > MAX_SMALL_LEN)
    }

    fn is_for(&self, who: usize, envelope: &SealedEnvelope) -> bool {
        envelope.header().device == self.people[who].contact().id()
    }

    fn texts(&self, who: usize) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Message(message) => Some(message.text.clone()),
            _ => None,
        };
        self.people[who].events.iter().filter_map(text).collect()
    }

    fn state(&self, who: usize, message: MessageId) -> Option<(MessageState, u32)> {
        self.people[who].events.iter().rev().find_map(|event| match event {
            Event::MessageState { id, state, held_by, .. } if *id == message => Some((*state, *held_by)),
            _ => None,
        })
    }

    fn owed(&self, who: usize) -> usize {
        self.people[who].bench.user.outbox_count()
    }
}

fn holder(number: u8) -> Contact {
    Contact::new(NodeKey::from_bytes([100 + number; 32]), ([9, 9, 9, number], 9).into())
}

impl Person {
    fn new(name: &'static str, seed: u8) -> Self {
        let [node, key] = [seed, 10 + seed].map(|seed| SecretKey::from_bytes(&[seed; 32]));
        let saved = Saved::fresh(ProfileKeys { node, user: Some(key) });
        Self {
            name,
            seed,
            bench: Bench::new(),
            saved,
            is_there: false,
            events: Vec::new(),
            actions: VecDeque::new(),
            records: Vec::new(),
            sends_read_receipts: true,
            limits: crate::limits::Limits::shared(),
            delivered: Vec::new(),
            receipts: Vec::new(),
        }
    }

    fn delivered(&self, conversation: ConversationId, after: u64, up_to: u64) -> Vec<(u64, u64)> {
        let of = self.delivered.iter().filter(|message| message.conversation == conversation);
        let all = of.filter_map(|message| Some((message.number?, message.position)));
        let mut all: Vec<(u64, u64)> =
            all.filter(|(number, _)| (after + 1..=up_to).contains(number)).collect();
        all.sort_unstable();
        all
    }

    fn address(&self) -> SocketAddr {
        ([1, 2, 3, self.seed], 5).into()
    }

    fn contact(&self) -> Contact {
        Contact::new(NodeKey::from(self.saved.keys.node.public()), self.address())
    }

    /// Starts with what is on the disk; what was not written is lost.
    fn start(&mut self, now: Now) {
        let config = UserConfig {
            name: UserName::parse(self.name).unwrap(),
            family: AddressFamily::V4,
            message_lifetime: Duration::from_secs(30 * 24 * 3600),
            read_receipts: self.sends_read_receipts,
            limits: self.limits.clone(),
        };
        let mut saved = self.saved.clone();
        let cipher = match &saved.device {
            Some(device) => StandIn::restore(&device.state, now.wall.unix_ms()).unwrap(),
            None => StandIn::new(self.seed.into()),
        };
        let rng = ChaCha20Rng::seed_from_u64(self.seed.into());
        let key = saved.keys.user.clone().unwrap();
        let node = NodeKey::from(saved.keys.node.public());
        self.bench.user = User::new(config, key, node, Box::new(cipher), &mut saved, rng, now);
        self.actions.clear();
    }

    fn write(&mut self, writes: Vec<Write>) {
        let saved = &mut self.saved;
        for write in writes {
            match write {
                Write::Conversation(new) => put(&mut saved.conversations, new, |saved| saved.id),
                Write::Merged { from, into } => {
                    let moved = saved.outbox.iter_mut().filter(|message| message.conversation == from);
                    moved.for_each(|message| message.conversation = into);
                    saved.conversations.retain(|other| other.id != from);
                }
                Write::Stream(new) => put(&mut saved.streams, new, |saved| saved.id),
                Write::Session(new) => put(&mut saved.sessions, new, |saved| saved.id),
                Write::SessionGone { id } => saved.sessions.retain(|other| other.id != id),
                Write::Envelope(new) => put(&mut saved.envelopes, new, |saved| saved.position),
                Write::Incoming(new) => put(&mut saved.incoming, new, |saved| saved.id),
                Write::Token(new) => put(&mut saved.tokens, new, |saved| saved.conversation),
                Write::IncomingGone { id } => saved.incoming.retain(|other| other.id != id),
                Write::Device(device) => saved.device = Some(device),
                Write::OwnRecord { bytes } => {
                    let kind = |bytes: &Vec<u8>| Record::parse(bytes).unwrap().header().kind;
                    put(&mut saved.own_records, bytes, kind);
                }
                Write::Message(message) => {
                    if message.kind == ContentKind::RECEIPT.0 {
                        self.receipts.push(message.body.clone());
                    }
                    saved.last_position = saved.last_position.max(message.position);
                    if message.state.is_some() {
                        saved.outbox.push(message);
                        saved.outbox.sort_by_key(|message| message.position);
                    }
                }
                Write::MessageState { position, state: MessageState::Delivered } => {
                    let at = saved.outbox.iter().position(|other| other.position == position).unwrap();
                    let message = saved.outbox.remove(at);
                    saved.envelopes.retain(|other| other.position != position);
                    self.delivered.push(message);
                }
                Write::MessageVoid { position, state } => {
                    let message = saved.outbox.iter_mut().find(|other| other.position == position).unwrap();
                    message.state = Some(state);
                    saved.envelopes.retain(|other| other.position != position);
                }
                Write::MessageState { position, .. }
                | Write::VoidGone { position }
                | Write::MessageGone { position } => {
                    self.delivered.retain(|other| other.position != position);
                    saved.outbox.retain(|other| other.position != position);
                    saved.envelopes.retain(|other| other.position != position);
                }
                Write::MessageStored { position, held_by } => {
                    let message = saved.outbox.iter_mut().find(|other| other.position == position).unwrap();
                    (message.state, message.held_by) = (Some(MessageState::Stored), held_by);
                }
                Write::MessageNumber { position, conversation, number } => {
                    let message = saved.outbox.iter_mut().find(|other| other.position == position).unwrap();
                    (message.conversation, message.number) = (conversation, Some(number));
                }
                Write::Confirmed { .. }
                | Write::Record { .. }
                | Write::RecordGone { .. }
                | Write::Routing { .. }
                | Write::MailKept { .. }
                | Write::MailGone { .. }
                | Write::MailReleased(_)
                | Write::MailReleaseGone { .. } => {}
            }
        }
    }
}

/// Inserts or replaces a row.
fn put<T, K: PartialEq>(rows: &mut Vec<T>, new: T, key: impl Fn(&T) -> K) {
    match rows.iter_mut().find(|row| key(row) == key(&new)) {
        Some(row) => *row = new,
        None => rows.push(new),
    }
}
