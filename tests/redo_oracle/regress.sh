#!/bin/bash
# PostgreSQL's regression suite on the server of run.sh: regress.sh PGBIN SOURCE WORK
#
# Whether a test's output is as expected does not matter here (the server has unusual settings): its WAL does.
set -euo pipefail
pgbin=$1 source=$2/src/test/regress work=$3
pg_regress=$("$pgbin/pg_config" --pgxs | sed 's|makefiles/pgxs.mk|test/regress/pg_regress|')
[ -x "$pg_regress" ] || { echo "no pg_regress at $pg_regress: install postgresql-server-dev" >&2; exit 2; }

mkdir -p "$work/regress"
gcc -shared -fPIC -w -O1 -I"$("$pgbin/pg_config" --includedir-server)" -o "$work/regress/regress.so" "$source/regress.c"
cp -r "$source/sql" "$source/expected" "$source/data" "$source/parallel_schedule" "$source/resultmap" "$work/regress/"
as_postgres() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$work/regress"
    as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
fi
cd "$work/regress"
as_postgres "$pg_regress" --inputdir=. --outputdir=. --bindir="$pgbin" --dlpath="$work/regress" \
    --schedule=parallel_schedule --max-connections=4 --host="$work" --user=postgres >"$work/regress.log" 2>&1
