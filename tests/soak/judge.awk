# SPDX-License-Identifier: GPL-2.0-or-later
#
# Judges what has been lost, and each TSval that was not as it should be:
#
#   awk -v BEGIN_MS=T -v PROBE=ADDR,ADDR -v WORKERS=N -f judge.awk excuses trail lost.crowds lost.connects
#
# excuses: "open T0 T1 FAULT" packets may have gone by from T0 to T1; "hit T CLIENT SERVER" bytes of this flow were changed at T;
# "step T0 T1 MS" the clock may have made a step ahead; "held T0 T1" pawsd stood still. trail: tsvaltrail's events. lost.*: tcpcrowd's and tcpload's.
# Prints "N WHAT: WHY" for what is explained, and "UNEXPLAINED LINE"; its last line is "unexplained N".

function port_of(endpoint) { sub(/.*:/, "", endpoint); return endpoint }
function host_of(endpoint) { sub(/:[0-9]+$/, "", endpoint); gsub(/[][]/, "", endpoint); return endpoint }

# The fault by which packets went by between `from` and `to`, or until `after` ms before; "" where there was none.
function was_open(from, to, after,    i) {
	for (i = 0; i < opens; i++)
		if (from <= open_end[i] + after && to >= open_begin[i])
			return open_fault[i]
	return ""
}

function was_step(t, ms,    i) {
	for (i = 0; i < steps; i++)
		if (t >= step_begin[i] && t <= step_end[i] + 60000 && ms > 0 && ms <= step_ms[i] + 5000)
			return 1
	return 0
}

# What one worker had looked at before pawsd stood still left after what another one looked at behind that.
function was_held(t, ms,    i) {
	for (i = 0; i < holds; i++)
		if (t >= held_begin[i] && t <= held_end[i] + 1000 && ms <= held_end[i] - held_begin[i] + OVERTAKEN_MS)
			return 1
	return 0
}

function is_hit(server, port, t) { return (server, port) in hit && t >= hit[server, port] }
function is_server_hit(host, t) { return host in server_hit && t >= server_hit[host] && t <= server_hit_last[host] + MARK_MS + 240000 }
function is_probe(host) { return index("," PROBE ",", "," host ",") > 0 }

function explain(what, why) { explained[what ": " why]++ }
function complain(    name, i) {
	name = FILENAME
	sub(/.*\//, "", name)
	printf "UNEXPLAINED %s: at %.1f s:", name, ($1 - BEGIN_MS) / 1000
	for (i = 2; i <= NF; i++)
		printf " %s", $i
	print ""
	unexplained++
}

# Two workers send to one server, and nothing keeps their packets in the order in which they were looked at.
BEGIN { OVERTAKEN_MS = 500 }

# A SYN that is not answered is repeated after 1, 2, 3 s, and no fault holds the queues up for longer.
BEGIN { HANDSHAKE_MS = 6000 }

# A mark of a TSval that a client sent, or that came out of a flow that was hit, is kept for 65 s.
BEGIN { MARK_MS = 75000; opens = steps = holds = 0 }

FILENAME ~ /excuses$/ {
	if ($1 == "open") { open_begin[opens] = $2; open_end[opens] = $3; open_fault[opens++] = $4 }
	if ($1 == "step") { step_begin[steps] = $2; step_end[steps] = $3; step_ms[steps++] = $4 }
	if ($1 == "held") { held_begin[holds] = $2; held_end[holds++] = $3 }
	if ($1 == "hit") {
		if (!(($4, port_of($3)) in hit))
			hit[$4, port_of($3)] = $2
		if (!(host_of($4) in server_hit))
			server_hit[host_of($4)] = $2
		server_hit_last[host_of($4)] = $2
	}
	next
}

FILENAME ~ /trail$/ && $2 == "flow" {
	if (is_hit($3, $4, $1))
		explain("segments off", "bytes of their flow were changed")
	else if ((fault = was_open($1, $1, 0)) || (fault = was_open($6, $6, 0))) {
		explain("segments off", "they, or their SYN, went by unmodified, " fault)
		if (!(($3, $4) in went_by))
			went_by[$3, $4] = fault
	} else if (($3, $4) in went_by)
		# Their server knows the client's own TSvals: in_gone_past.
		explain("segments off", "left alone since some went by unmodified, " went_by[$3, $4])
	else if ($5 > 0 && !is_probe(host_of($3)) && is_server_hit(host_of($3), $1))
		# A SYN and its repetition waited in one queue: conntrack knew neither yet, and dropped the second one behind pawsd. The
		# offset is that one's; in between a segment of a flow that was hit had raised the server's mark.
		explain("segments off", "by a repeated SYN that conntrack dropped, to servers of flows whose bytes were changed")
	else
		complain()
	next
}

FILENAME ~ /trail$/ {
	host = host_of($3)
	what = $2 == "syn" ? "SYNs off" : "SYNs older"
	if ($2 == "syn" && was_step($1, $5))
		explain(what, "the clock made the step ahead that CLOCK_BOOTTIME did")
	else if ($2 == "older" && WORKERS > 1 && $5 <= OVERTAKEN_MS)
		explain(what, "another worker's packet went ahead of them")
	else if ($2 == "older" && WORKERS > 1 && was_held($1, $5))
		explain(what, "another worker\047s packet went ahead of them, while pawsd stood still")
	else if (!is_probe(host) && is_server_hit(host, $1))
		explain(what, "to servers of flows whose bytes were changed")
	else if (!is_probe(host) && was_open($1, $1, MARK_MS))
		explain(what, "they, or others within a minute, went by unmodified")
	else
		complain()
	next
}

FILENAME ~ /lost.crowds$/ {
	if (is_hit($3, port_of($2), $1))
		explain("transfers lost", "bytes of their flow were changed")
	else if (($3, port_of($2)) in went_by)
		explain("transfers lost", "segments went by unmodified, " went_by[$3, port_of($2)])
	else if ($4 == 0 && $0 ~ /closed or reset$/ && (fault = was_open($1 - HANDSHAKE_MS, $1, 0)) && !is_probe(host_of($3)))
		# The client refuses a SYN/ACK that went by alone. Its RST waits in the other queue, its next SYN goes by, and is answered.
		explain("transfers lost", "reset before the first, by a handshake that went by in part, " fault)
	else
		complain()
	next
}

FILENAME ~ /lost.connects$/ {
	if (is_hit($3, port_of($2), $1))
		explain("connects lost", "bytes of their flow were changed")
	else if (was_open($1 - $4, $1, 0) && !is_probe(host_of($3)))
		explain("connects lost", "while packets went by unmodified")
	else
		complain()
}

END {
	for (line in explained)
		printf "%d %s\n", explained[line], line | "sort -k2"
	close("sort -k2")
	print "unexplained " unexplained + 0
}
