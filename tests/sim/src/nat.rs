//! Machines behind a NAT: nothing gets in from an address to which nothing went out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use peerchat_core::engine::Engine;

use crate::{Host, Network};

/// How long a NAT lets packets of an address in after the last one to it.
const MAPPING_LIFETIME: Duration = Duration::from_secs(120);

/// The filter of one NAT: endpoint-independent mapping, address-dependent filtering (RFC 4787).
#[derive(Debug, Default)]
pub(crate) struct Nat {
    /// When something last went out to an address.
    sent: BTreeMap<IpAddr, Instant>,
}

impl Nat {
    fn admits(&self, from: IpAddr, now: Instant) -> bool {
        self.sent.get(&from).is_some_and(|at| now.saturating_duration_since(*at) < MAPPING_LIFETIME)
    }
}

impl Network {
    /// Adds a machine behind a NAT with a new profile and starts it.
    pub fn add_behind_nat(&mut self, name: Option<&str>) -> Host {
        let host = self.add(name);
        self.machines[host.0].nat = Some(Nat::default());
        host
    }

    /// Moves a machine to another address, behind a NAT.
    pub fn hide(&mut self, host: Host) {
        self.move_away(host);
        self.machines[host.0].nat = Some(Nat::default());
    }

    /// Returns the engine of a machine that is on.
    #[must_use]
    pub fn engine(&self, host: Host) -> Option<&Engine> {
        self.machines[host.0].engine.as_ref()
    }

    /// Tells whether a packet gets through, and lets the answer in.
    pub(crate) fn passes_nats(&mut self, from: Host, to: Host) -> bool {
        let now = self.now.instant;
        let [source, target] = [from, to].map(|host| self.machines[host.0].address.ip());
        if let Some(nat) = &mut self.machines[from.0].nat {
            nat.sent.insert(target, now);
        }
        self.machines[to.0].nat.as_ref().is_none_or(|nat| nat.admits(source, now))
    }
}
