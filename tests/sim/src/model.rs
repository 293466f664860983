//! Naive models: what is right, said so simply that it cannot be wrong.

use std::collections::BTreeMap;

use peerchat_core::Error;
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
    /// How many texts were refused by the disks of their writers.
    refused: usize,
}

impl Conversations {
    /// Starts with people who have written nothing.
    #[must_use]
    pub fn between(people: &[(Host, &str)]) -> Self {
        let names = people.iter().map(|(host, name)| (*host, (*name).to_owned())).collect();
        Self { names, written: BTreeMap::new(), refused: 0 }
    }

    /// Lets one write to another, who need not be there.
    pub fn write(&mut self, net: &mut Network, from: Host, to: Host) {
        let texts = self.written.entry((from, to)).or_default();
        let text = format!("{} from {}", texts.len(), self.names[&from]);
        net.send(from, &self.names[&to], &text);
        texts.push(text);
    }

    /// Lets one who is there write to another. What the writer's disk refuses may never be seen.
    ///
    /// # Errors
    ///
    /// The disk of the writer refuses.
    pub fn try_write(&mut self, net: &mut Network, from: Host, to: Host) -> Result<(), Error> {
        let texts = self.written.entry((from, to)).or_default();
        let text = format!("{} from {}", texts.len(), self.names[&from]);
        let unlike_others = format!("{}th after what was refused, {text}", self.refused);
        let sent = net.try_send(from, &self.names[&to], &unlike_others);
        match &sent {
            Ok(_) => texts.push(unlike_others),
            Err(_) => self.refused += 1,
        }
        sent.map(|_| ())
    }

    /// Returns what one has written to another and was not refused, in order.
    #[must_use]
    pub fn written(&self, from: Host, to: Host) -> &[String] {
        self.written.get(&(from, to)).map_or(&[], Vec::as_slice)
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

    /// Returns what one has in history of another, in order.
    #[must_use]
    pub fn seen(&self, net: &Network, from: Host, to: Host) -> Vec<String> {
        let is_own = |text: &&Vec<u8>| text.ends_with(format!(" from {}", self.names[&from]).as_bytes());
        let received = net.disk(to).messages().iter().filter(|message| message.state.is_none());
        let texts = received.map(|message| &message.body).filter(is_own);
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}
