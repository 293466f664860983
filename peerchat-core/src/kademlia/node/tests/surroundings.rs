//! Who is around a node: one party, or many.

use super::*;

fn surrounded(net: &Network) -> Vec<usize> {
    let is_one = |host: &usize| net.hosts[*host].is_up && net.hosts[*host].node.is_surrounded();
    (0..net.hosts.len()).filter(is_one).collect()
}

#[test]
fn a_node_whose_neighbours_chose_their_ids_says_so() {
    let (mut net, _) = grown(Network::with_seed(51).k(8), 150);
    net.run_for(2 * HOUR);
    assert_eq!(surrounded(&net), [0_usize; 0], "nobody chose an id");

    let victim = 70;
    for seed in 0..8 {
        let sybil = net.add_beside(victim, 14);
        net.join_as(sybil, seed);
    }
    net.run_for(HOUR);
    assert!(surrounded(&net).contains(&victim));
    assert!(surrounded(&net).iter().all(|host| *host == victim || *host >= 150), "{:?}", surrounded(&net));

    for sybil in 150..158 {
        net.hosts[sybil].is_up = false;
    }
    net.run_for(3 * HOUR);
    assert_eq!(surrounded(&net), [0_usize; 0], "they are gone");
}

fn public(number: u8, address: [u8; 4]) -> Contact {
    Contact::new(NodeKey::from_bytes([number; 32]), SocketAddr::from((address, 4600)))
}

/// Lets a node that serves dial, and so show that it is there.
fn hear(node: &mut Node, from: Contact, now: Now) {
    node.handle_request(from, true, Rpc::Dial, now);
}

/// Drains a node's requests and returns to whom they go.
fn asked(node: &mut Node, now: Now) -> Vec<SocketAddr> {
    std::iter::from_fn(|| node.poll_rpc(now)).map(|outgoing| outgoing.to.address()).collect()
}

#[test]
fn a_node_with_all_contacts_in_two_blocks_says_so_and_asks_an_old_contact_elsewhere() {
    let mut node = node(AddressFamily::V4);
    let mut now = start();
    let (old, far) = (public(200, [9, 9, 9, 9]), public(201, [8, 9, 100, 1]));
    node.restore(&[old, far], &[], now);
    // Nobody answers in the round that comes first.
    for _ in 0..8 {
        asked(&mut node, now);
        now = Now { instant: node.poll_timeout().unwrap().0, ..now };
        node.handle_timeout(now);
    }
    for number in 0..24 {
        hear(&mut node, public(number, [8, 8 + number % 2, number, 1]), now);
    }
    asked(&mut node, now);
    assert_eq!((node.contact_count(), node.is_surrounded()), (24, false), "it has not looked yet");
    let mut asked_since = Vec::new();
    let end = now.instant + HOUR;
    while !node.is_surrounded() {
        now = Now { instant: node.poll_timeout().unwrap().0, ..now };
        assert!(now.instant < end);
        // They go on being heard, or they would be asked whether they are there.
        for number in 0..24 {
            hear(&mut node, public(number, [8, 8 + number % 2, number, 1]), now);
        }
        asked(&mut node, now);
        node.handle_timeout(now);
        asked_since = asked(&mut node, now);
    }
    let first = asked_since.iter().position(|address| *address == old.address());
    let second = asked_since.iter().position(|address| *address == far.address());
    assert!(first.is_some() && first < second, "{asked_since:?}");

    hear(&mut node, old, now);
    while node.is_surrounded() {
        now = Now { instant: node.poll_timeout().unwrap().0, ..now };
        assert!(now.instant < end);
        hear(&mut node, old, now);
        node.handle_timeout(now);
        asked(&mut node, now);
    }
}
