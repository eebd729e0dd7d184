#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pawsctl try: a server with tcp_tw_recycle, and one that is well, without pawsd and with it; how a trial ends.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/cases.sh"
net_require ipset:ipset jq:jq socat:socat
pawsd_require

ATTEMPTS=24

# request WORDS: as said on the socket; the answer is in $WORK/answer.
request() { socat -t 20 - "UNIX-CONNECT:$WORK/run/control.sock" <<<"$1" >"$WORK/answer" && ! grep -q '^error' "$WORK/answer"; }

holds() {
	jq -e "$2" "$1" >/dev/null && return
	cat "$1"
	return 1
}

destination_of() { pawsctl explain "$1" --json | jq -r '.match | "\(.destination) \(.mode)"'; }

in_trial() { [ "$(destination_of "$1")" = "trial $2" ]; }

is_back() { [ "$(destination_of "$1")" = "default observe" ]; }

trial_over() { metric_is trial_seconds 0; }

# ended PID: by itself, and well.
ended() { wait_until 30 process_gone "$1" && wait "$1"; }

net_up
cases_setup
cases_fresh
serve "$(endpoint 4 9 80)" "$(endpoint 4 10 80)"
SICK=$(server_addr 4 "$(case_server F1-vanilla)") WELL=$(server_addr 4 9)
PAWSD_STRIP=auto
pawsd_config "$WORK/pawsd.conf" <<-EOT
	[default]
	mode = observe
	[destination well]
	prefixes = $WELL
	mode = off
EOT
pawsd_up "$WORK/pawsd.conf"

check "connects to the server that is not well" case_run F1-vanilla 4 without $ATTEMPTS
wait_until 10 bash -c "'$PAWSCTL' -s '$WORK/run/control.sock' suspects >/dev/null; [ \$? = 3 ]"
start "$GW" "$PAWSCTL" -s "$WORK/run/control.sock" try "$SICK" --settle 1 --seconds 8 >"$WORK/sick" 2>&1
TRIAL=$STARTED
check "try: enough is known, so it is rewritten at once" wait_until 5 in_trial "$SICK" rewrite
cases_fresh # and forgets what was before
check "status shows it" grep -qE "^trial +$SICK, mode rewrite, for [0-9]+ s more\$" <(pawsctl status)
check "a trial of another server is refused" refused 'there is a trial of another server already' try "$WELL" --before 0 --seconds 5
check "and does not end this one" in_trial "$SICK" rewrite
check "nor does who names another" request "try end $WELL -"
check "which goes on" in_trial "$SICK" rewrite
check "the end of what server has to be said" fails request "try end"
check "it counts anew" wait_until 10 grep -q '^mode = rewrite for 8 s' "$WORK/sick"
check "the same connects" case_run F1-vanilla 4 with $ATTEMPTS
check "try ends" ended "$TRIAL"
diag "$(cat "$WORK/sick")"
check "it tells of connects that failed before" grep -qE '^before +[0-9]+ connects, ([1-9][0-9]*) of them failed' "$WORK/sick"
check "and for what they did" grep -qE '^ +port [0-9]+: tw_recycle, (likely|certain)$' "$WORK/sick"
check "of none that failed meanwhile" grep -qE '^rewrite +[1-9][0-9]* connects, 0 of them failed \(0.0 %\)$' "$WORK/sick"
check "that it helps" grep -q '^it helps: chance alone' "$WORK/sick"
check "and how to keep it" grep -qx "prefixes = $SICK" "$WORK/sick"
check "the trial is over" [ "$(destination_of "$SICK")" = "default observe" ]

start "$GW" "$PAWSCTL" -s "$WORK/run/control.sock" try "$WELL:80" --before 3 --settle 0 --seconds 3 --mode strip --json >"$WORK/well" 2>&1
TRIAL=$STARTED
check "try: nothing is known, so it is observed first" wait_until 5 in_trial "$WELL:80" observe
check "of another port nothing changes" [ "$(destination_of "$WELL:81")" = "well off" ]
load --from "$(clients 4)" --to "$(endpoint 4 9 80)" --count 30 --timeout-ms 2000 >/dev/null
check "then it is stripped" wait_until 10 in_trial "$WELL:80" strip
load --from "$(clients 4)" --to "$(endpoint 4 9 80)" --count 20 --timeout-ms 2000 >/dev/null
check "try ends well" ended "$TRIAL"
check "both are counted, none failed" holds "$WORK/well" '.before.connects == 30 and .before.failed == 0 and .after.connects == 20 and
	.after.failed == 0 and .chance == 1 and .mode == "strip"'
check "and were stripped" [ "$(counted trial syn_stripped)" = 20 ]

start "$GW" "$PAWSCTL" -s "$WORK/run/control.sock" try "$(server_addr 4 10)" --before 0 --settle 0 --seconds 4 --mode strip --json >"$WORK/strip" 2>&1
TRIAL=$STARTED
wait_until 5 in_trial "$(server_addr 4 10)" strip
load --from "$(clients 4)" --to "$(endpoint 4 10 80)" --count 20 --timeout-ms 2000 >/dev/null
check "try: of what nothing is known" ended "$TRIAL"
check "is counted where rules could strip it" holds "$WORK/strip" '.after.connects == 20 and .after.failed == 0'

check "what is rewritten already is not tried" pawsctl set well mode rewrite
check "and that is said" refused '\[destination well\] has mode = rewrite for it already' try "$WELL"
check "an address is needed" refused 'usage: pawsctl try' try example.org
check "a repair is one of three" refused 'usage: pawsctl try' try "$WELL" --synack-tsecr often
check "seconds are" refused 'usage: pawsctl try' try "$WELL" --seconds x

check "a trial that nobody ends" request "try $SICK 80 rewrite echo 2"
check "is in force" in_trial "$SICK:80" rewrite
check "a trial has its mode" refused 'a trial has the mode that it was begun with' set trial mode off
check "and ends by itself, with what was before" wait_until 10 is_back "$SICK:80"
check "one more" request "try $SICK - rewrite off 600"
check "a reload ends it" pawsctl reload
check "at once" trial_over
check "a request with a mistake" fails request "try $SICK - rewrite off 0"
start "$GW" "$PAWSCTL" -s "$WORK/run/control.sock" try "$SICK" --before 0 --settle 600 >"$WORK/cut" 2>&1
TRIAL=$STARTED
wait_until 5 in_trial "$SICK" rewrite
kill -INT "$TRIAL"
check "interrupted it tells what it knows" ended "$TRIAL"
check "that is" grep -qE '^rewrite +[0-9]+ connects' "$WORK/cut"
check "and is over" trial_over

start "$GW" "$PAWSCTL" -s "$WORK/run/control.sock" try "$SICK" --before 0 --settle 0 --seconds 6 >"$WORK/lost" 2>&1
TRIAL=$STARTED
wait_until 5 in_trial "$SICK" rewrite
check "a reload in its midst" pawsctl reload
check "a trial that was ended is no proof" fails ended "$TRIAL"
check "and that is said" grep -q 'the trial has ended before its time, as by a reload' "$WORK/lost"
check "nothing is told of it" fails grep -q '^rewrite' "$WORK/lost"
check "pawsd drains" pawsctl drain --no-wait
check "and tries nothing meanwhile" refused 'pawsd drains, and rewrites no new connection' try "$SICK" --before 0 --seconds 1
check "there is no trial" trial_over
check "pawsd stops" pawsd_stop
tap_done
