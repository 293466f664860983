//! Makes `bindings/python/generated/` from the shared library, as `bindings/python/generate` does.

use std::error::Error;
use std::path::Path;

/// Writes the generated module, `peerchat.py`, into `out_dir`.
///
/// # Errors
///
/// The library cannot be read, has no uniffi metadata, or the module cannot be written.
pub fn generate(library: &Path, out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let utf8 = |path: &Path| path.to_str().map(Into::into).ok_or("a path is not UTF-8");
    uniffi::generate(uniffi::GenerateOptions {
        languages: vec![uniffi::TargetLanguage::Python],
        source: utf8(library)?,
        out_dir: utf8(out_dir)?,
        config_override: None,
        format: false,
        crate_filter: None,
        metadata_no_deps: false,
    })?;
    Ok(())
}
