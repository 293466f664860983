//! The mail that a node keeps for others: DEPOSIT, COLLECT, FETCH, RELEASE and OFFER of anybody, with work and tokens or
//! without, in any interleaving with time, the disk, hand-overs and restarts. A seed is a program of steps, for a mailbox
//! that is empty or one that strangers have nearly filled.

use std::collections::{BTreeMap, VecDeque};

use peerchat_core::kademlia::{Contact, NodeKey, RecordKey};
use peerchat_core::mail::{
    Admission, Depositor, EnvelopeHeader, EnvelopeId, EnvelopeTag, KEPT_OVERHEAD, KeptEnvelope, MAX_LISTED,
    MAX_SEALED_LEN, MAX_WORK_BITS, MIN_WORK_BITS, MailAction, MailAnswer, MailCallTag, MailEffect, MailPlace,
    MailReadId, MailRefusal, MailRequest, MailResponse, MailTag, Mailbox, Offer, Release, ReleasedEnvelope,
    SIZE_CLASSES, STRANGERS_LEN, SealedEnvelope, Standing, TokenTag, Work, WriteToken,
};
use peerchat_core::save::Write;
use peerchat_core::time::{Now, Timestamp};

use crate::input::{Input, START, Script, address, secret, start};
use crate::random_programs;

/// How many steps a program has at most.
const MAX_STEPS: usize = 300;

/// Room for a few dozen envelopes.
const QUOTA: u64 = 60_000;

/// Room for more than all strangers may leave in one mailbox.
const LARGE_QUOTA: u64 = 2 * STRANGERS_LEN;

/// Most work that is done: more is too much for a fuzzer.
const MAX_BITS_DONE: u8 = 12;

struct Holder {
    quota: u64,
    /// How much work was asked for last.
    bits: u8,
    mailbox: Mailbox,
    now: Now,
    disk: BTreeMap<u64, (KeptEnvelope, Box<[u8]>)>,
    released: BTreeMap<(MailPlace, EnvelopeTag), ReleasedEnvelope>,
    /// Not on disk yet: lost if the power is cut.
    unwritten: VecDeque<(Vec<Write>, Option<MailEffect>)>,
    reads: VecDeque<(MailReadId, u64)>,
    calls: VecDeque<MailCallTag>,
    deposited: Vec<EnvelopeId>,
    last_tag: u64,
}

/// What is kept stays within its quota and is what is on disk; what was answered "deposited" is.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let now = start();
    let disk = if input.flag() { crowd(input.byte()) } else { BTreeMap::new() };
    let quota = if disk.is_empty() { QUOTA } else { LARGE_QUOTA };
    let kept: Vec<KeptEnvelope> = disk.values().map(|(kept, _)| kept.clone()).collect();
    let mut holder = Holder {
        quota,
        bits: 0,
        mailbox: Mailbox::new(quota, peerchat_core::Limits::shared(), &kept, &[], now),
        now,
        disk,
        released: BTreeMap::new(),
        unwritten: VecDeque::new(),
        reads: VecDeque::new(),
        calls: VecDeque::new(),
        deposited: Vec::new(),
        last_tag: 0,
    };
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        holder.step(&mut input);
        holder.drain();
        assert!(holder.mailbox.kept_len() <= holder.quota);
    }
    while holder.write() {
        holder.drain();
    }
    assert_eq!(holder.mailbox.kept_count(), holder.disk.len(), "what is kept is what is on disk");
}

/// So many envelopes of strangers for one device that each more costs work.
fn crowd(more: u8) -> BTreeMap<u64, (KeptEnvelope, Box<[u8]>)> {
    let len = u32::try_from(MAX_SEALED_LEN).expect("envelopes are short");
    let free = STRANGERS_LEN / 8 * 5 / (u64::from(len) + KEPT_OVERHEAD);
    let place = MailPlace { mailbox: RecordKey::from_bytes([1; 32]), device: contact(1).id() };
    let envelope = |position: u64| {
        let mut id = [8; 32];
        id[..8].copy_from_slice(&position.to_be_bytes());
        let (id, depositor) = (EnvelopeId::from_bytes(id), Depositor::from_number(position));
        let expires = START.saturating_add(std::time::Duration::from_secs(3600));
        KeptEnvelope { position, place, id, expires, len, depositor, token: TokenTag::NONE }
    };
    (1..=free + u64::from(more)).map(|position| (position, (envelope(position), Box::default()))).collect()
}

fn contact(number: u8) -> Contact {
    Contact::new(NodeKey::from(secret(number).public()), address(number))
}

impl Holder {
    fn step(&mut self, input: &mut Input<'_>) {
        self.last_tag += 1;
        let (to, now) = (MailTag(self.last_tag), self.now);
        let who = contact(input.byte() % 6);
        let mailbox = RecordKey::from_bytes([input.byte() % 3; 32]);
        let place = MailPlace { mailbox, device: who.id() };
        match input.below(13) {
            0..=2 => {
                let standing = standing(input);
                let bytes = self.deposit(place, input);
                self.mailbox.handle_deposit(to, &contact(10 + input.byte() % 3), &bytes, &standing, now);
            }
            3 => self.mailbox.handle_collect(to, who, mailbox, input.number(), now),
            4 => {
                let id = self.id(input);
                self.mailbox.handle_fetch(to, who.id(), mailbox, &id, now);
            }
            5 => self.release(to, place, input),
            6 => {
                let offer = match input.flag() {
                    true => Offer::All(input.array()),
                    false => {
                        let count = input.below(20);
                        Offer::These((0..count).map(|_| EnvelopeTag::of(&self.id(input))).collect())
                    }
                };
                self.mailbox.handle_offer(to, place, &offer, &standing(input), now);
            }
            7 => {
                self.now = now.after(input.time());
                self.mailbox.handle_timeout(self.now);
            }
            8 => _ = self.write(),
            9 => {
                if let Some((id, position)) = self.reads.pop_front() {
                    let bytes = self.disk.get(&position).map(|(_, bytes)| bytes.to_vec());
                    self.mailbox.handle_read(id, bytes.filter(|_| !input.flag()), now);
                }
            }
            10 => {
                if let Some(tag) = self.calls.pop_front() {
                    self.mailbox.handle_answer(tag, answer(input), now);
                }
            }
            11 => self.see_holders(place, who, input),
            _ => self.restart(),
        }
    }

    fn see_holders(&mut self, place: MailPlace, who: Contact, input: &mut Input<'_>) {
        let closest: Vec<Contact> = (0..input.below(20)).map(|_| contact(20 + input.byte() % 40)).collect();
        let place = match self.mailbox.places_after(None, 8).get(input.below(8)) {
            Some(kept) => *kept,
            None => place,
        };
        match input.below(5) {
            0 => self.mailbox.handle_holders(place, &secret_id(), &closest, input.flag()),
            1 => self.mailbox.handle_replaced(place, &closest),
            2 if self.mailbox.has_room_to_offer(1) && self.mailbox.is_offer_due(place, self.now.instant) => {
                self.mailbox.offer(place, who);
            }
            3 => self.mailbox.handle_published(place, who, self.now),
            _ => self.mailbox.hand_over(place, who),
        }
    }

    fn envelope(&mut self, place: MailPlace, input: &mut Input<'_>) -> SealedEnvelope {
        let class = SIZE_CLASSES[input.below(SIZE_CLASSES.len())];
        let lifetime = input.time();
        let expires = if input.flag() {
            START.saturating_add(lifetime)
        } else {
            Timestamp::from_unix_ms(input.number())
        };
        let header = EnvelopeHeader { mailbox: place.mailbox, device: place.device, expires };
        let envelope =
            SealedEnvelope::new(&header, &vec![input.byte(); class]).expect("it is of a size class");
        self.deposited.push(envelope.id());
        envelope
    }

    /// An envelope and what comes with it: nothing, work that was done or was not, or a token of this device or of another.
    fn deposit(&mut self, place: MailPlace, input: &mut Input<'_>) -> Vec<u8> {
        let envelope = self.envelope(place, input);
        let admission = match input.below(4) {
            0 => Admission::Nothing,
            1 => Admission::Work(input.number()),
            2 => {
                let work = Work { envelope: envelope.id(), bits: self.bits };
                let is_little = self.bits <= MAX_BITS_DONE;
                is_little.then(|| work.search(|| true)).flatten().map_or(Admission::Nothing, Admission::Work)
            }
            _ => {
                let (device, mailbox) =
                    (secret(input.byte() % 6), RecordKey::from_bytes([input.byte() % 3; 32]));
                let expires = START.saturating_add(input.time());
                let token = WriteToken::issue(&device, &mailbox, secret(30 + input.byte() % 3), expires);
                Admission::Token(Box::new(token.proof(&envelope.id())))
            }
        };
        let mut bytes = admission.deposit(envelope.as_bytes());
        if input.below(16) == 1 {
            input.damage(&mut bytes);
        }
        bytes
    }

    fn id(&self, input: &mut Input<'_>) -> EnvelopeId {
        let known = self.deposited.get(input.below(self.deposited.len().min(256)));
        known.copied().unwrap_or(EnvelopeId::from_bytes([9; 32]))
    }

    fn release(&mut self, to: MailTag, place: MailPlace, input: &mut Input<'_>) {
        let count = input.below(25);
        let ids: Vec<EnvelopeId> = (0..count).map(|_| self.id(input)).collect();
        let by = input.byte() % 6;
        let mut signature = secret(by).sign(&Release::signed_bytes(&place.mailbox, &ids)).to_vec();
        if input.below(8) == 1 {
            input.damage(&mut signature);
        }
        let release = Release { mailbox: place.mailbox, device: contact(by).key(), ids, signature };
        self.mailbox.handle_release(to, &release, &standing(input), self.now);
    }

    /// Puts the oldest batch on disk; false if there is none.
    fn write(&mut self) -> bool {
        let Some((writes, then)) = self.unwritten.pop_front() else { return false };
        for write in writes {
            match write {
                Write::MailKept { envelope, bytes } => {
                    check_admission(&envelope, &bytes);
                    let before = self.disk.insert(envelope.position, (envelope, bytes));
                    assert!(before.is_none(), "a position is used once");
                }
                Write::MailGone { position } => {
                    assert!(self.disk.remove(&position).is_some(), "what is dropped was there");
                }
                Write::MailReleased(released) => {
                    self.released.insert((released.place, released.tag), released);
                }
                Write::MailReleaseGone { place, tag } => _ = self.released.remove(&(place, tag)),
                other => panic!("a mailbox saves no {other:?}"),
            }
        }
        if let Some(effect) = then {
            self.mailbox.handle_written(effect, self.now);
        }
        true
    }

    fn drain(&mut self) {
        while let Some(action) = self.mailbox.poll_action() {
            match action {
                MailAction::Save { writes, then } => self.unwritten.push_back((writes, then)),
                MailAction::Read { id, position } => self.reads.push_back((id, position)),
                MailAction::Call { tag, request, .. } => {
                    assert!(!matches!(request, MailRequest::Collect { .. } | MailRequest::Fetch { .. }));
                    self.calls.push_back(tag);
                }
                MailAction::Introduce { tag, .. } => self.calls.push_back(tag),
                MailAction::Reply { response: MailResponse::Listed { ids, .. }, .. } => {
                    assert!(ids.len() <= MAX_LISTED);
                }
                MailAction::Reply { response: MailResponse::Fetched(bytes), .. } => {
                    assert!(
                        bytes.is_empty() || SealedEnvelope::parse(&bytes).is_ok(),
                        "without what came with it"
                    );
                }
                MailAction::Reply {
                    response: MailResponse::Refused(MailRefusal::WorkNeeded { bits }),
                    ..
                } => {
                    assert!((MIN_WORK_BITS..=MAX_WORK_BITS).contains(&bits));
                    self.bits = bits;
                }
                MailAction::Reply { .. } | MailAction::Review { .. } => {}
            }
        }
    }

    /// What was not on disk is lost.
    fn restart(&mut self) {
        self.unwritten.clear();
        self.reads.clear();
        self.calls.clear();
        let kept: Vec<KeptEnvelope> = self.disk.values().map(|(kept, _)| kept.clone()).collect();
        let released: Vec<ReleasedEnvelope> = self.released.values().copied().collect();
        self.mailbox = Mailbox::new(self.quota, peerchat_core::Limits::shared(), &kept, &released, self.now);
        assert_eq!(self.mailbox.kept_count(), kept.len());
    }
}

/// What counts as a contact's has shown the token of this device for this envelope.
fn check_admission(envelope: &KeptEnvelope, bytes: &[u8]) {
    let KeptEnvelope { place, id, token, .. } = envelope;
    match Admission::split(bytes).expect("what is kept was understood").1 {
        Admission::Token(proof) => {
            assert!(*token != TokenTag::NONE && proof.is_for(&place.mailbox, &place.device, id));
        }
        Admission::Nothing | Admission::Work(_) => assert_eq!(*token, TokenTag::NONE),
    }
}

fn secret_id() -> peerchat_core::kademlia::NodeId {
    contact(60).id()
}

/// Mostly that of a holder who knows every device.
fn standing(input: &mut Input<'_>) -> Standing {
    let says = input.byte();
    let devices = (0..6).map(|number| contact(number).id()).collect();
    Standing {
        is_holder: says % 8 != 1,
        is_holder_asking: says % 8 == 3,
        devices: (says % 8 != 2).then_some(devices),
    }
}

fn answer(input: &mut Input<'_>) -> MailAnswer {
    match input.below(4) {
        0 => MailAnswer::Failed,
        2 if input.flag() => MailAnswer::NotTaken,
        2 => MailAnswer::NoRecord,
        1 => MailAnswer::Wanted { missing: input.number(), released: input.number() },
        _ => MailAnswer::Done,
    }
}

/// Envelopes that come, are listed, fetched and released, with work and tokens, and random programs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    // The device 1, its mailbox 1; standing 0, the smallest class, 1 << 20 ms to live, a body of as many bytes, with nothing,
    // no damage.
    let another = |body: u8, with: &[u8]| [&[1, 1, 0, 0, 0, 20, 1, body], with, &[0, 0]].concat();
    let deposit: &[u8] = &another(7, &[0]);
    let token: &[u8] = &[3, 1, 1, 20, 0];
    let others_token: &[u8] = &[3, 2, 1, 20, 0];
    let late_token: &[u8] = &[3, 1, 1, 5, 0];
    let written: &[u8] = &[0, 0, 8];
    let collect: &[u8] = &[1, 1, 3, 0];
    let fetch: &[u8] = &[1, 1, 4, 0];
    let read: &[u8] = &[0, 0, 9, 0];
    let release: &[u8] = &[1, 1, 5, 1, 0, 1, 0, 0];
    let later: &[u8] = &[0, 0, 7, 30];
    let soon: &[u8] = &[0, 0, 7, 10];
    let restart: &[u8] = &[0, 0, 12];
    let kept = [deposit, written].concat();
    let mut seeds = vec![
        kept.clone(),
        [&another(7, token), written, &another(8, others_token), soon, &another(9, late_token)].concat(),
        [&another(7, token), written, collect, fetch, read, restart, collect, fetch, read].concat(),
        [&kept, collect, fetch, read].concat(),
        [&kept, release, written, deposit, written].concat(),
        [&kept, later, written, deposit].concat(),
        [&kept, restart, collect, fetch, read, release].concat(),
        Script::default().put(&[deposit, restart, deposit, deposit, written, written].concat()).done(),
        [&kept, &[1, 1, 11, 3, 1, 2, 3, 0, 0, 1, 0, 0, 10, 1, 1, 1, 0, 0, 0, 9, 0][..]].concat(),
    ];
    seeds.extend(random_programs(5, 600));
    let mut seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| [&[0], seed.as_slice()].concat()).collect();
    // Of a crowded mailbox: a stranger who does no work, and then does; one whose nonce is none; a contact.
    let work: &[u8] = &[2];
    let poor: &[u8] = &[1, 1, 5];
    let crowded =
        [&[1, 20][..], deposit, &another(7, work), written, &another(8, poor), &another(9, token), written];
    seeds.push(crowded.concat());
    seeds.push(
        [&[1, 255][..], deposit, &another(7, work), soon, written, restart, &another(8, work)].concat(),
    );
    seeds
}
