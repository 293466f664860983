//! Search over history.

use super::{Client, HistoryEntry, MAX_HISTORY_PAGE};
use crate::error::Error;
use crate::identity::Recipient;
use crate::search::Query;

impl Client {
    /// Returns up to `limit` messages that hold every word of `words`, the latest first, before history position `before`
    /// (`None`: from the end); of the conversation with `peer`, or of all. At most [`MAX_HISTORY_PAGE`] at once; the
    /// position of the last entry of a page is `before` of the next, and a page with fewer than `limit` is the last.
    ///
    /// Case and accents do not count, and `*` right after a word stands for whatever ends it: `trai* zurich` finds "The
    /// train to Zürich". Nothing else has a meaning of its own. See [`Query`].
    ///
    /// Reads the disk on the calling thread. The first search of a profile, and the first after many messages, indexes what
    /// is new: some 30 microseconds a message.
    ///
    /// # Errors
    ///
    /// There is no word in `words`, or too many; the name breaks the rules, the disk refused, there is no user, or the
    /// client is closed.
    pub fn search(
        &self,
        words: &str,
        peer: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, Error> {
        let query = Query::parse(words)?;
        let peer = peer.map(Recipient::parse).transpose()?;
        if self.handle.user.is_none() {
            return Err(Error::NoUser);
        }
        let conversation = match peer {
            None => None,
            Some(peer) => match self.conversation(&peer)? {
                Some(conversation) => Some(conversation.id),
                None => return Ok(Vec::new()),
            },
        };
        let limit = limit.min(MAX_HISTORY_PAGE);
        let found = self.open_store()?.search(&query, conversation, before, limit)?.into_iter();
        Ok(found.filter_map(|(message, conversation)| self.history_entry(&conversation, message)).collect())
    }
}
