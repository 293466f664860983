//! How [`User`] collects the mail that others keep for it: ask what waits, fetch each envelope once, save it, and have it
//! dropped everywhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::depositing::MAX_HOLDERS;
use super::letters::Taken;
use super::machine::{Effect, User, UserAction};
use super::post::MailCall;
use super::searching::Purpose;
use super::timers::Timer;
use crate::kademlia::{Contact, NodeKey, RecordKey};
use crate::mail::{EnvelopeId, MAX_LISTED, MAX_RELEASED, MailRequest, MailResponse, Release, SealedEnvelope};
use crate::time::Now;

/// Most envelopes that are being fetched.
pub const MAX_FETCHES: usize = 32;

/// Most envelopes that are known to wait, those just released included. What more there is comes in a later round.
pub const MAX_LISTED_IN_ALL: usize = 20_000;

/// How often our mail is asked for without a reason.
pub const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);

/// Soonest after one round that the next one begins, if not to go on with it.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// When mail that nobody gave is asked for again; twice as late each time, up to [`COLLECT_INTERVAL`].
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// What is being collected.
#[derive(Debug, Default)]
pub(super) struct Collector {
    is_finding: bool,
    /// Whether a round is to follow.
    is_again: bool,
    /// Those who are asked in this round.
    holders: Vec<Keeper>,
    listed: BTreeMap<EnvelopeId, Listed>,
    /// Those of them that were not fetched, as they were listed.
    waiting: VecDeque<EnvelopeId>,
    /// What was saved, and is to be released.
    saved: Vec<EnvelopeId>,
    /// What was released, so that it is not fetched again from somebody who has not heard of it.
    released: BTreeSet<EnvelopeId>,
    collecting_count: usize,
    fetching_count: usize,
    /// Envelopes that are being saved.
    saving_count: usize,
    /// Whether there was no room for something, and whether anything was taken, in this round.
    has_left: bool,
    has_taken: bool,
    /// Whether a holder has said in this round what waits there, and whether something was listed and then given by nobody.
    has_heard: bool,
    has_missed: bool,
    /// Rounds in a row that missed something.
    missed_rounds: u32,
    ended_at: Option<Instant>,
}

/// A node that keeps mail for us.
#[derive(Clone, Copy, Debug)]
struct Keeper {
    contact: Contact,
    fetching_count: usize,
    has_failed: bool,
}

/// An envelope that somebody keeps.
#[derive(Clone, Copy, Debug)]
struct Listed {
    /// A bit for each holder that can be asked for it.
    holders: u64,
    /// Whether one that lists it says that it does not fit a datagram. What others say counts no less: it costs a stream
    /// at most.
    is_large: bool,
}

/// Which call a [`MailCall::Collect`] is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    List { holder: NodeKey },
    Fetch { holder: NodeKey, id: EnvelopeId },
    Release,
}

impl Collector {
    fn is_idle(&self) -> bool {
        let count = self.collecting_count + self.fetching_count + self.saving_count;
        !self.is_finding && count == 0 && self.waiting.is_empty()
    }

    /// Tells whether more envelopes are about to come in.
    pub(super) fn is_fetching(&self) -> bool {
        self.is_finding || self.collecting_count + self.fetching_count > 0 || !self.waiting.is_empty()
    }

    fn index_of(&self, key: &NodeKey) -> Option<usize> {
        self.holders.iter().position(|holder| holder.contact.key() == *key)
    }

    /// Returns the next envelope to fetch, whether it is large, and the holder with the least to do that has it.
    fn next_fetch(&mut self) -> Option<(EnvelopeId, bool, Contact)> {
        if self.fetching_count >= MAX_FETCHES {
            return None;
        }
        while let Some(id) = self.waiting.pop_front() {
            let Some(Listed { holders: set, is_large }) = self.listed.get(&id).copied() else { continue };
            let has = |(index, holder): &(usize, &mut Keeper)| set & bit(*index) != 0 && !holder.has_failed;
            let holders = self.holders.iter_mut().enumerate().filter(has);
            if let Some((_, holder)) = holders.min_by_key(|(_, holder)| holder.fetching_count) {
                holder.fetching_count += 1;
                self.fetching_count += 1;
                return Some((id, is_large, holder.contact));
            }
            // Who had it may have it again.
            self.listed.remove(&id);
            self.has_missed = true;
        }
        None
    }

    fn finish_fetch(&mut self, holder: &NodeKey) {
        self.fetching_count = self.fetching_count.saturating_sub(1);
        if let Some(index) = self.index_of(holder) {
            self.holders[index].fetching_count = self.holders[index].fetching_count.saturating_sub(1);
        }
    }

    /// Lets an envelope be fetched from somebody else.
    fn try_elsewhere(&mut self, holder: &NodeKey, id: EnvelopeId) {
        let index = self.index_of(holder);
        if let Some((listed, index)) = self.listed.get_mut(&id).zip(index) {
            listed.holders &= !bit(index);
            self.waiting.push_back(id);
        }
    }

    /// Takes what a holder lists; what was released already is to be released again.
    fn list(&mut self, holder: &NodeKey, (ids, large): (&[EnvelopeId], u32), limit: usize) {
        let Some(index) = self.index_of(holder) else { return };
        for (number, id) in ids.iter().enumerate() {
            let is_large = large & 1 << (number % MAX_LISTED) != 0;
            if let Some(listed) = self.listed.get_mut(id) {
                listed.holders |= bit(index);
                listed.is_large |= is_large;
            } else if self.released.contains(id) {
                self.saved.push(*id);
            } else if self.listed.len() < limit {
                self.listed.insert(*id, Listed { holders: bit(index), is_large });
                self.waiting.push_back(*id);
            } else {
                self.has_left = true;
            }
        }
    }

    fn note_released(&mut self, id: EnvelopeId, limit: usize) {
        if self.released.len() >= limit {
            self.released.pop_first();
        }
        self.listed.remove(&id);
        self.released.insert(id);
    }
}

impl User {
    /// Takes that a node says that mail waits there for us.
    pub fn handle_waiting(&mut self, from: Contact, mailbox: &RecordKey, count: u32, now: Now) {
        if *mailbox != self.own_mailbox() || count == 0 {
            return;
        }
        let collector = &mut self.post.collector;
        if !collector.is_idle() {
            let is_new = collector.index_of(&from.key()).is_none();
            if is_new && !collector.is_finding {
                self.ask_holder(from);
            }
            self.post.collector.is_again |= !is_new;
            return;
        }
        let since = collector.ended_at.map(|at| now.instant.saturating_duration_since(at));
        if since.is_some_and(|since| since < MIN_PAUSE) {
            self.set_timer(now.instant + MIN_PAUSE, Timer::Collect);
        } else {
            self.collect(now);
        }
    }

    /// Begins to collect what waits for us; if it has begun, lets another round follow.
    pub(super) fn collect(&mut self, now: Now) {
        for incoming in std::mem::take(&mut self.post.restored) {
            match SealedEnvelope::parse(&incoming.bytes) {
                Ok(envelope) => _ = self.take_envelope(&envelope, true, now),
                Err(_) => self.save(vec![crate::save::Write::IncomingGone { id: incoming.id }], Vec::new()),
            }
        }
        if !self.post.collector.is_idle() {
            self.post.collector.is_again = true;
            return;
        }
        let place = self.own_mailbox().place();
        self.start_node_search(Purpose::OwnHolders, place);
        let collector = &mut self.post.collector;
        (collector.is_finding, collector.is_again) = (true, false);
        (collector.has_left, collector.has_taken) = (false, false);
        (collector.has_heard, collector.has_missed) = (false, false);
    }

    pub(super) fn handle_own_holders(&mut self, nodes: &[Contact], now: Now) {
        self.post.collector.is_finding = false;
        for contact in nodes {
            if contact.id() != self.node_id {
                self.ask_holder(*contact);
            }
        }
        self.go_on_collecting(now);
    }

    fn ask_holder(&mut self, contact: Contact) {
        let collector = &mut self.post.collector;
        if collector.holders.len() < MAX_HOLDERS && collector.index_of(&contact.key()).is_none() {
            collector.holders.push(Keeper { contact, fetching_count: 0, has_failed: false });
            self.list_from(contact, 0);
        }
    }

    fn list_from(&mut self, contact: Contact, after: u64) {
        self.post.collector.collecting_count += 1;
        let request = MailRequest::Collect { mailbox: self.own_mailbox(), after };
        self.ask(Ask::List { holder: contact.key() }, contact, request, false);
    }

    fn ask(&mut self, ask: Ask, to: Contact, request: MailRequest, is_answer_long: bool) {
        let tag = self.next_call();
        self.post.calls.insert(tag, MailCall::Collect(ask));
        self.act(UserAction::Mail { tag, to, request, is_answer_long });
    }

    /// Takes the answer of a holder, `None` if there is none.
    pub(super) fn handle_collect_answer(&mut self, ask: Ask, response: Option<MailResponse>, now: Now) {
        match ask {
            Ask::List { holder } => self.handle_listed(&holder, response),
            Ask::Fetch { holder, id } => self.handle_fetched(&holder, id, response, now),
            Ask::Release => return,
        }
        self.go_on_collecting(now);
    }

    fn handle_listed(&mut self, holder: &NodeKey, response: Option<MailResponse>) {
        let collector = &mut self.post.collector;
        collector.collecting_count = collector.collecting_count.saturating_sub(1);
        let limit = self.config.limits.listed;
        collector.has_heard |= response.is_some();
        let Some(MailResponse::Listed { ids, large, next }) = response else { return };
        collector.list(holder, (&ids, large), limit);
        let contact = collector.index_of(holder).map(|index| collector.holders[index].contact);
        let has_room = collector.listed.len() < limit && !ids.is_empty();
        if let Some((contact, after)) = contact.zip(next).filter(|_| has_room) {
            self.list_from(contact, after);
        }
    }

    fn handle_fetched(&mut self, holder: &NodeKey, id: EnvelopeId, response: Option<MailResponse>, now: Now) {
        let collector = &mut self.post.collector;
        collector.finish_fetch(holder);
        if response.is_none()
            && let Some(index) = collector.index_of(holder)
        {
            collector.holders[index].has_failed = true;
        }
        let envelope = match response {
            Some(MailResponse::Fetched(bytes)) => SealedEnvelope::parse(&bytes).ok(),
            _ => None,
        };
        let (mailbox, device) = (self.own_mailbox(), self.node_id);
        let is_ours = |envelope: &SealedEnvelope| {
            envelope.id() == id && (envelope.header().mailbox, envelope.header().device) == (mailbox, device)
        };
        let Some(envelope) = envelope.filter(is_ours) else {
            self.post.collector.try_elsewhere(holder, id);
            return;
        };
        match self.take_envelope(&envelope, false, now) {
            // It stays listed until it is released: another holder may list it while it is being saved.
            Taken::Kept => {
                self.post.collector.has_taken = true;
                self.post.collector.saving_count += 1;
                self.save(Vec::new(), vec![Effect::Collected { ids: vec![id] }]);
            }
            Taken::Left => {
                self.post.collector.listed.remove(&id);
                self.post.collector.has_left = true;
            }
        }
    }

    /// Takes that envelopes, or what was in them, are on disk.
    pub fn handle_collected(&mut self, ids: Vec<EnvelopeId>, now: Now) {
        let collector = &mut self.post.collector;
        collector.saving_count = collector.saving_count.saturating_sub(ids.len());
        collector.saved.extend(ids);
        self.go_on_collecting(now);
    }

    fn go_on_collecting(&mut self, now: Now) {
        while let Some((id, is_large, to)) = self.post.collector.next_fetch() {
            let request = MailRequest::Fetch { mailbox: self.own_mailbox(), id };
            self.ask(Ask::Fetch { holder: to.key(), id }, to, request, is_large);
        }
        if !self.post.collector.is_fetching() {
            self.open_all_letters(now);
        }
        let is_idle = self.post.collector.is_idle();
        while self.post.collector.saved.len() >= MAX_RELEASED
            || is_idle && !self.post.collector.saved.is_empty()
        {
            self.release();
        }
        if is_idle {
            self.end_round(now);
        }
    }

    /// Has the next envelopes that are safe here dropped by all who may keep them.
    fn release(&mut self) {
        let collector = &mut self.post.collector;
        let count = collector.saved.len().min(MAX_RELEASED);
        let ids: Vec<EnvelopeId> = collector.saved.drain(..count).collect();
        ids.iter().for_each(|id| collector.note_released(*id, self.config.limits.listed));
        let holders: Vec<Contact> = collector.holders.iter().map(|holder| holder.contact).collect();
        let mailbox = self.own_mailbox();
        let signature = self.post.node.sign(&Release::signed_bytes(&mailbox, &ids)).to_vec();
        let release = Release { mailbox, device: self.node, ids, signature };
        for to in holders {
            self.ask(Ask::Release, to, MailRequest::Release(release.clone()), false);
        }
    }

    fn end_round(&mut self, now: Now) {
        let collector = &mut self.post.collector;
        let is_again = std::mem::take(&mut collector.is_again) || collector.has_left && collector.has_taken;
        collector.ended_at = Some(now.instant);
        let is_missed = collector.has_missed || !collector.has_heard && !collector.holders.is_empty();
        collector.missed_rounds = if is_missed { collector.missed_rounds.saturating_add(1) } else { 0 };
        let retry = FIRST_RETRY.saturating_mul(1 << collector.missed_rounds.saturating_sub(1).min(16));
        // Nobody is asked for anything any more, and most nodes wait most of the time.
        (collector.holders, collector.listed) = (Vec::new(), BTreeMap::new());
        self.owe_receipts(now);
        let pause = match (is_again, is_missed) {
            (true, _) => MIN_PAUSE,
            (false, true) => retry.min(COLLECT_INTERVAL),
            (false, false) => COLLECT_INTERVAL,
        };
        self.set_timer(now.instant + pause, Timer::Collect);
    }

    /// Owes receipts at once if nothing more is being collected, else once that is done.
    pub(super) fn owe_receipts_soon(&mut self, now: Now) {
        if self.post.collector.is_idle() {
            self.owe_receipts(now);
        }
    }
}

const fn bit(index: usize) -> u64 {
    1 << (index % MAX_HOLDERS)
}
