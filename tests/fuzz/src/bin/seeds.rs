//! Writes `tests/fuzz/corpus/*/seed-*` anew; what fuzzers have found stays.

use std::fs;
use std::io;

use peerchat_fuzz::{TARGETS, corpus_of};

fn main() -> io::Result<()> {
    for target in &TARGETS {
        let directory = corpus_of(target);
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("seed-") {
                fs::remove_file(entry.path())?;
            }
        }
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:02}")), seed)?;
        }
    }
    Ok(())
}
