-- GIN, GiST, SP-GiST, hash, BRIN, bloom: builds, inserts, splits, vacuum.
CREATE EXTENSION bloom;
CREATE TABLE docs (id int, words int[], t tsvector) WITH (autovacuum_enabled = off);
CREATE INDEX docs_words ON docs USING gin (words);
CREATE INDEX docs_t ON docs USING gin (t) WITH (fastupdate = off);
INSERT INTO docs SELECT i, ARRAY[i % 10, i % 100, i], to_tsvector('simple', 'w' || i % 50 || ' x' || i)
  FROM generate_series(1, 6000) i;
SELECT gin_clean_pending_list('docs_words');
VACUUM docs;
DELETE FROM docs WHERE id % 3 = 0;
VACUUM docs;
INSERT INTO docs SELECT i, ARRAY[1, 2, i], to_tsvector('simple', 'w1 y' || i) FROM generate_series(1, 4000) i;
VACUUM docs;
DELETE FROM docs WHERE id < 5000;
VACUUM docs;
CREATE INDEX docs_built ON docs USING gin (words, t);
-- posting trees whose pages empty
CREATE TABLE postings (w int[]) WITH (autovacuum_enabled = off);
INSERT INTO postings SELECT ARRAY[1] FROM generate_series(1, 60000) i;
CREATE INDEX postings_w ON postings USING gin (w) WITH (fastupdate = off);
DELETE FROM postings WHERE ctid < '(150,0)';
VACUUM postings;
INSERT INTO postings SELECT ARRAY[1, i % 3] FROM generate_series(1, 8000) i;

CREATE TABLE shapes (id int, p point, b box, r int4range) WITH (autovacuum_enabled = off);
CREATE INDEX shapes_b ON shapes USING gist (b);
CREATE INDEX shapes_r ON shapes USING gist (r);
CREATE INDEX shapes_quad ON shapes USING spgist (p);
CREATE INDEX shapes_kd ON shapes USING spgist (p kd_point_ops);
INSERT INTO shapes SELECT i, point((i * 7919) % 1000, (i * 104729) % 1000),
  box(point(i % 300, i % 200), point(i % 300 + 5, i % 200 + 5)), int4range(i, i + i % 50 + 1)
  FROM generate_series(1, 8000) i;
DELETE FROM shapes WHERE id % 2 = 0;
VACUUM shapes;
INSERT INTO shapes SELECT i, point(5, 5), box(point(1, 1), point(2, 2)), int4range(1, 2) FROM generate_series(1, 2000) i;
DELETE FROM shapes WHERE id < 7000;
VACUUM shapes;
VACUUM shapes;
CREATE INDEX shapes_sorted ON shapes USING gist (p);
CREATE INDEX shapes_buffered ON shapes USING gist (b) WITH (buffering = on);
SET enable_seqscan = off;
DELETE FROM shapes WHERE id % 3 = 0;
SELECT count(*) FROM shapes WHERE b && box(point(0, 0), point(1000, 1000));
INSERT INTO shapes SELECT i, point(i, i), box(point(i % 9, i % 9), point(9, 9)), int4range(i, i + 1) FROM generate_series(1, 4000) i;
RESET enable_seqscan;

CREATE TABLE words (w text) WITH (autovacuum_enabled = off);
CREATE INDEX words_radix ON words USING spgist (w);
INSERT INTO words SELECT md5(i::text) FROM generate_series(1, 5000) i;
INSERT INTO words SELECT 'common prefix ' || repeat('a', i % 60) || i FROM generate_series(1, 3000) i;
INSERT INTO words SELECT 'same' FROM generate_series(1, 2000) i;
DELETE FROM words WHERE w LIKE 'common%7' OR w LIKE '%a%';
VACUUM words;
SELECT txid_current();
VACUUM words;

-- an inner tuple's prefix that has to be split; a root leaf that vacuum empties
CREATE TABLE paths (w text) WITH (autovacuum_enabled = off);
CREATE INDEX paths_radix ON paths USING spgist (w);
INSERT INTO paths SELECT repeat('prefix/', 8) || chr(97 + i % 26) || i FROM generate_series(1, 2000) i;
INSERT INTO paths SELECT repeat('prefix/', 8 - i % 8) || 'other' || i FROM generate_series(1, 200) i;
CREATE TABLE few (w text) WITH (autovacuum_enabled = off);
CREATE INDEX few_radix ON few USING spgist (w);
INSERT INTO few SELECT md5(i::text) FROM generate_series(1, 20) i;
DELETE FROM few WHERE w < '9';
VACUUM few;

CREATE TABLE hashed (k int, t text) WITH (autovacuum_enabled = off);
CREATE INDEX hashed_k ON hashed USING hash (k);
INSERT INTO hashed SELECT i, 't' || i FROM generate_series(1, 8000) i;
INSERT INTO hashed SELECT 1, 'same' FROM generate_series(1, 5000) i;
DELETE FROM hashed WHERE k % 3 = 0;
VACUUM hashed;
DELETE FROM hashed WHERE k = 1 AND t = 'same';
VACUUM hashed;
INSERT INTO hashed SELECT i, 'u' FROM generate_series(20000, 28000) i;
SET enable_seqscan = off; SET enable_bitmapscan = off;
DO $$ BEGIN FOR i IN 1..20 LOOP
  DELETE FROM hashed WHERE k = 25000 + i; COMMIT; PERFORM * FROM hashed WHERE k = 25000 + i;
  INSERT INTO hashed SELECT 25000 + i, 'again' FROM generate_series(1, 300); COMMIT;
  DELETE FROM hashed WHERE k = 25000 + i; COMMIT; PERFORM * FROM hashed WHERE k = 25000 + i;
  INSERT INTO hashed SELECT 25000 + i, 'again' FROM generate_series(1, 300); COMMIT; END LOOP; END $$;
RESET enable_seqscan; RESET enable_bitmapscan;
CREATE INDEX hashed_t ON hashed USING hash (t);

CREATE TABLE ranges (a int, t text) WITH (autovacuum_enabled = off);
CREATE INDEX ranges_a ON ranges USING brin (a) WITH (pages_per_range = 1);
CREATE INDEX ranges_t ON ranges USING brin (t) WITH (pages_per_range = 2, autosummarize = on);
INSERT INTO ranges SELECT i, repeat('t', i % 100) FROM generate_series(1, 20000) i;
SELECT brin_summarize_new_values('ranges_a'), brin_summarize_new_values('ranges_t');
UPDATE ranges SET a = a + 1000000, t = repeat('z', 150) WHERE a % 100 = 0;
VACUUM ranges;
SELECT brin_desummarize_range('ranges_a', 3);
SELECT brin_summarize_range('ranges_a', 3);
CREATE TABLE many_ranges (a int, b text) WITH (fillfactor = 10);
CREATE INDEX many_ranges_a ON many_ranges USING brin (a, b) WITH (pages_per_range = 1);
INSERT INTO many_ranges SELECT i, repeat(i::text, 20) FROM generate_series(1, 12000) i;
SELECT brin_summarize_new_values('many_ranges_a');
UPDATE many_ranges SET b = repeat('w', 500) WHERE a % 500 = 0;

-- few tuples to a page: an insert that begins a new one
CREATE TABLE wide_ranges (a text) WITH (autovacuum_enabled = off);
ALTER TABLE wide_ranges ALTER a SET STORAGE PLAIN;
CREATE INDEX wide_ranges_a ON wide_ranges USING brin (a) WITH (pages_per_range = 1);
DO $$ BEGIN FOR i IN 1..60 LOOP
  INSERT INTO wide_ranges SELECT repeat(chr(65 + i % 26), 1200) || i FROM generate_series(1, 6);
  PERFORM brin_summarize_new_values('wide_ranges_a'); END LOOP; END $$;

CREATE TABLE bloomed (a int, b int, c int);
CREATE INDEX bloomed_all ON bloomed USING bloom (a, b, c);
INSERT INTO bloomed SELECT i, i % 10, i % 100 FROM generate_series(1, 3000) i;
DELETE FROM bloomed WHERE a % 2 = 0;
VACUUM bloomed;
INSERT INTO bloomed SELECT i, i % 10, i % 100 FROM generate_series(1, 3000) i;
CREATE INDEX bloomed_built ON bloomed USING bloom (a, c);
