//! Options: what a client is created with.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use peerchat_core::config::Location;
use peerchat_core::{
    Config, ConfigBuilder, ConfigError, Error, LimitError, Limits, Passphrase, Serve, UserName,
};
use safer_ffi::derive_ReprC;
use safer_ffi::prelude::repr_c;

use super::guard::{guard, or_else, required};
use super::status::{Failure, peerchat_status_t};
use super::string::{CStrArg, string};

/// Whether a node keeps records and mail for others and is listed in their routing tables.
#[derive_ReprC]
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum peerchat_serve_t {
    /// If others can reach it: if it was reached from an address to which it has sent nothing, if its peers are at
    /// loopback or private addresses, or as long as it knows fewer than three others.
    PEERCHAT_SERVE_AUTO = 0,
    /// Yes, unproven: for whoever knows that the node can be reached.
    PEERCHAT_SERVE_ALWAYS = 1,
    /// No, so that nobody asks it for anything: for programs that soon end, and where others must not cost battery or data.
    PEERCHAT_SERVE_NEVER = 2,
}

impl From<Serve> for peerchat_serve_t {
    fn from(serve: Serve) -> Self {
        match serve {
            Serve::Auto => Self::PEERCHAT_SERVE_AUTO,
            Serve::Always => Self::PEERCHAT_SERVE_ALWAYS,
            Serve::Never => Self::PEERCHAT_SERVE_NEVER,
        }
    }
}

/// What a client is created with. Made by peerchat_options_new, freed by peerchat_options_free.
#[derive_ReprC]
#[repr(opaque)]
#[derive(Debug, Default)]
pub struct peerchat_options_t {
    location: Option<Location>,
    user: Option<UserName>,
    network: Option<String>,
    bind: Option<SocketAddr>,
    port: Option<u16>,
    k: Option<usize>,
    alpha: Option<usize>,
    serve: Option<Serve>,
    message_lifetime: Option<Duration>,
    read_receipts: Option<bool>,
    mail_quota: Option<u64>,
    memory_limit: Option<u64>,
    limits: Vec<(String, u64)>,
    passphrase: Option<Passphrase>,
    has_callback_thread: bool,
}

impl peerchat_options_t {
    /// Makes the configuration; what was not set keeps the default of the core.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let mut builder = match &self.location {
            Some(Location::Directory(path)) => Config::builder(path),
            Some(Location::Memory) => Config::in_memory(),
            None => {
                return Err(Failure::new(
                    peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT,
                    "no place for the profile: set a data directory, or ask for a profile in memory",
                ));
            }
        };
        if let Some(user) = &self.user {
            builder = builder.user(user.as_str()).map_err(Error::from)?;
        }
        builder = set(builder, self.passphrase.clone(), ConfigBuilder::passphrase);
        builder = set(builder, self.network.as_deref(), ConfigBuilder::network);
        builder = set(builder, self.port, ConfigBuilder::port);
        builder = set(builder, self.bind, ConfigBuilder::bind);
        builder = set(builder, self.k, ConfigBuilder::k);
        builder = set(builder, self.alpha, ConfigBuilder::alpha);
        builder = set(builder, self.serve, ConfigBuilder::serve);
        builder = set(builder, self.message_lifetime, ConfigBuilder::message_lifetime);
        builder = set(builder, self.read_receipts, ConfigBuilder::read_receipts);
        builder = set(builder, self.mail_quota, ConfigBuilder::mail_quota);
        builder = set(builder, self.memory_limit, ConfigBuilder::memory_limit);
        for (name, value) in &self.limits {
            builder = builder.limit(name, *value);
        }
        builder.build().map_err(|error| Error::from(error).into())
    }
}

impl peerchat_options_t {
    pub(super) fn has_callback_thread(&self) -> bool {
        self.has_callback_thread
    }
}

fn set<T>(
    builder: ConfigBuilder,
    value: Option<T>,
    setter: fn(ConfigBuilder, T) -> ConfigBuilder,
) -> ConfigBuilder {
    match value {
        Some(value) => setter(builder, value),
        None => builder,
    }
}

/// Runs a setter.
fn change(
    options: Option<&mut peerchat_options_t>,
    change: impl FnOnce(&mut peerchat_options_t) -> Result<(), Failure>,
) -> peerchat_status_t {
    guard(|| change(required(options, "options")?))
}

/// Makes options that hold nothing but defaults. A place for the profile has to be set: a directory or memory.
///
/// Never blocks. One thread at a time may use the same options.
/// @param out_options  Receives the options, which the caller frees with peerchat_options_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_new(
    out_options: Option<&mut MaybeUninit<repr_c::Box<peerchat_options_t>>>,
) -> peerchat_status_t {
    guard(|| {
        required(out_options, "out_options")?.write(Box::new(peerchat_options_t::default()).into());
        Ok(())
    })
}

/// Frees options. Clients that were created with them are not touched.
///
/// Never blocks.
/// @param options  Taken; NULL is allowed and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_free(options: Option<repr_c::Box<peerchat_options_t>>) {
    or_else((), || drop(options));
}

/// Keeps the profile in one file in a directory, which is made if it is missing. No default. Undoes
/// peerchat_options_set_in_memory.
///
/// Never blocks: the directory is used by peerchat_create.
/// @param data_dir  Path, UTF-8; copied. An empty one is refused by peerchat_create.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8 or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_data_dir(
    options: Option<&mut peerchat_options_t>,
    data_dir: CStrArg<'_>,
) -> peerchat_status_t {
    change(options, |options| {
        options.location = Some(Location::Directory(PathBuf::from(string(data_dir, "data_dir")?)));
        Ok(())
    })
}

/// Keeps the profile in memory: it is gone when the client closes. For tests and throw-away nodes. Undoes
/// peerchat_options_set_data_dir.
///
/// Never blocks.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_in_memory(
    options: Option<&mut peerchat_options_t>,
) -> peerchat_status_t {
    change(options, |options| {
        options.location = Some(Location::Memory);
        Ok(())
    })
}

/// Opens the client for this person. Default: nobody, a node that serves the network.
///
/// A name that the data directory knows is logged in; any other is registered. Never blocks.
/// @param user  User name, UTF-8; copied.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_user(
    options: Option<&mut peerchat_options_t>,
    user: CStrArg<'_>,
) -> peerchat_status_t {
    change(options, |options| {
        options.user = Some(UserName::parse(string(user, "user")?).map_err(Error::from)?);
        Ok(())
    })
}

/// Names the network. Nodes of different networks never talk. Default: "peerchat".
///
/// Never blocks.
/// @param network  UTF-8, 1 to 64 bytes; copied. Another length is refused by peerchat_create.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8 or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_network(
    options: Option<&mut peerchat_options_t>,
    network: CStrArg<'_>,
) -> peerchat_status_t {
    change(options, |options| {
        options.network = Some(string(network, "network")?.to_owned());
        Ok(())
    })
}

/// Binds this UDP address. Default: any port on every IPv4 and IPv6 address. Undoes peerchat_options_set_port.
///
/// Never blocks.
/// @param address  `192.0.2.1:4600` or `[2001:db8::1]:4600`, not a host name; port 0 for any. UTF-8.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ADDRESS or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_bind(
    options: Option<&mut peerchat_options_t>,
    address: CStrArg<'_>,
) -> peerchat_status_t {
    change(options, |options| {
        let address = string(address, "address")?;
        options.bind = Some(address.parse().map_err(|_| {
            Failure::new(
                peerchat_status_t::PEERCHAT_ERR_INVALID_ADDRESS,
                format!("`{address}` is not an address to bind: write ip:port or [ipv6]:port"),
            )
        })?);
        options.port = None;
        Ok(())
    })
}

/// Binds this UDP port on every IPv4 and IPv6 address. Default: any. Undoes peerchat_options_set_bind.
///
/// Never blocks.
/// @param port  0 for any.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_port(
    options: Option<&mut peerchat_options_t>,
    port: u16,
) -> peerchat_status_t {
    change(options, |options| {
        (options.port, options.bind) = (Some(port), None);
        Ok(())
    })
}

/// Sets Kademlia's k, the size of a bucket and the number of nodes that keep a record. Default and maximum: 20.
///
/// Never blocks.
/// @param k  1 to 20. Another value is refused by peerchat_create.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_k(
    options: Option<&mut peerchat_options_t>,
    k: usize,
) -> peerchat_status_t {
    change(options, |options| {
        options.k = Some(k);
        Ok(())
    })
}

/// Sets Kademlia's alpha, the number of requests that a lookup keeps in flight. Default: 3.
///
/// Never blocks.
/// @param alpha  1 to k. Another value is refused by peerchat_create.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_alpha(
    options: Option<&mut peerchat_options_t>,
    alpha: usize,
) -> peerchat_status_t {
    change(options, |options| {
        options.alpha = Some(alpha);
        Ok(())
    })
}

/// Sets whether the node keeps records and mail for others and is listed in their routing tables. Default:
/// PEERCHAT_SERVE_AUTO.
///
/// Never blocks.
/// @param serve  A number of peerchat_serve_t.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT (no such number) or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_serve(
    options: Option<&mut peerchat_options_t>,
    serve: i32,
) -> peerchat_status_t {
    change(options, |options| {
        let known = [Serve::Auto, Serve::Always, Serve::Never];
        let chosen = known.into_iter().find(|known| peerchat_serve_t::from(*known) as i32 == serve);
        options.serve = Some(chosen.ok_or_else(|| {
            let words = format!("{serve} is no number of peerchat_serve_t");
            Failure::new(peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT, words)
        })?);
        Ok(())
    })
}

/// Sets how long an undelivered message is retried before it expires. Default: 30 days.
///
/// Never blocks.
/// @param lifetime_ms  Milliseconds. 0 is refused by peerchat_create.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_message_lifetime_ms(
    options: Option<&mut peerchat_options_t>,
    lifetime_ms: u64,
) -> peerchat_status_t {
    change(options, |options| {
        options.message_lifetime = Some(Duration::from_millis(lifetime_ms));
        Ok(())
    })
}

/// Sets whether contacts are told what was read, once peerchat_mark_read says so. Default: yes. Nobody else is told in any
/// case.
///
/// Never blocks.
/// @param are_sent  Whether they are told.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_read_receipts(
    options: Option<&mut peerchat_options_t>,
    are_sent: bool,
) -> peerchat_status_t {
    change(options, |options| {
        options.read_receipts = Some(are_sent);
        Ok(())
    })
}

/// Sets how much mail the node keeps for people who are away. Default: 1 GiB, 64 MiB for a profile in memory.
///
/// Never blocks.
/// @param quota_len  Bytes; each message counts with about 500 more. 0 keeps none.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_mail_quota_len(
    options: Option<&mut peerchat_options_t>,
    quota_len: u64,
) -> peerchat_status_t {
    change(options, |options| {
        options.mail_quota = Some(quota_len);
        Ok(())
    })
}

/// Sets how much memory others can make the node take. Default: 256 MiB. With less than that its limits become smaller; with more
/// there is room to raise one with peerchat_options_set_limit, and to keep more messages for people who are away.
///
/// Never blocks.
/// @param memory_len  Bytes, 40 MiB or more. Less is refused by peerchat_create, and so are limits that could take more.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_memory_limit_len(
    options: Option<&mut peerchat_options_t>,
    memory_len: u64,
) -> peerchat_status_t {
    change(options, |options| {
        options.memory_limit = Some(memory_len);
        Ok(())
    })
}

/// Sets one of the limits on what others may make the node keep and do. docs/limits.md has their names, which do not change,
/// their defaults, and what happens when one is reached.
///
/// Never blocks.
/// @param name   The name of the limit, UTF-8, such as "links".
/// @param value  Its value; of one that is set twice the last counts.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT (no limit has this
///         name, or the value is out of its range: peerchat_last_error_message says what is allowed) or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_limit(
    options: Option<&mut peerchat_options_t>,
    name: CStrArg<'_>,
    value: u64,
) -> peerchat_status_t {
    change(options, |options| {
        let name = string(name, "name")?;
        let refused = |error: LimitError| Error::from(ConfigError::from(error));
        Limits::default().set(name, value).map_err(refused)?;
        options.limits.push((name.to_owned(), value));
        Ok(())
    })
}

/// Opens a profile that has this passphrase, or makes a new one that has: its keys are encrypted on disk. Default: none.
///
/// Never blocks; peerchat_create then takes about a quarter of a second and 64 MiB longer. peerchat_change_passphrase sets,
/// changes and removes the passphrase of a profile that exists.
/// @param passphrase  UTF-8, 1 to 1024 bytes; copied, and wiped when the options are freed. NULL for none.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT or
///         PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_passphrase(
    options: Option<&mut peerchat_options_t>,
    passphrase: CStrArg<'_>,
) -> peerchat_status_t {
    change(options, |options| {
        options.passphrase = self::passphrase(passphrase)?;
        Ok(())
    })
}

/// Asks for a thread of the library that runs the callback, begun by the first peerchat_set_callback. Default: none; the
/// callback runs within peerchat_dispatch.
///
/// For such a client peerchat_poll, peerchat_dispatch and peerchat_fd return PEERCHAT_ERR_WRONG_MODE. Never blocks.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_options_set_callback_thread(
    options: Option<&mut peerchat_options_t>,
) -> peerchat_status_t {
    change(options, |options| {
        options.has_callback_thread = true;
        Ok(())
    })
}

/// Returns the passphrase behind an argument, which may be NULL.
pub(super) fn passphrase(argument: CStrArg<'_>) -> Result<Option<Passphrase>, Failure> {
    if argument.is_none() {
        return Ok(None);
    }
    Ok(Some(Passphrase::new(string(argument, "passphrase")?).map_err(Error::from)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerchat_core::kademlia::{ALPHA, K};

    #[test]
    fn what_is_not_set_keeps_its_default() {
        let options = peerchat_options_t { location: Some(Location::Memory), ..Default::default() };
        let config = options.config().unwrap();
        assert_eq!((config.k(), config.alpha(), config.user()), (K, ALPHA, None));
        // The header promises these numbers.
        assert_eq!((K, ALPHA, peerchat_core::config::DEFAULT_NETWORK), (20, 3, "peerchat"));
        assert_eq!(config.message_lifetime(), Duration::from_secs(30 * 86_400));
        assert_eq!((config.mail_quota(), config.memory_limit()), (64 << 20, 256 << 20));
        assert_eq!(peerchat_core::config::MIN_MEMORY_LIMIT, 40 << 20);
        let on_disk = peerchat_options_t { location: Some(Location::Directory("/p".into())), ..options };
        assert_eq!(on_disk.config().unwrap().mail_quota(), 1 << 30);
    }

    #[test]
    fn options_reach_the_configuration() {
        let options = peerchat_options_t {
            location: Some(Location::Directory("/profiles".into())),
            user: Some(UserName::parse("alice").unwrap()),
            network: Some("lab".into()),
            bind: Some("127.0.0.1:4600".parse().unwrap()),
            port: None,
            k: Some(10),
            alpha: Some(5),
            serve: Some(Serve::Never),
            message_lifetime: Some(Duration::from_secs(1)),
            read_receipts: Some(false),
            mail_quota: Some(7),
            memory_limit: Some(64 << 20),
            limits: vec![("links".into(), 99)],
            passphrase: Some(Passphrase::new("open sesame").unwrap()),
            has_callback_thread: true,
        };
        assert!(!format!("{options:?}").contains("sesame"));
        let config = options.config().unwrap();
        assert_eq!(config.location(), options.location.as_ref().unwrap());
        assert_eq!(config.user(), options.user.as_ref());
        assert_eq!((config.network(), config.bind()), ("lab", options.bind));
        assert_eq!((config.k(), config.alpha(), config.serve()), (10, 5, Serve::Never));
        assert_eq!((config.message_lifetime(), config.mail_quota()), (Duration::from_secs(1), 7));
        assert_eq!((config.memory_limit(), config.max_links()), (64 << 20, 99));
        assert_eq!(config.passphrase(), options.passphrase.as_ref());
    }

    #[test]
    fn each_number_of_serve_is_one_and_others_are_refused() {
        let mut options = peerchat_options_t::default();
        for (number, serve) in [(0, Serve::Auto), (1, Serve::Always), (2, Serve::Never)] {
            assert_eq!(
                peerchat_options_set_serve(Some(&mut options), number),
                peerchat_status_t::PEERCHAT_OK
            );
            assert_eq!(options.serve, Some(serve));
        }
        for number in [-1, 3, i32::MAX] {
            let refused = peerchat_options_set_serve(Some(&mut options), number);
            assert_eq!(refused, peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT);
        }
        assert_eq!(options.serve, Some(Serve::Never));
    }

    #[test]
    fn a_limit_that_is_none_or_out_of_range_is_refused_at_once() {
        let mut options = peerchat_options_t::default();
        let mut set = |name: &str, value| {
            let name = std::ffi::CString::new(name).unwrap();
            let name = safer_ffi::prelude::char_p::Ref::from(&*name);
            peerchat_options_set_limit(Some(&mut options), Some(name), value)
        };
        assert_eq!(set("links", 7), peerchat_status_t::PEERCHAT_OK);
        for (name, value) in [("links", 0), ("fun", 1), ("", 1)] {
            assert_eq!(set(name, value), peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT, "{name} {value}");
        }
        assert_eq!(options.limits, [("links".to_owned(), 7)]);
    }

    #[test]
    fn a_profile_without_a_place_is_refused() {
        let refused = peerchat_options_t::default().config().unwrap_err();
        assert_eq!(refused.status, peerchat_status_t::PEERCHAT_ERR_INVALID_ARGUMENT);
    }
}
