/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_PLAIN_H
#define PAWSD_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "flow.h"
#include "packet.h"
#include "policy.h"
#include "reason.h"
#include "seq.h"

/*
 * The arithmetic of a flow whose packets need no thought: which value leaves instead of which, what the flow and the
 * clock remember of it, and when thought is needed after all. There is nothing in here but numbers, so that what handles
 * packets elsewhere than in the engine does exactly the same.
 */

_Static_assert(MODE_OFF == 0, "flow_leave_alone()");

enum {
	PLAIN_SYN_SPAN_MAX_MS = 130000, /* from the first SYN to the last, by Linux's defaults and then some */
	/* What a client may send before it is known that the server has taken its SYN: a window, and data in the SYN. */
	PLAIN_HANDSHAKE_BYTES_MAX = 128 * 1024,
	/* How far an echo of what went past may be behind what the client said since: a guess at it is right once in 1200. */
	PLAIN_GONE_PAST_MS = 3600000,
	PLAIN_SILENCE_S = 2, /* what runs, or was on its way, is heard before */
	PLAIN_TICKS_APART_MS = 5000, /* more than those of two who handle packets at the same time */
	PLAIN_LATE_MS = 60000, /* older than that no segment arrives */
	PLAIN_FAST_CLOCK_SHARE = 256,
	PLAIN_LEAD_LEAST_MS = 500, /* with [clock] max_lead_ms = 0, too, packets are held back on their way */
};

/*
 * True for a flow all of whose packets may be handled by what is in here: one that is rewritten, and whose offset and one SYN
 * explain all that it has sent. One that is being made or taken away is none.
 */
static inline bool plain_is(const struct flow *flow)
{
	const uint16_t thoughtful = FLOW_ANCHOR_PENDING | FLOW_SYN_ZERO | FLOW_SCALED | FLOW_HAS_ELDER | FLOW_SIMULTANEOUS;

	return flow->mode == MODE_REWRITE && flow->state != FLOW_FREE && !flow->block && !(flow->flags & thoughtful);
}

/* Time since the flow's last SYN. */
static inline uint64_t plain_syn_age_ms(const struct flow_syn *syn, uint64_t tick)
{
	uint32_t age = (uint32_t)(tick / FLOW_SYN_TIME_MS) - syn->time;

	/* What somebody else has noted may be a little later than this tick. */
	return age > UINT32_MAX - PLAIN_TICKS_APART_MS / FLOW_SYN_TIME_MS ? 0 : (uint64_t)age * FLOW_SYN_TIME_MS;
}

/* True while SYNs are all that the flow has sent, so that nothing else can be echoed. */
static inline bool plain_has_sent_only_syns(const struct flow *flow)
{
	return flow_in_handshake(flow) && !(flow->flags & FLOW_SIMULTANEOUS);
}

/* Nothing has been heard of the flow for so long that what was on its way has arrived. */
static inline bool plain_is_silent(const struct flow *flow, uint64_t tick)
{
	return !seq_after(flow->last_seen_s + PLAIN_SILENCE_S, (uint32_t)(tick / 1000));
}

/*
 * How much further than the first byte behind its SYN the flow would have come with a segment; `number`: its sequence
 * number on the way out, what it acknowledges on the way in.
 */
static inline uint32_t plain_bytes_since_syn(const struct flow_syn *syn, uint32_t number)
{
	return number - syn->isn - 1;
}

/* The same for a segment; one to the client that acknowledges nothing has come from nowhere. */
static inline uint32_t plain_bytes_come(const struct flow_syn *syn, bool outbound, uint8_t tcp_flags, uint32_t number)
{
	return outbound || (tcp_flags & TCP_ACK) ? plain_bytes_since_syn(syn, number) : UINT32_MAX;
}

/* True where SYNs are all that the flow has sent, and the last one has had no answer yet. */
static inline bool plain_is_unanswered(const struct flow *flow)
{
	return flow->state == FLOW_SYN_SENT && plain_has_sent_only_syns(flow);
}

/* All that is known of the flow is a SYN/ACK from outside, which may be late or forged, as may what came behind it. */
static inline bool plain_is_word_alone(const struct flow *flow)
{
	return flow->mode == MODE_OFF && (flow->flags & (FLOW_UNSEEN | FLOW_HAS_LIVED)) == FLOW_UNSEEN;
}

/*
 * Of two flows on a four-tuple: true for a packet, none that begins a connection, that means the elder, as far as its number
 * tells. One that by its number is the younger's, but not the very next after its SYN, which has had no answer yet, is the
 * elder's as well where that was heard just now: it has come as far in the meantime.
 */
static inline bool plain_means_elder(const struct flow *younger, const struct flow_syn *younger_syn, const struct flow *elder,
				     const struct flow_syn *elder_syn, uint64_t tick, bool outbound, uint8_t tcp_flags,
				     uint32_t number)
{
	const uint32_t come = plain_bytes_come(younger_syn, outbound, tcp_flags, number);

	if (come >= PLAIN_HANDSHAKE_BYTES_MAX || come >= plain_bytes_come(elder_syn, outbound, tcp_flags, number))
		return true;
	return (plain_is_unanswered(younger) || plain_is_word_alone(younger)) && !(tcp_flags & (TCP_SYN | TCP_RST)) &&
	       !plain_is_silent(elder, tick) && come > 0;
}

/*
 * True for a segment of a connection that began without pawsd (P8), though a SYN on its four-tuple, maybe an old one, has
 * made a flow since. `is_own`: by its number it is of the connection that the SYN opened.
 */
static inline bool plain_is_of_unknown(const struct flow *flow, bool is_own, uint8_t tcp_flags)
{
	return (flow->flags & FLOW_FIRST) && plain_has_sent_only_syns(flow) && !(tcp_flags & TCP_RST) && !is_own;
}

/*
 * What a segment without SYN makes of the flow's word, of which `now` is a copy. One so long after a RST that it was not on
 * its way by then (`is_silent`) says that the RST was not believed: it was forged, and answered by a challenge ACK (RFC 5961).
 */
static inline void plain_move_on(struct flow *now, bool is_own, bool is_silent, bool outbound, uint8_t tcp_flags)
{
	const bool is_reset = tcp_flags & TCP_RST;

	/* An earlier connection's last segments tell nothing about this one's handshake. A server's RST need not say whose. */
	if ((outbound || !is_reset) && flow_in_handshake(now) && !is_own)
		return;
	if (now->state == FLOW_CLOSE && !is_reset && is_silent)
		now->flags |= FLOW_ALIVE_OUT | FLOW_ALIVE_IN;
	now->state = (uint8_t)flow_next_state(now, outbound, tcp_flags);
}

/* Says to the clock that the flow sends `tsval`. */
static inline void plain_note_emitted(struct clock *clock, uint64_t tick, struct flow *flow, uint32_t tsval)
{
	uint32_t high;

	if (seq_after(tsval, clock_tsval(clock, tick)) && !clock_is_raised(clock, tick, tsval))
		clock_raise(clock, tick, &flow->server, tsval);
	high = atomic_load(&flow->tsval_high);
	if (seq_after(tsval, high)) {
		if (!atomic_exchange_if32(&flow->tsval_high, &high, tsval))
			flow_raise(flow, tsval);
	} else if (seq_after(flow->syn_tsval, tsval) && !(flow->flags & FLOW_WENT_BACK)) {
		flow_set_flags(flow, FLOW_WENT_BACK);
	}
}

/*
 * What leaves instead of the client's `tsval`, in a segment of a rewritten flow. False where that needs thought: a client
 * that said 0 in its SYN, one whose clock is fast, and what is further ahead of the clock than the lead.
 */
static inline bool plain_shift_out(const struct clock *clock, uint64_t tick, const struct flow *flow, uint32_t tsval,
				   uint32_t *ret_tsval)
{
	*ret_tsval = tsval + flow->offset;
	return !(flow->flags & (FLOW_SYN_ZERO | FLOW_SCALED)) && *ret_tsval != 0 &&
	       !seq_after(*ret_tsval, clock_tsval(clock, tick) + clock->max_lead_ms);
}

/*
 * True when a TSval is further ahead of the last SYN's than a clock of 1 kHz can bring it: by more
 * than the lead, which covers what the SYN may have been held back on its way here, and 1/256,
 * eight times what clocks are usually off by. After 24 days one that has fallen behind, as a clock of
 * 100 Hz does, can no longer be told from one that is ahead; a fast one is long known by then.
 */
static inline bool plain_has_run_away(const struct clock *clock, uint64_t tick, const struct flow *flow, const struct flow_syn *syn,
				      uint32_t tsval)
{
	const uint32_t lead_ms = clock->max_lead_ms > PLAIN_LEAD_LEAST_MS ? clock->max_lead_ms : PLAIN_LEAD_LEAST_MS;
	uint64_t age_ms = plain_syn_age_ms(syn, tick);
	uint32_t ahead = tsval - flow->syn_tsval - (uint32_t)age_ms;

	return age_ms <= INT32_MAX && seq_after(ahead, lead_ms + (uint32_t)(age_ms / PLAIN_FAST_CLOCK_SHARE));
}

/*
 * Where plain_shift_out() is false and nobody is there to think: what leaves of a plain flow all the same. What a client sends
 * before it has a connection, or has sent on an older one, tells no time: nothing newer than the SYN then. Else it runs ahead
 * of the clock, and *ret_reason says so, until the flow is scaled.
 */
static inline uint32_t plain_shift_at_a_loss(const struct clock *clock, uint64_t tick, const struct flow *flow, const struct flow_syn *syn,
					     uint32_t seq, uint32_t tsval, enum reason *ret_reason)
{
	const uint32_t shifted = tsval + flow->offset;

	*ret_reason = REASON_OUT_REWRITTEN;
	if (plain_has_run_away(clock, tick, flow, syn, shifted)) {
		if (flow_in_handshake(flow) || (plain_syn_age_ms(syn, tick) <= PLAIN_LATE_MS && seq_after(syn->isn, seq)))
			return flow->tsval_high;
		*ret_reason = REASON_OUT_UNSCALED;
	}
	return shifted ? shifted : UINT32_MAX; /* 0 would be taken for "no timestamp" */
}

/* The flow has sent what is further ahead of the clock than the lead: what it sends next takes thought. */
static inline bool plain_is_ahead(const struct clock *clock, uint64_t tick, const struct flow *flow)
{
	return seq_after(flow->tsval_high, clock_tsval(clock, tick) + clock->max_lead_ms);
}

/* Nearly all TSecrs: one that lies between the flow's SYN and its newest, all of one offset. */
static inline bool plain_is_echo(const struct flow *flow, uint32_t tsecr)
{
	uint32_t back = flow->tsval_high - tsecr;

	return flow->state == FLOW_ESTABLISHED && !flow->block && !(flow->flags & FLOW_SYN_ZERO) && back <= INT32_MAX &&
	       back <= flow->tsval_high - flow->syn_tsval;
}

/*
 * True for a TSecr between the flow's SYNs and its newest TSval. Once the SYNs are too long ago, all that can be
 * said is that it is no newer than that.
 */
static inline bool plain_is_in_range(const struct flow *flow, const struct flow_syn *syn, uint64_t tick, uint32_t tsecr)
{
	uint32_t span = flow->tsval_high - flow->syn_tsval;
	uint32_t before_syn = flow->flags & FLOW_ONE_OFFSET ? PLAIN_SYN_SPAN_MAX_MS : 0;

	if (seq_after(tsecr, flow->tsval_high))
		return false;
	return flow->tsval_high - tsecr <= span || flow->tsval_high - tsecr - span <= before_syn ||
	       (flow->flags & FLOW_WENT_BACK) || plain_syn_age_ms(syn, tick) > INT32_MAX;
}

/* The client's TSval behind a TSecr, of a flow that is not scaled and whose SYNs have no pairs. False: never emitted. */
static inline bool plain_shift_in(const struct flow *flow, const struct flow_syn *syn, uint64_t tick, uint32_t tsecr,
				  uint32_t *ret_tsval)
{
	*ret_tsval = tsecr - flow->offset;
	if (!plain_has_sent_only_syns(flow))
		return plain_is_in_range(flow, syn, tick, tsecr);
	return tsecr == flow->syn_tsval ||
	       ((flow->flags & FLOW_ONE_OFFSET) && flow->syn_tsval - tsecr <= PLAIN_SYN_SPAN_MAX_MS);
}

/*
 * The server echoes a TSval that pawsd has not sent, and the client has said: while the rules were away, say, segments went
 * past, and were newer than all that pawsd had made of others. By PAWS the server takes nothing older any more, so that
 * the flow can only go on with the client's own TSvals. Where those are the older ones the server has dropped what went
 * past, and nothing tells of it.
 */
static inline bool plain_has_gone_past(const struct flow *flow, uint32_t tsecr)
{
	uint32_t said = flow->tsval_high - flow->offset;

	return !flow_in_handshake(flow) && !(flow->flags & (FLOW_SCALED | FLOW_ANCHOR_PENDING)) &&
	       seq_after(tsecr, flow->tsval_high) && said - tsecr <= PLAIN_GONE_PAST_MS;
}

/*
 * True for a TSecr of a SYN/ACK, not one of ours, that is what the client itself has said lately: the SYN that the server
 * has taken went past pawsd, though another of the connection's did not. Then it is none of ours. A server says its own
 * time, `tsval`, beside it; a firewall that makes up a TSecr does not.
 */
static inline bool plain_is_of_a_raw_syn(const struct flow *flow, const struct flow_syn *syn, uint64_t tick, uint32_t tsval,
					 uint32_t tsecr)
{
	uint32_t said = flow_said_in_syn(flow), lately = PLAIN_SYN_SPAN_MAX_MS;
	uint64_t age_ms = plain_syn_age_ms(syn, tick) + FLOW_SYN_TIME_MS;

	if (!plain_has_sent_only_syns(flow) || !said || !tsval)
		return false;
	return age_ms <= lately && tsecr - (said - lately) <= lately + age_ms &&
	       tsecr - (flow->syn_tsval - lately) > 2 * lately;
}

/* How far `tsval` is from the newest that the flow has sent, and from all of the `span` behind that. */
static inline uint32_t plain_distance(const struct flow *flow, uint32_t span, uint32_t tsval)
{
	const uint32_t ahead = tsval - flow->tsval_high;

	if (ahead <= span)
		return 0;
	return -ahead < ahead - span ? -ahead : ahead - span;
}

/* What a clock of up to 1 kHz may have run since the flow was last seen; 0: it has just been. */
static inline uint32_t plain_idle_ms(const struct flow *flow, uint64_t tick)
{
	const uint32_t idle_s = (uint32_t)(tick / 1000) - flow->last_seen_s;

	return idle_s <= 1 || idle_s > INT32_MAX / 1000 ? 0 : idle_s * 1000;
}

/*
 * True for a segment of the client's, of sequence number `seq`, that says what pawsd has made of it, and not what the client has
 * said: its TSval is nearer to what the flow has sent, or would say by now, than it would be if it were shifted.
 */
static inline bool plain_is_done_out(const struct flow *flow, const struct flow_syn *syn, uint64_t tick, uint8_t tcp_flags, uint32_t seq,
				     uint32_t tsval)
{
	uint32_t idle_ms;

	if (!plain_is(flow) || flow->offset == 0)
		return false;
	if (tcp_flags & TCP_SYN)
		return seq == syn->isn && tsval == flow->syn_tsval;
	idle_ms = plain_idle_ms(flow, tick);
	return plain_distance(flow, idle_ms, tsval) < plain_distance(flow, idle_ms, tsval + flow->offset);
}

/* The same for one of the server's: its TSecr is what the client has said, and would be nearer to what the flow has sent if it were shifted. */
static inline bool plain_is_done_in(const struct flow *flow, uint8_t tcp_flags, uint32_t tsecr)
{
	if (!plain_is(flow) || flow->offset == 0 || tsecr == 0)
		return false;
	if (tcp_flags & TCP_SYN)
		return tsecr == flow_said_in_syn(flow);
	return plain_distance(flow, 0, tsecr + flow->offset) < plain_distance(flow, 0, tsecr);
}

#endif
