#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Guests that are machine code, side by side with emulators that take no account of time: guests.sh [SCALE]. The same
# image runs everywhere: under hvsim, every instruction timed, below the hypervisor core; under Bochs and QEMU from a
# disk with a boot sector of our own, on their bare machine. User time of the fastest of three runs, less that of the
# same image with fewer rounds (start-up, firmware); hvsim and peers run alternately. What is not installed is
# skipped, and said so.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
hvsim=${HVSIM_BUILD_DIR:-$top/build}/bin/hvsim
scale=${1:-10}
guests=$top/scenarios/guests/x86
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# image GUEST ROUNDS: GUEST.ROUNDS.elf, and .disk for emulators.
image() {
    name=$1.$2
    cc -c -x assembler-with-cpp -I"$guests" -DROUNDS="$2" "$guests/$1.S" -o one.o
    cc -nostdlib -static -Wl,--build-id=none -Wl,-T,"$guests/image.lds" -o one.64 one.o
    objcopy -O elf32-i386 -S one.64 "$name.elf"
    objcopy -O binary one.64 one.flat
    entry=$(nm one.64 | awk '$3 == "start" { print "0x" $1 }')
    cc -c -x assembler-with-cpp -DENTRY="$entry" "$top/tools/bench/guest_boot.S" -o boot.o
    ld -Ttext 0x7c00 --oformat binary -o "$name.disk" boot.o 2>/dev/null
    cat one.flat >>"$name.disk"
    truncate -s 5160960 "$name.disk" # 10 cylinders, 16 heads, 63 sectors
}

run_hvsim() {
    "$hvsim" boot "$1.elf" >/dev/null 2>"$1.said"
}

run_bochs() {
    cat >bochsrc <<END
display_library: term
megs: 128
cpu: model=corei7_skylake_x, count=1, ips=1000000000, reset_on_triple_fault=0
clock: sync=none
boot: disk
ata0-master: type=disk, path="$1.disk", mode=flat, cylinders=10, heads=16, spt=63
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
speaker: enabled=0
END
    echo c >"continue" # Debian's has the debugger built in, which waits for this.
    # It wants a terminal, and ends by what it calls a panic.
    TERM=xterm script -qec 'bochs -q -f bochsrc -rc continue' /dev/null >/dev/null 2>&1 </dev/null || true
    grep -q -i 'shutdown' bochs.log
}

# QEMU 7.2 says -singlestep, later ones one-insn-per-tb.
run_qemu() {
    how=$2
    # shellcheck disable=SC2086
    qemu-system-x86_64 -cpu max -m 128 -display none -serial none -monitor none $how -no-reboot \
        -drive "file=$1.disk,format=raw,if=ide" -device isa-debug-exit,iobase=0xf4,iosize=4 || [ $? = 1 ]
}

run_qemu_single() {
    if qemu-system-x86_64 -help | grep -q '^-singlestep'; then
        run_qemu "$1" '-accel tcg -singlestep'
    else
        run_qemu "$1" '-accel tcg,one-insn-per-tb=on'
    fi
}

# user_ms FUNCTION IMAGE: user time of one run.
user_ms() {
    ("$@" || echo failed >"$work/failed"; times) >times.txt
    [ ! -e failed ] || { echo "guests.sh: $* failed" >&2; exit 1; }
    awk 'NR == 2 { split($1, t, /[ms]/); printf "%d\n", t[1] * 60000 + t[2] * 1000 }' times.txt
}

# has TOOL: is it there?
has() {
    case $1 in
    hvsim) true ;;
    bochs) command -v bochs >/dev/null && command -v script >/dev/null ;;
    qemu_*) command -v qemu-system-x86_64 >/dev/null ;;
    esac
}

tools='hvsim bochs qemu_single'
for tool in $tools; do
    has "$tool" || echo "SKIPPED: $tool is not installed; its rows are missing (apt-get install bochs qemu-system-x86)"
done

# row GUEST FEW MANY INSTRUCTIONS: instructions in MANY - FEW rounds.
row() {
    guest=$1 few=$2 many=$3 insns=$4
    image "$guest" "$few"
    image "$guest" "$many"
    for tool in $tools; do
        : >"$tool.few" && : >"$tool.many"
    done
    for _ in 1 2 3; do
        for tool in $tools; do
            has "$tool" || continue
            user_ms "run_$tool" "$guest.$few" >>"$tool.few"
            user_ms "run_$tool" "$guest.$many" >>"$tool.many"
        done
    done
    for tool in $tools; do
        has "$tool" || continue
        few_ms=$(sort -n "$tool.few" | head -1)
        many_ms=$(sort -n "$tool.many" | head -1)
        awk -v guest="$guest" -v tool="$tool" -v n="$insns" -v ms=$((many_ms - few_ms)) -v file="$guest.$tool" 'BEGIN {
            if (ms < 1) ms = 1
            printf "  %-16s %-12s %8d ms %9.1f\n", guest, tool, ms, n / ms / 1000
            printf "%f\n", n / ms / 1000 >file }'
    done
    for tool in bochs qemu_single; do
        has "$tool" || continue
        awk 'NR == 1 { mine = $1 } NR == 2 { printf "  %-16s hvsim is %.2f times %s\n", "", mine / $1, name }' \
            name=$tool "$guest.hvsim" "$guest.$tool"
    done
}

# Instructions of a round of bench_sieve: filling, the multiples of each prime below 1024, the rest of that loop, counting.
sieve_round() {
    awk 'BEGIN { n = 1048576; t = 2 * 1 + 4 * n / 8
        for (i = 2; i < 1024; i++) { t += 4; if (!c[i]) { k = int((n - 1 - i * i) / i) + 1; t += 2 + 4 * k; for (j = i * i; j < 1024; j += i) c[j] = 1 } }
        print t + 1 + 2 + 5 * (n - 2) + 4 }'
}

echo "user time of the fastest of three runs, start-up taken off"
printf '  %-16s %-12s %11s %9s\n' guest under time MIPS
row bench_integer 100 $((100 + 1000 * scale)) $((1000 * scale * (1024 * 9 + 3)))
row bench_sieve 1 $((1 + scale)) $((scale * $(sieve_round)))
image bench_exits 100
image bench_exits $((100 + 30000 * scale))
few=$(user_ms run_hvsim bench_exits.100)
many=$(user_ms run_hvsim bench_exits.$((100 + 30000 * scale)))
awk -v n=$((30000 * scale)) -v ms=$((many - few)) 'BEGIN { printf "  CPUID exits      hvsim        %8d ms %9.0f exits a second\n", ms, n * 1000 / ms }'
