use std::future::Future as _;
use std::task::{Context, Waker};

use super::*;
use crate::event::MessageState;
use crate::kademlia::NodeId;

fn message(number: u64) -> Event {
    // Any event will do: the queue looks at positions only.
    Event::Online { contact_count: usize::try_from(number).unwrap() }
}

fn state(position: u64, state: MessageState) -> Event {
    let id = MessageId::new(&NodeId::from_bytes([0; 32]), position);
    Event::MessageState { id, to: String::new(), state, held_by: 0, code: None, detail: String::new() }
}

fn take(queue: &EventQueue) -> Option<Event> {
    queue.wait(Some(Duration::ZERO)).unwrap()
}

/// The longest address of a person, and the longest that a detail says.
#[test]
fn an_event_takes_no_more_than_is_counted() {
    const LONGEST_NAME: usize = crate::identity::MAX_NAME_LEN + "#7kq2m4xd".len();
    const DETAIL: usize = 64;
    let entry = crate::limits::entry::<Sequence, Entry>() + crate::limits::entry::<MessageId, Sequence>();
    assert!(entry + LONGEST_NAME + DETAIL <= crate::limits::EVENT_LEN, "{entry} bytes");
}

#[test]
fn asking_for_the_next_message_confirms_the_last() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.push_message(5, message(5));
    assert_eq!(take(&queue), Some(message(5)));
    assert_eq!(queue.confirmed(), 0);
    assert_eq!(take(&queue), None);
    assert_eq!(queue.confirmed(), 5);
}

#[test]
fn the_driver_is_woken_once_for_what_is_confirmed_until_it_saves_it() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    let is_woken = || {
        let taken = std::pin::pin!(queue.taken());
        taken.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    (1..=4).for_each(|position| queue.push_message(position, message(position)));
    take(&queue);
    assert!(!is_woken(), "nothing is confirmed");
    take(&queue);
    assert!(is_woken());
    take(&queue);
    assert!(!is_woken(), "it saves that as well when it comes to it");
    assert_eq!(queue.take_confirmed(), 2);
    take(&queue);
    assert!(is_woken());
}

#[test]
fn closing_confirms_what_was_taken_and_wakes_the_reader() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.push_message(5, message(5));
    take(&queue);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| queue.wait(None));
        queue.close();
        // The waiter may have come first and confirmed, or not; either way it is told.
        assert!(matches!(waiter.join().unwrap(), Err(Error::Closed)));
    });
    assert_eq!(queue.confirmed(), 5);
}

#[test]
fn states_of_one_message_coalesce_in_the_first_ones_place() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.push(state(1, MessageState::Queued));
    queue.push(state(2, MessageState::Queued));
    queue.push(state(1, MessageState::Delivered));
    assert_eq!(take(&queue), Some(state(1, MessageState::Delivered)));
    assert_eq!(take(&queue), Some(state(2, MessageState::Queued)));
    assert_eq!(take(&queue), None);
}

#[test]
fn only_the_latest_word_on_being_online_is_told() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.push(Event::Online { contact_count: 1 });
    queue.push(Event::Offline);
    assert_eq!(take(&queue), Some(Event::Offline));
    assert_eq!(take(&queue), None);
}

#[test]
fn only_the_latest_word_on_who_is_typing_is_told() {
    let typing = |seed: u8, is_typing| {
        let user = UserId::from_bytes([seed; 32]);
        Event::Typing { from: seed.to_string(), user, is_typing }
    };
    let queue = EventQueue::new(0, 0, Limits::shared());
    for is_typing in [true, false].repeat(1000) {
        queue.push(typing(1, is_typing));
    }
    queue.push(typing(2, true));
    queue.push(typing(1, true));
    assert_eq!(queue.inner.lock().waiting.len(), 2);
    assert_eq!([take(&queue), take(&queue)], [Some(typing(2, true)), Some(typing(1, true))]);
    assert_eq!(take(&queue), None);
    queue.push(typing(1, false));
    assert_eq!(take(&queue), Some(typing(1, false)), "what was taken is not taken back");
    assert!(queue.inner.lock().typing.is_empty());
}

#[test]
fn a_slow_reader_gets_everything_from_disk() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    let most = Limits::default().event_messages;
    let count = 5 * most as u64;
    for position in 1..=count {
        queue.push_message(position, message(position));
    }
    let mut seen = Vec::new();
    while (seen.len() as u64) < count {
        if let Some(from) = queue.start_refill() {
            let to = (from + most as u64).min(count);
            queue.finish_refill(to, (from + 1..=to).map(|position| (position, message(position))).collect());
        }
        assert!(queue.inner.lock().waiting.len() <= most + most / 2);
        seen.extend(take(&queue));
    }
    assert_eq!(seen, (1..=count).map(message).collect::<Vec<_>>());
}

#[test]
fn messages_that_arrive_during_a_refill_are_read_by_the_next_one() {
    let queue = EventQueue::new(0, 3, Limits::shared());
    assert_eq!(queue.start_refill(), Some(0));
    queue.push_message(4, message(4));
    queue.finish_refill(3, vec![(2, message(2))]);
    assert_eq!(queue.start_refill(), Some(3));
    queue.finish_refill(4, vec![(4, message(4))]);
    assert_eq!(queue.start_refill(), None);
    assert_eq!([take(&queue), take(&queue)], [Some(message(2)), Some(message(4))]);
}

#[test]
fn a_message_that_a_refill_has_read_is_not_told_again() {
    let queue = EventQueue::new(0, 1, Limits::shared());
    assert_eq!(queue.start_refill(), Some(0));
    // The read sees a message whose saving has not been told yet.
    queue.finish_refill(2, vec![(1, message(1)), (2, message(2))]);
    queue.push_message(2, message(2));
    queue.push_message(3, message(3));
    let told = [take(&queue), take(&queue), take(&queue), take(&queue)];
    assert_eq!(told, [Some(message(1)), Some(message(2)), Some(message(3)), None]);
}

#[test]
fn nothing_follows_the_last_event() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.close_after(Some(Event::Closed { code: crate::ErrorCode::Storage, detail: String::new() }));
    queue.push(Event::Offline);
    queue.push_message(1, message(1));
    assert!(matches!(take(&queue), Some(Event::Closed { .. })));
    assert!(matches!(queue.wait(None), Err(Error::Closed)));
}

#[test]
fn a_node_that_dies_says_so_last() {
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.push_message(1, message(1));
    queue.close_after(Some(Event::Closed { code: crate::ErrorCode::Storage, detail: String::new() }));
    assert_eq!(take(&queue), Some(message(1)));
    assert!(matches!(take(&queue), Some(Event::Closed { .. })));
    assert!(matches!(queue.wait(None), Err(Error::Closed)));
}

#[test]
fn the_descriptor_is_readable_while_an_event_waits() {
    let is_readable = |queue: &EventQueue| queue.inner.lock().pipe.as_ref().unwrap().is_full;
    let queue = EventQueue::new(0, 0, Limits::shared());
    queue.push(Event::Offline);
    queue.descriptor().unwrap();
    assert!(is_readable(&queue));
    take(&queue);
    assert!(!is_readable(&queue));
    queue.close();
    assert!(is_readable(&queue));
    assert!(queue.descriptor().is_err());
}

#[test]
fn of_too_many_events_the_oldest_state_is_dropped_and_counted() {
    let limits = Limits { events: 3, ..Limits::default() };
    let queue = EventQueue::new(0, 0, Arc::new(limits));
    let node = crate::kademlia::NodeId::from_bytes([1; 32]);
    let state = |number| Event::MessageState {
        id: MessageId::new(&node, number),
        to: "bob".into(),
        state: crate::event::MessageState::Queued,
        held_by: 0,
        code: None,
        detail: String::new(),
    };
    queue.push(Event::Offline);
    (1..=4).for_each(|number| queue.push(state(number)));
    assert_eq!(queue.dropped_count(), 2);
    let taken: Vec<_> = std::iter::from_fn(|| queue.wait(Some(Duration::ZERO)).unwrap()).collect();
    assert_eq!(taken, [Event::Offline, state(3), state(4)]);
}
