#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Block prices against llvm-mca, for each micro-architecture: prices.sh [LIBRARY [WORST]]. LIBRARY is an instrumented
# library, build/lib/libhv.so unless given; WORST is how many outliers on either side are printed with their code.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
build=${HVSIM_BUILD_DIR:-$top/build}
library=${1:-$build/lib/libhv.so}
worst=${2:-5}

for file in "$library" "$build/bin/price_report"; do
    if [ ! -e "$file" ]; then
        echo "prices: $file: no such file; run ./dev build first" >&2
        exit 2
    fi
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for uarch in "$top"/models/cpu/uarch/*.yaml; do
    "$build/bin/price_report" "$library" "$uarch" "$folder" "$worst"
    echo
done
