#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `pawsctl analyze` on captures of both sides of the gateway, over IPv4 and IPv6, of real TCP: each failure of cases.sh is
# found, with the packets that show it and nothing besides; and nothing is found of what only looks like one:
#
#   healthy         either side closes first, and clients without timestamps
#   loss            a third of all SYNs, of SYN/ACKs, of either are lost
#   closed port     RST
#   dead            no host at that address; one that dies in the midst of it
#   firewalls       that drop all, or reject by RST, or let only some ports through
#   overload        no more than two SYNs a second are let through
#   rewritten       by pawsd, with a server that has tcp_tw_recycle
#
# The model of the old server (F1) and the firewall that makes up TSecrs (F3) stand in front of real servers.
#
# Waits for most of its time.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/cases.sh"
net_require ipset:ipset jq:jq
pawsd_require

SIDES=(inside outside)

# findings FILE: of all servers, sorted; a finding that is only possible in brackets.
findings() {
	"$PAWSCTL" analyze --json "$1" >"$WORK/report" || [ $? = 3 ] || return
	jq -r '[.[0].servers[].findings[] | if .confidence == "possible" then "(\(.finding))" else .finding end]
		| unique | join(" ")' "$WORK/report"
}

# judged NAME EXPECTED: on both sides.
judged() {
	local side found
	for side in "${SIDES[@]}"; do
		found=$(findings "$WORK/$1.$side.pcap") || found="analyze failed"
		check "$1, $side: ${2:-nothing is found}" [ "$found" = "$2" ]
		[ "$found" = "$2" ] || diag "found: $found; $(jq -c '.[0].servers[] | del(.findings, .signs, .cure)' "$WORK/report")"
	done
}

# captured NAME COMMAND...: with a capture of both sides.
captured() {
	local name=$1
	shift
	capture_start "$name"
	"$@"
	capture_stop "$name"
}

# both COMMAND...: for either family, at once.
both() {
	local pids=() family
	for family in 4 6; do
		"$@" $family &
		pids+=($!)
	done
	for family in "${pids[@]}"; do wait "$family" || true; done
}

# attempts SERVER PORT COUNT CLOSER TIMEOUT-MS FAMILY
attempts() {
	load --from "$(clients "$6")" --to "$(endpoint "$6" "$1" "$2")" --count "$3" --concurrency 4 --close "$4" \
		--timeout-ms "$5" >/dev/null || [ $? = 1 ]
}

# box_filter -A|-D RULE...: in the box, for both families.
box_filter() {
	local family
	for family in 4 6; do xt "$BX" $family "$1" FORWARD -p tcp "${@:2}"; done
}

# with_rule RULE... -- COMMAND...: with that meanwhile.
with_rule() {
	local rule=()
	while [ "$1" != -- ]; do
		rule+=("$1")
		shift
	done
	shift
	box_filter -A "${rule[@]}"
	"$@"
	box_filter -D "${rule[@]}"
}

without_timestamps() {
	ns_write "$CL" net/ipv4/tcp_timestamps 0
	"$@"
	ns_write "$CL" net/ipv4/tcp_timestamps 1
}

# Of two ports one is closed for all, in the midst of it.
dies() {
	both attempts 6 80 24 server 2000
	with_rule --dport 80 -j DROP -- both attempts 6 80 24 server 2000
}

mixed_clients() {
	both attempts 6 80 20 server 2000
	without_timestamps both attempts 6 80 20 server 2000
	both attempts 6 80 20 server 2000
}

f1() { both attempts "$1" 80 40 server 4000; }
f3() { both attempts 5 80 6 server 3000; }
f2() { both f2_of "$1" "$2"; }
f2_of() { f2_reuse "$3" "$1" "$2" 12 >/dev/null || [ $? = 1 ]; }

# In an order in which none leaves anything to the next: servers remember for a minute.
net_up
cases_setup
cases_fresh
net_offload off
serve "$(endpoint 4 6 80-81)" "$(endpoint 6 6 80-81)"

# But for F2 the gateway gives no public port to another while a server may have it in TIME_WAIT, or that would be found.
ports_held_s() { ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_time_wait "$1"; }

ports_held_s 120
captured "F1-rhel7" f1 "$(case_server F1-rhel7)"
judged "F1-rhel7" tw_recycle
captured "F1-vanilla" f1 "$(case_server F1-vanilla)"
judged "F1-vanilla" tw_recycle
ports_held_s 1
captured "F2" f2 "$(case_server F2)" 10000
judged "F2" time_wait
captured "F2-rst-dropped" f2 "$(case_server F2-rst-dropped)" 10000
judged "F2-rst-dropped" time_wait
captured "F3" f3
judged "F3" foreign_tsecr

ports_held_s 120
captured "healthy, the server closes first" both attempts 6 80 60 server 2000
judged "healthy, the server closes first" ""
captured "healthy, the client closes first" both attempts 6 80 60 client 2000
judged "healthy, the client closes first" ""
captured "healthy, some without timestamps" mixed_clients
judged "healthy, some without timestamps" ""
captured "loss of SYNs" with_rule --dport 80 --syn -m statistic --mode random --probability 0.33 -j DROP -- \
	both attempts 6 80 60 server 9000
judged "loss of SYNs" ""
captured "loss of SYN-ACKs" with_rule --sport 80 --tcp-flags SYN,ACK SYN,ACK -m statistic --mode random \
	--probability 0.33 -j DROP -- both attempts 6 80 60 server 9000
judged "loss of SYN-ACKs" ""
captured "loss of any packet" with_rule -m statistic --mode random --probability 0.15 -j DROP -- \
	both attempts 6 80 60 server 9000
judged "loss of any packet" ""
captured "a closed port" both attempts 6 9999 40 server 2000
judged "a closed port" ""
captured "no host" both attempts 200 80 24 server 2000
judged "no host" ""
captured "a host that dies" dies
judged "a host that dies" ""
captured "a firewall that drops all" with_rule --dport 80 -j DROP -- both attempts 6 80 24 server 2000
judged "a firewall that drops all" ""
captured "a firewall that rejects" with_rule --dport 80 -j REJECT --reject-with tcp-reset -- \
	both attempts 6 80-81 40 server 2000
judged "a firewall that rejects" ""
captured "overload" with_rule --dport 80 --syn -m limit --limit 10/second -j ACCEPT -- \
	with_rule --dport 80 --syn -j DROP -- both attempts 6 80 40 server 4000
judged "overload" ""

cases_fresh
cases_pawsd_config "$WORK/pawsd.conf"
pawsd_up "$WORK/pawsd.conf"
captured "rewritten" f1 "$(case_server F1-rhel7)"
judged "rewritten" ""
check "pawsd stops" pawsd_stop
tap_done
