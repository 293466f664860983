//! The exact bytes of every packet. Changing them is a protocol change: raise [`PROTOCOL_VERSION`] and say so in the
//! changelog.

use super::*;

/// Writes bytes as rows of sixteen.
fn hex_rows(bytes: &[u8]) -> String {
    let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn key_request_and_reply_bytes() {
    let mut net = Net::with_hosts(2);
    net.hosts[0].transport.probe(ProbeId(1), address(1), net.now);
    net.settle();
    net.run_until_idle();
    insta::assert_snapshot!("key_request", hex_rows(&net.find(packet::KEY_REQUEST).bytes));
    insta::assert_snapshot!("key_reply", hex_rows(&net.find(packet::KEY_REPLY).bytes));
}

#[test]
fn handshake_bytes_with_an_early_request() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"question");
    insta::assert_snapshot!("init_early", hex_rows(&net.find(packet::HANDSHAKE_INIT).bytes));
    insta::assert_snapshot!("response_early", hex_rows(&net.find(packet::HANDSHAKE_RESPONSE).bytes));
    insta::assert_snapshot!("data_proof", hex_rows(&net.find(packet::DATA).bytes));
}

#[test]
fn handshake_and_data_bytes_without_an_early_request() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, false, b"question");
    insta::assert_snapshot!("init", hex_rows(&net.find(packet::HANDSHAKE_INIT).bytes));
    insta::assert_snapshot!("response", hex_rows(&net.find(packet::HANDSHAKE_RESPONSE).bytes));
    insta::assert_snapshot!("data_request", hex_rows(&net.sent[2].bytes));
    insta::assert_snapshot!("data_response", hex_rows(&net.sent[3].bytes));
}

#[test]
fn cookie_bytes() {
    let mut net = Net::with_hosts(2);
    net.overload(1);
    net.call_and_run(0, 1, false, b"question");
    insta::assert_snapshot!("cookie", hex_rows(&net.find(packet::COOKIE).bytes));
    let init = net.sent.iter().rfind(|datagram| datagram.bytes[0] == packet::HANDSHAKE_INIT).unwrap();
    insta::assert_snapshot!("init_with_cookie", hex_rows(&init.bytes));
}

#[test]
fn reset_bytes() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    net.restart(1);
    net.call_and_run(0, 1, true, b"x");
    insta::assert_snapshot!("reset", hex_rows(&net.find(packet::RESET).bytes));
}

#[test]
fn frame_bytes() {
    let mut rows = Vec::new();
    let observed = "192.0.2.1:4000".parse().unwrap();
    for frame in [
        frame::Frame::Request { id: 7, kind: 5, body: b"ask" },
        frame::Frame::Response { id: 7, kind: 5, observed, body: b"tell" },
        frame::Frame::Challenge { id: 9 },
        frame::Frame::Echo { id: 9 },
    ] {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        rows.push(hex_rows(&bytes));
    }
    insta::assert_snapshot!("frames", rows.join("\n\n"));
}

#[test]
fn secrets_are_not_printed() {
    let mut net = Net::with_hosts(2);
    net.call_and_run(0, 1, true, b"x");
    let node = &net.hosts[0].transport;
    let link = node.links.current(&net.contact(1).key()).unwrap();
    let link = format!("{link:?}");
    assert!(link.contains("keys: LinkKeys(..)"), "{link}");
    let shown = format!("{node:?}\n{:?}\n{:?}", node.local, node.ephemeral);
    insta::assert_snapshot!("debug", shown);
}
