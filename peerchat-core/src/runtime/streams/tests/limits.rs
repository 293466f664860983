//! What a peer can make grow, and what happens when it is full.

use super::*;
use crate::limits::Limits;

fn limits() -> Limits {
    Limits::default()
}

/// A net in which host 0 serves everybody and every other host is connected to it.
fn connected(count: usize) -> Net {
    let mut net = Net::with_hosts(count + 1);
    for host in 1..=count {
        net.call(host, 0, b"x");
        net.run_for(5 * LATENCY);
    }
    net
}

#[test]
fn calls_beyond_the_streams_of_a_connection_wait_for_one() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].answering = Answering::Never;
    let calls: Vec<CallId> = (0..MAX_STREAMS + 4).map(|_| net.call(0, 1, b"x")).collect();
    net.run_for(10 * LATENCY);
    assert_eq!(net.stats(1).requests, u64::from(MAX_STREAMS));
    // The peer gives up what its engine does not answer; those that waited have their turn.
    net.hosts[1].answering = Answering::Echo;
    net.run_for(REQUEST_LIFETIME + 10 * LATENCY);
    let answered = calls.iter().filter(|id| net.answer(0, **id).is_some());
    assert_eq!(answered.count(), 4);
}

#[test]
fn only_so_many_calls_wait() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].is_mute = true;
    let calls: Vec<CallId> = (0..=MAX_WAITING_CALLS).map(|_| net.call(0, 1, b"x")).collect();
    let (last, others) = calls.split_last().unwrap();
    assert!(net.has_ended(0, *last), "one too many");
    assert!(others.iter().all(|id| !net.has_ended(0, *id)));
    net.run_for(CONNECT_TIMEOUT);
    assert!(others.iter().all(|id| net.has_ended(0, *id)), "nobody answered the handshake");
}

#[test]
fn a_body_over_the_limit_is_refused_on_either_side() {
    let mut net = Net::with_hosts(2);
    let too_long = vec![0; MAX_STREAM_BODY_LEN + 1];
    let refused = net.call(0, 1, &too_long);
    assert!(net.has_ended(0, refused) && net.sent.is_empty());

    // A peer that does not keep to it.
    let peer = net.contact(1);
    let handle = net.hosts[0].streams.connection_for(peer.key(), peer.address(), net.now.instant).unwrap();
    let id = CallId(77);
    let call = Call {
        id,
        to: peer,
        kind: KIND,
        body: too_long,
        is_early: false,
        is_bulk: true,
        is_answer_long: false,
        is_fleeting: false,
    };
    let own = OwnCall { call, can_fall_back: false, until: net.now.instant + CALL_LIFETIME };
    let (streams, now) = (&mut net.hosts[0].streams, net.now.instant);
    streams.connections.get_mut(&handle).unwrap().call(own, now);
    streams.run(handle, now);
    net.settle();
    net.run_for(CALL_LIFETIME);
    assert_eq!(net.answer(0, id), None);
    assert_eq!((net.stats(1).requests, net.stats(1).dropped_exchanges), (0, 1));

    net.hosts[1].answering = Answering::Len(MAX_STREAM_BODY_LEN + 1);
    assert_eq!(net.ask(0, 1, b"x"), None);
    assert_eq!(net.stats(1).replies_dropped, 1);
    net.hosts[1].answering = Answering::Echo;
    assert_eq!(net.ask(0, 1, b"y"), Some(b"y".to_vec()), "the connection goes on");
}

#[test]
fn a_stalled_request_keeps_neither_memory_nor_a_stream() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    let handle = *net.hosts[1].streams.connections.keys().next().unwrap();
    // Host 0 falls silent when a part of its request has arrived.
    net.call(0, 1, &vec![1; MAX_STREAM_BODY_LEN]);
    net.run_for(LATENCY);
    net.hosts[0].is_mute = true;
    net.run_for(LATENCY);
    let partial_len = |net: &Net| net.hosts[1].streams.connections[&handle].partial_len();
    assert!((1..MAX_STREAM_BODY_LEN).contains(&partial_len(&net)));
    assert!(!net.hosts[1].streams.connections[&handle].is_busy(), "it is no reason to keep the connection");
    net.run_for(REQUEST_LIFETIME);
    assert_eq!(partial_len(&net), 0);
}

#[test]
fn who_leaves_most_unfinished_is_closed_first() {
    const LIMIT: usize = 768 * 1024;
    let mut net = Net::with_hosts(14);
    net.hosts[0].streams.limits = Arc::new(Limits { partial_len: LIMIT, ..Limits::default() });
    // All of them send as many long requests as they may, bit by bit at the same time; host 1 sends but one.
    let mut greedy = config::transport();
    greedy.send_fairness(true).send_window(2 << 20);
    let greedy = Arc::new(greedy);
    for host in 1..14 {
        net.hosts[host].streams.client.transport_config(greedy.clone());
        for _ in 0..if host == 1 { 1 } else { MAX_STREAMS } {
            net.call(host, 0, &vec![1; MAX_STREAM_BODY_LEN]);
        }
    }
    let end = net.now.instant + REQUEST_LIFETIME;
    while net.step(end) {
        let all = net.hosts[0].streams.connections.values();
        assert!(all.map(|found| found.partial_len()).sum::<usize>() <= LIMIT);
    }
    let closed_count = net.stats(0).dropped_exchanges;
    assert!((1..12).contains(&closed_count), "{closed_count} of 12");
    assert!(net.answer(1, CallId(1)).is_some(), "who sends little is heard");
}

#[test]
fn the_idle_connection_used_least_recently_makes_room() {
    let mut net = connected(limits().incoming_connections);
    assert_eq!(net.hosts[0].streams.connection_count(), limits().incoming_connections);
    net.call(1, 0, b"still here");
    net.run_for(5 * LATENCY);
    let mut late = Net::with_hosts(limits().incoming_connections + 2).hosts.pop().unwrap();
    late.address = address(limits().incoming_connections + 1);
    net.hosts.push(late);
    net.call(limits().incoming_connections + 1, 0, b"x");
    net.run_for(5 * LATENCY);
    let has = |net: &Net, host: usize| {
        let key = net.contact(host).key();
        net.hosts[0].streams.connections.values().any(|found| found.peer == Some(key))
    };
    assert_eq!(net.hosts[0].streams.connection_count(), limits().incoming_connections);
    assert!(has(&net, 1) && !has(&net, 2) && has(&net, limits().incoming_connections + 1));
    assert_eq!(net.stats(0).connections_evicted, 1);
}

#[test]
fn connections_in_use_never_give_way() {
    let mut net = connected(limits().incoming_connections);
    net.hosts[0].answering = Answering::Never;
    for host in 1..=limits().incoming_connections {
        net.call(host, 0, b"busy");
    }
    net.run_for(3 * LATENCY);
    let mut late = Net::with_hosts(limits().incoming_connections + 2).hosts.pop().unwrap();
    late.address = address(limits().incoming_connections + 1);
    net.hosts.push(late);
    let refused = net.call(limits().incoming_connections + 1, 0, b"x");
    net.run_for(3 * LATENCY);
    assert_eq!(net.hosts[0].streams.connection_count(), limits().incoming_connections);
    assert!(net.stats(0).dropped_connections > 0);
    net.run_for(CONNECT_TIMEOUT);
    assert_eq!(net.answer(limits().incoming_connections + 1, refused), None);
}

#[test]
fn strangers_cannot_keep_more_than_a_few_handshakes_open() {
    let mut net = Net::with_hosts(limits().accepting + 6);
    net.hosts[0].has_links = false;
    for host in 1..limits().accepting + 5 {
        net.call(host, 0, b"x");
        // The first packet, Retry, the first packet again; whatever else they say is lost.
        net.run_for(LATENCY * 2);
        net.hosts[host].is_mute = true;
        net.run_for(LATENCY);
    }
    assert_eq!(net.hosts[0].streams.connections.len(), limits().accepting);
    let last = limits().accepting + 5;
    net.call(last, 0, b"x");
    net.run_for(LATENCY * 5);
    assert_eq!(net.hosts[0].streams.connection_count(), 0, "no room for a stranger");
    net.hosts[0].has_links = true;
    net.run_for(CONNECT_TIMEOUT / 2);
    assert_eq!(net.hosts[0].streams.connection_count(), 1, "somebody to whom a link leads is let in");
    net.run_for(CONNECT_TIMEOUT);
    assert_eq!(net.hosts[0].streams.connections.len(), 1, "the others have had their time");
}

#[test]
fn a_link_does_not_give_every_place_to_its_address() {
    let mut net = Net::with_hosts(limits().accepting_per_address + 4);
    for host in 1..limits().accepting_per_address + 3 {
        net.hosts[host].address = SocketAddr::new(address(1).ip(), 4000 + host as u16);
        net.call(host, 0, b"x");
        // Its first packet arrives; whatever else it says is lost.
        net.hosts[host].is_mute = true;
        net.run_for(LATENCY * 2);
    }
    assert_eq!(net.hosts[0].streams.connections.len(), limits().accepting_per_address);
    assert_eq!(net.ask(limits().accepting_per_address + 3, 0, b"elsewhere"), Some(b"elsewhere".to_vec()));
}

#[test]
fn a_call_of_a_burst_is_given_back_when_there_is_no_room() {
    let mut net = Net::with_hosts(2);
    for _ in 0..MAX_WAITING_CALLS {
        net.call(1, 0, b"waits for the handshake");
    }
    let id = net.call_contact(1, net.contact(0), b"may go as a datagram", true);
    let is_given_back =
        |event: &StreamsEvent| matches!(event, StreamsEvent::GivenBack(call) if call.id == id);
    assert!(net.hosts[1].events.iter().any(is_given_back));
}

#[test]
fn a_generous_peer_is_asked_no_more_at_once() {
    let mut net = connected(1);
    for connection in net.hosts[0].streams.connections.values_mut() {
        connection.grant_for_test(1000);
    }
    net.hosts[0].answering = Answering::Never;
    net.call(1, 0, b"lets the peer say what it grants");
    net.run_for(5 * LATENCY);
    for _ in 0..100 {
        net.call(1, 0, b"x");
    }
    net.run_for(5 * LATENCY);
    let waiting: usize =
        net.hosts[1].streams.connections.values().map(|connection| connection.waiting_count()).sum();
    assert_eq!(waiting, 101 - MAX_STREAMS as usize);
}

#[test]
fn a_new_connection_of_the_same_peer_replaces_the_old_one() {
    let mut net = connected(1);
    net.hosts[1].streams = Streams::new(&secret(1), "peerchat", [77; 32], net.now);
    assert_eq!(net.ask(1, 0, b"again"), Some(b"again".to_vec()));
    assert_eq!(net.hosts[0].streams.connections.len(), 1);
    assert_eq!(net.stats(0).connections_accepted, 2);
}

impl Net {
    fn limit(&mut self, host: usize, limits: Limits) {
        let node = Streams::new(&secret(host), "peerchat", [host as u8; 32], self.now);
        self.hosts[host].streams = node.with_limits(Arc::new(limits));
    }
}

#[test]
fn first_packets_are_taken_so_often_from_one_address_and_from_all() {
    for (is_shared, limits) in [
        (true, Limits { initials_per_address: 3, ..Limits::default() }),
        (false, Limits { initials: 3, ..Limits::default() }),
    ] {
        let mut net = Net::with_hosts(6);
        net.limit(0, limits);
        for host in 1..6 {
            if is_shared {
                net.hosts[host].address = ([10, 0, 0, 9], 4000 + host as u16).into();
            }
            net.call(host, 0, b"x");
        }
        net.run_for(LATENCY);
        assert_eq!((net.hosts[0].streams.connections.len(), net.stats(0).dropped_connections), (3, 2));
    }
}

#[test]
fn requests_by_stream_are_taken_so_often_over_a_connection_from_an_address_and_from_all() {
    for (expected, limits) in [
        ([2, 2], Limits { requests_per_link: 2, ..Limits::default() }),
        ([3, 3], Limits { requests_per_address: 3, ..Limits::default() }),
        ([4, 1], Limits { requests: 5, ..Limits::default() }),
    ] {
        let mut net = Net::with_hosts(3);
        net.limit(0, limits);
        let calls: Vec<_> =
            [1, 2].into_iter().flat_map(|host| [(); 4].map(|()| (host, net.call(host, 0, b"x")))).collect();
        net.run_for(Duration::from_millis(300));
        let answered = |net: &Net, host| {
            let own = calls.iter().filter(|(asker, id)| *asker == host && net.has_ended(host, *id));
            own.filter(|(_, id)| net.answer(host, *id).is_some()).count()
        };
        let mut found = [answered(&net, 1), answered(&net, 2)];
        found.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        assert_eq!(found, expected);
        let dropped = 8 - expected.iter().sum::<usize>();
        assert_eq!(net.stats(0).dropped_too_fast, dropped as u64);
        // What was not looked at is asked again.
        net.run_for(CALL_LIFETIME);
        assert_eq!([answered(&net, 1), answered(&net, 2)], [4, 4]);
    }
}

#[test]
fn what_comes_too_fast_again_and_again_is_asked_again_until_its_time_is_over() {
    let mut net = Net::with_hosts(2);
    net.limit(0, Limits { requests_per_link: 1, ..Limits::default() });
    let calls = [(); 40].map(|()| net.call(1, 0, b"x"));
    net.run_for(2 * CALL_LIFETIME);
    // One a second, and the first at once.
    let answered_count = calls.iter().filter(|id| net.answer(1, **id).is_some()).count();
    assert!((15..=21).contains(&answered_count), "{answered_count}");
    let most = (calls.len() as u64) * CALL_LIFETIME.as_secs();
    assert!((1..most).contains(&net.stats(0).dropped_too_fast));
}

#[test]
fn a_call_that_is_to_be_asked_again_is_given_back_if_the_connection_ends() {
    let mut net = Net::with_hosts(2);
    net.limit(0, Limits { requests_per_link: 1, ..Limits::default() });
    net.call(1, 0, b"x");
    let id = net.call_contact(1, net.contact(0), b"may go as a datagram", true);
    net.run_for(5 * LATENCY);
    assert_eq!((net.stats(0).dropped_too_fast, net.has_ended(1, id)), (1, false));
    let handle = *net.hosts[0].streams.connections.keys().next().unwrap();
    let now = net.now.instant;
    net.hosts[0].streams.end(handle, now);
    net.run_for(5 * LATENCY);
    let is_given_back =
        |event: &StreamsEvent| matches!(event, StreamsEvent::GivenBack(call) if call.id == id);
    assert!(net.hosts[1].events.iter().any(is_given_back));
}

/// Asks for so many of the longest answers at once, and then says nothing more: not even that they have come.
fn leave_answers_lying(net: &mut Net, asker: usize, count: u64) {
    net.hosts[0].answering = Answering::Len(MAX_STREAM_BODY_LEN);
    let before = net.stats(0).requests;
    for _ in 0..count {
        net.call(asker, 0, b"x");
    }
    let end = net.now.instant + CALL_LIFETIME;
    while net.stats(0).requests < before + count {
        assert!(net.step(end), "every request arrives");
    }
    net.hosts[asker].is_mute = true;
}

fn partial_len(net: &Net, host: usize) -> usize {
    net.hosts[host].streams.connections.values().map(|found| found.partial_len()).sum()
}

#[test]
fn answers_that_nobody_takes_are_counted_and_dropped_after_a_while() {
    let mut net = connected(1);
    // One stream less than there may be: who has asked before hears only later that the stream is free again.
    let count = MAX_STREAMS as usize - 1;
    leave_answers_lying(&mut net, 1, count as u64);
    // QUIC keeps as much as its window takes of the first ones; the others wait, and so does the rest of the one between.
    let waiting = count - CONNECTION_WINDOW as usize / MAX_STREAM_BODY_LEN;
    let counted = partial_len(&net, 0);
    let each = exchange::MAX_RESPONSE_LEN;
    assert!((waiting * each..=(waiting + 1) * each).contains(&counted), "{counted} bytes wait");
    net.run_for(CALL_LIFETIME);
    assert_eq!(partial_len(&net, 0), 0);
}

#[test]
fn who_leaves_most_answers_lying_is_closed_first() {
    const LIMIT: usize = 3 << 19;
    let mut net = Net::with_hosts(4);
    net.limit(0, Limits { partial_len: LIMIT, ..Limits::default() });
    for (host, count) in [(1, 3), (2, MAX_STREAMS), (3, MAX_STREAMS)] {
        net.call(host, 0, b"makes a connection");
        net.run_for(5 * LATENCY);
        leave_answers_lying(&mut net, host, count.into());
        assert!(partial_len(&net, 0) <= LIMIT);
    }
    assert_eq!((net.stats(0).dropped_exchanges, net.hosts[0].streams.connections.len()), (1, 2));
    let address = net.hosts[1].address;
    let is_first = |found: &Connection| found.address() == address;
    assert!(
        net.hosts[0].streams.connections.values().any(|found| is_first(found)),
        "who left little is heard"
    );
}

#[test]
fn with_no_connection_idle_a_call_fails() {
    let mut net = Net::with_hosts(4);
    net.limit(0, Limits { connections: 2, ..Limits::default() });
    (1..4).for_each(|host| net.hosts[host].answering = Answering::Never);
    (1..3).for_each(|host| _ = net.call(0, host, b"x"));
    net.run_for(5 * LATENCY);
    let refused = net.call(0, 3, b"x");
    assert_eq!(net.answer(0, refused), None);
    assert_eq!(net.hosts[0].streams.connection_count(), 2);
}
