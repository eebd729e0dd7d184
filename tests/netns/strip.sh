#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mode = strip, by pawsd and by the rules: no timestamp option outside in a SYN nor inside in a SYN/ACK, all
# lengths as they were, connections work, all is counted, and only handshakes go to user space, or nothing.
# The second server stands behind a box that puts the option into SYN/ACKs all the same.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require tcpdump:tcpdump ethtool:ethtool jq:jq
pawsd_require

traffic() {
	local family
	for family in 4 6; do
		load --from "$(clients $family)" --to "$(endpoint $family 1 80)" --count 20 &&
			load --from "$(clients $family)" --to "$(endpoint $family 2 80)" --count 10 &&
			in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family 1 80)" --up 300000 --down 300000 || return 1
	done
}

# A second reading, so that it is not one of the second before.
counted_is() { [ "$(counted "$1" "$2")" = "$3" ]; }

packets_queued() { in_ns "$GW" awk '{n += $8} END {print n + 0}' /proc/net/netfilter/nfnetlink_queue; }

# strip_with NAME STRIP-BACKEND RULES-BACKEND QUEUED-PACKETS
strip_with() {
	PAWSD_STRIP=$2 PAWSD_BACKEND=$3 pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination first]
		prefixes = 198.51.100.1, 2001:db8:100::1
		mode = strip
		[destination others]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = strip
	EOT
	pawsd_up "$WORK/pawsd.conf"
	capture_start "$1"
	check "$1: traffic" traffic
	capture_stop "$1"
	capture_properties "$1" --mode strip
	check "$1: 42 SYNs of the first server were stripped" wait_until 3 counted_is first syn_stripped 42
	check "$1: 20 SYNs of the second" wait_until 3 counted_is others syn_stripped 20
	check "$1: 20 SYN/ACKs of it" wait_until 3 counted_is others synack_stripped 20
	check "$1: $4 packets were queued" [ "$(packets_queued)" = "$4" ]
	check "$1: pawsd stops" pawsd_stop
}

net_up
net_offload off
for family in 4 6; do
	serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)"
	box_rules 2 $family 2
done
box_start 2 insist

capture_start without
check "traffic without pawsd" traffic
capture_stop without
check "without pawsd the option is there" property_fails without stripped --mode strip

strip_with queue queue iptables 124
strip_with kernel kernel iptables 0
strip_with nft kernel nft 0
tap_done
