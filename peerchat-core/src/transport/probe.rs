//! Asking the node at a bare address for its key.

use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng as _;

use super::packet::{NETWORK_TAG_LEN, PROBE_NONCE_LEN, key_reply, key_request};
use super::timers::Timer;
use super::{INITIAL_RTO, MAX_TRANSMISSIONS, ProbeId, Transport, TransportEvent, canonical};
use crate::kademlia::NodeKey;
use crate::time::Now;

/// A KEY_REQUEST without an answer yet.
#[derive(Debug)]
pub(super) struct PendingProbe {
    address: SocketAddr,
    nonce: [u8; PROBE_NONCE_LEN],
    transmissions: u8,
}

impl Transport {
    /// Asks the node at `address` for its key; [`TransportEvent::KeyFound`] or [`TransportEvent::ProbeFailed`] follows.
    pub fn probe(&mut self, id: ProbeId, address: SocketAddr, now: Now) {
        let mut nonce = [0; PROBE_NONCE_LEN];
        self.rng.fill_bytes(&mut nonce);
        self.probes.insert(id, PendingProbe { address: canonical(address), nonce, transmissions: 0 });
        self.on_probe_timeout(id, now.instant);
    }

    /// Sends the request of a probe, or gives up.
    pub(super) fn on_probe_timeout(&mut self, id: ProbeId, now: Instant) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        if probe.transmissions == MAX_TRANSMISSIONS {
            self.probes.remove(&id);
            self.events.push_back(TransportEvent::ProbeFailed { probe: id });
            return;
        }
        let wait = INITIAL_RTO * (1 << probe.transmissions);
        self.stats.retransmissions += u64::from(probe.transmissions > 0);
        probe.transmissions += 1;
        let (address, request) = (probe.address, key_request(&self.network_tag, &probe.nonce));
        self.timers.set(Timer::Probe(id), now + wait);
        self.transmit(address, request);
    }

    /// Answers a KEY_REQUEST of our network.
    pub(super) fn on_key_request(
        &mut self,
        from: SocketAddr,
        network: [u8; NETWORK_TAG_LEN],
        nonce: &[u8; PROBE_NONCE_LEN],
        now: Instant,
    ) {
        if network != self.network_tag {
            self.stats.dropped_other_network += 1;
            return;
        }
        self.arm_sweep(now);
        if self.allowances.admits_key_reply(from, now) {
            self.transmit(from, key_reply(nonce, self.local.key().as_bytes()));
        } else {
            self.stats.dropped_rate_limited += 1;
        }
    }

    /// Ends the probe that a KEY_REPLY answers.
    pub(super) fn on_key_reply(&mut self, nonce: [u8; PROBE_NONCE_LEN], key: NodeKey) {
        let asked = self.probes.iter().find(|(_, probe)| probe.nonce == nonce);
        let Some((id, address)) = asked.map(|(id, probe)| (*id, probe.address)) else {
            self.stats.dropped_unasked += 1;
            return;
        };
        if key.check().is_err() {
            self.stats.dropped_bad_key += 1;
            return;
        }
        self.probes.remove(&id);
        self.timers.remove(Timer::Probe(id));
        self.events.push_back(TransportEvent::KeyFound { probe: id, address, key });
    }
}
