#!/bin/bash
# PostgreSQL's own suites on the server of run.sh, as the server's user: suites.sh PGBIN SOURCE WORK
#
# The regression and isolation suites, and those of the contrib modules that bring index types or operator
# classes. Whether a test's output is as expected does not matter here (the server has unusual settings): its
# WAL does. A suite that ran no test is an error.
set -euo pipefail
pgbin=$1 source=$2 work=$3
contrib=(bloom btree_gin btree_gist cube hstore intarray ltree pg_trgm seg)
# The programs lie beside pgxs/src/makefiles/pgxs.mk (postgresql-server-dev).
programs=$(dirname "$("$pgbin/pg_config" --pgxs)")/../test
for program in regress/pg_regress isolation/pg_isolation_regress isolation/isolationtester; do
    [ -x "$programs/$program" ] || { echo "no $program: install postgresql-server-dev" >&2; exit 2; }
done

# run NAME PROGRAM [ARGUMENT...], in the suite's directory
run() {
    local name=$1 program=$2 verdict
    shift 2
    (cd "$work/suites/$name" && "$program" --inputdir=. --outputdir=. --bindir="$pgbin" --host="$work" \
        --user=postgres "$@") >"$work/suites/$name.log" 2>&1 || true
    verdict=$(grep -oE 'All [0-9]+ tests passed|[0-9]+ of [0-9]+ tests failed' "$work/suites/$name.log" | tail -n 1)
    [ -n "$verdict" ] || { tail -n 20 "$work/suites/$name.log" >&2; echo "the suite $name did not run" >&2; exit 1; }
    echo "   $name: $verdict"
}

# prepare NAME DIRECTORY: a copy that may be written to
prepare() { mkdir -p "$work/suites" && cp -r "$2" "$work/suites/$1"; }

prepare regress "$source/src/test/regress"
gcc -shared -fPIC -w -O1 -I"$("$pgbin/pg_config" --includedir-server)" -o "$work/suites/regress/regress.so" \
    "$source/src/test/regress/regress.c"
run regress "$programs/regress/pg_regress" --dlpath="$work/suites/regress" --schedule=parallel_schedule \
    --max-connections=4 --dbname=regression

prepare isolation "$source/src/test/isolation"
run isolation "$programs/isolation/pg_isolation_regress" --schedule=isolation_schedule \
    --max-connections=4 --dbname=isolation_regression prepared-transactions

for name in "${contrib[@]}"; do
    prepare "$name" "$source/contrib/$name"
    # The Makefile's list, which may go on over several lines.
    read -ra tests < <(sed -e ':a' -e '/\\$/{N;s/\\\n//;ba}' "$work/suites/$name/Makefile" | sed -n 's/^REGRESS *= *//p')
    run "$name" "$programs/regress/pg_regress" --dbname="contrib_$name" "${tests[@]}"
done
