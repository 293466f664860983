//! What a device is given to open: sealed envelopes of mail, letters, what its sessions with others open, by the
//! cryptography that is used and by the stand-in of simulations, and what is found within.

use peerchat_core::crypto::{
    DeviceCipher, DeviceKeys, Envelope, EnvelopeKind, Olm, SEAL_OVERHEAD, SealKeys, Secret, StandIn, seal,
};
use peerchat_core::fuzzing;
use peerchat_core::identity::UserId;
use peerchat_core::kademlia::{NodeId, NodeKey, RecordKey};
use peerchat_core::mail::{EnvelopeHeader, Letter, SIZE_CLASSES, SealedEnvelope};

use crate::input::{Input, START, Script, secret};

/// Nothing opens that was changed, and whatever does open was sealed for this device.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(7) {
        0 => {
            if let Ok(envelope) = SealedEnvelope::parse(input.rest()) {
                let _ = open(&envelope);
            }
        }
        1 => sealed_bytes(&mut input),
        2 => sealed_letter(&mut input),
        3 => sessions(&mut StandIn::new(1), &mut StandIn::new(2), &mut input),
        4 => {
            let device = || Olm::restore(None).expect("a new device has no state to damage");
            sessions(&mut device(), &mut device(), &mut input);
        }
        5 => saved_states(&mut input),
        _ => contents(&mut input),
    }
}

fn keys() -> SealKeys {
    let mut keys = SealKeys::default();
    keys.rotate(&[1; 32], START);
    keys
}

fn header() -> EnvelopeHeader {
    EnvelopeHeader {
        mailbox: RecordKey::from_bytes([1; 32]),
        device: NodeId::from_bytes([2; 32]),
        expires: START,
    }
}

fn open(envelope: &SealedEnvelope) -> Option<Letter> {
    Letter::open(envelope, |bound, body| keys().open(bound, body)).ok()
}

/// Any bytes, sealed as a letter is.
fn sealed_bytes(input: &mut Input<'_>) {
    let class = SIZE_CLASSES[input.below(SIZE_CLASSES.len())];
    let message = input.rest();
    let message = &message[..message.len().min(class - SEAL_OVERHEAD)];
    let to = keys().current().expect("there is one");
    let body = seal(&to, &SealedEnvelope::header_bytes(&header()), message, class, &[3; 32]);
    let body = body.expect("it fits");
    let envelope = SealedEnvelope::new(&header(), &body).expect("it is of a size class");
    assert!(open(&envelope).is_none(), "nobody can sign by chance");
}

/// A letter, which is then damaged.
fn sealed_letter(input: &mut Input<'_>) {
    let kind = if input.flag() { EnvelopeKind::First } else { EnvelopeKind::Later };
    let letter = Letter {
        from: UserId::from_bytes(input.array()),
        device: NodeKey::from(secret(3).public()),
        number: input.number(),
        count: input.number(),
        oldest: input.number(),
        tag: input.number(),
        envelope: Envelope { kind, bytes: input.bytes().to_vec() },
        introduction: None,
    };
    let to = keys().current().expect("there is one");
    let Ok(envelope) = letter.seal(&header(), &to, &secret(3), (&[4; 32], 0)) else { return };
    assert_eq!(open(&envelope), Some(letter));
    let mut bytes = envelope.as_bytes().to_vec();
    input.damage(&mut bytes);
    if bytes != envelope.as_bytes()
        && let Ok(damaged) = SealedEnvelope::parse(&bytes)
    {
        assert!(open(&damaged).is_none(), "every byte is sealed or bound");
    }
}

/// Two devices that write to each other, and what becomes of an envelope under way.
fn sessions(alice: &mut dyn DeviceCipher, bob: &mut dyn DeviceCipher, input: &mut Input<'_>) {
    let (to, keys) = (keys(), (alice.identity(), bob.identity()));
    let seal = to.current().expect("there is one");
    let with = DeviceKeys { identity: keys.1, prekey: bob.add_prekey(), seal };
    let mut ours = alice.start(&with).expect("the keys are whole");
    let first = ours.seal(b"hello").expect("it fits");
    let mut damaged = first.clone();
    change(&mut damaged, input);
    let _ = bob.session_start(&damaged);
    let _ = bob.accept(&keys.0, &damaged);
    let mut theirs = bob.accept(&keys.0, &first).expect("it is whole").session;
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let (from, to) = if input.flag() { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
        let text = input.bytes();
        let Ok(sealed) = from.seal(text) else { continue };
        let mut damaged = sealed.clone();
        change(&mut damaged, input);
        if damaged.bytes != sealed.bytes {
            assert!(to.open(&damaged).is_err_or_same(text), "what was changed opened to something else");
        }
        if input.flag() {
            let opened = to.open(&sealed);
            assert!(opened.is_err_or_same(text));
        }
    }
}

trait Opened {
    fn is_err_or_same(&self, text: &[u8]) -> bool;
}

impl<T: AsRef<[u8]>, E> Opened for Result<zeroize::Zeroizing<T>, E>
where
    T: zeroize::Zeroize,
{
    fn is_err_or_same(&self, text: &[u8]) -> bool {
        self.as_ref().map_or(true, |opened| (**opened).as_ref() == text)
    }
}

fn change(envelope: &mut Envelope, input: &mut Input<'_>) {
    input.damage(&mut envelope.bytes);
    if input.flag() {
        envelope.kind = EnvelopeKind::Later;
    }
}

/// What a damaged profile may hold instead of keys.
fn saved_states(input: &mut Input<'_>) {
    let state = Secret::copy_of(input.rest());
    let device = Olm::restore(None).expect("a new device has no state to damage");
    let _ = Olm::restore(Some(&state));
    let _ = DeviceCipher::restore(&device, &state);
    let _ = StandIn::restore(&state, 1);
    let _ = DeviceCipher::restore(&StandIn::new(1), &state);
    let _ = SealKeys::restore([(state, START)]);
}

/// What somebody may have sealed: messages alone and in batches, receipts, and what is none of these.
fn contents(input: &mut Input<'_>) {
    let (count, tag) = (input.number(), input.number());
    if let Some(found) = fuzzing::count_messages(input.rest(), count, tag) {
        assert_eq!(found, count, "an envelope has as many messages as it says");
    }
}

/// The parts of a content, of a batch and of a receipt, as `docs/protocol.md` has them; each number is below 251.
fn content_seeds() -> [Vec<u8>; 4] {
    let content = |kind: u8, body: &[u8]| {
        let len = u8::try_from(body.len()).expect("it is short");
        [&[1; 32], &[3, kind, 7, len][..], body].concat()
    };
    let found = |count: u8, opened: &[u8]| [&[6, 1, count, 1, 9], opened].concat();
    let receipt = [&[2; 32], &[0, 5, 1, 9, 1, 2, 4, 3][..], b"tok"].concat();
    let batch = [2, 1, 0, 9, 2, b'h', b'i', 1, 4, 8, 1, b'!'];
    [
        found(1, &content(1, b"hello")),
        found(1, &content(2, &receipt)),
        found(1, &content(3, b"")),
        found(2, &content(16, &batch)),
    ]
}

/// Some for each way.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let letter = Letter {
        from: UserId::from_bytes([1; 32]),
        device: NodeKey::from(secret(3).public()),
        number: 1,
        count: 1,
        oldest: 1,
        tag: 7,
        envelope: Envelope { kind: EnvelopeKind::First, bytes: vec![7; 100] },
        introduction: None,
    };
    let to = keys().current().expect("there is one");
    let sealed = letter.seal(&header(), &to, &secret(3), (&[4; 32], 0)).expect("it fits");
    let written = |way: u8| {
        let script =
            Script::default().put(&[way, 0, 2, 1, 4, 0]).put(&[1]).bytes(b"one").put(&[1, 3, 2, 4, 0, 1]);
        script.put(&[0]).bytes(b"two").put(&[1, 9, 2, 8, 1, 1]).put(&[1]).bytes(b"three").put(&[0]).done()
    };
    let addressed = Script::default().put(&[2, 1]).put(&[9; 32]).put(&[1, 3, 1, 2, 1, 7]).bytes(&[5; 60]);
    let device = DeviceCipher::state(&StandIn::new(1));
    let mut seeds = vec![
        [&[0], sealed.as_bytes()].concat(),
        [vec![1, 0], vec![0; 100]].concat(),
        [vec![1, 1], vec![0xfb; 700]].concat(),
        addressed.put(&[1, 90, 2, 4]).done(),
        written(3),
        written(4),
        [&[5], device.reveal()].concat(),
        b"\x05{\"signing_key\":{\"Normal\":[1,2,3]},\"one_time_keys\":{}}".to_vec(),
    ];
    seeds.extend(content_seeds());
    seeds
}
