#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An upgrade, or a fault, that leaves files of another layout: of an older or newer version, another size, cut off or
# damaged. Each is set aside with one clear line, pawsd starts, and new connections are rewritten. Where it is not the flow
# table a transfer that runs goes on, and the shared clock does too.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq
pawsd_require

# put FILE OFFSET BYTES: BYTES as printf takes them.
put() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

older() { put "$1" 4 '\001'; }
newer() { put "$1" 4 '\143'; }
of_more_workers() { put "$1" 16 '\007'; }
no_magic() { put "$1" 0 'XXXX'; }
longer() { truncate -s +4096 "$1"; }
cut_off() { truncate -s 100 "$1"; }
empty() { : >"$1"; }
newer_text() { sed -i '1s/[0-9]*$/99/' "$1"; }
damaged_text() { sed -i '2s/.*/tick/' "$1"; }

connects_rewritten() {
	local before
	before=$(counted all syn_rewritten)
	load --from "$CLIENTS_4" --to "$(endpoint 4 1 80)" --count 5 && [ "$(counted all syn_rewritten)" -ge $((before + 5)) ]
}

# starts_again CONFIG: after a kill; what it says is in $WORK/said.
starts_again() {
	: >"$WORK/pawsd.log"
	pawsd_start "$WORK/$1.conf"
	cp "$WORK/pawsd.log" "$WORK/said"
}

pawsd_kill() {
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
}

# One line about it, and no other warning.
says_once() {
	cat "$WORK/said"
	[ "$(grep -c "warning: $1: .*; set aside as $1.aside, starting afresh" "$WORK/said")" = 1 ] &&
		[ "$(grep 'warning\|error' "$WORK/said" | grep -vc 'built with a sanitizer')" = 1 ]
}

# Whoever it is counted with: the names of counters are lost with "shared".
more_rewritten() { wait_until 5 has_more_rewritten "$(counted "" out_rewritten)"; }
has_more_rewritten() { [ "$(counted "" out_rewritten)" -gt "$1" ]; }

# set_aside CHANGE FILE [CONFIG]: pawsd is killed, FILE changed, and it starts again.
set_aside() {
	local name="${1//_/ } ${2#*/}" file=$WORK/$2
	rm -f "$file.aside"
	pawsd_kill
	"$1" "$file"
	check "$name: pawsd starts" starts_again "${3:-good}"
	check "$name: set aside, which is said once" says_once "$file"
	check "$name: it can be looked at" test -e "$file.aside"
	check "$name: new connections are rewritten" connects_rewritten
}

config() {
	pawsd_config "$WORK/$1.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24
		mode = rewrite
		[flows]
		max = $2
	EOT
	sed -i 's/^\[rules\]/&\non_stop = keep/' "$WORK/$1.conf"
}

net_up
serve "$(endpoint 4 1 80)"
config good 4096
config larger 8192
pawsd_up "$WORK/good.conf"
start_background "$GW" "$TOOLS/tsvalwatch" --device wan0 --background --stats "$WORK/watch"
watch=$STARTED
start "$CL" "$TOOLS/tcpbulk" --to "$(endpoint 4 1 80)" --loop --gap-ms 20 --started "$WORK/started" >"$WORK/bulk"
transfer=$STARTED
check "a transfer runs" wait_until 10 test -e "$WORK/started"
for change in older newer no_magic longer cut_off empty; do
	set_aside $change run/shared
	check "${change//_/ } shared: the transfer goes on, rewritten" more_rewritten
done
for file in state/clock state/epoch; do
	for change in newer_text damaged_text empty; do set_aside $change $file; done
done
check "the transfer goes on, rewritten" more_rewritten
check "its content is intact" finish "$transfer"
diag "$(cat "$WORK/bulk")"
kill -TERM "$watch"
wait_until 5 process_gone "$watch"
check "all that has left had the TSvals of one clock" grep -q 'seen=[1-9][0-9]* off=0 lost=0' "$WORK/watch"
diag "$(cat "$WORK/watch")"

# With the fast path flows are in the kernel's memory: fastpath.sh.
unchanged() { :; }
if [ -z "${PAWSD_FASTPATH:-}" ]; then
	for change in older newer of_more_workers no_magic longer cut_off empty; do set_aside $change run/flows.0; done
	set_aside unchanged run/flows.0 larger # another [flows] max
fi
check "pawsd stops" pawsd_stop
tap_done
