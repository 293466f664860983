//! Nodes behind NATs use the network without being in it.

use std::collections::BTreeSet;
use std::time::Duration;

use peerchat_core::event::{Event, MessageState};
use peerchat_core::kademlia::NodeId;
use peerchat_sim::{Host, Network};

const SETTLE: Duration = Duration::from_secs(30);

struct Mixed {
    net: Network,
    public: Vec<Host>,
    hidden: Vec<Host>,
}

/// Makes a network in which every `nth` node that joins is behind a NAT.
fn mixed(seed: u64, count: usize, nth: usize) -> Mixed {
    let mut mixed = Mixed { net: Network::with_seed(seed), public: Vec::new(), hidden: Vec::new() };
    for number in 0..count {
        let name = format!("user{number}");
        if number % nth == nth - 1 {
            let host = mixed.net.add_behind_nat(Some(&name));
            mixed.net.bootstrap(host, mixed.public[0]);
            mixed.hidden.push(host);
        } else {
            mixed.public.push(mixed.net.join(&name));
        }
    }
    mixed.net.run_for(SETTLE);
    mixed
}

fn is_serving(net: &Network, host: Host) -> bool {
    net.engine(host).unwrap().node().is_serving()
}

fn contacts(net: &Network, host: Host) -> BTreeSet<NodeId> {
    let node = net.engine(host).unwrap().node();
    node.closest(&node.id(), usize::MAX).iter().map(|contact| contact.id()).collect()
}

#[test]
fn every_node_that_can_be_reached_serves_and_no_other() {
    let Mixed { net, public, hidden } = mixed(1, 60, 5);
    for host in &public {
        assert!(is_serving(&net, *host), "{host:?}");
    }
    let hidden_ids: BTreeSet<_> = hidden.iter().map(|host| net.engine(*host).unwrap().node_id()).collect();
    for host in &hidden {
        assert!(!is_serving(&net, *host), "{host:?}");
        assert_eq!(net.engine(*host).unwrap().node().record_count(), 0);
    }
    for host in public.iter().chain(&hidden) {
        let known = contacts(&net, *host);
        assert!(known.len() > 10, "{host:?} knows {}", known.len());
        assert!(known.is_disjoint(&hidden_ids), "{host:?} keeps a node that nobody can reach");
    }
}

#[test]
fn a_network_of_reachable_nodes_proves_them_one_by_one() {
    let Mixed { net, public, .. } = mixed(2, 12, usize::MAX);
    for host in &public {
        assert!(is_serving(&net, *host), "{host:?}");
        assert_eq!(contacts(&net, *host).len(), public.len() - 1, "{host:?}");
    }
}

#[test]
fn whoever_is_behind_a_nat_finds_and_is_found_and_writes() {
    let Mixed { mut net, public, hidden } = mixed(3, 30, 5);
    for (asker, sought) in [(public[3], hidden[2]), (hidden[0], public[7]), (hidden[1], hidden[3])] {
        let found = net.lookup(asker, &format!("user{}", sought.0)).unwrap();
        assert_eq!(found.addresses, [net.address(sought)]);
    }
    assert!(
        hidden
            .iter()
            .all(|host| { net.events(*host).iter().any(|event| matches!(event, Event::Registered { .. })) })
    );
    let id = net.send(hidden[0], &format!("user{}", public[4].0), "from behind a NAT");
    net.run_for(SETTLE);
    assert_eq!(net.state(hidden[0], id), Some(MessageState::Delivered));
    assert_eq!(net.texts(public[4]).len(), 1);
    // The answer takes the way that is open.
    let id = net.send(public[4], &format!("user{}", hidden[0].0), "to behind a NAT");
    net.run_for(SETTLE);
    assert_eq!(net.state(public[4], id), Some(MessageState::Delivered));
}

#[test]
fn a_node_that_moves_behind_a_nat_stops_serving() {
    let Mixed { mut net, public, hidden } = mixed(4, 40, 4);
    let mover = public[20];
    assert!(is_serving(&net, mover) && !hidden.is_empty());
    net.hide(mover);
    net.run_for(Duration::from_secs(3600));
    assert!(!is_serving(&net, mover));
}
