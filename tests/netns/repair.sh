#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# synack_tsecr: three servers behind a box that answers as in F3, one for each of echo, zero and
# off. With echo and zero every connect succeeds with its first SYN, with off none does.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require tcpdump:tcpdump ethtool:ethtool jq:jq
pawsd_require

N=12

# first_syn FAMILY SERVER: N connects, each with one SYN.
first_syn() {
	local line
	line=$(load --from "$(clients "$1")" --to "$(endpoint "$1" "$2" 80)" --count $N --timeout-ms 1500)
	echo "$line"
	[ "$(value_of second_syn "$line")" = 0 ]
}

# none FAMILY SERVER: N connects, not one succeeds.
none() {
	local line
	line=$(load --from "$(clients "$1")" --to "$(endpoint "$1" "$2" 80)" --count $N --timeout-ms 1500) || true
	echo "$line"
	[ "$(value_of ok "$line")" = 0 ]
}

bulk() { in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint "$1" "$2" 80)" --up 300000 --down 300000; }

net_up
net_offload off
for family in 4 6; do
	for server in 1 2 3; do
		serve "$(endpoint $family $server 80)"
		box_rules 2 $family $server
	done
done
box_start 2 f3
for family in 4 6; do check "IPv$family, without pawsd: no connect succeeds" none $family 1; done

pawsd_config "$WORK/pawsd.conf" <<-EOT
	[default]
	mode = off
	synack_tsecr = zero
	[destination echo]
	prefixes = $(server_addr 4 1), $(server_addr 6 1)
	mode = rewrite
	synack_tsecr = echo
	[destination zero]
	prefixes = $(server_addr 4 2), $(server_addr 6 2)
	mode = rewrite
	[destination off]
	prefixes = $(server_addr 4 3), $(server_addr 6 3)
	mode = rewrite
	synack_tsecr = off
EOT
pawsd_up "$WORK/pawsd.conf"
for family in 4 6; do
	capture_start echo$family
	check "IPv$family, echo: all connect with their first SYN" first_syn $family 1
	check "IPv$family, echo: content" bulk $family 1
	capture_stop echo$family
	capture_properties echo$family
	capture_start zero$family
	check "IPv$family, zero: all connect with their first SYN" first_syn $family 2
	check "IPv$family, zero: content" bulk $family 2
	capture_stop zero$family
	capture_properties zero$family --allow-zero-echo
	check "IPv$family, zero: it is 0 that the client gets" property_fails zero$family own_echo
	check "IPv$family, off: no connect succeeds" none $family 3
done
check "counted: $((2 * N + 2)) repaired with echo" [ "$(counted echo synack_repaired_echo)" = $((2 * N + 2)) ]
check "counted: $((2 * N + 2)) repaired with zero" [ "$(counted zero synack_repaired_zero)" = $((2 * N + 2)) ]
check "counted: foreign, left alone" [ "$(counted off synack_foreign_tsecr)" -ge $((2 * N)) ]
check "nothing repaired there" [ "$(counted off synack_repaired_echo synack_repaired_zero)" = 0 ]
check "pawsd stops" pawsd_stop
tap_done
