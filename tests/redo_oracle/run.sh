#!/bin/bash
# Page redo judged by PostgreSQL: a stock server writes WAL with check images, the oracle replays it.
#
#   tests/redo_oracle/run.sh [--keep] [--pgbench SECONDS] [--regress] [--release] [--samples FILE]
#
# The server runs in a temporary directory on a Unix socket only, as user postgres if this is root.
# PGBIN names another installation. INITDB_OPTIONS (-k, say), FULL_PAGE_WRITES and WAL_COMPRESSION vary the
# server. --keep leaves the directory. --samples FILE writes a sample of each kind of change there. --regress also runs PostgreSQL's own
# regression suite, if its pg_regress is installed (postgresql-server-dev) and PG_SOURCE has the sources.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
pgbin=${PGBIN:-/usr/lib/postgresql/15/bin}
pg_source=${PG_SOURCE:-${VARVE_CACHE:-/var/cache/varve}/src/postgresql-15-15.18}
samples=() keep=false regress=false pgbench_seconds=10 profile=()

while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=true ;;
    --regress) regress=true ;;
    --samples) samples=(--samples "$2"); shift ;;
    --release) profile=(--release) ;;
    --pgbench) pgbench_seconds=$2; shift ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift
done

# Built first, and by the caller: the server's user needs no compiler.
cargo build --quiet "${profile[@]}" --manifest-path "$root/Cargo.toml" -p page_redo --example oracle
target=${CARGO_TARGET_DIR:-$root/target}
oracle=$target/$([ ${#profile[@]} -gt 0 ] && echo release || echo debug)/examples/oracle

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

echo "== initdb and start"
as_postgres "$pgbin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync ${INITDB_OPTIONS:-} \
    >"$work/initdb.log"
as_postgres cp -a "$data" "$work/base"
# No autovacuum beside the load: PostgreSQL 15 clears a visibility map bit before it logs the heap record that
# says so, so the check image of a concurrent vacuum may show the page of a record that is yet to come.
as_postgres tee -a "$data/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$work'
wal_consistency_checking = 'all'
full_page_writes = ${FULL_PAGE_WRITES:-off}
wal_level = logical
wal_keep_size = '1TB'
wal_recycle = off
max_wal_size = '10GB'
shared_buffers = '${SHARED_BUFFERS:-1MB}'
temp_buffers = '800kB'
fsync = off
max_prepared_transactions = 10
autovacuum = off
vacuum_defer_cleanup_age = 0
wal_compression = '${WAL_COMPRESSION:-off}'
CONF
as_postgres "$pgbin/pg_ctl" -D "$data" -l "$work/server.log" -w start >/dev/null

echo "== workload"
as_postgres mkdir "$work/tablespace"
as_postgres cp -r "$here" "$work/sql"
for file in "$work"/sql/*.sql; do
    echo "   $(basename "$file")"
    run_sql -v tablespace="$work/tablespace" -v copyfile="$work/copied.txt" -f "$file"
done

if [ "$pgbench_seconds" -gt 0 ]; then
    echo "== pgbench, $pgbench_seconds s"
    as_postgres "$pgbin/pgbench" -q -i -s 5 >/dev/null 2>&1
    as_postgres "$pgbin/pgbench" -n -c 4 -T "$pgbench_seconds" >"$work/pgbench.log"
    run_sql -c 'VACUUM (FREEZE)'
fi
if $regress; then
    echo "== regression suite"
    "$here/regress.sh" "$pgbin" "$pg_source" "$work" || echo "   (some tests differ: that is not what is judged here)"
fi

echo "== stop and judge"
as_postgres "$pgbin/pg_ctl" -D "$data" -m fast -w stop >/dev/null
mkdir -p "$work/differences"
"$oracle" --base "$work/base" --stopped "$data" --save "$work/differences" "${samples[@]}"
