#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# From symptom to cure as README has it, for each failure of cases.sh: pawsd observes everything, some connects are tried, `pawsctl
# suspects` names the server and prints a section of pawsd.conf, that is put into the file as it is, pawsd reloads, and the same
# connects come about with their first SYN. Over IPv4 and IPv6; no knowledge of the server but what pawsd says of it.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/cases.sh"
net_require ipset:ipset jq:jq
pawsd_require

declare -A FINDINGS=([F1-rhel7]=tw_recycle [F1-vanilla]=tw_recycle [F2]=time_wait [F2-rst-dropped]=time_wait [F3]=foreign_tsecr)
ATTEMPTS=24

suspects() {
	pawsctl suspects --json >"$WORK/suspects.json" || [ $? = 3 ]
}

# is_suspected FAMILY SERVER FINDING
is_suspected() {
	suspects && jq -e --arg a "$(server_addr "$1" "$2")" --arg f "$3" \
		'.servers[] | select(.address == $a) | .findings[] | select(.finding == $f and .confidence != "possible")' \
		"$WORK/suspects.json" >/dev/null
}

# nothing_else SERVER FINDING: is found of that server.
nothing_else() {
	local family found
	for family in 4 6; do
		found=$(jq -r --arg a "$(server_addr $family "$1")" '.servers[] | select(.address == $a) | .findings[].finding' \
			"$WORK/suspects.json" | sort -u)
		[ "$found" = "$2" ] && continue
		diag "IPv$family: found ${found:-nothing}: $(jq -c . "$WORK/suspects.json")"
		return 1
	done
}

# tried CASE without|with: in both families; tcpload's lines are in $WORK/4.out and 6.out.
tried() {
	local family pids=() pid
	for family in 4 6; do
		case_run "$1" $family "$2" $ATTEMPTS >"$WORK/$family.out" 2>&1 &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || return 1; done
}

first_syns() { echo $(($(value_of ok "$(cat "$WORK/$1.out")") - $(value_of second_syn "$(cat "$WORK/$1.out")"))); }

metric_positive() { [ "$(metric "$1")" -gt 0 ]; }

# What suspects prints for people, between "cure:" and the next empty line, as somebody would paste it.
cure() { { pawsctl suspects || [ $? = 3 ]; } | sed -n '/^  cure:/,/^$/s/^    //p'; }

net_up
cases_setup
cases_fresh
pawsd_config "$WORK/pawsd.conf" <<-EOT
	[default]
	mode = observe
EOT
pawsd_up "$WORK/pawsd.conf"
check "before: nobody is suspected" [ "$(suspects && jq '.servers | length' "$WORK/suspects.json")" = 0 ]
check "before: it is said in words, exit status 0" pawsctl suspects
for name in "${CASES[@]}"; do
	server=$(case_server "$name") begin=$SECONDS
	check "$name: connects are tried" tried "$name" without
	for family in 4 6; do
		check "$name IPv$family: some fail, or need another SYN" [ "$(first_syns $family)" -lt $ATTEMPTS ]
		check "$name IPv$family: the server is suspected of ${FINDINGS[$name]}" wait_until 5 is_suspected $family "$server" "${FINDINGS[$name]}"
	done
	check "$name: of nothing else" nothing_else "$server" "${FINDINGS[$name]}"
	check "$name: exit status 3" [ "$(pawsctl suspects >/dev/null; echo $?)" = 3 ]
	check "$name: as a figure" metric_positive "suspects_${FINDINGS[$name]}"
	diag "$name: $((SECONDS - begin)) s"
done
cure >"$WORK/cure"
diag "$(tr '\n' ' ' <"$WORK/cure")"
check "the cure names each server once" [ "$(grep -c '^prefixes = ' "$WORK/cure")" = 10 ]
cat "$WORK/cure" >>"$WORK/pawsd.conf"
check "pawsd takes it" "$PAWSD" --check -c "$WORK/pawsd.conf"
kill -HUP "$PAWSD_PID"
check "reloaded" wait_until 10 metric_is config_reloads_total 1
cases_fresh
for name in "${CASES[@]}"; do
	check "$name, cured: connects are tried" tried "$name" with
	for family in 4 6; do
		check "$name, cured, IPv$family: all with their first SYN" [ "$(first_syns $family)" = $ATTEMPTS ]
	done
	check "$name, cured: explain says so" grep -q '^a SYN now: *is rewritten to TSval' <(pawsctl explain "$(server_addr 4 "$(case_server "$name")"):80")
done
check "pawsd stops" pawsd_stop
tap_done
