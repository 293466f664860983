//! What the memory limit counts for a thing is what it takes, measured by the allocator.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use peerchat_core::config::{Config, ConfigBuilder};
use peerchat_core::crypto::{DeviceCipher, DeviceKeys, MAX_SKIPPED_KEYS, Olm, SealKey, SessionCipher};
use peerchat_core::fuzzing::{Deed, StreamNode, StreamPeer};
use peerchat_core::identity::SecretKey;
use peerchat_core::time::{Now, Timestamp};
use peerchat_core::transport::{MAX_STREAM_BODY_LEN, TransportEvent};
use peerchat_sim::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Only one test measures at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Returns what is counted for one more of what a limit allows, of a profile on disk or in memory.
fn counted(limit: &str, config: &ConfigBuilder) -> usize {
    let sum = |value: u64| -> u64 {
        let config = config.clone().user("alice").unwrap().mail_quota(1 << 20).limit("mail_count", 0);
        let config = config.limit(limit, value);
        config.build().unwrap().memory_shares().iter().map(|share| share.len).sum()
    };
    usize::try_from(sum(101) - sum(100)).unwrap()
}

/// A session in which this side has five chains of the other side, each with as many keys as it keeps of messages that have
/// not come.
fn fullest_session() -> Box<dyn SessionCipher> {
    let (mut alice, mut bob) = (Olm::restore(None).unwrap(), Olm::restore(None).unwrap());
    let keys = DeviceKeys { identity: alice.identity(), prekey: alice.add_prekey(), seal: SealKey([1; 32]) };
    let mut theirs = bob.start(&keys).unwrap();
    let first = theirs.seal(b"hello").unwrap();
    let mut ours = alice.accept(&bob.identity(), &first).unwrap().session;
    for _ in 0..6 {
        let answer = ours.seal(b"an answer").unwrap();
        theirs.open(&answer).unwrap();
        (0..MAX_SKIPPED_KEYS).for_each(|_| _ = theirs.seal(b"never comes").unwrap());
        let last = theirs.seal(b"comes").unwrap();
        ours.open(&last).unwrap();
    }
    ours
}

#[test]
fn a_session_takes_no_more_than_is_counted_and_not_much_less() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let [on_disk, in_memory] = [Config::builder("/nowhere"), Config::in_memory()]
        .map(|config| counted("stranger_sessions", &config));
    let session = fullest_session();
    let state = session.state();
    let before = Counting::in_use();
    let again = Olm::restore(None).unwrap().restore(&state).unwrap();
    let open = Counting::in_use() - before;
    drop(again);
    // One that was not used since the profile was opened is kept as it lies on disk.
    let saved = state.reveal().len();
    eprintln!("a session takes {open} bytes of {in_memory}, its state {saved} of {on_disk}");
    assert!(open <= in_memory && in_memory <= 2 * open, "{open} of {in_memory} bytes");
    assert!(saved <= on_disk && on_disk <= 2 * saved, "{saved} of {on_disk} bytes");
}

/// How many connections are measured together.
const CONNECTIONS: u8 = 8;

/// A node, and peers of which each has a connection to it and no longer hears what it says.
struct Net {
    node: StreamNode,
    peers: Vec<StreamPeer>,
    now: Now,
}

fn place(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 4000).into()
}

impl Net {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time needs a first instant; only differences matter"
    )]
    fn new() -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp::from_unix_ms(1_800_000_000_000) };
        let key = SecretKey::from_bytes(&[200; 32]);
        let mut net = Self { node: StreamNode::new(&key, "peerchat", [0; 32], now), peers: Vec::new(), now };
        for number in 0..CONNECTIONS {
            let mut peer =
                StreamPeer::new(&SecretKey::from_bytes(&[number + 1; 32]), "peerchat", [number; 32]);
            peer.connect(&key.public().into(), place(200), now);
            net.peers.push(peer);
            while net.hand_over(number, |_| true) {
                while let Some(transmit) = net.node.poll_transmit() {
                    net.peers[usize::from(number)].handle_datagram(place(200), &transmit.bytes, now);
                }
            }
        }
        net
    }

    /// Gives the node what a peer has sent, as far as it is not lost; tells whether there was anything.
    fn hand_over(&mut self, number: u8, mut arrives: impl FnMut(usize) -> bool) -> bool {
        let sent = self.peers[usize::from(number)].take_transmits();
        for (_, transmit) in sent.iter().enumerate().filter(|(index, _)| arrives(*index)) {
            self.node.handle_datagram(place(number), &transmit.bytes, true, self.now);
        }
        !sent.is_empty()
    }

    /// The same, while what the node says is lost.
    fn push(&mut self, number: u8, arrives: impl FnMut(usize) -> bool) {
        self.hand_over(number, arrives);
        while self.node.poll_transmit().is_some() {}
    }

    fn act(&mut self, number: u8, deed: Deed<'_>) {
        self.peers[usize::from(number)].act(deed, self.now);
        // A peer does not send everything at once.
        self.now = self.now.after(Duration::from_micros(20));
    }

    /// Answers whatever was asked, at length.
    fn answer(&mut self, len: usize) {
        while let Some(event) = self.node.poll_event() {
            if let Ok(TransportEvent::Request { token, .. }) = event {
                self.node.reply(token, 1, &vec![7; len], self.now);
            }
        }
        while self.node.poll_transmit().is_some() {}
    }

    /// Returns what each connection takes of the node's memory.
    fn cost(self) -> usize {
        let Self { node, peers, .. } = self;
        drop(peers);
        let with = Counting::in_use();
        drop(node);
        (with - Counting::in_use()) / usize::from(CONNECTIONS)
    }
}

/// Two answers that nobody takes fill the window of one direction.
fn leave_answers(net: &mut Net, number: u8) {
    for at in 0..2 {
        net.act(number, Deed::Open(&[1]));
        net.act(number, Deed::Finish(at));
    }
    net.push(number, |_| true);
    net.answer(MAX_STREAM_BODY_LEN - 100);
}

/// What comes after a part that is missing fills the window of the other direction.
fn leave_gaps(net: &mut Net, number: u8, streams: std::ops::Range<usize>) {
    for at in streams {
        net.act(number, Deed::Open(&[1; 1000]));
        net.push(number, |_| false);
        for _ in 0..64 {
            net.act(number, Deed::Write(at, &[1; 1000]));
            net.push(number, |_| true);
        }
    }
}

/// Bytes with one missing between any two of them, on every stream.
fn leave_crumbs(net: &mut Net, number: u8, parts: usize) {
    for at in 0..16 {
        net.act(number, Deed::Open(&[1]));
        net.push(number, |_| false);
        for part in 0..parts {
            net.act(number, Deed::Write(at, &[1]));
            net.push(number, |_| part % 2 == 1);
        }
    }
}

#[test]
fn a_connection_takes_no_more_than_is_counted_and_not_much_less() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let counted = counted("connections", &Config::builder("/nowhere"));
    let cost = |what: &str, fill: &dyn Fn(&mut Net, u8)| {
        let mut net = Net::new();
        (0..CONNECTIONS).for_each(|number| fill(&mut net, number));
        let cost = net.cost();
        eprintln!("a connection with {what} takes {cost} bytes, {counted} are counted");
        cost
    };
    cost("nothing going on", &|_, _| {});
    cost("answers that nobody takes", &leave_answers);
    cost("something missing", &|net, number| leave_gaps(net, number, 0..2));
    let full = cost("both windows full", &|net, number| {
        leave_answers(net, number);
        leave_gaps(net, number, 2..4);
    });
    let most = full;
    assert!(most <= counted && counted <= 2 * most, "{most} of {counted} bytes");
    // What takes more than the windows counts for the limit of what has not come whole.
    let crumbs = cost("single bytes with gaps between them", &|net, number| leave_crumbs(net, number, 2000));
    let partial_len = Config::builder("/nowhere").build().unwrap().limits().get("partial_len").unwrap();
    let counted = counted + partial_len / usize::from(CONNECTIONS);
    assert!(crumbs <= counted, "{crumbs} of {counted} bytes");
}
