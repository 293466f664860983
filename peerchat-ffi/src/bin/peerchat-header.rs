//! Writes `include/peerchat.h`, or the file that is named as the only argument.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let path = std::env::args_os().nth(1).map_or_else(peerchat::header::path, PathBuf::from);
    match peerchat::header::text().and_then(|text| Ok(std::fs::write(&path, text)?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
