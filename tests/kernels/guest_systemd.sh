#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pawsd as a service of a real systemd: installed by `make install`, set up and started by the very lines of README.md,
# on a machine where nothing has loaded a module for it. guest-systemd.service runs this, as root, with systemd
# as the first process. The gateway of the topology in netns/lib.sh is the guest itself, since services run there.
#
#   set up      user, start to READY, what the processes may do, files, rules, connections
#   exporter    its own unit, and what it serves
#   reload      in force when systemctl returns; a bad configuration changes nothing
#   kill        kill -9 and restart: the queues' sockets in systemd's keeping, flows and transfers go on
#   watchdog    a process, or one worker of it, that stands still is started anew
#   stop        what is gone and what stays
#   units       exposure, and what there was to complain of
#   fast path   what the unit lacks for it, and with that: kill -9, restart, stop
#   refused     a start with errors in the configuration
set -Eeuo pipefail
trap 'echo "# guest_systemd.sh ended by line $LINENO: $BASH_COMMAND"' ERR
here=$(dirname "$0")
# shellcheck source=tests/netns/lib.sh
. "$here/../netns/lib.sh"
# shellcheck source=tests/kernels/guest_lib.sh
. "$here/guest_lib.sh"
# shellcheck source=tests/kernels/guest_placements.sh
. "$here/guest_placements.sh"
# shellcheck source=tests/kernels/guest_service.sh
. "$here/guest_service.sh"
# shellcheck source=tests/kernels/guest_fastpath.sh
. "$here/guest_fastpath.sh"

NONE=0000000000000000
NET_ADMIN=0000000000001000 # 1 << 12
NET_ADMIN_RAW=0000000000003000
WITH_BPF=000000c000003000 # and CAP_PERFMON, CAP_BPF
DROPIN=/etc/systemd/system/pawsd.service.d/fastpath.conf
README=/usr/local/share/doc/pawsd/README.md
WATCHDOG_S=3

# ---- set up ----------------------------------------------------------------------------------

sudo() { "$@"; }
export -f sudo

# The lines of README.md that follow `make install`, for this network.
readme() {
	sed -n '/^## Put it on a gateway/,/^Begin with/s/^    //p' $README | grep -v 'make install' |
		sed 's/eth0/wan0/; s/= iptables/= nft/; s,192.0.2.0/24,198.51.100.0/24,; s/2001:db8:7::/2001:db8:100::/; s,/48,/64,' \
			>"$WORK/readme"
	cat "$WORK/readme"
	[ "$(wc -l <"$WORK/readme")" -ge 10 ] && bash -euxo pipefail "$WORK/readme"
}

# more_filters PID PID: of system calls upon the first than upon the other.
more_filters() {
	local pid count=()
	for pid; do count+=("$(sed -n 's/^Seccomp_filters:.//p' "/proc/$pid/status")"); done
	echo "${count[@]}"
	[ "${count[0]}" -gt "${count[1]}" ]
}

# sees_read_only PID: its view of the file system, but for its own folders.
sees_read_only() {
	awk '{print $5, $6}' "/proc/$1/mountinfo" >"$WORK/mounts"
	cat "$WORK/mounts"
	grep -q '^/ ro' "$WORK/mounts" && grep -q '^/run/pawsd rw' "$WORK/mounts" &&
		grep -q '^/var/lib/pawsd rw' "$WORK/mounts"
}

# doctor_says REGEX...: pawsd --doctor, which finds nothing to change, has each.
doctor_says() {
	local regex
	/usr/local/sbin/pawsd --doctor >"$WORK/doctor" || { cat "$WORK/doctor"; return 1; }
	cat "$WORK/doctor"
	for regex; do grep -qE "$regex" "$WORK/doctor" || return 1; done
	! grep -E '^(warn|fail)' "$WORK/doctor"
}

set_up() {
	local pid helper user
	phase "set up"
	check "the lines of README.md bring it up" readme
	check "it is active, ready" property_is ActiveState active
	check "it is enabled" systemctl is-enabled pawsd
	pid=$(main_pid) helper=$(processes pawsd-helper) user=$(id -u pawsd)
	check "pawsd: user pawsd" status_is "$pid" Uid "$user $user $user $user"
	check "pawsd: CAP_NET_ADMIN alone" status_is "$pid" CapPrm $NET_ADMIN
	check "pawsd: in effect, too" status_is "$pid" CapEff $NET_ADMIN
	check "pawsd: nothing for what is executed" status_is "$pid" CapAmb $NONE
	check "helper: user pawsd" status_is "$helper" Uid "$user $user $user $user"
	check "helper: CAP_NET_ADMIN and _RAW" status_is "$helper" CapPrm $NET_ADMIN_RAW
	check "helper: nor will a command have more" status_is "$helper" CapBnd $NET_ADMIN_RAW
	check "pawsd: by a filter of its own, too" metric_is confined 1
	check "pawsd: on top of systemd's" more_filters "$pid" "$helper"
	for pid in "$pid" "$helper"; do
		check "$(cat "/proc/$pid/comm"): no new privileges" status_is "$pid" NoNewPrivs 1
		check "$(cat "/proc/$pid/comm"): system calls are filtered" status_is "$pid" Seccomp 2
		check "$(cat "/proc/$pid/comm"): the file system is read-only" sees_read_only "$pid"
	done
	check "control socket: for the group pawsd" is_owned /run/pawsd/control.sock 660 pawsd:pawsd
	check "runtime directory" is_owned /run/pawsd 755 pawsd:pawsd
	check "state directory" is_owned /var/lib/pawsd 700 pawsd:pawsd
	check "iptables' lock: for the group root" is_owned /run/xtables.lock 640 root:root
	check "the rules are there" grep -q 'queue flags bypass to 9470' <<<"$(rules_text)"
	check "connections are rewritten" rewrites
	check "nothing odd" nothing_odd
	check "doctor: all is well" doctor_says "^ok    runtime_dir: .* as process $(main_pid)$" "^ok    nfqueue: .* holds 2 of 2$" \
		'^ok    rules: .* by nft$' '^ok    rules_present: [0-9]+ rules of pawsd by nft' '^ok    service: .*enabled$' \
		'^ok    service: user pawsd may read'
}

# ---- exporter --------------------------------------------------------------------------------

exports() { busybox wget -q -O - http://127.0.0.1:9473/metrics | grep -x "$1"; }

exporter() {
	local pid
	phase "exporter"
	check "exporter: it starts" systemctl enable --now pawsd-exporter
	check "exporter: it serves pawsd's metrics" wait_until 10 exports "pawsd_up 1"
	pid=$(property MainPID pawsd-exporter)
	check "exporter: not root" fails status_is "$pid" Uid "0 0 0 0"
	check "exporter: no capability" status_is "$pid" CapPrm $NONE
	check "exporter: no new privileges" status_is "$pid" NoNewPrivs 1
	check "exporter: system calls are filtered" status_is "$pid" Seccomp 2
	exporter_textfile
}

# The lines of pawsd-exporter(8), EXAMPLES.
exporter_textfile() {
	local file=/run/pawsd-exporter/pawsd.prom
	mkdir -p /etc/default
	echo "PAWSD_EXPORTER_OPTIONS=--textfile $file --interval 1" >/etc/default/pawsd-exporter
	check "exporter, textfile: it starts" systemctl restart pawsd-exporter
	check "exporter, textfile: pawsd's metrics" wait_until 10 grep -qxs "pawsd_up 1" $file
	check "exporter, textfile: for everybody to read" [ "$(stat -c %a $file)" = 644 ]
	check "exporter, textfile: in a folder that everybody may enter" [ "$(stat -L -c %a /run/pawsd-exporter)" = 755 ]
	check "exporter, textfile: it stops" systemctl stop pawsd-exporter
	check "exporter, textfile: the file is gone" [ ! -e $file ]
	rm /etc/default/pawsd-exporter
	check "exporter: it serves again" systemctl start pawsd-exporter
	check "exporter: pawsd's metrics" wait_until 10 exports "pawsd_up 1"
}

# ---- reload ----------------------------------------------------------------------------------

# As soon as systemctl returns, for each of so many changes, though somebody else wants a processor.
reloads_are_in_force() {
	local i busy status=0
	while :; do :; done &
	busy=$!
	for ((i = 1; i <= $1 && status == 0; i++)); do
		printf '[destination more]\nprefixes = 192.0.2.%d\nmode = rewrite\n' "$i" | cat "$WORK/base.conf" - >$CONF
		systemctl reload pawsd || status=$?
		rules_text >"$WORK/rules"
		grep -q "192\.0\.2\.$i\>" "$WORK/rules" || { echo "reload $i was not in force"; status=1; }
	done
	kill "$busy"
	return $status
}

reload() {
	phase "reload"
	config_gateway rewrite "on_stop = keep"
	cp $CONF "$WORK/base.conf"
	check "reload: another configuration to begin with" systemctl restart pawsd
	check "reload: rules for two workers" rules_in_place forward
	check "reload: in force when systemctl returns, three times" reloads_are_in_force 3
	rules_text >"$WORK/rules.before"
	echo 'mode = nonsense' >>$CONF
	check "reload: a configuration with errors is refused" fails systemctl reload pawsd
	check "reload: the journal says why" wait_until 5 eval "journalctl -q -o cat -u pawsd | grep 'nonsense'"
	check "reload: the unit goes on" property_is ActiveState active
	check "reload: with its rules" diff "$WORK/rules.before" <(rules_text)
	check "reload: connections are rewritten" rewrites
	cp "$WORK/base.conf" $CONF
	check "reload: one without errors is taken" systemctl reload pawsd
}

# ---- kill, restart ---------------------------------------------------------------------------

again_by_kill() { kill -KILL "$(main_pid)"; }
again_by_restart() { systemctl restart pawsd; }

# go_on NAME COMMAND: transfers over an end and a start that COMMAND brings about.
go_on() {
	local before
	phase "$1"
	check "$1: transfers begin" transfers_start
	check "$1: systemd keeps the sockets of two workers" property_is NFileDescriptorStore 2
	before=$(main_pid)
	check "$1: done" "$2"
	check "$1: another process is ready" wait_until 20 is_anew "$before"
	check "$1: queues go on" wait_until 5 logged 'queues of 2 workers go on'
	check "$1: flows are known from before" wait_until 5 logged 'flows are known from before'
	check "$1: they are rewritten" wait_until 20 moves_on 0
	transfers_end "$1: transfer"
	check "$1: nothing went by" [ "$(counted "" synack_unknown midstream_out midstream_in)" = 0 ]
	check "$1: and no old process is left" [ "$(processes 'pawsd\(-helper\)\?' | wc -l)" = 2 ]
	unhurt "$1"
}

killed_by_hand() {
	local restarts
	remember
	restarts=$(property NRestarts)
	go_on "kill -9" again_by_kill
	check "kill -9: it was systemd that started it" property_is NRestarts $((restarts + 1))
	go_on "restart, on_stop = keep" again_by_restart
}

# ---- watchdog --------------------------------------------------------------------------------

worker_thread() { grep -l '^worker/1$' /proc/"$(main_pid)"/task/*/comm | cut -d/ -f5; }
stop_main() { kill -STOP "$(main_pid)"; }
hold_worker() {
	"$TOOLS/holdthread" "$(worker_thread)" &
	HOLDER=$!
}

# stands_still NAME COMMAND
stands_still() {
	local before begin
	before=$(main_pid) begin=$SECONDS
	check "watchdog: $1" "$2"
	check "watchdog: $1: another process is ready" wait_until $((4 * WATCHDOG_S)) is_anew "$before"
	diag "$1: $((SECONDS - begin)) s"
	check "watchdog: $1: the flows are known" wait_until 5 logged 'flows are known from before'
	check "watchdog: $1: connections are rewritten" rewrites
}

# A reload whose helper takes longer than the watchdog waits, as with a lock that somebody else has.
helper_is_slow() {
	local before status=0 reload
	before=$(main_pid)
	kill -STOP "$(processes pawsd-helper)"
	systemctl reload pawsd &
	reload=$!
	sleep $((2 * WATCHDOG_S))
	kill -0 $reload || status=1 # it is not over yet
	kill -CONT "$(processes pawsd-helper)"
	wait $reload || status=$?
	[ $status = 0 ] && [ "$(main_pid)" = "$before" ]
}

watchdog() {
	phase "watchdog"
	mkdir -p /etc/systemd/system/pawsd.service.d
	printf '[Service]\nWatchdogSec=%d\n' $WATCHDOG_S >/etc/systemd/system/pawsd.service.d/watchdog.conf
	systemctl daemon-reload
	check "watchdog: a shorter one" systemctl restart pawsd
	check "watchdog: known to systemd" property_is WatchdogUSec ${WATCHDOG_S}s
	check "watchdog: a reload that takes long is none of its business" helper_is_slow
	stands_still "the process stands still" stop_main
	stands_still "one worker stands still" hold_worker
	check "watchdog: the worker ended with its process" wait_until 5 process_gone "$HOLDER"
	check "watchdog: it says so" [ "$(journalctl -q -o cat -u pawsd | grep -c 'Watchdog timeout')" = 2 ]
}

# ---- stop ------------------------------------------------------------------------------------

stop() {
	phase "stop"
	check "stop, on_stop = keep: it stops" systemctl stop pawsd
	check "stop, on_stop = keep: rules stay" rules_in_place forward
	check "stop: exporter: pawsd is not up" exports "pawsd_up 0"
	config_gateway rewrite
	check "stop: it starts" systemctl start pawsd
	check "stop: connections are rewritten" rewrites
	check "stop: it stops" systemctl stop pawsd
	check "stop: without an error" property_is Result success
	check "stop: no rules" no_rules
	check "stop: no socket is kept" property_is NFileDescriptorStore 0
	check "stop: no runtime files" [ ! -e /run/pawsd ]
	check "stop: the clock's state stays" [ -s /var/lib/pawsd/clock ]
	check "stop: no process" [ -z "$(processes 'pawsd\(-helper\)\?')" ]
}

# A configuration with errors does not get better by being tried again.
refused() {
	phase "refused"
	config_gateway rewrite "on_change = nonsense"
	check "refused: a start with errors fails" fails systemctl start pawsd
	check "refused: and is not tried again" property_is ActiveState failed
}

# ---- units -----------------------------------------------------------------------------------

# complaints [FIELD=VALUE]: in the journal's lines with that.
complaints() {
	journalctl -q -b "$@" | grep pawsd |
		grep -E 'Failed to |Unknown |not (supported|permitted)|[Ii]gnoring|deprecated|Invalid |Permission|cannot'
}

exposed_at_most() { awk -v most="$1" -v level="$2" 'BEGIN {exit !(level <= most)}'; }
exposure() { systemd-analyze security --no-pager "$1" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p'; }

units() {
	local unit level
	phase "units"
	for unit in pawsd:1.5 pawsd-exporter:1.3; do
		level=$(exposure "${unit%:*}.service")
		check "${unit%:*}.service: exposure $level, at most ${unit#*:}" exposed_at_most "${unit#*:}" "${level:-10}"
	done
	check "systemd had nothing to complain of" fails complaints
}

# ---- fast path -------------------------------------------------------------------------------

# config_one_worker LINE-OF-[rules]...
config_one_worker() {
	config_gateway rewrite "$@"
	sed -i 's/^workers = .*/workers = 1/' $CONF
}

config_fast() {
	config_one_worker "$@"
	printf '[fastpath]\ninterfaces = lan0:lan\n' >>$CONF
}

readme_fast() {
	sed -n '/^## Leave it to the kernel/,/^## /s/^    //p' $README | sed 's/eth1/lan0/' >"$WORK/readme"
	cat "$WORK/readme"
	[ "$(wc -l <"$WORK/readme")" = 4 ] && bash -euxo pipefail "$WORK/readme"
}

no_fast_path() {
	pawsctl status --json | jq -c '.info.fastpath, .metrics.fastpath_missing'
	pawsctl status --json | jq -e '(.info.fastpath | startswith("none: ")) and .metrics.fastpath_missing == 1' >/dev/null
}

doctor_warns() {
	/usr/local/sbin/pawsd --doctor | tee "$WORK/doctor" | grep -E "^warn  $1: .*$2" && return
	cat "$WORK/doctor"
	return 1
}

# over NAME COMMAND: transfers over an end and a start that COMMAND brings about.
over() {
	local before
	phase "$1"
	check "$1: transfers begin" transfers_start
	before=$(main_pid)
	check "$1: done" "$2"
	fast_connects "$1, meanwhile" 6
	check "$1: another process is ready" wait_until 20 is_anew "$before"
	check "$1: maps and links are the same" is_kept
	check "$1: flows are known from before" wait_until 5 logged 'flows are known from before'
	check "$1: programs at an interface" status_says 1
	check "$1: they are rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	transfers_end "$1: transfer"
	check "$1: nothing went by" [ "$(counted "" synack_unknown midstream_out midstream_in)" = 0 ]
	before=$(queued)
	diag "$1: $before packets were queued so far" # of connections that began while pawsd took over
	check "$1: connections are rewritten" rewrites
	check "$1: of these nothing is queued" none_queued "$before"
	check "$1: programs are there once" [ "$(programs | wc -l)" = 4 ]
	unhurt "$1"
}

fast_path() {
	local helper before name="fast path"
	phase "$name"
	config_fast "on_stop = keep"
	check "$name, the unit alone: it starts" systemctl start pawsd
	check "$name, the unit alone: there is none, and it is said why" no_fast_path
	check "$name, the unit alone: doctor says what to do" doctor_warns fastpath 'fastpath\.conf'
	check "$name, the unit alone: connections are rewritten" rewrites
	config_one_worker "on_stop = keep"
	check "$name: the lines of README.md bring it up" readme_fast
	check "$name: it is active" property_is ActiveState active
	check "$name: programs at an interface, by $(attached_by)" status_says 1
	helper=$(processes pawsd-helper)
	check "$name: pawsd: CAP_NET_ADMIN alone" status_is "$(main_pid)" CapPrm $NET_ADMIN
	check "$name: helper: CAP_BPF and _PERFMON, too" status_is "$helper" CapPrm $WITH_BPF
	check "$name: helper: nothing of that for commands" status_is "$helper" CapAmb $NET_ADMIN_RAW
	check "$name: names are pawsd's" is_owned $PINS 700 pawsd:pawsd
	check "$name: doctor: all is well" doctor_says '^ok    fastpath: '
	before=$(queued) # by sockets that systemd has kept
	check "$name: connections are rewritten" rewrites
	check "$name: nothing is queued" none_queued "$before"
	check "$name: nothing odd" nothing_odd
	kept >"$WORK/kept"
	remember
	over "$name, kill -9" again_by_kill
	over "$name, restart, on_stop = keep" again_by_restart
	config_fast
	check "$name: another configuration, for a stop" systemctl reload pawsd
	check "$name: it stops" systemctl stop pawsd
	check "$name: without an error" property_is Result success
	check "$name: no program, no name, no clsact is left" nothing_of_it_left
	check "$name: no rules" no_rules
	config_gateway rewrite
	check "$name, not configured: it starts" systemctl start pawsd
	check "$name, not configured: the helper has given up what it would need" \
		status_is "$(processes pawsd-helper)" CapPrm $NET_ADMIN_RAW
	check "$name, not configured: it stops" systemctl stop pawsd
	fast_units
	rm $DROPIN
	systemctl daemon-reload
}

fast_units() {
	local level
	level=$(exposure pawsd.service)
	check "with the fast path: exposure $level, at most 1.6" exposed_at_most 1.6 "${level:-10}"
	check "with the fast path: systemd had nothing to complain of" fails complaints _PID=1
}

WORK=$(mktemp -d /tmp/pawsd-net.XXXXXX)
trap 'journalctl -q -b -o short-monotonic | grep -v " kernel: "' EXIT # for who reads the console
phase "$(uname -r), $(systemctl --version | head -1)"
net_is_here
set_up
exporter
reload
killed_by_hand
watchdog
stop
units
fast_path
refused
phase "end"
tap_done
