//! [`MailDesk`]: the mailbox beside node and user, and who waits for its answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Engine, EngineCall, MAIL, MAX_OPEN_REQUESTS, ReadUse, call_id};
use crate::idle;
use crate::kademlia::{Contact, RecordKey, Rpc, RpcReply, StoreRefusal};
use crate::mail::{
    HOLDER_SLACK, MailAction, MailCallTag, MailPlace, MailRefusal, MailRequest, MailResponse, MailTag,
    Mailbox, SealedEnvelope, Standing,
};
use crate::save::{Read, ReadId};
use crate::time::Now;
use crate::transport::ReplyToken;
use crate::user::devices;
use crate::wire::{Request, Response};

use super::saving::Then;

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

/// The mailbox, and who waits for its answers.
#[derive(Debug)]
pub(super) struct MailDesk {
    pub(super) mailbox: Mailbox,
    requests: BTreeMap<MailTag, ReplyToken>,
    last_tag: u64,
    /// When it is next looked at who holds what is kept here.
    review_at: Instant,
    /// How far the review has come.
    reviewed: Option<MailPlace>,
    /// From when on a review settles who is known to have the mail.
    settle_at: Instant,
    /// A contact has come or gone since the review began.
    is_again_due: bool,
}

impl MailDesk {
    pub(super) fn new(mailbox: Mailbox, now: Now) -> Self {
        let review_at = now.instant + FIRST_REVIEW;
        Self {
            mailbox,
            requests: BTreeMap::new(),
            last_tag: 0,
            review_at,
            reviewed: None,
            settle_at: now.instant + REVIEW_EVERY,
            is_again_due: false,
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
        let review = (self.mailbox.kept_count() > 0).then_some((self.review_at, "review of mail"));
        self.mailbox.poll_timeout().into_iter().chain(review).min()
    }

    /// Opens a request that the mailbox will answer; `None` if too many are open.
    fn open(&mut self, token: ReplyToken) -> Option<MailTag> {
        if self.requests.len() >= MAX_OPEN_REQUESTS {
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
            let busy = MailResponse::Refused(MailRefusal::Busy);
            return self.reply(token, Response::Mail(busy));
        };
        match request {
            MailRequest::Deposit { envelope } => {
                let mailbox = SealedEnvelope::mailbox_of(&envelope);
                let standing = mailbox.map(|key| self.standing(&key, now)).unwrap_or_default();
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
                    None => self.mail.mailbox.handle_answer(tag, false, now),
                }
            }
        }
    }

    fn call_for_mail(&mut self, tag: MailCallTag, to: Contact, request: Request, now: Now) {
        self.node.handle_touched(&to, now);
        self.calls.push_back(EngineCall { id: call_id(tag.0, MAIL), to, request });
    }

    /// Takes the answer to a call of the mailbox.
    pub(super) fn handle_mail_response(&mut self, tag: MailCallTag, response: &Response, now: Now) {
        let is_done = match response {
            Response::Dht(RpcReply::Stored) => true,
            // It keeps a later record of the same user.
            Response::Dht(RpcReply::Refused { reason, .. }) => *reason == StoreRefusal::Older,
            Response::Mail(MailResponse::Deposited | MailResponse::Noted) => true,
            Response::Mail(MailResponse::Refused(refusal)) => *refusal == MailRefusal::Gone,
            _ => false,
        };
        self.mail.mailbox.handle_answer(tag, is_done, now);
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
        Standing { is_holder, devices }
    }
}
