#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Of what forward.sh and scale.sh have measured: tests/bench/report.sh BUILD writes BUILD/bench.json and
# BUILD/bench.svg, and prints tables.
set -euo pipefail
build=$(cd "${1:-build}" && pwd)
cd "$(dirname "$0")"
results=$build/bench
touch "$results/forward.figures" "$results/scale.figures" "$results/congestion"

jq -Rs -f report.jq "$results/forward.figures" >"$results/forward.json"
# How it grows: the median of the rounds' ratios to the fewest, since what the machine can do changes from round to round.
jq -Rs 'def median: sort | .[length / 2 | floor];
	[split("\n")[] | select(. != "") | split(" ") | {what: .[0], number: (.[1] | tonumber), value: (.[2] | tonumber),
	unit: .[3]}] | group_by(.what) | map(group_by(.number) | (.[0] | map(.value)) as $fewest | .[]
	| {what: .[0].what, number: .[0].number, unit: .[0].unit, median: (map(.value) | median), min: (map(.value) | min),
	max: (map(.value) | max), ratio_to_fewest: ([range([length, ($fewest | length)] | min) as $i
		| .[$i].value / $fewest[$i]] | median | . * 1000 | round / 1000)})' \
	"$results/scale.figures" >"$results/scale.json"
jq -n --slurpfile forward "$results/forward.json" --slurpfile scale "$results/scale.json" \
	--arg congestion "$(cat "$results/congestion")" \
	'{congestion_control: $congestion} + $forward[0] + {scale: $scale[0]}' >"$build/bench.json"

# A line for each load, a column for each alternative, of the ratios to plain NAT.
jq -r '.results as $r | ["plain", "off", "kernel-strip", "strip-kernel", "strip-queue", "observe", "rewrite", "fastpath", "hooks", "textbook"] as $a
	| (["load"] + $a | @tsv), (["bulk1", "bulk8", "rr", "crr", "pps", "mix", "latency_p50", "latency_p99", "latency_p99.9"][]
	as $l | [$l] + [$a[] as $x | ($r[] | select(.load == $l and .alternative == $x) | .ratio_to_plain) // "-"] | @tsv)' \
	"$build/bench.json" >"$results/ratios.tsv"

echo "Relative to plain NAT forwarding (latency: times as long), median of the rounds:"
column -t "$results/ratios.tsv"
echo
jq -r '.results[] | select(.median != null) | [.load, .alternative, .median, .min, .max, .unit, .ratio_to_plain // "-",
	"\(.ratio_to_plain_min // "-")-\(.ratio_to_plain_max // "-")", .ratio_to_textbook // "-", .cpu_seconds_per_million_packets // "-", .lost_packets] | @tsv' "$build/bench.json" |
	(echo "load alternative median min max unit /plain spread /textbook cpu-s/Mpackets lost" && cat) | column -t
echo
jq -r '.scale[] | [.what, .number, .median, .min, .max, .unit, .ratio_to_fewest] | @tsv' "$build/bench.json" |
	(echo "what number median min max unit /fewest" && cat) | column -t

gnuplot <<-EOT
	set terminal svg size 1000,500 font "sans,12"
	set output "$build/bench.svg"
	set title "Forwarding beside plain NAT"
	set style data histograms
	set style fill solid 0.8 border -1
	set yrange [0:1.2]
	set ylabel "relative to plain NAT"
	set key outside right
	set grid ytics
	set datafile missing "-"
	plot for [column = 2:10] "< head -7 $results/ratios.tsv" using column:xtic(1) title columnheader(column)
EOT
echo
echo "$build/bench.json, $build/bench.svg"
