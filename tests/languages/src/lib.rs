//! What the tests of other languages share: where things are, running programs, and saying what was skipped.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may run, valgrind included, before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often a program that runs is looked at.
const GLANCE: Duration = Duration::from_millis(5);

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
pub fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let output = finish(command.stdin(Stdio::null()), &shown);
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{shown}\n{}\n{stdout}\n{stderr}", output.status);
    output
}

fn finish(command: &mut Command, shown: &str) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let readers = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let deadline = Instant::now() + PATIENCE;
    let mut is_killed = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > deadline && !is_killed {
            is_killed = true;
            child.kill().expect("a child can be killed");
        }
        thread::sleep(GLANCE);
    };
    let [stdout, stderr] =
        [readers.0, readers.1].map(|reader| reader.join().expect("a reader does not panic"));
    let output = Output { status, stdout, stderr };
    assert!(
        !is_killed,
        "{shown}\nhangs: not done after {PATIENCE:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read until an error is as much as there is to show.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// Returns a command with these arguments.
pub fn command<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
