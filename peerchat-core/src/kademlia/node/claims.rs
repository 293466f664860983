//! Claims that this node has not kept for long: once one is contradicted, the other holders are asked whose the name is.
//!
//! A newcomer near a name knows nothing of its past, and whoever reaches it first could give it the name. Asking before
//! each first claim would double what a registration costs, for names that nobody disputes; so the first claim is kept and
//! answered with, and the question is put when a claim of somebody else comes, which the holders near by see to: they hand
//! a newcomer what they keep.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::contact::Contact;
use super::super::record::{Record, RecordKey};
use super::super::rpc::{Rpc, RpcReply};
use super::super::store;
use super::calls::Why;
use super::searches::Purpose;
use super::{Node, NodeWrite};
use crate::identity::PublicKey;
use crate::time::Now;

/// How many of the nodes closest to a name are asked who holds it: as many as a resolver asks.
const CLAIM_JURORS: usize = 8;

/// How many names are asked about at a time, or were within [`QUESTION_PAUSE`]. One more keeps the first claim, until it is
/// contradicted again.
const MAX_QUESTIONS: usize = 16;

/// How long after a question about a name the next one waits, if too few knew an answer.
const QUESTION_PAUSE: Duration = Duration::from_secs(60);

/// How many others must name a holder for the matter to be closed.
const SETTLING_ANSWERS: usize = 2;

/// A name that others are asked about.
#[derive(Debug)]
struct Question {
    asked_at: Instant,
    /// Jurors that have neither answered nor failed; [`usize::MAX`] while they are looked for.
    unfinished: usize,
    /// What they keep, one each.
    answers: Vec<Record>,
}

/// The names that others are asked about.
#[derive(Debug, Default)]
pub(super) struct Questions(BTreeMap<RecordKey, Question>);

impl Node {
    /// Asks others who holds a name whose claim here was contradicted, unless this node remembers that itself.
    pub(super) fn question_claim(&mut self, key: RecordKey, now: Now) {
        let time = self.wall_time(now);
        let is_over = |question: &Question| {
            question.unfinished == 0 && now.instant >= question.asked_at + QUESTION_PAUSE
        };
        self.questions.0.retain(|_, question| !is_over(question));
        if self.store.remembers(&key, time)
            || self.questions.0.contains_key(&key)
            || self.questions.0.len() >= MAX_QUESTIONS
        {
            return;
        }
        let question = Question { asked_at: now.instant, unfinished: usize::MAX, answers: Vec::new() };
        self.questions.0.insert(key, question);
        // Not whom the table happens to hold: a newcomer's is half empty, and those nearest to the name know best.
        self.search(key.place(), Purpose::Question(key), now);
    }

    /// Asks the nodes that are closest to a name what they keep under it.
    pub(super) fn question_jurors(&mut self, key: RecordKey, mut jurors: Vec<Contact>, now: Now) {
        let Some(question) = self.questions.0.get_mut(&key) else { return };
        jurors.truncate(CLAIM_JURORS);
        // One more than there are, so that none of them ends it before all are asked.
        question.unfinished = jurors.len() + 1;
        for juror in jurors {
            let (family, serves) = (self.config.family, self.is_serving_to(&juror));
            self.call(juror, Rpc::FindValue { key, family, serves }, Why::Question(key), now);
        }
        self.question_finished(key);
    }

    /// Takes what a juror keeps under the name.
    pub(super) fn question_answered(&mut self, key: RecordKey, reply: RpcReply, now: Now) {
        let record = match reply {
            RpcReply::Value(bytes) => {
                let parsed = Record::parse(&bytes).ok().filter(|record| record.header().key == key);
                self.stats.invalid_records += u64::from(parsed.is_none());
                parsed
            }
            _ => None,
        };
        let time = self.wall_time(now);
        if let Some(question) = self.questions.0.get_mut(&key) {
            question.answers.extend(record.filter(|record| store::is_alive(record, time)));
        }
        self.question_finished(key);
    }

    /// Notes that a juror has answered or never will.
    pub(super) fn question_finished(&mut self, key: RecordKey) {
        let Some(question) = self.questions.0.get_mut(&key) else { return };
        question.unfinished = question.unfinished.saturating_sub(1);
        if question.unfinished == 0 {
            let answers = std::mem::take(&mut question.answers);
            self.close_question(key, answers);
        }
    }

    /// Keeps the claim of whom most of the others and we ourselves name. That is then remembered, if enough have answered.
    fn close_question(&mut self, key: RecordKey, answers: Vec<Record>) {
        let Some(ours) = self.store.owner(&key) else { return };
        let is_enough = answers.len() >= SETTLING_ANSWERS;
        if let Some(record) = majority(answers, ours) {
            let bytes = record.as_bytes().to_vec();
            self.store.overrule(record);
            self.writes.push_back(NodeWrite::Record { key, bytes });
            self.stats.overruled_claims += 1;
        }
        if is_enough {
            self.store.remember(&key);
        }
    }
}

/// Returns the newest claim of the owner whom more than half of the answers name, ours counting as one, unless that owner
/// is ours.
fn majority(answers: Vec<Record>, ours: PublicKey) -> Option<Record> {
    let mut votes: BTreeMap<PublicKey, usize> = BTreeMap::from([(ours, 1)]);
    for answer in &answers {
        *votes.entry(answer.header().owner).or_default() += 1;
    }
    let total: usize = votes.values().sum();
    let (winner, _) = votes.into_iter().find(|(_, count)| 2 * count > total)?;
    let theirs = answers.into_iter().filter(|answer| winner != ours && answer.header().owner == winner);
    theirs.max_by_key(|answer| answer.header().sequence)
}
