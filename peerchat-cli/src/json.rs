//! [`JsonLine`]: one event as one line of JSON, with keys that scripts rely on. `listen --help` lists them.

use std::io::{self, Write};
use std::net::SocketAddr;

use peerchat_core::{Client, ErrorCode, Event, MessageState, Recipient};
use serde::Serialize;

/// One line of output; the variant's name becomes the value of `event`.
///
/// Keys are only ever added. Ids and addresses are strings, times are milliseconds since 1970.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum JsonLine<'a> {
    Listening {
        address: String,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metrics: Option<String>,
    },
    Message {
        id: String,
        from: &'a str,
        user: String,
        text: &'a str,
        number: u64,
        sent_unix_ms: u64,
        received_unix_ms: u64,
        is_request: bool,
    },
    MessageState {
        id: String,
        to: &'a str,
        state: &'static str,
        held_by: u32,
        code: Option<i32>,
        detail: &'a str,
    },
    Online {
        contact_count: usize,
    },
    Offline,
    Bootstrapped {
        command: u64,
        node: String,
        address: String,
    },
    BootstrapFailed {
        command: u64,
        address: &'a str,
        code: i32,
        detail: &'a str,
    },
    Registered {
        name: &'a str,
        user: String,
    },
    RegistrationFailed {
        name: &'a str,
        holder: String,
        code: i32,
        detail: &'a str,
    },
    Closed {
        code: i32,
        detail: &'a str,
    },
    IdentityChanged {
        name: &'a str,
        old: String,
        new: String,
    },
    NameContested {
        name: &'a str,
        claimants: Vec<String>,
    },
    Typing {
        from: &'a str,
        user: String,
        is_typing: bool,
    },
}

impl<'a> JsonLine<'a> {
    /// Says where `client` listens, and for whom.
    pub(crate) fn listening(client: &Client) -> Self {
        Self::Listening {
            address: client.local_address().to_string(),
            key: client.node_key().to_string(),
            name: client.user_name().map(ToString::to_string),
            user: client.user_id().map(|user| user.to_string()),
            metrics: None,
        }
    }

    /// Says where a node listens, and where it tells its metrics.
    pub(crate) fn node_listening(client: &Client, metrics: Option<SocketAddr>) -> Self {
        let address = client.local_address().to_string();
        let (key, metrics) = (client.node_key().to_string(), metrics.map(|address| address.to_string()));
        Self::Listening { address, key, name: None, user: None, metrics }
    }

    /// Renders an event; `None` for a kind that this program does not know.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        Some(match event {
            Event::Bootstrapped { command, node, address } => Self::Bootstrapped {
                command: command.0,
                node: node.to_string(),
                address: address.to_string(),
            },
            Event::BootstrapFailed { command, address, code, detail } => {
                Self::BootstrapFailed { command: command.0, address, code: number(*code), detail }
            }
            Event::Online { contact_count } => Self::Online { contact_count: *contact_count },
            Event::Offline => Self::Offline,
            Event::Registered { name, user } => {
                Self::Registered { name: name.as_str(), user: user.to_string() }
            }
            Event::RegistrationFailed { name, holder, code, detail } => Self::RegistrationFailed {
                name: name.as_str(),
                holder: holder.to_string(),
                code: number(*code),
                detail,
            },
            Event::Message(message) => Self::Message {
                id: message.id.to_string(),
                from: &message.from,
                user: message.user.to_string(),
                text: &message.text,
                number: message.number,
                sent_unix_ms: message.sent.unix_ms(),
                received_unix_ms: message.received.unix_ms(),
                is_request: message.is_request,
            },
            Event::MessageState { id, to, state, held_by, code, detail } => Self::MessageState {
                id: id.to_string(),
                to,
                state: state_name(*state)?,
                held_by: *held_by,
                code: code.map(number),
                detail,
            },
            Event::Closed { code, detail } => Self::Closed { code: number(*code), detail },
            Event::IdentityChanged { name, old, new } => {
                Self::IdentityChanged { name: name.as_str(), old: old.to_string(), new: new.to_string() }
            }
            Event::NameContested { name, holders } => {
                let claimant = |holder| Recipient::exactly(name.clone(), holder).to_string();
                Self::NameContested { name: name.as_str(), claimants: holders.iter().map(claimant).collect() }
            }
            Event::Typing { from, user, is_typing } => {
                Self::Typing { from, user: user.to_string(), is_typing: *is_typing }
            }
            _ => return None,
        })
    }

    /// Writes the line and flushes, so that whoever reads a pipe has it at once.
    pub(crate) fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()
    }
}

fn number(code: ErrorCode) -> i32 {
    code as i32
}

/// Names a state; `None` for one that this program does not know.
pub(crate) fn state_name(state: MessageState) -> Option<&'static str> {
    Some(match state {
        MessageState::Queued => "queued",
        MessageState::Stored => "stored",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Canceled => "canceled",
        MessageState::Expired => "expired",
        MessageState::Failed => "failed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use peerchat_core::{CommandId, MessageId, NodeId, ReceivedMessage, Timestamp, UserId, UserName};

    use super::*;

    fn line(event: &Event) -> String {
        let mut out = Vec::new();
        JsonLine::of(event).unwrap().write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Scripts rely on these keys: adding one is fine, changing one breaks them.
    #[test]
    fn a_message_line() {
        let message = ReceivedMessage {
            id: MessageId::from_bytes([0xab; 16]),
            from: "bob".to_owned(),
            user: UserId::from_bytes([1; 32]),
            text: "one \"line\"\nand another, grün".to_owned(),
            is_request: false,
            number: 7,
            sent: Timestamp::from_unix_ms(1_000),
            received: Timestamp::from_unix_ms(2_000),
        };
        insta::assert_snapshot!(line(&Event::Message(message)), @r#"{"event":"message","id":"abababababababababababababababab","from":"bob","user":"aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq","text":"one \"line\"\nand another, grün","number":7,"sent_unix_ms":1000,"received_unix_ms":2000,"is_request":false}"#);
    }

    #[test]
    fn a_state_line_has_a_code_only_when_the_message_was_given_up() {
        let state = |state, held_by, code, detail: &str| {
            let (id, to) = (MessageId::from_bytes([0xcd; 16]), "bob".to_owned());
            line(&Event::MessageState { id, to, state, held_by, code, detail: detail.to_owned() })
        };
        insta::assert_snapshot!(state(MessageState::Stored, 20, None, ""), @r#"{"event":"message_state","id":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","to":"bob","state":"stored","held_by":20,"code":null,"detail":""}"#);
        insta::assert_snapshot!(state(MessageState::Delivered, 0, None, ""), @r#"{"event":"message_state","id":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","to":"bob","state":"delivered","held_by":0,"code":null,"detail":""}"#);
        insta::assert_snapshot!(state(MessageState::Failed, 0, Some(ErrorCode::UnknownRecipient), "nobody is called bob"), @r#"{"event":"message_state","id":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","to":"bob","state":"failed","held_by":0,"code":-60,"detail":"nobody is called bob"}"#);
    }

    #[test]
    fn network_lines() {
        let command = CommandId(3);
        let address = "127.0.0.1:4242".parse().unwrap();
        let events = [
            Event::Bootstrapped { command, node: NodeId::from_bytes([0xee; 32]), address },
            Event::BootstrapFailed {
                command,
                address: "example.org:1".to_owned(),
                code: ErrorCode::Unreachable,
                detail: "no answer".to_owned(),
            },
            Event::Online { contact_count: 2 },
            Event::Offline,
            Event::Closed { code: ErrorCode::Storage, detail: "disk full".to_owned() },
            Event::IdentityChanged {
                name: UserName::parse("bob").unwrap(),
                old: UserId::from_bytes([1; 32]),
                new: UserId::from_bytes([2; 32]),
            },
            Event::NameContested {
                name: UserName::parse("bob").unwrap(),
                holders: [1, 2].map(|seed| UserId::from_bytes([seed; 32])).to_vec(),
            },
            Event::Typing { from: "bob".to_owned(), user: UserId::from_bytes([1; 32]), is_typing: true },
        ];
        let lines: String = events.iter().map(line).collect();
        insta::assert_snapshot!(lines, @r#"
        {"event":"bootstrapped","command":3,"node":"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee","address":"127.0.0.1:4242"}
        {"event":"bootstrap_failed","command":3,"address":"example.org:1","code":-52,"detail":"no answer"}
        {"event":"online","contact_count":2}
        {"event":"offline"}
        {"event":"closed","code":-43,"detail":"disk full"}
        {"event":"identity_changed","name":"bob","old":"aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq","new":"aibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaiba"}
        {"event":"name_contested","name":"bob","claimants":["bob#aeaqcaib","bob#aibaeaqc"]}
        {"event":"typing","from":"bob","user":"aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq","is_typing":true}
        "#);
    }

    #[test]
    fn name_lines() {
        let (name, user) = (UserName::parse("Alice").unwrap(), UserId::from_bytes([1; 32]));
        let failed = Event::RegistrationFailed {
            name: name.clone(),
            holder: user,
            code: ErrorCode::NameTaken,
            detail: "taken".to_owned(),
        };
        let lines = line(&Event::Registered { name, user }) + &line(&failed);
        insta::assert_snapshot!(lines, @r#"
        {"event":"registered","name":"alice","user":"aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq"}
        {"event":"registration_failed","name":"alice","holder":"aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq","code":-61,"detail":"taken"}
        "#);
    }
}
