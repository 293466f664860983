//! How what engines say travels, and how it arrives.

use std::time::{Duration, Instant};

use peerchat_core::engine::{EngineCall, Outcome};
use peerchat_core::identity::Recipient;
use peerchat_core::kademlia::{Contact, NodeKey, Rpc};
use peerchat_core::mail::MailRequest;
use peerchat_core::transport::{CallId, ProbeId, ReplyToken, ThrowawayId};
use peerchat_core::user::DecisionError;
use peerchat_core::wire::{Request, Response};

use super::machine::{Happening, Scheduled};
use super::{Host, Network};
use crate::RETRANSMISSIONS;

/// How long a batch takes to be on disk.
const WRITE_TIME: Duration = Duration::from_micros(300);

/// How long a read takes.
const READ_TIME: Duration = Duration::from_micros(100);

/// How long work takes, however much it is: about what the most takes on a phone.
const WORK_TIME: Duration = Duration::from_secs(1);

/// The call id of what adversaries send unasked: they do not wait for answers.
const UNSOLICITED: CallId = CallId(u64::MAX);

impl Network {
    /// Lets something happen to a machine that is up.
    pub(super) fn handle(&mut self, host: Host, happening: Happening) {
        let now = self.machines[host.0].clock(self.now);
        match happening {
            Happening::Request { from, id, request, throwaway } => {
                self.handle_request(host, (from, throwaway), id, request);
            }
            Happening::Response { id, from, response, asked } => {
                self.handle_response(host, from, id, response, asked);
            }
            Happening::Retransmit { call, attempt, asked } => self.retransmit(host, call, attempt, asked),
            Happening::Probe { id, from } => {
                let key = Some(self.machines[host.0].key);
                if self.reach.send(host.0, from.0, self.now.instant) {
                    self.carry(host, from, Happening::Probed { id, key });
                }
            }
            Happening::Probed { id, key } => {
                self.with_engine(host, |engine| engine.handle_probed(id, key, now))
            }
            Happening::Written(id) => match self.machines[host.0].commit(id) {
                Ok(()) => self.with_engine(host, |engine| engine.handle_written(id, now)),
                Err(error) => self.fail(host, error),
            },
            Happening::Read(id, what) => {
                let found = self.machines[host.0].read(what);
                self.with_engine(host, |engine| engine.handle_read(id, found, now));
            }
            Happening::Worked(id, nonce) => {
                self.with_engine(host, |engine| engine.handle_worked(id, nonce, now))
            }
            Happening::Timeout => {
                self.machines[host.0].timeout = None;
                self.with_engine(host, |engine| engine.handle_timeout(now));
            }
            Happening::Churn => {}
        }
    }

    /// Sends a request of an adversary, who does not wait for the answer.
    pub(super) fn send_unsolicited(&mut self, from: Host, to: Host, rpc: Rpc) {
        let (id, request) = (UNSOLICITED, Request::Dht(rpc));
        let request = Happening::Request { from, id, request, throwaway: None };
        if self.reach.send(from.0, to.0, self.now.instant) {
            self.carry(from, to, request);
        }
    }

    fn handle_request(
        &mut self,
        host: Host,
        (from, throwaway): (Host, Option<ThrowawayId>),
        id: CallId,
        request: Request,
    ) {
        let peer = self.asker(from, throwaway);
        let from_run = self.machines[from.0].run;
        self.request_count += 1;
        let token = self.request_count;
        let machine = &mut self.machines[host.0];
        let now = machine.clock(self.now);
        machine.announced += u64::from(matches!(request, Request::Mail(MailRequest::Waiting { .. })));
        if throwaway.is_some() || matches!(request, Request::Mail(MailRequest::Deposit { .. })) {
            machine.depositors.insert(peer.key());
        }
        machine.open_requests.insert(token, (from, from_run, id, now.instant));
        if let Some(behaviour) = machine.behaviour {
            let answer = match &request {
                Request::Dht(rpc) => self.conspiracy.answer(behaviour, rpc, &mut self.rng).map(Response::Dht),
                Request::Chat(_) | Request::Mail(_) => None,
            };
            if let Some(response) = answer {
                self.answer(host, token, response);
            }
        } else if let Some(response) = machine.pretence.and_then(|pretend| pretend(&request)) {
            self.answer(host, token, response);
        } else if let Some(engine) = &mut machine.engine {
            if machine.lie.is_some() {
                machine.heard.insert(token, request.clone());
            }
            let token = ReplyToken::for_simulation(token);
            match throwaway {
                None => engine.handle_request(peer, true, token, request, now),
                Some(_) => engine.handle_throwaway_request(peer, true, token, request, now),
            }
        }
    }

    fn handle_response(&mut self, host: Host, from: Host, id: CallId, response: Response, asked: Instant) {
        let peer = self.contact(from);
        let machine = &mut self.machines[host.0];
        let now = machine.clock(self.now);
        if machine.asked.contains_key(&id) {
            machine.pending.remove(&id);
            machine.asked.insert(id, Some(response));
        } else if machine.pending.remove(&id)
            && let Some(engine) = &mut machine.engine
        {
            let elapsed = now.instant - asked;
            let round_trip = (elapsed < RETRANSMISSIONS[0]).then_some(elapsed);
            engine.handle_response(id, peer, machine.address, response, round_trip, now);
        }
    }

    fn retransmit(&mut self, host: Host, call: EngineCall, attempt: usize, asked: Instant) {
        let now = self.machines[host.0].clock(self.now);
        if !self.machines[host.0].pending.contains(&call.id) {
            return;
        }
        if attempt + 1 < RETRANSMISSIONS.len() && !call.request.is_fleeting() {
            self.transmit(host, call, attempt + 1, asked);
        } else {
            self.machines[host.0].pending.remove(&call.id);
            self.with_engine(host, |engine| engine.handle_call_failed(call.id, now));
        }
    }

    /// Lets the application of a host say whether its user types to somebody.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::set_typing`](peerchat_core::engine::Engine::set_typing).
    ///
    /// # Panics
    ///
    /// The machine is off.
    pub fn set_typing(&mut self, host: Host, to: &str, is_typing: bool) -> Result<(), DecisionError> {
        let (to, now) = (Recipient::parse(to).expect("a recipient"), self.clock(host));
        let engine = self.machines[host.0].engine.as_mut().expect("the machine is on");
        engine.set_typing(&to, is_typing, now)?;
        self.drain(host);
        Ok(())
    }

    /// Sends a request that no engine has made, and waits for the answer; `None` if there is none.
    ///
    /// # Panics
    ///
    /// The host that asks is off.
    pub fn ask(&mut self, from: Host, to: Host, request: Request) -> Option<Response> {
        self.ask_as(from, to, request, None)
    }

    /// The same under a throwaway key.
    ///
    /// # Panics
    ///
    /// The host that asks is off.
    pub fn ask_as(
        &mut self,
        from: Host,
        to: Host,
        request: Request,
        throwaway: Option<ThrowawayId>,
    ) -> Option<Response> {
        assert!(self.machines[from.0].is_up(), "{from:?} is off");
        self.last_asked += 1;
        // Far above the ids of the engine's own calls.
        let id = CallId(u64::MAX - self.last_asked);
        let call = EngineCall { id, to: self.contact(to), request, throwaway, is_answer_long: false };
        self.machines[from.0].pending.insert(id);
        self.machines[from.0].asked.insert(id, None);
        self.transmit(from, call, 0, self.now.instant);
        self.run_until(Duration::from_secs(60), |network| !network.machines[from.0].pending.contains(&id));
        self.machines[from.0].asked.remove(&id).flatten()
    }

    /// Sends a request for the `attempt`th time.
    fn transmit(&mut self, host: Host, call: EngineCall, attempt: usize, asked: Instant) {
        let to = self.by_address.get(&call.to.address()).copied();
        // Whoever answers at the address must have the key.
        if let Some(to) = to.filter(|to| self.machines[to.0].key == call.to.key()) {
            let (from, id, throwaway) = (host, call.id, call.throwaway);
            let request = || Happening::Request { from, id, request: call.request.clone(), throwaway };
            self.travel(host, to, request);
        }
        let at = asked + RETRANSMISSIONS[attempt];
        self.schedule(at, host, Happening::Retransmit { call, attempt, asked });
    }

    /// Does what an engine asks for, until it asks for nothing.
    pub(super) fn drain(&mut self, host: Host) {
        let now = self.now;
        loop {
            let machine = &mut self.machines[host.0];
            let Some(engine) = &mut machine.engine else { return };
            if let Some(call) = engine.poll_call() {
                machine.pending.insert(call.id);
                self.transmit(host, call, 0, now.instant);
            } else if let Some(reply) = engine.poll_reply() {
                let token = reply.to.of_simulation();
                let response = match (machine.lie, machine.heard.remove(&token)) {
                    (Some(lie), Some(request)) => lie(&request, reply.response),
                    _ => reply.response,
                };
                self.answer(host, token, response);
            } else if let Some((id, address)) = engine.poll_probe() {
                let to = self.by_address.get(&address).copied();
                self.probe(host, id, to);
            } else if let Some(batch) = engine.poll_write() {
                let id = batch.id;
                machine.disk.begin(batch);
                self.schedule(now.instant + WRITE_TIME, host, Happening::Written(id));
            } else if let Some((id, what)) = engine.poll_read() {
                self.schedule(now.instant + READ_TIME, host, Happening::Read(id, what));
            } else if let Some((id, work)) = engine.poll_work() {
                let nonce = work.search(|| true);
                self.schedule(now.instant + WORK_TIME, host, Happening::Worked(id, nonce));
            } else if let Some(event) = engine.poll_event() {
                machine.events.push(event);
            } else if let Some(outcome) = engine.poll_outcome() {
                match outcome {
                    Outcome::Saved(id) => _ = machine.saved.insert(id),
                    Outcome::Decided(command) => _ = machine.decided.insert(command),
                    Outcome::Found { command, result } => _ = machine.found.insert(command, result),
                }
            } else {
                break;
            }
        }
        self.schedule_timeout(host);
    }

    fn probe(&mut self, host: Host, id: ProbeId, to: Option<Host>) {
        let to = to.filter(|to| self.machines[to.0].is_up());
        match to.filter(|to| self.reach.send(host.0, to.0, self.now.instant)) {
            Some(to) => self.carry(host, to, Happening::Probe { id, from: host }),
            None => {
                let at = self.now.instant + RETRANSMISSIONS[2];
                self.schedule(at, host, Happening::Probed { id, key: None });
            }
        }
    }

    fn answer(&mut self, host: Host, token: u64, response: Response) {
        let Some((to, run, id, asked)) = self.machines[host.0].open_requests.remove(&token) else { return };
        if self.machines[to.0].run == run {
            self.travel(host, to, || Happening::Response {
                id,
                from: host,
                response: response.clone(),
                asked,
            });
        }
    }

    fn schedule_timeout(&mut self, host: Host) {
        let machine = &mut self.machines[host.0];
        let Some(engine) = &machine.engine else { return };
        let Some((at, _)) = engine.poll_timeout() else { return };
        let at = at.max(self.now.instant);
        if machine.timeout.is_none_or(|earlier| at < earlier) {
            machine.timeout = Some(at);
            self.schedule(at, host, Happening::Timeout);
        }
    }

    /// Lets a packet travel: it may be lost, doubled, or not get there at all.
    fn travel(&mut self, from: Host, to: Host, packet: impl Fn() -> Happening) {
        if !self.reach.send(from.0, to.0, self.now.instant) {
            return;
        }
        for delay in self.link.copies((from.0, to.0), &mut self.rng).into_iter().flatten() {
            self.schedule(self.now.instant + delay, to, packet());
        }
    }

    /// Lets something travel without loss: what has no retransmission here.
    fn carry(&mut self, from: Host, to: Host, packet: Happening) {
        let delay = self.link.delay((from.0, to.0), &mut self.rng);
        self.schedule(self.now.instant + delay, to, packet);
    }

    pub(super) fn schedule(&mut self, at: Instant, host: Host, happening: Happening) {
        let run = self.machines[host.0].run;
        self.queue.push(at, Scheduled { host, run, happening });
    }

    /// Returns what is seen of who asks: with a throwaway key, another key each run.
    fn asker(&self, from: Host, throwaway: Option<ThrowawayId>) -> Contact {
        let Some(ThrowawayId(number)) = throwaway else { return self.contact(from) };
        let machine = &self.machines[from.0];
        let mut bytes = *machine.key.as_bytes();
        let drawn = [machine.run, number].map(u64::to_be_bytes).concat();
        bytes.iter_mut().zip(drawn).for_each(|(byte, drawn)| *byte ^= drawn);
        let hash = *NodeKey::from_bytes(bytes).node_id().as_bytes();
        Contact::new(NodeKey::from_bytes(hash), machine.address)
    }

    /// Returns the key and the address of a machine.
    #[must_use]
    pub fn contact(&self, host: Host) -> Contact {
        let machine = &self.machines[host.0];
        Contact::new(machine.key, machine.address)
    }
}
