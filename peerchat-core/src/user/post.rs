//! [`Post`]: what is under way by mail, in either direction.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::collecting::{Ask, Collector};
use super::depositing::{DepositCall, Depositor};
use super::letters::Pile;
use super::machine::{CallTag, SearchId, User};
use super::searching::Purpose;
use super::tokens::Tokens;
use super::working::Working;
use crate::identity::{SecretKey, UserId};
use crate::kademlia::{Contact, NodeId, RecordKey};
use crate::mail::{Introduction, MailResponse};
use crate::save::{ConversationId, Saved, SavedIncoming};
use crate::time::{Now, Timestamp};

/// The mail of one user.
pub(super) struct Post {
    /// From which the randomness of sealed envelopes is derived.
    pub(super) secret: Zeroizing<[u8; 32]>,
    /// The key of this node, which signs letters and releases.
    pub(super) node: SecretKey,
    /// Who we are, as letters say it, and when that was signed: not renewed with every record, for the same message
    /// deposited again is to be the same envelope.
    pub(super) introduction: Option<(Introduction, Timestamp)>,
    /// What is being deposited, by conversation.
    pub(super) depositors: BTreeMap<ConversationId, Depositor>,
    /// Tells the rounds of depositors apart.
    pub(super) last_round: u64,
    pub(super) collector: Collector,
    /// What has arrived and waits to be opened, by the device that wrote it.
    pub(super) piles: BTreeMap<(UserId, NodeId), Pile>,
    /// Letters in all piles.
    pub(super) piled_count: usize,
    /// Bytes of their envelopes.
    pub(super) piled_len: usize,
    /// What waited when the profile was opened: it is looked at once others can be asked who wrote it.
    pub(super) restored: Vec<SavedIncoming>,
    /// Envelopes that were dropped because they do not open, or nobody that is known wrote them.
    pub(super) dropped_count: u64,
    pub(super) calls: BTreeMap<CallTag, MailCall>,
    pub(super) tokens: Tokens,
    pub(super) working: Working,
}

/// What a call to a node that keeps mail is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum MailCall {
    Deposit(DepositCall),
    Collect(Ask),
}

impl Post {
    pub(super) fn restore(saved: &mut Saved, tag_key: &[u8; 32]) -> Self {
        Self {
            secret: blake3::derive_key("peerchat 2026 randomness of sealed envelopes", tag_key).into(),
            node: saved.keys.node.clone(),
            introduction: None,
            depositors: BTreeMap::new(),
            last_round: 0,
            collector: Collector::default(),
            piles: BTreeMap::new(),
            piled_count: 0,
            piled_len: 0,
            restored: std::mem::take(&mut saved.incoming),
            dropped_count: 0,
            calls: BTreeMap::new(),
            tokens: Tokens::restore(&std::mem::take(&mut saved.tokens)),
            working: Working::default(),
        }
    }
}

impl User {
    /// Returns the key of our own user record, where our mail is kept.
    pub(crate) fn own_mailbox(&self) -> RecordKey {
        RecordKey::of_user(self.id.as_bytes())
    }

    /// Returns how many sealed envelopes were dropped because they did not open or nobody that is known wrote them.
    #[must_use]
    pub fn dropped_mail_count(&self) -> u64 {
        self.post.dropped_count
    }

    /// Takes the nodes closest to a place, nearest first.
    pub fn handle_nodes(&mut self, id: SearchId, nodes: &[Contact], now: Now) {
        match self.searches.remove(&id) {
            Some(Purpose::Holders(conversation)) => self.handle_holders(conversation, id, nodes, now),
            Some(Purpose::OwnHolders) => self.handle_own_holders(nodes, now),
            _ => {}
        }
    }

    /// Takes the answer of a node that keeps mail.
    pub fn handle_mail_response(&mut self, tag: CallTag, response: MailResponse, now: Now) {
        match self.post.calls.remove(&tag) {
            Some(MailCall::Deposit(call)) => self.handle_deposit_answer(call, &response, now),
            Some(MailCall::Collect(ask)) => self.handle_collect_answer(ask, Some(response), now),
            None => {}
        }
    }

    /// Takes whether a node keeps a record that it was asked to keep.
    pub fn handle_stored(&mut self, tag: CallTag, is_stored: bool, now: Now) {
        if let Some(MailCall::Deposit(call)) = self.post.calls.remove(&tag) {
            self.handle_record_stored(call, is_stored, now);
        }
    }

    /// Takes that a call about mail got no answer.
    pub(super) fn handle_mail_call_failed(&mut self, tag: CallTag, now: Now) {
        match self.post.calls.remove(&tag) {
            Some(MailCall::Deposit(call)) => self.handle_deposit_failed(call, now),
            Some(MailCall::Collect(ask)) => self.handle_collect_answer(ask, None, now),
            None => {}
        }
    }
}
