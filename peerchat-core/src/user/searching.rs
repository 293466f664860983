//! What [`User`] does with the answers of the directory.

use std::time::Duration;

use super::directory::{CLAIM_WITNESSES, Device, USER_WITNESSES, Verdict, devices, judge, newest};
use super::machine::{FoundUser, LookupError, SearchId, SearchOutcome, User};
use super::sender::Step;
use super::timers::Timer;
use crate::error::ErrorCode;
use crate::event::{CommandId, Event, MessageState};
use crate::identity::{Recipient, UserId, UserName};
use crate::kademlia::{AddressFamily, Contact, RecordKey, Scope};
use crate::save::{ConversationId, Relation, Write};
use crate::time::Now;

/// How many times a name must be found to be nobody's before its messages fail: its holder may just be joining.
const UNKNOWN_LIMIT: u32 = 7;

/// The pause after the first time; each further one is twice as long, so that the last time is about three seconds after
/// the first. Who joins at the same moment is found as soon as the name is registered.
const FIRST_UNKNOWN_PAUSE: Duration = Duration::from_millis(50);

/// What a search is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Who is the person of this conversation?
    Resolve(ConversationId),
    /// Where are the devices of the person of this conversation?
    Locate(ConversationId),
    /// Does the name of this conversation still belong to its person?
    Check(ConversationId),
    /// Does the name that this stranger gives belong to them?
    Vouch(UserId),
    /// Who keeps mail for the person of this conversation?
    Holders(ConversationId),
    /// Who keeps mail for us?
    OwnHolders,
    /// A lookup asked for by the application: who holds the name?
    FindHolder { command: CommandId, of: Recipient },
    /// The same lookup: where are that person's devices?
    FindDevices { command: CommandId, name: UserName, user: UserId },
}

impl User {
    /// Looks a name up for the application; [`super::Effect::Found`] follows with `command`.
    pub fn lookup(&mut self, command: CommandId, of: Recipient) {
        if *of.name() == self.config.name && of.admits(&self.id) {
            let (name, user) = (self.config.name.clone(), self.id);
            let addresses = self.registration.announced().to_vec();
            self.found(command, Ok(FoundUser { name, user, node: self.node.node_id(), addresses }));
        } else {
            let key = RecordKey::of_name(of.name().as_str());
            self.start_search(Purpose::FindHolder { command, of }, key, CLAIM_WITNESSES);
        }
    }

    /// Takes what a search found.
    pub fn handle_search(&mut self, id: SearchId, outcome: SearchOutcome, now: Now) {
        match self.searches.remove(&id) {
            Some(Purpose::Resolve(conversation)) => self.handle_resolved(conversation, &outcome, now),
            Some(Purpose::Locate(conversation)) => self.handle_located(conversation, outcome, now),
            Some(Purpose::Check(conversation)) => self.handle_checked(conversation, &outcome),
            Some(Purpose::Vouch(stranger)) => self.handle_vouched(stranger, &outcome, now),
            Some(Purpose::FindHolder { command, of }) => self.handle_holder(command, of, &outcome),
            Some(Purpose::FindDevices { command, name, user }) => {
                self.handle_devices(command, name, user, outcome)
            }
            Some(Purpose::Holders(_) | Purpose::OwnHolders) | None => {}
        }
    }

    pub(super) fn resolve(&mut self, conversation: ConversationId, of: &Recipient) {
        let key = RecordKey::of_name(of.name().as_str());
        self.start_search(Purpose::Resolve(conversation), key, CLAIM_WITNESSES);
    }

    pub(super) fn locate(&mut self, conversation: ConversationId, user: &UserId) {
        self.start_search(Purpose::Locate(conversation), RecordKey::of_user(user.as_bytes()), USER_WITNESSES);
    }

    pub(super) fn vouch(&mut self, stranger: UserId, name: &UserName) {
        self.start_search(Purpose::Vouch(stranger), RecordKey::of_name(name.as_str()), CLAIM_WITNESSES);
    }

    fn handle_resolved(&mut self, conversation: ConversationId, outcome: &SearchOutcome, now: Now) {
        let Some(peer) = self.people.get(conversation).map(|found| found.saved.peer.clone()) else { return };
        let Ok(peer) = Recipient::parse(&peer) else { return };
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        if sender.step != Step::Resolving {
            return;
        }
        sender.step = Step::Ready;
        match judge(&outcome.records, |user| peer.admits(user)) {
            Verdict::Held(key) => {
                sender.unknown_count = 0;
                self.note_checked(conversation, now);
                self.settle(conversation, UserId::of(&key), now);
            }
            Verdict::Unknown if outcome.answer_count == 0 => self.pause(conversation, now),
            Verdict::Unknown => self.handle_unknown(conversation, now),
            Verdict::Contested(holders) => {
                let name = peer.name().clone();
                self.tell(Event::NameContested { name, holders: holders.clone() });
                let names: Vec<String> = holders
                    .iter()
                    .map(|user| Recipient::exactly(peer.name().clone(), user).to_string())
                    .collect();
                let detail = format!(
                    "the network does not agree on who holds this name; write to one of {}",
                    names.join(", ")
                );
                self.fail_all(conversation, ErrorCode::NameContested, &detail);
            }
        }
    }

    fn handle_unknown(&mut self, conversation: ConversationId, now: Now) {
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        let pause = FIRST_UNKNOWN_PAUSE.saturating_mul(1 << sender.unknown_count.min(UNKNOWN_LIMIT));
        sender.unknown_count += 1;
        if sender.unknown_count < UNKNOWN_LIMIT {
            let jitter = self.jitter();
            if let Some(sender) = self.senders.get_mut(&conversation) {
                let until = sender.pause_for(pause, now.instant, jitter);
                self.set_timer(until, Timer::Retry(conversation));
            }
            return;
        }
        let detail =
            "nobody in the network goes by this name; check the spelling, or ask them to log in once";
        self.fail_all(conversation, ErrorCode::UnknownRecipient, detail);
    }

    /// Gives up every message of a conversation.
    fn fail_all(&mut self, conversation: ConversationId, code: ErrorCode, detail: &str) {
        let Some(mut sender) = self.remove_sender(conversation) else { return };
        self.finish(conversation, sender.take_all(), MessageState::Failed, Some((code, detail)));
    }

    /// Pauses the sender of a conversation after a failed attempt.
    pub(super) fn pause(&mut self, conversation: ConversationId, now: Now) {
        let jitter = self.jitter();
        if let Some(sender) = self.senders.get_mut(&conversation) {
            let until = sender.pause(now.instant, jitter);
            self.set_timer(until, Timer::Retry(conversation));
        }
        self.start_depositing(conversation, now);
    }

    /// Settles who the person of a conversation is, and numbers what is owed to them. If there is a conversation
    /// with that person already, what is owed moves there.
    pub(super) fn settle(&mut self, conversation: ConversationId, user: UserId, now: Now) {
        let target = self.people.with_user(&user).unwrap_or(conversation);
        if target == conversation {
            self.people.bind(conversation, user);
        } else if let Some(mut sender) = self.remove_sender(conversation) {
            let to = self.senders.entry(target).or_insert_with(super::sender::Sender::new);
            sender.take_all().into_iter().for_each(|owed| to.push(owed));
            self.watch_expiry(target);
        }
        self.number_owed(target);
        if target != conversation {
            self.merge(conversation, target, now);
        }
        if self.is_blocked(target) {
            let reason =
                Some((ErrorCode::Blocked, "this user has blocked the recipient; unblock them first"));
            self.give_up(target, |_| true, MessageState::Failed, reason, now);
        }
        self.advance(target, now);
    }

    /// Lets one person have one conversation. It goes by the plain name if either did.
    fn merge(&mut self, from: ConversationId, into: ConversationId, now: Now) {
        let peer = |id| Recipient::parse(&self.people.get(id)?.saved.peer).ok();
        let Some((gone, stays)) = peer(from).zip(peer(into)) else { return };
        let is_plainer = gone.fingerprint().is_none() && stays.fingerprint().is_some();
        let checked_at = self.people.get(from).and_then(|found| found.name_checked_at);
        let is_contact = self.people.relation(from) == Relation::Contact;
        let becomes_contact = is_contact && self.people.relation(into).is_undecided();
        self.people.remove(from);
        let mut writes = vec![Write::Merged { from, into }];
        if is_plainer && gone.name() == stays.name() {
            self.people.rename(into, &gone);
            if let Some(found) = self.people.get_mut(into) {
                found.name_checked_at = checked_at;
                writes.push(Write::Conversation(found.saved.clone()));
            }
        }
        if becomes_contact {
            self.make_contact(into, now);
            writes.extend(self.people.get(into).map(|found| Write::Conversation(found.saved.clone())));
        }
        self.save(writes, Vec::new());
    }

    /// Notes that the name of a conversation has just been looked up.
    pub(super) fn note_checked(&mut self, id: ConversationId, now: Now) {
        if let Some(found) = self.people.get_mut(id) {
            found.name_checked_at = Some(now.instant);
        }
    }

    /// Numbers what is owed to a conversation and has no number, because its person has just become known or because
    /// its numbers were taken.
    pub(super) fn number_owed(&mut self, id: ConversationId) {
        let Some(conversation) = self.people.get_mut(id) else { return };
        let next = &mut conversation.saved.next_number;
        let numbered = self.senders.get_mut(&id).map(|sender| sender.number_from(*next)).unwrap_or_default();
        *next += numbered.len() as u64;
        let mut writes = vec![Write::Conversation(conversation.saved.clone())];
        writes.extend(numbered.into_iter().map(|(position, number)| Write::MessageNumber {
            position,
            conversation: id,
            number,
        }));
        self.save(writes, Vec::new());
    }

    fn handle_located(&mut self, conversation: ConversationId, outcome: SearchOutcome, now: Now) {
        let Some(sender) = self.senders.get_mut(&conversation) else { return };
        if sender.step != Step::Locating {
            return;
        }
        sender.step = Step::Ready;
        sender.has_located = true;
        let record = newest(outcome.records);
        let listed = record.as_ref().and_then(devices).unwrap_or_default();
        if let Some(record) = record {
            self.people.hear(conversation, record);
        }
        let Some(found) = self.people.get_mut(conversation) else { return };
        found.keys = listed.iter().map(|device| (device.node.node_id(), device.keys)).collect();
        // Where a device has just been heard of, it is sooner met than where it was announced.
        let keys = &found.keys;
        found.route.retain(|contact| keys.contains_key(&contact.id()));
        for contact in reachable(&listed, self.config.family) {
            if !found.route.contains(&contact) {
                found.route.push_back(contact);
            }
        }
        if found.route.is_empty() {
            // Whoever is nowhere to be found may have a new key.
            self.check_name(conversation, now);
            self.pause(conversation, now);
        }
        self.advance(conversation, now);
    }

    fn handle_holder(&mut self, command: CommandId, of: Recipient, outcome: &SearchOutcome) {
        let error = match judge(&outcome.records, |user| of.admits(user)) {
            Verdict::Held(key) => {
                let user = UserId::of(&key);
                if of.fingerprint().is_none() {
                    self.notice_holder(of.name(), user);
                }
                let purpose = Purpose::FindDevices { command, name: of.name().clone(), user };
                self.start_search(purpose, RecordKey::of_user(user.as_bytes()), USER_WITNESSES);
                return;
            }
            Verdict::Unknown if outcome.answer_count == 0 => LookupError::Offline,
            Verdict::Unknown => LookupError::Unknown,
            Verdict::Contested(holders) => LookupError::Contested(holders),
        };
        self.found(command, Err(error));
    }

    fn handle_devices(&mut self, command: CommandId, name: UserName, user: UserId, outcome: SearchOutcome) {
        let list = newest(outcome.records).and_then(|record| devices(&record)).unwrap_or_default();
        let found = list.into_iter().next().map(|Device { node, addresses, .. }| FoundUser {
            name,
            user,
            node: node.node_id(),
            addresses,
        });
        self.found(command, found.ok_or(LookupError::Unknown));
    }
}

/// Returns the contacts of devices that a node of this family can send to.
fn reachable(devices: &[Device], family: AddressFamily) -> Vec<Contact> {
    let contacts = |device: &Device| {
        let usable = |address: &&std::net::SocketAddr| family.admits(address) && Scope::of(address).is_some();
        device
            .addresses
            .iter()
            .filter(usable)
            .map(|address| Contact::new(device.node, *address))
            .collect::<Vec<_>>()
    };
    devices.iter().flat_map(contacts).collect()
}
