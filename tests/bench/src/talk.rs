//! [`Talk`]: two people in one thread, without sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use peerchat_core::config::Location;
use peerchat_core::crypto::{DeviceCipher, Olm};
use peerchat_core::engine::{Engine, EngineCall, EngineConfig};
use peerchat_core::event::CommandId;
use peerchat_core::identity::{Recipient, SecretKey, UserName};
use peerchat_core::kademlia::{ALPHA, AddressFamily, K, LOOKUP_PATHS, Serve};
use peerchat_core::mail::DEFAULT_MAIL_QUOTA;
use peerchat_core::save::ProfileKeys;
use peerchat_core::storage::{Opened, Store};
use peerchat_core::time::Now;
use peerchat_core::transport::{Call, Transport, TransportConfig, TransportEvent};
use peerchat_core::wire::{Request, Response};
use peerchat_core::{Event, Limits, MessageState};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use crate::Failure;
use crate::pair::carry;

/// How often both may take a turn until nothing is left to do.
const MAX_TURNS: usize = 10_000;

/// Everything of a client but its socket, its threads and the queue of its events: engine, links, keys, and a profile in
/// memory.
#[derive(Debug)]
struct Person {
    engine: Engine,
    transport: Transport,
    store: Store,
    address: SocketAddr,
    events: Vec<Event>,
}

/// Two people who know each other, Alice and Bob.
#[derive(Debug)]
pub struct Talk {
    people: [Person; 2],
}

impl Talk {
    /// Lets both meet, write to each other and have what they wrote.
    ///
    /// # Errors
    ///
    /// They did not come that far.
    pub fn new(seed: u64, now: Now) -> Result<Self, Failure> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let people = [Person::new("alice", 4000, &mut rng, now)?, Person::new("bob", 4001, &mut rng, now)?];
        let mut talk = Self { people };
        let [alice, bob] = &mut talk.people;
        let (id, text) = (CommandId(1), bob.address.to_string());
        alice.engine.bootstrap(id, text, vec![bob.address], None, now);
        talk.run(now)?;
        for (from, to) in [(0, "bob"), (1, "alice")] {
            talk.write(from, to, "Hello", now)?;
        }
        Ok(talk)
    }

    /// Lets Alice write to Bob: from the name and the text until he has it and she is told that he does.
    ///
    /// # Errors
    ///
    /// It did not arrive, or she was not told.
    pub fn say(&mut self, text: &str, now: Now) -> Result<(), Failure> {
        self.write(0, "bob", text, now)
    }

    fn write(&mut self, from: usize, to: &str, text: &str, now: Now) -> Result<(), Failure> {
        self.people.iter_mut().for_each(|person| person.events.clear());
        let to = Recipient::parse(to)?;
        let sent = self.people[from].engine.send_text(&to, text, None, now);
        let id = sent.ok_or("there is no user")??;
        self.run(now)?;
        let is_shown = |event: &Event| matches!(event, Event::Message(message) if message.text == text);
        let is_told = |event: &Event| matches!(event, Event::MessageState { id: told, state: MessageState::Delivered, .. } if *told == id);
        let [writer, reader] = [&self.people[from].events, &self.people[1 - from].events];
        if reader.iter().filter(|event| is_shown(event)).count() != 1 || !writer.iter().any(is_told) {
            return Err(format!("one was told {writer:?}, the other {reader:?}").into());
        }
        Ok(())
    }

    /// Runs both until neither has anything to do at this time.
    fn run(&mut self, now: Now) -> Result<(), Failure> {
        self.people.iter_mut().for_each(|person| person.handle_due(now));
        for _ in 0..MAX_TURNS {
            let [alice, bob] = &mut self.people;
            let is_any = [
                alice.turn(now),
                bob.turn(now),
                carry(&mut alice.transport, alice.address, &mut bob.transport, now),
                carry(&mut bob.transport, bob.address, &mut alice.transport, now),
            ];
            if is_any == [false; 4] {
                return Ok(());
            }
        }
        Err("they never come to an end".into())
    }
}

impl Person {
    fn new(name: &str, port: u16, rng: &mut ChaCha20Rng, now: Now) -> Result<Self, Failure> {
        let mut draw = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let (node, user) = (SecretKey::from_bytes(&draw()), SecretKey::from_bytes(&draw()));
        let name = UserName::parse(name)?;
        let keys = || ProfileKeys { node: node.clone(), user: Some(user) };
        let Opened { store, saved } = peerchat_core::storage::open(&Location::Memory, Some(&name), keys)?;
        let cipher: Box<dyn DeviceCipher> = Box::new(Olm::restore(None)?);
        let config = EngineConfig {
            k: K,
            alpha: ALPHA,
            paths: LOOKUP_PATHS,
            family: AddressFamily::V4,
            serve: Serve::Always,
            user: Some(name),
            message_lifetime: peerchat_core::config::MAX_MESSAGE_LIFETIME,
            read_receipts: true,
            mail_quota: DEFAULT_MAIL_QUOTA,
            limits: Limits::shared(),
        };
        let engine = Engine::new(config, saved, Some(cipher), draw(), now);
        let transport = Transport::new(TransportConfig::default(), &node, ChaCha20Rng::from_seed(draw()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { engine, transport, store, address, events: Vec::new() })
    }

    fn handle_due(&mut self, now: Now) {
        if self.transport.poll_timeout().is_some_and(|(at, _)| at <= now.instant) {
            self.transport.handle_timeout(now);
        }
        if self.engine.poll_timeout().is_some_and(|(at, _)| at <= now.instant) {
            self.engine.handle_timeout(now);
        }
    }

    /// Does what the engine asks for; tells whether there was anything.
    fn turn(&mut self, now: Now) -> bool {
        let mut is_any = false;
        while let Some(event) = self.transport.poll_event() {
            is_any = true;
            self.take(event, now);
        }
        while let Some(call) = self.engine.poll_call() {
            is_any = true;
            let encoded = call.request.encode();
            let (is_early, is_fleeting) = (call.request.is_early(), call.request.is_fleeting());
            let EngineCall { id, to, is_answer_long, .. } = call;
            let (kind, body) = (encoded.kind, encoded.body);
            let call = Call { id, to, kind, body, is_early, is_bulk: false, is_answer_long, is_fleeting };
            self.transport.call(call, now);
        }
        while let Some(reply) = self.engine.poll_reply() {
            is_any = true;
            let encoded = reply.response.encode();
            self.transport.reply(reply.to, encoded.kind, encoded.body, now);
        }
        while let Some((probe, address)) = self.engine.poll_probe() {
            is_any = true;
            self.transport.probe(probe, address, now);
        }
        while self.engine.poll_outcome().is_some() {}
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
        is_any | self.save(now)
    }

    fn save(&mut self, now: Now) -> bool {
        let Some(batch) = self.engine.poll_write() else { return false };
        let (done, written) = mpsc::channel();
        self.store.write(batch, move |id, result| {
            // Whoever asked waits for it below: in memory it has happened by then.
            let _ = result.is_ok().then(|| done.send(id));
        });
        written.try_iter().for_each(|id| self.engine.handle_written(id, now));
        true
    }

    fn take(&mut self, event: TransportEvent, now: Now) {
        match event {
            TransportEvent::Request { token, from, is_proven, kind, body, .. } => {
                if let Ok(request) = Request::decode(kind, &body) {
                    self.engine.handle_request(from, is_proven, token, request, now);
                }
            }
            TransportEvent::Response { call, from, observed, kind, body, round_trip } => {
                match Response::decode(kind, &body) {
                    Ok(response) => {
                        self.engine.handle_response(call, from, observed, response, round_trip, now);
                    }
                    Err(_) => self.engine.handle_call_failed(call, now),
                }
            }
            TransportEvent::CallFailed { call, .. } => self.engine.handle_call_failed(call, now),
            TransportEvent::PeerProven { peer } => self.engine.handle_proven(peer, now),
            TransportEvent::KeyFound { probe, key, .. } => self.engine.handle_probed(probe, Some(key), now),
            TransportEvent::ProbeFailed { probe } => self.engine.handle_probed(probe, None, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use peerchat_core::time::Timestamp;

    use super::*;

    #[test]
    fn what_is_said_arrives_and_takes_a_datagram_each_way() {
        let mut now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_700_000_000_000) };
        let mut talk = Talk::new(1, now).unwrap();
        let sent = |talk: &Talk| talk.people.each_ref().map(|person| person.transport.stats().datagrams_out);
        let before = sent(&talk);
        for number in 0..100 {
            now = now.after(Duration::from_millis(1));
            talk.say(&format!("text {number}"), now).unwrap();
        }
        let after = sent(&talk);
        assert_eq!([after[0] - before[0], after[1] - before[1]], [100, 100]);
    }
}
