# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034 # for who sources this
#
# What the parts of guest.sh have in common: the network, what is asked of it, configurations.

QUEUE_FIRST=9470
CONNECTS=128     # to one server, per family
F2_ATTEMPTS=16
ROUND_BYTES=200000
STALL_MS=10000   # no transfer may stand still for so long; it is below 1 s where the machine has nothing else to do

phase() { diag "$1, up $(cut -d' ' -f1 /proc/uptime) s"; }

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
	local ns
	trap net_cleanup EXIT
	WORK=$(mktemp -d /tmp/pawsd-net.XXXXXX)
	for ns in "$CL" "$GW" "$BX" "$SV"; do net_add_ns "$ns"; done
	guest_net_connect
}

# guest_net_connect: all between the namespaces.
guest_net_connect() {
	local ns family n servers
	for ns in "$GW" "$BX"; do
		ns_write "$ns" net/ipv4/ip_forward 1
		ns_write "$ns" net/ipv6/conf/all/forwarding 1
	done
	net_link "$CL" lan0 "$GW" lan0
	net_link "$GW" wan0 "$BX" gw0
	net_link "$BX" srv0 "$SV" net0
	net_addresses
	net_steer
	gateway_rules
	for family in 4 6; do
		servers=("$(endpoint $family $SERVER_COUNT 7)")
		for n in 1 2 5 6 7 8 9 10 11 12 13 14; do servers+=("$(endpoint $family $n 80-83)"); done
		for n in 3 4; do servers+=("$(endpoint $family $n 10000-10399)"); done
		serve "${servers[@]}"
		wait_until 20 path_works $family || return 1
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

# judge_f2 NAME without|with FILE: what f2_reuse has written there.
judge_f2() {
	local line
	line=$(grep ^attempts "$3") || line=$(cat "$3")
	diag "$1: $line"
	if [ "$2" = with ]; then
		check "$1: all with their first SYN" all_first "$line" $F2_ATTEMPTS
	else
		check "$1: first SYNs are refused" fails all_first "$line" $F2_ATTEMPTS
	fi
}

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

# all_closed: within 30 s; else it says what is not.
all_closed() {
	local ns
	wait_until 30 is_settled && return
	for ns in "$CL" "$SV"; do in_ns "$ns" ss -Htnoi state connected exclude time-wait; done
	return 1
}

# none_open: connections that a part has broken are ended here, so that what they repeat is not taken for the next one's.
none_open() {
	local ns
	for ns in "$CL" "$SV"; do in_ns "$ns" ss -HKtn state connected exclude time-wait >/dev/null; done
	all_closed
}

# remember: what these two say now; as_before COMMAND: shows the difference to that if there is one.
remember() {
	bad_segments >"$WORK/was.bad_segments"
	invalid_packets >"$WORK/was.invalid_packets"
}

as_before() { diff -U0 "$WORK/was.$1" <("$1"); }

# tracking_errors: what conntrack itself counts of packets that it could not place.
tracking_errors() {
	in_ns "$GW" conntrack -S | tr ' ' '\n' | awk -F= '$1 ~ /^(invalid|insert_failed|drop|early_drop|error)$/ {n[$1] += $2}
		END {for (name in n) print name "=" n[name]}' | sort
}

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
