#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What pawsctl shows of a pawsd at work: flows and their filters, the shared clock, what becomes of a connection and why.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require ipset:ipset jq:jq
pawsd_require

crowd() {
	rm -f "$WORK/started"
	start "$CL" "$TOOLS/tcpcrowd" "$@" --gap-ms 500 --started "$WORK/started" >"$WORK/crowd"
	CROWDS+=("$STARTED")
	wait_until 20 test -e "$WORK/started"
}

net_up
CROWDS=()
for family in 4 6; do serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)" "$(endpoint $family 3 80)"; done
PAWSD_WORKERS=2 pawsd_config "$WORK/pawsd.conf" <<-EOT
	[destination bank]
	prefixes = $(server_addr 4 1), $(server_addr 6 1)
	mode = rewrite
	[destination watched]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = observe
	[destination web]
	prefixes = 198.51.100.0/24
	ports = 443
	mode = strip
	[destination some]
	prefixes = 198.51.100.3
	sources = 10.99.1.9
	mode = rewrite
	[destination gone]
	prefixes = 198.51.100.1
	mode = rewrite
	enabled = no
EOT
pawsd_up "$WORK/pawsd.conf"
check "no flows yet" json '.matched == 0 and .flows == []' flows
check "no flows yet, in words" says '^0 connections$' flows
check "connections" crowd --from "$(clients 4)" --to "$(endpoint 4 1 80)" --connections 64
check "more" crowd --from "$(clients 6)" --to "$(endpoint 6 1 80)" --connections 32
check "observed ones" crowd --from "$(client_addr 4 7)" --to "$(endpoint 4 2 80)" --connections 8

check "flows: all" json '.matched == 104 and .shown == 104 and (.flows | length) == 104' flows
check "flows: what one looks like" json '.flows[0] | .client == "10.99.1.5:" + (.client | split(":")[1]) and .destination == "bank" and
	.state == "ESTABLISHED" and .mode == "rewrite" and .offset > 0 and .tsval > 0 and .fast_clock == false' \
	flows --client 10.99.1.5 --server "$(server_addr 4 1)"
check "flows --client: a prefix" json '.matched == 104 - 32' flows --client 10.99.0.0/16
check "flows --server, IPv6" json '.matched == 32' flows --server 2001:db8:100::/64
check "flows --port" json '.matched == 0' flows --port 443
check "flows --destination" json '.matched == 8 and ([.flows[].mode] | unique) == ["observe"]' flows --destination watched
check "flows --state" json '.matched == 96' flows --state established
check "flows --state: several" json '.matched == 104' flows --state ESTABLISHED,SYN_RECV
check "flows --mode" json '.matched == 96' flows --mode rewrite,strip
check "flows --limit" json '.matched == 104 and .shown == 10 and (.flows | length) == 10' flows --limit 10
check "flows --limit, in words" says '^10 of 104 connections' flows --limit 10
check "flows --summary" json '.matched == 104 and .states.ESTABLISHED == 96 and .destinations == {bank: 96, watched: 8} and
	.clients["10.99.1.7"] == 9 and (.clients | length) == 64 + 32' flows --summary
check "flows --summary of a part" json '.matched == 8 and .clients == {"10.99.1.7": 8}' flows --summary --destination watched
check "flows --summary, in words" says '^  10.99.1.7 +9$' flows --summary
asking=()
for ((i = 0; i < 8; i++)); do
	pawsctl flows --json >"$WORK/at-once.$i" &
	asking+=($!)
done
wait "${asking[@]}"
check "eight who ask at once get it all" [ "$(jq -s 'map(.matched) | unique' "$WORK"/at-once.* | tr -d ' \n')" = "[104]" ]
check "flows: a wrong state" refused 'state=OPEN: allowed: SYN_SENT' flows --state OPEN
check "flows: a wrong prefix" refused 'client=10.99: allowed: an address or a prefix' flows --client 10.99
check "flows: a wrong limit" refused 'limit=0: allowed: 1 to 50000' flows --limit 0
check "flows: no such destination" refused 'destination=nobody: allowed: the name of a destination' flows --destination nobody

check "explain: a destination" says '^destination:  bank, for 198.51.100.1; mode rewrite' explain 198.51.100.1:80
check "explain: what would leave" says '^a SYN now: +is rewritten to TSval [0-9]+' explain 198.51.100.1:80
check "explain: one that is disabled" says '^not: +gone, for 198.51.100.1: it is disabled' explain 198.51.100.1
check "explain: one that names ports" json '.match.destination == "web" and .syn.outcome == "stripped" and
	([.others[] | select(.destination == "watched") | .why_not] | length) == 1' explain 198.51.100.2:443
check "explain: without the port" json '.match.destination == "watched" and .syn.outcome == "observed" and
	([.others[] | select(.destination == "web") | .why_not] == ["ports"])' explain 198.51.100.2
check "explain: from a client that it names" json '.match.destination == "some"' explain 198.51.100.3:80 from 10.99.1.9
check "explain: from another" json '.match.destination == "watched" and
	([.others[] | select(.destination == "some") | .why_not] == ["sources"])' explain 198.51.100.3:80 from 10.99.1.8
check "explain: IPv6" json '.match.destination == "bank" and .syn.server_has_timestamps' explain "[$(server_addr 6 1)]:80"
check "explain: nobody's" json '.match.destination == "default" and .syn.outcome == "passes"' explain 192.0.2.1:80
check "explain: no address" refused 'usage: pawsctl explain' explain example.org
check "explain: two families" refused 'different families' explain 192.0.2.1 from fd99::1

check "clock" json '.tsval > 0 and .lead_ms <= .max_lead_ms and .servers_with_timestamps >= 2' clock
check "clock, in words" says '^shared clock: +TSval [0-9]+, 1 kHz' clock
check "a request that is none" refused 'unknown request|unknown command' dance
for pid in "${CROWDS[@]}"; do
	kill -TERM "$pid"
	check "no transfer is broken by all that" finish "$pid"
done
check "pawsd stops" pawsd_stop
tap_done
