//! [`UserName`]: what people call one another, and [`Recipient`]: how a message is addressed.

use std::fmt;
use std::str::FromStr;

use precis_core::profile::PrecisFastInvocation;
use precis_profiles::UsernameCaseMapped;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::UserId;
use unicode_security::MixedScript as _;
use unicode_security::mixed_script::AugmentedScriptSet;

/// Longest user name in characters.
pub const MAX_NAME_CHARS: usize = 32;

/// Longest user name in bytes of UTF-8, after normalization.
pub const MAX_NAME_LEN: usize = 64;

/// Length of a fingerprint in characters: 40 bits in base32.
const FINGERPRINT_CHARS: usize = 8;

/// Characters that addresses and file names need for themselves.
const RESERVED: [char; 6] = ['#', '@', ':', '/', '\\', '"'];

/// Why [`UserName::parse`] or [`Recipient::parse`] refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no name.
    #[error("the user name is empty")]
    Empty,
    /// The name is too long.
    #[error("the user name is too long: at most {MAX_NAME_CHARS} characters and {MAX_NAME_LEN} bytes")]
    TooLong,
    /// The name has a character that PRECIS `UsernameCaseMapped` (RFC 8265) or peerchat does not allow.
    #[error(
        "the user name has a character that names cannot have (a space, a symbol or one of # @ : / \\ \")"
    )]
    Forbidden,
    /// The name mixes alphabets, so that it can look like another name.
    #[error("the user name mixes letters of several alphabets, so that it could pass for another name")]
    MixedScripts,
    /// What follows `#` is not a fingerprint.
    #[error("the fingerprint after # is not {FINGERPRINT_CHARS} characters of a to z and 2 to 7")]
    Fingerprint,
}

/// A user name, normalized by PRECIS `UsernameCaseMapped` (RFC 8265): 1 to 32 characters, at most 64 bytes.
///
/// Two spellings that normalize alike are the same name: `Alice` is `alice`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserName(String);

impl UserName {
    /// Normalizes and checks a name.
    ///
    /// # Errors
    ///
    /// The name is empty, too long, or has a character that names cannot have.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        // Normalization is superlinear in hostile input: refuse what cannot fit before starting it.
        if name.len() > 4 * MAX_NAME_LEN {
            return Err(NameError::TooLong);
        }
        let name = UsernameCaseMapped::enforce(name).map_err(|_| NameError::Forbidden)?.into_owned();
        if name.len() > MAX_NAME_LEN || name.chars().count() > MAX_NAME_CHARS {
            return Err(NameError::TooLong);
        }
        if name.contains(RESERVED) {
            return Err(NameError::Forbidden);
        }
        if !is_of_one_script(&name) {
            return Err(NameError::MixedScripts);
        }
        // Two characters that names may have can combine to one that they may not: what is left must be a name itself, or
        // nobody would take it for one (RFC 8264, section 7).
        if !UsernameCaseMapped::enforce(&name).is_ok_and(|again| again == name) {
            return Err(NameError::Forbidden);
        }
        Ok(Self(name))
    }

    /// Returns the normalized name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells whether the letters of a name belong together: those of one alphabet, or Latin ones beside Chinese, Japanese or
/// Korean, as people there write (UTS 39, sections 5.1 and 5.2, "highly restrictive"). A Cyrillic letter in a Latin name
/// would be a name that looks like another.
fn is_of_one_script(name: &str) -> bool {
    if name.is_single_script() {
        return true;
    }
    let others: String = name.chars().filter(|c| !c.is_ascii_alphabetic()).collect();
    let scripts = AugmentedScriptSet::for_str(&others);
    scripts.jpan || scripts.kore || scripts.hanb
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::parse(name)
    }
}

impl Serialize for UserName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = Self::parse(&text).map_err(D::Error::custom)?;
        if name.0 == text { Ok(name) } else { Err(D::Error::custom("a name that is not normalized")) }
    }
}

/// Whom a message is for: a name, or a name with a fingerprint where the name alone could mean somebody else.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Recipient {
    name: UserName,
    fingerprint: Option<String>,
}

impl Recipient {
    /// Parses `alice` or `alice#7kq2m4xd`.
    ///
    /// # Errors
    ///
    /// The name or the fingerprint breaks its rules.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let Some((name, fingerprint)) = text.split_once('#') else {
            return Ok(Self { name: UserName::parse(text)?, fingerprint: None });
        };
        let fingerprint = fingerprint.to_ascii_lowercase();
        let is_base32 = |c: char| matches!(c, 'a'..='z' | '2'..='7');
        if fingerprint.len() != FINGERPRINT_CHARS || !fingerprint.chars().all(is_base32) {
            return Err(NameError::Fingerprint);
        }
        Ok(Self { name: UserName::parse(name)?, fingerprint: Some(fingerprint) })
    }

    /// Addresses exactly this person.
    #[must_use]
    pub fn exactly(name: UserName, user: &UserId) -> Self {
        Self { name, fingerprint: Some(user.fingerprint()) }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &UserName {
        &self.name
    }

    /// Returns the fingerprint, if the address has one.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Tells whether this address can mean that person.
    #[must_use]
    pub fn admits(&self, user: &UserId) -> bool {
        self.fingerprint.as_ref().is_none_or(|fingerprint| *fingerprint == user.fingerprint())
    }
}

impl From<UserName> for Recipient {
    fn from(name: UserName) -> Self {
        Self { name, fingerprint: None }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_str())?;
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "#{fingerprint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_normalized() {
        assert_eq!(UserName::parse("Alice"), UserName::parse("alice"));
        assert_eq!(UserName::parse("Ａlice"), UserName::parse("alice"));
        assert_eq!(UserName::parse("JOSÉ"), UserName::parse("jose\u{301}"));
    }

    #[test]
    fn names_that_would_mislead_are_refused() {
        for name in
            ["a b", "a#b", "a/b", "../a", "a@b", "a:b", "a\\b", "a\0b", "a\u{202e}b", "\u{200b}", "a\nb"]
        {
            assert_eq!(UserName::parse(name), Err(NameError::Forbidden), "{name:?}");
        }
        assert_eq!(UserName::parse(""), Err(NameError::Empty));
    }

    #[test]
    fn characters_that_combine_to_one_that_no_name_has_are_refused() {
        for name in [">\u{338}", ">\u{30b}\u{30b}\u{338}+", "=\u{338}", "<\u{338}a"] {
            assert_eq!(UserName::parse(name), Err(NameError::Forbidden), "{name:?}");
        }
        assert!(UserName::parse("a\u{338}").is_ok(), "nothing combines here");
    }

    #[test]
    fn names_that_mix_alphabets_to_look_like_others_are_refused() {
        // Cyrillic a and o, Greek o, Cherokee g.
        for name in
            ["\u{430}lice", "b\u{43e}b", "b\u{3bf}b", "alice\u{430}", "\u{13c0}eorge", "\u{430}лис\u{3b1}"]
        {
            assert_eq!(UserName::parse(name), Err(NameError::MixedScripts), "{name:?}");
        }
        for name in
            ["алиса", "αλίκη", "zoë.%1", "jose\u{301}", "bob-7", "小林bob", "ありす王", "민수kim", "عائشة"]
        {
            assert!(UserName::parse(name).is_ok(), "{name:?}: {:?}", UserName::parse(name));
        }
    }

    #[test]
    fn names_have_a_longest_form() {
        assert!(UserName::parse(&"a".repeat(MAX_NAME_CHARS)).is_ok());
        assert_eq!(UserName::parse(&"a".repeat(MAX_NAME_CHARS + 1)), Err(NameError::TooLong));
        assert_eq!(UserName::parse(&"語".repeat(MAX_NAME_CHARS)), Err(NameError::TooLong));
        assert_eq!(UserName::parse(&"a".repeat(1 << 20)), Err(NameError::TooLong));
    }

    #[test]
    fn recipients_may_carry_a_fingerprint() {
        let plain = Recipient::parse("Alice").unwrap();
        assert_eq!((plain.name().as_str(), plain.fingerprint()), ("alice", None));
        let exact = Recipient::parse("alice#7KQ2M4XD").unwrap();
        assert_eq!((exact.name().as_str(), exact.fingerprint()), ("alice", Some("7kq2m4xd")));
        assert_eq!(exact.to_string(), "alice#7kq2m4xd");
        for bad in ["alice#", "alice#7kq2m4x", "alice#7kq2m4x1", "alice#7kq2m4xdd"] {
            assert_eq!(Recipient::parse(bad), Err(NameError::Fingerprint), "{bad}");
        }
        assert_eq!(Recipient::parse("#7kq2m4xd"), Err(NameError::Empty));
    }
}
