#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# mode = strip, by pawsd and by the rules: no timestamp option outside in a SYN nor inside in a SYN/ACK, all
# lengths as they were, connections work, all is counted, and only handshakes go to user space, or nothing.
# The second server stands behind a box that puts the option into SYN/ACKs all the same. A connection that the
# server opens to a machine inside keeps its timestamps. Counts go on across a reload, and where the kernel
# cannot strip pawsd does.
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

# From the server to a port of the gateway that leads inside.
from_outside() {
	in_ns "$SV" "$TOOLS/tcpload" --from "$(server_addr "$1" 1)" --to "$2" --count 5 --timeout-ms 3000
}

has_timestamps() { [ "$(tcpdump -nr "$WORK/$1.inside.pcap" "$2" 2>/dev/null | grep -c 'TS val')" = "$3" ]; }

# opened_from_outside NAME: SYN and SYN/ACK of such a connection keep their timestamps.
opened_from_outside() {
	capture_start "$1.outside"
	check "$1: connections from outside" from_outside 4 "$PUBLIC_4:8080"
	capture_stop "$1.outside"
	check "$1: their SYNs keep the option" has_timestamps "$1.outside" \
		'tcp dst port 80 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn' 5
	check "$1: their SYN/ACKs keep it" has_timestamps "$1.outside" \
		'tcp src port 80 and tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)' 5
}

# strip_config STRIP-BACKEND RULES-BACKEND
strip_config() {
	PAWSD_STRIP=$1 PAWSD_BACKEND=$2 pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination first]
		prefixes = 198.51.100.1, 2001:db8:100::1
		mode = strip
		[destination others]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = strip
	EOT
}

# strip_with NAME STRIP-BACKEND RULES-BACKEND QUEUED-PACKETS
strip_with() {
	strip_config "$2" "$3"
	pawsd_up "$WORK/pawsd.conf"
	capture_start "$1"
	check "$1: traffic" traffic
	capture_stop "$1"
	capture_properties "$1" --mode strip
	check "$1: 42 SYNs of the first server were stripped" wait_until 3 counted_is first syn_stripped 42
	check "$1: 20 SYNs of the second" wait_until 3 counted_is others syn_stripped 20
	check "$1: 20 SYN/ACKs of it" wait_until 3 counted_is others synack_stripped 20
	check "$1: $4 packets were queued" [ "$(packets_queued)" = "$4" ]
	opened_from_outside "$1"
	check "$1: no SYN from outside was stripped" wait_until 3 counted_is first syn_stripped 42
	if [ "$2" = kernel ]; then counts_go_on "$1"; fi
	check "$1: pawsd stops" pawsd_stop
}

metric_above() { [ "$(metric "$1")" -gt "$2" ]; }

# counts_go_on NAME: rules made anew begin at 0, what pawsd says does not.
counts_go_on() {
	local before
	before=$(metric config_reloads_total)
	kill -HUP "$PAWSD_PID"
	check "$1: a reload" wait_until 10 metric_above config_reloads_total "$before"
	check "$1: counts stay" wait_until 3 counted_is first syn_stripped 42
	check "$1: more traffic" load --from "$CLIENTS_4" --to "$(endpoint 4 1 80)" --count 20
	check "$1: is counted beside it" wait_until 3 counted_is first syn_stripped 62
	check "$1: the rules strip" metric_is strips_in_kernel 1
}

# A kernel without TCPOPTSTRIP, by an iptables-restore that knows none.
without_tcpoptstrip() {
	local real command
	mkdir "$WORK/bin"
	for command in iptables-restore ip6tables-restore; do
		real=$(command -v $command)
		cat >"$WORK/bin/$command" <<-EOT
			#!/bin/sh
			input=\$(cat)
			case \$input in
			*TCPOPTSTRIP*) echo "$command: Extension TCPOPTSTRIP is not supported, missing kernel module?" >&2; exit 1 ;;
			esac
			printf '%s\\n' "\$input" | exec $real "\$@"
		EOT
		chmod +x "$WORK/bin/$command"
	done
	PATH=$WORK/bin:$PATH
}

auto_falls_back() {
	local path=$PATH XT=default
	without_tcpoptstrip
	strip_config auto iptables
	: >"$WORK/pawsd.log"
	pawsd_up "$WORK/pawsd.conf"
	PATH=$path
	check "auto: says what the kernel lacks" grep -q 'CONFIG_NETFILTER_XT_TARGET_TCPOPTSTRIP' "$WORK/pawsd.log"
	check "auto: the rules do not strip" metric_is strips_in_kernel 0
	check "auto: traffic" load --from "$CLIENTS_4" --to "$(endpoint 4 1 80)" --count 20
	check "auto: pawsd strips" counted_is first syn_stripped 20
	check "auto: pawsd stops" pawsd_stop
}

net_up
net_offload off
start_background "$CL" "$TOOLS/tcpserve" --background "$(client_addr 4 1):80"
xt "$GW" 4 -t nat -A PREROUTING -i wan0 -p tcp --dport 8080 -j DNAT --to-destination "$(client_addr 4 1):80"
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
auto_falls_back
tap_done
