#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Starting, stopping and what stands in the way: bad input (one clear line for each fault, exit
# status 2 for the configuration and 1 otherwise, nothing changed); rules that come and go with
# both iptables flavours, also after kill -9; and malformed segments, which pass as they are and
# are counted.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require tcpdump:tcpdump ethtool:ethtool jq:jq setpriv:util-linux ipset:ipset
pawsd_require

config() {
	PAWSD_FLAVOUR=${2:-default} pawsd_config "$WORK/$1.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		[destination handshakes]
		prefixes = $(server_addr 4 2), $(server_addr 6 2)
		mode = strip
	EOT
}

# rules: all rules, chains and sets of the gateway: what there is, not what a command has left
# behind by having been called (tables with nothing in them). Sets change their names, and labels.
rules() {
	local command
	for command in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
		in_ns "$GW" "$command-save" 2>/dev/null | sed -n "s/\[[0-9]*:[0-9]*\]//; /^-A\|^:.* - /s/^/$command /p"
	done | sed 's/ pawsd-[a-z]\([46]\)/ pawsd-\1/; s/ --label [0-9"]*/ --label N/g'
	in_ns "$GW" ipset list -terse 2>/dev/null | sed -n 's/^Name: pawsd-[a-z]\([46]\)/set pawsd-\1/p' || true
}

# rules_are WHAT: shows the difference.
rules_are() { diff <(echo "$1") <(rules); }

# refused STATUS PATTERN COMMAND...: it ends with that status, says one line that matches, and the
# rules are as before.
refused() {
	local status=0 pattern=$2 want=$1 before
	shift 2
	before=$(rules)
	in_ns "$GW" timeout 20 "$@" >"$WORK/refused" 2>&1 || status=$?
	cat "$WORK/refused"
	echo "status $status"
	[ "$status" = "$want" ] && grep -Eq "$pattern" "$WORK/refused" && rules_are "$before"
}

# says COUNT: as many lines were said, warnings aside (about strip, here).
says() { [ "$(grep -vc 'warning' "$WORK/refused")" = "$1" ]; }

bad_configurations() {
	config good
	mkdir -p "$WORK/run" "$WORK/state"
	cat "$WORK/good.conf" - >"$WORK/bad.conf" <<-EOT
		colour = blue
		[destination all]
		prefixes = 192.0.2.0/24
		mode = rewrite
		[destination two]
		prefixes = 192.0.2.1/24
		prefixes_file = $WORK/missing
		mode = sometimes
		ports = 0, 70000
		[weather]
		sky = grey
	EOT
	check "faults in a file" refused 2 "bad.conf:[0-9]+" "$PAWSD" -c "$WORK/bad.conf"
	check "all of them in one go" [ "$(grep -c error: "$WORK/refused")" -ge 7 ]
	for word in colour 'destination all' '192.0.2.1/24' missing sometimes 70000 weather; do
		check "one of them: $word" grep -q "bad.conf:[0-9]*:.*$word" "$WORK/refused"
	done
	check "--check finds as many" check_finds "$(grep -c error: "$WORK/refused")"
	check "--check of a good file" in_ns "$GW" "$PAWSD" --check "$WORK/good.conf"
	check "overlapping prefixes with different modes" overlapping
	check "no file" refused 2 "$WORK/nothing.conf" "$PAWSD" -c "$WORK/nothing.conf"
	check "an unknown option" refused 2 "frobnicate" "$PAWSD" --frobnicate
}

check_finds() { refused 2 error: "$PAWSD" --check "$WORK/bad.conf" && says "$1"; }

overlapping() {
	cat "$WORK/good.conf" - >"$WORK/overlap.conf" <<-EOT
		[destination two]
		prefixes = 198.51.100.0/24
		mode = off
	EOT
	refused 2 '198\.51\.100\.0/24' "$PAWSD" -c "$WORK/overlap.conf"
}

# The worker on processor 0 alone, the main thread where the test itself may run.
runs_on_one() {
	local task allowed
	for task in /proc/"$PAWSD_PID"/task/*; do
		allowed=$(awk '/^Cpus_allowed_list/ {print $2}' "$task/status")
		echo "$(cat "$task/comm"): $allowed"
		case $(cat "$task/comm") in
		worker/0) [ "$allowed" = 0 ] || return 1 ;;
		*) [ "$allowed" = "$(awk '/^Cpus_allowed_list/ {print $2}' /proc/self/status)" ] || return 1 ;;
		esac
	done
}

obstacles() {
	local portid other
	start_background "$GW" "$TOOLS/middlebox" --mode f3 --queue 9471 --server-dev wan0 --background
	other=$STARTED
	portid=$(in_ns "$GW" awk '$1 == 9471 {print $2}' /proc/net/netfilter/nfnetlink_queue)
	check "a queue is taken: says by whom" refused 1 "9471.*$portid" "$PAWSD" -c "$WORK/good.conf"
	check "in one line" says 1
	stop_process "$other"

	check "no CAP_NET_ADMIN" refused 1 CAP_NET_ADMIN \
		setpriv --bounding-set -net_admin --inh-caps -net_admin "$PAWSD" -c "$WORK/good.conf"
	check "in one line" says 1

	sed "s/^\[queue\]/[queue]\ncpus = 1000/" "$WORK/good.conf" >"$WORK/cpus.conf"
	check "no such processor" refused 1 "\[queue\] cpus: a processor for worker 0" "$PAWSD" -c "$WORK/cpus.conf"
	check "in one line" says 1
	sed "s/^\[queue\]/[queue]\ncpus = 0/" "$WORK/good.conf" >"$WORK/cpus.conf"
	check "with a processor for its worker" pawsd_start "$WORK/cpus.conf"
	check "it stays on that, the main thread is free" runs_on_one
	check "and stops" pawsd_stop

	check "a first pawsd" pawsd_start "$WORK/good.conf"
	sed "s|$WORK/run|$WORK/run2|; s|\[queue\]|[queue]\nfirst = 9600|" "$WORK/good.conf" >"$WORK/second.conf"
	check "a second one on the same state directory" refused 1 "$WORK/state.*$PAWSD_PID" "$PAWSD" -c "$WORK/second.conf"
	check "in one line" says 1
	check "the first one is not disturbed" load --to "$(endpoint 4 1 80)"
	check "and stops" pawsd_stop
}

has_rules() { rules | grep -q NFQUEUE; }

flavour_lifecycle() {
	local before with
	before=$(rules)
	config "$1" "$1"
	pawsd_up "$WORK/$1.conf"
	with=$(rules)
	check "$1: rules are there" has_rules
	check "$1: the other rules still are" [ -z "$(comm -23 <(sort <<<"$before") <(sort <<<"$with"))" ]
	check "$1: connects" load --from "$CLIENTS_6" --to "$(endpoint 6 1 80)" --count 5
	check "$1: are rewritten" [ "$(counted all syn_rewritten)" = 5 ]
	malformed "$1"
	check "$1: SIGTERM, status 0" pawsd_stop
	check "$1: the rules are gone" rules_are "$before"
	check "$1: and with them the flows, which go on without pawsd" [ ! -e "$WORK/run/flows.0" ]

	check "$1: SIGTERM in the midst of a start leaves nothing" stopped_early "$1" "$before"
	pawsd_up "$WORK/$1.conf"
	start "$CL" "$TOOLS/tcpbulk" --to "$(endpoint 4 1 80)" --loop --gap-ms 5 --started "$WORK/$1.started" >"$WORK/$1.bulk"
	transfer=$STARTED
	wait_until 10 test -e "$WORK/$1.started"
	pawsd_kill
	check "$1: after kill -9 the rules are still there" has_rules
	check "$1: connects whose handshakes alone are queued pass by" \
		load --from "$CLIENTS_4" --to "$(endpoint 4 2 80)" --count 3
	pawsd_up "$WORK/$1.conf"
	check "$1: the next start leaves one set of rules" rules_are "$with"
	before_restart=$(counted all out_rewritten)
	check "$1: the flow from before goes on, rewritten" wait_until 10 more_rewritten
	check "$1: its content is intact" finish "$transfer"
	diag "$(cat "$WORK/$1.bulk")"
	pawsd_kill
	check "$1: and is cleaned up behind" cleaned_up "$1" "$before"
}

# stopped_early NAME RULES: at whatever point of its start SIGTERM comes.
stopped_early() {
	local delay
	for delay in 0 .01 .02 .03 .04 .05 .06 .08 .1 .15; do
		pawsd_launch "$WORK/$1.conf"
		wait_until 5 is_pawsd # until then it is a shell that may lose the signal
		sleep $delay
		pawsd_stop || echo "after $delay s: status $?"
		rules_are "$2" || return 1
	done
}

is_pawsd() { [ "$(cat "/proc/$PAWSD_PID/comm")" = pawsd ]; }

pawsd_kill() {
	kill -KILL "$PAWSD_PID"
	wait "$PAWSD_PID" 2>/dev/null || true
}

more_rewritten() { [ "$(counted all out_rewritten)" -gt "$before_restart" ]; }

cleaned_up() { pawsd_start "$WORK/$1.conf" && pawsd_stop && rules_are "$2"; }

MALFORMED=(offset-too-small offset-too-large header-cut syn-rst syn-fin option-len-zero option-len-one option-too-long
	option-no-len timestamps-len-8 two-timestamps tcp-ao)

inject_all() {
	local family
	for family in 4 6; do
		in_ns "$CL" "$TOOLS/inject" --from "$(client_addr $family 5)" --to "$(endpoint $family 1 81)" "$@" || return 1
	done
}

# malformed NAME: each kind leaves as it came, and each has been counted as what it is.
malformed() {
	local before after reason
	before=$(pawsctl stats --json)
	capture_start "malformed-$1"
	check "$1: malformed segments are sent" inject_all "${MALFORMED[@]}"
	capture_stop "malformed-$1"
	check "$1: they leave bit-identical" "$TOOLS/inject" --compare "$WORK/malformed-$1.inside.pcap" \
		"$WORK/malformed-$1.outside.pcap" "${MALFORMED[@]}"
	after=$(pawsctl stats --json)
	for reason in malformed_tcp:6 malformed_flags:4 malformed_options:10 duplicate_timestamps:2 tcp_ao:2; do
		check "$1: counted, ${reason/:/: }" [ "$(($(jq ".packets.${reason%:*}" <<<"$after") -
			$(jq ".packets.${reason%:*}" <<<"$before")))" = "${reason#*:}" ]
	done
}

net_up
net_offload off
for family in 4 6; do serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)"; done
xt "$GW" 4 -t mangle -A FORWARD -s 192.0.2.99 -j ACCEPT
bad_configurations
obstacles
for flavour in legacy nft; do
	if in_ns "$GW" iptables-$flavour -t mangle -nL >/dev/null 2>&1; then
		flavour_lifecycle $flavour
	else
		tap_skip "iptables-$flavour" "this kernel has it not"
	fi
done
tap_done
