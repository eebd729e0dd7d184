#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What others set up around pawsd and does it harm: it is said once, shown by a figure, and taken back when it is gone. And the
# outer interface goes away and comes back, under the same name with another number: connections are rewritten again.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
XT=nft # which tells of changes
net_require jq:jq
pawsd_require

config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
	EOT
	sed -i "s/^wan = .*/wan = $1/" "$WORK/pawsd.conf"
}

hazard_is() { metric_is "hazard_$1" "$2"; }
said() { [ "$(grep -c "pawsd: warning: hazard_$1 " "$WORK/pawsd.log")" = "$2" ]; }

# hazard NAME WORDS UNDO COMMAND...: the command brings it up, UNDO takes it back.
hazard() {
	local name=$1 words=$2 undo=$3
	shift 3
	check "$name: not there yet" hazard_is "$name" 0
	"$@"
	# Where nobody tells of a change it is looked for with a reload, and once a minute.
	kill -HUP "$PAWSD_PID"
	check "$name: found" wait_until 10 hazard_is "$name" 1
	check "$name: said, with where it is" grep -q "warning: hazard_$name .*: .*$words" "$WORK/pawsd.log"
	$undo
	kill -HUP "$PAWSD_PID"
	check "$name: gone" wait_until 10 hazard_is "$name" 0
	check "$name: said once" said "$name" 1
}

foreign_queue() { xt "$GW" "$1" "$2" FORWARD -p udp -j NFQUEUE --queue-num 9471 --queue-bypass; }
rule_behind() { xt "$GW" 4 -t mangle "$1" FORWARD -p tcp -s 192.0.2.9 -j ACCEPT; }
gro() { in_ns "$GW" ip link set lan0 gro_max_size "$1"; }
bridge() { in_ns "$GW" ip link "$1" br7 type bridge; }

# connects NAME: all rewritten, in both families.
connects() {
	local family before
	for family in 4 6; do
		before=$(counted all syn_rewritten)
		check "$1: IPv$family connects" load --from "$(clients $family)" --to "$(endpoint $family 1 80)" --count 10
		check "$1: IPv$family rewritten" [ "$(counted all syn_rewritten)" = $((before + 10)) ]
	done
}

wan_goes() { in_ns "$GW" ip link del wan0; }

wan_comes() {
	net_link "$GW" wan0 "$BX" gw0
	in_ns "$GW" ip address add 203.0.113.1/24 dev wan0
	in_ns "$GW" ip -6 address add 2001:db8:99::1/64 dev wan0 nodad
	in_ns "$BX" ip address add 203.0.113.254/24 dev gw0
	in_ns "$BX" ip -6 address add 2001:db8:99::fe/64 dev gw0 nodad
	in_ns "$GW" ip route replace default via 203.0.113.254
	in_ns "$GW" ip -6 route replace default via 2001:db8:99::fe
	wait_until 20 path_works 4 && wait_until 20 path_works 6
}

wan_index() { in_ns "$GW" cat /sys/class/net/wan0/ifindex 2>/dev/null || in_ns "$GW" ip -o link show wan0 | cut -d: -f1; }

net_up
for family in 4 6; do serve "$(endpoint $family 1 80)"; done
config wan0
pawsd_up "$WORK/pawsd.conf"
connects "as it should be"
check "as it should be: no hazard" [ "$(pawsctl status --json | jq '[.metrics | to_entries[] | select(.key | startswith("hazard_")) | .value] | add')" = 0 ]
hazard foreign_queue "queue-num 9471" "foreign_queue 4 -D" foreign_queue 4 -A
check "foreign_queue: in IPv6, too" hazard_is foreign_queue 0
foreign_queue 6 -A
kill -HUP "$PAWSD_PID"
check "foreign_queue: IPv6 found" wait_until 10 hazard_is foreign_queue 1
foreign_queue 6 -D
# A reload would put the jump behind it again.
rule_behind -A
check "rules_behind: found, without a reload" wait_until 10 hazard_is rules_behind 1
check "rules_behind: said, with where it is" grep -q "warning: hazard_rules_behind .*: .*192.0.2.9/32 -p tcp -j ACCEPT" "$WORK/pawsd.log"
kill -HUP "$PAWSD_PID"
check "rules_behind: a reload puts the jump behind it" wait_until 10 hazard_is rules_behind 0
rule_behind -D
check "rules_behind: said once" said rules_behind 1
if gro 131072 2>/dev/null; then
	gro 65536
	hazard big_tcp "gro_max_size 131072 of lan0" "gro 65536" gro 131072
else
	tap_skip big_tcp "the kernel, or ip, has no gro_max_size"
fi
if [ -e /proc/sys/net/bridge ] && bridge add 2>/dev/null; then
	bridge del
	hazard bridge "br7" "bridge del" bridge add
else
	tap_skip bridge "the kernel has no bridges, or no CONFIG_BRIDGE_NETFILTER"
fi

before=$(wan_index)
wan_goes
check "wan0 goes: found, without a reload" wait_until 10 hazard_is wan_missing 1
check "wan0 goes: said" said wan_missing 1
check "wan0 comes: the path is there again" wan_comes
check "wan0 comes: as another" [ "$(wan_index)" != "$before" ]
check "wan0 comes: found" wait_until 10 hazard_is wan_missing 0
connects "wan0 is back"
check "wan0 is back: pawsd stops" pawsd_stop

config "wan0 ppp7"
pawsd_up "$WORK/pawsd.conf"
check "an interface that is not there at the start: found" wait_until 10 hazard_is wan_missing 1
check "an interface that is not there at the start: it is said which" grep -q "warning: hazard_wan_missing .*: ppp7;" "$WORK/pawsd.log"
connects "an interface that is not there at the start"
in_ns "$GW" ip link add ppp7 type veth peer name ppp8
check "an interface that is not there at the start: it comes" wait_until 10 hazard_is wan_missing 0
check "it stops" pawsd_stop
tap_done
