//! `peerchat whois`, `verify` and `accept`: who is behind a name, for scripts.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use peerchat_core::{Client, Error, Event, FoundUser, Identity, Recipient, UserName, Verb};
use serde::Serialize;

use crate::args::{AcceptArgs, VerifyArgs, WhoisArgs};
use crate::fault::Fault;
use crate::session;

/// What `whois` says.
#[derive(Debug, Default, Serialize)]
struct Whois {
    name: String,
    /// Who holds the name, as far as the network agrees.
    holder: Option<String>,
    addresses: Vec<String>,
    /// Everyone who was named, if it does not.
    claimants: Vec<String>,
    /// To whom messages to the name go, if anything was ever exchanged.
    known: Option<String>,
    is_verified: bool,
    safety_number: Option<String>,
    /// Who else was seen to hold the name.
    rival: Option<String>,
}

/// Looks a name up in the network, and here. Fails if neither knows it.
pub(crate) fn whois(args: &WhoisArgs) -> Result<(), Fault> {
    let client = session::open(&args.name, &args.profile)?;
    session::close_on_signal(&client)?;
    let outcome = ask(&client, args).and_then(|whois| show(&whois, args.json));
    session::shut_down(&client);
    outcome
}

fn ask(client: &Client, args: &WhoisArgs) -> Result<Whois, Fault> {
    let who = Recipient::parse(&args.who)?;
    let mut whois = Whois { name: who.name().to_string(), ..Whois::default() };
    if let Some(identity) = met(client.identity(&args.who))? {
        whois.set_known(&identity, client.safety_number(&args.who)?);
    }
    wait_online(client, Instant::now() + Duration::from_secs(args.timeout))?;
    match client.lookup_wait(&args.who) {
        Ok(found) => whois.set_found(&found),
        Err(Error::NameContested { fingerprints }) => {
            let name = who.name();
            whois.claimants =
                fingerprints.iter().map(|fingerprint| format!("{name}#{fingerprint}")).collect();
        }
        Err(Error::UnknownRecipient | Error::TimedOut) if whois.known.is_some() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(whois)
}

/// Takes that nobody was met as an answer.
fn met(identity: Result<Identity, Error>) -> Result<Option<Identity>, Fault> {
    match identity {
        Ok(identity) => Ok(Some(identity)),
        Err(Error::NotMet) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until other nodes answer, or until it is too late.
fn wait_online(client: &Client, deadline: Instant) -> Result<(), Fault> {
    loop {
        match client.poll(deadline.saturating_duration_since(Instant::now()))? {
            None | Some(Event::Online { .. }) => return Ok(()),
            Some(event) => {
                if let Some(warning) = session::warning(&event) {
                    eprintln!("peerchat: {warning}");
                }
                if matches!(event, Event::BootstrapFailed { .. }) {
                    return Ok(());
                }
            }
        }
    }
}

impl Whois {
    fn set_known(&mut self, identity: &Identity, safety_number: String) {
        self.known = Some(identity.user.to_string());
        self.is_verified = identity.is_verified;
        self.safety_number = Some(safety_number);
        self.rival = identity.rival.map(|rival| rival.to_string());
    }

    fn set_found(&mut self, found: &FoundUser) {
        self.holder = Some(found.user.to_string());
        self.addresses = found.addresses.iter().map(ToString::to_string).collect();
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("name: {}", self.name)];
        let mut line = |what: &str, text: &Option<String>| {
            lines.extend(text.as_ref().map(|text| format!("{what}: {text}")));
        };
        line("holder", &self.holder);
        line("known here as", &self.known);
        line("safety number", &self.safety_number);
        line("also seen to hold the name", &self.rival);
        lines.extend(self.addresses.iter().map(|address| format!("address: {address}")));
        lines.extend(self.claimants.iter().map(|claimant| format!("contested by: {claimant}")));
        if self.known.is_some() {
            lines.push(format!("verified: {}", if self.is_verified { "yes" } else { "no" }));
        }
        lines
    }
}

fn show(whois: &Whois, is_json: bool) -> Result<(), Fault> {
    let text = if is_json {
        serde_json::to_string(whois).map_err(io::Error::from)?
    } else {
        whois.lines().join("\n")
    };
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Marks somebody as verified, or no longer.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Fault> {
    let client = session::open(&args.name, &args.profile)?;
    let outcome = client.set_verified_blocking(&args.who, !args.undo).map_err(Fault::from);
    session::shut_down(&client);
    outcome
}

/// Accepts a request, or lets a name mean the person who holds it now.
pub(crate) fn accept(args: &AcceptArgs) -> Result<(), Fault> {
    let client = session::open(&args.name, &args.profile)?;
    let outcome = accept_who(&client, &args.who).map(drop).map_err(Fault::from);
    session::shut_down(&client);
    outcome
}

/// Accepts who is meant: the person who was seen to hold the name of somebody else, or who has made a request. Says what
/// that means.
pub(crate) fn accept_who(client: &Client, who: &str) -> Result<String, Error> {
    match accept_as(client, who) {
        Ok(name) => Ok(format!("{name} means {who} from now on")),
        Err(Error::IdentityNotSeen | Error::NotMet) => {
            client.relate_blocking(who, Verb::Accept)?;
            Ok(format!("{who} is a contact now"))
        }
        Err(error) => Err(error),
    }
}

/// Accepts `name#fingerprint` if that is who was seen to hold the name, and returns the name.
fn accept_as(client: &Client, who: &str) -> Result<UserName, Error> {
    let exact = Recipient::parse(who)?;
    let name = exact.name().clone();
    let rival = client.identity(name.as_str())?.rival;
    let is_meant = |rival: &peerchat_core::UserId| exact.fingerprint().is_some() && exact.admits(rival);
    client.accept_identity_blocking(name.as_str(), rival.filter(is_meant).ok_or(Error::IdentityNotSeen)?)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use peerchat_core::UserId;

    use super::*;

    #[test]
    fn whois_says_what_is_known_and_nothing_else() {
        let mut whois = Whois { name: "bob".to_owned(), ..Whois::default() };
        assert_eq!(whois.lines(), ["name: bob"]);
        whois.claimants = vec!["bob#aeaqcaib".to_owned(), "bob#aibaeaqc".to_owned()];
        let [user, rival] = [1, 2].map(|seed| UserId::from_bytes([seed; 32]));
        let identity = Identity { name: "bob".to_owned(), user, is_verified: false, rival: Some(rival) };
        whois.set_known(&identity, "12345 67890".to_owned());
        insta::assert_snapshot!(whois.lines().join("\n"), @r"
        name: bob
        known here as: aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq
        safety number: 12345 67890
        also seen to hold the name: aibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaiba
        contested by: bob#aeaqcaib
        contested by: bob#aibaeaqc
        verified: no
        ");
    }
}
