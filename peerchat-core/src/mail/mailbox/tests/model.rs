//! Whatever happens to a mailbox, a naive model says what it answers.

use proptest::prelude::*;

use super::*;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Deposit { number: u64, days: u64, network: u8 },
    Release { number: u64, days: u64 },
    Fetch { number: u64, days: u64 },
    Collect,
    Write,
    Wait { hours: u64 },
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let (number, days) = (0..12_u64, 1..4_u64);
    prop_oneof![
        6 => (number.clone(), days.clone(), 0..3_u8)
            .prop_map(|(number, days, network)| Step::Deposit { number, days, network }),
        2 => (number.clone(), days.clone()).prop_map(|(number, days)| Step::Release { number, days }),
        2 => (number, days).prop_map(|(number, days)| Step::Fetch { number, days }),
        2 => Just(Step::Collect),
        4 => Just(Step::Write),
        2 => (1..30_u64).prop_map(|hours| Step::Wait { hours }),
        1 => Just(Step::PowerCut),
    ]
}

/// One envelope that the model keeps.
#[derive(Clone, Debug)]
struct Entry {
    id: EnvelopeId,
    expires: Timestamp,
    network: u8,
}

/// What is kept and what was released: at the end of everything that was asked for, and on disk.
#[derive(Clone, Debug, Default)]
struct State {
    kept: Vec<Entry>,
    released: Vec<(EnvelopeId, Timestamp)>,
}

impl State {
    fn expire(&mut self, now: Timestamp) {
        self.kept.retain(|entry| entry.expires > now);
        self.released.retain(|(_, expires)| *expires > now);
    }

    /// Says what a deposit is answered, and keeps it if it is to be kept.
    fn deposit(&mut self, quota: u64, entry: Entry, now: Timestamp) -> MailResponse {
        if entry.expires <= now {
            return refused(MailRefusal::Invalid);
        }
        if self.kept.iter().any(|kept| kept.id == entry.id) {
            return MailResponse::Deposited;
        }
        if self.released.iter().any(|(id, _)| *id == entry.id) {
            return refused(MailRefusal::Gone);
        }
        let of_network = self.kept.iter().filter(|kept| kept.network == entry.network).count() as u64;
        let free = quota - self.kept.len() as u64 * SMALL;
        let is_fair = entry.network == 0 || (of_network + 1) * SMALL * TOTAL_SHARE <= free;
        if free < SMALL || !is_fair {
            return refused(MailRefusal::Full);
        }
        self.kept.push(entry);
        MailResponse::Deposited
    }

    fn release(&mut self, id: EnvelopeId, now: Timestamp) {
        let found = self.kept.iter().position(|kept| kept.id == id);
        let removed = found.map(|index| self.kept.remove(index).expires);
        if removed.is_some() || !self.released.iter().any(|(other, _)| *other == id) {
            self.released.push((id, removed.unwrap_or_else(|| now.saturating_add(MAX_MAIL_LIFETIME))));
        }
    }
}

proptest! {
    #[test]
    fn a_mailbox_answers_as_the_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        let quota = 30 * SMALL;
        let mut desk = Desk::new(quota);
        let start = desk.now.wall;
        let mut state = State::default();
        // The states that are on their way to the disk, and the one that is there.
        let (mut saving, mut on_disk): (VecDeque<State>, State) = (VecDeque::new(), State::default());
        let mut expected: BTreeMap<MailTag, MailResponse> = BTreeMap::new();
        let envelope = |number, days| sealed(number, 512, start.saturating_add(DAY * u32::try_from(days).unwrap()));
        for step in steps {
            let now = desk.now;
            match step {
                Step::Deposit { number, days, network } => {
                    let (tag, envelope) = (desk.tag(), envelope(number, days));
                    let address = ["127.0.0.1:1", "1.1.1.1:1", "2.2.2.2:1"][usize::from(network)];
                    desk.mailbox.handle_deposit(tag, &contact(address), envelope.as_bytes(), &holder(), now);
                    let entry = Entry { id: envelope.id(), expires: envelope.header().expires, network };
                    let answer = state.deposit(quota, entry, now.wall);
                    if answer == MailResponse::Deposited {
                        saving.push_back(state.clone());
                    }
                    expected.insert(tag, answer);
                }
                Step::Release { number, days } => {
                    let (tag, id) = (desk.tag(), envelope(number, days).id());
                    desk.mailbox.handle_release(tag, &signed(&[id]), &holder(), now);
                    state.release(id, now.wall);
                    saving.push_back(state.clone());
                    expected.insert(tag, MailResponse::Released);
                }
                Step::Fetch { number, days } => {
                    let (envelope, bytes) = (envelope(number, days), on_disk.clone());
                    let tag = desk.tag();
                    desk.mailbox.handle_fetch(tag, bob().node_id(), MAILBOX, &envelope.id(), now);
                    let is_there = [&state, &bytes].iter().all(|s| s.kept.iter().any(|e| e.id == envelope.id()));
                    desk.read();
                    let answer = desk.replies.remove(&tag).expect("a read has ended");
                    let fetched = MailResponse::Fetched(envelope.as_bytes().to_vec());
                    prop_assert_eq!(answer, if is_there { fetched } else { refused(MailRefusal::Gone) });
                }
                Step::Collect => {
                    let tag = desk.tag();
                    desk.mailbox.handle_collect(tag, bobs(), MAILBOX, 0, now);
                    desk.drain();
                    let on_disk = |entry: &&Entry| on_disk.kept.iter().any(|other| other.id == entry.id);
                    let ids = state.kept.iter().filter(on_disk).map(|entry| entry.id).collect();
                    prop_assert_eq!(desk.replies.remove(&tag), Some(MailResponse::Listed { ids, large: 0, next: None }));
                }
                Step::Write => {
                    desk.drain();
                    desk.write();
                    on_disk = saving.pop_front().unwrap_or(on_disk);
                }
                Step::Wait { hours } => {
                    desk.settle();
                    on_disk = saving.drain(..).next_back().unwrap_or(on_disk);
                    desk.now = desk.now.after(Duration::from_secs(3600 * hours));
                    desk.mailbox.expire(desk.now);
                    desk.settle();
                    state.expire(desk.now.wall);
                    on_disk.expire(desk.now.wall);
                }
                Step::PowerCut => {
                    desk.drain();
                    expected.retain(|tag, _| desk.replies.contains_key(tag));
                    desk.restart();
                    saving.clear();
                    state = on_disk.clone();
                }
            }
            desk.drain();
        }
        desk.settle();
        prop_assert_eq!(&desk.replies, &expected);
        prop_assert_eq!(desk.mailbox.kept_count(), state.kept.len());
        prop_assert_eq!(desk.mailbox.kept_len(), state.kept.len() as u64 * SMALL);
        prop_assert_eq!(desk.mailbox.released_count(), state.released.len());
        prop_assert_eq!(desk.kept.len(), state.kept.len());
        prop_assert_eq!(desk.bodies.len(), state.kept.len());
        prop_assert_eq!(desk.released.len(), state.released.len());
    }
}
