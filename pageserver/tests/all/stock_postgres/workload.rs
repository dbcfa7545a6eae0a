//! What the original server goes through: something of everything that ingest translates.

use super::server::Server;

const SCHEMA: &str = "
    create table words (id serial primary key, word text, tags int[], place point, body tsvector);
    insert into words (word, tags, place, body)
        select md5(i::text), array[i % 7, i % 11], point(i % 100, i / 100), to_tsvector('simple', md5((i % 50)::text))
        from generate_series(1, 5000) i;
    create index on words using hash (word);
    create index on words using gin (tags);
    create index on words using gin (body);
    create index on words using gist (place);
    create index on words using spgist (word);
    create index on words using brin (id);
    create table toasted (id int primary key, big text);
    alter table toasted alter big set storage external;
    insert into toasted select i, repeat(md5(i::text), 500) from generate_series(1, 100) i;
    create unlogged table forgetful (id int primary key, t text);
    create sequence counter;
    select nextval('counter') from generate_series(1, 100);
    create table to_drop as select generate_series(1, 1000) a;
    create table to_truncate as select generate_series(1, 20000) a;
    create table to_cut (a int primary key, b text);
    insert into to_cut select i, repeat('x', 200) from generate_series(1, 5000) i;
    create table shared_locks (id int primary key, n int);
    insert into shared_locks select i, 0 from generate_series(1, 50) i;
    create materialized view sums as select count(*) from words";

const CHANGES: &str = "
    update words set word = word || 'x', tags = tags || 99 where id % 3 = 0;
    delete from words where id % 5 = 0;
    insert into words (word, tags, place, body)
        select md5(i::text), array[i % 3], point(i % 10, i), to_tsvector('simple', 'new ' || i)
        from generate_series(1, 2000) i;
    drop table to_drop;
    truncate to_truncate;
    insert into to_truncate select generate_series(1, 10);
    delete from to_cut where a > 100";

/// Two sessions hold one row at once: a multixact.
const MULTIXACTS: &str = "
    begin;
    select * from shared_locks where id <= 30 for share;
    savepoint s;
    update shared_locks set n = n + 1 where id <= 10;
    release s;
    select * from shared_locks for key share;
    commit";

pub fn run(server: &Server) {
    server.pgbench(&["-i", "-s", "2", "-q"]);
    server.sql(SCHEMA);
    // -n: else it would empty the history first.
    server.pgbench(&["-n", "-c", "4", "-t", "500"]);
    for statement in CHANGES.split(';') {
        server.sql(statement);
    }
    server.sql(MULTIXACTS);
    server.sql("vacuum to_cut");
    server.sql("vacuum (full) toasted");
    server.sql("vacuum (freeze) words");
    server.sql("create database by_log strategy wal_log");
    server.sql_in("by_log", "create table t as select generate_series(1, 1000) a; create index on t (a)");
    server.sql("create tablespace place location ''");
    server.sql("create table placed (a int primary key) tablespace place");
    server.sql("insert into placed select generate_series(1, 3000)");
    server.sql("create database placed_database tablespace place");
    server.sql("begin; insert into shared_locks values (100, 1); prepare transaction 'kept'");
    server.sql("begin; insert into shared_locks values (101, 1); prepare transaction 'ended'");
}

pub fn go_on(server: &Server) {
    server.sql("create database by_copy template by_log strategy file_copy");
    server.sql_in("by_copy", "insert into t select generate_series(1, 5000)");
    server.sql("alter database by_log set tablespace place");
    server.sql("drop database placed_database");
    server.sql("commit prepared 'ended'");
    server.sql("begin; drop table toasted; rollback");
    server.sql("cluster words using words_pkey");
    server.sql("reindex system postgres");
    server.sql("vacuum full pg_class");
    // -n: else it would empty the history first.
    server.pgbench(&["-n", "-c", "4", "-t", "500"]);
    server.sql("checkpoint");
    server.sql(MULTIXACTS);
    server.sql("insert into to_cut select i, 'again' from generate_series(1000, 9000) i");
    server.sql("vacuum (analyze)");
}

/// What pgbench keeps equal, and a prepared transaction that is still there.
pub fn check_sums(server: &Server) {
    let sums = server.sql(
        "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
            and (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)
            and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)",
    );
    assert_eq!(sums, "t");
    let prepared = server.sql("select count(*) from pg_prepared_xacts where gid = 'kept'");
    assert_eq!(prepared, "1");
}
