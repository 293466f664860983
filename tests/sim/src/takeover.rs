//! [`Takeover`]: a name that somebody has, a rival who claims it, and Sybils beside it who work for the rival.

use std::time::Duration;

use peerchat_core::event::{Event, MessageState};
use peerchat_core::identity::UserId;
use peerchat_core::kademlia::{CLAIM_REMEMBERED_AFTER, RecordKey};
use peerchat_core::user::LookupError;

use crate::network::{Host, Network};

/// The name that is attacked.
const NAME: &str = "victim";

/// How many first bits of a Sybil's id are those of the name's key: about 2^16 keys are drawn for each.
const GROUND_BITS: usize = 16;

/// How long the Sybils are there before anybody looks: within it everybody republishes once.
const SIEGE: Duration = Duration::from_secs(70 * 60);

/// How often the Sybils press the rival's records on everybody.
const PRESSURE_PAUSE: Duration = Duration::from_secs(10 * 60);

/// How long messages are given to arrive.
const DELIVERY: Duration = Duration::from_secs(10 * 60);

/// What somebody sees who looks the name up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sight {
    /// The one who has it.
    Right,
    /// That the answers disagree.
    Contested,
    /// The rival.
    Wrong,
    /// Nobody.
    Nobody,
}

/// What became of somebody who had met the holder before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pinned {
    /// The conversation belongs to the one who was met.
    pub is_kept: bool,
    /// What was written during the attack has reached that one.
    pub is_delivered: bool,
    /// The rival has got something of it.
    pub is_betrayed: bool,
    /// The application was told that the name belongs to somebody else now.
    pub is_told: bool,
}

/// A network in which a name is attacked.
#[derive(Debug)]
pub struct Takeover {
    net: Network,
    victim: Host,
    rival: Host,
    /// Have met the victim.
    contacts: Vec<Host>,
    /// Have not.
    strangers: Vec<Host>,
}

impl Takeover {
    /// Makes a network of `honest` people beside the victim, whose name has been there for hours, and whom the first
    /// `contact_count` have met.
    ///
    /// # Panics
    ///
    /// There are fewer than two people, or fewer than `contact_count`.
    #[must_use]
    pub fn prepare(seed: u64, honest: usize, contact_count: usize) -> Self {
        let mut net = Network::with_seed(seed);
        let people: Vec<Host> = (0..honest).map(|number| net.join(&format!("user{number}"))).collect();
        let victim = net.join(NAME);
        net.run_for(Duration::from_secs(60));
        let (contacts, strangers) = people.split_at(contact_count);
        for contact in contacts {
            let met = net.send(*contact, NAME, "hello");
            net.run_for(Duration::from_secs(5));
            assert_eq!(
                net.state(*contact, met),
                Some(MessageState::Delivered),
                "{contact:?} meets the victim"
            );
        }
        net.run_for(CLAIM_REMEMBERED_AFTER + Duration::from_secs(600));
        Self { rival: victim, victim, contacts: contacts.to_vec(), strangers: strangers.to_vec(), net }
    }

    /// Lets a rival claim the name, and `sybil_count` Sybils work for them, for more than an hour.
    pub fn attack(&mut self, sybil_count: usize) {
        let net = &mut self.net;
        self.rival = net.join(NAME);
        net.run_for(Duration::from_secs(60));
        net.conspire_for(self.rival);
        let place = RecordKey::of_name(NAME).place();
        let honest: Vec<Host> = self.contacts.iter().chain(&self.strangers).copied().collect();
        let sybils: Vec<Host> = (0..sybil_count)
            .map(|_| {
                let key = net.grind_key(&place, GROUND_BITS);
                net.add_usurper(key, &honest)
            })
            .collect();
        for _ in 0..SIEGE.as_secs() / PRESSURE_PAUSE.as_secs() {
            // Whoever presses proves again that they are there.
            let pairs = sybils.iter().flat_map(|sybil| honest.iter().map(|host| (*sybil, *host)));
            pairs.for_each(|(sybil, host)| net.press(sybil, host));
            net.run_for(PRESSURE_PAUSE);
        }
    }

    /// Returns those who have not met the victim.
    #[must_use]
    pub fn strangers(&self) -> &[Host] {
        &self.strangers
    }

    /// Lets somebody look the name up.
    pub fn look(&mut self, host: Host) -> Sight {
        match self.net.lookup(host, NAME) {
            Ok(found) if found.user == self.user(self.victim) => Sight::Right,
            Ok(_) => Sight::Wrong,
            Err(LookupError::Contested(_)) => Sight::Contested,
            Err(LookupError::Unknown | LookupError::Offline) => Sight::Nobody,
        }
    }

    /// Lets the victim move to another address, everybody who has met them look the name up and write to it, and
    /// returns what became of each.
    ///
    /// # Panics
    ///
    /// A machine is off.
    pub fn write_to_victim(&mut self) -> Vec<Pinned> {
        self.net.stop(self.victim);
        self.net.move_away(self.victim);
        self.net.start(self.victim);
        self.net.run_for(Duration::from_secs(60));
        let contacts = self.contacts.clone();
        let sent: Vec<_> = contacts
            .iter()
            .map(|contact| {
                self.look(*contact);
                (*contact, self.net.send(*contact, NAME, &format!("from {}", contact.0)))
            })
            .collect();
        self.net.run_for(DELIVERY);
        let is_told = |event: &Event| matches!(event, Event::IdentityChanged { .. });
        sent.into_iter()
            .map(|(contact, message)| Pinned {
                is_kept: self.pinned(contact) == Some(self.user(self.victim)),
                is_delivered: self.net.state(contact, message) == Some(MessageState::Delivered)
                    && self.has_got(self.victim, contact),
                is_betrayed: self.has_got(self.rival, contact),
                is_told: self.net.events(contact).iter().any(is_told),
            })
            .collect()
    }

    /// Tells whether the victim was told that the name is somebody else's.
    #[must_use]
    pub fn is_victim_refused(&self) -> bool {
        let is_refusal = |event: &Event| matches!(event, Event::RegistrationFailed { .. });
        self.net.events(self.victim).iter().any(is_refusal)
    }

    fn user(&self, host: Host) -> UserId {
        self.net.engine(host).and_then(peerchat_core::engine::Engine::user_id).expect("the machine is on")
    }

    /// Returns whom the plain name means on the disk of a host.
    fn pinned(&self, host: Host) -> Option<UserId> {
        let conversations = self.net.disk(host).saved().conversations;
        conversations.iter().find(|conversation| conversation.peer == NAME)?.user
    }

    fn has_got(&self, host: Host, from: Host) -> bool {
        let text = format!("from {}", from.0);
        host != from && self.net.texts(host).iter().any(|(_, got)| *got == text)
    }
}
