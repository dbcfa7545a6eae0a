-- Records that no other file and no suite is sure to make: messages, origins, restore points, backups, catalogs that
-- are rewritten beside logical decoding, transactions with many subtransactions.
SELECT pg_logical_emit_message(true, 'oracle', 'in a transaction'), pg_logical_emit_message(false, 'oracle', 'outside');
SELECT pg_replication_origin_create('from_elsewhere');
SELECT pg_replication_origin_advance('from_elsewhere', '0/1234');
SELECT pg_replication_origin_drop('from_elsewhere');
SELECT pg_create_restore_point('here');
SELECT pg_backup_start('a backup', true);
SELECT count(*) FROM pg_backup_stop(false);
-- The checkpointer tells WAL of the setting that it finds.
ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(); SELECT pg_sleep(0.3);
ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf(); SELECT pg_sleep(0.3);
ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf();

SELECT pg_create_logical_replication_slot('beside', 'test_decoding');
CREATE TABLE like_a_catalog (a int PRIMARY KEY, t text) WITH (user_catalog_table = true);
INSERT INTO like_a_catalog SELECT i, 'c' || i FROM generate_series(1, 1000) i;
UPDATE like_a_catalog SET t = t || '!' WHERE a % 3 = 0;
DELETE FROM like_a_catalog WHERE a % 5 = 0;
VACUUM FULL like_a_catalog;
VACUUM FULL pg_class;
SELECT pg_drop_replication_slot('beside');

CREATE TABLE truncated_for_good (a int);
INSERT INTO truncated_for_good VALUES (1);
TRUNCATE truncated_for_good;

BEGIN;
CREATE TABLE nested (a int);
DO $$ BEGIN FOR i IN 1..300 LOOP BEGIN INSERT INTO nested VALUES (i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;
SAVEPOINT undone;
TRUNCATE nested;
ROLLBACK TO undone;
COMMIT;

-- shrunk at its end, and left like that
CREATE TABLE shrunk (a int, t text) WITH (autovacuum_enabled = off);
INSERT INTO shrunk SELECT i, repeat('s', 200) FROM generate_series(1, 3000) i;
VACUUM shrunk;
DELETE FROM shrunk WHERE a > 100;
VACUUM (TRUNCATE) shrunk;

SET allow_in_place_tablespaces = on;
CREATE TABLESPACE soon_gone LOCATION '';
DROP TABLESPACE soon_gone;
