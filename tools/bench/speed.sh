#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Simulated exits per wall second by kind of exit, with everything traced and with nothing stored; what tracing costs
# and how many bytes a row (stored calls are not counted as rows) takes: speed.sh [EXITS]. Start-up (pricing libhv.so) is measured apart and taken off.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
hvsim=${HVSIM_BUILD_DIR:-$top/build}/bin/hvsim
exits=${1:-300000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# scenario NAME ROUNDS OPS: a guest that does OPS so often.
scenario() {
    printf 'hvsim-stream 1\nloop %s {\n%b}\nend\n' "$2" "$3" >"$1.stream"
    cat >"$1.yaml" <<END
scenario: $1
machine: { cpus: 2 }
vms:
  - name: a
    memory: 64MiB
    vcpus:
      - { stream: $1.stream, pcpu: 0 }
    devices:
      - { name: serial, port: 0x3f8, size: 8 }
END
}

# fastest_us SCENARIO OPTIONS...: wall time of the fastest of three runs, in microseconds.
fastest_us() {
    best=
    for _ in 1 2 3; do
        rm -f run.db
        begin=$(date +%s%N)
        "$hvsim" run "$@" --db run.db >/dev/null
        took=$((($(date +%s%N) - begin) / 1000))
        if [ -z "$best" ] || [ "$took" -lt "$best" ]; then
            best=$took
        fi
    done
    echo "$best"
}

# row NAME OPS-PER-ROUND OPS
row() {
    scenario row $((exits / $2)) "$3"
    all=$(fastest_us row.yaml)
    rows=$(sqlite3 run.db "SELECT (SELECT count(*) FROM exits) + (SELECT count(*) FROM events) + (SELECT count(*) FROM irqs)
        + (SELECT count(*) FROM walks) + (SELECT count(*) FROM walk_steps) + (SELECT count(*) FROM locks)
        + (SELECT count(*) FROM spans)")
    seen=$(sqlite3 run.db 'SELECT count(*) FROM exits')
    bytes=$(wc -c <run.db)
    none=$(fastest_us row.yaml --trace none)
    awk -v name="$1" -v all="$all" -v none="$none" -v start="$start" -v n="$seen" -v rows="$rows" -v bytes="$bytes" 'BEGIN {
        printf "  %-26s %9d %12.0f %12.0f %9.1f %% %10d %8.1f\n", name, n, n / (all - start) * 1e6, n / (none - start) * 1e6,
               (all - none) * 100 / all, rows, bytes / rows }'
}

scenario start 1 '500 cpuid 0\n'
start=$(fastest_us start.yaml --trace none)
echo "start-up: $((start / 1000)) ms"
printf '  %-26s %9s %12s %12s %11s %10s %8s\n' 'exits' 'number' 'per s, all' 'per s, none' 'tracing' 'rows' 'B a row'
row 'CPUID' 1 '500 cpuid 0\n'
row 'WRMSR' 1 '500 wrmsr 0x48 1\n'
row 'VMCALL' 1 '500 vmcall 1\n'
row 'RDMSR' 1 '500 rdmsr 0x1a0\n'
row 'OUT (to user space)' 1 '500 out 0x3f8 1 0x41\n'
row 'timer and HLT (4 exits)' 2 '1000 wrmsr IA32_TSC_DEADLINE tsc+30us\n500 hlt\n'
row 'mix of the first four' 4 '500 cpuid 0\n500 wrmsr 0x48 1\n500 vmcall 1\n500 rdmsr 0x1a0\n'
