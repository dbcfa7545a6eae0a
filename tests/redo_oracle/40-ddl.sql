-- DDL, sequences, rewrites, databases, tablespaces, unlogged tables, maps.
CREATE SEQUENCE seq CACHE 5;
SELECT nextval('seq') FROM generate_series(1, 200);
SELECT setval('seq', 1000);
ALTER SEQUENCE seq INCREMENT 3 RESTART 7;
SELECT nextval('seq');
CREATE TABLE serials (id serial, b bigserial, i int GENERATED ALWAYS AS IDENTITY);
INSERT INTO serials SELECT FROM generate_series(1, 100);
TRUNCATE serials RESTART IDENTITY;

CREATE TABLE rewritten (id int PRIMARY KEY, t text);
INSERT INTO rewritten SELECT i, repeat('r', i % 50) FROM generate_series(1, 3000) i;
ALTER TABLE rewritten ADD COLUMN n int DEFAULT 7;
ALTER TABLE rewritten ALTER id TYPE bigint;
ALTER TABLE rewritten DROP COLUMN t;
CLUSTER rewritten USING rewritten_pkey;
VACUUM FULL rewritten;
VACUUM FULL pg_class;
REINDEX TABLE pg_attribute;
CREATE MATERIALIZED VIEW matview AS SELECT n, count(*) FROM rewritten GROUP BY n;
CREATE UNIQUE INDEX ON matview (n);
REFRESH MATERIALIZED VIEW matview;
REFRESH MATERIALIZED VIEW CONCURRENTLY matview;
DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE format('CREATE TABLE t%s (a int PRIMARY KEY, b text, c serial)', i); END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..60 BY 2 LOOP EXECUTE format('DROP TABLE t%s', i); END LOOP; END $$;
ANALYZE;
VACUUM;

CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, t text);
INSERT INTO unlogged SELECT i, 'u' FROM generate_series(1, 100) i;
CREATE INDEX ON unlogged USING gin ((ARRAY[id]));
CREATE UNLOGGED TABLE unlogged_bloom (a int);
CREATE INDEX ON unlogged_bloom USING bloom (a);
ALTER TABLE unlogged SET LOGGED;
INSERT INTO unlogged SELECT i, 'l' FROM generate_series(101, 200) i;
ALTER TABLE unlogged SET UNLOGGED;
CREATE TEMP TABLE temporary AS SELECT i FROM generate_series(1, 10000) i;

CREATE DATABASE by_log STRATEGY wal_log;
CREATE DATABASE by_copy STRATEGY file_copy;
CREATE DATABASE of_template0 TEMPLATE template0 STRATEGY file_copy;
\c by_log
CREATE TABLE there (id int PRIMARY KEY);
INSERT INTO there SELECT i FROM generate_series(1, 1000) i;
VACUUM;
\c by_copy
CREATE TABLE there (id int PRIMARY KEY);
INSERT INTO there SELECT i FROM generate_series(1, 1000) i;
VACUUM FULL;
\c postgres
CREATE DATABASE copy_of_log TEMPLATE by_log;
CREATE DATABASE copy_of_copy TEMPLATE by_copy STRATEGY file_copy;
\c copy_of_copy
INSERT INTO there VALUES (-1);
VACUUM (FREEZE);
\c postgres
CREATE TABLESPACE elsewhere LOCATION :'tablespace';
CREATE TABLE spaced (id int PRIMARY KEY) TABLESPACE elsewhere;
INSERT INTO spaced SELECT i FROM generate_series(1, 2000) i;
ALTER TABLE spaced SET TABLESPACE pg_default;
ALTER TABLE spaced SET TABLESPACE elsewhere;
ALTER DATABASE copy_of_log SET TABLESPACE elsewhere;
\c copy_of_log
INSERT INTO there VALUES (-1);
\c postgres
DROP DATABASE of_template0;
SELECT pg_switch_wal();
CHECKPOINT;
