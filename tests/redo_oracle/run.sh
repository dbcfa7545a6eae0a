#!/bin/bash
# Page redo judged by PostgreSQL: a stock server writes WAL with check images, the oracle replays it.
#
#   tests/redo_oracle/run.sh [--pg MAJOR] [--keep] [--release] [--pgbench SECONDS] [--suites] [--crash]
#                            [--count] [--samples FILE] [--tally FILE] [--record DIRECTORY]
#
# The server, of PostgreSQL 15 or MAJOR, runs in a temporary directory on a Unix socket only, as user postgres if
# this is root. INITDB_OPTIONS (-k, say), CONSISTENCY_CHECKING, FULL_PAGE_WRITES and
# WAL_COMPRESSION vary the server. --keep leaves the directory. --suites also runs PostgreSQL's own suites
# (suites.sh), --crash stops the server in mid-load and starts it again. --count compares the numbers of records,
# blocks and check images with those that pg_waldump counts. --samples FILE writes a sample of each
# kind of change there, --tally FILE the counts of the report. --record DIRECTORY keeps the WAL and both
# states of the cluster there, and judges nothing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
all_arguments=("$@") pg=15 inside=false
samples=() keep=false suites=false crash=false count=false pgbench_seconds=10 profile=() tally= record=

while [ $# -gt 0 ]; do
    case $1 in
    --pg) pg=$2; shift ;;
    --inside) inside=true ;;
    --keep) keep=true ;;
    --suites) suites=true ;;
    --crash) crash=true ;;
    --count) count=true ;;
    --samples) samples=(--samples "$2"); shift ;;
    --tally) tally=$2; shift ;;
    --record) record=$2; shift ;;
    --release) profile=(--release) ;;
    --pgbench) pgbench_seconds=$2; shift ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done

# Built and fetched first, and by the caller: the server's user needs no compiler and no network. Then all is done
# once more from the top where that PostgreSQL is (--inside).
if ! $inside; then
    cargo build --quiet --locked "${profile[@]}" --manifest-path "$root/Cargo.toml" -p page_redo --example oracle
    if $suites; then "$root/tests/scripts/postgres-source" "$pg" >/dev/null; fi
    exec "$root/tests/scripts/with-postgres" "$pg" "$0" --inside "${all_arguments[@]}"
fi
pgbin=/usr/lib/postgresql/$pg/bin
target=${CARGO_TARGET_DIR:-$root/target}
oracle=$target/$([ ${#profile[@]} -gt 0 ] && echo release || echo debug)/examples/oracle
if $suites; then source=$("$root/tests/scripts/postgres-source" "$pg"); fi

work=$(mktemp -d "${TMPDIR:-/tmp}/redo-oracle.XXXXXX")
data=$work/data
as_postgres() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown postgres "$work"
    as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
fi
finish() {
    as_postgres "$pgbin/pg_ctl" -D "$data" -m immediate -w stop >/dev/null 2>&1 || true
    if $keep; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap finish EXIT

export PGHOST=$work PGUSER=postgres PGDATABASE=postgres LC_ALL=C TZ=UTC
run_sql() { as_postgres "$pgbin/psql" -X -q -v ON_ERROR_STOP=1 -o /dev/null "$@"; }
start() {
    as_postgres "$pgbin/pg_ctl" -D "$data" -l "$work/server.log" -t 600 -w start >/dev/null && return
    tail -n 20 "$work/server.log" >&2
    return 1
}

echo "== initdb and start"
as_postgres "$pgbin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync ${INITDB_OPTIONS:-} \
    >"$work/initdb.log"
as_postgres cp -a "$data" "$work/base"
# No autovacuum beside the load: PostgreSQL up to 17.10 clears a visibility map bit before it logs the heap record that
# says so, so the check image of a concurrent vacuum may show the page of a record that is yet to come.
as_postgres tee -a "$data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$work'
wal_consistency_checking = '${CONSISTENCY_CHECKING-all}'
full_page_writes = ${FULL_PAGE_WRITES:-off}
wal_level = logical
wal_keep_size = '1TB'
wal_recycle = off
max_wal_size = '10GB'
shared_buffers = '${SHARED_BUFFERS:-1MB}'
temp_buffers = '800kB'
fsync = off
max_prepared_transactions = 10
track_commit_timestamp = on
autovacuum = off
wal_compression = '${WAL_COMPRESSION:-off}'
CONF
start

echo "== workload"
as_postgres mkdir "$work/tablespace"
# By the caller: the tree may be where the server's user gets at nothing.
cp -r "$here" "$work/sql"
if [ "$(id -u)" = 0 ]; then chown -R postgres "$work/sql"; fi
for file in "$work"/sql/*.sql; do
    echo "   $(basename "$file")"
    run_sql -v tablespace="$work/tablespace" -v copyfile="$work/copied.txt" -f "$file"
    # The first change of each page after it holds the page, with full_page_writes.
    run_sql -c CHECKPOINT
done

if [ "$pgbench_seconds" -gt 0 ]; then
    echo "== pgbench, $pgbench_seconds s"
    as_postgres "$pgbin/pgbench" -q -i -s 5 >/dev/null 2>&1
    as_postgres "$pgbin/pgbench" -n -c 4 -T "$pgbench_seconds" >"$work/pgbench.log"
    run_sql -c 'VACUUM (FREEZE)'
fi
if $suites; then
    echo "== suites"
    as_postgres "$work/sql/suites.sh" "$pgbin" "$source" "$work"
fi
if $crash; then
    echo "== crash in mid-load"
    # No check images of hash indexes beside inserts: VACUUM logs the deletions of an overflow page with its bucket's
    # first page, which it has pinned and not locked (hash.c, hashbucketcleanup). The image shows what is not in WAL
    # yet, and PostgreSQL's own recovery then stops with "inconsistent page found".
    if [ -n "${CONSISTENCY_CHECKING-all}" ]; then
        run_sql -c "ALTER SYSTEM SET wal_consistency_checking = 'heap2, heap, btree, gin, gist, sequence, spgist, brin, generic'"
        run_sql -c "SELECT pg_reload_conf()" -c "SELECT pg_sleep(0.5)" -c CHECKPOINT
    fi
    run_sql -c "BEGIN; UPDATE torn SET k = -k WHERE id <= 10; PREPARE TRANSACTION 'outlives the crash'"
    # Records of many pages: the crash finds one of them half written.
    as_postgres "$pgbin/pgbench" -n -c 1 -T 600 -f "$work/sql/messages.pgbench" >"$work/messages.log" 2>&1 &
    as_postgres "$pgbin/pgbench" -n -c 4 -T 600 -f "$work/sql/crash.pgbench" -b tpcb-like >"$work/crash.log" 2>&1 &
    sleep 6
    as_postgres "$pgbin/pg_ctl" -D "$data" -m immediate -w stop >/dev/null
    wait $! && { echo "pgbench did not notice the crash" >&2; exit 1; }
    start
    grep -q 'redo done' "$work/server.log" || { echo "the server did not recover" >&2; exit 1; }
    as_postgres "$pgbin/pgbench" -n -c 4 -T 3 -f "$work/sql/crash.pgbench" -b tpcb-like >"$work/pgbench.log"
    run_sql -c "COMMIT PREPARED 'outlives the crash'"
fi
# Nothing old is left in any database, so that the ends of the SLRUs move.
run_sql -c "ALTER DATABASE template0 ALLOW_CONNECTIONS true"
as_postgres "$pgbin/vacuumdb" --all --freeze --quiet
# The commit log that is left has aborted transactions too.
run_sql -c "BEGIN; UPDATE torn SET t = t WHERE id = 1; SAVEPOINT s; UPDATE torn SET t = t WHERE id = 2; ROLLBACK"

echo "== stop"
as_postgres "$pgbin/pg_ctl" -D "$data" -m fast -t 600 -w stop >/dev/null
if [ -n "$record" ]; then
    mkdir -p "$record"
    mv "$work/base" "$data" "$work/tablespace" "$record/"
    for link in "$record"/data/pg_tblspc/*; do
        if [ -L "$link" ]; then ln -sfn "$record/tablespace" "$link"; fi
    done
    exit
fi
echo "== judge"
mkdir -p "$work/differences"
status=0
"$oracle" --base "$work/base" --stopped "$data" --save "$work/differences" --tally "$work/tally" "${samples[@]}" \
    >"$work/report" || status=$?
if [ "$status" -gt 1 ] || [ ! -s "$work/tally" ]; then cat "$work/report"; exit 2; fi
if $count; then
    # Whether all of it was read, and all check images were found, PostgreSQL's own reader says.
    read -r _ from to counted <"$work/tally"
    expected=$("$pgbin/pg_waldump" --path="$data/pg_wal" --start="$from" --end="$to" | awk '
        /^rmgr: / { records++ }
        { blocks += gsub(/blkref #/, ""); images += gsub(/ FPW for WAL verification/, "") }
        END { print records + 0, blocks + 0, images + 0 }')
    if [ "$counted" != "$expected" ]; then
        echo "records, blocks and check images: the oracle counts $counted, pg_waldump $expected" >&2
        status=1
    else
        echo "   pg_waldump counts the same: $expected (records, blocks, check images)"
    fi
fi
[ -z "$tally" ] || cp "$work/tally" "$tally"
cat "$work/report"
exit "$status"
