#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The failures F1 to F3 (cases.sh) over IPv4 and IPv6: without pawsd connects fail or need more
# than one SYN, with it each needs just one and no more than 100 ms. Before that: the model of the
# old server says of every SYN in captures from a real one (tests/captures) what that one did.
# With pawsd's rules in the one iptables flavour and then in the other; what servers and boxes
# remember stays, so that pawsd must go on after the restart where it was.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/cases.sh"
net_require ipset:ipset
pawsd_require

ATTEMPTS=16

check_model() {
	local name captures=$REPO/tests/captures
	check "the model of the old server has the figures measured" "$TOOLS/middlebox" --selftest
	for name in f1-rhel7-8hosts-wan f1-rhel7-one-host-wan; do
		check "the model agrees with the real server: $name" \
			"$TOOLS/modelcheck" --server 198.51.100.10 "$captures/$name.pcap"
	done
	check "the model agrees with the real server: f1-rhel7-per-connection-lan" \
		"$TOOLS/modelcheck" --server 198.51.100.10 --one-host "$captures/f1-rhel7-per-connection-lan.pcap"
	check "it does not agree with a server without tcp_tw_recycle" \
		fails "$TOOLS/modelcheck" --server 198.51.100.10 "$captures/f2-timewait-wan.pcap"
}

# judge CASE FAMILY without|with LINE
judge() {
	local attempts ok second worst
	attempts=$(value_of attempts "$4") ok=$(value_of ok "$4") second=$(value_of second_syn "$4")
	worst=$(value_of worst_ms "$4")
	diag "$1 IPv$2 $3 pawsd${PAWSD_FLAVOUR:+, iptables-$PAWSD_FLAVOUR}: $4"
	if [ "$3" = without ]; then
		check "$1 IPv$2: fails without pawsd" [ $((ok - second)) -lt "$attempts" ]
		return
	fi
	check "$1 IPv$2: all $ATTEMPTS connect with their first SYN" \
		[ "$attempts $ok $second" = "$ATTEMPTS $ATTEMPTS 0" ]
	check "$1 IPv$2: none slower than 100 ms" [ "${worst%.*}" -lt 100 ]
}

# run_half without|with
run_half() {
	local name family
	for name in "${CASES[@]}"; do
		for family in 4 6; do
			case_run "$name" $family "$1" $ATTEMPTS >"$WORK/$family.out" 2>&1 &
			eval "pid_$family=$!"
		done
		for family in 4 6; do
			if eval "wait \$pid_$family"; then
				judge "$name" $family "$1" "$(cat "$WORK/$family.out")"
			else
				tap_not_ok "$name IPv$family $1 pawsd: could not be measured"
				diag "$(cat "$WORK/$family.out")"
			fi
		done
	done
}

check_model
net_up
cases_setup
cases_fresh
run_half without
cases_fresh
for PAWSD_FLAVOUR in legacy nft; do
	if ! in_ns "$GW" iptables-$PAWSD_FLAVOUR -t mangle -nL >/dev/null 2>&1; then
		tap_skip "iptables-$PAWSD_FLAVOUR" "this kernel has it not"
		continue
	fi
	diag "rules by iptables-$PAWSD_FLAVOUR"
	cases_pawsd_config "$WORK/pawsd.conf"
	pawsd_up "$WORK/pawsd.conf"
	run_half with
	check "pawsd stops" pawsd_stop
done
tap_done
