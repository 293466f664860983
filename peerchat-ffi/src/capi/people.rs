//! People: who is behind a name, and what is known about them.

use std::mem::MaybeUninit;

use peerchat_core::{Error, FoundUser, Person, Recipient, UserId};
use safer_ffi::derive_ReprC;
use safer_ffi::prelude::repr_c;

use super::client::peerchat_t;
use super::contacts::peerchat_relation_t;
use super::guard::{guard, or_else, required};
use super::status::{Failure, peerchat_status_t};
use super::string::{CEventStr, COwnedStr, CStrArg, lines, owned, string};

/// Somebody behind a name. Read-only; it owns its strings until peerchat_person_free. No string is ever NULL; one that has
/// no meaning here is empty. Later versions add members at the end only; see `struct_size` of peerchat_event_t.
#[derive_ReprC]
#[repr(C)]
#[derive(Debug)]
pub struct peerchat_person_t {
    /// Size of this structure in the library, in bytes.
    pub struct_size: u32,
    /// Whether they are marked as verified. Only from peerchat_identity and peerchat_contacts.
    pub is_verified: bool,
    /// How to address them: "alice" or "alice#7kq2m4xd".
    pub name: CEventStr,
    /// Who they are, whatever they are called: 52 characters.
    pub user_id: CEventStr,
    /// The first 8 characters of `user_id`.
    pub fingerprint: CEventStr,
    /// Who else was seen to hold the name, as PEERCHAT_EVENT_IDENTITY_CHANGED told. Only from peerchat_identity.
    pub rival_user_id: CEventStr,
    /// The node that their device last announced: 64 hexadecimal digits. Only from peerchat_lookup_wait.
    pub node_id: CEventStr,
    /// Where that node was last announced to be, one address a line. Only from peerchat_lookup_wait.
    pub addresses: CEventStr,
    /// What they are to this user. Only from peerchat_contacts.
    pub relation: peerchat_relation_t,
}

impl peerchat_person_t {
    fn new(name: &str, user: &UserId) -> Self {
        Self {
            struct_size: u32::try_from(size_of::<Self>()).unwrap_or(u32::MAX),
            is_verified: false,
            name: owned(name),
            user_id: owned(&user.to_string()),
            fingerprint: owned(&user.fingerprint()),
            rival_user_id: owned(""),
            node_id: owned(""),
            addresses: owned(""),
            relation: peerchat_relation_t::PEERCHAT_RELATION_STRANGER,
        }
    }

    pub(super) fn listed(person: &Person) -> Self {
        let nobody = UserId::from_bytes([0; 32]);
        let mut listed = Self::new(&person.name, person.user.as_ref().unwrap_or(&nobody));
        if person.user.is_none() {
            (listed.user_id, listed.fingerprint) = (owned(""), owned(""));
        }
        (listed.is_verified, listed.relation) = (person.is_verified, person.relation.into());
        listed
    }

    fn found(found: &FoundUser) -> Self {
        let mut person = Self::new(found.name.as_str(), &found.user);
        person.node_id = owned(&found.node.to_string());
        person.addresses = owned(&lines(&found.addresses, ToString::to_string));
        person
    }
}

/// Looks a name up in the network and waits for the answer.
///
/// Blocks for some seconds at most. Thread-safe.
/// @param client         The client, with a user.
/// @param name           "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
/// @param out_person     Receives the person, whom the caller frees with peerchat_person_free.
/// @param out_claimants  NULL, or receives a string on PEERCHAT_ERR_NAME_CONTESTED, too: everyone who was named, one a line
///                       and as to address them ("alice#7kq2m4xd"); empty on PEERCHAT_OK. The caller frees it with
///                       peerchat_string_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_UNKNOWN_RECIPIENT, PEERCHAT_ERR_NAME_CONTESTED, PEERCHAT_ERR_TIMED_OUT if no other node answers,
///         PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_lookup_wait(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
    out_person: Option<&mut MaybeUninit<repr_c::Box<peerchat_person_t>>>,
    out_claimants: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_person) = (required(client, "client")?, required(out_person, "out_person")?);
        let name = string(name, "name")?;
        let found = client.inner().lookup_wait(name);
        if let Some(out) = out_claimants {
            match &found {
                Ok(_) => _ = out.write(Some(owned(""))),
                Err(Error::NameContested { fingerprints }) => {
                    out.write(Some(owned(&claimants(name, fingerprints)?)));
                }
                Err(_) => {}
            }
        }
        out_person.write(Box::new(peerchat_person_t::found(&found?)).into());
        Ok(())
    })
}

fn claimants(name: &str, fingerprints: &[String]) -> Result<String, Failure> {
    let name = Recipient::parse(name).map_err(Error::from)?;
    Ok(lines(fingerprints, |fingerprint| format!("{}#{fingerprint}", name.name())))
}

/// Tells who the person is whom messages to this name go to. Nobody else gets them, whoever holds the name by now.
///
/// Waits for the disk at most. Thread-safe.
/// @param client      The client, with a user.
/// @param name        "alice", or "alice#7kq2m4xd". UTF-8.
/// @param out_person  Receives the person, whom the caller frees with peerchat_person_free.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_NOT_MET, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
///         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_identity(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
    out_person: Option<&mut MaybeUninit<repr_c::Box<peerchat_person_t>>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_person) = (required(client, "client")?, required(out_person, "out_person")?);
        let identity = client.inner().identity(string(name, "name")?)?;
        let mut person = peerchat_person_t::new(&identity.name, &identity.user);
        person.is_verified = identity.is_verified;
        person.rival_user_id = owned(&identity.rival.map(|rival| rival.to_string()).unwrap_or_default());
        out_person.write(Box::new(person).into());
        Ok(())
    })
}

/// Frees a person and their strings.
///
/// Never blocks. Thread-safe.
/// @param person  Taken; NULL is allowed and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_person_free(person: Option<repr_c::Box<peerchat_person_t>>) {
    or_else((), || drop(person));
}

/// Gives the safety number of this user and the person of this name: 60 digits in twelve groups of five with spaces between.
///
/// Both sides get the same. If two people read it to each other and it agrees, nobody sits between them: mark it with
/// peerchat_set_verified. Waits for the disk at most. Thread-safe.
/// @param client      The client, with a user.
/// @param name        "alice", or "alice#7kq2m4xd". UTF-8.
/// @param out_number  Receives a string, which the caller frees with peerchat_string_free.
/// @return Those of peerchat_identity.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_safety_number(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
    out_number: Option<&mut MaybeUninit<COwnedStr>>,
) -> peerchat_status_t {
    guard(|| {
        let (client, out_number) = (required(client, "client")?, required(out_number, "out_number")?);
        out_number.write(Some(owned(&client.inner().safety_number(string(name, "name")?)?)));
        Ok(())
    })
}

/// Marks the person of this name as verified, or no longer; the mark is kept. It belongs to the person's key: who takes over
/// the name does not get it. peerchat_identity tells it.
///
/// Waits for the disk. Thread-safe.
/// @param client       The client, with a user.
/// @param name         "alice", or "alice#7kq2m4xd". UTF-8.
/// @param is_verified  Whether the safety number was compared.
/// @return Those of peerchat_identity.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_set_verified(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
    is_verified: bool,
) -> peerchat_status_t {
    guard(|| {
        let client = required(client, "client")?;
        Ok(client.inner().set_verified_blocking(string(name, "name")?, is_verified)?)
    })
}

/// Lets a name mean the person who holds it now, after PEERCHAT_EVENT_IDENTITY_CHANGED has named them.
///
/// From then on messages to the name go to them. Everything said so far, and what is still to be delivered, stays with the
/// person it was written to, who goes by name and fingerprint ("alice#7kq2m4xd") from then on. Waits for the disk.
/// Thread-safe.
/// @param client   The client, with a user.
/// @param name     The name, without a fingerprint. UTF-8.
/// @param user_id  `user_id` of the event. UTF-8.
/// @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
///         PEERCHAT_ERR_INVALID_ARGUMENT, PEERCHAT_ERR_IDENTITY_NOT_SEEN, PEERCHAT_ERR_NOT_MET, PEERCHAT_ERR_NO_USER,
///         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn peerchat_accept_identity(
    client: Option<&peerchat_t>,
    name: CStrArg<'_>,
    user_id: CStrArg<'_>,
) -> peerchat_status_t {
    guard(|| {
        let (client, name) = (required(client, "client")?, string(name, "name")?);
        let user: UserId = string(user_id, "user_id")?.parse().map_err(Error::from)?;
        Ok(client.inner().accept_identity_blocking(name, user)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerchat_core::{NodeId, UserName};

    #[test]
    fn a_person_keeps_everything() {
        let person = peerchat_person_t::found(&FoundUser {
            name: UserName::parse("bob").unwrap(),
            user: UserId::from_bytes([1; 32]),
            node: NodeId::from_bytes([3; 32]),
            addresses: ["127.0.0.1:1", "[::1]:2"].map(|address| address.parse().unwrap()).to_vec(),
        });
        assert_eq!((person.name.to_str(), person.fingerprint.to_str()), ("bob", "aeaqcaib"));
        assert_eq!((person.user_id.to_str().len(), person.node_id.to_str().len()), (52, 64));
        assert_eq!((person.addresses.to_str(), person.rival_user_id.to_str()), ("127.0.0.1:1\n[::1]:2", ""));
    }

    #[test]
    fn claimants_are_addresses() {
        let fingerprints = ["aeaqcaib", "7kq2m4xd"].map(String::from);
        assert_eq!(claimants("Bob", &fingerprints).unwrap(), "bob#aeaqcaib\nbob#7kq2m4xd");
    }
}
