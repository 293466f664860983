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
