//! [`Editor`]: the line that is being typed at a terminal which leaves its editing to us, so that each key is noticed.
//!
//! A terminal hands over whole lines, unless it is told otherwise; then nobody knows that somebody types before they are done.
//! What the terminal does with a line is done here instead: it shows what is typed, and erases a character, a word or all of it.

use std::io::{self, IsTerminal as _};

use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const ERASE_LINE: u8 = 0x15;
const ERASE_WORD: u8 = 0x17;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What a key has done.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Key {
    /// Nothing that shows.
    Nothing,
    /// The line has changed.
    Edited,
    /// The line is done.
    Line(String),
    /// There will be no more lines.
    End,
}

/// Where in a sequence of bytes that one key may send the last one was.
#[derive(Debug, Default, Eq, PartialEq)]
enum Sequence {
    #[default]
    None,
    /// After the escape character.
    Escape,
    /// In what follows it: the arrow keys, for instance.
    Control,
}

/// One line, as it is typed.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    line: String,
    /// The first bytes of a character.
    partial: Vec<u8>,
    sequence: Sequence,
}

impl Editor {
    /// Returns what was typed of the line.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Takes a byte from the terminal, and adds what the terminal is to show of it to `echo`.
    pub(crate) fn take(&mut self, byte: u8, echo: &mut Vec<u8>) -> Key {
        if self.sequence != Sequence::None {
            self.pass(byte);
            return Key::Nothing;
        }
        match byte {
            b'\n' | b'\r' => {
                echo.push(b'\n');
                self.partial.clear();
                Key::Line(std::mem::take(&mut self.line))
            }
            END if self.line.is_empty() => Key::End,
            BACKSPACE | DELETE => self.erase(1, echo),
            ERASE_LINE => self.erase(usize::MAX, echo),
            ERASE_WORD => {
                let kept = self.line.trim_end().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                let count = self.line.get(kept..).map_or(usize::MAX, |word| word.chars().count());
                self.erase(count, echo)
            }
            ESCAPE => {
                self.sequence = Sequence::Escape;
                Key::Nothing
            }
            0..b' ' if byte != b'\t' => Key::Nothing,
            _ => self.add(byte, echo),
        }
    }

    /// Passes over what a key sends that moves a cursor, of which there is none.
    fn pass(&mut self, byte: u8) {
        self.sequence = match (&self.sequence, byte) {
            (Sequence::Escape, b'[' | b'O') => Sequence::Control,
            (Sequence::Control, byte) if !(0x40..=0x7e).contains(&byte) => Sequence::Control,
            _ => Sequence::None,
        };
    }

    fn add(&mut self, byte: u8, echo: &mut Vec<u8>) -> Key {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(text) => {
                self.line.push_str(text);
                echo.extend(&self.partial);
                self.partial.clear();
                Key::Edited
            }
            // More of the character is to come.
            Err(error) if error.error_len().is_none() => Key::Nothing,
            Err(_) => {
                self.partial.clear();
                Key::Nothing
            }
        }
    }

    /// Erases so many characters at the end, each as one column, as terminals do it.
    fn erase(&mut self, count: usize, echo: &mut Vec<u8>) -> Key {
        self.partial.clear();
        let before = self.line.len();
        for _ in 0..count {
            if self.line.pop().is_none() {
                break;
            }
            echo.extend(b"\x08 \x08");
        }
        if self.line.len() == before { Key::Nothing } else { Key::Edited }
    }
}

/// The terminal hands over key by key, until this is dropped.
pub(crate) struct KeyByKey {
    before: Termios,
}

impl KeyByKey {
    /// Tells the terminal; `None` if somebody's input or output is no terminal, which goes on line by line.
    pub(crate) fn start() -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut changed = before.clone();
        changed.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        changed.special_codes[SpecialCodeIndex::VMIN] = 1;
        changed.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Now, &changed).ok()?;
        Some(Self { before })
    }
}

impl Drop for KeyByKey {
    fn drop(&mut self) {
        // If that fails the terminal has gone, and there is nobody to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types bytes; returns what came of it beyond edits, what is left of the line, and what was shown.
    fn typed(bytes: &[u8]) -> (Vec<Key>, String, String) {
        let (mut editor, mut echo) = (Editor::default(), Vec::new());
        let keys = bytes.iter().map(|byte| editor.take(*byte, &mut echo));
        let keys = keys.filter(|key| !matches!(key, Key::Nothing | Key::Edited)).collect();
        (keys, editor.line().to_owned(), String::from_utf8(echo).unwrap())
    }

    fn line(text: &str) -> Key {
        Key::Line(text.to_owned())
    }

    #[test]
    fn what_is_typed_is_shown_and_makes_lines() {
        let (keys, left, shown) = typed("grüße 🙂\n\thalf".as_bytes());
        assert_eq!(
            (keys, left.as_str(), shown.as_str()),
            (vec![line("grüße 🙂")], "\thalf", "grüße 🙂\n\thalf")
        );
    }

    #[test]
    fn characters_words_and_lines_are_erased() {
        assert_eq!(typed("hellü\x7fo\n".as_bytes()).0, [line("hello")]);
        assert_eq!(typed("hü\x7f".as_bytes()).2, "hü\x08 \x08");
        assert_eq!(typed(b"one two  \x17three\n").0, [line("one three")]);
        assert_eq!(typed(b"one\x17\x17\n").0, [line("")]);
        assert_eq!(typed(b"one two\x15\x7f\x08three\n").0, [line("three")]);
    }

    #[test]
    fn every_change_is_noticed_and_nothing_else() {
        let (mut editor, mut echo) = (Editor::default(), Vec::new());
        let keys: Vec<Key> = "ü\x7f\x7f\x01".bytes().map(|byte| editor.take(byte, &mut echo)).collect();
        assert_eq!(keys, [Key::Nothing, Key::Edited, Key::Edited, Key::Nothing, Key::Nothing]);
    }

    #[test]
    fn the_end_of_input_is_a_key_on_an_empty_line() {
        assert_eq!(typed(b"\x04").0, [Key::End]);
        assert_eq!(typed(b"a\x04b\n").0, [line("ab")]);
    }

    #[test]
    fn keys_that_move_a_cursor_and_what_is_no_text_are_passed_over() {
        assert_eq!(typed(b"a\x1b[Ab\x1b[1;5Cc\x1bOHd\x1bxe\n").0, [line("abcde")]);
        assert_eq!(typed(b"a\xff\xc3b\n").0, [line("a")], "the byte after half a character goes with it");
    }
}
