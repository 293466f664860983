//! [`MailDesk`]: the mailbox beside node and user, and who waits for its answers.

use std::collections::BTreeMap;

use super::{Engine, MAX_OPEN_REQUESTS};
use crate::idle;
use crate::kademlia::{Contact, RecordKey};
use crate::mail::{
    HOLDER_SLACK, MailAction, MailEffect, MailReadId, MailRefusal, MailRequest, MailResponse, MailTag,
    Mailbox, SealedEnvelope, Standing,
};
use crate::save::{Read, ReadId};
use crate::time::Now;
use crate::transport::ReplyToken;
use crate::user::devices;
use crate::wire::Response;

use super::saving::Then;

/// The mailbox, and who waits for its answers.
#[derive(Debug)]
pub(super) struct MailDesk {
    pub(super) mailbox: Mailbox,
    requests: BTreeMap<MailTag, ReplyToken>,
    last_tag: u64,
}

impl MailDesk {
    pub(super) const fn new(mailbox: Mailbox) -> Self {
        Self { mailbox, requests: BTreeMap::new(), last_tag: 0 }
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
                self.mail.mailbox.handle_collect(tag, from.id(), mailbox, after, now);
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
            MailAction::Read { id, position } => self.read(Read::Mail { position }, id),
        }
    }

    /// Takes that what an effect of the mailbox depended on is on disk.
    pub(super) fn handle_mail_written(&mut self, effect: MailEffect) {
        self.mail.mailbox.handle_written(effect);
    }

    fn read(&mut self, read: Read, for_mail: MailReadId) {
        self.last_read += 1;
        let id = ReadId(self.last_read);
        self.reads.insert(id, for_mail);
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
