#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pawsd-exporter --textfile against a stand-in for pawsd's control socket (fakecontrol): what is written, once and again and
# again, and what becomes of the file in trouble. What it serves over HTTP is in test_tools.sh. No root, loopback only, a few
# seconds. Prints TAP. Usage: test_exporter.sh [BUILD], the directory of the programs.
set -euo pipefail

BUILD=${1:-${BUILD:-build}}
EXPORTER=$(realpath "$BUILD")/pawsd-exporter
FAKE=$BUILD/tests/fakecontrol
DIR=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-exporter.XXXXXX")
SOCKET=$DIR/control.sock
FOLDER=$DIR/textfile FILE=$DIR/textfile/pawsd.prom
FAKE_PID='' EXPORTER_PID='' DONE=''
COUNT=0 FAILED=0 STATUS=0

clean_up() {
	[ -n "$DONE" ] || echo "Bail out! ended after test $COUNT"
	for pid in $FAKE_PID $EXPORTER_PID; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$DIR"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# check WORDS COMMAND...: one line of TAP; what the command and the exporter printed goes below it when it fails.
check() {
	local words=$1
	shift
	COUNT=$((COUNT + 1))
	if "$@" >"$DIR/check.log" 2>&1; then
		echo "ok $COUNT - $words"
	else
		echo "not ok $COUNT - $words"
		cat "$DIR/check.log" "$DIR/err" | sed 's/^/# /'
		FAILED=$((FAILED + 1))
	fi
}

skip() {
	COUNT=$((COUNT + 1))
	echo "ok $COUNT - $1 # SKIP $2"
}

# await COMMAND...: until it succeeds, five seconds at most.
await() {
	local tries
	for ((tries = 0; tries < 250; tries++)); do
		! "$@" || return 0
		read -r -t 0.02 <>"$DIR/never" || true
	done
	echo "waited in vain for: $*"
	return 1
}

fake_stop() {
	[ -z "$FAKE_PID" ] && return
	kill "$FAKE_PID" 2>/dev/null || true
	wait "$FAKE_PID" 2>/dev/null || true
	FAKE_PID=''
	rm -f "$SOCKET"
}

# fake_start SYNS: a pawsd that has rewritten so many.
fake_start() {
	fake_stop
	printf '%s\n' 'pawsd-control 1' 'info version 9.8.7' 'destination shop rewrite enabled 2' \
		"packets shop syn_rewritten $1" 'queue 9470 handshake 0 240 1 2 3' end >"$DIR/answer"
	"$FAKE" "$SOCKET" answer "$DIR/answer" >"$DIR/requests" &
	FAKE_PID=$!
	await test -S "$SOCKET"
}

# run WORDS...: the exporter's words go to $DIR/err, its status to $STATUS.
run() {
	STATUS=0
	timeout 20 "$EXPORTER" --socket "$SOCKET" "$@" >"$DIR/out" 2>"$DIR/err" || STATUS=$?
}

# start WORDS...: until exporter_stop; leaves its status in $STATUS.
start() {
	"$EXPORTER" --socket "$SOCKET" "$@" >"$DIR/out" 2>"$DIR/err" &
	EXPORTER_PID=$!
}

is_over() { ! grep -qs '^State:.[^Z]' "/proc/$1/status"; }

# Who is deaf to that signal is ended all the same.
exporter_stop() {
	STATUS=0
	kill "-$1" "$EXPORTER_PID"
	await is_over "$EXPORTER_PID" || kill -KILL "$EXPORTER_PID"
	wait "$EXPORTER_PID" || STATUS=$?
	EXPORTER_PID=''
}

# status_is N [WORDS]: it said these in one line, or nothing.
status_is() {
	[ "$STATUS" = "$1" ] || { echo "status $STATUS"; return 1; }
	if [ $# -eq 1 ]; then
		[ ! -s "$DIR/err" ]
	else
		[ "$(wc -l <"$DIR/err")" -eq 1 ] && grep -qF -- "$2" "$DIR/err"
	fi
}

fails() { ! "$@"; }
file_has() { grep -qxF "$1" "$FILE"; }
has_syns() { file_has "pawsd_packets_total{destination=\"shop\",reason=\"syn_rewritten\"} $1" 2>/dev/null; }
err_has() { [ "$(grep -cF -- "$1" "$DIR/err")" = "${2:-1}" ]; }
folder_has() { diff <(ls -A "$FOLDER") <(printf '%s\n' "$@"); }

# What the exporter serves at the same time, to $DIR/served.
serve_once() {
	local port
	start --listen 127.0.0.1:0
	await grep -qs 'serving.*metrics$' "$DIR/err"
	port=$(sed -n 's,.*serving http://.*:\([0-9]*\)/metrics$,\1,p' "$DIR/err")
	curl -sS -m 8 "http://127.0.0.1:$port/metrics" >"$DIR/served"
	exporter_stop TERM
}

same_as_served() {
	if ! command -v curl >/dev/null; then
		skip "$1" "curl is not installed"
		return
	fi
	serve_once
	check "$1" cmp "$DIR/served" "$FILE"
}

test_once() {
	fake_start 100
	umask 077
	run --textfile "$FILE"
	umask 022
	check "once: exit status 0, no words" status_is 0
	check "once: pawsd is asked once" test "$(cat "$DIR/requests")" = stats
	check "once: what pawsd said" has_syns 100
	check "once: everybody may read it, whatever the umask" test "$(stat -c %a "$FILE")" = 644
	check "once: nothing else is in the folder" folder_has pawsd.prom
	(cd /proc && run --textfile "$FILE" && echo "$STATUS" >"$DIR/status")
	check "once: from where nothing can be written" test "$(cat "$DIR/status")" = 0
	same_as_served "once: the bytes of /metrics"
	if command -v promtool >/dev/null; then
		check "once: promtool has nothing to say" test -z "$(promtool check metrics <"$FILE" 2>&1)"
	else
		skip "once: promtool has nothing to say" "promtool (package prometheus) is not installed"
	fi
	(cd "$FOLDER" && run --textfile here.prom)
	check "once: a name without a folder" cmp "$FOLDER/here.prom" "$FILE"
	rm -f "$FOLDER/here.prom"
}

# Who has the old file open goes on reading that, to its end.
test_whole() {
	local inode
	inode=$(stat -c %i "$FILE")
	fake_start 101
	exec 7<"$FILE"
	run --textfile "$FILE"
	check "again: the new text" has_syns 101
	check "again: the old text for whoever reads it" grep -q 'syn_rewritten"} 100$' <&7
	exec 7<&-
	check "again: another file of the same name" test "$inode" != "$(stat -c %i "$FILE")"
}

# A limit on the size of files stands in for a full disk.
test_trouble() {
	fake_start 102
	STATUS=0
	(trap '' XFSZ && ulimit -f 1 && exec "$EXPORTER" --socket "$SOCKET" --textfile "$FILE" 2>"$DIR/err.full") || STATUS=$?
	mv "$DIR/err.full" "$DIR/err"
	check "no space: exit status 1, and why" status_is 1 "cannot write $FILE: File too large"
	check "no space: the old file stays" has_syns 101
	check "no space: nothing else is in the folder" folder_has pawsd.prom
	run --textfile "$DIR/nowhere/pawsd.prom"
	check "no folder: exit status 1, and why" status_is 1 "cannot write $DIR/nowhere/pawsd.prom: No such file or directory"
	mkdir "$FOLDER/folder.prom"
	run --textfile "$FOLDER/folder.prom"
	check "a folder: exit status 1, and why" status_is 1 "cannot write $FOLDER/folder.prom: Is a directory"
	rmdir "$FOLDER/folder.prom"
	check "a folder: nothing else is there" folder_has pawsd.prom
	run --textfile "$(printf '%05000d' 0).prom"
	check "too long a name: exit status 1, and why" status_is 1 "File name too long"
	run --textfile "$FOLDER/pawsd.txt"
	check "a name that node_exporter passes over: said" status_is 0 "no files but those that end with .prom"
	check "a name that node_exporter passes over: written" cmp "$FOLDER/pawsd.txt" <(sed 's/} 101$/} 102/' "$FILE")
	rm "$FOLDER/pawsd.txt"
}

test_down() {
	fake_stop
	run --textfile "$FILE"
	check "pawsd down: exit status 0, said" status_is 0 "no pawsd answers on $SOCKET"
	check "pawsd down: pawsd_up 0" file_has 'pawsd_up 0'
	check "pawsd down: nothing else claimed" fails grep -qE '^pawsd_(packets|flows|uptime)' "$FILE"
	same_as_served "pawsd down: the bytes of /metrics"
}

has_asked() { [ "$(wc -l <"$DIR/requests")" -ge "$1" ]; }

test_interval() {
	local asked
	fake_start 200
	start --textfile "$FILE" --interval 1
	check "interval: the first text at once" await has_syns 200
	fake_start 201
	check "interval: the next" await has_syns 201
	fake_stop
	check "interval: pawsd down" await file_has 'pawsd_up 0'
	fake_start 202
	check "interval: pawsd answers again" await has_syns 202
	check "interval: down was said once, and up" eval 'err_has "no pawsd answers" && err_has "pawsd answers again"'
	mv "$FOLDER" "$FOLDER.away"
	asked=$(wc -l <"$DIR/requests")
	check "interval: the folder is gone: said" await err_has "cannot write $FILE: No such file or directory; it is tried again"
	check "interval: it is tried again" await has_asked $((asked + 3))
	check "interval: said once" err_has "cannot write"
	mv "$FOLDER.away" "$FOLDER"
	check "interval: the folder is there: said" await err_has "$FILE is written again"
	exporter_stop TERM
	check "interval: SIGTERM: exit status 0" test "$STATUS" = 0
	check "interval: SIGTERM: the file is gone" test -z "$(ls -A "$FOLDER")"
	start --textfile "$FILE" --interval 86400
	await has_syns 202
	exporter_stop INT
	check "interval: SIGINT, in the middle of a day: exit status 0" test "$STATUS" = 0
	check "interval: SIGINT: the file is gone" test ! -e "$FILE"
	run --textfile "$DIR/nowhere/pawsd.prom" --interval 1
	check "interval: it does not start where nothing can be written" status_is 1 "cannot write $DIR/nowhere/pawsd.prom"
}

test_usage() {
	for interval in 0 -1 1.5 86401 100000000000000000000 1s ''; do
		run --textfile "$FILE" --interval "$interval"
		check "--interval ${interval:-(nothing)}: exit status 2" status_is 2 "not a number of seconds from 1 to 86400"
	done
	run --interval 5
	check "--interval alone: exit status 2" status_is 2 "--interval is for --textfile"
	run --textfile "$FILE" --listen 127.0.0.1:0
	check "--textfile and --listen: exit status 2" status_is 2 "--textfile is instead of --listen"
	check "errors in the command line: nothing is written" test ! -e "$FILE"
}

mkfifo "$DIR/never"
mkdir "$FOLDER"
test_once
test_whole
test_trouble
test_down
test_interval
test_usage
DONE=1
echo "1..$COUNT"
[ "$FAILED" -eq 0 ]
