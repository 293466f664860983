//! Mail is kept by the nodes closest to its recipient, in networks of real engines on virtual time.

use std::time::Duration;

use peerchat_core::kademlia::RecordKey;
use peerchat_core::mail::{
    Admission, EnvelopeHeader, EnvelopeId, MailRefusal, MailRequest, MailResponse, Release, STRANGERS_KEPT,
    SealedEnvelope, Work,
};
use peerchat_core::wire::{Request, Response};
use peerchat_sim::{Behaviour, Churn, Host, Network, model};

const SETTLE: Duration = Duration::from_secs(20);

/// A network with bob in it, and his mailbox.
struct Post {
    net: Network,
    hosts: Vec<Host>,
    bob: Host,
    mailbox: RecordKey,
}

impl Post {
    fn new(seed: u64, count: usize) -> Self {
        let mut net = Network::with_seed(seed);
        let hosts: Vec<Host> = (0..count).map(|number| net.join(&format!("user{number}"))).collect();
        let bob = net.join("bob");
        net.run_for(SETTLE);
        let user = net.engine(bob).unwrap().user_id().unwrap();
        Self { net, hosts, bob, mailbox: RecordKey::of_user(user.as_bytes()) }
    }

    /// The same without bob's engine, which would collect what it cannot open and release it: the test asks in his name.
    fn without_engine(seed: u64, count: usize) -> Self {
        let mut post = Self::new(seed, count);
        post.net.take_over(post.bob, Behaviour::Silent);
        post
    }

    fn envelope(&self, number: u64) -> SealedEnvelope {
        let header = EnvelopeHeader {
            mailbox: self.mailbox,
            device: self.net.contact(self.bob).id(),
            expires: self.net.now().wall.saturating_add(Duration::from_secs(30 * 24 * 3600)),
        };
        let mut body = vec![0; 512];
        body[..8].copy_from_slice(&number.to_be_bytes());
        SealedEnvelope::new(&header, &body).unwrap()
    }

    /// Returns the hosts closest to the mailbox, nearest first, without bob.
    fn closest(&self, count: usize) -> Vec<Host> {
        let contacts: Vec<_> = self.hosts.iter().map(|host| self.net.contact(*host)).collect();
        let closest = model::closest(&contacts, &self.mailbox.place(), count);
        let host = |key| self.hosts.iter().find(|host| self.net.contact(**host).key() == key);
        closest.iter().map(|contact| *host(contact.key()).unwrap()).collect()
    }

    fn ask(&mut self, from: Host, to: Host, request: MailRequest) -> MailResponse {
        match self.net.ask(from, to, Request::Mail(request)) {
            Some(Response::Mail(response)) => response,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn deposit(&mut self, from: Host, to: Host, envelope: &SealedEnvelope) -> MailResponse {
        self.ask(from, to, MailRequest::Deposit { envelope: envelope.as_bytes().to_vec() })
    }

    fn collect(&mut self, holder: Host) -> Vec<EnvelopeId> {
        match self.ask(self.bob, holder, MailRequest::Collect { mailbox: self.mailbox, after: 0 }) {
            MailResponse::Listed { ids, .. } => ids,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn fetch(&mut self, holder: Host, id: EnvelopeId) -> MailResponse {
        self.ask(self.bob, holder, MailRequest::Fetch { mailbox: self.mailbox, id })
    }

    fn release(&mut self, holder: Host, ids: &[EnvelopeId]) -> MailResponse {
        let signature = self.net.node_key(self.bob).sign(&Release::signed_bytes(&self.mailbox, ids)).to_vec();
        let device = self.net.contact(self.bob).key();
        let release = Release { mailbox: self.mailbox, device, ids: ids.to_vec(), signature };
        self.ask(self.bob, holder, MailRequest::Release(release))
    }
}

#[test]
fn all_holders_restart_and_still_have_the_mail() {
    let mut post = Post::without_engine(1, 30);
    let envelope = post.envelope(1);
    let holders = post.closest(12);
    let sender = post.hosts[3];
    for holder in &holders {
        assert_eq!(post.deposit(sender, *holder, &envelope), MailResponse::Deposited);
    }
    holders.iter().for_each(|holder| post.net.kill(*holder));
    holders.iter().for_each(|holder| post.net.start(*holder));
    post.net.run_for(SETTLE);
    for holder in &holders {
        assert_eq!(post.collect(*holder), [envelope.id()]);
        assert_eq!(post.fetch(*holder, envelope.id()), MailResponse::Fetched(envelope.as_bytes().to_vec()));
        assert_eq!(post.release(*holder, &[envelope.id()]), MailResponse::Released);
        assert_eq!(post.net.disk(*holder).mail(), []);
    }
}

#[test]
fn what_does_not_open_is_dropped_by_all_holders_for_good() {
    let mut post = Post::new(1, 30);
    let envelope = post.envelope(1);
    let holders = post.closest(12);
    let (sender, bob) = (post.hosts[3], post.bob);
    // He would collect it.
    post.net.stop(bob);
    for holder in &holders {
        assert_eq!(post.deposit(sender, *holder, &envelope), MailResponse::Deposited);
    }
    holders.iter().for_each(|holder| post.net.kill(*holder));
    holders.iter().for_each(|holder| post.net.start(*holder));
    post.net.run_for(SETTLE);
    for holder in &holders {
        assert_eq!(post.net.disk(*holder).mail().len(), 1);
    }
    // It holds nothing that opens, so he has them drop it.
    post.net.start(bob);
    post.net.run_for(3 * SETTLE);
    for holder in &holders {
        assert_eq!(post.net.disk(*holder).mail(), []);
        post.net.kill(*holder);
        post.net.start(*holder);
    }
    post.net.run_for(SETTLE);
    for holder in &holders {
        assert_eq!(post.deposit(sender, *holder, &envelope), MailResponse::Refused(MailRefusal::Gone));
    }
}

#[test]
fn nodes_that_are_far_from_a_mailbox_keep_no_mail_for_it() {
    let mut post = Post::without_engine(2, 60);
    let envelope = post.envelope(1);
    let sender = post.hosts[3];
    let ranked = post.closest(60);
    assert_eq!(post.deposit(sender, ranked[0], &envelope), MailResponse::Deposited);
    assert_eq!(post.deposit(sender, ranked[59], &envelope), MailResponse::Refused(MailRefusal::NotHolder));
}

/// Returns which hosts keep an envelope on their disks.
fn keepers(post: &Post, id: EnvelopeId) -> Vec<Host> {
    let keeps = |host: &&Host| post.net.disk(**host).mail().iter().any(|kept| kept.id == id);
    post.hosts.iter().filter(keeps).copied().collect()
}

/// The nodes that are left come and go meanwhile.
#[test]
fn mail_is_spread_again_after_all_holders_but_one_vanish_for_good() {
    let mut post = Post::without_engine(3, 45);
    let envelope = post.envelope(1);
    let (sender, bob) = (post.hosts[3], post.bob);
    post.net.stop(bob);
    let holders = post.closest(18);
    for holder in &holders {
        assert_eq!(post.deposit(sender, *holder, &envelope), MailResponse::Deposited);
    }
    let (survivor, lost) = holders.split_last().unwrap();
    lost.iter().for_each(|host| post.net.kill(*host));
    post.hosts.retain(|host| !lost.contains(host));
    let others: Vec<Host> = post.hosts.iter().copied().filter(|host| host != survivor).collect();
    let (median_session, median_absence) = (Duration::from_secs(2400), Duration::from_secs(600));
    post.net.churn(&others, Churn { median_session, median_absence });
    post.net.link_mut().loss = 0.03;
    post.net.run_for(Duration::from_secs(5400));
    let keepers = keepers(&post, envelope.id());
    assert!(keepers.contains(survivor));
    let found = post.closest(20).iter().filter(|host| keepers.contains(host)).count();
    assert_eq!(found, 20, "of the 20 that are closest now");
}

/// A holder is away when bob releases his mail, and comes back with it: nobody takes it again.
#[test]
fn what_was_released_is_not_spread_again_by_a_holder_that_was_away() {
    let mut post = Post::without_engine(8, 30);
    let envelope = post.envelope(1);
    let sender = post.hosts[3];
    let holders = post.closest(18);
    for holder in &holders {
        assert_eq!(post.deposit(sender, *holder, &envelope), MailResponse::Deposited);
    }
    let (away, others) = holders.split_last().unwrap();
    post.net.kill(*away);
    for holder in others {
        assert_eq!(post.release(*holder, &[envelope.id()]), MailResponse::Released);
    }
    post.net.start(*away);
    post.net.run_for(Duration::from_secs(3 * 3600));
    let keepers = keepers(&post, envelope.id());
    assert_eq!(keepers, [*away], "one node's word drops nothing, and nobody else has it");
}

/// Whoever cannot be reached any more, as after a start behind a NAT, may be reached again.
#[test]
fn a_node_that_stops_serving_keeps_its_mail() {
    let mut post = Post::without_engine(9, 40);
    let envelope = post.envelope(1);
    let sender = post.hosts[3];
    let holder = post.closest(1)[0];
    for host in post.closest(18) {
        assert_eq!(post.deposit(sender, host, &envelope), MailResponse::Deposited);
    }
    post.net.kill(holder);
    post.net.hide(holder);
    post.net.start(holder);
    post.net.run_for(Duration::from_secs(3 * 3600));
    assert!(!post.net.engine(holder).unwrap().node().is_serving());
    assert!(keepers(&post, envelope.id()).contains(&holder));
}

#[test]
fn newcomers_that_are_closer_take_the_mail_and_those_they_replace_drop_it() {
    let mut post = Post::without_engine(4, 25);
    let envelopes: Vec<_> = (0..30).map(|number| post.envelope(number)).collect();
    let (sender, bob) = (post.hosts[3], post.bob);
    post.net.stop(bob);
    let holders = post.closest(18);
    for holder in &holders {
        for envelope in &envelopes {
            assert_eq!(post.deposit(sender, *holder, envelope), MailResponse::Deposited);
        }
    }
    for number in 100..160 {
        let host = post.net.join(&format!("user{number}"));
        post.hosts.push(host);
    }
    post.net.run_for(Duration::from_secs(3 * 3600));
    let closest = post.closest(20);
    for envelope in &envelopes {
        let keepers = keepers(&post, envelope.id());
        let found = closest.iter().filter(|host| keepers.contains(host)).count();
        assert!(found >= 18, "{found} of the 20 that are closest now have it");
        // Those few as well that are among the closest with the slack, each by what it knows.
        assert!(keepers.len() <= 20 + 10, "{} nodes keep it", keepers.len());
    }
    assert!(holders.iter().any(|host| post.net.disk(*host).mail().is_empty()), "nobody has dropped anything");
}

#[test]
fn who_returns_is_told_at_once_that_mail_waits() {
    let mut post = Post::new(5, 12);
    let (sender, bob) = (post.hosts[3], post.bob);
    post.net.stop(bob);
    let envelope = post.envelope(1);
    for holder in post.closest(12) {
        assert_eq!(post.deposit(sender, holder, &envelope), MailResponse::Deposited);
    }
    post.net.start(bob);
    post.net.run_for(SETTLE);
    assert!(post.net.announced(bob) > 0, "no holder said that something waits");
}

#[test]
fn nobody_keeps_their_own_mail() {
    let mut post = Post::new(6, 8);
    let (sender, bob, envelope) = (post.hosts[3], post.bob, post.envelope(1));
    assert_eq!(post.deposit(sender, bob, &envelope), MailResponse::Refused(MailRefusal::NotHolder));
}

/// A flood from one network fills what strangers have without work; everybody else's mail stays, and who works gets in.
#[test]
fn a_flood_from_one_address_stays_within_its_share_and_leaves_room() {
    let mut post = Post::without_engine(7, 8);
    let (flooder, sender, holder) = (post.hosts[1], post.hosts[3], post.hosts[5]);
    let real = post.envelope(u64::MAX);
    assert_eq!(post.deposit(sender, holder, &real), MailResponse::Deposited);
    let mut taken = 0;
    while post.deposit(flooder, holder, &post.envelope(taken)) == MailResponse::Deposited {
        taken += 1;
    }
    // Five eighths of the strangers' room.
    assert_eq!(taken + 1, STRANGERS_KEPT * 5 / 8);
    let another = post.envelope(u64::MAX - 1);
    let refused = post.deposit(sender, holder, &another);
    let MailResponse::Refused(MailRefusal::WorkNeeded { bits }) = refused else { panic!("{refused:?}") };
    let nonce = Work { envelope: another.id(), bits }.search(|| true).unwrap();
    let envelope = Admission::Work(nonce).deposit(another.as_bytes());
    assert_eq!(post.ask(sender, holder, MailRequest::Deposit { envelope }), MailResponse::Deposited);
    for envelope in [&real, &another] {
        assert_eq!(post.fetch(holder, envelope.id()), MailResponse::Fetched(envelope.as_bytes().to_vec()));
    }
    let mailbox = post.net.engine(holder).unwrap().mailbox();
    assert_eq!((mailbox.kept_count() as u64, mailbox.stats().refused_work), (taken + 2, 2));
}
