//! How [`User`] gives its contacts write tokens, and keeps those that it is given.
//!
//! A token travels in a receipt, inside the session. A contact gets one a little after they were heard, and another one
//! when that is half as old as it lives; nobody else gets any, and one that was given ends by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zeroize::{Zeroize as _, Zeroizing};

use super::chat::{Receipt, ReceiptVerdict};
use super::machine::User;
use super::owed::Owed;
use super::post::Post;
use super::sessions::Peer;
use super::timers::Timer;
use crate::codec;
use crate::crypto::Secret;
use crate::identity::{SecretKey, UserId};
use crate::kademlia::{NodeKey, RecordKey};
use crate::mail::WriteToken;
use crate::save::{ConversationId, Relation, SavedToken, Write};
use crate::time::{Now, Timestamp};

/// How long a contact can leave mail under a token: as long after they were blocked or forgotten at most.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a contact that is still heard gets the next one.
pub const TOKEN_RENEWAL: Duration = Duration::from_secs(15 * 24 * 3600);

/// How long after a contact was heard they get a token, unless a receipt goes to them anyway: who has just begun to talk
/// has more to say than that.
pub const TOKEN_DELAY: Duration = Duration::from_secs(60);

/// The tokens of one user: one of each kind for a conversation at most.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Those that we were given.
    held: BTreeMap<ConversationId, WriteToken>,
    /// When we gave the last one.
    given: BTreeMap<ConversationId, Timestamp>,
    /// Whose devices get one when the timer is due.
    due: BTreeSet<Peer>,
}

impl Tokens {
    pub(super) fn restore(saved: &[SavedToken]) -> Self {
        let mut tokens = Self::default();
        for SavedToken { conversation, given, held } in saved {
            let held = held.as_ref().and_then(|held| WriteToken::from_bytes(held.reveal()));
            tokens.held.extend(held.map(|token| (*conversation, token)));
            tokens.given.extend(given.map(|given| (*conversation, given)));
        }
        tokens
    }

    fn to_saved(&self, conversation: ConversationId) -> SavedToken {
        let held = self.held.get(&conversation).map(|token| Secret::copy_of(&token.to_bytes()));
        SavedToken { conversation, given: self.given.get(&conversation).copied(), held }
    }
}

impl User {
    /// Returns the token under which mail for a device of a conversation's person can be left.
    pub(super) fn token_for(&self, id: ConversationId, device: &NodeKey, now: Now) -> Option<&WriteToken> {
        self.post.tokens.held.get(&id).filter(|token| token.is_for(device, now.wall))
    }

    /// Keeps a token that the person of a conversation has given us, instead of the one before.
    pub(super) fn take_token(&mut self, id: ConversationId, bytes: &[u8]) {
        let Some(token) = WriteToken::from_bytes(bytes) else { return };
        self.post.tokens.held.insert(id, token);
        let write = Write::Token(self.post.tokens.to_saved(id));
        self.save(vec![write], Vec::new());
    }

    /// Takes that a device was heard: if it is a contact's who has no token yet, or an old one, it gets one soon.
    pub(super) fn owe_token_soon(&mut self, peer: Peer, now: Now) {
        if self.is_token_due(peer.0, now) {
            self.post.tokens.due.insert(peer);
            self.set_timer_if_unset(now.instant + TOKEN_DELAY, Timer::Tokens);
        }
    }

    /// The same for somebody who has become a contact.
    pub(super) fn owe_tokens_soon(&mut self, id: ConversationId, now: Now) {
        let devices: Vec<_> = self.people.streams_of(id).map(|stream| stream.device).collect();
        devices.into_iter().for_each(|device| self.owe_token_soon((id, device), now));
    }

    /// Owes receipts to those who are to get a token. A receipt is finished as soon as somebody keeps it; behind a message
    /// that is still owed it would be the last that the recipient names, and nobody would know it after a restart. So
    /// whoever is owed one gets their token after they were heard again.
    pub(super) fn owe_tokens(&mut self, now: Now) {
        for peer in std::mem::take(&mut self.post.tokens.due) {
            if self.senders.contains_key(&peer.0) || !self.is_token_due(peer.0, now) {
                continue;
            }
            if let Some(stream) = self.people.known_stream(peer.0, peer.1) {
                stream.owe_receipt(ReceiptVerdict::Delivered);
                let write = Write::Stream(stream.to_saved());
                self.save(vec![write], Vec::new());
            }
        }
        self.owe_receipts_soon(now);
    }

    fn is_token_due(&self, id: ConversationId, now: Now) -> bool {
        let user = self.people.get(id).and_then(|found| found.saved.user);
        let given = self.post.tokens.given.get(&id);
        self.people.relation(id) == Relation::Contact
            && user.is_some_and(|user| user != self.id)
            && given.is_none_or(|given| now.wall.saturating_since(*given) >= TOKEN_RENEWAL)
    }

    /// Promises the person of a conversation a token if it is time for one, and saves that they have it. Returns what
    /// stands in the receipt until that is sealed: when it was promised, from which the token follows.
    pub(super) fn promise_token(&mut self, id: ConversationId, now: Now) -> Option<Vec<u8>> {
        if !self.is_token_due(id, now) {
            return None;
        }
        self.post.tokens.given.insert(id, now.wall);
        let write = Write::Token(self.post.tokens.to_saved(id));
        self.save(vec![write], Vec::new());
        Some(now.wall.unix_ms().to_be_bytes().to_vec())
    }
}

impl Post {
    /// Returns what is sealed of a message to a person. If it is a receipt that promises a token, that is put into it: it is
    /// a key, so it stands nowhere else, neither in what waits to be sent nor, with that, on the disk.
    pub(super) fn content_of(&self, owed: &Owed, mailbox: &RecordKey, to: &UserId) -> (u16, Vec<u8>) {
        let (kind, body) = owed.content();
        let with_token = owed.is_receipt().then(|| self.keep_promise(&body, mailbox, to)).flatten();
        (kind, with_token.unwrap_or(body))
    }

    fn keep_promise(&self, receipt: &[u8], mailbox: &RecordKey, to: &UserId) -> Option<Vec<u8>> {
        let mut receipt: Receipt = codec::decode(receipt).ok()?;
        let promised = <[u8; 8]>::try_from(receipt.token.as_slice()).ok()?;
        let token = self.make_token(mailbox, to, Timestamp::from_unix_ms(u64::from_be_bytes(promised)));
        receipt.token = token.to_bytes().to_vec();
        let body = codec::encode(&receipt);
        receipt.token.zeroize();
        Some(body)
    }

    /// Makes the token that a person was promised at some time.
    fn make_token(&self, mailbox: &RecordKey, to: &UserId, promised: Timestamp) -> WriteToken {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"token").update(to.as_bytes()).update(&promised.unix_ms().to_be_bytes());
        let secret = Zeroizing::new(*hasher.finalize().as_bytes());
        let expires = promised.saturating_add(TOKEN_LIFETIME);
        WriteToken::issue(&self.node, mailbox, SecretKey::from_bytes(&secret), expires)
    }
}
