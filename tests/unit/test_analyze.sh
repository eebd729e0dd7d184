#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `pawsctl analyze` on captures of a real server (tests/captures): the right verdict for each, with the packets that show it,
# and none for a healthy one; what a configuration makes of them; trouble. No root, no network, a few seconds. Prints TAP.
# Usage: test_analyze.sh [BUILD], the directory of the programs.
set -euo pipefail

BUILD=${1:-${BUILD:-build}}
PAWSCTL=$BUILD/pawsctl
CAPTURES=$(dirname "$0")/../captures
DIR=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-analyze.XXXXXX")
COUNT=0 FAILED=0 DONE=''

clean_up() {
	[ -n "$DONE" ] || echo "Bail out! ended after test $COUNT"
	rm -rf "$DIR"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# check WORDS COMMAND...: one line of TAP; what the command printed goes below it when it fails.
check() {
	local words=$1
	shift
	COUNT=$((COUNT + 1))
	if "$@" >"$DIR/check.log" 2>&1; then
		echo "ok $COUNT - $words"
	else
		echo "not ok $COUNT - $words"
		sed 's/^/# /' "$DIR/check.log" "$DIR/out"
		FAILED=$((FAILED + 1))
	fi
}

skip() {
	COUNT=$((COUNT + 1))
	echo "ok $COUNT - $1 # SKIP $2"
}

# run COMMAND...: its words go to $DIR/out, its status to $STATUS.
run() {
	STATUS=0
	"$@" >"$DIR/out" 2>"$DIR/err" || STATUS=$?
	cat "$DIR/err" >>"$DIR/out"
}

status_is() { [ "$STATUS" = "$1" ] && { [ $# -lt 2 ] || grep -qE "$2" "$DIR/out"; }; }
out_has() { grep -qE "$1" "$DIR/out"; }
json_is() { jq -e "$1" "$DIR/out" >/dev/null; }

# found NAME CAPTURE FINDING CONFIDENCE EXAMPLES [CONDITION]: just this one.
found() {
	run "$PAWSCTL" analyze --json "$CAPTURES/$2.pcap"
	check "$1: exit status 3" status_is 3
	check "$1: $3, $4, and nothing else" json_is "[.[0].servers[].findings[] | .finding + \" \" + .confidence] == [\"$3 $4\"]"
	check "$1: each case of it" json_is ".[0].servers[0].findings[0].examples | length == $5"
	[ $# -lt 6 ] || check "$1: its packets" json_is "$6"
}

test_real_server() {
	found "F1, 8 hosts" f1-rhel7-8hosts-wan tw_recycle certain 10 \
		'.[0].servers[0] | .address == "198.51.100.10" and .syns.older == {unanswered: 10, answered: 0} and
			.syns.newer.unanswered == 0 and (.findings[0].examples[0] | .packet == 41 and .client == "198.51.100.1:41004")'
	found "F1, an offset for each connection" f1-rhel7-per-connection-lan tw_recycle certain 12
	found "F1, one host" f1-rhel7-one-host-wan tw_recycle likely 7
	found "F2" f2-timewait-wan time_wait certain 5 \
		'.[0].servers[0].findings[0].examples[0] | .answer == .packet + 1 and .other > .tsval'
	found "F2, RST dropped" f2-rst-dropped-wan time_wait likely 2
	run "$PAWSCTL" analyze --json "$CAPTURES/healthy-8hosts-wan.pcap"
	check "healthy: exit status 0" status_is 0
	check "healthy: nothing" json_is '[.[0].servers[].findings[]] == [] and .[0].servers[0].syns.older.answered == 11'
}

test_words() {
	run "$PAWSCTL" analyze "$CAPTURES/f1-rhel7-8hosts-wan.pcap" "$CAPTURES/healthy-8hosts-wan.pcap"
	check "in words: two files, exit status 3" status_is 3
	check "in words: figures" out_has '^ +10 of 10 connects with an older TSval had no answer, of those with a newer one 0 of 13; by chance: once in 1.14e\+06'
	check "in words: a packet" out_has '^ +packet 41: 198.51.100.1:41004 > 198.51.100.10:80 at 0.657 s: TSval 2896198178, 638626364 behind 3534824542$'
	check "in words: the healthy one" out_has '^nothing was found that timestamps are to blame for$'
	sed -n '/^ *cure:/,/^$/p' "$DIR/out" | sed '1d; s/^ *//' >"$DIR/cure.conf"
	printf '[gateway]\nwan = eth0\n' >>"$DIR/cure.conf"
	check "the cure is a configuration that pawsd takes" "$BUILD/pawsd" --check -c "$DIR/cure.conf"
}

# applied NAME CAPTURE: with the cure no SYN is older than what its server may remember.
applied() {
	run "$PAWSCTL" analyze --json --apply "$DIR/cure.conf" --write "$DIR/written.pcap" "$CAPTURES/$2.pcap"
	check "$1: as captured some SYNs are older, with the cure none" json_is '.[0].applied | .older_as_captured > 0 and .older == 0'
	check "$1: as many packets as before" same_packets "$2"
}

packets_of() { tcpdump -n -r "$1" 2>/dev/null | wc -l; }
same_packets() { [ "$(packets_of "$DIR/written.pcap")" = "$(packets_of "$CAPTURES/$1.pcap")" ]; }

test_apply() {
	applied "F1, 8 hosts" f1-rhel7-8hosts-wan
	applied "F1, an offset for each connection" f1-rhel7-per-connection-lan
	applied "F2" f2-timewait-wan
	sed 's/^mode = rewrite/mode = observe/' "$DIR/cure.conf" >"$DIR/observe.conf"
	run "$PAWSCTL" analyze --apply "$DIR/observe.conf" --write "$DIR/written.pcap" "$CAPTURES/f2-timewait-wan.pcap"
	check "observed only: the capture comes out as it was" cmp "$DIR/written.pcap" "$CAPTURES/f2-timewait-wan.pcap"
}

test_plot() {
	if ! command -v gnuplot >/dev/null; then
		skip "--plot" "gnuplot (package gnuplot-nox) is not installed"
		return
	fi
	run "$PAWSCTL" analyze --plot "$DIR/tsvals.png" "$CAPTURES/f1-rhel7-8hosts-wan.pcap"
	check "--plot: a PNG" file_begins "$DIR/tsvals.png" '\x89PNG'
	run "$PAWSCTL" analyze --plot "$DIR/tsvals.svg" "$CAPTURES/f1-rhel7-8hosts-wan.pcap"
	check "--plot: an SVG with a cross for each SYN without an answer" grep -q 'SYN without answer' "$DIR/tsvals.svg"
	run "$PAWSCTL" analyze --plot "$DIR/none/tsvals.png" "$CAPTURES/f1-rhel7-8hosts-wan.pcap"
	check "--plot: where no file can be made" status_is 1 'gnuplot .* has not drawn'
}

file_begins() { [ "$(head -c 4 "$1")" = "$(printf "$2")" ]; }

test_trouble() {
	run "$PAWSCTL" analyze
	check "no file: exit status 2" status_is 2 'usage: pawsctl analyze'
	run "$PAWSCTL" analyze --help
	check "--help" status_is 0 '\-\-apply CONF'
	run "$PAWSCTL" analyze "$DIR/none.pcap"
	check "a file that is not there" status_is 1 'none.pcap: No such file'
	echo "no capture at all, though it is long enough" >"$DIR/text.pcap"
	run "$PAWSCTL" analyze "$DIR/text.pcap"
	check "a file that is no capture" status_is 1 'text.pcap: .*format'
	head -c 9000 "$CAPTURES/f1-rhel7-8hosts-wan.pcap" >"$DIR/cut.pcap"
	run "$PAWSCTL" analyze "$DIR/cut.pcap"
	check "one that is cut off: it is said, and what is there is told" status_is 1 'cut.pcap: packet [0-9]+: truncated'
	check "one that is cut off: what is there" out_has 'cut.pcap: [0-9]+ packets'
	run "$PAWSCTL" analyze --write "$DIR/w.pcap" "$CAPTURES/healthy-8hosts-wan.pcap"
	check "--write without --apply: exit status 2" status_is 2
	cp "$CAPTURES/healthy-8hosts-wan.pcap" "$DIR/self.pcap"
	run "$PAWSCTL" analyze --apply "$DIR/cure.conf" --write "$DIR/self.pcap" "$DIR/self.pcap"
	check "--write onto the capture itself is refused" status_is 1 'self.pcap: this is the capture that is read'
	check "--write onto the capture itself: it is as it was" cmp "$CAPTURES/healthy-8hosts-wan.pcap" "$DIR/self.pcap"
	printf '[gateway]\nwan = eth0\n[destination other]\nprefixes = 203.0.113.77\nmode = rewrite\n' >"$DIR/other.conf"
	run "$PAWSCTL" analyze --json --apply "$DIR/other.conf" "$CAPTURES/f1-rhel7-8hosts-wan.pcap"
	check "--apply with what does nothing about it: it is said" json_is '.[0].applied | .syns_passing == 44 and .syns_rewritten == 0'
	cp "$CAPTURES/healthy-8hosts-wan.pcap" "$DIR/$(printf 'caf\351').pcap"
	run "$PAWSCTL" analyze --json "$DIR/$(printf 'caf\351').pcap"
	check "a file whose name is not UTF-8" json_is '.[0].packets == 160'
	printf '[gateway]\nwan = eth0\n[default]\nmode = never\n' >"$DIR/bad.conf"
	run "$PAWSCTL" analyze --apply "$DIR/bad.conf" "$CAPTURES/healthy-8hosts-wan.pcap"
	check "--apply with a wrong configuration" status_is 2 'mode = never'
	if [ -c /dev/full ]; then
		run "$PAWSCTL" analyze --apply "$DIR/cure.conf" --write /dev/full "$CAPTURES/f1-rhel7-8hosts-wan.pcap"
		check "--write to a full disk is no success" status_is 1 '/dev/full: cannot be written'
		COMMAND="$PAWSCTL analyze $CAPTURES/healthy-8hosts-wan.pcap >/dev/full" run bash -c 'eval "$COMMAND"'
		check "a full disk is no success" status_is 1 'cannot write'
	fi
}

test_real_server
test_words
test_apply
test_plot
test_trouble
DONE=1
echo "1..$COUNT"
echo "# $((COUNT - FAILED)) passed, $FAILED failed"
[ "$FAILED" = 0 ]
