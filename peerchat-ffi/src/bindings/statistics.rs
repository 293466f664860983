//! Statistics: what a node counts.

/// Counts since the client was opened, but for the gauges.
#[derive(Clone, Copy, Debug, Eq, PartialEq, uniffi::Record)]
pub struct Statistics {
    /// Contacts in the routing table now.
    pub contact_count: u64,
    /// Records kept for the network now.
    pub record_count: u64,
    /// Whether the node keeps records and mail for others now: whether they can reach it, as far as it knows.
    pub is_serving: bool,
    /// Envelopes kept now for people who are away.
    pub mail_count: u64,
    /// How much of the quota they take now, in bytes.
    pub mail_len: u64,
    /// Envelopes taken for people who were away.
    pub mail_deposited: u64,
    /// Of these, how many were given to their recipients; one that was asked for twice counts twice.
    pub mail_fetched: u64,
    /// Requests about mail that were refused, for whatever reason.
    pub mail_refused: u64,
    /// Of these, for want of room.
    pub mail_refused_full: u64,
    /// Of these, because too many waited.
    pub mail_refused_busy: u64,
    /// Of these, because a stranger had not worked as much as the room asked for.
    pub mail_refused_work: u64,
    /// Of these, because a token was none, or had expired.
    pub mail_refused_token: u64,
    /// How often an envelope of this user was not left with a node because of the work that it asked for.
    pub work_given_up: u64,
    /// Messages of our own that are not finished now, and receipts for mail that nobody has taken yet: at 0 nothing
    /// is lost to others if the client closes.
    pub outbox_count: u64,
    /// Encrypted links that are up now.
    pub link_count: u64,
    /// QUIC connections that are up now.
    pub connection_count: u64,
    /// Requests sent to the network, for whatever reason; one that had to be repeated counts once.
    pub requests_sent: u64,
    /// Searches of the network that have ended, for whatever reason.
    pub searches_ended: u64,
    /// The sum over these searches of how many requests in a row led to what they found.
    pub search_hops: u64,
    /// Records that others wanted kept here and that were refused, for whatever reason.
    pub refused_records: u64,
    /// Of these, because they were malformed: too short or long, of an unknown kind, with times that do not fit.
    pub refused_malformed: u64,
    /// Of these, because they were under a key that is not their owner's.
    pub refused_foreign_key: u64,
    /// Of these, claims on what is no user name.
    pub refused_bad_name: u64,
    /// Of these, because their signature is not the owner's.
    pub refused_bad_signature: u64,
    /// Of these, because they have expired.
    pub refused_expired: u64,
    /// Of these, because they are numbered or dated too far ahead of the clock.
    pub refused_too_far_ahead: u64,
    /// Of these, because a later one of the same owner is kept.
    pub refused_older: u64,
    /// Of these, claims on a name that somebody else holds.
    pub refused_owned: u64,
    /// Of these, because the node keeps as many as it may.
    pub refused_full: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received, dropped ones included.
    pub datagrams_received: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Sealed envelopes for this user that were dropped because they do not open, or nobody that is known wrote them.
    pub mail_dropped: u64,
    /// Messages, introductions and envelopes of people whom this user has blocked that were turned away.
    pub blocked: u64,
    /// Introductions and envelopes of strangers that were turned away because there were too many requests.
    pub requests_refused: u64,
    /// Typing notices of others that were not told: of nobody who is a contact, malformed, or too many.
    pub hints_dropped: u64,
    /// Whether one party may be all that the node sees, as far as it can tell: its contacts lie in fewer than three
    /// large blocks of public addresses, or its neighbours' ids are much denser than others, so that somebody must
    /// have chosen them.
    pub is_surrounded: bool,
    /// Requests of others that were dropped because they came faster than the limits allow; they count as dropped too.
    pub requests_too_fast: u64,
    /// Requests of others that were answered that there is no room now, because too many of them, or too much for the
    /// disk, waited.
    pub requests_busy: u64,
    /// Requests of others that were forgotten before they were answered, because too many waited, or too long.
    pub requests_forgotten: u64,
    /// Events that say how far a message came and that were dropped because the application left too many; the state
    /// can still be asked for.
    pub events_dropped: u64,
    /// Datagrams and requests dropped because they were malformed, foreign, replayed, not authentic or too many.
    pub dropped: u64,
}

impl From<peerchat_core::Statistics> for Statistics {
    fn from(counts: peerchat_core::Statistics) -> Self {
        let refused = counts.refused_records;
        Self {
            contact_count: counts.contact_count as u64,
            record_count: counts.record_count as u64,
            is_serving: counts.is_serving,
            mail_count: counts.mail_count as u64,
            mail_len: counts.mail_len,
            mail_deposited: counts.mail_deposited,
            mail_fetched: counts.mail_fetched,
            mail_refused: counts.mail_refused,
            mail_refused_full: counts.mail_refused_full,
            mail_refused_busy: counts.mail_refused_busy,
            mail_refused_work: counts.mail_refused_work,
            mail_refused_token: counts.mail_refused_token,
            work_given_up: counts.work_given_up,
            outbox_count: counts.outbox_count as u64,
            link_count: counts.link_count as u64,
            connection_count: counts.connection_count as u64,
            requests_sent: counts.requests_sent,
            searches_ended: counts.searches_ended,
            search_hops: counts.search_hops,
            refused_records: refused.total(),
            refused_malformed: refused.malformed,
            refused_foreign_key: refused.foreign_key,
            refused_bad_name: refused.bad_name,
            refused_bad_signature: refused.bad_signature,
            refused_expired: refused.expired,
            refused_too_far_ahead: refused.too_far_ahead,
            refused_older: refused.older,
            refused_owned: refused.owned,
            refused_full: refused.full,
            datagrams_sent: counts.datagrams_sent,
            datagrams_received: counts.datagrams_received,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            mail_dropped: counts.mail_dropped,
            blocked: counts.blocked,
            requests_refused: counts.requests_refused,
            hints_dropped: counts.hints_dropped,
            is_surrounded: counts.is_surrounded,
            requests_too_fast: counts.requests_too_fast,
            requests_busy: counts.requests_busy,
            requests_forgotten: counts.requests_forgotten,
            events_dropped: counts.events_dropped,
            dropped: counts.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Returns the names of the public fields of a structure in a source.
    fn fields(source: &str, structure: &str) -> BTreeSet<String> {
        let (_, body) = source.split_once(&format!("pub struct {structure} {{\n")).unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let fields = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
        fields.map(|(name, _)| name.to_owned()).collect()
    }

    /// The compiler checks that what is here has a value; this, that nothing the core counts is missing.
    #[test]
    fn every_language_has_every_counter() {
        let mut core = fields(include_str!("../../../peerchat-core/src/client.rs"), "Statistics");
        let reasons = fields(include_str!("../../../peerchat-core/src/kademlia/node.rs"), "RefusedRecords");
        assert!(core.len() > 20 && reasons.len() == 9, "the core's source was not understood");
        core.extend(reasons.iter().map(|reason| format!("refused_{reason}")));

        assert_eq!(fields(include_str!("statistics.rs"), "Statistics"), core);
        // C leaves the sum to the program.
        core.remove("refused_records");
        assert_eq!(fields(include_str!("../capi/statistics.rs"), "peerchat_statistics_t"), core);
    }
}
