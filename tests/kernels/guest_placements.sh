# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Rules, connects, F2, reload, kill: all over for each placement.

kernel_takes() {
	"$PAWSD" -c "$1" --print-rules >"$WORK/rules.nft" || return 1
	grep -n queue "$WORK/rules.nft"
	in_ns "$GW" nft -c -f "$WORK/rules.nft"
}

printed_rules() {
	local placement workers wan
	for placement in forward postnat; do
		for workers in 1 2; do
			for wan in wan0 'wan* ppp0'; do
				PAWSD_WORKERS=$workers config_rich "$WORK/rich.conf" $placement "$wan"
				check "nft -c takes the rules: $placement, workers = $workers, wan = $wan" kernel_takes "$WORK/rich.conf"
			done
		done
	done
	sed 's/goto full/goto nowhere/' "$WORK/rules.nft" >"$WORK/wrong.nft"
	check "it would not take wrong ones" fails in_ns "$GW" nft -c -f "$WORK/wrong.nft"
	check "nothing was put in place by that" no_rules
}

# captured NAME SERVER: connects of both families with a capture on both sides, offloads off. One
# after the other: of two SYNs at the same time, with different workers, the one with the TSval of
# the earlier millisecond may be the later to leave.
captured() {
	local family line
	phase "$1: capture"
	net_offload off
	capture_start "$1"
	for family in 4 6; do
		line=$(load --from "$(clients $family)" --to "$(endpoint $family "$2" 80-83)" --count 40 --concurrency 1) || true
		check "$1 IPv$family: connects for the capture" [ "$(value_of ok "$line")" = 40 ]
		in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family "$2" 80)" --up 100000 --down 100000 >/dev/null
	done
	capture_stop "$1"
	net_offload on
}

# f2 NAME FIRST-PORT without|with: both families and both cases at once.
f2() {
	local family name pids=()
	phase "$1: F2"
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do
			f2_reuse $family "$(case_server $name)" "$2" $F2_ATTEMPTS >"$WORK/$name.$family" 2>&1 &
			pids+=($!)
		done
	done
	wait "${pids[@]}" || true
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do judge_f2 "$1 $name IPv$family" "$3" "$WORK/$name.$family"; done
	done
}

without_pawsd() {
	remember
	captured plain 9
	check "plain: SYN TSvals step back" property_fails plain syn_monotonic
	check "plain: SYNs are not changed" property_fails plain rewritten
	f2 plain 10000 without
	check "plain: the server's counter of old TSvals moves" fails as_before bad_segments
}

# Each connection is one SYN and one SYN/ACK, rewritten, and more segments each way.
counts_right() {
	local out in
	out=$(counted servers out_rewritten) in=$(counted servers in_rewritten)
	echo "SYN $(counted "" syn_rewritten), SYN/ACK $(counted "" synack_rewritten), out $out, in $in, wanted $1"
	[ "$(counted "" syn_rewritten) $(counted "" synack_rewritten)" = "$1 $1" ] &&
		[ "$out" -ge $((3 * $1)) ] && [ "$in" -ge $((2 * $1)) ]
}

many_connects() {
	local family line
	phase "$1: connects"
	for family in 4 6; do
		line=$(connects $family)
		diag "$1 IPv$family: $line"
		check "$1 IPv$family: $CONNECTS connects, all with their first SYN" all_first "$line" $CONNECTS
	done
	check "$1: as many packets counted as queued" wait_until 15 is_quiet
	check "$1: $((2 * CONNECTS)) SYNs and SYN/ACKs rewritten" counts_right $((2 * CONNECTS))
	check "$1: both workers have their part of both kinds" queues_share
	check "$1: nothing odd" nothing_odd
}

# The gateway's own connections leave by its public address too: placement postnat sees them. Each placement has its
# server: what one leaves unseen the other would be blamed for.
own_connects() {
	local family before line rewritten=0 server=10
	phase "$1: the gateway's own"
	[ "$1" = forward ] || rewritten=20 server=12
	for family in 4 6; do
		before=$(counted "" syn_rewritten)
		line=$(in_ns "$GW" "$TOOLS/tcpload" --to "$(endpoint $family $server 80-83)" --count 20) || true
		check "$1 IPv$family: the gateway's own connects" all_first "$line" 20
		check "$1 IPv$family: $rewritten of them rewritten" \
			[ $(($(counted "" syn_rewritten) - before)) = $rewritten ]
		check "$1 IPv$family: the gateway's own transfer" in_ns "$GW" "$TOOLS/tcpbulk" \
			--to "$(endpoint $family $server 80)" --up $ROUND_BYTES --down $ROUND_BYTES
	done
	check "$1: none of the gateway's own segments was refused" as_before bad_segments
	remember
}

# transfers_start [SERVER]: one per family, over and over; they have moved content when this returns.
transfers_start() {
	local family server=${1:-2}
	TRANSFERS=()
	for family in 4 6; do
		rm -f "$WORK/started.$family"
		start "$CL" "$TOOLS/tcpbulk" --from "$(client_addr $family 5)" --to "$(endpoint $family "$server" 80)" --loop \
			--gap-ms 100 --idle-ms $STALL_MS --up $ROUND_BYTES --down $ROUND_BYTES \
			--started "$WORK/started.$family" >"$WORK/transfer.$family"
		TRANSFERS+=("$STARTED")
	done
	wait_until 20 test -e "$WORK/started.4" && wait_until 20 test -e "$WORK/started.6"
}

transfers_end() {
	local i
	for i in 0 1; do
		check "$1 IPv$((4 + 2 * i)): every round is right, none stood still for $STALL_MS ms" finish "${TRANSFERS[i]}"
		diag "$(cat "$WORK/transfer.$((4 + 2 * i))")"
	done
}

moves_on() { [ "$(counted "" out_rewritten)" -gt $(($1 + 50)) ]; }

reload_to() {
	local before
	before=$(metric_of config_reloads_total)
	cp "$WORK/$1.conf" "$WORK/pawsd.conf"
	kill -HUP "$PAWSD_PID"
	wait_until 10 eval "[ \"\$(metric_of config_reloads_total)\" = $((before + 1)) ]"
}

# reloads COUNT: to another policy and back.
reloads() {
	local i
	for ((i = 0; i < $1; i++)); do reload_to rich && reload_to rewrite || return 1; done
}

# With the look-up taken away nothing but their labels says that the packets of running connections are to be queued.
labels_hold() {
	# Until both certainly have one.
	check "forward: flows are rewritten after the reload" wait_until 20 moves_on $(($(counted "" out_rewritten) + 200))
	check "forward: the look-up is taken away" in_ns "$GW" nft 'flush chain inet pawsd out; flush chain inet pawsd in'
	check "forward: labelled connections go on being rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	check "forward: a reload puts it back" reload_to rewrite
}

# Another tool takes all rules away: pawsd sees it by the number of nf_tables' state.
rules_come_back() {
	local before
	in_ns "$GW" nft flush table inet pawsd
	check "postnat: flushed rules are in place again" wait_until 5 eval "[ \"\$(metric_of rules_changed_total)\" = 1 ]"
	before=$(counted servers syn_rewritten)
	connects 4 >/dev/null
	check "postnat: new connections are rewritten" [ "$(counted servers syn_rewritten)" -ge $((before + CONNECTS)) ]
}

during_transfer() {
	local placement=$1 line
	phase "$1: transfers"
	check "$placement: transfers begin" transfers_start
	check "$placement: two reloads meanwhile" reloads 1
	line=$(connects 4)
	check "$placement: connects after them" all_first "$line" $CONNECTS
	check "$placement: reload to off" reload_to off
	check "$placement: the servers of running flows stay queued" grep -q 'set drain6' <<<"$(rules_text)"
	check "$placement: and those flows rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	check "$placement: reload to rewrite" reload_to rewrite
	[ "$placement" = postnat ] || labels_hold
	transfers_end "$placement transfer with reloads"
	[ "$placement" = forward ] || rules_come_back
	check "$placement: nothing odd since the start" nothing_odd
	unhurt "$placement"
}

kill_pawsd() {
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
}

# One SYN and one SYN/ACK, no more.
shakes_hands() { in_ns "$CL" timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/80"' bash "$(server_addr "$1" 11)"; }

no_answer() {
	local line
	line=$(load --from "$(clients "$1")" --to "$(endpoint "$1" 11 80)" --count 8 --concurrency 8 --timeout-ms 800) || true
	echo "$line"
	[ "$(value_of ok "$line")" = 0 ]
}

killed() {
	local placement=$1
	phase "$1: killed"
	check "$placement: transfers begin again" transfers_start
	kill_pawsd
	check "$placement, killed: the rules are still there" rules_in_place "$placement"
	check "$placement, killed: starts again" pawsd_start "$WORK/pawsd.conf"
	check "$placement, killed: the flows are rewritten as before" wait_until 20 moves_on 0
	transfers_end "$placement transfer over kill -9"
	check "$placement, killed: no flow was forgotten" [ "$(counted "" midstream_out midstream_in)" = 0 ]
	unhurt "$placement, killed"
}

# Without anybody at the queues; the connections that this leaves half-way are ended.
dead() {
	local placement=$1 family line
	phase "$placement: dead"
	kill_pawsd
	for family in 4 6; do
		check "$placement IPv$family, dead: handshakes pass" shakes_hands $family
		check "$placement IPv$family, dead: established packets do not" no_answer $family
		line=$(load --from "$(clients $family)" --to "$(endpoint $family 8 80)" --count 8) || true
		check "$placement IPv$family, dead: observed destinations are not hurt" all_first "$line" 8
	done
	check "$placement, dead: starts again" pawsd_start "$WORK/pawsd.conf"
	check "$placement: nothing is left open" none_open
}

# with_pawsd PLACEMENT FIRST-PORT
with_pawsd() {
	local placement=$1
	config_rewrite "$WORK/rewrite.conf" "$placement"
	config_rich "$WORK/rich.conf" "$placement"
	config_off "$WORK/off.conf" "$placement"
	cp "$WORK/rewrite.conf" "$WORK/pawsd.conf"
	remember
	pawsd_up "$WORK/pawsd.conf"
	check "$placement: rules in place" rules_in_place "$placement"
	check "$placement: connections get labels just where packets are taken in one place" \
		metric_is labels_in_use "$([ "$placement" = forward ] && echo 1 || echo 0)"
	many_connects "$placement"
	captured "$placement" 1
	capture_properties "$placement"
	f2 "$placement" "$2" with
	unhurt "$placement"
	own_connects "$placement"
	during_transfer "$placement"
	killed "$placement"
	dead "$placement"
	check "$placement: pawsd stops" pawsd_stop
	check "$placement: and takes its table away, no other" no_rules
}

# The interface's name as a pattern.
postnat_pattern() {
	config_rewrite "$WORK/pawsd.conf" postnat 'ppp0 wan*'
	pawsd_up "$WORK/pawsd.conf"
	check "wan = wan*: as it was written" grep -q 'iifname "wan\*" jump in' <<<"$(rules_text)"
	many_connects "postnat, wan = wan*"
	check "postnat, wan = wan*: pawsd stops" pawsd_stop
}

part_placements() {
	printed_rules
	without_pawsd
	with_pawsd forward 10050
	with_pawsd postnat 10100
	postnat_pattern
}
