//! The console in headless Chromium: every page in light and in dark, on a wide and on a narrow screen. Nothing may complain,
//! nothing may be asked for elsewhere, axe must find nothing that hinders anybody, and scripts must do what they are for.

mod chromium;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Cluster, block_on, eventually, run};
use serde_json::Value;

use super::served::Served;
use chromium::{Chromium, Scheme};

/// As axe calls what WCAG 2.2 asks for at level AA, and what is good besides.
const RULES: &str = "{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }";

fn axe() -> String {
    let path = run(&mut Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/axe")));
    std::fs::read_to_string(path.trim()).expect("axe.min.js")
}

/// Where pictures of the pages go, to be looked at.
fn pictures() -> PathBuf {
    let place = std::env::var_os("VARVE_PICTURES")
        .map_or_else(|| std::env::temp_dir().join("varve-console"), PathBuf::from);
    std::fs::create_dir_all(&place).expect("a directory");
    place
}

/// What axe finds, a line for each.
fn hindrances(browser: &mut Chromium, axe: &str) -> Vec<String> {
    browser.evaluate(axe);
    let found = browser.evaluate(&format!("axe.run(document, {RULES}).then(found => found.violations)"));
    let of = |violation: &Value| {
        let nodes: Vec<String> = violation["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|node| node["html"].to_string())
            .collect();
        format!("{}: {} {}", violation["id"], violation["help"], nodes.join(" "))
    };
    found.as_array().expect("a list").iter().map(of).collect()
}

/// One page as it is now, in both schemes and on both screens.
fn look_at(browser: &mut Chromium, axe: &str, name: &str, place: &Path) {
    for (scheme, word) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
        browser.set_scheme(scheme);
        for (width, screen) in [(1280, "wide"), (390, "narrow")] {
            browser.set_width(width);
            let found = hindrances(browser, axe);
            assert!(found.is_empty(), "{name}, {word}, {screen}: {}", found.join("\n"));
            let beyond = browser.evaluate("document.documentElement.scrollWidth - innerWidth");
            assert!(
                beyond.as_i64().is_some_and(|beyond| beyond <= 0),
                "{name}, {screen}: it is {beyond} too wide"
            );
            browser.screenshot(&place.join(format!("{name}-{word}-{screen}.png")));
        }
    }
    browser.set_width(1280);
    browser.set_scheme(Scheme::Light);
}

/// A cluster with something to see.
fn cluster() -> Cluster {
    let cluster = Cluster::up("console-browser").need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE customers (id int PRIMARY KEY, name text); INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 5000) AS g").await.unwrap();
        let then: String = main.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        main.batch_execute("ALTER TABLE customers ADD COLUMN mail text; CREATE INDEX ON customers (name)")
            .await
            .unwrap();
        cluster.varve(&["timeline", "branch", "--branch-name", "before-mail", "--ancestor-start-lsn", &then]);
        cluster.varve(&["timeline", "branch", "--branch-name", "feature/search"]);
        cluster.varve(&["endpoint", "create", "search", "--branch-name", "feature/search"]);
        main.batch_execute("UPDATE customers SET mail = name || '@example.com'").await.unwrap();
        cluster.varve(&[
            "timeline",
            "branch",
            "--branch-name",
            "task-17",
            "--ancestor-branch-name",
            "feature/search",
        ]);
        let (tenant, timeline) = cluster.ids("main");
        let pageserver =
            pageserver_api::PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials());
        let ids = (tenant.parse().unwrap(), timeline.parse().unwrap());
        pageserver.checkpoint(ids.0, ids.1).await.unwrap();
        pageserver.compact(ids.0, ids.1).await.unwrap();
        main.batch_execute("DELETE FROM customers WHERE id % 2 = 0").await.unwrap();
    });
    cluster
}

#[test]
#[ignore = "needs Chromium; make test-console runs it"]
fn every_page_is_fit_to_be_seen() {
    let cluster = cluster();
    let served = Served::start(&cluster);
    let (axe, place) = (axe(), pictures());
    let mut browser = Chromium::start(&served.base);
    browser.open(&served.base);
    look_at(&mut browser, &axe, "log-in", &place);
    browser.expect_complaint("401");
    browser.open(&served.link);
    assert_eq!(
        browser.evaluate("location.pathname + location.search"),
        "/",
        "the ticket is not in the address"
    );
    look_at(&mut browser, &axe, "branches", &place);
    for (path, name) in [
        ("/branch?branch=main", "branch"),
        ("/endpoints", "endpoints"),
        ("/positions", "positions"),
        ("/layers?branch=main", "layers"),
        ("/query", "query"),
        ("/schema", "schema"),
    ] {
        browser.open(&format!("{}{path}", served.base));
        look_at(&mut browser, &axe, name, &place);
    }

    browser.open(&format!("{}/query", served.base));
    browser.send("document.querySelector('#sql').value = 'SELECT * FROM customers ORDER BY id LIMIT 8'; document.querySelector('#sql').form.requestSubmit()");
    assert_eq!(browser.evaluate("document.querySelectorAll('table.data tbody tr').length"), 8);
    look_at(&mut browser, &axe, "query-answer", &place);
    browser.send("document.querySelector('#sql').value = 'SELECT nothing\\nFROM customers'; document.querySelector('#sql').form.requestSubmit()");
    assert_eq!(browser.evaluate("document.querySelector('[role=alert] code').textContent"), "42703");
    look_at(&mut browser, &axe, "query-refused", &place);
    browser.open(&format!("{}/schema?one=before-mail", served.base));
    browser.send("document.querySelector('#database').form.requestSubmit()");
    look_at(&mut browser, &axe, "schema-differences", &place);

    browser.open(&format!("{}/endpoints", served.base));
    browser.send("document.querySelector('[action=\"/endpoints/start\"] button').click()");
    assert_eq!(
        browser.evaluate("document.querySelector('.notice.good [class], .notice.good strong').textContent"),
        "Done: "
    );
    assert!(cluster.pid("endpoint-search").is_some());
    browser.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)");
    look_at(&mut browser, &axe, "endpoints-started", &place);
    positions_move(&mut browser, &cluster, &served);
    browser.nothing_is_wrong();
    served.end();
}

/// Without anybody loading the page again.
fn positions_move(browser: &mut Chromium, cluster: &Cluster, served: &Served) {
    browser.open(&format!("{}/positions", served.base));
    let head = "[...document.querySelectorAll('#live tbody tr')].find(row => row.cells[0].textContent == 'main').cells[1].textContent";
    let before = browser.evaluate(head);
    block_on(async {
        cluster
            .connect("main")
            .await
            .batch_execute("CREATE TABLE more AS SELECT generate_series(1, 1000) AS id")
            .await
            .unwrap();
        eventually("the page shows it", Duration::from_secs(20), async || browser.evaluate(head) != before)
            .await;
    });
    browser.evaluate("document.querySelector('#pause').click()");
    assert_eq!(browser.evaluate("document.querySelector('#pause').textContent"), "Go on");
    assert_eq!(browser.evaluate("document.querySelector('#pause').getAttribute('aria-pressed')"), "true");
}
