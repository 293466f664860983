//! [`Ledger`]: what was written and acknowledged, and what was shown, so simply that it cannot be wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::Failure;

/// From whom to whom.
type Pair = (String, String);

/// What people wrote to one another, and what their applications were told.
///
/// Every text is `writer reader number`, counted for each pair from 0, so whoever sees one knows whose it is.
#[derive(Debug, Default)]
pub struct Ledger {
    pairs: BTreeMap<Pair, Written>,
    retold: u64,
}

/// The texts of one to another.
#[derive(Debug, Default)]
struct Written {
    /// The number of the next text.
    next: u64,
    /// What the writer's client said it has on disk.
    accepted: BTreeSet<u64>,
    /// What the reader's application was told, with the id that it was told under.
    shown: BTreeMap<u64, String>,
    /// Which of these since the reader's program was started last.
    shown_now: BTreeSet<u64>,
}

impl Ledger {
    /// Starts with nothing written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the next text of one to another. It counts as tried, not as accepted.
    pub fn write(&mut self, from: &str, to: &str) -> String {
        let written = self.pairs.entry((from.to_owned(), to.to_owned())).or_default();
        let text = format!("{from} {to} {}", written.next);
        written.next += 1;
        text
    }

    /// Notes that the writer's client acknowledged a text.
    ///
    /// # Errors
    ///
    /// Nobody has written it.
    pub fn accept(&mut self, text: &str) -> Result<(), Failure> {
        let (written, number) = self.find(text)?;
        written.accepted.insert(number);
        Ok(())
    }

    /// Notes that a reader's program was started: what it had not confirmed may be told again.
    pub fn start(&mut self, reader: &str) {
        for ((_, to), written) in &mut self.pairs {
            if to == reader {
                written.shown_now.clear();
            }
        }
    }

    /// Notes that an application was told of a text, under an id.
    ///
    /// # Errors
    ///
    /// The text is not for this reader or was never written, it was told before under another id or since the last
    /// start, or it comes after a later one.
    pub fn show(&mut self, reader: &str, id: &str, text: &str) -> Result<(), Failure> {
        if text.split(' ').nth(1) != Some(reader) {
            return Err(format!("{reader} was shown '{text}', which is for somebody else").into());
        }
        let (written, number) = self.find(text)?;
        if !written.shown_now.insert(number) {
            return Err(format!("{reader} was shown '{text}' twice").into());
        }
        match written.shown.get(&number) {
            Some(earlier) if earlier == id => self.retold += 1,
            Some(earlier) => return Err(format!("'{text}' was shown as {earlier} and as {id}").into()),
            None => {
                if let Some((later, _)) = written.shown.last_key_value().filter(|(later, _)| **later > number)
                {
                    return Err(format!("'{text}' was shown after number {later}").into());
                }
                written.shown.insert(number, id.to_owned());
            }
        }
        Ok(())
    }

    /// Returns how many texts were accepted.
    #[must_use]
    pub fn accepted_count(&self) -> u64 {
        self.pairs.values().map(|written| written.accepted.len() as u64).sum()
    }

    /// Returns how many texts were told again after a start.
    #[must_use]
    pub fn retold_count(&self) -> u64 {
        self.retold
    }

    /// Returns how many accepted texts have not been shown, of the pairs that `is_due` picks.
    pub fn waiting_count(&self, is_due: impl Fn(&str, &str) -> bool) -> usize {
        let waiting = self.pairs.iter().filter(|((from, to), _)| is_due(from, to));
        waiting.map(|(_, written)| written.missing().count()).sum()
    }

    /// Returns the first few accepted texts that have not been shown, for a failure to name them.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let texts = self.pairs.iter().flat_map(|((from, to), written)| {
            written.missing().map(move |number| format!("{from} {to} {number}"))
        });
        texts.take(10).collect()
    }

    /// Checks the history of what `reader` received from `writer`, oldest first: everything accepted, nothing twice,
    /// in order, and as it was shown.
    ///
    /// # Errors
    ///
    /// It is not so.
    pub fn check_history(&self, writer: &str, reader: &str, texts: &[String]) -> Result<(), Failure> {
        let pair = (writer.to_owned(), reader.to_owned());
        let Some(written) = self.pairs.get(&pair) else {
            return if texts.is_empty() { Ok(()) } else { Err(format!("{pair:?}: {texts:?}").into()) };
        };
        let numbers: Vec<u64> = texts.iter().map(|text| number_of(text)).collect::<Result<_, _>>()?;
        if !numbers.is_sorted_by(|one, next| one < next) {
            return Err(format!("{reader} has texts of {writer} twice or out of order: {numbers:?}").into());
        }
        let numbers: BTreeSet<u64> = numbers.into_iter().collect();
        if let Some(lost) = written.accepted.difference(&numbers).next() {
            return Err(format!("number {lost} of {writer} to {reader} was acknowledged and is lost").into());
        }
        if !numbers.iter().eq(written.shown.keys()) {
            return Err(format!("{reader} was not shown what history has of {writer}").into());
        }
        Ok(())
    }

    /// Returns who has written to whom.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.keys().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    fn find(&mut self, text: &str) -> Result<(&mut Written, u64), Failure> {
        let unknown = || format!("nobody has written '{text}'");
        let mut words = text.split(' ');
        let (Some(from), Some(to)) = (words.next(), words.next()) else { return Err(unknown().into()) };
        let number = number_of(text)?;
        let written = self.pairs.get_mut(&(from.to_owned(), to.to_owned()));
        let written = written.filter(|written| number < written.next).ok_or_else(unknown)?;
        Ok((written, number))
    }
}

impl Written {
    fn missing(&self) -> impl Iterator<Item = u64> {
        self.accepted.iter().copied().filter(|number| !self.shown.contains_key(number))
    }
}

fn number_of(text: &str) -> Result<u64, Failure> {
    let number = text.split(' ').nth(2).and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("nobody has written '{text}'").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(count: u64) -> Ledger {
        let mut ledger = Ledger::new();
        for _ in 0..count {
            let text = ledger.write("alice", "bob");
            ledger.accept(&text).unwrap();
        }
        ledger
    }

    fn texts(numbers: &[u64]) -> Vec<String> {
        numbers.iter().map(|number| format!("alice bob {number}")).collect()
    }

    #[test]
    fn what_is_lost_doubled_out_of_order_or_invented_is_noticed() {
        let mut ledger = ledger(3);
        for number in 0..3 {
            ledger.show("bob", &number.to_string(), &format!("alice bob {number}")).unwrap();
        }
        assert!(ledger.check_history("alice", "bob", &texts(&[0, 1, 2])).is_ok());
        for wrong in [&[0, 2][..], &[0, 1], &[0, 1, 1, 2], &[1, 0, 2], &[0, 1, 2, 3]] {
            assert!(ledger.check_history("alice", "bob", &texts(wrong)).is_err(), "{wrong:?}");
        }
        assert!(ledger.check_history("bob", "alice", &texts(&[0])).is_err());
    }

    #[test]
    fn a_text_is_shown_once_and_again_only_after_a_start() {
        let mut ledger = ledger(3);
        ledger.show("bob", "id 0", "alice bob 0").unwrap();
        assert!(ledger.show("bob", "id 0", "alice bob 0").is_err());
        ledger.start("bob");
        ledger.show("bob", "id 0", "alice bob 0").unwrap();
        ledger.start("bob");
        assert!(ledger.show("bob", "another", "alice bob 0").is_err());
        ledger.show("bob", "id 2", "alice bob 2").unwrap();
        assert!(ledger.show("bob", "id 1", "alice bob 1").is_err(), "after a later one");
        assert!(ledger.show("bob", "id 3", "alice bob 3").is_err(), "never written");
        assert!(ledger.show("carol", "id 1", "alice bob 1").is_err(), "not for her");
        assert_eq!(ledger.retold_count(), 1);
    }

    #[test]
    fn what_was_not_acknowledged_may_arrive_and_need_not() {
        let mut ledger = ledger(1);
        ledger.write("alice", "bob");
        ledger.show("bob", "id 0", "alice bob 0").unwrap();
        assert_eq!(ledger.waiting_count(|_, _| true), 0);
        assert!(ledger.check_history("alice", "bob", &texts(&[0])).is_ok());
        ledger.show("bob", "id 1", "alice bob 1").unwrap();
        assert!(ledger.check_history("alice", "bob", &texts(&[0, 1])).is_ok());
    }
}
