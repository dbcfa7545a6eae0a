//! What docker/observe says is held against a live cluster: its configuration runs, every alert and every panel asks
//! for what there is, nothing fires while all is well, and what is to fire does.

mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Cluster, Writers, block_on, eventually, prometheus_program, run};
use serde_json::Value;
use server::Server;

/// A file or directory of docker/observe.
fn observe(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/observe").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(observe(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of the alerts, as the file has them.
fn alerts() -> BTreeSet<String> {
    let text = read("alerts.yml");
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// A question of a dashboard, with the panel that asks it.
struct Question {
    panel: String,
    expression: String,
}

fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    for entry in std::fs::read_dir(observe("grafana/dashboards")).expect("dashboards") {
        let path = entry.expect("a dashboard").path();
        let text = std::fs::read_to_string(&path).expect("a dashboard");
        let board: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let list = |value: &Value, name: &str| value[name].as_array().expect(name).clone();
        for panel in list(&board, "panels") {
            let name = format!("{}: {}", board["title"], panel["title"]);
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name} has no unit");
            assert_eq!(panel["datasource"]["uid"], "prometheus", "{name}: as it is provisioned");
            let targets = list(&panel, "targets");
            assert!(!targets.is_empty(), "{name} asks nothing");
            questions.extend(targets.iter().map(|target| Question {
                panel: name.clone(),
                expression: target["expr"].as_str().expect("an expression").to_owned(),
            }));
        }
    }
    questions
}

/// Names of the metrics that an expression asks for.
fn metrics(expression: &str) -> BTreeSet<String> {
    let mut bare = String::new();
    let mut depth = 0;
    for c in expression.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            c if depth == 0 => bare.push(c),
            _ => {}
        }
    }
    // What stands in parentheses behind these are labels.
    for word in ["by", "on", "ignoring", "without", "group_right", "group_left"] {
        while let Some(at) = bare.find(&format!(" {word} (")) {
            let end = bare[at..].find(')').map_or(bare.len(), |length| at + length);
            bare.replace_range(at..=end, " ");
        }
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_word) {
        let word = rest[start..].split(|c| !is_word(c)).next().expect("it begins with one");
        rest = &rest[start + word.len()..];
        let is_function = rest.trim_start().starts_with('(');
        let is_operator = ["and", "or", "unless", "group_left", "group_right"].contains(&word);
        if !is_function && !is_operator && !word.starts_with(|c: char| c.is_ascii_digit()) {
            names.insert(word.to_owned());
        }
    }
    names
}

#[test]
fn names_are_found_in_expressions() {
    let found = |expression| metrics(expression).into_iter().collect::<Vec<_>>();
    let rate =
        "sum by (job, le) (rate(a_bucket{job!=\"b\", x=\"y\"}[5m])) / count by (instance) (up) > 0.5 * 1024";
    assert_eq!(found(rate), ["a_bucket", "up"]);
    assert_eq!(
        found("c - on (instance) group_right d > 450e6 or time() - e_seconds"),
        ["c", "d", "e_seconds"]
    );
}

/// Each alert has a section in the runbook, and is shown series on which it fires.
#[test]
fn alerts_are_correct_by_themselves() {
    let promtool = || Command::new(prometheus_program("promtool"));
    let alerts = alerts();
    let checked = run(promtool().args(["check", "rules"]).arg(observe("alerts.yml")));
    assert!(checked.contains(&format!("{} rules found", alerts.len())), "{checked}");
    run(promtool().args(["test", "rules"]).arg(observe("alerts_test.yml")));
    run(promtool().args(["check", "config", "--syntax-only"]).arg(observe("prometheus.yml")));

    let tests = read("alerts_test.yml");
    let runbook = read("../../docs/runbook.md");
    let rules = read("alerts.yml");
    for alert in &alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} fires in no test");
        assert!(runbook.contains(&format!("\n## {alert}\n")), "docs/runbook.md has no section for {alert}");
        let url = format!("runbook_url: docs/runbook.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&url), "{alert} does not say where its section is");
    }
    for section in runbook.lines().filter_map(|line| line.strip_prefix("## Varve")) {
        assert!(alerts.contains(&format!("Varve{section}")), "there is no alert Varve{section}");
    }
}

/// Whom Prometheus asks in containers is a service of docker-compose.yml.
#[test]
fn prometheus_asks_every_service() {
    let compose = read("../../docker-compose.yml");
    let configuration = read("prometheus.yml");
    let quoted: Vec<&str> = configuration.split('"').skip(1).step_by(2).collect();
    assert_eq!(quoted.len(), 6, "{quoted:?}");
    for target in quoted {
        let (host, _) = target.split_once(':').expect("HOST:PORT");
        assert!(compose.contains(&format!("\n  {host}:\n")), "docker-compose.yml has no {host}");
    }
}

/// With TLS it asks the same, and knows whom to believe.
#[test]
fn with_tls_prometheus_asks_the_same() {
    let configuration = read("prometheus-tls.yml");
    run(Command::new(prometheus_program("promtool"))
        .args(["check", "config", "--syntax-only"])
        .arg(observe("prometheus-tls.yml")));
    let settings = |text: &str, without: bool| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let of_tls = |line: &str| ["scheme:", "tls_config:"].iter().any(|name| line.trim().starts_with(name));
        kept.filter(|line| !(without && of_tls(line))).map(str::to_owned).collect()
    };
    assert_eq!(settings(&configuration, true), settings(&read("prometheus.yml"), false));
    for line in ["scheme: https", "tls_config:"] {
        assert_eq!(configuration.matches(line).count(), configuration.matches("job_name").count(), "{line}");
    }
}

#[test]
fn what_is_shown_exists_and_what_fails_is_told() {
    let cluster = Cluster::up("observability").need_not_evict("it is looked at, not read from");
    block_on(async {
        busy(&cluster).await;
        let server = Server::start(&cluster);
        let writers = Writers::start(&cluster.connstr("main"), 2).await;
        eventually("all parts are asked", Duration::from_secs(20), async || {
            server.number("count(up == 1)").await == 6.0
        })
        .await;
        panels_show_something(&server).await;
        alerts_ask_for_what_there_is(&server).await;

        assert_eq!(server.number("sum(compute_safekeeper_streaming)").await, 3.0);
        assert_eq!(server.number("pageserver_walreceiver_streams").await, 1.0);
        assert_eq!(server.number("pageserver_walreceiver_timelines").await, 1.0);

        // An alert that is on its way to firing would be here too.
        let ever = server.query("count_over_time(ALERTS[5m])").await;
        assert!(ever.is_empty(), "nothing is wrong with this cluster, but: {ever:?}");
        cluster.kill("safekeeper-2");
        let firing = "count by (alertname) (ALERTS{alertstate=\"firing\"})";
        eventually("a dead safekeeper is told of", Duration::from_secs(20), async || {
            let firing = server.query(firing).await;
            firing.iter().any(|series| series["metric"]["alertname"] == "VarveSafekeeperDown")
        })
        .await;
        assert_eq!(server.query(firing).await.len(), 1, "two of three are a quorum");
        let following = "sum(compute_safekeeper_streaming)";
        eventually("the compute knows", Duration::from_secs(20), async || {
            server.number(following).await == 2.0
        })
        .await;
        server.annotations_are_filled_in().await;
        writers.wait_for_progress(20).await;

        cluster.varve(&["safekeeper", "start", "--id", "2"]);
        eventually("it is back", Duration::from_secs(20), async || server.query(firing).await.is_empty())
            .await;
        writers.stop().await;
    });
}

/// Things that have to happen once for their numbers to be shown: segments that go to object storage, pages that are
/// read and rebuilt.
async fn busy(cluster: &Cluster) {
    let client = cluster.connect("main").await;
    let fill = "CREATE TABLE t AS SELECT n, repeat('x', 200) AS filler FROM generate_series(1, 20000) n;
                CREATE INDEX ON t (n); UPDATE t SET n = n + 1 WHERE n % 7 = 0";
    client.batch_execute(fill).await.unwrap();
    client.query("SELECT pg_switch_wal()", &[]).await.unwrap();
    drop(client);
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    let client = cluster.connect("main").await;
    assert_eq!(harness::number(&client, "SELECT count(*) FROM t").await, 20_000);
    for id in 1..=3 {
        let daemon = format!("safekeeper-{id}");
        eventually("a segment is in object storage", Duration::from_secs(40), async || {
            cluster.metric(&daemon, "safekeeper_offloaded_segments_total") > 0.0
        })
        .await;
    }
}

async fn panels_show_something(server: &Server) {
    let questions = questions();
    assert!(questions.len() > 40, "{} questions were found", questions.len());
    for Question { panel, expression } in questions {
        let known = server.metrics().await;
        let what = format!("{panel} shows something: {expression}");
        eventually(&what, Duration::from_secs(20), async || !server.query(&expression).await.is_empty())
            .await;
        for name in metrics(&expression).iter().filter(|name| *name != "ALERTS") {
            assert!(known.contains(name), "{panel}: there is no metric {name}");
        }
    }
}

async fn alerts_ask_for_what_there_is(server: &Server) {
    let rules = server.rules().await;
    let names = rules.iter().map(|rule| rule["name"].as_str().expect("a name").to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), alerts(), "Prometheus has them all");
    let known = server.metrics().await;
    for rule in &rules {
        let expression = rule["query"].as_str().expect("an expression");
        // Fails if it cannot be evaluated; that it gives nothing is as it should be.
        server.query(expression).await;
        assert_eq!(rule["health"], "ok", "{rule}");
        let asked = metrics(expression);
        assert!(!asked.is_empty(), "{expression}");
        let missing: Vec<&String> = asked.difference(&known).collect();
        assert!(missing.is_empty(), "{}: there is no {missing:?}", rule["name"]);
    }
}
