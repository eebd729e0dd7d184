#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The programs of the fast path (src/bpf/), run by the kernel in virtual time: test_fastpath.sh BUILD. Every scenario of
# tests/replay/ and the simulator's worlds go through them first, and what they leave to the queue through the engine, both of
# them on one table: through those of the clients' side, and through those of the servers'. All that is expected of the engine
# alone is expected of the two: bytes, reasons, states, gauges, marks.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

build=$1
programs=$build/src/bpf/fastpath.bpf.o
# Where the programs cannot do as the engine does; the bytes are the same.
differing_lan=(
	synack_of_another_table_full # they cannot forget a flow: it is left alone instead
)
differing_wan=(
	# A fast clock: what is sent before the next answer runs ahead, and is not scaled.
	blocks_quota fast_clock fast_clock_idle fast_clock_idle_ahead fast_clock_no_room fast_clock_seven_weeks fast_clock_slower fast_clock_wrap
	gone_past lead lead_bound old_segment_is_no_clock syn_held_back_fast tsval_base
	# A copy of a SYN that comes when its connection is over is a new one: conntrack has begun anew.
	isn_reused syn_late_first
	strip_not_begun_here # nor can they strip a SYN's second copy, when the policy has it rewritten by now
	# The first SYN that finds the table full passes: they cannot have another make room for it.
	table_full_elder table_full_pushed_out
)
status=0

# scenarios SIDE DIFFERING...
scenarios() {
	local side=$1 file name sound=() text
	shift
	for file in tests/replay/*.pkt; do
		name=${file##*/}
		[[ " $* " == *" ${name%.pkt} "* ]] || sound+=("$file")
	done
	text=$("$build/tests/replay" -s "$side" -f "$programs" "${sound[@]}") || status=1
	sed "s/^\\(\\(not \\)\\?ok [0-9]* - \\)/\\1$side: /; /^1\\.\\./d" <<<"$text"
	for name; do
		if "$build/tests/replay" -s "$side" -f "$programs" "tests/replay/$name.pkt" >/dev/null; then
			echo "not ok - $side: $name is said to differ, and does not"
			status=1
		else
			echo "ok - $side: $name differs, as is known"
		fi
	done
}

if ! reason=$("$build/tests/replay" -f "$programs" tests/replay/handshake.pkt 2>&1 >/dev/null) && [[ $reason == *"Operation not permitted"* ]]; then
	echo "ok 1 - fast path # SKIP $reason"
	echo 1..1
	exit 0
fi
scenarios lan "${differing_lan[@]}"
scenarios wan "${differing_wan[@]}"
"$build/tests/sim" --tap --fastpath "$programs" || status=1
"$build/tests/sim" --tap --fastpath "$programs" --side wan || status=1
exit $status
