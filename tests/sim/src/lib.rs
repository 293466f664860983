//! A deterministic simulator: peerchat's real machines on virtual time, without sockets, threads or encryption.
//!
//! [`Network`] runs whole engines, with people and disks, as they run under tokio; a disk is a naive model of one, or the
//! SQLite file of a real client beside it ([`Profile`]), which must say the same each time it is opened. [`Swarm`] runs bare nodes of the
//! DHT, light enough for a hundred thousand of them. Both share the [`Link`] (latency, loss, duplication,
//! reordering), the faults (partitions, NATs, [`Churn`]) and the adversaries ([`Behaviour`]), who are hosts without
//! an engine. A run with the same seed is the same run; one that fails prints its seed and step.

mod adversary;
mod counting;
mod disk;
mod faults;
mod link;
pub mod model;
mod network;
mod profile;
mod queue;
pub mod story;
mod swarm;
mod takeover;

pub use adversary::{Behaviour, Lie, Pretence, grind_key};
pub use counting::Counting;
pub use disk::Disk;
pub use faults::{Churn, NAT_MAPPING_LIFETIME};
pub use link::{Latency, Link};
pub use network::{Host, Network};
pub use profile::Profile;
pub use swarm::{Addresses, Swarm, SwarmStats, Trace};
pub use takeover::{Pinned, Sight, Takeover};

/// When a request is sent again if it or its answer was lost, and when the call has failed, after the first try.
const RETRANSMISSIONS: [std::time::Duration; 3] = [
    std::time::Duration::from_millis(500),
    std::time::Duration::from_millis(1500),
    std::time::Duration::from_millis(3500),
];
