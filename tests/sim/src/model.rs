//! Naive models: what is right, said so simply that it cannot be wrong.

use std::collections::BTreeMap;

use peerchat_core::kademlia::{Contact, NodeId};

use crate::{Host, Network};

/// Returns the contacts closest to a place, nearest first, by looking at all of them.
#[must_use]
pub fn closest(contacts: &[Contact], place: &NodeId, count: usize) -> Vec<Contact> {
    let mut found: Vec<_> = contacts.iter().map(|contact| (contact.id().distance(place), *contact)).collect();
    if found.len() > count && count > 0 {
        found.select_nth_unstable_by_key(count - 1, |(distance, _)| *distance);
    }
    found.truncate(count);
    found.sort_unstable_by_key(|(distance, _)| *distance);
    found.into_iter().map(|(_, contact)| contact).collect()
}

/// What people wrote to one another, and so what each must see: every text once, in the order of its writer.
#[derive(Debug, Default)]
pub struct Conversations {
    names: BTreeMap<Host, String>,
    written: BTreeMap<(Host, Host), Vec<String>>,
}

impl Conversations {
    /// Starts with people who have written nothing.
    #[must_use]
    pub fn between(people: &[(Host, &str)]) -> Self {
        let names = people.iter().map(|(host, name)| (*host, (*name).to_owned())).collect();
        Self { names, written: BTreeMap::new() }
    }

    /// Lets one write to another, who need not be there.
    pub fn write(&mut self, net: &mut Network, from: Host, to: Host) {
        let texts = self.written.entry((from, to)).or_default();
        let text = format!("{} from {}", texts.len(), self.names[&from]);
        net.send(from, &self.names[&to], &text);
        texts.push(text);
    }

    /// Checks that nobody has seen anything twice, out of order or invented, at any time.
    ///
    /// # Panics
    ///
    /// Somebody has.
    pub fn check(&self, net: &Network) {
        for ((from, to), written) in &self.written {
            let seen = self.seen(net, *from, *to);
            assert!(written.starts_with(&seen), "{to:?} saw {seen:?} of {from:?}, who wrote {written:?}");
        }
    }

    /// Checks that everybody has seen everything.
    ///
    /// # Panics
    ///
    /// Somebody has not.
    pub fn check_complete(&self, net: &Network) {
        for ((from, to), written) in &self.written {
            assert_eq!(self.seen(net, *from, *to), *written, "{from:?} wrote to {to:?}");
        }
    }

    fn seen(&self, net: &Network, from: Host, to: Host) -> Vec<String> {
        let is_own = |text: &&Vec<u8>| text.ends_with(format!(" from {}", self.names[&from]).as_bytes());
        let received = net.disk(to).messages().iter().filter(|message| message.state.is_none());
        let texts = received.map(|message| &message.body).filter(is_own);
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}
