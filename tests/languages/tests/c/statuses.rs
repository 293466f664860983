//! What the header says of each function is compared with what the C tests see the function return.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use peerchat_tests_languages::{has, run};

use super::{Linked, arguments, compile, source};

/// The C tests whose calls count.
const TESTS: [&str; 9] =
    ["async", "callbacks", "errors", "history", "moving", "ownership", "people", "smoke", "statuses"];

/// What these tests do not bring about, and why.
const NOT_SEEN: [(&str, &[&str], &str); 8] = [
    ("PEERCHAT_ERR_INTERNAL", &[], "a bug of ours"),
    ("PEERCHAT_ERR_TOO_MANY_CONTACTS", &[], "takes 32,768 of them; the core's tests do"),
    ("PEERCHAT_ERR_NAME_CONTESTED", &["lookup_wait"], "tests/c/scenario.c does"),
    ("PEERCHAT_ERR_IDENTITY_NOT_SEEN", &["accept_identity"], "tests/c/scenario.c does"),
    ("PEERCHAT_OK", &["accept_identity"], "takes two people of one name; the core's tests make them"),
    ("PEERCHAT_ERR_PROFILE_IN_USE", &["import"], "takes a lock without a profile; the core's tests make one"),
    (
        "PEERCHAT_ERR_STORAGE",
        &[
            "accept_identity",
            "message_state",
            "message_holders",
            "history",
            "identity",
            "safety_number",
            "contacts",
        ],
        "one writes as set_verified does; the others read over a connection that is made once, unlike that of search",
    ),
    (
        "PEERCHAT_ERR_PROFILE_DAMAGED",
        &["accept_identity", "import"],
        "one writes as set_verified does; for import the core's tests make a log without a profile",
    ),
];

/// What the header says of a function.
struct Function {
    doc: String,
    declaration: String,
}

impl Function {
    fn returned(&self) -> &str {
        self.doc.split_once("@return").map_or("", |(_, returned)| returned)
    }

    /// Tells whether its doc says what it waits for.
    fn says_what_it_waits_for(&self) -> bool {
        [
            "Never blocks",
            "never blocks",
            "Waits for",
            "Blocks",
            "waits for the answer",
            "Waits until",
            "Does what ",
        ]
        .iter()
        .any(|words| self.doc.contains(words))
    }

    /// Tells whether it reads or writes the profile of a client.
    fn uses_the_disk(&self) -> bool {
        self.declaration.contains("const peerchat_t *client") && self.doc.contains("Waits for the disk")
    }
}

/// Returns the functions of the header by name.
fn functions() -> BTreeMap<String, Function> {
    let header = fs::read_to_string(peerchat::header::path()).unwrap();
    let (_, body) = header.split_once("extern \"C\" {").unwrap();
    let documented = body.split("/**").skip(1).filter_map(|part| {
        let (doc, rest) = part.split_once("*/")?;
        let declaration = rest.split_once(';')?.0.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = declaration.split_once('(')?.0.rsplit([' ', '*']).next()?.to_owned();
        let lines = doc.lines().map(|line| line.trim_start_matches([' ', '*']));
        Some((name, Function { doc: lines.collect::<Vec<_>>().join(" "), declaration }))
    });
    documented.collect()
}

/// Returns the names in a text that begin so.
fn names<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(move |word| word.starts_with(prefix))
}

/// Returns every status that a function may return as the header says, with "those of" another one.
fn documented(functions: &BTreeMap<String, Function>, name: &str) -> BTreeSet<String> {
    let returned = functions[name].returned();
    let mut statuses: BTreeSet<_> = names(returned, "PEERCHAT_").map(str::to_owned).collect();
    if let Some((_, others)) = returned.split_once("hose of ") {
        let other = names(others, "peerchat_").next().unwrap();
        statuses.extend(documented(functions, other));
    }
    statuses
}

/// Runs a C test and returns what each call of it returned.
fn calls_of(test: &str) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Command::new(compile(&source(test), Linked::Shared, &dir));
    program.args(arguments(test, &dir, false)).env("PEERCHAT_SHOW_STATUSES", "1");
    let output = String::from_utf8(run(&program).stdout).unwrap();
    let calls = output.lines().filter_map(|line| line.strip_prefix("status ")?.split_once(' '));
    calls.map(|(call, status)| (call.to_owned(), status.to_owned())).collect()
}

/// Runs the C tests, which mostly wait, at once, and returns what each function was seen to return.
fn seen() -> BTreeMap<String, BTreeSet<String>> {
    let mut seen: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    std::thread::scope(|scope| {
        let running: Vec<_> = TESTS.map(|test| scope.spawn(move || calls_of(test))).into();
        for (call, status) in running.into_iter().flat_map(|test| test.join().unwrap()) {
            seen.entry(call).or_default().insert(status);
        }
    });
    seen
}

fn is_excused(function: &str, status: &str) -> bool {
    let short = function.trim_start_matches("peerchat_");
    NOT_SEEN.iter().any(|(excused, functions, _)| {
        *excused == status && (functions.is_empty() || functions.contains(&short))
    })
}

#[test]
fn the_header_says_of_every_function_what_it_waits_for() {
    let functions = functions();
    let listed = fs::read_to_string(peerchat::reference::symbols_path()).unwrap();
    assert_eq!(functions.keys().map(String::as_str).collect::<Vec<_>>(), listed.lines().collect::<Vec<_>>());
    let silent: Vec<_> = functions
        .iter()
        .filter(|(_, function)| !function.says_what_it_waits_for())
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "what do these wait for? {silent:?}");
}

/// Whoever waits for the disk may find it full, gone or damaged, and the client closed.
#[test]
fn what_uses_the_disk_says_how_the_disk_fails() {
    let functions = functions();
    let mut count = 0;
    for name in functions.iter().filter(|(_, function)| function.uses_the_disk()).map(|(name, _)| name) {
        let statuses = documented(&functions, name);
        for status in ["PEERCHAT_ERR_STORAGE", "PEERCHAT_ERR_PROFILE_DAMAGED", "PEERCHAT_ERR_CLOSED"] {
            assert!(statuses.contains(status), "{name} does not say that it may return {status}");
        }
        count += 1;
    }
    assert!(count > 15, "the header was not understood: {count}");
}

#[test]
fn functions_return_what_the_header_says_and_nothing_else() {
    if !has("gcc", "c::functions_return_what_the_header_says_and_nothing_else") {
        return;
    }
    let (functions, seen) = (functions(), seen());
    let with_status =
        functions.iter().filter(|(_, function)| function.declaration.starts_with("peerchat_status_t"));
    let (mut unlisted, mut unseen) = (Vec::new(), Vec::new());
    for (name, _) in with_status {
        let documented = documented(&functions, name);
        let seen = seen.get(name).cloned().unwrap_or_default();
        unlisted.extend(seen.difference(&documented).map(|status| format!("{name} {status}")));
        let missing = documented.difference(&seen).filter(|status| !is_excused(name, status));
        unseen.extend(missing.map(|status| format!("{name} {status}")));
    }
    assert!(unlisted.is_empty(), "returned, but not in the header: {unlisted:#?}");
    assert!(unseen.is_empty(), "in the header, but never returned: {unseen:#?}");
}
