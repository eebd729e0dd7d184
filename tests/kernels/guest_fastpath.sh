# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# The fast path, by nft's rules and by iptables', and with placement postnat at the interface to the servers: the kernel takes
# the programs, and attaches them (tcx from Linux 6.6 on, a filter of clsact before). They rewrite connections of both
# families, of which nothing is queued, and go on while pawsd is killed and away: transfers that run, and new connections. A
# stop leaves nothing. And this kernel runs the programs on the packets of all scenarios of tests/replay/, as
# tests/unit/test_fastpath.sh has the other one do.

BPF_FS=/sys/fs/bpf PINS=/sys/fs/bpf/pawsd
FAST_AWAY_S=3
SIDE=lan # where programs are, and so what interface: lan0, wan0

# has_tcx: of this kernel.
has_tcx() {
	local major minor
	IFS=.- read -r major minor _ <<<"$(uname -r)"
	((major > 6 || (major == 6 && minor >= 6)))
}
attached_by() { if has_tcx; then echo tcx; else echo clsact; fi; }

queued() { pawsctl status --json | jq '[.queues[].queued] | add'; }
# none_queued [COUNT]: but for so many before.
none_queued() {
	pawsctl status --json | jq -c .queues
	[ "$(queued)" = "${1:-0}" ]
}

# few_queued NAME: what servers have sent between new rules and what their clients sent next.
few_queued() {
	local count
	count=$(queued)
	check "$1: of transfers $count packets were queued, at most 64" [ "$count" -le 64 ]
}

# status_says INTERFACES: programs are at so many of them.
status_says() {
	pawsctl status --json >"$WORK/status" || return 1
	jq -c '.info.fastpath, (.metrics | with_entries(select(.key | startswith("fastpath"))))' "$WORK/status"
	jq -e --arg by "$(attached_by)" --argjson n "$1" '.info.fastpath == "\($n) interfaces, by \($by)" and
		.metrics.fastpath_interfaces == $n and .metrics.fastpath_missing == 0' "$WORK/status" >/dev/null
}

# tc_shows: what of programs of ours tc knows; with tcx that is nothing.
tc_shows() {
	local way
	in_ns "$GW" tc qdisc show dev ${SIDE}0 clsact
	for way in ingress egress; do in_ns "$GW" tc filter show dev ${SIDE}0 $way 2>/dev/null | grep -o "handle 0x70617773 ${SIDE}_[a-z]*"; done
}
clsact_is_there() {
	tc_shows
	[ "$(tc_shows | grep -c handle)" = 2 ]
}
# What a careless script does.
clsact_comes_again() {
	in_ns "$GW" tc qdisc del dev ${SIDE}0 clsact
	wait_until 2 clsact_is_there && grep -q "warning: ${SIDE}0: the fast path's program on its ingress was gone, and is there again" "$WORK/pawsd.log"
}
# Of what it does to clsact itself it hears as well, and should not do it again for that.
clsact_is_left_alone() {
	in_ns "$GW" timeout 1 tc monitor >"$WORK/monitor" || true
	cat "$WORK/monitor"
	[ ! -s "$WORK/monitor" ]
}
clsact_is_gone() {
	tc_shows
	[ -z "$(tc_shows)" ]
}

# programs: the numbers of those that the kernel has loaded, ours.
programs() { bpftool prog show | sed -n 's/^\([0-9]*\): sched_cls  *name [lw]an_.*/\1/p'; }
no_programs() {
	bpftool prog show
	[ -z "$(programs)" ]
}
no_pins() {
	ls -la $PINS 2>/dev/null || return 0
	[ -z "$(ls $PINS)" ]
}

nothing_of_it_left() {
	no_pins && clsact_is_gone && wait_until 10 no_programs
}

# kept: what outlives pawsd, by the kernel's numbers.
kept() {
	local name
	local -A types=([fast]=map [code]=prog [link]=link)
	for name in "$PINS"/{fast,code,link}_*; do
		[ -e "$name" ] || continue
		name=${name##*/}
		printf '%s ' "$name"
		bpftool "${types[${name%%_*}]}" show pinned "$PINS/$name" | sed -n '1s/:.*//p'
	done
}
# is_kept: all of it, among that a program for each side and way, and links where the kernel has links.
is_kept() {
	kept >"$WORK/kept.now"
	cat "$WORK/kept.now"
	[ "$(grep -c '^fast_.* [0-9]*$' "$WORK/kept.now")" -ge 10 ] && [ "$(grep -c '^code_.* [0-9]*$' "$WORK/kept.now")" = 4 ] &&
		cmp "$WORK/kept" "$WORK/kept.now" || return 1
	! has_tcx || [ "$(grep -c "^link_${SIDE}0_.* [0-9]*$" "$WORK/kept.now")" = 2 ]
}

# fast_connects NAME SERVER: of all clients, both families, each with its first SYN.
fast_connects() {
	local family line
	for family in 4 6; do
		line=$(load --from "$(clients $family)" --to "$(endpoint $family "$2" 80-83)" --count $CONNECTS --concurrency 8) || true
		diag "$1 IPv$family: $line"
		check "$1 IPv$family: $CONNECTS connects, all with their first SYN" all_first "$line" $CONNECTS
	done
}

# fast_config BACKEND PLACEMENT
fast_config() {
	PAWSD_FASTPATH=yes PAWSD_FASTPATH_AT=${SIDE}0:$SIDE PAWSD_BPF=$BPF_FS PAWSD_WORKERS=1 PAWSD_BACKEND=$1 \
		config_rewrite "$WORK/pawsd.conf" "$2"
}

# none_more_queued: while transfers go on.
none_more_queued() {
	local before
	before=$(queued)
	moves_on_by_far && none_queued "$before"
}
moves_on_by_far() { wait_until 20 moves_on $(($(counted "" out_rewritten) + 200)); }

# While it is away, and when it is there again.
fast_kill() {
	local before
	check "$1: transfers begin" transfers_start
	kill_pawsd
	fast_connects "$1, killed" 6
	sleep $FAST_AWAY_S # that is what is tested
	check "$1: pawsd starts again" pawsd_start "$WORK/pawsd.conf"
	check "$1: maps and links are the same" is_kept
	check "$1: it knows the flows" grep -q 'flows are known from before' "$WORK/pawsd.log"
	check "$1: they are rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	# Behind the NAT nothing was let go while pawsd began: all of that was queued.
	[ $SIDE = lan ] || check "$1: nothing of them is queued any more" wait_until 10 none_more_queued
	transfers_end "$1: transfer over kill -9"
	[ $SIDE = lan ] || overtaken "$1"
	check "$1: nothing went by" [ "$(counted "" synack_unknown midstream_out midstream_in)" = 0 ]
	[ $SIDE = wan ] || few_queued "$1"
	before=$(queued)
	fast_connects "$1, again" 1
	check "$1: of new ones nothing was queued" none_queued "$before"
	check "$1: programs are there once" [ "$(programs | wc -l)" = 4 ]
}

# Behind the NAT a segment that waits in the queue while connections come back to the programs may leave behind later ones: the server
# takes it for an old one, and it is sent again.
late_segments() { bad_segments | awk -F= '$1 == "pawsd-sv TcpExtPAWSEstab" {print $2}'; }
other_bad_segments() { bad_segments | grep -v '^pawsd-sv TcpExtPAWSEstab='; }
few_late() {
	local was
	was=$(awk -F= '$1 == "pawsd-sv TcpExtPAWSEstab" {print $2}' "$WORK/was.bad_segments")
	echo "late: $(($(late_segments) - was))"
	[ $(($(late_segments) - was)) -le 8 ]
}
overtaken() {
	check "$1: few segments were overtaken" few_late
	check "$1: no other timestamp or checksum was refused" diff -U0 <(grep -v '^pawsd-sv TcpExtPAWSEstab=' "$WORK/was.bad_segments") <(other_bad_segments)
	bad_segments >"$WORK/was.bad_segments"
}

# syns_pass yes|no: those to server 11, at the servers.
syns_pass() {
	[ "$1" = yes ] || in_ns "$SV" nft "table inet late { chain in { type filter hook input priority 0; tcp dport 80 tcp flags syn / syn,ack drop; }; }"
	[ "$1" = no ] || in_ns "$SV" nft delete table inet late
}

# The first SYN is lost: the second has to be told from it, which only the engine can, and is queued with all that follows.
second_syns() {
	local family line before pid
	before=$(counted servers syn_retransmitted)
	for family in 4 6; do
		syns_pass no
		start "$CL" "$TOOLS/tcpload" --from "$(clients $family)" --to "$(endpoint $family 14 80)" --count 8 --concurrency 8 \
			--timeout-ms 10000 >"$WORK/second.$family"
		pid=$STARTED
		sleep 0.5 # well before the second SYN
		syns_pass yes
		check "$1 IPv$family: connects with their second SYN" finish "$pid"
		line=$(cat "$WORK/second.$family")
		diag "$line"
		check "$1 IPv$family: all of them" [ "$(value_of ok "$line") $(value_of second_syn "$line")" = "8 8" ]
	done
	check "$1: those SYNs are rewritten" [ "$(($(counted servers syn_retransmitted) - before))" = 16 ]
	check "$1: they were queued, and all that followed" [ "$(queued)" -ge 48 ]
}

# The interface's programs go, as where another rule takes their marks away: nothing is let go to nobody.
programs_go_and_come() {
	local before family line
	in_ns "$GW" nft 'table inet taker { chain c { type filter hook prerouting priority -300; ip saddr 192.0.2.99 meta mark set 7; }; }'
	check "$1: a rule that takes marks, and a reload" pawsctl reload
	check "$1: no programs" wait_until 15 metric_is_now fastpath_interfaces 0
	before=$(counted "" syn_rewritten)
	for family in 4 6; do
		line=$(load --from "$(clients $family)" --to "$(endpoint $family 1 80-83)" --count 40) || true
		check "$1 IPv$family, no programs: connects" all_first "$line" 40
	done
	check "$1, no programs: their SYNs are rewritten" [ "$(($(counted "" syn_rewritten) - before))" = 80 ]
	check "$1, no programs: by the queue" [ "$(queued)" -ge 500 ]
	in_ns "$GW" nft delete table inet taker
	check "$1: without that rule" pawsctl reload
	check "$1: programs again" wait_until 15 metric_is_now fastpath_interfaces 1
	before=$(queued)
	fast_connects "$1, programs again" 1
	check "$1: nothing was queued" none_queued "$before"
}
metric_is_now() { [ "$(metric_of "$1")" = "$2" ]; }

# Connections of the gateway itself leave by that interface, too.
own() {
	local family line before
	before=$(queued)
	for family in 4 6; do
		line=$(in_ns "$GW" "$TOOLS/tcpload" --to "$(endpoint $family 12 80-83)" --count 20) || true
		check "$1 IPv$family: the gateway's own connects" all_first "$line" 20
		check "$1 IPv$family: the gateway's own transfer" in_ns "$GW" "$TOOLS/tcpbulk" \
			--to "$(endpoint $family 12 80)" --up $ROUND_BYTES --down $ROUND_BYTES
	done
	check "$1: nothing of the gateway's own was queued" none_queued "$before"
}

# fast BACKEND PLACEMENT
fast() {
	local name="fast path, $1, $2"
	phase "$name"
	: >"$WORK/pawsd.log"
	fast_config "$1" "$2"
	remember
	pawsd_up "$WORK/pawsd.conf"
	check "$name: programs at an interface, by $(attached_by)" status_says 1
	has_tcx || check "$name: one on either way, by clsact" clsact_is_there
	kept >"$WORK/kept"
	fast_connects "$name" 1
	captured "fast-$1-$2" 1
	capture_properties "fast-$1-$2"
	check "$name: counted as any others" [ "$(counted servers syn_rewritten synack_rewritten)" = $((4 * CONNECTS + 164)) ]
	check "$name: nothing was queued" none_queued
	[ $SIDE = lan ] || own "$name"
	check "$name: nothing odd" nothing_odd
	fast_kill "$name"
	[ $SIDE = lan ] || programs_go_and_come "$name"
	[ $SIDE = lan ] || second_syns "$name"
	has_tcx || check "$name: clsact is taken away, and there again at once" clsact_comes_again
	has_tcx || check "$name: and left alone then" clsact_is_left_alone
	unhurt "$name"
	check "$name: nothing is left open" all_closed
	check "$name: pawsd stops" pawsd_stop
	check "$name: no program, no pin, no clsact is left" nothing_of_it_left
}

# scenarios: on the clients' side, all but one, of which test_fastpath.sh says why.
scenarios() {
	local files=() file
	for file in "$REPO"/tests/replay/*.pkt; do
		[ "${file##*/}" = synack_of_another_table_full.pkt ] || files+=("$file")
	done
	"$TOOLS/replay" -f "$BUILD_DIR/src/bpf/fastpath.bpf.o" "${files[@]}" >"$WORK/scenarios" || {
		grep -v ^ok "$WORK/scenarios"
		return 1
	}
	[ "$(grep -c ^ok "$WORK/scenarios")" -gt 300 ]
}

part_fastpath() {
	phase "fast path"
	mount -t bpf -o mode=0700 bpf $BPF_FS
	check "fast path: the programs do as they should in all scenarios" scenarios
	fast nft forward
	fast iptables forward
	SIDE=wan
	fast nft postnat
}
