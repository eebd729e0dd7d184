#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `pawsctl analyze` on captures made from descriptions (tests/captures/hand): of each what it says is to be found, likely at least,
# and nothing besides; of those that only look like it nothing, not even as possible. Each over IPv4 and IPv6, and a crowd that does not
# say where it is seen on either side of NAT, over IPv6 on the outer one. A line a description.
#
# What a description calls a trap (`fools RULE`) is one: the simple rule of that name, below, is wrong about it here.
# No root, no network, half a minute. Prints TAP. Usage: test_captures.sh [BUILD [NAME...]].
set -euo pipefail

BUILD=${1:-${BUILD:-build}}
shift || true
PAWSCTL=$BUILD/pawsctl HANDCAP=$BUILD/tests/handcap
HAND=$(dirname "$0")/../captures/hand
DIR=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-captures.XXXXXX")
COUNT=0 FAILED=0 DONE=''

clean_up() {
	[ -n "$DONE" ] || echo "Bail out! ended after test $COUNT"
	rm -rf "$DIR"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# What somebody in a hurry would take for tw_recycle, or for a server that has it, by the counts of one port or of one address.
SUM='reduce .[] as $port ({}; reduce ($port | keys[]) as $kind (.; ($kind | sub("meanwhile"; "newer")) as $name |
	.[$name].answered += $port[$kind].answered | .[$name].unanswered += $port[$kind].unanswered))'
declare -A RULES=(
	[older_seen]='.syns.older.answered + .syns.older.unanswered >= 100'
	[bare_seen]='.syns.bare.answered + .syns.bare.unanswered >= 100'
	[older_unanswered]='.syns.older.unanswered + .syns.silent.unanswered >= 3 and .syns.newer.answered >= 3'
	[bare_unanswered]='.syns.bare.unanswered + .syns.silent.unanswered >= 3 and .syns.newer.answered >= 3'
	[older_most]='.syns.older.unanswered >= 3 and .syns.older.unanswered > .syns.older.answered and .syns.newer.answered > .syns.newer.unanswered'
	[bare_most]='.syns.bare.unanswered >= 3 and .syns.bare.unanswered > .syns.bare.answered and .syns.newer.answered > .syns.newer.unanswered'
	[older_all]='.syns.older.unanswered >= 3 and .syns.older.answered == 0 and .syns.newer.answered >= 3'
)

report() {
	COUNT=$((COUNT + 1))
	if [ ! -s "$DIR/wrong" ]; then
		echo "ok $COUNT - $1"
	else
		echo "not ok $COUNT - $1"
		sed 's/^/# /' "$DIR/wrong"
		FAILED=$((FAILED + 1))
	fi
	: >"$DIR/wrong"
}

# What is found, a line each, sorted: FINDING ADDRESS PORT, and in brackets what is only possible.
found() {
	jq -r '.[0].servers[] as $s | $s.findings[] | "\(.finding) \($s.address) \($s.port)"
		+ if .confidence == "possible" then " (possible)" else "" end' "$DIR/out" | LC_ALL=C sort
}

# judge NAME OPTION...: makes the capture with these options, and has it looked at.
judge() {
	local name=$1 status=0 rule
	shift
	if ! "$HANDCAP" "$@" "$HAND/$name.cap" "$DIR/made" >"$DIR/expected" 2>>"$DIR/wrong"; then
		echo "cannot be made" >>"$DIR/wrong"
		return
	fi
	"$PAWSCTL" analyze --json "$DIR/made" >"$DIR/out" 2>"$DIR/err" || status=$?
	found >"$DIR/found"
	if ! diff "$DIR/expected" "$DIR/found" >"$DIR/diff" || [ "$status" != "$([ -s "$DIR/expected" ] && echo 3 || echo 0)" ]; then
		{
			echo "handcap $*: exit status $status; expected (<) and found (>):"
			cat "$DIR/diff" "$DIR/err"
			jq -c '.[0].servers[] | select(.findings != []) | {address, port, syns}' "$DIR/out"
		} >>"$DIR/wrong"
	fi
	while read -r rule; do
		[ -n "${RULES[$rule]-}" ] || echo "no rule \"$rule\"" >>"$DIR/wrong"
		jq -e "any(.[0].servers | .[], group_by(.address)[] | {syns: ([.. | objects | select(.syns) |
				.syns + {silent: {answered: 0, unanswered: .signs.silent}}] | $SUM)}; ${RULES[$rule]-false})" "$DIR/out" \
			>/dev/null ||
			echo "handcap $*: no trap for the rule \"$rule\"" >>"$DIR/wrong"
	done < <(sed -n 's/^fools //p' "$HAND/$name.cap")
}

# The ways in which a description is to be looked at.
judge_all() {
	local name=$1 family families=(-4 -6) sides=('')
	grep -q '^only ipv4' "$HAND/$name.cap" && families=(-4)
	grep -q '^crowd ' "$HAND/$name.cap" && ! grep -qE '^seen (lan|wan|any)' "$HAND/$name.cap" && sides=('' -w)
	for family in "${families[@]}"; do
		for side in "${sides[@]}"; do judge "$name" "$family" ${side:+"$side"}; done
		sides=("${sides[-1]}") # over IPv6 one of them
	done
	report "$name: $(sed -n 's/^expect \(.*\)/\1/p' "$HAND/$name.cap" | paste -sd, | sed 's/,/, /g')"
}

# The same packets in each kind of file, and of each kind of link, whole and cut off behind the headers.
test_files() {
	local format link
	for format in pcap pcap_swapped pcap_nanoseconds pcapng; do
		for link in ethernet vlan qinq sll sll2 raw loopback; do
			judge f1-lan -4 -f "$format link $link"
			judge f1-lan -4 -f "$format link $link snap 96"
			judge f2-wan -6 -f "$format link $link"
			judge f2-wan -6 -f "$format link $link snap 98" # just behind the timestamps, with two tags
		done
		report "$format: any link, whole and cut off behind the timestamps"
	done
}

if [ $# -gt 0 ]; then
	for name; do judge_all "$name"; done
else
	for path in "$HAND"/*.cap; do judge_all "$(basename "$path" .cap)"; done
	test_files
fi
DONE=1
echo "1..$COUNT"
echo "# $((COUNT - FAILED)) passed, $FAILED failed"
[ "$FAILED" = 0 ]
