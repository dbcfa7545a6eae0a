#!/bin/bash
# The whole judgement of page redo (`make redo-oracle`): the long load once, a shorter one with full pages in WAL
# for each compression of them, and once with no check images, where only the cluster at rest is compared.
#
#   tests/redo_oracle/all.sh [PG_MAJOR]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
pg=${1:-15}
target=${CARGO_TARGET_DIR:-$here/../../target}
tallies=$(mktemp -d)
trap 'rm -rf "$tallies"' EXIT

status=0 totals=()
run() { # NAME SETTING... -- OPTION...
    local name=$1 settings=()
    shift
    while [ "$1" != -- ]; do settings+=("$1"); shift; done
    shift
    echo "=== $name"
    env "${settings[@]}" "$here/run.sh" --pg "$pg" --release --count --tally "$tallies/$name" "$@" || status=1
    [ -s "$tallies/$name" ] || { echo "the run $name did not come to its end" >&2; exit 2; }
    totals+=(--total "$tallies/$name")
}

run long -- --pgbench 30 --suites --crash
for compression in off pglz lz4 zstd; do
    # Checksums put full pages for mere hints into WAL.
    run "full-pages-$compression" FULL_PAGE_WRITES=on WAL_COMPRESSION=$compression \
        INITDB_OPTIONS="$([ $compression = zstd ] && echo -k || true)" -- --pgbench 5 --crash
done
run no-checks CONSISTENCY_CHECKING= -- --pgbench 5 --crash

echo "=== all runs"
"$target/release/examples/oracle" "${totals[@]}" >"$tallies/report" || status=1
# The verdict is the last line, whatever happened.
cat "$tallies/report"
exit "$status"
