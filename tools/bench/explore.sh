#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Executions a second and core of litmus tests: explore.sh [EXECUTIONS]. Ours go through the compiler's hooks, the
# memory model, the enumeration of all choices and the restart of each execution (tests/litmus). With RELACY=DIR, a
# folder that holds relacy/relacy.hpp, the same tests with Relacy's headers stand beside, measured in the same run.
# Processor time of the best of five rounds.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
build=${HVSIM_BUILD_DIR:-$top/build}
executions=${1:-200000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "hvsim:"
"$build/bin/litmus_rate" "$top" "$build" "$executions"
if [ -z "${RELACY:-}" ]; then
    echo "relacy: SKIPPED (RELACY=DIR names the folder that holds relacy/relacy.hpp)"
    exit 0
fi
# Its headers are not ours to be free of warnings.
"${CXX:-g++}" -O2 -w -I"$RELACY" -o "$work/relacy_litmus" "$top/tests/litmus/relacy_litmus.cpp"
echo "relacy:"
"$work/relacy_litmus" "$executions"
