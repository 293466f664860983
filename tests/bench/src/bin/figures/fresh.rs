//! From two processes that are only just started to the first message delivered.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::address_of;
use peerchat_bench::quantile::quantile;
use peerchat_core::{Client, Config, Event, MessageState};

use super::people::{open, wait};
use super::report::{Cell, Figure, Table};

/// The word that makes this program one of the two.
pub(super) const PERSON: &str = "fresh-person";

/// How many pairs of processes are started.
const PAIRS: usize = 30;

const COLUMNS: &[&str] = &["who", "profiles", "received p50 ms", "p99 ms", "delivered p50 ms", "p99 ms"];

pub(super) fn measure(_words: &[String]) -> Result<Figure, Failure> {
    let mut table = Table::new(COLUMNS);
    for (profiles, is_on_disk) in [("memory", false), ("on disk", true)] {
        let times = (0..PAIRS).map(|_| meet(is_on_disk)).collect::<Result<Vec<_>, _>>()?;
        let of =
            |index: usize| times.iter().filter_map(|times| times.get(index).copied()).collect::<Vec<_>>();
        let ms = |index, share| Cell::Number(quantile(&of(index), share).as_secs_f64() * 1e3, 1);
        let mut cells = vec!["peerchat".into(), profiles.into()];
        cells.extend([ms(0, 0.5), ms(0, 0.99), ms(1, 0.5), ms(1, 0.99)]);
        table.push(cells);
        eprintln!("  {profiles}: {PAIRS} pairs of processes");
    }
    table.push(vec!["c-toxcore".into(), "none".into(), Cell::Empty, Cell::Empty, Cell::Number(10_000.0, 0)]);
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "One bootstrap node without a user, in a process of its own. Two processes are started at the same moment; one opens \
         Alice with new keys, one Bob, and each joins through that node. Alice writes to Bob's name at once, whether it is \
         registered yet or not. From before the processes are started until Bob's application has the text, and until \
         Alice's is told that it was delivered. 30 pairs, one after another, each with a new bootstrap node.",
        "The row of another system is of another such machine.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Lets two processes meet; returns after what time Bob had the text, and Alice knew.
fn meet(is_on_disk: bool) -> Result<[Duration; 2], Failure> {
    let config = Config::in_memory().bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).build()?;
    let node = Client::open(config)?;
    let directory = tempfile::tempdir()?;
    let data = if is_on_disk { directory.path() } else { Path::new("") };
    let start = Instant::now();
    let mut people = [start_person("bob", &node, data)?, start_person("alice", &node, data)?];
    let [received, delivered] = &mut people;
    let times = [received.wait_for_line(start)?, delivered.wait_for_line(start)?];
    drop(people);
    node.shutdown();
    Ok(times)
}

fn start_person(name: &str, node: &Client, data: &Path) -> Result<Person, Failure> {
    let child = Command::new(std::env::current_exe()?)
        .args([PERSON, name, &address_of(node)])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(Person(child))
}

/// A process that is ended with this.
struct Person(Child);

impl Person {
    fn wait_for_line(&mut self, start: Instant) -> Result<Duration, Failure> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().ok_or("no stdout")?).read_line(&mut line)?;
        if line.is_empty() { Err("a process ended".into()) } else { Ok(start.elapsed()) }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is one of the two: name, address to join through, data directory or nothing.
pub(super) fn be_person(words: &[String]) -> Result<(), Failure> {
    let [name, seed, data] = words else { return Err("not the words of a person".into()) };
    let client = open(name, (!data.is_empty()).then(|| Path::new(data)))?;
    client.bootstrap(seed)?;
    if name == "alice" {
        client.send_blocking("bob", "hello")?;
        wait(&client, |event| matches!(event, Event::MessageState { state: MessageState::Delivered, .. }))?;
    } else {
        wait(&client, |event| matches!(event, Event::Message(_)))?;
        // What follows is told to the other one as long as this process is there.
    }
    println!("done");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
