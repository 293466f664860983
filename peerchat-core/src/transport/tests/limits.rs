//! Limits on what others may ask for, each hit.

use super::*;
use crate::transport::limits::Admission::{Drop, Read};

/// Hosts of which the first is asked by the others and has these limits.
fn net_with(limits: Limits, askers: usize) -> Net {
    let mut net = Net::with_hosts(askers + 1);
    let config = TransportConfig { limits: Arc::new(limits), ..TransportConfig::default() };
    net.hosts[0].transport = transport(1, config);
    for asker in 1..=askers {
        net.call_and_run_for(asker, 0, b"hello");
    }
    net.run_for(Duration::from_secs(1));
    net.hosts[0].events.clear();
    net
}

/// Lets every asker ask so often at once, and returns how many requests were taken in time for none to be repeated.
fn taken(net: &mut Net, count: usize) -> usize {
    net.hosts[0].events.clear();
    for asker in 1..net.hosts.len() {
        (0..count).for_each(|_| _ = net.call(asker, 0, false, b"x"));
    }
    net.run_for(LATENCY);
    requests(&net.hosts[0])
}

#[test]
fn a_link_may_ask_so_often_and_what_is_too_much_is_asked_again() {
    let mut net = net_with(Limits { requests_per_link: 50, ..Limits::default() }, 2);
    assert_eq!((taken(&mut net, 52), net.stats(0).dropped_too_fast), (100, 4));
    assert_eq!(net.stats(0).dropped(), 4);
    net.run_until_idle();
    let answered = |host: usize| {
        let events = net.hosts[host].events.iter();
        events.filter(|event| matches!(event, TransportEvent::Response { .. })).count()
    };
    assert_eq!((answered(1), answered(2)), (53, 53), "all are answered in the end");
}

#[test]
fn an_address_may_ask_so_often_over_all_its_links() {
    let mut net = net_with(Limits { requests_per_address: 4, ..Limits::default() }, 2);
    assert_eq!(taken(&mut net, 3), 6, "two addresses");
    net.run_until_idle();
    let mut shared = net.hosts[1].address;
    shared.set_port(4001);
    net.hosts[2].address = shared;
    // The link follows to the new address.
    net.call_and_run(2, 0, false, b"moved");
    net.run_for(Duration::from_secs(2));
    assert_eq!(taken(&mut net, 3), 4, "one address");
    assert_eq!(net.stats(0).dropped_too_fast, 2);
}

#[test]
fn all_together_may_ask_so_often() {
    let mut net = net_with(Limits { requests: 7, ..Limits::default() }, 3);
    assert_eq!((taken(&mut net, 3), net.stats(0).dropped_too_fast), (7, 2));
}

#[test]
fn of_too_many_requests_without_an_answer_the_oldest_is_forgotten() {
    let mut net = net_with(Limits { open_requests: 4, ..Limits::default() }, 2);
    net.hosts[0].answering = Answering::Never;
    assert_eq!(taken(&mut net, 3), 6);
    assert_eq!(net.stats(0).requests_forgotten, 2);
    let tokens = net.hosts[0].events.iter().filter_map(|event| match event {
        TransportEvent::Request { token, .. } => Some(*token),
        _ => None,
    });
    for token in tokens.collect::<Vec<_>>() {
        net.hosts[0].transport.reply(token, KIND, b"late".to_vec(), net.now);
    }
    assert_eq!(net.stats(0).replies_late, 2, "those two");
}

#[test]
fn an_answer_that_is_no_longer_kept_is_made_again() {
    let mut net = Net::with_hosts(1);
    let limits = Arc::new(Limits { cached_answers: 1, ..Limits::default() });
    net.hosts[0].transport = transport(1, TransportConfig { limits, ..TransportConfig::default() });
    let inits = [20, 21].map(|seed| {
        let stranger = Local::new(&blake3::hash(b"peerchat"), &secret(seed));
        let ephemeral = Ephemeral::draw(&mut net.rng);
        stranger.initiate(&ephemeral, &secret(1).public().into(), 7, None).unwrap().1
    });
    net.inject(0, address(60), &inits[0]);
    net.inject(0, address(60), &inits[0]);
    assert_eq!((net.stats(0).handshakes_answered, net.stats(0).answers_repeated), (1, 1));
    net.inject(0, address(61), &inits[1]);
    net.inject(0, address(60), &inits[0]);
    assert_eq!((net.stats(0).handshakes_answered, net.stats(0).answers_repeated), (3, 1));
}

#[test]
fn limits_that_are_set_hold_where_the_usual_ones_did() {
    let limits = Limits {
        key_replies_per_address: 2,
        calm_inits: 1,
        inits: 3,
        resets_per_address: 1,
        ..Limits::default()
    };
    let mut net = Net::with_hosts(2);
    net.hosts[1].transport.probe(ProbeId(1), address(0), net.now);
    net.settle();
    let request = net.find(packet::KEY_REQUEST);
    net.hosts[0].transport =
        transport(1, TransportConfig { limits: Arc::new(limits), ..TransportConfig::default() });
    let data = [&[packet::DATA][..], &[9; 40]].concat();
    net.sent.clear();
    for _ in 0..5 {
        net.inject(0, address(70), &request.bytes);
        net.inject(0, address(70), &data);
    }
    let sent = |kind| net.sent.iter().filter(|datagram| datagram.bytes[0] == kind).count();
    assert_eq!((sent(packet::KEY_REPLY), sent(packet::RESET)), (2, 1));
    let admitted =
        [(); 5].map(|()| net.hosts[0].transport.allowances.admit_init(address(71), || true, net.now.instant));
    assert_eq!(admitted, [Read, Read, Read, Drop, Drop]);
}
