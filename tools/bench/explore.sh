#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Executions a second and core: explore.sh [EXECUTIONS]. Of litmus tests, which go through the compiler's hooks, the
# memory model, the enumeration of all choices and the restart of each execution (tests/litmus). With RELACY=DIR, a
# folder that holds relacy/relacy.hpp, the same tests with Relacy's headers stand beside, measured in the same run.
# Processor time of the best of five rounds. Then of whole scenarios, by `hvsim explore`.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
build=${HVSIM_BUILD_DIR:-$top/build}
executions=${1:-200000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "hvsim:"
"$build/bin/litmus_rate" "$top" "$build" "$executions"
if [ -z "${RELACY:-}" ]; then
    echo "relacy: SKIPPED (RELACY=DIR names the folder that holds relacy/relacy.hpp)"
else
    # Its headers are not ours to be free of warnings.
    "${CXX:-g++}" -O2 -w -I"$RELACY" -o "$work/relacy_litmus" "$top/tests/litmus/relacy_litmus.cpp"
    echo "relacy:"
    "$work/relacy_litmus" "$executions"
fi

# children_ms: processor time of this shell's children so far.
children_ms() {
    times >"$work/times" # Second line: "0m1.23s 0m0.04s". In a pipe it would be another shell's.
    children=$(tail -n 1 "$work/times" | tr 'ms' '  ' | awk '{ printf "%d", ($1 * 60 + $2 + $3 * 60 + $4) * 1000 }')
}

# search SCENARIO VARIANT BUDGET: sets `best` to the least processor time of three searches in ms.
search() {
    best=
    for _ in 1 2 3; do
        children_ms
        begin=$children
        "$build/bin/hvsim" explore "$top/scenarios/races/$1.yaml" --variant "$2" --budget "$3" --keep-going \
            -o "$work/$1.sched" >"$work/words" || [ $? -eq 1 ]
        children_ms
        if [ -z "$best" ] || [ $((children - begin)) -lt "$best" ]; then
            best=$((children - begin))
        fi
    done
}

# row SCENARIO VARIANT BUDGET: what the executions take beyond the start.
row() {
    search "$1" "$2" 1
    start=$best
    search "$1" "$2" "$3"
    made=$(awk '$1 == "executions" { for (i = 2; i < NF; i++) if ($(i + 1) == "to") print $2 + $i }' "$work/words")
    awk -v name="$1 $2" -v made="$made" -v ms=$((best - start)) -v start="$start" 'BEGIN {
        printf "  %-26s %8d %10.0f %12.1f %10d\n", name, made, made / ms * 1000, ms / made * 1000, start }'
}

echo "scenarios:                   executions  a second  us for each   start, ms"
row make-request none 4000
row rsm-torn-read before 2000
row memslot-delete before 1000
