//! Who may take how much room, and what is asked of them for it.

use super::*;
use crate::mail::{Admission, MAX_WORK_BITS, MIN_WORK_BITS, WriteToken};

fn token(number: u8, expires: Timestamp) -> WriteToken {
    WriteToken::issue(&bobs_key(), &MAILBOX, SecretKey::from_bytes(&[number; 32]), expires)
}

fn shown(token: &WriteToken, envelope: &SealedEnvelope) -> Admission {
    Admission::Token(Box::new(token.proof(&envelope.id())))
}

impl Desk {
    fn deposit_with(&mut self, from: &str, envelope: &SealedEnvelope, with: &Admission) -> MailResponse {
        let (tag, bytes) = (self.tag(), with.deposit(envelope.as_bytes()));
        self.mailbox.handle_deposit(tag, &contact(from), &bytes, &holder(), self.now);
        self.answer(tag)
    }

    /// Lets strangers fill their room up to this many envelopes.
    fn fill_to(&mut self, count: u64) {
        while (self.mailbox.kept_count() as u64) < count {
            let envelope = self.envelope(self.mailbox.kept_count() as u64);
            assert!(self.keep("10.0.0.1:1", &envelope));
        }
    }

    fn bits(&mut self) -> u8 {
        let probe = self.envelope(u64::MAX - self.mailbox.kept_count() as u64);
        match self.deposit_with("10.0.0.9:1", &probe, &Admission::Nothing) {
            MailResponse::Refused(MailRefusal::WorkNeeded { bits }) => bits,
            MailResponse::Deposited => 0,
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn work_is_asked_of_strangers_from_five_eighths_on_and_grows_with_what_they_have_taken() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let mut asked = Vec::new();
    for sixteenths in 8..16 {
        desk.fill_to(STRANGERS_KEPT * sixteenths / 16);
        asked.push(desk.bits());
    }
    desk.fill_to(STRANGERS_KEPT - 1);
    asked.push(desk.bits());
    assert_eq!(asked, [0, 0, MIN_WORK_BITS, 10, 12, 14, 16, 18, MAX_WORK_BITS - 1]);
    desk.fill_to(STRANGERS_KEPT);
    let more = desk.envelope(u64::MAX);
    let response = desk.deposit_with("10.0.0.9:1", &more, &Admission::Nothing);
    assert_eq!(response, refused(MailRefusal::Full), "no work makes room");
}

#[test]
fn enough_work_is_taken_and_less_or_that_for_another_envelope_is_not() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    desk.fill_to(STRANGERS_KEPT * 5 / 8);
    let (one, other) = (desk.envelope(u64::MAX), desk.envelope(u64::MAX - 1));
    let from = "10.0.0.9:1";
    let MailResponse::Refused(MailRefusal::WorkNeeded { bits }) =
        desk.deposit_with(from, &one, &Admission::Nothing)
    else {
        panic!("work was not asked for")
    };
    let nonce = Work { envelope: one.id(), bits }.search(|| true).unwrap();
    let lazy = (0..).find(|nonce| !Work { envelope: one.id(), bits }.is_done_by(*nonce)).unwrap();
    let again = refused(MailRefusal::WorkNeeded { bits });
    assert_eq!(desk.deposit_with(from, &one, &Admission::Work(lazy)), again);
    assert!(!Work { envelope: other.id(), bits }.is_done_by(nonce), "another seed is needed");
    assert_eq!(desk.deposit_with(from, &other, &Admission::Work(nonce)), again);
    assert_eq!(desk.deposit_with(from, &one, &Admission::Work(nonce)), MailResponse::Deposited);
    assert_eq!(desk.mailbox.stats().refused_work, 3);
    assert_eq!(desk.fetch(one.id()), MailResponse::Fetched(one.as_bytes().to_vec()), "without the nonce");
}

#[test]
fn a_flood_of_strangers_displaces_no_contact() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    desk.fill_to(STRANGERS_KEPT);
    let expires = desk.now.wall.saturating_add(DAY);
    let (first, second) = (token(1, expires), token(2, expires));
    let mut number = u64::MAX;
    let mut fill = |desk: &mut Desk, token: &WriteToken| {
        let before = number;
        loop {
            number -= 1;
            let envelope = desk.envelope(number);
            match desk.deposit_with("1.2.3.4:1", &envelope, &shown(token, &envelope)) {
                MailResponse::Deposited => {}
                MailResponse::Refused(MailRefusal::Full) => break before - number,
                other => panic!("unexpected {other:?}"),
            }
            // What one may take in all is another test's concern, and so are ten thousand signatures.
            if before - number == 300 {
                break 300;
            }
        }
    };
    assert_eq!(fill(&mut desk, &first), 300);
    assert_eq!(fill(&mut desk, &second), 300);
    assert_eq!(desk.mailbox.kept_count() as u64, STRANGERS_KEPT + 600);
}

#[test]
fn one_token_leaves_a_third_of_the_room_to_others() {
    let mut mail = DeviceMail::default();
    let mut number = 0_u64;
    let mut fill = |mail: &mut DeviceMail, token: u64| {
        let before = number;
        while mail.has_room(SMALL, (Depositor::LOCAL, TokenTag::from_number(token)), &Limits::default()) {
            number += 1;
            assert!(mail.insert(&KeptEnvelope {
                position: number,
                place: MailPlace { mailbox: MAILBOX, device: bob().node_id() },
                id: EnvelopeId::from_bytes(*blake3::hash(&number.to_be_bytes()).as_bytes()),
                expires: Timestamp::from_unix_ms(u64::MAX),
                len: 585,
                depositor: Depositor::LOCAL,
                token: TokenTag::from_number(token),
            }));
        }
        number - before
    };
    assert_eq!(fill(&mut mail, 1), (MAILBOX_SHARE * MAX_KEPT).div_ceil(1 + MAILBOX_SHARE));
    assert_eq!(fill(&mut mail, 1), 0);
    for token in 2..8 {
        assert!(fill(&mut mail, token) > 0, "{token}");
    }
}

#[test]
fn a_token_is_counted_for_its_network_in_all() {
    let mut desk = Desk::new(90 * SMALL);
    let token = token(1, desk.now.wall.saturating_add(DAY));
    let mut count = 0;
    loop {
        let envelope = desk.envelope(count);
        match desk.deposit_with("1.2.3.4:1", &envelope, &shown(&token, &envelope)) {
            MailResponse::Deposited => count += 1,
            other => break assert_eq!(other, refused(MailRefusal::Full)),
        }
    }
    assert!(count <= 10, "{count}: one network leaves most of a node to others, whatever its tokens");
}

#[test]
fn a_token_that_has_expired_or_is_anothers_is_refused_and_counted() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    let (envelope, other) = (desk.envelope(1), desk.envelope(2));
    let from = "10.0.0.1:1";
    let late = token(1, desk.now.wall);
    assert_eq!(desk.deposit_with(from, &envelope, &shown(&late, &envelope)), refused(MailRefusal::BadToken));
    let expires = desk.now.wall.saturating_add(DAY);
    let good = token(1, expires);
    assert_eq!(desk.deposit_with(from, &envelope, &shown(&good, &other)), refused(MailRefusal::BadToken));
    let mallory = SecretKey::from_bytes(&[66; 32]);
    let forged = WriteToken::issue(&mallory, &MAILBOX, SecretKey::from_bytes(&[1; 32]), expires);
    assert_eq!(
        desk.deposit_with(from, &envelope, &shown(&forged, &envelope)),
        refused(MailRefusal::BadToken)
    );
    assert_eq!(desk.mailbox.stats().refused_token, 3);
    assert_eq!(desk.deposit_with(from, &envelope, &shown(&good, &envelope)), MailResponse::Deposited);
    // What was good when it was deposited is good when it is handed over.
    let (tag, bytes) = (desk.tag(), shown(&late, &other).deposit(other.as_bytes()));
    desk.mailbox.handle_deposit(
        tag,
        &contact(from),
        &bytes,
        &Standing { is_holder_asking: true, ..holder() },
        desk.now,
    );
    assert_eq!(desk.answer(tag), MailResponse::Deposited);
}

#[test]
fn what_was_left_under_a_token_is_handed_over_with_it_and_counted_the_same_after_a_restart() {
    let mut desk = Desk::new(DEFAULT_MAIL_QUOTA);
    desk.fill_to(STRANGERS_KEPT);
    let envelope = desk.envelope(u64::MAX);
    let token = token(1, desk.now.wall.saturating_add(DAY));
    let shown = shown(&token, &envelope);
    assert_eq!(desk.deposit_with("10.0.0.1:1", &envelope, &shown), MailResponse::Deposited);
    let before = desk.mailbox.kept_len();
    desk.restart();
    assert_eq!(desk.mailbox.kept_len(), before);
    let stranger = desk.envelope(u64::MAX - 1);
    assert_eq!(desk.deposit(&stranger), refused(MailRefusal::Full), "strangers' room is as full as it was");
    assert_eq!(desk.fetch(envelope.id()), MailResponse::Fetched(envelope.as_bytes().to_vec()));
    let kept = desk.kept.last().unwrap().position;
    assert_eq!(
        *desk.bodies[&kept],
        shown.deposit(envelope.as_bytes()),
        "whoever it is handed to sees the same"
    );
}
