# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Through a network that loses, repeats, delays and reorders, both ways: without pawsd and with both placements.
# Every connect comes about, every transfer is right, nothing is reset, nothing stands still for STALL_MS.
#
# Where the order is kept no peer may refuse a timestamp. Where it is not Linux does so by itself: of two bare
# ACKs 2 ms apart the later may come first, and the other is then too old (PAWSEstab); it is dropped and
# nobody misses it. How often is chance: 10 to 130 times without pawsd, for the same transfers, so it is only
# shown. That pawsd makes no difference to any segment the captures say: in each connection one constant is
# added to all TSvals, so that their differences, which is what PAWS looks at, are the client's own; and
# the servers' are not touched.

KEPT_ORDER="delay 3ms loss 1% duplicate 2%"
REORDERED="delay 5ms loss 1% duplicate 2% reorder 5% rate 30mbit"
NETEM_CONNECTS=32
MIDST_CONCURRENCY=2 # per family

# What the peers count, a line each: of timestamps and checksums that no network's order can make them refuse;
# of timestamps that it can, but for TIME_WAIT (out_of_order); and of connections that are reset or given up.
peers_count() {
	local ns
	for ns in "$CL" "$SV"; do
		in_ns "$ns" nstat -asz | awk -v ns="${ns%-*}" -v names="$1" '$1 ~ names {print ns, $1 "=" $2}'
	done
}

peers_refused() { peers_count '^(TcpExtPAWS(Active|Passive)|TcpExtTSEcrRejected|TcpInCsumErrors|IpInHdrErrors)'; }

out_of_order() { peers_count '^TcpExt(PAWS(Estab|OldAck|Timewait)|TCPACKSkippedPAWS)'; }

resets() { peers_count '^(TcpEstabResets|TcpAttemptFails|TcpExtTCPAbort)'; }

# moved WHAT: what is counted since netem_begin.
moved() { awk -F= 'NR == FNR {was[$1] = $2; next} $2 != was[$1] {print $1 "+" $2 - was[$1]}' "$WORK/was.$1" <("$1"); }

# few_alone COUNT: SYN/ACKs passed alone, at most so many more than before; nothing else was refused.
few_alone() {
	local count
	diff <(grep -v '^pawsd-cl TcpExtPAWSActive=' "$WORK/was.peers_refused") <(peers_refused | grep -v '^pawsd-cl TcpExtPAWSActive=') || return 1
	count=$(moved peers_refused | sed -n 's/^pawsd-cl TcpExtPAWSActive+//p')
	echo "SYN/ACKs refused: ${count:-0}, at most $1"
	[ "${count:-0}" -le "$1" ]
}

# netem_begin NETEM...; netem_end NAME kept|reordered [ALONE]: what has been counted since. ALONE: handshakes that were under
# way when pawsd was killed. A SYN was rewritten then, and its SYN/ACK, also a second one, finds nobody and passes as it
# is: the client refuses it, and sends its SYN once more.
netem_begin() {
	local what
	netem "$@"
	for what in peers_refused out_of_order resets tracking_errors; do $what >"$WORK/was.$what"; done
}

netem_end() {
	check "$1: all is closed" all_closed
	netem off
	check "$1: no connection was reset or given up" as_before resets
	check "$1: conntrack found nothing invalid" as_before tracking_errors
	if [ -n "${3:-}" ]; then
		check "$1: no timestamp was refused in a handshake but of $3 under way at the kill, no checksum" few_alone "$3"
	else
		check "$1: no timestamp was refused in a handshake, no checksum" as_before peers_refused
	fi
	if [ "$2" = kept ]; then
		check "$1: none was refused elsewhere" as_before out_of_order
	else
		diag "$1: refused: $(moved out_of_order | tr '\n' ' ')"
	fi
}

# bulk NAME SERVER: two transfers a family, all at once.
bulk() {
	local family i pids=()
	for family in 4 6; do
		for i in 1 2; do
			start "$CL" "$TOOLS/tcpbulk" --from "$(client_addr $family $i)" --to "$(endpoint $family "$2" 80)" \
				--up 1000000 --down 1000000 --idle-ms $STALL_MS >"$WORK/bulk.$family.$i"
			pids+=("$STARTED")
		done
	done
	for family in 4 6; do
		for i in 1 2; do
			check "$1 IPv$family: transfer $i is right, and never stood still for $STALL_MS ms" wait "${pids[0]}"
			pids=("${pids[@]:1}")
			diag "$(cat "$WORK/bulk.$family.$i")"
		done
	done
}

# netem_traffic NAME SERVER kept|reordered NETEM...
netem_traffic() {
	local name=$1 server=$2 order=$3 family line
	shift 3
	# The box asks once a second who has an address; a SYN should not wait for that because the question was lost.
	for family in 4 6; do load --to "$(endpoint $family "$server" 80)" >/dev/null; done
	netem_begin "$@"
	for family in 4 6; do
		line=$(load --from "$(clients $family)" --to "$(endpoint $family "$server" 80-83)" --count $NETEM_CONNECTS \
			--concurrency 16 --timeout-ms 10000) || true
		diag "$name IPv$family: $line"
		check "$name IPv$family: all connect" [ "$(value_of ok "$line")" = $NETEM_CONNECTS ]
	done
	bulk "$name" "$server"
	netem_end "$name" "$order"
}

netem_runs() {
	phase "$1: netem $KEPT_ORDER"
	# shellcheck disable=SC2086
	netem_traffic "$1, order kept" "$2" kept $KEPT_ORDER
	phase "$1: netem $REORDERED"
	# shellcheck disable=SC2086
	netem_traffic "$1, reordered" "$2" reordered $REORDERED
}

# netem_captured PLACEMENT: that each segment's TSval is the client's own and a constant of its connection.
netem_captured() {
	# shellcheck disable=SC2086
	netem $REORDERED
	captured "$1-reordered" 14
	netem off
	capture_properties "$1-reordered"
}

transfers_move() { [ "$(counted transfers out_rewritten)" -gt 50 ]; }

# midst PLACEMENT: two transfers (server 6) and connects, one after the other (7), run all the time.
midst() {
	local name="$1, in the midst" family connects=()
	phase "$name"
	cp "$WORK/rewrite.conf" "$WORK/pawsd.conf"
	# shellcheck disable=SC2086
	netem_begin $REORDERED
	check "$name: transfers begin" transfers_start 6
	for family in 4 6; do
		start "$CL" "$TOOLS/tcpload" --from "$(clients $family)" --to "$(endpoint $family 7 80-83)" --loop \
			--concurrency $MIDST_CONCURRENCY --gap-ms 200 --timeout-ms 10000 >"$WORK/connects.$family"
		connects+=("$STARTED")
	done
	check "$name: reloads" reloads 1
	kill_pawsd
	check "$name: starts again after kill -9" pawsd_start "$WORK/pawsd.conf"
	check "$name: the flows are rewritten as before" wait_until 20 transfers_move
	check "$name: reloads after that" reloads 1
	for family in 4 6; do
		check "$name IPv$family: every connect came about" finish "${connects[0]}"
		connects=("${connects[@]:1}")
		diag "$(cat "$WORK/connects.$family")"
	done
	transfers_end "$name"
	netem_end "$name" reordered $((2 * MIDST_CONCURRENCY))
	check "$name: no transfer was forgotten" [ "$(counted transfers midstream_out midstream_in)" = 0 ]
}

part_netem() {
	local placement
	netem_runs plain 13
	for placement in forward postnat; do
		config_rewrite "$WORK/rewrite.conf" $placement
		printf '[destination transfers]\nprefixes = %s, %s\nmode = rewrite\n' "$(server_addr 4 6)" "$(server_addr 6 6)" \
			>>"$WORK/rewrite.conf"
		config_rich "$WORK/rich.conf" $placement
		cp "$WORK/rewrite.conf" "$WORK/pawsd.conf"
		pawsd_up "$WORK/pawsd.conf"
		netem_runs $placement 14
		netem_captured $placement
		midst $placement
		check "netem, $placement: pawsd stops" pawsd_stop
	done
}
