#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The examples in conf/examples against a kernel: the rules that --print-rules prints for each are taken, and pawsd starts with each
# that this kernel can serve. And what the pair's README says of the clock: behind a fail-over to a gateway with the same epoch, which
# knows no flow, SYNs are not older than before; without that file they are anything.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
XT=default # as the examples have it
net_require jq:jq ipset:ipset nft:nftables tcpdump:tcpdump ss:iproute2
pawsd_require
EXAMPLES=$REPO/conf/examples

# here EXAMPLE: the example with directories of the test's own, in $WORK/pawsd.conf.
here() {
	cp "$EXAMPLES"/*.prefixes "$WORK"
	sed '/^\[control\]/,/^$/d' "$EXAMPLES/$1" >"$WORK/pawsd.conf"
	cat >>"$WORK/pawsd.conf" <<-EOT

		[control]
		socket = $WORK/run/control.sock
		[daemon]
		runtime_dir = $WORK/run
		state_dir = $WORK/state
	EOT
}

mangle_has_us() { xt "$GW" "$1" -t mangle -S FORWARD | grep -q -- '-p tcp -j PAWSD$'; }

clear_rules() {
	for family in 4 6; do
		xt "$GW" $family -t mangle -F
		xt "$GW" $family -t mangle -X
	done
	# The kernel lets go of the sets some time after.
	wait_until 5 in_ns "$GW" ipset destroy
}

# takes_iptables FILE: runs the script.
takes_iptables() {
	"$PAWSD" -c "$1" --print-rules >"$WORK/rules" && in_ns "$GW" sh "$WORK/rules" && mangle_has_us 4 && mangle_has_us 6
}

# takes_nft FILE [SED-SCRIPT]
takes_nft() { "$PAWSD" -c "$1" --print-rules | sed "${2:-}" >"$WORK/rules" && in_ns "$GW" nft -c -f "$WORK/rules"; }

can_nft_queue() { in_ns "$GW" nft -c 'add table inet t; add chain inet t c; add rule inet t c queue num 7' 2>/dev/null; }

net_up
mkdir -p "$WORK/run" "$WORK/state"

for example in home-lab.conf company-gateway.conf pair/pawsd.conf; do
	check "$example: iptables and ipset take its rules" takes_iptables "$EXAMPLES/$example"
	clear_rules
	here $example
	check "$example: pawsd starts with it" pawsd_start "$WORK/pawsd.conf"
	check "$example: its rules are in place" metric_is rules_installed 1
	check "$example: pawsd ends" pawsd_stop
	clear_rules
	rm -rf "$WORK/run" "$WORK/state" "$WORK/ready" "$WORK/notify"
	mkdir -p "$WORK/run" "$WORK/state"
done
if can_nft_queue; then
	check "kubernetes-egress.conf: nft takes its rules" takes_nft "$EXAMPLES/kubernetes-egress.conf"
	here kubernetes-egress.conf
	check "kubernetes-egress.conf: pawsd starts with it" pawsd_start "$WORK/pawsd.conf"
	check "kubernetes-egress.conf: pawsd ends" pawsd_stop
	in_ns "$GW" nft delete table inet pawsd
else
	check "kubernetes-egress.conf: nft takes its rules but for those that queue" takes_nft "$EXAMPLES/kubernetes-egress.conf" \
		's/queue \(flags bypass \)\{0,1\}to .*/accept/'
	check "kubernetes-egress.conf: as they are it would not" fails takes_nft "$EXAMPLES/kubernetes-egress.conf"
	tap_skip "kubernetes-egress.conf: pawsd starts with it" "the kernel has no CONFIG_NFT_QUEUE"
fi

# --- a pair, one after the other on the same gateway ------------------------------------------

# gateway A|B: its directories, and the pair's configuration for the servers of the test.
gateway() {
	rm -rf "$WORK/run" "$WORK/state" "$WORK/ready" "$WORK/notify"
	mkdir -p "$WORK/run" "$WORK/state"
	here pair/pawsd.conf
	sed -i 's|^prefixes = .*|prefixes = 198.51.100.0/24, 2001:db8:100::/64|; s/^wan = .*/wan = wan0/' "$WORK/pawsd.conf"
}

# syn_tsval NAME: connects, and TSVAL is what the server was sent; AT_MS when.
syn_tsval() {
	capture_start "$1"
	AT_MS=$((${EPOCHREALTIME/./} / 1000))
	load --from "$(client_addr 4 "$2")" --to "$(endpoint 4 1 80)" --count 1 >/dev/null
	capture_stop "$1"
	TSVAL=$(tcpdump -nr "$WORK/$1.outside.pcap" 'tcp dst port 80 and tcp[13] == 2' 2>/dev/null | sed -n 's/.*TS val \([0-9]*\) .*/\1/p' | head -1)
}

# is_newer BY-MS SLACK-MS: TSVAL is that much newer than BEFORE.
is_newer() {
	local ahead=$(((TSVAL - BEFORE) & 0xffffffff))
	echo "TSval $BEFORE, then $TSVAL: $ahead ahead, after $1 ms"
	[ $ahead -gt 0 ] && [ $ahead -ge $(($1 - $2)) ] && [ $ahead -le $(($1 + $2)) ]
}

serve "$(endpoint 4 1 80)"
gateway A
pawsd_up "$WORK/pawsd.conf"
syn_tsval a 1
BEFORE=$TSVAL BEFORE_MS=$AT_MS
cp "$WORK/state/epoch" "$WORK/epoch"
check "the pair: A ends" pawsd_stop

gateway B
cp "$WORK/epoch" "$WORK/state/epoch"
pawsd_up "$WORK/pawsd.conf"
syn_tsval b 2
check "the pair: behind a fail-over a SYN is newer, by the time that has passed" is_newer $((AT_MS - BEFORE_MS)) 200
check "the pair: B ends" pawsd_stop

gateway B
pawsd_up "$WORK/pawsd.conf"
syn_tsval c 3
check "the pair: without the epoch it is not" fails is_newer $((AT_MS - BEFORE_MS)) 200
check "the pair: B ends again" pawsd_stop
tap_done
