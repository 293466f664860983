//! The names of a profile's files, and how they are made: readable by their owner only.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::UserName;

/// Returns where the profile of a user, or of a node without one, is kept: `user-alice.db`, `node.db`.
pub(super) fn path_of(data_dir: &Path, user: Option<&UserName>) -> PathBuf {
    data_dir.join(match user {
        Some(user) => format!("user-{}.db", escaped(user.as_str())),
        None => "node.db".to_owned(),
    })
}

/// Writes every byte that some file system could treat in its own way as `%XX`.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            _ => write!(escaped, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    escaped
}

/// Returns the path with something added to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = OsString::from(path);
    beside.push(suffix);
    beside.into()
}

/// Makes a directory and those above it, open to this user only; one that exists stays as it is.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)?;
    missing.into_iter().for_each(sync_directory_of);
    Ok(())
}

/// Returns the options that open a file for writing and, if they make it, keep it to this user.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the name of a new file or directory survive a power cut.
///
/// Some systems do not sync directories; they keep names by themselves, so a refusal is no failure.
pub(super) fn sync_directory_of(path: &Path) {
    if let Some(directory) = path.parent().and_then(|directory| File::open(directory).ok()) {
        let _ = directory.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_named_after_its_user() {
        let name = |name| path_of(Path::new("d"), Some(&UserName::parse(name).unwrap()));
        assert_eq!(name("Alice_1-b"), Path::new("d/user-alice_1-b.db"));
        assert_eq!(name("a.b%"), Path::new("d/user-a%2Eb%25.db"));
        assert_eq!(name("zoë"), Path::new("d/user-zo%C3%AB.db"));
        assert_eq!(path_of(Path::new("d"), None), Path::new("d/node.db"));
    }
}
