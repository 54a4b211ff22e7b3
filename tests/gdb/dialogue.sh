#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A gdb dialogue with a guest, as text on standard output:
#
#   tests/gdb/dialogue.sh BUILD IMAGE SCRIPT [options of hvsim gdb]
#
# BUILD: a build folder; IMAGE: a name in its lib/images; SCRIPT: gdb commands, one a line (the connection is made before the
# first). What the command itself says comes last. `--port` in place of a Unix socket if DIALOGUE_PORT is set.
#
#   tests/gdb/dialogue.sh --renew BUILD       writes the dialogue of docs/gdb.md anew from tests/gdb/reverse.gdb
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$here/../..

if [ "${1:-}" = --renew ]; then
    "$0" "$2" overwritten "$here/reverse.gdb" --cpus 2 | sed '/^hvsim: /d' >"$2/dialogue.txt"
    awk -v from="$2/dialogue.txt" '
        /^<!-- dialogue -->$/ { print; print "```"; while ((getline line < from) > 0) print line; print "```"; skip = 1; next }
        /^<!-- end of dialogue -->$/ { skip = 0 }
        !skip' "$top/docs/gdb.md" >"$2/gdb.md"
    mv "$2/gdb.md" "$top/docs/gdb.md"
    exit
fi
[ $# -ge 3 ] || { echo "usage: $0 BUILD IMAGE SCRIPT [options]" >&2; exit 2; }
build=$(CDPATH='' cd -- "$1" && pwd)
image=$2
script=$(realpath "$3")
shift 3

work=$(mktemp -d)
trap 'kill $hvsim 2>/dev/null || :; rm -rf "$work"' EXIT
set -- --socket "$work/gdb" "$@"
if [ "${DIALOGUE_PORT:-}" ]; then
    shift 2
fi
"$build/bin/hvsim" gdb "$build/lib/images/$image.elf" "$@" >"$work/console" 2>"$work/said" </dev/null &
hvsim=$!
tries=0
until target=$(sed -n 's/^hvsim: waiting for gdb: target remote //p' "$work/said" 2>/dev/null) && [ "$target" ]; do
    tries=$((tries + 1))
    if [ $tries -ge 300 ] || ! kill -0 $hvsim; then
        cat "$work/said"
        exit 1
    fi
    sleep 0.1
done
# Prefixed with `+` by gdb, as it reads the commands from a file.
{
    echo 'set pagination off'
    echo 'set confirm off'
    echo 'set remotetimeout 30'
    echo 'set style enabled off'
    echo 'set disassembly-flavor att'
    echo "target remote $target"
    echo 'set trace-commands on'
    cat "$script"
} >"$work/script"
cd "$top"
# Where sources lie is as the build sees them.
LC_ALL=C timeout 100 gdb -nx -batch -ex "set substitute-path ../../ $top/" -x "$work/script" "$build/lib/images/$image.sym" \
    </dev/null 2>&1 | sed '/^+reverse-/{
n
d
}' | sed 's/^+/(gdb) /; s:\.\./\.\./::' || :
status=0
wait $hvsim || status=$?
hvsim=
sed 's/^/console: /' "$work/console"
grep -v 'waiting for gdb' "$work/said" || :
echo "hvsim: exit status $status"
