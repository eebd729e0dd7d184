#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The fast path, by which ways connections go: those that leave by no wan interface are none of pawsd's, whatever their
# destination; of those that its programs have begun all is rewritten, by whatever way they go on, also when the programs
# are gone; and where a connection is led by DNAT to a server among the clients its answers are turned back.
#
#   client machines          NAT gateway             server
#   $CL  lan0 ------------ lan0 $GW wan0 ---------- net0 $SV
#                                   dmz0 ---------- net1       without NAT
set -euo pipefail
export PAWSD_FASTPATH=yes
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq ethtool:ethtool
pawsd_require
CONNECTIONS=60 CROWDS=()
PROXY=10.99.1.60:9000

dmz_up() {
	ip -n "$GW" link add dmz0 type veth peer name net1 netns "$SV"
	ip -n "$GW" addr add 192.168.7.1/24 dev dmz0
	ip -n "$SV" addr add 192.168.7.2/24 dev net1
	ip -n "$GW" link set dmz0 up
	ip -n "$SV" link set net1 up
	ip -n "$SV" route add 10.99.0.0/16 via 192.168.7.1
}

# config MODE LABELS
config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24
		mode = $1
		[destination many]
		prefixes_file = $WORK/many
		mode = rewrite
	EOT
	sed -i "s/^\[rules\]/&\nlabels = $2/" "$WORK/pawsd.conf"
}

# connects TEXT SERVER REWRITTEN: connections there, and how many of them are rewritten.
connects() {
	local before
	before=$(counted all syn_rewritten)
	check "$1: connections" load --from "$(clients 4)" --to "$(endpoint 4 "$2" 8001-8008)" --count 32 --concurrency 8
	check "$1: $3 are rewritten" [ "$(counted all syn_rewritten)" = $((before + $3)) ]
}

# crowd_start SERVER PORTS COUNT: transfers, as one more of $CROWDS.
crowd_start() {
	local number=${#CROWDS[@]}
	start "$CL" "$TOOLS/tcpcrowd" --from "$CLIENTS_4" --to "$(endpoint 4 "$1" "$2")" --connections "$3" \
		--up 3000 --down 3000 --gap-ms 100 --stall-ms 2000 --started "$WORK/started.$number" >"$WORK/crowd.$number"
	CROWDS+=("$STARTED")
	wait_until 20 test -e "$WORK/started.$number"
}

crowds_end_well() {
	local crowd text bad=0
	for crowd in "${CROWDS[@]}"; do finish "$crowd" || bad=1; done
	CROWDS=()
	text=$(cat "$WORK"/crowd.*)
	rm -f "$WORK"/crowd.* "$WORK"/started.*
	echo "$text"
	[ $bad = 0 ] && ! grep -qE '(bad|broken|stalled)=[1-9]' <<<"$text"
}

moved_on() { [ "$(counted all out_rewritten)" -ge "$1" ]; }

# Has the programs go away, and awaits that much has gone by the queues.
programs_go() {
	in_ns "$GW" ethtool -K lan0 rx-gro-list on
	wait_until 15 metric_is fastpath_interfaces 0 && wait_until 10 moved_on $(($(counted all out_rewritten) + 500))
}

programs_come() {
	in_ns "$GW" ethtool -K lan0 rx-gro-list off
	wait_until 15 metric_is fastpath_interfaces 1
}

# The second server behind the third interface.
another_interface() {
	ip -n "$GW" route add "$(server_addr 4 2)" via 192.168.7.2
	connects "not by a wan interface" 2 0
	connects "by one" 1 32
	ip -n "$GW" route del "$(server_addr 4 2)"
}

# The kernel's tables say wan0, and a rule by the packet's mark says otherwise: the programs do not see that.
by_mark() {
	ip -n "$GW" rule add fwmark 1/0xff table 100
	ip -n "$GW" route add default via 192.168.7.2 dev dmz0 table 100
	xt "$GW" 4 -t mangle -A PREROUTING -i lan0 -p tcp -d "$(server_addr 4 2)" -j MARK --set-xmark 0x1/0xff
	check "by a mark elsewhere: transfers begin" crowd_start 2 8001-8008 $CONNECTIONS
	check "by a mark elsewhere: the programs go" programs_go
	check "by a mark elsewhere: the transfers end well" crowds_end_well
	xt "$GW" 4 -t mangle -F PREROUTING
	ip -n "$GW" rule del fwmark 1/0xff table 100
	check "the programs come again" programs_come
}

led_by_dnat() {
	start_background "$CL" "$TOOLS/tcpserve" --background $PROXY
	xt "$GW" 4 -t nat -A PREROUTING -i lan0 -p tcp --dport 8005 -j DNAT --to-destination $PROXY
	xt "$GW" 4 -t nat -A POSTROUTING -o lan0 -p tcp -d ${PROXY%:*} -j SNAT --to-source 10.99.0.1
	check "to a server among the clients by DNAT" load --from 10.99.1.1+40 --to "$(endpoint 4 1 8005)" --count 40 --concurrency 8
	xt "$GW" 4 -t nat -D PREROUTING -i lan0 -p tcp --dport 8005 -j DNAT --to-destination $PROXY
}

# Without labels the rules know a connection by its server alone. Until a reload is over the programs go by the policy of before: what they begin meanwhile is rewritten as long as it runs. The many
# prefixes are for it to take its time.
while_it_reloads() {
	local reload
	awk 'BEGIN { for (i = 0; i < 60000; i++) printf "11.%d.%d.%d/32\n", i / 32768, i / 128 % 256, i % 128 * 2 }' >"$WORK/many"
	check "pawsd stops" pawsd_stop
	config rewrite off
	pawsd_up "$WORK/pawsd.conf"
	config off off
	pawsctl reload >"$WORK/reload" &
	reload=$!
	# Of each port the rules have to know by itself.
	while kill -0 $reload 2>/dev/null; do crowd_start 1 $((8001 + ${#CROWDS[@]})) 4; done
	check "a reload that switches it off" wait $reload
	diag "${#CROWDS[@]} times transfers began meanwhile"
	check "the programs go" programs_go
	check "the transfers end well" crowds_end_well
	programs_come
}

# No interface is there that leads to servers.
no_wan() {
	sed -i 's/^wan = .*/wan = ppp*/' "$WORK/pawsd.conf"
	pawsd_up "$WORK/pawsd.conf"
	check "no wan interface: there are programs" metric_is fastpath_interfaces 1
	connects "no wan interface" 1 0
	check "pawsd stops" pawsd_stop
}

net_up
dmz_up
serve "$(endpoint 4 1 8001-8500)" "$(endpoint 4 2 8001-8008)"
echo 11.255.0.0/32 >"$WORK/many"
config rewrite auto
pawsd_up "$WORK/pawsd.conf"
check "pawsd says that there is a fast path" metric_is fastpath_interfaces 1
another_interface
by_mark
led_by_dnat
while_it_reloads
check "pawsd stops" pawsd_stop
config rewrite auto
no_wan
tap_done
