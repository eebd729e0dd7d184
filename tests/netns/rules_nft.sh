#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The rules for nft, as far as the kernel goes: where it has no `queue` expression it must have
# nothing else to say about them, and with counters in the place of the queues they are loaded,
# and real connections show which queue each packet would reach. Both placements.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/rules_lib.sh
. "$(dirname "$0")/rules_lib.sh"

rules_up nft:nftables ss:iproute2

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
	segments) [ "$hs" = 0 ] && [ "$est" -ge 4 ] ;;
	answers) [ "$hs" = 1 ] && [ "$est" -ge 2 ] ;; # the SYN/ACK is one
	begun) [ "$hs" = 2 ] && [ "$est" -ge 2 ] ;; # and the SYN
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

# nft_programs SYN OTHERS: in the place of a program at lan0, what it says of a client's packets, SYNs and others. What goes to
# clients is counted.
nft_programs() {
	nft -f - <<-EOT
	table inet marks
	delete table inet marks
	table inet marks {
		chain before {
			type filter hook prerouting priority raw; policy accept;
			iifname "lan0" tcp flags & syn != 0 meta mark set $1
			iifname "lan0" tcp flags & syn == 0 meta mark set $2
		}
		chain behind {
			type filter hook postrouting priority mangle + 20; policy accept;
			oifname "lan0" meta l4proto tcp meta mark & 0x70000 == 0x40000 counter comment "done"
			oifname "lan0" meta l4proto tcp meta mark & 0x70000 != 0x40000 counter comment "left"
		}
	}
	EOT
}

nft_marked() { # done|left: packets to clients
	nft list table inet marks | awk -v c="\"$1\"" '$NF == c { for (i = 1; i < NF; i++) if ($i == "packets") print $(i + 1) }'
}

nft_left() { # all|some|none: of the answers are left to a program.
	local marked left
	marked=$(nft_marked "done") left=$(nft_marked left)
	echo "marked $marked, left $left"
	case $1 in
	all) [ "$marked" = 0 ] && [ "$left" -ge 3 ] ;;
	some) [ "$marked" -ge 1 ] && [ "$left" -ge 1 ] ;;
	none) [ "$marked" -ge 3 ] && [ "$left" = 0 ] ;;
	esac
}

nft_fast_cases() { # WHAT, and lines of "SYN OTHERS KIND SERVER LEFT WHY"
	local syn others kind server left why family
	while read -r syn others kind server left why; do
		for family in 4 6; do
			nft_programs "$syn" "$others"
			check "nft: IPv$family $1: $kind for $why" nft_queued "$kind" $family 1 "$server" 80
			check "nft: IPv$family $1: $left of the answers are left to a program" nft_left "$left"
		done
	done
}

test_nft_programs() {
	mixed_policy
	nft_accepted "programs" label=64 fast=lan0 fast=lan9 wan=wan0
	nft_fast_cases "programs" <<-EOT
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
	nft_accepted "programs, no wan" label=66 fast=lan0
	nft_fast_cases "programs, no wan" <<-EOT
	0x50000 0x10000 none 1 all a connection that programs have done with
	0x50000 0x20000 segments 1 some one that they leave after its SYN
	0x0 0x0 full 1 none one that no program has seen
	EOT
	nft_accepted "programs elsewhere" label=68 fast=lan9 wan=wan0
	nft_fast_cases "programs elsewhere" <<<"0x50000 0x10000 answers 1 none a client's packets that were done with"
	nft_accepted "programs, no labels" fast=lan0 wan=wan0
	nft_fast_cases "programs, no labels" <<-EOT
	0x50000 0x10000 answers 1 none a client's packets that were done with
	0x20000 0x20000 full 1 none those that were left
	EOT
	nft delete table inet marks
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

test_nft_placements
test_nft_programs
test_nft_install
test_nft_big
tap_done
