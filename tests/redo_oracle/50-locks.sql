-- Row locks that need multixacts: subtransactions of one session are enough for several members.
CREATE TABLE locked (id int PRIMARY KEY, v int) WITH (autovacuum_enabled = off);
INSERT INTO locked SELECT i, 0 FROM generate_series(1, 300) i;
VACUUM (FREEZE) locked;
BEGIN;
SELECT count(*) FROM (SELECT 1 FROM locked FOR KEY SHARE) l;
SAVEPOINT a; SELECT count(*) FROM (SELECT 1 FROM locked FOR SHARE) l;
SAVEPOINT b; UPDATE locked SET v = v + 1 WHERE id % 2 = 0;
ROLLBACK TO b;
SAVEPOINT c; UPDATE locked SET v = v + 2 WHERE id % 3 = 0;
COMMIT;
-- Thousands of multixacts: several pages of offsets and members
DO $$ BEGIN
  FOR i IN 1..3000 LOOP
    PERFORM 1 FROM locked WHERE id = i % 300 + 1 FOR KEY SHARE;
    BEGIN
      UPDATE locked SET v = v + 1 WHERE id = i % 300 + 1;
      IF i % 5 = 0 THEN RAISE 'undo'; END IF;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    IF i % 50 = 0 THEN COMMIT; END IF;
  END LOOP;
END $$;
VACUUM (FREEZE) locked;
-- Locking an older version of an updated row locks the newer ones too
BEGIN; UPDATE locked SET v = v + 1 WHERE id < 50; PREPARE TRANSACTION 'holds';
SELECT count(*) FROM (SELECT 1 FROM locked WHERE id < 50 FOR KEY SHARE) l;
BEGIN; SELECT count(*) FROM (SELECT 1 FROM locked WHERE id < 40 FOR KEY SHARE) l; COMMIT;
COMMIT PREPARED 'holds';
-- Prepared transactions hold locks while others join
BEGIN; SELECT count(*) FROM (SELECT 1 FROM locked FOR KEY SHARE) l; PREPARE TRANSACTION 'shares';
UPDATE locked SET v = v + 1 WHERE id BETWEEN 100 AND 200;
BEGIN; SELECT count(*) FROM (SELECT 1 FROM locked WHERE id BETWEEN 100 AND 150 FOR KEY SHARE) l; COMMIT;
COMMIT PREPARED 'shares';
VACUUM (FREEZE) locked;
