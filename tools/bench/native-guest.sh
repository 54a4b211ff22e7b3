#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Timed accesses of native guests per wall second, by pattern: native-guest.sh [ACCESSES]. Fastest of three runs, less
# that of the same run with almost no accesses (start-up, mapping the guest's memory).
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
hvsim=${HVSIM_BUILD_DIR:-$top/build}/bin/hvsim
accesses=${1:-10000000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# fastest_us PROGRAM ARGS: wall time of the fastest of three runs, in microseconds.
fastest_us() {
    cat >run.yaml <<END
scenario: run
machine: { cpus: 1, memory: 512MiB }
vms:
  - name: a
    memory: 64MiB
    page: $page
    prefault: on
    vcpus:
      - { native: $1, args: { $2 }, pcpu: 0 }
END
    best=
    for _ in 1 2 3; do
        rm -f run.db
        begin=$(date +%s%N)
        "$hvsim" run run.yaml --trace none --db run.db >/dev/null
        took=$((($(date +%s%N) - begin) / 1000))
        if [ -z "$best" ] || [ "$took" -lt "$best" ]; then
            best=$took
        fi
    done
    echo "$best"
}

# row NAME PAGE PROGRAM ARGS ARGS-WITHOUT
row() {
    page=$2
    all=$(fastest_us "$3" "$4")
    none=$(fastest_us "$3" "$5")
    awk -v name="$1" -v n="$accesses" -v us=$((all - none)) 'BEGIN { printf "  %-44s %12.1f %10.1f\n", name, n / us, us * 1000 / n }'
}

printf '  %-44s %12s %10s\n' "$accesses accesses" 'million/s' 'ns each'
row 'sequential, in the L1 cache' 2MiB sequential "bytes: 16KiB, rounds: $((accesses / 256))" 'bytes: 16KiB, rounds: 1'
row 'sequential, in the L2 cache' 2MiB sequential "bytes: 512KiB, rounds: $((accesses / 8192))" 'bytes: 512KiB, rounds: 1'
row 'sequential writes, in the L2 cache' 2MiB sequential "bytes: 512KiB, writes: 1, rounds: $((accesses / 8192))" 'bytes: 512KiB, writes: 1, rounds: 1'
row 'random, 30 % writes, in the L2 cache' 2MiB random "bytes: 512KiB, accesses: $accesses" 'bytes: 512KiB, accesses: 1'
# A line of each of 1617 pages, of which the second-level TLB holds 1536.
row 'random pages of 4 KiB, 5 % TLB misses' 4KiB random "bytes: 6568KiB, step: 4160B, writes: 0, accesses: $accesses" 'bytes: 6568KiB, accesses: 1'
row 'random words of as much, caches miss too' 4KiB random "bytes: 6568KiB, writes: 0, accesses: $accesses" 'bytes: 6568KiB, accesses: 1'
row 'zipfian, 4 KiB pages of 48 MiB' 4KiB zipfian "bytes: 48MiB, accesses: $accesses" 'bytes: 48MiB, accesses: 1'
