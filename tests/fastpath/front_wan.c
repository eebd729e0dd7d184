/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The servers' side: before the programs are the rules, behind the NAT. */
#include "front_internal.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <unistd.h>

#include "fastpath_policy.h"

/* What rules and conntrack know of a packet's connection. */
struct view {
	const struct packet *packet;
	uint8_t *label;
	const struct flow *flow; /* NULL: none */
	bool outbound;
};

/* Rules bring what the policy rewrites, and what of flows of before goes to those servers. */
static bool is_brought(const struct front *front, const struct view *view, bool is_out)
{
	const struct policy *policy = front->engine->rules_lag ? front->engine->rules_policy : front->engine->policy;
	const struct endpoints *ends = &view->packet->ends;

	if (view->flow && view->flow->mode == MODE_REWRITE)
		return true;
	if (!policy)
		return false;
	return (is_out ? policy_match(policy, &ends->dst, ends->dst_port, &ends->src)
		       : policy_match(policy, &ends->src, ends->src_port, &ends->dst))->mode == MODE_REWRITE;
}

/* Whether the programs' own policy tells that it is rewritten, by which the rules go: rules_plan.c. */
static bool can_be_decided(const struct front *front, const struct packet *packet)
{
	struct fastpath_policy_key key = {.len = 128, .addr = packet->ends.dst};
	struct fastpath_policy value;
	const struct fastpath_candidate *candidate;
	const uint32_t zero = 0;
	uint32_t id;
	int map;
	bool found;

	if (front->engine->rules_lag || bpf_map_lookup_elem(front->policies, &zero, &id) < 0)
		return false;
	map = bpf_map_get_fd_by_id(id);
	found = map >= 0 && bpf_map_lookup_elem(map, &key, &value) == 0;
	if (map >= 0)
		close(map);
	candidate = found ? fastpath_choose(&value, packet->ends.dst_port) : NULL;
	return candidate && candidate->mode == MODE_REWRITE;
}

/* Linux begins a new one in place of such a connection, without labels. */
static bool is_over(const struct flow *flow)
{
	return flow->state == FLOW_TIME_WAIT || (flow->state == FLOW_CLOSE && (flow->flags & FLOW_HAS_LIVED));
}

/* rules_nft.c, chains fast and first: whether the rules let it go. */
static bool is_let_go(struct front *front, const struct view *view)
{
	const struct packet *packet = view->packet;

	if (*view->label & LABEL_SLOW)
		return false;
	if (!(packet->flags & TCP_SYN))
		return *view->label & LABEL_FAST;
	if ((packet->flags & TCP_ACK) || (*view->label & (LABEL_SYN | LABEL_ANSWERED)) || !packet->ts || !packet->tsval ||
	    !can_be_decided(front, packet)) {
		*view->label |= LABEL_SLOW;
		return false;
	}
	*view->label |= LABEL_FAST | LABEL_SYN;
	return true;
}

static enum reason handle_outbound_wan(struct front *front, const struct packet_input *input, uint64_t tick, const struct view *view)
{
	enum reason reason = REASON_COUNT;

	if ((view->packet->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && view->flow && is_over(view->flow))
		*view->label = LABEL_NONE;
	if (!is_brought(front, view, true) || !is_let_go(front, view)) {
		front->done.queued++;
		return front_handle_by_engine(front, input, tick);
	}
	if (front_run(front, input, true, &reason) != FASTPATH_MARK_DONE_LAST && reason != REASON_OUT_DROPPED)
		snprintf(front->problem, sizeof(front->problem), "past both");
	front->done.dropped += reason == REASON_OUT_DROPPED;
	front->done.done++;
	return reason;
}

static enum reason handle_inbound_wan(struct front *front, const struct packet_input *input, uint64_t tick, const struct view *view)
{
	enum reason reason = REASON_COUNT;

	const uint32_t mark = front_run(front, input, false, &reason);

	if (mark == FASTPATH_MARK_DONE_FIRST || mark == FASTPATH_MARK_LABEL) {
		*view->label |= LABEL_FAST;
		front->done.done++;
		return reason;
	}
	if (is_brought(front, view, false))
		*view->label |= LABEL_SLOW;
	front->done.left++;
	return front_handle_by_engine(front, input, tick);
}

enum reason front_handle_wan(struct front *front, const struct packet_input *input, const struct packet *packet, uint64_t tick)
{
	struct view view = {.packet = packet, .label = front_label_of(front, packet)};

	view.flow = flow_table_look_up(&front->engine->table, &packet->ends, &view.outbound);
	if (input->direction == DIRECTION_IN)
		*view.label |= LABEL_ANSWERED;
	return input->direction == DIRECTION_OUT ? handle_outbound_wan(front, input, tick, &view)
						 : handle_inbound_wan(front, input, tick, &view);
}
