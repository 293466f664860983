//! [`TransportStats`]: what a transport did, and why it dropped what it dropped.

/// Counters since the transport was made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TransportStats {
    /// Datagrams taken in.
    pub datagrams_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Datagrams handed out.
    pub datagrams_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Packets sent a second or third time.
    pub retransmissions: u64,
    /// Handshakes that this node started.
    pub handshakes_started: u64,
    /// Handshakes that this node started and completed.
    pub handshakes_completed: u64,
    /// Handshakes of others that this node answered.
    pub handshakes_answered: u64,
    /// Cached answers to a repeated first handshake packet.
    pub answers_repeated: u64,
    /// COOKIEs sent: handshakes of others that came under load and without a valid cookie.
    pub cookies_sent: u64,
    /// COOKIEs that made this node repeat a first handshake packet.
    pub cookies_heeded: u64,
    /// Links dropped because another needed the room.
    pub links_evicted: u64,
    /// Links that went on at a new address.
    pub links_moved: u64,
    /// RESET packets sent.
    pub resets_sent: u64,
    /// RESET packets that started a handshake.
    pub resets_heeded: u64,
    /// Dropped: longer than [`super::MAX_DATAGRAM_LEN`].
    pub dropped_too_long: u64,
    /// Dropped: the first byte is none of ours.
    pub dropped_unknown_type: u64,
    /// Dropped: another version of the protocol.
    pub dropped_other_version: u64,
    /// Dropped: wrong length, padding or layout.
    pub dropped_malformed: u64,
    /// Dropped: a KEY_REQUEST for another network.
    pub dropped_other_network: u64,
    /// Dropped: more often than a rate limit allows.
    pub dropped_rate_limited: u64,
    /// Dropped: a first handshake packet by somebody who does not know this node's key, or for another network.
    pub dropped_wrong_mac: u64,
    /// Dropped: a handshake packet that is not authentic, or for another network or key.
    pub dropped_bad_handshake: u64,
    /// Dropped: a handshake whose Ed25519 key is weak, foreign to the static key, or our own.
    pub dropped_bad_key: u64,
    /// Dropped: a first handshake packet whose early request is still being answered, or that came from another address
    /// before.
    pub dropped_duplicate_init: u64,
    /// Dropped: an answer to no handshake, call or probe that is pending.
    pub dropped_unasked: u64,
    /// Dropped: DATA for a link that is not known.
    pub dropped_unknown_link: u64,
    /// Dropped: DATA that is not authentic.
    pub dropped_forged: u64,
    /// Dropped: DATA seen before, or too old to know.
    pub dropped_replayed: u64,
    /// Dropped: a request that is still being answered.
    pub dropped_duplicate_request: u64,
    /// Dropped: a request beyond [`super::MAX_OPEN_REQUESTS_PER_LINK`].
    pub dropped_too_many_requests: u64,
    /// Dropped: a request that came sooner than the rates of a link, of an address or of all allow.
    pub dropped_too_fast: u64,
    /// Dropped: a RESET that fits no call in flight.
    pub dropped_reset: u64,
    /// Requests that were forgotten before they were answered: too many waited, or too long.
    pub requests_forgotten: u64,
    /// Replies to a request that is no longer open.
    pub replies_late: u64,
    /// Replies that do not fit a datagram: the peer was told to ask again by stream.
    pub replies_by_stream: u64,
    /// Replies over [`super::MAX_STREAM_BODY_LEN`], or whose kind is over [`super::MAX_KIND`].
    pub replies_invalid: u64,
    /// Replies larger than an address that is not proven may be sent.
    pub replies_to_unproven: u64,
}

impl TransportStats {
    /// Returns how many datagrams and requests were dropped, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        [
            self.dropped_too_long,
            self.dropped_unknown_type,
            self.dropped_other_version,
            self.dropped_malformed,
            self.dropped_other_network,
            self.dropped_rate_limited,
            self.dropped_wrong_mac,
            self.dropped_bad_handshake,
            self.dropped_bad_key,
            self.dropped_duplicate_init,
            self.dropped_unasked,
            self.dropped_unknown_link,
            self.dropped_forged,
            self.dropped_replayed,
            self.dropped_duplicate_request,
            self.dropped_too_many_requests,
            self.dropped_too_fast,
            self.dropped_reset,
        ]
        .into_iter()
        .sum()
    }
}
