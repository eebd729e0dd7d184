/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_RULES_H
#define PAWSD_SIM_RULES_H

/*
 * The one table of what is checked. From it come the enum, the report and the TAP lines.
 *
 * X(ID, kind, text)
 *   ENDS     judged by a model of a server or a client of DESIGN section 2, on what reached it
 *   PROMISE  judged by the oracle, on the bytes before and behind the gateway
 *   APART    not promised: counted, never a failure
 */
#define RULE_TABLE(X) \
	X(HOST_OLD_PEER, ENDS, "per-host check, 2.6.32 family, keyed by peer: SYN dropped") \
	X(HOST_OLD_PAIR, ENDS, "per-host check, 2.6.32 family, keyed by pair: SYN dropped") \
	X(HOST_NEW_PEER, ENDS, "per-host check, RHEL 7 family, keyed by peer: SYN dropped") \
	X(HOST_NEW_PAIR, ENDS, "per-host check, RHEL 7 family, keyed by pair: SYN dropped") \
	X(TIME_WAIT, ENDS, "TIME_WAIT: SYN with timestamps answered by a bare ACK") \
	X(THIRD_ACK, ENDS, "third ACK: TSecr outside of the TSvals the server sent") \
	X(COOKIE, ENDS, "SYN cookie: its TSval did not come back") \
	X(PAWS_SERVER, ENDS, "PAWS at the server: a segment sent later looks older") \
	X(PAWS_CLIENT, ENDS, "PAWS at the client: a segment sent later looks older") \
	X(OPTION_MISSING, ENDS, "segment without the option that the handshake agreed on") \
	X(SYN_SENT, ENDS, "client in SYN_SENT resets because of the TSecr") \
	X(BOGUS, ENDS, "the same behind a firewall with a bogus TSecr (echo, zero)") \
	X(ECHO_SENT, ENDS, "client: the TSecr is one that it sent, or 0") \
	X(ECHO_TRUE, ENDS, "client: the TSecr is that of the segment the server echoed") \
	X(ECHO_RTT, ENDS, "client: no RTT sample shorter than half of the true one") \
	X(CONNECTED, ENDS, "connection given up: no SYN was answered") \
	X(P1_SERVER, PROMISE, "P1 SYN not older than what went to that server within 60 s") \
	X(P1_TUPLE, PROMISE, "P1 SYN strictly newer than the last on its four-tuple") \
	X(P1_ZERO, PROMISE, "P1 SYN never 0") \
	X(P2_TICK, PROMISE, "P2 the clock never steps back: restart, NTP step, reboot") \
	X(P2_BEHIND, PROMISE, "P2 SYN not behind the clock") \
	X(P2_LEAD, PROMISE, "P2 SYN ahead by the lead at most, or by what its server knows") \
	X(P2_PAIR, PROMISE, "P2 two gateways agree to within their clock error") \
	X(P3_OFFSET, PROMISE, "P3 one constant offset after the handshake") \
	X(P3_SCALED, PROMISE, "P3 a fast clock is scaled: in order, not ahead of the shared clock") \
	X(P4_SYN, PROMISE, "P4 echo of a SYN is the very value, retransmissions included") \
	X(P4_SEGMENT, PROMISE, "P4 echo of a segment is the very value") \
	X(P4_ZERO, PROMISE, "P4 TSecr 0 stays 0") \
	X(P4_FOREIGN, PROMISE, "P4 TSecr never sent: counted, repaired by policy") \
	X(P5_BYTES, PROMISE, "P5 nothing but TSval out, TSecr in and checksum changes") \
	X(P5_OUTSIDE, PROMISE, "P5 outside of the policy bit-identical") \
	X(P6_CHECKSUM, PROMISE, "P6 checksum valid after iff before") \
	X(P6_UNREADY, PROMISE, "P6 checksum not ready: made; of a GSO packet: left") \
	X(P7_COUNTER, PROMISE, "P7 one counter moves by one, that of the reason returned") \
	X(P7_REASON, PROMISE, "P7 the reason is the one that fits") \
	X(P7_MALFORMED, PROMISE, "P7 malformed, fragmented, ...: unmodified, own reason") \
	X(P8_STRIP, PROMISE, "P8 strip: SYN and SYN/ACK leave without the option") \
	X(P8_RUNNING, PROMISE, "P8 running connections keep the option, mid-stream passes") \
	X(P9_TABLE, PROMISE, "P9 no more flows than the table holds, none lost") \
	X(P9_LEAD, PROMISE, "P9 the shared clock is pushed ahead by the lead at most") \
	X(P9_QUOTA, PROMISE, "P9 a client has no more flows than its quota") \
	X(P10_OFFSET, PROMISE, "P10 flows go on with their offset after a restart") \
	X(DIAGNOSED, PROMISE, "RHEL 7 drops a SYN without timestamps: counted as mixed") \
	X(APART_BARE_HOST, APART, "SYN without timestamps dropped by the RHEL 7 family") \
	X(APART_BARE_WAIT, APART, "SYN without timestamps refused in TIME_WAIT") \
	X(APART_BOGUS_OFF, APART, "bogus TSecr where synack_tsecr is off or nothing is rewritten") \
	X(APART_UNMANAGED, APART, "SYN refused that is not rewritten (mode, table full, daemon down)") \
	X(APART_OPEN, APART, "SYN met a connection of the port's last client that is still open") \
	X(APART_OVERTAKEN, APART, "SYN refused because a later packet overtook it behind the gateway") \
	X(APART_UNKNOWN, APART, "SYN refused over a TSval that this gateway could not know") \
	X(APART_MACHINE, APART, "SYN refused over what another address of the same machine knows") \
	X(APART_CIRCLE, APART, "TSvals of unmanaged flows all around the circle: none fits all") \
	X(APART_FAILOVER, APART, "fail-over sooner than lead and clock error allow") \
	X(APART_VICTIM, APART, "trouble of a connection whose flow was forgotten, or lived without pawsd") \
	X(APART_FULL, APART, "SYN that found the table full or its client's quota used up") \
	X(APART_SCALED, APART, "a fast clock that runs away when all blocks for scaling are in use, or past the queue") \
	X(APART_REORDERED, APART, "RTT too short: scaled, and a newer segment came to the gateway first") \
	X(APART_PAIRS, APART, "echo of a SYN when all blocks of SYN pairs were in use")

enum rule {
#define X(id, kind, text) RULE_##id,
	RULE_TABLE(X)
#undef X
	RULE_COUNT,
};

enum rule_kind {
	RULE_ENDS,
	RULE_PROMISE,
	RULE_APART,
};

#endif
