//! What a node counts, for [`crate::Client::statistics`].

use super::Driver;
use crate::client::Statistics;
use crate::user::User;

impl Driver {
    /// Adds up what everything of the node has counted since it was opened.
    pub(super) fn statistics(&self) -> Statistics {
        let node = self.parts.engine.node();
        let (transport, streams) = self.parts.carrier.stats();
        let (mailbox, user) = (self.parts.engine.mailbox(), self.parts.engine.user());
        Statistics {
            mail_count: mailbox.kept_count(),
            mail_len: mailbox.kept_len(),
            mail_deposited: mailbox.stats().deposited,
            mail_fetched: mailbox.stats().fetched,
            mail_refused: mailbox.stats().refused,
            mail_refused_full: mailbox.stats().refused_full,
            mail_refused_busy: mailbox.stats().refused_busy,
            mail_refused_work: mailbox.stats().refused_work,
            mail_refused_token: mailbox.stats().refused_token,
            work_given_up: user.map_or(0, User::work_given_up_count),
            contact_count: node.contact_count(),
            record_count: node.record_count(),
            is_serving: node.is_serving(),
            is_surrounded: node.is_surrounded(),
            outbox_count: self.parts.engine.outbox_count(),
            link_count: self.parts.carrier.link_count(),
            connection_count: self.parts.carrier.connection_count(),
            requests_sent: node.stats().requests,
            searches_ended: node.stats().lookups_ended,
            search_hops: node.stats().lookup_hops,
            refused_records: node.stats().refused_records,
            datagrams_sent: transport.datagrams_out + streams.datagrams_out,
            datagrams_received: transport.datagrams_in + streams.datagrams_in,
            bytes_sent: transport.bytes_out + streams.bytes_out,
            bytes_received: transport.bytes_in + streams.bytes_in,
            mail_dropped: user.map_or(0, User::dropped_mail_count),
            blocked: user.map_or(0, User::blocked_count),
            requests_refused: user.map_or(0, User::refused_request_count),
            hints_dropped: user.map_or(0, User::dropped_hint_count),
            requests_too_fast: transport.dropped_too_fast + streams.dropped_too_fast,
            requests_busy: self.parts.engine.busy_count(),
            requests_forgotten: transport.requests_forgotten,
            events_dropped: self.parts.events.dropped_count(),
            dropped: self.dropped
                + user.map_or(0, User::malformed_count)
                + transport.dropped()
                + streams.dropped()
                + self.unsent.dropped_count(),
        }
    }
}
