#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Connections that pawsd has nothing to do with get a label of conntrack, and their packets pass after one look, or with the fast
# path after two: no more than the first few of a connection come any further. Those all of whose packets come to pawsd get another,
# and it is found out once where their server belongs. After a reload all is looked at again. In both flavours of
# iptables.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq
pawsd_require

# config NAME LABELS MODE-OF-SERVER-1: server 2 is rewritten, server 3 observed.
config() {
	{
		sed "s/^\[rules\]/&\nlabels = $2/" <(PAWSD_FLAVOUR=$XT pawsd_config /dev/stdout </dev/null)
		printf '%s\n' '[destination first]' 'prefixes = 198.51.100.1, 2001:db8:100::1' "mode = $3" \
			'[destination second]' 'prefixes = 198.51.100.2, 2001:db8:100::2' 'mode = rewrite' \
			'[destination third]' 'prefixes = 198.51.100.3, 2001:db8:100::3' 'mode = observe'
	} >"$WORK/$1.conf"
}

# looked_at FAMILY: packets that took the jump to PAWSD, but for those that return there by their label, as with the fast path.
looked_at() {
	{ xt "$GW" "$1" -t mangle -nvxL FORWARD && xt "$GW" "$1" -t mangle -nvxL PAWSD; } |
		awk '$3 == "PAWSD" {n += $1} $3 == "RETURN" && $7 == "*" && !/mark match/ {n -= $1} END {print n + 0}'
}

# looked_up FAMILY: those of them whose server was looked up.
looked_up() {
	xt "$GW" "$1" -t mangle -nvxL PAWSD | awk '$3 == "PAWSD-IN" || $3 == "PAWSD-OUT" {n += $1} END {print n + 0}'
}

# transfer FAMILY SERVER: both ways at once; its packets that were looked at are in LOOKED_AT, those looked up in LOOKED_UP.
transfer() {
	local at up
	at=$(looked_at "$1") up=$(looked_up "$1")
	in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint "$1" "$2" 80)" --up 3000000 --down 3000000 || return 1
	LOOKED_AT=$(($(looked_at "$1") - at)) LOOKED_UP=$(($(looked_up "$1") - up))
	diag "IPv$1, server $2: $LOOKED_AT packets looked at, $LOOKED_UP looked up"
}

check_transfers() {
	local family
	for family in 4 6; do
		check "$XT, IPv$family: a transfer with a server that is off" transfer $family 1
		check "$XT, IPv$family: only its handshake and its end are looked at" [ "$LOOKED_AT" -le 6 ]
		check "$XT, IPv$family: a transfer with one that is observed" transfer $family 3
		check "$XT, IPv$family: only its handshake and its end are looked at, and counted" [ "$LOOKED_AT" -le 6 ]
		check "$XT, IPv$family: a transfer with one that is rewritten" transfer $family 2
		check "$XT, IPv$family: all of it is looked at" [ "$LOOKED_AT" -gt 20 ]
		check "$XT, IPv$family: only its handshake is looked up" [ "$LOOKED_UP" -le 4 ]
	done
	check "$XT: both handshakes were counted" [ "$(counted third syn_observed synack_observed)" = 4 ]
	check "$XT: no segment of a rewritten connection went by" [ "$(counted second midstream_out midstream_in)" = 0 ]
}

# A connection from before goes on, and is looked at again, when its server comes to be rewritten.
check_reload() {
	local running
	start "$CL" "$TOOLS/tcpbulk" --to "$(endpoint 4 1 80)" --up 100000 --down 100000 --loop --gap-ms 5 \
		--started "$WORK/started" >"$WORK/transfer.out"
	running=$STARTED
	wait_until 10 test -e "$WORK/started"
	rm "$WORK/started"
	check "$XT: it is not counted, for its server is off" [ "$(counted first midstream_out)" = 0 ]
	cp "$WORK/rewrite.conf" "$WORK/pawsd.conf"
	kill -HUP "$PAWSD_PID"
	wait_until 10 metric_is config_reloads_total 1
	check "$XT: after the reload its packets come to pawsd" wait_until 10 is_counted first midstream_out
	check "$XT: a new connection is rewritten" transfer 4 1
	check "$XT: and its SYN" [ "$(counted first syn_rewritten)" = 1 ]
	check "$XT: the old one's content is intact" finish "$running"
}

is_counted() { [ "$(counted "$@")" -gt 0 ]; }

net_up
for family in 4 6; do serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)" "$(endpoint $family 3 80)"; done
for XT in legacy nft; do
	config off auto off
	config rewrite auto rewrite
	cp "$WORK/off.conf" "$WORK/pawsd.conf"
	pawsd_up "$WORK/pawsd.conf"
	check "$XT: labels are in use" metric_is labels_in_use 1
	check_transfers
	check_reload
	check "$XT: pawsd stops" pawsd_stop

	sed '/\[destination third\]/,$d' "$WORK/off.conf" >"$WORK/pawsd.conf"
	pawsd_up "$WORK/pawsd.conf"
	check "$XT, none observed: a transfer with a server that is off" transfer 4 1
	check "$XT, none observed: only its SYN is looked at" [ "$LOOKED_AT" = 1 ]
	check "$XT, none observed: a transfer with one that is rewritten" transfer 4 2
	check "$XT, none observed: its SYN/ACK, too" [ "$(counted second syn_rewritten synack_rewritten)" = 2 ]
	check "$XT: pawsd stops" pawsd_stop

	config without off off
	pawsd_up "$WORK/without.conf"
	check "$XT, labels = off: none is in use" metric_is labels_in_use 0
	check "$XT, labels = off: a transfer with a server that is off" transfer 4 1
	check "$XT, labels = off: all of it is looked at" [ "$LOOKED_AT" -gt 20 ]
	check "$XT, labels = off: a transfer with a server that is rewritten" transfer 4 2
	check "$XT, labels = off: all of it is looked up" [ "$LOOKED_UP" -gt 20 ]
	check "$XT: pawsd stops" pawsd_stop
done
tap_done
