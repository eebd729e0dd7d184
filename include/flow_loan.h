/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_LOAN_H
#define PAWSD_FLOW_LOAN_H

#include <stdint.h>

/*
 * Places for flows that someone else than the table's owner may take, and put flows there and in the table: the kernel's
 * programs (src/bpf/), on any processor at any time. They push flows in front of chains, and take none away. They do so by
 * exchanging the head that they began to look from, so that of two who find no flow on a four-tuple one alone opens one; the
 * other marks his place FLOW_GIVEN_BACK.
 */
struct flow_loan {
	_Alignas(64) uint32_t head; /* how many have been lent, in all: the owner's */
	_Alignas(64) uint32_t tail; /* how many of these have been taken */
	uint32_t opened;	    /* how many flows have been put into the table that way; wraps */
};

/* What a client has of a table, or may have: flows, and blocks of either kind. */
struct client_use {
	uint32_t flows;
	uint16_t pairs, scaled;
};

#endif
