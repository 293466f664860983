//! The HTTP port of `peerchat node --metrics`: `/metrics` for Prometheus, `/health` for a supervisor.
//!
//! One request at a time on one thread, so that whoever connects to the port takes little: the requests are an operator's own,
//! and a library that serves many would hold a thread for each that is slow.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use peerchat_core::{Client, Error, Statistics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::fault::Fault;

/// Longest that one request may take to arrive, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of a request that are read; its first line is all that matters.
const MAX_REQUEST_LEN: usize = 4096;

/// Pause after a connection that could not be accepted, because the process has no descriptor left, say.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const PLAIN: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers on `address` for as long as the process lives, and returns the address with the port that the system chose.
pub(crate) fn serve(address: SocketAddr, client: &Client) -> Result<SocketAddr, Fault> {
    let (listener, bound) = bind(address).map_err(|error| {
        Fault::new(
            format!("cannot listen on TCP address {address}: {error}"),
            "choose another, or port 0 for any",
        )
    })?;
    let mut registry = Registry::with_prefix("peerchat");
    registry.register_collector(Box::new(Scrape(client.clone())));
    let client = client.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            match stream {
                // Whoever hangs up early has no answer to miss.
                Ok(stream) => drop(answer(&stream, &client, &registry)),
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    });
    Ok(bound)
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn answer(mut stream: &TcpStream, client: &Client, registry: &Registry) -> io::Result<()> {
    let request = read_request(stream)?;
    let Answer { status, kind, body } = answer_to(&request, &client.statistics(), registry);
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads the head of a request, or as much of it as comes in time.
fn read_request(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut piece = [0; 512];
    while request.len() < MAX_REQUEST_LEN && !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            read_len => request.extend_from_slice(&piece[..read_len]),
        }
    }
    Ok(request)
}

#[derive(Debug)]
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind: PLAIN, body: body.into() }
    }
}

fn answer_to(request: &[u8], statistics: &Result<Statistics, Error>, registry: &Registry) -> Answer {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/health")) => health(statistics),
        (Some(b"GET"), Some(b"/metrics")) => {
            let mut body = String::new();
            match text::encode(&mut body, registry) {
                Ok(()) => Answer { status: "200 OK", kind: OPEN_METRICS, body },
                Err(fmt::Error) => Answer::plain("503 Service Unavailable", "the node is closed\n"),
            }
        }
        (Some(b"GET"), Some(_)) => Answer::plain("404 Not Found", "there are /metrics and /health\n"),
        (Some(_), Some(_)) => Answer::plain("405 Method Not Allowed", "GET /metrics or /health\n"),
        _ => Answer::plain("400 Bad Request", "this is no request\n"),
    }
}

/// Says whether others reach this node, which is what a node is for.
fn health(statistics: &Result<Statistics, Error>) -> Answer {
    match statistics {
        Ok(Statistics { contact_count: 0, .. }) => {
            Answer::plain("503 Service Unavailable", "alone: no other node is known\n")
        }
        Ok(Statistics { is_serving: false, .. }) => {
            Answer::plain("503 Service Unavailable", "unreachable: others cannot reach this node\n")
        }
        Ok(Statistics { is_surrounded: true, .. }) => {
            Answer::plain("503 Service Unavailable", "surrounded: one party may be all that this node sees\n")
        }
        Ok(_) => Answer::plain("200 OK", "reachable\n"),
        Err(_) => Answer::plain("503 Service Unavailable", "the node is closed\n"),
    }
}

/// What the client counts, read anew for each scrape.
#[derive(Debug)]
struct Scrape(Client);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode(&self.0.statistics().map_err(|_| fmt::Error)?, &mut encoder)
    }
}

fn encode(statistics: &Statistics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let gauges: [(&str, &str, u64); 9] = [
        ("contacts", "Contacts in the routing table", statistics.contact_count as u64),
        ("records", "Records kept for the DHT", statistics.record_count as u64),
        ("serving", "1 if others can reach this node, as far as it knows", statistics.is_serving.into()),
        (
            "surrounded",
            "1 if one party may be all that the node sees, as far as it can tell",
            statistics.is_surrounded.into(),
        ),
        ("mail_envelopes", "Envelopes kept for people who are away", statistics.mail_count as u64),
        ("mail_bytes", "How much of the quota for mail they take", statistics.mail_len),
        ("links", "Encrypted links that are up", statistics.link_count as u64),
        ("connections", "QUIC connections that are up", statistics.connection_count as u64),
        ("outbox_messages", "Messages of our own that are not finished", statistics.outbox_count as u64),
    ];
    for (name, help, value) in gauges {
        let value = i64::try_from(value).map_err(|_| fmt::Error)?;
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    let counters = [
        ("mail_deposited", "Envelopes taken for people who were away", statistics.mail_deposited),
        ("mail_fetched", "Envelopes given to their recipients", statistics.mail_fetched),
        ("mail_refused", "Requests about mail that were refused", statistics.mail_refused),
        ("mail_refused_full", "Of these, for want of room", statistics.mail_refused_full),
        ("mail_refused_busy", "Of these, because too many waited", statistics.mail_refused_busy),
        (
            "mail_refused_work",
            "Of these, because a stranger had not worked enough",
            statistics.mail_refused_work,
        ),
        ("mail_refused_token", "Of these, because a token was not valid", statistics.mail_refused_token),
        (
            "work_given_up",
            "Envelopes not left with a node because of the work that it asked for",
            statistics.work_given_up,
        ),
        (
            "mail_dropped",
            "Envelopes for this user that do not open, or of nobody that is known",
            statistics.mail_dropped,
        ),
        ("blocked", "What was turned away of people whom this user has blocked", statistics.blocked),
        (
            "requests_refused",
            "What was turned away of strangers because of too many requests",
            statistics.requests_refused,
        ),
        ("hints_dropped", "Typing notices of others that were not told", statistics.hints_dropped),
        ("requests_sent", "DHT requests sent", statistics.requests_sent),
        ("searches_ended", "Searches of the DHT that have ended", statistics.searches_ended),
        ("search_hops", "Requests in a row that led to what searches found", statistics.search_hops),
        ("datagrams_sent", "Datagrams sent", statistics.datagrams_sent),
        ("datagrams_received", "Datagrams received, dropped ones included", statistics.datagrams_received),
        ("sent_bytes", "Bytes of UDP payload sent", statistics.bytes_sent),
        ("received_bytes", "Bytes of UDP payload received", statistics.bytes_received),
        (
            "requests_too_fast",
            "Requests dropped because they came faster than the limits allow",
            statistics.requests_too_fast,
        ),
        ("requests_busy", "Requests answered that there is no room now", statistics.requests_busy),
        ("requests_forgotten", "Requests forgotten before they were answered", statistics.requests_forgotten),
        ("events_dropped", "Message states that the application left too long", statistics.events_dropped),
        (
            "dropped",
            "Datagrams and requests dropped: malformed, foreign, replayed, not authentic",
            statistics.dropped,
        ),
    ];
    for (name, help, value) in counters {
        let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(descriptor)?;
    }
    encode_refused_records(statistics, encoder)
}

fn encode_refused_records(statistics: &Statistics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let refused = &statistics.refused_records;
    let reasons = [
        ("malformed", refused.malformed),
        ("foreign_key", refused.foreign_key),
        ("bad_name", refused.bad_name),
        ("bad_signature", refused.bad_signature),
        ("expired", refused.expired),
        ("too_far_ahead", refused.too_far_ahead),
        ("older", refused.older),
        ("owned", refused.owned),
        ("full", refused.full),
    ];
    let help = "Records that others wanted kept here and that were refused";
    let mut family = encoder.encode_descriptor("records_refused", help, None, MetricType::Counter)?;
    for (reason, count) in reasons {
        ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever arrives is answered, and only a whole GET of what is there with what is asked for.
        #[test]
        fn any_request_has_an_answer(request in prop::collection::vec(any::<u8>(), 0..200), is_get: bool) {
            let request = if is_get { [b"GET /", &request[..]].concat() } else { request };
            let answer = answer_for(&request, Statistics::default());
            let is_known = |path: &[u8]| request.starts_with(&[b"GET ", path].concat());
            prop_assert_eq!(answer.kind == PLAIN, !is_known(b"/metrics") || answer.status != "200 OK");
            prop_assert!(answer.status != "200 OK" || is_known(b"/metrics") || is_known(b"/health"));
        }
    }

    fn answer_for(request: &[u8], statistics: Statistics) -> Answer {
        answer_to(request, &Ok(statistics), &Registry::default())
    }

    fn connected(is_serving: bool) -> Statistics {
        let mut statistics = Statistics::default();
        (statistics.contact_count, statistics.is_serving) = (3, is_serving);
        statistics
    }

    #[test]
    fn health_means_that_others_reach_this_node() {
        let health = |statistics| {
            let Answer { status, body, .. } = answer_for(b"GET /health HTTP/1.1\r\n\r\n", statistics);
            (status, body)
        };
        assert_eq!(health(connected(true)), ("200 OK", "reachable\n".to_owned()));
        assert_eq!(health(connected(false)).0, "503 Service Unavailable");
        assert!(health(Statistics::default()).1.starts_with("alone"));
        let mut surrounded = connected(true);
        surrounded.is_surrounded = true;
        assert!(health(surrounded).1.starts_with("surrounded"));
        let closed = answer_to(b"GET /health HTTP/1.1\r\n", &Err(Error::Closed), &Registry::default());
        assert_eq!(closed.status, "503 Service Unavailable");
    }

    /// Returns the name of the metric that tells a count, without what Prometheus appends.
    fn metric_of(count: &str) -> &str {
        match count {
            "contact_count" => "contacts",
            "record_count" => "records",
            "is_serving" => "serving",
            "is_surrounded" => "surrounded",
            "mail_count" => "mail_envelopes",
            "mail_len" => "mail_bytes",
            "link_count" => "links",
            "connection_count" => "connections",
            "outbox_count" => "outbox_messages",
            "bytes_sent" => "sent_bytes",
            "bytes_received" => "received_bytes",
            "refused_records" => "records_refused",
            other => other,
        }
    }

    /// A node that has counted nothing.
    #[derive(Debug)]
    struct Fixed;

    impl Collector for Fixed {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            super::encode(&Statistics::default(), &mut encoder)
        }
    }

    #[test]
    fn whatever_is_counted_is_a_metric() {
        let source = include_str!("../../peerchat-core/src/client.rs");
        let (_, body) = source.split_once("pub struct Statistics {\n").unwrap();
        let (body, _) = body.split_once("\n}").unwrap();
        let counts =
            body.lines().filter_map(|line| Some(line.trim().strip_prefix("pub ")?.split_once(':')?.0));
        let counts: Vec<_> = counts.collect();
        assert!(counts.len() > 20, "the core's source was not understood: {counts:?}");

        let mut registry = Registry::default();
        registry.register_collector(Box::new(Fixed));
        let mut scraped = String::new();
        text::encode(&mut scraped, &registry).unwrap();
        for count in counts {
            let kind = format!("# TYPE {} ", metric_of(count));
            assert!(scraped.contains(&kind), "{count} is not in\n{scraped}");
        }
    }

    #[test]
    fn what_is_no_such_request_is_told_so() {
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404 Not Found"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            (b"", "400 Bad Request"),
            (b"\xff\xfe", "400 Bad Request"),
        ] {
            assert_eq!(answer_for(request, connected(true)).status, status, "{request:?}");
        }
    }
}
