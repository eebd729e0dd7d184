/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow.h"

#include "packet.h"
#include "seq.h"

static enum flow_state after_reset(struct flow *flow, bool outbound)
{
	flow->flags &= (uint16_t) ~(FLOW_ALIVE_OUT | FLOW_ALIVE_IN);
	if (outbound && (flow->state == FLOW_SYN_SENT || flow->state == FLOW_SYN_RECV))
		return FLOW_SYN_SENT;
	if (flow->state == FLOW_SYN_RECV)
		flow->flags |= FLOW_ANSWERED;
	return FLOW_CLOSE;
}

/* Both directions seen since the RST: it was not believed. */
static bool is_alive_again(struct flow *flow, bool outbound, uint8_t tcp_flags)
{
	const uint8_t both = FLOW_ALIVE_OUT | FLOW_ALIVE_IN;

	flow->flags |= outbound ? FLOW_ALIVE_OUT : FLOW_ALIVE_IN;
	if (outbound && (tcp_flags & TCP_ACK) && (flow->flags & FLOW_ANSWERED))
		flow->flags |= FLOW_HAS_LIVED;
	return (flow->flags & FLOW_HAS_LIVED) && (flow->flags & both) == both;
}

enum flow_state flow_next_state(struct flow *flow, bool outbound, uint8_t tcp_flags)
{
	const uint8_t mine = outbound ? FLOW_FIN_OUT : FLOW_FIN_IN;
	const uint8_t theirs = outbound ? FLOW_FIN_IN : FLOW_FIN_OUT;
	enum flow_state state = flow->state;

	if (tcp_flags & TCP_RST)
		return after_reset(flow, outbound);
	if (state == FLOW_SYN_SENT || state == FLOW_SYN_RECV) {
		/* A server in TIME_WAIT answers a SYN with a bare ACK: that opens nothing. */
		if (!outbound || !(tcp_flags & TCP_ACK)) {
			/* With fast open the whole answer may be there before the client's ACK (RFC 7413). */
			if (state == FLOW_SYN_RECV && (tcp_flags & TCP_FIN))
				flow->flags |= mine;
			return state;
		}
		flow->flags |= FLOW_HAS_LIVED;
		state = FLOW_ESTABLISHED;
	}
	if (state == FLOW_CLOSE) {
		if (!is_alive_again(flow, outbound, tcp_flags))
			return state;
		state = FLOW_ESTABLISHED;
	}
	if (tcp_flags & TCP_FIN)
		flow->flags |= mine;

	if ((flow->flags & mine) && (flow->flags & theirs))
		return (tcp_flags & TCP_FIN) && state != FLOW_TIME_WAIT ? FLOW_LAST_ACK : FLOW_TIME_WAIT;
	if (flow->flags & mine)
		return state == FLOW_CLOSE_WAIT ? state : FLOW_FIN_WAIT;
	if (flow->flags & theirs)
		return FLOW_CLOSE_WAIT;
	return state;
}

void flow_raise(struct flow *flow, uint32_t tsval)
{
	uint32_t high = atomic_load(&flow->tsval_high);

	for (uint32_t tries = 0; tries < ATOMIC_TRIES && seq_after(tsval, high); tries++)
		if (atomic_exchange_if32(&flow->tsval_high, &high, tsval))
			return;
}
