//! `tests/scenario.md` names every kind of error, and the program of every language brings about what it names.

use std::fs;

use peerchat_tests_languages::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Returns what the document says of errors.
fn errors_of_the_scenario() -> String {
    let text = read("tests/scenario.md");
    let (_, from_errors) = text.split_once("**Errors.**").unwrap();
    from_errors.split_once("10. **").unwrap().0.to_owned()
}

/// Returns the codes that the steps bring about: those of the table, and of the step about blocking.
fn performed() -> Vec<String> {
    let text = errors_of_the_scenario();
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix("| ")?.split(' ').next());
    let codes = rows.filter(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    codes.map(str::to_owned).chain(["BLOCKED", "BLOCKED_BY_RECIPIENT"].map(str::to_owned)).collect()
}

fn camel_case(code: &str) -> String {
    code.split('_').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase())).collect()
}

/// Tells whether a text has a word that does not go on.
fn has_word(text: &str, word: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| ends(&text[at + word.len()..]))
}

#[test]
fn every_kind_of_error_is_in_the_scenario_or_left_out_with_a_reason() {
    let text = errors_of_the_scenario();
    let page = read("docs/errors.md");
    let codes: Vec<_> = page
        .lines()
        .filter_map(|row| row.split('`').nth(1)?.strip_prefix("PEERCHAT_ERR_"))
        .map(str::to_owned)
        .collect();
    assert!(codes.len() > 30, "docs/errors.md was not understood: {codes:?}");
    // What only C can do wrong has a sentence, not names.
    let only_c = ["NULL_POINTER", "INVALID_UTF8", "WRONG_MODE"];
    for code in codes.iter().filter(|code| !only_c.contains(&code.as_str())) {
        assert!(has_word(&text, code), "tests/scenario.md does not say how {code} comes about");
    }
}

#[test]
fn the_programs_of_all_languages_bring_about_every_error_of_the_scenario() {
    let programs = [
        "c/scenario.c",
        "rust/scenario.rs",
        "python/scenario.py",
        "kotlin/Scenario.kt",
        "swift/scenario.swift",
    ]
    .map(|path| (path, read(&format!("tests/{path}"))));
    let codes = performed();
    assert!(codes.len() > 25, "tests/scenario.md was not understood: {codes:?}");
    for code in codes {
        let camel = camel_case(&code);
        let lower = format!("{}{}", camel[..1].to_lowercase(), &camel[1..]);
        let spellings = [
            format!("PEERCHAT_ERR_{code}"),
            format!("ErrorCode::{camel}"),
            format!("errors.{camel}Error"),
            format!("ErrorCode.{code}"),
            format!(".{lower}"),
        ];
        for (path, program) in &programs {
            let is_there = spellings.iter().any(|spelling| has_word(program, spelling));
            assert!(is_there, "tests/{path} does not bring about {code}");
        }
    }
}
