# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034
#
# What soak does to pawsd. To be sourced by tests/soak/run. A fault is a function: it does its mischief, waits until pawsd is
# itself again, leaves in DETAIL what it did, and fails if pawsd did not do what it should. What it draws is drawn with
# draw, and does not depend on time: the same seed draws the same.

# NAME WEIGHT CLASS
#
# CLASS says what the stated behaviour allows while it lasts:
#   closed  nothing: no packet of a rewritten connection goes by unmodified, whoever connects is rewritten
#   open    packets go by unmodified: there are no rules, or the handshakes' queue fails open, or pawsd drains. A connection
#           that they belong to may be lost. The probes rest meanwhile.
# shellcheck disable=SC2034
FAULTS_TABLE="
kill9            6  closed
kill9_starting   4  closed
kill9_reloading  3  open
away             2  closed
sigterm          4  closed
upgrade          3  closed
reload           6  closed
reload_broken    3  closed
stopped          5  closed
burst            4  closed
peers            4  closed
time_of_day      4  closed
boottime         3  closed
nospc_state      3  closed
nospc_runtime    3  closed
tamper_flows     4  closed
tamper_shared    3  open
tamper_clock     3  closed
tamper_epoch     3  closed
enobufs          2  open
drain            2  open
flush_rules      2  open
flush_sets       2  open
"

# --- helpers ---------------------------------------------------------------------------------

# draw N: DRAWN is one of 0 ... N - 1. (No subshell: it would draw the same again.)
draw() { DRAWN=$(((RANDOM << 15 | RANDOM) % $1)); }

nap_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

# In the daemon's own mount namespace, where its directories are.
there() { echo "/proc/$MINDER/root$WORK/$1"; }

is_ready_anew() {
	local pid
	pid=$(pawsd_pid)
	[ -n "$pid" ] && [ "$pid" != "$1" ]
}

wait_ready_anew() { wait_until 30 is_ready_anew "$1"; }

# again SIGNAL: ends pawsd and waits for the next to be ready.
again() {
	local before
	before=$(pawsd_pid)
	kill "-$1" "$before" && wait_ready_anew "$before"
}

# down COMMAND...: kills pawsd, runs the command while there is none, and lets the next one start.
down() {
	local before status=0
	before=$(pawsd_pid)
	kill -STOP "$MINDER"
	kill -KILL "$before"
	wait_until 10 process_gone "$before" || status=1
	"$@" || status=1
	kill -CONT "$MINDER"
	[ $status = 0 ] && wait_ready_anew "$before"
}

# config_use NAME: makes that the configuration in force at the next reload or start.
config_use() {
	cp "$WORK/conf.$1" "$WORK/conf.next"
	mv "$WORK/conf.next" "$WORK/pawsd.conf"
}

reload_to() {
	local before
	before=$(metric config_reloads_total)
	config_use "$1"
	kill -HUP "$(pawsd_pid)"
	wait_until 15 metric_is config_reloads_total $((before + 1))
}

# fill DIRECTORY: until nothing more goes in.
fill() { dd if=/dev/zero of="$(there "$1")/filling" bs=4k 2>/dev/null; }
unfill() { rm -f "$(there "$1")/filling"; }

# --- the process -----------------------------------------------------------------------------

fault_kill9() { DETAIL="" && again KILL; }

# The process is not ready yet, its pid known to the minder alone.
child_of_minder() { CHILD=$(cat "/proc/$MINDER/task/$MINDER/children" 2>/dev/null) && CHILD=${CHILD%% *} && [ -n "$CHILD" ]; }
is_other_child() { child_of_minder && [ "$CHILD" != "$1" ]; }

fault_kill9_starting() {
	local before after
	before=$(pawsd_pid)
	draw 400
	after=$DRAWN
	DETAIL="again $after ms into its start"
	kill -KILL "$before"
	wait_until 10 is_other_child "$before" || return 1
	nap_ms "$after"
	kill -KILL "$CHILD" 2>/dev/null || true
	wait_until 30 is_ready_anew_of "$before" "$CHILD"
}
is_ready_anew_of() { is_ready_anew "$1" && [ "$(pawsd_pid)" != "$2" ]; }

fault_kill9_reloading() {
	local before
	draw 300
	before=$(pawsd_pid)
	DETAIL="$DRAWN ms after SIGHUP"
	draw_config
	config_use "$CONFIG"
	kill -HUP "$before"
	nap_ms "$DRAWN"
	kill -KILL "$before"
	wait_ready_anew "$before"
}

fault_away() {
	draw 2500
	DETAIL="for $((DRAWN + 500)) ms"
	down nap_ms $((DRAWN + 500))
}

fault_sigterm() { DETAIL="" && again TERM; }

fault_upgrade() {
	DETAIL="the program replaced"
	cp "$PAWSD" "$WORK/pawsd.next" && mv "$WORK/pawsd.next" "$WORK/pawsd" && again TERM
}

# --- configurations --------------------------------------------------------------------------

draw_config() {
	local names=(base more less many)
	draw ${#names[@]}
	CONFIG=${names[$DRAWN]}
}

fault_reload() {
	draw_config
	DETAIL="to configuration $CONFIG"
	reload_to "$CONFIG"
}

fault_reload_broken() {
	local refused kept
	kept=$(cat "$WORK/pawsd.conf")
	refused=$(metric config_reloads_refused_total)
	DETAIL="refused"
	config_use broken
	kill -HUP "$(pawsd_pid)"
	wait_until 15 metric_is config_reloads_refused_total $((refused + 1)) || return 1
	echo "$kept" >"$WORK/pawsd.conf"
}

# --- too much, too little --------------------------------------------------------------------

# All of its processes; it goes on after a second at most.
fault_stopped() {
	local pids begin
	draw 900
	pids=$(pawsd_pids) begin=$(now_ms)
	DETAIL="for $((DRAWN + 100)) ms"
	# shellcheck disable=SC2086
	kill -STOP $pids
	nap_ms $((DRAWN + 100))
	# shellcheck disable=SC2086
	kill -CONT $pids
	excuse held "$begin" "$(now_ms)"
}

# burst N FAMILY: as many connects at once; their outcome counts with that of all others.
burst() {
	load --from "$(clients "$2")" --to "$(endpoint "$2" 1 80)" --to "$(endpoint "$2" 2 80)" --count "$1" --concurrency "$1" \
		--timeout-ms $CONNECT_MS --lost "$WORK/lost.connects" >>"$WORK/connects" || true
}

draw_family() { draw 2 && FAMILY=$((4 + 2 * DRAWN)); }

fault_burst() {
	local count
	draw 600
	count=$((DRAWN + 200))
	draw_family
	DETAIL="$count connects at once over IPv$FAMILY"
	burst "$count" "$FAMILY"
}

# A socket buffer so small that most of a burst does not go in: for the handshakes' queue that is as if it were full.
fault_enobufs() {
	local kept before after
	draw_family
	kept=$(cat "$WORK/pawsd.conf")
	sed 's/^\[queue\]/&\nbuffer_kib = 256/' <<<"$kept" >"$WORK/pawsd.conf"
	again TERM || return 1
	before=$(queues_lost)
	kill -STOP "$(pawsd_pid)"
	burst 800 "$FAMILY" &
	nap_ms 400
	kill -CONT "$(pawsd_pid)"
	wait $!
	after=$(queues_lost)
	DETAIL="$((after - before)) packets of running connections did not go into the buffer"
	echo "$kept" >"$WORK/pawsd.conf"
	again TERM
}

# Packets that the kernel dropped on their way into a queue or its buffer, since these queues are there.
queues_lost() { in_ns "$GW" awk '{n += $6 + $7} END {print n + 0}' /proc/net/netfilter/nfnetlink_queue; }

fault_nospc_state() { nospc state; }
fault_nospc_runtime() { nospc run; }

# nospc DIRECTORY: no space in it while the clock is to be saved, and for a start.
nospc() {
	local action
	draw 3
	action=$DRAWN
	fill "$1" || true
	case $action in
	0) DETAIL="$1 full for 6 s" && nap_ms 6000 ;;
	1) DETAIL="$1 full, kill -9" && again KILL ;;
	2) DETAIL="$1 full, SIGTERM" && again TERM ;;
	esac
	local status=$?
	unfill "$1"
	return $status
}

# --- others ----------------------------------------------------------------------------------

fault_peers() {
	draw 1000000
	DETAIL=$("$TOOLS/rudecontrol" --seed "$DRAWN" --ms 1500 "$WORK/control.sock")
	wait_until 10 pawsctl_answers
}
pawsctl_answers() { pawsctl status >/dev/null 2>&1; }

fault_drain() {
	draw 1500
	DETAIL="for $((DRAWN + 200)) ms"
	pawsctl drain --no-wait >/dev/null || return 1
	nap_ms $((DRAWN + 200))
	pawsctl resume >/dev/null && metric_is draining 0
}

# mended COMMAND...: what it does to rules or sets is undone, and counted, but where pawsd was just putting them in place itself.
mended() {
	local changed
	changed=$(metric rules_changed_total)
	"$@"
	wait_until 10 is_mended $((changed + 1)) || return 1
	metric_is rules_changed_total $((changed + 1)) || DETAIL+=", in the midst of a change of pawsd's own"
}

is_mended() { metric_is rules_changed_total "$1" || { rules_stand 4 && rules_stand 6 && sets_stand; }; }

# rules_stand FAMILY: FORWARD jumps to them, and there is something in them.
rules_stand() {
	xt "$GW" "$1" -t mangle -S FORWARD | grep -q -- '-j PAWSD$' && [ "$(xt "$GW" "$1" -t mangle -S PAWSD-OUT | wc -l)" -gt 1 ]
}

# None of them is empty.
sets_stand() {
	in_ns "$GW" ipset list -terse | awk '/^Name: pawsd-/ {sets++; ours = 1} /^Name: / && !/^Name: pawsd-/ {ours = 0}
		/^Number of entries: 0$/ && ours {empty++} END {exit !(sets && !empty)}'
}

fault_flush_rules() {
	draw_family
	DETAIL="iptables -t mangle -F, IPv$FAMILY"
	mended xt "$GW" "$FAMILY" -t mangle -F
}

fault_flush_sets() {
	draw_family
	DETAIL="ipset flush and destroy, IPv$FAMILY"
	mended flush_sets "$FAMILY"
}

# Those that rules look at cannot be destroyed: emptied, at least.
flush_sets() {
	local set
	for set in $(in_ns "$GW" ipset list -n | grep "^pawsd-.$1"); do
		in_ns "$GW" ipset flush "$set"
		in_ns "$GW" ipset destroy "$set" 2>/dev/null || true
	done
}

# --- clocks ----------------------------------------------------------------------------------

# put_int64 FILE NUMBER: in one write, for it is mapped.
put_int64() {
	local i text=
	for ((i = 0; i < 64; i += 8)); do text+=$(printf '\\x%02x' $((($2 >> i) & 255))); done
	printf '%b' "$text" | dd of="$1" bs=8 conv=notrunc status=none
}

TIME_SHIFT_MS=0
fault_time_of_day() {
	local step_ms
	draw 2
	if [ "$DRAWN" = 0 ]; then
		draw 240
		step_ms=$(((DRAWN + 24) * 3600000))
	else
		draw 12
		step_ms=$((-(DRAWN + 1) * 3600000 - 123))
	fi
	TIME_SHIFT_MS=$((TIME_SHIFT_MS + step_ms))
	DETAIL="by $((step_ms / 3600000)) h, to $((TIME_SHIFT_MS / 3600000)) h off"
	put_int64 "$WORK/timeshift" $TIME_SHIFT_MS
}

# Another time namespace from the next start on, as if the machine had been suspended, or, where it goes back, as if it
# were another machine.
BOOT_SHIFT_S=0
fault_boottime() {
	local before=$BOOT_SHIFT_S now
	draw 7200
	BOOT_SHIFT_S=$DRAWN
	DETAIL="by $((BOOT_SHIFT_S - before)) s from one start to the next"
	echo "$BOOT_SHIFT_S" >"$WORK/boottime"
	now=$(now_ms)
	again TERM || return 1
	[ "$BOOT_SHIFT_S" -le "$before" ] || excuse step "$now" "$(now_ms)" $(((BOOT_SHIFT_S - before) * 1000))
}

# --- files -----------------------------------------------------------------------------------

SPARED=()

# Connections whose entries are hit may be lost, and no others.
tamper_flows() {
	"$TOOLS/statetamper" --seed "$2" "${SPARED[@]}" flows "$(there "run/flows.$1")" >"$WORK/tampered" || return 1
	sed -n "s/^hit/hit $(now_ms)/p" "$WORK/tampered" >>"$WORK/excuses"
}

fault_tamper_flows() {
	local worker
	draw "$WORKERS"
	worker=$DRAWN
	draw 1000000
	down tamper_flows "$worker" "$DRAWN" || return 1
	DETAIL="flows.$worker: 8 bytes, of $(sort -u "$WORK/tampered" | wc -l) flows"
}

tamper_any() {
	local seed=$1 file=$2
	shift 2
	"$TOOLS/statetamper" --seed "$seed" "$@" any "$(there "$file")" >"$WORK/tampered"
	DETAIL="$file: bytes $(awk '{print $2}' "$WORK/tampered" | paste -sd ' ')"
}

# Half of the time where the clock is, and what is there once.
fault_tamper_shared() {
	local most
	draw 2
	most=$((DRAWN * 240))
	draw 1000000
	down tamper_any "$DRAWN" run/shared --bytes 3 --most $most
}

fault_tamper_clock() { draw 1000000 && down tamper_any "$DRAWN" state/clock --bytes 2; }
fault_tamper_epoch() { draw 1000000 && down tamper_any "$DRAWN" state/epoch --bytes 2; }
