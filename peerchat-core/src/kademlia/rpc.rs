//! The four RPCs of the paper, and three for reachability, as types. Every one may be executed twice without harm: the transport retransmits.

use serde::{Deserialize, Serialize};

use super::contact::{AddressFamily, Contact};
use super::id::NodeId;
use super::record::RecordKey;

/// A request of the DHT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rpc {
    /// PING: is the node there?
    Ping,
    /// FIND_NODE: the k closest contacts to `target` that the node knows (Kademlia paper, 2.3).
    FindNode {
        /// The place to come close to.
        target: NodeId,
        /// Which addresses the asker can use.
        family: AddressFamily,
        /// Whether the asker serves: only then it enters routing tables.
        serves: bool,
    },
    /// FIND_VALUE: the record under `key`, or what FIND_NODE would return.
    FindValue {
        /// The key of the record.
        key: RecordKey,
        /// Which addresses the asker can use.
        family: AddressFamily,
        /// Whether the asker serves: only then it enters routing tables.
        serves: bool,
    },
    /// STORE: keep this record.
    Store {
        /// The record's bytes, unchecked.
        record: Vec<u8>,
    },
    /// DIAL_BACK: let another node dial the asker where it was seen, so that it learns whether others can reach it.
    DialBack {
        /// A contact of the asked node to which the asker has sent nothing.
        helper: NodeId,
    },
    /// RELAY: dial a node that has asked for it with DIAL_BACK.
    Relay {
        /// The node, at the address where whoever sends this sees it.
        to: Contact,
    },
    /// DIAL: that it arrives is all it says.
    Dial,
}

/// The answer to an [`Rpc`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RpcReply {
    /// To PING, and to DIAL_BACK, RELAY and DIAL whatever comes of them.
    Pong,
    /// To FIND_NODE, and to FIND_VALUE by a node that does not keep the record.
    Nodes(Vec<Contact>),
    /// To FIND_VALUE by a node that keeps the record: its bytes, unchecked.
    Value(Vec<u8>),
    /// To STORE: this record, or one with a higher sequence of the same owner, is kept.
    Stored,
    /// To STORE: the record is not kept.
    Refused {
        /// Why.
        reason: StoreRefusal,
        /// The record of the key's present owner, if [`StoreRefusal::Owned`].
        incumbent: Option<Vec<u8>>,
    },
}

/// Why a node does not keep a record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum StoreRefusal {
    /// The record is malformed, expired, too far ahead of the clock, or wrongly signed.
    Invalid,
    /// Another owner holds the key (claims only).
    Owned,
    /// A record of the same owner with a higher sequence is kept.
    Older,
    /// The store has no room.
    Full,
}
