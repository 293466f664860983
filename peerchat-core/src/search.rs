//! [`Query`]: words that are searched for; and which words a text has, the same for texts and queries.
//!
//! A word is a run of letters and digits, without case and accents: both sides go through Unicode's compatibility
//! decomposition (UAX 15, NFKD), lose the marks that combine with a letter, and are folded to lower case. Where scripts
//! leave no room between words (Han, Hiragana, Katakana), every character is a word.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// Longest query in bytes.
pub const MAX_QUERY_LEN: usize = 1024;

/// Most words in a query.
pub const MAX_QUERY_WORDS: usize = 32;

/// How much of a word counts, in bytes, in a text and in a query: what is longer is no word of a language.
const MAX_WORD_LEN: usize = 128;

/// What is searched for: every word of it must be in the text, in whatever order.
#[derive(Clone, Eq, PartialEq)]
pub struct Query {
    /// At least one.
    wanted: Vec<Wanted>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Wanted {
    word: String,
    is_prefix: bool,
}

/// Why nothing can be searched for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no letter and no digit in it.
    #[error("there is nothing to search for: give at least one letter or digit")]
    NoWord,
    /// It is too long.
    #[error("what is searched for is {len} bytes, the limit is {MAX_QUERY_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It has too many words.
    #[error("what is searched for has {count} words, the limit is {MAX_QUERY_WORDS}")]
    TooManyWords {
        /// How many it has.
        count: usize,
    },
}

impl Query {
    /// Reads a query: words, of which one that a `*` follows at once stands for every word that begins so. Nothing else
    /// has a meaning of its own.
    ///
    /// # Errors
    ///
    /// It has no word, or more of them, or is longer, than the limits allow.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_LEN {
            return Err(QueryError::TooLong { len: text.len() });
        }
        let mut wanted = Vec::new();
        each_word(text, |word, next| {
            wanted.push(Wanted { word: word.to_owned(), is_prefix: next == Some('*') });
        });
        match wanted.len() {
            0 => Err(QueryError::NoWord),
            count if count > MAX_QUERY_WORDS => Err(QueryError::TooManyWords { count }),
            _ => Ok(Self { wanted }),
        }
    }

    /// Tells whether every word is in a text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut missing: Vec<&Wanted> = self.wanted.iter().collect();
        each_word(text, |word, _| missing.retain(|wanted| !wanted.is(word)));
        missing.is_empty()
    }

    /// Returns each word, and whether it stands for every word that begins so.
    #[cfg(feature = "storage")]
    pub(crate) fn words(&self) -> impl Iterator<Item = (&str, bool)> {
        self.wanted.iter().map(|wanted| (wanted.word.as_str(), wanted.is_prefix))
    }
}

impl fmt::Debug for Query {
    /// Without the words: they are as private as the texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Query({} words)", self.wanted.len())
    }
}

impl Wanted {
    fn is(&self, word: &str) -> bool {
        if self.is_prefix { word.starts_with(&self.word) } else { word == self.word }
    }
}

/// Returns the words of a text with a space after each. They hold letters and digits only.
#[cfg(any(feature = "storage", test))]
pub(crate) fn words_of(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 1);
    each_word(text, |word, _| {
        words.push_str(word);
        words.push(' ');
    });
    words
}

/// Hands out each word of a text, with the character that follows it.
fn each_word(text: &str, mut take: impl FnMut(&str, Option<char>)) {
    let mut word = String::new();
    for character in folded(text) {
        if character.is_alphanumeric() && !is_a_word(character) {
            if word.len() + character.len_utf8() <= MAX_WORD_LEN {
                word.push(character);
            }
            continue;
        }
        if !word.is_empty() {
            take(&word, Some(character));
            word.clear();
        }
        if is_a_word(character) {
            take(character.encode_utf8(&mut [0; 4]), None);
        }
    }
    if !word.is_empty() {
        take(&word, None);
    }
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    let letters = text.nfkd().filter(|character| canonical_combining_class(*character) == 0);
    // By way of upper case, which makes one of `ß` and `ss`, and of the two forms of sigma.
    letters.flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Tells whether a character is of a script that leaves no room between words.
fn is_a_word(character: char) -> bool {
    matches!(
        character,
        '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
    ) && character.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finds(query: &str, text: &str) -> bool {
        Query::parse(query).unwrap().matches(text)
    }

    #[test]
    fn words_are_folded() {
        assert_eq!(words_of("It's 9:30, Zoë!  naïve STRASSE straße"), "it s 9 30 zoe naive strasse strasse ");
        assert_eq!(words_of("Ὀδυσσεύς ﬁn Ⅷ ½"), "οδυσσευσ fin viii 1 2 ");
        assert_eq!(words_of("東京へ行く go"), "東 京 へ 行 く go ");
        assert_eq!(words_of("e\u{301}te\u{301}"), words_of("été"));
        assert_eq!(words_of("हिन्दी"), "हिनदी ", "vowels stay, joiners go");
        assert_eq!(words_of("🙂 -- \0"), "");
        assert_eq!(words_of(&"x".repeat(500)).len(), MAX_WORD_LEN + 1);
    }

    #[test]
    fn every_word_must_be_there_and_a_star_stands_for_the_rest_of_one() {
        let text = "The train to Zürich leaves at 9:30";
        for query in ["train", "TRAIN zurich", "zürich the", "lea*", "tr* 9 30", "zuri*, \"leaves\""] {
            assert!(finds(query, text), "{query}");
        }
        for query in ["trai", "train bern", "lea *", "*train leav", "ains*", "93"] {
            assert!(!finds(query, text), "{query}");
        }
        let long = "y".repeat(400);
        assert!(finds(&long, &format!("a {long} b")));
    }

    #[test]
    fn a_query_has_a_word_and_limits() {
        for nothing in ["", " ", "*", "\"\" -*-", "🙂"] {
            assert_eq!(Query::parse(nothing), Err(QueryError::NoWord), "{nothing}");
        }
        let long = "a".repeat(MAX_QUERY_LEN);
        assert!(Query::parse(&long).is_ok());
        assert_eq!(Query::parse(&(long + "a")), Err(QueryError::TooLong { len: MAX_QUERY_LEN + 1 }));
        assert!(Query::parse(&"a ".repeat(MAX_QUERY_WORDS)).is_ok());
        let many = Query::parse(&"a ".repeat(MAX_QUERY_WORDS + 1));
        assert_eq!(many, Err(QueryError::TooManyWords { count: MAX_QUERY_WORDS + 1 }));
        assert_eq!(format!("{:?}", Query::parse("secret words").unwrap()), "Query(2 words)");
    }

    proptest! {
        #[test]
        fn a_text_is_found_by_its_own_words(text in "\\PC{0,40}") {
            if let Ok(query) = Query::parse(&text) {
                prop_assert!(query.matches(&text));
            }
            prop_assert!(words_of(&text).chars().all(|c| c.is_alphanumeric() || c == ' '));
            prop_assert_eq!(words_of(&words_of(&text)), words_of(&text));
        }
    }
}
