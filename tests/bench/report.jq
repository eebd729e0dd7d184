# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes bench.json of the lines of forward.figures, given as one string:
#   ROUND LOAD ALTERNATIVE VALUE UNIT CPU-MICROSECONDS PACKETS LOST PLAIN
# A ratio is the median of the rounds' ratios: to plain NAT just before and behind, to the textbook loop in the same round.

def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def rounded: if . == null then null else (. * 1000 | round) / 1000 end;

# The value of that round, load and alternative; null where there is none.
def index_figures: reduce .[] as $f ({}; .["\($f.round) \($f.load) \($f.alternative)"] = $f.value);

[split("\n")[] | select(. != "") | split(" ") | {
	round: .[0], load: .[1], alternative: .[2], value: (.[3] | split(",")), unit: .[4],
	cpu_us: (.[5] | tonumber), packets: (.[6] | tonumber), lost: (.[7] | tonumber), plain: (.[8] | split(","))}]
# A latency is three figures.
| map(if .load == "latency"
	then . as $f | ["p50", "p99", "p99.9"] | to_entries[] as $p | $f | .load = "latency_" + $p.value | .value = .value[$p.key]
		| .plain = .plain[$p.key]
	else .value = .value[0] | .plain = .plain[0] end | .value |= tonumber | .plain |= tonumber)
| index_figures as $all
| {results: [group_by([.load, .alternative])[] | . as $figures | .[0] as $first | {
	load: $first.load, alternative: $first.alternative, unit: $first.unit,
	median: ([.[].value] | median | rounded), min: ([.[].value] | min | rounded), max: ([.[].value] | max | rounded),
	ratio_to_plain: ([.[] | .value / .plain] | median | rounded),
	ratio_to_plain_min: ([.[] | .value / .plain] | min | rounded), ratio_to_plain_max: ([.[] | .value / .plain] | max | rounded),
	ratio_to_textbook: ([.[] | .value / ($all["\(.round) \(.load) textbook"] // empty)] | median | rounded),
	cpu_seconds_per_million_packets: (if ([.[].packets] | add) > 1000
		then ([.[].cpu_us] | add) / ([.[].packets] | add) | rounded else null end),
	lost_packets: ([.[].lost] | add), rounds: length}]}
