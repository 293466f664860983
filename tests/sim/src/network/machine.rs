//! [`Machine`]: one host of a network, and what can happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use peerchat_core::Error;
use peerchat_core::engine::{Engine, EngineCall, EngineConfig};
use peerchat_core::event::{CommandId, Event, MessageId};
use peerchat_core::kademlia::NodeKey;
use peerchat_core::mail::WorkId;
use peerchat_core::save::{BatchId, Found, Read, ReadId, Saved};
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::{CallId, ProbeId, ThrowawayId};
use peerchat_core::user::{FoundUser, LookupError};
use peerchat_core::wire::{Request, Response};

use super::Host;
use crate::adversary::{Behaviour, Lie, Pretence};
use crate::disk::Disk;
use crate::faults::Churn;
use crate::profile::Profile;

/// What happens to one host at one time.
#[derive(Debug)]
pub(super) enum Happening {
    Request {
        from: Host,
        id: CallId,
        request: Request,
        throwaway: Option<ThrowawayId>,
    },
    Response {
        id: CallId,
        from: Host,
        response: Response,
        asked: Instant,
    },
    Retransmit {
        call: EngineCall,
        attempt: usize,
        asked: Instant,
    },
    Probe {
        id: ProbeId,
        from: Host,
    },
    Probed {
        id: ProbeId,
        key: Option<NodeKey>,
    },
    Written(BatchId),
    Read(ReadId, Read),
    Worked(WorkId, Option<u64>),
    Timeout,
    /// A session or an absence ends.
    Churn,
}

/// Something that will happen, unless the host has been started again by then.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) host: Host,
    pub(super) run: u64,
    pub(super) happening: Happening,
}

/// One machine: a disk, an address, and an engine while it runs.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) engine: Option<Engine>,
    /// What it does instead of running an engine.
    pub(super) behaviour: Option<Behaviour>,
    /// What it makes of its engine's answers, and the requests that it has not answered yet.
    pub(super) lie: Option<Lie>,
    pub(super) heard: BTreeMap<u64, Request>,
    /// What it answers without its engine.
    pub(super) pretence: Option<Pretence>,
    /// Counts starts, so that what was under way for an earlier run is not taken by a later one.
    pub(super) run: u64,
    pub(super) config: EngineConfig,
    pub(super) disk: Disk,
    /// Where the same is on a real disk, if it is.
    pub(super) profile: Option<Profile>,
    /// Why the disk has ended it.
    pub(super) failure: Option<Error>,
    pub(super) address: SocketAddr,
    pub(super) key: NodeKey,
    pub(super) pending: BTreeSet<CallId>,
    pub(super) open_requests: BTreeMap<u64, (Host, u64, CallId, Instant)>,
    pub(super) events: Vec<Event>,
    pub(super) saved: BTreeSet<MessageId>,
    pub(super) decided: BTreeSet<CommandId>,
    pub(super) found: BTreeMap<CommandId, Result<FoundUser, LookupError>>,
    /// Requests made for a test, and their answers.
    pub(super) asked: BTreeMap<CallId, Option<Response>>,
    /// Under which keys envelopes, and records under throwaway keys, have come.
    pub(super) depositors: BTreeSet<NodeKey>,
    /// How many WAITING requests have arrived.
    pub(super) announced: u64,
    pub(super) timeout: Option<Instant>,
    pub(super) churn: Option<Churn>,
    /// How far its wall clock is ahead.
    pub(super) ahead_ms: i64,
}

impl Machine {
    pub(super) fn new(config: EngineConfig, disk: Disk, address: SocketAddr, key: NodeKey) -> Self {
        Self {
            engine: None,
            behaviour: None,
            lie: None,
            heard: BTreeMap::new(),
            pretence: None,
            run: 0,
            config,
            disk,
            profile: None,
            failure: None,
            address,
            key,
            pending: BTreeSet::new(),
            open_requests: BTreeMap::new(),
            events: Vec::new(),
            saved: BTreeSet::new(),
            decided: BTreeSet::new(),
            found: BTreeMap::new(),
            asked: BTreeMap::new(),
            depositors: BTreeSet::new(),
            announced: 0,
            timeout: None,
            churn: None,
            ahead_ms: 0,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.engine.is_some() || self.behaviour.is_some()
    }

    /// Opens what is on the disk. A real one must hold what the model does.
    pub(super) fn open(&mut self) -> Result<Saved, Error> {
        let Some(profile) = &mut self.profile else { return Ok(self.disk.saved()) };
        let (disk, saved) = profile.open(self.disk.keys())?;
        let (found, expected) = (disk.rows(), self.disk.rows());
        let differences: Vec<&String> = found.symmetric_difference(&expected).collect();
        assert!(differences.is_empty(), "the profile holds something else: {differences:#?}");
        Ok(saved)
    }

    /// Puts the batch that is under way on disk.
    pub(super) fn commit(&mut self, id: BatchId) -> Result<(), Error> {
        if let Some((profile, batch)) = self.profile.as_ref().zip(self.disk.writing()) {
            profile.write(batch.clone())?;
        }
        self.disk.commit(id);
        Ok(())
    }

    /// Reads something that was saved.
    pub(super) fn read(&self, what: Read) -> Found {
        self.profile.as_ref().map_or_else(|| self.disk.read(what), |profile| profile.read(what))
    }

    /// Ends the engine; what was being written is lost.
    pub(super) fn end(&mut self) {
        self.engine = None;
        self.disk.cut();
        self.pending.clear();
        self.open_requests.clear();
        self.timeout = None;
    }

    /// Returns what the clocks of this machine show.
    pub(super) fn clock(&self, now: Now) -> Now {
        let wall = Timestamp::from_unix_ms(now.wall.unix_ms().saturating_add_signed(self.ahead_ms));
        Now { wall, ..now }
    }
}
