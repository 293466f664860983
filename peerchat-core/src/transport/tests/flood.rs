//! Floods of first handshake packets, and what honest nodes notice of them.

use std::collections::BTreeSet;

use super::*;

/// Makes authentic first packets to a host, each of another node.
struct Flooder {
    local: Local,
    target: NodeKey,
    rng: ChaCha20Rng,
}

impl Flooder {
    fn against(net: &Net, host: usize) -> Self {
        let local = Local::new(&blake3::hash(b"peerchat"), &secret(200));
        Self { local, target: net.contact(host).key(), rng: ChaCha20Rng::from_seed([5; 32]) }
    }

    fn init(&mut self) -> Vec<u8> {
        let ephemeral = Ephemeral::draw(&mut self.rng);
        self.local.initiate(&ephemeral, &self.target, 7, None).unwrap().1
    }
}

/// An address that no host has.
fn forged(number: u32) -> SocketAddr {
    ((0xc000_0000 | number).to_be_bytes(), 4000).into()
}

/// Returns the cookie that a host gave to `to` last.
fn cookie_for(net: &Net, to: SocketAddr) -> cookie::Cookie {
    let is_cookie = |datagram: &&Datagram| datagram.to == to && datagram.bytes[0] == packet::COOKIE;
    let given = net.sent.iter().rfind(is_cookie).expect("it was asked for a cookie");
    given.bytes[17..].try_into().unwrap()
}

#[test]
fn an_honest_call_succeeds_in_a_flood_from_many_addresses() {
    let mut net = Net::with_hosts(2);
    let mut flooder = Flooder::against(&net, 1);
    let packets: Vec<Vec<u8>> = (0..=CALM_INITS_PER_SECOND + 20).map(|_| flooder.init()).collect();
    for (n, init) in (0..).zip(&packets) {
        net.inject(1, forged(n), init);
    }
    let answered = net.stats(1).handshakes_answered;
    assert_eq!(answered, u64::from(CALM_INITS_PER_SECOND), "the rest is asked for a cookie");
    assert_eq!(net.stats(1).cookies_sent, 21);

    assert_eq!(body_of(&net.call_and_run(0, 1, true, b"honest")), b"honest");
    let (caller, flooded) = (net.stats(0), net.stats(1));
    assert_eq!((caller.cookies_heeded, caller.handshakes_started, caller.retransmissions), (1, 1, 0));
    assert_eq!((flooded.cookies_sent, flooded.handshakes_answered), (22, answered + 1));
    assert_eq!(flooded.dropped_rate_limited, 0);
}

#[test]
fn an_honest_call_succeeds_in_a_flood_from_one_address_that_shows_its_cookie() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    let mut flooder = Flooder::against(&net, 1);
    net.inject(1, forged(1), &flooder.init());
    let cookie = cookie_for(&net, forged(1));
    for _ in 0..2 * INITS_PER_ADDRESS {
        let mut init = flooder.init();
        packet::set_cookie(&mut init, &cookie);
        net.inject(1, forged(1), &init);
    }
    assert_eq!(net.stats(1).handshakes_answered, u64::from(INITS_PER_ADDRESS));
    assert_eq!(net.stats(1).dropped_rate_limited, u64::from(INITS_PER_ADDRESS));
    assert_eq!(body_of(&net.call_and_run(0, 1, true, b"honest")), b"honest");
}

#[test]
fn a_flood_that_guesses_at_the_key_costs_no_curve_and_is_no_load() {
    let mut net = Net::with_hosts(3);
    let mut flooder = Flooder::against(&net, 2);
    for n in 0..2 * CALM_INITS_PER_SECOND {
        net.inject(1, forged(n), &flooder.init());
    }
    let stats = net.stats(1);
    assert_eq!(stats.dropped_wrong_mac, u64::from(2 * CALM_INITS_PER_SECOND));
    assert_eq!((stats.dropped_bad_handshake, stats.cookies_sent, net.sent.len()), (0, 0, 0));
    assert_eq!(body_of(&net.call_and_run(0, 1, true, b"calm")), b"calm");
    assert_eq!(net.stats(0).cookies_heeded, 0);
}

#[test]
fn an_init_with_a_cookie_is_identical_but_for_it_and_gets_the_same_answer() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    net.call_and_run_for(0, 1, b"x");
    let inits: Vec<Datagram> =
        net.sent.iter().filter(|sent| sent.bytes[0] == packet::HANDSHAKE_INIT).cloned().collect();
    let [bare, cookied] = &inits[..] else { panic!("{} first packets", inits.len()) };
    assert_eq!((&bare.bytes[..18], &bare.bytes[34..]), (&cookied.bytes[..18], &cookied.bytes[34..]));
    assert_eq!(
        (&bare.bytes[18..34], &cookied.bytes[18..34]),
        (&[0; 16][..], &cookie_for(&net, address(0))[..])
    );

    let response = net.find(packet::HANDSHAKE_RESPONSE).bytes;
    for init in [bare, cookied] {
        net.sent.clear();
        net.inject(1, address(0), &init.bytes);
        assert_eq!(net.find(packet::HANDSHAKE_RESPONSE).bytes, response);
    }
    assert_eq!((requests(&net.hosts[1]), net.stats(1).handshakes_answered), (1, 1));
}

#[test]
fn a_cookie_of_another_address_or_another_time_is_refused() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    let mut flooder = Flooder::against(&net, 1);
    net.inject(1, forged(1), &flooder.init());
    let mut init = flooder.init();
    packet::set_cookie(&mut init, &cookie_for(&net, forged(1)));
    let other_port = SocketAddr::new(forged(1).ip(), 4001);
    for (from, asked) in [(forged(2), 2), (other_port, 3)] {
        net.inject(1, from, &init);
        assert_eq!(net.stats(1).cookies_sent, asked);
    }
    net.run_for(2 * COOKIE_LIFETIME);
    net.overload(1);
    net.inject(1, forged(1), &init);
    assert_eq!((net.stats(1).cookies_sent, net.stats(1).handshakes_answered), (4, 0));
    packet::set_cookie(&mut init, &cookie_for(&net, forged(1)));
    net.inject(1, forged(1), &init);
    assert_eq!(net.stats(1).handshakes_answered, 1);
}

#[test]
fn who_does_not_see_the_init_cannot_make_its_sender_repeat_it() {
    let mut net = Net::with_hosts(2);
    net.call(0, 1, true, b"x");
    let init = net.find(packet::HANDSHAKE_INIT).bytes;
    let mac: packet::InitMac = init[2..18].try_into().unwrap();
    net.sent.clear();
    net.inject(0, address(1), &packet::cookie(&[3; 16], &[1; 16]));
    net.inject(0, address(5), &packet::cookie(&mac, &[1; 16]));
    assert_eq!((net.sent.len(), net.stats(0).dropped_unasked), (0, 2));
    net.run_until_idle();
    assert_eq!(net.stats(0).handshakes_completed, 1);
    net.inject(0, address(1), &packet::cookie(&mac, &[1; 16]));
    assert_eq!(net.stats(0).dropped_unasked, 3, "no handshake is pending any more");
}

/// Who sees the packets may give wrong cookies, but cannot make a packet be sent for ever.
#[test]
fn a_handshake_heeds_few_cookies() {
    let mut net = Net::with_hosts(2);
    net.hosts[1].address = address(9);
    let to = Contact::new(net.contact(1).key(), address(1));
    let id = net.call_contact(0, to, true, b"x");
    let mac: packet::InitMac = net.find(packet::HANDSHAKE_INIT).bytes[2..18].try_into().unwrap();
    for n in 1..100 {
        net.inject(0, address(1), &packet::cookie(&mac, &[n; 16]));
        net.inject(0, address(1), &packet::cookie(&mac, &[n; 16]));
    }
    assert_eq!((net.sent.len(), net.stats(0).cookies_heeded), (4, 3));
    net.run_until_idle();
    assert!(is_timeout(&net.outcome(0, id).unwrap()));
    assert_eq!(net.sent.len(), 6);
}

#[test]
fn load_passes_and_nothing_is_kept_of_it() {
    let mut net = Net::with_hosts(3);
    net.overload(1);
    net.call_and_run(0, 1, true, b"x");
    assert_eq!(net.stats(0).cookies_heeded, 1);
    for host in &net.hosts {
        assert_eq!(host.transport.poll_timeout(), None);
        assert_eq!(host.transport.allowances.counted_addresses(), [0; 4]);
    }
    net.call_and_run(2, 1, true, b"x");
    assert_eq!((net.stats(1).cookies_sent, net.stats(2).cookies_heeded), (1, 0));
}

#[test]
fn a_cookie_is_remembered_for_the_next_handshake_with_the_same_peer() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    net.call_and_run_for(0, 1, b"x");
    net.hosts[0].transport.links = Links::new(MAX_LINKS, &crate::limits::Limits::default());
    net.overload(1);
    net.call_and_run_for(0, 1, b"y");
    assert_eq!((net.stats(1).cookies_sent, net.stats(1).handshakes_answered), (1, 2));
    assert_eq!((net.stats(0).cookies_heeded, net.stats(0).handshakes_completed), (1, 2));
}

#[test]
fn a_handshake_with_a_cookie_is_timed_without_the_round_trip_for_it() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    net.call_and_run(0, 1, true, b"x");
    let with_cookie = net.hosts[0].transport.links.timeout_of(&net.contact(1).key());
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    assert_eq!(with_cookie, net.hosts[0].transport.links.timeout_of(&net.contact(1).key()));
}

/// The worst that strangers can do to the tables: as many addresses as there are packets.
#[test]
fn tables_of_a_flooded_node_are_bounded() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    let mut flooder = Flooder::against(&net, 1);
    let data = [&[packet::DATA][..], &[9; 40]].concat();
    let reset = packet::reset(1, 1);
    let request = packet::key_request(&net.hosts[1].transport.network_tag, &[0; 16]);
    let init = flooder.init();
    let count = u32::try_from(2 * MAX_COUNTED_ADDRESSES).unwrap();
    for from in (0..count).map(forged) {
        for bytes in [&data, &reset, &request, &init] {
            net.inject(1, from, bytes);
        }
    }
    let [inits, others @ ..] = net.hosts[1].transport.allowances.counted_addresses();
    assert_eq!((inits, others), (0, [MAX_COUNTED_ADDRESSES; 3]), "without a cookie nobody is counted");
    let cookies: BTreeSet<Vec<u8>> = net
        .sent
        .iter()
        .filter(|sent| sent.bytes[0] == packet::COOKIE)
        .map(|sent| sent.bytes.clone())
        .collect();
    assert_eq!(cookies.len(), count as usize, "each its own");
}
