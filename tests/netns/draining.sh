#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Clients without timestamps beside clients with them, in front of a server of the RHEL 7 family: they
# are dropped, counted, and pawsctl says what helps. It helps once the last connection with
# timestamps is 60 s gone: until then pawsctl reports the destination as draining.
# Waits for most of its time.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq
pawsd_require

timestamps() { ns_write "$CL" net/ipv4/tcp_timestamps "$1"; }

connect() { load --from "$(clients 4)" --to "$(endpoint 4 1 80)" --timeout-ms 500 "$@"; }

config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination bank]
		prefixes = $(server_addr 4 1)
		mode = $1
	EOT
}

reload() {
	local before
	before=$(metric config_reloads_total)
	config "$1"
	kill -HUP "$PAWSD_PID"
	wait_until 10 metric_is config_reloads_total $((before + 1))
}

# of_bank EXPRESSION: of what pawsctl status says about the destination.
of_bank() { pawsctl status --json | jq -e ".destinations[] | select(.name == \"bank\") | $1" >/dev/null; }

net_up
serve "$(endpoint 4 1 80)"
box_rules 1 4 1
box_start 1 rhel7
config rewrite
pawsd_up "$WORK/pawsd.conf"

check "clients with timestamps connect" connect --count 10 --close server
check "no advice yet" [ "$(pawsctl stats --json | jq '[.destinations[].advice] | unique == [null]')" = true ]
timestamps 0
check "a client without them does not" fails connect --count 1
check "that is counted" [ "$(counted bank syn_no_timestamps_mixed)" -ge 1 ]
check "pawsctl stats says what helps" grep -q 'destination bank: .*mode = strip for all' <<<"$(pawsctl stats)"
check "so does its JSON" [ "$(pawsctl stats --json | jq '[.destinations[].advice | strings] | length')" = 1 ]
timestamps 1

start "$CL" "$TOOLS/tcpbulk" --to "$(endpoint 4 1 80)" --up 100000 --down 100000 --loop --gap-ms 20 \
	--started "$WORK/started" >"$WORK/bulk.out"
transfer=$STARTED
check "a long transfer with timestamps" wait_until 10 test -e "$WORK/started"
check "not draining before" of_bank '.draining == false'
check "reload to strip" reload strip
check "draining, one connection goes on" of_bank '.draining and .draining_flows == 1 and .draining_seconds > 55'
check "the same in words" grep -q 'draining: 1 connections with timestamps go on' <<<"$(pawsctl status)"
check "and as a metric" metric_is draining_destinations 1
check "a stripped client is dropped meanwhile" fails connect --count 1
check "the transfer's content is intact to the end" finish "$transfer"
check "its end is seen" wait_until 20 of_bank '.draining_flows == 0'
check "still draining" of_bank '.draining and .draining_seconds > 30'
check "no longer draining after a minute" wait_until 70 of_bank '.draining == false'
check "then clients with timestamps connect, all with their first SYN" connect --count 20 --close server
timestamps 0
check "and clients without" connect --count 20 --close server
check "pawsd stops" pawsd_stop
tap_done
