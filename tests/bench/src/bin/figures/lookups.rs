//! Finding a user, from nodes that hold neither of the two records.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use peerchat_bench::Failure;
use peerchat_bench::network::{Network, Settings, Totals, is_right};
use peerchat_bench::process::cpu_time;
use peerchat_bench::quantile::quantile;
use peerchat_core::kademlia::RecordKey;
use peerchat_core::{Client, NodeId};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use tokio::task::JoinSet;

use super::report::{Cell, Figure, Table};

/// Lookups one after another, cold and warm.
const SEQUENTIAL: usize = 1000;

/// Lookups with [`IN_FLIGHT`] at a time.
const OVERLAPPING: usize = 6400;

const IN_FLIGHT: usize = 64;

/// How many clients ask while links are warm.
const ASKERS: usize = 16;

/// Lookups between two looks at the links while they are warmed up.
const WARM_UP_ROUND: usize = 1600;

/// Most rounds of warming up.
const WARM_UP_ROUNDS: usize = 20;

/// How long the network rests after the last registration.
const REST: Duration = Duration::from_secs(3);

const COLUMNS: &[&str] = &[
    "lookup",
    "n",
    "k",
    "alpha",
    "lookups",
    "misses",
    "p50 ms",
    "p99 ms",
    "per s",
    "CPU us",
    "requests",
    "datagrams",
    "bytes",
    "hops",
    "new links",
];

/// A network to measure in.
#[derive(Clone, Debug)]
struct Case {
    n: usize,
    settings: Settings,
}

/// One lookup to make: who asks for whom, by their places in the list of clients.
type Pair = (usize, usize);

/// What lookups came to.
struct Outcome {
    times: Vec<Duration>,
    misses: usize,
    took: Duration,
    cpu: Duration,
    before: Totals,
    after: Totals,
}

/// Measures in every network, or in those whose size is named.
pub(super) fn measure(sizes: &[String]) -> Result<Figure, Failure> {
    let case = |n, settings| Case { n, settings };
    let all = [
        case(20, Settings::original()),
        case(100, Settings::original()),
        case(320, Settings::original()),
        case(320, Settings::default_options()),
    ];
    let is_chosen = |case: &Case| sizes.is_empty() || sizes.contains(&case.name());
    let chosen: Vec<_> = all.iter().filter(|case| is_chosen(case)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(Case::name).collect();
        return Err(format!("lookups can be measured at {}", names.join(", ")).into());
    }
    let mut table = Table::new(COLUMNS);
    for case in chosen {
        case.run(&mut table)?;
    }
    push_peers(&mut table);
    Ok(Figure { conditions: conditions(), table })
}

fn conditions() -> Vec<String> {
    [
        "One lookup is `Client::lookup`: a search for the claim of a name on three disjoint paths until 8 nodes have \
         answered with it, the judgement of their answers, and a search for the user record until 3 nodes have \
         answered; found is a user, a node and its addresses, all compared with the truth. What the others do is one \
         get of one value.",
        "One process, loopback, profiles in memory, every node with its own socket, encryption and signatures on. \
         The asking node is not among the k closest to either record.",
        "Cold: the first lookups of every node after joining, one after another; links that registering made are up. \
         Warm: 16 nodes ask that have gone on asking until they made no new links. CPU is that of the whole process, \
         all nodes, for one lookup; requests, datagrams (both ways), bytes of UDP payload and new links (each counted \
         at both ends) are for one lookup too; hops are for one search.",
        "The rows of others were measured on another such machine; n = 10 for OpenDHT's first.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What others were measured to reach: p50, p99, then gets per second with 64 in flight.
fn push_peers(table: &mut Table) {
    let mut push = |name: &str, n, misses: &str, p50, p99, rate: Option<f64>| {
        let rate = rate.map_or(Cell::Empty, |rate| Cell::Number(rate, 0));
        let (p50, p99) = (Cell::Number(p50, 2), Cell::Number(p99, 2));
        let n = Cell::count(n);
        table.push(vec![
            name.into(),
            n,
            Cell::Empty,
            Cell::Empty,
            Cell::Empty,
            misses.into(),
            p50,
            p99,
            rate,
        ]);
    };
    push("OpenDHT 2.4.12", 10, "", 0.29, 5.9, None);
    push("OpenDHT 2.4.12", 100, "", 1.10, 3.1, Some(659.0));
    push("OpenDHT 2.4.12", 320, "13-16 of 500", 2.19, 5.5, Some(491.0));
    push("rust-libp2p 0.57, warm", 100, "", 1.04, 1.79, Some(938.0));
    push("rust-libp2p 0.57, default", 100, "", 2.3, 8.0, Some(320.0));
    push("rust-libp2p 0.57", 320, "0 of 60", 14.8, 41.0, Some(104.0));
    push("mainline 8.0", 100, "0", 44.0, 60.0, Some(600.0));
    push("mainline 8.0", 320, "0", 35.0, 61.0, Some(410.0));
    push("the original", 320, "0", 2.7, 7.6, None);
}

impl Case {
    fn name(&self) -> String {
        match self.settings.k {
            10 => self.n.to_string(),
            _ => format!("{}-default", self.n),
        }
    }

    fn run(&self, table: &mut Table) -> Result<(), Failure> {
        eprintln!("n = {}, k = {}, alpha = {}", self.n, self.settings.k, self.settings.alpha);
        let network = Network::new();
        let start = Instant::now();
        network.grow(self.n, &self.settings, |registered| {
            if registered % 80 == 0 || registered == self.n {
                eprintln!("  {registered} registered after {:.1} s", start.elapsed().as_secs_f64());
            }
        })?;
        thread::sleep(REST);
        let mut asking = Asking::new(network.clients(), self.settings.k)?;
        let everyone: Vec<usize> = (0..self.n).collect();
        let pairs = asking.pairs(&everyone, SEQUENTIAL)?;
        self.push(table, "cold, one at a time", asking.run(pairs, 1)?);
        let askers: Vec<usize> = (0..ASKERS.min(self.n)).map(|at| at * self.n / ASKERS.min(self.n)).collect();
        asking.warm_up(&askers)?;
        let pairs = asking.pairs(&askers, SEQUENTIAL)?;
        self.push(table, "warm, one at a time", asking.run(pairs, 1)?);
        let pairs = asking.pairs(&askers, OVERLAPPING)?;
        self.push(table, "warm, 64 in flight, 16 clients", asking.run(pairs, IN_FLIGHT)?);
        let pairs = asking.pairs(askers.get(..1).unwrap_or_default(), OVERLAPPING)?;
        self.push(table, "warm, 64 in flight, 1 client", asking.run(pairs, IN_FLIGHT)?);
        network.close();
        Ok(())
    }

    fn push(&self, table: &mut Table, what: &str, outcome: Outcome) {
        let Outcome { times, misses, took, cpu, before, after } = outcome;
        let (count, searches) = (times.len() as f64, after.searches - before.searches);
        let ms = |share| Cell::Number(quantile(&times, share).as_secs_f64() * 1e3, 3);
        let each = |before: u64, after: u64| Cell::Number((after - before) as f64 / count, 1);
        let rate = count / took.as_secs_f64();
        eprintln!("  {what}: {rate:.0} lookups/s");
        table.push(vec![
            what.into(),
            Cell::count(self.n),
            Cell::count(self.settings.k),
            Cell::count(self.settings.alpha),
            Cell::count(times.len()),
            Cell::count(misses),
            ms(0.5),
            ms(0.99),
            Cell::Number(rate, 0),
            Cell::Number(cpu.as_secs_f64() * 1e6 / count, 0),
            each(before.requests, after.requests),
            each(before.datagrams, after.datagrams),
            each(before.bytes, after.bytes),
            Cell::Number((after.hops - before.hops) as f64 / searches.max(1) as f64, 2),
            Cell::Number((after.links as f64 - before.links as f64) / count, 2),
        ]);
    }
}

/// Lets clients look one another up.
struct Asking {
    clients: Vec<Client>,
    /// Of each client's user: where the claim and the user record are kept.
    places: Vec<[NodeId; 2]>,
    k: usize,
    rng: ChaCha20Rng,
    runtime: tokio::runtime::Runtime,
}

impl Asking {
    fn new(clients: Vec<Client>, k: usize) -> Result<Self, Failure> {
        let places = clients.iter().map(places_of).collect::<Option<_>>().ok_or("a client has no user")?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let rng = ChaCha20Rng::seed_from_u64(clients.len() as u64);
        Ok(Self { clients, places, k, rng, runtime })
    }

    /// Draws lookups in which the askers take turns and none holds what it asks for.
    fn pairs(&mut self, askers: &[usize], count: usize) -> Result<Vec<Pair>, Failure> {
        // Twenty nodes with k = 10 hold half of everything, so some draws fail; all do where everybody holds everything.
        let draws = 1000;
        let mut pairs = Vec::with_capacity(count);
        for &asker in askers.iter().cycle().take(count) {
            let wanted = (0..draws).map(|_| self.rng.random_range(0..self.clients.len()));
            let wanted: Vec<_> = wanted.collect();
            let found = wanted.into_iter().find(|&wanted| wanted != asker && !self.holds(asker, wanted));
            pairs.push((asker, found.ok_or("a node holds the records of everybody")?));
        }
        Ok(pairs)
    }

    /// Tells whether a node is among the k closest to one of a user's two records.
    fn holds(&self, asker: usize, wanted: usize) -> bool {
        let Some((asker, places)) = self.clients.get(asker).zip(self.places.get(wanted)) else { return true };
        places.iter().any(|place| {
            let distance = asker.node_id().distance(place);
            self.clients.iter().filter(|client| client.node_id().distance(place) < distance).count() < self.k
        })
    }

    /// Lets the askers look others up until that makes no new links.
    fn warm_up(&mut self, askers: &[usize]) -> Result<(), Failure> {
        for _ in 0..WARM_UP_ROUNDS {
            let pairs = self.pairs(askers, WARM_UP_ROUND)?;
            let Outcome { before, after, .. } = self.run(pairs, IN_FLIGHT)?;
            let new = after.links.saturating_sub(before.links);
            eprintln!("  warming up: {new} new ends of links in {WARM_UP_ROUND} lookups");
            if new <= WARM_UP_ROUND / 100 {
                break;
            }
        }
        Ok(())
    }

    /// Makes the lookups, up to `in_flight` at a time.
    fn run(&self, pairs: Vec<Pair>, in_flight: usize) -> Result<Outcome, Failure> {
        let work = Arc::new((pairs, AtomicUsize::new(0)));
        let before = Totals::of(&self.clients)?;
        let (start, cpu) = (Instant::now(), cpu_time());
        let done = self.runtime.block_on(async {
            let mut workers = JoinSet::new();
            for _ in 0..in_flight {
                workers.spawn(look_up_in_turn(self.clients.clone(), work.clone()));
            }
            workers.join_all().await
        });
        let (took, cpu) = (start.elapsed(), cpu_time() - cpu);
        let after = Totals::of(&self.clients)?;
        let misses = done.iter().map(|(_, misses)| misses).sum();
        let times = done.into_iter().flat_map(|(times, _)| times).collect();
        Ok(Outcome { times, misses, took, cpu, before, after })
    }
}

/// Makes the next lookup that nobody has begun, until there is none.
async fn look_up_in_turn(
    clients: Vec<Client>,
    work: Arc<(Vec<Pair>, AtomicUsize)>,
) -> (Vec<Duration>, usize) {
    let (mut times, mut misses) = (Vec::new(), 0);
    let (pairs, next) = &*work;
    while let Some(&(asker, wanted)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let (asker, wanted) = (&clients[asker], &clients[wanted]);
        let Some(name) = wanted.user_name() else { continue };
        let start = Instant::now();
        let found = asker.lookup(name.as_str()).await;
        times.push(start.elapsed());
        match found {
            Ok(found) if is_right(&found, wanted) => {}
            Ok(_) => misses += 1,
            Err(error) => {
                misses += 1;
                eprintln!("  not found: {error}");
            }
        }
    }
    (times, misses)
}

/// Returns where the claim and the user record of a client's user are kept.
fn places_of(client: &Client) -> Option<[NodeId; 2]> {
    let (name, user) = (client.user_name()?, client.user_id()?);
    Some([RecordKey::of_name(name.as_str()).place(), RecordKey::of_user(user.as_bytes()).place()])
}
