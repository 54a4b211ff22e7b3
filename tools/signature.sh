#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The regression gate: digest and cycles of every scenario's every variant, one line each.
#
#   tools/signature.sh             compares with scenarios/signature; status 1 and a diff if anything moved
#   tools/signature.sh --renew     writes scenarios/signature; the commit says why each line moved
#
# Of a sweep the first point, its small end, is signed.
#
# HVSIM_BUILD_DIR: the build to use (default: build).
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
hvsim=${HVSIM_BUILD_DIR:-$top/build}/bin/hvsim
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$top"
{
    echo "# scenario variant cycles digest; renewed by tools/signature.sh --renew"
    for scenario in scenarios/*/*.yaml; do
        "$hvsim" run "$scenario" --sweep-only first --json --db "$work/db" >"$work/json" || true
        rm -f "$work/db"
        # "variant": "x", "run": 1, "digest": "d", "cycles": 2, ...
        sed -n "s|.*\"variant\": \"\([^\"]*\)\".*\"digest\": \"\([0-9a-f]*\)\", \"cycles\": \([0-9]*\).*|$scenario \1 \3 \2|p" "$work/json"
    done
} >"$work/signature"

if [ "${1:-}" = --renew ]; then
    cp "$work/signature" scenarios/signature
    echo "wrote scenarios/signature"
    exit 0
fi
if diff -u scenarios/signature "$work/signature"; then
    echo "$(grep -vc '^#' scenarios/signature) variants as signed"
else
    echo "digests or cycles moved; if that is meant, tools/signature.sh --renew and say why in the commit" >&2
    exit 1
fi
