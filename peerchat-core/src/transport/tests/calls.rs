//! What callers and callees see while the network is well.

use super::*;

fn round_trip_of(event: &TransportEvent) -> Duration {
    match event {
        TransportEvent::Response { round_trip, .. } => round_trip.expect("sent once"),
        other => panic!("no response: {other:?}"),
    }
}

#[test]
fn a_cold_early_call_takes_one_round_trip() {
    let mut net = Net::with_hosts(2);
    let answer = net.call_and_run(0, 1, true, b"are you there?");
    assert_eq!(body_of(&answer), b"are you there?");
    assert_eq!(round_trip_of(&answer), 2 * LATENCY);
    let TransportEvent::Response { from, observed, kind, .. } = answer else { unreachable!() };
    assert_eq!((from, observed, kind), (net.contact(1), address(0), KIND));
    let kinds: Vec<u8> = net.sent.iter().map(|datagram| datagram.bytes[0]).collect();
    assert_eq!(kinds, [packet::HANDSHAKE_INIT, packet::HANDSHAKE_RESPONSE, packet::DATA]);
}

#[test]
fn an_early_request_is_not_proven_and_the_initiator_is_soon_after() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    let (asker, events) = (net.contact(0), &net.hosts[1].events);
    assert!(matches!(
        events[0],
        TransportEvent::Request { from, is_proven: false, .. } if from == asker
    ));
    assert_eq!(events[1], TransportEvent::PeerProven { peer: asker });
    assert_eq!(net.hosts[1].transport.link_count(), 1);
}

#[test]
fn a_call_that_is_not_early_waits_for_the_handshake() {
    let mut net = Net::with_hosts(2);
    let answer = net.call_and_run(0, 1, false, b"store this");
    assert_eq!(body_of(&answer), b"store this");
    assert_eq!(net.sent[0].bytes.len(), 172);
    assert_eq!(net.sent[1].bytes.len(), 61);
    let is_proven = |event: &TransportEvent| matches!(event, TransportEvent::Request { is_proven: true, .. });
    assert!(net.hosts[1].events.iter().any(is_proven));
}

#[test]
fn a_warm_call_takes_two_small_packets_in_either_direction() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    for (from, to) in [(0, 1), (1, 0)] {
        net.sent.clear();
        assert_eq!(body_of(&net.call_and_run(from, to, false, b"hello")), b"hello");
        let lens: Vec<usize> = net.sent.iter().map(|datagram| datagram.bytes.len()).collect();
        assert_eq!(lens, [29 + 6 + 5, 29 + 24 + 5]);
    }
    assert_eq!(net.stats(1).handshakes_started, 0);
}

#[test]
fn calls_share_a_handshake() {
    let mut net = Net::with_hosts(2);
    let ids: Vec<CallId> = (0..20).map(|n| net.call(0, 1, n % 2 == 0, &[n])).collect();
    net.run_until_idle();
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(body_of(&net.outcome(0, id).unwrap()), [n as u8]);
    }
    assert_eq!(net.stats(0).handshakes_started, 1);
}

#[test]
fn both_sides_may_call_first_at_once() {
    let mut net = Net::with_hosts(2);
    for is_early in [true, false] {
        let ids = [net.call(0, 1, is_early, b"a"), net.call(1, 0, is_early, b"b")];
        net.run_until_idle();
        assert_eq!(body_of(&net.outcome(0, ids[0]).unwrap()), b"a");
        assert_eq!(body_of(&net.outcome(1, ids[1]).unwrap()), b"b");
    }
    for host in [0, 1] {
        assert_eq!(net.hosts[host].transport.link_count(), 1);
        assert_eq!(net.stats(host).dropped_unknown_link, 0);
    }
}

#[test]
fn an_answer_that_does_not_fit_the_handshake_comes_over_the_link() {
    let mut net = Net::with_hosts(2);
    for (len, request_count) in [(MAX_EARLY_RESPONSE_LEN, 1), (MAX_BODY_LEN, 2)] {
        net.restart(1);
        net.hosts[0].transport = transport(1, TransportConfig::default());
        net.hosts[1].events.clear();
        net.hosts[1].answering = Answering::Len(len);
        assert_eq!(body_of(&net.call_and_run(0, 1, true, b"x")).len(), len);
        assert_eq!(requests(&net.hosts[1]), request_count);
    }
}

#[test]
fn a_slow_engine_does_not_stall_the_handshake() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].answering = Answering::After(300 * MS);
    let early = net.call(0, 1, true, b"early");
    net.run_for(EARLY_ANSWER_WAIT + 3 * LATENCY);
    assert_eq!(net.hosts[0].transport.link_count(), 1);
    net.run_until_idle();
    assert_eq!(body_of(&net.outcome(0, early).unwrap()), b"early");
    assert_eq!(net.stats(1).replies_late, 1);
}

#[test]
fn the_largest_bodies_fit_and_larger_ones_are_refused() {
    let mut net = Net::with_hosts(2);
    for (is_early, len) in
        [(true, MAX_EARLY_REQUEST_LEN), (true, MAX_BODY_LEN), (false, MAX_BODY_LEN), (false, 0)]
    {
        net.hosts[0].transport = transport(1, TransportConfig::default());
        net.restart(1);
        assert_eq!(body_of(&net.call_and_run(0, 1, is_early, &vec![3; len])).len(), len);
    }
    let refused = net.call_and_run(0, 1, true, &[0; MAX_BODY_LEN + 1]);
    let reason = CallError::TooLong { len: MAX_BODY_LEN + 1 };
    assert!(matches!(refused, TransportEvent::CallFailed { reason: given, .. } if given == reason));
    const { assert!(MAX_EARLY_RESPONSE_LEN >= 1060) }
}

#[test]
fn a_reply_over_a_limit_is_counted() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.hosts[1].answering = Answering::Len(MAX_STREAM_BODY_LEN + 1);
    assert!(is_timeout(&net.call_and_run(0, 1, false, b"x")));
    assert!(net.stats(1).replies_invalid > 0);
}

#[test]
fn a_reply_that_fits_no_datagram_gives_the_call_back() {
    let mut net = Net::with_hosts(2);
    for is_early in [true, false] {
        net.hosts[1].answering = Answering::Len(MAX_BODY_LEN + 1);
        let id = net.call(0, 1, is_early, b"x");
        net.run_until_idle();
        let call = net.hosts[0].transport.poll_oversized().expect("the peer says that it does not fit");
        assert_eq!((call.id, &call.body[..]), (id, &b"x"[..]));
        assert_eq!(net.outcome(0, id), None, "the call goes on, by stream");
        assert_eq!(net.hosts[0].transport.poll_oversized(), None);
    }
    assert_eq!((net.stats(1).replies_by_stream, net.stats(1).replies_invalid), (2, 0));
}

#[test]
fn keys_and_kinds_that_cannot_be_called_fail_at_once() {
    let mut net = Net::with_hosts(2);
    let mut weak = [0; 32];
    weak[0] = 1;
    for key in [net.contact(0).key(), NodeKey::from_bytes([0xff; 32]), NodeKey::from_bytes(weak)] {
        let id = net.call_contact(0, Contact::new(key, address(1)), true, b"x");
        let outcome = net.outcome(0, id);
        assert!(matches!(outcome, Some(TransportEvent::CallFailed { reason: CallError::BadKey, .. })));
    }
    let call = Call {
        id: CallId(77),
        to: net.contact(1),
        kind: 0x7f,
        body: vec![],
        is_early: true,
        is_bulk: false,
        is_answer_long: false,
        is_fleeting: false,
    };
    net.hosts[0].transport.call(call, net.now);
    net.settle();
    assert!(matches!(
        net.outcome(0, CallId(77)),
        Some(TransportEvent::CallFailed { reason: CallError::BadKind { kind: 0x7f }, .. })
    ));
    assert!(net.sent.is_empty());
}

#[test]
fn a_wrong_key_at_the_right_address_times_out() {
    let mut net = Net::with_hosts(2);
    let imposter = Contact::new(secret(50).public().into(), address(1));
    let start = net.now.instant;
    let id = net.call_contact(0, imposter, true, b"x");
    net.run_until_idle();
    assert!(is_timeout(&net.outcome(0, id).unwrap()));
    assert_eq!(net.now.instant - start, 3500 * MS);
    assert_eq!(net.stats(1).dropped_wrong_mac, 3);
}

#[test]
fn a_probe_finds_the_key_at_an_address() {
    let mut net = Net::with_hosts(2);
    net.hosts[0].transport.probe(ProbeId(1), address(1), net.now);
    net.hosts[0].transport.probe(ProbeId(2), address(9), net.now);
    net.settle();
    net.run_until_idle();
    let key = net.contact(1).key();
    let found = TransportEvent::KeyFound { probe: ProbeId(1), address: address(1), key };
    assert_eq!(net.hosts[0].events, [found, TransportEvent::ProbeFailed { probe: ProbeId(2) }]);
}

#[test]
fn ipv6_and_mapped_addresses_work() {
    let mut net = Net::with_hosts(2);
    net.hosts[0].address = "[2001:db8::1]:5000".parse().unwrap();
    net.hosts[1].address = "[2001:db8::2]:5000".parse().unwrap();
    let answer = net.call_and_run(0, 1, true, b"x");
    let TransportEvent::Response { observed, .. } = answer else { panic!("no response") };
    assert_eq!(observed, net.hosts[0].address);

    let mut net = Net::with_hosts(2);
    net.hosts[0].address = "[::ffff:10.0.0.1]:4000".parse().unwrap();
    let call = Call {
        id: CallId(1),
        to: net.contact(1),
        kind: KIND,
        body: vec![],
        is_early: true,
        is_bulk: false,
        is_answer_long: false,
        is_fleeting: false,
    };
    net.hosts[0].transport.call(call, net.now);
    net.settle();
    net.run_for(LATENCY);
    let reply = net.sent.iter().find(|datagram| datagram.bytes[0] == packet::HANDSHAKE_RESPONSE).unwrap();
    assert_eq!(reply.to, address(0), "a mapped address is answered as IPv4");
}

#[test]
fn networks_do_not_mix() {
    let mut net = Net::with_hosts(2);
    let other = TransportConfig { network: "other".into(), ..TransportConfig::default() };
    net.hosts[1].transport = transport(2, other);
    assert!(is_timeout(&net.call_and_run(0, 1, true, b"x")));
    net.hosts[0].transport.probe(ProbeId(1), address(1), net.now);
    net.settle();
    net.run_until_idle();
    assert_eq!(net.hosts[0].events.last(), Some(&TransportEvent::ProbeFailed { probe: ProbeId(1) }));
    assert_eq!((net.stats(1).dropped_wrong_mac, net.stats(1).dropped_other_network), (3, 3));
}

fn hint(net: &mut Net, from: usize, to: usize) -> CallId {
    net.last_call += 1;
    let (id, to) = (CallId(net.last_call), net.contact(to));
    let call = Call {
        id,
        to,
        kind: KIND,
        body: b"now".to_vec(),
        is_early: true,
        is_bulk: false,
        is_answer_long: false,
        is_fleeting: true,
    };
    net.hosts[from].transport.call(call, net.now);
    net.settle();
    id
}

#[test]
fn what_is_fleeting_begins_no_link_and_goes_over_one_that_is_there() {
    let mut net = Net::with_hosts(2);
    let id = hint(&mut net, 0, 1);
    let no_link = TransportEvent::CallFailed { call: id, reason: CallError::NoLink };
    assert_eq!(net.outcome(0, id), Some(no_link));
    assert!(net.sent.is_empty());
    net.call_and_run_for(0, 1, b"hello");
    for (from, to) in [(0, 1), (1, 0)] {
        let (id, before) = (hint(&mut net, from, to), net.sent.len());
        net.run_for(Duration::from_secs(1));
        assert_eq!(body_of(&net.outcome(from, id).unwrap()), b"now");
        assert_eq!(net.sent.len(), before + 1, "the answer, after one packet");
    }
    // An old link still serves: a new one is not begun for this.
    net.run_for(REKEY_AFTER);
    let handshakes =
        |net: &Net| net.sent.iter().filter(|sent| sent.bytes[0] == packet::HANDSHAKE_INIT).count();
    let before = handshakes(&net);
    let id = hint(&mut net, 0, 1);
    net.run_for(Duration::from_secs(1));
    assert_eq!(body_of(&net.outcome(0, id).unwrap()), b"now");
    assert_eq!(handshakes(&net), before);
}

/// A lost hint must not make the next message begin with a handshake.
#[test]
fn what_is_fleeting_and_lost_is_sent_once_and_costs_no_link() {
    let mut net = Net::with_hosts(2);
    net.call_and_run_for(0, 1, b"hello");
    (net.loss, net.sent) = (1.0, Vec::new());
    let id = hint(&mut net, 0, 1);
    net.run_for(Duration::from_secs(30));
    assert!(is_timeout(&net.outcome(0, id).unwrap()));
    assert_eq!(net.sent.len(), 1);
    (net.loss, net.sent) = (0.0, Vec::new());
    net.call_and_run_for(0, 1, b"hello again");
    assert_eq!(net.sent.len(), 2, "a request and an answer over the link that there was");
}

#[test]
fn what_is_fleeting_dials_nobody_who_was_restarted_and_goes_by_no_stream() {
    let mut net = Net::with_hosts(2);
    net.call_and_run_for(0, 1, b"hello");
    net.hosts[1].answering = Answering::Len(MAX_BODY_LEN + 1);
    let id = hint(&mut net, 0, 1);
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.outcome(0, id), Some(TransportEvent::CallFailed { call: id, reason: CallError::NoLink }));
    assert!(net.hosts[0].transport.poll_oversized().is_none());
    net.restart(1);
    net.sent.clear();
    let id = hint(&mut net, 0, 1);
    net.run_for(Duration::from_secs(30));
    assert!(is_timeout(&net.outcome(0, id).unwrap()));
    let kinds: Vec<u8> = net.sent.iter().map(|sent| sent.bytes[0]).collect();
    assert_eq!(kinds, [packet::DATA, packet::RESET]);
}
