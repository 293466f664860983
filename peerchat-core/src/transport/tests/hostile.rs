//! What strangers can and cannot do.

use proptest::prelude::*;

use super::*;

/// Every type of packet; `types_of_quic_and_of_the_future_are_counted` holds this list to what is decoded.
const EVERY_KIND: [u8; 7] = [
    packet::KEY_REQUEST,
    packet::KEY_REPLY,
    packet::HANDSHAKE_INIT,
    packet::HANDSHAKE_RESPONSE,
    packet::DATA,
    packet::RESET,
    packet::COOKIE,
];

/// One packet of every type with the host it is for, before that host has seen it.
fn every_packet() -> Vec<(Net, usize, Datagram)> {
    EVERY_KIND.map(net_before).into()
}

/// Returns a network in which a packet of this type is about to arrive.
fn net_before(kind: u8) -> (Net, usize, Datagram) {
    let mut net = Net::with_hosts(2);
    if matches!(kind, packet::DATA | packet::RESET) {
        net.call_and_run(0, 1, true, b"x");
    }
    if kind == packet::RESET {
        net.restart(1);
    }
    if kind == packet::COOKIE {
        net.overload(1);
    }
    net.sent.clear();
    if kind == packet::KEY_REQUEST || kind == packet::KEY_REPLY {
        net.hosts[0].transport.probe(ProbeId(1), address(1), net.now);
        net.settle();
    } else {
        net.call(0, 1, true, b"question");
    }
    while net.sent.iter().all(|datagram| datagram.bytes[0] != kind) {
        assert!(net.step(None));
    }
    let datagram = net.find(kind);
    let host = net.hosts.iter().position(|host| host.address == datagram.to).unwrap();
    net.queue.clear();
    net.hosts.iter_mut().for_each(|host| host.events.clear());
    net.sent.clear();
    (net, host, datagram)
}

/// Hands in a datagram from a stranger and returns what changed besides counters.
fn effects(net: &mut Net, host: usize, bytes: &[u8]) -> (usize, usize) {
    effects_from(net, host, address(66), bytes)
}

fn effects_from(net: &mut Net, host: usize, from: SocketAddr, bytes: &[u8]) -> (usize, usize) {
    let before = (net.sent.len(), net.hosts[host].events.len());
    net.inject(host, from, bytes);
    (net.sent.len() - before.0, net.hosts[host].events.len() - before.1)
}

#[test]
fn every_packet_has_an_effect_when_it_is_whole() {
    for (mut net, host, datagram) in every_packet() {
        net.inject(host, datagram.from, &datagram.bytes);
        let has_effect = !net.sent.is_empty() || !net.hosts[host].events.is_empty();
        assert!(has_effect, "type {}", datagram.bytes[0]);
    }
}

#[test]
fn a_reply_to_a_stranger_is_never_larger_than_what_it_answers() {
    let answerings = [Answering::Echo, Answering::Len(MAX_BODY_LEN), Answering::Never];
    for (answering, is_loaded) in answerings.into_iter().flat_map(|how| [(how, false), (how, true)]) {
        for (mut net, host, datagram) in every_packet() {
            net.hosts[host].answering = answering;
            if is_loaded {
                net.overload(host);
            }
            let stranger = address(66);
            net.inject(host, stranger, &datagram.bytes);
            net.run_until_idle();
            let to_stranger = net.sent.iter().filter(|sent| sent.to == stranger);
            let reply_len: usize = to_stranger.map(|sent| sent.bytes.len()).sum();
            let (kind, len) = (datagram.bytes[0], datagram.bytes.len());
            assert!(reply_len <= len, "type {kind}: {reply_len} bytes for {len}");
        }
    }
}

#[test]
fn a_moved_peer_gets_no_more_than_it_sends_until_it_echoes() {
    let (mut net, host, datagram) = net_before(packet::DATA);
    net.hosts[host].answering = Answering::Len(1000);
    net.inject(host, address(66), &datagram.bytes);
    assert_eq!(net.stats(host).replies_to_unproven, 1);
    assert!(matches!(net.hosts[host].events[0], TransportEvent::Request { is_proven: false, .. }));
    let lens: Vec<usize> = net.sent.iter().map(|sent| sent.bytes.len()).collect();
    assert_eq!(lens, [35], "the challenge only");
    assert_eq!(net.stats(host).links_moved, 0);
}

#[test]
fn a_replayed_packet_changes_nothing() {
    for (mut net, host, datagram) in every_packet() {
        net.inject(host, datagram.from, &datagram.bytes);
        let links = net.hosts[host].transport.link_count();
        let events = net.hosts[host].events.len();
        net.sent.clear();
        net.inject(host, datagram.from, &datagram.bytes);
        assert_eq!(net.hosts[host].events.len(), events, "type {}", datagram.bytes[0]);
        assert_eq!(net.hosts[host].transport.link_count(), links);
        let may_answer = matches!(datagram.bytes[0], packet::KEY_REQUEST | packet::HANDSHAKE_INIT);
        assert!(may_answer || net.sent.is_empty(), "type {}", datagram.bytes[0]);
    }
}

#[test]
fn an_answer_goes_to_one_address_so_that_nobody_passes_for_another() {
    for is_answered in [true, false] {
        let (mut net, host, init) = net_before(packet::HANDSHAKE_INIT);
        net.hosts[host].answering = if is_answered { Answering::Echo } else { Answering::Never };
        // A victim's address, forged; the sender then asks for the answer where it does receive.
        net.inject(host, address(66), &init.bytes);
        net.sent.clear();
        net.inject(host, init.from, &init.bytes);
        assert!(net.sent.is_empty(), "the answer was for the other address");
        assert_eq!(net.stats(host).dropped_duplicate_init, 1);
        net.run_until_idle();
        let is_proven = |event: &TransportEvent| matches!(event, TransportEvent::PeerProven { .. });
        assert!(!net.hosts[host].events.iter().any(is_proven));
    }
}

#[test]
fn an_init_replayed_after_the_cache_is_empty_disturbs_no_link() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    let init = net.find(packet::HANDSHAKE_INIT);
    for _ in 0..5 {
        net.run_for(CACHED_ANSWER_LIFETIME * 3);
        net.inject(1, address(0), &init.bytes);
    }
    net.queue.clear();
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(body_of(&net.call_and_run(from, to, false, b"still")), b"still");
    }
    assert_eq!((net.stats(0).handshakes_started, net.stats(1).handshakes_started), (1, 0));
}

#[test]
fn truncated_and_extended_packets_are_dropped_at_every_length() {
    for (mut net, host, datagram) in every_packet() {
        for len in 0..datagram.bytes.len() {
            assert_eq!(effects(&mut net, host, &datagram.bytes[..len]), (0, 0), "{len}");
        }
        for extra in [1, 2, 100, MAX_DATAGRAM_LEN] {
            let mut longer = datagram.bytes.clone();
            longer.resize(longer.len() + extra, 0);
            assert_eq!(effects(&mut net, host, &longer), (0, 0), "{extra} more");
        }
        net.sent.clear();
        net.inject(host, datagram.from, &datagram.bytes);
        let has_effect = !net.sent.is_empty() || !net.hosts[host].events.is_empty();
        assert!(has_effect, "type {} still works", datagram.bytes[0]);
    }
}

/// A flipped bit in a probe's nonce makes another probe, one in a type byte or a link index may make DATA for an unknown
/// link, one in a cookie makes another cookie, which nobody looks at without load; all else is dropped.
#[test]
fn every_flipped_bit_is_noticed() {
    for (mut net, host, datagram) in every_packet() {
        let kind = datagram.bytes[0];
        for bit in 0..datagram.bytes.len() * 8 {
            // Slow enough for the rate limits, too fast for any timer.
            net.now = net.now.after(Duration::from_micros(500));
            let mut flipped = datagram.bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let from = if kind == packet::COOKIE { datagram.from } else { address(66) };
            let (sent, events) = effects_from(&mut net, host, from, &flipped);
            let is_nonce = kind == packet::KEY_REQUEST && (10..26).contains(&(bit / 8));
            let is_unknown_link =
                flipped[0] == packet::DATA && (kind != packet::DATA || (1..5).contains(&(bit / 8)));
            let is_key = kind == packet::KEY_REPLY && (18..50).contains(&(bit / 8));
            let is_cookie = match kind {
                packet::HANDSHAKE_INIT => (18..34).contains(&(bit / 8)),
                packet::COOKIE => (17..33).contains(&(bit / 8)),
                _ => false,
            };
            assert!(sent <= usize::from(is_nonce || is_unknown_link || is_cookie), "type {kind}, bit {bit}");
            if is_key || is_cookie {
                (net, ..) = net_before(kind);
                continue;
            }
            assert_eq!(events, 0, "type {kind}, bit {bit}");
        }
    }
}

#[test]
fn other_versions_are_counted() {
    for (mut net, host, datagram) in every_packet() {
        let has_version =
            matches!(datagram.bytes[0], packet::KEY_REQUEST | packet::KEY_REPLY | packet::HANDSHAKE_INIT);
        if has_version {
            let mut other = datagram.bytes.clone();
            other[1] = PROTOCOL_VERSION + 1;
            assert_eq!(effects(&mut net, host, &other), (0, 0));
            assert_eq!(net.stats(host).dropped_other_version, 1);
        }
    }
}

#[test]
fn types_of_quic_and_of_the_future_are_counted() {
    let mut net = Net::with_hosts(1);
    let unknown = (0..=0xff_u8).filter(|kind| !EVERY_KIND.contains(kind));
    for (kind, count) in unknown.zip(1..) {
        assert_eq!(effects(&mut net, 0, &[kind; 100]), (0, 0));
        assert_eq!(net.stats(0).dropped_unknown_type, count, "type {kind}");
    }
    for kind in EVERY_KIND {
        net.inject(0, address(66), &[kind; 100]);
    }
    assert_eq!(net.stats(0).dropped_unknown_type, 256 - EVERY_KIND.len() as u64);
}

#[test]
fn the_sign_of_the_initiators_key_cannot_be_forged() {
    let mut net = Net::with_hosts(2);
    // A node that claims another's Ed25519 key and uses its own static key.
    let local = Local::new(&blake3::hash(b"peerchat"), &secret(1));
    let mut forger = local;
    forger.set_key_for_test(secret(9).public().into());
    let ephemeral = Ephemeral::draw(&mut net.rng);
    let (_, init) = forger.initiate(&ephemeral, &secret(2).public().into(), 7, None).unwrap();
    assert_eq!(effects(&mut net, 1, &init), (0, 0));
    assert_eq!(net.stats(1).dropped_bad_key, 1);
}

#[test]
fn a_forged_response_does_not_spoil_the_true_one() {
    let (mut net, host, datagram) = net_before(packet::HANDSHAKE_RESPONSE);
    let mut forged = datagram.bytes.clone();
    forged[40] ^= 1;
    net.inject(host, datagram.from, &forged);
    net.inject(host, datagram.from, &datagram.bytes);
    assert_eq!((net.stats(host).dropped_bad_handshake, net.stats(host).handshakes_completed), (1, 1));
}

#[test]
fn strangers_cannot_push_out_links_in_use() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    for n in 0..=u16::try_from(MAX_UNPROVEN_LINKS + 20).unwrap() {
        let mut seed = [77; 32];
        seed[..2].copy_from_slice(&n.to_be_bytes());
        let stranger = Local::new(&blake3::hash(b"peerchat"), &SecretKey::from_bytes(&seed));
        let ephemeral = Ephemeral::draw(&mut net.rng);
        let (_, init) = stranger.initiate(&ephemeral, &secret(2).public().into(), 7, None).unwrap();
        net.inject(1, address(66), &init);
    }
    assert_eq!(net.hosts[1].transport.link_count(), 1);
    assert_eq!(body_of(&net.call_and_run(0, 1, true, b"still here")), b"still here");
    assert_eq!(net.stats(0).handshakes_started, 1);
}

#[test]
fn key_requests_and_resets_are_rate_limited_for_each_address_and_for_all() {
    let mut net = Net::with_hosts(2);
    net.hosts[0].transport.probe(ProbeId(1), address(1), net.now);
    net.settle();
    let request = net.find(packet::KEY_REQUEST);
    let data = [&[packet::DATA][..], &[9; 40]].concat();
    let addresses: Vec<SocketAddr> = (60..80).map(address).collect();
    for (count, key_replies, resets) in [
        (1, KEY_REPLIES_PER_ADDRESS, RESETS_SENT_PER_ADDRESS),
        (20, KEY_REPLIES_PER_SECOND, RESETS_SENT_PER_SECOND),
    ] {
        net.sent.clear();
        for n in 0..4000 {
            net.inject(1, addresses[n % count], &request.bytes);
            net.inject(1, addresses[n % count], &data);
        }
        let sent = |kind| net.sent.iter().filter(|datagram| datagram.bytes[0] == kind).count() as u32;
        assert_eq!((sent(packet::KEY_REPLY), sent(packet::RESET)), (key_replies, resets));
        net.run_for(2 * MAX_RTO);
    }
}

#[test]
fn handshakes_that_wait_for_the_engine_are_bounded() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].answering = Answering::Never;
    let early = frame::Frame::Request { id: 1, kind: KIND, body: b"x" };
    for n in 0..=u8::try_from(MAX_HELD_HANDSHAKES).unwrap() {
        let stranger = Local::new(&blake3::hash(b"peerchat"), &secret(n + 10));
        let ephemeral = Ephemeral::draw(&mut net.rng);
        let (_, init) = stranger.initiate(&ephemeral, &secret(2).public().into(), 7, Some(early)).unwrap();
        net.inject(1, address(66), &init);
    }
    assert_eq!(requests(&net.hosts[1]), MAX_HELD_HANDSHAKES);
    assert_eq!(net.sent.len(), 1, "the one too many is answered at once, without its request");
    net.run_until_idle();
    assert_eq!(net.sent.len(), MAX_HELD_HANDSHAKES + 1);
}

#[test]
fn a_peer_may_have_so_many_requests_open() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.hosts[1].answering = Answering::Never;
    (0..MAX_OPEN_REQUESTS_PER_LINK + 5).for_each(|_| {
        net.call(0, 1, false, b"x");
    });
    net.run_for(LATENCY);
    assert_eq!(net.stats(1).dropped_too_many_requests, 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_do_nothing(kind in 0..8_u8, rest in prop::collection::vec(any::<u8>(), 0..1300)) {
        let mut node = transport(1, TransportConfig::default());
        let now = Now { instant: Instant::now(), wall: Timestamp::default() };
        let datagram = [&[kind], &rest[..]].concat();
        node.handle_datagram(address(1), &datagram, now);
        prop_assert!(node.poll_event().is_none());
        if let Some(reply) = node.poll_transmit() {
            prop_assert!(reply.bytes.len() <= datagram.len());
        }
        prop_assert_eq!(node.link_count(), 0);
    }
}
