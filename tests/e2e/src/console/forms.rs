//! What forms do is done in the cluster.

use std::time::Duration;

use harness::{Cluster, block_on, eventually, number};
use types::Lsn;

use super::served::{Served, Visitor, between};

#[test]
fn branches_are_made_taken_back_and_deleted() {
    let cluster = Cluster::up("console-branches").need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept SELECT generate_series(1, 1000)")
            .await
            .unwrap();
        let before: String = main.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        main.batch_execute("DROP TABLE kept").await.unwrap();

        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;
        let page = visitor.does("/", &[("name", "then"), ("of", "main"), ("at", &before)]).await;
        assert!(page.contains("<svg class=\"tree\"") && page.contains("class=\"fork\""), "{page}");
        let row = between(&page, "<tbody>", "</tbody>");
        assert!(row.contains(">then</a>") && row.contains(">main</a>") && row.contains("UTC"), "{row}");
        assert_ne!(cluster.ids("then"), cluster.ids("main"));
        visitor.does("/", &[("name", "dev"), ("of", "then"), ("at", "")]).await;
        visitor.is_refused("/", &[("name", "dev"), ("of", "main"), ("at", "")], "already").await;
        visitor.is_refused("/", &[("name", "a b"), ("of", "main"), ("at", "")], "no good name").await;
        visitor.is_refused("/", &[("name", "x"), ("of", "main"), ("at", "noon")], "neither an LSN").await;
        visitor.is_refused("/", &[("name", "x"), ("of", "none"), ("at", "")], "there is no branch").await;

        let restore = [("branch", "main"), ("to", before.as_str()), ("keep_as", "wrong")];
        visitor.is_refused("/branch/restore", &restore, "varve endpoint stop main").await;
        drop(main);
        visitor.does("/endpoints/stop", &[("endpoint", "main")]).await;
        assert_eq!(cluster.pid("endpoint-main"), None);
        visitor.is_refused("/branch/restore", &[("branch", "main"), ("to", "")], "say where to").await;
        let page = visitor.does("/branch/restore", &restore).await;
        assert!(page.contains("what it was until now is branch"), "{page}");
        visitor.does("/endpoints/start", &[("endpoint", "main")]).await;
        let main = cluster.connect("main").await;
        assert_eq!(number(&main, "SELECT count(*) FROM kept").await, 1000);
        cluster.ids("wrong");

        let delete = |branch: &'static str, confirm: &'static str| [("branch", branch), ("confirm", confirm)];
        visitor.is_refused("/branch/delete", &delete("dev", "main"), "is not the name of the branch").await;
        visitor.is_refused("/branch/delete", &delete("then", "then"), "has branches that need").await;
        visitor.does("/branch/delete", &delete("dev", "dev")).await;
        visitor.does("/branch/delete", &delete("then", "then")).await;
        assert!(!cluster.varve(&["timeline", "list"]).contains("then"));
        served.end();
    });
}

#[test]
fn endpoints_are_made_started_stopped_and_deleted() {
    let cluster = Cluster::up("console-endpoints").need_not_evict("it reads little");
    cluster.varve(&["timeline", "branch", "--branch-name", "dev"]);
    block_on(async {
        let main = cluster.connect("main").await;
        main.batch_execute("CREATE TABLE t AS SELECT 1 AS id").await.unwrap();
        let then: String = main.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        main.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;

        let fields = |name, branch, does, at| {
            [("name", name), ("branch", branch), ("does", does), ("at", at), ("start", "yes")]
        };
        let page = visitor.does("/endpoints", &fields("dev", "dev", "writes", "")).await;
        assert!(page.contains("data-state=\"running\""), "{page}");
        let shown =
            between(between(&page, "aria-labelledby=\"endpoint-dev\"", "</article>"), "<code>", "</code>")
                .to_owned();
        assert_eq!(shown.replace("&amp;", "&"), cluster.connstr("dev"));
        cluster.connect("dev").await.batch_execute("CREATE TABLE of_dev (id int)").await.unwrap();

        visitor
            .is_refused("/endpoints", &fields("past", "main", "stands", ""), "say where in the past")
            .await;
        visitor.is_refused("/endpoints", &fields("../x", "main", "writes", ""), "no good name").await;
        visitor.is_refused("/endpoints", &fields("two", "main", "writes", ""), "only one at a time").await;
        visitor.does("/endpoints", &fields("past", "main", "stands", &then)).await;
        assert_eq!(number(&cluster.connect("past").await, "SELECT count(*) FROM t").await, 1);

        visitor
            .is_refused(
                "/endpoints/delete",
                &[("endpoint", "dev")],
                "endpoint \"dev\" runs".replace('"', "&quot;").as_str(),
            )
            .await;
        visitor.does("/endpoints/stop", &[("endpoint", "dev")]).await;
        assert_eq!(cluster.pid("endpoint-dev"), None);
        visitor.does("/endpoints/start", &[("endpoint", "dev")]).await;
        assert!(cluster.pid("endpoint-dev").is_some());
        visitor.does("/endpoints/stop", &[("endpoint", "dev")]).await;
        visitor.does("/endpoints/delete", &[("endpoint", "dev")]).await;
        assert!(!cluster.varve(&["endpoint", "list"]).contains("dev"));
        served.end();
    });
}

#[test]
fn positions_move_and_layers_are_drawn() {
    let cluster = Cluster::up("console-positions").need_not_evict("it reads little");
    block_on(async {
        let main = cluster.connect("main").await;
        let served = Served::start(&cluster);
        let visitor = Visitor::log_in(&served).await;
        let head = async || {
            let page = visitor.page("/positions").await;
            let row = between(&page, "<th scope=\"row\">main</th>", "</tr>");
            let lsn: Lsn = between(row, "<code>", "</code>").parse().unwrap();
            assert_eq!(
                row.matches("<code>").count(),
                1 + 3 + 1,
                "the head, three safekeepers, a pageserver: {row}"
            );
            lsn
        };
        let first = head().await;
        main.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS id").await.unwrap();
        eventually("the head moves", Duration::from_secs(20), async || head().await > first + 100_000).await;
        let live =
            visitor.ask(reqwest::Method::GET, "/positions/live").send().await.unwrap().text().await.unwrap();
        assert!(live.contains("<th scope=\"row\">main</th>") && !live.contains("<html"), "{live}");
        cluster.kill("safekeeper-2");
        let page = visitor.page("/positions").await;
        assert!(page.contains("Down: safekeeper-2") && page.contains("does not answer"), "{page}");
        cluster.varve(&["start"]);

        let page = visitor.page("/layers?branch=main").await;
        assert!(page.contains("class=\"memory\"") && page.contains("in memory"), "{page}");
        let (tenant, timeline) = cluster.ids("main");
        let pageserver =
            pageserver_api::PageserverClient::new(&cluster.http_address("pageserver"), cluster.credentials());
        let ids = (tenant.parse().unwrap(), timeline.parse().unwrap());
        pageserver.checkpoint(ids.0, ids.1).await.unwrap();
        let layers = pageserver.layers(ids.0, ids.1).await.unwrap();
        assert!(!layers.historic_layers.is_empty());
        let page = visitor.page("/layers?branch=main").await;
        let drawn = page.matches("class=\"delta\"").count() + page.matches("class=\"image\"").count();
        // One each in the legend.
        assert_eq!(drawn, layers.historic_layers.len() + 2, "{page}");
        let file = &layers.historic_layers[0];
        assert!(
            page.contains(&file.lsn_start.to_string()) && page.contains("disk and object storage"),
            "{page}"
        );
        served.end();
    });
}
