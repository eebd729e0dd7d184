/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_EVENT_KIND_H
#define PAWSD_EVENT_KIND_H

/*
 * The kinds of what `pawsctl events` shows, each event being of one.
 *
 * X(ID, name, help)
 */
#define EVENT_KIND_TABLE(X) \
	X(REWRITTEN, "rewritten", "SYN or SYN/ACK whose timestamps were rewritten") \
	X(STRIPPED, "stripped", "SYN or SYN/ACK that left without its timestamps") \
	X(REPAIRED, "repaired", "SYN/ACK with a TSecr that was never sent, which was set right") \
	X(OBSERVED, "observed", "SYN or SYN/ACK that was only looked at (mode = observe)") \
	X(PASSED, "passed", "SYN or SYN/ACK that was left as it is, for another reason") \
	X(FULL, "full", "SYN that passed unmodified, for the table or its client's share was full") \
	X(REFUSED, "refused", "SYN answered by a RST or a bare ACK, or SYN/ACK that the client resets") \
	X(ENDED, "ended", "FIN, or RST of a running connection") \
	X(SUSPICIOUS, "suspicious", "evidence that something is wrong with a server (pawsctl suspects)")

enum event_kind {
#define X(id, name, help) KIND_##id,
	EVENT_KIND_TABLE(X)
#undef X
	EVENT_KIND_COUNT,
};

#endif
