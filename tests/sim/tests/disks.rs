//! What goes wrong with the disks of some, while people write to one another over a network that loses packets and among nodes
//! that come and go. The disks are those of real clients: SQLite files, which SQLite itself refuses to write.

use std::fs;
use std::time::Duration;

use peerchat_core::event::MessageState;
use peerchat_core::storage::faults::Fault;
use peerchat_core::{Error, Passphrase};
use peerchat_sim::model::Conversations;
use peerchat_sim::{Churn, Host, Network, Profile};
use rusqlite::{Connection, OpenFlags};

const MINUTE: Duration = Duration::from_secs(60);

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Four people, a holder of their mail, and nodes without a user that come and go. Alice, Bob and the holder have real disks.
struct Town {
    net: Network,
    people: [Host; 4],
    holder: Host,
    model: Conversations,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut net = Network::with_seed(seed).loss(0.04);
        let rock = net.add(None);
        let join = |net: &mut Network, name: Option<&str>| {
            let host = net.add(name);
            net.bootstrap(host, rock);
            host
        };
        let passers: Vec<Host> = (0..10).map(|_| join(&mut net, None)).collect();
        net.use_disks(true);
        let holder = join(&mut net, None);
        let [alice, bob] = [NAMES[0], NAMES[1]].map(|name| join(&mut net, Some(name)));
        net.use_disks(false);
        let [carol, dave] = [NAMES[2], NAMES[3]].map(|name| join(&mut net, Some(name)));
        let people = [alice, bob, carol, dave];
        net.run_for(5 * MINUTE);
        net.churn(&passers, Churn { median_session: 20 * MINUTE, median_absence: 5 * MINUTE });
        let named: Vec<(Host, &str)> = people.into_iter().zip(NAMES).collect();
        Self { net, people, holder, model: Conversations::between(&named) }
    }

    /// Lets one write, who must be able to.
    fn write(&mut self, from: Host, to: Host) {
        self.model.try_write(&mut self.net, from, to).unwrap();
    }

    /// Lets everybody who is there write to everybody, a few times, and checks what is seen meanwhile.
    fn talk(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for from in self.people {
                for to in self.people.into_iter().filter(|to| *to != from) {
                    if self.net.is_up(from) {
                        self.write(from, to);
                    }
                }
            }
            self.net.run_for(MINUTE);
            self.model.check(&self.net);
        }
    }

    /// Returns what the profile of a host is refused for, of which the file must stay as it is.
    fn refusal(&mut self, host: Host) -> Error {
        let file = self.net.profile(host).file();
        let before = fs::read(&file).unwrap();
        let refusal = self.net.try_start(host).unwrap_err();
        assert!(!self.net.is_up(host));
        assert!(fs::read(&file).unwrap() == before, "a file that is not opened is not touched");
        refusal
    }

    /// Starts a host that is back from another address.
    fn return_from_elsewhere(&mut self, host: Host) {
        self.net.move_away(host);
        self.net.start(host);
    }

    /// Everybody is there: everything that was acknowledged is seen once, and its writers know.
    fn end(mut self) {
        self.net.end_churn();
        self.net.run_for(60 * MINUTE);
        self.model.check_complete(&self.net);
        for host in self.people {
            let own = self.net.disk(host).messages().iter().filter_map(|message| message.state);
            assert!(own.into_iter().all(|state| state == MessageState::Delivered), "{host:?}");
        }
    }
}

/// The machines of a writer, of a reader and of a holder try again and again while their disks are full.
#[test]
fn full_disks_of_a_writer_a_reader_and_a_holder_lose_nothing_that_was_acknowledged() {
    let mut town = Town::new(71);
    let ([alice, bob, carol, dave], holder) = (town.people, town.holder);
    town.talk(2);
    for host in [alice, bob, holder] {
        town.net.set_fault(host, Some(Fault::Full { pages: 2 }));
    }
    let mut failures = [0; 3];
    for _ in 0..40 {
        for (from, to) in [(alice, bob), (bob, alice), (alice, carol), (bob, dave)] {
            // What is not refused is acknowledged.
            let _ = town.net.is_up(from).then(|| town.model.try_write(&mut town.net, from, to));
        }
        for (from, to) in [(carol, bob), (dave, alice), (carol, dave), (dave, carol)] {
            town.write(from, to);
        }
        town.net.run_for(MINUTE / 2);
        town.model.check(&town.net);
        for (host, count) in [alice, bob, holder].into_iter().zip(&mut failures) {
            if let Some(failure) = town.net.failure(host) {
                assert!(failure.to_string().contains("free some space"), "{failure}");
                *count += 1;
                town.net.start(host);
            }
        }
    }
    assert!(failures.iter().all(|count| *count > 1), "{failures:?}");
    let is_between = |texts: &[String]| texts.len() > 30;
    assert!(is_between(&town.model.seen(&town.net, carol, dave)), "the others go on");
    for host in [alice, bob, holder] {
        town.net.set_fault(host, None);
        town.net.stop(host);
        town.net.start(host);
    }
    town.talk(2);
    town.end();
}

/// Each time what the log holds must come back when the profile is opened.
#[test]
fn power_cuts_of_a_writer_a_reader_and_a_holder_lose_nothing_that_is_in_their_files() {
    let mut town = Town::new(70);
    let ([alice, bob, ..], holder) = (town.people, town.holder);
    for round in 0..40_u64 {
        for (from, to) in [(alice, bob), (bob, alice)] {
            town.write(from, to);
        }
        // Mostly in the middle of something.
        town.net.run_for(Duration::from_micros(977 * round * round * round));
        let host = [alice, bob, holder][usize::try_from(round % 3).unwrap()];
        town.net.kill(host);
        town.net.run_for(Duration::from_millis(311 * round));
        town.net.start(host);
        town.model.check(&town.net);
    }
    town.end();
}

/// Alice's directory and the holder's cannot be written any more, while Bob is away and mail for him waits with both.
#[test]
fn a_directory_that_becomes_read_only_is_an_error_and_goes_on_once_it_can_be_written() {
    let mut town = Town::new(72);
    let ([alice, bob, ..], holder) = (town.people, town.holder);
    town.talk(2);
    town.net.stop(bob);
    town.talk(3);
    assert!(!town.net.disk(holder).mail().is_empty(), "mail waits");
    let disks = [alice, holder];
    for host in disks {
        town.net.set_fault(host, Some(Fault::ReadOnly));
    }
    let refused = town.model.try_write(&mut town.net, alice, bob).unwrap_err().to_string();
    assert!(refused.contains("check that this user may read and write the file"), "{refused}");
    // Somebody comes and goes, or leaves something: the holder has to write as well.
    for _ in 0..20 {
        town.talk(1);
        for host in disks {
            if !town.net.is_up(host) {
                let refusal = town.refusal(host).to_string();
                assert!(refusal.contains("choose a data directory that can be written"), "{refusal}");
            }
        }
    }
    assert!(disks.iter().all(|host| !town.net.is_up(*host)));
    town.return_from_elsewhere(bob);
    town.talk(3);
    for host in disks {
        town.net.set_fault(host, None);
        town.net.start(host);
    }
    town.talk(2);
    town.end();
}

#[test]
fn a_profile_of_a_newer_version_is_left_to_that_version_and_goes_on_with_it() {
    let mut town = Town::new(73);
    let [alice, bob, ..] = town.people;
    town.talk(2);
    // Alice owes Bob something, and the other way round.
    town.net.stop(bob);
    town.write(alice, bob);
    town.net.stop(alice);
    let version = |bytes: &mut [u8]| bytes[60..64].try_into().map(u32::from_be_bytes).unwrap();
    let mut known = 0;
    for host in [alice, bob] {
        let alter = |bytes: &mut [u8]| {
            known = version(bytes);
            bytes[60..64].copy_from_slice(&(known + 1).to_be_bytes());
        };
        town.net.profile(host).alter(alter).unwrap();
    }
    for _ in 0..5 {
        for host in [alice, bob] {
            let refusal = town.refusal(host);
            assert!(matches!(refusal, Error::ProfileTooNew { found, .. } if found == known + 1), "{refusal}");
        }
        town.talk(1);
    }
    for host in [alice, bob] {
        let alter = |bytes: &mut [u8]| bytes[60..64].copy_from_slice(&known.to_be_bytes());
        town.net.profile(host).alter(alter).unwrap();
        town.return_from_elsewhere(host);
    }
    town.talk(2);
    town.end();
}

/// Returns the texts that can be read in the file of a profile from one end of history to the first that cannot.
fn readable(profile: &Profile, order: &str) -> Vec<String> {
    let file = Connection::open_with_flags(profile.file(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = file.prepare(&format!("SELECT body FROM messages ORDER BY position {order}")).unwrap();
    let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map_while(Result::ok).map(|body| String::from_utf8(body).unwrap()).collect()
}

/// What Bob's disk had acknowledged since the archive was made is in the damaged file only. Nothing else is missing.
#[test]
fn a_corrupted_page_is_a_damaged_profile_and_its_owner_goes_on_from_an_archive() {
    let mut town = Town::new(74);
    let [alice, bob, carol, dave] = town.people;
    let (directory, passphrase) = (tempfile::tempdir().unwrap(), Passphrase::new("correct horse").unwrap());
    let archive = directory.path().join("bob.peerchat");
    town.talk(20);
    town.net.profile(bob).export(&archive, &passphrase).unwrap();
    let exported = town.net.back_up(bob).moved();
    town.talk(5);
    town.net.run_for(30 * MINUTE);
    town.model.check_complete(&town.net);
    town.net.stop(bob);
    let whole = readable(town.net.profile(bob), "ASC");
    assert_eq!(whole.len(), town.net.disk(bob).messages().len());
    // The page of a message in the middle of history.
    let damage = |bytes: &mut [u8]| {
        let text = whole[whole.len() / 2].as_bytes();
        let page = bytes.windows(text.len()).position(|found| found == text).unwrap() / 4096 * 4096;
        bytes[page..page + 64].fill(0xa5);
    };
    town.net.profile(bob).alter(damage).unwrap();
    for _ in 0..5 {
        let refusal = town.refusal(bob);
        assert!(matches!(refusal, Error::ProfileDamaged { .. }), "{refusal}");
        // To Bob as well, and among themselves.
        town.talk(1);
    }
    let intact = [readable(town.net.profile(bob), "ASC"), readable(town.net.profile(bob), "DESC")];
    assert!(whole.starts_with(&intact[0]) && whole.iter().rev().zip(&intact[1]).all(|(a, b)| a == b));
    let count = intact[0].len() + intact[1].len();
    assert!(count < whole.len() && count * 2 > whole.len(), "{count} of {} are intact", whole.len());

    town.net.install(bob, Profile::import(&archive, &passphrase).unwrap()).unwrap();
    assert_eq!(town.net.disk(bob).rows(), exported.rows());
    town.return_from_elsewhere(bob);
    town.net.bootstrap(bob, carol);
    for round in 0..5 {
        for (from, to) in [(alice, bob), (bob, alice), (carol, bob), (bob, dave), (dave, carol)] {
            town.write(from, to);
        }
        town.net.run_for(MINUTE * (1 + round));
    }
    town.net.end_churn();
    town.net.run_for(180 * MINUTE);
    for from in [alice, carol, dave] {
        // To the others nothing has happened.
        for to in [alice, carol, dave].into_iter().filter(|to| *to != from) {
            assert_eq!(town.model.seen(&town.net, from, to), town.model.written(from, to));
        }
        assert_eq!(town.model.seen(&town.net, bob, from), town.model.written(bob, from));
        let (seen, written) = (town.model.seen(&town.net, from, bob), town.model.written(from, bob));
        // Five were lost with the file; they had been shown.
        let kept: Vec<&String> = written[..20].iter().chain(&written[25..]).collect();
        assert_eq!(seen.iter().collect::<Vec<_>>(), kept, "{from:?} to Bob");
    }
    for host in town.people {
        let own = town.net.disk(host).messages().iter().filter_map(|message| message.state);
        assert!(own.into_iter().all(|state| state == MessageState::Delivered), "{host:?}");
    }
}
