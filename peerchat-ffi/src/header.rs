//! Makes the text of `include/peerchat.h` from `src/capi/` and `cbindgen.toml`.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::capi::VERSION;

/// What cbindgen reads, in the order of the header. Read as a whole crate, it would export stray constants.
const SOURCES: [&str; 14] = [
    "version",
    "status",
    "string",
    "options",
    "client",
    "moving",
    "message",
    "history",
    "people",
    "contacts",
    "event",
    "callback",
    "statistics",
    "log",
];

/// Returns where the header is committed.
#[must_use]
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/peerchat.h")
}

/// Returns the text of the header.
///
/// # Errors
///
/// The sources or `cbindgen.toml` do not parse, or cannot be read.
pub fn text() -> Result<String, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    config.after_includes = Some(version_macros());
    let builder = SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |builder, name| {
        builder.with_src(root.join("src/capi").join(format!("{name}.rs")))
    });
    let mut text = Vec::new();
    builder.generate()?.write(&mut text);
    // A renamed type keeps the space that cbindgen puts after every type.
    Ok(String::from_utf8(text)?.replace("char * ", "char *"))
}

/// Returns the version of the package as macros; `peerchat_version` returns the same.
fn version_macros() -> String {
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    let version = VERSION.to_string_lossy();
    format!(
        "\n/**\n * The version of this header; peerchat_version() is that of the library.\n */\n\
         #define PEERCHAT_VERSION \"{version}\"\n\
         #define PEERCHAT_VERSION_MAJOR {major}\n\
         #define PEERCHAT_VERSION_MINOR {minor}\n\
         #define PEERCHAT_VERSION_PATCH {patch}"
    )
}
