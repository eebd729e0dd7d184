#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pawsctl and pawsd-exporter against a stand-in for pawsd's control socket (fakecontrol): answers
# that are whole, cut off, foreign, late or missing. No root, loopback only, a few seconds.
# Prints TAP. Usage: test_tools.sh [BUILD], the directory of the programs.
set -euo pipefail

BUILD=${1:-${BUILD:-build}}
PAWSCTL=$BUILD/pawsctl
EXPORTER=$BUILD/pawsd-exporter
FAKE=$BUILD/tests/fakecontrol
DIR=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-tools.XXXXXX")
SOCKET=$DIR/control.sock
FAKE_PID='' EXPORTER_PID='' PORT='' DONE=''
COUNT=0 FAILED=0

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

# check WORDS COMMAND...: one line of TAP; what the command printed goes below it when it fails.
check() {
	local words=$1
	shift
	COUNT=$((COUNT + 1))
	if "$@" >"$DIR/check.log" 2>&1; then
		echo "ok $COUNT - $words"
	else
		echo "not ok $COUNT - $words"
		sed 's/^/# /' "$DIR/check.log"
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

fake_start() {
	fake_stop
	"$FAKE" "$SOCKET" "$@" >"$DIR/requests" &
	FAKE_PID=$!
	await test -S "$SOCKET"
}

# run WORDS...: the program's output, its errors and its exit status to $DIR/out, err and status.
run() {
	local status=0
	"$@" >"$DIR/out" 2>"$DIR/err" || status=$?
	echo "$status" >"$DIR/status"
}

show() {
	echo "status $(cat "$DIR/status")"
	cat "$DIR/out" "$DIR/err"
}

# status_is N [ERROR-WORDS]: a failure says so in one line, with these words in it.
status_is() {
	show
	[ "$(cat "$DIR/status")" = "$1" ] || return 1
	[ $# -eq 1 ] || { [ "$(wc -l <"$DIR/err")" -eq 1 ] && grep -qF -- "$2" "$DIR/err"; }
}

out_has() {
	show
	local line
	for line in "$@"; do
		grep -qE -- "$line" "$DIR/out" || { echo "missing: $line"; return 1; }
	done
}

out_lacks() {
	show
	! grep -qE -- "$1" "$DIR/out"
}

json_is() {
	show
	jq -e "$1" "$DIR/out"
}

answer_write() {
	cat <<-END
		pawsd-control 1
		info version 9.8.7
		info pid 4711
		info config /etc/pawsd/pawsd.conf
		info rules nft
		info last_reload refused: line 7: "modes" is no key
		info of_tomorrow "quoted" \\ and more
		metric uptime_seconds 93784005
		metric workers 1
		metric flow_table_capacity 1000
		metric flow_table_used 15
		metric clock_lead_seconds 1250
		metric config_reloads_total 2
		metric config_reloads_refused_total 1
		metric rules_installed 1
		metric of_tomorrow 1
		destination default off enabled 0
		destination shop rewrite enabled 2
		destination bank strip enabled 1
		destination lab observe disabled 3
		draining bank 2 61
		packets none malformed_ip 2
		packets shop syn_rewritten 100
		packets shop syn_retransmitted 3
		packets shop syn_no_timestamps 2
		packets shop syn_no_timestamps_mixed 2
		packets shop table_full 1
		packets shop synack_rewritten 99
		packets shop synack_repaired_echo 5
		packets shop out_rewritten 1000
		packets shop in_rewritten 2000
		packets bank syn_stripped 7
		packets bank synack_stripped 6
		packets default syn_policy_off 8
		packets shop of_tomorrow 1
		flows shop ESTABLISHED 12
		flows shop TIME_WAIT 2
		flows bank CLOSE 1
		queue 9470 handshake 0 240 1 2 3
		queue 9471 established 0 3000 0 0 4
		line of tomorrow
		end
	END
}

test_pawsctl_stats() {
	run "$PAWSCTL" -s "$SOCKET" stats
	check "stats: exit status 0" status_is 0
	check "stats: SYNs by destination" out_has \
		'^  default +off +8 +0 +0 +0 +8$' \
		'^  shop +rewrite +108 +103 +0 +0 +5$' \
		'^  bank +strip +7 +0 +7 +0 +0$' \
		'^  lab +disabled +0 +0 +0 +0 +0$' \
		'^  \(all\) +123 +103 +7 +0 +13$'
	check "stats: packets by destination" out_has \
		'^destination|^  destination +rewritten +stripped +repaired +observed +passed$' \
		'^  shop +3202 +0 +5 +0 +5$' \
		'^  none +0 +0 +0 +0 +2$' \
		'^  \(all\) +3202 +13 +5 +0 +15$'
	check "stats: flows by state" out_has \
		'SYN_SENT +SYN_RECV +ESTABLISHED +FIN_WAIT +CLOSE_WAIT +LAST_ACK +TIME_WAIT +CLOSE$' \
		'^  shop +0 +0 +12 +0 +0 +0 +2 +0$' \
		'^  bank +0 +0 +0 +0 +0 +0 +0 +1$'
	check "stats: reasons with their words" out_has \
		'^ +100  syn_rewritten +first SYN of a connection' '^ +2  malformed_ip +IP header'
	check "stats: advice" out_has '^Advice$' '^  destination shop: clients without timestamps .*mode = strip for all'
	check "stats: no advice where none is due" out_lacks '^  destination (bank|lab|default):'
	check "stats: no reason that never was" out_lacks '  tcp_ao '
	check "stats: queues, table, clock" out_has \
		'^ +9470  handshake +0 +240 +1 +2 +3$' '^ +9471  established +0 +3000 +0 +0 +4$' \
		'^flow table +15 of 1000 flows \(1\.5 %\)$' '^clock lead +1\.250 s$'
	check "stats: asked for stats" grep -qx stats "$DIR/requests"
}

test_pawsctl_status() {
	run "$PAWSCTL" status --socket="$SOCKET"
	check "status: exit status 0" status_is 0
	check "status: what pawsd runs with" out_has \
		'^version +9\.8\.7$' '^pid +4711$' '^config +/etc/pawsd/pawsd\.conf$' '^uptime +1 d 2 h 3 min 4 s$' \
		'^last reload +refused: line 7: "modes" is no key$' \
		'^reloads +2 took effect, 1 refused; the last one was refused' '^rules +nft$' '^rules in place +yes$' '^workers +1$' \
		'^queues +9470 \(handshake\), 9471 \(established\)$' '^flow table +15 of 1000' '^clock lead +1\.250 s$'
	check "status: destinations with their mode" out_has \
		'^  default +off +0$' '^  shop +rewrite +2$' '^  lab +observe +3  disabled$'
	check "status: a destination that drains" out_has \
		'^  bank +strip +1  draining: 2 connections with timestamps go on; servers may remember one for 61 s after the last$'
	check "status: no counts" out_lacks 'syn_rewritten|^  none'
	check "status: asked for status" grep -qx status "$DIR/requests"
}

test_pawsctl_json() {
	if ! command -v jq >/dev/null; then
		skip "JSON" "jq is not installed"
		return
	fi
	run "$PAWSCTL" -s "$SOCKET" stats --json
	check "stats --json: exit status 0" status_is 0
	check "stats --json: one destination" json_is '.destinations[] | select(.name == "shop") |
		.mode == "rewrite" and .enabled and .prefixes == 2 and .packets.out_rewritten == 1000 and
		.packets.tcp_ao == 0 and .flows.ESTABLISHED == 12 and .flows.SYN_SENT == 0 and
		.totals == {rewritten: 3202, stripped: 0, repaired: 5, observed: 0, passed: 5} and
		.syns == {rewritten: 103, stripped: 0, repaired: 0, observed: 0, passed: 5}'
	check "stats --json: advice, draining" json_is '[.destinations[] | select(.advice) | .name] == ["shop"] and
		([.destinations[] | select(.draining) | "\(.name) \(.draining_flows) \(.draining_seconds)"] == ["bank 2 61"])'
	check "stats --json: what is in no destination" json_is '.destinations[] | select(.name == "none") |
		.mode == null and .packets.malformed_ip == 2'
	check "stats --json: sums over all" json_is '.packets.syn_rewritten == 100 and .packets.syn_policy_off == 8 and
		([.packets[]] | add) == ([.destinations[].totals[]] | add)'
	check "stats --json: metrics, times in seconds" json_is '.metrics.uptime_seconds == 93784.005 and
		.metrics.flow_table_capacity == 1000 and .metrics.receive_batches_total == 0'
	check "stats --json: queues" json_is '.queues[0] == {queue: 9470, role: "handshake", worker: 0, queued: 240,
		waiting: 1, dropped_queue_full: 2, dropped_buffer_full: 3}'
	check "stats --json: words" json_is '.info.version == "9.8.7" and .info.of_tomorrow == "\"quoted\" \\ and more"'
	run "$PAWSCTL" -s "$SOCKET" --json status
	check "status --json" json_is '.info.pid == "4711" and (.destinations | length) == 4 and
		(.destinations[0] | has("packets") | not) and .metrics.workers == 1 and (.queues | length) == 2'
}

test_pawsctl_usage() {
	run "$PAWSCTL"
	check "no command: exit status 2" status_is 2
	run "$PAWSCTL" -s "$SOCKET" dance
	check "unknown command: exit status 2" status_is 2
	run "$PAWSCTL" stats status
	check "two commands: exit status 2" status_is 2
	run "$PAWSCTL" --frob stats
	check "unknown option: exit status 2" status_is 2
	run "$PAWSCTL" --help
	check "--help" out_has '^  stats +count of packets'
	run "$PAWSCTL" --version
	check "--version" out_has '^pawsctl [0-9]+\.[0-9]+'
	if [ -c /dev/full ]; then
		COMMAND="$PAWSCTL -s $SOCKET stats >/dev/full" run bash -c 'eval "$COMMAND"'
		check "a full disk is no success" status_is 1 'cannot write'
	fi
}

# completes WORDS... EXPECTED: the last word but one is completed so, among others.
completes() {
	bash -c '. <("$1" --completion bash)
		COMP_WORDS=("${@:2:$#-2}") COMP_CWORD=$(($# - 3)) && _pawsctl && [[ " ${COMPREPLY[*]} " == *" ${@: -1} "* ]]' bash "$PAWSCTL" "$@"
}

test_completion() {
	check "completion: commands" completes pawsctl ex explain
	check "completion: behind --socket" completes pawsctl -s /tmp/x su suspects
	check "completion: a command's options" completes pawsctl flows --sta --state
	check "completion: not another's" fails completes pawsctl stats --sta --state
	run "$PAWSCTL" --completion zsh
	check "completion: zsh has each command" out_has "^	'analyze:"
	run "$PAWSCTL" --completion fish
	check "completion: no such shell" status_is 2
}

fails() { ! "$@"; }

test_pawsctl_trouble() {
	fake_stop
	run "$PAWSCTL" -s "$SOCKET" stats
	check "no socket: says which and what to do" status_is 1 \
		"no pawsd answers on $SOCKET (No such file or directory): start it"
	: >"$DIR/empty"
	fake_start answer "$DIR/empty"
	kill -9 "$FAKE_PID"
	wait "$FAKE_PID" 2>/dev/null || true
	run "$PAWSCTL" -s "$SOCKET" stats
	check "socket of a dead pawsd" status_is 1 "no pawsd answers on $SOCKET (Connection refused)"
	run "$PAWSCTL" -s "$DIR/$(printf '%0200d' 0)" stats
	check "path too long" status_is 1 'may have 107 bytes at most'
	fake_start answer "$DIR/answer"
	chmod 0 "$SOCKET"
	# Root may do everything, but not without this capability.
	local unprivileged=()
	[ "$(id -u)" != 0 ] || unprivileged=(setpriv --bounding-set "-dac_override,-dac_read_search")
	run "${unprivileged[@]}" "$PAWSCTL" -s "$SOCKET" stats
	check "no permission: says who may" status_is 1 'Permission denied: run this as root or'
	fake_start answer "$DIR/empty"
	run "$PAWSCTL" -s "$SOCKET" stats
	check "empty answer" status_is 1 "$SOCKET: the answer is empty"
	head -n 21 "$DIR/answer" >"$DIR/cut"
	fake_start answer "$DIR/cut"
	run "$PAWSCTL" -s "$SOCKET" stats
	check "cut-off answer" status_is 1 'cut off after line 21'
	check "cut-off answer: nothing printed" test ! -s "$DIR/out"
	printf 'pawsd-control 1\nerror not now\n' >"$DIR/refusal"
	fake_start answer "$DIR/refusal"
	run "$PAWSCTL" -s "$SOCKET" stats
	check "an error of pawsd's" status_is 1 'pawsd says: not now'
}

test_pawsctl_garbage() {
	head -c 2097152 /dev/urandom >"$DIR/garbage"
	fake_start answer "$DIR/garbage"
	run "$PAWSCTL" -s "$SOCKET" stats
	check "two megabytes of noise" status_is 1 "$SOCKET: "
	{ echo 'pawsd-control 1'; head -c 2097152 /dev/zero; echo; echo end; } >"$DIR/garbage"
	fake_start answer "$DIR/garbage"
	run "$PAWSCTL" -s "$SOCKET" stats
	check "two megabytes of zeros in one unknown line" status_is 0
	{ echo 'pawsd-control 1'; yes 'metric x 1' | head -c 20000000 || true; } >"$DIR/garbage"
	fake_start answer "$DIR/garbage"
	run "$PAWSCTL" -s "$SOCKET" stats
	check "more than the answer may have" status_is 1 'longer than 16777216 bytes'
	rm "$DIR/garbage"
}

# Behind the NAT each public address has evidence of its own.
test_pawsctl_try() {
	{
		printf 'pawsd-control 1\nmatch destination=trial mode=observe synack_tsecr=off\n'
		for ((i = 0; i < 100; i++)); do
			echo "server address=192.0.2.7 port=80 client=203.0.113.$i since_ms=9 last_ms=9 newer_answered=2 newer_unanswered=1"
		done
		echo end
	} >"$DIR/many"
	fake_start answer "$DIR/many"
	run "$PAWSCTL" -s "$SOCKET" try 192.0.2.7 --before 0 --settle 0 --seconds 1 --json
	check "try" status_is 0
	check "try: of all its evidence" grep -q '"connects": 300' "$DIR/out"
	check "try: what failed" grep -q '"failed": 100' "$DIR/out"
}

exporter_stop() {
	[ -z "$EXPORTER_PID" ] && return
	kill "$EXPORTER_PID" 2>/dev/null || true
	wait "$EXPORTER_PID" 2>/dev/null || true
	EXPORTER_PID=''
}

# exporter_start ADDRESS: on a port that the kernel chooses.
exporter_start() {
	exporter_stop
	rm -f "$DIR/exporter.log"
	"$EXPORTER" --socket "$SOCKET" --listen "$1:0" 2>"$DIR/exporter.log" &
	EXPORTER_PID=$!
	await grep -qs "serving.*metrics\$" "$DIR/exporter.log"
	PORT=$(sed -n 's,.*serving http://.*:\([0-9]*\)/metrics$,\1,p' "$DIR/exporter.log")
}

# http PATH [CURL OPTIONS]: body to out, headers to headers
http() {
	local path=$1
	shift
	run curl -sS -g -m 8 -D "$DIR/headers" "$@" "http://127.0.0.1:$PORT$path"
}

http_status_is() {
	show
	cat "$DIR/headers"
	head -n 1 "$DIR/headers" | grep -q " $1 "
}

test_exporter_metrics() {
	fake_start answer "$DIR/answer"
	exporter_start 127.0.0.1
	http /metrics
	check "/metrics: 200" http_status_is 200
	check "/metrics: content type" grep -qiE '^content-type: text/plain; version=0\.0\.4' "$DIR/headers"
	check "/metrics: one of each" out_has '^pawsd_up 1$' '^pawsd_build_info\{version="9\.8\.7"\} 1$' \
		'^pawsd_packets_total\{destination="shop",reason="out_rewritten"\} 1000$' \
		'^pawsd_packets_total\{destination="shop",reason="tcp_ao"\} 0$' \
		'^pawsd_packets_total\{destination="none",reason="malformed_ip"\} 2$' \
		'^pawsd_flows\{destination="shop",state="ESTABLISHED"\} 12$' \
		'^pawsd_destination_info\{destination="lab",mode="observe",enabled="false"\} 1$' \
		'^pawsd_destination_prefixes\{destination="shop"\} 2$' \
		'^pawsd_queue_packets_total\{queue="9470",role="handshake"\} 240$' \
		'^pawsd_queue_waiting_packets\{queue="9470",role="handshake"\} 1$' \
		'^pawsd_queue_dropped_packets_total\{queue="9470",role="handshake",cause="queue_full"\} 2$' \
		'^pawsd_queue_dropped_packets_total\{queue="9470",role="handshake",cause="buffer_full"\} 3$' \
		'^pawsd_uptime_seconds 93784\.005$' '^pawsd_clock_lead_seconds 1\.250$' '^pawsd_workers 1$' \
		'^# TYPE pawsd_config_reloads_total counter$'
	check "/metrics: no series of what has no configuration" out_lacks 'info\{destination="none"'
	check "/metrics: one request for one scrape" test "$(cat "$DIR/requests")" = stats
	if command -v promtool >/dev/null; then
		check "/metrics: promtool has nothing to say" promtool_is_content
	else
		skip "/metrics: promtool has nothing to say" "promtool (package prometheus) is not installed"
	fi
}

promtool_is_content() {
	promtool check metrics <"$DIR/out" >"$DIR/promtool" 2>&1 || { cat "$DIR/promtool"; return 1; }
	cat "$DIR/promtool"
	[ ! -s "$DIR/promtool" ]
}

test_exporter_http() {
	http /
	check "/: a page with a link" http_status_is 200
	check "/: the link" out_has 'href="/metrics"'
	http /nothing
	check "another path: 404" http_status_is 404
	http /metrics -I
	check "HEAD: 200" http_status_is 200
	http /metrics -d 'some=body'
	check "POST: 405" http_status_is 405
	check "POST: what is allowed" grep -qi '^allow: GET, HEAD' "$DIR/headers"
	http /metrics -X GET -d 'some=body'
	check "GET with a body: 200" http_status_is 200
	http /metrics -X DELETE
	check "DELETE: 405" http_status_is 405
	http "/$(printf '%040000d' 0)"
	check "a request too long for us: refused" http_status_is '4[0-9][0-9]'
	run "$EXPORTER" --socket "$SOCKET" --listen "127.0.0.1:$PORT"
	check "address in use: says so" status_is 1 "cannot listen on 127.0.0.1:$PORT: Address already in use"
}

test_exporter_trouble() {
	fake_stop
	http /metrics
	check "pawsd down: 200 all the same" http_status_is 200
	check "pawsd down: pawsd_up 0" out_has '^pawsd_up 0$'
	check "pawsd down: nothing else claimed" out_lacks 'pawsd_(packets|flows|uptime)'
	if command -v promtool >/dev/null; then
		check "pawsd down: promtool has nothing to say" promtool_is_content
	fi
	http /metrics
	check "pawsd down: logged once" test "$(grep -c 'no pawsd answers' "$DIR/exporter.log")" = 1
	fake_start answer "$DIR/cut"
	http /metrics
	check "cut-off answer: pawsd_up 0" out_has '^pawsd_up 0$'
	check "cut-off answer: no counts" out_lacks 'pawsd_packets'
	fake_start answer "$DIR/answer"
	http /metrics
	check "pawsd back: pawsd_up 1" out_has '^pawsd_up 1$'
	check "pawsd back: logged" grep -q 'pawsd answers again' "$DIR/exporter.log"
}

elapsed_ms() {
	echo $((($(date +%s%N) - $1) / 1000000))
}

# A pawsd that hangs: the answer comes late, but it comes. pawsctl waits 5 s, the exporter 2 s.
test_stuck() {
	local start took mode
	for mode in stuck full "drip $DIR/answer"; do
		# shellcheck disable=SC2086
		fake_start $mode
		start=$(date +%s%N)
		http /metrics
		took=$(elapsed_ms "$start")
		check "${mode%% *} pawsd: the scrape ends in time ($took ms)" test "$took" -ge 1900 -a "$took" -lt 6000
		check "${mode%% *} pawsd: pawsd_up 0" out_has '^pawsd_up 0$'
	done
	fake_start stuck
	run "$PAWSCTL" -s "$SOCKET" stats
	check "stuck pawsd: pawsctl says so" status_is 1 "did not answer on $SOCKET within 5000 ms"
}

exporter_stops() {
	local status=0
	kill -TERM "$EXPORTER_PID"
	wait "$EXPORTER_PID" || status=$?
	EXPORTER_PID=''
	cat "$DIR/exporter.log"
	[ "$status" = 0 ]
}

test_exporter_end() {
	check "SIGTERM: exit status 0" exporter_stops
	EXPORTER_PID=''
	if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
		fake_start answer "$DIR/answer"
		exporter_start '[::1]'
		run curl -sS -g -m 8 "http://[::1]:$PORT/metrics"
		check "IPv6" out_has '^pawsd_up 1$'
		exporter_stop
	else
		skip "IPv6" "no ::1 on this machine"
	fi
	for where in 9473 localhost:9473 127.0.0.1 127.0.0.1: ::1:9473 '[::1]' '[127.0.0.1:9473' 127.0.0.1:65536 \
		127.0.0.1:-1 :9473 '' "$(printf '%0300d' 0):1"; do
		run "$EXPORTER" --listen "$where"
		check "--listen ${where:0:20}: exit status 2" status_is 2 'not ADDRESS:PORT'
	done
	run "$EXPORTER" --frob
	check "pawsd-exporter, unknown option: exit status 2" status_is 2
	run "$EXPORTER" more
	check "pawsd-exporter, argument: exit status 2" status_is 2
	run "$EXPORTER" --version
	check "pawsd-exporter --version" out_has '^pawsd-exporter [0-9]+\.[0-9]+'
	run "$EXPORTER" --help
	check "pawsd-exporter --help" out_has '127\.0\.0\.1:9473'
}

mkfifo "$DIR/never"
answer_write >"$DIR/answer"
fake_start answer "$DIR/answer"
test_pawsctl_stats
test_pawsctl_status
test_pawsctl_json
test_pawsctl_usage
test_completion
test_pawsctl_trouble
test_pawsctl_garbage
test_pawsctl_try
if command -v curl >/dev/null; then
	test_exporter_metrics
	test_exporter_http
	test_exporter_trouble
	test_stuck
	test_exporter_end
else
	skip "pawsd-exporter" "curl is not installed"
fi
DONE=1
echo "1..$COUNT"
[ "$FAILED" -eq 0 ]
