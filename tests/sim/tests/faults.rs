//! People write to one another while everything between them goes wrong.

use std::time::Duration;

use peerchat_core::event::MessageState;
use peerchat_sim::model::Conversations;
use peerchat_sim::{Behaviour, Churn, Host, Latency, Link, NAT_MAPPING_LIFETIME, Network};

const SETTLE: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 24 * 3600 * 1000;

const NAMES: [&str; 8] = ["alice", "bob", "carol", "dave", "eve", "frank", "grace", "heidi"];

/// Everything that can happen to packets.
fn bad_link() -> Link {
    let latency = Latency::LogNormal { median: Duration::from_millis(40), sigma: 0.7 };
    Link { latency, loss: 0.05, duplication: 0.2, reordering: 0.2 }
}

fn people(net: &mut Network, count: usize) -> Vec<(Host, &'static str)> {
    let people = NAMES[..count].iter().map(|name| (net.join(name), *name)).collect();
    net.run_for(SETTLE);
    people
}

#[test]
fn duplicates_and_reordering_change_nothing() {
    let link = Link { duplication: 0.3, reordering: 0.3, loss: 0.05, ..bad_link() };
    let mut net = Network::with_seed(1).link(link);
    let people = people(&mut net, 4);
    let mut model = Conversations::between(&people);
    for number in 0..60 {
        model.write(&mut net, people[0].0, people[1].0);
        if number % 3 == 0 {
            model.write(&mut net, people[1].0, people[0].0);
        }
    }
    net.run_for(10 * MINUTE);
    model.check_complete(&net);
}

#[test]
fn two_partitions_that_heal_find_and_reach_each_other_again() {
    let mut net = Network::with_seed(2).loss(0.02);
    let people = people(&mut net, 8);
    let hosts: Vec<Host> = people.iter().map(|(host, _)| *host).collect();
    let mut model = Conversations::between(&people);
    model.write(&mut net, hosts[0], hosts[4]);
    net.run_for(SETTLE);
    net.cut_off(&hosts[4..]);
    for (from, to) in [(0, 4), (4, 0), (0, 1), (5, 6)] {
        model.write(&mut net, hosts[from], hosts[to]);
    }
    net.run_for(30 * MINUTE);
    let within = |net: &Network, host: Host| net.texts(host).len();
    assert_eq!((within(&net, hosts[1]), within(&net, hosts[6])), (1, 1), "each side goes on by itself");
    model.check(&net);
    net.heal();
    net.run_for(15 * MINUTE);
    model.check_complete(&net);
    for (asker, sought) in [(0, 7), (7, 0), (2, 5)] {
        let found = net.lookup(hosts[asker], NAMES[sought]).unwrap();
        assert_eq!(found.addresses, [net.address(hosts[sought])], "{asker} looks for {sought}");
    }
}

#[test]
fn a_person_behind_a_nat_writes_and_is_written_to_while_the_link_lives() {
    let mut net = Network::with_seed(3);
    let mut people = people(&mut net, 6);
    let hidden = net.add(Some("ivan"));
    net.add_nat(hidden);
    net.bootstrap(hidden, people[0].0);
    people.push((hidden, "ivan"));
    net.run_for(SETTLE);
    let bob = people[1].0;
    let mut model = Conversations::between(&people);
    for _ in 0..10 {
        model.write(&mut net, hidden, bob);
        net.run_for(NAT_MAPPING_LIFETIME / 4);
        model.write(&mut net, bob, hidden);
        net.run_for(NAT_MAPPING_LIFETIME / 4);
        model.check_complete(&net);
    }
}

#[test]
fn clock_jumps_do_not_expire_the_world() {
    let mut net = Network::with_seed(4);
    let people = people(&mut net, 8);
    let hosts: Vec<Host> = people.iter().map(|(host, _)| *host).collect();
    let mut model = Conversations::between(&people);
    model.write(&mut net, hosts[0], hosts[1]);
    net.run_for(SETTLE);
    net.stop(hosts[7]);
    model.write(&mut net, hosts[0], hosts[7]);
    // A battery dies, a time server lies, a machine wakes up: two jump ahead, one falls back.
    net.jump_clock(hosts[2], 20 * DAY_MS);
    net.jump_clock(hosts[3], 400 * DAY_MS);
    net.jump_clock(hosts[4], -400 * DAY_MS);
    net.run_for(90 * MINUTE);
    for sought in [0, 1, 5, 6] {
        for asker in [1, 2, 3, 5] {
            let found = net.lookup(hosts[asker], NAMES[sought]);
            assert!(found.is_ok(), "{asker} looks for {sought}: {found:?}");
        }
    }
    net.start(hosts[7]);
    net.run_for(15 * MINUTE);
    model.check_complete(&net);
}

#[test]
fn conversations_survive_churn_and_adversaries_of_every_kind() {
    let mut net = Network::with_seed(5).link(bad_link());
    let people = people(&mut net, 5);
    let hosts: Vec<Host> = people.iter().map(|(host, _)| *host).collect();
    let helpers = add_helpers(&mut net, 10);
    add_adversaries(&mut net, &hosts);
    let churn = Churn { median_session: 10 * MINUTE, median_absence: 2 * MINUTE };
    net.churn(&helpers, churn);
    net.churn(&hosts[3..], churn);
    let mut model = Conversations::between(&people);
    for round in 0..40 {
        let (from, to) = (hosts[round % 3], hosts[(round * 7 + 1) % 5]);
        if from != to {
            model.write(&mut net, from, to);
        }
        net.run_for(MINUTE);
        model.check(&net);
    }
    net.end_churn();
    net.run_for(30 * MINUTE);
    model.check_complete(&net);
}

#[test]
fn the_same_seed_is_the_same_run_with_all_faults_on() {
    let run = |seed| {
        let mut net = Network::with_seed(seed).link(bad_link());
        let people = people(&mut net, 5);
        let hosts: Vec<Host> = people.iter().map(|(host, _)| *host).collect();
        let helpers = add_helpers(&mut net, 6);
        add_adversaries(&mut net, &hosts);
        net.add_nat(helpers[0]);
        net.churn(&helpers, Churn::with_median(3 * MINUTE));
        net.jump_clock(helpers[1], 2 * DAY_MS);
        let id = net.send(hosts[0], "bob", "hello");
        net.cut_off(&hosts[2..4]);
        net.run_for(5 * MINUTE);
        net.heal();
        net.run_for(10 * MINUTE);
        let events: Vec<_> = hosts.iter().map(|host| format!("{:?}", net.events(*host))).collect();
        assert_eq!(net.state(hosts[0], id), Some(MessageState::Delivered));
        (net.step(), net.request_count(), events)
    };
    let first = run(6);
    assert_eq!(first, run(6));
    assert_ne!(first.1, run(7).1, "another seed is another run");
}

fn add_helpers(net: &mut Network, count: usize) -> Vec<Host> {
    let helpers = (0..count).map(|_| {
        let host = net.add(None);
        net.bootstrap(host, Host(0));
        host
    });
    helpers.collect()
}

fn add_adversaries(net: &mut Network, victims: &[Host]) {
    for behaviour in [Behaviour::Silent, Behaviour::Poisoner, Behaviour::Withholder, Behaviour::Forger] {
        net.add_adversary(behaviour, victims);
    }
    net.run_for(SETTLE);
}
