#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shows what pawsd is for: the failures F1 to F3 (cases.sh) on real TCP, without it and with it.
#
#   demo.sh BUILD-DIRECTORY [--without-only]
#
# Prints a table and writes BUILD-DIRECTORY/demo.json. Exit status 0: without pawsd connects
# failed or needed more than one SYN in each case, with it all came about with their first SYN,
# none slower than 100 ms on top of the path.
set -euo pipefail

# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/cases.sh"

ATTEMPTS=40
JSON=$BUILD_DIR/demo.json
FAILED=0
OBJECTS=()

die() {
	echo "demo: $*" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || die "needs root, for network namespaces: sudo make demo"
missing=$(missing_commands "${NET_COMMANDS[@]}" ipset:ipset)
[ -z "$missing" ] || die "$missing; 'make deps' as root installs what is needed"

table_head() {
	printf '\n%s\n' "$1"
	printf '  %-15s %-5s %8s %10s %10s %7s %12s %12s\n' \
		case IP connects "first SYN" "later SYN" failed median worst
}

# table_row CASE FAMILY PAWSD LINE
table_row() {
	local attempts ok second median worst
	attempts=$(value_of attempts "$4") ok=$(value_of ok "$4") second=$(value_of second_syn "$4")
	median=$(value_of median_ms "$4") worst=$(value_of worst_ms "$4")
	printf '  %-15s IPv%d %8d %10d %10d %7d %9.1f ms %9.1f ms\n' "$1" "$2" "$attempts" \
		$((ok - second)) "$second" $((attempts - ok)) "$median" "$worst"
	OBJECTS+=("{\"case\": \"$1\", \"family\": $2, \"pawsd\": $3, \"attempts\": $attempts, \"ok\": $ok, \
\"second_syn\": $second, \"median_ms\": $median, \"worst_ms\": $worst}")
	if [ "$3" = false ]; then
		[ $((ok - second)) -lt "$attempts" ] || complain "$1 IPv$2: no failure without pawsd"
		return
	fi
	[ $((ok - second)) -eq "$attempts" ] || complain "$1 IPv$2: not all connected with their first SYN"
	[ "${worst%.*}" -lt $((100 + PATH_MS)) ] || complain "$1 IPv$2: slower than 100 ms on top of the path"
}

complain() {
	FAILED=1
	COMPLAINTS+="demo: $*"$'\n'
}

# run_half without|with
run_half() {
	local name family
	cases_fresh
	for name in "${CASES[@]}"; do
		for family in 4 6; do
			case_run "$name" $family "$1" $ATTEMPTS >"$WORK/$family.out" &
			eval "pid_$family=$!"
		done
		for family in 4 6; do
			eval "wait \$pid_$family" || die "$name, IPv$family: could not be measured"
			table_row "$name" $family "$([ "$1" = with ] && echo true || echo false)" \
				"$(cat "$WORK/$family.out")"
		done
	done
}

measure_path() {
	local line
	line=$(load --from "$CLIENTS_4" --to "$(endpoint 4 $SERVER_COUNT 7)" --count $ATTEMPTS)
	PATH_MS=$(value_of median_ms "$line")
	PATH_MS=${PATH_MS%.*}
	echo "A healthy server behind the same gateway: $(value_of ok "$line") of $ATTEMPTS connects with the first" \
		"SYN, median $(value_of median_ms "$line") ms."
}

COMPLAINTS=
cat <<EOT
pawsd demo: $ATTEMPTS real TCP connects per line, from many machines behind one NAT gateway.

  F1              server that checks the timestamps of all who share an address (tcp_tw_recycle;
                  a model of that check in front of a real server), in both forms there are
  F2              public port given to another client while the server still holds TIME_WAIT
  F2-rst-dropped  the same, behind a firewall that drops the client's RST
  F3              firewall that answers with a timestamp echo that was never sent

EOT
net_up
measure_path
cases_setup
table_head "Without pawsd (a connect is given up after 4 s and counts with the time it took)"
run_half without
if [ "${2:-}" != --without-only ]; then
	cases_pawsd_config "$WORK/pawsd.conf"
	pawsd_start "$WORK/pawsd.conf" || {
		cat "$WORK/pawsd.log" >&2
		die "pawsd did not start"
	}
	table_head "With pawsd on the gateway (mode = rewrite, for F3 synack_tsecr = echo)"
	run_half with
	pawsd_stop || complain "pawsd did not stop cleanly"
fi
{
	printf '[\n'
	for ((i = 0; i < ${#OBJECTS[@]}; i++)); do
		printf '  %s%s\n' "${OBJECTS[i]}" "$([ $((i + 1)) -lt ${#OBJECTS[@]} ] && echo ,)"
	done
	printf ']\n'
} >"$JSON"
printf '\n%s\n' "The same in $JSON."
printf '%s' "$COMPLAINTS" >&2
exit $FAILED
