#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# After a run the packets counted by pawsctl stats, on /metrics, and by the kernel when it queued
# them (id_sequence in /proc/net/netfilter/nfnetlink_queue) are the same number, with two workers
# and destinations of every mode.
set -euo pipefail
unset PAWSD_FASTPATH # it needs one worker: with two of them it is missing, which is worth an alert
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require curl:curl jq:jq
pawsd_require
EXPORTER=$BUILD_DIR/pawsd-exporter

traffic() {
	local family server
	for family in 4 6; do
		for server in 1 2 3 4; do
			load --from "$(clients $family)" --to "$(endpoint $family $server 80)" --count 50 || return 1
		done
		in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family 1 80)" --up 5000000 --down 5000000 || return 1
	done
}

metrics() { in_ns "$GW" curl -sf --max-time 5 http://127.0.0.1:9473/metrics; }

# "destination reason count" of each counter, sorted.
by_pawsctl() {
	pawsctl stats --json | jq -r '.destinations[] | .name as $d | .packets | to_entries[] | "\($d) \(.key) \(.value)"' |
		sort
}

by_exporter() {
	metrics | sed -n 's/^pawsd_packets_total{destination="\([^"]*\)",reason="\([^"]*\)"} \([0-9]*\)$/\1 \2 \3/p' | sort
}

sum() { awk '{n += $3} END {print n + 0}'; }

by_kernel() { in_ns "$GW" awk '{n += $8} END {print n + 0}' /proc/net/netfilter/nfnetlink_queue; }

kernel_queues() { in_ns "$GW" awk '{print $1, $8}' /proc/net/netfilter/nfnetlink_queue | sort; }

queues_by_pawsctl() { pawsctl stats --json | jq -r '.queues[] | "\(.queue) \(.queued)"' | sort; }

queues_by_exporter() {
	metrics | sed -n 's/^pawsd_queue_packets_total{queue="\([0-9]*\)",.*} \([0-9]*\)$/\1 \2/p' | sort
}

# Connections end a moment after the client has read the server's FIN: until nothing moves.
is_quiet() {
	local before after
	before=$(by_kernel)
	sleep 0.2
	after=$(by_kernel)
	[ "$before" = "$after" ] && [ "$(packets_counted)" = "$after" ]
}

net_up
for family in 4 6; do
	for server in 1 2 3 4; do serve "$(endpoint $family $server 80)"; done
done
PAWSD_WORKERS=2
pawsd_config "$WORK/pawsd.conf" <<-EOT
	[destination rewrite]
	prefixes = $(server_addr 4 1), $(server_addr 6 1)
	mode = rewrite
	[destination strip]
	prefixes = $(server_addr 4 2), $(server_addr 6 2)
	mode = strip
	[destination observe]
	prefixes = $(server_addr 4 3), $(server_addr 6 3)
	mode = observe
	[destination off]
	prefixes = $(server_addr 4 4), $(server_addr 6 4)
	mode = off
EOT
pawsd_up "$WORK/pawsd.conf"
start "$GW" "$EXPORTER" --socket "$WORK/run/control.sock" >"$WORK/exporter.log" 2>&1
EXPORTER_PID=$STARTED
check "the exporter serves 127.0.0.1:9473" wait_until 10 metrics
check "before any traffic all is 0" [ "$(by_kernel) $(by_pawsctl | sum) $(by_exporter | sum)" = "0 0 0" ]
check "traffic" traffic
check "the counts come to rest" wait_until 10 is_quiet
kernel=$(by_kernel) pawsctl=$(by_pawsctl) exporter=$(by_exporter)
check "kernel $kernel, pawsctl $(sum <<<"$pawsctl"), exporter $(sum <<<"$exporter"): the same" \
	[ "$kernel $kernel" = "$(sum <<<"$pawsctl") $(sum <<<"$exporter")" ]
check "there were enough of them" [ "$kernel" -gt 2000 ]
check "every single counter of pawsctl and exporter is the same" [ "$pawsctl" = "$exporter" ]
check "each queue: kernel and pawsctl" [ "$(kernel_queues)" = "$(queues_by_pawsctl)" ]
check "each queue: kernel and exporter" [ "$(kernel_queues)" = "$(queues_by_exporter)" ]
check "both workers had packets" [ "$(kernel_queues | awk '$2 > 0' | wc -l)" -ge 3 ]
check "100 connections of mode strip: 200 handshake packets" \
	[ "$(counted strip syn_stripped syn_no_timestamps synack_no_timestamps synack_stripped)" = 200 ]
check "100 of mode observe: 200" [ "$(counted observe syn_observed synack_observed)" = 200 ]
check "of mode off none came to user space" [ "$(grep -c '^off .* [1-9]' <<<"$pawsctl" || true)" = 0 ]
if command -v promtool >/dev/null; then
	metrics >"$WORK/metrics"
	check "promtool finds nothing wrong" promtool check metrics <"$WORK/metrics"
	check "nor would an alert" "$(dirname "$0")/../prometheus/run" "$BUILD_DIR" healthy "$WORK/metrics"
else
	tap_skip "promtool finds nothing wrong" "no promtool (package prometheus)"
	tap_skip "nor would an alert" "no promtool (package prometheus)"
fi

# The comparison can fail: figures from before more traffic do not agree.
check "one more connection" load --to "$(endpoint 4 1 80)"
wait_until 10 is_quiet
check "and the old figures are no longer right" [ "$(by_kernel)" -gt "$kernel" ]
check "pawsd stops" pawsd_stop
check "the exporter says that pawsd is down" [ "$(metrics | grep '^pawsd_up ')" = "pawsd_up 0" ]
check "the exporter stops" finish "$EXPORTER_PID"
tap_done
