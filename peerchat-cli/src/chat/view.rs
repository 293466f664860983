//! What the person sees: every event and answer as lines of text. Lines about things start with `* `; a line of
//! somebody starts with their name.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use peerchat_core::{Event, HistoryEntry, Identity, MessageState, Recipient, Statistics, Timestamp};

use crate::session;

pub(crate) const HELP: &str = "\
* @bob hello       sends hello to bob, and the next plain lines too
* hello            goes to whom you wrote last
* /who             the network in numbers
* /history [bob]   what was said
* /search words    what was said with anybody that has these words; wor* stands for words
* /whois [bob]     who that is, and the safety number to compare with them
* /verify [bob]    marks them as compared; /unverify takes it back
* /accept bob      accepts who has made a request; bob#... lets the name mean who holds it now
* /contacts        who is a contact, has made a request or is blocked
* /block bob       takes nothing of theirs any more; /unblock takes it back
* /add, /remove    makes bob a contact, or not
* /bootstrap ADDR  joins through the node at host:port or key@host:port
* /quit            leaves; so do Ctrl-D and Ctrl-C";

/// Renders an event; `None` for what nobody needs to see.
pub(crate) fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Message(message) => said(&message.from, &message.text),
        Event::MessageState { to, state, held_by, detail, .. } => state_change(to, *state, *held_by, detail)?,
        Event::Online { contact_count } => {
            format!("* online; {} known", counted(*contact_count, "other node"))
        }
        Event::Offline => {
            "* no known node answers; they are tried again, and /bootstrap ADDR joins through another"
                .to_owned()
        }
        Event::Bootstrapped { address, .. } => format!("* joined through {address}"),
        Event::BootstrapFailed { address, detail, .. } => {
            format!("* cannot join through {address}: {detail}")
        }
        Event::Registered { name, .. } => format!("* {name} is registered"),
        Event::IdentityChanged { name, old, new } => {
            format!("* {}", session::identity_changed(name, old, new))
        }
        Event::NameContested { name, holders } => {
            let people: Vec<_> =
                holders.iter().map(|holder| Recipient::exactly(name.clone(), holder).to_string()).collect();
            format!("* {name} is contested: {}", people.join(", "))
        }
        // That they have stopped is seen by what they wrote, or is of no interest.
        Event::Typing { from, is_typing: true, .. } => format!("* {from} is typing..."),
        Event::RegistrationFailed { name, detail, .. } => format!("* {name} is not registered: {detail}"),
        _ => return None,
    })
}

fn state_change(to: &str, state: MessageState, held_by: u32, detail: &str) -> Option<String> {
    match state {
        MessageState::Stored => {
            let keepers = counted(held_by as usize, "node");
            let verb = if held_by == 1 { "keeps" } else { "keep" };
            Some(format!("* {to} is away; {keepers} {verb} it for them"))
        }
        MessageState::Delivered => Some(format!("* delivered to {to}")),
        MessageState::Read => Some(format!("* read by {to}")),
        MessageState::Canceled => Some(format!("* canceled for {to}")),
        MessageState::Expired => Some(format!("* not delivered to {to} in time, given up: {detail}")),
        MessageState::Failed => Some(format!("* not delivered to {to}: {detail}")),
        _ => None,
    }
}

/// Renders what somebody said; further lines are indented, so that nobody can pretend to be somebody else.
pub(crate) fn said(name: &str, text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    format!("{name}: {}", lines.join("\n    "))
}

/// Replaces what would steer the terminal or reorder the line.
fn printable(line: &str) -> String {
    let is_hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    line.chars().map(|c| if is_hostile(c) && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Renders one message of the history.
pub(crate) fn history_entry(entry: &HistoryEntry, own_name: &str, now: Timestamp) -> String {
    let name = if entry.is_own { own_name } else { &entry.peer };
    let mark = match entry.state {
        Some(MessageState::Queued) => ", not delivered yet",
        Some(MessageState::Stored) => ", kept for them",
        Some(MessageState::Read) => ", read",
        Some(MessageState::Expired | MessageState::Failed) => ", not delivered",
        Some(MessageState::Canceled) => ", canceled",
        _ => "",
    };
    let age = age(now.saturating_since(entry.sent));
    format!("  ({age}{mark}) {}", said(name, &entry.text))
}

/// Renders one message that was searched for, with whom it was said.
pub(crate) fn found(entry: &HistoryEntry, own_name: &str, now: Timestamp) -> String {
    let with = if entry.is_own { format!(" to {}", entry.peer) } else { String::new() };
    let age = age(now.saturating_since(entry.sent));
    let name = if entry.is_own { own_name } else { &entry.peer };
    format!("  ({age}{with}) {}", said(name, &entry.text))
}

/// Says how long ago something was, roughly.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => "now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} ago", counted(seconds / 86_400, "day")),
    }
}

/// Renders who somebody is.
pub(crate) fn identity(identity: &Identity, safety_number: &str) -> String {
    let Identity { name, user, is_verified, rival } = identity;
    let mark = if *is_verified { "verified" } else { "not verified" };
    let mut text = format!("* {name} is {user}, {mark}\n* safety number: {safety_number}");
    if let Some(rival) = rival {
        text.push_str(&format!(
            "\n* the name belongs to #{} now; /accept lets it mean them",
            rival.fingerprint()
        ));
    }
    text
}

/// Renders the network in numbers.
pub(crate) fn statistics(statistics: &Statistics) -> String {
    format!(
        "* {} known, {} up, {} kept for the network, {} of yours not delivered yet",
        counted(statistics.contact_count, "other node"),
        counted(statistics.link_count, "encrypted link"),
        counted(statistics.record_count, "record"),
        counted(statistics.outbox_count, "message"),
    )
}

/// Says what a newcomer needs to join through this node.
pub(crate) fn own_address(key: &str, local: SocketAddr) -> String {
    let host = if local.ip().is_unspecified() { outbound_ip() } else { local.ip() };
    let address = SocketAddr::new(host, local.port());
    format!(
        "* listening on UDP port {}; others join through {key}@{address}\n* or through {address} alone, which trusts whoever answers there",
        local.port()
    )
}

/// Returns the address that this machine has towards other networks, or loopback if it has none.
///
/// Connecting a UDP socket sends nothing; it only makes the system choose a route. The targets are reserved for
/// documentation (RFC 5737, RFC 3849).
fn outbound_ip() -> IpAddr {
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .find_map(|(from, to)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            socket.local_addr().ok().map(|address| address.ip())
        })
        .unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

/// Puts a number before its noun.
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into() {
        Ok(1) => format!("1 {noun}"),
        Ok(count) => format!("{count} {noun}s"),
        Err(_) => format!("many {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use peerchat_core::{ErrorCode, MessageId, ReceivedMessage, UserId};

    use super::*;

    fn message(text: &str) -> Event {
        Event::Message(ReceivedMessage {
            id: MessageId::from_bytes([0; 16]),
            from: "bob".to_owned(),
            user: UserId::from_bytes([1; 32]),
            text: text.to_owned(),
            is_request: false,
            number: 1,
            sent: Timestamp::from_unix_ms(0),
            received: Timestamp::from_unix_ms(0),
        })
    }

    #[test]
    fn a_message_is_shown_with_its_writer() {
        assert_eq!(event(&message("hello")).unwrap(), "bob: hello");
    }

    #[test]
    fn who_begins_to_type_is_shown() {
        let typing = |is_typing| Event::Typing {
            from: "bob".to_owned(),
            user: UserId::from_bytes([1; 32]),
            is_typing,
        };
        assert_eq!(event(&typing(true)).unwrap(), "* bob is typing...");
        assert_eq!(event(&typing(false)), None);
    }

    #[test]
    fn a_text_cannot_pretend_to_be_somebody_else_or_steer_the_terminal() {
        assert_eq!(event(&message("hi\ncarol: send money")).unwrap(), "bob: hi\n    carol: send money");
        assert_eq!(
            event(&message("\u{1b}[2Jgone\rcarol: x")).unwrap(),
            "bob: \u{fffd}[2Jgone\u{fffd}carol: x"
        );
        assert_eq!(event(&message("\u{202e}olleh")).unwrap(), "bob: \u{fffd}olleh");
    }

    #[test]
    fn a_message_that_was_given_up_says_why() {
        let given_up = Event::MessageState {
            id: MessageId::from_bytes([0; 16]),
            to: "bob".to_owned(),
            state: MessageState::Failed,
            held_by: 0,
            code: Some(ErrorCode::UnknownRecipient),
            detail: "nobody goes by this name".to_owned(),
        };
        assert_eq!(event(&given_up).unwrap(), "* not delivered to bob: nobody goes by this name");
    }

    #[test]
    fn history_says_when_and_whether_it_arrived() {
        let entry = HistoryEntry {
            id: MessageId::from_bytes([0; 16]),
            position: 1,
            peer: "bob".to_owned(),
            is_own: true,
            text: "hello".to_owned(),
            sent: Timestamp::from_unix_ms(0),
            received: Timestamp::from_unix_ms(0),
            state: Some(MessageState::Queued),
            held_by: 0,
            is_request: false,
        };
        let now = Timestamp::from_unix_ms(7_200_000);
        assert_eq!(history_entry(&entry, "alice", now), "  (2 h ago, not delivered yet) alice: hello");
        assert_eq!(found(&entry, "alice", now), "  (2 h ago to bob) alice: hello");
        let received = HistoryEntry { is_own: false, state: None, ..entry };
        assert_eq!(found(&received, "alice", now), "  (2 h ago) bob: hello");
        assert_eq!(
            history_entry(&received, "alice", Timestamp::from_unix_ms(90_000)),
            "  (1 min ago) bob: hello"
        );
    }

    #[test]
    fn a_person_is_shown_with_their_number_and_whoever_wants_their_name() {
        let [user, rival] = [1, 2].map(|seed| UserId::from_bytes([seed; 32]));
        let known = Identity { name: "bob".to_owned(), user, is_verified: true, rival: Some(rival) };
        insta::assert_snapshot!(identity(&known, "12345 67890"), @r"
        * bob is aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq, verified
        * safety number: 12345 67890
        * the name belongs to #aibaeaqc now; /accept lets it mean them
        ");
        let changed = Event::IdentityChanged {
            name: peerchat_core::UserName::parse("bob").unwrap(),
            old: user,
            new: rival,
        };
        insta::assert_snapshot!(event(&changed).unwrap(), @"* bob is somebody else now: bob#aibaeaqc, not bob#aeaqcaib whom you know. What you write still goes to bob#aeaqcaib. Ask them by another way; if it is them, accept bob#aibaeaqc");
    }

    #[test]
    fn an_address_to_hand_out_names_the_port_and_the_key() {
        let shown = own_address("thekey", "127.0.0.1:4242".parse().unwrap());
        insta::assert_snapshot!(shown, @r"
        * listening on UDP port 4242; others join through thekey@127.0.0.1:4242
        * or through 127.0.0.1:4242 alone, which trusts whoever answers there
        ");
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        let statistics = Statistics::default();
        assert_eq!(
            super::statistics(&statistics),
            "* 0 other nodes known, 0 encrypted links up, 0 records kept for the network, 0 messages of yours not delivered yet"
        );
        assert_eq!(counted(1_usize, "record"), "1 record");
    }
}
