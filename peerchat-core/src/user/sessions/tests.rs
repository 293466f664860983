use super::*;
use crate::crypto::StandIn;
use crate::identity::SecretKey;
use crate::save::ProfileKeys;

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
const PEER: Peer = (ConversationId(1), NodeId::from_bytes([4; 32]));

fn sessions(saved: &mut Saved) -> Sessions {
    Sessions::restore(Box::new(StandIn::new(1)), saved)
}

fn fresh() -> Saved {
    Saved::fresh(ProfileKeys { node: SecretKey::from_bytes(&[7; 32]), user: None })
}

/// Two devices that know one another's keys.
fn pair() -> (Sessions, DeviceKeys, Sessions, DeviceKeys) {
    let mut alice = sessions(&mut fresh());
    let mut bob = Sessions::restore(Box::new(StandIn::new(2)), &mut fresh());
    let keys = [&mut alice, &mut bob].map(|sessions| sessions.rotate(&[1; 32], NOW));
    (alice, keys[0], bob, keys[1])
}

/// Starts a session and returns its first envelope.
fn start(sessions: &mut Sessions, with: &DeviceKeys) -> Envelope {
    sessions.start(PEER, with).unwrap();
    sessions.seal(PEER, b"first").unwrap()
}

fn saved_sessions(writes: Vec<Write>) -> Vec<SavedSession> {
    let session = |write| if let Write::Session(session) = write { Some(session) } else { None };
    writes.into_iter().filter_map(session).collect()
}

#[test]
fn what_last_opened_something_new_is_sealed_in() {
    let (mut alice, alice_keys, mut bob, bob_keys) = pair();
    let [one, two] = [start(&mut alice, &bob_keys), start(&mut bob, &alice_keys)];
    assert!(bob.open(PEER, &alice_keys.identity, &one, NOW).is_ok());
    assert!(alice.open(PEER, &bob_keys.identity, &two, NOW).is_ok());
    // Each answers in the session of the other; both go on.
    for _ in 0..3 {
        let [from_alice, from_bob] = [&mut alice, &mut bob].map(|side| side.seal(PEER, b"x").unwrap());
        assert!(bob.open(PEER, &alice_keys.identity, &from_alice, NOW).is_ok());
        assert!(alice.open(PEER, &bob_keys.identity, &from_bob, NOW).is_ok());
    }
    assert_eq!((alice.live_count, bob.live_count), (2, 2));
}

#[test]
fn a_replayed_first_message_starts_nothing() {
    let (mut alice, alice_keys, mut bob, bob_keys) = pair();
    let first = start(&mut alice, &bob_keys);
    assert!(bob.open(PEER, &alice_keys.identity, &first, NOW).is_ok());
    let open = |bob: &mut Sessions| bob.open(PEER, &alice_keys.identity, &first, NOW).unwrap_err();
    assert_eq!(open(&mut bob), OpenError::Unopened);
    // Nor once the session has made way for others, nor after a restart.
    let day = |day: u64| NOW.saturating_add(DAY * u32::try_from(day).unwrap());
    for number in 0..MAX_SESSIONS as u64 {
        let next = start(&mut alice, &bob_keys);
        assert!(bob.open(PEER, &alice_keys.identity, &next, day(number)).is_ok());
    }
    assert_eq!((bob.live_count, bob.ended.len()), (MAX_SESSIONS, 1));
    assert_eq!(open(&mut bob), OpenError::Unopened);
    let mut saved = Saved { sessions: saved_sessions(bob.take_writes()), ..fresh() };
    let mut restored = Sessions::restore(Box::new(StandIn::new(2)), &mut saved);
    restored.rotate(&[1; 32], NOW);
    assert_eq!(open(&mut restored), OpenError::Unopened);
    // Until its prekey starts nothing any more.
    for week in 1..=6 {
        restored.rotate(&[1; 32], day(7 * week));
    }
    assert!(restored.ended.is_empty());
    assert_eq!(open(&mut restored), OpenError::Unopened, "the prekey is gone");
}

#[test]
fn a_device_starts_only_so_many_sessions_in_a_day() {
    let (mut alice, alice_keys, mut bob, bob_keys) = pair();
    let mut open = |now| {
        let first = start(&mut alice, &bob_keys);
        bob.open(PEER, &alice_keys.identity, &first, now).map(|_| ())
    };
    assert!((0..MAX_NEW_SESSIONS).all(|_| open(NOW).is_ok()));
    assert_eq!(open(NOW), Err(OpenError::Busy));
    assert!(open(NOW.saturating_add(DAY)).is_ok());
    assert_eq!(bob.live_count, MAX_SESSIONS);
}

#[test]
fn a_session_survives_being_saved_and_a_damaged_one_is_dropped() {
    let (mut alice, alice_keys, mut bob, bob_keys) = pair();
    let first = start(&mut alice, &bob_keys);
    bob.open(PEER, &alice_keys.identity, &first, NOW).unwrap();
    let second = alice.seal(PEER, b"second").unwrap();
    let kept = saved_sessions(bob.take_writes());
    assert_eq!(kept.len(), 1);
    let mut restored = sessions(&mut Saved { sessions: kept.clone(), ..fresh() });
    assert_eq!(*restored.open(PEER, &alice_keys.identity, &second, NOW).unwrap(), b"second");

    let damaged = SavedSession { state: Some(Secret::copy_of(b"nonsense")), ..kept[0].clone() };
    let mut restored = sessions(&mut Saved { sessions: vec![damaged], ..fresh() });
    restored.rotate(&[1; 32], NOW);
    assert!(restored.open(PEER, &alice_keys.identity, &second, NOW).is_err());
    assert!(restored.seal(PEER, b"").is_err());
    assert_eq!(restored.live_count, 0);
}

#[test]
fn nothing_is_sealed_in_a_retired_session_and_what_comes_in_it_opens() {
    let (mut alice, alice_keys, mut bob, bob_keys) = pair();
    let first = start(&mut alice, &bob_keys);
    bob.open(PEER, &alice_keys.identity, &first, NOW).unwrap();
    bob.take_writes();
    bob.retire(PEER);
    assert!(!bob.can_seal(PEER));
    assert!(saved_sessions(bob.take_writes())[0].is_retired);
    let later = alice.seal(PEER, b"later").unwrap();
    assert!(bob.open(PEER, &alice_keys.identity, &later, NOW).is_ok());
    assert!(!bob.can_seal(PEER));
}

#[test]
fn so_many_unacknowledged_messages_ask_for_a_new_session() {
    let (mut alice, _, _, bob_keys) = pair();
    start(&mut alice, &bob_keys);
    (1..MAX_UNACKNOWLEDGED).for_each(|_| assert!(alice.seal(PEER, b"").is_ok()));
    assert!(!alice.can_seal(PEER));
    alice.handle_acknowledged(PEER);
    assert!(alice.can_seal(PEER));
}
