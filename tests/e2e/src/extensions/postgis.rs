//! PostGIS: geometry and geography, in every kind of index that it has, joined by where they are.

use std::path::Path;

use harness::{Cluster, StockServer, block_on, connect};

use super::Story;
use crate::{by_index, import, pgbench};

const FILL: &[&str] = &[
    "CREATE EXTENSION postgis",
    "CREATE TABLE places (id int PRIMARY KEY, at geometry(Point, 4326), solid geometry(PointZ), on_earth geography(Point))
     WITH (autovacuum_enabled = off, fillfactor = 80)",
    "CREATE TABLE areas (id int PRIMARY KEY, shape geometry(Polygon, 4326)) WITH (autovacuum_enabled = off, fillfactor = 80)",
    "INSERT INTO places SELECT g, p, ST_MakePoint(mix(g), mix(g + 1), mix(g + 2)), p::geography FROM (SELECT g,
     ST_SetSRID(ST_MakePoint(mix(g) / 1000.0 - 50, mix(g + 7) / 2000.0 - 25), 4326) p FROM generate_series(1, 30000) g) _",
    "INSERT INTO areas SELECT g, ST_Buffer(ST_SetSRID(ST_MakePoint(mix(g) / 1000.0 - 50, mix(g + 5) / 2000.0 - 25), 4326),
     0.1 + mix(g + 3) % 10 / 20.0) FROM generate_series(1, 8000) g",
];

const BUILD: &[&str] = &[
    "CREATE INDEX places_by_gist ON places USING gist (at)",
    "CREATE INDEX places_by_spgist ON places USING spgist (at)",
    "CREATE INDEX places_by_three ON places USING gist (solid gist_geometry_ops_nd)",
    "CREATE INDEX places_by_octree ON places USING spgist (solid spgist_geometry_ops_3d)",
    "CREATE INDEX places_by_brin ON places USING brin (at) WITH (pages_per_range = 4)",
    "CREATE INDEX places_on_earth ON places USING gist (on_earth)",
    "CREATE INDEX areas_by_gist ON areas USING gist (shape)",
    "CREATE INDEX areas_by_spgist ON areas USING spgist (shape)",
];

const QUERIES: &[(&str, &str)] = &[
    (
        "places_by_gist",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM places WHERE at && ST_MakeEnvelope(3, 4, 9, 7, 4326)",
    ),
    (
        "places_by_gist",
        "SELECT at <-> ST_SetSRID(ST_MakePoint(1.23, 4.56), 4326) FROM places ORDER BY 1 LIMIT 10",
    ),
    (
        "places_by_spgist",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM places WHERE at && ST_MakeEnvelope(-20, -4, -9, 7, 4326)",
    ),
    (
        "places_by_three",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM places
      WHERE solid &&& 'LINESTRING Z (20000 20000 20000, 50000 60000 70000)'::geometry",
    ),
    (
        "places_by_octree",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM places
      WHERE solid &/& 'LINESTRING Z (10000 20000 20000, 50000 60000 70000)'::geometry",
    ),
    (
        "places_by_brin",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM places WHERE at && ST_MakeEnvelope(30, 4, 39, 17, 4326)",
    ),
    (
        "places_on_earth",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM places
      WHERE ST_DWithin(on_earth, 'POINT(8.5 12.5)'::geography, 300000)",
    ),
    (
        "areas_by_gist",
        "SELECT count(*) || md5(string_agg(id || ' ' || ST_Area(shape), ',' ORDER BY id)) FROM areas
      WHERE ST_Intersects(shape, ST_MakeEnvelope(5, 5, 8, 8, 4326))",
    ),
    (
        "areas_by_spgist",
        "SELECT count(*) || md5(string_agg(id::text, ',' ORDER BY id)) FROM areas WHERE shape && ST_MakeEnvelope(-8, -5, 3, 8, 4326)",
    ),
    (
        "places_by_gist",
        "SELECT count(*) || md5(string_agg(a.id || ' ' || p.id, ',' ORDER BY a.id, p.id)) FROM areas a
      JOIN places p ON ST_Contains(a.shape, p.at) WHERE a.id % 400 = 7",
    ),
    (
        "areas_by_gist",
        "SELECT count(*) || md5(string_agg(a.id || ' ' || p.id, ',' ORDER BY a.id, p.id)) FROM places p
      JOIN areas a ON ST_DWithin(a.shape, p.at, 0.2) WHERE p.id % 2000 = 8",
    ),
];

#[test]
#[ignore = "needs packages that the machine lacks; make test-extensions runs it"]
fn what_is_where_is_found() {
    let story = Story {
        name: "postgis",
        fill: FILL,
        build: BUILD,
        change: &[
            "INSERT INTO places SELECT id + 100000 * ROUND, ST_Translate(at, 0.01 * ROUND, 0.02), ST_Translate(solid, 1, 2, 3),
             ST_Translate(at, 0.02, 0.02)::geography FROM places WHERE id < 100000 AND id % 10 = ROUND",
            "UPDATE areas SET shape = ST_Translate(shape, 0.5, 0.25 * ROUND) WHERE id % 20 = ROUND",
            "DELETE FROM places WHERE id % 17 = ROUND",
            "DELETE FROM areas WHERE id % 13 = ROUND",
            "VACUUM places, areas",
            "SELECT brin_summarize_new_values('places_by_brin')",
        ],
        queries: QUERIES,
    };
    story.tell(async |_| Vec::new());
}

#[test]
#[ignore = "as above"]
fn a_stock_server_with_postgis_becomes_a_branch() {
    let cluster = Cluster::up("postgis-import").need_not_evict("it reads what it has imported, and no more");
    let port = cluster.safekeeper_port(150);
    let directory = import::initdb(&cluster, "stock", "postgres");
    let stock = import::connstr(port);
    let _server = start_with_tables(&directory, port);
    block_on(async {
        cluster.varve(&["timeline", "import", "--branch-name", "atlas", "--from", &stock]);
        let ours = import::endpoint(&cluster, "atlas").await;
        let client = connect(&ours).await.unwrap();
        let version = by_index::text(&client, "SELECT postgis_full_version()").await;
        assert!(version[0].contains("GEOS"), "{version:?}");
        let (answers, expected) =
            (by_index::answers(&ours, QUERIES).await, by_index::answers(&stock, QUERIES).await);
        assert_eq!(answers, expected);
        assert_eq!(pgbench::dump(&ours), pgbench::dump(&stock));
        pgbench::amcheck(&ours);
        // It lives on.
        let moved = "UPDATE places SET at = ST_Translate(at, 1, 1) WHERE id < 2000; VACUUM places";
        for statement in moved.split("; ") {
            client.batch_execute(statement).await.unwrap();
            connect(&stock).await.unwrap().batch_execute(statement).await.unwrap();
        }
        let (answers, moved) =
            (by_index::answers(&ours, QUERIES).await, by_index::answers(&stock, QUERIES).await);
        assert_eq!(answers, moved);
        assert_ne!(moved, expected);
    });
}

fn start_with_tables(directory: &Path, port: u16) -> StockServer<'_> {
    let server = StockServer::start_with(directory, port, &["allow_system_table_mods=on"]);
    block_on(async {
        let client = connect(&import::connstr(port)).await.unwrap();
        for statement in [super::beside::MIX].iter().chain(FILL).chain(BUILD) {
            client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    });
    server
}
