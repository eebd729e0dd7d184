# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the namespace tests and the demo share. To be sourced; the first argument of the script is
# the build directory. Each test prints TAP; its exit status is 0 iff nothing failed.
#
#   client machines            NAT gateway                "box"               server
#   +--------------+      +------------------+      +--------------+      +-------------+
#   | $CL          |      | $GW              |      | $BX          |      | $SV         |
#   |         lan0 |------| lan0        wan0 |------| gw0     srv0 |------| net0        |
#   +--------------+      +------------------+      +--------------+      +-------------+
#    10.99.1.1 + 64        10.99.0.1   203.0.113.1   203.0.113.254         198.51.100.1 + 16
#    fd99::1:1 + 64        fd99::1  2001:db8:99::1   2001:db8:99::fe  2001:db8:100::1 + 16
#                          MASQUERADE                198.51.100.254
#                          pawsd runs here           2001:db8:100::fe
#
# All client machines live in one namespace: a TCP timestamp offset belongs to the pair of
# addresses (or to the connection), so each source address is a machine of its own.
# The box only forwards, unless a test starts a middlebox in it. Names of the namespaces carry
# the pid of the test; whatever way it ends, they are removed and what runs in them is ended.
#
# XT (default, legacy, nft) chooses the iptables flavour of all rules, the gateway's NAT and pawsd's.
# NET_BOX=no leaves the box out: the server has its address on the gateway's side, for benchmarks.
# PAWSD_FASTPATH=yes (or auto) has pawsd use the fast path, and so runs any of the tests with it.

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
BUILD_DIR="$(cd "${1:-$REPO/build}" && pwd)"
TOOLS="$BUILD_DIR/tests"
PAWSD="$BUILD_DIR/pawsd"
PAWSCTL="$BUILD_DIR/pawsctl"
XT="${XT:-default}"
NET_BOX="${NET_BOX:-yes}"

# A file system of bpf's, which this test alone sees.
if [ -n "${PAWSD_FASTPATH:-}" ] && [ -z "${PAWSD_BPF:-}" ]; then
	PAWSD_BPF=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-bpf.XXXXXX")
	export PAWSD_BPF
	exec unshare --mount --propagation private sh -c 'mount -t bpf bpf "$PAWSD_BPF" && exec bash "$0" "$@"' "$0" "$@"
fi

CL=pawsd-cl-$$ GW=pawsd-gw-$$ BX=pawsd-bx-$$ SV=pawsd-sv-$$
CLIENT_COUNT=64 SERVER_COUNT=16
CLIENTS_4=10.99.1.1+$CLIENT_COUNT CLIENTS_6=fd99::1:1+$CLIENT_COUNT
PUBLIC_4=203.0.113.1 PUBLIC_6=2001:db8:99::1
WORK=
PAWSD_PID=
STARTED_PIDS=()

# --- addresses -------------------------------------------------------------------------------

# server_addr FAMILY N, client_addr FAMILY N: the N-th address, 1 and up.
server_addr() {
	if [ "$1" = 4 ]; then echo "198.51.100.$2"; else printf '2001:db8:100::%x\n' "$2"; fi
}

client_addr() {
	if [ "$1" = 4 ]; then echo "10.99.1.$2"; else printf 'fd99::1:%x\n' "$2"; fi
}

clients() { if [ "$1" = 4 ]; then echo "$CLIENTS_4"; else echo "$CLIENTS_6"; fi; }

public_addr() { if [ "$1" = 4 ]; then echo "$PUBLIC_4"; else echo "$PUBLIC_6"; fi; }

# endpoint FAMILY N PORT[-PORT]
endpoint() {
	if [ "$1" = 4 ]; then echo "$(server_addr 4 "$2"):$3"; else echo "[$(server_addr 6 "$2")]:$3"; fi
}

# --- TAP -------------------------------------------------------------------------------------

TAP_COUNT=0 TAP_FAILED=0

tap_ok() {
	TAP_COUNT=$((TAP_COUNT + 1))
	echo "ok $TAP_COUNT - $1"
}

tap_not_ok() {
	TAP_COUNT=$((TAP_COUNT + 1))
	TAP_FAILED=$((TAP_FAILED + 1))
	echo "not ok $TAP_COUNT - $1"
}

tap_skip() {
	TAP_COUNT=$((TAP_COUNT + 1))
	echo "ok $TAP_COUNT - $1 # SKIP $2"
}

diag() { sed 's/^/# /' <<<"$*"; }

# check NAME COMMAND...: ok iff the command succeeds; what it printed is shown when it does not.
check() {
	local name=$1 output=${WORK:-/tmp}/check.$$
	shift
	if "$@" >"$output" 2>&1; then # no subshell: what the command starts or ends is ours
		tap_ok "$name"
	else
		tap_not_ok "$name"
		diag "$*"
		[ ! -s "$output" ] || diag "$(cat "$output")"
	fi
	rm -f "$output"
}

# fails COMMAND...: succeeds iff the command does not.
fails() { ! "$@"; }

# tap_done: prints the plan and ends the test.
tap_done() {
	echo "1..$TAP_COUNT"
	[ "$TAP_FAILED" -eq 0 ] || exit 1
	exit 0
}

# tap_skip_all WHY
tap_skip_all() {
	tap_skip "$(basename "$0" .sh)" "$1"
	tap_done
}

# --- waiting ---------------------------------------------------------------------------------

# wait_until SECONDS COMMAND...: repeats the command until it succeeds. Status 1: it never did.
wait_until() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# Ended, whether or not its parent has asked for its status.
process_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# stop_process PID: SIGTERM, and SIGKILL after 5 s. Only for processes that the test started.
stop_process() {
	kill -TERM "$1" 2>/dev/null || return 0
	wait_until 5 process_gone "$1" || kill -KILL "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# --- requirements ----------------------------------------------------------------------------

# missing_commands COMMAND:PACKAGE...: names each that is missing.
missing_commands() {
	local pair missing=()
	for pair in "$@"; do
		command -v "${pair%%:*}" >/dev/null || missing+=("${pair%%:*} (package ${pair#*:})")
	done
	[ ${#missing[@]} -eq 0 ] || echo "missing: ${missing[*]}"
}

NET_COMMANDS=(ip:iproute2 iptables:iptables ip6tables:iptables nsenter:util-linux)

# net_require [COMMAND:PACKAGE...]: ends the test as skipped when it cannot run here.
net_require() {
	local missing
	[ "$(id -u)" = 0 ] || tap_skip_all "needs root"
	missing=$(missing_commands "${NET_COMMANDS[@]}" "$@")
	[ -z "$missing" ] || tap_skip_all "$missing"
	if ! ip netns add "pawsd-try-$$" 2>/dev/null; then
		tap_skip_all "cannot make network namespaces"
	fi
	ip netns del "pawsd-try-$$"
}

# --- namespaces ------------------------------------------------------------------------------

# in_ns NAMESPACE COMMAND...
in_ns() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" "$@"
}

# ns_write NAMESPACE PATH-UNDER-/proc/sys VALUE
ns_write() { in_ns "$1" sh -c 'echo "$2" >"/proc/sys/$1"' sh "$2" "$3"; }

# xt NAMESPACE FAMILY ARGUMENTS...: iptables or ip6tables of the chosen flavour.
xt() {
	local ns=$1 command=iptables
	[ "$2" = 4 ] || command=ip6tables
	[ "$XT" = default ] || command=$command-$XT
	shift 2
	in_ns "$ns" "$command" -w 10 "$@"
}

net_cleanup() {
	local ns pid
	set +e
	trap '' INT TERM # who wants it to end twice gets it clean, too
	for pid in "${STARTED_PIDS[@]}"; do stop_process "$pid"; done
	for ns in "$CL" "$GW" "$BX" "$SV"; do
		[ -e "/run/netns/$ns" ] || continue
		for pid in $(ip netns pids "$ns"); do kill -KILL "$pid" 2>/dev/null; done
		ip netns del "$ns"
	done
	[ -z "$WORK" ] || [ -n "${KEEP:-}" ] || rm -rf "$WORK"
	[ -z "${PAWSD_BPF:-}" ] || { umount "$PAWSD_BPF" && rmdir "$PAWSD_BPF"; }
	[ -z "$WORK" ] || [ -z "${KEEP:-}" ] || echo "# kept: $WORK" >&2
}

net_add_ns() {
	ip netns add "$1"
	ns_write "$1" net/ipv6/conf/all/disable_ipv6 0
	ns_write "$1" net/ipv6/conf/default/accept_dad 0
	ns_write "$1" net/ipv4/tcp_timestamps 1
	ns_write "$1" net/ipv4/conf/all/rp_filter 0
	ns_write "$1" net/ipv4/conf/default/rp_filter 0
	ip -n "$1" link set lo up
}

# net_link NS1 DEV1 NS2 DEV2
net_link() {
	ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
}

net_addresses() {
	local i
	{
		for ((i = 1; i <= CLIENT_COUNT; i++)); do
			echo "addr add $(client_addr 4 $i)/16 dev lan0"
			echo "addr add $(client_addr 6 $i)/64 dev lan0 nodad"
		done
		echo "route add default via 10.99.0.1"
		echo "route add default via fd99::1"
	} | ip -n "$CL" -batch -
	{
		echo "addr add 10.99.0.1/16 dev lan0"
		echo "addr add fd99::1/64 dev lan0 nodad"
		echo "addr add $PUBLIC_4/24 dev wan0"
		echo "addr add $PUBLIC_6/64 dev wan0 nodad"
		echo "route add default via 203.0.113.254"
		echo "route add default via 2001:db8:99::fe"
	} | ip -n "$GW" -batch -
	[ "$NET_BOX" = no ] || net_box_addresses
	{
		for ((i = 1; i <= SERVER_COUNT; i++)); do
			echo "addr add $(server_addr 4 $i)/24 dev net0"
			echo "addr add $(server_addr 6 $i)/64 dev net0 nodad"
		done
		if [ "$NET_BOX" = no ]; then
			echo "addr add 203.0.113.254/24 dev net0"
			echo "addr add 2001:db8:99::fe/64 dev net0 nodad"
		else
			echo "route add default via 198.51.100.254"
			echo "route add default via 2001:db8:100::fe"
		fi
	} | ip -n "$SV" -batch -
}

net_box_addresses() {
	{
		echo "addr add 203.0.113.254/24 dev gw0"
		echo "addr add 2001:db8:99::fe/64 dev gw0 nodad"
		echo "addr add 198.51.100.254/24 dev srv0"
		echo "addr add 2001:db8:100::fe/64 dev srv0 nodad"
	} | ip -n "$BX" -batch -
}

# net_up: builds the topology of the drawing, with NAT, and waits until it carries connections.
net_up() {
	local ns family
	trap net_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-net.XXXXXX")
	for ns in "$CL" "$GW" "$BX" "$SV"; do net_add_ns "$ns"; done
	for ns in "$GW" "$BX"; do
		ns_write "$ns" net/ipv4/ip_forward 1
		ns_write "$ns" net/ipv6/conf/all/forwarding 1
	done
	net_link "$CL" lan0 "$GW" lan0
	if [ "$NET_BOX" = no ]; then
		net_link "$GW" wan0 "$SV" net0
	else
		net_link "$GW" wan0 "$BX" gw0
		net_link "$BX" srv0 "$SV" net0
	fi
	net_addresses
	for family in 4 6; do
		xt "$GW" $family -t nat -A POSTROUTING -o wan0 -p tcp -j MASQUERADE
	done
	serve "$(endpoint 4 $SERVER_COUNT 7)" "$(endpoint 6 $SERVER_COUNT 7)"
	for family in 4 6; do
		wait_until 10 path_works $family || {
			echo "# the topology does not carry IPv$family connections" >&2
			exit 1
		}
	done
}

path_works() { load --from "$(client_addr "$1" 1)" --to "$(endpoint "$1" $SERVER_COUNT 7)" --timeout-ms 300 >/dev/null; }

# net_offload on|off: segmentation and checksum offloads of all links. Off: what a capture
# shows is what a wire would carry.
net_offload() {
	local pair
	for pair in "$CL lan0" "$GW lan0" "$GW wan0" "$BX gw0" "$BX srv0" "$SV net0"; do
		[ "$NET_BOX" = yes ] || [ "${pair% *}" != "$BX" ] || continue
		# shellcheck disable=SC2086
		set -- $1 $pair
		in_ns "$2" ethtool -K "$3" rx "$1" tx "$1" tso "$1" gso "$1" gro "$1" >/dev/null
	done
}

# net_steer [on|off]: what comes in by a link is handled on the processor that its flow's hash names. Otherwise
# it is that on which it was sent, so a flow whose sender or whose worker of pawsd changes
# processors is reordered, and the kernel counts some of that as PAWS drops. And a flow keeps its hash, which
# a sender otherwise changes with each time-out.
net_steer() {
	local ns cpus=3
	[ "${1:-on}" = on ] || cpus=0
	for ns in "$CL" "$GW" "$BX" "$SV"; do
		[ "$NET_BOX" = yes ] || [ "$ns" != "$BX" ] || continue
		[ ! -e /proc/sys/net/core/txrehash ] || ns_write "$ns" net/core/txrehash 0
		ip netns exec "$ns" sh -c 'for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo "$1" >"$f"; done' sh $cpus
	done
}

# --- what runs in them -----------------------------------------------------------------------

# start NAMESPACE COMMAND...: in the background; its own pid is in STARTED. (in_ns ... & would
# give the pid of a shell in between.)
start() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" "$@" &
	STARTED=$!
	STARTED_PIDS+=("$STARTED")
}

# finish PID: SIGTERM, waits for its end; the status is its own.
finish() {
	local status=0
	kill -TERM "$1" 2>/dev/null || true
	wait "$1" || status=$?
	return $status
}

# start_background NAMESPACE COMMAND...: a tool with --background: it is ready when this returns,
# its pid is in STARTED.
start_background() {
	STARTED=$(in_ns "$@")
	STARTED_PIDS+=("$STARTED")
}

# serve ENDPOINT...: a server on these.
serve() { start_background "$SV" "$TOOLS/tcpserve" --background "$@"; }

# load ARGUMENTS...: tcpload among the clients.
load() { in_ns "$CL" "$TOOLS/tcpload" "$@"; }

# box_rules QUEUE FAMILY SERVER: sends that server's packets to a middlebox.
box_rules() {
	local server
	server=$(server_addr "$2" "$3")
	xt "$BX" "$2" -t mangle -A FORWARD -p tcp -d "$server" -j NFQUEUE --queue-num "$1"
	xt "$BX" "$2" -t mangle -A FORWARD -p tcp -s "$server" -j NFQUEUE --queue-num "$1"
}

# box_start QUEUE MODE: a middlebox for that queue. Its counts are in $WORK/box.QUEUE when it ends.
box_start() {
	start_background "$BX" "$TOOLS/middlebox" --mode "$2" --queue "$1" --server-dev srv0 --background \
		--stats "$WORK/box.$1"
}

# value_of NAME TEXT: of "... NAME=VALUE ...".
value_of() {
	local text=" $2 "
	text=${text#* "$1"=}
	echo "${text%%[ $'\n']*}"
}

# --- pawsd -----------------------------------------------------------------------------------

# pawsd_config FILE: writes a configuration; the destinations come from standard input.
pawsd_config() {
	{
		cat <<-EOT
		[gateway]
		wan = wan0
		placement = forward
		[queue]
		workers = ${PAWSD_WORKERS:-1}
		[rules]
		backend = ${PAWSD_BACKEND:-iptables}
		flavour = ${PAWSD_FLAVOUR:-$XT}
		strip_backend = ${PAWSD_STRIP:-queue}
		[control]
		socket = $WORK/run/control.sock
		[daemon]
		runtime_dir = $WORK/run
		state_dir = $WORK/state
		EOT
		[ -z "${PAWSD_FASTPATH:-}" ] || pawsd_fastpath
		cat
	} >"$1"
}

# pawsd_fastpath: what a configuration says of it.
pawsd_fastpath() {
	cat <<-EOT
		[fastpath]
		enabled = $PAWSD_FASTPATH
		interfaces = ${PAWSD_FASTPATH_AT:-lan0:lan}
		pins = $PAWSD_BPF/pawsd
	EOT
}

pawsd_ready_or_gone() { [ -e "$WORK/ready" ] || process_gone "$PAWSD_PID"; }

# pawsd_launch FILE: starts pawsd in the gateway, does not wait for it.
pawsd_launch() {
	mkdir -p "$WORK/run" "$WORK/state"
	start_background "$GW" "$TOOLS/notifywait" "$WORK/notify" "$WORK/ready"
	NOTIFY_SOCKET="$WORK/notify" start "$GW" "$PAWSD" -c "$1" >>"$WORK/pawsd.log" 2>&1
	PAWSD_PID=$STARTED
}

# pawsd_start FILE: starts pawsd and waits until it says READY=1. Status 1: it does not.
pawsd_start() {
	pawsd_launch "$1"
	wait_until 20 pawsd_ready_or_gone
	[ -e "$WORK/ready" ]
}

# pawsd_stop: SIGTERM; its exit status is the status.
pawsd_stop() {
	local status=0
	kill -TERM "$PAWSD_PID" 2>/dev/null || true
	if ! wait_until 15 process_gone "$PAWSD_PID"; then
		kill -KILL "$PAWSD_PID"
		wait "$PAWSD_PID" || true
		return 99
	fi
	wait "$PAWSD_PID" || status=$?
	[ $status = 0 ] || tail -n 40 "$WORK/pawsd.log"
	return $status
}

# Built with AddressSanitizer or ThreadSanitizer, which need more system calls, memory and time.
is_sanitized() { grep -q '__asan_init\|__tsan_init' "$PAWSD"; }

pawsctl() { "$PAWSCTL" -s "$WORK/run/control.sock" "$@"; }

# pawsd_require: ends the test as failed when pawsd has not been built.
pawsd_require() {
	[ -x "$PAWSD" ] && [ -x "$PAWSCTL" ] && return
	echo "Bail out! $PAWSD has not been built"
	exit 1
}

# pawsd_up FILE: starts it, and ends the test when it does not come up.
pawsd_up() {
	pawsd_start "$1" && return
	diag "$(cat "$WORK/pawsd.log")"
	echo "Bail out! pawsd did not start"
	exit 1
}

# counted DESTINATION REASON...: the sum of these counters; DESTINATION "" stands for all.
counted() {
	local destination=$1
	shift
	pawsctl stats --json | jq --arg d "$destination" '[.destinations[] | select($d == "" or .name == $d) | .packets
		| to_entries[] | select(.key as $k | $ARGS.positional | index($k)) | .value] | add // 0' --args "$@"
}

# packets_counted: all packets that pawsd has counted.
packets_counted() { pawsctl stats --json | jq '[.packets[]] | add'; }

# --- what pawsctl says ------------------------------------------------------------------------

# json FILTER COMMAND...: the filter holds for the JSON of that command.
json() {
	local filter=$1
	shift
	pawsctl "$@" --json >"$WORK/json" && jq -e "$filter" "$WORK/json" >/dev/null && return
	cat "$WORK/json"
	return 1
}

# says WORDS COMMAND...: it succeeds, with these words (a regular expression); refused WORDS COMMAND...: it does not.
says() {
	local words=$1
	shift
	pawsctl "$@" >"$WORK/out" && grep -qE -- "$words" "$WORK/out" && return
	cat "$WORK/out"
	return 1
}

refused() {
	local words=$1
	shift
	! pawsctl "$@" >"$WORK/out" 2>&1 && grep -qE -- "$words" "$WORK/out" && return
	cat "$WORK/out"
	return 1
}

# --- captures --------------------------------------------------------------------------------

tcpdump_ready() { grep -q 'listening on' "$1"; }

# capture_start NAME [FILTER]: captures TCP, or what the filter says, on both sides of the gateway, to NAME.inside.pcap
# and NAME.outside.pcap in $WORK. Ready when it returns.
capture_start() {
	local side
	CAPTURE_PIDS=()
	for side in inside:lan0 outside:wan0; do
		start "$GW" tcpdump -Z root -i "${side#*:}" -s 0 -B 16384 -U --immediate-mode \
			-w "$WORK/$1.${side%:*}.pcap" "${2:-tcp} or udp port 9" 2>"$WORK/$1.${side%:*}.err"
		CAPTURE_PIDS+=("$STARTED")
		wait_until 10 tcpdump_ready "$WORK/$1.${side%:*}.err"
	done
}

# Every connection has ended but for TIME_WAIT: no packet of any is on its way.
is_settled() {
	[ -z "$(in_ns "$CL" ss -Htn state connected exclude time-wait)" ] &&
		[ -z "$(in_ns "$SV" ss -Htn state connected exclude time-wait)" ]
}

sentinel_captured() {
	in_ns "$CL" bash -c 'echo >"/dev/udp/$1/9"' bash "$(server_addr 4 $SERVER_COUNT)" 2>/dev/null || true
	[ -n "$(tcpdump -nr "$1.inside.pcap" udp port 9 2>/dev/null | head -1)" ] &&
		[ -n "$(tcpdump -nr "$1.outside.pcap" udp port 9 2>/dev/null | head -1)" ]
}

# capture_stop NAME: all that was sent before is in the files when it returns.
capture_stop() {
	local pid
	wait_until 5 is_settled || echo "# connections are still open" >&2
	wait_until 10 sentinel_captured "$WORK/$1"
	for pid in "${CAPTURE_PIDS[@]}"; do finish "$pid" || true; done
	if grep -q '^[1-9].* dropped by kernel' "$WORK/$1".*.err; then
		echo "# the capture $1 lost packets" >&2
		return 1
	fi
}

# capcheck NAME ARGUMENTS...: of the capture NAME.
capcheck() {
	local name=$1
	shift
	"$TOOLS/capcheck" "$@" "$WORK/$name.inside.pcap" "$WORK/$name.outside.pcap"
}

# capture_properties NAME ARGUMENTS...: a line of TAP for each property.
capture_properties() {
	local name=$1 line output
	shift
	output=$(capcheck "$name" "$@") || true
	[ -n "$output" ] || tap_not_ok "$name: capcheck says nothing"
	while read -r line; do
		case $line in
		*" ok "*) tap_ok "$name: ${line/ ok /: }" ;;
		*" FAILED "*) tap_not_ok "$name: ${line/ FAILED /: }" ;;
		*) diag "$line" ;;
		esac
	done <<<"$output"
}

# property_fails NAME PROPERTY ARGUMENTS...: capcheck must say so, of that property.
property_fails() {
	local name=$1 property=$2
	shift 2
	grep "^$property FAILED" <<<"$(capcheck "$name" "$@")"
}

# metric NAME: one of those of include/metrics.h.
metric() { pawsctl status --json | jq ".metrics.$1"; }

metric_is() { [ "$(metric "$1")" = "$2" ]; }
