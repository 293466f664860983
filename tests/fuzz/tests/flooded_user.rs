//! What a node with a user takes of memory when strangers send the user everything that they can, counted by the allocator.

use std::time::{Duration, Instant};

use peerchat_core::crypto::{DeviceCipher as _, DeviceKeys, Envelope, EnvelopeKind, Olm, SessionCipher};
use peerchat_core::engine::{Engine, EngineCall, EngineConfig};
use peerchat_core::fuzzing;
use peerchat_core::identity::{SecretKey, UserId, UserName};
use peerchat_core::kademlia::{AddressFamily, Contact, K, NodeKey, RecordKey, Rpc, RpcReply, Serve};
use peerchat_core::mail::{
    EnvelopeHeader, EnvelopeId, Introduction, Letter, MAX_LISTED, MailRequest, MailResponse, SealedEnvelope,
};
use peerchat_core::save::{ProfileKeys, Saved, Write};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::{CallId, ReplyToken};
use peerchat_core::user::{
    ChatRequest, Content, ContentKind, Delivery, Device, KEPT_TAGS, MAX_BATCH, MAX_HELD, MAX_SESSIONS,
};
use peerchat_core::wire::{Request, Response};
use peerchat_core::{Config, Event, MAX_TEXT_LEN, crypto::MAX_SKIPPED_KEYS};
use peerchat_sim::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MEMORY_LIMIT: u64 = 40 << 20;

/// Those who begin sessions; the others send what waits.
const WRITERS: usize = 4;

/// How many nodes are near the user.
const HOLDERS: u64 = 4;

fn secret(kind: u8, number: u64) -> SecretKey {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_bytes(&bytes)
}

/// A node in a network of its own.
fn contact(kind: u8, number: u64) -> Contact {
    let [.., high, low] = number.to_be_bytes();
    Contact::new(secret(kind, number).public().into(), ([20 + kind, high, low, 1], 4000).into())
}

/// A contact of a node that is none.
fn nobody(number: u64) -> Contact {
    let mut key = [5; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    let [.., high, low] = number.to_be_bytes();
    Contact::new(NodeKey::from_bytes(key), ([30, high, low, 1], 4000).into())
}

/// Somebody whom the user does not know.
struct Stranger {
    number: u64,
    id: UserId,
    cipher: Olm,
    introduction: Introduction,
}

impl Stranger {
    fn new(number: u64, now: Now) -> Self {
        let key = secret(1, number);
        let mut cipher = Olm::restore(None).unwrap();
        let keys = |cipher: &mut Olm, seal| DeviceKeys {
            identity: cipher.identity(),
            prekey: cipher.add_prekey(),
            seal,
        };
        let (node, seal) = (contact(2, number), peerchat_core::crypto::SealKey([9; 32]));
        // As many devices as a record may list.
        let devices = (0..4).map(|other| Device {
            node: if other == 0 { node.key() } else { contact(3, number * 4 + other).key() },
            addresses: vec![node.address(), "[2001:db8::1]:4000".parse().unwrap()],
            keys: keys(&mut cipher, seal),
        });
        let user = fuzzing::sign_user(&key, devices.collect(), now.wall).unwrap();
        let name = UserName::parse(&format!("a-stranger-with-a-long-name-{number:04}")).unwrap();
        let claim = fuzzing::sign_claim(&key, &name, now.wall).unwrap();
        let introduction = Introduction { claim: claim.as_bytes().to_vec(), user: user.as_bytes().to_vec() };
        Self { number, id: UserId::of(&key.public()), cipher, introduction }
    }
}

/// A request in the form in which it comes.
struct Sent {
    from: Contact,
    kind: u8,
    body: Vec<u8>,
}

impl Sent {
    fn by(from: &Stranger, request: ChatRequest) -> Self {
        let encoded = Request::Chat(request).encode();
        Self { from: contact(2, from.number), kind: encoded.kind, body: encoded.body }
    }
}

/// Whom everything is sent to.
struct Target {
    user: UserId,
    node: NodeKey,
    keys: DeviceKeys,
}

impl Target {
    fn introduce(&self, stranger: &Stranger) -> Sent {
        let Introduction { claim, user } = stranger.introduction.clone();
        Sent::by(stranger, ChatRequest::Introduce { claim, user })
    }

    fn deliver(&self, stranger: &Stranger, (number, count): (u64, u64), envelope: Envelope) -> Sent {
        let (from, to, tag) = (stranger.id, self.user, tag_of(number));
        let delivery = Delivery { from, to, number, count, oldest: 1, tag, envelope };
        Sent::by(stranger, ChatRequest::Deliver(delivery))
    }

    fn seal(
        &self,
        stranger: &Stranger,
        session: &mut dyn SessionCipher,
        (number, kind): (u64, ContentKind),
        body: Vec<u8>,
    ) -> Envelope {
        let conversation = fuzzing::conversation_of(&self.user, &stranger.id);
        let sent = Timestamp::from_unix_ms(1);
        let content = Content { conversation, number, kind: kind.0, sent, body };
        session.seal(&fuzzing::encode_content(&content)).unwrap()
    }

    /// As many sessions as one device may have, each with as many keys of messages that never come as it keeps in a chain,
    /// and in each a batch; then the longest texts.
    fn write(&self, stranger: &mut Stranger, texts: usize) -> (Vec<Sent>, Vec<Sent>) {
        let (mut batches, mut number) = (Vec::new(), 1);
        let mut last = None;
        for _ in 0..MAX_SESSIONS {
            let mut session = stranger.cipher.start(&self.keys).unwrap();
            (0..MAX_SKIPPED_KEYS).for_each(|_| _ = session.seal(b"never comes").unwrap());
            let texts: Vec<_> =
                (number..number + MAX_BATCH).map(|number| (tag_of(number), "hello")).collect();
            let body = fuzzing::batch_body(&texts);
            let envelope = self.seal(stranger, &mut *session, (number, ContentKind::BATCH), body);
            batches.push(self.deliver(stranger, (number, MAX_BATCH), envelope));
            number += MAX_BATCH;
            last = Some(session);
        }
        let mut session = last.unwrap();
        let texts = (number..).take(texts).map(|number| {
            let body = vec![b'x'; MAX_TEXT_LEN];
            let envelope = self.seal(stranger, &mut *session, (number, ContentKind::TEXT), body);
            self.deliver(stranger, (number, 1), envelope)
        });
        let texts = texts.collect();
        (batches, texts)
    }

    /// What waits for the first message, which never comes.
    fn ahead(&self, stranger: &Stranger, len: usize) -> Vec<Sent> {
        let junk = || Envelope { kind: EnvelopeKind::Later, bytes: vec![7; len] };
        (2..2 + MAX_HELD as u64).map(|number| self.deliver(stranger, (number, 1), junk())).collect()
    }

    fn letter(&self, stranger: &Stranger, number: u64, len: usize) -> SealedEnvelope {
        let node = secret(2, stranger.number);
        let letter = Letter {
            from: stranger.id,
            device: node.public().into(),
            number,
            count: 1,
            oldest: 1,
            tag: tag_of(number),
            envelope: Envelope { kind: EnvelopeKind::Later, bytes: vec![7; len] },
            introduction: Some(stranger.introduction.clone()),
        };
        let header = EnvelopeHeader {
            mailbox: RecordKey::of_user(self.user.as_bytes()),
            device: self.node.node_id(),
            expires: Timestamp::from_unix_ms(1_800_000_000_000 + 3_600_000),
        };
        letter.seal(&header, &self.keys.seal, &node, (&[4; 32], 0)).unwrap()
    }
}

const fn tag_of(number: u64) -> u64 {
    // An odd one is of nothing in the place of a message.
    2 * (number + 1_000_000)
}

/// The user's node, without the loop around it.
struct Flooded {
    engine: Engine,
    now: Now,
    last_token: u64,
    holders: Vec<Contact>,
    is_disk_stuck: bool,
    /// Calls that are not answered.
    is_silent: bool,
    unanswered: Vec<CallId>,
    mail: Vec<SealedEnvelope>,
    /// Whether it is listed, and with it what nobody will give.
    has_mail: bool,
    /// What the application would have in its queue: it takes nothing.
    events: Vec<Event>,
    most_events: usize,
}

impl Flooded {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time needs a first instant; only differences matter"
    )]
    fn new(config: &Config) -> (Self, Target) {
        let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_800_000_000_000) };
        let (node, user) = (secret(0, 0), secret(0, 1));
        let cipher = Olm::restore(None).unwrap();
        let identity = cipher.identity();
        let engine_config =
            EngineConfig { serve: Serve::Always, ..EngineConfig::of(config, AddressFamily::V4) };
        let target = (UserId::of(&user.public()), NodeKey::from(node.public()));
        let saved = Saved::fresh(ProfileKeys { node, user: Some(user) });
        let engine = Engine::new(engine_config, saved, Some(Box::new(cipher)), [2; 32], now);
        let messages = config.limits().get("event_messages").unwrap();
        let mut flooded = Self {
            engine,
            now,
            last_token: 0,
            holders: (0..HOLDERS).map(|number| contact(4, number)).collect(),
            is_disk_stuck: false,
            is_silent: false,
            unanswered: Vec::new(),
            mail: Vec::new(),
            has_mail: false,
            events: Vec::new(),
            most_events: messages + messages / 2,
        };
        let batch = flooded.engine.poll_write().unwrap();
        let keys = batch.writes.iter().find_map(|write| match write {
            Write::Device(saved) => Some(DeviceKeys {
                identity,
                prekey: saved.prekeys.current().unwrap(),
                seal: saved.seals.current().unwrap(),
            }),
            _ => None,
        });
        flooded.engine.handle_written(batch.id, now);
        let target = Target { user: target.0, node: target.1, keys: keys.unwrap() };
        for holder in flooded.holders.clone() {
            let hello =
                Rpc::FindNode { target: target.node.node_id(), family: AddressFamily::V4, serves: true };
            flooded.take(holder, Request::Dht(hello));
        }
        flooded.settle();
        (flooded, target)
    }

    fn take(&mut self, from: Contact, request: Request) {
        self.last_token += 1;
        let token = ReplyToken::for_simulation(self.last_token);
        self.engine.handle_request(from, true, token, request, self.now);
    }

    fn ask(&mut self, sent: &Sent) {
        self.take(sent.from, Request::decode(sent.kind, &sent.body).expect("it is a request"));
        self.settle();
    }

    fn settle(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            while let Some(batch) = (!self.is_disk_stuck).then(|| self.engine.poll_write()).flatten() {
                self.engine.handle_written(batch.id, self.now);
                is_quiet = false;
            }
            while self.engine.poll_reply().is_some() {}
            while let Some(event) = self.engine.poll_event() {
                if matches!(event, Event::Message(_)) && self.events.len() < self.most_events {
                    self.events.push(event);
                }
            }
            while let Some(call) = self.engine.poll_call() {
                self.answer(call);
                is_quiet = false;
            }
        }
    }

    /// Holders name nodes that are none, and what waits with them; nobody else answers.
    fn answer(&mut self, call: EngineCall) {
        let is_holder = self.holders.contains(&call.to);
        let response = match call.request {
            Request::Dht(Rpc::FindNode { .. } | Rpc::FindValue { .. }) if is_holder => {
                // Somebody new each time would make a lookup that nobody ends by staying silent go on for ever.
                let count = if self.is_silent { K as u64 } else { 0 };
                let others = (0..count).map(|other| nobody(call.id.0 % 1000 * K as u64 + other));
                Some(Response::Dht(RpcReply::Nodes(others.collect())))
            }
            Request::Mail(MailRequest::Collect { .. }) if !self.has_mail => {
                Some(Response::Mail(MailResponse::Listed { ids: Vec::new(), large: 0, next: None }))
            }
            Request::Mail(MailRequest::Collect { after, .. }) => {
                let ids = (after..after + MAX_LISTED as u64).map(|number| self.mail_id(number));
                let (ids, next) = (ids.collect(), Some(after + MAX_LISTED as u64));
                Some(Response::Mail(MailResponse::Listed { ids, large: 0, next }))
            }
            Request::Mail(MailRequest::Fetch { id, .. }) => {
                let found = self.mail.iter().find(|envelope| envelope.id() == id);
                if found.is_none() {
                    return self.unanswered.push(call.id);
                }
                found.map(|found| Response::Mail(MailResponse::Fetched(found.as_bytes().to_vec())))
            }
            Request::Mail(MailRequest::Release(_)) => Some(Response::Mail(MailResponse::Released)),
            Request::Dht(Rpc::Store { .. }) if is_holder => Some(Response::Dht(RpcReply::Stored)),
            Request::Dht(_) if is_holder => Some(Response::Dht(RpcReply::Pong)),
            _ if is_holder => Some(Response::Unsupported),
            _ => None,
        };
        let seen = "198.51.100.1:4000".parse().unwrap();
        match response {
            Some(response) => self.engine.handle_response(call.id, call.to, seen, response, None, self.now),
            None if self.is_silent => self.unanswered.push(call.id),
            None => self.engine.handle_call_failed(call.id, self.now),
        }
    }

    /// First what there is, then what nobody will give.
    fn mail_id(&self, number: u64) -> EnvelopeId {
        let index = usize::try_from(number).unwrap();
        self.mail.get(index).map_or_else(
            || {
                let mut bytes = [0xee; 32];
                bytes[..8].copy_from_slice(&number.to_be_bytes());
                EnvelopeId::from_bytes(bytes)
            },
            SealedEnvelope::id,
        )
    }

    fn fail_unanswered(&mut self) {
        for id in std::mem::take(&mut self.unanswered) {
            self.engine.handle_call_failed(id, self.now);
        }
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some((at, _)) = self.engine.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            self.engine.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.after(end.saturating_duration_since(self.now.instant));
    }
}

/// What the strangers send, all of it made before anything is counted.
struct Attack {
    strangers: Vec<Stranger>,
    introductions: Vec<Sent>,
    /// Of each writer, as many envelopes as make the node keep every tag.
    batches: Vec<Vec<Sent>>,
    /// Of each writer, as many texts as wait for a disk that does not write.
    texts: Vec<Vec<Sent>>,
    /// Of everybody else, what lies beyond a gap.
    ahead: Vec<Vec<Sent>>,
}

impl Attack {
    /// Makes it all; mail of the strangers lies with the holders then.
    fn new(node: &mut Flooded, target: &Target, limit: impl Fn(&str) -> usize) -> Self {
        let mut strangers: Vec<Stranger> = (0..limit("stranger_devices") as u64 + 20)
            .map(|number| Stranger::new(number, node.now))
            .collect();
        let introductions = strangers.iter().map(|stranger| target.introduce(stranger)).collect();
        let texts_of_one = 2 * limit("unsaved_len") / MAX_TEXT_LEN / WRITERS;
        let written = strangers[..WRITERS].iter_mut().map(|stranger| target.write(stranger, texts_of_one));
        let (batches, texts) = written.unzip();
        assert_eq!(MAX_SESSIONS * MAX_BATCH as usize, KEPT_TAGS, "so that every tag is kept");
        let waiting = &strangers[WRITERS..limit("stranger_devices")];
        let ahead_of_one = limit("held_len") / limit("held");
        let ahead = waiting.iter().map(|stranger| target.ahead(stranger, ahead_of_one)).collect();
        let letter_len = limit("letters_len") / limit("letters");
        let mail = (0..limit("letters") + 100).map(|at| {
            let (stranger, number) = (at % waiting.len(), at / waiting.len());
            target.letter(&waiting[stranger], 2 + number as u64, letter_len)
        });
        node.mail = mail.collect();
        Self { strangers, introductions, batches, texts, ahead }
    }
}

#[test]
fn a_flooded_user_stays_under_the_memory_limit_and_each_share_is_enough() {
    let config =
        Config::builder("/nowhere").user("alice").unwrap().memory_limit(MEMORY_LIMIT).build().unwrap();
    let limit = |name: &str| config.limits().get(name).unwrap();
    let shares = config.memory_shares();
    let share = |what: &str| shares.iter().find(|share| share.what == what).expect(what).len;

    let empty = Counting::in_use();
    let (mut node, target) = Flooded::new(&config);
    let node_len = Counting::in_use() - empty;

    let Attack { strangers, introductions, batches, texts, ahead } = Attack::new(&mut node, &target, limit);

    let before = Counting::start() - node_len;
    let taken = || Counting::in_use() - before;
    let mut last = taken();
    let mut assert_fits = |what: &str, share: u64| {
        let grown = taken().saturating_sub(last);
        eprintln!("{what}: {} KiB of {} KiB", grown >> 10, share >> 10);
        assert!(grown as u64 <= share, "{what}: {grown} bytes of {share}");
        last = taken();
        grown as u64
    };

    // As many names as may be are being looked up.
    node.is_silent = true;
    let some = limit("introductions");
    introductions[..some].iter().for_each(|sent| node.ask(sent));
    assert_fits("strangers whose names are looked up", share("strangers"));
    node.is_silent = false;
    node.fail_unanswered();
    node.pass(Duration::from_secs(10));
    for sent in &introductions[some..] {
        node.ask(sent);
        node.pass(Duration::from_secs(2));
    }
    let user = |node: &Flooded| node.engine.user().unwrap().refused_request_count();
    assert!(user(&node) > 0, "there are as many devices as may be");
    batches.iter().flatten().for_each(|sent| node.ask(sent));
    let grown = assert_fits("strangers", share("strangers") + share("events"));
    assert!(grown > 64 << 10, "{grown} bytes: the sessions are there");
    assert_eq!(node.events.len(), node.most_events, "an event for each message");

    ahead.iter().flatten().for_each(|sent| node.ask(sent));
    let grown = assert_fits("envelopes ahead of a gap", share("envelopes ahead of a gap"));
    assert!(grown * 10 > share("envelopes ahead of a gap") * 7, "{grown} bytes: they wait");

    let waits = MailRequest::Waiting { mailbox: RecordKey::of_user(target.user.as_bytes()), count: 9 };
    node.has_mail = true;
    node.take(node.holders[0], Request::Mail(waits));
    node.pass(Duration::from_secs(2));
    let mail_len = share("letters that wait to be opened") + share("mail that is being collected");
    let grown = assert_fits("mail", mail_len);
    assert!(grown * 2 > mail_len, "{grown} bytes: it waits");

    node.is_disk_stuck = true;
    for sent in texts.iter().flatten() {
        node.ask(sent);
    }
    assert!(node.engine.busy_count() > 0, "no more is taken for a disk that does not write");
    let disk_len = share("what else waits for the disk") + share("requests of other people");
    let grown = assert_fits("what waits for the disk", disk_len);
    assert!(grown * 2 > disk_len, "{grown} bytes: it waits");

    let most = (Counting::most() - before) as u64;
    eprintln!("{} KiB were in use at most, of {} KiB", most >> 10, MEMORY_LIMIT >> 10);
    assert!(most < MEMORY_LIMIT, "{most} bytes");
    // Nothing of what was sent is gone meanwhile.
    drop((strangers, introductions, batches, texts, ahead));
}
