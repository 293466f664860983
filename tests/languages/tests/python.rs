//! Runs the tests of the Python layer against the library that was just built.

use std::process::Command;

use peerchat_tests_languages::{has, root, run, shared_library};

fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", root().join("bindings/python")).env("PEERCHAT_LIBRARY", shared_library());
    // No compiled files in the source tree, and no warning passes unseen.
    command.env("PYTHONDONTWRITEBYTECODE", "1").args(["-W", "error", "-X", "dev"]);
    command
}

#[test]
fn unittest() {
    if has("python3", "python::unittest") {
        let tests = root().join("tests/python");
        run(python().args(["-m", "unittest", "discover", "--verbose", "--start-directory"]).arg(tests));
    }
}

#[test]
fn types_are_strict() {
    let name = "python::types_are_strict";
    let has_mypy = Command::new("python3").args(["-m", "mypy", "--version"]).output();
    if !has_mypy.is_ok_and(|output| output.status.success()) {
        return peerchat_tests_languages::skip(name, "mypy is not installed");
    }
    let cache = tempfile::tempdir().unwrap();
    let mut mypy = Command::new("python3");
    mypy.current_dir(root().join("bindings/python")).args(["-m", "mypy", "--cache-dir"]).arg(cache.path());
    run(&mypy);
}
