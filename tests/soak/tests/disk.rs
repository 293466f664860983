//! What goes wrong with a disk, as a client and its peers see it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use peerchat_core::{Client, Config, Error};
use peerchat_soak::child::{Process, Spec};
use peerchat_soak::close;
use peerchat_soak::kills::whole_history;
use peerchat_soak::lab::note_skipped;
use peerchat_soak::ledger::Ledger;

/// How long a child may take to say something.
const PATIENCE: Duration = Duration::from_secs(90);

const ALICE: usize = 0;
const BOB: usize = 1;

/// Two children and what they say.
struct Pair {
    lines: Receiver<(usize, String)>,
    speaker: Sender<(usize, String)>,
    ledger: Ledger,
}

impl Pair {
    fn new() -> Self {
        let (speaker, lines) = channel();
        Self { lines, speaker, ledger: Ledger::new() }
    }

    /// Starts a child and returns it with its address.
    fn start(&mut self, number: usize, spec: &Spec) -> (Process, String) {
        self.ledger.start(spec.user.as_deref().unwrap());
        let process = Process::start(spec, number, &self.speaker).unwrap();
        let address =
            self.next(
                |from, line| {
                    if from == number { line.strip_prefix("ready ").map(str::to_owned) } else { None }
                },
            );
        (process, address)
    }

    /// Takes lines until one is the right one.
    fn next<T>(&mut self, pick: impl Fn(usize, &str) -> Option<T>) -> T {
        loop {
            let (number, line) = self.lines.recv_timeout(PATIENCE).expect("a child says something");
            let after = |word: &str| line.strip_prefix(word).and_then(|rest| rest.split_once(' '));
            if let Some((_, text)) = after("accepted ") {
                self.ledger.accept(text).unwrap();
            } else if let Some((id, text)) = after("shown ") {
                self.ledger.show(if number == BOB { "bob" } else { "alice" }, id, text).unwrap();
            }
            if let Some(picked) = pick(number, &line) {
                return picked;
            }
        }
    }
}

fn spec(directory: &Path, name: &str, seeds: Vec<String>) -> Spec {
    let program = env!("CARGO_BIN_EXE_soak").into();
    Spec {
        program,
        directory: directory.join(name),
        user: Some(name.to_owned()),
        host: Ipv4Addr::LOCALHOST,
        port: 0,
        seeds,
    }
}

/// A program that starts the child with files that grow to so many blocks of 512 bytes and no further.
fn limited(directory: &Path, blocks: usize) -> PathBuf {
    let path = directory.join("limited");
    let script =
        format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f {blocks}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_soak"));
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_writer_whose_disk_is_full_says_so_and_with_room_again_everything_acknowledged_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let mut pair = Pair::new();
    let (mut bob, address) = pair.start(BOB, &spec(directory.path(), "bob", Vec::new()));
    let alices = spec(directory.path(), "alice", vec![address]);
    let poor = Spec { program: limited(directory.path(), 3000), ..alices.clone() };
    let (mut alice, _) = pair.start(ALICE, &poor);
    let failure = loop {
        let text = pair.ledger.write("alice", "bob");
        alice.tell(&format!("send bob {text}"));
        let said = pair.next(|from, line| (from == ALICE).then(|| line.to_owned()));
        if let Some(failure) = said.strip_prefix("failed ") {
            break failure.to_owned();
        }
        assert!(pair.ledger.accepted_count() < 20_000, "the limit does not hold");
    };
    assert!(failure.contains("storage failed") || failure.contains("the client is closed"), "{failure}");
    assert!(pair.ledger.accepted_count() > 0);
    alice.kill().unwrap();

    let (mut alice, _) = pair.start(ALICE, &alices);
    while pair.ledger.waiting_count(|_, _| true) > 0 {
        pair.next(|_, _| Some(()));
    }
    bob.end().unwrap();
    alice.end().unwrap();
    let config = Config::builder(directory.path().join("bob")).bind(([127, 0, 0, 1], 0).into());
    let client = Client::open(config.user("bob").unwrap().build().unwrap()).unwrap();
    let texts: Vec<String> =
        whole_history(&client, "alice").unwrap().into_iter().map(|entry| entry.text).collect();
    pair.ledger.check_history("alice", "bob", &texts).unwrap();
}

/// Damages a profile, opens it, and returns why that failed. The file must be as it was damaged.
fn opened_with(damage: impl FnOnce(&mut Vec<u8>)) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let config = || {
        let config = Config::builder(directory.path()).bind(([127, 0, 0, 1], 0).into());
        config.user("alice").unwrap().build().unwrap()
    };
    let client = Client::open(config()).unwrap();
    for number in 0..50 {
        client.send_blocking("bob", &format!("{number} {}", "x".repeat(2000))).unwrap();
    }
    close(&client).unwrap();
    drop(client);
    let path = directory.path().join("user-alice.db");
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let refusal = Client::open(config()).unwrap_err();
    assert!(fs::read(&path).unwrap() == bytes, "a file that is not sound is not touched");
    refusal
}

#[test]
fn a_corrupted_page_is_a_damaged_profile() {
    let damage = |bytes: &mut Vec<u8>| {
        let page = bytes.len() / 4096 / 2 * 4096;
        bytes[page..page + 64].fill(0xa5);
    };
    let refusal = opened_with(damage);
    assert!(matches!(refusal, Error::ProfileDamaged { .. }), "{refusal}");
}

#[test]
fn a_profile_of_a_newer_version_is_left_to_that_version() {
    // The user version is at offset 60 of an SQLite file.
    let refusal = opened_with(|bytes| bytes[60..64].copy_from_slice(&1000_u32.to_be_bytes()));
    assert!(matches!(refusal, Error::ProfileTooNew { found: 1000, .. }), "{refusal}");
}

/// A program that starts the child where a directory cannot be written: in a mount namespace of its own. `None` if the system
/// gives it none.
fn without_writing(scratch: &Path, directory: &Path) -> Option<PathBuf> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let unshare = if is_root { "unshare --mount" } else { "unshare --mount --map-root-user" };
    let path = scratch.join("without-writing");
    let script = format!(
        "#!/bin/sh\nexec {unshare} sh -c 'mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"' {} {} \"$@\"\n",
        directory.display(),
        env!("CARGO_BIN_EXE_soak"),
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // Without arguments for the child it runs nothing if the mounts fail, and the whole program with a word that it refuses.
    let probe = Command::new(&path).arg("nothing").stderr(Stdio::piped()).output().unwrap();
    String::from_utf8_lossy(&probe.stderr).contains("there is no run 'nothing'").then_some(path)
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_the_profile_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("alice");
    let config = || {
        let config = Config::builder(&profile).bind(([127, 0, 0, 1], 0).into());
        config.user("alice").unwrap().build().unwrap()
    };
    let client = Client::open(config()).unwrap();
    client.send_blocking("bob", "still here").unwrap();
    close(&client).unwrap();
    drop(client);
    let Some(program) = without_writing(directory.path(), &profile) else {
        let reason = "the system gives tests no mount namespace";
        return note_skipped("soak::a_directory_that_cannot_be_written", reason).unwrap();
    };
    let before = fs::read(profile.join("user-alice.db")).unwrap();
    for user in ["alice", "somebody-new"] {
        let mut child = Command::new(&program);
        child.arg("child").arg(&profile).args([user, "127.0.0.1:0"]).stdin(Stdio::null());
        let ended = child.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains("storage failed"), "{user}: {said}");
        assert!(said.contains("Read-only file system"), "{user}: {said}");
    }
    assert!(fs::read(profile.join("user-alice.db")).unwrap() == before, "it was not touched");
    let client = Client::open(config()).unwrap();
    assert_eq!(client.history("bob", None, 10).unwrap()[0].text, "still here");
    close(&client).unwrap();
}
