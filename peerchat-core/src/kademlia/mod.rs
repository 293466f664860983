//! The DHT, as a pure machine: ids, contacts, records, the routing table, lookups and the record store.
//!
//! Words and rules are the paper's (Maymounkov and Mazières, "Kademlia: A Peer-to-peer Information System Based
//! on the XOR Metric", 2002); where twelve more years taught otherwise, the item's doc says so.

mod bucket;
mod contact;
mod id;
mod lookup;
mod node;
mod record;
mod rpc;
mod store;
mod table;
mod wall;

pub use bucket::{
    DEFAULT_SOFT_TIMEOUT, Heard, KBucket, KnownContact, MAX_REPLACEMENTS, MAX_SOFT_TIMEOUT, MIN_SOFT_TIMEOUT,
    STALE_AFTER_FAILURES,
};
pub(crate) use contact::Subnet;
pub use contact::{AddressFamily, Contact, NodeKey, Scope};
pub use id::{Distance, NodeId};
pub use lookup::{
    FIRST_CONTACTS, FoundValue, LOOKUP_PATHS, Lookup, LookupConfig, LookupOutcome, MAX_LOOKUP_CANDIDATES,
    MAX_LOOKUP_REQUESTS,
};
pub use node::{
    LookupId, Node, NodeConfig, NodeEvent, NodeStats, NodeWrite, Outgoing, PublishId, PublishOutcome,
    RefusedRecords, RpcId, Serve,
};
pub use record::{
    MAX_RECORD_AHEAD, MAX_RECORD_BODY_LEN, MAX_RECORD_LEN, MAX_RECORD_LIFETIME, Record, RecordError,
    RecordHeader, RecordKey, RecordKind,
};
pub use rpc::{Rpc, RpcReply, StoreRefusal};
pub(crate) use store::RECORD_COST;
pub use store::{CLAIM_HOLD, CLAIM_REMEMBERED_AFTER, MAX_RECORDS, Put, RecordStore};
pub use table::{
    DROP_STALE_AFTER, FailureEffect, Insertion, MAX_PER_SUBNET, MAX_PER_SUBNET_AND_BUCKET, REFRESH_AFTER,
    RoutingTable,
};
pub use wall::{CATCH_UP_SPEED, MAX_CLOCK_STEP, WallClock, WallTime};

/// Kademlia's k: how many contacts a bucket holds and how many nodes keep a record. Also its largest value:
/// that many contacts fit one datagram.
pub const K: usize = 20;

/// Kademlia's alpha: how many requests a lookup keeps in flight.
pub const ALPHA: usize = 3;
