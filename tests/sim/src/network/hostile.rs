//! Hosts of a network that behave badly, and what is done with them.

use peerchat_core::kademlia::{NodeId, NodeKey, Record, Rpc};

use super::{Host, Network};
use crate::adversary::{Behaviour, Lie, Pretence, grind_key, hello};

impl Network {
    /// Adds a host that behaves badly, known to `victims`: it has said hello to each.
    pub fn add_adversary(&mut self, behaviour: Behaviour, victims: &[Host]) -> Host {
        let host = self.add(None);
        let contact = self.conspiracy.honest.pop().expect("it was just added");
        self.conspiracy.members.push(contact);
        self.kill(host);
        self.machines[host.0].behaviour = Some(behaviour);
        for victim in victims {
            self.send_unsolicited(host, *victim, hello(contact.id()));
        }
        host
    }

    /// Adds a host that is after a name, with a key whose id lies where it was wanted, known to `victims`.
    pub fn add_usurper(&mut self, key: NodeKey, victims: &[Host]) -> Host {
        let host = self.add_adversary(Behaviour::Usurper, &[]);
        self.machines[host.0].key = key;
        let contact = self.contact(host);
        if let Some(member) = self.conspiracy.members.last_mut() {
            *member = contact;
        }
        for victim in victims {
            self.send_unsolicited(host, *victim, hello(contact.id()));
        }
        host
    }

    /// Lets usurpers work for the person of this host: they have the records that it has signed.
    pub fn conspire_for(&mut self, rival: Host) {
        let records = self.machines[rival.0].disk.saved().own_records;
        self.conspiracy.rival = records.iter().filter_map(|bytes| Record::parse(bytes).ok()).collect();
    }

    /// Lets an adversary ask a host to keep what the rival has signed.
    pub fn press(&mut self, adversary: Host, victim: Host) {
        for record in self.conspiracy.rival.clone() {
            self.send_unsolicited(adversary, victim, Rpc::Store { record: record.as_bytes().to_vec() });
        }
    }

    /// Draws a key whose id shares its first `bit_count` bits with `target`.
    pub fn grind_key(&mut self, target: &NodeId, bit_count: usize) -> NodeKey {
        grind_key(target, bit_count, &mut self.rng)
    }

    /// Lets somebody have the keys and the address of a host who behaves as they please; its engine ends.
    pub fn take_over(&mut self, host: Host, behaviour: Behaviour) {
        self.kill(host);
        self.machines[host.0].behaviour = Some(behaviour);
    }

    /// Lets a host lie from now on in what it answers.
    pub fn let_lie(&mut self, host: Host, lie: Lie) {
        self.machines[host.0].lie = Some(lie);
    }

    /// Lets a host answer some requests from now on without letting its engine know.
    pub fn let_pretend(&mut self, host: Host, pretence: Pretence) {
        self.machines[host.0].pretence = Some(pretence);
    }
}
