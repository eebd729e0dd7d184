#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# More than pawsd was made for, of each kind: what is stated happens and is counted, nobody else is hurt, all is as
# before within seconds, and pawsd's memory stays as it is. README.md, "Too much of it", is the statement.
#
# The flooder is client 1, or 10 000 addresses that nobody has; it floods server 2 or 3 (destination "flooded"). The others
# go to server 1 ("others") meanwhile. A rule behind pawsd's drops the flood, so that it is not the gateway's table of
# connections that is measured.
#
# FLOOD_S: for how many seconds SYNs flood. CASES: only these.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq tcpdump:tcpdump ss:iproute2 nstat:iproute2
pawsd_require
FLOOD_S=${FLOOD_S:-5} RATE=50000
P99_MS=50
FLOODER=$(client_addr 4 1) FORGED=10.99.64.0+10000 OTHERS=$(client_addr 4 2)+60

# fresh OPTION...: pawsd anew, knowing nothing, with these, "section key = value" each.
fresh() {
	local option
	[ -z "$PAWSD_PID" ] || check "pawsd stops" pawsd_stop
	rm -rf "$WORK/run"
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination others]
		prefixes = $(server_addr 4 1)
		mode = rewrite
		[destination flooded]
		prefixes = $(server_addr 4 2), $(server_addr 4 3), $(server_addr 6 2)
		mode = rewrite
	EOT
	for option in "$@"; do
		grep -q "^\[${option%% *}\]" "$WORK/pawsd.conf" || sed -i "1i[${option%% *}]" "$WORK/pawsd.conf"
		sed -i "s/^\[${option%% *}\]/&\n${option#* }/" "$WORK/pawsd.conf"
	done
	pawsd_up "$WORK/pawsd.conf"
	load --from "$OTHERS" --to "$(endpoint 4 1 80)" --count 100 >/dev/null
	RESIDENT_KIB=$(resident_kib) DESCRIPTORS=$(descriptors)
}

resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$PAWSD_PID/status"; }
descriptors() { find "/proc/$PAWSD_PID/fd" -mindepth 1 | wc -l; }

# as_before: no memory, no descriptor more than when it was fresh. A sanitizer keeps memory of its own for each that is touched.
as_before() {
	echo "resident: $RESIDENT_KIB KiB, then $(resident_kib) KiB; descriptors: $DESCRIPTORS, then $(descriptors)"
	{ is_sanitized || [ "$(resident_kib)" -le $((RESIDENT_KIB + 256)) ]; } && [ "$(descriptors)" = "$DESCRIPTORS" ]
}

# deluge ARGUMENTS... KIND...: see tests/tools/deluge.c.
FLOODED=$(server_addr 4 2)
deluge() { in_ns "$CL" "$TOOLS/deluge" --device lan0 --gateway "$LAN_MAC" --to "$FLOODED" "$@"; }

others_start() {
	OTHERS_BEFORE=$(counted others syn_rewritten)
	start "$CL" "$TOOLS/tcpload" --from "$OTHERS" --to "$(endpoint 4 1 80)" --loop --concurrency 8 --gap-ms 2 \
		--close client --json >"$WORK/others"
	OTHERS_PID=$STARTED
}

# others_unhurt NAME: they all came through, with their first SYN, and soon.
others_unhurt() {
	check "$1: the others' connects all succeed" finish "$OTHERS_PID"
	OTHERS_REWRITTEN=$(($(counted others syn_rewritten) - OTHERS_BEFORE))
	check "$1: with their first SYN, 99 of 100 within $P99_MS ms" is_prompt "$WORK/others"
	diag "$1: others $(jq -c '{attempts, median_ms, p99_ms, worst_ms}' "$WORK/others"), $OTHERS_REWRITTEN rewritten"
}

# A SYN that got lost is sent again after a second; what the socket counts as retransmitted and took less was none.
is_prompt() {
	cat "$1"
	jq -e ".attempts > 100 and .ok == .attempts and (.second_syn == 0 or .worst_ms < 900) and .p99_ms < $P99_MS" "$1"
}

attempts() { jq .attempts "$WORK/others"; }

# is_normal: new connections are rewritten, every one.
is_normal() {
	local before
	before=$(counted others syn_rewritten)
	load --from "$OTHERS" --to "$(endpoint 4 1 80)" --count 60 >/dev/null &&
		[ "$(counted others syn_rewritten)" = $((before + 60)) ]
}

# recovers NAME SECONDS
recovers() {
	local begin=$EPOCHREALTIME
	check "$1: afterwards new connections are rewritten, within $2 s" wait_until "$2" is_normal
	diag "$1: recovered after $(((${EPOCHREALTIME/./} - ${begin/./}) / 1000)) ms"
	check "$1: no more memory, no more descriptors" as_before
}

at_least() {
	echo "$1, to be at least $2"
	[ "$1" -ge "$2" ]
}

at_most() {
	echo "$1, to be at most $2"
	[ "$1" -le "$2" ]
}

# flooded NAME KIND ARGUMENTS...: floods while the others connect. $SENT: how many packets.
flooded() {
	local name=$1
	shift
	others_start
	deluge "$@" >"$WORK/deluge"
	others_unhurt "$name"
	SENT=$(value_of sent "$(cat "$WORK/deluge")")
	diag "$name: $(cat "$WORK/deluge"); $(pawsctl stats --json |
		jq -c '.destinations[] | select(.name == "flooded") | .packets | with_entries(select(.value > 0))')"
	check "$name: nearly all came to pawsd" at_least "$(seen)" $((SENT * 95 / 100))
}

seen() { pawsctl stats --json | jq '[.destinations[] | select(.name == "flooded") | .packets[]] | add'; }

net_up
serve "$(endpoint 4 1 80)" "$(endpoint 4 2 80)" "$(endpoint 4 3 80)" "$(endpoint 4 2 8001-8008)"
LAN_MAC=$(ip -n "$GW" -json link show lan0 | jq -r .[0].address)
for source in "$FLOODER" 10.99.64.0/18; do
	xt "$GW" 4 -A FORWARD -s "$source" -d "$(server_addr 4 2)/31" -j DROP
done

flood_of_one() {
	fresh
	flooded "SYN flood of one" --from "$FLOODER" syn --rate "$RATE" --seconds "$FLOOD_S"
	check "SYN flood of one: counted" at_least "$(counted flooded client_quota)" 1000
	check "SYN flood of one: its share of the table, no more" at_most "$(flows flooded)" $((262144 / 4))
	others_rewritten "SYN flood of one"
	recovers "SYN flood of one" 3
}

flood_of_many() {
	fresh
	flooded "SYN flood of 10 000" --from "$FORGED" syn --rate "$RATE" --seconds $((FLOOD_S + 3))
	check "SYN flood of 10 000: counted" at_least "$(metric syns_pushed_out_total)" 1000
	others_rewritten "SYN flood of 10 000"
	recovers "SYN flood of 10 000" 3
}

# A flood that a table so small has no room for, even where each place is given away after three seconds.
flood_of_small_table() {
	fresh "flows max = 16384"
	flooded "SYN flood, small table" --from "$FORGED" syn --rate "$RATE" --seconds "$FLOOD_S"
	check "SYN flood, small table: counted" at_least "$(counted flooded table_full)" 1000
	check "SYN flood, small table: so are the others, who pass" at_least "$(counted others table_full)" 10
	recovers "SYN flood, small table" 4
}

million_flows() {
	fresh
	flooded "a million flows" --from "$FLOODER" open --rate $((RATE * 7 / 5)) --seconds "$FLOOD_S"
	check "a million flows: counted" at_least "$(counted flooded client_quota)" 1000
	check "a million flows: its share of the table, no more" at_most "$(flows flooded)" $((262144 / 4))
	others_rewritten "a million flows"
	recovers "a million flows" 3
}

# Of a server that no SYN has passed to with a TSval from anywhere: its mark is near the clock.
jumping_clock() {
	local FLOODED
	FLOODED=$(server_addr 4 3)
	fresh
	flooded "a clock that jumps" --from "$FLOODER" jump --rate 20000 --seconds 3
	check "a clock that jumps: counted" at_least "$(counted flooded out_scaled)" 1000
	check "a clock that jumps: the shared clock is not pushed further than the lead" lead_within 1
	others_rewritten "a clock that jumps"
	load --from "$OTHERS" --to "$(endpoint 4 3 80)" --count 60 --json >"$WORK/same" || true
	check "a clock that jumps: others reach the same server" jq -e '.ok == 60 and .second_syn == 0' "$WORK/same"
	recovers "a clock that jumps" 3
}

flows() { pawsctl stats --json | jq --arg d "$1" '[.destinations[] | select(.name == $d) | .flows[]] | add'; }

lead_within() {
	metric clock_lead_seconds
	metric clock_lead_seconds | jq -e ". <= $1"
}

# But for one or two that go by where the machine has other things to do.
others_rewritten() {
	check "$1: the others were rewritten all the while" at_least "$OTHERS_REWRITTEN" $(($(attempts) * 99 / 100))
}

passed_by_full() { [ "$(counted others table_full)" -ge "$1" ]; }

# Connections that run hold all places.
full_table() {
	local crowd
	fresh "flows max = 1024" "flows client_share_percent = 100" "flows close_s = 10"
	start "$CL" "$TOOLS/tcpcrowd" --from "$OTHERS" --to "$(endpoint 4 2 8001-8008)" --connections 1100 --up 100 \
		--down 100 --gap-ms 60000 --abort --started "$WORK/started" >"$WORK/crowd"
	crowd=$STARTED
	check "full table: more connections than places all come through" wait_until 20 test -e "$WORK/started"
	check "full table: all places are taken" [ "$(metric flow_table_used)" = 1024 ]
	others_start
	wait_until 10 passed_by_full 200
	others_unhurt "full table"
	check "full table: they pass, counted" at_least "$(counted others table_full)" "$(attempts)"
	check "full table: the connections end" finish "$crowd"
	recovers "full table" 15
}

# queues_have COLUMN N: so many of both, in the kernel's own list.
queues_have() { in_ns "$GW" awk "{sum += \$$1} END {exit sum < $2}" /proc/net/netfilter/nfnetlink_queue; }

# dropped WHY: of the queue of established packets.
dropped() { pawsctl status --json | jq ".queues[] | select(.role == \"established\").dropped_$1"; }

# held NAME COLUMN COMMAND...: pawsd stands still while COMMAND sends and others connect, until that column of
# the kernel's counts of queues shows that some was too much.
held() {
	local name=$1 column=$2 pid
	shift 2
	kill -STOP "$PAWSD_PID"
	"$@"
	start "$CL" "$TOOLS/tcpload" --from "$OTHERS" --to "$(endpoint 4 1 80)" --count 150 --concurrency 150 \
		--close client --timeout-ms 10000 --json >"$WORK/others"
	pid=$STARTED
	check "$name: something is dropped" wait_until 2 queues_have "$column" 10
	kill -CONT "$PAWSD_PID"
	check "$name: all connects succeed" wait "$pid"
	# Repeated after 1 s and 2 s (3 s before Linux 6.5): the SYN/ACK to the first of these may have gone by alone, too.
	check "$name: with their first SYN, or its second repetition at the latest" \
		jq -e '.ok == 150 and .worst_ms < 2900' "$WORK/others"
	diag "$name: $(jq -c . "$WORK/others"); $(pawsctl status --json | jq -c .queues)"
}

# What the fast path handles comes to no queue: these two are about what does.
queue_full() {
	local -x PAWSD_FASTPATH=${PAWSD_FASTPATH:+no}
	fresh "queue max_packets = 64"
	held "queue full" 6 true
	check "queue full: counted" at_least "$(dropped queue_full)" 10
	check "queue full: SYNs went by, which shows later" at_least "$(counted others synack_unknown midstream_out)" 10
	recovers "queue full" 3
}

buffer_full() {
	local -x PAWSD_FASTPATH=${PAWSD_FASTPATH:+no}
	fresh "queue buffer_kib = 256"
	held "buffer full" 7 deluge --from "$FLOODER" syn --count 2000 --rate 0
	check "buffer full: counted" at_least "$(dropped buffer_full)" 10
	check "buffer full: most of the SYNs went by" at_most "$(seen)" 1500
	recovers "buffer full" 3
}

# watch_long DEVICE NAME FILTER
watch_long() {
	start "$GW" tcpdump -Z root -ni "$1" -s 128 -U --immediate-mode -w "$WORK/long.$2" "$3" 2>"$WORK/long.$2.err"
	wait_until 10 tcpdump_ready "$WORK/long.$2.err"
}

# Both ways, as the hosts' stacks make them; and one longer than a queue can hand over.
long_packets() {
	fresh
	watch_long lan0 inside "tcp and greater 60000"
	watch_long wan0 outside "ip6 and tcp dst port 1024"
	check "long packets: content is intact both ways" in_ns "$CL" "$TOOLS/tcpbulk" --from "$(client_addr 4 2)" \
		--to "$(endpoint 4 2 80)" --up 30000000 --down 30000000 --rounds 2
	check "long packets: rewritten, each of many segments" is_many_segments
	check "long packets: up to 64 KiB" wait_until 5 captured "$WORK/long.inside" 100
	if ip -n "$CL" link set lan0 gso_max_size 70000; then
		check "long packets: one of 65535 bytes is sent" deluge_6 --from "$(client_addr 6 2)" gso
		ip -n "$CL" link set lan0 gso_max_size 65536
		check "long packets: it passes, counted" wait_until 5 of_all_is truncated 1
		check "long packets: as it was" wait_until 5 left_whole
	else
		tap_skip "one of 65535 bytes" "ip or this kernel cannot send any"
	fi
	recovers "long packets" 3
}

is_many_segments() {
	counted flooded out_rewritten in_rewritten
	[ "$(counted flooded out_rewritten)" -gt 100 ] && [ "$(counted flooded in_rewritten)" -gt 100 ] &&
		[ "$(counted flooded out_rewritten in_rewritten)" -lt $((120000000 / 1448 / 4)) ]
}

captured() { [ "$(tcpdump -nr "$1" 2>/dev/null | wc -l)" -ge "$2" ]; }
of_all_is() { [ "$(of_all "$1")" = "$2" ]; }

# of_all REASON: malformed packets are nobody's.
of_all() { pawsctl stats --json | jq ".packets.$1"; }

deluge_6() { FLOODED=$(server_addr 6 2) deluge "$@"; }

# The client's own TSval, the generator's first number, and all 65463 bytes.
left_whole() {
	local lengths
	lengths=$(tcpdump -nr "$WORK/long.outside" 2>/dev/null | grep "TS val 3449765985 " | sed 's/.*length //' | paste -sd+)
	[ $((${lengths:-0})) = 65463 ]
}

MALFORMED=(offset-too-small offset-too-large header-cut syn-rst syn-fin option-len-zero option-len-one option-too-long
	option-no-len timestamps-len-8 two-timestamps tcp-ao)

malformed() {
	local flood reason
	fresh
	capture_start malformed "src portrange 61000-61099 and not src host $FLOODER"
	others_start
	start "$CL" "$TOOLS/inject" --from "$FLOODER" --to "$(endpoint 4 2 81)" --seconds 3 --rate 20000 "${MALFORMED[@]}" \
		>"$WORK/inject"
	flood=$STARTED
	check "malformed: fragments as well, whose rest never comes" deluge --from "$FLOODER" fragment --rate 5000 --seconds 2
	check "malformed: each kind is sent once by another client" inject_each
	check "malformed: the flood ends" wait "$flood"
	others_unhurt malformed
	capture_stop malformed
	check "malformed: they leave bit-identical" inject_compare
	SENT=$(value_of sent "$(cat "$WORK/inject")")
	for reason in malformed_tcp:3 malformed_flags:2 malformed_options:5 duplicate_timestamps:1 tcp_ao:1; do
		check "malformed: counted, ${reason%:*}" at_least "$(of_all "${reason%:*}")" \
			$((SENT * ${reason#*:} * 95 / 1200))
	done
	check "malformed: nothing else, but the server's RSTs" [ "$(seen)" = "$(counted flooded no_timestamps)" ]
	check "malformed: no flow of any" [ "$(flows flooded)" = 0 ]
	check "malformed: fragments stay in the kernel, which puts them together" at_least "$(fragments_held)" 5000
	diag "malformed: sent=$SENT"
	others_rewritten malformed
	recovers malformed 3
}

fragments_held() { in_ns "$GW" nstat -asz IpReasmReqds | awk '/^IpReasm/ {print $2}'; }

inject_each() {
	in_ns "$CL" "$TOOLS/inject" --from "$(client_addr 4 2)" --to "$(endpoint 4 2 81)" "${MALFORMED[@]}"
}

inject_compare() {
	local output
	output=$("$TOOLS/inject" --compare "$WORK/malformed.inside.pcap" "$WORK/malformed.outside.pcap" "${MALFORMED[@]}") ||
		true # of IPv6 there is none
	echo "$output"
	[ "$(grep -c '^IPv4 .* identical$' <<<"$output")" = ${#MALFORMED[@]} ]
}

for name in ${CASES:-flood_of_one flood_of_many flood_of_small_table million_flows jumping_clock full_table queue_full \
	buffer_full long_packets malformed}; do
	$name
done
check "pawsd stops" pawsd_stop
tap_done
