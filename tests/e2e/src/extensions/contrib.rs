//! What is in PostgreSQL's own package: words found by parts of them, bloom filters, statements counted.

use harness::{Cluster, block_on, number};

use super::Story;

const WORDS: Story<'static> = Story {
    name: "contrib-words",
    fill: &[
        "CREATE EXTENSION pg_trgm",
        "CREATE EXTENSION bloom",
        "CREATE TABLE texts (id int PRIMARY KEY, body text, a int, b int, c int)
         WITH (autovacuum_enabled = off, fillfactor = 80)",
        "INSERT INTO texts SELECT g, (SELECT string_agg(md5(mix(g * 4 + w)::text), ' ') FROM generate_series(0, 3) w),
         mix(g) % 300, mix(g + 1) % 300, mix(g + 2) % 300 FROM generate_series(1, 24000) g",
    ],
    build: &[
        "CREATE INDEX by_trigrams ON texts USING gin (body gin_trgm_ops)",
        "CREATE INDEX by_signature ON texts USING gist (body gist_trgm_ops (siglen = 32))",
        "CREATE INDEX by_bloom ON texts USING bloom (a, b, c)",
    ],
    change: &[
        "INSERT INTO texts SELECT 24000 + ROUND * 2000 + g, md5(mix(g * ROUND)::text) || ' ' || md5(mix(g)::text), mix(g) % 300,
         mix(g + 1) % 300, mix(g + ROUND) % 300 FROM generate_series(1, 2000) g",
        "UPDATE texts SET body = body || md5(a::text), b = b + ROUND WHERE id % 50 = ROUND",
        "DELETE FROM texts WHERE id % 31 = ROUND",
        "VACUUM texts",
    ],
    queries: &[
        ("by_trigrams", "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM texts WHERE body LIKE '%ab3c%'"),
        ("by_trigrams", "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM texts WHERE body ~ 'a[bc]{2}9.*f00'"),
        ("by_signature", "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM texts WHERE body ILIKE '%DEAD%'"),
        ("by_signature", "SELECT body <-> 'c4ca4238a0b923820dcc509a6f75849b' FROM texts ORDER BY 1 LIMIT 10"),
        ("by_bloom", "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM texts WHERE a = 42 AND c = 17 OR b = 117"),
    ],
};

#[test]
fn words_are_found_by_parts_of_them() {
    WORDS.tell(async |_| Vec::new());
}

#[test]
fn statements_are_counted() {
    let settings = ["shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=all"];
    let cluster = Cluster::up_with("contrib-statements", &settings).need_not_evict("it has next to no data");
    let calls = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query LIKE 'SELECT count(*) FROM counted%'";
    block_on(async {
        let client = cluster.connect("main").await;
        client
            .batch_execute("CREATE EXTENSION pg_stat_statements; CREATE TABLE counted (n int)")
            .await
            .unwrap();
        for _ in 0..7 {
            number(&client, "SELECT count(*) FROM counted WHERE n > 5").await;
        }
        assert_eq!(number(&client, calls).await, 7);
        cluster.varve(&["endpoint", "stop", "main"]);
        cluster.varve(&["endpoint", "start", "main"]);

        // Whether it remembers is not its promise; that it goes on counting is.
        let client = cluster.connect("main").await;
        let before = number(&client, calls).await;
        number(&client, "SELECT count(*) FROM counted WHERE n > 6").await;
        assert_eq!(number(&client, calls).await, before + 1);
        let preloaded = client.query_one("SHOW shared_preload_libraries", &[]).await.unwrap();
        assert_eq!(preloaded.get::<_, String>(0), "varve,pg_stat_statements");
    });
}
