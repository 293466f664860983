//! What holds for a mailbox, and the helpers of all its tests.

mod admission;
mod handing;
mod limits;
mod model;

use super::*;
use crate::identity::SecretKey;
use crate::kademlia::NodeKey;
use crate::mail::{
    EnvelopeHeader, KEPT_OVERHEAD, MAILBOX_SHARE, MAX_KEPT, MAX_RELEASED_KEPT, STRANGERS_KEPT, STRANGERS_LEN,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the smallest envelope takes of the quotas.
const SMALL: u64 = 585 + KEPT_OVERHEAD;

/// A mailbox with a disk.
struct Desk {
    mailbox: Mailbox,
    quota: u64,
    now: Now,
    last_tag: u64,
    /// What is on its way to the disk.
    saving: VecDeque<(Vec<Write>, Option<MailEffect>)>,
    bodies: BTreeMap<u64, Box<[u8]>>,
    kept: Vec<KeptEnvelope>,
    released: Vec<ReleasedEnvelope>,
    reading: VecDeque<(MailReadId, u64)>,
    replies: BTreeMap<MailTag, MailResponse>,
    calls: VecDeque<(MailCallTag, Contact, Option<MailRequest>)>,
}

impl Desk {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time needs a first instant; only differences matter"
    )]
    fn new(quota: u64) -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
        Self {
            mailbox: Mailbox::new(quota, Limits::shared(), &[], &[], now),
            quota,
            now,
            last_tag: 0,
            saving: VecDeque::new(),
            bodies: BTreeMap::new(),
            kept: Vec::new(),
            released: Vec::new(),
            reading: VecDeque::new(),
            replies: BTreeMap::new(),
            calls: VecDeque::new(),
        }
    }

    fn tag(&mut self) -> MailTag {
        self.last_tag += 1;
        MailTag(self.last_tag)
    }

    fn drain(&mut self) {
        while let Some(action) = self.mailbox.poll_action() {
            match action {
                MailAction::Reply { to, response } => {
                    assert!(self.replies.insert(to, response).is_none(), "{to:?} is answered twice");
                }
                MailAction::Save { writes, then } => self.saving.push_back((writes, then)),
                MailAction::Read { id, position } => self.reading.push_back((id, position)),
                MailAction::Review { .. } => {}
                MailAction::Call { tag, to, request } => self.calls.push_back((tag, to, Some(request))),
                MailAction::Introduce { tag, to, .. } => self.calls.push_back((tag, to, None)),
            }
        }
    }

    /// Lets the oldest save reach the disk.
    fn write(&mut self) {
        let Some((writes, then)) = self.saving.pop_front() else { return };
        for write in writes {
            match write {
                Write::MailKept { envelope, bytes } => {
                    assert!(self.bodies.insert(envelope.position, bytes).is_none());
                    self.kept.push(envelope);
                }
                Write::MailGone { position } => {
                    self.kept.retain(|kept| kept.position != position);
                    assert!(self.bodies.remove(&position).is_some());
                }
                Write::MailReleased(released) => {
                    self.released.retain(|other| (other.place, other.tag) != (released.place, released.tag));
                    self.released.push(released);
                }
                Write::MailReleaseGone { place, tag } => {
                    self.released.retain(|other| (other.place, other.tag) != (place, tag));
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        if let Some(effect) = then {
            self.mailbox.handle_written(effect, self.now);
            self.drain();
        }
    }

    /// Lets everything reach the disk, and answers every read.
    fn settle(&mut self) {
        self.drain();
        while !self.saving.is_empty() {
            self.write();
        }
        self.read();
    }

    /// Answers every read.
    fn read(&mut self) {
        self.drain();
        while let Some((id, position)) = self.reading.pop_front() {
            let bytes = self.bodies.get(&position).map(|bytes| bytes.to_vec());
            self.mailbox.handle_read(id, bytes, self.now);
            self.drain();
        }
    }

    /// Cuts the power and starts again.
    fn restart(&mut self) {
        self.saving.clear();
        self.reading.clear();
        self.mailbox = Mailbox::new(self.quota, Limits::shared(), &self.kept, &self.released, self.now);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some((at, _)) = self.mailbox.poll_timeout().filter(|(at, _)| *at <= end.instant) {
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            self.mailbox.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    fn answer(&mut self, to: MailTag) -> MailResponse {
        self.settle();
        self.replies.remove(&to).expect("every request is answered")
    }

    fn deposit_as(&mut self, from: &str, envelope: &SealedEnvelope, standing: &Standing) -> MailResponse {
        let tag = self.tag();
        self.mailbox.handle_deposit(tag, &contact(from), envelope.as_bytes(), standing, self.now);
        self.answer(tag)
    }

    fn deposit(&mut self, envelope: &SealedEnvelope) -> MailResponse {
        self.deposit_as("10.0.0.1:1", envelope, &holder())
    }

    /// Does what work is asked for.
    fn deposit_working(&mut self, from: &str, envelope: &SealedEnvelope) -> MailResponse {
        let first = self.deposit_as(from, envelope, &holder());
        let MailResponse::Refused(MailRefusal::WorkNeeded { bits }) = first else { return first };
        let nonce = Work { envelope: envelope.id(), bits }.search(|| true).unwrap();
        let (tag, bytes) = (self.tag(), Admission::Work(nonce).deposit(envelope.as_bytes()));
        self.mailbox.handle_deposit(tag, &contact(from), &bytes, &holder(), self.now);
        self.answer(tag)
    }

    /// Keeps an envelope if there is room for it, whatever work that would take; without its bytes.
    fn keep(&mut self, from: &str, envelope: &SealedEnvelope) -> bool {
        let (position, len) = (self.mailbox.last_position + 1, envelope.as_bytes().len());
        let depositor = Depositor::of(&contact(from).address());
        let kept = KeptEnvelope::new(envelope, position, len, depositor, TokenTag::NONE);
        let has_room = self.mailbox.check_room(&kept).is_ok() && self.mailbox.insert(&kept);
        if has_room {
            (self.mailbox.last_position, self.mailbox.written_to) = (position, position);
            self.kept.push(kept);
        }
        has_room
    }

    fn collect(&mut self, after: u64) -> (Vec<EnvelopeId>, Option<u64>) {
        let tag = self.tag();
        self.mailbox.handle_collect(tag, bobs(), MAILBOX, after, self.now);
        match self.answer(tag) {
            MailResponse::Listed { ids, next, .. } => (ids, next),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn fetch(&mut self, id: EnvelopeId) -> MailResponse {
        let tag = self.tag();
        self.mailbox.handle_fetch(tag, bob().node_id(), MAILBOX, &id, self.now);
        self.answer(tag)
    }

    fn release(&mut self, ids: &[EnvelopeId]) -> MailResponse {
        self.release_as(&signed(ids), &holder())
    }

    fn release_as(&mut self, release: &Release, standing: &Standing) -> MailResponse {
        let tag = self.tag();
        self.mailbox.handle_release(tag, release, standing, self.now);
        self.answer(tag)
    }

    fn envelope(&self, number: u64) -> SealedEnvelope {
        sealed(number, 512, self.now.wall.saturating_add(30 * DAY))
    }
}

const MAILBOX: RecordKey = RecordKey::from_bytes([0xaa; 32]);

fn bobs_key() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

fn bob() -> NodeKey {
    bobs_key().public().into()
}

/// Where bob is.
fn bobs() -> Contact {
    Contact::new(bob(), "10.0.0.7:1".parse().unwrap())
}

fn contact(address: &str) -> Contact {
    Contact::new(NodeKey::from_bytes([1; 32]), address.parse().unwrap())
}

/// Of a holder that keeps the record of a user with one device.
fn holder() -> Standing {
    Standing { is_holder: true, devices: Some(vec![bob().node_id()]), is_holder_asking: false }
}

/// Makes an envelope for bob.
fn sealed(number: u64, class: usize, expires: Timestamp) -> SealedEnvelope {
    let header = EnvelopeHeader { mailbox: MAILBOX, device: bob().node_id(), expires };
    let mut body = vec![0; class];
    body[..8].copy_from_slice(&number.to_be_bytes());
    SealedEnvelope::new(&header, &body).unwrap()
}

/// Signs a release of bob's.
fn signed(ids: &[EnvelopeId]) -> Release {
    let signature = bobs_key().sign(&Release::signed_bytes(&MAILBOX, ids)).to_vec();
    Release { mailbox: MAILBOX, device: bob(), ids: ids.to_vec(), signature }
}

const fn refused(why: MailRefusal) -> MailResponse {
    MailResponse::Refused(why)
}

#[test]
fn an_envelope_is_kept_until_its_device_releases_it() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    assert_eq!(desk.deposit(&envelope), MailResponse::Deposited);
    assert_eq!((desk.mailbox.kept_count(), desk.mailbox.kept_len()), (1, SMALL));
    assert_eq!(desk.collect(0), (vec![envelope.id()], None));
    assert_eq!(desk.fetch(envelope.id()), MailResponse::Fetched(envelope.as_bytes().to_vec()));
    assert_eq!(desk.release(&[envelope.id()]), MailResponse::Released);
    assert_eq!((desk.mailbox.kept_count(), desk.mailbox.kept_len()), (0, 0));
    assert_eq!(desk.collect(0), (vec![], None));
    assert_eq!(desk.fetch(envelope.id()), refused(MailRefusal::Gone));
    assert_eq!(desk.deposit(&envelope), refused(MailRefusal::Gone), "it was released");
    assert!(desk.bodies.is_empty());
    let stats = MailStats { deposited: 1, refused: 2, fetched: 1, released: 1, ..MailStats::default() };
    assert_eq!(*desk.mailbox.stats(), stats);
}

#[test]
fn whoever_collects_is_told_which_envelopes_fit_no_datagram() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let expires = desk.now.wall.saturating_add(DAY);
    for (number, class) in (1..).zip(crate::mail::SIZE_CLASSES) {
        // What comes with an envelope does not make it longer.
        let envelope = sealed(number, class, expires);
        let (tag, bytes) = (desk.tag(), Admission::Work(7).deposit(envelope.as_bytes()));
        desk.mailbox.handle_deposit(tag, &contact("10.0.0.1:1"), &bytes, &holder(), desk.now);
        assert_eq!(desk.answer(tag), MailResponse::Deposited);
    }
    let tag = desk.tag();
    desk.mailbox.handle_collect(tag, bobs(), MAILBOX, 0, desk.now);
    let MailResponse::Listed { ids, large, next } = desk.answer(tag) else { panic!("it is listed") };
    assert_eq!((ids.len(), large, next), (6, 0b11_1100, None));
    for (index, id) in ids.into_iter().enumerate() {
        let MailResponse::Fetched(bytes) = desk.fetch(id) else { panic!("it is given out") };
        assert_eq!(bytes.len() > crate::mail::MAX_SMALL_LEN, large & 1 << index != 0);
    }
}

#[test]
fn nothing_is_acknowledged_listed_or_given_out_before_it_is_on_disk() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    let tags = [desk.tag(), desk.tag(), desk.tag(), desk.tag()];
    for tag in &tags[..2] {
        let (from, now) = (contact("10.0.0.1:1"), desk.now);
        desk.mailbox.handle_deposit(*tag, &from, envelope.as_bytes(), &holder(), now);
    }
    desk.mailbox.handle_collect(tags[2], bobs(), MAILBOX, 0, desk.now);
    desk.mailbox.handle_fetch(tags[3], bob().node_id(), MAILBOX, &envelope.id(), desk.now);
    desk.drain();
    let nothing = MailResponse::Listed { ids: vec![], large: 0, next: None };
    assert_eq!(desk.replies, BTreeMap::from([(tags[2], nothing), (tags[3], refused(MailRefusal::Gone))]));
    desk.settle();
    assert_eq!(
        (&desk.replies[&tags[0]], &desk.replies[&tags[1]]),
        (&MailResponse::Deposited, &MailResponse::Deposited)
    );
    assert_eq!(desk.collect(0).0, [envelope.id()]);
    assert_eq!(desk.mailbox.kept_count(), 1);
}

#[test]
fn mail_and_what_was_released_outlive_a_power_cut_and_what_was_not_acknowledged_does_not() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let [kept, released, lost] = [1, 2, 3].map(|number| desk.envelope(number));
    desk.deposit(&kept);
    desk.deposit(&released);
    desk.release(&[released.id()]);
    let (tag, from, now) = (desk.tag(), contact("10.0.0.1:1"), desk.now);
    desk.mailbox.handle_deposit(tag, &from, lost.as_bytes(), &holder(), now);
    desk.drain();
    desk.restart();
    assert_eq!(desk.collect(0), (vec![kept.id()], None));
    assert_eq!(desk.fetch(kept.id()), MailResponse::Fetched(kept.as_bytes().to_vec()));
    assert_eq!(desk.deposit(&released), refused(MailRefusal::Gone));
    assert_eq!(desk.deposit(&lost), MailResponse::Deposited);
    assert!(!desk.replies.contains_key(&tag));
}

#[test]
fn a_release_that_comes_before_its_envelope_keeps_it_out() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    assert_eq!(desk.release(&[envelope.id()]), MailResponse::Released);
    assert_eq!(desk.deposit(&envelope), refused(MailRefusal::Gone));
    assert_eq!(desk.mailbox.released_count(), 1);
    assert_eq!(desk.release(&[envelope.id()]), MailResponse::Released, "again");
    assert_eq!(desk.released.len(), 1);
}

#[test]
fn long_lists_come_in_pages_oldest_first() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let ids: Vec<_> = (0..70)
        .map(|number| {
            let envelope = desk.envelope(number);
            desk.deposit(&envelope);
            envelope.id()
        })
        .collect();
    let (first, next) = desk.collect(0);
    let (second, after) = desk.collect(next.unwrap());
    let (third, end) = desk.collect(after.unwrap());
    assert_eq!([first.len(), second.len(), third.len()], [MAX_LISTED, MAX_LISTED, 6]);
    assert_eq!([first, second, third].concat(), ids);
    assert_eq!(end, None);
    assert_eq!(desk.collect(u64::MAX), (vec![], None));
}

#[test]
fn mail_is_for_its_device_only() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    desk.deposit(&envelope);
    let eve = SecretKey::from_bytes(&[8; 32]);
    let eves_node = NodeKey::from(eve.public()).node_id();
    let tags = [desk.tag(), desk.tag()];
    desk.mailbox.handle_collect(
        tags[0],
        Contact::new(eve.public().into(), "10.0.0.2:1".parse().unwrap()),
        MAILBOX,
        0,
        desk.now,
    );
    desk.mailbox.handle_fetch(tags[1], eves_node, MAILBOX, &envelope.id(), desk.now);
    assert_eq!(desk.answer(tags[0]), MailResponse::Listed { ids: vec![], large: 0, next: None });
    assert_eq!(desk.answer(tags[1]), refused(MailRefusal::Gone));

    let ids = vec![envelope.id()];
    let signature = eve.sign(&Release::signed_bytes(&MAILBOX, &ids)).to_vec();
    let forged = Release { mailbox: MAILBOX, device: bob(), ids: ids.clone(), signature: signature.clone() };
    assert_eq!(desk.release_as(&forged, &holder()), refused(MailRefusal::Invalid));
    let own = Release { mailbox: MAILBOX, device: eve.public().into(), ids, signature };
    assert_eq!(desk.release_as(&own, &holder()), refused(MailRefusal::NotListed));
    assert_eq!(desk.fetch(envelope.id()), MailResponse::Fetched(envelope.as_bytes().to_vec()));
}

#[test]
fn a_deposit_is_refused_by_whoever_should_not_keep_it() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    for (standing, why) in [
        (Standing { is_holder: false, ..holder() }, MailRefusal::NotHolder),
        (Standing { devices: None, ..holder() }, MailRefusal::UnknownMailbox),
        (Standing { devices: Some(vec![]), ..holder() }, MailRefusal::NotListed),
    ] {
        assert_eq!(desk.deposit_as("10.0.0.1:1", &envelope, &standing), refused(why));
        assert_eq!(desk.release_as(&signed(&[envelope.id()]), &standing), refused(why));
    }
    assert_eq!((desk.mailbox.kept_count(), desk.mailbox.released_count()), (0, 0));
    desk.deposit(&envelope);
    let nobody = Standing::default();
    assert_eq!(desk.deposit_as("10.0.0.1:1", &envelope, &nobody), MailResponse::Deposited, "it is here");
    assert_eq!(desk.release_as(&signed(&[envelope.id()]), &nobody), MailResponse::Released, "it was here");
    let other = desk.envelope(2);
    assert_eq!(desk.release_as(&signed(&[other.id()]), &nobody), MailResponse::Released);
    assert_eq!(desk.mailbox.released_count(), 1, "nobody will bring the other one here");
}

#[test]
fn what_is_no_envelope_or_lives_too_long_is_invalid() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let (tag, from, now) = (desk.tag(), contact("10.0.0.1:1"), desk.now);
    desk.mailbox.handle_deposit(tag, &from, &[1; 600], &holder(), now);
    assert_eq!(desk.answer(tag), refused(MailRefusal::Invalid));
    for expires in [now.wall, now.wall.saturating_add(MAX_MAIL_LIFETIME + Duration::from_millis(1))] {
        assert_eq!(desk.deposit(&sealed(1, 512, expires)), refused(MailRefusal::Invalid));
    }
    let longest = sealed(1, 512, now.wall.saturating_add(MAX_MAIL_LIFETIME));
    assert_eq!(desk.deposit(&longest), MailResponse::Deposited);
}

#[test]
fn what_has_expired_is_not_given_out_and_then_dropped() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let (short, long) = (sealed(1, 512, desk.now.wall.saturating_add(DAY)), desk.envelope(2));
    let never_came = desk.envelope(3);
    desk.deposit(&short);
    desk.deposit(&long);
    desk.release(&[never_came.id()]);
    desk.now = desk.now.after(DAY);
    assert_eq!(desk.collect(0).0, [long.id()]);
    assert_eq!(desk.fetch(short.id()), refused(MailRefusal::Gone));
    desk.wait(EXPIRE_EVERY);
    assert_eq!((desk.mailbox.kept_count(), desk.bodies.len(), desk.mailbox.stats().expired), (1, 1, 1));
    desk.wait(MAX_MAIL_LIFETIME);
    assert_eq!((desk.mailbox.kept_count(), desk.mailbox.released_count()), (0, 0));
    assert_eq!((desk.bodies.len(), desk.released.len(), desk.mailbox.kept_len()), (0, 0, 0));
    assert_eq!(desk.mailbox.poll_timeout(), None, "nothing is left to do");
}

#[test]
fn much_that_expires_at_once_is_dropped_step_by_step() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let expires = desk.now.wall.saturating_add(DAY);
    for number in 0..3 * EXPIRE_STEP as u64 {
        desk.deposit(&sealed(number, 512, expires));
    }
    desk.now = desk.now.after(DAY + EXPIRE_EVERY);
    desk.mailbox.handle_timeout(desk.now);
    desk.drain();
    assert_eq!(desk.saving.len(), 1);
    assert_eq!(desk.saving[0].0.len(), EXPIRE_STEP);
    desk.wait(10 * EXPIRE_PAUSE);
    assert_eq!((desk.mailbox.kept_count(), desk.bodies.len()), (0, 0));
}

#[test]
fn an_envelope_that_cannot_be_read_is_gone_and_one_that_was_released_meanwhile_too() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    desk.deposit(&envelope);
    let body = desk.bodies.clone();
    desk.bodies.clear();
    assert_eq!(desk.fetch(envelope.id()), refused(MailRefusal::Gone));
    desk.bodies = body;
    let (tag, now) = (desk.tag(), desk.now);
    desk.mailbox.handle_fetch(tag, bob().node_id(), MAILBOX, &envelope.id(), now);
    desk.drain();
    let (read, _) = desk.reading.pop_front().unwrap();
    desk.release(&[envelope.id()]);
    desk.mailbox.handle_read(read, Some(envelope.as_bytes().to_vec()), desk.now);
    assert_eq!(desk.answer(tag), refused(MailRefusal::Gone));
}

#[test]
fn who_fetches_more_than_the_disk_can_read_is_told_to_wait() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let envelope = desk.envelope(1);
    desk.deposit(&envelope);
    let tags: Vec<_> = (0..=MAX_READS).map(|_| desk.tag()).collect();
    for tag in &tags {
        desk.mailbox.handle_fetch(*tag, bob().node_id(), MAILBOX, &envelope.id(), desk.now);
    }
    desk.drain();
    assert_eq!(desk.replies, BTreeMap::from([(tags[MAX_READS], refused(MailRefusal::Busy))]));
    desk.settle();
    assert!(tags[..MAX_READS].iter().all(|tag| matches!(desk.replies[tag], MailResponse::Fetched(_))));
}

#[test]
fn who_deposits_more_than_the_disk_can_write_is_told_to_wait() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let expires = desk.now.wall.saturating_add(DAY);
    let room = MAX_UNWRITTEN_LEN / crate::mail::MAX_SEALED_LEN;
    let (from, now) = (contact("10.0.0.1:1"), desk.now);
    let tags: Vec<_> = (0..=room as u64)
        .map(|number| {
            let (tag, envelope) = (desk.tag(), sealed(number, 17_920, expires));
            desk.mailbox.handle_deposit(tag, &from, envelope.as_bytes(), &holder(), now);
            tag
        })
        .collect();
    desk.drain();
    assert_eq!(desk.replies, BTreeMap::from([(tags[room], refused(MailRefusal::Busy))]));
    desk.settle();
    assert!(tags[..room].iter().all(|tag| desk.replies[tag] == MailResponse::Deposited));
    assert_eq!(desk.deposit(&sealed(room as u64, 17_920, expires)), MailResponse::Deposited);
}

#[test]
fn one_network_leaves_a_third_of_a_mailbox_to_others_and_ten_networks_leave_some() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let mut number = 0;
    let mut fill = |desk: &mut Desk, network: &str| {
        let before = number;
        let from = format!("{network}:1");
        while desk.keep(&from, &desk.envelope(number)) {
            number += 1;
        }
        number - before
    };
    let first = fill(&mut desk, "1.2.3.4");
    assert!(first >= 10_000, "{first}");
    assert_eq!(first, (MAILBOX_SHARE * STRANGERS_KEPT).div_ceil(1 + MAILBOX_SHARE));
    assert_eq!(fill(&mut desk, "1.2.3.99"), 0, "of the same network");
    let real = desk.envelope(u64::MAX);
    assert_eq!(desk.deposit_working("5.6.7.8:1", &real), MailResponse::Deposited);
    for network in 1..7 {
        assert!(fill(&mut desk, &format!("9.9.{network}.1")) > 0);
    }
    let late = desk.envelope(u64::MAX - 1);
    assert_eq!(desk.deposit_working("5.6.9.8:1", &late), MailResponse::Deposited);
    assert!(desk.mailbox.kept_count() as u64 <= STRANGERS_KEPT);
    assert_eq!(desk.fetch(real.id()), MailResponse::Fetched(real.as_bytes().to_vec()), "it stays");
    fill(&mut desk, "10.0.0.1");
    assert_eq!(
        desk.mailbox.kept_count() as u64,
        STRANGERS_KEPT,
        "no network is counted for a private address"
    );
}

#[test]
fn the_bytes_of_a_mailbox_are_limited_as_well() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let expires = desk.now.wall.saturating_add(DAY);
    let mut count = 0;
    while desk.keep("10.0.0.1:1", &sealed(count, 17_920, expires)) {
        count += 1;
    }
    let each = crate::mail::MAX_SEALED_LEN as u64 + KEPT_OVERHEAD;
    assert_eq!(count, STRANGERS_LEN / each);
    assert_eq!(desk.deposit(&sealed(count, 17_920, expires)), refused(MailRefusal::Full));
    assert_eq!(desk.mailbox.stats().refused_full, 1);
}

#[test]
fn one_network_leaves_most_of_a_node_to_others_and_a_full_node_refuses() {
    let quota = 900 * SMALL;
    let mut desk = Desk::new(quota);
    let mut number = 0;
    let mut fill = |desk: &mut Desk, from: &str| {
        let before = number;
        while desk.deposit_as(from, &desk.envelope(number), &holder()) == MailResponse::Deposited {
            number += 1;
        }
        number - before
    };
    assert_eq!(fill(&mut desk, "1.2.3.4:1"), 100, "a ninth");
    assert_eq!(fill(&mut desk, "[2001:db8:0:100::1]:1"), 89, "a ninth of the rest");
    assert_eq!(fill(&mut desk, "[2001:db8:0:1ff::2]:1"), 0, "of the same network");
    assert_eq!(fill(&mut desk, "127.0.0.1:1"), 711, "all that is left");
    assert_eq!(desk.mailbox.kept_len(), quota);
    assert_eq!(fill(&mut desk, "127.0.0.1:1"), 0);
    let first = desk.collect(0).0[0];
    desk.release(&[first]);
    assert_eq!(fill(&mut desk, "127.0.0.1:1"), 1);
}

#[test]
fn the_memory_of_releases_is_bounded_and_forgets_what_expires_first() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let id = |number: u64| EnvelopeId::from_bytes(*blake3::hash(&number.to_be_bytes()).as_bytes());
    for number in 0..=MAX_RELEASED_KEPT as u64 {
        // Unsigned, to be quick: how a signature is checked is another test's concern.
        let released = ReleasedEnvelope {
            place: MailPlace { mailbox: MAILBOX, device: bob().node_id() },
            tag: EnvelopeTag::of(&id(number)),
            expires: desk.now.wall.saturating_add(DAY).saturating_add(Duration::from_secs(number)),
        };
        let writes = desk.mailbox.note_released(&released);
        let expected = if number == MAX_RELEASED_KEPT as u64 { MAX_RELEASED_KEPT / 8 + 1 } else { 0 };
        assert_eq!(writes.len(), expected);
    }
    let left = MAX_RELEASED_KEPT - MAX_RELEASED_KEPT / 8;
    assert_eq!(desk.mailbox.released_count(), left);
    let mail = &desk.mailbox.places.values().next().unwrap();
    assert!(!mail.is_released(&id(0)) && mail.is_released(&id(MAX_RELEASED_KEPT as u64)));
}

#[test]
fn quotas_count_the_same_after_a_restart() {
    let mut desk = Desk::new(900 * SMALL);
    let mut number = 0;
    while desk.deposit_as("1.2.3.4:1", &desk.envelope(number), &holder()) == MailResponse::Deposited {
        number += 1;
    }
    let before = (desk.mailbox.kept_count(), desk.mailbox.kept_len(), desk.mailbox.depositors.clone());
    desk.restart();
    assert_eq!((desk.mailbox.kept_count(), desk.mailbox.kept_len(), desk.mailbox.depositors.clone()), before);
    assert_eq!(desk.deposit_as("1.2.3.9:1", &desk.envelope(number), &holder()), refused(MailRefusal::Full));
}
