//! How [`User`] works for envelopes that are a stranger's to those who keep them: one at a time, elsewhere.

use super::machine::{User, UserAction};
use crate::mail::{Work, WorkId};
use crate::save::ConversationId;
use crate::time::Now;

/// What is being worked for.
#[derive(Debug, Default)]
pub(super) struct Working {
    last: u64,
    now: Option<(WorkId, Task)>,
    /// Searches that ended without a nonce, or were too much.
    given_up: u64,
}

/// An envelope that needs work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) conversation: ConversationId,
    /// The round of the depositor.
    pub(super) round: u64,
    pub(super) number: u64,
    pub(super) work: Work,
}

impl User {
    /// Works for the next envelope that needs it, unless that is being done for another one.
    pub(super) fn work(&mut self) {
        if self.post.working.now.is_some() {
            return;
        }
        let tasks = self.post.depositors.iter();
        let Some(task) = tasks.filter_map(|(id, depositor)| depositor.next_task(*id)).next() else { return };
        self.post.working.last += 1;
        let id = WorkId(self.post.working.last);
        self.post.working.now = Some((id, task));
        self.act(UserAction::Work { id, work: task.work });
    }

    /// Takes what came of work, `None` if nothing did.
    pub fn handle_worked(&mut self, id: WorkId, nonce: Option<u64>, now: Now) {
        let Some((_, task)) = self.post.working.now.take_if(|(working, _)| *working == id) else { return };
        self.post.working.given_up += u64::from(nonce.is_none());
        self.handle_worked_for(task, nonce, now);
        self.work();
    }

    /// Counts that an envelope was not left with somebody because of the work that they asked for.
    pub(super) fn note_given_up(&mut self) {
        self.post.working.given_up += 1;
    }

    /// Returns how often an envelope was not left with somebody because of the work that they asked for.
    #[must_use]
    pub fn work_given_up_count(&self) -> u64 {
        self.post.working.given_up
    }
}
