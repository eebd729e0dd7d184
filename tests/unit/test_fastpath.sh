#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The programs of the fast path (src/bpf/), run by the kernel in virtual time: test_fastpath.sh BUILD. Every scenario of
# tests/replay/ and the simulator's worlds go through them first, and what they leave to the queue through the engine, both of
# them on one table. All that is expected of the engine alone is expected of the two: bytes, reasons, states, gauges, marks.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

build=$1
programs=$build/src/bpf/fastpath.bpf.o
# Where the programs cannot do as the engine does; the bytes are the same.
differing=(
	tests/replay/synack_of_another_table_full.pkt # they cannot forget a flow: it is left alone instead
)

sound=()
for file in tests/replay/*.pkt; do
	[[ " ${differing[*]} " == *" $file "* ]] || sound+=("$file")
done
if ! reason=$("$build/tests/replay" -f "$programs" "${differing[0]}" 2>&1 >/dev/null) && [[ $reason == *"Operation not permitted"* ]]; then
	echo "ok 1 - fast path # SKIP $reason"
	echo 1..1
	exit 0
fi
status=0
"$build/tests/replay" -f "$programs" "${sound[@]}" || status=1
for file in "${differing[@]}"; do
	if "$build/tests/replay" -f "$programs" "$file" >/dev/null; then
		echo "not ok - $file is said to differ, and does not"
		status=1
	else
		echo "ok - $file differs, as is known"
	fi
done
"$build/tests/sim" --tap --fastpath "$programs" || status=1
exit $status
