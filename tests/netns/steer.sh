#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What pawsctl changes, and what it shows as it happens: reload, set, destinations, events, top.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require ipset:ipset jq:jq script:bsdutils
pawsd_require

mode_of() { pawsctl status --json | jq -r --arg d "$1" '.destinations[] | select(.name == $d) | "\(.mode) \(.written_mode)"'; }

connect() { load --from "$(clients 4)" --to "$(endpoint 4 "$1" 80)" --count "$2" --timeout-ms 3000 >/dev/null; }

# counts DESTINATION REASON SERVER: eight connects to that server add eight to that counter.
counts() {
	local before
	before=$(counted "$1" "$2")
	connect "$3" 8
	[ $(($(counted "$1" "$2") - before)) = 8 ]
}

config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		$1
		[destination bank]
		prefixes = $(server_addr 4 1), $(server_addr 6 1)
		mode = rewrite
		[destination 443]
		prefixes = $(server_addr 4 2)
		ports = 80, 443, 8000-8100
		sources = 10.99.0.0/16
		mode = ${2:-observe}
		[destination quiet]
		prefixes = $(server_addr 4 3), $(server_addr 4 4), $(server_addr 4 5), $(server_addr 4 6), $(server_addr 4 7)
		mode = off
		[destination twin]
		prefixes = $(server_addr 4 11)
		mode = off
		[destination also]
		prefixes = $(server_addr 4 11)
		mode = off
		[destination gone]
		prefixes = $(server_addr 4 8)
		mode = rewrite
		enabled = no
	EOT
}

# follow NAME OPTION...: pawsctl events in the background, from the first event on, to $WORK/NAME.
follow() {
	local name=$1
	shift
	start "$GW" "$PAWSCTL" -s "$WORK/run/control.sock" events --last 8192 "$@" >"$WORK/$name" 2>"$WORK/$name.err"
	FOLLOWED=$STARTED
}

# ended PID: by itself, within ten seconds, and well.
ended() { wait_until 10 process_gone "$1" && wait "$1"; }

lines() { [ "$(wc -l <"$WORK/$1")" -ge "$2" ]; }

# holds NAME FILTER: the filter holds for the list of the events in $WORK/NAME.
holds() {
	jq -es "$2" "$WORK/$1" >/dev/null && return
	head -5 "$WORK/$1"
	return 1
}

net_up
for n in 1 2 3; do serve "$(endpoint 4 $n 80)"; done
serve "$(endpoint 4 9 80)"
box_rules 2 4 9
box_start 2 f3
config ""
pawsd_up "$WORK/pawsd.conf"

# --- destinations, set -----------------------------------------------------------------------

check "destinations" json '[.destinations[].name] == ["default", "bank", "443", "quiet", "twin", "also", "gone"]' destinations
check "destinations: one" json '.destinations[2] | .mode == "observe" and .written_mode == "observe" and .enabled and
	.prefixes == 1 and .shown_ports == ["80", "443", "8000-8100"] and .shown_sources == ["10.99.0.0/16"]' destinations
check "destinations: one that is disabled" json '.destinations[6].enabled | not' destinations
check "destinations: four are shown" says '^  servers +198.51.100.3,198.51.100.4,198.51.100.5,198.51.100.6 and 1 more$' \
	destinations
check "destinations, in words" says '^  ports +80,443,8000-8100$' destinations

start "$CL" "$TOOLS/tcpcrowd" --from "$(client_addr 4 9)" --to "$(endpoint 4 2 80)" --connections 16 --gap-ms 100 \
	--started "$WORK/started" >"$WORK/crowd"
CROWD=$STARTED
wait_until 20 test -e "$WORK/started"
check "observed, as the file says" counts 443 syn_observed 2
check "set: rewrite" says '^443: mode rewrite until the next reload or start; the file says observe$' set 443 mode rewrite
check "rewritten from now on" counts 443 syn_rewritten 2
check "status shows both" [ "$(mode_of 443)" = "rewrite observe" ]
check "status, in words" says '^  443 +rewrite +1  until the next reload; the file says observe$' status
check "destinations shows both" says '^  mode +rewrite until the next reload or start; the file says observe$' destinations
check "a metric counts it" metric_is overrides 1
check "set: one that no rule was for" says '^quiet: mode rewrite' set quiet mode REWRITE
check "rewritten, too" counts quiet syn_rewritten 3
check "a metric counts both" metric_is overrides 2
check "set: as the file says" says '^443: mode rewrite' set quiet mode off
check "which is no longer another" [ "$(mode_of quiet)" = "off off" ]
check "and no more is rewritten" fails counts quiet syn_rewritten 3
check "set --json" json '.destinations[] | select(.name == "443") | .mode == "strip" and .written_mode == "observe"' set 443 mode strip
check "stripped from now on" counts 443 syn_stripped 2
check "set: what there is to be warned of is said once" [ "$(grep -c 'destination 443\] mode = strip cures no server' "$WORK/pawsd.log")" = 1 ]
check "set: no such destination" refused 'no such destination; allowed: default, and' set nobody mode off
check "set: no such mode" refused 'no such mode; allowed: off, observe, strip, rewrite' set bank mode slow
check "set: nothing but the mode" refused 'usage: pawsctl set' set bank enabled no
check "set: one that is disabled" refused 'that destination is disabled' set gone mode off
check "set: refused where the file would be" refused 'twin\] and \[destination also\] both claim 198.51.100.11' set twin mode rewrite
check "what is refused changes nothing" [ "$(mode_of quiet)/$(mode_of 443)" = "off off/strip observe" ]
check "set: and nothing of the others" [ "$(grep -c 'mode = strip cures no server' "$WORK/pawsd.log")" = 1 ]
check "set: default" says '^default: mode observe' set default mode observe

# --- reload ----------------------------------------------------------------------------------

config "" rewrite
check "reload" says '^reloaded: 6 destinations are in force$' reload
check "it is the file that counts" [ "$(mode_of 443)/$(mode_of default)" = "rewrite rewrite/off off" ]
check "no mode is another than the file's" metric_is overrides 0
config "[bad]"
before=$(metric config_reloads_total)
check "reload: a file with a mistake" refused 'pawsd says: .*pawsd.conf:[0-9]+: \[bad\]' reload
check "the policy in force stays" counts 443 syn_rewritten 2
config "" rewrite
asking=()
for ((i = 0; i < 6; i++)); do
	pawsctl reload >"$WORK/reload.$i" &
	asking+=($!)
done
check "six who ask at once are told" wait "${asking[@]}"
check "and each has had one of his own" [ $(($(metric config_reloads_total) - before)) = 6 ]
check "connections go on through all that" finish "$CROWD"

# --- events ----------------------------------------------------------------------------------

follow all --json --count 8 --destination bank --kind rewritten
follow number --json --count 1 --destination 443 --kind stripped
check "events: those that have been" ended "$FOLLOWED"
check "events: a name that looks like a number" holds number '.[0].destination == "443"'
connect 1 8
check "events: as many as were asked for" ended "${STARTED_PIDS[-2]}"
check "which are those" [ "$(wc -l <"$WORK/all")" = 8 ]
check "events: what one says" holds all 'map(select(.packet == "SYN"))[0] | .reason == "syn_rewritten" and .direction == "out" and
	.left_tsval != .tsval and (.time | test("^20[0-9-]+T[0-9:.]+$"))'
follow some --json --destination bank --kind rewritten,ended --client 10.99.1.3 --port 80
follow words --server "$(server_addr 4 1)" --reason syn_rewritten
WORDS_PID=$FOLLOWED
connect 1 64
check "events: filtered" wait_until 10 lines some 4
check "events: nothing else" holds some '[.[] | "\(.destination) \(.kind)" + (.client | split(":")[0])] | unique |
	. == ["bank ended10.99.1.3", "bank rewritten10.99.1.3"]'
check "events, in words" wait_until 10 lines words 64
check "events: what a line is" grep -qE '^[0-9:.]{12} rewritten  10\.99\.1\.[0-9]+:[0-9]+ > 198\.51\.100\.1:80 bank SYN syn_rewritten TSval [0-9]+ -> [0-9]+ TSecr 0$' \
	"$WORK/words"
follow refused --json --kind refused --count 1
check "set: observe all" pawsctl set default mode observe
connect 10 1 || true
check "events: a closed port" ended "$FOLLOWED"
check "which answered by RST" holds refused '.[0] | .packet == "RST" and .direction == "in" and .destination == "default"'
follow evidence --json --kind suspicious --count 1
load --from "$(client_addr 4 5)" --to "$(endpoint 4 9 80)" --count 1 --timeout-ms 500 >/dev/null || true
check "events: evidence" ended "$FOLLOWED"
check "which says of what" holds evidence '.[0] | .finding == "foreign_tsecr" and (.server | startswith("198.51.100.9:"))'
check "events: no such kind" refused 'kind=odd: allowed: rewritten, stripped, repaired' events --kind odd
check "events: no such reason" refused 'reason=odd: allowed: syn_rewritten' events --reason odd
check "events: no such key" refused 'usage' events --state x
follow third
follow fourth
wait_until 10 lines third 1 && wait_until 10 lines fourth 1
check "events: four may watch at a time" refused 'busy: as many others watch already as may' events --count 1
check "and who may not is told of nothing" [ "$(pawsctl events --last 8192 2>/dev/null | wc -l)" = 0 ]
check "and others are answered" json '.metrics.workers == 1' status
finish "$FOLLOWED" || true
check "one goes, another comes" wait_until 10 says . events --last 10 --count 1

# --- top -------------------------------------------------------------------------------------

check "top --once" says '^destination +mode +flows +SYNs/s +rewritten' top --once --interval 0.2
check "top --json" json '.seconds > 0.1 and .all.packets_per_second >= 0 and (.suspects[] | select(.server == "198.51.100.9:80") |
	.finding == "foreign_tsecr") and ([.destinations[].name] | index("bank"))' top --interval 0.2
check "top: a wrong interval" refused 'usage: pawsctl top' top --interval 0
check "what is no terminal gets it once" says '^flow table  \[' top --interval 0.1
mkfifo "$WORK/keys"
exec 9<>"$WORK/keys"
TERM=xterm COLUMNS=130 LINES=30 script -qefc "'$PAWSCTL' -s '$WORK/run/control.sock' top --interval 0.2" "$WORK/screen" \
	<&9 >/dev/null 2>&1 &
SCREEN=$!
STARTED_PIDS+=("$SCREEN")
check "top on a terminal" wait_until 10 grep -q 'suspect (pawsctl suspects)' "$WORK/screen"
printf 'sfn q' >&9
check "which ends with q" ended "$SCREEN"
exec 9>&-
on_terminal() {
	TERM=xterm COLUMNS=130 LINES=30 script -qefc "echo \$\$ >'$WORK/top.pid'; exec $1" /dev/null </dev/null >"$WORK/terminal" 2>&1 &
	SCREEN=$!
	wait_until 10 test -s "$WORK/top.pid"
	STARTED_PIDS+=("$SCREEN" "$(cat "$WORK/top.pid")")
}
on_terminal "'$PAWSCTL' -s '$WORK/run/control.sock' top --interval 0.2 </dev/null"
check "top: without keys to wait for it is once, too" ended "$SCREEN"
check "that is" grep -q '^flow table' "$WORK/terminal"
rm "$WORK/top.pid"
on_terminal "sh -c \"trap '' HUP; exec '$PAWSCTL' -s '$WORK/run/control.sock' top --interval 0.2\""
wait_until 10 grep -q 'flow table' "$WORK/terminal"
kill -KILL "$SCREEN"
wait "$SCREEN" || true
check "top ends with its terminal" wait_until 10 process_gone "$(cat "$WORK/top.pid")"

# --- the end ---------------------------------------------------------------------------------

kill -KILL "$PAWSD_PID"
wait "$PAWSD_PID" || true
check "events: pawsd ends" fails ended "$WORDS_PID"
check "which is said" grep -q 'pawsd has hung up' "$WORK/words.err"
check "pawsd starts again" pawsd_start "$WORK/pawsd.conf"
check "with what the file says" [ "$(mode_of default)" = "off off" ]
check "pawsd stops" pawsd_stop
tap_done
