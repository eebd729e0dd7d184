#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The netfilter rules, without the daemon: rulesctl puts them into the gateway of lib.sh, real
# connections run through it, and queuecount stands in for pawsd at the queues.
# What rules are there, that a user's own stay, crashes, failures, big lists; and which queue
# each kind of packet reaches. Both iptables flavours, IPv4 and IPv6; nft as far as the kernel goes.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

BIG=100000
BIG_LIMIT_S=15

net_require ipset:ipset nft:nftables
net_up
ENDPOINTS=()
for family in 4 6; do
	for n in 1 2 3 4 5 6 8 9 11 12 13; do
		ENDPOINTS+=("$(endpoint $family $n 80)" "$(endpoint $family $n 443)")
	done
done
serve "${ENDPOINTS[@]}"

rulesctl() { in_ns "$GW" "$TOOLS/rulesctl" "$@"; }
install() { rulesctl install flavour="$XT" "$@" <"$WORK/policy"; }
remove() { rulesctl remove flavour="$XT"; }
policy() { cat >"$WORK/policy"; }

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

same() { diff "$WORK/$1" "$WORK/$2"; }

jumps() { grep -cE -- '^-A FORWARD -p tcp -j PAWSD$' <<<"$(save "$1")"; }
one_jump_at_end() {
	[ "$(jumps 4)" = 1 ] && [ "$(jumps 6)" = 1 ] &&
		[ "$(save 4 | grep -- '^-A FORWARD' | tail -1)" = "-A FORWARD -p tcp -j PAWSD" ] &&
		[ "$(save 6 | grep -- '^-A FORWARD' | tail -1)" = "-A FORWARD -p tcp -j PAWSD" ]
}

mixed_policy() {
	policy <<-EOT
	default off
	net rewrite 198.51.100.0/29,2001:db8:100::/125
	hole off 198.51.100.2,2001:db8:100::2
	inhole rewrite 198.51.100.2,2001:db8:100::2 ports=443
	strip strip 198.51.100.3,2001:db8:100::3
	observe observe 198.51.100.4,2001:db8:100::4
	some rewrite 198.51.100.5,2001:db8:100::5 sources=10.99.1.1,10.99.1.3,fd99::1:1,fd99::1:3
	others off 198.51.100.5,2001:db8:100::5
	outer off 198.51.100.8/29,2001:db8:100::8/125
	inner rewrite 198.51.100.9,2001:db8:100::9
	ports strip 198.51.100.12,2001:db8:100::c ports=80,8000-8100
	disabled rewrite 198.51.100.11,2001:db8:100::b disabled
	EOT
}

# ---- what is installed ----

errors_with() { # WORDS COMMAND...: it fails, and says so in one line with these words.
	local words=$1 output
	shift
	if output=$("$@" 2>&1 >/dev/null); then
		echo "did not fail"
		return 1
	fi
	echo "$output"
	[ "$(wc -l <<<"$output")" = 1 ] && [[ $output == *"$words"* ]]
}

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
		xt "$GW" $family -t mangle -A FORWARD -p tcp -m comment --comment "this is not -j PAWSD" \
			--tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
		xt "$GW" $family -t mangle -A FORWARD -p tcp --dport 9 -j PAWSDX
		xt "$GW" $family -t mangle -A POSTROUTING -p udp -j ACCEPT
	done
	in_ns "$GW" ipset create pawsd_mine hash:ip
	in_ns "$GW" ipset create pawsd-mine hash:ip
}

test_install() {
	user_rules
	state >"$WORK/before"
	mixed_policy
	check "$XT: install" install
	check "$XT: one jump, the last rule of FORWARD" one_jump_at_end
	save 4 >"$WORK/four"
	check "$XT: the user's rules stand as they stood" \
		diff <(grep -v 'PAWSD\b' "$WORK/four") <(save_user 4)
	state_without_letters >"$WORK/first"
	sets >"$WORK/first.sets"
	check "$XT: install again" install
	state_without_letters >"$WORK/second"
	check "$XT: and all is as it was" same first second
	check "$XT: but with sets of another generation" fails diff "$WORK/first.sets" <(sets)
	check "$XT: one jump still" one_jump_at_end
}

save_user() { sed -e '/^-A PAWSD\b/d' -e '/^:PAWSD\b/d' -e '/-j PAWSD$/d' "$WORK/before" | sed '/^COMMIT/q' | grep -v 'PAWSD\b'; }

test_change() {
	policy <<<$'default off\nonly strip 198.51.100.3'
	check "$XT: another policy" install
	check "$XT: its sets alone are there" [ "$(sets | grep -c '^pawsd-[a-z][46]*-')" = 1 ]
	check "$XT: no chain of the old one" [ "$(save 4 | grep -c '^:PAWSD-')" = 4 ]
	check "$XT: no IPv6 rule is left" [ "$(save 6 | grep -c 'PAWSD\b')" = 1 ] # the comment
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
	in_ns "$GW" ipset create pawsd-z4-g1 hash:net
	xt "$GW" 4 -t mangle -A POSTROUTING -m set --match-set pawsd-z4-g1 dst -j ACCEPT
	check "$XT: a set that somebody else uses is named" errors_with "pawsd-z4-g1" remove
	xt "$GW" 4 -t mangle -D POSTROUTING -m set --match-set pawsd-z4-g1 dst -j ACCEPT
	check "$XT: and goes when it is free" remove
}

# ---- size ----

big_lists() {
	awk -v n=$BIG 'BEGIN { for (i = 0; i < n; i++) printf "20.%d.%d.%d\n", i / 32768, i / 128 % 256, i * 2 % 256 }' \
		>"$WORK/big4"
	awk -v n=$BIG 'BEGIN { for (i = 0; i < n; i++) printf "2001:db8:%x:%x::/64\n", i / 32768, i * 2 % 65536 }' \
		>"$WORK/big6"
}

within() { # SECONDS COMMAND...
	local begin=${EPOCHREALTIME/./} limit=$1 took
	shift
	"$@" || return
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
	echo "took $took ms"
	[ "$took" -lt $((limit * 1000)) ]
}

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

# Connections end a little later than their programs; their last packets belong to the case before.
no_connections() {
	[ -z "$(in_ns "$CL" ss -Htn state connected exclude time-wait)" ] &&
		[ -z "$(in_ns "$SV" ss -Htn state connected exclude time-wait)" ]
}
quiet() { wait_until 20 no_connections; }

# connect_to FAMILY CLIENT SERVER PORT [TIME-OUT]: one whole connection.
connect_to() {
	load --from "$(client_addr "$1" "$2")" --to "$(endpoint "$1" "$3" "$4")" --timeout-ms "${5:-3000}"
}

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

# is_queued full|handshake|none FAMILY CLIENT SERVER PORT
# By the established queue come the handshake's ACK, request, answer and both FINs at least.
is_queued() {
	local kind=$1 hs_syn hs_other est_syn est_other
	shift
	queued "$@" || return
	hs_syn=$(value_of hs_syn "$COUNTS") hs_other=$(value_of hs_other "$COUNTS")
	est_syn=$(value_of est_syn "$COUNTS") est_other=$(value_of est_other "$COUNTS")
	[ "$hs_other" = 0 ] && [ "$est_syn" = 0 ] || return
	case $kind in
	none) [ "$hs_syn" = 0 ] && [ "$est_other" = 0 ] ;;
	handshake) [ "$hs_syn" -ge 2 ] && [ "$est_other" = 0 ] ;;
	full) [ "$hs_syn" -ge 2 ] && [ "$est_other" -ge 4 ] ;;
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
	handshake 4 80 1 an observed host
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
	handshake 4 443 1 the port of a destination
	EOT
	policy <<<$'default off\nall rewrite 0.0.0.0/0,::/0\nhole off 198.51.100.2,2001:db8:100::2'
	install wan=wan0
	queue_cases "prefix /0" <<-EOT
	full 1 80 1 any server
	none 2 80 1 an off host
	EOT
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
	test_workers_and_bypass
}

# ---- nft ----

nft() { in_ns "$GW" nft "$@"; }

# print_nft ARGUMENTS...: the rules of the policy in $WORK/policy, to $WORK/nft.
print_nft() { rulesctl print backend=nft "$@" <"$WORK/policy" >"$WORK/nft"; }

# loadable: the same with each queue as a counter, for kernels without `queue`.
loadable() {
	sed -E -e 's/queue flags bypass to .*/counter accept comment "handshake"/' \
		-e 's/queue to .*/counter accept comment "established"/' "$WORK/nft" >"$WORK/nft.loadable"
}

# The kernel may lack `queue`; it must have nothing else to say about the rules as they are.
only_queue_is_missing() {
	local errors
	errors=$(nft -c -f "$WORK/nft" 2>&1) && return
	echo "$errors"
	! grep -A1 Error: <<<"$errors" | grep -v -e Error: -e 'queue' -e '^--'
}

nft_count() { # COMMENT
	nft list table inet pawsd | awk -v c="\"$1\"" '$NF == c { for (i = 1; i < NF; i++) if ($i == "packets") n += $(i + 1) }
		END { print n + 0 }'
}

# nft_queued KIND FAMILY CLIENT SERVER PORT
nft_queued() {
	local hs est
	local kind=$1
	shift
	quiet
	nft -f "$WORK/nft.loadable"
	connect_to "$@" || return
	quiet
	hs=$(nft_count handshake) est=$(nft_count established)
	echo "handshake $hs established $est"
	case $kind in
	none) [ "$hs" = 0 ] && [ "$est" = 0 ] ;;
	handshake) [ "$hs" -ge 2 ] && [ "$est" = 0 ] ;;
	full) [ "$hs" -ge 2 ] && [ "$hs" -le 4 ] && [ "$est" -ge 4 ] ;;
	esac
}

nft_cases() { # WHAT, and lines as queue_cases has them
	local kind server port client why family
	while read -r kind server port client why; do
		for family in 4 6; do
			check "nft: IPv$family $1: $kind for $why" nft_queued "$kind" $family "$client" "$server" "$port"
		done
	done
}

nft_mixed_cases() { # WHAT: with NAT in between, clients are not told apart.
	nft_cases "$1" <<-EOT
	full 1 80 1 a rewritten prefix
	none 2 80 1 an off host inside of it
	full 2 443 1 a rewritten port of that host
	handshake 3 80 1 a stripped host
	handshake 4 80 1 an observed host
	none 8 80 1 an off prefix
	full 9 80 1 a rewritten host inside of it
	none 11 80 1 a disabled destination
	handshake 12 80 1 a port of two ranges
	none 12 443 1 another port
	full 13 80 1 a draining server
	EOT
}

nft_source_cases() {
	nft_cases "$1" <<-EOT
	full 5 80 1 a client in sources
	none 5 80 2 a client not in sources
	EOT
}

nft_accepted() { # NAME ARGUMENTS...
	local name=$1
	shift
	print_nft "$@"
	loadable
	check "nft: $name: at most the queue expression is missing" only_queue_is_missing
	check "nft: $name: loads" nft -f "$WORK/nft.loadable"
	check "nft: $name: loads in the place of itself" nft -f "$WORK/nft.loadable"
}

test_nft_placements() {
	local drain=("drain=$(server_addr 4 13),80" "drain=$(server_addr 6 13),80" "drain=$(server_addr 6 13),80")
	mixed_policy
	nft_accepted "forward, no wan" "${drain[@]}"
	nft_mixed_cases "forward, no wan"
	nft_source_cases "forward, no wan"
	nft_accepted "forward, wan, four workers" 'wan=pp*' wan=wan0 workers=4 "${drain[@]}"
	nft_mixed_cases "forward, wan"
	nft_source_cases "forward, wan"
	nft_accepted "postnat, no wan" placement=postnat "${drain[@]}"
	nft_mixed_cases "postnat, no wan"
	nft_accepted "postnat, wan, four workers" placement=postnat 'wan=wan*' workers=4 "${drain[@]}"
	nft_mixed_cases "postnat, wan"
	policy <<<"default off
some rewrite 198.51.100.5,2001:db8:100::5 sources=$PUBLIC_4,$PUBLIC_6
inside strip 198.51.100.6,2001:db8:100::6 sources=10.99.0.0/16,fd99::/64"
	nft_accepted "postnat, sources" placement=postnat wan=wan0
	nft_cases "postnat" <<-EOT
	full 5 80 1 the public address in sources
	none 6 80 1 the inner address in sources
	EOT
	policy <<<$'default rewrite\nhole off 198.51.100.2,2001:db8:100::2\nstrip strip 198.51.100.3,2001:db8:100::3'
	for placement in forward postnat; do
		nft_accepted "default rewrite, $placement" placement=$placement wan=wan0
		nft_cases "default rewrite, $placement" <<-EOT
		full 1 80 1 a server of no destination
		none 2 80 1 an off host
		handshake 3 80 1 a stripped host
		EOT
	done
	# Each packet once, although a client's address is in the policy as well.
	nft_accepted "default rewrite, postnat, no wan" placement=postnat
	nft_cases "default rewrite, postnat, no wan" <<-EOT
	full 1 80 1 a server of no destination
	handshake 3 80 1 a stripped host
	EOT
	policy <<<$'default off\nall rewrite 0.0.0.0/0,::/0\nhole off 198.51.100.2,2001:db8:100::2'
	nft_accepted "prefix /0" wan=wan0
	nft_cases "prefix /0" <<-EOT
	full 1 80 1 any server
	none 2 80 1 an off host
	EOT
}

test_nft_install() {
	mixed_policy
	nft add table inet mine
	if rulesctl install backend=nft <"$WORK/policy" 2>"$WORK/error"; then
		check "nft: install again" rulesctl install backend=nft <"$WORK/policy"
		check "nft: the table is there" nft list table inet pawsd
	else
		check "nft: install names what the kernel lacks" grep -q 'lacks CONFIG_NFT_QUEUE$' "$WORK/error"
		tap_skip "nft: install" "the kernel has no CONFIG_NFT_QUEUE"
	fi
	print_nft
	loadable
	nft -f "$WORK/nft.loadable"
	nft -s list ruleset 2>/dev/null >"$WORK/nft.before"
	# A refused installation leaves the table that was there.
	if ! rulesctl install backend=nft <"$WORK/policy" 2>/dev/null; then
		nft -s list ruleset 2>/dev/null >"$WORK/nft.after"
		check "nft: a refused install changes nothing" same nft.before nft.after
	fi
	check "nft: remove" rulesctl remove backend=nft
	check "nft: the table is gone" fails nft list table inet pawsd
	check "nft: the user's is not" nft list table inet mine
	check "nft: remove where there is nothing" rulesctl remove backend=nft
	mkdir -p "$WORK/empty"
	check "nft: without the command it fails" errors_with "it is in the Debian package nftables" \
		in_ns "$GW" env PATH="$WORK/empty" "$TOOLS/rulesctl" install backend=nft <"$WORK/policy"
}

test_nft_big() {
	policy <<<"default off
big rewrite @$WORK/big4,@$WORK/big6
web strip 20.0.0.0/8 ports=80"
	print_nft
	loadable
	check "nft: 2 x $BIG prefixes within $BIG_LIMIT_S s" within $BIG_LIMIT_S nft -f "$WORK/nft.loadable"
	nft delete table inet pawsd
}

mkdir -p "$WORK/empty"
big_lists
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
test_nft_placements
test_nft_install
test_nft_big
tap_done
