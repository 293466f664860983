//! The scenarios of the original, on real sockets and disks.

use peerchat_core::MessageState;
use peerchat_soak::crowd::{Crowd, Place};

#[test]
fn twenty_of_eighty_users_all_write_to_one_another() {
    let mut crowd = Crowd::gather(80).unwrap();
    let writers: Vec<usize> = (0..80).step_by(4).collect();
    for from in &writers {
        for to in &writers {
            crowd.send(*from, *to).unwrap();
        }
    }
    crowd.wait_until_shown().unwrap();
    crowd.check().unwrap();
    assert_eq!(crowd.ledger().accepted_count(), 400);
}

#[test]
fn who_logs_off_is_seen_to_be_away_and_found_again_at_the_same_address_or_another() {
    const COUNT: usize = 24;
    let mut crowd = Crowd::gather(COUNT).unwrap();
    let away: Vec<usize> = (0..COUNT).step_by(3).collect();
    let there: Vec<usize> = (0..COUNT).filter(|number| !away.contains(number)).collect();
    away.iter().for_each(|number| crowd.log_off(*number).unwrap());
    // The rest find each other, and where those were who left; what is written to these waits.
    for (index, asker) in there.iter().enumerate() {
        crowd.find(*asker, there[(index + 5) % there.len()]).unwrap();
        crowd.find(*asker, away[index % away.len()]).unwrap();
    }
    let waiting: Vec<_> =
        away.iter().zip(&there).map(|(to, from)| (*from, crowd.send(*from, *to).unwrap())).collect();
    for (from, message) in &waiting {
        crowd
            .wait_until("a message to who is away is stored", |crowd| {
                crowd.state(*from, *message) == Some(MessageState::Stored)
            })
            .unwrap();
    }
    // Back at the same address.
    away.iter().for_each(|number| crowd.log_on(*number, Place::Same).unwrap());
    crowd.wait_until_shown().unwrap();
    for (index, sought) in away.iter().enumerate() {
        crowd.find(there[index], *sought).unwrap();
        crowd.find(*sought, there[index]).unwrap();
    }
    for (from, message) in waiting {
        crowd
            .wait_until("what waited is known to be delivered", |crowd| {
                crowd.state(from, message) == Some(MessageState::Delivered)
            })
            .unwrap();
    }
    // Half of all leave, and come back from elsewhere.
    let moving: Vec<usize> = (0..COUNT).step_by(2).collect();
    let before: Vec<_> = moving.iter().map(|number| crowd.address(*number)).collect();
    moving.iter().for_each(|number| crowd.log_off(*number).unwrap());
    moving.iter().for_each(|number| crowd.log_on(*number, Place::New).unwrap());
    assert!(moving.iter().zip(before).all(|(number, before)| crowd.address(*number) != before));
    for asker in 0..COUNT {
        for step in [1, 4, 9] {
            crowd.find(asker, (asker + step) % COUNT).unwrap();
        }
        crowd.send(asker, (asker + 1) % COUNT).unwrap();
    }
    crowd.wait_until_shown().unwrap();
    crowd.check().unwrap();
}

#[test]
fn a_message_waits_through_a_restart_of_all_its_holders_and_the_loss_of_all_but_one() {
    const COUNT: usize = 12;
    let mut crowd = Crowd::gather(COUNT).unwrap();
    let (alice, bob) = (0, 1);
    crowd.log_off(bob).unwrap();
    let message = crowd.send(alice, bob).unwrap();
    let holder_count = u32::try_from(COUNT - 2 + crowd.anchor_count()).unwrap();
    crowd
        .wait_until("every other node keeps it", |crowd| crowd.held_by(alice, message) == holder_count)
        .unwrap();
    crowd.log_off(alice).unwrap();
    for other in 2..COUNT {
        crowd.log_off(other).unwrap();
        crowd.log_on(other, Place::Same).unwrap();
    }
    (2..COUNT).for_each(|other| crowd.log_off(other).unwrap());
    crowd.leave_one_anchor();
    crowd.log_on(bob, Place::New).unwrap();
    crowd.wait_until("it is shown", |crowd| crowd.ledger().waiting_count(|_, _| true) == 0).unwrap();
    crowd.log_on(alice, Place::New).unwrap();
    crowd
        .wait_until("it is known to be delivered", |crowd| {
            crowd.state(alice, message) == Some(MessageState::Delivered)
        })
        .unwrap();
}
