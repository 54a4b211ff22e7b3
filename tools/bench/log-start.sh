#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Wall time and memory of both variants of scenarios/dirty/log-start.yaml at 2 TiB, and what they simulate: 2^29 entries
# of stage 2 in 4 GiB of tables, filled in an untimed phase and made clean one by one (before) or at the root (after):
# log-start.sh [POINT].
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
hvsim=${HVSIM_BUILD_DIR:-$top/build}/bin/hvsim
point=${1:-2TiB}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Wall time and the largest resident size, as /usr/bin/time has them; without it the wall time alone.
begin=$(date +%s%N)
if [ -x /usr/bin/time ]; then
    /usr/bin/time -f '%e %U %S %M' -o time.txt "$hvsim" run "$top/scenarios/dirty/log-start.yaml" --sweep-only "$point" >report
else
    "$hvsim" run "$top/scenarios/dirty/log-start.yaml" --sweep-only "$point" >report
    echo "$(($(date +%s%N) - begin)) - - -" | awk '{ printf "%.1f - - -\n", $1 / 1e9 }' >time.txt
fi
grep -E "^  (vms\[0\]|$point)" report
read -r wall user system memory <time.txt
printf '\n%-34s %10s s\n' "wall time of the pair at $point" "$wall"
printf '%-34s %10s s\n' "of it in the simulator" "$user"
printf '%-34s %10s s\n' "of it in the kernel" "$system"
printf '%-34s %10s KiB\n' "largest resident size" "$memory"
for variant in before after; do
    sqlite3 log-start.db "SELECT printf('%-34s %10d cycles, %d entries changed by start and log', 'under mmu_lock, $variant',
        (SELECT sum(cycles) FROM spans s WHERE s.run = r.run AND name = 'mmu.log_start'),
        (SELECT sum(value) FROM counters c WHERE c.run = r.run AND name IN ('sptes_dirty_cleared', 'spte_wp')))
        FROM runs r WHERE variant = '$variant'"
done
