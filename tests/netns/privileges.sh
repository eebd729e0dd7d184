#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the two processes may do, and what they may not: the one in the path of packets opens no file, executes nothing and has
# CAP_NET_ADMIN alone; the helper changes rules. Started by root, with a user of its own, and as the unit file starts it,
# by somebody who is not root. What an intruder would try is tried, by ptrace, in a running pawsd.
set -euo pipefail
unset PAWSD_FASTPATH # which has its part here
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq setpriv:util-linux systemd-analyze:systemd pgrep:procps
pawsd_require

NONE=0000000000000000
NET_ADMIN=0000000000001000 # 1 << 12
NET_ADMIN_RAW=0000000000003000
NET_ADMIN_RAW_DAC=0000000000003002
NET_ADMIN_RAW_BPF=000000c000003000 # and CAP_PERFMON, CAP_BPF
REFUSED="open openat openat2 creat unlink memfd execve execveat fork clone clone3 kill ptrace inet inet6 packet vsock
	socketpair connect code io_uring bpf mount setuid unshare"
OWN_PROGRAM=$PAWSD

# config [LINE-OF-[daemon]...]
config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		[destination stripped]
		prefixes = $(server_addr 4 2)
		mode = strip
	EOT
	for line in "$@"; do sed -i "s/^\[daemon\]/&\n$line/" "$WORK/pawsd.conf"; done
}

connect() { load --from "$(clients "$1")" --to "$(endpoint "$1" 1 80)" --count 20; }

helper_pid() { pgrep -P "$PAWSD_PID" -x pawsd-helper; }

# status_is PID FIELD VALUE: in /proc/PID/status, of every thread.
status_is() {
	local values
	values=$(cat /proc/"$1"/task/*/status | awk -v field="$2:" '$1 == field {$1 = ""; print}' | sort -u | xargs)
	echo "$2: $values, wanted: $3"
	[ "$values" = "$3" ]
}

# all_refused THREAD: each with EPERM, as the filter says it.
all_refused() {
	# shellcheck disable=SC2086 # a list of words
	"$TOOLS/intrude" "$1" $REFUSED >"$WORK/intruded" || return
	cat "$WORK/intruded"
	[ "$(wc -l <"$WORK/intruded")" = "$(wc -w <<<"$REFUSED")" ] && ! grep -qv ' EPERM$' "$WORK/intruded"
}

# allowed THREAD ATTEMPT...
allowed() {
	"$TOOLS/intrude" "$@" >"$WORK/intruded" || return
	cat "$WORK/intruded"
	[ "$(grep -c ' allowed$' "$WORK/intruded")" = $(($# - 1)) ]
}

# works NAME: connections are rewritten, a reload takes effect, and a stop takes all away.
works() {
	local family reloads
	HELPER=$(helper_pid)
	for family in 4 6; do check "$1: IPv$family connects" connect $family; done
	check "$1: rewritten" [ "$(counted all syn_rewritten)" -ge 40 ]
	check "$1: the kernel's figures of the queues are there" \
		[ "$(pawsctl stats --json | jq '[.queues[].queued] | add >= 80')" = true ]
	reloads=$(metric config_reloads_total)
	sed -i 's/^mode = strip/mode = observe/' "$WORK/pawsd.conf"
	kill -HUP "$PAWSD_PID"
	check "$1: a reload" wait_until 10 metric_is config_reloads_total $((reloads + 1))
	check "$1: connects after it" connect 4
	check "$1: the clock is saved" wait_until 10 test -e "$WORK/state/clock"
	check "$1: it stops" pawsd_stop
	check "$1: neither rules nor files stay behind" nothing_left
	check "$1: nor a helper" process_gone "$HELPER"
}

nothing_left() {
	ls "$WORK/run"
	! xt "$GW" 4 -t mangle -S | grep PAWSD && [ ! -e "$WORK/run/control.sock" ] && [ ! -e "$WORK/run/flows.0" ]
}

# ---- started by root -------------------------------------------------------------------------

by_root() {
	local helper
	config
	pawsd_up "$WORK/pawsd.conf"
	helper=$(helper_pid)
	check "by root: CAP_NET_ADMIN alone" status_is "$PAWSD_PID" CapPrm $NET_ADMIN
	check "by root: in effect, too" status_is "$PAWSD_PID" CapEff $NET_ADMIN
	check "by root: nothing to be gained" status_is "$PAWSD_PID" CapBnd $NONE
	check "by root: no new privileges" status_is "$PAWSD_PID" NoNewPrivs 1
	check "by root: system calls are filtered, in each thread" status_is "$PAWSD_PID" Seccomp 2
	check "by root: it says so" metric_is confined 1
	check "helper: CAP_NET_ADMIN, _RAW and _DAC_OVERRIDE" status_is "$helper" CapPrm $NET_ADMIN_RAW_DAC
	check "helper: nor will a command have more" status_is "$helper" CapBnd $NET_ADMIN_RAW_DAC
	check "helper: no new privileges" status_is "$helper" NoNewPrivs 1
	check "helper: nothing is open but standard streams and the socket to pawsd" [ "$(find "/proc/$helper/fd" -type l | wc -l)" = 5 ]
	check "an intruder in the main thread is refused all" all_refused "$PAWSD_PID"
	check "an intruder in a worker is refused all" all_refused "$(worker_thread)"
	check "what it needs is allowed" allowed "$PAWSD_PID" unix netlink memory
	works "by root"
	config "confine = no"
	pawsd_up "$WORK/pawsd.conf"
	check "confine = no: an intruder opens files and sockets" allowed "$PAWSD_PID" open openat inet memfd
	check "confine = no: it says so" metric_is confined 0
	check "confine = no: and in the log" grep -q 'confine = no: this process may use all system calls' "$WORK/pawsd.log"
	check "confine = no: it stops" pawsd_stop
}

worker_thread() { grep -l '^worker/0$' /proc/"$PAWSD_PID"/task/*/comm | cut -d/ -f5; }

# program COMMAND: by which pawsd is started, where it can be reached by, and can reach, whoever is not root.
program() {
	install -m 755 "$OWN_PROGRAM" "$WORK/pawsd"
	cat >"$WORK/start-pawsd" <<-EOT
		#!/bin/sh
		until [ -S "$WORK/notify" ]; do sleep 0.01; done
		chmod 666 "$WORK/notify"
		exec $(xargs <<<"$1") "$WORK/pawsd" "\$@"
	EOT
	chmod 755 "$WORK" "$WORK/start-pawsd"
	rm -f "$WORK/notify"
	PAWSD=$WORK/start-pawsd
}

# ---- with a user of its own ------------------------------------------------------------------

with_user() {
	program "" # as it is
	config "user = nobody"
	pawsd_up "$WORK/pawsd.conf"
	check "user = nobody: it is" status_is "$PAWSD_PID" Uid "65534 65534 65534 65534"
	check "user = nobody: and in no other group" status_is "$PAWSD_PID" Groups ""
	check "user = nobody: CAP_NET_ADMIN alone" status_is "$PAWSD_PID" CapPrm $NET_ADMIN
	check "user = nobody: the helper is root's" status_is "$(helper_pid)" Uid "0 0 0 0"
	works "user = nobody"
	PAWSD=$OWN_PROGRAM
	config "user = nosuchuser"
	check "user = nosuchuser: refused" fails pawsd_start "$WORK/pawsd.conf"
	check "user = nosuchuser: with what is allowed" \
		grep -q 'user = nosuchuser: no such user; allowed: a user of this system' "$WORK/pawsd.log"
}

# ---- as the unit starts it -------------------------------------------------------------------

# What User=, SupplementaryGroups=, the sets of capabilities and NoNewPrivileges= of the unit do; and SystemCallFilter=, see below.
UNIT_RIGHTS="setpriv --reuid 65534 --regid 65534 --groups 0 --bounding-set -all,+net_admin,+net_raw
	--inh-caps -all,+net_admin,+net_raw --ambient-caps -all,+net_admin,+net_raw --no-new-privs"

# expand CALL-OR-@GROUP...: the system calls, a line each.
expand() {
	local word
	for word; do
		# shellcheck disable=SC2046 # a list of words
		case $word in
		@*) expand $(systemd-analyze syscall-filter "$word" | sed -n '/^    #/d; s/^    //p') ;;
		*) echo "$word" ;;
		esac
	done
}

# unit_calls FILE...: what SystemCallFilter= of the unit leaves, in the order of its lines: they add, or with ~ take away.
unit_calls() {
	local words
	expand @default >"$WORK/calls"
	while read -r words; do
		# shellcheck disable=SC2086 # a list of words
		expand ${words#"~"} >"$WORK/these"
		case $words in
		"~"*) grep -vxFf "$WORK/these" "$WORK/calls" >"$WORK/left" && mv "$WORK/left" "$WORK/calls" ;;
		*) cat "$WORK/these" >>"$WORK/calls" ;;
		esac
	done < <(sed -s -n 's/^SystemCallFilter=//p' "$@")
	grep -qx mmap "$WORK/calls" && ! grep -qx 'setuid\|sched_setaffinity' "$WORK/calls"
}

as_unit() {
	check "as the unit: its system calls" unit_calls "$BUILD_DIR/systemd/pawsd.service"
	check "as the unit: neither capset nor bpf" fails grep -x 'capset\|bpf' "$WORK/calls"
	program "$UNIT_RIGHTS $TOOLS/filtered $WORK/calls"
	rm -rf "$WORK/run" "$WORK/state"
	install -d -o 65534 -g 65534 "$WORK/run" "$WORK/state"
	config
	pawsd_up "$WORK/pawsd.conf"
	check "as the unit: the helper has CAP_NET_ADMIN and _RAW" status_is "$(helper_pid)" CapPrm $NET_ADMIN_RAW
	check "as the unit: CAP_NET_ADMIN alone" status_is "$PAWSD_PID" CapPrm $NET_ADMIN
	check "as the unit: nothing for what is executed" status_is "$PAWSD_PID" CapAmb $NONE
	check "as the unit: not root" status_is "$PAWSD_PID" Uid "65534 65534 65534 65534"
	check "as the unit: the socket is for its group" \
		[ "$(stat -c '%a %u %g' "$WORK/run/control.sock")" = "660 65534 65534" ]
	check "as the unit: confined" metric_is confined 1
	check "as the unit: an intruder is refused all" all_refused "$PAWSD_PID"
	works "as the unit"
	PAWSD=$OWN_PROGRAM
	rm -rf "$WORK/run" "$WORK/state"
}

# With fastpath.conf beside the unit; and then where the configuration does not want it after all.
as_unit_fast() {
	local name="as the unit, with fastpath.conf"
	"$OWN_PROGRAM" --version | grep -q '^fast path: built in' || { tap_skip "$name" "pawsd was built without"; return; }
	check "$name: its system calls" unit_calls "$BUILD_DIR/systemd/pawsd.service" "$REPO/systemd/fastpath.conf"
	mkdir "$WORK/bpf"
	cat >"$WORK/with-bpf" <<-EOT
		#!/bin/sh
		exec unshare -m sh -c 'mount -t bpf -o mode=755 none $WORK/bpf && install -d -m 700 -o 65534 -g 65534 $WORK/bpf/pawsd && exec "\$@"' sh "\$@"
	EOT
	chmod 755 "$WORK/with-bpf"
	program "$WORK/with-bpf ${UNIT_RIGHTS//,+net_raw/,+net_raw,+bpf,+perfmon} $TOOLS/filtered $WORK/calls"
	install -d -o 65534 -g 65534 "$WORK/run" "$WORK/state"
	PAWSD_FASTPATH=yes PAWSD_BPF=$WORK/bpf config
	pawsd_up "$WORK/pawsd.conf"
	check "$name: there is a fast path" metric_is fastpath_interfaces 1
	check "$name: the helper has CAP_BPF and CAP_PERFMON, too" status_is "$(helper_pid)" CapPrm $NET_ADMIN_RAW_BPF
	check "$name: but not for commands" status_is "$(helper_pid)" CapAmb $NET_ADMIN_RAW
	check "$name: CAP_NET_ADMIN alone" status_is "$PAWSD_PID" CapPrm $NET_ADMIN
	check "$name: confined" metric_is confined 1
	check "$name: an intruder is refused all" all_refused "$PAWSD_PID"
	for family in 4 6; do check "$name: IPv$family connects" connect $family; done
	check "$name: rewritten" [ "$(counted all syn_rewritten)" = 40 ]
	check "$name: by the kernel" [ "$(metric fastpath_packets_total)" -gt 200 ]
	check "$name: it stops" pawsd_stop
	check "$name: neither rules nor files stay behind" nothing_left
	PAWSD_FASTPATH='' config
	pawsd_up "$WORK/pawsd.conf"
	check "$name, not configured: the helper has given up what it would need" status_is "$(helper_pid)" CapPrm $NET_ADMIN_RAW
	check "$name, not configured: without complaint" fails grep -q capabilities "$WORK/pawsd.log"
	check "$name, not configured: it stops" pawsd_stop
	PAWSD=$OWN_PROGRAM
	rm -rf "$WORK/run" "$WORK/state"
}

exposure() { systemd-analyze security --offline=true --no-pager "$1" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p'; }

exposures() {
	local unit level
	for unit in pawsd:1.5 pawsd-exporter:1.3; do
		level=$(exposure "$BUILD_DIR/systemd/${unit%:*}.service")
		check "${unit%:*}.service: exposure $level, at most ${unit#*:}" \
			awk -v level="${level:-10}" -v most="${unit#*:}" 'BEGIN {exit !(level <= most)}'
	done
	mkdir -p "$WORK/exposed"
	cat "$BUILD_DIR/systemd/pawsd.service" "$REPO/systemd/fastpath.conf" >"$WORK/exposed/pawsd.service"
	level=$(exposure "$WORK/exposed/pawsd.service")
	check "pawsd.service with fastpath.conf: exposure $level, at most 1.6" \
		awk -v level="${level:-10}" 'BEGIN {exit !(level <= 1.6)}'
}

# ---- without the helper ----------------------------------------------------------------------

without_helper() {
	local helper
	config
	pawsd_up "$WORK/pawsd.conf"
	helper=$(helper_pid)
	check "helper: it is up" metric_is helper_up 1
	kill -TERM "$helper"
	check "helper: SIGTERM to all of a group is not for it" metric_is rules_installed 1
	kill -KILL "$helper"
	wait_until 5 process_gone "$helper"
	kill -HUP "$PAWSD_PID"
	check "helper killed: a reload is refused" wait_until 5 metric_is config_reloads_refused_total 1
	check "helper killed: it says why" [ "$(pawsctl status --json | jq -r '.info.last_reload' | grep -c 'start pawsd again')" = 1 ]
	check "helper killed: it says so once" [ "$(grep -c 'the process that changes rules is no more: packets' "$WORK/pawsd.log")" = 1 ]
	check "helper killed: a figure says so" metric_is helper_up 0
	for family in 4 6; do check "helper killed: IPv$family connects" connect $family; done
	check "helper killed: rewritten" [ "$(counted all syn_rewritten)" -ge 40 ]
	check "helper killed: it stops all the same" pawsd_stop
	pawsd_up "$WORK/pawsd.conf"
	check "helper killed: the next one connects" connect 4
	helper=$(helper_pid)
	kill -KILL "$PAWSD_PID"
	check "pawsd killed: the helper ends with it" wait_until 5 process_gone "$helper"
	wait "$PAWSD_PID" 2>/dev/null || true
	pawsd_up "$WORK/pawsd.conf"
	check "pawsd killed: the next one stops" pawsd_stop
	check "pawsd killed: nothing is left" nothing_left
}

# asking COUNT: so many are connected to the control socket.
asking() { [ "$(ss -Hxn state connected src "$WORK/run/control.sock" | wc -l)" = "$1" ]; }

helper_is_busy() { pawsctl status --json | jq -e '.metrics.helper_busy_seconds > 0' >/dev/null; }

# Commands of other programs take as long as they take. Meanwhile pawsd can be asked, and its watchdog is fed.
helper_at_work() {
	local helper drain
	config
	pawsd_up "$WORK/pawsd.conf"
	helper=$(helper_pid)
	kill -STOP "$helper"
	kill -HUP "$PAWSD_PID"
	check "helper at work: it says so" wait_until 5 helper_is_busy
	check "helper at work: all is told" [ "$(timeout 4 "$PAWSCTL" -s "$WORK/run/control.sock" stats --json | jq .metrics.config_reloads_total)" = 0 ]
	check "helper at work: packets go on" connect 4
	pawsctl drain --no-wait >"$WORK/drain" 2>&1 &
	drain=$!
	check "helper at work: who drains is heard" wait_until 4 asking 1
	check "helper at work: nothing is changed meanwhile" metric_is draining 0
	kill -CONT "$helper"
	check "helper back: it drains" wait "$drain"
	check "helper back: it has loaded" wait_until 5 metric_is config_reloads_total 1
	check "helper back: it says so" wait_until 5 fails helper_is_busy
	check "helper back: it stops" pawsd_stop
}

! is_sanitized || tap_skip_all "built with a sanitizer, which needs more system calls"
[ "$(uname -m)" = x86_64 ] || tap_skip_all "the intruder is for x86-64"
net_up
serve "$(endpoint 4 1 80)" "$(endpoint 6 1 80)" "$(endpoint 4 2 80)"
by_root
with_user
as_unit
as_unit_fast
without_helper
helper_at_work
exposures
tap_done
