-- Heap: inserts, updates of all kinds, deletes, pruning, vacuum, freezing, TOAST, speculative inserts,
-- multi-inserts, truncation.
CREATE TABLE plain (id int PRIMARY KEY, filler text, n int);
INSERT INTO plain SELECT i, repeat('x', i % 200), 0 FROM generate_series(1, 5000) i;
UPDATE plain SET n = n + 1 WHERE id % 3 = 0;
UPDATE plain SET n = n + 1 WHERE id % 5 = 0;
UPDATE plain SET id = -id WHERE id % 7 = 0;
DELETE FROM plain WHERE id % 11 = 0;
VACUUM plain;
UPDATE plain SET filler = filler || 'tail', n = n + 1 WHERE id % 2 = 0;
VACUUM (FREEZE) plain;
UPDATE plain SET n = n + 1 WHERE id % 13 = 0;
DELETE FROM plain WHERE id % 17 = 0;
SELECT count(*) FROM plain;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) plain;

-- HOT chains, pruned by readers
CREATE TABLE hot (id int PRIMARY KEY, a int, b text) WITH (fillfactor = 50, autovacuum_enabled = off);
INSERT INTO hot SELECT i, 0, 'some text that stays the same' FROM generate_series(1, 500) i;
DO $$ BEGIN FOR i IN 1..30 LOOP UPDATE hot SET a = a + 1; PERFORM count(*) FROM hot; COMMIT; END LOOP; END $$;
DELETE FROM hot WHERE id % 2 = 0;
SELECT count(*) FROM hot;
VACUUM hot;
VACUUM hot;
DELETE FROM hot WHERE id > 100;
VACUUM hot;

-- TOAST
CREATE TABLE toasted (id int PRIMARY KEY, big text);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat(md5(i::text), 400) FROM generate_series(1, 60) i;
UPDATE toasted SET big = big || 'more' WHERE id % 4 = 0;
DELETE FROM toasted WHERE id % 5 = 0;
VACUUM toasted;

-- ON CONFLICT: inserts on speculation, confirmed and taken back
CREATE TABLE upsert (k int PRIMARY KEY, v int);
INSERT INTO upsert SELECT i % 100, 1 FROM generate_series(1, 100) i;
DO $$ BEGIN FOR i IN 1..300 LOOP
  INSERT INTO upsert VALUES (i % 150, i) ON CONFLICT (k) DO UPDATE SET v = upsert.v + 1; END LOOP; END $$;
INSERT INTO upsert VALUES (1, 1), (1000, 1) ON CONFLICT DO NOTHING;

-- COPY: multi-insert; COPY FREEZE sets the map at once
CREATE TABLE copied (a int, b text, c float8);
INSERT INTO copied SELECT i, 'row ' || i, i / 3.0 FROM generate_series(1, 3000) i;
COPY copied TO :'copyfile';
COPY copied FROM :'copyfile';
BEGIN;
TRUNCATE copied;
COPY copied FROM :'copyfile' WITH (FREEZE);
COMMIT;
INSERT INTO copied VALUES (0, NULL, NULL);
UPDATE copied SET b = NULL WHERE a % 9 = 0;
CREATE TABLE made_by_select AS SELECT * FROM copied;
COPY made_by_select FROM :'copyfile';

-- all-visible bits that are cleared again, by each kind of change
CREATE TABLE visible (id int, t text);
INSERT INTO visible SELECT i, repeat('v', 100) FROM generate_series(1, 4000) i;
VACUUM visible;
UPDATE visible SET t = repeat('w', 150) WHERE id = 100;
DELETE FROM visible WHERE id = 3000;
INSERT INTO visible VALUES (0, 'new');
VACUUM (FREEZE) visible;
BEGIN; SELECT 1 FROM visible WHERE id = 50 FOR UPDATE; ROLLBACK;
SELECT 1 FROM visible WHERE id = 60 FOR KEY SHARE;
VACUUM (FREEZE) visible;
UPDATE visible SET t = 'short' WHERE id BETWEEN 1000 AND 1100;

-- truncation at the end, growth after it
DELETE FROM visible WHERE id > 500;
VACUUM (TRUNCATE) visible;
INSERT INTO visible SELECT i, repeat('y', 100) FROM generate_series(1, 2000) i;
TRUNCATE visible;
INSERT INTO visible VALUES (1, 'one');

-- rows that move between partitions
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
INSERT INTO parted SELECT i, 'p' || i FROM generate_series(0, 199) i;
UPDATE parted SET k = (k + 100) % 200 WHERE k % 10 = 0;

-- replica identity, for old tuples in records
ALTER TABLE parted_low REPLICA IDENTITY FULL;
UPDATE parted_low SET v = v || '!' WHERE k < 50;
DELETE FROM parted_low WHERE k < 20;

-- subtransactions, aborted and not
BEGIN;
INSERT INTO plain VALUES (100001, 'a', 1);
SAVEPOINT a; INSERT INTO plain VALUES (100002, 'b', 1); ROLLBACK TO a;
SAVEPOINT b; INSERT INTO plain VALUES (100003, 'c', 1); RELEASE b;
COMMIT;
DO $$ BEGIN FOR i IN 1..200 LOOP BEGIN
  INSERT INTO plain VALUES (200000 + i, 'sub', 1); IF i % 3 = 0 THEN RAISE 'no'; END IF;
  EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;

-- two-phase
BEGIN; INSERT INTO plain VALUES (300001, 'prepared', 1); PREPARE TRANSACTION 'one';
BEGIN; DELETE FROM plain WHERE id = 100001; SELECT 1 FROM plain WHERE id = 100003 FOR UPDATE; PREPARE TRANSACTION 'two';
COMMIT PREPARED 'one';
ROLLBACK PREPARED 'two';
