#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# One libhv.so, many circumstances, one digest: determinism.sh [--builds] [SCENARIO...]. --builds first builds the
# simulator by gcc -O0 and by clang (build-O0, build-clang); without it those that are there already are used.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
build=${HVSIM_BUILD_DIR:-$top/build}
core=$build/lib/libhv.so
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

if [ "${1:-}" = --builds ]; then
    shift
    for preset in debug-O0 clang; do
        echo "building the simulator: preset $preset"
        (cd "$top" && cmake --preset $preset >"$work/log" 2>&1 &&
            ninja -C "build-${preset#debug-}" -j "$jobs" hvsim >"$work/log" 2>&1) || {
            tail -n 30 "$work/log" >&2
            exit 2
        }
    done
fi
if [ $# -eq 0 ]; then
    set -- "$top/scenarios/exits/quickstart.yaml" "$top/scenarios/mmu/native-tour.yaml" \
        "$top/scenarios/interrupts/eoi-storm.yaml"
fi

# digests COMMAND...: digest and cycles of each variant, as one line.
digests() {
    # Where nothing is stored expectations cannot be judged: any status will do that comes with digests.
    "$@" --hv "$core" --json --db "$work/run.db" >"$work/out" 2>"$work/err" || true
    grep -q '"digest": ' "$work/out" || cat "$work/err" >&2
    sed -n 's/.*"digest": "\([0-9a-f]*\)", "cycles": \([0-9]*\).*/\1@\2/p' "$work/out" | tr '\n' ' '
    rm -f "$work/run.db"
}

# same GOT NAME: is it the reference? Of `trace:` rows the beginning will do: where nothing is stored an expectation
# cannot be judged, and the variants behind it are not run.
same() {
    case $2 in
    trace:*) [ -n "$1" ] && [ "${reference#"$1"}" != "$reference" ] ;;
    *) [ "$1" = "$reference" ] ;;
    esac
}

# row NAME TIMES COMMAND...: runs it so often; every time the digests must be those of the first row.
row() {
    name=$1
    times=$2
    shift 2
    verdict=equal
    i=0
    while [ $i -lt "$times" ]; do
        if ! same "$(digests "$@")" "$name"; then
            verdict=DIFFERENT
            failed=1
        fi
        i=$((i + 1))
    done
    printf '  %-34s %4s runs  %s\n' "$name" "$times" "$verdict"
}

for scenario in "$@"; do
    hvsim=$build/bin/hvsim
    reference=$(digests "$hvsim" run "$scenario")
    echo "$(basename "$scenario"): $reference"
    case $reference in
    '') exit 1 ;;
    esac
    # Scenarios of several variants take longer.
    again=20
    [ "${reference#* ?}" = "$reference" ] || again=3
    row 'again' $again "$hvsim" run "$scenario"
    cd "$work"
    row 'another working folder' 1 "$hvsim" run "$scenario"
    mkdir -p "$work/copy/bin" "$work/copy/share" "$work/copy/lib"
    cp "$hvsim" "$work/copy/bin/hvsim"
    ln -sfn "$build/share/hvsim" "$work/copy/share/hvsim"
    ln -sfn "$build/lib/guests" "$work/copy/lib/guests"
    row 'the program under another path' 1 "$work/copy/bin/hvsim" run "$scenario"
    for locale in C C.UTF-8 de_DE.UTF-8 tr_TR.UTF-8; do
        row "LC_ALL=$locale" 1 env LC_ALL=$locale "$hvsim" run "$scenario"
    done
    row 'a large environment' 1 env "PAD=$(head -c 100000 /dev/zero | tr '\0' x)" "$hvsim" run "$scenario"
    row 'an empty environment' 1 env -i "$hvsim" run "$scenario"
    row 'address randomisation off' 2 setarch -R "$hvsim" run "$scenario"
    row 'small stack limit' 1 sh -c 'ulimit -s 512; exec "$@"' sh "$hvsim" run "$scenario"
    row 'freed memory filled' 1 env MALLOC_PERTURB_=165 "$hvsim" run "$scenario"
    row 'trace: none' 1 "$hvsim" run "$scenario" --trace none
    row 'trace: exits' 1 "$hvsim" run "$scenario" --trace exits
    row 'with value changes (VCD)' 1 "$hvsim" run "$scenario" --vcd "$work/run.vcd"
    row 'one processor of the host' 1 taskset -c 0 "$hvsim" run "$scenario"
    for other in O0 clang; do
        if [ -x "$top/build-$other/bin/hvsim" ]; then
            row "simulator built by $other" 3 "$top/build-$other/bin/hvsim" run "$scenario"
        else
            printf '  %-34s %9s  not built (--builds builds it)\n' "simulator built by $other" ''
        fi
    done
    cd "$top"
done
exit $failed
