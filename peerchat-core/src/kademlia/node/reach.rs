//! Whether this node serves: whether others, to whom it has sent nothing, can reach it. `docs/reachability.md` has the
//! reasons.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::super::bucket::KnownContact;
use super::super::contact::{Contact, Scope, Subnet};
use super::super::id::NodeId;
use super::super::rpc::{Rpc, RpcReply};
use super::calls::Why;
use super::searches::Purpose;
use super::{Node, is_in_scope};
use crate::time::Now;

/// Among fewer others than this at global addresses a node serves unproven: there is nobody left to prove it.
const MIN_OTHERS: usize = 3;

/// How long a NAT or firewall may let packets of an address in after the last packet to or from it. Most do for two
/// minutes or less (RFC 4787, section 4.3).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// How many addresses are remembered as heard or written to; the one that was silent longest makes room.
const MAX_TOUCHED: usize = 1024;

/// How long a test waits for the dial.
const TEST_TIME: Duration = Duration::from_secs(4);

/// How many tests in a row must fail before the node rests: the helpers may be at fault.
const MAX_TESTS: u32 = 3;

/// How long a node rests, on average, that could not be reached.
const TEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// The shortest time between two requests of others that make us send something to a third. Whoever has such a request
/// refused asks somebody else.
const HELP_EVERY: Duration = Duration::from_millis(100);

/// How many askers are remembered that say they serve and have yet to prove their address.
const MAX_UNPROVEN_SERVERS: usize = 256;

/// Whether a node keeps records and mail for others and is listed in their routing tables.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Serve {
    /// If others can reach it: if it was reached from an address to which it has sent nothing, if its peers are at
    /// loopback or private addresses, or as long as it knows fewer than three others.
    #[default]
    Auto,
    /// Yes, unproven: for whoever knows that the node can be reached.
    Always,
    /// No, so that nobody asks it for anything: for programs that soon end, and where others must not cost battery or data.
    Never,
}

/// A dial that we have asked for.
#[derive(Clone, Copy, Debug)]
struct Test {
    /// Who is to dial us. Nothing is sent to it until the test ends.
    helper: Contact,
    ends_at: Instant,
}

/// What is known about how others reach this node, and what it does for others who want to know it of themselves.
#[derive(Debug, Default)]
pub(super) struct Reach {
    is_proven: bool,
    /// The own id is being looked up for the first time, in a network of global addresses: nobody knows yet how large
    /// that is.
    is_joining: bool,
    test: Option<Test>,
    failed_tests: u32,
    /// No test begins before.
    test_after: Option<Instant>,
    /// When each global address was last heard or written to.
    touched: BTreeMap<IpAddr, Instant>,
    /// Who has said that it serves, in a request from an unproven address.
    unproven_servers: VecDeque<NodeId>,
    help_after: Option<Instant>,
}

impl Reach {
    /// Tells whether nothing may be sent to this contact for now.
    pub(super) fn is_reserved(&self, contact: &Contact) -> bool {
        self.test.is_some_and(|test| test.helper.address().ip() == contact.address().ip())
    }

    fn is_fresh(&self, contact: &Contact, now: Instant) -> bool {
        let touched = self.touched.get(&contact.address().ip());
        touched.is_none_or(|at| now.saturating_duration_since(*at) >= FORGOTTEN_AFTER)
    }

    fn touch(&mut self, address: IpAddr, now: Instant) {
        if self.touched.len() >= MAX_TOUCHED && !self.touched.contains_key(&address) {
            let oldest = self.touched.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            oldest.map(|address| self.touched.remove(&address));
        }
        self.touched.insert(address, now);
    }

    /// Takes a turn at helping; `false` if the last one was just now.
    fn may_help(&mut self, now: Instant) -> bool {
        let may = self.help_after.is_none_or(|at| at <= now);
        if may {
            self.help_after = Some(now + HELP_EVERY);
        }
        may
    }
}

impl Node {
    /// Tells whether the node serves: whether it keeps records for others and says so when it asks for something.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        match self.config.serve {
            Serve::Always => true,
            Serve::Never => false,
            Serve::Auto => self.reach.is_proven || (!self.reach.is_joining && self.has_few_others()),
        }
    }

    /// Notes that the node's own address has changed: whether it can be reached there is to be proven again.
    pub fn handle_moved(&mut self, now: Now) {
        if std::mem::take(&mut self.reach.is_proven) {
            self.reach.failed_tests = 0;
            self.reach.test_after = Some(now.instant);
        }
        self.end_test();
    }

    /// Notes that something was sent to an address, or was heard from it, beside the requests of this machine.
    pub fn handle_touched(&mut self, contact: &Contact, now: Now) {
        if self.config.serve != Serve::Auto || !is_global(contact) {
            return;
        }
        self.reach.touch(contact.address().ip(), now.instant);
    }

    /// Tells whether this node says to `to` that it serves. Whoever it reaches at a private address can reach it, and
    /// passes it on within that network only.
    pub(super) fn is_serving_to(&self, to: &Contact) -> bool {
        self.is_serving() || (self.config.serve == Serve::Auto && !is_global(to))
    }

    /// Notes that a packet of ours goes to an address. A helper that we write to is none any more.
    pub(super) fn touch_callee(&mut self, to: &Contact, now: Now) {
        if self.reach.is_reserved(to) {
            self.end_test();
        }
        self.handle_touched(to, now);
    }

    /// Notes that a request came from a proven address. If nothing went there before, or so long ago that no NAT
    /// remembers, then anybody can reach us.
    pub(super) fn touch_caller(&mut self, from: &Contact, now: Now) {
        if self.config.serve != Serve::Auto || !is_global(from) {
            return;
        }
        let is_fresh = self.reach.is_fresh(from, now.instant);
        self.reach.touch(from.address().ip(), now.instant);
        if is_fresh && !self.reach.is_proven {
            let was_serving = self.is_serving();
            self.reach.is_proven = true;
            self.end_test();
            if !was_serving {
                self.announce(now);
            }
        }
    }

    /// Remembers, or forgets, that a node says it serves, until its address is proven.
    pub(super) fn note_unproven_server(&mut self, from: &Contact, serves: bool) {
        let servers = &mut self.reach.unproven_servers;
        servers.retain(|id| *id != from.id());
        if serves {
            if servers.len() >= MAX_UNPROVEN_SERVERS {
                servers.pop_front();
            }
            servers.push_back(from.id());
        }
    }

    /// Tells whether a node has said that it serves, and forgets it.
    pub(super) fn take_unproven_server(&mut self, id: NodeId) -> bool {
        let servers = &mut self.reach.unproven_servers;
        let place = servers.iter().position(|other| *other == id);
        place.and_then(|place| servers.remove(place)).is_some()
    }

    /// Notes that the own id is looked up through these contacts.
    pub(super) fn note_joining(&mut self, contacts: &[Contact]) {
        self.reach.is_joining |= !self.upkeep.is_online() && contacts.iter().any(is_global);
    }

    /// Notes that the own id was looked up: in a small network the node may serve from now on.
    pub(super) fn note_joined(&mut self, now: Now) {
        let was_serving = self.is_serving();
        self.reach.is_joining = false;
        if !was_serving && self.is_serving() {
            self.announce(now);
        }
    }

    /// Begins a test if one is due and one of the contacts that `reporter` knows can help: returns that helper, which is
    /// not to be asked for anything.
    pub(super) fn try_test(&mut self, reporter: &Contact, reported: &[Contact], now: Now) -> Option<Contact> {
        let is_due = self.reach.test_after.is_none_or(|at| at <= now.instant);
        let is_wanted = self.config.serve == Serve::Auto && !self.reach.is_proven;
        if !is_wanted || !is_due || self.reach.test.is_some() || !is_global(reporter) {
            return None;
        }
        let can_help = |contact: &&Contact| {
            is_global(contact)
                && contact.address().is_ipv4() == reporter.address().is_ipv4()
                && Subnet::of(&contact.address()) != Subnet::of(&reporter.address())
                && self.reach.is_fresh(contact, now.instant)
        };
        let helpers: Vec<_> = reported.iter().filter(can_help).copied().collect();
        let helper = *helpers.get(self.rng.random_range(0..helpers.len().max(1)))?;
        self.reach.test = Some(Test { helper, ends_at: now.instant + TEST_TIME });
        self.call(*reporter, Rpc::DialBack { helper: helper.id() }, Why::Reach, now);
        Some(helper)
    }

    /// Ends a test that nobody dialled in, and sees to it that the next one begins when it is due.
    pub(super) fn handle_reach_timeout(&mut self, now: Now) {
        if self.reach_timeout().is_none_or(|(at, _)| now.instant < at) {
            return;
        }
        if self.reach.test.take().is_some() {
            self.reach.failed_tests += 1;
            if self.reach.failed_tests >= MAX_TESTS {
                self.reach.failed_tests = 0;
                self.reach.test_after = Some(now.instant + self.jittered(TEST_PAUSE));
                return;
            }
        }
        self.reach.test_after = None;
        // Somewhere else there are contacts that we have not asked yet.
        let target = self.own.in_bucket(NodeId::BITS - 1, self.rng.random());
        self.search(target, Purpose::Refresh, now);
    }

    /// Returns when a test has failed or the next one is due.
    pub(super) fn reach_timeout(&self) -> Option<(Instant, &'static str)> {
        let test = self.reach.test.map(|test| test.ends_at);
        let next = self.reach.test_after.filter(|_| self.upkeep.is_online() && !self.reach.is_proven);
        test.or(next).map(|at| (at, "reachability test"))
    }

    /// Answers DIAL_BACK: asks the helper, which must be a contact of ours, to dial `from` where we see it.
    pub(super) fn relay_dial(&mut self, from: Contact, helper: NodeId, now: Now) -> RpcReply {
        let helper =
            self.table.get(helper).filter(|known| known.is_live()).map(KnownContact::contact).copied();
        if let Some(helper) = helper
            && helper.id() != from.id()
            && is_global(&from)
            && is_in_scope(&helper, &from)
            && self.reach.may_help(now.instant)
        {
            self.call(helper, Rpc::Relay { to: from }, Why::Reach, now);
        }
        RpcReply::Pong
    }

    /// Answers RELAY: dials a node that wants to know whether it can be reached.
    pub(super) fn dial_for(&mut self, from: &Contact, to: Contact, now: Now) -> RpcReply {
        let is_allowed = is_global(&to) && is_in_scope(&to, from) && self.config.family.admits(&to.address());
        if is_allowed && to.id() != self.own && to.id() != from.id() && self.reach.may_help(now.instant) {
            self.call(to, Rpc::Dial, Why::Reach, now);
        }
        RpcReply::Pong
    }

    /// Lets the nodes nearest to us know that we serve: they enter who asks them and says so.
    fn announce(&mut self, now: Now) {
        if self.upkeep.is_online() {
            self.search(self.own, Purpose::Refresh, now);
        }
    }

    fn end_test(&mut self) {
        self.reach.test = None;
    }

    fn has_few_others(&self) -> bool {
        let others = self.table.iter().filter(|known| known.is_live() && is_global(known.contact()));
        others.take(MIN_OTHERS).count() < MIN_OTHERS
    }
}

fn is_global(contact: &Contact) -> bool {
    Scope::of(&contact.address()) == Some(Scope::Global)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::super::sim::{node, start};
    use super::super::{NodeConfig, Outgoing};
    use super::*;
    use crate::kademlia::{AddressFamily, NodeKey};

    fn contact(number: u8, address: &str) -> Contact {
        Contact::new(NodeKey::from_bytes([number; 32]), address.parse().unwrap())
    }

    fn find(serves: bool) -> Rpc {
        Rpc::FindNode { target: NodeId::from_bytes([1; 32]), family: AddressFamily::Any, serves }
    }

    fn automatic() -> Node {
        let config =
            NodeConfig { k: 20, alpha: 3, paths: 3, family: AddressFamily::V4, serve: Serve::default() };
        Node::new(NodeKey::from_bytes([0xee; 32]), config, ChaCha20Rng::from_seed([7; 32]), start())
    }

    fn sent(node: &mut Node, now: Now) -> Vec<Outgoing> {
        let sent = std::iter::from_fn(|| node.poll_rpc(now));
        sent.filter(|outgoing| matches!(outgoing.rpc, Rpc::DialBack { .. } | Rpc::Relay { .. } | Rpc::Dial))
            .collect()
    }

    #[test]
    fn a_dial_is_asked_of_a_contact_and_for_the_address_that_is_seen() {
        let (mut node, now) = (node(AddressFamily::V4), start());
        let (asker, helper) = (contact(1, "8.8.8.8:1"), contact(2, "9.9.9.9:1"));
        node.handle_request(helper, true, find(true), now);
        let unknown = contact(3, "7.7.7.7:1").id();
        for (from, helper) in
            [(asker, unknown), (contact(4, "10.0.0.1:1"), helper.id()), (helper, helper.id())]
        {
            node.handle_request(from, true, Rpc::DialBack { helper }, now);
            assert_eq!(sent(&mut node, now), []);
        }
        for _ in 0..3 {
            node.handle_request(asker, true, Rpc::DialBack { helper: helper.id() }, now);
        }
        let relayed: Vec<_> = sent(&mut node, now).into_iter().map(|out| (out.to, out.rpc)).collect();
        assert_eq!(relayed, [(helper, Rpc::Relay { to: asker })], "one at a time");
        let later = now.after(HELP_EVERY);
        node.handle_request(asker, true, Rpc::DialBack { helper: helper.id() }, later);
        assert_eq!(sent(&mut node, later).len(), 1);
    }

    #[test]
    fn nobody_is_dialled_in_a_private_network() {
        let (mut node, now) = (node(AddressFamily::V4), start());
        let from = contact(1, "8.8.8.8:1");
        for address in ["127.0.0.1:1", "192.168.1.1:1", "0.0.0.0:1", "[2001:db8::1]:1"] {
            node.handle_request(from, true, Rpc::Relay { to: contact(2, address) }, now);
            assert_eq!(sent(&mut node, now), []);
        }
        node.handle_request(from, true, Rpc::Relay { to: contact(2, "9.9.9.9:1") }, now);
        assert_eq!(sent(&mut node, now)[0].rpc, Rpc::Dial);
    }

    #[test]
    fn only_what_comes_uncalled_proves_that_a_node_can_be_reached() {
        let (mut node, now) = (automatic(), start());
        let (seed, other) = (contact(1, "8.8.8.8:1"), contact(2, "9.9.9.9:1"));
        node.join(seed, now);
        assert!(!node.is_serving());
        node.handle_request(seed, true, Rpc::Ping, now);
        node.handle_request(contact(3, "8.8.8.8:2"), true, Rpc::Ping, now);
        node.handle_request(other, false, find(true), now);
        assert!(!node.is_serving(), "its address may be forged");
        node.handle_alive(other, now);
        assert!(node.is_serving());
        assert_eq!(node.closest(&other.id(), 1), [other], "it has said that it serves");
    }

    #[test]
    fn a_helper_is_left_alone_until_its_test_ends() {
        let (mut node, now) = (automatic(), start());
        let (seed, helper) = (contact(1, "8.8.8.8:1"), contact(2, "9.9.9.9:1"));
        node.join(seed, now);
        let asked = node.poll_rpc(now).unwrap();
        node.handle_reply(asked.id, seed, RpcReply::Nodes(vec![helper]), Some(Duration::ZERO), now);
        assert_eq!(sent(&mut node, now)[0].rpc, Rpc::DialBack { helper: helper.id() });
        assert!(node.reach.is_reserved(&helper));
        let later = now.after(TEST_TIME);
        node.handle_timeout(later);
        assert!(!node.reach.is_reserved(&helper) && !node.reach.is_proven);
    }

    #[test]
    fn who_does_not_serve_is_answered_and_not_kept() {
        let (mut node, now) = (node(AddressFamily::V4), start());
        let client = contact(1, "8.8.8.8:1");
        assert_eq!(node.handle_request(client, true, find(false), now), RpcReply::Nodes(Vec::new()));
        node.handle_request(client, true, Rpc::Ping, now);
        assert_eq!(node.contact_count(), 0);
    }
}
