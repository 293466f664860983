//! [`Writer`]: the one thread that writes the profiles of this process.
//!
//! A sync costs far more than the writes before it, so the thread takes whatever waits and syncs once for each
//! profile among it.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::{iter, thread};

use parking_lot::Mutex;

use super::failure::Failure;
use super::sqlite::Profile;
use crate::error::Error;
use crate::save::{BatchId, WriteBatch};

/// How many jobs wait at most; who sends another one waits for the disk.
pub(super) const QUEUE_LEN: usize = 1024;

/// How many jobs are written together at most.
const ROUND_LEN: usize = QUEUE_LEN;

/// The thread while it runs; it ends with the last profile that is open.
static RUNNING: Mutex<Weak<Writer>> = Mutex::new(Weak::new());

/// Is told what became of a batch.
pub(super) type Done = Box<dyn FnOnce(BatchId, Result<(), Error>) + Send>;

/// Something for the thread to do.
pub(super) enum Job {
    /// Write a batch.
    Write {
        /// Where to.
        profile: Arc<Profile>,
        /// What.
        batch: WriteBatch,
        /// Whom to tell.
        done: Done,
    },
    /// Take some messages into the index of words.
    Index {
        /// Whose.
        profile: Arc<Profile>,
        /// Whom to tell.
        done: SyncSender<Result<(), Error>>,
    },
    /// Give up the file and its lock.
    Close {
        /// Whose.
        profile: Arc<Profile>,
        /// Whom to tell.
        released: SyncSender<()>,
    },
}

/// The way to the thread.
pub(super) struct Writer {
    jobs: SyncSender<Job>,
}

impl Writer {
    /// Returns the writer of this process; starts its thread if none runs.
    pub(super) fn shared() -> Result<Arc<Self>, Failure> {
        let mut running = RUNNING.lock();
        if let Some(writer) = running.upgrade() {
            return Ok(writer);
        }
        let (jobs, queue) = sync_channel(QUEUE_LEN);
        thread::Builder::new()
            .name("peerchat-storage".to_owned())
            .spawn(move || run(&queue))
            .map_err(|error| Failure::of_file("start the writer thread", &error))?;
        let writer = Arc::new(Self { jobs });
        *running = Arc::downgrade(&writer);
        Ok(writer)
    }

    /// Hands over a job; waits while the queue is full.
    pub(super) fn send(&self, job: Job) {
        self.jobs.send(job).expect("the thread runs as long as a profile holds its writer");
    }
}

/// The jobs of one profile in one round.
struct Group {
    profile: Arc<Profile>,
    batches: Vec<WriteBatch>,
    dones: Vec<Done>,
    indexing: Vec<SyncSender<Result<(), Error>>>,
    released: Vec<SyncSender<()>>,
}

fn run(queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut round = BTreeMap::new();
        for job in iter::once(first).chain(queue.try_iter()).take(ROUND_LEN) {
            sort_in(&mut round, job);
        }
        round.into_values().for_each(Group::finish);
    }
}

/// Adds a job to the group of its profile, which is found by its address.
fn sort_in(round: &mut BTreeMap<usize, Group>, job: Job) {
    let (Job::Write { profile, .. } | Job::Index { profile, .. } | Job::Close { profile, .. }) = &job;
    let group = round.entry(Arc::as_ptr(profile) as usize).or_insert_with(|| Group::new(profile));
    match job {
        Job::Write { batch, done, .. } => {
            group.batches.push(batch);
            group.dones.push(done);
        }
        Job::Index { done, .. } => group.indexing.push(done),
        Job::Close { released, .. } => group.released.push(released),
    }
}

impl Group {
    fn new(profile: &Arc<Profile>) -> Self {
        let (batches, dones, indexing, released) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { profile: Arc::clone(profile), batches, dones, indexing, released }
    }

    /// Writes the batches, tells the outcome, indexes one step for whoever waits for it, then closes the profile if that was asked for.
    ///
    /// A batch that came after the close is written too; whoever sent it did not know of the close.
    fn finish(self) {
        let Self { profile, batches, dones, indexing, released } = self;
        if !batches.is_empty() {
            let (written, failure) = profile.commit(&batches);
            for (index, (batch, done)) in batches.into_iter().zip(dones).enumerate() {
                let failed = failure.clone().filter(|_| index >= written);
                tell(done, batch.id, failed.map_or(Ok(()), |failure| Err(profile.error(failure))));
            }
        }
        if !indexing.is_empty() {
            let indexed = profile.index();
            for waiting in indexing {
                // Nobody waits any more: the one who asked is gone.
                let _ = waiting.send(indexed.clone().map_err(|failure| profile.error(failure)));
            }
        }
        if !released.is_empty() {
            profile.release();
        }
        for waiting in released {
            // Nobody waits any more: the one who asked is gone.
            let _ = waiting.send(());
        }
    }
}

/// Runs a callback; a panic in it is its own affair.
fn tell(done: Done, id: BatchId, result: Result<(), Error>) {
    if panic::catch_unwind(AssertUnwindSafe(|| done(id, result))).is_err() {
        tracing::error!(batch = id.0, "the callback of a batch panicked");
    }
}
