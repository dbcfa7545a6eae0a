//! pgvector: nearest neighbours. ivfflat that looks into every list finds what a scan finds. hnsw builds a graph by
//! chance, another one on each server: it must find nearly all of the nearest, and the same warm and cold.

use std::collections::BTreeSet;

use harness::connect;

use super::Story;
use crate::by_index::{found_by, found_by_scan};

const NEAREST: usize = 10;
/// Of a hundred neighbours that hnsw must find at least so many.
const RECALL: usize = 95;

const STORY: Story<'static> = Story {
    name: "pgvector",
    fill: &[
        "CREATE EXTENSION vector",
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(96), half halfvec(96))
         WITH (autovacuum_enabled = off, fillfactor = 80)",
        // Around forty centres, as what people look for is.
        "CREATE FUNCTION embed(int) RETURNS float4[] IMMUTABLE LANGUAGE sql AS $$ SELECT array_agg(
         (mix($1 % 40 * 96 + i) + mix($1 * 96 + i) / 4) / 100000.0 ORDER BY i)::float4[] FROM generate_series(1, 96) i $$",
        "INSERT INTO items SELECT g, e::vector, e::halfvec FROM (SELECT g, embed(g) e FROM generate_series(1, 7000) g) _",
    ],
    build: &[
        "CREATE INDEX by_lists ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 20)",
        "CREATE INDEX by_graph ON items USING hnsw (embedding vector_cosine_ops)",
        // A little more than the memory that it may use: it goes on within the pages, which are logged at the end.
        "SET maintenance_work_mem = '6MB'; CREATE INDEX by_half ON items USING hnsw (half halfvec_l2_ops);
         RESET maintenance_work_mem",
    ],
    change: &[
        "INSERT INTO items SELECT g, e::vector, e::halfvec
         FROM (SELECT g, embed(g) e FROM generate_series(7000 + ROUND * 200, 7199 + ROUND * 200) g) _",
        "UPDATE items SET half = embed(id + 1)::halfvec WHERE id % 40 = ROUND",
        "DELETE FROM items WHERE id % 21 = ROUND",
        "VACUUM items",
    ],
    queries: &[
        ("by_lists", "SELECT id FROM items ORDER BY embedding <-> embed(777)::vector LIMIT 20"),
        ("by_lists", "SELECT id FROM items ORDER BY embedding <-> embed(12345)::vector LIMIT 20"),
    ],
};

async fn hnsw(connstr: &str) -> Vec<String> {
    let client = connect(connstr).await.expect("a connection");
    client.batch_execute("SET hnsw.ef_search = 200").await.unwrap();
    let (mut found, mut wanted) = (0, 0);
    for (index, distance, kind) in
        [("by_graph", "embedding <=>", "vector"), ("by_half", "half <->", "halfvec")]
    {
        for of in (0..10).map(|n| n * 711) {
            let query =
                format!("SELECT id FROM items ORDER BY {distance} embed({of})::{kind} LIMIT {NEAREST}");
            let by_graph = found_by(&client, index, &query).await;
            assert_eq!(by_graph, found_by(&client, index, &query).await, "the same graph finds the same");
            let by_scan: BTreeSet<String> = found_by_scan(&client, &query).await.into_iter().collect();
            assert_eq!((by_graph.len(), by_scan.len()), (NEAREST, NEAREST));
            wanted += NEAREST;
            found += by_graph.iter().filter(|id| by_scan.contains(*id)).count();
        }
    }
    eprintln!("hnsw found {found} of {wanted}");
    assert!(found * 100 >= wanted * RECALL, "{found} of {wanted} neighbours were found");
    Vec::new()
}

#[test]
#[ignore = "as postgis; Debian 12 has no pgvector for PostgreSQL 15"]
fn neighbours_are_found() {
    STORY.tell(hnsw);
}
