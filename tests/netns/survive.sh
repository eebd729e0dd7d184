#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A thousand transfers that run on while pawsd is killed, stopped and replaced time and again, its queues' sockets in the
# keeping of a stand-in for the service manager: none breaks, none stands still for long, nothing leaves with a client's
# own TSval, and who connects meanwhile waits for one retransmission of a SYN at most.
#
# KILLS, CONNECTIONS: how often, how many.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq
pawsd_require
KILLS=${KILLS:-50} CONNECTIONS=${CONNECTIONS:-1000}
STALL_MS=3000 # what a transfer may stand still for
CONNECT_MS=1900 # the first repetition of a SYN comes after 1 s, the second 2 s later (3 s before Linux 6.5)
! is_sanitized || STALL_MS=10000 CONNECT_MS=10000 # it starts that much slower

pawsd_pid() { cat "$WORK/ready" 2>/dev/null || true; }
# is_ready_anew PID...: another than these is ready.
is_ready_anew() {
	local pid
	pid=$(pawsd_pid)
	[ -n "$pid" ] && [[ " $* " != *" $pid "* ]]
}

# again SIGNAL: ends pawsd, and waits until the next one is ready.
again() {
	local before
	before=$(pawsd_pid)
	kill "-$1" "$before"
	wait_until 20 is_ready_anew "$before"
}

# again_often SIGNAL N: and each time what runs goes on, and nothing of it, no SYN either, has gone by.
again_often() {
	local i
	for ((i = 0; i < $2; i++)); do
		again "$1" || return 1
		more_rewritten "$(counted all out_rewritten)" || return 1
		none_went_by || return 1
	done
}

# again_early N: kills it, and the next one in the midst of its start, before it is ready.
again_early() {
	local i before next
	for ((i = 0; i < $1; i++)); do
		before=$(pawsd_pid)
		kill -KILL "$before"
		wait_until 10 is_other_child "$before" || return 1
		next=$CHILD
		sleep "$(printf '.%03d' $((i * 400 / $1)))"
		kill -KILL "$next"
		wait_until 20 is_ready_anew "$before" "$next" || return 1
		none_went_by || return 1
	done
}

is_other_child() { CHILD=$(cat "/proc/$MINDER/task/$MINDER/children") && CHILD=${CHILD%% *} && [ -n "$CHILD" ] && [ "$CHILD" != "$1" ]; }

none_went_by() {
	[ "$(counted "" syn_policy_off synack_unknown midstream_out midstream_in flow_not_rewritten)" = 0 ] && return
	pawsctl stats
	return 1
}

more_rewritten() { wait_until 5 has_more_rewritten "$1"; }
has_more_rewritten() { [ "$(counted all out_rewritten)" -gt "$1" ]; }

# watch_start: from now on each TSval that leaves the gateway is looked at.
watch_start() {
	start_background "$GW" "$TOOLS/tsvalwatch" --device wan0 --background --stats "$WORK/watch"
	WATCH=$STARTED
}

# all_rewritten: every segment that has left had the shared clock's TSval.
all_rewritten() {
	kill -TERM "$WATCH"
	wait_until 5 process_gone "$WATCH"
	cat "$WORK/watch"
	[ "$(value_of off "$(cat "$WORK/watch")")" = 0 ] && [ "$(value_of lost "$(cat "$WORK/watch")")" = 0 ] &&
		[ "$(value_of seen "$(cat "$WORK/watch")")" -gt $((CONNECTIONS / 2)) ]
}

crowd_start() {
	rm -f "$WORK/started"
	start "$CL" "$TOOLS/tcpcrowd" --from "$CLIENTS_4" --to "$(endpoint 4 1 8001-8008)" --to "$(endpoint 4 2 8001-8008)" \
		--connections "$CONNECTIONS" --up 3000 --down 3000 --gap-ms 250 --stall-ms $STALL_MS \
		--started "$WORK/started" >"$WORK/crowd"
	CROWD=$STARTED
	wait_until 30 test -e "$WORK/started"
}

connects_start() {
	start "$CL" "$TOOLS/tcpload" --from "$CLIENTS_4" --to "$(endpoint 4 3 80)" --loop --concurrency 4 --gap-ms 20 \
		--timeout-ms 10000 --json >"$WORK/connects"
	CONNECTS=$STARTED
}

# crowd_is NAME VALUE...: what it has printed.
crowd_is() {
	local text
	text=$(cat "$WORK/crowd")
	echo "$text"
	while [ $# -gt 0 ]; do
		[ "$(value_of "$1" "$text")" = "$2" ] || return 1
		shift 2
	done
}

# round NAME COMMAND...: the transfers and connects go on while COMMAND runs.
round() {
	local name=$1
	shift
	watch_start
	crowd_start
	connects_start
	check "$name: pawsd is back each time, and goes on rewriting" "$@"
	check "$name: new connections succeed meanwhile" finish "$CONNECTS"
	check "$name: at the latest with the first repetition of their SYN" connected_within $CONNECT_MS
	check "$name: the transfers end well" finish "$CROWD"
	check "$name: $CONNECTIONS of them, none broken, all content right" crowd_is connections "$CONNECTIONS" broken 0 bad 0
	check "$name: none stood still for $STALL_MS ms" crowd_is stalled 0
	check "$name: nothing has left but with the shared clock's TSvals" all_rewritten
	check "$name: no packet was left behind in a queue" wait_until 2 nothing_waits
	diag "$(cat "$WORK/crowd")"
	diag "$(jq -c . "$WORK/connects")"
}

# A last packet each way through both queues shows that those before it are no more.
nothing_waits() {
	load --to "$(endpoint 4 3 80)" >"$WORK/last" && [ "$(pawsctl status --json | jq '[.queues[].waiting] | add')" = 0 ]
}

connected_within() {
	cat "$WORK/connects"
	[ "$(jq .worst_ms "$WORK/connects" | cut -d. -f1)" -le "$1" ]
}

net_up
serve "$(endpoint 4 1 8001-8008)" "$(endpoint 4 2 8001-8008)" "$(endpoint 4 3 80)"
pawsd_config "$WORK/pawsd.conf" <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24
	mode = rewrite
EOT
sed -i 's/^\[rules\]/&\non_stop = keep/' "$WORK/pawsd.conf"
mkdir -p "$WORK/run" "$WORK/state"
cp "$PAWSD" "$WORK/pawsd"
start_background "$GW" "$TOOLS/minder" "$WORK/notify" "$WORK/ready" "$WORK/pawsd.log" "$WORK/pawsd" -c "$WORK/pawsd.conf"
MINDER=$STARTED
check "pawsd comes up" wait_until 20 test -e "$WORK/ready"

round "kill -9, $KILLS times" again_often KILL "$KILLS"
round "kill -9, and again at some point of the start, 10 times" again_early 10
round "SIGTERM, 5 times" again_often TERM 5
replace() { cp "$PAWSD" "$WORK/next" && mv "$WORK/next" "$WORK/pawsd" && again TERM; }
round "an upgrade" replace

# A process that dies with packets in its hands: nobody has them any more, and the next must not let them pass.
dies_with_packets() {
	start_background "$GW" "$TOOLS/notifywait" "$WORK/notify" "$WORK/ready"
	NOTIFY_SOCKET="$WORK/notify" start "$GW" "$TOOLS/dying" --first 9470 --packets 40 "$PAWSD" -c "$WORK/pawsd.conf" \
		>>"$WORK/pawsd.log" 2>&1
	PAWSD_PID=$STARTED
	wait_until 20 pawsd_ready_or_gone
	[ -e "$WORK/ready" ]
}

# with_workers N SIGNAL: another number of queues than those that the stand-in has kept.
with_workers() {
	sed -i "s/^workers = .*/workers = $1/" "$WORK/pawsd.conf"
	again "$2" && metric_is workers "$1" && load --from "$CLIENTS_4" --to "$(endpoint 4 3 80)" --count 32 >/dev/null &&
		[ "$(counted all syn_rewritten)" -ge 32 ] && nothing_waits
}
check "with three workers it comes up again" with_workers 3 KILL
check "and with two" with_workers 2 TERM
check "and with one, as before" with_workers 1 KILL

finish_minder() { kill -TERM "$MINDER" && wait_until 15 process_gone "$MINDER"; }
check "the stand-in ends" finish_minder

CONNECTIONS=100
sed -i 's/^enabled = .*/enabled = no/' "$WORK/pawsd.conf" # what the fast path handles is in nobody's hands
pawsd_up "$WORK/pawsd.conf"
watch_start
crowd_start
kill -KILL "$PAWSD_PID"
wait "$PAWSD_PID" 2>/dev/null || true # its queues are free when it is gone
check "a process dies with packets in its hands, the next goes on" dies_with_packets
check "it has dropped them" wait_until 5 nothing_waits
check "$CONNECTIONS transfers end well" finish "$CROWD"
check "none of them was broken, all content is right" crowd_is connections "$CONNECTIONS" broken 0 bad 0 stalled 0
check "nothing has left but with the shared clock's TSvals" all_rewritten
check "pawsd stops" pawsd_stop
tap_done
