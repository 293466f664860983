//! A crowd of strangers floods a mailbox whose owner is away; who has a token does not notice, and who is patient gets
//! through.

use std::time::Duration;

use peerchat_core::event::{MessageId, MessageState};
use peerchat_core::kademlia::RecordKey;
use peerchat_core::mail::{
    Admission, EnvelopeHeader, MIN_WORK_BITS, MailRefusal, MailRequest, MailResponse, STRANGERS_LEN,
    SealedEnvelope, Work,
};
use peerchat_core::transport::ThrowawayId;
use peerchat_core::wire::{Request, Response};
use peerchat_sim::{Churn, Host, Network};

const LONG: Duration = Duration::from_secs(300);

/// As much as the crowd works for an envelope.
const CROWD_BITS: u8 = MIN_WORK_BITS + 3;

/// Deposits the largest envelopes with one holder, each host of a crowd from its own network, until more work is asked
/// for than they do.
fn flood(net: &mut Network, crowd: &[Host], (mailbox, bob): (RecordKey, Host), holder: Host) {
    let header = EnvelopeHeader {
        mailbox,
        device: net.contact(bob).id(),
        expires: net.now().wall.saturating_add(Duration::from_secs(30 * 24 * 3600)),
    };
    let mut given_up = 0;
    for (number, from) in (0_u64..).zip(crowd.iter().cycle()) {
        let mut body = vec![0; 17_920];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let envelope = SealedEnvelope::new(&header, &body).unwrap();
        let mut deposit = |with: Admission| {
            let request = MailRequest::Deposit { envelope: with.deposit(envelope.as_bytes()) };
            net.ask_as(*from, holder, Request::Mail(request), Some(ThrowawayId(7)))
        };
        let mut response = deposit(Admission::Nothing);
        if let Some(Response::Mail(MailResponse::Refused(MailRefusal::WorkNeeded { bits }))) = response
            && bits <= CROWD_BITS
        {
            let nonce = Work { envelope: envelope.id(), bits }.search(|| true).unwrap();
            response = deposit(Admission::Work(nonce));
        }
        match response {
            // Lost on the way, there or back.
            None => {}
            Some(Response::Mail(MailResponse::Deposited)) => given_up = 0,
            Some(Response::Mail(MailResponse::Refused(
                MailRefusal::WorkNeeded { .. } | MailRefusal::Full,
            ))) => {
                given_up += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
        if given_up == crowd.len() {
            break;
        }
    }
}

#[test]
fn a_hostile_crowd_keeps_out_neither_a_contact_nor_a_patient_stranger() {
    let mut net = Network::with_seed(1);
    let others: Vec<Host> = (0..4).map(|number| net.join(&format!("user{number}"))).collect();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| net.join(name));
    net.run_for(LONG);
    // Alice and Bob know each other; Carol has only found him.
    net.send(alice, "bob", "hello");
    net.run_for(LONG);
    net.send(bob, "alice", "hello to you");
    net.run_for(LONG);
    let mailbox = RecordKey::of_user(net.lookup(carol, "bob").unwrap().user.as_bytes());
    net.stop(bob);
    let holders: Vec<Host> = others.iter().copied().chain([alice, carol]).collect();
    for holder in &holders {
        let crowd: Vec<Host> = others.iter().copied().filter(|host| host != holder).collect();
        flood(&mut net, &crowd, (mailbox, bob), *holder);
        // Some of it has come from other holders.
        let mailbox = net.engine(*holder).unwrap().mailbox();
        assert!(mailbox.kept_len() >= STRANGERS_LEN * 5 / 8, "{}", mailbox.kept_len());
        assert!(mailbox.stats().refused_work > 0);
    }
    let refused = |net: &Network, what: fn(&peerchat_core::mail::MailStats) -> u64| -> u64 {
        let stats = others.iter().map(|host| what(net.engine(*host).unwrap().mailbox().stats()));
        stats.sum()
    };
    let before = refused(&net, |stats| stats.refused_work);
    assert!(before > 0);
    let by_contact = net.send(alice, "bob", "from a contact");
    net.run_for(LONG);
    let stored = |net: &Network, host, id: MessageId| net.state(host, id) == Some(MessageState::Stored);
    assert!(stored(&net, alice, by_contact));
    assert_eq!(refused(&net, |stats| stats.refused_work), before, "no work is asked of a contact");
    let by_stranger = net.send(carol, "bob", "from a stranger");
    net.run_for(LONG);
    assert!(stored(&net, carol, by_stranger));
    assert!(refused(&net, |stats| stats.refused_work) > before, "it was asked for, and done");

    net.start(bob);
    net.run_for(4 * LONG);
    let mut heard: Vec<String> = net.texts(bob).into_iter().map(|(_, text)| text).collect();
    heard.sort_unstable();
    assert_eq!(heard, ["from a contact", "from a stranger", "hello"]);
}

#[test]
fn a_hostile_crowd_that_takes_what_it_can_of_one_node_leaves_room_there_for_others() {
    const QUOTA: u64 = 4 << 20;
    let mut net = Network::with_seed(2).loss(0.02).mail_quota(QUOTA);
    let others: Vec<Host> = (0..5).map(|number| net.join(&format!("user{number}"))).collect();
    let passers: Vec<Host> = (0..4).map(|_| net.add(None)).collect();
    passers.iter().for_each(|host| net.bootstrap(*host, others[0]));
    let [alice, bob] = ["alice", "bob"].map(|name| net.join(name));
    net.run_for(LONG);
    let mailbox = RecordKey::of_user(net.lookup(alice, "bob").unwrap().user.as_bytes());
    net.stop(bob);
    net.churn(&passers, Churn::with_median(Duration::from_secs(1200)));
    let (holder, crowd) = (others[0], &others[1..]);
    flood(&mut net, crowd, (mailbox, bob), holder);
    let kept = |net: &Network| {
        let mailbox = net.engine(holder).unwrap().mailbox();
        (mailbox.kept_len(), mailbox.stats().refused_full)
    };
    let (len, refused) = kept(&net);
    // Each of the four networks takes an eighth of what it leaves free at most.
    assert!(len > QUOTA / 4 && len < QUOTA / 2, "{len}");
    assert!(refused >= 4);
    let id = net.send(alice, "bob", "in spite of all");
    net.run_for(LONG);
    assert_eq!(net.state(alice, id), Some(MessageState::Stored));
    assert_eq!(kept(&net).1, refused, "alice is refused nothing");
    assert!(kept(&net).0 > len, "and it is kept there too");
    net.stop(alice);
    others[1..].iter().for_each(|host| net.stop(*host));
    net.start(bob);
    net.run_for(2 * LONG);
    assert_eq!(net.texts(bob), [("alice".to_owned(), "in spite of all".to_owned())]);
}
