# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# The kernel's flow table (nf_flowtable), which takes established connections past all rules:
#
#   - one that leaves rewritten destinations out, as the manual says, hurts none of them
#   - one for all connections is found, said once, and shown; rewritten connections do go past pawsd then, and the
#     figure goes back with the flow table

FLOW_SERVER=2 REST_SERVER=6 # rewritten both; connections to the second one may be offloaded

# flowtable SERVER-LEFT-OUT|all
flowtable() {
	local what='meta l4proto tcp'
	[ "$1" = all ] || what="ip daddr != $(server_addr 4 "$1") ip saddr != $(server_addr 4 "$1") meta l4proto tcp"
	in_ns "$GW" nft -f - <<-EOT
		table inet flows {
			flowtable fast { hook ingress priority filter; devices = { lan0, wan0 }; }
			chain forward {
				type filter hook forward priority filter + 1;
				$what ct state established flow add @fast
			}
		}
	EOT
}

flowtable_goes() { in_ns "$GW" nft delete table inet flows; }

# offloaded SERVER: connections to it that are in the flow table.
offloaded() { in_ns "$GW" conntrack -L -f ipv4 -p tcp -d "$(server_addr 4 "$1")" 2>/dev/null | grep -c OFFLOAD || true; }
is_offloaded() { [ "$(offloaded "$1")" -gt 0 ]; }

# flow_start SERVER: one transfer over and over, in FLOW.
flow_start() {
	rm -f "$WORK/flow.started"
	start "$CL" "$TOOLS/tcpbulk" --from "$(client_addr 4 5)" --to "$(endpoint 4 "$1" 80)" --loop --gap-ms 100 \
		--idle-ms $STALL_MS --up $ROUND_BYTES --down $ROUND_BYTES --started "$WORK/flow.started" >"$WORK/flow"
	FLOW=$STARTED
	wait_until 20 test -e "$WORK/flow.started"
}

hazard_is() { [ "$(metric_of hazard_flowtable)" = "$1" ]; }
stands_still() {
	local before
	before=$(counted "" out_rewritten)
	wait_until 2 moves_on "$before" && return 1
	return 0
}

# doctor_says REGEX
doctor_says() {
	in_ns "$GW" "$PAWSD" -c "$WORK/pawsd.conf" --doctor >"$WORK/doctor" || true
	cat "$WORK/doctor"
	grep -qE "$1" "$WORK/doctor"
}

part_flowtable() {
	phase "flow table"
	config_rewrite "$WORK/pawsd.conf" forward
	check "doctor: the kernel takes the rules" doctor_says '^ok    rules: .* by nft$'
	check "doctor: no flow table" doctor_says '^ok    surroundings: hazard_flowtable: none$'
	pawsd_up "$WORK/pawsd.conf"
	remember
	check "flow table: none yet" hazard_is 0

	check "flow table for others: transfer begins" flow_start $FLOW_SERVER
	flowtable $FLOW_SERVER
	check "flow table for others: found" wait_until 10 hazard_is 1
	check "flow table for others: transfer is rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	check "flow table for others: transfer is not offloaded" [ "$(offloaded $FLOW_SERVER)" = 0 ]
	check "flow table for others: every round is right" finish "$FLOW"
	diag "$(cat "$WORK/flow")"
	flowtable_goes
	check "flow table for others: gone" wait_until 10 hazard_is 0
	unhurt "flow table for others"
	check "flow table: said once, with where it is" \
		[ "$(grep -c 'warning: hazard_flowtable .*: fast devices = { .*lan0' "$WORK/pawsd.log")" = 1 ]

	check "flow table for all: transfer begins" flow_start $REST_SERVER
	flowtable all
	check "flow table for all: found" wait_until 10 hazard_is 1
	check "flow table for all: by the doctor, too" doctor_says '^warn  surroundings: hazard_flowtable: fast devices = .*lan0'
	check "flow table for all: transfer is offloaded" wait_until 10 is_offloaded $REST_SERVER
	check "flow table for all: its packets go past pawsd" stands_still
	flowtable_goes
	kill -KILL "$FLOW" # which may have been broken, as the warning says
	wait "$FLOW" 2>/dev/null || true
	check "flow table for all: nothing of it is left open" none_open
	diag "$(bad_segments)"
	check "flow table for all: gone" wait_until 10 hazard_is 0
	check "flow table for all: connects are rewritten as before" all_first "$(connects 4)" $CONNECTS
	check "flow table: pawsd stops" pawsd_stop
}
