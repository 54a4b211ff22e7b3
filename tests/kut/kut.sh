#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unmodified kvm-unit-tests under the hypervisor core, line by line of x86/unittests.cfg.
#
#   tests/kut/kut.sh DIR [NAME-PATTERN]     DIR: a kvm-unit-tests tree, configured and built for x86_64
#
# Prints a row for each entry and, below, how many of those that tests/kut/promised lists pass. Exit status 0 if every entry
# that it lists as `pass` passes. Entries that it lists as `slow` or `no` (docs/capabilities.md says why) get KUT_SLOW_SECONDS
# (default 10), the others KUT_SECONDS (default 240) of wall time; KUT_JOBS: how many at once (default 2).
set -u
here=$(cd "$(dirname "$0")" && pwd)
hvsim=${HVSIM:-$here/../../build/bin/hvsim}
dir=$(cd "${1:?usage: kut.sh DIR [PATTERN]}" && pwd) || exit 2
pattern=${2:-.}
config=$dir/x86/unittests.cfg
out=${KUT_OUT:-$(mktemp -d)}
mkdir -p "$out"
[ -r "$config" ] || { echo "kut.sh: $config: no such file; is $dir a kvm-unit-tests tree?" >&2; exit 2; }

# One line an entry: name|file|smp|memory|arguments|cpu features
entries() {
    awk -v q="'" '
        function flush() { if (name != "") print name "|" file "|" smp "|" memory "|" args "|" cpu; smp = 1; memory = ""; args = ""; cpu = ""; file = "" }
        /^[ \t]*#/ { next }
        /^\[/ { flush(); name = substr($0, 2, index($0, "]") - 2); next }
        {
            key = $1; value = $0; sub(/^[^=]*=[ \t]*/, "", value); sub(/[ \t]+$/, "", value)
            if (key == "file") file = value
            else if (key == "smp") smp = value
            else if (key == "test_args") { gsub("^[\"" q "]|[\"" q "]$", "", value); args = value }
            else if (key == "qemu_params" || key == "extra_params") {
                n = split(value, word, /[ \t]+/)
                for (i = 1; i < n; i++) {
                    if (word[i] == "-m") memory = word[i + 1]
                    if (word[i] == "-cpu") cpu = word[i + 1]
                }
            }
        }
        END { flush() }' "$config"
}

# `date +%s` of the machine that runs the guest: ours begins in 2026 (HV_BOOT_SECONDS of hv/api.h).
date=1767225600

# QEMU's "-m 2560" counts mebibytes, "-m 4g" says so.
memory_of() {
    case $1 in
    '') echo 256MiB ;;
    *[gG]) echo "${1%[gG]}GiB" ;;
    *) echo "${1}MiB" ;;
    esac
}

# "-cpu MODEL,-pcid,+invpcid" or "pcid=off": what the guest is not to see, as far as it is a bit of CPUID here.
hidden_of() {
    tr ',' '\n' <<<"$1" | sed -n 's/^-//p; s/=off$//p' | grep -vx 'host-phys-bits\|migratable\|vmx-mbec\|npt\|skinit' | paste -sd,
}

# What tests/kut/promised says of an entry: pass, slow, no; nothing if it does not have it.
wanted() {
    sed -n "s/^$1  *//p" "$here/promised"
}

run_one() {
    local name=$1 file=$2 smp=$3 memory=$4 args=$5 cpu=$6 status hidden words=() seconds=${KUT_SECONDS:-240}
    [ -r "$dir/x86/$file" ] || { echo "SKIP no $file in this build (another arch)" >"$out/$name.verdict"; return; }
    hidden=$(hidden_of "$cpu")
    [ -z "$hidden" ] || words+=(--hide "$hidden")
    case $cpu in *+vmx*) words+=(--nested) ;; esac
    case $args in *'`date'*) args="${args%%\`*}$date" ;; esac
    case $(wanted "$name") in slow* | no*) seconds=${KUT_SLOW_SECONDS:-10} ;; esac
    timeout "$seconds" "$hvsim" boot "$dir/x86/$file" --cpus "$smp" --memory "$(memory_of "$memory")" --append "$args" \
        "${words[@]}" >"$out/$name.out" 2>"$out/$name.err"
    status=$?
    local pass fail skip
    pass=$(grep -c '^PASS' "$out/$name.out")
    fail=$(grep -c '^FAIL' "$out/$name.out")
    skip=$(grep -c '^SKIP' "$out/$name.out")
    if [ $status = 0 ]; then
        echo "PASS $pass passed"
    elif [ $status = 38 ] || { [ "$fail" = 0 ] && [ "$pass" = 0 ] && [ "$skip" != 0 ]; }; then
        echo "SKIP $(grep -m1 '^SKIP' "$out/$name.out" | cut -c1-90)"
    elif [ $status = 124 ]; then
        echo "FAIL $seconds s of wall time are up; $pass passed, $fail failed"
    else
        echo "FAIL $pass passed, $fail failed; $(grep -m1 '^FAIL' "$out/$name.out" | cut -c7-80)$(tail -n1 "$out/$name.err" | sed 's/^hvsim: [^:]*: /; /' | cut -c1-70)"
    fi >"$out/$name.verdict"
}
export -f run_one memory_of hidden_of wanted
export dir out hvsim date here

cd "$out" || exit 2
entries | grep -E "^[^|]*($pattern)" | while IFS='|' read -r name file smp memory args cpu; do
    printf '%s\0' "$name" "$file" "$smp" "$memory" "$args" "$cpu"
done | xargs -0 -n6 -P "${KUT_JOBS:-2}" bash -c 'run_one "$@"' _

promised=0 kept=0 broken=''
printf '%-40s %-5s %s\n' entry '' 'what it said'
while IFS='|' read -r name _; do
    [ -r "$out/$name.verdict" ] || continue
    read -r verdict text <"$out/$name.verdict"
    printf '%-40s %-5s %s\n' "$name" "$verdict" "$text"
    want=$(wanted "$name")
    case $want in '' | no*) continue ;; esac
    promised=$((promised + 1))
    [ "$verdict" != PASS ] || kept=$((kept + 1))
    case $want in pass*) [ "$verdict" = PASS ] || broken="$broken $name" ;; esac
done < <(entries)
echo
echo "kvm-unit-tests: $kept of the $promised entries of tests/kut/promised pass"
[ -z "$broken" ] || { echo "promised, but did not pass:$broken"; exit 1; }
