#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pawsctl drain: no new connection is rewritten, those that are go on, it tells when the last has ended, and then pawsd can
# be stopped without anybody noticing. It holds over a crash, can be taken back, and is for those who may.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq setpriv:util-linux
pawsd_require

READERS=daemon ADMINS=bin # groups of every Debian system

config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		[destination stripped]
		prefixes = $(server_addr 4 2)
		mode = strip
	EOT
	sed -i "s/^\[control\]/&\ngroup = $READERS\nadmin_group = $1/" "$WORK/pawsd.conf"
	chmod 755 "$WORK" "$WORK/run" 2>/dev/null || true
}

transfer_start() {
	rm -f "$WORK/started"
	start "$CL" "$TOOLS/tcpbulk" --to "$(endpoint 4 1 80)" --up 100000 --down 100000 --loop --gap-ms 20 \
		--started "$WORK/started" >"$WORK/bulk"
	TRANSFER=$STARTED
	wait_until 10 test -e "$WORK/started"
}

more_rewritten() { [ "$(counted all out_rewritten)" -gt "$1" ]; }
goes_on() { wait_until 5 more_rewritten "$(counted all out_rewritten)"; }

connect() { load --from "$(clients "$1")" --to "$(endpoint "$1" "$2" 80)" --count "$3"; }

# as GROUPS COMMAND...: pawsctl as a user who is in these groups alone.
as() {
	local groups=$1
	shift
	setpriv --reuid 65534 --regid 65534 --groups "$groups" "$PAWSCTL" -s "$WORK/run/control.sock" "$@"
}

gid() { getent group "$1" | cut -d: -f3; }

# says PATTERN COMMAND...: it fails, with such words.
says() {
	local pattern=$1
	shift
	if "$@" >"$WORK/said" 2>&1; then
		echo "it succeeded: $(cat "$WORK/said")"
		return 1
	fi
	cat "$WORK/said"
	grep -q "$pattern" "$WORK/said"
}

pawsd_kill() {
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
}

drain_begins() { pawsctl drain --no-wait | tee "$WORK/said" && grep -q '^1 rewritten connections go on' "$WORK/said"; }

wait_for_drain() {
	local status=0
	wait "$DRAIN" || status=$?
	cat "$WORK/drain"
	return $status
}

drain_ends() { wait "$DRAIN" && cat "$WORK/drain" && grep -q '^drained: pawsd can be stopped' "$WORK/drain"; }

net_up
for family in 4 6; do serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)"; done
config $ADMINS
pawsd_up "$WORK/pawsd.conf"
chmod 755 "$WORK" "$WORK/run"

check "who is in no group may not ask" says 'Permission denied' as "$(gid nogroup)" status
check "who is in the group may ask" as "$(gid $READERS)" status
check "but not drain" says 'not permitted; allowed: root, and members of \[control\] admin_group' as "$(gid $READERS)" drain
check "nor resume" says 'not permitted' as "$(gid $READERS)" resume
check "nor reload" says 'not permitted' as "$(gid $READERS)" reload
check "nor set" says 'not permitted' as "$(gid $READERS)" set default mode rewrite
check "nothing has come of it" metric_is draining 0
check "who is in the admin group, too, may drain" as "$(gid $READERS),$(gid $ADMINS)" drain
check "with nothing to wait for it is drained at once" metric_is draining_flows 0
check "and resume" as "$(gid $READERS),$(gid $ADMINS)" resume
check "an unknown command is refused" says 'unknown command "flush"' pawsctl flush

transfer_start
check "a drain tells of one connection that goes on" drain_begins
check "that is said by status" grep -q '^draining .* 1 go on' <<<"$(pawsctl status)"
check "and by metrics" metric_is draining 1
for family in 4 6; do check "IPv$family: new connections succeed" connect $family 1 5; done
check "they pass" [ "$(counted all syn_draining)" = 10 ]
check "none was rewritten but the one from before" [ "$(counted all syn_rewritten)" = 1 ]
check "what is stripped is stripped still" connect 4 2 3
check "and counted as that" [ "$(counted stripped syn_stripped)" = 3 ]
check "the connection from before goes on, rewritten" goes_on
kill -HUP "$PAWSD_PID"
wait_until 10 metric_is config_reloads_total 1
check "it drains after a reload" metric_is draining 1
connect 4 1 1 >/dev/null
check "and new connections pass" [ "$(counted all syn_draining)" = 11 ]
pawsd_kill
pawsd_up "$WORK/pawsd.conf"
check "it drains after a crash" metric_is draining 1
check "and says so" grep -q 'draining, as before this start' "$WORK/pawsd.log"
check "one connection goes on" wait_until 5 metric_is draining_flows 1
check "rewritten" goes_on
DRAINED=$(counted all syn_draining) # with the fast path packets are counted on
connect 4 1 1 >/dev/null
check "new ones pass" [ "$(counted all syn_draining)" = $((DRAINED + 1)) ]

pawsctl drain >"$WORK/drain" 2>&1 &
DRAIN=$!
STARTED_PIDS+=("$DRAIN")
wait_until 5 grep -q '^1 rewritten' "$WORK/drain"
check "the transfer's content is intact to the end" finish "$TRANSFER"
check "pawsctl drain ends with it" drain_ends

check "resumed" pawsctl resume
check "it does not drain" metric_is draining 0
REWRITTEN=$(counted all syn_rewritten)
connect 4 1 3 >/dev/null
check "new connections are rewritten" [ "$(counted all syn_rewritten)" = $((REWRITTEN + 3)) ]

transfer_start
pawsctl drain >"$WORK/drain" 2>&1 &
DRAIN=$!
STARTED_PIDS+=("$DRAIN")
wait_until 5 grep -q 'go on' "$WORK/drain"
pawsctl resume >/dev/null
check "who waits for a drain that was taken back hears of it" says 'somebody has resumed' wait_for_drain
finish "$TRANSFER" >/dev/null
pawsctl drain --no-wait >/dev/null
check "pawsd stops" pawsd_stop
pawsd_up "$WORK/pawsd.conf"
check "a stop that removes the rules ends a drain" metric_is draining 0
check "pawsd stops" pawsd_stop
config no-such-group
check "an admin_group that there is not is refused" says '\[control\] admin_group = no-such-group: no such group' \
	in_ns "$GW" "$PAWSD" -c "$WORK/pawsd.conf"
tap_done
