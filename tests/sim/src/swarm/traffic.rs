//! How requests travel through a swarm, and hosts come and go.
//!
//! What a transport does about loss is drawn ahead: a call is one packet there and one back, each as late as the
//! retransmission that gets through, or one failure.

use std::time::{Duration, Instant};

use peerchat_core::kademlia::{Contact, Node, NodeEvent, NodeWrite, Outgoing, Rpc, RpcId, RpcReply};
use peerchat_core::transport::RoundTrip;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::Swarm;
use super::peer::Body;
/// When the transport sends a request, and when it gives up, in waits for the answer of a stranger.
const ATTEMPTS: [u32; 3] = [0, 1, 3];
const GIVE_UP: u32 = 7;

/// The id of what adversaries send: they do not wait for answers.
const UNSOLICITED: RpcId = RpcId(u64::MAX);

/// How many honest hosts a newcomer asks for a way in.
const SEEDS: usize = 3;

/// How many it asks at most.
const MAX_SEEDS: usize = 32;

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Request {
    from: usize,
    to: usize,
    from_run: u32,
    id: RpcId,
    rpc: Rpc,
    sent: Instant,
    /// How long the transport waits before it sends it again.
    rto: Duration,
    attempt: usize,
    /// The network has doubled it: the other copy sees to the failure if there is one.
    is_copy: bool,
}

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    Request(Request),
    Reply { from: usize, to: usize, to_run: u32, id: RpcId, reply: RpcReply, round_trip: Option<Duration> },
    Failure { to: usize, to_run: u32, id: RpcId },
    Timer { host: usize, run: u32 },
    Arrive { host: usize },
    Leave { host: usize },
}

impl Swarm {
    pub(super) fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Request(request) => self.handle_request(request),
            Happening::Reply { from, to, to_run, id, reply, round_trip } if self.peers[to].run == to_run => {
                self.handle_reply(from, to, id, reply, round_trip);
            }
            Happening::Failure { to, to_run, id } if self.peers[to].run == to_run => {
                self.stats.failures += 1;
                self.with_node(to, |node, now| node.handle_failure(id, now));
            }
            Happening::Timer { host, run } if self.peers[host].run == run => self.handle_timer(host),
            Happening::Reply { .. } | Happening::Failure { .. } | Happening::Timer { .. } => {}
            Happening::Arrive { host } => {
                self.arrive(host);
                if let Some(churn) = self.churn {
                    let at = self.now.instant + churn.session(&mut self.rng);
                    self.queue.push(at, Happening::Leave { host });
                }
            }
            Happening::Leave { host } => {
                self.depart(host);
                if let Some(churn) = self.churn {
                    let at = self.now.instant + churn.absence(&mut self.rng);
                    self.queue.push(at, Happening::Arrive { host });
                }
            }
        }
    }

    /// Starts a host: with what it had saved, or through others if that is nothing.
    pub(super) fn arrive(&mut self, host: usize) {
        let peer = &mut self.peers[host];
        let Body::Away(contacts) = std::mem::replace(&mut peer.body, Body::Away(Vec::new())) else { return };
        peer.run += 1;
        peer.round_trip = RoundTrip::default();
        let (now, key) = (peer.clock(self.now), peer.contact.key());
        let records: Vec<_> = peer.records.values().cloned().collect();
        let mut node = Node::new(key, self.config, ChaCha20Rng::from_seed(self.rng.random()), now);
        if contacts.is_empty() {
            for seed in self.seeds() {
                node.join(seed, now);
            }
            let contact = self.peers[host].contact;
            self.conspiracy.honest.push(contact);
        } else {
            node.restore(&contacts, &records, now);
        }
        for record in self.peers[host].own.clone() {
            node.publish(record, now);
        }
        let peer = &mut self.peers[host];
        (peer.body, peer.came_at) = (Body::Node(Box::new(node)), Some(self.now.instant));
        self.census.insert(peer.contact.id(), host);
        self.drain(host);
    }

    /// Ends a host: what was under way is lost, what was saved is not.
    pub(super) fn depart(&mut self, host: usize) {
        let peer = &mut self.peers[host];
        let Body::Node(node) = &peer.body else { return };
        peer.body = Body::Away(node.contacts_to_save());
        peer.run += 1;
        peer.timer = None;
        self.census.remove(peer.contact.id());
        self.abandon_traces(host);
    }

    pub(super) fn send_unsolicited(&mut self, from: usize, to: Contact, rpc: Rpc) {
        self.send(from, Outgoing { id: UNSOLICITED, to, rpc });
    }

    /// Does what a node asks for.
    pub(super) fn drain(&mut self, host: usize) {
        loop {
            let peer = &mut self.peers[host];
            let now = peer.clock(self.now);
            let Body::Node(node) = &mut peer.body else { return };
            if let Some(outgoing) = node.poll_rpc(now) {
                if peer.trace_count > 0 {
                    self.traces.asked(host, outgoing.id, &outgoing.rpc);
                }
                self.stats.requests += 1;
                self.stats.by_kind[kind_of(&outgoing.rpc)] += 1;
                self.send(host, outgoing);
            } else if let Some(write) = node.poll_write() {
                match write {
                    NodeWrite::Record { key, bytes } => _ = peer.records.insert(key, bytes),
                    NodeWrite::RecordGone { key } => _ = peer.records.remove(&key),
                }
            } else if let Some(event) = node.poll_event() {
                if let NodeEvent::LookupDone { id, outcome } = event {
                    self.trace_outcome(host, id, outcome);
                }
            } else {
                break;
            }
        }
        self.schedule_timer(host);
    }

    /// Draws hosts to join through, many of which may have left; the last one is there, as a newcomer goes on asking for
    /// a way in until somebody answers.
    fn seeds(&mut self) -> Vec<Contact> {
        let known = self.conspiracy.honest.len();
        let mut drawn = Vec::new();
        for _ in 0..MAX_SEEDS.min(known) {
            let seed = self.conspiracy.honest[self.rng.random_range(0..known)];
            drawn.push(seed);
            let is_there = self.by_address.get(&seed.address()).is_some_and(|host| self.is_up(*host));
            if is_there && drawn.len() >= SEEDS {
                break;
            }
        }
        drawn
    }

    fn schedule_timer(&mut self, host: usize) {
        let peer = &mut self.peers[host];
        let Body::Node(node) = &peer.body else { return };
        let Some((at, _)) = node.poll_timeout() else { return };
        let at = at.max(self.now.instant);
        if peer.timer.is_none_or(|earlier| at < earlier) {
            peer.timer = Some(at);
            self.queue.push(at, Happening::Timer { host, run: peer.run });
        }
    }

    fn handle_timer(&mut self, host: usize) {
        let peer = &mut self.peers[host];
        let Body::Node(node) = &peer.body else { return };
        // Of several that were scheduled, only the earliest counts.
        if peer.timer != Some(self.now.instant) {
            return;
        }
        peer.timer = None;
        // What it was scheduled for may have been done meanwhile.
        if node.poll_timeout().is_some_and(|(at, _)| at <= self.now.instant) {
            self.with_node(host, Node::handle_timeout);
        } else {
            self.schedule_timer(host);
        }
    }

    fn send(&mut self, from: usize, Outgoing { id, to, rpc }: Outgoing) {
        let (sent, from_run) = (self.now.instant, self.peers[from].run);
        let rto = self.peers[from].round_trip.cold_timeout();
        let target = self.by_address.get(&to.address()).copied();
        // Whoever answers at the address must have the key.
        let target = target.filter(|to_host| self.peers[*to_host].contact.key() == to.key());
        let target = target.filter(|to_host| self.reach.send(from, *to_host, sent));
        let attempt = (0..ATTEMPTS.len()).find(|_| !self.link.is_lost(&mut self.rng));
        let (Some(to), Some(attempt)) = (target, attempt) else {
            return self.fail(from, from_run, id, sent + rto * GIVE_UP);
        };
        let request = Request { from, to, from_run, id, rpc, sent, rto, attempt, is_copy: false };
        if self.link.duplication > 0.0 && self.rng.random_bool(self.link.duplication) {
            let at = sent + rto * ATTEMPTS[attempt] + self.link.delay((from, to), &mut self.rng);
            self.queue.push(at, Happening::Request(Request { is_copy: true, ..request.clone() }));
        }
        let at = sent + rto * ATTEMPTS[attempt] + self.link.delay((from, to), &mut self.rng);
        self.queue.push(at, Happening::Request(request));
    }

    fn fail(&mut self, to: usize, to_run: u32, id: RpcId, at: Instant) {
        self.queue.push(at.max(self.now.instant), Happening::Failure { to, to_run, id });
    }

    fn handle_request(&mut self, request: Request) {
        let Request { from, to, from_run, id, rpc, sent, rto, attempt, is_copy } = request;
        let asker = self.peers[from].contact;
        let reply = match &self.peers[to].body {
            Body::Away(_) => None,
            Body::Adversary(behaviour) => self.conspiracy.answer(*behaviour, &rpc, &mut self.rng),
            Body::Node(_) => self.with_node(to, |node, now| node.handle_request(asker, true, rpc, now)),
        };
        let delay = reply.is_some().then(|| self.reply_delay(attempt, rto)).flatten();
        let delay = delay.filter(|_| self.reach.send(to, from, self.now.instant));
        match reply.zip(delay) {
            Some((reply, delay)) => {
                let at = self.now.instant + delay + self.link.delay((to, from), &mut self.rng);
                // Nobody knows to which of several requests an answer is.
                let round_trip = Some(at - sent).filter(|elapsed| *elapsed < rto);
                let reply = Happening::Reply { from: to, to: from, to_run: from_run, id, reply, round_trip };
                self.queue.push(at, reply);
            }
            None if is_copy => {}
            None => self.fail(from, from_run, id, sent + rto * GIVE_UP),
        }
    }

    /// Draws how much later than at once an answer gets through, `None` if never.
    fn reply_delay(&mut self, attempt: usize, rto: Duration) -> Option<Duration> {
        if !self.link.is_lost(&mut self.rng) {
            return Some(Duration::ZERO);
        }
        let later = ATTEMPTS[attempt + 1..].iter();
        let mut through =
            later.filter(|_| !self.link.is_lost(&mut self.rng) && !self.link.is_lost(&mut self.rng));
        through.next().map(|at| rto * (*at - ATTEMPTS[attempt]))
    }

    fn handle_reply(
        &mut self,
        from: usize,
        to: usize,
        id: RpcId,
        reply: RpcReply,
        round_trip: Option<Duration>,
    ) {
        let contact = self.peers[from].contact;
        round_trip.into_iter().for_each(|sample| self.peers[to].round_trip.insert(sample));
        if self.peers[to].trace_count > 0
            && let RpcReply::Nodes(contacts) = &reply
        {
            self.traces.named(to, id, contact.id(), contacts);
        }
        self.with_node(to, |node, now| node.handle_reply(id, contact, reply, round_trip, now));
    }
}

/// Returns the place of a request's kind in [`super::SwarmStats::by_kind`].
const fn kind_of(rpc: &Rpc) -> usize {
    match rpc {
        Rpc::Ping => 0,
        Rpc::FindNode { .. } => 1,
        Rpc::FindValue { .. } => 2,
        Rpc::Store { .. } => 3,
        Rpc::DialBack { .. } | Rpc::Relay { .. } | Rpc::Dial => 4,
    }
}
