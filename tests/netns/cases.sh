# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# The failures of the demo and of f1f2f3.sh, on the topology of lib.sh. Each has a server
# address of its own:
#
#   F1-rhel7        in front of it the box checks SYNs as a RHEL 7 server with tcp_tw_recycle does
#   F1-vanilla      the same for 2.6.32 and 3.10
#   F2              the gateway maps all clients to one public port; the server closes first and
#                   keeps TIME_WAIT, the gateway's own entry is gone after a second; then another
#                   client gets the same four-tuple. One server port per attempt
#   F2-rst-dropped  the same, and the gateway drops the RST by which the client would clear the way
#   F3              the box puts TSval 0, TSecr 2174718965 into each SYN/ACK

# shellcheck disable=SC2034 # for who sources this
CASES=(F1-rhel7 F1-vanilla F2 F2-rst-dropped F3)

case_server() {
	case $1 in
	F1-rhel7) echo 1 ;;
	F1-vanilla) echo 2 ;;
	F2) echo 3 ;;
	F2-rst-dropped) echo 4 ;;
	F3) echo 5 ;;
	esac
}

# cases_setup: rules and servers for all of them. The boxes are started by cases_fresh.
cases_setup() {
	local family name server
	ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_time_wait 1
	for family in 4 6; do
		for name in F2 F2-rst-dropped; do
			server=$(server_addr $family "$(case_server $name)")
			xt "$GW" $family -t nat -I POSTROUTING -o wan0 -p tcp -d "$server" -j SNAT --to-source \
				"$(if [ $family = 4 ]; then echo $PUBLIC_4:40000; else echo "[$PUBLIC_6]:40000"; fi)"
		done
		xt "$GW" $family -A FORWARD -i lan0 -p tcp -d "$server" --tcp-flags RST RST -j DROP
		for name in F1-rhel7 F1-vanilla F3; do
			box_rules "$(case_server $name)" $family "$(case_server $name)"
		done
		serve "$(endpoint $family 1 80-81)" "$(endpoint $family 2 80-81)" "$(endpoint $family 5 80-81)" \
			"$(endpoint $family 3 10000-10099)" "$(endpoint $family 3 20000-20099)" \
			"$(endpoint $family 4 10000-10099)" "$(endpoint $family 4 20000-20099)"
	done
}

# cases_fresh: boxes that remember nothing.
cases_fresh() {
	local pid
	for pid in ${CASES_BOXES:-}; do stop_process "$pid"; done
	CASES_BOXES=
	for name in F1-rhel7:rhel7 F1-vanilla:vanilla F3:f3; do
		box_start "$(case_server ${name%:*})" ${name#*:}
		CASES_BOXES+=" $STARTED"
	done
}

# f2_leave FAMILY SERVER FIRST-PORT COUNT CLIENT: that client leaves TIME_WAITs at the server. f2_forgotten FAMILY
# SERVER: waits until the gateway knows nothing of them. f2_again FAMILY SERVER FIRST-PORT COUNT CLIENT: that
# client and 31 more come to the same four-tuples; prints tcpload's line.
f2_leave() {
	load --from "$(client_addr "$1" "$5")" --to "$(endpoint "$1" "$2" "$3-$(($3 + $4 - 1))")" --count "$4" \
		--close server >/dev/null && return
	echo "# F2: the first connections failed" >&2
	return 2
}

f2_forgotten() {
	in_ns "$GW" "$TOOLS/ctcount" --wait 15 "$(server_addr "$1" "$2")" >/dev/null && return
	echo "# F2: connection tracking entries stay" >&2
	return 2
}

f2_again() {
	load --from "$(client_addr "$1" "$5")+32" --to "$(endpoint "$1" "$2" "$3-$(($3 + $4 - 1))")" --count "$4" \
		--concurrency "$4" --timeout-ms 4000
}

# f2_reuse FAMILY SERVER FIRST-PORT COUNT: all of that.
f2_reuse() {
	f2_leave "$@" $CLIENT_COUNT || return
	f2_forgotten "$1" "$2" || return
	f2_again "$@" 1
}

# case_run CASE FAMILY without|with COUNT: prints tcpload's line. The half decides the server's
# ports: pawsd cannot know what TIME_WAITs there are from before it was started. Clients have
# source ports of their own but for F2: else two now and then are one four-tuple, which is F2.
case_run() {
	local server port=80 base=10000
	server=$(case_server "$1")
	[ "$3" = without ] || port=81 base=20000
	case $1 in
	F1-*)
		load --from "$(clients "$2")" --source-port 40000 --to "$(endpoint "$2" "$server" $port)" --count "$4" \
			--concurrency 5
		;;
	F2*) f2_reuse "$2" "$server" $base "$4" ;;
	F3)
		load --from "$(clients "$2")" --source-port 40000 --to "$(endpoint "$2" "$server" $port)" --count "$4" \
			--concurrency "$4"
		;;
	esac || [ $? = 1 ]
}

# cases_pawsd_config FILE
cases_pawsd_config() {
	pawsd_config "$1" <<-EOT
		[destination servers]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		[destination f3]
		prefixes = $(server_addr 4 5), $(server_addr 6 5)
		mode = rewrite
		synack_tsecr = echo
	EOT
}
