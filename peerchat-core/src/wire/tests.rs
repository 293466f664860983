//! Changing these bytes is a protocol change: raise the protocol version and say so in CHANGELOG.md.

use proptest::prelude::*;

use super::*;
use crate::crypto::{Envelope, EnvelopeKind};
use crate::identity::UserId;
use crate::kademlia::{NodeId, NodeKey};
use crate::mail::{EnvelopeTag, MAX_OFFERED, MAX_RELEASED, MAX_SMALL_LEN, MailRefusal, Offer, Release};
use crate::user::{Delivery, Hint, MAX_HINT_LEN};

/// Returns kind and body in rows of sixteen bytes, long runs of one byte shortened.
fn hex_rows(encoded: &Encoded) -> String {
    let mut rows = format!("kind {:02x}, {} bytes", encoded.kind, encoded.body.len());
    for row in encoded.body.chunks(16) {
        rows.push('\n');
        rows.extend(row.iter().map(|byte| format!("{byte:02x} ")));
        rows.truncate(rows.trim_end().len());
    }
    rows
}

fn check_request(request: Request) -> String {
    let encoded = request.encode();
    assert_eq!(Request::decode(encoded.kind, &encoded.body), Ok(request));
    hex_rows(&encoded)
}

fn check_response(response: Response) -> String {
    let encoded = response.encode();
    assert_eq!(Response::decode(encoded.kind, &encoded.body), Ok(response));
    hex_rows(&encoded)
}

fn delivery() -> Delivery {
    Delivery {
        from: UserId::from_bytes([0xaa; 32]),
        to: UserId::from_bytes([0xbb; 32]),
        number: 300,
        count: 2,
        oldest: 250,
        tag: 0x1122_3344_5566_7788,
        envelope: Envelope { kind: EnvelopeKind::Later, bytes: vec![0xcc; 20] },
    }
}

#[test]
fn ping_bytes() {
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::Ping)));
    insta::assert_snapshot!(check_response(Response::Dht(RpcReply::Pong)));
}

#[test]
fn find_node_bytes() {
    let target = NodeId::from_bytes([0xab; 32]);
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::FindNode {
        target,
        family: AddressFamily::V4,
        serves: true
    })));
    let contacts = ["1.2.3.4:5000", "[2001:db8::1]:80"]
        .map(|address| Contact::new(NodeKey::from_bytes([0xcd; 32]), address.parse().unwrap()));
    insta::assert_snapshot!(check_response(Response::Dht(RpcReply::Nodes(contacts.to_vec()))));
}

#[test]
fn find_value_bytes() {
    let key = RecordKey::from_bytes([0xab; 32]);
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::FindValue {
        key,
        family: AddressFamily::Any,
        serves: false
    })));
    insta::assert_snapshot!(check_response(Response::Dht(RpcReply::Value(vec![7; 5]))));
}

#[test]
fn store_bytes() {
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::Store { record: vec![7; 5] })));
    insta::assert_snapshot!(check_response(Response::Dht(RpcReply::Stored)));
    let refused = RpcReply::Refused { reason: StoreRefusal::Owned, incumbent: Some(vec![8; 3]) };
    insta::assert_snapshot!(check_response(Response::Dht(refused)));
    let refused = RpcReply::Refused { reason: StoreRefusal::Full, incumbent: None };
    insta::assert_snapshot!(check_response(Response::Dht(refused)));
}

#[test]
fn reachability_bytes() {
    let helper = NodeId::from_bytes([0xab; 32]);
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::DialBack { helper })));
    let to = Contact::new(NodeKey::from_bytes([0xcd; 32]), "1.2.3.4:5000".parse().unwrap());
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::Relay { to })));
    insta::assert_snapshot!(check_request(Request::Dht(Rpc::Dial)));
}

#[test]
fn a_relay_is_no_shorter_than_what_it_causes() {
    let to = Contact::new(NodeKey::from_bytes([0xcd; 32]), "[2001:db8::1]:80".parse().unwrap());
    let body = Request::Dht(Rpc::Relay { to }).encode().body;
    let handshakes = usize::from(crate::transport::MAX_TRANSMISSIONS) * crate::transport::SHORT_INIT_LEN;
    assert!(body.len() >= handshakes, "{} bytes cause {handshakes}", body.len());
    assert!(!Request::Dht(Rpc::Dial).is_early(), "it would ride in a first packet of full size");
    let short = codec::encode(&RelayBody(to, vec![0; 9]));
    assert_eq!(Request::decode(request::RELAY, &short), Err(WireError::Malformed));
}

#[test]
fn introduce_bytes() {
    let request = ChatRequest::Introduce { claim: vec![1; 3], user: vec![2; 4] };
    insta::assert_snapshot!(check_request(Request::Chat(request)));
    insta::assert_snapshot!(check_response(Response::Chat(ChatResponse::Introduced)));
}

#[test]
fn deliver_bytes() {
    insta::assert_snapshot!(check_request(Request::Chat(ChatRequest::Deliver(delivery()))));
    insta::assert_snapshot!(check_response(Response::Chat(ChatResponse::Delivered { next: 301 })));
    let refusals = [
        DeliverRefusal::NotHere,
        DeliverRefusal::UnknownSender,
        DeliverRefusal::BadIntroduction,
        DeliverRefusal::Busy,
        DeliverRefusal::Unopened,
        DeliverRefusal::Blocked,
    ];
    insta::assert_snapshot!(check_response(Response::Chat(ChatResponse::OutOfStep { next: 301 })));
    let bytes = refusals.map(|refusal| check_response(Response::Chat(ChatResponse::NotDelivered(refusal))));
    insta::assert_snapshot!(bytes.join("\n"));
}

#[test]
fn hint_bytes() {
    let hint = Hint::of_typing(UserId::from_bytes([0xaa; 32]), [0xdd; 32], true);
    insta::assert_snapshot!(check_request(Request::Chat(ChatRequest::Hint(hint.clone()))));
    insta::assert_snapshot!(check_response(Response::Chat(ChatResponse::Heard)));
    assert!(Request::Chat(ChatRequest::Hint(hint.clone())).is_fleeting());
    assert!(!Request::Chat(ChatRequest::Hint(hint)).is_early(), "what can be replayed would be told again");
}

#[test]
fn a_hint_is_short_and_may_be_of_a_kind_that_is_not_known() {
    let hint = |len| Hint {
        from: UserId::from_bytes([1; 32]),
        conversation: [2; 32],
        kind: 999,
        body: vec![0; len],
    };
    let decode = |len| Request::decode(request::HINT, &codec::encode(&hint(len)));
    assert_eq!(decode(MAX_HINT_LEN), Ok(Request::Chat(ChatRequest::Hint(hint(MAX_HINT_LEN)))));
    assert_eq!(decode(MAX_HINT_LEN + 1), Err(WireError::Malformed));
    let mut trailing = codec::encode(&hint(1));
    trailing.push(0);
    assert_eq!(Request::decode(request::HINT, &trailing), Err(WireError::Malformed));
}

#[test]
fn unsupported_bytes() {
    insta::assert_snapshot!(check_response(Response::Unsupported));
}

#[test]
fn the_largest_answers_fit_one_datagram() {
    let contact = Contact::new(NodeKey::from_bytes([1; 32]), "[2001:db8::1]:65535".parse().unwrap());
    let nodes = Response::Dht(RpcReply::Nodes(vec![contact; K])).encode();
    assert!(nodes.body.len() <= crate::transport::MAX_EARLY_RESPONSE_LEN, "{}", nodes.body.len());
    const { assert!(MAX_RECORD_LEN + 4 <= crate::transport::MAX_EARLY_RESPONSE_LEN) };
}

#[test]
fn mail_bytes() {
    let (mailbox, id) = (RecordKey::from_bytes([0xaa; 32]), EnvelopeId::from_bytes([0xbb; 32]));
    let device = NodeId::from_bytes([0xcc; 32]);
    let release = Release {
        mailbox,
        device: NodeKey::from_bytes([0xcd; 32]),
        ids: vec![id, id],
        signature: vec![0xee; 64],
    };
    let requests = [
        MailRequest::Deposit { envelope: vec![7; 5] },
        MailRequest::Collect { mailbox, after: 300 },
        MailRequest::Fetch { mailbox, id },
        MailRequest::Release(release),
        MailRequest::Waiting { mailbox, count: 300 },
        MailRequest::Offer { mailbox, device, offer: Offer::All([0xdd; 32]) },
        MailRequest::Offer { mailbox, device, offer: Offer::These(vec![EnvelopeTag::of(&id); 2]) },
    ];
    let requests = requests.map(|request| check_request(Request::Mail(request)));
    insta::assert_snapshot!(requests.join("\n\n"));
    let responses = [
        MailResponse::Deposited,
        MailResponse::Listed { ids: vec![id, id], large: 2, next: Some(300) },
        MailResponse::Fetched(vec![7; 5]),
        MailResponse::Released,
        MailResponse::Noted,
        MailResponse::Refused(MailRefusal::Invalid),
        MailResponse::Refused(MailRefusal::Busy),
        MailResponse::Wanted { missing: 5, released: u64::MAX },
    ];
    let responses = responses.map(|response| check_response(Response::Mail(response)));
    insta::assert_snapshot!(responses.join("\n\n"));
}

#[test]
fn the_longest_lists_of_mail_fit_a_datagram_and_a_longer_one_is_refused() {
    let listed = |count| MailResponse::Listed {
        ids: vec![EnvelopeId::from_bytes([1; 32]); count],
        large: u32::MAX,
        next: Some(u64::MAX),
    };
    let released = |count| Release {
        mailbox: RecordKey::from_bytes([1; 32]),
        device: NodeKey::from_bytes([1; 32]),
        ids: vec![EnvelopeId::from_bytes([1; 32]); count],
        signature: vec![1; 64],
    };
    let (list, release) =
        (Response::Mail(listed(MAX_LISTED)), Request::Mail(MailRequest::Release(released(MAX_RELEASED))));
    assert!(list.encode().body.len() <= crate::transport::MAX_BODY_LEN);
    assert!(release.encode().body.len() <= crate::transport::MAX_BODY_LEN);
    let list = Response::Mail(listed(MAX_LISTED + 1)).encode();
    assert_eq!(Response::decode(list.kind, &list.body), Err(WireError::Malformed));
    let fetched = |len| Response::Mail(MailResponse::Fetched(vec![7; len])).encode().body.len();
    assert!(fetched(MAX_SMALL_LEN) <= crate::transport::MAX_BODY_LEN);
    assert!(fetched(MAX_SMALL_LEN + 1024) > crate::transport::MAX_BODY_LEN, "the next class");
    let release = Request::Mail(MailRequest::Release(released(MAX_RELEASED + 1))).encode();
    assert_eq!(Request::decode(release.kind, &release.body), Err(WireError::Malformed));
    let offer = |count| {
        let (mailbox, device) = (RecordKey::from_bytes([1; 32]), NodeId::from_bytes([1; 32]));
        let offer = Offer::These(vec![EnvelopeTag::from_bytes([1; 16]); count]);
        Request::Mail(MailRequest::Offer { mailbox, device, offer }).encode()
    };
    assert!(offer(MAX_OFFERED).body.len() <= crate::transport::MAX_BODY_LEN);
    let offer = offer(MAX_OFFERED + 1);
    assert_eq!(Request::decode(offer.kind, &offer.body), Err(WireError::Malformed));
}

#[test]
fn the_longest_message_fits_one_stream() {
    let mut delivery = delivery();
    delivery.envelope.bytes = vec![b'x'; crate::crypto::MAX_ENVELOPE_LEN];
    (delivery.number, delivery.oldest, delivery.tag) = (u64::MAX, u64::MAX, u64::MAX);
    let request = Request::Chat(ChatRequest::Deliver(delivery));
    let encoded = request.encode();
    assert_eq!(Request::decode(encoded.kind, &encoded.body), Ok(request));
    const { assert!(crate::codec::MAX_VALUE_LEN <= crate::transport::MAX_STREAM_BODY_LEN) };
}

#[test]
fn more_than_k_contacts_are_refused() {
    let contact = Contact::new(NodeKey::from_bytes([1; 32]), "1.2.3.4:5".parse().unwrap());
    let encoded = Response::Dht(RpcReply::Nodes(vec![contact; K + 1])).encode();
    assert_eq!(Response::decode(encoded.kind, &encoded.body), Err(WireError::Malformed));
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    let requests = [
        Request::Dht(Rpc::Ping),
        Request::Dht(Rpc::FindNode {
            target: NodeId::from_bytes([1; 32]),
            family: AddressFamily::V6,
            serves: true,
        }),
        Request::Chat(ChatRequest::Introduce { claim: vec![1; 9], user: vec![1; 9] }),
        Request::Chat(ChatRequest::Deliver(delivery())),
        Request::Chat(ChatRequest::Hint(Hint::of_typing(UserId::from_bytes([1; 32]), [2; 32], false))),
    ];
    for request in requests {
        let Encoded { kind, mut body } = request.encode();
        for len in 0..body.len() {
            assert!(Request::decode(kind, &body[..len]).is_err(), "{request:?} cut to {len}");
        }
        body.push(0);
        assert_eq!(
            Request::decode(kind, &body),
            Err(WireError::Malformed),
            "{request:?} with a byte behind it"
        );
    }
}

#[test]
fn an_unknown_kind_is_told_apart_from_a_malformed_body() {
    assert_eq!(Request::decode(0x7d, b""), Err(WireError::UnknownKind));
    assert_eq!(Response::decode(0x7d, b""), Err(WireError::UnknownKind));
    assert_eq!(Request::decode(0x01, b"x"), Err(WireError::Malformed));
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_never_decode_to_what_encodes_differently(
        kind in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..1300),
    ) {
        if let Ok(request) = Request::decode(kind, &body) {
            let again = request.encode();
            prop_assert_eq!(Request::decode(again.kind, &again.body), Ok(request));
        }
        if let Ok(response) = Response::decode(kind, &body) {
            let again = response.encode();
            prop_assert_eq!(Response::decode(again.kind, &again.body), Ok(response));
        }
    }
}
