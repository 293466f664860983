//! Bytes to typed requests and responses, and back. Bytes are parsed once, here, into types that cannot be wrong.
//!
//! The transport carries a kind and a body; what stands around them is its own (see [`crate::transport`]). A kind is
//! one byte up to 0x7e; requests and responses count their kinds apart. A body is bincode 2 with big-endian variable-length integers;
//! `docs/protocol.md` shows every message byte by byte.

use serde::{Deserialize, Serialize};

use crate::codec::{self, bounded_list};
use crate::kademlia::{
    AddressFamily, Contact, K, MAX_RECORD_LEN, NodeId, RecordKey, Rpc, RpcReply, StoreRefusal,
};
use crate::mail::{
    EnvelopeId, MAX_DEPOSIT_LEN, MAX_LISTED, MAX_SEALED_LEN, MailRequest, MailResponse, Offer,
};
use crate::user::{ChatRequest, ChatResponse, DeliverRefusal, Hint, MAX_HINT_LEN};

/// Any request of one node to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Of the DHT.
    Dht(Rpc),
    /// Between people's nodes.
    Chat(ChatRequest),
    /// About mail for people who are away.
    Mail(MailRequest),
}

/// Any response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// To a request of the DHT.
    Dht(RpcReply),
    /// To a request between people's nodes.
    Chat(ChatResponse),
    /// To a request about mail.
    Mail(MailResponse),
    /// To a request of a kind that this node does not know, or that it has no use for.
    Unsupported,
}

/// A message in the form in which the transport carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encoded {
    /// Which message it is.
    pub kind: u8,
    /// Its fields.
    pub body: Vec<u8>,
}

/// Why a request or response could not be decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WireError {
    /// The kind is not known here.
    #[error("a message of an unknown kind")]
    UnknownKind,
    /// The body is not one of this kind.
    #[error("a message whose body does not fit its kind")]
    Malformed,
}

/// Kinds of requests.
mod request {
    pub(super) const PING: u8 = 0x01;
    pub(super) const FIND_NODE: u8 = 0x02;
    pub(super) const FIND_VALUE: u8 = 0x03;
    pub(super) const STORE: u8 = 0x04;
    pub(super) const DIAL_BACK: u8 = 0x05;
    pub(super) const RELAY: u8 = 0x06;
    pub(super) const DIAL: u8 = 0x07;
    pub(super) const INTRODUCE: u8 = 0x10;
    pub(super) const DELIVER: u8 = 0x11;
    pub(super) const HINT: u8 = 0x12;
    pub(super) const DEPOSIT: u8 = 0x20;
    pub(super) const COLLECT: u8 = 0x21;
    pub(super) const FETCH: u8 = 0x22;
    pub(super) const RELEASE: u8 = 0x23;
    pub(super) const WAITING: u8 = 0x24;
    pub(super) const OFFER: u8 = 0x25;
}

/// Kinds of responses; the transport sets the highest bit of the byte on the wire.
mod response {
    pub(super) const PONG: u8 = 0x01;
    pub(super) const NODES: u8 = 0x02;
    pub(super) const VALUE: u8 = 0x03;
    pub(super) const STORED: u8 = 0x04;
    pub(super) const REFUSED: u8 = 0x05;
    pub(super) const INTRODUCED: u8 = 0x10;
    pub(super) const DELIVERED: u8 = 0x11;
    pub(super) const NOT_DELIVERED: u8 = 0x12;
    pub(super) const OUT_OF_STEP: u8 = 0x13;
    pub(super) const HEARD: u8 = 0x14;
    pub(super) const DEPOSITED: u8 = 0x20;
    pub(super) const LISTED: u8 = 0x21;
    pub(super) const FETCHED: u8 = 0x22;
    pub(super) const RELEASED: u8 = 0x23;
    pub(super) const NOTED: u8 = 0x24;
    pub(super) const NOT_KEPT: u8 = 0x25;
    pub(super) const WANTED: u8 = 0x26;
    pub(super) const UNSUPPORTED: u8 = 0x7e;
}

#[derive(Deserialize, Serialize)]
struct FindNodeBody(NodeId, AddressFamily, bool);

#[derive(Deserialize, Serialize)]
struct FindValueBody(RecordKey, AddressFamily, bool);

/// Shortest body of a RELAY, in bytes: it makes its receiver send a handshake, [`MAX_TRANSMISSIONS`] times, to an
/// address that is not proven to it, and that must not be more than what asked for it.
///
/// [`MAX_TRANSMISSIONS`]: crate::transport::MAX_TRANSMISSIONS
const MIN_RELAY_LEN: usize = 516;

/// The contact, and zeros up to [`MIN_RELAY_LEN`].
#[derive(Deserialize, Serialize)]
struct RelayBody(Contact, #[serde(with = "serde_bytes")] Vec<u8>);

#[derive(Deserialize, Serialize)]
struct NodesBody(#[serde(deserialize_with = "bounded_list::<_, _, K>")] Vec<Contact>);

#[derive(Deserialize, Serialize)]
struct RefusedBody(StoreRefusal, #[serde(with = "serde_bytes")] Vec<u8>);

#[derive(Deserialize, Serialize)]
struct IntroduceBody(#[serde(with = "serde_bytes")] Vec<u8>, #[serde(with = "serde_bytes")] Vec<u8>);

#[derive(Deserialize, Serialize)]
struct CollectBody(RecordKey, u64);

#[derive(Deserialize, Serialize)]
struct FetchBody(RecordKey, EnvelopeId);

#[derive(Deserialize, Serialize)]
struct WaitingBody(RecordKey, u32);

#[derive(Deserialize, Serialize)]
struct OfferBody(RecordKey, NodeId, Offer);

#[derive(Deserialize, Serialize)]
struct WantedBody(u64, u64);

#[derive(Deserialize, Serialize)]
struct ListedBody(
    #[serde(deserialize_with = "bounded_list::<_, _, MAX_LISTED>")] Vec<EnvelopeId>,
    u32,
    Option<u64>,
);

impl Request {
    /// Tells whether the request may ride in the first handshake packet, which can be replayed.
    #[must_use]
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Dht(Rpc::Ping | Rpc::FindNode { .. } | Rpc::FindValue { .. }))
    }

    /// Tells whether the request is only worth sending over a link that is there, and once.
    #[must_use]
    pub fn is_fleeting(&self) -> bool {
        matches!(self, Self::Chat(ChatRequest::Hint(_)))
    }

    /// Tells whether something may have to be saved because of the request.
    #[must_use]
    pub(crate) fn is_to_be_saved(&self) -> bool {
        match self {
            Self::Dht(rpc) => matches!(rpc, Rpc::Store { .. }),
            Self::Chat(request) => !matches!(request, ChatRequest::Hint(_)),
            Self::Mail(request) => {
                matches!(request, MailRequest::Deposit { .. } | MailRequest::Release(_))
            }
        }
    }

    /// Returns the request in the form in which the transport carries it.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let (kind, body) = match self {
            Self::Dht(Rpc::Ping) => (request::PING, Vec::new()),
            Self::Dht(Rpc::FindNode { target, family, serves }) => {
                (request::FIND_NODE, codec::encode(&FindNodeBody(*target, *family, *serves)))
            }
            Self::Dht(Rpc::FindValue { key, family, serves }) => {
                (request::FIND_VALUE, codec::encode(&FindValueBody(*key, *family, *serves)))
            }
            Self::Dht(Rpc::Store { record }) => (request::STORE, record.clone()),
            Self::Dht(Rpc::DialBack { helper }) => (request::DIAL_BACK, codec::encode(helper)),
            Self::Dht(Rpc::Relay { to }) => {
                (request::RELAY, codec::encode(&RelayBody(*to, vec![0; MIN_RELAY_LEN])))
            }
            Self::Dht(Rpc::Dial) => (request::DIAL, Vec::new()),
            Self::Chat(ChatRequest::Introduce { claim, user }) => {
                (request::INTRODUCE, codec::encode(&IntroduceBody(claim.clone(), user.clone())))
            }
            Self::Chat(ChatRequest::Deliver(delivery)) => (request::DELIVER, codec::encode(delivery)),
            Self::Chat(ChatRequest::Hint(hint)) => (request::HINT, codec::encode(hint)),
            Self::Mail(MailRequest::Deposit { envelope }) => (request::DEPOSIT, envelope.clone()),
            Self::Mail(MailRequest::Collect { mailbox, after }) => {
                (request::COLLECT, codec::encode(&CollectBody(*mailbox, *after)))
            }
            Self::Mail(MailRequest::Fetch { mailbox, id }) => {
                (request::FETCH, codec::encode(&FetchBody(*mailbox, *id)))
            }
            Self::Mail(MailRequest::Release(release)) => (request::RELEASE, codec::encode(release)),
            Self::Mail(MailRequest::Waiting { mailbox, count }) => {
                (request::WAITING, codec::encode(&WaitingBody(*mailbox, *count)))
            }
            Self::Mail(MailRequest::Offer { mailbox, device, offer }) => {
                (request::OFFER, codec::encode(&OfferBody(*mailbox, *device, offer.clone())))
            }
        };
        Encoded { kind, body }
    }

    /// Parses a request.
    ///
    /// # Errors
    ///
    /// The kind is unknown (answer [`Response::Unsupported`]) or the body does not fit it (drop it).
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            request::PING => empty(body, Self::Dht(Rpc::Ping))?,
            request::FIND_NODE => {
                let FindNodeBody(target, family, serves) = decode(body)?;
                Self::Dht(Rpc::FindNode { target, family, serves })
            }
            request::FIND_VALUE => {
                let FindValueBody(key, family, serves) = decode(body)?;
                Self::Dht(Rpc::FindValue { key, family, serves })
            }
            request::STORE => Self::Dht(Rpc::Store { record: record(body)? }),
            request::DIAL_BACK => Self::Dht(Rpc::DialBack { helper: decode(body)? }),
            request::RELAY if body.len() < MIN_RELAY_LEN => return Err(WireError::Malformed),
            request::RELAY => {
                let RelayBody(to, _) = decode(body)?;
                Self::Dht(Rpc::Relay { to })
            }
            request::DIAL => empty(body, Self::Dht(Rpc::Dial))?,
            request::INTRODUCE => {
                let IntroduceBody(claim, user) = decode(body)?;
                Self::Chat(ChatRequest::Introduce { claim: record(&claim)?, user: record(&user)? })
            }
            request::DELIVER => Self::Chat(ChatRequest::Deliver(decode(body)?)),
            request::HINT => Self::Chat(ChatRequest::Hint(hint(body)?)),
            request::DEPOSIT => {
                Self::Mail(MailRequest::Deposit { envelope: bounded(body, MAX_DEPOSIT_LEN)? })
            }
            request::COLLECT => {
                let CollectBody(mailbox, after) = decode(body)?;
                Self::Mail(MailRequest::Collect { mailbox, after })
            }
            request::FETCH => {
                let FetchBody(mailbox, id) = decode(body)?;
                Self::Mail(MailRequest::Fetch { mailbox, id })
            }
            request::RELEASE => Self::Mail(MailRequest::Release(decode(body)?)),
            request::WAITING => {
                let WaitingBody(mailbox, count) = decode(body)?;
                Self::Mail(MailRequest::Waiting { mailbox, count })
            }
            request::OFFER => {
                let OfferBody(mailbox, device, offer) = decode(body)?;
                Self::Mail(MailRequest::Offer { mailbox, device, offer })
            }
            _ => return Err(WireError::UnknownKind),
        })
    }
}

impl Response {
    /// Returns the response in the form in which the transport carries it.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let (kind, body) = match self {
            Self::Dht(RpcReply::Pong) => (response::PONG, Vec::new()),
            Self::Dht(RpcReply::Nodes(contacts)) => {
                (response::NODES, codec::encode(&NodesBody(contacts.clone())))
            }
            Self::Dht(RpcReply::Value(record)) => (response::VALUE, record.clone()),
            Self::Dht(RpcReply::Stored) => (response::STORED, Vec::new()),
            Self::Dht(RpcReply::Refused { reason, incumbent }) => {
                let body = RefusedBody(*reason, incumbent.clone().unwrap_or_default());
                (response::REFUSED, codec::encode(&body))
            }
            Self::Chat(ChatResponse::Introduced) => (response::INTRODUCED, Vec::new()),
            Self::Chat(ChatResponse::Delivered { next }) => (response::DELIVERED, codec::encode(next)),
            Self::Chat(ChatResponse::OutOfStep { next }) => (response::OUT_OF_STEP, codec::encode(next)),
            Self::Chat(ChatResponse::Heard) => (response::HEARD, Vec::new()),
            Self::Chat(ChatResponse::NotDelivered(refusal)) => {
                (response::NOT_DELIVERED, codec::encode(refusal))
            }
            Self::Mail(MailResponse::Deposited) => (response::DEPOSITED, Vec::new()),
            Self::Mail(MailResponse::Listed { ids, large, next }) => {
                (response::LISTED, codec::encode(&ListedBody(ids.clone(), *large, *next)))
            }
            Self::Mail(MailResponse::Fetched(envelope)) => (response::FETCHED, envelope.clone()),
            Self::Mail(MailResponse::Released) => (response::RELEASED, Vec::new()),
            Self::Mail(MailResponse::Noted) => (response::NOTED, Vec::new()),
            Self::Mail(MailResponse::Wanted { missing, released }) => {
                (response::WANTED, codec::encode(&WantedBody(*missing, *released)))
            }
            Self::Mail(MailResponse::Refused(refusal)) => (response::NOT_KEPT, codec::encode(refusal)),
            Self::Unsupported => (response::UNSUPPORTED, Vec::new()),
        };
        Encoded { kind, body }
    }

    /// Parses a response.
    ///
    /// # Errors
    ///
    /// The kind is unknown or the body does not fit it: the peer does not speak this protocol.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            response::PONG => empty(body, Self::Dht(RpcReply::Pong))?,
            response::NODES => {
                let NodesBody(contacts) = decode(body)?;
                Self::Dht(RpcReply::Nodes(contacts))
            }
            response::VALUE => Self::Dht(RpcReply::Value(record(body)?)),
            response::STORED => empty(body, Self::Dht(RpcReply::Stored))?,
            response::REFUSED => {
                let RefusedBody(reason, incumbent) = decode(body)?;
                let incumbent = if incumbent.is_empty() { None } else { Some(record(&incumbent)?) };
                Self::Dht(RpcReply::Refused { reason, incumbent })
            }
            response::INTRODUCED => empty(body, Self::Chat(ChatResponse::Introduced))?,
            response::DELIVERED => Self::Chat(ChatResponse::Delivered { next: decode(body)? }),
            response::NOT_DELIVERED => {
                Self::Chat(ChatResponse::NotDelivered(decode::<DeliverRefusal>(body)?))
            }
            response::HEARD => empty(body, Self::Chat(ChatResponse::Heard))?,
            response::OUT_OF_STEP => Self::Chat(ChatResponse::OutOfStep { next: decode(body)? }),
            response::DEPOSITED => empty(body, Self::Mail(MailResponse::Deposited))?,
            response::LISTED => {
                let ListedBody(ids, large, next) = decode(body)?;
                Self::Mail(MailResponse::Listed { ids, large, next })
            }
            response::FETCHED => Self::Mail(MailResponse::Fetched(bounded(body, MAX_SEALED_LEN)?)),
            response::RELEASED => empty(body, Self::Mail(MailResponse::Released))?,
            response::NOTED => empty(body, Self::Mail(MailResponse::Noted))?,
            response::WANTED => {
                let WantedBody(missing, released) = decode(body)?;
                Self::Mail(MailResponse::Wanted { missing, released })
            }
            response::NOT_KEPT => Self::Mail(MailResponse::Refused(decode(body)?)),
            response::UNSUPPORTED => empty(body, Self::Unsupported)?,
            _ => return Err(WireError::UnknownKind),
        })
    }
}

fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    codec::decode(body).map_err(|_| WireError::Malformed)
}

fn empty<T>(body: &[u8], message: T) -> Result<T, WireError> {
    if body.is_empty() { Ok(message) } else { Err(WireError::Malformed) }
}

fn hint(body: &[u8]) -> Result<Hint, WireError> {
    let hint: Hint = decode(body)?;
    if hint.body.len() > MAX_HINT_LEN { Err(WireError::Malformed) } else { Ok(hint) }
}

fn record(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    if bytes.is_empty() || bytes.len() > MAX_RECORD_LEN {
        Err(WireError::Malformed)
    } else {
        Ok(bytes.to_vec())
    }
}

fn bounded(bytes: &[u8], max_len: usize) -> Result<Vec<u8>, WireError> {
    if bytes.len() > max_len { Err(WireError::Malformed) } else { Ok(bytes.to_vec()) }
}

#[cfg(test)]
mod tests;
