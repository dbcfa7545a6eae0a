#!/bin/bash
# Whether the oracle would notice: each patch of tests/mutants/page_redo changes one field that redo or the decoder
# of a resource manager handles, and must give mismatches (`make redo-oracle-mutants`).
#
#   tests/redo_oracle/mutants.sh [--pg MAJOR] [NAME...]
#
# One recording of WAL, by PostgreSQL 15 or MAJOR, serves all; those whose names end in -v15 or -v17 are for that
# version alone. The patches are applied, one after the other, to a scratch copy of the tree with a
# target directory of its own. A patch that does not apply or compile any more is a failure of this script.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/redo-mutants.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

pg=15
if [ "${1:-}" = --pg ]; then pg=$2; shift 2; fi
names=("$@")
if [ $# -eq 0 ]; then
    for patch in "$root"/tests/mutants/page_redo/*.patch; do
        name=$(basename "$patch" .patch)
        if [[ ! $name =~ -v[0-9]+$ || $name == *-v$pg ]]; then names+=("$name"); fi
    done
fi
"$here/run.sh" --pg "$pg" --release --pgbench 1 --record "$scratch/recording"

mkdir "$scratch/tree"
(cd "$root" && git ls-files -z -co --exclude-standard | xargs -0 ls -d 2>/dev/null | tar -cf - -T -) | tar -xf - -C "$scratch/tree"
export CARGO_TARGET_DIR=$scratch/target
judge() {
    cargo build --quiet --release --locked --manifest-path "$scratch/tree/Cargo.toml" -p page_redo --example oracle
    # Without a verdict its error is the last line, and the mutant counts as a survivor.
    "$CARGO_TARGET_DIR/release/examples/oracle" --show 0 --base "$scratch/recording/base" \
        --stopped "$scratch/recording/data" >"$scratch/report" 2>&1 || true
    tail -n 1 "$scratch/report"
}

echo "== unchanged"
verdict=$(judge)
echo "   $verdict"
grep -q ', 0 mismatches,' <<<"$verdict" || { echo "the oracle complains about redo as it is" >&2; exit 2; }

survived=0
for name in "${names[@]}"; do
    patch --quiet -d "$scratch/tree" -p1 <"$root/tests/mutants/page_redo/$name.patch"
    verdict=$(judge)
    patch --quiet --reverse -d "$scratch/tree" -p1 <"$root/tests/mutants/page_redo/$name.patch"
    echo "$name: $verdict"
    if ! grep -qE ', [1-9][0-9]* mismatches,' <<<"$verdict"; then
        survived=$((survived + 1))
        echo "   SURVIVED"
    fi
done
echo "redo-oracle-mutants: ${#names[@]} mutants, $survived survived"
[ "$survived" -eq 0 ]
