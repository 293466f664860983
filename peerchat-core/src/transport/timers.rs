//! [`Timer`]: what a deadline of a transport is for.

use super::ProbeId;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// The call with this request id was sent over a link and not answered yet.
    Call(u32),
    /// The handshake with this link index was not answered yet.
    Handshake(u32),
    /// The probe was not answered yet.
    Probe(ProbeId),
    /// The engine has not answered the early request with this token yet.
    EarlyAnswer(u64),
    /// Something short-lived is kept.
    Sweep,
}

impl Timer {
    /// Says what the timer is for.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Call(_) => "call retransmission",
            Self::Handshake(_) => "handshake retransmission",
            Self::Probe(_) => "key request retransmission",
            Self::EarlyAnswer(_) => "answer to an early request",
            Self::Sweep => "transport sweep",
        }
    }
}
