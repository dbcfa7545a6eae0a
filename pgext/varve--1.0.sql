-- Objects of the extension varve; they live in the schema of the same name.
\echo Use "CREATE EXTENSION varve" to load this file. \quit

CREATE FUNCTION varve.cache_counters(
    OUT chunks bigint, OUT relations bigint, OUT free_entries bigint,
    OUT valid_blocks bigint, OUT valid_bytes bigint, OUT written_blocks bigint, OUT kept_blocks bigint,
    OUT misses bigint, OUT filled_blocks bigint, OUT guard_refusals bigint,
    OUT fill_failures bigint, OUT fills_not_stored bigint, OUT recycled_entries bigint,
    OUT evicted_chunks bigint, OUT evicted_blocks bigint, OUT refetched_blocks bigint,
    OUT punch_failures bigint, OUT disk_full_waits bigint,
    OUT page_images bigint, OUT fsm_images bigint, OUT zero_pages_suspect bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_cache'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FUNCTION varve.pageserver_counters(
    OUT requests bigint, OUT prefetches bigint, OUT prefetch_hits bigint,
    OUT blocks_fetched bigint, OUT wait_microseconds bigint,
    OUT connects bigint, OUT reconnects bigint, OUT errors bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_pageserver'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FUNCTION varve.lag_counters(
    OUT ingested_lsn pg_lsn, OUT lag_bytes bigint, OUT throttled bigint, OUT throttled_microseconds bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_lag'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FUNCTION varve.shadow_counters(
    OUT compared bigint, OUT refetched bigint, OUT refetched_equal bigint, OUT mismatches bigint,
    OUT all_visible_lost bigint, OUT live_cids_lost bigint, OUT live_tokens_lost bigint,
    OUT live_cycle_ids_lost bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_shadow'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FUNCTION varve.replica_counters(OUT records_replayed bigint, OUT records_passed_over bigint)
RETURNS record AS 'MODULE_PATHNAME', 'varve_replica'
LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE VIEW varve.cache AS SELECT * FROM varve.cache_counters();
COMMENT ON VIEW varve.cache IS 'what the sparse cache of this compute holds and has done since its start';

CREATE VIEW varve.pageserver AS SELECT * FROM varve.pageserver_counters();
COMMENT ON VIEW varve.pageserver IS 'traffic between this compute and the pageserver since the start';

CREATE VIEW varve.lag AS SELECT * FROM varve.lag_counters();
COMMENT ON VIEW varve.lag IS 'how far the pageserver is behind this compute, and how often writers paused for it';

CREATE VIEW varve.shadow AS SELECT * FROM varve.shadow_counters();
COMMENT ON VIEW varve.shadow IS 'for tests (varve.test_shadow): pages compared with a full copy';

CREATE VIEW varve.replica AS SELECT * FROM varve.replica_counters();
COMMENT ON VIEW varve.replica IS 'of a replica: WAL records of tables and B-trees, and how many of them needed no page';

REVOKE ALL ON FUNCTION varve.cache_counters(), varve.pageserver_counters(), varve.lag_counters(),
    varve.shadow_counters(), varve.replica_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION varve.cache_counters(), varve.pageserver_counters(), varve.lag_counters(),
    varve.shadow_counters(), varve.replica_counters() TO pg_monitor;
GRANT USAGE ON SCHEMA varve TO pg_monitor;
GRANT SELECT ON varve.cache, varve.pageserver, varve.lag, varve.shadow, varve.replica TO pg_monitor;
