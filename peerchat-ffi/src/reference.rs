//! Makes `docs/errors.md` and `peerchat-ffi/symbols.txt`: the error codes in words, and the functions of the C ABI.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The one list of codes, with the words to each.
const STATUSES: &str = include_str!("capi/status.rs");

const ERRORS_HEAD: &str = "\
# Errors

Every error that peerchat knows, by the number that is the same in every language and never changes or is reused. This
page is made by `make header` from `peerchat-ffi/src/capi/status.rs`.

A call that fails says why in words, too, with what to do about it: `peerchat_last_error()` in C, the text of the
exception or error elsewhere. What the network decides comes as an event (its `code` and `detail`), not from the call.
A name such as `ProfileInUse` is `ErrorCode::ProfileInUse` in Rust, `PeerchatException.ProfileInUse` in Kotlin,
`PeerchatError.ProfileInUse` in Swift and `ProfileInUseError` in Python. A dash: only in C.

| Number | C | Elsewhere | Meaning |
|---|---|---|---|
";

/// One status: its number, its name in C, what its doc says.
struct Status {
    number: i32,
    name: String,
    meaning: String,
}

impl Status {
    /// Returns the name in the languages that have types: "ProfileInUse" of PEERCHAT_ERR_PROFILE_IN_USE.
    fn camel_case(&self) -> Option<String> {
        let words = self.name.strip_prefix("PEERCHAT_ERR_")?;
        let capital = |word: &str| {
            let (first, rest) = word.split_at(1);
            format!("{first}{}", rest.to_lowercase())
        };
        Some(words.split('_').map(capital).collect())
    }
}

/// Returns where the page about errors is committed.
#[must_use]
pub fn errors_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md")
}

/// Returns the text of the page about errors.
///
/// # Errors
///
/// The list of codes does not have the form that is expected.
pub fn errors_text() -> Result<String, Box<dyn Error>> {
    let mut text = ERRORS_HEAD.to_owned();
    for status in statuses()? {
        // -1 to -9 is what only C can do wrong.
        let elsewhere = if status.number <= -10 { status.camel_case() } else { None };
        let elsewhere = elsewhere.map_or_else(|| "-".to_owned(), |name| format!("`{name}`"));
        writeln!(text, "| {} | `{}` | {elsewhere} | {} |", status.number, status.name, status.meaning)?;
    }
    Ok(text)
}

/// Returns the statuses in the order of their source.
fn statuses() -> Result<Vec<Status>, Box<dyn Error>> {
    let (_, body) = STATUSES.split_once("pub enum peerchat_status_t {").ok_or("no list of statuses")?;
    let (body, _) = body.split_once("\n}").ok_or("a list of statuses without an end")?;
    let mut found = Vec::new();
    let mut meaning = Vec::new();
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(words) = line.strip_prefix("///") {
            meaning.push(words.trim());
        } else if let Some((name, number)) = line.strip_suffix(',').and_then(|line| line.split_once(" = ")) {
            let words = meaning.join(" ");
            found.push(Status { number: number.parse()?, name: name.to_owned(), meaning: words });
            meaning.clear();
        } else {
            return Err(format!("this is no status: {line}").into());
        }
    }
    Ok(found)
}

/// Returns where the list of functions is committed.
#[must_use]
pub fn symbols_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("symbols.txt")
}

/// Returns the functions that a header declares, sorted, one a line: what the shared library exports for C.
#[must_use]
pub fn symbols_text(header: &str) -> String {
    let (_, declarations) = header.split_once("extern \"C\" {").unwrap_or(("", header));
    let mut names: Vec<&str> = declarations
        .lines()
        .filter(|line| !line.starts_with([' ', '*', '/', '#', '}']))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("peerchat_"))
        .collect();
    names.sort_unstable();
    names.iter().map(|name| format!("{name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_row_with_its_meaning() {
        let text = errors_text().unwrap();
        assert!(text.contains("| 0 | `PEERCHAT_OK` | - | Done. |\n"), "{text}");
        assert!(
            text.contains("| -40 | `PEERCHAT_ERR_PROFILE_IN_USE` | `ProfileInUse` | Another process,"),
            "{text}"
        );
        assert!(text.contains("| -2 | `PEERCHAT_ERR_INVALID_UTF8` | - |"), "{text}");
        assert_eq!(text.matches("\n| ").count() - 1, statuses().unwrap().len());
        assert!(statuses().unwrap().iter().all(|status| status.meaning.ends_with('.')));
    }

    #[test]
    fn functions_are_found_and_types_are_not() {
        let header = "typedef void (*peerchat_f_t)(void);\nextern \"C\" {\n#endif\n/**\n * peerchat_x(1)\n */\n\
                      const char *peerchat_b(void);\npeerchat_status_t peerchat_a(int32_t x,\n                 peerchat_c y);\n";
        assert_eq!(symbols_text(header), "peerchat_a\npeerchat_b\n");
    }
}
