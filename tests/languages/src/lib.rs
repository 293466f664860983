//! What the tests of other languages share: where things are, running programs, and saying what was skipped.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long a program may run, valgrind included, before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// Returns the root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository has a root")
}

/// Returns where cargo put the libraries: beside the test that runs, where they are never older than it.
#[must_use]
pub fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    test.parent().expect("a file is in a directory").to_owned()
}

/// Returns the path of the shared library.
#[must_use]
pub fn shared_library() -> PathBuf {
    let name = if cfg!(target_os = "macos") { "libpeerchat.dylib" } else { "libpeerchat.so" };
    library_dir().join(name)
}

/// Tells whether a tool is here; if not, notes that the test called `test` is skipped for it.
#[must_use]
pub fn has(tool: &str, test: &str) -> bool {
    let is_here =
        Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_here {
        skip(test, &format!("{tool} is not installed"));
    }
    is_here
}

/// Notes that a test is skipped, for `tests/run` to print.
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(path) = std::env::var_os("PEERCHAT_SKIPPED_FILE") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.expect("the list of skipped tests can be opened"), "{test}: {reason}")
            .expect("the list of skipped tests can be written");
    }
}

/// Runs a program to its end.
///
/// # Panics
///
/// It cannot be started, fails, or hangs; the panic shows what it printed.
pub fn run(command: &Command) -> Output {
    run_within(PATIENCE, command)
}

/// Does what [`run`] does for a program that may take so long.
///
/// # Panics
///
/// Those of [`run`].
pub fn run_within(patience: Duration, command: &Command) -> Output {
    let shown = format!("{command:?}");
    let output = finish(command, patience, &shown);
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{shown}\n{}\n{stdout}\n{stderr}", output.status);
    output
}

/// Runs a program under `timeout`, which ends it if it hangs.
fn finish(command: &Command, patience: Duration, shown: &str) -> Output {
    let mut bounded = Command::new("timeout");
    bounded.arg("--kill-after=5").arg(patience.as_secs().to_string());
    bounded.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        bounded.current_dir(dir);
    }
    let output = bounded.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let is_ended = matches!(output.status.code(), Some(124 | 137));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!is_ended, "{shown}\nhangs: not done after {patience:?}\n{stderr}");
    output
}

/// Returns a command with these arguments.
pub fn command<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
