#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# 100 reloads, the configuration changing each time, while transfers and connect loops run over
# IPv4 and IPv6: no connect fails, no flow stalls. A bad file is refused and the old policy stays.
# From rewrite to off during a transfer: the running flow keeps its offset and its content.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq
pawsd_require
RELOADS=100

# config NAME: writes $WORK/NAME.conf with the destinations from standard input.
config() { pawsd_config "$WORK/$1.conf"; }

# reload NAME COUNTER: makes that the configuration and waits until COUNTER has gone up by one.
reload() {
	local before lines
	before=$(metric "$2") lines=$(reloads_said)
	cp "$WORK/$1.conf" "$WORK/next.conf"
	mv "$WORK/next.conf" "$WORK/pawsd.conf"
	kill -HUP "$PAWSD_PID"
	wait_until 10 has_said_more "$lines"
	wait_until 10 metric_is "$2" $((before + 1))
}

# Who asks pawsctl all the while takes the helper's processor time.
reloads_said() { grep -c 'reloaded\|reload refused' "$WORK/pawsd.log" || true; }
has_said_more() { [ "$(reloads_said)" -gt "$1" ]; }

reload_many() {
	local i
	for ((i = 0; i < RELOADS; i += 2)); do
		reload b config_reloads_total && reload a config_reloads_total || return 1
	done
}

# start_transfer NAME FAMILY ARGUMENTS...: its pid is in STARTED, it has moved content.
start_transfer() {
	local name=$1 family=$2
	shift 2
	rm -f "$WORK/$name.started"
	start "$CL" "$TOOLS/tcpbulk" --to "$(endpoint "$family" 1 80)" --up 100000 --down 100000 --loop --gap-ms 5 \
		--started "$WORK/$name.started" "$@" >"$WORK/$name.out"
	wait_until 10 test -e "$WORK/$name.started"
}

# judge_transfer NAME PID: it ends well, and at no time stood still for a second.
judge_transfer() {
	local line
	check "$1: content is intact to the end" finish "$2"
	line=$(cat "$WORK/$1.out")
	diag "$line"
	check "$1: was never still for a second" [ "$(value_of stall_ms "$line" | cut -d. -f1)" -lt 1000 ]
}

start_loop() {
	start "$CL" "$TOOLS/tcpload" --loop --from "$(clients "$1")" --to "$(endpoint "$1" 1 80-83)" --concurrency 2 \
		--gap-ms 3 --log "$WORK/loop.$1.log" >"$WORK/loop.$1.out"
}

judge_loop() {
	local line
	finish "$2" || true
	line=$(cat "$WORK/loop.$1.out")
	diag "$line"
	check "IPv$1 connect loop: no connect failed" [ "$(value_of ok "$line")" = "$(value_of attempts "$line")" ]
	check "IPv$1 connect loop: all with their first SYN" [ "$(value_of second_syn "$line")" = 0 ]
	check "IPv$1 connect loop: enough of them" [ "$(value_of attempts "$line")" -ge $RELOADS ]
}

syns_rewritten() { counted "" syn_rewritten; }

net_up
for family in 4 6; do serve "$(endpoint $family 1 80-83)"; done
config a <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = rewrite
EOT
config b <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = rewrite
	synack_tsecr = zero
	[destination web]
	prefixes = $(server_addr 4 1), $(server_addr 6 1)
	ports = 80-81, 443
	mode = rewrite
	[destination other]
	prefixes = 192.0.2.0/24
	mode = strip
EOT
config bad <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24
	mode = off
	ports = 80-70000
EOT
config off <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = off
EOT
cp "$WORK/a.conf" "$WORK/pawsd.conf"
pawsd_up "$WORK/pawsd.conf"

start_transfer transfer4 4 && transfer4=$STARTED
start_transfer transfer6 6 && transfer6=$STARTED
start_loop 4 && loop4=$STARTED
start_loop 6 && loop6=$STARTED
begin=$SECONDS
check "$RELOADS reloads took effect" reload_many
diag "they took $((SECONDS - begin)) s"
check "none was refused" metric_is config_reloads_refused_total 0
judge_loop 4 "$loop4"
judge_loop 6 "$loop6"

check "a bad file is refused" reload bad config_reloads_refused_total
check "it is not counted as a reload" metric_is config_reloads_total $RELOADS
check "the log says where and why" grep -q 'pawsd.conf:[0-9]*: .*ports.*70000' "$WORK/pawsd.log"
before=$(syns_rewritten)
check "connects still work" load --from "$CLIENTS_4" --to "$(endpoint 4 1 80)" --count 10
check "and the old policy rewrites them" [ "$(syns_rewritten)" = $((before + 10)) ]

check "from rewrite to off" reload off config_reloads_total
before=$(syns_rewritten) moved=$(counted "" out_rewritten)
check "connects work" load --from "$CLIENTS_4" --to "$(endpoint 4 1 81)" --count 10
check "and are not rewritten" [ "$(syns_rewritten)" = "$before" ]
is_moving() { [ "$(counted "" out_rewritten)" -gt $((moved + 100)) ]; }
check "the running flows are, still" wait_until 10 is_moving
judge_transfer transfer4 "$transfer4"
judge_transfer transfer6 "$transfer6"

# The transfers do notice when nobody handles their packets; with the fast path the kernel does, more rounds than an idle time has.
octets_sent() { in_ns "$CL" awk '{ octets += $10 } END { print octets }' /proc/net/dev; }
has_sent_more() { [ "$(octets_sent)" -gt $((sent + 300 * 100000)) ]; }
check "back to rewrite" reload a config_reloads_total
start_transfer still 4 --idle-ms 1200 && still=$STARTED
kill -STOP "$PAWSD_PID"
if [ -n "${PAWSD_FASTPATH:-}" ]; then
	sent=$(octets_sent)
	check "a pawsd that stands still is not seen" wait_until 20 has_sent_more
	check "by the transfer either" finish "$still"
else
	check "a pawsd that stands still would have been seen" fails wait "$still"
fi
kill -CONT "$PAWSD_PID"
diag "$(cat "$WORK/still.out")"
check "pawsd stops" pawsd_stop

# From strip to rewrite, the rules being long in coming: what is opened meanwhile must not be
# rewritten by halves, in its handshake alone.
config strip <<-EOT
	[destination all]
	prefixes = 198.51.100.0/24, 2001:db8:100::/64
	mode = strip
EOT
mkdir "$WORK/slow"
printf '#!/bin/sh\nsleep 0.5\nexec %s "$@"\n' "$(command -v ipset)" >"$WORK/slow/ipset"
chmod 755 "$WORK/slow/ipset"
cp "$WORK/strip.conf" "$WORK/pawsd.conf"
PATH="$WORK/slow:$PATH" pawsd_up "$WORK/pawsd.conf"
start_loop 4 && loop4=$STARTED
strips_many() { [ "$(counted all syn_stripped)" -gt 50 ]; }
check "strip at first" wait_until 10 strips_many
check "from strip to rewrite" reload a config_reloads_total
check "connects were left alone meanwhile" [ "$(counted all syn_policy_off)" -gt 10 ]
rewrites_many() { [ "$(counted all out_rewritten)" -gt 100 ]; }
check "then they are rewritten" wait_until 10 rewrites_many
# A second SYN may be needed here: without timestamps nothing saves a public port from TIME_WAIT.
finish "$loop4" || true
line=$(cat "$WORK/loop.4.out")
diag "$line"
check "no connect failed" [ "$(value_of ok "$line")" = "$(value_of attempts "$line")" ]
check "pawsd stops" pawsd_stop
tap_done
