#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The fast path: ordinary connections are rewritten by programs of the kernel, nothing of them comes to a queue, and what
# leaves is as it would be otherwise. While pawsd is killed and away for AWAY_S seconds, a thousand transfers and new
# connections go on; after that it knows all their flows. What hinders it is said by name; a stop leaves nothing.
#
# AWAY_S, CONNECTIONS: how long, how many.
set -euo pipefail
export PAWSD_FASTPATH=${PAWSD_FASTPATH:-yes}
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq tcpdump:tcpdump ethtool:ethtool tc:iproute2 ipset:ipset bpftool:bpftool
pawsd_require
AWAY_S=${AWAY_S:-5} CONNECTIONS=${CONNECTIONS:-1000}
STALL_MS=1000

queued() { pawsctl status --json | jq '[.queues[].queued] | add'; }
none_queued() { [ "$(queued)" = 0 ]; }
# handled N: as many packets by the kernel's programs.
handled() { [ "$(metric fastpath_packets_total)" -ge "$1" ]; }

config() {
	pawsd_config "$WORK/$1.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
	EOT
	sed -i 's/^\[rules\]/&\non_stop = keep/' "$WORK/$1.conf"
}

# --- what becomes of connections -------------------------------------------------------------

ordinary() {
	local family
	check "pawsd says that there is a fast path" metric_is fastpath_interfaces 1
	check "and that nothing is missing" metric_is fastpath_missing 0
	net_offload off
	capture_start ordinary
	for family in 4 6; do
		check "IPv$family: connections of all clients" \
			load --from "$(clients $family)" --to "$(endpoint $family 1 8001-8008)" --count 128 --concurrency 8
	done
	capture_stop ordinary
	capture_properties ordinary
	check "all by the kernel's programs" handled 2000
	check "none of their packets was queued" none_queued
	check "they are counted as any others" [ "$(counted all syn_rewritten)" = 256 ]
	check "and their answers" [ "$(counted all synack_rewritten)" = 256 ]
	net_offload on
	check "large packets, with offloads" load --from "$(clients 4)" --to "$(endpoint 4 1 8001-8008)" --count 16 --bytes 3000000
	check "none of them was queued either" none_queued
}

# --- while pawsd is away ---------------------------------------------------------------------

watch_start() {
	start_background "$GW" "$TOOLS/tsvalwatch" --device wan0 --background --stats "$WORK/watch"
	WATCH=$STARTED
}

all_rewritten() {
	kill -TERM "$WATCH"
	wait_until 5 process_gone "$WATCH"
	cat "$WORK/watch"
	[ "$(value_of off "$(cat "$WORK/watch")")" = 0 ] && [ "$(value_of lost "$(cat "$WORK/watch")")" = 0 ] &&
		[ "$(value_of seen "$(cat "$WORK/watch")")" -gt "$CONNECTIONS" ]
}

crowd_start() {
	rm -f "$WORK/started"
	start "$CL" "$TOOLS/tcpcrowd" --from "$CLIENTS_4" --to "$(endpoint 4 1 8001-8008)" --to "$(endpoint 4 2 8001-8008)" \
		--connections "$CONNECTIONS" --up 3000 --down 3000 --gap-ms 250 --stall-ms $STALL_MS \
		--started "$WORK/started" >"$WORK/crowd"
	CROWD=$STARTED
	wait_until 30 test -e "$WORK/started"
}

connects_start() {
	start "$CL" "$TOOLS/tcpload" --from "$CLIENTS_4" --to "$(endpoint 4 3 80)" --loop --concurrency 4 --gap-ms 20 \
		--timeout-ms 10000 --json >"$WORK/connects"
	CONNECTS=$STARTED
}

crowd_is() {
	local text
	text=$(cat "$WORK/crowd")
	echo "$text"
	while [ $# -gt 0 ]; do
		[ "$(value_of "$1" "$text")" = "$2" ] || return 1
		shift 2
	done
}

connects_are_good() {
	cat "$WORK/connects"
	[ "$(jq '.attempts - .ok + .second_syn' "$WORK/connects")" = 0 ] && [ "$(jq .ok "$WORK/connects")" -gt 100 ]
}

# links: the numbers of the programs at the interface, which none may outlive.
links() {
	local way
	for way in ingress egress; do
		in_ns "$GW" bpftool -j link show pinned "$PAWSD_BPF/pawsd/link_lan0_$way" | jq .prog_id
	done | tee -a "$WORK/programs"
}
no_program_lives() {
	local id
	[ -s "$WORK/programs" ] || return 1
	while read -r id; do
		! bpftool prog show id "$id" >/dev/null 2>&1 || return 1
	done <"$WORK/programs"
}

# known_again N: flows of before, as pawsd has said at its start.
known_again() {
	grep -o '^pawsd: [0-9]* flows are known' "$WORK/pawsd.log" | tail -1 | grep -q '[0-9]' &&
		[ "$(grep -o '^pawsd: [0-9]* flows are known' "$WORK/pawsd.log" | tail -1 | grep -o '[0-9]*')" -ge "$1" ]
}

away() {
	local ids
	ids=$(links)
	watch_start
	crowd_start
	connects_start
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
	sleep "$AWAY_S" # that is what is tested
	pawsd_up "$WORK/pawsd.conf"
	check "after $AWAY_S s without pawsd it knows the flows" known_again "$CONNECTIONS"
	check "and goes on with the programs that are there" [ "$(links)" = "${ids:-none}" ]
	check "new connections went on meanwhile" finish "$CONNECTS"
	check "all of them with their first SYN" connects_are_good
	check "the transfers end well" finish "$CROWD"
	check "$CONNECTIONS of them, none broken, all content right, none stood still for $STALL_MS ms" \
		crowd_is connections "$CONNECTIONS" broken 0 bad 0 stalled 0
	check "not a packet has left but with the shared clock's TSvals" all_rewritten
	# But for connections that began while their flows changed hands.
	check "nothing of the transfers was queued" [ "$(queued)" -lt $((CONNECTIONS / 4)) ]
	diag "$(cat "$WORK/crowd")"
	diag "$(jq -c . "$WORK/connects")"
}

# --- what others do to marks -----------------------------------------------------------------

# A rule that sets the whole mark anew takes the programs' word away: what they have rewritten comes to the queues, and must
# not be rewritten once more.
marks_lost() {
	local family
	for family in 4 6; do xt "$GW" $family -t mangle -A PREROUTING -i lan0 -j MARK --set-mark 7; done
	net_offload off
	check "marks taken away: nothing of before is on its way" wait_until 10 is_settled
	capture_start lost
	for family in 4 6; do
		check "marks taken away, IPv$family: connections" \
			load --from "$(clients $family)" --to "$(endpoint $family 1 8001-8008)" --count 64 --concurrency 8
	done
	capture_stop lost
	capture_properties lost
	check "it is counted" [ "$(counted all mark_lost)" -gt 500 ]
	check "a reload finds that rule" pawsctl reload
	check "the fast path is off" interfaces_are 0 1
	check "which is said, and why" grep -q 'warning: no fast path, .*: a rule changes bits of marks .*-j MARK --set-xmark 0x7/0xffffffff' \
		"$WORK/pawsd.log"
	check "and shown" metric_is hazard_marks 1
	check "connections go by the queues" rewritten_by queues
	for family in 4 6; do xt "$GW" $family -t mangle -F PREROUTING; done
	check "without it, and a reload" pawsctl reload
	check "there is the fast path again" interfaces_are 1 0
	check "connections go by the programs" rewritten_by programs
	net_offload on
}

# --- what is left, and what hinders ----------------------------------------------------------

programs_gone() {
	[ ! -e "$PAWSD_BPF/pawsd" ] && [ -z "$(in_ns "$GW" tc qdisc show dev lan0 | grep clsact)" ] && wait_until 5 no_program_lives
}

# hindered WORDS: with enabled = yes pawsd does not start, and says why; with auto it says so and goes on without.
hindered() {
	local status=0
	: >"$WORK/pawsd.log"
	sed -i 's/^enabled = .*/enabled = yes/' "$WORK/pawsd.conf"
	in_ns "$GW" timeout 20 "$PAWSD" -c "$WORK/pawsd.conf" >"$WORK/refused" 2>&1 || status=$?
	cat "$WORK/refused"
	[ $status = 1 ] && grep -Eq "error: \[fastpath\] enabled = yes: .*$1" "$WORK/refused" || return 1
	sed -i 's/^enabled = .*/enabled = auto/' "$WORK/pawsd.conf"
	pawsd_start "$WORK/pawsd.conf" || return 1
	cat "$WORK/pawsd.log"
	grep -Eq "warning: no fast path.*$1" "$WORK/pawsd.log" && metric_is fastpath_missing 1 && metric_is fastpath_interfaces 0 &&
		load --from "$(clients 4)" --to "$(endpoint 4 1 8001)" --count 4 >/dev/null && [ "$(counted all syn_rewritten)" = 4 ] &&
		[ "$(queued)" -gt 0 ] && pawsd_stop
}

hindrances() {
	in_ns "$GW" ethtool -K lan0 rx-gro-list on
	check "rx-gro-list" hindered "lan0 has rx-gro-list on"
	in_ns "$GW" ethtool -K lan0 rx-gro-list off
	in_ns "$GW" tc qdisc add dev lan0 clsact
	in_ns "$GW" tc filter add dev lan0 egress bpf bytecode '1,6 0 0 4294967295' flowid 1:1
	check "somebody else's filter" hindered "lan0 has another filter on its egress, bpf"
	in_ns "$GW" tc qdisc del dev lan0 clsact
	sed -i 's/^interfaces = .*/interfaces = lo:lan/' "$WORK/pawsd.conf"
	check "no Ethernet" hindered "lo is no Ethernet interface"
	sed -i "s,^pins = .*,pins = $WORK/pins," "$WORK/pawsd.conf"
	sed -i 's/^interfaces = .*/interfaces = lan0:lan/' "$WORK/pawsd.conf"
	check "no file system of bpf's" hindered "pins = $WORK/pins: in no file system of type bpf"
	check "which leaves nothing there" [ ! -e "$WORK/pins" ]
	sed -i "s,^pins = .*,pins = $PAWSD_BPF/pawsd,; s/^enabled = .*/enabled = yes/" "$WORK/pawsd.conf"
}

# interfaces_are COUNT MISSING: within the time in which changes are looked for.
interfaces_are() { wait_until "${3:-15}" eval "metric_is fastpath_interfaces $1 && metric_is fastpath_missing $2"; }
# Interfaces that come and go are followed at once, not by the next look around.
interfaces_are_soon() { interfaces_are "$1" "$2" 1; }

rewritten_by() {
	local before
	before=$(metric fastpath_packets_total)
	load --from "$(clients 4)" --to "$(endpoint 4 1 8001-8008)" --count 16 >/dev/null || return 1
	case $1 in
	programs) handled $((before + 100)) ;;
	queues) [ "$(metric fastpath_packets_total)" = "$before" ] && [ "$(queued)" -ge 16 ] ;;
	esac
}

# The label of connections that the programs handle: the first that is asked for of what goes to a client.
label_of_programs() {
	xt "$GW" 4 -t mangle -S PAWSD 2>/dev/null | sed -n 's/^-A PAWSD -o lan0 .* --label "\{0,1\}\([0-9]\{1,\}\)"\{0,1\} -m connlabel ! .*/\1/p'
}

has_other_label() { wait_until 5 eval "[ \"\$(label_of_programs)\" != $1 ]" && [ -n "$(label_of_programs)" ]; }

# What changes while it runs.
changes() {
	local label
	sed -i 's/^interfaces = .*/interfaces = lan0:lan lan9:lan/' "$WORK/pawsd.conf"
	: >"$WORK/pawsd.log"
	pawsd_up "$WORK/pawsd.conf"
	check "an interface that is not there" grep -q 'warning: no fast path for one of its interfaces: lan9 is not there' "$WORK/pawsd.log"
	check "the other has programs" interfaces_are 1 1
	links >/dev/null
	ip -n "$GW" link add lan9 type veth peer name lan9p
	check "it comes" interfaces_are_soon 2 0
	ip -n "$GW" link del lan9
	check "and goes" interfaces_are_soon 1 1
	ip -n "$GW" link add lan9 type veth peer name lan9p
	check "and is there once more" interfaces_are_soon 2 0
	label=$(label_of_programs)
	check "a reload" pawsctl reload
	check "after it connections have the label that they had" [ "$(label_of_programs)" = "${label:-none}" ]
	in_ns "$GW" ethtool -K lan0 rx-gro-list on
	check "rx-gro-list is switched on" interfaces_are 1 1
	check "what the programs had labelled is looked at again" has_other_label "$label"
	check "connections go by the queues" rewritten_by queues
	in_ns "$GW" ethtool -K lan0 rx-gro-list off
	check "and off" interfaces_are 2 0
	check "connections go by the programs again" rewritten_by programs
	check "a program that somebody has detached" program_comes_again
	check "connections go by the programs once more" rewritten_by programs
	check "another pawsd with the same names" second_pawsd
	check "pawsd stops" pawsd_stop
	check "and leaves nothing" programs_gone
	ip -n "$GW" link del lan9
	sed -i 's/^interfaces = .*/interfaces = lan0:lan/' "$WORK/pawsd.conf"
}

# The kernel tells nobody of it; of anything that is put on clsact it tells all, and pawsd looks at all there is.
program_comes_again() {
	local link said="warning: lan0: the fast path's program on its ingress was gone, and is there again"
	link=$(in_ns "$GW" bpftool -j link show pinned "$PAWSD_BPF/pawsd/link_lan0_ingress" | jq .id)
	in_ns "$GW" bpftool link detach id "$link" || return 1
	in_ns "$GW" tc qdisc add dev lan9 clsact
	wait_until 2 grep -q "$said" "$WORK/pawsd.log" || return 1
	in_ns "$GW" tc qdisc del dev lan9 clsact
	[ "$(grep -c 'was gone' "$WORK/pawsd.log")" = 1 ] && interfaces_are 2 0
}

second_pawsd() {
	local status=0
	sed "s,$WORK/run,$WORK/run2,; s,$WORK/state,$WORK/state2,; s/^\[queue\]/&\nfirst = 100/" "$WORK/pawsd.conf" >"$WORK/second.conf"
	in_ns "$GW" timeout 20 "$PAWSD" -c "$WORK/second.conf" >"$WORK/refused" 2>&1 || status=$?
	cat "$WORK/refused"
	[ $status = 1 ] && grep -q "pins = $PAWSD_BPF/pawsd: in use by another pawsd" "$WORK/refused"
}

# restart LINE...: with these changes (sed), transfers running; `on_stop = keep`.
restart() {
	local change
	watch_start
	crowd_start
	check "$1: pawsd stops" pawsd_stop
	for change in "${@:2}"; do sed -i "$change" "$WORK/pawsd.conf"; done
	: >"$WORK/pawsd.log"
	pawsd_up "$WORK/pawsd.conf"
	check "$1: the flows are known" known_again "$CONNECTIONS"
	check "$1: connections are rewritten" load --from "$(clients 4)" --to "$(endpoint 4 3 80)" --count 32
	check "$1: the transfers end well" finish "$CROWD"
	check "$1: none broken, all content right" crowd_is connections "$CONNECTIONS" broken 0 bad 0
	check "$1: what has left had the shared clock's TSvals" all_rewritten
}

# Flows change their place: from the kernel's memory to a file, back, and to memory of another size.
moves() {
	local CONNECTIONS=200
	sed -i 's/^on_stop = .*/on_stop = keep/' "$WORK/pawsd.conf"
	pawsd_up "$WORK/pawsd.conf"
	links >/dev/null
	restart "switched off" 's/^enabled = .*/enabled = no/'
	check "switched off: no program, no name is left" programs_gone
	restart "switched on" 's/^enabled = .*/enabled = yes/'
	check "switched on: the programs rewrite" rewritten_by programs
	restart "a larger table" '$a[flows]\nmax = 524288'
	check "a larger table: that is said" grep -q 'another version.s, or for another .flows. max: .* its flows taken over' "$WORK/pawsd.log"
	check "a larger table: the programs rewrite" rewritten_by programs
	check "programs of another build are replaced" build_has_changed other
	check "programs without a name, too" build_has_changed gone
	check "another build: the programs rewrite" rewritten_by programs
	sed -i 's/^on_stop = .*/on_stop = remove/' "$WORK/pawsd.conf"
	check "a reload" pawsctl reload
	check "pawsd stops" pawsd_stop
	check "and leaves nothing" programs_gone
}

# Programs that another build of pawsd has left, or somebody's other ones under the names of ours: all are made anew, flows stay.
names_of_programs() { find "$PAWSD_BPF/pawsd" -name 'code_*' -printf '%f\n' | sort; }
build_has_changed() {
	local ids name names
	ids=$(links) names=$(names_of_programs)
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
	[ "$(wc -l <<<"$names")" = 4 ] || return 1
	for name in $names; do
		case $1 in
		other) mv "$PAWSD_BPF/pawsd/$name" "$PAWSD_BPF/pawsd/code_0123456789abcdef_${name#code_*_}" ;;
		gone) rm "$PAWSD_BPF/pawsd/$name" ;;
		esac
	done
	pawsd_start "$WORK/pawsd.conf" || return 1
	names_of_programs
	[ "$(names_of_programs)" = "$names" ] && [ "$(links)" != "$ids" ] && [ -n "$(links)" ]
}

net_up
serve "$(endpoint 4 1 8001-8008)" "$(endpoint 4 2 8001-8008)" "$(endpoint 4 3 80)" "$(endpoint 6 1 8001-8008)"
config pawsd
pawsd_up "$WORK/pawsd.conf"
ordinary
marks_lost
away
sed -i 's/^on_stop = .*/on_stop = remove/' "$WORK/pawsd.conf"
check "a reload" pawsctl reload
check "pawsd stops" pawsd_stop
check "and leaves no program and no name" programs_gone
hindrances
changes
moves
tap_done
