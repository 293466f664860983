//! Peers that are not who they seem, addresses that are not theirs, and packets that are none.

use super::*;

/// The type of a packet with a long header that says Retry (RFC 9000, section 17.2.5).
fn is_retry(bytes: &[u8]) -> bool {
    bytes[0] & 0xf0 == 0xf0
}

#[test]
fn a_node_with_another_key_than_called_is_not_talked_to() {
    let mut net = Net::with_hosts(3);
    let wrong = Contact::new(net.contact(2).key(), net.contact(1).address());
    let id = net.call_contact(0, wrong, b"secret", false);
    net.run_for(CONNECT_TIMEOUT);
    assert_eq!(net.answer(0, id), None);
    assert_eq!((net.stats(1).requests, net.stats(2).datagrams_in), (0, 0));
    assert!(net.hosts.iter().all(|host| host.streams.connections.is_empty()));
}

#[test]
fn networks_do_not_mix() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].streams = Streams::new(&secret(1), "another", [1; 32], net.now);
    assert_eq!(net.ask(0, 1, b"x"), None);
    assert_eq!((net.stats(0).connections_made, net.stats(1).connections_accepted), (0, 0));
    assert!(net.hosts.iter().all(|host| host.streams.connections.is_empty()));
}

#[test]
fn keys_that_cannot_be_called_fail_at_once() {
    let mut net = Net::with_hosts(2);
    let mut weak = [0; 32];
    weak[0] = 1;
    for key in [NodeKey::from_bytes(weak), net.contact(0).key()] {
        let to = Contact::new(key, net.contact(1).address());
        let id = net.call_contact(0, to, b"x", false);
        assert!(net.has_ended(0, id));
    }
    assert!(net.sent.is_empty());
}

#[test]
fn a_stranger_is_asked_to_come_again_before_anything_is_kept() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].has_links = false;
    let id = net.call(0, 1, b"x");
    net.run_for(LATENCY);
    assert!(net.hosts[1].streams.connections.is_empty(), "nothing is kept of an address that proves nothing");
    let (first, retry) = (&net.sent[0], &net.sent[1]);
    assert!(is_retry(&retry.bytes) && retry.to == first.from);
    assert!(retry.bytes.len() <= first.bytes.len());
    net.run_for(CONNECT_TIMEOUT);
    assert_eq!(net.answer(0, id), Some(b"x".to_vec()));
    assert_eq!(net.stats(1).retries_sent, 1);
}

#[test]
fn somebody_to_whom_a_link_leads_is_let_in_at_once() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    assert_eq!(net.stats(1).retries_sent, 0);
}

/// Every kind of first packet from a forged address: whole, cut, of another version, with a token of somebody else.
#[test]
fn nobody_is_sent_more_than_came_from_their_address() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].has_links = false;
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    let mut to_server: Vec<Vec<u8>> =
        net.sent.iter().filter(|sent| sent.from == address(0)).map(|sent| sent.bytes.clone()).collect();
    assert!(to_server.len() > 3);
    for at in 0..to_server.len() {
        let bytes = to_server[at].clone();
        let mut other_version = bytes.clone();
        other_version[4] ^= 0x0a;
        to_server.extend([bytes[..bytes.len() / 2].to_vec(), other_version]);
    }
    net.hosts[1].streams = Streams::new(&secret(1), "peerchat", [55; 32], net.now);
    for (number, bytes) in to_server.into_iter().enumerate() {
        let victim: SocketAddr = format!("203.0.113.{number}:9").parse().unwrap();
        let given = bytes.len();
        net.sent.clear();
        net.inject(1, victim, &bytes);
        net.run_for(CONNECT_TIMEOUT);
        let got: usize = net.sent.iter().filter(|sent| sent.to == victim).map(|sent| sent.bytes.len()).sum();
        assert!(got <= given, "packet {number}: {got} bytes for {given}");
    }
    assert!(net.hosts[1].streams.connections.is_empty());
}

#[test]
fn a_connection_does_not_follow_to_an_address_that_proves_nothing() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    net.sent.clear();
    net.hosts[0].is_mute = true;
    let id = net.call(0, 1, b"moved");
    let packets: Vec<Vec<u8>> = net.sent.iter().map(|sent| sent.bytes.clone()).collect();
    let elsewhere: SocketAddr = "203.0.113.1:9".parse().unwrap();
    net.sent.clear();
    for bytes in packets {
        net.inject(1, elsewhere, &bytes);
    }
    net.run_for(LATENCY);
    assert!(net.sent.iter().all(|sent| sent.to != elsewhere), "nothing goes there");
    assert_eq!(net.stats(1).requests, 1, "and nothing is heard from there");
    net.hosts[0].is_mute = false;
    net.run_for(CALL_LIFETIME);
    assert_eq!(net.answer(0, id), Some(b"moved".to_vec()));
}

#[test]
fn garbage_changes_nothing() {
    let mut net = Net::with_hosts(2);
    assert_eq!(net.ask(0, 1, b"x"), Some(b"x".to_vec()));
    let seen: Vec<Sent> = net.sent.clone();
    let id = net.call(0, 1, &vec![5; 20_000]);
    for round in 0..2000_usize {
        let template = &seen[round % seen.len()];
        let mut bytes = template.bytes.clone();
        match round % 3 {
            // A packet of before, one with a flipped bit, one of random bytes.
            0 => {}
            1 => {
                let at = net.rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << net.rng.random_range(0..8);
            }
            _ => bytes.iter_mut().skip(1).for_each(|byte| *byte = net.rng.random()),
        }
        bytes[0] |= 0x40;
        let host = usize::from(template.to == address(1));
        net.inject(host, template.from, &bytes);
    }
    net.inject(1, address(0), &vec![0x40; MAX_DATAGRAM_LEN + 1]);
    net.run_for(CALL_LIFETIME);
    assert_eq!(net.answer(0, id), Some(vec![5; 20_000]));
    assert_eq!((net.stats(0).connections_made, net.stats(1).requests), (1, 2));
}
