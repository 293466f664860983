//! The bodies of every request and response. A seed is a direction, a kind and a body.

use peerchat_core::crypto::{Envelope, EnvelopeKind};
use peerchat_core::identity::UserId;
use peerchat_core::kademlia::{
    AddressFamily, Contact, NodeId, NodeKey, RecordKey, Rpc, RpcReply, StoreRefusal,
};
use peerchat_core::mail::{EnvelopeId, EnvelopeTag, MailRefusal, MailRequest, MailResponse, Offer, Release};
use peerchat_core::user::{ChatRequest, ChatResponse, DeliverRefusal, Delivery, Hint};
use peerchat_core::wire::{Request, Response};

use crate::input::{Input, address, secret};

/// What decodes is encoded to something that decodes to the same.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let (is_request, kind) = (input.flag(), input.byte());
    let body = input.rest();
    if is_request {
        let Ok(request) = Request::decode(kind, body) else { return };
        let encoded = request.encode();
        assert_eq!(encoded.kind, kind);
        assert_eq!(Request::decode(kind, &encoded.body), Ok(request));
    } else {
        let Ok(response) = Response::decode(kind, body) else { return };
        let encoded = response.encode();
        assert_eq!(encoded.kind, kind);
        assert_eq!(Response::decode(kind, &encoded.body), Ok(response));
    }
}

/// One of every message.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let message = |is_request: u8, kind: u8, body: &[u8]| [&[is_request, kind], body].concat();
    let requests = requests().into_iter().map(|request| request.encode());
    let requests = requests.map(|encoded| message(1, encoded.kind, &encoded.body));
    let responses = responses().into_iter().map(|response| response.encode());
    requests.chain(responses.map(|encoded| message(0, encoded.kind, &encoded.body))).collect()
}

fn contact(number: u8) -> Contact {
    Contact::new(NodeKey::from(secret(number).public()), address(number))
}

/// One of every request.
pub(crate) fn requests() -> Vec<Request> {
    let (key, place) = (RecordKey::from_bytes([3; 32]), NodeId::from_bytes([4; 32]));
    let (id, tag) = (EnvelopeId::from_bytes([5; 32]), EnvelopeTag::of(&EnvelopeId::from_bytes([5; 32])));
    let envelope = Envelope { kind: EnvelopeKind::First, bytes: vec![7; 20] };
    let (from, to) = (UserId::from_bytes([1; 32]), UserId::from_bytes([2; 32]));
    let delivery = Delivery { from, to, number: 3, count: 1, oldest: 2, tag: 9, envelope };
    let signature = secret(1).sign(&Release::signed_bytes(&key, &[id])).to_vec();
    let device = NodeKey::from(secret(1).public());
    let mut requests = vec![
        Request::Dht(Rpc::Ping),
        Request::Dht(Rpc::FindNode { target: place, family: AddressFamily::Any, serves: true }),
        Request::Dht(Rpc::FindValue { key, family: AddressFamily::V4, serves: false }),
        Request::Dht(Rpc::Store { record: vec![1; 200] }),
        Request::Dht(Rpc::DialBack { helper: place }),
        Request::Dht(Rpc::Relay { to: contact(2) }),
        Request::Dht(Rpc::Dial),
        Request::Chat(ChatRequest::Introduce { claim: vec![1; 200], user: vec![2; 300] }),
        Request::Chat(ChatRequest::Deliver(delivery)),
        Request::Chat(ChatRequest::Hint(Hint::of_typing(from, [7; 32], true))),
    ];
    requests.extend(
        [
            MailRequest::Deposit { envelope: vec![1; 585] },
            MailRequest::Collect { mailbox: key, after: 300 },
            MailRequest::Fetch { mailbox: key, id },
            MailRequest::Release(Release { mailbox: key, device, ids: vec![id], signature }),
            MailRequest::Waiting { mailbox: key, count: 4 },
            MailRequest::Offer { mailbox: key, device: place, offer: Offer::All([8; 32]) },
            MailRequest::Offer { mailbox: key, device: place, offer: Offer::These(vec![tag; 3]) },
        ]
        .map(Request::Mail),
    );
    requests
}

/// One of every response.
pub(crate) fn responses() -> Vec<Response> {
    let ids = vec![EnvelopeId::from_bytes([5; 32]); 3];
    let mut responses = vec![
        Response::Dht(RpcReply::Pong),
        Response::Dht(RpcReply::Nodes(vec![contact(1), contact(2)])),
        Response::Dht(RpcReply::Value(vec![1; 200])),
        Response::Dht(RpcReply::Stored),
        Response::Dht(RpcReply::Refused { reason: StoreRefusal::Owned, incumbent: Some(vec![1; 200]) }),
        Response::Unsupported,
    ];
    responses.extend(
        [
            ChatResponse::Introduced,
            ChatResponse::Delivered { next: 7 },
            ChatResponse::OutOfStep { next: 1 },
            ChatResponse::Heard,
            ChatResponse::NotDelivered(DeliverRefusal::Blocked),
        ]
        .map(Response::Chat),
    );
    responses.extend(
        [
            MailResponse::Deposited,
            MailResponse::Listed { ids, large: 5, next: Some(1000) },
            MailResponse::Fetched(vec![1; 585]),
            MailResponse::Released,
            MailResponse::Noted,
            MailResponse::Wanted { missing: 5, released: 2 },
            MailResponse::Refused(MailRefusal::Full),
            MailResponse::Refused(MailRefusal::WorkNeeded { bits: 9 }),
        ]
        .map(Response::Mail),
    );
    responses
}
