//! [`Trace`]: how a lookup went, seen from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use peerchat_core::kademlia::{Contact, LookupId, LookupOutcome, NodeId, Rpc, RpcId};

use super::Swarm;

/// A lookup that has ended.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Who looked.
    pub host: usize,
    /// For what.
    pub target: NodeId,
    /// What was found; `None` if the host left before.
    pub outcome: Option<LookupOutcome>,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub time: Duration,
    /// How many requests it sent.
    pub requests: usize,
    /// How many answers in a row led to the node that had the value, or to the closest one.
    pub hops: usize,
}

#[derive(Debug)]
struct Running {
    id: LookupId,
    began: Instant,
    requests: usize,
    /// How many answers led to each contact. Contacts out of the own table are not in it.
    depths: BTreeMap<NodeId, usize>,
}

/// The lookups that are looked at.
#[derive(Debug, Default)]
pub(super) struct Traces {
    running: BTreeMap<(usize, NodeId), Running>,
    /// Their requests that are not answered yet.
    asked: BTreeMap<(usize, RpcId), NodeId>,
    ended: Vec<Trace>,
}

impl Traces {
    pub(super) fn take_ended(&mut self) -> Vec<Trace> {
        std::mem::take(&mut self.ended)
    }

    /// Notes a request, if a lookup that is looked at sends it.
    pub(super) fn asked(&mut self, host: usize, id: RpcId, rpc: &Rpc) {
        let target = match rpc {
            Rpc::FindNode { target, .. } => *target,
            Rpc::FindValue { key, .. } => key.place(),
            Rpc::Ping | Rpc::Store { .. } | Rpc::DialBack { .. } | Rpc::Relay { .. } | Rpc::Dial => return,
        };
        if let Some(running) = self.running.get_mut(&(host, target)) {
            running.requests += 1;
            self.asked.insert((host, id), target);
        }
    }

    /// Notes an answer that names contacts.
    pub(super) fn named(&mut self, host: usize, id: RpcId, by: NodeId, contacts: &[Contact]) {
        let Some(target) = self.asked.remove(&(host, id)) else { return };
        let Some(running) = self.running.get_mut(&(host, target)) else { return };
        let depth = running.depths.get(&by).copied().unwrap_or(0) + 1;
        for contact in contacts {
            running.depths.entry(contact.id()).or_insert(depth);
        }
    }

    /// Forgets the requests of a host, which has no lookups any more.
    fn forget_requests(&mut self, host: usize) {
        self.asked.retain(|(other, _), _| *other != host);
    }

    fn end(&mut self, host: usize, target: NodeId, outcome: Option<LookupOutcome>, now: Instant) -> bool {
        let Some(running) = self.running.remove(&(host, target)) else { return false };
        let answer = outcome.as_ref().and_then(|outcome| {
            let value = outcome.values.first().map(|value| value.from);
            value.or_else(|| outcome.closest.first().map(Contact::id))
        });
        let depth = answer.and_then(|answer| running.depths.get(&answer)).copied().unwrap_or(0);
        self.ended.push(Trace {
            host,
            target,
            outcome,
            began: running.began,
            time: now.saturating_duration_since(running.began),
            requests: running.requests,
            hops: depth + 1,
        });
        true
    }
}

impl Swarm {
    /// Begins to look at a lookup that has just begun, before its requests are taken from the node.
    pub(super) fn begin_trace(&mut self, host: usize, target: NodeId, id: LookupId) {
        let running = Running { id, began: self.now.instant, requests: 0, depths: BTreeMap::new() };
        if self.traces.running.insert((host, target), running).is_none() {
            self.peers[host].trace_count += 1;
        }
    }

    /// Notes that a lookup has ended.
    pub(super) fn trace_outcome(&mut self, host: usize, id: LookupId, outcome: LookupOutcome) {
        let mut of_host = self.traces.running.range((host, NodeId::from_bytes([0; 32]))..);
        let found = of_host.find(|((other, _), running)| *other != host || running.id == id);
        if let Some((_, target)) = found.map(|(key, _)| *key).filter(|(other, _)| *other == host) {
            self.end_trace(host, target, Some(outcome));
        }
    }

    /// Ends the traces of a host that leaves.
    pub(super) fn abandon_traces(&mut self, host: usize) {
        let of_host = self.traces.running.range((host, NodeId::from_bytes([0; 32]))..);
        let targets: Vec<_> =
            of_host.take_while(|((other, _), _)| *other == host).map(|((_, target), _)| *target).collect();
        targets.into_iter().for_each(|target| self.end_trace(host, target, None));
    }

    fn end_trace(&mut self, host: usize, target: NodeId, outcome: Option<LookupOutcome>) {
        if self.traces.end(host, target, outcome, self.now.instant) {
            self.peers[host].trace_count -= 1;
            if self.peers[host].trace_count == 0 {
                self.traces.forget_requests(host);
            }
        }
    }
}
