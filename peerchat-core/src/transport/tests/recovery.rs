//! What happens while packets, links and peers get lost.

use super::*;

#[test]
fn a_retransmitted_init_is_identical_and_gets_the_same_answer() {
    let mut net = Net::with_hosts(2);
    net.latency = 600 * MS..601 * MS;
    let answer = net.call_and_run(0, 1, true, b"x");
    assert_eq!(body_of(&answer), b"x");
    let of_kind = |kind| {
        let all = net.sent.iter().filter(move |datagram| datagram.bytes[0] == kind);
        all.map(|datagram| &datagram.bytes).collect::<Vec<_>>()
    };
    for kind in [packet::HANDSHAKE_INIT, packet::HANDSHAKE_RESPONSE] {
        let packets = of_kind(kind);
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0], packets[1]);
    }
    assert_eq!(requests(&net.hosts[1]), 1);
    assert_eq!((net.stats(1).answers_repeated, net.stats(0).dropped_unasked), (1, 1));
}

#[test]
fn an_unanswered_call_is_repeated_and_executed_once() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.hosts[1].events.clear();
    net.hosts[1].answering = Answering::After(130 * MS);
    net.call_and_run(0, 1, false, b"slow");
    assert_eq!(requests(&net.hosts[1]), 1);
    assert!(net.stats(1).dropped_duplicate_request >= 1);
}

#[test]
fn a_restarted_peer_is_found_again_by_its_reset() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.restart(1);
    let start = net.now.instant;
    let id = net.call(0, 1, false, b"again");
    while net.outcome(0, id).is_none() {
        assert!(net.step(None));
    }
    assert_eq!(body_of(&net.outcome(0, id).unwrap()), b"again");
    assert_eq!(net.now.instant - start, 6 * LATENCY, "DATA, RESET, handshake, DATA");
    assert_eq!((net.stats(1).resets_sent, net.stats(0).resets_heeded), (1, 1));
}

#[test]
fn a_restarted_peer_is_found_again_without_a_reset() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.restart(1);
    let later = net.now.instant + Duration::from_secs(60);
    while net.hosts[1].transport.allowances.admits_sent_reset(address(0), later) {}
    assert_eq!(body_of(&net.call_and_run(0, 1, true, b"again")), b"again");
    assert_eq!((net.stats(1).resets_sent, net.stats(0).handshakes_started), (0, 2));
}

#[test]
fn a_dead_peer_fails_calls_in_bounded_time() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.hosts[1].address = address(7);
    let to = Contact::new(net.contact(1).key(), address(1));
    for limit in [4_000, 3_500] {
        let start = net.now.instant;
        let id = net.call_contact(0, to, true, b"x");
        while net.outcome(0, id).is_none() {
            assert!(net.step(None));
        }
        assert!(is_timeout(&net.outcome(0, id).unwrap()));
        assert!(net.now.instant - start <= limit * MS);
    }
}

#[test]
fn a_reset_moves_no_link_without_calls() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.call_and_run(0, 1, true, b"x");
    let data = net.sent.iter().rfind(|datagram| datagram.from == address(0)).unwrap().bytes.clone();
    let reset = packet::reset(
        u32::from_be_bytes(data[1..5].try_into().unwrap()),
        u64::from_be_bytes(data[5..13].try_into().unwrap()),
    );
    net.inject(0, address(1), &reset);
    assert_eq!(net.stats(0).dropped_reset, 1);

    let id = net.call(0, 1, true, b"x");
    net.inject(0, address(2), &reset);
    assert_eq!((net.stats(0).dropped_reset, net.stats(0).handshakes_started), (2, 1), "wrong address");
    net.inject(0, address(1), &reset);
    assert_eq!(net.stats(0).handshakes_started, 2);
    net.run_until_idle();
    assert_eq!(body_of(&net.outcome(0, id).unwrap()), b"x", "the old link lives, so the answer arrives");
}

#[test]
fn a_link_survives_a_change_of_address() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.hosts[0].address = address(8);
    let answer = net.call_and_run(0, 1, false, b"moved");
    let TransportEvent::Response { observed, .. } = answer else { panic!("no response: {answer:?}") };
    assert_eq!(observed, address(8));
    assert_eq!((net.stats(1).links_moved, net.stats(0).handshakes_started), (1, 1));
    assert!(net.hosts[1].events.contains(&TransportEvent::PeerProven { peer: net.contact(0) }));
    assert_eq!(body_of(&net.call_and_run(1, 0, false, b"back")), b"back");
    assert_eq!(net.stats(1).handshakes_started, 0);
}

#[test]
fn the_least_recently_used_link_gives_way_and_busy_ones_last() {
    let mut net = Net::with_hosts(5);
    net.hosts[0].transport = transport(1, TransportConfig { max_links: 2, ..TransportConfig::default() });
    net.hosts[1].answering = Answering::After(4000 * MS);
    net.call(0, 1, false, b"busy");
    for to in 2..5 {
        net.run_for(100 * MS);
        net.call(0, to, true, b"x");
    }
    net.run_for(100 * MS);
    assert_eq!((net.hosts[0].transport.link_count(), net.stats(0).links_evicted), (2, 2));
    let keys = [1, 4].map(|host| net.contact(host).key());
    assert!(keys.iter().all(|key| net.hosts[0].transport.links.current(key).is_some()));
}

#[test]
fn an_old_link_is_replaced_while_it_serves() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.run_for(REKEY_AFTER);
    net.sent.clear();
    assert_eq!(round_trips(&net.call_and_run(0, 1, false, b"x")), 1);
    assert_eq!(net.stats(0).handshakes_completed, 2);
    net.run_for(REJECT_AFTER);
    assert_eq!(round_trips(&net.call_and_run(0, 1, false, b"x")), 1, "timed from when it was sent");
    assert_eq!(net.stats(0).handshakes_completed, 3);
}

fn round_trips(event: &TransportEvent) -> u32 {
    match event {
        TransportEvent::Response { round_trip, .. } => {
            (round_trip.expect("sent once").as_millis() / 20) as u32
        }
        other => panic!("no response: {other:?}"),
    }
}

/// Returns how many of 200 calls among ten hosts were answered; all must end.
fn answered_with(loss: f64, seed: u8) -> usize {
    let mut net = Net::with_hosts(10);
    (net.loss, net.duplicates, net.latency) = (loss, 0.1, 5 * MS..80 * MS);
    net.rng = ChaCha20Rng::from_seed([seed; 32]);
    let mut calls = Vec::new();
    for n in 0..200_usize {
        let (from, to) = (n % 10, (n / 10 + n % 10 + 1 + n % 7) % 10);
        if from != to {
            calls.push((from, net.call(from, to, n % 3 != 0, &n.to_be_bytes())));
        }
        net.run_for(7 * MS);
    }
    while calls.len() < 200 {
        calls.push((0, net.call(0, 1, true, b"more")));
    }
    net.run_until_idle();
    let outcomes = calls.iter().map(|(from, id)| net.outcome(*from, *id).expect("every call ends"));
    outcomes.filter(|event| matches!(event, TransportEvent::Response { .. })).count()
}

#[test]
fn every_call_ends_under_loss_duplication_and_reordering() {
    for seed in 1..4 {
        assert_eq!(answered_with(0.0, seed), 200);
        assert!(answered_with(0.05, seed) >= 198);
        assert!(answered_with(0.2, seed) >= 150);
    }
}

#[test]
fn a_machine_at_rest_keeps_no_timers_and_nothing_short_lived() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].answering = Answering::Never;
    net.call_and_run(0, 1, true, b"x");
    for host in &net.hosts {
        assert_eq!(host.transport.poll_timeout(), None);
        assert!(host.transport.open.is_empty() && host.transport.calls.is_empty());
        assert!(host.transport.in_flight.is_empty() && host.transport.dials.is_empty());
    }
}

#[test]
fn handshakes_beyond_the_limit_are_refused() {
    let mut net = Net::with_hosts(1);
    let key = |n: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_be_bytes());
        SecretKey::from_bytes(&seed).public().into()
    };
    for n in 0..MAX_HANDSHAKES {
        net.call_contact(0, Contact::new(key(n), address(50)), true, b"x");
    }
    assert!(net.hosts[0].events.is_empty());
    net.call_contact(0, Contact::new(key(0), address(50)), true, b"shares one");
    assert!(net.hosts[0].events.is_empty());
    net.call_contact(0, Contact::new(key(MAX_HANDSHAKES), address(50)), true, b"x");
    assert!(matches!(net.hosts[0].events[..], [TransportEvent::CallFailed { reason: CallError::Busy, .. }]));
    net.run_until_idle();
    assert_eq!(net.hosts[0].events.len(), MAX_HANDSHAKES + 2);
}

#[test]
fn an_idle_link_takes_less_than_a_quarter_of_a_kilobyte() {
    const { assert!(size_of::<link::Link>() <= 232) }
}
