//! `peerchat contacts`, `add`, `block`, `unblock` and `remove`: who may write, for scripts.

use std::io::{self, Write as _};

use peerchat_core::{Person, Relation, Verb};
use serde::Serialize;

use crate::args::{ContactsArgs, PersonArgs};
use crate::fault::Fault;
use crate::session;

/// One line of `contacts --json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    user: Option<String>,
    relation: &'static str,
    is_verified: bool,
}

/// Lists everybody who is a contact, has made a request or is blocked.
pub(crate) fn list(args: &ContactsArgs) -> Result<(), Fault> {
    let client = session::open(&args.name, &args.profile)?;
    let outcome = client.contacts().map_err(Fault::from).and_then(|people| show(&people, args.json));
    session::shut_down(&client);
    outcome
}

fn show(people: &[Person], is_json: bool) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    for person in people {
        if is_json {
            let line = Line {
                name: &person.name,
                user: person.user.map(|user| user.to_string()),
                relation: relation(person.relation),
                is_verified: person.is_verified,
            };
            writeln!(out, "{}", serde_json::to_string(&line).map_err(io::Error::from)?)?;
        } else {
            writeln!(out, "{}", line(person))?;
        }
    }
    Ok(())
}

/// Renders somebody.
pub(crate) fn line(person: &Person) -> String {
    let Person { name, relation, is_verified, .. } = person;
    let verified = if *is_verified { ", verified" } else { "" };
    let fingerprint = match person.user {
        Some(user) if !name.contains('#') => format!(" #{}", user.fingerprint()),
        Some(_) => String::new(),
        None => " (not found yet)".to_owned(),
    };
    format!("{name}{fingerprint}: {}{verified}", self::relation(*relation))
}

fn relation(relation: Relation) -> &'static str {
    match relation {
        Relation::Request => "request",
        Relation::Contact => "contact",
        Relation::Blocked => "blocked",
        _ => "stranger",
    }
}

/// Does something with somebody.
pub(crate) fn relate(args: &PersonArgs, verb: Verb) -> Result<(), Fault> {
    let client = session::open(&args.name, &args.profile)?;
    let outcome = client.relate_blocking(&args.who, verb).map_err(Fault::from);
    session::shut_down(&client);
    outcome
}

#[cfg(test)]
mod tests {
    use peerchat_core::UserId;

    use super::*;

    #[test]
    fn somebody_is_a_line() {
        let mut person = Person {
            name: "bob".to_owned(),
            user: Some(UserId::from_bytes([1; 32])),
            relation: Relation::Request,
            is_verified: false,
        };
        assert_eq!(line(&person), "bob #aeaqcaib: request");
        person.name = "bob#aeaqcaib".to_owned();
        (person.relation, person.is_verified) = (Relation::Contact, true);
        assert_eq!(line(&person), "bob#aeaqcaib: contact, verified");
        (person.name, person.user, person.is_verified) = ("carol".to_owned(), None, false);
        assert_eq!(line(&person), "carol (not found yet): contact");
    }
}
