use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::identity::SecretKey;
use crate::kademlia::{NodeKey, RecordHeader, RecordKey, RecordKind};
use crate::time::Timestamp;

const CONFIG: LookupConfig = LookupConfig { k: 5, alpha: 3, wanted: None, paths: 1, first: 0 };

fn contact(number: u16) -> Contact {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    Contact::new(NodeKey::from_bytes(key), ([10, 0, 0, 1], 1 + number % 60_000).into())
}

fn sorted(mut contacts: Vec<Contact>, target: NodeId) -> Vec<Contact> {
    contacts.sort_by_key(|contact| contact.id().distance(&target));
    contacts
}

/// What happens to a request.
#[derive(Clone, Debug)]
enum Fate {
    Answer(Vec<u16>),
    Value(u8),
    Failure,
    Silence,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => proptest::collection::vec(0..300_u16, 0..8).prop_map(Fate::Answer),
        1 => (0..4_u8).prop_map(Fate::Value),
        1 => Just(Fate::Failure),
        1 => Just(Fate::Silence),
    ]
}

proptest! {
    #[test]
    fn every_lookup_ends(
        fates in proptest::collection::vec(fate(), 1..60),
        target: [u8; 32],
        order: u64,
        paths in 1..5_usize,
        wanted in proptest::option::of(0..9_usize),
        first in 0..7_usize,
    ) {
        let values: Vec<_> = [(1, 1), (1, 2), (1, 3), (2, 1)].map(|(user, sequence)| value_of(user, sequence)).into();
        let mut lookup = Lookup::new(NodeId::from_bytes(target), LookupConfig { paths, wanted, first, ..CONFIG });
        lookup.add([contact(0), contact(1), contact(2)]);
        let (mut in_flight, mut silent) = (Vec::new(), VecDeque::new());
        let mut asked = 0_usize;
        while !lookup.is_done() {
            while let Some(contact) = lookup.poll_request() {
                prop_assert!(asked < MAX_LOOKUP_REQUESTS);
                in_flight.push((contact, fates[asked % fates.len()].clone()));
                asked += 1;
            }
            if in_flight.is_empty() {
                // Nothing will be answered any more: the deadlines pass, and in the end the requests fail.
                let (id, step) = silent.pop_front().expect("a lookup that waits has something to wait for");
                match step {
                    0 => lookup.handle_overdue(id),
                    _ => lookup.handle_failure(id),
                }
                continue;
            }
            let (from, fate) = in_flight.remove(order as usize % in_flight.len());
            match fate {
                Fate::Answer(closer) => {
                    let closer: Vec<_> = closer.into_iter().map(contact).collect();
                    lookup.handle_nodes(&from, &closer);
                }
                Fate::Value(number) => lookup.handle_value(&from, values[usize::from(number)].clone()),
                Fate::Failure => lookup.handle_failure(from.id()),
                Fate::Silence => {
                    lookup.handle_slow(from.id());
                    silent.extend([(from.id(), 0), (from.id(), 1)]);
                }
            }
        }
        let outcome = lookup.into_outcome();
        prop_assert!(outcome.closest.len() <= CONFIG.k);
        prop_assert_eq!(&sorted(outcome.closest.clone(), NodeId::from_bytes(target)), &outcome.closest);
    }

    #[test]
    fn a_lookup_finds_the_closest_of_an_honest_network(
        size in 1..200_u16,
        target: [u8; 32],
        seed: u16,
        paths in 1..5_usize,
    ) {
        let target = NodeId::from_bytes(target);
        let nodes: Vec<_> = (0..size).map(contact).collect();
        let mut lookup = Lookup::new(target, LookupConfig { paths, ..CONFIG });
        lookup.add([contact(seed % size)]);
        let mut asked = BTreeSet::new();
        while !lookup.is_done() {
            let from = lookup.poll_request().expect("with every request answered there is one to send");
            prop_assert!(asked.insert(from.id()), "asked twice");
            lookup.handle_nodes(&from, &known_to(&from, &nodes, target));
        }
        let mut naive = sorted(nodes, target);
        naive.truncate(CONFIG.k);
        prop_assert_eq!(lookup.into_outcome().closest, naive);
    }
}

/// What a node answers that has full buckets of k, filled from the front of `nodes`.
fn known_to(node: &Contact, nodes: &[Contact], target: NodeId) -> Vec<Contact> {
    let mut buckets = BTreeMap::<_, Vec<Contact>>::new();
    for other in nodes {
        if let Some(index) = node.id().distance(&other.id()).bucket_index() {
            let bucket = buckets.entry(index).or_default();
            if bucket.len() < CONFIG.k {
                bucket.push(*other);
            }
        }
    }
    let mut closest = sorted(buckets.into_values().flatten().collect(), target);
    closest.truncate(CONFIG.k);
    closest
}

fn drain(lookup: &mut Lookup) -> Vec<Contact> {
    std::iter::from_fn(|| lookup.poll_request()).collect()
}

#[test]
fn alpha_requests_are_in_flight_and_k_once_nothing_comes_closer() {
    let target = contact(0).id();
    let mut lookup = Lookup::new(target, CONFIG);
    lookup.add((0..20).map(contact));
    let first = drain(&mut lookup);
    assert_eq!(first.len(), CONFIG.alpha);
    lookup.handle_nodes(&first[0], &[]);
    assert_eq!(drain(&mut lookup).len(), 1);
    lookup.handle_nodes(&first[1], &[]);
    lookup.handle_nodes(&first[2], &[]);
    // Five in all: three have answered, one waits.
    assert_eq!(drain(&mut lookup).len(), 1);
}

#[test]
fn a_slow_contact_does_not_stall_the_others_and_may_still_answer() {
    let target = contact(0).id();
    let mut lookup = Lookup::new(target, CONFIG);
    lookup.add((0..3).map(contact));
    let asked = drain(&mut lookup);
    lookup.handle_slow(asked[0].id());
    lookup.handle_nodes(&asked[1], &[]);
    lookup.handle_nodes(&asked[2], &[]);
    assert!(!lookup.is_done(), "a slow contact has its grace");
    let mut without = lookup.clone();
    without.handle_overdue(asked[0].id());
    assert!(without.is_done());
    assert_eq!(without.into_outcome().closest.len(), 2);
    lookup.handle_nodes(&asked[0], &[]);
    assert_eq!(lookup.into_outcome().closest.len(), 3);
}

#[test]
fn an_invented_address_does_not_hide_a_node() {
    let (target, seed, node) = (contact(0).id(), contact(1), contact(0));
    let invented = Contact::new(node.key(), ([10, 9, 9, 9], 9).into());
    let mut lookup = Lookup::new(target, CONFIG);
    lookup.add([seed, contact(2)]);
    drain(&mut lookup);
    lookup.handle_nodes(&seed, &[invented]);
    assert_eq!(drain(&mut lookup), [invented]);
    lookup.handle_nodes(&contact(2), &[node]);
    lookup.handle_failure(node.id());
    assert_eq!(drain(&mut lookup), [node]);
    lookup.handle_nodes(&node, &[]);
    assert!(lookup.is_done());
    assert_eq!(lookup.into_outcome().closest.first(), Some(&node));
}

#[test]
fn an_answer_that_was_not_asked_for_changes_nothing() {
    let mut lookup = Lookup::new(contact(0).id(), CONFIG);
    lookup.add([contact(1)]);
    lookup.handle_nodes(&contact(1), &[contact(2)]);
    lookup.handle_nodes(&contact(3), &[contact(2)]);
    assert_eq!(drain(&mut lookup), [contact(1)]);
    assert!(!lookup.is_done());
}

fn value(user: u8) -> Record {
    value_of(user, 1)
}

fn value_of(user: u8, sequence: u64) -> Record {
    let key = SecretKey::from_bytes(&[user; 32]);
    let issued = Timestamp::from_unix_ms(1_000_000);
    let header = RecordHeader {
        kind: RecordKind::Claim,
        key: RecordKey::of_name("alice"),
        owner: key.public(),
        sequence,
        issued,
        expires: issued.saturating_add(Duration::from_secs(3600)),
    };
    Record::sign(&key, header, b"alice").unwrap()
}

#[test]
fn a_contact_is_asked_by_one_path_and_only_that_path_hears_whom_it_names() {
    let target = contact(0).id();
    let mut lookup = Lookup::new(target, LookupConfig { paths: 3, ..CONFIG });
    lookup.add((1..4).map(contact));
    let asked = drain(&mut lookup);
    assert_eq!(asked.len(), 3);
    // The first two name one another's next hop; whoever is first asks it.
    lookup.handle_nodes(&asked[0], &[contact(9)]);
    lookup.handle_nodes(&asked[1], &[contact(9)]);
    assert_eq!(drain(&mut lookup), [contact(9)]);
    lookup.handle_nodes(&contact(9), &[contact(8)]);
    lookup.handle_nodes(&asked[2], &[]);
    assert_eq!(drain(&mut lookup), [contact(8)]);
    lookup.handle_nodes(&contact(8), &[]);
    assert!(lookup.is_done());
    assert_eq!(lookup.into_outcome().closest.len(), 5);
}

#[test]
fn a_path_that_is_told_the_right_address_asks_a_node_that_another_was_misled_about() {
    let (target, node) = (contact(0).id(), contact(0));
    let invented = [9, 8].map(|port| Contact::new(node.key(), ([10, 9, 9, 9], port).into()));
    let mut lookup = Lookup::new(target, LookupConfig { paths: 2, ..CONFIG });
    lookup.add([contact(1), contact(2)]);
    let asked = drain(&mut lookup);
    lookup.handle_nodes(&asked[0], &invented);
    assert_eq!(drain(&mut lookup), [invented[0]]);
    lookup.handle_nodes(&asked[1], &[node]);
    lookup.handle_slow(node.id());
    let next = drain(&mut lookup);
    assert!(next.contains(&invented[1]) || next.contains(&node));
    lookup.handle_slow(node.id());
    assert!(drain(&mut lookup).iter().chain(&next).any(|asked| *asked == node));
}

#[test]
fn one_path_does_not_end_a_lookup_with_values_of_its_own() {
    let target = contact(0).id();
    let mut lookup = Lookup::new(target, LookupConfig { paths: 3, wanted: Some(3), ..CONFIG });
    lookup.add((1..4).map(contact));
    let asked = drain(&mut lookup);
    lookup.handle_nodes(&asked[0], &[contact(10), contact(11), contact(12)]);
    let accomplices = drain(&mut lookup);
    lookup.handle_value(&accomplices[0], value(1));
    assert_eq!(drain(&mut lookup), [], "the path has provided its part and asks nobody else");
    assert!(!lookup.is_done());
    lookup.handle_value(&asked[1], value(2));
    lookup.handle_value(&asked[2], value(2));
    assert!(lookup.is_done());
    assert_eq!(lookup.into_outcome().values.len(), 3);
}

#[test]
fn values_that_differ_in_sequence_make_a_lookup_ask_all_of_the_closest() {
    let mut lookup = Lookup::new(contact(0).id(), LookupConfig { wanted: Some(2), ..CONFIG });
    lookup.add((1..20).map(contact));
    let asked = drain(&mut lookup);
    lookup.handle_value(&asked[0], value_of(1, 7));
    lookup.handle_value(&asked[1], value_of(1, 6));
    assert!(!lookup.is_done());
    for _ in 0..CONFIG.k {
        for contact in drain(&mut lookup) {
            lookup.handle_value(&contact, value_of(1, 8));
        }
        asked.iter().skip(2).for_each(|contact| lookup.handle_value(contact, value_of(1, 8)));
    }
    assert!(lookup.is_done());
    let newest = lookup.into_outcome().values.iter().map(|value| value.record.header().sequence).max();
    assert_eq!(newest, Some(8));
}

#[test]
fn a_path_has_no_more_requests_in_flight_than_it_lacks_values() {
    let target = contact(0).id();
    let config = LookupConfig { alpha: 9, paths: 3, wanted: Some(6), ..CONFIG };
    let mut lookup = Lookup::new(target, config);
    lookup.add((1..40).map(contact));
    let asked = drain(&mut lookup);
    assert_eq!(asked.len(), 6, "two values are wanted of each path");
    lookup.handle_value(&asked[0], value(1));
    assert_eq!(drain(&mut lookup), [], "one is on its way and one is there");
    lookup.handle_nodes(&asked[1], &[]);
    assert_eq!(drain(&mut lookup).len(), 1);
    // Whoever fails or is slow no longer counts.
    lookup.handle_failure(asked[2].id());
    lookup.handle_slow(asked[3].id());
    assert_eq!(drain(&mut lookup).len(), 2);
}

/// A network of honest nodes and liars. Liars name contacts nearer to the target than anybody, which answer in the same
/// way for ever; the record is kept by the k nodes closest to it that do not lie.
struct Poisoned {
    nodes: Vec<Contact>,
    liars: BTreeSet<NodeId>,
    holders: BTreeSet<NodeId>,
    target: NodeId,
    /// Keys whose ids lie near the target, as an attacker grinds them; here taken from a large supply.
    invented: Vec<Contact>,
}

impl Poisoned {
    fn new(seed: u16, liar_count: usize, is_liar: impl Fn(usize) -> bool) -> Self {
        let target = NodeId::from_bytes(*blake3::hash(&seed.to_be_bytes()).as_bytes());
        let nodes = sorted((0..400).map(contact).collect(), target);
        let liars: BTreeSet<_> = (0..nodes.len())
            .filter(|rank| is_liar(*rank))
            .take(liar_count)
            .map(|rank| nodes[rank].id())
            .collect();
        let honest = nodes.iter().map(Contact::id).filter(|id| !liars.contains(id));
        let holders = honest.take(CONFIG.k).collect();
        let mut invented = sorted((1000..60_000).map(contact).collect(), target);
        invented.truncate(300);
        Self { nodes, liars, holders, target, invented }
    }

    /// Runs a lookup of the record from a node; tells whether it finds it.
    fn finds(&self, from: &Contact, paths: usize) -> bool {
        let mut lookup = Lookup::new(self.target, LookupConfig { paths, wanted: Some(1), ..CONFIG });
        lookup.add(known_to(from, &self.nodes, self.target));
        let mut next_invented = 0;
        while let Some(asked) = lookup.poll_request() {
            if self.holders.contains(&asked.id()) {
                lookup.handle_value(&asked, value(1));
            } else if self.nodes.contains(&asked) && !self.liars.contains(&asked.id()) {
                lookup.handle_nodes(&asked, &known_to(&asked, &self.nodes, self.target));
            } else {
                // From far to near, so that each answer seems to lead on.
                let end = self.invented.len().saturating_sub(next_invented);
                let named = self.invented.get(end.saturating_sub(CONFIG.k)..end).unwrap_or_default();
                next_invented += CONFIG.k;
                lookup.handle_nodes(&asked, named);
            }
        }
        assert!(lookup.is_done());
        !lookup.into_outcome().values.is_empty()
    }

    fn found_by_honest(&self, paths: usize) -> (usize, usize) {
        let askers = self
            .nodes
            .iter()
            .filter(|node| !self.liars.contains(&node.id()) && !self.holders.contains(&node.id()));
        let found: Vec<_> = askers.step_by(13).map(|from| self.finds(from, paths)).collect();
        (found.iter().filter(|found| **found).count(), found.len())
    }
}

#[test]
fn a_record_behind_two_liars_is_found_by_three_paths_and_not_by_one() {
    let (mut by_one, mut by_three, mut total) = (0, 0, 0);
    for seed in 0..20 {
        // The two nodes closest to the target lie.
        let net = Poisoned::new(seed, 2, |rank| rank < 2);
        by_one += net.found_by_honest(1).0;
        let (found, asked) = net.found_by_honest(LOOKUP_PATHS);
        (by_three, total) = (by_three + found, total + asked);
    }
    assert!(by_three * 100 >= 98 * total, "three paths find {by_three} of {total}");
    assert!(by_one * 100 <= 60 * total, "one path finds {by_one} of {total}");
}

#[test]
fn more_lookups_survive_liars_everywhere_with_three_paths() {
    let (mut by_one, mut by_three, mut total) = (0, 0, 0);
    for seed in 0..20 {
        // One node in five lies.
        let net = Poisoned::new(seed, 400, |rank| (rank + usize::from(seed)) % 5 == 0);
        by_one += net.found_by_honest(1).0;
        let (found, asked) = net.found_by_honest(LOOKUP_PATHS);
        (by_three, total) = (by_three + found, total + asked);
    }
    assert!(by_three * 100 >= 98 * total, "three paths find {by_three} of {total}");
    assert!(by_one * 100 <= 95 * total, "one path finds {by_one} of {total}");
}

#[test]
fn three_paths_cost_an_honest_network_less_than_two_lookups() {
    let nodes: Vec<_> = (0..400).map(contact).collect();
    let asked_by = |paths: usize| -> usize {
        let cost = |seed: u16| {
            let target = NodeId::from_bytes(*blake3::hash(&seed.to_be_bytes()).as_bytes());
            let mut lookup = Lookup::new(target, LookupConfig { paths, ..CONFIG });
            lookup.add(known_to(&nodes[usize::from(seed)], &nodes, target));
            let mut asked = 0;
            while let Some(contact) = lookup.poll_request() {
                asked += 1;
                lookup.handle_nodes(&contact, &known_to(&contact, &nodes, target));
            }
            asked
        };
        (0..50).map(cost).sum()
    };
    let (one, three) = (asked_by(1), asked_by(LOOKUP_PATHS));
    assert!(three <= 2 * one, "{three} requests instead of {one}");
}

/// However many there are who name one another near the target.
#[test]
fn those_whom_we_know_ourselves_are_asked_before_a_lookup_ends() {
    let target = contact(0).id();
    let all = sorted((1..60).map(contact).collect(), target);
    let (sybils, honest) = all.split_at(20);
    let asked_by = |first| {
        let mut lookup = Lookup::new(target, LookupConfig { first, ..CONFIG });
        lookup.add(sybils.iter().rev().take(3).chain(&honest[..4]).copied());
        let mut asked = Vec::new();
        while !lookup.is_done() {
            let Some(contact) = lookup.poll_request() else { break };
            asked.push(contact);
            lookup.handle_nodes(&contact, if sybils.contains(&contact) { &sybils[..5] } else { &[] });
        }
        assert!(lookup.is_done());
        honest.iter().filter(|contact| asked.contains(contact)).count()
    };
    assert_eq!(asked_by(0), 0);
    assert_eq!(asked_by(5), 2, "three Sybils were among the first five");
    assert_eq!(asked_by(100), 4, "that is all we know");
}
