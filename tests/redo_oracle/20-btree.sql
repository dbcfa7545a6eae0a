-- B-tree: splits at all levels, deduplication, posting list splits, deletion of tuples and pages.
CREATE TABLE dup (k int, v text) WITH (autovacuum_enabled = off);
CREATE INDEX dup_k ON dup (k);
CREATE INDEX dup_v ON dup (v);
INSERT INTO dup SELECT i % 50, 'value ' || i % 7 FROM generate_series(1, 20000) i;
INSERT INTO dup SELECT i % 50, 'value ' || i % 7 FROM generate_series(1, 5000) i;
DELETE FROM dup WHERE k = 3 OR k % 10 = 7;
VACUUM dup;
-- heap TIDs that fall between those of posting lists
INSERT INTO dup SELECT i % 50, 'value ' || i % 7 FROM generate_series(1, 8000) i;
DELETE FROM dup WHERE ctid IN (SELECT ctid FROM dup TABLESAMPLE BERNOULLI (30) REPEATABLE (1));
VACUUM dup;
INSERT INTO dup SELECT i % 50, 'value ' || i % 7 FROM generate_series(1, 8000) i;

-- wide keys: many levels
CREATE TABLE wide (k text) WITH (autovacuum_enabled = off);
CREATE INDEX wide_k ON wide (k);
INSERT INTO wide SELECT md5(i::text) || repeat('k', 1000) FROM generate_series(1, 3000) i;
INSERT INTO wide SELECT repeat('a', 1000) || lpad(i::text, 10, '0') FROM generate_series(1, 2000) i;

-- whole pages and subtrees deleted, then reused; the fast root moves down
DELETE FROM wide WHERE k < 'c' OR k > 'd';
VACUUM wide;
VACUUM wide;
INSERT INTO wide SELECT md5(i::text) || repeat('z', 500) FROM generate_series(1, 1500) i;
DELETE FROM wide;
VACUUM wide;
VACUUM wide;
SELECT txid_current();
VACUUM wide;
INSERT INTO wide SELECT repeat('b', 900) || lpad(i::text, 10, '0') FROM generate_series(1, 300) i;

-- ascending keys, most of them deleted at the left: internal pages go too
CREATE TABLE queue (id int PRIMARY KEY, t text DEFAULT repeat('q', 40)) WITH (autovacuum_enabled = off);
INSERT INTO queue SELECT i FROM generate_series(1, 40000) i;
DELETE FROM queue WHERE id < 38000;
VACUUM queue;
INSERT INTO queue SELECT i FROM generate_series(40001, 45000) i;
VACUUM queue;
DELETE FROM queue WHERE id < 44000;
VACUUM queue;
VACUUM queue;

-- LP_DEAD items: simple deletion; version churn: bottom-up deletion
CREATE TABLE churn (id int PRIMARY KEY, a int, b int) WITH (autovacuum_enabled = off, fillfactor = 100);
CREATE INDEX churn_a ON churn (a);
CREATE INDEX churn_b ON churn (b);
INSERT INTO churn SELECT i, i, i % 10 FROM generate_series(1, 1000) i;
DO $$ BEGIN FOR i IN 1..60 LOOP UPDATE churn SET a = a + 1 WHERE id % 4 = i % 4; COMMIT; END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..200 LOOP
  DELETE FROM queue WHERE id = 44000 + i; COMMIT;
  PERFORM * FROM queue WHERE id BETWEEN 44000 AND 44300; END LOOP; END $$;
SET enable_seqscan = off; SET enable_bitmapscan = off;
DO $$ BEGIN FOR i IN 1..40 LOOP
  DELETE FROM churn WHERE id BETWEEN i * 20 AND i * 20 + 10; COMMIT;
  PERFORM a FROM churn WHERE a BETWEEN 0 AND 2000;
  INSERT INTO churn SELECT 10000 + i * 100 + j, i * 20 + j, j FROM generate_series(1, 30) j; COMMIT; END LOOP; END $$;
RESET enable_seqscan; RESET enable_bitmapscan;
VACUUM churn;

-- non-default: descending, INCLUDE, expression, partial, unique with NULLs
CREATE UNIQUE INDEX churn_desc ON churn (id DESC) INCLUDE (a);
CREATE INDEX churn_expr ON churn ((a * 2)) WHERE b > 3;
INSERT INTO churn SELECT 50000 + i, i, NULL FROM generate_series(1, 2000) i;
REINDEX TABLE churn;
CREATE INDEX CONCURRENTLY churn_c ON churn (b, a);
REINDEX INDEX CONCURRENTLY churn_c;
