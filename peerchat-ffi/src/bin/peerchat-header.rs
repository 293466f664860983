//! Writes what is made from the sources of the C ABI: `include/peerchat.h`, `docs/errors.md` and the list of functions.

use std::error::Error;
use std::process::ExitCode;

use peerchat::{header, reference};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write what is made from the C ABI: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Box<dyn Error>> {
    let text = header::text()?;
    std::fs::write(header::path(), &text)?;
    std::fs::write(reference::symbols_path(), reference::symbols_text(&text))?;
    Ok(std::fs::write(reference::errors_path(), reference::errors_text()?)?)
}
