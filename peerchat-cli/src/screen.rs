//! What a terminal shows while a line is being typed: whatever is told meanwhile stands above that line.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Goes back to the beginning of the row and erases it.
const ERASE_ROW: &str = "\r\x1b[K";

/// What was typed of the line. There is one terminal, on which one thread shows keys and another one everything else.
static TYPED: Mutex<String> = Mutex::new(String::new());

fn typed() -> MutexGuard<'static, String> {
    TYPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows what a key has done, after which so much is typed.
pub(crate) fn show_key(echo: &[u8], line: &str) -> io::Result<()> {
    let mut typed = typed();
    line.clone_into(&mut typed);
    let mut out = io::stdout().lock();
    out.write_all(echo)?;
    out.flush()
}

/// Shows a line of its own.
pub(crate) fn print(line: &str) -> io::Result<()> {
    let typed = typed();
    let mut out = io::stdout().lock();
    out.write_all(above(line, &typed).as_bytes())?;
    out.flush()
}

/// Returns what shows a line and leaves below it what is being typed.
fn above(line: &str, typed: &str) -> String {
    let erase = if typed.is_empty() { "" } else { ERASE_ROW };
    format!("{erase}{line}\n{typed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stands_above_what_is_being_typed() {
        assert_eq!(above("alice: hello", ""), "alice: hello\n");
        assert_eq!(above("alice: hello", "@bob I th"), "\r\x1b[Kalice: hello\n@bob I th");
    }
}
