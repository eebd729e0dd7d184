#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mode = strip: no timestamp option outside in a SYN nor inside in a SYN/ACK, all lengths as they
# were, connections work, and only handshakes go to user space. The second server stands behind a
# box that puts the option into SYN/ACKs all the same.
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

pawsd_config "$WORK/pawsd.conf" <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = strip
EOT
pawsd_up "$WORK/pawsd.conf"
capture_start with
check "traffic with pawsd" traffic
capture_stop with
capture_properties with --mode strip
check "62 SYNs were stripped" [ "$(counted all syn_stripped)" = 62 ]
check "20 SYN/ACKs were stripped" [ "$(counted all synack_stripped)" = 20 ]
check "only handshakes were queued" [ "$(packets_counted)" = 124 ]
check "pawsd stops" pawsd_stop
tap_done
