//! What node and user ask for is carried to where it belongs.

use super::bootstrap::{BootstrapStep, failure_detail};
use super::saving::Then;
use super::{
    Engine, EngineCall, EngineReply, FIRST_ROUTING_SAVE, LookupUse, NODE, Outcome, ReadUse, USER, call_id,
};
use crate::error::ErrorCode;
use crate::event::{CommandId, Event};
use crate::idle;
use crate::kademlia::{
    Contact, LookupOutcome, NodeEvent, NodeWrite, PublishId, PublishOutcome, Record, RecordKey, Rpc,
};
use crate::mail::{MailRequest, SealedEnvelope};
use crate::save::{Read, Write};
use crate::time::Now;
use crate::transport::{ProbeId, ReplyToken, ThrowawayId};
use crate::user::{CallTag, Effect, SearchId, SearchOutcome, User, UserAction};
use crate::wire::{Request, Response};

impl Engine {
    /// Carries what the children ask for to where it belongs, until none asks for anything.
    pub(super) fn run(&mut self, now: Now) {
        loop {
            while let Some(outgoing) = self.node.poll_rpc(now) {
                let id = call_id(outgoing.id.0, NODE);
                let (to, request) = (outgoing.to, Request::Dht(outgoing.rpc));
                self.calls.push_back(EngineCall { id, to, request, throwaway: None, is_answer_long: false });
            }
            while let Some(write) = self.node.poll_write() {
                let write = match write {
                    NodeWrite::Record { key, bytes } => Write::Record { key, bytes },
                    NodeWrite::RecordGone { key } => Write::RecordGone { key },
                };
                let none = self.saving.add(vec![write], Vec::new());
                debug_assert!(none.is_empty());
            }
            if let Some(event) = self.node.poll_event() {
                self.handle_node_event(event, now);
            } else if let Some(action) = self.user.as_mut().and_then(User::poll_action) {
                self.handle_action(action, now);
            } else if let Some(action) = self.mail.mailbox.poll_action() {
                self.handle_mail_action(action, now);
            } else {
                return;
            }
        }
    }

    fn handle_node_event(&mut self, event: NodeEvent, now: Now) {
        match event {
            NodeEvent::LookupDone { id, outcome } => match idle::remove(&mut self.lookups, &id) {
                Some(LookupUse::Search(search)) => self.handle_searched(search, outcome, now),
                Some(LookupUse::Nodes(search)) => {
                    if let Some(user) = &mut self.user {
                        user.handle_nodes(search, &outcome.closest, now);
                    }
                }
                Some(LookupUse::Bootstrap(command)) => self.handle_joined(command, now),
                Some(LookupUse::OwnAddress) | None => {}
            },
            NodeEvent::PublishDone { id, outcome } => self.handle_published(id, outcome, now),
            NodeEvent::Online { contact_count } => self.handle_online(contact_count, now),
            NodeEvent::Neighbours => self.mail.handle_neighbours(now),
            NodeEvent::Offline => {
                self.events.push_back(Event::Offline);
                if let Some(user) = &mut self.user {
                    user.handle_offline();
                }
            }
        }
    }

    fn handle_online(&mut self, contact_count: usize, now: Now) {
        self.events.push_back(Event::Online { contact_count });
        self.next_routing_save.get_or_insert(now.instant + FIRST_ROUTING_SAVE);
        if self.own_addresses.best().is_empty() {
            // Somebody joined through us; the answers of a lookup tell how others see us.
            let id = self.node.find_nodes(self.node.id(), now);
            self.lookups.insert(id, LookupUse::OwnAddress);
        }
        if let Some(user) = &mut self.user {
            user.handle_online(now);
        }
    }

    fn handle_searched(&mut self, search: SearchId, outcome: LookupOutcome, now: Now) {
        let own = self.node.id();
        let answer_count = outcome.closest.iter().filter(|contact| contact.id() != own).count();
        let records: Vec<Record> = outcome.values.into_iter().map(|value| value.record).collect();
        let answer_count = answer_count.max(records.len());
        if let Some(user) = &mut self.user {
            user.handle_search(search, SearchOutcome { records, answer_count }, now);
        }
    }

    fn handle_published(&mut self, id: PublishId, outcome: PublishOutcome, now: Now) {
        let Some(key) = idle::remove(&mut self.publications, &id) else { return };
        let asked_count = outcome.accepted + outcome.refused.len() + outcome.unanswered;
        let incumbents: Vec<Record> = outcome.refused.into_iter().filter_map(|(_, record)| record).collect();
        if let Some(user) = &mut self.user {
            user.handle_published(key, (outcome.accepted, asked_count), &incumbents, now);
        }
    }

    fn handle_joined(&mut self, command: CommandId, now: Now) {
        let Some(bootstrap) = self.bootstraps.get_mut(&command) else { return };
        let Some(seed) = bootstrap.joining else { return };
        if bootstrap.has_answered {
            idle::remove(&mut self.bootstraps, &command);
            self.events.push_back(Event::Bootstrapped { command, node: seed.id(), address: seed.address() });
            return;
        }
        let step = bootstrap.handle_join_failed();
        self.take_step(command, step, now);
    }

    pub(super) fn take_step(&mut self, command: CommandId, step: BootstrapStep, now: Now) {
        match step {
            BootstrapStep::Probe(address) => {
                self.last_probe += 1;
                let id = ProbeId(self.last_probe);
                self.probes.insert(id, (command, address));
                self.probing.push_back((id, address));
            }
            BootstrapStep::Join(seed) if seed.id() == self.node.id() => {
                self.fail_bootstrap(command, ErrorCode::InvalidAddress);
            }
            BootstrapStep::Join(seed) => {
                let id = self.node.join(seed, now);
                self.lookups.insert(id, LookupUse::Bootstrap(command));
            }
            BootstrapStep::Fail(code) => self.fail_bootstrap(command, code),
        }
    }

    fn fail_bootstrap(&mut self, command: CommandId, code: ErrorCode) {
        let Some(bootstrap) = idle::remove(&mut self.bootstraps, &command) else { return };
        let detail = failure_detail(code).to_owned();
        self.events.push_back(Event::BootstrapFailed { command, address: bootstrap.text, code, detail });
    }

    fn handle_action(&mut self, action: UserAction, now: Now) {
        match action {
            UserAction::Search { id, key, wanted } => {
                let lookup = self.node.find_value(key, wanted, now);
                self.lookups.insert(lookup, LookupUse::Search(id));
            }
            UserAction::FindNodes { id, place } => {
                let lookup = self.node.find_nodes(place, now);
                self.lookups.insert(lookup, LookupUse::Nodes(id));
            }
            UserAction::Call { tag, to, request } => {
                self.call_for_user(tag, to, Request::Chat(request), (None, false), now);
            }
            UserAction::Mail { tag, to, request, is_answer_long } => {
                let mailbox = match &request {
                    MailRequest::Deposit { envelope } => SealedEnvelope::mailbox_of(envelope),
                    _ => None,
                };
                self.call_for_user(tag, to, Request::Mail(request), (mailbox, is_answer_long), now);
            }
            UserAction::Work { id, work } => self.working.push_back((id, work)),
            UserAction::Store { tag, to, record } => {
                let rpc = Rpc::Store { record: record.as_bytes().to_vec() };
                self.call_for_user(tag, to, Request::Dht(rpc), (Some(record.header().key), false), now);
            }
            UserAction::Save { writes, then } => {
                for then in self.saving.add(writes, then.into_iter().map(Then::User).collect()) {
                    self.follow(then, now);
                }
            }
            UserAction::Do(effect) => self.apply(effect, now),
        }
    }

    /// Asks another node, under a key made for that if mail is left for `mailbox`.
    fn call_for_user(
        &mut self,
        tag: CallTag,
        to: Contact,
        request: Request,
        (mailbox, is_answer_long): (Option<RecordKey>, bool),
        now: Now,
    ) {
        self.node.handle_touched(&to, now);
        let throwaway = mailbox.map(|mailbox| {
            let number =
                mailbox.place().as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            ThrowawayId(number)
        });
        let id = call_id(tag.0, USER);
        self.calls.push_back(EngineCall { id, to, request, throwaway, is_answer_long });
    }

    /// Does what waited for the disk.
    pub(super) fn follow(&mut self, then: Then, now: Now) {
        match then {
            Then::User(effect) => self.apply(effect, now),
            Then::Mail(effect) => self.mail.mailbox.handle_written(effect, now),
        }
    }

    fn apply(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Tell(event) => self.events.push_back(event),
            Effect::Reply { to, response } => {
                if let Some(token) = idle::remove(&mut self.requests, &to) {
                    self.reply(token, Response::Chat(response));
                }
            }
            Effect::Saved { id } => self.outcomes.push_back(Outcome::Saved(id)),
            Effect::Decided { command } => self.outcomes.push_back(Outcome::Decided(command)),
            Effect::Sealed { conversation, seal } => {
                if let Some(user) = &mut self.user {
                    user.handle_sealed(conversation, seal, now);
                }
            }
            Effect::Collected { ids } => {
                if let Some(user) = &mut self.user {
                    user.handle_collected(ids, now);
                }
            }
            Effect::LookForRead { conversation, after, up_to } => {
                let read = Read::Delivered { conversation, after, up_to };
                self.read(read, ReadUse::Delivered(conversation, up_to));
            }
            Effect::Publish(record) => {
                let key = record.header().key;
                let publication = self.node.publish(record, now);
                self.publications.insert(publication, key);
            }
            Effect::Found { command, result } => self.outcomes.push_back(Outcome::Found { command, result }),
        }
    }

    pub(super) fn reply(&mut self, to: ReplyToken, response: Response) {
        self.replies.push_back(EngineReply { to, response });
    }
}
