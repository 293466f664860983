//! The client handle: from create to destroy.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;

use peerchat_core::{Client, Error, UserId, UserName};
use safer_ffi::derive_ReprC;
use safer_ffi::prelude::repr_c;

use super::callback::Callbacks;
use super::guard::{guard, or_else, required};
use super::options::{passphrase, peerchat_options_t};
use super::status::{Failure, peerchat_status_t};
use super::string::{COwnedStr, CStrArg, owned, string};

/// A running node, with a user on top of it unless it was created without one. Made by peerchat_create, freed by
/// peerchat_destroy.
#[derive_ReprC]
#[repr(opaque)]
#[derive(Debug)]
pub struct peerchat_t {
    inner: Client,
    callbacks: Arc<Callbacks>,
}

impl peerchat_t {
    pub(super) fn inner(&self) -> &Client {
        &self.inner
    }

    pub(super) fn callbacks(&self) -> &Arc<Callbacks> {
        &self.callbacks
    }

    fn user_id(&self) -> Result<UserId, Failure> {
        Ok(self.inner.user_id().ok_or(Error::NoUser)?)
    }
}

/// Runs a getter of a string.
fn get(
    client: Option<&peerchat_t>,
    out: Option<&mut MaybeUninit<COwnedStr>>,
    name: &str,
    getter: impl FnOnce(&peerchat_t) -> Result<String, Failure>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out) = (required(client, "client")?, required(out, name)?);
        out.write(Some(owned(&getter(client)?)));
        Ok(())
    })
}

/// Opens the profile, binds the socket and starts the node.
///
/// Blocks briefly, on the disk only; up to 30 seconds if a client of this process that was closed still saves the same profile,
/// or has the same port. The node is alone until peerchat_bootstrap, unless the profile has been in the
/// network before and an old acquaintance answers: then a PEERCHAT_EVENT_ONLINE comes by itself. A node that does
/// neither has started a network of its own. Thread-safe; one profile may be open once.
/// @param options     Read during the call; the caller keeps them and may create more clients with them.
/// @param out_client  Receives the client, which the caller frees with peerchat_destroy.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT, PEERCHAT_ERR_PROFILE_IN_USE,
///         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_PROFILE_TOO_NEW, PEERCHAT_ERR_WRONG_PASSPHRASE, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_ADDRESS_IN_USE, PEERCHAT_ERR_NETWORK or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_create(
    options: Option<&peerchat_options_t>,
    out_client: Option<&mut MaybeUninit<repr_c::Box<peerchat_t>>>,
) -> peerchat_status_t {
    guard(|| {
        let (options, out_client) = (required(options, "options")?, required(out_client, "out_client")?);
        let inner = Client::open(options.config()?)?;
        let callbacks = Arc::new(Callbacks::new(options.has_callback_thread()));
        out_client.write(Box::new(peerchat_t { inner, callbacks }).into());
        Ok(())
    })
}

/// Closes the client: every call that waits returns PEERCHAT_ERR_CLOSED at once, and so does every later one but the
/// getters and peerchat_destroy.
///
/// Never blocks: the node saves its state in the background. May be called from any thread, more than once, and
/// while other calls wait; it frees nothing. Thread-safe.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_close(client: Option<&peerchat_t>) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        client.inner.close();
        client.callbacks.close();
        Ok(())
    })
}

/// Closes the client if it is open, waits until its state is saved and its port and profile are free again, and
/// frees it.
///
/// Blocks up to 2 seconds, and until a callback that runs on the library's thread has returned. Everything that was acknowledged is on disk already: what may be lost if that is too
/// short is at most half a minute of what the node learned about others. It comes last and alone: no other call on
/// this client may run or follow. Call peerchat_close first and join the threads that wait. From inside a callback of
/// this client it does nothing.
/// @param client  Taken; NULL is allowed and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_destroy(client: Option<repr_c::Box<peerchat_t>>) {
    or_else((), || {
        let Some(client) = client else { return };
        if client.callbacks.is_running_here() {
            // Whoever runs the callback would find the client gone; a leak is the lesser evil.
            std::mem::forget(client);
            return;
        }
        client.inner.close();
        client.callbacks.close();
        client.callbacks.join();
        client.inner.shutdown();
    });
}

/// Joins the network through the node at an address and returns at once.
///
/// PEERCHAT_EVENT_BOOTSTRAPPED or PEERCHAT_EVENT_BOOTSTRAP_FAILED follows and repeats `*out_command_id`. May be
/// called again, with any number of addresses. Never blocks. Thread-safe.
/// @param client          The client.
/// @param address         `host:port`, `[ipv6]:port`, or `key@host:port`, which accepts only the node with that
///                        key (see peerchat_node_key); without a key whoever answers is trusted. UTF-8; copied.
/// @param out_command_id  Receives the id of this call.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ADDRESS,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_bootstrap(
    client: Option<&peerchat_t>,
    address: CStrArg<'_>,
    out_command_id: Option<&mut MaybeUninit<u64>>,
) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        let out_command_id = required(out_command_id, "out_command_id")?;
        out_command_id.write(client.inner.bootstrap(string(address, "address")?)?.0);
        Ok(())
    })
}

/// Gives a descriptor that is readable while an event waits, for poll(2), select(2), epoll and the like.
///
/// It is made on first use, stays the same, and belongs to the client until peerchat_destroy: neither read nor
/// close it; peerchat_poll or peerchat_dispatch with a timeout of 0 until PEERCHAT_NO_EVENT makes it unreadable again. Level-triggered.
/// A closed client leaves it readable. Never blocks. Thread-safe. Not on Windows.
/// @param client  The client.
/// @param out_fd  Receives the descriptor.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_WRONG_MODE (the events go to the callback, on the
///         library's thread), PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL (also if the system has no descriptor left,
///         or is Windows).
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_fd(
    client: Option<&peerchat_t>,
    out_fd: Option<&mut MaybeUninit<c_int>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_fd) = (required(client, "client")?, required(out_fd, "out_fd")?);
        client.callbacks.refuse_if_threaded()?;
        out_fd.write(event_fd(client)?);
        Ok(())
    })
}

#[cfg(unix)]
fn event_fd(client: &peerchat_t) -> Result<c_int, Failure> {
    Ok(client.inner.event_fd()?)
}

#[cfg(not(unix))]
fn event_fd(_: &peerchat_t) -> Result<c_int, Failure> {
    Err(Failure::new(peerchat_status_t::PEERCHAT_ERR_INTERNAL, "this system has no event descriptors"))
}

/// Gives the UDP address that the node is bound to, with the port that the system chose: "127.0.0.1:4600".
///
/// Works on a closed client, too. Never blocks. Thread-safe.
/// @param client       The client.
/// @param out_address  Receives a string, which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_local_address(
    client: Option<&peerchat_t>,
    out_address: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    get(client, out_address, "out_address", |client| Ok(client.inner.local_address().to_string()))
}

/// Gives the node's key, the part before @ in "key@host:port": 52 characters that are safe to publish.
///
/// It stays the same for the life of the profile. Works on a closed client, too. Never blocks. Thread-safe.
/// @param client   The client.
/// @param out_key  Receives a string, which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_node_key(
    client: Option<&peerchat_t>,
    out_key: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    get(client, out_key, "out_key", |client| Ok(client.inner.node_key().to_string()))
}

/// Gives the node's id, its place in the network: 64 hexadecimal digits.
///
/// Works on a closed client, too. Never blocks. Thread-safe.
/// @param client  The client.
/// @param out_id  Receives a string, which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_node_id(
    client: Option<&peerchat_t>,
    out_id: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    get(client, out_id, "out_id", |client| Ok(client.inner.node_id().to_string()))
}

/// Gives the user's name in the form in which names are compared: "Alice" has become "alice".
///
/// Works on a closed client, too. Never blocks. Thread-safe.
/// @param client    The client.
/// @param out_name  Receives a string, which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_user_name(
    client: Option<&peerchat_t>,
    out_name: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    get(client, out_name, "out_name", |client| {
        Ok(client.inner.user_name().ok_or(Error::NoUser)?.as_str().to_owned())
    })
}

/// Gives the user's id, who the person is whatever they are called: 52 characters.
///
/// Works on a closed client, too. Never blocks. Thread-safe.
/// @param client  The client.
/// @param out_id  Receives a string, which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_user_id(
    client: Option<&peerchat_t>,
    out_id: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    get(client, out_id, "out_id", |client| Ok(client.user_id()?.to_string()))
}

/// Gives the user's fingerprint, the first 8 characters of the id: "alice#7kq2m4xd" is name and fingerprint.
///
/// Works on a closed client, too. Never blocks. Thread-safe.
/// @param client           The client.
/// @param out_fingerprint  Receives a string, which the caller frees with peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_user_fingerprint(
    client: Option<&peerchat_t>,
    out_fingerprint: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    get(client, out_fingerprint, "out_fingerprint", |client| Ok(client.user_id()?.fingerprint()))
}

/// Tells whether a data directory holds a profile of this user, without opening it.
///
/// Waits for the disk. Thread-safe.
/// @param data_dir    Path, UTF-8. One that does not exist holds no profile.
/// @param user        User name, UTF-8.
/// @param out_exists  Receives the answer.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_profile_exists(
    data_dir: CStrArg<'_>,
    user: CStrArg<'_>,
    out_exists: Option<&mut MaybeUninit<bool>>,
) -> peerchat_status_t {
    guard(|| {
        let (data_dir, user) = (string(data_dir, "data_dir")?, string(user, "user")?);
        let out_exists = required(out_exists, "out_exists")?;
        let user = UserName::parse(user).map_err(Error::from)?;
        out_exists.write(Client::profile_exists(Path::new(data_dir), &user));
        Ok(())
    })
}

/// Sets, changes or removes the passphrase of a profile that no client has open. All of it happens or nothing.
///
/// Waits for the disk, and takes about a quarter of a second and 64 MiB for each passphrase. Thread-safe.
/// @param data_dir        Path, UTF-8.
/// @param user            User name, UTF-8; NULL for the node without a user.
/// @param old_passphrase  The one that the profile has, UTF-8; NULL if it has none.
/// @param new_passphrase  The one that it gets, UTF-8, 1 to 1024 bytes; NULL for none.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_INVALID_ARGUMENT, PEERCHAT_ERR_WRONG_PASSPHRASE, PEERCHAT_ERR_PROFILE_IN_USE,
///         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_PROFILE_TOO_NEW, PEERCHAT_ERR_STORAGE or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_change_passphrase(
    data_dir: CStrArg<'_>,
    user: CStrArg<'_>,
    old_passphrase: CStrArg<'_>,
    new_passphrase: CStrArg<'_>,
) -> peerchat_status_t {
    guard(|| {
        let data_dir = Path::new(string(data_dir, "data_dir")?);
        let user = match user {
            Some(_) => Some(UserName::parse(string(user, "user")?).map_err(Error::from)?),
            None => None,
        };
        let (old, new) = (passphrase(old_passphrase)?, passphrase(new_passphrase)?);
        Ok(Client::change_passphrase(data_dir, user.as_ref(), old.as_ref(), new.as_ref())?)
    })
}
