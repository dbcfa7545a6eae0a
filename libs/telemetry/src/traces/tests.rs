//! What becomes of spans when the collector is away, or slow.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::{Instant, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use types::TraceParent;

use super::*;

fn span() -> SpanData {
    let itself = TraceParent { trace_id: [1; 16], span_id: [2; 8], is_sampled: true };
    let now = SystemTime::now();
    let attributes = vec![KeyValue::new("varve.block", 7)];
    let span = EndedSpan {
        itself,
        parent: [3; 8],
        name: "a span".into(),
        start_time: now,
        end_time: now,
        attributes,
    };
    span.data()
}

fn exporter(port: u16, counters: &Counters) -> (Queue, Exporter) {
    let (queue, ended) = Queue::new(counters.clone());
    let endpoint = parse_endpoint(&format!("http://127.0.0.1:{port}")).unwrap();
    let identity = Identity { service: "a test", instance: "1".to_owned(), version: "0" };
    let http = http_client::client(None);
    let exporter = Exporter::start(&endpoint, identity.resource(), http, ended, counters.clone()).unwrap();
    (queue, exporter)
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let counters = Counters::default();
    let (queue, ended) = Queue::new(counters.clone());
    (0..queue::LENGTH + 10).for_each(|_| queue.push(span()));
    assert_eq!((counters.overflowed.get(), ended.len()), (10, queue::LENGTH));
}

#[test]
fn a_collector_that_is_away_costs_a_batch_and_no_time() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let counters = Counters::default();
    let (queue, exporter) = exporter(free, &counters);
    (0..3).for_each(|_| queue.push(span()));
    let began = Instant::now();
    exporter.end(FAREWELL);
    assert!(began.elapsed() < FAREWELL, "nobody listens, which is told at once");
    assert_eq!((counters.unsent.get(), counters.exported.get()), (3, 0));
}

#[test]
fn a_collector_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let counters = Counters::default();
    let (queue, exporter) = exporter(silent.local_addr().unwrap().port(), &counters);
    queue.push(span());
    // It was connected to, and has a batch now that it never answers.
    let (_connection, _) = silent.accept().unwrap();
    let began = Instant::now();
    (0..queue::LENGTH + 10).for_each(|_| queue.push(span()));
    assert!(counters.overflowed.get() >= 10);
    exporter.end(Duration::from_millis(200));
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    assert_eq!(counters.exported.get(), 0);
}

/// Answers one request with this. Gives its port.
fn collector_that_says(status: &'static str, body: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut connection = BufReader::new(listener.accept().unwrap().0);
        let mut length = 0;
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).unwrap();
            match line.to_ascii_lowercase().split_once("content-length:") {
                Some((_, number)) => length = number.trim().parse().unwrap(),
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        connection.read_exact(&mut vec![0; length]).unwrap();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        connection.get_mut().write_all(&[head.as_bytes(), &body].concat()).unwrap();
    });
    port
}

#[test]
fn only_what_the_collector_took_counts_as_taken() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    let response = |partial_success| ExportTraceServiceResponse { partial_success }.encode_to_vec();
    for (status, body, exported) in [
        ("200 OK", response(None), 3),
        ("200 OK", response(Some(partial)), 2),
        ("200 OK", b"<html>nobody takes spans here</html>".to_vec(), 0),
        ("401 Unauthorized", Vec::new(), 0),
    ] {
        let what = format!("{status} {body:?}");
        let counters = Counters::default();
        let (queue, exporter) = exporter(collector_that_says(status, body), &counters);
        (0..3).for_each(|_| queue.push(span()));
        exporter.end(FAREWELL);
        assert_eq!((counters.exported.get(), counters.unsent.get()), (exported, 3 - exported), "{what}");
    }
}
