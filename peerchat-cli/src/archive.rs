//! `peerchat export` and `import`: a profile in one encrypted file, to move it to another machine.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;

use peerchat_core::{Client, Config, Passphrase};
use zeroize::Zeroizing;

use crate::args::{ExportArgs, ImportArgs};
use crate::fault::Fault;
use crate::{passphrase, session};

/// Environment variable with the passphrase of the archive, for scripts without a file.
const VARIABLE: &str = "PEERCHAT_ARCHIVE_PASSPHRASE";

/// Writes the profile into a file.
pub(crate) fn export(args: &ExportArgs) -> Result<(), Fault> {
    let passphrase = of_archive(args.archive_passphrase_file.as_deref())?;
    let data_dir = session::data_dir(args.data.as_deref())?;
    session::expect_profile(&data_dir, &args.name)?;
    // Whatever arrived from now on would be acknowledged, and missing in the archive: nobody reaches it.
    let config = Config::builder(data_dir).bind((Ipv4Addr::LOCALHOST, 0).into()).user(args.name.as_str())?;
    let client = args.passphrase.open(config, &mut passphrase::ask_terminal)?;
    let outcome = client.export(&args.archive, &passphrase).map_err(Fault::from);
    session::shut_down(&client);
    outcome?;
    eprintln!(
        "peerchat: {} is in {}; do not use this profile any more once the other is in use",
        args.name,
        args.archive.display()
    );
    Ok(())
}

/// Makes a profile of a file.
pub(crate) fn import(args: &ImportArgs) -> Result<(), Fault> {
    let passphrase = of_archive(args.archive_passphrase_file.as_deref())?;
    let new = passphrase::given(args.passphrase_file.as_deref())?;
    let data_dir = session::data_dir(args.data.as_deref())?;
    let name = Client::import(&args.archive, &passphrase, &data_dir, new.as_ref())?;
    Ok(writeln!(io::stdout(), "{name}")?)
}

/// Reads the passphrase of an archive from its file, or from the environment.
fn of_archive(file: Option<&Path>) -> Result<Passphrase, Fault> {
    if let Some(path) = file {
        return passphrase::from_file(path);
    }
    let text = std::env::var(VARIABLE).map(Zeroizing::new).map_err(|_| {
        Fault::no_passphrase(
            "an archive needs a passphrase",
            format!("name a file with --archive-passphrase-file, or set {VARIABLE}"),
        )
    })?;
    Ok(Passphrase::new(&text)?)
}
