//! What holds for every [`DeviceCipher`]: the real one and its stand-in are put to the same tests.

use super::*;

fn stand_in(seed: u64) -> Box<dyn DeviceCipher> {
    Box::new(StandIn::new(seed))
}

#[cfg(feature = "runtime")]
fn olm(_: u64) -> Box<dyn DeviceCipher> {
    Box::new(Olm::restore(None).unwrap())
}

/// Runs a fact for two devices of each kind.
fn for_each(fact: impl Fn(Box<dyn DeviceCipher>, Box<dyn DeviceCipher>)) {
    fact(stand_in(1), stand_in(2));
    #[cfg(feature = "runtime")]
    fact(olm(1), olm(2));
}

fn keys(device: &mut Box<dyn DeviceCipher>) -> DeviceKeys {
    DeviceKeys { identity: device.identity(), prekey: device.add_prekey(), seal: SealKey([0; 32]) }
}

fn text(opened: &[u8]) -> &str {
    std::str::from_utf8(opened).unwrap()
}

#[test]
fn a_conversation_goes_back_and_forth() {
    for_each(|mut alice, mut bob| {
        let mut outgoing = alice.start(&keys(&mut bob)).unwrap();
        let first = outgoing.seal(b"hello").unwrap();
        assert_eq!(first.kind, EnvelopeKind::First);
        let start = bob.session_start(&first).unwrap();
        assert_eq!(start.id, outgoing.id());
        let FirstMessage { mut session, opened } = bob.accept(&alice.identity(), &first).unwrap();
        assert_eq!((session.id(), text(&opened)), (outgoing.id(), "hello"));
        let answer = session.seal(b"hi").unwrap();
        assert_eq!((answer.kind, bob.session_start(&answer)), (EnvelopeKind::Later, None));
        assert_eq!(text(&outgoing.open(&answer).unwrap()), "hi");
        let later = outgoing.seal(b"how are you?").unwrap();
        assert_eq!(later.kind, EnvelopeKind::Later);
        assert_eq!(text(&session.open(&later).unwrap()), "how are you?");
    });
}

#[test]
fn an_envelope_opens_once_and_an_unopened_one_changes_nothing() {
    for_each(|mut alice, mut bob| {
        let mut outgoing = alice.start(&keys(&mut bob)).unwrap();
        let first = outgoing.seal(b"one").unwrap();
        let mut session = bob.accept(&alice.identity(), &first).unwrap().session;
        assert_eq!(session.open(&first).unwrap_err(), CipherError::NoKey);
        let second = outgoing.seal(b"two").unwrap();
        for byte in 0..second.bytes.len() {
            let mut forged = second.clone();
            forged.bytes[byte] ^= 1;
            if let Ok(opened) = session.open(&forged) {
                panic!("byte {byte} was changed and it opened as {opened:?}");
            }
        }
        assert_eq!(text(&session.open(&second).unwrap()), "two");
    });
}

#[test]
fn forty_overtaken_messages_still_open_and_the_one_before_does_not() {
    for_each(|mut alice, mut bob| {
        let mut outgoing = alice.start(&keys(&mut bob)).unwrap();
        let first = outgoing.seal(b"").unwrap();
        let mut session = bob.accept(&alice.identity(), &first).unwrap().session;
        let later: Vec<Envelope> = (0..=MAX_SKIPPED_KEYS + 1).map(|_| outgoing.seal(b"").unwrap()).collect();
        assert!(session.open(later.last().unwrap()).is_ok());
        assert_eq!(session.open(&later[0]).unwrap_err(), CipherError::NoKey);
        assert!(later[1..=MAX_SKIPPED_KEYS].iter().all(|envelope| session.open(envelope).is_ok()));
    });
}

#[test]
fn a_prekey_starts_many_sessions_until_it_is_dropped() {
    for_each(|mut alice, mut bob| {
        let keys = keys(&mut bob);
        let first = |alice: &mut Box<dyn DeviceCipher>| alice.start(&keys).unwrap().seal(b"").unwrap();
        let firsts = [first(&mut alice), first(&mut alice), first(&mut alice)];
        let ids = [0, 1].map(|index| bob.accept(&alice.identity(), &firsts[index]).unwrap().session.id());
        assert_ne!(ids[0], ids[1]);
        bob.drop_prekey(&keys.prekey);
        let refused = bob.accept(&alice.identity(), &firsts[2]).unwrap_err();
        assert_eq!(refused, CipherError::UnknownPrekey);
    });
}

#[test]
fn nobody_passes_for_another_device() {
    for_each(|mut alice, mut bob| {
        let first = alice.start(&keys(&mut bob)).unwrap().seal(b"").unwrap();
        assert_eq!(bob.accept(&bob.identity(), &first).unwrap_err(), CipherError::BadKeys);
    });
}

#[test]
fn device_and_session_survive_their_saved_state() {
    for_each(|mut alice, mut bob| {
        let mut outgoing = alice.start(&keys(&mut bob)).unwrap();
        let first = outgoing.seal(b"one").unwrap();
        let mut outgoing = alice.restore(&outgoing.state()).unwrap();
        let second = outgoing.seal(b"two").unwrap();
        let session = bob.accept(&alice.identity(), &first).unwrap().session;
        let mut session = bob.restore(&session.state()).unwrap();
        assert_eq!(text(&session.open(&second).unwrap()), "two");
        assert_eq!(alice.restore(&Secret::copy_of(b"damaged")).unwrap_err(), CipherError::Malformed);
    });
}

#[cfg(feature = "runtime")]
#[test]
fn an_olm_device_survives_its_saved_state() {
    let mut device: Box<dyn DeviceCipher> = Box::new(Olm::restore(None).unwrap());
    let keys = keys(&mut device);
    let restored = Olm::restore(Some(&device.state())).unwrap();
    assert_eq!(restored.identity(), keys.identity);
    let mut alice = olm(1);
    let first = alice.start(&keys).unwrap().seal(b"hello").unwrap();
    assert_eq!(text(&restored.accept(&alice.identity(), &first).unwrap().opened), "hello");
    assert!(Olm::restore(Some(&Secret::copy_of(b"{}"))).is_err());
}

#[cfg(feature = "runtime")]
#[test]
fn the_longest_text_fits_an_envelope() {
    let content = crate::user::Content {
        conversation: [1; 32],
        number: u64::MAX,
        kind: u16::MAX,
        sent: crate::time::Timestamp::from_unix_ms(u64::MAX),
        body: vec![b'x'; crate::MAX_TEXT_LEN],
    };
    let mut outgoing = olm(1).start(&keys(&mut olm(2))).unwrap();
    let content = crate::codec::encode(&content);
    assert!(content.len() > crate::MAX_TEXT_LEN);
    let lengths: Vec<usize> = (0..300).map(|_| outgoing.seal(&content).unwrap().bytes.len()).collect();
    assert!(lengths.iter().all(|len| *len <= MAX_ENVELOPE_LEN), "{lengths:?}");
    const { assert!(super::super::user::MAX_IN_FLIGHT <= MAX_SKIPPED_KEYS) };
}

#[cfg(feature = "runtime")]
#[test]
fn secrets_are_not_printed() {
    let (mut alice, mut bob) = (olm(1), olm(2));
    let mut session = alice.start(&keys(&mut bob)).unwrap();
    let first = bob.accept(&alice.identity(), &session.seal(b"hello").unwrap()).unwrap();
    let printed = format!("{alice:?} {session:?} {first:?}");
    insta::assert_snapshot!(printed, @"Olm(..) OlmSession(..) FirstMessage(..)");
}

/// What one device knows at some time opens nothing of before, and nothing of after the other side has answered.
#[cfg(feature = "runtime")]
#[test]
fn a_stolen_session_opens_neither_what_came_before_nor_what_follows_a_round_trip() {
    let (mut alice, mut bob) = (olm(1), olm(2));
    let mut outgoing = alice.start(&keys(&mut bob)).unwrap();
    let first = outgoing.seal(b"one").unwrap();
    let mut session = bob.accept(&alice.identity(), &first).unwrap().session;
    outgoing.open(&session.seal(b"two").unwrap()).unwrap();
    let before = outgoing.seal(b"three").unwrap();
    session.open(&before).unwrap();

    let stolen = session.state();
    let thief = |envelope: &Envelope| bob.restore(&stolen).unwrap().open(envelope);
    assert!(thief(&before).is_err(), "what was opened stays closed");
    let now = outgoing.seal(b"four").unwrap();
    assert!(thief(&now).is_ok(), "what comes next is open to the thief");

    session.open(&now).unwrap();
    outgoing.open(&session.seal(b"five").unwrap()).unwrap();
    let after = outgoing.seal(b"six").unwrap();
    assert!(thief(&after).is_err(), "what follows a round trip is closed again");
    assert!(session.open(&after).is_ok());
}
