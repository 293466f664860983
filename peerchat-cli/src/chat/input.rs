//! [`Input`]: what one typed line means.

use peerchat_core::Verb;

/// One line of the person at the keyboard, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Input<'a> {
    /// Nothing but white space.
    Nothing,
    /// Text for whomever the conversation is with.
    Text(&'a str),
    /// Text for somebody, with whom the conversation then is; or only the latter.
    To { name: &'a str, text: Option<&'a str> },
    /// What can be typed.
    Help,
    /// Who is there: the network in numbers.
    Who,
    /// What was said, with somebody or with whomever the conversation is with.
    History(Option<&'a str>),
    /// What was said that holds these words.
    Search(&'a str),
    /// Who somebody is, and the number to compare with them.
    Whois(Option<&'a str>),
    /// The number was compared with somebody, or that is taken back.
    Verify { name: Option<&'a str>, is_verified: bool },
    /// Accept a request, or let a name mean who holds it now.
    Accept(&'a str),
    /// Who is a contact, has made a request or is blocked.
    Contacts,
    /// Make somebody a contact, block them, and so on.
    Relate(&'a str, Verb),
    /// Join through a node.
    Bootstrap(&'a str),
    /// Leave.
    Quit,
    /// Not understood, and what was expected.
    Wrong(&'static str),
}

impl<'a> Input<'a> {
    /// Understands a line. `//` at its start is a text that starts with one `/`.
    pub(crate) fn parse(line: &'a str) -> Self {
        if line.trim().is_empty() {
            return Self::Nothing;
        }
        match line.strip_prefix('@') {
            Some(rest) => Self::parse_addressed(rest),
            None if line.starts_with("//") => Self::Text(&line[1..]),
            None => line.strip_prefix('/').map_or(Self::Text(line), Self::parse_command),
        }
    }

    fn parse_addressed(rest: &'a str) -> Self {
        let (name, text) = split_word(rest);
        if name.is_empty() { Self::Wrong("write @name and then the text") } else { Self::To { name, text } }
    }

    fn parse_command(rest: &'a str) -> Self {
        match split_word(rest.trim_end()) {
            ("help", None) => Self::Help,
            ("who", None) => Self::Who,
            ("history", name) => Self::History(name.map(bare)),
            ("search", Some(words)) => Self::Search(words),
            ("search", None) => Self::Wrong("write /search and the words to look for"),
            ("whois", name) => Self::Whois(name.map(bare)),
            ("verify", name) => Self::Verify { name: name.map(bare), is_verified: true },
            ("unverify", name) => Self::Verify { name: name.map(bare), is_verified: false },
            ("accept", Some(name)) => Self::Accept(bare(name)),
            ("accept", None) => Self::Wrong(
                "write /accept and who has made a request, or name#fingerprint of who holds the name now",
            ),
            ("contacts", None) => Self::Contacts,
            ("add", Some(name)) => Self::Relate(bare(name), Verb::Add),
            ("block", Some(name)) => Self::Relate(bare(name), Verb::Block),
            ("unblock", Some(name)) => Self::Relate(bare(name), Verb::Unblock),
            ("remove", Some(name)) => Self::Relate(bare(name), Verb::Remove),
            ("add" | "block" | "unblock" | "remove", None) => Self::Wrong("write whom: /block name"),
            ("bootstrap", Some(address)) => Self::Bootstrap(address),
            ("bootstrap", None) => Self::Wrong("write /bootstrap and an address, host:port or key@host:port"),
            ("quit", None) => Self::Quit,
            _ => Self::Wrong(
                "there is no such command; /help lists them, and //text sends a text that starts with /",
            ),
        }
    }
}

fn bare(name: &str) -> &str {
    name.trim_start_matches('@')
}

/// Splits off the first word; what follows it has its leading white space removed, and is `None` if it is blank.
fn split_word(text: &str) -> (&str, Option<&str>) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, Some(rest.trim_start()).filter(|rest| !rest.is_empty())),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A line is one thing, and what is not a command is never taken for one.
        #[test]
        fn any_line_is_understood_or_refused(line in "[/@ ]{0,3}.{0,40}") {
            let is_command = line.starts_with('/') && !line.starts_with("//");
            match Input::parse(&line) {
                Input::Nothing => prop_assert!(line.trim().is_empty()),
                Input::Text(text) => prop_assert!(!is_command && line.ends_with(text) && !text.is_empty()),
                Input::To { name, text } => {
                    prop_assert!(line.starts_with('@') && !name.is_empty());
                    prop_assert!(text.is_none_or(|text| line.ends_with(text) && !text.is_empty()));
                }
                Input::Wrong(expected) => prop_assert!((is_command || line.starts_with('@')) && !expected.is_empty()),
                _ => prop_assert!(is_command),
            }
        }
    }

    #[test]
    fn a_plain_line_is_text_as_it_was_typed() {
        assert_eq!(Input::parse("hello, bob "), Input::Text("hello, bob "));
        assert_eq!(Input::parse("  indented"), Input::Text("  indented"));
        assert_eq!(Input::parse(" \t"), Input::Nothing);
        assert_eq!(Input::parse(""), Input::Nothing);
    }

    #[test]
    fn an_addressed_line_names_somebody() {
        assert_eq!(Input::parse("@bob hello there"), Input::To { name: "bob", text: Some("hello there") });
        assert_eq!(
            Input::parse("@bob#7kq2m4xd @all"),
            Input::To { name: "bob#7kq2m4xd", text: Some("@all") }
        );
        assert_eq!(Input::parse("@bob"), Input::To { name: "bob", text: None });
        assert_eq!(Input::parse("@bob  "), Input::To { name: "bob", text: None });
        assert!(matches!(Input::parse("@ hello"), Input::Wrong(_)));
    }

    #[test]
    fn commands_are_words_after_a_slash() {
        let lines = [
            "/help",
            "/who ",
            "/history",
            "/history @bob",
            "/search two words",
            "/search",
            "/bootstrap [::1]:4242",
            "/bootstrap",
            "/quit",
            "/quit now",
            "/frobnicate",
            "/",
        ];
        let understood: Vec<_> = lines.iter().map(|line| Input::parse(line)).collect();
        insta::assert_debug_snapshot!(understood, @r#"
        [
            Help,
            Who,
            History(
                None,
            ),
            History(
                Some(
                    "bob",
                ),
            ),
            Search(
                "two words",
            ),
            Wrong(
                "write /search and the words to look for",
            ),
            Bootstrap(
                "[::1]:4242",
            ),
            Wrong(
                "write /bootstrap and an address, host:port or key@host:port",
            ),
            Quit,
            Wrong(
                "there is no such command; /help lists them, and //text sends a text that starts with /",
            ),
            Wrong(
                "there is no such command; /help lists them, and //text sends a text that starts with /",
            ),
            Wrong(
                "there is no such command; /help lists them, and //text sends a text that starts with /",
            ),
        ]
        "#);
    }

    #[test]
    fn people_are_named_with_or_without_their_fingerprint() {
        assert_eq!(Input::parse("/whois @bob#7kq2m4xd"), Input::Whois(Some("bob#7kq2m4xd")));
        assert_eq!(Input::parse("/verify"), Input::Verify { name: None, is_verified: true });
        assert_eq!(Input::parse("/unverify bob"), Input::Verify { name: Some("bob"), is_verified: false });
        assert_eq!(Input::parse("/accept @bob#7kq2m4xd"), Input::Accept("bob#7kq2m4xd"));
        assert!(matches!(Input::parse("/accept"), Input::Wrong(_)));
        assert_eq!(Input::parse("/contacts"), Input::Contacts);
        assert_eq!(Input::parse("/block @bob"), Input::Relate("bob", Verb::Block));
        assert_eq!(Input::parse("/unblock bob"), Input::Relate("bob", Verb::Unblock));
        assert_eq!(Input::parse("/add bob"), Input::Relate("bob", Verb::Add));
        assert_eq!(Input::parse("/remove bob"), Input::Relate("bob", Verb::Remove));
        assert!(matches!(Input::parse("/block"), Input::Wrong(_)));
    }

    #[test]
    fn a_text_may_start_with_a_slash() {
        assert_eq!(Input::parse("//quit is a command"), Input::Text("/quit is a command"));
        assert_eq!(Input::parse("@bob /quit"), Input::To { name: "bob", text: Some("/quit") });
    }
}
