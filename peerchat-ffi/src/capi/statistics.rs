//! Statistics: what a node counts.

use peerchat_core::Statistics;
use safer_ffi::derive_ReprC;

use super::client::peerchat_t;
use super::guard::{guard, required};
use super::status::{Failure, peerchat_status_t};

/// Counts since the client was created, but for what is "now". Later versions add members at the end only.
#[derive_ReprC]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct peerchat_statistics_t {
    /// Contacts in the routing table now.
    pub contact_count: u64,
    /// Records kept for the network now.
    pub record_count: u64,
    /// 1 if the node keeps records and mail for others now: if they can reach it, as far as it knows. Else 0.
    pub is_serving: u64,
    /// Encrypted links that are up now.
    pub link_count: u64,
    /// QUIC connections that are up now.
    pub connection_count: u64,
    /// Messages of our own that are not finished now, and receipts for mail that nobody has taken yet: at 0 nothing is
    /// lost to others if the client closes.
    pub outbox_count: u64,
    /// Envelopes kept now for people who are away.
    pub mail_count: u64,
    /// How much of peerchat_options_set_mail_quota_len they take now, in bytes.
    pub mail_len: u64,
    /// Envelopes taken for people who were away.
    pub mail_deposited: u64,
    /// Of these, how many were given to their recipients; one that was asked for twice counts twice.
    pub mail_fetched: u64,
    /// Requests about mail that were refused, for whatever reason.
    pub mail_refused: u64,
    /// Requests sent to the network, for whatever reason; one that had to be repeated counts once.
    pub requests_sent: u64,
    /// Searches of the network that have ended, for whatever reason.
    pub searches_ended: u64,
    /// The sum over these searches of how many requests in a row led to what they found.
    pub search_hops: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received, dropped ones included.
    pub datagrams_received: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// Datagrams and requests dropped because they were malformed, foreign, replayed or not authentic.
    pub dropped: u64,
    /// Records refused because they were malformed: too short or long, of an unknown kind, with times that do not fit.
    pub refused_malformed: u64,
    /// Records refused because they were under a key that is not their owner's.
    pub refused_foreign_key: u64,
    /// Claims refused because they were on what is no user name.
    pub refused_bad_name: u64,
    /// Records refused because their signature is not the owner's.
    pub refused_bad_signature: u64,
    /// Records refused because they have expired.
    pub refused_expired: u64,
    /// Records refused because they are numbered or dated too far ahead of the clock.
    pub refused_too_far_ahead: u64,
    /// Records refused because a later one of the same owner is kept.
    pub refused_older: u64,
    /// Claims refused because somebody else holds the name.
    pub refused_owned: u64,
    /// Records refused because the node keeps as many as it may.
    pub refused_full: u64,
    /// Envelopes for this user that were dropped because they do not open, or nobody that is known wrote them.
    pub mail_dropped: u64,
    /// Messages, introductions and envelopes of people whom this user has blocked that were turned away.
    pub blocked: u64,
    /// Introductions and envelopes of strangers that were turned away because there were too many requests.
    pub requests_refused: u64,
    /// 1 if one party may be all that the node sees, as far as it can tell: its contacts lie in fewer than three large blocks of
    /// public addresses, or its neighbours' ids are much denser than others, so that somebody must have chosen them. Else 0.
    pub is_surrounded: u64,
    /// Requests about mail that were refused for want of room.
    pub mail_refused_full: u64,
    /// Requests about mail that were refused because too many waited.
    pub mail_refused_busy: u64,
    /// Envelopes of strangers that were refused because less work had gone into them than the room asked for.
    pub mail_refused_work: u64,
    /// Envelopes that were refused because the token that came with them was none, or had expired.
    pub mail_refused_token: u64,
    /// How often an envelope of this user was not left with a node because of the work that it asked for.
    pub work_given_up: u64,
    /// Typing notices of others that were not told: of nobody who is a contact, malformed, or too many.
    pub hints_dropped: u64,
    /// Requests of others that were dropped because they came faster than the limits allow; they count as dropped too.
    pub requests_too_fast: u64,
    /// Requests of others that were answered that there is no room now, because too many of them, or too much for the disk,
    /// waited.
    pub requests_busy: u64,
    /// Requests of others that were forgotten before they were answered, because too many waited, or too long.
    pub requests_forgotten: u64,
    /// Events that say how far a message came and that were dropped because the application left too many.
    pub events_dropped: u64,
}

impl From<Statistics> for peerchat_statistics_t {
    fn from(counts: Statistics) -> Self {
        let refused = counts.refused_records;
        Self {
            contact_count: counts.contact_count as u64,
            record_count: counts.record_count as u64,
            is_serving: counts.is_serving.into(),
            link_count: counts.link_count as u64,
            connection_count: counts.connection_count as u64,
            outbox_count: counts.outbox_count as u64,
            mail_count: counts.mail_count as u64,
            mail_len: counts.mail_len,
            mail_deposited: counts.mail_deposited,
            mail_fetched: counts.mail_fetched,
            mail_refused: counts.mail_refused,
            requests_sent: counts.requests_sent,
            searches_ended: counts.searches_ended,
            search_hops: counts.search_hops,
            datagrams_sent: counts.datagrams_sent,
            datagrams_received: counts.datagrams_received,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            dropped: counts.dropped,
            refused_malformed: refused.malformed,
            refused_foreign_key: refused.foreign_key,
            refused_bad_name: refused.bad_name,
            refused_bad_signature: refused.bad_signature,
            refused_expired: refused.expired,
            refused_too_far_ahead: refused.too_far_ahead,
            refused_older: refused.older,
            refused_owned: refused.owned,
            refused_full: refused.full,
            mail_dropped: counts.mail_dropped,
            blocked: counts.blocked,
            requests_refused: counts.requests_refused,
            is_surrounded: counts.is_surrounded.into(),
            mail_refused_full: counts.mail_refused_full,
            mail_refused_busy: counts.mail_refused_busy,
            mail_refused_work: counts.mail_refused_work,
            mail_refused_token: counts.mail_refused_token,
            work_given_up: counts.work_given_up,
            hints_dropped: counts.hints_dropped,
            requests_too_fast: counts.requests_too_fast,
            requests_busy: counts.requests_busy,
            requests_forgotten: counts.requests_forgotten,
            events_dropped: counts.events_dropped,
        }
    }
}

/// Writes as much of `counts` as a structure of `size` bytes has room for, and zeros beyond what there is.
///
/// # Safety
///
/// `size` bytes from `out` on may be written.
unsafe fn write_counts(counts: peerchat_statistics_t, out: *mut peerchat_statistics_t, size: usize) {
    let out = out.cast::<u8>();
    let known = size.min(size_of::<peerchat_statistics_t>());
    // SAFETY: both are at least `known` bytes long, and one is a local of this function.
    unsafe { std::ptr::copy_nonoverlapping((&raw const counts).cast::<u8>(), out, known) };
    // SAFETY: `known` is at most `size`.
    let rest = unsafe { out.add(known) };
    // SAFETY: the caller vouches for `size` bytes from `out` on.
    unsafe { std::ptr::write_bytes(rest, 0, size - known) };
}

/// Counts, into a structure of the caller's: `peerchat_statistics(client, &statistics, sizeof statistics)`.
///
/// A program that was compiled with an older header gets the members that it knows; one that runs with an older library
/// gets 0 for those that the library does not know. Waits for the node, which is well under a millisecond unless it is
/// busy. Thread-safe.
/// @param client          The client.
/// @param out_statistics  Receives the counts.
/// @param size            `sizeof(peerchat_statistics_t)`.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT (a size below the first version's, or
///         above 4096), PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peerchat_statistics(
    client: Option<&peerchat_t>,
    out_statistics: *mut peerchat_statistics_t,
    size: usize,
) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        let out = required((!out_statistics.is_null()).then_some(out_statistics), "out_statistics")?;
        if !(FIRST_SIZE..=MAX_SIZE).contains(&size) {
            return Err(Failure::new(
                peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT,
                format!("`size` is {size}; pass sizeof(peerchat_statistics_t)"),
            ));
        }
        let counts = client.inner().statistics()?.into();
        // SAFETY: the caller vouches for `size` writable bytes.
        unsafe { write_counts(counts, out, size) };
        Ok(())
    })
}

/// What the first version of the structure takes.
const FIRST_SIZE: usize = 28 * 8;

/// More than the structure will ever take: a larger size is a mistake.
const MAX_SIZE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> peerchat_statistics_t {
        peerchat_statistics_t { contact_count: 7, refused_full: 9, ..Default::default() }
    }

    #[test]
    fn a_larger_structure_gets_zeros_and_no_more() {
        let mut room = [peerchat_statistics_t { record_count: 5, ..counts() }; 2];
        let size = size_of::<peerchat_statistics_t>() + 8;
        // SAFETY: the room is twice as large.
        unsafe { write_counts(counts(), room.as_mut_ptr(), size) };
        assert_eq!(room[0], counts());
        assert_eq!((room[1].contact_count, room[1].record_count), (0, 5));
    }

    #[test]
    fn a_smaller_structure_is_not_written_beyond_its_end() {
        let mut room = peerchat_statistics_t::default();
        // SAFETY: the room is larger.
        unsafe { write_counts(counts(), &raw mut room, 8) };
        assert_eq!((room.contact_count, room.refused_full), (7, 0));
    }
}
