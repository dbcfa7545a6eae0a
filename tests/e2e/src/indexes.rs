//! Every index type of PostgreSQL under a cache of next to nothing: what queries by each index find is what a
//! sequential scan finds and what a stock server finds, warm, cold, and on a branch in the past.

use std::collections::BTreeSet;

use harness::{Cluster, StockServer, block_on, connect};
use tokio_postgres::Client;

use crate::by_index::{self, text};

/// Less than one of the indexes takes; every page is compared with a full copy.
const SETTINGS: [&str; 7] = [
    "shared_buffers=1MB",
    "varve.cache_size=2MB",
    "varve.log_cache_interval=1",
    "varve.debug=on",
    "varve.test_shadow=on",
    "max_parallel_workers_per_gather=0",
    // What was written is looked at in the end, however long that takes.
    "wal_keep_size=1GB",
];
const ROUNDS: u32 = 4;
/// Seen by a branch that is made at its end.
const PAST: u32 = 1;

const TABLE: &str = "
    CREATE TABLE docs (id int PRIMARY KEY, h text, j jsonb, a int[], ts tsvector, b box, r int4range, p point,
                       t text, d timestamp) WITH (autovacuum_enabled = off, fillfactor = 70);
    CREATE FUNCTION mix(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT abs(hashint4($1)) % 100000';
    CREATE FUNCTION fill(first int, last int) RETURNS void LANGUAGE sql AS $$
        INSERT INTO docs SELECT g, 'h' || mix(g) % 3000, jsonb_build_object('k', mix(g) % 700, 'w', 'w' || mix(g) % 90),
            ARRAY[mix(g) % 500, mix(g + 1) % 500, g % 7], to_tsvector('simple', 'w' || mix(g) % 800 || ' v' || g % 50),
            box(point(mix(g), mix(g + 5)), point(mix(g) + 40, mix(g + 5) + 40)),
            int4range(mix(g), mix(g) + 1 + mix(g + 3) % 50), point(mix(g + 8), mix(g + 9)),
            repeat(chr(97 + mix(g) % 26), 1 + mix(g + 2) % 12) || mix(g),
            timestamp '2026-01-01' + g * interval '1 minute' FROM generate_series(first, last) g $$;
    SELECT fill(1, 6000);
    CREATE INDEX by_hash ON docs USING hash (h);
    CREATE INDEX by_gin_pending ON docs USING gin (j) WITH (fastupdate = on, gin_pending_list_limit = 64);
    CREATE INDEX by_gin ON docs USING gin (a) WITH (fastupdate = off);
    CREATE INDEX by_gin_words ON docs USING gin (ts);
    CREATE INDEX by_gist_sorted ON docs USING gist (p);
    CREATE INDEX by_gist ON docs USING gist (b) WITH (buffering = on);
    CREATE INDEX by_gist_range ON docs USING gist (r);
    CREATE INDEX by_spgist_quad ON docs USING spgist (p);
    CREATE INDEX by_spgist_kd ON docs USING spgist (p kd_point_ops);
    CREATE INDEX by_spgist_text ON docs USING spgist (t);
    CREATE INDEX by_brin ON docs USING brin (d) WITH (pages_per_range = 4);
    CREATE INDEX by_brin_multi ON docs USING brin (id int4_minmax_multi_ops) WITH (pages_per_range = 2);
    CREATE INDEX by_brin_bloom ON docs USING brin (h text_bloom_ops) WITH (pages_per_range = 4);
    CREATE INDEX by_btree ON docs (h, (id % 10));
";

/// Index, condition. Of two indexes that serve a condition one is hidden from the planner.
const QUERIES: [(&str, &str); 13] = [
    ("by_hash", "h = 'h77'"),
    ("by_gin_pending", "j @> '{\"k\": 77}'"),
    ("by_gin", "a @> ARRAY[77, 3]"),
    ("by_gin_words", "ts @@ 'w77 & v7'::tsquery OR ts @@ 'w8'::tsquery"),
    ("by_gist_sorted", "p <@ box '(20000,20000),(30000,30000)'"),
    ("by_gist", "b && box '(5000,5000),(9000,9000)'"),
    ("by_gist_range", "r @> 4711"),
    ("by_spgist_quad", "p <@ box '(20000,20000),(30000,30000)'"),
    ("by_spgist_kd", "p <@ box '(1000,50000),(9000,90000)'"),
    ("by_spgist_text", "t ^@ 'ccc'"),
    ("by_brin", "d BETWEEN '2026-01-02' AND '2026-01-02 12:00'"),
    ("by_brin_multi", "id BETWEEN 1000 AND 1400"),
    ("by_brin_bloom", "h = 'h78'"),
];

/// What the load must have made PostgreSQL write, or the test would say little.
const RECORDS: [&str; 16] = [
    "Hash/ADD_OVFL_PAGE",
    "Hash/DELETE",
    "Hash/SPLIT_ALLOCATE_PAGE",
    "Gin/DELETE_LISTPAGE",
    "Gin/INSERT",
    "Gin/SPLIT",
    "Gin/VACUUM_PAGE",
    "Gist/PAGE_SPLIT",
    "Gist/PAGE_UPDATE",
    "SPGist/ADD_LEAF",
    "SPGist/PICKSPLIT",
    "SPGist/VACUUM_LEAF",
    "BRIN/DESUMMARIZE",
    "BRIN/SAMEPAGE_UPDATE",
    "Btree/DEDUP",
    "Btree/VACUUM",
];

async fn change(client: &Client, round: u32) {
    let (first, last) = (6001 + round * 2000, 8000 + round * 2000);
    for statement in [
        format!("SELECT fill({first}, {last})"),
        format!("UPDATE docs SET h = h || 'x', p = p + point(17, 3), a = a || {round} WHERE id % 5 = {}", round % 5),
        format!("DELETE FROM docs WHERE id % 11 = {round} OR id BETWEEN {0} AND {0} + 400", first - 1500),
        "VACUUM docs".to_owned(),
        "SELECT brin_summarize_new_values(i::regclass) FROM unnest('{by_brin,by_brin_multi,by_brin_bloom}'::text[]) i"
            .to_owned(),
        format!("SELECT brin_desummarize_range('by_brin', {}), gin_clean_pending_list('by_gin_pending')", round * 8),
        format!("UPDATE docs SET j = j || '{{\"w\": \"again\"}}' WHERE id % 13 = {round}"),
    ] {
        client.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// What each index finds.
async fn answers(connstr: &str) -> Vec<String> {
    let queries = QUERIES.map(|(index, condition)| {
        let found = "count(*) || ' ' || coalesce(md5(string_agg(id || h, ',' ORDER BY id)), '')";
        (index, format!("SELECT {found} FROM docs WHERE {condition}"))
    });
    by_index::answers(connstr, &queries).await
}

async fn records_written(client: &Client, since: &str) -> BTreeSet<String> {
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect").await.unwrap();
    let query = format!(
        "SELECT \"resource_manager/record_type\" FROM pg_get_wal_stats('{since}', pg_current_wal_flush_lsn(), true) WHERE count > 0"
    );
    text(client, &query).await.into_iter().collect()
}

#[test]
fn indexes_of_every_type_answer_as_on_stock() {
    let cluster = Cluster::up_with("indexes", &SETTINGS);
    block_on(async {
        let connstr = cluster.connstr("main");
        let directory = cluster.directory().join("stock");
        cluster.export("main", &directory);
        let stock_server = StockServer::start_with(
            &directory,
            cluster.safekeeper_port(100),
            &["allow_system_table_mods=on"],
        );
        let stock_connstr = stock_server.connstr(&connstr);
        let (main, stock) = (connect(&connstr).await.unwrap(), connect(&stock_connstr).await.unwrap());
        let begun = text(&main, "SELECT pg_current_wal_flush_lsn()").await.remove(0);
        for client in [&main, &stock] {
            client.batch_execute(TABLE).await.unwrap();
        }
        let mut past = Vec::new();
        for round in 0..ROUNDS {
            change(&stock, round).await;
            change(&main, round).await;
            let expected = answers(&stock_connstr).await;
            assert_eq!(answers(&connstr).await, expected, "round {round}");
            if round == PAST {
                let lsn = text(&main, "SELECT pg_current_wal_flush_lsn()").await.remove(0);
                cluster.varve(&["timeline", "branch", "--branch-name", "past", "--ancestor-start-lsn", &lsn]);
                past = expected;
            }
        }
        let written = records_written(&main, &begun).await;
        let missing: Vec<&str> = RECORDS.into_iter().filter(|name| !written.contains(*name)).collect();
        assert!(missing.is_empty(), "never written: {missing:?}; written: {written:?}");

        // From nothing: every page comes from the pageserver.
        cluster.kill("endpoint-main");
        cluster.varve(&["endpoint", "start", "main"]);
        assert_eq!(answers(&connstr).await, answers(&stock_connstr).await, "cold");
        crate::pgbench::amcheck(&connstr);
        cluster.varve(&["endpoint", "create", "past", "--branch-name", "past"]);
        cluster.varve(&["endpoint", "start", "past"]);
        assert_eq!(answers(&cluster.connstr("past")).await, past, "in the past");
        crate::pgbench::amcheck(&cluster.connstr("past"));
    });
    let activity = cluster.cache_activity();
    assert!(activity.evicted_chunks > 100 && activity.refetched_blocks > 1000, "{activity}");
}
