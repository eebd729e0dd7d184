#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is tested in the guest that `run` boots: the nft backend with real queue statements, both
# placements, IPv4 and IPv6, two workers. The topology is that of netns/lib.sh; the gateway's NAT
# and firewall are nft's as well:
#
#   - all clients are masqueraded; to the servers of F2 they all get one public port
#   - what conntrack calls invalid is counted and dropped, and so are new connections from outside
#
# Servers (the last part of the address): 1 and 2 see rewritten SYNs alone; 3 and 4 are those of F2,
# each run at ports of its own; 8 is only observed; 9 is for the run without pawsd, 10 for the
# gateway's own connections, 11 for those made while pawsd is dead. So there is no TIME_WAIT left by
# a SYN that pawsd did not see where it is to be blamed for one refused.
#
# First a run without pawsd, which must show what pawsd is to cure, then all over for each placement.
set -Eeuo pipefail
trap 'echo "# guest.sh ended by line $LINENO: $BASH_COMMAND"' ERR
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/../netns/cases.sh"

QUEUE_FIRST=9470
CONNECTS=128     # to one server, per family
F2_ATTEMPTS=16
ROUND_BYTES=500000

# ---- the network -----------------------------------------------------------------------------

gateway_rules() {
	local f2_4 f2_6 rst_4 rst_6
	f2_4=$(server_addr 4 3) f2_6=$(server_addr 6 3) rst_4=$(server_addr 4 4) rst_6=$(server_addr 6 4)
	in_ns "$GW" nft -f - <<-EOT
		table inet gateway {
			counter invalid { }
			chain forward {
				type filter hook forward priority filter; policy drop;
				iifname "lan0" ip daddr $rst_4 tcp flags & rst != 0 drop
				iifname "lan0" ip6 daddr $rst_6 tcp flags & rst != 0 drop
				ct state invalid counter name "invalid" drop
				ct state established,related accept
				iifname "lan0" accept
			}
			chain postrouting {
				type nat hook postrouting priority srcnat;
				oifname "wan0" meta l4proto tcp ip daddr { $f2_4, $rst_4 } snat ip to $PUBLIC_4:40000
				oifname "wan0" meta l4proto tcp ip6 daddr { $f2_6, $rst_6 } snat ip6 to [$PUBLIC_6]:40000
				oifname "wan0" meta l4proto tcp masquerade
			}
		}
	EOT
	ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_time_wait 1
}

guest_net_up() {
	local ns family
	trap net_cleanup EXIT
	WORK=$(mktemp -d /tmp/pawsd-net.XXXXXX)
	for ns in "$CL" "$GW" "$BX" "$SV"; do net_add_ns "$ns"; done
	for ns in "$GW" "$BX"; do
		ns_write "$ns" net/ipv4/ip_forward 1
		ns_write "$ns" net/ipv6/conf/all/forwarding 1
	done
	net_link "$CL" lan0 "$GW" lan0
	net_link "$GW" wan0 "$BX" gw0
	net_link "$BX" srv0 "$SV" net0
	net_addresses
	steer
	gateway_rules
	for family in 4 6; do
		serve "$(endpoint $family 1 80-83)" "$(endpoint $family 2 80)" "$(endpoint $family 8 80)" \
			"$(endpoint $family 9 80-83)" "$(endpoint $family 10 80-83)" "$(endpoint $family 11 80)" \
			"$(endpoint $family 3 10000-10199)" "$(endpoint $family 4 10000-10199)" \
			"$(endpoint $family $SERVER_COUNT 7)"
		wait_until 20 path_works $family || return 1
	done
}

# steer: what comes in by a link is handled on the processor that its flow's hash names. Otherwise
# it is that on which it was sent, so a flow whose sender or whose worker of pawsd changes
# processors is reordered, and the kernel counts some of that as PAWS drops.
steer() {
	local ns
	for ns in "$CL" "$GW" "$BX" "$SV"; do
		ip netns exec "$ns" sh -c 'for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo 3 >$f; done'
	done
}

# netem NETEM-ARGUMENTS... | netem off: on the way to the servers and back.
netem() {
	local pair
	for pair in "$BX srv0" "$SV net0"; do
		if [ "$1" = off ]; then
			in_ns "${pair% *}" tc qdisc del dev "${pair#* }" root
		else
			in_ns "${pair% *}" tc qdisc add dev "${pair#* }" root netem "$@"
		fi
	done
}

# ---- what is asked ---------------------------------------------------------------------------

# all_first LINE COUNT: tcpload says that so many connects came about, each with its first SYN.
all_first() { [ "$(value_of attempts "$1") $(value_of ok "$1") $(value_of second_syn "$1")" = "$2 $2 0" ]; }

# connects FAMILY: many, from all clients.
connects() {
	load --from "$(clients "$1")" --to "$(endpoint "$1" 1 80-83)" --count $CONNECTS --concurrency 8 || [ $? = 1 ]
}

invalid_packets() { in_ns "$GW" nft -j list counter inet gateway invalid | jq '.nftables[1].counter.packets'; }

# bad_segments: "namespace counter=value" of what the kernels refused because of timestamps or checksums.
bad_segments() {
	local ns
	for ns in "$CL" "$GW" "$BX" "$SV"; do
		in_ns "$ns" nstat -asz | awk -v ns="${ns%-*}" \
			'$1 ~ /^(TcpExtPAWS|TcpExtTSEcrRejected|TcpInCsumErrors|IpInHdrErrors)/ {print ns, $1 "=" $2}'
	done
}

# remember: what these two say now; as_before COMMAND: shows the difference to that if there is one.
remember() {
	bad_segments >"$WORK/was.bad_segments"
	invalid_packets >"$WORK/was.invalid_packets"
}

as_before() { diff -U0 "$WORK/was.$1" <("$1"); }

# unhurt NAME: so it has been since the last time.
unhurt() {
	check "$1: no timestamp or checksum was refused" as_before bad_segments
	check "$1: conntrack found nothing invalid" as_before invalid_packets
	remember
}

metric_of() { pawsctl stats --json | jq ".metrics.$1"; }

# nothing_odd: nothing was passed that should have been rewritten, and no verdict was refused.
nothing_odd() {
	pawsctl stats --json | jq -e '
		[.packets | .syn_retransmitted, .synack_unknown, .synack_foreign_tsecr, .midstream_out, .midstream_in,
		 .in_foreign_tsecr, .syn_from_outside, .table_full, .truncated, .malformed_tcp, .no_timestamps]
		+ [.metrics.verdict_errors_total, .metrics.queue_message_errors_total]
		+ [.queues[] | .dropped_queue_full, .dropped_buffer_full] | add == 0' >/dev/null && return
	pawsctl stats --json | jq -c '(.packets, .metrics | with_entries(select(.value > 0))), .queues[]'
	return 1
}

# Packets queued so far, by the kernel's count.
by_kernel() { in_ns "$GW" awk '{n += $8} END {print n + 0}' /proc/net/netfilter/nfnetlink_queue; }

is_quiet() {
	local before
	before=$(by_kernel)
	sleep 0.1
	[ "$before" = "$(by_kernel)" ] && [ "$(packets_counted)" = "$before" ]
}

# Of the two handshake and the two established queues each had a good part.
queues_share() {
	local queues
	queues=$(in_ns "$GW" awk '{print $1, $8}' /proc/net/netfilter/nfnetlink_queue)
	echo "$queues"
	[ "$(awk -v first=$QUEUE_FIRST '$1 >= first && $1 < first + 4 && $2 >= 50' <<<"$queues" | wc -l)" = 4 ]
}

rules_text() { in_ns "$GW" nft list table inet pawsd; }

# The statements that this is all about, as the kernel gives them back.
rules_in_place() {
	local text hook=forward
	text=$(rules_text)
	echo "$text"
	[ "$1" = forward ] || hook=postrouting
	grep -q "hook $hook" <<<"$text" &&
		grep -q "queue flags bypass to symhash mod 2 offset $QUEUE_FIRST" <<<"$text" &&
		grep -q "queue to symhash mod 2 offset $((QUEUE_FIRST + 2))" <<<"$text"
}

no_rules() { ! in_ns "$GW" nft list table inet pawsd 2>/dev/null && in_ns "$GW" nft list table inet gateway >/dev/null; }

# ---- configurations --------------------------------------------------------------------------

PAWSD_BACKEND=nft PAWSD_WORKERS=2

# config FILE PLACEMENT [WAN]: destinations from standard input.
config() {
	pawsd_config "$1"
	# Where rules are taken away to see what else holds, they are to stay away.
	[ "$2" = postnat ] || sed -i 's/^\[rules\]/&\non_change = warn/' "$1"
	sed -i "s/^wan = .*/wan = ${3:-wan0}/; s/^placement = .*/placement = $2/
		s/^workers = .*/&\nfirst = $QUEUE_FIRST/" "$1"
}

config_rewrite() {
	config "$@" <<-EOT
		[destination servers]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		[destination observed]
		prefixes = $(server_addr 4 8), $(server_addr 6 8)
		mode = observe
	EOT
}

config_off() {
	config "$@" <<-EOT
		[destination servers]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = off
	EOT
}

# Something of everything: groups with conditions, a default.
config_rich() {
	config "$@" <<-EOT
		[default]
		mode = observe
		[destination servers]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		[destination web]
		prefixes = 198.51.100.16/28, 2001:db8:100::10/124, 192.0.2.7
		ports = 80, 443, 8000-8100
		mode = strip
		[destination some]
		prefixes = 198.51.100.16/28
		sources = 10.99.1.0/24, 10.99.2.0/24
		mode = rewrite
		[destination rest]
		prefixes = 198.51.100.128/25
		mode = off
	EOT
}

# ---- parts -----------------------------------------------------------------------------------

phase() { diag "$1, up $(cut -d' ' -f1 /proc/uptime) s"; }

kernel_takes() {
	"$PAWSD" -c "$1" --print-rules >"$WORK/rules.nft" || return 1
	grep -n queue "$WORK/rules.nft"
	in_ns "$GW" nft -c -f "$WORK/rules.nft"
}

printed_rules() {
	local placement workers wan
	for placement in forward postnat; do
		for workers in 1 2; do
			for wan in wan0 'wan* ppp0'; do
				PAWSD_WORKERS=$workers config_rich "$WORK/rich.conf" $placement "$wan"
				check "nft -c takes the rules: $placement, workers = $workers, wan = $wan" kernel_takes "$WORK/rich.conf"
			done
		done
	done
	sed 's/goto full/goto nowhere/' "$WORK/rules.nft" >"$WORK/wrong.nft"
	check "it would not take wrong ones" fails in_ns "$GW" nft -c -f "$WORK/wrong.nft"
	check "nothing was put in place by that" no_rules
}

# captured NAME SERVER: connects of both families with a capture on both sides, offloads off. One
# after the other: of two SYNs at the same time, with different workers, the one with the TSval of
# the earlier millisecond may be the later to leave.
captured() {
	local family line
	phase "$1: capture"
	net_offload off
	capture_start "$1"
	for family in 4 6; do
		line=$(load --from "$(clients $family)" --to "$(endpoint $family "$2" 80-83)" --count 40 --concurrency 1) || true
		check "$1 IPv$family: connects for the capture" [ "$(value_of ok "$line")" = 40 ]
		in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family "$2" 80)" --up 100000 --down 100000 >/dev/null
	done
	capture_stop "$1"
	net_offload on
}

# f2 NAME FIRST-PORT without|with: both families and both cases at once.
f2() {
	local family name line pids=()
	phase "$1: F2"
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do
			f2_reuse $family "$(case_server $name)" "$2" $F2_ATTEMPTS >"$WORK/$name.$family" 2>&1 &
			pids+=($!)
		done
	done
	wait "${pids[@]}" || true
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do
			line=$(grep ^attempts "$WORK/$name.$family")
			diag "$1 $name IPv$family: $line"
			if [ "$3" = with ]; then
				check "$1 $name IPv$family: all with their first SYN" all_first "$line" $F2_ATTEMPTS
			else
				check "$1 $name IPv$family: first SYNs are refused" fails all_first "$line" $F2_ATTEMPTS
			fi
		done
	done
}

without_pawsd() {
	remember
	captured plain 9
	check "plain: SYN TSvals step back" property_fails plain syn_monotonic
	check "plain: SYNs are not changed" property_fails plain rewritten
	f2 plain 10000 without
	check "plain: the server's counter of old TSvals moves" fails as_before bad_segments
}

# Each connection is one SYN and one SYN/ACK, rewritten, and more segments each way.
counts_right() {
	local out in
	out=$(counted servers out_rewritten) in=$(counted servers in_rewritten)
	echo "SYN $(counted "" syn_rewritten), SYN/ACK $(counted "" synack_rewritten), out $out, in $in, wanted $1"
	[ "$(counted "" syn_rewritten) $(counted "" synack_rewritten)" = "$1 $1" ] &&
		[ "$out" -ge $((3 * $1)) ] && [ "$in" -ge $((2 * $1)) ]
}

many_connects() {
	local family line
	phase "$1: connects"
	for family in 4 6; do
		line=$(connects $family)
		diag "$1 IPv$family: $line"
		check "$1 IPv$family: $CONNECTS connects, all with their first SYN" all_first "$line" $CONNECTS
	done
	check "$1: as many packets counted as queued" wait_until 15 is_quiet
	check "$1: $((2 * CONNECTS)) SYNs and SYN/ACKs rewritten" counts_right $((2 * CONNECTS))
	check "$1: both workers have their part of both kinds" queues_share
	check "$1: nothing odd" nothing_odd
}

# The gateway's own connections leave by its public address too: placement postnat sees them.
own_connects() {
	local family before line rewritten=0
	phase "$1: the gateway's own"
	[ "$1" = forward ] || rewritten=20
	for family in 4 6; do
		before=$(counted "" syn_rewritten)
		line=$(in_ns "$GW" "$TOOLS/tcpload" --to "$(endpoint $family 10 80-83)" --count 20) || true
		check "$1 IPv$family: the gateway's own connects" all_first "$line" 20
		check "$1 IPv$family: $rewritten of them rewritten" \
			[ $(($(counted "" syn_rewritten) - before)) = $rewritten ]
		check "$1 IPv$family: the gateway's own transfer" in_ns "$GW" "$TOOLS/tcpbulk" \
			--to "$(endpoint $family 10 80)" --up $ROUND_BYTES --down $ROUND_BYTES
	done
	check "$1: none of the gateway's own segments was refused" as_before bad_segments
	remember
}

# transfers_start: one per family, over and over; they have moved content when this returns.
transfers_start() {
	local family
	TRANSFERS=()
	for family in 4 6; do
		rm -f "$WORK/started.$family"
		start "$CL" "$TOOLS/tcpbulk" --from "$(client_addr $family 5)" --to "$(endpoint $family 2 80)" --loop --gap-ms 25 \
			--up $ROUND_BYTES --down $ROUND_BYTES --started "$WORK/started.$family" >"$WORK/transfer.$family"
		TRANSFERS+=("$STARTED")
	done
	wait_until 20 test -e "$WORK/started.4" && wait_until 20 test -e "$WORK/started.6"
}

transfers_end() {
	local i
	for i in 0 1; do
		check "$1 IPv$((4 + 2 * i)): every round intact" finish "${TRANSFERS[i]}"
		diag "$(cat "$WORK/transfer.$((4 + 2 * i))")"
	done
}

moves_on() { [ "$(counted "" out_rewritten)" -gt $(($1 + 50)) ]; }

reload_to() {
	local before
	before=$(metric_of config_reloads_total)
	cp "$WORK/$1.conf" "$WORK/pawsd.conf"
	kill -HUP "$PAWSD_PID"
	wait_until 10 eval "[ \"\$(metric_of config_reloads_total)\" = $((before + 1)) ]"
}

reloads() {
	local i
	for i in 1 2 3; do reload_to rich && reload_to rewrite || return 1; done
}

# With the look-up taken away nothing but their labels says that the packets of running connections are to be queued.
labels_hold() {
	# Until both certainly have one.
	check "forward: flows are rewritten after the reload" wait_until 20 moves_on $(($(counted "" out_rewritten) + 1000))
	check "forward: the look-up is taken away" in_ns "$GW" nft 'flush chain inet pawsd out; flush chain inet pawsd in'
	check "forward: labelled connections go on being rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	check "forward: a reload puts it back" reload_to rewrite
}

# Another tool takes all rules away: pawsd sees it by the number of nf_tables' state.
rules_come_back() {
	local before
	in_ns "$GW" nft flush table inet pawsd
	check "postnat: flushed rules are in place again" wait_until 5 eval "[ \"\$(metric_of rules_changed_total)\" = 1 ]"
	before=$(counted servers syn_rewritten)
	connects 4 >/dev/null
	check "postnat: new connections are rewritten" [ "$(counted servers syn_rewritten)" -ge $((before + CONNECTS)) ]
}

during_transfer() {
	local placement=$1 line
	phase "$1: transfers"
	check "$placement: transfers begin" transfers_start
	check "$placement: six reloads meanwhile" reloads
	line=$(connects 4)
	check "$placement: connects after them" all_first "$line" $CONNECTS
	check "$placement: reload to off" reload_to off
	check "$placement: the servers of running flows stay queued" grep -q 'set drain6' <<<"$(rules_text)"
	check "$placement: and those flows rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	check "$placement: reload to rewrite" reload_to rewrite
	[ "$placement" = postnat ] || labels_hold
	transfers_end "$placement transfer with reloads"
	[ "$placement" = forward ] || rules_come_back
	check "$placement: nothing odd since the start" nothing_odd
	unhurt "$placement"
}

kill_pawsd() {
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
}

# One SYN and one SYN/ACK, no more.
shakes_hands() { in_ns "$CL" timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/80"' bash "$(server_addr "$1" 11)"; }

no_answer() {
	local line
	line=$(load --from "$(clients "$1")" --to "$(endpoint "$1" 11 80)" --count 8 --concurrency 8 --timeout-ms 800) || true
	echo "$line"
	[ "$(value_of ok "$line")" = 0 ]
}

killed() {
	local placement=$1
	phase "$1: killed"
	check "$placement: transfers begin again" transfers_start
	kill_pawsd
	check "$placement, killed: the rules are still there" rules_in_place "$placement"
	check "$placement, killed: starts again" pawsd_start "$WORK/pawsd.conf"
	check "$placement, killed: the flows are rewritten as before" wait_until 20 moves_on 0
	transfers_end "$placement transfer over kill -9"
	check "$placement, killed: no flow was forgotten" [ "$(counted "" midstream_out midstream_in)" = 0 ]
	unhurt "$placement, killed"
}

# Without anybody at the queues; the connections that this leaves half-way are ended.
dead() {
	local placement=$1 family line
	phase "$placement: dead"
	kill_pawsd
	for family in 4 6; do
		check "$placement IPv$family, dead: handshakes pass" shakes_hands $family
		check "$placement IPv$family, dead: established packets do not" no_answer $family
		line=$(load --from "$(clients $family)" --to "$(endpoint $family 8 80)" --count 8) || true
		check "$placement IPv$family, dead: observed destinations are not hurt" all_first "$line" 8
	done
	check "$placement, dead: starts again" pawsd_start "$WORK/pawsd.conf"
	for ns in "$CL" "$SV"; do
		in_ns "$ns" ss -HKtn state connected exclude time-wait >/dev/null
	done
	check "$placement: nothing is left open" wait_until 30 is_settled
}

# Lost segments, SYNs among them.
lossy() {
	local placement=$1 family line
	phase "$1: 1 % lost"
	remember
	netem loss 1% delay 3ms
	for family in 4 6; do
		line=$(load --from "$(clients $family)" --to "$(endpoint $family 1 80-83)" --count $CONNECTS --concurrency 32 \
			--timeout-ms 10000) || true
		diag "$placement IPv$family, 1 % lost: $line"
		check "$placement IPv$family, 1 % lost: all connect" [ "$(value_of ok "$line")" = $CONNECTS ]
		check "$placement IPv$family, 1 % lost: a transfer is intact" in_ns "$CL" "$TOOLS/tcpbulk" \
			--to "$(endpoint $family 1 80)" --up $ROUND_BYTES --down $ROUND_BYTES
	done
	netem off
	check "$placement, 1 % lost: all is closed" wait_until 30 is_settled
	check "$placement, 1 % lost: no timestamp was refused" as_before bad_segments
}

# with_pawsd PLACEMENT FIRST-PORT
with_pawsd() {
	local placement=$1
	config_rewrite "$WORK/rewrite.conf" "$placement"
	config_rich "$WORK/rich.conf" "$placement"
	config_off "$WORK/off.conf" "$placement"
	cp "$WORK/rewrite.conf" "$WORK/pawsd.conf"
	remember
	pawsd_up "$WORK/pawsd.conf"
	check "$placement: rules in place" rules_in_place "$placement"
	check "$placement: connections get labels just where packets are taken in one place" \
		metric_is labels_in_use "$([ "$placement" = forward ] && echo 1 || echo 0)"
	many_connects "$placement"
	captured "$placement" 1
	capture_properties "$placement"
	f2 "$placement" "$2" with
	unhurt "$placement"
	own_connects "$placement"
	during_transfer "$placement"
	killed "$placement"
	dead "$placement"
	lossy "$placement"
	check "$placement: pawsd stops" pawsd_stop
	check "$placement: and takes its table away, no other" no_rules
}

# The interface's name as a pattern.
postnat_pattern() {
	config_rewrite "$WORK/pawsd.conf" postnat 'ppp0 wan*'
	pawsd_up "$WORK/pawsd.conf"
	check "wan = wan*: as it was written" grep -q 'iifname "wan\*" jump in' <<<"$(rules_text)"
	many_connects "postnat, wan = wan*"
	f2 "postnat, wan = wan*" 10150 with
	check "postnat, wan = wan*: pawsd stops" pawsd_stop
}

kernel_complains() { dmesg | grep -E 'BUG|WARNING|Oops|Call Trace|segfault|general protection'; }

guest_net_up
phase "$(uname -r)"
printed_rules
without_pawsd
with_pawsd forward 10050
with_pawsd postnat 10100
postnat_pattern
check "the kernel had nothing to complain of" fails kernel_complains
phase "end"
tap_done
