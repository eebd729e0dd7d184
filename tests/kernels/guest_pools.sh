# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Two pools of clients behind one gateway, each with a public address of its own (nft snat), and placement
# postnat, which sees these. A capture outside shows of each address by itself that the TSvals of its SYNs
# never step back; and of the server's TIME_WAITs, of each address on the very same ports at the same
# time, none refuses a SYN. Without pawsd both go wrong for both.
#
# Pool 1 is clients 1 to 31, pool 2 is 32 to 63; pools_rules and pool_filter say so in prefixes.

POOLS_4=(10.99.1.0/27 10.99.1.32/27) POOLS_6=(fd99::1:0/123 fd99::1:20/123)
POOLS_PUBLIC_4=("$PUBLIC_4" 203.0.113.2) POOLS_PUBLIC_6=("$PUBLIC_6" 2001:db8:99::2)
POOLS_FIRST=(1 32) POOLS_LAST=(31 63) # 16 attempts come from the first 16 of each

# They come in front of the gateway's own rules; a connection has one NAT.
pools_rules() {
	local i
	ip -n "$GW" addr add "${POOLS_PUBLIC_4[1]}/24" dev wan0
	ip -n "$GW" addr add "${POOLS_PUBLIC_6[1]}/64" dev wan0 nodad
	for i in 0 1; do
		cat <<-EOT
			oifname "wan0" ip saddr ${POOLS_4[i]} ip daddr { $(server_addr 4 3), $(server_addr 4 4) } meta l4proto tcp \
				snat ip to ${POOLS_PUBLIC_4[i]}:40000
			oifname "wan0" ip saddr ${POOLS_4[i]} meta l4proto tcp snat ip to ${POOLS_PUBLIC_4[i]}
			oifname "wan0" ip6 saddr ${POOLS_6[i]} ip6 daddr { $(server_addr 6 3), $(server_addr 6 4) } meta l4proto tcp \
				snat ip6 to [${POOLS_PUBLIC_6[i]}]:40000
			oifname "wan0" ip6 saddr ${POOLS_6[i]} meta l4proto tcp snat ip6 to ${POOLS_PUBLIC_6[i]}
		EOT
	done | {
		echo 'table inet pools { chain postrouting { type nat hook postrouting priority 90'
		cat
		printf '}\n}\n'
	}
}

# pools_connects NAME SERVER: from all clients of both pools in turn, with a capture of each pool in NAME-1 and NAME-2.
pools_connects() {
	local family line i
	net_offload off
	capture_start "$1"
	for family in 4 6; do
		line=$(load --from "$(client_addr $family 1)+63" --to "$(endpoint $family "$2" 80-83)" --count 126 \
			--concurrency 1) || true
		check "$1 IPv$family: connects of both pools" [ "$(value_of ok "$line")" = 126 ]
	done
	capture_stop "$1"
	net_offload on
	for i in 0 1; do
		tcpdump -Z root -r "$WORK/$1.inside.pcap" -w "$WORK/$1-$((i + 1)).inside.pcap" \
			"net ${POOLS_4[i]} or net ${POOLS_6[i]}" 2>/dev/null
		tcpdump -Z root -r "$WORK/$1.outside.pcap" -w "$WORK/$1-$((i + 1)).outside.pcap" \
			"host ${POOLS_PUBLIC_4[i]} or host ${POOLS_PUBLIC_6[i]}" 2>/dev/null
	done
}

# pools_f2 NAME FIRST-PORT without|with: both pools, families and cases at once, on the same ports.
pools_f2() {
	local family name i pids=()
	phase "$1: F2"
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do
			for i in 0 1; do
				f2_leave $family "$(case_server $name)" "$2" $F2_ATTEMPTS "${POOLS_LAST[i]}" || return
			done
		done
	done
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do f2_forgotten $family "$(case_server $name)" || return; done
	done
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do
			for i in 0 1; do
				f2_again $family "$(case_server $name)" "$2" $F2_ATTEMPTS "${POOLS_FIRST[i]}" >"$WORK/$name.$family.$i" 2>&1 &
				pids+=($!)
			done
		done
	done
	wait "${pids[@]}" || true
	for i in 0 1; do
		for family in 4 6; do
			for name in F2 F2-rst-dropped; do
				judge_f2 "$1, pool $((i + 1)), $name IPv$family" "$3" "$WORK/$name.$family.$i"
			done
		done
	done
}

part_pools() {
	local i
	phase "pools"
	pools_rules >"$WORK/pools.nft"
	check "pools: rules" in_ns "$GW" nft -f "$WORK/pools.nft"
	pools_connects pools-plain 5
	for i in 1 2; do
		check "pools, plain: SYN TSvals of address $i step back" property_fails pools-plain-$i syn_monotonic
	done
	pools_f2 "pools, plain" 10200 without
	config_rewrite "$WORK/pawsd.conf" postnat
	remember
	pawsd_up "$WORK/pawsd.conf"
	pools_connects pools 6
	for i in 1 2; do capture_properties pools-$i; done
	pools_f2 "pools" 10250 with
	unhurt "pools"
	check "pools: nothing odd" nothing_odd
	check "pools: pawsd stops" pawsd_stop
	in_ns "$GW" nft delete table inet pools
	ip -n "$GW" addr del "${POOLS_PUBLIC_4[1]}/24" dev wan0 # masquerade might take them
	ip -n "$GW" addr del "${POOLS_PUBLIC_6[1]}/64" dev wan0
}
