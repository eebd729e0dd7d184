#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bulk transfers, offloads on: iperf3 through rewritten flows runs at no less than half of plain
# NAT forwarding in the same run, content is intact by its hash, and no namespace counts a segment
# dropped by PAWS or with a wrong checksum.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require iperf3:iperf3 jq:jq nstat:iproute2 ss:iproute2
pawsd_require

SECONDS_EACH=1.2

is_listening() { in_ns "$SV" ss -Hltn | grep -q ":$1 "; }

# iperf FAMILY up|down: bits per second that arrived.
iperf() {
	local reverse=()
	[ "$2" = up ] || reverse=(-R)
	in_ns "$CL" iperf3 -c "$(server_addr "$1" 1)" -p 5201 -t $SECONDS_EACH "${reverse[@]}" --connect-timeout 3000 \
		--json | jq '.end.sum_received.bits_per_second | floor'
}

# measure plain|rewritten: keeps the better of its figures so far.
declare -A BEST
measure() {
	local family way rate
	for family in 4 6; do
		for way in up down; do
			rate=$(iperf $family $way)
			[ "$rate" -le "${BEST[$1.$family.$way]:-0}" ] || BEST[$1.$family.$way]=$rate
		done
	done
}

# bad_segments: what nstat counts of these in all namespaces, "name=value" each that is not 0.
bad_segments() {
	local ns
	for ns in "$CL" "$GW" "$BX" "$SV"; do
		in_ns "$ns" nstat -asz | awk -v ns="${ns%-*}" \
			'$1 ~ /^(TcpExtPAWS|TcpExtTSEcrRejected|TcpInCsumErrors|IpInHdrErrors)/ && $2 > 0 {print ns, $1 "=" $2}'
	done
}

no_bad_segments() {
	local found
	found=$(bad_segments)
	echo "$found"
	[ -z "$found" ]
}

content() { in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint "$1" 1 80)" --up 30000000 --down 30000000 --rounds 2; }

net_up
serve "$(endpoint 4 1 80)" "$(endpoint 6 1 80)"
start "$SV" iperf3 -s -p 5201 >/dev/null 2>&1
wait_until 5 is_listening 5201
pawsd_config "$WORK/pawsd.conf" <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = rewrite
EOT

# Segments that rewriting should have changed and did not.
left_alone() { counted all midstream_out midstream_in in_foreign_tsecr flow_no_timestamps; }

contents() {
	local family before
	before=$(left_alone)
	for family in 4 6; do check "IPv$family: content is intact both ways" content $family; done
	check "segments were rewritten" [ "$(counted all out_rewritten in_rewritten)" -gt 1000 ]
	check "and none left as it was" [ "$(left_alone)" = "$before" ]
}

half_of_plain() {
	local family way
	for family in 4 6; do
		for way in up down; do
			[ $((2 * ${BEST[rewritten.$family.$way]})) -ge "${BEST[plain.$family.$way]}" ] || return 1
		done
	done
}

# In turn, for the machine may have other things to do; the better figures count on both sides.
for round in 1 2 3 4; do
	measure plain
	pawsd_up "$WORK/pawsd.conf"
	measure rewritten
	[ $round -gt 1 ] || contents
	check "pawsd stops" pawsd_stop
	! half_of_plain || break
done
for family in 4 6; do
	for way in up down; do
		plain=${BEST[plain.$family.$way]} rewritten=${BEST[rewritten.$family.$way]}
		check "IPv$family $way: $((rewritten / 1000000)) Mbit/s rewritten, $((plain / 1000000)) plain: at least half" \
			[ $((2 * rewritten)) -ge "$plain" ]
	done
done
check "no PAWS drops, no checksum errors" no_bad_segments

# The counters do count: a segment with a wrong checksum is one too many.
in_ns "$CL" "$TOOLS/inject" --from "$(client_addr 4 1)" --to "$(endpoint 4 1 80)" bad-checksum
check "a wrong checksum would have been seen" wait_until 5 fails no_bad_segments
tap_done
