//! docs/metrics.md against what the parts of a live cluster show.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Cluster, block_on, eventually, prometheus_program, run};

use crate::library;
use crate::markdown::section;

const METRICS: &str = "docs/metrics.md";
/// Sections of the document, and whose numbers are in them.
const SECTIONS: &[(&str, &[&str])] = &[
    ("Every part", &["broker", "safekeeper-1", "pageserver", "endpoint-main"]),
    ("Parts with a disk", &["safekeeper-1", "pageserver", "endpoint-main"]),
    ("Parts with object storage", &["safekeeper-1", "pageserver"]),
    ("Storage broker", &["broker"]),
    ("Safekeepers", &["safekeeper-1"]),
    ("Pageserver", &["pageserver"]),
    ("Computes", &["endpoint-main"]),
];

/// A row of a table, or what a part shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// Rows of a section, by name.
fn documented(heading: &str) -> BTreeMap<String, Metric> {
    let text = library::read(METRICS);
    let section = section(&text, heading).unwrap_or_else(|| panic!("{METRICS} has no section {heading:?}"));
    let mut metrics = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, unit, labels, meaning] = cells[..] else { panic!("{row}: five cells") };
        let name = name.trim_matches('`');
        assert!(ends_in_its_unit(name, kind, unit), "{name} is a {kind} in {unit}");
        assert!(!meaning.is_empty(), "{name}: what does it mean?");
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let before = metrics.insert(name.to_owned(), Metric { kind: kind.to_owned(), labels });
        assert_eq!(before, None, "{name} is there twice");
    }
    assert!(!metrics.is_empty(), "{heading}: no table");
    metrics
}

/// Prometheus' rules for names. What is either 0 or 1 has no unit.
fn ends_in_its_unit(name: &str, kind: &str, unit: &str) -> bool {
    let stem = name.strip_suffix("_total");
    (kind == "counter") == stem.is_some()
        && (unit == "0 or 1" || stem.unwrap_or(name).ends_with(&format!("_{unit}")))
}

/// What a part shows, in Prometheus' text format.
fn shown(text: &str) -> BTreeMap<String, Metric> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let of = |(name, kind): (&str, &str)| {
        let is_sample = |line: &&str| {
            let series = line.split(['{', ' ']).next().expect("a name");
            series == name || (kind == "histogram" && series.strip_suffix("_count") == Some(name))
        };
        let samples = text.lines().filter(is_sample).filter_map(|line| line.split_once('{'));
        let labels = samples.flat_map(|(_, rest)| rest.split("=\"").map(last_word).collect::<Vec<_>>());
        let labels = labels.filter(|label| !label.is_empty() && label != "le").collect();
        (name.to_owned(), Metric { kind: kind.to_owned(), labels })
    };
    types.map(of).collect()
}

/// The name that ends a piece such as `VALUE",name`; none where the piece ends the sample.
fn last_word(piece: &str) -> String {
    let word = piece.rsplit([',', '"']).next().expect("a piece");
    if word.contains('}') { String::new() } else { word.to_owned() }
}

/// All parts of a cluster that has done a little of everything.
pub fn check(name: &str) {
    let cluster = Cluster::up(name);
    let sql = "create table t as select generate_series(1, 10000) as n; update t set n = n + 1;
               select pg_switch_wal()";
    run(Command::new("psql").arg(cluster.connstr("main")).args([
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        sql,
    ]));
    // Begins with nothing cached, so that pages are read and rebuilt.
    cluster.varve(&["endpoint", "stop", "main"]);
    cluster.varve(&["endpoint", "start", "main"]);
    run(Command::new("psql").arg(cluster.connstr("main")).args(["-XAtq", "-c", "select count(*) from t"]));
    block_on(eventually("a segment is in object storage", Duration::from_secs(60), async || {
        cluster.metric("safekeeper-1", "safekeeper_offloaded_segments_total") > 0.0
    }));

    let mut problems = Vec::new();
    for part in ["broker", "safekeeper-1", "pageserver", "endpoint-main"] {
        let text = cluster.get(part, "/metrics");
        promtool_agrees(part, &text);
        let mut shown = shown(&text);
        for (heading, parts) in SECTIONS {
            if !parts.contains(&part) {
                continue;
            }
            for (name, metric) in documented(heading) {
                match shown.remove(&name) {
                    Some(found) if found == metric => {}
                    Some(found) => {
                        problems.push(format!("{part}: {name} is {found:?}, documented: {metric:?}"))
                    }
                    None => problems.push(format!("{part} does not have {name}")),
                }
            }
        }
        problems.extend(shown.keys().map(|name| format!("{METRICS} does not have {name} of {part}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn promtool_agrees(part: &str, text: &str) {
    let mut command = Command::new(prometheus_program("promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool runs");
    promtool.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{part}: {said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_understood() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c{d\",e=\"\"} 1\na_total{b=\"x, y\"} 2\n\
                    # TYPE f_seconds histogram\nf_seconds_bucket{g=\"h\",le=\"1\"} 0\nf_seconds_sum{g=\"h\"} 0\n\
                    f_seconds_count{g=\"h\"} 0\n# TYPE i gauge\ni 3\n";
        let labels = |name: &str| shown(text)[name].labels.iter().cloned().collect::<Vec<_>>();
        assert_eq!(labels("a_total"), ["b", "e"]);
        assert_eq!(labels("f_seconds"), ["g"]);
        assert_eq!(labels("i"), Vec::<String>::new());
        assert_eq!(shown(text)["f_seconds"].kind, "histogram");
        assert_eq!(shown(text).len(), 3);
    }

    #[test]
    fn a_name_ends_in_its_unit() {
        for (name, kind, unit, is_right) in [
            ("a_bytes_total", "counter", "bytes", true),
            ("a_bytes", "counter", "bytes", false),
            ("a_bytes_total", "gauge", "bytes", false),
            ("a_bytes_sent_total", "counter", "bytes", false),
            ("a_kilobytes", "gauge", "bytes", false),
            ("a_up", "gauge", "0 or 1", true),
        ] {
            assert_eq!(ends_in_its_unit(name, kind, unit), is_right, "{name} {kind} {unit}");
        }
    }
}
