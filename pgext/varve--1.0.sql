-- Objects of the extension varve; they live in the schema of the same name.
\echo Use "CREATE EXTENSION varve" to load this file. \quit

CREATE FUNCTION varve.cache_counters(
    OUT chunks bigint, OUT relations bigint, OUT free_entries bigint,
    OUT valid_blocks bigint, OUT valid_bytes bigint,
    OUT misses bigint, OUT filled_blocks bigint, OUT guard_refusals bigint,
    OUT fill_failures bigint, OUT recycled_entries bigint, OUT zero_pages_suspect bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_cache'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FUNCTION varve.pageserver_counters(
    OUT requests bigint, OUT blocks_fetched bigint, OUT wait_microseconds bigint,
    OUT connects bigint, OUT reconnects bigint, OUT errors bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_pageserver'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE VIEW varve.cache AS SELECT * FROM varve.cache_counters();
COMMENT ON VIEW varve.cache IS 'what the sparse cache of this compute holds and has done since its start';

CREATE VIEW varve.pageserver AS SELECT * FROM varve.pageserver_counters();
COMMENT ON VIEW varve.pageserver IS 'traffic between this compute and the pageserver since the start';

REVOKE ALL ON FUNCTION varve.cache_counters(), varve.pageserver_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION varve.cache_counters(), varve.pageserver_counters() TO pg_monitor;
GRANT USAGE ON SCHEMA varve TO pg_monitor;
GRANT SELECT ON varve.cache, varve.pageserver TO pg_monitor;
