#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Forwarding side by side: tests/bench/forward.sh BUILD. Each load runs through each alternative in turn, round after
# round, and through plain NAT before and behind each, so that what else the machine does hits both alike: a ratio is
# that to the mean of the two. A line for each measurement goes to BUILD/bench/forward.figures:
# "ROUND LOAD ALTERNATIVE VALUE UNIT CPU-MICROSECONDS PACKETS LOST PLAIN".
#
#   client machines          NAT gateway           server
#   $CL  lan0 ------------ lan0 $GW wan0 -------- net0 $SV
#
# ROUNDS, LOADS, ALTERNATIVES, SECONDS_EACH and CONGESTION (TCP's congestion control at both ends; the kernel's default
# would make results of different machines incomparable) may be set in the environment.
set -euo pipefail
export NET_BOX=no PAWSD_FASTPATH=no
export TMPDIR=${TMPDIR:-/dev/shm} # as /run is: no disk is behind the flow table
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
net_require iperf3:iperf3 jq:jq ethtool:ethtool
pawsd_require

ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-1} CONGESTION=${CONGESTION:-cubic}
read -ra LOADS <<<"${LOADS:-bulk1 bulk8 rr crr pps mix latency}"
read -ra ALTERNATIVES <<<"${ALTERNATIVES:-textbook kernel-strip strip-queue strip-kernel rewrite hooks fastpath observe off}"
RESULTS=$BUILD_DIR/bench
FIGURES=$RESULTS/forward.figures
SERVE_PORTS=8001-8032
TEXTBOOK_QUEUE=4
SERVERS=8

# --- the alternatives --------------------------------------------------------------------------

# destination LINE...: a configuration with that destination for all servers, and one beside it, so that
# there are rules in any case.
destination() {
	{
		printf '%s\n' '[flows]' 'max = 1048576' '[destination servers]' \
			'prefixes = 198.51.100.0/24, 203.0.113.0/24, 2001:db8:100::/64' "$@"
		printf '%s\n' '[destination elsewhere]' 'prefixes = 192.0.2.0/24, 2001:db8:7::/64' 'mode = rewrite'
	} | pawsd_config "$WORK/pawsd.conf"
	pawsd_up "$WORK/pawsd.conf"
	BUSY_PID=$PAWSD_PID
}

alternative_start() {
	BUSY_PID=
	case $1 in
	plain) ;;
	kernel-strip)
		xt "$GW" 4 -t mangle -A FORWARD -p tcp --tcp-flags SYN SYN -j TCPOPTSTRIP --strip-options timestamp
		;;
	hooks)
		start "$GW" "$TOOLS/hooks" lan0 >"$WORK/hooks"
		wait_until 5 grep -q ready "$WORK/hooks"
		xt "$GW" 4 -t mangle -A FORWARD -p tcp -m mark --mark 1 -j ACCEPT
		;;
	textbook)
		start "$GW" "$TOOLS/textbook" --queue $TEXTBOOK_QUEUE --inside 10.99.0.0/16
		BUSY_PID=$STARTED
		wait_until 5 textbook_listens
		xt "$GW" 4 -t mangle -A FORWARD -p tcp -j NFQUEUE --queue-num $TEXTBOOK_QUEUE
		;;
	strip-queue) PAWSD_STRIP=queue destination 'mode = strip' ;;
	strip-kernel) PAWSD_STRIP=kernel destination 'mode = strip' ;;
	rewrite) destination 'mode = rewrite' ;;
	fastpath) PAWSD_FASTPATH=yes destination 'mode = rewrite' ;;
	observe) destination 'mode = observe' ;;
	off) destination 'mode = off' ;;
	*) echo "no alternative called $1" >&2 && exit 2 ;;
	esac
}

textbook_listens() { in_ns "$GW" grep -qE "^ *$TEXTBOOK_QUEUE " /proc/net/netfilter/nfnetlink_queue; }

alternative_stop() {
	case $1 in
	plain) ;;
	kernel-strip) xt "$GW" 4 -t mangle -F FORWARD ;;
	hooks)
		xt "$GW" 4 -t mangle -F FORWARD
		stop_process "$STARTED"
		;;
	textbook)
		xt "$GW" 4 -t mangle -F FORWARD
		stop_process "$BUSY_PID"
		;;
	*) pawsd_stop ;;
	esac
	forget_chains
}

# Plain NAT is to have nothing in the way: the iptables of nf_tables leave a chain without rules where one was.
forget_chains() {
	local family
	for family in ip ip6; do in_ns "$GW" nft delete table $family mangle 2>/dev/null || true; done
}

# User and system time so far of the process that handles the packets, in microseconds.
busy_us() {
	[ -n "$BUSY_PID" ] || { echo 0 && return; }
	awk '{sub(/.*\) /, ""); print ($12 + $13) * 10000}' "/proc/$BUSY_PID/stat"
}

# Packets that came to user space so far.
queued_packets() {
	in_ns "$GW" awk '{n += $8} END {print n + 0}' /proc/net/netfilter/nfnetlink_queue 2>/dev/null || echo 0
}

lost_packets() {
	in_ns "$GW" awk '{n += $6 + $7} END {print n + 0}' /proc/net/netfilter/nfnetlink_queue 2>/dev/null || echo 0
}

# --- the loads -----------------------------------------------------------------------------------

server_endpoints() {
	local i
	for ((i = 1; i <= SERVERS; i++)); do endpoint 4 $i $SERVE_PORTS; done
}

# iperf STREAMS: Mbit/s that arrived.
iperf() {
	in_ns "$CL" iperf3 -c "$(server_addr 4 1)" -p 5201 -t "$SECONDS_EACH" -P "$1" --connect-timeout 3000 --json |
		jq -r '"\(.end.sum_received.bits_per_second / 1e6) Mbit/s"'
}

netload() {
	local to=() i mode=$1
	shift
	for ((i = 1; i <= SERVERS; i++)); do to+=(--to "$(endpoint 4 $i $SERVE_PORTS)"); done
	in_ns "$CL" "$TOOLS/netload" "$mode" --from "$CLIENTS_4" "${to[@]}" --seconds "$SECONDS_EACH" "$@"
}

# Segments of 64 bytes, one packet each: the server says that it takes no longer ones, and the client's
# link cuts them itself.
pps() {
	server_route advmss 76
	in_ns "$CL" ethtool -K lan0 tso off gso off >/dev/null
	iperf 4 | awk '{print $1 * 1e6 / 8 / 64, "packets/s"}'
	in_ns "$CL" ethtool -K lan0 tso on gso on >/dev/null
	server_route
}

# server_route OPTION...: to the gateway.
server_route() {
	ip -n "$SV" route change 203.0.113.0/24 dev net0 proto kernel scope link src 203.0.113.254 \
		congctl "$CONGESTION" "$@"
}

load_run() {
	case $1 in
	bulk1) iperf 1 ;;
	bulk8) iperf 8 ;;
	rr) netload rr --connections 32 | jq -r '"\(.value) \(.unit)"' ;;
	crr) netload crr --connections 32 | jq -r '"\(.value) \(.unit)"' ;;
	mix) netload mix --connections 32 | jq -r '"\(.value) \(.unit)"' ;;
	pps) pps ;;
	latency) netload latency --connections 32 --rate "$LATENCY_RATE" | jq -r '"\(.p50),\(.p99),\(.p999) us"' ;;
	*) echo "no load called $1" >&2 && exit 2 ;;
	esac
}

# measure ROUND LOAD ALTERNATIVE: the line but for its end, in LINE.
measure() {
	local figure busy packets lost
	alternative_start "$3"
	busy=$(busy_us) packets=$(queued_packets) lost=$(lost_packets)
	figure=$(load_run "$2")
	LINE="$1 $2 $3 $figure $(($(busy_us) - busy)) $(($(queued_packets) - packets)) $(($(lost_packets) - lost))"
	alternative_stop "$3"
}

# mean VALUES VALUES: of figures, or of triples of them, comma separated.
mean() {
	awk -v a="$1" -v b="$2" 'BEGIN {
		n = split(a, x, ",")
		split(b, y, ",")
		for (i = 1; i <= n; i++)
			printf "%s%.3f", (i > 1 ? "," : ""), (x[i] + y[i]) / 2
	}'
}

# One after the other, each time beginning with another one.
measure_load() {
	local i count=${#ALTERNATIVES[@]} before behind
	before=$(load_run "$2")
	for ((i = 0; i < count; i++)); do
		echo "$1 $2 plain $before 0 0 0 ${before% *}" >>"$FIGURES"
		measure "$1" "$2" "${ALTERNATIVES[(i + $1) % count]}"
		behind=$(load_run "$2")
		echo "$LINE $(mean "${before% *}" "${behind% *}")" | tee -a "$FIGURES"
		before=$behind
	done
}

is_listening() { in_ns "$SV" ss -Hltn | grep -q ":$1 "; }

mkdir -p "$RESULTS"
: >"$FIGURES"
net_up
ns_write "$CL" net/ipv4/ip_local_port_range "1024 65535"
ip -n "$CL" route change default via 10.99.0.1 congctl "$CONGESTION"
server_route
# Connections come and go by the ten thousand: what conntrack keeps of them must not fill its table.
for state in time_wait close fin_wait last_ack close_wait; do
	ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_$state 1
done
# shellcheck disable=SC2046
start_background "$SV" "$TOOLS/netload" serve --background $(server_endpoints)
start "$SV" iperf3 -s -p 5201 >/dev/null 2>&1
wait_until 5 is_listening 5201
echo "$CONGESTION" >"$RESULTS/congestion"
LATENCY_RATE=$(netload rr --connections 32 | jq '.value / 10 | floor')
echo "latency: $LATENCY_RATE requests a second"
for ((round = 1; round <= ROUNDS; round++)); do
	for load in "${LOADS[@]}"; do measure_load $round "$load"; done
done
