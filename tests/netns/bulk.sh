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

SECONDS_EACH=1 ROUNDS=5 ROUNDS_MOST=15

is_listening() { in_ns "$SV" ss -Hltn | grep -q ":$1 "; }

# iperf FAMILY up|down: bits per second that arrived.
iperf() {
	local reverse=()
	[ "$2" = up ] || reverse=(-R)
	in_ns "$CL" iperf3 -c "$(server_addr "$1" 1)" -p 5201 -t $SECONDS_EACH "${reverse[@]}" --connect-timeout 3000 \
		--json | jq '.end.sum_received.bits_per_second | floor'
}

# measure plain|rewritten: adds a figure in Mbit/s for each family and way.
declare -A RATES
measure() {
	local family way rate
	for family in 4 6; do
		for way in up down; do
			rate=$(iperf $family $way)
			RATES[$1.$family.$way]+=" $((rate / 1000000))"
		done
	done
}

# median FIGURE..., spread FIGURE...: with how far they spread.
median() { tr ' ' '\n' <<<"$*" | sort -n | sed -n "$((($# + 1) / 2))p"; }
spread() { echo "$(median "$@") ($(tr ' ' '\n' <<<"$*" | sort -n | sed -n '1p;$p' | paste -sd- -))"; }

# bad_segments PATTERN: what nstat counts of these in all namespaces, "name=value" each that is not 0.
bad_segments() {
	local ns
	for ns in "$CL" "$GW" "$BX" "$SV"; do
		in_ns "$ns" nstat -asz | awk -v ns="${ns%-*}" -v pattern="^($1)" '$1 ~ pattern && $2 > 0 {print ns, $1 "=" $2}'
	done
}

none_bad() {
	local found
	found=$(bad_segments 'TcpExtTSEcrRejected|TcpInCsumErrors|IpInHdrErrors')
	echo "$found"
	[ -z "$found" ]
}

refused_by_paws() { bad_segments TcpExtPAWS; }

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

# In order, which otherwise depends on where who runs, and what PAWS refuses with it.
contents() {
	local family before paws
	net_steer on
	before=$(left_alone) paws=$(refused_by_paws)
	for family in 4 6; do check "IPv$family: content is intact both ways" content $family; done
	check "no timestamp was refused" [ "$(refused_by_paws)" = "$paws" ]
	net_steer off
	check "segments were rewritten" [ "$(counted all out_rewritten in_rewritten)" -gt 1000 ]
	check "and none left as it was" [ "$(left_alone)" = "$before" ]
}

# half_as_fast FAMILY up|down: by the medians of what was measured so far.
half_as_fast() {
	local plain rewritten
	read -ra plain <<<"${RATES[plain.$1.$2]}"
	read -ra rewritten <<<"${RATES[rewritten.$1.$2]}"
	echo "IPv$1 $2, Mbit/s, median of ${#plain[@]} rounds (spread): $(spread "${plain[@]}") plain, $(spread \
		"${rewritten[@]}") rewritten: $((100 * $(median "${rewritten[@]}") / $(median "${plain[@]}"))) %"
	[ $((2 * $(median "${rewritten[@]}"))) -ge "$(median "${plain[@]}")" ]
}

all_half_as_fast() { half_as_fast 4 up && half_as_fast 4 down && half_as_fast 6 up && half_as_fast 6 down; } >/dev/null

# A sanitizer's time is not what is measured here.
has_measured() { [ "$1" -gt $ROUNDS_MOST ] || { [ "$1" -gt $ROUNDS ] && { is_sanitized || all_half_as_fast; }; }; }

# In turn, for the machine may have other things to do; medians are compared. Where these leave a doubt it is measured for longer.
for ((round = 1; round <= ROUNDS_MOST; round++)); do
	! has_measured $round || break
	measure plain
	pawsd_up "$WORK/pawsd.conf"
	measure rewritten
	[ $round -gt 1 ] || contents
	check "pawsd stops" pawsd_stop
done
for family in 4 6; do
	for way in up down; do
		diag "$(half_as_fast $family $way || true)"
		is_sanitized || check "IPv$family $way: rewritten at least half as fast as plain" half_as_fast $family $way
	done
done
check "no checksum errors" none_bad

# The counters do count: a segment with a wrong checksum is one too many.
in_ns "$CL" "$TOOLS/inject" --from "$(client_addr 4 1)" --to "$(endpoint 4 1 80)" bad-checksum
check "a wrong checksum would have been seen" wait_until 5 fails none_bad
tap_done
