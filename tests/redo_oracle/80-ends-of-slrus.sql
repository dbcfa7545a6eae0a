-- More than a million transactions, so that a whole segment of pg_xact (and many of pg_commit_ts) is in nobody's way
-- any more once run.sh has frozen everything: CLOG TRUNCATE, CommitTs TRUNCATE, and CLOG ZEROPAGE on the way.
SET synchronous_commit = off;
DO $$ BEGIN FOR i IN 1..1060000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$;

-- Pages of a GiST index that vacuum deleted, taken again by inserts: Gist PAGE_REUSE. The second vacuum finds them
-- free, once a transaction has begun and ended since.
CREATE TABLE reused (p point) WITH (autovacuum_enabled = off);
CREATE INDEX reused_p ON reused USING gist (p);
INSERT INTO reused SELECT point(i % 100, i / 100) FROM generate_series(1, 10000) i;
DELETE FROM reused;
VACUUM reused;
SELECT txid_current();
VACUUM reused;
INSERT INTO reused SELECT point(i % 100, i / 100) FROM generate_series(1, 5000) i;
