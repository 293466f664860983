//! How [`User`] leaves what it owes to someone who is away with the nodes closest to the key of their user record.
//!
//! It begins when an attempt to deliver directly has failed, and goes on beside further attempts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::directory::{Device, devices};
use super::machine::{Effect, SearchId, User, UserAction};
use super::owed::{Owed, Sealed};
use super::post::MailCall;
use super::searching::Purpose;
use super::sender::{Sender, Step};
use super::working::Task;
use crate::crypto::Envelope;
use crate::event::{Event, MessageState};
use crate::kademlia::{Contact, Record, RecordKey};
use crate::mail::{
    Admission, EnvelopeHeader, Introduction, Letter, MAX_WORK_BITS, MailRefusal, MailRequest, MailResponse,
    SealedEnvelope, TokenProof, Work,
};
use crate::save::{ConversationId, Write};
use crate::time::{Now, Timestamp};

/// Most nodes that keep the mail of one person.
pub const MAX_HOLDERS: usize = 64;

/// Most envelopes of one conversation that are on their way to their holders.
pub const MAX_OPEN_DEPOSITS: usize = 32;

/// Longest that an envelope is kept. One for a message that lives longer is replaced at half this age.
const MAX_MAIL_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is being deposited for one person.
pub(super) struct Depositor {
    /// Tells this from earlier ones of the conversation, whose calls may still be answered.
    round: u64,
    mailbox: RecordKey,
    /// Who the mail is for, and the record that says so.
    device: Device,
    record: Record,
    holders: Vec<Holder>,
    /// While the holders are looked up.
    search: Option<SearchId>,
    /// Every message with a lower number has been looked at.
    cursor: u64,
    /// By the numbers of their first messages.
    open: BTreeMap<u64, OpenDeposit>,
}

/// A node that keeps, or should keep, mail of the person.
struct Holder {
    contact: Contact,
    standing: Standing,
    /// It takes no token of ours: it is shown work, as a stranger's.
    is_wary: bool,
}

/// What may be asked of a holder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// It is asked to keep envelopes.
    Ready,
    /// It is asked to keep the person's record. Left when it answers, or does not.
    Storing,
    /// As [`Self::Ready`], and it has the record: it is not asked again.
    Informed,
    /// It keeps nothing in this round.
    Out,
}

/// An envelope on its way. The sets have a bit for each holder.
struct OpenDeposit {
    envelope: SealedEnvelope,
    /// How many messages are in it.
    count: u64,
    /// What shows that the recipient has given us a token.
    proof: Option<Box<TokenProof>>,
    /// Those who were shown it and have not refused it.
    token_shown: u64,
    /// A nonce, and how many bits it makes zero.
    work: Option<(u64, u8)>,
    /// How much work those of `asking` have asked for.
    wanted: u8,
    /// Those who wait for work.
    asking: u64,
    /// Those who were shown `work`.
    shown: u64,
    waiting: u64,
    in_flight: u64,
    held: u64,
    is_released: bool,
}

/// Which call a [`MailCall::Deposit`] is.
#[derive(Clone, Copy, Debug)]
pub(super) struct DepositCall {
    conversation: ConversationId,
    round: u64,
    holder: usize,
    /// `None` for a STORE.
    number: Option<u64>,
}

impl Depositor {
    /// Turns away from a holder for the rest of the round.
    fn leave_out(&mut self, holder: usize) {
        if let Some(holder) = self.holders.get_mut(holder) {
            holder.standing = Standing::Out;
        }
        self.open.values_mut().for_each(|open| {
            open.waiting &= !bit(holder);
            open.asking &= !bit(holder);
        });
    }

    /// Notes that a holder takes no token of ours.
    fn set_wary(&mut self, holder: usize) {
        if let Some(holder) = self.holders.get_mut(holder) {
            holder.is_wary = true;
        }
    }

    fn is_lost(&self) -> bool {
        self.search.is_none() && self.holders.iter().all(|holder| holder.standing == Standing::Out)
    }

    /// Returns the next envelope to send, and to which holder.
    fn next_deposit(&mut self) -> Option<(usize, u64, Contact, Vec<u8>)> {
        for (number, open) in &mut self.open {
            for (index, holder) in self.holders.iter().enumerate() {
                let is_ready = matches!(holder.standing, Standing::Ready | Standing::Informed);
                if is_ready && open.waiting & bit(index) != 0 {
                    open.waiting &= !bit(index);
                    open.in_flight |= bit(index);
                    let admission = open.admission(index, holder.is_wary);
                    let bytes = admission.deposit(open.envelope.as_bytes());
                    return Some((index, *number, holder.contact, bytes));
                }
            }
        }
        None
    }

    /// Returns the next envelope that needs work.
    pub(super) fn next_task(&self, conversation: ConversationId) -> Option<Task> {
        let (number, open) = self.open.iter().find(|(_, open)| open.asking != 0)?;
        let work = Work { envelope: open.envelope.id(), bits: open.wanted };
        Some(Task { conversation, round: self.round, number: *number, work })
    }
}

impl OpenDeposit {
    /// Returns what a holder is shown with the envelope.
    fn admission(&mut self, holder: usize, is_wary: bool) -> Admission {
        match (&self.proof, self.work) {
            (Some(proof), _) if !is_wary => {
                self.token_shown |= bit(holder);
                Admission::Token(proof.clone())
            }
            (_, Some((nonce, _))) => {
                self.shown |= bit(holder);
                Admission::Work(nonce)
            }
            (_, None) => Admission::Nothing,
        }
    }

    /// Takes that a holder asks for work. Returns `false` if it gets none: it is too much, or was done already.
    fn handle_asked(&mut self, holder: usize, bits: u8) -> bool {
        if self.work.is_some_and(|(_, done)| bits <= done) {
            let is_new = self.shown & bit(holder) == 0;
            self.waiting |= if is_new { bit(holder) } else { 0 };
            return is_new;
        }
        // Whoever asks for none would be sent the same again.
        if bits == 0 || bits > MAX_WORK_BITS {
            return false;
        }
        self.asking |= bit(holder);
        self.wanted = self.wanted.max(bits);
        true
    }
}

impl User {
    /// Leaves what is owed to a conversation with others if its person does not answer; begun already, goes on with it.
    pub(super) fn deposit_if_away(&mut self, id: ConversationId, now: Now) {
        if self.senders.get(&id).is_some_and(|sender| matches!(sender.step, Step::Waiting(_))) {
            self.start_depositing(id, now);
        }
    }

    /// Begins to leave what is owed to a conversation with the nodes that keep its person's mail.
    pub(super) fn start_depositing(&mut self, id: ConversationId, now: Now) {
        if self.post.depositors.contains_key(&id) {
            self.deposit(id, now);
            return;
        }
        let Some(found) = self.people.get_mut(id) else { return };
        let Some((user, record)) = found.saved.user.zip(found.record.clone()) else { return };
        let Some(device) = devices(&record).and_then(|list| list.into_iter().next()) else { return };
        let to = (device.node.node_id(), device.keys.seal);
        let has_any = |sender: &Sender| sender.has_to_deposit(to, now.instant);
        if user == self.id || !self.senders.get(&id).is_some_and(has_any) {
            return;
        }
        found.keys.entry(to.0).or_insert(device.keys);
        self.renew_introduction(now);
        let mailbox = RecordKey::of_user(user.as_bytes());
        let search = self.start_node_search(Purpose::Holders(id), mailbox.place());
        self.post.last_round += 1;
        let depositor = Depositor {
            round: self.post.last_round,
            mailbox,
            device,
            record,
            holders: Vec::new(),
            search: Some(search),
            cursor: 0,
            open: BTreeMap::new(),
        };
        self.post.depositors.insert(id, depositor);
    }

    /// Gives up what is being deposited for a conversation; it may begin again.
    pub(super) fn end_deposits(&mut self, id: ConversationId) {
        self.post.depositors.remove(&id);
    }

    pub(super) fn handle_holders(
        &mut self,
        id: ConversationId,
        search: SearchId,
        nodes: &[Contact],
        now: Now,
    ) {
        let own = self.node_id;
        let Some(depositor) = self.post.depositors.get_mut(&id) else { return };
        if depositor.search != Some(search) {
            return;
        }
        depositor.search = None;
        let recipient = depositor.device.node.node_id();
        let others = nodes.iter().filter(|contact| ![own, recipient].contains(&contact.id()));
        let ready =
            |contact: &Contact| Holder { contact: *contact, standing: Standing::Ready, is_wary: false };
        depositor.holders = others.take(MAX_HOLDERS).map(ready).collect();
        self.deposit(id, now);
    }

    /// Takes the next steps of what is being deposited for a conversation, as far as they can be taken now.
    pub(super) fn deposit(&mut self, id: ConversationId, now: Now) {
        loop {
            let may_go_on = self.open_deposits(id, now);
            let Some(depositor) = self.post.depositors.get_mut(&id) else { return };
            if depositor.search.is_some() {
                return;
            }
            if depositor.is_lost() {
                tracing::debug!("nobody keeps the mail of a conversation now");
                self.end_deposits(id);
                return;
            }
            let round = depositor.round;
            while let Some((holder, number, to, envelope)) =
                self.post.depositors.get_mut(&id).and_then(Depositor::next_deposit)
            {
                let call = DepositCall { conversation: id, round, holder, number: Some(number) };
                self.call_holder(call, to, MailRequest::Deposit { envelope });
            }
            if !self.close_deposits(id, now) {
                self.work();
                let is_done =
                    self.post.depositors.get(&id).is_some_and(|depositor| depositor.open.is_empty());
                if is_done && may_go_on {
                    self.end_deposits(id);
                }
                return;
            }
        }
    }

    fn call_holder(&mut self, call: DepositCall, to: Contact, request: MailRequest) {
        let tag = self.next_call();
        self.post.calls.insert(tag, MailCall::Deposit(call));
        self.act(UserAction::Mail { tag, to, request, is_answer_long: false });
    }

    /// Seals further letters while there is room. Returns `false` if it has to wait, for the disk or for keys.
    fn open_deposits(&mut self, id: ConversationId, now: Now) -> bool {
        let Some(user) = self.people.get(id).and_then(|found| found.saved.user) else { return false };
        let Some(depositor) = self.post.depositors.get(&id) else { return false };
        let Some(sender) = self.senders.get(&id) else { return false };
        if depositor.search.is_some() {
            return true;
        }
        let to = (depositor.device.node.node_id(), depositor.device.keys.seal);
        let Some(next) = sender.next_deposit(depositor.cursor, to, now.instant) else {
            return depositor.open.len() < MAX_OPEN_DEPOSITS;
        };
        if !sender.is_sealing(self.saved_seal) && !self.seal_range(id, &user, to.0, sender.window_from(next))
        {
            return false;
        }
        while let Some(first) = self.next_to_deposit(id, now) {
            let Some(sender) = self.senders.get_mut(&id) else { return false };
            let oldest = sender.oldest();
            let Some(owed) = sender.numbered(first) else { return false };
            let Some(sealed) = owed.sealed.clone() else { return false };
            if sealed.device != to.0 || sealed.seal > self.saved_seal {
                return false;
            }
            let Sealed { first, count, envelope: Some(session), .. } = sealed else { return false };
            let numbers = first..first + count;
            let last_expires = sender.owed_in(&numbers).map(|owed| owed.expires).max();
            let envelope = self.seal_letter(id, (first, count), session, (oldest, last_expires), now);
            let Some(depositor) = self.post.depositors.get(&id) else { return false };
            let token = self.token_for(id, &depositor.device.node, now);
            let proof =
                token.zip(envelope.as_ref()).map(|(token, sealed)| Box::new(token.proof(&sealed.id())));
            let Some(depositor) = self.post.depositors.get_mut(&id) else { return false };
            depositor.cursor = numbers.end;
            if let Some(envelope) = envelope {
                let is_in = |index: &usize| depositor.holders[*index].standing != Standing::Out;
                let waiting =
                    (0..depositor.holders.len()).filter(is_in).fold(0, |set, index| set | bit(index));
                let open = OpenDeposit {
                    envelope,
                    count,
                    proof,
                    token_shown: 0,
                    work: None,
                    wanted: 0,
                    asking: 0,
                    shown: 0,
                    waiting,
                    in_flight: 0,
                    held: 0,
                    is_released: false,
                };
                depositor.open.insert(first, open);
                if let Some(sender) = self.senders.get_mut(&id) {
                    sender.owed_in_mut(&numbers).for_each(|owed| owed.deposit.is_tried = true);
                }
            }
        }
        let depositor = self.post.depositors.get(&id);
        depositor.is_some_and(|depositor| depositor.open.len() < MAX_OPEN_DEPOSITS)
    }

    /// Returns the number of the first message of the next envelope to deposit, if there is room for one more.
    fn next_to_deposit(&self, id: ConversationId, now: Now) -> Option<u64> {
        let depositor = self.post.depositors.get(&id)?;
        if depositor.open.len() >= MAX_OPEN_DEPOSITS {
            return None;
        }
        let to = (depositor.device.node.node_id(), depositor.device.keys.seal);
        self.senders.get(&id)?.next_deposit(depositor.cursor, to, now.instant)
    }

    /// Seals the letter with messages that were sealed in a session, the first of which has a number. It is kept as long as
    /// the one that lives longest.
    fn seal_letter(
        &self,
        id: ConversationId,
        (number, count): (u64, u64),
        envelope: Envelope,
        (oldest, last_expires): (u64, Option<Timestamp>),
        now: Now,
    ) -> Option<SealedEnvelope> {
        let depositor = self.post.depositors.get(&id)?;
        let owed = self.senders.get(&id)?.owed_in(&(number..number + 1)).next()?;
        let (to, key) = (depositor.device.node.node_id(), &depositor.device.keys.seal);
        let expires = expiry(owed.sent, last_expires.unwrap_or(owed.expires), now.wall);
        let header = EnvelopeHeader { mailbox: depositor.mailbox, device: to, expires };
        let is_known = self.people.get(id).is_some_and(|found| found.knows_us);
        let introduction = self.post.introduction.as_ref();
        let letter = Letter {
            from: self.id,
            device: self.node,
            number,
            count,
            oldest,
            tag: owed.tag(&self.tag_key),
            envelope,
            introduction: introduction.filter(|_| !is_known).map(|(introduction, _)| introduction.clone()),
        };
        let drawn = (&*self.post.secret, owed.deposit.attempt);
        let sealed = letter.seal(&header, key, &self.post.node, drawn);
        // The longest text has no room for the records of somebody with many devices.
        let sealed = sealed
            .or_else(|_| Letter { introduction: None, ..letter }.seal(&header, key, &self.post.node, drawn));
        sealed.inspect_err(|error| tracing::debug!(%error, "a letter cannot be sealed")).ok()
    }

    /// Takes what letters say of who we are from our records, if it is not said yet or was signed too long ago.
    fn renew_introduction(&mut self, now: Now) {
        let is_current = |at: Timestamp| now.wall.saturating_since(at) < MAX_MAIL_LIFETIME / 2;
        if self.post.introduction.as_ref().is_some_and(|(_, signed)| is_current(*signed)) {
            return;
        }
        self.post.introduction = self.registration.records().map(|(claim, user)| {
            let introduction =
                Introduction { claim: claim.as_bytes().to_vec(), user: user.as_bytes().to_vec() };
            (introduction, user.header().issued)
        });
    }

    /// Takes what holders were asked out of the way whose answers are all there. Tells whether there were any.
    fn close_deposits(&mut self, id: ConversationId, now: Now) -> bool {
        let Some(depositor) = self.post.depositors.get_mut(&id) else { return false };
        let is_done = |open: &OpenDeposit| open.waiting | open.in_flight | open.asking == 0;
        let done: Vec<u64> =
            depositor.open.iter().filter(|(_, open)| is_done(open)).map(|(number, _)| *number).collect();
        let to = (depositor.device.node.node_id(), depositor.device.keys.seal);
        for first in done.iter().copied() {
            let closed =
                self.post.depositors.get_mut(&id).and_then(|depositor| depositor.open.remove(&first));
            let Some((closed, sender)) = closed.zip(self.senders.get_mut(&id)) else { continue };
            if closed.held == 0 && !closed.is_released {
                continue;
            }
            let numbers = first..first + closed.count;
            let mut is_notice = false;
            for owed in sender.owed_in_mut(&numbers) {
                owed.deposit.done = Some((to.0, to.1, now.instant));
                owed.deposit.attempt += u32::from(closed.is_released);
                is_notice |= owed.is_notice();
            }
            let held_by = closed.held.count_ones();
            if is_notice {
                // Whoever gets the message again that a receipt is about sends another one.
                let notices = sender.take_left();
                sender.note_acknowledged(&notices, &self.tag_key);
                self.finish(id, notices, MessageState::Delivered, None);
            } else if held_by > 0 {
                self.tell_stored(id, &numbers, held_by);
            }
        }
        if !done.is_empty() {
            self.drop_if_paid(id);
        }
        !done.is_empty()
    }

    /// Takes away a sender that owes nothing more now that its last notice is with others.
    fn drop_if_paid(&mut self, id: ConversationId) {
        if self.senders.get(&id).is_some_and(Sender::is_empty) {
            self.remove_sender(id);
        }
    }

    /// Saves and tells how many holders keep messages, as far as that is news.
    fn tell_stored(&mut self, id: ConversationId, numbers: &Range<u64>, held_by: u32) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        let news = |owed: &&mut Owed| owed.deposit.held_by != held_by && !owed.is_notice();
        let note = |owed: &mut Owed| {
            owed.deposit.held_by = held_by;
            owed.position
        };
        let positions: Vec<u64> = sender.owed_in_mut(numbers).filter(news).map(note).collect();
        let to = self.people.get(id).map(|found| found.saved.peer.clone()).unwrap_or_default();
        let event = |position: &u64| {
            Effect::Tell(Event::MessageState {
                id: self.message_id(*position),
                to: to.clone(),
                state: MessageState::Stored,
                held_by,
                code: None,
                detail: String::new(),
            })
        };
        let then = positions.iter().map(event).collect();
        let write = |position| Write::MessageStored { position, held_by };
        self.save(positions.into_iter().map(write).collect(), then);
    }

    pub(super) fn handle_deposit_answer(&mut self, call: DepositCall, response: &MailResponse, now: Now) {
        let DepositCall { conversation: id, holder, .. } = call;
        let Some((depositor, number)) = self.depositor_of(call) else { return };
        let standing = depositor.holders.get(holder).map_or(Standing::Out, |holder| holder.standing);
        let Some(open) = depositor.open.get_mut(&number) else { return };
        open.in_flight &= !bit(holder);
        match response {
            MailResponse::Deposited => {
                open.held |= bit(holder);
                let numbers = number..number + open.count;
                if self.held_by(id, number) == Some(0) {
                    self.tell_stored(id, &numbers, 1);
                }
            }
            MailResponse::Refused(MailRefusal::Gone) => open.is_released = true,
            MailResponse::Refused(MailRefusal::UnknownMailbox | MailRefusal::NotListed)
                if matches!(standing, Standing::Ready | Standing::Storing) =>
            {
                open.waiting |= bit(holder);
                self.inform(call);
            }
            MailResponse::Refused(MailRefusal::WorkNeeded { bits }) => {
                // Whoever is shown a token and asks for work has not taken it for one.
                depositor.set_wary(holder);
                let is_done =
                    depositor.open.get_mut(&number).is_some_and(|open| open.handle_asked(holder, *bits));
                if !is_done {
                    depositor.leave_out(holder);
                    self.note_given_up();
                }
            }
            // Several envelopes may have been on their way with it.
            MailResponse::Refused(MailRefusal::BadToken) if open.token_shown & bit(holder) != 0 => {
                open.token_shown &= !bit(holder);
                open.waiting |= bit(holder);
                depositor.set_wary(holder);
            }
            MailResponse::Refused(MailRefusal::Invalid) => {}
            _ => depositor.leave_out(holder),
        }
        self.deposit(id, now);
    }

    /// Takes what came of work for an envelope: those who asked for it are shown it, or get nothing.
    pub(super) fn handle_worked_for(&mut self, task: Task, nonce: Option<u64>, now: Now) {
        let Task { conversation: id, round, number, work } = task;
        let Some(depositor) = self.post.depositors.get_mut(&id).filter(|it| it.round == round) else {
            return;
        };
        let Some(open) = depositor.open.get_mut(&number).filter(|open| open.envelope.id() == work.envelope)
        else {
            return;
        };
        let asking = std::mem::take(&mut open.asking);
        if let Some(nonce) = nonce {
            open.work = Some((nonce, work.bits));
            open.shown = 0;
            open.waiting |= asking;
        }
        open.wanted = 0;
        self.deposit(id, now);
    }

    fn held_by(&mut self, id: ConversationId, number: u64) -> Option<u32> {
        let owed = self.senders.get_mut(&id)?.numbered(number)?;
        Some(owed.deposit.held_by)
    }

    /// Asks a holder to keep the record of the person whose mail it is to keep, once.
    fn inform(&mut self, call: DepositCall) {
        let Some((depositor, _)) = self.depositor_of(call) else { return };
        let record = depositor.record.clone();
        let Some(holder) = depositor.holders.get_mut(call.holder) else { return };
        if holder.standing == Standing::Ready {
            holder.standing = Standing::Storing;
            let to = holder.contact;
            let tag = self.next_call();
            self.post.calls.insert(tag, MailCall::Deposit(DepositCall { number: None, ..call }));
            self.act(UserAction::Store { tag, to, record });
        }
    }

    pub(super) fn handle_record_stored(&mut self, call: DepositCall, is_stored: bool, now: Now) {
        let Some((depositor, _)) = self.depositor_of(call) else { return };
        if !is_stored {
            depositor.leave_out(call.holder);
        } else if let Some(holder) = depositor.holders.get_mut(call.holder) {
            holder.standing = Standing::Informed;
        }
        self.deposit(call.conversation, now);
    }

    pub(super) fn handle_deposit_failed(&mut self, call: DepositCall, now: Now) {
        let Some((depositor, number)) = self.depositor_of(call) else { return };
        if let Some(open) = depositor.open.get_mut(&number) {
            open.in_flight &= !bit(call.holder);
        }
        depositor.leave_out(call.holder);
        self.deposit(call.conversation, now);
    }

    /// Returns the depositor that made a call, if it is still at it, and the number that the call was about.
    fn depositor_of(&mut self, call: DepositCall) -> Option<(&mut Depositor, u64)> {
        let depositor = self.post.depositors.get_mut(&call.conversation)?;
        (depositor.round == call.round).then_some((depositor, call.number.unwrap_or(0)))
    }
}

const fn bit(index: usize) -> u64 {
    1 << (index % MAX_HOLDERS)
}

/// Returns until when messages are kept, the first of which was written at `sent` and the last of which expires at `expires`:
/// as long as they live, but no longer than holders keep anything. The same for all deposits of half that time, so that they
/// are one envelope.
fn expiry(sent: Timestamp, expires: Timestamp, now: Timestamp) -> Timestamp {
    let half = MAX_MAIL_LIFETIME / 2;
    let age = now.saturating_since(sent);
    let halves = u32::try_from(age.as_millis() / half.as_millis()).unwrap_or(u32::MAX);
    expires.min(sent.saturating_add(half.saturating_mul(halves.saturating_add(2))))
}
