//! Performs `tests/scenario.md`: `scenario DIRECTORY COUNT`.
#![expect(clippy::print_stdout, reason = "printing is what this program does")]

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerchat_core::{
    Client, Config, ConfigBuilder, Error, ErrorCode, Event, MessageId, MessageState, Passphrase, Relation,
    Serve, Verb,
};

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(60);
const BATCH: u64 = 1_500;
/// In step 9.
const NETWORKS: usize = 3;
const LOOPBACK: &str = "127.0.0.1:0";

fn main() {
    let mut args = std::env::args().skip(1);
    let directory = PathBuf::from(args.next().expect("the first argument is a directory"));
    let count = args.next().and_then(|text| text.parse().ok()).expect("the second argument is a number");
    let mut scenario = Scenario::open(directory, count);
    let steps = [
        Scenario::bootstrap,
        Scenario::register,
        Scenario::find,
        Scenario::talk,
        Scenario::trust,
        Scenario::restart,
        Scenario::change_address,
        Scenario::errors,
        Scenario::many_messages,
        Scenario::mail,
        Scenario::block,
        Scenario::end,
    ];
    println!("step 1 ok");
    for (step, number) in steps.iter().zip(2..) {
        step(&mut scenario);
        println!("step {number} ok");
    }
}

fn open(builder: ConfigBuilder) -> Result<Client, Error> {
    Client::open(builder.build()?)
}

fn node(bind: &str) -> Result<Client, Error> {
    open(Config::in_memory().bind(bind.parse().unwrap()))
}

fn in_memory(name: &str) -> ConfigBuilder {
    Config::in_memory().bind(LOOPBACK.parse().unwrap()).user(name).unwrap()
}

/// Shuts a client down, however long the disk takes.
fn shut_down(client: &Client) {
    assert!((0..40).any(|_| client.shutdown()), "not shut down within a minute");
}

/// Checks that a call fails with this code, and with words.
fn fails<T>(code: ErrorCode, outcome: Result<T, Error>) {
    let error = outcome.err().unwrap_or_else(|| panic!("no {code:?}"));
    assert_eq!(error.code(), code, "{error}");
    assert!(!error.to_string().is_empty());
}

/// Waits for the first event in which `pick` finds something.
fn expect<T>(client: &Client, pick: impl Fn(&Event) -> Option<T>) -> T {
    while let Some(event) = client.poll(PATIENCE).unwrap() {
        if let Some(found) = pick(&event) {
            return found;
        }
    }
    panic!("what was waited for did not come in time");
}

fn expect_end(client: &Client, message: MessageId) -> (MessageState, Option<ErrorCode>) {
    expect(client, |event| match event {
        Event::MessageState { id, state, code, .. } => {
            let is_over = !matches!(state, MessageState::Queued | MessageState::Stored);
            (*id == message && is_over).then_some((*state, *code))
        }
        _ => None,
    })
}

fn expect_delivered(client: &Client, message: MessageId) {
    assert_eq!(expect_end(client, message), (MessageState::Delivered, None));
}

fn expect_text(client: &Client, text: &str, number: u64) -> (String, String) {
    expect(client, |event| match event {
        Event::Message(message) => {
            assert_eq!((message.text.as_str(), message.number), (text, number));
            Some((message.from.clone(), message.user.to_string()))
        }
        _ => None,
    })
}

fn join(client: &Client, address: &str, node: &Client) {
    let command = client.bootstrap(address).unwrap();
    let joined = expect(client, |event| match event {
        Event::Bootstrapped { command, node, .. } => Some((*command, *node)),
        _ => None,
    });
    assert_eq!(joined, (command, node.node_id()));
}

fn expect_registered(client: &Client) {
    let (name, user) = expect(client, |event| match event {
        Event::Registered { name, user, .. } => Some((name.clone(), *user)),
        _ => None,
    });
    assert_eq!((Some(&name), Some(user)), (client.user_name(), client.user_id()));
}

fn expect_bootstrap_failure(client: &Client, address: &str, expected: ErrorCode) {
    let command = client.bootstrap(address).unwrap();
    let failed = expect(client, |event| match event {
        Event::BootstrapFailed { command, code, .. } => Some((*command, *code)),
        _ => None,
    });
    assert_eq!(failed, (command, expected));
}

struct Scenario {
    directory: PathBuf,
    count: u64,
    node: Client,
    alice: Client,
    bob: Client,
}

impl Scenario {
    fn open(directory: PathBuf, count: u64) -> Self {
        let person = |name| open(on_disk(&directory, name, LOOPBACK)).unwrap();
        let (node, alice, bob) = (node(LOOPBACK).unwrap(), person("alice"), person("bob"));
        assert!(node.user_name().is_none());
        let user = alice.user_id().unwrap();
        assert_eq!(user.to_string().len(), 52);
        assert_eq!(user.fingerprint(), user.to_string()[..8]);
        assert!(Client::profile_exists(&directory, &"alice".parse().unwrap()));
        assert!(!Client::profile_exists(&directory, &"carol".parse().unwrap()));
        Self { directory, count, node, alice, bob }
    }

    fn person(&self, name: &str, bind: &str) -> Result<Client, Error> {
        open(on_disk(&self.directory, name, bind))
    }

    fn bootstrap(&mut self) {
        let address = self.node.local_address().to_string();
        join(&self.alice, &format!("{}@{address}", self.node.node_key()), &self.node);
        join(&self.bob, &address, &self.node);
    }

    fn register(&mut self) {
        expect_registered(&self.alice);
        expect_registered(&self.bob);
    }

    fn find(&mut self) {
        let found = self.bob.lookup_wait("Alice").unwrap();
        assert_eq!((found.name.to_string(), Some(found.user)), ("alice".to_owned(), self.alice.user_id()));
    }

    fn talk(&mut self) {
        let message = self.alice.send_blocking("bob", "grüße 🙂").unwrap();
        let sender = ("alice".to_owned(), self.alice.user_id().unwrap().to_string());
        assert_eq!(expect_text(&self.bob, "grüße 🙂", 1), sender);
        expect_delivered(&self.alice, message);
        assert_eq!(self.alice.message_state(message).unwrap(), MessageState::Delivered);
        self.bob.send_blocking("alice", "hello").unwrap();
        expect_text(&self.alice, "hello", 1);
        self.check_history();
    }

    fn check_history(&self) {
        let history = self.alice.history("bob", None, 50).unwrap();
        assert_eq!(
            history.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(),
            ["hello", "grüße 🙂"]
        );
    }

    fn trust(&mut self) {
        let number = self.alice.safety_number("bob").unwrap();
        assert_eq!(number, self.bob.safety_number("alice").unwrap());
        assert_eq!(number.replace(' ', "").len(), 60);
        self.alice.set_verified_blocking("bob", true).unwrap();
        assert!(self.alice.identity("bob").unwrap().is_verified);
    }

    fn restart(&mut self) {
        let address = self.alice.local_address().to_string();
        let identity = (self.alice.user_id(), self.alice.node_key());
        shut_down(&self.alice);
        self.alice = self.person("alice", &address).unwrap();
        assert_eq!((self.alice.user_id(), self.alice.node_key()), identity);
        self.check_history();
        expect(&self.alice, |event| matches!(event, Event::Online { .. }).then_some(()));
        self.alice.send_blocking("bob", "back again").unwrap();
        expect_text(&self.bob, "back again", 2);
    }

    fn change_address(&mut self) {
        let address = self.alice.local_address().to_string();
        shut_down(&self.alice);
        let stranger = node(&address).unwrap();
        self.alice = self.person("alice", LOOPBACK).unwrap();
        let message = self.bob.send_blocking("alice", "where are you?").unwrap();
        expect_text(&self.alice, "where are you?", 2);
        expect_delivered(&self.bob, message);
        self.alice.set_typing_blocking("bob", true).unwrap();
        let typing = expect(&self.bob, |event| match event {
            Event::Typing { from, is_typing, .. } => Some((from.clone(), *is_typing)),
            _ => None,
        });
        assert_eq!(typing, ("alice".to_owned(), true));
        stranger.shutdown();
    }

    fn errors(&mut self) {
        self.bad_calls();
        self.bad_profiles();
        self.bad_archives();
        self.failures_of_the_network();
        failures_of_the_lonely();
        a_contested_name();
    }

    fn bad_calls(&self) {
        let alice = &self.alice;
        fails(ErrorCode::InvalidArgument, open(Config::in_memory().k(0)));
        fails(ErrorCode::InvalidName, alice.send_blocking("two words", "x"));
        fails(ErrorCode::InvalidAddress, alice.bootstrap("no-port"));
        fails(ErrorCode::EmptyText, alice.send_blocking("bob", ""));
        fails(ErrorCode::TextTooLong, alice.send_blocking("bob", &"x".repeat(16_385)));
        fails(ErrorCode::NotFound, alice.message_state(MessageId::from_bytes([0xee; 16])));
        fails(ErrorCode::NoUser, self.node.send_blocking("bob", "x"));
        fails(ErrorCode::NotMet, alice.safety_number("carol"));
        let delivered = alice.history("bob", None, 50).unwrap().pop().unwrap();
        fails(ErrorCode::AlreadyEnded, alice.cancel_blocking(delivered.id));
        fails(ErrorCode::IdentityNotSeen, alice.accept_identity_blocking("bob", alice.user_id().unwrap()));
        fails(ErrorCode::AddressInUse, node(&self.node.local_address().to_string()));
        fails(ErrorCode::Network, node("192.0.2.1:0"));
    }

    fn bad_profiles(&self) {
        fails(ErrorCode::ProfileInUse, self.person("alice", LOOPBACK));
        fails(ErrorCode::Storage, open(Config::builder("/dev/null/profiles").user("alice").unwrap()));
        for (name, place, spoilt, code) in [
            ("newer", 60, b"\x7f\xff\xff\xff".as_slice(), ErrorCode::ProfileTooNew),
            ("damaged", 0, b"This is not a database.", ErrorCode::ProfileDamaged),
        ] {
            shut_down(&self.person(name, LOOPBACK).unwrap());
            let file = self.directory.join(format!("user-{name}.db"));
            let mut profile = OpenOptions::new().write(true).open(file).unwrap();
            profile.seek(SeekFrom::Start(place)).unwrap();
            profile.write_all(spoilt).unwrap();
            fails(code, self.person(name, LOOPBACK));
        }
        let secret = on_disk(&self.directory, "secret", LOOPBACK);
        open(secret.passphrase(Passphrase::new("open sesame").unwrap())).unwrap().shutdown();
        fails(ErrorCode::WrongPassphrase, self.person("secret", LOOPBACK));
    }

    fn bad_archives(&self) {
        let (archive, new) = (self.directory.join("alice.peerchat"), self.directory.join("new"));
        let import = |passphrase: &str, to: &Path| {
            Client::import(&archive, &Passphrase::new(passphrase).unwrap(), to, None)
        };
        self.alice.export(&archive, &Passphrase::new("open sesame").unwrap()).unwrap();
        fails(ErrorCode::ArchivePassphrase, import("sesame", &new));
        fails(ErrorCode::ProfileExists, import("open sesame", &self.directory));
        let whole = fs::read(&archive).unwrap();
        for (place, code) in [(200, ErrorCode::ArchiveDamaged), (8, ErrorCode::ArchiveTooNew)] {
            let mut bytes = whole.clone();
            bytes[place] ^= 0xff;
            fs::write(&archive, bytes).unwrap();
            fails(code, import("open sesame", &new));
        }
        assert!(!new.exists());
    }

    fn failures_of_the_network(&self) {
        let alice = &self.alice;
        fails(ErrorCode::UnknownRecipient, alice.lookup_wait("nobody"));
        let message = alice.send_blocking("nobody", "hello?").unwrap();
        assert_eq!(expect_end(alice, message), (MessageState::Failed, Some(ErrorCode::UnknownRecipient)));
        expect_bootstrap_failure(alice, "127.0.0.1:1", ErrorCode::Unreachable);
        let stranger = node(LOOPBACK).unwrap();
        let address = self.node.local_address().to_string();
        expect_bootstrap_failure(alice, &format!("{}@{address}", stranger.node_key()), ErrorCode::WrongKey);
        let other = open(in_memory("alice")).unwrap();
        other.bootstrap(&address).unwrap();
        let refused = expect(&other, |event| match event {
            Event::RegistrationFailed { code, holder, .. } => Some((*code, *holder)),
            _ => None,
        });
        assert_eq!(refused, (ErrorCode::NameTaken, alice.user_id().unwrap()));
        other.shutdown();
        stranger.shutdown();
    }

    fn many_messages(&mut self) {
        let mut last = None;
        for first in (1..=self.count).step_by(BATCH as usize) {
            let batch = first..(first + BATCH).min(self.count + 1);
            for i in batch.clone() {
                last = Some(self.alice.send_blocking("bob", &format!("message {i}")).unwrap());
            }
            for i in batch {
                // Two messages were sent before.
                expect_text(&self.bob, &format!("message {i}"), i + 2);
            }
        }
        expect_delivered(&self.alice, last.unwrap());
    }

    fn mail(&mut self) {
        shut_down(&self.bob);
        let message = self.alice.send_blocking("bob", "for later").unwrap();
        let (kept, held_by) = expect(&self.alice, |event| match event {
            Event::MessageState { id, state: MessageState::Stored, held_by, .. } => Some((*id, *held_by)),
            _ => None,
        });
        assert!(kept == message && held_by >= 1, "{kept} is held by {held_by}");
        shut_down(&self.alice);
        self.bob = self.person("bob", LOOPBACK).unwrap();
        expect_text(&self.bob, "for later", self.count + 3);
        self.alice = self.person("alice", LOOPBACK).unwrap();
        expect_delivered(&self.alice, message);
    }

    fn block(&mut self) {
        self.bob.relate_blocking("alice", Verb::Block).unwrap();
        fails(ErrorCode::Blocked, self.bob.send_blocking("alice", "no"));
        let refused = self.alice.send_blocking("bob", "are you there?").unwrap();
        let end = (MessageState::Failed, Some(ErrorCode::BlockedByRecipient));
        assert_eq!(expect_end(&self.alice, refused), end);
        self.bob.relate_blocking("alice", Verb::Unblock).unwrap();
        self.alice.send_blocking("bob", "once more").unwrap();
        let message = expect(&self.bob, |event| match event {
            Event::Message(message) => Some((message.text.clone(), message.is_request)),
            _ => None,
        });
        assert_eq!(message, ("once more".to_owned(), true));
        self.bob.relate_blocking("alice", Verb::Accept).unwrap();
        let contacts = self.bob.contacts().unwrap();
        let contacts: Vec<_> = contacts.iter().map(|person| (person.user, person.relation)).collect();
        assert_eq!(contacts, [(self.alice.user_id(), Relation::Contact)]);
    }

    fn end(&mut self) {
        self.alice.close();
        fails(ErrorCode::Closed, self.alice.send_blocking("bob", "x"));
        shut_down(&self.alice);
        shut_down(&self.bob);
        shut_down(&self.node);
        let alice = self.person("alice", LOOPBACK).unwrap();
        assert_eq!(alice.history("bob", None, 1).unwrap()[0].text, "once more");
        shut_down(&alice);
    }
}

fn on_disk(directory: &std::path::Path, name: &str, bind: &str) -> ConfigBuilder {
    Config::builder(directory).bind(bind.parse().unwrap()).user(name).unwrap()
}

fn failures_of_the_lonely() {
    let lone = open(in_memory("lone").message_lifetime(Duration::from_millis(1))).unwrap();
    let message = lone.send_blocking("bob", "now or never").unwrap();
    assert_eq!(expect_end(&lone, message), (MessageState::Expired, Some(ErrorCode::Expired)));
    lone.shutdown();

    let lone = open(in_memory("lone")).unwrap();
    fails(ErrorCode::TimedOut, lone.lookup_wait("bob"));
    let refused = (0..1_000_000).map(|_| lone.send_blocking("bob", "x")).find(Result::is_err);
    fails(ErrorCode::OutboxFull, refused.unwrap());
    lone.close();
    fails(ErrorCode::Closed, lone.send_blocking("bob", "x"));
    lone.shutdown();
}

/// Networks that know nothing of one another, each with its alice, and somebody who joins them all. The reader does not serve:
/// else they would soon be one network, which settles whose the name is.
fn a_contested_name() {
    let reader = open(in_memory("reader").serve(Serve::Never)).unwrap();
    let networks = [(); NETWORKS].map(|()| (node(LOOPBACK).unwrap(), open(in_memory("alice")).unwrap()));
    for (node, alice) in &networks {
        join(alice, &node.local_address().to_string(), node);
        expect_registered(alice);
    }
    for (node, _) in &networks {
        join(&reader, &node.local_address().to_string(), node);
    }
    fails(ErrorCode::NameContested, reader.lookup_wait("alice"));
    for client in networks.iter().flat_map(|(node, alice)| [node, alice]).chain([&reader]) {
        client.shutdown();
    }
}
