//! What a node publishes while it joins through several seeds.

use std::time::Duration;

use super::*;

/// Makes a network of eight and one host more, which has published its record before it knows anybody.
fn with_a_newcomer(seed: u64) -> (Network, usize, Record) {
    let (mut net, _) = grown(Network::with_seed(seed), 8);
    let host = net.add();
    let record = net.user_record(100);
    net.act(host, |node, now| node.publish(record.clone(), now));
    (net, host, record)
}

fn join(net: &mut Network, host: usize, seed: usize) {
    let seed = net.hosts[seed].contact;
    net.act(host, |node, now| node.join(seed, now));
}

#[test]
fn a_dead_seed_beside_a_living_one_does_not_delay_the_publication() {
    let (mut net, host, record) = with_a_newcomer(31);
    let dead = net.add();
    net.hosts[dead].is_up = false;
    join(&mut net, host, dead);
    join(&mut net, host, 5);
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.holders(&record.header().key).len(), 9, "everybody, before the dead one is given up");
}

#[test]
fn records_are_stored_once_more_when_another_seed_brings_other_neighbours() {
    let (mut net, host, record) = with_a_newcomer(32);
    net.hosts[3].side = 1;
    join(&mut net, host, 5);
    net.run_for(Duration::from_secs(10));
    assert_eq!(net.holders(&record.header().key).len(), 8);
    net.hosts[3].side = 0;
    join(&mut net, host, 3);
    net.run_for(Duration::from_secs(10));
    assert!(net.holders(&record.header().key).contains(&3));
}

/// Only whoever serves is named to others: else one guest would make a single network of all that it has joined.
#[test]
fn networks_that_a_guest_has_joined_hear_of_one_another_only_if_it_serves() {
    for (serve, hears) in [(Serve::Never, false), (Serve::Auto, true)] {
        let mut net = Network::with_seed(33);
        for _ in 0..2 {
            let first = net.add();
            (1..4).for_each(|_| _ = net.join(first));
        }
        net.config.serve = serve;
        let guest = net.add();
        [0, 4].into_iter().for_each(|seed| join(&mut net, guest, seed));
        let record = net.user_record(100);
        net.publish(guest, &record);
        assert_eq!(net.holders(&record.header().key).len(), 8 + usize::from(hears), "{serve:?}");
        let nobodys = net.user_record(101).header().key;
        for (host, others) in [(1, 4..8), (5, 0..4)] {
            assert_eq!(net.find_value(host, nobodys, 1).values, []);
            let table = &net.hosts[host].node.table;
            let known = others.filter(|other| table.get(net.hosts[*other].contact.id()).is_some()).count();
            assert_eq!(known, if hears { 4 } else { 0 }, "{serve:?}");
        }
    }
}
