//! Many people who write to one another and come and go: the scenarios of the original, over a network that loses packets,
//! among nodes that come and go.

use std::time::Duration;

use peerchat_core::event::{Event, MessageState};
use peerchat_sim::model::Conversations;
use peerchat_sim::{Churn, Host, Network};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// People, and nodes without a user that come and go.
struct Town {
    net: Network,
    people: Vec<Host>,
    names: Vec<String>,
    passers: Vec<Host>,
}

impl Town {
    fn new(seed: u64, people: usize, passers: usize) -> Self {
        let mut net = Network::with_seed(seed).loss(0.03);
        let names: Vec<String> = (0..people).map(|number| format!("user{number}")).collect();
        let people: Vec<Host> = names.iter().map(|name| net.join(name)).collect();
        let passers: Vec<Host> = (0..passers).map(|_| net.add(None)).collect();
        passers.iter().for_each(|host| net.bootstrap(*host, people[0]));
        net.run_for(5 * MINUTE);
        net.churn(&passers, Churn { median_session: 20 * MINUTE, median_absence: 5 * MINUTE });
        Self { net, people, names, passers }
    }

    fn model(&self) -> Conversations {
        let named: Vec<(Host, &str)> =
            self.people.iter().copied().zip(self.names.iter().map(String::as_str)).collect();
        Conversations::between(&named)
    }

    /// Checks that one finds another where they are, or were last.
    fn find(&mut self, asker: Host, sought: Host) {
        let found = self.net.lookup(asker, &self.names[sought.0].clone()).unwrap();
        assert_eq!(found.addresses, [self.net.address(sought)], "{asker:?} looks for {sought:?}");
    }

    /// Checks that every text that was written is known by its writer to have arrived.
    fn assert_all_delivered(&self) {
        for host in &self.people {
            let own = self.net.disk(*host).messages().iter().filter_map(|message| message.state);
            assert!(own.into_iter().all(|state| state == MessageState::Delivered), "{host:?}");
        }
    }
}

#[test]
fn twenty_of_eighty_users_all_write_to_one_another() {
    let mut town = Town::new(1, 80, 10);
    let mut model = town.model();
    let writers: Vec<Host> = town.people.iter().copied().step_by(4).collect();
    for from in &writers {
        for to in writers.iter().filter(|to| *to != from) {
            model.write(&mut town.net, *from, *to);
        }
    }
    // The twenty notes to themselves make it four hundred.
    let notes: Vec<_> =
        writers.iter().map(|host| (*host, town.net.send(*host, &town.names[host.0], "note"))).collect();
    town.net.run_for(10 * MINUTE);
    model.check_complete(&town.net);
    assert!(notes.iter().all(|(host, note)| town.net.state(*host, *note) == Some(MessageState::Delivered)));
    town.assert_all_delivered();
}

#[test]
fn who_logs_off_is_seen_to_be_away_and_found_again_at_the_same_address_or_another() {
    let mut town = Town::new(2, 40, 10);
    let mut model = town.model();
    let away: Vec<Host> = town.people.iter().copied().step_by(3).collect();
    let there: Vec<Host> = town.people.iter().copied().filter(|host| !away.contains(host)).collect();
    away.iter().for_each(|host| town.net.stop(*host));
    town.net.run_for(10 * MINUTE);
    for (index, asker) in there.iter().enumerate() {
        town.find(*asker, there[(index + 5) % there.len()]);
        town.find(*asker, away[index % away.len()]);
        model.write(&mut town.net, *asker, away[index % away.len()]);
    }
    town.net.run_for(10 * MINUTE);
    for host in &there {
        let stored = town.net.events(*host).iter().filter(|event| is_state(event, MessageState::Stored));
        assert!(stored.count() > 0, "{host:?} is told that the message waits");
        assert!(!town.net.events(*host).iter().any(|event| is_state(event, MessageState::Delivered)));
    }
    // Back at the same address.
    away.iter().for_each(|host| town.net.start(*host));
    town.net.run_for(10 * MINUTE);
    model.check_complete(&town.net);
    town.assert_all_delivered();
    for (index, sought) in away.iter().enumerate() {
        town.find(there[index], *sought);
        town.find(*sought, there[index]);
    }
    // Half of all leave, and come back from elsewhere.
    let moving: Vec<Host> = town.people.iter().copied().step_by(2).collect();
    moving.iter().for_each(|host| town.net.stop(*host));
    town.net.run_for(MINUTE);
    for host in &moving {
        town.net.move_away(*host);
        town.net.start(*host);
    }
    town.net.run_for(10 * MINUTE);
    let people = town.people.clone();
    for (index, asker) in people.iter().enumerate() {
        for step in [1, 4, 9] {
            town.find(*asker, people[(index + step) % people.len()]);
        }
        model.write(&mut town.net, *asker, people[(index + 1) % people.len()]);
    }
    town.net.run_for(10 * MINUTE);
    model.check_complete(&town.net);
    town.assert_all_delivered();
}

#[test]
fn thirty_people_live_fifty_rounds() {
    let mut town = Town::new(3, 30, 15);
    let mut model = town.model();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let people = town.people.clone();
    for _ in 0..50 {
        for host in &people {
            if town.net.is_up(*host) && rng.random_bool(0.2) {
                town.net.stop(*host);
            } else if !town.net.is_up(*host) && rng.random_bool(0.5) {
                if rng.random_bool(0.5) {
                    town.net.move_away(*host);
                }
                town.net.start(*host);
            }
            let to = people[rng.random_range(0..people.len())];
            if to != *host && town.net.is_up(*host) {
                model.write(&mut town.net, *host, to);
            }
        }
        town.net.run_for(MINUTE.mul_f64(rng.random_range(0.1..5.0)));
        model.check(&town.net);
    }
    town.net.end_churn();
    for host in &people {
        if !town.net.is_up(*host) {
            town.net.start(*host);
        }
    }
    town.net.run_for(HOUR);
    model.check_complete(&town.net);
    town.assert_all_delivered();
}

#[test]
fn a_partition_of_an_hour_heals_and_everything_arrives() {
    let mut town = Town::new(4, 24, 8);
    let mut model = town.model();
    let (left, right) = (town.people[..12].to_vec(), town.people[12..].to_vec());
    let mut cut = right.clone();
    cut.extend(&town.passers[4..]);
    town.net.cut_off(&cut);
    for minute in 0..60 {
        let (a, b) = (left[minute % 12], right[(minute * 5) % 12]);
        model.write(&mut town.net, a, b);
        model.write(&mut town.net, b, a);
        town.net.run_for(MINUTE);
        model.check(&town.net);
    }
    assert!(left.iter().all(|host| town.net.texts(*host).is_empty()), "nothing crosses");
    // Of one in three nobody is there when the halves meet again, only what they have written.
    left.iter().step_by(3).for_each(|host| town.net.stop(*host));
    town.net.heal();
    town.net.run_for(30 * MINUTE);
    for host in left.iter().step_by(3) {
        town.net.start(*host);
    }
    town.net.run_for(30 * MINUTE);
    model.check_complete(&town.net);
    town.assert_all_delivered();
}

#[test]
fn all_holders_restart_and_all_but_one_vanish_and_the_message_arrives() {
    let mut town = Town::new(5, 30, 12);
    let mut model = town.model();
    let (alice, bob) = (town.people[3], town.people[7]);
    town.net.stop(bob);
    for _ in 0..5 {
        model.write(&mut town.net, alice, bob);
    }
    town.net.run_for(5 * MINUTE);
    town.net.stop(alice);
    let others = town.people.iter().chain(&town.passers).copied();
    let holders: Vec<Host> = others.filter(|host| !town.net.disk(*host).mail().is_empty()).collect();
    assert!(holders.len() >= 10, "{} nodes keep it", holders.len());
    holders.iter().for_each(|host| town.net.kill(*host));
    holders.iter().for_each(|host| town.net.start(*host));
    town.net.run_for(5 * MINUTE);
    // The first is there all the time, and the only one: the others who are left come and go.
    assert!(town.people.contains(&holders[0]));
    holders[1..].iter().for_each(|host| town.net.vanish(*host));
    town.net.run_for(2 * HOUR);
    town.net.move_away(bob);
    town.net.start(bob);
    town.net.run_for(30 * MINUTE);
    model.check_complete(&town.net);
}

fn is_state(event: &Event, wanted: MessageState) -> bool {
    matches!(event, Event::MessageState { state, .. } if *state == wanted)
}
