//! [`Server`]: Debian's Prometheus, with the configuration of docker/observe, on a cluster of this machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Command, Stdio};

use harness::{Cluster, prometheus_program, run};
use serde_json::Value;
use tempfile::TempDir;

pub struct Server {
    process: Child,
    url: String,
    /// Its configuration and its data.
    directory: TempDir,
}

impl Server {
    /// Asks all parts every second, and has alerts fire after one second instead of minutes.
    pub fn start(cluster: &Cluster) -> Server {
        let directory = tempfile::tempdir().expect("a directory");
        let token = cluster.monitor_token_file().display().to_string();
        let mut configuration = super::read("prometheus.yml");
        let mut replace = |from: &str, to: &str| {
            assert!(configuration.contains(from), "prometheus.yml does not have {from}");
            configuration = configuration.replace(from, to);
        };
        replace("/var/lib/varve/cluster/auth/tokens/monitor", &token);
        replace("interval: 10s", "interval: 1s");
        for (service, daemon) in [
            ("storage_broker:50051", "broker"),
            ("safekeeper1:7676", "safekeeper-1"),
            ("safekeeper2:7676", "safekeeper-2"),
            ("safekeeper3:7676", "safekeeper-3"),
            ("pageserver:9898", "pageserver"),
            ("compute:3080", "endpoint-main"),
        ] {
            replace(service, &cluster.http_address(daemon));
        }
        let alerts: Vec<String> = super::read("alerts.yml").lines().map(soon).collect();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("prometheus.yml"), configuration).expect("a configuration");
        std::fs::write(file("alerts.yml"), alerts.join("\n")).expect("rules");
        let address = format!("127.0.0.1:{}", cluster.spare_port());
        let log = File::create(file("log")).expect("a log");
        let mut command = Command::new(prometheus_program("prometheus"));
        command
            .arg(format!("--config.file={}", file("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        let process = command.spawn().expect("Prometheus starts");
        let server = Server { process, url: format!("http://{address}"), directory };
        // It listens a moment after its start, and answers a moment after that.
        let until_ready = ["-sSf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
        run(Command::new("curl").args(until_ready).arg(format!("{}/-/ready", server.url)));
        server
    }

    /// The series that an expression gives now. Fails if it cannot be evaluated.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        let query = format!("query={expression}");
        let data = self.get("/api/v1/query", &["--get", "--data-urlencode", &query]).await;
        data["result"].as_array().unwrap_or_else(|| panic!("{expression}: {data}")).clone()
    }

    /// The one number that an expression gives; 0 for none.
    pub async fn number(&self, expression: &str) -> f64 {
        let series = self.query(expression).await;
        let Some(one) = series.first() else { return 0.0 };
        one["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{one}"))
    }

    /// Names of all metrics that the parts of the cluster have shown, and of those that Prometheus makes of asking them.
    pub async fn metrics(&self) -> BTreeSet<String> {
        let names = self.get("/api/v1/label/__name__/values", &[]).await;
        let names = names.as_array().expect("names").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    pub async fn rules(&self) -> Vec<Value> {
        let data = self.get("/api/v1/rules?type=alert", &[]).await;
        let groups = data["groups"].as_array().expect("groups").iter();
        groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    /// Those of what fires: a template that went wrong says so in the text.
    pub async fn annotations_are_filled_in(&self) {
        let data = self.get("/api/v1/alerts", &[]).await;
        let alerts = data["alerts"].as_array().expect("alerts");
        assert!(!alerts.is_empty());
        for alert in alerts {
            for name in ["summary", "description", "runbook_url"] {
                let text = alert["annotations"][name].as_str().unwrap_or_else(|| panic!("{alert}: {name}"));
                let is_wrong = text.is_empty() || text.contains("<no value>") || text.contains("<error");
                assert!(!is_wrong, "{text}");
            }
        }
    }

    async fn get(&self, path: &str, arguments: &[&str]) -> Value {
        let url = format!("{}{path}", self.url);
        let ask = || run(Command::new("curl").args(["-sS", "--fail-with-body"]).args(arguments).arg(url));
        let answer: Value = serde_json::from_str(&tokio::task::block_in_place(ask)).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }
}

/// A line of alerts.yml that has its alert fire after a second.
fn soon(line: &str) -> String {
    match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s"),
        _ => line.to_owned(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("Prometheus said:\n{log}");
        }
    }
}
