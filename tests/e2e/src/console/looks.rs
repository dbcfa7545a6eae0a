//! The past is asked through computes of the console's own, which go when it ends.

use std::time::Duration;

use harness::{Cluster, block_on, eventually};

use super::served::{Served, Visitor, between};

/// Names of the processes and directories of computes of the console.
fn looks(cluster: &Cluster) -> Vec<String> {
    let names = |directory: &str| {
        let entries = std::fs::read_dir(cluster.directory().join(directory)).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    let mut all = names("endpoints");
    all.extend(names("run").into_iter().filter(|name| name.ends_with(".pid")));
    all.retain(|name| name.starts_with("console."));
    all
}

#[test]
fn the_past_is_asked_and_schemas_are_compared() {
    let cluster = Cluster::up("console-past").need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute(
            "CREATE TABLE kept (id int, word text); INSERT INTO kept VALUES (1, 'one'), (2, NULL)",
        )
        .await
        .unwrap();
        let then: String = main.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        main.batch_execute("ALTER TABLE kept ADD COLUMN later int; DELETE FROM kept WHERE id = 1")
            .await
            .unwrap();
        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;

        let page = visitor.query("main", &then, "SELECT * FROM kept ORDER BY id").await;
        let body = between(between(&page, "id=\"answer-title\"", "</section>"), "<tbody>", "</tbody>");
        assert!(
            body.contains("<td>one</td>") && body.contains("NULL") && body.matches("<tr>").count() == 2,
            "{body}"
        );
        let page = visitor
            .query("main", "", "SELECT count(*) AS n, count(later) FROM kept; SHOW transaction_read_only")
            .await;
        assert!(
            page.contains("<td>1</td>") && page.contains("<td>0</td>") && page.contains("<td>on</td>"),
            "{page}"
        );
        for (sql, code, words) in [
            ("SELECT later\nFROM kept", "42703", "Line 1, column 8"),
            ("SELECT FROM nowhere", "42P01", "nowhere"),
            ("INSERT INTO kept VALUES (3)", "25006", "read-only"),
            ("SELECT pg_sleep(60)", "57014", "statement timeout"),
            ("SELECT 1/0", "22012", "division by zero"),
        ] {
            let page = visitor.query("main", &then, sql).await;
            let said = between(&page, "<div class=\"notice bad\"", "</div>");
            assert!(said.contains(&format!("<code>{code}</code>")) && said.contains(words), "{sql}: {said}");
        }
        let page = visitor.query("main", &then, "SELECT g FROM generate_series(1, 100000) AS g").await;
        assert!(page.contains("There may be more") && page.contains("500 rows"), "{page}");
        let page = visitor.query("main", &then, "SELECT repeat('x', 3000000)").await;
        assert!(page.contains("(3000000 bytes)") && page.len() < 100_000, "{} bytes", page.len());
        for (branch, at, words) in [
            ("main", "2106-01-01 00:00", "is yet to come"),
            ("main", "0/1", "Not done"),
            ("nowhere", "", "there is no branch"),
        ] {
            let page = visitor.query(branch, at, "SELECT 1").await;
            assert!(page.contains(words) && !page.contains("answer-title"), "{branch} {at}: {page}");
        }

        let pair = |database| {
            [
                ("one", "main"),
                ("one_at", then.as_str()),
                ("other", "main"),
                ("other_at", ""),
                ("database", database),
            ]
        };
        let page = visitor.answer("/schema", &pair("postgres")).await;
        let added = between(&page, "<tr class=\"added\">", "</tr>");
        assert!(page.contains("lines removed: 1, added: 2") && added.contains("word text,"), "{page}");
        let page = visitor.answer("/schema", &pair("shop")).await;
        assert!(page.contains("has no database") && page.contains("postgres"), "{page}");
        let same = [("one", "main"), ("other", "main"), ("database", "postgres")];
        assert!(visitor.answer("/schema", &same).await.contains("The schemas are the same"));

        // More points than there may be computes: the oldest go.
        for number in 0..6 {
            let sql = format!("INSERT INTO kept VALUES ({number})");
            main.batch_execute(&sql).await.unwrap();
            let page = visitor.query("main", "", "SELECT count(*) + 100 FROM kept").await;
            assert!(page.contains(&format!("<td>{}</td>", 102 + number)), "{page}");
        }
        let running = looks(&cluster).iter().filter(|name| name.ends_with(".pid")).count();
        assert!((1..=4).contains(&running), "{running}");
        served.end();
        assert_eq!(looks(&cluster), Vec::<String>::new());
    });
}

#[test]
fn what_a_killed_console_left_the_next_one_ends() {
    let cluster = Cluster::up("console-killed").need_not_evict("it reads little");
    block_on(async {
        let served = Served::start(&cluster);
        cluster.refuses(&["console", "--listen", "127.0.0.1:0"], "has a console already");
        let visitor = Visitor::log_in(&served).await;
        assert!(visitor.query("main", "", "SELECT 40 + 2").await.contains("<td>42</td>"));
        served.kill();
        let left = looks(&cluster);
        assert!(cluster.pid("console.1").is_some() && left.len() == 2, "{left:?}");
        let next = Served::start(&cluster);
        assert_eq!(looks(&cluster), Vec::<String>::new());
        assert_eq!(cluster.pid("console.1"), None);
        next.end();
    });
}

/// The browser goes while the compute starts.
#[test]
fn a_query_that_is_given_up_leaves_no_compute() {
    let cluster = Cluster::up("console-given-up").need_not_evict("it reads little");
    block_on(async {
        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;
        let starts = eventually("a compute starts", Duration::from_secs(30), async || {
            cluster.pid("console.1").is_some()
        });
        tokio::select! {
            page = visitor.query("main", "", "SELECT 40 + 2") => panic!("it was answered before: {page}"),
            () = starts => {}
        }
        // Its place is not given to the next one.
        assert!(visitor.query("main", "", "SELECT 40 + 2").await.contains("<td>42</td>"));
        served.end();
        assert_eq!(looks(&cluster), Vec::<String>::new());
        assert_eq!(cluster.pid("console.1"), None);
    });
}
