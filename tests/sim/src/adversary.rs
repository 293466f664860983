//! Hosts that answer as they please instead of running an engine.

use std::net::SocketAddr;

use peerchat_core::kademlia::{
    AddressFamily, Contact, K, NodeId, NodeKey, Record, RecordKind, Rpc, RpcReply, StoreRefusal,
};
use peerchat_core::wire::{Request, Response};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::model;

/// What an adversary does with requests. All of them know one another and every honest host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// Answers nothing.
    Silent,
    /// Names the closest other Sybils to everybody; takes every record and forgets it.
    Sybil,
    /// Names honest hosts at addresses where they are not, and hosts that never were.
    Poisoner,
    /// Names the closest honest hosts, but takes every record and never gives one.
    Withholder,
    /// Like [`Self::Withholder`], but answers FIND_VALUE with a record that it has changed.
    Forger,
    /// Is after one name: answers with the claim of a rival and refuses that of the holder, for the rival's sake.
    /// Names the other members to who looks for the name, and the closest honest hosts to everybody else.
    Usurper,
}

/// What a host that otherwise runs an honest engine answers to a request instead of what the engine says.
pub type Lie = fn(&Request, Response) -> Response;

/// What such a host answers without letting its engine know; `None` lets the engine answer.
pub type Pretence = fn(&Request) -> Option<Response>;

/// Returns the request by which an adversary becomes known: only who says that they serve enters a routing table.
#[must_use]
pub(crate) fn hello(own: NodeId) -> Rpc {
    Rpc::FindNode { target: own, family: AddressFamily::Any, serves: true }
}

/// What the adversaries know.
#[derive(Debug, Default)]
pub(crate) struct Conspiracy {
    pub(crate) members: Vec<Contact>,
    pub(crate) honest: Vec<Contact>,
    /// Records that somebody asked an adversary to keep.
    seen: Vec<(NodeId, Vec<u8>)>,
    /// The records of the rival for whom usurpers work.
    pub(crate) rival: Vec<Record>,
}

/// How many of the records that they were asked to keep forgers have in mind.
const MAX_SEEN: usize = 256;

impl Conspiracy {
    /// Returns what a member answers, `None` if nothing.
    pub(crate) fn answer(
        &mut self,
        behaviour: Behaviour,
        rpc: &Rpc,
        rng: &mut ChaCha20Rng,
    ) -> Option<RpcReply> {
        if behaviour == Behaviour::Usurper
            && let Some(reply) = self.usurped(rpc)
        {
            return Some(reply);
        }
        let target = match rpc {
            Rpc::Ping | Rpc::DialBack { .. } | Rpc::Relay { .. } | Rpc::Dial => {
                return (behaviour != Behaviour::Silent).then_some(RpcReply::Pong);
            }
            Rpc::FindNode { target, .. } => *target,
            Rpc::FindValue { key, .. } => key.place(),
            Rpc::Store { record } => {
                self.remember(record);
                return (behaviour != Behaviour::Silent).then_some(RpcReply::Stored);
            }
        };
        if behaviour == Behaviour::Silent {
            return None;
        }
        Some(match behaviour {
            Behaviour::Forger if matches!(rpc, Rpc::FindValue { .. }) => self.forged(&target),
            Behaviour::Sybil => RpcReply::Nodes(model::closest(&self.members, &target, K)),
            Behaviour::Poisoner => RpcReply::Nodes(self.invented(&target, rng)),
            _ => RpcReply::Nodes(model::closest(&self.honest, &target, K)),
        })
    }

    /// Returns what a usurper answers to what touches the name or the rival.
    fn usurped(&self, rpc: &Rpc) -> Option<RpcReply> {
        let claim = self.rival.iter().find(|record| record.header().kind == RecordKind::Claim)?;
        let place = claim.header().key.place();
        match rpc {
            Rpc::FindValue { key, .. } => {
                let record = self.rival.iter().find(|record| record.header().key == *key)?;
                Some(RpcReply::Value(record.as_bytes().to_vec()))
            }
            Rpc::FindNode { target, .. } if *target == place => {
                Some(RpcReply::Nodes(model::closest(&self.members, target, K)))
            }
            Rpc::Store { record } => {
                let is_contested = Record::parse(record).is_ok_and(|record| {
                    record.header().key == claim.header().key && record.header().owner != claim.header().owner
                });
                let incumbent = Some(claim.as_bytes().to_vec());
                is_contested.then_some(RpcReply::Refused { reason: StoreRefusal::Owned, incumbent })
            }
            _ => None,
        }
    }

    fn remember(&mut self, record: &[u8]) {
        // Version, kind, key: the layout of a record's header.
        if let Some(key) = record.get(2..34).and_then(|key| <[u8; 32]>::try_from(key).ok())
            && self.seen.len() < MAX_SEEN
            && self.seen.iter().all(|(place, _)| place.as_bytes() != &key)
        {
            self.seen.push((NodeId::from_bytes(key), record.to_vec()));
        }
    }

    fn forged(&self, target: &NodeId) -> RpcReply {
        let seen = self.seen.iter().find(|(place, _)| place == target);
        let mut record = seen.map_or_else(|| vec![1; 200], |(_, record)| record.clone());
        if let Some(last) = record.last_mut() {
            *last ^= 1;
        }
        RpcReply::Value(record)
    }

    fn invented(&self, target: &NodeId, rng: &mut ChaCha20Rng) -> Vec<Contact> {
        let moved = model::closest(&self.honest, target, K / 2);
        let mut contacts: Vec<_> =
            moved.into_iter().map(|honest| Contact::new(honest.key(), nowhere(rng))).collect();
        contacts.extend((0..K / 2).map(|_| Contact::new(NodeKey::from_bytes(rng.random()), nowhere(rng))));
        contacts
    }
}

/// Draws an address at which nobody is (198.18.0.0/15, RFC 2544).
fn nowhere(rng: &mut ChaCha20Rng) -> SocketAddr {
    let [a, b, c, _] = rng.random::<u32>().to_be_bytes();
    SocketAddr::from(([198, 18 + a % 2, b, c], 4000))
}

/// Draws keys until the id of one shares its first `bit_count` bits with `target`: the only way to choose an id.
#[must_use]
pub fn grind_key(target: &NodeId, bit_count: usize, rng: &mut ChaCha20Rng) -> NodeKey {
    loop {
        let key = NodeKey::from_bytes(rng.random());
        let is_near = |index: usize| index < NodeId::BITS - bit_count;
        if key.node_id().distance(target).bucket_index().is_none_or(is_near) {
            return key;
        }
    }
}
