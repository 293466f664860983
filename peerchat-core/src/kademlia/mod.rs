//! The DHT, as a pure machine: ids, contacts, records, the routing table, lookups and the record store.
//!
//! Words and rules are the paper's (Maymounkov and Mazières, "Kademlia: A Peer-to-peer Information System Based
//! on the XOR Metric", 2002); where twelve more years taught otherwise, the item's doc says so.

mod contact;
mod id;
mod record;
mod rpc;

pub use contact::{AddressFamily, Contact, NodeKey, Scope};
pub use id::{Distance, NodeId};
pub use record::{
    MAX_RECORD_AHEAD, MAX_RECORD_BODY_LEN, MAX_RECORD_LEN, MAX_RECORD_LIFETIME, Record, RecordError,
    RecordHeader, RecordKey, RecordKind,
};
pub use rpc::{Rpc, RpcReply, StoreRefusal};

/// Kademlia's k: how many contacts a bucket holds and how many nodes keep a record. Also its largest value:
/// that many contacts fit one datagram.
pub const K: usize = 20;

/// Kademlia's alpha: how many requests a lookup keeps in flight.
pub const ALPHA: usize = 3;
