//! [`MailDesk`]: the mailbox beside node and user, and who waits for its answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Engine, EngineCall, MAIL, ReadUse, call_id};
use crate::idle;
use crate::kademlia::{Contact, NodeId, RecordKey, Rpc, RpcReply, StoreRefusal};
use crate::limits::Limits;
use crate::mail::{
    HOLDER_SLACK, MailAction, MailAnswer, MailCallTag, MailPlace, MailRefusal, MailRequest, MailResponse,
    MailTag, Mailbox, OFFER_EVERY, SealedEnvelope, Standing,
};
use crate::save::{Read, ReadId};
use crate::time::Now;
use crate::transport::ReplyToken;
use crate::user::devices;
use crate::wire::{Request, Response};

use super::saving::Then;

#[cfg(test)]
mod tests;

/// How soon it is looked who holds what is kept here after a contact has come or gone; several do so at a time.
const REVIEW_SOON: Duration = Duration::from_secs(10);

/// How often that is looked at otherwise.
const REVIEW_EVERY: Duration = Duration::from_secs(3600);

/// How soon after the start that is first looked at: the routing table is filled by then.
const FIRST_REVIEW: Duration = Duration::from_secs(60);

/// How many mailboxes are looked at before other work has its turn.
const REVIEW_STEP: usize = 128;

/// How soon a review goes on.
const REVIEW_PAUSE: Duration = Duration::from_millis(20);

/// How soon after the start the mail that is kept here is first offered to its other holders, and how much later at most:
/// nodes that start together do not offer together.
const FIRST_OFFERS: Duration = Duration::from_secs(600);

/// How many places are considered before other work has its turn.
const OFFER_STEP: usize = 16;

/// How soon it goes on, also if too many hand-overs run.
const OFFER_PAUSE: Duration = Duration::from_millis(100);

/// The mailbox, and who waits for its answers.
#[derive(Debug)]
pub(super) struct MailDesk {
    pub(super) mailbox: Mailbox,
    requests: BTreeMap<MailTag, ReplyToken>,
    max_requests: usize,
    last_tag: u64,
    /// When it is next looked at who holds what is kept here.
    review_at: Instant,
    /// How far the review has come.
    reviewed: Option<MailPlace>,
    /// From when on a review settles who is known to have the mail.
    settle_at: Instant,
    /// A contact has come or gone since the review began.
    is_again_due: bool,
    /// When mail is next offered to its other holders.
    offer_at: Instant,
    /// How far that has come.
    offered: Option<MailPlace>,
}

impl MailDesk {
    pub(super) fn new(mailbox: Mailbox, limits: &Limits, own: &NodeId, now: Now) -> Self {
        let review_at = now.instant + FIRST_REVIEW;
        let share = own.as_bytes().first().map_or(0.0, |byte| f64::from(*byte) / 256.0);
        Self {
            mailbox,
            requests: BTreeMap::new(),
            max_requests: limits.mail_requests,
            last_tag: 0,
            review_at,
            reviewed: None,
            settle_at: now.instant + REVIEW_EVERY,
            is_again_due: false,
            offer_at: now.instant + FIRST_OFFERS + FIRST_OFFERS.mul_f64(share),
            offered: None,
        }
    }

    /// Takes that others may be the closest to a mailbox now.
    pub(super) fn handle_neighbours(&mut self, now: Now) {
        self.is_again_due |= self.reviewed.is_some();
        // A review that is due before, the first one among them, stays where it is.
        if self.review_at > now.instant + FIRST_REVIEW {
            self.review_at = now.instant + REVIEW_SOON;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let own = [(self.review_at, "review of mail"), (self.offer_at, "offers of mail")];
        let own = own.into_iter().filter(|_| self.mailbox.kept_count() > 0);
        self.mailbox.poll_timeout().into_iter().chain(own).min()
    }

    /// Opens a request that the mailbox will answer; `None` if too many are open.
    fn open(&mut self, token: ReplyToken) -> Option<MailTag> {
        if self.requests.len() >= self.max_requests {
            return None;
        }
        self.last_tag += 1;
        let tag = MailTag(self.last_tag);
        self.requests.insert(tag, token);
        Some(tag)
    }
}

impl Engine {
    /// Takes a request about mail from a node that has proven its key and address.
    pub(super) fn handle_mail_request(
        &mut self,
        from: Contact,
        token: ReplyToken,
        request: MailRequest,
        now: Now,
    ) {
        if let MailRequest::Waiting { mailbox, count } = request {
            if let Some(user) = &mut self.user {
                user.handle_waiting(from, &mailbox, count, now);
            }
            return self.reply(token, Response::Mail(MailResponse::Noted));
        }
        let Some(tag) = self.mail.open(token) else {
            self.busy_count += 1;
            let busy = self.mail.mailbox.refuse_unopened();
            return self.reply(token, Response::Mail(busy));
        };
        match request {
            MailRequest::Deposit { envelope } => {
                let mailbox = SealedEnvelope::mailbox_of(&envelope);
                let mut standing = mailbox.map(|key| self.standing(&key, now)).unwrap_or_default();
                standing.is_holder_asking = mailbox.is_some_and(|key| self.is_holder_of(&from, &key));
                self.mail.mailbox.handle_deposit(tag, &from, &envelope, &standing, now);
            }
            MailRequest::Collect { mailbox, after } => {
                self.mail.mailbox.handle_collect(tag, from, mailbox, after, now);
            }
            MailRequest::Fetch { mailbox, id } => {
                self.mail.mailbox.handle_fetch(tag, from.id(), mailbox, &id, now);
            }
            MailRequest::Release(release) => {
                let standing = self.standing(&release.mailbox, now);
                self.mail.mailbox.handle_release(tag, &release, &standing, now);
            }
            MailRequest::Offer { mailbox, device, offer } => {
                let standing = self.standing(&mailbox, now);
                let place = MailPlace { mailbox, device };
                self.mail.mailbox.handle_offer(tag, place, &offer, &standing, now);
            }
            MailRequest::Waiting { .. } => {}
        }
    }

    /// Carries what the mailbox asks for to where it belongs.
    pub(super) fn handle_mail_action(&mut self, action: MailAction, now: Now) {
        match action {
            MailAction::Reply { to, response } => {
                if let Some(token) = idle::remove(&mut self.mail.requests, &to) {
                    self.reply(token, Response::Mail(response));
                }
            }
            MailAction::Save { writes, then } => {
                for then in self.saving.add(writes, then.map(Then::Mail).into_iter().collect()) {
                    self.follow(then, now);
                }
            }
            MailAction::Read { id, position } => self.read(Read::Mail { position }, ReadUse::Mail(id)),
            MailAction::Review { place } => self.review(place, false),
            MailAction::Call { tag, to, request } => self.call_for_mail(tag, to, Request::Mail(request), now),
            MailAction::Introduce { tag, to, mailbox } => {
                match self.node.record(&mailbox, now).map(|record| record.as_bytes().to_vec()) {
                    Some(record) => self.call_for_mail(tag, to, Request::Dht(Rpc::Store { record }), now),
                    None => self.mail.mailbox.handle_answer(tag, MailAnswer::Failed, now),
                }
            }
        }
    }

    fn call_for_mail(&mut self, tag: MailCallTag, to: Contact, request: Request, now: Now) {
        self.node.handle_touched(&to, now);
        let id = call_id(tag.0, MAIL);
        self.calls.push_back(EngineCall { id, to, request, throwaway: None, is_answer_long: false });
    }

    /// Takes the answer to a call of the mailbox.
    pub(super) fn handle_mail_response(&mut self, tag: MailCallTag, response: &Response, now: Now) {
        let answer = match response {
            Response::Dht(RpcReply::Stored) => MailAnswer::Done,
            // It keeps a later record of the same user.
            Response::Dht(RpcReply::Refused { reason: StoreRefusal::Older, .. }) => MailAnswer::Done,
            Response::Mail(MailResponse::Deposited | MailResponse::Noted) => MailAnswer::Done,
            Response::Mail(MailResponse::Refused(MailRefusal::Gone)) => MailAnswer::Done,
            Response::Mail(MailResponse::Refused(MailRefusal::BadToken)) => MailAnswer::NotTaken,
            Response::Mail(MailResponse::Refused(MailRefusal::Full | MailRefusal::WorkNeeded { .. })) => {
                MailAnswer::NoRoom
            }
            Response::Mail(MailResponse::Refused(MailRefusal::UnknownMailbox | MailRefusal::NotListed)) => {
                MailAnswer::NoRecord
            }
            Response::Mail(MailResponse::Wanted { missing, released }) => {
                MailAnswer::Wanted { missing: *missing, released: *released }
            }
            _ => MailAnswer::Failed,
        };
        self.mail.mailbox.handle_answer(tag, answer, now);
    }

    /// Takes that a node has stored or confirmed a record here: if it is the record of its own user, its mail is announced.
    pub(super) fn handle_stored(&mut self, key: RecordKey, from: Contact, now: Now) {
        let devices = self.node.record(&key, now).and_then(devices).unwrap_or_default();
        if devices.iter().any(|device| device.node == from.key()) {
            let place = MailPlace { mailbox: key, device: from.id() };
            self.mail.mailbox.handle_published(place, from, now);
        }
    }

    /// Does what is due about mail.
    pub(super) fn handle_mail_timeout(&mut self, now: Now) {
        self.mail.mailbox.handle_timeout(now);
        self.offer_mail(now);
        if self.mail.review_at > now.instant {
            return;
        }
        let places = self.mail.mailbox.places_after(self.mail.reviewed, REVIEW_STEP);
        let is_end = places.len() < REVIEW_STEP;
        self.mail.reviewed = places.last().copied().filter(|_| !is_end);
        self.mail.review_at = now.instant
            + match is_end {
                false => REVIEW_PAUSE,
                true if std::mem::take(&mut self.mail.is_again_due) => REVIEW_SOON,
                true => REVIEW_EVERY,
            };
        if self.node.is_online() {
            let is_settled = self.mail.settle_at <= now.instant;
            places.into_iter().for_each(|place| self.review(place, is_settled));
        }
        if is_end && self.mail.settle_at <= now.instant {
            self.mail.settle_at = now.instant + REVIEW_EVERY;
        }
    }

    /// Offers the mail that is kept here to its other holders, as long as hand-overs have room for it.
    fn offer_mail(&mut self, now: Now) {
        if self.mail.offer_at > now.instant {
            return;
        }
        self.mail.offer_at = now.instant + OFFER_PAUSE;
        if !self.node.is_online() {
            return;
        }
        let places = self.mail.mailbox.places_after(self.mail.offered, OFFER_STEP);
        let is_end = places.len() < OFFER_STEP;
        for place in places {
            let (mut closest, is_ours) = self.node.holders(&place.mailbox.place());
            closest.retain(|contact| contact.id() != place.device);
            if !self.mail.mailbox.has_room_to_offer(closest.len()) {
                return;
            }
            self.mail.offered = Some(place);
            // Who is none of the closest knows less well who they are.
            if is_ours && self.mail.mailbox.is_offer_due(place, now.instant) {
                closest.into_iter().for_each(|to| self.mail.mailbox.offer(place, to));
            }
        }
        if is_end {
            (self.mail.offered, self.mail.offer_at) = (None, now.instant + OFFER_EVERY);
        }
    }

    /// Sees to it that those who should keep the mail of a device have it, and that those who should not drop it.
    fn review(&mut self, place: MailPlace, is_settled: bool) {
        let at = place.mailbox.place();
        let (mut closest, _) = self.node.holders(&at);
        // The device itself comes for it.
        closest.retain(|contact| contact.id() != place.device);
        self.mail.mailbox.handle_holders(place, &self.node.id(), &closest, is_settled);
        // A node that serves nobody for now, as after a start, keeps what it has: it may serve again.
        if self.node.is_serving() && !self.node.is_holder(&at, HOLDER_SLACK) {
            self.mail.mailbox.handle_replaced(place, &closest);
        }
    }

    pub(super) fn read(&mut self, read: Read, purpose: ReadUse) {
        self.last_read += 1;
        let id = ReadId(self.last_read);
        self.reads.insert(id, purpose);
        self.reading.push_back((id, read));
    }

    /// Returns how this node stands to a mailbox.
    fn standing(&mut self, mailbox: &RecordKey, now: Now) -> Standing {
        let devices = self.node.record(mailbox, now).and_then(devices);
        let devices = devices.map(|devices| devices.iter().map(|device| device.node.node_id()).collect());
        // What is for our own user is asked for elsewhere.
        let is_own = self.user.as_ref().is_some_and(|user| user.own_mailbox() == *mailbox);
        let is_holder = !is_own && self.node.is_holder(&mailbox.place(), HOLDER_SLACK);
        Standing { is_holder, devices, is_holder_asking: false }
    }

    /// Tells whether another node is one of the k closest to a mailbox, as far as is known here.
    fn is_holder_of(&self, node: &Contact, mailbox: &RecordKey) -> bool {
        let (closest, _) = self.node.holders(&mailbox.place());
        closest.iter().any(|contact| contact.id() == node.id())
    }
}
