#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# How much slower hypervisor code runs under full timing than the same code compiled plainly, by kind of work:
# ratio.sh [ROUNDS]. Plainly: bin/hv_yardstick, the core at -O2 without hooks against the fake hv/hw. On the models:
# hvsim run --trace none, wall time of the fastest of five, less that of a run of one round. Both must have done the
# same number of rounds.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
build=${HVSIM_BUILD_DIR:-$top/build}
hvsim=$build/bin/hvsim
rounds=${1:-300000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# exits NAME ROUNDS OP: a guest that does OP so often.
exits() {
    printf 'hvsim-stream 1\nloop %s {\n500 %s\n}\nend\n' "$2" "$3" >"$1.stream"
    cat >"$1.yaml" <<END
scenario: $1
machine: { cpus: 1 }
vms:
  - name: a
    memory: 8MiB
    vcpus:
      - { stream: $1.stream, pcpu: 0 }
END
}

# other NAME ROUNDS: hv/tests/bench/work_vmm.c does NAME so often.
other() {
    printf 'hvsim-stream 1\n1 cpuid 0\n' >"$1.stream"
    cat >"$1.yaml" <<END
scenario: $1
machine: { cpus: 1 }
vms:
  - name: $1
    memory: 8MiB
    vcpus:
      - { stream: $1.stream, pcpu: 0 }
    devices:
      - { name: rounds, port: 0x3f8, size: 1, value: $2 }
END
}

# fastest_us SCENARIO OPTIONS...: wall time of the fastest of five runs, in microseconds.
fastest_us() {
    best=
    for _ in 1 2 3 4 5; do
        begin=$(date +%s%N)
        "$hvsim" run "$@" --trace none --db run.db >/dev/null
        took=$((($(date +%s%N) - begin) / 1000))
        if [ -z "$best" ] || [ "$took" -lt "$best" ]; then
            best=$took
        fi
    done
    echo "$best"
}

# row NAME LABEL LIBRARY SQL: compares, with the scenario in NAME.yaml and start-NAME.yaml.
row() {
    plain=$(sed -n "s/^$1 //p" plain)
    done_plainly=${plain% *}
    start=$(fastest_us "start-$1.yaml" --hv "$3")
    us=$(fastest_us "$1.yaml" --hv "$3")
    rm -f run.db
    "$hvsim" run "$1.yaml" --hv "$3" --trace exits,counters --db run.db >/dev/null
    done_here=$(sqlite3 run.db "$4")
    if [ "$done_here" != "$done_plainly" ]; then
        echo "ratio: $1: $done_here rounds on the models, $done_plainly plainly" >&2
        exit 1
    fi
    awk -v name="$2" -v n="$done_here" -v us=$((us - start)) -v plain="${plain#* }" 'BEGIN {
        plain /= 1000
        printf "  %-38s %9d %10.1f %10.1f %8.1f\n", name, n, plain, us * 1000 / n, us * 1000 / n / plain }'
}

"$build/bin/hv_yardstick" "$rounds" >plain
printf '  %-38s %9s %10s %10s %8s\n' 'work' 'rounds' 'ns plain' 'ns hvsim' 'ratio'
core=$build/lib/libhv.so
while read -r name reason label op; do
    exits "$name" "$rounds" "$op"
    exits "start-$name" 1 "$op"
    row "$name" "$(echo "$label" | tr _ ' ')" "$core" "SELECT count(*) FROM exits WHERE reason = '$reason'"
done <<END
cpuid CPUID exit:_CPUID cpuid 0
wrmsr MSR_WRITE exit:_WRMSR_of_IA32_SPEC_CTRL wrmsr 0x48 1
vmcall VMCALL exit:_VMCALL_(unknown_hypercall) vmcall 1
rdmsr MSR_READ exit:_RDMSR_of_IA32_MISC_ENABLE rdmsr 0x1a0
END
while read -r name label; do
    other "$name" "$rounds"
    other "start-$name" 1
    # Names in devices and VMs are the work's in both scenarios.
    sed -i "s/name: start-/name: /" "start-$name.yaml"
    row "$name" "$label" "$build/lib/libhv-bench.so" "SELECT value FROM counters WHERE name = 'work.rounds'"
done <<'END'
memslot memory slot created and deleted
prefault page mapped (HV_PRE_FAULT_MEMORY)
yield system call, scheduler asked in vain
END
