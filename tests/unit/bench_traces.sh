#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The packets that `make bench-engine` counts instructions of are what it takes them for: each ends under its reason, or
# bench_engine ends at once. Without callgrind, which takes minutes. Prints TAP. Usage: bench_traces.sh [BUILD]
set -euo pipefail

# It ends with all that it has made.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
program=${1:-build}/tests/bench_engine
failed=0 count=0
for flows in 1000 50000; do
	count=$((count + 1))
	if traces=$("$program" "$flows" 10000 2>&1); then
		echo "ok $count - $flows flows: $(wc -l <<<"$traces") traces"
	else
		echo "not ok $count - $flows flows: ${traces##*$'\n'}"
		failed=1
	fi
done
echo "1..$count"
exit $failed
