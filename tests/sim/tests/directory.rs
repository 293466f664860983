//! People find one another by name, in networks of real engines on virtual time.

use std::time::Duration;

use peerchat_core::ErrorCode;
use peerchat_core::event::Event;
use peerchat_core::user::LookupError;
use peerchat_sim::{Host, Network};

const SETTLE: Duration = Duration::from_secs(20);

fn named(number: usize) -> String {
    format!("user{number}")
}

fn network(seed: u64, count: usize) -> (Network, Vec<Host>) {
    let mut net = Network::with_seed(seed);
    let hosts = (0..count).map(|number| net.join(&named(number))).collect();
    net.run_for(SETTLE);
    (net, hosts)
}

fn is_registered(net: &Network, host: Host) -> bool {
    net.events(host).iter().any(|event| matches!(event, Event::Registered { .. }))
}

#[test]
fn two_nodes_find_each_other() {
    let (mut net, hosts) = network(1, 2);
    for (asker, sought) in [(0, 1), (1, 0)] {
        let found = net.lookup(hosts[asker], &named(sought)).unwrap();
        assert_eq!(found.addresses, [net.address(hosts[sought])]);
        assert!(is_registered(&net, hosts[asker]));
    }
}

#[test]
fn each_of_twenty_nodes_finds_every_other_with_the_right_address() {
    let (mut net, hosts) = network(2, 20);
    for asker in 0..hosts.len() {
        assert!(is_registered(&net, hosts[asker]), "{asker}");
        for sought in 0..hosts.len() {
            let found = net.lookup(hosts[asker], &named(sought)).unwrap();
            assert_eq!(found.addresses, [net.address(hosts[sought])], "{asker} looks for {sought}");
        }
    }
}

#[test]
fn any_pair_of_a_hundred_nodes_finds_each_other() {
    let (mut net, hosts) = network(3, 100);
    for asker in 0..hosts.len() {
        assert!(is_registered(&net, hosts[asker]), "{asker}");
        for step in [1, 33, 50, 77] {
            let sought = (asker + step) % hosts.len();
            let found = net.lookup(hosts[asker], &named(sought)).unwrap();
            assert_eq!(found.addresses, [net.address(hosts[sought])], "{asker} looks for {sought}");
        }
    }
}

#[test]
fn people_are_found_although_a_packet_in_ten_is_lost() {
    let mut net = Network::with_seed(14).loss(0.1);
    let hosts: Vec<Host> = (0..30).map(|number| net.join(&named(number))).collect();
    net.run_for(2 * SETTLE);
    for asker in 0..hosts.len() {
        let sought = (asker + 11) % hosts.len();
        let found = net.lookup(hosts[asker], &named(sought)).unwrap();
        assert_eq!(found.addresses, [net.address(hosts[sought])], "{asker} looks for {sought}");
    }
}

#[test]
fn a_name_that_nobody_has_is_unknown() {
    let (mut net, hosts) = network(5, 10);
    assert_eq!(net.lookup(hosts[3], "nobody"), Err(LookupError::Unknown));
}

#[test]
fn a_node_on_its_own_is_told_that_it_is_offline() {
    let mut net = Network::with_seed(6);
    let host = net.add(Some("alone"));
    assert_eq!(net.lookup(host, "somebody"), Err(LookupError::Offline));
}

#[test]
fn a_second_claim_on_a_name_is_refused_and_the_first_stays() {
    let (mut net, hosts) = network(7, 20);
    let first = net.lookup(hosts[9], &named(4)).unwrap();
    let late = net.join(&named(4));
    net.run_for(SETTLE);
    let refusal = net.events(late).iter().find_map(|event| match event {
        Event::RegistrationFailed { holder, code, .. } => Some((*holder, *code)),
        _ => None,
    });
    assert_eq!(refusal, Some((first.user, ErrorCode::NameTaken)));
    assert_eq!(net.lookup(hosts[9], &named(4)).unwrap().user, first.user);
}

#[test]
fn who_comes_back_from_another_address_is_found_there_without_bootstrap() {
    let (mut net, hosts) = network(8, 20);
    let mover = hosts[5];
    net.stop(mover);
    net.run_for(Duration::from_secs(60));
    net.move_away(mover);
    net.start(mover);
    net.run_for(SETTLE);
    let found = net.lookup(hosts[11], &named(5)).unwrap();
    assert_eq!(found.addresses, [net.address(mover)]);
}

#[test]
fn one_saved_contact_that_lives_is_enough_to_rejoin() {
    let (mut net, hosts) = network(9, 12);
    net.stop(hosts[3]);
    // Everybody but one moves; their old addresses are dead.
    for host in hosts.iter().filter(|host| ![hosts[3], hosts[7]].contains(host)) {
        net.stop(*host);
        net.move_away(*host);
        net.start(*host);
    }
    net.run_for(SETTLE);
    net.start(hosts[3]);
    net.run_for(SETTLE);
    for sought in 0..hosts.len() {
        let found = net.lookup(hosts[3], &named(sought)).unwrap();
        assert_eq!(found.addresses, [net.address(hosts[sought])], "{sought}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let (net, hosts) = network(seed, 15);
        (net.request_count(), format!("{:?}", net.events(hosts[14])))
    };
    assert_eq!(run(10), run(10));
}
