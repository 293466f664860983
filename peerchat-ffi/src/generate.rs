//! Makes `bindings/*/generated/` from the shared library, as `bindings/generate` does.

use std::error::Error;
use std::path::Path;

pub use uniffi::TargetLanguage as Language;

/// Writes the generated code of one language into `out_dir`, as `uniffi.toml` asks for it and `changes`, a file in the
/// form of uniffi's global configuration, changes it.
///
/// # Errors
///
/// The library cannot be read, has no uniffi metadata, or the code cannot be written.
pub fn generate(
    language: Language,
    library: &Path,
    out_dir: &Path,
    changes: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    let utf8 = |path: &Path| path.to_str().map(Into::into).ok_or("a path is not UTF-8");
    uniffi::generate(uniffi::GenerateOptions {
        languages: vec![language],
        source: utf8(library)?,
        out_dir: utf8(out_dir)?,
        config_override: changes.map(utf8).transpose()?,
        format: false,
        crate_filter: None,
        metadata_no_deps: false,
    })?;
    Ok(())
}
