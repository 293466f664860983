//! The programs as scripts see them: processes, lines, exit codes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a line or an exit may take; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["frobnicate"][..], &["send", "--name", "alice"], &["chat", "--name", "a b"]] {
        let program = Program::start(args);
        assert_eq!(program.finish().exit_code, 2, "{args:?}");
    }
}

#[test]
fn a_new_name_cannot_send_without_an_address() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(&["send", "--data", path(data.path()), "--name", "alice", "bob", "hello"]);
    let ended = program.finish();
    assert_eq!(
        (ended.exit_code, ended.stderr.as_str()),
        (1, "peerchat: alice is new here and knows no other node; join a network with --bootstrap ADDR\n")
    );
    assert!(fs::read_dir(data.path()).unwrap().next().is_none(), "a refused command left something behind");
}

#[test]
fn a_taken_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = Program::start(&["node", "--memory", "--bind", &address]).finish();
    assert_eq!(ended.exit_code, 1);
    assert_eq!(
        ended.stderr,
        format!("peerchat: UDP address {address} is in use; choose another port, or 0 for any\n")
    );
}

#[test]
fn an_address_that_does_not_parse_is_refused() {
    let ended =
        Program::start(&["node", "--memory", "--bind", "127.0.0.1:0", "--bootstrap", "nonsense"]).finish();
    assert_eq!(ended.exit_code, 2);
    assert!(ended.stderr.contains("write host:port, [ipv6]:port or key@host:port"), "{}", ended.stderr);
}

#[test]
fn a_node_tells_when_it_is_ready_and_stops_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let mut node = Program::start(&[
        "node",
        "--memory",
        "--bind",
        "127.0.0.1:0",
        "--json",
        "--ready-file",
        path(&ready),
    ]);
    let line = node.json_line("listening");
    let from_file: Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
    assert_eq!(from_file, line);

    node.terminate();
    let ended = node.finish();
    assert_eq!((ended.exit_code, ended.stderr.as_str()), (0, ""));
    assert!(!ready.exists());
}

#[test]
fn a_node_tells_its_metrics_and_its_health() {
    let node = |bootstrap: &[&str]| {
        let args = ["node", "--memory", "--bind", "127.0.0.1:0", "--json", "--metrics", "127.0.0.1:0"];
        let mut node = Program::start(&[&args, bootstrap].concat());
        let line = node.json_line("listening");
        (node, line["metrics"].as_str().unwrap().to_owned(), line["address"].as_str().unwrap().to_owned())
    };
    let (_first, metrics, address) = node(&[]);
    let alone = http_get(&metrics, "/health");
    assert!(
        alone.starts_with("HTTP/1.1 503 ") && alone.ends_with("\r\n\r\nalone: no other node is known\n"),
        "{alone}"
    );

    let (mut second, of_second, _) = node(&["--bootstrap", &address]);
    second.json_line("online");
    let scraped = http_get(&of_second, "/metrics");
    let (head, body) = scraped.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("openmetrics-text"), "{head}");
    for line in [
        "# TYPE peerchat_contacts gauge",
        "peerchat_contacts 1",
        "peerchat_records_refused_total{reason=\"older\"} 0",
        "# EOF",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is not in\n{body}");
    }
    assert!(http_get(&of_second, "/").starts_with("HTTP/1.1 404 "));

    let taken =
        Program::start(&["node", "--memory", "--bind", "127.0.0.1:0", "--metrics", &metrics]).finish();
    assert_eq!(taken.exit_code, 1);
    assert!(
        taken.stderr.starts_with(&format!("peerchat: cannot listen on TCP address {metrics}")),
        "{}",
        taken.stderr
    );
}

#[test]
fn a_message_that_is_not_delivered_in_time_stays_queued() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let ended = Program::start(&[
        "send",
        "--data",
        path(data.path()),
        "--name",
        "alice",
        "--bootstrap",
        &address,
        "--timeout",
        "0",
        "bob",
        "hi",
    ])
    .finish();
    assert_eq!(
        (ended.exit_code, ended.stderr.as_str()),
        (3, "peerchat: 1 message is still queued; it goes out the next time this name is online\n")
    );
}

#[test]
fn scripts_and_a_chat_on_pipes_reach_a_listener() {
    let (_node, address) = node();
    let data = tempfile::tempdir().unwrap();
    let data = path(data.path());
    let mut bob = Program::start(&[
        "listen",
        "--data",
        data,
        "--name",
        "Bob",
        "--bootstrap",
        &address,
        "--count",
        "4",
        "--json",
    ]);
    assert_eq!(bob.json_line("listening")["name"], "bob");
    bob.json_line("registered");

    let send = ["send", "--data", data, "--name", "alice", "--bootstrap", &address, "bob"];
    let one = Program::start(&[&send[..], &["hello", "bob"]].concat()).finish();
    assert_eq!((one.exit_code, one.stderr.as_str()), (0, ""));
    let mut lines = Program::start(&[&send[..], &["-"]].concat());
    lines.write("first line\n\ngrüße, 你好\n");
    assert_eq!(lines.finish().exit_code, 0);
    let mut chat = Program::start(&["chat", "--data", data, "--name", "carol", "--bootstrap", &address]);
    chat.write("@bob from a pipe\n");
    let chat = chat.finish();
    assert_eq!(chat.exit_code, 0, "{}{}", chat.stdout, chat.stderr);
    assert!(chat.stdout.contains("* delivered to bob\n"), "{}", chat.stdout);

    let texts = ["hello bob", "first line", "grüße, 你好", "from a pipe"];
    for (text, from) in texts.into_iter().zip(["alice", "alice", "alice", "carol"]) {
        let message = bob.json_line("message");
        // The fingerprint is shown as long as the directory does not know the name yet.
        let name = message["from"].as_str().unwrap().split('#').next();
        assert_eq!((message["text"].as_str(), name), (Some(text), Some(from)));
    }
    assert_eq!(bob.finish().exit_code, 0);
}

/// Starts a node to join through and returns its address.
fn node() -> (Program, String) {
    let mut node = Program::start(&["node", "--memory", "--bind", "127.0.0.1:0", "--json"]);
    let address = node.json_line("listening")["address"].as_str().unwrap().to_owned();
    (node, address)
}

/// Returns the whole answer to a GET.
fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running program; it is killed if the test ends first.
struct Program {
    child: Child,
    stdout: Receiver<String>,
    seen: String,
}

/// What is left of a program.
struct Ended {
    exit_code: i32,
    stdout: String,
    stderr: String,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_peerchat"))
            .args(args)
            .env_remove("PEERCHAT_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, stdout) = channel();
        let reader = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            reader
                .lines()
                .map_while(Result::ok)
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Self { child, stdout, seen: String::new() }
    }

    /// Waits for the next JSON line of this kind; others in between are passed over.
    fn json_line(&mut self, event: &str) -> Value {
        loop {
            let line = self.stdout.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {event} line after:\n{}", self.seen));
            self.seen += &format!("{line}\n");
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["event"] == event {
                return value;
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Ends the input and waits until the program has ended by itself.
    fn finish(mut self) -> Ended {
        drop(self.child.stdin.take());
        loop {
            match self.stdout.recv_timeout(PATIENCE) {
                Ok(line) => self.seen += &format!("{line}\n"),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("still running after:\n{}", self.seen)
                }
            }
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let exit_code = self.child.wait().unwrap().code().unwrap();
        Ended { exit_code, stdout: std::mem::take(&mut self.seen), stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
