//! Export and import: a profile in one encrypted file, to move it to another machine.

use std::mem::MaybeUninit;
use std::path::Path;

use peerchat_core::{Client, Passphrase};

use super::client::peerchat_t;
use super::guard::{guard, required};
use super::options::passphrase;
use super::status::{Failure, peerchat_status_t};
use super::string::{COwnedStr, CStrArg, owned, string};

/// Writes the profile as it is now into a new file that a passphrase encrypts: keys, contacts, blocks and requests, the whole
/// history with its states, and what is still owed. Sessions and what the node keeps for others are left out.
///
/// The profile that peerchat_import makes of it continues as this very device, so there must never be two of them: destroy
/// this client right after the export and do not open its profile again. What it sends or receives in between is not in the
/// file.
///
/// Waits for the disk, and takes about a quarter of a second and 64 MiB for the passphrase. Thread-safe.
/// @param client      The client, with a user and a profile on disk.
/// @param path        The file to make, UTF-8. One that exists is not written over.
/// @param passphrase  What encrypts it, UTF-8, 1 to 1024 bytes. It is not the profile's, and cannot be recovered.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT (also for a
///         profile in memory), PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL. There is no new file unless it is PEERCHAT_OK.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_export(
    client: Option<&peerchat_t>,
    path: CStrArg<'_>,
    passphrase: CStrArg<'_>,
) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        let path = Path::new(string(path, "path")?);
        Ok(client.inner().export(path, &needed(passphrase)?)?)
    })
}

/// Makes a profile of a file that peerchat_export wrote. A profile that exists is never touched, and nothing is written
/// before the file has proven to be whole.
///
/// Waits for the disk, and takes about a quarter of a second and 64 MiB for each passphrase. Thread-safe.
/// @param archive         The file, UTF-8.
/// @param passphrase      The one that encrypts it, UTF-8.
/// @param data_dir        Where the profile is to be, UTF-8; made if it is missing.
/// @param new_passphrase  The one that the profile gets, UTF-8, 1 to 1024 bytes; NULL for none.
/// @param out_user        Receives the user's name, a string which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT,
///         PEERCHAT_ERR_ARCHIVE_DAMAGED, PEERCHAT_ERR_ARCHIVE_PASSPHRASE, PEERCHAT_ERR_ARCHIVE_TOO_NEW,
///         PEERCHAT_ERR_PROFILE_EXISTS, PEERCHAT_ERR_PROFILE_IN_USE, PEERCHAT_ERR_PROFILE_DAMAGED (its log is there and the
///         profile is not), PEERCHAT_ERR_STORAGE or PEERCHAT_ERR_INTERNAL. No profile was made unless it is PEERCHAT_OK.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_import(
    archive: CStrArg<'_>,
    passphrase: CStrArg<'_>,
    data_dir: CStrArg<'_>,
    new_passphrase: CStrArg<'_>,
    out_user: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    guard(|| {
        let (archive, data_dir) = (string(archive, "archive")?, string(data_dir, "data_dir")?);
        let (opens, new) = (needed(passphrase)?, self::passphrase(new_passphrase)?);
        let out_user = required(out_user, "out_user")?;
        let user = Client::import(Path::new(archive), &opens, Path::new(data_dir), new.as_ref())?;
        out_user.write(Some(owned(user.as_str())));
        Ok(())
    })
}

fn needed(argument: CStrArg<'_>) -> Result<Passphrase, Failure> {
    required(passphrase(argument)?, "passphrase")
}
