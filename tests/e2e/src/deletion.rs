//! Branches and tenants that are deleted are gone: from every daemon, from every disk, from object storage.

use std::path::Path;

use harness::{Cluster, block_on};

use crate::offload::fill;

/// Files and directories anywhere in the cluster's storage whose paths name this id; without the pageserver's notes of what
/// was deleted, which name it inside.
fn traces(cluster: &Cluster, id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["pageserver", "safekeepers", "remote_storage"] {
        walk(&cluster.directory().join(part), id, &mut found);
    }
    found
}

fn walk(directory: &Path, id: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, id, found);
        } else if path.to_string_lossy().contains(id) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn a_branch_that_is_deleted_leaves_nothing() {
    let cluster = Cluster::up_configured("delete", "", "checkpoint_distance = 4194304")
        .need_not_evict("it writes much and reads little");
    block_on(async {
        fill(&cluster.connect("main").await, 1).await;
        cluster.varve(&["timeline", "branch", "--branch-name", "work"]);
        cluster.varve(&["timeline", "branch", "--branch-name", "task", "--ancestor-branch-name", "work"]);
        cluster.varve(&["endpoint", "create", "work", "--branch-name", "work"]);
        cluster.varve(&["endpoint", "start", "work"]);
        fill(&cluster.connect("work").await, 2).await;
        let (_, work) = cluster.ids("work");
        let (_, main) = cluster.ids("main");

        let delete = |branch| ["timeline", "delete", "--branch-name", branch];
        cluster.refuses(&delete("work"), "varve endpoint delete work");
        cluster.varve(&["endpoint", "stop", "work", "--destroy"]);
        cluster.refuses(&delete("work"), "\"task\"");
        cluster.refuses(&delete("nobody"), "there is no branch");
        assert!(traces(&cluster, &work).len() > 5, "its files are where they are looked for");

        cluster.varve(&delete("task"));
        // A safekeeper that is away misses the deletion, which the same command brings to its end.
        cluster.kill("safekeeper-2");
        cluster.refuses(&delete("work"), "safekeeper 2");
        cluster.varve(&["start"]);
        cluster.varve(&delete("work"));
        assert_eq!(traces(&cluster, &work), [""; 0]);
        cluster.refuses(&delete("work"), "there is no branch");
        cluster.refuses(&["timeline", "delete", "--timeline-id", &"ab".repeat(16)], "there is no timeline");

        // Whoever starts anew does not find it again, and what it left is as it was.
        cluster.varve(&["down"]);
        cluster.varve(&["up"]);
        let list = cluster.varve_json(&["timeline", "list"]);
        let ids: Vec<&str> =
            list.as_array().unwrap().iter().map(|t| t["timeline_id"].as_str().unwrap()).collect();
        assert_eq!(ids, [main.as_str()]);
        assert_eq!(traces(&cluster, &work), [""; 0]);
        let client = cluster.connect("main").await;
        let rows: i64 = client.query_one("SELECT count(*) FROM t1", &[]).await.unwrap().get(0);
        assert_eq!(rows, 20_000);
    });
}

#[test]
fn a_detached_branch_outlives_its_ancestor() {
    let cluster = Cluster::up_configured("detach", "", "checkpoint_distance = 4194304")
        .need_not_evict("it writes much and reads little");
    block_on(async {
        fill(&cluster.connect("main").await, 1).await;
        let branch = |name, of| ["timeline", "branch", "--branch-name", name, "--ancestor-branch-name", of];
        cluster.varve(&branch("work", "main"));
        cluster.varve(&["endpoint", "create", "work", "--branch-name", "work"]);
        cluster.varve(&["endpoint", "start", "work"]);
        let work = cluster.connect("work").await;
        fill(&work, 2).await;
        work.batch_execute("UPDATE t1 SET filler = filler || 'w' WHERE n % 7 = 0").await.unwrap();
        cluster.varve(&branch("task", "work"));
        work.batch_execute("DROP TABLE t1").await.unwrap();
        drop(work);
        cluster.varve(&["endpoint", "stop", "work", "--destroy"]);
        cluster.varve(&["endpoint", "create", "task", "--branch-name", "task"]);
        cluster.varve(&["endpoint", "start", "task"]);
        let sums = "SELECT (SELECT md5(string_agg(t1::text, ',' ORDER BY n)) FROM t1) \
                    || (SELECT md5(string_agg(t2::text, ',' ORDER BY n)) FROM t2)";
        let sum =
            async || -> String { cluster.connect("task").await.query_one(sums, &[]).await.unwrap().get(0) };
        let before = sum().await;

        let delete = ["timeline", "delete", "--branch-name", "work"];
        let detach = ["timeline", "detach-ancestor", "--branch-name", "task"];
        cluster.refuses(&delete, "detach-ancestor");
        assert_eq!(
            cluster.pageserver_timeline("task")["ancestor_timeline_id"],
            cluster.ids("work").1.as_str()
        );
        assert!(cluster.varve(&detach).contains("no more"));
        assert!(cluster.varve(&detach).contains("no ancestor"));
        assert!(cluster.pageserver_timeline("task")["ancestor_timeline_id"].is_null());
        let (_, work) = cluster.ids("work");
        cluster.varve(&delete);
        assert_eq!(traces(&cluster, &work), [""; 0]);
        // Nothing but object storage is left to read from.
        cluster.varve(&["endpoint", "stop", "task"]);
        cluster.varve(&["pageserver", "stop"]);
        std::fs::remove_dir_all(cluster.directory().join("pageserver/tenants")).unwrap();
        cluster.varve(&["pageserver", "start"]);
        cluster.varve(&["endpoint", "start", "task"]);
        assert_eq!(sum().await, before);
        fill(&cluster.connect("task").await, 3).await;
        cluster.refuses(&["timeline", "detach-ancestor", "--branch-name", "nobody"], "there is no branch");
    });
}

#[test]
fn a_tenant_goes_with_all_its_branches() {
    let cluster = Cluster::up("delete-tenant").need_not_evict("it reads little");
    let made = cluster.varve_json(&["tenant", "create"]);
    let tenant = made["tenant_id"].as_str().expect("an id");
    cluster.varve(&["timeline", "branch", "--branch-name", "other", "--tenant-id", tenant]);
    cluster.varve(&["endpoint", "create", "theirs", "--tenant-id", tenant]);
    cluster.refuses(&["tenant", "delete", "--tenant-id", tenant], "varve endpoint delete theirs");
    cluster.varve(&["endpoint", "delete", "theirs"]);
    assert!(traces(&cluster, tenant).len() > 5);
    cluster.varve(&["tenant", "delete", "--tenant-id", tenant]);
    let left = traces(&cluster, tenant);
    assert!(left.len() == 1 && left[0].contains("tenant.json"), "only that it was deleted: {left:?}");
    cluster.refuses(&["tenant", "delete", "--tenant-id", &"ab".repeat(16)], "there is no tenant");
    cluster.refuses(&["tenant", "create", "--tenant-id", tenant], "was deleted");
    cluster.varve(&["down"]);
    cluster.varve(&["up"]);
    let tenants = cluster.varve_json(&["tenant", "list"]);
    assert_eq!(tenants.as_array().unwrap().len(), 1, "{tenants}");
    block_on(async { cluster.connect("main").await.batch_execute("SELECT 1").await.unwrap() });
}

#[test]
fn an_archived_branch_waits_in_object_storage() {
    let cluster = Cluster::up("archive").need_not_evict("it reads little");
    block_on(async {
        cluster.varve(&["timeline", "branch", "--branch-name", "old"]);
        cluster.varve(&["endpoint", "create", "old", "--branch-name", "old"]);
        cluster.varve(&["endpoint", "start", "old"]);
        cluster.connect("old").await.batch_execute("CREATE TABLE kept AS SELECT 42 AS n").await.unwrap();
        let archive = |branch| ["timeline", "archive", "--branch-name", branch];
        cluster.refuses(&archive("old"), "varve endpoint stop old");
        cluster.varve(&["endpoint", "stop", "old"]);
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.refuses(&archive("main"), "\"old\"");
        cluster.varve(&archive("old"));
        cluster.varve(&archive("old"));
        let (tenant, timeline) = cluster.ids("old");
        let layers = cluster.directory().join(format!("pageserver/tenants/{tenant}/timelines/{timeline}"));
        assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 0, "no layers here");
        assert!(cluster.varve(&["timeline", "list"]).contains("old (archived)"));
        cluster.refuses(&["endpoint", "start", "old"], "varve timeline unarchive");
        let branch = ["timeline", "branch", "--branch-name", "x", "--ancestor-branch-name", "old"];
        cluster.refuses(&branch, "is archived");

        cluster.varve(&["pageserver", "stop"]);
        cluster.varve(&["pageserver", "start"]);
        assert_eq!(cluster.pageserver_timeline("old")["walreceiver_status"], "archived");
        cluster.varve(&["timeline", "unarchive", "--branch-name", "old"]);
        cluster.varve(&["endpoint", "start", "old"]);
        cluster.varve(&["endpoint", "start", "main"]);
        let old = cluster.connect("old").await;
        let n: i32 = old.query_one("SELECT n FROM kept", &[]).await.unwrap().get(0);
        assert_eq!(n, 42);
        old.batch_execute("INSERT INTO kept VALUES (43)").await.unwrap();
    });
}
