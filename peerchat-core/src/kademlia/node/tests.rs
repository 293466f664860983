use std::time::Duration;

use super::sim::{HOUR, Network};
use super::*;

/// Makes a network of `size` hosts that join one after another, each publishing a record of its own at once.
fn grown(mut net: Network, size: u8) -> (Network, Vec<Record>) {
    let mut records = Vec::new();
    for user in 0..size {
        let host = if user == 0 { net.add() } else { net.join(usize::from(user) * 7 % usize::from(user)) };
        let record = net.user_record(user);
        net.publish(host, &record);
        records.push(record);
    }
    net.settle();
    (net, records)
}

fn assert_everyone_finds(net: &mut Network, records: &[Record]) {
    for host in 0..net.hosts.len() {
        for record in records {
            let found = net.find_value(host, record.header().key, 1);
            assert_eq!(found.values.first().map(|value| &value.record), Some(record), "from host {host}");
        }
    }
}

#[test]
fn everyone_finds_every_record_in_a_network_that_just_grew() {
    let start = std::time::Instant::now();
    let (mut net, records) = grown(Network::with_seed(1), 100);
    eprintln!("grown {:?} sent {:?} virtual {:?}", start.elapsed(), net.sent, net.now);
    let mut kept = 0;
    for r in &records {
        let closest = net.closest(&r.header().key.place(), 20);
        let holders = net.holders(&r.header().key);
        kept += closest.iter().filter(|h| holders.contains(h)).count();
        if !closest.iter().all(|h| holders.contains(h)) {
            eprintln!(
                "missing {:?} of {:?}",
                closest.iter().filter(|h| !holders.contains(h)).collect::<Vec<_>>(),
                closest
            );
        }
    }
    eprintln!("kept by {kept} of {} closest", 20 * records.len());
    assert_everyone_finds(&mut net, &records);
    eprintln!("found {:?} sent {:?} virtual {:?}", start.elapsed(), net.sent, net.now);
    let _ = HOUR;
    let _ = Duration::ZERO;
}
