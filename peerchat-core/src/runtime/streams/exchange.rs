//! [`Exchange`]: one request and its answer on one bidirectional stream, and their bytes.
//!
//! ```text
//! request    kind 1 (0x00 to 0x7e) | body                         then the end of the stream
//! response   kind 1 (0x00 to 0x7e) | observed address 18 | body   then the end of the stream
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use bytes::BufMut;
use quinn_proto::{Connection, ReadError, StreamId, VarInt};

use crate::transport::{ADDRESS_LEN, Call, MAX_KIND, MAX_STREAM_BODY_LEN, decode_address, encode_address};

/// Longest request on a stream, in bytes.
pub(super) const MAX_REQUEST_LEN: usize = 1 + MAX_STREAM_BODY_LEN;

/// Longest response on a stream, in bytes.
pub(super) const MAX_RESPONSE_LEN: usize = 1 + ADDRESS_LEN + MAX_STREAM_BODY_LEN;

/// The code of resets that says that a request came too fast and was not looked at: who asked may ask again.
pub(super) const TOO_FAST: VarInt = VarInt::from_u32(1);

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
    Asked { own: OwnCall, unsent: Unsent, answer: Incoming, asked_at: Instant },
    /// A request of the peer that has not come whole.
    Asking { request: Incoming, until: Instant },
    /// The engine works on the peer's request.
    Working { token: u64, until: Instant },
    /// The answer to the peer's request goes out, or waits for its acknowledgement.
    Answering { unsent: Unsent, until: Instant },
}

/// What has come of a request or an answer.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// The first part, as far as nothing is missing.
    pub(super) bytes: Vec<u8>,
    /// What QUIC keeps at most of what came after something that is missing: for each piece the datagram that it came in.
    /// Without this, single bytes with gaps between them would take a hundred times what the window allows.
    ahead: usize,
}

/// What QUIC takes for a piece of a stream beside the datagram: its place among the others, in a list that doubles as it grows.
const PIECE_COST: usize = 2 * 56;

/// What QUIC has not taken yet. It is kept as a whole until all of it is taken: what is taken of it frees nothing.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: Vec<u8>,
    taken: usize,
}

impl Unsent {
    /// Keeps these bytes, none of which is taken.
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0 }
    }

    /// Tells whether everything is taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns what is not taken.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Notes that so many bytes more are taken.
    pub(super) fn take(&mut self, len: usize) {
        self.taken += len;
        if self.taken >= self.bytes.len() {
            *self = Self::default();
        }
    }
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

    /// Returns how many bytes are kept of what has not come whole, with the room that it has to grow and what QUIC keeps of
    /// it, and of what has not gone out.
    pub(super) const fn partial_len(&self) -> usize {
        match self {
            Self::Asked { answer: incoming, .. } | Self::Asking { request: incoming, .. } => {
                incoming.bytes.capacity() + incoming.ahead
            }
            Self::Answering { unsent, .. } => unsent.bytes.capacity(),
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
    /// The peer has not looked at the request: see [`TOO_FAST`].
    TooFast,
}

/// Appends what has arrived on a stream, in a datagram of this length, to what came before. What makes it longer than `limit`
/// is refused.
pub(super) fn read(
    quic: &mut Connection,
    id: StreamId,
    incoming: &mut Incoming,
    (datagram_len, limit): (usize, usize),
) -> Progress {
    let whole = &mut incoming.bytes;
    let len_before = whole.len();
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Progress::Failed };
    let progress = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) if whole.len() + chunk.bytes.len() <= limit => {
                if whole.capacity() - whole.len() < chunk.bytes.len() {
                    // A quarter more, not the double: all of it counts.
                    whole.reserve_exact(chunk.bytes.len().max(whole.len() / 4));
                }
                whole.extend_from_slice(&chunk.bytes);
            }
            Err(ReadError::Reset(TOO_FAST)) => break Progress::TooFast,
            Ok(Some(_)) | Err(ReadError::Reset(_)) => break Progress::Failed,
            Ok(None) => break Progress::Whole,
            Err(ReadError::Blocked) => break Progress::More,
        }
    };
    // Whoever reads asks for datagrams to send afterwards in any case.
    let _ = chunks.finalize();
    let read_len = whole.len() - len_before;
    incoming.ahead = (incoming.ahead + datagram_len + PIECE_COST).saturating_sub(read_len);
    progress
}

/// Returns the bytes of a request.
pub(super) fn request_bytes(call: &Call) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + call.body.len());
    bytes.put_u8(call.kind);
    bytes.put_slice(&call.body);
    bytes
}

/// Returns kind and body of a whole request; `None` if it is none.
pub(super) fn parse_request(mut bytes: Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let kind = bytes.first().copied().filter(|kind| *kind <= MAX_KIND)?;
    bytes.remove(0);
    Some((kind, bytes))
}

/// Returns the bytes of a response to a request that came from `observed`.
pub(super) fn response_bytes(kind: u8, observed: SocketAddr, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + ADDRESS_LEN + body.len());
    bytes.put_u8(kind);
    bytes.put_slice(&encode_address(observed));
    bytes.put_slice(body);
    bytes
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
        assert_eq!(parse_request(request_bytes(&call)), Some((5, b"ask".to_vec())));
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
