//! Compiles the header, the C tests and the C example, and runs them against both libraries.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use peerchat_tests_languages::{has, library_dir, root, run, shared_library};
use tempfile::TempDir;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// What the archive needs beside itself, as `rustc --print native-static-libs` says on Linux.
const STATIC_NEEDS: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

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
    let program = dir.path().join(source.file_stem().unwrap());
    let mut command = compiler("gcc", "c99");
    command.args(["-g", "-pthread"]).arg(source).arg("-o").arg(&program);
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

/// Compiles a test and runs it against both libraries.
fn check(test: &str, takes_directory: bool) {
    for linked in [Linked::Shared, Linked::Static] {
        if !has("gcc", &format!("c::{test}")) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut program = Command::new(compile(&source(test), linked, &dir));
        if takes_directory {
            program.arg(dir.path().join("profiles"));
        }
        run(&program);
    }
}

/// Runs a test under valgrind, which must find neither a leak nor a wrong access.
fn check_under_valgrind(source: &Path, arguments: &[&OsStr]) {
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
    valgrind.args(["--fair-sched=yes", "--error-exitcode=99"]).arg(program).args(arguments);
    run(&valgrind);
}

#[test]
fn header_compiles_as_c99() {
    if has("gcc", "c::header_compiles_as_c99") {
        let header = root().join("include/peerchat.h");
        run(compiler("gcc", "c99").args(["-fsyntax-only", "-x", "c"]).arg(header));
    }
}

#[test]
fn header_compiles_as_cpp11() {
    if has("g++", "c::header_compiles_as_cpp11") {
        let header = root().join("include/peerchat.h");
        run(compiler("g++", "c++11").args(["-fsyntax-only", "-x", "c++"]).arg(header));
    }
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
    check("layout", false);
}

#[test]
fn people() {
    check("people", false);
}

#[test]
fn smoke() {
    check("smoke", false);
}

#[test]
fn ownership() {
    check("ownership", false);
}

#[test]
fn errors() {
    check("errors", true);
}

#[test]
fn threads() {
    check("threads", false);
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
    check_under_valgrind(
        &root().join("examples/c/chat.c"),
        &[profiles.as_os_str(), "alice".as_ref(), "bob".as_ref()],
    );
}

#[test]
fn smoke_under_valgrind() {
    check_under_valgrind(&source("smoke"), &[]);
}

#[test]
fn ownership_under_valgrind() {
    check_under_valgrind(&source("ownership"), &[]);
}
