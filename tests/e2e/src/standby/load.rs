//! Work for the comparison: every kind of index grows, splits, is vacuumed and shrinks; maps, multixacts and
//! many subtransactions; files come and go.

use tokio_postgres::{Client, Error};

/// Indexes first, so that rows go into them one by one.
const TABLES: &[&str] = &[
    "CREATE TABLE things (n int PRIMARY KEY, words text[], area box, place point, name text, filler text)",
    "CREATE INDEX things_gin ON things USING gin (words)",
    "CREATE INDEX things_gist ON things USING gist (area)",
    "CREATE INDEX things_spgist ON things USING spgist (name)",
    "CREATE INDEX things_kd ON things USING spgist (place)",
    "CREATE INDEX things_hash ON things USING hash (name)",
    "CREATE INDEX things_brin ON things USING brin (n) WITH (pages_per_range = 4)",
    "CREATE INDEX things_expression ON things (lower(name), n)",
    "CREATE TABLE rows (n int, s serial)",
    "CREATE TABLE cut (n int PRIMARY KEY, t text)",
    "CREATE UNLOGGED TABLE unlogged (n int PRIMARY KEY)",
    "CREATE SEQUENCE numbers CACHE 10",
    "CREATE VIEW some_things AS SELECT n, name FROM things WHERE n % 7 = 0",
];

const SECOND_HALF: &[&str] = &[
    "ALTER TABLE things ADD COLUMN later int DEFAULT 7",
    "CREATE INDEX things_gin_built ON things USING gin (words)",
    "CREATE INDEX things_gist_built ON things USING gist (place)",
    "CREATE INDEX things_hash_built ON things USING hash (n)",
    "CREATE INDEX things_spgist_built ON things USING spgist (name)",
    "DROP INDEX things_expression",
    "CREATE MATERIALIZED VIEW counted AS SELECT n % 10 AS digit, count(*) FROM things GROUP BY 1",
    "CREATE TABLE parts (n int, t text) PARTITION BY RANGE (n)",
    "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (1000)",
    "CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (1000) TO (2000)",
    "INSERT INTO parts SELECT n, md5(n::text) FROM generate_series(0, 1999) n",
    "CREATE DATABASE logged STRATEGY wal_log",
    "CREATE DATABASE copied STRATEGY file_copy",
    // In the data directory, for a standby on the same machine cannot have the primary's location.
    "SET allow_in_place_tablespaces = on",
    "CREATE TABLESPACE space LOCATION ''",
    "CREATE TABLE spaced (n int PRIMARY KEY) TABLESPACE space",
    "INSERT INTO spaced SELECT generate_series(1, 5000)",
    "ALTER TABLE rows SET TABLESPACE space",
    // Mapped relations get new files.
    "VACUUM FULL pg_class",
    "VACUUM FULL pg_database",
    "CLUSTER things USING things_pkey",
    "DROP TABLE cut",
    "VACUUM FREEZE rows",
];

/// Rows from `first` to `last`; then some change, some go, and vacuum cleans up behind them.
pub async fn churn(client: &Client, first: u32, last: u32) -> Result<(), Error> {
    let insert = format!(
        "INSERT INTO things SELECT n, ARRAY[md5(n::text), 'w' || n % 100, 'common'], box(point(n % 977, n % 1009), point(n % 977 + 5, n % 1009 + 5)),
            point(n % 331, n % 733), 'name ' || md5((n % 5000)::text), repeat(md5(n::text), 1 + n % 5) FROM generate_series({first}, {last}) n"
    );
    let wide = format!(
        "INSERT INTO cut SELECT n, string_agg(md5((n * k)::text), '') FROM generate_series({first}, {first} + 50) n, generate_series(1, 300) k GROUP BY n"
    );
    for statement in [
        &*insert,
        &*wide,
        "UPDATE things SET filler = 'short' WHERE n % 11 = 0",
        "UPDATE things SET name = 'changed ' || n, place = point(n, n) WHERE n % 13 = 0",
        "DELETE FROM things WHERE n % 3 = 0",
        "VACUUM things",
        "DELETE FROM things WHERE n % 4 <> 0 AND n % 20000 < 6000",
        "VACUUM things",
        "SELECT count(nextval('numbers')) FROM generate_series(1, 100)",
        "INSERT INTO rows SELECT generate_series(1, 5000)",
        "BEGIN; INSERT INTO rows SELECT generate_series(1, 1000); ROLLBACK",
        "DELETE FROM rows WHERE s % 5000 > 1000",
        // Cuts the files' ends.
        "VACUUM rows",
        "INSERT INTO unlogged SELECT n FROM generate_series(1, 100) n ON CONFLICT DO NOTHING",
        "ANALYZE",
    ] {
        run(client, statement).await?;
    }
    Ok(())
}

/// Two transactions lock the same rows, one of them under a subtransaction for each. With 20,000 rows these are more
/// multixacts than fit a page, and then more transactions than fit a page of pg_xact.
pub async fn multixacts(client: &Client, other: &Client, rows: u32) -> Result<(), Error> {
    let in_each_subtransaction = |body: &str, times: u32| {
        format!(
            "DO $$BEGIN FOR i IN 1..{times} LOOP BEGIN {body}; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END$$"
        )
    };
    run(client, "BEGIN").await?;
    let locked = format!("SELECT count(*) FROM (SELECT FROM things WHERE n <= {rows} FOR SHARE) locked");
    run(client, &locked).await?;
    let lock = "PERFORM FROM things WHERE n = 4 * i FOR KEY SHARE";
    run(other, &in_each_subtransaction(lock, rows / 4)).await?;
    run(client, "COMMIT").await?;
    run(client, &in_each_subtransaction("INSERT INTO rows VALUES (i)", rows + rows / 10 * 7)).await
}

pub async fn first_half(client: &Client) -> Result<(), Error> {
    for statement in TABLES {
        run(client, statement).await?;
    }
    churn(client, 1, 20_000).await?;
    run(client, "TRUNCATE cut").await
}

pub async fn second_half(client: &Client, other: &Client) -> Result<(), Error> {
    churn(client, 20_001, 30_000).await?;
    for statement in SECOND_HALF {
        run(client, statement).await?;
    }
    multixacts(client, other, 20_000).await?;
    run(client, "BEGIN; INSERT INTO rows VALUES (-1); PREPARE TRANSACTION 'pending'").await
}

pub async fn run(client: &Client, statement: &str) -> Result<(), Error> {
    client.batch_execute(statement).await
}
