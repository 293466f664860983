use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::rpc::RpcReply;
use super::sim::{HOUR, Network, node, start};
use super::*;
use crate::kademlia::MAX_RECORD_LEN;

mod joining;
mod refusals;
mod surroundings;

/// Makes a network of `size` hosts that join one after another, each publishing a record of its own at once.
fn grown(mut net: Network, size: u16) -> (Network, Vec<Record>) {
    let mut records = Vec::new();
    for user in 0..size {
        let host =
            if user == 0 { net.add() } else { net.join((7 * usize::from(user) + 3) % usize::from(user)) };
        let record = net.user_record(user);
        net.publish(host, &record);
        records.push(record);
    }
    (net, records)
}

fn assert_everyone_finds(net: &mut Network, records: &[Record], every: usize) {
    let hosts: Vec<_> = (0..net.hosts.len()).filter(|&host| net.hosts[host].is_up).step_by(every).collect();
    for host in hosts {
        for record in records {
            let found = net.find_value(host, record.header().key, 1);
            assert_eq!(found.values.first().map(|value| &value.record), Some(record), "from host {host}");
        }
    }
}

/// Counts the hosts that keep a record of the k that should.
fn kept_by_closest(net: &mut Network, record: &Record) -> usize {
    let key = record.header().key;
    let holders = net.holders(&key);
    net.closest(&key.place(), net.config.k).iter().filter(|host| holders.contains(host)).count()
}

#[test]
fn everyone_finds_every_record_in_a_network_that_just_grew() {
    let (mut net, records) = grown(Network::with_seed(1), 100);
    for record in &records {
        assert_eq!(kept_by_closest(&mut net, record), net.config.k);
    }
    assert_everyone_finds(&mut net, &records, 1);
}

#[test]
fn everyone_finds_every_record_though_messages_are_lost() {
    let (mut net, records) = grown(Network::with_seed(2).loss(0.05), 100);
    let kept: usize = records.iter().map(|record| kept_by_closest(&mut net, record)).sum();
    assert!(kept * 100 >= 97 * net.config.k * records.len(), "{kept} copies");
    assert_everyone_finds(&mut net, &records, 4);
}

#[test]
fn a_network_of_two_keeps_both_records_twice() {
    let (mut net, records) = grown(Network::with_seed(3), 2);
    for record in &records {
        assert_eq!(net.holders(&record.header().key), [0, 1]);
        for host in [0, 1] {
            let found = net.find_value(host, record.header().key, 8);
            assert_eq!((found.values.len(), found.absent), (2, 0));
        }
    }
    assert!(net.hosts[0].events.contains(&NodeEvent::Online { contact_count: 1 }));
}

#[test]
fn a_node_alone_keeps_its_record_until_somebody_comes() {
    let mut net = Network::with_seed(4);
    let (alone, record) = (net.add(), net.user_record(1));
    let outcome = net.publish(alone, &record);
    assert_eq!((outcome.accepted, outcome.unanswered), (1, 0));
    assert_eq!(net.find_value(alone, record.header().key, 8).values.len(), 1);
    let other = net.join(alone);
    assert_eq!(net.holders(&record.header().key), [alone, other]);
}

/// Returns whose claim on the name a host keeps.
fn named_by(net: &Network, host: usize) -> Option<crate::identity::PublicKey> {
    net.hosts[host].node.store.owner(&net.claim(0).header().key)
}

/// Stores a record at a host as a stranger would.
fn store_at(net: &mut Network, host: usize, record: &Record) -> RpcReply {
    let from = Contact::new(NodeKey::from_bytes([0xaa; 32]), "10.9.9.9:9".parse().unwrap());
    let rpc = Rpc::Store { record: record.as_bytes().to_vec() };
    net.act(host, |node, now| node.handle_request(from, true, rpc, now))
}

fn overruled(net: &Network) -> u64 {
    net.hosts.iter().map(|host| host.node.stats().overruled_claims).sum()
}

/// Whoever gets at a newcomer first could else give it the name, and so take it over holder by holder.
#[test]
fn a_newcomer_that_a_usurper_reached_first_keeps_what_the_other_holders_keep() {
    let (mut net, _) = grown(Network::with_seed(31).k(8), 40);
    let (claim, usurper) = (net.claim(1), net.claim(2));
    net.publish(1, &claim);
    net.run_for(3 * HOUR);
    let key = claim.header().key;
    for _ in 0..40 {
        let newcomer = net.add();
        if net.closest(&key.place(), 8).contains(&newcomer) {
            assert_eq!(store_at(&mut net, newcomer, &usurper), RpcReply::Stored);
        }
        let seed = net.hosts[5].contact;
        net.act(newcomer, |node, now| node.join(seed, now));
        net.run_for(Duration::from_secs(120));
    }
    let closest = net.closest(&key.place(), 8);
    assert!(closest.iter().filter(|&&host| host >= 40).count() >= 2, "newcomers are among the closest");
    for host in closest {
        assert_eq!(named_by(&net, host), Some(claim.header().owner), "host {host}");
    }
    assert!(overruled(&net) >= 2);
    let found = net.find_value(7, key, 8);
    assert!(found.values.iter().all(|value| value.record.header().owner == claim.header().owner));
}

#[test]
fn a_claim_that_is_new_everywhere_stays_with_whom_most_holders_keep_it_for() {
    let (mut net, _) = grown(Network::with_seed(32).k(8), 30);
    let (claim, usurper) = (net.claim(1), net.claim(2));
    net.publish(1, &claim);
    for host in 0..30 {
        store_at(&mut net, host, &usurper);
    }
    net.run_for(Duration::from_secs(30));
    for host in net.closest(&claim.header().key.place(), 8) {
        assert_eq!(named_by(&net, host), Some(claim.header().owner), "host {host}");
    }
}

#[test]
fn a_claim_that_was_kept_for_two_hours_is_asked_about_no_more_and_a_new_one_once() {
    let (mut net, _) = grown(Network::with_seed(33), 12);
    let (claim, usurper) = (net.claim(1), net.claim(2));
    net.publish(1, &claim);
    net.settle();
    let asked = |net: &mut Network| {
        let before = net.sent[2];
        assert!(matches!(store_at(net, 3, &usurper), RpcReply::Refused { reason: StoreRefusal::Owned, .. }));
        net.run_for(Duration::from_secs(30));
        net.sent[2] - before
    };
    assert_eq!(asked(&mut net), 8);
    assert_eq!(asked(&mut net), 0, "the others have agreed");
    let (mut net, _) = grown(Network::with_seed(33), 12);
    net.publish(1, &claim);
    // A little longer: the wall clock here counts whole milliseconds at each step.
    net.run_for(3 * HOUR);
    assert_eq!(asked(&mut net), 0);
}

/// Nobody can make a node ask more than it has asked: names and pauses are bounded.
#[test]
fn contradictions_make_a_node_ask_about_few_names_at_a_time() {
    let (mut net, _) = grown(Network::with_seed(34), 12);
    for name in 0..40 {
        for user in [1, 2] {
            let record = net.claim_on(user, &format!("name{name}"));
            store_at(&mut net, 3, &record);
        }
    }
    net.run_for(Duration::from_secs(30));
    assert_eq!(net.sent[2], 16 * 8);
    // Nobody else keeps these names: the first claim stays, and nothing is remembered.
    assert_eq!(overruled(&net), 0);
}

#[test]
fn a_publication_names_who_refused_it_and_why() {
    let (mut net, _) = grown(Network::with_seed(5), 8);
    let (mine, theirs) = (net.claim(1), net.claim(2));
    let outcome = net.publish(1, &mine);
    assert!(2 * outcome.accepted > 8, "told before most nodes keep it: {outcome:?}");
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.holders(&mine.header().key).len(), 8);
    let outcome = net.publish(2, &theirs);
    assert_eq!((outcome.accepted, outcome.refused.len()), (0, 8));
    for (reason, incumbent) in outcome.refused {
        assert_eq!((reason, incumbent.as_ref()), (StoreRefusal::Owned, Some(&mine)));
    }
}

#[test]
fn a_dead_contact_delays_a_lookup_by_less_than_a_second() {
    let (mut net, _) = grown(Network::with_seed(6).k(8), 40);
    for host in [3, 9, 12, 20, 31] {
        net.hosts[host].is_up = false;
    }
    for target in 0..20 {
        let began = net.now.instant;
        let id = net.act(0, |node, now| node.find_nodes(NodeId::from_bytes([13 * target; 32]), now));
        let is_done =
            |event: &NodeEvent| matches!(event, NodeEvent::LookupDone { id: done, .. } if *done == id);
        while !net.hosts[0].events.iter().any(is_done) {
            net.run_for(Duration::from_millis(10));
        }
        let took = net.now.instant - began;
        assert!(took < Duration::from_millis(1500), "lookup {target} took {took:?}");
    }
}

#[test]
fn a_record_survives_its_holders_leaving_one_by_one() {
    let (mut net, records) = grown(Network::with_seed(7).k(6), 40);
    let record = &records[17];
    let key = record.header().key;
    for _ in 0..12 {
        let owner_is_gone = 17;
        net.hosts[owner_is_gone].is_up = false;
        let nearest = net.closest(&key.place(), 1)[0];
        net.hosts[nearest].is_up = false;
        net.run_for(HOUR);
    }
    assert!(kept_by_closest(&mut net, record) >= 5);
    assert_everyone_finds(&mut net, std::slice::from_ref(record), 1);
}

#[test]
fn two_halves_of_a_network_find_one_another_again() {
    let (mut net, _) = grown(Network::with_seed(8).k(8), 40);
    (0..40).for_each(|host| net.hosts[host].side = u8::from(host % 2 == 1));
    net.run_for(2 * HOUR);
    let (left, right) = (net.user_record(101), net.user_record(102));
    net.publish(0, &left);
    net.publish(1, &right);
    assert_eq!(net.find_value(1, left.header().key, 1).values, []);

    (0..40).for_each(|host| net.hosts[host].side = 0);
    net.run_for(HOUR / 4);
    assert_everyone_finds(&mut net, &[left, right], 1);
}

#[test]
fn one_living_contact_is_enough_to_come_back() {
    let (mut net, records) = grown(Network::with_seed(9).k(8), 40);
    let host = 20;
    let kept = net.hosts[host].node.record_count();
    net.hosts[host].is_up = false;
    let saved = net.hosts[host].node.contacts_to_save();
    let survivor = net.host_of(saved.last().unwrap());
    for other in (0..40).filter(|&other| other != survivor) {
        net.hosts[other].is_up = false;
    }
    net.restart(host);
    assert_eq!(net.hosts[host].node.record_count(), kept);
    assert_eq!(net.hosts[host].node.contacts_to_save().len(), saved.len(), "a second restart loses nobody");
    net.run_for(Duration::from_secs(60));
    assert!(net.hosts[host].node.is_online());
    assert_eq!(net.hosts[host].node.contact_count(), 1);

    (0..40).for_each(|other| net.hosts[other].is_up = true);
    assert_everyone_finds(&mut net, &records[20..21], 4);
}

#[test]
fn a_node_that_loses_everybody_says_so_and_comes_back_by_itself() {
    let (mut net, _) = grown(Network::with_seed(10), 10);
    net.hosts[4].side = 1;
    net.run_for(Duration::from_secs(300));
    assert!(net.hosts[4].events.contains(&NodeEvent::Offline));
    assert!(!net.hosts[4].node.is_online());
    assert_eq!(net.hosts[4].node.contacts_to_save().len(), 9);
    net.hosts[4].side = 0;
    net.hosts[4].events.clear();
    net.run_for(Duration::from_secs(120));
    assert!(net.hosts[4].events.iter().any(|event| matches!(event, NodeEvent::Online { .. })));
    assert_eq!(net.hosts[4].node.contact_count(), 9);
}

#[test]
fn a_seed_that_is_away_is_asked_again() {
    let mut net = Network::with_seed(11);
    let (seed, host) = (net.add(), net.add());
    net.hosts[seed].is_up = false;
    let contact = net.hosts[seed].contact;
    net.act(host, |node, now| node.join(contact, now));
    net.run_for(Duration::from_secs(30));
    assert!(!net.hosts[host].node.is_online());
    net.hosts[seed].is_up = true;
    net.run_for(Duration::from_secs(120));
    assert!(net.hosts[host].node.is_online() && net.hosts[seed].node.is_online());
}

#[test]
fn a_withdrawn_record_is_not_published_again() {
    let (mut net, _) = grown(Network::with_seed(12), 3);
    let record = net.user_record(50);
    net.publish(1, &record);
    net.act(1, |node, _| node.withdraw(record.header().key));
    net.run_for(47 * HOUR);
    assert_eq!(net.holders(&record.header().key).len(), 3, "holders keep it until it expires");
    net.run_for(2 * HOUR);
    assert!(net.holders(&record.header().key).is_empty());
    assert!(net.hosts.iter().all(|host| !host.saved.contains_key(&record.header().key)));
}

#[test]
fn a_jump_of_the_wall_clock_expires_nothing_at_once() {
    let (mut net, records) = grown(Network::with_seed(13), 3);
    net.now.wall = net.now.wall.saturating_add(1000 * HOUR);
    net.run_for(HOUR);
    assert_eq!(net.holders(&records[0].header().key).len(), 3);
}

#[test]
fn an_idle_hour_costs_little() {
    let (mut net, _) = grown(Network::with_seed(14).k(8), 50);
    net.run_for(HOUR);
    let before: usize = net.sent.iter().sum();
    net.run_for(HOUR);
    let sent = net.sent.iter().sum::<usize>() - before;
    assert!(sent < 50 * 200, "{sent} requests of 50 nodes with a record each");
}

#[test]
fn thousands_of_lookups_run_at_once() {
    let (mut net, _) = grown(Network::with_seed(15).k(8), 20);
    for number in 0..3000_u32 {
        let target = *blake3::hash(&number.to_be_bytes()).as_bytes();
        net.act(0, |node, now| node.find_nodes(NodeId::from_bytes(target), now));
    }
    net.settle();
    let is_done = |event: &&NodeEvent| matches!(event, NodeEvent::LookupDone { .. });
    assert_eq!(net.hosts[0].events.iter().filter(is_done).count(), 3000);
}

#[test]
fn a_newcomer_is_handed_a_long_list_of_records() {
    let mut net = Network::with_seed(16);
    let first = net.add();
    for user in 0..1200 {
        let rpc = Rpc::Store { record: net.user_record(user).as_bytes().to_vec() };
        let from = contact(1, "10.9.9.9:1");
        let reply = net.act(first, |node, now| node.handle_request(from, false, rpc, now));
        assert_eq!(reply, RpcReply::Stored);
    }
    let second = net.join(first);
    net.run_for(Duration::from_secs(30));
    assert_eq!(net.hosts[second].node.record_count(), 1200);
    // A few may arrive before the newcomer knows that their sender serves, and are handed back.
    assert!((1200..1210).contains(&net.sent[3]), "{} STOREs", net.sent[3]);
}

#[test]
fn whoever_is_too_far_from_a_record_drops_it() {
    let (mut net, records) = grown(Network::with_seed(17).k(6), 100);
    let key = records[17].header().key;
    for host in 0..100 {
        let rpc = Rpc::Store { record: records[17].as_bytes().to_vec() };
        net.act(host, |node, now| node.handle_request(contact(1, "10.9.9.9:1"), false, rpc, now));
    }
    assert_eq!(net.holders(&key).len(), 100);
    net.run_for(4 * HOUR);
    assert_eq!(kept_by_closest(&mut net, &records[17]), 6);
    assert!(net.holders(&key).len() <= 12, "{:?} keep it", net.holders(&key));
    let saved = net.hosts.iter().filter(|host| host.saved.contains_key(&key)).count();
    assert_eq!(saved, net.holders(&key).len());
}

/// Makes a node that keeps a record which it is too far from, until it offers that to the nearest.
fn offering() -> (Node, Record, Vec<Outgoing>, Now) {
    let (mut node, mut now) = (node(AddressFamily::Any), start());
    for number in 0..=255 {
        hear(&mut node, contact(number, &format!("10.0.0.{number}:1")), now);
    }
    let records = (1..).map(|user| Network::with_seed(18).user_record(user));
    let is_far = |record: &Record| !node.is_among_closest(&record.header().key.place());
    let record = records.into_iter().find(is_far).unwrap();
    let place = record.header().key.place();
    let rpc = Rpc::Store { record: record.as_bytes().to_vec() };
    node.handle_request(contact(1, "10.9.9.9:1"), false, rpc, now);
    while node.poll_rpc(now).is_some() {}
    // Somebody must be heard from, or the contacts are stale by then.
    for _ in 0..150 {
        let contacts = node.closest(&place, 256);
        contacts.into_iter().for_each(|other| hear(&mut node, other, now));
        now = now.after(Duration::from_secs(60));
        node.handle_timeout(now);
        let nearest = node.closest(&place, 3);
        let is_offer =
            |outgoing: &Outgoing| matches!(outgoing.rpc, Rpc::Store { .. }) && nearest.contains(&outgoing.to);
        let stores: Vec<_> = std::iter::from_fn(|| node.poll_rpc(now)).filter(is_offer).collect();
        if !stores.is_empty() {
            return (node, record, stores, now);
        }
    }
    panic!("nothing was offered");
}

#[test]
fn a_record_is_kept_unless_all_of_the_nearest_keep_it() {
    let answers = |last: Option<RpcReply>| {
        let (mut node, record, stores, now) = offering();
        assert_eq!(stores.len(), 3);
        for (number, offer) in stores.into_iter().enumerate() {
            match last.clone().filter(|_| number == 2).or((number < 2).then_some(RpcReply::Stored)) {
                Some(reply) => {
                    node.handle_reply(offer.id, offer.to, reply, Some(Duration::from_millis(9)), now)
                }
                None => node.handle_failure(offer.id, now),
            }
        }
        let time = node.wall_time(now);
        node.store.get(&record.header().key, time).is_some()
    };
    let refused = |reason| Some(RpcReply::Refused { reason, incumbent: None });
    assert!(!answers(Some(RpcReply::Stored)));
    assert!(!answers(refused(StoreRefusal::Older)));
    assert!(answers(refused(StoreRefusal::Full)));
    assert!(answers(None), "one of the nearest is gone");
}

fn contact(number: u8, address: &str) -> Contact {
    Contact::new(NodeKey::from_bytes([number; 32]), address.parse::<SocketAddr>().unwrap())
}

/// Lets a node hear another one that serves.
fn hear(node: &mut Node, from: Contact, now: Now) {
    let rpc = Rpc::FindNode { target: node.id(), family: AddressFamily::Any, serves: true };
    node.handle_request(from, true, rpc, now);
}

#[test]
fn an_unproven_asker_is_answered_but_not_kept() {
    let (mut node, now) = (node(AddressFamily::Any), start());
    let asker = contact(1, "8.8.8.8:1");
    assert_eq!(node.handle_request(asker, false, Rpc::Ping, now), RpcReply::Pong);
    assert_eq!((node.contact_count(), node.is_online()), (0, false));
    hear(&mut node, asker, now);
    assert_eq!((node.contact_count(), node.is_online()), (1, true));
}

#[test]
fn nobody_is_told_of_addresses_that_do_not_reach_as_far_as_they_do() {
    let (mut node, now) = (node(AddressFamily::Any), start());
    let known = ["127.0.0.1:1", "10.0.0.1:1", "8.8.8.8:1", "[2001:db8::1]:1"];
    for (number, address) in known.iter().enumerate() {
        hear(&mut node, contact(number as u8, address), now);
    }
    let mut told = |asker: &str, family| {
        let rpc = Rpc::FindNode { target: node.id(), family, serves: false };
        match node.handle_request(contact(9, asker), false, rpc, now) {
            RpcReply::Nodes(contacts) => contacts.iter().map(|c| c.address().to_string()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told("9.9.9.9:1", AddressFamily::V4), ["8.8.8.8:1"]);
    assert_eq!(told("[2001:db8:9::1]:1", AddressFamily::V6), ["[2001:db8::1]:1"]);
    assert_eq!(told("10.0.0.9:1", AddressFamily::Any).len(), 3);
    assert_eq!(told("127.0.0.1:9", AddressFamily::Any).len(), 4);
    let rpc = Rpc::FindNode { target: node.id(), family: AddressFamily::Any, serves: false };
    let own = contact(1, "10.0.0.1:1");
    let RpcReply::Nodes(contacts) = node.handle_request(own, true, rpc, now) else { panic!("no contacts") };
    assert!(contacts.iter().all(|contact| contact.id() != own.id()), "the asker knows itself");
}

#[test]
fn a_stranger_cannot_point_a_lookup_into_a_lan() {
    let (mut node, now) = (node(AddressFamily::V4), start());
    let (stranger, honest) = (contact(1, "8.8.8.8:1"), contact(2, "9.9.9.9:1"));
    node.join(stranger, now);
    let asked = node.poll_rpc(now).unwrap();
    let reply = RpcReply::Nodes(vec![
        contact(3, "127.0.0.1:1"),
        contact(4, "192.168.0.1:1"),
        contact(5, "[2001:db8::1]:1"),
        contact(6, "9.9.9.9:0"),
        honest,
    ]);
    node.handle_reply(asked.id, stranger, reply, Some(Duration::from_millis(9)), now);
    let asked: Vec<_> = std::iter::from_fn(|| node.poll_rpc(now)).map(|outgoing| outgoing.to).collect();
    assert_eq!(asked, [honest]);
    assert_eq!((node.stats().refused_scope, node.stats().refused_family), (3, 1));
}

#[test]
fn a_value_under_another_key_counts_as_a_failure() {
    let (mut node, now) = (node(AddressFamily::V4), start());
    let holder = contact(1, "8.8.8.8:1");
    hear(&mut node, holder, now);
    let asked = std::iter::from_fn(|| node.poll_rpc(now)).last().unwrap();
    node.handle_reply(asked.id, holder, RpcReply::Nodes(Vec::new()), Some(Duration::ZERO), now);
    let record = Network::with_seed(0).user_record(1);
    for bytes in [record.as_bytes().to_vec(), vec![0; MAX_RECORD_LEN]] {
        node.find_value(RecordKey::from_bytes([7; 32]), 1, now);
        let asked = std::iter::from_fn(|| node.poll_rpc(now)).last().unwrap();
        node.handle_reply(asked.id, holder, RpcReply::Value(bytes), Some(Duration::ZERO), now);
        let Some(NodeEvent::LookupDone { outcome, .. }) = std::iter::from_fn(|| node.poll_event()).last()
        else {
            panic!("the lookup does not end");
        };
        assert_eq!(outcome, LookupOutcome::default());
    }
    assert_eq!(node.stats().invalid_records, 2);
}

#[test]
fn a_contact_that_moved_is_reached_at_its_new_address() {
    let (mut node, now) = (node(AddressFamily::V4), start());
    hear(&mut node, contact(1, "8.8.8.8:1"), now);
    hear(&mut node, contact(1, "9.9.9.9:1"), now);
    assert_eq!(node.closest(&node.id(), 9), [contact(1, "9.9.9.9:1")]);
}

#[derive(Clone, Debug)]
enum Step {
    Answer(Vec<(u8, u8)>),
    WrongKind,
    Failure,
    Request(u8),
    Publish(u8),
    FindValue(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => proptest::collection::vec((any::<u8>(), any::<u8>()), 0..30).prop_map(Step::Answer),
        1 => Just(Step::WrongKind),
        2 => Just(Step::Failure),
        1 => any::<u8>().prop_map(Step::Request),
        1 => (0..5_u8).prop_map(Step::Publish),
        2 => any::<u8>().prop_map(Step::FindValue),
        2 => (0..5000_u64).prop_map(Step::Wait),
    ]
}

fn named(number: u8, place: u8) -> Contact {
    let address = match place % 4 {
        0 => ([127, 0, 0, 1], u16::from(place)),
        1 => ([10, 0, place, 1], 1),
        2 => ([8, 8, place % 8, place], 1),
        _ => ([place, 1, 1, 1], 1),
    };
    Contact::new(NodeKey::from_bytes([number; 32]), address.into())
}

/// A node among hostile others: whatever it asks is answered as the steps say.
struct Besieged {
    node: Node,
    now: Now,
    calls: Vec<Outgoing>,
    /// Commands without their event yet.
    open: usize,
    /// Records of eight users.
    records: Vec<Record>,
}

impl Besieged {
    fn new() -> Self {
        let records = (0..8).map(|user| Network::with_seed(0).user_record(user)).collect();
        let (mut node, now) = (node(AddressFamily::V4), start());
        node.join(named(0, 2), now);
        Self { node, now, calls: Vec::new(), open: 1, records }
    }

    fn record(&self, number: u8) -> &Record {
        &self.records[usize::from(number) % self.records.len()]
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Wait(ms) => self.wait(now.instant + Duration::from_millis(ms)),
            Step::Request(number) => {
                let rpc = Rpc::Store { record: self.record(number).as_bytes().to_vec() };
                self.node.handle_request(named(number, number), number % 2 == 0, rpc, now);
            }
            Step::Publish(user) => {
                self.node.publish(self.record(user).clone(), now);
                self.open += 1;
            }
            Step::FindValue(user) => {
                self.node.find_value(self.record(user).header().key, usize::from(user % 9), now);
                self.open += 1;
            }
            Step::Answer(_) | Step::WrongKind | Step::Failure if self.calls.is_empty() => {}
            Step::Failure => self.node.handle_failure(self.calls.remove(0).id, now),
            Step::WrongKind => {
                let call = self.calls.remove(0);
                self.node.handle_reply(call.id, call.to, RpcReply::Stored, Some(Duration::ZERO), now);
            }
            Step::Answer(contacts) => {
                let call = self.calls.remove(contacts.len() % self.calls.len());
                let reply = self.answer(&call.rpc, &contacts);
                self.node.handle_reply(call.id, call.to, reply, Some(Duration::from_millis(5)), now);
            }
        }
        self.drain();
    }

    fn answer(&self, rpc: &Rpc, contacts: &[(u8, u8)]) -> RpcReply {
        let value = self.record(contacts.len() as u8).as_bytes().to_vec();
        match rpc {
            Rpc::Ping | Rpc::DialBack { .. } | Rpc::Relay { .. } | Rpc::Dial => RpcReply::Pong,
            Rpc::FindValue { .. } if contacts.len().is_multiple_of(3) => RpcReply::Value(value),
            Rpc::FindNode { .. } | Rpc::FindValue { .. } => {
                RpcReply::Nodes(contacts.iter().map(|&(number, place)| named(number, place)).collect())
            }
            Rpc::Store { .. } if contacts.len().is_multiple_of(2) => RpcReply::Stored,
            Rpc::Store { .. } => RpcReply::Refused { reason: StoreRefusal::Owned, incumbent: Some(value) },
        }
    }

    fn wait(&mut self, until: Instant) {
        self.now = self.now.after(until.saturating_duration_since(self.now.instant));
        self.node.handle_timeout(self.now);
    }

    fn drain(&mut self) {
        self.calls.extend(std::iter::from_fn(|| self.node.poll_rpc(self.now)));
        while let Some(event) = self.node.poll_event() {
            let is_end = matches!(event, NodeEvent::LookupDone { .. } | NodeEvent::PublishDone { .. });
            self.open -= usize::from(is_end);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_command_ends_whatever_the_answers(steps in proptest::collection::vec(step(), 1..80)) {
        let mut besieged = Besieged::new();
        for step in steps {
            besieged.step(step);
        }
        // From here on nobody answers and the transport reports nothing.
        let end = besieged.now.instant + Duration::from_secs(600);
        let mut timeouts = 0;
        while let Some((at, what)) = besieged.node.poll_timeout().filter(|(at, _)| *at < end) {
            besieged.wait(at);
            besieged.drain();
            timeouts += 1;
            prop_assert!(timeouts < 5000, "{what} is due again and again");
        }
        prop_assert_eq!(besieged.open, 0);
    }
}
