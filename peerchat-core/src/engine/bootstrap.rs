//! [`Bootstrap`]: one bootstrap call, from an address to the first lookup of the own id.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::error::ErrorCode;
use crate::kademlia::{Contact, NodeKey};

/// What a bootstrap call does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BootstrapStep {
    /// Ask the node at this address for its key.
    Probe(SocketAddr),
    /// Look the own id up through this contact.
    Join(Contact),
    /// Nobody can be reached.
    Fail(ErrorCode),
}

/// One bootstrap call. A name may have several addresses: they are tried one after another.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    /// The address as it was given.
    pub(crate) text: String,
    /// The key that the node must have, if the address named one.
    key: Option<NodeKey>,
    untried: VecDeque<SocketAddr>,
    /// The contact that was last joined through.
    pub(crate) joining: Option<Contact>,
    /// Whether that contact has answered.
    pub(crate) has_answered: bool,
    /// The key that a node at one of the addresses has instead of `key`.
    has_met_other: bool,
}

impl Bootstrap {
    pub(crate) fn new(text: String, addresses: Vec<SocketAddr>, key: Option<NodeKey>) -> Self {
        Self {
            text,
            key,
            untried: addresses.into(),
            joining: None,
            has_answered: false,
            has_met_other: false,
        }
    }

    /// Turns to the next address.
    pub(crate) fn next_step(&mut self) -> BootstrapStep {
        let failure = if self.has_met_other { ErrorCode::WrongKey } else { ErrorCode::Unreachable };
        let Some(address) = self.untried.pop_front() else { return BootstrapStep::Fail(failure) };
        match self.key {
            Some(key) => self.join(key, address),
            None => BootstrapStep::Probe(address),
        }
    }

    /// Takes the key of the node at `address`, or that nobody answered there.
    pub(crate) fn handle_probed(&mut self, address: SocketAddr, found: Option<NodeKey>) -> BootstrapStep {
        match (self.key, found) {
            (None, Some(key)) => self.join(key, address),
            (Some(wanted), Some(key)) => {
                self.has_met_other |= key != wanted;
                self.next_step()
            }
            (_, None) => self.next_step(),
        }
    }

    /// Takes that the node could not be joined through. With a pinned key, asks which key is there instead.
    pub(crate) fn handle_join_failed(&mut self) -> BootstrapStep {
        match (self.key, self.joining.take()) {
            (Some(_), Some(contact)) => BootstrapStep::Probe(contact.address()),
            _ => self.next_step(),
        }
    }

    fn join(&mut self, key: NodeKey, address: SocketAddr) -> BootstrapStep {
        let contact = Contact::new(key, address);
        self.joining = Some(contact);
        self.has_answered = false;
        BootstrapStep::Join(contact)
    }
}

/// Says what went wrong and what to do about it.
pub(crate) fn failure_detail(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::WrongKey => {
            "the node there has another key than the address says; ask its operator for the right one"
        }
        ErrorCode::InvalidAddress => "this is the node's own address; give the address of another node",
        _ => {
            "no node of this network answers there; check host, port and network name, and that it is running"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_bare_address_is_probed_and_then_joined_through() {
        let mut bootstrap = Bootstrap::new("x".into(), vec![address(1), address(2)], None);
        assert_eq!(bootstrap.next_step(), BootstrapStep::Probe(address(1)));
        assert_eq!(bootstrap.handle_probed(address(1), None), BootstrapStep::Probe(address(2)));
        let key = NodeKey::from_bytes([1; 32]);
        let contact = Contact::new(key, address(2));
        assert_eq!(bootstrap.handle_probed(address(2), Some(key)), BootstrapStep::Join(contact));
        assert_eq!(bootstrap.handle_join_failed(), BootstrapStep::Fail(ErrorCode::Unreachable));
    }

    #[test]
    fn a_pinned_key_is_told_from_another_one() {
        let (key, other) = (NodeKey::from_bytes([1; 32]), NodeKey::from_bytes([2; 32]));
        let mut bootstrap = Bootstrap::new("x".into(), vec![address(1)], Some(key));
        assert_eq!(bootstrap.next_step(), BootstrapStep::Join(Contact::new(key, address(1))));
        assert_eq!(bootstrap.handle_join_failed(), BootstrapStep::Probe(address(1)));
        assert_eq!(
            bootstrap.handle_probed(address(1), Some(other)),
            BootstrapStep::Fail(ErrorCode::WrongKey)
        );
    }
}
