//! Traces: one from the query to object storage and one of a compute's start; a collector that is slow or away hinders nobody,
//! and without one there is nothing.

mod collector;
mod older;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Cluster, block_on, eventually, lsn, number};
use types::Lsn;

use collector::{Collector, Span};

/// What an application says of its own span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const APPLICATION: &str = "00f067aa0ba902b7";

/// Layers go from the pageserver's disk as soon as nobody reads them: what is read comes from object storage.
const KEEPS_NO_LAYERS: &str =
    "disk_usage_based_eviction.max_layer_bytes = 0\ndisk_usage_based_eviction.period = \"1s\"";

const FILL: &str = "CREATE TABLE t AS SELECT n, repeat('x', 200) AS filler FROM generate_series(1, 20000) n";

/// A cluster whose parts send their spans there.
fn traced(name: &str, endpoint: &str, ratio: &str) -> Cluster {
    let config = format!("otlp_endpoint = \"{endpoint}\"\ntrace_ratio = {ratio}");
    Cluster::up_configured(name, &config, KEEPS_NO_LAYERS).need_not_evict("it reads a small table")
}

/// A table whose pages no cache has any more.
async fn fill(cluster: &Cluster) {
    cluster.connect("main").await.batch_execute(FILL).await.unwrap();
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
}

fn set_traceparent() -> String {
    format!("SET varve.traceparent = '00-{TRACE}-{APPLICATION}-01'")
}

#[test]
fn a_query_is_one_trace_from_the_compute_to_object_storage() {
    let collector = Collector::start();
    let cluster = traced("traces", collector.url(), "1.0");
    block_on(async {
        let client = cluster.connect("main").await;
        client.batch_execute(FILL).await.unwrap();
        let end = client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await.unwrap();
        let end: Lsn = end.get::<_, String>(0).parse().unwrap();
        eventually("the pageserver has all of it", Duration::from_secs(60), async || {
            lsn(&cluster.pageserver_timeline("main")["last_record_lsn"]) >= end
        })
        .await;
        cluster.varve(&["endpoint", "stop", "main"]);
        // All of it becomes layers.
        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["pageserver", "start"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let client = cluster.connect("main").await;
        let file = "SELECT format('1663/%s/%s', oid, pg_relation_filenode('t')) FROM pg_database
                    WHERE datname = current_database()";
        let file: String = client.query_one(file, &[]).await.unwrap().get(0);
        eventually("no layer is on the pageserver's disk", Duration::from_secs(60), async || {
            cluster.metric("pageserver", "pageserver_storage_local_layer_bytes") == 0.0
        })
        .await;
        client.batch_execute(&set_traceparent()).await.unwrap();
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, 20_000);
        client.batch_execute("RESET varve.traceparent").await.unwrap();

        let is_of_table = |span: &&Span| span.says("varve.relation") == file;
        eventually("all parts have sent their spans", Duration::from_secs(30), async || {
            let spans = collector.trace(TRACE);
            ["compute", "pageserver"]
                .iter()
                .all(|part| spans.iter().filter(is_of_table).any(|s| s.service == *part))
                && spans.iter().any(|span| span.name == "object_storage get")
        })
        .await;
        // Spans of one batch come before those that they hang on.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let spans = collector.trace(TRACE);
        of_a_page(&spans, &cluster.ids("main"));
        let compute = spans.iter().filter(is_of_table).find(|span| span.service == "compute").unwrap();
        let server =
            spans.iter().find(|span| span.parent == compute.id).expect("the pageserver's part of it");
        assert_eq!((server.service.as_str(), server.says("varve.relation")), ("pageserver", file.as_str()));

        of_a_start(&collector.spans(), &cluster.ids("main"));
        of_a_request(&cluster, &collector).await;
        for part in ["pageserver", "endpoint-main"] {
            assert!(cluster.metric(part, "trace_exported_spans_total") > 0.0, "{part}");
        }
        for name in ["ingest", "flush", "upload"] {
            assert!(collector.spans().iter().any(|span| span.name == name), "no {name}");
        }
        // Spans are not what logs are made of.
        for part in ["pageserver", "safekeeper-1", "endpoint-main"] {
            let log = cluster.log(part);
            assert!(!log.contains("varve.timeline_id") && !log.contains("varve_trace"), "{part}: {log}");
        }
    });
}

/// From the object upwards.
fn of_a_page(spans: &[Span], (tenant, timeline): &(String, String)) {
    let object =
        spans.iter().find(|span| span.name == "object_storage get").expect("a layer that was fetched");
    assert!(object.says("varve.object.key").contains(timeline.as_str()), "{object:?}");
    assert!(object.says("varve.object.size").parse::<u64>().unwrap() > 0, "{object:?}");
    let above = |span: &Span| {
        let found = spans.iter().find(|other| other.id == span.parent);
        found.unwrap_or_else(|| panic!("nothing is above {span:?}")).clone()
    };
    let download = above(object);
    assert_eq!(
        (download.name.as_str(), download.says("varve.timeline_id")),
        ("download layer", timeline.as_str())
    );
    let read = above(&download);
    assert_eq!(read.name, "read layers");
    let server = above(&read);
    assert!(["get_page", "get_page_run"].contains(&server.name.as_str()), "{server:?}");
    assert_eq!((server.service.as_str(), server.kind), ("pageserver", 2));
    let compute = above(&server);
    assert_eq!((compute.service.as_str(), &compute.name, compute.kind), ("compute", &server.name, 3));
    assert_eq!(compute.parent, APPLICATION);
    for span in [&server, &compute] {
        assert_eq!(span.says("varve.tenant_id"), tenant, "{span:?}");
        assert_eq!(span.says("varve.timeline_id"), timeline, "{span:?}");
        assert_eq!(span.says("varve.relation"), compute.says("varve.relation"));
        assert_eq!(span.says("varve.block"), compute.says("varve.block"));
    }
    assert!(server.says("varve.lsn").parse::<Lsn>().unwrap().is_valid());
}

/// The last start found nothing on the pageserver's disk either.
fn of_a_start(spans: &[Span], (_, timeline): &(String, String)) {
    let mut starts = spans.iter().filter(|span| span.name == "start compute");
    let start = starts.next_back().expect("a start");
    assert_eq!((start.service.as_str(), start.says("varve.timeline_id")), ("compute", timeline.as_str()));
    let lsn: Lsn = start.says("varve.lsn").parse().expect("an LSN");
    let below = |parent: &Span, name: &str| {
        let found = spans.iter().find(|span| span.parent == parent.id && span.name == name);
        found.unwrap_or_else(|| panic!("no {name} below {parent:?}")).clone()
    };
    below(start, "election");
    below(start, "start PostgreSQL");
    let asked = below(start, "base backup");
    let made = below(&asked, "basebackup");
    assert_eq!((made.service.as_str(), &made.trace), ("pageserver", &start.trace));
    assert_eq!(made.says("varve.lsn").parse::<Lsn>().unwrap(), lsn);
}

/// Of a client that says which trace it is part of, and of one that says that this is not recorded.
async fn of_a_request(cluster: &Cluster, collector: &Collector) {
    let http = http_client::client(cluster.trust().as_ref());
    let address = cluster.http_address("safekeeper-1");
    let (tenant, timeline) = cluster.ids("main");
    let ask = async |trace: String| {
        let url = format!("{}://{address}/v1/tenant/{tenant}/timeline/{timeline}", cluster.scheme());
        let request = http.get(url).header("Authorization", cluster.credentials().bearer());
        let answer = request.header("traceparent", trace).send().await.unwrap();
        assert!(answer.status().is_success());
    };
    let (recorded, silent) = ("a1".repeat(16), "b2".repeat(16));
    ask(format!("00-{silent}-{APPLICATION}-00")).await;
    ask(format!("00-{recorded}-{APPLICATION}-01")).await;
    eventually("the safekeeper has sent its span", Duration::from_secs(30), async || {
        !collector.trace(&recorded).is_empty()
    })
    .await;
    let spans = collector.trace(&recorded);
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((span.service.as_str(), span.parent.as_str(), span.kind), ("safekeeper", APPLICATION, 2));
    assert_eq!(span.says("http.response.status_code"), "200", "{span:?}");
    assert!(span.name.starts_with("GET /v1/tenant/{"), "{span:?}");
    assert!(collector.trace(&silent).is_empty());
}

#[test]
fn with_a_ratio_of_nothing_only_what_is_asked_for_is_traced() {
    let collector = Collector::start();
    let cluster = traced("traces-asked-for", collector.url(), "0.0");
    block_on(async {
        fill(&cluster).await;
        assert_eq!(number(&cluster.connect("main").await, "SELECT count(*) FROM t").await, 20_000);
        cluster.varve(&["endpoint", "stop", "main"]);
        // It goes on when its client goes away, and is part of the trace all the same: the deletion is written down.
        let asked = "c3".repeat(16);
        let (tenant, _) = cluster.ids("main");
        let address = cluster.http_address("pageserver");
        let url = format!("{}://{address}/v1/tenant/{tenant}", cluster.scheme());
        let request = http_client::client(cluster.trust().as_ref()).delete(url);
        let request = request.header("Authorization", cluster.credentials().bearer());
        let answer =
            request.header("traceparent", format!("00-{asked}-{APPLICATION}-01")).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        eventually("the pageserver has sent its spans", Duration::from_secs(30), async || {
            collector.trace(&asked).iter().any(|span| span.name == "object_storage put")
        })
        .await;
        let others: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace != asked).collect();
        assert!(others.is_empty(), "{others:?}");
    });
}

#[test]
fn a_collector_that_is_slow_or_away_hinders_nobody() {
    // It takes connections, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let cluster = traced("traces-without-collector", &url, "1.0");
    block_on(async {
        cluster.connect("main").await.batch_execute(FILL).await.unwrap();
        let lost = || cluster.metric("pageserver", "trace_dropped_spans_total");
        let mut lost_before = 0.0;
        for collector in ["slow", "away"] {
            let began = Instant::now();
            cluster.varve(&["endpoint", "stop", "main"]);
            cluster.varve(&["endpoint", "start", "main"]);
            let client = cluster.connect("main").await;
            client.batch_execute(&set_traceparent()).await.unwrap();
            assert_eq!(number(&client, "SELECT count(*) FROM t").await, 20_000);
            assert!(began.elapsed() < Duration::from_secs(30), "took {:?}", began.elapsed());
            let what = format!("the {collector} collector's spans are counted");
            eventually(&what, Duration::from_secs(30), async || lost() > lost_before).await;
            assert_eq!(cluster.metric("pageserver", "trace_exported_spans_total"), 0.0);
            if collector == "slow" {
                assert!(silent.accept().is_ok(), "somebody has tried");
                // From now on connections are refused.
                assert_eq!(close(&silent), Ok(()));
            }
            lost_before = lost();
        }
        let log = cluster.log("pageserver");
        let told = log.lines().filter(|line| line.contains("spans are lost"));
        assert!((1..=4).contains(&told.count()), "now and then, and not for every batch: {log}");
        let began = Instant::now();
        cluster.varve(&["pageserver", "stop"]);
        assert!(began.elapsed() < Duration::from_secs(20), "took {:?}", began.elapsed());
    });
}

/// Has a listener take no connections any more.
fn close(listener: &TcpListener) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both)
}

#[test]
fn without_a_collector_there_is_nothing() {
    let cluster = Cluster::up("traces-off").need_not_evict("it reads a small table");
    block_on(async {
        for daemon in ["broker", "safekeeper-1", "pageserver", "endpoint-main"] {
            let pid = cluster.pid(daemon).expect("it runs");
            assert!(!threads(pid).contains(&"traces".to_owned()), "{daemon} sends something");
        }
        let client = cluster.connect("main").await;
        let socket: String = client.query_one("SHOW varve.trace_socket", &[]).await.unwrap().get(0);
        assert_eq!(socket, "");
        // A session may say of a trace what it likes; its pages come all the same.
        drop(client);
        fill(&cluster).await;
        let client = cluster.connect("main").await;
        client.batch_execute(&set_traceparent()).await.unwrap();
        assert_eq!(number(&client, "SELECT count(*) FROM t").await, 20_000);
        for daemon in ["broker", "safekeeper-1", "pageserver", "endpoint-main"] {
            for metric in ["trace_exported_spans_total", "trace_dropped_spans_total"] {
                assert_eq!(cluster.metric(daemon, metric), 0.0, "{daemon} {metric}");
            }
        }
        let refused = client.batch_execute("SET varve.traceparent = '00-0-0-01'").await.unwrap_err();
        let refused = refused.as_db_error().expect("PostgreSQL's");
        assert!(refused.detail().is_some_and(|detail| detail.contains("traceparent")), "{refused:?}");
    });
    cluster.refuses(&["up", "--otlp-endpoint", "127.0.0.1:4317"], "http://127.0.0.1:4318");
}

fn threads(pid: i32) -> Vec<String> {
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).expect("threads");
    let names = tasks.map(|task| std::fs::read_to_string(task.expect("a thread").path().join("comm")));
    names.map(|name| name.unwrap_or_default().trim().to_owned()).collect()
}
