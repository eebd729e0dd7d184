#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# How pawsd bears many flows and many prefixes: tests/bench/scale.sh BUILD. Lines of "WHAT NUMBER VALUE UNIT" go to
# BUILD/bench/scale.figures. Flows are those of a killed pawsd, found again at the start; segments of all of them at
# random are then forwarded, and the processor time of pawsd is held against their number. Without conntrack, which would
# make a connection of each: pawsd's thread would be charged for entering them into its table.
set -euo pipefail
export NET_BOX=no PAWSD_FASTPATH=no
export TMPDIR=${TMPDIR:-/dev/shm} # as /run is: no disk is behind the flow table
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
net_require jq:jq
pawsd_require

# So many packets a second that the worker has no time to linger, which would be counted too.
ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-1} RATE=${RATE:-200000}
RESULTS=$BUILD_DIR/bench
FIGURES=$RESULTS/scale.figures

figure() { echo "$*" | tee -a "$FIGURES"; }

busy_us() { awk '{sub(/.*\) /, ""); print ($12 + $13) * 10000}' "/proc/$PAWSD_PID/stat"; }
resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$PAWSD_PID/status"; }

# configure FLOWS-MAX [PREFIXES-FILE]
configure() {
	{
		printf '%s\n' '[flows]' "max = $1" '[destination bench]' 'prefixes = 198.18.0.0/15' 'mode = rewrite'
		[ -z "${2:-}" ] || printf '%s\n' '[destination many]' "prefixes_file = $2" 'mode = rewrite'
	} | pawsd_config "$WORK/pawsd.conf"
}

# ready_ms: starts pawsd; how long it took.
ready_ms() {
	local begin=${EPOCHREALTIME/./}
	pawsd_up "$WORK/pawsd.conf"
	READY_MS=$(((${EPOCHREALTIME/./} - begin) / 1000))
}

# cost WHAT NUMBER FLOWS: forwards segments of so many flows, processor microseconds a packet.
cost() {
	local packets busy
	packets=$(counted "" out_rewritten) busy=$(busy_us)
	in_ns "$CL" "$TOOLS/flood" --interface lan0 --gateway "$GATEWAY_MAC" --flows "$3" --seconds "$SECONDS_EACH" \
		--rate "$RATE" >/dev/null
	packets=$(($(counted "" out_rewritten) - packets)) busy=$(($(busy_us) - busy))
	[ $packets -gt 1000 ] || { echo "only $packets packets were rewritten" >&2 && exit 1; }
	figure "$1" "$2" "$(awk -v b=$busy -v p=$packets 'BEGIN {printf "%.3f", b / p}')" us/packet
}

flows_case() {
	mkdir -p "$WORK/run" "$WORK/state"
	configure 1048576
	"$TOOLS/fill_flows" "$WORK/pawsd.conf" "$1" >/dev/null
	ready_ms
	[ "$(metric flow_table_used)" = "$1" ] || { echo "the flows were not found again" >&2 && exit 1; }
	figure ready "$1" "$READY_MS" ms
	cost flows "$1" "$1"
	pawsd_stop
}

sent_packets() { ip -n "$GW" -s -j link show wan0 | jq '.[0].stats64.tx.packets'; }

# The same by the kernel's programs: nanoseconds of theirs a packet, and how many packets are forwarded by one sender that sends
# as many as it can.
fast_case() {
	local before
	mkdir -p "$WORK/run" "$WORK/state"
	PAWSD_FASTPATH=yes configure 1048576
	"$TOOLS/fill_flows" "$WORK/pawsd.conf" "$1" >/dev/null
	ready_ms
	[ "$(metric flow_table_used)" = "$1" ] || { echo "the flows were not found again" >&2 && exit 1; }
	figure fast-ready "$1" "$READY_MS" ms
	start "$GW" "$TOOLS/progcost" lan_ingress "$SECONDS_EACH" >"$WORK/progcost"
	before=$(sent_packets)
	in_ns "$CL" "$TOOLS/flood" --interface lan0 --gateway "$GATEWAY_MAC" --flows "$1" --seconds "$SECONDS_EACH" >/dev/null
	figure fast-rate "$1" $((($(sent_packets) - before) / SECONDS_EACH)) packets/s
	wait "$STARTED"
	figure fast-program "$1" "$(awk 'NF == 3 {print $3}' "$WORK/progcost" | tail -1)" ns/packet
	[ "$(counted "" out_rewritten)" -gt 1000 ] || { echo "the segments were not rewritten" >&2 && exit 1; }
	pawsd_stop
}

# How many that are without pawsd.
plain_case() {
	local before
	before=$(sent_packets)
	in_ns "$CL" "$TOOLS/flood" --interface lan0 --gateway "$GATEWAY_MAC" --flows "$1" --seconds "$SECONDS_EACH" >/dev/null
	figure plain-rate "$1" $((($(sent_packets) - before) / SECONDS_EACH)) packets/s
}

prefixes_case() {
	head -n "$1" "$WORK/prefixes" >"$WORK/prefixes.$1"
	mkdir -p "$WORK/run" "$WORK/state"
	configure 16384 "$WORK/prefixes.$1"
	"$TOOLS/fill_flows" "$WORK/pawsd.conf" 1000 >/dev/null
	ready_ms
	figure ready-prefixes "$1" "$READY_MS" ms
	cost prefixes "$1" 1000
	pawsd_stop
}

memory_case() {
	configure "$1"
	ready_ms
	figure memory "$1" "$(resident_kib)" KiB
	pawsd_stop
}

is_reloaded() { [ "$(metric config_reloads_total)" = "$1" ]; }

# wait_figures NAME: the latency of requests every millisecond, while COMMAND... goes on beside them.
latency_while() {
	local name=$1 load
	shift
	start "$CL" "$TOOLS/netload" latency --connections 8 --rate 1000 --seconds 3 \
		--to "$(endpoint 4 1 8001)" >"$WORK/latency"
	load=$STARTED
	sleep 1
	"$@"
	wait "$load"
	jq -r '"\(.p99) \(.max)"' "$WORK/latency" | while read -r p99 max; do
		figure "$name-p99" 100000 "$p99" us
		figure "$name-max" 100000 "$max" us
	done
}

reload() {
	local begin=${EPOCHREALTIME/./}
	kill -HUP "$PAWSD_PID"
	wait_until 20 is_reloaded 1
	figure reload 100000 $(((${EPOCHREALTIME/./} - begin) / 1000)) ms
}

# Requests to a server that is rewritten, while 100 000 prefixes are read again.
reload_case() {
	{
		printf '%s\n' '[destination servers]' 'prefixes = 198.51.100.0/24' 'mode = rewrite'
		printf '%s\n' '[destination many]' "prefixes_file = $WORK/prefixes" 'mode = rewrite'
	} | pawsd_config "$WORK/pawsd.conf"
	ready_ms
	latency_while quiet true
	latency_while reload reload
	pawsd_stop
}

mkdir -p "$RESULTS"
: >"$FIGURES"
net_up
start_background "$SV" "$TOOLS/netload" serve --background "$(endpoint 4 1 8001)"
ip -n "$SV" route add 10.99.0.0/16 via 203.0.113.1
xt "$GW" 4 -t nat -F
xt "$GW" 6 -t nat -F
xt "$GW" 4 -t raw -A PREROUTING -d 198.18.0.0/15 -j CT --notrack
ip -n "$GW" route add 198.18.0.0/15 via 203.0.113.254
GATEWAY_MAC=$(ip -n "$GW" -j link show lan0 | jq -r ".[0].address")
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "20.%d.%d.%d\n", i / 32768, i / 128 % 256, i * 2 % 256 }' >"$WORK/prefixes"

for flows in 10000 100000 1000000; do memory_case $flows; done
for ((round = 0; round < ROUNDS; round++)); do
	for flows in 1000 100000 1000000; do flows_case $flows; done
	for flows in 1000 100000 1000000; do plain_case $flows; fast_case $flows; done
	for prefixes in 10 1000 100000; do prefixes_case $prefixes; done
	reload_case
done
