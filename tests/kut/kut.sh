#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unmodified kvm-unit-tests under the hypervisor core, line by line of x86/unittests.cfg.
#
#   tests/kut/kut.sh DIR [NAME-PATTERN]     DIR: a kvm-unit-tests tree, configured and built for x86_64
#
# Prints a row for each entry with its seconds of processor time and, below, how many of those that tests/kut/promised lists
# pass. Exit status 0 if every entry that it lists as `pass` and that is built passes. Entries that it lists as `slow` or `no`
# (docs/capabilities.md says why) get KUT_SLOW_SECONDS (default 10), the others KUT_SECONDS (default 600), of processor time.
# KUT_JOBS: how many at once (default 2). KUT_I386: a tree built for i386, for the entries that exist only there.
set -u
here=$(cd "$(dirname "$0")" && pwd)
hvsim=${HVSIM:-$here/../../build/bin/hvsim}
dir=$(cd "${1:?usage: kut.sh DIR [PATTERN]}" && pwd) || exit 2
pattern=${2:-.}
config=$dir/x86/unittests.cfg
out=${KUT_OUT:-$(mktemp -d)}
mkdir -p "$out"
[ -r "$config" ] || { echo "kut.sh: $config: no such file; is $dir a kvm-unit-tests tree?" >&2; exit 2; }

# One line an entry: name|file|smp|memory|arguments|cpu features|arch
entries() {
    awk -v q="'" '
        function flush() { if (name != "") print name "|" file "|" smp "|" memory "|" args "|" cpu "|" arch; smp = 1; memory = args = cpu = file = arch = "" }
        /^[ \t]*#/ { next }
        /^\[/ { flush(); name = substr($0, 2, index($0, "]") - 2); next }
        {
            key = $1; value = $0; sub(/^[^=]*=[ \t]*/, "", value); sub(/[ \t]+$/, "", value)
            if (key == "file") file = value
            else if (key == "smp") smp = value
            else if (key == "arch") arch = value
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

# What tests/kut/promised says of an entry: pass, slow or no, then its kind if it is one of the basic ones; nothing if it
# does not have it.
wanted() {
    sed -n "s/^$1  *//p" "$here/promised"
}

run_one() {
    local name=$1 file=$2 smp=$3 memory=$4 args=$5 cpu=$6 arch=$7 status hidden words=() seconds=${KUT_SECONDS:-600}
    local flat=$dir/x86/$file
    [ "$arch" != i386 ] || flat=${KUT_I386:-$dir}/x86/$file
    [ -r "$flat" ] || { echo "ABSENT - no $file in this build${arch:+ ($arch only)}" >"$out/$name.verdict"; return; }
    hidden=$(hidden_of "$cpu")
    [ -z "$hidden" ] || words+=(--hide "$hidden")
    case $cpu in *+vmx*) words+=(--nested) ;; esac
    case $args in *'`date'*) args="${args%%\`*}$date" ;; esac
    case $(wanted "$name") in slow* | no*) seconds=${KUT_SLOW_SECONDS:-10} ;; esac
    local pass fail skip used TIMEFORMAT='%U %S'
    used=$(ulimit -t "$seconds"; { time "$hvsim" boot "$flat" --cpus "$smp" --memory "$(memory_of "$memory")" \
        --append "$args" "${words[@]}" >"$out/$name.out" 2>"$out/$name.err"; } 2>&1; exit $?)
    status=$?
    used=$(awk '/^[0-9.]+ [0-9.]+$/ { printf "%.1f", $1 + $2 }' <<<"$used")
    pass=$(grep -c '^PASS' "$out/$name.out")
    fail=$(grep -c '^FAIL' "$out/$name.out")
    skip=$(grep -c '^SKIP' "$out/$name.out")
    if [ $status = 0 ]; then
        echo "PASS $used $pass passed"
    elif [ $status = 38 ] || { [ "$fail" = 0 ] && [ "$pass" = 0 ] && [ "$skip" != 0 ]; }; then
        echo "SKIP $used $(grep -m1 '^SKIP' "$out/$name.out" | cut -c1-90)"
    elif [ $status = 137 ] || [ $status = 152 ]; then
        echo "FAIL $used $seconds s of processor time are up; $pass passed, $fail failed"
    else
        echo "FAIL $used $pass passed, $fail failed; $(grep -m1 '^FAIL' "$out/$name.out" | cut -c7-80)$(tail -n1 "$out/$name.err" | sed 's/^hvsim: [^:]*: /; /' | cut -c1-70)"
    fi >"$out/$name.verdict"
}
export -f run_one memory_of hidden_of wanted
export dir out hvsim date here

cd "$out" || exit 2
entries | awk -F'|' -v pattern="$pattern" '$1 ~ pattern' | while IFS='|' read -r name file smp memory args cpu arch; do
    printf '%s\0' "$name" "$file" "$smp" "$memory" "$args" "$cpu" "$arch"
done | xargs -0 -n7 -P "${KUT_JOBS:-2}" bash -c 'run_one "$@"' _

promised=0 kept=0 basic=0 basic_kept=0 broken='' total=0
printf '%-40s %-6s %7s  %s\n' entry '' seconds 'what it said'
while IFS='|' read -r name _; do
    [ -r "$out/$name.verdict" ] || continue
    read -r verdict used text <"$out/$name.verdict"
    printf '%-40s %-6s %7s  %s\n' "$name" "$verdict" "$used" "$text"
    total="$total $used"
    want=$(wanted "$name")
    passed=0
    [ "$verdict" != PASS ] || passed=1
    case $want in *basic) basic=$((basic + 1)) basic_kept=$((basic_kept + passed)) ;; esac
    case $want in '' | no*) continue ;; esac
    promised=$((promised + 1)) kept=$((kept + passed))
    case $want/$verdict in pass*/PASS | pass*/ABSENT) ;; pass*) broken="$broken $name" ;; esac
done < <(entries)
echo
echo "processor time: $(tr ' ' '\n' <<<"$total" | awk '{ s += $1 } END { printf "%.0f", s }') s"
echo "processor, interrupt, timer and exit entries: $basic_kept of $basic pass"
echo "kvm-unit-tests: $kept of the $promised entries of tests/kut/promised pass"
[ -z "$broken" ] || { echo "promised, but did not pass:$broken"; exit 1; }
