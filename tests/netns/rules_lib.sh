# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What rules.sh and rules_nft.sh share. To be sourced behind lib.sh: rulesctl puts rules into the
# gateway without the daemon, real connections run through it.

BIG=100000
# shellcheck disable=SC2034 # read by those that source this
BIG_LIMIT_S=15

rulesctl() { in_ns "$GW" "$TOOLS/rulesctl" "$@"; }
policy() { cat >"$WORK/policy"; }

# rules_up COMMAND:PACKAGE...: the topology, with servers, and lists of $BIG prefixes in $WORK/big4 and big6.
rules_up() {
	net_require "$@"
	net_up
	mkdir "$WORK/empty"
	big_lists
	rules_serve
}

rules_serve() {
	local family n endpoints=()
	for family in 4 6; do
		for n in 1 2 3 4 5 6 8 9 11 12 13; do
			endpoints+=("$(endpoint $family $n 80)" "$(endpoint $family $n 443)")
		done
	done
	serve "${endpoints[@]}"
}

same() { diff "$WORK/$1" "$WORK/$2"; }

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

big_lists() {
	awk -v n=$BIG 'BEGIN { for (i = 0; i < n; i++) printf "20.%d.%d.%d\n", i / 32768, i / 128 % 256, i * 2 % 256 }' \
		>"$WORK/big4"
	awk -v n=$BIG 'BEGIN { for (i = 0; i < n; i++) printf "2001:db8:%x:%x::/64\n", i / 32768, i * 2 % 65536 }' \
		>"$WORK/big6"
}

# A sanitizer takes three times as long.
within() { # SECONDS COMMAND...
	local begin=${EPOCHREALTIME/./} limit=$1 took
	shift
	! is_sanitized || limit=$((limit * 3))
	"$@" || return
	took=$(((${EPOCHREALTIME/./} - begin) / 1000))
	echo "took $took ms"
	[ "$took" -lt $((limit * 1000)) ]
}

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
