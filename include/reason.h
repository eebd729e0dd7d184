/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_REASON_H
#define PAWSD_REASON_H

/*
 * The one table of reasons. Every packet ends under exactly one of them (P7). From it come
 * the enum, the counters, the names in `pawsctl stats` and on /metrics, and the list in the
 * manual. To add one: a line here, and the place in the engine that returns it.
 *
 * X(ID, name, action, total, help)
 *   action  MODIFY: the verdict carries the changed packet; PASS: it leaves bit-identical (OUT_DROPPED: not at all)
 *   total   the column of a destination's totals that it adds to:
 *           REWRITTEN, STRIPPED, REPAIRED, OBSERVED or PASSED
 */
#define REASON_TABLE(X) \
	X(SYN_REWRITTEN, "syn_rewritten", MODIFY, REWRITTEN, \
	  "first SYN of a connection, its TSval moved to the shared clock") \
	X(SYN_RETRANSMITTED, "syn_retransmitted", MODIFY, REWRITTEN, \
	  "further SYN of the same connection, moved to the shared clock as well") \
	X(SYN_STRIPPED, "syn_stripped", MODIFY, STRIPPED, \
	  "SYN whose timestamp option was overwritten with NOPs") \
	X(SYNACK_REWRITTEN, "synack_rewritten", MODIFY, REWRITTEN, \
	  "SYN/ACK whose TSecr was turned back into the TSval that the client sent") \
	X(SYNACK_REPAIRED_ECHO, "synack_repaired_echo", MODIFY, REPAIRED, \
	  "SYN/ACK with a TSecr that was never sent, set to the client's TSval (synack_tsecr = echo)") \
	X(SYNACK_REPAIRED_ZERO, "synack_repaired_zero", MODIFY, REPAIRED, \
	  "SYN/ACK with a TSecr that was never sent, set to 0 (synack_tsecr = zero)") \
	X(SYNACK_STRIPPED, "synack_stripped", MODIFY, STRIPPED, \
	  "SYN/ACK with a timestamp option although the SYN had none any more: overwritten with NOPs") \
	X(OUT_REWRITTEN, "out_rewritten", MODIFY, REWRITTEN, \
	  "segment to the server, TSval shifted by its flow's offset") \
	X(OUT_ANCHORED, "out_anchored", MODIFY, REWRITTEN, \
	  "first real TSval of a client that sent TSval 0 in its SYN: the flow's offset was set by it") \
	X(OUT_SCALED, "out_scaled", MODIFY, REWRITTEN, \
	  "segment to the server of a client whose clock is faster than 1 kHz: its TSval is the shared clock's") \
	X(OUT_UNSCALED, "out_unscaled", MODIFY, REWRITTEN, \
	  "segment of such a client for which there is no room among scaled flows: its TSval runs ahead of the clock") \
	X(IN_SCALED, "in_scaled", MODIFY, REWRITTEN, \
	  "segment to such a client, TSecr turned back into the newest TSval that it sent under this one") \
	X(IN_REWRITTEN, "in_rewritten", MODIFY, REWRITTEN, \
	  "segment to the client, TSecr shifted back by its flow's offset") \
	X(SYN_OBSERVED, "syn_observed", PASS, OBSERVED, \
	  "SYN that rewrite would have changed (mode = observe)") \
	X(SYNACK_OBSERVED, "synack_observed", PASS, OBSERVED, \
	  "SYN/ACK with the TSecr that the client expects (mode = observe)") \
	X(SYNACK_OBSERVED_FOREIGN, "synack_observed_foreign", PASS, OBSERVED, \
	  "SYN/ACK with a TSecr that was never sent, which repair would have changed (mode = observe)") \
	X(SYNACK_FOREIGN_TSECR, "synack_foreign_tsecr", PASS, PASSED, \
	  "SYN/ACK with a TSecr that was never sent, left alone (synack_tsecr = off)") \
	X(SYNACK_TSECR_ZERO, "synack_tsecr_zero", PASS, PASSED, \
	  "SYN/ACK with TSecr 0, which every client accepts") \
	X(SYNACK_NO_TIMESTAMPS, "synack_no_timestamps", PASS, PASSED, \
	  "SYN/ACK without the option: the server declines timestamps") \
	X(SYNACK_UNKNOWN, "synack_unknown", PASS, PASSED, \
	  "SYN/ACK whose SYN was not seen here") \
	X(SYN_NO_TIMESTAMPS, "syn_no_timestamps", PASS, PASSED, \
	  "SYN without the option: the client does not use timestamps") \
	X(SYN_NO_TIMESTAMPS_MIXED, "syn_no_timestamps_mixed", PASS, PASSED, \
	  "the same to a server that others used timestamps with in the last 60 s: servers of the RHEL 7 family drop it") \
	X(SYN_DRAINING, "syn_draining", PASS, PASSED, \
	  "SYN to a destination that is rewritten, while pawsd drains: no new connection is (pawsctl drain)") \
	X(SYN_POLICY_OFF, "syn_policy_off", PASS, PASSED, \
	  "SYN to a destination whose mode is off, or that no section names") \
	X(SYN_FROM_OUTSIDE, "syn_from_outside", PASS, PASSED, \
	  "SYN from the server's side: a connection opened from outside, or a simultaneous open") \
	X(TABLE_FULL, "table_full", PASS, PASSED, \
	  "SYN that found the flow table full, and none in it that could make room, passed unmodified") \
	X(CLIENT_QUOTA, "client_quota", PASS, PASSED, \
	  "SYN of a client that has as many flows as one may have, passed unmodified") \
	X(FLOW_NOT_REWRITTEN, "flow_not_rewritten", PASS, PASSED, \
	  "later segment of a flow that is stripped or only observed") \
	X(FLOW_NO_TIMESTAMPS, "flow_no_timestamps", PASS, PASSED, \
	  "segment of a rewritten flow that carries no timestamp option") \
	X(IN_TSECR_ZERO, "in_tsecr_zero", PASS, PASSED, \
	  "segment to the client with TSecr 0, which stays 0") \
	X(IN_FOREIGN_TSECR, "in_foreign_tsecr", PASS, PASSED, \
	  "segment to the client with a TSecr that was never sent, left alone") \
	X(IN_GONE_PAST, "in_gone_past", PASS, PASSED, \
	  "segment that echoes what the client itself said: some of its flow went past pawsd, which leaves it alone from now on") \
	X(MIDSTREAM_OUT, "midstream_out", PASS, PASSED, \
	  "segment to the server of a flow that began without pawsd") \
	X(MIDSTREAM_IN, "midstream_in", PASS, PASSED, \
	  "segment to the client of a flow that began without pawsd") \
	X(MARK_LOST, "mark_lost", PASS, PASSED, \
	  "segment that the fast path had rewritten, and whose mark somebody else's rule has taken away: not rewritten once more") \
	X(OUT_DROPPED, "out_dropped", PASS, PASSED, \
	  "segment that the fast path has before it behind the NAT, of a flow that needs thought: dropped, to be sent again") \
	X(NO_TIMESTAMPS, "no_timestamps", PASS, PASSED, \
	  "segment without the option, of no known flow") \
	X(TRUNCATED, "truncated", PASS, PASSED, \
	  "packet longer than the 65531 bytes that a queue message holds") \
	X(NOT_IP, "not_ip", PASS, PASSED, "neither IPv4 nor IPv6") \
	X(NOT_TCP, "not_tcp", PASS, PASSED, "another protocol than TCP") \
	X(IP_AUTHENTICATED, "ip_authenticated", PASS, PASSED, \
	  "under an IP authentication header (RFC 4302), which covers the TCP header") \
	X(IPV6_ROUTING, "ipv6_routing", PASS, PASSED, \
	  "under an IPv6 routing header with segments left: not at its last stop, its address not the server's") \
	X(FRAGMENT, "fragment", PASS, PASSED, "an IP fragment") \
	X(MALFORMED_IP, "malformed_ip", PASS, PASSED, \
	  "IP header with an impossible length, or cut off") \
	X(MALFORMED_TCP, "malformed_tcp", PASS, PASSED, \
	  "TCP header with an impossible data offset, or cut off") \
	X(MALFORMED_FLAGS, "malformed_flags", PASS, PASSED, \
	  "SYN together with RST or FIN") \
	X(MALFORMED_OPTIONS, "malformed_options", PASS, PASSED, \
	  "TCP option with an impossible length, or cut off") \
	X(DUPLICATE_TIMESTAMPS, "duplicate_timestamps", PASS, PASSED, \
	  "more than one timestamp option in a segment") \
	X(TCP_AO, "tcp_ao", PASS, PASSED, \
	  "signed with TCP-AO (RFC 5925), which covers the options")

enum reason {
#define X(id, name, action, total, help) REASON_##id,
	REASON_TABLE(X)
#undef X
	REASON_COUNT,
};

enum reason_action {
	ACTION_PASS,
	ACTION_MODIFY,
};

enum reason_total {
	TOTAL_REWRITTEN,
	TOTAL_STRIPPED,
	TOTAL_REPAIRED,
	TOTAL_OBSERVED,
	TOTAL_PASSED,
	TOTAL_COUNT,
};

struct reason_info {
	const char *name;
	enum reason_action action;
	enum reason_total total;
	const char *help;
};

/* Indexed by enum reason. */
extern const struct reason_info reason_table[REASON_COUNT];

/* Indexed by enum reason_total: "rewritten", "stripped", ... */
extern const char *const reason_total_names[TOTAL_COUNT];

#endif
