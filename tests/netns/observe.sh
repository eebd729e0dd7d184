#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mode = observe: all leaves bit-identical, and what would have been changed is counted. The
# second server stands behind a box that answers as in F3.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require tcpdump:tcpdump ethtool:ethtool jq:jq
pawsd_require

# The connects to the second server fail, with two SYNs each.
traffic() {
	local family
	for family in 4 6; do
		load --from "$(clients $family)" --to "$(endpoint $family 1 80)" --count 20 &&
			in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family 1 80)" --up 300000 --down 300000 &&
			fails load --from "$(clients $family)" --to "$(endpoint $family 2 80)" --count 5 \
				--timeout-ms 1500 || return 1
	done
}

# config MODE
config() {
	pawsd_config "$WORK/$1.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = $1
	EOT
}

net_up
net_offload off
for family in 4 6; do
	serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)"
	box_rules 2 $family 2
done
box_start 2 f3

config observe
pawsd_up "$WORK/observe.conf"
capture_start observe
check "traffic" traffic
capture_stop observe
capture_properties observe --mode identical
syns=$(tcpdump -nr "$WORK/observe.inside.pcap" 2>/dev/null | grep -c 'Flags \[S\]')
check "each of the $syns SYNs was counted" [ "$(counted all syn_observed)" = "$syns" ]
check "42 SYN/ACKs with the TSecr that the client expects" [ "$(counted all synack_observed)" = 42 ]
check "each SYN to the second server got one with a foreign TSecr" \
	[ "$(counted all synack_observed_foreign)" = $((syns - 42)) ]
marks=$(tcpdump -nr "$WORK/observe.inside.pcap" '(ip and tcp[13] & 7 != 0) or (ip6 and ip6[53] & 7 != 0)' 2>/dev/null | wc -l)
check "nothing else was counted: only the $marks packets by which connections begin and end were queued" \
	[ "$(packets_counted)" = "$marks" ]
check "nothing was changed" [ "$(counted "" syn_rewritten syn_retransmitted out_rewritten in_rewritten synack_rewritten)" = 0 ]
check "pawsd stops" pawsd_stop

config rewrite
pawsd_up "$WORK/rewrite.conf"
capture_start rewrite
check "traffic, mode = rewrite" traffic
capture_stop rewrite
check "rewriting would have been seen" property_fails rewrite identical --mode identical
check "pawsd stops" pawsd_stop
tap_done
