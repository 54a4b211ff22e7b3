#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Stage-2 faults against the number of vCPUs that fault side by side, with mmu_lock held for reading and for writing:
# fault-scaling.sh [VCPUS...]. Simulated time only: the same on every machine. The fixed point of the curve at 8 vCPUs
# is scenarios/mmu/fault-scaling.yaml.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
hvsim=${HVSIM_BUILD_DIR:-$top/build}/bin/hvsim
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
[ $# -gt 0 ] || set -- 1 2 4 8 16 32

scenario=$top/scenarios/mmu/fault-scaling.yaml
printf '  %-6s %22s %22s %22s %8s\n' vCPUs 'read: faults a ms' 'write: faults a ms' 'cycles read, write' ratio
for count in "$@"; do
    # The scenario with another number of vCPUs and CPUs.
    awk -v count="$count" '
        /native: fault-in/ { if (!done++) for (i = 0; i < count; i++) { line = $0; sub(/pcpu: [0-9]+/, "pcpu: " i, line); print line }; next }
        /^machine:/ { sub(/cpus: [0-9]+/, "cpus: " count) }
        /^expect:/ { exit }
        { print }' "$scenario" >run.yaml
    rm -f run.db
    "$hvsim" run run.yaml --db run.db >/dev/null
    # Of a run: faults in each millisecond between the first vCPU that begins and the last that ends; the mean fault.
    sqlite3 -separator ' ' run.db "
        SELECT f.n * r.clock_khz * 1.0 / t.took, f.mean FROM runs r
        JOIN (SELECT run, count(*) AS n, avg(cycles) AS mean FROM exits WHERE reason = 'EPT_VIOLATION' GROUP BY run) f ON f.run = r.run
        JOIN (SELECT run, max(cycle) - min(cycle) AS took FROM events WHERE kind = 'guest_mark' GROUP BY run) t ON t.run = r.run
        ORDER BY r.run" | awk -v count="$count" '
        { rate[NR] = $1; mean[NR] = $2 }
        END { printf "  %-6d %22.0f %22.0f %14.0f, %6.0f %8.2f\n", count, rate[1], rate[2], mean[1], mean[2], rate[1] / rate[2] }'
done
