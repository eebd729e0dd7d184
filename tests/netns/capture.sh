#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Captures on both sides of the gateway, without pawsd and with it, and what capcheck (its head
# lists the properties) says of them. Offloads are off, so checksums are those of a wire. The
# captures are kept in BUILD_DIR/captures.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require tcpdump:tcpdump ethtool:ethtool jq:jq
pawsd_require

# loses_first PORT WHICH: for each connection to that port the box drops the first SYN or SYN/ACK.
loses_first() {
	local family flags="SYN,ACK SYN" port=--dport
	[ "$2" = syn ] || flags="SYN,ACK SYN,ACK" port=--sport
	for family in 4 6; do
		# shellcheck disable=SC2086
		xt "$BX" $family -A FORWARD -p tcp $port "$1" --tcp-flags $flags \
			-m statistic --mode nth --every 2 --packet 0 -j DROP
	done
}

traffic() {
	local family
	for family in 4 6; do
		load --from "$(clients $family)" --to "$(endpoint $family 1 80-83)" --count 60 --concurrency 6 &&
			load --from "$(clients $family)" --to "$(endpoint $family 1 80)" --count 20 --close client &&
			in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family 1 80)" --up 500000 --down 500000 \
				--rounds 2 || return 1
	done
}

# Connections that need several SYNs: whichever of them is answered, the echo must be right.
lossy_traffic() {
	local family port
	for port in 90 91; do
		for family in 4 6; do
			load --to "$(endpoint $family 1 $port)" --timeout-ms 5000 || return 1
		done
	done
}

# tampered KIND SIDE PROPERTY
tampered() {
	local name=tampered-$1-$2
	cp "$WORK/with.inside.pcap" "$WORK/$name.inside.pcap"
	cp "$WORK/with.outside.pcap" "$WORK/$name.outside.pcap"
	"$TOOLS/captamper" "$1" "$WORK/with.$2.pcap" "$WORK/$name.$2.pcap"
	check "capcheck sees it: $1 $2 ($3)" property_fails "$name" "$3"
}

net_up
net_offload off
for family in 4 6; do serve "$(endpoint $family 1 80-83)" "$(endpoint $family 1 90-91)"; done

capture_start without
check "traffic without pawsd" traffic
capture_stop without
check "without pawsd SYN TSvals step back" property_fails without syn_monotonic
check "without pawsd SYNs are not changed" property_fails without rewritten
check "without pawsd all is bit-identical" capcheck without --mode identical

pawsd_config "$WORK/pawsd.conf" <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = rewrite
EOT
pawsd_up "$WORK/pawsd.conf"
capture_start with
check "traffic with pawsd" traffic
loses_first 90 syn
loses_first 91 synack
check "connections that need two SYNs" lossy_traffic
capture_stop with
check "some SYNs were sent more than once" [ "$(counted all syn_retransmitted)" -ge 2 ]
capture_properties with
check "pawsd stops" pawsd_stop

tampered syn-back outside syn_monotonic
tampered syn-zero outside syn_nonzero
tampered echo inside own_echo
tampered echo outside exact_echo
tampered shift outside constant_offset
tampered window outside identical
tampered ack inside identical
tampered payload outside identical
tampered option inside identical
tampered checksum outside checksums
tampered checksum inside checksums
tampered drop outside paired
cp "$WORK/with.inside.pcap" "$WORK/ttl.inside.pcap"
"$TOOLS/captamper" ttl "$WORK/with.outside.pcap" "$WORK/ttl.outside.pcap"
check "capcheck does not mind another TTL" capcheck ttl

mkdir -p "$BUILD_DIR/captures"
cp "$WORK"/with.*.pcap "$WORK"/without.*.pcap "$BUILD_DIR/captures/"
tap_done
