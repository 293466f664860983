//! [`Exchange`]: one request and its answer on one bidirectional stream, and their bytes.
//!
//! ```text
//! request    kind 1 (0x00 to 0x7e) | body                         then the end of the stream
//! response   kind 1 (0x00 to 0x7e) | observed address 18 | body   then the end of the stream
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use quinn_proto::{Connection, ReadError, StreamId};

use crate::transport::{ADDRESS_LEN, Call, MAX_KIND, MAX_STREAM_BODY_LEN, decode_address, encode_address};

/// Longest request on a stream, in bytes.
pub(super) const MAX_REQUEST_LEN: usize = 1 + MAX_STREAM_BODY_LEN;

/// Longest response on a stream, in bytes.
pub(super) const MAX_RESPONSE_LEN: usize = 1 + ADDRESS_LEN + MAX_STREAM_BODY_LEN;

/// A call of this node that goes by stream.
#[derive(Debug)]
pub(super) struct OwnCall {
    pub(super) call: Call,
    /// It may go as a datagram if the connection breaks.
    pub(super) can_fall_back: bool,
    pub(super) until: Instant,
}

/// How far one stream has come. It ends with the answer, with a reset of either side, or at its time.
#[derive(Debug)]
pub(super) enum Exchange {
    /// A call of ours: its request goes out, its answer comes in.
    Asked { own: OwnCall, unsent: Bytes, answer: Vec<u8>, asked_at: Instant },
    /// A request of the peer that has not come whole.
    Asking { request: Vec<u8>, until: Instant },
    /// The engine works on the peer's request.
    Working { token: u64, until: Instant },
    /// The answer to the peer's request goes out, or waits for its acknowledgement.
    Answering { unsent: Bytes, until: Instant },
}

impl Exchange {
    /// Returns when the exchange is given up.
    pub(super) fn until(&self) -> Instant {
        match self {
            Self::Asked { own, .. } => own.until,
            Self::Asking { until, .. } | Self::Working { until, .. } | Self::Answering { until, .. } => {
                *until
            }
        }
    }

    /// Tells whether the connection is needed for it: a request that has not come whole is no reason to keep one.
    pub(super) const fn is_busy(&self) -> bool {
        !matches!(self, Self::Asking { .. })
    }

    /// Returns how many bytes are kept of what has not come whole, or has not gone out.
    pub(super) const fn partial_len(&self) -> usize {
        match self {
            Self::Asked { answer, .. } => answer.len(),
            Self::Asking { request, .. } => request.len(),
            Self::Answering { unsent, .. } => unsent.len(),
            Self::Working { .. } => 0,
        }
    }
}

/// How reading from a stream went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// That was all.
    Whole,
    /// Too long, or the peer has given up.
    Failed,
}

/// Appends to `whole` what has arrived on a stream. What makes it longer than `limit` is refused.
pub(super) fn read(quic: &mut Connection, id: StreamId, whole: &mut Vec<u8>, limit: usize) -> Progress {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Progress::Failed };
    let progress = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) if whole.len() + chunk.bytes.len() <= limit => {
                whole.extend_from_slice(&chunk.bytes);
            }
            Ok(Some(_)) | Err(ReadError::Reset(_)) => break Progress::Failed,
            Ok(None) => break Progress::Whole,
            Err(ReadError::Blocked) => break Progress::More,
        }
    };
    // Whoever reads asks for datagrams to send afterwards in any case.
    let _ = chunks.finalize();
    progress
}

/// Returns the bytes of a request.
pub(super) fn request_bytes(call: &Call) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + call.body.len());
    bytes.put_u8(call.kind);
    bytes.put_slice(&call.body);
    bytes.freeze()
}

/// Returns kind and body of a whole request; `None` if it is none.
pub(super) fn parse_request(mut bytes: Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let kind = bytes.first().copied().filter(|kind| *kind <= MAX_KIND)?;
    bytes.remove(0);
    Some((kind, bytes))
}

/// Returns the bytes of a response to a request that came from `observed`.
pub(super) fn response_bytes(kind: u8, observed: SocketAddr, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + ADDRESS_LEN + body.len());
    bytes.put_u8(kind);
    bytes.put_slice(&encode_address(observed));
    bytes.put_slice(body);
    bytes.freeze()
}

/// Returns kind, observed address and body of a whole response; `None` if it is none.
pub(super) fn parse_response(bytes: &[u8]) -> Option<(u8, SocketAddr, Vec<u8>)> {
    let (&kind, rest) = bytes.split_first().filter(|(kind, _)| **kind <= MAX_KIND)?;
    let (address, body) = rest.split_first_chunk()?;
    Some((kind, decode_address(address), body.to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::SecretKey;
    use crate::kademlia::Contact;
    use crate::transport::CallId;

    /// Changing these bytes is a protocol change: raise `PROTOCOL_VERSION` and say so in CHANGELOG.
    #[test]
    fn exchange_bytes() {
        let key = SecretKey::from_bytes(&[1; 32]).public();
        let to = Contact::new(key.into(), "192.0.2.1:4000".parse().unwrap());
        let call = Call {
            id: CallId(1),
            to,
            kind: 5,
            body: b"ask".to_vec(),
            is_early: false,
            is_bulk: true,
            is_answer_long: false,
            is_fleeting: false,
        };
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        insta::assert_snapshot!(hex(&request_bytes(&call)), @"0561736b");
        let response = response_bytes(5, to.address(), b"tell");
        insta::assert_snapshot!(hex(&response), @"0500000000000000000000ffffc00002010fa074656c6c");
        assert_eq!(parse_request(request_bytes(&call).to_vec()), Some((5, b"ask".to_vec())));
        assert_eq!(parse_response(&response), Some((5, to.address(), b"tell".to_vec())));
    }

    #[test]
    fn what_is_too_short_or_of_no_kind_is_refused() {
        assert_eq!(parse_request(Vec::new()), None);
        assert_eq!(parse_request(vec![MAX_KIND + 1]), None);
        assert_eq!(parse_response(&[1; ADDRESS_LEN]), None);
        assert_eq!(parse_response(&[0x80; 1 + ADDRESS_LEN]), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some((kind, body)) = parse_request(bytes.clone()) {
                prop_assert_eq!([&[kind][..], &body].concat(), bytes.clone());
            }
            if let Some((kind, observed, body)) = parse_response(&bytes) {
                prop_assert_eq!(&response_bytes(kind, observed, &body)[..], &bytes[..]);
            }
        }
    }
}
