//! The requests of others.

use super::super::bucket::KnownContact;
use super::super::contact::{AddressFamily, Contact};
use super::super::id::NodeId;
use super::super::record::Record;
use super::super::rpc::{Rpc, RpcReply, StoreRefusal};
use super::super::store::{self, Put};
use super::{Node, NodeWrite, is_in_scope};
use crate::time::Now;

impl Node {
    /// Answers a request. The asker enters the routing table if it says that it serves and once it `is_proven`: if it
    /// sent authenticated traffic that answers something we sent to that address.
    pub fn handle_request(&mut self, from: Contact, is_proven: bool, rpc: Rpc, now: Now) -> RpcReply {
        let serves = match rpc {
            Rpc::FindNode { serves, .. } | Rpc::FindValue { serves, .. } => Some(serves),
            // Whoever dials for another was found in a routing table.
            Rpc::Dial => Some(true),
            _ => None,
        };
        match serves {
            _ if is_proven => self.handle_proven(from, serves, now),
            Some(serves) => self.note_unproven_server(&from, serves),
            None => {}
        }
        match rpc {
            Rpc::Ping => RpcReply::Pong,
            Rpc::FindNode { target, family, .. } => RpcReply::Nodes(self.nodes_for(&from, &target, family)),
            Rpc::FindValue { key, family, .. } => {
                let time = self.wall_time(now);
                match self.store.get(&key, time) {
                    Some(record) => RpcReply::Value(record.as_bytes().to_vec()),
                    None => RpcReply::Nodes(self.nodes_for(&from, &key.place(), family)),
                }
            }
            Rpc::Store { record } => self.store_for_others(&record, now),
            Rpc::DialBack { helper } => self.relay_dial(from, helper, now),
            Rpc::Relay { to } => self.dial_for(&from, to, now),
            Rpc::Dial => RpcReply::Pong,
        }
    }

    /// Keeps a record in our own store and asks for it to be saved.
    pub(super) fn keep(&mut self, record: &Record, now: Now) -> Put {
        let time = self.wall_time(now);
        let replicate_at = self.replication_turn(&record.header().key, now);
        let put = self.store.put(record.clone(), time, replicate_at);
        if let Put::Kept { dropped } = put {
            self.writes.extend(dropped.map(|key| NodeWrite::RecordGone { key }));
            let bytes = record.as_bytes().to_vec();
            self.writes.push_back(NodeWrite::Record { key: record.header().key, bytes });
        } else if let Put::Refused { reason: StoreRefusal::Owned, .. } = put {
            self.question_claim(record.header().key, now);
        }
        put
    }

    /// Keeps a record that was saved, and asks for it to be forgotten if it may not be kept any more.
    pub(super) fn restore_record(&mut self, bytes: &[u8], now: Now) {
        let time = self.wall_time(now);
        let put = Record::parse(bytes).map(|record| {
            let replicate_at = self.replication_turn(&record.header().key, now);
            self.store.restore(record, time, replicate_at)
        });
        let gone = match put {
            Ok(Put::Kept { dropped }) => dropped,
            Ok(Put::Unchanged) => None,
            Ok(Put::Refused { .. }) | Err(_) => Record::key_of(bytes),
        };
        self.writes.extend(gone.map(|key| NodeWrite::RecordGone { key }));
    }

    /// Keeps a record for whoever brings it.
    pub fn store_for_others(&mut self, bytes: &[u8], now: Now) -> RpcReply {
        let time = self.wall_time(now);
        // Most STOREs repeat what is kept: the signature was checked when it came first.
        if let Some(key) = Record::key_of(bytes) {
            let replicate_at = self.replication_turn(&key, now);
            if self.store.confirm(bytes, time, replicate_at) {
                return RpcReply::Stored;
            }
        }
        let record = match Record::parse(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.stats.refused_records.count_unparsed(error);
                return RpcReply::Refused { reason: StoreRefusal::Invalid, incumbent: None };
            }
        };
        let put = self.keep(&record, now);
        let Put::Refused { reason, incumbent } = put else { return RpcReply::Stored };
        self.stats.refused_records.count_parsed(reason, !store::is_alive(&record, time));
        RpcReply::Refused { reason, incumbent: incumbent.map(|record| record.as_bytes().to_vec()) }
    }

    /// Returns what FIND_NODE answers: the k closest contacts that the asker can use, never itself.
    fn nodes_for(&self, asker: &Contact, target: &NodeId, family: AddressFamily) -> Vec<Contact> {
        self.table.closest_where(target, self.config.k, |known: &KnownContact| {
            let contact = known.contact();
            known.is_live()
                && contact.id() != asker.id()
                && family.admits(&contact.address())
                && is_in_scope(contact, asker)
        })
    }
}
