//! Mail is kept by the nodes closest to its recipient, in networks of real engines on virtual time.

use std::time::Duration;

use peerchat_core::kademlia::RecordKey;
use peerchat_core::mail::{
    EnvelopeHeader, EnvelopeId, MailRefusal, MailRequest, MailResponse, Release, SealedEnvelope,
};
use peerchat_core::wire::{Request, Response};
use peerchat_sim::{Host, Network, model};

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
    let mut post = Post::new(1, 30);
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
    let mut post = Post::new(2, 60);
    let envelope = post.envelope(1);
    let sender = post.hosts[3];
    let ranked = post.closest(60);
    assert_eq!(post.deposit(sender, ranked[0], &envelope), MailResponse::Deposited);
    assert_eq!(post.deposit(sender, ranked[59], &envelope), MailResponse::Refused(MailRefusal::NotHolder));
}
