#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The netfilter rules, without the daemon: rulesctl puts them into the gateway of lib.sh, real
# connections run through it, and queuecount stands in for pawsd at the queues.
# What rules are there, that a user's own stay, crashes, failures, big lists; and which queue
# each kind of packet reaches. Both iptables flavours, IPv4 and IPv6.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/rules_lib.sh
. "$(dirname "$0")/rules_lib.sh"

rules_up ipset:ipset setpriv:util-linux ss:iproute2

install() { rulesctl install flavour="$XT" "$@" <"$WORK/policy"; }
remove() { rulesctl remove flavour="$XT"; }

# save FAMILY: table mangle, without dates and counters.
save() {
	local command=iptables
	[ "$1" = 4 ] || command=ip6tables
	[ "$XT" = default ] || command=$command-$XT
	in_ns "$GW" "$command-save" -t mangle 2>/dev/null | sed -e '/^#/d' -e 's/\[[0-9:]*\]//'
}

sets() { in_ns "$GW" ipset list -n; }

# state: all that a test may find changed. The letter of a generation is no change.
state() {
	save 4
	save 6
	in_ns "$GW" ipset save | sort
}
state_without_letters() { state | sed -E 's/pawsd-[a-z]([46]?)-/pawsd-X\1-/g; s/initval 0x[0-9a-f]*//'; }

jumps() { grep -cE -- '^-A FORWARD -p tcp -j PAWSD$' <<<"$(save "$1")"; }
one_jump_at_end() {
	[ "$(jumps 4)" = 1 ] && [ "$(jumps 6)" = 1 ] &&
		[ "$(save 4 | grep -- '^-A FORWARD' | tail -1)" = "-A FORWARD -p tcp -j PAWSD" ] &&
		[ "$(save 6 | grep -- '^-A FORWARD' | tail -1)" = "-A FORWARD -p tcp -j PAWSD" ]
}

# ---- what is installed ----

# path_with NAME COMMAND...: a directory with just these commands, to be a PATH.
path_with() {
	local dir=$WORK/$1 command
	shift
	mkdir -p "$dir"
	for command; do ln -sf "$(command -v "$command")" "$dir/$command"; done
}

with_path() { # DIRECTORY COMMAND...: rulesctl with only the commands in the directory.
	local dir=$1
	shift
	in_ns "$GW" env PATH="$dir" "$TOOLS/rulesctl" "$@" flavour="$XT" <"$WORK/policy"
}

user_rules() {
	local family
	for family in 4 6; do
		xt "$GW" $family -t mangle -N PAWSDX
		xt "$GW" $family -t mangle -A FORWARD -p tcp -m comment --comment "not by -j PAWSD this" \
			--tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
		xt "$GW" $family -t mangle -A FORWARD -p udp -m comment --comment PAWSD -j ACCEPT
		xt "$GW" $family -t mangle -A FORWARD -p tcp --dport 9 -j PAWSDX
		xt "$GW" $family -t mangle -A POSTROUTING -p udp -j ACCEPT
	done
	in_ns "$GW" ipset create pawsd_mine hash:ip
	in_ns "$GW" ipset create pawsd-mine hash:ip
}

without_ours() { sed -e '/^:PAWSD\(-\| \)/d' -e '/^-A PAWSD\(-\| \)/d' -e '/-j PAWSD$/d' "$1"; }

test_install() {
	user_rules
	state >"$WORK/before"
	mixed_policy
	check "$XT: install" install
	check "$XT: one jump, the last rule of FORWARD" one_jump_at_end
	save 4 >"$WORK/four"
	check "$XT: the user's rules stand as they stood" \
		diff <(without_ours "$WORK/four") <(sed '/^COMMIT/q' "$WORK/before")
	state_without_letters >"$WORK/first"
	sets >"$WORK/first.sets"
	check "$XT: install again" install
	state_without_letters >"$WORK/second"
	check "$XT: and all is as it was" same first second
	check "$XT: but with sets of another generation" fails diff "$WORK/first.sets" <(sets)
	check "$XT: one jump still" one_jump_at_end
}

test_change() {
	policy <<<$'default off\nonly strip 198.51.100.3'
	check "$XT: another policy" install
	check "$XT: its sets alone are there" [ "$(sets | grep -c '^pawsd-[a-z][46]*-')" = 1 ]
	check "$XT: no chain of the old one" [ "$(save 4 | grep -c '^:PAWSD-')" = 4 ]
	check "$XT: no IPv6 rule is left" [ "$(save 6 | grep -c 'PAWSD\b')" = 2 ] # the user's comments
	check "$XT: remove" remove
	state >"$WORK/after"
	check "$XT: all is as before the first install" same before after
	check "$XT: remove where there is nothing" remove
	state >"$WORK/after"
	check "$XT: and nothing happened" same before after
	policy <<<$'default off\nonly off 198.51.100.3'
	check "$XT: install of a policy that needs no rules" install
	state >"$WORK/after"
	check "$XT: makes none" same before after
}

# What processes that were killed at bad moments could leave.
test_crash() {
	local family
	mixed_policy
	check "$XT: install before a crash" install
	for family in 4 6; do
		xt "$GW" $family -t mangle -N PAWSD-G99-OUT
		xt "$GW" $family -t mangle -A PAWSD-G99-OUT -j PAWSD-SYN
		xt "$GW" $family -t mangle -I FORWARD -p tcp -j PAWSD
		xt "$GW" $family -t mangle -I PREROUTING -i lan0 -j PAWSD-OUT
	done
	in_ns "$GW" ipset create pawsd-b4-g1 hash:net
	in_ns "$GW" ipset create pawsd-c-p7 bitmap:port range 0-65535
	xt "$GW" 4 -t mangle -A PAWSD-G99-OUT -m set --match-set pawsd-c-p7 dst -j RETURN
	check "$XT: install after a crash" install
	check "$XT: one jump after it" one_jump_at_end
	state_without_letters >"$WORK/second"
	check "$XT: all as after the first install" same first second
	in_ns "$GW" ipset create pawsd-z6-g1 hash:net family inet6
	check "$XT: remove after a crash" remove
	state >"$WORK/after"
	check "$XT: nothing is left of it" same before after
}

# ---- failures ----

xt_commands() {
	local suffix=
	[ "$XT" = default ] || suffix=-$XT
	for command in "$1$suffix-save" "$1$suffix-restore"; do echo "$command"; done
}

# An ipset to which the sets are in use the first three times, as they can be just after a
# transaction of iptables-nft.
busy_ipset() {
	cat <<-EOT
	#!/bin/sh
	if [ "\$1" != list ]; then
		for n in 1 2 3; do
			[ -e "$WORK/busy-\$n" ] || continue
			rm "$WORK/busy-\$n"
			echo "ipset: Set cannot be destroyed: it is in use by a kernel component" >&2
			exit 1
		done
	fi
	exec $(command -v ipset) "\$@"
	EOT
}

test_failures() {
	local old_ok="$XT: the old rules stand:" suffix=
	[ "$XT" = default ] || suffix=-$XT
	# shellcheck disable=SC2046
	path_with no-ipset $(xt_commands iptables) $(xt_commands ip6tables)
	# shellcheck disable=SC2046
	path_with no-ip6 $(xt_commands iptables) ipset
	# shellcheck disable=SC2046
	path_with bad-ip6 $(xt_commands iptables) $(xt_commands ip6tables) ipset
	rm "$WORK/bad-ip6/ip6tables$suffix-restore"
	printf '#!/bin/sh\necho "refused for a test" >&2\nexit 1\n' >"$WORK/bad-ip6/ip6tables$suffix-restore"
	chmod +x "$WORK/bad-ip6/ip6tables$suffix-restore"
	mixed_policy
	install
	state >"$WORK/before-failure"
	policy <<<$'default off\nnew rewrite 198.51.100.0/24,2001:db8:100::/64'
	check "$XT: without ipset it fails" \
		errors_with "it is in the Debian package ipset" with_path "$WORK/no-ipset" install
	state >"$WORK/after"
	check "$old_ok no ipset" same before-failure after
	check "$XT: without ip6tables it fails" \
		errors_with "it is in the Debian package iptables" with_path "$WORK/no-ip6" install
	state >"$WORK/after"
	check "$old_ok no ip6tables" same before-failure after
	check "$XT: with a refusal in the second family it fails" \
		errors_with "refused for a test" with_path "$WORK/bad-ip6" install
	state >"$WORK/after"
	check "$old_ok the first family's too" same before-failure after
	check "$XT: with no iptables at all it fails" \
		errors_with "it is in the Debian package iptables" with_path "$WORK/empty" install
	check "$XT: without CAP_NET_ADMIN it fails" \
		errors_with "CAP_NET_ADMIN" in_ns "$GW" setpriv --bounding-set -net_admin --inh-caps -net_admin \
		"$TOOLS/rulesctl" install flavour="$XT" <"$WORK/policy"
	state >"$WORK/after"
	check "$old_ok no capability" same before-failure after
	remove
	policy <<<$'default off\nnew rewrite 198.51.100.0/24'
	check "$XT: IPv4 alone needs no ip6tables" with_path "$WORK/no-ip6" install
	check "$XT: nor does its removal" with_path "$WORK/no-ip6" remove
	policy <<<$'default rewrite'
	check "$XT: a policy without sets needs no ipset" with_path "$WORK/no-ipset" install
	check "$XT: nor does its removal" with_path "$WORK/no-ipset" remove
	state >"$WORK/after"
	check "$XT: nothing is left of them" same before after
	# shellcheck disable=SC2046
	path_with busy-ipset $(xt_commands iptables) $(xt_commands ip6tables) cat rm
	busy_ipset >"$WORK/busy-ipset/ipset"
	chmod +x "$WORK/busy-ipset/ipset"
	policy <<<$'default off\nnew rewrite 198.51.100.0/24'
	install
	touch "$WORK/busy-1" "$WORK/busy-2" "$WORK/busy-3"
	check "$XT: sets that are still in use for a moment are waited for" with_path "$WORK/busy-ipset" remove
	check "$XT: they were in use" fails test -e "$WORK/busy-1"
	state >"$WORK/after"
	check "$XT: and then they are gone" same before after
	in_ns "$GW" ipset create pawsd-z4-g1 hash:net
	xt "$GW" 4 -t mangle -A POSTROUTING -m set --match-set pawsd-z4-g1 dst -j ACCEPT
	check "$XT: a set that somebody else uses is named" errors_with "pawsd-z4-g1" remove
	xt "$GW" 4 -t mangle -D POSTROUTING -m set --match-set pawsd-z4-g1 dst -j ACCEPT
	check "$XT: and goes when it is free" remove
}

# ---- size ----

entries() { in_ns "$GW" ipset list -t | awk '/^Name: pawsd-[a-z]/ { ours = 1 } /^Number/ && ours { n += $4; ours = 0 } END { print n + 0 }'; }

test_big() {
	policy <<<"default off
big rewrite @$WORK/big4,@$WORK/big6"
	check "$XT: 2 x $BIG prefixes within $BIG_LIMIT_S s" within $BIG_LIMIT_S install
	check "$XT: all of them are there" [ "$(entries)" = $((2 * BIG)) ]
	check "$XT: and once more" within $BIG_LIMIT_S install
	check "$XT: and away" within $BIG_LIMIT_S remove
	state >"$WORK/after"
	check "$XT: nothing is left of them" same before after
}

# ---- which packets reach which queue ----

listens() { in_ns "$GW" grep -q "^ *$1 " /proc/net/netfilter/nfnetlink_queue; }

# counter_start WORKERS, counter_stop: in between, the queues have a listener. COUNTS is what it saw.
counter_start() {
	quiet
	start "$GW" "$TOOLS/queuecount" --first 9470 --workers "$1" --stats "$WORK/counts"
	COUNTER=$STARTED
	wait_until 5 listens $((9470 + 2 * $1 - 1))
}

counter_stop() {
	quiet
	finish "$COUNTER"
	COUNTS=$(cat "$WORK/counts")
	rm -f "$WORK/counts"
	echo "$COUNTS"
}

# queued FAMILY CLIENT SERVER PORT: makes a connection, and sets COUNTS to what came by which queue.
queued() {
	local status=0
	counter_start 1
	connect_to "$@" || status=$?
	counter_stop
	return "$status"
}

# is_queued full|handshake|watch|none FAMILY CLIENT SERVER PORT
# By the established queue come the handshake's ACK, request, answer and both FINs at least.
is_queued() {
	local kind=$1 hs_syn hs_other est_syn est_other
	shift
	queued "$@" || return
	hs_syn=$(value_of hs_syn "$COUNTS") hs_other=$(value_of hs_other "$COUNTS")
	est_syn=$(value_of est_syn "$COUNTS") est_other=$(value_of est_other "$COUNTS")
	[ "$est_syn" = 0 ] || return
	# Of what is watched both FINs.
	if [ "$kind" = watch ]; then
		[ "$hs_syn" -ge 2 ] && [ "$hs_other" -ge 2 ] && [ "$hs_other" -le 4 ] && [ "$est_other" = 0 ]
		return
	fi
	[ "$hs_other" = 0 ] || return
	case $kind in
	none) [ "$hs_syn" = 0 ] && [ "$est_other" = 0 ] ;;
	handshake) [ "$hs_syn" -ge 2 ] && [ "$est_other" = 0 ] ;;
	full) [ "$hs_syn" -ge 2 ] && [ "$est_other" -ge 4 ] ;;
	segments) [ "$hs_syn" = 0 ] && [ "$est_other" -ge 4 ] ;;
	answers) [ "$hs_syn" = 1 ] && [ "$est_other" -ge 2 ] ;; # the SYN/ACK is one
	begun) [ "$hs_syn" = 2 ] && [ "$est_other" -ge 2 ] ;; # and the SYN
	esac
}

# queue_cases TEXT: lines of "KIND SERVER PORT CLIENT WHY".
queue_cases() {
	local kind server port client why family
	while read -r kind server port client why; do
		[ -n "$kind" ] || continue
		for family in 4 6; do
			check "$XT: IPv$family $1: $kind for $why" is_queued "$kind" $family "$client" "$server" "$port"
		done
	done
}

mixed_cases() {
	queue_cases "$1" <<-EOT
	full 1 80 1 a rewritten prefix
	none 2 80 1 an off host inside of it
	full 2 443 1 a rewritten port of that host
	handshake 3 80 1 a stripped host
	watch 4 80 1 an observed host
	full 5 80 1 a client in sources
	none 5 80 2 a client not in sources
	full 5 80 3 a client in sources too
	none 8 80 1 an off prefix
	full 9 80 1 a rewritten host inside of it
	none 11 80 1 a disabled destination
	handshake 12 80 1 a port of two ranges
	none 12 443 1 another port
	EOT
}

test_packets() {
	mixed_policy
	install
	mixed_cases "no wan"
	install wan=wan9 'wan=wa*'
	mixed_cases "wan wa*"
	install wan=lan0
	queue_cases "wan on the wrong side" <<<"none 1 80 1 a rewritten prefix"
	install drain="$(server_addr 4 13),80" drain="$(server_addr 6 13),80" drain="$(server_addr 4 3),80" \
		drain="$(server_addr 6 3),80" drain="$(server_addr 6 3),80"
	queue_cases "drain" <<-EOT
	full 13 80 1 a draining server
	none 13 443 1 another port of it
	full 3 80 1 one that is now stripped
	handshake 3 443 1 another port of that
	EOT
	policy <<-EOT
	default rewrite
	hole off 198.51.100.2,2001:db8:100::2
	strip strip 198.51.100.3,2001:db8:100::3
	other observe 198.51.100.4,2001:db8:100::4 ports=443
	EOT
	install wan=wan0
	queue_cases "default rewrite" <<-EOT
	full 1 80 1 a server of no destination
	none 2 80 1 an off host
	handshake 3 80 1 a stripped host
	full 4 80 1 another port than that of a destination
	watch 4 443 1 the port of a destination
	EOT
	policy <<<$'default off\nall rewrite 0.0.0.0/0,::/0\nhole off 198.51.100.2,2001:db8:100::2'
	install wan=wan0
	queue_cases "prefix /0" <<-EOT
	full 1 80 1 any server
	none 2 80 1 an off host
	EOT
}

# programs SYN OTHERS: in the place of a program at lan0, what it says of a client's packets, SYNs and others; 0: there is none.
# What goes to clients is counted.
programs() {
	local family
	for family in 4 6; do
		xt "$GW" $family -t raw -F PREROUTING
		xt "$GW" $family -t mangle -F POSTROUTING
		xt "$GW" $family -t raw -A PREROUTING -i lan0 -p tcp --tcp-flags SYN SYN -j MARK --set-xmark "$1/0x70000"
		xt "$GW" $family -t raw -A PREROUTING -i lan0 -p tcp ! --tcp-flags SYN SYN -j MARK --set-xmark "$2/0x70000"
		xt "$GW" $family -t mangle -A POSTROUTING -o lan0 -p tcp -m mark --mark 0x40000/0x70000
		xt "$GW" $family -t mangle -A POSTROUTING -o lan0 -p tcp -m mark ! --mark 0x40000/0x70000
	done
}

# marked_for_clients FAMILY: packets to clients that no program is to touch, and the others.
marked_for_clients() { xt "$GW" "$1" -t mangle -nvxL POSTROUTING | awk '/mark match/ { printf "%s ", $1 }'; }

# fast_cases TEXT: lines of "SYN OTHERS KIND SERVER LEFT WHY": whether all, some or none are left to a program, of those that go
# to a client.
fast_cases() {
	local syn others kind server left why family
	while read -r syn others kind server left why; do
		programs "$syn" "$others"
		for family in 4 6; do
			check "$XT: IPv$family $1: $kind for $why" is_queued "$kind" $family 1 "$server" 80
			check "$XT: IPv$family $1: $left of the answers are left to a program" \
				are_left "$left" $family
		done
	done
}

are_left() { # all|some|none FAMILY
	local marked left
	read -r marked left <<<"$(marked_for_clients "$2")"
	echo "marked $marked, left $left"
	case $1 in
	all) [ "$marked" = 0 ] && [ "$left" -ge 3 ] ;;
	some) [ "$marked" -ge 1 ] && [ "$left" -ge 1 ] ;;
	none) [ "$marked" -ge 3 ] && [ "$left" = 0 ] ;;
	esac
}

test_programs() {
	mixed_policy
	check "$XT: install with programs" install label=64 fast=lan0 fast=lan9 wan=wan0
	fast_cases "labels" <<-EOT
	0x50000 0x10000 none 1 all a connection that programs have done with
	0x10000 0x10000 answers 1 none one that no program has vouched for
	0x20000 0x20000 full 1 none one that they leave
	0x30000 0x30000 full 1 none one that they do not know
	0x0 0x0 full 1 none one that no program has seen
	0x50000 0x20000 segments 1 some one that they leave after its SYN
	0x20000 0x10000 begun 1 none one whose SYN alone they leave
	0x20000 0x20000 none 2 all an off host
	0x30000 0x30000 handshake 3 all a stripped host
	EOT
	check "$XT: install with programs, without wan" install label=66 fast=lan0
	fast_cases "labels, no wan" <<-EOT
	0x50000 0x10000 none 1 all a connection that programs have done with
	0x50000 0x20000 segments 1 some one that they leave after its SYN
	0x0 0x0 full 1 none one that no program has seen
	EOT
	check "$XT: install with programs elsewhere" install label=68 fast=lan9 wan=wan0
	fast_cases "labels, another interface" <<<"0x50000 0x10000 answers 1 none a client's packets that were done with"
	check "$XT: install with programs, without labels" install fast=lan0 wan=wan0
	fast_cases "no labels" <<-EOT
	0x50000 0x10000 answers 1 none a client's packets that were done with
	0x20000 0x20000 full 1 none those that were left
	0x20000 0x20000 none 2 all an off host
	EOT
	install label=70 wan=wan0
	fast_cases "rules without programs" <<<"0x50000 0x10000 full 1 all marks of others"
	for family in 4 6; do xt "$GW" $family -t raw -F PREROUTING; done
	for family in 4 6; do xt "$GW" $family -t mangle -F POSTROUTING; done
}

# One worker per flow, whatever the packet; and more than one worker has something to do.
is_paired() {
	counter_start 4
	load --from "$(clients "$1")" --to "$(endpoint "$1" 1 80)" --count 64 --timeout-ms 3000 || true
	counter_stop
	[ "$(value_of flows "$COUNTS")" = 64 ] && [ "$(value_of split "$COUNTS")" = 0 ] &&
		[ "$(value_of used "$COUNTS")" -ge 2 ] && [ "$(value_of est_other "$COUNTS")" -gt 256 ] &&
		[ "$(value_of est_syn "$COUNTS")" = 0 ] && [ "$(value_of hs_other "$COUNTS")" = 0 ]
}

test_workers_and_bypass() {
	local family
	mixed_policy
	install workers=4
	for family in 4 6; do
		check "$XT: IPv$family: four workers, and each flow with one" is_paired $family
	done
	for family in 4 6; do
		check "$XT: IPv$family: without a listener off passes" connect_to $family 1 2 80
		check "$XT: IPv$family: without a listener strip passes" connect_to $family 1 3 80
		check "$XT: IPv$family: without a listener rewrite does not" fails connect_to $family 1 1 80 500
	done
	remove
	check "$XT: it does without rules" connect_to 4 1 1 80
}

test_iptables() {
	test_install
	test_change
	test_crash
	test_failures
	test_big
	test_packets
	test_programs
	test_workers_and_bypass
}

for XT in legacy nft; do
	if in_ns "$GW" "iptables-$XT-save" -t mangle >/dev/null 2>&1; then
		test_iptables
		for family in 4 6; do
			xt "$GW" $family -t mangle -F
			xt "$GW" $family -t mangle -X
		done
		in_ns "$GW" ipset destroy pawsd_mine
		in_ns "$GW" ipset destroy pawsd-mine
	else
		tap_skip "iptables-$XT" "it does not work here"
	fi
done
tap_done
