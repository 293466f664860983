//! Compiles the header, the C tests and the C example, and runs them against both libraries.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use peerchat_tests_languages::{has, library_dir, root, run, run_within, shared_library};
use tempfile::TempDir;

#[path = "c/statuses.rs"]
mod statuses;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// What the archive needs beside itself, as `rustc --print native-static-libs` says on Linux.
const STATIC_NEEDS: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

/// Makes gcc and the program look for memory errors and leaks on the side of C.
const ADDRESS_SANITIZER: [&str; 2] = ["-fsanitize=address", "-fno-omit-frame-pointer"];

/// For tests whose bursts go over QUIC: what `ring`'s assembly computes looks uninitialised to valgrind when it is sent.
const NO_UNDEFINED_VALUES: [&str; 1] = ["--undef-value-errors=no"];

/// How often `make test` creates and destroys a client; PEERCHAT_CYCLES asks for more, as `make soak` does.
const CYCLES: &str = "250";

/// How long one of them may take, on a machine that does much else.
const CYCLE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Linked {
    Shared,
    Static,
}

fn compiler(name: &str, standard: &str) -> Command {
    let mut command = Command::new(name);
    command.arg(format!("-std={standard}")).args(WARNINGS).arg("-D_POSIX_C_SOURCE=200809L");
    command.arg("-I").arg(root().join("include"));
    command
}

fn compile(source: &Path, linked: Linked, dir: &TempDir) -> PathBuf {
    compile_with(&[], source, linked, dir)
}

fn compile_with(flags: &[&str], source: &Path, linked: Linked, dir: &TempDir) -> PathBuf {
    let program = dir.path().join(source.file_stem().unwrap());
    let mut command = compiler("gcc", "c99");
    command.args(["-g", "-pthread"]).args(flags).arg(source).arg("-o").arg(&program);
    match linked {
        Linked::Shared => {
            command.arg(shared_library()).arg(format!("-Wl,-rpath,{}", library_dir().display()));
        }
        Linked::Static => {
            command.arg(library_dir().join("libpeerchat.a")).args(STATIC_NEEDS);
        }
    }
    run(&command);
    program
}

fn source(test: &str) -> PathBuf {
    root().join("tests/c").join(test).with_extension("c")
}

/// What a test is started with: a directory for profiles, or how much it does. Under valgrind, where everything takes thirty
/// times as long, some do less.
fn arguments(test: &str, dir: &TempDir, is_slow: bool) -> Vec<OsString> {
    let profiles = dir.path().join("profiles").into_os_string();
    match (test, is_slow) {
        ("moving" | "statuses", _) | ("errors", false) => vec![profiles],
        ("errors", true) => vec![profiles, "short".into()],
        ("epoll", false) => vec!["50".into()],
        ("epoll", true) => vec!["8".into()],
        _ => Vec::new(),
    }
}

/// Compiles a test and runs it against both libraries.
fn check(test: &str) {
    for linked in [Linked::Shared, Linked::Static] {
        if !has("gcc", &format!("c::{test}")) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let program = compile(&source(test), linked, &dir);
        run(Command::new(program).args(arguments(test, &dir, false)));
    }
}

/// Runs a test under valgrind, which must find neither a leak nor a wrong access.
fn check_under_valgrind(test: &str) {
    check_under_valgrind_with(&[], test);
}

fn check_under_valgrind_with(options: &[&str], test: &str) {
    let dir = tempfile::tempdir().unwrap();
    valgrind(options, &source(test), &arguments(test, &dir, true));
}

fn valgrind(options: &[&str], source: &Path, arguments: &[OsString]) {
    let name = format!("c::{} under valgrind", source.file_stem().unwrap().display());
    if !has("gcc", &name) || !has("valgrind", &name) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(source, Linked::Shared, &dir);
    let mut valgrind = Command::new("valgrind");
    // The threads of the library live until the process ends, so what they own is still reachable then.
    valgrind.args([
        "--quiet",
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
    ]);
    valgrind.args(options);
    valgrind.args(["--fair-sched=yes", "--error-exitcode=99"]).arg(program).args(arguments);
    run(&valgrind);
}

/// Runs a test with AddressSanitizer on the side of C, which sees what the library hands over as its own allocations.
fn check_with_sanitizer(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    sanitize(test, &arguments(test, &dir, false));
}

fn sanitize(test: &str, arguments: &[OsString]) {
    if has("gcc", &format!("c::{test} with AddressSanitizer")) {
        let dir = tempfile::tempdir().unwrap();
        let program = compile_with(&ADDRESS_SANITIZER, &source(test), Linked::Shared, &dir);
        run(Command::new(program).args(arguments));
    }
}

/// Checks that nothing but the header is needed to include it, in each language and standard.
fn check_header(compilers: [(&str, &str); 2], standards: [&str; 2]) {
    let header = root().join("include/peerchat.h");
    for (name, language) in compilers {
        for standard in standards {
            if has(name, &format!("c::header as {standard} by {name}")) {
                run(compiler(name, standard).args(["-fsyntax-only", "-x", language]).arg(&header));
            }
        }
    }
}

#[test]
fn header_compiles_as_c() {
    check_header([("gcc", "c"), ("clang", "c")], ["c99", "c11"]);
}

#[test]
fn header_compiles_as_cpp() {
    check_header([("g++", "c++"), ("clang++", "c++")], ["c++11", "c++20"]);
}

#[test]
fn layout_holds_in_cpp11() {
    if has("g++", "c::layout_holds_in_cpp11") {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("layout");
        let mut compile = compiler("g++", "c++11");
        compile.args(["-x", "c++"]).arg(source("layout")).args(["-x", "none"]);
        compile.arg(shared_library()).arg(format!("-Wl,-rpath,{}", library_dir().display()));
        run(compile.arg("-o").arg(&program));
        run(&Command::new(program));
    }
}

#[test]
fn layout() {
    check("layout");
}

#[test]
fn people() {
    check("people");
}

#[test]
fn smoke() {
    check("smoke");
}

#[test]
fn ownership() {
    check("ownership");
}

#[test]
fn errors() {
    check("errors");
}

#[test]
fn threads() {
    check("threads");
}

#[test]
fn sending_without_waiting() {
    check("async");
}

#[test]
fn callbacks() {
    check("callbacks");
}

#[test]
fn history_statistics_and_log() {
    check("history");
}

#[test]
fn export_and_import() {
    check("moving");
}

#[cfg(target_os = "linux")]
#[test]
fn one_loop_serves_fifty_clients() {
    check("epoll");
}

#[cfg(target_os = "linux")]
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    if has("gcc", "c::cycles") {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Command::new(compile(&source("cycles"), Linked::Shared, &dir));
        let count = std::env::var("PEERCHAT_CYCLES").unwrap_or_else(|_| CYCLES.into());
        let patience = CYCLE * count.parse().unwrap();
        let output = run_within(patience, program.arg(count));
        std::io::stdout().write_all(&output.stdout).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn an_exception_that_leaves_a_callback_ends_the_program() {
    use std::os::unix::process::ExitStatusExt;

    const SIGABRT: i32 = 6;
    if !has("g++", "c::throws") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("throws");
    let mut compile = compiler("g++", "c++11");
    compile.arg(source("throws").with_extension("cpp"));
    compile.arg(shared_library()).arg(format!("-Wl,-rpath,{}", library_dir().display()));
    run(compile.arg("-o").arg(&program));
    let output = Command::new(program).output().unwrap();
    assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
}

#[test]
fn smoke_with_sanitizer() {
    check_with_sanitizer("smoke");
}

#[test]
fn people_with_sanitizer() {
    check_with_sanitizer("people");
}

#[cfg(target_os = "linux")]
#[test]
fn one_loop_serves_fifty_clients_with_sanitizer() {
    check_with_sanitizer("epoll");
}

#[cfg(target_os = "linux")]
#[test]
fn clients_that_come_and_go_with_sanitizer() {
    sanitize("cycles", &["60".into(), "unmeasured".into()]);
}

#[test]
fn layout_with_sanitizer() {
    check_with_sanitizer("layout");
}

#[test]
fn ownership_with_sanitizer() {
    check_with_sanitizer("ownership");
}

#[test]
fn errors_with_sanitizer() {
    check_with_sanitizer("errors");
}

#[test]
fn threads_with_sanitizer() {
    check_with_sanitizer("threads");
}

#[test]
fn sending_without_waiting_with_sanitizer() {
    check_with_sanitizer("async");
}

#[test]
fn callbacks_with_sanitizer() {
    check_with_sanitizer("callbacks");
}

#[test]
fn history_statistics_and_log_with_sanitizer() {
    check_with_sanitizer("history");
}

#[test]
fn statuses_with_sanitizer() {
    check_with_sanitizer("statuses");
}

#[test]
fn export_and_import_with_sanitizer() {
    check_with_sanitizer("moving");
}

/// `make demo` has the conversation; here the example builds against both libraries, and ends with its input.
#[test]
fn example() {
    for linked in [Linked::Shared, Linked::Static] {
        if !has("gcc", "c::example") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let program = compile(&root().join("examples/c/chat.c"), linked, &dir);
        run(Command::new(&program).arg(dir.path().join("profiles")).args(["alice", "bob"]));
        assert_eq!(Command::new(&program).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn example_under_valgrind() {
    let dir = tempfile::tempdir().unwrap();
    let profiles = dir.path().join("profiles");
    let source = root().join("examples/c/chat.c");
    valgrind(&[], &source, &[profiles.into_os_string(), "alice".into(), "bob".into()]);
}

#[test]
fn errors_under_valgrind() {
    check_under_valgrind_with(&NO_UNDEFINED_VALUES, "errors");
}

#[test]
fn statuses_under_valgrind() {
    check_under_valgrind("statuses");
}

#[test]
fn export_and_import_under_valgrind() {
    check_under_valgrind("moving");
}

#[cfg(target_os = "linux")]
#[test]
fn one_loop_serves_clients_under_valgrind() {
    check_under_valgrind_with(&NO_UNDEFINED_VALUES, "epoll");
}

/// A leak of one client is found by valgrind itself, so a few are enough.
#[cfg(target_os = "linux")]
#[test]
fn clients_that_come_and_go_under_valgrind() {
    valgrind(&[], &source("cycles"), &["12".into(), "unmeasured".into()]);
}

#[test]
fn layout_under_valgrind() {
    check_under_valgrind("layout");
}

#[test]
fn smoke_under_valgrind() {
    check_under_valgrind("smoke");
}

#[test]
fn people_under_valgrind() {
    check_under_valgrind("people");
}

#[test]
fn ownership_under_valgrind() {
    check_under_valgrind("ownership");
}

#[test]
fn threads_under_valgrind() {
    check_under_valgrind_with(&NO_UNDEFINED_VALUES, "threads");
}

#[test]
fn sending_without_waiting_under_valgrind() {
    check_under_valgrind_with(&NO_UNDEFINED_VALUES, "async");
}

#[test]
fn callbacks_under_valgrind() {
    check_under_valgrind_with(&NO_UNDEFINED_VALUES, "callbacks");
}

#[test]
fn history_statistics_and_log_under_valgrind() {
    check_under_valgrind_with(&NO_UNDEFINED_VALUES, "history");
}
