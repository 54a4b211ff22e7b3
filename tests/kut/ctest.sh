#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The table of kut.sh as a test: leaves it in BUILD/kut/table, and every entry's output beside it.
#   tests/kut/ctest.sh BUILD
# Status 77, with the reason, where HVSIM_KUT does not name a kvm-unit-tests tree. HVSIM_KUT_ENTRIES: a pattern of
# entries' names.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=$1/kut
rm -rf "$out"
mkdir -p "$out" || exit 1
if [ -z "${HVSIM_KUT:-}" ]; then
    echo "kvm-unit-tests: SKIPPED; HVSIM_KUT=DIR ./dev test runs them (DIR: a tree of them, configured and built for x86_64)" |
        tee "$out/table"
    exit 77
fi
KUT_OUT=$out HVSIM=$1/bin/hvsim "$here/kut.sh" "$HVSIM_KUT" "${HVSIM_KUT_ENTRIES:-.}" >"$out/table" 2>&1
status=$?
cat "$out/table"
exit $status
